//! What the looks at the source tell of themselves: a mirror that can't see its source says so,
//! while its stream goes on.
//!
//! On the board, written as the looks come, whatever the main thread is waiting for.

use super::board::{self, Text};
use crate::error::Error;
use crate::source::slot::{STANDBYS_HINT, SlotState};
use crate::source::watch::LookFailed;

/// Times are ours, µs since 2000-01-01; 0: never.
#[derive(Clone, Copy)]
pub struct Looks {
    /// When the source was last looked at: what it publishes, its tables, our slot.
    pub succeeded_at: i64,
    /// Since when every look fails; 0: the last one succeeded.
    pub failing_since: i64,
    pub why: Text<1000>,
    pub hint: Text<1000>,
    /// The slot can't be looked at either: `odoo_mirror.give_up_slot_at` isn't kept.
    pub slot_unseen: bool,
    /// What keeps the source from streaming what it has; empty: nothing that is known.
    pub held_up: Text<1000>,
    /// How many failed since the server started.
    pub failed: u64,
}

impl Looks {
    pub const NONE: Looks = Looks {
        succeeded_at: 0,
        failing_since: 0,
        why: Text::EMPTY,
        hint: Text::EMPTY,
        slot_unseen: false,
        held_up: Text::EMPTY,
        failed: 0,
    };

    /// As clauses.
    pub fn complaints(&self) -> impl Iterator<Item = String> {
        let why = self.why.get().filter(|_| self.failing_since != 0);
        let unseen = why.map(|why| {
            format!("the source can't be looked at, so that what it does to its tables goes unnoticed: {why}")
        });
        unseen.into_iter().chain(self.held_up.get().map(str::to_owned))
    }
}

/// A look at the source succeeded.
pub fn succeeded(slot: Option<&SlotState>) {
    board::set_slot(slot);
    let now = board::now();
    board::write(|board| {
        let Looks { held_up, failed, .. } = board.looks;
        board.looks = Looks { succeeded_at: now, held_up, failed, ..Looks::NONE };
    });
}

/// A look at the source failed. What the stream brings is applied; what it doesn't tell goes
/// unnoticed.
pub fn failed(look: &LookFailed) {
    let (now, error) = (board::now(), &look.error);
    board::write(|board| {
        let looks = &mut board.looks;
        looks.failed += 1;
        if looks.failing_since == 0 {
            looks.failing_since = now;
        }
        looks.why = Text::new(&error.message);
        looks.hint = Text::new(error.hint.as_deref().unwrap_or_default());
        looks.slot_unseen = look.slot_unseen;
        board.error = board::last_error(now, error);
        board.error.message = Text::new(&format!("the source can't be looked at: {}", error.message));
    });
}

/// What keeps the source from streaming what it has; None: nothing that is known.
pub fn held_up(why: Option<&str>) {
    let said = board::read(|board| board.looks.held_up.get() == why).unwrap_or(true);
    if said {
        return;
    }
    board::write(|board| board.looks.held_up = Text::new(why.unwrap_or_default()));
    if let Some(why) = why {
        board::set_error(&Error::retry(why).hint(STANDBYS_HINT));
    }
}

/// A life begins or ends: what its looks met counts no more.
pub fn begin() {
    board::write(|board| {
        let Looks { succeeded_at, failed, .. } = board.looks;
        board.looks = Looks { succeeded_at, failed, ..Looks::NONE };
    });
}
