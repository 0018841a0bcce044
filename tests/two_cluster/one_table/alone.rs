//! What goes wrong with one table stops no other.

use super::LIMIT;
use crate::harness::{Pair, eventually};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// Sets a flag when it is dropped, in a panic too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn tables_that_come_and_go_make_no_other_stale() {
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").start();
    pair.on_source("CREATE TABLE beat (id int PRIMARY KEY, n int); INSERT INTO beat VALUES (1, 0); CREATE PUBLICATION odoo_pub_scout FOR ALL TABLES");
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let lives = |pair: &Pair| {
        pair.mirror_value("SELECT sum(value) FROM odoo_mirror.metrics() WHERE name = 'etl_reconnects_total'")
    };
    let before = lives(&pair);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ends = Over(&over);
        // Without a key and with one, alone and with its schema.
        for makes in [
            "CREATE TABLE rep_{n} AS SELECT generate_series(1, 1000) AS id; SELECT pg_sleep(0.15); DROP TABLE rep_{n}",
            "CREATE TABLE key_{n} (id int PRIMARY KEY, a text DEFAULT 'x'); INSERT INTO key_{n} SELECT generate_series(1, 1000);
             SELECT pg_sleep(0.1); ALTER TABLE key_{n} RENAME a TO b; SELECT pg_sleep(0.1); DROP TABLE key_{n}",
            "CREATE SCHEMA s_{n}; CREATE TABLE s_{n}.t (id int PRIMARY KEY); INSERT INTO s_{n}.t VALUES (1); SELECT pg_sleep(0.15); DROP SCHEMA s_{n} CASCADE",
        ] {
            let (pair, over) = (&pair, &over);
            scope.spawn(move || {
                let mut session = pair.source.connect("odoo");
                let mut n = 0;
                while !over.load(SeqCst) {
                    n += 1;
                    for statement in makes.replace("{n}", &n.to_string()).split("; ") {
                        session.batch_execute(statement).expect("it is up");
                    }
                }
            });
        }
        let end = Instant::now() + Duration::from_secs(8);
        let mut n = 0;
        while Instant::now() < end {
            n += 1;
            pair.on_source(&format!("UPDATE beat SET n = {n}"));
            eventually("the mirror shows the beat", Duration::from_secs(6), || {
                (pair.mirror_value("SELECT n FROM odoo_mirror.beat") == n.to_string()).then_some(())
            });
            thread::sleep(Duration::from_millis(20));
        }
        drop(ends);
    });
    assert_eq!(lives(&pair), before, "the mirror had to connect anew\n{}", pair.status());
}

#[test]
fn a_table_that_may_not_be_read_any_more_fails_alone_and_goes_on_by_itself() {
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").start();
    pair.on_source("CREATE ROLE repl LOGIN REPLICATION; CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY);
        INSERT INTO t VALUES (1); GRANT SELECT ON t, u TO repl");
    pair.publish_all();
    let conninfo = pair.conninfo().replace("user=postgres", "user=repl");
    pair.on_mirror(&format!("SELECT odoo_mirror.configure('{conninfo}')"));
    pair.on_mirror("SELECT odoo_mirror.start()");
    pair.wait_ready(LIMIT);
    let worker =
        pair.mirror_value("SELECT sum(value) FROM odoo_mirror.metrics() WHERE name = 'etl_reconnects_total'");
    pair.on_source("REVOKE SELECT ON t FROM repl");
    // Only verified, it stays ready, and the job says why.
    let job = pair.mirror_value("SELECT odoo_mirror.verify()");
    let state = |job: &str| {
        pair.mirror_value(&format!(
            "SELECT state || ' ' || coalesce(error, '') FROM odoo_mirror.jobs() WHERE id = {job}"
        ))
    };
    let ended = eventually("the job ends", LIMIT, || {
        Some(state(&job)).filter(|state| !state.starts_with("running") && !state.starts_with("waiting"))
    });
    assert!(ended.starts_with("failed") && ended.contains("permission denied for table t"), "{ended}");
    assert_eq!(pair.mirror_value("SELECT state FROM odoo_mirror.tables() WHERE table_name = 't'"), "ready");
    assert_eq!(
        pair.mirror_value("SELECT verified_lsn IS NOT NULL FROM odoo_mirror.tables() WHERE table_name = 'u'"),
        "t"
    );
    // Its rows are to be filled anew.
    pair.on_source("ALTER TABLE t ALTER id TYPE bigint; INSERT INTO t VALUES (2); INSERT INTO u VALUES (2)");
    pair.wait_table("t", "failed");
    pair.caught_up();
    pair.assert_equal("u");
    pair.on_source("GRANT SELECT ON t TO repl");
    pair.wait_table("t", "ready");
    pair.assert_all_equal();
    let after =
        pair.mirror_value("SELECT sum(value) FROM odoo_mirror.metrics() WHERE name = 'etl_reconnects_total'");
    assert_eq!(after, worker, "the mirror had to connect anew\n{}", pair.status());
}
