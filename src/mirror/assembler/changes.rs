//! What a change of rows becomes: judged by its key, and by its old one where it moves, then put to
//! the table's part of the batch.

use super::{Assembler, Fed, StreamError};
use crate::mirror::batch::{Step, Truncated};
use crate::mirror::fence::Touch;
use crate::mirror::fold::{Key, OpenTable, merge_into, merge_key_into};
use crate::mirror::stream_table::{Judgement, Standing};
use crate::wire::{Old, Tuple};

impl Assembler {
    pub(super) fn insert(&mut self, oid: u32, new: Tuple<'_>) -> Result<Fed, StreamError> {
        let Some((part, xid)) = self.part_of(oid, "an insert")? else { return Ok(Fed::Change) };
        let open = &mut self.open[part];
        open.batch.tally.inserts += 1;
        open.batch.tally.inserted_bytes += self.message_bytes;
        self.tells |= open.batch.table.told;
        self.new_key.read(&open.batch.layout, new)?;
        open.record(&mut self.batch.arena, &self.new_key, xid, Touch::Whole);
        if judged(open, &self.new_key, xid) {
            open.insert(&mut self.batch.arena, &self.new_key, new);
        }
        Ok(Fed::Change)
    }

    pub(super) fn delete(&mut self, oid: u32, old: Old<'_>) -> Result<Fed, StreamError> {
        let Some((part, xid)) = self.part_of(oid, "a delete")? else { return Ok(Fed::Change) };
        let open = &mut self.open[part];
        open.batch.tally.deletes += 1;
        open.batch.tally.deleted_bytes += self.message_bytes;
        let (Old::Key(row) | Old::Row(row)) = old;
        self.old_key.read(&open.batch.layout, row)?;
        open.record(&mut self.batch.arena, &self.old_key, xid, Touch::Whole);
        if judged(open, &self.old_key, xid) {
            match old {
                _ if open.batch.table.has_key() => open.delete(&mut self.batch.arena, &self.old_key),
                Old::Row(old) => open.whole(&mut self.batch.arena, old, None),
                Old::Key(_) if open.batch.layout.identifies => self.misfit_in(part, ANOTHER_IDENTITY),
                Old::Key(_) => open.batch.tally.filtered += 1,
            }
        }
        Ok(Fed::Change)
    }

    pub(super) fn update(
        &mut self,
        oid: u32,
        old: Option<Old<'_>>,
        new: Tuple<'_>,
    ) -> Result<Fed, StreamError> {
        let Some((part, xid)) = self.part_of(oid, "an update")? else { return Ok(Fed::Change) };
        let open = &mut self.open[part];
        let arena = &mut self.batch.arena;
        open.batch.tally.updates += 1;
        open.batch.tally.updated_bytes += self.message_bytes;
        // A whole old row holds all that the new one leaves out; an old key, a key too long to be
        // sent twice.
        self.filled.clear();
        let new = match old {
            Some(old) if new.has_unchanged() => {
                match old {
                    Old::Row(old) => merge_into(&mut self.filled, old, new)?,
                    Old::Key(old) => merge_key_into(&mut self.filled, old, new, &open.batch.layout.key)?,
                }
                Tuple::from_validated(&self.filled)
            }
            _ => new,
        };
        self.new_key.read(&open.batch.layout, new)?;
        let touch = if new.has_unchanged() { Touch::Part } else { Touch::Whole };
        if !open.batch.table.has_key() {
            open.record(arena, &self.new_key, xid, touch);
            if judged(open, &self.new_key, xid) {
                match old {
                    Some(Old::Row(old)) => open.whole(arena, old, Some(new)),
                    _ if open.batch.layout.identifies => self.misfit_in(part, ANOTHER_IDENTITY),
                    // Its leaves know the row, and the root doesn't: only inserts are followed.
                    Some(Old::Key(_)) | None => open.batch.tally.filtered += 1,
                }
            }
            return Ok(Fed::Change);
        }
        // An old key alone does not mean a change: one stored out of line is sent beside an equal
        // one.
        let moved = match old {
            Some(Old::Key(old) | Old::Row(old)) => {
                self.old_key.read(&open.batch.layout, old)?;
                self.old_key.bytes() != self.new_key.bytes()
            }
            None => false,
        };
        if moved {
            open.record_move(arena, &self.old_key, &self.new_key, xid, touch);
        } else {
            open.record(arena, &self.new_key, xid, touch);
        }
        if !moved {
            if judged(open, &self.new_key, xid) {
                open.update(arena, &self.new_key, new)?;
            }
            return Ok(Fed::Change);
        }
        let table = &open.batch.table;
        match (table.judge(self.old_key.first(), xid), table.judge(self.new_key.first(), xid)) {
            (Judgement::Apply, Judgement::Apply) => open.rekey(arena, &self.old_key, &self.new_key, new)?,
            (Judgement::Apply, _) => open.delete(arena, &self.old_key),
            (_, Judgement::Apply) if !new.has_unchanged() => open.insert(arena, &self.new_key, new),
            // The missing values stood under the old key, whose range was read after the row had
            // left it: they are nowhere here, and the old key may hold another row by now.
            (_, Judgement::Apply) => {
                let range = table.range_of(self.new_key.first());
                open.batch.tally.skipped += 1;
                if let Some(range) = range {
                    self.copy_again(part, range);
                }
            }
            (Judgement::Filter, _) | (_, Judgement::Filter) => open.batch.tally.filtered += 1,
            (Judgement::Skip, Judgement::Skip) => open.batch.tally.skipped += 1,
        }
        Ok(Fed::Change)
    }

    pub(super) fn truncate(&mut self, oid: u32) -> Result<(), StreamError> {
        let Some((part, xid)) = self.part_of(oid, "a truncate")? else { return Ok(()) };
        let open = &mut self.open[part];
        open.batch.tally.truncates += 1;
        open.record_all(xid);
        let truncated = match &open.batch.table.standing {
            Standing::Ready | Standing::Loose => Some(Truncated::All),
            Standing::Filtered => None,
            Standing::Judged(ranges) => {
                let blind: Vec<usize> =
                    (0..ranges.len()).filter(|range| !ranges[*range].holds(xid)).collect();
                if blind.len() == ranges.len() {
                    Some(Truncated::All)
                } else if blind.is_empty() {
                    None
                } else {
                    Some(Truncated::Ranges(blind))
                }
            }
        };
        match truncated {
            Some(truncated) => open.step(Step::Truncate(truncated)),
            None => open.batch.tally.skipped += 1,
        }
        Ok(())
    }
}

/// Whether the event is to be applied; counted where it goes otherwise.
fn judged(open: &mut OpenTable, key: &Key, xid: u64) -> bool {
    match open.batch.table.judge(key.first(), xid) {
        Judgement::Apply => return true,
        Judgement::Skip => open.batch.tally.skipped += 1,
        Judgement::Filter => open.batch.tally.filtered += 1,
    }
    false
}

const ANOTHER_IDENTITY: &str = "the source changed the table's key or replica identity";
