//! What happened to the source's tables and what was done about it here: kept for
//! odoo_mirror.ddl_history(), in the caller's transaction.

use super::sql;
use crate::error::Error;

/// How many entries are kept.
const KEPT: &str = "1000";

pub fn note(table: &str, what: &str, done: &str) -> Result<(), Error> {
    let noted = sql::value(
        "INSERT INTO odoo_mirror_internal.ddl_history (table_name, what, done) VALUES ($1, $2, $3) RETURNING id",
        &[Some(table), Some(what), Some(done)],
    )?;
    let Some(id) = noted else { return Ok(()) };
    sql::run(
        "DELETE FROM odoo_mirror_internal.ddl_history WHERE id <= $1::bigint - $2::bigint",
        &[Some(&id), Some(KEPT)],
    )
    .map(drop)
}
