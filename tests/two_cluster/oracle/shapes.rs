//! What the source's tables are like after each commit, and what the mirror stands on.
//!
//! An ALTER is a commit like any other, but the stream tells of it only with the next row that is
//! written, and never of a rewrite, a constant default, a column that went. Until the mirror has
//! looked at the catalog its table is what it was before, whatever else it shows; so a table whose
//! description there isn't that of the commit shown is held against nothing. The moment it is, each
//! row must be.

use super::scene::rows;
use super::schema::TABLES;
use postgres::{Client, Error};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// A table's columns, and where its rows lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    pub columns: Vec<Column>,
    /// The last attnum that was given: a column that came and went in one transaction leaves
    /// nothing else behind, and is compared for.
    pub last_attnum: String,
    /// `relfilenode`: TRUNCATE changes it, of which the stream tells, and ALTER may, of which it
    /// does not.
    pub file: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    attnum: String,
    pub name: String,
    /// OID and modifier.
    data_type: String,
}

/// A table after a commit.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    pub layout: Layout,
    /// How often an ALTER wrote its rows anew, so far.
    pub rewrites: u32,
}

pub type Shapes = [Shape; TABLES.len()];

/// Tables, by their place in `TABLES`.
pub type Layouts = BTreeMap<usize, Layout>;

/// Of all tables: before the first commit.
pub fn all(session: &mut Client) -> Result<Shapes, Error> {
    let mut found = on_source(session, "true")?;
    Ok(std::array::from_fn(|table| Shape { layout: found.remove(&table).unwrap_or_default(), rewrites: 0 }))
}

/// Of those that the open transaction altered or emptied: nobody else can before it ends. Others
/// may, so of other tables it can't tell.
pub fn own(session: &mut Client) -> Result<Layouts, Error> {
    let own = "c.oid IN (SELECT l.relation FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation'
                   AND l.mode = 'AccessExclusiveLock')";
    on_source(session, own)
}

fn on_source(session: &mut Client, which: &str) -> Result<Layouts, Error> {
    let query = format!(
        "SELECT c.relname, c.relfilenode, c.relnatts, a.attnum, a.attname, a.atttypid || ' ' || a.atttypmod
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND {which}
         ORDER BY c.relname, a.attnum"
    );
    layouts(rows(session, &query)?)
}

/// What the mirror stands on, as it says itself; under the snapshot of the rows that it shows.
pub fn on_mirror(session: &mut Client) -> Result<Layouts, Error> {
    let query = "SELECT t.name, t.definition -> 'files' -> 0 ->> 1, t.definition ->> 'last_attnum', c ->> 'attnum', c ->> 'name',
                (c -> 'data_type' ->> 'oid') || ' ' || (c -> 'data_type' ->> 'modifier')
         FROM odoo_mirror_internal.tables t, jsonb_array_elements(t.definition -> 'columns') WITH ORDINALITY e (c, place)
         ORDER BY t.name, place";
    layouts(rows(session, query)?)
}

fn layouts(rows: Vec<Vec<String>>) -> Result<Layouts, Error> {
    let mut found = Layouts::new();
    for row in rows {
        let [name, file, last_attnum, attnum, column, data_type] =
            <[String; 6]>::try_from(row).expect("six columns");
        if let Some(table) = TABLES.iter().position(|table| table.name == name) {
            let layout = found.entry(table).or_default();
            layout.file = file;
            layout.last_attnum = last_attnum;
            layout.columns.push(Column { attnum, name: column, data_type });
        }
    }
    Ok(found)
}

/// When a table couldn't be held against the history because it had been altered: seconds since
/// 1970.
#[derive(Default)]
pub struct Excuses {
    open: BTreeMap<usize, Since>,
    over: Vec<(usize, f64, f64)>,
}

struct Since {
    at: f64,
    /// The last commit that altered the table.
    commit: u64,
}

impl Excuses {
    /// That commit alters the table.
    pub fn begin(&mut self, table: usize, commit: u64) {
        self.open.entry(table).or_insert_with(|| Since { at: now(), commit }).commit = commit;
    }

    /// The table was shown as it was after that commit.
    pub fn end(&mut self, table: usize, commit: u64) {
        if self.open.get(&table).is_some_and(|since| since.commit <= commit)
            && let Some(since) = self.open.remove(&table)
        {
            self.over.push((table, since.at, now()));
        }
    }

    /// Whether the table was excused at any time between the two.
    pub fn met(&self, table: &str, from: f64, to: f64) -> bool {
        let is_it = |place: usize| TABLES[place].name == table;
        self.over.iter().any(|(place, began, ended)| is_it(*place) && *began <= to && *ended >= from)
            || self.open.iter().any(|(place, since)| is_it(*place) && since.at <= to)
    }

    /// How many are over, and how long the longest of them was.
    pub fn longest(&self) -> (usize, f64) {
        (self.over.len(), self.over.iter().map(|(_, began, ended)| ended - began).fold(0.0, f64::max))
    }
}

pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Made up, for tests of those who reason about them.
#[cfg(test)]
pub fn made_up(file: &str, names: &[&str]) -> Layout {
    let column = |(place, name): (usize, &&str)| Column {
        attnum: place.to_string(),
        name: (*name).to_owned(),
        data_type: "23 -1".to_owned(),
    };
    let columns = names.iter().enumerate().map(column).collect();
    Layout { columns, last_attnum: names.len().to_string(), file: file.to_owned() }
}
