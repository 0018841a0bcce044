//! Snapshots as a source could have handed them out while a history ran.

use std::collections::HashSet;

use odoo_mirror::mirror::snapshot::Snapshot;

use super::history::{History, Transaction};
use super::source::{Effect, Rows, Source};
use super::tables::{KINDS, Key};

/// Which transactions of a history a snapshot sees.
pub type Visible = Vec<bool>;

/// What a transaction locked until its commit was visible.
#[derive(Default)]
struct Touched {
    keys: HashSet<(usize, Key)>,
    tables: HashSet<usize>,
    truncated: HashSet<usize>,
}

impl Touched {
    fn note(&mut self, transaction: &Transaction) {
        for effect in &transaction.effects {
            match effect {
                Effect::Put { table, row } | Effect::Remove { table, row } => {
                    self.keys.insert((*table, KINDS[*table].key_of(row)));
                    self.tables.insert(*table);
                }
                Effect::Clear { table } => {
                    self.truncated.insert(*table);
                    self.tables.insert(*table);
                }
            }
        }
    }

    fn conflicts(&self, transaction: &Transaction) -> bool {
        transaction.effects.iter().any(|effect| match effect {
            Effect::Put { table, row } | Effect::Remove { table, row } => {
                self.truncated.contains(table) || self.keys.contains(&(*table, KINDS[*table].key_of(row)))
            }
            Effect::Clear { table } => self.tables.contains(table),
        })
    }
}

/// The first `passed` transactions, and of the others those that `wished` names, but for each that
/// had to wait for one that isn't visible.
pub fn visible(history: &History, passed: usize, wished: &[bool]) -> Visible {
    let mut hidden = Touched::default();
    let transactions = history.transactions.iter().enumerate();
    transactions
        .map(|(index, transaction)| {
            let wished = wished.get(index).copied().unwrap_or(false);
            let sees = index < passed || (wished && !hidden.conflicts(transaction));
            if !sees {
                hidden.note(transaction);
            }
            sees
        })
        .collect()
}

pub fn snapshot(history: &History, visible: &Visible) -> Snapshot {
    let ids = |seen: bool| {
        let both = history.transactions.iter().zip(visible);
        both.filter(move |(_, sees)| **sees == seen).map(|(transaction, _)| transaction.xid)
    };
    let xmax = ids(true).max().map_or(history.first_xid, |last| last + 1);
    let mut running: Vec<u64> = ids(false).filter(|xid| *xid < xmax).collect();
    running.sort_unstable();
    let xmin = running.first().copied().unwrap_or(xmax);
    let list: Vec<String> = running.iter().map(u64::to_string).collect();
    format!("{xmin}:{xmax}:{}", list.join(",")).parse().unwrap()
}

/// The rows of one table that a snapshot shows.
pub fn rows(history: &History, visible: &Visible, table: usize) -> Rows {
    let mut source = Source::new();
    source.rows[table] = history.before[table].clone();
    let seen = history.transactions.iter().zip(visible).filter(|(_, sees)| **sees);
    let effects = seen.flat_map(|(transaction, _)| &transaction.effects);
    effects.filter(|effect| effect.table() == table).for_each(|effect| source.effect(effect));
    source.rows.swap_remove(table)
}
