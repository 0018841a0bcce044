//! Reads pieces of tables on the source for comparing: first a hash of all rows, then each row's, then rows, all under
//! one guarded snapshot. Only reads, and rests in between, so that the source hardly notices.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_postgres::SimpleQueryMessage;

use super::connect::Connector;
use super::guarded::{self, Guarded, Wanted};
use super::link::{Event, Gauges, Outbox};
use super::sql::Sql;
use crate::error::{Error, sqlstate};
use crate::mirror::fence::{RowHash, RowKey};
use crate::mirror::proof::{Piece, Side, Tiling};
use crate::mirror::snapshot::Snapshot;
use crate::wire::Lsn;

/// What the main thread asks, of one piece after the other.
#[derive(Debug)]
pub enum ProbeStep {
    /// Takes a snapshot that sees `must_see`, and hashes the piece's rows. Answered by `Probed::Opened`, then `Probed::Summed`; of a
    /// piece that is a list of keys by `Probed::Hashes`.
    Open(Box<ProbeRequest>),
    /// Each row's hash. Answered by `Probed::Hashes`.
    Hashes,
    /// The rows under these keys, or all. Answered by `Probed::Rows`, several times perhaps, then by `Probed::End`.
    Fetch(Option<Vec<RowKey>>),
    /// The piece is done: lets the snapshot go, and rests.
    Close,
}

#[derive(Debug)]
pub struct ProbeRequest {
    pub id: u64,
    pub wanted: Wanted,
    pub side: Side,
    pub tiling: Tiling,
    /// Of a range only where it begins is given; where it ends is found here, and is no more than `hi` if that is given.
    pub piece: Piece,
    pub rows: i64,
    pub must_see: Vec<u64>,
    /// Percent of the time that the source may work on this.
    pub share: i32,
}

/// What a probe found. `id` is the request's.
#[derive(Debug)]
pub enum Probed {
    Opened {
        id: u64,
        snapshot: Snapshot,
        past: Lsn,
        piece: Piece,
    },
    /// How many rows the piece has, and their hash.
    Summed {
        id: u64,
        rows: i64,
        hash: (String, String),
    },
    Hashes {
        id: u64,
        rows: Vec<(RowKey, RowHash)>,
    },
    Rows {
        id: u64,
        rows: Vec<Vec<Option<String>>>,
    },
    End {
        id: u64,
    },
    /// Something on the source is in the way: try again later.
    Late {
        id: u64,
        why: String,
    },
    /// The table isn't what it was when the mirror looked at it: nothing was read.
    Drifted {
        id: u64,
        why: String,
    },
    /// It couldn't be read.
    GivenUp {
        id: u64,
        error: Error,
    },
}

/// How long a snapshot may wait for writers that it must see.
const PATIENCE: Duration = Duration::from_secs(2);

/// Rows that are handed over at once, in bytes.
const PIECE_BYTES: usize = 1024 * 1024;

/// Serves steps until the main thread drops its end.
pub async fn serve(
    connector: &Connector,
    mut steps: mpsc::UnboundedReceiver<ProbeStep>,
    outbox: &Outbox,
    gauges: &Gauges,
) -> Result<(), Error> {
    let mut session: Option<Sql> = None;
    let mut open: Option<Open> = None;
    while let Some(step) = steps.recv().await {
        let step = match step {
            ProbeStep::Open(request) => {
                if let (Some(client), Some(_)) = (&session, open.take()) {
                    let _ = client.batch_execute("ROLLBACK").await;
                }
                open = Some(Open { request: *request, busy: Duration::ZERO });
                Ask::Begin
            }
            ProbeStep::Hashes => Ask::Hashes,
            ProbeStep::Fetch(keys) => Ask::Fetch(keys),
            ProbeStep::Close => {
                if let (Some(client), Some(done)) = (&session, open.take()) {
                    // Reading may have pruned pages: only a commit sees to it that the WAL of that is flushed, without which
                    // the stream wouldn't reach the next snapshot's position on an idle source.
                    let _ = client.batch_execute("COMMIT").await;
                    sleep(done.rest()).await;
                }
                continue;
            }
        };
        let Some(probe) = &mut open else { continue };
        let began = Instant::now();
        let answered = answer(connector, &mut session, probe, &step, (outbox, gauges)).await;
        probe.busy += began.elapsed();
        let said = match answered {
            Ok(said) => said,
            Err(error) => {
                let id = probe.request.id;
                let gone = |code: &str| sqlstate::is_gone(code, &error.message);
                // A broken session is made anew for the next piece; an unbroken one has a transaction to end.
                session = None;
                match error.sqlstate.as_deref().is_some_and(gone) {
                    true => Probed::Drifted { id, why: error.message },
                    false => Probed::GivenUp { id, error },
                }
            }
        };
        if matches!(said, Probed::Late { .. } | Probed::Drifted { .. } | Probed::GivenUp { .. }) {
            open = None;
        }
        if !outbox.send(Event::Probed(Box::new(said))).await {
            return Ok(());
        }
    }
    Ok(())
}

enum Ask {
    Begin,
    Hashes,
    Fetch(Option<Vec<RowKey>>),
}

struct Open {
    request: ProbeRequest,
    busy: Duration,
}

impl Open {
    fn rest(&self) -> Duration {
        let share = self.request.share.clamp(1, 100).cast_unsigned();
        (self.busy * (100 - share) / share).min(Duration::from_secs(10))
    }
}

async fn answer(
    connector: &Connector,
    session: &mut Option<Sql>,
    probe: &mut Open,
    ask: &Ask,
    (outbox, gauges): (&Outbox, &Gauges),
) -> Result<Probed, Error> {
    let client = match session {
        Some(client) => client,
        None => session.insert(connector.sql().await?),
    };
    probe.request.side.recodes = client.recodes();
    let id = probe.request.id;
    match ask {
        Ask::Begin => {
            let (opened, past) = match begin(client, probe, outbox).await? {
                Begun::Opened(opened, past) => (opened, past),
                Begun::Not(why) => return Ok(why),
            };
            if let Probed::Opened { snapshot, .. } = &opened {
                gauges.newest_xid.fetch_max(snapshot.xmax(), Ordering::Relaxed);
            }
            // Told before the stream can stand there: the rows here are looked at in that very moment.
            outbox.send(Event::Probed(Box::new(opened))).await;
            gauges.stand_at.store(past.0, Ordering::Relaxed);
            match probe.request.piece {
                Piece::Keys(_) => hashes(client, &probe.request).await,
                _ => sum(client, &probe.request).await,
            }
        }
        Ask::Hashes => hashes(client, &probe.request).await,
        Ask::Fetch(keys) => {
            fetch(client, &probe.request, keys.as_deref(), outbox).await?;
            Ok(Probed::End { id })
        }
    }
}

/// The piece's rows, each with its key and its hash.
async fn hashes(client: &Sql, request: &ProbeRequest) -> Result<Probed, Error> {
    let sql = request.side.rows_query(&condition(request, &request.piece));
    let mut rows = Vec::new();
    for row in query(client, &sql).await? {
        let number = |index: usize| row.get(index).cloned().flatten().and_then(|text| text.parse().ok());
        let hash = (number(0).unwrap_or(0), number(1).unwrap_or(0));
        rows.push((row.into_iter().skip(2).map(Option::unwrap_or_default).collect(), hash));
    }
    Ok(Probed::Hashes { id: request.id, rows })
}

/// What came of beginning a piece.
enum Begun {
    /// And a position past what its snapshot sees.
    Opened(Probed, Lsn),
    Not(Probed),
}

async fn begin(client: &Sql, probe: &mut Open, outbox: &Outbox) -> Result<Begun, Error> {
    let request = &mut probe.request;
    let (id, must_see) = (request.id, std::mem::take(&mut request.must_see));
    let taken = guarded::snapshot(client, &request.wanted, must_see, Some(PATIENCE), outbox).await?;
    let (snapshot, past) = match taken {
        Guarded::Taken(taken) => (taken.snapshot, taken.past),
        Guarded::Late(why) => return Ok(Begun::Not(Probed::Late { id, why })),
        Guarded::Drifted(why) => return Ok(Begun::Not(Probed::Drifted { id, why })),
    };
    if let (Piece::Range { lo, hi }, Tiling::Ranges { column }) = (&mut request.piece, &request.tiling) {
        let cut = query(client, &request.side.cut_query(column, *lo, request.rows)).await?;
        let cut =
            cut.first().and_then(|row| row.first().cloned().flatten()).and_then(|text| text.parse().ok());
        // Many rows may share the column's first value: then the piece is all of these.
        let cut = cut.map(|cut: i64| if *lo == Some(cut) { cut.saturating_add(1) } else { cut });
        *hi = match (cut, *hi) {
            (Some(cut), Some(most)) => Some(cut.min(most)),
            (cut, most) => cut.or(most),
        };
    }
    Ok(Begun::Opened(Probed::Opened { id, snapshot, past, piece: request.piece.clone() }, past))
}

async fn sum(client: &Sql, request: &ProbeRequest) -> Result<Probed, Error> {
    let said = query(client, &request.side.hash_query(&condition(request, &request.piece))).await?;
    let field =
        |index: usize| said.first().and_then(|row| row.get(index).cloned().flatten()).unwrap_or_default();
    let rows = field(0).parse().unwrap_or(0);
    Ok(Probed::Summed { id: request.id, rows, hash: (field(1), field(2)) })
}

async fn fetch(
    client: &Sql,
    request: &ProbeRequest,
    keys: Option<&[RowKey]>,
    outbox: &Outbox,
) -> Result<(), Error> {
    use futures_core::Stream;
    let piece = keys.map_or_else(|| request.piece.clone(), |keys| Piece::Keys(keys.to_vec()));
    let sql = request.side.fetch_query(&condition(request, &piece));
    let mut stream = std::pin::pin!(client.simple_query_raw(&sql).await?);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(message) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await {
        if let SimpleQueryMessage::Row(row) = message? {
            let row: Vec<Option<String>> =
                (0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect();
            bytes += row.iter().flatten().map(String::len).sum::<usize>();
            rows.push(row);
            if bytes >= PIECE_BYTES {
                let rows = std::mem::take(&mut rows);
                bytes = 0;
                outbox.send(Event::Probed(Box::new(Probed::Rows { id: request.id, rows }))).await;
            }
        }
    }
    if !rows.is_empty() {
        outbox.send(Event::Probed(Box::new(Probed::Rows { id: request.id, rows }))).await;
    }
    Ok(())
}

fn condition(request: &ProbeRequest, piece: &Piece) -> String {
    request.tiling.condition(piece, &request.side)
}

/// A query's rows as text, by the types' own output functions.
async fn query(client: &Sql, sql: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
    let messages = client.simple_query(sql).await?;
    Ok(messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect())
            }
            _ => None,
        })
        .collect())
}
