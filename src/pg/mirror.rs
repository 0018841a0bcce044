//! One life of the mirror: connect, look, pass the gate, copy what is missing, then follow the
//! stream until it is stopped or fails.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::board::{self, State};
use super::network::Network;
use super::progress::{self, Progress, Settings};
use super::registry::{self, Table};
use super::table_making::Filling;
use super::wanted::still_wanted;
use super::{
    copy, ddl_history, endpoint, follow, gate, guc, leaving, looks, naming, objects, origin, secret, session,
    table_making, transaction,
};
use crate::config::SourceConfig;
use crate::error::Error;
use crate::mirror::drift;
use crate::mirror::quote::{quote_identifier, quote_qualified};
use crate::mirror::shape::{MirrorShape, mirror_name};
use crate::mirror::source_table::SourceTable;
use crate::mirror::stuck::Stuck;
use crate::mirror::table_state::{Cure, Failure};
use crate::source::check;
use crate::source::connect::Connector;
use crate::source::inspect::{InspectRequest, Inspection};
use crate::source::link::{Event, Request};
use crate::source::prepare::{SLOT_IN_USE, nothing_is_published};
use crate::source::watch::WatchRequest;
use crate::wire::Lsn;

/// Where the source failed to go on, over the lives of this worker.
static STUCK: Mutex<Stuck> = Mutex::new(Stuck::new());

/// A life that failed.
pub struct Ended {
    pub error: Error,
    /// It followed the source for a while before: whatever ends it is not what kept the one before
    /// from that.
    pub streamed: bool,
}

impl From<Error> for Ended {
    fn from(error: Error) -> Ended {
        Ended { error, streamed: false }
    }
}

/// A stream that ends sooner than this may end for the same reason again and again.
const A_WHILE: Duration = Duration::from_secs(1);

/// Runs the mirror until it is told to stop (Ok) or something fails.
pub fn run(settings: &Rc<Settings>, giving_up: bool) -> Result<(), Ended> {
    let began = Instant::now();
    session::set_lock_timeout();
    let connector = connector(settings);
    if giving_up {
        return Ok(uninstall(
            connector.and_then(|connector| Network::start(connector, || Ok(()))),
            settings,
        )?);
    }
    session::takes_any_letter()?;
    let waiting = Rc::clone(settings);
    let mut network = Network::start(connector?, move || {
        endpoint::tend_between_transactions();
        still_wanted(&waiting)
    })?;
    board::set_state(State::Connecting, "connecting to the source");
    looks::begin();
    board::forget_waits();
    let lived = live(&mut network, settings);
    looks::begin();
    board::forget_waits();
    let Err(error) = lived else { return Ok(()) };
    let gauges = &network.link().gauges;
    if let Some(why) = gauges.slot_given_up.get() {
        transaction::abort();
        gate::given_up(why);
    }
    if let Some(why) = gauges.undecodable.get() {
        transaction::abort();
        let applied = Lsn(board::read(|board| board.applied_lsn).unwrap_or(0));
        let mut stuck = STUCK.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = stuck.failed(applied, why) {
            gate::give_up_place(&why)?;
        }
    }
    Err(Ended { error, streamed: network.has_streamed() && began.elapsed() >= A_WHILE })
}

fn live(network: &mut Network, settings: &Settings) -> Result<(), Error> {
    let (progress, known) = transaction::transaction(|| Ok((progress::read()?, registry::tables()?)))?;
    let inspection = inspect(network, settings, &known, false)?.inspect_err(|error| {
        if error.sqlstate.as_deref() == Some(SLOT_IN_USE) {
            gate::contested(true);
        }
    })?;
    gate::not_this_database(&inspection)?;
    board::set_slot(inspection.slot.as_ref());
    board::write(|board| board.source_version = inspection.identity.server_version_num);
    // For a new slot nothing that is here counts: every table is taken in anew, in place of what it
    // holds.
    let (progress, known) = match progress {
        Some(progress) => {
            let progress = gate::go_on(network, &inspection, settings, &known, progress)?;
            (progress, transaction::transaction(registry::tables)?)
        }
        None => (begin(network, &inspection, settings)?, Vec::new()),
    };
    gate::fit_slot(network, settings, &inspection)?;
    network.ask(Request::Watch(WatchRequest {
        every: Duration::from_secs(guc::POLL_INTERVAL.get() as u64),
        slot: settings.slot.clone(),
        publication: settings.publication.clone(),
        excluded: guc::excluded_columns(),
        give_up_at: guc::give_up_slot_at(),
    }));
    let filling = if progress.streaming { Filling::Online } else { Filling::Copy };
    transaction::transaction(|| adopt(&inspection, &known, filling))?;
    if !progress.streaming {
        copy::first(network, settings)?;
        transaction::transaction(|| {
            registry::set_catching_up()?;
            progress::set_streaming()
        })?;
    }
    follow::follow(network, settings, &inspection, progress)
}

/// How to reach the source, with the password from wherever it is kept.
pub fn connector(settings: &Settings) -> Result<Connector, Error> {
    let mut config = SourceConfig::parse(&settings.source)?;
    // Only a superuser's setting says which file of the server is read.
    config.passfile = guc::text(&guc::PASSFILE);
    let (secrets, by_superuser) =
        transaction::transaction(|| Ok((secret::read(settings, &config)?, settings.is_of_a_superuser())))?;
    let connector = Connector::new(config, secrets.password)
        .server_password(secrets.server_password)
        .certificates(secrets.certificates);
    Ok(if by_superuser { connector } else { connector.limited(guc::limits()?) })
}

/// Looks at the source; `streaming`: our own stream runs meanwhile. An Err inside is the source's:
/// it can't be looked at, or can't be mirrored from as it is. The outer one ends this life.
pub fn inspect(
    network: &mut Network,
    settings: &Settings,
    known: &[Table],
    streaming: bool,
) -> Result<Result<Inspection, Error>, Error> {
    let request = InspectRequest {
        publication: settings.publication.clone(),
        slot: settings.slot.clone(),
        excluded: guc::excluded_columns(),
        known: known.iter().map(|table| table.source.oid).collect(),
        rows_per_range: i64::from(guc::COPY_RANGE_ROWS.get()),
        streaming,
        first: !streaming && known.is_empty(),
        failover: guc::FAILOVER_SLOT.get(),
    };
    let pick = |event| match event {
        Event::Inspected(inspection) => Ok(*inspection),
        other => Err(other),
    };
    let answered = network.answer(Request::Inspect(request), pick)?;
    let Ok(inspection) = answered else { return Ok(answered) };
    transaction::transaction(|| note_findings(&inspection.checks))?;
    let Some(failure) = inspection.failure else { return Ok(Ok(inspection)) };
    if let Some(hint) = nothing_is_published(&inspection.checks) {
        transaction::transaction(|| {
            let sound = known.iter().filter(|table| !table.state.is_failed());
            sound.into_iter().try_for_each(|table| leaving::leave(table, hint))
        })?;
    }
    Ok(Err(failure))
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

/// A first start: the slot is made before any snapshot is taken, so that nothing falls between.
fn begin(network: &mut Network, inspection: &Inspection, settings: &Settings) -> Result<Progress, Error> {
    board::set_state(State::Preparing, "making the replication slot");
    let (slot, give_up_at) = (settings.slot.clone(), guc::give_up_slot_at());
    let start = slot_made(
        network,
        Request::CreateSlot { slot, anew: false, give_up_at, failover: guc::FAILOVER_SLOT.get() },
    )?;
    let progress = Progress::at(inspection, settings, start)?;
    transaction::transaction(|| {
        // A position from an earlier slot would lie about this one.
        origin::drop();
        registry::forget_tables()?;
        progress::begin(&progress)
    })?;
    Ok(progress)
}

/// Has the slot made, and returns where its stream begins.
pub fn slot_made(network: &mut Network, request: Request) -> Result<Lsn, Error> {
    let pick = |event| match event {
        Event::SlotCreated { start } => Ok(start),
        Event::Waiting(why) => {
            board::set_state(State::Preparing, &why);
            Err(Event::Waiting(why))
        }
        other => Err(other),
    };
    network.answer(request, pick)
}

/// Takes in tables that are published and not mirrored yet; marks those that are gone.
pub fn adopt(inspection: &Inspection, known: &[Table], filling: Filling) -> Result<(), Error> {
    let sources: Vec<SourceTable> = inspection.tables.iter().map(|found| found.table.clone()).collect();
    let registered = registry::tables()?;
    let shapes = naming::shapes(&sources, &registered, |source| failed_check(inspection, source).is_none());
    let known_before = known;
    let mut entries = HashSet::new();
    for (found, shape) in inspection.tables.iter().zip(&shapes) {
        let source = &found.table;
        if let Some(renamed) = renamed(known, source) {
            entries.insert(renamed.name.clone());
            continue;
        }
        if let Ok(shape) = shape {
            objects::note_comments(&shape.name, &found.comments)?;
        }
        let entry = naming::entry(source, shape.as_ref(), &registered, &shapes);
        let known = known.iter().find(|table| table.name == entry);
        entries.insert(entry.clone());
        match (shape, failed_check(inspection, source), known) {
            (Err(error), _, _) => {
                fail_to_take_in(&entry, source, error.failure(), &error.to_string(), &error.hint())?;
            }
            (_, Some(failure), _) => {
                let hint = failure.hint.as_deref().unwrap_or_default();
                fail_to_take_in(&entry, source, Failure::Unsuitable, &failure.message, hint)?;
            }
            (Ok(shape), None, None) => {
                take_in(source, shape, &found.ranges, filling)?;
                if !known_before.is_empty() {
                    ddl_history::note(&shape.name, "published", "taken in")?;
                }
            }
            (Ok(shape), None, Some(table)) if table.source.oid != source.oid => {
                // Dropped and made again under its name, or another table that would have it here:
                // nothing of the old one counts.
                take_in(source, shape, &found.ranges, filling)?;
                let what = if naming::is_of(table, source) { "dropped and made anew" } else { "published" };
                ddl_history::note(&shape.name, what, COMPARED)?;
            }
            (Ok(shape), None, Some(table)) if heals(table, source) => {
                take_in(source, shape, &found.ranges, filling)?;
                if table.state.failure() == Some(Failure::NotPublished) {
                    ddl_history::note(&shape.name, "published again", COMPARED)?;
                }
            }
            (Ok(_), None, Some(_)) => {}
        }
    }
    for table in known {
        if !entries.contains(&table.name) {
            leaving::leave(table, &unpublished_hint(table, &sources))?;
        }
    }
    objects::refresh()
}

/// What brings a table back that is no longer published, while these are.
fn unpublished_hint(table: &Table, published: &[SourceTable]) -> String {
    let publication = published.first().map_or("…".to_owned(), |one| quote_identifier(&one.publication));
    let is_partition = |one: &SourceTable| table.source.files.iter().any(|(oid, _)| *oid == one.oid);
    let statement = if table.source.via_root && published.iter().any(is_partition) {
        "SET (publish_via_partition_root = true)".to_owned()
    } else {
        format!("ADD TABLE {}", quote_qualified(&table.source.schema, &table.source.name))
    };
    format!(
        "Its rows stay as they are. On the source: ALTER PUBLICATION {publication} {statement}; or here: DROP TABLE odoo_mirror.{};",
        quote_identifier(&table.name)
    )
}

/// Which check of the source stops this table.
fn failed_check(inspection: &Inspection, source: &SourceTable) -> Option<Error> {
    inspection.checks.iter().find_map(|check| match &check.stops {
        check::Stops::Table { schema, name } if *schema == source.schema && *name == source.name => {
            check.failure()
        }
        _ => None,
    })
}

/// The mirrored table that the source calls otherwise by now, by a name that nothing else has here:
/// it will be renamed.
pub fn renamed<'a>(known: &'a [Table], now: &SourceTable) -> Option<&'a Table> {
    let name = mirror_name(&now.schema, &now.name);
    let renamed = known.iter().find(|table| !table.state.is_failed() && table.source.oid == now.oid)?;
    known.iter().all(|table| table.name != name).then_some(renamed)
}

const COMPARED: &str = "taken in as it is by now; its rows are compared with the source's";

/// A failure that only another try can prove to be over is tried again after so many seconds: with
/// the looks that come every `poll_interval`, that is within half a minute.
const TRY_AFTER: i64 = 10;

/// Whether a table that failed is to be taken in, now that it passes all checks: its cause is gone,
/// may be, or the table isn't what it was then.
pub fn heals(table: &Table, now: &SourceTable) -> bool {
    let Some(failure) = table.state.failure() else { return false };
    if failure == Failure::NameTaken {
        // Then it stands under another name, and `naming::is_free` tells.
        return false;
    }
    let gone = match failure.cure() {
        Cure::Look => true,
        Cure::Trial => unix_now() - table.failed_at >= TRY_AFTER,
        Cure::Here | Cure::Change => false,
    };
    gone || drift::differs(&table.source, now)
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}

/// Notes why a table of the source isn't mirrored, or not as it is by now.
pub fn fail_to_take_in(
    entry: &str,
    source: &SourceTable,
    failure: Failure,
    reason: &str,
    hint: &str,
) -> Result<(), Error> {
    registry::fail_to_take_in(entry, source, failure, &format!("can't be mirrored: {reason}"), hint)
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
            let failure = Failure::InTheWay;
            let hint = error.hint.clone().unwrap_or_else(|| failure.hint(&shape.name));
            fail_to_take_in(&shape.name, source, failure, &error.message, &hint)
        }
        planned => planned,
    }
}

/// Gives up slot and origin; the rows stay. For uninstall().
fn uninstall(network: Result<Network, Error>, settings: &Settings) -> Result<(), Error> {
    board::set_state(State::Stopped, "giving up the slot on the source");
    let dropped = network.and_then(|mut network| {
        let pick = |event| if matches!(event, Event::Done) { Ok(()) } else { Err(event) };
        network.answer(Request::DropSlot { slot: settings.slot.clone() }, pick)
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
