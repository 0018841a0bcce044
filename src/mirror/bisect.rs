//! Finds the rows of a set that the destination refuses, by applying parts of it, each in a
//! subtransaction that can be taken back.
//!
//! Which part to try next is decided here; what trying means is the caller's. Rows that are applied
//! are applied in order.

use std::ops::Range;

/// Subtransactions in one batch: beyond 64 in one transaction every reader's snapshot gets slow.
pub const ATTEMPTS: u32 = 50;

/// Rows of one table that may be set aside; with more the table is not what it was made for.
pub const ROWS: usize = 100;

/// What finding them may still cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub attempts: u32,
    pub rows: usize,
}

/// What a refused part says of where the refused row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Culprit {
    /// This was the last row that the statement looked at, counted from the part's start.
    Row(usize),
    Unknown,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Try(Range<usize>),
    SetAside(Range<usize>),
}

/// More rows are refused than may be set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

struct Part {
    range: Range<usize>,
    standing: Standing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Open,
    /// The last row looked at may not be the one: what is refused when all have been looked at (an
    /// AFTER trigger) names the last.
    Doubted,
    Refused,
}

/// The search through one set.
pub struct Search {
    /// What is left, the next at the end.
    left: Vec<Part>,
    tried: Part,
}

impl Search {
    pub fn new(rows: usize) -> Search {
        let all = Part { range: 0..rows, standing: Standing::Open };
        Search { left: vec![all], tried: Part { range: 0..0, standing: Standing::Open } }
    }

    /// The next part; None: the set is done. After [`Next::Try`] either that part is applied, or
    /// [`refused`](Self::refused) says that it wasn't.
    pub fn next(&mut self, budget: &mut Budget) -> Result<Option<Next>, TooMany> {
        let part = loop {
            match self.left.pop() {
                None => return Ok(None),
                Some(part) if part.range.is_empty() => {}
                Some(part) => break part,
            }
        };
        let range = part.range.clone();
        if part.standing != Standing::Refused && budget.attempts > 0 {
            budget.attempts -= 1;
            self.tried = part;
            return Ok(Some(Next::Try(range)));
        }
        // With no attempt left, those that were not tried go with the refused ones; they are tried
        // again later.
        budget.rows = budget.rows.checked_sub(range.len()).ok_or(TooMany)?;
        Ok(Some(Next::SetAside(range)))
    }

    /// The part that was tried last was refused, and taken back.
    pub fn refused(&mut self, culprit: Culprit) {
        let (start, end) = (self.tried.range.start, self.tried.range.end);
        let doubted = self.tried.standing == Standing::Doubted;
        let culprit = match culprit {
            Culprit::Row(row) if start + row < end => Some(start + row),
            Culprit::Row(_) | Culprit::Unknown => None,
        };
        match culprit {
            _ if end - start <= 1 => self.put(start..end, Standing::Refused),
            Some(row) if row + 1 < end => {
                self.put(row + 1..end, self.tried.standing);
                self.put(row..row + 1, Standing::Refused);
                self.put(start..row, self.tried.standing);
            }
            Some(row) if !doubted => {
                self.put(row..end, Standing::Open);
                self.put(start..row, Standing::Doubted);
            }
            _ => {
                let middle = start + (end - start) / 2;
                self.put(middle..end, self.tried.standing);
                self.put(start..middle, self.tried.standing);
            }
        }
    }

    fn put(&mut self, range: Range<usize>, standing: Standing) {
        self.left.push(Part { range, standing });
    }
}
