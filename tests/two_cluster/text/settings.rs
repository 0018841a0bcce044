//! Each setting that text depends on is odd on both sides, for the database and for the role in it.

use super::{LIMIT, assert_alike, assert_no_alarm, builder};
use crate::harness::{Locale, Pair, leave_out};

/// On both sides.
const ODD: &[&str] = &[
    "lc_monetary = 'xx_XX'",
    "lc_time = 'xx_XX'",
    "lc_numeric = 'xx_XX'",
    "array_nulls = off",
    "quote_all_identifiers = on",
    "xmloption = document",
    "xmlbinary = hex",
    "DateStyle = 'German, DMY'",
    "IntervalStyle = 'sql_standard'",
    "TimeZone = 'Asia/Kathmandu'",
    "extra_float_digits = -15",
    "bytea_output = 'escape'",
    "standard_conforming_strings = off",
    "backslash_quote = on",
    "transform_null_equals = on",
    "default_text_search_config = 'german'",
    "gin_fuzzy_search_limit = 1",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_deferrable = on",
    "check_function_bodies = off",
    "row_security = off",
    "search_path = nowhere, public, hr",
    "idle_in_transaction_session_timeout = '1s'",
    "idle_session_timeout = '1s'",
    "transaction_timeout = '2s'",
    "exit_on_error = on",
];

fn make_odd(pair: &Pair) {
    for (cluster, database) in [(&pair.source, "odoo"), (&pair.mirror, "mirror")] {
        for setting in ODD {
            let name = setting.split(' ').next().unwrap_or_default();
            if cluster.value("postgres", &format!("SELECT count(*) FROM pg_settings WHERE name = '{name}'"))
                == "0"
            {
                continue;
            }
            cluster.sql(
                "postgres",
                &format!("ALTER DATABASE {database} SET {setting}; ALTER ROLE postgres IN DATABASE {database} SET {setting}"),
            );
        }
    }
}

const SCHEMA: &str = r#"
    CREATE SCHEMA hr; CREATE TABLE hr.employee (id int PRIMARY KEY); CREATE TABLE hr."Odd" (id int PRIMARY KEY);
    CREATE TYPE pair AS (n int, m money, at timestamptz);
    CREATE TYPE mood AS ENUM ('so "so"', E'back\\slash');
    CREATE TABLE plain (id int PRIMARY KEY, m money, ma money[], ia int[], ta text[], f float8, fa float4[], at timestamptz, d date, i interval, b bytea, r tstzrange, p pair, v text, mo mood);
    INSERT INTO plain VALUES
        (1, 1234.5::numeric::money, ARRAY[234.56::numeric::money, NULL], ARRAY[1, NULL], ARRAY['NULL', NULL, 'a,b', ''], 0.1::float8 + 0.2, ARRAY[0.1, NULL]::float4[], '2020-02-03 04:05:06+00', '2020-02-03'::date, '1 mon -2 days 3:04:05'::interval, decode('5c00ff', 'hex'), tstzrange('2020-02-03', '2020-05-06'), ROW(1, 7.89::numeric::money, '2020-02-03 04:05:06+00')::pair, chr(92) || 'back' || chr(39), 'so "so"'),
        (2, (-0.01)::numeric::money, '{}', '{}', '{}', 1e300, '{}', 'infinity', '-infinity', '0', '', 'empty', ROW(NULL, NULL, NULL)::pair, '', ('back' || chr(92) || 'slash')::mood),
        (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
    -- Read again where nothing tells rows apart but all of them.
    CREATE TABLE whole (m money, f float8, i interval, ta text[], p pair); ALTER TABLE whole REPLICA IDENTITY FULL;
    INSERT INTO whole SELECT m, f, i, ta, p FROM plain;
    CREATE TABLE names (id int PRIMARY KEY, c regclass, ca regclass[], t regtype, p regprocedure, n regnamespace);
    INSERT INTO names VALUES (1, 'plain', ARRAY['plain', 'hr.employee', 'pg_class', NULL]::regclass[], 'pair', 'abs(int)', 'hr'), (2, 'hr."Odd"', '{}', 'timestamptz', NULL, NULL);
    -- Keys that are literals in a comparison.
    CREATE TABLE worded (k text PRIMARY KEY, n numeric); INSERT INTO worded VALUES (chr(92), 1.50), (chr(39) || chr(92) || chr(39), 2), ('NULL', NULL), ('', 0);
    CREATE TABLE priced (k money PRIMARY KEY, v text); INSERT INTO priced SELECT (n / 4.0)::numeric::money, n FROM generate_series(1, 20) n;
    CREATE TABLE listed (id int PRIMARY KEY, a int[], v text); INSERT INTO listed SELECT n, CASE WHEN n % 2 = 0 THEN ARRAY[n, NULL] END, n FROM generate_series(1, 20) n;
"#;

/// Not every server has XML.
const MARKUP: &str = "CREATE TABLE markup (id int PRIMARY KEY, x xml); SET xmloption = content;
    INSERT INTO markup VALUES (1, 'a<b/>c'), (2, '<r/>'), (3, NULL), (4, xmlelement(name e, decode('00ff', 'hex')))";

#[test]
fn settings_of_databases_and_roles_change_no_value_and_raise_no_alarm() {
    let locale = Locale::make();
    let path = locale.path();
    let pair = builder().source_env("LOCPATH", &path).mirror_env("LOCPATH", &path).start();
    make_odd(&pair);
    pair.on_source(SCHEMA);
    pair.on_source("INSERT INTO worded VALUES ('left' || chr(92) || 'out')");
    if let Err(error) = pair.source.try_sql("odoo", MARKUP) {
        leave_out(&format!("this server has no XML: {error}"));
    }
    // The worker's own session has the settings of before.
    pair.mirror.restart();
    assert_eq!(pair.mirror_value("SELECT current_setting('xmlbinary')"), "hex");
    if pair.source.major() >= 15 {
        let markup =
            if pair.source_value("SELECT to_regclass('markup') IS NULL") == "t" { "" } else { ", markup" };
        // Filters whose constants are read again from the catalog's text.
        pair.on_source(&format!(
            r"SET array_nulls = on; SET standard_conforming_strings = on;
              CREATE PUBLICATION odoo_pub_scout FOR TABLE plain, whole, names, priced{markup},
                  listed WHERE (ARRAY[id, NULL] <> '{{7,NULL}}'::int[]), worded WHERE (k <> 'left\out')"
        ));
    } else {
        pair.publish_all();
    }
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    assert_alike(&pair);

    pair.on_source(
        "INSERT INTO plain SELECT id + 10, m, ma, ia, ta, f, fa, at, d, i, b, r, p, v, mo FROM plain; UPDATE plain SET m = m * 2 WHERE id > 10;
         INSERT INTO whole SELECT m * 3, f, i, ta, p FROM whole; UPDATE whole SET f = 2.5 WHERE m = 1234.5::numeric::money; DELETE FROM whole WHERE m = (-0.01)::numeric::money;
         INSERT INTO names SELECT id + 10, c, ca, t, p, n FROM names; UPDATE names SET c = 'hr.employee' WHERE id = 12;
         UPDATE worded SET n = n + 1 WHERE k <> ''; UPDATE priced SET k = k + 100::int::money WHERE k < 2::int::money;
         UPDATE listed SET v = v || 'x' WHERE id % 4 = 0; INSERT INTO listed SELECT id + 200, a, v FROM listed",
    );
    assert_alike(&pair);

    // Altered under rows, with and without a value for the old ones; the catalog tells which.
    pair.on_source(
        "ALTER TABLE plain ADD COLUMN extra money DEFAULT 0.75::numeric::money, ADD COLUMN more int[] DEFAULT ARRAY[1, NULL], ADD COLUMN later timestamptz;
         UPDATE plain SET later = at WHERE id < 10",
    );
    pair.on_source("ALTER TABLE names ADD COLUMN other regclass DEFAULT 'names'; ALTER TABLE worded RENAME COLUMN n TO \"Number\"");
    pair.on_source(
        "INSERT INTO plain (id, extra, later) VALUES (50, 1234.5::numeric::money, '2020-02-03 04:05:06+00')",
    );
    assert_alike_soon(&pair);
    assert_no_alarm(&pair);
    assert_alike(&pair);
}

/// What no row follows is noticed a moment later.
fn assert_alike_soon(pair: &Pair) {
    let renamed = "SELECT count(*) FROM pg_attribute WHERE attrelid IN ('odoo_mirror.worded'::regclass, 'odoo_mirror.names'::regclass) AND attname IN ('Number', 'other')";
    crate::harness::eventually("the columns are here", LIMIT, || {
        (pair.mirror_value(renamed) == "2").then_some(())
    });
    pair.wait_ready(LIMIT);
    assert_alike(pair);
}
