//! Applies batches: folded changes through SPI, set by set, with the owner's rights, in the caller's transaction.

mod aside;
mod column;
mod direct;
mod looking;
mod statement;
mod target;

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;

use pgrx::prelude::*;

pub use self::aside::{Held, Verdicts};

use self::aside::Aside;
use self::target::{Statement, Target, array};
use super::memory::Inserting;
use super::owner::AsOwner;
use super::transaction;
use crate::error::{Error, Verdict};
use crate::mirror::batch::{Action, Arena, Batch, Change, Span, Step, TableBatch, Truncated};
use crate::mirror::fence::RowKey;
use crate::mirror::stream_table::{Standing, integer};

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
    /// Each table in a subtransaction of its own: one that the destination refuses does not stop the others, and of its rows
    /// those that are refused are set aside.
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
    /// Applies the batch's changes; the transaction is the caller's. One result a part, in the batch's order.
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

    /// Applies the table's part in a subtransaction; if it is refused, again, and then only the rows that are refused are left out.
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

    /// Forgets what was prepared: after an abort, plans and descriptors may belong to what was undone.
    pub fn forget(&mut self) {
        self.targets.clear();
    }

    /// A key of the part's table as text, in the same transaction as the part was applied in. None: it wasn't applied.
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

/// One table's steps at work.
struct Work<'a> {
    target: &'a mut Target,
    relation: pg_sys::Relation,
    arena: &'a Arena,
    applied: &'a mut Applied,
    care: Care,
    aside: &'a mut Aside,
}

impl Work<'_> {
    fn step(&mut self, step: &Step) -> Result<(), Error> {
        match step {
            Step::Folded(changes) if self.aside.concerns() => self.folded_apart(changes),
            Step::Folded(changes) => self.folded(changes),
            Step::Rekey { old, new, row } if self.aside.concerns() => self.rekey_apart(*old, *new, *row),
            Step::Rekey { old, new, row } => self.rekey(*old, *new, *row),
            Step::Whole { old, new } => self.whole(*old, *new),
            Step::Truncate(truncated) => {
                self.truncate(truncated)?;
                self.truncated_apart(truncated);
                Ok(())
            }
            Step::Misfit(_) | Step::CopyAgain { .. } => Ok(()),
        }
    }

    fn folded(&mut self, changes: &[Change]) -> Result<(), Error> {
        if self.care == Care::None && !self.aside.sure && self.written(changes)? {
            return Ok(());
        }
        let mut deletes = Vec::new();
        let (mut inserts, mut replaces, mut updates) = (Vec::new(), Vec::new(), Vec::new());
        let mut partial: HashMap<Vec<bool>, Vec<Span>> = HashMap::new();
        for change in changes {
            match change.action {
                Action::Insert => inserts.push(change.row),
                Action::Replace => replaces.push(change.row),
                Action::Update { partial: false } => updates.push(change.row),
                Action::Update { partial: true } => {
                    let unchanged = self.target.unchanged(self.arena.tuple(change.row));
                    partial.entry(unchanged).or_default().push(change.row);
                }
                Action::Delete => deletes.push(change.key),
                Action::Nothing => {}
            }
        }
        self.delete(&deletes)?;
        // An insert of a key that is there already would fail the batch; with care it heals instead.
        let inserting = self.tells().then(Inserting::begin);
        let sure = self.care == Care::None && self.target.table.standing != Standing::Loose;
        if sure || !self.target.table.has_key() {
            self.insert(&inserts)?;
        } else {
            self.upsert(&inserts, vec![], false)?;
        }
        drop(inserting);
        self.upsert(&replaces, vec![], false)?;
        self.upsert(&updates, vec![], true)?;
        for (unchanged, rows) in partial {
            self.upsert(&rows, unchanged, true)?;
        }
        Ok(())
    }

    /// Whether inserts are told to somebody.
    fn tells(&self) -> bool {
        self.target.table.told && self.target.table.standing == Standing::Ready
    }

    fn insert(&mut self, rows: &[Span]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let spi = Spi::connect();
        let stored = self.target.rows(self.arena, rows.iter().copied(), false);
        let plan = self.target.plan(Statement::Insert)?;
        let count = spi.execute(plan, &mut [])?;
        stored.end();
        self.applied.applied += count;
        all_taken(count, rows.len())
    }

    /// `expected`: the rows are there; one that wasn't is counted as missing.
    fn upsert(&mut self, rows: &[Span], unchanged: Vec<bool>, expected: bool) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let partial = unchanged.contains(&true);
        let spi = Spi::connect();
        let stored = self.target.rows(self.arena, rows.iter().copied(), false);
        let watched = self.target.watched;
        let plan = self.target.plan(Statement::Upsert { unchanged, watched })?;
        let count = spi.execute(plan, &mut [])?;
        stored.end();
        all_taken(count, rows.len())?;
        let mut new = if expected { spi.new_rows() } else { Vec::new() };
        self.applied.applied += count - new.len() as u64;
        if self.target.table.standing == Standing::Ready {
            self.applied.missing += new.len() as u64;
        } else {
            self.applied.applied += new.len() as u64;
        }
        if partial && !new.is_empty() {
            // A row that is known only in part must not be seen.
            let plan = self.target.plan(Statement::DeleteAt)?;
            spi.execute(plan, &mut [array(&mut new, pg_sys::TIDOID)])?;
        }
        Ok(())
    }

    fn delete(&mut self, keys: &[Span]) -> Result<(), Error> {
        if !keys.is_empty() {
            let found = self.remove(keys)?;
            if self.aside.sure {
                all_taken(found, keys.len())?;
            }
            self.account(found, keys.len() as u64);
        }
        Ok(())
    }

    /// Takes rows away; returns how many there were.
    fn remove(&mut self, keys: &[Span]) -> Result<u64, Error> {
        let spi = Spi::connect();
        let count = if let Some(key_type) = self.target.deletes_by_array() {
            let mut values: Vec<pg_sys::Datum> = Vec::with_capacity(keys.len());
            for key in keys {
                values.append(&mut self.target.key_values(self.arena.tuple(*key)));
            }
            let plan = self.target.plan(Statement::Delete)?;
            spi.execute(plan, &mut [array(&mut values, key_type)])?
        } else {
            let stored = self.target.rows(self.arena, keys.iter().copied(), true);
            let plan = self.target.plan(Statement::Delete)?;
            let count = spi.execute(plan, &mut [])?;
            stored.end();
            count
        };
        Ok(count)
    }

    fn rekey(&mut self, old: Span, new: Span, row: Span) -> Result<(), Error> {
        if self.target.table.standing == Standing::Loose {
            // What should not be there must not be in the way.
            self.remove(&[new])?;
        }
        let spi = Spi::connect();
        let unchanged = self.target.unchanged(self.arena.tuple(row));
        let stored = self.target.rows(self.arena, std::iter::once(row), false);
        let mut key = self.target.key_values(self.arena.tuple(old));
        let plan = self.target.plan(Statement::Rekey { unchanged })?;
        let count = spi.execute(plan, &mut key)?;
        stored.end();
        self.account(count, 1);
        Ok(())
    }

    fn whole(&mut self, old: Span, new: Option<Span>) -> Result<(), Error> {
        let spi = Spi::connect();
        let stored = self.target.rows(self.arena, std::iter::once(old), false);
        let plan = self.target.plan(Statement::FindWhole)?;
        spi.execute(plan, &mut [])?;
        stored.end();
        let Some(place) = spi.first_datum() else {
            self.account(0, 1);
            return Ok(());
        };
        let count = match new {
            Some(new) => {
                let stored = self.target.rows(self.arena, std::iter::once(new), false);
                let plan = self.target.plan(Statement::UpdateAt)?;
                let count = spi.execute(plan, &mut [place])?;
                stored.end();
                count
            }
            None => {
                let plan = self.target.plan(Statement::DeleteAt)?;
                spi.execute(plan, &mut [array(&mut [place], pg_sys::TIDOID)])?
            }
        };
        self.account(count, 1);
        Ok(())
    }

    /// As a delete, so that readers keep the rows that their snapshots show.
    fn truncate(&mut self, truncated: &Truncated) -> Result<(), Error> {
        let spi = Spi::connect();
        let condition = match (truncated, &self.target.table.standing) {
            (Truncated::Ranges(blind), Standing::Judged(ranges)) => {
                let key = self.target.table.key.first().map(String::as_str).unwrap_or_default();
                let terms: Vec<String> = blind
                    .iter()
                    .filter_map(|index| ranges.get(*index))
                    .map(|judged| format!("({})", judged.range.sql_condition(key)))
                    .collect();
                Some(terms.join(" OR "))
            }
            _ => None,
        };
        spi.run(&self.target.delete_where(condition.as_deref()))?;
        self.applied.applied += 1;
        Ok(())
    }

    /// Counts what was asked against what was found.
    fn account(&mut self, found: u64, asked: u64) {
        self.applied.applied += found;
        if self.target.table.standing == Standing::Ready {
            self.applied.missing += asked.saturating_sub(found);
        } else {
            self.applied.applied += asked.saturating_sub(found);
        }
    }
}

/// A trigger may leave rows out without an error: then they aren't here, and nobody would know.
fn all_taken(taken: u64, asked: usize) -> Result<(), Error> {
    if taken >= asked as u64 {
        return Ok(());
    }
    Err(Error::retry_slowly("a trigger on the mirror's table left rows out").sqlstate("09000"))
}

/// An SPI connection: its memory goes when it is dropped.
struct Spi;

impl Spi {
    fn connect() -> Spi {
        // SAFETY: in a transaction; finished by Drop, or by the abort.
        unsafe { pg_sys::SPI_connect() };
        Spi
    }

    /// Runs a kept plan; returns how many rows it touched.
    fn execute(&self, plan: pg_sys::SPIPlanPtr, values: &mut [pg_sys::Datum]) -> Result<u64, Error> {
        // SAFETY: the values fit the plan's parameters and none is NULL.
        let code = unsafe { pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), std::ptr::null(), false, 0) };
        if code < 0 {
            return Err(Error::stop(format!("SPI_execute_plan failed: {code}")));
        }
        // SAFETY: a global that the call above set.
        Ok(unsafe { pg_sys::SPI_processed })
    }

    fn run(&self, sql: &str) -> Result<u64, Error> {
        let text = CString::new(sql).map_err(|_| Error::stop("a name holds a NUL"))?;
        // SAFETY: as above.
        let code = unsafe { pg_sys::SPI_execute(text.as_ptr(), false, 0) };
        if code < 0 {
            return Err(Error::stop(format!("SPI_execute failed: {code}")));
        }
        // SAFETY: as above.
        Ok(unsafe { pg_sys::SPI_processed })
    }

    /// Where the rows lie that an upsert had to insert: first column true, second the place.
    fn new_rows(&self) -> Vec<pg_sys::Datum> {
        let mut new = Vec::new();
        // SAFETY: walks the result of the statement just run, whose columns are boolean and tid.
        unsafe {
            let table = pg_sys::SPI_tuptable;
            if table.is_null() {
                return new;
            }
            for index in 0..(*table).numvals as usize {
                let tuple = *(*table).vals.add(index);
                let mut null = false;
                let inserted = pg_sys::SPI_getbinval(tuple, (*table).tupdesc, 1, &mut null);
                if inserted.value() as u8 != 0 {
                    new.push(pg_sys::SPI_getbinval(tuple, (*table).tupdesc, 2, &mut null));
                }
            }
        }
        new
    }

    fn first_datum(&self) -> Option<pg_sys::Datum> {
        // SAFETY: as above; the datum points into SPI's memory, which lives until this is dropped.
        unsafe {
            let table = pg_sys::SPI_tuptable;
            if table.is_null() || (*table).numvals == 0 {
                return None;
            }
            let mut null = false;
            let datum = pg_sys::SPI_getbinval(*(*table).vals, (*table).tupdesc, 1, &mut null);
            (!null).then_some(datum)
        }
    }
}

impl Drop for Spi {
    fn drop(&mut self) {
        // SAFETY: closes the connection opened above; while an error unwinds the abort does it.
        if !std::thread::panicking() {
            unsafe { pg_sys::SPI_finish() };
        }
    }
}

/// Keeps the compiler honest about what crosses the channel.
const _: fn() = || {
    fn sendable<T: Send>() {}
    sendable::<Batch>();
    sendable::<Arc<crate::mirror::stream_table::StreamTable>>();
};
