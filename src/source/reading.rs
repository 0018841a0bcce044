//! Reads the replication stream, without ever waiting, so that either thread may: the network
//! thread ([stream](super::stream)), and the main thread while the source has little to say
//! ([lease](super::lease)).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::failure;
use super::intake::{Intake, broken};
use super::lease::Lending;
use super::link::{Event, Gauges, Hunger};
use super::stream::{StreamCommand, StreamRequest};
use super::streaming::{Streaming, Watch};
use crate::error::Error;
use crate::mirror::batch::Batch;
use crate::wire::{Frame, decode_frame};

/// Far behind, each look at the socket is put off by this.
const NAP: Duration = Duration::from_millis(1);

/// A source silent for so long in the middle of a transaction is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// The stream, from the socket to what is to be told of it, and who reads it.
pub(super) struct Reader {
    session: Streaming,
    pub(super) intake: Intake,
    pub(super) lending: Lending,
    heard: Instant,
    nap_until: Option<Instant>,
}

/// What the network thread does next.
pub(super) enum Next {
    Tell(Event),
    /// In the middle of a transaction, having just read.
    Rest,
    Wait(Wait),
}

/// What the network thread waits for.
pub(super) struct Wait {
    pub(super) nap_until: Option<Instant>,
    /// When to tell where the source stands.
    pub(super) idle_at: Option<Instant>,
    /// For the socket, too.
    pub(super) reads: bool,
    /// A batch, as long as the socket has something.
    pub(super) gathers: bool,
}

impl Reader {
    pub(super) fn new(
        session: Streaming,
        request: StreamRequest,
        newest: u64,
        gauges: Arc<Gauges>,
    ) -> Reader {
        Reader {
            session,
            intake: Intake::new(request, newest, gauges),
            lending: Lending::default(),
            heard: Instant::now(),
            nap_until: None,
        }
    }

    /// As if the source had been heard last so long ago.
    #[cfg(test)]
    pub(super) fn has_been_silent(&mut self, since: Duration) {
        self.heard = Instant::now().checked_sub(since).unwrap_or(self.heard);
    }

    /// What the network thread has to do. `just_read`: since it asked last.
    pub(super) fn next(&mut self, hunger: &Hunger, just_read: bool) -> Result<Next, Error> {
        self.lending.failure()?;
        if hunger.is_hungry() {
            self.lending.forget();
        }
        self.take_buffered()?;
        if just_read && self.intake.reads() && !self.intake.at_boundary() {
            return Ok(Next::Rest);
        }
        if hunger.takes(self.intake.is_deliverable()) {
            self.lending.forget();
            return Ok(Next::Tell(Event::Batch(self.take())));
        }
        self.answer()?;
        if let Some(event) = self.intake.news() {
            return Ok(Next::Tell(event));
        }
        let reads = self.intake.reads();
        Ok(Next::Wait(Wait {
            nap_until: self.nap_until.filter(|_| reads),
            // What may come again isn't behind us.
            idle_at: self.intake.idle_at().filter(|_| !self.lending.may_come_again()),
            reads,
            gathers: self.intake.gathers(),
        }))
    }

    pub(super) fn watch(&self) -> Result<Watch, Error> {
        self.session.watch().map_err(failure::io_failure)
    }

    pub(super) fn nap_is_over(&mut self) {
        self.nap_until = None;
    }

    /// Reads what the socket has, some thousand bytes at most. False: nothing.
    pub(super) fn fill(&mut self) -> Result<bool, Error> {
        let read = self.read()? > 0;
        if read {
            self.intake.quiet = false;
            self.nap_until = self.intake.far_behind().map(|_| self.heard + NAP);
        }
        Ok(read)
    }

    /// As [`fill`](Self::fill); how many bytes.
    pub(super) fn read(&mut self) -> Result<usize, Error> {
        let count = self.session.fill()?;
        if count > 0 {
            self.heard = Instant::now();
        }
        Ok(count)
    }

    /// Whether the last reading took all that the socket had.
    pub(super) fn is_drained(&self) -> bool {
        self.session.is_drained()
    }

    /// Feeds what was read, up to the bounds.
    pub(super) fn take_buffered(&mut self) -> Result<(), Error> {
        while self.intake.reads() {
            let Some(payload) = self.session.buffered()? else { return Ok(()) };
            match decode_frame(payload).map_err(broken)? {
                Frame::Keepalive { end, sent_at, reply_requested } => {
                    self.intake.keepalive(end, sent_at, reply_requested);
                }
                Frame::XLogData { start, end, sent_at, body } => {
                    self.intake.data(start, end, sent_at);
                    self.lending.keep(body);
                    self.intake.feed(body)?;
                    self.keep_within_bounds();
                }
            }
        }
        Ok(())
    }

    pub(super) fn take(&mut self) -> Box<Batch> {
        self.lending.note_size(self.intake.events());
        self.intake.take()
    }

    pub(super) fn command(&mut self, command: StreamCommand) -> Result<(), Error> {
        self.lending.end();
        self.intake.command(command)
    }

    /// Sends a status if the source waits for one, or is to answer.
    pub(super) fn answer(&mut self) -> Result<(), Error> {
        match self.intake.due_status() {
            Some(status) => self.session.send(&status),
            None => Ok(()),
        }
    }

    /// Nothing is read or sent any more.
    pub(super) fn close(&mut self) {
        self.lending.end();
        self.session.close();
    }

    /// To be called once a second: tells the source how far this end is, and asks it.
    pub(super) fn tick(&mut self) -> Result<(), Error> {
        if self.intake.reads() && self.heard.elapsed() > SILENCE {
            return Err(Error::retry(match self.intake.at_boundary() {
                false => "the source fell silent in the middle of a transaction",
                true => "the source has not answered for a minute",
            }));
        }
        let status = self.intake.status(true);
        self.session.send(&status)
    }
}
