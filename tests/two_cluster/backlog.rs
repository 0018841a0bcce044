//! What readers and the source see while the mirror catches up with what gathered.

use crate::harness::Pair;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// Source transactions that gather, each of which brings so many rows: none of them folds with
/// another.
const TRANSACTIONS: u64 = 5_000;
const ROWS: u64 = 21;

#[test]
fn a_backlog_is_shown_commit_by_commit_and_the_source_is_told_before_its_end() {
    let pair = Pair::mirroring("CREATE TABLE t (id int PRIMARY KEY)");
    pair.on_mirror("SELECT odoo_mirror.stop()");
    pair.mirror.wait_status_within(LIMIT, "it stopped", |status| status["state"] == "stopped");
    pair.on_source(&format!(
        "DO $$ BEGIN FOR n IN 1 .. {TRANSACTIONS} LOOP INSERT INTO t SELECT n * 21 + m FROM generate_series(1, {ROWS}) m; COMMIT; END LOOP; END $$"
    ));
    let confirmed = || pair.source_value("SELECT confirmed_flush_lsn FROM pg_replication_slots");
    let (before, whole) = (confirmed(), TRANSACTIONS * ROWS);
    let mut reader = pair.mirror.connect("mirror");
    pair.on_mirror("SELECT odoo_mirror.start()");
    let (began, mut counts, mut told) = (Instant::now(), BTreeSet::new(), BTreeSet::new());
    while counts.last() != Some(&whole) {
        assert!(began.elapsed() < LIMIT, "{counts:?}");
        let count: i64 = reader.query_one("SELECT count(*) FROM odoo_mirror.t", &[]).unwrap().get(0);
        if counts.insert(count.unsigned_abs()) {
            told.insert(confirmed());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(counts.iter().all(|count| count % ROWS == 0), "a transaction was shown in part: {counts:?}");
    assert!(counts.len() > 10, "it moved in {} steps: {counts:?}", counts.len());
    told.remove(&before);
    // In the last of these moments all was shown, and not all can have been told yet.
    assert!(!told.is_empty(), "the source was told nothing before the end");
    pair.assert_all_equal();
}
