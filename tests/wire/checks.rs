//! What holds for any bytes at all. The fuzz targets run these, and so do the tests.

use odoo_mirror::wire::{Frame, Message, Old, Tuple, TupleWriter, decode, decode_frame};

use super::sent::Sent;

/// Decoding doesn't panic, and what it made of the bytes survives being encoded again.
pub fn message(bytes: &[u8]) {
    let Ok(message) = decode(bytes) else { return };
    let again = Sent::from(&message).encode();
    assert_eq!(decode(&again).as_ref(), Ok(&message));
    match message {
        Message::Insert { new, .. } => tuple(new),
        Message::Update { old, new, .. } => {
            if let Some(Old::Key(old) | Old::Row(old)) = old {
                tuple(old);
            }
            tuple(new);
        }
        Message::Delete { old: Old::Key(old) | Old::Row(old), .. } => tuple(old),
        _ => {}
    }
}

/// Decoding doesn't panic, and a frame's body is its last bytes.
pub fn frame(bytes: &[u8]) {
    if let Ok(Frame::XLogData { body, .. }) = decode_frame(bytes) {
        assert_eq!(body, &bytes[25..]);
        message(body);
    }
}

fn tuple(tuple: Tuple<'_>) {
    never_fails(tuple);
    assert_eq!(Tuple::from_bytes(tuple.as_bytes()), Ok((tuple, &[][..])));
    let mut out = Vec::new();
    let mut writer = TupleWriter::new(&mut out);
    tuple.iter().for_each(|column| writer.put(column));
    assert_eq!(writer.finish().map(|written| written.as_bytes()), Ok(tuple.as_bytes()));
}

fn never_fails(tuple: Tuple<'_>) {
    assert_eq!(tuple.iter().count(), tuple.len());
    assert_eq!(tuple.get(tuple.len()), None);
}
