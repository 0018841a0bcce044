//! What is too large for comfort: one source transaction of many rows, one value of many bytes.

use super::{LIMIT, builder};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

const ROWS: u32 = 500_000;

/// How much private memory a process may gain by a transaction that is many times larger.
const BOUND_KB: u64 = 80 * 1024;

/// Private memory of a process in kB; 0 when it is gone.
fn private_kb(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}

#[test]
fn a_large_transaction_goes_through_in_bounded_memory_and_without_a_disconnect() {
    let pair = builder().source_conf("wal_sender_timeout", "5s").start();
    super::begin(
        &pair,
        "CREATE TABLE t (id int PRIMARY KEY, a int, b int, c text); CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1)",
    );
    let reconnects = "SELECT sum(value) FROM odoo_mirror.metrics() WHERE name = 'etl_reconnects_total'";
    let worker = pair.worker_pid();
    let (before, connected) = (private_kb(worker), pair.mirror_value(reconnects));
    let (peak, done) = (AtomicU64::new(before), AtomicBool::new(false));
    thread::scope(|scope| {
        let raise = super::Raise(&done);
        scope.spawn(|| {
            while !done.load(SeqCst) {
                peak.fetch_max(private_kb(worker), SeqCst);
                thread::sleep(Duration::from_millis(20));
            }
        });
        pair.on_source(&format!(
            "INSERT INTO t SELECT n, n % 7, n % 11, 'row ' || n FROM generate_series(1, {ROWS}) n"
        ));
        pair.caught_up_within(LIMIT);
        pair.on_source("UPDATE t SET a = a + 1; INSERT INTO other VALUES (2)");
        pair.caught_up_within(LIMIT);
        drop(raise);
    });
    let gained = peak.load(SeqCst).saturating_sub(before);
    println!("{ROWS} rows in a transaction: the worker gained {gained} kB of private memory over {before}");
    assert!(gained < BOUND_KB, "the worker gained {gained} kB over {before}");
    assert_eq!((pair.worker_pid(), pair.mirror_value(reconnects)), (worker, connected));
    let sum = "count(*), sum(id::bigint), sum(a), sum(b), sum(length(c))";
    let mirrored = pair.mirror.rows("mirror", &format!("SELECT {sum} FROM odoo_mirror.t"));
    assert_eq!(pair.source.rows("odoo", &format!("SELECT {sum} FROM t")), mirrored);
    pair.assert_equal("other");
}

#[test]
fn a_value_of_many_megabytes_is_carried_by_copy_and_by_stream() {
    const SIZE: u32 = 60_000_000;
    let pair = builder().start();
    super::begin(
        &pair,
        &format!(
            "CREATE TABLE t (id int PRIMARY KEY, a text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL; INSERT INTO t VALUES (1, 'copied', repeat('x', {SIZE}))"
        ),
    );
    pair.on_source(&format!("INSERT INTO t VALUES (2, 'streamed', repeat('y', {SIZE}))"));
    pair.on_source("UPDATE t SET a = 'kept'");
    pair.caught_up_within(LIMIT);
    let sum = "SELECT id, a, length(big), md5(big) FROM";
    let mirrored = pair.mirror.rows("mirror", &format!("{sum} odoo_mirror.t ORDER BY id"));
    assert_eq!(pair.source.rows("odoo", &format!("{sum} t ORDER BY id")), mirrored);
}
