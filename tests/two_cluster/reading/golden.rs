//! Each view's and each function's whole answer, held against what is worked out from the source's
//! raw rows.

use super::raw::{Raw, amount, amount_of, documents, number, text};
use super::worked_out::{Answer, Odoo, a, n, t};
use super::{SIX, all_ten, generated, odoo};
use crate::harness::{Pair, Samples};

/// What the mirror answers, its columns read as the kinds say: t, n or a.
fn asked(pair: &Pair, from: &str, columns: &[(&str, char)]) -> Answer {
    let rows = documents(&pair.mirror, "mirror", &format!("SELECT to_jsonb(v) FROM {from} v"));
    let cell = |row: &Raw, (column, kind): &(&str, char)| match kind {
        't' => t(text(row, column)),
        'n' => n(number(row, column)),
        _ => a(amount_of(row, column)),
    };
    rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect()).collect()
}

#[track_caller]
fn same(what: &str, mut answered: Answer, mut worked_out: Answer, ordered: bool) {
    if !ordered {
        answered.sort();
        worked_out.sort();
    }
    assert_eq!(answered.len(), worked_out.len(), "{what}: number of rows");
    for (row, (found, wanted)) in answered.iter().zip(&worked_out).enumerate() {
        assert_eq!(found, wanted, "{what}: row {row}");
    }
}

const INVOICES: [(&str, char); 13] = [
    ("id", 'n'),
    ("invoice_number", 't'),
    ("invoice_date", 't'),
    ("move_type", 't'),
    ("state", 't'),
    ("amount_total", 'a'),
    ("amount_residual", 'a'),
    ("partner_id", 'n'),
    ("partner_name", 't'),
    ("partner_vat", 't'),
    ("partner_type", 't'),
    ("move_type_name", 't'),
    ("state_name", 't'),
];
const EXPENSES: [(&str, char); 12] = [
    ("id", 'n'),
    ("description", 't'),
    ("date", 't'),
    ("total_amount", 'a'),
    ("untaxed_amount", 'a'),
    ("state", 't'),
    ("employee_id", 'n'),
    ("employee_name", 't'),
    ("sheet_id", 'n'),
    ("sheet_name", 't'),
    ("sheet_state", 't'),
    ("state_name", 't'),
];
const TASKS: [(&str, char); 10] = [
    ("id", 'n'),
    ("task_name", 't'),
    ("date_deadline", 't'),
    ("priority", 't'),
    ("project_id", 'n'),
    ("project_name", 't'),
    ("stage_id", 'n'),
    ("stage_name", 't'),
    ("user_ids", 't'),
    ("priority_name", 't'),
];
const REVENUE: [(&str, char); 8] = [
    ("partner_id", 'n'),
    ("partner_name", 't'),
    ("vat", 't'),
    ("invoice_count", 'n'),
    ("total_invoiced", 'a'),
    ("total_refunded", 'a'),
    ("net_revenue", 'a'),
    ("last_invoice_date", 't'),
];
const BY_EMPLOYEE: [(&str, char); 7] = [
    ("employee_id", 'n'),
    ("employee_name", 't'),
    ("expense_count", 'n'),
    ("total_expenses", 'a'),
    ("approved_expenses", 'a'),
    ("posted_expenses", 'a'),
    ("last_expense_date", 't'),
];
const PENDING: [(&str, char); 6] = [
    ("expense_id", 'n'),
    ("employee_name", 't'),
    ("description", 't'),
    ("amount", 'a'),
    ("expense_date", 't'),
    ("state", 't'),
];
const OVERDUE: [(&str, char); 5] =
    [("task_id", 'n'), ("task_name", 't'), ("project_name", 't'), ("deadline", 't'), ("days_overdue", 'n')];
const TRENDS: [(&str, char); 3] = [("month_date", 't'), ("invoice_count", 'n'), ("total_revenue", 'a')];

fn check(pair: &Pair, what: &str, bare: bool) {
    pair.caught_up();
    let odoo = Odoo::read(pair, bare);
    assert!(
        odoo.moves.len() > 100 && odoo.expenses.len() > 100 && odoo.tasks.len() > 100,
        "{what}: too little to go by"
    );
    let view = |name: &str, columns: &[(&str, char)]| asked(pair, &format!("odoo_mirror.{name}"), columns);
    same(&format!("{what}: invoices"), view("v_invoice_summary", &INVOICES), odoo.invoices(), false);
    same(&format!("{what}: expenses"), view("v_expense_summary", &EXPENSES), odoo.expense_summaries(), false);
    same(&format!("{what}: tasks"), view("v_task_summary", &TASKS), odoo.task_summaries(), false);
    same(&format!("{what}: revenue"), view("v_revenue_by_partner", &REVENUE), odoo.revenue(), true);
    same(
        &format!("{what}: employees"),
        view("v_expense_by_employee", &BY_EMPLOYEE),
        odoo.by_employee(),
        true,
    );
    let today = pair.source_value("SELECT (now() AT TIME ZONE 'UTC')::date");
    let days = |day: &str| {
        pair.source_value(&format!("SELECT '{today}'::date - '{day}'::date")).parse().expect("days")
    };
    for most in [0, 1, 20, 100_000] {
        let call = |name: &str| format!("odoo_mirror.{name}({most})");
        same(
            &format!("{what}: pending"),
            asked(pair, &call("get_pending_expenses"), &PENDING),
            odoo.pending(most),
            true,
        );
        same(
            &format!("{what}: overdue"),
            asked(pair, &call("get_overdue_tasks"), &OVERDUE),
            odoo.overdue(&today, days, most),
            true,
        );
        same(
            &format!("{what}: trends"),
            asked(pair, &call("get_revenue_trends"), &TRENDS),
            odoo.trends(most),
            true,
        );
    }
    let types = pair.mirror_value(
        "SELECT string_agg(format('%s.%s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY c.relname, a.attnum)
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
         WHERE c.relnamespace = 'odoo_mirror'::regnamespace AND c.relkind = 'v'",
    );
    assert_eq!(types.replace("character varying", "text"), types, "{what}: no label is a varchar");
    for column in [
        "v_invoice_summary.id integer",
        "v_invoice_summary.amount_total numeric",
        "v_task_summary.date_deadline date",
        "v_task_summary.user_ids integer[]",
        "v_expense_summary.date date",
        "v_task_summary.priority text",
    ] {
        assert!(types.contains(column), "{what}: {column} in {types}");
    }
}

#[test]
fn every_view_and_function_gives_the_golden_answer_on_odoo_16_to_19() {
    let Some(samples) = Samples::find() else { return };
    for version in [16, 17, 18, 19] {
        let pair = odoo(&samples, version, &all_ten());
        check(&pair, &format!("Odoo {version}"), false);
        // And goes on doing so.
        pair.on_source(
            "UPDATE account_move SET state = 'posted' WHERE state = 'draft' AND id % 3 = 0; DELETE FROM project_task_user_rel WHERE id % 5 = 0;
             UPDATE hr_expense SET state = 'refused' WHERE id % 7 = 0; UPDATE project_task_type SET fold = NULL WHERE id % 4 = 0",
        );
        check(&pair, &format!("Odoo {version}, later"), false);
    }
}

#[test]
fn on_a_bare_six_table_publication_the_views_stand_with_nulls_for_what_is_not_there() {
    let Some(samples) = Samples::find() else { return };
    for version in [16, 19] {
        check(&odoo(&samples, version, &SIX), &format!("Odoo {version}, bare"), true);
    }
}

#[test]
fn every_view_and_function_gives_the_golden_answer_on_the_generated_source() {
    check(&generated(&all_ten()), "generated", false);
}

#[test]
fn on_a_bare_six_table_publication_of_the_generated_source_too() {
    check(&generated(&SIX), "generated, bare", true);
}

#[test]
fn amounts_are_read_exactly() {
    assert_eq!(amount("-12.5"), -12_500_000);
    assert_eq!(amount("0.000001"), 1);
    assert_eq!(amount("100"), 100_000_000);
}
