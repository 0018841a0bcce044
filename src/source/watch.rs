//! Looks at the source now and then while the stream runs: how far its WAL is, how its slot stands,
//! what it publishes by now.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::catalog;
use super::connect::Connector;
use super::inspect::locked_out;
use super::link::{Event, Gauges, Outbox};
use super::slot::{self, SlotState};
use super::sql::Sql;
use crate::error::Error;
use crate::mirror::gate::{Refusal, too_much};
use crate::mirror::snapshot::Snapshot;
use crate::mirror::source_table::SourceTable;
use crate::wire::Lsn;

#[derive(Debug)]
pub struct Watched {
    /// Transactions that it sees need not be looked for any more.
    pub snapshot: Option<Snapshot>,
    pub slot: Option<SlotState>,
    pub tables: Vec<SourceTable>,
    /// Where the source's WAL ended when the look began.
    pub position: Lsn,
    /// Past every commit that `tables` were read after.
    pub past: Lsn,
}

/// A look at the source that failed: nothing is known of what the source does to its tables.
#[derive(Debug)]
pub struct LookFailed {
    pub error: Error,
    /// The slot could not be looked at either: nobody sees to it that it keeps no more WAL than it
    /// may.
    pub slot_unseen: bool,
}

#[derive(Debug)]
pub struct WatchRequest {
    pub every: Duration,
    pub slot: String,
    pub publication: String,
    pub excluded: Vec<String>,
    /// The most megabytes of WAL that the slot may keep; None: any amount.
    pub give_up_at: Option<i64>,
}

/// The least time that a look gets: a busy source answers late, and that is no failure.
const LOOK_TAKES: Duration = Duration::from_secs(10);

/// Between two questions for the end of the source's WAL, over the session that the last look left.
const PULSE: Duration = Duration::from_secs(1);

/// Watches until the main thread is gone, or the slot keeps too much WAL: then why. A look that
/// fails is told, and is not the stream's failure: the next may succeed.
pub async fn watch(
    connector: &Connector,
    request: &WatchRequest,
    outbox: &Outbox,
    gauges: &Gauges,
    wanted: &Notify,
) -> Option<Refusal> {
    let at_most = request.every.max(LOOK_TAKES);
    let mut session: Option<Sql> = None;
    let mut next_look = Instant::now();
    loop {
        if Instant::now() >= next_look {
            // This one proves that a session can be had: it has its own, and only one at a time.
            drop(session.take());
            next_look = Instant::now() + request.every;
        }
        let mut slot_seen = false;
        let looked = look(connector, session.take(), request, gauges, &mut slot_seen);
        let looked = timeout(at_most, looked).await;
        let event = match looked.unwrap_or_else(|_| Err(too_slow(at_most))) {
            Ok(Looked::TooMuch(too_much)) => return Some(too_much),
            Ok(Looked::Seen(client, watched)) => {
                session = Some(client);
                Event::Watched(watched)
            }
            Err(error) => Event::LookFailed(Box::new(LookFailed { error, slot_unseen: !slot_seen })),
        };
        // A main thread that is busy for long doesn't keep us from looking again.
        if timeout(at_most, outbox.send(event)).await == Ok(false) {
            return None;
        }
        while Instant::now() < next_look {
            let waited = timeout_at(next_look.min(Instant::now() + PULSE), wanted.notified()).await;
            if waited.is_ok() {
                break;
            }
            session = pulse(session, request, gauges).await;
        }
    }
}

fn too_slow(limit: Duration) -> Error {
    Error::retry(format!("the source did not answer within {} s", limit.as_secs()))
        .hint("On the source: SELECT pid, wait_event_type, wait_event, query FROM pg_stat_activity WHERE state <> 'idle'; tells what it is busy with.")
}

enum Looked {
    Seen(Sql, Box<Watched>),
    TooMuch(Refusal),
}

async fn look(
    connector: &Connector,
    session: Option<Sql>,
    request: &WatchRequest,
    gauges: &Gauges,
    slot_seen: &mut bool,
) -> Result<Looked, Error> {
    let client = match session.filter(|session| !session.is_closed()) {
        Some(session) => session,
        None => connector.sql().await?,
    };
    let slot = slot::slot(&client, &request.slot).await?;
    *slot_seen = true;
    // Before anything that may wait for a lock: Odoo's disk can't.
    let kept = slot.as_ref().and_then(|slot| slot.retained);
    if let Some(too_much) = too_much(kept, request.give_up_at) {
        return Ok(Looked::TooMuch(too_much));
    }
    let position = note_position(&client, request, gauges).await?;
    let seen = catalog::look(&client, &request.publication, &request.excluded).await.map_err(locked_out)?;
    if let Some(snapshot) = &seen.snapshot {
        gauges.newest_xid.fetch_max(snapshot.xmax(), Ordering::Relaxed);
    }
    let watched = Watched { snapshot: seen.snapshot, slot, tables: seen.tables, position, past: seen.past };
    Ok(Looked::Seen(client, Box::new(watched)))
}

/// Asks where the source's WAL ends. A session that doesn't answer goes: the next look tells why.
async fn pulse(session: Option<Sql>, request: &WatchRequest, gauges: &Gauges) -> Option<Sql> {
    let client = session?;
    let asked = timeout(LOOK_TAKES, note_position(&client, request, gauges)).await;
    matches!(asked, Ok(Ok(_))).then_some(client)
}

/// Returns where the source's WAL ends. What is flushed can be streamed: a source that holds its
/// stream up is told from one that has nothing to say by this alone.
async fn note_position(client: &Sql, request: &WatchRequest, gauges: &Gauges) -> Result<Lsn, Error> {
    let row = client
        .query_one(
            "SELECT pg_catalog.pg_current_wal_flush_lsn()::text, pg_catalog.pg_current_wal_insert_lsn()::text",
            &[],
        )
        .await?;
    let lsn =
        |column| -> Result<Lsn, Error> { Ok(row.try_get::<_, String>(column)?.parse().unwrap_or(Lsn::ZERO)) };
    let position = lsn(0)?;
    gauges.flushed.fetch_max(position.0, Ordering::Relaxed);
    let behind = position.is_past(gauges.received());
    let holds_up = if behind { slot::holds_up(client, &request.slot).await? } else { None };
    *gauges.held_up.lock().unwrap_or_else(PoisonError::into_inner) = holds_up;
    lsn(1)
}
