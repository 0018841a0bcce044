//! Each kind of message with something in it that no PostgreSQL sends: it is refused, soon, in few
//! words, and with a verdict that fits.

use std::time::{Duration, Instant};

use odoo_mirror::error::{Error, Verdict};

use crate::{connector, fake, played};

const LET_IN: u8 = 0;
const REPLICATION: u8 = 1;
const WITH_PASSWORD: u8 = 2;

fn ready() -> Vec<u8> {
    fake::message(b'Z', b"I")
}

fn authentication(kind: u32, rest: &[u8]) -> Vec<u8> {
    fake::message(b'R', &[&kind.to_be_bytes(), rest].concat())
}

/// What either kind of session makes of these turns after the greeting, which lets it in.
fn answered(turns: &[Vec<u8>]) -> [Result<(), Error>; 2] {
    let all = |more: usize| {
        // The settings, and of a replication session who is there.
        let settled = vec![[fake::message(b'C', b"OK\0"), ready()].concat(); more];
        [vec![[authentication(0, b""), ready()].concat()], settled, turns.to_vec()].concat()
    };
    [(LET_IN, 1), (REPLICATION, 2)]
        .map(|(kind, more)| played::greeting(&played::script(kind, &all(more))).unwrap())
}

fn logged_in(turns: &[Vec<u8>]) -> Error {
    let began = Instant::now();
    let error = played::greeting(&played::script(WITH_PASSWORD, turns)).unwrap().unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(20), "{error:?}");
    error
}

/// A description of so many columns, each of which takes 19 bytes.
fn described(says: u16, has: usize) -> Vec<u8> {
    let column = b"c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
    fake::message(b'T', &[says.to_be_bytes().to_vec(), column.repeat(has)].concat())
}

#[test]
fn a_description_or_a_row_that_is_not_what_it_says_ends_the_session() {
    let end = [fake::message(b'C', b"SELECT 1\0"), ready()].concat();
    let row = |body: &[u8]| [described(1, 1), fake::message(b'D', body), end.clone()].concat();
    for (name, turn) in [
        ("65535 columns that are not there", [described(u16::MAX, 1), end.clone()].concat()),
        ("a row of 65535 columns that are not there", row(b"\xff\xff\0\0\0\x01x")),
        ("a column of 2 GB", row(b"\0\x01\x7f\xff\xff\xffx")),
        ("a column longer than its row", row(b"\0\x01\0\0\0\x09x")),
        ("a column of length -2", row(b"\0\x01\xff\xff\xff\xfe")),
        ("bytes after a row", row(b"\0\x01\0\0\0\x01xyz")),
        ("an empty row", row(b"")),
        ("half a row", described(1, 1)),
    ] {
        for outcome in answered(&[turn]) {
            // Who reads no rows may pass over what is in them.
            let Err(error) = outcome else { continue };
            assert_ne!(error.verdict, Verdict::Gate, "{name}: {error:?}");
        }
    }
    // A wide one is no offence.
    assert!(answered(&[[described(1_600, 1_600), end].concat()])[1].is_ok());
}

#[test]
fn an_answer_without_its_end_waits_for_nothing() {
    let complete = fake::message(b'C', b"SELECT 0\0");
    for outcome in answered(&[ready()]).into_iter().chain(answered(&[[complete, ready()].concat()])) {
        outcome.unwrap();
    }
    for outcome in answered(&[described(1, 1)]) {
        let error = outcome.unwrap_err();
        assert_eq!((error.verdict, error.message.contains("closed")), (Verdict::Retry, true), "{error:?}");
    }
}

#[test]
fn what_has_no_place_in_an_answer_ends_the_session() {
    for tag in *b"RKWGH?v" {
        for outcome in answered(&[[fake::message(tag, &[0; 8]), ready()].concat()]) {
            let error = outcome.unwrap_err();
            assert_ne!(error.verdict, Verdict::Gate, "{} {error:?}", char::from(tag));
        }
    }
}

#[test]
fn a_server_that_offers_ways_to_log_in_without_end_offers_none_that_is_known() {
    let endless = authentication(10, &[&b"SCRAM-SHA-1\0".repeat(40_000)[..], b"\0"].concat());
    let error = logged_in(&[endless]);
    assert!(error.message.contains("no kind of SCRAM that is supported"), "{error:?}");
    for cut_off in [&b"SCRAM-SHA-256"[..], b""] {
        let error = logged_in(&[authentication(10, cut_off)]);
        assert_eq!(error.verdict, Verdict::RetrySlowly, "{error:?}");
    }
}

#[test]
fn a_server_that_would_have_us_count_for_hours_is_refused_at_once() {
    let offer = authentication(10, b"SCRAM-SHA-256\0\0");
    let first = |rest: &str| authentication(11, format!("r=clientclientclientclient{rest}").as_bytes());
    let error = |rest: &str| logged_in(&[offer.clone(), first(rest), authentication(12, b"v=AAAA")]);
    for iterations in ["100001", "2147483648", "4294967295", "99999999999999999999"] {
        let error = error(&format!("srv,s=QSXCR+Q6sek8bf92,i={iterations}"));
        assert_eq!(error.verdict, Verdict::RetrySlowly);
        let unread = iterations.len() > 19;
        assert_eq!(error.message.contains("more iterations of SCRAM"), !unread, "{error:?}");
    }
    let hint = error("srv,s=QSXCR+Q6sek8bf92,i=600000").hint.unwrap();
    assert!(hint.contains("scram_iterations"), "{hint}");
    let long = "A".repeat(700_000);
    for (rest, says) in [
        ("srv,s=QSXCR+Q6sek8bf92,i=1", "could not prove"),
        ("srv,s=QSXCR+Q6sek8bf92,i=0", "prove"),
        (&format!("srv,s={long},i=1"), "could not prove"),
        ("srv,s=!!,i=1", "does not authenticate"),
        ("srv,s=QSXCR+Q6sek8bf92", "does not authenticate"),
        ("", "does not authenticate"),
    ] {
        let error = error(rest);
        assert!(error.message.contains(says), "{}: {error:?}", &rest[..rest.len().min(60)]);
        assert_eq!(error.verdict, Verdict::RetrySlowly);
    }
    // A nonce that isn't ours with more behind it: somebody repeats another's conversation.
    let foreign = authentication(11, b"r=somebodyelsesnonce,s=QSXCR+Q6sek8bf92,i=1");
    assert!(logged_in(&[offer, foreign]).message.contains("does not authenticate"));
}

#[test]
fn a_server_that_skips_the_proof_is_not_let_have_us() {
    let offer = authentication(10, b"SCRAM-SHA-256\0\0");
    let first = authentication(11, b"r=clientclientclientclientsrv,s=QSXCR+Q6sek8bf92,i=1");
    for turns in [
        vec![offer.clone(), authentication(0, b"")],
        vec![offer.clone(), first.clone(), [authentication(0, b""), ready()].concat()],
        vec![offer, first, authentication(12, b"e=other-error")],
    ] {
        let error = logged_in(&turns);
        assert_eq!(error.verdict, Verdict::RetrySlowly, "{error:?}");
    }
}

#[test]
fn a_server_of_another_protocol_is_said_to_be_none() {
    for turn in [
        fake::message(b'v', &[0, 3, 0, 0, 0, 0, 0, 0]),
        fake::message(b'R', b""),
        authentication(99, b""),
        fake::message(b'Z', b"I"),
    ] {
        let error = logged_in(&[turn]);
        assert_ne!(error.verdict, Verdict::Retry, "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_breaks_tls_off_or_has_none_is_never_talked_to_in_the_clear() {
    for (answer, verdict, says) in [
        (&b"N"[..], Verdict::RetrySlowly, "does not speak TLS"),
        (b"X", Verdict::RetrySlowly, "no PostgreSQL server"),
        (b"E\0\0\0\x08oops", Verdict::Retry, "with an error"),
        (b"SHTTP/1.1 400 Bad Request\r\n\r\n", Verdict::Retry, "TLS connection broke"),
        (b"S\x15\x03\x01\0\x02\x02\x28", Verdict::RetrySlowly, "no kind of TLS"),
        (b"S\x16\x03\x03\xff\xff", Verdict::Retry, ""),
        (b"S", Verdict::Retry, "closed"),
        (b"", Verdict::Retry, "closed"),
    ] {
        let (listener, config) = fake::listener().await;
        let config = config.replace("sslmode=disable", "sslmode=require");
        let connector = connector(&config, Some("never-in-the-clear"));
        let peer = async {
            let mut peer = fake::accept(&listener, answer).await;
            tokio::io::AsyncWriteExt::shutdown(&mut peer).await.ok();
            let mut said = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut peer, &mut said).await.ok();
            said
        };
        let (session, said) = tokio::join!(connector.sql(), peer);
        let error = session.err().unwrap();
        assert_eq!(error.verdict, verdict, "{answer:?}: {error:?}");
        assert!(error.message.contains(says), "{answer:?}: {error:?}");
        assert!(!said.windows(4).any(|part| part == b"user"), "{answer:?}: who we are is a secret");
    }
}
