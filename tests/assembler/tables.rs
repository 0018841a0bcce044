//! The tables that the histories write to: one for each way in which rows are told apart.

use std::sync::Arc;

use odoo_mirror::mirror::ranges::KeyRange;
use odoo_mirror::mirror::replica_identity::Identity;
use odoo_mirror::mirror::stream_table::{JudgedRange, Standing, StreamColumn, StreamTable};
use odoo_mirror::wire::{Relation, RelationColumn, ReplicaIdentity};

use super::sent::{Cell, Row};

pub struct Kind {
    pub name: &'static str,
    pub columns: &'static [&'static str],
    pub key: &'static [&'static str],
    pub folds: bool,
    pub identity: ReplicaIdentity,
}

use ReplicaIdentity::{Default, Full, Nothing};

/// Keys in another order than the columns, keys of either format, keys whose bytes say nothing, no
/// keys.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "binary_id",
        columns: &["id", "value", "big"],
        key: &["id"],
        folds: true,
        identity: Default,
    },
    Kind { name: "text_id", columns: &["value", "id", "big"], key: &["id"], folds: true, identity: Full },
    Kind {
        name: "pair",
        columns: &["b", "value", "a", "big"],
        key: &["a", "b"],
        folds: true,
        identity: Default,
    },
    Kind { name: "code", columns: &["code", "big", "value"], key: &["code"], folds: true, identity: Default },
    Kind { name: "whole", columns: &["value", "big", "code"], key: &["code"], folds: true, identity: Full },
    Kind {
        name: "number",
        columns: &["number", "value", "big"],
        key: &["number"],
        folds: false,
        identity: Default,
    },
    Kind { name: "rows", columns: &["value", "big"], key: &[], folds: false, identity: Full },
    Kind { name: "log", columns: &["value", "big"], key: &[], folds: false, identity: Nothing },
];

/// A column of every source table that the mirror leaves out.
pub const LEFT_OUT: &str = "secret";

/// Of every table there are this many keys.
pub const KEYS: u8 = 9;

/// Longer values lie out of line: an update that doesn't touch one doesn't send it.
const IN_LINE: usize = 20;

pub fn out_of_line(cell: &Cell) -> bool {
    matches!(cell, Cell::Text(text) if text.len() > IN_LINE)
}

fn text(text: String) -> Cell {
    Cell::Text(text.into_bytes())
}

fn sometimes_long(text_: String, long: bool) -> Cell {
    text(if long { format!("{text_}{}", "-".repeat(IN_LINE)) } else { text_ })
}

/// The integer behind key `key`: from -40 in tens, so that cuts fall before, between and after.
pub fn integer(key: u8) -> i64 {
    i64::from(key) * 10 - 40
}

impl Kind {
    pub fn oid(&self) -> u32 {
        let place = KINDS.iter().position(|kind| kind.name == self.name).unwrap();
        16384 + place as u32
    }

    pub fn place(&self, column: &str) -> usize {
        self.columns.iter().position(|name| *name == column).unwrap()
    }

    pub fn has_integer_key(&self) -> bool {
        self.key == ["id"]
    }

    /// A new row; `big` even: its long value is out of line.
    pub fn row(&self, key: u8, value: u8, big: u8) -> Row {
        let cell = |column: &&str| match *column {
            "value" if value.is_multiple_of(7) => Cell::Null,
            "value" => text(value.to_string()),
            "big" => sometimes_long(big.to_string(), big.is_multiple_of(2)),
            "a" => sometimes_long(format!("a{}", key / 3), key / 3 == 1),
            "b" => text((key % 3).to_string()),
            "code" => sometimes_long(format!("c{key}"), key.is_multiple_of(2)),
            // 1 and 1.0 are one key and two texts.
            "number" => text(format!("{}{}", key / 2, if key.is_multiple_of(2) { "" } else { ".0" })),
            "id" if self.name == "binary_id" => Cell::Binary((integer(key) as i32).to_be_bytes().to_vec()),
            "id" => text(integer(key).to_string()),
            other => unreachable!("{other}"),
        };
        self.columns.iter().map(cell).collect()
    }

    /// What makes two keys equal; of a row without a key, all of it.
    pub fn key_of(&self, row: &Row) -> Key {
        if self.key.is_empty() {
            return row.iter().map(|cell| format!("{cell:?}")).collect();
        }
        let part = |column: &&str| match &row[self.place(column)] {
            Cell::Text(bytes) if self.name == "number" => {
                let number = String::from_utf8(bytes.clone()).unwrap();
                number.trim_end_matches(".0").to_owned()
            }
            Cell::Text(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            Cell::Binary(bytes) => i32::from_be_bytes(bytes.as_slice().try_into().unwrap()).to_string(),
            cell => panic!("{} has the key {cell:?}", self.name),
        };
        self.key.iter().map(part).collect()
    }

    pub fn relation(&self, form: Form) -> Relation {
        let all = self.identity == Full;
        let column = |name: &str| RelationColumn {
            key: all || (self.identity == Default && self.key.contains(&name)),
            name: name.to_owned(),
            type_id: 25,
            type_modifier: -1,
        };
        Relation {
            id: self.oid(),
            schema: "public".into(),
            name: self.name.into(),
            replica_identity: self.identity,
            columns: form.streamed(self).into_iter().map(column).collect(),
        }
    }

    pub fn stream_table(&self, standing: Standing) -> Arc<StreamTable> {
        let column = |name: &&str| StreamColumn {
            name: (*name).into(),
            type_oid: 25,
            type_modifier: -1,
            mirror_type: String::new(),
        };
        Arc::new(StreamTable {
            source_oid: self.oid(),
            name: self.name.into(),
            columns: self.columns.iter().map(column).collect(),
            left_out: vec![LEFT_OUT.into()],
            key: self.key.iter().map(|name| (*name).to_owned()).collect(),
            key_folds: self.folds,
            standing,
            recorded: false,
            told: false,
            seen: None,
            identity: match self.identity {
                Full => Identity::Full,
                Nothing => Identity::Columns(Vec::new()),
                _ => Identity::Columns(self.key.iter().map(|name| (*name).to_owned()).collect()),
            },
            generation: 1,
        })
    }
}

/// How key values compare, as text.
pub type Key = Vec<String>;

/// What the source streams of a table besides the mirrored columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    LeftOutFirst,
    LeftOutLast,
    Plain,
    /// With a column that the mirror doesn't have.
    Misfit,
}

impl Form {
    pub fn streamed(self, kind: &Kind) -> Vec<&'static str> {
        let mut columns = kind.columns.to_vec();
        match self {
            Form::LeftOutFirst => columns.insert(0, LEFT_OUT),
            Form::LeftOutLast => columns.push(LEFT_OUT),
            Form::Plain => {}
            Form::Misfit => columns.push("added"),
        }
        columns
    }

    /// A row of mirrored columns as the source streams it; `left_out` is the rest of it.
    pub fn encode(self, kind: &Kind, row: &Row, left_out: Cell) -> Row {
        let cell = |name: &str| match kind.columns.iter().position(|column| *column == name) {
            Some(place) => row[place].clone(),
            None => left_out.clone(),
        };
        self.streamed(kind).into_iter().map(cell).collect()
    }
}

pub fn judged(ranges: Vec<JudgedRange>) -> Standing {
    Standing::Judged(ranges)
}

/// Whether the key lies in the range, of which tables without an integer key have only one.
pub fn in_range(kind: &Kind, key: &Key, range: KeyRange) -> bool {
    !kind.has_integer_key() || range.contains(key[0].parse().unwrap())
}
