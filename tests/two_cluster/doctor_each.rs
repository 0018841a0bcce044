//! doctor(): each check that can fail without stopping the whole mirror, failing, with the
//! statement that mends it.

use crate::doctor::{ODOO, check, fails};
use crate::harness::{Cluster, Pair, eventually};
use std::net::TcpListener;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(180);

#[track_caller]
fn is_well(pair: &Pair, name: &str) {
    eventually(&format!("{name} is well"), LIMIT, || {
        check(&pair.mirror, name).filter(|(ok, ..)| *ok == Some(true))
    });
}

/// A mirror that isn't started: what is said of its source is looked at by each try to start.
fn of_a_source(prepare: impl Fn(&Pair), source: &[(&str, &str)]) -> Pair {
    let builder =
        source.iter().fold(Pair::builder(), |builder, (name, value)| builder.source_conf(name, value));
    let pair = builder.mirror_conf("odoo_mirror.poll_interval", "1").start();
    pair.on_source(ODOO);
    prepare(&pair);
    pair.configure_and_start();
    pair
}

#[test]
fn a_source_that_cannot_be_decoded_or_has_no_room_for_a_slot_is_told() {
    let pair = of_a_source(
        |pair| {
            pair.on_source("CREATE PUBLICATION odoo_pub_scout FOR ALL TABLES; SELECT pg_create_physical_replication_slot('only')");
        },
        &[("wal_level", "replica"), ("max_replication_slots", "1")],
    );
    assert!(fails(&pair, "source: wal_level").contains("ALTER SYSTEM SET wal_level = 'logical'"));
    assert!(fails(&pair, "source: room for a slot").contains("ALTER SYSTEM SET max_replication_slots"));
}

#[test]
fn a_publication_without_tables_or_without_updates_is_told() {
    let pair = of_a_source(
        |pair| pair.on_source("CREATE PUBLICATION odoo_pub_scout WITH (publish = 'insert')"),
        &[],
    );
    assert!(
        fails(&pair, "source: published tables").contains("ALTER PUBLICATION \"odoo_pub_scout\" ADD TABLE")
    );
    assert!(
        fails(&pair, "source: published operations")
            .contains("SET (publish = 'insert, update, delete, truncate')")
    );
    assert!(fails(&pair, "source: tables behind the views").contains("ADD TABLE"));
}

#[test]
fn a_slot_that_is_somebody_elses_or_in_use_is_told() {
    let pair = of_a_source(
        |pair| {
            pair.on_source("CREATE PUBLICATION odoo_pub_scout FOR ALL TABLES; SELECT pg_create_physical_replication_slot('odoo_mirror')");
        },
        &[],
    );
    assert!(fails(&pair, "source: slot is ours").contains("pg_drop_replication_slot('odoo_mirror')"));
}

#[test]
fn tables_that_the_role_may_not_read_or_that_have_no_key_are_told() {
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").start();
    pair.on_source(ODOO);
    pair.on_source(
        "CREATE SCHEMA hidden; CREATE TABLE hidden.t (id int PRIMARY KEY); CREATE TABLE keyless (n int);
         CREATE ROLE plain LOGIN REPLICATION; GRANT SELECT ON ALL TABLES IN SCHEMA public TO plain; REVOKE SELECT ON res_partner FROM plain;
         ALTER TABLE hr_employee ENABLE ROW LEVEL SECURITY; CREATE PUBLICATION odoo_pub_scout FOR ALL TABLES",
    );
    pair.on_mirror(&format!(
        "SELECT odoo_mirror.configure('host=127.0.0.1 port={} user=plain dbname=odoo')",
        pair.source.port()
    ));
    pair.on_mirror("SELECT odoo_mirror.start()");
    let schema = fails(&pair, "source: schema privilege");
    let table = fails(&pair, "source: table privilege");
    let rows = fails(&pair, "source: row-level security");
    assert!(schema.contains("GRANT USAGE ON SCHEMA \"hidden\""), "{schema}");
    assert!(
        table.contains("GRANT SELECT ON TABLE \"public\".\"res_partner\"") || table.contains("hidden"),
        "{table}"
    );
    assert!(rows.contains("BYPASSRLS"), "{rows}");
    assert!(!fails(&pair, "source: row identity").is_empty());
    assert!(fails(&pair, "table res_partner").contains("GRANT SELECT"));
    // And all of it goes when the statements have been run.
    pair.on_source("GRANT USAGE ON SCHEMA hidden TO plain; GRANT SELECT ON ALL TABLES IN SCHEMA hidden, public TO plain; ALTER ROLE plain BYPASSRLS; ALTER TABLE keyless ADD PRIMARY KEY (n)");
    for name in ["source: schema privilege", "source: table privilege", "source: row-level security"] {
        is_well(&pair, name);
    }
    // All are in, and the mirror says again what it does.
    eventually("it streams all of them", LIMIT, || {
        let waiting = pair.mirror_value("SELECT count(*) FROM odoo_mirror.tables() WHERE state <> 'ready'");
        (waiting == "0" && pair.mirror_value("SELECT odoo_mirror.status() ->> 'state'") == "streaming")
            .then_some(())
    });
}

#[test]
fn too_many_origins_too_few_worker_slots_and_a_port_that_is_taken_are_told() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("a port").port();
    let pair = Pair::builder()
        .mirror_conf("max_replication_slots", "2")
        .mirror_conf("max_worker_processes", "2")
        .mirror_conf("odoo_mirror.metrics_listen", &port.to_string())
        .start();
    assert!(fails(&pair, "metrics endpoint").contains("odoo_mirror.metrics_listen"));
    assert!(fails(&pair, "worker slots").contains("ALTER SYSTEM SET max_worker_processes"));
    pair.on_mirror("SELECT pg_replication_origin_create('other_' || n) FROM generate_series(1, 3) n");
    let hint = fails(&pair, "replication origins");
    assert!(hint.contains("ALTER SYSTEM SET max_"), "{hint}");
    pair.on_mirror("SELECT pg_replication_origin_drop('other_' || n) FROM generate_series(1, 3) n");
    is_well(&pair, "replication origins");
    pair.mirror.set_conf("odoo_mirror.metrics_listen", "");
    pair.mirror.reload();
    eventually("it is no longer in use", LIMIT, || {
        check(&pair.mirror, "metrics endpoint").filter(|(ok, ..)| ok.is_none())
    });
}

#[test]
fn a_slot_near_its_limit_is_told_before_it_is_lost() {
    let pair = of_a_source(
        |pair| pair.publish_all(),
        &[("max_slot_wal_keep_size", "200MB"), ("wal_keep_size", "0")],
    );
    pair.wait_ready(LIMIT);
    let hint = fails(&pair, "slot");
    assert!(hint.contains("ALTER SYSTEM SET max_slot_wal_keep_size"), "{hint}");
    let statement = hint.trim_start_matches("On the source: ").split(';').next().expect("a statement");
    pair.source.sql("postgres", statement);
    pair.source.reload();
    is_well(&pair, "slot");
}

/// The one that takes its time: a lag is a fault when it lasts a minute.
#[test]
fn a_lag_of_more_than_a_minute_is_told() {
    let pair = Pair::mirroring(ODOO);
    let mut locker = pair.mirror.connect("mirror");
    locker.batch_execute("BEGIN; LOCK TABLE odoo_mirror.res_partner IN SHARE MODE").expect("it is up");
    pair.on_source("INSERT INTO res_partner VALUES (2, 'waits')");
    let (_, detail, hint) = eventually("the lag is told", Duration::from_secs(180), || {
        check(&pair.mirror, "lag").filter(|(ok, ..)| *ok == Some(false))
    });
    assert!(detail.contains(" s, ") && hint.contains("odoo_mirror.lag()"), "{detail}: {hint}");
    locker.batch_execute("COMMIT").expect("it is up");
    pair.caught_up();
    is_well(&pair, "lag");
}

#[test]
fn a_copy_of_the_database_is_told_to_call_start() {
    let pair = Pair::mirroring(ODOO);
    let copy = pair.mirror.base_backup("copy");
    copy.start();
    let said = |mirror: &Cluster| check(mirror, "started").filter(|(ok, ..)| *ok == Some(false));
    let (_, detail, hint) = eventually("it waits", LIMIT, || said(&copy));
    assert!(detail.contains("a copy") && hint.contains("odoo_mirror.start()"), "{detail}: {hint}");
}

#[test]
fn constraints_that_the_mirror_does_not_obey_are_named() {
    let pair = Pair::mirroring(
        "CREATE TABLE t (id int PRIMARY KEY, a int, b int, r int4range); INSERT INTO t VALUES (1, 1, 1, '[1,5)');
         CREATE TABLE other (id int PRIMARY KEY, t int); INSERT INTO other VALUES (1, 1)",
    );
    is_well(&pair, "constraints");
    pair.on_mirror(
        "ALTER TABLE odoo_mirror.t ADD CONSTRAINT once UNIQUE (a) DEFERRABLE INITIALLY DEFERRED, ADD CONSTRAINT apart EXCLUDE USING gist (r WITH &&) DEFERRABLE,
             ADD CONSTRAINT small CHECK (a < 100), ADD CONSTRAINT plain UNIQUE (b, id);
         ALTER TABLE odoo_mirror.other ADD CONSTRAINT of_mirrored FOREIGN KEY (t) REFERENCES odoo_mirror.t;
         CREATE TABLE mine (id int PRIMARY KEY, t int); INSERT INTO mine VALUES (1, 1); ALTER TABLE mine ADD CONSTRAINT of_mine FOREIGN KEY (t) REFERENCES odoo_mirror.t;
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
         CREATE CONSTRAINT TRIGGER looks AFTER INSERT ON odoo_mirror.other DEFERRABLE FOR EACH ROW EXECUTE FUNCTION refuse();
         CREATE CONSTRAINT TRIGGER always AFTER INSERT ON odoo_mirror.other FOR EACH ROW WHEN (new.id < 0) EXECUTE FUNCTION refuse(); ALTER TABLE odoo_mirror.other ENABLE ALWAYS TRIGGER always",
    );
    // All of them are violated in silence, and each is told.
    pair.on_source("INSERT INTO t VALUES (2, 1, 1, '[2,3)'); INSERT INTO other VALUES (2, 7); DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (3, 1, 2, '[2,3)')");
    pair.assert_all_equal();
    for (constraint, table, kind, statement) in [
        (
            "once",
            "odoo_mirror.t",
            "deferrable unique constraint",
            "DROP CONSTRAINT once, ADD CONSTRAINT once UNIQUE (a);",
        ),
        (
            "apart",
            "odoo_mirror.t",
            "deferrable exclusion",
            "ADD CONSTRAINT apart EXCLUDE USING gist (r WITH &&);",
        ),
        (
            "of_mirrored",
            "odoo_mirror.other",
            "foreign key",
            "ALTER TABLE odoo_mirror.other DROP CONSTRAINT of_mirrored;",
        ),
        ("of_mine", "public.mine", "foreign key", "ALTER TABLE public.mine DROP CONSTRAINT of_mine;"),
        (
            "looks",
            "odoo_mirror.other",
            "constraint trigger",
            "ALTER TABLE odoo_mirror.other ENABLE ALWAYS TRIGGER looks;",
        ),
    ] {
        let name = format!("constraint {constraint} on {table}");
        assert!(fails(&pair, &name).contains(statement), "{name}");
        let (_, detail, _) = check(&pair.mirror, &name).expect("it is told");
        assert!(detail.contains(kind), "{detail}");
    }
    let told = "SELECT count(*) FROM odoo_mirror.doctor() WHERE \"check\" LIKE 'constraint %'";
    assert_eq!(pair.mirror_value(told), "5");
}
