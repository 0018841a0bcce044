//! What the network thread hands to the applier: folded changes of whole source transactions, as
//! raw bytes in one arena, table by table. Owned data only, so that it may cross threads.

use std::sync::Arc;

use super::fence::{RowKey, Touch};
use super::stream_table::{Layout, StreamTable};
use crate::wire::{Column, Lsn, Relation, Tuple, TupleWriter, WireError};

/// A slice of the batch's arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    start: usize,
    len: usize,
}

/// The bytes that a batch's rows and keys lie in.
#[derive(Debug, Default)]
pub struct Arena {
    pub(super) bytes: Vec<u8>,
}

impl Arena {
    pub fn tuple(&self, span: Span) -> Tuple<'_> {
        Tuple::from_validated(self.slice(span))
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[span.start..span.start + span.len]
    }

    pub(super) fn write<'a>(&mut self, columns: impl Iterator<Item = Column<'a>>) -> Result<Span, WireError> {
        let start = self.bytes.len();
        let mut writer = TupleWriter::new(&mut self.bytes);
        columns.for_each(|column| writer.put(column));
        let len = writer.finish()?.as_bytes().len();
        Ok(Span { start, len })
    }

    pub(super) fn keep(&mut self, tuple: Tuple<'_>) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(tuple.as_bytes());
        Span { start, len: self.bytes.len() - start }
    }

    /// Keeps `tuple` in place of what was at `old`, which nothing else may refer to: a row that is
    /// changed over and over doesn't fill the arena with its past.
    pub(super) fn replace(&mut self, old: Span, tuple: Tuple<'_>) -> Span {
        let bytes = tuple.as_bytes();
        if bytes.len() > old.len {
            return self.keep(tuple);
        }
        self.bytes[old.start..old.start + bytes.len()].copy_from_slice(bytes);
        Span { start: old.start, len: bytes.len() }
    }
}

/// Changes to apply in one local transaction, or the next part of one.
#[derive(Debug, Default)]
pub struct Batch {
    pub arena: Arena,
    pub tables: Vec<TableBatch>,
    /// The last source commit in it. None: a part of a source transaction, whose rest follows.
    pub boundary: Option<Boundary>,
    /// Source transactions that ended in it.
    pub transactions: u64,
    /// Their ids, 64 bits.
    pub xids: Vec<u64>,
    /// When the oldest transaction in it was committed, by the source's clock (µs since
    /// 2000-01-01).
    pub oldest_commit: Option<i64>,
    /// Relations that the stream named and no mirrored table is known for; their events were left
    /// out.
    pub unknown: Vec<UnknownRelation>,
    /// The change that comes next doesn't fit its table as it was when the mirror was made: the
    /// stream stands before it until the tables are replaced.
    pub unfit: Option<Unfit>,
    /// Events left out because their table is not mirrored, or no longer.
    pub filtered: u64,
    /// Source bytes that the changes came in.
    pub received_bytes: u64,
}

impl Batch {
    /// Rows as text that were read on the source, to stand in place of what their keys hold here,
    /// and keys whose rows go.
    pub fn of_rows(
        table: &Arc<StreamTable>,
        layout: &Arc<Layout>,
        rows: &[Vec<Option<String>>],
        gone: &[RowKey],
    ) -> Result<Batch, WireError> {
        let mut arena = Arena::default();
        let mut changes = Vec::with_capacity(rows.len() + gone.len());
        for key in gone {
            let key = arena.write(key.iter().map(|value| Column::Text(value.as_bytes())))?;
            changes.push(Change { key, row: Span::default(), action: Action::Delete });
        }
        for row in rows {
            let key = arena.write(layout.key.iter().map(|place| as_text(&row[*place])))?;
            let row = arena.write(row.iter().map(as_text))?;
            changes.push(Change { key, row, action: Action::Replace });
        }
        let part = TableBatch {
            table: Arc::clone(table),
            layout: Arc::clone(layout),
            steps: vec![Step::Folded(changes)],
            touches: Vec::new(),
            tally: Tally::default(),
        };
        Ok(Batch { arena, tables: vec![part], ..Batch::default() })
    }
}

fn as_text(value: &Option<String>) -> Column<'_> {
    value.as_ref().map_or(Column::Null, |value| Column::Text(value.as_bytes()))
}

/// Where a source transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boundary {
    /// Where to go on from: just past the commit record.
    pub end: Lsn,
    /// By the source's clock, µs since 2000-01-01.
    pub commit_time: i64,
}

/// A change that doesn't fit its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    pub xid: u64,
    /// What the stream said of the table before it.
    pub relation: Relation,
    /// It doesn't fit; else it does, if the key, of which the relation says nothing, is what it
    /// was: the catalog is to be asked.
    pub misfit: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRelation {
    pub oid: u32,
    pub schema: String,
    pub name: String,
}

/// One table's changes, in the order in which they must be applied.
#[derive(Debug)]
pub struct TableBatch {
    pub table: Arc<StreamTable>,
    pub layout: Arc<Layout>,
    pub steps: Vec<Step>,
    /// Of a table that is recorded: which rows were touched, by which transaction; before folding,
    /// in their order.
    pub touches: Vec<Touched>,
    pub tally: Tally,
}

#[derive(Debug)]
pub enum Step {
    /// Changes to different keys: their order does not matter.
    Folded(Vec<Change>),
    /// A changed key whose row is only partly known here: the rest stays as it is under the old
    /// key.
    Rekey {
        old: Span,
        new: Span,
        row: Span,
    },
    /// A row of a table without a key, found by all of its columns; no new row: it was deleted.
    Whole {
        old: Span,
        new: Option<Span>,
    },
    Truncate(Truncated),
    /// From here on the table's events don't fit the mirror: it fails, for this reason.
    Misfit(String),
    /// This range holds a row that can't be completed from the stream: it must be copied again.
    CopyAgain {
        range: usize,
    },
}

/// One event of a table that is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    pub xid: u64,
    /// The key's columns, in key order; None: every row.
    pub key: Option<Span>,
    pub touch: Touch,
    /// The row came from another key, and not all of its columns with it.
    pub moved_in_part: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truncated {
    All,
    /// Of a table that came in by chunks, those ranges whose snapshot had not seen it.
    Ranges(Vec<usize>),
}

/// The net change to one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The key columns as a tuple, in key order.
    pub key: Span,
    /// All columns; empty for a delete.
    pub row: Span,
    pub action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The key was not there before.
    Insert,
    /// The key was there; `partial`: some columns stay as they are.
    Update {
        partial: bool,
    },
    /// The key may have been there, with another row: deleted and inserted again, or moved here.
    Replace,
    Delete,
    /// Inserted and deleted again: nothing to do.
    Nothing,
}

/// Where a table's events went. `received + split = applied + folded + skipped + filtered`, where
/// applied is the number of changes and other steps that the batch asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
    pub truncates: u64,
    /// Bytes of the messages that the three came in.
    pub inserted_bytes: u64,
    pub updated_bytes: u64,
    pub deleted_bytes: u64,
    /// Changes of a key that became a delete and an insert.
    pub split: u64,
    /// Became one with an earlier change to their key.
    pub merged: u64,
    /// Already in the chunk that the row came in.
    pub skipped: u64,
    pub filtered: u64,
    pub last_commit: i64,
}

impl Tally {
    pub fn received(&self) -> u64 {
        self.inserts + self.updates + self.deletes + self.truncates
    }
}

impl TableBatch {
    /// How many changes and other steps are asked for.
    pub fn asked(&self) -> u64 {
        let of = |step: &Step| match step {
            Step::Folded(changes) => {
                changes.iter().filter(|change| change.action != Action::Nothing).count() as u64
            }
            Step::Rekey { .. } | Step::Whole { .. } | Step::Truncate(_) => 1,
            Step::Misfit(_) | Step::CopyAgain { .. } => 0,
        };
        self.steps.iter().map(of).sum()
    }

    /// How many events vanished into others, or came to nothing.
    pub fn folded(&self) -> u64 {
        let nothing = |step: &Step| match step {
            Step::Folded(changes) => {
                changes.iter().filter(|change| change.action == Action::Nothing).count() as u64
            }
            _ => 0,
        };
        self.tally.merged + self.steps.iter().map(nothing).sum::<u64>()
    }
}
