//! Compares tables with the source while the stream goes on, and mends what differs: for verify(),
//! resync(), and wherever rows may have changed without an event. `mirror/fence.rs` says what makes
//! it exact.
//!
//! One table at a time, one piece after the other. What the source says arrives as events; what is
//! to be done here is done between two source commits, in the applier's own transactions.

mod comparing;
mod failing;
mod notes;
mod piece;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use self::comparing::Comparing;
use self::piece::{Chunk, Done, Next, Stage};
use super::apply::{Applier, Verdicts};
use super::follow::Following;
use super::registry;
use super::{board, quarantine, transaction};
use crate::error::{Error, Verdict};
use crate::mirror::batch::Batch;
use crate::mirror::fence::{Passed, Record};
use crate::mirror::proof::{Piece, Tiling};
use crate::mirror::snapshot::Snapshot;
use crate::mirror::table_state::{Failure, TableState};
use crate::source::link::{Prober, Request};
use crate::source::probe::{ProbeStep, Probed};
use crate::source::stream::StreamCommand;

/// After a piece that couldn't be read or proved nothing.
const REST: Duration = Duration::from_secs(1);

/// How long other tables go before one that has something to wait for on the source.
const PUT_OFF: Duration = Duration::from_secs(5);

/// While the stream has still to pass a snapshot: how often to look, and to ask an idle source
/// where it stands.
const GLANCE: Duration = Duration::from_millis(20);

/// A piece that the source says nothing of for this long is given up, and begun again at half its
/// size.
const PATIENCE: Duration = Duration::from_secs(120);

/// The part of following the stream that compares.
#[derive(Default)]
pub(super) struct Reconciling {
    /// Transactions that the stream passed, and no snapshot is known to have seen.
    passed: Passed,
    /// Those that were writing a table, by its OID, when this life began: what an earlier one
    /// passed may be among them.
    earlier: HashMap<u32, Vec<u64>>,
    /// Tables that have something to wait for on the source, until when others go first.
    put_off: HashMap<String, Instant>,
    prober: Option<Prober>,
    comparing: Option<Comparing>,
    rest_until: Option<Instant>,
    /// The source can't tell a piece of the table at hand, and never will.
    unreadable: Option<(Failure, Error)>,
    last_id: u64,
}

impl Reconciling {
    /// Whether the stream is to tell what it touches in this table.
    pub(super) fn records(&self, table: &str) -> bool {
        self.comparing.as_ref().is_some_and(|comparing| comparing.note.table == table)
    }

    pub(super) fn is_comparing(&self) -> bool {
        self.comparing.is_some()
    }

    /// How long the main loop may wait for events.
    pub(super) fn patience(&self, otherwise: Duration) -> Duration {
        let waits_for_stream = self.comparing.as_ref().is_some_and(|comparing| {
            comparing.recording
                && match &comparing.chunk {
                    Some(chunk) => matches!(chunk.stage, Stage::Opened),
                    None => true,
                }
        });
        if waits_for_stream { GLANCE } else { otherwise }
    }

    /// A snapshot of the source that is not about any table.
    pub(super) fn saw(&mut self, snapshot: &Snapshot) {
        self.passed.forget(snapshot);
    }

    /// The stream is about to begin: whoever writes these tables by now may be in what an earlier
    /// life passed.
    pub(super) fn wrote_before(&mut self, writers: Vec<(u32, u64)>) {
        for (table, xid) in writers {
            self.earlier.entry(table).or_default().push(xid);
        }
    }

    /// Tables that others go before; the one that was tried last comes last.
    fn waiting(&self) -> Vec<&str> {
        let now = Instant::now();
        let mut waiting: Vec<_> = self.put_off.iter().filter(|(_, until)| **until > now).collect();
        waiting.sort_by_key(|(_, until)| **until);
        waiting.into_iter().map(|(table, _)| table.as_str()).collect()
    }

    /// The table has something to wait for: all others go first. The more there are of its kind,
    /// the more seldom each is tried.
    fn put_off(&mut self, table: &str) {
        let many = u32::try_from(self.put_off.len() + 1).unwrap_or(u32::MAX);
        let now = Instant::now();
        self.put_off.insert(table.to_owned(), now + PUT_OFF.saturating_mul(many));
        self.rest_until = Some(now + REST);
    }

    /// Keeps what a batch says for this; in the transaction that applied it.
    pub(super) fn note_batch(&mut self, applier: &mut Applier, batch: &Batch) -> Result<(), Error> {
        self.passed.add(batch.xids.iter().copied());
        let Some(comparing) = &mut self.comparing else { return Ok(()) };
        let mut moved = Vec::new();
        for part in batch.tables.iter().filter(|part| part.table.name == comparing.note.table) {
            for touched in &part.touches {
                let key = touched.key.and_then(|key| applier.key_text(&batch.arena, part, key));
                match key {
                    None => comparing.record.touch_all(touched.xid),
                    Some(key) => {
                        if touched.moved_in_part {
                            // What it brought along came from a row that may not have been compared
                            // yet.
                            moved.push(key.clone());
                        }
                        comparing.record.touch(key, touched.xid, touched.touch);
                    }
                }
            }
        }
        registry::recheck(&comparing.note.table, &moved)
    }

    /// What the stream did to these rows was refused: they aren't as on the source.
    pub(super) fn refused(&mut self, table: &str, verdicts: &Verdicts) {
        if let Some(comparing) = self.comparing.as_mut().filter(|comparing| comparing.note.table == table) {
            let refused = verdicts.iter().filter(|(_, refusal)| refusal.is_some());
            refused.for_each(|(key, _)| comparing.record.refused(key));
        }
    }

    /// Takes what the source said about a piece.
    pub(super) fn probed(&mut self, probed: Probed) {
        let Some(comparing) = &mut self.comparing else { return };
        let Some(chunk) = &mut comparing.chunk else { return };
        if probed.id() == chunk.id {
            chunk.heard = Instant::now();
        }
        match probed {
            Probed::TooBig { id } if id == chunk.id => {
                comparing.pace.too_big();
                comparing.chunk = None;
            }
            Probed::Opened { id, snapshot, past, piece } if id == chunk.id => {
                self.passed.forget(&snapshot);
                comparing.record.forget(&snapshot);
                (chunk.past, chunk.piece, chunk.stage) = (past, piece, Stage::Opened);
                // Who was asked for is seen; so will it be by all later snapshots.
                comparing.note.writers = false;
                self.put_off.remove(&comparing.note.table);
                board::set_waits(&comparing.note.table, None);
            }
            Probed::Summed { id, rows, hash } if id == chunk.id => chunk.there = Some((rows, hash)),
            Probed::Hashes { id, rows } if id == chunk.id => chunk.hashed(rows),
            Probed::Rows { id, rows } if id == chunk.id => chunk.fetched.extend(rows),
            Probed::End { id } if id == chunk.id => chunk.stage = Stage::Fetched,
            Probed::Late { id, why } if id == chunk.id => {
                board::set_waits(&comparing.note.table, Some(&why));
                comparing.chunk = None;
                let table = comparing.note.table.clone();
                self.put_off(&table);
            }
            Probed::Drifted { id, why } if id == chunk.id => {
                pgrx::log!("odoo_mirror: comparing table \"{}\": {why}", comparing.note.table);
                comparing.chunk = None;
                let table = comparing.note.table.clone();
                self.put_off(&table);
            }
            Probed::GivenUp { id, error } if id == chunk.id => {
                pgrx::log!("odoo_mirror: comparing table \"{}\": {error}", comparing.note.table);
                board::set_error_of(&error, &format!("comparing table \"{}\"", comparing.note.table));
                comparing.chunk = None;
                self.rest_until = Some(Instant::now() + REST);
                self.unreadable = failing::there(&error).map(|failure| (failure, error));
            }
            _ => {}
        }
    }

    fn ask(&mut self, following: &super::network::Network, step: ProbeStep) {
        self.prober.get_or_insert_with(|| following.link().prober()).ask(step);
    }

    /// Gives the piece at hand up; it is begun again after a rest.
    fn give_up_piece(&mut self, network: &super::network::Network) {
        if let Some(comparing) = &mut self.comparing
            && comparing.chunk.take().is_some()
        {
            self.ask(network, ProbeStep::Close);
        }
        self.rest_until = Some(Instant::now() + REST);
    }
}

/// Chooses the table that is compared from now on, before the stream starts or while it stands
/// still: from here on it tells what it touches.
pub(super) fn choose(following: &mut Following<'_>) -> Result<(), Error> {
    let note = transaction::transaction(|| notes::next(&following.reconciling.waiting()))?;
    let reconciling = &mut following.reconciling;
    let table = note.as_ref().and_then(|note| following.tables.iter().find(|table| table.name == note.table));
    reconciling.comparing = match (note, table) {
        (Some(note), Some(table)) => {
            let mut comparing = Comparing::new(note, table.clone());
            let earlier = reconciling.earlier.get(&table.source.oid).map_or(&[][..], Vec::as_slice);
            comparing.record = Record::begin(&reconciling.passed, earlier);
            comparing.recording = true;
            Some(comparing)
        }
        _ => None,
    };
    Ok(())
}

/// Gives up the piece at hand, if there is one: it is begun again after a rest.
pub(super) fn interrupt(following: &mut Following<'_>) {
    following.reconciling.give_up_piece(following.network);
}

/// The table was altered here: what was asked of the source about it no longer fits. It is begun
/// again.
pub(super) fn leave(following: &mut Following<'_>, table: &str) {
    if following.reconciling.records(table) {
        following.reconciling.give_up_piece(following.network);
        following.reconciling.rest_until = None;
        following.reconciling.comparing = None;
    }
}

/// Looks now and then whether another table is to be compared than the one at hand. True: the
/// stream must be told.
pub(super) fn look(following: &mut Following<'_>) -> Result<bool, Error> {
    let note = transaction::transaction(|| notes::next(&following.reconciling.waiting()))?;
    let reconciling = &mut following.reconciling;
    let now = |table: &str| following.tables.iter().find(|known| known.name == table);
    let (goes_on, urgent) = match (&reconciling.comparing, &note) {
        (None, None) => return Ok(false),
        (None, Some(_)) => return Ok(true),
        (Some(comparing), next) => {
            let table = now(&comparing.note.table);
            let same = table.is_some_and(|table| {
                table.generation == comparing.table.generation
                    && matches!(table.state, TableState::Ready | TableState::Reconciling)
            });
            let listed = next.as_ref().is_some_and(|next| {
                next.table == comparing.note.table || comparing.table.state == TableState::Reconciling
            });
            // A table that readers wait for goes before one that is only verified.
            let urgent = next.as_ref().and_then(|next| now(&next.table)).is_some_and(|next| {
                next.state == TableState::Reconciling && comparing.table.state != TableState::Reconciling
            });
            // One that waits lets another go first.
            let gives_way = comparing.chunk.is_none()
                && reconciling.put_off.contains_key(&comparing.note.table)
                && next.as_ref().is_some_and(|next| next.table != comparing.note.table);
            (same && (listed || next.is_some()), urgent || gives_way)
        }
    };
    if goes_on && !urgent {
        return Ok(false);
    }
    let rests = reconciling.rest_until;
    reconciling.give_up_piece(following.network);
    // From one that waits to the next that may wait there is no hurry.
    let waits = note.is_some_and(|note| reconciling.waiting().contains(&note.table.as_str()));
    reconciling.rest_until = rests.filter(|_| waits);
    reconciling.comparing = None;
    Ok(true)
}

/// Goes on with the piece at hand as far as it can be; between two source commits.
pub(super) fn advance(following: &mut Following<'_>) -> Result<(), Error> {
    let reconciling = &mut following.reconciling;
    if let Some((failure, error)) = reconciling.unreadable.take() {
        return failing::cannot_be_compared(following, &error, failure);
    }
    let Some(comparing) = &mut reconciling.comparing else { return Ok(()) };
    if !comparing.recording {
        return Ok(());
    }
    let Some(chunk) = &mut comparing.chunk else {
        if reconciling.rest_until.is_none_or(|until| Instant::now() >= until) {
            reconciling.rest_until = None;
            begin_piece(following)?;
        }
        return Ok(());
    };
    // A table without a key is one piece, however large; its connection tells when the source is
    // gone.
    if chunk.heard.elapsed() > PATIENCE && chunk.piece != Piece::Whole {
        comparing.pace.too_big();
        reconciling.give_up_piece(following.network);
        return Ok(());
    }
    if matches!(chunk.stage, Stage::Asked) {
        return Ok(());
    }
    if following.applied < chunk.past {
        if chunk.urged.elapsed() >= GLANCE * 5 {
            chunk.urged = Instant::now();
            following.network.ask(Request::Command(StreamCommand::Ask));
        }
        return Ok(());
    }
    if chunk.waits_for_hashes() {
        return Ok(());
    }
    if comparing.record.is_void() && !chunk.captured() {
        reconciling.give_up_piece(following.network);
        return Ok(());
    }
    let Some(mut chunk) = comparing.chunk.take() else { return Ok(()) };
    let captured = match chunk.stage {
        Stage::Opened => transaction::transaction(|| comparing.capture(&mut chunk)),
        _ => Ok(()),
    };
    let stage = std::mem::replace(&mut chunk.stage, Stage::Asked);
    let compare = || match stage {
        Stage::Hashed(source) => comparing.compare_hashed(&mut chunk, &source).map(Some),
        Stage::Fetched => comparing.conclude(&mut chunk).map(Some),
        Stage::Asked | Stage::Opened | Stage::Captured => comparing.compare_captured(&mut chunk),
    };
    match captured.and_then(|()| transaction::transaction(compare)) {
        Ok(None) => {
            chunk.stage = Stage::Captured;
            comparing.chunk = Some(chunk);
            Ok(())
        }
        Ok(Some(next)) => go_on(following, chunk, next),
        Err(error) => match failing::here(&error) {
            Some(failure) => failing::cannot_be_compared(following, &error, failure),
            None => Err(error),
        },
    }
}

fn go_on(following: &mut Following<'_>, chunk: Chunk, next: Next) -> Result<(), Error> {
    let reconciling = &mut following.reconciling;
    let Some(comparing) = &mut reconciling.comparing else { return Ok(()) };
    match next {
        Next::Ask(step) => {
            comparing.chunk = Some(chunk);
            reconciling.ask(following.network, step);
            Ok(())
        }
        Next::TryAgain => {
            comparing.chunk = Some(chunk);
            reconciling.give_up_piece(following.network);
            // Soon: how the moments fall is a matter of luck.
            reconciling.rest_until = Some(Instant::now() + GLANCE);
            Ok(())
        }
        Next::CopyAnew(outcome) if comparing.note.writes => {
            let name = comparing.note.table.clone();
            let reason = "its rows differ from the source's, and it has no key to mend them by";
            reconciling.ask(following.network, ProbeStep::Close);
            reconciling.comparing = None;
            transaction::transaction(|| {
                notes::copied_anew(&name, &outcome)?;
                registry::copy_all_again(&name, reason)
            })?;
            reload(following)
        }
        Next::CopyAnew(outcome) => {
            piece_done(following, &chunk, &Done { outcome, rows: Vec::new(), gone: Vec::new() })
        }
        Next::Done(done) => piece_done(following, &chunk, &done),
    }
}

/// Writes what a piece asks for, and notes that it is done, in one commit.
fn piece_done(following: &mut Following<'_>, chunk: &Chunk, done: &Done) -> Result<(), Error> {
    let at = following.applied;
    let reconciling = &mut following.reconciling;
    reconciling.ask(following.network, ProbeStep::Close);
    let Some(comparing) = &mut reconciling.comparing else { return Ok(()) };
    let generation = comparing.table.generation;
    let noted = transaction::transaction(|| {
        let noted = match &chunk.piece {
            Piece::Keys(keys) => notes::keys_done(&comparing.note, keys, &done.outcome)?,
            piece => {
                let (to, last) = comparing.place_after(piece);
                notes::piece_done(&comparing.note, generation, to.as_ref(), last, &done.outcome)?
            }
        };
        if noted {
            comparing.write(done, at)?;
            notes::refused(&comparing.note, &comparing.verdicts)?;
            if comparing.note.writes {
                comparing.release(chunk, done, at)?;
            }
        }
        Ok(noted)
    });
    let verdicts = std::mem::take(&mut comparing.verdicts);
    match noted {
        Ok(true) => {
            comparing.pace.took(chunk.held_up);
            if !matches!(chunk.piece, Piece::Keys(_)) {
                let (to, last) = comparing.place_after(&chunk.piece);
                (comparing.note.done_to, comparing.note.ranges_done) = (to, last);
            }
            if !done.outcome.again.is_empty() {
                reconciling.rest_until = Some(Instant::now() + GLANCE * 10);
            }
            if !verdicts.is_empty() || matches!(chunk.piece, Piece::Keys(_)) {
                following.applier.hold(transaction::transaction(quarantine::held)?);
            }
            Ok(())
        }
        // It was begun anew meanwhile: the next look takes that up.
        Ok(false) => {
            reconciling.comparing = None;
            following.look_again();
            Ok(())
        }
        Err(error) if error.verdict == Verdict::Retry => {
            comparing.mender.forget();
            reconciling.rest_until = Some(Instant::now() + REST);
            Ok(())
        }
        Err(error) => {
            let verdicts = std::mem::take(&mut comparing.verdicts);
            failing::refused(following, &error, &verdicts, at)
        }
    }
}

fn reload(following: &mut Following<'_>) -> Result<(), Error> {
    following.tables = transaction::transaction(registry::tables)?;
    following.look_again();
    Ok(())
}

fn begin_piece(following: &mut Following<'_>) -> Result<(), Error> {
    let reconciling = &mut following.reconciling;
    let Some(comparing) = &mut reconciling.comparing else { return Ok(()) };
    let mut keys = Vec::new();
    if comparing.note.ranges_done {
        keys = transaction::transaction(|| notes::keys_left(&comparing.note.table, comparing.keys()))?;
        if keys.is_empty() {
            return finish(following);
        }
    }
    let mut piece = comparing.next_piece(keys);
    if let (Piece::Range { lo, hi }, Tiling::Ranges { order }) = (&mut piece, &comparing.tiling) {
        let sql = comparing.here.cut_query(order, (lo, &None), comparing.limits());
        let cut = match transaction::transaction(|| comparing.ask_here(&sql)) {
            Ok(cut) => cut,
            Err(error) => match failing::here(&error) {
                Some(failure) => return failing::cannot_be_compared(following, &error, failure),
                None => return Err(error),
            },
        };
        *hi = cut.into_iter().next().map(|key| key.into_iter().map(Option::unwrap_or_default).collect());
    }
    let id = reconciling.last_id + 1;
    let request = comparing.request(id, piece.clone(), &following.settings.publication);
    comparing.chunk = Some(Chunk::new(id, piece));
    reconciling.last_id = id;
    reconciling.ask(following.network, ProbeStep::Open(Box::new(request)));
    Ok(())
}

/// All pieces are done and no key is left: what was compared is proven as of where the mirror
/// stands.
fn finish(following: &mut Following<'_>) -> Result<(), Error> {
    let at = following.applied;
    let reconciling = &mut following.reconciling;
    let Some(comparing) = reconciling.comparing.take() else { return Ok(()) };
    transaction::transaction(|| notes::table_done(&comparing.note, comparing.table.generation, at))?;
    reload(following)
}

pub(in crate::pg) use self::notes::add;
