//! A table's replica identity, as the stream shows it: which columns a Relation flags.
//!
//! Old rows are told by those columns. Flags that aren't exactly the expected ones mean that the
//! key is another one by now, and that rows which differ here may be one there, or the other way
//! round.

use super::source_table::SourceTable;
use crate::wire::{Relation, ReplicaIdentity};

/// Which columns are flagged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// All of them: REPLICA IDENTITY FULL. That says nothing of the key.
    Full,
    /// These: of the primary key, or of the identity index. None: old rows don't come.
    Columns(Vec<String>),
    /// Of a partitioned table that is streamed as one: these, which are its own. Its old rows come
    /// by its partitions' identities, so that none flagged doesn't say that they don't come.
    Root(Vec<String>),
}

impl Identity {
    pub fn of(table: &SourceTable) -> Identity {
        let columns = match table.replica_identity {
            'f' => return Identity::Full,
            'n' => Vec::new(),
            'i' => table.identity_key.clone(),
            _ => table.primary_key.clone(),
        };
        if table.kind == 'p' { Identity::Root(columns) } else { Identity::Columns(columns) }
    }

    /// Whether the relation flags what it must.
    pub fn fits(&self, relation: &Relation) -> bool {
        let is_full = relation.replica_identity == ReplicaIdentity::Full;
        match self {
            Identity::Full => is_full,
            Identity::Columns(columns) => !is_full && flags(relation, columns),
            Identity::Root(columns) => {
                !is_full && (flags(relation, columns) || !relation.columns.iter().any(|column| column.key))
            }
        }
    }
}

/// Whether the columns that are flagged are these; those that the stream doesn't carry left aside.
pub fn flags(relation: &Relation, columns: &[String]) -> bool {
    relation.columns.iter().all(|column| column.key == columns.contains(&column.name))
}
