//! What can't be applied fails its table alone, says why, and heals by a resync.

use super::{mirroring, tables};
use crate::harness::Pair;

const THREE: &str = "CREATE TABLE t (id int PRIMARY KEY, a text, n int); INSERT INTO t SELECT g, 'x', g FROM generate_series(1, 20) g;
    CREATE TABLE other (id int PRIMARY KEY, a text); INSERT INTO other VALUES (1, 'x');
    CREATE TABLE third (id int PRIMARY KEY); INSERT INTO third VALUES (1)";

/// Writes beside the failed table, in one transaction with it too: the others go on.
#[track_caller]
fn others_go_on(pair: &Pair) {
    pair.on_source("INSERT INTO other SELECT coalesce(max(id), 0) + 1, 'on' FROM other; UPDATE t SET a = a || '+' WHERE id = 2; INSERT INTO third SELECT max(id) + 1 FROM third");
    pair.caught_up();
    pair.assert_equal("other");
    pair.assert_equal("third");
}

#[track_caller]
fn failed_with(pair: &Pair, reason: &str) {
    let told = tables::until(pair, "t", "failed");
    assert!(told.reason.contains(reason), "no {reason:?} in {told:?}");
    assert!(!told.hint.is_empty(), "no hint in {told:?}");
    others_go_on(pair);
    assert_eq!(tables::told(pair, "t").map(|told| told.state), Some("failed".to_owned()));
}

#[track_caller]
fn heals(pair: &Pair) {
    tables::resync(pair, "t");
    pair.on_source("UPDATE t SET a = 'healed' WHERE id = 3; INSERT INTO t (id, a) VALUES (900, 'new')");
    pair.assert_all_equal();
}

#[test]
fn a_mirror_table_that_somebody_changed_fails_and_a_resync_heals_it() {
    let pair = mirroring(THREE);
    for (change, reason) in [
        ("DROP TABLE odoo_mirror.t", "gone"),
        ("ALTER TABLE odoo_mirror.t DROP COLUMN n", "n"),
        ("ALTER TABLE odoo_mirror.t DROP CONSTRAINT t_pkey", ""),
    ] {
        pair.on_mirror(change);
        pair.on_source("UPDATE t SET a = 'y' WHERE id = 1; INSERT INTO t SELECT max(id) + 1, 'y', 1 FROM t");
        failed_with(&pair, reason);
        tables::resync(&pair, "t");
        pair.assert_all_equal();
    }
    heals(&pair);
}

#[test]
fn a_mirror_column_that_was_given_another_type_fails_or_holds_the_same_values() {
    let pair = mirroring(THREE);
    for sql_type in ["bigint", "text", "numeric", "smallint"] {
        pair.on_mirror(&format!("ALTER TABLE odoo_mirror.t ALTER n TYPE {sql_type} USING n::{sql_type}"));
        pair.on_source("UPDATE t SET n = n + 1");
        others_go_on(&pair);
        if tables::told(&pair, "t").is_some_and(|told| told.state == "ready") {
            pair.assert_equal("t");
        } else {
            failed_with(&pair, "n");
        }
        tables::resync(&pair, "t");
        pair.assert_all_equal();
    }
}

#[test]
fn rows_that_somebody_added_or_took_away_here_are_put_right_when_the_source_changes_them() {
    let pair = mirroring(THREE);
    pair.on_mirror("INSERT INTO odoo_mirror.t VALUES (50, 'mine', 0)");
    pair.on_source("INSERT INTO t VALUES (50, 'theirs', 1); INSERT INTO other VALUES (50, 'beside')");
    pair.assert_all_equal();
    pair.on_mirror("DELETE FROM odoo_mirror.t WHERE id < 5");
    pair.on_source("UPDATE t SET n = 1000 WHERE id = 1");
    pair.caught_up();
    crate::harness::eventually("the missing rows come back", super::LIMIT, || {
        let count = pair.mirror_value("SELECT count(*) FROM odoo_mirror.t");
        (count == "21").then_some(())
    });
    pair.assert_all_equal();
}

#[test]
fn more_refused_rows_than_can_be_set_aside_in_the_middle_of_a_long_transaction_fail_that_table_alone() {
    let pair = super::builder().mirror_conf("odoo_mirror.batch_size", "10").start();
    super::begin(&pair, THREE);
    pair.on_mirror("ALTER TABLE odoo_mirror.t ADD CONSTRAINT small CHECK (n < 1000)");
    pair.on_source("INSERT INTO other SELECT g, 'long' FROM generate_series(100, 400) g; INSERT INTO t SELECT g, 'x', g FROM generate_series(801, 1200) g; INSERT INTO other SELECT g, 'long' FROM generate_series(500, 900) g");
    failed_with(&pair, "small");
    pair.on_mirror("ALTER TABLE odoo_mirror.t DROP CONSTRAINT small");
    heals_without_insert(&pair);
}

#[track_caller]
fn heals_without_insert(pair: &Pair) {
    tables::resync(pair, "t");
    pair.on_source("UPDATE t SET a = 'healed' WHERE id = 3");
    pair.assert_all_equal();
}

#[test]
fn another_primary_key_at_the_source_never_leaves_wrong_rows_in_a_ready_table() {
    let pair = mirroring(THREE);
    pair.on_source("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (n); UPDATE t SET id = id + 1 WHERE n = 20; UPDATE t SET n = n + 100 WHERE n < 5; DELETE FROM t WHERE n = 10");
    others_go_on(&pair);
    let told = tables::told(&pair, "t").expect("it is known");
    if told.state == "ready" {
        pair.assert_equal("t");
    } else {
        assert!(!told.reason.is_empty(), "{told:?}");
    }
    heals_without_insert(&pair);
}

#[test]
fn a_table_dropped_and_made_again_at_the_source_is_copied_anew() {
    let pair = mirroring(THREE);
    pair.on_source("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, a text, n bigint, extra text); INSERT INTO t VALUES (1, 'other', 5, 'e'); ALTER PUBLICATION odoo_pub_scout ADD TABLE t");
    crate::harness::eventually("the new table is mirrored", super::LIMIT, || {
        let count = pair.mirror_value("SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass('odoo_mirror.t') AND attname = 'extra'");
        (count == "1").then_some(())
    });
    tables::until(&pair, "t", "ready");
    pair.on_source("INSERT INTO t VALUES (2, 'after', 6, 'f')");
    pair.assert_all_equal();
}

#[test]
fn a_table_that_leaves_the_publication_says_so_and_keeps_its_rows() {
    let pair = mirroring(THREE);
    pair.on_source("ALTER PUBLICATION odoo_pub_scout DROP TABLE t");
    failed_with(&pair, "no longer publishes");
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.t"), "20");
    pair.on_source("ALTER PUBLICATION odoo_pub_scout ADD TABLE t");
    tables::until(&pair, "t", "ready");
    pair.assert_all_equal();
}
