//! Makes and drops the replication slot. The only thing that the mirror ever leaves on the source.

use std::time::Duration;

use tokio::time::{interval, timeout};

use super::connect::Connector;
use super::link::{Event, Outbox};
use super::slot;
use crate::error::Error;
use crate::mirror::gate::too_much;
use crate::mirror::quote::quote_identifier;
use crate::wire::Lsn;

/// Makes the slot and returns where its stream begins.
///
/// The server waits for every transaction that runs on it; so that nobody wonders, who holds it up
/// is told. `anew`: one that is there already is no use; else it is taken over. `give_up_at`: the
/// most megabytes of WAL that it may keep. `failover`: standbys are to keep it, if the source knows
/// such.
pub async fn create(
    connector: &Connector,
    name: &str,
    anew: bool,
    give_up_at: Option<i64>,
    failover: bool,
    outbox: &Outbox,
) -> Result<Lsn, Error> {
    let client = connector.sql().await?;
    if let Some(found) = slot::slot(&client, name).await? {
        let ours = found.plugin.as_deref() == Some("pgoutput") && found.active_pid.is_none();
        if !ours {
            return Err(in_use(name));
        }
        match found.confirmed_flush {
            // One that a start broken off left behind: it began before any copy will, which is all
            // that counts.
            Some(start) if !anew && found.lost().is_none() => return Ok(start),
            // Ours (the checks saw to that) and of no use to anybody.
            _ => drop_slot(&client, name).await?,
        }
    }
    let mut session = connector.replication().await?;
    let command = making(name, session.parameter("server_version").unwrap_or_default(), failover);
    let pid = session.backend_pid();
    let mut making = std::pin::pin!(session.query(&command));
    let mut look = interval(Duration::from_secs(1));
    look.tick().await;
    let rows = loop {
        tokio::select! {
            made = &mut making => break made?,
            _ = look.tick() => {
                // It keeps WAL from the first moment of its making on.
                let kept = slot::slot(&client, name).await?.and_then(|slot| slot.retained);
                if let Some(too_much) = too_much(kept, give_up_at) {
                    // It waits for a lock and wouldn't notice that we are gone.
                    client.execute("SELECT pg_catalog.pg_terminate_backend($1)", &[&pid]).await?;
                    return Err(Error::retry_slowly(format!("{too_much}, while it was being made"))
                        .hint("Making a slot waits for every transaction that is open on the source: end the oldest."));
                }
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

/// From 17 on a slot can be kept on standbys: then the mirror goes on after a failover as if
/// nothing had been. Where no standby keeps it, that costs nothing; but the source may be told to
/// stream only what its standbys have (synchronized_standby_slots).
fn making(name: &str, server_version: &str, failover: bool) -> String {
    let major = server_version
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    let options = match major {
        Some(17..) if failover => "(SNAPSHOT 'nothing', FAILOVER true)",
        _ => "NOEXPORT_SNAPSHOT",
    };
    format!("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput {options}", quote_identifier(name))
}

/// Lets standbys keep the slot that is there, or keep it no longer. Nobody may be reading it. From
/// 17 on.
pub async fn set_failover(connector: &Connector, name: &str, failover: bool) -> Result<(), Error> {
    let mut session = connector.replication().await?;
    let command = format!("ALTER_REPLICATION_SLOT {} (FAILOVER {failover})", quote_identifier(name));
    session.query(&command).await.map(|_| ())
}

fn in_use(name: &str) -> Error {
    Error::retry_slowly(format!("replication slot \"{name}\" is in use by something else"))
        .hint("Give configure() another slot name, or drop that slot on the source.")
}

async fn drop_slot(client: &tokio_postgres::Client, name: &str) -> Result<(), Error> {
    client.execute("SELECT pg_catalog.pg_drop_replication_slot($1::text::name)", &[&name]).await?;
    Ok(())
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
/// `ends_reader`: whoever reads it was our own stream, and may be too busy to notice that nobody
/// listens any more. So may a session of ours that was making it, and waits for a transaction.
pub async fn drop(connector: &Connector, name: &str, ends_reader: bool) -> Result<(), Error> {
    let client = connector.sql().await?;
    for turn in 0..50 {
        let Some(found) = slot::slot(&client, name).await? else { return Ok(()) };
        if found.active_pid.is_none() {
            return drop_slot(&client, name).await;
        }
        if turn == 10 && (ends_reader || found.confirmed_flush.is_none()) {
            // Nobody can have begun to read a slot that is being made: by its name it is ours.
            let ours = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
                        WHERE pid = $1 AND (application_name = $2 OR $3)";
            client.execute(ours, &[&found.active_pid, &connector.application_name(), &ends_reader]).await?;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(Error::retry(format!("replication slot \"{name}\" is still in use")))
}

/// Drops a slot that was ours, if nobody took it over meanwhile.
pub async fn leave(connector: &Connector, name: &str, applied: Lsn) -> Result<(), Error> {
    let client = connector.sql().await?;
    let Some(found) = slot::slot(&client, name).await? else { return Ok(()) };
    let untouched = found.active_pid.is_none()
        && found.plugin.as_deref() == Some("pgoutput")
        && found.confirmed_flush.is_some_and(|confirmed| confirmed <= applied);
    if untouched { drop_slot(&client, name).await } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::making;

    #[test]
    fn a_slot_is_one_that_standbys_can_keep_where_the_source_knows_such() {
        for version in ["13.22", "15.20 (Debian 15.20-0+deb12u1)", "16.4", ""] {
            assert_eq!(
                making("s", version, true),
                "CREATE_REPLICATION_SLOT \"s\" LOGICAL pgoutput NOEXPORT_SNAPSHOT",
                "{version}"
            );
        }
        for version in ["17.5", "18beta1", "18.1"] {
            assert!(making("s", version, true).ends_with("(SNAPSHOT 'nothing', FAILOVER true)"), "{version}");
            assert!(making("s", version, false).ends_with("NOEXPORT_SNAPSHOT"), "{version}");
        }
    }
}
