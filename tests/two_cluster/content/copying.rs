//! Copies while the source is written to, and everything dies now and then.

use super::writers::{SCHEMA, Writers, break_something};
use super::{LIMIT, begin, builder, tables};
use crate::harness::{Pair, Rng, eventually};
use std::thread;
use std::time::{Duration, Instant};

/// Copies, breaks things until every table was ready or `storm` is over, streams a while, compares.
fn copies_in_a_storm(seed: u64, copy_workers: &str, storm: Duration) {
    let mut rng = Rng::seeded(seed);
    let pair = builder()
        .mirror_conf("odoo_mirror.copy_range_rows", "50")
        .mirror_conf("odoo_mirror.copy_workers", copy_workers)
        .mirror_conf("odoo_mirror.batch_size", "20")
        .proxied()
        .start();
    pair.on_source(SCHEMA);
    pair.publish_all();
    let writers = Writers::start(&pair, &mut rng, 3);
    pair.configure_and_start();
    let end = Instant::now() + storm;
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(rng.number(300..2000) as u64));
        break_something(&pair, &mut rng);
    }
    // Quiet enough to be ready, while people still write.
    pair.wait_ready(LIMIT);
    for _ in 0..2 {
        break_something(&pair, &mut rng);
        thread::sleep(Duration::from_millis(700));
    }
    assert!(writers.stop() > 100, "the writers did little");
    assert_settled(&pair);
}

/// Equal, and not because a difference was noticed and copied over: nobody but the mirror wrote
/// here.
#[track_caller]
fn assert_settled(pair: &Pair) {
    pair.wait_ready(LIMIT);
    pair.caught_up_within(LIMIT);
    let told = "SELECT t.table_name, t.state, t.reason, (SELECT value FROM odoo_mirror.metrics()
            WHERE labels ->> 'table' = t.table_name AND labels ->> 'term' = 'missing')
        FROM odoo_mirror.tables() t WHERE t.state <> 'ready' OR EXISTS (SELECT FROM odoo_mirror.metrics()
            WHERE labels ->> 'table' = t.table_name AND labels ->> 'term' = 'missing' AND value > 0)";
    let told = pair.mirror.rows("mirror", told);
    assert!(told.is_empty(), "rows were found missing: {told:?}\nstatus: {}", pair.status());
    pair.assert_all_equal();
}

#[test]
fn a_copy_by_the_worker_itself_ends_equal_while_people_write_and_processes_die() {
    copies_in_a_storm(1, "0", Duration::from_secs(8));
}

#[test]
fn a_copy_by_four_workers_ends_equal_while_people_write_and_processes_die() {
    copies_in_a_storm(2, "4", Duration::from_secs(8));
}

#[test]
fn a_copy_of_many_ranges_ends_equal_while_people_write() {
    let mut rng = Rng::seeded(3);
    let pair = builder().mirror_conf("odoo_mirror.copy_range_rows", "10").start();
    pair.on_source(SCHEMA);
    pair.publish_all();
    let writers = Writers::start(&pair, &mut rng, 4);
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    // Of a table that was rewritten meanwhile and compared instead, no range is left.
    let ranges = pair.mirror_value(
        "SELECT count(*) FROM odoo_mirror_internal.ranges GROUP BY table_name ORDER BY 1 DESC LIMIT 1",
    );
    assert!(ranges.parse::<u32>().is_ok_and(|ranges| ranges > 20), "{ranges} ranges");
    writers.stop();
    assert_settled(&pair);
}

#[test]
fn a_resync_of_every_table_ends_equal_while_people_write() {
    let mut rng = Rng::seeded(4);
    let pair = builder().mirror_conf("odoo_mirror.copy_range_rows", "50").start();
    begin(&pair, SCHEMA);
    let writers = Writers::start(&pair, &mut rng, 2);
    for table in ["t_int", "t_text", "t_full"] {
        tables::resync(&pair, table);
    }
    let job = pair.mirror_value("SELECT odoo_mirror.resync()");
    eventually("resync() ends", LIMIT, || {
        let state = pair.mirror_value(&format!("SELECT state FROM odoo_mirror.jobs() WHERE id = {job}"));
        assert_ne!(state, "failed");
        (state == "done").then_some(())
    });
    writers.stop();
    assert_settled(&pair);
}

#[test]
fn readers_see_the_old_rows_until_a_resync_brings_the_new_ones() {
    let pair = super::mirroring(
        "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT n, n FROM generate_series(1, 20000) n",
    );
    let job = pair.mirror_value("SELECT odoo_mirror.resync('t')");
    let mut reader = pair.mirror.connect("mirror");
    let deadline = Instant::now() + LIMIT;
    loop {
        let row =
            reader.query_one("SELECT count(*) FROM odoo_mirror.t", &[]).expect("readers aren't disturbed");
        assert_eq!(row.get::<_, i64>(0), 20_000);
        let query = "SELECT state FROM odoo_mirror.jobs() WHERE id = $1::text::bigint";
        let state: String = reader.query_one(query, &[&job]).expect("it can be asked").get(0);
        assert_ne!(state, "failed");
        if state == "done" {
            break;
        }
        assert!(Instant::now() < deadline, "the resync doesn't end\nstatus: {}", pair.status());
    }
    pair.assert_all_equal();
}

#[test]
fn a_table_that_joins_the_publication_while_it_is_written_is_taken_in() {
    let mut rng = Rng::seeded(5);
    let pair = builder().mirror_conf("odoo_mirror.copy_range_rows", "50").start();
    pair.on_source(SCHEMA);
    pair.publish("t_big");
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let writers = Writers::start(&pair, &mut rng, 3);
    for table in ["t_int", "t_text", "t_two", "t_full", "t_index"] {
        // Under a lock that people hold now and then.
        eventually("the table joins", LIMIT, || {
            pair.source.try_sql("odoo", &format!("ALTER PUBLICATION odoo_pub_scout ADD TABLE {table}")).ok()
        });
        thread::sleep(Duration::from_millis(300));
    }
    pair.wait_ready(LIMIT);
    writers.stop();
    assert_settled(&pair);
}

#[test]
fn a_table_made_and_published_while_the_stream_runs_has_the_rows_from_before_and_after() {
    let pair = super::mirroring("CREATE TABLE old (id int PRIMARY KEY)");
    pair.on_source("CREATE TABLE fresh (id int PRIMARY KEY, a text); INSERT INTO fresh SELECT n, 'before' FROM generate_series(1, 500) n");
    pair.on_source("ALTER PUBLICATION odoo_pub_scout ADD TABLE fresh");
    pair.on_source("INSERT INTO fresh SELECT n, 'after' FROM generate_series(501, 900) n; DELETE FROM fresh WHERE id % 3 = 0");
    pair.wait_ready(LIMIT);
    pair.on_source("UPDATE fresh SET a = 'late' WHERE id % 5 = 0");
    pair.assert_all_equal();
}

#[test]
fn a_server_without_a_free_worker_slot_copies_all_the_same() {
    // The logical replication launcher takes one, the mirror's worker the other.
    let pair = builder()
        .mirror_conf("max_worker_processes", "2")
        .mirror_conf("odoo_mirror.copy_workers", "4")
        .mirror_conf("odoo_mirror.copy_range_rows", "100")
        .start();
    begin(&pair, SCHEMA);
    pair.on_source("UPDATE t_int SET b = 7");
    pair.assert_all_equal();
}

#[test]
fn a_prepared_transaction_that_commits_during_the_copy_is_mirrored() {
    let pair = builder().start();
    pair.on_source("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE TABLE other (id int PRIMARY KEY)");
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    prepared_then_committed(&pair);
}

fn prepared_then_committed(pair: &Pair) {
    let mut session = pair.source.connect("odoo");
    session
        .batch_execute("BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'p'")
        .expect("it can be prepared");
    let job = pair.mirror_value("SELECT odoo_mirror.resync('t')");
    thread::sleep(Duration::from_millis(1500));
    session.batch_execute("COMMIT PREPARED 'p'").expect("it can be committed");
    eventually("resync() ends", LIMIT, || {
        let state = pair.mirror_value(&format!("SELECT state FROM odoo_mirror.jobs() WHERE id = {job}"));
        (state == "done").then_some(())
    });
    pair.assert_all_equal();
}

#[test]
fn a_commit_from_before_the_slots_start_that_no_snapshot_sees_yet_is_waited_for() {
    let pair = builder().start();
    let source = &pair.source;
    pair.on_source("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)");
    pair.publish_all();
    source.commits_wait("odoo");
    // The slot is made in two steps, each of which waits for transactions that were open at its
    // beginning.
    let open = |row: i32| {
        let mut session = source.connect("odoo");
        session.batch_execute(&format!("BEGIN; INSERT INTO other VALUES ({row})")).expect("it is up");
        let xid = "SELECT pg_current_xact_id()::text";
        let xid: String = session.query_one(xid, &[]).expect("it is open").get(0);
        (session, xid)
    };
    let the_slot_waits_for = |xid: &str| {
        let query = format!(
            "SELECT 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted AND transactionid = '{xid}'"
        );
        let waits = || (!source.rows("odoo", &query).is_empty()).then_some(());
        eventually("the slot waits", LIMIT, waits);
    };
    let (mut first, xid) = open(1);
    pair.configure_and_start();
    the_slot_waits_for(&xid);
    let (mut second, xid) = open(2);
    first.batch_execute("ROLLBACK").expect("it is open");
    the_slot_waits_for(&xid);
    // Began after both, so that the slot doesn't wait for it, and is in the WAL before the slot's
    // start: it will not be streamed.
    let mut session = source.connect("odoo");
    let writer = thread::spawn(move || session.batch_execute("INSERT INTO t VALUES (7)"));
    let waits = || source.waits("odoo", "query LIKE 'INSERT INTO t %'").then_some(());
    eventually("its commit waits", LIMIT, waits);
    second.batch_execute("ROLLBACK").expect("it is open");
    pair.wait_status("the copy waits for it", |status| {
        let message = status["message"].as_str().unwrap_or_default();
        message.contains("waiting for transactions on the source that write")
    });
    assert_eq!(pair.source_value("SELECT count(*) FROM t"), "0");
    source.commits_go_on("odoo");
    writer.join().expect("the writer ends").expect("it is committed");
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.t"), "1");
}
