//! Views stand: under what users build on them, and when columns change beneath.

use super::{LIMIT, all_ten, generated};
use crate::harness::eventually;

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
