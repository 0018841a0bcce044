//! The network side: everything that talks to the source, on one current-thread runtime.
//!
//! No pgrx here: what this floor learns goes to the worker over a channel.

pub mod catalog;
mod catalog_types;
pub mod check;
pub mod connect;
pub mod identity;
pub mod key_cuts;
pub mod prepare;
mod prepare_tables;
mod query_error;
pub mod session;
pub mod slot;
pub mod writers;
