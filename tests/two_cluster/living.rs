//! Beside everything else on its server: the worker ends when it is told to, and holds nobody up.

use crate::harness::{Pair, PairBuilder, Proxy, Shutdown, eventually};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
/// Within a second, says the design; a busy machine is given more.
const SOON: Duration = Duration::from_secs(3);

fn quick() -> PairBuilder {
    Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").proxied()
}

fn proxy(pair: &Pair) -> &Proxy {
    pair.proxy.as_ref().expect("it was asked for")
}

const SCHEMA: &str = "CREATE TABLE t (id serial PRIMARY KEY, x text); INSERT INTO t (x) VALUES ('one')";

fn streaming() -> Pair {
    let pair = quick().start();
    pair.on_source(SCHEMA);
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.caught_up();
    pair
}

/// What it is called, and how a pair gets into it.
type Situation = (&'static str, fn() -> Pair);

/// Pairs in each of the situations in which the worker must listen; the last of each waits for what
/// never comes.
fn situations() -> [Situation; 5] {
    [
        ("idle", streaming),
        ("in a big transaction", || {
            let pair = streaming();
            proxy(&pair).slow_down(Duration::from_millis(20));
            pair.on_source("INSERT INTO t (x) SELECT md5(n::text) FROM generate_series(1, 100000) n");
            // Received in part, and applied in part in the open transaction.
            let applying = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'odoo_mirror' AND backend_xid IS NOT NULL";
            eventually("a part is applied", LIMIT, || (pair.mirror_value(applying) == "1").then_some(()));
            pair
        }),
        ("in a long statement", || {
            let pair = streaming();
            // A trigger of somebody's own that fires in replica role too.
            pair.on_mirror(
                "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
                 CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON odoo_mirror.t FOR EACH ROW WHEN (NEW.x = 'slow') EXECUTE FUNCTION slow();
                 ALTER TABLE odoo_mirror.t ENABLE ALWAYS TRIGGER slow",
            );
            pair.on_source("INSERT INTO t (x) VALUES ('slow')");
            let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'odoo_mirror' AND wait_event = 'PgSleep'";
            eventually("the statement sleeps", LIMIT, || (pair.mirror_value(sleeping) == "1").then_some(()));
            pair
        }),
        ("in a copy", || {
            let pair = quick().start();
            pair.on_source(SCHEMA);
            pair.on_source("INSERT INTO t (x) SELECT md5(n::text) FROM generate_series(1, 100000) n");
            pair.publish_all();
            proxy(&pair).slow_down(Duration::from_millis(20));
            pair.configure_and_start();
            let copying = "SELECT count(*) FROM odoo_mirror.tables() WHERE copied_bytes > 0";
            eventually("rows come in", LIMIT, || (pair.mirror_value(copying) == "1").then_some(()));
            pair
        }),
        ("while the network is frozen", || {
            let pair = streaming();
            proxy(&pair).freeze();
            pair.on_source("INSERT INTO t (x) VALUES ('two')");
            std::thread::sleep(Duration::from_secs(1));
            pair
        }),
    ]
}

/// Lets go of what was slow.
fn relax(pair: &Pair) {
    let proxy = proxy(pair);
    proxy.slow_down(Duration::ZERO);
    proxy.thaw();
}

#[test]
fn whatever_it_does_drop_database_is_not_held_up_and_pg_terminate_backend_ends_it_soon() {
    for (situation, pair) in situations() {
        let pair = pair();
        // Of another database: its end is a barrier that every process of the server must
        // acknowledge.
        let mut session = pair.mirror.connect("postgres");
        session.batch_execute("CREATE DATABASE other").expect("there is none yet");
        session.batch_execute("SET statement_timeout = '30s'").expect("it is open");
        let begun = Instant::now();
        session.batch_execute("DROP DATABASE other").expect("nobody is in it");
        assert!(begun.elapsed() < SOON, "{situation}: DROP DATABASE took {:?}", begun.elapsed());

        let workers = "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'odoo_mirror%'";
        let pids: Vec<String> = pair.mirror.rows("mirror", workers).into_iter().flatten().flatten().collect();
        assert!(!pids.is_empty(), "{situation}");
        for pid in &pids {
            pair.on_mirror(&format!("SELECT pg_terminate_backend({pid})"));
        }
        let alive = format!("SELECT count(*) FROM pg_stat_activity WHERE pid IN ({})", pids.join(", "));
        eventually(&format!("{situation}: it has ended"), SOON, || {
            (pair.mirror_value(&alive) == "0").then_some(())
        });
        relax(&pair);
        if situation == "in a long statement" {
            pair.on_mirror("DROP TRIGGER slow ON odoo_mirror.t");
        }
        pair.wait_ready(LIMIT);
        pair.assert_all_equal();
        let log = pair.mirror.log();
        assert!(!log.contains("terminated by signal") && !log.contains("PANIC"), "{situation}");
    }
}

#[test]
fn a_fast_shutdown_ends_it_soon_whatever_it_does_and_it_goes_on_after_the_next_start() {
    for (situation, pair) in situations() {
        let pair = pair();
        let took = pair.mirror.stop(Shutdown::Fast);
        // With the checkpoint that every shutdown makes.
        assert!(took < SOON + Duration::from_secs(2), "{situation}: {took:?}");
        relax(&pair);
        pair.mirror.start();
        if situation == "in a long statement" {
            pair.on_mirror("ALTER TABLE odoo_mirror.t DISABLE TRIGGER slow");
        }
        pair.wait_ready(LIMIT);
        pair.assert_all_equal();
    }
}

#[test]
fn stop_ends_it_soon_whatever_it_does_and_start_goes_on() {
    for (situation, pair) in situations() {
        if situation == "in a long statement" {
            // stop() doesn't cancel statements: the batch that runs is finished.
            continue;
        }
        let pair = pair();
        pair.on_mirror("SELECT odoo_mirror.stop()");
        let begun = Instant::now();
        pair.wait_state("stopped");
        assert!(begun.elapsed() < SOON, "{situation}: {:?}", begun.elapsed());
        relax(&pair);
        pair.on_mirror("SELECT odoo_mirror.start()");
        pair.wait_ready(LIMIT);
        pair.assert_all_equal();
    }
}

#[test]
fn drop_extension_while_it_streams_leaves_tables_and_rows_and_it_can_be_made_again() {
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").start();
    pair.on_source(crate::traffic::SCHEMA);
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let traffic = crate::traffic::Traffic::start(&pair);
    eventually("rows flow", LIMIT, || crate::traffic::shown(&pair).filter(|rows| *rows > 20));
    pair.on_mirror("SET statement_timeout = '20s'; DROP EXTENSION odoo_mirror");
    let kept = crate::traffic::shown(&pair).expect("the tables are there");
    assert!(kept > 20);
    let activity = "SELECT query FROM pg_stat_activity WHERE backend_type = 'odoo_mirror'";
    eventually("the worker idles", LIMIT, || (pair.mirror_value(activity) == "no extension").then_some(()));
    assert_eq!(pair.source_value("SELECT count(*) FROM pg_replication_slots WHERE active"), "0");
    assert_eq!(crate::traffic::shown(&pair), Some(kept), "nothing is applied any more");

    pair.on_mirror("CREATE EXTENSION odoo_mirror");
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    traffic.end();
    pair.assert_all_equal();
    assert!(crate::traffic::shown(&pair) > Some(kept));
}

#[test]
fn drop_extension_during_a_copy_is_not_held_up_for_long() {
    let pair = situations()[3].1();
    pair.on_mirror("SET statement_timeout = '20s'; DROP EXTENSION odoo_mirror");
    relax(&pair);
    pair.on_mirror("CREATE EXTENSION odoo_mirror");
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
}

#[test]
fn a_users_lock_on_a_mirror_table_is_waited_for_and_told() {
    let pair = Pair::builder()
        .mirror_conf("odoo_mirror.poll_interval", "1")
        .mirror_conf("odoo_mirror.lock_timeout", "500ms")
        .start();
    pair.on_source(SCHEMA);
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let mut holder = pair.mirror.connect("mirror");
    holder.batch_execute("BEGIN; LOCK TABLE odoo_mirror.t IN ACCESS EXCLUSIVE MODE").expect("it is free");
    pair.on_source("INSERT INTO t (x) VALUES ('waits'), ('too')");
    let status = pair.wait_status("it says what it waits for", |status| {
        status["message"].as_str().is_some_and(|message| message.contains("lock"))
    });
    let told = format!("{}{}", status["message"], status["last_error"]);
    assert!(
        told.contains("odoo_mirror.t") || told.contains("table \\\"t\\\"") || told.contains("table t"),
        "{status:#}"
    );
    assert!(!status["last_error"]["hint"].is_null(), "{status:#}");
    // Nothing is lost for the wait, and no table is given up for it.
    std::thread::sleep(Duration::from_secs(2));
    assert!(pair.mirror.mirror_status("mirror")["tables"]["failed"].is_null());
    holder.batch_execute("COMMIT").expect("it is open");
    pair.assert_all_equal();
    let status = pair.wait_state("streaming");
    assert!(status["message"].is_null(), "{status:#}");
}

#[test]
fn a_users_lock_in_the_middle_of_a_big_transaction_costs_nothing_but_time() {
    let pair = Pair::builder()
        .mirror_conf("odoo_mirror.poll_interval", "1")
        .mirror_conf("odoo_mirror.lock_timeout", "500ms")
        .start();
    pair.on_source(SCHEMA);
    pair.on_source("CREATE TABLE u (id serial PRIMARY KEY)");
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let mut holder = pair.mirror.connect("mirror");
    holder.batch_execute("BEGIN; LOCK TABLE odoo_mirror.u IN ACCESS EXCLUSIVE MODE").expect("it is free");
    pair.on_source(
        "BEGIN; INSERT INTO t (x) SELECT md5(n::text) FROM generate_series(1, 20000) n;
         INSERT INTO u SELECT FROM generate_series(1, 10); COMMIT",
    );
    pair.wait_status("it says what it waits for", |status| {
        status["message"].as_str().is_some_and(|message| message.contains("lock"))
    });
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.t"), "1");
    holder.batch_execute("COMMIT").expect("it is open");
    pair.assert_all_equal();
    assert_eq!(pair.metric("etl_records_processed_total", r#"{"operation": "insert"}"#), 20010.0);
}
