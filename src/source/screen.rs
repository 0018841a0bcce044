//! What a server may send before we stop listening: the number and the size of each kind of
//! message.
//!
//! A source may be hostile, or not a PostgreSQL at all. Whatever it sends lands in the memory of a
//! process that shares its memory with a server, and an allocation that fails there ends the whole
//! cluster: so every size is bounded before room is made for it. PostgreSQL itself stays far below
//! these bounds.

use std::io;

/// A row or a piece of a COPY: PostgreSQL itself sends none larger than 1 GB.
pub(super) const LONGEST_MESSAGE: usize = 1 << 30;

/// An error, a notice, a parameter and every message of the protocol that carries no rows.
const LONGEST_OTHER: usize = 1024 * 1024;

/// Beyond this it is tried whether there is room.
const LARGE: usize = 16 * 1024 * 1024;

/// Parameters that one session may report; a change of one is a report, too.
const MOST_PARAMETERS: u32 = 1_000;

/// Notices, notifications and parameters between two answers.
const MOST_ASIDE: usize = 4 * 1024 * 1024;

/// All that is sent before the first query may be.
const LONGEST_GREETING: usize = 2 * 1024 * 1024;

/// The rows of one answer: they are all in memory. The last one alone may be longer.
const LONGEST_ANSWER: usize = 512 * 1024 * 1024;
const MOST_ROWS: u32 = 4_000_000;

/// Why a server is listened to no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Excess {
    #[error("a message from the source has an impossible length (message \"{tag}\", {length} bytes)")]
    Length { tag: char, length: i64 },
    #[error("the source reports parameters without end")]
    Parameters,
    #[error("the source sends notices without end")]
    Aside,
    #[error("the source greets without end")]
    Greeting,
    #[error("the source answers a query with more rows than can be kept")]
    Rows,
    #[error("a message from the source is larger than the memory that is left")]
    Memory,
}

impl From<Excess> for io::Error {
    fn from(excess: Excess) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, excess)
    }
}

/// Follows the messages of one session, from the greeting on.
#[derive(Debug, Default)]
pub(super) struct Screen {
    greeted: bool,
    greeting: usize,
    parameters: u32,
    aside: usize,
    rows: u32,
    row_bytes: usize,
}

impl Screen {
    /// Looks at a message's head, before anything of its body is kept: its length, which counts
    /// itself.
    pub(super) fn message(&mut self, tag: u8, length: i32) -> Result<usize, Excess> {
        let most = if matches!(tag, b'D' | b'd') { LONGEST_MESSAGE } else { LONGEST_OTHER };
        let impossible = Excess::Length { tag: shown(tag), length: length.into() };
        let length = match usize::try_from(length) {
            Ok(length) if (4..=most).contains(&length) => length,
            _ => return Err(impossible),
        };
        self.count(tag, length)?;
        if length > LARGE {
            room(length)?;
        }
        Ok(length)
    }

    fn count(&mut self, tag: u8, length: usize) -> Result<(), Excess> {
        if !self.greeted {
            self.greeting += length;
            if self.greeting > LONGEST_GREETING {
                return Err(Excess::Greeting);
            }
        }
        match tag {
            b'N' | b'A' | b'S' => {
                self.aside += length;
                self.parameters += u32::from(tag == b'S');
                if self.parameters > MOST_PARAMETERS {
                    return Err(Excess::Parameters);
                }
                if self.aside > MOST_ASIDE {
                    return Err(Excess::Aside);
                }
            }
            b'D' => {
                if self.row_bytes > LONGEST_ANSWER || self.rows >= MOST_ROWS {
                    return Err(Excess::Rows);
                }
                self.rows += 1;
                self.row_bytes += length;
            }
            b'Z' => {
                self.greeted = true;
                (self.rows, self.row_bytes, self.aside) = (0, 0, 0);
            }
            // A stream may go on for ever, with a word aside now and then, which nobody keeps.
            b'd' => (self.aside, self.parameters) = (0, 0),
            _ => {}
        }
        Ok(())
    }
}

/// Whether there is room for so many bytes, tried where a failure is a value and not the end.
pub(super) fn room(bytes: usize) -> Result<(), Excess> {
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| Excess::Memory)
}

fn shown(tag: u8) -> char {
    if tag.is_ascii_graphic() { char::from(tag) } else { '?' }
}

/// Follows a session's bytes as they pass by, in pieces of any size.
#[derive(Debug)]
pub(super) struct Passing {
    screen: Screen,
    head: [u8; 5],
    /// Bytes of the head that are there.
    has: usize,
    /// Bytes of the body that are still to come.
    left: usize,
}

impl Passing {
    /// For a session whose greeting was screened before.
    pub(super) fn after_greeting() -> Passing {
        Passing { screen: Screen { greeted: true, ..Screen::default() }, head: [0; 5], has: 0, left: 0 }
    }

    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> Result<(), Excess> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let body = bytes.len().min(self.left);
                self.left -= body;
                bytes = &bytes[body..];
                continue;
            }
            let part = bytes.len().min(self.head.len() - self.has);
            self.head[self.has..self.has + part].copy_from_slice(&bytes[..part]);
            self.has += part;
            bytes = &bytes[part..];
            if self.has == self.head.len() {
                let [tag, a, b, c, d] = self.head;
                self.left = self.screen.message(tag, i32::from_be_bytes([a, b, c, d]))? - 4;
                self.has = 0;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Excess, LONGEST_OTHER, MOST_PARAMETERS, Passing, Screen};

    fn message(tag: u8, body: usize) -> Vec<u8> {
        let length = i32::try_from(body + 4).unwrap();
        [&[tag][..], &length.to_be_bytes(), &vec![b'x'; body]].concat()
    }

    /// How many of the same message pass.
    fn passes(tag: u8, body: usize, most: u32) -> Result<(), Excess> {
        let mut passing = Passing::after_greeting();
        (0..most).try_for_each(|_| passing.pass(&message(tag, body)))
    }

    #[test]
    fn what_a_server_sends_in_a_long_session_passes() {
        let mut passing = Passing::after_greeting();
        for _ in 0..2_000 {
            let answer = [
                message(b'T', 600),
                message(b'D', 300),
                message(b'N', 100),
                message(b'C', 9),
                message(b'Z', 1),
            ];
            passing.pass(&answer.concat()).unwrap();
        }
        assert_eq!(passes(b'd', 8_000, 10_000), Ok(()));
    }

    #[test]
    fn each_kind_of_message_without_end_is_cut_off() {
        assert_eq!(passes(b'S', 20, MOST_PARAMETERS), Ok(()));
        assert_eq!(passes(b'S', 20, MOST_PARAMETERS + 1), Err(Excess::Parameters));
        assert_eq!(passes(b'N', 8_000, 1_000), Err(Excess::Aside));
        assert_eq!(passes(b'A', 8_000, 1_000), Err(Excess::Aside));
        assert_eq!(passes(b'D', 0, 4_000_001), Err(Excess::Rows));
        assert_eq!(passes(b'D', 8 << 20, 64), Ok(()));
        assert_eq!(passes(b'D', 8 << 20, 65), Err(Excess::Rows));
        let mut greeting = Screen::default();
        let endless = (0..100).try_for_each(|_| greeting.message(b'R', 100_000).map(drop));
        assert_eq!(endless, Err(Excess::Greeting));
    }

    #[test]
    fn a_length_is_judged_before_anything_of_the_body_is_there() {
        for (tag, length) in
            [(b'E', i32::MAX), (b'E', 1_100_000), (b'D', i32::MAX), (b'd', -1), (b'Z', 3), (b'D', 0)]
        {
            let head = [&[tag][..], &length.to_be_bytes()].concat();
            let excess = Passing::after_greeting().pass(&head).unwrap_err();
            assert!(matches!(excess, Excess::Length { .. }), "{excess:?}");
        }
        let head = [&b"E"[..], &i32::try_from(LONGEST_OTHER).unwrap().to_be_bytes()].concat();
        assert_eq!(Passing::after_greeting().pass(&head), Ok(()));
    }

    #[test]
    fn however_the_bytes_are_cut_the_same_is_seen() {
        let bytes = [message(b'D', 7), message(b'Z', 1), message(b'S', 3), message(b'D', 0)].concat();
        for piece in 1..bytes.len() {
            let mut passing = Passing::after_greeting();
            bytes.chunks(piece).for_each(|part| passing.pass(part).unwrap());
            assert_eq!((passing.screen.rows, passing.screen.parameters, passing.left), (1, 1, 0));
        }
    }
}
