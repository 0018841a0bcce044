//! A row as it travels: a count, then one column after another. Kept as the bytes received, so that
//! a row can be stored and folded without being taken apart.

use std::fmt;
use std::iter::FusedIterator;

use super::WireError;
use super::reader::Reader;

/// The bytes that say what a column is.
pub(super) const NULL: u8 = b'n';
pub(super) const UNCHANGED: u8 = b'u';
pub(super) const TEXT: u8 = b't';
pub(super) const BINARY: u8 = b'b';

/// One column's value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Column<'a> {
    Null,
    /// An out-of-line (TOAST) value that the update did not touch, and so did not send.
    Unchanged,
    /// In the type's text format, in the session's client_encoding; not checked.
    Text(&'a [u8]),
    /// In the type's binary format, as its send function made it; not checked.
    Binary(&'a [u8]),
}

impl fmt::Debug for Column<'_> {
    /// Lengths only: a cell's value must not reach a log by way of a `{:?}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Column::Null => f.write_str("Null"),
            Column::Unchanged => f.write_str("Unchanged"),
            Column::Text(value) => write!(f, "Text({} bytes)", value.len()),
            Column::Binary(value) => write!(f, "Binary({} bytes)", value.len()),
        }
    }
}

/// A row's columns, in the order of the [`Relation`](super::Relation) it belongs to.
///
/// The bytes are checked once, when the tuple is made; walking over the columns can't fail after
/// that.
///
/// ```
/// use odoo_mirror::wire::{Column, Tuple};
///
/// let (tuple, rest) = Tuple::from_bytes(b"\0\x02t\0\0\0\x02hin")?;
/// assert_eq!(tuple.iter().collect::<Vec<_>>(), [Column::Text(b"hi"), Column::Null]);
/// assert!(rest.is_empty());
/// # Ok::<(), odoo_mirror::wire::WireError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Tuple<'a> {
    bytes: &'a [u8],
    /// The check met every column's value: nobody needs to look for one that is missing.
    whole: bool,
}

impl PartialEq for Tuple<'_> {
    fn eq(&self, other: &Tuple<'_>) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Tuple<'_> {}

impl<'a> Tuple<'a> {
    /// Checks the tuple that `bytes` start with; returns it and the bytes after it.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<(Tuple<'a>, &'a [u8]), WireError> {
        let mut reader = Reader::new(bytes);
        let columns = reader.count16("tuple's column count")?;
        let mut rest = reader.rest();
        let mut whole = true;
        for _ in 0..columns {
            let Some((column, after)) = split_column(rest) else {
                return Err(column_error(rest));
            };
            whole &= !matches!(column, Column::Unchanged);
            rest = after;
        }
        let (tuple, rest) = bytes.split_at(bytes.len() - rest.len());
        Ok((Tuple { bytes: tuple, whole }, rest))
    }

    /// A tuple from bytes that were checked before: what [`as_bytes`](Self::as_bytes) gave.
    /// From any other bytes come wrong columns, and nulls where there is nothing to read.
    pub fn from_validated(bytes: &'a [u8]) -> Tuple<'a> {
        Tuple { bytes, whole: false }
    }

    /// The raw bytes, column count included, to be kept and given to
    /// [`from_validated`](Self::from_validated).
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many columns there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.iter().remaining
    }

    /// Whether there are no columns, as in a table without any.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The columns in order.
    #[inline]
    pub fn iter(&self) -> Columns<'a> {
        match self.bytes.split_first_chunk() {
            Some((count, rest)) => {
                Columns { remaining: usize::try_from(i16::from_be_bytes(*count)).unwrap_or(0), rest }
            }
            None => Columns { remaining: 0, rest: &[] },
        }
    }

    /// The column at `index`, counted from 0, or None past the last. Walks there: to read several,
    /// iterate.
    pub fn get(&self, index: usize) -> Option<Column<'a>> {
        self.iter().nth(index)
    }

    /// Whether any column was not sent because it did not change.
    pub fn has_unchanged(&self) -> bool {
        !self.whole && self.iter().any(|column| column == Column::Unchanged)
    }
}

impl fmt::Debug for Tuple<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<'a> IntoIterator for Tuple<'a> {
    type Item = Column<'a>;
    type IntoIter = Columns<'a>;

    fn into_iter(self) -> Columns<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &Tuple<'a> {
    type Item = Column<'a>;
    type IntoIter = Columns<'a>;

    fn into_iter(self) -> Columns<'a> {
        self.iter()
    }
}

/// The columns of a [`Tuple`].
#[derive(Debug, Clone)]
pub struct Columns<'a> {
    remaining: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for Columns<'a> {
    type Item = Column<'a>;

    #[inline]
    fn next(&mut self) -> Option<Column<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        match split_column(self.rest) {
            Some((column, rest)) => {
                self.rest = rest;
                Some(column)
            }
            // Only when from_validated was given something else.
            None => {
                self.rest = &[];
                Some(Column::Null)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for Columns<'_> {}
impl FusedIterator for Columns<'_> {}

#[inline]
fn split_column(bytes: &[u8]) -> Option<(Column<'_>, &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    match kind {
        NULL => Some((Column::Null, rest)),
        TEXT => split_value(rest).map(|(value, rest)| (Column::Text(value), rest)),
        BINARY => split_value(rest).map(|(value, rest)| (Column::Binary(value), rest)),
        UNCHANGED => Some((Column::Unchanged, rest)),
        _ => None,
    }
}

#[inline]
fn split_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(i32::from_be_bytes(*length)).ok()?)
}

/// Reads again, slowly, what [`split_column`] refused, to say why.
#[cold]
fn column_error(bytes: &[u8]) -> WireError {
    let mut reader = Reader::new(bytes);
    let mut read = || match reader.u8("column kind")? {
        TEXT | BINARY => {
            let length = reader.count32("column's length")?;
            reader.bytes(length, "column's value")
        }
        byte => Err(WireError::Unknown { what: "column kind", byte }),
    };
    read().err().unwrap_or(WireError::Truncated { what: "column", needed: 1, left: bytes.len() })
}
