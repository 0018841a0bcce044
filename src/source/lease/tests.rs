//! When the stream is lent, what is kept to be fed again, and when a source is given up.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{CALM_AFTER, KEPT_BYTES};
use crate::error::Verdict;
use crate::source::channel::Inbox;
use crate::source::intake::tests::{WIDE, begin, commit, insert, relation, request};
use crate::source::lease::{Lease, Read, Shared};
use crate::source::link::{Event, Link, Remote, pair};
use crate::source::reading::{Next, Reader};
use crate::source::socket::Stream;
use crate::source::streaming::Streaming;

fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag][..], &length, body].concat()
}

fn xlog(message: &[u8]) -> Vec<u8> {
    framed(b'd', &[&b"w"[..], &[0; 24], message].concat())
}

fn streaming() -> (UnixStream, Streaming) {
    let (peer, near) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let near = tokio::net::UnixStream::from_std(near).unwrap();
    (peer, Streaming::new(Stream::Unix(near), Inbox::default()).unwrap())
}

/// The source's end, the reader, and the worker's two ends.
struct Scene {
    peer: UnixStream,
    reader: Reader,
    link: Link,
    remote: Remote,
}

impl Scene {
    fn new() -> Scene {
        let (peer, session) = streaming();
        let (link, remote) = pair().unwrap();
        let gauges = std::sync::Arc::clone(&remote.gauges);
        let mut scene =
            Scene { peer, reader: Reader::new(session, request(WIDE), 700, gauges), link, remote };
        scene.send(&[relation(&["id"])]);
        scene
    }

    /// It has had little to say for a while.
    fn calm() -> Scene {
        let mut scene = Scene::new();
        (0..CALM_AFTER).for_each(|_| scene.reader.lending.note_size(1));
        scene
    }

    /// Sends, and takes it in.
    fn send(&mut self, messages: &[Vec<u8>]) {
        for message in messages {
            self.peer.write_all(&xlog(message)).unwrap();
            self.reader.read().unwrap();
            self.reader.take_buffered().unwrap();
        }
    }

    /// Keeps what comes from here on.
    fn keeping(&mut self) {
        self.reader.lending.kept.begin();
    }

    fn keeps(&self) -> bool {
        self.reader.lending.kept.is_on
    }

    fn next(&mut self) -> Next {
        self.reader.next(&self.remote.hunger, false).unwrap()
    }
}

#[tokio::test]
async fn it_is_lent_between_two_transactions_with_all_handed_over_and_only_when_it_is_calm() {
    assert!(Scene::calm().reader.lend().is_some());
    assert!(Scene::new().reader.lend().is_none(), "not calm");
    let mut scene = Scene::calm();
    scene.send(&[begin(200)]);
    assert!(scene.reader.lend().is_none(), "a transaction is open");
    scene.send(&[insert("1", 1), commit(200)]);
    assert!(scene.reader.lend().is_none(), "a batch is there");
    scene.reader.take();
    assert!(scene.reader.lend().is_some());
    // One that is large ends the calm.
    scene.reader.lending.note_size(65);
    assert!(scene.reader.lend().is_none());
}

#[tokio::test]
async fn each_lending_is_another_and_keeps_nothing_from_before() {
    let mut scene = Scene::calm();
    scene.keeping();
    let first = scene.reader.lend();
    assert!(!scene.keeps());
    assert_ne!(first, scene.reader.lend());
}

/// A transaction's end was taken and not committed: it must still be there, whoever asks for more.
#[tokio::test]
async fn nothing_new_is_kept_before_what_was_handed_over_is_committed() {
    let Scene { mut peer, mut reader, remote, .. } = Scene::calm();
    let lent = reader.lend().unwrap();
    let shared = std::sync::Arc::new(Shared::new(reader, remote.hunger));
    let lease = Lease::new(shared, UnixStream::pair().unwrap().0.into());
    let mut send = |messages: &[Vec<u8>]| {
        messages.iter().for_each(|message| peer.write_all(&xlog(message)).unwrap());
    };
    let taken = |read: Read| match read {
        Read::Batch(batch) => batch.tables.iter().map(|part| part.asked()).sum::<u64>(),
        other => panic!("{other:?}"),
    };
    assert!(matches!(lease.read(lent, false, true), Read::Nothing));
    send(&[begin(200), insert("1", 1)]);
    assert_eq!(taken(lease.read(lent, false, true)), 1);
    send(&[insert("2", 1), commit(200)]);
    assert_eq!(taken(lease.read(lent, true, true)), 1);
    assert!(matches!(lease.read(lent, true, true), Read::Nothing));
    assert!(lease.rewind());
    assert_eq!(taken(lease.read(lent, false, true)), 2);
    // Committed: the next one is kept alone.
    assert!(matches!(lease.read(lent, false, true), Read::Nothing));
    assert!(!lease.rewind());
    send(&[begin(300), insert("3", 1)]);
    assert_eq!(taken(lease.read(lent, false, true)), 1);
    assert!(lease.rewind());
    send(&[commit(300)]);
    assert_eq!(taken(lease.read(lent, false, true)), 1);
}

#[tokio::test]
async fn what_is_kept_has_a_bound() {
    let mut scene = Scene::new();
    scene.keeping();
    scene.send(&[begin(200)]);
    let long = "x".repeat(50_000);
    for _ in 0..KEPT_BYTES / 50_000 {
        scene.send(&[insert(&long, 1)]);
        assert!(scene.keeps());
    }
    scene.send(&[insert(&long, 1)]);
    scene.send(&[insert(&long, 1)]);
    assert!(!scene.keeps() && !scene.reader.lending.may_come_again());
}

#[tokio::test]
async fn nothing_is_kept_past_what_would_not_say_the_same_again() {
    let mut scene = Scene::new();
    scene.keeping();
    scene.send(&[begin(200), insert("1", 1)]);
    assert!(scene.reader.lending.may_come_again());
    // The table has another column from here on.
    scene.send(&[relation(&["id", "added"])]);
    assert!(!scene.keeps() && !scene.reader.lending.may_come_again());
}

#[tokio::test]
async fn what_is_committed_is_kept_no_longer() {
    let mut scene = Scene::new();
    scene.keeping();
    scene.send(&[begin(200), insert("1", 1), commit(200)]);
    assert!(matches!(scene.next(), Next::Wait(_)), "nobody is hungry");
    assert!(scene.reader.lending.may_come_again());
    // Who is hungry has applied all, also where nothing is there to hand over.
    scene.link.hungry();
    assert!(matches!(scene.next(), Next::Tell(Event::Batch(_))));
    assert!(!scene.reader.lending.may_come_again());
    scene.keeping();
    scene.send(&[begin(300), insert("2", 1), commit(300)]);
    scene.reader.take();
    assert!(matches!(scene.next(), Next::Wait(_)));
    assert!(scene.reader.lending.may_come_again());
    scene.link.hungry();
    assert!(matches!(scene.next(), Next::Wait(_)));
    assert!(!scene.reader.lending.may_come_again());
}

#[tokio::test]
async fn a_source_that_is_silent_for_a_minute_is_given_up_unless_it_is_we_who_do_not_listen() {
    let silent = |scene: &mut Scene| {
        scene.reader.has_been_silent(Duration::from_secs(61));
        scene.reader.tick()
    };
    let mut scene = Scene::new();
    assert!(scene.reader.tick().is_ok());
    let error = silent(&mut scene).unwrap_err();
    assert_eq!((error.verdict, error.message.contains("for a minute")), (Verdict::Retry, true));
    scene.send(&[begin(200)]);
    let error = silent(&mut scene).unwrap_err();
    assert!(error.message.contains("in the middle of a transaction"), "{error:?}");
    let mut scene = Scene::new();
    scene.reader.command(crate::source::stream::StreamCommand::Pause).unwrap();
    assert!(silent(&mut scene).is_ok(), "it is paused");
}

#[tokio::test]
async fn the_end_of_the_copy_is_the_end_of_the_stream() {
    for tag in [b'c', b'C'] {
        let (mut peer, mut session) = streaming();
        peer.write_all(&[framed(b'd', b"last"), framed(tag, b"")].concat()).unwrap();
        assert!(session.fill().unwrap() > 0);
        assert_eq!(session.buffered().unwrap(), Some(&b"last"[..]));
        let error = session.buffered().unwrap_err();
        assert_eq!(error.verdict, Verdict::Retry);
        assert!(error.message.contains("ended the replication stream"), "{error:?}");
    }
}
