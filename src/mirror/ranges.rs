//! Key ranges: how a table with one integer key is cut, so that each piece is read under a
//! snapshot of its own.
//!
//! Whatever the cuts, the ranges of a table tile (−∞, +∞): every key, also one that comes to be
//! later, is in exactly one. Nothing here knows where the estimates come from.

use serde::{Deserialize, Serialize};

use super::quote::quote_identifier;

/// More pieces than this help nobody: each costs a snapshot and a row of bookkeeping.
const MOST_RANGES: i64 = 10_000;

/// The keys from `lo` (inclusive) to `hi` (exclusive); None is unbounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyRange {
    pub lo: Option<i64>,
    pub hi: Option<i64>,
}

impl KeyRange {
    /// Every key.
    pub const ALL: KeyRange = KeyRange { lo: None, hi: None };

    pub fn contains(self, key: i64) -> bool {
        self.lo.is_none_or(|lo| lo <= key) && self.hi.is_none_or(|hi| key < hi)
    }

    /// A condition on `key_column` for a WHERE clause, true for the rows of this range.
    ///
    /// ```
    /// use odoo_mirror::mirror::ranges::KeyRange;
    ///
    /// let range = KeyRange { lo: Some(-5), hi: Some(7) };
    /// assert_eq!(range.sql_condition("id"), r#""id" >= '-5'::bigint AND "id" < '7'::bigint"#);
    /// assert_eq!(KeyRange::ALL.sql_condition("id"), "true");
    /// ```
    pub fn sql_condition(self, key_column: &str) -> String {
        // Quoted and cast: the bare literal -9223372036854775808 is a numeric, which no integer
        // index can be searched with.
        let column = quote_identifier(key_column);
        let lo = self.lo.map(|lo| format!("{column} >= '{lo}'::bigint"));
        let hi = self.hi.map(|hi| format!("{column} < '{hi}'::bigint"));
        let bounds: Vec<String> = lo.into_iter().chain(hi).collect();
        if bounds.is_empty() { "true".to_owned() } else { bounds.join(" AND ") }
    }
}

/// The ranges between `cuts`, which may come in any order and more than once.
pub fn between(mut cuts: Vec<i64>) -> Vec<KeyRange> {
    cuts.sort_unstable();
    cuts.dedup();
    let starts = std::iter::once(None).chain(cuts.iter().copied().map(Some));
    let ends = cuts.iter().copied().map(Some).chain(std::iter::once(None));
    starts.zip(ends).map(|(lo, hi)| KeyRange { lo, hi }).collect()
}

/// Ranges of about `rows_per_range` rows, for keys spread evenly from `min` to `max`.
pub fn plan(min: i64, max: i64, estimated_rows: i64, rows_per_range: i64) -> Vec<KeyRange> {
    plan_by_quantiles(&[min, max], estimated_rows, rows_per_range)
}

/// Ranges of about `rows_per_range` rows, for keys of which `bounds` are quantiles: ascending, with
/// equally many rows between each two neighbours, as in `pg_stats.histogram_bounds`.
pub fn plan_by_quantiles(bounds: &[i64], estimated_rows: i64, rows_per_range: i64) -> Vec<KeyRange> {
    let rows_per_range = rows_per_range.max(1);
    let pieces = (estimated_rows / rows_per_range + i64::from(estimated_rows % rows_per_range > 0))
        .clamp(1, MOST_RANGES);
    between((1..pieces).filter_map(|piece| quantile(bounds, piece, pieces)).collect())
}

/// The key below which `piece` of `pieces` equal parts lie, by linear interpolation; None where
/// there are no two bounds to interpolate between.
fn quantile(bounds: &[i64], piece: i64, pieces: i64) -> Option<i64> {
    let buckets = bounds.len().checked_sub(1)? as i128;
    let (bucket, rest) = (
        (i128::from(piece) * buckets) / i128::from(pieces),
        (i128::from(piece) * buckets) % i128::from(pieces),
    );
    let lo = i128::from(*bounds.get(usize::try_from(bucket).ok()?)?);
    let hi = i128::from(*bounds.get(usize::try_from(bucket + 1).ok()?)?);
    i64::try_from(lo + (hi - lo) * rest / i128::from(pieces)).ok()
}
