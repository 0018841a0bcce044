//! While the source has little to say the worker's main thread reads the stream itself, and applies
//! a small transaction as it comes.

use std::time::Duration;

use postgres::Client;

use crate::harness::{Pair, PairBuilder, Proxy, eventually};

const LIMIT: Duration = Duration::from_secs(60);

const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, x text);
    ALTER TABLE t ALTER x SET STORAGE EXTERNAL;
    CREATE TABLE u (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO u SELECT generate_series(1, 100)";

/// Looks at the source, each of many round trips, would take too long over a line as slow as it is
/// made here, and say so: none comes.
fn builder() -> PairBuilder {
    Pair::builder().mirror_conf("odoo_mirror.poll_interval", "600").proxied()
}

fn proxy(pair: &Pair) -> &Proxy {
    pair.proxy.as_ref().expect("it was asked for")
}

fn calm(builder: PairBuilder) -> Pair {
    let pair = builder.mirroring(SCHEMA);
    be_calm(&pair);
    pair
}

/// Some small transactions, one after the other.
fn be_calm(pair: &Pair) {
    for _ in 0..12 {
        pair.on_source("UPDATE u SET n = n + 1 WHERE id = 100");
        pair.caught_up();
    }
}

/// A transaction that comes in three pieces or more, and is small all the same; its rows of `t`
/// first. What it ends with is given.
fn write_in_pieces(pair: &Pair, from: u32, ends_with: &str) {
    proxy(pair).slow_down(Duration::from_millis(300));
    pair.on_source(&format!(
        "BEGIN; INSERT INTO t SELECT g, 0, repeat('x', 2000) FROM generate_series({from}, {from} + 19) g; {ends_with}; COMMIT"
    ));
}

fn part_is_applied(pair: &Pair) {
    let applying = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'odoo_mirror' AND backend_xid IS NOT NULL";
    eventually("a part is applied", LIMIT, || (pair.mirror_value(applying) == "1").then_some(()));
}

fn reconnects(pair: &Pair) -> f64 {
    pair.metric("etl_reconnects_total", "{}")
}

fn is_equal(pair: &Pair) {
    proxy(pair).slow_down(Duration::ZERO);
    pair.caught_up();
    pair.assert_all_equal();
    assert_eq!(pair.metric("etl_conservation_violations_total", "{}"), 0.0);
}

fn hold(pair: &Pair, table: &str) -> Client {
    let mut holder = pair.mirror.connect("mirror");
    let lock = format!("BEGIN; LOCK TABLE odoo_mirror.{table} IN ACCESS EXCLUSIVE MODE");
    holder.batch_execute(&lock).expect("it is free");
    holder
}

#[test]
fn a_small_transaction_is_applied_while_it_comes_and_shows_at_its_end() {
    let pair = calm(builder());
    write_in_pieces(&pair, 1, "UPDATE t SET n = id WHERE id < 10");
    part_is_applied(&pair);
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.t"), "0");
    eventually("it shows", LIMIT, || {
        (pair.mirror_value("SELECT count(*) FROM odoo_mirror.t") != "0").then_some(())
    });
    assert_eq!(pair.mirror_value("SELECT count(*) || ' ' || sum(n) FROM odoo_mirror.t"), "20 45");
    is_equal(&pair);
    assert_eq!(pair.metric("etl_records_processed_total", r#"{"operation": "insert"}"#), 20.0);
}

#[test]
fn a_lock_that_its_end_meets_is_waited_for_on_the_same_connection() {
    let pair = calm(builder().mirror_conf("odoo_mirror.lock_timeout", "500ms"));
    let before = reconnects(&pair);
    let mut holder = hold(&pair, "u");
    write_in_pieces(&pair, 1, "UPDATE u SET n = n + 1 WHERE id < 10");
    part_is_applied(&pair);
    pair.wait_status("it says what it waits for", |status| {
        status["message"].as_str().is_some_and(|message| message.contains("lock"))
    });
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.t"), "0");
    holder.batch_execute("COMMIT").expect("it is open");
    is_equal(&pair);
    assert_eq!(reconnects(&pair), before);
    assert_eq!(pair.metric("etl_records_processed_total", r#"{"operation": "insert"}"#), 20.0);
}

#[test]
fn a_row_that_is_refused_at_its_end_costs_that_row_alone_and_no_connection() {
    let pair = calm(builder());
    let before = reconnects(&pair);
    pair.on_mirror("ALTER TABLE odoo_mirror.u ADD CONSTRAINT not_below CHECK (n >= 0) NOT VALID");
    write_in_pieces(&pair, 1, "UPDATE u SET n = CASE id WHEN 7 THEN -1 ELSE 5 END WHERE id < 10");
    part_is_applied(&pair);
    pair.wait_state("degraded");
    assert_eq!(pair.mirror_value("SELECT string_agg(key ->> 'id', ',') FROM odoo_mirror.failures()"), "7");
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.u WHERE n = 5"), "8");
    pair.assert_equal("t");
    assert_eq!(reconnects(&pair), before);
    pair.on_mirror("ALTER TABLE odoo_mirror.u DROP CONSTRAINT not_below");
    pair.wait_state("streaming");
    is_equal(&pair);
}

#[test]
fn a_connection_that_is_cut_in_the_middle_of_one_leaves_nothing_of_it() {
    let pair = calm(builder());
    for (round, how) in [crate::harness::Cut::Reset, crate::harness::Cut::Fin].into_iter().enumerate() {
        let from = 1 + 20 * round as u32;
        write_in_pieces(&pair, from, "UPDATE u SET n = n + 1");
        part_is_applied(&pair);
        proxy(&pair).cut(how);
        let query = format!("SELECT count(*) FROM odoo_mirror.t WHERE id >= {from}");
        assert!(["0", "20"].contains(&pair.mirror_value(&query).as_str()));
        is_equal(&pair);
        be_calm(&pair);
    }
}

#[test]
fn a_table_altered_in_the_middle_of_one_is_followed() {
    let pair = calm(builder());
    write_in_pieces(
        &pair,
        1,
        "ALTER TABLE t ADD y int; UPDATE t SET y = id WHERE id < 10; UPDATE u SET n = n + 1",
    );
    proxy(&pair).slow_down(Duration::ZERO);
    eventually("the column is there", LIMIT, || {
        let query = "SELECT count(*) FROM information_schema.columns WHERE table_name = 't' AND column_name = 'y' AND table_schema = 'odoo_mirror'";
        (pair.mirror_value(query) == "1").then_some(())
    });
    pair.wait_ready(LIMIT);
    is_equal(&pair);
}

#[test]
fn a_source_that_is_in_no_hurry_is_told_while_a_lock_holds_the_main_thread_up() {
    let pair = calm(
        builder().source_conf("wal_sender_timeout", "3s").mirror_conf("odoo_mirror.lock_timeout", "60s"),
    );
    let before = reconnects(&pair);
    let mut holder = hold(&pair, "u");
    pair.on_source("UPDATE u SET n = n + 1 WHERE id < 10");
    // More than the socket's buffers hold.
    pair.on_source("INSERT INTO t SELECT g, 0, repeat('x', 2000) FROM generate_series(1, 10000) g");
    std::thread::sleep(Duration::from_secs(8));
    holder.batch_execute("COMMIT").expect("it is open");
    is_equal(&pair);
    assert_eq!(reconnects(&pair), before);
}
