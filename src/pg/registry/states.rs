//! How a table's state changes: the only statements that do it. Each sets all columns that belong
//! to the state: why it failed and since when, reason, hint, drift, since when it is ready, what is
//! proven of it, and its generation where it means something else to the stream from then on. In
//! the caller's transaction.

use super::json;
use crate::error::Error;
use crate::mirror::shape::MirrorShape;
use crate::mirror::source_table::SourceTable;
use crate::mirror::table_state::Failure;
use crate::pg::sql;
use crate::wire::Lsn;

/// What a table that isn't ready says of neither.
const UNPROVEN: &str = "ready_since = NULL, verified_lsn = NULL, verified_at = NULL";

/// What a table that goes on leaves behind.
const GOES_ON: &str = "failure = NULL, failed_at = NULL, drift = NULL";

fn change(set: &str, which: &str, parameters: &[Option<&str>]) -> Result<(), Error> {
    sql::run(&format!("UPDATE odoo_mirror_internal.tables t SET {set} WHERE {which}"), parameters).map(drop)
}

/// The table as it is on the source, and as it is to be here, where its rows are about to be
/// copied.
pub fn take_in(source: &SourceTable, shape: &MirrorShape) -> Result<(), Error> {
    let insert = format!(
        "INSERT INTO odoo_mirror_internal.tables AS t \
             (name, source_oid, source_schema, source_name, definition, shape, state, hint, estimated_rows, \
              estimated_bytes, copy_started_at) \
         VALUES ($1, $2::oid, $3, $4, $5::jsonb, $6::jsonb, 'copying', $7, $8::bigint, $9::bigint, \
                 pg_catalog.clock_timestamp()) \
         ON CONFLICT (name) DO UPDATE SET source_oid = excluded.source_oid, source_schema = excluded.source_schema, \
             source_name = excluded.source_name, definition = excluded.definition, shape = excluded.shape, \
             state = 'copying', {GOES_ON}, reason = NULL, hint = excluded.hint, generation = t.generation + 1, \
             estimated_rows = excluded.estimated_rows, estimated_bytes = excluded.estimated_bytes, \
             copy_started_at = excluded.copy_started_at, {UNPROVEN}"
    );
    let parameters = [
        Some(&*shape.name),
        Some(&source.oid.to_string()),
        Some(&source.schema),
        Some(&source.name),
        Some(&json(source)?),
        Some(&json(shape)?),
        shape.note.as_deref(),
        Some(&source.estimated_rows.to_string()),
        Some(&source.bytes.to_string()),
    ];
    sql::run(&insert, &parameters).map(drop)
}

/// The table fails, alone.
pub fn fail(name: &str, failure: Failure, reason: &str, hint: &str) -> Result<(), Error> {
    let set = format!(
        "state = 'failed', failure = $2, failed_at = pg_catalog.clock_timestamp(), reason = $3, hint = $4, drift = NULL, {UNPROVEN}"
    );
    change(&set, "name = $1", &[Some(name), Some(failure.as_str()), Some(reason), Some(hint)])
}

/// A table of the source can't be taken in, or not as it is by now. One that is mirrored already
/// keeps what is known of it.
pub fn fail_to_take_in(
    name: &str,
    source: &SourceTable,
    failure: Failure,
    reason: &str,
    hint: &str,
) -> Result<(), Error> {
    sql::run(
        "INSERT INTO odoo_mirror_internal.tables (name, source_oid, source_schema, source_name, definition, shape, state, failure) \
         VALUES ($1, $2::oid, $3, $4, $5::jsonb, $6::jsonb, 'failed', $7) ON CONFLICT (name) DO NOTHING",
        &[
            Some(name),
            Some(&source.oid.to_string()),
            Some(&source.schema),
            Some(&source.name),
            Some(&json(source)?),
            Some(&json(&MirrorShape::unfit(name))?),
            Some(failure.as_str()),
        ],
    )?;
    fail(name, failure, reason, hint)
}

/// For a new beginning: tables that are still published are taken in again, and keep their
/// counters.
pub fn forget_tables() -> Result<(), Error> {
    let set = format!(
        "state = 'failed', failure = $1, failed_at = pg_catalog.clock_timestamp(), reason = $2, hint = NULL, drift = NULL, {UNPROVEN}"
    );
    change(&set, "true", &[Some(Failure::NotPublished.as_str()), Some(super::NOT_PUBLISHED)])
}

/// The source changed the table, and only its rows can tell how: it is to be taken over as it is by
/// now.
pub fn drifted(name: &str, reason: &str) -> Result<(), Error> {
    let set = format!(
        "state = 'reconciling', failure = NULL, failed_at = NULL, drift = $2, reason = $2, hint = NULL, {UNPROVEN}, \
         generation = generation + 1"
    );
    change(&set, "name = $1", &[Some(name), Some(reason)])
}

/// Rows of the table are being compared with the source's, all of them, and what differs is
/// written.
pub(super) fn reconciling(name: &str, reason: &str) -> Result<(), Error> {
    let set = format!(
        "state = 'reconciling', {GOES_ON}, reason = $2, hint = NULL, {UNPROVEN}, generation = generation + 1"
    );
    change(&set, "name = $1", &[Some(name), Some(reason)])
}

/// A range is read again; the others stay as they are.
pub(super) fn copying_again(name: &str) -> Result<(), Error> {
    change(&format!("state = 'copying', {GOES_ON}, {UNPROVEN}"), "name = $1", &[Some(name)])
}

/// All ranges are read anew.
pub(super) fn copying_anew(name: &str, reason: &str) -> Result<(), Error> {
    let set = format!(
        "state = 'copying', {GOES_ON}, reason = $2, {UNPROVEN}, generation = generation + 1, \
         copy_started_at = pg_catalog.clock_timestamp()"
    );
    change(&set, "name = $1", &[Some(name), Some(reason)])
}

/// Tables whose ranges are all in stand at the stream's door.
pub fn set_catching_up() -> Result<(), Error> {
    let all_in = "state = 'copying' AND NOT EXISTS ( \
         SELECT FROM odoo_mirror_internal.ranges r WHERE r.table_name = t.name AND r.snapshot IS NULL)";
    change("state = 'catching_up'", all_in, &[])
}

/// The table shows the source as of the applied commit.
pub fn set_ready(name: &str) -> Result<(), Error> {
    let set =
        format!("state = 'ready', {GOES_ON}, reason = NULL, ready_since = pg_catalog.clock_timestamp()");
    change(&set, "name = $1", &[Some(name)])
}

/// What a comparison from end to end says of the table's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Every row is equal, as of that commit.
    Equal(Lsn),
    /// Something differed and was left, or is set aside.
    Different,
    /// Only some keys were compared: what was proven before still is.
    Unchanged,
}

/// The table was compared, and is ready.
pub fn compared(name: &str, proof: Proof) -> Result<(), Error> {
    let ready = "state = 'ready', failure = NULL, failed_at = NULL, \
         ready_since = CASE state WHEN 'ready' THEN ready_since ELSE pg_catalog.clock_timestamp() END, \
         reason = CASE state WHEN 'ready' THEN reason END";
    let at = match proof {
        Proof::Equal(at) => Some(at.to_string()),
        Proof::Different | Proof::Unchanged => None,
    };
    let proven = match proof {
        Proof::Unchanged => "",
        _ => {
            ", verified_lsn = $2::pg_lsn, verified_at = CASE WHEN $2 IS NOT NULL THEN pg_catalog.clock_timestamp() END"
        }
    };
    let parameters: &[Option<&str>] = match proof {
        Proof::Unchanged => &[Some(name)],
        _ => &[Some(name), at.as_deref()],
    };
    change(&format!("{ready}{proven}"), "name = $1", parameters)
}
