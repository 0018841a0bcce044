//! Follows the stream: has each batch applied, confirms what is on disk, and between batches keeps
//! the mirror's own notes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::apply::{Applier, Care};
use super::board::{self, State};
use super::counting::Counting;
use super::drifting::{self, Drifting};
use super::network::{Network, PATIENCE, Reading};
use super::progress::{Progress, Settings};
use super::reconcile::{self, Reconciling};
use super::registry::{self, Table};
use super::stream::Stream;
use super::wanted::still_wanted;
use super::{
    applying, endpoint, gate, guc, jobs, leaving, memory, origin, quarantine, session, shown, tending,
    transaction, wait,
};
use crate::error::Error;
use crate::mirror::stream_table::StreamTable;
use crate::mirror::table_state::TableState;
use crate::source::inspect::Inspection;
use crate::source::link::{Event, Request};
use crate::source::probe::Probed;
use crate::source::stream::{Bounds, StreamRequest};
use crate::source::watch::Watched;
use crate::wire::Lsn;

/// Most bytes that a batch gathers: with one filling, one handed over and one being applied, the
/// bound of memory.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// How often the position is written to a table, and an idle one confirmed.
const NOTE_EVERY: Duration = Duration::from_secs(10);

/// After a busy stretch the counters are written down this soon, so that a crash loses few.
const NOTE_SOON: Duration = Duration::from_secs(2);

/// How often to look at what nobody announces, a dropped extension say, while all tables are ready.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// While commits wait to reach the disk: how often to look, so that they are confirmed.
const FLUSH_LOOK: Duration = Duration::from_millis(100);

/// Runs until stopped or failed.
pub fn follow(
    network: &mut Network,
    settings: &Settings,
    inspection: &Inspection,
    mut progress: Progress,
) -> Result<(), Error> {
    let start =
        transaction::transaction(|| Ok(origin::set_up()))?.max(progress.slot_start).max(progress.applied);
    let tables = transaction::transaction(|| {
        quarantine::begin()?;
        registry::tables()
    })?;
    let binary =
        tables.iter().filter(|table| !table.state.is_failed()).all(|table| table.shape.binary_stream);
    let counting = Counting::load(&mut progress)?;
    progress.reconnects += 1;
    if let Some(cause) = super::worker::take_cause() {
        progress.timings.causes[cause] += 1;
    }
    let mut following = Following::new(network, settings, tables, progress, counting, start);
    following.applier.hold(transaction::transaction(quarantine::held)?);
    // Transactions that an earlier life passed may still be invisible to a snapshot: while they
    // are, they hold locks.
    let oids = following.tables.iter().map(|table| table.source.oid).collect();
    let pick = |event| match event {
        Event::Writers(writers) => Ok(writers),
        other => Err(other),
    };
    let writers = following.network.answer(Request::Writers { tables: oids }, pick)?;
    following.reconciling.wrote_before(writers);
    reconcile::choose(&mut following)?;
    following.tells = transaction::transaction(memory::is_wanted)?;
    let request = StreamRequest {
        slot: settings.slot.clone(),
        publication: settings.publication.clone(),
        start,
        binary,
        server_version: inspection.identity.server_version_num.cast_unsigned(),
        tables: following.stream_tables(),
        bounds: Bounds {
            changes: guc::BATCH_SIZE.get() as usize,
            bytes: BATCH_BYTES,
            age: Duration::from_millis(guc::FLUSH_INTERVAL.get() as u64),
        },
    };
    following.stream.start(following.network, request);
    let ended = following.run();
    if wait::told_to_end() {
        transaction::abort();
        wait::end(|| following.note());
    }
    wait::end_politely(false);
    ended
}

pub(super) struct Following<'a> {
    pub(super) network: &'a mut Network,
    pub(super) settings: &'a Settings,
    pub(super) tables: Vec<Table>,
    pub(super) progress: Progress,
    pub(super) applier: Applier,
    pub(super) care: Care,
    /// Rows were set aside in the open transaction: at its end it is known where that was.
    pub(super) set_aside: bool,
    pub(super) quarantine: quarantine::Tending,
    /// A source transaction is applied in part, in the open local one.
    pub(super) open: bool,
    /// What it showed of its tables changed some state.
    pub(super) changed: bool,
    /// Since when.
    pub(super) opened: Option<Instant>,
    /// Shown here up to this position.
    pub(super) applied: Lsn,
    /// The position of the last commit that moved the origin.
    pub(super) noted: Lsn,
    /// Local commits that are not on disk yet, and the positions that they stand for.
    pub(super) unflushed: VecDeque<(u64, Lsn)>,
    pub(super) counting: Counting,
    pub(super) last_note: Instant,
    /// None: look again at once, there is more to do.
    last_look: Option<Instant>,
    pub(super) began: Instant,
    pub(super) stream: Stream,
    watched: Option<Box<Watched>>,
    pub(super) drifting: Drifting,
    pub(super) reconciling: Reconciling,
    pub(super) proving: shown::Proving,
    /// New invoices are told.
    tells: bool,
    /// What had to wait for somebody's lock or transaction on the source is tried again then: the
    /// other tables don't stand still for it all the time.
    pub(super) source_again_at: Instant,
    /// Tables whose copy waits for something on the source, until when others go first.
    pub(super) copies_put_off: HashMap<String, Instant>,
}

impl<'a> Following<'a> {
    fn new(
        network: &'a mut Network,
        settings: &'a Settings,
        tables: Vec<Table>,
        progress: Progress,
        counting: Counting,
        start: Lsn,
    ) -> Following<'a> {
        let now = Instant::now();
        Following {
            network,
            settings,
            tables,
            progress,
            applier: Applier::default(),
            care: applying::first_care(),
            set_aside: false,
            quarantine: quarantine::Tending::default(),
            open: false,
            changed: false,
            opened: None,
            applied: start,
            noted: start,
            unflushed: VecDeque::new(),
            counting,
            last_note: now,
            last_look: Some(now),
            began: now,
            stream: Stream::default(),
            watched: None,
            drifting: Drifting::default(),
            reconciling: Reconciling::default(),
            proving: shown::Proving::default(),
            tells: false,
            source_again_at: now,
            copies_put_off: HashMap::new(),
        }
    }

    fn run(&mut self) -> Result<(), Error> {
        self.network.link().hungry();
        loop {
            let wait = match self.last_look {
                // What there is to do is done between two source transactions.
                None if !self.open => Duration::ZERO,
                _ if self.unflushed.is_empty() => PATIENCE,
                _ => FLUSH_LOOK,
            };
            let reading = Reading { open: self.open, eager: self.may_apply_in_parts() };
            let event = self.network.next_of_stream(self.reconciling.patience(wait), reading)?;
            self.dispatch(event)?;
            if self.open {
                continue;
            }
            endpoint::tend();
            wait::end_politely(true);
            reconcile::advance(self)?;
            shown::tend(self);
            self.look_after()?;
        }
    }

    fn probed(&mut self, probed: Probed) {
        match probed {
            Probed::Drifted { .. } => {
                self.drifting.suspect();
                self.look_again();
            }
            // Another table may go first.
            Probed::Late { .. } => self.look_again(),
            _ => {}
        }
        self.reconciling.probed(probed);
    }

    /// Takes what came, whoever waited for it; None: nothing did.
    fn dispatch(&mut self, event: Option<Event>) -> Result<(), Error> {
        match event {
            Some(Event::Batch(batch)) => self.batch(&batch)?,
            Some(Event::Idle { position }) => self.idle(position),
            Some(Event::Streaming) => self.streams(),
            Some(Event::Probed(probed)) => self.probed(*probed),
            Some(Event::Watched(watched)) => {
                if let Some(snapshot) = &watched.snapshot {
                    self.reconciling.saw(snapshot);
                }
                self.watched = Some(watched);
                self.look_again();
            }
            Some(_) => {}
            None => self.publish(),
        }
        self.confirm();
        Ok(())
    }

    fn streams(&mut self) {
        board::set_state(State::Streaming, "");
        gate::contested(false);
        session::report_activity("following the source");
        self.publish();
    }

    /// Whether a transaction may be applied as it comes, with all tables as they should be.
    fn may_apply_in_parts(&self) -> bool {
        self.care == Care::None
            && !self.reconciling.is_comparing()
            && self.tables.iter().all(|table| table.state == TableState::Ready)
    }

    /// What is done between source transactions.
    fn look_after(&mut self) -> Result<(), Error> {
        let every = match self.tables.iter().all(|table| table.state.is_settled()) {
            true if self.drifting.is_waiting() => PATIENCE,
            true => jobs::pace().map_or(LOOK_EVERY, |pace| LOOK_EVERY.min(pace)),
            false => PATIENCE,
        };
        if self.network.take_called() || self.last_look.is_none_or(|last| last.elapsed() >= every) {
            self.last_look = Some(Instant::now());
            still_wanted(self.settings)?;
            self.drifting.look_for_cures(&self.tables);
            let looked = drifting::look_if_suspected(self)?.map(|seen| (seen.tables, seen.past));
            let watched = self.watched.take();
            let position = watched.as_ref().filter(|_| looked.is_none()).map(|watched| watched.position);
            let watched = watched.map(|watched| (watched.tables, watched.past));
            if let Some((published, past)) = looked.or(watched) {
                if let Some(position) = position {
                    shown::looked(self, &published, position);
                }
                drifting::notice(self, &published, past)?;
                tending::take_in_new_tables(self, &published)?;
                leaving::tend(self)?;
            }
            drifting::tend(self)?;
            jobs::tend(self)?;
            self.tells = transaction::transaction(memory::is_wanted)?;
            quarantine::tend(self)?;
            let chooses = reconcile::look(self)?;
            tending::tend(self, chooses)?;
            gate::settle(&mut self.progress, &self.tables)?;
            shown::publish(self)?;
        }
        let since = self.last_note.elapsed();
        if since >= NOTE_EVERY || (self.counting.unwritten && since >= NOTE_SOON) {
            self.note()?;
        }
        Ok(())
    }

    pub(super) fn stream_tables(&self) -> Vec<Arc<StreamTable>> {
        // A renamed table stands in the registry under both names; the one that failed must not
        // hide the other.
        let (failed, sound): (Vec<&Table>, Vec<&Table>) =
            self.tables.iter().partition(|table| table.state.is_failed());
        let all = failed.into_iter().chain(sound);
        all.map(|table| {
            let told = self.tells && table.name == memory::TABLE;
            table.for_stream(self.reconciling.records(&table.name), told)
        })
        .collect()
    }

    /// With nothing in flight the source stands at `position`.
    fn idle(&mut self, position: Lsn) {
        if !self.open && position > self.applied {
            self.applied = position;
            // The stream has passed the copies' snapshots, or soon will have.
            if self.tables.iter().any(|table| table.state == TableState::CatchingUp) {
                self.look_again();
            }
        }
        self.publish();
    }

    /// There is more to tend: the stream gets its turn, and then it goes on.
    pub(super) fn look_again(&mut self) {
        self.last_look = None;
    }

    /// Brings the stream to a halt between two transactions; what it had gathered is applied. The
    /// next round of [`tending::tend`] resumes it. A transaction whose rest doesn't come ends the
    /// life, as it does elsewhere: when the source is silent for too long, or the mirror is wanted
    /// no more.
    pub(super) fn pause(&mut self) -> Result<(), Error> {
        if self.stream.is_paused() {
            return Ok(());
        }
        self.stream.ask_to_pause(self.network);
        self.network.link().hungry();
        loop {
            let wait = if self.unflushed.is_empty() { PATIENCE } else { FLUSH_LOOK };
            match self.network.next(wait)? {
                Some(Event::Paused) if self.open => {
                    return Err(Error::stop("the stream paused inside a transaction"));
                }
                Some(Event::Paused) => {
                    self.stream.has_paused();
                    return Ok(());
                }
                event => self.dispatch(event)?,
            }
        }
    }
}
