//! Counts what batches did: tallied while their transaction is open, shown and kept once it is
//! committed.

use std::time::Duration;

use super::apply::Applied;
use super::board::{self, Board, Counts};
use super::progress::Progress;
use super::sql::{self, number, text};
use super::transaction;
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
    /// Takes up the counters where they were left. Shared memory outlives a worker; where it holds
    /// more than the tables, it is the newer.
    pub(super) fn load(progress: &mut Progress) -> Result<Counting, Error> {
        let noted = transaction::transaction(noted)?;
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

    /// The table isn't mirrored any more.
    pub(super) fn forget(&mut self, table: &str) {
        self.tables.retain(|counted| counted.table != table);
    }

    /// Writes the counters down, in the caller's transaction.
    pub(super) fn write_down(&self) -> Result<(), Error> {
        self.tables.iter().try_for_each(|counted| note(&counted.table, &counted.counts, counted.last_change))
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
        inserted_bytes: tally.inserted_bytes,
        updated_bytes: tally.updated_bytes,
        deleted_bytes: tally.deleted_bytes,
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

/// The counters as the registry has them.
fn noted() -> Result<Vec<(String, Counts)>, Error> {
    let rows = sql::run(
        "SELECT name, inserts, updates, deletes, truncates, split, applied, folded, skipped, filtered, missing, \
                quarantined, unbalanced, inserted_bytes, updated_bytes, deleted_bytes \
         FROM odoo_mirror_internal.tables",
        &[],
    )?;
    Ok(rows
        .iter()
        .map(|row| {
            let count = |index| number(row, index) as u64;
            let counts = Counts {
                inserts: count(1),
                updates: count(2),
                deletes: count(3),
                truncates: count(4),
                split: count(5),
                applied: count(6),
                folded: count(7),
                skipped: count(8),
                filtered: count(9),
                missing: count(10),
                quarantined: count(11),
                unbalanced: count(12),
                inserted_bytes: count(13),
                updated_bytes: count(14),
                deleted_bytes: count(15),
            };
            (text(row, 0), counts)
        })
        .collect())
}

fn note(name: &str, counts: &Counts, last_change: i64) -> Result<(), Error> {
    let numbers = [
        counts.inserts,
        counts.updates,
        counts.deletes,
        counts.truncates,
        counts.split,
        counts.applied,
        counts.folded,
        counts.skipped,
        counts.filtered,
        counts.missing,
        counts.quarantined,
        counts.unbalanced,
        counts.inserted_bytes,
        counts.updated_bytes,
        counts.deleted_bytes,
    ];
    let mut texts: Vec<String> = numbers.iter().map(u64::to_string).collect();
    texts.push(last_change.to_string());
    let mut parameters: Vec<Option<&str>> = vec![Some(name)];
    parameters.extend(texts.iter().map(|text| Some(text.as_str())));
    sql::run(
        "UPDATE odoo_mirror_internal.tables SET inserts = $2::bigint, updates = $3::bigint, deletes = $4::bigint, \
                truncates = $5::bigint, split = $6::bigint, applied = $7::bigint, folded = $8::bigint, \
                skipped = $9::bigint, filtered = $10::bigint, missing = $11::bigint, \
                quarantined = $12::bigint, unbalanced = $13::bigint, \
                inserted_bytes = $14::bigint, updated_bytes = $15::bigint, deleted_bytes = $16::bigint, \
                last_change = CASE WHEN $17::bigint = 0 THEN last_change \
                    ELSE timestamptz '2000-01-01 00:00:00+00' + $17::bigint * interval '1 microsecond' END \
         WHERE name = $1",
        &parameters,
    )
    .map(drop)
}
