//! What holds for any history at all. The fuzz target runs this, and so do the tests.

use odoo_mirror::mirror::drift::{Outcome, decide, differs};
use odoo_mirror::mirror::source_table::SourceTable;

use super::mirror::{Decided, Mirror, shape};
use super::ops::Op;
use super::source::Source;

/// How a history ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Equal,
    /// At some point something had to be compared: whatever it is then, nobody takes it for the
    /// source's.
    Compared,
}

/// The table as its mirror is made.
#[derive(Debug, Clone)]
pub struct Start {
    pub partitioned: bool,
    /// What happened to it before.
    pub ops: Vec<Op>,
}

impl Start {
    fn mirrored(&self) -> Option<(Source, Mirror)> {
        let mut source = Source::new(self.partitioned);
        self.ops.iter().for_each(|op| drop(source.run(op)));
        let mirror = Mirror::of(&source)?;
        Some((source, mirror))
    }
}

/// The stream lags behind the catalog by some operations, as chance has it; where it doesn't fit,
/// the catalog is asked.
pub fn lagging(start: &Start, ops: &[Op], lags: &[usize]) -> Ended {
    let Some((mut source, mut mirror)) = start.mirrored() else { return Ended::Compared };
    // The catalog after each operation, and the event that it sent.
    let history: Vec<_> = ops.iter().map(|op| (source.run(op), source.catalog())).collect();
    for (place, (event, _)) in history.iter().enumerate() {
        let Some(event) = event else { continue };
        if !mirror.fits(&event.relation) {
            // A table made anew is another one to the stream.
            if event.relation.id != mirror.kept.oid {
                return Ended::Compared;
            }
            let lag = lags.get(place % lags.len().max(1)).copied().unwrap_or(0);
            let seen = (place + lag).min(history.len() - 1);
            if mirror.decide(&history[seen].1, Some(&event.relation)) == Decided::NotSilent {
                return Ended::Compared;
            }
            assert!(mirror.fits(&event.relation), "{:?} {:?}", mirror.kept, event.relation);
        }
        mirror.apply(event);
    }
    let last = source.catalog();
    if mirror.decide(&last, None) == Decided::NotSilent {
        return Ended::Compared;
    }
    assert_eq!(mirror.rows, source.published());
    assert!(!differs(&mirror.kept, &last));
    assert_eq!(mirror.decide(&last, None), Decided::Same);
    Ended::Equal
}

/// The catalog is asked without a change that doesn't fit: what was passed fitted, and it still
/// says the same.
pub fn looked_at(start: &Start, ops: &[Op], look: usize, stood: usize) -> Ended {
    let Some((mut source, mut mirror)) = start.mirrored() else { return Ended::Compared };
    let mut states = vec![source.clone()];
    let mut events = Vec::new();
    for op in ops {
        events.push(source.run(op));
        states.push(source.clone());
    }
    // The look comes first, then the stream stands still past it, then the second look.
    let look = look.min(ops.len());
    let stood = (look + stood).min(ops.len());
    for event in events[..stood].iter().flatten() {
        if !mirror.fits(&event.relation) {
            return Ended::Compared;
        }
        mirror.apply(event);
    }
    let mut ended = Ended::Compared;
    for second in stood..states.len() {
        let (first, second) = (states[look].catalog(), states[second].catalog());
        if differs(&first, &second) {
            break;
        }
        let mut mirror = mirror.clone();
        if mirror.decide(&second, None) != Decided::NotSilent {
            assert_eq!(mirror.rows, states[stood].published());
            ended = Ended::Equal;
        }
    }
    ended
}

/// A table against itself; what doesn't matter; columns that came and went before the mirror was
/// made.
pub fn unmoved(start: &Start, ops: &[Op]) {
    let Some((mut source, Mirror { kept, shape: kept_shape, .. })) = start.mirrored() else { return };
    assert!(!differs(&kept, &kept));
    assert_eq!(decide(&kept, &kept_shape, &kept, Ok(&kept_shape), None), Outcome::Same);
    let at_change = decide(&kept, &kept_shape, &kept, Ok(&kept_shape), Some(&source.relation()));
    assert_eq!(at_change, Outcome::Follow { changes: Vec::new(), becomes: Box::new(kept.clone()) });
    let now = SourceTable {
        estimated_rows: 7,
        bytes: 8192,
        row_security: true,
        seen: "5:5:".into(),
        ..kept.clone()
    };
    assert_eq!(decide(&kept, &kept_shape, &now, Ok(&kept_shape), None), Outcome::Same);

    ops.iter().for_each(|op| drop(source.run(op)));
    let now = source.catalog();
    let Ok(now_shape) = shape(&now) else { return };
    let outcome = decide(&kept, &kept_shape, &now, Ok(&now_shape), None);
    if differs(&kept, &now) {
        assert_ne!(outcome, Outcome::Same);
    }
    for by in [1, 100] {
        let shifted = decide(&shift(&kept, by), &kept_shape, &shift(&now, by), Ok(&now_shape), None);
        match (&outcome, shifted) {
            (Outcome::Follow { changes, becomes }, Outcome::Follow { changes: others, becomes: other }) => {
                assert_eq!((changes, shift(becomes, by)), (&others, *other));
            }
            (outcome, shifted) => assert_eq!(*outcome, shifted),
        }
    }
}

/// The table as if so many columns had been dropped before all of its own.
fn shift(table: &SourceTable, by: i16) -> SourceTable {
    let mut table = table.clone();
    table.columns.iter_mut().for_each(|column| column.attnum += by);
    table.left_out.iter_mut().for_each(|column| column.attnum += by);
    table.last_attnum += by;
    table
}
