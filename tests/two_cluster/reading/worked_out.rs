//! What each view and each function must answer, worked out from the source's raw rows by another
//! path than the view's own SQL.

use super::raw::{Raw, amount_of, by_id, day, label, number, rows, text};
use crate::harness::Pair;
use std::collections::BTreeMap;

/// One cell, so that 1.50 and 1.5 are the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    Text(Option<String>),
    Number(Option<i64>),
    Amount(Option<i128>),
}

pub(super) type Answer = Vec<Vec<Cell>>;

pub(super) fn t(value: Option<String>) -> Cell {
    Cell::Text(value)
}

pub(super) fn n(value: Option<i64>) -> Cell {
    Cell::Number(value)
}

pub(super) fn a(value: Option<i128>) -> Cell {
    Cell::Amount(value)
}
pub(super) struct Odoo {
    pub(super) moves: Vec<Raw>,
    partners: Vec<Raw>,
    pub(super) expenses: Vec<Raw>,
    sheets: Vec<Raw>,
    employees: Vec<Raw>,
    pub(super) tasks: Vec<Raw>,
    projects: Vec<Raw>,
    stages: Vec<Raw>,
    assigned: Vec<Raw>,
    /// That of Odoo's own company, whose partner is the first.
    language: String,
    /// Only the six tables are published.
    bare: bool,
}

impl Odoo {
    pub(super) fn read(pair: &Pair, bare: bool) -> Odoo {
        let published = |table: &str| if bare { Vec::new() } else { rows(pair, table) };
        let partners = rows(pair, "res_partner");
        let first = partners.iter().find(|row| number(row, "id") == Some(1));
        Odoo {
            language: first.and_then(|row| text(row, "lang")).unwrap_or_else(|| "en_US".to_owned()),
            moves: rows(pair, "account_move"),
            partners,
            expenses: rows(pair, "hr_expense"),
            sheets: rows(pair, "hr_expense_sheet"),
            employees: published("hr_employee"),
            tasks: rows(pair, "project_task"),
            projects: published("project_project"),
            stages: published("project_task_type"),
            assigned: published("project_task_user_rel"),
            bare,
        }
    }

    pub(super) fn invoices(&self) -> Answer {
        let partners = by_id(&self.partners);
        let kinds = BTreeMap::from([
            ("out_invoice", "Customer Invoice"),
            ("out_refund", "Customer Credit Note"),
            ("in_invoice", "Vendor Bill"),
            ("in_refund", "Vendor Credit Note"),
        ]);
        let mut answer = Vec::new();
        for row in &self.moves {
            let (Some(kind), Some(partner_id)) =
                (kinds.get(row["move_type"].as_str()), number(row, "partner_id"))
            else {
                continue;
            };
            let partner = partners.get(&partner_id);
            let of_partner = |column: &str| partner.and_then(|partner| text(partner, column));
            let state = match row["state"].as_str() {
                "draft" => "Draft",
                "posted" => "Posted",
                "cancel" => "Cancelled",
                other => panic!("state {other}"),
            };
            let is_company = of_partner("is_company");
            answer.push(vec![
                n(number(row, "id")),
                t(text(row, "name").filter(|name| name != "/")),
                t(day(row, "invoice_date")),
                t(text(row, "move_type")),
                t(text(row, "state")),
                a(amount_of(row, "amount_total")),
                a(amount_of(row, "amount_residual")),
                n(Some(partner_id)),
                t(of_partner("name")),
                t(of_partner("vat")),
                t(is_company.map(|is| if is == "true" { "company" } else { "person" }.to_owned())),
                t(Some((*kind).to_owned())),
                t(Some(state.to_owned())),
            ]);
        }
        answer
    }

    fn document_amount(row: &Raw, what: &str) -> Option<i128> {
        // Since 17 the plain column is the company's.
        if row.contains_key("total_amount_currency") || row.contains_key("untaxed_amount_currency") {
            return amount_of(row, &format!("{what}_currency"));
        }
        amount_of(row, what)
    }

    fn company_amount(row: &Raw) -> i128 {
        let column =
            if row.contains_key("total_amount_company") { "total_amount_company" } else { "total_amount" };
        amount_of(row, column).unwrap_or(0)
    }

    pub(super) fn expense_summaries(&self) -> Answer {
        let (employees, sheets) = (by_id(&self.employees), by_id(&self.sheets));
        self.expenses
            .iter()
            .map(|row| {
                let employee = number(row, "employee_id").and_then(|id| employees.get(&id));
                let sheet = number(row, "sheet_id").and_then(|id| sheets.get(&id));
                let state = match row["state"].as_str() {
                    "draft" => "To Submit",
                    "reported" | "submitted" => "Submitted",
                    "approved" => "Approved",
                    "done" | "posted" => "Posted",
                    "in_payment" => "In Payment",
                    "paid" => "Paid",
                    "refused" => "Refused",
                    other => panic!("state {other}"),
                };
                vec![
                    n(number(row, "id")),
                    t(text(row, "name")),
                    t(day(row, "date")),
                    a(Self::document_amount(row, "total_amount")),
                    a(Self::document_amount(row, "untaxed_amount")),
                    t(text(row, "state")),
                    n(number(row, "employee_id")),
                    t(employee.and_then(|employee| text(employee, "name"))),
                    n(number(row, "sheet_id")),
                    t(sheet.and_then(|sheet| text(sheet, "name"))),
                    t(sheet.and_then(|sheet| text(sheet, "state"))),
                    t(Some(state.to_owned())),
                ]
            })
            .collect()
    }

    fn assignees(&self, task: i64) -> Option<String> {
        if self.bare {
            return None;
        }
        let of_task = self.assigned.iter().filter(|row| number(row, "task_id") == Some(task));
        let mut users: Vec<i64> = of_task.filter_map(|row| number(row, "user_id")).collect();
        users.sort_unstable();
        let users: Vec<String> = users.iter().map(i64::to_string).collect();
        Some(format!("[{}]", users.join(",")))
    }

    pub(super) fn task_summaries(&self) -> Answer {
        let (projects, stages) = (by_id(&self.projects), by_id(&self.stages));
        self.tasks
            .iter()
            .map(|row| {
                let project = number(row, "project_id").and_then(|id| projects.get(&id));
                let stage = number(row, "stage_id").and_then(|id| stages.get(&id));
                let priority = text(row, "priority").map(|priority| {
                    ["Low", "Normal", "High", "Urgent"][priority.parse::<usize>().expect("0 to 3")].to_owned()
                });
                vec![
                    n(number(row, "id")),
                    t(text(row, "name")),
                    t(day(row, "date_deadline")),
                    t(text(row, "priority")),
                    n(number(row, "project_id")),
                    t(project.and_then(|project| label(project, "name", &self.language))),
                    n(number(row, "stage_id")),
                    t(stage.and_then(|stage| label(stage, "name", &self.language))),
                    t(self.assignees(number(row, "id").unwrap_or_default())),
                    t(priority),
                ]
            })
            .collect()
    }

    fn posted(&self, kind: &str) -> impl Iterator<Item = &Raw> {
        let kind = kind.to_owned();
        self.moves.iter().filter(move |row| row["move_type"] == kind && row["state"] == "posted")
    }

    pub(super) fn revenue(&self) -> Answer {
        let partners = by_id(&self.partners);
        let mut sums: BTreeMap<i64, (i64, i128, i128, Option<String>)> = BTreeMap::new();
        for row in self.posted("out_invoice") {
            let Some(partner) = number(row, "partner_id") else { continue };
            let sum = sums.entry(partner).or_default();
            sum.0 += 1;
            sum.1 += amount_of(row, "amount_total_signed").unwrap_or(0);
            sum.3 = sum.3.clone().max(day(row, "invoice_date"));
        }
        for row in self.posted("out_refund") {
            let Some(partner) = number(row, "partner_id") else { continue };
            if let Some(sum) = sums.get_mut(&partner) {
                sum.2 -= amount_of(row, "amount_total_signed").unwrap_or(0);
            }
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(partner, (_, invoiced, refunded, _))| (refunded - invoiced, *partner));
        let of =
            |partner: i64, column: &str| partners.get(&partner).and_then(|partner| text(partner, column));
        sums.into_iter()
            .map(|(partner, (count, invoiced, refunded, last))| {
                vec![
                    n(Some(partner)),
                    t(of(partner, "name")),
                    t(of(partner, "vat")),
                    n(Some(count)),
                    a(Some(invoiced)),
                    a(Some(refunded)),
                    a(Some(invoiced - refunded)),
                    t(last),
                ]
            })
            .collect()
    }

    pub(super) fn by_employee(&self) -> Answer {
        let employees = by_id(&self.employees);
        let mut sums: BTreeMap<i64, (i64, i128, i128, i128, Option<String>)> = BTreeMap::new();
        for row in &self.expenses {
            let Some(employee) = number(row, "employee_id") else { continue };
            let (amount, sum) = (Self::company_amount(row), sums.entry(employee).or_default());
            sum.0 += 1;
            sum.1 += amount;
            match row["state"].as_str() {
                "approved" => sum.2 += amount,
                "done" | "posted" | "in_payment" | "paid" => sum.3 += amount,
                _ => {}
            }
            sum.4 = sum.4.clone().max(day(row, "date"));
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(employee, sum)| (-sum.1, *employee));
        sums.into_iter()
            .map(|(employee, (count, total, approved, posted, last))| {
                vec![
                    n(Some(employee)),
                    t(employees.get(&employee).and_then(|row| text(row, "name"))),
                    n(Some(count)),
                    a(Some(total)),
                    a(Some(approved)),
                    a(Some(posted)),
                    t(last),
                ]
            })
            .collect()
    }

    pub(super) fn pending(&self, most: usize) -> Answer {
        let employees = by_id(&self.employees);
        let pending = |row: &&Raw| matches!(row["state"].as_str(), "draft" | "reported" | "submitted");
        let mut rows: Vec<&Raw> = self.expenses.iter().filter(pending).collect();
        rows.sort_by_key(|row| std::cmp::Reverse((day(row, "date"), number(row, "id"))));
        let answer = |row: &&Raw| {
            let employee = number(row, "employee_id").and_then(|id| employees.get(&id));
            vec![
                n(number(row, "id")),
                t(employee.and_then(|employee| text(employee, "name"))),
                t(text(row, "name")),
                a(Self::document_amount(row, "total_amount")),
                t(day(row, "date")),
                t(text(row, "state")),
            ]
        };
        rows.iter().take(most).map(answer).collect()
    }

    pub(super) fn overdue(&self, today: &str, days_since: impl Fn(&str) -> i64, most: usize) -> Answer {
        let (projects, stages) = (by_id(&self.projects), by_id(&self.stages));
        let open = |row: &&Raw| {
            let stage = number(row, "stage_id").and_then(|id| stages.get(&id));
            let folded = stage.is_some_and(|stage| text(stage, "fold").as_deref() == Some("true"));
            !folded && text(row, "date_deadline").is_some_and(|deadline| deadline.as_str() < today)
        };
        let mut rows: Vec<&Raw> = self.tasks.iter().filter(open).collect();
        rows.sort_by_key(|row| (text(row, "date_deadline"), number(row, "id")));
        let answer = |row: &&Raw| {
            let project = number(row, "project_id").and_then(|id| projects.get(&id));
            let deadline = day(row, "date_deadline");
            vec![
                n(number(row, "id")),
                t(text(row, "name")),
                t(project.and_then(|project| label(project, "name", &self.language))),
                t(deadline.clone()),
                n(deadline.map(|deadline| days_since(&deadline))),
            ]
        };
        rows.iter().take(most).map(answer).collect()
    }

    pub(super) fn trends(&self, months: usize) -> Answer {
        let mut sums: BTreeMap<String, (i64, i128)> = BTreeMap::new();
        for row in self.posted("out_invoice") {
            let Some(day) = day(row, "invoice_date") else { continue };
            let sum = sums.entry(format!("{}-01", &day[..7])).or_default();
            sum.0 += 1;
            sum.1 += amount_of(row, "amount_total_signed").unwrap_or(0);
        }
        let newest = sums.into_iter().rev().take(months);
        newest.map(|(month, (count, sum))| vec![t(Some(month)), n(Some(count)), a(Some(sum))]).collect()
    }
}
