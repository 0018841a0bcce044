//! Looks after tables while the stream runs: takes in new ones, copies what is missing with the
//! stream standing still between two transactions, and lets those that caught up be ready.

use std::time::{Duration, Instant};

use super::board::{self, State};
use super::follow::Following;
use super::indexes::{self, Others};
use super::registry::{self, Table};
use super::table_making::Filling;
use super::wanted::still_wanted;
use super::{copy, mirror, naming, objects, reconcile, transaction};
use crate::error::{Error, Verdict};
use crate::mirror::source_table::SourceTable;
use crate::mirror::table_state::{Failure, TableState};
use crate::source::inspect::Inspection;

/// How long what had to wait on the source leaves the stream alone.
const SOURCE_WAITS: Duration = Duration::from_secs(5);

/// New tables of the publication, and those that left it.
pub(super) fn take_in_new_tables(
    following: &mut Following<'_>,
    published: &[SourceTable],
) -> Result<(), Error> {
    let same = |table: &Table| {
        published.iter().any(|found| found.oid == table.source.oid && found.schema == table.source.schema)
    };
    let waits = |table: &Table, found: &SourceTable| match table.state.failure() {
        Some(Failure::NameTaken) => !naming::is_free(found, &following.tables, published),
        _ => !mirror::heals(table, found),
    };
    let new = published.iter().any(|found| {
        !following.tables.iter().any(|table| {
            table.source.oid == found.oid && table.source.name == found.name && waits(table, found)
        })
    });
    let gone = following
        .tables
        .iter()
        .any(|table| table.state.failure() != Some(Failure::NotPublished) && !same(table));
    if !new && !gone {
        return Ok(());
    }
    let known = known_and_sound(following);
    let Some(inspection) = inspect(following, &known)? else { return Ok(()) };
    // What is on its way belongs to the tables as they were.
    following.pause()?;
    following.tables = transaction::transaction(registry::tables)?;
    match transaction::transaction(|| mirror::adopt(&inspection, &following.tables, Filling::Online)) {
        // Somebody holds a lock here: the next look tries again.
        Err(error) if error.verdict == Verdict::Retry => board::set_error(&error),
        adopted => {
            adopted?;
            // While they are empty, that takes no time.
            indexes::build_all(Others::Await, || still_wanted(following.settings))?;
        }
    }
    following.tables = transaction::transaction(registry::tables)?;
    Ok(())
}

/// Looks at the source while the stream runs. None: it can't be looked at now; later, then. A table
/// there may be locked, by an ALTER TABLE perhaps, or no session may be had: the stream that runs
/// is sound all the same.
pub(super) fn inspect(following: &mut Following<'_>, known: &[Table]) -> Result<Option<Inspection>, Error> {
    if Instant::now() < following.source_again_at {
        return Ok(None);
    }
    match mirror::inspect(following.network, following.settings, known, true)? {
        Err(error) => {
            board::set_state(State::Streaming, &error.message);
            board::set_error(&error);
            following.source_again_at = Instant::now() + SOURCE_WAITS;
            // Nothing is published any more: that is noted of every table.
            following.tables = transaction::transaction(registry::tables)?;
            Ok(None)
        }
        Ok(inspection) => {
            board::set_state(State::Streaming, "");
            Ok(Some(inspection))
        }
    }
}

/// The table's copy has something to wait for on the source: others go first.
fn put_off(following: &mut Following<'_>, table: &str, why: &str) {
    board::set_waits(table, Some(why));
    // The stream stands still while it is tried: the more wait, the more seldom.
    let many = u32::try_from(following.copies_put_off.len() + 1).unwrap_or(u32::MAX);
    let until = Instant::now() + SOURCE_WAITS.saturating_mul(many);
    following.copies_put_off.insert(table.to_owned(), until);
}

fn known_and_sound(following: &Following<'_>) -> Vec<Table> {
    following.tables.iter().filter(|table| !table.state.is_failed()).cloned().collect()
}

/// Copies a missing range, with the stream standing still between two transactions; lets tables
/// that caught up be ready; `chooses` the table that is compared next. Then the stream goes on,
/// whoever paused it, with the tables as they are.
pub(super) fn tend(following: &mut Following<'_>, chooses: bool) -> Result<(), Error> {
    let now = Instant::now();
    let waits = |name: &str| following.copies_put_off.get(name).is_some_and(|until| *until > now);
    let copying = following
        .tables
        .iter()
        .filter(|table| table.state == TableState::Copying && !waits(&table.name))
        // One that had to wait before lets others go first.
        .min_by_key(|table| following.copies_put_off.get(&table.name))
        .map(|table| table.name.clone());
    // A source that holds its stream up may have committed more than its last word says.
    let held_up = following.network.link().gauges.held_up().is_some();
    let caught_up: Vec<String> = following
        .tables
        .iter()
        .filter(|table| {
            !held_up
                && table.state == TableState::CatchingUp
                && table.past().is_some_and(|past| past <= following.applied)
        })
        .map(|table| table.name.clone())
        .collect();
    let behind = following.stream.is_behind(&following.stream_tables());
    if copying.is_none() && caught_up.is_empty() && !chooses && !behind {
        return Ok(());
    }
    following.pause()?;
    if !following.reconciling.is_comparing() {
        reconcile::choose(following)?;
    }
    for name in &caught_up {
        transaction::transaction(|| {
            registry::set_ready(name)?;
            objects::refresh()
        })?;
    }
    if let Some(name) = &copying {
        board::set_state(State::Streaming, &format!("copying {name}"));
        // What the source says of a piece meanwhile would be lost.
        reconcile::interrupt(following);
        match copy::range(following.network, following.settings, copy::Guard::Passed, Some(name))? {
            copy::Copied::Waits(why) => put_off(following, name, &why),
            copy::Copied::None | copy::Copied::More => {
                following.copies_put_off.remove(name);
                match copy::rewritten(following.network, Some(name))? {
                    Ok(again) => {
                        if !again {
                            transaction::transaction(registry::set_catching_up)?;
                            indexes::build_all(Others::Await, || still_wanted(following.settings))?;
                        }
                        following.look_again();
                    }
                    // Nobody knows whether it was: it is asked again, and others go on.
                    Err(error) => {
                        board::set_error(&error);
                        put_off(following, name, &error.message);
                    }
                }
            }
        }
        board::set_state(State::Streaming, "");
    }
    following.tables = transaction::transaction(registry::tables)?;
    if following.stream.binary
        && !following.tables.iter().filter(|table| table.is_sound()).all(|table| table.shape.binary_stream)
    {
        return Err(Error::retry("a table's values must come as text: the stream starts anew"));
    }
    let tables = following.stream_tables();
    following.stream.resume(following.network, tables);
    following.network.link().hungry();
    Ok(())
}
