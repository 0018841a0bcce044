//! What a statement is given: rows under a name, or values in an array.

use std::ffi::CString;

use pgrx::prelude::*;

use super::statement::ROWS;

/// How much of a batch's rows stays in memory (kB); what exceeds it goes to a temporary file.
pub(super) const STORE_KB: i32 = 32 * 1024;

/// Rows that statements see under the name [`ROWS`], until dropped.
pub(super) struct Rows {
    store: *mut pg_sys::Tuplestorestate,
}

impl Rows {
    /// Inside SPI; the store was made in the current context and holds `count` rows of the table's
    /// shape.
    pub(super) unsafe fn register(
        store: *mut pg_sys::Tuplestorestate,
        table: pg_sys::Oid,
        count: u64,
    ) -> Rows {
        let name = CString::new(ROWS).unwrap_or_default();
        // SAFETY: allocated in SPI's memory, which lives until SPI_finish; the descriptor is the
        // table's own.
        unsafe {
            let enr = pg_sys::palloc0(std::mem::size_of::<pg_sys::EphemeralNamedRelationData>())
                .cast::<pg_sys::EphemeralNamedRelationData>();
            (*enr).md.name = pg_sys::pstrdup(name.as_ptr());
            (*enr).md.reliddesc = table;
            (*enr).md.enrtype = pg_sys::EphemeralNameRelationType::ENR_NAMED_TUPLESTORE;
            (*enr).md.enrtuples = count as f64;
            (*enr).reldata = store.cast();
            pg_sys::SPI_register_relation(enr);
        }
        Rows { store }
    }

    /// Ends the rows' life, inside the SPI connection that they were made in.
    pub(super) fn end(self) {
        let name = CString::new(ROWS).unwrap_or_default();
        // SAFETY: registered by `register`; after an error the abort frees what is not ended.
        unsafe {
            pg_sys::SPI_unregister_relation(name.as_ptr());
            pg_sys::tuplestore_end(self.store);
        }
    }
}

pub(super) fn array_of(element: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: a syscache lookup.
    unsafe { pg_sys::get_array_type(element) }
}

/// An array of these elements, in the current context.
pub(super) fn array(elements: &mut [pg_sys::Datum], element_type: pg_sys::Oid) -> pg_sys::Datum {
    let (mut length, mut by_value, mut align) = (0, false, 0);
    // SAFETY: the elements are datums of that type.
    unsafe {
        pg_sys::get_typlenbyvalalign(element_type, &mut length, &mut by_value, &mut align);
        pg_sys::Datum::from(pg_sys::construct_array(
            elements.as_mut_ptr(),
            elements.len() as i32,
            element_type,
            i32::from(length),
            by_value,
            align,
        ))
    }
}
