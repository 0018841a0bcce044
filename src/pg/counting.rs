//! Counts what batches did: tallied while their transaction is open, shown and kept once it is committed.

use std::time::Duration;

use super::apply::Applied;
use super::board::{self, Board, Counts};
use super::progress::Progress;
use super::{registry, transaction};
use crate::error::Error;
use crate::mirror::batch::{Batch, TableBatch};
use crate::mirror::conservation::Terms;
use crate::mirror::stream_table::Standing;

/// One table's counts, and when it last changed, by the source's clock.
struct Counted {
    table: String,
    counts: Counts,
    last_change: i64,
}

/// What an open transaction brought so far, in one batch or in parts.
#[derive(Default)]
struct Tallied {
    tables: Vec<Counted>,
    transactions: u64,
    received_bytes: u64,
}

pub(super) struct Counting {
    tables: Vec<Counted>,
    tallied: Tallied,
    /// Counters changed since they were last written down.
    pub(super) unwritten: bool,
}

impl Counting {
    /// Takes up the counters where they were left. Shared memory outlives a worker; where it holds more than the
    /// tables, it is the newer.
    pub(super) fn load(progress: &mut Progress) -> Result<Counting, Error> {
        let noted = transaction::transaction(registry::counts)?;
        let newer = |name: &str, noted: &Counts| {
            let live = board::read(|board| {
                let live = board.tables.iter().find(|live| live.name.as_str() == name);
                live.map(|live| (live.counts, live.last_change))
            });
            live.flatten()
                .filter(|(live, _)| live.inserts + live.updates >= noted.inserts + noted.updates)
                .unwrap_or((*noted, 0))
        };
        let tables: Vec<Counted> = noted
            .into_iter()
            .map(|(table, noted)| {
                let (counts, last_change) = newer(&table, &noted);
                Counted { table, counts, last_change }
            })
            .collect();
        board::write(|board| tables.iter().for_each(|counted| counted.show(board)));
        board::read(|board| {
            progress.transactions = progress.transactions.max(board.transactions);
            progress.batches = progress.batches.max(board.batches);
            progress.received_bytes = progress.received_bytes.max(board.received_bytes);
            progress.reconnects = progress.reconnects.max(board.reconnects);
            progress.timings = progress.timings.later(board.timings);
        });
        Ok(Counting { tables, tallied: Tallied::default(), unwritten: false })
    }

    /// Counts what a batch did, to be shown when its transaction is committed.
    pub(super) fn tally(&mut self, batch: &Batch, results: &[Applied]) {
        self.tallied.transactions += batch.transactions;
        self.tallied.received_bytes += batch.received_bytes;
        for (part, result) in batch.tables.iter().zip(results) {
            self.tallied.tables.push(Counted {
                table: part.table.name.clone(),
                counts: counts(part, result),
                last_change: part.tally.last_commit,
            });
        }
    }

    /// The transaction was given up: the stream brings all of it again.
    pub(super) fn forget_tallied(&mut self) {
        self.tallied = Tallied::default();
    }

    /// The transaction is committed: what it brought counts, and shows.
    pub(super) fn committed(&mut self, progress: &mut Progress, took: Duration) {
        self.unwritten = true;
        let tallied = std::mem::take(&mut self.tallied);
        progress.transactions += tallied.transactions;
        progress.received_bytes += tallied.received_bytes;
        progress.batches += 1;
        progress.timings.batch(took.as_secs_f64());
        let mut changed: Vec<usize> = tallied.tables.into_iter().map(|added| self.add(added)).collect();
        changed.sort_unstable();
        changed.dedup();
        board::write(|board| {
            board.pending_since = 0;
            board.last_success = board::now();
            changed.iter().for_each(|place| self.tables[*place].show(board));
        });
    }

    fn add(&mut self, added: Counted) -> usize {
        match self.tables.iter().position(|counted| counted.table == added.table) {
            Some(place) => {
                self.tables[place].counts.add(&added.counts);
                self.tables[place].last_change = added.last_change;
                place
            }
            None => {
                self.tables.push(added);
                self.tables.len() - 1
            }
        }
    }

    /// Writes the counters down, in the caller's transaction.
    pub(super) fn write_down(&self) -> Result<(), Error> {
        self.tables.iter().try_for_each(|counted| {
            registry::note_counts(&counted.table, &counted.counts, counted.last_change)
        })
    }
}

impl Counted {
    fn show(&self, board: &mut Board) {
        if let Some(live) = board.table(&self.table) {
            live.counts = self.counts;
            live.last_change = self.last_change;
        }
    }
}

fn counts(part: &TableBatch, result: &Applied) -> Counts {
    debug_assert!(part.table.standing != Standing::Filtered || result.applied == 0);
    let tally = &part.tally;
    // What a table that fails was asked for is left out with all that follows.
    let left_out = if result.refused.is_some() { part.asked() } else { 0 };
    let counts = Counts {
        inserts: tally.inserts,
        updates: tally.updates,
        deletes: tally.deletes,
        truncates: tally.truncates,
        split: tally.split,
        skipped: tally.skipped,
        filtered: tally.filtered + left_out,
        folded: part.folded(),
        applied: result.applied,
        missing: result.missing,
        quarantined: result.quarantined,
        unbalanced: 0,
    };
    let gap = terms(&counts).gap();
    if gap != 0 {
        let error = Error::stop(format!("{gap} changes of table \"{}\" are unaccounted for", part.table.name))
            .hint("This is a mistake of odoo_mirror's own: SELECT odoo_mirror.verify() tells whether rows differ. Please report it.");
        pgrx::log!("odoo_mirror: {error}");
        board::set_error(&error);
    }
    Counts { unbalanced: u64::from(gap != 0), ..counts }
}

fn terms(counts: &Counts) -> Terms {
    Terms {
        received: counts.inserts + counts.updates + counts.deletes + counts.truncates,
        split: counts.split,
        applied: counts.applied,
        folded: counts.folded,
        skipped: counts.skipped,
        filtered: counts.filtered,
        missing: counts.missing,
        quarantined: counts.quarantined,
    }
}
