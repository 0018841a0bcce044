//! Drives the assembler over a history, and takes batches where it is told to.

use std::sync::Arc;

use odoo_mirror::mirror::assembler::{Assembler, Fed};
use odoo_mirror::mirror::batch::Batch;
use odoo_mirror::mirror::stream_table::StreamTable;
use odoo_mirror::wire::{Lsn, decode};

use super::fed::Counts;
use super::history::History;
use super::mirror::{Asked, Mirror};
use super::sent::Sent;

/// The bounds of batches: after how many messages each is taken, wherever that is.
pub struct Drive<'a> {
    history: &'a History,
    pub assembler: Assembler,
    pub mirror: Mirror,
    /// Transactions whose end is in the mirror.
    pub passed: usize,
    cuts: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    until_cut: u8,
    next: (usize, usize),
    fed: Counts,
    /// What was taken since the last boundary can't be rewound.
    pub odd: bool,
}

/// A boundary to come back to.
pub struct Boundary {
    mirror: Mirror,
    passed: usize,
    next: (usize, usize),
}

/// Where a batch ended.
pub enum Stop {
    /// Between two transactions; the mirror has `passed` of them.
    Boundary(Asked),
    /// Within one.
    Within(Asked),
    /// Everything was fed and applied before.
    End,
}

impl<'a> Drive<'a> {
    /// `cuts` may not be empty.
    pub fn new(
        history: &'a History,
        tables: Vec<Arc<StreamTable>>,
        mirror: Mirror,
        cuts: &'a [u8],
    ) -> Drive<'a> {
        Drive {
            history,
            assembler: Assembler::new(tables, Lsn::ZERO, history.first_xid),
            mirror,
            passed: 0,
            cuts: cuts.iter().cycle(),
            until_cut: 0,
            next: (0, 0),
            fed: Counts::default(),
            odd: false,
        }
    }

    /// Feeds up to the next cut, and applies the batch.
    pub fn go(&mut self) -> Stop {
        self.until_cut = self.cuts.next().copied().unwrap_or(0);
        let mut any = false;
        while let Some(message) = self.message() {
            any = true;
            let message = message.encode();
            let fed = self.assembler.feed(decode(&message).unwrap()).unwrap();
            self.fed.message(&message, fed);
            if fed == Fed::Committed {
                assert!(self.assembler.at_boundary());
            }
            match self.until_cut.checked_sub(1) {
                Some(left) => self.until_cut = left,
                None => break,
            }
        }
        if !any {
            return Stop::End;
        }
        let boundary = self.assembler.at_boundary();
        self.odd |= self.assembler.is_odd();
        let batch = self.assembler.take();
        self.check(&batch, boundary);
        let asked = self.mirror.apply(&batch);
        if boundary { Stop::Boundary(asked) } else { Stop::Within(asked) }
    }

    /// What is applied here is committed.
    pub fn boundary(&mut self) -> Boundary {
        self.odd = false;
        Boundary { mirror: self.mirror.clone(), passed: self.passed, next: self.next }
    }

    /// What was applied since is undone, and comes again.
    pub fn rewind(&mut self, boundary: Boundary) {
        self.assembler.rewind();
        assert!(self.assembler.is_empty() && self.assembler.at_boundary());
        Boundary { mirror: self.mirror, passed: self.passed, next: self.next } = boundary;
        self.fed = Counts::default();
    }

    fn message(&mut self) -> Option<&'a Sent> {
        let transactions = &self.history.transactions;
        if self.next.1 == transactions.get(self.next.0)?.messages.len() {
            self.next = (self.next.0 + 1, 0);
        }
        let message = transactions.get(self.next.0)?.messages.get(self.next.1)?;
        self.next.1 += 1;
        Some(message)
    }

    fn check(&mut self, batch: &Batch, boundary: bool) {
        assert!(self.assembler.is_empty() && self.assembler.events() == 0 && self.assembler.bytes() == 0);
        self.fed.check(batch);
        let ended = batch.transactions as usize;
        let first = self.passed;
        self.passed += ended;
        let commit_time = |index: usize| self.history.transactions[index].commit_time();
        let touched = ended + usize::from(!boundary);
        assert_eq!(batch.oldest_commit, (touched > 0).then(|| commit_time(first)));
        match batch.boundary {
            Some(end) => {
                let last = &self.history.transactions[self.passed - 1];
                assert!(boundary && end.end == Lsn(last.end()) && end.commit_time == last.commit_time());
            }
            None => assert!(!boundary || ended == 0),
        }
    }
}
