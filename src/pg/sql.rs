//! Statements on the mirror's own tables, through SPI, with text in and text out. Not for rows that
//! are mirrored.

use std::ffi::{CStr, CString};

use pgrx::prelude::*;

use crate::error::Error;
use crate::wire::Lsn;

/// A result row: each column's text, None for NULL.
pub type Row = Vec<Option<String>>;

/// Runs a statement with the rights of whoever called a function of ours, a superuser's too.
pub fn run_as_caller(sql: &str) -> Result<(), Error> {
    execute(sql, &[]).map(drop)
}

/// Runs a statement with text parameters (`$1::type` in the SQL says what they are) in the open
/// transaction.
pub fn run(sql: &str, parameters: &[Option<&str>]) -> Result<Vec<Row>, Error> {
    if !super::owner::may_run_sql() {
        return Err(Error::retry_slowly("odoo_mirror runs no SQL as a superuser").hint(
            "Role odoo_mirror_worker is absent, or a superuser: CREATE EXTENSION odoo_mirror makes it.",
        ));
    }
    execute(sql, parameters)
}

fn execute(sql: &str, parameters: &[Option<&str>]) -> Result<Vec<Row>, Error> {
    let text = CString::new(sql).map_err(|_| Error::stop("a statement holds a NUL"))?;
    let mut types = vec![pg_sys::TEXTOID; parameters.len()];
    let nulls: Vec<u8> = parameters.iter().map(|value| if value.is_none() { b'n' } else { b' ' }).collect();
    // SAFETY: in a transaction. SPI's memory holds the parameters and the result until SPI_finish;
    // all text is copied out before. An error leaves the clean-up to the abort.
    unsafe {
        pg_sys::SPI_connect();
        let mut values: Vec<pg_sys::Datum> = parameters
            .iter()
            .map(|value| match value {
                Some(value) => pg_sys::Datum::from(pg_sys::cstring_to_text_with_len(
                    value.as_ptr().cast(),
                    value.len() as i32,
                )),
                None => pg_sys::Datum::from(0usize),
            })
            .collect();
        let code = settings_end_with(|| {
            pg_sys::SPI_execute_with_args(
                text.as_ptr(),
                types.len() as i32,
                types.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_ptr().cast(),
                false,
                0,
            )
        });
        let rows = if code < 0 { Err(Error::stop(format!("SPI failed: {code}"))) } else { Ok(result()) };
        pg_sys::SPI_finish();
        rows
    }
}

/// Runs a statement: what it fires may make a setting, which ends with it, so that the next one
/// finds what the mirror set.
pub fn settings_end_with<T>(statement: impl FnOnce() -> T) -> T {
    // SAFETY: in a transaction; an error leaves the level to the abort.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        let done = statement();
        pg_sys::AtEOXact_GUC(false, level);
        done
    }
}

/// Makes a setting for the rest of the transaction, or of the role that is acted as.
pub fn set(name: &CStr, value: &str) -> Result<(), Error> {
    let value = CString::new(value).map_err(|_| Error::stop("a setting holds a NUL"))?;
    // SAFETY: in a transaction, with a nest level of its own; the texts live through the call,
    // which copies them.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_LOCAL,
            true,
            0,
            false,
        );
    }
    Ok(())
}

/// Runs a statement that returns one value, or nothing.
pub fn value(sql: &str, parameters: &[Option<&str>]) -> Result<Option<String>, Error> {
    Ok(run(sql, parameters)?.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
}

unsafe fn result() -> Vec<Row> {
    // SAFETY: walks the result that SPI just made, if there is one.
    unsafe {
        let table = pg_sys::SPI_tuptable;
        if table.is_null() {
            return Vec::new();
        }
        let columns = (*(*table).tupdesc).natts;
        (0..(*table).numvals as usize)
            .map(|index| {
                let tuple = *(*table).vals.add(index);
                (1..=columns)
                    .map(|column| {
                        let text = pg_sys::SPI_getvalue(tuple, (*table).tupdesc, column);
                        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
                    })
                    .collect()
            })
            .collect()
    }
}

/// A column's text; empty for NULL.
pub fn text(row: &Row, index: usize) -> String {
    row.get(index).cloned().flatten().unwrap_or_default()
}

/// A column's number; 0 for NULL.
pub fn number(row: &Row, index: usize) -> i64 {
    row.get(index).and_then(Option::as_ref).and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// A column's position; 0/0 for NULL.
pub fn lsn(row: &Row, index: usize) -> Lsn {
    row.get(index).and_then(Option::as_ref).and_then(|value| value.parse().ok()).unwrap_or(Lsn::ZERO)
}
