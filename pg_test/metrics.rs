//! metrics(): rows that a Prometheus text can be made of as they are.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::sql_tests::{column, nothing, value};

    fn mirrored_table() {
        Spi::run(
            "INSERT INTO odoo_mirror_internal.tables (name, source_oid, source_schema, source_name, definition, shape, state,
                 inserts, updates, deletes, truncates, split, applied, folded, skipped, filtered, missing, quarantined, failed_rows)
             VALUES ('a', 1, 'public', 'a', '{}', '{}', 'ready', 10, 20, 5, 1, 2, 15, 8, 9, 4, 1, 1, 3)",
        )
        .expect("such a table can be noted");
    }

    #[pg_test]
    fn each_metric_is_named_typed_and_explained() {
        mirrored_table();
        let odd = column(
            "SELECT to_jsonb(m) FROM odoo_mirror.metrics() m
             WHERE name !~ '^etl_[a-z_]+$' OR type NOT IN ('counter', 'gauge', 'histogram') OR coalesce(help, '') = ''
                OR jsonb_typeof(labels) <> 'object' OR value IS NULL OR value < 0
                OR (type = 'counter') <> (name LIKE '%\\_total')
                OR (type = 'histogram') <> (name ~ '_(bucket|sum|count)$')",
        );
        assert_eq!(odd, nothing());
    }

    #[pg_test]
    fn a_metrics_name_has_one_type_and_one_help_and_no_two_rows_share_their_labels() {
        mirrored_table();
        let torn = column(
            "SELECT name FROM odoo_mirror.metrics() GROUP BY name HAVING count(DISTINCT (type, help)) > 1",
        );
        assert_eq!(torn, nothing());
        let twice = column(
            "SELECT name || labels FROM odoo_mirror.metrics() GROUP BY name, labels HAVING count(*) > 1",
        );
        assert_eq!(twice, nothing());
    }

    #[pg_test]
    fn a_tables_counters_are_labelled_with_its_name() {
        mirrored_table();
        let processed = column(
            "SELECT labels ->> 'operation' || ' ' || value FROM odoo_mirror.metrics()
             WHERE name = 'etl_records_processed_total' AND labels ->> 'table' = 'a' ORDER BY 1",
        );
        assert_eq!(processed, ["delete 5", "insert 10", "truncate 1", "update 20"]);
        assert_eq!(
            value("SELECT value FROM odoo_mirror.metrics() WHERE name = 'etl_records_failed_total'"),
            "3"
        );
    }

    /// Every change received is accounted for by exactly one other term.
    #[pg_test]
    fn the_terms_of_conservation_are_all_there_and_balance() {
        mirrored_table();
        let terms = column(
            "SELECT labels ->> 'term' FROM odoo_mirror.metrics() WHERE name = 'etl_changes_total' ORDER BY 1",
        );
        assert_eq!(
            terms,
            ["applied", "filtered", "folded", "missing", "quarantined", "received", "skipped", "split"]
        );
        let balance = value(
            "SELECT sum(CASE WHEN labels ->> 'term' IN ('received', 'split') THEN value ELSE -value END)
             FROM odoo_mirror.metrics() WHERE name = 'etl_changes_total'",
        );
        assert_eq!(balance, "0");
    }

    #[pg_test]
    fn the_mirror_is_not_up_while_it_does_not_stream() {
        assert_eq!(value("SELECT value FROM odoo_mirror.metrics() WHERE name = 'etl_up'"), "0");
    }
}
