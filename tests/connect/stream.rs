//! The replication session: commands, frames in, replies out.

use std::time::Duration;

use odoo_mirror::error::{Error, Verdict};
use odoo_mirror::source::connect::Connector;
use odoo_mirror::source::streaming::Streaming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::Clusters;
use crate::{connector, fake};

/// The next payload, copied.
async fn next(stream: &mut Streaming) -> Result<Vec<u8>, Error> {
    let watch = stream.watch().unwrap();
    loop {
        if let Some(payload) = stream.buffered()? {
            return Ok(payload.to_vec());
        }
        if stream.fill()? == 0 {
            watch.has_nothing();
            watch.readable().await.unwrap();
        }
    }
}

async fn open(connector: &Connector, command: &str) -> Streaming {
    let mut session = connector.replication().await.unwrap();
    session.start_replication(command).await.unwrap();
    session.into_streaming().unwrap()
}

#[tokio::test]
async fn a_slots_changes_arrive_whole_from_the_smallest_to_several_megabytes() {
    let clusters = Clusters::shared();
    for sslmode in ["disable", "require"] {
        let slot = format!("frames_{sslmode}");
        let config =
            format!("host=localhost port={} dbname=postgres user=postgres sslmode={sslmode}", clusters.port);
        let mut session = connector(&config, None).replication().await.unwrap();
        assert!(session.parameter("server_version").is_some());
        assert!(session.backend_pid() > 0);
        let system = session.query("IDENTIFY_SYSTEM").await.unwrap();
        assert_eq!(system[0][3].as_deref(), Some("postgres"));
        session
            .query(&format!("CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL test_decoding"))
            .await
            .unwrap();

        clusters.sql(&format!("CREATE TABLE public.{slot} (id int, body text)"));
        clusters.sql(&format!(
            "INSERT INTO public.{slot} SELECT n, repeat('x', CASE WHEN n % 1000 = 0 THEN 3000000 ELSE n % 500 END) \
             FROM generate_series(1, 3000) AS n"
        ));
        session.start_replication(&format!("START_REPLICATION SLOT {slot} LOGICAL 0/0")).await.unwrap();
        let mut stream = session.into_streaming().unwrap();
        let mut id = 0;
        while id < 3000 {
            let payload = next(&mut stream).await.unwrap();
            // XLogData: its letter and three 64-bit numbers before the plugin's text.
            if payload[0] != b'w' {
                continue;
            }
            let text = std::str::from_utf8(&payload[25..]).unwrap();
            if let Some(row) = text.strip_prefix(&format!("table public.{slot}: INSERT: id[integer]:")) {
                id += 1;
                let length = if id % 1000 == 0 { 3_000_000 } else { id % 500 };
                assert_eq!(row, format!("{id} body[text]:'{}'", "x".repeat(length)));
            }
        }
    }
}

#[tokio::test]
async fn a_refused_command_leaves_the_session_usable() {
    let clusters = Clusters::shared();
    let config = format!("host=localhost port={} dbname=postgres user=postgres", clusters.port);
    let mut session = connector(&config, None).replication().await.unwrap();
    let refused = session.start_replication("START_REPLICATION SLOT nowhere LOGICAL 0/0").await.unwrap_err();
    assert_eq!((refused.verdict, refused.sqlstate.as_deref()), (Verdict::Gate, Some("42704")));
    let refused = session.query("SELECT 1/0").await.unwrap_err();
    assert_eq!(refused.sqlstate.as_deref(), Some("22012"));
    let rows = session.query("SELECT 'a', NULL UNION ALL SELECT '', 'b'").await.unwrap();
    assert_eq!(rows, [[Some("a".to_owned()), None], [Some(String::new()), Some("b".to_owned())]]);
}

#[tokio::test]
async fn a_terminated_walsender_is_retried() {
    let clusters = Clusters::shared();
    let config = format!("host=localhost port={} dbname=postgres user=postgres", clusters.port);
    let mut session = connector(&config, None).replication().await.unwrap();
    session.query("CREATE_REPLICATION_SLOT ended TEMPORARY LOGICAL test_decoding").await.unwrap();
    session.start_replication("START_REPLICATION SLOT ended LOGICAL 0/0").await.unwrap();
    clusters.sql(&format!("SELECT pg_terminate_backend({})", session.backend_pid()));
    let mut stream = session.into_streaming().unwrap();
    let error = loop {
        if let Err(error) = next(&mut stream).await {
            break error;
        }
    };
    assert_eq!((error.verdict, error.sqlstate.as_deref()), (Verdict::Retry, Some("57P01")));
}

#[tokio::test]
async fn what_a_full_socket_does_not_take_is_sent_later_and_whole() {
    const MESSAGES: usize = 40;
    let (listener, config) = fake::listener().await;
    let connector = connector(&config, None);
    let command = "START_REPLICATION SLOT s LOGICAL 0/0";
    let (mut stream, mut peer) = tokio::join!(open(&connector, command), fake::until_streaming(&listener));

    // Nobody reads at the other end: the socket fills.
    for number in 0..MESSAGES {
        stream.send(&vec![number as u8; 1_000_003]).unwrap();
    }
    assert!(!stream.flush().unwrap(), "the socket took everything");

    let read = async {
        for number in 0..MESSAGES {
            let (tag, body) = fake::receive(&mut peer).await;
            assert_eq!((tag, body.len()), (b'd', 1_000_003));
            assert!(body.iter().all(|byte| usize::from(*byte) == number), "message {number} is torn");
        }
    };
    let flush = async {
        while !stream.flush().unwrap() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::join!(flush, read);
}

/// A peer that other descriptors of the socket are open for still is told all the same.
#[tokio::test]
async fn a_dropped_stream_is_over_for_the_source_whoever_else_holds_the_socket() {
    let (listener, config) = fake::listener().await;
    let connector = connector(&config, None);
    let command = "START_REPLICATION SLOT s LOGICAL 0/0";
    let (stream, mut peer) = tokio::join!(open(&connector, command), fake::until_streaming(&listener));
    let held = stream.descriptor().unwrap();
    drop(stream);
    let end = tokio::time::timeout(Duration::from_secs(10), peer.read(&mut [0])).await;
    assert_eq!(end.expect("the source is not told").unwrap(), 0);
    drop(held);
}

#[tokio::test]
async fn each_way_that_a_stream_can_end_has_its_verdict() {
    for (bytes, verdict) in [
        (vec![], Verdict::Retry),
        (b"d\0\0".to_vec(), Verdict::Retry),
        (fake::message(b'c', b""), Verdict::Retry),
        (fake::error("57P01", "terminating connection"), Verdict::Retry),
        (fake::error("58P01", "requested WAL segment 0000 has already been removed"), Verdict::Gate),
        (fake::message(b'?', b"what"), Verdict::Stop),
        (fake::message(b'D', b"\0\0"), Verdict::Stop),
        (b"d\0\0\0\x03".to_vec(), Verdict::Stop),
        (b"d\xff\xff\xff\xff".to_vec(), Verdict::Stop),
        (b"d\x40\0\0\x01".to_vec(), Verdict::Stop),
    ] {
        let (listener, config) = fake::listener().await;
        let connector = connector(&config, None);
        let command = "START_REPLICATION SLOT s LOGICAL 0/0";
        let (mut stream, mut peer) =
            tokio::join!(open(&connector, command), fake::until_streaming(&listener));
        // What may stand between payloads is passed over, and a payload before the end still
        // arrives.
        let notice = fake::message(b'N', b"SNOTICE\0\0");
        let parameter = fake::message(b'S', b"TimeZone\0UTC\0");
        let before = [notice, fake::message(b'd', b"whole"), parameter, bytes.clone()].concat();
        peer.write_all(&before).await.unwrap();
        drop(peer);
        assert_eq!(next(&mut stream).await.unwrap(), b"whole");
        assert_eq!(next(&mut stream).await.unwrap_err().verdict, verdict, "{bytes:?}");
    }
}
