//! Finds rows by their key, one after the other, over one scan of the key's index: to begin one for
//! each row, and to lock what it finds, costs more than to find it.

use pgrx::prelude::*;

/// A scan that goes from key to key. Ended by [`end`](Self::end); after an error the abort frees
/// it.
pub(super) struct Finder {
    scan: pg_sys::IndexScanDesc,
    /// Shows what this transaction wrote, also in the statement at hand, and tells of others that
    /// are still under way.
    snapshot: *mut pg_sys::SnapshotData,
    keys: Vec<pg_sys::ScanKeyData>,
    /// Where in a row each column of the key stands.
    places: Vec<usize>,
}

/// What was found under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Row,
    Nothing,
    /// Somebody else is writing it at this moment, and may yet give that up.
    InFlux,
}

impl Finder {
    /// Over one of the open indexes of `result`, a unique one of plain columns. What a scan keeps
    /// from row to row it allocates in the current memory context, also in [`find`](Self::find):
    /// both need one that lives as long as the finder.
    pub(super) unsafe fn open(result: *mut pg_sys::ResultRelInfo, index: pg_sys::Oid) -> Option<Finder> {
        // SAFETY: the relation and its indexes are open, and stay so until the finder is ended.
        unsafe {
            let count = (*result).ri_NumIndices as usize;
            let place = (0..count).find(|place| {
                let relation = *(*result).ri_IndexRelationDescs.add(*place);
                (*relation).rd_id == index
            })?;
            let relation = *(*result).ri_IndexRelationDescs.add(place);
            let described = *(*result).ri_IndexRelationInfo.add(place);
            let (mut keys, mut places) = (Vec::new(), Vec::new());
            for column in 0..(*described).ii_NumIndexKeyAttrs as usize {
                let (key, place) = scan_key(relation, described, column)?;
                keys.push(key);
                places.push(place);
            }
            let snapshot = pg_sys::palloc0(size_of::<pg_sys::SnapshotData>()).cast::<pg_sys::SnapshotData>();
            (*snapshot).snapshot_type = pg_sys::SnapshotType::SNAPSHOT_DIRTY;
            let (table, keys_in_it) = ((*result).ri_RelationDesc, keys.len() as i32);
            #[cfg(not(feature = "pg18"))]
            let scan = pg_sys::index_beginscan(table, relation, snapshot, keys_in_it, 0);
            #[cfg(feature = "pg18")]
            let scan =
                pg_sys::index_beginscan(table, relation, snapshot, std::ptr::null_mut(), keys_in_it, 0);
            Some(Finder { scan, snapshot, keys, places })
        }
    }

    /// The row with the key of `like`, to `found`: pinned until the next one is looked for, and not
    /// locked.
    pub(super) unsafe fn find(
        &mut self,
        like: *mut pg_sys::TupleTableSlot,
        found: *mut pg_sys::TupleTableSlot,
    ) -> Found {
        // SAFETY: `like` holds a whole row, `found` is a slot of the table's own kind.
        unsafe {
            for (key, place) in self.keys.iter_mut().zip(&self.places) {
                if *(*like).tts_isnull.add(*place) {
                    return Found::Nothing;
                }
                key.sk_argument = *(*like).tts_values.add(*place);
            }
            // Each row that is looked at says anew who is under way; where there is none, nobody
            // may be left from before.
            (*self.snapshot).xmin = pg_sys::InvalidTransactionId;
            (*self.snapshot).xmax = pg_sys::InvalidTransactionId;
            let count = self.keys.len() as i32;
            pg_sys::index_rescan(self.scan, self.keys.as_mut_ptr(), count, std::ptr::null_mut(), 0);
            let is_there =
                pg_sys::index_getnext_slot(self.scan, pg_sys::ScanDirection::ForwardScanDirection, found);
            let settled = (*self.snapshot).xmin == pg_sys::InvalidTransactionId
                && (*self.snapshot).xmax == pg_sys::InvalidTransactionId;
            match (settled, is_there) {
                (false, _) => Found::InFlux,
                (true, true) => Found::Row,
                (true, false) => Found::Nothing,
            }
        }
    }

    pub(super) unsafe fn end(self) {
        // SAFETY: begun by `open`, in the same transaction.
        unsafe { pg_sys::index_endscan(self.scan) }
    }
}

/// Equality with a column of the index, whose value is still to come, and the column's place in a
/// row. None: it is no plain column, or its type has no equality there.
unsafe fn scan_key(
    index: pg_sys::Relation,
    described: *const pg_sys::IndexInfo,
    column: usize,
) -> Option<(pg_sys::ScanKeyData, usize)> {
    // SAFETY: a column of the open index; the operator comes from its own family.
    unsafe {
        let place = usize::try_from((*described).ii_IndexAttrNumbers[column] - 1).ok()?;
        let (family, data_type) = (*(*index).rd_opfamily.add(column), *(*index).rd_opcintype.add(column));
        let equal = pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber;
        let operator = pg_sys::get_opfamily_member(family, data_type, data_type, equal as i16);
        let procedure = pg_sys::get_opcode(operator);
        if procedure == pg_sys::InvalidOid {
            return None;
        }
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyEntryInitialize(
            &mut key,
            0,
            column as pg_sys::AttrNumber + 1,
            equal,
            pg_sys::InvalidOid,
            *(*index).rd_indcollation.add(column),
            procedure,
            pg_sys::Datum::from(0),
        );
        Some((key, place))
    }
}
