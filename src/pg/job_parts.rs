//! The parts of jobs: one for each table that a job asked to be compared, until that is done.
//! Several jobs may ask for the same table: the last one takes the comparison over, and what it
//! comes to is the result of all. In the caller's transaction.

use super::sql;
use crate::error::Error;

/// The job's part begins: it owns the table's comparison from here on, whoever had asked before.
pub fn take(job: &str, table: &str) -> Result<(), Error> {
    sql::run(
        "INSERT INTO odoo_mirror_internal.job_parts (job, table_name) VALUES ($1::bigint, $2) \
         ON CONFLICT (job, table_name) DO UPDATE SET taken_over_by = NULL",
        &[Some(job), Some(table)],
    )?;
    sql::run(
        "WITH others AS (UPDATE odoo_mirror_internal.job_parts SET taken_over_by = $1::bigint \
                         WHERE table_name = $2 AND job <> $1::bigint RETURNING job) \
         UPDATE odoo_mirror_internal.jobs j SET result = coalesce(j.result, '{}') \
             || pg_catalog.jsonb_build_object($2, pg_catalog.jsonb_build_object('taken_over_by', $1::bigint)) \
         FROM others o WHERE j.id = o.job",
        &[Some(job), Some(table)],
    )?;
    sql::run(
        "UPDATE odoo_mirror_internal.reconciles SET job = $1::bigint WHERE table_name = $2",
        &[Some(job), Some(table)],
    )
    .map(drop)
}

/// What was asked of this table is done: `result`, a JSON object, goes to each job that asked for
/// it.
pub fn done(table: &str, result: &str) -> Result<(), Error> {
    sql::run(
        "WITH ended AS (DELETE FROM odoo_mirror_internal.job_parts WHERE table_name = $1 RETURNING job, taken_over_by) \
         UPDATE odoo_mirror_internal.jobs j SET result = coalesce(j.result, '{}') || pg_catalog.jsonb_build_object($1, \
             $2::jsonb || CASE WHEN e.taken_over_by IS NULL THEN '{}' \
                          ELSE pg_catalog.jsonb_build_object('taken_over_by', e.taken_over_by) END) \
         FROM ended e WHERE j.id = e.job",
        &[Some(table), Some(result)],
    )
    .map(drop)
}

/// What was asked of this table can't be done: each job that asked for it fails, and says why.
pub fn failed(table: &str, why: &str) -> Result<(), Error> {
    sql::run(
        "WITH ended AS (DELETE FROM odoo_mirror_internal.job_parts WHERE table_name = $1 RETURNING job) \
         UPDATE odoo_mirror_internal.jobs j SET error = concat_ws('; ', j.error, $2::text) \
         FROM ended e WHERE j.id = e.job",
        &[Some(table), Some(&format!("{table}: {why}"))],
    )
    .map(drop)
}

/// What a part of a job still waits for.
pub enum Open {
    /// Its table is compared or copied.
    Busy,
    /// Its table was copied anew: so many rows.
    Copied(String),
    /// Nothing compares the table any more, and nothing has for this job.
    Forgotten,
    /// Its table failed, and says why.
    Failed(String),
    /// Its table is mirrored no longer.
    Gone,
}

/// The job's open parts, by table.
pub fn open(job: &str) -> Result<Vec<(String, Open)>, Error> {
    let rows = sql::run(
        "SELECT p.table_name, t.state, t.reason, \
                EXISTS (SELECT FROM odoo_mirror_internal.reconciles r WHERE r.table_name = p.table_name), \
                (SELECT sum(g.rows) FROM odoo_mirror_internal.ranges g JOIN odoo_mirror_internal.jobs j ON j.id = p.job \
                 WHERE g.table_name = p.table_name AND g.copied_at >= j.started_at) \
         FROM odoo_mirror_internal.job_parts p LEFT JOIN odoo_mirror_internal.tables t ON t.name = p.table_name \
         WHERE p.job = $1::bigint ORDER BY p.table_name",
        &[Some(job)],
    )?;
    let state = |row: &sql::Row| match row[1].as_deref() {
        None => Open::Gone,
        Some("failed") => Open::Failed(sql::text(row, 2)),
        Some(_) if sql::text(row, 3) == "t" => Open::Busy,
        Some("ready") => row[4].clone().map_or(Open::Forgotten, Open::Copied),
        Some(_) => Open::Busy,
    };
    Ok(rows.iter().map(|row| (sql::text(row, 0), state(row))).collect())
}
