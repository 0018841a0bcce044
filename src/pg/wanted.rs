//! Whether the life of the mirror that runs is still wanted: the one question of all that waits,
//! inside a transaction and outside.

use pgrx::prelude::*;

use super::progress::{self, Settings};
use super::{board, guc, transaction, wait};
use crate::error::Error;

/// An error when stop(), start(), uninstall(), configure(), changed settings, DROP EXTENSION or
/// SIGTERM say that this life is over. To be asked again and again, twice a second say, by
/// everything that waits.
pub fn still_wanted(settings: &Settings) -> Result<(), Error> {
    if wait::told_to_end() {
        return Err(Error::retry("the server told the worker to end"));
    }
    let over = || Error::retry("the mirror was told to stop");
    // Said at once, and to a transaction, too, which must not wait for those that say it.
    if board::read(|board| board.will != settings.will).unwrap_or(false) {
        return Err(over());
    }
    // SAFETY: reads this process's own state.
    if unsafe { pg_sys::IsTransactionState() } {
        // A statement here would run with the rights of whoever is at work, and see what they see.
        let same = guc::tuning() == settings.tuning;
        return if same && !is_in_the_way() { Ok(()) } else { Err(over()) };
    }
    let now = transaction::transaction(|| {
        if super::owner::extension_is_here() { progress::settings() } else { Ok(None) }
    })?;
    match now {
        Some(now)
            if now.running
                && now.started_here
                && now.configured_at == settings.configured_at
                && now.tuning == settings.tuning =>
        {
            Ok(())
        }
        _ => Err(over()),
    }
}

/// Whether somebody waits to have one of the extension's own tables alone, as DROP EXTENSION does:
/// it waits for transactions of ours.
fn is_in_the_way() -> bool {
    // SAFETY: in a transaction; the list is a copy of ours, with as many elements as it says.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"odoo_mirror_internal".as_ptr(), true);
        let listed = pg_sys::GetLockStatusData();
        let locks =
            std::slice::from_raw_parts((*listed).locks, usize::try_from((*listed).nelements).unwrap_or(0));
        let wanted = locks.iter().any(|lock| {
            lock.waitLockMode == pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE
                && u32::from(lock.locktag.locktag_type) == pg_sys::LockTagType::LOCKTAG_RELATION
                && lock.locktag.locktag_field1 == u32::from(pg_sys::MyDatabaseId)
                && pg_sys::get_rel_namespace(pg_sys::Oid::from(lock.locktag.locktag_field2)) == schema
        });
        pg_sys::pfree((*listed).locks.cast());
        pg_sys::pfree(listed.cast());
        wanted
    }
}
