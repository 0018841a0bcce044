//! Tables that left the publication: their rows stay, and they say what became of them on the
//! source. When the mirror's table is gone as well, they are forgotten.

use super::follow::Following;
use super::registry::{self, Table};
use super::sql::{self, text};
use super::{board, ddl_history, objects, progress, transaction};
use crate::error::Error;
use crate::mirror::table_state::Failure;
use crate::mirror::whereabouts::Whereabouts;
use crate::source::link::{Event, Request};
use crate::source::whereabouts::Lost;

/// The table isn't published any more; the hint stands until the source is asked what became of it.
/// In the caller's transaction.
pub fn leave(table: &Table, hint: &str) -> Result<(), Error> {
    if !is_here(&table.name)? {
        return forget(&table.name);
    }
    if table.state.failure() == Some(Failure::NotPublished) {
        return Ok(());
    }
    registry::fail(&table.name, Failure::NotPublished, registry::NOT_PUBLISHED, hint)?;
    ddl_history::note(&table.name, "no longer published", "its rows stay as they were")
}

/// Forgets those that are gone here, too, and says of the others what became of them.
pub(super) fn tend(following: &mut Following<'_>) -> Result<(), Error> {
    let left = |table: &&Table| table.state.failure() == Some(Failure::NotPublished);
    if !following.tables.iter().any(|table| left(&table)) {
        return Ok(());
    }
    transaction::transaction(|| {
        for table in following.tables.iter().filter(left) {
            if !is_here(&table.name)? {
                forget(&table.name)?;
                following.counting.forget(&table.name);
            }
        }
        Ok(())
    })?;
    following.tables = transaction::transaction(registry::tables)?;
    let left: Vec<&Table> = following.tables.iter().filter(left).collect();
    if left.is_empty() {
        return Ok(());
    }
    let lost = |table: &&Table| Lost {
        oid: table.source.oid,
        schema: table.source.schema.clone(),
        name: table.source.name.clone(),
    };
    let request = Request::Whereabouts { tables: left.iter().map(lost).collect() };
    let pick = |event| match event {
        Event::Whereabouts(found) => Ok(found),
        other => Err(other),
    };
    // A look that fails is told of elsewhere.
    let found = following.network.answer(request, pick)?.unwrap_or_default();
    transaction::transaction(|| {
        for (table, whereabouts) in left.iter().zip(&found) {
            if table.reason.as_ref() != Some(&whereabouts.reason()) {
                say(&table.name, whereabouts)?;
            }
        }
        Ok(())
    })
}

fn say(name: &str, whereabouts: &Whereabouts) -> Result<(), Error> {
    let publication = progress::settings()?.map(|settings| settings.publication).unwrap_or_default();
    let quoted = sql::run(
        "SELECT pg_catalog.format('odoo_mirror.%I', $1), pg_catalog.quote_ident($2)",
        &[Some(name), Some(&publication)],
    )?;
    let row = quoted.into_iter().next().unwrap_or_default();
    let hint = whereabouts.hint(&text(&row, 0), &text(&row, 1));
    registry::fail(name, Failure::NotPublished, &whereabouts.reason(), &hint)
}

fn is_here(name: &str) -> Result<bool, Error> {
    let found = sql::value(
        "SELECT 1 FROM pg_catalog.pg_class c WHERE c.relname = $1 AND c.relkind = 'r' \
         AND c.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace",
        &[Some(name)],
    )?;
    Ok(found.is_some())
}

/// Neither the source's publication nor the mirror has the table.
fn forget(name: &str) -> Result<(), Error> {
    registry::forget(name)?;
    board::write(|board| board.forget_table(name));
    ddl_history::note(name, "neither published nor here", "forgotten")?;
    objects::refresh()
}
