//! Histories written as bytes: the fuzzer's way to say them.

use std::sync::Arc;

use super::drive::{Drive, Stop};
use super::history::{History, Op, history};
use super::mirror::Mirror;
use super::source::Rows;
use super::tables::{Form, KEYS, KINDS};
use odoo_mirror::mirror::stream_table::{Standing, StreamTable};

/// A byte that says how much is there from the start, one for the order of transaction ids, one for
/// where batches end, then three bytes for each operation. A mirror that batches are applied to
/// must equal the source at each boundary, as one that each change is applied to alone; returns how
/// many transactions there were.
pub fn batches(bytes: &[u8]) -> usize {
    let [there, order, cut, rest @ ..] = bytes else { return 0 };
    let steps: Vec<Step> = rest.as_chunks::<3>().0.iter().take(64).map(step).collect();
    let (setup, rest) = steps.split_at((usize::from(*there) % 32).min(steps.len()));
    let setup: Vec<Op> = setup.iter().filter_map(|step| step.op()).collect();
    let transactions: Vec<Vec<Op>> = rest
        .split(|step| matches!(step, Step::Commit))
        .map(|steps| steps.iter().filter_map(Step::op).collect())
        .collect();
    let history = history(&setup, &transactions, &[order & 3, order >> 2 & 3, order >> 4 & 3, order >> 6]);
    for cuts in [&[*cut % 16, cut >> 4][..], &[0], &[255]] {
        applied(&history, cuts, false);
        applied(&history, cuts, true);
    }
    history.transactions.len()
}

/// `undone`: each transaction that comes in parts is undone after the first of them, once, and fed
/// again.
fn applied(history: &History, cuts: &[u8], undone: bool) {
    let tables: Vec<Arc<StreamTable>> = KINDS.iter().map(|kind| kind.stream_table(Standing::Ready)).collect();
    let mut drive = Drive::new(history, tables, Mirror::new(history.before.clone()), cuts);
    let mut boundary = undone.then(|| drive.boundary());
    loop {
        let asked = match drive.go() {
            Stop::Boundary(asked) => {
                let passed = drive.passed.checked_sub(1);
                let expected: &[Rows] =
                    passed.map_or(&history.before, |last| &history.transactions[last].after);
                assert_eq!(drive.mirror.rows, expected, "after {} transactions", drive.passed);
                boundary = undone.then(|| drive.boundary());
                asked
            }
            Stop::Within(asked) => {
                if let Some(boundary) = boundary.take_if(|_| !drive.odd) {
                    drive.rewind(boundary);
                }
                asked
            }
            Stop::End => break,
        };
        assert!(asked.copy_again.is_empty() && asked.misfits.is_empty());
    }
    assert_eq!(drive.passed, history.transactions.len());
}

enum Step {
    Op(Op),
    Commit,
}

impl Step {
    fn op(&self) -> Option<Op> {
        match self {
            Step::Op(op) => Some(op.clone()),
            Step::Commit => None,
        }
    }
}

fn step([what, a, b]: &[u8; 3]) -> Step {
    let table = usize::from(what >> 5) % KINDS.len();
    let (key, to, value) = (a % KEYS, a / KEYS % KEYS, *b);
    let big = (b & 1 == 0).then_some(b >> 1);
    Step::Op(match what & 31 {
        0..=5 => Op::Insert { table, key, value, big: b >> 1 },
        6..=11 => Op::Update { table, key, value, big, hidden: a & 128 != 0 },
        12..=17 => Op::Move { table, key, to, value, big },
        18..=21 => Op::Delete { table, key },
        22..=24 => Op::DeleteAndInsert { table, key, value, big: b >> 1 },
        25 => Op::Truncate { tables: (0..KINDS.len()).filter(|table| a >> table & 1 == 1).collect() },
        26 => Op::RepeatRelation { table },
        27 => Op::Reform {
            table,
            form: [Form::Plain, Form::LeftOutFirst, Form::LeftOutLast][usize::from(a % 3)],
        },
        28 if a & 1 == 1 => Op::Elsewhere,
        28 => Op::Logical,
        _ => return Step::Commit,
    })
}
