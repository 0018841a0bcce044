//! The slot: dropped, lost, moved or made anew by somebody, or another's.

use super::{LIMIT, SOON, is_healed, is_recognised, mirroring, refusals, start_and_heal, stop};
use crate::harness::{Cluster, Cut, Pair, eventually};
use std::time::Instant;

#[test]
fn a_slot_that_is_lost_dropped_moved_or_made_anew_is_told_and_healed_while_readers_keep_their_rows() {
    let pair = Pair::builder()
        .mirror_conf("odoo_mirror.poll_interval", "1")
        .source_conf("max_slot_wal_keep_size", "1MB")
        .start();
    let pair = mirroring(pair);
    let session = || pair.source.connect("odoo");
    let lose: [(&str, &str, &dyn Fn()); 4] = [
        ("lost", "was lost", &|| {
            for _ in 0..3 {
                let mut session = session();
                for statement in ["INSERT INTO t (x) VALUES ('wal')", "SELECT pg_switch_wal()", "CHECKPOINT"]
                {
                    session.batch_execute(statement).expect("it is up");
                }
            }
            let lost = "SELECT count(*) FROM pg_replication_slots WHERE wal_status = 'lost'";
            assert_eq!(pair.source_value(lost), "1");
        }),
        ("dropped", "is gone", &|| pair.on_source("SELECT pg_drop_replication_slot('odoo_mirror')")),
        ("moved", "was moved to", &|| {
            pair.on_source("SELECT pg_replication_slot_advance('odoo_mirror', pg_current_wal_lsn())");
        }),
        ("made anew", "was moved to", &|| {
            pair.on_source("SELECT pg_drop_replication_slot('odoo_mirror')");
            pair.on_source("SELECT pg_create_logical_replication_slot('odoo_mirror', 'pgoutput')");
        }),
    ];
    for (what, words, lose) in lose {
        stop(&pair);
        pair.on_source(&format!(
            "INSERT INTO t (x) VALUES ('{what}'); UPDATE t SET x = '{what}' WHERE x = 'second';
             DELETE FROM t WHERE id = (SELECT max(id) FROM t WHERE x <> 'kept'); DELETE FROM k WHERE x <> 'kept'"
        ));
        lose();
        pair.on_source(&format!(
            "UPDATE t SET x = 'second' WHERE x = '{what}'; INSERT INTO k VALUES ('{what}')"
        ));
        start_and_heal(&pair, what, words);
    }
    // Each is kept, the newest first.
    let kept = "SELECT jsonb_array_length(odoo_mirror.status() -> 'refusals')";
    assert_eq!(pair.mirror_value(kept), "4");
    let slots = "SELECT count(*) FROM pg_replication_slots";
    assert_eq!(pair.source_value(slots), "1");
    // An unlogged table that was emptied and rolled back keeps a server that crashes in that moment
    // from starting again.
    let volatile = "SELECT string_agg(oid::regclass::text, ', ') FROM pg_class WHERE relpersistence <> 'p'";
    assert_eq!(pair.mirror_value(volatile), "");
}

#[test]
fn a_slot_that_is_lost_while_the_mirror_streams_is_healed_too() {
    let pair = Pair::builder()
        .proxied()
        .mirror_conf("odoo_mirror.poll_interval", "1")
        .source_conf("max_slot_wal_keep_size", "1MB")
        .start();
    let pair = mirroring(pair);
    let proxy = pair.proxy.as_ref().expect("it was asked for");
    // Frozen, it confirms nothing; the source goes on, and gives up the slot under the open stream.
    proxy.freeze();
    let lost = "SELECT count(*) FROM pg_replication_slots WHERE wal_status = 'lost'";
    eventually("the slot is lost", LIMIT, || {
        let mut session = pair.source.connect("odoo");
        for statement in ["INSERT INTO t (x) VALUES ('wal')", "SELECT pg_switch_wal()", "CHECKPOINT"] {
            session.batch_execute(statement).expect("it is up");
        }
        (pair.source_value(lost) == "1").then_some(())
    });
    proxy.cut(Cut::Reset);
    proxy.thaw();
    is_recognised(&pair, "lost", "was lost", 0, Instant::now());
    is_healed(&pair, "lost", "was lost");
}

#[test]
fn a_first_copy_whose_slot_is_lost_begins_anew_by_itself() {
    let pair = Pair::builder().proxied().mirror_conf("odoo_mirror.copy_workers", "0").start();
    let proxy = pair.proxy.as_ref().expect("it was asked for");
    pair.on_source("CREATE TABLE t (id serial PRIMARY KEY, x text); CREATE TABLE k (x text)");
    pair.on_source("INSERT INTO t (x) SELECT md5(n::text) FROM generate_series(1, 100000) n; ANALYZE t");
    pair.publish_all();
    proxy.slow_down(std::time::Duration::from_millis(20));
    pair.configure_and_start();
    let copying = "SELECT count(*) FROM odoo_mirror.tables() WHERE copied_bytes > 0";
    eventually("rows come in", LIMIT, || (pair.mirror_value(copying) == "1").then_some(()));
    pair.on_mirror("SELECT odoo_mirror.stop()");
    pair.wait_state("stopped");
    proxy.slow_down(std::time::Duration::ZERO);
    pair.on_source("SELECT pg_drop_replication_slot('odoo_mirror'); DELETE FROM t WHERE id % 7 = 0");
    pair.on_mirror("SELECT odoo_mirror.start()");
    is_recognised(&pair, "dropped", "is gone", 0, Instant::now());
    is_healed(&pair, "dropped", "is gone");
}

#[test]
fn a_slot_of_another_plugin_or_database_is_told_and_never_dropped() {
    let pair = mirroring(Pair::start());
    pair.on_source("CREATE DATABASE elsewhere");
    let make: [(&str, &str, &str); 2] = [
        ("plugin", "odoo", "SELECT pg_create_logical_replication_slot('odoo_mirror', 'test_decoding')"),
        ("database", "elsewhere", "SELECT pg_create_logical_replication_slot('odoo_mirror', 'pgoutput')"),
    ];
    for (what, database, make) in make {
        stop(&pair);
        pair.on_source("SELECT pg_drop_replication_slot('odoo_mirror')");
        pair.source.sql(database, make);
        let before = pair.source_value("SELECT confirmed_flush_lsn FROM pg_replication_slots");
        pair.on_mirror("SELECT odoo_mirror.start()");
        let status = pair.mirror.wait_status_within(SOON, &format!("the other {what} is told"), |status| {
            status["state"] == "failed" && status["message"].as_str().is_some_and(|told| told.contains(what))
        });
        let hint = status["last_error"]["hint"].as_str().unwrap_or_default();
        assert!(hint.contains("another slot name"), "{what}: {status:#}");
        std::thread::sleep(SOON);
        assert_eq!(
            pair.source_value("SELECT confirmed_flush_lsn FROM pg_replication_slots"),
            before,
            "{what}"
        );
        // The cure: that one goes.
        let before = refusals(&pair);
        pair.source.sql(database, "SELECT pg_drop_replication_slot('odoo_mirror')");
        eventually("it is looked at again", LIMIT, || (refusals(&pair) > before).then_some(()));
        is_healed(&pair, what, "is gone");
    }
}

#[test]
fn a_server_that_configure_names_by_mistake_is_not_followed_until_resync_says_so() {
    for files in ["its own", "the same"] {
        follow_another(files);
    }
}

fn follow_another(files: &str) {
    let pair = mirroring(Pair::start());
    // Another cluster, with everything in place, even a slot of that name: initialised by itself,
    // or made of the same files.
    let other = Cluster::builder().name("other").conf("wal_level", "logical");
    let other = if files == "its own" { other.initialised_anew() } else { other }.start();
    let words = if files == "its own" { "another server" } else { "went back" };
    other.sql("postgres", "CREATE DATABASE odoo");
    other.sql(
        "odoo",
        "CREATE TABLE t (id serial PRIMARY KEY, x text); CREATE TABLE k (x text); INSERT INTO t (x) VALUES ('staging');
         CREATE PUBLICATION odoo_pub_scout FOR TABLE t, k",
    );
    other.sql("odoo", "SELECT pg_create_logical_replication_slot('odoo_mirror', 'pgoutput')");
    let there = format!("host=127.0.0.1 port={} user=postgres dbname=odoo", other.port());
    let rows = pair.mirror_value("SELECT count(*) FROM odoo_mirror.t");
    pair.on_mirror(&format!("SELECT odoo_mirror.configure('{there}')"));
    pair.on_mirror("SELECT odoo_mirror.start()");
    let status = pair.mirror.wait_status_within(SOON, "another server is told", |status| {
        status["state"] == "failed" && status["message"].as_str().is_some_and(|told| told.contains(words))
    });
    let hint = status["last_error"]["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("odoo_mirror.resync()"), "{status:#}");
    other.sql("odoo", "INSERT INTO t (x) VALUES ('more')");
    std::thread::sleep(SOON);
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.t"), rows);
    assert_eq!(other.value("odoo", "SELECT count(*) FROM pg_replication_slots"), "1");
    // Back at the right one it goes on where it stood.
    pair.on_mirror(&format!("SELECT odoo_mirror.configure('{}')", pair.conninfo()));
    pair.on_mirror("SELECT odoo_mirror.start()");
    pair.on_source("INSERT INTO t (x) VALUES ('still here')");
    pair.assert_all_equal();
    assert!(pair.mirror.mirror_status("mirror")["refusals"][0]["began_anew_at"].is_null());

    // It is meant: resync() takes the other server's rows.
    pair.on_mirror(&format!("SELECT odoo_mirror.configure('{there}')"));
    let job = pair.mirror_value("SELECT odoo_mirror.resync()");
    let all = "SELECT string_agg(x, ' ' ORDER BY id) FROM";
    eventually("it follows the other one", LIMIT, || {
        let shown = pair.mirror_value(&format!("{all} odoo_mirror.t"));
        (shown == other.value("odoo", &format!("{all} t"))).then_some(())
    });
    let state = format!("SELECT state FROM odoo_mirror.jobs() WHERE id = {job}");
    eventually("the job is done", LIMIT, || (pair.mirror_value(&state) == "done").then_some(()));
}

#[test]
fn another_slot_name_begins_anew_and_the_old_slot_goes() {
    let pair = mirroring(Pair::start());
    let reader = super::Reader::of(&pair);
    pair.on_mirror(&format!("SELECT odoo_mirror.configure('{}', slot => 'second')", pair.conninfo()));
    is_recognised(&pair, "renamed", "not on \"second\"", 0, Instant::now());
    is_healed(&pair, "renamed", "not on \"second\"");
    reader.was_never_short("renamed", "not on \"second\"");
    assert_eq!(pair.source_value("SELECT string_agg(slot_name, ',') FROM pg_replication_slots"), "second");
    // A name that is taken is another's: it isn't touched.
    pair.on_source("SELECT pg_create_logical_replication_slot('third', 'pgoutput')");
    pair.on_mirror(&format!("SELECT odoo_mirror.configure('{}', slot => 'third')", pair.conninfo()));
    let status = pair.mirror.wait_status_within(SOON, "the name is taken", |status| {
        status["state"] == "failed" && super::refusal(status, "that name is taken").is_some()
    });
    assert!(
        status["last_error"]["hint"].as_str().is_some_and(|hint| hint.contains("configure(")),
        "{status:#}"
    );
    assert_eq!(pair.source_value("SELECT count(*) FROM pg_replication_slots"), "2");
    pair.on_mirror(&format!("SELECT odoo_mirror.configure('{}', slot => 'second')", pair.conninfo()));
    pair.assert_all_equal();
}
