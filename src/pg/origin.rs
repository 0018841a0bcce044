//! The replication origin: how far the mirror is, moved by the same commit as the rows.

use std::ffi::CString;

use pgrx::prelude::*;

use crate::wire::Lsn;

/// The origin's name here; another database of the cluster has another.
fn name() -> CString {
    // SAFETY: a global set when the worker connected.
    let database = unsafe { pg_sys::MyDatabaseId };
    CString::new(format!("odoo_mirror_{}", u32::from(database))).unwrap_or_default()
}

/// Takes the origin for this session, made if it isn't there, and returns its position. In a
/// transaction. What it stands for is on disk then: the source will be told that it is here, and
/// commits of the life before may have been in memory only.
pub fn set_up() -> Lsn {
    let name = name();
    // SAFETY: in a transaction; the name lives through the calls; a session has one origin, reset
    // before.
    unsafe {
        let mut origin = pg_sys::replorigin_by_name(name.as_ptr(), true);
        if origin == pg_sys::InvalidRepOriginId as pg_sys::RepOriginId {
            origin = pg_sys::replorigin_create(name.as_ptr());
        }
        if pg_sys::replorigin_session_origin != origin {
            #[cfg(feature = "pg15")]
            pg_sys::replorigin_session_setup(origin);
            #[cfg(not(feature = "pg15"))]
            pg_sys::replorigin_session_setup(origin, 0);
            pg_sys::replorigin_session_origin = origin;
        }
        Lsn(pg_sys::replorigin_session_get_progress(true))
    }
}

/// Lets the session's origin go.
pub fn release() {
    // SAFETY: plain session state; reset only what was set up.
    unsafe {
        if pg_sys::replorigin_session_origin != pg_sys::InvalidRepOriginId as pg_sys::RepOriginId {
            pg_sys::replorigin_session_reset();
            pg_sys::replorigin_session_origin = pg_sys::InvalidRepOriginId as pg_sys::RepOriginId;
            stay();
        }
    }
}

/// Makes the commit that follows move the origin to `position`.
pub fn move_with_commit(position: Lsn, commit_time: i64) {
    // SAFETY: plain session state, read by the commit.
    unsafe {
        pg_sys::replorigin_session_origin_lsn = position.0;
        pg_sys::replorigin_session_origin_timestamp = commit_time;
        // Without a transaction id a commit writes no record, and the origin would stay.
        pg_sys::GetTopTransactionId();
    }
}

/// The commit that was to move the origin failed: nothing that ends later may do so in its place.
pub fn stay() {
    // SAFETY: plain session state.
    unsafe {
        pg_sys::replorigin_session_origin_lsn = 0;
        pg_sys::replorigin_session_origin_timestamp = 0;
    }
}

/// Drops the origin: with the mirror's position, for a new beginning or for good. In a transaction.
pub fn drop() {
    release();
    // SAFETY: in a transaction; the session's own hold was released.
    unsafe { pg_sys::replorigin_drop_by_name(name().as_ptr(), true, false) }
}

/// How far this server's WAL is on disk.
pub fn flushed() -> u64 {
    // SAFETY: reads shared memory; the server is not in recovery while the mirror runs.
    unsafe { pg_sys::GetFlushRecPtr(std::ptr::null_mut()) }
}

/// Where the last commit of this session ended in this server's WAL.
pub fn last_commit_end() -> u64 {
    // SAFETY: a global of this process.
    unsafe { pg_sys::XactLastCommitEnd }
}
