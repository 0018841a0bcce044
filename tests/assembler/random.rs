//! Random histories.

use proptest::prelude::*;

use super::history::Op;
use super::tables::{Form, KEYS, KINDS};

pub fn op() -> impl Strategy<Value = Op> {
    // Those that come in by several ranges have the most to get wrong.
    let table = || prop_oneof![1 => 0..2_usize, 2 => 0..KINDS.len()];
    let key = || 0..KEYS;
    let big = || prop::option::of(any::<u8>());
    let form = prop_oneof![Just(Form::LeftOutFirst), Just(Form::LeftOutLast), Just(Form::Plain)];
    prop_oneof![
        8 => (table(), key(), any::<u8>(), any::<u8>())
            .prop_map(|(table, key, value, big)| Op::Insert { table, key, value, big }),
        8 => (table(), key(), any::<u8>(), big(), any::<bool>())
            .prop_map(|(table, key, value, big, hidden)| Op::Update { table, key, value, big, hidden }),
        8 => (table(), key(), key(), any::<u8>(), big())
            .prop_map(|(table, key, to, value, big)| Op::Move { table, key, to, value, big }),
        5 => (table(), key()).prop_map(|(table, key)| Op::Delete { table, key }),
        3 => (table(), key(), any::<u8>(), any::<u8>())
            .prop_map(|(table, key, value, big)| Op::DeleteAndInsert { table, key, value, big }),
        1 => prop::collection::hash_set(table(), 1..4)
            .prop_map(|tables| Op::Truncate { tables: tables.into_iter().collect() }),
        1 => table().prop_map(|table| Op::RepeatRelation { table }),
        1 => (table(), form).prop_map(|(table, form)| Op::Reform { table, form }),
        1 => Just(Op::Elsewhere),
        1 => Just(Op::Logical),
    ]
}

pub fn transactions() -> impl Strategy<Value = Vec<Vec<Op>>> {
    let size = prop_oneof![4 => 0..6_usize, 1 => 20..60_usize];
    prop::collection::vec(size.prop_flat_map(|size| prop::collection::vec(op(), size)), 1..16)
}

pub fn setup() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 0..60)
}
