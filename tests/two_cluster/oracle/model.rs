//! What the source held after each of its commits: the writers' marks, and each table's sums. The writers commit one after the
//! other, so the commits have one order, and a state that shows some marks is the state after that many commits or a
//! wrong one.

use super::schema::{TABLES, WRITERS};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many transactions each writer has committed.
pub type Marks = [u64; WRITERS];

/// How many rows, and the sum of their hashes.
pub type Sum = (i64, i128);

/// What one writer's transactions came to, table by table, in the order of `TABLES`.
pub type Sums = [Sum; TABLES.len()];

/// The columns of each table.
pub type Columns = [Vec<String>; TABLES.len()];

#[derive(Clone)]
pub struct Commit {
    marks: Marks,
    sums: [Sums; WRITERS],
    pub columns: Arc<Columns>,
}

impl Commit {
    pub fn total(&self, table: usize) -> Sum {
        self.sums.iter().fold((0, 0), |(rows, hash), own| (rows + own[table].0, hash + own[table].1))
    }
}

/// Every commit, the state before the first one first.
pub struct History(Vec<Commit>);

impl History {
    pub fn new(marks: Marks, sums: [Sums; WRITERS], columns: Columns) -> Self {
        assert_eq!(marks, [0; WRITERS], "a history begins at the beginning");
        Self(vec![Commit { marks, sums, columns: Arc::new(columns) }])
    }

    fn last(&self) -> &Commit {
        self.0.last().expect("there is the state before the first")
    }

    /// How many there were.
    pub fn commits(&self) -> u64 {
        self.0.len() as u64 - 1
    }

    /// The writer is about to commit: from now on readers may see it.
    pub fn propose(&mut self, writer: usize, sums: Sums, columns: Columns) {
        let mut next = self.last().clone();
        next.marks[writer] += 1;
        next.sums[writer] = sums;
        if *next.columns != columns {
            next.columns = Arc::new(columns);
        }
        self.0.push(next);
    }

    /// The source came back with these marks: it lost what it hadn't flushed, and never told anybody of it.
    pub fn adopt(&mut self, marks: Marks) -> Result<(), String> {
        self.at(&marks).map_err(|wrong| format!("the source itself: {wrong}"))?;
        self.0.truncate(number_of(&marks) + 1);
        Ok(())
    }

    /// The commit after which these marks were shown.
    pub fn at(&self, marks: &Marks) -> Result<&Commit, String> {
        let number = number_of(marks);
        match self.0.get(number) {
            None => Err(format!("shows {number} commits, {marks:?}, and there were {}", self.commits())),
            Some(commit) if commit.marks != *marks => {
                Err(format!("shows {marks:?}, and after {number} commits it was {:?}", commit.marks))
            }
            Some(commit) => Ok(commit),
        }
    }

    /// Whether a state is the one after that commit: `shown` are the tables that are vouched for.
    pub fn judge(&self, marks: &Marks, shown: &BTreeMap<usize, Sum>) -> Result<u64, String> {
        let commit = self.at(marks)?;
        let wrong: Vec<String> = shown
            .iter()
            .filter(|(table, sum)| commit.total(**table) != **sum)
            .map(|(table, sum)| {
                let right = commit.total(*table);
                let near = |commit: &&Commit| commit.total(*table) == *sum;
                let when = self.0.iter().rev().find(near).map_or_else(
                    || "never so".to_owned(),
                    |commit| format!("so after commit {}", number_of(&commit.marks)),
                );
                format!(
                    "{} has {} rows (hash {}) where the source had {} ({}), {when}",
                    TABLES[*table].name, sum.0, sum.1, right.0, right.1
                )
            })
            .collect();
        match wrong.as_slice() {
            [] => Ok(number_of(marks) as u64),
            _ => Err(format!("as of commit {} {marks:?}: {}", number_of(marks), wrong.join("; "))),
        }
    }
}

/// Each commit moves one mark by one.
fn number_of(marks: &Marks) -> usize {
    marks.iter().sum::<u64>() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        let mut history = History::new([0; WRITERS], [[(0, 0); TABLES.len()]; WRITERS], Columns::default());
        let mut sums = [(0, 0); TABLES.len()];
        sums[0] = (1, 500);
        history.propose(1, sums, Columns::default());
        sums[0] = (2, 900);
        sums[1] = (1, 70);
        history.propose(0, sums, Columns::default());
        history
    }

    fn marks(own: [u64; 2]) -> Marks {
        let mut marks = [0; WRITERS];
        marks[..2].copy_from_slice(&own);
        marks
    }

    #[test]
    fn a_state_is_right_only_as_of_the_commit_that_its_marks_name() {
        let history = history();
        assert_eq!(history.judge(&marks([0, 1]), &[(0, (1, 500)), (1, (0, 0))].into()), Ok(1));
        assert_eq!(history.judge(&marks([1, 1]), &[(0, (3, 1400)), (1, (1, 70))].into()), Ok(2));
        // A row less, another row, a table that is behind, a transaction without the one before, one that never was.
        assert!(history.judge(&marks([0, 1]), &[(0, (0, 0))].into()).is_err());
        assert!(history.judge(&marks([0, 1]), &[(0, (1, 501))].into()).is_err());
        assert!(history.judge(&marks([1, 1]), &[(0, (3, 1400)), (1, (0, 0))].into()).is_err());
        assert!(history.judge(&marks([1, 0]), &BTreeMap::new()).is_err());
        assert!(history.judge(&marks([2, 1]), &BTreeMap::new()).is_err());
    }

    #[test]
    fn what_a_crashed_source_lost_was_never_there() {
        let mut history = history();
        assert!(history.adopt(marks([1, 0])).is_err());
        assert_eq!(history.adopt(marks([0, 1])), Ok(()));
        assert_eq!(history.commits(), 1);
        assert!(history.judge(&marks([1, 1]), &BTreeMap::new()).is_err());
    }
}
