//! The source as it would be: rows, and what pgoutput says about each change to them.

use std::collections::BTreeMap;

use odoo_mirror::wire::ReplicaIdentity;

use super::sent::{Cell, OldRow, Row, Sent};
use super::tables::{Form, KINDS, Key, Kind, out_of_line};

/// One table's rows. Without a key several rows may be equal.
pub type Rows = BTreeMap<Key, Vec<Row>>;

/// What an event did to the rows.
#[derive(Debug, Clone)]
pub enum Effect {
    Put { table: usize, row: Row },
    Remove { table: usize, row: Row },
    Clear { table: usize },
}

impl Effect {
    pub fn table(&self) -> usize {
        match self {
            Effect::Put { table, .. } | Effect::Remove { table, .. } | Effect::Clear { table } => *table,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Source {
    pub rows: Vec<Rows>,
    pub forms: Vec<Form>,
}

impl Source {
    pub fn new() -> Source {
        Source { rows: vec![Rows::new(); KINDS.len()], forms: vec![Form::Plain; KINDS.len()] }
    }

    pub fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Put { table, row } => put(&mut self.rows[*table], &KINDS[*table], row.clone()),
            Effect::Remove { table, row } => {
                let found = remove(&mut self.rows[*table], &KINDS[*table], row);
                assert!(found, "the source removes only what it has");
            }
            Effect::Clear { table } => self.rows[*table].clear(),
        }
    }

    /// The row that an operation on `key` finds; of rows without a key, any.
    pub fn find(&self, table: usize, key: u8) -> Option<Row> {
        let kind = &KINDS[table];
        if !kind.key.is_empty() {
            return self.rows[table].get(&kind.key_of(&kind.row(key, 0, 0))).map(|rows| rows[0].clone());
        }
        let all: Vec<&Row> = self.rows[table].values().flatten().collect();
        all.get(usize::from(key) % all.len().max(1)).map(|row| (*row).clone())
    }

    pub fn insert(&self, table: usize, row: &Row) -> Sent {
        let kind = &KINDS[table];
        Sent::Insert { relation: kind.oid(), new: self.encode(table, row, Cell::Null) }
    }

    pub fn delete(&self, table: usize, old: &Row) -> Sent {
        let kind = &KINDS[table];
        let old = match kind.identity {
            ReplicaIdentity::Full => OldRow::Row(self.encode(table, old, Cell::Null)),
            _ => OldRow::Key(self.encode(table, &key_alone(kind, old), Cell::Null)),
        };
        Sent::Delete { relation: kind.oid(), old }
    }

    /// `hidden`: the column that is left out lies out of line, and so is not sent.
    pub fn update(&self, table: usize, old: &Row, new: &Row, hidden: bool) -> Sent {
        let kind = &KINDS[table];
        let sent: Row = old
            .iter()
            .zip(new)
            .map(|(old, new)| if old == new && out_of_line(new) { Cell::Unchanged } else { new.clone() })
            .collect();
        let in_key = |column: &&str| {
            let place = kind.place(column);
            old[place] != new[place] || out_of_line(&old[place])
        };
        let old = match kind.identity {
            ReplicaIdentity::Full => Some(OldRow::Row(self.encode(table, old, Cell::Null))),
            _ if kind.key.iter().any(in_key) => {
                Some(OldRow::Key(self.encode(table, &key_alone(kind, old), Cell::Null)))
            }
            _ => None,
        };
        let left_out = if hidden { Cell::Unchanged } else { Cell::Null };
        Sent::Update { relation: kind.oid(), old, new: self.encode(table, &sent, left_out) }
    }

    fn encode(&self, table: usize, row: &Row, left_out: Cell) -> Row {
        self.forms[table].encode(&KINDS[table], row, left_out)
    }
}

pub fn put(rows: &mut Rows, kind: &Kind, row: Row) {
    let rows = rows.entry(kind.key_of(&row)).or_default();
    if !kind.key.is_empty() {
        rows.clear();
    }
    rows.push(row);
}

pub fn remove(rows: &mut Rows, kind: &Kind, row: &Row) -> bool {
    let key = kind.key_of(row);
    let Some(equal) = rows.get_mut(&key) else { return false };
    equal.pop();
    if equal.is_empty() {
        rows.remove(&key);
    }
    true
}

fn key_alone(kind: &Kind, row: &Row) -> Row {
    let cell = |place: usize| {
        if kind.key.contains(&kind.columns[place]) { row[place].clone() } else { Cell::Null }
    };
    (0..row.len()).map(cell).collect()
}
