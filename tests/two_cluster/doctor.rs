//! doctor(): everything well on a healthy system, and for each thing that isn't the statement that
//! mends it.

use crate::harness::{Cluster, Pair, eventually};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

pub const ODOO: &str = "CREATE TABLE account_move (id int PRIMARY KEY, partner_id int, invoice_date date, move_type varchar, state varchar, name varchar, amount_total numeric);
    CREATE TABLE res_partner (id int PRIMARY KEY, name varchar, vat varchar, is_company bool);
    CREATE TABLE hr_employee (id int PRIMARY KEY, name varchar); CREATE TABLE project_project (id int PRIMARY KEY, name jsonb);
    CREATE TABLE project_task_type (id int PRIMARY KEY, name jsonb, fold bool); CREATE TABLE project_task_user_rel (task_id int, user_id int, PRIMARY KEY (task_id, user_id));
    INSERT INTO res_partner VALUES (1, 'Deco')";

/// The check's ok, detail and hint.
pub fn check(mirror: &Cluster, name: &str) -> Option<(Option<bool>, String, String)> {
    let query =
        format!("SELECT ok, detail, coalesce(hint, '') FROM odoo_mirror.doctor() WHERE \"check\" = '{name}'");
    let row = mirror.try_rows("mirror", &query).ok()?.pop()?;
    let text = |index: usize| row[index].clone().unwrap_or_default();
    Some((row[0].as_deref().map(|ok| ok == "t"), text(1), text(2)))
}

/// Waits until the check fails, and returns its hint.
#[track_caller]
pub fn fails(pair: &Pair, name: &str) -> String {
    eventually(&format!("{name} fails"), LIMIT, || {
        check(&pair.mirror, name).filter(|(ok, ..)| *ok == Some(false))
    })
    .2
}

fn unwell(pair: &Pair) -> Vec<Vec<Option<String>>> {
    pair.mirror.rows("mirror", "SELECT \"check\", detail, hint FROM odoo_mirror.doctor() WHERE NOT ok")
}

#[test]
fn all_is_well_on_a_healthy_system() {
    let pair = Pair::mirroring(ODOO);
    pair.caught_up();
    eventually("all is well", LIMIT, || unwell(&pair).is_empty().then_some(()));
    let checks: i64 =
        pair.mirror_value("SELECT count(*) FROM odoo_mirror.doctor() WHERE ok").parse().expect("a number");
    assert!(checks >= 20, "{checks}");
    let silent = "SELECT count(*) FROM odoo_mirror.doctor() WHERE coalesce(detail, '') = ''";
    assert_eq!(pair.mirror_value(silent), "0");
}

#[test]
fn without_preload_in_another_database_unconfigured_and_stopped_it_says_what_to_run() {
    let bare = Cluster::builder().name("bare").start();
    bare.sql("postgres", "CREATE DATABASE mirror");
    bare.sql("mirror", "CREATE EXTENSION odoo_mirror");
    let (ok, _, hint) = check(&bare, "preload").expect("it answers without preload");
    assert!(ok == Some(false) && hint.contains("shared_preload_libraries"), "{hint}");

    let elsewhere = Cluster::builder().name("elsewhere").preload("postgres").start();
    elsewhere.sql("postgres", "CREATE DATABASE mirror");
    elsewhere.sql("mirror", "CREATE EXTENSION odoo_mirror");
    let (ok, _, hint) = check(&elsewhere, "database").expect("it answers");
    assert!(ok == Some(false) && hint.contains("ALTER SYSTEM SET odoo_mirror.database = 'mirror'"), "{hint}");

    let pair = Pair::start();
    assert!(fails(&pair, "configured").contains("odoo_mirror.configure("));
    assert!(fails(&pair, "started").contains("odoo_mirror.start()"));
    assert_eq!(check(&pair.mirror, "source: seen").expect("a row").0, None, "not known yet");
}

#[test]
fn what_is_wrong_on_the_source_is_told_with_the_statement_for_it() {
    let pair = Pair::start();
    pair.on_source(ODOO);
    pair.on_source("CREATE ROLE weak LOGIN");
    pair.on_mirror(&format!(
        "SELECT odoo_mirror.configure('host=127.0.0.1 port={} user=weak dbname=odoo')",
        pair.source.port()
    ));
    pair.on_mirror("SELECT odoo_mirror.start()");
    assert!(fails(&pair, "source: replication privilege").contains("ALTER ROLE \"weak\" REPLICATION"));
    assert!(fails(&pair, "source: publication").contains("CREATE PUBLICATION"));
    assert!(fails(&pair, "worker").contains("ALTER ROLE"), "the first thing that stops it");
    pair.on_source(
        "ALTER ROLE weak REPLICATION; CREATE PUBLICATION odoo_pub_scout FOR TABLE account_move, res_partner",
    );
    assert!(
        fails(&pair, "tables for the views")
            .contains("ALTER PUBLICATION odoo_pub_scout ADD TABLE hr_employee, project_project")
    );
    assert!(fails(&pair, "table account_move").contains("GRANT SELECT"));
}

#[test]
fn what_is_wrong_here_is_told_with_the_statement_for_it() {
    let pair = Pair::mirroring(ODOO);
    pair.on_mirror("CREATE ROLE anon; CREATE ROLE authenticator LOGIN; GRANT USAGE ON SCHEMA odoo_mirror TO anon; GRANT SELECT ON odoo_mirror.res_partner TO anon");
    assert!(fails(&pair, "anonymous readers").contains("REVOKE ALL"));
    assert!(fails(&pair, "exposed schema").contains("install_rest_aliases"));
    pair.on_mirror("ALTER ROLE authenticator SET pgrst.db_schemas = 'public, odoo_mirror'");
    assert_eq!(check(&pair.mirror, "exposed schema").expect("a row").0, Some(true));

    pair.on_mirror("DROP POLICY read_by_superset_readonly ON odoo_mirror.account_move; REVOKE SELECT ON odoo_mirror.v_task_summary FROM superset_readonly");
    let hint = fails(&pair, "grants");
    pair.on_mirror(&hint);
    assert_eq!(check(&pair.mirror, "grants").expect("a row").0, Some(true), "its hint is what it takes");

    pair.on_mirror("SELECT odoo_mirror.enable_ai_memory(create_schema => true)");
    assert_eq!(check(&pair.mirror, "AI memory").expect("a row").0, Some(true));
    pair.on_mirror("DROP TABLE ipai_memory.chunks");
    std::thread::sleep(Duration::from_millis(500));
    pair.on_source("INSERT INTO account_move VALUES (1, 1, '2026-01-01', 'out_invoice', 'draft', '/', 1)");
    assert!(fails(&pair, "AI memory").contains("enable_ai_memory"));

    pair.on_mirror("DROP TABLE odoo_mirror.hr_employee CASCADE");
    pair.on_source("INSERT INTO hr_employee VALUES (1, 'x')");
    assert!(fails(&pair, "table hr_employee").contains("resync"));

    pair.on_mirror("SELECT odoo_mirror.stop(); DROP VIEW odoo_mirror.v_revenue_by_partner; CREATE TABLE odoo_mirror.v_revenue_by_partner (mine int)");
    pair.on_mirror("SELECT odoo_mirror.start()");
    assert!(fails(&pair, "views").contains("Rename"));
    assert_eq!(check(&pair.mirror, "indexes").expect("a row").0, Some(true));
}

#[test]
fn a_mirror_that_lags_and_columns_that_hold_personal_data_are_told() {
    let pair = Pair::builder().source_conf("odoo.unused", "on").start();
    pair.on_source(ODOO);
    pair.on_source("ALTER TABLE hr_employee ADD private_email varchar, ADD birthday date");
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let (ok, detail, hint) = check(&pair.mirror, "personal data").expect("a row");
    assert!(
        ok == Some(true) && detail.contains("hr_employee.birthday, hr_employee.private_email"),
        "{detail}"
    );
    assert!(hint.contains("odoo_mirror.exclude_columns") && hint.contains("hr_employee.birthday"), "{hint}");
    assert_eq!(check(&pair.mirror, "lag").expect("a row").0, Some(true));
}
