//! Lets the main thread read the stream itself while the source has little to say. A small
//! transaction then crosses no thread, and is applied while the rest of it comes.
//!
//! The network thread lends the stream between two transactions, with all handed over
//! (`Event::Lent`), and goes on telling the source where it stands. It has it back when there is
//! much to read, when something other than plain rows comes, when it is commanded, and when the
//! main thread leaves something lying.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::link::Hunger;
use super::reading::Reader;
use crate::error::Error;
use crate::mirror::batch::Batch;
use crate::wire::Lsn;

/// So many small batches in a row let the main thread read.
const CALM_AFTER: u32 = 8;

/// A batch is small up to so many events.
const CALM_EVENTS: u64 = 64;

/// More than this at once, or in one transaction, is for the network thread.
const CALM_BYTES: usize = 64 * 1024;

/// So much is kept, while the main thread is held up by a part of a transaction, to be fed again if
/// that is undone.
const KEPT_BYTES: usize = 1024 * 1024;

/// Who reads, and what is kept for that.
#[derive(Default)]
pub(super) struct Lending {
    /// How many batches in a row were small.
    calm: u32,
    /// The main thread reads: by this lending.
    lent: Option<Lent>,
    /// How often the stream was lent.
    lendings: u64,
    kept: Kept,
    /// A reading of the main thread failed: the network thread's to tell.
    failed: Option<Error>,
}

impl Lending {
    pub(super) fn is_lent(&self) -> bool {
        self.lent.is_some()
    }

    pub(super) fn note_size(&mut self, events: u64) {
        self.calm = if events <= CALM_EVENTS { self.calm.saturating_add(1) } else { 0 };
    }

    pub(super) fn keep(&mut self, body: &[u8]) {
        if self.kept.is_on {
            self.kept.keep(body);
        }
    }

    /// From here on the network thread reads, and nothing can be fed again.
    pub(super) fn end(&mut self) {
        self.take_back();
        self.forget();
    }

    /// From here on the network thread reads; what is kept may still be asked for.
    fn take_back(&mut self) {
        self.lent = None;
        self.calm = 0;
    }

    /// What was kept is not fed again any more.
    pub(super) fn forget(&mut self) {
        if self.kept.is_on {
            self.kept = Kept::default();
        }
    }

    /// Whether something was handed over that may be undone.
    pub(super) fn may_come_again(&self) -> bool {
        !self.kept.ends.is_empty()
    }

    fn fail(&mut self, error: Error) {
        self.failed = Some(error);
        self.end();
    }

    /// What the main thread met.
    pub(super) fn failure(&mut self) -> Result<(), Error> {
        self.failed.take().map_or(Ok(()), Err)
    }
}

/// Messages that may have to be fed again: those since all was committed.
#[derive(Default)]
struct Kept {
    is_on: bool,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// They were fed again: what they make is handed over as a whole.
    again: bool,
}

impl Kept {
    fn begin(&mut self) {
        self.is_on = true;
        self.bytes.clear();
        self.ends.clear();
        self.again = false;
    }

    fn keep(&mut self, body: &[u8]) {
        self.bytes.extend_from_slice(body);
        self.ends.push(self.bytes.len());
    }

    fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

/// One lending of the stream. Who has the event that tells of it has all that was handed over
/// before; who has only an earlier one reads nothing, since something may lie in the channel that
/// comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lent(u64);

/// What the main thread read.
#[derive(Debug)]
pub enum Read {
    Batch(Box<Batch>),
    /// The source has committed nothing more up to here.
    Idle {
        position: Lsn,
    },
    /// Nothing, until the socket has more.
    Nothing,
    /// From here on the network thread reads.
    Over,
}

impl Reader {
    /// Lends the stream if the source has had little to say for a while and all that was read is
    /// handed over.
    pub(super) fn lend(&mut self) -> Option<Lent> {
        let all_told = self.intake.is_empty() && self.intake.at_boundary() && self.intake.reads();
        if self.lending.calm < CALM_AFTER || !all_told {
            return None;
        }
        // What was handed over last may still be at work: nothing is kept before the main thread
        // says that all is committed.
        self.lending.forget();
        self.lending.lendings += 1;
        self.lending.lent = Some(Lent(self.lending.lendings));
        self.lending.lent
    }

    /// What the main thread leaves lying is read by the network thread: the other has something
    /// else to do.
    pub(super) fn take_back_what_lies(&mut self) -> Result<(), Error> {
        if self.lending.is_lent() && self.read()? > 0 {
            self.lending.take_back();
        }
        Ok(())
    }

    /// Reads for the main thread.
    fn read_lent(&mut self, open: bool, eager: bool) -> Result<Read, Error> {
        if !open && self.intake.at_boundary() && self.intake.is_empty() {
            self.lending.kept.begin();
        }
        let mut read = 0;
        loop {
            self.take_buffered()?;
            let much = read > CALM_BYTES || self.lending.kept.bytes.len() > CALM_BYTES;
            let whole = self.intake.at_boundary() && !self.intake.is_empty();
            let reads = self.intake.reads();
            if much || self.intake.is_odd() || !reads && !whole {
                self.lending.end();
                return Ok(Read::Over);
            }
            if !reads || read > 0 && self.is_drained() {
                break;
            }
            match self.read()? {
                0 => break,
                count => read += count,
            }
        }
        self.answer()?;
        let at_boundary = self.intake.at_boundary();
        if self.intake.is_empty() {
            let idle = if at_boundary { self.intake.take_idle(true) } else { None };
            return Ok(idle.map_or(Read::Nothing, |position| {
                self.intake.told_idle(position);
                Read::Idle { position }
            }));
        }
        if at_boundary {
            self.lending.kept.again = false;
        } else if !eager || self.lending.kept.again {
            return Ok(Read::Nothing);
        }
        Ok(Read::Batch(self.take()))
    }

    /// Drops what is kept once it could not be fed again: it is no longer about rows alone, or too
    /// much.
    pub(super) fn keep_within_bounds(&mut self) {
        if self.lending.kept.is_on && (self.intake.is_odd() || self.lending.kept.bytes.len() > KEPT_BYTES) {
            self.lending.forget();
        }
    }

    /// Feeds once more what was read since all was committed.
    fn rewind(&mut self) -> Result<bool, Error> {
        if self.lending.kept.ends.is_empty() {
            return Ok(false);
        }
        self.intake.rewind();
        for body in self.lending.kept.bodies() {
            self.intake.feed(body)?;
        }
        self.lending.kept.again = true;
        Ok(true)
    }
}

/// The stream, read by one thread at a time.
pub(super) struct Shared {
    reader: Mutex<Reader>,
    hunger: Arc<Hunger>,
    given_back: Notify,
}

impl Shared {
    pub(super) fn new(reader: Reader, hunger: Arc<Hunger>) -> Shared {
        Shared { reader: Mutex::new(reader), hunger, given_back: Notify::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the main thread reads no more, or before.
    pub(super) async fn given_back(&self) {
        self.given_back.notified().await;
    }
}

/// The main thread's way to the stream.
pub struct Lease {
    shared: Arc<Shared>,
    socket: OwnedFd,
}

impl Lease {
    pub(super) fn new(shared: Arc<Shared>, socket: OwnedFd) -> Lease {
        Lease { shared, socket }
    }

    /// Readable when there is something to read.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what is there, without waiting, by the lending that was told last; what fails is told
    /// by the network thread. `open`: a part of a transaction was taken and is not committed;
    /// `eager`: such parts are welcome.
    pub fn read(&self, by: Lent, open: bool, eager: bool) -> Read {
        let mut reader = self.shared.lock();
        if reader.lending.lent != Some(by) {
            return Read::Over;
        }
        let read = reader.read_lent(open, eager).unwrap_or_else(|error| {
            reader.lending.fail(error);
            Read::Over
        });
        if matches!(read, Read::Batch(_)) {
            // Whoever reads meanwhile keeps what comes next until this is applied.
            self.shared.hunger.is_fed();
        }
        if !reader.lending.is_lent() {
            self.shared.given_back.notify_one();
        }
        read
    }

    /// What was taken of the transaction at hand was undone: it comes again, as a whole. False: it
    /// can't.
    pub fn rewind(&self) -> bool {
        let mut reader = self.shared.lock();
        reader.rewind().unwrap_or_else(|error| {
            // From where it is committed the source sends it anew.
            reader.lending.fail(Error::retry(error.message));
            self.shared.given_back.notify_one();
            false
        })
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Lease").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
