//! Columns that a source transaction added, added here before the transaction that did, in a commit
//! of their own.
//!
//! To add a column locks readers out until the commit, and the rest of the source's transaction may
//! take long to apply. A column that no row has a value of yet shows as NULL, or as the constant
//! that the source's rows got, which is what it will show when its transaction is applied. So it
//! may come early, where everything else must come at once. It is noted until the stream brings it.

use super::drifting::{LOCK_WAITS, outcome_as, wait_for_locks};
use super::follow::Following;
use super::naming;
use super::registry::Table;
use super::sql::{self, text};
use super::table_making;
use super::transaction;
use crate::error::{Error, Verdict};
use crate::mirror::ddl;
use crate::mirror::drift::{self, Change, Outcome};
use crate::mirror::table_state::TableState;
use crate::source::catalog::Seen;
use crate::wire::Relation;

/// Columns that are only added are added in a commit of their own, before the transaction that the
/// stream is in: readers would be locked out until all of it is applied. Parts of it that are
/// applied here already go, and the source sends them once more.
pub(super) fn add_before(
    following: &mut Following<'_>,
    tables: &[Table],
    table: &Table,
    relation: &Relation,
    seen: &Seen,
    fresh: bool,
) -> Result<(), Error> {
    let to_add = transaction::attempt(|| columns_to_add(tables, table, relation, seen))?;
    let Some((name, changes)) = to_add.iter().find(|(name, _)| *name == table.name) else {
        return Ok(());
    };
    // To begin again for a table that somebody reads all the time, or that has a column of
    // somebody's by that name, would be to begin again for ever.
    if !fresh && !can_be_added(name, changes) {
        return Ok(());
    }
    transaction::abort();
    following.open = false;
    for (name, changes) in &to_add {
        let added = transaction::transaction(|| {
            wait_for_locks(LOCK_WAITS)?;
            add(name, changes)
        });
        if let Err(error) = added {
            // What it means for the table is decided where the stream brings the columns.
            pgrx::log!("odoo_mirror: adding columns to table \"{name}\": {error}");
        }
    }
    if !fresh {
        return Err(Error::retry(
            "the source added columns within a transaction: it is applied once more, after them",
        ));
    }
    following.begin()
}

/// The columns that are to be added to the table, and to others that the catalog shows with more
/// columns by now: one transaction may have altered many.
fn columns_to_add(
    tables: &[Table],
    table: &Table,
    relation: &Relation,
    seen: &Seen,
) -> Result<Vec<(String, Vec<Change>)>, Error> {
    let differs = |table: &Table| {
        let now = seen.tables.iter().find(|now| now.oid == table.source.oid);
        now.is_some_and(|now| drift::differs(&table.source, now))
    };
    // To ask for each column's type takes longer than all else.
    let shapes = naming::shapes(&seen.tables, tables, |_| true);
    let added = |table: &Table, relation: Option<&Relation>| match outcome_as(table, seen, &shapes, relation)
    {
        Some(Outcome::Follow { changes, .. }) if only_adds(&changes) => Some(changes),
        _ => None,
    };
    let mut to_add = Vec::new();
    let sound = |known: &&Table| known.state == TableState::Ready && known.drift.is_none() && differs(known);
    for known in tables.iter().filter(sound) {
        // More may come later in the same transaction.
        let by_now = added(known, None);
        let changes = if known.name == table.name {
            added(known, Some(relation)).map(|at_hand| by_now.unwrap_or(at_hand))
        } else {
            by_now
        };
        let missing = missing(&known.name, &changes.unwrap_or_default())?;
        if !missing.is_empty() {
            to_add.push((known.name.clone(), missing));
        }
    }
    Ok(to_add)
}

/// Whether nobody reads the table just now, or not for long, and nothing else is in the way; in the
/// open transaction, which keeps nothing of it.
fn can_be_added(table: &str, changes: &[Change]) -> bool {
    let tried = transaction::subtransaction(|| {
        wait_for_locks(LOCK_WAITS)?;
        add(table, changes)?;
        // Undone, the lock is free again.
        Err::<(), Error>(Error::retry(ADDED))
    });
    tried.is_err_and(|error| error.message == ADDED)
}

const ADDED: &str = "it could be added";

/// Of a table's changes, those that are not made here yet.
pub fn missing(table: &str, changes: &[Change]) -> Result<Vec<Change>, Error> {
    let here = sql::run(
        "SELECT column_name, sql_type, value FROM odoo_mirror_internal.columns_ahead WHERE table_name = $1 AND NOT arrived",
        &[Some(table)],
    )?;
    let is_here = |change: &&Change| match change {
        Change::Add { column, value } => here
            .iter()
            .any(|row| text(row, 0) == column.name && text(row, 1) == column.sql_type && row[2] == *value),
        _ => false,
    };
    Ok(changes.iter().filter(|change| !is_here(change)).cloned().collect())
}

/// The table's columns that were added early, and are not settled yet.
pub fn columns(table: &str) -> Result<Vec<String>, Error> {
    let rows = sql::run(
        "SELECT column_name FROM odoo_mirror_internal.columns_ahead WHERE table_name = $1",
        &[Some(table)],
    )?;
    Ok(rows.iter().map(|row| text(row, 0)).collect())
}

/// Whether nothing is done but columns added.
pub fn only_adds(changes: &[Change]) -> bool {
    changes.iter().all(|change| matches!(change, Change::Add { .. }))
}

/// Adds the columns, with a default as long as rows come that don't know them. In the caller's
/// transaction.
fn add(table: &str, changes: &[Change]) -> Result<(), Error> {
    for change in changes {
        let Change::Add { column, value } = change else { continue };
        table_making::alter(table, vec![ddl::add_column(table, column, value.as_deref())])?;
        sql::run(
            "INSERT INTO odoo_mirror_internal.columns_ahead (table_name, column_name, sql_type, value) VALUES ($1, $2, $3, $4)",
            &[Some(table), Some(&column.name), Some(&column.sql_type), value.as_deref()],
        )?;
    }
    Ok(())
}

/// The stream has brought these columns. In the caller's transaction.
pub fn arrived(table: &str, changes: &[Change]) -> Result<(), Error> {
    for change in changes {
        let Change::Add { column, .. } = change else { continue };
        sql::run(
            "UPDATE odoo_mirror_internal.columns_ahead SET arrived = true WHERE table_name = $1 AND column_name = $2",
            &[Some(table), Some(&column.name)],
        )?;
    }
    Ok(())
}

/// The table is taken in as it is by now: what was added ahead is one of its columns, or none. In
/// the caller's transaction.
pub fn forget(table: &str) -> Result<(), Error> {
    let all = "UPDATE odoo_mirror_internal.columns_ahead SET arrived = true WHERE table_name = $1";
    sql::run(all, &[Some(table)]).map(drop)
}

/// Takes away the defaults of columns that have arrived: each row brings a value of its own by now.
pub fn settle() -> Result<(), Error> {
    let rows = transaction::transaction(|| {
        sql::run(
            "SELECT table_name, column_name, value IS NOT NULL FROM odoo_mirror_internal.columns_ahead WHERE arrived",
            &[],
        )
    })?;
    for row in &rows {
        let (table, column) = (text(row, 0), text(row, 1));
        let settled = transaction::transaction(|| {
            if text(row, 2) == "t" {
                wait_for_locks(LOCK_WAITS)?;
                let dropped = transaction::subtransaction(|| {
                    table_making::alter(&table, vec![ddl::drop_default(&table, &column)])
                });
                match dropped {
                    Err(error) if error.verdict == Verdict::Retry => return Err(error),
                    // It is gone again, or its table.
                    _ => {}
                }
            }
            sql::run(
                "DELETE FROM odoo_mirror_internal.columns_ahead WHERE table_name = $1 AND column_name = $2",
                &[Some(&table), Some(&column)],
            )
        });
        match settled {
            // Somebody reads the table: the next time will do, since the default harms nobody.
            Err(error) if error.verdict == Verdict::Retry => {}
            settled => settled.map(drop)?,
        }
    }
    Ok(())
}
