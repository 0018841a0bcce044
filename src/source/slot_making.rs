//! Makes and drops the replication slot. The only thing that the mirror ever leaves on the source.

use std::time::Duration;

use tokio::time::{interval, timeout};

use super::connect::Connector;
use super::link::{Event, Outbox};
use super::slot;
use crate::error::Error;
use crate::mirror::quote::quote_identifier;
use crate::wire::Lsn;

/// Makes the slot and returns where its stream begins.
///
/// The server waits for every transaction that runs on it; so that nobody wonders, who holds it up is told.
pub async fn create(connector: &Connector, name: &str, outbox: &Outbox) -> Result<Lsn, Error> {
    let client = connector.sql().await?;
    if let Some(found) = slot::slot(&client, name).await? {
        if !found.lost() || found.plugin.as_deref() != Some("pgoutput") {
            return adopt(name, &found);
        }
        // Ours (the checks saw to that) and of no use to anybody.
        client.execute("SELECT pg_catalog.pg_drop_replication_slot($1::text::name)", &[&name]).await?;
    }
    let mut session = connector.replication().await?;
    let command =
        format!("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput NOEXPORT_SNAPSHOT", quote_identifier(name));
    let pid = session.backend_pid();
    let mut making = std::pin::pin!(session.query(&command));
    let mut look = interval(Duration::from_secs(1));
    look.tick().await;
    let rows = loop {
        tokio::select! {
            made = &mut making => break made?,
            _ = look.tick() => {
                // Only words: that this look fails must not end the waiting.
                if let Ok(Ok(who)) = timeout(Duration::from_secs(5), holdups(&client, pid)).await
                    && !who.is_empty()
                {
                    outbox
                        .send(Event::Waiting(format!("the slot waits for transactions on the source to end: {}", who.join(", "))))
                        .await;
                }
            }
        }
    };
    let start = rows.first().and_then(|row| row.get(1)).and_then(Option::as_ref);
    start
        .and_then(|lsn| lsn.parse().ok())
        .ok_or_else(|| Error::stop("the source made a slot and did not say where it begins"))
}

/// A slot of ours that a start broken off left behind: it began before any copy will, which is all that counts.
fn adopt(name: &str, found: &slot::SlotState) -> Result<Lsn, Error> {
    match found.confirmed_flush {
        Some(start) if found.plugin.as_deref() == Some("pgoutput") && found.active_pid.is_none() => Ok(start),
        _ => Err(Error::retry_slowly(format!("replication slot \"{name}\" is in use by something else"))
            .hint("Give configure() another slot name, or drop that slot on the source.")),
    }
}

/// Transactions older than the slot's making, the oldest first.
async fn holdups(client: &tokio_postgres::Client, pid: i32) -> Result<Vec<String>, Error> {
    let rows = client
        .query(
            "SELECT 'pid ' || pid || ' (' || coalesce(nullif(application_name, ''), usename, '') || ', open for ' \
                    || extract(epoch FROM pg_catalog.clock_timestamp() - xact_start)::bigint || ' s)' \
             FROM pg_catalog.pg_stat_activity \
             WHERE backend_xid IS NOT NULL AND pid <> $1 \
             UNION ALL \
             SELECT 'prepared transaction ' || quote_literal(gid) || ' (open for ' \
                    || extract(epoch FROM pg_catalog.clock_timestamp() - prepared)::bigint || ' s)' \
             FROM pg_catalog.pg_prepared_xacts LIMIT 10",
            &[&pid],
        )
        .await
        ?;
    Ok(rows.iter().filter_map(|row| row.get::<_, Option<String>>(0)).collect())
}

/// Drops the slot, if it is there; waits a little for our own stream to let go of it.
pub async fn drop(connector: &Connector, name: &str) -> Result<(), Error> {
    let client = connector.sql().await?;
    for _ in 0..50 {
        let Some(found) = slot::slot(&client, name).await? else { return Ok(()) };
        if found.active_pid.is_none() {
            client.execute("SELECT pg_catalog.pg_drop_replication_slot($1::text::name)", &[&name]).await?;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(Error::retry(format!("replication slot \"{name}\" is still in use")))
}
