//! What the gate refused, when, and when the mirror began anew: the last of them are kept, and
//! status() shows them.

use std::sync::Mutex;
use std::time::Instant;

use super::sql::{self, number};
use super::transaction;
use crate::error::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Refused,
    /// The slot kept too much WAL and was dropped.
    GivenUp,
}

/// The slot was given up, and perhaps that couldn't be written down.
static GAVE_UP: Mutex<Option<Instant>> = Mutex::new(None);

/// Notes a refusal, in a transaction of its own; one that is repeated is noted once. Words only:
/// that they can't be kept (on a full disk, say) must not keep the mirror from what it has to do.
pub fn note(kind: Kind, words: &str) {
    let given_up = kind == Kind::GivenUp;
    if given_up && let Ok(mut gave_up) = GAVE_UP.lock() {
        *gave_up = Some(Instant::now());
    }
    let noted = transaction::transaction(|| {
        sql::run(
            "INSERT INTO odoo_mirror_internal.refusals (what, given_up) SELECT $1, $2::boolean \
             WHERE NOT EXISTS (SELECT FROM odoo_mirror_internal.refusals \
                               WHERE id = (SELECT max(id) FROM odoo_mirror_internal.refusals) \
                                 AND what = $1 AND began_anew_at IS NULL)",
            &[Some(words), Some(if given_up { "true" } else { "false" })],
        )?;
        sql::run(
            "DELETE FROM odoo_mirror_internal.refusals WHERE id <= (SELECT max(id) - 100 FROM odoo_mirror_internal.refusals)",
            &[],
        )
    });
    if let Err(error) = noted {
        pgrx::log!("odoo_mirror: {words}; that can't be written down: {error}");
    }
}

/// The mirror began anew. In the caller's transaction.
pub fn began_anew() -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.refusals SET began_anew_at = pg_catalog.clock_timestamp() WHERE began_anew_at IS NULL",
        &[],
    )
    .map(drop)
}

/// All tables are equal to the source's again. In the caller's transaction.
pub fn are_equal() -> Result<(), Error> {
    sql::run(
        "UPDATE odoo_mirror_internal.refusals SET equal_at = pg_catalog.clock_timestamp() \
         WHERE began_anew_at IS NOT NULL AND equal_at IS NULL",
        &[],
    )
    .map(drop)
}

/// How often the slot was given up within a day, and how many seconds ago it was last.
pub fn given_up_lately() -> Result<(u32, u64), Error> {
    let rows = transaction::transaction(|| {
        sql::run(
            "SELECT count(*), floor(extract(epoch FROM pg_catalog.clock_timestamp() - max(at))) FROM odoo_mirror_internal.refusals \
             WHERE given_up AND at > pg_catalog.clock_timestamp() - interval '1 day'",
            &[],
        )
    })?;
    let noted = rows.first().map_or((0, 0), |row| (number(row, 0), number(row, 1)));
    let (times, ago) = (u32::try_from(noted.0).unwrap_or(u32::MAX), noted.1.unsigned_abs());
    let here = GAVE_UP.lock().ok().and_then(|gave_up| *gave_up).map(|at| at.elapsed().as_secs());
    Ok(match here {
        Some(here) if times == 0 || here < ago => (times.max(1), here),
        _ => (times, ago),
    })
}
