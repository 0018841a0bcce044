//! Where a change doesn't fit its table: the stream stops before it, and goes on with the table as
//! it is then.

use std::sync::Arc;

use odoo_mirror::mirror::assembler::Assembler;
use odoo_mirror::mirror::batch::{Action, Batch, Step};
use odoo_mirror::mirror::stream_table::{Standing, StreamColumn, StreamTable};
use odoo_mirror::wire::{Lsn, decode};

use super::sent::{Cell, OldRow, Sent};
use super::tables::{Form, KINDS, Kind};

pub fn kind() -> &'static Kind {
    &KINDS[0]
}

/// The table once the added column is known.
fn altered(standing: Standing) -> Arc<StreamTable> {
    let mut table = StreamTable::clone(&kind().stream_table(standing));
    let added = StreamColumn { name: "added".into(), ..table.columns[1].clone() };
    table.columns.push(added);
    table.generation += 1;
    Arc::new(table)
}

/// Feeds what fits; false: the message doesn't, and was not fed.
pub fn feed(assembler: &mut Assembler, sent: &Sent) -> bool {
    let message = sent.encode();
    let message = decode(&message).unwrap();
    match assembler.unfit(&message) {
        Some(unfit) => {
            assembler.stop_before(unfit);
            false
        }
        None => {
            assembler.feed(message).unwrap();
            true
        }
    }
}

pub fn begin(at: u64, xid: u32) -> Sent {
    Sent::Begin { final_lsn: at, commit_time: at as i64, xid }
}

pub fn commit(at: u64) -> Sent {
    Sent::Commit { flags: 0, commit_lsn: at, end_lsn: at + 8, commit_time: at as i64 }
}

fn insert(form: Form, key: u8) -> Sent {
    let row = form.encode(kind(), &kind().row(key, 1, 1), Cell::Text("new".into()));
    Sent::Insert { relation: kind().oid(), new: row }
}

/// Keys inserted in the batch, and how many columns each row has.
fn inserted(batch: &Batch) -> Vec<usize> {
    let steps = batch.tables.iter().flat_map(|part| &part.steps);
    let changes =
        steps.filter_map(|step| if let Step::Folded(changes) = step { Some(changes) } else { None });
    let inserted = changes.flatten().filter(|change| change.action == Action::Insert);
    inserted.map(|change| batch.arena.tuple(change.row).iter().count()).collect()
}

#[test]
fn a_change_that_does_not_fit_waits_within_its_transaction_and_nothing_is_lost() {
    let mut assembler = Assembler::new(vec![kind().stream_table(Standing::Ready)], Lsn::ZERO, 10);
    for sent in [begin(1, 10), Sent::Relation(kind().relation(Form::Plain)), insert(Form::Plain, 1)] {
        assert!(feed(&mut assembler, &sent));
    }
    assert!(feed(&mut assembler, &Sent::Relation(kind().relation(Form::Misfit))));
    let held = insert(Form::Misfit, 2);
    assert!(!feed(&mut assembler, &held) && !assembler.is_empty());
    let before = assembler.take();
    assert_eq!((inserted(&before), before.boundary, before.filtered), (vec![3], None, 0));
    assert_eq!(before.unfit.unwrap().relation, kind().relation(Form::Misfit));
    assert!(assembler.is_empty());
    assembler.refit(vec![altered(Standing::Ready)]);
    for sent in [held, insert(Form::Misfit, 3), commit(1)] {
        assert!(feed(&mut assembler, &sent));
    }
    let rest = assembler.take();
    assert_eq!((inserted(&rest), rest.boundary.unwrap().end, rest.transactions), (vec![4, 4], Lsn(9), 1));
}

#[test]
fn a_table_that_is_left_out_meanwhile_costs_the_others_nothing() {
    let other = &KINDS[2];
    let tables =
        |standing: Standing| vec![kind().stream_table(standing), other.stream_table(Standing::Ready)];
    let mut assembler = Assembler::new(tables(Standing::Ready), Lsn::ZERO, 10);
    let theirs = Sent::Insert { relation: other.oid(), new: other.row(1, 1, 1) };
    let before = [
        begin(1, 10),
        Sent::Relation(other.relation(Form::Plain)),
        theirs.clone(),
        Sent::Relation(kind().relation(Form::Misfit)),
    ];
    before.iter().for_each(|sent| assert!(feed(&mut assembler, sent)));
    // A truncate of both waits for the one.
    let held = Sent::Truncate {
        cascade: false,
        restart_identity: false,
        relations: vec![other.oid(), kind().oid()],
    };
    assert!(!feed(&mut assembler, &held));
    assert_eq!(assembler.take().tables.len(), 1);
    assembler.refit(tables(Standing::Filtered));
    for sent in [held, theirs, insert(Form::Misfit, 1), commit(1)] {
        assert!(feed(&mut assembler, &sent));
    }
    let rest = assembler.take();
    assert_eq!((rest.tables.len(), rest.filtered), (1, 2));
    assert_eq!((rest.tables[0].tally.truncates, rest.tables[0].tally.inserts), (1, 1));
}

#[test]
fn what_lay_before_the_look_at_a_table_taken_over_does_not_have_to_fit() {
    let mut table = StreamTable::clone(&altered(Standing::Loose));
    table.seen = "12:12:".parse().ok();
    let mut assembler = Assembler::new(vec![Arc::new(table)], Lsn::ZERO, 10);
    // Transaction 11 is older than the look, in the form of before; 12 is as the look saw it; 13 is
    // newer than both.
    for sent in
        [begin(1, 11), Sent::Relation(kind().relation(Form::Plain)), insert(Form::Plain, 1), commit(1)]
    {
        assert!(feed(&mut assembler, &sent));
    }
    let old = assembler.take();
    assert_eq!((old.filtered, old.tables.len()), (1, 0));
    for sent in
        [begin(10, 12), Sent::Relation(kind().relation(Form::Misfit)), insert(Form::Misfit, 1), commit(10)]
    {
        assert!(feed(&mut assembler, &sent));
    }
    assert_eq!(inserted(&assembler.take()), [4]);
    assert!(feed(&mut assembler, &begin(20, 13)));
    assert!(feed(&mut assembler, &Sent::Relation(kind().relation(Form::Plain))));
    assert!(!feed(&mut assembler, &insert(Form::Plain, 2)));
    let delete = Sent::Delete { relation: kind().oid(), old: OldRow::Key(kind().row(2, 1, 1)) };
    assert!(!feed(&mut assembler, &delete));
}

#[test]
fn what_was_applied_before_a_reconnect_is_not_waited_for() {
    let mut assembler = Assembler::new(vec![kind().stream_table(Standing::Ready)], Lsn(100), 10);
    for sent in
        [begin(1, 10), Sent::Relation(kind().relation(Form::Misfit)), insert(Form::Misfit, 1), commit(1)]
    {
        assert!(feed(&mut assembler, &sent));
    }
    assert!(assembler.is_empty());
}

#[test]
fn columns_that_exchanged_their_names_do_not_fit() {
    let mut relation = kind().relation(Form::Plain);
    let table = kind().stream_table(Standing::Ready);
    assert!(table.layout(&relation).is_ok());
    relation.columns.swap(1, 2);
    assert_eq!(table.layout(&relation).unwrap_err(), "column value is another one on the source");
}
