//! The replication session: commands, frames in, replies out.

use std::time::Duration;

use odoo_mirror::error::{Error, Verdict};
use odoo_mirror::source::session::ReplicationSession;
use tokio::io::AsyncWriteExt;

use crate::cluster::Clusters;
use crate::{connector, fake};

/// The next payload, copied.
async fn next(session: &mut ReplicationSession) -> Result<Vec<u8>, Error> {
    loop {
        if let Some(payload) = session.buffered()? {
            return Ok(payload.to_vec());
        }
        session.fill().await?;
    }
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
        let mut id = 0;
        while id < 3000 {
            let payload = next(&mut session).await.unwrap();
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
    let error = loop {
        if let Err(error) = next(&mut session).await {
            break error;
        }
    };
    assert_eq!((error.verdict, error.sqlstate.as_deref()), (Verdict::Retry, Some("57P01")));
}

#[tokio::test]
async fn a_cancelled_send_goes_on_where_it_stopped() {
    const MESSAGES: usize = 40;
    let (listener, config) = fake::listener().await;
    let connector = connector(&config, None);
    let open = async {
        let mut session = connector.replication().await.unwrap();
        session.start_replication("START_REPLICATION SLOT s LOGICAL 0/0").await.unwrap();
        session
    };
    let (mut session, mut peer) = tokio::join!(open, fake::until_streaming(&listener));

    // Nobody reads at the other end: the socket fills, and sends are broken off in the middle.
    let mut broken_off = 0;
    for number in 0..MESSAGES {
        let payload = vec![number as u8; 1_000_003];
        let send = session.send(&payload);
        broken_off += usize::from(tokio::time::timeout(Duration::from_millis(1), send).await.is_err());
    }
    assert!(broken_off > 0, "the socket took everything");

    let read = async {
        for number in 0..MESSAGES {
            let (tag, body) = fake::receive(&mut peer).await;
            assert_eq!((tag, body.len()), (b'd', 1_000_003));
            assert!(body.iter().all(|byte| usize::from(*byte) == number), "message {number} is torn");
        }
    };
    let (flushed, ()) = tokio::join!(session.flush(), read);
    flushed.unwrap();
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
        let open = async {
            let mut session = connector.replication().await.unwrap();
            session.start_replication("START_REPLICATION SLOT s LOGICAL 0/0").await.unwrap();
            session
        };
        let (mut session, mut peer) = tokio::join!(open, fake::until_streaming(&listener));
        // What may stand between payloads is passed over, and a payload before the end still arrives.
        let notice = fake::message(b'N', b"SNOTICE\0\0");
        let parameter = fake::message(b'S', b"TimeZone\0UTC\0");
        let before = [notice, fake::message(b'd', b"whole"), parameter, bytes.clone()].concat();
        peer.write_all(&before).await.unwrap();
        drop(peer);
        assert_eq!(next(&mut session).await.unwrap(), b"whole");
        assert_eq!(next(&mut session).await.unwrap_err().verdict, verdict, "{bytes:?}");
        assert_eq!(session.parameter("TimeZone"), Some("UTC"));
    }
}
