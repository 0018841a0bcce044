//! A position in the source's write-ahead log.

use std::fmt;
use std::str::FromStr;

/// WAL comes in pages of this size (`XLOG_BLCKSZ`, a compile-time constant that nobody changes).
const PAGE: u64 = 8192;
/// The header of a page, and of a segment's first page.
const SHORT_HEADER: u64 = 24;
const LONG_HEADER: u64 = 40;
/// `--wal-segsize` is a power of two from here up to 1 GB, so each segment starts on a multiple.
const SMALLEST_SEGMENT: u64 = 1 << 20;

/// A byte position in the WAL, written as PostgreSQL writes it.
///
/// ```
/// use odoo_mirror::wire::Lsn;
///
/// let lsn: Lsn = "16/B374D848".parse()?;
/// assert_eq!(lsn, Lsn(0x16_B374_D848));
/// assert_eq!(lsn.to_string(), "16/B374D848");
/// # Ok::<(), odoo_mirror::wire::ParseLsnError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Whether a commit may lie between `other` and this position. No commit record is so short as
    /// that the few bytes by which two positions of an idle server may differ could hold one.
    pub fn is_past(self, other: Lsn) -> bool {
        const SHORTER_THAN_A_COMMIT: u64 = 24;
        self.0.saturating_sub(other.0) > SHORTER_THAN_A_COMMIT
    }

    /// No position: PostgreSQL's `InvalidXLogRecPtr`.
    pub const ZERO: Lsn = Lsn(0);

    /// Whether this is no position at all.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// The end of the last record, given `pg_current_wal_insert_lsn()`: the position that a
    /// walsender will report.
    ///
    /// The insert position is where the *next* record will start. When the last one filled its
    /// page, that is past the next page's header, and a walsender, which reports where records
    /// end, never gets there while the source is idle: it stops at the page's start.
    ///
    /// ```
    /// use odoo_mirror::wire::Lsn;
    ///
    /// assert_eq!(Lsn(0x0300_2018).as_end_position(), Lsn(0x0300_2000));
    /// assert_eq!(Lsn(0x0300_0028).as_end_position(), Lsn(0x0300_0000)); // a segment's first page
    /// assert_eq!(Lsn(0x0300_2028).as_end_position(), Lsn(0x0300_2028)); // any other page
    /// ```
    pub fn as_end_position(self) -> Lsn {
        // The segment size isn't known here, so any page that may start a segment is taken for one.
        // Where it doesn't, a record did end 40 bytes into it; then no other record ends between
        // there and the page's start (the smallest is 24 bytes), so no reported position is
        // mistaken for being past this one.
        let page = self.0 & !(PAGE - 1);
        match self.0 - page {
            SHORT_HEADER => Lsn(page),
            LONG_HEADER if page.is_multiple_of(SMALLEST_SEGMENT) => Lsn(page),
            _ => self,
        }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not an LSN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid LSN: expected two hexadecimal numbers of up to 8 digits with a slash between, as in 16/B374D848"
)]
pub struct ParseLsnError;

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, ParseLsnError> {
        let (high, low) = text.split_once('/').ok_or(ParseLsnError)?;
        Ok(Lsn(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

fn half(digits: &str) -> Result<u32, ParseLsnError> {
    // from_str_radix would let a sign and any number of leading zeros through.
    if digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ParseLsnError);
    }
    u32::from_str_radix(digits, 16).map_err(|_| ParseLsnError)
}
