//! How large a piece of a comparison may be. The limits are on rows and bytes that a piece really
//! has, so no estimate counts; how long the last pieces took makes them smaller, and larger again.

use std::time::Duration;

use super::proof::Limits;

/// Nobody else's rows should wait longer for one piece.
const LONG: Duration = Duration::from_millis(400);

/// A piece that took less may be twice as large.
const SHORT: Duration = Duration::from_millis(100);

/// By how many halvings slow hashing makes a piece smaller; a piece that is too big goes on to one
/// row.
const MOST_BY_TIME: u32 = 5;
const MOST_BY_SIZE: u32 = 24;

/// After this many pieces that fit, larger ones are tried again.
const FITS: u32 = 16;

/// How large the next piece is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    by_time: u32,
    by_size: u32,
    fits: u32,
}

impl Pace {
    /// What the next piece may have, of these at most.
    pub fn of(self, most: Limits) -> Limits {
        let halvings = self.by_time + self.by_size;
        Limits { rows: (most.rows >> halvings).max(1), bytes: (most.bytes >> halvings).max(1) }
    }

    /// Hashing the last piece here took this long.
    pub fn took(&mut self, time: Duration) {
        if time > LONG {
            self.by_time = (self.by_time + 1).min(MOST_BY_TIME);
        } else if time < SHORT {
            self.by_time = self.by_time.saturating_sub(1);
        }
        self.fits += 1;
        if self.fits >= FITS {
            (self.fits, self.by_size) = (0, self.by_size.saturating_sub(1));
        }
    }

    /// The last piece had more bytes than it should, or wasn't told in time: it is begun again at
    /// half its size.
    pub fn too_big(&mut self) {
        (self.fits, self.by_size) = (0, (self.by_size + 1).min(MOST_BY_SIZE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Limits = Limits { rows: 2000, bytes: 8 << 20 };

    #[test]
    fn a_piece_is_halved_until_it_fits_and_grows_again() {
        let mut pace = Pace::default();
        assert_eq!(pace.of(ALL), ALL);
        pace.too_big();
        pace.took(Duration::from_secs(2));
        assert_eq!(pace.of(ALL), Limits { rows: 500, bytes: 2 << 20 });
        pace.took(Duration::from_millis(200));
        assert_eq!(pace.of(ALL).rows, 500);
        pace.took(Duration::from_millis(1));
        assert_eq!(pace.of(ALL).rows, 1000, "not at once what was too big just now");
        (0..FITS).for_each(|_| pace.took(Duration::from_millis(1)));
        assert_eq!(pace.of(ALL), ALL);
    }

    #[test]
    fn a_piece_has_a_row_at_least_and_slowness_alone_does_not_go_so_far() {
        let (mut big, mut slow) = (Pace::default(), Pace::default());
        for _ in 0..100 {
            big.too_big();
            slow.took(Duration::from_secs(9));
        }
        assert_eq!(big.of(ALL).rows, 1);
        assert!(slow.of(ALL).rows >= 50);
    }
}
