//! Drift: what the source does to its tables is done here too, by itself, and the stream never
//! stops for it. What is to be done, `mirror/drift.rs` decides.
//!
//! There are two ways to hear of it. The stream brings a change that doesn't fit its table: then it
//! stands before that change, within a source transaction perhaps, and the table is altered in the
//! open local one. Or the catalog, looked at now and then, differs: then the stream passes what the
//! catalog was read after, and stands still while it is looked at once more. Where neither proves
//! how the rows are, the table is taken over as it is by now, and its rows are compared while
//! readers keep them.

use std::time::{Duration, Instant};

use super::board::{self, State};
use super::follow::Following;
use super::indexes::{self, Others};
use super::mirror;
use super::registry::{self, Table};
use super::table_making::{self, Filling, type_here};
use super::wanted::still_wanted;
use super::{ahead, ddl_history, guc, naming, objects, own, quarantine, reconcile, sql, transaction};
use crate::error::{Error, Verdict};
use crate::mirror::batch::Unfit;
use crate::mirror::ddl;
use crate::mirror::drift::{self, Change, Outcome};
use crate::mirror::shape::{MirrorShape, ShapeError, mirror_name};
use crate::mirror::source_table::SourceTable;
use crate::mirror::table_state::{Cure, Failure, TableState};
use crate::source::catalog::Seen;
use crate::source::link::{Event, Request};
use crate::source::stream::StreamCommand;
use crate::wire::{Lsn, Relation};

/// A table that couldn't be altered now is tried again after this long: somebody reads it, or
/// alters it on the source.
const AGAIN: Duration = Duration::from_secs(3);

/// A table that failed goes on within 30 seconds after the cause is gone, whatever `poll_interval`
/// is.
const CURES_EVERY: Duration = Duration::from_secs(20);

/// How long to wait for a reader of a table that is to be altered: the stream stands still
/// meanwhile.
pub(super) const LOCK_WAITS: &str = "500ms";

/// The part of following the stream that follows the source's schema.
#[derive(Default)]
pub(super) struct Drifting {
    noticed: Option<Noticed>,
    again_at: Option<Instant>,
    /// Columns came or went, and indexes with them.
    altered: bool,
    /// A snapshot showed a table otherwise than it is known here.
    suspects: bool,
    /// When a look was last made use of; None: not in this life.
    noticed_at: Option<Instant>,
}

/// What a look at the catalog found to differ.
struct Noticed {
    /// Name and generation of each table, and what it is by now.
    tables: Vec<(String, u64, SourceTable)>,
    /// Past every commit that the look saw.
    past: Lsn,
}

impl Drifting {
    /// Whether a look found tables to differ, and nothing was done about it yet.
    pub(super) fn has_noticed(&self) -> bool {
        self.noticed.is_some()
    }

    /// Whether something is to be done soon.
    pub(super) fn is_waiting(&self) -> bool {
        self.noticed.is_some() || self.again_at.is_some()
    }

    /// A snapshot showed a table otherwise than it is known here: what is published is looked at
    /// soon.
    pub(super) fn suspect(&mut self) {
        self.suspects = true;
    }

    /// What only a look shows to be mended is looked for this often, however seldom looks come.
    pub(super) fn look_for_cures(&mut self, tables: &[Table]) {
        let by_a_look = |failure: Failure| matches!(failure.cure(), Cure::Look | Cure::Trial);
        let last = *self.noticed_at.get_or_insert_with(Instant::now);
        if last.elapsed() >= CURES_EVERY
            && tables.iter().any(|table| table.state.failure().is_some_and(by_a_look))
        {
            self.noticed_at = Some(Instant::now());
            self.suspect();
        }
    }
}

/// The stream stands before a change that doesn't fit its table; the changes before it are applied
/// in the open transaction. `fresh`: there are none of its own transaction.
pub(super) fn meet(following: &mut Following<'_>, unfit: &Unfit, fresh: bool) -> Result<(), Error> {
    let tables = transaction::attempt(registry::tables)?;
    let table =
        tables.iter().filter(|table| table.is_sound()).find(|table| table.source.oid == unfit.relation.id);
    if let Some(table) = table {
        let seen = look(following)?;
        let keyed_alike = |seen: &Seen| drift::is_keyed_alike(&table.source, &table.shape, &seen.tables);
        if unfit.misfit || !seen.as_ref().is_ok_and(keyed_alike) {
            if let Ok(seen) = &seen {
                ahead::add_before(following, &tables, table, &unfit.relation, seen, fresh)?;
            }
            let binary = following.stream.binary;
            transaction::attempt(|| meet_in(table, &tables, &unfit.relation, seen, binary))?;
            reconcile::leave(following, &table.name);
            following.drifting.altered = true;
            following.look_again();
        }
    }
    following.tables = transaction::attempt(registry::tables)?;
    let tables = following.stream_tables();
    following.stream.refit(following.network, tables);
    Ok(())
}

/// Alters the table as its Relation says, or leaves it for the next pause.
fn meet_in(
    table: &Table,
    tables: &[Table],
    relation: &Relation,
    seen: Result<Seen, Error>,
    binary: bool,
) -> Result<(), Error> {
    let why = match seen {
        Err(error) => format!("the source changed it, and can't tell how by now: {error}"),
        Ok(seen) => match outcome(table, tables, &seen, Some(relation)) {
            Some(Outcome::Follow { changes, becomes }) if table.state == TableState::Ready => {
                let followed = transaction::subtransaction(|| {
                    follow(table, &changes, &becomes, binary)?;
                    let changed = registry::tables()?.into_iter().find(|known| known.name == table.name);
                    let fits =
                        changed.is_some_and(|table| table.for_stream(false, false).layout(relation).is_ok());
                    if fits {
                        Ok(())
                    } else {
                        Err(Error::retry_slowly("the source changed it in a way of its own"))
                    }
                });
                match followed {
                    Ok(()) => return Ok(()),
                    Err(error) => error.message,
                }
            }
            Some(Outcome::Refill(why)) => why,
            Some(Outcome::Fail { reason, .. }) => reason,
            _ => "the source changed it".to_owned(),
        },
    };
    registry::drifted(&table.name, &why)
}

/// What is published by now, if something gave reason to look before the next look is due.
pub(super) fn look_if_suspected(following: &mut Following<'_>) -> Result<Option<Seen>, Error> {
    if !std::mem::take(&mut following.drifting.suspects) || following.drifting.noticed.is_some() {
        return Ok(None);
    }
    Ok(look(following)?.ok())
}

/// Notes what a look at the catalog shows to differ.
pub(super) fn notice(
    following: &mut Following<'_>,
    published: &[SourceTable],
    past: Lsn,
) -> Result<(), Error> {
    following.drifting.noticed_at = Some(Instant::now());
    rename(following, published)?;
    if following.drifting.noticed.is_some() {
        return Ok(());
    }
    let mut found = Vec::new();
    for table in following.tables.iter().filter(|table| table.is_sound()) {
        let now = published.iter().find(|now| now.oid == table.source.oid);
        // One that is being compared anyway is compared once more when it is ready: a table that is
        // emptied again and again would never be.
        let waits = |now: &SourceTable| {
            table.state == TableState::Reconciling && drift::only_moved(&table.source, now)
        };
        if let Some(now) = now.filter(|now| drift::differs(&table.source, now) && !waits(now)) {
            found.push((table.name.clone(), table.generation, now.clone()));
        }
    }
    if !found.is_empty() {
        following.drifting.noticed = Some(Noticed { tables: found, past });
    }
    Ok(())
}

/// Does what is due, between two source transactions.
pub(super) fn tend(following: &mut Following<'_>) -> Result<(), Error> {
    if let Some(past) = following.drifting.noticed.as_ref().map(|noticed| noticed.past) {
        if !past.is_past(following.applied) {
            settle(following)?;
        } else {
            // An idle source says where it is only now and then.
            following.network.ask(Request::Command(StreamCommand::Ask));
        }
    }
    let waits = following.tables.iter().any(|table| table.drift.is_some());
    if waits && following.drifting.again_at.is_none_or(|at| Instant::now() >= at) {
        take_over(following)?;
    }
    if !following.drifting.is_waiting() && std::mem::take(&mut following.drifting.altered) {
        ahead::settle()?;
        transaction::transaction(objects::refresh)?;
        indexes::build_all(Others::Await, || still_wanted(following.settings))?;
        board::set_state(State::Streaming, "");
    }
    Ok(())
}

/// The stream has passed what was noticed: it stands still now, and if the catalog still says the
/// same, that is how the tables are at this point.
fn settle(following: &mut Following<'_>) -> Result<(), Error> {
    pause(following)?;
    let Some(noticed) = following.drifting.noticed.take() else { return Ok(()) };
    let Ok(seen) = look(following)? else { return Ok(()) };
    let tables = transaction::transaction(registry::tables)?;
    for (name, generation, before) in &noticed.tables {
        let known = tables.iter().find(|table| table.name == *name && table.generation == *generation);
        let Some(table) = known.filter(|table| table.is_sound()) else {
            continue;
        };
        let Some(now) = seen.tables.iter().find(|now| now.oid == before.oid) else { continue };
        let went_on = drift::differs(before, now);
        let outcome = transaction::transaction(|| Ok(outcome(table, &tables, &seen, None)))?;
        match outcome {
            None | Some(Outcome::Same) => {}
            // Changed once more in between: the next look comes.
            Some(Outcome::Follow { .. }) if went_on => {}
            Some(Outcome::Follow { changes, becomes })
                if table.state == TableState::Ready || changes.is_empty() =>
            {
                let binary = following.stream.binary;
                let followed = transaction::transaction(|| follow(table, &changes, &becomes, binary));
                match followed {
                    Err(error) if error.verdict != Verdict::Retry => {
                        transaction::transaction(|| registry::drifted(name, &error.message))?;
                    }
                    // Somebody reads it: the next look tries again.
                    Err(_) | Ok(()) => {}
                }
            }
            Some(Outcome::Compare) if table.state == TableState::Ready => {
                let moved = table.source.files != now.files;
                let why = if moved { "its file changed" } else { "an enum of it has new labels" };
                transaction::transaction(|| {
                    registry::redescribe(name, &as_kept(table, now))?;
                    registry::compare(name, &format!("{why} on the source"))?;
                    ddl_history::note(name, why, "its rows are compared while it stays ready")
                })?;
            }
            // Later.
            Some(Outcome::Compare) if table.state == TableState::Reconciling => continue,
            Some(Outcome::Refill(why)) => transaction::transaction(|| registry::drifted(name, &why))?,
            Some(Outcome::Fail { reason, .. }) => {
                transaction::transaction(|| registry::drifted(name, &reason))?;
            }
            Some(Outcome::Follow { .. } | Outcome::Compare) => {
                transaction::transaction(|| registry::drifted(name, "the source changed it"))?;
            }
        }
        reconcile::leave(following, name);
    }
    reload(following)
}

/// Tables that can't be followed are taken over as they are by now, and their rows compared;
/// readers keep them.
fn take_over(following: &mut Following<'_>) -> Result<(), Error> {
    following.drifting.again_at = Some(Instant::now() + AGAIN);
    let Ok(seen) = look(following)? else { return Ok(()) };
    pause(following)?;
    let tables = transaction::transaction(registry::tables)?;
    let shapes = transaction::transaction(|| Ok(naming::shapes(&seen.tables, &tables, |_| true)))?;
    let mut all = true;
    for table in &tables {
        let Some(why) = &table.drift else { continue };
        // One that is no longer published is found by the next look.
        let Some((now, shape)) = seen.tables.iter().zip(&shapes).find(|(now, _)| now.oid == table.source.oid)
        else {
            all = false;
            continue;
        };
        let taken = transaction::transaction(|| {
            wait_for_locks(LOCK_WAITS)?;
            take_over_in(table, now, shape.as_ref(), why)
        });
        match taken {
            Err(error) if error.verdict == Verdict::Retry => {
                all = false;
                board::set_error(&error.while_doing(&format!("altering table \"{}\"", table.name)));
            }
            taken => taken?,
        }
        reconcile::leave(following, &table.name);
    }
    if all {
        following.drifting.again_at = None;
    }
    following.look_again();
    reload(following)
}

fn take_over_in(
    table: &Table,
    now: &SourceTable,
    shape: Result<&MirrorShape, &ShapeError>,
    why: &str,
) -> Result<(), Error> {
    match shape {
        Err(error) => {
            mirror::fail_to_take_in(&table.name, now, error.failure(), &error.to_string(), &error.hint())?
        }
        // A table renamed as well keeps its name here until the next look.
        Ok(shape) => {
            let shape = MirrorShape { name: table.name.clone(), ..shape.clone() };
            mirror::take_in(&with_size(table, now), &shape, &[], Filling::Online)?;
        }
    }
    objects::refresh()?;
    let found = sql::run(
        "SELECT state, reason FROM odoo_mirror_internal.tables WHERE name = $1",
        &[Some(&table.name)],
    )?;
    let row = found.first().cloned().unwrap_or_default();
    let done = match sql::text(&row, 0).as_str() {
        "failed" => format!("the table failed: {}", sql::text(&row, 1)),
        _ => "taken over as it is by now; its rows are compared with the source's".to_owned(),
    };
    ddl_history::note(&table.name, why, &done)
}

/// Alters the mirror's table, in the caller's transaction, and notes what it stands on from then
/// on.
fn follow(table: &Table, changes: &[Change], becomes: &SourceTable, binary: bool) -> Result<(), Error> {
    let shape = MirrorShape::of(becomes, &type_here)
        .map_err(|error| Error::retry_slowly(error.to_string()).hint(error.hint()))?;
    if binary && !shape.binary_stream {
        return Err(Error::retry_slowly("a column of it can't travel as the stream does"));
    }
    let shape = MirrorShape { name: table.name.clone(), ..shape };
    wait_for_locks(LOCK_WAITS)?;
    if !ahead::only_adds(changes) {
        objects::let_go_of(&table.name)?;
    }
    let to_do = ahead::missing(&table.name, changes)?;
    let dropped = |change: &Change| match change {
        Change::Drop { column } => Some(column.clone()),
        _ => None,
    };
    own::refuse_to_drop(&table.name, &to_do.iter().filter_map(dropped).collect::<Vec<_>>())?;
    table_making::alter(&table.name, ddl::follow(&table.name, &to_do))?;
    ahead::arrived(&table.name, changes)?;
    wait_for_locks(&guc::LOCK_TIMEOUT.get().to_string())?;
    registry::redefine(&table.name, &as_kept(table, becomes), &shape)?;
    if changes.is_empty() {
        return Ok(());
    }
    // Views that show a new column are built anew when the transaction is over: that would lock
    // their readers out, too.
    if !ahead::only_adds(changes) {
        objects::refresh()?;
    }
    let what: Vec<String> = changes.iter().map(ToString::to_string).collect();
    ddl_history::note(&table.name, &what.join(", "), "done here too; no row needs to be compared")
}

/// Tables that the source renamed have their new names here too, where nothing else has them.
fn rename(following: &mut Following<'_>, published: &[SourceTable]) -> Result<(), Error> {
    let mut paused = false;
    for now in published {
        let Some(table) = mirror::renamed(&following.tables, now) else { continue };
        let (old, new) = (table.name.clone(), mirror_name(&now.schema, &now.name));
        if !std::mem::replace(&mut paused, true) {
            pause(following)?;
        }
        let done = transaction::transaction(|| {
            wait_for_locks(LOCK_WAITS)?;
            // Its name must do as a name here.
            MirrorShape::of(now, &type_here).map_err(|error| Error::retry_slowly(error.to_string()))?;
            objects::let_go_of(&old)?;
            table_making::alter(&old, vec![ddl::rename_table(&old, &new)])?;
            registry::rename(&old, &new, now)?;
            objects::refresh()?;
            ddl_history::note(&new, &format!("table {old} renamed to {new}"), "renamed here too")
        });
        if let Err(error) = done {
            // It goes on under its old name; the next look tries again.
            board::set_error(&error.while_doing(&format!("renaming table \"{old}\" to \"{new}\"")));
        }
        reconcile::leave(following, &old);
        reload(following)?;
    }
    Ok(())
}

/// What is to be done about a table, as the catalog shows it. None: it isn't published any more.
fn outcome(table: &Table, known: &[Table], seen: &Seen, relation: Option<&Relation>) -> Option<Outcome> {
    outcome_as(table, seen, &naming::shapes(&seen.tables, known, |_| true), relation)
}

/// As [`outcome`], with the shapes of all that was seen.
pub(super) fn outcome_as(
    table: &Table,
    seen: &Seen,
    shapes: &[Result<MirrorShape, ShapeError>],
    relation: Option<&Relation>,
) -> Option<Outcome> {
    let place = seen.tables.iter().position(|now| now.oid == table.source.oid)?;
    let wanted = shapes.get(place)?;
    Some(drift::decide(&table.source, &table.shape, seen.tables.get(place)?, wanted.as_ref(), relation))
}

/// A look doesn't ask for sizes.
fn with_size(table: &Table, now: &SourceTable) -> SourceTable {
    SourceTable { bytes: table.source.bytes, ..now.clone() }
}

/// A description that the table's rows were not compared for: what was seen when they last were,
/// still counts.
fn as_kept(table: &Table, now: &SourceTable) -> SourceTable {
    SourceTable { seen: table.source.seen.clone(), ..with_size(table, now) }
}

/// What the source publishes now; an Err inside: it couldn't be looked at.
fn look(following: &mut Following<'_>) -> Result<Result<Seen, Error>, Error> {
    let request = Request::Look {
        publication: following.settings.publication.clone(),
        excluded: guc::excluded_columns(),
    };
    let pick = |event| match event {
        Event::Seen(seen) => Ok(*seen),
        other => Err(other),
    };
    following.network.answer(request, pick)
}

/// Takes up what the registry says by now.
fn reload(following: &mut Following<'_>) -> Result<(), Error> {
    following.applier.hold(transaction::transaction(quarantine::held)?);
    following.tables = transaction::transaction(registry::tables)?;
    Ok(())
}

/// Stops the stream between two transactions, until the tables are told to it.
fn pause(following: &mut Following<'_>) -> Result<(), Error> {
    following.drifting.altered = true;
    following.pause()
}

/// For the rest of the transaction.
pub(super) fn wait_for_locks(at_most: &str) -> Result<(), Error> {
    sql::set(c"lock_timeout", at_most)
}
