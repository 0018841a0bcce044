//! What a walsender says, as Rust values: pgoutput messages, replication frames, LSNs, tuple data.
//!
//! This is the hot path: a change is decoded without allocating, and everything borrows from the
//! bytes received. Only a [`Relation`], which comes once a table, owns its names.
//!
//! Nothing here does I/O, keeps state between messages, or looks into a column's value. Bytes are
//! read with checked access only: whatever the input, the answer is a value or a [`WireError`],
//! never a panic.

mod error;
mod lsn;
mod pgoutput;
mod reader;
mod relation;
mod replication;
mod tuple;
mod tuple_writer;

pub use error::WireError;
pub use lsn::{Lsn, ParseLsnError};
pub use pgoutput::{Message, Old, RelationIds, decode};
pub use relation::{Relation, RelationColumn, ReplicaIdentity};
pub use replication::{Frame, decode_frame, standby_status};
pub use tuple::{Column, Columns, Tuple};
pub use tuple_writer::TupleWriter;
