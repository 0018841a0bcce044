//! Single decisions, each on the smallest history that shows it.

use odoo_mirror::mirror::ddl::{ColumnHere, TableHere};
use odoo_mirror::mirror::drift::{Change, Outcome, decide, differs, is_keyed_alike, only_moved, renames};
use odoo_mirror::mirror::source_table::{LeftOut, SourceTable, WhyLeftOut};
use odoo_mirror::wire::ReplicaIdentity;

use super::mirror::{Decided, Mirror, shape};
use super::ops::Op;
use super::source::{Event, Source};

/// A table that was `before`, after these operations.
fn after(ops: &[Op]) -> (Mirror, Source) {
    let mut source = Source::new(false);
    let mirror = Mirror::of(&source).expect("it can be mirrored");
    ops.iter().for_each(|op| assert!(source.run(op).is_none()));
    (mirror, source)
}

fn outcome(mirror: &Mirror, now: &SourceTable) -> Outcome {
    decide(&mirror.kept, &mirror.shape, now, shape(now).as_ref(), None)
}

#[test]
fn the_usual_changes_are_followed() {
    let cases: &[&[Op]] = &[
        &[Op::Add { name: 3, data_type: 3, default: Some(1) }],
        &[
            Op::Add { name: 3, data_type: 0, default: None },
            Op::Add { name: 4, data_type: 3, default: Some(2) },
        ],
        &[Op::Drop(1)],
        &[Op::Rename(0, 3)],
        &[Op::Rename(0, 3), Op::Add { name: 0, data_type: 3, default: Some(2) }],
        &[Op::Exchange(0, 1)],
        &[Op::Retype(0, 1)],
        &[Op::Retype(0, 1), Op::Retype(0, 2), Op::Retype(0, 3)],
        &[Op::Retype(2, 5)],
        &[Op::Drop(0), Op::Retype(0, 1), Op::Rename(1, 4)],
        &[Op::Exclude(1)],
    ];
    for case in cases {
        for written in [false, true] {
            let (mut mirror, source) = after(case);
            let relation = source.relation();
            if written && mirror.fits(&relation) {
                continue;
            }
            let now = source.catalog();
            let decided = mirror.decide(&now, written.then_some(&relation));
            assert_eq!(decided, Decided::Followed, "{case:?} {written}");
            assert_eq!(mirror.rows, source.published(), "{case:?}");
        }
    }
}

#[test]
fn each_step_of_several_is_followed_where_the_stream_stands() {
    let mut source = Source::new(false);
    let mut mirror = Mirror::of(&source).expect("it can be mirrored");
    let steps = [
        Op::Add { name: 3, data_type: 3, default: Some(1) },
        Op::Write(1, 9),
        Op::Add { name: 4, data_type: 3, default: Some(2) },
        Op::Write(2, 9),
    ];
    let events: Vec<Event> = steps.iter().filter_map(|op| source.run(op)).collect();
    let now = source.catalog();
    for event in events {
        assert_eq!(mirror.decide(&now, Some(&event.relation)), Decided::Followed);
        mirror.apply(&event);
    }
    assert_eq!(mirror.rows, source.published());
}

#[test]
fn what_only_rows_can_tell_is_compared() {
    let cases: &[&[Op]] = &[
        &[Op::Rewrite(0)],
        &[Op::Drop(2), Op::Add { name: 2, data_type: 0, default: None }],
        &[
            Op::Add { name: 3, data_type: 0, default: None },
            Op::Drop(3),
            Op::Add { name: 3, data_type: 0, default: Some(1) },
        ],
        &[Op::Vacuum, Op::Add { name: 3, data_type: 0, default: None }],
        // It left the publication and came back: nothing else tells.
        &[Op::Unpublished(1, 9)],
        &[Op::Retype(2, 6)],
        &[Op::Retype(2, 8)],
        &[Op::Key(0, 2)],
        &[Op::Identity(2)],
        &[Op::Filter(2)],
        &[Op::List(0)],
        &[Op::AddComputed { name: 3, generated: true }, Op::DropExpression(3)],
        &[Op::Recreate],
    ];
    for case in cases {
        let (mirror, source) = after(case);
        let outcome = outcome(&mirror, &source.catalog());
        assert!(matches!(outcome, Outcome::Refill(_)), "{case:?}: {outcome:?}");
    }
    let (mirror, source) = after(&[Op::Vacuum]);
    assert_eq!(outcome(&mirror, &source.catalog()), Outcome::Compare);
}

#[test]
fn a_table_that_only_lies_in_another_file_is_told_from_one_that_was_rewritten_by_an_alter() {
    let only_moved_after = |ops: &[Op]| {
        let (mirror, source) = after(ops);
        only_moved(&mirror.kept, &source.catalog())
    };
    assert!(only_moved_after(&[Op::Vacuum]) && only_moved_after(&[Op::Vacuum, Op::Vacuum]));
    assert!(!only_moved_after(&[]));
    assert!(!only_moved_after(&[Op::Rewrite(0)]));
    assert!(!only_moved_after(&[Op::Vacuum, Op::Add { name: 3, data_type: 0, default: None }]));
}

#[test]
fn the_value_of_old_rows_is_not_known_of_a_column_added_to_a_partitioned_table() {
    let mut source = Source::new(true);
    let mirror = Mirror::of(&source).expect("it can be mirrored");
    source.run(&Op::Add { name: 3, data_type: 3, default: Some(1) });
    let reason = format!("column {} was added to a partitioned table", super::source::NAMES[3]);
    assert_eq!(outcome(&mirror, &source.catalog()), Outcome::Refill(reason));
}

#[test]
fn a_row_filter_that_changed_is_named_as_the_reason() {
    let (mirror, source) = after(&[Op::Filter(2)]);
    let reason = "the publication's row filter changed".to_owned();
    assert_eq!(outcome(&mirror, &source.catalog()), Outcome::Refill(reason));
}

#[test]
fn a_key_that_was_made_anew_is_noticed_where_the_stream_tells_no_key() {
    let (mut mirror, source) = after(&[]);
    let mut now = source.catalog();
    (mirror.kept.replica_identity, mirror.kept.key_index) = ('f', 1);
    (now.replica_identity, now.key_index) = ('f', 1);
    let seen = |now: &SourceTable| is_keyed_alike(&mirror.kept, &mirror.shape, std::slice::from_ref(now));
    assert!(!differs(&mirror.kept, &now) && seen(&now));
    now.key_index = 2;
    assert!(differs(&mirror.kept, &now) && !seen(&now));
    assert_eq!(outcome(&mirror, &now), Outcome::Refill("the table's key was made anew".to_owned()));
    // That the identity itself is another one is told otherwise.
    now.replica_identity = 'd';
    now.key_index = 0;
    assert!(!matches!(outcome(&mirror, &now), Outcome::Refill(_)), "{:?}", outcome(&mirror, &now));
}

#[test]
fn a_column_that_is_mirrored_from_now_on_is_compared_though_it_was_there_before() {
    let mut source = Source::new(false);
    source.run(&Op::Exclude(0));
    let mirror = Mirror::of(&source).expect("it can be mirrored");
    source.run(&Op::Exclude(0));
    let reason = "column a is mirrored from now on".to_owned();
    assert_eq!(outcome(&mirror, &source.catalog()), Outcome::Refill(reason));
}

#[test]
fn a_value_that_is_stored_alike_and_written_otherwise_is_compared() {
    let mut source = Source::new(false);
    source.run(&Op::Add { name: 3, data_type: 15, default: Some(1) });
    let mirror = Mirror::of(&source).expect("it can be mirrored");
    source.run(&Op::Retype(3, 16));
    let reason = format!("column {} changed its type", super::source::NAMES[3]);
    assert_eq!(outcome(&mirror, &source.catalog()), Outcome::Refill(reason));
}

#[test]
fn an_identity_that_was_another_one_where_the_stream_stands_is_compared() {
    let source = Source::new(false);
    let Mirror { kept, shape: kept_shape, .. } = Mirror::of(&source).expect("it can be mirrored");
    let mut relation = source.relation();
    // For a moment, another unique index was the identity.
    relation.replica_identity = ReplicaIdentity::Index;
    let key = relation.columns.iter().position(|column| column.key).unwrap();
    relation.columns[key].key = false;
    relation.columns[(key + 1) % 4].key = true;
    let outcome = decide(&kept, &kept_shape, &kept, Ok(&kept_shape), Some(&relation));
    assert_eq!(outcome, Outcome::Refill("the source's catalog is ahead of the stream".to_owned()));
}

fn here(names: &[&str]) -> TableHere {
    let column = |name: &&str| ColumnHere {
        name: (*name).to_owned(),
        sql_type: "text".into(),
        not_null: false,
        adorned: false,
    };
    TableHere { columns: names.iter().map(column).collect(), key: None }
}

#[test]
fn a_column_keeps_its_name_here_where_its_new_one_is_not_free() {
    let rename = |from: &str, to: &str| Change::Rename { from: from.into(), to: to.into() };
    // c is dropped, b takes its name, and a takes b's.
    let (mirror, source) = after(&[Op::Drop(2), Op::Rename(1, 2), Op::Rename(0, 1)]);
    let now = source.catalog();
    assert_eq!(renames(&mirror.kept, &now, &here(&["id", "a", "b", "c"])), []);
    // Somebody dropped columns here.
    assert_eq!(renames(&mirror.kept, &now, &here(&["id", "a", "b"])), [rename("a", "b"), rename("b", "c")]);
    assert_eq!(renames(&mirror.kept, &now, &here(&["id", "a", "c"])), [rename("a", "b")]);
    assert_eq!(renames(&mirror.kept, &now, &here(&["id", "b"])), [rename("b", "c")]);
}

#[test]
fn each_thing_that_the_mirror_must_know_of_makes_a_difference() {
    let (mirror, source) = after(&[]);
    let kept = &mirror.kept;
    assert!(!differs(kept, &source.catalog()));
    let change = |change: fn(&mut SourceTable)| {
        let mut now = kept.clone();
        change(&mut now);
        assert!(differs(kept, &now), "{now:?}");
        now
    };
    change(|now| now.oid += 1);
    change(|now| now.kind = 'p');
    change(|now| now.replica_identity = 'f');
    change(|now| now.via_root = !now.via_root);
    change(|now| now.last_attnum += 1);
    change(|now| now.row_filter = Some("true".into()));
    change(|now| now.published_as.push('x'));
    change(|now| now.published_in.push('x'));
    change(|now| now.publishes.truncate = !now.publishes.truncate);
    change(|now| now.primary_key.push("x".into()));
    change(|now| now.identity_key.push("x".into()));
    change(|now| now.leaf_key.push("x".into()));
    change(|now| {
        let why = WhyLeftOut::Configuration;
        now.left_out.push(LeftOut { attnum: 99, column: "x".into(), why });
    });
    change(|now| drop(now.columns.pop()));
    change(|now| now.columns[0].name.push('x'));
    change(|now| now.columns[0].data_type.oid += 1);
    let moved = change(|now| now.files.iter_mut().for_each(|(_, file)| *file += 1));
    assert!(only_moved(kept, &moved));
    // Another leaf, and a description that was written with it: more than another file.
    let leaf = change(|now| now.files.push((99, 99)));
    assert!(!only_moved(kept, &leaf));
    let mut written = moved.clone();
    written.columns[0].stamp.push('x');
    assert!(!only_moved(kept, &written));
    let mut altered = moved;
    altered.row_filter = Some("true".into());
    assert!(!only_moved(kept, &altered) && !only_moved(kept, kept));
}

/// Where the stream brought another Relation, ALTER TABLE was at work, and not VACUUM FULL.
#[test]
fn another_file_under_another_relation_is_a_rewrite() {
    let (mirror, source) = after(&[]);
    let mut now = source.catalog();
    now.files.iter_mut().for_each(|(_, file)| *file += 1);
    let decided = |relation| decide(&mirror.kept, &mirror.shape, &now, shape(&now).as_ref(), relation);
    assert_eq!(decided(None), Outcome::Compare);
    let relation = source.relation();
    assert_eq!(decided(Some(&relation)), Outcome::Refill("the table was rewritten".to_owned()));
}
