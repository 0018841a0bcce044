//! Starts the network thread and waits for what it tells, as a background worker must.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::wait;
use crate::error::Error;
use crate::source::connect::Connector;
use crate::source::link::{self, Event, Link, Remote, Request};
use crate::source::thread;

/// A running network thread, seen from the main thread. Dropped, it ends the thread.
pub struct Network {
    link: Link,
    /// Events that came while an answer was waited for, to be had next.
    kept: VecDeque<Event>,
}

impl Network {
    pub fn start(connector: Connector) -> Result<Network, Error> {
        let failed =
            |error: std::io::Error| Error::retry(format!("could not start the network thread: {error}"));
        let (link, remote) = link::pair().map_err(failed)?;
        spawn(connector, remote).map_err(failed)?;
        Ok(Network { link, kept: VecDeque::new() })
    }

    pub fn ask(&self, request: Request) {
        self.link.ask(request);
    }

    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Asks, and waits for what `pick` takes for the answer. What else comes, a batch perhaps, is kept for `next`:
    /// nothing of the stream may get lost here. `meanwhile` is called now and then; its error ends the waiting.
    pub fn answer<T>(
        &mut self,
        request: Request,
        mut pick: impl FnMut(Event) -> Result<T, Event>,
        mut meanwhile: impl FnMut() -> Result<(), Error>,
    ) -> Result<T, Error> {
        let mut kept = std::mem::take(&mut self.kept);
        self.ask(request);
        let answer = loop {
            match self.next(PATIENCE)?.map(&mut pick) {
                Some(Ok(answer)) => break answer,
                Some(Err(other)) => kept.push_back(other),
                None => meanwhile()?,
            }
        };
        self.kept = kept;
        Ok(answer)
    }

    /// The next event, waiting at most `timeout` for it.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Event>, Error> {
        if let Some(event) = self.kept.pop_front() {
            return Ok(Some(event));
        }
        let deadline = Instant::now() + timeout;
        loop {
            self.link.drain_wakes();
            if let Some(event) = self.link.try_event()? {
                wait::serve_interrupts();
                return Ok(Some(event));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || wait::told_to_end() {
                return Ok(None);
            }
            wait::wait(Some(self.link.wake_fd()), left);
        }
    }
}

/// How long to wait for an event before looking whether the mirror is still wanted.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// Starts the thread with every signal blocked: a handler of the server's on a thread of ours would corrupt it.
fn spawn(connector: Connector, remote: Remote) -> std::io::Result<()> {
    // SAFETY: plain calls on local sets; the main thread's mask is as before afterwards.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let spawned = std::thread::Builder::new()
            .name("odoo_mirror net".to_owned())
            .spawn(move || thread::run(connector, remote));
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        spawned.map(drop)
    }
}
