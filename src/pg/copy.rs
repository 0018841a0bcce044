//! Copies key ranges: each in one local transaction that also notes the snapshot it was read under,
//! so that a copy broken off at any point goes on with the ranges that are missing.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pgrx::bgworkers::{BackgroundWorkerBuilder, DynamicBackgroundWorker};
use pgrx::prelude::*;

use super::board::{self, State};
use super::copy_in::{Broken, copy_in};
use super::indexes::{self, Others};
use super::network::{Network, PATIENCE};
use super::owner::AsOwner;
use super::progress::{self, Settings};
use super::registry::{self, Table};
use super::sql::{self, Row};
use super::wanted::still_wanted;
use super::{guc, mirror, own, quarantine, transaction, wait, worker};
use crate::error::{Error, Verdict, sqlstate};
use crate::mirror::quote::quote_identifier;
use crate::mirror::ranges::KeyRange;
use crate::mirror::table_state::{Failure, TableState};
use crate::source::chunk::ChunkRequest;
use crate::source::guarded::Wanted;
use crate::source::link::{Event, Request};
use crate::wire::Lsn;

/// The first copy of all tables, before the stream starts: by copy workers at the same time, as far
/// as there are any, and by this worker for what they leave.
pub fn first(network: &mut Network, settings: &Settings) -> Result<(), Error> {
    board::set_state(State::Copying, "copying the tables");
    let oids: Vec<u32> =
        transaction::transaction(registry::tables)?.iter().map(|table| table.source.oid).collect();
    let pick = |event| match event {
        Event::Writers(writers) => Ok(writers),
        other => Err(other),
    };
    let must_see = network.answer(Request::Writers { tables: oids }, pick)?;
    transaction::transaction(|| registry::set_must_see(&must_see))?;
    let workers = Workers::launch(guc::COPY_WORKERS.get());
    while workers.running() {
        // Ends early when a worker ends: the postmaster sets our latch then.
        wait::wait(PATIENCE);
        network.gather()?;
    }
    drop(workers);
    loop {
        while range(network, settings, Guard::Noted, None)? != Copied::None {}
        if !rewritten(network, None)?? {
            transaction::transaction(registry::forget_given_up_ranges)?;
            return indexes::build_all(Others::Await, || still_wanted(settings));
        }
    }
}

/// Marks ranges that were read before their table was rewritten, since a rewrite may change rows
/// without an event: they are copied again. True: there were some. An Err inside: the source can't
/// be asked now.
pub fn rewritten(network: &mut Network, only: Option<&str>) -> Result<Result<bool, Error>, Error> {
    let mut tables = transaction::transaction(registry::tables)?;
    tables.retain(|table| table.state == TableState::Copying && only.is_none_or(|name| name == table.name));
    let pick = |event| match event {
        Event::Filenodes(filenodes) => Ok(filenodes),
        other => Err(other),
    };
    let oids = tables.iter().map(|table| table.source.oid).collect();
    let answer = network.answer(Request::Filenodes { tables: oids }, pick)?;
    let filenodes = match answer {
        Ok(filenodes) => filenodes,
        Err(error) => return Ok(Err(error)),
    };
    let mut again = false;
    for table in &tables {
        let Some((_, now)) = filenodes.iter().find(|(oid, _)| *oid == table.source.oid) else { continue };
        for range in table.ranges.iter().filter(|range| range.snapshot.is_some() && range.filenode != *now) {
            transaction::transaction(|| registry::copy_again(&table.name, range.ordinal))?;
            again = true;
        }
    }
    Ok(Ok(again))
}

/// What a chunk's snapshot must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// What was noted when the slot was made: the stream has not started.
    Noted,
    /// Whatever the stream may have passed: it stands still now, and writers are looked for on the
    /// source.
    Passed,
}

/// What became of the attempt to copy a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copied {
    /// No range is missing.
    None,
    /// One was copied, or its table failed: there may be more.
    More,
    /// The table must wait, for this reason.
    Waits(String),
}

/// Copies one missing range, of `table` or of any.
pub fn range(
    network: &mut Network,
    settings: &Settings,
    guard: Guard,
    table: Option<&str>,
) -> Result<Copied, Error> {
    transaction::begin();
    let copied = copy_claimed(network, settings, guard, table);
    match copied {
        Ok(copied) => transaction::attempt(|| {
            transaction::commit();
            Ok(copied)
        })
        .inspect_err(|_| transaction::abort()),
        Err(failure) => {
            let Failed { table, here, error } = *failure;
            transaction::abort();
            let Some(failed) = table else { return Err(error) };
            board::write(|board| {
                if let Some(live) = board.table(&failed) {
                    live.copying_rows = 0;
                    live.copying_bytes = 0;
                }
            });
            board::set_waits(&failed, None);
            // Nobody else has to wait for what keeps one table from being read.
            let alone = guard == Guard::Passed && !here && !network.link().has_ended();
            if alone && (error.verdict == Verdict::Retry || no_session(&error)) {
                super::wanted::still_wanted(settings)?;
                board::set_error(&error);
                return Ok(Copied::Waits(error.message));
            }
            // What the destination refuses, or the source won't give, concerns that table alone.
            if error.verdict == Verdict::RetrySlowly && (here || error.sqlstate.is_some()) {
                transaction::transaction(|| fail(&failed, here, &error))?;
                return Ok(Copied::More);
            }
            Err(error)
        }
    }
}

/// Whether the source said that it lets nobody in, or passes by itself: the stream that runs is
/// sound all the same.
fn no_session(error: &Error) -> bool {
    let refuses = |code: &str| code.starts_with("28") || code.starts_with("53");
    error.sqlstate.as_deref().is_some_and(|code| refuses(code) || error.verdict == Verdict::Retry)
}

/// What failed.
struct Failed {
    /// Whose range it was, if one was claimed.
    table: Option<String>,
    /// The mirror's table didn't take its rows.
    here: bool,
    error: Error,
}

/// What the destination refuses is filled in piece by piece, if that can be; else the table fails.
fn fail(table: &str, here: bool, error: &Error) -> Result<(), Error> {
    let (failure, reason) = match here {
        true => (Failure::of_refusal(error.sqlstate.as_deref()), quarantine::reason(error)),
        false if sqlstate::is_too_big(error.sqlstate.as_deref().unwrap_or_default(), &error.message) => {
            (Failure::TooBig, error.message.clone())
        }
        false => (Failure::Unreadable, error.message.clone()),
    };
    if failure == Failure::Refused && quarantine::instead_of_copy(table)? {
        return Ok(());
    }
    registry::fail(table, failure, &reason, error.hint.as_deref().unwrap_or(&failure.hint(table)))
}

fn copy_claimed(
    network: &mut Network,
    settings: &Settings,
    guard: Guard,
    table: Option<&str>,
) -> Result<Copied, Box<Failed>> {
    let claimed = transaction::attempt(|| claim(table));
    let claimed = claimed.map_err(|error| Box::new(Failed { table: None, here: false, error }))?;
    let Some((table, ordinal)) = claimed else { return Ok(Copied::None) };
    copy_range(network, settings, guard, &table, ordinal).map_err(|broken| {
        let (here, error) = match broken {
            Broken::There(error) => (false, error),
            Broken::Here(error) => (true, error),
        };
        Box::new(Failed { table: Some(table.name.clone()), here, error })
    })
}

/// Takes a range that nobody copies yet, and holds it until the transaction ends.
fn claim(table: Option<&str>) -> Result<Option<(Table, i32)>, Error> {
    let claimed: Vec<Row> = sql::run(
        "SELECT r.table_name, r.ordinal FROM odoo_mirror_internal.ranges r \
         JOIN odoo_mirror_internal.tables t ON t.name = r.table_name \
         WHERE t.state = 'copying' AND r.snapshot IS NULL AND ($1 IS NULL OR r.table_name = $1) \
         ORDER BY t.estimated_bytes DESC, t.name, r.ordinal FOR UPDATE OF r SKIP LOCKED LIMIT 1",
        &[table],
    )?;
    let Some(row) = claimed.first() else { return Ok(None) };
    let name = sql::text(row, 0);
    let table = registry::tables()?.into_iter().find(|table| table.name == name);
    Ok(table.map(|table| (table, sql::number(row, 1) as i32)))
}

/// How a chunk begins, or that it doesn't.
enum Started {
    Snapshot(String, Lsn, u32),
    GivenUp(String),
    Drifted(String),
    Failed(Error),
}

fn copy_range(
    network: &mut Network,
    settings: &Settings,
    guard: Guard,
    table: &Table,
    ordinal: i32,
) -> Result<Copied, Broken> {
    let Some(range) = table.ranges.iter().find(|range| range.ordinal == ordinal) else {
        return Ok(Copied::None);
    };
    if range.replace
        && transaction::attempt(|| own::keep_from_copy(table, range.range)).map_err(Broken::Here)?
    {
        return Ok(Copied::More);
    }
    let must_see = match guard {
        Guard::Noted => transaction::attempt(|| registry::must_see(&table.name)).map_err(Broken::There)?,
        Guard::Passed => Vec::new(),
    };
    let this = next_id();
    let request = request(this, table, &settings.publication, range.range, guard, must_see);
    network.ask(Request::Chunk(request));
    let started = network.wait_for(|event| match event {
        Event::ChunkStarted { id, snapshot, past, filenode } if id == this => {
            Ok(Started::Snapshot(snapshot, past, filenode))
        }
        Event::ChunkDrifted { id, why } if id == this => Ok(Started::Drifted(why)),
        Event::ChunkFailed { id, error } if id == this => Ok(Started::Failed(error)),
        Event::ChunkGivenUp { id, why } if id == this => Ok(Started::GivenUp(why)),
        Event::Waiting(why) => {
            board::set_waits(&table.name, Some(&why));
            board::set_state(State::Copying, &why);
            Err(Event::Waiting(why))
        }
        other => Err(other),
    });
    let (text, past, filenode) = match started.map_err(Broken::There)? {
        Started::Snapshot(text, past, filenode) => (text, past, filenode),
        Started::GivenUp(why) => return Ok(Copied::Waits(why)),
        Started::Drifted(why) => {
            // Its rows are compared when it is known what the source has by now.
            transaction::attempt(|| registry::drifted(&table.name, &why)).map_err(Broken::There)?;
            return Ok(Copied::More);
        }
        Started::Failed(error) => return Err(Broken::There(error)),
    };
    board::set_waits(&table.name, None);
    if range.replace {
        let condition = rows_of(table, range.range);
        transaction::attempt(|| {
            let _owner = AsOwner::switch()?;
            sql::run(
                &format!("DELETE FROM ONLY odoo_mirror.{} WHERE {condition}", quote_identifier(&table.name)),
                &[],
            )
        })
        .map_err(Broken::Here)?;
    }
    let bytes = Cell::new(0u64);
    let columns: Vec<String> = table.shape.columns.iter().map(|column| column.name.clone()).collect();
    let average = (table.source.bytes.max(1) as f64 / table.source.estimated_rows.max(1) as f64).max(1.0);
    let feed = || {
        let piece = network.wait_for(|event| match event {
            Event::Rows { id, rows: piece } if id == this => Ok(Ok(Some(piece))),
            Event::ChunkDone { id } if id == this => Ok(Ok(None)),
            Event::ChunkFailed { id, error } if id == this => Ok(Err(error)),
            // A partition, say, went while it was read: it is found gone when the range is read
            // again.
            Event::ChunkDrifted { id, why } if id == this => Ok(Err(Error::retry(why))),
            other => Err(other),
        })?;
        let Some(piece) = piece? else { return Ok(None) };
        bytes.set(bytes.get() + piece.len() as u64);
        // Rows are counted when the range is in; until then their number follows from the bytes.
        let rows = (bytes.get() as f64 / average) as u64;
        board::write(|board| {
            if let Some(live) = board.table(&table.name) {
                live.copying_rows = rows;
                live.copying_bytes = bytes.get();
            }
        });
        Ok(Some(piece))
    };
    let rows = copy_in(&table.name, &columns, table.shape.copy_binary, Box::new(feed))?;
    board::write(|board| {
        if let Some(live) = board.table(&table.name) {
            live.copying_rows = 0;
            live.copying_bytes = 0;
        }
    });
    let bytes = bytes.get();
    transaction::attempt(|| registry::range_done(&table.name, ordinal, &text, past, filenode, rows, bytes))
        .map_err(Broken::There)?;
    Ok(Copied::More)
}

/// The range's rows here, as a condition.
pub fn rows_of(table: &Table, range: KeyRange) -> String {
    let key = table.shape.key.first().map(String::as_str).unwrap_or_default();
    if range == KeyRange::ALL { "true".to_owned() } else { range.sql_condition(key) }
}

/// How long the stream may stand still for a table's snapshot before it goes on and the table
/// waits.
const PAUSE_AT_MOST: Duration = Duration::from_secs(1);

/// Tells this chunk's events from those of one that was given up.
fn next_id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

fn request(
    id: u64,
    table: &Table,
    publication: &str,
    range: KeyRange,
    guard: Guard,
    must_see: Vec<u64>,
) -> ChunkRequest {
    let mut conditions = Vec::new();
    if let (Some(key), true) = (table.shape.key.first(), range != KeyRange::ALL) {
        conditions.push(range.sql_condition(key));
    }
    conditions.extend(table.source.row_filter.clone());
    ChunkRequest {
        id,
        wanted: Wanted {
            table: table.source.clone(),
            publication: publication.to_owned(),
            server_version: board::read(|board| board.source_version).unwrap_or(0),
        },
        columns: table.shape.columns.iter().map(|column| column.copied(table.shape.copy_binary)).collect(),
        conditions,
        binary: table.shape.copy_binary,
        must_see,
        look_for_writers: (guard == Guard::Passed).then_some(PAUSE_AT_MOST),
    }
}

/// Copy workers that run; dropped, they are told to end.
struct Workers(Vec<Option<DynamicBackgroundWorker>>);

impl Workers {
    /// As many as there are free slots for.
    fn launch(wanted: i32) -> Workers {
        // SAFETY: globals of this process.
        let (pid, database) = unsafe { (pg_sys::MyProcPid, pg_sys::MyDatabaseId) };
        let launched = (0..wanted).map_while(|_| {
            BackgroundWorkerBuilder::new("odoo_mirror copy")
                .set_type("odoo_mirror copy")
                .set_library("odoo_mirror")
                .set_function("odoo_mirror_copy_worker")
                .set_argument(Some(pg_sys::Datum::from(u32::from(database))))
                .set_extra(&pid.to_string())
                .set_notify_pid(pid)
                .enable_shmem_access(None)
                .enable_spi_access()
                .load_dynamic()
                .ok()
        });
        Workers(launched.map(Some).collect())
    }

    fn running(&self) -> bool {
        use pgrx::bgworkers::BackgroundWorkerStatus::Stopped;
        self.0.iter().flatten().any(|worker| !matches!(worker.pid(), Err(Stopped)))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.0 {
            if let Some(worker) = worker.take() {
                let _ = worker.terminate();
            }
        }
    }
}

/// A copy worker's main function: copies ranges until none is left, builds indexes, then ends.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn odoo_mirror_copy_worker(argument: pg_sys::Datum) {
    worker::start(Some(pg_sys::Oid::from(argument.value() as u32)));
    if let Err(error) = copy_ranges() {
        // The worker that launched this one meets the same failure, and words it for status().
        pgrx::log!("odoo_mirror copy worker: {error}");
    }
}

fn copy_ranges() -> Result<(), Error> {
    let settings = transaction::transaction(progress::settings)?;
    let Some(settings) = settings.map(Rc::new) else { return Ok(()) };
    let connector = mirror::connector(&settings)?;
    let launcher = pgrx::bgworkers::BackgroundWorker::get_extra().parse::<i32>().unwrap_or(0);
    let watched = Rc::clone(&settings);
    let wanted = move || match board::read(|board| board.worker_pid == launcher) {
        Some(true) => still_wanted(&watched),
        _ => Err(Error::retry("the worker that wanted copies is gone")),
    };
    let wanted = Rc::new(wanted);
    let waiting = Rc::clone(&wanted);
    let mut network = Network::start(connector, move || waiting())?;
    while range(&mut network, &settings, Guard::Noted, None)? != Copied::None {
        wanted()?;
    }
    indexes::build_all(Others::Leave, || wanted())
}
