//! A mirrored table as the stream needs to know it: which events to take, and how rows are told
//! apart.

use super::ranges::KeyRange;
use super::replica_identity::{Identity, flags};
use super::snapshot::Snapshot;
use crate::wire::{Column, Relation, ReplicaIdentity};

/// One table of the publication, as it stands between two batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamTable {
    /// The table's OID on the source, by which Relation messages name it.
    pub source_oid: u32,
    /// The mirror table's name in schema odoo_mirror.
    pub name: String,
    pub columns: Vec<StreamColumn>,
    /// Columns that the source streams and the mirror leaves out by configuration.
    pub left_out: Vec<String>,
    /// Key columns, in key order; none: inserts only, or whole rows under REPLICA IDENTITY FULL.
    pub key: Vec<String>,
    /// By what old rows come.
    pub identity: Identity,
    /// Whether two keys are equal exactly when their bytes are, so that changes to one key may be
    /// folded.
    pub key_folds: bool,
    pub standing: Standing,
    /// What is touched is told with each batch: the table is being compared with the source.
    pub recorded: bool,
    /// A batch ends where a transaction that inserted here ends: somebody is told of the rows as
    /// they stand there.
    pub told: bool,
    /// Its definition was read under this snapshot. While its rows are being compared, that is:
    /// every snapshot that they are compared under sees what this one sees.
    pub seen: Option<Snapshot>,
    /// Tells one definition of the table from the next, so that plans made for an older one are
    /// dropped.
    pub generation: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamColumn {
    pub name: String,
    pub type_oid: u32,
    pub type_modifier: i32,
    /// The type that the mirror's column was made with; what the values are read as.
    pub mirror_type: String,
}

/// What happens to a table's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Every event is applied.
    Ready,
    /// The rows came in by chunks: each event is judged by the snapshot of its key's range. The
    /// ranges ascend and tile all keys; only a table with one integer key has several.
    Judged(Vec<JudgedRange>),
    /// Every event is applied, onto rows that may differ from the source's: they are being compared
    /// and mended.
    Loose,
    /// No event is applied: the table failed.
    Filtered,
}

/// A key range, and the snapshot under which its rows were read; none yet: they will be, under a
/// snapshot that sees every transaction that the stream has passed by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedRange {
    pub range: KeyRange,
    pub snapshot: Option<Snapshot>,
}

impl JudgedRange {
    /// Whether the effects of `xid` are in the range's rows already, or will be once it is copied.
    pub fn holds(&self, xid: u64) -> bool {
        self.snapshot.as_ref().is_none_or(|snapshot| snapshot.sees(xid))
    }
}

/// What becomes of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    Apply,
    /// The chunk that the key's range came in has it already.
    Skip,
    Filter,
}

/// How a Relation message's columns map to the table: what a [`Tuple`](crate::wire::Tuple) of it
/// means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The tuple's columns in order; None where the mirror leaves one out.
    pub columns: Vec<Option<String>>,
    /// Positions of the key columns in the tuple, in key order.
    pub key: Vec<usize>,
    /// The source says of some column that it identifies rows. A partitioned table may have an
    /// identity in its leaves only.
    pub identifies: bool,
}

impl StreamTable {
    /// The layout that `relation` gives this table, or why the two don't fit, as a clause.
    pub fn layout(&self, relation: &Relation) -> Result<Layout, String> {
        let mut columns = Vec::with_capacity(relation.columns.len());
        for streamed in &relation.columns {
            match self.columns.iter().find(|column| column.name == streamed.name) {
                None if self.left_out.contains(&streamed.name) => columns.push(None),
                None => return Err(format!("the source has a new column {}", streamed.name)),
                Some(column) if column.type_oid != streamed.type_id => {
                    return Err(format!("column {} changed its type on the source", column.name));
                }
                Some(column) if column.type_modifier != streamed.type_modifier => {
                    return Err(format!(
                        "column {} changed its length or precision on the source",
                        column.name
                    ));
                }
                Some(column) => columns.push(Some(column.name.clone())),
            }
        }
        let place = |name: &String| columns.iter().position(|column| column.as_ref() == Some(name));
        if let Some(gone) = self.columns.iter().find(|column| place(&column.name).is_none()) {
            return Err(format!("the source no longer publishes column {}", gone.name));
        }
        // Two columns of a type may have exchanged their names: the stream's order is the columns'
        // own.
        let streamed = columns.iter().flatten();
        if let Some((column, _)) =
            self.columns.iter().zip(streamed).find(|(column, name)| column.name != **name)
        {
            return Err(format!("column {} is another one on the source", column.name));
        }
        let key: Vec<usize> = self.key.iter().filter_map(place).collect();
        // Old rows are sent as their replica identity: another one doesn't tell this key, or tells
        // of another.
        if !self.identity.fits(relation) {
            return Err("the source changed the table's key or replica identity".to_owned());
        }
        let identifies = relation.columns.iter().any(|column| column.key);
        Ok(Layout { columns, key, identifies })
    }

    /// What becomes of an event of transaction `xid` on the row with this key (its first column).
    pub fn judge(&self, key: Option<Column<'_>>, xid: u64) -> Judgement {
        let ranges = match &self.standing {
            Standing::Ready | Standing::Loose => return Judgement::Apply,
            Standing::Filtered => return Judgement::Filter,
            Standing::Judged(ranges) => ranges,
        };
        match self.range_of(key) {
            Some(range) if ranges[range].holds(xid) => Judgement::Skip,
            Some(_) => Judgement::Apply,
            None => Judgement::Filter,
        }
    }

    /// Which of the ranges that the rows came in by has this key (its first column).
    pub fn range_of(&self, key: Option<Column<'_>>) -> Option<usize> {
        match &self.standing {
            Standing::Judged(ranges) if ranges.len() == 1 => Some(0),
            Standing::Judged(ranges) => {
                let key = key.and_then(integer)?;
                let place = ranges.partition_point(|judged| judged.range.hi.is_some_and(|hi| hi <= key));
                ranges.get(place)?.range.contains(key).then_some(place)
            }
            Standing::Ready | Standing::Loose | Standing::Filtered => None,
        }
    }

    /// Whether no event of transaction `xid` need be applied, whatever its key.
    pub fn holds(&self, xid: u64) -> bool {
        match &self.standing {
            Standing::Ready => false,
            // It is what a change of the table saw that was made since, and what lay before such a
            // change, that doesn't fit.
            Standing::Loose => self.seen.as_ref().is_some_and(|seen| seen.sees(xid)),
            Standing::Judged(ranges) => ranges.iter().all(|judged| judged.holds(xid)),
            Standing::Filtered => true,
        }
    }

    /// The same table, whose range will be read again, under a snapshot that sees what the stream
    /// has passed.
    pub fn awaiting(&self, range: usize) -> StreamTable {
        let mut table = self.clone();
        if let Standing::Judged(ranges) = &mut table.standing
            && let Some(judged) = ranges.get_mut(range)
        {
            judged.snapshot = None;
        }
        table
    }

    /// Whether the relation's flags say that the key is as it was. They don't where all columns are
    /// flagged, or none.
    pub fn is_key_told(&self, relation: &Relation) -> bool {
        !self.has_key() || relation.replica_identity != ReplicaIdentity::Full && flags(relation, &self.key)
    }

    /// Whether all columns of the key are integers.
    pub fn has_integer_key(&self) -> bool {
        let is_integer = |name: &String| {
            let column = self.columns.iter().find(|column| column.name == *name);
            column.is_some_and(|column| INTEGERS.contains(&column.type_oid))
        };
        self.has_key() && self.key.iter().all(is_integer)
    }

    /// Whether rows are told apart by a key; else updates and deletes carry whole rows, or don't
    /// come.
    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }
}

/// int8, int2, int4.
const INTEGERS: [u32; 3] = [20, 21, 23];

/// An integer key's value, from either wire format.
pub fn integer(column: Column<'_>) -> Option<i64> {
    match column {
        Column::Text(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
        Column::Binary(bytes) => match bytes.len() {
            2 => bytes.try_into().ok().map(|b| i64::from(i16::from_be_bytes(b))),
            4 => bytes.try_into().ok().map(|b| i64::from(i32::from_be_bytes(b))),
            8 => bytes.try_into().ok().map(i64::from_be_bytes),
            _ => None,
        },
        Column::Null | Column::Unchanged => None,
    }
}
