//! Inserts many rows together, as COPY does: those that come to one page of the table are one
//! record of the WAL.

use pgrx::prelude::*;

use super::direct::Direct;
use super::target::Target;
use crate::wire::Tuple;

/// From so many on it is worth the slots.
pub(super) const FEWEST: usize = 4;

/// Most rows that are held back for it, and most bytes of theirs.
const MOST: usize = 100;
const MOST_BYTES: usize = 64 * 1024;

impl Direct {
    /// Whether rows can be inserted together: nothing is to be called after each, and the table's
    /// files are heap's. Pages of heap in the files of another access method would be its ruin.
    pub(super) fn inserts_together(&self) -> bool {
        // SAFETY: the open relation's; its triggers are null where there are none.
        let (method, triggers) =
            unsafe { ((*(*self.relation).rd_rel).relam, (*self.relation).trigdesc.as_ref()) };
        let heap = method == pg_sys::HEAP_TABLE_AM_OID;
        heap && triggers.is_none_or(|triggers| !triggers.trig_insert_after_row)
    }

    /// As [`insert`](Self::insert), for each of the rows.
    pub(super) fn insert_together<'a>(&mut self, target: &mut Target, rows: impl Iterator<Item = Tuple<'a>>) {
        let (mut slots, mut held, mut bytes) = (Vec::new(), 0, 0);
        for row in rows {
            pgrx::check_for_interrupts!();
            // SAFETY: slots of the relation's own kind, in the executor state's memory; one keeps
            // its row itself, so that the values that it was made of can go.
            unsafe {
                if held == slots.len() {
                    let before = pg_sys::MemoryContextSwitchTo((*self.estate).es_query_cxt);
                    slots.push(pg_sys::table_slot_create(
                        self.relation,
                        &raw mut (*self.estate).es_tupleTable,
                    ));
                    pg_sys::MemoryContextSwitchTo(before);
                }
                let before = pg_sys::MemoryContextSwitchTo(self.row_context);
                target.fill_slot(row, slots[held]);
                if !(*(*self.relation).rd_att).constr.is_null() {
                    pg_sys::ExecConstraints(self.result, slots[held], self.estate);
                }
                if let Some(materialize) = (*(*slots[held]).tts_ops).materialize {
                    materialize(slots[held]);
                }
                pg_sys::MemoryContextSwitchTo(before);
                pg_sys::MemoryContextReset(self.row_context);
            }
            held += 1;
            bytes += row.as_bytes().len();
            if held == MOST || bytes >= MOST_BYTES {
                self.write_together(&mut slots[..held]);
                (held, bytes) = (0, 0);
            }
        }
        self.write_together(&mut slots[..held]);
    }

    fn write_together(&mut self, slots: &mut [*mut pg_sys::TupleTableSlot]) {
        if slots.is_empty() {
            return;
        }
        // SAFETY: each slot holds a row; the table first gives each its place, which the indexes
        // then note.
        unsafe {
            let command = pg_sys::GetCurrentCommandId(true);
            let before = pg_sys::MemoryContextSwitchTo(self.row_context);
            let count = slots.len() as i32;
            pg_sys::heap_multi_insert(
                self.relation,
                slots.as_mut_ptr(),
                count,
                command,
                0,
                std::ptr::null_mut(),
            );
            pg_sys::MemoryContextReset(self.row_context);
            for slot in slots {
                if (*self.result).ri_NumIndices > 0 {
                    index(self.result, *slot, self.estate);
                }
                pg_sys::ExecClearTuple(*slot);
                pg_sys::MemoryContextReset(self.row_context);
            }
            pg_sys::MemoryContextSwitchTo(before);
        }
    }
}

unsafe fn index(
    result: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    estate: *mut pg_sys::EState,
) {
    let (no_conflict, no_arbiters) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: a row that has its place, in an open table.
    unsafe {
        #[cfg(feature = "pg15")]
        pg_sys::ExecInsertIndexTuples(result, slot, estate, false, false, no_conflict, no_arbiters);
        #[cfg(not(feature = "pg15"))]
        pg_sys::ExecInsertIndexTuples(result, slot, estate, false, false, no_conflict, no_arbiters, false);
    }
}
