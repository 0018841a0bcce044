//! A type's labels and attributes change without an event: what is compared then, and what not,
//! however deep they lie.

use odoo_mirror::mirror::drift::{Outcome, decide, differs};
use odoo_mirror::mirror::source_table::{Member, SourceTable, SourceType};

use super::mirror::{Mirror, shape};
use super::source::Source;

fn made(kind: char, members: Vec<Member>) -> SourceType {
    SourceType {
        oid: 70_000 + u32::from(kind),
        modifier: -1,
        schema: "public".into(),
        name: format!("made_{kind}"),
        kind,
        formatted: String::new(),
        extension: None,
        element: None,
        base: None,
        members,
    }
}

fn mood(labels: &[(i64, &str)]) -> SourceType {
    let label = |(id, label): &(i64, &str)| Member { id: *id, label: Some((*label).into()), data_type: None };
    made('e', labels.iter().map(label).collect())
}

fn part(id: i64, data_type: SourceType) -> Member {
    Member { id, label: None, data_type: Some(Box::new(data_type)) }
}

/// The places where a type may stand in another.
const PLACES: [fn(SourceType) -> SourceType; 6] = [
    |inner| inner,
    |inner| SourceType { element: Some(Box::new(inner)), ..made('b', vec![]) },
    |inner| SourceType { base: Some(Box::new(inner)), ..made('d', vec![]) },
    |inner| made('c', vec![part(1, inner)]),
    |inner| made('r', vec![part(0, inner)]),
    |inner| made('m', vec![part(0, made('r', vec![part(0, made('c', vec![part(3, inner)]))]))]),
];

/// What is decided when a column's type was `kept` and is `now`.
fn decided(kept: SourceType, now: SourceType) -> (bool, Outcome) {
    let with = |table: &SourceTable, data_type: SourceType| {
        let mut table = table.clone();
        table.columns.last_mut().expect("it has columns").data_type = data_type;
        table
    };
    let mirror = Mirror::of(&Source::new(false)).expect("it can be mirrored");
    let (kept, now) = (with(&mirror.kept, kept), with(&mirror.kept, now));
    let (here, wanted) = (shape(&kept).expect("a shape"), shape(&now));
    (differs(&kept, &now), decide(&kept, &here, &now, wanted.as_ref(), None))
}

#[test]
fn labels_and_attributes_that_changed_are_compared_wherever_they_lie() {
    let refill = Outcome::Refill("labels or attributes of a type changed".into());
    for place in PLACES {
        let kept = || mood(&[(1, "sad"), (2, "glad")]);
        for (now, expected) in [
            (kept(), (false, Outcome::Same)),
            (mood(&[(1, "blue"), (2, "glad")]), (true, refill.clone())),
            // Exchanged.
            (mood(&[(1, "glad"), (2, "sad")]), (true, refill.clone())),
            (mood(&[(1, "sad"), (2, "glad"), (3, "new")]), (true, Outcome::Compare)),
            (mood(&[(1, "blue"), (2, "glad"), (3, "new")]), (true, refill.clone())),
        ] {
            assert_eq!(decided(place(kept()), place(now)), expected);
        }
        let of = |attributes: &[i64]| {
            let plain = |id: &i64| part(*id, made('b', vec![]));
            made('c', attributes.iter().map(plain).collect())
        };
        for now in [&[1, 2, 3][..], &[1], &[1, 3]] {
            assert_eq!(decided(place(of(&[1, 2])), place(of(now))), (true, refill.clone()));
        }
        assert_eq!(decided(place(of(&[1, 2])), place(of(&[1, 2]))), (false, Outcome::Same));
    }
}
