//! The frames of a replication stream: what the CopyData messages of both directions hold.

use super::reader::Reader;
use super::{Lsn, WireError};

/// What a walsender sends. Times are microseconds since 2000-01-01 00:00 UTC, by the source's
/// clock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A piece of output; under pgoutput, one message.
    XLogData {
        /// The WAL position that the message is about: a Commit's is its end. Zero for a Relation
        /// or a Type.
        start: Lsn,
        /// On a logical slot the same as `start`, so no measure of how far the source's WAL
        /// reaches.
        end: Lsn,
        sent_at: i64,
        body: &'a [u8],
    },
    /// A sign of life.
    Keepalive {
        /// How far the walsender has read: with nothing in flight, this may be confirmed.
        end: Lsn,
        sent_at: i64,
        /// Answer now, or be cut off for wal_sender_timeout.
        reply_requested: bool,
    },
}

impl std::fmt::Debug for Frame<'_> {
    /// Without the body, which holds cells.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Frame::XLogData { start, end, sent_at, body } => {
                write!(
                    f,
                    "XLogData {{ start: {start}, end: {end}, sent_at: {sent_at}, body: {} bytes }}",
                    body.len()
                )
            }
            Frame::Keepalive { end, sent_at, reply_requested } => {
                write!(
                    f,
                    "Keepalive {{ end: {end}, sent_at: {sent_at}, reply_requested: {reply_requested} }}"
                )
            }
        }
    }
}

/// Decodes one CopyData payload of a replication stream. An XLogData's body is not looked at.
pub fn decode_frame(copy_data: &[u8]) -> Result<Frame<'_>, WireError> {
    let mut reader = Reader::new(copy_data);
    match reader.u8("replication frame kind")? {
        b'w' => Ok(Frame::XLogData {
            start: reader.lsn("XLogData's start")?,
            end: reader.lsn("XLogData's end")?,
            sent_at: reader.i64("XLogData's time")?,
            body: reader.rest(),
        }),
        b'k' => {
            let frame = Frame::Keepalive {
                end: reader.lsn("keepalive's end")?,
                sent_at: reader.i64("keepalive's time")?,
                reply_requested: reader.u8("keepalive's reply flag")? != 0,
            };
            reader.finish("keepalive")?;
            Ok(frame)
        }
        byte => Err(WireError::Unknown { what: "replication frame kind", byte }),
    }
}

/// Appends a standby status update, the CopyData payload that tells the source how far we are.
///
/// Each position is the last byte's plus one. The source frees its WAL up to `flushed`, so that may
/// only name what is durable here. `sent_at` is by our clock, in microseconds since 2000-01-01
/// 00:00 UTC.
pub fn standby_status(
    out: &mut Vec<u8>,
    written: Lsn,
    flushed: Lsn,
    applied: Lsn,
    sent_at: i64,
    reply_requested: bool,
) {
    out.reserve(34);
    out.push(b'r');
    for position in [written, flushed, applied] {
        out.extend_from_slice(&position.0.to_be_bytes());
    }
    out.extend_from_slice(&sent_at.to_be_bytes());
    out.push(u8::from(reply_requested));
}
