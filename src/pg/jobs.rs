//! What was asked of the worker: resync() and verify(). Each takes its turn table by table
//! (`reconcile`); here they begin and end.

use std::time::Duration;

use super::follow::Following;
use super::indexes::{self, Others};
use super::job_parts::{self, Open};
use super::registry::{self, Table};
use super::wanted::still_wanted;
use super::{board, mirror, naming, objects, reconcile, sql, table_making, tending, transaction};
use crate::error::{Error, Verdict};
use crate::mirror::source_table::SourceTable;
use crate::mirror::table_state::Failure;
use crate::source::inspect::Inspection;

struct Job {
    id: String,
    /// `*`: all tables.
    table: String,
    verify: bool,
    repair: bool,
}

impl Job {
    fn chooses(&self, table: &Table) -> bool {
        self.table == "*" || self.table == table.name
    }
}

/// Begins waiting jobs, and ends those whose tables are done.
pub(super) fn tend(following: &mut Following<'_>) -> Result<(), Error> {
    let rows = transaction::transaction(|| {
        verify_what_is_due()?;
        sql::run(
            "SELECT id, table_name, kind = 'verify', repair, state FROM odoo_mirror_internal.jobs \
             WHERE state IN ('waiting', 'running') ORDER BY id",
            &[],
        )
    })?;
    for row in &rows {
        let job = Job {
            id: sql::text(row, 0),
            table: sql::text(row, 1),
            verify: sql::text(row, 2) == "t",
            repair: sql::text(row, 3) == "t",
        };
        if sql::text(row, 4) == "running" {
            transaction::transaction(|| finish(following, &job))?;
        } else {
            begin(following, &job)?;
        }
    }
    Ok(())
}

/// How often continuous verification looks what is due, if it is on.
pub(super) fn pace() -> Option<Duration> {
    let period = Duration::from_secs(u64::try_from(super::guc::VERIFY_PERIOD.get()).unwrap_or(1));
    super::guc::VERIFY_CONTINUOUSLY.get().then_some(period / 20)
}

/// With continuous verification: the table whose proof is the oldest, when it is too old.
fn verify_what_is_due() -> Result<(), Error> {
    if !super::guc::VERIFY_CONTINUOUSLY.get() {
        return Ok(());
    }
    let period = super::guc::VERIFY_PERIOD.get().to_string();
    // The tables' turns are spread over the period: with one at a time, each has its own moment.
    sql::run(
        "INSERT INTO odoo_mirror_internal.jobs (kind, table_name, repair, requested_by) \
         SELECT 'verify', t.name, true, 'odoo_mirror' FROM odoo_mirror_internal.tables t \
         WHERE t.state = 'ready' \
           AND (t.verified_at IS NULL OR t.verified_at < pg_catalog.clock_timestamp() - 0.9 * $1::int * interval '1 second') \
           AND NOT EXISTS (SELECT FROM odoo_mirror_internal.jobs j WHERE j.kind = 'verify' \
                           AND (j.state IN ('waiting', 'running') \
                                OR j.table_name = t.name AND j.finished_at > pg_catalog.clock_timestamp() - 0.1 * $1::int * interval '1 second')) \
         ORDER BY t.verified_at NULLS FIRST, t.name LIMIT 1",
        &[Some(&period)],
    )?;
    // Its own jobs are kept while they tell something.
    sql::run(
        "DELETE FROM odoo_mirror_internal.jobs WHERE requested_by = 'odoo_mirror' AND state = 'done' AND finished_at < \
         pg_catalog.clock_timestamp() - 2 * $1::int * interval '1 second'",
        &[Some(&period)],
    )
    .map(drop)
}

fn begin(following: &mut Following<'_>, job: &Job) -> Result<(), Error> {
    let inspection = match job.verify {
        true => None,
        false => {
            let known = following.tables.clone();
            match tending::inspect(following, &known)? {
                None => return Ok(()),
                inspection => inspection,
            }
        }
    };
    if inspection.is_some() {
        // What is on its way belongs to the tables as they were.
        following.pause()?;
        following.tables = transaction::transaction(registry::tables)?;
    }
    let begun = transaction::transaction(|| {
        for table in following.tables.iter().filter(|table| job.chooses(table)) {
            match &inspection {
                Some(inspection) => resync(inspection, table, job)?,
                None if !table.state.is_failed() => {
                    reconcile::add(&table.name, job.repair, "verify()", &job.id)?;
                }
                None => {}
            }
        }
        if inspection.is_some() {
            objects::refresh()?;
        }
        sql::run(
            "UPDATE odoo_mirror_internal.jobs SET state = 'running', started_at = pg_catalog.clock_timestamp() \
             WHERE id = $1::bigint",
            &[Some(&job.id)],
        )
    });
    match begun {
        // Somebody holds a lock on a table here: the job waits, nothing else does.
        Err(error) if error.verdict == Verdict::Retry => {
            board::set_error(&error);
            return Ok(());
        }
        begun => begun?,
    };
    if inspection.is_some() {
        // A column may have come that an index was waiting for.
        indexes::build_all(Others::Await, || still_wanted(following.settings))?;
    }
    following.tables = transaction::transaction(registry::tables)?;
    Ok(())
}

/// The table is taken over as it is on the source by now, and its rows are compared and mended.
fn resync(inspection: &Inspection, table: &Table, job: &Job) -> Result<(), Error> {
    let sources: Vec<SourceTable> = inspection.tables.iter().map(|found| found.table.clone()).collect();
    let shapes = naming::shapes(&sources, &registry::tables()?, |_| true);
    let found = sources
        .iter()
        .zip(shapes)
        .find(|(source, _)| source.schema == table.source.schema && source.name == table.source.name);
    match found {
        None => {
            let hint = "ALTER PUBLICATION … ADD TABLE on the source.";
            registry::fail(&table.name, Failure::NotPublished, registry::NOT_PUBLISHED, hint)
        }
        Some((_, Err(error))) => {
            registry::fail(&table.name, error.failure(), &error.to_string(), &error.hint())
        }
        Some((source, Ok(shape))) => {
            if let Some(found) = inspection.tables.iter().find(|found| found.table.oid == source.oid) {
                objects::note_comments(&shape.name, &found.comments)?;
            }
            mirror::take_in(source, &shape, &[], table_making::Filling::Online)?;
            // What was found before it began anew is not what it comes to.
            sql::run(
                "UPDATE odoo_mirror_internal.reconciles SET reason = 'resync()', compared = 0, different = 0, \
                     written = 0, found = '[]' WHERE table_name = $1",
                &[Some(&table.name)],
            )?;
            job_parts::take(&job.id, &table.name)
        }
    }
}

/// Why a job has nothing to tell of a table.
const GONE: &str = "it is mirrored no longer";

/// Ends the job when nothing of it is left to be done. A part of it that nothing works on any more,
/// since its table was made anew meanwhile, say, begins again.
fn finish(following: &Following<'_>, job: &Job) -> Result<(), Error> {
    let mut busy = false;
    for (table, part) in job_parts::open(&job.id)? {
        match part {
            Open::Busy => busy = true,
            Open::Forgotten => {
                busy = true;
                let reason = if job.verify { "verify()" } else { "resync()" };
                reconcile::add(&table, job.repair || !job.verify, reason, &job.id)?;
            }
            Open::Copied(rows) => {
                let rows: i64 = rows.parse().unwrap_or(0);
                job_parts::done(&table, &serde_json::json!({ "rows": rows, "copied": true }).to_string())?;
            }
            Open::Failed(why) => job_parts::failed(&table, &why)?,
            Open::Gone => job_parts::failed(&table, GONE)?,
        }
    }
    if busy {
        return Ok(());
    }
    // Tables that had failed before the job began have no part in it.
    let chosen: Vec<&Table> = following.tables.iter().filter(|table| job.chooses(table)).collect();
    let failed = chosen.iter().filter(|table| table.state.is_failed());
    let mut failed: Vec<String> = failed
        .map(|table| format!("{}: {}", table.name, table.reason.as_deref().unwrap_or_default()))
        .collect();
    if chosen.is_empty() && job.table != "*" {
        failed.push(format!("{}: {GONE}", job.table));
    }
    sql::run(
        "UPDATE odoo_mirror_internal.jobs j SET finished_at = pg_catalog.clock_timestamp(), \
                state = CASE WHEN e.error IS NULL THEN 'done' ELSE 'failed' END, error = e.error, \
                result = coalesce(j.result, '{}') \
         FROM (SELECT pg_catalog.string_agg(DISTINCT why, '; ') AS error FROM ( \
                   SELECT j.error FROM odoo_mirror_internal.jobs j WHERE j.id = $1::bigint AND j.error IS NOT NULL \
                   UNION ALL SELECT f.why FROM pg_catalog.jsonb_array_elements_text($2::jsonb) f (why) \
                       JOIN odoo_mirror_internal.jobs j ON j.id = $1::bigint AND pg_catalog.strpos(coalesce(j.error, ''), f.why) = 0) e (why)) e \
         WHERE j.id = $1::bigint",
        &[Some(&job.id), Some(&serde_json::Value::from(failed).to_string())],
    )
    .map(drop)
}
