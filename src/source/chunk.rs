//! Reads one key range of a table under a [guarded](super::guarded) snapshot of its own.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::connect::Connector;
use super::guarded::{self, Guarded, Snapshotted, Wanted};
use super::link::{Event, Outbox};
use super::sql::Sql;
use super::writers;
use crate::error::{Error, sqlstate};

#[derive(Debug, Clone)]
pub struct ChunkRequest {
    /// Told with each event of this chunk, so that those of one given up are known.
    pub id: u64,
    pub wanted: Wanted,
    /// The columns as COPY selects them, casts included.
    pub columns: Vec<String>,
    /// SQL conditions: the key range, and the publication's row filter.
    pub conditions: Vec<String>,
    pub binary: bool,
    /// Transactions that may be committed without being visible yet: the snapshot must see each.
    pub must_see: Vec<u64>,
    /// Look for such transactions right before the snapshot too: the stream, which stands still,
    /// may have passed them. Give up after this long: the other tables wait.
    pub look_for_writers: Option<Duration>,
}

/// Bytes that go to the main thread at once.
const PIECE: usize = 128 * 1024;

/// A session that one chunk leaves to the next: opening one takes longer than reading a small
/// table.
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

/// What the source says of the chunk's table concerns that alone. An error: the source can't be
/// reached, and without a stream nothing else can be done.
pub async fn read(
    connector: &Connector,
    spare: Option<&Spare>,
    request: ChunkRequest,
    outbox: &Outbox,
) -> Result<(), Error> {
    let id = request.id;
    let client = match spare.and_then(Spare::take) {
        Some(session) => Ok(session),
        None => connector.sql().await,
    };
    let client = match client {
        Ok(client) => client,
        Err(error) if request.look_for_writers.is_some() => {
            outbox.send(Event::ChunkGivenUp { id, why: error.message }).await;
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if let Err(error) = try_read(client, spare, request, outbox).await {
        let gone = error.sqlstate.as_deref().is_some_and(|code| sqlstate::is_gone(code, &error.message));
        let event = match gone {
            true => Event::ChunkDrifted { id, why: error.message },
            false => Event::ChunkFailed { id, error },
        };
        outbox.send(event).await;
    }
    Ok(())
}

async fn try_read(
    client: Sql,
    spare: Option<&Spare>,
    request: ChunkRequest,
    outbox: &Outbox,
) -> Result<(), Error> {
    let mut must_see = request.must_see.clone();
    if request.look_for_writers.is_some() {
        must_see
            .extend(writers::writers(&client, request.wanted.table.oid).await.map_err(Error::that_passes)?);
    }
    let id = request.id;
    let patience = request.look_for_writers;
    let taken = match guarded::snapshot(&client, &request.wanted, must_see, patience, outbox).await? {
        Guarded::Taken(taken) => taken,
        Guarded::Late(why) => {
            outbox.send(Event::ChunkGivenUp { id, why }).await;
            return Ok(());
        }
        Guarded::Drifted(why) => {
            outbox.send(Event::ChunkDrifted { id, why }).await;
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

fn copy_statement(request: &ChunkRequest) -> String {
    let filter = match request.conditions.as_slice() {
        [] => String::new(),
        conditions => {
            let terms: Vec<String> = conditions.iter().map(|term| format!("({term})")).collect();
            format!(" WHERE {}", terms.join(" AND "))
        }
    };
    let format = if request.binary { "binary" } else { "text" };
    format!(
        "COPY (SELECT {} FROM {}{filter}) TO STDOUT (FORMAT {format})",
        request.columns.join(", "),
        request.wanted.sql(),
    )
}
