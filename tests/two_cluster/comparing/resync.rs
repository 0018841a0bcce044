use super::{LIMIT, Over, ended, job};
use crate::harness::{Pair, eventually};
use crate::traffic::{SCHEMA, Traffic};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

#[test]
fn readers_see_no_row_less_while_a_table_is_resynced_and_other_tables_go_on() {
    let pair = Pair::mirroring(&format!(
        "{SCHEMA} CREATE TABLE big (id int PRIMARY KEY, x text); INSERT INTO big SELECT n, repeat(md5(n::text), 5) FROM generate_series(1, 60000) n; ANALYZE big"
    ));
    pair.on_mirror("UPDATE odoo_mirror.big SET x = 'wrong' WHERE id % 100 = 0");
    let traffic = Traffic::start(&pair);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ends = Over(&over);
        let reader = scope.spawn(|| {
            let mut session = pair.mirror.connect("mirror");
            let mut looks = 0;
            while !over.load(SeqCst) {
                let rows: i64 =
                    session.query_one("SELECT count(*) FROM odoo_mirror.big", &[]).expect("it is up").get(0);
                assert_eq!(rows, 60000);
                looks += 1;
            }
            looks
        });
        let slowest = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !over.load(SeqCst) {
                let began = Instant::now();
                pair.caught_up();
                slowest = slowest.max(began.elapsed());
            }
            slowest
        });
        let resynced = job(&pair, "resync('big')");
        drop(ends);
        assert_eq!(resynced.state, "done", "{resynced:?}");
        assert_eq!(resynced.count("big", "written"), 600, "only rows that differ are written: {resynced:?}");
        let looks = reader.join().expect("the reader saw every row");
        assert!(looks > 0);
        slowest.join().expect("the others went on");
    });
    traffic.end();
    pair.assert_all_equal();
}

#[test]
fn a_table_that_joins_the_publication_is_filled_while_the_stream_goes_on() {
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").start();
    pair.on_source(SCHEMA);
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let traffic = Traffic::start(&pair);
    pair.on_source(
        "CREATE TABLE joins (id int PRIMARY KEY, x text, big text);
         INSERT INTO joins SELECT n, md5(n::text), CASE WHEN n % 500 = 0 THEN repeat(md5(n::text), 500) END FROM generate_series(1, 20000) n; ANALYZE joins;
         ALTER PUBLICATION odoo_pub_scout ADD TABLE joins",
    );
    let mut writer = pair.source.connect("odoo");
    let mut n = 0;
    eventually("it is ready", LIMIT, || {
        n += 1;
        writer
            .batch_execute(&format!(
                "UPDATE joins SET x = 'u{n}' WHERE id % 97 = {0}; UPDATE joins SET id = 100000 + id WHERE id = {1};
                 DELETE FROM joins WHERE id = {2}; INSERT INTO joins VALUES ({3}, 'new')",
                n % 97, 500 * (n % 40), 700 + n, 200000 + n
            ))
            .expect("it is up");
        let state = "SELECT state FROM odoo_mirror.tables() WHERE table_name = 'joins'";
        let rows = pair.mirror.try_rows("mirror", state).ok()?;
        (rows.first()?.first()?.as_deref() == Some("ready")).then_some(())
    });
    traffic.end();
    pair.assert_all_equal();
    let proven = job(&pair, "verify('joins')");
    assert_eq!(proven.count("joins", "different"), 0, "{proven:?}");
}

#[test]
fn resync_brings_a_failed_table_back_and_says_what_of_a_table_without_a_key() {
    let pair = Pair::mirroring(
        "CREATE TABLE t (id int PRIMARY KEY, x text); INSERT INTO t SELECT n, 'x' FROM generate_series(1, 5000) n;
         CREATE TABLE keyless (x int); ALTER TABLE keyless REPLICA IDENTITY FULL; INSERT INTO keyless SELECT generate_series(1, 50)",
    );
    pair.on_mirror("ALTER TABLE odoo_mirror.t DROP COLUMN x");
    pair.on_source("UPDATE t SET x = 'y' WHERE id < 10");
    eventually("it fails", LIMIT, || {
        (pair.mirror_value("SELECT state FROM odoo_mirror.tables() WHERE table_name = 't'") == "failed")
            .then_some(())
    });
    pair.on_mirror("DELETE FROM odoo_mirror.keyless WHERE x = 7");
    let resynced = job(&pair, "resync()");
    assert_eq!((resynced.state.as_str(), resynced.error.as_str()), ("done", ""), "{resynced:?}");
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
}

#[test]
fn a_resync_waits_for_a_table_that_is_being_altered_on_the_source_and_the_stream_goes_on_meanwhile() {
    let pair = Pair::mirroring(
        "CREATE TABLE kept (id int PRIMARY KEY, x text); INSERT INTO kept VALUES (1, 'one');
         CREATE TABLE altered (id int PRIMARY KEY, x text); INSERT INTO altered VALUES (1, 'one')",
    );
    let lives = || {
        pair.mirror_value("SELECT sum(value) FROM odoo_mirror.metrics() WHERE name = 'etl_reconnects_total'")
    };
    let began = lives();
    let mut altering = pair.source.connect("odoo");
    altering.batch_execute("BEGIN; ALTER TABLE altered ADD y int").expect("it is up");
    pair.on_mirror("UPDATE odoo_mirror.kept SET x = 'wrong'");
    let id = pair.mirror_value("SELECT odoo_mirror.resync('kept')");
    eventually("status() says what the job waits for", LIMIT, || {
        pair.status().contains("holds a lock on a published table").then_some(())
    });
    for n in 2..40 {
        pair.on_source(&format!("INSERT INTO kept VALUES ({n}, 'while it is altered')"));
        let shown = format!("SELECT count(*) FROM odoo_mirror.kept WHERE id = {n}");
        eventually("the row shows", LIMIT, || (pair.mirror_value(&shown) == "1").then_some(()));
        std::thread::sleep(Duration::from_millis(200));
    }
    let state = format!("SELECT state FROM odoo_mirror.jobs() WHERE id = {id}");
    assert_eq!(pair.mirror_value(&state), "waiting");
    altering.batch_execute("COMMIT; INSERT INTO altered VALUES (2, 'two', 2)").expect("it is up");
    let resynced = ended(&pair, &id);
    assert_eq!((resynced.state.as_str(), resynced.count("kept", "written")), ("done", 1), "{resynced:?}");
    assert_eq!(lives(), began, "the mirror went on in one life");
    pair.caught_up();
    pair.assert_all_equal();
}
