//! Equal means: the same rows, and each column's text the same.

use super::Cluster;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Columns that the mirror leaves at the source unless told otherwise (contract: secrets stay in
/// Odoo).
const SECRETS: [&str; 2] = ["access_token", "signup_token"];

/// How many differing rows a report names.
const REPORTED: usize = 5;

/// A table on one side.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    pub cluster: &'a Cluster,
    pub database: &'a str,
    pub schema: &'a str,
}

/// A row that isn't the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The source has it, the mirror doesn't.
    Missing { key: Vec<Option<String>> },
    /// The mirror has it, the source doesn't.
    Extra { key: Vec<Option<String>> },
    /// Both have it, with another value in one column.
    Value { key: Vec<Option<String>>, column: String, source: Option<String>, mirror: Option<String> },
}

/// What differs in `table` between two sides, in order of the key's bytes. Columns in `except`, and
/// secrets, may be absent from the mirror; any other column of the source must be there. Rows of a
/// table without a key are compared as a multiset.
#[track_caller]
pub fn differences(source: Side<'_>, mirror: Side<'_>, table: &str, except: &[&str]) -> Vec<Difference> {
    let there = columns(mirror, table);
    assert!(!there.is_empty(), "{}.{table} isn't in the mirror", mirror.schema);
    let mut columns = columns(source, table);
    columns.retain(|column| !except.contains(&column.as_str()));
    columns.retain(|column| there.contains(column) || !SECRETS.contains(&column.as_str()));
    let absent: Vec<&String> = columns.iter().filter(|column| !there.contains(column)).collect();
    assert!(absent.is_empty(), "{}.{table} lacks columns {absent:?}", mirror.schema);

    let mut key = key_columns(source, table);
    if key.is_empty() {
        key.clone_from(&columns);
    }
    let left = rows_by_key(source, table, &key, &columns);
    let right = rows_by_key(mirror, table, &key, &columns);

    let mut found = Vec::new();
    for (key, rows) in &left {
        match right.get(key) {
            None => found.extend(rows.iter().map(|_| Difference::Missing { key: key.clone() })),
            Some(others) => compare_rows(key, &columns, rows, others, &mut found),
        }
    }
    for (key, rows) in right.iter().filter(|(key, _)| !left.contains_key(*key)) {
        found.extend(rows.iter().map(|_| Difference::Extra { key: key.clone() }));
    }
    found
}

/// Differences for people: how many, and the first few.
pub fn report(table: &str, differences: &[Difference]) -> String {
    let mut text = format!("{table}: {} differences", differences.len());
    for difference in differences.iter().take(REPORTED) {
        let _ = match difference {
            Difference::Missing { key } => write!(text, "\n  {} is missing in the mirror", show_key(key)),
            Difference::Extra { key } => write!(text, "\n  {} is in the mirror alone", show_key(key)),
            Difference::Value { key, column, source, mirror } => {
                let (source, mirror) = (show(source.as_deref()), show(mirror.as_deref()));
                write!(text, "\n  {} {column}: source {source}, mirror {mirror}", show_key(key))
            }
        };
    }
    text
}

type Row = Vec<Option<String>>;

fn compare_rows(key: &Row, columns: &[String], left: &[Row], right: &[Row], found: &mut Vec<Difference>) {
    for (row, other) in left.iter().zip(right) {
        for (column, (source, mirror)) in
            columns.iter().zip(row.iter().zip(other)).filter(|(_, (a, b))| a != b)
        {
            found.push(Difference::Value {
                key: key.clone(),
                column: column.clone(),
                source: source.clone(),
                mirror: mirror.clone(),
            });
        }
    }
    // The same key more often on one side: possible only without a unique key.
    found.extend(left.iter().skip(right.len()).map(|_| Difference::Missing { key: key.clone() }));
    found.extend(right.iter().skip(left.len()).map(|_| Difference::Extra { key: key.clone() }));
}

/// Ordered here, by bytes: the two servers' collations may differ.
fn rows_by_key(side: Side<'_>, table: &str, key: &[String], columns: &[String]) -> BTreeMap<Row, Vec<Row>> {
    let list: Vec<String> =
        key.iter().chain(columns).map(|column| format!("{}::text", quote(column))).collect();
    let query = format!("SELECT {} FROM {}.{}", list.join(", "), quote(side.schema), quote(table));
    let mut rows: BTreeMap<Row, Vec<Row>> = BTreeMap::new();
    for mut row in side.cluster.rows(side.database, &query) {
        let values = row.split_off(key.len());
        rows.entry(row).or_default().push(values);
    }
    rows
}

/// Without generated ones: before PostgreSQL 18 they aren't streamed.
fn columns(side: Side<'_>, table: &str) -> Vec<String> {
    names(
        side,
        &format!(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass({}) AND attnum > 0
             AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
            regclass(side, table)
        ),
    )
}

/// The columns of the replica identity's index, or else of the primary key.
fn key_columns(side: Side<'_>, table: &str) -> Vec<String> {
    names(
        side,
        &format!(
            "SELECT a.attname FROM (SELECT * FROM pg_index WHERE indrelid = to_regclass({})
                 AND (indisreplident OR indisprimary) ORDER BY indisreplident DESC LIMIT 1) i,
                 unnest(i.indkey) WITH ORDINALITY k(attnum, position), pg_attribute a
             WHERE a.attrelid = i.indrelid AND a.attnum = k.attnum ORDER BY k.position",
            regclass(side, table)
        ),
    )
}

fn names(side: Side<'_>, query: &str) -> Vec<String> {
    side.cluster.rows(side.database, query).into_iter().flatten().flatten().collect()
}

fn regclass(side: Side<'_>, table: &str) -> String {
    format!("'{}'", format!("{}.{}", quote(side.schema), quote(table)).replace('\'', "''"))
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn show_key(key: &Row) -> String {
    let parts: Vec<String> = key.iter().map(|part| show(part.as_deref())).collect();
    format!("({})", parts.join(", "))
}

fn show(value: Option<&str>) -> String {
    match value {
        None => "NULL".into(),
        Some(text) if text.chars().count() > 80 => {
            format!("'{}…' ({} bytes)", text.chars().take(80).collect::<String>(), text.len())
        }
        Some(text) => format!("'{text}'"),
    }
}
