//! The limit on what the slot may keep on the source's disk.

use super::{LIMIT, is_healed, mirroring, refusal, refusals};
use crate::harness::{Pair, eventually};

fn limited(megabytes: &str) -> Pair {
    let builder = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1");
    let pair = builder.mirror_conf("odoo_mirror.give_up_slot_at", megabytes).start();
    pair.on_source(
        "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE part PARTITION OF parted FOR VALUES FROM (1) TO (100)",
    );
    mirroring(pair)
}

const SLOTS: &str = "SELECT count(*) FROM pg_replication_slots";

/// The source writes what isn't mirrored until something is so.
#[track_caller]
fn write_wal_until(pair: &Pair, what: &str, mut is_so: impl FnMut() -> bool) {
    pair.on_source("CREATE TABLE IF NOT EXISTS other (x text)");
    eventually(what, LIMIT, || {
        pair.on_source("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 4000)");
        is_so().then_some(())
    });
}

#[test]
fn a_slot_beyond_the_limit_is_given_up_while_a_table_here_is_locked_and_all_is_equal_once_it_is_free() {
    is_given_up_while_a_table_here_is_locked(&limited("48"));
}

#[test]
fn a_slot_beyond_the_limit_is_given_up_although_it_is_the_main_thread_that_reads_it() {
    let pair = limited("48");
    for _ in 0..12 {
        pair.on_source("INSERT INTO t (x) VALUES ('one after the other')");
        pair.caught_up();
    }
    is_given_up_while_a_table_here_is_locked(&pair);
}

#[track_caller]
fn is_given_up_while_a_table_here_is_locked(pair: &Pair) {
    let mut lock = pair.mirror.connect("mirror");
    // Readers go on reading.
    lock.batch_execute("BEGIN; LOCK TABLE odoo_mirror.t IN SHARE MODE").expect("nobody else has it");
    pair.on_source("INSERT INTO t (x) VALUES ('waits'); DELETE FROM k WHERE x <> 'kept'");
    write_wal_until(pair, "the slot is given up", || pair.source_value(SLOTS) == "0");
    pair.wait_status("why it was given up", |status| {
        refusal(status, "more than odoo_mirror.give_up_slot_at (48 MB)").is_some()
    });
    lock.batch_execute("COMMIT").expect("it is held");
    is_healed(pair, "limit", "MB of WAL");
}

#[test]
fn a_slot_beyond_the_limit_is_given_up_while_a_table_of_the_source_is_locked_by_an_alter() {
    let pair = limited("48");
    // It holds up every look at what is published (at partitions there is no look without a lock),
    // and keeps the slot where it is.
    let mut alter = pair.source.connect("odoo");
    alter.batch_execute("BEGIN; ALTER TABLE parted ADD COLUMN y int").expect("nobody else has it");
    write_wal_until(&pair, "the slot is given up", || pair.source_value(SLOTS) == "0");
    alter.batch_execute("COMMIT").expect("it is open");
    is_healed(&pair, "limit", "MB of WAL");
}

#[test]
fn without_a_limit_the_slot_keeps_what_the_mirror_has_not_got() {
    let pair = limited("-1");
    let mut lock = pair.mirror.connect("mirror");
    lock.batch_execute("BEGIN; LOCK TABLE odoo_mirror.t IN SHARE MODE").expect("nobody else has it");
    pair.on_source("INSERT INTO t (x) VALUES ('waits')");
    let kept = "SELECT (pg_current_wal_lsn() - restart_lsn)::bigint / 1048576 FROM pg_replication_slots";
    write_wal_until(&pair, "much is kept", || {
        pair.source_value(kept).parse::<i64>().is_ok_and(|kept| kept > 80)
    });
    // Time for some looks.
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(pair.source_value(SLOTS), "1");
    lock.batch_execute("COMMIT").expect("it is held");
    pair.assert_all_equal();
    assert_eq!(refusals(&pair), 0);
}
