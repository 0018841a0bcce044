//! They come back by themselves when what refused them is gone, when asked, and over a killed
//! worker.

use super::{
    LIMIT, SCHEMA, all_equal, allow, begin, builder, conserved, differing, equal_but, mirroring, refuse,
    sets_aside, state_of,
};
use crate::harness::{eventually, signal};

#[test]
fn when_the_cause_is_gone_rows_come_back_by_themselves() {
    let pair = mirroring(SCHEMA);
    refuse(&pair);
    pair.on_source("UPDATE t SET n = -1 WHERE id < 5; INSERT INTO t VALUES (50, -1, 'new', 'b')");
    equal_but(&pair, &["1", "2", "3", "4", "50"]);
    allow(&pair);
    all_equal(&pair);
}

#[test]
fn a_retry_that_is_refused_again_says_how_often_and_leaves_the_others_alone() {
    let pair = mirroring(SCHEMA);
    refuse(&pair);
    pair.on_source("UPDATE t SET n = -1 WHERE id = 3");
    equal_but(&pair, &["3"]);
    let attempts = |pair: &crate::harness::Pair| -> i64 {
        pair.mirror_value("SELECT max(attempts) FROM odoo_mirror.failures()").parse().expect("a number")
    };
    let before = attempts(&pair);
    assert_eq!(pair.mirror_value("SELECT odoo_mirror.retry_failures('other')"), "0");
    assert_eq!(pair.mirror_value("SELECT odoo_mirror.retry_failures('t')"), "1");
    eventually("it is tried again", LIMIT, || (attempts(&pair) > before).then_some(()));
    equal_but(&pair, &["3"]);
    // A retry is no new failure, so that an alert tells of new ones.
    assert_eq!(pair.metric("etl_records_failed_total", r#"{"table": "t"}"#), 1.0);
    // The row is mended at the source, by a statement that leaves its big value out.
    pair.on_source("UPDATE t SET n = 3 WHERE id = 3");
    all_equal(&pair);
}

#[test]
fn what_is_discarded_is_forgotten_until_it_is_compared() {
    let pair = mirroring(SCHEMA);
    refuse(&pair);
    pair.on_source("UPDATE t SET n = -1 WHERE id = 3");
    equal_but(&pair, &["3"]);
    assert_eq!(pair.mirror_value("SELECT odoo_mirror.discard_failures('other')"), "0");
    assert_eq!(pair.mirror_value("SELECT odoo_mirror.discard_failures()"), "1");
    sets_aside(&pair, &[]);
    assert_eq!(differing(&pair), ["3"]);
    allow(&pair);
    pair.mirror_value("SELECT odoo_mirror.verify('t', repair => true)");
    eventually("it is mended", LIMIT, || differing(&pair).is_empty().then_some(()));
    all_equal(&pair);
}

#[test]
fn with_more_than_a_hundred_the_table_fails_alone_and_comes_back_when_the_cause_is_gone() {
    let pair = mirroring(SCHEMA);
    refuse(&pair);
    pair.on_source("INSERT INTO t SELECT g, -g, 'bad', 'b' FROM generate_series(101, 350) g; INSERT INTO other VALUES (2, 'y')");
    let (reason, hint) = pair.wait_table("t", "failed");
    assert!(
        reason.contains("refused") && reason.contains("not_below") && hint.contains("by itself"),
        "{reason} {hint}"
    );
    pair.on_source("INSERT INTO other VALUES (3, 'z'); UPDATE t SET a = 'while failed' WHERE id = 1");
    pair.caught_up();
    pair.assert_equal("other");
    conserved(&pair);
    assert!(pair.metric("etl_records_failed_total", r#"{"table": "t"}"#) > 10.0);
    assert_eq!(state_of(&pair, "t"), "failed");
    allow(&pair);
    pair.wait_table("t", "ready");
    all_equal(&pair);
}

#[test]
fn a_killed_worker_loses_no_row_and_repeats_none() {
    let pair = builder().start();
    begin(&pair, SCHEMA);
    refuse(&pair);
    for round in 0..4 {
        pair.on_source(&format!("INSERT INTO t SELECT {round} * 1000 + g, CASE WHEN g % 250 = 0 THEN -1 ELSE g END, 'r', repeat(md5(g::text), 100) FROM generate_series(100, 700) g"));
        signal(pair.worker_pid(), "KILL");
        pair.mirror.wait_until_up();
        pair.on_source(&format!("UPDATE t SET a = 'after' WHERE id = {round} * 1000 + 250; DELETE FROM t WHERE id = {round} * 1000 + 500"));
    }
    pair.caught_up();
    equal_but(&pair, &["250", "1250", "2250", "3250"]);
    allow(&pair);
    all_equal(&pair);
}
