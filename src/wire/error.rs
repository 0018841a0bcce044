//! Why bytes could not be read. Names what was being read; shows a kind or flag byte, never a
//! value.

use std::ascii::escape_default;

/// Bytes that are not what the protocol says they are. None of these is worth a retry: the stream
/// is broken, or speaks a newer protocol than was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// `needed` bytes were wanted, `left` were there.
    #[error("truncated {what}: {needed} bytes needed, {left} left")]
    Truncated { what: &'static str, needed: usize, left: usize },
    /// A string without its closing NUL.
    #[error("unterminated {what}")]
    Unterminated { what: &'static str },
    #[error("{what} is not valid UTF-8")]
    NotUtf8 { what: &'static str },
    /// A count or a length below zero.
    #[error("negative {what}")]
    Negative { what: &'static str },
    /// A byte that selects a meaning, and none is known for it.
    #[error("unknown {what} '{}' (0x{byte:02x})", escape_default(*.byte))]
    Unknown { what: &'static str, byte: u8 },
    /// A flag whose meaning would be lost by ignoring it.
    #[error("unknown {what} 0x{bits:02x}")]
    UnknownFlags { what: &'static str, bits: u8 },
    /// The message is complete, and `left` bytes follow.
    #[error("{left} trailing bytes after {what}")]
    TrailingBytes { what: &'static str, left: usize },
    /// More than the wire's length or count can say.
    #[error("{what} too large for the wire")]
    TooLarge { what: &'static str },
}
