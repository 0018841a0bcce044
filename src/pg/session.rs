//! How the worker's own session behaves, whatever the database's settings say (they reach background workers).

use std::ffi::CString;

use pgrx::prelude::*;

use super::guc;

/// Fixes the session's settings; called once, after connecting, in a transaction.
pub fn set_up() {
    let settings = [
        ("datestyle", "ISO, MDY"),
        ("intervalstyle", "postgres"),
        ("timezone", "UTC"),
        ("extra_float_digits", "3"),
        ("bytea_output", "hex"),
        ("client_encoding", "UTF8"),
        ("search_path", ""),
        ("row_security", "off"),
        ("default_transaction_read_only", "off"),
        ("default_transaction_isolation", "read committed"),
        ("default_transaction_deferrable", "off"),
        ("statement_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        ("transaction_timeout", "0"),
        // Commits are confirmed to the source only once they are on disk; nobody waits for that here.
        ("synchronous_commit", "off"),
        // Foreign keys and other people's triggers are not for the mirror; ENABLE ALWAYS triggers fire.
        ("session_replication_role", "replica"),
        // Plans are made once, perhaps while a table is empty, and kept: they must use its key.
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("jit", "off"),
        ("standard_conforming_strings", "on"),
    ];
    for (name, value) in settings {
        set(name, value);
    }
    set_lock_timeout();
}

/// How long to wait for a lock here, as the setting says now.
pub fn set_lock_timeout() {
    set("lock_timeout", &guc::LOCK_TIMEOUT.get().to_string());
}

fn set(name: &str, value: &str) {
    let (Ok(name), Ok(value)) = (CString::new(name), CString::new(value)) else { return };
    // SAFETY: the strings live through the call; the setting is this session's.
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
}

/// Shows in pg_stat_activity what the worker does.
pub fn report_activity(what: &str) {
    let Ok(text) = CString::new(what) else { return };
    // SAFETY: copies the string.
    unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text.as_ptr()) }
}
