//! Views stand: under what users build on them, and when columns change beneath.

use super::{LIMIT, all_ten, generated};
use crate::harness::{Pair, eventually};

#[test]
fn a_users_own_view_on_ours_and_its_grants_survive_a_column_that_changes_beneath() {
    let pair = generated(&all_ten());
    pair.on_mirror(
        "CREATE ROLE reader; GRANT USAGE ON SCHEMA odoo_mirror TO reader; GRANT SELECT ON odoo_mirror.v_invoice_summary TO reader;
         CREATE VIEW public.mine AS SELECT partner_name, amount_total FROM odoo_mirror.v_invoice_summary WHERE state = 'posted';
         CREATE MATERIALIZED VIEW public.kept AS SELECT * FROM odoo_mirror.v_revenue_by_partner;
         GRANT SELECT ON public.mine TO reader",
    );
    let before = pair.mirror_value("SELECT count(*) FROM public.mine");
    let oid = "SELECT 'odoo_mirror.v_invoice_summary'::regclass::oid";
    let view = pair.mirror_value(oid);
    pair.on_source("ALTER TABLE res_partner ALTER name TYPE text; ALTER TABLE res_partner DROP COLUMN vat");
    let job = pair.mirror_value("SELECT odoo_mirror.resync('res_partner')");
    eventually("it is taken over", LIMIT, || {
        (pair.mirror_value(&format!("SELECT state FROM odoo_mirror.jobs() WHERE id = {job}")) == "done")
            .then_some(())
    });
    pair.wait_ready(LIMIT);
    assert_eq!(pair.mirror_value("SELECT count(*) FROM public.mine WHERE partner_name IS NOT NULL"), before);
    assert_eq!(pair.mirror_value("SELECT count(partner_vat) FROM odoo_mirror.v_invoice_summary"), "0");
    assert_eq!(pair.mirror_value(oid), view, "replaced, never dropped");
    for relation in ["odoo_mirror.v_invoice_summary", "public.mine"] {
        assert_eq!(
            pair.mirror_value(&format!("SELECT has_table_privilege('reader', '{relation}', 'SELECT')")),
            "t"
        );
    }
    pair.on_mirror("REFRESH MATERIALIZED VIEW public.kept");
}

#[test]
fn every_view_and_column_says_what_it_is_and_the_views_check_the_readers_rights() {
    let pair = generated(&all_ten());
    let silent = "SELECT count(*) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'odoo_mirror'::regnamespace AND c.relkind = 'v'
          AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)";
    assert_eq!(pair.mirror_value(silent), "0");
    let unsafe_views =
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'odoo_mirror'::regnamespace AND relkind = 'v'
        AND NOT coalesce(reloptions @> '{security_invoker=true}', false)";
    assert_eq!(pair.mirror_value(unsafe_views), "0");
    pair.on_mirror("DROP EXTENSION odoo_mirror");
    assert_ne!(
        pair.mirror_value("SELECT count(*) FROM odoo_mirror.v_invoice_summary"),
        "0",
        "they outlive the extension"
    );
}

#[test]
fn all_indexes_of_the_contract_stand_and_one_for_a_column_that_is_not_there_is_reported() {
    let pair = generated(&all_ten());
    assert_eq!(
        pair.mirror_value(
            "SELECT count(*) FROM pg_indexes WHERE schemaname = 'odoo_mirror' AND indexname LIKE 'idx\\_%'"
        ),
        "21"
    );
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror_internal.missing_indexes()"), "0");
    pair.on_source("ALTER TABLE res_partner DROP COLUMN vat");
    pair.on_mirror("SELECT odoo_mirror.resync('res_partner')");
    eventually("it is reported", LIMIT, || {
        (pair.mirror_value(
            "SELECT coalesce(string_agg(name, ','), '') FROM odoo_mirror_internal.missing_indexes()",
        ) == "idx_res_partner_vat")
            .then_some(())
    });
    pair.wait_ready(LIMIT);
}

#[test]
fn the_functions_read_by_an_index_where_there_are_many_rows() {
    let pair = generated(&all_ten());
    pair.on_source(
        "INSERT INTO hr_expense (id, employee_id, company_id, currency_id, name, state, date, total_amount, payment_mode, quantity, price_unit)
         SELECT 1000000 + n, 1, 1, 1, 'many', CASE WHEN n % 500 = 0 THEN 'draft' ELSE 'done' END, '2020-01-01'::date + n % 2000, 10, 'own_account', 1, 10 FROM generate_series(1, 200000) n",
    );
    pair.caught_up();
    pair.on_mirror("ANALYZE odoo_mirror.hr_expense; ANALYZE odoo_mirror.project_task; ANALYZE odoo_mirror.account_move; LOAD 'auto_explain'");
    let mut session = pair.mirror.connect("mirror");
    session.batch_execute("LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; SET auto_explain.log_level = 'log'").expect("it is up");
    session.batch_execute("SELECT count(*) FROM odoo_mirror.get_pending_expenses(20)").expect("it answers");
    let log = eventually("the plan is logged", LIMIT, || {
        Some(pair.mirror.log()).filter(|log| log.contains("get_pending_expenses(20)"))
    });
    let plan = &log[log.find("FROM odoo_mirror.hr_expense e WHERE").expect("the inner query's plan")..];
    assert!(plan.contains("idx_hr_expense_state") || plan.contains("idx_hr_expense_date"), "{plan}");
    assert!(!plan.contains("Seq Scan on hr_expense e"), "{plan}");
}

#[test]
fn an_index_that_could_not_be_built_is_told_and_built_by_a_resync_once_it_can_be() {
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").start();
    // Random hex, which hardly compresses: too long for an index's page.
    pair.on_source(
        "CREATE TABLE res_partner (id int PRIMARY KEY, name varchar, is_company bool);
         INSERT INTO res_partner SELECT 1, string_agg(md5(n::text), ''), true FROM generate_series(1, 400) n",
    );
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let missing = "SELECT coalesce(string_agg(name, ', ' ORDER BY name), '') FROM odoo_mirror_internal.missing_indexes()";
    let told = "SELECT detail FROM odoo_mirror.doctor() WHERE \"check\" = 'indexes'";
    assert_eq!(pair.mirror_value(missing), "idx_res_partner_name, idx_res_partner_vat");
    assert!(
        pair.mirror_value(told).contains("idx_res_partner_name (index row"),
        "{}",
        pair.mirror_value(told)
    );
    assert!(pair.mirror_value(told).contains("Odoo has no column vat"));
    pair.on_source("UPDATE res_partner SET name = 'short'; ALTER TABLE res_partner ADD vat varchar; UPDATE res_partner SET vat = 'BE1'");
    // Somebody who reads all the while holds nothing up, nor is held up.
    let mut reader = pair.mirror.connect("mirror");
    reader.batch_execute("BEGIN; SELECT count(*) FROM odoo_mirror.res_partner").expect("it is up");
    reader
        .batch_execute("COMMIT; BEGIN; SELECT count(*) FROM odoo_mirror.v_invoice_summary")
        .expect("it is up");
    pair.on_mirror("SELECT odoo_mirror.resync('res_partner')");
    eventually("both are built", LIMIT, || (pair.mirror_value(missing).is_empty()).then_some(()));
    reader.batch_execute("SELECT count(*) FROM odoo_mirror.res_partner; COMMIT").expect("it reads");
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
}

#[test]
fn every_table_function_and_column_that_a_reader_sees_says_what_it_is() {
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").start();
    // As Odoo does it: a field's label.
    pair.on_source(
        "CREATE TABLE res_partner (id int PRIMARY KEY, name varchar, x_new int); COMMENT ON TABLE res_partner IS 'Contact';
         COMMENT ON COLUMN res_partner.name IS 'Name'; CREATE TABLE account_move (id int PRIMARY KEY, move_type varchar)",
    );
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let says = |column: &str| {
        pair.mirror_value(&format!(
            "SELECT col_description('odoo_mirror.res_partner'::regclass, (SELECT attnum FROM pg_attribute WHERE attrelid = 'odoo_mirror.res_partner'::regclass AND attname = '{column}'))"
        ))
    };
    assert_eq!(
        pair.mirror_value("SELECT obj_description('odoo_mirror.res_partner'::regclass, 'pg_class')"),
        "Contact"
    );
    assert_eq!(
        pair.mirror_value("SELECT obj_description('odoo_mirror.account_move'::regclass, 'pg_class')"),
        "public.account_move of Odoo, mirrored"
    );
    assert_eq!((says("name").as_str(), says("x_new").as_str()), ("Name", "res_partner.x_new of Odoo"));
    // What somebody writes here stays; a label that comes later is taken over.
    pair.on_mirror("COMMENT ON COLUMN odoo_mirror.res_partner.name IS 'as we call it'");
    pair.on_source(
        "COMMENT ON COLUMN res_partner.x_new IS 'New'; COMMENT ON COLUMN res_partner.name IS 'Other'",
    );
    pair.on_mirror("SELECT odoo_mirror.stop()");
    pair.on_mirror("SELECT odoo_mirror.start()");
    eventually("the label is taken over", LIMIT, || (says("x_new") == "New").then_some(()));
    assert_eq!(says("name"), "as we call it");
    for silent in [
        "SELECT c.oid::regclass || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         WHERE c.relnamespace = 'odoo_mirror'::regnamespace AND c.relkind IN ('r', 'v') AND col_description(c.oid, a.attnum) IS NULL",
        "SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'odoo_mirror'::regnamespace AND c.relkind IN ('r', 'v') AND obj_description(c.oid, 'pg_class') IS NULL",
        "SELECT f.oid::regprocedure FROM pg_proc f WHERE f.pronamespace = 'odoo_mirror'::regnamespace AND obj_description(f.oid, 'pg_proc') IS NULL",
        "SELECT t.oid::regtype FROM pg_type t WHERE t.typnamespace = 'odoo_mirror'::regnamespace AND t.typtype = 'd' AND obj_description(t.oid, 'pg_type') IS NULL",
        "SELECT nspname FROM pg_namespace n WHERE nspname LIKE 'odoo\\_mirror%' AND obj_description(n.oid, 'pg_namespace') IS NULL",
        "SELECT rolname FROM pg_roles r WHERE rolname IN ('superset_readonly', 'n8n_service', 'odoo_mirror_owner') AND shobj_description(r.oid, 'pg_authid') IS NULL",
    ] {
        assert_eq!(pair.mirror.rows("mirror", silent), Vec::<Vec<Option<String>>>::new(), "{silent}");
    }
}

#[test]
fn translated_names_are_in_the_language_that_is_set_else_english_else_whatever_there_is() {
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").start();
    pair.on_source(
        "CREATE TABLE res_partner (id int PRIMARY KEY, name varchar, lang varchar); INSERT INTO res_partner VALUES (1, 'Us', 'de_DE'), (2, 'Them', 'fr_FR');
         CREATE TABLE project_project (id int PRIMARY KEY, name jsonb);
         INSERT INTO project_project VALUES (1, '{\"en_US\": \"House\", \"de_DE\": \"Haus\", \"fr_FR\": \"Maison\"}'), (2, '{\"en_US\": \"Only\", \"fr_FR\": \"Seulement\"}'), (3, '{\"es_ES\": \"Solo\"}'), (4, NULL), (5, '{}');
         CREATE TABLE project_task (id int PRIMARY KEY, name varchar, project_id int); INSERT INTO project_task SELECT n, 't', n FROM generate_series(1, 5) n",
    );
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let names =
        "SELECT string_agg(coalesce(project_name, '-'), ' ' ORDER BY id) FROM odoo_mirror.v_task_summary";
    assert_eq!(pair.mirror_value(names), "Haus Only Solo - -", "the company's");
    pair.mirror.set_conf("odoo_mirror.language", "fr_FR");
    pair.mirror.reload();
    eventually("the setting's", LIMIT, || {
        (pair.mirror_value(names) == "Maison Seulement Solo - -").then_some(())
    });
}
