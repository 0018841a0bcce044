//! Whatever the mirror does or waits for, it ends at once when it is told to, and holds nobody up:
//! each phase of its life against each way to end it.

use crate::harness::{Pair, Proxy, Shutdown, eventually};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
/// Within a second or two; a busy machine is given more.
const SOON: Duration = Duration::from_secs(4);

/// What holds the mirror up, as long as it lives.
type Held = Option<postgres::Client>;

struct Phase {
    name: &'static str,
    /// Of the first life: each time with a new slot, and the tables copied again.
    first: bool,
    enter: fn(&Pair) -> Held,
}

const PHASES: [Phase; 12] = [
    Phase { name: "connecting to a black hole", first: true, enter: connecting },
    Phase { name: "waiting for the slot", first: true, enter: making_the_slot },
    Phase { name: "in the middle of a copy", first: true, enter: copying },
    Phase { name: "idle", first: false, enter: |_| None },
    Phase { name: "frozen while it streams", first: false, enter: frozen },
    Phase { name: "in a small transaction sent by half", first: false, enter: half_sent },
    Phase { name: "in a big transaction sent by half", first: false, enter: half_applied },
    Phase { name: "pausing in a transaction sent by half", first: false, enter: pausing },
    Phase { name: "comparing", first: false, enter: comparing },
    Phase { name: "copying a table that came later", first: false, enter: copying_later },
    Phase { name: "waiting for a lock here", first: false, enter: locked_out },
    Phase { name: "building an index", first: false, enter: building },
];

fn proxy(pair: &Pair) -> &Proxy {
    pair.proxy.as_ref().expect("it was asked for")
}

fn connecting(pair: &Pair) -> Held {
    proxy(pair).freeze();
    start(pair);
    pair.wait_state("connecting");
    None
}

fn making_the_slot(pair: &Pair) -> Held {
    let mut writer = pair.source.connect("odoo");
    writer.batch_execute("BEGIN; INSERT INTO t (x) VALUES ('open')").expect("it can be written");
    start(pair);
    pair.wait_status("it waits for the writer", |status| {
        status["state"] == "preparing"
            && status["message"].as_str().is_some_and(|why| why.contains("transaction"))
    });
    Some(writer)
}

fn copying(pair: &Pair) -> Held {
    proxy(pair).slow_down(Duration::from_millis(10));
    start(pair);
    let copied = "SELECT count(*) FROM odoo_mirror.tables() WHERE copied_bytes > 0";
    eventually("rows come in", LIMIT, || (pair.mirror_value(copied) == "1").then_some(()));
    proxy(pair).freeze();
    None
}

fn frozen(pair: &Pair) -> Held {
    proxy(pair).freeze();
    pair.on_source("INSERT INTO t (x) VALUES ('frozen')");
    None
}

/// Lets some, and not all, of the bytes through that `rows` changed rows make.
fn send_half(pair: &Pair, rows: u32) {
    let proxy = proxy(pair);
    proxy.slow_down(Duration::from_millis(20));
    let before = proxy.forwarded();
    pair.on_source(&format!(
        "INSERT INTO t (x) SELECT repeat(md5(n::text), 4) FROM generate_series(1, {rows}) n"
    ));
    eventually("a part is sent", LIMIT, || (proxy.forwarded() > before + 60_000).then_some(()));
}

fn half_sent(pair: &Pair) -> Held {
    send_half(pair, 3_000);
    proxy(pair).freeze();
    None
}

fn half_applied(pair: &Pair) -> Held {
    send_half(pair, 60_000);
    let applying = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'odoo_mirror' AND backend_xid IS NOT NULL";
    eventually("a part is applied", LIMIT, || (pair.mirror_value(applying) == "1").then_some(()));
    proxy(pair).freeze();
    None
}

fn pausing(pair: &Pair) -> Held {
    send_half(pair, 3_000);
    proxy(pair).freeze_open();
    proxy(pair).slow_down(Duration::ZERO);
    let before = proxy(pair).accepted();
    pair.on_mirror("SELECT odoo_mirror.resync('t')");
    // It looks at the source, and then wants the stream to stand still.
    eventually("it looked", LIMIT, || (proxy(pair).accepted() > before).then_some(()));
    std::thread::sleep(Duration::from_millis(500));
    let cpu = cpu_ticks(pair.worker_pid());
    std::thread::sleep(Duration::from_millis(500));
    let spent = cpu_ticks(pair.worker_pid()) - cpu;
    assert!(spent <= 15, "it waits, and took {spent} ticks of 50");
    None
}

/// Hundredths of a second that a process has worked.
fn cpu_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let fields = stat.rsplit_once(')').expect("its name comes first").1;
    fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

fn comparing(pair: &Pair) -> Held {
    proxy(pair).freeze();
    pair.on_mirror("SELECT odoo_mirror.verify('t')");
    std::thread::sleep(Duration::from_millis(300));
    None
}

fn copying_later(pair: &Pair) -> Held {
    // Without a key it is copied, with the stream standing still.
    pair.on_source(
        "DROP TABLE IF EXISTS later; CREATE TABLE later AS SELECT repeat(md5(n::text), 4) AS x FROM generate_series(1, 40000) n;
         ALTER TABLE later REPLICA IDENTITY FULL",
    );
    proxy(pair).slow_down(Duration::from_millis(10));
    pair.on_source("ALTER PUBLICATION odoo_pub_scout ADD TABLE later");
    let copied = "SELECT count(*) FROM odoo_mirror.tables() WHERE table_name = 'later' AND state = 'copying' AND copied_bytes > 0";
    eventually("rows come in", LIMIT, || (pair.mirror_value(copied) == "1").then_some(()));
    proxy(pair).freeze();
    None
}

/// Waits until the worker waits for somebody's lock.
fn waits_for_lock(pair: &Pair) {
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'odoo_mirror' AND wait_event_type = 'Lock'";
    eventually("it waits for a lock", LIMIT, || (pair.mirror_value(waits) == "1").then_some(()));
}

fn locked_out(pair: &Pair) -> Held {
    let mut holder = pair.mirror.connect("mirror");
    holder.batch_execute("BEGIN; LOCK TABLE odoo_mirror.t IN ACCESS EXCLUSIVE MODE").expect("it is free");
    pair.on_source("INSERT INTO t (x) VALUES ('locked out')");
    waits_for_lock(pair);
    Some(holder)
}

fn building(pair: &Pair) -> Held {
    pair.on_mirror("DROP INDEX IF EXISTS odoo_mirror.idx_res_partner_vat");
    let mut holder = pair.mirror.connect("mirror");
    holder
        .batch_execute("BEGIN; LOCK TABLE odoo_mirror.res_partner IN ROW EXCLUSIVE MODE")
        .expect("it is free");
    pair.on_mirror("SELECT odoo_mirror.resync('t')");
    waits_for_lock(pair);
    Some(holder)
}

fn start(pair: &Pair) {
    pair.configure_and_start();
}

/// How it is ended; each returns when that is seen.
type Way = (&'static str, fn(&Pair));

const WAYS: [Way; 5] = [
    ("stop()", |pair| {
        pair.on_mirror("SELECT odoo_mirror.stop()");
        pair.wait_state("stopped");
    }),
    ("configure()", |pair| {
        let other = Proxy::start(pair.source.port());
        let elsewhere = format!("host=127.0.0.1 port={} user=postgres dbname=odoo", other.port());
        pair.on_mirror(&format!("SELECT odoo_mirror.configure('{elsewhere}')"));
        eventually("it connects there", LIMIT, || (other.accepted() > 0).then_some(()));
    }),
    ("a fast shutdown", |pair| {
        pair.mirror.stop(Shutdown::Fast);
    }),
    ("uninstall()", |pair| {
        let mut session = pair.mirror.connect("mirror");
        let asked =
            std::thread::spawn(move || session.simple_query("SELECT odoo_mirror.uninstall()").map(drop));
        pair.wait_status("it gives up the slot, or has", |status| {
            status["message"] == "giving up the slot on the source"
                || status["state"] == "unconfigured"
                || status["state"] == "stopped"
        });
        // The source must answer for the rest.
        relax(pair);
        asked.join().expect("it doesn't panic").expect("the slot is gone");
    }),
    ("DROP EXTENSION", |pair| {
        pair.on_mirror("SET statement_timeout = '30s'; DROP EXTENSION odoo_mirror");
    }),
];

/// Lets go of what held it up.
fn relax(pair: &Pair) {
    proxy(pair).slow_down(Duration::ZERO);
    proxy(pair).thaw();
}

/// As [`Pair::wait_ready`]; a new beginning says of all tables at first that they failed.
fn wait_ready(pair: &Pair) {
    let others = "SELECT count(*) FROM odoo_mirror.tables() WHERE state <> 'ready' AND table_name IN ('t', 'res_partner')";
    eventually("the tables are ready", LIMIT, || {
        let published = "SELECT count(*) FROM odoo_mirror.tables()";
        (pair.mirror_value(others) == "0" && pair.mirror_value(published) != "0").then_some(())
    });
}

/// As new: no extension, no tables, no slot.
fn begin_again(pair: &Pair) {
    pair.on_mirror("DROP EXTENSION IF EXISTS odoo_mirror CASCADE; DROP SCHEMA IF EXISTS odoo_mirror CASCADE");
    eventually("the slot is gone", LIMIT, || {
        let _ = pair.source.try_sql(
            "odoo",
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active",
        );
        (pair.source_value("SELECT count(*) FROM pg_replication_slots") == "0").then_some(())
    });
    pair.on_mirror("CREATE EXTENSION odoo_mirror");
}

fn pair() -> Pair {
    let pair = Pair::builder()
        .mirror_conf("odoo_mirror.poll_interval", "1")
        .mirror_conf("odoo_mirror.lock_timeout", "20s")
        .proxied()
        .start();
    pair.on_source(
        "CREATE TABLE t (id serial PRIMARY KEY, x text); INSERT INTO t (x) SELECT md5(n::text) FROM generate_series(1, 30000) n;
         CREATE TABLE res_partner (id serial PRIMARY KEY, vat text)",
    );
    pair.publish_all();
    pair
}

/// DROP DATABASE of another database is a barrier that every process of the server must
/// acknowledge.
fn assert_no_barrier_is_held_up(pair: &Pair, what: &str) {
    let mut session = pair.mirror.connect("postgres");
    session.batch_execute("CREATE DATABASE other").expect("there is none yet");
    let begun = Instant::now();
    session.batch_execute("SET statement_timeout = '30s'").expect("it is open");
    session.batch_execute("DROP DATABASE other").expect("nobody is in it");
    assert!(begun.elapsed() < SOON, "{what}: DROP DATABASE took {:?}", begun.elapsed());
}

fn each_way_ends(phase: &Phase) {
    let pair = pair();
    for (way, end) in WAYS {
        let what = format!("{}, {way}", phase.name);
        if phase.first {
            begin_again(&pair);
        } else {
            pair.mirror
                .try_sql("mirror", "CREATE EXTENSION IF NOT EXISTS odoo_mirror")
                .expect("it can be made");
            start(&pair);
            wait_ready(&pair);
            pair.wait_state("streaming");
        }
        let held = (phase.enter)(&pair);
        if way == "stop()" {
            assert_no_barrier_is_held_up(&pair, &what);
        }
        let begun = Instant::now();
        end(&pair);
        let took = begun.elapsed();
        assert!(took < SOON, "{what}: it took {took:?}");
        drop(held);
        relax(&pair);
        if way == "a fast shutdown" {
            pair.mirror.start();
        }
        eprintln!("{what}: {took:?}");
    }
    pair.on_mirror("CREATE EXTENSION IF NOT EXISTS odoo_mirror");
    start(&pair);
    wait_ready(&pair);
    pair.assert_all_equal();
}

#[test]
fn connecting_to_a_black_hole_it_ends_at_once() {
    each_way_ends(&PHASES[0]);
}

#[test]
fn waiting_for_the_slot_it_ends_at_once() {
    each_way_ends(&PHASES[1]);
}

#[test]
fn in_the_middle_of_a_copy_it_ends_at_once() {
    each_way_ends(&PHASES[2]);
}

#[test]
fn idle_it_ends_at_once() {
    each_way_ends(&PHASES[3]);
}

#[test]
fn frozen_while_it_streams_it_ends_at_once() {
    each_way_ends(&PHASES[4]);
}

#[test]
fn in_a_small_transaction_sent_by_half_it_ends_at_once() {
    each_way_ends(&PHASES[5]);
}

#[test]
fn in_a_big_transaction_sent_by_half_it_ends_at_once() {
    each_way_ends(&PHASES[6]);
}

#[test]
fn pausing_in_a_transaction_sent_by_half_it_ends_at_once() {
    each_way_ends(&PHASES[7]);
}

#[test]
fn comparing_it_ends_at_once() {
    each_way_ends(&PHASES[8]);
}

#[test]
fn copying_a_table_that_came_later_it_ends_at_once() {
    each_way_ends(&PHASES[9]);
}

#[test]
fn waiting_for_a_lock_here_it_ends_at_once() {
    each_way_ends(&PHASES[10]);
}

#[test]
fn building_an_index_it_ends_at_once() {
    each_way_ends(&PHASES[11]);
}
