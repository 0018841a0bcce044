//! The network side: everything that talks to the source, on one current-thread runtime.
//!
//! No pgrx here: what this floor learns goes to the worker over a channel.

pub mod catalog;
mod catalog_types;
pub mod check;
pub mod chunk;
mod clock;
pub mod connect;
pub mod identity;
pub mod inspect;
pub mod key_cuts;
pub mod link;
pub mod prepare;
mod prepare_tables;
mod query_error;
pub mod session;
pub mod slot;
mod slot_making;
pub mod stream;
pub mod thread;
pub mod watch;
pub mod writers;
