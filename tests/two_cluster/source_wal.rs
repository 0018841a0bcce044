//! The WAL that the slot keeps on the source's disk: shown, let go of when idle, and given up at a
//! limit.

use crate::harness::{Pair, eventually};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn mirroring(limit: &str) -> Pair {
    let pair = Pair::builder()
        .mirror_conf("odoo_mirror.poll_interval", "1")
        .source_conf("max_slot_wal_keep_size", limit)
        .start();
    pair.on_source("CREATE TABLE t (id serial PRIMARY KEY, x text); INSERT INTO t (x) VALUES ('one')");
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair
}

/// Bytes, as the source itself says.
fn retained(pair: &Pair) -> i64 {
    let query = "SELECT (pg_current_wal_lsn() - restart_lsn)::bigint FROM pg_replication_slots";
    pair.source_value(query).parse().expect("there is a slot")
}

#[test]
fn what_the_slot_keeps_on_the_source_is_shown() {
    let pair = mirroring("1GB");
    pair.wait_status("what the slot keeps", |status| {
        let wal = &status["source_wal"];
        wal["retained_bytes"].as_i64().is_some_and(|bytes| bytes <= retained(&pair))
            && wal["safe_bytes"].as_i64().is_some_and(|bytes| bytes > 500_000_000)
            && wal["status"] == "reserved"
            && wal["seen_at"].is_string()
    });
}

#[test]
fn a_publication_to_which_nothing_is_written_keeps_no_wal() {
    let pair = mirroring("-1");
    pair.on_source("CREATE TABLE other (x text)");
    pair.on_source("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 60000)");
    assert!(retained(&pair) > 32 * 1024 * 1024, "nothing was written");
    eventually("the slot lets it go", LIMIT, || {
        // A source with any work at all notes its open transactions now and then: from there on a
        // slot needs its WAL.
        pair.on_source("CHECKPOINT");
        (retained(&pair) < 1024 * 1024).then_some(())
    });
}
