//! Messages of the stream that are no rows: they pass without harm.

use super::mirroring;

#[test]
fn logical_messages_pass_without_harm() {
    let pair = mirroring("CREATE TABLE t (id int PRIMARY KEY, a text)");
    let worker = pair.worker_pid();
    pair.on_source(
        "BEGIN; SELECT pg_logical_emit_message(true, 'app', 'in a transaction'); INSERT INTO t VALUES (1, 'x');
         SELECT pg_logical_emit_message(true, '', ''); INSERT INTO t VALUES (2, 'y'); COMMIT",
    );
    pair.on_source("SELECT pg_logical_emit_message(false, 'app', repeat('alone', 10000))");
    pair.on_source("BEGIN; SELECT pg_logical_emit_message(false, 'app', 'of a rolled-back one'); INSERT INTO t VALUES (3, 'z'); ROLLBACK");
    pair.on_source("SELECT pg_logical_emit_message(true, 'app', 'nothing else')");
    pair.assert_all_equal();
    assert_eq!(pair.worker_pid(), worker);
}

#[test]
fn transactions_that_the_source_replayed_from_elsewhere_are_mirrored() {
    let pair = mirroring("CREATE TABLE t (id int PRIMARY KEY, a text)");
    let mut session = pair.source.connect("odoo");
    session
        .batch_execute(
            "SELECT pg_replication_origin_create('elsewhere'); SELECT pg_replication_origin_session_setup('elsewhere');
             INSERT INTO t VALUES (1, 'outside')",
        )
        .expect("the source takes it");
    session
        .batch_execute("BEGIN; SELECT pg_replication_origin_xact_setup('0/AAAA', now()); INSERT INTO t VALUES (2, 'from elsewhere'); COMMIT")
        .expect("the source takes it");
    pair.on_source("INSERT INTO t VALUES (3, 'from here')");
    pair.assert_all_equal();
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.t"), "3");
}

#[test]
fn savepoints_rolled_back_and_prepared_transactions_count_as_the_source_counts_them() {
    let pair = mirroring("CREATE TABLE t (id int PRIMARY KEY, a text)");
    pair.on_source(
        "BEGIN; INSERT INTO t VALUES (1, 'kept'); SAVEPOINT s; INSERT INTO t VALUES (2, 'gone'); UPDATE t SET a = 'gone';
         ROLLBACK TO s; INSERT INTO t VALUES (2, 'kept'); SAVEPOINT s; UPDATE t SET a = 'twice kept' WHERE id = 2; RELEASE s; COMMIT",
    );
    let mut session = pair.source.connect("odoo");
    session
        .batch_execute("BEGIN; INSERT INTO t VALUES (3, 'in two phases'); PREPARE TRANSACTION 'yes'")
        .expect("it can be prepared");
    session
        .batch_execute("BEGIN; INSERT INTO t VALUES (4, 'never'); PREPARE TRANSACTION 'no'")
        .expect("it can be prepared");
    pair.caught_up();
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.t"), "2");
    session.batch_execute("COMMIT PREPARED 'yes'").expect("it can be committed");
    session.batch_execute("ROLLBACK PREPARED 'no'").expect("it can be rolled back");
    pair.assert_all_equal();
    assert_eq!(
        pair.mirror_value("SELECT string_agg(id || a, ',' ORDER BY id) FROM odoo_mirror.t"),
        "1kept,2twice kept,3in two phases"
    );
}

#[test]
fn changes_to_what_is_not_published_pass_without_harm() {
    let pair = mirroring("CREATE TABLE t (id int PRIMARY KEY)");
    pair.on_source(
        "CREATE TABLE private (id int PRIMARY KEY); CREATE UNLOGGED TABLE quick (id int); CREATE TEMP TABLE brief (id int);
         CREATE MATERIALIZED VIEW seen AS SELECT 1 AS one; INSERT INTO private SELECT generate_series(1, 1000); INSERT INTO quick VALUES (1);
         INSERT INTO brief VALUES (1); REFRESH MATERIALIZED VIEW seen; INSERT INTO t VALUES (1); DROP TABLE private",
    );
    pair.assert_all_equal();
    assert_eq!(pair.mirror_value("SELECT to_regclass('odoo_mirror.private')"), "");
}
