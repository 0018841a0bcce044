//! A peer that means harm, or is no PostgreSQL at all: it is cut off before it costs memory, and
//! what it says is shown without obeying it.

use std::time::Duration;

use odoo_mirror::error::{Error, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::{connector, fake};

const LONG: Duration = Duration::from_secs(20);

fn greeting() -> Vec<u8> {
    [fake::message(b'R', &[0; 4]), fake::message(b'Z', b"I")].concat()
}

/// Writes the same bytes until the other side is gone; none: it is waited for.
async fn flood(peer: &mut TcpStream, bytes: &[u8]) {
    if bytes.is_empty() {
        while peer.read(&mut [0; 1_024]).await.is_ok_and(|count| count > 0) {}
    }
    while !bytes.is_empty() && peer.write_all(bytes).await.is_ok() {}
}

/// Lets a session in, and answers its n-th query with a flood of this message; the queries before
/// with nothing.
async fn flooding(listener: TcpListener, greets: Vec<u8>, queries: usize, message: Vec<u8>) {
    loop {
        let mut peer = fake::accept(&listener, &greets).await;
        for _ in 0..queries {
            fake::receive(&mut peer).await;
            let answer = [fake::message(b'C', b"OK\0"), fake::message(b'Z', b"I")].concat();
            peer.write_all(&answer).await.unwrap();
        }
        if queries > 0 {
            fake::receive(&mut peer).await;
        }
        flood(&mut peer, &message).await;
    }
}

/// What a session makes of such a peer, of either kind; it must end by itself.
async fn outcome(greets: &[u8], queries: usize, message: &[u8], replication: bool) -> Error {
    let (listener, config) = fake::listener().await;
    let peer = tokio::spawn(flooding(listener, greets.to_vec(), queries, message.to_vec()));
    let connector = connector(&config, None);
    let session = async {
        if replication {
            let mut session = connector.replication().await?;
            session.query("SELECT 1").await.map(drop)
        } else {
            let session = connector.sql().await?;
            session.simple_query("SELECT 1").await.map(drop).map_err(Error::from)
        }
    };
    let ended = timeout(LONG, session).await.expect("the session doesn't end");
    peer.abort();
    ended.expect_err("this must be refused")
}

#[tokio::test]
async fn whatever_comes_without_end_is_cut_off() {
    let parameter = fake::message(b'S', b"name\0value\0");
    let notice = fake::message(b'N', &[b'M'; 4_000]);
    let key = fake::message(b'K', &[1; 8]);
    for (greets, queries, message, says) in [
        (Vec::new(), 0, &parameter, "parameters without end"),
        (Vec::new(), 0, &notice, "greets without end"),
        (fake::message(b'R', &[0; 4]), 0, &parameter, "parameters without end"),
        (fake::message(b'R', &[0; 4]), 0, &key, "greets without end"),
        (greeting(), 1, &parameter, "parameters without end"),
        (greeting(), 1, &notice, "notices without end"),
    ] {
        for replication in [false, true] {
            let error = outcome(&greets, queries, message, replication).await;
            if queries > 0 && !replication {
                // The library that runs the session only says that it is over.
                assert!(error.message.contains("closed the connection"), "{error:?}");
                continue;
            }
            assert!(error.message.contains(says), "{says}: {error:?}");
            assert_eq!(error.verdict, Verdict::RetrySlowly, "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_message_that_announces_more_than_it_may_be_is_refused_at_its_head() {
    for tag in [b'E', b'N', b'S', b'R', b'K', b'Z', b'T'] {
        let head = [&[tag][..], &200_000_000_i32.to_be_bytes()].concat();
        for replication in [false, true] {
            let error = outcome(&head, 0, &[0; 4_096], replication).await;
            assert!(error.message.contains("impossible length"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_long_error_is_cut_and_a_terminal_obeys_none_of_it() {
    let text = format!("\u{1b}[2J\u{1b}]0;owned\u{7}{}", "x".repeat(200_000));
    let fields = format!("SFATAL\0C28000\0M{text}\0D{text}\0HRun: DROP DATABASE postgres;\0\0");
    let error = outcome(&fake::message(b'E', fields.as_bytes()), 0, &[], false).await;
    let hint = error.hint.clone().unwrap_or_default();
    for told in [&error.message, error.detail.as_ref().unwrap(), &hint] {
        assert!(told.len() < 10_000, "{} bytes", told.len());
        assert!(!told.contains(['\u{1b}', '\u{7}']), "{told:?}");
    }
    assert!(!hint.contains("DROP DATABASE"), "the mirror knows a hint of its own: {hint}");
}

#[tokio::test]
async fn a_hint_of_the_sources_is_told_as_its_own() {
    let fields = "SFATAL\0C42P99\0Mno\0HRun: DROP DATABASE postgres;\0\0";
    let error = outcome(&fake::message(b'E', fields.as_bytes()), 0, &[], true).await;
    let hint = error.hint.unwrap_or_default();
    assert_eq!(hint, "The source's own hint: Run: DROP DATABASE postgres;");
}
