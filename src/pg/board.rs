//! What the worker tells while it works: positions, rates, progress, the last error. In shared
//! memory, since uncommitted rows tell nobody how a long copy goes.
//!
//! Written by the mirror's workers, read by every backend. Nothing here decides anything.

use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgLwLock, pg_shmem_init};

use super::looks::Looks;
use super::progress::Timings;
use super::shown::Shown;
use crate::error::Error;
use crate::source::slot::SlotState;
use crate::wire::Lsn;

/// Tables that have live figures; those beyond tell only what is committed.
pub const LIVE_TABLES: usize = 512;

// SAFETY: the name is the lock's own, and the lock is used only after shared memory is set up (see
// `attached`).
static BOARD: PgLwLock<Board> = unsafe { PgLwLock::new(c"odoo_mirror") };
static ATTACHED: AtomicBool = AtomicBool::new(false);

/// Reserves the shared memory; called while the server loads the library.
pub fn init() {
    pg_shmem_init!(BOARD);
    ATTACHED.store(true, Ordering::Relaxed);
}

/// Whether the library was preloaded; without that there is no board, and no worker.
pub fn attached() -> bool {
    ATTACHED.load(Ordering::Relaxed)
}

/// Reads the board; None when the library was not preloaded.
pub fn read<T>(read: impl FnOnce(&Board) -> T) -> Option<T> {
    attached().then(|| read(&BOARD.share()))
}

/// Changes the board. Short: readers wait.
pub fn write(change: impl FnOnce(&mut Board)) {
    if attached() {
        change(&mut BOARD.exclusive());
    }
}

/// What the worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    Absent,
    NoExtension,
    Standby,
    Unconfigured,
    Stopped,
    Elsewhere,
    Mismatch,
    Connecting,
    Preparing,
    Copying,
    Streaming,
    Retrying,
    Failed,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Absent => "no worker",
            State::NoExtension => "no extension",
            State::Standby => "standby",
            State::Unconfigured => "unconfigured",
            State::Stopped => "stopped",
            State::Elsewhere => "waiting for start()",
            State::Mismatch => "restart needed",
            State::Connecting => "connecting",
            State::Preparing => "preparing",
            State::Copying => "copying",
            State::Streaming => "streaming",
            State::Retrying => "retrying",
            State::Failed => "failed",
        }
    }
}

/// Text of bounded length, cut at a character's end.
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    len: u16,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    pub const EMPTY: Text<N> = Text { len: 0, bytes: [0; N] };

    pub fn new(text: &str) -> Text<N> {
        let mut cut = text.len().min(N);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        let mut bytes = [0; N];
        bytes[..cut].copy_from_slice(&text.as_bytes()[..cut]);
        Text { len: cut as u16, bytes }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }

    /// None when empty.
    pub fn get(&self) -> Option<&str> {
        (self.len > 0).then(|| self.as_str())
    }
}

#[derive(Clone, Copy)]
pub struct LiveTable {
    pub name: Text<63>,
    /// Of ranges whose copy is not committed yet.
    pub copying_rows: u64,
    pub copying_bytes: u64,
    pub counts: Counts,
    /// By the source's clock, µs since 2000-01-01; 0: none yet.
    pub last_change: i64,
    /// What its copy or its comparison has to wait for on the source.
    pub waits: Text<400>,
}

impl LiveTable {
    fn none() -> LiveTable {
        LiveTable {
            name: Text::EMPTY,
            copying_rows: 0,
            copying_bytes: 0,
            counts: Counts::default(),
            last_change: 0,
            waits: Text::EMPTY,
        }
    }
}

/// Where a table's changes went, since the table was first mirrored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
    pub truncates: u64,
    pub inserted_bytes: u64,
    pub updated_bytes: u64,
    pub deleted_bytes: u64,
    pub split: u64,
    pub applied: u64,
    pub folded: u64,
    pub skipped: u64,
    pub filtered: u64,
    pub missing: u64,
    pub quarantined: u64,
    /// Batches in which the others didn't account for all that was received.
    pub unbalanced: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.inserts += other.inserts;
        self.updates += other.updates;
        self.deletes += other.deletes;
        self.truncates += other.truncates;
        self.inserted_bytes += other.inserted_bytes;
        self.updated_bytes += other.updated_bytes;
        self.deleted_bytes += other.deleted_bytes;
        self.split += other.split;
        self.applied += other.applied;
        self.folded += other.folded;
        self.skipped += other.skipped;
        self.filtered += other.filtered;
        self.missing += other.missing;
        self.quarantined += other.quarantined;
        self.unbalanced += other.unbalanced;
    }
}

#[derive(Clone, Copy)]
pub struct LastError {
    /// µs since 2000-01-01; 0: none.
    pub at: i64,
    pub message: Text<1000>,
    pub detail: Text<1000>,
    pub hint: Text<1000>,
    pub sqlstate: Text<5>,
}

#[derive(Clone, Copy)]
pub struct Board {
    pub worker_pid: i32,
    pub state: State,
    /// Since when in this state, µs since 2000-01-01 by our clock, as are all times here but those
    /// named otherwise.
    pub since: i64,
    pub message: Text<1000>,
    pub source_version: i32,
    pub source_lsn: u64,
    pub received_lsn: u64,
    pub applied_lsn: u64,
    pub confirmed_lsn: u64,
    /// When the source was last heard.
    pub last_contact: i64,
    /// When the mirror last showed all that the source had sent.
    pub caught_up_at: i64,
    /// When the slot was last looked at on the source; 0: never. What it says then stands below.
    pub slot_seen_at: i64,
    /// Bytes of WAL that the source keeps for the slot; -1: unknown.
    pub slot_retained_bytes: i64,
    /// Bytes of WAL that may still be written before the slot is in danger; -1: no limit there.
    pub slot_safe_wal_bytes: i64,
    /// `reserved`, `extended`, `unreserved` or `lost`; empty: unknown, or there is no slot.
    pub slot_wal_status: Text<16>,
    pub looks: Looks,
    pub shown: Shown,
    /// The mirror began anew, and not all tables have been compared since.
    pub stale: bool,
    /// Commit time of the oldest transaction received and not yet shown, by the source's clock; 0:
    /// none.
    pub pending_since: i64,
    /// Our clock minus the source's.
    pub clock_offset: i64,
    pub last_success: i64,
    pub transactions: u64,
    pub batches: u64,
    pub received_bytes: u64,
    pub reconnects: u64,
    pub timings: Timings,
    /// Where the metrics endpoint listens, or why it doesn't.
    pub endpoint: Text<200>,
    pub error: LastError,
    /// Set by uninstall(): the worker gives up slot and origin. 1: asked, 2: done, 3: failed (see
    /// error).
    pub uninstall: u8,
    /// How often start(), stop() and the like were called: the worker looks what for.
    pub calls: u64,
    /// How often stop(), start(), configure(), uninstall() and DROP EXTENSION were called, each of
    /// which ends the life that runs.
    pub will: u64,
    /// A life runs that any of these may cut short, also in the middle of a statement.
    pub lives: bool,
    pub tables: [LiveTable; LIVE_TABLES],
}

// SAFETY: plain data without pointers; every bit pattern written comes from a valid value.
unsafe impl PGRXSharedMemory for Board {}

impl Default for Board {
    fn default() -> Board {
        let none = LastError {
            at: 0,
            message: Text::EMPTY,
            detail: Text::EMPTY,
            hint: Text::EMPTY,
            sqlstate: Text::EMPTY,
        };
        Board {
            worker_pid: 0,
            state: State::Absent,
            since: 0,
            message: Text::EMPTY,
            source_version: 0,
            source_lsn: 0,
            received_lsn: 0,
            applied_lsn: 0,
            confirmed_lsn: 0,
            last_contact: 0,
            caught_up_at: 0,
            slot_seen_at: 0,
            slot_retained_bytes: -1,
            slot_safe_wal_bytes: -1,
            slot_wal_status: Text::EMPTY,
            looks: Looks::NONE,
            shown: Shown::NOTHING,
            stale: false,
            pending_since: 0,
            clock_offset: 0,
            last_success: 0,
            transactions: 0,
            batches: 0,
            received_bytes: 0,
            reconnects: 0,
            timings: Timings::default(),
            endpoint: Text::EMPTY,
            error: none,
            uninstall: 0,
            calls: 0,
            will: 0,
            lives: false,
            tables: [LiveTable::none(); LIVE_TABLES],
        }
    }
}

impl Board {
    /// The table's live figures, made if there is room.
    pub fn table(&mut self, name: &str) -> Option<&mut LiveTable> {
        let place = self
            .tables
            .iter()
            .position(|table| table.name.as_str() == name)
            .or_else(|| self.tables.iter().position(|table| table.name.get().is_none()))?;
        let table = &mut self.tables[place];
        table.name = Text::new(name);
        Some(table)
    }

    /// The table isn't mirrored any more.
    pub fn forget_table(&mut self, name: &str) {
        if let Some(table) = self.tables.iter_mut().find(|table| table.name.as_str() == name) {
            *table = LiveTable::none();
        }
    }

    /// Seconds that the mirror is behind; None: unknown. Never compares the two servers' clocks
    /// directly.
    pub fn lag_seconds(&self, now: i64) -> Option<f64> {
        if self.caught_up_at == 0 && self.applied_lsn == 0 {
            return None;
        }
        let behind = if self.state != State::Streaming {
            now - self.caught_up_at
        } else if self.pending_since != 0 {
            now - self.clock_offset - self.pending_since
        } else if Lsn(self.source_lsn).is_past(Lsn(self.received_lsn)) || now - self.last_contact > SILENCE {
            now - self.caught_up_at
        } else {
            0
        };
        Some(behind.max(0) as f64 / 1e6)
    }

    pub fn lag_bytes(&self) -> Option<u64> {
        (self.source_lsn > 0).then(|| self.source_lsn.saturating_sub(self.applied_lsn))
    }
}

/// A source that has said nothing for so long (µs) is not taken to be standing still.
const SILENCE: i64 = 5_000_000;

/// Publishes a state; its time is kept when only the words change.
pub fn set_state(state: State, message: &str) {
    let now = now();
    write(|board| {
        if board.state != state || board.since == 0 {
            board.state = state;
            board.since = now;
        }
        board.message = Text::new(message);
    });
}

/// Publishes what a table has to wait for on the source; None: nothing, any more.
pub fn set_waits(table: &str, why: Option<&str>) {
    write(|board| {
        if let Some(live) = board.table(table) {
            live.waits = why.map_or(Text::EMPTY, Text::new);
        }
    });
}

/// Nothing is tried any more, nor waited for.
pub fn forget_waits() {
    write(|board| board.tables.iter_mut().for_each(|table| table.waits = Text::EMPTY));
}

pub fn set_error(error: &Error) {
    let last = last_error(now(), error);
    write(|board| board.error = last);
}

/// As [set_error], of what was being done.
pub fn set_error_of(error: &Error, act: &str) {
    let mut last = last_error(now(), error);
    last.message = Text::new(&format!("{act}: {}", error.message));
    write(|board| board.error = last);
}

pub fn last_error(at: i64, error: &Error) -> LastError {
    LastError {
        at,
        message: Text::new(&error.message),
        detail: Text::new(error.detail.as_deref().unwrap_or_default()),
        hint: Text::new(error.hint.as_deref().unwrap_or_default()),
        sqlstate: Text::new(error.sqlstate.as_deref().unwrap_or_default()),
    }
}

/// With a new slot the old positions mean nothing any more; they may even lie before the source's.
pub fn forget_positions() {
    write(|board| {
        board.source_lsn = 0;
        board.received_lsn = 0;
        board.applied_lsn = 0;
        board.confirmed_lsn = 0;
        board.pending_since = 0;
        board.shown.to = 0;
    });
}

/// What the source says of our slot; None: there is none.
pub fn set_slot(slot: Option<&SlotState>) {
    let now = now();
    write(|board| {
        board.slot_seen_at = now;
        board.slot_retained_bytes = slot.and_then(|slot| slot.retained).unwrap_or(-1);
        board.slot_safe_wal_bytes = slot.and_then(|slot| slot.safe_wal_size).map_or(-1, |bytes| bytes.max(0));
        board.slot_wal_status =
            Text::new(slot.and_then(|slot| slot.wal_status.as_deref()).unwrap_or_default());
    });
}

/// Our clock: µs since 2000-01-01.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}
