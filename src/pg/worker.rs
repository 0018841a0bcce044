//! The mirror's background worker: one for the cluster, in the database `odoo_mirror.database`.
//!
//! It idles until there is something to mirror, runs the mirror until that fails or is stopped, and
//! tries again with a backoff. It ends only with the server, or with an error that the postmaster
//! restarts it from.

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::prelude::*;

use super::board::{self, State};
use super::mirror::Ended;
use super::progress::{self, Settings};
use super::wanted::still_wanted;
use super::{endpoint, guc, mirror, owner, session, sql, transaction, wait};
use crate::error::{Error, Verdict};

/// Names the library and this function to the postmaster.
pub fn register() {
    BackgroundWorkerBuilder::new("odoo_mirror")
        .set_type("odoo_mirror")
        .set_library("odoo_mirror")
        .set_function("odoo_mirror_worker")
        .enable_shmem_access(None)
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::ConsistentState)
        .set_restart_time(Some(Duration::from_secs(1)))
        .load();
}

/// The worker's main function.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn odoo_mirror_worker(_argument: pg_sys::Datum) {
    start(None);
    board::write(|board| {
        board.worker_pid = std::process::id() as i32;
        board.uninstall = 0;
        board.lives = false;
    });
    let mut failures = 0;
    loop {
        match look() {
            Ok(Look::Idle(state, message)) => {
                board::set_state(state, &message);
                session::report_activity(state.name());
                failures = 0;
                endpoint::tend();
                wait::wait(IDLE);
            }
            Ok(Look::Run(settings)) => {
                let uninstalls = board::read(|board| board.uninstall == 1).unwrap_or(false);
                board::write(|board| board.lives = !uninstalls);
                let lived = mirror::run(&settings, uninstalls);
                board::write(|board| board.lives = false);
                if let Err(Ended { error, streamed }) = lived {
                    transaction::abort();
                    if still_wanted(&settings).is_err() {
                        failures = 0;
                        continue;
                    }
                    failures = if streamed { 1 } else { failures + 1 };
                    rest(&error, failures, Some(&settings));
                }
            }
            Err(error) => {
                failures += 1;
                rest(&error, failures, None);
            }
        }
    }
}

/// Signals, connection and session of a worker of ours.
pub fn start(database: Option<pg_sys::Oid>) {
    unsafe extern "C-unwind" {
        // pgrx's wrapper of this handler is a Rust function, which can't be one.
        fn die(signal: i32);
        fn SignalHandlerForConfigReload(signal: i32);
    }
    // SAFETY: handlers of the server's own, installed before signals are let through.
    unsafe {
        libc::signal(libc::SIGTERM, die as *const () as usize);
        libc::signal(libc::SIGHUP, SignalHandlerForConfigReload as *const () as usize);
        pg_sys::BackgroundWorkerUnblockSignals();
    }
    match database {
        Some(oid) => BackgroundWorker::connect_worker_to_spi_by_oid(Some(oid), None),
        None => BackgroundWorker::connect_worker_to_spi(guc::text(&guc::DATABASE).as_deref(), None),
    }
    session::let_transactions_begin();
    if let Err(error) = transaction::set_session(session::set_up) {
        pgrx::warning!("odoo_mirror: {error}");
    }
}

/// How often an idle worker looks whether there is something to do; calls of ours wake it at once.
const IDLE: Duration = Duration::from_secs(1);

enum Look {
    Idle(State, String),
    Run(Rc<Settings>),
}

/// Whether the mirror should run.
fn look() -> Result<Look, Error> {
    let idle = |state, message: &str| Ok(Look::Idle(state, message.to_owned()));
    // SAFETY: reads shared memory.
    if unsafe { pg_sys::RecoveryInProgress() } {
        return idle(State::Standby, "this server is a standby; its primary mirrors");
    }
    transaction::transaction(|| {
        if !owner::extension_is_here() {
            return idle(State::NoExtension, "run CREATE EXTENSION odoo_mirror in this database");
        }
        let version =
            sql::value("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'odoo_mirror'", &[])?
                .unwrap_or_default();
        if version != env!("CARGO_PKG_VERSION") {
            let message = format!(
                "the extension is {version}, the library that the server loaded is {}: restart the server, or run ALTER EXTENSION odoo_mirror UPDATE",
                env!("CARGO_PKG_VERSION")
            );
            return idle(State::Mismatch, &message);
        }
        if board::read(|board| board.uninstall == 1).unwrap_or(false) {
            return match progress::settings()? {
                Some(settings) => Ok(Look::Run(Rc::new(settings))),
                None => {
                    board::write(|board| board.uninstall = 2);
                    idle(State::Unconfigured, "call odoo_mirror.configure()")
                }
            };
        }
        match progress::settings()? {
            None => idle(State::Unconfigured, "call odoo_mirror.configure(), then odoo_mirror.start()"),
            Some(settings) if !settings.running => idle(State::Stopped, "call odoo_mirror.start()"),
            Some(settings) if !settings.started_here => idle(
                State::Elsewhere,
                "this database is a copy of the one that start() was called in; call odoo_mirror.start() here to mirror, with a slot of its own",
            ),
            Some(settings) => Ok(Look::Run(Rc::new(settings))),
        }
    })
}

/// Shows the error and waits before the next try. stop(), start(), configure() and changed settings
/// end the rest.
fn rest(error: &Error, failures: u32, settings: Option<&Settings>) {
    board::set_error(error);
    let cause = match error.verdict {
        Verdict::Retry => 0,
        Verdict::RetrySlowly => 1,
        Verdict::Gate => 2,
        Verdict::Stop => 3,
    };
    CAUSE.store(cause, Ordering::Relaxed);
    let (state, base, most) = match error.verdict {
        Verdict::Retry => (State::Retrying, 0.2, 10.0),
        Verdict::RetrySlowly => (State::Failed, 2.0, 15.0),
        // The next life's start finds what there is to it.
        Verdict::Gate => (State::Failed, 0.2, 15.0),
        Verdict::Stop => (State::Failed, 5.0, 15.0),
    };
    board::set_state(state, &error.message);
    pgrx::log!("odoo_mirror: {error}");
    session::report_activity(state.name());
    let seconds = (base * f64::powi(2.0, failures.clamp(1, 10) as i32 - 1)).min(most) * jitter();
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let calls = board::read(|board| board.calls);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        // Whatever was called, resync() say, may be what the error waited for.
        let called = board::read(|board| board.calls) != calls;
        if called || settings.is_some_and(|settings| still_wanted(settings).is_err()) {
            return;
        }
        endpoint::tend();
        wait::wait(left.min(Duration::from_millis(500)));
    }
}

/// What ended the last life, if it failed: which verdict.
static CAUSE: AtomicUsize = AtomicUsize::new(NO_CAUSE);
const NO_CAUSE: usize = usize::MAX;

/// The verdict that made the mirror connect anew, as an index; once.
pub fn take_cause() -> Option<usize> {
    let cause = CAUSE.swap(NO_CAUSE, Ordering::Relaxed);
    (cause < progress::CAUSES).then_some(cause)
}

/// Between a half and one, so that mirrors of one source don't come back together.
fn jitter() -> f64 {
    // SAFETY: reads the clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    0.5 + (now.rem_euclid(1000) as f64) / 2000.0
}
