//! What came in of the replication stream and what there is to tell of it: feeds frames to the
//! assembler, up to the bounds.
//!
//! It touches no socket and never waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::clock;
use super::link::{Event, Gauges};
use super::stream::{Bounds, StreamCommand, StreamRequest};
use crate::error::Error;
use crate::mirror::assembler::{Assembler, Fed, StreamError};
use crate::mirror::batch::Batch;
use crate::wire::{Lsn, Message, decode, standby_status};

/// Beyond this a batch waits for more to fold.
const FAR_BEHIND: Duration = Duration::from_millis(20);

/// The source tells its position after each transaction; one that is followed by another soon wakes
/// nobody.
const IDLE: Duration = Duration::from_millis(10);

pub(super) struct Intake {
    gauges: Arc<Gauges>,
    bounds: Bounds,
    assembler: Assembler,
    /// A change that doesn't fit its table: nothing is read until the tables are replaced.
    held: Option<Vec<u8>>,
    confirmed: Lsn,
    received: Lsn,
    /// What the source was last told of `received`.
    told: Lsn,
    batch_began: Option<Instant>,
    /// A position at which the source stands idle, to be told then if nothing else comes.
    idle: Option<(Instant, Lsn)>,
    idle_told: Lsn,
    /// The last look found nothing to read.
    pub(super) quiet: bool,
    /// All that was committed before here is handed over or in the batch; that is told before
    /// anything else is read.
    stands_at: Option<Lsn>,
    pausing: bool,
    paused: bool,
    /// The source waits for a status.
    reply: bool,
    /// The source is to say where it stands.
    ask: bool,
}

impl Intake {
    /// `newest`: a transaction id, 64 bits, that the source has come to by now.
    pub(super) fn new(request: StreamRequest, newest: u64, gauges: Arc<Gauges>) -> Intake {
        Intake {
            gauges,
            bounds: request.bounds,
            assembler: Assembler::new(request.tables, request.start, newest),
            held: None,
            confirmed: request.start,
            received: request.start,
            told: Lsn::ZERO,
            batch_began: None,
            idle: None,
            idle_told: Lsn::ZERO,
            quiet: false,
            stands_at: None,
            pausing: false,
            paused: false,
            reply: false,
            ask: false,
        }
    }

    /// Whether more may be read: a full batch waits for the applier, a paused stream for `Resume`.
    pub(super) fn reads(&self) -> bool {
        let wants_pause = self.pausing && self.at_boundary();
        !self.paused && !wants_pause && !self.is_full() && !self.is_aged() && self.stands_at.is_none()
    }

    /// Whether no transaction is open.
    pub(super) fn at_boundary(&self) -> bool {
        self.assembler.at_boundary()
    }

    /// Whether there is nothing to hand over.
    pub(super) fn is_empty(&self) -> bool {
        self.assembler.is_empty()
    }

    /// Whether what gathered is more than changes of rows, so that it must not be
    /// [rewound](Self::rewind).
    pub(super) fn is_odd(&self) -> bool {
        self.assembler.is_odd() || self.held.is_some() || self.stands_at.is_some()
    }

    pub(super) fn is_deliverable(&self) -> bool {
        !self.is_empty() && (self.is_full() || self.at_boundary() && !self.gathers())
    }

    /// Far behind, a batch is worth gathering for: what folds together needn't be applied twice. At
    /// most a quarter longer than the mirror is behind already, and no longer than there is
    /// something to read.
    pub(super) fn gathers(&self) -> bool {
        match (self.far_behind(), self.batch_began) {
            (Some(behind), Some(began)) => {
                !self.quiet
                    && !self.pausing
                    && !self.is_full()
                    && !self.is_aged()
                    && began.elapsed() < behind / 4
            }
            _ => false,
        }
    }

    /// How long ago the batch's oldest transaction was committed, by the source's own clock, if
    /// that is long.
    pub(super) fn far_behind(&self) -> Option<Duration> {
        let oldest = self.assembler.oldest_commit()?;
        let behind = self.gauges.source_clock.load(Ordering::Relaxed).saturating_sub(oldest);
        Some(Duration::from_micros(u64::try_from(behind).ok()?)).filter(|behind| *behind >= FAR_BEHIND)
    }

    /// A batch that is full in the middle of a transaction takes the rest of it along: else, far
    /// behind, no batch would end at a commit, and nothing be shown or confirmed before all is
    /// applied. Only a transaction that alone exceeds the bounds is handed over in parts.
    fn is_full(&self) -> bool {
        if self.assembler.is_cut() || self.held.is_some() {
            return true;
        }
        let (changes, bytes) = self.assembler.part();
        changes >= self.bounds.changes || bytes >= self.bounds.bytes
    }

    fn is_aged(&self) -> bool {
        self.batch_began.is_some_and(|began| began.elapsed() >= self.bounds.age) && self.at_boundary()
    }

    /// Events that gathered.
    pub(super) fn events(&self) -> u64 {
        self.assembler.events()
    }

    pub(super) fn take(&mut self) -> Box<Batch> {
        self.batch_began = None;
        self.idle = None;
        Box::new(self.assembler.take())
    }

    /// What there is to tell beside batches.
    pub(super) fn news(&mut self) -> Option<Event> {
        if !self.is_empty() {
            return None;
        }
        if let Some(position) = self.stands_at.take() {
            return Some(Event::Idle { position });
        }
        if self.pausing && self.at_boundary() {
            self.pausing = false;
            self.paused = true;
            return Some(Event::Paused);
        }
        None
    }

    /// When to tell where the source stands idle, if nothing else comes.
    pub(super) fn idle_at(&self) -> Option<Instant> {
        self.idle.map(|(at, _)| at)
    }

    /// Where the source stands idle. `now`: nobody need be woken for it.
    pub(super) fn take_idle(&mut self, now: bool) -> Option<Lsn> {
        let (_, position) = self.idle.take_if(|(at, _)| now || *at <= Instant::now())?;
        Some(position)
    }

    pub(super) fn told_idle(&mut self, position: Lsn) {
        self.idle_told = position;
    }

    pub(super) fn keepalive(&mut self, end: Lsn, sent_at: i64, reply_requested: bool) {
        self.heard_of(end, sent_at);
        self.reply |= reply_requested;
        if self.at_boundary() {
            self.caught_up(end);
        }
    }

    /// The source sent what it has of `start` to `end`.
    pub(super) fn data(&mut self, start: Lsn, end: Lsn, sent_at: i64) {
        self.heard_of(end, sent_at);
        self.received = self.received.max(start);
    }

    fn heard_of(&mut self, end: Lsn, sent_at: i64) {
        self.gauges.source.fetch_max(end.0, Ordering::Relaxed);
        self.gauges.source_clock.store(sent_at, Ordering::Relaxed);
        self.gauges.heard.store(clock::now(), Ordering::Relaxed);
    }

    /// Everything up to `end` was sent. To a source that hasn't heard that, each transaction begins
    /// and ends with such a message.
    fn caught_up(&mut self, end: Lsn) {
        self.received = self.received.max(end);
        self.gauges.received.store(self.received.0, Ordering::Relaxed);
        self.reply |= self.received > self.told;
        if self.is_empty() && end > self.idle_told {
            let at = self.idle.map_or_else(|| Instant::now() + IDLE, |(at, _)| at);
            self.idle = Some((at, end));
        }
    }

    /// Takes one message of pgoutput.
    pub(super) fn feed(&mut self, body: &[u8]) -> Result<(), Error> {
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
        if begins.is_some() {
            self.assembler.saw_xid(self.gauges.newest_xid.load(Ordering::Relaxed));
        }
        let fed = self.assembler.feed(message).map_err(not_pgoutput)?;
        if let Some(commit) = begins {
            self.stand_where_asked(commit);
        }
        if fed == Fed::Committed {
            if let Some(position) = self.assembler.position() {
                self.received = self.received.max(position);
            }
            self.gauges.received.store(self.received.0, Ordering::Relaxed);
            self.batch_began.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// Who compares rows looks at them where a snapshot was taken: what was touched since can't be
    /// told by it. That is before the first transaction that was committed later.
    fn stand_where_asked(&mut self, next_commit: Lsn) {
        let asked = self.gauges.stand_at.load(Ordering::Relaxed);
        if asked != 0 && next_commit.0 >= asked {
            self.gauges.stand_at.store(0, Ordering::Relaxed);
            self.stands_at = Some(Lsn(asked));
            if !self.is_empty() {
                self.assembler.end_batch();
            }
        }
    }

    /// Forgets what gathered and the transaction at hand: it is fed again from its beginning.
    pub(super) fn rewind(&mut self) {
        self.assembler.rewind();
        self.batch_began = None;
    }

    pub(super) fn command(&mut self, command: StreamCommand) -> Result<(), Error> {
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
            StreamCommand::Resume { tables } => {
                self.assembler.replace_tables(tables);
                self.paused = false;
                self.pausing = false;
            }
        }
        Ok(())
    }

    /// A status if the source waits for one, or is to answer.
    pub(super) fn due_status(&mut self) -> Option<Vec<u8>> {
        (self.reply || self.ask).then(|| {
            let ask = self.ask;
            self.status(ask)
        })
    }

    /// How far this end is. `ask`: the source is to say how far it is.
    pub(super) fn status(&mut self, ask: bool) -> Vec<u8> {
        (self.reply, self.ask) = (false, false);
        self.confirmed = self.confirmed.max(Lsn(self.gauges.confirmed.load(Ordering::Relaxed)));
        self.told = self.received.max(self.confirmed);
        let mut message = Vec::with_capacity(34);
        let ask = ask && !self.paused;
        standby_status(&mut message, self.told, self.confirmed, self.confirmed, clock::now(), ask);
        message
    }
}

pub(super) fn broken(error: crate::wire::WireError) -> Error {
    Error::stop(format!("the stream can't be read: {error}"))
        .hint("Nothing past it was applied. This mirror's version may be too old for the source's.")
}

fn not_pgoutput(error: StreamError) -> Error {
    Error::stop(format!("the stream can't be followed: {error}")).hint("Nothing past it was applied.")
}

#[cfg(test)]
pub(super) mod tests;
