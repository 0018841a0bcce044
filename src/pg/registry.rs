//! Which tables are mirrored, and how far each is: the registry's rows. In the caller's
//! transaction.

mod states;

use std::sync::Arc;

use super::sql::{self, Row, lsn, number, text};
use crate::error::Error;
use crate::mirror::ranges::KeyRange;
use crate::mirror::replica_identity::Identity;
use crate::mirror::shape::MirrorShape;
use crate::mirror::snapshot::Snapshot;
use crate::mirror::source_table::SourceTable;
use crate::mirror::stream_table::{JudgedRange, Standing, StreamColumn, StreamTable};
use crate::mirror::table_state::TableState;
use crate::wire::Lsn;

pub use self::states::{
    Proof, compared, drifted, fail, fail_to_take_in, forget_tables, set_catching_up, set_ready, take_in,
};

/// Said of a table that left the publication.
pub const NOT_PUBLISHED: &str = "the source no longer publishes it";

/// Says of all tables that are being compared or copied why that is.
pub fn stale_because(reason: &str) -> Result<(), Error> {
    sql::run("UPDATE odoo_mirror_internal.reconciles SET reason = $1", &[Some(reason)])?;
    sql::run(
        "UPDATE odoo_mirror_internal.tables SET reason = $1 WHERE state IN ('reconciling', 'copying')",
        &[Some(reason)],
    )
    .map(drop)
}

/// A mirrored table.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    pub source: SourceTable,
    pub shape: MirrorShape,
    pub state: TableState,
    pub reason: Option<String>,
    /// When it failed, in seconds of Unix time; 0: it didn't.
    pub failed_at: i64,
    /// Why it must be taken over anew as it is on the source by now: until then its events are left
    /// out.
    pub drift: Option<String>,
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
        "SELECT name, definition, shape, state, reason, generation, drift, failure, extract(epoch FROM failed_at)::bigint \
         FROM odoo_mirror_internal.tables ORDER BY name",
        &[],
    )? {
        let name = text(&row, 0);
        let ranges = sql::run(
            "SELECT ordinal, lo, hi, replace, snapshot, past, filenode FROM odoo_mirror_internal.ranges \
             WHERE table_name = $1 ORDER BY ordinal",
            &[Some(&name)],
        )?;
        let unreadable = || {
            Error::stop(format!("the mirror's record of table \"{name}\" can't be read"))
                .hint("SELECT odoo_mirror.resync() makes it anew.")
        };
        tables.push(Table {
            source: serde_json::from_str(&text(&row, 1)).map_err(|_| unreadable())?,
            shape: serde_json::from_str(&text(&row, 2)).map_err(|_| unreadable())?,
            state: TableState::parse(&text(&row, 3), row[7].as_deref()).ok_or_else(unreadable)?,
            failed_at: number(&row, 8),
            reason: row[4].clone(),
            drift: row[6].clone(),
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
    pub fn for_stream(&self, recorded: bool, told: bool) -> Arc<StreamTable> {
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
                    mirror_type: self.mirror_type(&column.name),
                })
                .collect(),
            left_out: self.source.left_out.iter().map(|left_out| left_out.column.clone()).collect(),
            key: self.shape.key.clone(),
            identity: Identity::of(&self.source),
            key_folds: self.shape.key_bytes_mean_equality,
            standing: match self.state {
                _ if self.drift.is_some() => Standing::Filtered,
                TableState::Ready => Standing::Ready,
                TableState::Copying | TableState::CatchingUp => Standing::Judged(judged()),
                TableState::Reconciling => Standing::Loose,
                TableState::Failed(_) => Standing::Filtered,
            },
            recorded,
            told,
            seen: self.source.seen.parse().ok(),
            generation: self.generation,
        })
    }

    /// It is neither failed nor waiting to be taken over: the stream's changes are applied to it.
    pub fn is_sound(&self) -> bool {
        !self.state.is_failed() && self.drift.is_none()
    }

    fn mirror_type(&self, column: &str) -> String {
        let found = self.shape.columns.iter().find(|mirrored| mirrored.name == column);
        found.map(|mirrored| mirrored.sql_type.clone()).unwrap_or_default()
    }

    /// The position after which no event can be in a copied range already; None while ranges are
    /// missing.
    pub fn past(&self) -> Option<Lsn> {
        let all = self.ranges.iter().all(|range| range.snapshot.is_some());
        all.then(|| self.ranges.iter().map(|range| range.past).max().unwrap_or(Lsn::ZERO))
    }
}

/// The table was altered as the source altered its own.
pub fn redefine(name: &str, source: &SourceTable, shape: &MirrorShape) -> Result<(), Error> {
    redescribe(name, source)?;
    // Rows that were refused may be taken now; what was kept of them has the columns of before.
    sql::run(
        "UPDATE odoo_mirror_internal.quarantine SET kept = NULL, retry_at = pg_catalog.clock_timestamp() WHERE table_name = $1",
        &[Some(name)],
    )?;
    sql::run(
        "UPDATE odoo_mirror_internal.tables SET shape = $2::jsonb, hint = $3, generation = generation + 1 WHERE name = $1",
        &[Some(name), Some(&json(shape)?), shape.note.as_deref()],
    )
    .map(drop)
}

/// Notes what the source's table is like by now, where the mirror's needs no change.
pub fn redescribe(name: &str, source: &SourceTable) -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.tables SET definition = $2::jsonb WHERE name = $1",
        &[Some(name), Some(&json(source)?)],
    )
    .map(drop)
}

/// The table's rows are compared while it stays ready; what differs is mended.
pub fn compare(name: &str, reason: &str) -> Result<(), Error> {
    sql::run(
        "INSERT INTO odoo_mirror_internal.reconciles (table_name, writes, reason) VALUES ($1, true, $2) \
         ON CONFLICT (table_name) DO UPDATE SET writes = true, done_to = NULL, ranges_done = false, keys_only = false",
        &[Some(name), Some(reason)],
    )
    .map(drop)
}

/// Whether a table that says it is ready is being compared because something happened to it; not
/// because somebody asked.
pub fn ready_ones_are_suspect() -> Result<bool, Error> {
    let suspect = sql::value(
        "SELECT 1 FROM odoo_mirror_internal.reconciles r JOIN odoo_mirror_internal.tables t ON t.name = r.table_name \
         WHERE t.state = 'ready' AND r.writes AND r.job IS NULL AND NOT r.keys_only LIMIT 1",
        &[],
    )?;
    Ok(suspect.is_some())
}

/// The source renamed the table, and so was its mirror.
pub fn rename(old: &str, new: &str, source: &SourceTable) -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.tables SET name = $2, source_schema = $3, source_name = $4, generation = generation + 1, \
                definition = definition || pg_catalog.jsonb_build_object('schema', $3, 'name', $4), \
                shape = shape || pg_catalog.jsonb_build_object('name', $2) WHERE name = $1",
        &[Some(old), Some(new), Some(&source.schema), Some(&source.name)],
    )?;
    // What is wanted of a name, and what was, stays with the name.
    for table in noting(&["indexes", "jobs", "ddl_history"])? {
        let update = format!("UPDATE odoo_mirror_internal.{table} SET table_name = $2 WHERE table_name = $1");
        sql::run(&update, &[Some(old), Some(new)])?;
    }
    Ok(())
}

/// A first copy begins: which transactions the snapshots of each table's ranges must see.
pub fn set_must_see(writers: &[(u32, u64)]) -> Result<(), Error> {
    sql::run("UPDATE odoo_mirror_internal.tables SET must_see = '{}' WHERE must_see <> '{}'", &[])?;
    for (table, xid) in writers {
        sql::run(
            "UPDATE odoo_mirror_internal.tables SET must_see = must_see || $2::bigint WHERE source_oid = $1::oid",
            &[Some(&table.to_string()), Some(&xid.to_string())],
        )?;
    }
    Ok(())
}

/// What the first copy of this table must see.
pub fn must_see(table: &str) -> Result<Vec<u64>, Error> {
    let rows =
        sql::run("SELECT unnest(must_see) FROM odoo_mirror_internal.tables WHERE name = $1", &[Some(table)])?;
    Ok(rows.iter().map(|row| number(row, 0) as u64).collect())
}

/// Every snapshot that the table's rows are compared under from now on must see who is writing to
/// it by then.
pub fn await_writers(table: &str) -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.reconciles SET writers = true WHERE table_name = $1",
        &[Some(table)],
    )
    .map(drop)
}

/// The table isn't mirrored any more: nothing that was noted of it stays but history.
pub fn forget(name: &str) -> Result<(), Error> {
    for table in noting(&["indexes", "jobs", "job_parts", "ddl_history"])? {
        sql::run(&format!("DELETE FROM odoo_mirror_internal.{table} WHERE table_name = $1"), &[Some(name)])?;
    }
    sql::run("DELETE FROM odoo_mirror_internal.tables WHERE name = $1", &[Some(name)]).map(drop)
}

/// The tables of ours, quoted, that say something of mirrored ones, but for some. In replica role
/// no foreign key cascades.
fn noting(but: &[&str]) -> Result<Vec<String>, Error> {
    let rows = sql::run(
        "SELECT pg_catalog.quote_ident(c.relname) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         WHERE c.relnamespace = 'odoo_mirror_internal'::pg_catalog.regnamespace AND c.relkind = 'r' \
           AND a.attname = 'table_name' AND NOT a.attisdropped AND c.relname <> ALL ($1::text[])",
        &[Some(&format!("{{{}}}", but.join(",")))],
    )?;
    Ok(rows.iter().map(|row| text(row, 0)).collect())
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|_| Error::stop("a table can't be noted"))
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
    states::copying_again(table)
}

/// All ranges again, in one, in place of what is there.
pub fn copy_all_again(table: &str, reason: &str) -> Result<(), Error> {
    super::quarantine::forget(table)?;
    sql::run("DELETE FROM odoo_mirror_internal.ranges WHERE table_name = $1", &[Some(table)])?;
    sql::run(
        "INSERT INTO odoo_mirror_internal.ranges (table_name, ordinal, replace) VALUES ($1, 0, true)",
        &[Some(table)],
    )?;
    states::copying_anew(table, reason)
}

/// The table's rows are compared with the source's, online, and what differs is written; readers
/// keep what is there. The stream's changes are applied meanwhile, and may meet rows that aren't as
/// they should be.
pub fn reconcile(table: &str, reason: &str) -> Result<(), Error> {
    // Every key is compared, and those that are refused are noted again.
    super::quarantine::forget(table)?;
    sql::run("DELETE FROM odoo_mirror_internal.ranges WHERE table_name = $1", &[Some(table)])?;
    compare_all(table, reason)
}

/// As [reconcile], instead of going on with a first copy. Ranges that other workers are copying
/// stay until they are done.
pub fn reconcile_instead(table: &str, reason: &str) -> Result<(), Error> {
    sql::run(
        "WITH free AS (SELECT ordinal FROM odoo_mirror_internal.ranges WHERE table_name = $1 FOR UPDATE SKIP LOCKED) \
         DELETE FROM odoo_mirror_internal.ranges r USING free WHERE r.table_name = $1 AND r.ordinal = free.ordinal",
        &[Some(table)],
    )?;
    compare_all(table, reason)
}

/// Ranges of first copies that were given up.
pub fn forget_given_up_ranges() -> Result<(), Error> {
    sql::run(
        "DELETE FROM odoo_mirror_internal.ranges r USING odoo_mirror_internal.tables t \
         WHERE t.name = r.table_name AND t.state = 'reconciling'",
        &[],
    )
    .map(drop)
}

fn compare_all(table: &str, reason: &str) -> Result<(), Error> {
    sql::run(
        "INSERT INTO odoo_mirror_internal.reconciles (table_name, writes, reason) VALUES ($1, true, $2) \
         ON CONFLICT (table_name) DO UPDATE SET writes = true, reason = excluded.reason, done_to = NULL, \
             ranges_done = false, keys_only = false",
        &[Some(table), Some(reason)],
    )?;
    states::reconciling(table, reason)
}

/// These keys (columns as text, in key order) are compared with the source's rows once more, and
/// mended.
pub fn recheck(table: &str, keys: &[Vec<String>]) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    sql::run(
        "INSERT INTO odoo_mirror_internal.reconciles (table_name, writes, reason, ranges_done, keys_only) \
         VALUES ($1, true, 'some keys are compared', true, true) ON CONFLICT DO NOTHING",
        &[Some(table)],
    )?;
    for key in keys {
        let key = serde_json::to_string(key).map_err(|_| Error::stop("a key can't be noted"))?;
        sql::run(
            "INSERT INTO odoo_mirror_internal.rechecks (table_name, key) \
             SELECT $1, array_agg(k ORDER BY place) FROM pg_catalog.jsonb_array_elements_text($2::jsonb) \
             WITH ORDINALITY AS e (k, place) ON CONFLICT DO NOTHING",
            &[Some(table), Some(&key)],
        )?;
    }
    Ok(())
}
