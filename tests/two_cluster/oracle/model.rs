//! What the source held after each of its commits: the writers' marks, and each table's sums. The
//! writers commit one after the other, so the commits have one order, and a state that shows some
//! marks is the state after that many commits or a wrong one.

use super::schema::{TABLES, WRITERS};
use super::shapes::{Layout, Layouts, Shapes};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many transactions each writer has committed.
pub type Marks = [u64; WRITERS];

/// How many rows, and the sum of their hashes.
pub type Sum = (i64, i128);

/// What one writer's transactions came to, table by table, in the order of `TABLES`.
pub type Sums = [Sum; TABLES.len()];

#[derive(Clone)]
pub struct Commit {
    marks: Marks,
    sums: [Sums; WRITERS],
    pub shapes: Arc<Shapes>,
}

impl Commit {
    pub fn total(&self, table: usize) -> Sum {
        self.sums.iter().fold((0, 0), |(rows, hash), own| (rows + own[table].0, hash + own[table].1))
    }
}

/// Every commit, the state before the first one first.
pub struct History(Vec<Commit>);

impl History {
    pub fn new(marks: Marks, sums: [Sums; WRITERS], shapes: Shapes) -> Self {
        assert_eq!(marks, [0; WRITERS], "a history begins at the beginning");
        Self(vec![Commit { marks, sums, shapes: Arc::new(shapes) }])
    }

    fn last(&self) -> &Commit {
        self.0.last().expect("there is the state before the first")
    }

    /// How many there were.
    pub fn commits(&self) -> u64 {
        self.0.len() as u64 - 1
    }

    /// The writer is about to commit: from now on readers may see it. `layouts` are those of tables
    /// that it alone could change; `altered`: by more than TRUNCATE. Says which tables aren't any
    /// more what the stream alone would make of them.
    pub fn propose(&mut self, writer: usize, sums: Sums, layouts: Layouts, altered: bool) -> Vec<usize> {
        let mut next = self.last().clone();
        next.marks[writer] += 1;
        next.sums[writer] = sums;
        let mut untold = Vec::new();
        for (table, layout) in layouts {
            let shape = &mut Arc::make_mut(&mut next.shapes)[table];
            let rewritten = altered && shape.layout.file != layout.file;
            if rewritten
                || shape.layout.columns != layout.columns
                || shape.layout.last_attnum != layout.last_attnum
            {
                untold.push(table);
            }
            shape.rewrites += u32::from(rewritten);
            shape.layout = layout;
        }
        self.0.push(next);
        untold
    }

    /// Whether a table that is described so is what it is after that commit. In which file its rows
    /// lie says which ALTERs have been noticed; a TRUNCATE needs no notice.
    pub fn is_noticed(&self, commit: &Commit, table: usize, described: &Layout) -> bool {
        let shape = &commit.shapes[table];
        let rewrites = || {
            let of_that_file = |commit: &&Commit| commit.shapes[table].layout.file == described.file;
            self.0.iter().rev().find(of_that_file).map(|commit| commit.shapes[table].rewrites)
        };
        shape.layout.columns == described.columns
            && shape.layout.last_attnum == described.last_attnum
            && (shape.layout.file == described.file || rewrites() == Some(shape.rewrites))
    }

    /// The source came back with these marks: it lost what it hadn't flushed, and never told
    /// anybody of it.
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
    use super::super::shapes::made_up;
    use super::*;

    fn history() -> History {
        let mut history = History::new([0; WRITERS], [[(0, 0); TABLES.len()]; WRITERS], Shapes::default());
        let mut sums = [(0, 0); TABLES.len()];
        sums[0] = (1, 500);
        history.propose(1, sums, Layouts::new(), false);
        sums[0] = (2, 900);
        sums[1] = (1, 70);
        history.propose(0, sums, Layouts::new(), false);
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
        // A row less, another row, a table that is behind, a transaction without the one before,
        // one that never was.
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
    #[test]
    fn an_altered_table_is_excused_until_it_is_described_as_it_is_and_no_longer() {
        let mut history = History::new([0; WRITERS], [[(0, 0); TABLES.len()]; WRITERS], Shapes::default());
        let mut commit = |layout: &Layout, altered| {
            history.propose(0, [(0, 0); TABLES.len()], Layouts::from([(2, layout.clone())]), altered)
        };
        let [first, emptied, wider] = [("1", ["a"].as_slice()), ("2", &["a"]), ("2", &["a", "b"])]
            .map(|(file, names)| made_up(file, names));
        let (rewritten, emptied_again) = (made_up("3", &["a", "b"]), made_up("4", &["a", "b"]));
        let untold: Vec<bool> =
            [(&first, true), (&emptied, false), (&wider, true), (&rewritten, true), (&emptied_again, false)]
                .map(|(layout, altered)| !commit(layout, altered).is_empty())
                .into();
        assert_eq!(untold, [true, false, true, true, false]);
        let noticed = |commits: u64, layout: &Layout| {
            let commit = history.at(&marks([commits, 0])).expect("it was committed");
            history.is_noticed(commit, 2, layout)
        };
        // The stream tells of a TRUNCATE, whether the mirror has looked or not.
        assert!(noticed(1, &first) && noticed(2, &first) && noticed(2, &emptied));
        // A column more, and then other values under the same columns.
        assert!(!noticed(3, &emptied) && noticed(3, &wider));
        assert!(!noticed(4, &wider) && noticed(4, &rewritten));
        assert!(!noticed(5, &wider) && noticed(5, &rewritten) && noticed(5, &emptied_again));
        // A column that came and went.
        let gone = Layout { last_attnum: "3".into(), ..emptied_again.clone() };
        assert_eq!(Layout { last_attnum: "2".into(), ..gone.clone() }, emptied_again);
        assert!(!noticed(5, &gone));
        // Ahead of the stream.
        assert!(!noticed(3, &rewritten) && !noticed(2, &wider));
        // What a crash took back.
        assert!(!noticed(5, &made_up("9", &["a", "b"])));
    }
}
