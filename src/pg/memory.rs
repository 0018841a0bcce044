//! The memory of new invoices: which ones the stream brought, told where their source transaction
//! ends. What is told is said in sql/memory.sql.

use std::cell::{Cell, RefCell};

use pgrx::prelude::*;

use super::owner::AsOwner;
use super::{sql, transaction};
use crate::error::Error;

thread_local! {
    /// Inserts of the stream into a ready table are being applied. Only the worker's own code sets
    /// it.
    static APPLIES: Cell<bool> = const { Cell::new(false) };
    /// Invoices that the open transaction brought.
    static NEW: RefCell<Vec<i32>> = const { RefCell::new(Vec::new()) };
}

/// The mirrored table whose inserts are told.
pub const TABLE: &str = "account_move";

/// Whether the trigger hangs on it.
pub fn is_wanted() -> Result<bool, Error> {
    let found = sql::value(
        "SELECT 1 FROM pg_catalog.pg_trigger WHERE tgname = 'invoice_to_memory' \
         AND tgrelid = pg_catalog.to_regclass('odoo_mirror.account_move')",
        &[],
    )?;
    Ok(found.is_some())
}

/// Hangs the trigger on the table where it is wanted and missing, as the mirror's owner. The caller
/// acts as the worker's role.
pub fn hang() -> Result<(), Error> {
    let missing = sql::value("SELECT odoo_mirror_internal.memory_is_missing()", &[])?;
    if missing.as_deref() != Some("t") {
        return Ok(());
    }
    let _owner = AsOwner::switch_in_session()?;
    [
        "CREATE TRIGGER invoice_to_memory AFTER INSERT ON odoo_mirror.account_move \
         REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION odoo_mirror.on_invoice_insert()",
        "ALTER TABLE odoo_mirror.account_move ENABLE ALWAYS TRIGGER invoice_to_memory",
        // So that DROP EXTENSION takes it along, and leaves the table.
        "ALTER TRIGGER invoice_to_memory ON odoo_mirror.account_move DEPENDS ON EXTENSION odoo_mirror",
    ]
    .iter()
    .try_for_each(|statement| sql::run(statement, &[]).map(drop))
}

/// Takes the trigger off, as the mirror's owner. The caller acts as the worker's role.
pub fn take_off() -> Result<(), Error> {
    if is_wanted()? {
        let _owner = AsOwner::switch_in_session()?;
        sql::run("DROP TRIGGER invoice_to_memory ON odoo_mirror.account_move", &[])?;
    }
    Ok(())
}

/// While it lives, inserts count as the stream's.
pub struct Inserting;

impl Inserting {
    pub fn begin() -> Inserting {
        APPLIES.set(true);
        Inserting
    }
}

impl Drop for Inserting {
    fn drop(&mut self) {
        APPLIES.set(false);
    }
}

/// Whether an insert that a trigger sees is one of the stream's.
pub fn applies_inserts() -> bool {
    APPLIES.get()
}

/// A trigger saw this invoice come.
pub fn remember(id: i32) {
    if APPLIES.get() {
        NEW.with_borrow_mut(|new| new.push(id));
    }
}

/// How many invoices the open transaction brought so far: what a part of it brings that is taken
/// back goes with [`back_to`].
pub fn mark() -> usize {
    NEW.with_borrow(Vec::len)
}

pub fn back_to(mark: usize) {
    NEW.with_borrow_mut(|new| new.truncate(mark));
}

/// The transaction was given up, and what it brought with it.
pub fn forget() {
    APPLIES.set(false);
    NEW.with_borrow_mut(Vec::clear);
}

/// At a source commit, in the transaction that shows it: tells what came. A memory that fails is
/// noted, and holds nothing up.
pub fn tell() -> Result<(), Error> {
    let new = NEW.with_borrow_mut(std::mem::take);
    if new.is_empty() {
        return Ok(());
    }
    match tell_of(&new)? {
        // One that fails must not silence the others.
        Err(_) if new.len() > 1 => {
            new.iter().try_for_each(|id| tell_of(&[*id])?.or_else(|error| note(&error)))
        }
        Err(error) => note(&error),
        Ok(()) => Ok(()),
    }
}

fn tell_of(invoices: &[i32]) -> Result<Result<(), Error>, Error> {
    let ids: Vec<String> = invoices.iter().map(i32::to_string).collect();
    let ids = format!("{{{}}}", ids.join(","));
    let told = transaction::subtransaction(|| {
        let _owner = AsOwner::switch()?;
        let _origin = AsOrigin::begin();
        sql::value("SELECT odoo_mirror_internal.tell($1::int[])", &[Some(&ids)])
    });
    match told {
        Ok(told) => {
            let told = told.unwrap_or_default();
            let count = "UPDATE odoo_mirror_internal.memory SET told = told + $1::bigint";
            sql::run(count, &[Some(&told)]).map(|_| Ok(()))
        }
        Err(error) => Ok(Err(error)),
    }
}

fn note(error: &Error) -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.memory SET failed = failed + 1, last_error = $1, \
                failed_at = pg_catalog.clock_timestamp()",
        &[Some(&error.message)],
    )
    .map(drop)
}

/// While it lives, other people's triggers fire and foreign keys are checked, as for anybody: the
/// memory is not mirrored.
struct AsOrigin {
    level: i32,
}

impl AsOrigin {
    fn begin() -> AsOrigin {
        // SAFETY: a setting of this session, taken back with the nest level, or by the
        // subtransaction's end.
        unsafe {
            let level = pg_sys::NewGUCNestLevel();
            pg_sys::set_config_option(
                c"session_replication_role".as_ptr(),
                c"origin".as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
            AsOrigin { level }
        }
    }
}

impl Drop for AsOrigin {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: the level that `begin` opened.
            unsafe { pg_sys::AtEOXact_GUC(true, self.level) }
        }
    }
}
