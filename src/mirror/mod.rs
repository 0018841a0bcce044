//! What the mirror decides, as pure functions over plain data.
//!
//! Nothing here does I/O, knows of Postgres's server side, or waits.

pub mod ddl;
pub mod quote;
pub mod ranges;
pub mod shape;
pub mod source_table;
pub mod typemap;
