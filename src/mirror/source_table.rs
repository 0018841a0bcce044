//! A published table as the source's catalog describes it.
//!
//! Plain data: read by `source::catalog`, kept here as jsonb, judged by [`super::shape`]. Nothing
//! here knows what the mirror makes of it.

use serde::{Deserialize, Serialize};

/// A table that the publication streams: an ordinary one, or a partitioned one whose partitions
/// are published as if they were its own rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceTable {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// `pg_class.relkind`: `r` or `p`.
    pub kind: char,
    /// `pg_class.relreplident`: `d` default, `n` nothing, `f` full, `i` index.
    pub replica_identity: char,
    /// The columns that are mirrored, in attnum order.
    pub columns: Vec<SourceColumn>,
    /// The columns that aren't, in attnum order.
    pub left_out: Vec<LeftOut>,
    /// The columns of a primary key that isn't deferrable, in key order; empty without one.
    pub primary_key: Vec<String>,
    /// The columns of the index named by REPLICA IDENTITY USING INDEX, in key order; else empty.
    pub identity_key: Vec<String>,
    /// Of a partitioned table without a key of its own: the columns that identify a row in each of
    /// its leaves alike, if they include what rows are put into leaves by. Only then are they
    /// unique over all leaves.
    #[serde(default)]
    pub leaf_key: Vec<String>,
    /// The OID of the primary key's index, where the stream tells nothing of the key: with REPLICA
    /// IDENTITY FULL a key may go, and come back over other rows. Else 0.
    #[serde(default)]
    pub key_index: u32,
    /// The publication's WHERE for this table, as `pg_get_expr` prints it.
    pub row_filter: Option<String>,
    /// `pg_class.reltuples`, summed over partitions; 0 where the table was never analyzed.
    pub estimated_rows: i64,
    /// Heap and TOAST in bytes, without indexes, summed over partitions.
    pub bytes: i64,
    /// Row-level security hides rows from the role that is connected.
    pub row_security: bool,
    /// The publication that streams it.
    #[serde(default)]
    pub publication: String,
    pub publishes: Publishes,
    /// The publication publishes partitions as their root.
    pub via_root: bool,
    /// The highest attnum that was ever given to a column, dropped ones included.
    #[serde(default)]
    pub last_attnum: i16,
    /// In which files its rows lie: a partition's OID and `relfilenode` each, by OID. Another file
    /// means that rows may have changed without an event.
    #[serde(default)]
    pub files: Vec<(u32, u32)>,
    /// What makes the publication publish it: of a table that left and came back, or a publication
    /// that was altered, it is another. While it wasn't published its changes passed by, and the
    /// stream says nothing of that.
    #[serde(default)]
    pub published_as: String,
    /// The same of the schemas that the publication publishes as a whole.
    #[serde(default)]
    pub published_in: String,
    /// The snapshot under which this was read, as text; empty where that isn't known.
    #[serde(default)]
    pub seen: String,
}

/// A column whose values are mirrored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceColumn {
    pub attnum: i16,
    pub name: String,
    pub data_type: SourceType,
    pub not_null: bool,
    /// Whether the column's collation is deterministic; None for a type without collations.
    pub deterministic: Option<bool>,
    /// The value, as text, that rows older than the column have (`attmissingval`): ADD COLUMN with
    /// a constant default writes no rows and sends no events.
    pub constant_default: Option<String>,
    /// Which transaction last wrote the column's description: ALTER COLUMN TYPE does, VACUUM FULL
    /// doesn't.
    #[serde(default)]
    pub stamp: String,
}

/// A type together with its modifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceType {
    pub oid: u32,
    /// `atttypmod` or `typtypmod`; -1 for none.
    pub modifier: i32,
    pub schema: String,
    pub name: String,
    /// `pg_type.typtype`: `b` base, `c` composite, `d` domain, `e` enum, `r` range, `m` multirange.
    pub kind: char,
    /// `format_type(oid, modifier)` as the source says: for people to read, never a part of SQL
    /// here.
    pub formatted: String,
    /// The extension that it belongs to.
    #[serde(default)]
    pub extension: Option<String>,
    /// An array's element; None for anything else, `int2vector` included.
    pub element: Option<Box<SourceType>>,
    /// The type under a domain.
    pub base: Option<Box<SourceType>>,
    /// What else its text is made of: an enum's labels, a composite's attributes, a range's
    /// subtype, a multirange's range.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
}

/// A part of a type that ALTER TYPE may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The label's OID or the attribute's attnum; 0 for the one part of a range.
    pub id: i64,
    /// The label as it is written.
    pub label: Option<String>,
    /// The attribute's type, or the part's.
    pub data_type: Option<Box<SourceType>>,
}

/// A column that isn't mirrored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    #[serde(default)]
    pub attnum: i16,
    pub column: String,
    pub why: WhyLeftOut,
}

/// Why a column isn't mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyLeftOut {
    /// A generated column that the source doesn't stream.
    Generated,
    /// Absent from the publication's column list.
    ColumnList,
    /// Excluded by the user of the mirror.
    Configuration,
}

impl std::fmt::Display for WhyLeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Generated => "generated column, not streamed by the source",
            Self::ColumnList => "not in the publication's column list",
            Self::Configuration => "excluded by configuration",
        })
    }
}

/// The operations that the publication streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publishes {
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
    pub truncate: bool,
}

impl Publishes {
    /// Whether a mirror of this publication can be exact.
    pub fn everything(self) -> bool {
        self.absent().is_empty()
    }

    /// What isn't streamed, as the publication's `publish` names it.
    pub fn absent(self) -> Vec<&'static str> {
        let all = [
            (self.insert, "insert"),
            (self.update, "update"),
            (self.delete, "delete"),
            (self.truncate, "truncate"),
        ];
        all.into_iter().filter_map(|(published, name)| (!published).then_some(name)).collect()
    }
}

impl SourceTable {
    /// The mirrored column of this name.
    pub fn column(&self, name: &str) -> Option<&SourceColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The column that this table can be cut into key ranges by: its only key column, when that is
    /// an int2, int4 or int8. The column itself must be mirrored; a domain over them doesn't count.
    pub fn integer_key(&self) -> Option<&SourceColumn> {
        const INTEGERS: [u32; 3] = [20, 21, 23];
        let [key] = self.stream_key() else { return None };
        self.column(key).filter(|column| INTEGERS.contains(&column.data_type.oid))
    }

    /// The columns that identify a row in the stream, whether they are mirrored or not.
    ///
    /// With REPLICA IDENTITY USING INDEX these are the index's, not the primary key's: a delete
    /// carries no others, and an update that changes only the primary key doesn't carry the old
    /// one.
    pub fn stream_key(&self) -> &[String] {
        match self.replica_identity {
            'i' => &self.identity_key,
            'd' if self.primary_key.is_empty() => &self.leaf_key,
            _ => &self.primary_key,
        }
    }
}
