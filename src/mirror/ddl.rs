//! The statements that make a mirror table, or turn the one that is here into the one that must be.
//!
//! Only tables and their keys: indexes, policies and grants belong to others.

use super::drift::Change;
use super::quote::{quote_identifier, quote_list, quote_literal, quote_qualified};
use super::shape::{MIRROR_SCHEMA, MirrorColumn, MirrorShape};

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
    /// Somebody put something on it that would go with it: an index, a constraint, a privilege.
    pub adorned: bool,
}

/// The primary key that is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyHere {
    pub constraint: String,
    /// In key order.
    pub columns: Vec<String>,
    /// Somebody clustered the table by it.
    pub clusters: bool,
    /// Somebody made it the mirror table's replica identity.
    pub identifies: bool,
}

/// What the mirror itself made of a table that is here: whatever else it has is somebody's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Made {
    pub columns: Vec<String>,
    pub key: Vec<String>,
}

impl Made {
    pub fn of(shape: &MirrorShape) -> Made {
        let columns = shape.columns.iter().map(|column| column.name.clone()).collect();
        Made { columns, key: shape.key.clone() }
    }

    /// The same, after these renames.
    #[must_use]
    pub fn renamed(self, renames: &[Change]) -> Made {
        let now = |name: String| {
            let to = renames.iter().find_map(|change| match change {
                Change::Rename { from, to } if *from == name => Some(to.clone()),
                _ => None,
            });
            to.unwrap_or(name)
        };
        Made {
            columns: self.columns.into_iter().map(now).collect(),
            key: self.key.into_iter().map(now).collect(),
        }
    }
}

/// What turns a table that is here into the one that must be. Nothing of it is done where something
/// is [`taken`](Self::taken).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reshaping {
    /// What the mirror needs, and somebody's has.
    pub taken: Vec<Taken>,
    /// The mirror's columns that go, with whatever hangs on them.
    pub dropped: Vec<String>,
    /// The mirror's columns that get another type.
    pub retyped: Vec<String>,
    /// Which rows go, as a condition, with what somebody may have kept in them.
    pub emptied: Option<String>,
    pub statements: Vec<String>,
}

/// What the mirror needs of a table, and somebody's has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// A column of this name.
    Name(String),
    /// The place of the primary key, by this constraint.
    Key(String),
}

impl Reshaping {
    /// Whether the table is what it must be.
    pub fn is_none(&self) -> bool {
        self.taken.is_empty() && self.statements.is_empty()
    }
}

/// The statements that make the table.
pub fn create_statements(shape: &MirrorShape) -> Vec<String> {
    let mut parts: Vec<String> = shape.columns.iter().map(definition).collect();
    if !shape.key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", key_list(shape)));
    }
    // default_table_access_method may name a method that takes no updates. An updated row finds
    // room on its own page, so that the update stays HOT.
    let (table, parts) = (table(shape), parts.join(",\n    "));
    vec![format!("CREATE TABLE {table} (\n    {parts}\n) USING heap WITH (fillfactor = 90)")]
}

/// What turns `current`, of which the mirror made `made`, into `wanted`.
///
/// It is for a table whose rows are compared or copied anew afterwards. Columns keep their values
/// where no cast can fail, else they become empty: in place where somebody put something on them,
/// else dropped and added, which writes nothing. Of a table that gets another key the rows stay
/// that are unique by it; none where a column of it has no values here. A renamed column counts as
/// dropped and added. What somebody added stays.
pub fn difference(current: &TableHere, made: &Made, wanted: &MirrorShape) -> Reshaping {
    let mut reshaping = Reshaping::default();
    let here = |name: &String| current.columns.iter().any(|column| column.name == *name);
    for MirrorColumn { name, .. } in &wanted.columns {
        if here(name) && !made.columns.contains(name) {
            reshaping.taken.push(Taken::Name(name.clone()));
        }
    }
    let in_key = || wanted.columns.iter().filter(|column| column.in_key);
    let has_values = |column: &MirrorColumn| matches!(find(current, column), Some(Fit::Same | Fit::Widened));
    let valued = in_key().all(has_values);
    let key_columns = current.key.as_ref().map_or(&[][..], |key| &key.columns);
    let rekeyed = key_columns != wanted.key || !valued;
    // A key that the mirror didn't make is somebody's.
    let key_here = current.key.as_ref().filter(|_| !made.key.is_empty());
    if let (true, None, Some(key)) = (rekeyed && !wanted.key.is_empty(), key_here, &current.key) {
        reshaping.taken.push(Taken::Key(key.constraint.clone()));
    }
    let mut actions = Vec::new();
    if let Some(key) = key_here.filter(|_| rekeyed) {
        actions.push(format!("DROP CONSTRAINT {}", quote_identifier(&key.constraint)));
    }
    for column in current.columns.iter().filter(|column| made.columns.contains(&column.name)) {
        if !wanted.columns.iter().any(|wanted| wanted.name == column.name) {
            reshaping.dropped.push(column.name.clone());
            actions.push(format!("DROP COLUMN {}", quote_identifier(&column.name)));
        }
    }
    for column in &wanted.columns {
        alter_column(current, made, column, &mut actions);
        if !matches!(find(current, column), None | Some(Fit::Same)) {
            reshaping.retyped.push(column.name.clone());
        }
    }
    if rekeyed && !wanted.key.is_empty() {
        actions.extend(add_key(key_here, wanted));
        reshaping.emptied = Some(without_key(wanted, valued));
    }
    let table = table(wanted);
    let empty = reshaping.emptied.iter().map(|rows| format!("DELETE FROM ONLY {table} WHERE {rows}"));
    let alter = actions.into_iter().map(|action| format!("ALTER TABLE {table} {action}"));
    reshaping.statements = empty.chain(alter).collect();
    reshaping
}

/// Gives the table its key, under the name of the one that it had.
fn add_key(before: Option<&KeyHere>, wanted: &MirrorShape) -> Vec<String> {
    let list = key_list(wanted);
    let Some(before) = before else { return vec![format!("ADD PRIMARY KEY ({list})")] };
    let name = quote_identifier(&before.constraint);
    let mut actions = vec![format!("ADD CONSTRAINT {name} PRIMARY KEY ({list})")];
    if before.clusters {
        actions.push(format!("CLUSTER ON {name}"));
    }
    if before.identifies {
        actions.push(format!("REPLICA IDENTITY USING INDEX {name}"));
    }
    actions
}

/// The rows that can't stay under the new key: all, if a column of it has no values here. Whatever
/// the old key let through comes back when the rows are compared.
fn without_key(wanted: &MirrorShape, valued: bool) -> String {
    if !valued {
        return "true".to_owned();
    }
    format!(
        "ctid IN (SELECT r.place FROM (SELECT ctid AS place, pg_catalog.row_number() OVER (PARTITION BY {key}) AS n \
         FROM ONLY {t}) r WHERE r.n > 1) OR {nulls}",
        t = table(wanted),
        key = key_list(wanted),
        nulls = wanted
            .key
            .iter()
            .map(|column| format!("{} IS NULL", quote_identifier(column)))
            .collect::<Vec<_>>()
            .join(" OR "),
    )
}

fn alter_column(current: &TableHere, made: &Made, wanted: &MirrorColumn, actions: &mut Vec<String>) {
    let name = quote_identifier(&wanted.name);
    let here = current.columns.iter().find(|column| column.name == wanted.name);
    let sql_type = &wanted.sql_type;
    let fit = find(current, wanted);
    // Any NOT NULL but a key's is somebody's.
    let was_in_key = made.key.contains(&wanted.name);
    let not_null = here.is_some_and(|column| column.not_null);
    let adorned = here.is_some_and(|column| column.adorned) || not_null && !was_in_key;
    if not_null && was_in_key && !wanted.in_key && (adorned || fit != Some(Fit::Other)) {
        actions.push(format!("ALTER COLUMN {name} DROP NOT NULL"));
    }
    match fit {
        None => actions.push(format!("ADD COLUMN {}", definition(wanted))),
        Some(Fit::Same) => {}
        Some(Fit::Widened) => {
            actions.push(format!("ALTER COLUMN {name} TYPE {sql_type} USING {name}::text::{sql_type}"));
        }
        // What shows a name shows it from either: readers keep it until the source's own has come.
        Some(Fit::ToJson) => {
            actions.push(format!("ALTER COLUMN {name} TYPE jsonb USING pg_catalog.to_jsonb({name})"))
        }
        Some(Fit::Other) if adorned => {
            actions.push(format!("ALTER COLUMN {name} TYPE {sql_type} USING NULL::{sql_type}"));
        }
        Some(Fit::Other) => {
            actions.push(format!("DROP COLUMN {name}"));
            actions.push(format!("ADD COLUMN {}", definition(wanted)));
        }
    }
}

/// How the column that is here fits the one that is wanted.
#[derive(PartialEq, Eq)]
enum Fit {
    Same,
    /// Every value of the one, as text, is a value of the other.
    Widened,
    /// A text that becomes jsonb, as Odoo does with what is translated.
    ToJson,
    Other,
}

fn find(current: &TableHere, wanted: &MirrorColumn) -> Option<Fit> {
    let here = current.columns.iter().find(|column| column.name == wanted.name)?;
    Some(if here.sql_type == wanted.sql_type {
        Fit::Same
    } else if widens(&here.sql_type, &wanted.sql_type) {
        Fit::Widened
    } else if wanted.sql_type == "jsonb" && is_text(&here.sql_type) {
        Fit::ToJson
    } else {
        Fit::Other
    })
}

fn is_text(sql_type: &str) -> bool {
    sql_type == "text" || sql_type == "character varying" || sql_type.starts_with("character varying(")
}

/// Whether every value of type `from`, as text, is the same value of type `to`.
pub(super) fn widens(from: &str, to: &str) -> bool {
    match to {
        "text" | "character varying" => true,
        "integer" => from == "smallint",
        "bigint" => ["smallint", "integer"].contains(&from),
        "numeric" => ["smallint", "integer", "bigint"].contains(&from) || from.starts_with("numeric("),
        _ => match (modifiers(from), modifiers(to)) {
            (Some(("character varying", [from, ..])), Some(("character varying", [to, ..]))) => from <= to,
            (Some(("numeric", from)), Some(("numeric", to))) => from[0] <= to[0] && from[1] == to[1],
            _ => false,
        },
    }
}

/// A type's name and its two numbers, the second 0 where there is one.
fn modifiers(sql_type: &str) -> Option<(&str, [i32; 2])> {
    let (name, numbers) = sql_type.strip_suffix(')')?.split_once('(')?;
    let (first, second) = numbers.split_once(',').unwrap_or((numbers, "0"));
    Some((name, [first.parse().ok()?, second.parse().ok()?]))
}

/// The statements that follow what happened on the source, for rows that stay.
pub fn follow(name: &str, changes: &[Change]) -> Vec<String> {
    let table = quote_qualified(MIRROR_SCHEMA, name);
    let mut actions = Vec::new();
    let renamed: Vec<(&String, &String)> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Rename { from, to } => Some((from, to)),
            _ => None,
        })
        .collect();
    let exchanged = renamed.iter().any(|(_, to)| renamed.iter().any(|(from, _)| from == to));
    for change in changes {
        match change {
            Change::Drop { column } => actions.push(format!("DROP COLUMN {}", quote_identifier(column))),
            Change::Rename { from, to } if !exchanged => actions.push(rename(from, to)),
            Change::Rename { .. } => {}
            Change::Retype { column, sql_type } => {
                actions.push(format!("ALTER COLUMN {} TYPE {sql_type}", quote_identifier(column)));
            }
            Change::Add { column, value } => {
                actions.push(add(column, value.as_deref()));
                // Kept once for all rows, as on the source; later rows bring their own value.
                if value.is_some() {
                    actions.push(no_default(&column.name));
                }
            }
        }
    }
    if exchanged {
        let between = |place: usize| format!("renamed by odoo_mirror {place}");
        let aside = renamed.iter().enumerate().map(|(place, (from, _))| rename(from, &between(place)));
        let back = renamed.iter().enumerate().map(|(place, (_, to))| rename(&between(place), to));
        let dropped = changes.iter().take_while(|change| matches!(change, Change::Drop { .. })).count();
        let renames: Vec<String> = aside.chain(back).collect();
        actions.splice(dropped..dropped, renames);
    }
    actions.into_iter().map(|action| format!("ALTER TABLE {table} {action}")).collect()
}

/// The statement that adds a column, with a default for rows that don't bring a value of it.
pub fn add_column(table: &str, column: &MirrorColumn, value: Option<&str>) -> String {
    format!("ALTER TABLE {} {}", quote_qualified(MIRROR_SCHEMA, table), add(column, value))
}

fn add(column: &MirrorColumn, value: Option<&str>) -> String {
    let (name, sql_type) = (quote_identifier(&column.name), &column.sql_type);
    let default = value.map(|value| format!(" DEFAULT {}::{sql_type}", quote_literal(value)));
    format!("ADD COLUMN {name} {sql_type}{}", default.unwrap_or_default())
}

/// The statement that takes a column's default away.
pub fn drop_default(table: &str, column: &str) -> String {
    format!("ALTER TABLE {} {}", quote_qualified(MIRROR_SCHEMA, table), no_default(column))
}

fn no_default(column: &str) -> String {
    format!("ALTER COLUMN {} DROP DEFAULT", quote_identifier(column))
}

/// The statement that gives a mirror table another name.
pub fn rename_table(from: &str, to: &str) -> String {
    format!("ALTER TABLE {} RENAME TO {}", quote_qualified(MIRROR_SCHEMA, from), quote_identifier(to))
}

fn rename(from: &str, to: &str) -> String {
    format!("RENAME COLUMN {} TO {}", quote_identifier(from), quote_identifier(to))
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
