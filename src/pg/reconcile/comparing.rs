//! The table that is compared: where it is, what its pieces are, and how rows get here.

use std::sync::Arc;

use super::notes::Note;
use super::piece::{Chunk, Done};
use crate::error::Error;
use crate::mirror::batch::Batch;
use crate::mirror::fence::{Record, RowKey};
use crate::mirror::pace::Pace;
use crate::mirror::proof::{Limits, Piece, Side, Tiling, sides};
use crate::mirror::stream_table::Layout;
use crate::pg::apply::{Applier, Care, Verdicts};
use crate::pg::registry::Table;
use crate::pg::{board, guc, quarantine};
use crate::source::guarded::Wanted;
use crate::source::probe::ProbeRequest;
use crate::wire::Lsn;

/// About how many bytes of rows make a piece.
const PIECE_BYTES: i64 = 4 * 1024 * 1024;

/// Where each piece reads all keys, it has this many times the rows.
const SCANNED: i64 = 8;

/// Keys that are compared once more at a time.
const KEYS: i64 = 500;

/// The table at hand.
pub(super) struct Comparing {
    pub(super) note: Note,
    pub(super) table: Table,
    pub(super) record: Record,
    /// The stream tells what it touches, since the record began.
    pub(super) recording: bool,
    pub(super) tiling: Tiling,
    pub(super) pace: Pace,
    pub(super) there: Side,
    pub(super) here: Side,
    pub(super) chunk: Option<Chunk>,
    pub(super) mender: Applier,
    /// Rows of the last piece that was written and the destination refused, or takes again.
    pub(super) verdicts: Verdicts,
}

impl Comparing {
    pub(super) fn new(note: Note, table: Table) -> Comparing {
        let tiling = Tiling::of(&table.source, &table.shape);
        let (there, here) = sides(&table.source, &table.shape);
        let (record, mender) = (Record::default(), Applier::mending());
        let verdicts = Verdicts::new();
        Comparing {
            note,
            table,
            record,
            recording: false,
            tiling,
            pace: Pace::default(),
            there,
            here,
            chunk: None,
            mender,
            verdicts,
        }
    }

    /// The next piece, from where the table is.
    pub(super) fn next_piece(&self, keys: Vec<RowKey>) -> Piece {
        match &self.tiling {
            _ if self.note.ranges_done => Piece::Keys(keys),
            Tiling::Ranges { order } => {
                let lo = self.note.done_to.clone().filter(|key| key.len() == order.len());
                Piece::Range { lo, hi: None }
            }
            Tiling::Whole => Piece::Whole,
        }
    }

    /// Where the table is once this piece is done, and whether it was the last.
    pub(super) fn place_after(&self, piece: &Piece) -> (Option<RowKey>, bool) {
        match piece {
            Piece::Range { hi, .. } => (hi.clone(), hi.is_none()),
            _ => (None, true),
        }
    }

    /// Brings rows and keys of the source here, by the applier's own means; those that are refused
    /// are set aside.
    pub(super) fn write(&mut self, done: &Done, at: Lsn) -> Result<(), Error> {
        self.verdicts.clear();
        if done.rows.is_empty() && done.gone.is_empty() {
            return Ok(());
        }
        let columns = self.table.shape.columns.iter().map(|column| Some(column.name.clone())).collect();
        let layout = Arc::new(Layout { columns, key: self.key_places(), identifies: true });
        let batch = Batch::of_rows(&self.table.for_stream(false, false), &layout, &done.rows, &done.gone)
            .map_err(|error| Error::stop(format!("a row of the source can't be taken: {error}")))?;
        self.mender.hold(quarantine::held()?);
        let Some(applied) = self.mender.apply(&batch, Care::EachTable)?.into_iter().next() else {
            return Ok(());
        };
        self.verdicts = applied.verdicts;
        match applied.refused {
            Some(refused) => Err(refused),
            None => quarantine::note(&self.note.table, &self.verdicts, quarantine::Source::Comparing(at)),
        }
    }

    /// Of keys that were compared, those that are equal now are set aside no longer.
    pub(super) fn release(&self, chunk: &Chunk, done: &Done, at: Lsn) -> Result<(), Error> {
        let Piece::Keys(keys) = &chunk.piece else { return Ok(()) };
        let refused =
            |key: &RowKey| self.verdicts.iter().any(|(other, refusal)| other == key && refusal.is_some());
        let equal = keys.iter().filter(|key| !done.outcome.again.contains(key) && !refused(key));
        let equal: Verdicts = equal.map(|key| (key.clone(), None)).collect();
        quarantine::note(&self.note.table, &equal, quarantine::Source::Comparing(at))
    }

    /// What is asked of the source about a piece.
    pub(super) fn request(&self, id: u64, piece: Piece, publication: &str) -> ProbeRequest {
        ProbeRequest {
            id,
            wanted: Wanted {
                table: self.table.source.clone(),
                publication: publication.to_owned(),
                server_version: board::read(|board| board.source_version).unwrap_or(0),
            },
            side: self.there.clone(),
            tiling: self.tiling.clone(),
            piece,
            limits: self.limits(),
            must_see: self.record.must_see().to_vec(),
            look_for_writers: self.note.writers,
            share: if self.note.writes { 100 } else { guc::COMPARE_SHARE.get() },
        }
    }

    /// What the next piece may have.
    pub(super) fn limits(&self) -> Limits {
        let times = if self.tiling.scans() { SCANNED } else { 1 };
        let rows = i64::from(guc::COMPARE_ROWS.get()) * times;
        self.pace.of(Limits { rows, bytes: PIECE_BYTES })
    }

    /// How many keys may be compared once more at a time.
    pub(super) fn keys(&self) -> i64 {
        self.pace.of(Limits { rows: KEYS, bytes: PIECE_BYTES }).rows
    }
}
