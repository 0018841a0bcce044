//! The properties themselves.

use std::collections::BTreeSet;
use std::sync::Arc;

use odoo_mirror::mirror::ranges::{KeyRange, between};
use odoo_mirror::mirror::stream_table::{JudgedRange, Standing, StreamTable};
use proptest::prelude::*;

use super::drive::{Drive, Stop};
use super::history::{FIRST_XIDS, History, Op, history, history_from};
use super::mirror::Mirror;
use super::random::{op, setup, transactions};
use super::scripted;
use super::source::Rows;
use super::tables::{Form, KINDS, in_range, judged};
use super::visibility::{Visible, rows, snapshot, visible};

fn config() -> ProptestConfig {
    ProptestConfig { max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() }
}

fn cuts() -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![3 => 0..4_u8, 2 => 0..40_u8, 1 => Just(255)];
    prop::collection::vec(size, 1..12)
}

fn order() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..16)
}

fn ready() -> Vec<Arc<StreamTable>> {
    KINDS.iter().map(|kind| kind.stream_table(Standing::Ready)).collect()
}

fn after(history: &History, passed: usize) -> &[Rows] {
    match passed.checked_sub(1) {
        Some(last) => &history.transactions[last].after,
        None => &history.before,
    }
}

/// A table whose form stops fitting, after this many transactions.
fn misfit() -> impl Strategy<Value = Option<(usize, usize)>> {
    prop::option::of((0..KINDS.len(), 0..16_usize))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_ready_mirror_equals_the_source_at_each_boundary(
        setup in setup(),
        transactions in transactions(),
        order in order(),
        cuts in cuts(),
        misfit in misfit(),
    ) {
        let mut transactions = transactions;
        if let Some((table, place)) = misfit {
            let place = place % transactions.len();
            let ops = &mut transactions[place];
            ops.insert(ops.len() / 2, Op::Reform { table, form: Form::Misfit });
        }
        let history = history(&setup, &transactions, &order);
        let mirror = Mirror::new(history.before.clone());
        let mut drive = Drive::new(&history, ready(), mirror, &cuts);
        let mut failed = [false; KINDS.len()];
        loop {
            let (asked, boundary) = match drive.go() {
                Stop::Boundary(asked) => (asked, true),
                Stop::Within(asked) => (asked, false),
                Stop::End => break,
            };
            prop_assert!(asked.copy_again.is_empty());
            for (table, reason) in asked.misfits {
                prop_assert_eq!(reason, "the source has a new column added");
                prop_assert!(history.frozen[table].is_some() && !failed[table]);
                failed[table] = true;
            }
            if !boundary {
                continue;
            }
            for (table, expected) in after(&history, drive.passed).iter().enumerate() {
                let expected = if failed[table] { history.frozen[table].as_ref() } else { Some(expected) };
                let found = &drive.mirror.rows[table];
                prop_assert!(
                    Some(found) == expected,
                    "{} after {} transactions: {:?}, on the source {:?}",
                    KINDS[table].name, drive.passed, found, expected
                );
            }
        }
        prop_assert_eq!(drive.passed, history.transactions.len());
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_transaction_that_was_undone_in_the_middle_and_fed_again_is_as_if_nothing_had_happened(
        setup in setup(),
        transactions in transactions(),
        order in order(),
        cuts in cuts(),
        undone in prop::collection::vec(any::<bool>(), 1..8),
    ) {
        let history = history(&setup, &transactions, &order);
        let mut drive = Drive::new(&history, ready(), Mirror::new(history.before.clone()), &cuts);
        let mut undone = undone.into_iter().cycle();
        // Else a transaction might never end.
        let mut left = 40;
        let mut boundary = drive.boundary();
        loop {
            match drive.go() {
                Stop::End => break,
                Stop::Within(_) => {
                    if left > 0 && !drive.odd && undone.next() == Some(true) {
                        left -= 1;
                        drive.rewind(boundary);
                        boundary = drive.boundary();
                    }
                }
                Stop::Boundary(asked) => {
                    prop_assert!(asked.copy_again.is_empty() && asked.misfits.is_empty());
                    for (table, expected) in after(&history, drive.passed).iter().enumerate() {
                        let (name, passed) = (KINDS[table].name, drive.passed);
                        prop_assert_eq!(&drive.mirror.rows[table], expected, "{} after {}", name, passed);
                    }
                    boundary = drive.boundary();
                }
            }
        }
        prop_assert_eq!(drive.passed, history.transactions.len());
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_the_fuzzer_may_write_holds(bytes in prop::collection::vec(any::<u8>(), 0..150)) {
        scripted::batches(&bytes);
    }
}

/// What a copy does with a table: how it is cut, and what each range's snapshot sees.
#[derive(Debug, Clone)]
struct Plan {
    cuts: Vec<i64>,
    /// Per range, in turn: the wished-for transactions, or None when it is copied later.
    wished: Vec<Option<Vec<bool>>>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let sees = prop::collection::vec(any::<bool>(), 16);
    (prop::collection::vec(-45..45_i64, 0..4), prop::collection::vec(prop::option::weighted(0.9, sees), 1..5))
        .prop_map(|(cuts, wished)| Plan { cuts, wished })
}

/// A mirror that is being filled: the same as the worker and its copies do.
struct Filling<'a> {
    history: &'a History,
    standings: Vec<Vec<JudgedRange>>,
    /// Ranges that must be copied, and whether the assembler was told.
    missing: BTreeSet<(usize, usize)>,
}

impl<'a> Filling<'a> {
    fn start(history: &'a History, plans: &[Plan]) -> (Filling<'a>, Mirror) {
        let mut mirror = Mirror::new(vec![Rows::new(); KINDS.len()]);
        let mut filling = Filling { history, standings: Vec::new(), missing: BTreeSet::new() };
        for (table, (kind, plan)) in KINDS.iter().zip(plans).enumerate() {
            let ranges =
                if kind.has_integer_key() { between(plan.cuts.clone()) } else { vec![KeyRange::ALL] };
            let ranges = ranges.into_iter().map(|range| JudgedRange { range, snapshot: None }).collect();
            filling.standings.push(ranges);
            for range in 0..filling.standings[table].len() {
                match &plan.wished[range % plan.wished.len()] {
                    Some(wished) => filling.copy(&mut mirror, table, range, &visible(history, 0, wished)),
                    None => {
                        filling.missing.insert((table, range));
                    }
                }
            }
        }
        (filling, mirror)
    }

    fn copy(&mut self, mirror: &mut Mirror, table: usize, range: usize, visible: &Visible) {
        let kind = &KINDS[table];
        let judged = &mut self.standings[table][range];
        judged.snapshot = Some(snapshot(self.history, visible));
        mirror.rows[table].retain(|key, _| !in_range(kind, key, judged.range));
        let copied = rows(self.history, visible, table);
        mirror.rows[table].extend(copied.into_iter().filter(|(key, _)| in_range(kind, key, judged.range)));
    }

    /// Copies what is missing, under snapshots that see what the stream has passed.
    fn copy_missing(&mut self, mirror: &mut Mirror, passed: usize, wished: &[bool]) {
        let visible = visible(self.history, passed, wished);
        for (table, range) in std::mem::take(&mut self.missing) {
            self.copy(mirror, table, range, &visible);
            mirror.incomplete[table] = self.missing.iter().any(|(other, _)| *other == table);
        }
    }

    fn tables(&self) -> Vec<Arc<StreamTable>> {
        let both = KINDS.iter().zip(&self.standings);
        both.map(|(kind, ranges)| kind.stream_table(judged(ranges.clone()))).collect()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn ranges_copied_under_any_snapshots_come_to_equal_the_source(
        setup in setup(),
        transactions in transactions(),
        order in order(),
        cuts in cuts(),
        plans in prop::collection::vec(plan(), KINDS.len()),
        // At each boundary: nothing; tell the assembler what is missing; copy it, too.
        care in prop::collection::vec(0..4_u8, 1..8),
        later in prop::collection::vec(any::<bool>(), 16),
        first_xid in prop::sample::select(&FIRST_XIDS),
    ) {
        let history = history_from(first_xid, &setup, &transactions, &order);
        let (mut filling, mirror) = Filling::start(&history, &plans);
        let mut drive = Drive::new(&history, filling.tables(), mirror, &cuts);
        let mut care = care.iter().cycle();
        loop {
            let (asked, boundary) = match drive.go() {
                Stop::Boundary(asked) => (asked, true),
                Stop::Within(asked) => (asked, false),
                Stop::End => break,
            };
            prop_assert!(asked.misfits.is_empty());
            for (table, range) in asked.copy_again {
                filling.missing.insert((table, range));
                filling.standings[table][range].snapshot = None;
            }
            let care = care.next().copied().unwrap_or(0);
            if boundary && care >= 2 {
                if care == 3 {
                    filling.copy_missing(&mut drive.mirror, drive.passed, &later);
                }
                drive.assembler.replace_tables(filling.tables());
            }
        }
        filling.copy_missing(&mut drive.mirror, drive.passed, &later);
        let expected = after(&history, history.transactions.len());
        for (table, expected) in expected.iter().enumerate() {
            let found = &drive.mirror.rows[table];
            prop_assert!(
                found == expected,
                "{}: {:?}, on the source {:?}", KINDS[table].name, found, expected
            );
        }
    }

    #[test]
    fn whatever_the_wishes_a_snapshot_sees_no_transaction_without_what_it_waited_for(
        transactions in transactions(),
        order in order(),
        wished in prop::collection::vec(any::<bool>(), 16),
        passed in 0..8_usize,
        first_xid in prop::sample::select(&FIRST_XIDS),
    ) {
        let history = history_from(first_xid, &[], &transactions, &order);
        let visible = visible(&history, passed, &wished);
        let snapshot = snapshot(&history, &visible);
        for (transaction, sees) in history.transactions.iter().zip(&visible) {
            prop_assert_eq!(snapshot.sees(transaction.xid), *sees);
        }
        // Replaying only what is seen never removes a row that isn't there: `Source::effect`
        // asserts that.
        (0..KINDS.len()).for_each(|table| drop(rows(&history, &visible, table)));
    }
}

#[test]
fn the_histories_reach_what_they_are_meant_to_try() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let ops: Vec<Op> = (0..2000).map(|_| op().new_tree(&mut runner).unwrap().current()).collect();
    let history = history(&ops[..200], &[ops[200..].to_vec()], &[]);
    let sent: Vec<Vec<u8>> = history.transactions[0].messages.iter().map(|sent| sent.encode()).collect();
    for kind in b"IUDTRM" {
        assert!(sent.iter().any(|message| message[0] == *kind));
    }
    for old in [b'K', b'O', b'N'] {
        assert!(sent.iter().any(|message| message[0] == b'U' && message[5] == old));
    }
}
