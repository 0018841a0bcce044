//! Reads pieces of tables on the source for comparing: first a hash of all rows, then each row's,
//! then rows, all under one guarded snapshot. Only reads, and rests in between, so that the source
//! hardly notices.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_postgres::SimpleQueryMessage;

use super::connect::Connector;
use super::guarded::{self, Guarded, Wanted};
use super::link::{Event, Gauges, Outbox};
use super::sql::Sql;
use super::writers;
use crate::error::{Error, sqlstate};
use crate::mirror::fence::{RowHash, RowKey};
use crate::mirror::proof::{Limits, Piece, Side, Tiling};
use crate::mirror::snapshot::Snapshot;
use crate::wire::Lsn;

/// What the main thread asks, of one piece after the other.
#[derive(Debug)]
pub enum ProbeStep {
    /// Takes a snapshot that sees `must_see`, and hashes the piece's rows. Answered by
    /// `Probed::Opened`, then `Probed::Summed`; of a piece that is a list of keys by
    /// `Probed::Hashes`.
    Open(Box<ProbeRequest>),
    /// Each row's hash. Answered by `Probed::Hashes`.
    Hashes,
    /// The rows under these keys, or all. Answered by `Probed::Rows`, several times perhaps, then
    /// by `Probed::End`.
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
    /// Of a range only where it begins is given; where it ends is found here, and is no more than
    /// `hi` if that is given.
    pub piece: Piece,
    pub limits: Limits,
    pub must_see: Vec<u64>,
    /// Whoever is writing to the table now must be seen, too: not all of what it wrote comes with
    /// the stream.
    pub look_for_writers: bool,
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
    /// Rows are on their way: the source is slow, and not silent.
    Heard {
        id: u64,
    },
    /// The piece's rows are more bytes than they were taken for.
    TooBig {
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

impl Probed {
    /// Of which request it is.
    pub fn id(&self) -> u64 {
        match self {
            Self::Opened { id, .. }
            | Self::Summed { id, .. }
            | Self::Hashes { id, .. }
            | Self::Rows { id, .. }
            | Self::End { id }
            | Self::Heard { id }
            | Self::TooBig { id }
            | Self::Late { id, .. }
            | Self::Drifted { id, .. }
            | Self::GivenUp { id, .. } => *id,
        }
    }
}

/// How long a snapshot may wait for writers that it must see.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long for transactions that may only have begun: they are asked for again.
const WRITERS_PATIENCE: Duration = Duration::from_millis(500);

/// Rows that are handed over at once, in bytes.
const PIECE_BYTES: usize = 1024 * 1024;

/// How many times the bytes that a piece should have it may turn out to have.
const TIMES: usize = 4;

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
                    // Reading may have pruned pages: only a commit sees to it that the WAL of that
                    // is flushed, without which the stream wouldn't reach the next snapshot's
                    // position on an idle source.
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
                // A broken session is made anew for the next piece; an unbroken one has a
                // transaction to end.
                session = None;
                match error.sqlstate.as_deref().is_some_and(gone) {
                    true => Probed::Drifted { id, why: error.message },
                    false => Probed::GivenUp { id, error },
                }
            }
        };
        if matches!(said, Probed::TooBig { .. }) {
            // The rows that are still under way go with the connection.
            (session, open) = (None, None);
        }
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
        None => match connector.sql().await {
            Ok(client) => session.insert(client),
            // No fault of the table's.
            Err(error) => return Ok(Probed::Late { id: probe.request.id, why: error.message }),
        },
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
            // Told before the stream can stand there: the rows here are looked at in that very
            // moment.
            outbox.send(Event::Probed(Box::new(opened))).await;
            gauges.stand_at.store(past.0, Ordering::Relaxed);
            match probe.request.piece {
                Piece::Keys(_) => hashes(client, &probe.request, outbox).await,
                _ => sum(client, &probe.request).await,
            }
        }
        Ask::Hashes => hashes(client, &probe.request, outbox).await,
        Ask::Fetch(keys) => match fetch(client, &probe.request, keys.as_deref(), outbox).await? {
            true => Ok(Probed::End { id }),
            false => Ok(Probed::TooBig { id }),
        },
    }
}

/// The piece's rows, each with its key and its hash.
async fn hashes(client: &Sql, request: &ProbeRequest, outbox: &Outbox) -> Result<Probed, Error> {
    let sql = request.side.rows_query(&condition(request, &request.piece));
    let mut stream = std::pin::pin!(client.simple_query_raw(&sql).await?);
    let (mut rows, mut told) = (Vec::new(), Instant::now());
    while let Some(message) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await {
        let SimpleQueryMessage::Row(row) = message? else { continue };
        let number = |index: usize| row.get(index).and_then(|text| text.parse().ok()).unwrap_or(0);
        let key = (2..row.len()).map(|index| row.get(index).unwrap_or_default().to_owned()).collect();
        rows.push((key, (number(0), number(1))));
        heard(request.id, &mut told, outbox).await;
    }
    Ok(Probed::Hashes { id: request.id, rows })
}

/// Tells now and then that the source answers.
async fn heard(id: u64, told: &mut Instant, outbox: &Outbox) {
    if told.elapsed() >= Duration::from_secs(1) {
        *told = Instant::now();
        outbox.send(Event::Probed(Box::new(Probed::Heard { id }))).await;
    }
}

/// What came of beginning a piece.
enum Begun {
    /// And a position past what its snapshot sees.
    Opened(Probed, Lsn),
    Not(Probed),
}

async fn begin(client: &Sql, probe: &mut Open, outbox: &Outbox) -> Result<Begun, Error> {
    let request = &mut probe.request;
    let (id, mut must_see) = (request.id, std::mem::take(&mut request.must_see));
    if request.look_for_writers {
        must_see
            .extend(writers::writers(client, request.wanted.table.oid).await.map_err(Error::that_passes)?);
    }
    let patience = if request.look_for_writers { WRITERS_PATIENCE } else { PATIENCE };
    let taken = guarded::snapshot(client, &request.wanted, must_see, Some(patience), outbox).await?;
    let (snapshot, past) = match taken {
        Guarded::Taken(taken) => (taken.snapshot, taken.past),
        Guarded::Late(why) => return Ok(Begun::Not(Probed::Late { id, why })),
        Guarded::Drifted(why) => return Ok(Begun::Not(Probed::Drifted { id, why })),
    };
    match (&mut request.piece, &request.tiling) {
        (Piece::Range { lo, hi }, Tiling::Ranges { order }) => {
            let cut = query(client, &request.side.cut_query(order, (lo, hi), request.limits)).await?;
            if let Some(cut) = cut.into_iter().next() {
                *hi = Some(cut.into_iter().map(Option::unwrap_or_default).collect());
            }
        }
        (Piece::Keys(keys), _) => {
            let sizes = query(client, &request.side.sizes_query(keys)).await?;
            keep_within(keys, sizes, request.limits.bytes);
        }
        _ => {}
    }
    Ok(Begun::Opened(Probed::Opened { id, snapshot, past, piece: request.piece.clone() }, past))
}

/// As many of the keys as have that many bytes, and one at least.
fn keep_within(keys: &mut Vec<RowKey>, sizes: Vec<Vec<Option<String>>>, most: i64) {
    let sizes: HashMap<RowKey, i64> = sizes
        .into_iter()
        .map(|row| {
            let mut row = row.into_iter().map(Option::unwrap_or_default);
            let size = row.next().and_then(|size| size.parse().ok()).unwrap_or(0);
            (row.collect(), size)
        })
        .collect();
    let mut bytes = 0;
    let fit = keys.iter().take_while(|key| {
        let fits = bytes < most;
        bytes += sizes.get(*key).copied().unwrap_or(0);
        fits
    });
    let fit = fit.count().max(1);
    keys.truncate(fit);
}

async fn sum(client: &Sql, request: &ProbeRequest) -> Result<Probed, Error> {
    let said = query(client, &request.side.hash_query(&condition(request, &request.piece))).await?;
    let field =
        |index: usize| said.first().and_then(|row| row.get(index).cloned().flatten()).unwrap_or_default();
    let rows = field(0).parse().unwrap_or(0);
    Ok(Probed::Summed { id: request.id, rows, hash: (field(1), field(2)) })
}

/// False: they are too many bytes for one piece.
async fn fetch(
    client: &Sql,
    request: &ProbeRequest,
    keys: Option<&[RowKey]>,
    outbox: &Outbox,
) -> Result<bool, Error> {
    let piece = keys.map_or_else(|| request.piece.clone(), |keys| Piece::Keys(keys.to_vec()));
    let sql = request.side.fetch_query(&condition(request, &piece));
    let mut stream = std::pin::pin!(client.simple_query_raw(&sql).await?);
    let (mut rows, mut bytes, mut told) = (Vec::new(), 0, Instant::now());
    let (mut all_rows, mut all_bytes) = (0_usize, 0_usize);
    let most = usize::try_from(request.limits.bytes).unwrap_or(usize::MAX).saturating_mul(TIMES);
    while let Some(message) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await {
        if let SimpleQueryMessage::Row(row) = message? {
            let row: Vec<Option<String>> =
                (0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect();
            let size = row.iter().flatten().map(String::len).sum::<usize>();
            (bytes, all_bytes, all_rows) = (bytes + size, all_bytes + size, all_rows + 1);
            // Rows of a table without a key can't be told apart, so they are one piece.
            if all_bytes > most && all_rows > 1 && !request.side.key.is_empty() && request.limits.rows > 1 {
                return Ok(false);
            }
            rows.push(row);
            heard(request.id, &mut told, outbox).await;
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
    Ok(true)
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
