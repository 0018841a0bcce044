//! Compares tables with the source while the stream goes on, and mends what differs.

use super::follow::Following;
use super::registry;
use super::transaction;
use crate::error::Error;

/// Looks after tables in state `reconciling`.
pub(super) fn tend(following: &mut Following<'_>) -> Result<(), Error> {
    let names: Vec<String> = following
        .tables
        .iter()
        .filter(|table| table.state == "reconciling")
        .map(|table| table.name.clone())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    transaction::transaction(|| {
        names.iter().try_for_each(|name| registry::copy_all_again(name, "compared with the source"))
    })?;
    following.tables = transaction::transaction(registry::tables)?;
    following.tell = true;
    Ok(())
}
