//! A model of a source's table that is altered while rows are written.

use std::collections::{BTreeMap, BTreeSet};

use odoo_mirror::mirror::source_table::{LeftOut, Publishes, SourceColumn, SourceTable, WhyLeftOut};
use odoo_mirror::wire::{Relation, RelationColumn, ReplicaIdentity};

use super::types::Type;

#[derive(Clone, Debug)]
pub struct Column {
    pub attnum: i16,
    pub name: String,
    pub data_type: Type,
    /// What rows have that are older than the column.
    pub value_before: Option<String>,
    pub generated: bool,
    /// Which change last wrote its description.
    pub stamp: u32,
}

/// Values by column name; None: NULL.
pub type Row = BTreeMap<String, Option<String>>;

/// A table of the source: its rows hold values by attnum. The first column is `id`, which names a
/// row in what follows, whatever the table's key is.
#[derive(Clone, Debug)]
pub struct Source {
    pub oid: u32,
    pub partitioned: bool,
    pub columns: Vec<Column>,
    pub last_attnum: i16,
    /// Partitions and their files; the only one of an ordinary table is itself.
    pub files: BTreeMap<u32, u32>,
    /// Counts whatever the catalog tells apart by its transaction.
    pub clock: u32,
    pub rows: BTreeMap<u8, BTreeMap<i16, Option<String>>>,
    /// Attnums of the primary key.
    pub key: Vec<i16>,
    pub replica_identity: char,
    pub row_filter: Option<u8>,
    /// Attnums of the publication's column list.
    pub listed: Option<BTreeSet<i16>>,
    pub published_as: u32,
    /// Names that are left out here by configuration, though they are streamed.
    pub excluded: BTreeSet<&'static str>,
}

/// What the stream brings: a whole row under its Relation, or that it is gone.
#[derive(Clone, Debug)]
pub struct Event {
    pub relation: Relation,
    pub id: u8,
    pub row: Option<Vec<Option<String>>>,
}

/// Some that must be quoted.
pub const NAMES: [&str; 6] = ["a", "b", "c", "D \"d\"", "e'e", "drop"];

impl Source {
    pub fn new(partitioned: bool) -> Source {
        let column = |attnum: i16, name: &str, data_type: usize| Column {
            attnum,
            name: name.to_owned(),
            data_type: Type::at(data_type),
            value_before: None,
            generated: false,
            stamp: 1,
        };
        let files = if partitioned { vec![(71, 1), (72, 2), (73, 3)] } else { vec![(7, 1)] };
        let mut source = Source {
            oid: 7,
            partitioned,
            columns: vec![column(1, "id", 8), column(2, "a", 0), column(3, "b", 0), column(4, "c", 4)],
            last_attnum: 4,
            files: files.into_iter().collect(),
            clock: 3,
            rows: BTreeMap::new(),
            key: vec![1],
            replica_identity: 'd',
            row_filter: None,
            listed: None,
            published_as: 1,
            excluded: BTreeSet::new(),
        };
        for id in 0..6 {
            source.write(id, id);
        }
        source
    }

    pub fn write(&mut self, id: u8, value: u8) -> Event {
        let of = |column: &Column| match column.attnum {
            1 => (1, Some(id.to_string())),
            attnum => (attnum, (value % 5 != 4).then(|| column.data_type.value(value ^ attnum as u8))),
        };
        self.rows.insert(id, self.columns.iter().map(of).collect());
        self.event(id)
    }

    /// What a change of the row brings: the row, or that it isn't among those that are published.
    pub fn event(&self, id: u8) -> Event {
        let there = self.rows.contains_key(&id) && self.publishes(id);
        let row = there.then(|| self.streamed().map(|column| self.value(id, column)).collect());
        Event { relation: self.relation(), id, row }
    }

    pub fn publishes(&self, id: u8) -> bool {
        self.row_filter.is_none_or(|filter| !id.is_multiple_of(filter))
    }

    fn listed(&self, column: &Column) -> bool {
        self.listed.as_ref().is_none_or(|listed| listed.contains(&column.attnum))
    }

    fn streamed(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.generated && self.listed(column))
    }

    pub fn value(&self, id: u8, column: &Column) -> Option<String> {
        match self.rows[&id].get(&column.attnum) {
            Some(value) => value.clone(),
            None => column.value_before.clone(),
        }
    }

    pub fn named(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }

    fn left_out(&self, column: &Column) -> Option<WhyLeftOut> {
        if column.generated {
            Some(WhyLeftOut::Generated)
        } else if !self.listed(column) {
            Some(WhyLeftOut::ColumnList)
        } else {
            self.excluded.contains(column.name.as_str()).then_some(WhyLeftOut::Configuration)
        }
    }

    /// What the mirror must hold.
    pub fn published(&self) -> BTreeMap<u8, Row> {
        let of = |id: &u8| {
            let mirrored = self.columns.iter().filter(|column| self.left_out(column).is_none());
            (*id, mirrored.map(|column| (column.name.clone(), self.value(*id, column))).collect())
        };
        self.rows.keys().filter(|id| self.publishes(**id)).map(of).collect()
    }

    fn names(&self, attnums: &[i16]) -> Vec<String> {
        let name = |attnum: &i16| self.columns.iter().find(|column| column.attnum == *attnum);
        attnums.iter().filter_map(name).map(|column| column.name.clone()).collect()
    }

    /// What the catalog says.
    pub fn catalog(&self) -> SourceTable {
        let (mut columns, mut left_out) = (Vec::new(), Vec::new());
        for column in &self.columns {
            let (attnum, name) = (column.attnum, column.name.clone());
            if let Some(why) = self.left_out(column) {
                left_out.push(LeftOut { attnum, column: name, why });
                continue;
            }
            columns.push(SourceColumn {
                attnum,
                name,
                data_type: column.data_type.of_source(),
                not_null: self.key.contains(&attnum),
                deterministic: Some(true),
                // A partitioned table has no rows of its own, so its catalog knows nothing of them.
                constant_default: column.value_before.clone().filter(|_| !self.partitioned),
                stamp: column.stamp.to_string(),
            });
        }
        SourceTable {
            oid: self.oid,
            schema: "public".into(),
            name: "t".into(),
            kind: if self.partitioned { 'p' } else { 'r' },
            replica_identity: self.replica_identity,
            columns,
            left_out,
            primary_key: self.names(&self.key),
            identity_key: if self.replica_identity == 'i' { self.names(&[1]) } else { Vec::new() },
            leaf_key: Vec::new(),
            key_index: 0,
            row_filter: self.row_filter.map(|filter| format!("id % {filter} <> 0")),
            estimated_rows: 0,
            bytes: 0,
            row_security: false,
            publication: "pub".into(),
            publishes: Publishes { insert: true, update: true, delete: true, truncate: true },
            via_root: self.partitioned,
            last_attnum: self.last_attnum,
            files: self.files.iter().map(|(oid, file)| (*oid, *file)).collect(),
            published_as: self.published_as.to_string(),
            published_in: String::new(),
            seen: String::new(),
        }
    }

    pub fn relation(&self) -> Relation {
        let (replica_identity, key): (_, &[i16]) = match self.replica_identity {
            'f' => (ReplicaIdentity::Full, &[]),
            'n' => (ReplicaIdentity::Nothing, &[]),
            'i' => (ReplicaIdentity::Index, &[1]),
            _ => (ReplicaIdentity::Default, &self.key),
        };
        let of = |column: &Column| RelationColumn {
            key: replica_identity == ReplicaIdentity::Full || key.contains(&column.attnum),
            name: column.name.clone(),
            type_id: column.data_type.numbers().0,
            type_modifier: column.data_type.numbers().1,
        };
        Relation {
            id: self.oid,
            schema: "public".into(),
            name: "t".into(),
            replica_identity,
            columns: self.streamed().map(of).collect(),
        }
    }
}
