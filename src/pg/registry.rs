//! The mirror's own tables: settings, progress, which tables are mirrored and how far. All in the caller's transaction.

use std::sync::Arc;

use super::board::Counts;
use super::guc;
use super::owner::AsOwner;
use super::sql::{self, Row};
use crate::error::Error;
use crate::mirror::ddl::{self, ColumnHere, KeyHere, TableHere};
use crate::mirror::ranges::KeyRange;
use crate::mirror::shape::MirrorShape;
use crate::mirror::snapshot::Snapshot;
use crate::mirror::source_table::SourceTable;
use crate::mirror::stream_table::{JudgedRange, Standing, StreamColumn, StreamTable};
use crate::mirror::typemap::TypeHere;
use crate::wire::Lsn;

pub struct Settings {
    pub source: String,
    pub password_secret: Option<String>,
    pub publication: String,
    pub slot: String,
    pub configured_by: String,
    pub configured_at: String,
    pub running: bool,
    /// start() was called in this very cluster and database.
    pub started_here: bool,
    /// What the server's settings were when these were read.
    pub tuning: guc::Tuning,
}

/// None: configure() was not called yet.
pub fn settings() -> Result<Option<Settings>, Error> {
    let rows = sql::run(
        "SELECT source, password_secret, publication, slot, configured_by, configured_at, wanted, \
                started_in = odoo_mirror_internal.this_destination() \
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
        tuning: guc::tuning(),
    }))
}

/// What the mirror stands on, at the source.
#[derive(Debug, Clone)]
pub struct Progress {
    pub system_identifier: String,
    pub source_database: String,
    pub timeline: i64,
    pub slot: String,
    pub slot_start: Lsn,
    pub streaming: bool,
    pub applied: Lsn,
    pub transactions: u64,
    pub batches: u64,
    pub received_bytes: u64,
    pub reconnects: u64,
}

pub fn progress() -> Result<Option<Progress>, Error> {
    let rows = sql::run(
        "SELECT system_identifier, source_database, timeline, slot, slot_start, streaming, applied_lsn, \
                transactions, batches, received_bytes, reconnects \
         FROM odoo_mirror_internal.progress",
        &[],
    )?;
    Ok(rows.into_iter().next().map(|row| Progress {
        system_identifier: text(&row, 0),
        source_database: text(&row, 1),
        timeline: number(&row, 2),
        slot: text(&row, 3),
        slot_start: lsn(&row, 4),
        streaming: text(&row, 5) == "t",
        applied: lsn(&row, 6),
        transactions: number(&row, 7) as u64,
        batches: number(&row, 8) as u64,
        received_bytes: number(&row, 9) as u64,
        reconnects: number(&row, 10) as u64,
    }))
}

/// Notes a slot just made: from here on its stream and the copies' snapshots make up the mirror.
pub fn begin_progress(progress: &Progress) -> Result<(), Error> {
    sql::run("DELETE FROM odoo_mirror_internal.progress", &[])?;
    sql::run(
        "INSERT INTO odoo_mirror_internal.progress (system_identifier, source_database, timeline, slot, slot_start) \
         VALUES ($1, $2, $3::bigint, $4, $5::pg_lsn)",
        &[
            Some(&progress.system_identifier),
            Some(&progress.source_database),
            Some(&progress.timeline.to_string()),
            Some(&progress.slot),
            Some(&progress.slot_start.to_string()),
        ],
    )?;
    Ok(())
}

pub fn end_progress() -> Result<(), Error> {
    sql::run("DELETE FROM odoo_mirror_internal.progress", &[]).map(drop)
}

pub fn set_streaming() -> Result<(), Error> {
    sql::run("UPDATE odoo_mirror_internal.progress SET streaming = true WHERE NOT streaming", &[]).map(drop)
}

pub fn set_must_see(xids: &[u64]) -> Result<(), Error> {
    let list: Vec<String> = xids.iter().map(u64::to_string).collect();
    let list = format!("{{{}}}", list.join(","));
    sql::run("UPDATE odoo_mirror_internal.progress SET must_see = $1::bigint[]", &[Some(&list)]).map(drop)
}

pub fn must_see() -> Result<Vec<u64>, Error> {
    let rows = sql::run("SELECT unnest(must_see) FROM odoo_mirror_internal.progress", &[])?;
    Ok(rows.iter().map(|row| number(row, 0) as u64).collect())
}

/// For a new beginning: tables that are still published are taken in again, and keep their counters.
pub fn forget_tables() -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.tables SET state = 'failed', reason = $1, hint = NULL",
        &[Some(super::mirror::NOT_PUBLISHED)],
    )
    .map(drop)
}

/// A copy of the position and of the counters, for what origins and shared memory don't survive.
pub fn note_progress(applied: Lsn, progress: &Progress) -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.progress SET applied_lsn = $1::pg_lsn, updated_at = pg_catalog.clock_timestamp(), \
                transactions = $2::bigint, batches = $3::bigint, received_bytes = $4::bigint, reconnects = $5::bigint",
        &[
            Some(&applied.to_string()),
            Some(&progress.transactions.to_string()),
            Some(&progress.batches.to_string()),
            Some(&progress.received_bytes.to_string()),
            Some(&progress.reconnects.to_string()),
        ],
    )
    .map(drop)
}

/// A mirrored table.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    pub source: SourceTable,
    pub shape: MirrorShape,
    pub state: String,
    pub reason: Option<String>,
    pub generation: u64,
    pub ranges: Vec<Range>,
}

#[derive(Debug, Clone)]
pub struct Range {
    pub ordinal: i32,
    pub range: KeyRange,
    pub replace: bool,
    pub snapshot: Option<Snapshot>,
    pub past: Lsn,
    pub filenode: u32,
}

pub fn tables() -> Result<Vec<Table>, Error> {
    let mut tables = Vec::new();
    for row in sql::run(
        "SELECT name, definition, shape, state, reason, generation FROM odoo_mirror_internal.tables ORDER BY name",
        &[],
    )? {
        let name = text(&row, 0);
        let ranges = sql::run(
            "SELECT ordinal, lo, hi, replace, snapshot, past, filenode FROM odoo_mirror_internal.ranges \
             WHERE table_name = $1 ORDER BY ordinal",
            &[Some(&name)],
        )?;
        let unreadable = |_| {
            Error::stop(format!("the mirror's record of table \"{name}\" can't be read"))
                .hint("SELECT odoo_mirror.resync() makes it anew.")
        };
        tables.push(Table {
            source: serde_json::from_str(&text(&row, 1)).map_err(unreadable)?,
            shape: serde_json::from_str(&text(&row, 2)).map_err(unreadable)?,
            state: text(&row, 3),
            reason: row[4].clone(),
            generation: number(&row, 5) as u64,
            ranges: ranges.iter().map(range).collect(),
            name,
        });
    }
    Ok(tables)
}

fn range(row: &Row) -> Range {
    let bound = |index: usize| row[index].as_ref().and_then(|value| value.parse().ok());
    Range {
        ordinal: number(row, 0) as i32,
        range: KeyRange { lo: bound(1), hi: bound(2) },
        replace: text(row, 3) == "t",
        snapshot: row[4].as_ref().and_then(|value| value.parse().ok()),
        past: lsn(row, 5),
        filenode: number(row, 6) as u32,
    }
}

impl Table {
    /// As the stream needs to know it.
    pub fn for_stream(&self) -> Arc<StreamTable> {
        let judged = || {
            let ranges = self.ranges.iter();
            ranges.map(|range| JudgedRange { range: range.range, snapshot: range.snapshot.clone() }).collect()
        };
        Arc::new(StreamTable {
            source_oid: self.source.oid,
            name: self.name.clone(),
            columns: self
                .source
                .columns
                .iter()
                .map(|column| StreamColumn {
                    name: column.name.clone(),
                    type_oid: column.data_type.oid,
                    type_modifier: column.data_type.modifier,
                })
                .collect(),
            left_out: self.source.left_out.iter().map(|left_out| left_out.column.clone()).collect(),
            key: self.shape.key.clone(),
            key_folds: self.shape.key_bytes_mean_equality,
            standing: match self.state.as_str() {
                "ready" => Standing::Ready,
                "copying" | "catching_up" => Standing::Judged(judged()),
                _ => Standing::Filtered,
            },
            generation: self.generation,
        })
    }

    /// The position after which no event can be in a copied range already; None while ranges are missing.
    pub fn past(&self) -> Option<Lsn> {
        let all = self.ranges.iter().all(|range| range.snapshot.is_some());
        all.then(|| self.ranges.iter().map(|range| range.past).max().unwrap_or(Lsn::ZERO))
    }
}

/// Makes or reshapes the mirror table, and plans its copy: `ranges` with `replace` when rows may be there.
pub fn plan_copy(source: &SourceTable, shape: &MirrorShape, ranges: &[KeyRange]) -> Result<(), Error> {
    let here = table_here(&shape.name)?;
    let rows_there = here.is_some();
    {
        let _owner = AsOwner::switch()?;
        let statements = match &here {
            None => ddl::create_statements(shape),
            Some(here) => ddl::difference(here, shape),
        };
        for statement in statements {
            sql::run(&statement, &[]).map_err(|error| in_the_way(error, &shape.name))?;
        }
    }
    let json =
        |value: Result<String, serde_json::Error>| value.map_err(|_| Error::stop("a table can't be noted"));
    let definition = json(serde_json::to_string(source))?;
    let described = json(serde_json::to_string(shape))?;
    sql::run(
        "INSERT INTO odoo_mirror_internal.tables AS t \
             (name, source_oid, source_schema, source_name, definition, shape, state, hint, estimated_rows, \
              estimated_bytes, copy_started_at) \
         VALUES ($1, $2::oid, $3, $4, $5::jsonb, $6::jsonb, 'copying', $7, $8::bigint, $9::bigint, \
                 pg_catalog.clock_timestamp()) \
         ON CONFLICT (name) DO UPDATE SET source_oid = excluded.source_oid, source_schema = excluded.source_schema, \
             source_name = excluded.source_name, definition = excluded.definition, shape = excluded.shape, \
             state = 'copying', reason = NULL, hint = excluded.hint, generation = t.generation + 1, \
             estimated_rows = excluded.estimated_rows, estimated_bytes = excluded.estimated_bytes, \
             copy_started_at = excluded.copy_started_at, ready_since = NULL",
        &[
            Some(&shape.name),
            Some(&source.oid.to_string()),
            Some(&source.schema),
            Some(&source.name),
            Some(&definition),
            Some(&described),
            shape.note.as_deref(),
            Some(&source.estimated_rows.to_string()),
            Some(&source.bytes.to_string()),
        ],
    )?;
    sql::run("DELETE FROM odoo_mirror_internal.ranges WHERE table_name = $1", &[Some(&shape.name)])?;
    // Rows that are there give way in the same transaction that brings the new ones: readers never miss them.
    let whole = [KeyRange::ALL];
    let ranges = if rows_there || ranges.is_empty() { &whole[..] } else { ranges };
    for (ordinal, range) in ranges.iter().enumerate() {
        let bound = |value: Option<i64>| value.map(|value| value.to_string());
        sql::run(
            "INSERT INTO odoo_mirror_internal.ranges (table_name, ordinal, lo, hi, replace) \
             VALUES ($1, $2::int, $3::bigint, $4::bigint, $5::boolean)",
            &[
                Some(&shape.name),
                Some(&ordinal.to_string()),
                bound(range.lo).as_deref(),
                bound(range.hi).as_deref(),
                Some(if rows_there { "true" } else { "false" }),
            ],
        )?;
    }
    Ok(())
}

/// A view of a user's on the table blocks its change: say so, and drop nothing.
fn in_the_way(error: Error, table: &str) -> Error {
    match error.sqlstate.as_deref() {
        Some("0A000" | "2BP01") => error.hint(format!(
            "Something depends on a column of odoo_mirror.\"{table}\" that must change. Drop that, then SELECT odoo_mirror.resync('{table}')."
        )),
        _ => error,
    }
}

/// The table fails, alone.
pub fn fail(name: &str, reason: &str, hint: &str) -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.tables SET state = 'failed', reason = $2, hint = $3, ready_since = NULL \
         WHERE name = $1",
        &[Some(name), Some(reason), Some(hint)],
    )
    .map(drop)
}

/// A range's rows are in, under this snapshot.
pub fn range_done(
    table: &str,
    ordinal: i32,
    snapshot: &str,
    past: Lsn,
    filenode: u32,
    rows: u64,
    bytes: u64,
) -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.ranges SET snapshot = $3, past = $4::pg_lsn, filenode = $5::oid, \
                rows = $6::bigint, bytes = $7::bigint, copied_at = pg_catalog.clock_timestamp() \
         WHERE table_name = $1 AND ordinal = $2::int",
        &[
            Some(table),
            Some(&ordinal.to_string()),
            Some(snapshot),
            Some(&past.to_string()),
            Some(&filenode.to_string()),
            Some(&rows.to_string()),
            Some(&bytes.to_string()),
        ],
    )
    .map(drop)
}

/// The range must be read again, in place of what it holds.
pub fn copy_again(table: &str, ordinal: i32) -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.ranges SET snapshot = NULL, replace = true WHERE table_name = $1 AND ordinal = $2::int",
        &[Some(table), Some(&ordinal.to_string())],
    )?;
    sql::run("UPDATE odoo_mirror_internal.tables SET state = 'copying' WHERE name = $1", &[Some(table)])
        .map(drop)
}

/// All ranges again, in one, in place of what is there.
pub fn copy_all_again(table: &str, reason: &str) -> Result<(), Error> {
    sql::run("DELETE FROM odoo_mirror_internal.ranges WHERE table_name = $1", &[Some(table)])?;
    sql::run(
        "INSERT INTO odoo_mirror_internal.ranges (table_name, ordinal, replace) VALUES ($1, 0, true)",
        &[Some(table)],
    )?;
    sql::run(
        "UPDATE odoo_mirror_internal.tables SET state = 'copying', reason = $2, generation = generation + 1, \
                copy_started_at = pg_catalog.clock_timestamp() WHERE name = $1",
        &[Some(table), Some(reason)],
    )
    .map(drop)
}

/// Tables whose ranges are all in stand at the stream's door.
pub fn set_catching_up() -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.tables t SET state = 'catching_up' WHERE state = 'copying' \
         AND NOT EXISTS (SELECT FROM odoo_mirror_internal.ranges r WHERE r.table_name = t.name AND r.snapshot IS NULL)",
        &[],
    )
    .map(drop)
}

/// The table shows the source as of the applied commit.
pub fn set_ready(name: &str) -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.tables SET state = 'ready', reason = NULL, \
                ready_since = pg_catalog.clock_timestamp() WHERE name = $1",
        &[Some(name)],
    )
    .map(drop)
}

pub fn counts() -> Result<Vec<(String, Counts)>, Error> {
    let rows = sql::run(
        "SELECT name, inserts, updates, deletes, truncates, split, applied, folded, skipped, filtered, missing \
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
            };
            (text(row, 0), counts)
        })
        .collect())
}

pub fn note_counts(name: &str, counts: &Counts, last_change: i64) -> Result<(), Error> {
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
    ];
    let mut texts: Vec<String> = numbers.iter().map(u64::to_string).collect();
    texts.push(last_change.to_string());
    let mut parameters: Vec<Option<&str>> = vec![Some(name)];
    parameters.extend(texts.iter().map(|text| Some(text.as_str())));
    sql::run(
        "UPDATE odoo_mirror_internal.tables SET inserts = $2::bigint, updates = $3::bigint, deletes = $4::bigint, \
                truncates = $5::bigint, split = $6::bigint, applied = $7::bigint, folded = $8::bigint, \
                skipped = $9::bigint, filtered = $10::bigint, missing = $11::bigint, \
                last_change = CASE WHEN $12::bigint = 0 THEN last_change \
                    ELSE timestamptz '2000-01-01 00:00:00+00' + $12::bigint * interval '1 microsecond' END \
         WHERE name = $1",
        &parameters,
    )
    .map(drop)
}

/// Resolves types of the source by name; for [`MirrorShape::of_all`].
pub fn type_here(schema: &str, name: &str) -> Option<TypeHere> {
    let rows = sql::run(
        "SELECT pg_catalog.format_type(t.oid, NULL), t.typtype, \
                CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) END \
         FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
         WHERE t.typname = $2 AND n.nspname <> 'odoo_mirror' AND t.typtype <> 'p' \
         ORDER BY (n.nspname = $1) DESC, n.nspname LIMIT 1",
        &[Some(schema), Some(name)],
    )
    .ok()?;
    let row = rows.into_iter().next()?;
    Some(TypeHere { formatted: text(&row, 0), kind: text(&row, 1).chars().next()?, base: row[2].clone() })
}

/// The mirror table as it stands; None: there is none. One that isn't the mirror's own is an error.
fn table_here(name: &str) -> Result<Option<TableHere>, Error> {
    let found = sql::run(
        "SELECT c.oid, c.relkind, pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c \
         WHERE c.relname = $1 AND c.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace",
        &[Some(name)],
    )?;
    let Some(row) = found.into_iter().next() else { return Ok(None) };
    if text(&row, 1) != "r" || text(&row, 2) != super::owner::OWNER {
        return Err(Error::retry_slowly(format!("odoo_mirror.\"{name}\" exists and is not the mirror's"))
            .hint("Rename or drop it: the mirror writes only tables that it made."));
    }
    let oid = text(&row, 0);
    let columns = sql::run(
        "SELECT attname, pg_catalog.format_type(atttypid, atttypmod), attnotnull FROM pg_catalog.pg_attribute \
         WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        &[Some(&oid)],
    )?;
    let key = sql::run(
        "SELECT c.conname, a.attname FROM pg_catalog.pg_constraint c \
         CROSS JOIN LATERAL unnest(c.conkey) WITH ORDINALITY k (attnum, place) \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum \
         WHERE c.conrelid = $1::oid AND c.contype = 'p' ORDER BY k.place",
        &[Some(&oid)],
    )?;
    Ok(Some(TableHere {
        columns: columns
            .iter()
            .map(|row| ColumnHere {
                name: text(row, 0),
                sql_type: text(row, 1),
                not_null: text(row, 2) == "t",
            })
            .collect(),
        key: key.first().map(|first| KeyHere {
            constraint: text(first, 0),
            columns: key.iter().map(|row| text(row, 1)).collect(),
        }),
    }))
}

pub(super) fn text(row: &Row, index: usize) -> String {
    row.get(index).cloned().flatten().unwrap_or_default()
}

pub(super) fn number(row: &Row, index: usize) -> i64 {
    row.get(index).and_then(Option::as_ref).and_then(|value| value.parse().ok()).unwrap_or(0)
}

pub(super) fn lsn(row: &Row, index: usize) -> Lsn {
    row.get(index).and_then(Option::as_ref).and_then(|value| value.parse().ok()).unwrap_or(Lsn::ZERO)
}
