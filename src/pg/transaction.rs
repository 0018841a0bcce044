//! Local transactions of the worker. An error inside one unwinds here, aborts it, and becomes a
//! value.
//!
//! Whatever a statement runs, a setting that it makes ends with the transaction: each has a nest
//! level of settings that is undone before the commit, and what is deferred to the commit runs
//! within it.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use super::owner::{self, AsOwner};
use crate::error::Error;

thread_local! {
    /// The nest level of the open transaction's settings. 0: they are the session's.
    static LEVEL: Cell<i32> = const { Cell::new(0) };
}

/// Runs `body` in a transaction of its own: committed when it returns Ok, aborted on Err or a
/// Postgres error.
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

/// Makes settings of the session, which stay. They may need the catalog: a transaction is open.
pub fn set_session(settings: impl FnOnce()) -> Result<(), Error> {
    start();
    LEVEL.set(0);
    let done = attempt(|| {
        settings();
        commit();
        Ok(())
    });
    done.inspect_err(|_| abort())
}

/// Starts a transaction, with a snapshot for whatever needs one.
pub fn begin() {
    start();
    // SAFETY: in a transaction; `commit` ends the level, or an abort.
    LEVEL.set(unsafe { pg_sys::NewGUCNestLevel() });
}

fn start() {
    // SAFETY: called outside a transaction, by a process connected to a database.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        owner::become_worker();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
    }
}

/// Commits what `begin` started. An error here leaves the transaction to `abort`.
pub fn commit() {
    // SAFETY: a transaction is open, its snapshot on top.
    unsafe {
        pg_sys::PopActiveSnapshot();
        fire_deferred();
        let level = LEVEL.replace(0);
        if level != 0 {
            pg_sys::AtEOXact_GUC(false, level);
        }
        pg_sys::CommitTransactionCommand();
        owner::stop_being_worker();
        pg_sys::pgstat_report_stat(false);
    }
}

/// Runs the deferred triggers of mirrored tables, which are anybody's, before the commit would.
fn fire_deferred() {
    // Without the role there is no table of its to fire a trigger.
    let Ok(_owner) = AsOwner::switch() else { return };
    // SAFETY: in a transaction, between statements. The commit does the same once more, with none
    // left.
    unsafe { pg_sys::AfterTriggerFireDeferred() }
}

/// Gives the transaction up, if one is open, and everything that it held.
pub fn abort() {
    super::origin::stay();
    // SAFETY: AbortCurrentTransaction is made for any state; the error state was copied out before.
    unsafe {
        pg_sys::AbortCurrentTransaction();
        owner::stop_being_worker();
        pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        pg_sys::pgstat_report_stat(false);
    }
}

/// Runs `body` in a subtransaction: its effects stay on Ok, and are undone, alone, on Err.
pub fn subtransaction<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // SAFETY: inside a transaction; the pair that PL/pgSQL uses: release or roll back, then the
    // context and the resource owner from before.
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

/// Runs `body` and turns a Postgres error into a value. The caller must abort a transaction or roll
/// back a subtransaction after an Err: nothing is undone here.
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
