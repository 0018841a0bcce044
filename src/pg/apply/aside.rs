//! Rows that the destination refuses: found among those of a batch, and set aside while the others
//! are applied.
//!
//! The key of such a row is *held* until a whole version of it is taken. What the mirror has under
//! a held key may be older than what the source had when it sent a change, so a change that leaves
//! columns as they were can't be applied there.

use std::collections::{HashMap, HashSet};

use super::steps::Work;
use super::target::Target;
use super::{Applied, Care, looking};
use crate::error::{Error, Verdict};
use crate::mirror::batch::{Action, Change, Span, Truncated};
use crate::mirror::bisect::{ATTEMPTS, Budget, Culprit, Next, ROWS, Search, TooMany};
use crate::mirror::fence::RowKey;
use crate::mirror::stream_table::{Standing, integer};
use crate::pg::memory::Inserting;
use crate::pg::{memory, sql, transaction};

/// Held keys, table by table.
pub type Held = HashMap<String, HashSet<RowKey>>;

/// What became of rows, in order: the last word on a key counts. None: it is as it should be.
pub type Verdicts = Vec<(RowKey, Option<Refusal>)>;

/// A row that is set aside.
#[derive(Debug)]
pub struct Refusal {
    pub operation: &'static str,
    /// A document of its columns as text, of those that the stream sent.
    pub row: Option<String>,
    /// Message and SQLSTATE; None: it wasn't tried, since it is only known in part.
    pub error: Option<(String, String)>,
    /// Where the row's bytes are.
    span: Span,
}

/// Whether the destination said this of rows; else it is about the table, or passes by itself.
pub(super) fn is_about_rows(error: &Error) -> bool {
    error.sqlstate.is_some() && error.verdict != Verdict::Retry
}

/// Before a batch's first table: what is checked only at the commit is checked at once, where it
/// can still be told whose it is. Returns how many subtransactions the batch may take.
pub(super) fn begin(care: Care) -> Result<u32, Error> {
    if care == Care::EachTable {
        sql::run("SET CONSTRAINTS ALL IMMEDIATE", &[])?;
    }
    Ok(ATTEMPTS)
}

/// The rows of one table that are set aside, while a batch is applied to it.
pub(super) struct Aside {
    held: HashSet<RowKey>,
    before: HashSet<RowKey>,
    verdicts: Verdicts,
    attempts: u32,
    /// Refused rows are looked for.
    isolates: bool,
    pub(super) sure: bool,
}

impl Aside {
    pub(super) fn of(held: &mut Held, table: &str, sure: bool, attempts: u32) -> Aside {
        let held = if held.is_empty() { None } else { held.remove(table) }.unwrap_or_default();
        Aside { before: held.clone(), held, verdicts: Verdicts::new(), attempts, isolates: false, sure }
    }

    /// Keeps what is held for the next batch; what was held before, if this one was taken back.
    pub(super) fn end(mut self, held: &mut Held, table: &str, applied: bool) -> Verdicts {
        if !applied {
            self.verdicts.retain(|(_, refusal)| refusal.is_some());
        }
        let keys = if applied { self.held } else { self.before };
        if !keys.is_empty() {
            held.insert(table.to_owned(), keys);
        }
        self.verdicts
    }

    pub(super) fn attempts_left(&self) -> u32 {
        self.attempts
    }

    /// What the first try came to is undone.
    pub(super) fn begin_isolating(&mut self) {
        self.held.clone_from(&self.before);
        self.verdicts.clear();
        self.attempts = self.attempts.saturating_sub(2);
        self.isolates = true;
    }

    /// Whether each row must be looked at.
    pub(super) fn concerns(&self) -> bool {
        self.isolates || !self.held.is_empty()
    }
}

/// Changes that one statement applies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    Delete,
    Insert,
    Replace,
    Update,
    /// These columns stay as they are.
    Partial(Vec<bool>),
}

impl Work<'_> {
    /// As [`folded`](Self::folded), but for rows that are held; with refused rows left out, if
    /// those are looked for.
    pub(super) fn folded_apart(&mut self, changes: &[Change]) -> Result<(), Error> {
        let mut free = Vec::with_capacity(changes.len());
        let mut held = Vec::new();
        for change in changes {
            let is_held = !self.aside.held.is_empty() && {
                let key = self.key(change.key);
                self.aside.held.contains(&key)
            };
            if is_held { &mut held } else { &mut free }.push(*change);
        }
        if self.aside.isolates {
            for (kind, changes) in self.sorted(&free) {
                self.isolate(&kind, &changes, false)?;
            }
        } else {
            self.folded(&free)?;
        }
        for (kind, changes) in self.sorted(&held) {
            match kind {
                Kind::Partial(_) => changes.iter().for_each(|change| self.set_aside(&kind, change, None)),
                _ => self.isolate(&kind, &changes, true)?,
            }
        }
        Ok(())
    }

    /// As [`rekey`](Self::rekey); a row that isn't taken under its new key goes from the old one,
    /// since the source has it there no longer, and the new key is held: what the stream left out
    /// is fetched.
    pub(super) fn rekey_apart(&mut self, old: Span, new: Span, row: Span) -> Result<(), Error> {
        let holds = |aside: &Aside, key: &RowKey| aside.held.contains(key);
        let (old_key, new_key) = (self.key(old), self.key(new));
        let mut error = None;
        if !holds(self.aside, &old_key) && !holds(self.aside, &new_key) {
            if !self.aside.isolates {
                return self.rekey(old, new, row);
            }
            if self.aside.attempts > 0 {
                self.aside.attempts -= 1;
                match self.tried(|work| work.rekey(old, new, row))? {
                    None => return Ok(()),
                    Some(refused) => error = Some(refused),
                }
            }
        }
        if self.aside.held.len() >= ROWS && !holds(self.aside, &new_key) {
            return Err(too_many(error.as_ref()));
        }
        let counts = self.counts();
        let gone = Change { key: old, row: Span::default(), action: Action::Delete };
        self.isolate(&Kind::Delete, &[gone], true)?;
        let moved = Change { key: new, row, action: Action::Update { partial: true } };
        self.set_aside(&Kind::Partial(Vec::new()), &moved, error.as_ref());
        // It was one change.
        self.restore(counts);
        self.applied.quarantined += 1;
        Ok(())
    }

    /// What was held is gone on the source.
    pub(super) fn truncated_apart(&mut self, truncated: &Truncated) {
        let goes = |key: &RowKey| match (truncated, &self.target.table.standing) {
            (Truncated::Ranges(blind), Standing::Judged(ranges)) => {
                let Some(first) = key.first().and_then(|first| first.parse().ok()) else { return true };
                let inside =
                    |index: &usize| ranges.get(*index).is_some_and(|judged| judged.range.contains(first));
                blind.iter().any(inside)
            }
            _ => true,
        };
        let gone: Vec<RowKey> = self.aside.held.iter().filter(|key| goes(key)).cloned().collect();
        for key in gone {
            self.aside.held.remove(&key);
            self.aside.verdicts.push((key, None));
        }
    }

    /// Writes down the rows that were set aside: they are read in one subtransaction, since reading
    /// a value may fail, which may be why the row was refused.
    pub(super) fn keep_rows(&mut self) {
        let arena = self.arena;
        let target = &mut *self.target;
        let refusals = self.aside.verdicts.iter_mut().filter_map(|(_, refusal)| refusal.as_mut());
        let mut refusals: Vec<&mut Refusal> = refusals.filter(|kept| kept.span != Span::default()).collect();
        if refusals.is_empty() {
            return;
        }
        let read = |target: &mut Target, reads: bool| -> Vec<String> {
            refusals.iter().map(|kept| document(target.row_text(arena.tuple(kept.span), reads))).collect()
        };
        let rows = transaction::subtransaction(|| Ok(read(target, true)));
        let rows = rows.unwrap_or_else(|_| read(target, false));
        for (kept, row) in refusals.iter_mut().zip(rows) {
            kept.row = Some(row);
        }
    }

    /// Applies changes of one kind, but for those that are refused. `known`: their rows were set
    /// aside before, whether or not they are here.
    fn isolate(&mut self, kind: &Kind, changes: &[Change], known: bool) -> Result<(), Error> {
        let rows = if known { changes.len() } else { ROWS.saturating_sub(self.aside.held.len()) };
        let mut budget = Budget { attempts: self.aside.attempts, rows };
        let mut search = Search::new(changes.len());
        let mut last = None;
        loop {
            let next = search.next(&mut budget);
            self.aside.attempts = budget.attempts;
            match next {
                Ok(None) => return Ok(()),
                Ok(Some(Next::SetAside(range))) => {
                    changes[range].iter().for_each(|change| self.set_aside(kind, change, last.as_ref()));
                }
                Ok(Some(Next::Try(range))) => {
                    let part = &changes[range];
                    match self.tried(|work| work.group(kind, part, known))? {
                        None => part.iter().for_each(|change| self.taken(change)),
                        Some(error) => {
                            let culprit = match (kind, looking::last()) {
                                (Kind::Delete, _) => Culprit::Unknown,
                                (_, Some(row)) => Culprit::Row(row),
                                // Nobody looked at any row: whatever they are, the table takes
                                // none.
                                (_, None) => return Err(error),
                            };
                            search.refused(culprit);
                            last = Some(error);
                        }
                    }
                }
                Err(TooMany) => return Err(too_many(last.as_ref())),
            }
        }
    }

    /// Runs `body` in a subtransaction; the error, if rows were refused: all that it did is undone.
    fn tried(&mut self, body: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<Option<Error>, Error> {
        let (counts, mark) = (self.counts(), memory::mark());
        self.target.watched = true;
        let tried = transaction::subtransaction(|| body(self));
        self.target.watched = false;
        match tried {
            Ok(()) => Ok(None),
            Err(error) if is_about_rows(&error) => {
                self.restore(counts);
                memory::back_to(mark);
                Ok(Some(error))
            }
            Err(error) => Err(error),
        }
    }

    fn group(&mut self, kind: &Kind, changes: &[Change], known: bool) -> Result<(), Error> {
        let rows: Vec<Span> = changes.iter().map(|change| change.row).collect();
        let keys: Vec<Span> = changes.iter().map(|change| change.key).collect();
        match kind {
            Kind::Delete if known => {
                let found = self.remove(&keys)?;
                if self.aside.sure {
                    super::steps::all_taken(found, keys.len())?;
                }
                self.applied.applied += keys.len() as u64;
                Ok(())
            }
            Kind::Delete => self.delete(&keys),
            Kind::Insert => {
                let table = &self.target.table;
                let inserting = (table.told && table.standing == Standing::Ready).then(Inserting::begin);
                let taken = self.upsert(&rows, vec![], false);
                drop(inserting);
                taken
            }
            Kind::Replace => self.upsert(&rows, vec![], false),
            Kind::Update => self.upsert(&rows, vec![], !known),
            Kind::Partial(unchanged) => self.upsert(&rows, unchanged.clone(), true),
        }
    }

    /// Changes by what applies them, deletes first.
    fn sorted(&self, changes: &[Change]) -> Vec<(Kind, Vec<Change>)> {
        let order = [Kind::Delete, Kind::Insert, Kind::Replace, Kind::Update];
        let mut sorted: Vec<(Kind, Vec<Change>)> = order.into_iter().map(|kind| (kind, Vec::new())).collect();
        for change in changes {
            let kind = match change.action {
                Action::Nothing => continue,
                Action::Delete => Kind::Delete,
                Action::Insert => Kind::Insert,
                Action::Replace => Kind::Replace,
                Action::Update { partial: false } => Kind::Update,
                Action::Update { partial: true } => {
                    Kind::Partial(self.target.unchanged(self.arena.tuple(change.row)))
                }
            };
            match sorted.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, changes)) => changes.push(*change),
                None => sorted.push((kind, vec![*change])),
            }
        }
        sorted.retain(|(_, changes)| !changes.is_empty());
        sorted
    }

    /// The row is as it should be.
    fn taken(&mut self, change: &Change) {
        if self.aside.held.is_empty() {
            return;
        }
        let key = self.key(change.key);
        if self.aside.held.remove(&key) {
            self.aside.verdicts.push((key, None));
        }
    }

    fn set_aside(&mut self, kind: &Kind, change: &Change, error: Option<&Error>) {
        let key = self.key(change.key);
        let operation = match kind {
            Kind::Delete => "delete",
            Kind::Insert => "insert",
            Kind::Replace => "upsert",
            Kind::Update | Kind::Partial(_) => "update",
        };
        let error = error.map(|error| (error.message.clone(), error.sqlstate.clone().unwrap_or_default()));
        self.aside.held.insert(key.clone());
        self.aside.verdicts.push((key, Some(Refusal { operation, row: None, error, span: change.row })));
        self.applied.quarantined += 1;
    }

    fn key(&mut self, key: Span) -> RowKey {
        let tuple = self.arena.tuple(key);
        if self.target.table.has_integer_key() {
            return tuple.iter().filter_map(integer).map(|value| value.to_string()).collect();
        }
        self.target.key_text(tuple)
    }

    fn counts(&self) -> (u64, u64, u64) {
        let Applied { applied, missing, quarantined, .. } = *self.applied;
        (applied, missing, quarantined)
    }

    fn restore(&mut self, (applied, missing, quarantined): (u64, u64, u64)) {
        (self.applied.applied, self.applied.missing, self.applied.quarantined) =
            (applied, missing, quarantined);
    }
}

fn too_many(last: Option<&Error>) -> Error {
    let what = last.map_or("they were refused before", |error| error.message.as_str());
    let mut error = Error::retry_slowly(format!("more than {ROWS} rows, or too many in one batch: {what}"))
        .hint("Mend what refuses them; then the table comes back by itself, or SELECT odoo_mirror.retry_failures(); at once.");
    error.sqlstate = last.and_then(|error| error.sqlstate.clone());
    error
}

fn document(columns: Vec<(String, Option<String>)>) -> String {
    let columns = columns.into_iter().map(|(name, value)| (name, value.into()));
    serde_json::Value::Object(columns.collect()).to_string()
}
