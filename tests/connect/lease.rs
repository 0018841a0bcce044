//! Who reads the stream: the network thread, and the main thread while the source has little to
//! say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use odoo_mirror::error::Verdict;
use odoo_mirror::mirror::batch::Batch;
use odoo_mirror::mirror::replica_identity::Identity;
use odoo_mirror::mirror::stream_table::{Standing, StreamColumn, StreamTable};
use odoo_mirror::source::lease::{Lease, Lent, Read};
use odoo_mirror::source::link::{self, Event, Link, Request};
use odoo_mirror::source::stream::{Bounds, StreamCommand, StreamRequest};
use odoo_mirror::source::thread;
use odoo_mirror::wire::{Lsn, Relation, RelationColumn, ReplicaIdentity};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::sent::{Cell, Sent};
use crate::{connector, fake};

const TABLE: u32 = 7;
const INT4: u32 = 23;
const TEXT: u32 = 25;

pub fn table(name: &str) -> Arc<StreamTable> {
    let column = |name: &str, type_oid, mirror_type: &str| StreamColumn {
        name: name.to_owned(),
        type_oid,
        type_modifier: -1,
        mirror_type: mirror_type.to_owned(),
    };
    Arc::new(StreamTable {
        source_oid: TABLE,
        name: name.to_owned(),
        columns: vec![column("id", INT4, "integer"), column("name", TEXT, "text")],
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

pub fn relation() -> Sent {
    let column =
        |name: &str, key, type_id| RelationColumn { name: name.to_owned(), key, type_id, type_modifier: -1 };
    Sent::Relation(Relation {
        id: TABLE,
        schema: "public".to_owned(),
        name: "partner".to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: vec![column("id", true, INT4), column("name", false, TEXT)],
    })
}

pub fn begin(at: u64) -> Sent {
    Sent::Begin { final_lsn: at, commit_time: 0, xid: at as u32 }
}

pub fn commit(at: u64) -> Sent {
    Sent::Commit { flags: 0, commit_lsn: at, end_lsn: at + 8, commit_time: 0 }
}

pub fn insert(id: u64, name: &str) -> Sent {
    let new = vec![Cell::Text(id.to_string().into_bytes()), Cell::Text(name.as_bytes().to_vec())];
    Sent::Insert { relation: TABLE, new }
}

/// A stream that has begun and brought nothing yet: the source's end, and the main thread's.
pub async fn streaming(bounds: Bounds) -> (TcpStream, Link, Lease) {
    let (listener, config) = fake::listener().await;
    let (mut link, remote) = link::pair().unwrap();
    let connector = connector(&config, None);
    std::thread::spawn(move || thread::run(connector, remote));
    link.ask(Request::Stream(StreamRequest {
        slot: "s".to_owned(),
        publication: "p".to_owned(),
        start: Lsn(100),
        binary: false,
        server_version: 150_000,
        tables: vec![table("partner")],
        bounds,
    }));
    let peer = fake::until_streaming(&listener).await;
    let Event::Lease(lease) = event(&mut link).await else { panic!("no lease") };
    assert!(matches!(event(&mut link).await, Event::Streaming));
    (peer, link, lease)
}

/// A source that says what the test wants, and the two ends of the worker.
struct Scene {
    peer: TcpStream,
    link: Link,
    lease: Lease,
    /// The lending that was told last.
    lent: Lent,
    at: u64,
}

impl Scene {
    /// To where the stream is lent.
    async fn lent() -> Scene {
        let bounds = Bounds { changes: 10_000, bytes: 1 << 20, age: Duration::from_secs(60) };
        let (mut peer, mut link, lease) = streaming(bounds).await;
        let mut at = 200;
        link.hungry();
        send(&mut peer, at, &[begin(at), relation(), insert(at, "first"), commit(at)]).await;
        let mut batches = 0;
        let lent = loop {
            match event(&mut link).await {
                Event::Batch(batch) => {
                    batches += batch.transactions;
                    link.hungry();
                    at += 100;
                    send(&mut peer, at, &[begin(at), insert(at, "small"), commit(at)]).await;
                }
                Event::Lent(lent) => break lent,
                other => panic!("{other:?}"),
            }
        };
        let mut scene = Scene { peer, link, lease, lent, at };
        // The last one was sent after the last batch, or came in it.
        if let Read::Batch(batch) = scene.read_until_something(false, true).await {
            batches += batch.transactions;
        }
        assert!(batches >= 8, "lent after {batches}");
        scene
    }

    fn next(&mut self) -> u64 {
        self.at += 100;
        self.at
    }

    async fn send(&mut self, messages: &[Sent]) {
        send(&mut self.peer, self.at, messages).await;
    }

    /// What the lease gives by the lending that was told last.
    fn read(&self, open: bool, eager: bool) -> Read {
        self.lease.read(self.lent, open, eager)
    }

    async fn keepalive(&mut self, end: u64) {
        let payload = [&b"k"[..], &end.to_be_bytes(), &[0; 8], &[0]].concat();
        self.peer.write_all(&fake::message(b'd', &payload)).await.unwrap();
    }

    async fn read_until_something(&mut self, open: bool, eager: bool) -> Read {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match self.read(open, eager) {
                Read::Nothing => assert!(Instant::now() < deadline, "nothing came"),
                read => return read,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// A transaction begins, and its first row is taken; where it is.
    async fn part(&mut self) -> u64 {
        let at = self.next();
        self.send(&[begin(at), insert(1, "a")]).await;
        assert_eq!(told(&*self.batch(false, true).await), (1, false));
        at
    }

    async fn told_batch(&mut self) -> Box<Batch> {
        let Event::Batch(batch) = event(&mut self.link).await else { panic!("no batch") };
        batch
    }

    async fn batch(&mut self, open: bool, eager: bool) -> Box<Batch> {
        match self.read_until_something(open, eager).await {
            Read::Batch(batch) => batch,
            other => panic!("{other:?}"),
        }
    }
}

pub async fn send(peer: &mut TcpStream, at: u64, messages: &[Sent]) {
    let mut bytes = Vec::new();
    for message in messages {
        let at = at.to_be_bytes();
        let payload = [&b"w"[..], &at, &at, &[0; 8], &message.encode()].concat();
        bytes.extend(fake::message(b'd', &payload));
    }
    peer.write_all(&bytes).await.unwrap();
}

pub async fn event(link: &mut Link) -> Event {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(event) = link.try_event().unwrap() {
            return event;
        }
        assert!(Instant::now() < deadline, "no event came");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Rows asked for, and whether the batch may be committed.
pub fn told(batch: &Batch) -> (u64, bool) {
    (batch.tables.iter().map(|part| part.asked()).sum(), batch.boundary.is_some())
}

#[tokio::test]
async fn a_lent_stream_gives_what_there_is_of_a_transaction_to_who_is_eager() {
    let mut scene = Scene::lent().await;
    let at = scene.next();
    scene.send(&[begin(at), insert(1, "a"), insert(2, "b")]).await;
    assert_eq!(told(&*scene.batch(false, true).await), (2, false));
    assert!(matches!(scene.read(true, true), Read::Nothing));
    scene.send(&[insert(3, "c"), commit(at)]).await;
    let rest = scene.batch(true, true).await;
    assert_eq!((told(&rest), rest.transactions), ((1, true), 1));
}

#[tokio::test]
async fn who_is_not_eager_gets_whole_transactions_only() {
    let mut scene = Scene::lent().await;
    let at = scene.next();
    scene.send(&[begin(at), insert(1, "a"), insert(2, "b")]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(matches!(scene.read(false, false), Read::Nothing));
    scene.send(&[insert(3, "c"), commit(at)]).await;
    assert_eq!(told(&*scene.batch(false, false).await), (3, true));
}

#[tokio::test]
async fn a_transaction_that_was_undone_in_the_middle_comes_again_whole() {
    let mut scene = Scene::lent().await;
    let at = scene.next();
    scene.send(&[begin(at), insert(1, "a"), insert(2, "b")]).await;
    assert_eq!(told(&*scene.batch(false, true).await), (2, false));
    assert!(scene.lease.rewind());
    // However eager one is.
    assert!(matches!(scene.read(false, true), Read::Nothing));
    scene.send(&[insert(3, "c")]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(matches!(scene.read(false, true), Read::Nothing));
    scene.send(&[commit(at)]).await;
    assert_eq!(told(&*scene.batch(false, true).await), (3, true));
    // The next one may be had in parts again.
    let at = scene.next();
    scene.send(&[begin(at), insert(4, "d")]).await;
    assert_eq!(told(&*scene.batch(false, true).await), (1, false));
}

#[tokio::test]
async fn a_transaction_whose_beginning_came_alone_comes_again_from_there() {
    let mut scene = Scene::lent().await;
    let at = scene.next();
    for message in [begin(at), insert(1, "a")] {
        assert!(matches!(scene.read(false, true), Read::Nothing));
        scene.send(&[message]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(told(&*scene.batch(false, true).await), (1, false));
    assert!(scene.lease.rewind());
    scene.send(&[commit(at)]).await;
    assert_eq!(told(&*scene.batch(false, true).await), (1, true));
}

#[tokio::test]
async fn what_the_last_batch_had_of_the_next_transaction_comes_again_with_it() {
    let mut scene = Scene::lent().await;
    let (first, second) = (scene.next(), scene.next());
    scene.send(&[begin(first), insert(1, "a")]).await;
    assert_eq!(told(&*scene.batch(false, true).await), (1, false));
    scene.send(&[insert(2, "b"), commit(first), begin(second), insert(3, "c"), commit(second)]).await;
    let rest = scene.batch(true, true).await;
    assert_eq!((told(&rest), rest.transactions), ((2, true), 2));
    assert!(scene.lease.rewind());
    let all = scene.batch(false, true).await;
    assert_eq!((told(&all), all.transactions), ((3, true), 2));
}

#[tokio::test]
async fn what_the_main_thread_leaves_lying_is_read_by_the_network_thread() {
    let mut scene = Scene::lent().await;
    scene.link.hungry();
    let at = scene.next();
    scene.send(&[begin(at), insert(1, "a"), commit(at)]).await;
    let batch = scene.told_batch().await;
    assert_eq!(told(&batch), (1, true));
    assert!(matches!(scene.read(false, true), Read::Over));
    assert!(!scene.lease.rewind());
}

/// The main thread looked into the channel, found nothing, and reads the stream: meanwhile it was
/// taken back, and lent again.
#[tokio::test]
async fn who_reads_by_a_lending_that_is_over_gets_nothing_that_comes_after_what_is_in_the_channel() {
    let mut scene = Scene::lent().await;
    let lent = scene.lent;
    let mut names = Vec::new();
    // Left lying, taken back; seven more are had from the channel without a look at the lease.
    for n in 1..=7 {
        scene.link.hungry();
        let at = scene.next();
        scene.send(&[begin(at), insert(n, "small"), commit(at)]).await;
        names.extend(scene.told_batch().await.xids);
    }
    // The channel is empty by now.
    assert!(scene.link.try_event().unwrap().is_none());
    scene.link.hungry();
    for n in 8..=9 {
        let at = scene.next();
        scene.send(&[begin(at), insert(n, "small"), commit(at)]).await;
        // The eighth is handed over, and the stream lent again; the ninth waits to be read.
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            let read = scene.lease.read(lent, false, true);
            assert!(matches!(read, Read::Over), "read {read:?} before what is in the channel");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    names.extend(scene.told_batch().await.xids);
    let Event::Lent(again) = event(&mut scene.link).await else { panic!("not lent again") };
    assert_ne!(again, lent);
    scene.lent = again;
    names.extend(scene.batch(false, true).await.xids);
    assert_eq!(names.len(), 9);
    assert!(names.is_sorted(), "{names:?}");
}

#[tokio::test]
async fn a_transaction_whose_part_held_the_main_thread_up_and_was_undone_comes_again_whole() {
    let mut scene = Scene::lent().await;
    let at = scene.part().await;
    // Held up, and not hungry: the network thread reads on, and hands over nothing.
    scene.send(&[insert(2, "b"), commit(at), begin(at + 50), insert(3, "c"), commit(at + 50)]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(matches!(scene.read(true, true), Read::Over));
    // Nor is it told how far the source is: that would be past what may come again.
    scene.keepalive(100_000).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(scene.link.try_event().unwrap().is_none());
    assert!(scene.lease.rewind());
    scene.link.hungry();
    let batch = scene.told_batch().await;
    assert_eq!((told(&batch), batch.transactions), ((3, true), 2));
}

#[tokio::test]
async fn no_position_is_told_past_what_was_handed_over_and_may_be_undone() {
    let mut scene = Scene::lent().await;
    let at = scene.part().await;
    scene.send(&[insert(2, "b"), commit(at)]).await;
    assert_eq!(told(&*scene.batch(true, true).await), (1, true));
    // Held up by that one.
    scene.keepalive(100_000).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(matches!(scene.read(true, true), Read::Over));
    assert!(scene.link.try_event().unwrap().is_none());
    assert!(scene.lease.rewind());
    scene.link.hungry();
    let batch = scene.told_batch().await;
    assert_eq!(told(&batch), (2, true));
    // It is applied: the next life would begin behind it.
    scene.link.hungry();
    scene.keepalive(100_001).await;
    assert!(matches!(event(&mut scene.link).await, Event::Idle { position: Lsn(100_001) }));
}

#[tokio::test]
async fn much_at_once_is_read_by_the_network_thread_from_where_the_main_thread_was() {
    let mut scene = Scene::lent().await;
    scene.link.hungry();
    let at = scene.part().await;
    scene.link.hungry();
    let long = "x".repeat(1000);
    let rows: Vec<Sent> = (2..500).map(|id| insert(id, &long)).collect();
    scene.send(&rows).await;
    let mut more = 0;
    loop {
        match scene.read_until_something(true, true).await {
            Read::Batch(batch) => {
                more += told(&batch).0;
                scene.link.hungry();
            }
            Read::Over => break,
            other => panic!("{other:?}"),
        }
    }
    scene.send(&[commit(at)]).await;
    let batch = scene.told_batch().await;
    assert_eq!((more + told(&batch).0, told(&batch).1), (498, true));
    assert!(!scene.lease.rewind(), "its beginning is not kept any more");
}

/// What was handed over in parts before the stream was lent can't come again from what is kept
/// since.
#[tokio::test]
async fn a_big_transaction_whose_end_is_still_at_work_when_the_stream_is_lent_is_not_rewound() {
    let mut scene = Scene::lent().await;
    scene.link.hungry();
    let at = scene.next();
    let long = "x".repeat(300_000);
    scene.send(&[begin(at)]).await;
    let mut lent = false;
    let mut ended = false;
    let mut sent = 0;
    let deadline = Instant::now() + Duration::from_secs(30);
    while !(lent && ended) {
        assert!(Instant::now() < deadline, "lent: {lent}, ended: {ended}, sent: {sent}");
        if sent < 60 {
            sent += 1;
            scene.send(&[insert(sent, &long)]).await;
        } else if sent == 60 {
            sent += 1;
            scene.send(&[commit(at)]).await;
        }
        assert!(matches!(scene.read(true, false), Read::Over | Read::Nothing));
        tokio::time::sleep(Duration::from_millis(1)).await;
        while let Some(event) = scene.link.try_event().unwrap() {
            match event {
                Event::Batch(batch) if batch.boundary.is_some() => ended = true,
                Event::Batch(_) => scene.link.hungry(),
                Event::Lent(_) => lent = true,
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(!scene.lease.rewind());
    let at = scene.next();
    scene.send(&[begin(at), insert(1, "a"), commit(at)]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!scene.lease.rewind(), "the beginning of the big one is not there");
}

#[tokio::test]
async fn a_command_ends_the_lease() {
    let mut scene = Scene::lent().await;
    scene.link.ask(Request::Command(StreamCommand::Pause));
    assert!(matches!(event(&mut scene.link).await, Event::Paused));
    assert!(matches!(scene.read(false, true), Read::Over));
}

#[tokio::test]
async fn a_relation_that_was_altered_ends_the_lease() {
    let mut scene = Scene::lent().await;
    scene.link.hungry();
    let at = scene.part().await;
    scene.link.hungry();
    let Sent::Relation(mut relation) = relation() else { unreachable!() };
    relation.replica_identity = ReplicaIdentity::Index;
    scene.send(&[Sent::Relation(relation), insert(2, "b"), commit(at)]).await;
    assert!(matches!(scene.read_until_something(true, true).await, Read::Over));
    let batch = scene.told_batch().await;
    assert_eq!(told(&batch), (1, true));
}

#[tokio::test]
async fn where_the_source_stands_idle_is_told_and_a_cut_connection_once() {
    let mut scene = Scene::lent().await;
    scene.keepalive(100_000).await;
    let Read::Idle { position } = scene.read_until_something(false, true).await else { panic!("not idle") };
    assert_eq!(position, Lsn(100_000));
    assert!(matches!(scene.read(false, true), Read::Nothing));

    let Scene { peer, mut link, lease, lent, .. } = scene;
    drop(peer);
    while !matches!(lease.read(lent, false, true), Read::Over) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let error = loop {
        match link.try_event() {
            Err(error) => break error,
            Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    assert_eq!(error.verdict, Verdict::Retry, "{error}");
}

#[tokio::test]
async fn the_source_hears_of_us_while_the_main_thread_reads_nothing() {
    let mut scene = Scene::lent().await;
    let began = Instant::now();
    let mut heard = 0;
    while heard < 3 {
        let (tag, body) = fake::receive(&mut scene.peer).await;
        assert_eq!((tag, body[0]), (b'd', b'r'));
        // One is a reply to what was sent before; then one a second.
        heard += u32::from(began.elapsed() > Duration::from_millis(500));
    }
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(matches!(scene.read(false, true), Read::Nothing), "still lent");
}
