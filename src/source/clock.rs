//! The clock of the replication protocol.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds from 1970 to 2000, where Postgres's time begins.
const POSTGRES_EPOCH: i64 = 946_684_800;

/// Our clock: µs since 2000-01-01.
pub fn now() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX) - POSTGRES_EPOCH * 1_000_000
}
