//! What the mirror stood on is gone: it says so, keeps its rows readable, and resync() begins anew.

use crate::harness::{Pair, eventually};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_slot_that_is_lost_dropped_moved_or_made_anew_is_told_and_resync_begins_anew() {
    let pair = Pair::builder()
        .mirror_conf("odoo_mirror.poll_interval", "1")
        .source_conf("max_slot_wal_keep_size", "1MB")
        .start();
    pair.on_source("CREATE TABLE t (id serial PRIMARY KEY, x text); INSERT INTO t (x) VALUES ('first')");
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let session = || pair.source.connect("odoo");
    let lose: [(&str, &dyn Fn()); 4] = [
        ("lost", &|| {
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
        ("dropped", &|| pair.on_source("SELECT pg_drop_replication_slot('odoo_mirror')")),
        ("moved", &|| {
            pair.on_source("SELECT pg_replication_slot_advance('odoo_mirror', pg_current_wal_lsn())");
        }),
        ("made anew", &|| {
            pair.on_source("SELECT pg_drop_replication_slot('odoo_mirror')");
            pair.on_source("SELECT pg_create_logical_replication_slot('odoo_mirror', 'pgoutput')");
        }),
    ];
    for (what, lose) in lose {
        pair.caught_up();
        let before = pair.mirror_value("SELECT count(*) FROM odoo_mirror.t");
        pair.on_mirror("SELECT odoo_mirror.stop()");
        pair.wait_state("stopped");
        let free = "SELECT count(*) FROM pg_replication_slots WHERE NOT active";
        eventually("the slot is free", LIMIT, || (pair.source_value(free) == "1").then_some(()));
        pair.on_source(&format!("INSERT INTO t (x) VALUES ('{what}'); DELETE FROM t WHERE x = 'first'"));
        lose();
        pair.on_mirror("SELECT odoo_mirror.start()");
        let status = pair.wait_status(&format!("{what}: it says so"), |status| {
            let hint = status["last_error"]["hint"].as_str().unwrap_or_default();
            status["state"] == "failed" && hint.contains("odoo_mirror.resync()")
        });
        assert!(
            status["message"].as_str().is_some_and(|message| message.contains("slot")),
            "{what}: {status:#}"
        );
        assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.t"), before, "{what}");

        pair.on_mirror("SELECT odoo_mirror.resync()");
        pair.wait_state("streaming");
        pair.on_source("INSERT INTO t (x) VALUES ('after')");
        eventually(&format!("{what}: it is equal again"), LIMIT, || {
            let all = "SELECT string_agg(x, ' ' ORDER BY id) FROM";
            let shown = pair.mirror_value(&format!("{all} odoo_mirror.t"));
            (shown == pair.source_value(&format!("{all} t"))).then_some(())
        });
        pair.wait_ready(LIMIT);
    }
    pair.assert_all_equal();
}

#[test]
fn another_source_under_the_same_name_is_not_followed() {
    let pair = Pair::builder().proxied().start();
    pair.on_source("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)");
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    // Another cluster, with everything in place, even a slot of that name.
    let other = crate::harness::Cluster::builder().name("other").conf("wal_level", "logical").start();
    other.sql("postgres", "CREATE DATABASE odoo");
    other.sql("odoo", "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION odoo_pub_scout FOR TABLE t");
    other.sql("odoo", "SELECT pg_create_logical_replication_slot('odoo_mirror', 'pgoutput')");
    let there = format!("host=127.0.0.1 port={} user=postgres dbname=odoo", other.port());
    pair.on_mirror(&format!("SELECT odoo_mirror.configure('{there}')"));
    pair.on_mirror("SELECT odoo_mirror.start()");
    let status = pair.wait_state("failed");
    assert!(!status["last_error"]["hint"].is_null(), "{status:#}");
    other.sql("odoo", "INSERT INTO t VALUES (3)");
    assert_eq!(pair.mirror_value("SELECT string_agg(id::text, ',' ORDER BY id) FROM odoo_mirror.t"), "1,2");
    // Back at the right one it goes on where it stood.
    pair.on_mirror(&format!("SELECT odoo_mirror.configure('{}')", pair.conninfo()));
    pair.on_mirror("SELECT odoo_mirror.start()");
    pair.on_source("INSERT INTO t VALUES (4)");
    pair.assert_all_equal();
}
