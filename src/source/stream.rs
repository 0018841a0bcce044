//! The replication stream on the network thread: waits for the socket, hands over batches, and
//! keeps the source told.
//!
//! Replies go out on a timer whatever else happens: a busy applier must not look like a dead
//! client. When the applier is busy the stream gathers, up to its bounds; then it stops reading,
//! never replying.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::connect::Connector;
use super::failure;
use super::lease::{Lease, Lent, Shared};
use super::link::{Event, Gauges, Hunger, Outbox};
use super::reading::{Next, Reader};
use super::session::ReplicationSession;
use crate::error::{Error, Verdict};
use crate::mirror::quote::{quote_identifier, quote_literal};
use crate::mirror::stream_table::StreamTable;
use crate::wire::Lsn;

#[derive(Debug)]
pub struct StreamRequest {
    pub slot: String,
    pub publication: String,
    /// Where the mirror stands, durably.
    pub start: Lsn,
    pub binary: bool,
    /// server_version_num.
    pub server_version: u32,
    pub tables: Vec<Arc<StreamTable>>,
    pub bounds: Bounds,
}

/// When a batch is handed over although more is there.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub changes: usize,
    pub bytes: usize,
    pub age: Duration,
}

#[derive(Debug)]
pub enum StreamCommand {
    /// Ask the source how far it is: an idle one says so only now and then.
    Ask,
    /// Stop between two transactions; answered by `Paused`.
    Pause,
    /// The change before which the stream stands comes again, with the tables as they are now.
    Refit { tables: Vec<Arc<StreamTable>> },
    /// Go on, with the tables as they are now.
    Resume { tables: Vec<Arc<StreamTable>> },
}

/// How often the source hears from us at least. Its wal_sender_timeout may be as short as a few
/// seconds.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// In the middle of a transaction, each of whose changes comes as a message of its own, the next
/// look at the socket is put off by this: nothing can be applied before the rest is there, and to
/// be woken for each costs both sides more than all else.
const REST: Duration = Duration::from_micros(50);

pub struct Stream {
    commands: mpsc::UnboundedReceiver<StreamCommand>,
    outbox: Outbox,
    hunger: Arc<Hunger>,
    gauges: Arc<Gauges>,
    /// The source began to stream.
    streams: bool,
}

impl Stream {
    pub(super) fn new(
        commands: mpsc::UnboundedReceiver<StreamCommand>,
        outbox: Outbox,
        hunger: Arc<Hunger>,
        gauges: Arc<Gauges>,
    ) -> Stream {
        Stream { commands, outbox, hunger, gauges, streams: false }
    }

    /// Runs until something fails or the main thread goes.
    pub async fn run(&mut self, connector: &Connector, request: StreamRequest) -> Result<(), Error> {
        self.gauges.received.store(request.start.0, Ordering::Relaxed);
        let mut session = connector.replication().await?;
        let newest = newest_xid(&mut session).await?;
        session.start_replication(&start_command(&request)).await?;
        let session = session.into_streaming()?;
        self.streams = true;
        let socket = session.descriptor().map_err(failure::io_failure)?;
        let shared = Arc::new(Shared::new(
            Reader::new(session, request, newest, Arc::clone(&self.gauges)),
            Arc::clone(&self.hunger),
        ));
        let _closing = Closing(Arc::clone(&shared));
        let mut ticks = interval(STATUS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut goes_on = self.outbox.send(Event::Lease(Lease::new(Arc::clone(&shared), socket))).await
            && self.outbox.send(Event::Streaming).await;
        while goes_on {
            let Some(lent) = self.read(&shared, &mut ticks).await? else { break };
            goes_on = self.outbox.send(Event::Lent(lent)).await && self.stand_by(&shared, &mut ticks).await?;
        }
        Ok(())
    }

    /// Reads until the main thread does, or is gone (None).
    async fn read(&mut self, shared: &Shared, ticks: &mut Interval) -> Result<Option<Lent>, Error> {
        // A runtime that knows the socket is woken by it, whoever reads.
        let socket = shared.lock().watch()?;
        let hunger = Arc::clone(&self.hunger);
        let mut just_read = false;
        // One for all: to set a timer costs a wake-up of its own.
        let mut idle_timer = std::pin::pin!(sleep_until(Instant::now()));
        let mut idle_timer_set = false;
        loop {
            let next = shared.lock().next(&hunger, std::mem::take(&mut just_read))?;
            let wait = match next {
                Next::Tell(event) => {
                    if !self.outbox.send(event).await {
                        return Ok(None);
                    }
                    continue;
                }
                Next::Rest => {
                    // The runtime's own timers count in milliseconds; nobody else minds waiting so
                    // short a time.
                    std::thread::sleep(REST);
                    continue;
                }
                Next::Wait(wait) => wait,
            };
            let lent = shared.lock().lend();
            if lent.is_some() {
                return Ok(lent);
            }
            if let Some(at) = wait.idle_at.filter(|_| !idle_timer_set) {
                idle_timer.as_mut().reset(at.into());
                idle_timer_set = true;
            }
            let naps = wait.nap_until.is_some();
            let reads = wait.reads && !naps;
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => shared.lock().command(command)?,
                    None => return Ok(None),
                },
                () = hunger.wanted() => {}
                () = sleep_until(wait.nap_until.map_or_else(Instant::now, Instant::from)), if naps => {
                    shared.lock().nap_is_over();
                }
                () = &mut idle_timer, if idle_timer_set => {
                    idle_timer_set = false;
                    self.tell_idle(&mut shared.lock());
                }
                readable = socket.readable(), if reads => {
                    readable.map_err(failure::io_failure)?;
                    just_read = shared.lock().fill()?;
                    if !just_read {
                        socket.has_nothing();
                    }
                }
                // Nothing to read after a nap: that was all.
                () = std::future::ready(()), if reads && wait.gathers => {
                    shared.lock().intake.quiet = true;
                }
                _ = ticks.tick() => shared.lock().tick()?,
            }
        }
    }

    fn tell_idle(&self, reader: &mut Reader) {
        if !reader.lending.may_come_again()
            && let Some(position) = reader.intake.take_idle(false)
            && self.outbox.try_send(Event::Idle { position })
        {
            reader.intake.told_idle(position);
        }
    }

    /// While the main thread reads: keeps the source told. False: the main thread is gone.
    async fn stand_by(&mut self, shared: &Shared, ticks: &mut Interval) -> Result<bool, Error> {
        while shared.lock().lending.is_lent() {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => shared.lock().command(command)?,
                    None => return Ok(false),
                },
                () = shared.given_back() => {}
                _ = ticks.tick() => {
                    let mut reader = shared.lock();
                    reader.tick()?;
                    reader.take_back_what_lies()?;
                }
            }
        }
        Ok(true)
    }

    /// What the source reports in the middle of its stream, and will report again, has to do with
    /// what it decodes.
    pub(super) fn note_failure(&self, error: &Error) {
        if self.streams && error.sqlstate.is_some() && error.verdict == Verdict::RetrySlowly {
            let _ = self.gauges.undecodable.set(error.message.clone());
        }
    }
}

/// Closes the stream when the task that runs it ends, or is ended: the source is rid of its
/// walsender then, whoever holds the lease.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.lock().close();
    }
}

/// A transaction id, 64 bits, that the source has come to by now: what the stream brings has 32.
async fn newest_xid(session: &mut ReplicationSession) -> Result<u64, Error> {
    let asked = "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text";
    let rows = session.query(asked).await?;
    let said = rows.first().and_then(|row| row.first()).cloned().flatten();
    said.and_then(|xid| xid.parse().ok())
        .ok_or_else(|| Error::retry("the source didn't say how far its transaction ids are"))
}

fn start_command(request: &StreamRequest) -> String {
    let version = request.server_version;
    // Version 1 is all that is needed: later ones only add what we don't ask for.
    let mut options = vec![
        "proto_version '1'".to_owned(),
        format!("publication_names {}", quote_literal(&quote_identifier(&request.publication))),
    ];
    if version >= 140_000 {
        options.push(format!("binary '{}'", request.binary));
        options.push("messages 'true'".to_owned());
    }
    format!(
        "START_REPLICATION SLOT {} LOGICAL {} ({})",
        quote_identifier(&request.slot),
        request.start,
        options.join(", ")
    )
}
