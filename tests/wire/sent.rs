//! A message as a source means it, and its encoder: the decoder's mirror image, for round trips.
//! The fuzz targets use it too.

use odoo_mirror::wire::{Column, Lsn, Message, Old, Relation, ReplicaIdentity, Tuple};

pub type Row = Vec<Cell>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Null,
    Unchanged,
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OldRow {
    Key(Row),
    Row(Row),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    Begin { final_lsn: u64, commit_time: i64, xid: u32 },
    Commit { flags: u8, commit_lsn: u64, end_lsn: u64, commit_time: i64 },
    Origin { commit_lsn: u64, name: String },
    Relation(Relation),
    Type { id: u32, schema: String, name: String },
    Insert { relation: u32, new: Row },
    Update { relation: u32, old: Option<OldRow>, new: Row },
    Delete { relation: u32, old: OldRow },
    Truncate { relations: Vec<u32>, cascade: bool, restart_identity: bool },
    Logical { transactional: bool, lsn: u64, prefix: String, content: Vec<u8> },
}

impl Sent {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Sent::Begin { final_lsn, commit_time, xid } => {
                out.push(b'B');
                out.extend(final_lsn.to_be_bytes());
                out.extend(commit_time.to_be_bytes());
                out.extend(xid.to_be_bytes());
            }
            Sent::Commit { flags, commit_lsn, end_lsn, commit_time } => {
                out.extend([b'C', *flags]);
                out.extend(commit_lsn.to_be_bytes());
                out.extend(end_lsn.to_be_bytes());
                out.extend(commit_time.to_be_bytes());
            }
            Sent::Origin { commit_lsn, name } => {
                out.push(b'O');
                out.extend(commit_lsn.to_be_bytes());
                put_str(&mut out, name);
            }
            Sent::Relation(relation) => put_relation(&mut out, relation),
            Sent::Type { id, schema, name } => {
                out.push(b'Y');
                out.extend(id.to_be_bytes());
                put_schema(&mut out, schema);
                put_str(&mut out, name);
            }
            Sent::Insert { relation, new } => {
                out.push(b'I');
                out.extend(relation.to_be_bytes());
                put_row(&mut out, b'N', new);
            }
            Sent::Update { relation, old, new } => {
                out.push(b'U');
                out.extend(relation.to_be_bytes());
                old.iter().for_each(|old| put_old(&mut out, old));
                put_row(&mut out, b'N', new);
            }
            Sent::Delete { relation, old } => {
                out.push(b'D');
                out.extend(relation.to_be_bytes());
                put_old(&mut out, old);
            }
            Sent::Truncate { relations, cascade, restart_identity } => {
                out.push(b'T');
                out.extend((relations.len() as i32).to_be_bytes());
                out.push(u8::from(*cascade) | u8::from(*restart_identity) << 1);
                relations.iter().for_each(|id| out.extend(id.to_be_bytes()));
            }
            Sent::Logical { transactional, lsn, prefix, content } => {
                out.extend([b'M', u8::from(*transactional)]);
                out.extend(lsn.to_be_bytes());
                put_str(&mut out, prefix);
                put_bytes(&mut out, content);
            }
        }
        out
    }
}

impl From<&Message<'_>> for Sent {
    fn from(message: &Message<'_>) -> Sent {
        match message {
            &Message::Begin { final_lsn: Lsn(final_lsn), commit_time, xid } => {
                Sent::Begin { final_lsn, commit_time, xid }
            }
            &Message::Commit { flags, commit_lsn: Lsn(commit_lsn), end_lsn: Lsn(end_lsn), commit_time } => {
                Sent::Commit { flags, commit_lsn, end_lsn, commit_time }
            }
            &Message::Origin { commit_lsn: Lsn(commit_lsn), name } => {
                Sent::Origin { commit_lsn, name: name.to_owned() }
            }
            Message::Relation(relation) => Sent::Relation(relation.clone()),
            &Message::Type { id, schema, name } => {
                Sent::Type { id, schema: schema.to_owned(), name: name.to_owned() }
            }
            Message::Insert { relation, new } => Sent::Insert { relation: *relation, new: row(new) },
            Message::Update { relation, old, new } => {
                Sent::Update { relation: *relation, old: old.as_ref().map(old_row), new: row(new) }
            }
            Message::Delete { relation, old } => Sent::Delete { relation: *relation, old: old_row(old) },
            &Message::Truncate { relations, cascade, restart_identity } => {
                Sent::Truncate { relations: relations.iter().collect(), cascade, restart_identity }
            }
            &Message::Logical { transactional, lsn: Lsn(lsn), prefix, content } => {
                Sent::Logical { transactional, lsn, prefix: prefix.to_owned(), content: content.to_vec() }
            }
        }
    }
}

pub fn row(tuple: &Tuple<'_>) -> Row {
    tuple
        .iter()
        .map(|column| match column {
            Column::Null => Cell::Null,
            Column::Unchanged => Cell::Unchanged,
            Column::Text(value) => Cell::Text(value.to_vec()),
            Column::Binary(value) => Cell::Binary(value.to_vec()),
        })
        .collect()
}

pub fn put_tuple(out: &mut Vec<u8>, row: &Row) {
    out.extend((row.len() as i16).to_be_bytes());
    for cell in row {
        match cell {
            Cell::Null => out.push(b'n'),
            Cell::Unchanged => out.push(b'u'),
            Cell::Text(value) => {
                out.push(b't');
                put_bytes(out, value);
            }
            Cell::Binary(value) => {
                out.push(b'b');
                put_bytes(out, value);
            }
        }
    }
}

fn old_row(old: &Old<'_>) -> OldRow {
    match old {
        Old::Key(tuple) => OldRow::Key(row(tuple)),
        Old::Row(tuple) => OldRow::Row(row(tuple)),
    }
}

fn put_relation(out: &mut Vec<u8>, relation: &Relation) {
    out.push(b'R');
    out.extend(relation.id.to_be_bytes());
    put_schema(out, &relation.schema);
    put_str(out, &relation.name);
    out.push(match relation.replica_identity {
        ReplicaIdentity::Default => b'd',
        ReplicaIdentity::Nothing => b'n',
        ReplicaIdentity::Full => b'f',
        ReplicaIdentity::Index => b'i',
    });
    out.extend((relation.columns.len() as i16).to_be_bytes());
    for column in &relation.columns {
        out.push(u8::from(column.key));
        put_str(out, &column.name);
        out.extend(column.type_id.to_be_bytes());
        out.extend(column.type_modifier.to_be_bytes());
    }
}

fn put_old(out: &mut Vec<u8>, old: &OldRow) {
    match old {
        OldRow::Key(row) => put_row(out, b'K', row),
        OldRow::Row(row) => put_row(out, b'O', row),
    }
}

fn put_row(out: &mut Vec<u8>, kind: u8, row: &Row) {
    out.push(kind);
    put_tuple(out, row);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as i32).to_be_bytes());
    out.extend(bytes);
}

fn put_schema(out: &mut Vec<u8>, schema: &str) {
    put_str(out, if schema == "pg_catalog" { "" } else { schema });
}

fn put_str(out: &mut Vec<u8>, text: &str) {
    out.extend(text.as_bytes());
    out.push(0);
}
