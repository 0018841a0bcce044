//! configure(): what it keeps, what it refuses, and that no password gets anywhere.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::sql_tests::{column, refusal, value};

    fn configure(source: &str) -> String {
        format!("SELECT odoo_mirror.configure({})", crate::mirror::quote::quote_literal(source))
    }

    #[pg_test]
    fn configure_keeps_keywords_and_a_uri_in_one_form() {
        let mut kept = Vec::new();
        for source in [
            "host=odoo.example port=5433 dbname=odoo user=odoo_mirror sslmode=require",
            "postgres://odoo_mirror@odoo.example:5433/odoo?sslmode=require",
        ] {
            Spi::run(&configure(source)).expect("a good source");
            kept.push(value("SELECT source FROM odoo_mirror_internal.settings"));
        }
        assert_eq!(kept[0], kept[1]);
        assert!(
            kept[0].contains("host=odoo.example port=5433 dbname=odoo user=odoo_mirror sslmode=require"),
            "{kept:?}"
        );
    }

    #[pg_test]
    fn configure_again_replaces_what_it_was_told_and_leaves_the_mirror_running() {
        Spi::run(&configure("host=a dbname=d user=u")).expect("a good source");
        Spi::run("UPDATE odoo_mirror_internal.settings SET wanted = 'running'").expect("the table is there");
        Spi::run("SELECT odoo_mirror.configure('host=b dbname=d user=u', publication => 'p', slot => 's')")
            .expect("a good source");
        let kept = value(
            "SELECT concat_ws(' ', split_part(source, ' ', 1), publication, slot, wanted) FROM odoo_mirror_internal.settings",
        );
        assert_eq!(kept, "host=b p s running");
    }

    #[pg_test]
    fn configure_refuses_a_password_and_repeats_it_nowhere() {
        for source in [
            "host=h dbname=d user=u password=hunter2",
            "host=h dbname=d user=u password='hunter2'",
            "postgres://u:hunter2@h/d",
            "postgres://u@h/d?password=hunter2",
        ] {
            let refused = refusal(&configure(source));
            assert_eq!(refused.sqlstate, "22023", "{refused:?}");
            assert!(refused.hint.contains("password_secret"), "{refused:?}");
            assert!(!refused.all.contains("hunter2"), "{refused:?}");
        }
    }

    #[pg_test]
    fn a_secret_is_kept_by_its_name_only() {
        Spi::run("SELECT odoo_mirror.configure('host=h dbname=d user=u', 'odoo_password')")
            .expect("a good source");
        let columns = column(
            "SELECT attname FROM pg_attribute
             WHERE attrelid = 'odoo_mirror_internal.settings'::regclass AND attnum > 0 AND attname LIKE '%pass%'",
        );
        assert_eq!(columns, ["password_secret"]);
        assert_eq!(value("SELECT password_secret FROM odoo_mirror_internal.settings"), "odoo_password");
    }

    #[pg_test]
    fn configure_refuses_what_it_does_not_understand_and_says_what_to_write() {
        for source in [
            "host=h user=u",
            "host=h dbname=d",
            "host=h dbname=d user=u sslmode=allow",
            "host=h dbname=d user=u sslmode=verify-full",
            "host=h dbname=d user=u sslmode=disable channel_binding=require",
            "host=h dbname=d user=u sslcert=/etc/client.pem",
            "host=h dbname=d user=u service=odoo",
            "host=h dbname=d user=u passfile=/etc/shadow",
            "host=h dbname=d user=u colour=green",
            "host=h dbname=d user=u target_session_attrs=standby",
        ] {
            let refused = refusal(&configure(source));
            assert_eq!(refused.sqlstate, "22023", "{source}: {refused:?}");
            assert!(!refused.hint.is_empty(), "{source}: {refused:?}");
            assert!(
                refused.message.starts_with(char::is_lowercase) && !refused.message.ends_with('.'),
                "{refused:?}"
            );
        }
    }

    #[pg_test]
    fn configure_refuses_names_that_no_slot_or_publication_can_have() {
        for arguments in
            ["slot => 'Big-Slot'", "slot => ''", "slot => NULL", "publication => ''", "publication => NULL"]
        {
            let refused =
                refusal(&format!("SELECT odoo_mirror.configure('host=h dbname=d user=u', {arguments})"));
            assert_eq!(refused.sqlstate, "22023", "{arguments}: {refused:?}");
        }
    }

    #[pg_test]
    fn configure_without_a_source_is_refused_with_what_to_write() {
        let refused = refusal("SELECT odoo_mirror.configure(NULL)");
        assert_eq!(refused.sqlstate, "22004", "{refused:?}");
        assert!(refused.hint.contains("host="), "{refused:?}");
    }

    #[pg_test]
    fn configure_notes_who_called_it() {
        Spi::run(&configure("host=h dbname=d user=u")).expect("a good source");
        assert_eq!(value("SELECT configured_by = session_user FROM odoo_mirror_internal.settings"), "true");
    }

    #[pg_test]
    fn start_before_configure_names_the_step_that_is_missing() {
        let refused = refusal("SELECT odoo_mirror.start()");
        assert_eq!(refused.sqlstate, "55000", "{refused:?}");
        assert!(refused.hint.contains("odoo_mirror.configure("), "{refused:?}");
    }

    #[pg_test]
    fn start_remembers_the_database_that_it_was_called_in() {
        Spi::run(&configure("host=h dbname=d user=u")).expect("a good source");
        Spi::run("SELECT odoo_mirror.start()").expect("it is configured");
        let kept = value(
            "SELECT wanted || ' ' || (started_in = odoo_mirror_internal.this_destination()) FROM odoo_mirror_internal.settings",
        );
        assert_eq!(kept, "running true");
        let unknown = column(
            "SELECT key FROM jsonb_each(odoo_mirror_internal.this_destination()) WHERE value = 'null'",
        );
        assert_eq!(unknown, Vec::<String>::new());
        Spi::run("SELECT odoo_mirror.stop()").expect("it can always be stopped");
        assert_eq!(value("SELECT wanted FROM odoo_mirror_internal.settings"), "stopped");
    }
}
