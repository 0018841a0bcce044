//! What status(), tables() and lag() tell.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::sql_tests::{column, value};

    fn table(name: &str, state: &str, more: &str) {
        Spi::run(&format!(
            "INSERT INTO odoo_mirror_internal.tables (name, source_oid, source_schema, source_name, definition, shape, state, failure,
                 estimated_rows, estimated_bytes, copy_started_at, reason, hint)
             VALUES ('{name}', 1, 'public', '{name}', '{{}}', '{{}}', '{state}', CASE '{state}' WHEN 'failed' THEN 'altered' END, 1000, 100000,
                 now() - interval '10 s', {more})"
        ))
        .expect("such a table can be noted");
    }

    fn range(table: &str, ordinal: i32, rows: &str) {
        Spi::run(&format!(
            "INSERT INTO odoo_mirror_internal.ranges (table_name, ordinal, snapshot, rows, bytes)
             SELECT '{table}', {ordinal}, CASE WHEN n IS NOT NULL THEN '1:1:' END, n, n * 100 FROM (SELECT {rows}::bigint) r (n)"
        ))
        .expect("such a range can be noted");
    }

    #[pg_test]
    fn status_is_one_document_with_all_that_an_operator_asks_for() {
        let keys = column("SELECT jsonb_object_keys(odoo_mirror.status()) ORDER BY 1");
        let wanted = [
            "ai_memory",
            "failed_rows",
            "failed_tables",
            "lag",
            "last_error",
            "lsn",
            "message",
            "metrics_endpoint",
            "publication",
            "refusals",
            "since",
            "slot",
            "source",
            "source_looks",
            "source_wal",
            "stale",
            "stale_tables",
            "state",
            "tables",
            "versions",
            "waits",
            "wanted",
            "worker",
        ];
        assert_eq!(keys, wanted);
        for (part, wanted) in [
            ("lsn", "applied confirmed received source"),
            ("lag", "bytes seconds"),
            ("versions", "extension library server source"),
        ] {
            let keys = value(&format!(
                "SELECT string_agg(k, ' ' ORDER BY k) FROM jsonb_object_keys(odoo_mirror.status() -> '{part}') k"
            ));
            assert_eq!(keys, wanted, "{part}");
        }
    }

    #[pg_test]
    fn status_tells_the_same_version_of_the_extension_and_of_the_library() {
        for of in ["extension", "library"] {
            let version = value(&format!("SELECT odoo_mirror.status() -> 'versions' ->> '{of}'"));
            assert_eq!(version, env!("CARGO_PKG_VERSION"), "{of}");
        }
    }

    #[pg_test]
    fn status_counts_the_tables_by_state_and_says_why_one_failed() {
        table("a", "ready", "NULL, NULL");
        table("b", "ready", "NULL, NULL");
        table("c", "failed", "'its type changed', 'call resync()'");
        assert_eq!(value("SELECT odoo_mirror.status() -> 'tables'"), r#"{"ready": 2, "failed": 1}"#);
        assert_eq!(value("SELECT odoo_mirror.status() -> 'failed_tables'"), r#"{"c": "its type changed"}"#);
    }

    #[pg_test]
    fn status_repeats_the_source_without_a_secret() {
        Spi::run("SELECT odoo_mirror.configure('host=h dbname=d user=u', 'odoo_password')")
            .expect("a good source");
        let status = value("SELECT odoo_mirror.status()");
        assert!(status.contains("host=h"), "{status}");
        assert!(!status.contains("odoo_password"), "{status}");
    }

    #[pg_test]
    fn a_copy_shows_how_far_it_is_how_fast_and_what_is_left() {
        table("half", "copying", "NULL, NULL");
        range("half", 0, "400");
        range("half", 1, "NULL");
        let shown = value(
            "SELECT concat_ws(' ', rows, copied_rows, copied_bytes, copied_percent,
                        rows_per_second > 0, time_left > '0')
             FROM odoo_mirror.tables() WHERE table_name = 'half'",
        );
        assert_eq!(shown, "400 400 40000 40.0 t t");
    }

    /// The estimate may be too low: a copy that isn't done is never shown as done.
    #[pg_test]
    fn a_copy_with_more_rows_than_were_expected_stays_below_a_hundred_percent() {
        table("more", "copying", "NULL, NULL");
        range("more", 0, "5000");
        range("more", 1, "NULL");
        let shown = value("SELECT copied_percent || ' ' || (time_left IS NULL) FROM odoo_mirror.tables()");
        assert_eq!(shown, "99.9 true");
    }

    #[pg_test]
    fn a_failed_table_shows_its_reason_and_what_helps() {
        table("c", "failed", "'its type changed', 'call resync()'");
        let shown = value("SELECT concat_ws('; ', state, reason, hint) FROM odoo_mirror.tables()");
        assert_eq!(shown, "failed; its type changed; call resync()");
    }

    #[pg_test]
    fn a_failed_table_claims_no_percentage() {
        table("c", "failed", "'no privilege', 'GRANT SELECT'");
        assert_eq!(value("SELECT copied_percent FROM odoo_mirror.tables()"), "NULL");
    }

    #[pg_test]
    fn lag_is_one_row_and_unknown_before_the_source_was_heard() {
        assert_eq!(
            value(
                "SELECT num_nonnulls(bytes, seconds, source_lsn, received_lsn, applied_lsn) FROM odoo_mirror.lag()"
            ),
            "0"
        );
    }
}
