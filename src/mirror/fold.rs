//! One table's part of a batch while it grows: many changes to a key become its net change.
//!
//! Rows stay raw bytes; only the last version of each is ever parsed, by the applier. Works on
//! events that were judged already: filter first, fold after.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::batch::{Action, Arena, Change, Span, Step, TableBatch, Tally, Touched};
use super::fence::Touch;
use super::stream_table::{Layout, Standing, StreamTable};
use crate::wire::{Column, Tuple, TupleWriter, WireError};

/// A table's part of the batch, open for more events.
pub(super) struct OpenTable {
    pub(super) batch: TableBatch,
    /// The step at hand: what comes next may fold into it, or join it.
    changes: Vec<Change>,
    /// Where in `changes` each key stands; only of a table that folds.
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    ready: bool,
    folds: bool,
    /// How many changes and other steps there are to apply, about: those that cancelled out
    /// included.
    pub(super) asked: usize,
}

impl OpenTable {
    pub(super) fn new(table: Arc<StreamTable>, layout: Arc<Layout>) -> OpenTable {
        OpenTable {
            ready: table.standing == Standing::Ready,
            folds: table.key_folds && table.has_key(),
            batch: TableBatch {
                table,
                layout,
                steps: Vec::new(),
                touches: Vec::new(),
                tally: Tally::default(),
            },
            changes: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            asked: 0,
        }
    }

    pub(super) fn into_batch(mut self) -> TableBatch {
        self.close();
        self.batch
    }

    pub(super) fn insert(&mut self, arena: &mut Arena, key: &Key, row: Tuple<'_>) {
        if !self.folds {
            return self.follow(arena, key, Some(row), Action::Insert);
        }
        match self.find(arena, key) {
            None => self.push(arena, key, Some(row), Action::Insert),
            Some(change) => {
                change.row = arena.replace(change.row, row);
                change.action = match change.action {
                    Action::Nothing => Action::Insert,
                    _ => Action::Replace,
                };
                self.batch.tally.merged += 1;
            }
        }
    }

    pub(super) fn update(&mut self, arena: &mut Arena, key: &Key, row: Tuple<'_>) -> Result<(), WireError> {
        let partial = row.has_unchanged();
        let action = Action::Update { partial };
        if !self.folds {
            self.follow(arena, key, Some(row), action);
            return Ok(());
        }
        match self.find(arena, key) {
            None => self.push(arena, key, Some(row), action),
            Some(Change { action: Action::Delete | Action::Nothing, .. }) if partial => {
                // Only a stream that diverged updates a row that it took away: let the applier find
                // out.
                self.close();
                self.push(arena, key, Some(row), action);
            }
            Some(change) => {
                change.row =
                    if partial { merge(arena, change.row, row)? } else { arena.replace(change.row, row) };
                change.action = match change.action {
                    Action::Update { .. } => {
                        Action::Update { partial: partial && arena.tuple(change.row).has_unchanged() }
                    }
                    Action::Delete | Action::Nothing => Action::Replace,
                    same => same,
                };
                self.batch.tally.merged += 1;
            }
        }
        Ok(())
    }

    pub(super) fn delete(&mut self, arena: &mut Arena, key: &Key) {
        if !self.folds {
            return self.follow(arena, key, None, Action::Delete);
        }
        let ready = self.ready;
        match self.find(arena, key) {
            None => self.push(arena, key, None, Action::Delete),
            Some(change) => {
                // In a table that is still being filled a delete of what isn't there costs nothing,
                // and leaving it out would lean on the judgement of two events instead of one.
                let inserted = matches!(change.action, Action::Insert | Action::Nothing);
                change.action = if inserted && ready { Action::Nothing } else { Action::Delete };
                change.row = Span::default();
                self.batch.tally.merged += 1;
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
        if !self.folds {
            self.rekey_in_place(arena, old, new, row);
            return Ok(());
        }
        let mut merged = Vec::new();
        let row = match self.find(arena, old) {
            Some(known) if row.has_unchanged() && known.row != Span::default() => {
                merge_into(&mut merged, arena.tuple(known.row), row)?;
                Tuple::from_validated(&merged)
            }
            _ => row,
        };
        if row.has_unchanged() {
            self.rekey_in_place(arena, old, new, row);
            return Ok(());
        }
        self.batch.tally.split += 1;
        self.delete(arena, old);
        self.insert(arena, new, row);
        Ok(())
    }

    /// Notes what an event touches, if the table is recorded.
    pub(super) fn record(&mut self, arena: &mut Arena, key: &Key, xid: u64, touch: Touch) {
        if !self.batch.table.recorded {
            return;
        }
        // Rows of a table without a key can't be told apart.
        let key = self.batch.table.has_key().then(|| arena.keep(key.tuple()));
        self.batch.touches.push(Touched { xid, key, touch, moved_in_part: false });
    }

    /// Notes that the row of one key went to another.
    pub(super) fn record_move(&mut self, arena: &mut Arena, old: &Key, new: &Key, xid: u64, touch: Touch) {
        self.record(arena, old, xid, Touch::Whole);
        self.record(arena, new, xid, touch);
        if let Some(touched) = self.batch.touches.last_mut() {
            touched.moved_in_part = touch == Touch::Part;
        }
    }

    /// Notes that every row may be touched.
    pub(super) fn record_all(&mut self, xid: u64) {
        if self.batch.table.recorded {
            self.batch.touches.push(Touched { xid, key: None, touch: Touch::Whole, moved_in_part: false });
        }
    }

    /// A change of a table without a key, by its whole row.
    pub(super) fn whole(&mut self, arena: &mut Arena, old: Tuple<'_>, new: Option<Tuple<'_>>) {
        let old = arena.keep(old);
        let new = new.map(|new| arena.keep(new));
        self.step(Step::Whole { old, new });
    }

    pub(super) fn step(&mut self, step: Step) {
        self.close();
        self.asked += 1;
        self.batch.steps.push(step);
    }

    fn rekey_in_place(&mut self, arena: &mut Arena, old: &Key, new: &Key, row: Tuple<'_>) {
        let (old, new, row) = (arena.keep(old.tuple()), arena.keep(new.tuple()), arena.keep(row));
        self.step(Step::Rekey { old, new, row });
    }

    /// Ends the step at hand: what comes now is applied after it.
    fn close(&mut self) {
        if !self.changes.is_empty() {
            self.index.clear();
            self.batch.steps.push(Step::Folded(std::mem::take(&mut self.changes)));
        }
    }

    fn find(&mut self, arena: &Arena, key: &Key) -> Option<&mut Change> {
        let hash = self.hasher.hash_one(key.bytes());
        let changes = &mut self.changes;
        let place =
            self.index.find(hash, |place| arena.slice(changes[*place as usize].key) == key.bytes())?;
        changes.get_mut(*place as usize)
    }

    /// Adds a change to a key that the step at hand doesn't have.
    fn push(&mut self, arena: &mut Arena, key: &Key, row: Option<Tuple<'_>>, action: Action) {
        let place = self.changes.len() as u32;
        self.add(arena, key, row, action);
        let hash = |place: &u32| self.hasher.hash_one(arena.slice(self.changes[*place as usize].key));
        self.index.insert_unique(hash(&place), place, hash);
    }

    /// Without folding, order is kept: inserts join inserts, and deletes join deletes, since
    /// nothing can come between two of a kind for one key.
    fn follow(&mut self, arena: &mut Arena, key: &Key, row: Option<Tuple<'_>>, action: Action) {
        let joins = self.changes.last().is_none_or(|last| last.action == action)
            && matches!(action, Action::Insert | Action::Delete);
        if !joins {
            self.close();
        }
        self.add(arena, key, row, action);
    }

    fn add(&mut self, arena: &mut Arena, key: &Key, row: Option<Tuple<'_>>, action: Action) {
        let key = arena.keep(key.tuple());
        let row = row.map(|row| arena.keep(row)).unwrap_or_default();
        self.asked += 1;
        self.changes.push(Change { key, row, action });
    }
}

/// A row's key columns as a tuple of their own, in a buffer that is used again for each event.
#[derive(Debug, Default)]
pub(super) struct Key {
    bytes: Vec<u8>,
}

impl Key {
    pub(super) fn read(&mut self, layout: &Layout, row: Tuple<'_>) -> Result<(), WireError> {
        self.bytes.clear();
        let mut writer = TupleWriter::new(&mut self.bytes);
        for position in &layout.key {
            writer.put(row.get(*position).unwrap_or(Column::Null));
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
    Ok(arena.replace(old, Tuple::from_validated(&merged)))
}

/// Writes `new` with its unchanged columns taken from `old`.
pub(super) fn merge_into(out: &mut Vec<u8>, old: Tuple<'_>, new: Tuple<'_>) -> Result<(), WireError> {
    merge_where(out, old, new, |_| true)
}

/// Writes `new` with those of its unchanged columns taken from `old` that are at these positions.
pub(super) fn merge_key_into(
    out: &mut Vec<u8>,
    old: Tuple<'_>,
    new: Tuple<'_>,
    key: &[usize],
) -> Result<(), WireError> {
    merge_where(out, old, new, |position| key.contains(&position))
}

fn merge_where(
    out: &mut Vec<u8>,
    old: Tuple<'_>,
    new: Tuple<'_>,
    takes: impl Fn(usize) -> bool,
) -> Result<(), WireError> {
    let mut writer = TupleWriter::new(out);
    let mut before = old.iter();
    for (position, column) in new.iter().enumerate() {
        let before = before.next();
        writer.put(match (column, before) {
            (Column::Unchanged, Some(before)) if takes(position) => before,
            (column, _) => column,
        });
    }
    writer.finish().map(drop)
}
