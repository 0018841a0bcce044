//! The mirror's own tables, and what they are to dumps.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::sql_tests::{column, refusal, value};

    /// A restored position lies; a restored configuration saves typing.
    #[pg_test]
    fn a_dump_takes_the_configuration_along_and_no_progress() {
        let dumped = column(
            "SELECT c::regclass FROM pg_extension e, unnest(e.extconfig) c WHERE e.extname = 'odoo_mirror' ORDER BY 1",
        );
        assert_eq!(dumped, ["odoo_mirror_internal.settings"]);
    }

    #[pg_test]
    fn the_settings_and_the_progress_are_one_row_each() {
        Spi::run("SELECT odoo_mirror.configure('host=h dbname=d user=u')").expect("a good source");
        for table in ["settings", "progress"] {
            let refused =
                refusal(&format!("INSERT INTO odoo_mirror_internal.{table} (only_row) VALUES (false)"));
            assert!(["23502", "23514"].contains(&refused.sqlstate.as_str()), "{table}: {refused:?}");
        }
        let refused = refusal(
            "INSERT INTO odoo_mirror_internal.settings (source, publication, slot, configured_by) VALUES ('a', 'b', 'c', 'd')",
        );
        assert_eq!(refused.sqlstate, "23505", "{refused:?}");
    }

    #[pg_test]
    fn the_indexes_that_dashboards_rely_on_are_all_planned() {
        let planned = column(
            "SELECT table_name || ' ' || count(*) FROM odoo_mirror_internal.indexes GROUP BY table_name ORDER BY table_name",
        );
        let wanted = [
            "account_move 4",
            "account_move_line 3",
            "hr_expense 4",
            "hr_expense_sheet 3",
            "project_task 3",
            "project_task_user_rel 1",
            "res_partner 3",
        ];
        assert_eq!(planned, wanted);
    }

    #[pg_test]
    fn resync_of_an_unknown_table_names_the_function_that_lists_those_there_are() {
        let refused = refusal("SELECT odoo_mirror.resync('no_such_table')");
        assert_eq!(refused.sqlstate, "42P01", "{refused:?}");
        assert!(refused.hint.contains("odoo_mirror.tables()"), "{refused:?}");
    }

    #[pg_test]
    fn resync_of_everything_is_a_job_that_waits_for_the_worker() {
        let id = value("SELECT odoo_mirror.resync()");
        let job = value(&format!(
            "SELECT concat_ws(' ', kind, table_name, state, requested_by = session_user, finished_at IS NULL)
             FROM odoo_mirror.jobs() WHERE id = {id}"
        ));
        assert_eq!(job, "resync * waiting t t");
    }

    #[pg_test]
    fn wait_for_a_position_that_is_not_reached_is_false() {
        assert_eq!(value("SELECT odoo_mirror.wait_for('7FFFFFFF/0', '20ms')"), "false");
        assert_eq!(value("SELECT odoo_mirror.wait_for('7FFFFFFF/0', '-1s')"), "false");
        assert_eq!(value("SELECT odoo_mirror.wait_for(NULL, '20ms')"), "NULL");
    }

    #[pg_test]
    fn wait_for_a_position_beyond_what_a_bigint_holds_is_false() {
        assert_eq!(value("SELECT odoo_mirror.wait_for('FFFFFFFF/FFFFFFFF', '20ms')"), "false");
    }
}
