//! One table's part of a batch while it grows: many changes to a key become its net change.
//!
//! Rows stay raw bytes; only the last version of each is ever parsed, by the applier. Works on events that
//! were judged already: filter first, fold after.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::batch::{Action, Arena, Change, Span, Step, TableBatch, Tally, Truncated};
use super::stream_table::{Layout, Standing, StreamTable};
use crate::wire::{Column, Tuple, TupleWriter, WireError};

/// A table's part of the batch, open for more events.
pub(super) struct OpenTable {
    pub(super) batch: TableBatch,
    /// Where in the last step, when that is a folded one, each key stands.
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    ready: bool,
    /// How many changes and other steps there are to apply, about: those that cancelled out included.
    pub(super) asked: usize,
}

impl OpenTable {
    pub(super) fn new(table: Arc<StreamTable>, layout: Arc<Layout>) -> OpenTable {
        let ready = table.standing == Standing::Ready;
        let batch = TableBatch { table, layout, steps: Vec::new(), tally: Tally::default() };
        OpenTable { batch, index: HashTable::new(), hasher: DefaultHashBuilder::default(), ready, asked: 0 }
    }

    pub(super) fn insert(&mut self, arena: &mut Arena, key: &Key, row: Tuple<'_>) {
        if !self.folds() {
            return self.follow(arena, key, Some(row), Action::Insert);
        }
        let found = self.find(arena, key);
        let row = arena.keep(row);
        match found {
            None => self.push(arena, key, row, Action::Insert),
            Some(change) => {
                change.row = row;
                change.action = match change.action {
                    Action::Nothing => Action::Insert,
                    _ => Action::Replace,
                };
            }
        }
    }

    pub(super) fn update(&mut self, arena: &mut Arena, key: &Key, row: Tuple<'_>) -> Result<(), WireError> {
        let partial = row.has_unchanged();
        let action = Action::Update { partial };
        if !self.folds() {
            self.follow(arena, key, Some(row), action);
            return Ok(());
        }
        match self.find(arena, key).map(|change| *change) {
            None => {
                let row = arena.keep(row);
                self.push(arena, key, row, action);
            }
            Some(Change { action: Action::Delete | Action::Nothing, .. }) if partial => {
                // Only a stream that diverged updates a row that it took away: let the applier find out.
                self.close();
                let row = arena.keep(row);
                self.push(arena, key, row, action);
            }
            Some(before) => {
                let row = if partial { merge(arena, before.row, row)? } else { arena.keep(row) };
                let partial = partial && arena.tuple(row).has_unchanged();
                if let Some(change) = self.find(arena, key) {
                    change.row = row;
                    change.action = match before.action {
                        Action::Update { .. } => Action::Update { partial },
                        Action::Delete | Action::Nothing => Action::Replace,
                        same => same,
                    };
                }
            }
        }
        Ok(())
    }

    pub(super) fn delete(&mut self, arena: &mut Arena, key: &Key) {
        if !self.folds() {
            return self.follow(arena, key, None, Action::Delete);
        }
        let ready = self.ready;
        match self.find(arena, key) {
            None => self.push(arena, key, Span::default(), Action::Delete),
            Some(change) => {
                // In a table that is still being filled a delete of what isn't there costs nothing, and
                // leaving it out would lean on the judgement of two events instead of one.
                let inserted = matches!(change.action, Action::Insert | Action::Nothing);
                change.action = if inserted && ready { Action::Nothing } else { Action::Delete };
                change.row = Span::default();
            }
        }
    }

    /// The row of `old` gets the key `new`; columns that `row` doesn't carry keep their values.
    pub(super) fn rekey(
        &mut self,
        arena: &mut Arena,
        old: &Key,
        new: &Key,
        row: Tuple<'_>,
    ) -> Result<(), WireError> {
        if !self.folds() {
            let (old, row) = (arena.keep(old.tuple()), arena.keep(row));
            self.step_last(Step::Rekey { old, row });
            return Ok(());
        }
        let known = self.find(arena, old).map(|change| *change);
        let row = match known {
            _ if !row.has_unchanged() => arena.keep(row),
            Some(Change {
                row: before,
                action: Action::Insert | Action::Replace | Action::Update { .. },
                ..
            }) => merge(arena, before, row)?,
            _ => arena.keep(row),
        };
        if arena.tuple(row).has_unchanged() {
            self.close();
            let old = arena.keep(old.tuple());
            self.step_last(Step::Rekey { old, row });
            return Ok(());
        }
        self.delete(arena, old);
        self.batch.tally.split += 1;
        match self.find(arena, new) {
            None => self.push(arena, new, row, Action::Insert),
            Some(change) => {
                change.row = row;
                change.action =
                    if change.action == Action::Nothing { Action::Insert } else { Action::Replace };
            }
        }
        Ok(())
    }

    /// A change of a table without a key, by its whole row.
    pub(super) fn whole(&mut self, arena: &mut Arena, old: Tuple<'_>, new: Option<Tuple<'_>>) {
        let old = arena.keep(old);
        let new = new.map(|new| arena.keep(new));
        self.step_last(Step::Whole { old, new });
    }

    /// What was folded for rows that the truncation removes need not be applied at all.
    pub(super) fn truncate(&mut self, truncated: Truncated) {
        self.close();
        self.step(Step::Truncate(truncated));
    }

    pub(super) fn step(&mut self, step: Step) {
        self.close();
        self.step_last(step);
    }

    fn step_last(&mut self, step: Step) {
        self.asked += 1;
        self.batch.steps.push(step);
    }

    fn folds(&self) -> bool {
        self.batch.table.key_folds && self.batch.table.has_key()
    }

    /// Ends the folded step: what comes now is applied after it.
    fn close(&mut self) {
        self.index.clear();
        if let Some(Step::Folded(changes)) = self.batch.steps.last()
            && !changes.is_empty()
        {
            self.batch.steps.push(Step::Folded(Vec::new()));
        }
    }

    fn changes(&mut self) -> &mut Vec<Change> {
        if !matches!(self.batch.steps.last(), Some(Step::Folded(_))) {
            self.index.clear();
            self.batch.steps.push(Step::Folded(Vec::new()));
        }
        match self.batch.steps.last_mut() {
            Some(Step::Folded(changes)) => changes,
            _ => unreachable!("a folded step was just pushed"),
        }
    }

    fn find(&mut self, arena: &Arena, key: &Key) -> Option<&mut Change> {
        let hash = self.hasher.hash_one(key.bytes());
        let Some(Step::Folded(changes)) = self.batch.steps.last_mut() else {
            return None;
        };
        let place =
            self.index.find(hash, |place| arena.slice(changes[*place as usize].key) == key.bytes())?;
        changes.get_mut(*place as usize)
    }

    fn push(&mut self, arena: &mut Arena, key: &Key, row: Span, action: Action) {
        let key = arena.keep(key.tuple());
        self.asked += 1;
        let changes = self.changes();
        changes.push(Change { key, row, action });
        let place = (changes.len() - 1) as u32;
        let Some(Step::Folded(changes)) = self.batch.steps.last() else {
            return;
        };
        let hash = |place: &u32| self.hasher.hash_one(arena.slice(changes[*place as usize].key));
        self.index.insert_unique(hash(&place), place, hash);
    }

    /// Without folding, order is kept: inserts join inserts, and deletes join deletes, since nothing can
    /// come between two of a kind for one key.
    fn follow(&mut self, arena: &mut Arena, key: &Key, row: Option<Tuple<'_>>, action: Action) {
        let joins = match self.batch.steps.last() {
            Some(Step::Folded(changes)) => changes.last().is_none_or(|last| {
                last.action == action && matches!(action, Action::Insert | Action::Delete)
            }),
            _ => false,
        };
        if !joins {
            self.batch.steps.push(Step::Folded(Vec::new()));
        }
        let key = arena.keep(key.tuple());
        let row = row.map(|row| arena.keep(row)).unwrap_or_default();
        self.asked += 1;
        self.changes().push(Change { key, row, action });
    }
}

/// A row's key columns as a tuple of their own, in a buffer that is used again for each event.
#[derive(Debug, Default)]
pub(super) struct Key {
    bytes: Vec<u8>,
}

impl Key {
    /// Reads the key of `row`; where it has a column unchanged (a key too long to be sent twice), from `old`.
    pub(super) fn read(
        &mut self,
        layout: &Layout,
        row: Tuple<'_>,
        old: Option<Tuple<'_>>,
    ) -> Result<(), WireError> {
        self.bytes.clear();
        let mut writer = TupleWriter::new(&mut self.bytes);
        for position in &layout.key {
            let mut column = row.get(*position).unwrap_or(Column::Null);
            if let (Column::Unchanged, Some(old)) = (column, old) {
                column = old.get(*position).unwrap_or(Column::Null);
            }
            writer.put(column);
        }
        writer.finish().map(drop)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn tuple(&self) -> Tuple<'_> {
        Tuple::from_validated(&self.bytes)
    }

    pub(super) fn first(&self) -> Option<Column<'_>> {
        self.tuple().get(0)
    }
}

/// `new`, its unchanged columns taken from the row at `old`.
fn merge(arena: &mut Arena, old: Span, new: Tuple<'_>) -> Result<Span, WireError> {
    let mut merged = Vec::with_capacity(new.as_bytes().len());
    merge_into(&mut merged, arena.tuple(old), new)?;
    Ok(arena.keep(Tuple::from_validated(&merged)))
}

/// Writes `new` with its unchanged columns taken from `old`.
pub(super) fn merge_into(out: &mut Vec<u8>, old: Tuple<'_>, new: Tuple<'_>) -> Result<(), WireError> {
    let mut writer = TupleWriter::new(out);
    let mut before = old.iter();
    for column in new {
        let before = before.next();
        writer.put(match (column, before) {
            (Column::Unchanged, Some(before)) => before,
            (column, _) => column,
        });
    }
    writer.finish().map(drop)
}
