//! An exact, provable, live copy of an Odoo database's tables, kept inside Supabase.
//!
//! The house has three floors; a lower one never names a higher.
//!
//! - Floor 0, pure Rust: [`error`], [`config`], [`wire`] (bytes to messages), [`mirror`] (what to
//!   do about them).
//! - Floor 1, tokio: [`source`] (the network thread: sessions, stream, catalog, chunks).
//! - Floor 2, pgrx: `pg` (workers, applying, shared memory, SQL functions), and all `unsafe`.

pub mod config;
pub mod error;
pub mod mirror;
// An answer that is not the wanted one is handed on as the whole event it came in.
#[cfg(feature = "extension")]
#[allow(clippy::result_large_err)]
pub mod pg;
pub mod source;
#[cfg(all(feature = "extension", feature = "pg_test"))]
#[path = "../pg_test/mod.rs"]
mod sql_tests;
pub mod wire;

#[cfg(feature = "extension")]
mod install {
    use pgrx::prelude::*;

    ::pgrx::pg_module_magic!(name, version);

    extension_sql_file!("../sql/installing.sql", name = "installing", bootstrap);
    extension_sql_file!("../sql/bootstrap.sql", name = "bootstrap", requires = ["installing"]);
    extension_sql_file!("../sql/roles.sql", name = "roles", requires = ["bootstrap"]);
    extension_sql_file!("../sql/views/columns.sql", name = "views_columns", requires = ["roles"]);
    extension_sql_file!("../sql/views/v_invoice_summary.sql", name = "v1", requires = ["views_columns"]);
    extension_sql_file!("../sql/views/v_expense_summary.sql", name = "v2", requires = ["views_columns"]);
    extension_sql_file!("../sql/views/v_task_summary.sql", name = "v3", requires = ["views_columns"]);
    extension_sql_file!("../sql/views/v_revenue_by_partner.sql", name = "v4", requires = ["views_columns"]);
    extension_sql_file!("../sql/views/v_expense_by_employee.sql", name = "v5", requires = ["views_columns"]);
    extension_sql_file!("../sql/views/all.sql", name = "views", requires = ["v1", "v2", "v3", "v4", "v5"]);
    extension_sql_file!("../sql/comments.sql", name = "comments", requires = ["views"]);
    extension_sql_file!("../sql/rpc.sql", name = "rpc", requires = ["comments"]);
    extension_sql_file!("../sql/memory.sql", name = "memory", requires = ["rpc", odoo_mirror_internal]);
    extension_sql_file!("../sql/configuring.sql", name = "configuring", requires = ["memory"]);
    extension_sql_file!("../sql/aliases.sql", name = "aliases", requires = ["configuring"]);
    extension_sql_file!("../sql/doctor.sql", name = "doctor", requires = ["aliases"]);
    extension_sql_file!("../sql/api.sql", name = "api", finalize);
    extension_sql_file!("../sql/metrics.sql", name = "metrics", requires = ["doctor"]);
}

/// The server that `cargo pgrx test` starts.
#[cfg(test)]
#[cfg(feature = "pg_test")]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}

    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec![
            "shared_preload_libraries = 'odoo_mirror'",
            "wal_level = logical",
            "odoo_mirror.database = 'pgrx_tests'",
        ]
    }
}
