//! Turns decoded messages into batches: keeps the relations, judges each event, folds what is to be
//! applied.
//!
//! Pure: no socket, no clock. Every batch but a part of a long transaction ends at a source commit.

mod changes;

use std::sync::Arc;

use hashbrown::HashMap;

use super::batch::{Batch, Boundary, Step, Unfit, UnknownRelation};
use super::fold::{Key, OpenTable};
use super::route::{Route, Tables, Target, by_oid, target};
use super::snapshot::Epoch;
use super::stream_table::{Layout, Standing, StreamTable};
use crate::wire::{Lsn, Message, Relation, WireError};

/// The stream is not what pgoutput sends.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the stream sent {0} outside a transaction")]
    OutsideTransaction(&'static str),
    #[error("the stream began transaction {0} inside another")]
    NestedBegin(u32),
    #[error("the stream changed relation {0}, which it had not described")]
    UnknownRelation(u32),
    #[error("the stream describes relations without end")]
    EndlessRelations,
}

/// What is kept of relations: as many bytes of their descriptions, and of a single one. A source
/// describes a table of 1,600 columns in some 130 kB, and most in less than one.
const MOST_RELATION_BYTES: usize = 256 * 1024 * 1024;
const LARGEST_RELATION: usize = 1024 * 1024;
/// What a relation takes beside its description.
const RELATION_OVERHEAD: usize = 512;

/// What one message was, for the caller's decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    Change,
    /// The batch may be committed here; not the end of a transaction that was applied before.
    Committed,
    Other,
}

struct Transaction {
    xid: u64,
    commit_time: i64,
    /// Applied before: the stream repeats it after a reconnect.
    repeated: bool,
    /// Some of it came.
    changed: bool,
    /// Net changes and bytes that the batch held when it began, of transactions before it.
    before: (usize, usize),
}

pub struct Assembler {
    tables: Tables,
    routes: HashMap<u32, Route>,
    open: Vec<OpenTable>,
    batch: Batch,
    events: u64,
    transaction: Option<Transaction>,
    /// Transactions that end at or before this are applied already.
    start: Lsn,
    epoch: Epoch,
    old_key: Key,
    new_key: Key,
    filled: Vec<u8>,
    /// Bytes of the message at hand.
    message_bytes: u64,
    /// What the routes' relations take.
    relation_bytes: usize,
    /// The open transaction inserted into a table of which somebody is told.
    tells: bool,
    /// Such a transaction is the batch's last.
    cut: bool,
    /// A relation was altered, a table failed, or a part of it must come again: fed once more, the
    /// same messages would not say the same.
    odd: bool,
    /// The relation before whose change the stream stands.
    asked: Option<u32>,
}

impl Assembler {
    /// `start`: where the mirror stands; `newest`: a transaction id, 64 bits, that the source has
    /// come to by now.
    pub fn new(tables: Vec<Arc<StreamTable>>, start: Lsn, newest: u64) -> Assembler {
        Assembler {
            tables: by_oid(tables),
            routes: HashMap::new(),
            open: Vec::new(),
            batch: Batch::default(),
            events: 0,
            transaction: None,
            start,
            epoch: Epoch::at(newest),
            old_key: Key::default(),
            new_key: Key::default(),
            filled: Vec::new(),
            message_bytes: 0,
            relation_bytes: 0,
            tells: false,
            cut: false,
            odd: false,
            asked: None,
        }
    }

    /// Events in the batch so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Net changes in the batch so far.
    pub fn changes(&self) -> usize {
        self.open.iter().map(|open| open.asked).sum()
    }

    /// Where the last transaction in the batch ended.
    pub fn position(&self) -> Option<Lsn> {
        self.batch.boundary.map(|boundary| boundary.end)
    }

    /// Ends the batch before the transaction at hand, which has only begun.
    pub fn end_batch(&mut self) {
        self.cut = self.has_only_begun();
    }

    /// Whether nothing of the open transaction came yet but its beginning.
    pub fn has_only_begun(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| !transaction.changed)
    }

    /// Whether the batch ends here, whatever else there is.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether what gathered is more than changes of rows, so that it must not be
    /// [rewound](Self::rewind).
    pub fn is_odd(&self) -> bool {
        self.odd
    }

    /// When the oldest transaction in the batch was committed.
    pub fn oldest_commit(&self) -> Option<i64> {
        self.batch.oldest_commit
    }

    /// Bytes that the batch holds.
    pub fn bytes(&self) -> usize {
        self.batch.arena.len()
    }

    /// Net changes and bytes of the open transaction in the batch; between two transactions, of the
    /// whole batch.
    pub fn part(&self) -> (usize, usize) {
        let (changes, bytes) = self.transaction.as_ref().map_or((0, 0), |transaction| transaction.before);
        (self.changes().saturating_sub(changes), self.bytes().saturating_sub(bytes))
    }

    /// Whether no transaction is open: the batch may be committed here.
    pub fn at_boundary(&self) -> bool {
        self.transaction.is_none()
    }

    /// Whether there is something to hand over.
    pub fn is_empty(&self) -> bool {
        let batch = &self.batch;
        batch.transactions == 0 && self.open.is_empty() && batch.unknown.is_empty() && batch.unfit.is_none()
    }

    /// Why the message can't be applied: a change of a table that its Relation doesn't fit.
    pub fn unfit(&self, message: &Message<'_>) -> Option<Unfit> {
        let of = |oid: u32| {
            let transaction = self.transaction.as_ref().filter(|transaction| !transaction.repeated)?;
            let Route { relation, target, is_to_be_asked, .. } = self.routes.get(&oid)?;
            let (table, misfit) = match target {
                Target::Misfit(table, _) => (table, true),
                Target::Table(table, _) if *is_to_be_asked => (table, false),
                Target::Table(..) | Target::Nowhere => return None,
            };
            let holds = table.holds(transaction.xid);
            (!holds).then(|| Unfit { xid: transaction.xid, relation: relation.clone(), misfit })
        };
        match message {
            Message::Insert { relation, .. }
            | Message::Update { relation, .. }
            | Message::Delete { relation, .. } => of(*relation),
            Message::Truncate { relations, .. } => relations.iter().find_map(of),
            _ => None,
        }
    }

    /// Ends the batch here, before a change that doesn't fit: it is fed again once the tables are
    /// replaced. Where that is its transaction's first, what came before it can be committed.
    pub fn stop_before(&mut self, unfit: Unfit) {
        self.cut |= self.has_only_begun();
        self.asked = Some(unfit.relation.id);
        self.batch.unfit = Some(unfit);
    }

    /// Replaces what is known of the tables, between two transactions and with the batch taken.
    pub fn replace_tables(&mut self, tables: Vec<Arc<StreamTable>>) {
        debug_assert!(self.at_boundary());
        self.refit(tables);
    }

    /// Replaces what is known of the tables where the stream stands before a change that didn't
    /// fit, with the batch taken.
    pub fn refit(&mut self, tables: Vec<Arc<StreamTable>>) {
        debug_assert!(self.is_empty());
        self.tables = by_oid(tables);
        let asked = self.asked.take();
        if let Some(route) = asked.and_then(|oid| self.routes.get_mut(&oid)) {
            route.is_to_be_asked = false;
        }
        for route in self.routes.values_mut() {
            route.target = target(&self.tables, &route.relation);
        }
    }

    /// Hands over what gathered and begins anew.
    pub fn take(&mut self) -> Batch {
        for route in self.routes.values_mut() {
            route.open = None;
        }
        self.events = 0;
        self.odd = false;
        let before_it = std::mem::take(&mut self.cut) && self.has_only_begun();
        let mut batch = std::mem::take(&mut self.batch);
        batch.tables = self.open.drain(..).map(OpenTable::into_batch).collect();
        if let Some(transaction) = &mut self.transaction {
            transaction.before = (0, 0);
            if !before_it {
                batch.boundary = None;
            }
            self.batch.oldest_commit = Some(transaction.commit_time);
        }
        batch
    }

    /// Forgets what gathered and the transaction at hand, parts that were handed over included: it
    /// is fed again from its beginning.
    pub fn rewind(&mut self) {
        debug_assert!(!self.odd);
        self.transaction = None;
        self.tells = false;
        self.take();
        self.batch = Batch::default();
    }

    /// A snapshot showed that the source has come to this transaction id, 64 bits.
    pub fn saw_xid(&mut self, newest: u64) {
        self.epoch.saw(newest);
    }

    /// Counts the bytes that the message to be fed next came in.
    pub fn count_bytes(&mut self, bytes: usize) {
        self.message_bytes = bytes as u64;
        self.batch.received_bytes += self.message_bytes;
    }

    pub fn feed(&mut self, message: Message<'_>) -> Result<Fed, StreamError> {
        match message {
            Message::Begin { final_lsn, commit_time, xid } => {
                if self.transaction.is_some() {
                    return Err(StreamError::NestedBegin(xid));
                }
                let xid = self.epoch.widen(xid);
                let repeated = final_lsn < self.start;
                let before = (self.changes(), self.bytes());
                self.transaction = Some(Transaction { xid, commit_time, repeated, changed: false, before });
                if !repeated {
                    self.batch.oldest_commit.get_or_insert(commit_time);
                }
                Ok(Fed::Other)
            }
            Message::Commit { end_lsn, commit_time, .. } => {
                let ended = self.transaction.take().ok_or(StreamError::OutsideTransaction("a commit"))?;
                if ended.repeated {
                    return Ok(Fed::Other);
                }
                self.batch.boundary = Some(Boundary { end: end_lsn, commit_time });
                self.batch.transactions += 1;
                self.cut = std::mem::take(&mut self.tells);
                self.batch.xids.push(ended.xid);
                Ok(Fed::Committed)
            }
            Message::Relation(relation) => {
                self.relation(relation)?;
                Ok(Fed::Other)
            }
            Message::Insert { relation, new } => self.insert(relation, new),
            Message::Update { relation, old, new } => self.update(relation, old, new),
            Message::Delete { relation, old } => self.delete(relation, old),
            Message::Truncate { relations, .. } => {
                for relation in relations.iter() {
                    self.truncate(relation)?;
                }
                Ok(Fed::Change)
            }
            Message::Origin { .. } | Message::Type { .. } | Message::Logical { .. } => Ok(Fed::Other),
        }
    }

    fn relation(&mut self, relation: Relation) -> Result<(), StreamError> {
        let oid = relation.id;
        let known = self.routes.get(&oid);
        let bytes = self.message_bytes as usize;
        let kept = self.relation_bytes - known.map_or(0, |route| route.bytes + RELATION_OVERHEAD);
        let kept = kept.saturating_add(bytes).saturating_add(RELATION_OVERHEAD);
        if bytes > LARGEST_RELATION || kept > MOST_RELATION_BYTES {
            return Err(StreamError::EndlessRelations);
        }
        let same = known.filter(|route| route.relation == relation);
        // An equal one comes after whatever was done to the table, a change of a key that it
        // doesn't tell perhaps.
        let is_to_be_asked = self.tables.get(&oid).is_some_and(|table| !table.is_key_told(&relation));
        self.odd |= is_to_be_asked;
        if same.is_some_and(|route| !matches!(route.target, Target::Nowhere)) {
            if let Some(route) = self.routes.get_mut(&oid) {
                route.is_to_be_asked |= is_to_be_asked;
            }
            return Ok(());
        }
        self.odd |= known.is_some() && same.is_none();
        let told = || self.batch.unknown.iter().any(|unknown| unknown.oid == oid);
        if !self.tables.contains_key(&oid) && (known.is_none() || !told()) {
            let (schema, name) = (relation.schema.clone(), relation.name.clone());
            self.batch.unknown.push(UnknownRelation { oid, schema, name });
        }
        let target = target(&self.tables, &relation);
        self.relation_bytes = kept;
        self.routes.insert(oid, Route { relation, bytes, target, is_to_be_asked, open: None });
        Ok(())
    }

    /// The relation's part of the batch and the transaction at hand; None when the event goes
    /// nowhere.
    fn part_of(&mut self, oid: u32, what: &'static str) -> Result<Option<(usize, u64)>, StreamError> {
        let transaction = self.transaction.as_mut().ok_or(StreamError::OutsideTransaction(what))?;
        transaction.changed = true;
        let route = self.routes.get_mut(&oid).ok_or(StreamError::UnknownRelation(oid))?;
        if transaction.repeated {
            return Ok(None);
        }
        self.events += 1;
        let (table, layout) = match &route.target {
            Target::Table(table, layout) => (table, layout),
            Target::Misfit(table, reason) => {
                // A table may be known as it is by now, while the stream is still where it was
                // different.
                if !table.holds(transaction.xid) {
                    let (table, reason) = (Arc::clone(table), reason.clone());
                    self.misfit(&table, reason);
                }
                self.batch.filtered += 1;
                return Ok(None);
            }
            Target::Nowhere => {
                self.batch.filtered += 1;
                return Ok(None);
            }
        };
        let part = *route.open.get_or_insert_with(|| {
            self.open.push(OpenTable::new(Arc::clone(table), Arc::clone(layout)));
            self.open.len() - 1
        });
        self.open[part].batch.tally.last_commit = transaction.commit_time;
        Ok(Some((part, transaction.xid)))
    }

    /// The table fails here; what came before in the batch is still applied.
    fn misfit(&mut self, table: &Arc<StreamTable>, reason: String) {
        let oid = table.source_oid;
        let part = self.open.iter().rposition(|open| open.batch.table.source_oid == oid);
        let part = part.unwrap_or_else(|| {
            let layout = Layout { columns: Vec::new(), key: Vec::new(), identifies: false };
            self.open.push(OpenTable::new(Arc::clone(table), Arc::new(layout)));
            self.open.len() - 1
        });
        self.open[part].step(Step::Misfit(reason));
        self.odd = true;
        if let Some(route) = self.routes.get_mut(&oid) {
            route.target = Target::Nowhere;
        }
        // Nor does a relation that fits again bring back what was left out meanwhile.
        let failed = StreamTable { standing: Standing::Filtered, ..StreamTable::clone(table) };
        self.tables.insert(oid, Arc::new(failed));
    }

    /// As [misfit](Self::misfit), for an event that was counted in the table's part already.
    fn misfit_in(&mut self, part: usize, reason: &str) {
        let open = &mut self.open[part];
        open.batch.tally.filtered += 1;
        let table = Arc::clone(&open.batch.table);
        self.misfit(&table, reason.to_owned());
    }

    /// From here on the range's events are skipped: what they change will be in the range when it
    /// is read again.
    fn copy_again(&mut self, part: usize, range: usize) {
        let open = &mut self.open[part];
        open.step(Step::CopyAgain { range });
        self.odd = true;
        let table = Arc::new(open.batch.table.awaiting(range));
        open.batch.table = Arc::clone(&table);
        if let Some(route) = self.routes.get_mut(&table.source_oid)
            && let Target::Table(known, _) = &mut route.target
        {
            *known = Arc::clone(&table);
        }
        self.tables.insert(table.source_oid, table);
    }
}
