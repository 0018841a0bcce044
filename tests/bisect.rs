//! The search for refused rows, against destinations that refuse in every way one can.

use odoo_mirror::mirror::bisect::{ATTEMPTS, Budget, Culprit, Next, ROWS, Search, TooMany};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// When a destination notices a row that it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notices {
    /// While it looks at that row: a constraint, a BEFORE trigger.
    AtTheRow,
    /// When it has looked at all rows: an AFTER trigger.
    AtTheEnd,
    /// Without saying where: a DELETE.
    Somewhere,
}

#[derive(Debug, Default)]
struct Found {
    applied: Vec<usize>,
    aside: BTreeSet<usize>,
    attempts: u32,
}

fn search(
    rows: usize,
    bad: &BTreeSet<usize>,
    notices: Notices,
    mut budget: Budget,
) -> Result<Found, TooMany> {
    let mut found = Found::default();
    let mut search = Search::new(rows);
    while let Some(next) = search.next(&mut budget)? {
        match next {
            Next::SetAside(range) => found.aside.extend(range),
            Next::Try(range) => {
                found.attempts += 1;
                match bad.range(range.clone()).next() {
                    None => found.applied.extend(range),
                    Some(first) => search.refused(match notices {
                        Notices::AtTheRow => Culprit::Row(first - range.start),
                        Notices::AtTheEnd => Culprit::Row(range.len() - 1),
                        Notices::Somewhere => Culprit::Unknown,
                    }),
                }
            }
        }
    }
    Ok(found)
}

fn notices() -> impl Strategy<Value = Notices> {
    prop_oneof![Just(Notices::AtTheRow), Just(Notices::AtTheEnd), Just(Notices::Somewhere)]
}

fn set() -> impl Strategy<Value = (usize, BTreeSet<usize>)> {
    (1usize..3000).prop_flat_map(|rows| (Just(rows), prop::collection::btree_set(0..rows, 0..30)))
}

const ALL: Budget = Budget { attempts: ATTEMPTS, rows: ROWS };
const BOUNDLESS: Budget = Budget { attempts: u32::MAX, rows: usize::MAX };

proptest! {
    #[test]
    fn each_row_is_applied_or_set_aside_once_and_no_refused_one_is_applied(
        (rows, bad) in set(), notices in notices(), attempts in 0u32..60,
    ) {
        let budget = Budget { attempts, rows: usize::MAX };
        let found = search(rows, &bad, notices, budget).expect("there is no bound on rows");
        let applied: BTreeSet<usize> = found.applied.iter().copied().collect();
        prop_assert_eq!(applied.len(), found.applied.len());
        prop_assert!(found.applied.is_sorted());
        prop_assert!(applied.is_disjoint(&found.aside) && applied.is_disjoint(&bad));
        prop_assert_eq!(applied.len() + found.aside.len(), rows);
        prop_assert!(found.attempts <= attempts);
    }

    #[test]
    fn with_attempts_enough_exactly_the_refused_rows_are_set_aside((rows, bad) in set(), notices in notices()) {
        let found = search(rows, &bad, notices, BOUNDLESS).expect("there is no bound");
        prop_assert_eq!(found.aside, bad);
    }

    #[test]
    fn a_destination_that_says_where_costs_two_attempts_a_row((rows, bad) in set()) {
        let bad: BTreeSet<usize> = bad.into_iter().take(23).collect();
        let found = search(rows, &bad, Notices::AtTheRow, ALL).expect("few enough");
        prop_assert_eq!(found.aside, bad);
    }

    #[test]
    fn one_refused_row_is_found_however_it_is_noticed(rows in 1usize..4000, place in 0usize..4000, notices in notices()) {
        let bad = BTreeSet::from([place % rows]);
        let found = search(rows, &bad, notices, ALL).expect("one row");
        prop_assert_eq!(found.aside, bad);
    }

    #[test]
    fn never_more_rows_are_set_aside_than_may_be((rows, bad) in set(), notices in notices(), most in 0usize..40) {
        let budget = Budget { rows: most, ..BOUNDLESS };
        match search(rows, &bad, notices, budget) {
            Ok(found) => prop_assert!(found.aside.len() <= most),
            Err(TooMany) => prop_assert!(bad.len() > most),
        }
    }
}

#[test]
fn with_no_attempt_left_as_many_rows_count_as_are_set_aside() {
    for (rows, fits) in [(2, false), (3, true), (4, true)] {
        let mut budget = Budget { attempts: 0, rows };
        let next = Search::new(3).next(&mut budget);
        match next {
            Ok(Some(Next::SetAside(range))) => assert!(fits && range == (0..3) && budget.rows == rows - 3),
            Err(TooMany) => assert!(!fits),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_set_without_a_refused_row_costs_one_attempt_and_an_empty_one_none() {
    let none = BTreeSet::new();
    assert_eq!(search(1000, &none, Notices::Somewhere, ALL).expect("none").attempts, 1);
    assert_eq!(search(0, &none, Notices::Somewhere, ALL).expect("none").attempts, 0);
}
