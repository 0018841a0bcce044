//! The source changes a table between a look at its catalog and the reading of its rows.

use super::{LIMIT, ends_equal, settled};
use crate::harness::{Pair, eventually};

/// What is done to a table with the columns `id`, `a`, `b` and `c`, here called `{t}`.
const CHANGES: [(&str, &str); 9] = [
    ("added", "ALTER TABLE {t} ADD x int; UPDATE {t} SET x = id"),
    ("constant", "ALTER TABLE {t} ADD x int DEFAULT 7"),
    ("exchanged", "ALTER TABLE {t} RENAME a TO x; ALTER TABLE {t} RENAME b TO a; ALTER TABLE {t} RENAME x TO b"),
    ("replaced", "ALTER TABLE {t} RENAME c TO old; ALTER TABLE {t} ADD c int; UPDATE {t} SET c = -id WHERE id > 2"),
    ("retyped", "ALTER TABLE {t} ALTER a TYPE text USING a || '!'"),
    ("dropped", "ALTER TABLE {t} DROP b"),
    ("rekeyed", "ALTER TABLE {t} DROP CONSTRAINT {t}_pkey, ADD PRIMARY KEY (id, a); INSERT INTO {t} VALUES (1, 2, 3, 4)"),
    (
        "made_anew",
        "DROP TABLE {t}; CREATE TABLE {t} (id int PRIMARY KEY, c int, a int); INSERT INTO {t} VALUES (1, 2, 3), (100, 1, 1);
         ALTER PUBLICATION odoo_pub_scout ADD TABLE {t}",
    ),
    ("untouched", "UPDATE {t} SET a = a + 1"),
];

/// Without a key; partitioned, published via its root.
const OTHERS: [(&str, &str); 2] = [
    ("keyless", "ALTER TABLE keyless ADD x int; UPDATE keyless SET x = id"),
    (
        "parted",
        "ALTER TABLE parted RENAME a TO x; ALTER TABLE parted RENAME b TO a; ALTER TABLE parted RENAME x TO b",
    ),
];

/// The tables, and `big`, which is copied first.
fn schema() -> String {
    let mut schema = String::from(
        "CREATE TABLE big (id int PRIMARY KEY, pad text); INSERT INTO big SELECT n, repeat('x', 300) FROM generate_series(1, 30000) n;
         CREATE TABLE keyless (id int, a int, b int, c int); ALTER TABLE keyless REPLICA IDENTITY FULL;
         CREATE TABLE parted (id int PRIMARY KEY, a int, b int, c int) PARTITION BY RANGE (id);
         CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (10);
         CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (10) TO (1000);",
    );
    for (table, _) in CHANGES {
        schema += &format!("CREATE TABLE {table} (id int PRIMARY KEY, a int, b int, c int);");
    }
    for (table, _) in CHANGES.iter().chain(&OTHERS) {
        schema += &format!(
            "INSERT INTO {table} SELECT n, n * 10, n * 100, n * 1000 FROM generate_series(1, 20) n;"
        );
    }
    schema + "ANALYZE"
}

fn publish(pair: &Pair) {
    let tables: Vec<&str> = CHANGES.iter().chain(&OTHERS).map(|(table, _)| *table).collect();
    pair.on_source(&format!(
        "CREATE PUBLICATION odoo_pub_scout FOR TABLE big, {} WITH (publish_via_partition_root)",
        tables.join(", ")
    ));
}

fn change_all(pair: &Pair) {
    for (table, change) in CHANGES.iter().chain(&OTHERS) {
        pair.on_source(&change.replace("{t}", table));
    }
}

fn tables_change_while_another_is_copied(copy_workers: &str) {
    let pair = super::builder()
        .mirror_conf("odoo_mirror.copy_workers", copy_workers)
        .mirror_conf("odoo_mirror.copy_range_rows", "100")
        .start();
    pair.on_source(&schema());
    publish(&pair);
    let mut session = pair.source.connect("odoo");
    pair.configure_and_start();
    pair.wait_status("rows are copied", |status| status["state"] == "copying");
    // The next range of it has to wait.
    session.batch_execute("BEGIN; LOCK TABLE big IN ACCESS EXCLUSIVE MODE").expect("it is up");
    let copied =
        "SELECT count(*) FROM odoo_mirror_internal.ranges WHERE table_name <> 'big' AND snapshot IS NOT NULL";
    assert_eq!(pair.mirror_value(copied), "0", "the copy was faster than this test");
    change_all(&pair);
    session.batch_execute("ROLLBACK").expect("it is up");
    eventually("all tables are published", LIMIT, || {
        (pair.published_tables().len() == CHANGES.len() + OTHERS.len() + 1).then_some(())
    });
    pair.wait_ready(LIMIT);
    ends_equal(&pair);
}

#[test]
fn tables_that_change_while_another_is_copied_are_not_copied_by_their_old_definition() {
    tables_change_while_another_is_copied("0");
}

#[test]
fn nor_by_copy_workers() {
    tables_change_while_another_is_copied("2");
}

#[test]
fn a_comparison_does_not_read_by_an_old_definition() {
    // Nobody tells of the changes but the comparison: no row comes, and no look is due.
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "300").start();
    pair.on_source(&schema());
    publish(&pair);
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.caught_up();
    for (table, change) in CHANGES.iter().chain(&OTHERS).filter(|(_, change)| !change.contains("TABLE {t};"))
    {
        // Only the catalog's part of it: the rows' would come with a Relation message.
        let change = change.replace("{t}", table);
        let ddl: Vec<&str> = change.split("; ").filter(|statement| statement.starts_with("ALTER")).collect();
        pair.on_source(&ddl.join("; "));
    }
    let keys =
        "INSERT INTO odoo_mirror_internal.reconciles (table_name, writes, reason, ranges_done, keys_only)
            VALUES ('exchanged', true, 'some keys are compared', true, true);
        INSERT INTO odoo_mirror_internal.rechecks VALUES ('exchanged', '{1}'), ('exchanged', '{2}')";
    pair.on_mirror(keys);
    let id = pair.mirror_value("SELECT odoo_mirror.verify(repair => true)");
    eventually("the job ends", LIMIT, || {
        let query = format!("SELECT state FROM odoo_mirror.jobs() WHERE id = {id}");
        (pair.mirror_value(&query) == "done").then_some(())
    });
    settled(&pair);
    ends_equal(&pair);
    // What only changed its names was not mistaken for rows that differ.
    let written =
        format!("SELECT result -> 'exchanged' ->> 'written' FROM odoo_mirror.jobs() WHERE id = {id}");
    assert_eq!(pair.mirror_value(&written), "0");
}
