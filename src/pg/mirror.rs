//! One life of the mirror: connect, look, pass the gate, copy what is missing, then follow the stream until it
//! is stopped or fails.

use super::board::{self, State};
use super::network::Network;
use super::progress::{self, Progress, Settings};
use super::registry::{self, Table};
use super::table_making::Filling;
use super::{copy, endpoint, follow, guc, objects, origin, secret, session, table_making, transaction};
use crate::config::SourceConfig;
use crate::error::Error;
use crate::mirror::gate;
use crate::mirror::shape::MirrorShape;
use crate::mirror::source_table::SourceTable;
use crate::source::check;
use crate::source::connect::Connector;
use crate::source::inspect::{InspectRequest, Inspection};
use crate::source::link::{Event, Request};
use crate::wire::Lsn;

/// Runs the mirror until it is told to stop (Ok) or something fails.
pub fn run(settings: &Settings) -> Result<(), Error> {
    session::set_lock_timeout();
    let giving_up = board::read(|board| board.uninstall == 1).unwrap_or(false);
    let started = connector(settings).and_then(Network::start);
    if giving_up {
        return uninstall(started, settings);
    }
    let mut network = started?;
    board::set_state(State::Connecting, "connecting to the source");
    let (progress, known) = transaction::transaction(|| Ok((progress::read()?, registry::tables()?)))?;
    let inspection = inspect(&mut network, settings, &known, false)?;
    board::set_slot(inspection.slot.as_ref());
    board::write(|board| board.source_version = inspection.identity.server_version_num);
    // For a new slot nothing that is here counts: every table is taken in anew, in place of what it holds.
    let (progress, known) = match progress {
        Some(progress) => (go_on(&inspection, settings, progress)?, known),
        None => (begin(&mut network, &inspection, settings)?, Vec::new()),
    };
    let filling = if progress.streaming { Filling::Online } else { Filling::Copy };
    transaction::transaction(|| adopt(&inspection, &known, filling))?;
    if !progress.streaming {
        copy::first(&mut network, settings)?;
        transaction::transaction(|| {
            registry::set_catching_up()?;
            progress::set_streaming()
        })?;
    }
    follow::follow(&mut network, settings, &inspection, progress)
}

/// How to reach the source, with the password from wherever it is kept.
pub fn connector(settings: &Settings) -> Result<Connector, Error> {
    let mut config = SourceConfig::parse(&settings.source)?;
    // Only a superuser's setting says which file of the server is read.
    config.passfile = guc::text(&guc::PASSFILE);
    let password = transaction::transaction(|| secret::password(settings))?;
    Ok(Connector::new(config, password))
}

/// Looks at the source; `streaming`: our own stream runs meanwhile.
pub fn inspect(
    network: &mut Network,
    settings: &Settings,
    known: &[Table],
    streaming: bool,
) -> Result<Inspection, Error> {
    let request = InspectRequest {
        publication: settings.publication.clone(),
        slot: settings.slot.clone(),
        excluded: guc::excluded_columns(),
        known: known.iter().map(|table| table.source.oid).collect(),
        rows_per_range: i64::from(guc::COPY_RANGE_ROWS.get()),
        streaming,
    };
    let pick = |event| match event {
        Event::Inspected(inspection) => Ok(*inspection),
        other => Err(other),
    };
    let inspection = network.answer(Request::Inspect(request), pick, || still_wanted(settings))?;
    transaction::transaction(|| note_findings(&inspection.checks))?;
    match inspection.failure {
        Some(failure) => Err(failure),
        None => Ok(inspection),
    }
}

/// Keeps what was seen on the source, for doctor().
fn note_findings(checks: &[check::Check]) -> Result<(), Error> {
    super::sql::run("DELETE FROM odoo_mirror_internal.findings", &[])?;
    for (place, check) in checks.iter().enumerate() {
        super::sql::run(
            "INSERT INTO odoo_mirror_internal.findings (place, name, ok, detail, hint) VALUES ($1::int, $2, $3::boolean, $4, $5)",
            &[
                Some(&place.to_string()),
                Some(check.name),
                Some(if check.ok { "true" } else { "false" }),
                Some(&check.detail),
                check.hint.as_deref(),
            ],
        )?;
    }
    Ok(())
}

/// An error when stop(), uninstall(), configure() or DROP EXTENSION says that this life is over. Called again and again while
/// something is waited for.
pub fn still_wanted(settings: &Settings) -> Result<(), Error> {
    endpoint::tend();
    let over = || Error::retry("the mirror was told to stop");
    if board::read(|board| board.uninstall == 1).unwrap_or(false) {
        return Err(over());
    }
    let now = transaction::transaction(|| {
        let extension =
            super::sql::value("SELECT 1 FROM pg_catalog.pg_extension WHERE extname = 'odoo_mirror'", &[])?;
        if extension.is_none() { Ok(None) } else { progress::settings() }
    })?;
    match now {
        Some(now)
            if now.running
                && now.started_here
                && now.configured_at == settings.configured_at
                && now.tuning == settings.tuning =>
        {
            Ok(())
        }
        _ => Err(over()),
    }
}

/// A first start: the slot is made before any snapshot is taken, so that nothing falls between.
fn begin(network: &mut Network, inspection: &Inspection, settings: &Settings) -> Result<Progress, Error> {
    board::set_state(State::Preparing, "making the replication slot");
    let pick = |event| match event {
        Event::SlotCreated { start } => Ok(start),
        Event::Waiting(why) => {
            board::set_state(State::Preparing, &why);
            Err(Event::Waiting(why))
        }
        other => Err(other),
    };
    let slot = settings.slot.clone();
    let start = network.answer(Request::CreateSlot { slot }, pick, || still_wanted(settings))?;
    let progress = Progress {
        system_identifier: inspection.system_identifier.clone(),
        source_database: inspection.identity.database.clone(),
        timeline: inspection.timeline,
        slot: settings.slot.clone(),
        slot_start: start,
        streaming: false,
        applied: Lsn::ZERO,
        transactions: 0,
        batches: 0,
        received_bytes: 0,
        reconnects: 0,
        timings: progress::Timings::default(),
    };
    transaction::transaction(|| {
        // A position from an earlier slot would lie about this one.
        origin::drop();
        registry::forget_tables()?;
        progress::begin(&progress)
    })?;
    Ok(progress)
}

/// A later start: only on what the mirror stands on.
fn go_on(inspection: &Inspection, settings: &Settings, progress: Progress) -> Result<Progress, Error> {
    if progress.slot != settings.slot {
        return begin_anew(gate::Refusal::OtherSlot { was: progress.slot, is: settings.slot.clone() });
    }
    let applied =
        transaction::transaction(|| Ok(origin::set_up()))?.max(progress.applied).max(progress.slot_start);
    let found = gate::Found {
        system_identifier: inspection.system_identifier.clone(),
        database: inspection.identity.database.clone(),
        flushed: inspection.flushed,
        slot: inspection.slot.as_ref().map(|slot| gate::FoundSlot {
            plugin: slot.plugin.clone().unwrap_or_default(),
            database: slot.database.clone().unwrap_or_default(),
            confirmed: slot.confirmed_flush,
            lost: slot.lost(),
        }),
    };
    let remembered = gate::Remembered {
        system_identifier: progress.system_identifier.clone(),
        database: progress.source_database.clone(),
        applied,
    };
    match gate::check(&remembered, &found) {
        Ok(()) => Ok(Progress { applied, ..progress }),
        Err(refusal) => begin_anew(refusal),
    }
}

/// The mirror can't go on from where it stands. If somebody asked for a resync of everything, it begins anew.
fn begin_anew(refusal: gate::Refusal) -> Result<Progress, Error> {
    let asked = transaction::transaction(|| {
        let asked = super::sql::value(
            "UPDATE odoo_mirror_internal.jobs SET state = 'done', started_at = now(), finished_at = now(), \
                    result = '{\"action\": \"began anew with a new slot\"}' \
             WHERE kind = 'resync' AND table_name = '*' AND state = 'waiting' RETURNING id",
            &[],
        )?;
        if asked.is_some() {
            origin::drop();
            progress::end()?;
        }
        Ok(asked)
    })?;
    match asked {
        Some(_) => Err(Error::retry("beginning anew with a new slot")),
        None => Err(Error::gate(refusal.to_string()).hint(
            "Changes may be missing. The rows here stay readable as they are. SELECT odoo_mirror.resync() copies everything anew, with a new slot.",
        )),
    }
}

/// Takes in tables that are published and not mirrored yet; marks those that are gone.
pub fn adopt(inspection: &Inspection, known: &[Table], filling: Filling) -> Result<(), Error> {
    let sources: Vec<SourceTable> = inspection.tables.iter().map(|found| found.table.clone()).collect();
    let shapes = MirrorShape::of_all(&sources, &|schema, name| table_making::type_here(schema, name));
    for (found, shape) in inspection.tables.iter().zip(shapes) {
        let source = &found.table;
        let known = known
            .iter()
            .find(|table| table.source.schema == source.schema && table.source.name == source.name);
        let failure = inspection.checks.iter().find_map(|check| match &check.stops {
            check::Stops::Table { schema, name } if *schema == source.schema && *name == source.name => {
                check.failure()
            }
            _ => None,
        });
        match (shape, failure, known) {
            (Err(error), _, _) => note_failure(source, &error.to_string(), &error.hint())?,
            (_, Some(failure), _) => {
                note_failure(source, &failure.message, failure.hint.as_deref().unwrap_or_default())?;
            }
            (Ok(shape), None, None) => take_in(source, &shape, &found.ranges, filling)?,
            (Ok(shape), None, Some(table)) if table.source.oid != source.oid => {
                // Dropped and made again under its name: nothing of the old one counts.
                take_in(source, &shape, &found.ranges, filling)?;
            }
            (Ok(shape), None, Some(table)) if table.state == "failed" && heals(table) => {
                take_in(source, &shape, &found.ranges, filling)?;
            }
            (Ok(_), None, Some(_)) => {}
        }
    }
    for table in known {
        let published = sources
            .iter()
            .any(|source| source.schema == table.source.schema && source.name == table.source.name);
        if !published && table.state != "failed" {
            let hint = format!(
                "Its rows stay as they are. On the source: ALTER PUBLICATION … ADD TABLE {}; or here: DROP TABLE odoo_mirror.\"{}\";",
                table.name, table.name
            );
            registry::fail(&table.name, NOT_PUBLISHED, &hint)?;
        }
    }
    super::sql::run("SELECT odoo_mirror_internal.grant_readers()", &[])?;
    objects::refresh()
}

pub const NOT_PUBLISHED: &str = "the source no longer publishes it";

/// Whether the cause of the failure can only be gone when the table passes all checks again.
pub fn heals(table: &Table) -> bool {
    table.reason.as_deref().is_some_and(|reason| reason == NOT_PUBLISHED || reason.starts_with(UNSUITABLE))
}

/// How the reasons begin of tables that failed a check.
const UNSUITABLE: &str = "can't be mirrored: ";

fn note_failure(source: &SourceTable, reason: &str, hint: &str) -> Result<(), Error> {
    let name = crate::mirror::shape::mirror_name(&source.schema, &source.name);
    let definition = serde_json::to_string(source).map_err(|_| Error::stop("a table can't be noted"))?;
    let shape = serde_json::to_string(&MirrorShape::unfit(&name))
        .map_err(|_| Error::stop("a table can't be noted"))?;
    super::sql::run(
        "INSERT INTO odoo_mirror_internal.tables (name, source_oid, source_schema, source_name, definition, shape, state, reason, hint) \
         VALUES ($1, $2::oid, $3, $4, $5::jsonb, $6::jsonb, 'failed', $7, $8) \
         ON CONFLICT (name) DO UPDATE SET state = 'failed', reason = excluded.reason, hint = excluded.hint",
        &[
            Some(&name),
            Some(&source.oid.to_string()),
            Some(&source.schema),
            Some(&source.name),
            Some(&definition),
            Some(&shape),
            Some(&format!("{UNSUITABLE}{reason}")),
            Some(hint),
        ],
    )
    .map(drop)
}

/// Plans a table's copy; what is in the way here fails that table, not the mirror.
pub fn take_in(
    source: &SourceTable,
    shape: &MirrorShape,
    ranges: &[crate::mirror::ranges::KeyRange],
    filling: Filling,
) -> Result<(), Error> {
    let planned = transaction::subtransaction(|| table_making::plan(source, shape, ranges, filling));
    match planned {
        Err(error) if error.verdict != crate::error::Verdict::Retry => {
            note_failure(source, &error.message, error.hint.as_deref().unwrap_or_default())
        }
        planned => planned,
    }
}

/// Gives up slot and origin; the rows stay. For uninstall().
fn uninstall(network: Result<Network, Error>, settings: &Settings) -> Result<(), Error> {
    board::set_state(State::Stopped, "giving up the slot on the source");
    let dropped = network.and_then(|mut network| {
        let pick = |event| if matches!(event, Event::Done) { Ok(()) } else { Err(event) };
        network.answer(Request::DropSlot { slot: settings.slot.clone() }, pick, || Ok(()))
    });
    let done = dropped.and_then(|()| {
        transaction::transaction(|| {
            origin::drop();
            progress::end()?;
            super::sql::run("UPDATE odoo_mirror_internal.settings SET wanted = 'stopped'", &[]).map(drop)
        })
    });
    match done {
        Ok(()) => {
            board::write(|board| board.uninstall = 2);
            Ok(())
        }
        Err(error) => {
            board::set_error(&error);
            board::write(|board| board.uninstall = 3);
            Err(error)
        }
    }
}
