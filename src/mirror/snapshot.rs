//! A source snapshot, and the one question asked of it: does it see this transaction?

use std::str::FromStr;

/// What `pg_current_snapshot()` returned: transactions before `xmin` are visible, those from `xmax` on
/// are not, and of those between, the ones in progress are not.
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
    /// Whether the effects of transaction `xid` (64 bits, see [`widen`]) are in what the snapshot reads,
    /// given that the transaction committed.
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && self.in_progress.binary_search(&xid).is_err())
    }

    /// The first transaction id that had not been handed out when the snapshot was taken, or one below it.
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
/// The stream carries 32 bits; a snapshot taken at about the same time tells the epoch.
pub fn widen(xid: u32, near: u64) -> u64 {
    // The distance from `near`, as a signed 32-bit number, is the shortest way round the circle.
    let distance = i64::from(xid.wrapping_sub(near as u32) as i32);
    near.checked_add_signed(distance).unwrap_or(u64::from(xid))
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
    }

    proptest! {
        #[test]
        fn an_xid_of_about_the_same_time_widens_to_itself(near in any::<u64>(), ahead in any::<i32>()) {
            let xid = near.saturating_add_signed(i64::from(ahead));
            prop_assert_eq!(widen(xid as u32, near), xid);
        }
    }
}
