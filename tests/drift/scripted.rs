//! Histories written as bytes: the fuzzer's way to say them.

use super::checks::{Ended, Start, lagging, looked_at, unmoved};
use super::ops::Op;

/// A byte that says how the table is, how many operations came before its mirror and how far the
/// catalog is ahead, then three bytes for each operation. All that must hold is checked; returns
/// how the history ended for a stream that lags.
pub fn history(bytes: &[u8]) -> Option<Ended> {
    let (mode, rest) = bytes.split_first()?;
    let mut start =
        Start { partitioned: mode & 1 == 1, ops: rest.as_chunks::<3>().0.iter().take(28).map(op).collect() };
    let ops = start.ops.split_off((usize::from(mode >> 1) % 4).min(start.ops.len()));
    let ahead = usize::from(mode >> 3);
    let ended = lagging(&start, &ops, &[ahead % 4, ahead / 4 % 4, ahead / 8]);
    looked_at(&start, &ops, ahead % 8, ahead / 8);
    unmoved(&start, &ops);
    Some(ended)
}

fn op([what, a, b]: &[u8; 3]) -> Op {
    let (place, other) = (usize::from(*a), usize::from(*b));
    match what % 24 {
        0..=3 => Op::Write(*a, *b),
        4 => Op::Delete(*a),
        5 => Op::Add { name: place, data_type: other, default: None },
        6 => Op::Add { name: place, data_type: other, default: Some(*b) },
        7 => Op::AddComputed { name: place, generated: b & 1 == 1 },
        8 => Op::DropExpression(place),
        9 => Op::Drop(place),
        10 => Op::Rename(place, other),
        11 => Op::Exchange(place, other),
        12 | 13 => Op::Retype(place, other),
        14 => Op::Rewrite(place),
        15 => Op::Vacuum,
        16 => Op::Exclude(place),
        17 => Op::Key(place, *b),
        18 => Op::Identity(*a),
        19 => Op::Filter(*a),
        20 => Op::List(place),
        21 => Op::Unpublished(*a, *b),
        22 if b & 1 == 1 => Op::Attach,
        22 => Op::Detach(*a),
        _ if b & 1 == 1 => Op::Recreate,
        _ => Op::Elsewhere,
    }
}
