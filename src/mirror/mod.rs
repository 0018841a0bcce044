//! The decisions: what a table looks like here, which events count, what they come to. Pure
//! functions over plain data: no server, no socket, no clock; what is decided here is tested
//! without any.

pub mod assembler;
pub mod batch;
pub mod bisect;
pub mod conservation;
pub mod ddl;
pub mod definition;
pub mod drift;
pub mod fence;
mod fold;
pub mod gate;
pub mod kept;
pub mod key_order;
pub mod pace;
pub mod proof;
pub mod quote;
pub mod ranges;
pub mod replica_identity;
mod route;
pub mod session_settings;
pub mod shape;
pub mod snapshot;
pub mod source_table;
pub mod stream_table;
pub mod stuck;
pub mod table_state;
pub mod timeline;
pub mod typemap;
pub mod whereabouts;
mod wording;
