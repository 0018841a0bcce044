//! The functions that users call: which there are, and what they return.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::sql_tests::{FUNCTIONS, column, nothing};

    /// Name, arguments, result: what users' code relies on.
    const API: [(&str, &str, &str); 26] = [
        (
            "configure",
            "source text, password_secret text DEFAULT NULL::text, publication text DEFAULT 'odoo_pub_scout'::text, \
             slot text DEFAULT 'odoo_mirror'::text",
            "jsonb",
        ),
        ("ddl_history", "", "TABLE(at timestamp with time zone, table_name text, what text, done text)"),
        ("disable_ai_memory", "", "text"),
        ("discard_failures", "table_name text DEFAULT NULL::text", "bigint"),
        ("doctor", "", "TABLE(\"check\" text, ok boolean, detail text, hint text)"),
        ("enable_ai_memory", "create_schema boolean DEFAULT false", "text"),
        (
            "failures",
            "",
            "TABLE(id bigint, table_name text, key jsonb, operation text, error text, sqlstate text, lsn pg_lsn, \
             committed_at timestamp with time zone, failed_at timestamp with time zone, \
             first_failed_at timestamp with time zone, attempts integer, next_retry_at timestamp with time zone)",
        ),
        (
            "get_overdue_tasks",
            "p_limit integer DEFAULT 20",
            "TABLE(task_id integer, task_name text, project_name text, deadline date, days_overdue integer)",
        ),
        (
            "get_pending_expenses",
            "p_limit integer DEFAULT 20",
            "TABLE(expense_id integer, employee_name text, description text, amount numeric, expense_date date, state text)",
        ),
        (
            "get_revenue_trends",
            "p_months integer DEFAULT 12",
            "TABLE(month_date date, invoice_count bigint, total_revenue numeric)",
        ),
        ("install_rest_aliases", "", "text"),
        (
            "jobs",
            "",
            "TABLE(id bigint, kind text, table_name text, state text, requested_by name, \
             requested_at timestamp with time zone, started_at timestamp with time zone, \
             finished_at timestamp with time zone, result jsonb, error text, waits text)",
        ),
        (
            "lag",
            "",
            "TABLE(bytes bigint, seconds double precision, source_lsn pg_lsn, received_lsn pg_lsn, applied_lsn pg_lsn)",
        ),
        ("metrics", "", "TABLE(name text, type text, help text, labels jsonb, value double precision)"),
        ("metrics_text", "", "odoo_mirror.\"text/plain\""),
        ("on_invoice_insert", "", "trigger"),
        ("remove_rest_aliases", "", "text"),
        ("resync", "table_name text DEFAULT NULL::text", "bigint"),
        ("retry_failures", "table_name text DEFAULT NULL::text", "bigint"),
        ("start", "", "text"),
        ("status", "", "jsonb"),
        ("stop", "", "text"),
        (
            "tables",
            "",
            "TABLE(table_name text, state text, reason text, hint text, rows bigint, copied_rows bigint, \
             copied_bytes bigint, copied_percent numeric, rows_per_second numeric, time_left interval, \
             last_change timestamp with time zone, inserted bigint, updated bigint, deleted bigint, \
             failed_rows bigint, verified_lsn pg_lsn, verified_age interval)",
        ),
        ("uninstall", "", "text"),
        ("verify", "table_name text DEFAULT NULL::text, repair boolean DEFAULT false", "bigint"),
        ("wait_for", "lsn pg_lsn, timeout interval DEFAULT '00:00:30'::interval", "boolean"),
    ];

    #[pg_test]
    fn each_function_of_the_api_has_the_signature_that_users_rely_on() {
        let found = column(&format!(
            "SELECT f.proname || '(' || pg_get_function_arguments(f.oid) || ') -> ' || pg_get_function_result(f.oid)
             FROM {FUNCTIONS} WHERE schema = 'odoo_mirror' ORDER BY f.proname"
        ));
        let wanted: Vec<String> =
            API.iter().map(|(name, arguments, result)| format!("{name}({arguments}) -> {result}")).collect();
        assert_eq!(found, wanted);
    }

    /// PostgREST calls by name and can't choose between overloads.
    #[pg_test]
    fn no_function_of_the_api_is_overloaded() {
        let overloaded = column(&format!(
            "SELECT f.proname FROM {FUNCTIONS} WHERE schema = 'odoo_mirror' GROUP BY 1 HAVING count(*) > 1"
        ));
        assert_eq!(overloaded, nothing());
    }

    #[pg_test]
    fn each_function_of_the_api_says_what_it_is_for() {
        let silent = column(&format!(
            "SELECT f.proname FROM {FUNCTIONS} WHERE schema = 'odoo_mirror'
               AND coalesce(obj_description(f.oid, 'pg_proc'), '') = ''"
        ));
        assert_eq!(silent, nothing());
    }

    #[pg_test]
    fn functions_that_only_read_are_stable() {
        let volatile = column(&format!(
            "SELECT f.proname FROM {FUNCTIONS} WHERE schema = 'odoo_mirror' AND provolatile = 'v' ORDER BY 1"
        ));
        assert_eq!(
            volatile,
            [
                "configure",
                "disable_ai_memory",
                "discard_failures",
                "enable_ai_memory",
                "install_rest_aliases",
                "on_invoice_insert",
                "remove_rest_aliases",
                "resync",
                "retry_failures",
                "start",
                "stop",
                "uninstall",
                "verify",
                "wait_for"
            ]
        );
    }
}
