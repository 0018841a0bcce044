//! What went in against what came out: no event may vanish uncounted.

use odoo_mirror::mirror::assembler::Fed;
use odoo_mirror::mirror::batch::{Batch, Tally};

#[derive(Debug, Default)]
pub struct Counts {
    inserts: u64,
    updates: u64,
    deletes: u64,
    /// Of each table on its own.
    truncates: u64,
    unknown: usize,
}

impl Counts {
    /// Counts one message.
    pub fn message(&mut self, message: &[u8], fed: Fed) {
        match message[0] {
            b'I' => self.inserts += 1,
            b'U' => self.updates += 1,
            b'D' => self.deletes += 1,
            b'T' => self.truncates += u64::from(u32::from_be_bytes(message[1..5].try_into().unwrap())),
            b'R' if message[1..5] == super::history::UNKNOWN.to_be_bytes() => self.unknown += 1,
            _ => {}
        }
        assert_eq!(fed == Fed::Change, b"IUDT".contains(&message[0]));
        assert_eq!(fed == Fed::Committed, message[0] == b'C');
    }

    /// The batch accounts for what was counted since the last one.
    pub fn check(&mut self, batch: &Batch) {
        let fed = std::mem::take(self);
        let of =
            |count: fn(&Tally) -> u64| -> u64 { batch.tables.iter().map(|part| count(&part.tally)).sum() };
        let events = fed.inserts + fed.updates + fed.deletes + fed.truncates;
        assert_eq!(of(|tally| tally.received()) + batch.filtered, events);
        assert!(of(|tally| tally.inserts) <= fed.inserts && of(|tally| tally.updates) <= fed.updates);
        assert!(of(|tally| tally.deletes) <= fed.deletes && of(|tally| tally.truncates) <= fed.truncates);
        assert_eq!(batch.unknown.len(), fed.unknown);
        for part in &batch.tables {
            let tally = &part.tally;
            let out = part.asked() + part.folded() + tally.skipped + tally.filtered;
            assert_eq!(tally.received() + tally.split, out, "{}", part.table.name);
            assert!(tally.split <= tally.updates, "{}", part.table.name);
        }
    }
}
