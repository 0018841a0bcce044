//! Killed, cut and frozen while rows flow: it comes back by itself, and every row is there, once.

use crate::harness::{Cut, Pair, PairBuilder, Proxy, Shutdown, eventually, signal};
use crate::traffic::{SCHEMA, Traffic, shown, survives};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn flowing(builder: PairBuilder) -> Pair {
    builder.mirroring(SCHEMA)
}

fn quick() -> PairBuilder {
    Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1")
}

#[track_caller]
pub fn kill9(pid: &str) {
    assert!(signal(pid.parse().expect("a process"), "KILL"), "there is no process {pid}");
}

#[test]
fn the_destinations_processes_may_be_killed() {
    let pair = flowing(quick());
    survives(&pair, "pg_terminate_backend of the worker", || {
        pair.on_mirror(&format!("SELECT pg_terminate_backend({})", pair.worker_pid()));
    });
    survives(&pair, "kill -9 of the worker", || kill9(&pair.worker_pid().to_string()));
    survives(&pair, "kill -9 of a backend", || {
        let mut session = pair.mirror.connect("mirror");
        let pid: i32 = session.query_one("SELECT pg_backend_pid()", &[]).expect("it is open").get(0);
        kill9(&pid.to_string());
        // The server restarts itself: nothing of it answers in between.
        eventually("the session is gone", LIMIT, || session.batch_execute("SELECT 1").is_err().then_some(()));
    });
    survives(&pair, "kill -9 of the postmaster", || {
        pair.mirror.kill9_postmaster();
        pair.mirror.start();
    });
    survives(&pair, "immediate shutdown", || {
        pair.mirror.stop(Shutdown::Immediate);
        pair.mirror.start();
    });
    survives(&pair, "restart", || pair.mirror.restart());
}

#[test]
fn the_destination_may_lose_what_was_not_on_disk() {
    // Each commit of the worker is lost that the WAL writer didn't get to: they must not have been
    // confirmed.
    let pair =
        flowing(quick().mirror_conf("wal_writer_delay", "10s").mirror_conf("bgwriter_lru_maxpages", "0"));
    for _ in 0..3 {
        survives(&pair, "kill -9 with WAL in memory", || {
            pair.mirror.kill9_postmaster();
            pair.mirror.start();
        });
    }
}

#[test]
fn the_source_is_never_told_that_something_is_here_before_it_is_on_disk() {
    let pair = flowing(quick());
    survives(&pair, "kill -9 without a WAL writer", || dies_without_a_wal_writer(&pair, || {}));
    // Else the gate would have found a slot that is past where the mirror stands, and compared all
    // tables.
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror_internal.refusals"), "0");
}

#[test]
fn nor_is_it_by_the_life_that_comes_after_a_cut_connection() {
    let pair = flowing(quick().proxied());
    for how in [Cut::Reset, Cut::Fin] {
        survives(&pair, "kill -9 without a WAL writer", || {
            dies_without_a_wal_writer(&pair, || {
                std::thread::sleep(Duration::from_millis(300));
                pair.proxy.as_ref().expect("it was asked for").cut(how);
            });
        });
    }
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror_internal.refusals"), "0");
}

fn dies_without_a_wal_writer(pair: &Pair, before: impl FnOnce()) {
    let writer =
        pair.mirror.value("mirror", "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'");
    assert!(signal(writer.parse().expect("there is one"), "STOP"));
    before();
    // The source is told every second how far the mirror is.
    std::thread::sleep(Duration::from_millis(2500));
    kill9(&writer);
    pair.mirror.kill9_postmaster();
    pair.mirror.start();
}

#[test]
fn the_sources_processes_may_be_killed() {
    let pair = flowing(quick());
    let walsender = "SELECT active_pid FROM pg_replication_slots WHERE active";
    survives(&pair, "pg_terminate_backend of the walsender", || {
        pair.on_source(&format!("SELECT pg_terminate_backend(({walsender}))"));
    });
    survives(&pair, "kill -9 of the walsender", || {
        kill9(&pair.source_value(walsender));
        pair.source.wait_until_up();
    });
    survives(&pair, "kill -9 of the source's postmaster", || {
        pair.source.kill9_postmaster();
        pair.source.start();
    });
    survives(&pair, "restart of the source", || pair.source.restart());
    survives(&pair, "immediate shutdown of both", || {
        pair.source.stop(Shutdown::Immediate);
        pair.mirror.stop(Shutdown::Immediate);
        pair.mirror.start();
        pair.source.start();
    });
}

#[test]
fn the_network_may_be_cut_refused_and_frozen_for_a_while() {
    let pair = flowing(quick().proxied());
    let proxy: &Proxy = pair.proxy.as_ref().expect("it was asked for");
    survives(&pair, "reset", || proxy.cut(Cut::Reset));
    survives(&pair, "end of file", || proxy.cut(Cut::Fin));
    survives(&pair, "refused for a while", || {
        proxy.refuse();
        proxy.cut(Cut::Reset);
        pair.wait_status("refused", |status| {
            let message = status["message"].as_str().unwrap_or_default();
            status["state"] == "retrying" && message.contains("connection refused")
        });
        std::thread::sleep(Duration::from_secs(1));
        proxy.welcome();
    });
    survives(&pair, "frozen for a while", || {
        proxy.freeze();
        std::thread::sleep(Duration::from_secs(2));
        proxy.thaw();
    });
    survives(&pair, "cut again and again", || {
        for _ in 0..5 {
            proxy.cut(Cut::Reset);
            std::thread::sleep(Duration::from_millis(150));
        }
    });
    assert!(pair.metric("etl_reconnects_total", "{}") >= 4.0);
}

#[test]
fn a_connection_that_died_without_a_word_is_found_and_made_anew() {
    let pair = flowing(quick().proxied());
    let proxy = pair.proxy.as_ref().expect("it was asked for");
    let traffic = Traffic::start(&pair);
    eventually("rows flow", LIMIT, || shown(&pair).filter(|rows| *rows > 20));
    proxy.freeze();
    // The proxy's system answers keepalives, as a middlebox does: only the silence itself tells.
    let status = pair.mirror.wait_status_within(Duration::from_secs(100), "the silence is found", |status| {
        status["state"] == "retrying"
    });
    let error = status["last_error"]["message"].as_str().unwrap_or_default();
    assert!(
        error.contains("silent") || error.contains("not answered") || error.contains("in time"),
        "{status:#}"
    );
    // The old connections are dead for good; new ones pass.
    proxy.cut(Cut::Reset);
    proxy.thaw();
    let now = shown(&pair).expect("the mirror answers");
    eventually("rows flow again", LIMIT, || shown(&pair).filter(|rows| *rows > now + 20));
    traffic.end();
    pair.assert_all_equal();
}

#[test]
fn a_copy_goes_on_after_each_kind_of_end_while_the_source_is_written_to() {
    let pair = quick().proxied().mirror_conf("odoo_mirror.copy_range_rows", "5000").start();
    let proxy = pair.proxy.as_ref().expect("it was asked for");
    pair.on_source(SCHEMA);
    pair.on_source(
        "CREATE TABLE big (id int PRIMARY KEY, x text);
         INSERT INTO big SELECT n, repeat(md5(n::text), 3) FROM generate_series(1, 240000) n; ANALYZE big",
    );
    pair.publish_all();
    proxy.slow_down(Duration::from_millis(5));
    let traffic = Traffic::start(&pair);
    pair.configure_and_start();
    let mut done = 0;
    let ends: [(&str, &dyn Fn()); 5] = [
        ("cut", &|| proxy.cut(Cut::Reset)),
        ("kill -9 of the worker", &|| kill9(&pair.worker_pid().to_string())),
        ("kill -9 of the postmaster", &|| {
            pair.mirror.kill9_postmaster();
            pair.mirror.start();
        }),
        ("kill -9 of the source", &|| {
            pair.source.kill9_postmaster();
            pair.source.start();
        }),
        ("restart", &|| pair.mirror.restart()),
    ];
    for (what, end) in ends {
        // At least one more range is in, and stays in.
        let ranges = "SELECT count(*) FROM odoo_mirror_internal.ranges WHERE table_name = 'big' AND snapshot IS NOT NULL";
        let count = || pair.mirror.try_rows("mirror", ranges).ok()?.pop()?.pop()??.parse::<i64>().ok();
        done = eventually(&format!("{what}: ranges come in"), LIMIT, || count().filter(|now| *now > done));
        // A commit that waits for the disk takes those before it along.
        pair.on_mirror("CREATE TABLE public.durable (); DROP TABLE public.durable");
        end();
        let kept = eventually(&format!("{what}: the mirror answers"), LIMIT, count);
        assert!(kept >= done, "{what}: {kept} ranges after {done}");
    }
    proxy.slow_down(Duration::ZERO);
    pair.wait_ready(LIMIT);
    traffic.end();
    pair.assert_all_equal();
    shown(&pair);
}
