//! What a source table's mirror must look like.
//!
//! A mirror has the source's column names and types and one key; no other constraint, default or
//! collation. Which type stands for which is [`super::typemap`]'s to say, and the statements that
//! make it so are [`super::ddl`]'s. Nothing here looks into a catalog: what exists on this side is
//! asked of the resolver.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::quote::{quote_identifier, quote_qualified};
use super::source_table::{SourceColumn, SourceTable, WhyLeftOut};
use super::table_state::Failure;
use super::typemap::{Resolver, map_type};

/// The schema that holds the mirror.
pub const MIRROR_SCHEMA: &str = "odoo_mirror";

/// Relations that the extension itself makes in [`MIRROR_SCHEMA`]. Its functions aren't listed: a
/// table and a function may share a name.
const RESERVED: [&str; 5] = [
    "v_expense_by_employee",
    "v_expense_summary",
    "v_invoice_summary",
    "v_revenue_by_partner",
    "v_task_summary",
];

/// PostgreSQL cuts a longer name short, in silence.
const LONGEST_NAME: usize = 63;

/// A table of the mirror, as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorShape {
    /// Always [`MIRROR_SCHEMA`].
    pub schema: String,
    /// As [`mirror_name`] says.
    pub name: String,
    pub columns: Vec<MirrorColumn>,
    /// The columns of the primary key here, in key order; empty without one.
    pub key: Vec<String>,
    /// How a change in the stream names its row.
    pub identity: RowIdentity,
    /// Two rows have equal keys exactly when the keys' bytes are equal; false without a key.
    pub key_bytes_mean_equality: bool,
    /// Every column allows pgoutput's `binary` option.
    pub binary_stream: bool,
    /// `COPY … (FORMAT binary)` fits, columns that are `as_text` being selected as text.
    pub copy_binary: bool,
    /// What the source's owner had better do, as a sentence with the SQL.
    pub note: Option<String>,
}

/// A column of the mirror, as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorColumn {
    pub name: String,
    /// The type as `format_type` prints it here, qualified unless it is in pg_catalog.
    pub sql_type: String,
    /// The binary form that the source sends is one of `sql_type`'s.
    pub binary: bool,
    /// It is text here, and another type on the source: what that type's output function writes.
    pub as_text: bool,
    pub in_key: bool,
}

impl MirrorColumn {
    /// As a COPY on the source selects it. In a binary one, where values aren't written by the
    /// output functions, format() calls that of the type: a cast to text may be of the type's own.
    pub fn copied(&self, binary: bool) -> String {
        let name = quote_identifier(&self.name);
        if self.as_text && binary {
            // Of a composite, IS NULL says that all its fields are.
            format!("CASE WHEN {name} IS DISTINCT FROM NULL THEN pg_catalog.format('%s', {name}) END")
        } else {
            name
        }
    }
}

/// How a change in the stream names its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowIdentity {
    /// By the columns of the mirror's key.
    Key,
    /// By all its old values (REPLICA IDENTITY FULL without a key).
    WholeRow,
    /// Not at all: only inserts and truncates can be applied.
    InsertsOnly,
}

/// What a table of the source can say for itself when others would be mirrored under the same name;
/// the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// It is what is mirrored under that name.
    Mirrored,
    /// A table of its schema and name is, and it may have been made anew.
    Remade,
    /// It can be mirrored.
    Fit,
    /// It fails a check.
    Unfit,
}

/// Why a table can't be mirrored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    #[error("table {schema}.{name} has the name of a view of the mirror")]
    Reserved { schema: String, name: String },
    #[error("tables {schema}.{name} and {other} would both be mirrored as {mirror}, which {other} is")]
    SameName { schema: String, name: String, other: String, mirror: String },
    #[error("table {schema}.{name} would be mirrored under a name of more than 63 bytes")]
    NameTooLong { schema: String, name: String },
    #[error("table {schema}.{name} has no column that is mirrored")]
    NoColumns { schema: String, name: String },
    #[error("publication \"{publication}\" doesn't publish {absent} of table {schema}.{name}")]
    PartlyPublished { schema: String, name: String, publication: String, absent: String },
    #[error("column {column} of table {schema}.{name} is excluded by configuration, but identifies its rows")]
    KeyExcluded { schema: String, name: String, column: String },
    #[error("the mirror may not use the type of column {column} of table {schema}.{name} here")]
    TypeForbidden { schema: String, name: String, column: String, missing_grant: String },
}

impl ShapeError {
    /// What kind of failure it is.
    pub fn failure(&self) -> Failure {
        match self {
            Self::SameName { .. } => Failure::NameTaken,
            _ => Failure::Unsuitable,
        }
    }

    /// What helps.
    pub fn hint(&self) -> String {
        match self {
            Self::SameName { other, .. } => format!(
                "Rename one of the two, or take it out of the publication: this one is mirrored as soon as {other} isn't."
            ),
            Self::Reserved { .. } | Self::NameTooLong { .. } => {
                "Take the table out of the publication, or rename it.".to_owned()
            }
            Self::NoColumns { .. } => "Take the table out of the publication.".to_owned(),
            Self::PartlyPublished { publication, .. } => {
                format!("On the source: {}", publish_everything(publication))
            }
            Self::KeyExcluded { column, .. } => {
                format!(
                    "Take {column} off the list of excluded columns, or the table out of the publication."
                )
            }
            Self::TypeForbidden { missing_grant, .. } => {
                format!("Here: {missing_grant}; the table is taken in when the mirror looks next.")
            }
        }
    }
}

/// The statement that makes a publication stream all that happens to its tables.
pub fn publish_everything(publication: &str) -> String {
    let name = quote_identifier(publication);
    format!("ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate');")
}

/// What a source table is called in the mirror: its own name when it is in `public`, else
/// `schema__name`.
///
/// It depends on nothing else: publishing one more table never renames another.
pub fn mirror_name(schema: &str, name: &str) -> String {
    if schema == "public" { name.to_owned() } else { format!("{schema}__{name}") }
}

impl MirrorShape {
    /// What is noted of a table that can't be mirrored: its name, and nothing else.
    pub fn unfit(name: &str) -> MirrorShape {
        MirrorShape {
            schema: MIRROR_SCHEMA.to_owned(),
            name: name.to_owned(),
            columns: Vec::new(),
            key: Vec::new(),
            identity: RowIdentity::InsertsOnly,
            key_bytes_mean_equality: false,
            binary_stream: true,
            copy_binary: true,
            note: None,
        }
    }

    /// The shape of one table's mirror.
    pub fn of(table: &SourceTable, resolver: Resolver<'_>) -> Result<MirrorShape, ShapeError> {
        let name = checked_name(table)?;
        if table.columns.is_empty() {
            return Err(ShapeError::NoColumns { schema: table.schema.clone(), name: table.name.clone() });
        }
        if !table.publishes.everything() {
            return Err(ShapeError::PartlyPublished {
                schema: table.schema.clone(),
                name: table.name.clone(),
                publication: table.publication.clone(),
                absent: table.publishes.absent().join(", "),
            });
        }
        let key = key_of(table)?;
        let columns: Vec<MirrorColumn> = table
            .columns
            .iter()
            .map(|column| {
                let mapped = map_type(&column.data_type, resolver);
                if let Some(missing_grant) = mapped.missing_grant {
                    return Err(ShapeError::TypeForbidden {
                        schema: table.schema.clone(),
                        name: table.name.clone(),
                        column: column.name.clone(),
                        missing_grant,
                    });
                }
                Ok(MirrorColumn {
                    name: column.name.clone(),
                    sql_type: mapped.sql_type,
                    binary: mapped.binary,
                    as_text: mapped.as_text,
                    in_key: key.contains(&column.name),
                })
            })
            .collect::<Result<_, _>>()?;
        let identity = identity_of(table, &key);
        Ok(MirrorShape {
            schema: MIRROR_SCHEMA.to_owned(),
            name,
            identity,
            key_bytes_mean_equality: !key.is_empty()
                && key.iter().all(|column| bytes_mean_equality(table, column)),
            binary_stream: columns.iter().all(|column| column.binary),
            copy_binary: columns.iter().all(|column| column.binary || column.as_text),
            note: identity_note(table),
            columns,
            key,
        })
    }

    /// The shapes of all published tables, in their order. Of tables that would be mirrored under
    /// one name, the one with the best claim has it, the first of several; the others are errors.
    pub fn of_all(
        tables: &[SourceTable],
        claim: &dyn Fn(&SourceTable) -> Claim,
        resolver: Resolver<'_>,
    ) -> Vec<Result<MirrorShape, ShapeError>> {
        let mut shapes: Vec<_> = tables.iter().map(|table| Self::of(table, resolver)).collect();
        let mut holders: HashMap<String, (Claim, usize)> = HashMap::new();
        for (place, (table, shape)) in tables.iter().zip(&shapes).enumerate() {
            let Ok(shape) = shape else { continue };
            let this = (claim(table), place);
            let holder = holders.entry(shape.name.clone()).or_insert(this);
            *holder = this.min(*holder);
        }
        for (place, (table, shape)) in tables.iter().zip(&mut shapes).enumerate() {
            let Ok(mirror) = shape.as_ref().map(|shape| shape.name.clone()) else { continue };
            let holder = holders.get(&mirror).map_or(place, |(_, holder)| *holder);
            if holder != place {
                *shape = Err(ShapeError::SameName {
                    schema: table.schema.clone(),
                    name: table.name.clone(),
                    other: format!("{}.{}", tables[holder].schema, tables[holder].name),
                    mirror,
                });
            }
        }
        shapes
    }
}

fn checked_name(table: &SourceTable) -> Result<String, ShapeError> {
    let (schema, name) = (table.schema.clone(), table.name.clone());
    let mirror = mirror_name(&schema, &name);
    if mirror.len() > LONGEST_NAME {
        return Err(ShapeError::NameTooLong { schema, name });
    }
    if RESERVED.contains(&mirror.as_str()) {
        return Err(ShapeError::Reserved { schema, name });
    }
    Ok(mirror)
}

/// The mirror's key: what identifies a row in the stream, if all of it is mirrored.
fn key_of(table: &SourceTable) -> Result<Vec<String>, ShapeError> {
    let key = table.stream_key();
    let excluded = table
        .left_out
        .iter()
        .find(|left_out| left_out.why == WhyLeftOut::Configuration && key.contains(&left_out.column));
    if let Some(left_out) = excluded {
        return Err(ShapeError::KeyExcluded {
            schema: table.schema.clone(),
            name: table.name.clone(),
            column: left_out.column.clone(),
        });
    }
    let mirrored = key.iter().all(|column| table.column(column).is_some());
    Ok(if mirrored { key.to_vec() } else { Vec::new() })
}

/// What the source's owner had better do for this table to be followed, as a sentence with the SQL;
/// None when its updates and deletes can be applied.
pub fn identity_note(table: &SourceTable) -> Option<String> {
    // A key that is excluded here is no fault of the source.
    let key = key_of(table).ok()?;
    (identity_of(table, &key) == RowIdentity::InsertsOnly).then(|| inserts_only_note(table))
}

fn identity_of(table: &SourceTable, key: &[String]) -> RowIdentity {
    match table.replica_identity {
        'n' => RowIdentity::InsertsOnly,
        _ if !key.is_empty() => RowIdentity::Key,
        'f' => RowIdentity::WholeRow,
        _ => RowIdentity::InsertsOnly,
    }
}

fn inserts_only_note(table: &SourceTable) -> String {
    let name = quote_qualified(&table.schema, &table.name);
    if table.replica_identity != 'd' && !table.primary_key.is_empty() {
        return format!(
            "Only inserts are mirrored. On the source: ALTER TABLE {name} REPLICA IDENTITY DEFAULT; which makes its primary key the identity."
        );
    }
    format!(
        "Only inserts are mirrored. On the source: ALTER TABLE {name} ADD PRIMARY KEY (…); or, without one, ALTER TABLE {name} REPLICA IDENTITY FULL;"
    )
}

fn bytes_mean_equality(table: &SourceTable, column: &str) -> bool {
    table.column(column).is_some_and(|SourceColumn { data_type, deterministic, .. }| {
        super::typemap::bytes_mean_equality(data_type, *deterministic)
    })
}
