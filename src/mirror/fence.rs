//! The fence: what a table's rows, read on the source under a snapshot, can prove of the mirror's
//! rows, while the stream goes on.
//!
//! The mirror stands at some source commit; the snapshot S sees some transactions that the mirror
//! hasn't applied, or doesn't see some that it has. Once the stream has passed every commit that S
//! sees, only the second kind is left, and each row that none of those touched must be as S shows
//! it. So what the stream touches is recorded, with the transaction that did, from before S was
//! taken. What was passed before recording began must be visible in S.

use std::collections::HashMap;

use super::ranges::KeyRange;
use super::snapshot::Snapshot;

/// A row's key: its columns as text, in key order.
pub type RowKey = Vec<String>;

/// A row's hash, twice, under different seeds.
pub type RowHash = (i64, i64);

/// Transactions that the stream has passed, and that no snapshot is known to have seen yet.
#[derive(Debug, Default)]
pub struct Passed {
    xids: Vec<u64>,
}

impl Passed {
    pub fn add(&mut self, xids: impl IntoIterator<Item = u64>) {
        self.xids.extend(xids);
    }

    /// What one snapshot saw, all later ones see.
    pub fn forget(&mut self, snapshot: &Snapshot) {
        self.xids.retain(|xid| !snapshot.sees(*xid));
    }

    pub fn xids(&self) -> &[u64] {
        &self.xids
    }
}

/// What a transaction did to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// It set all columns, or took the row away: here it is as on the source, whatever was here
    /// before.
    Whole,
    /// It left some columns as they were: they are right if they were right before.
    Part,
}

/// More touches than this are not kept one by one.
const MOST_TOUCHES: usize = 200_000;

/// What the stream did to one table since recording began.
#[derive(Debug, Default)]
pub struct Record {
    touches: HashMap<RowKey, Vec<(u64, Touch)>>,
    count: usize,
    /// A snapshot that doesn't see all of these proves nothing.
    must_see: Vec<u64>,
    /// The table was emptied, or its rows can't be told apart: everything was touched.
    all: Vec<u64>,
}

/// What became of a row since the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Nothing: it must be as the snapshot shows it.
    Untouched,
    /// The stream set all of it: it is as on the source, but not as in the snapshot.
    Overwritten,
    /// The stream changed a part of it: this snapshot can't tell.
    Changed,
}

impl Record {
    /// Begins where the stream has passed these transactions, not known to be visible; `earlier`
    /// may have been passed, too.
    pub fn begin(passed: &Passed, earlier: &[u64]) -> Record {
        Record { must_see: [&passed.xids, earlier].concat(), ..Record::default() }
    }

    pub fn touch(&mut self, key: RowKey, xid: u64, touch: Touch) {
        if self.count >= MOST_TOUCHES {
            // As if recording began only now.
            self.must_see.extend(self.touches.drain().flat_map(|(_, touches)| touches).map(|(xid, _)| xid));
            self.must_see.sort_unstable();
            self.must_see.dedup();
            self.count = 0;
        }
        self.count += 1;
        self.touches.entry(key).or_default().push((xid, touch));
    }

    /// The transaction emptied the table, or changed a table without a key.
    pub fn touch_all(&mut self, xid: u64) {
        if self.all.last() != Some(&xid) {
            self.all.push(xid);
        }
    }

    /// The destination refused what the stream did last to this row, so that it isn't as on the
    /// source: no earlier touch proves it.
    pub fn refused(&mut self, key: &[String]) {
        if let Some(touches) = self.touches.get_mut(key) {
            touches.iter_mut().for_each(|(_, touch)| *touch = Touch::Part);
        }
    }

    /// What it says of these rows by now.
    pub fn of(&self, keys: &[RowKey]) -> Record {
        let touches = keys.iter().filter_map(|key| self.touches.get_key_value(key));
        Record {
            touches: touches.map(|(key, touches)| (key.clone(), touches.clone())).collect(),
            ..Record::default()
        }
    }

    /// What a snapshot must see to prove anything.
    pub fn must_see(&self) -> &[u64] {
        &self.must_see
    }

    /// The snapshot is the one that counts from now on: what it sees need not be recorded any more.
    pub fn forget(&mut self, snapshot: &Snapshot) {
        self.must_see.retain(|xid| !snapshot.sees(*xid));
        self.all.retain(|xid| !snapshot.sees(*xid));
        self.touches.retain(|_, touches| {
            touches.retain(|(xid, _)| !snapshot.sees(*xid));
            !touches.is_empty()
        });
        self.count = self.touches.values().map(Vec::len).sum();
    }

    /// Whether the last snapshot given to [`forget`](Self::forget) proves nothing any more.
    pub fn is_void(&self) -> bool {
        !self.must_see.is_empty() || !self.all.is_empty()
    }

    /// What became of a row since that snapshot.
    pub fn since(&self, key: &[String]) -> Since {
        match self.touches.get(key) {
            None => Since::Untouched,
            Some(touches) if touches.iter().any(|(_, touch)| *touch == Touch::Whole) => Since::Overwritten,
            Some(_) => Since::Changed,
        }
    }

    /// Whether nothing in these keys was touched since that snapshot; where integers of the first
    /// column bound them, from `lo` up to `hi`.
    pub fn is_quiet(&self, lo: Option<i64>, hi: Option<i64>) -> bool {
        let range = KeyRange { lo, hi };
        let inside = |key: &RowKey| {
            let first = key.first().and_then(|first| first.parse().ok());
            range == KeyRange::ALL || first.is_none_or(|first| range.contains(first))
        };
        self.all.is_empty() && !self.touches.keys().any(inside)
    }
}

/// What comparing a chunk's rows showed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compared {
    pub equal: u64,
    /// The stream set them meanwhile.
    pub overwritten: u64,
    /// Missing or different here: to be fetched.
    pub wrong: Vec<RowKey>,
    /// Here, and not on the source.
    pub extra: Vec<RowKey>,
    /// Not to be told by this snapshot: to be compared again.
    pub again: Vec<RowKey>,
}

/// Compares a chunk's rows under the snapshot with the rows here, at a position past every commit
/// that it sees.
pub fn compare(source: &[(RowKey, RowHash)], here: &[(RowKey, RowHash)], record: &Record) -> Compared {
    let mut compared = Compared::default();
    let mut left: HashMap<&RowKey, RowHash> = here.iter().map(|(key, hash)| (key, *hash)).collect();
    for (key, hash) in source {
        let found = left.remove(key);
        match record.since(key) {
            Since::Overwritten => compared.overwritten += 1,
            Since::Changed => compared.again.push(key.clone()),
            Since::Untouched if found == Some(*hash) => compared.equal += 1,
            Since::Untouched => compared.wrong.push(key.clone()),
        }
    }
    for (key, _) in here.iter().filter(|(key, _)| left.contains_key(key)) {
        match record.since(key) {
            Since::Overwritten => compared.overwritten += 1,
            Since::Changed => compared.again.push(key.clone()),
            Since::Untouched => compared.extra.push(key.clone()),
        }
    }
    compared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> RowKey {
        vec![name.to_owned()]
    }

    fn snapshot(text: &str) -> Snapshot {
        text.parse().expect("a snapshot")
    }

    #[test]
    fn rows_that_nothing_touched_are_as_the_snapshot_shows_them() {
        let record = Record::begin(&Passed::default(), &[]);
        let source = [(key("1"), (1, 1)), (key("2"), (2, 2)), (key("3"), (3, 3))];
        let here = [(key("1"), (1, 1)), (key("2"), (9, 9)), (key("4"), (4, 4))];
        let compared = compare(&source, &here, &record);
        assert_eq!(compared.equal, 1);
        assert_eq!(compared.wrong, [key("2"), key("3")]);
        assert_eq!(compared.extra, [key("4")]);
    }

    #[test]
    fn what_an_invisible_transaction_touched_is_left_out() {
        let mut record = Record::begin(&Passed::default(), &[]);
        record.touch(key("1"), 30, Touch::Part);
        record.touch(key("2"), 30, Touch::Part);
        record.touch(key("2"), 31, Touch::Whole);
        record.touch(key("3"), 12, Touch::Part);
        record.forget(&snapshot("10:20:11"));
        assert_eq!(record.since(&key("1")), Since::Changed);
        assert_eq!(record.since(&key("2")), Since::Overwritten);
        assert_eq!(record.since(&key("3")), Since::Untouched, "the snapshot sees 12");
        let here = [(key("1"), (1, 1)), (key("2"), (1, 1)), (key("3"), (1, 1))];
        let compared = compare(&[], &here, &record);
        assert_eq!((compared.again, compared.extra), (vec![key("1")], vec![key("3")]));
    }

    #[test]
    fn a_row_that_was_refused_is_not_taken_for_overwritten_until_it_is_set_again() {
        let mut record = Record::begin(&Passed::default(), &[]);
        record.touch(key("1"), 30, Touch::Whole);
        record.touch(key("1"), 31, Touch::Whole);
        record.refused(&key("1"));
        assert_eq!(record.since(&key("1")), Since::Changed);
        record.touch(key("1"), 32, Touch::Whole);
        assert_eq!(record.since(&key("1")), Since::Overwritten);
        record.refused(&key("2"));
        assert_eq!(record.since(&key("2")), Since::Untouched);
    }

    #[test]
    fn what_a_record_said_of_some_rows_stays_as_it_was() {
        let mut record = Record::begin(&Passed::default(), &[]);
        record.touch(key("1"), 30, Touch::Part);
        record.touch(key("9"), 30, Touch::Part);
        let then = record.of(&[key("1"), key("2")]);
        record.touch(key("2"), 31, Touch::Part);
        assert_eq!((then.since(&key("1")), then.since(&key("2"))), (Since::Changed, Since::Untouched));
        let source = [(key("1"), (1, 1)), (key("2"), (2, 2))];
        let compared = compare(&source, &source, &then);
        assert_eq!((compared.equal, compared.again), (1, vec![key("1")]));
    }

    #[test]
    fn a_touch_outside_a_range_leaves_the_range_quiet() {
        let mut record = Record::begin(&Passed::default(), &[]);
        record.touch(key("500"), 30, Touch::Part);
        assert!(record.is_quiet(Some(501), None) && record.is_quiet(None, Some(500)));
        assert!(!record.is_quiet(Some(500), Some(501)) && !record.is_quiet(None, None));
    }

    #[test]
    fn a_transaction_passed_before_recording_began_must_be_visible() {
        let mut passed = Passed::default();
        passed.add([11, 15]);
        let mut record = Record::begin(&passed, &[]);
        record.forget(&snapshot("10:20:11"));
        assert!(record.is_void());
        record.forget(&snapshot("12:20:"));
        assert!(!record.is_void());
    }

    #[test]
    fn what_a_snapshot_saw_is_forgotten_of_what_was_passed_and_nothing_else() {
        let mut passed = Passed::default();
        passed.add([9, 11, 15, 20]);
        passed.forget(&snapshot("10:20:11"));
        assert_eq!(passed.xids(), [11, 20]);
    }

    #[test]
    fn a_truncate_that_the_snapshot_does_not_see_voids_it() {
        let mut record = Record::begin(&Passed::default(), &[]);
        record.touch_all(25);
        record.forget(&snapshot("10:20:"));
        assert!(record.is_void());
        record.forget(&snapshot("30:30:"));
        assert!(!record.is_void() && record.is_quiet(None, None));
    }

    #[test]
    fn beyond_its_bound_a_record_asks_for_a_later_snapshot() {
        let mut record = Record::begin(&Passed::default(), &[]);
        for n in 0..=MOST_TOUCHES {
            record.touch(key(&n.to_string()), 40 + (n % 2) as u64, Touch::Part);
        }
        assert_eq!(record.must_see(), [40, 41]);
        assert_eq!(record.count, 1);
        record.forget(&snapshot("50:50:"));
        assert!(!record.is_void() && record.is_quiet(None, None));
        assert_eq!(record.count, 0, "what is forgotten counts no longer");
    }
}
