//! Sources past 2^32 transactions, and at the point where the lower half of their transaction ids
//! wraps around.

use super::{Over, ended};
use crate::harness::{Pair, PairBuilder, eventually};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const WRAP: u64 = 1 << 32;

const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, v int, x text);
    INSERT INTO t SELECT n, 0, md5(n::text) FROM generate_series(1, 3000) n;
    CREATE TABLE u (id int PRIMARY KEY, x text);
    INSERT INTO u SELECT n, 'there' FROM generate_series(1, 20) n; ANALYZE t";

fn builder() -> PairBuilder {
    Pair::builder()
        .mirror_conf("odoo_mirror.copy_range_rows", "15")
        .mirror_conf("odoo_mirror.copy_workers", "0")
        .mirror_conf("odoo_mirror.compare_rows", "300")
        .mirror_conf("odoo_mirror.compare_share", "100")
}

/// Without a publication yet, since the filler isn't published.
fn begins(builder: PairBuilder) -> Pair {
    let pair = builder.start();
    pair.on_source(SCHEMA);
    pair.publish_all();
    pair.on_source("CREATE TABLE filler (n int)");
    pair
}

/// Copies under updates; `meanwhile` is called when a part of it is there.
fn copies(pair: &Pair, meanwhile: impl FnOnce()) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ends = Over(&over);
        scope.spawn(|| {
            let mut session = pair.source.connect("odoo");
            let mut n = 0;
            while !over.load(Ordering::SeqCst) {
                n += 7;
                let sql = format!("UPDATE t SET v = v + 1 WHERE id IN ({}, {})", n % 3000, n * 11 % 3000);
                session.batch_execute(&sql).expect("the source is up");
                thread::sleep(Duration::from_millis(2));
            }
        });
        pair.configure_and_start();
        let copied = "SELECT count(*) FROM odoo_mirror_internal.ranges WHERE snapshot IS NOT NULL";
        eventually("a part is copied", LIMIT, || {
            (pair.mirror_value(copied).parse().unwrap_or(0) > 40).then_some(())
        });
        meanwhile();
        pair.wait_ready(LIMIT);
        thread::sleep(Duration::from_millis(300));
        drop(ends);
    });
    pair.assert_all_equal();
}

/// Hands out transaction ids until the wrap is passed; what that writes is undone.
fn wraps(pair: &Pair) {
    pair.on_source(&format!(
        "BEGIN;
         DO $$ BEGIN
             WHILE pg_snapshot_xmax(pg_current_snapshot())::text::bigint < {WRAP} + 20 LOOP
                 BEGIN INSERT INTO filler VALUES (1); RAISE EXCEPTION 'undone'; EXCEPTION WHEN raise_exception THEN END;
             END LOOP; END $$;
         ROLLBACK"
    ));
}

/// Compares while commits wait that are streamed already, and that no snapshot sees; `between` is
/// called between two of them.
fn compares(pair: &Pair, between: impl FnOnce()) {
    pair.source.commits_wait("odoo");
    let waiting = |table: &str| {
        let mut session = pair.source.connect("odoo");
        let sql = format!("UPDATE {table} SET x = 'waits' WHERE id BETWEEN 5 AND 15");
        let writer = thread::spawn(move || session.batch_execute(&sql).ok());
        let shown = format!("SELECT count(*) FROM odoo_mirror.{table} WHERE x = 'waits'");
        eventually("it is shown before the source shows it", LIMIT, || {
            (pair.mirror_value(&shown) == "11").then_some(())
        });
        writer
    };
    let first = waiting("t");
    between();
    let second = waiting("u");
    let id = pair.mirror_value("SELECT odoo_mirror.verify(repair => true)");
    thread::sleep(Duration::from_secs(1));
    for table in ["t", "u"] {
        let shown = format!("SELECT count(*) FROM odoo_mirror.{table} WHERE x = 'waits'");
        assert_eq!(pair.mirror_value(&shown), "11", "older rows were written over newer ones");
    }
    pair.source.commits_go_on("odoo");
    let proven = ended(pair, &id);
    for (table, rows) in [("t", 3000), ("u", 20)] {
        assert_eq!((proven.count(table, "different"), proven.count(table, "rows")), (0, rows), "{proven:?}");
    }
    for writer in [first, second] {
        writer.join().expect("the writer ends");
    }
    pair.assert_all_equal();
}

#[test]
fn a_source_past_its_first_four_billion_transactions_is_copied_streamed_and_compared_exactly() {
    let pair = begins(builder().source_epoch(1));
    let now: u64 =
        pair.source_value("SELECT pg_snapshot_xmax(pg_current_snapshot())").parse().expect("a number");
    assert!(now > WRAP);
    copies(&pair, || {});
    compares(&pair, || {});
}

#[test]
fn transaction_ids_may_wrap_around_in_the_middle_of_a_copy() {
    let pair = begins(builder().source_next_xid(WRAP - 900));
    let session = std::sync::Mutex::new(pair.source.connect("odoo"));
    copies(&pair, || {
        // An old one, whose id is from before the wrap, ends long after it.
        let prepare = "BEGIN; UPDATE t SET x = 'prepared' WHERE id < 100; PREPARE TRANSACTION 'old'";
        session.lock().expect("one thread").batch_execute(prepare).expect("the source is up");
        wraps(&pair);
        pair.on_source("COMMIT PREPARED 'old'");
    });
    let sides = format!(
        "SELECT count(*) FILTER (WHERE split_part(snapshot, ':', 2)::numeric < {WRAP}) > 0
            AND count(*) FILTER (WHERE split_part(snapshot, ':', 1)::numeric > {WRAP}) > 0
         FROM odoo_mirror_internal.ranges WHERE table_name = 't'"
    );
    assert_eq!(pair.mirror_value(&sides), "t", "it wrapped in the middle");
}

#[test]
fn transaction_ids_may_wrap_around_in_the_middle_of_the_stream_and_of_a_comparison() {
    let pair = begins(builder().source_next_xid(WRAP - 900));
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    compares(&pair, || wraps(&pair));
    for n in 1..4 {
        pair.on_source(&format!("UPDATE t SET v = {n} WHERE id = {n}; DELETE FROM u WHERE id = {n}"));
    }
    pair.assert_all_equal();
}
