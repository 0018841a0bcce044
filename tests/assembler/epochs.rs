//! Transaction ids past 2^32, and where their low halves wrap around: in a copy's judging, and in a
//! comparison.

use std::sync::Arc;

use odoo_mirror::mirror::assembler::Assembler;
use odoo_mirror::mirror::batch::Batch;
use odoo_mirror::mirror::fence::{Passed, Record, Since};
use odoo_mirror::mirror::ranges::KeyRange;
use odoo_mirror::mirror::snapshot::Snapshot;
use odoo_mirror::mirror::stream_table::{JudgedRange, Standing, StreamTable};
use odoo_mirror::wire::{Lsn, decode};

use super::history::FIRST_XIDS;
use super::sent::{Cell, Sent};
use super::tables::{Form, KINDS, Kind};

fn kind() -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == "text_id").unwrap()
}

/// The next id, as the source counts.
fn after(xid: u64) -> u64 {
    let next = xid + 1;
    if next as u32 == 0 { next + 3 } else { next }
}

/// Ids around `first`, across the wrap if it lies near one.
fn ids(first: u64) -> Vec<u64> {
    std::iter::successors(Some(first), |xid| Some(after(*xid))).take(16).collect()
}

fn feed(assembler: &mut Assembler, sent: &[Sent]) {
    for sent in sent {
        assembler.feed(decode(&sent.encode()).unwrap()).unwrap();
    }
}

/// Transaction `xid` sets the row of `key`.
fn sets(at: u64, xid: u64, key: u8) -> [Sent; 3] {
    let (id, at) = (kind().oid(), at * 10);
    [
        Sent::Begin { final_lsn: at, commit_time: 0, xid: xid as u32 },
        Sent::Update { relation: id, old: None, new: kind().row(key, 1, 1) },
        Sent::Commit { flags: 0, commit_lsn: at, end_lsn: at + 8, commit_time: 0 },
    ]
}

fn relation() -> Sent {
    Sent::Relation(kind().relation(Form::Plain))
}

/// What a snapshot is that sees all before `xmax` but these.
fn sees_but(hidden: &[u64], xmax: u64) -> Snapshot {
    let list: Vec<String> = hidden.iter().map(u64::to_string).collect();
    format!("{}:{xmax}:{}", hidden.first().unwrap_or(&xmax), list.join(",")).parse().unwrap()
}

fn table(standing: Standing) -> Arc<StreamTable> {
    let table = StreamTable { recorded: true, ..StreamTable::clone(&kind().stream_table(standing)) };
    Arc::new(table)
}

/// The stream as it is told of it: a long way to the wrap may have been silent.
fn streams(first: u64, tables: Vec<Arc<StreamTable>>, xids: &[u64]) -> Batch {
    let mut assembler = Assembler::new(tables.clone(), Lsn::ZERO, first);
    feed(&mut assembler, &[relation()]);
    for (at, xid) in xids.iter().enumerate() {
        feed(&mut assembler, &sets(at as u64 + 1, *xid, at as u8 % 9));
        if at == xids.len() / 2 {
            // Tables are replaced all the time: that says nothing of the epoch.
            let taken = assembler.take();
            assert_eq!(taken.xids, xids[..=at]);
            assembler.replace_tables(tables.clone());
        }
    }
    assembler.take()
}

#[test]
fn a_copy_skips_what_its_snapshot_saw_and_nothing_else_in_every_epoch() {
    for first in FIRST_XIDS {
        let xids = ids(first);
        for place in 1..xids.len() - 1 {
            let snapshot = sees_but(&xids[place - 1..place], xids[place + 1]);
            let sees: Vec<bool> = xids.iter().map(|xid| snapshot.sees(*xid)).collect();
            let expected: Vec<bool> =
                (0..xids.len()).map(|index| index <= place && index != place - 1).collect();
            assert_eq!(sees, expected, "from {first}");
            let judged = JudgedRange { range: KeyRange::ALL, snapshot: Some(snapshot) };
            let tables = vec![table(Standing::Judged(vec![judged]))];
            let mut assembler = Assembler::new(tables, Lsn::ZERO, first);
            feed(&mut assembler, &[relation()]);
            for (at, xid) in xids.iter().enumerate() {
                feed(&mut assembler, &sets(at as u64 + 1, *xid, 1));
                let batch = assembler.take();
                let skipped = batch.tables.iter().map(|part| part.tally.skipped).sum::<u64>();
                assert_eq!(
                    skipped,
                    u64::from(expected[at]),
                    "{xid} under a snapshot at {place}, from {first}"
                );
            }
        }
    }
}

#[test]
fn a_comparison_leaves_out_what_its_snapshot_did_not_see_and_nothing_else_in_every_epoch() {
    for first in FIRST_XIDS {
        let xids = ids(first);
        let batch = streams(first, vec![table(Standing::Ready)], &xids);
        assert_eq!(batch.xids, xids[xids.len() / 2 + 1..], "from {first}");
        let snapshot = sees_but(&xids[10..11], xids[13]);
        let mut passed = Passed::default();
        passed.add(batch.xids.iter().copied());
        passed.forget(&snapshot);
        assert_eq!(passed.xids(), [xids[10], xids[13], xids[14], xids[15]], "from {first}");
        let mut record = Record::begin(&Passed::default(), &[]);
        for touched in batch.tables.iter().flat_map(|part| &part.touches) {
            let key = batch.arena.tuple(touched.key.unwrap());
            let key = match super::sent::row(&key).remove(0) {
                Cell::Text(text) => String::from_utf8(text).unwrap(),
                other => panic!("{other:?}"),
            };
            record.touch(vec![key], touched.xid, touched.touch);
        }
        record.forget(&snapshot);
        for (at, xid) in xids.iter().enumerate().skip(xids.len() / 2 + 1) {
            let key = vec![super::tables::integer(at as u8 % 9).to_string()];
            let since = if snapshot.sees(*xid) { Since::Untouched } else { Since::Overwritten };
            assert_eq!(record.since(&key), since, "{xid} from {first}");
        }
    }
}

/// While nothing of the publication is written, the stream brings no transaction at all.
#[test]
fn a_stream_that_was_silent_for_billions_of_transactions_is_in_the_epoch_that_snapshots_show() {
    let (first, later) = (700, 3 * (1 << 32) + 4_294_967_000);
    let mut assembler = Assembler::new(vec![table(Standing::Ready)], Lsn::ZERO, first);
    feed(&mut assembler, &[relation()]);
    feed(&mut assembler, &sets(1, first, 1));
    let mut at = first;
    while at < later {
        at = (at + 2_000_000_000).min(later);
        assembler.saw_xid(at);
    }
    // One that somebody looked at late.
    assembler.saw_xid(first);
    feed(&mut assembler, &sets(2, later - 100, 1));
    feed(&mut assembler, &sets(3, later + 500, 1));
    assert_eq!(assembler.take().xids, [first, later - 100, later + 500]);
}
