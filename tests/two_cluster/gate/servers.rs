//! The servers themselves: the source goes back, fails over or is upgraded; the mirror's own server
//! goes back.

use super::{LIMIT, is_healed, is_recognised, mirroring, refusals, start_and_heal, stop};
use crate::harness::{Cluster, Pair, Shutdown, default_major, eventually, skip, source_major};
use std::time::Instant;

/// Rows that come and go after the moment to which a server goes back.
fn write_what_will_be_lost(pair: &Pair, what: &str) {
    pair.on_source(&format!(
        "INSERT INTO t (x) SELECT 'lost {what}' FROM generate_series(1, 500); UPDATE t SET x = 'lost {what}' WHERE x IN ('first', 'second');
         DELETE FROM k WHERE x <> 'kept'; INSERT INTO k VALUES ('lost {what}')"
    ));
    pair.caught_up();
}

fn source_goes_down(pair: &Pair, how: Shutdown) {
    stop(pair);
    pair.source.stop(how);
}

#[test]
fn a_source_whose_files_were_restored_is_told_and_healed() {
    let pair = mirroring(Pair::start());
    source_goes_down(&pair, Shutdown::Fast);
    pair.source.keep_files();
    pair.source.start();
    pair.on_mirror("SELECT odoo_mirror.start()");
    write_what_will_be_lost(&pair, "files");
    source_goes_down(&pair, Shutdown::Fast);
    // With the slot as it was then.
    pair.source.restore_files();
    pair.source.start();
    assert_eq!(pair.source_value("SELECT count(*) FROM t WHERE x LIKE 'lost%'"), "0");
    assert_eq!(pair.source_value("SELECT count(*) FROM pg_replication_slots"), "1");
    start_and_heal(&pair, "files", "went back to");
}

#[test]
fn a_source_recovered_to_a_point_in_time_is_told_and_healed() {
    let pair = mirroring(Pair::start());
    let backup = pair.source.base_backup("backup");
    write_what_will_be_lost(&pair, "recovery");
    source_goes_down(&pair, Shutdown::Fast);
    pair.source.become_copy(&backup);
    pair.source.recover_to_its_end();
    pair.source.start();
    eventually("it takes writes again", LIMIT, || {
        (pair.source_value("SELECT pg_is_in_recovery()") == "f").then_some(())
    });
    assert_eq!(pair.source_value("SELECT count(*) FROM t WHERE x LIKE 'lost%'"), "0");
    // It went on before the mirror looks: its positions alone don't give it away.
    pair.on_source("INSERT INTO t (x) SELECT 'new' || repeat('x', 1000) FROM generate_series(1, 5000)");
    start_and_heal(&pair, "recovery", "went back to");
}

#[test]
fn a_source_failed_over_to_a_standby_without_the_slot_is_told_and_healed() {
    let pair = mirroring(Pair::start());
    let standby = pair.source.base_backup("standby");
    standby.follow_as_standby(pair.source.port());
    standby.start();
    pair.on_source("INSERT INTO t (x) VALUES ('on both')");
    pair.caught_up();
    promote(&pair, &standby);
    start_and_heal(&pair, "failover", "was failed over");
}

/// PostgreSQL 17 brings the slot along, if it is a failover slot: the mirror's is.
#[test]
fn a_source_failed_over_to_a_standby_that_has_the_slot_is_followed_without_comparing_anything() {
    if source_major() < 17 {
        skip(&format!("PostgreSQL {} keeps no slots on standbys", source_major()));
        return;
    }
    let pair = mirroring(Pair::start());
    let standby = pair.source.base_backup("standby");
    pair.on_source("SELECT pg_create_physical_replication_slot('standby')");
    standby.follow_as_standby(pair.source.port());
    let primary = format!("host=127.0.0.1 port={} user=postgres dbname=odoo", pair.source.port());
    for (setting, value) in [
        ("primary_conninfo", primary.as_str()),
        ("primary_slot_name", "standby"),
        ("hot_standby_feedback", "on"),
        ("sync_replication_slots", "on"),
    ] {
        standby.set_conf(setting, value);
    }
    standby.start();
    let synced = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'odoo_mirror' AND synced AND NOT temporary";
    eventually("the slot is on the standby", LIMIT, || {
        // The slot there can't be older than the standby's own WAL: it must move first.
        pair.on_source("INSERT INTO t (x) VALUES ('on both'); SELECT pg_log_standby_snapshot()");
        (standby.value("odoo", synced) == "1").then_some(())
    });
    pair.caught_up();
    let before = refusals(&pair);
    promote(&pair, &standby);
    pair.on_mirror("SELECT odoo_mirror.start()");
    pair.on_source("INSERT INTO t (x) VALUES ('after'); UPDATE t SET x = 'after' WHERE x = 'first'");
    pair.assert_all_equal();
    assert_eq!(refusals(&pair), before, "nothing had to be compared");
}

/// The standby has all; it takes the source's place, and its address.
fn promote(pair: &Pair, standby: &Cluster) {
    let written = pair.source_value("SELECT pg_current_wal_lsn()");
    stop(pair);
    let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
    eventually("the standby has it", LIMIT, || (standby.value("odoo", &replayed) == "t").then_some(()));
    pair.source.stop(Shutdown::Immediate);
    standby.sql("postgres", "SELECT pg_promote()");
    standby.stop(Shutdown::Fast);
    pair.source.become_copy(standby);
    pair.source.start();
}

/// From 16 to 18: of the servers that tests have, those two have all that pg_upgrade needs.
#[test]
fn a_source_upgraded_by_pg_upgrade_is_told_and_healed() {
    if default_major() != 18 {
        skip("an upgrade is tried where 18 is under test");
        return;
    }
    let mut pair = mirroring(Pair::builder().source_major(16).start());
    pair.on_source("INSERT INTO t (x) VALUES ('before it')");
    pair.caught_up();
    source_goes_down(&pair, Shutdown::Fast);
    let conf =
        [("wal_level", "logical"), ("max_replication_slots", "20"), ("max_prepared_transactions", "10")];
    pair.source = pair.source.upgraded(default_major(), &conf);
    pair.on_source("INSERT INTO t (x) VALUES ('after it'); DELETE FROM t WHERE x = 'first'");
    start_and_heal(&pair, "upgrade", "another server");
}

#[test]
fn a_mirror_whose_server_was_restored_from_a_backup_is_told_and_healed() {
    let pair = mirroring(Pair::start());
    let backup = pair.mirror.base_backup("backup");
    write_what_will_be_lost(&pair, "backup");
    // What the source was told is on disk here: then the slot is past what the backup has.
    eventually("the slot has moved", LIMIT, || {
        let confirmed =
            "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'odoo_mirror'";
        let query = format!(
            "SELECT applied_lsn::pg_lsn <= '{}' FROM odoo_mirror.lag()",
            pair.source_value(confirmed)
        );
        (pair.mirror_value(&query) == "t").then_some(())
    });
    pair.mirror.stop(Shutdown::Fast);
    pair.mirror.become_copy(&backup);
    let begun = Instant::now();
    pair.mirror.start();
    is_recognised(&pair, "backup", "was moved to", 0, begun);
    is_healed(&pair, "backup", "was moved to");
}
