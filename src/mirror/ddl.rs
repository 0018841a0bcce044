//! The statements that make a mirror table, or turn the one that is here into the one that must be.
//!
//! Only tables and their keys: indexes, policies and grants belong to others.

use super::quote::{quote_identifier, quote_list, quote_qualified};
use super::shape::{MirrorColumn, MirrorShape};

/// A mirror table as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableHere {
    pub columns: Vec<ColumnHere>,
    pub key: Option<KeyHere>,
}

/// A column that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnHere {
    pub name: String,
    /// `format_type(atttypid, atttypmod)` under an empty search_path.
    pub sql_type: String,
    pub not_null: bool,
}

/// The primary key that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHere {
    pub constraint: String,
    /// In key order.
    pub columns: Vec<String>,
}

/// The statements that make the table.
pub fn create_statements(shape: &MirrorShape) -> Vec<String> {
    let mut parts: Vec<String> = shape.columns.iter().map(definition).collect();
    if !shape.key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", key_list(shape)));
    }
    // An updated row finds room on its own page, so that the update stays HOT.
    vec![format!("CREATE TABLE {} (\n    {}\n) WITH (fillfactor = 90)", table(shape), parts.join(",\n    "))]
}

/// The statements that turn `current` into `wanted`; none when it is that already.
///
/// They are for a table that is copied anew afterwards. Columns keep their values where no cast can
/// fail, else they are dropped and added empty; a table that gets another key is emptied first,
/// since nothing says that its rows are unique by it. A renamed column counts as dropped and added.
pub fn difference(current: &TableHere, wanted: &MirrorShape) -> Vec<String> {
    let key_here = current.key.as_ref();
    let rekeyed = key_here.map_or(&[][..], |key| &key.columns) != wanted.key
        || wanted
            .columns
            .iter()
            .filter(|column| column.in_key)
            .any(|column| find(current, column) != Some(Fit::Same));
    let mut actions = Vec::new();
    if let Some(key) = key_here.filter(|_| rekeyed) {
        actions.push(format!("DROP CONSTRAINT {}", quote_identifier(&key.constraint)));
    }
    for column in &current.columns {
        if !wanted.columns.iter().any(|wanted| wanted.name == column.name) {
            actions.push(format!("DROP COLUMN {}", quote_identifier(&column.name)));
        }
    }
    for column in &wanted.columns {
        alter_column(current, column, &mut actions);
    }
    if rekeyed && !wanted.key.is_empty() {
        actions.push(format!("ADD PRIMARY KEY ({})", key_list(wanted)));
    }
    let empty = rekeyed.then(|| format!("DELETE FROM {}", table(wanted)));
    let alter = actions.into_iter().map(|action| format!("ALTER TABLE {} {action}", table(wanted)));
    empty.into_iter().chain(alter).collect()
}

fn alter_column(current: &TableHere, wanted: &MirrorColumn, actions: &mut Vec<String>) {
    let name = quote_identifier(&wanted.name);
    match find(current, wanted) {
        None => actions.push(format!("ADD COLUMN {}", definition(wanted))),
        Some(Fit::Same) => {}
        Some(Fit::Widened) => {
            let sql_type = &wanted.sql_type;
            actions.push(format!("ALTER COLUMN {name} TYPE {sql_type} USING {name}::text::{sql_type}"));
        }
        Some(Fit::Other) => {
            actions.push(format!("DROP COLUMN {name}"));
            actions.push(format!("ADD COLUMN {}", definition(wanted)));
            return;
        }
    }
    let here = current.columns.iter().find(|column| column.name == wanted.name);
    if here.is_some_and(|column| column.not_null) && !wanted.in_key {
        actions.push(format!("ALTER COLUMN {name} DROP NOT NULL"));
    }
}

/// How the column that is here fits the one that is wanted.
#[derive(PartialEq, Eq)]
enum Fit {
    Same,
    /// Every value of the one, as text, is a value of the other.
    Widened,
    Other,
}

fn find(current: &TableHere, wanted: &MirrorColumn) -> Option<Fit> {
    let here = current.columns.iter().find(|column| column.name == wanted.name)?;
    Some(if here.sql_type == wanted.sql_type {
        Fit::Same
    } else if widens(&here.sql_type, &wanted.sql_type) {
        Fit::Widened
    } else {
        Fit::Other
    })
}

fn widens(from: &str, to: &str) -> bool {
    match to {
        "text" | "character varying" => true,
        "integer" => from == "smallint",
        "bigint" => ["smallint", "integer"].contains(&from),
        "numeric" => ["smallint", "integer", "bigint"].contains(&from) || from.starts_with("numeric("),
        _ => false,
    }
}

fn definition(column: &MirrorColumn) -> String {
    let not_null = if column.in_key { " NOT NULL" } else { "" };
    format!("{} {}{not_null}", quote_identifier(&column.name), column.sql_type)
}

fn key_list(shape: &MirrorShape) -> String {
    quote_list(shape.key.iter().map(String::as_str))
}

fn table(shape: &MirrorShape) -> String {
    quote_qualified(&shape.schema, &shape.name)
}
