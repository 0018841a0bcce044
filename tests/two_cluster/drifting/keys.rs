//! Keys that are altered in a transaction that writes rows as well: rows that one key tells apart
//! are one row by another.

use super::{LIMIT, ends_equal};
use crate::harness::{Pair, eventually};

/// A look at the catalog is far away: the stream alone must tell.
#[track_caller]
fn mirroring(schema: &str) -> Pair {
    Pair::builder().mirror_conf("odoo_mirror.poll_interval", "60").mirroring(schema)
}

/// Whether the mirror's table says that it is ready.
fn is_ready(pair: &Pair, table: &str) -> bool {
    let query = format!("SELECT state FROM odoo_mirror.tables() WHERE table_name = '{table}'");
    pair.mirror_value(&query) == "ready"
}

#[test]
fn a_key_altered_beside_rows_leaves_no_wrong_row_in_a_ready_table() {
    // What the table is, and what is done to it in one transaction with rows.
    let cases: &[(&str, &str)] = &[
        (
            "id int, b int, v text, PRIMARY KEY (id)",
            "DROP CONSTRAINT {t}_pkey; ALTER TABLE {t} ADD PRIMARY KEY (id, b)",
        ),
        (
            "id int, b int, v text, PRIMARY KEY (id, b)",
            "DROP CONSTRAINT {t}_pkey; ALTER TABLE {t} ADD PRIMARY KEY (id, b, v)",
        ),
        ("id int, b int NOT NULL, v text, PRIMARY KEY (id)", "DROP CONSTRAINT {t}_pkey"),
        (
            "id int, b int NOT NULL, v text, PRIMARY KEY (id)",
            "DROP CONSTRAINT {t}_pkey; CREATE UNIQUE INDEX {t}_b ON {t} (b); ALTER TABLE {t} REPLICA IDENTITY USING INDEX {t}_b",
        ),
        (
            "id int, b int NOT NULL, v text, PRIMARY KEY (id)",
            "DROP CONSTRAINT {t}_pkey; ALTER TABLE {t} REPLICA IDENTITY FULL",
        ),
        (
            "id int, b int NOT NULL, v text, PRIMARY KEY (id)",
            "DROP CONSTRAINT {t}_pkey; ALTER TABLE {t} ADD PRIMARY KEY (id, b); ALTER TABLE {t} REPLICA IDENTITY FULL",
        ),
        // Nothing in the stream tells of these two.
        (
            "id int, b int NOT NULL, v text, PRIMARY KEY (id)); ALTER TABLE {t} REPLICA IDENTITY FULL; SELECT (1",
            "DROP CONSTRAINT {t}_pkey; ALTER TABLE {t} ADD PRIMARY KEY (id, b)",
        ),
        (
            "id int, b int NOT NULL, v text, PRIMARY KEY (id)); ALTER TABLE {t} REPLICA IDENTITY NOTHING; SELECT (1",
            "DROP CONSTRAINT {t}_pkey; ALTER TABLE {t} ADD PRIMARY KEY (id, b)",
        ),
    ];
    let named = |number: usize, sql: &str| sql.replace("{t}", &format!("t{number}"));
    let schema: Vec<String> = cases
        .iter()
        .enumerate()
        .map(|(n, (columns, _))| {
            named(n, &format!("CREATE TABLE {{t}} ({columns}); INSERT INTO {{t}} SELECT n, n, 'there' FROM generate_series(1, 30) n;"))
        })
        .collect();
    let pair = mirroring(&schema.join("\n"));
    for n in 0..cases.len() {
        // The relation is known, and fits.
        pair.on_source(&named(n, "INSERT INTO {t} VALUES (100, 100, 'fits')"));
    }
    pair.assert_all_equal();
    for (n, (_, altered)) in cases.iter().enumerate() {
        // Equal in the key of before, and different.
        let rows = "INSERT INTO {t} VALUES (1, 1002, 'second'), (2, 1003, 'second'), (1, 1004, 'third')";
        pair.on_source(&named(n, &format!("BEGIN; ALTER TABLE {{t}} {altered}; {rows}; COMMIT")));
    }
    pair.caught_up_within(LIMIT);
    // Whatever says that it is ready is.
    eventually("all are ready again", LIMIT, || {
        let ready: Vec<usize> = (0..cases.len()).filter(|n| is_ready(&pair, &named(*n, "{t}"))).collect();
        for n in &ready {
            let count = named(*n, "SELECT count(*) FROM odoo_mirror.{t}");
            assert_eq!(pair.mirror_value(&count), "34", "{}", cases[*n].1);
        }
        (ready.len() == cases.len()).then_some(())
    });
    for (n, (columns, _)) in cases.iter().enumerate() {
        pair.on_source(&named(n, "INSERT INTO {t} VALUES (200, 2000, 'later')"));
        if !columns.contains("NOTHING") && !cases[n].1.ends_with("DROP CONSTRAINT {t}_pkey") {
            pair.on_source(&named(
                n,
                "DELETE FROM {t} WHERE id = 1 AND b = 1; UPDATE {t} SET v = v || '!' WHERE id = 2",
            ));
        }
    }
    ends_equal(&pair);
}

#[test]
fn an_identity_that_becomes_full_beside_rows_is_followed_and_the_table_stays_ready() {
    let pair = mirroring(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, 'x' FROM generate_series(1, 30) n",
    );
    pair.on_source("UPDATE t SET v = 'y' WHERE id = 1");
    pair.assert_all_equal();
    let since = "SELECT ready_since FROM odoo_mirror_internal.tables WHERE name = 't'";
    let before = pair.mirror_value(since);
    pair.on_source("BEGIN; ALTER TABLE t REPLICA IDENTITY FULL; UPDATE t SET id = id + 100, v = 'z' WHERE id < 5; DELETE FROM t WHERE id > 25 AND id < 100; COMMIT");
    pair.assert_all_equal();
    // Its relation comes again after each of these, and says nothing of the key.
    pair.on_source("VACUUM (ANALYZE) t");
    pair.on_source("UPDATE t SET v = 'vacuumed' WHERE id = 10");
    pair.assert_all_equal();
    pair.on_source(
        "BEGIN; ALTER TABLE t REPLICA IDENTITY DEFAULT; UPDATE t SET v = 'default' WHERE id = 11; COMMIT",
    );
    pair.assert_all_equal();
    assert_eq!(pair.mirror_value(since), before);
}

#[test]
fn a_key_that_goes_and_comes_back_over_other_rows_is_noticed_where_the_stream_tells_no_key() {
    let tables = ["streamed", "missed"];
    let schema = |t: &str| {
        format!(
            "CREATE TABLE {t} (id int PRIMARY KEY, v text); ALTER TABLE {t} REPLICA IDENTITY FULL;
             INSERT INTO {t} SELECT n, 'there' FROM generate_series(1, 30) n;"
        )
    };
    let pair = mirroring(&tables.map(schema).concat());
    let dance = |t: &str| {
        format!(
            "BEGIN; ALTER TABLE {t} DROP CONSTRAINT {t}_pkey; INSERT INTO {t} VALUES (1, 'twin'), (2, 'twin');
             DELETE FROM {t} WHERE v = 'there' AND id < 3;
             ALTER TABLE {t} ADD PRIMARY KEY (id); COMMIT"
        )
    };
    pair.on_source(&dance("streamed"));
    ends_equal(&pair);
    pair.on_mirror("SELECT odoo_mirror.stop()");
    pair.wait_state("stopped");
    pair.on_source(&dance("missed"));
    pair.on_mirror("SELECT odoo_mirror.start()");
    pair.wait_state("streaming");
    ends_equal(&pair);
}
