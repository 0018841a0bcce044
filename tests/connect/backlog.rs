//! Where batches end while the mirror is far behind: at commits, so that readers see it catch up.

use std::time::Duration;

use odoo_mirror::source::link::{Event, Link};
use odoo_mirror::source::stream::Bounds;
use tokio::net::TcpStream;

use crate::lease::{begin, commit, event, insert, relation, send, streaming, told};
use crate::sent::Sent;

const BOUNDS: Bounds = Bounds { changes: 100, bytes: 1 << 20, age: Duration::from_secs(60) };

/// Transactions of so many rows each, no row twice.
async fn backlog(peer: &mut TcpStream, sizes: &[u64]) {
    let mut id = 0;
    let mut messages: Vec<Sent> = Vec::new();
    for (number, size) in sizes.iter().enumerate() {
        let at = 200 + 100 * number as u64;
        messages.push(begin(at));
        if number == 0 {
            messages.push(relation());
        }
        for _ in 0..*size {
            id += 1;
            messages.push(insert(id, "row"));
        }
        messages.push(commit(at));
    }
    send(peer, 200, &messages).await;
}

/// Rows, and whether it ends at a commit, of each batch until so many rows came.
async fn batches(link: &mut Link, rows: u64) -> Vec<(u64, bool)> {
    let mut batches: Vec<(u64, bool)> = Vec::new();
    while batches.iter().map(|(rows, _)| rows).sum::<u64>() < rows {
        // All of it is there by then: what ends a batch is its bounds alone.
        tokio::time::sleep(Duration::from_millis(20)).await;
        link.hungry();
        match event(link).await {
            Event::Batch(batch) => batches.push(told(&batch)),
            Event::Idle { .. } | Event::Lent(_) => {}
            other => panic!("{other:?}"),
        }
    }
    batches
}

#[tokio::test]
async fn every_batch_of_a_backlog_of_small_transactions_ends_at_a_commit() {
    for size in [1, 7, 21, 99] {
        let (mut peer, mut link, _lease) = streaming(BOUNDS).await;
        backlog(&mut peer, &vec![size; 40]).await;
        let batches = batches(&mut link, 40 * size).await;
        assert!(batches.iter().all(|(_, commits)| *commits), "{size}: {batches:?}");
        assert!(batches.iter().all(|(rows, _)| *rows < 100 + size), "{size}: {batches:?}");
        let full = batches.iter().filter(|(rows, _)| *rows >= 100).count() as u64;
        assert!(full + 2 >= 40 * size / (100 + size), "{size}: they are gathered: {batches:?}");
    }
}

#[tokio::test]
async fn only_a_transaction_that_alone_exceeds_the_bounds_goes_in_parts() {
    let (mut peer, mut link, _lease) = streaming(BOUNDS).await;
    backlog(&mut peer, &[30, 250, 30, 99, 99, 1]).await;
    let batches = batches(&mut link, 509).await;
    let parts = batches.iter().filter(|(_, commits)| !commits).count();
    assert!((1..=2).contains(&parts), "{batches:?}");
    let after: Vec<_> =
        batches.iter().skip_while(|(_, commits)| *commits).skip_while(|(_, commits)| !commits).collect();
    assert!(after.iter().all(|(rows, commits)| *commits && *rows <= 250), "{batches:?}");
    assert!(after.len() >= 2, "{batches:?}");
}
