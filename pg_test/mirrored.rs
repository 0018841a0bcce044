//! What the worker makes of an Odoo's tables, made here by the same statements: these tests have no
//! source.

use pgrx::prelude::*;

use crate::sql_tests::column;

/// Odoo 18's tables as far as people read them, empty, owned by the mirror's owner.
const TABLES: &str = "SET LOCAL ROLE odoo_mirror_owner;
    CREATE TABLE odoo_mirror.res_partner (id int PRIMARY KEY, name varchar, vat varchar, is_company bool, lang varchar);
    CREATE TABLE odoo_mirror.hr_employee (id int PRIMARY KEY, name varchar);
    CREATE TABLE odoo_mirror.project_project (id int PRIMARY KEY, name jsonb);
    CREATE TABLE odoo_mirror.project_task_type (id int PRIMARY KEY, name jsonb, fold bool);
    CREATE TABLE odoo_mirror.project_task_user_rel (task_id int, user_id int, PRIMARY KEY (task_id, user_id));
    CREATE TABLE odoo_mirror.hr_expense_sheet (id int PRIMARY KEY, name varchar, employee_id int, state varchar, accounting_date date);
    CREATE TABLE odoo_mirror.account_move (id int PRIMARY KEY, partner_id int, invoice_date date, move_type varchar, state varchar, name varchar,
        amount_total numeric, amount_residual numeric, amount_total_signed numeric);
    CREATE TABLE odoo_mirror.account_move_line (id int PRIMARY KEY, move_id int, account_id int, partner_id int);
    CREATE TABLE odoo_mirror.hr_expense (id int PRIMARY KEY, employee_id int, sheet_id int, name varchar, state varchar, date date, total_amount numeric,
        total_amount_currency numeric, untaxed_amount_currency numeric);
    CREATE TABLE odoo_mirror.project_task (id int PRIMARY KEY, name varchar, project_id int, stage_id int, priority varchar, date_deadline timestamp);
    RESET ROLE";

fn run(statements: &str) {
    Spi::run(statements).unwrap_or_else(|error| panic!("{error}: {statements}"));
}

/// Tables, and all that the worker puts on them.
pub fn odoo() {
    run(TABLES);
    for index in column(
        "SELECT format('CREATE INDEX %I ON odoo_mirror.%I (%s)', name, table_name, array_to_string(columns, ', ')) FROM odoo_mirror_internal.indexes",
    ) {
        run(&index);
    }
    for view in column(
        "SELECT format('CREATE OR REPLACE VIEW odoo_mirror.%I WITH (security_invoker = true) AS %s', name, definition)
         FROM odoo_mirror_internal.view_definitions()",
    ) {
        run(&format!("SET LOCAL ROLE odoo_mirror_owner; {view}; RESET ROLE"));
    }
    for statement in column("SELECT statement FROM odoo_mirror_internal.missing_protection()") {
        run(&statement);
    }
}
