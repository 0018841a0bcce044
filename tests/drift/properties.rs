//! The properties themselves.

use proptest::prelude::*;

use super::checks::{Ended, Start, lagging, looked_at, unmoved};
use super::ops::Op;
use super::scripted::history;

fn op() -> impl Strategy<Value = Op> {
    let place = || 0..6_usize;
    prop_oneof![
        12 => (any::<u8>(), any::<u8>()).prop_map(|(id, value)| Op::Write(id, value)),
        3 => any::<u8>().prop_map(Op::Delete),
        4 => (place(), any::<usize>(), proptest::option::of(any::<u8>()))
            .prop_map(|(name, data_type, default)| Op::Add { name, data_type, default }),
        1 => (place(), any::<bool>()).prop_map(|(name, generated)| Op::AddComputed { name, generated }),
        1 => place().prop_map(Op::DropExpression),
        3 => place().prop_map(Op::Drop),
        3 => (place(), place()).prop_map(|(place, name)| Op::Rename(place, name)),
        2 => (place(), place()).prop_map(|(a, b)| Op::Exchange(a, b)),
        4 => (place(), any::<usize>()).prop_map(|(place, data_type)| Op::Retype(place, data_type)),
        1 => place().prop_map(Op::Rewrite),
        1 => Just(Op::Vacuum),
        1 => place().prop_map(Op::Exclude),
        1 => (place(), any::<u8>()).prop_map(|(place, how)| Op::Key(place, how)),
        1 => any::<u8>().prop_map(Op::Identity),
        1 => any::<u8>().prop_map(Op::Filter),
        1 => place().prop_map(Op::List),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(id, value)| Op::Unpublished(id, value)),
        1 => Just(Op::Attach),
        1 => any::<u8>().prop_map(Op::Detach),
        1 => Just(Op::Recreate),
        1 => Just(Op::Elsewhere),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    proptest::collection::vec(op(), 1..14)
}

/// One table in four has partitions.
fn start() -> impl Strategy<Value = Start> {
    let before = prop_oneof![Just(Vec::new()), proptest::collection::vec(op(), 1..6)];
    (proptest::bool::weighted(0.25), before).prop_map(|(partitioned, ops)| Start { partitioned, ops })
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_followed_without_comparing_is_equal(
        start in start(),
        ops in ops(),
        lags in proptest::collection::vec(0..6_usize, 14),
    ) {
        lagging(&start, &ops, &lags);
    }

    #[test]
    fn what_a_look_shows_is_followed_equally(
        start in start(),
        ops in ops(),
        look in 0..14_usize,
        stood in 0..14_usize,
    ) {
        looked_at(&start, &ops, look, stood);
    }

    #[test]
    fn a_table_that_is_as_it_was_stays_and_what_was_dropped_before_changes_no_decision(
        start in start(),
        ops in ops(),
    ) {
        unmoved(&start, &ops);
    }

    #[test]
    fn whatever_the_fuzzer_may_write_holds(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        history(&bytes);
    }
}

/// So that the above isn't satisfied by comparing all the time.
#[test]
fn many_random_histories_are_followed_to_their_end() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let strategy = proptest::collection::vec(op(), 1..6);
    let altered = |op: &Op| !matches!(op, Op::Write(..) | Op::Delete(_) | Op::Elsewhere);
    let histories = (0..500).map(|_| strategy.new_tree(&mut runner).unwrap().current());
    let altering: Vec<Vec<Op>> = histories.filter(|ops| ops.iter().any(altered)).collect();
    let start = Start { partitioned: false, ops: Vec::new() };
    let equal = altering.iter().filter(|ops| lagging(&start, ops, &[0]) == Ended::Equal).count();
    assert!(equal * 4 > altering.len(), "{equal} of {}", altering.len());
}
