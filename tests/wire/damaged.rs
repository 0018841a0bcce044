//! Bytes that are cut, changed, or never were a message: an error, never a panic.

use odoo_mirror::wire::{WireError, decode, decode_frame};

use super::checks;
use super::fixtures::{frames, message, messages};

#[test]
fn every_truncation_of_a_message_is_an_error() {
    for bytes in messages() {
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} of {bytes:02x?}");
        }
    }
}

#[test]
fn every_truncation_of_a_frame_is_an_error() {
    for bytes in frames() {
        let header = if bytes[0] == b'w' { 25 } else { bytes.len() };
        for length in 0..header {
            assert!(decode_frame(&bytes[..length]).is_err(), "{length} of {bytes:02x?}");
        }
    }
}

#[test]
fn no_corruption_of_one_byte_panics() {
    for mut bytes in messages() {
        for at in 0..bytes.len() {
            let was = bytes[at];
            for byte in 0..=u8::MAX {
                bytes[at] = byte;
                checks::message(&bytes);
            }
            bytes[at] = was;
        }
    }
}

#[test]
fn no_corruption_of_one_byte_of_a_frame_panics() {
    for mut bytes in frames() {
        for at in 0..bytes.len() {
            let was = bytes[at];
            for byte in 0..=u8::MAX {
                bytes[at] = byte;
                checks::frame(&bytes);
            }
            bytes[at] = was;
        }
    }
}

#[test]
fn bytes_after_a_message_are_an_error() {
    for mut bytes in messages() {
        bytes.push(0);
        assert!(matches!(decode(&bytes), Err(WireError::TrailingBytes { left: 1, .. })), "{bytes:02x?}");
    }
}

#[test]
fn streaming_and_two_phase_messages_are_unknown() {
    for kind in b"SEcAbPKrp" {
        let mut bytes = vec![*kind];
        bytes.extend([0; 32]);
        assert_eq!(decode(&bytes), Err(WireError::Unknown { what: "pgoutput message kind", byte: *kind }));
    }
}

#[test]
fn flags_of_a_relations_column_that_are_not_known_are_an_error() {
    let column = |flags: u8| {
        [&b"R\0\0\0\x01public\0t\0d\0\x01"[..], &[flags], b"id\0\0\0\0\x17\xff\xff\xff\xff"].concat()
    };
    for flags in 0..=u8::MAX {
        let message = column(flags);
        let decoded = decode(&message);
        assert_eq!(decoded.is_ok(), flags <= 1, "{flags}: {decoded:?}");
    }
}

#[test]
fn an_error_says_what_was_being_read() {
    let said = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
    assert_eq!(said(b""), "truncated pgoutput message kind: 1 bytes needed, 0 left");
    assert_eq!(said(b"S"), "unknown pgoutput message kind 'S' (0x53)");
    assert_eq!(said(b"\0"), r"unknown pgoutput message kind '\x00' (0x00)");
    assert_eq!(said(b"I\0\0\0\x01N\xff\xff"), "negative tuple's column count");
    assert_eq!(said(b"I\0\0\0\x01N\0\x01t\xff\xff\xff\xff"), "negative column's length");
    assert_eq!(
        said(b"I\0\0\0\x01N\0\x01t\x7f\xff\xff\xffx"),
        "truncated column's value: 2147483647 bytes needed, 1 left"
    );
    assert_eq!(said(b"I\0\0\0\x01N\0\x01x"), "unknown column kind 'x' (0x78)");
    assert_eq!(said(b"I\0\0\0\x01K\0\0"), "unknown insert's tuple kind 'K' (0x4b)");
    assert_eq!(said(b"T\xff\xff\xff\xff\0"), "negative truncate's relation count");
    assert_eq!(
        said(b"T\x7f\xff\xff\xff\0\0\0"),
        "truncated truncate's relation ids: 8589934588 bytes needed, 2 left"
    );
    assert_eq!(said(b"T\0\0\0\0\x04"), "unknown truncate's flags 0x04");
    assert_eq!(said(b"Y\0\0\0\x01\xff\0x\0"), "type's schema is not valid UTF-8");
    assert_eq!(said(b"Y\0\0\0\x01public"), "unterminated type's schema");
    assert_eq!(said(b"R\0\0\0\x01\0t\0x\0\0"), "unknown replica identity 'x' (0x78)");
    assert_eq!(said(b"R\0\0\0\x01\0t\0d\xff\xff"), "negative relation's column count");
}

#[test]
fn neither_errors_nor_debug_output_show_a_cell() {
    let mut bytes = message("update.text", b'U');
    assert!(format!("{:?}", decode(&bytes)).contains("Text(7 bytes)"));
    assert!(!format!("{:?}", decode(&bytes)).contains("renamed"));
    bytes.truncate(bytes.len() - 4);
    let error = decode(&bytes).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("renamed"));
}
