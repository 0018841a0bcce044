//! Histories: what happened on the source, transaction by transaction, with the messages that tell
//! it.

use std::collections::HashSet;

use odoo_mirror::wire::{Relation, ReplicaIdentity};

use super::sent::{Cell, Sent};
use super::source::{Effect, Rows, Source};
use super::tables::{Form, KINDS};

/// One thing that somebody does; what can't be done as it says is done as far as it can.
#[derive(Debug, Clone)]
pub enum Op {
    Insert {
        table: usize,
        key: u8,
        value: u8,
        big: u8,
    },
    /// `big` None: the long value stays.
    Update {
        table: usize,
        key: u8,
        value: u8,
        big: Option<u8>,
        hidden: bool,
    },
    Move {
        table: usize,
        key: u8,
        to: u8,
        value: u8,
        big: Option<u8>,
    },
    Delete {
        table: usize,
        key: u8,
    },
    DeleteAndInsert {
        table: usize,
        key: u8,
        value: u8,
        big: u8,
    },
    Truncate {
        tables: Vec<usize>,
    },
    RepeatRelation {
        table: usize,
    },
    Reform {
        table: usize,
        form: Form,
    },
    /// A table that the mirror doesn't know.
    Elsewhere,
    Logical,
}

/// The transaction ids start at one of these: in the first epoch and in later ones, and where their
/// low halves wrap around soon, and in the middle of a history.
pub const FIRST_XIDS: [u64; 6] =
    [700, (1 << 32) + 3, (3 << 32) + 700, (1 << 32) - 12, (4 << 32) - 12, (2 << 32) - 3];

/// The first id of a history that is of no epoch in particular.
pub const FIRST_XID: u64 = FIRST_XIDS[4];

/// A table that is published and not mirrored.
pub const UNKNOWN: u32 = 900;

/// One committed transaction.
#[derive(Debug)]
pub struct Transaction {
    pub xid: u64,
    /// From Begin to Commit.
    pub messages: Vec<Sent>,
    pub effects: Vec<Effect>,
    /// All rows after it.
    pub after: Vec<Rows>,
}

#[derive(Debug)]
pub struct History {
    /// What was there before the first transaction.
    pub before: Vec<Rows>,
    pub first_xid: u64,
    pub transactions: Vec<Transaction>,
    /// For each table that came to have a form that doesn't fit: its rows at that moment.
    pub frozen: Vec<Option<Rows>>,
}

impl Transaction {
    pub fn start(&self) -> u64 {
        match self.messages[0] {
            Sent::Begin { final_lsn, .. } => final_lsn,
            _ => unreachable!("a transaction starts with its begin"),
        }
    }

    pub fn end(&self) -> u64 {
        self.start() + 8
    }

    pub fn commit_time(&self) -> i64 {
        self.start() as i64
    }
}

/// `setup` is there from the start; `transactions` follow; `order` shuffles their transaction ids.
pub fn history(setup: &[Op], transactions: &[Vec<Op>], order: &[u8]) -> History {
    history_from(FIRST_XID, setup, transactions, order)
}

/// As [`history`], with ids from there on.
pub fn history_from(first_xid: u64, setup: &[Op], transactions: &[Vec<Op>], order: &[u8]) -> History {
    let mut early = Writer::new(Source::new());
    setup.iter().for_each(|op| early.op(op));
    let before = early.source.rows.clone();
    let mut writer = Writer::new(early.source);
    let xids = xids(first_xid, transactions.len(), order);
    let transactions = transactions
        .iter()
        .zip(xids)
        .enumerate()
        .map(|(index, (ops, xid))| {
            let commit_lsn = 1000 + 10 * index as u64;
            let commit_time = commit_lsn as i64;
            writer.messages.push(Sent::Begin { final_lsn: commit_lsn, commit_time, xid: xid as u32 });
            ops.iter().for_each(|op| writer.op(op));
            writer.messages.push(Sent::Commit { flags: 0, commit_lsn, end_lsn: commit_lsn + 8, commit_time });
            Transaction {
                xid,
                messages: std::mem::take(&mut writer.messages),
                effects: std::mem::take(&mut writer.effects),
                after: writer.source.rows.clone(),
            }
        })
        .collect();
    let frozen = writer.frozen;
    History { before, first_xid, transactions, frozen }
}

/// Ids are given when a transaction first writes, not when it commits.
fn xids(first: u64, count: usize, order: &[u8]) -> Vec<u64> {
    // The counter leaves the special ones out.
    let normal = (first..).filter(|xid| *xid as u32 >= 3);
    let mut xids: Vec<u64> = normal.take(count).collect();
    for index in 0..count {
        let by = order.get(index).map_or(0, |by| usize::from(*by) % 4);
        let other = (index + by).min(count - 1);
        xids.swap(index, other);
    }
    xids
}

struct Writer {
    source: Source,
    messages: Vec<Sent>,
    effects: Vec<Effect>,
    described: HashSet<u32>,
    frozen: Vec<Option<Rows>>,
}

impl Writer {
    fn new(source: Source) -> Writer {
        Writer {
            source,
            messages: Vec::new(),
            effects: Vec::new(),
            described: HashSet::new(),
            frozen: vec![None; KINDS.len()],
        }
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::Insert { table, key, value, big } => self.insert(*table, *key, *value, *big),
            Op::Update { table, key, value, big, hidden } => {
                self.update(*table, *key, None, *value, *big, *hidden)
            }
            Op::Move { table, key, to, value, big } => {
                self.update(*table, *key, Some(*to), *value, *big, false)
            }
            Op::Delete { table, key } => self.delete(*table, *key),
            Op::DeleteAndInsert { table, key, value, big } => {
                self.delete(*table, *key);
                self.insert(*table, *key, *value, *big);
            }
            Op::Truncate { tables } => self.truncate(tables),
            Op::RepeatRelation { table } => {
                self.described.remove(&KINDS[*table].oid());
                self.describe(*table);
            }
            Op::Reform { table, form } => self.reform(*table, *form),
            Op::Elsewhere => self.elsewhere(),
            Op::Logical => self.messages.push(Sent::Logical {
                transactional: true,
                lsn: 5,
                prefix: "p".into(),
                content: vec![1, 2, 3],
            }),
        }
    }

    fn insert(&mut self, table: usize, key: u8, value: u8, big: u8) {
        let kind = &KINDS[table];
        if !kind.key.is_empty() && self.source.find(table, key).is_some() {
            return self.update(table, key, None, value, Some(big), false);
        }
        let row = kind.row(key, value, big);
        self.describe(table);
        self.messages.push(self.source.insert(table, &row));
        self.done(Effect::Put { table, row });
    }

    fn update(&mut self, table: usize, key: u8, to: Option<u8>, value: u8, big: Option<u8>, hidden: bool) {
        let kind = &KINDS[table];
        let old = self.source.find(table, key).filter(|_| kind.identity != ReplicaIdentity::Nothing);
        let Some(old) = old else { return self.insert(table, key, value, big.unwrap_or(2)) };
        let mut new = kind.row(to.unwrap_or(key), value, big.unwrap_or(0));
        if big.is_none() {
            new[kind.place("big")] = old[kind.place("big")].clone();
        }
        let free = |row| !self.source.rows[table].contains_key(&kind.key_of(row));
        let stays = kind.key_of(&new) == kind.key_of(&old);
        if to.is_none() || !(stays || free(&new)) {
            for column in kind.key {
                new[kind.place(column)] = old[kind.place(column)].clone();
            }
        }
        self.describe(table);
        self.messages.push(self.source.update(table, &old, &new, hidden));
        self.done(Effect::Remove { table, row: old });
        self.done(Effect::Put { table, row: new });
    }

    fn delete(&mut self, table: usize, key: u8) {
        let old = self.source.find(table, key);
        let Some(old) = old.filter(|_| KINDS[table].identity != ReplicaIdentity::Nothing) else { return };
        self.describe(table);
        self.messages.push(self.source.delete(table, &old));
        self.done(Effect::Remove { table, row: old });
    }

    fn truncate(&mut self, tables: &[usize]) {
        tables.iter().for_each(|table| self.describe(*table));
        let relations = tables.iter().map(|table| KINDS[*table].oid()).collect();
        self.messages.push(Sent::Truncate { relations, cascade: false, restart_identity: false });
        tables.iter().for_each(|table| self.done(Effect::Clear { table: *table }));
    }

    fn done(&mut self, effect: Effect) {
        self.source.effect(&effect);
        self.effects.push(effect);
    }

    fn reform(&mut self, table: usize, form: Form) {
        let now = self.source.forms[table];
        if now == form {
            return;
        }
        self.source.forms[table] = form;
        self.described.remove(&KINDS[table].oid());
        // It fails with the first event; one that fits again doesn't mend it.
        if form == Form::Misfit && self.frozen[table].is_none() {
            self.frozen[table] = Some(self.source.rows[table].clone());
        }
    }

    /// Before a table's first event, and whenever it may have changed.
    fn describe(&mut self, table: usize) {
        let kind = &KINDS[table];
        if self.described.insert(kind.oid()) {
            self.messages.push(Sent::Relation(kind.relation(self.source.forms[table])));
        }
    }

    fn elsewhere(&mut self) {
        if self.described.insert(UNKNOWN) {
            let relation = KINDS[0].relation(Form::Plain);
            self.messages.push(Sent::Relation(Relation { id: UNKNOWN, name: "unknown".into(), ..relation }));
        }
        self.messages.push(Sent::Insert { relation: UNKNOWN, new: vec![Cell::Null; 3] });
    }
}
