//! Waiting as a background worker must: on the latch, with interrupts served, never in a lock or a runtime.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgrx::prelude::*;

use crate::error::Error;

/// Waits for the latch, for `fd` to be readable, or for `timeout`; serves interrupts and a changed
/// configuration. Ends the process when the postmaster is gone or the worker was told to stop.
pub fn wait(fd: Option<BorrowedFd<'_>>, timeout: Duration) {
    let mut events = (pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH) as i32;
    if fd.is_some() {
        events |= pg_sys::WL_SOCKET_READABLE as i32;
    }
    let socket = fd.map_or(pg_sys::PGINVALID_SOCKET, |fd| fd.as_raw_fd());
    let millis = timeout.as_millis().clamp(1, 3_600_000) as std::ffi::c_long;
    // SAFETY: MyLatch is this process's own and set up; the descriptor lives as long as the borrow.
    unsafe {
        let woken =
            pg_sys::WaitLatchOrSocket(pg_sys::MyLatch, events, socket, millis, pg_sys::PG_WAIT_EXTENSION);
        if woken & pg_sys::WL_LATCH_SET as i32 != 0 {
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
    }
    serve_interrupts();
}

/// Whether SIGTERM came.
pub fn told_to_end() -> bool {
    // SAFETY: a plain flag of this process, set by its signal handler.
    unsafe { pg_sys::ProcDiePending != 0 }
}

/// Whether the process may finish a thought before it ends: then waits return, and the caller looks at
/// `told_to_end` and calls `end`.
pub fn end_politely(may: bool) {
    POLITE.store(may, Ordering::Relaxed);
}

static POLITE: AtomicBool = AtomicBool::new(false);

/// Says the last words and ends the process, as SIGTERM asked.
pub fn end(last_words: impl FnOnce() -> Result<(), Error>) {
    // SAFETY: plain flags of this process: the last words must not be cut short by the signal that asked for them.
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

/// Serves what signals asked for.
pub fn serve_interrupts() {
    if POLITE.load(Ordering::Relaxed) && told_to_end() {
        return;
    }
    pgrx::check_for_interrupts!();
    // SAFETY: plain flags of this process, set by signal handlers; outside a transaction or inside, reloading
    // the configuration is allowed in a background worker's main loop.
    unsafe {
        if pg_sys::ConfigReloadPending != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}
