//! What is wrong at the source is said in a sentence with what mends it; once mended, the mirror
//! goes on by itself.

use crate::harness::{Cluster, Pair};
use serde_json::Value;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(40);

/// A source with tables of Odoo's names, a role that may do nothing yet, no publication.
fn pair() -> Pair {
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").start();
    pair.on_source(
        "CREATE TABLE res_partner (id int PRIMARY KEY, name text); INSERT INTO res_partner VALUES (1, 'one');
         CREATE TABLE account_move (id int PRIMARY KEY); INSERT INTO account_move VALUES (1);
         CREATE ROLE plain LOGIN",
    );
    pair
}

fn configure(pair: &Pair, source: &str) {
    pair.on_mirror(&format!("SELECT odoo_mirror.configure('{source}')"));
    pair.on_mirror("SELECT odoo_mirror.start()");
}

/// Waits until the mirror failed for that reason; the hint that it gives.
#[track_caller]
fn failed(pair: &Pair, said: &str) -> String {
    let status = pair.wait_status(&format!("failed: {said}"), |status: &Value| {
        status["state"] == "failed"
            && status["message"].as_str().is_some_and(|message| message.contains(said))
    });
    assert!(status["last_error"]["message"].as_str().is_some_and(|error| error.contains(said)), "{status:#}");
    status["last_error"]["hint"].as_str().unwrap_or_else(|| panic!("no hint: {status:#}")).to_owned()
}

/// The SQL of a hint: up to its last semicolon.
#[track_caller]
fn sql(hint: &str) -> &str {
    &hint[..hint.rfind(';').unwrap_or_else(|| panic!("the hint is no SQL: {hint}"))]
}

#[test]
fn each_fault_in_turn_fails_with_the_sql_that_mends_it_and_heals_by_itself() {
    let pair = pair();
    configure(&pair, &pair.conninfo().replace("user=postgres", "user=plain"));
    let hint = failed(&pair, "may not replicate");
    pair.on_source(sql(&hint));
    let hint = failed(&pair, "publication \"odoo_pub_scout\" does not exist");
    pair.on_source(sql(&hint));
    pair.wait_state("streaming");

    // One table's privilege is that table's: the mirror runs.
    let (reason, hint) = pair.wait_table("res_partner", "failed");
    assert!(reason.contains("lacks SELECT on table \"public\".\"res_partner\""), "{reason}");
    pair.on_source(sql(&hint));
    pair.wait_table("res_partner", "ready");
    let (_, hint) = pair.wait_table("account_move", "failed");
    pair.on_source(sql(&hint));
    pair.wait_table("account_move", "ready");
    pair.on_source("INSERT INTO res_partner VALUES (2, 'two'); INSERT INTO account_move VALUES (2)");
    pair.assert_all_equal();
}

#[test]
fn row_level_security_that_hides_rows_fails_its_table_alone() {
    let pair = pair();
    pair.on_source(
        "ALTER ROLE plain REPLICATION; GRANT SELECT ON res_partner, account_move TO plain;
         ALTER TABLE res_partner ENABLE ROW LEVEL SECURITY",
    );
    pair.publish_all();
    configure(&pair, &pair.conninfo().replace("user=postgres", "user=plain"));
    let (reason, hint) = pair.wait_table("res_partner", "failed");
    assert!(reason.contains("row-level security hides rows"), "{reason}");
    pair.wait_table("account_move", "ready");
    pair.on_source(sql(&hint));
    pair.wait_table("res_partner", "ready");
    pair.assert_all_equal();
}

#[test]
fn a_source_without_logical_wal_is_told_and_streams_after_its_restart() {
    let pair = Pair::builder().source_conf("wal_level", "replica").start();
    pair.on_source("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    pair.publish_all();
    pair.configure_and_start();
    let hint = failed(&pair, "wal_level is replica on the source");
    // ALTER SYSTEM's file counts more than postgresql.conf.
    pair.on_source(sql(&hint));
    pair.source.restart();
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
}

#[test]
fn a_wrong_host_port_database_or_user_says_which() {
    let pair = pair();
    pair.publish_all();
    let good = pair.conninfo();
    for (source, said, hint) in [
        (good.replace("dbname=odoo", "dbname=nowhere"), "database \"nowhere\" does not exist", "dbname"),
        (good.replace("user=postgres", "user=nobody_here"), "role \"nobody_here\" does not exist", ""),
        (good.replace("host=127.0.0.1", "host=no-such-host.invalid"), "host name is not known", "host"),
    ] {
        configure(&pair, &source);
        let given = failed(&pair, said);
        assert!(given.contains(hint), "{given}");
    }
    // Nobody listens: that may pass, so it is tried again soon.
    configure(&pair, &good.replace(&format!("port={}", pair.source.port()), "port=1"));
    let status = pair.wait_state("retrying");
    assert!(
        status["message"].as_str().is_some_and(|message| message.contains("connection refused")),
        "{status:#}"
    );
    assert!(status["message"].as_str().is_some_and(|message| message.contains("port 1")), "{status:#}");
    configure(&pair, &good);
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
}

#[test]
fn a_database_that_comes_later_heals_by_itself() {
    let pair = pair();
    pair.publish_all();
    configure(&pair, &pair.conninfo().replace("dbname=odoo", "dbname=later"));
    failed(&pair, "database \"later\" does not exist");
    pair.source.sql("postgres", "CREATE DATABASE later TEMPLATE odoo");
    let status = pair.wait_state("streaming");
    assert!(status["tables"]["failed"].is_null(), "{status:#}");
}

#[test]
fn a_slot_that_is_somebody_elses_is_left_alone() {
    let pair = pair();
    pair.publish_all();
    pair.on_source("SELECT pg_create_logical_replication_slot('odoo_mirror', 'test_decoding')");
    pair.configure_and_start();
    let hint = failed(&pair, "test_decoding");
    assert!(hint.contains("pg_drop_replication_slot('odoo_mirror')"), "{hint}");
    assert_eq!(pair.source_value("SELECT plugin FROM pg_replication_slots"), "test_decoding");
    // The other way out: a name of our own.
    pair.on_mirror(&format!("SELECT odoo_mirror.configure('{}', slot => 'ours')", pair.conninfo()));
    pair.on_mirror("SELECT odoo_mirror.start()");
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
}

#[test]
fn a_standby_as_the_source_is_refused() {
    let pair = pair();
    pair.publish_all();
    let standby = pair.source.base_backup("source-standby");
    standby.follow_as_standby(pair.source.port());
    standby.start();
    let at = |server: &Cluster, attrs: &str| {
        format!("host=127.0.0.1 port={} user=postgres dbname=odoo{attrs}", server.port())
    };
    for attrs in ["", " target_session_attrs=any"] {
        configure(&pair, &at(&standby, attrs));
        let hint = failed(&pair, "in recovery");
        assert!(hint.contains("primary"), "{hint}");
    }
    // Of several hosts it takes the one that isn't.
    let (one, other) = (standby.port(), pair.source.port());
    configure(&pair, &format!("host=127.0.0.1,127.0.0.1 port={one},{other} user=postgres dbname=odoo"));
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
}

#[test]
fn a_slot_that_waits_for_a_long_transaction_names_its_process_and_stop_ends_the_wait() {
    let pair = pair();
    pair.publish_all();
    let mut long = pair.source.connect("odoo");
    long.batch_execute("BEGIN; INSERT INTO account_move VALUES (7)").expect("it is open");
    let pid: i32 = long.query_one("SELECT pg_backend_pid()", &[]).expect("it is open").get(0);
    pair.configure_and_start();
    let says = |status: &Value| {
        let message = status["message"].as_str().unwrap_or_default();
        status["state"] == "preparing"
            && message.contains(&format!("pid {pid} "))
            && message.contains("open for")
    };
    pair.wait_status("it names the long transaction's process", says);
    pair.on_mirror("SELECT odoo_mirror.stop()");
    pair.wait_state("stopped");
    pair.on_mirror("SELECT odoo_mirror.start()");
    long.batch_execute("COMMIT").expect("it is open");
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
}
