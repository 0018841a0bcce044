//! Applies batches with the owner's rights, in the caller's transaction. What a table needs goes
//! one of two ways: straight to its rows (`direct`), or, when one was refused or the table isn't as
//! the mirror makes them, through SPI, set by set (`steps`).

mod aside;
pub(crate) mod column;
mod direct;
mod finder;
mod looking;
mod rows;
mod spi;
mod statement;
mod steps;
mod target;
mod together;

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;

use pgrx::prelude::*;

pub use self::aside::{Held, Verdicts};

use self::aside::Aside;
use self::steps::Work;
use self::target::Target;
use super::owner::AsOwner;
use super::transaction;
use crate::error::{Error, Verdict};
use crate::mirror::batch::{Arena, Batch, Span, Step, TableBatch};
use crate::mirror::fence::RowKey;
use crate::mirror::stream_table::integer;

/// What became of one table's part of a batch.
#[derive(Debug, Default)]
pub struct Applied {
    /// Changes that found their row, or made it.
    pub applied: u64,
    /// Changes to rows of a ready table that were not there: proof that the mirror differs.
    pub missing: u64,
    /// The table fails from here on, for this reason.
    pub misfit: Option<String>,
    /// Ranges that must be copied again.
    pub copy_again: Vec<usize>,
    /// The destination refused the table's changes; they are undone, the others stand.
    pub refused: Option<Error>,
    /// Changes of rows that the destination refuses, set aside.
    pub quarantined: u64,
    /// What became of rows that are refused, or were.
    pub verdicts: Verdicts,
}

/// A statement of ours looks at its next row.
pub fn looks_at_row() {
    looking::at_next();
}

/// How to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// Fast: any error fails the whole batch.
    None,
    /// Each table in a subtransaction of its own: one that the destination refuses does not stop
    /// the others, and of its rows those that are refused are set aside.
    EachTable,
}

#[derive(Default)]
pub struct Applier {
    targets: HashMap<u32, Target>,
    /// The table being applied to, for the words of an error.
    at: Option<String>,
    /// Keys whose rows are set aside, table by table.
    held: Held,
    /// What is to be deleted is known to be there.
    sure: bool,
}

impl Applier {
    /// Applies the batch's changes; the transaction is the caller's. One result a part, in the
    /// batch's order.
    pub fn apply(&mut self, batch: &Batch, care: Care) -> Result<Vec<Applied>, Error> {
        let mut results = Vec::with_capacity(batch.tables.len());
        let mut attempts = aside::begin(care)?;
        for part in &batch.tables {
            self.at = Some(part.table.name.clone());
            let mut aside = Aside::of(&mut self.held, &part.table.name, self.sure, attempts);
            let result = match care {
                Care::None => self.table(&batch.arena, part, care, &mut aside),
                Care::EachTable => self.carefully(&batch.arena, part, &mut aside),
            };
            attempts = aside.attempts_left();
            let verdicts = aside.end(&mut self.held, &part.table.name, result.is_ok());
            results.push(match result {
                Ok(applied) => Applied { verdicts, ..applied },
                Err(error) if care == Care::EachTable && error.verdict != Verdict::Retry => {
                    self.targets.remove(&part.table.source_oid);
                    Applied { refused: Some(error), verdicts, ..Applied::default() }
                }
                Err(error) => return Err(error),
            });
        }
        self.at = None;
        Ok(results)
    }

    /// Says which table an error met, and, of a lock, how to find who holds it.
    pub fn about(&self, error: Error) -> Error {
        let Some(table) = &self.at else { return error };
        let locked = error.sqlstate.as_deref() == Some("55P03");
        let error = error.while_doing(&format!("applying to table \"{table}\""));
        if !locked {
            return error;
        }
        error.hint(format!(
            "Another session holds a lock on it: SELECT pid, query FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids({}));",
            std::process::id()
        ))
    }

    /// Applies the table's part in a subtransaction; if it is refused, again, and then only the
    /// rows that are refused are left out.
    fn carefully(&mut self, arena: &Arena, part: &TableBatch, aside: &mut Aside) -> Result<Applied, Error> {
        let mut once =
            || transaction::subtransaction(|| self.table(arena, part, Care::EachTable, &mut *aside));
        match once() {
            Err(error) if part.table.has_key() && aside::is_about_rows(&error) => {
                self.targets.remove(&part.table.source_oid);
                aside.begin_isolating();
                transaction::subtransaction(|| self.table(arena, part, Care::EachTable, aside))
            }
            result => result,
        }
    }

    /// What is deleted here is known to be there: a row that stays is refused.
    pub fn mending() -> Applier {
        Applier { sure: true, ..Applier::default() }
    }

    /// Takes note of which rows are set aside.
    pub fn hold(&mut self, held: Held) {
        self.held = held;
    }

    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Forgets what was prepared: after an abort, plans and descriptors may belong to what was
    /// undone.
    pub fn forget(&mut self) {
        self.targets.clear();
    }

    /// A key of the part's table as text, in the same transaction as the part was applied in. None:
    /// it wasn't applied.
    pub fn key_text(&mut self, arena: &Arena, part: &TableBatch, key: Span) -> Option<RowKey> {
        if part.table.has_integer_key() {
            return arena.tuple(key).iter().map(|column| Some(integer(column)?.to_string())).collect();
        }
        let target = self.targets.get_mut(&part.table.source_oid)?;
        Some(target.key_text(arena.tuple(key)))
    }

    fn table(
        &mut self,
        arena: &Arena,
        part: &TableBatch,
        care: Care,
        aside: &mut Aside,
    ) -> Result<Applied, Error> {
        let mut applied = Applied::default();
        let owner = AsOwner::switch()?;
        let relation = Opened::open(&part.table.name)?;
        let fits = self
            .targets
            .get(&part.table.source_oid)
            .is_some_and(|target| target.fits(&part.table, &part.layout, relation.0));
        let needs_target =
            part.steps.iter().any(|step| !matches!(step, Step::Misfit(_) | Step::CopyAgain { .. }));
        if !fits && needs_target {
            let target = Target::open(&part.table, &part.layout, relation.0)?;
            self.targets.insert(part.table.source_oid, target);
        }
        if let Some(target) = self.targets.get_mut(&part.table.source_oid) {
            if fits {
                target.adopt(&part.table, &part.layout);
            }
            let mut work = Work { target, relation: relation.0, arena, applied: &mut applied, care, aside };
            let done = part.steps.iter().try_for_each(|step| work.step(step));
            work.keep_rows();
            done?;
        }
        for step in &part.steps {
            match step {
                Step::Misfit(reason) => applied.misfit = Some(reason.clone()),
                Step::CopyAgain { range } => applied.copy_again.push(*range),
                _ => {}
            }
        }
        drop(owner);
        Ok(applied)
    }
}

/// A relation opened for writing; its lock stays until the transaction ends.
struct Opened(pg_sys::Relation);

impl Opened {
    fn open(name: &str) -> Result<Opened, Error> {
        let missing = || {
            Error::retry_slowly(format!("table odoo_mirror.\"{name}\" is gone"))
                .hint("Someone dropped the mirror's table. SELECT odoo_mirror.resync() on it makes it anew.")
        };
        let table = CString::new(name).map_err(|_| missing())?;
        // SAFETY: syscache lookups and opening a relation by OID, in a transaction.
        unsafe {
            let schema = pg_sys::get_namespace_oid(c"odoo_mirror".as_ptr(), false);
            let oid = pg_sys::get_relname_relid(table.as_ptr(), schema);
            if oid == pg_sys::InvalidOid {
                return Err(missing());
            }
            let relation = pg_sys::try_table_open(oid, pg_sys::RowExclusiveLock as i32);
            if relation.is_null() { Err(missing()) } else { Ok(Opened(relation)) }
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: opened by us. While an error unwinds the abort closes it instead.
        if !std::thread::panicking() {
            unsafe { pg_sys::table_close(self.0, pg_sys::NoLock as i32) }
        }
    }
}

/// Keeps the compiler honest about what crosses the channel.
const _: fn() = || {
    fn sendable<T: Send>() {}
    sendable::<Batch>();
    sendable::<Arc<crate::mirror::stream_table::StreamTable>>();
};
