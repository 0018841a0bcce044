//! Turns decoded messages into batches: keeps the relations, judges each event, folds what is to be applied.
//!
//! Pure: no socket, no clock. Every batch but a part of a long transaction ends at a source commit.

use std::collections::HashMap;
use std::sync::Arc;

use super::batch::{Batch, Boundary, Step, Truncated, UnknownRelation};
use super::fold::{Key, OpenTable, merge_into};
use super::snapshot::widen;
use super::stream_table::{Judgement, Layout, Standing, StreamTable};
use crate::wire::{Lsn, Message, Old, Relation, Tuple, WireError};

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
}

/// What one message was, for the caller's decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    Change,
    Committed,
    Other,
}

struct Route {
    relation: Relation,
    /// Where its events go; None: nowhere.
    target: Option<(Arc<StreamTable>, Arc<Layout>)>,
    /// The table's part in the batch at hand.
    open: Option<usize>,
}

struct Transaction {
    xid: u64,
    commit_time: i64,
    /// Applied before: the stream repeats it after a reconnect.
    repeated: bool,
}

pub struct Assembler {
    tables: HashMap<u32, Arc<StreamTable>>,
    routes: HashMap<u32, Route>,
    open: Vec<OpenTable>,
    batch: Batch,
    events: u64,
    transaction: Option<Transaction>,
    /// Transactions that end at or before this are applied already.
    start: Lsn,
    near: u64,
    old_key: Key,
    new_key: Key,
    filled: Vec<u8>,
}

impl Assembler {
    /// `start`: where the mirror stands; `near`: a transaction id of about that time, for its epoch.
    pub fn new(tables: Vec<Arc<StreamTable>>, start: Lsn, near: u64) -> Assembler {
        Assembler {
            tables: by_oid(tables),
            routes: HashMap::new(),
            open: Vec::new(),
            batch: Batch::default(),
            events: 0,
            transaction: None,
            start,
            near,
            old_key: Key::default(),
            new_key: Key::default(),
            filled: Vec::new(),
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

    /// Bytes that the batch holds.
    pub fn bytes(&self) -> usize {
        self.batch.arena.len()
    }

    /// Whether no transaction is open: the batch may be committed here.
    pub fn at_boundary(&self) -> bool {
        self.transaction.is_none()
    }

    /// Whether there is something to hand over.
    pub fn is_empty(&self) -> bool {
        self.batch.transactions == 0 && self.open.is_empty() && self.batch.unknown.is_empty()
    }

    /// Replaces what is known of the tables, between two transactions and with the batch taken.
    pub fn replace_tables(&mut self, tables: Vec<Arc<StreamTable>>, near: u64) {
        debug_assert!(self.at_boundary() && self.is_empty());
        self.tables = by_oid(tables);
        self.near = near;
        for (oid, route) in &mut self.routes {
            let table = self.tables.get(oid);
            route.target = table.and_then(|table| {
                let layout = table.layout(&route.relation).ok()?;
                Some((Arc::clone(table), Arc::new(layout)))
            });
        }
    }

    /// Hands over what gathered and begins anew.
    pub fn take(&mut self) -> Batch {
        for route in self.routes.values_mut() {
            route.open = None;
        }
        self.events = 0;
        let mut batch = std::mem::take(&mut self.batch);
        batch.tables = self.open.drain(..).map(|open| open.batch).collect();
        if let Some(transaction) = &self.transaction {
            batch.boundary = None;
            self.batch.oldest_commit = Some(transaction.commit_time);
        }
        batch
    }

    /// Counts the bytes that messages came in.
    pub fn count_bytes(&mut self, bytes: usize) {
        self.batch.received_bytes += bytes as u64;
    }

    pub fn feed(&mut self, message: Message<'_>) -> Result<Fed, StreamError> {
        match message {
            Message::Begin { final_lsn, commit_time, xid } => {
                if self.transaction.is_some() {
                    return Err(StreamError::NestedBegin(xid));
                }
                let xid = widen(xid, self.near);
                self.near = xid;
                self.transaction = Some(Transaction { xid, commit_time, repeated: final_lsn < self.start });
                self.batch.oldest_commit.get_or_insert(commit_time);
                Ok(Fed::Other)
            }
            Message::Commit { end_lsn, commit_time, .. } => {
                self.transaction.take().ok_or(StreamError::OutsideTransaction("a commit"))?;
                self.batch.boundary = Some(Boundary { end: end_lsn, commit_time });
                self.batch.transactions += 1;
                Ok(Fed::Committed)
            }
            Message::Relation(relation) => {
                self.relation(relation);
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

    fn relation(&mut self, relation: Relation) {
        let oid = relation.id;
        if self.routes.get(&oid).is_some_and(|route| route.relation == relation && route.target.is_some()) {
            return;
        }
        let table = self.tables.get(&oid).cloned();
        let target = match &table {
            None => {
                let (schema, name) = (relation.schema.clone(), relation.name.clone());
                self.batch.unknown.push(UnknownRelation { oid, schema, name });
                None
            }
            Some(table) if table.standing == Standing::Filtered => None,
            Some(table) => match table.layout(&relation) {
                Ok(layout) => Some((Arc::clone(table), Arc::new(layout))),
                Err(reason) => {
                    self.misfit(table, reason);
                    None
                }
            },
        };
        self.routes.insert(oid, Route { relation, target, open: None });
    }

    /// The table fails here; what came before in the batch is still applied.
    fn misfit(&mut self, table: &Arc<StreamTable>, reason: String) {
        let part = self.open.iter().rposition(|open| open.batch.table.source_oid == table.source_oid);
        let part = part.unwrap_or_else(|| {
            let layout = Layout { columns: Vec::new(), key: Vec::new() };
            self.open.push(OpenTable::new(Arc::clone(table), Arc::new(layout)));
            self.open.len() - 1
        });
        self.open[part].step(Step::Misfit(reason));
    }

    /// The route's part of the batch and the transaction at hand; None when the event goes nowhere.
    fn part(&mut self, oid: u32, what: &'static str) -> Result<Option<(usize, u64)>, StreamError> {
        let transaction = self.transaction.as_ref().ok_or(StreamError::OutsideTransaction(what))?;
        let route = self.routes.get_mut(&oid).ok_or(StreamError::UnknownRelation(oid))?;
        self.events += 1;
        if transaction.repeated {
            return Ok(None);
        }
        let Some((table, layout)) = &route.target else {
            self.batch.filtered += 1;
            return Ok(None);
        };
        let part = match route.open {
            Some(part) => part,
            None => {
                self.open.push(OpenTable::new(Arc::clone(table), Arc::clone(layout)));
                route.open = Some(self.open.len() - 1);
                self.open.len() - 1
            }
        };
        self.open[part].batch.tally.last_commit = transaction.commit_time;
        Ok(Some((part, transaction.xid)))
    }

    fn insert(&mut self, oid: u32, new: Tuple<'_>) -> Result<Fed, StreamError> {
        let Some((part, xid)) = self.part(oid, "an insert")? else { return Ok(Fed::Change) };
        let open = &mut self.open[part];
        open.batch.tally.inserts += 1;
        self.new_key.read(&open.batch.layout, new, None)?;
        if judged(open, &self.new_key, xid) {
            open.insert(&mut self.batch.arena, &self.new_key, new);
        }
        Ok(Fed::Change)
    }

    fn delete(&mut self, oid: u32, old: Old<'_>) -> Result<Fed, StreamError> {
        let Some((part, xid)) = self.part(oid, "a delete")? else { return Ok(Fed::Change) };
        let open = &mut self.open[part];
        open.batch.tally.deletes += 1;
        let (Old::Key(old) | Old::Row(old)) = old;
        self.old_key.read(&open.batch.layout, old, None)?;
        if judged(open, &self.old_key, xid) {
            if open.batch.table.has_key() {
                open.delete(&mut self.batch.arena, &self.old_key);
            } else {
                open.whole(&mut self.batch.arena, old, None);
            }
        }
        Ok(Fed::Change)
    }

    fn update(&mut self, oid: u32, old: Option<Old<'_>>, new: Tuple<'_>) -> Result<Fed, StreamError> {
        let Some((part, xid)) = self.part(oid, "an update")? else { return Ok(Fed::Change) };
        let open = &mut self.open[part];
        let arena = &mut self.batch.arena;
        open.batch.tally.updates += 1;
        // A whole old row holds what the new one leaves out.
        self.filled.clear();
        let new = match old {
            Some(Old::Row(old)) if new.has_unchanged() => {
                merge_into(&mut self.filled, old, new)?;
                Tuple::from_validated(&self.filled)
            }
            _ => new,
        };
        let old = old.map(|(Old::Key(old) | Old::Row(old))| old);
        self.new_key.read(&open.batch.layout, new, old)?;
        if !open.batch.table.has_key() {
            if let (true, Some(old)) = (judged(open, &self.new_key, xid), old) {
                open.whole(arena, old, Some(new));
            }
            return Ok(Fed::Change);
        }
        // An old key alone does not mean a change: one stored out of line is sent beside an equal one.
        let moved = match old {
            Some(old) => {
                self.old_key.read(&open.batch.layout, old, None)?;
                self.old_key.bytes() != self.new_key.bytes()
            }
            None => false,
        };
        if !moved {
            if judged(open, &self.new_key, xid) {
                open.update(arena, &self.new_key, new)?;
            }
            return Ok(Fed::Change);
        }
        let table = Arc::clone(&open.batch.table);
        match (table.judge(self.old_key.first(), xid), table.judge(self.new_key.first(), xid)) {
            (Judgement::Apply, Judgement::Apply) => open.rekey(arena, &self.old_key, &self.new_key, new)?,
            (Judgement::Apply, _) => open.delete(arena, &self.old_key),
            (_, Judgement::Apply) if !new.has_unchanged() => open.insert(arena, &self.new_key, new),
            // The missing values stood under the old key, whose range was read after the row had left it:
            // they are nowhere here, and the old key may hold another row by now.
            (_, Judgement::Apply) => {
                open.batch.tally.skipped += 1;
                if let Some(range) = range_of(&table, self.new_key.first()) {
                    open.step(Step::CopyAgain { range });
                }
            }
            (Judgement::Filter, _) | (_, Judgement::Filter) => open.batch.tally.filtered += 1,
            (Judgement::Skip { .. }, Judgement::Skip { .. }) => open.batch.tally.skipped += 1,
        }
        Ok(Fed::Change)
    }

    fn truncate(&mut self, oid: u32) -> Result<(), StreamError> {
        let Some((part, xid)) = self.part(oid, "a truncate")? else { return Ok(()) };
        let open = &mut self.open[part];
        open.batch.tally.truncates += 1;
        let truncated = match &open.batch.table.standing {
            Standing::Ready => Some(Truncated::All),
            Standing::Filtered => None,
            Standing::Judged(ranges) => {
                let blind: Vec<usize> =
                    (0..ranges.len()).filter(|range| !ranges[*range].holds(xid)).collect();
                if blind.len() == ranges.len() {
                    Some(Truncated::All)
                } else if blind.is_empty() {
                    None
                } else {
                    Some(Truncated::Ranges(blind))
                }
            }
        };
        match truncated {
            Some(truncated) => open.truncate(truncated),
            None => open.batch.tally.skipped += 1,
        }
        Ok(())
    }
}

/// Whether the event is to be applied; counted where it goes otherwise.
fn judged(open: &mut OpenTable, key: &Key, xid: u64) -> bool {
    match open.batch.table.judge(key.first(), xid) {
        Judgement::Apply => return true,
        Judgement::Skip { .. } => open.batch.tally.skipped += 1,
        Judgement::Filter => open.batch.tally.filtered += 1,
    }
    false
}

fn range_of(table: &StreamTable, key: Option<crate::wire::Column<'_>>) -> Option<usize> {
    match &table.standing {
        Standing::Judged(ranges) if ranges.len() == 1 => Some(0),
        Standing::Judged(ranges) => {
            let key = key.and_then(super::stream_table::integer)?;
            ranges.iter().position(|judged| judged.range.contains(key))
        }
        _ => None,
    }
}

fn by_oid(tables: Vec<Arc<StreamTable>>) -> HashMap<u32, Arc<StreamTable>> {
    tables.into_iter().map(|table| (table.source_oid, table)).collect()
}
