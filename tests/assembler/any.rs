//! What holds for any stream of messages at all. The fuzz target runs this, and so do the tests.
//!
//! The bytes: one that says how the tables stand, then messages, each with its length in two bytes;
//! a length of zero takes the batch. What can't be decoded is left out.

use std::sync::Arc;

use odoo_mirror::mirror::assembler::Assembler;
use odoo_mirror::mirror::batch::{Arena, Batch, Span, Step};
use odoo_mirror::mirror::ranges::{KeyRange, between};
use odoo_mirror::mirror::replica_identity::Identity;
use odoo_mirror::mirror::stream_table::{JudgedRange, Standing, StreamColumn, StreamTable};
use odoo_mirror::wire::{Lsn, Message, Relation, ReplicaIdentity, decode};

/// The assembler doesn't panic, and accounts for each event, until it refuses the stream. Returns
/// how many events it took.
pub fn stream(bytes: &[u8]) -> u64 {
    let Some((mode, rest)) = bytes.split_first() else { return 0 };
    let messages: Vec<&[u8]> = Messages { rest }.collect();
    let mut assembler = Assembler::new(tables(*mode, &messages), Lsn(1000), 1 << 33);
    let mut events = 0;
    for message in messages {
        if message.is_empty() {
            events += assembler.events();
            check(&assembler.take());
        } else if let Ok(message) = decode(message)
            && assembler.feed(message).is_err()
        {
            return events;
        }
    }
    events += assembler.events();
    check(&assembler.take());
    events
}

struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (message, rest) = rest.split_at(length);
        self.rest = rest;
        Some(message)
    }
}

/// A table for each relation that the stream describes, as it describes it first; every fifth is
/// unknown.
fn tables(mode: u8, messages: &[&[u8]]) -> Vec<Arc<StreamTable>> {
    let mut tables: Vec<Arc<StreamTable>> = Vec::new();
    for message in messages {
        let Ok(Message::Relation(relation)) = decode(message) else { continue };
        let known = tables.iter().any(|table| table.source_oid == relation.id);
        if !known && relation.id % 5 != 4 {
            tables.push(Arc::new(table(mode, &relation)));
        }
    }
    tables
}

fn identity(relation: &Relation) -> Identity {
    let flagged = relation.columns.iter().filter(|column| column.key);
    match relation.replica_identity {
        ReplicaIdentity::Full => Identity::Full,
        _ => Identity::Columns(flagged.map(|column| column.name.clone()).collect()),
    }
}

fn table(mode: u8, relation: &Relation) -> StreamTable {
    let keyed = relation.replica_identity != ReplicaIdentity::Full;
    let columns = relation.columns.iter();
    let judged = |range: KeyRange| JudgedRange {
        range,
        snapshot: if mode & 8 == 0 { "1:8589934600:8589934595".parse().ok() } else { None },
    };
    StreamTable {
        source_oid: relation.id,
        name: relation.name.clone(),
        columns: columns
            .clone()
            .map(|column| StreamColumn {
                name: column.name.clone(),
                type_oid: column.type_id,
                type_modifier: column.type_modifier,
                mirror_type: String::new(),
            })
            .collect(),
        left_out: Vec::new(),
        key: columns.filter(|column| keyed && column.key).map(|column| column.name.clone()).collect(),
        key_folds: mode & 4 == 0,
        standing: match mode & 3 {
            0 => Standing::Ready,
            1 => Standing::Judged(vec![judged(KeyRange::ALL)]),
            2 => Standing::Judged(between(vec![0, 10]).into_iter().map(judged).collect()),
            _ => Standing::Filtered,
        },
        recorded: false,
        told: false,
        seen: None,
        identity: identity(relation),
        generation: 1,
    }
}

/// Every span lies in the arena, and no event is lost.
fn check(batch: &Batch) {
    for part in &batch.tables {
        let out = part.asked() + part.folded() + part.tally.skipped + part.tally.filtered;
        assert_eq!(part.tally.received() + part.tally.split, out);
        for step in &part.steps {
            match step {
                Step::Folded(changes) => {
                    changes.iter().for_each(|change| read(&batch.arena, &[change.key, change.row]))
                }
                Step::Rekey { old, new, row } => read(&batch.arena, &[*old, *new, *row]),
                Step::Whole { old, new } => read(&batch.arena, &[*old, new.unwrap_or_default()]),
                Step::Truncate(_) | Step::Misfit(_) | Step::CopyAgain { .. } => {}
            }
        }
    }
}

fn read(arena: &Arena, spans: &[Span]) {
    for span in spans {
        let tuple = arena.tuple(*span);
        assert_eq!(tuple.iter().count(), tuple.len());
    }
}
