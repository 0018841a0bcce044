//! Key ranges: whatever the estimates, every key is in exactly one.

use odoo_mirror::mirror::ranges::{KeyRange, between, plan, plan_by_quantiles};
use proptest::prelude::*;

/// Exactly one range has the key.
fn only_one_has(ranges: &[KeyRange], key: i64) -> bool {
    ranges.iter().filter(|range| range.contains(key)).count() == 1
}

fn tile(ranges: &[KeyRange]) -> bool {
    let ends = ranges.first().is_some_and(|first| first.lo.is_none())
        && ranges.last().is_some_and(|last| last.hi.is_none());
    let rising = ranges.iter().all(|range| range.lo.zip(range.hi).is_none_or(|(lo, hi)| lo < hi));
    ends && rising && ranges.windows(2).all(|pair| pair[0].hi.is_some() && pair[0].hi == pair[1].lo)
}

#[test]
fn ranges_have_about_the_rows_that_were_asked_for() {
    let cuts: Vec<_> = plan(1, 1_000, 1_000, 250).iter().map(|range| range.hi).collect();
    assert_eq!(cuts, [Some(250), Some(500), Some(750), None]);
    // Half of the rows have the keys 0 to 100, the other half 100 to 1,000,000.
    let cuts: Vec<_> =
        plan_by_quantiles(&[0, 100, 1_000_000], 400, 100).iter().map(|range| range.hi).collect();
    assert_eq!(cuts, [Some(50), Some(100), Some(500_050), None]);
    assert_eq!(plan(1, 9, 0, 100), [KeyRange::ALL]);
    assert_eq!(plan_by_quantiles(&[], 1_000_000, 10), [KeyRange::ALL]);
    assert_eq!(plan(i64::MIN, i64::MAX, i64::MAX, 1).len(), 10_000);
}

#[test]
fn a_condition_holds_for_the_keys_that_the_range_contains() {
    let condition = |lo, hi| KeyRange { lo, hi }.sql_condition("id");
    assert_eq!(condition(Some(-5), Some(7)), "\"id\" >= '-5'::bigint AND \"id\" < '7'::bigint");
    assert_eq!(condition(None, Some(7)), "\"id\" < '7'::bigint");
    assert_eq!(condition(None, None), "true");
    let range = KeyRange { lo: Some(-5), hi: Some(7) };
    assert!(range.contains(-5) && !range.contains(7));
}

proptest! {
    #[test]
    fn planned_ranges_tile_all_keys(
        bounds in prop::collection::vec(any::<i64>(), 0..20),
        rows in 0..100_000_i64,
        rows_per_range in -1..5_000_i64,
        key in any::<i64>(),
    ) {
        let mut bounds = bounds;
        bounds.sort_unstable();
        let ranges = plan_by_quantiles(&bounds, rows, rows_per_range);
        prop_assert!(tile(&ranges), "{ranges:?}");
        for key in bounds.iter().chain([&key, &i64::MIN, &i64::MAX]) {
            prop_assert!(only_one_has(&ranges, *key), "{key} in {ranges:?}");
        }
    }

    #[test]
    fn ranges_between_any_cuts_tile_all_keys(cuts in prop::collection::vec(-50..50_i64, 0..30), key in -60..60_i64) {
        let ranges = between(cuts);
        prop_assert!(tile(&ranges), "{ranges:?}");
        prop_assert!(only_one_has(&ranges, key), "{key} in {ranges:?}");
    }
}
