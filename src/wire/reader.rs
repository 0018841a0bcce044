//! A checked cursor over received bytes. It never reads past them, and each error says what was
//! wanted.

use super::{Lsn, WireError};

pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    #[inline]
    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        self.array(what).map(u32::from_be_bytes)
    }

    #[inline]
    pub(super) fn i32(&mut self, what: &'static str) -> Result<i32, WireError> {
        self.array(what).map(i32::from_be_bytes)
    }

    #[inline]
    pub(super) fn i64(&mut self, what: &'static str) -> Result<i64, WireError> {
        self.array(what).map(i64::from_be_bytes)
    }

    #[inline]
    pub(super) fn lsn(&mut self, what: &'static str) -> Result<Lsn, WireError> {
        self.array(what).map(|bytes| Lsn(u64::from_be_bytes(bytes)))
    }

    /// An i16 that counts things.
    pub(super) fn count16(&mut self, what: &'static str) -> Result<usize, WireError> {
        let count = self.array(what).map(i16::from_be_bytes)?;
        usize::try_from(count).map_err(|_| WireError::Negative { what })
    }

    /// An i32 that counts things or bytes.
    pub(super) fn count32(&mut self, what: &'static str) -> Result<usize, WireError> {
        let count = self.i32(what)?;
        usize::try_from(count).map_err(|_| WireError::Negative { what })
    }

    pub(super) fn bytes(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let Some((bytes, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.truncated(what, length));
        };
        self.rest = rest;
        Ok(bytes)
    }

    /// A string up to its NUL.
    pub(super) fn str(&mut self, what: &'static str) -> Result<&'a str, WireError> {
        let end = self.rest.iter().position(|&byte| byte == 0).ok_or(WireError::Unterminated { what })?;
        let bytes = self.bytes(end, what)?;
        self.u8(what)?;
        std::str::from_utf8(bytes).map_err(|_| WireError::NotUtf8 { what })
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Goes on at `rest`, the end of these same bytes, after somebody else has read some.
    pub(super) fn resume(&mut self, rest: &'a [u8]) {
        self.rest = rest;
    }

    /// Everything must have been read.
    #[inline]
    pub(super) fn finish(&self, what: &'static str) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(WireError::TrailingBytes { what, left }),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let Some((bytes, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.truncated(what, N));
        };
        self.rest = rest;
        Ok(*bytes)
    }

    #[cold]
    fn truncated(&self, what: &'static str, needed: usize) -> WireError {
        WireError::Truncated { what, needed, left: self.rest.len() }
    }
}
