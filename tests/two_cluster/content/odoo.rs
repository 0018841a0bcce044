//! Tables that Odoo made, and what Odoo wrote.

use super::{LIMIT, builder, writers};
use crate::harness::{Pair, PairBuilder, Rng, Samples};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// The tables that a mirror of Odoo is for.
const TABLES: [&str; 10] = [
    "account_move",
    "account_move_line",
    "res_partner",
    "project_task",
    "hr_expense",
    "hr_expense_sheet",
    "hr_employee",
    "project_project",
    "project_task_type",
    "project_task_user_rel",
];

/// An Odoo of that version, loaded and published; the mirror isn't started.
fn odoo(samples: &Samples, builder: PairBuilder, version: u32) -> Pair {
    let pair = builder.start();
    samples.load(&pair.source, "odoo", version);
    let there = TABLES
        .into_iter()
        .filter(|table| !pair.source_value(&format!("SELECT to_regclass('{table}')")).is_empty());
    let there: Vec<&str> = there.collect();
    assert!(there.len() >= 9, "{there:?}");
    pair.publish(&there.join(", "));
    pair
}

#[test]
fn odoos_tables_of_four_versions_are_copied() {
    let Some(samples) = Samples::find() else { return };
    for version in [16, 17, 18, 19] {
        let pair = odoo(&samples, builder().mirror_conf("odoo_mirror.copy_range_rows", "1000"), version);
        pair.configure_and_start();
        pair.wait_ready(LIMIT);
        pair.on_source("UPDATE account_move SET write_date = now(); UPDATE project_task_type SET sequence = sequence + 1; DELETE FROM project_task_user_rel WHERE id % 10 = 0");
        pair.assert_all_equal();
    }
}

#[test]
fn recorded_traffic_leaves_no_row_different_while_the_mirror_dies_again_and_again() {
    let Some(samples) = Samples::find() else { return };
    let mut rng = Rng::seeded(18);
    let builder = builder()
        .mirror_conf("odoo_mirror.copy_range_rows", "300")
        .mirror_conf("odoo_mirror.batch_size", "100")
        .proxied();
    let pair = odoo(&samples, builder, 18);
    let (settings, transactions) = samples.traffic("traffic-18");
    let (done, replayed) = (AtomicBool::new(false), AtomicUsize::new(0));
    pair.configure_and_start();
    thread::scope(|scope| {
        let raise = super::Raise(&done);
        scope.spawn(|| {
            // Traffic while it copies, and after: until the end of the recording.
            let _raise = super::Raise(&done);
            let mut session = pair.source.connect("odoo");
            session.batch_execute(&settings).expect("the source takes the settings");
            for transaction in &transactions {
                session.batch_execute(&transaction.sql).expect("the source takes the recording");
                replayed.fetch_add(1, SeqCst);
                thread::sleep(Duration::from_millis(4));
            }
        });
        while !done.load(SeqCst) {
            thread::sleep(Duration::from_millis(rng.number(300..2500) as u64));
            writers::break_something(&pair, &mut rng);
        }
        drop(raise);
    });
    assert_eq!(replayed.load(SeqCst), transactions.len());
    pair.wait_ready(LIMIT);
    pair.caught_up_within(LIMIT);
    assert_eq!(pair.published_tables().len(), TABLES.len());
    for table in TABLES {
        pair.assert_equal(table);
    }
}

#[test]
fn recorded_traffic_is_mirrored_as_fast_as_it_comes() {
    let Some(samples) = Samples::find() else { return };
    let pair = odoo(&samples, builder(), 18);
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let (settings, transactions) = samples.traffic("traffic-18");
    let mut session = pair.source.connect("odoo");
    session.batch_execute(&settings).expect("the source takes the settings");
    for transaction in &transactions {
        session.batch_execute(&transaction.sql).expect("the source takes the recording");
    }
    pair.assert_all_equal();
    let failed = "SELECT count(*) FROM odoo_mirror.tables() WHERE state <> 'ready'";
    assert_eq!(pair.mirror_value(failed), "0");
    let missing = "SELECT coalesce(sum(value), 0) FROM odoo_mirror.metrics() WHERE name = 'etl_changes_total' AND labels ->> 'term' = 'missing'";
    assert_eq!(pair.mirror_value(missing), "0");
}
