//! Local transactions of the worker. An error inside one unwinds here, aborts it, and becomes a value.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use crate::error::Error;

/// Runs `body` in a transaction of its own: committed when it returns Ok, aborted on Err or a Postgres error.
pub fn transaction<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    begin();
    let result = attempt(body);
    match result {
        Ok(value) => attempt(|| {
            commit();
            Ok(value)
        }),
        Err(error) => {
            abort();
            Err(error)
        }
    }
}

/// Starts a transaction, with a snapshot for whatever needs one.
pub fn begin() {
    // SAFETY: called outside a transaction, by a process connected to a database.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
    }
}

/// Commits what `begin` started. An error here leaves the transaction to `abort`.
pub fn commit() {
    // SAFETY: a transaction is open, its snapshot on top.
    unsafe {
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
        pg_sys::pgstat_report_stat(false);
    }
}

/// Gives the transaction up, if one is open, and everything that it held.
pub fn abort() {
    super::origin::stay();
    // SAFETY: AbortCurrentTransaction is made for any state; the error state was copied out before.
    unsafe {
        pg_sys::AbortCurrentTransaction();
        pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        pg_sys::pgstat_report_stat(false);
    }
}

/// Runs `body` in a subtransaction: its effects stay on Ok, and are undone, alone, on Err.
pub fn subtransaction<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // SAFETY: inside a transaction; the pair that PL/pgSQL uses: release or roll back, then the context and
    // the resource owner from before.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let result = attempt(body);
        match result {
            Ok(_) => pg_sys::ReleaseCurrentSubTransaction(),
            Err(_) => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}

/// Runs `body` and turns a Postgres error into a value. The caller must abort a transaction or roll back a
/// subtransaction after an Err: nothing is undone here.
pub fn attempt<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    PgTryBuilder::new(AssertUnwindSafe(body)).catch_others(|caught| Err(from_caught(&caught))).execute()
}

fn from_caught(caught: &CaughtError) -> Error {
    let (CaughtError::PostgresError(report)
    | CaughtError::ErrorReport(report)
    | CaughtError::RustPanic { ereport: report, .. }) = caught;
    let sqlstate = sqlstate(report.sql_error_code() as i32);
    Error::reported(&sqlstate, report.message(), report.detail(), report.hint())
}

/// The five characters that Postgres packs into an integer, six bits each.
fn sqlstate(packed: i32) -> String {
    (0..5).map(|place| char::from(((packed >> (6 * place)) & 0x3f) as u8 + b'0')).collect()
}
