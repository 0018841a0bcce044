//! What is said of a source that can't be mirrored as it is set; each hint that is SQL is run, and
//! must help.

use crate::harness::Cluster;
use crate::source_catalog::{asking, source, tables_for};
use odoo_mirror::error::Verdict;
use odoo_mirror::source::check::{Check, Stops, first_failure};
use odoo_mirror::source::{identity, prepare};

/// All checks, as `role` sees them.
fn checks(source: &Cluster, role: &str) -> Vec<Check> {
    let tables = tables_for(source, role, "pub", &[]);
    asking(source, role, async |client| {
        let identity = identity::identify(client).await.expect("it can be asked");
        prepare::checks(client, &identity, "pub", "mirror", &tables).await.expect("it can be asked")
    })
}

/// The failing check of that name.
#[track_caller]
fn failing(checks: &[Check], name: &str) -> Check {
    let found = checks.iter().find(|check| check.name == name && !check.ok);
    found.unwrap_or_else(|| panic!("{name} doesn't fail in {checks:#?}")).clone()
}

#[track_caller]
fn assert_ok(checks: &[Check], name: &str) {
    assert!(checks.iter().any(|check| check.name == name), "{name} isn't in {checks:#?}");
    assert!(checks.iter().all(|check| check.name != name || check.ok), "{name} fails in {checks:#?}");
}

/// The SQL of a hint, up to its last semicolon.
#[track_caller]
fn run_hint(source: &Cluster, check: &Check) {
    let hint = check.hint.as_deref().expect("there is a hint");
    let end = hint.rfind(';').expect("the hint is SQL");
    source.sql("postgres", &hint[..end]);
}

fn prepared_source() -> Cluster {
    let source = source();
    source.sql(
        "postgres",
        "CREATE TABLE res_partner (id int PRIMARY KEY); CREATE TABLE hr_employee (id int PRIMARY KEY);
         CREATE ROLE plain LOGIN",
    );
    source
}

#[test]
fn each_fault_is_named_and_its_hint_mends_it() {
    let source = prepared_source();
    source.sql("postgres", "CREATE SCHEMA \"S\"; CREATE TABLE \"S\".t (id int PRIMARY KEY)");

    for name in ["replication privilege", "publication"] {
        let found = checks(&source, "plain");
        assert!(first_failure(&found).is_some());
        run_hint(&source, &failing(&found, name));
        assert_ok(&checks(&source, "plain"), name);
    }
    assert_eq!(
        source.value("postgres", "SELECT string_agg(tablename, ' ') FROM pg_publication_tables"),
        "res_partner"
    );

    source.sql(
        "postgres",
        "ALTER PUBLICATION pub DROP TABLE res_partner; ALTER PUBLICATION pub SET (publish = 'insert')",
    );
    for name in ["published tables", "published operations", "tables behind the views"] {
        run_hint(&source, &failing(&checks(&source, "plain"), name));
        assert_ok(&checks(&source, "plain"), name);
    }

    source.sql(
        "postgres",
        "ALTER PUBLICATION pub ADD TABLE \"S\".t; ALTER TABLE \"S\".t ENABLE ROW LEVEL SECURITY;
         GRANT SELECT ON res_partner, hr_employee TO plain",
    );
    for name in ["schema privilege", "table privilege", "row-level security"] {
        let found = checks(&source, "plain");
        let check = failing(&found, name);
        // One table's fault is not the mirror's.
        assert_eq!(check.stops, Stops::Table { schema: "S".into(), name: "t".into() });
        assert!(check.failure().is_some_and(|error| error.verdict == Verdict::RetrySlowly));
        assert!(first_failure(&found).is_none(), "{:?}", first_failure(&found));
        run_hint(&source, &check);
        assert_ok(&checks(&source, "plain"), name);
    }
    assert!(checks(&source, "plain").iter().all(|check| check.ok));
}

#[test]
fn a_fault_is_a_sentence_in_lower_case_with_its_hint() {
    let source = prepared_source();
    let error = first_failure(&checks(&source, "postgres")).expect("there is no publication");
    assert_eq!(error.verdict, Verdict::RetrySlowly);
    assert_eq!(error.message, "publication \"pub\" does not exist on the source");
    assert_eq!(error.hint.as_deref(), Some("CREATE PUBLICATION \"pub\" FOR TABLE public.\"res_partner\";"));
}

#[test]
fn a_table_without_an_identity_stops_nothing() {
    let source = prepared_source();
    source.sql(
        "postgres",
        "CREATE TABLE k (n int); CREATE PUBLICATION pub FOR TABLE k, res_partner, hr_employee",
    );
    let found = checks(&source, "postgres");
    let check = failing(&found, "row identity");
    assert!(check.detail.contains("\"public\".\"k\""), "{}", check.detail);
    assert!(check.failure().is_none() && first_failure(&found).is_none());
}

#[test]
fn a_source_without_logical_wal_or_without_room_is_refused() {
    let source = Cluster::builder().conf("wal_level", "replica").conf("max_replication_slots", "1").start();
    source.sql("postgres", "SELECT pg_create_physical_replication_slot('only')");
    let found = checks(&source, "postgres");
    assert_eq!(failing(&found, "wal_level").detail, "wal_level is replica on the source, not logical");
    assert_eq!(failing(&found, "room for a slot").detail, "all 1 replication slots of the source are in use");
    assert_eq!(
        first_failure(&found).map(|error| error.message),
        Some("wal_level is replica on the source, not logical".into())
    );
}

#[test]
fn a_slot_that_is_somebody_elses_is_refused() {
    let source = prepared_source();
    source.sql("postgres", "CREATE DATABASE other");
    source.sql("postgres", "CREATE PUBLICATION pub FOR ALL TABLES");
    let create = [
        ("postgres", "SELECT pg_create_logical_replication_slot('mirror', 'test_decoding')", "test_decoding"),
        ("other", "SELECT pg_create_logical_replication_slot('mirror', 'pgoutput')", "\"other\""),
        ("postgres", "SELECT pg_create_physical_replication_slot('mirror')", "physical"),
    ];
    for (database, sql, named) in create {
        source.sql(database, sql);
        let check = failing(&checks(&source, "postgres"), "slot is ours");
        assert!(check.detail.contains(named), "{}", check.detail);
        source.sql(database, "SELECT pg_drop_replication_slot('mirror')");
    }
    source.sql("postgres", "SELECT pg_create_logical_replication_slot('mirror', 'pgoutput')");
    assert!(checks(&source, "postgres").iter().all(|check| check.ok));
}
