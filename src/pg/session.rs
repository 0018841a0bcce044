//! How the worker's own session behaves, whatever the database's settings say: they reach
//! background workers. Which settings are fixed is `mirror::session_settings`' to say.

use std::ffi::CString;

use pgrx::prelude::*;

use super::guc;
use crate::error::Error;
use crate::mirror::session_settings;

/// Fixes the session's settings; called once, after connecting, in a transaction.
pub fn set_up() {
    for setting in session_settings::here_fixed() {
        set(setting.name, setting.value);
    }
    set("search_path", session_settings::CATALOG_PATH);
    set_lock_timeout();
}

/// Before the first transaction: one that a database's setting makes serializable can't begin on a
/// standby.
pub fn let_transactions_begin() {
    set("default_transaction_isolation", "read committed");
}

/// How long to wait for a lock here, as the setting says now.
pub fn set_lock_timeout() {
    set("lock_timeout", &guc::LOCK_TIMEOUT.get().to_string());
}

/// Leaves out a setting that this server doesn't know.
fn set(name: &str, value: &str) {
    let (Ok(name), Ok(value)) = (CString::new(name), CString::new(value)) else { return };
    // SAFETY: the strings live through the calls; the setting is this session's.
    unsafe {
        if pg_sys::GetConfigOption(name.as_ptr(), true, false).is_null() {
            return;
        }
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
}

/// An error in a database whose encoding lacks letters that the source may have, and hashes text as
/// other bytes.
pub fn takes_any_letter() -> Result<(), Error> {
    // SAFETY: reads the encoding of the database that this process is connected to.
    let encoding = unsafe { pg_sys::GetDatabaseEncoding() };
    if encoding == pg_sys::pg_enc::PG_UTF8 as i32 {
        return Ok(());
    }
    // SAFETY: a static string of the server's for each encoding.
    let name = unsafe { std::ffi::CStr::from_ptr(pg_sys::GetDatabaseEncodingName()) }.to_string_lossy();
    Err(Error::retry_slowly(format!("this database's encoding is {name}, and a mirror needs UTF8")).hint(
        "Make another for the mirror: CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'; name it in odoo_mirror.database, restart the server, and CREATE EXTENSION odoo_mirror there.",
    ))
}

/// Shows in pg_stat_activity what the worker does.
pub fn report_activity(what: &str) {
    let Ok(text) = CString::new(what) else { return };
    // SAFETY: copies the string.
    unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text.as_ptr()) }
}
