//! The network side: everything that talks to the source, on one current-thread runtime.
//!
//! No pgrx here: what this floor learns goes to the worker over a channel.

pub mod connect;
pub mod session;
pub mod sql;

mod authentication;
mod channel;
mod failure;
mod socket;
mod tls;
