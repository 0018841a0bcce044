//! Rows that the destination refuses: where they are kept, and when they are tried again.
//!
//! A retry never applies an old version: the key is compared with the source's row under the fence,
//! as any other that must be looked at (`registry::recheck`), so that order and later events are
//! its matter. What is kept of a row only tells whether it would be refused still.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::apply::{Applier, Care, Held, Verdicts};
use super::follow::Following;
use super::registry::{self, Table};
use super::sql::{self, text};
use super::{table_making, transaction};
use crate::error::Error;
use crate::mirror::batch::{Batch, Boundary};
use crate::mirror::fence::RowKey;
use crate::mirror::kept::KeptColumn;
use crate::mirror::shape::RowIdentity;
use crate::mirror::stream_table::Layout;
use crate::mirror::table_state::{Cure, Failure, TableState};
use crate::wire::Lsn;

/// How often it is tried, and undone, whether kept rows would still be refused.
const PROBE_EVERY: Duration = Duration::from_secs(15);

/// A failed table of which no row can be tried is compared anew this often.
const TRY_EVERY: Duration = Duration::from_secs(25);

/// Kept rows, of different errors, that are tried at a time of each table.
const PROBES: usize = 5;

/// Why a table fails.
pub fn reason(error: &Error) -> String {
    match error.sqlstate {
        Some(_) => format!("the mirror's table refused a row: {}", error.message),
        None => format!("the mirror's table can't take a change: {}", error.message),
    }
}

/// Whether the table failed since its mirror didn't take what the source has: that may pass here.
fn refused(table: &Table) -> bool {
    table.state.failure().is_some_and(|failure| failure.cure() == Cure::Here)
}

/// What refused a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The stream brought it: each time counts.
    Stream,
    /// Compared with the source, where the mirror stands at this commit: it counts when it is new.
    Comparing(Lsn),
}

/// Which rows are set aside.
pub fn held() -> Result<Held, Error> {
    let rows = sql::run(
        "SELECT table_name, pg_catalog.to_json(key)::text FROM odoo_mirror_internal.quarantine",
        &[],
    )?;
    let mut held = Held::new();
    for row in &rows {
        held.entry(text(row, 0)).or_default().insert(key(&text(row, 1)));
    }
    Ok(held)
}

fn key(json: &str) -> RowKey {
    serde_json::from_str(json).unwrap_or_default()
}

/// Notes what became of rows, in the transaction that made it so.
pub fn note(table: &str, verdicts: &Verdicts, source: Source) -> Result<(), Error> {
    let mut new = 0_u64;
    let at = match source {
        // Known at the end of the transaction.
        Source::Stream => None,
        Source::Comparing(at) => Some(at.to_string()),
    };
    let last: HashMap<&RowKey, _> = verdicts.iter().map(|(key, refusal)| (key, refusal)).collect();
    for (key, refusal) in last {
        let key = serde_json::to_string(key).map_err(|_| Error::stop("a key can't be noted"))?;
        let Some(refusal) = refusal else {
            sql::run(
                "DELETE FROM odoo_mirror_internal.quarantine q WHERE table_name = $1 AND key = \
                 ARRAY(SELECT pg_catalog.jsonb_array_elements_text($2::jsonb))",
                &[Some(table), Some(&key)],
            )?;
            continue;
        };
        let (message, sqlstate) = match &refusal.error {
            Some((message, sqlstate)) => (Some(message.as_str()), Some(sqlstate.as_str())),
            None => (None, None),
        };
        let inserted = sql::value(
            "INSERT INTO odoo_mirror_internal.quarantine AS q (table_name, key, operation, kept, error, sqlstate, attempts, retry_at, lsn) \
             VALUES ($1, ARRAY(SELECT pg_catalog.jsonb_array_elements_text($2::jsonb)), $3, $4::jsonb, \
                     coalesce($5, 'known in part, to be fetched from the source'), $6, \
                     CASE WHEN $5 IS NULL THEN 0 ELSE 1 END, \
                     pg_catalog.clock_timestamp() + CASE WHEN $5 IS NULL THEN interval '0' ELSE interval '30 s' END, $7::pg_lsn) \
             ON CONFLICT (table_name, key) DO UPDATE SET operation = excluded.operation, \
                 kept = CASE WHEN $5 IS NULL THEN coalesce(q.kept, '{}') || excluded.kept ELSE excluded.kept END, \
                 error = coalesce($5, q.error), sqlstate = coalesce($6, q.sqlstate), attempts = q.attempts + excluded.attempts, \
                 failed_at = pg_catalog.clock_timestamp(), lsn = excluded.lsn, committed_at = NULL, \
                 retry_at = CASE WHEN $5 IS NULL THEN least(q.retry_at, pg_catalog.clock_timestamp() + interval '1 s') \
                     ELSE pg_catalog.clock_timestamp() + least(interval '1 h', interval '30 s' * power(2, least(q.attempts, 10))) END \
             RETURNING xmax = '0'::xid",
            &[
                Some(table),
                Some(&key),
                Some(refusal.operation),
                refusal.row.as_deref(),
                message,
                sqlstate,
                at.as_deref(),
            ],
        )?;
        let refused_again = source == Source::Stream && refusal.error.is_some();
        let counts = refused_again || inserted.as_deref() == Some("t");
        new += u64::from(counts);
    }
    if new > 0 {
        sql::run(
            "UPDATE odoo_mirror_internal.tables SET failed_rows = failed_rows + $2::bigint WHERE name = $1",
            &[Some(table), Some(&new.to_string())],
        )?;
    }
    Ok(())
}

/// The open transaction ends at this commit of the source: there the rows stand that it set aside.
pub fn stamp(boundary: Boundary) -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.quarantine SET lsn = $1::pg_lsn, \
                committed_at = timestamptz '2000-01-01 00:00:00+00' + $2::bigint * interval '1 microsecond' \
         WHERE lsn IS NULL",
        &[Some(&boundary.end.to_string()), Some(&boundary.commit_time.to_string())],
    )
    .map(drop)
}

/// The table's rows are all compared, or copied, anew.
pub fn forget(table: &str) -> Result<(), Error> {
    sql::run("DELETE FROM odoo_mirror_internal.quarantine WHERE table_name = $1", &[Some(table)]).map(drop)
}

/// A copy met a refused row, and can't tell which: the table is compared piece by piece instead,
/// which can leave it out. False: that can't be, and the table fails.
pub fn instead_of_copy(name: &str) -> Result<bool, Error> {
    let tables = registry::tables()?;
    let table = tables.iter().find(|table| table.name == name && table.shape.identity == RowIdentity::Key);
    if table.is_none() {
        return Ok(false);
    }
    registry::reconcile_instead(name, "a row was refused, and it is filled piece by piece")?;
    Ok(true)
}

/// A life begins: what was refused before is tried again.
pub fn begin() -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.quarantine SET retry_at = pg_catalog.clock_timestamp() \
         WHERE retry_at > pg_catalog.clock_timestamp()",
        &[],
    )?;
    for table in registry::tables()?.iter().filter(|table| refused(table)) {
        if may_go_on(table)? {
            anew(table)?;
        }
    }
    Ok(())
}

/// Whether another try may succeed: a table that somebody altered must be as it was made.
fn may_go_on(table: &Table) -> Result<bool, Error> {
    match table.state.failure() {
        Some(Failure::Altered) => Ok(table_making::is_as_made(&table.shape).unwrap_or(false)),
        _ => Ok(true),
    }
}

fn anew(table: &Table) -> Result<(), Error> {
    const WHY: &str = "it was refused rows, and is compared with the source's";
    match table.shape.identity {
        RowIdentity::Key => registry::reconcile(&table.name, WHY),
        _ => registry::copy_all_again(&table.name, WHY),
    }
}

/// What following the stream remembers of it.
#[derive(Default)]
pub(super) struct Tending {
    probed: Option<Instant>,
    /// When failed tables were last tried, or first seen.
    tried: HashMap<String, Instant>,
}

/// Has rows tried again whose time has come, and those whose cause seems to be gone.
pub(super) fn tend(following: &mut Following<'_>) -> Result<(), Error> {
    let held_now = transaction::transaction(held)?;
    if !held_now.is_empty() || !following.applier.held().is_empty() {
        following.applier.hold(held_now);
    }
    let mut mended = false;
    if following.quarantine.probed.is_none_or(|probed| probed.elapsed() >= PROBE_EVERY) {
        following.quarantine.probed = Some(Instant::now());
        let held = following.applier.held();
        let probed = |table: &&Table| {
            held.contains_key(&table.name) && (table.state == TableState::Ready || refused(table))
        };
        for table in following.tables.iter().filter(probed) {
            if passes(table)? == Some(true) {
                mended |= refused(table);
                transaction::transaction(|| cause_is_gone(table))?;
            }
        }
    }
    for table in following.tables.iter().filter(|table| refused(table)) {
        let tried = following.quarantine.tried.entry(table.name.clone()).or_insert_with(Instant::now);
        if tried.elapsed() < TRY_EVERY {
            continue;
        }
        *tried = Instant::now();
        if passes(table)? != Some(false) && transaction::transaction(|| may_go_on(table))? {
            mended = true;
            transaction::transaction(|| anew(table))?;
        }
    }
    if mended {
        following.tables = transaction::transaction(registry::tables)?;
        following.look_again();
    }
    let streamed = following
        .tables
        .iter()
        .filter(|table| matches!(table.state, TableState::Ready | TableState::Reconciling));
    let streamed: HashSet<&str> = streamed.map(|table| table.name.as_str()).collect();
    if following.applier.held().keys().any(|table| streamed.contains(table.as_str())) {
        transaction::transaction(|| ask_for_due(&streamed))?;
    }
    Ok(())
}

/// Has the source's rows fetched whose time has come.
fn ask_for_due(streamed: &HashSet<&str>) -> Result<(), Error> {
    let rows = sql::run(
        "SELECT table_name, pg_catalog.to_json(key)::text FROM odoo_mirror_internal.quarantine \
         WHERE retry_at <= pg_catalog.clock_timestamp()",
        &[],
    )?;
    let mut due: HashMap<String, Vec<RowKey>> = HashMap::new();
    for row in rows.iter().filter(|row| streamed.contains(text(row, 0).as_str())) {
        due.entry(text(row, 0)).or_default().push(key(&text(row, 1)));
    }
    for (table, keys) in &due {
        registry::recheck(table, keys)?;
        sql::run(
            "UPDATE odoo_mirror_internal.quarantine SET retry_at = pg_catalog.clock_timestamp() \
                 + least(interval '1 h', interval '30 s' * power(2, least(attempts, 10))) \
             WHERE table_name = $1 AND retry_at <= pg_catalog.clock_timestamp()",
            &[Some(table)],
        )?;
    }
    Ok(())
}

/// Some kept row of the table would be taken now.
fn cause_is_gone(table: &Table) -> Result<(), Error> {
    if table.state.is_failed() {
        return anew(table);
    }
    sql::run(
        "UPDATE odoo_mirror_internal.quarantine SET retry_at = pg_catalog.clock_timestamp() WHERE table_name = $1",
        &[Some(&table.name)],
    )
    .map(drop)
}

/// Tries a kept row of each error, and undoes it: true, if one would be taken; None, if none is
/// kept that can be tried.
fn passes(table: &Table) -> Result<Option<bool>, Error> {
    let rows = transaction::transaction(|| {
        sql::run(
            "SELECT DISTINCT ON (error) pg_catalog.to_json(key)::text, operation = 'delete', kept::text \
             FROM odoo_mirror_internal.quarantine WHERE table_name = $1 AND attempts > 0 \
               AND (operation = 'delete' OR kept IS NOT NULL) ORDER BY error, failed_at LIMIT $2::int",
            &[Some(&table.name), Some(&PROBES.to_string())],
        )
    })?;
    let mut tried = None;
    for row in &rows {
        let kept = (text(row, 1) != "t").then(|| columns(table, &text(row, 2)));
        let key = key(&text(row, 0));
        let layout = layout(table);
        let Ok(batch) = Batch::of_kept(&table.for_stream(false, false), &layout, &key, kept.as_deref())
        else {
            continue;
        };
        if would_pass(&batch) {
            return Ok(Some(true));
        }
        tried = Some(false);
    }
    Ok(tried)
}

fn would_pass(batch: &Batch) -> bool {
    transaction::begin();
    let applied = transaction::attempt(|| {
        sql::run("SET CONSTRAINTS ALL IMMEDIATE", &[])?;
        Applier::mending().apply(batch, Care::None)
    });
    transaction::abort();
    applied.is_ok()
}

fn layout(table: &Table) -> Arc<Layout> {
    let columns = &table.shape.columns;
    let place = |key: &String| columns.iter().position(|column| column.name == *key);
    let key = table.shape.key.iter().filter_map(place).collect();
    Arc::new(Layout {
        columns: columns.iter().map(|column| Some(column.name.clone())).collect(),
        key,
        identifies: true,
    })
}

fn columns(table: &Table, kept: &str) -> Vec<KeptColumn> {
    let kept: serde_json::Map<String, serde_json::Value> = serde_json::from_str(kept).unwrap_or_default();
    let column = |name: &str| kept.get(name).map(|value| value.as_str().map(str::to_owned));
    table.shape.columns.iter().map(|found| column(&found.name)).collect()
}
