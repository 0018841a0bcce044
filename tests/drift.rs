//! The decision about drift, against a model of a source whose tables change at random while rows are written: whatever it
//! says needs no comparing must leave the mirror equal to the source. Any other answer is right too, and counted.

use odoo_mirror::mirror::ddl;
use odoo_mirror::mirror::drift::{Change, Outcome, decide, differs, only_moved};
use odoo_mirror::mirror::shape::MirrorShape;
use odoo_mirror::mirror::source_table::{
    LeftOut, Publishes, SourceColumn, SourceTable, SourceType, WhyLeftOut,
};
use odoo_mirror::mirror::typemap::TypeHere;
use odoo_mirror::wire::{Relation, RelationColumn, ReplicaIdentity};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A column's type: a name and a modifier, of which a greater one is wider.
type Type = (&'static str, i32);

const TYPES: [Type; 4] = [("varchar", 14), ("varchar", 24), ("varchar", -1), ("text", -1)];

#[derive(Clone, Debug)]
struct Column {
    attnum: i16,
    name: String,
    data_type: Type,
    value_before: Option<String>,
}

/// A table of the source: its rows hold values by attnum.
#[derive(Clone, Debug)]
struct Source {
    columns: Vec<Column>,
    last_attnum: i16,
    file: u32,
    stamp: u32,
    rows: BTreeMap<u8, BTreeMap<i16, Option<String>>>,
    /// Names that are left out here by configuration, though they are streamed.
    excluded: BTreeSet<&'static str>,
}

/// What the stream brings: a whole row under its Relation, or that it is gone.
#[derive(Clone, Debug)]
struct Event {
    relation: Relation,
    id: u8,
    row: Option<Vec<Option<String>>>,
}

#[derive(Clone, Debug)]
enum Op {
    Write(u8, u8),
    Delete(u8),
    Add {
        name: usize,
        data_type: usize,
        default: Option<u8>,
    },
    Drop(usize),
    Rename(usize, usize),
    Exchange(usize, usize),
    Widen(usize),
    /// All values of a column change, without a row in the stream.
    Rewrite(usize),
    /// The file changes, and no value.
    Vacuum,
    Exclude(usize),
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

impl Source {
    fn new() -> Source {
        let column = |attnum: i16, name: &str| Column {
            attnum,
            name: name.to_owned(),
            data_type: TYPES[0],
            value_before: None,
        };
        let mut source = Source {
            columns: vec![column(2, "a"), column(3, "b"), column(4, "c")],
            last_attnum: 4,
            file: 1,
            stamp: 1,
            rows: BTreeMap::new(),
            excluded: BTreeSet::new(),
        };
        for id in 0..6 {
            source.write(id, id);
        }
        source
    }

    fn write(&mut self, id: u8, value: u8) -> Event {
        let values =
            self.columns.iter().map(|column| (column.attnum, Some(format!("{}v{value}", column.attnum))));
        self.rows.insert(id, values.collect());
        Event { relation: self.relation(), id, row: Some(self.streamed(id)) }
    }

    fn streamed(&self, id: u8) -> Vec<Option<String>> {
        let key = Some(id.to_string());
        let values = self.columns.iter().map(|column| self.value(id, column));
        std::iter::once(key).chain(values).collect()
    }

    fn value(&self, id: u8, column: &Column) -> Option<String> {
        match self.rows[&id].get(&column.attnum) {
            Some(value) => value.clone(),
            None => column.value_before.clone(),
        }
    }

    fn free(&self, name: usize) -> Option<String> {
        let name = NAMES[name % NAMES.len()];
        self.columns.iter().all(|column| column.name != name).then(|| name.to_owned())
    }

    fn at(&mut self, place: usize) -> Option<&mut Column> {
        let count = self.columns.len();
        self.columns.get_mut(place.checked_rem(count)?)
    }

    fn run(&mut self, op: &Op) -> Option<Event> {
        match *op {
            Op::Write(id, value) => return Some(self.write(id % 8, value)),
            Op::Delete(id) => {
                let id = id % 8;
                self.rows.remove(&id)?;
                return Some(Event { relation: self.relation(), id, row: None });
            }
            Op::Add { name, data_type, default } => {
                let name = self.free(name)?;
                self.last_attnum += 1;
                self.columns.push(Column {
                    attnum: self.last_attnum,
                    name,
                    data_type: TYPES[data_type % TYPES.len()],
                    value_before: default.map(|default| format!("default {default}")),
                });
            }
            Op::Drop(place) => {
                let count = self.columns.len();
                (count > 1).then(|| self.columns.remove(place % count))?;
            }
            Op::Rename(place, name) => {
                let name = self.free(name)?;
                self.at(place)?.name = name;
            }
            Op::Exchange(a, b) => {
                let (a, b) = (a % self.columns.len(), b % self.columns.len());
                let (one, other) = (self.columns[a].name.clone(), self.columns[b].name.clone());
                (self.columns[a].name, self.columns[b].name) = (other, one);
            }
            Op::Widen(place) => {
                let column = self.at(place)?;
                let place = TYPES.iter().position(|data_type| *data_type == column.data_type)?;
                column.data_type = *TYPES.get(place + 1)?;
            }
            Op::Rewrite(place) => {
                self.file += 1;
                self.stamp += 1;
                let ids: Vec<u8> = self.rows.keys().copied().collect();
                for column in self.columns.clone() {
                    for id in &ids {
                        let value = self.value(*id, &column);
                        self.rows.get_mut(id)?.insert(column.attnum, value);
                    }
                }
                self.columns.iter_mut().for_each(|column| column.value_before = None);
                let attnum = self.at(place)?.attnum;
                for row in self.rows.values_mut() {
                    row.insert(attnum, Some("rewritten".to_owned()));
                }
            }
            Op::Vacuum => self.file += 1,
            Op::Exclude(name) => {
                let name = NAMES[name % NAMES.len()];
                if !self.excluded.remove(name) {
                    self.excluded.insert(name);
                }
            }
        }
        None
    }

    fn mirrors(&self, column: &Column) -> bool {
        !self.excluded.contains(column.name.as_str())
    }

    /// What the catalog says.
    fn catalog(&self) -> SourceTable {
        let data_type = |(name, modifier): Type| SourceType {
            oid: if name == "text" { 25 } else { 1043 },
            modifier,
            schema: "pg_catalog".into(),
            name: name.into(),
            kind: 'b',
            formatted: match (name, modifier) {
                ("varchar", -1) => "character varying".into(),
                ("varchar", modifier) => format!("character varying({})", modifier - 4),
                _ => name.into(),
            },
            suffix: String::new(),
            element: None,
            base: None,
        };
        let column = |attnum, name: &str, data_type: SourceType, value: &Option<String>| SourceColumn {
            attnum,
            name: name.to_owned(),
            data_type,
            not_null: attnum == 1,
            deterministic: Some(true),
            constant_default: value.clone(),
            stamp: self.stamp.to_string(),
        };
        let id = SourceType {
            oid: 23,
            name: "int4".into(),
            formatted: "integer".into(),
            ..data_type(("text", -1))
        };
        let mirrored = self.columns.iter().filter(|column| self.mirrors(column));
        let mirrored =
            mirrored.map(|one| column(one.attnum, &one.name, data_type(one.data_type), &one.value_before));
        let excluded = self.columns.iter().filter(|column| !self.mirrors(column));
        SourceTable {
            oid: 7,
            schema: "public".into(),
            name: "t".into(),
            kind: 'r',
            replica_identity: 'd',
            columns: std::iter::once(column(1, "id", id, &None)).chain(mirrored).collect(),
            left_out: excluded
                .map(|column| LeftOut {
                    attnum: column.attnum,
                    column: column.name.clone(),
                    why: WhyLeftOut::Configuration,
                })
                .collect(),
            primary_key: vec!["id".into()],
            identity_key: Vec::new(),
            row_filter: None,
            estimated_rows: 0,
            bytes: 0,
            row_security: false,
            publishes: Publishes { insert: true, update: true, delete: true, truncate: true },
            via_root: false,
            last_attnum: self.last_attnum,
            files: vec![(7, self.file)],
            published_as: String::new(),
            seen: String::new(),
        }
    }

    fn relation(&self) -> Relation {
        let column = |name: &str, type_id, type_modifier, key| RelationColumn {
            key,
            name: name.to_owned(),
            type_id,
            type_modifier,
        };
        let columns = self.columns.iter().map(|one| {
            column(&one.name, if one.data_type.0 == "text" { 25 } else { 1043 }, one.data_type.1, false)
        });
        Relation {
            id: 7,
            schema: "public".into(),
            name: "t".into(),
            replica_identity: ReplicaIdentity::Default,
            columns: std::iter::once(column("id", 23, -1, true)).chain(columns).collect(),
        }
    }
}

fn shape(table: &SourceTable) -> MirrorShape {
    let here = |_: &str, name: &str| Some(TypeHere { formatted: name.to_owned(), kind: 'b', base: None });
    MirrorShape::of(table, &here).expect("it can be mirrored")
}

/// The mirror: rows by column name.
struct Mirror {
    kept: SourceTable,
    shape: MirrorShape,
    rows: BTreeMap<u8, BTreeMap<String, Option<String>>>,
}

/// The rows must be compared.
struct Compared;

impl Mirror {
    fn of(source: &Source) -> Mirror {
        let kept = source.catalog();
        let mut mirror = Mirror { shape: shape(&kept), kept, rows: BTreeMap::new() };
        mirror.rows = rows(source);
        mirror
    }

    fn columns(&self) -> Vec<&SourceColumn> {
        self.kept.columns.iter().filter(|column| column.name != "id").collect()
    }

    /// As `StreamTable::layout` has it: names and types in the columns' own order, excluded ones ignored.
    fn fits(&self, relation: &Relation) -> bool {
        let left_out = |name: &String| self.kept.left_out.iter().any(|left_out| left_out.column == *name);
        let mirrored = |name: &String| self.kept.columns.iter().any(|column| column.name == *name);
        let carried: Vec<_> = relation
            .columns
            .iter()
            .filter(|column| mirrored(&column.name) || !left_out(&column.name))
            .map(|column| (&column.name, column.type_id, column.type_modifier))
            .collect();
        let wanted: Vec<_> = self
            .kept
            .columns
            .iter()
            .map(|column| (&column.name, column.data_type.oid, column.data_type.modifier))
            .collect();
        carried == wanted
    }

    fn apply(&mut self, event: &Event) {
        let Some(row) = &event.row else {
            self.rows.remove(&event.id);
            return;
        };
        let named = event.relation.columns.iter().zip(row);
        let known = |name: &String| self.columns().iter().any(|column| column.name == *name);
        let row = named
            .filter(|(column, _)| known(&column.name))
            .map(|(column, value)| (column.name.clone(), value.clone()))
            .collect();
        self.rows.insert(event.id, row);
    }

    fn decide(&mut self, now: &SourceTable, relation: Option<&Relation>) -> Result<bool, Compared> {
        match decide(&self.kept, &self.shape, now, Ok(&shape(now)), relation) {
            Outcome::Same => {
                assert!(!differs(&self.kept, now));
                Ok(false)
            }
            Outcome::Follow { changes, becomes } => {
                assert_eq!(ddl::follow("t", &changes).is_empty(), changes.is_empty());
                for row in self.rows.values_mut() {
                    follow(row, &changes);
                }
                self.shape = shape(&becomes);
                self.kept = *becomes;
                let mut names: Vec<&str> = self.columns().iter().map(|column| column.name.as_str()).collect();
                names.sort_unstable();
                for row in self.rows.values() {
                    assert_eq!(row.keys().map(String::as_str).collect::<Vec<_>>(), names);
                }
                Ok(true)
            }
            Outcome::Compare | Outcome::Refill(_) => Err(Compared),
            Outcome::Fail { reason, .. } => panic!("{reason}"),
        }
    }
}

fn follow(row: &mut BTreeMap<String, Option<String>>, changes: &[Change]) {
    let mut renamed = Vec::new();
    for change in changes {
        match change {
            Change::Drop { column } => assert!(row.remove(column).is_some()),
            Change::Rename { from, to } => renamed.push((to.clone(), row.remove(from).expect("it is there"))),
            Change::Retype { column, .. } => {
                assert!(row.contains_key(column) || renamed.iter().any(|(to, _)| to == column))
            }
            Change::Add { column, value } => renamed.push((column.name.clone(), value.clone())),
        }
    }
    for (name, value) in renamed {
        assert!(row.insert(name, value).is_none(), "two columns have one name");
    }
}

fn rows(source: &Source) -> BTreeMap<u8, BTreeMap<String, Option<String>>> {
    let of = |id: &u8| {
        let mirrored = source.columns.iter().filter(|column| source.mirrors(column));
        (*id, mirrored.map(|column| (column.name.clone(), source.value(*id, column))).collect())
    };
    source.rows.keys().map(of).collect()
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (any::<u8>(), any::<u8>()).prop_map(|(id, value)| Op::Write(id, value)),
        2 => any::<u8>().prop_map(Op::Delete),
        3 => (0..5usize, 0..4usize, proptest::option::of(any::<u8>())).prop_map(|(name, data_type, default)| Op::Add { name, data_type, default }),
        2 => (0..5usize).prop_map(Op::Drop),
        2 => (0..5usize, 0..5usize).prop_map(|(place, name)| Op::Rename(place, name)),
        1 => (0..5usize, 0..5usize).prop_map(|(a, b)| Op::Exchange(a, b)),
        2 => (0..5usize).prop_map(Op::Widen),
        1 => (0..5usize).prop_map(Op::Rewrite),
        1 => Just(Op::Vacuum),
        1 => (0..5usize).prop_map(Op::Exclude),
    ];
    proptest::collection::vec(op, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// The stream lags behind the catalog by some operations, as chance has it; where it doesn't fit, the catalog is asked.
    #[test]
    fn what_is_followed_without_comparing_is_equal(ops in ops(), lags in proptest::collection::vec(0..6usize, 14)) {
        let mut source = Source::new();
        let mut mirror = Mirror::of(&source);
        // The catalog after each operation, and the event that it sent.
        let mut history = Vec::new();
        for op in &ops {
            let event = source.run(op);
            history.push((event, source.catalog()));
        }
        for (place, (event, _)) in history.iter().enumerate() {
            let Some(event) = event else { continue };
            if !mirror.fits(&event.relation) {
                let seen = (place + lags[place]).min(history.len() - 1);
                if mirror.decide(&history[seen].1, Some(&event.relation)).is_err() {
                    return Ok(());
                }
                prop_assert!(mirror.fits(&event.relation), "{:?} {:?}", mirror.kept, event.relation);
            }
            mirror.apply(event);
        }
        let last = source.catalog();
        if mirror.decide(&last, None).is_err() {
            return Ok(());
        }
        prop_assert_eq!(&mirror.rows, &rows(&source));
        prop_assert!(!differs(&mirror.kept, &last));
    }

    /// The catalog is asked without a change that doesn't fit: what was passed fitted, and it still says the same.
    #[test]
    fn what_a_look_shows_is_followed_equally(ops in ops(), look in 0..14usize, stood in 0..14usize) {
        let mut source = Source::new();
        let mut mirror = Mirror::of(&source);
        let mut states = vec![source.clone()];
        let mut events = Vec::new();
        for op in &ops {
            events.push(source.run(op));
            states.push(source.clone());
        }
        // The look comes first, then the stream stands still past it, then the second look.
        let look = look.min(ops.len());
        let stood = (look + stood).min(ops.len());
        for event in events[..stood].iter().flatten() {
            if !mirror.fits(&event.relation) {
                return Ok(());
            }
            mirror.apply(event);
        }
        for second in stood..states.len() {
            let (first, second) = (states[look].catalog(), states[second].catalog());
            if differs(&first, &second) {
                break;
            }
            let mut mirror = Mirror { kept: mirror.kept.clone(), shape: mirror.shape.clone(), rows: mirror.rows.clone() };
            if mirror.decide(&second, None).is_ok() {
                prop_assert_eq!(&mirror.rows, &rows(&states[stood]));
            }
        }
    }
}

/// So that the above isn't satisfied by comparing all the time.
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
        &[Op::Exchange(0, 2)],
        &[Op::Widen(0)],
        &[Op::Widen(0), Op::Widen(0), Op::Widen(0)],
        &[Op::Drop(0), Op::Widen(0), Op::Rename(1, 4)],
        &[Op::Exclude(1)],
    ];
    for case in cases {
        for written in [false, true] {
            let mut source = Source::new();
            let mut mirror = Mirror::of(&source);
            case.iter().for_each(|op| assert!(source.run(op).is_none()));
            let relation = source.relation();
            if written && mirror.fits(&relation) {
                continue;
            }
            let now = source.catalog();
            let followed = mirror.decide(&now, written.then_some(&relation));
            assert!(matches!(followed, Ok(true)), "{case:?} {written}");
            assert_eq!(mirror.rows, rows(&source), "{case:?}");
        }
    }
}

#[test]
fn each_step_of_several_is_followed_where_the_stream_stands() {
    let mut source = Source::new();
    let mut mirror = Mirror::of(&source);
    let steps = [
        Op::Add { name: 3, data_type: 3, default: Some(1) },
        Op::Write(1, 9),
        Op::Add { name: 4, data_type: 3, default: Some(2) },
        Op::Write(2, 9),
    ];
    let events: Vec<Event> = steps.iter().filter_map(|op| source.run(op)).collect();
    let now = source.catalog();
    for event in events {
        assert!(matches!(mirror.decide(&now, Some(&event.relation)), Ok(true)));
        mirror.apply(&event);
    }
    assert_eq!(mirror.rows, rows(&source));
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
    ];
    for case in cases {
        let mut source = Source::new();
        let mirror = Mirror::of(&source);
        case.iter().for_each(|op| assert!(source.run(op).is_none()));
        let now = source.catalog();
        let outcome = decide(&mirror.kept, &mirror.shape, &now, Ok(&shape(&now)), None);
        assert!(matches!(outcome, Outcome::Refill(_)), "{case:?}: {outcome:?}");
    }
    // It left the publication and came back: nothing else tells.
    let source = Source::new();
    let mirror = Mirror::of(&source);
    let now = SourceTable { published_as: "another".into(), ..source.catalog() };
    let outcome = decide(&mirror.kept, &mirror.shape, &now, Ok(&shape(&now)), None);
    assert!(matches!(outcome, Outcome::Refill(_)), "{outcome:?}");
    let mut source = Source::new();
    let mirror = Mirror::of(&source);
    source.run(&Op::Vacuum);
    let now = source.catalog();
    assert_eq!(decide(&mirror.kept, &mirror.shape, &now, Ok(&shape(&now)), None), Outcome::Compare);
}

#[test]
fn a_table_that_only_lies_in_another_file_is_told_from_one_that_was_rewritten_by_an_alter() {
    let after = |ops: &[Op]| {
        let mut source = Source::new();
        let kept = Mirror::of(&source).kept;
        ops.iter().for_each(|op| assert!(source.run(op).is_none()));
        only_moved(&kept, &source.catalog())
    };
    assert!(after(&[Op::Vacuum]) && after(&[Op::Vacuum, Op::Vacuum]));
    assert!(!after(&[]));
    assert!(!after(&[Op::Vacuum, Op::Add { name: 3, data_type: 0, default: None }]));
    // The same columns of the same types, and other values.
    let source = Source::new();
    let (kept, mut now) = (Mirror::of(&source).kept, source.catalog());
    now.files = vec![(1, 999)];
    now.columns[0].stamp = "later".into();
    assert!(!only_moved(&SourceTable { files: vec![(1, 1)], ..kept }, &now));
}
