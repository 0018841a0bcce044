//! What happens on the source.

use super::source::{Column, Event, NAMES, Source};
use super::types::Type;

/// What can't be done as it says isn't done.
#[derive(Clone, Debug)]
pub enum Op {
    Write(u8, u8),
    Delete(u8),
    Add {
        name: usize,
        data_type: usize,
        default: Option<u8>,
    },
    /// A generated column, or one with a volatile default: every row is written anew.
    AddComputed {
        name: usize,
        generated: bool,
    },
    DropExpression(usize),
    Drop(usize),
    Rename(usize, usize),
    Exchange(usize, usize),
    Retype(usize, usize),
    /// ALTER COLUMN TYPE … USING: all values of a column change, without a row in the stream.
    Rewrite(usize),
    /// The file changes, and no value.
    Vacuum,
    Exclude(usize),
    /// The primary key is this column's now, or this one's too, or nobody's.
    Key(usize, u8),
    Identity(u8),
    Filter(u8),
    /// A column joins the publication's list, or leaves it.
    List(usize),
    /// The table leaves the publication, a row is written, and it comes back.
    Unpublished(u8, u8),
    /// A partition comes with rows, or goes with them.
    Attach,
    Detach(u8),
    /// Dropped and made anew.
    Recreate,
    /// Something that doesn't matter: statistics, a default, a comment.
    Elsewhere,
}

impl Source {
    fn free(&self, name: usize) -> Option<String> {
        let name = NAMES[name % NAMES.len()];
        (!self.named(name)).then(|| name.to_owned())
    }

    /// A column, never `id`.
    fn at(&mut self, place: usize) -> Option<&mut Column> {
        let count = self.columns.len() - 1;
        let place = place.checked_rem(count)?;
        self.clock += 1;
        let column = &mut self.columns[1 + place];
        Some(column)
    }

    /// All rows are written to new files, with what older ones had.
    fn rewrite(&mut self) {
        let ids: Vec<u8> = self.rows.keys().copied().collect();
        for column in self.columns.clone() {
            for id in &ids {
                let value = self.value(*id, &column);
                self.rows.get_mut(id).expect("it is there").insert(column.attnum, value);
            }
        }
        self.columns.iter_mut().for_each(|column| column.value_before = None);
        for file in self.files.values_mut() {
            self.clock += 1;
            *file = self.clock;
        }
    }

    fn add(&mut self, name: String, data_type: Type) -> &mut Column {
        self.last_attnum += 1;
        self.clock += 1;
        self.columns.push(Column {
            attnum: self.last_attnum,
            name,
            data_type,
            value_before: None,
            generated: false,
            stamp: self.clock,
        });
        self.columns.last_mut().expect("just added")
    }

    pub fn run(&mut self, op: &Op) -> Option<Event> {
        match *op {
            Op::Write(id, value) => return Some(self.write(id % 8, value)),
            Op::Delete(id) => {
                let id = id % 8;
                self.rows.remove(&id)?;
                return Some(self.event(id));
            }
            Op::Add { name, data_type, default } => {
                let (name, data_type) = (self.free(name)?, Type::at(data_type));
                self.add(name, data_type).value_before = default.map(|default| data_type.value(default));
            }
            Op::AddComputed { name, generated } => {
                let name = self.free(name)?;
                let column = self.add(name, Type::at(3));
                column.generated = generated;
                let attnum = column.attnum;
                self.rewrite();
                self.rows
                    .iter_mut()
                    .for_each(|(id, row)| drop(row.insert(attnum, Some(format!("computed {id}")))));
            }
            Op::DropExpression(place) => {
                let column = self.at(place).filter(|column| column.generated)?;
                column.generated = false;
                self.stamp(place);
            }
            Op::Drop(place) => {
                let attnum = self.at(place)?.attnum;
                // The publication's list depends on its columns.
                let bound = self.listed.as_ref().is_some_and(|listed| listed.contains(&attnum));
                (!bound).then_some(())?;
                self.columns.retain(|column| column.attnum != attnum);
                if self.key.contains(&attnum) {
                    self.key.clear();
                }
            }
            Op::Rename(place, name) => {
                let name = self.free(name)?;
                self.at(place)?.name = name;
                self.stamp(place);
            }
            Op::Exchange(a, b) => {
                let (one, other) = (self.at(a)?.name.clone(), self.at(b)?.name.clone());
                self.at(a)?.name = other;
                self.at(b)?.name = one;
                self.stamp(a);
                self.stamp(b);
            }
            Op::Retype(place, data_type) => self.retype(place, Type::at(data_type))?,
            Op::Rewrite(place) => {
                let attnum = self.at(place)?.attnum;
                let data_type = self.at(place)?.data_type;
                self.rewrite();
                self.stamp(place);
                self.rows.values_mut().for_each(|row| drop(row.insert(attnum, Some(data_type.value(77)))));
            }
            Op::Vacuum => self.rewrite(),
            Op::Exclude(name) => {
                let name = NAMES[name % NAMES.len()];
                if !self.excluded.remove(name) {
                    self.excluded.insert(name);
                }
            }
            Op::Key(place, how) => {
                let attnum = self.at(place)?.attnum;
                self.key = match how % 4 {
                    0 => Vec::new(),
                    1 => vec![1],
                    2 => vec![attnum],
                    _ => vec![attnum, 1],
                };
            }
            Op::Identity(identity) => self.replica_identity = ['d', 'f', 'n', 'i'][usize::from(identity % 4)],
            Op::Filter(filter) => {
                self.row_filter = Some(filter % 4).filter(|filter| *filter > 1);
                self.published_as += 1;
            }
            Op::List(place) => {
                let attnum = self.at(place)?.attnum;
                let all = self.columns.iter().filter(|column| !column.generated).map(|column| column.attnum);
                let mut listed = self.listed.take().unwrap_or_else(|| all.collect());
                if !listed.remove(&attnum) {
                    listed.insert(attnum);
                }
                self.listed = (attnum % 3 != 2 || listed.len() < 3).then_some(listed);
                self.published_as += 1;
            }
            Op::Unpublished(id, value) => {
                self.write(id % 8, value);
                self.published_as += 1;
            }
            Op::Attach => {
                let oid = self.files.keys().last().filter(|_| self.partitioned)? + 1;
                self.clock += 1;
                self.files.insert(oid, self.clock);
                self.write(oid as u8, 3);
            }
            Op::Detach(id) => {
                let oid = *self.files.keys().nth(1).filter(|_| self.partitioned)?;
                self.files.remove(&oid);
                self.rows.remove(&(id % 8));
            }
            Op::Recreate => {
                self.oid += 1;
                self.rewrite();
                for id in self.rows.keys().copied().collect::<Vec<_>>() {
                    self.write(id, 9);
                }
            }
            Op::Elsewhere => {}
        }
        None
    }

    fn stamp(&mut self, place: usize) {
        let clock = self.clock + 1;
        if let Some(column) = self.at(place) {
            column.stamp = clock;
        }
    }

    fn retype(&mut self, place: usize, to: Type) -> Option<()> {
        let column = self.at(place).filter(|column| !column.generated)?.clone();
        let cast = |value: &Option<String>| match value {
            Some(value) => column.data_type.cast(to, value).map(Some),
            None => Some(None),
        };
        let ids = self.rows.keys().copied();
        let values: Vec<(u8, Option<String>)> =
            ids.map(|id| cast(&self.value(id, &column)).map(|value| (id, value))).collect::<Option<_>>()?;
        let value_before = cast(&column.value_before)?;
        if column.data_type.rewrites(to) {
            self.rewrite();
            for (id, value) in values {
                self.rows.get_mut(&id)?.insert(column.attnum, value);
            }
        } else {
            self.at(place)?.value_before = value_before;
        }
        self.at(place)?.data_type = to;
        self.stamp(place);
        Some(())
    }
}
