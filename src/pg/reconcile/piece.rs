//! One piece of a table: its rows' hashes on both sides, then rows where they differ; what comes of
//! it is decided here and done by the caller.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Comparing;
use super::notes::{MOST_FOUND, Outcome};
use crate::error::Error;
use crate::mirror::fence::{self, Compared, Record, RowHash, RowKey, Since};
use crate::mirror::proof::Piece;
use crate::pg::owner::AsOwner;
use crate::pg::sql::{self, Row, number, text};
use crate::source::probe::ProbeStep;
use crate::wire::Lsn;

pub(super) struct Chunk {
    pub(super) id: u64,
    pub(super) piece: Piece,
    pub(super) stage: Stage,
    /// When the source last said something of it.
    pub(super) heard: Instant,
    /// How long hashing held the stream up here.
    pub(super) held_up: Duration,
    /// When an idle source was last asked how far it is.
    pub(super) urged: Instant,
    /// The snapshot proves something once the stream has passed this.
    pub(super) past: Lsn,
    /// How many rows the source has, and their hash.
    pub(super) there: Option<Sum>,
    /// The same here, when the stream had passed the snapshot, if nothing was touched until then.
    here: Option<Sum>,
    /// Of a list of keys: the source's rows,
    listed_there: Option<Vec<(RowKey, RowHash)>>,
    /// and ours, with what had touched them, when the stream had just passed the snapshot. Keys
    /// that are written all the time are seldom touched in the moment between; by the time that an
    /// answer is here they always are.
    listed_here: Option<(Vec<(RowKey, RowHash)>, Record)>,
    pub(super) fetched: Vec<Row>,
    compared: Compared,
    /// All rows of the piece are fetched: there are none here.
    all: bool,
}

/// How many rows, and their hash.
pub(super) type Sum = (i64, (String, String));

/// How far a piece is.
pub(super) enum Stage {
    Asked,
    /// The snapshot is known; its rows are being hashed there.
    Opened,
    /// And what is here at that position.
    Captured,
    Hashed(Vec<(RowKey, RowHash)>),
    Fetched,
}

/// What is to be done next about a piece.
pub(super) enum Next {
    Ask(ProbeStep),
    /// This snapshot came too late to prove anything.
    TryAgain,
    Done(Done),
    /// A table whose rows can't be told apart differs: it can only be copied anew.
    CopyAnew(Outcome),
}

/// A piece that was compared from end to end.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    /// Rows of the source, to be written.
    pub(super) rows: Vec<Row>,
    /// Keys whose rows are to go.
    pub(super) gone: Vec<RowKey>,
}

impl Chunk {
    pub(super) fn new(id: u64, piece: Piece) -> Chunk {
        let now = Instant::now();
        Chunk {
            id,
            piece,
            stage: Stage::Asked,
            heard: now,
            held_up: Duration::ZERO,
            urged: now,
            past: Lsn::ZERO,
            there: None,
            here: None,
            listed_there: None,
            listed_here: None,
            fetched: Vec::new(),
            compared: Compared::default(),
            all: false,
        }
    }
}

impl Chunk {
    /// What is here was hashed in time: what is touched later doesn't matter.
    pub(super) fn captured(&self) -> bool {
        matches!(self.stage, Stage::Captured) && self.here.is_some()
    }

    pub(super) fn waits_for_hashes(&self) -> bool {
        let there = match self.piece {
            Piece::Keys(_) => self.listed_there.is_some(),
            _ => self.there.is_some(),
        };
        matches!(self.stage, Stage::Captured) && !there
    }

    /// The source told each row's hash.
    pub(super) fn hashed(&mut self, rows: Vec<(RowKey, RowHash)>) {
        match self.piece {
            Piece::Keys(_) => self.listed_there = Some(rows),
            _ => self.stage = Stage::Hashed(rows),
        }
    }
}

/// In a transaction that stands where the stream has passed the piece's snapshot.
impl Comparing {
    /// Hashes what is here, as soon as the stream has passed the snapshot: the fewer touches come
    /// between.
    pub(super) fn capture(&self, chunk: &mut Chunk) -> Result<(), Error> {
        chunk.stage = Stage::Captured;
        let began = Instant::now();
        if let Piece::Keys(keys) = &chunk.piece {
            chunk.listed_here = Some((self.rows_here(&chunk.piece)?, self.record.of(keys)));
            chunk.held_up += began.elapsed();
            return Ok(());
        }
        let (lo, hi) = self.tiling.integers(&chunk.piece);
        if self.record.is_quiet(lo, hi) {
            let said = self.ask_here(&self.here.hash_query(&self.condition(&chunk.piece)))?;
            let said = said.first().cloned().unwrap_or_default();
            chunk.here = Some((number(&said, 0), (text(&said, 1), text(&said, 2))));
            chunk.held_up += began.elapsed();
        }
        Ok(())
    }

    /// What was captured against what the source told. None: that isn't there yet.
    pub(super) fn compare_captured(&self, chunk: &mut Chunk) -> Result<Option<Next>, Error> {
        if !matches!(chunk.piece, Piece::Keys(_)) {
            return Ok(self.compare_sums(chunk));
        }
        let Some(there) = chunk.listed_there.take() else { return Ok(None) };
        let (here, record) = chunk.listed_here.take().unwrap_or_default();
        self.compare_rows(chunk, fence::compare(&there, &here, &record)).map(Some)
    }

    /// If all rows hash alike and none was touched before, the piece is proven. None: the source's
    /// sum isn't there yet.
    fn compare_sums(&self, chunk: &mut Chunk) -> Option<Next> {
        let there = chunk.there.take()?;
        let keyless = self.here.key.is_empty();
        // With a touch that the snapshot doesn't see, equal hashes would prove the opposite.
        let Some(here) = chunk.here.take() else {
            return Some(if keyless { Next::TryAgain } else { Next::Ask(ProbeStep::Hashes) });
        };
        let compared = here.0.unsigned_abs();
        if here == there {
            let outcome = Outcome { compared, ..Outcome::default() };
            return Some(Next::Done(Done { outcome, rows: Vec::new(), gone: Vec::new() }));
        }
        if keyless {
            let found = vec![json!({ "rows here": here.0, "rows on the source": there.0 })];
            return Some(Next::CopyAnew(Outcome { compared, different: 1, found, ..Outcome::default() }));
        }
        chunk.all = here.0 == 0 && self.note.writes;
        Some(Next::Ask(if chunk.all { ProbeStep::Fetch(None) } else { ProbeStep::Hashes }))
    }

    /// Row by row, as the rows are here by now.
    pub(super) fn compare_hashed(
        &self,
        chunk: &mut Chunk,
        source: &[(RowKey, RowHash)],
    ) -> Result<Next, Error> {
        let began = Instant::now();
        let here = self.rows_here(&chunk.piece)?;
        chunk.held_up = chunk.held_up.max(began.elapsed());
        self.compare_rows(chunk, fence::compare(source, &here, &self.record))
    }

    /// Each row's hash, here.
    fn rows_here(&self, piece: &Piece) -> Result<Vec<(RowKey, RowHash)>, Error> {
        let rows = self.ask_here(&self.here.rows_query(&self.condition(piece)))?;
        let hashed = rows.into_iter().map(|row| {
            let hash = (number(&row, 0), number(&row, 1));
            (row.into_iter().skip(2).map(Option::unwrap_or_default).collect(), hash)
        });
        Ok(hashed.collect())
    }

    /// What differs is fetched, unless it was touched meanwhile.
    fn compare_rows(&self, chunk: &mut Chunk, compared: Compared) -> Result<Next, Error> {
        chunk.compared = compared;
        let mut wanted = chunk.compared.wrong.clone();
        if !self.note.writes {
            wanted.truncate(MOST_FOUND);
        }
        if wanted.is_empty() {
            return self.conclude(chunk);
        }
        Ok(Next::Ask(ProbeStep::Fetch(Some(wanted))))
    }

    /// What differs, without what was touched while it was fetched.
    pub(super) fn conclude(&self, chunk: &mut Chunk) -> Result<Next, Error> {
        let places = self.key_places();
        let key_of = |row: &Row| -> RowKey { places.iter().map(|place| text(row, *place)).collect() };
        let mut compared = std::mem::take(&mut chunk.compared);
        let still = |key: RowKey, compared: &mut Compared| match self.record.since(&key) {
            Since::Untouched => true,
            Since::Overwritten => {
                compared.overwritten += 1;
                false
            }
            Since::Changed => {
                compared.again.push(key);
                false
            }
        };
        let mut rows = std::mem::take(&mut chunk.fetched);
        rows.retain(|row| still(key_of(row), &mut compared));
        let mut gone = std::mem::take(&mut compared.extra);
        gone.retain(|key| still(key.clone(), &mut compared));
        // Only told: those beyond what was fetched differ too.
        let unfetched = if self.note.writes { 0 } else { compared.wrong.len().saturating_sub(MOST_FOUND) };
        let different = (rows.len() + unfetched + gone.len()) as u64;
        let found = if chunk.all { Vec::new() } else { self.found(&rows, &key_of, &gone)? };
        let mut outcome = Outcome {
            compared: compared.equal + compared.overwritten + different,
            different,
            written: 0,
            found,
            again: compared.again,
        };
        if self.note.writes {
            outcome.written = different;
        } else {
            (rows, gone) = (Vec::new(), Vec::new());
        }
        Ok(Next::Done(Done { outcome, rows, gone }))
    }

    fn condition(&self, piece: &Piece) -> String {
        self.tiling.condition(piece, &self.here)
    }

    /// Where the key's columns are among the mirrored ones.
    pub(super) fn key_places(&self) -> Vec<usize> {
        let columns = &self.table.shape.columns;
        self.here
            .key
            .iter()
            .filter_map(|key| columns.iter().position(|column| column.name == key.name()))
            .collect()
    }

    /// Whatever a type's or an index's code does, it does with the owner's rights.
    pub(super) fn ask_here(&self, query: &str) -> Result<Vec<Row>, Error> {
        let _owner = AsOwner::switch()?;
        sql::run(query, &[])
    }

    /// Names what differs: for a row's key the columns, or that it is missing here, or too much.
    fn found(
        &self,
        rows: &[Row],
        key_of: &dyn Fn(&Row) -> RowKey,
        gone: &[RowKey],
    ) -> Result<Vec<Value>, Error> {
        let rows = &rows[..rows.len().min(MOST_FOUND)];
        let keys: Vec<RowKey> = rows.iter().map(key_of).collect();
        let here = match keys.is_empty() {
            true => Vec::new(),
            false => self.ask_here(&self.here.fetch_query(&self.condition(&Piece::Keys(keys.clone()))))?,
        };
        let here: HashMap<RowKey, &Row> = here.iter().map(|row| (key_of(row), row)).collect();
        let columns = &self.table.shape.columns;
        let mut found: Vec<Value> = rows
            .iter()
            .zip(&keys)
            .map(|(row, key)| match here.get(key) {
                None => json!({ "key": key, "missing": true }),
                Some(other) => {
                    let differs =
                        columns.iter().enumerate().filter(|(place, _)| row[*place] != other[*place]);
                    let names: Vec<&str> = differs.map(|(_, column)| column.name.as_str()).collect();
                    json!({ "key": key, "columns": names })
                }
            })
            .collect();
        found.extend(gone.iter().take(MOST_FOUND).map(|key| json!({ "key": key, "extra": true })));
        Ok(found)
    }
}
