//! Reads one key range of a table under a snapshot of its own.
//!
//! The order matters: LOCK takes no snapshot, so what it waited for is seen by the snapshot after it; without it
//! a TRUNCATE or a rewrite between snapshot and read gives no rows.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::connect::Connector;
use super::link::{Event, Outbox};
use super::sql::Sql;
use super::writers;
use crate::error::Error;
use crate::mirror::quote::quote_identifier;
use crate::mirror::session_settings::VALUES_PATH;
use crate::mirror::snapshot::Snapshot;
use crate::wire::Lsn;

#[derive(Debug, Clone)]
pub struct ChunkRequest {
    /// Told with each event of this chunk, so that those of one given up are known.
    pub id: u64,
    pub table_oid: u32,
    pub schema: String,
    pub name: String,
    /// Read the partitions too (a partitioned table published via its root).
    pub with_children: bool,
    /// The columns as COPY selects them, casts included.
    pub columns: Vec<String>,
    /// SQL conditions: the key range, and the publication's row filter.
    pub conditions: Vec<String>,
    pub binary: bool,
    /// Transactions that may be committed without being visible yet: the snapshot must see each.
    pub must_see: Vec<u64>,
    /// Look for such transactions right before the snapshot too: the stream, which stands still, may have passed
    /// them. Give up after this long: the other tables wait.
    pub look_for_writers: Option<Duration>,
}

/// Bytes that go to the main thread at once.
const PIECE: usize = 128 * 1024;

/// A session that one chunk leaves to the next: opening one takes longer than reading a small table.
#[derive(Default)]
pub struct Spare(Mutex<Option<Sql>>);

impl Spare {
    /// Takes the session, if there is one that still lives.
    pub fn take(&self) -> Option<Sql> {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spare.take().filter(|session| !session.is_closed())
    }

    fn put(&self, session: Sql) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }
}

pub async fn read(
    connector: &Connector,
    spare: Option<&Spare>,
    request: ChunkRequest,
    outbox: &Outbox,
) -> Result<(), Error> {
    let client = match spare.and_then(Spare::take) {
        Some(session) => session,
        None => connector.sql().await?,
    };
    let mut must_see = request.must_see.clone();
    if request.look_for_writers.is_some() {
        must_see.extend(writers::writers(&client, request.table_oid).await?);
    }
    let id = request.id;
    let table = Table {
        oid: request.table_oid,
        schema: &request.schema,
        name: &request.name,
        with_children: request.with_children,
    };
    let taken = match snapshot(&client, table, must_see, request.look_for_writers, outbox).await? {
        Ok(taken) => taken,
        Err(why) => {
            outbox.send(Event::ChunkGivenUp { id, why }).await;
            return Ok(());
        }
    };
    let Snapshotted { text, past, filenode, .. } = taken;
    if !outbox.send(Event::ChunkStarted { id, snapshot: text, past, filenode }).await {
        return Ok(());
    }
    let stream = client.copy_out(&copy_statement(&request)).await?;
    let mut stream = pin!(stream);
    let mut piece = Vec::with_capacity(PIECE + PIECE / 4);
    while let Some(bytes) = next(&mut stream).await {
        piece.extend_from_slice(&bytes?);
        if piece.len() >= PIECE {
            let rows = std::mem::replace(&mut piece, Vec::with_capacity(PIECE + PIECE / 4));
            if !outbox.send(Event::Rows { id, rows }).await {
                return Ok(());
            }
        }
    }
    if !piece.is_empty() {
        outbox.send(Event::Rows { id, rows: piece }).await;
    }
    client.batch_execute("COMMIT").await?;
    if let Some(spare) = spare {
        spare.put(client);
    }
    outbox.send(Event::ChunkDone { id }).await;
    Ok(())
}

async fn next(
    stream: &mut std::pin::Pin<&mut tokio_postgres::CopyOutStream>,
) -> Option<Result<bytes::Bytes, tokio_postgres::Error>> {
    use futures_core::Stream;
    std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
}

/// A table of the source, by which a snapshot is guarded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) oid: u32,
    pub(super) schema: &'a str,
    pub(super) name: &'a str,
    pub(super) with_children: bool,
}

impl Table<'_> {
    /// As FROM and LOCK TABLE name it.
    pub(super) fn sql(&self) -> String {
        let only = if self.with_children { "" } else { "ONLY " };
        format!("{only}{}.{}", quote_identifier(self.schema), quote_identifier(self.name))
    }
}

/// A snapshot that was taken, and what was read with it.
pub(super) struct Snapshotted {
    pub(super) text: String,
    pub(super) snapshot: Snapshot,
    /// Past every commit that it sees.
    pub(super) past: Lsn,
    pub(super) filenode: u32,
}

/// Opens a transaction whose snapshot sees all of `must_see`, and leaves it open; with `patience`, gives up after
/// that long, and says why.
pub(super) async fn snapshot(
    client: &Client,
    table: Table<'_>,
    mut must_see: Vec<u64>,
    patience: Option<Duration>,
    outbox: &Outbox,
) -> Result<Result<Snapshotted, String>, Error> {
    let oid = table.oid;
    let table = table.sql();
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = '5s'; \
         SET LOCAL search_path = {VALUES_PATH}; \
         LOCK TABLE {table} IN ACCESS SHARE MODE"
    );
    let asked = format!(
        "SELECT pg_catalog.pg_current_snapshot()::text, pg_catalog.pg_current_wal_insert_lsn()::text, \
         coalesce(pg_catalog.pg_relation_filenode({}::oid), 0)::text",
        oid
    );
    let began = Instant::now();
    let mut told = began;
    loop {
        if let Err(error) = client.batch_execute(&begin).await {
            let error = Error::from(error);
            let _ = client.batch_execute("ROLLBACK").await;
            if error.sqlstate.as_deref() == Some("55P03") {
                let why = format!("waiting for a lock on the source's table {table}");
                if patience.is_some() {
                    return Ok(Err(why));
                }
                outbox.send(Event::Waiting(why)).await;
                continue;
            }
            return Err(error);
        }
        let rows = client.simple_query(&asked).await?;
        let row = rows.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let field = |index| row.and_then(|row| row.get(index)).unwrap_or_default();
        let unreadable = || Error::stop("the source's snapshot could not be read");
        let text = field(0).to_owned();
        let snapshot: Snapshot = text.parse().map_err(|_| unreadable())?;
        must_see.retain(|xid| !snapshot.sees(*xid));
        if must_see.is_empty() {
            let past: Lsn = field(1).parse().map_err(|_| unreadable())?;
            let (past, filenode) = (past.as_end_position(), field(2).parse().unwrap_or(0));
            return Ok(Ok(Snapshotted { text, snapshot, past, filenode }));
        }
        client.batch_execute("ROLLBACK").await?;
        let gives_up = patience.is_some_and(|patience| began.elapsed() > patience);
        if gives_up || told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            let blockers = writers::blockers(client, &must_see).await?;
            let list: Vec<String> = blockers.iter().map(ToString::to_string).collect();
            let why =
                format!("waiting for transactions on the source that write {table}: {}", list.join(", "));
            if gives_up {
                return Ok(Err(why));
            }
            outbox.send(Event::Waiting(why)).await;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn copy_statement(request: &ChunkRequest) -> String {
    let only = if request.with_children { "" } else { "ONLY " };
    let filter = match request.conditions.as_slice() {
        [] => String::new(),
        conditions => {
            let terms: Vec<String> = conditions.iter().map(|term| format!("({term})")).collect();
            format!(" WHERE {}", terms.join(" AND "))
        }
    };
    let format = if request.binary { "binary" } else { "text" };
    format!(
        "COPY (SELECT {} FROM {only}{}.{}{filter}) TO STDOUT (FORMAT {format})",
        request.columns.join(", "),
        quote_identifier(&request.schema),
        quote_identifier(&request.name),
    )
}
