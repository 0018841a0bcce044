//! What SQL can't say by itself: the functions under those of sql/api.sql, and the two that wait.

use std::time::{Duration, Instant};

use pgrx::prelude::*;
use pgrx::{JsonB, PgXactCallbackEvent};

use super::board::{self, State};
use super::shown;
use super::{guc, wait};
use crate::config::SourceConfig;
use crate::wire::Lsn;

#[pg_schema]
mod odoo_mirror_internal {
    use super::*;

    /// The worker's live state. Times are timestamps by our clock.
    #[pg_extern(stable, parallel_restricted)]
    fn live() -> JsonB {
        JsonB(super::live())
    }

    /// Live figures of each table.
    #[pg_extern(stable, parallel_restricted)]
    #[allow(clippy::type_complexity)]
    fn live_tables() -> TableIterator<
        'static,
        (
            name!(table_name, String),
            name!(copying_rows, i64),
            name!(copying_bytes, i64),
            name!(inserts, i64),
            name!(updates, i64),
            name!(deletes, i64),
            name!(truncates, i64),
            name!(split, i64),
            name!(applied, i64),
            name!(folded, i64),
            name!(skipped, i64),
            name!(filtered, i64),
            name!(missing, i64),
            name!(quarantined, i64),
            name!(unbalanced, i64),
            name!(inserted_bytes, i64),
            name!(updated_bytes, i64),
            name!(deleted_bytes, i64),
            name!(last_change, Option<TimestampWithTimeZone>),
            name!(waits, Option<String>),
        ),
    > {
        let tables = board::read(|board| {
            board.tables.iter().filter(|table| table.name.get().is_some()).copied().collect::<Vec<_>>()
        });
        TableIterator::new(tables.unwrap_or_default().into_iter().map(|table| {
            let counts = table.counts;
            (
                table.name.as_str().to_owned(),
                table.copying_rows as i64,
                table.copying_bytes as i64,
                counts.inserts as i64,
                counts.updates as i64,
                counts.deletes as i64,
                counts.truncates as i64,
                counts.split as i64,
                counts.applied as i64,
                counts.folded as i64,
                counts.skipped as i64,
                counts.filtered as i64,
                counts.missing as i64,
                counts.quarantined as i64,
                counts.unbalanced as i64,
                counts.inserted_bytes as i64,
                counts.updated_bytes as i64,
                counts.deleted_bytes as i64,
                (table.last_change != 0)
                    .then(|| TimestampWithTimeZone::try_from(table.last_change).ok())
                    .flatten(),
                table.waits.get().map(str::to_owned),
            )
        }))
    }

    /// Checks a connection string without connecting; returns it as it is kept, without secrets.
    #[pg_extern(stable)]
    fn check_source(source: &str, by_superuser: bool) -> JsonB {
        match SourceConfig::parse(source) {
            // A user must not choose which of the server's files is read; only a superuser's
            // setting may.
            Ok(config) if config.passfile.is_some() => refuse(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                "passfile can't be given here",
                "A superuser sets odoo_mirror.passfile in postgresql.conf.",
            ),
            Ok(config) if !by_superuser && has_socket(&config) => refuse(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "only a superuser may name a Unix socket as the source",
                "Name the source by host and port: the mirror then logs in with the password that configure() is given.",
            ),
            Ok(config) => JsonB(serde_json::json!({ "source": config.to_string() })),
            Err(error) => refuse(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                error.message,
                error.hint.unwrap_or_default(),
            ),
        }
    }

    /// Whether the inserts that a trigger sees are the stream's, being applied by the mirror's
    /// worker.
    #[pg_extern(volatile)]
    fn applies_inserts() -> bool {
        super::super::memory::applies_inserts()
    }

    /// Notes an invoice that the stream brought; elsewhere nothing.
    #[pg_extern(volatile)]
    fn remember(id: i32) {
        super::super::memory::remember(id);
    }

    /// Notes that the applier's statement looks at its next row; always true.
    #[pg_extern(volatile)]
    fn looks_at_row() -> bool {
        super::super::apply::looks_at_row();
        true
    }

    /// Wakes the worker when the calling transaction commits. `ends_life`: what it is doing isn't
    /// wanted any more.
    #[pg_extern(volatile)]
    fn wake(ends_life: default!(bool, false)) {
        super::wake_at_commit(ends_life);
    }

    /// True once the mirror shows the source's commit at `lsn`; false when `timeout` passes first.
    #[pg_extern(volatile)]
    fn wait_until(position: &str, seconds: f64) -> bool {
        let wanted = position.parse().unwrap_or(Lsn(u64::MAX)).as_end_position();
        let deadline = Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, 1e6));
        let mut ask_at = Instant::now();
        loop {
            // Tables that are being compared after a new beginning show nothing for sure; and what
            // the source did to its tables no position in the stream proves.
            let shows = |board: &board::Board| {
                !board.stale && board.applied_lsn >= wanted.0 && board.shown.to >= wanted.0
            };
            if board::read(shows).unwrap_or(false) {
                return true;
            }
            if Instant::now() >= ask_at {
                ask_at = Instant::now() + Duration::from_millis(100);
                shown::ask(wanted);
                super::wake_worker(false);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            wait::wait(left.min(Duration::from_millis(2)));
        }
    }

    /// Gives up the slot on the source and the replication origin here, for good; the rows stay.
    /// Waits until that is done.
    #[pg_extern(volatile)]
    fn give_up() -> &'static str {
        require_worker();
        board::write(|board| {
            board.uninstall = 1;
            board.will += 1;
            board.calls += 1;
        });
        wake_worker(true);
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            wait::wait(Duration::from_millis(20));
            match board::read(|board| board.uninstall).unwrap_or(0) {
                2 => {
                    board::write(|board| board.uninstall = 0);
                    return "slot and origin are gone; the mirrored rows stay. DROP EXTENSION odoo_mirror removes the rest";
                }
                3 => {
                    let (message, hint) = board::read(|board| {
                        (board.error.message.as_str().to_owned(), board.error.hint.as_str().to_owned())
                    })
                    .unwrap_or_default();
                    board::write(|board| board.uninstall = 0);
                    refuse(
                        PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
                        format!("the slot is still there: {message}"),
                        hint,
                    );
                }
                _ if Instant::now() > deadline => {
                    board::write(|board| board.uninstall = 0);
                    refuse(
                        PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
                        "the slot is still there: the worker did not answer within a minute",
                        "SELECT odoo_mirror.status() tells what it is doing.",
                    );
                }
                _ => {}
            }
        }
    }

    /// An error with the cure when no worker looks after this database.
    #[pg_extern(stable)]
    fn require_worker() {
        if let Some((_, message, hint)) = no_worker_here() {
            refuse(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message, hint);
        }
    }
}

fn has_socket(config: &SourceConfig) -> bool {
    config.hosts.iter().any(|host| host.address.is_none() && host.is_socket_directory())
}

/// Wakes the worker when the calling transaction commits.
pub(super) fn wake_at_commit(ends_life: bool) {
    pgrx::register_xact_callback(PgXactCallbackEvent::Commit, move || {
        board::write(|board| {
            board.will += u64::from(ends_life);
            board.calls += 1;
        });
        wake_worker(ends_life);
    });
}

pub(super) fn refuse(
    code: PgSqlErrorCode,
    message: impl Into<std::borrow::Cow<'static, str>>,
    hint: impl Into<String>,
) -> ! {
    let report = pgrx::pg_sys::panic::ErrorReport::new(code, message, "odoo_mirror");
    report.set_hint(hint).report(PgLogLevel::ERROR);
    unreachable!("reporting an error leaves the function")
}

/// Wakes the worker; with `cancel`, also from a statement, which may build an index for an hour or
/// wait for a lock.
pub(super) fn wake_worker(cancel: bool) {
    let (pid, lives) = board::read(|board| (board.worker_pid, board.lives)).unwrap_or_default();
    if pid == 0 {
        return;
    }
    // SAFETY: the process array is looked up by pid; a latch may be set, and a statement cancelled,
    // at any time.
    unsafe {
        let process = pg_sys::BackendPidGetProc(pid);
        if !process.is_null() {
            if cancel && lives {
                libc::kill(pid, libc::SIGINT);
            }
            pg_sys::SetLatch(&mut (*process).procLatch);
        }
    }
}

/// Why nothing mirrors this database: a state, a sentence and the cure.
fn no_worker_here() -> Option<(&'static str, String, String)> {
    if !board::attached() {
        return Some((
            "not preloaded",
            "odoo_mirror is not preloaded, so it has no worker".to_owned(),
            "Add odoo_mirror to shared_preload_libraries (postgresql.conf, or -c on the server's command line) and restart the server.".to_owned(),
        ));
    }
    let database = guc::text(&guc::DATABASE).unwrap_or_default();
    (database != current_database()).then(|| {
        (
            "other database",
            format!("odoo_mirror's worker is in database \"{database}\", not in this one"),
            "Call this in that database, or set odoo_mirror.database in postgresql.conf and restart the server.".to_owned(),
        )
    })
}

/// Whether the worker looks after this database.
pub(super) fn is_of_this_database() -> bool {
    no_worker_here().is_none()
}

fn current_database() -> String {
    // SAFETY: a syscache lookup; the name is palloc'd, or null for a database dropped under us.
    unsafe {
        let name = pg_sys::get_database_name(pg_sys::MyDatabaseId);
        if name.is_null() {
            return String::new();
        }
        std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

fn live() -> serde_json::Value {
    let mut live = match no_worker_here() {
        Some((state, message, hint)) => {
            serde_json::json!({ "state": state, "message": format!("{message}. {hint}") })
        }
        None => board::read(snapshot).unwrap_or_default(),
    };
    live["library_version"] = env!("CARGO_PKG_VERSION").into();
    live
}

fn snapshot(board: &board::Board) -> serde_json::Value {
    let now = board::now();
    let lsn = |value: u64| (value != 0).then(|| Lsn(value).to_string());
    let source_version = (board.source_version != 0)
        .then(|| format!("{}.{}", board.source_version / 10_000, board.source_version % 10_000));
    let error = (board.error.at != 0).then(|| {
        serde_json::json!({
            "at": time(board.error.at),
            "message": board.error.message.as_str(),
            "detail": board.error.detail.get(),
            "hint": board.error.hint.get(),
            "sqlstate": board.error.sqlstate.get(),
        })
    });
    let alive = board.state != State::Absent;
    let looks = &board.looks;
    let said: Vec<String> =
        board.message.get().map(str::to_owned).into_iter().chain(looks.complaints()).collect();
    serde_json::json!({
        "state": board.state.name(),
        "since": (board.since != 0).then(|| time(board.since)),
        "message": (!said.is_empty()).then(|| said.join("; ")),
        "looks": {
            "succeeded_at": (looks.succeeded_at != 0).then(|| time(looks.succeeded_at)),
            "failing_since": (looks.failing_since != 0).then(|| time(looks.failing_since)),
            "failed": looks.failed,
            "error": looks.why.get(),
            "hint": looks.hint.get(),
            "slot_unseen": looks.slot_unseen,
            "held_up": looks.held_up.get(),
        },
        "source_lsn": lsn(board.source_lsn),
        "received_lsn": lsn(board.received_lsn),
        "applied_lsn": lsn(board.applied_lsn),
        "confirmed_lsn": lsn(board.confirmed_lsn),
        "slot_seen_at": (board.slot_seen_at != 0).then(|| time(board.slot_seen_at)),
        "slot_retained_bytes": (board.slot_retained_bytes >= 0).then_some(board.slot_retained_bytes),
        "slot_safe_wal_bytes": (board.slot_safe_wal_bytes >= 0).then_some(board.slot_safe_wal_bytes),
        "slot_wal_status": board.slot_wal_status.get(),
        "stale": board.stale,
        "lag_bytes": board.lag_bytes(),
        "lag_seconds": board.lag_seconds(now),
        "last_error": error,
        "worker": alive.then(|| serde_json::json!({ "pid": board.worker_pid })),
        "source_version": source_version,
        "last_success": (board.last_success != 0).then(|| time(board.last_success)),
        "transactions": board.transactions,
        "batches": board.batches,
        "received_bytes": board.received_bytes,
        "reconnects": board.reconnects,
        "causes": board.timings.causes,
        "durations": board.timings.durations,
        "duration_bounds": super::progress::BOUNDS,
        "seconds": board.timings.seconds,
        "endpoint": board.endpoint.get(),
    })
}

/// µs since 2000-01-01 as ISO 8601 in UTC.
fn time(micros: i64) -> String {
    let seconds = micros.div_euclid(1_000_000) + 946_684_800;
    let fraction = micros.rem_euclid(1_000_000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The civil calendar from a day number, as Howard Hinnant's days_from_civil inverts it.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{fraction:06}Z",
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}
