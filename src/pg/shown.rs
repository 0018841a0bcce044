//! Up to which of the source's positions readers see all that happened, in every table that claims
//! to show it: for wait_for(). The stream doesn't tell that a table was rewritten there; only a
//! look at the source's catalog does.
//!
//! A reader asks on the board, the worker has the source looked at, and tells on the board how far
//! that proves the tables.

use std::time::{Duration, Instant};

use super::board;
use super::follow::Following;
use super::registry::{self, Table};
use super::transaction;
use crate::error::Error;
use crate::mirror::drift;
use crate::mirror::source_table::SourceTable;
use crate::mirror::table_state::TableState;
use crate::source::link::Request;
use crate::wire::Lsn;

/// On the board.
#[derive(Clone, Copy)]
pub struct Shown {
    /// A look that began here found no table that says `ready` and isn't, by the source's catalog.
    pub to: u64,
    /// The newest position that a reader waits for, and when it last said so (ours, µs since
    /// 2000-01-01).
    asked: u64,
    asked_at: i64,
    /// Another number for each time that somebody asked.
    pub asks: u64,
}

impl Shown {
    pub const NOTHING: Shown = Shown { to: 0, asked: 0, asked_at: 0, asks: 0 };
}

/// A reader that doesn't say so again within this time (µs) waits no more.
const WAITS: i64 = 1_000_000;

/// A look that doesn't come is asked for again.
const LOOK_TAKES: Duration = Duration::from_secs(1);

/// Before the next look or proof, when the last one wasn't enough.
const AGAIN: Duration = Duration::from_millis(100);

/// A reader waits for this position. Said again and again while it does.
pub fn ask(position: Lsn) {
    let now = board::now();
    board::write(|board| {
        let shown = &mut board.shown;
        let others_wait = now - shown.asked_at < WAITS;
        shown.asked = if others_wait { shown.asked.max(position.0) } else { position.0 };
        shown.asked_at = now;
        shown.asks += 1;
    });
}

/// How often somebody asked.
pub fn asks() -> u64 {
    board::read(|board| board.shown.asks).unwrap_or(0)
}

/// The part of following the stream that proves what is shown.
#[derive(Default)]
pub(super) struct Proving {
    /// Where the newest look began that found nothing to be done.
    looked_to: Lsn,
    not_before: Option<Instant>,
}

/// What a look that began at `position` found.
pub(super) fn looked(following: &mut Following<'_>, published: &[SourceTable], position: Lsn) {
    let clean = is_clean(following, published);
    let proving = &mut following.proving;
    if clean {
        proving.looked_to = proving.looked_to.max(position.as_end_position());
    }
    proving.not_before = Some(Instant::now() + AGAIN).filter(|_| !clean);
}

/// Whether every table that says what the source shows is there as it was when the mirror was made
/// from it, and nothing that was noticed is left to be done.
fn is_clean(following: &Following<'_>, published: &[SourceTable]) -> bool {
    let same = |table: &Table| {
        let now =
            published.iter().find(|now| now.oid == table.source.oid && now.schema == table.source.schema);
        now.is_some_and(|now| now.name == table.source.name && !drift::differs(&table.source, now))
    };
    let claims = |table: &&Table| table.state == TableState::Ready;
    !following.drifting.has_noticed() && following.tables.iter().filter(claims).all(same)
}

/// Has the source looked at for a reader that waits, once the stream has come so far.
pub(super) fn tend(following: &mut Following<'_>) {
    let now = board::now();
    let Some(shown) = board::read(|board| board.shown) else { return };
    let waits = shown.asked > shown.to && now - shown.asked_at < WAITS && following.applied.0 >= shown.asked;
    if !waits || following.proving.not_before.is_some_and(|at| Instant::now() < at) {
        return;
    }
    if following.proving.looked_to.0 >= shown.asked {
        // Something else was still to be done.
        following.proving.not_before = Some(Instant::now() + AGAIN);
        following.look_again();
    } else {
        following.proving.not_before = Some(Instant::now() + LOOK_TAKES);
        following.network.ask(Request::LookNow);
    }
}

/// Tells how far the tables are proven, when nothing is left to be done about them.
pub(super) fn publish(following: &Following<'_>) -> Result<(), Error> {
    let to = following.proving.looked_to.0;
    let behind = board::read(|board| board.shown.to < to).unwrap_or(false);
    if behind && !transaction::transaction(registry::ready_ones_are_suspect)? {
        board::write(|board| board.shown.to = board.shown.to.max(to));
    }
    Ok(())
}
