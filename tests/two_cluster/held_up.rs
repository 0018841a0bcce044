//! A source that holds its own stream up, and slots that it invalidates: each is told for what it
//! is.

use crate::harness::{Pair, eventually};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(40);

fn wait_for_standbys(pair: &Pair, slots: &str) {
    pair.on_source(&format!("ALTER SYSTEM SET synchronized_standby_slots = '{slots}'"));
    pair.on_source("SELECT pg_reload_conf()");
}

fn number(pair: &Pair, query: &str) -> f64 {
    pair.mirror_value(query).parse().unwrap_or(-1.0)
}

#[test]
fn a_source_that_waits_for_a_standby_is_told_and_lags_and_a_first_start_waits_with_it() {
    let pair = Pair::builder().source_major(17).mirror_conf("odoo_mirror.poll_interval", "1").start();
    pair.on_source("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)");
    pair.publish_all();
    pair.on_source("SELECT pg_create_physical_replication_slot('nobody_reads')");
    wait_for_standbys(&pair, "nobody_reads");
    pair.configure_and_start();
    let status = pair.wait_status("a first start waits", |status| {
        status["message"].as_str().is_some_and(|told| told.contains("nobody_reads"))
    });
    assert!(
        status["last_error"]["hint"].as_str().is_some_and(|hint| hint.contains("failover_slot")),
        "{status:#}"
    );
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.tables() WHERE state = 'ready'"), "0");
    wait_for_standbys(&pair, "");
    pair.wait_ready(LIMIT);
    pair.on_source("INSERT INTO t VALUES (2, 2)");
    pair.assert_all_equal();
    pair.wait_state("streaming");

    wait_for_standbys(&pair, "nobody_reads");
    // The walsender reads the setting when it wakes up.
    std::thread::sleep(Duration::from_millis(500));
    pair.on_source("INSERT INTO t VALUES (3, 3)");
    let status = pair.wait_status("it is told", |status| {
        status["state"] == "degraded" && status["lag"]["seconds"].as_f64().is_some_and(|lag| lag > 4.0)
    });
    assert!(status["message"].as_str().is_some_and(|told| told.contains("nobody_reads")), "{status:#}");
    assert!(
        status["last_error"]["hint"].as_str().is_some_and(|hint| hint.contains("failover_slot")),
        "{status:#}"
    );
    assert!(number(&pair, "SELECT seconds FROM odoo_mirror.lag()") > 4.0);
    assert!(number(&pair, "SELECT bytes FROM odoo_mirror.lag()") > 0.0);
    assert!(number(&pair, "SELECT value FROM odoo_mirror.metrics() WHERE name = 'etl_lag_seconds'") > 4.0);
    assert_eq!(
        number(&pair, "SELECT value FROM odoo_mirror.metrics() WHERE name = 'etl_source_holds_up'"),
        1.0
    );
    assert_eq!(pair.mirror_value("SELECT ok FROM odoo_mirror.doctor() WHERE \"check\" = 'stream'"), "f");

    // A slot that no standby is to keep waits for none.
    pair.mirror.set_conf("odoo_mirror.failover_slot", "off");
    pair.mirror.reload();
    pair.wait_status("it streams", |status| {
        status["state"] == "streaming" && status["lag"]["seconds"].as_f64().is_some_and(|lag| lag < 4.0)
    });
    pair.assert_all_equal();
    assert_eq!(
        pair.source_value("SELECT failover FROM pg_replication_slots WHERE slot_name = 'odoo_mirror'"),
        "f"
    );
}

#[test]
fn a_slot_that_lay_idle_for_too_long_is_told_by_its_setting_and_healed() {
    let pair = Pair::builder()
        .source_major(18)
        .mirroring("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    pair.on_mirror("SELECT odoo_mirror.stop()");
    pair.wait_state("stopped");
    pair.on_source("ALTER SYSTEM SET idle_replication_slot_timeout = '1s'");
    pair.on_source("SELECT pg_reload_conf()");
    eventually("it is invalidated", LIMIT, || {
        pair.on_source("INSERT INTO t SELECT max(id) + 1 FROM t");
        pair.on_source("CHECKPOINT");
        let reason = pair.source_value("SELECT coalesce(invalidation_reason, '') FROM pg_replication_slots");
        (reason == "idle_timeout").then_some(())
    });
    pair.on_mirror("SELECT odoo_mirror.start()");
    let status = pair.wait_status("why", |status| {
        status["refusals"][0]["what"]
            .as_str()
            .is_some_and(|what| what.contains("idle_replication_slot_timeout"))
    });
    assert!(!status["refusals"].to_string().contains("removed WAL"), "{status:#}");
    pair.wait_status("healed", |status| status["stale"] == false && status["state"] == "streaming");
    pair.assert_all_equal();
}
