//! failures() and what is done about them: rows that are set aside, as SQL sees them.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::sql_tests::{column, nothing, value};

    fn set_aside() {
        Spi::run(
            "INSERT INTO odoo_mirror_internal.tables (name, source_oid, source_schema, source_name, definition, shape, state, failure)
             VALUES ('a', 1, 'public', 'a', '{}', '{\"key\": [\"task_id\", \"user_id\"]}', 'ready', NULL),
                    ('b', 2, 'public', 'b', '{}', '{\"key\": [\"id\"]}', 'failed', 'refused');
             INSERT INTO odoo_mirror_internal.quarantine (table_name, key, operation, kept, error, sqlstate, attempts, retry_at)
             VALUES ('a', '{1,2}', 'insert', '{\"secret\": \"4711\"}', 'refused', '23514', 1, now() + interval '1 h'),
                    ('a', '{1,3}', 'delete', NULL, 'refused', 'P0001', 2, now() + interval '1 h'),
                    ('b', '{7}', 'update', NULL, 'refused', '23505', 1, now() + interval '1 h')",
        )
        .expect("such rows can be noted");
    }

    #[pg_test]
    fn a_failure_names_its_key_by_column_and_no_value_of_the_row() {
        set_aside();
        let keys = column("SELECT key FROM odoo_mirror.failures() WHERE table_name = 'a' ORDER BY id");
        assert_eq!(keys, [r#"{"task_id": "1", "user_id": "2"}"#, r#"{"task_id": "1", "user_id": "3"}"#]);
        assert_eq!(column("SELECT f FROM odoo_mirror.failures() f WHERE f::text LIKE '%4711%'"), nothing());
        assert_eq!(column("SELECT failed_rows FROM odoo_mirror.tables() ORDER BY table_name"), ["2", "1"]);
        assert_eq!(value("SELECT odoo_mirror.status() -> 'failed_rows'"), r#"{"a": 2, "b": 1}"#);
    }

    #[pg_test]
    fn a_retry_asks_for_rows_and_takes_a_failed_table_over_anew() {
        set_aside();
        assert_eq!(value("SELECT odoo_mirror.retry_failures('a')"), "2");
        assert_eq!(
            column("SELECT table_name FROM odoo_mirror.failures() WHERE next_retry_at > clock_timestamp()"),
            ["b"]
        );
        assert_eq!(column("SELECT table_name FROM odoo_mirror.jobs()"), nothing());
        assert_eq!(value("SELECT odoo_mirror.retry_failures()"), "3");
        assert_eq!(column("SELECT kind || ' ' || table_name FROM odoo_mirror.jobs()"), ["resync b"]);
    }

    #[pg_test]
    fn what_is_discarded_is_gone_of_that_table_or_of_all() {
        set_aside();
        assert_eq!(value("SELECT odoo_mirror.discard_failures('b')"), "1");
        assert_eq!(value("SELECT odoo_mirror.discard_failures()"), "2");
        assert_eq!(column("SELECT id FROM odoo_mirror.failures()"), nothing());
    }

    #[pg_test]
    fn rows_that_are_set_aside_are_in_no_dump() {
        let dumped = column(
            "SELECT c::regclass FROM pg_extension, unnest(extconfig) c
             WHERE extname = 'odoo_mirror' AND c = 'odoo_mirror_internal.quarantine'::regclass",
        );
        assert_eq!(dumped, nothing());
    }
}
