//! Single rules, each on the smallest stream that shows it.

use std::sync::Arc;

use odoo_mirror::mirror::assembler::{Assembler, Fed, StreamError};
use odoo_mirror::mirror::batch::{Action, Batch, Step};
use odoo_mirror::mirror::ranges::between;
use odoo_mirror::mirror::stream_table::{JudgedRange, Standing, StreamTable};
use odoo_mirror::wire::{Lsn, RelationColumn, ReplicaIdentity, decode};

use super::sent::{Cell, OldRow, Row, Sent};
use super::tables::{Form, KINDS, Kind};

fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).unwrap()
}

fn feed(assembler: &mut Assembler, sent: &Sent) -> Result<Fed, StreamError> {
    assembler.feed(decode(&sent.encode()).unwrap())
}

fn feed_all(assembler: &mut Assembler, sent: impl IntoIterator<Item = Sent>) {
    for sent in sent {
        feed(assembler, &sent).unwrap();
    }
}

fn begin(at: u64, xid: u32) -> Sent {
    Sent::Begin { final_lsn: at, commit_time: at as i64, xid }
}

fn commit(at: u64) -> Sent {
    Sent::Commit { flags: 0, commit_lsn: at, end_lsn: at + 8, commit_time: at as i64 }
}

fn insert(kind: &Kind, new: Row) -> Sent {
    Sent::Insert { relation: kind.oid(), new }
}

fn relation(kind: &Kind) -> Sent {
    Sent::Relation(kind.relation(Form::Plain))
}

fn ready(kind: &Kind) -> Vec<Arc<StreamTable>> {
    vec![kind.stream_table(Standing::Ready)]
}

/// Ranges of a table with an integer key, each with the snapshot that this text is.
fn judged(kind: &Kind, cuts: &[i64], snapshots: &[&str]) -> Vec<Arc<StreamTable>> {
    let ranges = between(cuts.to_vec()).into_iter().zip(snapshots);
    let ranges = ranges
        .map(|(range, snapshot)| JudgedRange { range, snapshot: Some(snapshot.parse().unwrap()) })
        .collect();
    vec![kind.stream_table(Standing::Judged(ranges))]
}

/// A move of key `from` to key `to` that doesn't send the long value.
fn move_without_value(kind: &Kind, from: u8, to: u8) -> Sent {
    let mut new = kind.row(to, 1, 0);
    new[kind.place("big")] = Cell::Unchanged;
    let mut old = kind.row(from, 0, 1);
    old[kind.place("big")] = Cell::Null;
    Sent::Update { relation: kind.oid(), old: Some(OldRow::Key(old)), new }
}

fn copies_again(batch: &Batch) -> Vec<usize> {
    let steps = batch.tables.iter().flat_map(|part| &part.steps);
    steps.filter_map(|step| if let Step::CopyAgain { range } = step { Some(*range) } else { None }).collect()
}

fn misfits(batch: &Batch) -> Vec<&str> {
    let steps = batch.tables.iter().flat_map(|part| &part.steps);
    steps
        .filter_map(|step| if let Step::Misfit(reason) = step { Some(reason.as_str()) } else { None })
        .collect()
}

#[test]
fn a_row_whose_values_are_nowhere_is_copied_again_wherever_it_moves_next() {
    let kind = kind("binary_id");
    // Keys -40, -10 and 20; the first range's snapshot sees transaction 10, the others don't.
    let tables = judged(kind, &[-20, 10], &["11:11:", "10:10:", "10:10:"]);
    let mut assembler = Assembler::new(tables, Lsn::ZERO, 10);
    feed_all(&mut assembler, [begin(1, 10), relation(kind), move_without_value(kind, 0, 3), commit(1)]);
    assert_eq!(copies_again(&assembler.take()), [1]);
    feed_all(&mut assembler, [begin(10, 11), move_without_value(kind, 3, 6), commit(10)]);
    let batch = assembler.take();
    assert_eq!(copies_again(&batch), [2]);
    assert_eq!(batch.tables[0].tally.skipped, 1);
}

#[test]
fn events_of_a_range_that_is_to_be_copied_again_are_skipped() {
    let kind = kind("binary_id");
    let tables = judged(kind, &[-20], &["11:11:", "10:10:"]);
    let mut assembler = Assembler::new(tables, Lsn::ZERO, 10);
    feed_all(&mut assembler, [begin(1, 10), relation(kind), move_without_value(kind, 0, 3)]);
    feed_all(&mut assembler, [insert(kind, kind.row(7, 1, 1)), insert(kind, kind.row(1, 1, 1)), commit(1)]);
    let batch = assembler.take();
    let part = &batch.tables[0];
    // Key 1 lies in the first range, which sees transaction 10.
    assert_eq!((part.asked(), part.tally.skipped), (0, 3));
}

#[test]
fn a_key_that_was_not_sent_twice_is_filled_in() {
    let kind = kind("code");
    let mut assembler = Assembler::new(ready(kind), Lsn::ZERO, 10);
    let old = kind.row(2, 1, 1);
    let mut key = vec![Cell::Null; 3];
    key[0] = old[0].clone();
    let new = vec![Cell::Unchanged, old[1].clone(), old[2].clone()];
    let update = Sent::Update { relation: kind.oid(), old: Some(OldRow::Key(key)), new };
    feed_all(&mut assembler, [begin(1, 10), relation(kind), update, commit(1)]);
    let batch = assembler.take();
    let Step::Folded(changes) = &batch.tables[0].steps[0] else { panic!("folded") };
    assert_eq!(changes[0].action, Action::Update { partial: false });
    assert_eq!(super::sent::row(&batch.arena.tuple(changes[0].row)), old);
}

#[test]
fn transactions_that_the_stream_repeats_are_nothing() {
    let kind = kind("text_id");
    let mut assembler = Assembler::new(ready(kind), Lsn(108), 10);
    let mut repeated = vec![begin(100, 9), relation(kind), insert(kind, kind.row(1, 1, 1))];
    repeated.push(Sent::Truncate { relations: vec![kind.oid()], cascade: false, restart_identity: false });
    feed_all(&mut assembler, repeated);
    assert_eq!(feed(&mut assembler, &commit(100)).unwrap(), Fed::Other);
    assert!(assembler.is_empty() && assembler.at_boundary() && assembler.position().is_none());
    assert_eq!((assembler.events(), assembler.bytes()), (0, 0));
    // The one that starts where the last one ended is new.
    feed_all(&mut assembler, [begin(108, 10), insert(kind, kind.row(2, 1, 1)), commit(108)]);
    let batch = assembler.take();
    assert_eq!((batch.transactions, batch.oldest_commit, batch.tables[0].tally.inserts), (1, Some(108), 1));
    assert_eq!(batch.boundary.unwrap().end, Lsn(116));
}

#[test]
fn a_part_of_a_transaction_has_no_boundary_and_its_rest_has_its_age() {
    let kind = kind("text_id");
    let mut assembler = Assembler::new(ready(kind), Lsn::ZERO, 10);
    feed_all(&mut assembler, [begin(1, 9), relation(kind), insert(kind, kind.row(0, 1, 1)), commit(1)]);
    feed_all(&mut assembler, [begin(20, 10), insert(kind, kind.row(1, 1, 1))]);
    let part = assembler.take();
    assert_eq!((part.boundary, part.transactions, part.oldest_commit), (None, 1, Some(1)));
    feed_all(&mut assembler, [insert(kind, kind.row(2, 1, 1)), commit(20), begin(30, 11), commit(30)]);
    let rest = assembler.take();
    assert_eq!((rest.boundary.unwrap().end, rest.transactions, rest.oldest_commit), (Lsn(38), 2, Some(20)));
    assert_eq!(assembler.take().oldest_commit, None);
}

#[test]
fn a_relation_that_does_not_fit_fails_its_table_with_the_first_event_that_counts() {
    let kind = kind("binary_id");
    let tables = judged(kind, &[0], &["11:11:", "11:11:"]);
    let mut assembler = Assembler::new(tables, Lsn::ZERO, 10);
    let old_form = Sent::Relation(kind.relation(Form::Misfit));
    let row = Form::Misfit.encode(kind, &kind.row(1, 1, 1), Cell::Null);
    // The copy has what transaction 10 did, in whatever form.
    feed_all(&mut assembler, [begin(1, 10), old_form, insert(kind, row.clone()), commit(1)]);
    let batch = assembler.take();
    assert_eq!((misfits(&batch).len(), batch.filtered), (0, 1));
    feed_all(&mut assembler, [begin(10, 11), insert(kind, row.clone()), insert(kind, row), commit(10)]);
    let batch = assembler.take();
    assert_eq!((misfits(&batch), batch.filtered), (vec!["the source has a new column added"], 2));
    // A relation that fits again does not mend what was left out.
    feed_all(&mut assembler, [begin(20, 12), relation(kind), insert(kind, kind.row(2, 1, 1)), commit(20)]);
    assert!(assembler.take().tables.is_empty());
}

#[test]
fn whole_rows_of_a_table_without_a_key_are_not_looked_for_by_a_key_alone() {
    let kind = kind("rows");
    let delete = Sent::Delete { relation: kind.oid(), old: OldRow::Key(vec![Cell::Null; 2]) };
    let update = Sent::Update { relation: kind.oid(), old: None, new: vec![Cell::Null; 2] };
    for event in [delete, update] {
        let mut assembler = Assembler::new(ready(kind), Lsn::ZERO, 10);
        feed_all(&mut assembler, [begin(1, 10), relation(kind), event, commit(1)]);
        let batch = assembler.take();
        assert_eq!(misfits(&batch), ["the source changed the table's key or replica identity"]);
        assert_eq!((batch.tables[0].tally.filtered, batch.tables[0].folded()), (1, 0));
    }
}

#[test]
fn each_way_in_which_a_relation_does_not_fit_is_named() {
    let kind = kind("pair");
    let table = kind.stream_table(Standing::Ready);
    let reason = |change: fn(&mut Vec<RelationColumn>)| {
        let mut relation = kind.relation(Form::LeftOutFirst);
        change(&mut relation.columns);
        table.layout(&relation).unwrap_err()
    };
    assert_eq!(reason(|columns| columns[1].name = "c".into()), "the source has a new column c");
    assert_eq!(reason(|columns| columns[1].type_id = 20), "column b changed its type on the source");
    assert_eq!(
        reason(|columns| columns[1].type_modifier = 8),
        "column b changed its length or precision on the source"
    );
    assert_eq!(reason(|columns| drop(columns.remove(2))), "the source no longer publishes column value");
    assert_eq!(
        reason(|columns| columns[1].key = false),
        "the source changed the table's key or replica identity"
    );
    let layout = table.layout(&kind.relation(Form::LeftOutFirst)).unwrap();
    assert_eq!(layout.columns[0], None);
    assert_eq!(layout.key, [3, 1]);
    // Whether the key is still what it was, nothing says under FULL and NOTHING.
    for identity in [ReplicaIdentity::Full, ReplicaIdentity::Nothing] {
        let mut relation = kind.relation(Form::Plain);
        relation.replica_identity = identity;
        relation.columns.iter_mut().for_each(|column| column.key = identity == ReplicaIdentity::Full);
        assert!(table.layout(&relation).is_err());
    }
}

#[test]
fn a_row_changed_over_and_over_takes_its_own_place_again() {
    let kind = kind("binary_id");
    let mut assembler = Assembler::new(ready(kind), Lsn::ZERO, 10);
    feed_all(&mut assembler, [begin(1, 10), relation(kind), insert(kind, kind.row(1, 99, 0))]);
    let once = assembler.bytes();
    // A null, which each seventh value is, would be shorter.
    for value in (10..99).filter(|value: &u8| !value.is_multiple_of(7)) {
        let mut new = kind.row(1, value, 0);
        new[kind.place("big")] = Cell::Unchanged;
        feed_all(&mut assembler, [Sent::Update { relation: kind.oid(), old: None, new }]);
    }
    assert_eq!((assembler.bytes(), assembler.changes()), (once, 1));
}

#[test]
fn what_no_source_sends_is_refused() {
    let kind = kind("binary_id");
    let row = || insert(kind, kind.row(1, 1, 1));
    let refused = |before: Vec<Sent>, last: Sent| {
        let mut assembler = Assembler::new(ready(kind), Lsn::ZERO, 10);
        feed_all(&mut assembler, before);
        feed(&mut assembler, &last).unwrap_err().to_string()
    };
    assert_eq!(refused(vec![], commit(1)), "the stream sent a commit outside a transaction");
    assert_eq!(refused(vec![relation(kind)], row()), "the stream sent an insert outside a transaction");
    assert_eq!(refused(vec![begin(1, 7)], begin(2, 8)), "the stream began transaction 8 inside another");
    let undescribed = format!("the stream changed relation {}, which it had not described", kind.oid());
    assert_eq!(refused(vec![begin(1, 7)], row()), undescribed);
}

#[test]
fn a_batch_that_ends_before_a_transaction_that_has_begun_may_be_committed_and_has_nothing_of_it() {
    let kind = kind("binary_id");
    let mut assembler = Assembler::new(ready(kind), Lsn::ZERO, 700);
    feed_all(&mut assembler, [begin(10, 700), relation(kind), insert(kind, kind.row(1, 1, 0)), commit(10)]);
    feed_all(&mut assembler, [begin(50, 701)]);
    assert!(assembler.has_only_begun() && !assembler.is_cut());
    assembler.end_batch();
    assert!(assembler.is_cut());
    let first = assembler.take();
    assert_eq!((first.boundary.map(|boundary| boundary.end), first.transactions), (Some(Lsn(18)), 1));
    assert_eq!(first.xids, [700]);
    assert!(assembler.is_empty() && !assembler.at_boundary() && !assembler.is_cut());
    feed_all(&mut assembler, [insert(kind, kind.row(2, 1, 0))]);
    // Too late: a part of it is there.
    assembler.end_batch();
    assert!(!assembler.is_cut());
    feed_all(&mut assembler, [commit(50)]);
    let second = assembler.take();
    assert_eq!((second.boundary.map(|boundary| boundary.end), second.xids), (Some(Lsn(58)), vec![701]));
    assert_eq!(second.oldest_commit, Some(50));
}

#[test]
fn a_stream_that_describes_relations_without_end_is_cut_off() {
    let described = |id: u32| {
        Sent::Relation(odoo_mirror::wire::Relation {
            id,
            schema: "public".to_owned(),
            name: "x".repeat(200_000),
            replica_identity: ReplicaIdentity::Default,
            columns: Vec::new(),
        })
    };
    let feed_counted = |assembler: &mut Assembler, sent: &Sent| {
        let bytes = sent.encode();
        assembler.count_bytes(bytes.len());
        assembler.feed(decode(&bytes).unwrap())
    };
    let mut assembler = Assembler::new(Vec::new(), Lsn(100), 700);
    // The same one again and again is kept once.
    for _ in 0..3_000 {
        feed_counted(&mut assembler, &described(1)).unwrap();
    }
    assert_eq!(assembler.take().unknown.len(), 1);
    let endless = (0..3_000).try_for_each(|id| feed_counted(&mut assembler, &described(id)).map(drop));
    assert!(matches!(endless, Err(StreamError::EndlessRelations)), "{endless:?}");
    let huge = Sent::Relation(odoo_mirror::wire::Relation {
        id: 1,
        schema: "x".repeat(2_000_000),
        name: "t".to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: Vec::new(),
    });
    let mut assembler = Assembler::new(Vec::new(), Lsn(100), 700);
    assert!(matches!(feed_counted(&mut assembler, &huge), Err(StreamError::EndlessRelations)));
}
