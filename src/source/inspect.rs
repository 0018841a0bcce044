//! One look at the source before anything starts: who it is, whether it can be mirrored, what it
//! publishes.

use super::catalog;
use super::check::Check;
use super::comments::{self, Comments};
use super::connect::Connector;
use super::identity::{self, SourceIdentity};
use super::slot::{self, SlotState};
use super::{key_cuts, prepare};
use crate::error::{Error, sqlstate};
use crate::mirror::ranges::KeyRange;
use crate::mirror::source_table::SourceTable;
use crate::mirror::timeline::History;
use crate::wire::Lsn;

#[derive(Debug, Clone)]
pub struct InspectRequest {
    pub publication: String,
    pub slot: String,
    pub excluded: Vec<String>,
    /// Tables that need no ranges: they are mirrored already.
    pub known: Vec<u32>,
    pub rows_per_range: i64,
    /// Our own stream holds the slot.
    pub streaming: bool,
    /// The mirror starts for the first time.
    pub first: bool,
    /// The slot waits for standbys, or will.
    pub failover: bool,
}

#[derive(Debug)]
pub struct Inspection {
    pub identity: SourceIdentity,
    pub system_identifier: String,
    pub timeline: u32,
    /// How the source came to its timeline; not looked for while our stream runs.
    pub history: History,
    pub checks: Vec<Check>,
    /// A check that stops the mirror: then nothing else was looked at.
    pub failure: Option<Error>,
    pub tables: Vec<Found>,
    pub slot: Option<SlotState>,
    /// How far the source's WAL is written.
    pub flushed: Lsn,
}

#[derive(Debug)]
pub struct Found {
    pub table: SourceTable,
    pub comments: Comments,
    /// Into which pieces a copy is cut.
    pub ranges: Vec<KeyRange>,
}

/// How long anything here waits for a table that somebody alters on the source.
const LOCKED_OUT: &str = "SET lock_timeout = '2s'";

/// How often it is tried while tables come and go.
const TRIES: usize = 5;

pub async fn inspect(connector: &Connector, request: &InspectRequest) -> Result<Inspection, Error> {
    let mut looked = look(connector, request).await;
    for _ in 1..TRIES {
        // A table went while it was looked at: the next look doesn't find it any more.
        let Err(error) = &looked else { break };
        if !error.sqlstate.as_deref().is_some_and(|code| sqlstate::is_gone(code, &error.message)) {
            break;
        }
        looked = look(connector, request).await;
    }
    looked.map_err(locked_out)
}

/// Names what a look that waited too long for a lock met.
pub(super) fn locked_out(error: Error) -> Error {
    match error.sqlstate.as_deref() {
        Some("55P03") => Error::retry("somebody holds a lock on a published table of the source")
            .hint("It is looked at again. On the source: SELECT pid, query FROM pg_stat_activity WHERE pid IN (SELECT pid FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock');")
            .sqlstate("55P03"),
        _ => error,
    }
}

async fn look(connector: &Connector, request: &InspectRequest) -> Result<Inspection, Error> {
    let client = connector.sql().await?;
    client.batch_execute(LOCKED_OUT).await?;
    let identity = identity::identify(&client).await?;
    let tables = catalog::published_tables(&client, &request.publication, &request.excluded).await?;
    let mut checks =
        prepare::checks(&client, &identity, &request.publication, &request.slot, &tables).await?;
    if request.failover {
        checks.push(prepare::standbys(&client).await?);
    }
    // Our own stream holds it.
    checks.retain(|check| !(request.streaming && check.name == prepare::SLOT_IS_FREE));
    let of_check = |check: &Check| Some((check.name, check.stops_all(request.first)?));
    if let Some((name, failure)) = checks.iter().find_map(of_check) {
        let in_use = name == prepare::SLOT_IS_FREE;
        let failure = if in_use { failure.sqlstate(prepare::SLOT_IN_USE) } else { failure };
        let slot = None;
        let (system_identifier, timeline) = (String::new(), 0);
        return Ok(Inspection {
            failure: Some(failure),
            identity,
            system_identifier,
            timeline,
            history: History::default(),
            checks,
            tables: Vec::new(),
            slot,
            flushed: Lsn::ZERO,
        });
    }
    let slot = slot::slot(&client, &request.slot).await?;
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let mut comments = comments::comments(&client, &oids).await?;
    let mut found = Vec::with_capacity(tables.len());
    for table in tables {
        let ranges = if request.known.contains(&table.oid) {
            Vec::new()
        } else {
            key_cuts::range_cuts(&client, &table, request.rows_per_range).await?
        };
        found.push(Found { comments: comments.remove(&table.oid).unwrap_or_default(), table, ranges });
    }
    let row = client.query_one("SELECT pg_catalog.pg_current_wal_flush_lsn()::text", &[]).await?;
    let flushed = row.try_get::<_, String>(0)?.parse().unwrap_or(Lsn::ZERO);
    let mut session = connector.replication().await?;
    let system = session.query("IDENTIFY_SYSTEM").await?;
    let said =
        |index: usize| system.first().and_then(|row| row.get(index)).cloned().flatten().unwrap_or_default();
    let timeline = said(1).parse().unwrap_or(0);
    let mut history = History::default();
    if timeline > 1 && !request.streaming {
        // A file that somebody removed proves nothing: then the history is unknown.
        let rows = session.query(&format!("TIMELINE_HISTORY {timeline}")).await.unwrap_or_default();
        let content = rows.first().and_then(|row| row.get(1)).cloned().flatten();
        history = History::parse(&content.unwrap_or_default());
    }
    Ok(Inspection {
        failure: None,
        identity,
        system_identifier: said(0),
        timeline,
        history,
        checks,
        tables: found,
        slot,
        flushed,
    })
}
