//! Passes the gate at a life's start; after a refusal begins anew by itself where it may: a new
//! slot, and all tables compared with the source's while readers keep their rows.

use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;

use super::board::{self, State};
use super::indexes::{self, Others};
use super::mirror;
use super::network::Network;
use super::owner::AsOwner;
use super::progress::{self, Progress, Settings};
use super::refusals::{self, Kind};
use super::registry::{self, Table};
use super::table_making::Filling;
use super::wanted::still_wanted;
use super::{guc, job_parts, naming, origin, sql, transaction};
use crate::config::SourceConfig;
use crate::error::Error;
use crate::mirror::gate::{self, Cure, Refusal};
use crate::mirror::quote::quote_identifier;
use crate::mirror::source_table::SourceTable;
use crate::source::inspect::Inspection;
use crate::source::link::{Event, Request};
use crate::wire::Lsn;

/// Refuses this very database as its own source, however the way there is called: its mirrors would
/// be mirrored, and so on. A copy of this server, running elsewhere, has its identifier and OIDs,
/// but was started at another time.
pub fn not_this_database(inspection: &Inspection) -> Result<(), Error> {
    let identity = &inspection.identity;
    // SAFETY: reads what this process has known since its start.
    let (identifier, database, started_at) =
        unsafe { (pg_sys::GetSystemIdentifier(), pg_sys::MyDatabaseId.to_u32(), pg_sys::PgStartTime) };
    let this_server =
        inspection.system_identifier == identifier.to_string() && identity.started_at == started_at;
    if this_server && identity.database_oid == database {
        return Err(Error::retry_slowly("the source is this very database").hint(
            "Name Odoo's database in configure(): host, port and dbname lead to the one that mirrors. Another \
             database of this server may be the source.",
        ));
    }
    Ok(())
}

/// A later start: on what the mirror stands on, or anew.
pub fn go_on(
    network: &mut Network,
    inspection: &Inspection,
    settings: &Settings,
    known: &[Table],
    progress: Progress,
) -> Result<Progress, Error> {
    let applied =
        transaction::transaction(|| Ok(origin::set_up()))?.max(progress.applied).max(progress.slot_start);
    let remembered = gate::Remembered {
        system_identifier: progress.system_identifier.clone(),
        database_oid: progress.source_database_oid,
        timeline: progress.timeline,
        address: progress.source_address.clone(),
        slot: progress.slot.clone(),
        applied,
    };
    let found = found(inspection, settings)?;
    let refusal = match gate::check(&remembered, &found, guc::give_up_slot_at()) {
        Ok(()) => progress.refused.clone().map(Refusal::Noted),
        Err(refusal) => match (&progress.refused, refusal.cure(&remembered, &found)) {
            // What an earlier life found first is the reason, whatever it left behind.
            (Some(why), Cure::NewSlot) => Some(Refusal::Noted(why.clone())),
            (Some(why), _) if *why == refusal.to_string() => Some(Refusal::Noted(why.clone())),
            _ => Some(refusal),
        },
    };
    let Some(refusal) = refusal else {
        let (timeline, source_address) = (inspection.timeline, found.address);
        if progress.timeline != timeline || progress.source_address != source_address {
            transaction::transaction(|| progress::note_source(timeline, &source_address))?;
        }
        return Ok(Progress { applied, timeline, source_address, ..progress });
    };
    let job = transaction::transaction(asked_for)?;
    permit(&refusal, refusal.cure(&remembered, &found), inspection, known, job.is_some())?;
    begin_anew(
        network,
        inspection,
        settings,
        known,
        Progress { applied, ..progress },
        &refusal,
        job.as_deref(),
    )
}

fn found(inspection: &Inspection, settings: &Settings) -> Result<gate::Found, Error> {
    Ok(gate::Found {
        system_identifier: inspection.system_identifier.clone(),
        database_oid: inspection.identity.database_oid,
        database: inspection.identity.database.clone(),
        timeline: inspection.timeline,
        history: inspection.history.clone(),
        address: SourceConfig::parse(&settings.source)?.address(),
        flushed: inspection.flushed,
        slot_name: settings.slot.clone(),
        slot: inspection.slot.as_ref().map(|slot| gate::FoundSlot {
            plugin: slot.plugin.clone().unwrap_or_default(),
            database: slot.database.clone().unwrap_or_default(),
            confirmed: slot.confirmed_flush,
            lost: slot.lost(),
            retained: slot.retained,
        }),
        contested: CONTESTED.load(Ordering::Relaxed),
    })
}

/// Somebody else was reading the slot when this worker came to it: another mirror perhaps, a clone
/// of this one.
static CONTESTED: AtomicBool = AtomicBool::new(false);

/// Notes that the slot was found in use (or that it is ours, once the stream runs).
pub fn contested(by_another: bool) {
    CONTESTED.store(by_another, Ordering::Relaxed);
}

/// Shows the refusal; an error when it isn't to be cured without somebody's word.
fn permit(
    refusal: &Refusal,
    cure: Cure,
    inspection: &Inspection,
    known: &[Table],
    asked: bool,
) -> Result<(), Error> {
    const HINT: &str = "The rows here stay as they are. If that source is the right one: SELECT odoo_mirror.resync() \
        makes a new slot there and makes all rows equal to that source's. If not, configure() the right one.";
    let error = match cure {
        Cure::NewSlot => None,
        Cure::NewSlotIfAlike => unlike(inspection, known).filter(|_| !asked).map(|difference| {
            Error::gate(format!("{refusal}, and {difference}")).hint(HINT)
        }),
        Cure::WhenAsked => (!asked).then(|| Error::gate(refusal.to_string()).hint(HINT)),
        Cure::AnotherName => Some(Error::gate(format!("{refusal}, and that name is taken on the source by another's slot"))
            .hint("Give configure() another slot name: configure(…, slot => 'another'); or drop that slot on the source.")),
    };
    let shown = Error::gate(refusal.to_string()).hint(
        "The mirror makes a new slot and compares all tables by itself; readers keep the rows, marked stale.",
    );
    board::set_error(error.as_ref().unwrap_or(&shown));
    let kind = if matches!(refusal, Refusal::TooMuchWal { .. }) { Kind::GivenUp } else { Kind::Refused };
    let words = error.as_ref().map_or_else(|| refusal.to_string(), |error| error.message.clone());
    refusals::note(kind, &words);
    error.map_or(Ok(()), Err)
}

/// What the source lacks of the tables that are mirrored; None: it has them all, with the same
/// keys.
fn unlike(inspection: &Inspection, known: &[Table]) -> Option<String> {
    let sources: Vec<SourceTable> = inspection.tables.iter().map(|found| found.table.clone()).collect();
    let shapes = transaction::transaction(|| Ok(naming::shapes(&sources, known, |_| true)));
    let shapes = shapes.unwrap_or_default();
    known.iter().filter(|table| !table.state.is_failed()).find_map(|table| {
        let there = sources
            .iter()
            .zip(&shapes)
            .find(|(source, _)| source.schema == table.source.schema && source.name == table.source.name);
        match there {
            None => Some(format!("it publishes no table \"{}\"", table.name)),
            Some((_, Ok(shape))) if shape.key == table.shape.key => None,
            Some(_) => Some(format!("its table \"{}\" has another key", table.name)),
        }
    })
}

/// A resync of everything that waits: somebody means it.
fn asked_for() -> Result<Option<String>, Error> {
    sql::value(
        "SELECT id FROM odoo_mirror_internal.jobs WHERE kind = 'resync' AND table_name = '*' AND state = 'waiting' \
         ORDER BY id LIMIT 1",
        &[],
    )
}

fn begin_anew(
    network: &mut Network,
    inspection: &Inspection,
    settings: &Settings,
    known: &[Table],
    before: Progress,
    refusal: &Refusal,
    job: Option<&str>,
) -> Result<Progress, Error> {
    let why = refusal.to_string();
    if matches!(refusal, Refusal::TooMuchWal { .. }) {
        give_up(network, settings, &why)?;
    }
    wait_after_giving_up(&why)?;
    can_write(known).map_err(|error| {
        Error::retry(format!("{why}; the mirror begins anew as soon as it can write here: {error}"))
            .hint(error.hint.unwrap_or_default())
    })?;
    // From here on only the new beginning counts, whenever this is broken off.
    transaction::transaction(|| progress::set_refused(&why))?;
    let slot_is_there = inspection.slot.is_some();
    let (slot, give_up_at) = (settings.slot.clone(), guc::give_up_slot_at());
    board::set_state(State::Preparing, &format!("{why}: making a new replication slot"));
    let failover = guc::FAILOVER_SLOT.get();
    let request = Request::CreateSlot { slot, anew: slot_is_there, give_up_at, failover };
    let start = mirror::slot_made(network, request)?;
    let progress = Progress {
        source_address: SourceConfig::parse(&settings.source)?.address(),
        streaming: true,
        stale: true,
        transactions: before.transactions,
        batches: before.batches,
        received_bytes: before.received_bytes,
        reconnects: before.reconnects,
        timings: before.timings,
        ..Progress::at(inspection, settings, start)?
    };
    transaction::transaction(|| {
        // A position from an earlier slot would lie about this one.
        origin::drop();
        progress::begin(&progress)?;
        registry::forget_tables()?;
        mirror::adopt(inspection, &[], Filling::Online)?;
        registry::stale_because(&why)?;
        if let Some(job) = job {
            take_job_along(job)?;
        }
        refusals::began_anew()
    })?;
    board::write(|board| board.stale = true);
    board::forget_positions();
    indexes::build_all(Others::Await, || still_wanted(settings))?;
    if before.slot != settings.slot && before.made_here {
        let request = Request::LeaveSlot { slot: before.slot, applied: before.applied };
        let pick = |event| if matches!(event, Event::Done) { Ok(()) } else { Err(event) };
        network.answer(request, pick)?;
    }
    Ok(progress)
}

/// Whether standbys keep the slot is a setting, which may have changed since the slot was made.
/// From 17 on they can.
pub fn fit_slot(network: &mut Network, settings: &Settings, inspection: &Inspection) -> Result<(), Error> {
    let failover = guc::FAILOVER_SLOT.get();
    let other = inspection.slot.as_ref().is_some_and(|slot| slot.failover != failover);
    if !other || inspection.identity.server_version_num < 170_000 {
        return Ok(());
    }
    let pick = |event| if matches!(event, Event::Done) { Ok(()) } else { Err(event) };
    let request = Request::SetFailover { slot: settings.slot.clone(), failover };
    network.answer(request, pick)
}

/// Drops the slot: the disk of the source can't wait until there is something else to go on with.
fn give_up(network: &mut Network, settings: &Settings, why: &str) -> Result<(), Error> {
    let pick = |event| if matches!(event, Event::Done) { Ok(()) } else { Err(event) };
    network.answer(Request::DropSlot { slot: settings.slot.clone() }, pick)?;
    transaction::transaction(|| progress::set_refused(why))
}

/// The network thread dropped the slot.
pub fn given_up(why: &str) {
    refusals::note(Kind::GivenUp, why);
    // A full disk may not let us write that down: then the next start finds that the slot is gone.
    if transaction::transaction(|| progress::set_refused(why)).is_err() {
        pgrx::log!("odoo_mirror: {why}");
    }
}

/// The place in the source's WAL where the mirror stands leads nowhere: the next start makes a new
/// slot.
pub fn give_up_place(why: &str) -> Result<(), Error> {
    transaction::transaction(|| progress::set_refused(why))?;
    Err(Error::gate(why))
}

/// A slot that was given up several times is made again only after a while.
fn wait_after_giving_up(why: &str) -> Result<(), Error> {
    let (times, ago) = refusals::given_up_lately()?;
    let pause = gate::pause_after_giving_up(times);
    if times == 0 || ago >= pause {
        return Ok(());
    }
    Err(Error::gate(format!("{why}; the slot was given up, and the mirror begins anew in {} s", pause - ago))
        .hint("The rows here stay as they are, and go stale meanwhile. Mend what keeps the mirror from applying, or raise odoo_mirror.give_up_slot_at."))
}

/// Whether changes could be applied here: tables that nobody locks, and room on the disk. A new
/// slot would only keep WAL otherwise.
fn can_write(known: &[Table]) -> Result<(), Error> {
    transaction::begin();
    let tried = transaction::attempt(|| {
        for table in known {
            let name = quote_identifier(&table.name);
            let there = sql::value("SELECT pg_catalog.to_regclass('odoo_mirror.' || $1)", &[Some(&name)])?;
            if there.is_some() {
                let _owner = AsOwner::switch()?;
                sql::run(&format!("LOCK TABLE ONLY odoo_mirror.{name} IN ROW EXCLUSIVE MODE"), &[])
                    .map_err(|error| error.while_doing(&format!("table \"{}\"", table.name)))?;
            }
        }
        sql::set(c"temp_tablespaces", "")?;
        // A limit of the database's is no want of room.
        sql::set(c"temp_file_limit", "-1")?;
        write_some_megabytes();
        Ok(())
    });
    transaction::abort();
    tried
}

/// Into a temporary file where the database's tables are; an error when they find no room.
fn write_some_megabytes() {
    const BLOCK: [u8; 8192] = [0; 8192];
    // SAFETY: in a transaction, whose end removes the file if an error leaves it behind; the block
    // lives through the calls, which only read it.
    unsafe {
        let file = pg_sys::BufFileCreateTemp(false);
        for _ in 0..1024 {
            pg_sys::BufFileWrite(file, BLOCK.as_ptr().cast_mut().cast(), BLOCK.len());
        }
        pg_sys::BufFileClose(file);
    }
}

/// The job that asked for this ends when all tables are equal.
fn take_job_along(job: &str) -> Result<(), Error> {
    for table in registry::tables()?.iter().filter(|table| !table.state.is_failed()) {
        job_parts::take(job, &table.name)?;
    }
    sql::run(
        "UPDATE odoo_mirror_internal.jobs SET state = 'running', started_at = pg_catalog.clock_timestamp() WHERE id = $1::bigint",
        &[Some(job)],
    )
    .map(drop)
}

/// Looks whether all tables have been compared since the mirror began anew: then nothing is stale
/// any more.
pub fn settle(progress: &mut Progress, tables: &[Table]) -> Result<(), Error> {
    if progress.stale && tables.iter().all(|table| table.state.is_settled()) {
        transaction::transaction(|| {
            progress::set_equal()?;
            refusals::are_equal()
        })?;
        progress.stale = false;
    }
    board::write(|board| board.stale = progress.stale);
    Ok(())
}

impl Progress {
    /// What a mirror stands on whose slot begins at `start`.
    pub fn at(inspection: &Inspection, settings: &Settings, start: Lsn) -> Result<Progress, Error> {
        Ok(Progress {
            system_identifier: inspection.system_identifier.clone(),
            source_database: inspection.identity.database.clone(),
            source_database_oid: inspection.identity.database_oid,
            source_address: SourceConfig::parse(&settings.source)?.address(),
            timeline: inspection.timeline,
            slot: settings.slot.clone(),
            slot_start: start,
            streaming: false,
            refused: None,
            stale: false,
            made_here: true,
            applied: Lsn::ZERO,
            transactions: 0,
            batches: 0,
            received_bytes: 0,
            reconnects: 0,
            timings: progress::Timings::default(),
        })
    }
}
