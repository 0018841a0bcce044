//! The shell: the only floor that knows Postgres from inside, and the only one with `unsafe`.

mod ahead;
mod api;
pub(crate) mod apply;
mod applying;
mod board;
mod callers_rights;
mod copy;
mod copy_in;
mod counting;
mod ddl_history;
mod drifting;
mod dropping;
mod endpoint;
mod follow;
mod gate;
mod guc;
mod indexes;
mod job_parts;
mod jobs;
mod leaving;
mod looks;
mod memory;
mod mirror;
mod naming;
mod network;
mod objects;
mod origin;
mod own;
mod owner;
mod progress;
mod quarantine;
mod reconcile;
mod refusals;
mod registry;
mod secret;
mod server_facts;
mod session;
mod shown;
mod sql;
mod stream;
mod table_making;
mod telling;
mod tending;
mod transaction;
mod wait;
mod wanted;
mod worker;

use pgrx::prelude::*;

/// Called when the server loads the library: settings, shared memory and the worker need its start.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // SAFETY: flags of the process that loads the library.
    let (upgrading, starting) =
        unsafe { (pg_sys::IsBinaryUpgrade, pg_sys::process_shared_preload_libraries_in_progress) };
    if upgrading || !starting {
        return;
    }
    guc::init();
    board::init();
    dropping::init();
    worker::register();
}
