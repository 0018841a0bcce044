//! The network side: everything that talks to the source, on one current-thread runtime.
//!
//! No pgrx here: what this floor learns goes to the worker over a channel.

pub mod catalog;
pub mod chunk;
mod clock;
pub mod connect;
mod failure;
pub mod inspect;
pub mod link;
pub mod prepare;
pub mod session;
pub mod slot;
mod slot_making;
pub mod stream;
pub mod thread;
pub mod watch;
