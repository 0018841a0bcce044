//! The network side: everything that talks to the source, on one current-thread runtime.
//!
//! No pgrx here: what this floor learns goes to the worker over a channel.

pub mod catalog;
pub mod check;
pub mod chunk;
pub mod comments;
pub mod connect;
pub mod guarded;
pub mod identity;
pub mod inspect;
pub mod key_cuts;
pub mod lease;
pub mod link;
pub mod metrics_endpoint;
pub mod prepare;
pub mod probe;
pub mod session;
pub mod slot;
pub mod sql;
pub mod stream;
pub mod streaming;
pub mod thread;
pub mod trusted;
pub mod watch;
pub mod whereabouts;
pub mod writers;

mod authentication;
mod catalog_types;
mod certificates;
mod channel;
mod clock;
mod failure;
mod intake;
mod prepare_tables;
mod reading;
mod screen;
mod slot_making;
mod socket;
mod tls;
