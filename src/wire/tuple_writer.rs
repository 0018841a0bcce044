//! Builds a tuple's bytes: where two versions of a row become one.

use super::tuple::{BINARY, NULL, TEXT, UNCHANGED};
use super::{Column, Tuple, WireError};

/// Appends one tuple to a buffer, column by column.
///
/// ```
/// use odoo_mirror::wire::{Column, TupleWriter};
///
/// let mut arena = Vec::new();
/// let mut writer = TupleWriter::new(&mut arena);
/// writer.put(Column::Text(b"hi"));
/// writer.put(Column::Null);
/// assert_eq!(writer.finish()?.len(), 2);
/// assert_eq!(arena, b"\0\x02t\0\0\0\x02hin");
/// # Ok::<(), odoo_mirror::wire::WireError>(())
/// ```
#[must_use = "the tuple is complete only after finish()"]
pub struct TupleWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    columns: usize,
    refused: Option<&'static str>,
}

impl<'a> TupleWriter<'a> {
    /// Starts a tuple at the end of `out`; what is there stays.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; 2]);
        TupleWriter { out, start, columns: 0, refused: None }
    }

    /// Appends a column.
    #[inline]
    pub fn put(&mut self, column: Column<'_>) {
        self.columns += 1;
        match column {
            Column::Null => self.out.push(NULL),
            Column::Unchanged => self.out.push(UNCHANGED),
            Column::Text(value) => self.put_value(TEXT, value),
            Column::Binary(value) => self.put_value(BINARY, value),
        }
    }

    /// Writes the column count and returns the tuple, which starts where the buffer ended.
    ///
    /// More columns than an i16 or more bytes in a value than an i32 can say is an error, which no
    /// column that came off the wire causes; the buffer is then as it was.
    pub fn finish(self) -> Result<Tuple<'a>, WireError> {
        let TupleWriter { out, start, columns, refused } = self;
        match (i16::try_from(columns), refused) {
            (Ok(count), None) => {
                let tuple = &mut out[start..];
                tuple[..2].copy_from_slice(&count.to_be_bytes());
                Ok(Tuple::from_validated(tuple))
            }
            (_, refused) => {
                out.truncate(start);
                Err(WireError::TooLarge { what: refused.unwrap_or("tuple's column count") })
            }
        }
    }

    #[inline]
    fn put_value(&mut self, kind: u8, value: &[u8]) {
        let Ok(length) = i32::try_from(value.len()) else {
            self.refused = Some("column's value");
            return;
        };
        self.out.push(kind);
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(value);
    }
}
