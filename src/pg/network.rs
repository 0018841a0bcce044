//! Starts the network thread and waits for what it tells, as a background worker must.

use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::wait::{self, WaitSet};
use super::{board, looks, shown};
use crate::error::Error;
use crate::source::connect::Connector;
use crate::source::lease::{Lease, Lent, Read};
use crate::source::link::{self, Event, Link, Request};
use crate::source::thread;

/// A running network thread, seen from the main thread. Dropped, it ends the thread.
pub struct Network {
    // Both before the link, whose socket they wait on.
    wake: WaitSet,
    stream: Option<LeasedStream>,
    link: Link,
    /// Events that came while another was waited for, to be had next.
    kept: VecDeque<Event>,
    wanted: Wanted,
    /// Calls and reloads that were seen.
    calls: (u64, u64),
    /// Readers' questions that were seen.
    asks: u64,
    called: bool,
    /// The source began to stream.
    streamed: bool,
}

/// The stream, as far as the main thread reads it itself.
struct LeasedStream {
    // Before the lease, whose socket it waits on.
    wake: WaitSet,
    lease: Lease,
    /// It is the main thread's to read, by this lending.
    lent: Option<Lent>,
}

/// Asked by all that waits here: its error ends the waiting.
struct Wanted {
    ask: Box<dyn Fn() -> Result<(), Error>>,
    asked: Instant,
}

impl Wanted {
    fn ask(&mut self) -> Result<(), Error> {
        self.asked = Instant::now();
        (self.ask)()
    }
}

/// How the main thread would read the stream itself.
#[derive(Clone, Copy)]
pub struct Reading {
    /// A part of a transaction is applied and not committed.
    pub open: bool,
    /// Such parts are welcome.
    pub eager: bool,
}

impl Network {
    /// `wanted` is asked again and again by whoever waits, outside a transaction and inside.
    pub fn start(
        connector: Connector,
        wanted: impl Fn() -> Result<(), Error> + 'static,
    ) -> Result<Network, Error> {
        let failed =
            |error: std::io::Error| Error::retry(format!("could not start the network thread: {error}"));
        let (link, remote) = link::pair().map_err(failed)?;
        let run = move || {
            sleep_precisely();
            thread::run(connector, remote);
        };
        spawn_quietly("odoo_mirror net", run).map_err(failed)?;
        Ok(Network {
            wake: WaitSet::new(&[link.wake_fd()]),
            stream: None,
            link,
            kept: VecDeque::new(),
            wanted: Wanted { ask: Box::new(wanted), asked: Instant::now() },
            calls: calls(),
            asks: shown::asks(),
            called: false,
            streamed: false,
        })
    }

    pub fn ask(&self, request: Request) {
        self.link.ask(request);
    }

    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Asks, and waits for what `pick` takes for the answer.
    pub fn answer<T>(
        &mut self,
        request: Request,
        pick: impl FnMut(Event) -> Result<T, Event>,
    ) -> Result<T, Error> {
        self.ask(request);
        self.wait_for(pick)
    }

    /// Waits for an event that `pick` takes. What else comes, a batch perhaps, is kept for `next`:
    /// nothing of the stream may get lost here.
    pub fn wait_for<T>(&mut self, mut pick: impl FnMut(Event) -> Result<T, Event>) -> Result<T, Error> {
        let mut kept = std::mem::take(&mut self.kept);
        let picked = loop {
            match self.next(PATIENCE).map(|event| event.map(&mut pick)) {
                Ok(Some(Ok(picked))) => break Ok(picked),
                Ok(Some(Err(other))) => keep(&mut kept, other),
                Ok(None) => {}
                Err(error) => break Err(error),
            }
        };
        self.kept = kept;
        picked
    }

    /// Takes what has come, for `next`: who waits for something else than events must not hold up
    /// the network thread.
    pub fn gather(&mut self) -> Result<(), Error> {
        let mut kept = std::mem::take(&mut self.kept);
        let mut gathered = Ok(());
        loop {
            match self.next(Duration::ZERO) {
                Ok(Some(event)) => keep(&mut kept, event),
                Ok(None) => break,
                Err(error) => {
                    gathered = Err(error);
                    break;
                }
            }
        }
        self.kept = kept;
        gathered
    }

    /// Whether the source began to stream.
    pub fn has_streamed(&self) -> bool {
        self.streamed
    }

    /// Whether a function of ours was called or a setting changed, since this was last asked.
    pub fn take_called(&mut self) -> bool {
        std::mem::take(&mut self.called)
    }

    /// The next event, waiting at most `timeout` for it, or until a function of ours is called.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Event>, Error> {
        self.next_reading(timeout, None)
    }

    /// As [`next`](Self::next); while the stream is lent, what it brings is read here.
    pub fn next_of_stream(&mut self, timeout: Duration, reading: Reading) -> Result<Option<Event>, Error> {
        self.next_reading(timeout, Some(reading))
    }

    fn next_reading(&mut self, timeout: Duration, reading: Option<Reading>) -> Result<Option<Event>, Error> {
        // Between two source transactions the main loop asks, less often.
        let asks = reading.is_none_or(|reading| reading.open);
        if wait::told_to_end() || asks && self.wanted.asked.elapsed() >= PATIENCE {
            self.wanted.ask()?;
        }
        if let Some(event) = self.kept.pop_front() {
            return Ok(Some(event));
        }
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(event) = self.link.try_event()? {
                wait::serve_interrupts_of_the_worker();
                match event {
                    Event::Lease(lease) => {
                        self.streamed = true;
                        let wake = WaitSet::new(&[self.link.wake_fd(), lease.socket()]);
                        self.stream = Some(LeasedStream { wake, lease, lent: None });
                    }
                    Event::Lent(lent) => {
                        self.stream.iter_mut().for_each(|stream| stream.lent = Some(lent));
                    }
                    // Whatever the main thread is waiting for, readers are told that nobody sees
                    // the source.
                    Event::LookFailed(failed) => looks::failed(&failed),
                    Event::Watched(watched) => {
                        looks::succeeded(watched.slot.as_ref());
                        return Ok(Some(Event::Watched(watched)));
                    }
                    event => return Ok(Some(event)),
                }
                continue;
            }
            let mut wake = &self.wake;
            if let (Some(reading), Some(stream)) = (reading, &mut self.stream)
                && let Some(lent) = stream.lent
            {
                // Only by a lending that was told: whatever is handed over before another one comes
                // first.
                let read = stream.lease.read(lent, reading.open, reading.eager);
                wait::serve_interrupts_of_the_worker();
                match read {
                    Read::Batch(batch) => return Ok(Some(Event::Batch(batch))),
                    Read::Idle { position } => return Ok(Some(Event::Idle { position })),
                    Read::Nothing => wake = &stream.wake,
                    Read::Over => stream.lent = None,
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if wait::told_to_end() {
                self.wanted.ask()?;
            }
            if left.is_zero() {
                return Ok(None);
            }
            // Whoever doesn't wait leaves a call to who does.
            let calls = calls();
            if calls != self.calls {
                self.calls = calls;
                self.called = true;
                if asks {
                    self.wanted.ask()?;
                }
                return Ok(None);
            }
            let asks = shown::asks();
            if std::mem::replace(&mut self.asks, asks) != asks {
                return Ok(None);
            }
            if wake.wait(left) == Some(self.link.wake_fd().as_raw_fd()) {
                self.link.drain_wakes();
            }
        }
    }

    /// What was taken of the transaction at hand was undone: it comes again, as a whole. False: it
    /// can't.
    pub fn rewind(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.lease.rewind())
    }
}

/// Keeps an event for whoever it is for, if anybody will ask for it.
fn keep(kept: &mut VecDeque<Event>, event: Event) {
    match event {
        // Of a chunk that was given up, or of a wait that is over.
        Event::ChunkStarted { .. }
        | Event::Rows { .. }
        | Event::ChunkDone { .. }
        | Event::ChunkGivenUp { .. }
        | Event::ChunkDrifted { .. }
        | Event::ChunkFailed { .. }
        | Event::Waiting(_) => return,
        // The newest look is the one that counts, and a first copy may take hours.
        Event::Watched(_) => kept.retain(|kept| !matches!(kept, Event::Watched(_))),
        _ => {}
    }
    kept.push_back(event);
}

fn calls() -> (u64, u64) {
    (board::read(|board| board.calls).unwrap_or(0), wait::reloads())
}

/// How long to wait for an event before looking whether the mirror is still wanted.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// The stream's rest is as long as the kernel's usual latitude with sleeping threads, 50 µs, which
/// would double it.
fn sleep_precisely() {
    #[cfg(target_os = "linux")]
    // SAFETY: sets a property of this thread.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1_000 as libc::c_ulong);
    }
}

/// Starts a thread with every signal blocked: a handler of the server's on a thread of ours would
/// corrupt it.
pub fn spawn_quietly(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    // SAFETY: plain calls on local sets; the main thread's mask is as before afterwards.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        spawned.map(drop)
    }
}
