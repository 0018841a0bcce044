//! Looks at the source now and then while the stream runs: how far its WAL is, how its slot stands, what it
//! publishes by now.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{sleep, timeout};

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
    /// Where the source's WAL ends.
    pub position: Lsn,
    /// Transactions that it sees need not be looked for any more.
    pub snapshot: Option<Snapshot>,
    pub slot: Option<SlotState>,
    pub tables: Vec<SourceTable>,
    /// Past every commit that `tables` were read after.
    pub past: Lsn,
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

/// Watches until the main thread is gone, or the slot keeps too much WAL: then why. A look that fails is not the mirror's
/// failure: the next may succeed.
pub async fn watch(
    connector: &Connector,
    request: &WatchRequest,
    outbox: &Outbox,
    gauges: &Gauges,
) -> Option<Refusal> {
    loop {
        sleep(request.every).await;
        let Ok(client) = connector.sql().await else { continue };
        let Ok(slot) = slot::slot(&client, &request.slot).await else { continue };
        // Before anything that may wait for a lock: Odoo's disk can't.
        let kept = slot.as_ref().and_then(|slot| slot.retained);
        if let Some(too_much) = too_much(kept, request.give_up_at) {
            return Some(too_much);
        }
        let Ok(watched) = look(&client, request, slot).await else { continue };
        if let Some(snapshot) = &watched.snapshot {
            gauges.newest_xid.fetch_max(snapshot.xmax(), Ordering::Relaxed);
        }
        // A main thread that is busy for long doesn't keep us from looking again.
        let sent = timeout(request.every, outbox.send(Event::Watched(Box::new(watched)))).await;
        if sent == Ok(false) {
            return None;
        }
    }
}

async fn look(client: &Sql, request: &WatchRequest, slot: Option<SlotState>) -> Result<Watched, Error> {
    let row = client
        .query_one(
            "SELECT pg_catalog.pg_current_wal_insert_lsn()::text, pg_catalog.pg_current_snapshot()::text",
            &[],
        )
        .await?;
    let seen = catalog::look(client, &request.publication, &request.excluded).await?;
    Ok(Watched {
        position: row.get::<_, String>(0).parse().unwrap_or(Lsn::ZERO),
        snapshot: row.get::<_, String>(1).parse().ok(),
        slot,
        tables: seen.tables,
        past: seen.past,
    })
}
