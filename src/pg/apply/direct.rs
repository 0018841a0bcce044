//! Writes rows one by one through the executor's functions for replication, as the server's own
//! apply worker does: no statement, no plan, no tuplestore. For tables that are as the mirror makes
//! them; any other goes through statements.

use pgrx::prelude::*;

use super::finder::{Finder, Found};
use super::steps::Work;
use super::target::Target;
use super::together::FEWEST;
use crate::mirror::batch::{Action, Change};
use crate::mirror::stream_table::Standing;
use crate::pg::memory::Inserting;
use crate::wire::Tuple;

impl Work<'_> {
    /// Writes the changes row by row, if the table is one for that.
    pub(super) fn written(&mut self, changes: &[Change]) -> bool {
        let Some(mut direct) = Direct::open(self.target, self.relation) else { return false };
        let of = |action: Action| changes.iter().filter(move |change| change.action == action);
        let loose = self.target.table.standing == Standing::Loose && self.target.table.has_key();
        direct.command(|direct| {
            for change in of(Action::Delete) {
                let found = direct.delete(self.target, self.arena.tuple(change.key));
                self.account(u64::from(found), 1);
            }
        });
        let inserting = self.tells().then(Inserting::begin);
        let inserts = of(Action::Insert).count();
        direct.command(|direct| {
            let rows = of(Action::Insert).map(|change| self.arena.tuple(change.row));
            if loose {
                rows.for_each(|row| {
                    direct.put(self.target, row, false);
                });
            } else if inserts >= FEWEST && direct.inserts_together() {
                direct.insert_together(self.target, rows);
            } else {
                rows.for_each(|row| direct.insert(self.target, row));
            }
        });
        self.applied.applied += inserts as u64;
        drop(inserting);
        direct.command(|direct| {
            for change in changes {
                let row = self.arena.tuple(change.row);
                match change.action {
                    Action::Replace => {
                        direct.put(self.target, row, false);
                        self.applied.applied += 1;
                    }
                    Action::Update { partial } => {
                        let found = direct.put(self.target, row, partial);
                        self.account(u64::from(found), 1);
                    }
                    Action::Insert | Action::Delete | Action::Nothing => {}
                }
            }
        });
        direct.end();
        true
    }
}

/// A table open for writing. Ended by [`end`](Self::end); after an error the abort frees it.
pub(super) struct Direct {
    pub(super) estate: *mut pg_sys::EState,
    pub(super) result: *mut pg_sys::ResultRelInfo,
    pub(super) relation: pg_sys::Relation,
    /// The primary key's index; none for a table without a key.
    key_index: pg_sys::Oid,
    /// Made with the first row that is looked for.
    finder: Option<Finder>,
    /// For one row's values.
    pub(super) row_context: pg_sys::MemoryContext,
    /// A row as it comes, and as it stands here.
    new: *mut pg_sys::TupleTableSlot,
    old: *mut pg_sys::TupleTableSlot,
}

impl Direct {
    /// Opens the target's relation, which must be locked; None: it is not as the mirror makes
    /// tables.
    pub(super) fn open(target: &Target, relation: pg_sys::Relation) -> Option<Direct> {
        let key_index = fitting_key(target, relation)?;
        // SAFETY: in a transaction with a snapshot. All is allocated in the executor state's
        // memory.
        unsafe {
            let estate = pg_sys::CreateExecutorState();
            let before = pg_sys::MemoryContextSwitchTo((*estate).es_query_cxt);
            init_range_table(estate, relation);
            let result: *mut pg_sys::ResultRelInfo = node(pg_sys::NodeTag::T_ResultRelInfo);
            pg_sys::InitResultRelInfo(result, relation, 1, std::ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(result, false);
            // There triggers look for the table that they fire on. One that they don't find they
            // open themselves.
            (*estate).es_opened_result_relations =
                pg_sys::lappend((*estate).es_opened_result_relations, result.cast());
            let row_context = (*pg_sys::MakePerTupleExprContext(estate)).ecxt_per_tuple_memory;
            let descriptor = (*relation).rd_att;
            let new = pg_sys::ExecInitExtraTupleSlot(estate, descriptor, &raw const pg_sys::TTSOpsVirtual);
            let old = pg_sys::table_slot_create(relation, &raw mut (*estate).es_tupleTable);
            pg_sys::MemoryContextSwitchTo(before);
            Some(Direct { estate, result, relation, key_index, finder: None, row_context, new, old })
        }
    }

    /// Runs `write` as one statement: then the triggers fire, and what it wrote shows to what
    /// follows.
    pub(super) fn command(&mut self, write: impl FnOnce(&mut Direct)) {
        // SAFETY: in a transaction, as around any statement.
        unsafe {
            (*self.estate).es_output_cid = pg_sys::GetCurrentCommandId(true);
            pg_sys::AfterTriggerBeginQuery();
            write(self);
            pg_sys::AfterTriggerEndQuery(self.estate);
            pg_sys::CommandCounterIncrement();
        }
    }

    pub(super) fn end(self) {
        // SAFETY: undoes `open`, in the same transaction.
        unsafe {
            if let Some(finder) = self.finder {
                finder.end();
            }
            pg_sys::ExecResetTupleTable((*self.estate).es_tupleTable, false);
            pg_sys::ExecCloseIndices(self.result);
            // The relation itself is the caller's to close; what triggers opened beside it is the
            // executor's.
            (*self.estate).es_opened_result_relations = std::ptr::null_mut();
            pg_sys::ExecCloseResultRelations(self.estate);
            pg_sys::ExecCloseRangeTableRelations(self.estate);
            pg_sys::FreeExecutorState(self.estate);
        }
    }

    pub(super) fn insert(&mut self, target: &mut Target, row: Tuple<'_>) {
        self.with_row(|direct| {
            // SAFETY: the row is the target's, whose relation this is.
            unsafe {
                target.fill_slot(row, direct.new);
                pg_sys::ExecSimpleRelationInsert(direct.result, direct.estate, direct.new);
            }
        });
    }

    /// Puts the row in the place of the one that has its key. False: none has. It is new then,
    /// unless it is only known in part: such a row isn't put anywhere.
    pub(super) fn put(&mut self, target: &mut Target, row: Tuple<'_>, partial: bool) -> bool {
        self.with_row(|direct| {
            // SAFETY: as above; `old` holds the row that was found, pinned and locked.
            unsafe {
                target.fill_slot(row, direct.new);
                let found = direct.find();
                if found {
                    if partial {
                        target.keep_unchanged(row, direct.new, direct.old);
                    }
                    // Looked at only by triggers before the row, which the table hasn't.
                    let mut recheck = pg_sys::EPQState::default();
                    pg_sys::ExecSimpleRelationUpdate(
                        direct.result,
                        direct.estate,
                        &mut recheck,
                        direct.old,
                        direct.new,
                    );
                } else if !partial {
                    pg_sys::ExecSimpleRelationInsert(direct.result, direct.estate, direct.new);
                }
                found
            }
        })
    }

    /// Takes the row with this key away. False: there is none.
    pub(super) fn delete(&mut self, target: &mut Target, key: Tuple<'_>) -> bool {
        self.with_row(|direct| {
            // SAFETY: as above.
            unsafe {
                target.fill_key_slot(key, direct.new);
                let found = direct.find();
                if found {
                    let mut recheck = pg_sys::EPQState::default();
                    pg_sys::ExecSimpleRelationDelete(direct.result, direct.estate, &mut recheck, direct.old);
                }
                found
            }
        })
    }

    /// The row with the key of `new`, to `old`. Nobody but the mirror has a reason to write here,
    /// so it isn't locked: who does so in this very moment makes the batch fail, which is then
    /// tried again.
    unsafe fn find(&mut self) -> bool {
        // SAFETY: the index is the relation's, and the slots have its columns. What a finder needs
        // lives as long as the executor state.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo((*self.estate).es_query_cxt);
            if self.finder.is_none() {
                self.finder = Finder::open(self.result, self.key_index);
            }
            let found = self.finder.as_mut().map(|finder| finder.find(self.new, self.old));
            pg_sys::MemoryContextSwitchTo(before);
            match found {
                Some(Found::Row) => return true,
                Some(Found::Nothing) => return false,
                Some(Found::InFlux) | None => {}
            }
            // As the server's own apply worker does: waits, looks again, and locks.
            pg_sys::RelationFindReplTupleByIndex(
                self.relation,
                self.key_index,
                pg_sys::LockTupleMode::LockTupleExclusive,
                self.new,
                self.old,
            )
        }
    }

    /// Runs `write` in the row's own memory.
    fn with_row<T>(&mut self, write: impl FnOnce(&mut Direct) -> T) -> T {
        pgrx::check_for_interrupts!();
        // SAFETY: the slots are cleared before the memory that they point into.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo(self.row_context);
            let written = write(self);
            pg_sys::MemoryContextSwitchTo(before);
            pg_sys::ExecClearTuple(self.new);
            pg_sys::ExecClearTuple(self.old);
            pg_sys::MemoryContextReset(self.row_context);
            written
        }
    }
}

/// The index by which rows are found (none for a table without a key), if the table is one that
/// needs nothing but rows written: each of its columns comes with the stream, its primary key is
/// the key that the stream goes by, and triggers, if any, fire after a row.
fn fitting_key(target: &Target, relation: pg_sys::Relation) -> Option<pg_sys::Oid> {
    // SAFETY: the relation is open; the bitmaps are copies.
    unsafe {
        let form = (*relation).rd_rel;
        let plain = (*form).relkind == pg_sys::RELKIND_RELATION as std::ffi::c_char
            && !(*form).relispartition
            && !(*form).relhassubclass
            && !(*form).relhasrules;
        if !plain || !target.fills_every_column() || !triggers_after_rows_only((*relation).trigdesc) {
            return None;
        }
        let Some(key) = target.key_columns() else { return Some(pg_sys::InvalidOid) };
        #[cfg(not(feature = "pg18"))]
        let index = pg_sys::RelationGetPrimaryKeyIndex(relation);
        #[cfg(feature = "pg18")]
        let index = pg_sys::RelationGetPrimaryKeyIndex(relation, false);
        let kind = pg_sys::IndexAttrBitmapKind::INDEX_ATTR_BITMAP_PRIMARY_KEY;
        let indexed = pg_sys::RelationGetIndexAttrBitmap(relation, kind);
        let columns = columns(key);
        let same = pg_sys::bms_equal(indexed, columns);
        pg_sys::bms_free(indexed);
        pg_sys::bms_free(columns);
        // The lookup asks for whole equal rows when rows are told apart here by another index.
        let identity = pg_sys::RelationGetReplicaIndex(relation);
        let identifies = identity == pg_sys::InvalidOid || identity == index;
        (same && identifies && index != pg_sys::InvalidOid).then_some(index)
    }
}

unsafe fn triggers_after_rows_only(triggers: *const pg_sys::TriggerDesc) -> bool {
    // SAFETY: null, or the open relation's.
    let Some(triggers) = (unsafe { triggers.as_ref() }) else { return true };
    let others = [
        triggers.trig_insert_before_row,
        triggers.trig_insert_before_statement,
        triggers.trig_insert_after_statement,
        triggers.trig_insert_new_table,
        triggers.trig_update_before_row,
        triggers.trig_update_before_statement,
        triggers.trig_update_after_statement,
        triggers.trig_update_old_table,
        triggers.trig_update_new_table,
        triggers.trig_delete_before_row,
        triggers.trig_delete_before_statement,
        triggers.trig_delete_after_statement,
        triggers.trig_delete_old_table,
    ];
    !others.contains(&true)
}

/// The columns at these positions, as the executor numbers them in sets.
unsafe fn columns(positions: impl Iterator<Item = usize>) -> *mut pg_sys::Bitmapset {
    positions.fold(std::ptr::null_mut(), |set, position| {
        let number = position as i32 + 1 - pg_sys::FirstLowInvalidHeapAttributeNumber;
        // SAFETY: the set is ours.
        unsafe { pg_sys::bms_add_member(set, number) }
    })
}

/// Tells the executor which table its one result relation is, and that all of its columns are
/// written.
unsafe fn init_range_table(estate: *mut pg_sys::EState, relation: pg_sys::Relation) {
    // SAFETY: in the executor state's memory; the nodes are whole.
    unsafe {
        let entry: *mut pg_sys::RangeTblEntry = node(pg_sys::NodeTag::T_RangeTblEntry);
        (*entry).rtekind = pg_sys::RTEKind::RTE_RELATION;
        (*entry).relid = (*relation).rd_id;
        (*entry).relkind = (*(*relation).rd_rel).relkind;
        (*entry).rellockmode = pg_sys::RowExclusiveLock as i32;
        let written = columns(0..(*(*relation).rd_att).natts as usize);
        let entries = pg_sys::lappend(std::ptr::null_mut(), entry.cast());
        #[cfg(feature = "pg15")]
        {
            (*entry).updatedCols = written;
            pg_sys::ExecInitRangeTable(estate, entries);
        }
        #[cfg(not(feature = "pg15"))]
        {
            let mut permissions = std::ptr::null_mut();
            let permission = pg_sys::addRTEPermissionInfo(&mut permissions, entry);
            (*permission).updatedCols = written;
            #[cfg(not(feature = "pg18"))]
            pg_sys::ExecInitRangeTable(estate, entries, permissions);
            #[cfg(feature = "pg18")]
            pg_sys::ExecInitRangeTable(estate, entries, permissions, pg_sys::bms_make_singleton(1));
        }
    }
}

unsafe fn node<T>(tag: pg_sys::NodeTag) -> *mut T {
    // SAFETY: every node begins with its tag, and zeroes are its empty state.
    unsafe {
        let node = pg_sys::palloc0(std::mem::size_of::<T>());
        node.cast::<pg_sys::NodeTag>().write(tag);
        node.cast()
    }
}
