//! Functions that have the rights of who calls them. What they make in his schemas is his to make,
//! as if he had typed it; only the mirror's own state is looked at and kept as the worker's role.

use pgrx::JsonB;
use pgrx::prelude::*;

use super::owner::{self, AsOwner, AsWorker};
use super::{api, memory, sql};
use crate::error::Error;

// No SQL is written for these: sql/api.sql, sql/memory.sql and sql/aliases.sql declare them in
// schema odoo_mirror.

#[pg_extern(sql = false)]
fn configure(
    source: Option<&str>,
    password_secret: Option<&str>,
    publication: Option<&str>,
    slot: Option<&str>,
) -> JsonB {
    let caller = owner::caller();
    let by_superuser = if caller.is_superuser { "true" } else { "false" };
    let kept = AsWorker::switch().and_then(|_worker| {
        sql::value(
            "SELECT odoo_mirror_internal.keep_source($1, $2, $3, $4, $5, $6::boolean)",
            &[source, password_secret, publication, slot, Some(&caller.name), Some(by_superuser)],
        )
    });
    match kept.map(|kept| serde_json::from_str(&kept.unwrap_or_default()).unwrap_or_default()) {
        Ok(kept) => JsonB(kept),
        Err(error) => refuse(error),
    }
}

#[pg_extern(sql = false)]
fn enable_ai_memory(create_schema: bool) -> &'static str {
    let create_schema = if create_schema { "true" } else { "false" };
    let statements = "SELECT statement FROM odoo_mirror_internal.memory_statements($1::boolean)";
    or_refuse(as_caller(statements, &[Some(create_schema)]).and_then(|()| want_memory("true", memory::hang)));
    "each new customer invoice and vendor bill that the stream brings is told in ipai_memory.chunks"
}

#[pg_extern(sql = false)]
fn disable_ai_memory() -> &'static str {
    let statements = "SELECT statement FROM odoo_mirror_internal.forgetting_statements()";
    or_refuse(as_caller(statements, &[]).and_then(|()| want_memory("false", memory::take_off)));
    "nothing is told any more; what was told stays"
}

#[pg_extern(sql = false)]
fn install_rest_aliases() -> &'static str {
    or_refuse(
        let_readers_in()
            .and_then(|()| as_caller("SELECT statement FROM odoo_mirror_internal.alias_statements()", &[])),
    );
    "/rest/v1/odoo_mirror.v_invoice_summary and /rest/v1/rpc/odoo_mirror.get_pending_expenses answer service_role"
}

#[pg_extern(sql = false)]
fn remove_rest_aliases() -> &'static str {
    or_refuse(as_caller("SELECT statement FROM odoo_mirror_internal.alias_removal_statements()", &[]));
    "the aliases are gone"
}

/// Notes whether invoices are told, and lets the worker know.
fn want_memory(enabled: &str, hang: fn() -> Result<(), Error>) -> Result<(), Error> {
    let _worker = AsWorker::switch()?;
    sql::run("UPDATE odoo_mirror_internal.memory SET enabled = $1::boolean", &[Some(enabled)])?;
    hang()?;
    api::wake_at_commit(false);
    Ok(())
}

/// Runs the statements that a query of ours returns, one after the other, as the caller.
fn as_caller(query: &str, parameters: &[Option<&str>]) -> Result<(), Error> {
    let statements = {
        let _worker = AsWorker::switch()?;
        sql::run(query, parameters)?
    };
    statements.iter().try_for_each(|row| sql::run_as_caller(&sql::text(row, 0)))
}

/// service_role may have come after the extension.
fn let_readers_in() -> Result<(), Error> {
    let missing = {
        let _worker = AsWorker::switch()?;
        sql::run("SELECT statement FROM odoo_mirror_internal.missing_protection()", &[])?
    };
    let _owner = AsOwner::switch_in_session()?;
    missing.iter().try_for_each(|row| sql::run(&sql::text(row, 0), &[]).map(drop))
}

fn or_refuse(done: Result<(), Error>) {
    if let Err(error) = done {
        refuse(error);
    }
}

fn refuse(error: Error) -> ! {
    api::refuse(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        error.message,
        error.hint.unwrap_or_default(),
    )
}
