//! What readers and the source see while the mirror catches up with what gathered.

use crate::harness::Pair;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// Source transactions that gather, each of which adds one to each of so many rows.
const TRANSACTIONS: u64 = 5_000;
const ROWS: u64 = 21;

#[test]
fn a_backlog_is_shown_commit_by_commit_and_the_source_is_told_before_its_end() {
    let pair = Pair::mirroring(
        "CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL); INSERT INTO t SELECT n, 0 FROM generate_series(1, 21) n",
    );
    pair.on_mirror("SELECT odoo_mirror.stop()");
    pair.mirror.wait_status_within(LIMIT, "it stopped", |status| status["state"] == "stopped");
    pair.on_source(&format!(
        "DO $$ BEGIN FOR n IN 1 .. {TRANSACTIONS} LOOP UPDATE t SET v = v + 1; COMMIT; END LOOP; END $$"
    ));
    let confirmed = || pair.source_value("SELECT confirmed_flush_lsn FROM pg_replication_slots");
    let (before, whole) = (confirmed(), TRANSACTIONS * ROWS);
    let mut reader = pair.mirror.connect("mirror");
    pair.on_mirror("SELECT odoo_mirror.start()");
    let (began, mut sums, mut told) = (Instant::now(), BTreeSet::new(), BTreeSet::new());
    while sums.last() != Some(&whole) {
        assert!(began.elapsed() < LIMIT, "{sums:?}");
        let sum: i64 = reader.query_one("SELECT sum(v)::int8 FROM odoo_mirror.t", &[]).unwrap().get(0);
        if sums.insert(sum.unsigned_abs()) {
            told.insert(confirmed());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(sums.iter().all(|sum| sum % ROWS == 0), "a transaction was shown in part: {sums:?}");
    assert!(sums.len() > 2, "it moved in {} steps: {sums:?}", sums.len());
    told.remove(&before);
    // In the last of these moments all was shown, and not all can have been told yet.
    assert!(!told.is_empty(), "the source was told nothing before the end");
    pair.assert_all_equal();
}
