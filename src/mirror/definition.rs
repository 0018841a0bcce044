//! A table's definition under one snapshot, held against the one that the mirror knows.
//!
//! Rows are read by the names of columns, some time after the catalog was. Only where the snapshot
//! that they are read under shows the same definition do these names mean what the mirror takes
//! them for.

use serde::Deserialize;

use super::source_table::{SourceColumn, SourceTable, WhyLeftOut};

/// What a snapshot shows of a table: a document that the source makes of its catalog's rows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Shown {
    schema: String,
    name: String,
    kind: char,
    replica_identity: char,
    last_attnum: i16,
    columns: Option<Vec<ShownColumn>>,
    primary_key: Option<Vec<String>>,
    identity_key: Option<Vec<String>>,
    published_as: Option<String>,
    published_in: Option<String>,
}

/// attnum, name, type, its modifier, whether the collation is deterministic, whether it is
/// generated.
type ShownColumn = (i16, String, u32, i32, Option<bool>, bool);

/// How what a snapshot shows differs from what the mirror knows, as a clause; None: it doesn't.
/// `shown` is empty where the snapshot shows no such table.
pub fn difference(known: &SourceTable, shown: &str) -> Result<Option<&'static str>, serde_json::Error> {
    if shown.is_empty() {
        return Ok(Some("the source's table is gone, or was made anew"));
    }
    let shown: Shown = serde_json::from_str(shown)?;
    Ok(shown.differs_from(known))
}

impl Shown {
    fn differs_from(&self, known: &SourceTable) -> Option<&'static str> {
        let none = Vec::new();
        let columns = self.columns.as_ref().unwrap_or(&none);
        let key = |key: &Option<Vec<String>>| key.clone().unwrap_or_default();
        if (&self.schema, &self.name) != (&known.schema, &known.name) {
            Some("the source renamed the table")
        } else if self.kind != known.kind {
            Some("the table was made anew")
        } else if self.last_attnum != known.last_attnum || !alike(columns, known) {
            Some("the source changed the table's columns")
        } else if self.replica_identity != known.replica_identity
            || key(&self.primary_key) != known.primary_key
            || key(&self.identity_key) != known.identity_key
        {
            Some("the source changed the table's key or replica identity")
        } else if self.published_as.as_ref() != Some(&known.published_as)
            || self.published_in.clone().unwrap_or_default() != known.published_in
        {
            Some("the publication was altered")
        } else {
            None
        }
    }
}

/// Whether these are the table's columns, mirrored or not, by number, name and type.
fn alike(columns: &[ShownColumn], known: &SourceTable) -> bool {
    let mirrored = |column: &SourceColumn, shown: &ShownColumn| {
        let (_, name, oid, modifier, deterministic, _) = shown;
        let data_type = &column.data_type;
        (&column.name, data_type.oid, data_type.modifier, column.deterministic)
            == (name, *oid, *modifier, *deterministic)
    };
    let all = columns.len() == known.columns.len() + known.left_out.len();
    all && columns.iter().all(|shown| {
        let (attnum, name, .., generated) = shown;
        if let Some(column) = known.columns.iter().find(|column| column.attnum == *attnum) {
            return mirrored(column, shown);
        }
        let left_out = known.left_out.iter().find(|left_out| left_out.attnum == *attnum);
        left_out.is_some_and(|left_out| {
            left_out.column == *name
                && match left_out.why {
                    WhyLeftOut::Generated => *generated,
                    WhyLeftOut::ColumnList => !*generated,
                    WhyLeftOut::Configuration => true,
                }
        })
    })
}
