//! Tables that fail: why is kept as a fact, and it heals by itself when the cause is gone, whatever
//! failed before.

mod leaving;
mod names;
mod orders;

use crate::harness::{Pair, PairBuilder, eventually, signal};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);

fn builder() -> PairBuilder {
    Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1")
}

/// The kind of failure that is kept of a table; empty: it didn't fail.
fn failure_of(pair: &Pair, table: &str) -> String {
    let query =
        format!("SELECT coalesce(failure, '') FROM odoo_mirror_internal.tables WHERE name = '{table}'");
    let rows = pair.mirror.try_rows("mirror", &query).unwrap_or_default();
    rows.into_iter().flatten().flatten().next().unwrap_or_default()
}

#[track_caller]
fn fails_as(pair: &Pair, table: &str, failure: &str) {
    let mut last = String::new();
    let deadline = std::time::Instant::now() + LIMIT;
    while last != failure {
        assert!(
            std::time::Instant::now() < deadline,
            "{table} is {last:?} and not {failure:?}\n{}",
            pair.status()
        );
        last = failure_of(pair, table);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The worker ends, and another takes up what it left.
#[track_caller]
fn another_life(pair: &Pair) {
    let before = pair.worker_pid();
    signal(before, "TERM");
    eventually("another worker runs", LIMIT, || (pair.worker_pid() != before).then_some(()));
}

/// Asks for a job and waits until it has failed, as it must.
#[track_caller]
fn fails_again(pair: &Pair, call: &str) {
    let id = pair.mirror_value(&format!("SELECT odoo_mirror.{call}"));
    let query = format!("SELECT state FROM odoo_mirror.jobs() WHERE id = {id}");
    let state = eventually(&format!("{call} ends"), LIMIT, || {
        let state = pair.mirror.try_rows("mirror", &query).ok()?.pop()?.pop()??;
        ["done", "failed"].contains(&state.as_str()).then_some(state)
    });
    assert_eq!(state, "failed", "{call}");
}
