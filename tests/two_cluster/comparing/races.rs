//! What the fence is built against: what is in the WAL and not visible, visible and not in the WAL,
//! open for long, moved, emptied.

use super::{LIMIT, Over, ended, job};
use crate::harness::{Pair, eventually, signal};
use std::thread;
use std::time::Duration;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, x text, big text);
    ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
    INSERT INTO t SELECT n, md5(n::text), CASE WHEN n % 10 = 0 THEN repeat(md5(n::text), 100) END FROM generate_series(1, 3000) n; ANALYZE t";

#[test]
fn commits_that_wait_for_a_synchronous_standby_raise_no_false_alarm() {
    let pair = Pair::mirroring(TABLE);
    pair.source.commits_wait("odoo");
    let mut session = pair.source.connect("odoo");
    let writer = thread::spawn(move || {
        session.batch_execute("UPDATE t SET x = 'waits' WHERE id BETWEEN 100 AND 200; UPDATE t SET x = 'waits', id = id + 100000 WHERE id = 50").ok();
    });
    let shown = "SELECT count(*) FROM odoo_mirror.t WHERE x = 'waits'";
    eventually("the mirror shows it before the source does", LIMIT, || {
        (pair.mirror_value(shown) != "0").then_some(())
    });
    assert_eq!(pair.source_value("SELECT count(*) FROM t WHERE x = 'waits'"), "0");
    let id = pair.mirror_value("SELECT odoo_mirror.verify('t', repair => true)");
    thread::sleep(Duration::from_secs(3));
    pair.source.commits_go_on("odoo");
    let proven = ended(&pair, &id);
    writer.join().expect("the writer ends");
    assert_eq!((proven.count("t", "different"), proven.count("t", "rows")), (0, 3000), "{proven:?}");
    pair.assert_all_equal();
}

#[test]
fn asynchronous_commits_and_key_changes_and_long_transactions_raise_no_false_alarm() {
    let pair = Pair::builder()
        .mirror_conf("odoo_mirror.compare_rows", "200")
        .mirror_conf("odoo_mirror.compare_share", "100")
        .start();
    pair.on_source(TABLE);
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let ends = Over(&over);
        for worker in 0..3 {
            let (pair, over) = (&pair, &over);
            scope.spawn(move || {
                let mut session = pair.source.connect("odoo");
                session.batch_execute("SET synchronous_commit = off").expect("it is up");
                let mut n = worker;
                while !over.load(std::sync::atomic::Ordering::SeqCst) {
                    n += 3;
                    let (a, b, c) = (n * 7 % 3000, n * 13 % 3000, 100_000 + n);
                    let sql = match worker {
                        // The TOASTed value isn't sent again.
                        0 => format!("UPDATE t SET x = 'a{n}' WHERE id = {a}; UPDATE t SET id = {c} WHERE id = {b}"),
                        1 => format!("BEGIN; UPDATE t SET x = 'b{n}' WHERE id = {a}; SELECT pg_sleep(0.05); DELETE FROM t WHERE id = {b}; COMMIT; INSERT INTO t VALUES ({c}, 'new')"),
                        _ => format!("BEGIN; SAVEPOINT s; UPDATE t SET x = 'c' WHERE id = {a}; ROLLBACK TO s; UPDATE t SET x = 'd{n}' WHERE id = {a}; COMMIT"),
                    };
                    if session.batch_execute(&sql).is_err() {
                        let _ = session.batch_execute("ROLLBACK");
                    }
                    // As fast as two processors can follow, that is: in the end the mirror must
                    // have caught up.
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let mut long = pair.source.connect("odoo");
        long.batch_execute("BEGIN; INSERT INTO t VALUES (500000, 'long')").expect("it is up");
        for round in 0..6 {
            let proven = job(&pair, "verify('t')");
            assert_eq!(proven.count("t", "different"), 0, "round {round}: {proven:?}");
        }
        long.batch_execute("COMMIT").expect("it is up");
        let proven = job(&pair, "verify('t')");
        assert_eq!(proven.count("t", "different"), 0, "{proven:?}");
        drop(ends);
    });
    pair.assert_all_equal();
}

#[test]
fn rows_that_are_changed_in_part_without_a_pause_are_proven_all_the_same() {
    // No value is sent again but x: what a snapshot doesn't see of these rows, the stream alone
    // can't tell.
    let pair = Pair::mirroring(
        "CREATE TABLE t (id int PRIMARY KEY, x int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         INSERT INTO t SELECT n, 0, repeat(md5(n::text), 100) FROM generate_series(1, 20) n; ANALYZE t",
    );
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let ends = Over(&over);
        scope.spawn(|| {
            let mut session = pair.source.connect("odoo");
            while !over.load(std::sync::atomic::Ordering::SeqCst) {
                session.batch_execute("UPDATE t SET x = x + 1").expect("it is up");
            }
        });
        for _ in 0..3 {
            let proven = job(&pair, "verify('t')");
            assert_eq!((proven.count("t", "different"), proven.count("t", "rows")), (0, 20), "{proven:?}");
        }
        drop(ends);
    });
    pair.assert_all_equal();
}

#[test]
fn a_truncate_and_a_rewrite_in_the_middle_of_a_verify_raise_no_false_alarm() {
    let pair = Pair::builder()
        .mirror_conf("odoo_mirror.compare_rows", "50")
        .mirror_conf("odoo_mirror.compare_share", "100")
        .start();
    pair.on_source(TABLE);
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    for what in [
        "TRUNCATE t",
        "VACUUM FULL t",
        "TRUNCATE t; INSERT INTO t SELECT n, 'again' FROM generate_series(1, 2000) n",
    ] {
        let id = pair.mirror_value("SELECT odoo_mirror.verify('t')");
        thread::sleep(Duration::from_millis(30));
        pair.on_source(what);
        let proven = ended(&pair, &id);
        assert_eq!(proven.count("t", "different"), 0, "{what}: {proven:?}");
        pair.on_source("INSERT INTO t SELECT n, md5(n::text) FROM generate_series(10001, 12000) n ON CONFLICT DO NOTHING");
        pair.assert_all_equal();
    }
}

#[test]
fn a_truncate_that_is_under_way_is_waited_for_before_anything_is_read() {
    let pair = Pair::mirroring(TABLE);
    let mut session = pair.source.connect("odoo");
    session.batch_execute("BEGIN; TRUNCATE t").expect("it is up");
    let id = pair.mirror_value("SELECT odoo_mirror.verify('t')");
    // By now the stream would have passed a snapshot from before, whose rows are gone once they may
    // be read.
    thread::sleep(Duration::from_secs(2));
    let walsender = pair.source_value("SELECT active_pid FROM pg_replication_slots WHERE active");
    let walsender: i32 = walsender.parse().expect("the mirror streams");
    // The source's answer comes before the stream tells why.
    assert!(signal(walsender, "STOP"));
    session.batch_execute("COMMIT").expect("it is up");
    thread::sleep(Duration::from_secs(2));
    assert!(signal(walsender, "CONT"));
    let proven = ended(&pair, &id);
    assert_eq!((proven.count("t", "different"), proven.count("t", "rows")), (0, 0), "{proven:?}");
    pair.assert_all_equal();
}

#[test]
fn text_keys_are_compared_alike_under_two_collations() {
    let pair = Pair::builder().start();
    pair.on_source("CREATE TABLE t (name text COLLATE \"C\" PRIMARY KEY, n int);
        INSERT INTO t SELECT CASE n % 4 WHEN 0 THEN 'a' WHEN 1 THEN 'B' WHEN 2 THEN 'ä' ELSE '\\' END || n || '''', n FROM generate_series(1, 4000) n; ANALYZE t");
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.on_mirror("DELETE FROM odoo_mirror.t WHERE n IN (17, 18, 19, 20); UPDATE odoo_mirror.t SET n = -n WHERE n BETWEEN 100 AND 103");
    let repaired = job(&pair, "verify('t', repair => true)");
    assert_eq!(repaired.count("t", "written"), 8, "{repaired:?}");
    pair.assert_all_equal();
}
