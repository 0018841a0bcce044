//! What configure() and start() said, and what the mirror stands on: one row each. In the caller's
//! transaction.

use super::sql::{self, lsn, number, text};
use super::{board, guc, owner};
use crate::error::Error;
use crate::wire::Lsn;

pub struct Settings {
    pub source: String,
    pub password_secret: Option<String>,
    pub publication: String,
    pub slot: String,
    pub configured_by: String,
    /// That role was a superuser then.
    by_superuser: bool,
    /// When configure() and start() were called: later calls begin a new life.
    pub configured_at: String,
    pub running: bool,
    /// start() was called in this very cluster and database.
    pub started_here: bool,
    /// What the server's settings were when these were read.
    pub tuning: guc::Tuning,
    /// What the board said of the calls that end a life, before these were read.
    pub will: u64,
}

impl Settings {
    /// Whether a superuser called configure(), and still is one. In a transaction.
    pub fn is_of_a_superuser(&self) -> bool {
        self.by_superuser && owner::is_superuser(&self.configured_by)
    }
}

/// None: configure() was not called yet.
pub fn settings() -> Result<Option<Settings>, Error> {
    let will = board::read(|board| board.will).unwrap_or(0);
    let rows = sql::run(
        "SELECT source, password_secret, publication, slot, configured_by, \
                configured_at || coalesce(' ' || started_at, ''), wanted, \
                started_in = odoo_mirror_internal.this_destination(), by_superuser \
         FROM odoo_mirror_internal.settings",
        &[],
    )?;
    Ok(rows.into_iter().next().map(|row| Settings {
        source: text(&row, 0),
        password_secret: row[1].clone(),
        publication: text(&row, 2),
        slot: text(&row, 3),
        configured_by: text(&row, 4),
        configured_at: text(&row, 5),
        running: text(&row, 6) == "running",
        started_here: text(&row, 7) == "t",
        by_superuser: text(&row, 8) == "t",
        tuning: guc::tuning(),
        will,
    }))
}

/// What the mirror stands on, at the source.
#[derive(Debug, Clone)]
pub struct Progress {
    pub system_identifier: String,
    pub source_database: String,
    pub source_database_oid: u32,
    /// Where configure() said that the source is.
    pub source_address: String,
    pub timeline: u32,
    pub slot: String,
    pub slot_start: Lsn,
    pub streaming: bool,
    /// Why the mirror must begin anew, in words; None: it may go on.
    pub refused: Option<String>,
    /// The mirror began anew, and not all tables are equal to the source's since.
    pub stale: bool,
    /// This very cluster and database made the slot; false in a clone.
    pub made_here: bool,
    pub applied: Lsn,
    pub transactions: u64,
    pub batches: u64,
    pub received_bytes: u64,
    pub reconnects: u64,
    pub timings: Timings,
}

/// Why the mirror had to connect anew, and how long its commits took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timings {
    /// By the verdict that ended the life before: retry, retry slowly, gate, stop.
    pub causes: [u64; CAUSES],
    /// Batches by the first of [`BOUNDS`] that they didn't exceed; the last: longer than all.
    pub durations: [u64; BOUNDS.len() + 1],
    pub seconds: f64,
}

pub const CAUSES: usize = 4;

/// Upper bounds of the classes of a batch's duration, in seconds.
pub const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];

impl Timings {
    pub fn batch(&mut self, seconds: f64) {
        let class = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.durations[class] += 1;
        self.seconds += seconds;
    }

    /// Of two counts of the same, the later.
    pub fn later(self, other: Timings) -> Timings {
        let count =
            |timings: &Timings| timings.durations.iter().sum::<u64>() + timings.causes.iter().sum::<u64>();
        if count(&other) > count(&self) { other } else { self }
    }
}

fn array<const N: usize>(row: &sql::Row, index: usize) -> [u64; N] {
    let list = text(row, index);
    let mut numbers = list.trim_matches(['{', '}']).split(',').map(|number| number.parse().unwrap_or(0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

fn list(numbers: &[u64]) -> String {
    let texts: Vec<String> = numbers.iter().map(u64::to_string).collect();
    format!("{{{}}}", texts.join(","))
}

pub fn read() -> Result<Option<Progress>, Error> {
    let rows = sql::run(
        "SELECT system_identifier, source_database, timeline, slot, slot_start, streaming, applied_lsn, \
                transactions, batches, received_bytes, reconnects, causes, durations, seconds, \
                source_database_oid, source_address, refused, stale, made_in = odoo_mirror_internal.this_destination() \
         FROM odoo_mirror_internal.progress",
        &[],
    )?;
    Ok(rows.into_iter().next().map(|row| Progress {
        system_identifier: text(&row, 0),
        source_database: text(&row, 1),
        timeline: number(&row, 2) as u32,
        slot: text(&row, 3),
        slot_start: lsn(&row, 4),
        streaming: text(&row, 5) == "t",
        applied: lsn(&row, 6),
        transactions: number(&row, 7) as u64,
        batches: number(&row, 8) as u64,
        received_bytes: number(&row, 9) as u64,
        reconnects: number(&row, 10) as u64,
        timings: Timings {
            causes: array(&row, 11),
            durations: array(&row, 12),
            seconds: text(&row, 13).parse().unwrap_or(0.0),
        },
        source_database_oid: number(&row, 14) as u32,
        source_address: text(&row, 15),
        refused: row[16].clone(),
        stale: text(&row, 17) == "t",
        made_here: text(&row, 18) == "t",
    }))
}

/// Notes a slot just made: from here on its stream and the copies' snapshots make up the mirror.
pub fn begin(progress: &Progress) -> Result<(), Error> {
    let yes_or_no = |value| if value { "true" } else { "false" };
    // Counters are the mirror's, whatever slots it had.
    sql::run(
        "INSERT INTO odoo_mirror_internal.progress AS p (system_identifier, source_database, source_database_oid, \
             source_address, timeline, slot, slot_start, streaming, stale, made_in) \
         VALUES ($1, $2, $3::oid, $4, $5::bigint, $6, $7::pg_lsn, $8::boolean, $9::boolean, \
                 odoo_mirror_internal.this_destination()) \
         ON CONFLICT (only_row) DO UPDATE SET system_identifier = excluded.system_identifier, \
             source_database = excluded.source_database, source_database_oid = excluded.source_database_oid, \
             source_address = excluded.source_address, timeline = excluded.timeline, slot = excluded.slot, \
             slot_start = excluded.slot_start, streaming = excluded.streaming, stale = excluded.stale, \
             made_in = excluded.made_in, refused = NULL, applied_lsn = NULL, \
             updated_at = pg_catalog.clock_timestamp()",
        &[
            Some(&progress.system_identifier),
            Some(&progress.source_database),
            Some(&progress.source_database_oid.to_string()),
            Some(&progress.source_address),
            Some(&progress.timeline.to_string()),
            Some(&progress.slot),
            Some(&progress.slot_start.to_string()),
            Some(yes_or_no(progress.streaming)),
            Some(yes_or_no(progress.stale)),
        ],
    )
    .map(drop)
}

/// The mirror must begin anew, and why: whatever happens until it has.
pub fn set_refused(why: &str) -> Result<(), Error> {
    sql::run("UPDATE odoo_mirror_internal.progress SET refused = $1", &[Some(why)]).map(drop)
}

/// The source is the same, on another timeline by now, or named otherwise.
pub fn note_source(timeline: u32, address: &str) -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.progress SET timeline = $1::bigint, source_address = $2",
        &[Some(&timeline.to_string()), Some(address)],
    )
    .map(drop)
}

pub fn set_equal() -> Result<(), Error> {
    sql::run("UPDATE odoo_mirror_internal.progress SET stale = false", &[]).map(drop)
}

pub fn end() -> Result<(), Error> {
    sql::run("DELETE FROM odoo_mirror_internal.progress", &[]).map(drop)
}

pub fn set_streaming() -> Result<(), Error> {
    sql::run("UPDATE odoo_mirror_internal.progress SET streaming = true WHERE NOT streaming", &[]).map(drop)
}

/// A copy of the position and of the counters, for what origins and shared memory don't survive.
pub fn note(applied: Lsn, progress: &Progress) -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.progress SET applied_lsn = $1::pg_lsn, updated_at = pg_catalog.clock_timestamp(), \
                transactions = $2::bigint, batches = $3::bigint, received_bytes = $4::bigint, reconnects = $5::bigint, \
                causes = $6::bigint[], durations = $7::bigint[], seconds = $8::float8",
        &[
            Some(&applied.to_string()),
            Some(&progress.transactions.to_string()),
            Some(&progress.batches.to_string()),
            Some(&progress.received_bytes.to_string()),
            Some(&progress.reconnects.to_string()),
            Some(&list(&progress.timings.causes)),
            Some(&list(&progress.timings.durations)),
            Some(&progress.timings.seconds.to_string()),
        ],
    )
    .map(drop)
}
