//! The decisions: what a table looks like here, which events count, what they come to. Pure: no server, no
//! socket, no clock; what it decides is tested without any.

pub mod assembler;
pub mod batch;
mod fold;
pub mod ranges;
pub mod snapshot;
pub mod stream_table;
