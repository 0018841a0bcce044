//! What is noted of the rows that the stream touches while their table is compared, and what ends
//! a batch or a range's copy; rows that were read, made into changes.

use std::sync::Arc;

use odoo_mirror::mirror::assembler::Assembler;
use odoo_mirror::mirror::batch::{Action, Batch, Step};
use odoo_mirror::mirror::fence::Touch;
use odoo_mirror::mirror::ranges::between;
use odoo_mirror::mirror::stream_table::{JudgedRange, Layout, Standing, StreamTable, integer};
use odoo_mirror::wire::{Column, Lsn, decode};

use super::sent::{self, Cell, OldRow, Row, Sent};
use super::tables::{Form, KINDS, Kind};

fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).unwrap()
}

fn feed(assembler: &mut Assembler, sent: impl IntoIterator<Item = Sent>) {
    for sent in sent {
        assembler.feed(decode(&sent.encode()).unwrap()).unwrap();
    }
}

fn begin(at: u64) -> Sent {
    Sent::Begin { final_lsn: at, commit_time: 0, xid: at as u32 }
}

fn commit(at: u64) -> Sent {
    Sent::Commit { flags: 0, commit_lsn: at, end_lsn: at + 1, commit_time: 0 }
}

fn relation(kind: &Kind, form: Form) -> Sent {
    Sent::Relation(kind.relation(form))
}

fn insert(kind: &Kind, key: u8) -> Sent {
    Sent::Insert { relation: kind.oid(), new: kind.row(key, 1, 1) }
}

fn truncate(kind: &Kind) -> Sent {
    Sent::Truncate { relations: vec![kind.oid()], cascade: false, restart_identity: false }
}

/// A row as its old key, and a row of which the long value isn't sent.
fn key_only(kind: &Kind, key: u8) -> Row {
    let row = kind.row(key, 1, 1);
    let is_key = |place: usize| kind.key.contains(&kind.columns[place]);
    row.into_iter().enumerate().map(|(place, cell)| if is_key(place) { cell } else { Cell::Null }).collect()
}

fn in_part(kind: &Kind, key: u8) -> Row {
    let mut row = kind.row(key, 2, 0);
    row[kind.place("big")] = Cell::Unchanged;
    row
}

fn update(kind: &Kind, from: Option<u8>, new: Row) -> Sent {
    let old = from.map(|key| OldRow::Key(key_only(kind, key)));
    Sent::Update { relation: kind.oid(), old, new }
}

/// Of each touch that a batch notes: the key, the transaction, how, and whether it moved in part.
type Noted = (Option<Row>, u64, Touch, bool);

fn noted(kind: &Kind, changes: Vec<Sent>) -> Vec<Noted> {
    let table = kind.stream_table(Standing::Ready);
    let tables = vec![Arc::new(StreamTable { recorded: true, ..StreamTable::clone(&table) })];
    let mut assembler = Assembler::new(tables, Lsn::ZERO, 7);
    let all = [vec![begin(7), relation(kind, Form::Plain)], changes, vec![commit(7)]];
    feed(&mut assembler, all.into_iter().flatten());
    let batch = assembler.take();
    let touches = batch.tables.iter().flat_map(|part| &part.touches);
    let key = |touched: &odoo_mirror::mirror::batch::Touched| {
        touched.key.map(|key| sent::row(&batch.arena.tuple(key)))
    };
    touches.map(|touched| (key(touched), touched.xid, touched.touch, touched.moved_in_part)).collect()
}

#[test]
fn each_change_of_a_row_notes_its_key_and_how_much_of_the_row_it_set() {
    for name in ["binary_id", "pair", "number"] {
        let kind = kind(name);
        let key = |key: u8| -> Option<Row> {
            let row = kind.row(key, 1, 1);
            Some(kind.key.iter().map(|column| row[kind.place(column)].clone()).collect())
        };
        let delete = |key| Sent::Delete { relation: kind.oid(), old: OldRow::Key(key_only(kind, key)) };
        let (whole, part) = (Touch::Whole, Touch::Part);
        let all = |key: u8| kind.row(key, 2, 1);
        for (change, expected) in [
            (insert(kind, 1), vec![(key(1), 7, whole, false)]),
            (delete(1), vec![(key(1), 7, whole, false)]),
            (update(kind, None, all(1)), vec![(key(1), 7, whole, false)]),
            (update(kind, None, in_part(kind, 1)), vec![(key(1), 7, part, false)]),
            (update(kind, Some(1), all(7)), vec![(key(1), 7, whole, false), (key(7), 7, whole, false)]),
            (
                update(kind, Some(1), in_part(kind, 7)),
                vec![(key(1), 7, whole, false), (key(7), 7, part, true)],
            ),
            (truncate(kind), vec![(None, 7, whole, false)]),
        ] {
            assert_eq!(noted(kind, vec![change.clone()]), expected, "{name}: {change:?}");
        }
        // What folds together is noted one by one.
        let twice = noted(kind, vec![insert(kind, 1), update(kind, None, in_part(kind, 1)), delete(1)]);
        let touches: Vec<Touch> = twice.iter().map(|(_, _, touch, _)| *touch).collect();
        assert_eq!(touches, [whole, part, whole], "{name}");
    }
}

#[test]
fn a_change_of_a_table_without_a_key_touches_every_row() {
    let kind = kind("rows");
    let row = || kind.row(1, 1, 1);
    let old = || OldRow::Row(row());
    for change in [
        Sent::Insert { relation: kind.oid(), new: row() },
        Sent::Update { relation: kind.oid(), old: Some(old()), new: row() },
        Sent::Delete { relation: kind.oid(), old: old() },
    ] {
        let keys: Vec<_> = noted(kind, vec![change]).into_iter().map(|(key, ..)| key).collect();
        assert_eq!(keys, [None]);
    }
}

#[test]
fn a_transaction_that_inserts_where_somebody_is_told_ends_its_batch() {
    let kind = kind("text_id");
    let table = kind.stream_table(Standing::Ready);
    let told = Arc::new(StreamTable { told: true, ..StreamTable::clone(&table) });
    for (table, inserts, cut) in [(told.clone(), true, true), (told, false, false), (table, true, false)] {
        let mut assembler = Assembler::new(vec![table], Lsn::ZERO, 7);
        feed(&mut assembler, [begin(7), relation(kind, Form::Plain)]);
        let row = kind.row(1, 2, 1);
        let change = if inserts { insert(kind, 1) } else { update(kind, None, row) };
        feed(&mut assembler, [change]);
        assert!(!assembler.is_cut(), "its end is not there");
        feed(&mut assembler, [commit(7)]);
        assert_eq!(assembler.is_cut(), cut, "inserts: {inserts}");
        assembler.take();
        // The next one says for itself.
        feed(&mut assembler, [begin(9), commit(9)]);
        assert!(!assembler.is_cut());
    }
}

#[test]
fn a_range_to_be_copied_again_is_skipped_also_when_the_relation_is_told_anew() {
    let kind = kind("binary_id");
    let ranges = between(vec![-20]).into_iter().zip(["11:11:", "7:7:"]);
    let judged = ranges.map(|(range, snapshot)| JudgedRange { range, snapshot: snapshot.parse().ok() });
    let table = kind.stream_table(Standing::Judged(judged.collect()));
    let mut assembler = Assembler::new(vec![table], Lsn::ZERO, 7);
    // The first range's snapshot sees the transaction, the second's doesn't.
    let moves = update(kind, Some(0), in_part(kind, 3));
    feed(&mut assembler, [begin(10), relation(kind, Form::Plain), moves, commit(10)]);
    let copies =
        |batch: &Batch| batch.tables[0].steps.iter().any(|step| matches!(step, Step::CopyAgain { range: 1 }));
    assert!(copies(&assembler.take()));
    let other = Form::LeftOutFirst;
    let row = other.encode(kind, &kind.row(4, 1, 1), Cell::Null);
    let insert = Sent::Insert { relation: kind.oid(), new: row };
    feed(&mut assembler, [begin(20), relation(kind, other), insert, commit(20)]);
    let batch = assembler.take();
    assert_eq!((batch.tables[0].asked(), batch.tables[0].tally.skipped), (0, 1));
}

#[test]
fn a_table_holds_a_transaction_when_all_of_its_ranges_do() {
    let kind = kind("binary_id");
    let of = |snapshots: &[&str]| {
        let ranges = between(vec![0]).into_iter().zip(snapshots);
        let judged = ranges.map(|(range, text)| JudgedRange { range, snapshot: text.parse().ok() });
        kind.stream_table(Standing::Judged(judged.collect()))
    };
    for (snapshots, holds) in
        [(["11:11:", "11:11:"], true), (["11:11:", "10:10:"], false), (["10:10:", "10:10:"], false)]
    {
        assert_eq!(of(&snapshots).holds(10), holds, "{snapshots:?}");
    }
}

#[test]
fn integers_of_every_width_are_read_whole_and_with_their_sign() {
    for value in [0, 1, -1, i64::from(i16::MIN), i64::from(i32::MIN), i64::MIN, i64::MAX, 1 << 40] {
        let read = |bytes: &[u8]| integer(Column::Binary(bytes));
        if let Ok(short) = i16::try_from(value) {
            assert_eq!(read(&short.to_be_bytes()), Some(value));
        }
        if let Ok(int) = i32::try_from(value) {
            assert_eq!(read(&int.to_be_bytes()), Some(value));
        }
        assert_eq!(read(&value.to_be_bytes()), Some(value));
        assert_eq!(integer(Column::Text(value.to_string().as_bytes())), Some(value));
    }
    for none in [Column::Null, Column::Unchanged, Column::Binary(&[0; 3]), Column::Text(b"1.0")] {
        assert_eq!(integer(none), None);
    }
}

/// Of each change: what it does, its key and its row.
fn changes(batch: &Batch) -> Vec<(Action, Row, Row)> {
    let Step::Folded(changes) = &batch.tables[0].steps[0] else { panic!("folded") };
    let row = |span| sent::row(&batch.arena.tuple(span));
    changes
        .iter()
        .map(|change| {
            let taken = change.action == Action::Delete;
            (change.action, row(change.key), if taken { Vec::new() } else { row(change.row) })
        })
        .collect()
}

fn text(value: &str) -> Cell {
    Cell::Text(value.as_bytes().to_vec())
}

/// The layout of table "pair", whose key is (a, b) in other places.
fn laid_out() -> (Arc<StreamTable>, Arc<Layout>) {
    let kind = kind("pair");
    let table = kind.stream_table(Standing::Ready);
    let layout = table.layout(&kind.relation(Form::Plain)).unwrap();
    (table, Arc::new(layout))
}

#[test]
fn rows_that_were_read_stand_in_place_of_what_their_keys_hold_and_gone_ones_go() {
    let (table, layout) = laid_out();
    let row = |b: &str, value: Option<&str>, a: &str| {
        vec![Some(b.to_owned()), value.map(str::to_owned), Some(a.to_owned()), None]
    };
    let rows = [row("1", Some("x"), "a"), row("2", None, "c")];
    let gone = [vec!["z".to_owned(), "9".to_owned()]];
    let batch = Batch::of_rows(&table, &layout, &rows, &gone).unwrap();
    assert_eq!(
        changes(&batch),
        [
            (Action::Delete, vec![text("z"), text("9")], vec![]),
            (Action::Replace, vec![text("a"), text("1")], vec![text("1"), text("x"), text("a"), Cell::Null]),
            (Action::Replace, vec![text("c"), text("2")], vec![text("2"), Cell::Null, text("c"), Cell::Null]),
        ]
    );
    assert_eq!((batch.tables.len(), batch.tables[0].asked()), (1, 3));
}

#[test]
fn a_kept_row_comes_again_as_it_came_and_no_part_of_one_as_a_whole() {
    let (table, layout) = laid_out();
    let key = vec!["a".to_owned(), "1".to_owned()];
    let kept = |row: Option<&[Option<Option<String>>]>| {
        changes(&Batch::of_kept(&table, &layout, &key, row).unwrap()).remove(0)
    };
    let column = |value: &str| Some(Some(value.to_owned()));
    let keyed = vec![text("a"), text("1")];
    let whole = [column("1"), Some(None), column("a"), column("long")];
    let row = vec![text("1"), Cell::Null, text("a"), text("long")];
    assert_eq!(kept(Some(&whole)), (Action::Replace, keyed.clone(), row));
    let part = [column("1"), column("x"), column("a"), None];
    let row = vec![text("1"), text("x"), text("a"), Cell::Unchanged];
    assert_eq!(kept(Some(&part)), (Action::Update { partial: true }, keyed.clone(), row));
    assert_eq!(kept(None), (Action::Delete, keyed, vec![]));
}
