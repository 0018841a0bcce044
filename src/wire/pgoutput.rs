//! pgoutput's messages, as protocol versions 1 and 2 lay them out.
//!
//! Streaming and two-phase are never asked for, so their messages are as unknown here as any byte
//! that means nothing: an error. An unread message can't be stepped over, since it may be a change.

use super::reader::Reader;
use super::relation::{Relation, schema_name};
use super::{Lsn, Tuple, WireError};

/// One message. All times are microseconds since 2000-01-01 00:00 UTC, by the source's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// A transaction starts.
    Begin {
        /// Where its commit record starts: the `commit_lsn` of the Commit to come.
        final_lsn: Lsn,
        commit_time: i64,
        /// 32 bits, without the epoch; the top-level transaction's.
        xid: u32,
    },
    /// A transaction is complete.
    Commit {
        /// Without meaning so far; handed over as sent.
        flags: u8,
        /// Where the commit record starts.
        commit_lsn: Lsn,
        /// Where it ends: what may be confirmed once this transaction is durable.
        end_lsn: Lsn,
        commit_time: i64,
    },
    /// The transaction came to the source from another server; `commit_lsn` is its position there.
    Origin { commit_lsn: Lsn, name: &'a str },
    /// A table, before its first row and whenever it may have changed.
    Relation(Relation),
    /// A type that isn't built in, before the Relation that uses it. A domain is named by its base
    /// type.
    Type { id: u32, schema: &'a str, name: &'a str },
    /// A new row.
    Insert { relation: u32, new: Tuple<'a> },
    /// A row's new version; `old` only if the key changed (or had to be fetched), or under FULL.
    Update { relation: u32, old: Option<Old<'a>>, new: Tuple<'a> },
    /// A row is gone.
    Delete { relation: u32, old: Old<'a> },
    /// These tables, in one statement.
    Truncate { relations: RelationIds<'a>, cascade: bool, restart_identity: bool },
    /// What `pg_logical_emit_message` sent. Outside a transaction unless `transactional`.
    Logical { transactional: bool, lsn: Lsn, prefix: &'a str, content: &'a [u8] },
}

/// What is known of a row before the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old<'a> {
    /// The replica identity's columns; the others are null here, whatever they were.
    Key(Tuple<'a>),
    /// All columns (REPLICA IDENTITY FULL).
    Row(Tuple<'a>),
}

/// The tables of a truncate, by their OIDs on the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelationIds<'a> {
    ids: &'a [[u8; 4]],
}

impl<'a> RelationIds<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The OIDs as sent.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.ids.iter().map(|id| u32::from_be_bytes(*id))
    }
}

/// Decodes one message, which must be all of `body`.
///
/// ```
/// use odoo_mirror::wire::{Message, decode};
///
/// let insert = decode(b"I\0\0\x40\x01N\0\x01t\0\0\0\x0242")?;
/// assert!(matches!(insert, Message::Insert { relation: 16385, .. }));
/// # Ok::<(), odoo_mirror::wire::WireError>(())
/// ```
pub fn decode(body: &[u8]) -> Result<Message<'_>, WireError> {
    let mut reader = Reader::new(body);
    let r = &mut reader;
    let (what, message) = match r.u8("pgoutput message kind")? {
        b'I' => ("insert", insert(r)?),
        b'U' => ("update", update(r)?),
        b'D' => ("delete", delete(r)?),
        b'B' => ("begin", begin(r)?),
        b'C' => ("commit", commit(r)?),
        b'R' => ("relation", Message::Relation(Relation::read(r)?)),
        b'Y' => ("type", type_name(r)?),
        b'T' => ("truncate", truncate(r)?),
        b'O' => ("origin", origin(r)?),
        b'M' => ("logical message", logical(r)?),
        byte => return Err(WireError::Unknown { what: "pgoutput message kind", byte }),
    };
    reader.finish(what)?;
    Ok(message)
}

fn begin<'a>(r: &mut Reader<'a>) -> Result<Message<'a>, WireError> {
    Ok(Message::Begin {
        final_lsn: r.lsn("begin's final LSN")?,
        commit_time: r.i64("begin's commit time")?,
        xid: r.u32("begin's xid")?,
    })
}

fn commit<'a>(r: &mut Reader<'a>) -> Result<Message<'a>, WireError> {
    Ok(Message::Commit {
        flags: r.u8("commit's flags")?,
        commit_lsn: r.lsn("commit's LSN")?,
        end_lsn: r.lsn("commit's end LSN")?,
        commit_time: r.i64("commit's time")?,
    })
}

fn origin<'a>(r: &mut Reader<'a>) -> Result<Message<'a>, WireError> {
    Ok(Message::Origin { commit_lsn: r.lsn("origin's commit LSN")?, name: r.str("origin's name")? })
}

fn type_name<'a>(r: &mut Reader<'a>) -> Result<Message<'a>, WireError> {
    Ok(Message::Type {
        id: r.u32("type id")?,
        schema: schema_name(r.str("type's schema")?),
        name: r.str("type's name")?,
    })
}

fn insert<'a>(r: &mut Reader<'a>) -> Result<Message<'a>, WireError> {
    let relation = r.u32("insert's relation id")?;
    match r.u8("insert's tuple kind")? {
        b'N' => Ok(Message::Insert { relation, new: tuple(r)? }),
        byte => Err(WireError::Unknown { what: "insert's tuple kind", byte }),
    }
}

fn update<'a>(r: &mut Reader<'a>) -> Result<Message<'a>, WireError> {
    let relation = r.u32("update's relation id")?;
    let mut kind = r.u8("update's tuple kind")?;
    let old = match kind {
        b'K' => Some(Old::Key(tuple(r)?)),
        b'O' => Some(Old::Row(tuple(r)?)),
        _ => None,
    };
    if old.is_some() {
        kind = r.u8("update's new tuple kind")?;
    }
    match kind {
        b'N' => Ok(Message::Update { relation, old, new: tuple(r)? }),
        byte => Err(WireError::Unknown { what: "update's tuple kind", byte }),
    }
}

fn delete<'a>(r: &mut Reader<'a>) -> Result<Message<'a>, WireError> {
    let relation = r.u32("delete's relation id")?;
    match r.u8("delete's tuple kind")? {
        b'K' => Ok(Message::Delete { relation, old: Old::Key(tuple(r)?) }),
        b'O' => Ok(Message::Delete { relation, old: Old::Row(tuple(r)?) }),
        byte => Err(WireError::Unknown { what: "delete's tuple kind", byte }),
    }
}

#[inline]
fn tuple<'a>(r: &mut Reader<'a>) -> Result<Tuple<'a>, WireError> {
    let (tuple, rest) = Tuple::from_bytes(r.rest())?;
    r.resume(rest);
    Ok(tuple)
}

const CASCADE: u8 = 1;
const RESTART_IDENTITY: u8 = 2;

fn truncate<'a>(r: &mut Reader<'a>) -> Result<Message<'a>, WireError> {
    let count = r.count32("truncate's relation count")?;
    let flags = known_flags(r, CASCADE | RESTART_IDENTITY, "truncate's flags")?;
    // Saturating is right on any platform: there are never that many bytes.
    let (ids, _) = r.bytes(count.saturating_mul(4), "truncate's relation ids")?.as_chunks();
    Ok(Message::Truncate {
        relations: RelationIds { ids },
        cascade: flags & CASCADE != 0,
        restart_identity: flags & RESTART_IDENTITY != 0,
    })
}

const TRANSACTIONAL: u8 = 1;

fn logical<'a>(r: &mut Reader<'a>) -> Result<Message<'a>, WireError> {
    let flags = known_flags(r, TRANSACTIONAL, "logical message's flags")?;
    let lsn = r.lsn("logical message's LSN")?;
    let prefix = r.str("logical message's prefix")?;
    let length = r.count32("logical message's length")?;
    let content = r.bytes(length, "logical message's content")?;
    Ok(Message::Logical { transactional: flags & TRANSACTIONAL != 0, lsn, prefix, content })
}

/// A flag that isn't known would be lost, and with it what it asks for.
fn known_flags(r: &mut Reader<'_>, known: u8, what: &'static str) -> Result<u8, WireError> {
    match r.u8(what)? {
        flags if flags & !known == 0 => Ok(flags),
        bits => Err(WireError::UnknownFlags { what, bits }),
    }
}
