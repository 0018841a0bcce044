//! The reading functions: what they answer, whichever way they find it, and how little they read
//! for it.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::sql_tests::{column, mirrored, value};

    fn run(statements: &str) {
        Spi::run(statements).unwrap_or_else(|error| panic!("{error}: {statements}"));
    }

    /// Rows of the table that were read one after the other, and rows that were fetched by an
    /// index, so far.
    fn read_of(table: &str) -> (i64, i64) {
        let count = |what: &str| {
            value(&format!(
                "SELECT {what} FROM pg_stat_xact_user_tables WHERE relid = 'odoo_mirror.{table}'::regclass"
            ))
            .parse()
            .expect("a number")
        };
        (count("seq_tup_read"), count("idx_tup_fetch"))
    }

    /// How many rows the call gives, having read none of the table's one after the other, and how
    /// many it fetched.
    #[track_caller]
    fn fetched(table: &str, call: &str) -> (i64, i64) {
        run(&format!("ANALYZE odoo_mirror.{table}"));
        let before = read_of(table);
        let rows = value(&format!("SELECT count(*) FROM odoo_mirror.{call}")).parse().expect("a number");
        let after = read_of(table);
        assert_eq!(after.0, before.0, "{call} reads all of {table}");
        (rows, after.1 - before.1)
    }

    const ROWS: i64 = 60_000;

    #[pg_test]
    fn pending_expenses_are_found_without_reading_the_others() {
        mirrored::odoo();
        // As it is: what is pending is new.
        run(&format!(
            "INSERT INTO odoo_mirror.hr_expense (id, name, state, date) SELECT n, 'e', CASE WHEN n > {ROWS} - 300 AND n % 3 = 0 THEN 'draft' ELSE 'done' END,
                '2020-01-01'::date + n / 50 FROM generate_series(1, {ROWS}) n"
        ));
        let (rows, read) = fetched("hr_expense", "get_pending_expenses(20)");
        assert!(rows == 20 && read < 3000, "{rows} rows, {read} read");
        // As it might be: a few, and long forgotten.
        run(
            "UPDATE odoo_mirror.hr_expense SET state = CASE WHEN id <= 50 THEN 'submitted' ELSE 'done' END WHERE state = 'draft' OR id <= 50",
        );
        let (rows, read) = fetched("hr_expense", "get_pending_expenses(20)");
        assert!(rows == 20 && read < 3000, "{rows} rows, {read} read");
        // And all of them.
        run("UPDATE odoo_mirror.hr_expense SET state = 'draft'");
        let (rows, read) = fetched("hr_expense", "get_pending_expenses(20)");
        assert!(rows == 20 && read < 5000, "{rows} rows, {read} read");
    }

    #[pg_test]
    fn overdue_tasks_are_found_without_reading_those_that_are_done() {
        mirrored::odoo();
        run(
            "INSERT INTO odoo_mirror.project_task_type VALUES (1, NULL, NULL), (2, NULL, false), (3, NULL, true)",
        );
        run(&format!(
            "INSERT INTO odoo_mirror.project_task (id, name, stage_id, date_deadline)
             SELECT n, 't', CASE WHEN n > {ROWS} - 300 THEN 1 + n % 3 ELSE 3 END, '2020-01-01'::timestamp + n * interval '30 minutes' FROM generate_series(1, {ROWS}) n"
        ));
        let (rows, read) = fetched("project_task", "get_overdue_tasks(20)");
        assert!(rows == 20 && read < 3000, "{rows} rows, {read} read");
        run("UPDATE odoo_mirror.project_task SET stage_id = 2");
        let (rows, read) = fetched("project_task", "get_overdue_tasks(20)");
        assert!(rows == 20 && read < 5000, "{rows} rows, {read} read");
    }

    #[pg_test]
    fn revenue_is_summed_over_the_months_that_are_asked_for_and_no_others() {
        mirrored::odoo();
        run(&format!(
            "INSERT INTO odoo_mirror.account_move (id, invoice_date, move_type, state, amount_total_signed)
             SELECT n, '2010-01-01'::date + n / 12, CASE WHEN n % 2 = 0 THEN 'out_invoice' ELSE 'entry' END, 'posted', 1 FROM generate_series(1, {ROWS}) n"
        ));
        let (rows, read) = fetched("account_move", "get_revenue_trends(3)");
        assert!(rows == 3 && read < 3 * 31 * 12 + 100, "{rows} rows, {read} read");
    }

    /// The two ways to find them are told apart by how many there are; the answer must not tell.
    #[pg_test]
    fn whichever_way_they_are_found_the_answer_is_what_plain_sql_gives() {
        mirrored::odoo();
        run("INSERT INTO odoo_mirror.project_task_type VALUES (1, NULL, NULL), (2, NULL, false), (3, NULL, true), (4, NULL, true);
             INSERT INTO odoo_mirror.project_task (id, name, stage_id, date_deadline)
             SELECT n, 't', (ARRAY[1, 2, 3, 4, 77, NULL, 3, 3])[1 + n * n % 8], '2024-01-01'::timestamp + (n * 7919 % 700) * interval '1 day' FROM generate_series(1, 5000) n;
             UPDATE odoo_mirror.project_task SET stage_id = 3 WHERE date_deadline < '2024-10-01';
             UPDATE odoo_mirror.project_task SET date_deadline = NULL WHERE id % 11 = 0;
             INSERT INTO odoo_mirror.hr_expense (id, name, state, date)
             SELECT n, 'e', (ARRAY['draft', 'reported', 'submitted', 'approved', 'done', 'refused', NULL])[1 + n * n % 7], '2024-01-01'::date + n * 7919 % 700 FROM generate_series(1, 5000) n;
             UPDATE odoo_mirror.hr_expense SET state = 'done' WHERE date > '2025-01-01';
             UPDATE odoo_mirror.hr_expense SET date = NULL WHERE id % 13 = 0");
        let look = |what: &str| {
            for limit in ["0", "1", "7", "500", "4000", "NULL"] {
                assert_eq!(
                    column(&format!("SELECT task_id FROM odoo_mirror.get_overdue_tasks({limit})")),
                    column(&format!(
                        "SELECT t.id FROM odoo_mirror.project_task t LEFT JOIN odoo_mirror.project_task_type s ON s.id = t.stage_id
                         WHERE t.date_deadline < (now() AT TIME ZONE 'UTC')::date AND s.fold IS NOT TRUE ORDER BY t.date_deadline, t.id LIMIT coalesce({limit}, 20)"
                    )),
                    "{what}: overdue, {limit}"
                );
                assert_eq!(
                    column(&format!("SELECT expense_id FROM odoo_mirror.get_pending_expenses({limit})")),
                    column(&format!(
                        "SELECT id FROM odoo_mirror.hr_expense WHERE state IN ('draft', 'reported', 'submitted')
                         ORDER BY date DESC NULLS LAST, id DESC LIMIT coalesce({limit}, 20)"
                    )),
                    "{what}: pending, {limit}"
                );
            }
        };
        look("few");
        run(
            "UPDATE odoo_mirror.hr_expense SET state = 'draft' WHERE id % 3 = 0; UPDATE odoo_mirror.project_task SET stage_id = 1 WHERE id % 3 = 0",
        );
        look("many");
        run(
            "UPDATE odoo_mirror.hr_expense SET state = 'done'; UPDATE odoo_mirror.project_task SET stage_id = 4",
        );
        look("none");
        run("DELETE FROM odoo_mirror.hr_expense; DELETE FROM odoo_mirror.project_task");
        look("empty");
    }
}
