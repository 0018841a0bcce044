use odoo_mirror::wire::{Frame, Lsn, Message, WireError, decode, decode_frame, standby_status};
use proptest::prelude::*;

use super::checks;
use super::fixtures::frames;

#[test]
fn a_captured_stream_decodes_down_to_its_changes() {
    let frames = frames();
    let mut kinds = Vec::new();
    let mut end_of_commit = Lsn::ZERO;
    for bytes in &frames {
        checks::frame(bytes);
        match decode_frame(bytes).unwrap() {
            Frame::XLogData { start, end, body, .. } => {
                assert_eq!(start, end);
                kinds.push(body[0]);
                if let Message::Commit { end_lsn, .. } = decode(body).unwrap() {
                    assert_eq!(start, end_lsn);
                    end_of_commit = end_lsn;
                }
            }
            Frame::Keepalive { .. } => kinds.push(b'k'),
        }
    }
    assert_eq!(kinds, b"kBRDCk");
    // The reply to a status update that asked for one.
    let Ok(Frame::Keepalive { end, reply_requested, .. }) = decode_frame(frames.last().unwrap()) else {
        panic!("not a keepalive")
    };
    assert!(end >= end_of_commit && !reply_requested);
}

proptest! {
    #[test]
    fn xlog_data_survives_encoding(start: u64, end: u64, sent_at: i64, body: Vec<u8>) {
        let mut bytes = vec![b'w'];
        bytes.extend(start.to_be_bytes());
        bytes.extend(end.to_be_bytes());
        bytes.extend(sent_at.to_be_bytes());
        bytes.extend(&body);
        let (start, end) = (Lsn(start), Lsn(end));
        prop_assert_eq!(decode_frame(&bytes), Ok(Frame::XLogData { start, end, sent_at, body: &body }));
    }

    #[test]
    fn a_keepalive_survives_encoding(end: u64, sent_at: i64, reply_requested: bool) {
        let mut bytes = vec![b'k'];
        bytes.extend(end.to_be_bytes());
        bytes.extend(sent_at.to_be_bytes());
        bytes.push(u8::from(reply_requested));
        prop_assert_eq!(decode_frame(&bytes), Ok(Frame::Keepalive { end: Lsn(end), sent_at, reply_requested }));
    }

    #[test]
    fn no_frame_panics(bytes: Vec<u8>) {
        checks::frame(&bytes);
    }
}

#[test]
fn an_unknown_frame_is_an_error() {
    assert_eq!(decode_frame(b"s"), Err(WireError::Unknown { what: "replication frame kind", byte: b's' }));
    assert!(decode_frame(b"").is_err());
    let mut keepalive = frames()[0].clone();
    keepalive.push(0);
    assert_eq!(decode_frame(&keepalive), Err(WireError::TrailingBytes { what: "keepalive", left: 1 }));
}

#[test]
fn a_standby_status_update_is_appended_as_the_protocol_says() {
    let mut out = b"before".to_vec();
    standby_status(&mut out, Lsn(3), Lsn(2), Lsn(0x16_B374_D848), -1, true);
    let mut expected = b"beforer".to_vec();
    expected.extend([0, 0, 0, 0, 0, 0, 0, 3]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 2]);
    expected.extend([0, 0, 0, 0x16, 0xb3, 0x74, 0xd8, 0x48]);
    expected.extend([0xff; 8]);
    expected.push(1);
    assert_eq!(out, expected);
}
