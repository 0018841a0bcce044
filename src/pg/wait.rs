//! Waiting as a background worker must: on the latch, with interrupts served, never in a lock or a
//! runtime.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pgrx::prelude::*;

use crate::error::Error;

/// Waits for the latch or for `timeout`; serves interrupts and a changed configuration. Ends the
/// process when the postmaster is gone or the worker was told to stop.
pub fn wait(timeout: Duration) {
    let events = (pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH) as i32;
    // SAFETY: MyLatch is this process's own and set up.
    unsafe {
        let woken = pg_sys::WaitLatch(pg_sys::MyLatch, events, millis(timeout), pg_sys::PG_WAIT_EXTENSION);
        if woken & pg_sys::WL_LATCH_SET as i32 != 0 {
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
    }
    serve_interrupts();
}

fn millis(timeout: Duration) -> std::ffi::c_long {
    timeout.as_millis().clamp(1, 3_600_000) as std::ffi::c_long
}

/// What [`wait`] waits for, and sockets beside it. Kept from one wait to the next: to make such a
/// set costs more than to wait on it.
pub struct WaitSet {
    set: *mut pg_sys::WaitEventSet,
}

impl WaitSet {
    /// The descriptors must stay open as long as the set lives.
    pub fn new(sockets: &[BorrowedFd<'_>]) -> WaitSet {
        let no_socket = pg_sys::PGINVALID_SOCKET;
        let room = 2 + sockets.len() as i32;
        // SAFETY: the set lives until dropped, with nobody else owning it; the latch is this
        // process's own.
        unsafe {
            #[cfg(any(feature = "pg15", feature = "pg16"))]
            let set = pg_sys::CreateWaitEventSet(pg_sys::TopMemoryContext, room);
            #[cfg(any(feature = "pg17", feature = "pg18"))]
            let set = pg_sys::CreateWaitEventSet(std::ptr::null_mut(), room);
            let none = std::ptr::null_mut();
            let add = |event, socket, latch| pg_sys::AddWaitEventToSet(set, event, socket, latch, none);
            add(pg_sys::WL_LATCH_SET, no_socket, pg_sys::MyLatch);
            add(pg_sys::WL_EXIT_ON_PM_DEATH, no_socket, std::ptr::null_mut());
            for socket in sockets {
                add(pg_sys::WL_SOCKET_READABLE, socket.as_raw_fd(), std::ptr::null_mut());
            }
            WaitSet { set }
        }
    }

    /// As [`wait()`]. The socket that is readable, if one is.
    pub fn wait(&self, timeout: Duration) -> Option<RawFd> {
        // SAFETY: a set of ours, and room for as many events as are asked for.
        let readable = unsafe {
            let mut woken: pg_sys::WaitEvent = std::mem::zeroed();
            let class = pg_sys::PG_WAIT_EXTENSION;
            let count = pg_sys::WaitEventSetWait(self.set, millis(timeout), &mut woken, 1, class);
            if count > 0 && woken.events & pg_sys::WL_LATCH_SET != 0 {
                pg_sys::ResetLatch(pg_sys::MyLatch);
            }
            (count > 0 && woken.events & pg_sys::WL_SOCKET_READABLE != 0).then_some(woken.fd)
        };
        serve_interrupts_of_the_worker();
        readable
    }
}

impl Drop for WaitSet {
    fn drop(&mut self) {
        // SAFETY: made by `new`, used no more.
        unsafe { pg_sys::FreeWaitEventSet(self.set) }
    }
}

/// Whether SIGTERM came.
pub fn told_to_end() -> bool {
    // SAFETY: a plain flag of this process, set by its signal handler.
    unsafe { pg_sys::ProcDiePending != 0 }
}

/// Whether the process may finish a thought before it ends: then waits return, and the caller looks
/// at `told_to_end` and calls `end`.
pub fn end_politely(may: bool) {
    POLITE.store(may, Ordering::Relaxed);
}

static RELOADS: AtomicU64 = AtomicU64::new(0);

/// How often the configuration was read again.
pub fn reloads() -> u64 {
    RELOADS.load(Ordering::Relaxed)
}

static POLITE: AtomicBool = AtomicBool::new(false);

/// Says the last words and ends the process, as SIGTERM asked.
pub fn end(last_words: impl FnOnce() -> Result<(), Error>) {
    // SAFETY: plain flags of this process: the last words must not be cut short by the signal that
    // asked for them.
    unsafe { pg_sys::ProcDiePending = 0 };
    if let Err(error) = last_words() {
        super::transaction::abort();
        pgrx::log!("odoo_mirror: {error}");
    }
    end_politely(false);
    // SAFETY: as the signal handler sets them.
    unsafe {
        pg_sys::ProcDiePending = 1;
        pg_sys::InterruptPending = 1;
    }
    serve_interrupts();
}

/// As [`serve_interrupts`], between two statements of the worker, in whose transaction a statement
/// that is over can't be cancelled: who cancels says what is wanted on the board, too.
pub fn serve_interrupts_of_the_worker() {
    // SAFETY: a plain flag of this process.
    unsafe { pg_sys::QueryCancelPending = 0 };
    serve_interrupts();
}

/// Serves what signals asked for.
pub fn serve_interrupts() {
    // SAFETY: plain flags of this process. Outside a transaction, where no function of ours is
    // called, there is nothing to cancel.
    unsafe {
        if !pg_sys::IsTransactionState() {
            pg_sys::QueryCancelPending = 0;
        }
    }
    if POLITE.load(Ordering::Relaxed) && told_to_end() {
        return;
    }
    pgrx::check_for_interrupts!();
    // SAFETY: plain flags of this process, set by signal handlers; outside a transaction or inside,
    // reloading the configuration is allowed in a background worker's main loop.
    unsafe {
        if pg_sys::ConfigReloadPending != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
            RELOADS.fetch_add(1, Ordering::Relaxed);
        }
    }
}
