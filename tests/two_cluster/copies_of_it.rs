//! A clone and a restored dump have the settings of the mirror that they came from, and must not
//! take its slot.

use crate::harness::{Cluster, Pair, eventually};
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(40);

fn mirroring() -> Pair {
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").start();
    pair.on_source("CREATE TABLE t (id serial PRIMARY KEY, x text); INSERT INTO t (x) VALUES ('one')");
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair
}

/// Beside the copy the original goes on, on the same session.
#[track_caller]
fn assert_original_undisturbed(pair: &Pair, copy: &Cluster) {
    pair.caught_up();
    let reader = pair.source_value("SELECT active_pid FROM pg_replication_slots");
    pair.on_source("INSERT INTO t (x) VALUES ('more')");
    pair.assert_all_equal();
    let status = copy.mirror_status("mirror");
    assert_eq!(status["state"], "waiting for start()", "{status:#}");
    assert!(status["message"].as_str().is_some_and(|message| message.contains("start()")), "{status:#}");
    assert_eq!(pair.source_value("SELECT active_pid FROM pg_replication_slots"), reader);
    let (rows, all) = ("SELECT count(*) FROM odoo_mirror.t", pair.source_value("SELECT count(*) FROM t"));
    assert_ne!(copy.value("mirror", rows), all, "the copy replicates");
}

#[test]
fn a_clone_of_the_data_directory_waits_for_start() {
    let pair = mirroring();
    let clone = pair.mirror.base_backup("clone");
    clone.start();
    clone.wait_state("waiting for start()");
    assert_original_undisturbed(&pair, &clone);
    // Nor after its restart, nor after the original's.
    clone.restart();
    clone.wait_state("waiting for start()");
    pair.mirror.restart();
    assert_original_undisturbed(&pair, &clone);
}

#[test]
fn a_started_clone_does_not_take_the_slot_that_is_in_use_and_mirrors_with_one_of_its_own() {
    let pair = mirroring();
    let clone = pair.mirror.base_backup("clone");
    clone.start();
    clone.wait_state("waiting for start()");
    clone.sql("mirror", "SELECT odoo_mirror.start()");
    let status = clone.wait_status("the slot is said to be in use", |status| {
        status["last_error"]["message"].as_str().is_some_and(|error| error.contains("odoo_mirror"))
            && (status["state"] == "retrying" || status["state"] == "failed")
    });
    let hint = status["last_error"]["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("configure(…, slot => 'another')"), "{status:#}");
    pair.on_source("INSERT INTO t (x) VALUES ('two')");
    pair.assert_all_equal();

    // As status() said: another slot's name, and everything anew with it.
    clone.sql("mirror", &format!("SELECT odoo_mirror.configure('{}', slot => 'clone')", pair.conninfo()));
    clone.sql("mirror", "SELECT odoo_mirror.start()");
    clone.wait_state("streaming");
    pair.on_source("INSERT INTO t (x) VALUES ('three')");
    let all = pair.source_value("SELECT string_agg(x, ' ' ORDER BY id) FROM t");
    eventually("the clone mirrors too", LIMIT, || {
        let rows = clone.value("mirror", "SELECT string_agg(x, ' ' ORDER BY id) FROM odoo_mirror.t");
        (rows == all).then_some(())
    });
    pair.assert_all_equal();
    assert_eq!(pair.source_value("SELECT count(*) FROM pg_replication_slots WHERE active"), "2");
}

#[test]
fn a_restored_dump_does_not_start_replicating() {
    let pair = mirroring();
    pair.on_mirror("CREATE VIEW public.mine AS SELECT count(*) FROM odoo_mirror.t");
    let restored = Cluster::builder().name("restored").preload("mirror").start();
    restored.sql("postgres", "CREATE DATABASE mirror");
    let mut psql =
        restored.psql("mirror").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("psql is there");
    let dump = pair.mirror.dump("mirror");
    psql.stdin.take().expect("it is piped").write_all(dump.as_bytes()).expect("psql reads");
    assert!(psql.wait().expect("a child of ours").success(), "the dump can't be restored");
    restored.wait_state("waiting for start()");
    assert_original_undisturbed(&pair, &restored);
    assert_eq!(restored.value("mirror", "SELECT * FROM public.mine"), "1");
    let settings = "SELECT source || slot FROM odoo_mirror_internal.settings";
    assert_eq!(restored.value("mirror", settings), pair.mirror_value(settings));

    // Its place in the stream didn't come along: once the original is gone it copies anew.
    pair.on_mirror("SELECT odoo_mirror.uninstall()");
    restored.sql("mirror", "SELECT odoo_mirror.start()");
    restored.wait_state("streaming");
    let all = pair.source_value("SELECT count(*) FROM t");
    eventually("the restored one mirrors", LIMIT, || {
        (restored.value("mirror", "SELECT count(*) FROM odoo_mirror.t") == all).then_some(())
    });
}
