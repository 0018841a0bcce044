//! What reconciling keeps in tables: how far each table is, which keys are left, what was found. In
//! the caller's transaction.

use crate::error::Error;
use crate::mirror::fence::RowKey;
use crate::pg::apply::Verdicts;
use crate::pg::job_parts;
use crate::pg::registry::{self, Proof};
use crate::pg::sql::{self, text};
use crate::wire::Lsn;

/// One row of `reconciles`.
#[derive(Debug, Clone)]
pub(super) struct Note {
    pub(super) table: String,
    pub(super) writes: bool,
    pub(super) done_to: Option<RowKey>,
    pub(super) ranges_done: bool,
    /// Whoever writes to the table when it is begun must be seen.
    pub(super) writers: bool,
}

/// What is to be compared next: first what readers are waiting for;
/// those that have something to wait for on the source come last.
pub(super) fn next(waiting: &[&str]) -> Result<Option<Note>, Error> {
    let waiting = serde_json::to_string(waiting).map_err(|_| Error::stop("a name can't be noted"))?;
    let rows = sql::run(
        "SELECT r.table_name, r.writes, pg_catalog.to_json(r.done_to)::text, r.ranges_done, r.writers FROM odoo_mirror_internal.reconciles r \
         JOIN odoo_mirror_internal.tables t ON t.name = r.table_name \
         WHERE t.state IN ('ready', 'reconciling') AND t.drift IS NULL \
         ORDER BY coalesce((SELECT w.place FROM pg_catalog.jsonb_array_elements_text($1::jsonb) WITH ORDINALITY w (name, place) \
                            WHERE w.name = r.table_name), 0), t.state = 'ready', r.ranges_done DESC, r.done_to IS NULL, r.started_at, r.table_name LIMIT 1",
        &[Some(&waiting)],
    )?;
    Ok(rows.first().map(|row| Note {
        table: text(row, 0),
        writes: text(row, 1) == "t",
        done_to: row[2].as_ref().and_then(|value| serde_json::from_str(value).ok()),
        ranges_done: text(row, 3) == "t",
        writers: text(row, 4) == "t",
    }))
}

/// What one piece came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) compared: u64,
    pub(super) different: u64,
    pub(super) written: u64,
    /// What differed, or some of it.
    pub(super) found: Vec<serde_json::Value>,
    pub(super) again: Vec<RowKey>,
}

/// How many differing keys a job's result names.
pub(super) const MOST_FOUND: usize = 100;

/// Notes what became of a range; false: the table's reconcile was begun anew meanwhile, or given
/// up.
pub(super) fn piece_done(
    note: &Note,
    generation: u64,
    to: Option<&RowKey>,
    last: bool,
    outcome: &Outcome,
) -> Result<bool, Error> {
    let before = note.done_to.as_ref().map(|key| json(key)).transpose()?;
    let to = to.map(|key| json(key)).transpose()?;
    let updated = sql::value(
        "UPDATE odoo_mirror_internal.reconciles r \
         SET done_to = CASE WHEN $3::jsonb IS NOT NULL THEN ARRAY(SELECT pg_catalog.jsonb_array_elements_text($3::jsonb)) END, ranges_done = ranges_done OR $4::boolean, compared = compared + $5::bigint, \
             different = different + $6::bigint, written = written + $7::bigint, \
             found = CASE WHEN pg_catalog.jsonb_array_length(found) >= $9::int THEN found ELSE found || $8::jsonb END \
         FROM odoo_mirror_internal.tables t \
         WHERE r.table_name = $1 AND t.name = $1 AND t.generation = $10::bigint AND NOT r.ranges_done \
           AND pg_catalog.to_jsonb(r.done_to) IS NOT DISTINCT FROM $2::jsonb RETURNING 1",
        &[
            Some(&note.table),
            before.as_deref(),
            to.as_deref(),
            Some(if last { "true" } else { "false" }),
            Some(&outcome.compared.to_string()),
            Some(&outcome.different.to_string()),
            Some(&outcome.written.to_string()),
            Some(&serde_json::Value::from(outcome.found.clone()).to_string()),
            Some(&MOST_FOUND.to_string()),
            Some(&generation.to_string()),
        ],
    )?;
    registry::recheck(&note.table, &outcome.again)?;
    Ok(updated.is_some())
}

/// Of what a piece wrote, this was refused.
pub(super) fn refused(note: &Note, verdicts: &Verdicts) -> Result<(), Error> {
    let keys: Vec<&RowKey> =
        verdicts.iter().filter(|(_, refusal)| refusal.is_some()).map(|(key, _)| key).collect();
    if keys.is_empty() {
        return Ok(());
    }
    sql::run(
        "UPDATE odoo_mirror_internal.reconciles SET written = written - $2::bigint WHERE table_name = $1",
        &[Some(&note.table), Some(&keys.len().to_string())],
    )
    .map(drop)
}

/// Notes what became of keys that were compared once more.
pub(super) fn keys_done(note: &Note, keys: &[RowKey], outcome: &Outcome) -> Result<bool, Error> {
    let keys = json(keys)?;
    sql::run(
        "DELETE FROM odoo_mirror_internal.rechecks r USING ( \
             SELECT ARRAY(SELECT pg_catalog.jsonb_array_elements_text(e)) AS key FROM pg_catalog.jsonb_array_elements($2::jsonb) e) d \
         WHERE r.table_name = $1 AND r.key = d.key",
        &[Some(&note.table), Some(&keys)],
    )?;
    registry::recheck(&note.table, &outcome.again)?;
    let updated = sql::value(
        "UPDATE odoo_mirror_internal.reconciles SET compared = compared + $2::bigint, different = different + $3::bigint, \
                written = written + $4::bigint, \
                found = CASE WHEN pg_catalog.jsonb_array_length(found) >= $6::int THEN found ELSE found || $5::jsonb END \
         WHERE table_name = $1 RETURNING 1",
        &[
            Some(&note.table),
            Some(&outcome.compared.to_string()),
            Some(&outcome.different.to_string()),
            Some(&outcome.written.to_string()),
            Some(&serde_json::Value::from(outcome.found.clone()).to_string()),
            Some(&MOST_FOUND.to_string()),
        ],
    )?;
    Ok(updated.is_some())
}

/// Some keys that are to be compared once more.
pub(super) fn keys_left(table: &str, most: i64) -> Result<Vec<RowKey>, Error> {
    let rows = sql::run(
        "SELECT pg_catalog.to_json(key)::text FROM odoo_mirror_internal.rechecks WHERE table_name = $1 LIMIT $2::bigint",
        &[Some(table), Some(&most.to_string())],
    )?;
    Ok(rows.iter().map(|row| serde_json::from_str(&text(row, 0)).unwrap_or_default()).collect())
}

/// The table is compared from end to end: every row was equal or is now, as of `at`; or it was only
/// told what differs.
pub(super) fn table_done(note: &Note, generation: u64, at: Lsn) -> Result<bool, Error> {
    let rows = sql::run(
        "DELETE FROM odoo_mirror_internal.reconciles r USING odoo_mirror_internal.tables t \
         WHERE r.table_name = $1 AND t.name = $1 AND t.generation = $2::bigint AND r.ranges_done \
           AND NOT EXISTS (SELECT FROM odoo_mirror_internal.rechecks k WHERE k.table_name = $1) \
         RETURNING (r.writes OR r.different = 0) AND NOT EXISTS ( \
             SELECT FROM odoo_mirror_internal.quarantine q WHERE q.table_name = $1), r.compared, r.different, r.written, r.found, r.keys_only",
        &[Some(&note.table), Some(&generation.to_string())],
    )?;
    let Some(row) = rows.first() else { return Ok(false) };
    let proof = match (text(row, 5) == "t", text(row, 0) == "t") {
        (true, _) => Proof::Unchanged,
        (false, true) => Proof::Equal(at),
        (false, false) => Proof::Different,
    };
    registry::compared(&note.table, proof)?;
    job_result(&note.table, row, at)?;
    Ok(true)
}

/// What was asked of this table is done: the result of each job that asked.
fn job_result(table: &str, row: &sql::Row, at: Lsn) -> Result<(), Error> {
    let result = sql::value(
        "SELECT pg_catalog.jsonb_build_object('rows', $2::bigint, 'different', $3::bigint, 'written', $4::bigint, \
             'quarantined', (SELECT count(*) FROM odoo_mirror_internal.quarantine q WHERE q.table_name = $1), \
             'found', (SELECT coalesce(pg_catalog.jsonb_agg(CASE WHEN q.key IS NULL THEN f \
                           ELSE f || '{\"quarantined\": true}' END ORDER BY place), '[]') \
                       FROM pg_catalog.jsonb_array_elements($5::jsonb) WITH ORDINALITY AS e (f, place) \
                       LEFT JOIN odoo_mirror_internal.quarantine q ON q.table_name = $1 AND pg_catalog.to_jsonb(q.key) = f -> 'key'), \
             'equal_at', $6::text)",
        &[
            Some(table),
            row[1].as_deref(),
            row[2].as_deref(),
            row[3].as_deref(),
            row[4].as_deref(),
            Some(&at.to_string()),
        ],
    )?;
    job_parts::done(table, &result.unwrap_or_else(|| "{}".to_owned()))
}

/// The table is copied anew instead: that is what the jobs came to that asked for it.
pub(super) fn copied_anew(table: &str, outcome: &Outcome) -> Result<(), Error> {
    forget(table)?;
    let result = serde_json::json!({ "different": true, "copied": true, "found": outcome.found });
    job_parts::done(table, &result.to_string())
}

/// The destination refused the table's rows.
pub(super) fn failed(table: &str, error: &Error) -> Result<(), Error> {
    forget(table)?;
    job_parts::failed(table, &error.message)
}

fn forget(table: &str) -> Result<(), Error> {
    sql::run("DELETE FROM odoo_mirror_internal.reconciles WHERE table_name = $1", &[Some(table)]).map(drop)
}

/// Puts the table on the list of those to be compared for a job, which takes over what another
/// wanted of it.
pub(in crate::pg) fn add(table: &str, writes: bool, reason: &str, job: &str) -> Result<(), Error> {
    sql::run(
        "INSERT INTO odoo_mirror_internal.reconciles AS r (table_name, writes, reason) \
         VALUES ($1, $2::boolean, $3) \
         ON CONFLICT (table_name) DO UPDATE SET writes = r.writes OR excluded.writes, \
             done_to = NULL, ranges_done = false, keys_only = false, compared = 0, different = 0, written = 0, found = '[]'",
        &[Some(table), Some(if writes { "true" } else { "false" }), Some(reason)],
    )?;
    job_parts::take(job, table)
}

fn json<T: serde::Serialize>(keys: &[T]) -> Result<String, Error> {
    serde_json::to_string(keys).map_err(|_| Error::stop("a key can't be noted"))
}
