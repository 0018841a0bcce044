//! What the stream says about a table before its first row: the Relation message.

use super::WireError;
use super::reader::Reader;

/// A table as the stream's next rows have it. pgoutput repeats it, equal or not, after whatever
/// made the source look at the table anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The table's OID on the source.
    pub id: u32,
    pub schema: String,
    pub name: String,
    pub replica_identity: ReplicaIdentity,
    /// Only the published ones, in the order of the tuples' columns.
    pub columns: Vec<RelationColumn>,
}

/// One published column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Part of the replica identity; under FULL, every column is.
    pub key: bool,
    pub name: String,
    /// The type's OID on the source.
    pub type_id: u32,
    /// `atttypmod`; -1 for none.
    pub type_modifier: i32,
}

/// What an update or a delete says about the old row (`pg_class.relreplident`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaIdentity {
    /// The primary key, if there is one.
    Default,
    Nothing,
    /// All columns.
    Full,
    /// The columns of a chosen unique index.
    Index,
}

/// The fewest bytes that a column takes: flags, an empty name's NUL, type, modifier.
const SMALLEST_COLUMN: usize = 10;
const KEY_FLAG: u8 = 1;

impl Relation {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Relation, WireError> {
        let id = reader.u32("relation id")?;
        let schema = schema_name(reader.str("relation's schema")?).to_owned();
        let name = reader.str("relation's name")?.to_owned();
        let replica_identity = ReplicaIdentity::read(reader)?;
        let count = reader.count16("relation's column count")?;
        // The count is only believed as far as the bytes reach.
        let mut columns = Vec::with_capacity(count.min(reader.rest().len() / SMALLEST_COLUMN));
        for _ in 0..count {
            columns.push(RelationColumn::read(reader)?);
        }
        Ok(Relation { id, schema, name, replica_identity, columns })
    }
}

impl RelationColumn {
    fn read(reader: &mut Reader<'_>) -> Result<RelationColumn, WireError> {
        let flags = reader.u8("relation column's flags")?;
        if flags & !KEY_FLAG != 0 {
            return Err(WireError::UnknownFlags { what: "relation column's flags", bits: flags });
        }
        Ok(RelationColumn {
            key: flags & KEY_FLAG != 0,
            name: reader.str("relation column's name")?.to_owned(),
            type_id: reader.u32("relation column's type")?,
            type_modifier: reader.i32("relation column's type modifier")?,
        })
    }
}

impl ReplicaIdentity {
    fn read(reader: &mut Reader<'_>) -> Result<ReplicaIdentity, WireError> {
        match reader.u8("replica identity")? {
            b'd' => Ok(ReplicaIdentity::Default),
            b'n' => Ok(ReplicaIdentity::Nothing),
            b'f' => Ok(ReplicaIdentity::Full),
            b'i' => Ok(ReplicaIdentity::Index),
            byte => Err(WireError::Unknown { what: "replica identity", byte }),
        }
    }
}

/// pgoutput abbreviates pg_catalog to nothing.
pub(super) fn schema_name(sent: &str) -> &str {
    if sent.is_empty() { "pg_catalog" } else { sent }
}
