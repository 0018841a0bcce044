//! Applies a batch of the stream and commits at its end: tries again where something was in the
//! way, and notes what it showed of its tables.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::apply::{Applied, Care};
use super::board::{self, State};
use super::follow::Following;
use super::wanted::still_wanted;
use super::{drifting, endpoint, memory, origin, quarantine, registry, transaction, wait};
use crate::error::{Error, Verdict};
use crate::mirror::batch::{Batch, Unfit};
use crate::mirror::table_state::Failure;

impl Following<'_> {
    pub(super) fn batch(&mut self, batch: &Batch) -> Result<(), Error> {
        wait::end_politely(false);
        if let Some(oldest) = batch.oldest_commit {
            board::write(|board| board.pending_since = oldest);
        }
        let mut care = self.care;
        let mut waited = false;
        // Parts of a long transaction that are applied already go with an abort: the stream must
        // bring them again.
        let whole = !self.open;
        loop {
            let Err(error) = self.try_batch(batch, care) else {
                if waited {
                    board::set_state(State::Streaming, "");
                }
                return batch.unfit.as_ref().map_or(Ok(()), |unfit| self.meet(batch, unfit, whole));
            };
            waited = true;
            transaction::abort();
            if self.network.link().has_ended() {
                // What the batch asks for will never be answered.
                return Err(error);
            }
            self.applier.forget();
            self.counting.forget_tallied();
            memory::forget();
            self.open = false;
            self.changed = false;
            self.set_aside = false;
            if let Ok(held) = transaction::transaction(quarantine::held) {
                self.applier.hold(held);
            }
            // It comes again, as a whole: what is to be said of it is said then.
            if !whole && self.network.rewind() {
                self.network.link().hungry();
                return Ok(());
            }
            still_wanted(self.settings)?;
            if error.verdict == Verdict::Retry && whole {
                board::set_state(State::Streaming, &format!("applying again: {error}"));
                board::set_error(&error);
                endpoint::tend_between_transactions();
                if let Some(why) = self.network.link().gauges.slot_given_up.get() {
                    return Err(Error::gate(why.clone()).hint(error.message));
                }
                wait::wait(LOCKED_OUT);
            } else if error.verdict == Verdict::Retry || care == Care::EachTable {
                return Err(error);
            } else if whole {
                care = Care::EachTable;
            } else {
                CAREFUL.store(true, Ordering::Relaxed);
                return Err(Error::retry(error.message.clone()).hint(error.hint.clone().unwrap_or_default()));
            }
        }
    }

    fn try_batch(&mut self, batch: &Batch, care: Care) -> Result<(), Error> {
        let begins = !self.open;
        if begins {
            self.begin()?;
        }
        let results = transaction::attempt(|| self.applier.apply(batch, care))
            .map_err(|error| self.applier.about(error))?;
        self.changed |= transaction::attempt(|| self.settle(batch, &results))?;
        self.counting.tally(batch, &results);
        self.network.link().hungry();
        let Some(boundary) = batch.boundary else { return Ok(()) };
        transaction::attempt(memory::tell)?;
        if std::mem::take(&mut self.set_aside) {
            transaction::attempt(|| quarantine::stamp(boundary))?;
        }
        transaction::attempt(|| {
            origin::move_with_commit(boundary.end, boundary.commit_time);
            transaction::commit();
            Ok(())
        })?;
        self.open = false;
        self.unflushed.push_back((origin::last_commit_end(), boundary.end));
        self.applied = boundary.end;
        self.noted = boundary.end;
        let took = self.opened.take().map_or(Duration::ZERO, |opened| opened.elapsed());
        self.counting.committed(&mut self.progress, took);
        self.publish();
        if std::mem::take(&mut self.changed) {
            self.tables = transaction::transaction(registry::tables)?;
        }
        Ok(())
    }

    /// Begins the local transaction that a source transaction is applied in.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        transaction::begin();
        self.open = true;
        self.opened = Some(Instant::now());
        transaction::attempt(hold_extension)
    }

    /// The stream stands after the batch, before a change that doesn't fit its table. `began`: with
    /// this batch the local transaction began.
    fn meet(&mut self, batch: &Batch, unfit: &Unfit, began: bool) -> Result<(), Error> {
        let fresh = !self.open || began && batch.tables.is_empty();
        if !self.open {
            self.begin()?;
        }
        drifting::meet(self, unfit, fresh)
    }

    /// Notes what the batch showed of its tables, in its transaction. True: some table changed its
    /// state.
    fn settle(&mut self, batch: &Batch, results: &[Applied]) -> Result<bool, Error> {
        let mut changed = false;
        self.reconciling.note_batch(&mut self.applier, batch)?;
        for (part, result) in batch.tables.iter().zip(results) {
            let name = &part.table.name;
            if let Some(reason) = &result.misfit {
                registry::drifted(name, reason)?;
                changed = true;
            }
            if let Some(error) = &result.refused {
                let failure = Failure::of_refusal(error.sqlstate.as_deref());
                let hint = error.hint.clone().unwrap_or_else(|| failure.hint(name));
                registry::fail(name, failure, &quarantine::reason(error), &hint)?;
                changed = true;
            }
            if !result.verdicts.is_empty() {
                quarantine::note(name, &result.verdicts, quarantine::Source::Stream)?;
                self.reconciling.refused(name, &result.verdicts);
                self.set_aside = true;
            }
            for range in &result.copy_again {
                if let Some(table) = self.tables.iter().find(|table| table.name == *name)
                    && let Some(range) = table.ranges.get(*range)
                {
                    registry::copy_again(name, range.ordinal)?;
                    changed = true;
                }
            }
            if result.missing > 0 {
                const WHY: &str = "rows that the source changed were missing here";
                match part.table.has_key() {
                    true => registry::reconcile(name, WHY)?,
                    false => registry::copy_all_again(name, WHY)?,
                }
                changed = true;
            }
        }
        Ok(changed)
    }
}

/// Between two tries of a batch that met a lock.
const LOCKED_OUT: Duration = Duration::from_millis(200);

/// The last life ended with a batch that was refused in the middle of a transaction.
static CAREFUL: AtomicBool = AtomicBool::new(false);

/// How the first batch of a life is applied.
pub(super) fn first_care() -> Care {
    if CAREFUL.swap(false, Ordering::Relaxed) { Care::EachTable } else { Care::None }
}

/// Holds the extension's tables until the transaction ends, so that DROP EXTENSION waits for it,
/// and fails when they are gone.
pub(super) fn hold_extension() -> Result<(), Error> {
    let gone = || Error::retry("the extension was dropped");
    // SAFETY: syscache lookups and a lock, in a transaction.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"odoo_mirror_internal".as_ptr(), true);
        if schema == pg_sys::InvalidOid {
            return Err(gone());
        }
        let table = pg_sys::get_relname_relid(c"tables".as_ptr(), schema);
        if table == pg_sys::InvalidOid {
            return Err(gone());
        }
        pg_sys::LockRelationOid(table, pg_sys::AccessShareLock as i32);
        if pg_sys::get_rel_name(table).is_null() { Err(gone()) } else { Ok(()) }
    }
}
