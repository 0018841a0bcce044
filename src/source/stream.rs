//! The replication stream: reads frames, feeds the assembler, hands over batches, and keeps the source told.
//!
//! Replies go out on a timer whatever else happens: a busy applier must not look like a dead client. When the
//! applier is busy the stream gathers, up to its bounds; then it stops reading, never replying.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::clock;
use super::connect::Connector;
use super::link::{Event, Gauges, Hunger, Outbox};
use super::session::ReplicationSession;
use crate::error::{Error, Verdict};
use crate::mirror::assembler::{Assembler, Fed, StreamError};
use crate::mirror::quote::{quote_identifier, quote_literal};
use crate::mirror::stream_table::StreamTable;
use crate::wire::{Frame, Lsn, Message, decode, decode_frame, standby_status};

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
    /// A transaction id of about now, for the epoch.
    pub near: u64,
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
    Resume { tables: Vec<Arc<StreamTable>>, near: u64 },
}

/// How often the source hears from us at least. Its wal_sender_timeout may be as short as a few seconds.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Beyond this a batch waits for more to fold.
const FAR_BEHIND: Duration = Duration::from_millis(20);

const NAP: Duration = Duration::from_millis(1);

/// In the middle of a transaction, each of whose changes comes as a message of its own, the next look at the socket is put off by
/// this: nothing can be applied before the rest is there, and to be woken for each costs both sides more than all else.
const REST: Duration = Duration::from_micros(50);

/// The source tells its position after each transaction; one that is followed by another soon wakes nobody.
const IDLE: Duration = Duration::from_millis(10);

/// A source silent for so long in the middle of a transaction is gone.
const SILENCE: Duration = Duration::from_secs(60);

pub struct Stream {
    request: StreamRequest,
    commands: mpsc::UnboundedReceiver<StreamCommand>,
    outbox: Outbox,
    hunger: Arc<Hunger>,
    gauges: Arc<Gauges>,
    assembler: Assembler,
    /// A change that doesn't fit its table: nothing is read until the tables are replaced.
    held: Option<Vec<u8>>,
    confirmed: Lsn,
    received: Lsn,
    /// What the source was last told of `received`.
    told: Lsn,
    batch_began: Option<Instant>,
    heard: Instant,
    nap_until: Option<Instant>,
    /// A position at which the source stands idle, to be told then if nothing else comes.
    idle: Option<(Instant, Lsn)>,
    idle_told: Lsn,
    /// The last look found nothing to read.
    quiet: bool,
    /// All that was committed before here is handed over or in the batch; that is told before anything else is read.
    stands_at: Option<Lsn>,
    pausing: bool,
    paused: bool,
    reply: bool,
    ask: bool,
    /// The source began to stream.
    streams: bool,
}

impl Stream {
    pub(super) fn new(
        mut request: StreamRequest,
        commands: mpsc::UnboundedReceiver<StreamCommand>,
        outbox: Outbox,
        hunger: Arc<Hunger>,
        gauges: Arc<Gauges>,
    ) -> Stream {
        let tables = std::mem::take(&mut request.tables);
        let assembler = Assembler::new(tables, request.start, request.near);
        let start = request.start;
        gauges.received.store(start.0, Ordering::Relaxed);
        Stream {
            request,
            commands,
            outbox,
            hunger,
            gauges,
            assembler,
            held: None,
            confirmed: start,
            received: start,
            told: Lsn::ZERO,
            batch_began: None,
            heard: Instant::now(),
            nap_until: None,
            idle: None,
            idle_told: Lsn::ZERO,
            quiet: false,
            stands_at: None,
            pausing: false,
            paused: false,
            reply: false,
            ask: false,
            streams: false,
        }
    }

    /// Runs until something fails or the main thread goes.
    pub async fn run(&mut self, connector: &Connector) -> Result<(), Error> {
        let mut session = connector.replication().await?;
        session.start_replication(&self.start_command()).await?;
        self.streams = true;
        if !self.outbox.send(Event::Streaming).await {
            return Ok(());
        }
        self.heard = Instant::now();
        let hunger = Arc::clone(&self.hunger);
        let mut rest = false;
        // One for all: to set a timer costs a wake-up of its own.
        let mut idle_timer = std::pin::pin!(sleep_until(self.heard));
        let mut idle_timer_set = false;
        let mut ticks = interval(STATUS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.reading() {
                self.take_buffered(&mut session)?;
            }
            if std::mem::take(&mut rest) && self.reading() && !self.assembler.at_boundary() {
                // The runtime's own timers count in milliseconds; nobody else minds waiting so short a time.
                std::thread::sleep(REST);
            }
            if hunger.takes(self.deliverable()) {
                if !self.deliver().await {
                    return Ok(());
                }
                continue;
            }
            if self.reply || self.ask {
                let ask = std::mem::take(&mut self.ask);
                self.reply = false;
                self.send_status(&mut session, ask).await?;
            }
            if let Some(position) = self.stands_at.take_if(|_| self.assembler.is_empty()) {
                if !self.outbox.send(Event::Idle { position }).await {
                    return Ok(());
                }
                continue;
            }
            if self.pausing && self.assembler.at_boundary() && self.assembler.is_empty() {
                self.pausing = false;
                self.paused = true;
                if !self.outbox.send(Event::Paused).await {
                    return Ok(());
                }
            }
            let reading = self.reading();
            // Far behind, each look at the socket is put off a little: a hundred messages at once cost both sides less.
            let nap = if reading { self.nap_until } else { None };
            if let Some((at, _)) = self.idle.filter(|_| !idle_timer_set) {
                idle_timer.as_mut().reset(at);
                idle_timer_set = true;
            }
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command)?,
                    None => return Ok(()),
                },
                () = hunger.wanted() => {}
                () = sleep_until(nap.unwrap_or(self.heard)), if nap.is_some() => self.nap_until = None,
                () = &mut idle_timer, if idle_timer_set => {
                    idle_timer_set = false;
                    self.tell_idle();
                }
                filled = session.fill(), if reading && nap.is_none() => {
                    filled?;
                    self.heard = Instant::now();
                    self.quiet = false;
                    self.nap_until = self.far_behind().map(|_| self.heard + NAP);
                    rest = true;
                }
                // Nothing to read after a nap: that was all.
                () = std::future::ready(()), if reading && nap.is_none() && self.gathering() => self.quiet = true,
                _ = ticks.tick() => {
                    if reading && !self.assembler.at_boundary() && self.heard.elapsed() > SILENCE {
                        return Err(Error::retry("the source fell silent in the middle of a transaction"));
                    }
                    if reading && self.heard.elapsed() > SILENCE {
                        return Err(Error::retry("the source has not answered for a minute"));
                    }
                    self.send_status(&mut session, true).await?;
                }
            }
        }
    }

    /// What the source reports in the middle of its stream, and will report again, has to do with what it decodes.
    pub(super) fn note_failure(&self, error: &Error) {
        if self.streams && error.sqlstate.is_some() && error.verdict == Verdict::RetrySlowly {
            let _ = self.gauges.undecodable.set(error.message.clone());
        }
    }

    fn start_command(&self) -> String {
        let version = self.request.server_version;
        // Version 1 is all that is needed: later ones only add what we don't ask for.
        let mut options = vec![
            "proto_version '1'".to_owned(),
            format!("publication_names {}", quote_literal(&quote_identifier(&self.request.publication))),
        ];
        if version >= 140_000 {
            options.push(format!("binary '{}'", self.request.binary));
            options.push("messages 'true'".to_owned());
        }
        format!(
            "START_REPLICATION SLOT {} LOGICAL {} ({})",
            quote_identifier(&self.request.slot),
            self.request.start,
            options.join(", ")
        )
    }

    fn full(&self) -> bool {
        let bounds = &self.request.bounds;
        if self.assembler.is_cut() || self.held.is_some() {
            return true;
        }
        self.assembler.changes() >= bounds.changes || self.assembler.bytes() >= bounds.bytes
    }

    /// Whether more may be read: a full batch waits for the applier, a paused stream for `Resume`.
    fn reading(&self) -> bool {
        let wants_pause = self.pausing && self.assembler.at_boundary();
        !self.paused && !wants_pause && !self.full() && !self.aged() && self.stands_at.is_none()
    }

    fn aged(&self) -> bool {
        self.batch_began.is_some_and(|began| began.elapsed() >= self.request.bounds.age)
            && self.assembler.at_boundary()
    }

    fn deliverable(&self) -> bool {
        !self.assembler.is_empty() && (self.full() || self.assembler.at_boundary() && !self.gathering())
    }

    /// Far behind, a batch is worth gathering for: what folds together needn't be applied twice. At most a quarter
    /// longer than the mirror is behind already, and no longer than there is something to read.
    fn gathering(&self) -> bool {
        match (self.far_behind(), self.batch_began) {
            (Some(behind), Some(began)) => {
                !self.quiet && !self.pausing && !self.full() && !self.aged() && began.elapsed() < behind / 4
            }
            _ => false,
        }
    }

    /// How long ago the batch's oldest transaction was committed, by the source's own clock, if that is long.
    fn far_behind(&self) -> Option<Duration> {
        let oldest = self.assembler.oldest_commit()?;
        let behind = self.gauges.source_clock.load(Ordering::Relaxed).saturating_sub(oldest);
        Some(Duration::from_micros(u64::try_from(behind).ok()?)).filter(|behind| *behind >= FAR_BEHIND)
    }

    /// Feeds what is in the buffer, up to the bounds.
    fn take_buffered(&mut self, session: &mut ReplicationSession) -> Result<(), Error> {
        while self.reading() {
            let Some(payload) = session.buffered()? else { return Ok(()) };
            match decode_frame(payload).map_err(broken)? {
                Frame::Keepalive { end, sent_at, reply_requested } => {
                    self.told(end, sent_at);
                    self.reply |= reply_requested;
                    if self.assembler.at_boundary() {
                        self.caught_up(end);
                    }
                }
                Frame::XLogData { start, end, sent_at, body } => {
                    self.told(end, sent_at);
                    self.assembler.count_bytes(body.len());
                    let message = decode(body).map_err(broken)?;
                    if let Some(unfit) = self.assembler.unfit(&message) {
                        self.held = Some(body.to_vec());
                        self.assembler.stop_before(unfit);
                        return Ok(());
                    }
                    let begins = match message {
                        Message::Begin { final_lsn, .. } => Some(final_lsn),
                        _ => None,
                    };
                    let fed = self.assembler.feed(message).map_err(not_pgoutput)?;
                    if let Some(commit) = begins {
                        self.stand_where_asked(commit);
                    }
                    if start > self.received {
                        self.received = start;
                    }
                    if fed == Fed::Committed {
                        if let Some(position) = self.assembler.position() {
                            self.received = self.received.max(position);
                        }
                        self.gauges.received.store(self.received.0, Ordering::Relaxed);
                        self.batch_began.get_or_insert_with(Instant::now);
                    }
                }
            }
        }
        Ok(())
    }

    /// Who compares rows looks at them where a snapshot was taken: what was touched since can't be told by it. That is before
    /// the first transaction that was committed later.
    fn stand_where_asked(&mut self, next_commit: Lsn) {
        let asked = self.gauges.stand_at.load(Ordering::Relaxed);
        if asked != 0 && next_commit.0 >= asked {
            self.gauges.stand_at.store(0, Ordering::Relaxed);
            self.stands_at = Some(Lsn(asked));
            if !self.assembler.is_empty() {
                self.assembler.end_batch();
            }
        }
    }

    fn told(&mut self, end: Lsn, sent_at: i64) {
        self.gauges.source.fetch_max(end.0, Ordering::Relaxed);
        self.gauges.source_clock.store(sent_at, Ordering::Relaxed);
        self.gauges.heard.store(clock::now(), Ordering::Relaxed);
    }

    /// Everything up to `end` was sent. To a source that hasn't heard that, each transaction begins and ends with such a message.
    fn caught_up(&mut self, end: Lsn) {
        self.received = self.received.max(end);
        self.gauges.received.store(self.received.0, Ordering::Relaxed);
        self.reply |= self.received > self.told;
        if self.assembler.is_empty() && end > self.idle_told {
            let at = self.idle.map_or_else(|| Instant::now() + IDLE, |(at, _)| at);
            self.idle = Some((at, end));
        }
    }

    fn tell_idle(&mut self) {
        if let Some((_, position)) = self.idle.take_if(|(at, _)| *at <= Instant::now())
            && self.outbox.try_send(Event::Idle { position })
        {
            self.idle_told = position;
        }
    }

    async fn deliver(&mut self) -> bool {
        let batch = self.assembler.take();
        self.batch_began = None;
        self.idle = None;
        self.outbox.send(Event::Batch(Box::new(batch))).await
    }

    fn command(&mut self, command: StreamCommand) -> Result<(), Error> {
        match command {
            StreamCommand::Ask => self.ask = true,
            StreamCommand::Pause => self.pausing = true,
            StreamCommand::Refit { tables } => {
                self.assembler.refit(tables);
                if let Some(body) = self.held.take() {
                    let message = decode(&body).map_err(broken)?;
                    self.assembler.feed(message).map_err(not_pgoutput)?;
                }
            }
            StreamCommand::Resume { tables, near } => {
                self.assembler.replace_tables(tables, near);
                self.paused = false;
                self.pausing = false;
            }
        }
        Ok(())
    }

    async fn send_status(&mut self, session: &mut ReplicationSession, ask: bool) -> Result<(), Error> {
        self.confirmed = self.confirmed.max(Lsn(self.gauges.confirmed.load(Ordering::Relaxed)));
        self.told = self.received.max(self.confirmed);
        let mut message = Vec::with_capacity(34);
        standby_status(
            &mut message,
            self.told,
            self.confirmed,
            self.confirmed,
            clock::now(),
            ask && !self.paused,
        );
        session.send(&message).await
    }
}

fn broken(error: crate::wire::WireError) -> Error {
    Error::stop(format!("the stream can't be read: {error}"))
        .hint("Nothing past it was applied. This mirror's version may be too old for the source's.")
}

fn not_pgoutput(error: StreamError) -> Error {
    Error::stop(format!("the stream can't be followed: {error}")).hint("Nothing past it was applied.")
}
