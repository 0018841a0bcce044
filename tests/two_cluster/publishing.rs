//! What decides which changes the publication streams, and what is told and mended when somebody
//! alters that.

use crate::harness::{Pair, eventually};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

const SCHEMA: &str = "
    CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT g, 0 FROM generate_series(1, 100) g;
    CREATE TABLE p (id int PRIMARY KEY, v int) PARTITION BY RANGE (id); CREATE TABLE p_one PARTITION OF p FOR VALUES FROM (0) TO (1000);
    INSERT INTO p SELECT g, 0 FROM generate_series(1, 100) g";

#[track_caller]
fn mirroring() -> Pair {
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").start();
    pair.on_source(SCHEMA);
    pair.on_source(
        "CREATE PUBLICATION odoo_pub_scout FOR TABLE t, p WITH (publish_via_partition_root = true)",
    );
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair
}

/// What each write does to both tables must show in the end: one that isn't streamed is found by
/// comparing.
fn write(pair: &Pair, round: usize) {
    for table in ["t", "p"] {
        pair.on_source(&format!(
            "UPDATE {table} SET v = {round} WHERE id % 3 = 0; DELETE FROM {table} WHERE id = {round}; INSERT INTO {table} VALUES (200 + {round}, {round})"
        ));
    }
}

/// The hint of a table that failed.
#[track_caller]
fn failed(pair: &Pair, table: &str, what: &str) -> String {
    eventually(what, LIMIT, || {
        let query = format!(
            "SELECT hint FROM odoo_mirror.tables() WHERE table_name = '{table}' AND state = 'failed'"
        );
        pair.mirror.rows("mirror", &query).pop()?.pop()?
    })
}

#[track_caller]
fn run_hint(pair: &Pair, hint: &str) {
    let statement = hint.split("On the source: ").last().unwrap_or_default();
    pair.on_source(statement.split(';').next().unwrap_or_default());
}

#[track_caller]
fn is_equal_again(pair: &Pair, what: &str) {
    eventually(what, LIMIT, || {
        let ready =
            "SELECT count(*) FROM odoo_mirror.tables() WHERE table_name IN ('t', 'p') AND state = 'ready'";
        if pair.mirror_value(ready) != "2" {
            return None;
        }
        let both = |table: &str| {
            let rows = |schema: &str| format!("SELECT count(*), sum(v), sum(id) FROM {schema}{table}");
            pair.source.rows("odoo", &rows("")) == pair.mirror.rows("mirror", &rows("odoo_mirror."))
        };
        (both("t") && both("p")).then_some(())
    });
    pair.assert_all_equal();
}

#[test]
fn a_publication_that_streams_only_a_part_is_told_of_each_table_and_mended_when_it_is_put_right() {
    let pair = mirroring();
    let parts = ["insert", "insert, update, delete", "update, delete, truncate", ""];
    for (round, part) in parts.into_iter().enumerate() {
        // The last while nobody looks: a start, too, must notice.
        let stopped = part.is_empty();
        if stopped {
            pair.on_mirror("SELECT odoo_mirror.stop()");
        }
        pair.on_source(&format!("ALTER PUBLICATION odoo_pub_scout SET (publish = '{part}')"));
        write(&pair, round + 1);
        if stopped {
            pair.on_mirror("SELECT odoo_mirror.start()");
        }
        let hint = failed(&pair, "t", part);
        assert!(hint.contains("ALTER PUBLICATION \"odoo_pub_scout\" SET (publish = "), "{hint}");
        assert_eq!(failed(&pair, "p", part), hint);
        let doctor = "SELECT ok FROM odoo_mirror.doctor() WHERE \"check\" = 'source: published operations'";
        eventually("doctor() has it", LIMIT, || (pair.mirror_value(doctor) == "f").then_some(()));
        let status = pair.mirror.mirror_status("mirror");
        assert!(
            status["failed_tables"]["t"].as_str().is_some_and(|why| why.contains("odoo_pub_scout")),
            "{status:#}"
        );
        run_hint(&pair, &hint);
        is_equal_again(&pair, part);
        eventually("doctor() is content", LIMIT, || (pair.mirror_value(doctor) == "t").then_some(()));
    }
}

#[test]
fn what_was_missed_while_a_publication_was_another_between_two_looks_is_mended() {
    let pair = mirroring();
    let detours = [
        ("SET (publish = 'insert')", "SET (publish = 'insert, update, delete, truncate')"),
        ("DROP TABLE t", "ADD TABLE t"),
        ("SET (publish_via_partition_root = false)", "SET (publish_via_partition_root = true)"),
        ("SET TABLE t WHERE (id > 1000), p", "SET TABLE t, p"),
    ];
    for (round, (away, back)) in detours.into_iter().enumerate() {
        let before = pair.mirror_value("SELECT count(*) FROM odoo_mirror.ddl_history()");
        pair.on_source(&format!("ALTER PUBLICATION odoo_pub_scout {away}"));
        write(&pair, round + 1);
        pair.on_source(&format!("ALTER PUBLICATION odoo_pub_scout {back}"));
        eventually(away, LIMIT, || {
            (pair.mirror_value("SELECT count(*) FROM odoo_mirror.ddl_history()") != before).then_some(())
        });
        is_equal_again(&pair, away);
    }
    // The same of whole schemas.
    if crate::harness::source_major() >= 15 {
        pair.on_source("ALTER PUBLICATION odoo_pub_scout SET TABLES IN SCHEMA public");
        is_equal_again(&pair, "a schema");
        pair.on_source("ALTER PUBLICATION odoo_pub_scout DROP TABLES IN SCHEMA public");
        write(&pair, 9);
        pair.on_source("ALTER PUBLICATION odoo_pub_scout ADD TABLES IN SCHEMA public");
        is_equal_again(&pair, "a schema that left and came back");
    }
}

#[test]
fn a_root_that_is_no_longer_published_as_one_and_a_publication_that_is_gone_are_told_with_what_brings_them_back()
 {
    let pair = mirroring();
    pair.on_source("ALTER PUBLICATION odoo_pub_scout SET (publish_via_partition_root = false)");
    let hint = failed(&pair, "p", "published by its partitions");
    assert!(
        hint.contains("ALTER PUBLICATION \"odoo_pub_scout\" SET (publish_via_partition_root = true)"),
        "{hint}"
    );
    write(&pair, 1);
    run_hint(&pair, &hint);
    is_equal_again(&pair, "the root");

    pair.on_source("DROP PUBLICATION odoo_pub_scout");
    for table in ["t", "p"] {
        let hint = failed(&pair, table, "no publication");
        assert!(hint.contains("CREATE PUBLICATION \"odoo_pub_scout\""), "{hint}");
    }
    pair.on_source(
        "CREATE PUBLICATION odoo_pub_scout FOR TABLE t, p WITH (publish_via_partition_root = true)",
    );
    is_equal_again(&pair, "another publication of that name");
}
