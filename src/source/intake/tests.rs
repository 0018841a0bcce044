//! What is read on, what waits, and what is told: without a socket.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Intake;
use crate::error::Verdict;
use crate::mirror::batch::Batch;
use crate::mirror::replica_identity::Identity;
use crate::mirror::stream_table::{Standing, StreamColumn, StreamTable};
use crate::source::link::{Event, Gauges};
use crate::source::stream::{Bounds, StreamCommand, StreamRequest};
use crate::wire::Lsn;

/// A table of text columns, the first of which is its key.
pub(in crate::source) fn table(columns: &[&str]) -> Arc<StreamTable> {
    let column = |name: &&str| StreamColumn {
        name: (*name).to_owned(),
        type_oid: 25,
        type_modifier: -1,
        mirror_type: "text".to_owned(),
    };
    Arc::new(StreamTable {
        source_oid: 1,
        name: "t".to_owned(),
        columns: columns.iter().map(column).collect(),
        left_out: Vec::new(),
        key: vec!["id".to_owned()],
        key_folds: true,
        standing: Standing::Ready,
        recorded: false,
        told: false,
        seen: None,
        identity: Identity::Columns(vec!["id".to_owned()]),
        generation: 1,
    })
}

pub(in crate::source) fn request(bounds: Bounds) -> StreamRequest {
    StreamRequest {
        slot: "s".to_owned(),
        publication: "p".to_owned(),
        start: Lsn(100),
        binary: false,
        server_version: 150_000,
        tables: vec![table(&["id"])],
        bounds,
    }
}

pub(in crate::source) const WIDE: Bounds =
    Bounds { changes: 1_000_000, bytes: 1 << 30, age: Duration::from_secs(3_600) };

pub(in crate::source) fn begin(at: u64) -> Vec<u8> {
    [&b"B"[..], &at.to_be_bytes(), &[0; 8], &u32::try_from(at).unwrap().to_be_bytes()].concat()
}

pub(in crate::source) fn commit(at: u64) -> Vec<u8> {
    [&b"C\0"[..], &at.to_be_bytes(), &(at + 1).to_be_bytes(), &[0; 8]].concat()
}

pub(in crate::source) fn relation(columns: &[&str]) -> Vec<u8> {
    let mut bytes = b"R\0\0\0\x01public\0t\0d".to_vec();
    bytes.extend(u16::try_from(columns.len()).unwrap().to_be_bytes());
    for (place, name) in columns.iter().enumerate() {
        bytes.push(u8::from(place == 0));
        bytes.extend(name.as_bytes());
        bytes.extend(b"\0\0\0\0\x19\xff\xff\xff\xff");
    }
    bytes
}

/// The same value in each column.
pub(in crate::source) fn insert(value: &str, columns: u16) -> Vec<u8> {
    let mut bytes = b"I\0\0\0\x01N".to_vec();
    bytes.extend(columns.to_be_bytes());
    for _ in 0..columns {
        bytes.push(b't');
        bytes.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        bytes.extend(value.as_bytes());
    }
    bytes
}

struct Scene {
    intake: Intake,
    gauges: Arc<Gauges>,
}

impl Scene {
    fn new(bounds: Bounds) -> Scene {
        let gauges = Arc::new(Gauges::default());
        let intake = Intake::new(request(bounds), 700, Arc::clone(&gauges));
        let mut scene = Scene { intake, gauges };
        scene.feed(&relation(&["id"]));
        scene
    }

    fn feed(&mut self, message: &[u8]) {
        self.intake.feed(message).unwrap();
    }

    fn transaction(&mut self, at: u64) {
        [begin(at), insert(&at.to_string(), 1), commit(at)].iter().for_each(|message| self.feed(message));
    }

    /// What is told of this end: received, flushed, applied.
    fn told(&mut self) -> [u64; 3] {
        let status = self.intake.status(false);
        [1, 9, 17].map(|at| u64::from_be_bytes(status[at..at + 8].try_into().unwrap()))
    }
}

fn asked(batch: &Batch) -> u64 {
    batch.tables.iter().map(|part| part.asked()).sum()
}

#[test]
fn before_the_first_commit_at_or_past_where_it_is_to_stand_it_stands_and_says_so() {
    for next in [250, 300] {
        let mut scene = Scene::new(WIDE);
        scene.transaction(200);
        scene.gauges.stand_at.store(250, Ordering::Relaxed);
        scene.transaction(249);
        assert!(scene.intake.reads() && scene.intake.news().is_none() && !scene.intake.is_odd());
        scene.feed(&begin(next));
        assert!(!scene.intake.reads() && scene.intake.is_odd(), "{next}");
        // What was committed before is handed over first, though a transaction has begun.
        assert!(scene.intake.is_deliverable() && scene.intake.news().is_none());
        let batch = scene.intake.take();
        assert_eq!((batch.transactions, batch.boundary.map(|boundary| boundary.end)), (2, Some(Lsn(250))));
        let Some(Event::Idle { position: Lsn(250) }) = scene.intake.news() else { panic!("not told") };
        assert!(scene.intake.reads() && !scene.intake.is_odd());
        scene.feed(&insert("1", 1));
        scene.feed(&commit(next));
        assert_eq!(asked(&scene.intake.take()), 1);
        // Once.
        scene.transaction(400);
        assert!(scene.intake.reads());
    }
}

#[test]
fn it_stands_also_where_nothing_gathered() {
    let mut scene = Scene::new(WIDE);
    scene.gauges.stand_at.store(250, Ordering::Relaxed);
    scene.feed(&begin(300));
    assert!(!scene.intake.reads() && !scene.intake.is_deliverable());
    assert!(matches!(scene.intake.news(), Some(Event::Idle { position: Lsn(250) })));
    assert!(scene.intake.reads());
}

#[test]
fn it_pauses_between_two_transactions_and_not_before_all_is_handed_over() {
    let mut scene = Scene::new(WIDE);
    scene.feed(&begin(200));
    scene.intake.command(StreamCommand::Pause).unwrap();
    assert!(scene.intake.reads() && scene.intake.news().is_none(), "a transaction is open");
    scene.feed(&insert("1", 1));
    scene.feed(&commit(200));
    assert!(!scene.intake.reads() && scene.intake.news().is_none(), "a batch is there");
    scene.intake.take();
    assert!(!scene.intake.reads());
    assert!(matches!(scene.intake.news(), Some(Event::Paused)));
    assert!(!scene.intake.reads() && scene.intake.news().is_none(), "until it is resumed, told once");
    // It doesn't ask the source meanwhile: nobody would hear the answer.
    assert_eq!(scene.intake.status(true)[33], 0);
    scene.intake.command(StreamCommand::Resume { tables: vec![table(&["id"])] }).unwrap();
    assert!(scene.intake.reads());
    assert_eq!(scene.intake.status(true)[33], 1);
}

#[test]
fn an_aged_batch_waits_for_the_end_of_the_transaction_at_hand() {
    let mut scene = Scene::new(Bounds { age: Duration::ZERO, ..WIDE });
    scene.transaction(200);
    assert!(!scene.intake.reads(), "it is old enough");
    scene.feed(&begin(300));
    assert!(scene.intake.reads(), "whoever began it must be able to end it");
    scene.feed(&commit(300));
    assert!(!scene.intake.reads());
    scene.intake.take();
    assert!(scene.intake.reads());
}

#[test]
fn a_keepalive_in_the_middle_of_a_transaction_says_nothing_of_where_we_are() {
    let mut scene = Scene::new(WIDE);
    scene.feed(&begin(200));
    scene.intake.keepalive(Lsn(5_000), 0, false);
    assert_eq!(scene.intake.idle_at(), None);
    assert_eq!(scene.told()[0], 100);
    scene.feed(&commit(200));
    scene.intake.keepalive(Lsn(5_000), 0, false);
    assert_eq!(scene.told()[0], 5_000);
    assert_eq!(scene.gauges.received().0, 5_000);
}

#[test]
fn where_the_source_is_idle_is_told_only_with_nothing_to_hand_over_and_once() {
    let mut scene = Scene::new(WIDE);
    scene.transaction(200);
    scene.intake.keepalive(Lsn(5_000), 0, false);
    assert_eq!((scene.intake.idle_at(), scene.intake.take_idle(true)), (None, None));
    scene.intake.take();
    scene.intake.keepalive(Lsn(5_000), 0, false);
    assert!(scene.intake.idle_at().is_some());
    assert_eq!(scene.intake.take_idle(true), Some(Lsn(5_000)));
    scene.intake.told_idle(Lsn(5_000));
    scene.intake.keepalive(Lsn(5_000), 0, false);
    assert_eq!(scene.intake.take_idle(true), None);
}

#[test]
fn what_is_received_is_told_at_once_and_what_is_flushed_only_when_it_is_confirmed() {
    let mut scene = Scene::new(WIDE);
    scene.transaction(200);
    assert_eq!(scene.told(), [201, 100, 100]);
    scene.intake.data(Lsn(4_000), Lsn(4_000), 0);
    assert_eq!(scene.told(), [4_000, 100, 100]);
    scene.gauges.confirm(Lsn(201));
    assert_eq!(scene.told(), [4_000, 201, 201]);
}

#[test]
fn a_change_that_does_not_fit_waits_and_comes_again_with_the_new_tables() {
    let mut scene = Scene::new(WIDE);
    scene.transaction(200);
    scene.feed(&begin(300));
    scene.feed(&relation(&["id", "added"]));
    scene.feed(&insert("x", 2));
    assert!(!scene.intake.reads() && scene.intake.is_odd() && scene.intake.is_deliverable());
    let batch = scene.intake.take();
    assert!(batch.unfit.is_some_and(|unfit| unfit.misfit));
    assert!(!scene.intake.reads() && scene.intake.is_odd(), "it is still to come");
    scene.intake.command(StreamCommand::Refit { tables: vec![table(&["id", "added"])] }).unwrap();
    assert!(scene.intake.reads());
    scene.feed(&insert("y", 2));
    scene.feed(&commit(300));
    assert_eq!(asked(&scene.intake.take()), 2);
}

#[test]
fn what_is_no_pgoutput_stops_the_stream() {
    for message in [&b"?"[..], b"B", &commit(200), &insert("1", 1)] {
        let error = Scene::new(WIDE).intake.feed(message).unwrap_err();
        assert_eq!(error.verdict, Verdict::Stop, "{error:?}");
        assert!(error.hint.is_some_and(|hint| hint.contains("Nothing past it was applied")));
    }
}
