//! Statements through SPI.

use std::ffi::CString;

use pgrx::prelude::*;

use crate::error::Error;
use crate::pg::sql::settings_end_with;

/// An SPI connection: its memory goes when it is dropped.
pub(super) struct Spi;

impl Spi {
    pub(super) fn connect() -> Spi {
        // SAFETY: in a transaction; finished by Drop, or by the abort.
        unsafe { pg_sys::SPI_connect() };
        Spi
    }

    /// Runs a kept plan; returns how many rows it touched.
    pub(super) fn execute(
        &self,
        plan: pg_sys::SPIPlanPtr,
        values: &mut [pg_sys::Datum],
    ) -> Result<u64, Error> {
        // SAFETY: the values fit the plan's parameters and none is NULL.
        let code = settings_end_with(|| unsafe {
            pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), std::ptr::null(), false, 0)
        });
        if code < 0 {
            return Err(Error::stop(format!("SPI_execute_plan failed: {code}")));
        }
        // SAFETY: a global that the call above set.
        Ok(unsafe { pg_sys::SPI_processed })
    }

    pub(super) fn run(&self, sql: &str) -> Result<u64, Error> {
        let text = CString::new(sql).map_err(|_| Error::stop("a name holds a NUL"))?;
        // SAFETY: as above.
        let code = settings_end_with(|| unsafe { pg_sys::SPI_execute(text.as_ptr(), false, 0) });
        if code < 0 {
            return Err(Error::stop(format!("SPI_execute failed: {code}")));
        }
        // SAFETY: as above.
        Ok(unsafe { pg_sys::SPI_processed })
    }

    /// Where the rows lie that an upsert had to insert: first column true, second the place.
    pub(super) fn new_rows(&self) -> Vec<pg_sys::Datum> {
        let mut new = Vec::new();
        // SAFETY: walks the result of the statement just run, whose columns are boolean and tid.
        unsafe {
            let table = pg_sys::SPI_tuptable;
            if table.is_null() {
                return new;
            }
            for index in 0..(*table).numvals as usize {
                let tuple = *(*table).vals.add(index);
                let mut null = false;
                let inserted = pg_sys::SPI_getbinval(tuple, (*table).tupdesc, 1, &mut null);
                if inserted.value() as u8 != 0 {
                    new.push(pg_sys::SPI_getbinval(tuple, (*table).tupdesc, 2, &mut null));
                }
            }
        }
        new
    }

    pub(super) fn first_datum(&self) -> Option<pg_sys::Datum> {
        // SAFETY: as above; the datum points into SPI's memory, which lives until this is dropped.
        unsafe {
            let table = pg_sys::SPI_tuptable;
            if table.is_null() || (*table).numvals == 0 {
                return None;
            }
            let mut null = false;
            let datum = pg_sys::SPI_getbinval(*(*table).vals, (*table).tupdesc, 1, &mut null);
            (!null).then_some(datum)
        }
    }
}

impl Drop for Spi {
    fn drop(&mut self) {
        // SAFETY: closes the connection opened above; while an error unwinds the abort does it.
        if !std::thread::panicking() {
            unsafe { pg_sys::SPI_finish() };
        }
    }
}
