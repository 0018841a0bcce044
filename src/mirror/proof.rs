//! How a table is cut for comparing, and the queries that both sides answer: the same text of the same columns under the same
//! settings, hashed row by row, so that equal answers mean equal rows.
//!
//! Text only; who asks, and under which snapshot, is not decided here.

use super::fence::RowKey;
use super::quote::{quote_identifier, quote_literal};
use super::shape::{MirrorShape, RowIdentity};
use super::source_table::SourceTable;

/// How a table's rows are cut into pieces that are compared one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tiling {
    /// By ranges of an integer column, the key's first.
    Ranges { column: String },
    /// By a hash of the key: this many buckets, a power of two. Not by ranges: text sorts one way here and another there.
    Buckets { columns: Vec<String>, count: i64 },
    /// In one piece: rows can't be told apart, or there are few.
    Whole,
}

/// One piece of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Range { lo: Option<i64>, hi: Option<i64> },
    Bucket(i64),
    Keys(Vec<RowKey>),
    Whole,
}

const INTEGERS: [u32; 3] = [20, 21, 23];

/// Of a table that is cut by hash, each piece reads all of it: this many rows are worth another reading.
const BUCKET_ROWS: i64 = 50_000;

impl Tiling {
    pub fn of(source: &SourceTable, shape: &MirrorShape) -> Tiling {
        if shape.identity != RowIdentity::Key {
            return Tiling::Whole;
        }
        let first = shape.key.first().and_then(|key| source.column(key));
        match first {
            Some(column) if INTEGERS.contains(&column.data_type.oid) => {
                Tiling::Ranges { column: column.name.clone() }
            }
            _ if source.estimated_rows <= BUCKET_ROWS => Tiling::Whole,
            _ => Tiling::Buckets {
                columns: shape.key.clone(),
                count: (source.estimated_rows / BUCKET_ROWS + 1)
                    .cast_unsigned()
                    .next_power_of_two()
                    .cast_signed(),
            },
        }
    }

    /// A condition that is true for the piece's rows, on this side.
    pub fn condition(&self, piece: &Piece, side: &Side) -> String {
        match (piece, self) {
            (Piece::Range { lo, hi }, Tiling::Ranges { column }) => {
                super::ranges::KeyRange { lo: *lo, hi: *hi }.sql_condition(column)
            }
            (Piece::Bucket(bucket), Tiling::Buckets { columns, count }) => {
                let hash = row_hash(&side.text_of(&list(columns.iter())), 0);
                format!("({hash} & {}) = {bucket}", count - 1)
            }
            (Piece::Keys(keys), _) => keys_condition(keys, &side.key),
            _ => "true".to_owned(),
        }
    }
}

fn keys_condition(keys: &[RowKey], columns: &[String]) -> String {
    let tuples: Vec<String> = keys
        .iter()
        .map(|key| {
            format!("({})", key.iter().map(|value| quote_literal(value)).collect::<Vec<_>>().join(", "))
        })
        .collect();
    match tuples.as_slice() {
        [] => "false".to_owned(),
        tuples => format!("({}) IN ({})", list(columns.iter()), tuples.join(", ")),
    }
}

fn list<'a>(columns: impl Iterator<Item = &'a String>) -> String {
    columns.map(|column| quote_identifier(column)).collect::<Vec<_>>().join(", ")
}

/// One side of the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// As FROM names the table.
    pub from: String,
    /// The mirrored columns, quoted, in one order on both sides. Their text is what their types' output
    /// functions write, as in the stream; never a cast, which may be of the type's own.
    pub columns: Vec<String>,
    /// The key's columns by name, in key order.
    pub key: Vec<String>,
    /// What the publication filters by, on the source.
    pub filter: Option<String>,
    /// The database's encoding is not the mirror's.
    pub recodes: bool,
}

/// The hash of what [`Side::text_of`] gives. In an array text and bytes hash alike, if the bytes are.
fn row_hash(text: &str, seed: i64) -> String {
    format!("pg_catalog.hash_array_extended({text}, {seed})")
}

impl Side {
    fn filtered(&self, condition: &str) -> String {
        match &self.filter {
            Some(filter) => format!("({condition}) AND ({filter})"),
            None => condition.to_owned(),
        }
    }

    /// Rows, and two sums of their hashes: 128 bits that no order changes.
    pub fn hash_query(&self, condition: &str) -> String {
        format!(
            "SELECT pg_catalog.count(*), coalesce(pg_catalog.sum({}), 0), coalesce(pg_catalog.sum({}), 0) \
             FROM ({}) r",
            row_hash("r.t", 1),
            row_hash("r.t", 2),
            self.texts(condition, false)
        )
    }

    /// Each row's hashes, and its key.
    pub fn rows_query(&self, condition: &str) -> String {
        let keys: String = (0..self.key.len()).map(|place| format!(", r.k{place}")).collect();
        format!(
            "SELECT {}, {}{keys} FROM ({}) r",
            row_hash("r.t", 1),
            row_hash("r.t", 2),
            self.texts(condition, true)
        )
    }

    /// The rows themselves.
    pub fn fetch_query(&self, condition: &str) -> String {
        format!("SELECT {} FROM {} WHERE {}", self.columns.join(", "), self.from, self.filtered(condition))
    }

    /// The first key that no longer belongs to a piece of `rows` rows that begins at `lo`.
    pub fn cut_query(&self, column: &str, lo: Option<i64>, rows: i64) -> String {
        let column = quote_identifier(column);
        let from_here =
            lo.map(|lo| format!("{column} >= '{lo}'::bigint")).unwrap_or_else(|| "true".to_owned());
        format!(
            "SELECT {column} FROM {} WHERE {} ORDER BY {column} OFFSET {rows} LIMIT 1",
            self.from,
            self.filtered(&from_here)
        )
    }

    /// The text of some columns of a row, in UTF-8 on both sides, in an array of its own.
    fn text_of(&self, columns: &str) -> String {
        match self.recodes {
            false => format!("ARRAY[ROW({columns})::text COLLATE \"C\"]"),
            true => format!("ARRAY[pg_catalog.convert_to(ROW({columns})::text, 'UTF8')]"),
        }
    }

    /// OFFSET keeps the planner from writing each row's text twice.
    fn texts(&self, condition: &str, keys: bool) -> String {
        let keys: String = if keys {
            let named = self.key.iter().enumerate();
            named.map(|(place, key)| format!(", {} AS k{place}", quote_identifier(key))).collect()
        } else {
            String::new()
        };
        format!(
            "SELECT {} AS t{keys} FROM {} WHERE {} OFFSET 0",
            self.text_of(&self.columns.join(", ")),
            self.from,
            self.filtered(condition)
        )
    }
}

/// The queries of both sides for one table.
pub fn sides(source: &SourceTable, shape: &MirrorShape) -> (Side, Side) {
    let only = if source.kind == 'p' { "" } else { "ONLY " };
    let columns: Vec<String> = shape.columns.iter().map(|column| quote_identifier(&column.name)).collect();
    let there = Side {
        from: format!("{only}{}.{}", quote_identifier(&source.schema), quote_identifier(&source.name)),
        columns: columns.clone(),
        key: shape.key.clone(),
        filter: source.row_filter.clone(),
        // Known to the session that asks.
        recodes: false,
    };
    let here = Side {
        from: format!("odoo_mirror.{}", quote_identifier(&shape.name)),
        columns,
        key: shape.key.clone(),
        filter: None,
        recodes: false,
    };
    (there, here)
}
