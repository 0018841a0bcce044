//! Looks at the source now and then while the stream runs: how far its WAL is, how its slot stands, what it
//! publishes by now.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::catalog;
use super::connect::Connector;
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
    /// Past every commit that `tables` were read after.
    pub past: Lsn,
}

/// A look at the source that failed: nothing is known of what the source does to its tables.
#[derive(Debug)]
pub struct LookFailed {
    pub error: Error,
    /// The slot could not be looked at either: nobody sees to it that it keeps no more WAL than it may.
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
const LOOK_TAKES: Duration = Duration::from_secs(3);

/// Between two questions for the end of the source's WAL, over the session that the last look left.
const PULSE: Duration = Duration::from_secs(1);

/// Watches until the main thread is gone, or the slot keeps too much WAL: then why. A look that fails is told, and is not the
/// stream's failure: the next may succeed.
pub async fn watch(
    connector: &Connector,
    request: &WatchRequest,
    outbox: &Outbox,
    gauges: &Gauges,
) -> Option<Refusal> {
    let at_most = request.every.max(LOOK_TAKES);
    let mut session: Option<Sql> = None;
    loop {
        let next_look = Instant::now() + request.every;
        while Instant::now() < next_look {
            sleep_until(next_look.min(Instant::now() + PULSE)).await;
            session = pulse(session, gauges).await;
        }
        // A look proves that a session can be had: each has its own, and only one at a time.
        drop(session.take());
        let mut slot_seen = false;
        let looked = timeout(at_most, look(connector, request, gauges, &mut slot_seen)).await;
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
    request: &WatchRequest,
    gauges: &Gauges,
    slot_seen: &mut bool,
) -> Result<Looked, Error> {
    let client = connector.sql().await?;
    let slot = slot::slot(&client, &request.slot).await?;
    *slot_seen = true;
    // Before anything that may wait for a lock: Odoo's disk can't.
    let kept = slot.as_ref().and_then(|slot| slot.retained);
    if let Some(too_much) = too_much(kept, request.give_up_at) {
        return Ok(Looked::TooMuch(too_much));
    }
    note_position(&client, gauges).await?;
    let seen = catalog::look(&client, &request.publication, &request.excluded).await?;
    if let Some(snapshot) = &seen.snapshot {
        gauges.newest_xid.fetch_max(snapshot.xmax(), Ordering::Relaxed);
    }
    let watched = Watched { snapshot: seen.snapshot, slot, tables: seen.tables, past: seen.past };
    Ok(Looked::Seen(client, Box::new(watched)))
}

/// Asks where the source's WAL ends. A session that doesn't answer goes: the next look tells why.
async fn pulse(session: Option<Sql>, gauges: &Gauges) -> Option<Sql> {
    let client = session?;
    let asked = timeout(LOOK_TAKES, note_position(&client, gauges)).await;
    matches!(asked, Ok(Ok(()))).then_some(client)
}

/// What is flushed can be streamed: a source that holds its stream up is told from one that has nothing to say by this alone.
async fn note_position(client: &Sql, gauges: &Gauges) -> Result<(), Error> {
    let row = client.query_one("SELECT pg_catalog.pg_current_wal_flush_lsn()::text", &[]).await?;
    let position: Lsn = row.try_get::<_, String>(0)?.parse().unwrap_or(Lsn::ZERO);
    gauges.flushed.fetch_max(position.0, Ordering::Relaxed);
    Ok(())
}
