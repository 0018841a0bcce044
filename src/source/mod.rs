//! The source, as the network thread sees it: sessions, catalog, chunks, stream.
//!
//! Everything here is asynchronous and knows nothing of the server that it runs in.

pub mod catalog;
mod catalog_types;
pub mod check;
pub mod identity;
pub mod key_cuts;
pub mod prepare;
mod prepare_tables;
mod query_error;
pub mod slot;
pub mod writers;
