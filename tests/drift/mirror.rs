//! A model of the mirror's table: it runs the very statements that the plan makes, one after the
//! other.

use std::collections::BTreeMap;

use odoo_mirror::mirror::ddl::{self, ColumnHere, KeyHere, Made, TableHere};
use odoo_mirror::mirror::drift::{self, Outcome, decide, differs};
use odoo_mirror::mirror::replica_identity::Identity;
use odoo_mirror::mirror::shape::{MirrorShape, ShapeError};
use odoo_mirror::mirror::source_table::{SourceTable, WhyLeftOut};
use odoo_mirror::mirror::stream_table::{Standing, StreamColumn, StreamTable};
use odoo_mirror::wire::Relation;

use super::source::{Event, Row, Source};
use super::types::{cast_here, here};

#[derive(Clone)]
pub struct Mirror {
    pub kept: SourceTable,
    pub shape: MirrorShape,
    pub table: TableHere,
    pub rows: BTreeMap<u8, Row>,
}

/// What became of a decision.
#[derive(Debug, PartialEq, Eq)]
pub enum Decided {
    Same,
    Followed,
    /// The rows must be compared, or the table is failed: nobody is told that it is as on the
    /// source.
    NotSilent,
}

pub fn shape(table: &SourceTable) -> Result<MirrorShape, ShapeError> {
    MirrorShape::of(table, &here)
}

impl Mirror {
    /// None: the table can't be mirrored.
    pub fn of(source: &Source) -> Option<Mirror> {
        let kept = source.catalog();
        let shape = shape(&kept).ok()?;
        let mut table = wanted(&shape);
        table.columns.push(own());
        Some(Mirror { table, shape, kept, rows: source.published() })
    }

    pub fn fits(&self, relation: &Relation) -> bool {
        let columns = self.kept.columns.iter().map(|column| StreamColumn {
            name: column.name.clone(),
            type_oid: column.data_type.oid,
            type_modifier: column.data_type.modifier,
            mirror_type: String::new(),
        });
        let excluded = self.kept.left_out.iter().filter(|left_out| left_out.why == WhyLeftOut::Configuration);
        let table = StreamTable {
            source_oid: self.kept.oid,
            name: "t".into(),
            columns: columns.collect(),
            left_out: excluded.map(|left_out| left_out.column.clone()).collect(),
            key: self.shape.key.clone(),
            key_folds: false,
            standing: Standing::Ready,
            recorded: false,
            told: false,
            seen: None,
            identity: Identity::of(&self.kept),
            generation: 1,
        };
        relation.id == self.kept.oid && table.layout(relation).is_ok()
    }

    pub fn apply(&mut self, event: &Event) {
        let Some(row) = &event.row else {
            self.rows.remove(&event.id);
            return;
        };
        let named = event.relation.columns.iter().zip(row);
        let known = |name: &String| self.kept.column(name).is_some();
        let row = named
            .filter(|(column, _)| known(&column.name))
            .map(|(column, value)| (column.name.clone(), value.clone()))
            .collect();
        self.rows.insert(event.id, row);
    }

    /// Decides, does it, and checks that what was done is whole.
    pub fn decide(&mut self, now: &SourceTable, relation: Option<&Relation>) -> Decided {
        let wanted_shape = shape(now);
        let outcome = decide(&self.kept, &self.shape, now, wanted_shape.as_ref(), relation);
        let again = decide(&self.kept, &self.shape, now, wanted_shape.as_ref(), relation);
        assert_eq!(outcome, again, "the same question has the same answer");
        match outcome {
            Outcome::Same => {
                assert!(!differs(&self.kept, now));
                Decided::Same
            }
            Outcome::Follow { changes, becomes } => {
                let before = (self.key(), self.shape.identity);
                for statement in ddl::follow("t", &changes) {
                    self.run(&statement);
                }
                self.shape = shape(&becomes).expect("what is followed can be mirrored");
                self.kept = *becomes;
                assert_eq!(before, (self.key(), self.shape.identity), "{changes:?}");
                self.stands_as(&self.shape);
                Decided::Followed
            }
            Outcome::Compare => {
                assert_eq!(wanted_shape.as_ref(), Ok(&self.shape), "its table stays as it is");
                Decided::NotSilent
            }
            Outcome::Refill(reason) => {
                assert!(!reason.is_empty());
                self.refill(now, &wanted_shape.expect("what is taken over can be mirrored"));
                Decided::NotSilent
            }
            Outcome::Fail { reason, hint } => {
                assert!(wanted_shape.is_err() && !reason.is_empty() && !hint.is_empty());
                Decided::NotSilent
            }
        }
    }

    /// As the worker prepares a table whose rows are compared afterwards.
    fn refill(&mut self, now: &SourceTable, shape: &MirrorShape) {
        let renames = drift::renames(&self.kept, now, &self.table);
        for statement in ddl::follow("t", &renames) {
            self.run(&statement);
        }
        let made = Made::of(&self.shape).renamed(&renames);
        let reshaping = ddl::difference(&self.table.clone(), &made, shape);
        assert_eq!(reshaping.taken, []);
        for statement in &reshaping.statements {
            self.run(statement);
        }
        self.stands_as(shape);
        let left = ddl::difference(&self.table, &Made::of(shape), shape);
        assert!(left.is_none(), "{left:?}");
    }

    fn key(&self) -> Vec<i16> {
        let attnum = |name: &String| self.kept.column(name).expect("a key is mirrored").attnum;
        self.shape.key.iter().map(attnum).collect()
    }

    /// The table is what the shape asks for, with somebody's own column; each row has exactly the
    /// shape's.
    fn stands_as(&self, shape: &MirrorShape) {
        let sorted = |table: &TableHere| {
            let mut columns: Vec<_> =
                table.columns.iter().map(|column| (column.name.clone(), column.sql_type.clone())).collect();
            columns.sort();
            (columns, table.key.as_ref().map(|key| key.columns.clone()))
        };
        let mut with_own = wanted(shape);
        with_own.columns.push(own());
        assert_eq!(sorted(&self.table), sorted(&with_own));
        let mut names: Vec<&str> = shape.columns.iter().map(|column| column.name.as_str()).collect();
        names.sort_unstable();
        for row in self.rows.values() {
            assert_eq!(row.keys().map(String::as_str).collect::<Vec<_>>(), names);
        }
    }

    /// One statement, as PostgreSQL would: what isn't there can't be altered, what is there can't
    /// be added.
    fn run(&mut self, statement: &str) {
        let TableHere { columns, key } = &mut self.table;
        // Which rows are deleted is another matter: they are compared.
        if statement.starts_with("DELETE FROM ") {
            return;
        }
        let action = statement.strip_prefix("ALTER TABLE \"odoo_mirror\".\"t\" ").expect(statement);
        let place =
            |columns: &[ColumnHere], name: &str| columns.iter().position(|column| column.name == name);
        if let Some(rest) = action.strip_prefix("DROP COLUMN ") {
            let (name, _) = identifier(rest);
            columns.remove(place(columns, &name).expect(statement));
            key.take_if(|key| key.columns.contains(&name));
            self.rows.values_mut().for_each(|row| drop(row.remove(&name).expect(statement)));
        } else if let Some(rest) = action.strip_prefix("RENAME COLUMN ") {
            let (from, rest) = identifier(rest);
            let (to, _) = identifier(rest.strip_prefix(" TO ").expect(statement));
            assert!(place(columns, &to).is_none(), "{statement}: it is there");
            let column = place(columns, &from).expect(statement);
            columns[column].name.clone_from(&to);
            for name in key.iter_mut().flat_map(|key| &mut key.columns) {
                if *name == from {
                    name.clone_from(&to);
                }
            }
            for row in self.rows.values_mut() {
                let value = row.remove(&from).expect(statement);
                row.insert(to.clone(), value);
            }
        } else if let Some(rest) = action.strip_prefix("ADD COLUMN ") {
            let (name, rest) = identifier(rest);
            assert!(place(columns, &name).is_none(), "{statement}: it is there");
            let (rest, value) = match rest.split_once(" DEFAULT ") {
                None => (rest, None),
                Some((rest, value)) => (rest, Some(literal(value))),
            };
            let (sql_type, not_null) = match rest.strip_suffix(" NOT NULL") {
                None => (rest, false),
                Some(rest) => (rest, true),
            };
            let sql_type = sql_type.trim_start().to_owned();
            columns.push(ColumnHere { name: name.clone(), sql_type, not_null, adorned: is_adorned(&name) });
            self.rows.values_mut().for_each(|row| drop(row.insert(name.clone(), value.clone())));
        } else if let Some(rest) = action.strip_prefix("ALTER COLUMN ") {
            let (name, what) = identifier(rest);
            let place = place(columns, &name).expect(statement);
            let column = &mut columns[place];
            if let Some(sql_type) = what.strip_prefix(" TYPE ") {
                let (sql_type, using) = sql_type.split_once(" USING ").unwrap_or((sql_type, ""));
                let was = std::mem::replace(&mut column.sql_type, sql_type.to_owned());
                for row in self.rows.values_mut() {
                    let kept = row[&name].as_ref().filter(|_| !using.starts_with("NULL"));
                    let value = kept.map(|value| cast_here(&was, sql_type, value));
                    row.insert(name.clone(), value);
                }
            } else if what == " DROP NOT NULL" {
                column.not_null = false;
            } else {
                assert_eq!(what, " DROP DEFAULT");
            }
        } else if let Some((_, rest)) =
            action.strip_prefix("ADD ").and_then(|rest| rest.split_once("PRIMARY KEY ("))
        {
            let mut names = Vec::new();
            let mut rest = rest;
            while rest.starts_with('"') {
                let (name, more) = identifier(rest);
                let place = place(columns, &name).expect(statement);
                columns[place].not_null = true;
                names.push(name);
                rest = more.strip_prefix(", ").unwrap_or_default();
            }
            assert!(key.is_none(), "{statement}: it has one");
            *key = Some(KeyHere { constraint: "t_pkey".into(), columns: names, ..KeyHere::default() });
        } else {
            assert_eq!(action, "DROP CONSTRAINT \"t_pkey\"");
            assert!(key.take().is_some(), "{statement}: it has none");
        }
    }
}

fn wanted(shape: &MirrorShape) -> TableHere {
    TableHere {
        columns: shape
            .columns
            .iter()
            .map(|column| ColumnHere {
                name: column.name.clone(),
                sql_type: column.sql_type.clone(),
                not_null: column.in_key,
                adorned: is_adorned(&column.name),
            })
            .collect(),
        key: (!shape.key.is_empty()).then(|| KeyHere {
            constraint: "t_pkey".into(),
            columns: shape.key.clone(),
            ..KeyHere::default()
        }),
    }
}

/// A column that somebody gave the mirror's table.
fn own() -> ColumnHere {
    ColumnHere { name: "somebody's".into(), sql_type: "text".into(), not_null: false, adorned: false }
}

/// Whether somebody made an index on the column, say.
fn is_adorned(name: &str) -> bool {
    ["a", "c"].contains(&name)
}

/// A quoted identifier, and what follows it.
fn identifier(text: &str) -> (String, &str) {
    let text = text.strip_prefix('"').expect(text);
    let mut name = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' if characters.peek().is_some_and(|(_, next)| *next == '"') => {
                characters.next();
                name.push('"');
            }
            '"' => return (name, &text[place + 1..]),
            character => name.push(character),
        }
    }
    panic!("{text}: it doesn't end");
}

/// A quoted literal, with its type behind it.
fn literal(text: &str) -> String {
    let end = text.rfind("'::").expect(text);
    text[1..end].replace("''", "'")
}
