//! Where the extension is, and whether it has anything to do there.

use crate::harness::{Cluster, Pair, Shutdown, eventually, explain};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn without_preload_all_that_reads_works_and_what_is_missing_is_said() {
    let server = Cluster::builder().start();
    server.sql("postgres", "CREATE EXTENSION odoo_mirror");
    let status = server.mirror_status("postgres");
    assert_eq!(status["state"], "not preloaded");
    let message = status["message"].as_str().unwrap_or_default();
    assert!(message.contains("shared_preload_libraries") && message.contains("restart"), "{message}");
    for read in ["tables()", "lag()", "metrics()", "jobs()", "wait_for('0/1', '10 ms')"] {
        server.sql("postgres", &format!("SELECT * FROM odoo_mirror.{read}"));
    }
    server.sql("postgres", "SELECT odoo_mirror.configure('host=h dbname=d user=u')");
    for call in ["start()", "uninstall()"] {
        let refused = server.try_sql("postgres", &format!("SELECT odoo_mirror.{call}"));
        let refused = explain(&refused.expect_err("there is no worker"));
        assert!(refused.contains("HINT") && refused.contains("shared_preload_libraries"), "{refused}");
    }
    server.sql("postgres", "SELECT odoo_mirror.stop(); DROP EXTENSION odoo_mirror");
}

#[test]
fn the_worker_idles_without_the_extension_unconfigured_and_stopped() {
    let server = Cluster::builder().preload("mirror").start();
    // The worker's database isn't there yet; it comes when it is.
    server.sql("postgres", "CREATE DATABASE mirror");
    server.sql("mirror", "CREATE EXTENSION odoo_mirror");
    server.wait_state("unconfigured");
    server.sql("mirror", "SELECT odoo_mirror.configure('host=127.0.0.1 port=1 dbname=d user=u')");
    let status = server.wait_state("stopped");
    assert_eq!(status["wanted"], "stopped");
    assert_eq!(status["source"].as_str().map(|source| source.contains("host=127.0.0.1")), Some(true));

    server.sql("mirror", "DROP EXTENSION odoo_mirror");
    let activity = "SELECT state || query FROM pg_stat_activity WHERE backend_type = 'odoo_mirror'";
    eventually("the worker idles without the extension", LIMIT, || {
        server.value("postgres", activity).contains("no extension").then_some(())
    });
    server.sql("mirror", "CREATE EXTENSION odoo_mirror");
    server.wait_state("unconfigured");
    let log = server.log();
    assert!(!log.contains("PANIC") && !log.contains("terminated by signal"), "{log}");
}

#[test]
fn start_without_configure_says_what_to_call() {
    let pair = Pair::start();
    let refused = pair.mirror.try_sql("mirror", "SELECT odoo_mirror.start()");
    let refused = explain(&refused.expect_err("nothing is configured"));
    assert!(refused.contains("not configured") && refused.contains("odoo_mirror.configure("), "{refused}");
}

#[test]
fn in_another_database_than_the_workers_start_is_refused_and_names_the_right_one() {
    let server = Cluster::builder().preload("mirror").start();
    server.sql("postgres", "CREATE DATABASE mirror");
    server.sql("postgres", "CREATE EXTENSION odoo_mirror");
    server.sql("postgres", "SELECT odoo_mirror.configure('host=h dbname=d user=u')");
    let refused = server.try_sql("postgres", "SELECT odoo_mirror.start()");
    let refused = explain(&refused.expect_err("the worker looks after another database"));
    assert!(refused.contains("odoo_mirror.database") && refused.contains("mirror"), "{refused}");
}

#[test]
fn on_a_standby_it_idles_and_after_promotion_it_waits_for_start() {
    let pair = Pair::mirroring("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let standby = pair.mirror.base_backup("standby");
    standby.follow_as_standby(pair.mirror.port());
    standby.start();
    let status = standby.wait_state("standby");
    assert!(status["message"].as_str().is_some_and(|message| message.contains("standby")), "{status:#}");
    assert_eq!(standby.value("mirror", "SELECT count(*) FROM odoo_mirror.tables()"), "1");

    pair.mirror.stop(Shutdown::Fast);
    standby.sql("postgres", "SELECT pg_promote()");
    standby.wait_state("waiting for start()");
    assert_eq!(pair.source_value("SELECT count(*) FROM pg_replication_slots WHERE active"), "0");

    // Where the old primary is gone for good, the promoted one goes on where it stands, by hand.
    pair.on_source("INSERT INTO t VALUES (2)");
    standby.sql("mirror", "SELECT odoo_mirror.start()");
    eventually("the promoted standby mirrors", LIMIT, || {
        (standby.value("mirror", "SELECT count(*) FROM odoo_mirror.t") == "2").then_some(())
    });
}
