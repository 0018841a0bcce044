//! How a table is cut for comparing, and the queries that both sides answer: the same text of the
//! same columns under the same settings, hashed row by row, so that equal answers mean equal rows.
//!
//! Text only; who asks, and under which snapshot, is not decided here.

use super::fence::RowKey;
use super::key_order::{OrderColumn, bound, size_of};
use super::quote::quote_identifier;
use super::shape::{MirrorShape, RowIdentity};
use super::source_table::SourceTable;

/// How a table's rows are cut into pieces that are compared one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tiling {
    /// By ranges of the key, in an order that both sides share.
    Ranges { order: Vec<OrderColumn> },
    /// In one piece: rows can't be told apart.
    Whole,
}

/// One piece of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The keys from `lo` (inclusive) to `hi` (exclusive), in the tiling's order; None is
    /// unbounded.
    Range {
        lo: Option<RowKey>,
        hi: Option<RowKey>,
    },
    Keys(Vec<RowKey>),
    Whole,
}

/// Most that a piece may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub rows: i64,
    pub bytes: i64,
}

impl Tiling {
    pub fn of(source: &SourceTable, shape: &MirrorShape) -> Tiling {
        if shape.identity != RowIdentity::Key {
            return Tiling::Whole;
        }
        Tiling::Ranges { order: shape.key.iter().map(|key| OrderColumn::of(source, key)).collect() }
    }

    /// No index has this order: each piece reads all keys.
    pub fn scans(&self) -> bool {
        matches!(self, Tiling::Ranges { order } if order.first().is_some_and(|first| !first.has_index()))
    }

    /// The integers that bound the piece's first column, from the first up to the second.
    pub fn integers(&self, piece: &Piece) -> (Option<i64>, Option<i64>) {
        match (piece, self) {
            (Piece::Range { lo, hi }, Tiling::Ranges { order })
                if order.first().is_some_and(OrderColumn::is_integer) =>
            {
                let first = |key: &Option<RowKey>| key.as_ref()?.first()?.parse::<i64>().ok();
                // Of several columns, rows with the bound's first value may be inside.
                let hi = first(hi).map(|hi| hi.saturating_add(i64::from(order.len() > 1)));
                (first(lo), hi)
            }
            _ => (None, None),
        }
    }

    /// A condition that is true for the piece's rows, on this side.
    pub fn condition(&self, piece: &Piece, side: &Side) -> String {
        match (piece, self) {
            (Piece::Range { lo, hi }, Tiling::Ranges { order }) => side.between(order, lo, hi),
            (Piece::Keys(keys), _) => keys_condition(keys, &side.key),
            _ => "true".to_owned(),
        }
    }
}

fn keys_condition(keys: &[RowKey], columns: &[OrderColumn]) -> String {
    let sought = |key: &RowKey| {
        let values: Vec<String> =
            columns.iter().zip(key).map(|(column, value)| column.sought(value)).collect();
        format!("({})", values.join(", "))
    };
    let tuples: Vec<String> = keys.iter().map(sought).collect();
    match tuples.as_slice() {
        [] => "false".to_owned(),
        tuples => {
            let seekers: Vec<String> = columns.iter().map(OrderColumn::seeker).collect();
            format!("({}) IN ({})", seekers.join(", "), tuples.join(", "))
        }
    }
}

fn list(columns: &[OrderColumn]) -> String {
    columns.iter().map(|column| quote_identifier(column.name())).collect::<Vec<_>>().join(", ")
}

/// One side of the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// As FROM names the table.
    pub from: String,
    /// The mirrored columns, quoted, in one order on both sides. Their text is what their types'
    /// output functions write, as in the stream; never a cast, which may be of the type's own.
    pub columns: Vec<String>,
    /// The key's columns, in key order.
    pub key: Vec<OrderColumn>,
    /// What the publication filters by, on the source.
    pub filter: Option<String>,
    /// The database's encoding is not the mirror's.
    pub recodes: bool,
    /// About how many bytes a row's text has, as an expression that reads no value out of line.
    pub size: String,
}

/// The hash of what [`Side::text_of`] gives. In an array text and bytes hash alike, if the bytes
/// are.
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

    /// The first key that no longer belongs to a piece that begins at `lo` and stays within the
    /// limits; none, when all rows up to `hi` do. It reads a key and sizes of each row, and no
    /// value.
    pub fn cut_query(
        &self,
        order: &[OrderColumn],
        (lo, hi): (&Option<RowKey>, &Option<RowKey>),
        limits: Limits,
    ) -> String {
        let (mut shown, mut keys, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (place, column) in order.iter().enumerate() {
            shown.push(format!("{} AS v{place}", column.shown()));
            keys.push(format!("{} AS o{place}", column.expression(self.recodes)));
            names.push(format!("o{place}"));
        }
        let values: Vec<String> = (0..order.len()).map(|place| format!("c.v{place}")).collect();
        let names = names.join(", ");
        // Keys that this order holds for equal stay together.
        let beyond = match lo {
            Some(lo) => format!(" AND ({names}) > ({})", bound(order, lo, self.recodes)),
            None => String::new(),
        };
        format!(
            "SELECT {values} FROM (SELECT r.*, pg_catalog.row_number() OVER w AS n, \
             pg_catalog.sum(r.size) OVER w - r.size AS before \
             FROM (SELECT {shown}, {keys}, {size} AS size FROM {from} WHERE {condition} ORDER BY {places} LIMIT {most}) r \
             WINDOW w AS (ORDER BY {names} ROWS UNBOUNDED PRECEDING)) c \
             WHERE c.n > 1 AND (c.n > {rows} OR c.before >= {bytes}){beyond} ORDER BY c.n LIMIT 1",
            values = values.join(", "),
            shown = shown.join(", "),
            keys = keys.join(", "),
            size = self.size,
            from = self.from,
            condition = self.filtered(&self.between(order, lo, hi)),
            places = (1..=order.len())
                .map(|place| (place + order.len()).to_string())
                .collect::<Vec<_>>()
                .join(", "),
            most = limits.rows.max(1).saturating_add(1),
            rows = limits.rows.max(1),
            bytes = limits.bytes,
        )
    }

    /// The keys of some rows, each with the row's size.
    pub fn sizes_query(&self, keys: &[RowKey]) -> String {
        format!(
            "SELECT {}, {} FROM {} WHERE {}",
            self.size,
            list(&self.key),
            self.from,
            self.filtered(&keys_condition(keys, &self.key))
        )
    }

    fn between(&self, order: &[OrderColumn], lo: &Option<RowKey>, hi: &Option<RowKey>) -> String {
        let columns: Vec<String> = order.iter().map(|column| column.expression(self.recodes)).collect();
        let columns = columns.join(", ");
        let one = |compares: &str, key: &RowKey| {
            format!("({columns}) {compares} ({})", bound(order, key, self.recodes))
        };
        let bounds: Vec<String> =
            lo.iter().map(|lo| one(">=", lo)).chain(hi.iter().map(|hi| one("<", hi))).collect();
        if bounds.is_empty() { "true".to_owned() } else { bounds.join(" AND ") }
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
            named.map(|(place, key)| format!(", {} AS k{place}", quote_identifier(key.name()))).collect()
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
    let key: Vec<OrderColumn> = shape.key.iter().map(|key| OrderColumn::of(source, key)).collect();
    let there = Side {
        from: format!("{only}{}.{}", quote_identifier(&source.schema), quote_identifier(&source.name)),
        columns: columns.clone(),
        key: key.clone(),
        filter: source.row_filter.clone(),
        // Known to the session that asks.
        recodes: false,
        size: size_of(source),
    };
    let here = Side {
        // One that somebody made inherit from it is no mirror.
        from: format!("ONLY odoo_mirror.{}", quote_identifier(&shape.name)),
        columns,
        key,
        filter: None,
        recodes: false,
        size: size_of(source),
    };
    (there, here)
}
