//! Values of every type arrive as they were: the text of both sides is the same.

use super::values::{BUILT_IN, Group, HERE, OTHERS, USER_TYPES};
use super::{LIMIT, builder, mirroring};
use crate::harness::{Pair, leave_out};

/// A table a group: row n holds each type's n-th value, or NULL when it has fewer; the last row is
/// all NULL.
fn tables_of(pair: &Pair, groups: &[Group]) {
    for (name, types) in groups {
        let known: Vec<_> = types
            .iter()
            .filter(|(sql_type, values)| {
                // Servers may be built without XML.
                let known = *sql_type != "xml"
                    || pair.source.try_sql("odoo", &format!("SELECT '{}'::xml", values[0])).is_ok();
                if !known {
                    leave_out(&format!("this server has no {sql_type}"));
                }
                known
            })
            .collect();
        if known.is_empty() {
            continue;
        }
        let columns: Vec<String> =
            known.iter().enumerate().map(|(n, (sql_type, _))| format!("c{n} {sql_type}")).collect();
        let mut sql =
            format!("CREATE TABLE {name} (id int PRIMARY KEY, touched int, {});", columns.join(", "));
        let most = known.iter().map(|(_, values)| values.len()).max().unwrap_or_default();
        for row in 0..=most {
            let values: Vec<String> = known
                .iter()
                .map(|(_, values)| {
                    values.get(row).map_or("NULL".into(), |value| format!("'{}'", value.replace('\'', "''")))
                })
                .collect();
            sql += &format!("INSERT INTO {name} VALUES ({row}, 0, {});", values.join(", "));
        }
        pair.on_source(&sql);
    }
}

/// The same rows once more, through the stream: inserted, changed beside the values, moved to other
/// keys, gone.
fn stream(pair: &Pair, groups: &[Group]) {
    let made = pair.published_tables();
    for (name, types) in groups.iter().filter(|(name, _)| made.iter().any(|made| made == name)) {
        let columns: Vec<String> = (0..columns_of(pair, name)).map(|n| format!("c{n}")).collect();
        let columns = columns.join(", ");
        assert!(!types.is_empty());
        pair.on_source(&format!("INSERT INTO {name} SELECT id + 1000, 1, {columns} FROM {name}"));
        pair.on_source(&format!("UPDATE {name} SET touched = 2 WHERE id % 2 = 0"));
        pair.on_source(&format!("UPDATE {name} SET id = id + 5000 WHERE id % 3 = 0"));
        pair.on_source(&format!("DELETE FROM {name} WHERE id = 1001"));
    }
}

fn columns_of(pair: &Pair, table: &str) -> usize {
    let query =
        format!("SELECT count(*) - 2 FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0");
    pair.source_value(&query).parse().expect("a number")
}

/// What the walsender was asked for.
fn asked_for_binary(pair: &Pair) -> bool {
    let query = "SELECT query FROM pg_stat_activity WHERE backend_type = 'walsender'";
    let query = pair.source_value(query);
    assert!(query.contains("START_REPLICATION"), "{query}");
    query.contains("binary 'true'")
}

#[track_caller]
fn assert_types_kept(pair: &Pair) {
    let query = |schema: &str, tables: &str| {
        format!(
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
             WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind = 'r' AND attnum > 0 AND c.relname IN ({tables}) ORDER BY 1, 2"
        )
    };
    let names: Vec<String> = pair.published_tables().iter().map(|name| format!("'{name}'")).collect();
    let names = names.join(", ");
    let (left, right) = (
        pair.source.rows("odoo", &query("public", &names)),
        pair.mirror.rows("mirror", &query("odoo_mirror", &names)),
    );
    assert_eq!(left, right);
}

#[test]
fn values_of_built_in_types_arrive_as_they_were_in_binary() {
    let pair = builder().start();
    tables_of(&pair, BUILT_IN);
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
    assert!(asked_for_binary(&pair));
    stream(&pair, BUILT_IN);
    pair.assert_all_equal();
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.failures()"), "0");
    assert_types_kept(&pair);
}

#[test]
fn values_of_all_types_arrive_as_they_were_in_text() {
    let pair = builder().start();
    pair.on_source(USER_TYPES);
    pair.on_mirror(HERE);
    tables_of(&pair, BUILT_IN);
    tables_of(&pair, OTHERS);
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
    assert!(!asked_for_binary(&pair));
    stream(&pair, BUILT_IN);
    stream(&pair, OTHERS);
    pair.assert_all_equal();
    // Types that the mirror's database has are kept, the others are text.
    let query = "SELECT string_agg(format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'odoo_mirror.made'::regclass AND attnum > 2";
    assert_eq!(
        pair.mirror_value(query),
        "mood, mood[], text, text, posint, posint[], text, integer[], pair, pair[], text, floatrange, text, floatmultirange"
    );
}

#[test]
fn the_defaults_of_the_mirrors_database_do_not_change_values() {
    let pair = builder().start();
    for setting in [
        "DateStyle = 'German, DMY'",
        "IntervalStyle = 'sql_standard'",
        "TimeZone = 'Asia/Kathmandu'",
        "extra_float_digits = -10",
        "bytea_output = 'escape'",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "search_path = 'nowhere'",
        "statement_timeout = '5s'",
    ] {
        pair.source.sql("postgres", &format!("ALTER DATABASE odoo SET {setting}"));
        pair.mirror.sql("postgres", &format!("ALTER DATABASE mirror SET {setting}"));
    }
    pair.mirror.sql("postgres", "ALTER DATABASE mirror RESET default_transaction_read_only");
    pair.source.sql(
        "postgres",
        "ALTER DATABASE odoo RESET default_transaction_read_only; ALTER DATABASE odoo RESET search_path",
    );
    pair.on_source(
        "CREATE TYPE pair AS (n int, t timestamptz); CREATE TABLE t (id int PRIMARY KEY, a timestamptz, b date, c interval, d float8, e bytea, f pair, g daterange);
         INSERT INTO t SELECT n, now(), current_date, '1 mon -2 days 3:04:05', 0.1 + 0.2, '\\x5c00', ROW(1, now())::pair, '[2020-01-02,2020-03-04)' FROM generate_series(1, 3) n",
    );
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.mirror.sql("postgres", "ALTER DATABASE mirror SET default_transaction_read_only = on");
    pair.mirror.restart();
    pair.on_source("INSERT INTO t SELECT id + 10, a, b, c, d, e, f, g FROM t; UPDATE t SET c = '-1 day +1:00' WHERE id < 3");
    pair.assert_all_equal();
}

#[test]
fn long_values_of_every_storage_arrive_as_they_were() {
    let pair = mirroring(
        "CREATE TABLE t (id int PRIMARY KEY, p text, e text, x text, m text, j jsonb, b bytea, a int[]);
         ALTER TABLE t ALTER e SET STORAGE EXTERNAL, ALTER x SET STORAGE EXTENDED, ALTER m SET STORAGE MAIN, ALTER p SET STORAGE PLAIN;
         INSERT INTO t SELECT n, repeat('p', 500), repeat('é', n), repeat('x', n * 3), repeat(md5('m'), 40), to_jsonb(array_fill('v'::text, ARRAY[n])), decode(repeat('00ff', n), 'hex'), array_fill(n, ARRAY[n])
             FROM unnest(ARRAY[1, 1000, 50000, 300000]) n",
    );
    pair.on_source("INSERT INTO t SELECT id + 1, p, e, x, m, j, b, a FROM t");
    pair.on_source("UPDATE t SET m = 'short' WHERE id % 2 = 0");
    pair.on_source("UPDATE t SET e = e || 'more', id = -id WHERE id > 40000");
    pair.assert_all_equal();
}
