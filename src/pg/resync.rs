//! resync(): copies a table, or all, anew. Readers see the old rows until the commit that brings the new ones.

use super::follow::Following;
use super::registry::{self, Table};
use super::{mirror, sql, table_making, transaction};
use crate::error::Error;
use crate::mirror::ranges::KeyRange;
use crate::mirror::shape::MirrorShape;
use crate::mirror::source_table::SourceTable;
use crate::source::inspect::Inspection;

/// Starts waiting jobs, and ends those whose tables are ready.
pub(super) fn take_jobs(following: &mut Following<'_>) -> Result<(), Error> {
    let jobs = transaction::transaction(|| {
        sql::run(
            "SELECT id, table_name, state FROM odoo_mirror_internal.jobs \
             WHERE kind = 'resync' AND state IN ('waiting', 'running') ORDER BY id",
            &[],
        )
    })?;
    for job in &jobs {
        let (id, table, state) = (sql::text(job, 0), sql::text(job, 1), sql::text(job, 2));
        if state == "waiting" {
            begin(following, &id, &table)?;
        } else {
            finish(following, &id, &table)?;
        }
    }
    Ok(())
}

fn begin(following: &mut Following<'_>, id: &str, name: &str) -> Result<(), Error> {
    let inspection = mirror::inspect(following.network, following.settings, &following.tables, true)?;
    transaction::transaction(|| {
        let chosen = |table: &&Table| name == "*" || table.name == name;
        for table in following.tables.iter().filter(chosen) {
            plan(&inspection, table)?;
        }
        sql::run(
            "UPDATE odoo_mirror_internal.jobs SET state = 'running', started_at = pg_catalog.clock_timestamp() \
             WHERE id = $1::bigint",
            &[Some(id)],
        )
    })?;
    following.tables = transaction::transaction(registry::tables)?;
    following.near = inspection.near;
    following.tell = true;
    Ok(())
}

fn plan(inspection: &Inspection, table: &Table) -> Result<(), Error> {
    let sources: Vec<SourceTable> = inspection.tables.iter().map(|found| found.table.clone()).collect();
    let shapes = MirrorShape::of_all(&sources, &|schema, name| table_making::type_here(schema, name));
    let found = sources
        .iter()
        .zip(shapes)
        .find(|(source, _)| source.schema == table.source.schema && source.name == table.source.name);
    match found {
        None => {
            registry::fail(&table.name, mirror::NOT_PUBLISHED, "ALTER PUBLICATION … ADD TABLE on the source.")
        }
        Some((_, Err(error))) => registry::fail(&table.name, &error.to_string(), &error.hint()),
        Some((source, Ok(shape))) => mirror::take_in(source, &shape, &[KeyRange::ALL]),
    }
}

fn finish(following: &mut Following<'_>, id: &str, name: &str) -> Result<(), Error> {
    let chosen: Vec<&Table> =
        following.tables.iter().filter(|table| name == "*" || table.name == name).collect();
    if chosen.iter().any(|table| matches!(table.state.as_str(), "copying" | "catching_up")) {
        return Ok(());
    }
    let failed: Vec<String> = chosen
        .iter()
        .filter(|table| table.state == "failed")
        .map(|table| format!("{}: {}", table.name, table.reason.as_deref().unwrap_or_default()))
        .collect();
    let (state, error) = if failed.is_empty() { ("done", None) } else { ("failed", Some(failed.join("; "))) };
    transaction::transaction(|| {
        sql::run(
            "UPDATE odoo_mirror_internal.jobs SET state = $2, error = $3, finished_at = pg_catalog.clock_timestamp(), \
                    result = (SELECT pg_catalog.jsonb_object_agg(t.table_name, t.rows) FROM \
                        (SELECT r.table_name, sum(r.rows) AS rows FROM odoo_mirror_internal.ranges r \
                         WHERE $4 = '*' OR r.table_name = $4 GROUP BY 1) t) \
             WHERE id = $1::bigint",
            &[Some(id), Some(state), error.as_deref(), Some(name)],
        )
    })?;
    Ok(())
}
