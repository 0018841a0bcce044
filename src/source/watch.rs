//! Looks at the source now and then while the stream runs: how far its WAL is, how its slot stands, what it
//! publishes by now.

use std::time::Duration;

use tokio::time::sleep;

use super::catalog;
use super::connect::Connector;
use super::link::{Event, Outbox};
use super::slot::{self, SlotState};
use crate::error::Error;
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
}

/// Watches until the main thread is gone. A look that fails is not the mirror's failure: the next may succeed.
pub async fn watch(
    connector: &Connector,
    every: Duration,
    slot: &str,
    publication: &str,
    excluded: &[String],
    outbox: &Outbox,
) -> Result<(), Error> {
    loop {
        sleep(every).await;
        if let Ok(watched) = look(connector, slot, publication, excluded).await
            && !outbox.send(Event::Watched(Box::new(watched))).await
        {
            return Ok(());
        }
    }
}

async fn look(
    connector: &Connector,
    slot: &str,
    publication: &str,
    excluded: &[String],
) -> Result<Watched, Error> {
    let client = connector.sql().await?;
    let row = client
        .query_one(
            "SELECT pg_catalog.pg_current_wal_insert_lsn()::text, pg_catalog.pg_current_snapshot()::text",
            &[],
        )
        .await?;
    Ok(Watched {
        position: row.get::<_, String>(0).parse().unwrap_or(Lsn::ZERO),
        snapshot: row.get::<_, String>(1).parse().ok(),
        slot: slot::slot(&client, slot).await?,
        tables: catalog::published_tables(&client, publication, excluded).await?,
    })
}
