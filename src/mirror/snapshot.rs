//! A source snapshot, and the one question asked of it: does it see this transaction?

use std::str::FromStr;

/// What `pg_current_snapshot()` returned: transactions before `xmin` are visible, those from `xmax`
/// on are not, and of those between, the ones in progress are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    xmin: u64,
    xmax: u64,
    /// Sorted.
    in_progress: Vec<u64>,
}

/// The text is not a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a snapshot looks like 10:20:10,14,15")]
pub struct ParseSnapshotError;

impl Snapshot {
    /// Whether the effects of transaction `xid` (64 bits, see [`widen`]) are in what the snapshot
    /// reads, given that the transaction committed.
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && self.in_progress.binary_search(&xid).is_err())
    }

    /// The first transaction id that had not been handed out when the snapshot was taken, or one
    /// below it.
    pub fn xmax(&self) -> u64 {
        self.xmax
    }
}

impl FromStr for Snapshot {
    type Err = ParseSnapshotError;

    fn from_str(text: &str) -> Result<Snapshot, ParseSnapshotError> {
        let number = |part: &str| part.parse::<u64>().map_err(|_| ParseSnapshotError);
        let mut parts = text.split(':');
        let (Some(xmin), Some(xmax), Some(list), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ParseSnapshotError);
        };
        let mut in_progress =
            list.split(',').filter(|part| !part.is_empty()).map(number).collect::<Result<Vec<_>, _>>()?;
        in_progress.sort_unstable();
        Ok(Snapshot { xmin: number(xmin)?, xmax: number(xmax)?, in_progress })
    }
}

/// The 64-bit transaction id whose low half is `xid` and that lies nearest to `near`.
///
/// Two ids that a server still has to tell apart are never 2^31 apart. The three special ones are
/// of no epoch.
pub fn widen(xid: u32, near: u64) -> u64 {
    if xid < FIRST_NORMAL {
        return u64::from(xid);
    }
    // The distance from `near`, as a signed 32-bit number, is the shortest way round the circle.
    let distance = i64::from(xid.wrapping_sub(near as u32) as i32);
    near.checked_add_signed(distance).unwrap_or(u64::from(xid))
}

/// Invalid, bootstrap and frozen come before it. The counter leaves them out when it wraps around.
const FIRST_NORMAL: u32 = 3;

/// Gives the stream's transaction ids their upper half, which it doesn't carry: by the newest id
/// that is known. It begins at one of 64 bits, and only moves forward.
#[derive(Debug, Clone, Copy)]
pub struct Epoch {
    newest: u64,
}

impl Epoch {
    /// `newest`: any id of 64 bits that the source has handed out by now, or is about to.
    pub fn at(newest: u64) -> Epoch {
        Epoch { newest }
    }

    /// The source has come to this id. While the stream has nothing to say, only snapshots tell
    /// that.
    pub fn saw(&mut self, xid: u64) {
        self.newest = self.newest.max(xid);
    }

    /// The id of a transaction that the stream brings. The slot keeps the source from going on to
    /// ids that would be 2^31 later.
    pub fn widen(&mut self, xid: u32) -> u64 {
        let xid = widen(xid, self.newest);
        self.saw(xid);
        xid
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_snapshot_sees_what_ended_before_it_and_nothing_else() {
        let snapshot: Snapshot = "10:20:10,14".parse().unwrap();
        let seen: Vec<u64> = (8..22).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [8, 9, 11, 12, 13, 15, 16, 17, 18, 19]);
    }

    #[test]
    fn a_snapshot_without_transactions_in_progress_parses() {
        let snapshot: Snapshot = "7:7:".parse().unwrap();
        assert!(snapshot.sees(6) && !snapshot.sees(7));
    }

    #[test]
    fn what_is_not_a_snapshot_is_refused() {
        for text in ["", "1:2", "1:2:3:4", "a:2:", "1:2:x", "-1:2:"] {
            assert_eq!(text.parse::<Snapshot>(), Err(ParseSnapshotError), "{text}");
        }
    }

    #[test]
    fn an_xid_widens_to_the_nearest_epoch() {
        assert_eq!(widen(5, 7), 5);
        assert_eq!(widen(5, (3 << 32) + 7), (3 << 32) + 5);
        assert_eq!(widen(u32::MAX, (1 << 32) + 3), u64::from(u32::MAX));
        assert_eq!(widen(3, u64::from(u32::MAX)), (1 << 32) + 3);
        // Prepared just before the wrap, and looked at just after it.
        assert_eq!(widen(0xFFFF_FFF0, (3 << 32) + 10), (2 << 32) + 0xFFFF_FFF0);
    }

    #[test]
    fn the_special_xids_are_of_no_epoch() {
        for near in [3, 700, u64::from(u32::MAX), (1 << 32) + 3, (3 << 32) - 1] {
            assert_eq!([0, 1, 2].map(|xid| widen(xid, near)), [0, 1, 2]);
        }
    }

    #[test]
    fn an_epoch_never_goes_backwards() {
        let mut epoch = Epoch::at((3 << 32) - 5);
        assert_eq!(epoch.widen(4), (3 << 32) + 4);
        assert_eq!(epoch.widen(u32::MAX - 100), (3 << 32) - 101, "it was prepared long before");
        epoch.saw(700);
        assert_eq!(epoch.widen(5), (3 << 32) + 5);
        // As far as the counter can have gone on since.
        assert_eq!(epoch.widen(5 + (1 << 31) - 1), (3 << 32) + 4 + (1 << 31));
        assert_eq!(epoch.widen(0xFFFF_0000), (3 << 32) + 0xFFFF_0000);
        assert_eq!(epoch.widen(9), (4 << 32) + 9);
    }

    #[test]
    fn an_epoch_moves_with_snapshots_while_the_stream_is_silent() {
        let mut epoch = Epoch::at(700);
        for snapshot in ["2000000000:2000000000:", "4000000000:4000000000:", "6000000000:6000000000:"] {
            epoch.saw(snapshot.parse::<Snapshot>().unwrap().xmax());
        }
        assert_eq!(epoch.widen((6_000_000_005_u64) as u32), 6_000_000_005);
    }

    proptest! {
        #[test]
        fn an_xid_of_about_the_same_time_widens_to_itself(near in any::<u64>(), ahead in any::<i32>()) {
            let xid = near.saturating_add_signed(i64::from(ahead));
            prop_assume!(xid as u32 >= FIRST_NORMAL);
            prop_assert_eq!(widen(xid as u32, near), xid);
        }

        /// A stream whose transactions began up to 2^31 before the newest, and that leaps forward
        /// by as much.
        #[test]
        fn a_stream_from_anywhere_is_widened_right(
            start in prop::sample::select(vec![3_u64, 4_294_967_000, 1 << 32, (1 << 32) + 700, (3 << 32) - 40]),
            steps in prop::collection::vec((0..1_u64 << 31, 0..1_u64 << 31), 1..40),
        ) {
            let mut epoch = Epoch::at(start);
            let mut newest = start;
            for (leap, back) in steps {
                // What is old is old as seen from the newest by then.
                newest += leap;
                if newest as u32 >= FIRST_NORMAL {
                    prop_assert_eq!(epoch.widen(newest as u32), newest);
                } else {
                    epoch.saw(newest);
                }
                let old = newest.saturating_sub(back);
                if old as u32 >= FIRST_NORMAL {
                    prop_assert_eq!(epoch.widen(old as u32), old);
                }
            }
        }
    }
}
