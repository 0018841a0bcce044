//! Applies one table's steps, in order: each kind of change as one set, through SPI.

use std::collections::HashMap;

use pgrx::prelude::*;

use super::aside::Aside;
use super::rows::array;
use super::spi::Spi;
use super::target::{Statement, Target};
use super::{Applied, Care};
use crate::error::Error;
use crate::mirror::batch::{Action, Arena, Change, Span, Step, Truncated};
use crate::mirror::stream_table::Standing;
use crate::pg::memory::Inserting;

/// One table's steps at work.
pub(super) struct Work<'a> {
    pub(super) target: &'a mut Target,
    pub(super) relation: pg_sys::Relation,
    pub(super) arena: &'a Arena,
    pub(super) applied: &'a mut Applied,
    pub(super) care: Care,
    pub(super) aside: &'a mut Aside,
}

impl Work<'_> {
    pub(super) fn step(&mut self, step: &Step) -> Result<(), Error> {
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

    pub(super) fn folded(&mut self, changes: &[Change]) -> Result<(), Error> {
        if self.care == Care::None && !self.aside.sure && self.written(changes) {
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
        // An insert of a key that is there already would fail the batch; with care it heals
        // instead.
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
    pub(super) fn tells(&self) -> bool {
        self.target.table.told && self.target.table.standing == Standing::Ready
    }

    pub(super) fn insert(&mut self, rows: &[Span]) -> Result<(), Error> {
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
    pub(super) fn upsert(
        &mut self,
        rows: &[Span],
        unchanged: Vec<bool>,
        expected: bool,
    ) -> Result<(), Error> {
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

    pub(super) fn delete(&mut self, keys: &[Span]) -> Result<(), Error> {
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
    pub(super) fn remove(&mut self, keys: &[Span]) -> Result<u64, Error> {
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

    pub(super) fn rekey(&mut self, old: Span, new: Span, row: Span) -> Result<(), Error> {
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

    pub(super) fn whole(&mut self, old: Span, new: Option<Span>) -> Result<(), Error> {
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
    pub(super) fn truncate(&mut self, truncated: &Truncated) -> Result<(), Error> {
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
    pub(super) fn account(&mut self, found: u64, asked: u64) {
        self.applied.applied += found;
        if self.target.table.standing == Standing::Ready {
            self.applied.missing += asked.saturating_sub(found);
        } else {
            self.applied.applied += asked.saturating_sub(found);
        }
    }
}

/// A trigger may leave rows out without an error: then they aren't here, and nobody would know.
pub(super) fn all_taken(taken: u64, asked: usize) -> Result<(), Error> {
    if taken >= asked as u64 {
        return Ok(());
    }
    Err(Error::retry_slowly("a trigger on the mirror's table left rows out").sqlstate("09000"))
}
