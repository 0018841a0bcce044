//! Messages to and from one server: framing, and the buffers that the bytes lie in.
//!
//! The way in is the hot path: a message is framed where it was read, with no copy and no
//! allocation.

use std::collections::HashMap;
use std::ops::Range;

use bytes::{Buf, BytesMut};
use postgres_protocol::message::backend::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::failure;
use super::screen::{self, Screen};
use super::socket::Stream;
use crate::error::Error;

const CHUNK: usize = 256 * 1024;
/// Below this much room, reading on would mean many small reads.
const LEAST_ROOM: usize = CHUNK / 4;
/// An empty buffer that grew beyond this for one large message is given back.
const LARGEST_KEPT: usize = 16 * CHUNK;

/// One message where it lies in the inbox, until the next read.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) tag: u8,
    body: Range<usize>,
}

pub(super) struct Channel {
    pub(super) stream: Stream,
    inbox: Inbox,
    outbox: BytesMut,
    pub(super) parameters: HashMap<String, String>,
    pub(super) backend_pid: i32,
    pub(super) secret_key: i32,
}

impl Channel {
    pub(super) fn new(stream: Stream) -> Self {
        Channel {
            stream,
            inbox: Inbox::default(),
            outbox: BytesMut::new(),
            parameters: HashMap::new(),
            backend_pid: 0,
            secret_key: 0,
        }
    }

    /// The next whole message that was read already. Notices, notifications and parameters are
    /// dealt with here; an ErrorResponse is the error.
    pub(super) fn buffered(&mut self) -> Result<Option<Frame>, Error> {
        while let Some(frame) = self.inbox.next_frame()? {
            match frame.tag {
                b'N' | b'A' => {}
                b'S' => self.note_parameter(&frame),
                b'E' => return Err(failure::reported(self.body(&frame))),
                _ => return Ok(Some(frame)),
            }
        }
        Ok(None)
    }

    pub(super) fn body(&self, frame: &Frame) -> &[u8] {
        self.inbox.body(frame)
    }

    /// The socket, and what was read of it and not yet framed.
    pub(super) fn into_parts(self) -> (Stream, Inbox) {
        (self.stream, self.inbox)
    }

    /// Waits for the next message. Cancel-safe.
    pub(super) async fn frame(&mut self) -> Result<Frame, Error> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// The next message, parsed. Not for the hot path: it copies.
    pub(super) async fn message(&mut self) -> Result<Message, Error> {
        let frame = self.frame().await?;
        let mut copy = BytesMut::from(&self.inbox.buffer[frame.body.start - HEADER..frame.body.end]);
        match Message::parse(&mut copy) {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(unexpected(frame.tag)),
            Err(error) => Err(unexpected(frame.tag).caused_by(error)),
        }
    }

    /// Reads what the socket has. Cancel-safe; the end of the connection is an error.
    pub(super) async fn fill(&mut self) -> Result<(), Error> {
        let read = self.stream.read(self.inbox.room()?).await;
        match read.map_err(failure::io_failure)? {
            0 => Err(failure::closed()),
            count => {
                self.inbox.took(count);
                Ok(())
            }
        }
    }

    /// Where messages wait until [flush](Self::flush).
    pub(super) fn outbox(&mut self) -> &mut BytesMut {
        &mut self.outbox
    }

    /// Writes what waits. Cancel-safe: the next call goes on at the byte where this one was broken
    /// off.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        while self.outbox.has_remaining() {
            match self.stream.write(&self.outbox).await.map_err(failure::io_failure)? {
                0 => return Err(failure::closed()),
                written => self.outbox.advance(written),
            }
        }
        self.stream.flush().await.map_err(failure::io_failure)
    }

    fn note_parameter(&mut self, frame: &Frame) {
        let body = String::from_utf8_lossy(self.body(frame)).into_owned();
        let mut parts = body.split('\0');
        if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            self.parameters.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// A message that this point of the conversation doesn't allow.
pub(super) fn unexpected(tag: u8) -> Error {
    Error::stop(format!("unexpected message \"{}\" from the source", tag.escape_ascii()))
}

/// The tag, and the length that counts itself.
const HEADER: usize = 5;

/// `buffer[start..end]` was read and not yet framed.
#[derive(Default)]
pub(super) struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    screen: Screen,
    /// The length of the message at `start`, once it was judged.
    announced: Option<usize>,
}

impl Inbox {
    pub(super) fn body(&self, frame: &Frame) -> &[u8] {
        &self.buffer[frame.body.clone()]
    }

    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        let unread = &self.buffer[self.start..self.end];
        let [tag, a, b, c, d, ..] = *unread else { return Ok(None) };
        let length = match self.announced {
            Some(length) => length,
            None => {
                let length =
                    self.screen.message(tag, i32::from_be_bytes([a, b, c, d])).map_err(failure::excessive)?;
                *self.announced.insert(length)
            }
        };
        let end = length + 1;
        if self.end - self.start < end {
            return Ok(None);
        }
        let frame = Frame { tag, body: self.start + HEADER..self.start + end };
        self.start += end;
        self.announced = None;
        Ok(Some(frame))
    }

    /// So many bytes were read into the room.
    pub(super) fn took(&mut self, count: usize) {
        self.end += count;
    }

    /// Room to read into. The buffer doubles as bytes arrive, never because a length was announced.
    pub(super) fn room(&mut self) -> Result<&mut [u8], Error> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > LARGEST_KEPT {
                self.buffer = Vec::new();
            }
        }
        if self.buffer.len() - self.end < LEAST_ROOM {
            // Only the piece of one message is left to move.
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() - self.end < LEAST_ROOM {
                let larger = (self.buffer.len() * 2).max(CHUNK);
                screen::room(larger).map_err(failure::excessive)?;
                self.buffer.resize(larger, 0);
            }
        }
        Ok(&mut self.buffer[self.end..])
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, Inbox};

    #[test]
    fn a_message_takes_room_as_it_comes_and_not_as_it_is_announced() {
        let mut inbox = Inbox::default();
        // A greeting that is over, and the head of the largest message that there may be.
        let head = [&b"Z\0\0\0\x05Id"[..], &(1_i32 << 30).to_be_bytes()].concat();
        inbox.room().unwrap()[..head.len()].copy_from_slice(&head);
        inbox.took(head.len());
        assert!(inbox.next_frame().unwrap().is_some());
        assert!(inbox.next_frame().unwrap().is_none());
        let mut came = head.len();
        while came < 4 << 20 {
            let room = inbox.room().unwrap().len().min(60_000);
            inbox.took(room);
            came += room;
            assert!(inbox.next_frame().unwrap().is_none());
            assert!(inbox.buffer.len() <= (2 * came).max(CHUNK) + CHUNK, "{came}");
        }
    }
}
