//! The decoder against what a real server said, what it might say, and what nobody should.

mod captured;
mod checks;
mod damaged;
mod fixtures;
mod lsn;
mod replication;
mod round_trip;
mod seeds;
mod sent;
mod tuples;
