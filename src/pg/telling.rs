//! What following the stream tells: to the source, what is on disk here; to the mirror's own tables
//! and to the board, where it stands.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::apply::Care;
use super::applying::hold_extension;
use super::follow::Following;
use super::{board, looks, origin, progress, transaction};
use crate::error::Error;
use crate::wire::Lsn;

impl Following<'_> {
    /// Tells the source what is on disk here.
    pub(super) fn confirm(&mut self) {
        if self.unflushed.is_empty() {
            return;
        }
        let flushed = origin::flushed();
        let mut confirmed = None;
        while let Some((local, position)) = self.unflushed.front().copied() {
            if local > flushed {
                break;
            }
            self.unflushed.pop_front();
            confirmed = Some(position);
        }
        if let Some(position) = confirmed {
            self.network.link().gauges.confirm(position);
            board::write(|board| board.confirmed_lsn = position.0);
        }
    }

    /// Writes position and counters down; so an idle source's position moves the origin too, and is
    /// confirmed.
    pub(super) fn note(&mut self) -> Result<(), Error> {
        self.last_note = Instant::now();
        let applied = self.applied;
        transaction::transaction(|| {
            hold_extension()?;
            progress::note(applied, &self.progress)?;
            self.counting.write_down()?;
            origin::move_with_commit(applied, 0);
            Ok(())
        })?;
        self.noted = applied;
        self.counting.unwritten = false;
        self.unflushed.push_back((origin::last_commit_end(), applied));
        if self.began.elapsed() > Duration::from_secs(60) {
            self.care = Care::None;
        }
        Ok(())
    }

    /// Puts the state of things on the board.
    pub(super) fn publish(&mut self) {
        let gauges = &self.network.link().gauges;
        let (received, source) = (gauges.received(), gauges.source());
        let heard = gauges.heard.load(Ordering::Relaxed);
        let clock = gauges.source_clock.load(Ordering::Relaxed);
        let caught_up = !self.open && !source.is_past(self.applied) && source > Lsn::ZERO;
        let held_up = gauges.held_up();
        looks::held_up(held_up.as_deref());
        let (applied, progress) = (self.applied, &self.progress);
        board::write(|board| {
            board.applied_lsn = applied.0;
            board.received_lsn = received.0.max(applied.0);
            board.source_lsn = board.source_lsn.max(source.0).max(applied.0);
            board.last_contact = heard;
            if heard != 0 {
                board.clock_offset = heard - clock;
            }
            if caught_up && heard != 0 {
                // As of what the source last said: a silent one proves nothing about now.
                board.caught_up_at = heard;
                board.pending_since = 0;
            }
            board.transactions = progress.transactions;
            board.batches = progress.batches;
            board.received_bytes = progress.received_bytes;
            board.reconnects = progress.reconnects;
            board.timings = progress.timings;
        });
    }
}
