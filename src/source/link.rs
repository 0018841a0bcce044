//! The two ends between a worker's main thread and its network thread: requests one way, events the
//! other, and a socket pair whose readable end wakes the main thread from its latch wait.
//!
//! Only owned data crosses. The main thread's end never blocks; the network thread's end waits in
//! its runtime.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{Notify, mpsc};

use super::catalog::Seen;
use super::chunk::ChunkRequest;
use super::inspect::Inspection;
use super::lease::{Lease, Lent};
use super::probe::{ProbeStep, Probed};
use super::stream::{StreamCommand, StreamRequest};
use super::watch::{LookFailed, WatchRequest, Watched};
use crate::error::Error;
use crate::mirror::batch::Batch;
use crate::mirror::whereabouts::Whereabouts;
use crate::wire::Lsn;

/// What the main thread asks for.
#[derive(Debug)]
// A request is made once and moved once: a box would only add an allocation.
#[allow(clippy::large_enum_variant)]
pub enum Request {
    /// Look at the source: identity, checks, tables, slot. Answered by `Inspected`.
    Inspect(super::inspect::InspectRequest),
    /// Answered by `SlotCreated`; `Waiting` before, while older transactions hold it up. `anew`:
    /// not one that is there.
    CreateSlot { slot: String, anew: bool, give_up_at: Option<i64>, failover: bool },
    /// Whether standbys are to keep the slot. Answered by `Done`.
    SetFailover { slot: String, failover: bool },
    /// Answered by `Done`.
    DropSlot { slot: String },
    /// Drops a slot that this mirror has no use for any more, unless somebody has: reads it, or
    /// moved it past `applied`. Answered by `Done`.
    LeaveSlot { slot: String, applied: Lsn },
    /// The transactions that write these tables, and may be committed and not yet visible. Answered
    /// by `Writers`.
    Writers { tables: Vec<u32> },
    /// Answered by `ChunkStarted`, `Rows` …, `ChunkDone`; `Waiting` before; or by `ChunkGivenUp`,
    /// `ChunkDrifted`, `ChunkFailed`.
    Chunk(ChunkRequest),
    /// Which file each table lies in: another one than a chunk was read from means that it was
    /// rewritten. Answered by `Filenodes`.
    Filenodes { tables: Vec<u32> },
    /// What became of tables that aren't published any more. Answered by `Whereabouts`, in their
    /// order.
    Whereabouts { tables: Vec<super::whereabouts::Lost> },
    /// What the publication streams now. Answered by `Seen`, also when it couldn't be looked at.
    Look { publication: String, excluded: Vec<String> },
    /// Starts the stream: `Batch`es follow.
    Stream(StreamRequest),
    /// For the running stream.
    Command(StreamCommand),
    /// Compare pieces of tables, step by step. Answered by `Probed`.
    Probe(mpsc::UnboundedReceiver<ProbeStep>),
    /// Look at the source now and then; `Watched` or `LookFailed` each time. The slot is given up
    /// when it keeps too much WAL.
    Watch(WatchRequest),
    /// Not only then, but now.
    LookNow,
}

/// What the network thread tells.
#[derive(Debug)]
pub enum Event {
    Inspected(Box<Result<Inspection, Error>>),
    SlotCreated {
        start: Lsn,
    },
    Done,
    /// A table's OID and a transaction that writes it, each.
    Writers(Vec<(u32, u64)>),
    /// Something holds the work up; it goes on by itself. A sentence for status().
    Waiting(String),
    /// The snapshot's text, and a position past every commit that it sees.
    ChunkStarted {
        id: u64,
        snapshot: String,
        past: Lsn,
        filenode: u32,
    },
    Rows {
        id: u64,
        rows: Vec<u8>,
    },
    ChunkDone {
        id: u64,
    },
    ChunkGivenUp {
        id: u64,
        why: String,
    },
    /// The table isn't what it was when the mirror looked at it: nothing was read.
    ChunkDrifted {
        id: u64,
        why: String,
    },
    ChunkFailed {
        id: u64,
        error: Error,
    },
    /// Of the tables asked for, by OID.
    Filenodes(Result<Vec<(u32, u32)>, Error>),
    Whereabouts(Result<Vec<Whereabouts>, Error>),
    Seen(Box<Result<Seen, Error>>),
    /// The stream begins; the main thread may read it when it is lent.
    Lease(Lease),
    Streaming,
    /// From here on the main thread reads the stream, until its lease says otherwise.
    Lent(Lent),
    Batch(Box<Batch>),
    /// The stream stands between two transactions and hands over nothing until `Resume`.
    Paused,
    /// All that was committed before here was handed over, and nothing else.
    Idle {
        position: Lsn,
    },
    Watched(Box<Watched>),
    LookFailed(Box<LookFailed>),
    Probed(Box<Probed>),
    Failed(Error),
}

/// What the network thread knows at any time, read without waiting.
#[derive(Debug, Default)]
pub struct Gauges {
    pub received: AtomicU64,
    pub source: AtomicU64,
    /// How far the source's WAL is flushed, asked beside the stream: the stream's own word may be
    /// held up.
    pub flushed: AtomicU64,
    /// What keeps the source from streaming what it has, if that can be seen there.
    pub held_up: Mutex<Option<String>>,
    /// How far local progress is on disk; the source is told at the next status.
    pub confirmed: AtomicU64,
    /// The source's clock at its last frame, and ours at that moment (µs since 2000-01-01).
    pub source_clock: AtomicI64,
    pub heard: AtomicI64,
    /// The newest transaction id, 64 bits, that a snapshot has shown: how far the source is,
    /// whatever the stream says.
    pub newest_xid: AtomicU64,
    /// A batch ends after the last commit before this, whatever else there is, and `Idle` says that
    /// the stream stands there; 0: nowhere in particular.
    pub stand_at: AtomicU64,
    /// What the source said when it failed in the middle of the stream, if that doesn't pass by
    /// itself.
    pub undecodable: OnceLock<String>,
    /// Why the slot was given up: the main thread, whatever holds it up, has nothing to wait for
    /// any more.
    pub slot_given_up: OnceLock<String>,
}

impl Gauges {
    /// Local progress up to here is on disk.
    pub fn confirm(&self, position: Lsn) {
        self.confirmed.fetch_max(position.0, Ordering::Relaxed);
    }

    pub fn held_up(&self) -> Option<String> {
        self.held_up.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn received(&self) -> Lsn {
        Lsn(self.received.load(Ordering::Relaxed))
    }

    /// The newest position of the source that is known by any way.
    pub fn source(&self) -> Lsn {
        let streamed = self.source.load(Ordering::Relaxed);
        Lsn(streamed.max(self.flushed.load(Ordering::Relaxed)))
    }
}

/// Whether the main thread would take a batch, and whether the network thread has one: the thread
/// is woken only when both are so.
#[derive(Debug, Default)]
pub(super) struct Hunger {
    hungry: AtomicBool,
    gathered: AtomicBool,
    both: Notify,
}

impl Hunger {
    fn say(&self) {
        // Each side writes its own word before it reads the other's, in one order for both: one of
        // them sees both.
        self.hungry.store(true, Ordering::SeqCst);
        if self.gathered.load(Ordering::SeqCst) {
            self.both.notify_one();
        }
    }

    /// Notes whether there is a batch to hand over; true: it is wanted, and now counts as handed
    /// over.
    pub(super) fn takes(&self, gathered: bool) -> bool {
        if self.gathered.load(Ordering::Relaxed) != gathered {
            self.gathered.store(gathered, Ordering::SeqCst);
        }
        gathered && self.hungry.swap(false, Ordering::SeqCst)
    }

    /// Whether all that was handed over is applied.
    pub(super) fn is_hungry(&self) -> bool {
        self.hungry.load(Ordering::SeqCst)
    }

    /// The main thread took a batch by itself.
    pub(super) fn is_fed(&self) {
        self.hungry.store(false, Ordering::SeqCst);
    }

    /// Returns when the main thread becomes hungry while a batch is there, or before.
    pub(super) async fn wanted(&self) {
        self.both.notified().await;
    }
}

/// The main thread's end.
pub struct Link {
    requests: mpsc::UnboundedSender<Request>,
    events: mpsc::Receiver<Event>,
    wake: UnixStream,
    hunger: Arc<Hunger>,
    pub gauges: Arc<Gauges>,
    /// What ended the network thread, once that was told.
    ended: Option<String>,
}

/// The network thread's end.
pub struct Remote {
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
    pub(super) outbox: Outbox,
    pub(super) hunger: Arc<Hunger>,
    pub(super) gauges: Arc<Gauges>,
}

/// Sends events and wakes the main thread. Clones share the channel.
#[derive(Clone)]
pub struct Outbox {
    events: mpsc::Sender<Event>,
    wake: Arc<UnixStream>,
}

/// Events in flight: bounds memory, since a batch and a piece of a copy are bounded themselves.
const EVENTS: usize = 8;

/// Makes the two ends.
pub fn pair() -> io::Result<(Link, Remote)> {
    let (near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    far.set_nonblocking(true)?;
    let (requests, requested) = mpsc::unbounded_channel();
    let (events, told) = mpsc::channel(EVENTS);
    let hunger = Arc::new(Hunger::default());
    let gauges = Arc::new(Gauges::default());
    let outbox = Outbox { events, wake: Arc::new(far) };
    let link = Link {
        requests,
        events: told,
        wake: near,
        hunger: Arc::clone(&hunger),
        gauges: Arc::clone(&gauges),
        ended: None,
    };
    Ok((link, Remote { requests: requested, outbox, hunger, gauges }))
}

impl Link {
    /// Asks for something; a network thread that is gone is noticed by the next `try_event`.
    pub fn ask(&self, request: Request) {
        let _ = self.requests.send(request);
    }

    /// Says that the main thread would take a batch now: until then the network thread gathers.
    pub fn hungry(&self) {
        self.hunger.say();
    }

    /// Begins to compare tables: what this is asked, the source answers with `Probed`.
    pub fn prober(&self) -> Prober {
        let (steps, asked) = mpsc::unbounded_channel();
        self.ask(Request::Probe(asked));
        Prober { steps }
    }

    /// Whether it was told that the network thread ended: nothing that is asked for will be
    /// answered.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// The next event, if there is one.
    pub fn try_event(&mut self) -> Result<Option<Event>, Error> {
        match self.events.try_recv() {
            Ok(Event::Failed(error)) => {
                self.ended = Some(error.message.clone());
                Err(error)
            }
            Ok(event) => Ok(Some(event)),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => {
                // The error itself was for whoever asked first, a table perhaps; for all others
                // this is a mere break.
                let why = self.ended.get_or_insert_default();
                let colon = if why.is_empty() { "" } else { ": " };
                Err(Error::retry(format!("the network thread ended{colon}{why}")))
            }
        }
    }

    /// Readable when there may be an event.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Takes the wake-ups that came so far; call before `try_event`, so that none is lost.
    pub fn drain_wakes(&mut self) {
        let mut buffer = [0; 64];
        while matches!(self.wake.read(&mut buffer), Ok(read) if read == buffer.len()) {}
    }
}

/// Asks for pieces of tables, one step after the other.
pub struct Prober {
    steps: mpsc::UnboundedSender<ProbeStep>,
}

impl Prober {
    pub fn ask(&self, step: ProbeStep) {
        let _ = self.steps.send(step);
    }
}

impl Outbox {
    /// Sends an event, waiting while the main thread is behind. False: the main thread is gone.
    pub async fn send(&self, event: Event) -> bool {
        let sent = self.events.send(event).await.is_ok();
        self.wake();
        sent
    }

    /// Sends an event if there is room.
    pub fn try_send(&self, event: Event) -> bool {
        let sent = self.events.try_send(event).is_ok();
        self.wake();
        sent
    }

    /// Sends an error from outside the runtime, when the thread ends.
    pub fn send_last(&self, error: Error) {
        let _ = self.events.blocking_send(Event::Failed(error));
        self.wake();
    }

    pub fn wake(&self) {
        // A full pipe means that a wake-up is on its way already.
        let _ = (&*self.wake).write(&[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Verdict;

    #[test]
    fn who_asks_after_the_network_threads_end_is_told_why_and_to_try_again() {
        let (mut link, remote) = pair().expect("sockets can be made");
        remote.outbox.send_last(Error::stop("column x is gone").hint("look"));
        drop(remote);
        assert!(!link.has_ended());
        let first = link.try_event().expect_err("it failed");
        assert_eq!((first.message.as_str(), first.verdict), ("column x is gone", Verdict::Stop));
        for _ in 0..2 {
            let later = link.try_event().expect_err("it is gone");
            assert_eq!(later.message, "the network thread ended: column x is gone");
            // Not a fault of what is asked for now.
            assert_eq!((later.verdict, later.hint), (Verdict::Retry, None));
            assert!(link.has_ended());
        }
    }
}
