//! The settings of postgresql.conf, as README.md lists them.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::sql_tests::column;

    #[pg_test]
    fn each_setting_has_the_default_and_the_unit_that_the_readme_gives() {
        let found = column(
            "SELECT concat_ws(' ', name, context, coalesce(nullif(boot_val, ''), '-'), unit) FROM pg_settings
             WHERE name LIKE 'odoo\\_mirror.%' AND name <> 'odoo_mirror.exclude_columns' ORDER BY name COLLATE \"C\"",
        );
        let wanted = [
            "odoo_mirror.allowed_sources sighup -",
            "odoo_mirror.batch_size sighup 1000",
            "odoo_mirror.certificate_directory sighup /etc/ssl/certs",
            "odoo_mirror.compare_rows sighup 2000",
            "odoo_mirror.compare_share sighup 25",
            "odoo_mirror.copy_range_rows sighup 100000",
            "odoo_mirror.copy_workers sighup 2",
            "odoo_mirror.database postmaster postgres",
            "odoo_mirror.failover_slot sighup on",
            "odoo_mirror.flush_interval sighup 1000 ms",
            "odoo_mirror.give_up_slot_at sighup -1 MB",
            "odoo_mirror.language sighup -",
            "odoo_mirror.lock_timeout sighup 5000 ms",
            "odoo_mirror.metrics_listen sighup -",
            "odoo_mirror.passfile sighup -",
            "odoo_mirror.password_env sighup -",
            "odoo_mirror.poll_interval sighup 10 s",
            "odoo_mirror.verify_continuously sighup off",
            "odoo_mirror.verify_period sighup 86400 s",
        ];
        assert_eq!(found, wanted);
    }

    #[pg_test]
    fn the_readme_lists_the_columns_that_are_left_out_by_default() {
        let readme = include_str!("../README.md");
        let listed = readme.lines().find_map(|line| line.strip_prefix("| `odoo_mirror.exclude_columns` | `"));
        let listed = listed.and_then(|rest| rest.split_once('`')).map(|(list, _)| list.to_owned());
        let boot = column("SELECT boot_val FROM pg_settings WHERE name = 'odoo_mirror.exclude_columns'");
        assert_eq!(listed.into_iter().collect::<Vec<_>>(), boot);
    }

    /// Where a password lies is not for everybody to read.
    #[pg_test]
    fn only_superusers_see_where_passwords_come_from() {
        Spi::run("CREATE ROLE just_anybody; SET LOCAL ROLE just_anybody").expect("we are superuser");
        let seen = column(
            "SELECT name FROM pg_settings WHERE name IN ('odoo_mirror.passfile', 'odoo_mirror.password_env')",
        );
        assert_eq!(seen, Vec::<String>::new());
    }

    #[pg_test]
    fn odoos_secrets_are_left_out_by_default() {
        let excluded = column(
            "SELECT unnest(regexp_split_to_array(boot_val, ',\\s*')) FROM pg_settings WHERE name = 'odoo_mirror.exclude_columns'
             ORDER BY 1",
        );
        for secret in ["access_token", "oauth_access_token", "password", "signup_token", "totp_secret"] {
            assert!(excluded.iter().any(|name| name == secret), "{secret} is mirrored");
        }
    }
}
