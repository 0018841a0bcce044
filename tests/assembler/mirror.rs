//! The mirror as it would be: batches applied by what each step and action is documented to mean.

use std::collections::BTreeSet;

use odoo_mirror::mirror::batch::{Action, Arena, Batch, Change, Span, Step, TableBatch, Truncated};
use odoo_mirror::mirror::stream_table::Standing;
use odoo_mirror::wire::Tuple;

use super::sent::{Cell, Row, row};
use super::source::{Rows, put, remove};
use super::tables::{KINDS, Key, Kind, in_range};

#[derive(Clone)]
pub struct Mirror {
    pub rows: Vec<Rows>,
    /// Tables with a range that must be copied again: what is missing there is missing for a
    /// reason.
    pub incomplete: Vec<bool>,
}

/// What a batch asked for besides its rows.
#[derive(Debug, Default)]
pub struct Asked {
    pub copy_again: Vec<(usize, usize)>,
    pub misfits: Vec<(usize, String)>,
}

impl Mirror {
    pub fn new(rows: Vec<Rows>) -> Mirror {
        Mirror { incomplete: vec![false; rows.len()], rows }
    }

    pub fn apply(&mut self, batch: &Batch) -> Asked {
        let mut asked = Asked::default();
        for part in &batch.tables {
            let table = KINDS.iter().position(|kind| kind.oid() == part.table.source_oid).unwrap();
            for step in &part.steps {
                match step {
                    Step::Misfit(reason) => asked.misfits.push((table, reason.clone())),
                    Step::CopyAgain { range } => {
                        self.incomplete[table] = true;
                        asked.copy_again.push((table, *range));
                    }
                    _ => {}
                }
            }
            // Within a batch later events may lean on a row that is to be copied again.
            let strict = part.table.standing == Standing::Ready || !self.incomplete[table];
            let ready = part.table.standing == Standing::Ready;
            let rows = &mut self.rows[table];
            let mut work = Work { kind: &KINDS[table], part, arena: &batch.arena, rows, strict, ready };
            part.steps.iter().for_each(|step| work.step(step));
        }
        asked
    }
}

struct Work<'a> {
    kind: &'static Kind,
    part: &'a TableBatch,
    arena: &'a Arena,
    rows: &'a mut Rows,
    strict: bool,
    ready: bool,
}

impl Work<'_> {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Folded(changes) => self.folded(changes),
            Step::Rekey { old, row, .. } => {
                let old_key = self.key(*old);
                let old = self.rows.remove(&old_key).map(|mut rows| rows.remove(0));
                assert!(old.is_some() || !self.strict, "{}: no row {old_key:?} to move", self.kind.name);
                let Some(old) = old else { return };
                let new = self.complete(self.row(*row), &old);
                self.insert(new);
            }
            Step::Whole { old, new } => {
                let old = self.row(*old);
                let found = remove(self.rows, self.kind, &old);
                assert!(found || !self.strict, "{}: no row equal to {old:?}", self.kind.name);
                if let (true, Some(new)) = (found, new) {
                    let new = self.row(*new);
                    self.insert(new);
                }
            }
            Step::Truncate(Truncated::All) => self.rows.clear(),
            Step::Truncate(Truncated::Ranges(blind)) => {
                let Standing::Judged(ranges) = &self.part.table.standing else {
                    panic!("only a judged table is truncated in part");
                };
                let cleared: Vec<_> = blind.iter().map(|index| ranges[*index].range).collect();
                self.rows.retain(|key, _| !cleared.iter().any(|range| in_range(self.kind, key, *range)));
            }
            Step::Misfit(_) | Step::CopyAgain { .. } => {}
        }
    }

    /// Deletes first, then inserts, replacements, updates; no key twice.
    fn folded(&mut self, changes: &[Change]) {
        if !self.kind.key.is_empty() {
            let keys: BTreeSet<Key> = changes.iter().map(|change| self.key(change.key)).collect();
            assert_eq!(keys.len(), changes.len(), "{}: a key twice in one step", self.kind.name);
        }
        let with = |wanted: fn(&Action) -> bool| changes.iter().filter(move |change| wanted(&change.action));
        for change in with(|action| *action == Action::Delete) {
            let key = self.key(change.key);
            let found = self.rows.remove(&key).is_some();
            assert!(found || !self.ready, "{}: no row {key:?} to delete", self.kind.name);
        }
        for change in with(|action| *action == Action::Insert) {
            let row = self.changed(change);
            self.insert(row);
        }
        for change in with(|action| *action == Action::Replace) {
            let row = self.changed(change);
            assert!(!row.contains(&Cell::Unchanged), "{}: a replacement is whole", self.kind.name);
            put(self.rows, self.kind, row);
        }
        for change in with(|action| *action == Action::Update { partial: false }) {
            let row = self.changed(change);
            assert!(!row.contains(&Cell::Unchanged), "{}: a full update is whole", self.kind.name);
            self.expect(change);
            put(self.rows, self.kind, row);
        }
        for change in with(|action| *action == Action::Update { partial: true }) {
            let row = self.changed(change);
            self.expect(change);
            if let Some(old) = self.rows.get(&self.key(change.key)).map(|rows| rows[0].clone()) {
                let row = self.complete(row, &old);
                put(self.rows, self.kind, row);
            }
        }
    }

    /// What plain INSERT does: a key that is there is an error.
    fn insert(&mut self, row: Row) {
        assert!(!row.contains(&Cell::Unchanged), "{}: an inserted row is whole", self.kind.name);
        let key = self.kind.key_of(&row);
        let there = !self.kind.key.is_empty() && self.rows.contains_key(&key);
        assert!(!there, "{}: a row {key:?} is there already", self.kind.name);
        put(self.rows, self.kind, row);
    }

    fn expect(&self, change: &Change) {
        let key = self.key(change.key);
        assert!(self.rows.contains_key(&key) || !self.strict, "{}: no row {key:?} to update", self.kind.name);
    }

    /// A change's row, whose key must be the change's.
    fn changed(&self, change: &Change) -> Row {
        let row = self.row(change.row);
        if !self.kind.key.is_empty() {
            assert_eq!(self.kind.key_of(&row), self.key(change.key), "{}", self.kind.name);
        }
        row
    }

    fn complete(&self, row: Row, old: &Row) -> Row {
        let cells = row.into_iter().zip(old);
        cells.map(|(new, old)| if new == Cell::Unchanged { old.clone() } else { new }).collect()
    }

    /// The mirrored columns of a streamed row, in the mirror's order.
    fn row(&self, span: Span) -> Row {
        self.by_layout(row(&self.arena.tuple(span)))
    }

    fn by_layout(&self, streamed: Row) -> Row {
        let columns = &self.part.layout.columns;
        assert_eq!(streamed.len(), columns.len(), "{}", self.kind.name);
        let place = |name: &&str| columns.iter().position(|column| column.as_deref() == Some(*name)).unwrap();
        self.kind.columns.iter().map(|name| streamed[place(name)].clone()).collect()
    }

    fn key(&self, span: Span) -> Key {
        let key: Tuple<'_> = self.arena.tuple(span);
        let mut whole = vec![Cell::Null; self.kind.columns.len()];
        for (column, cell) in self.kind.key.iter().zip(row(&key)) {
            whole[self.kind.place(column)] = cell;
        }
        if self.kind.key.is_empty() { Vec::new() } else { self.kind.key_of(&whole) }
    }
}
