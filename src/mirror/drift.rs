//! Drift: what to do here when a table of the source isn't what it was when its mirror was made.
//!
//! Three things are known: the table as it was (kept), as the catalog says that it is by now, and,
//! at a change in the stream that doesn't fit, the Relation message that came before it. The
//! catalog is *ahead* of the stream, so it says how the stream got to the Relation only where
//! nothing else can have happened in between. Columns are told apart by their attnum, which is
//! given once and never again. From that follows what [`decide`] goes by: as long as no attnum
//! between is unaccounted for and columns were only added, or only dropped, the columns at any
//! moment in between follow from their number; where they also have the catalog's names and types,
//! that moment is known. And a table that lies in the same file was never rewritten. Whatever is
//! not proven so is compared row by row.

use super::ddl::{TableHere, widens};
use super::replica_identity::Identity;
use super::shape::{MirrorColumn, MirrorShape, ShapeError};
use super::source_table::{SourceColumn, SourceTable, WhyLeftOut};
use super::wording::{self, Wording};
use crate::wire::Relation;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    Same,
    /// These changes, in this order, at this point of the stream, make the mirror's table what the
    /// source's is there; the mirror stands on this description from then on. No changes: only the
    /// description differs.
    Follow { changes: Vec<Change>, becomes: Box<SourceTable> },
    /// Its rows were written to another file, or a type has labels that it had not. Nothing says
    /// that values changed, nothing that they didn't.
    Compare,
    /// Take it over as it is by now, and compare its rows, for this reason.
    Refill(String),
    /// It can't be mirrored as it is.
    Fail { reason: String, hint: String },
}

/// A change of the mirror's table that needs no look at the source's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Drop {
        column: String,
    },
    Rename {
        from: String,
        to: String,
    },
    /// To a type that has every value of the old one, written alike.
    Retype {
        column: String,
        sql_type: String,
    },
    /// Rows that are there get this value, or NULL.
    Add {
        column: MirrorColumn,
        value: Option<String>,
    },
}

impl std::fmt::Display for Change {
    /// As a clause, for the history. Never a value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Drop { column } => write!(f, "column {column} dropped"),
            Self::Rename { from, to } => write!(f, "column {from} renamed to {to}"),
            Self::Retype { column, sql_type } => write!(f, "column {column} changed to {sql_type}"),
            Self::Add { column, value } => {
                write!(f, "column {} ({}) added", column.name, column.sql_type)?;
                if value.is_some() { f.write_str(" with a constant default") } else { Ok(()) }
            }
        }
    }
}

/// Whether the mirror must know of what changed.
pub fn differs(kept: &SourceTable, now: &SourceTable) -> bool {
    let columns = |table: &SourceTable| -> Vec<(i16, String, u32, i32, Option<bool>)> {
        let of = |column: &SourceColumn| {
            let data_type = &column.data_type;
            (column.attnum, column.name.clone(), data_type.oid, data_type.modifier, column.deterministic)
        };
        table.columns.iter().map(of).collect()
    };
    (kept.oid, kept.kind, kept.replica_identity, kept.via_root, kept.last_attnum)
        != (now.oid, now.kind, now.replica_identity, now.via_root, now.last_attnum)
        || kept.row_filter != now.row_filter
        || kept.published_as != now.published_as
        || kept.published_in != now.published_in
        || kept.publishes != now.publishes
        || kept.primary_key != now.primary_key
        || kept.identity_key != now.identity_key
        || kept.leaf_key != now.leaf_key
        || is_keyed_anew(kept, now)
        || kept.left_out != now.left_out
        || kept.files != now.files
        || columns(kept) != columns(now)
        || wording::of_tables(kept, now) != Wording::Same
}

/// Whether nothing is new but the file that its rows lie in: that was TRUNCATE, of which the stream
/// tells, or VACUUM FULL.
pub fn only_moved(kept: &SourceTable, now: &SourceTable) -> bool {
    let in_place = SourceTable { files: kept.files.clone(), ..now.clone() };
    kept.files != now.files
        && leaves(kept) == leaves(now)
        && stamps(kept) == stamps(now)
        && !differs(kept, &in_place)
}

/// What to do about a table that was `kept`, mirrored in `shape`, and is `now`, which calls for the
/// shape `wanted`.
///
/// With `relation`: the stream stands before the first change that came under it, and has brought
/// all before it. Without: the stream has passed what `now` was read after, everything that came
/// fitted `kept`, and the catalog still said the same when the stream stood still.
pub fn decide(
    kept: &SourceTable,
    shape: &MirrorShape,
    now: &SourceTable,
    wanted: Result<&MirrorShape, &ShapeError>,
    relation: Option<&Relation>,
) -> Outcome {
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(error) => return Outcome::Fail { reason: error.to_string(), hint: error.hint() },
    };
    if let Some(reason) = beyond_following(kept, shape, now, wanted) {
        return Outcome::Refill(reason);
    }
    if kept.files != now.files {
        return moved(kept, shape, now, wanted, relation);
    }
    if relation.is_none() && !differs(kept, now) {
        return Outcome::Same;
    }
    let becomes = match relation {
        None => now.clone(),
        Some(relation) => match at_relation(kept, now, relation) {
            Some(becomes) => becomes,
            None => return Outcome::Refill("the source's catalog is ahead of the stream".to_owned()),
        },
    };
    match changes(kept, shape, &becomes, wanted) {
        Ok(changes) if wording::of_tables(kept, now) == Wording::Grown => {
            match (relation, changes.is_empty()) {
                (None, true) => Outcome::Compare,
                _ => Outcome::Refill("a type has new labels".to_owned()),
            }
        }
        Ok(changes) => Outcome::Follow { changes, becomes: Box::new(becomes) },
        Err(reason) => Outcome::Refill(reason),
    }
}

const LEFT: &str = "it had left the publication, or the publication was altered";

/// What no change of columns alone can follow.
fn beyond_following(
    kept: &SourceTable,
    shape: &MirrorShape,
    now: &SourceTable,
    wanted: &MirrorShape,
) -> Option<String> {
    let say = |what: &str| Some(what.to_owned());
    if kept.oid != now.oid || kept.kind != now.kind {
        return say("the table was made anew");
    }
    if kept.via_root != now.via_root {
        return say("the publication publishes partitions otherwise");
    }
    if kept.row_filter != now.row_filter {
        return say("the publication's row filter changed");
    }
    if wording::of_tables(kept, now) == Wording::Changed {
        return say("labels or attributes of a type changed");
    }
    if attnums(kept, &shape.key) != attnums(now, &wanted.key) || shape.identity != wanted.identity {
        return say("the table's key or replica identity changed");
    }
    if is_keyed_anew(kept, now) {
        return say("the table's key was made anew");
    }
    let streamed_before = |attnum: i16| kept.columns.iter().any(|column| column.attnum == attnum);
    let joined = now
        .columns
        .iter()
        .find(|column| column.attnum <= kept.last_attnum && !streamed_before(column.attnum));
    if let Some(joined) = joined {
        return Some(format!("column {} is mirrored from now on", joined.name));
    }
    let unlisted = now
        .left_out
        .iter()
        .find(|left_out| left_out.why != WhyLeftOut::Configuration && streamed_before(left_out.attnum));
    if let Some(unlisted) = unlisted {
        return Some(format!("column {} is no longer published", unlisted.column));
    }
    let before: Vec<i16> = live(kept).collect();
    let added = live(now).filter(|attnum| *attnum > kept.last_attnum).count();
    let dropped = before.iter().any(|attnum| !live(now).any(|other| other == *attnum));
    if i64::from(now.last_attnum) - i64::from(kept.last_attnum) != added as i64 {
        return say("columns were added and dropped again");
    }
    if dropped && added > 0 {
        return say("columns were added and others dropped");
    }
    if (&kept.published_as, &kept.published_in) != (&now.published_as, &now.published_in) {
        return say(LEFT);
    }
    None
}

/// Whether the key's index is another one, where the stream doesn't tell the key: rows may have
/// been there twice in between.
fn is_keyed_anew(kept: &SourceTable, now: &SourceTable) -> bool {
    kept.key_index != now.key_index && kept.replica_identity == now.replica_identity
}

/// Whether the table has the key by now that its mirror has: asked where the stream doesn't tell.
pub fn is_keyed_alike(kept: &SourceTable, shape: &MirrorShape, now: &[SourceTable]) -> bool {
    let alike = |now: &SourceTable| {
        let keys = (attnums(kept, &shape.key), attnums(now, now.stream_key()));
        kept.replica_identity == now.replica_identity && keys.0 == keys.1 && !is_keyed_anew(kept, now)
    };
    now.iter().find(|now| now.oid == kept.oid).is_some_and(alike)
}

fn attnums(table: &SourceTable, key: &[String]) -> Vec<Option<i16>> {
    key.iter().map(|name| table.column(name).map(|column| column.attnum)).collect()
}

/// The attnums of all columns that there are, mirrored or not.
fn live(table: &SourceTable) -> impl Iterator<Item = i16> + '_ {
    let left_out = table.left_out.iter().map(|left_out| left_out.attnum);
    table.columns.iter().map(|column| column.attnum).chain(left_out)
}

/// The rows lie in another file.
fn moved(
    kept: &SourceTable,
    shape: &MirrorShape,
    now: &SourceTable,
    wanted: &MirrorShape,
    relation: Option<&Relation>,
) -> Outcome {
    if leaves(kept) != leaves(now) {
        return Outcome::Refill("its partitions changed".to_owned());
    }
    // ALTER TABLE … TYPE … USING may give every row another value of the same type: then it wrote
    // the column's description.
    let untouched = relation.is_none() && stamps(kept) == stamps(now) && shape.columns == wanted.columns;
    if untouched { Outcome::Compare } else { Outcome::Refill("the table was rewritten".to_owned()) }
}

fn leaves(table: &SourceTable) -> Vec<u32> {
    table.files.iter().map(|(oid, _)| *oid).collect()
}

fn stamps(table: &SourceTable) -> Vec<(i16, &str)> {
    table.columns.iter().map(|column| (column.attnum, column.stamp.as_str())).collect()
}

/// The table where the stream stands, before a change under `relation`; None: the catalog doesn't
/// tell.
fn at_relation(kept: &SourceTable, now: &SourceTable, relation: &Relation) -> Option<SourceTable> {
    let streamed = streamed(now);
    let fits = |(carried, column): (&crate::wire::RelationColumn, &Streamed<'_>)| {
        let same_type = column
            .data_type
            .is_none_or(|(oid, modifier)| (oid, modifier) == (carried.type_id, carried.type_modifier));
        carried.name == column.name && same_type
    };
    if relation.columns.len() > streamed.len() || !relation.columns.iter().zip(&streamed).all(fits) {
        return None;
    }
    // The identity may have been another one in between: then old rows don't tell the key.
    if !Identity::of(now).fits(relation) {
        return None;
    }
    let Some(next) = streamed.get(relation.columns.len()) else { return Some(now.clone()) };
    // Later columns are to come. Then none may have gone: each that there was is carried.
    let all_there = live(kept).all(|attnum| live(now).any(|other| other == attnum));
    if !all_there || next.attnum <= kept.last_attnum {
        return None;
    }
    let mut before = now.clone();
    before.columns.retain(|column| column.attnum < next.attnum);
    before.left_out.retain(|left_out| left_out.attnum < next.attnum);
    before.last_attnum = next.attnum - 1;
    Some(before)
}

/// A column that the stream carries.
struct Streamed<'a> {
    attnum: i16,
    name: &'a str,
    /// None: it is left out here, so that its type doesn't matter.
    data_type: Option<(u32, i32)>,
}

/// In the stream's order.
fn streamed(table: &SourceTable) -> Vec<Streamed<'_>> {
    let mirrored = table.columns.iter().map(|column| Streamed {
        attnum: column.attnum,
        name: &column.name,
        data_type: Some((column.data_type.oid, column.data_type.modifier)),
    });
    let excluded = table.left_out.iter().filter(|left_out| left_out.why == WhyLeftOut::Configuration);
    let excluded = excluded.map(|left_out| Streamed {
        attnum: left_out.attnum,
        name: &left_out.column,
        data_type: None,
    });
    let mut all: Vec<Streamed<'_>> = mirrored.chain(excluded).collect();
    all.sort_by_key(|column| column.attnum);
    all
}

/// The columns that the mirror's table has from `kept`, and that have another name by now: whatever
/// else is to be done, they keep their values, and views of a user's on them stand. Not those whose
/// new name a column that is `here` doesn't free.
pub fn renames(kept: &SourceTable, now: &SourceTable, here: &TableHere) -> Vec<Change> {
    if kept.oid != now.oid {
        return Vec::new();
    }
    let has = |name: &str| here.columns.iter().any(|column| column.name == name);
    let renamed = kept.columns.iter().filter_map(|before| {
        let column = now.columns.iter().find(|column| column.attnum == before.attnum)?;
        // Somebody may have changed the table here.
        (column.name != before.name && has(&before.name)).then_some((&before.name, &column.name))
    });
    let mut renamed: Vec<(&String, &String)> = renamed.collect();
    // One that can't be renamed frees no name for the next.
    while let Some(place) =
        renamed.iter().position(|(_, to)| has(to) && !renamed.iter().any(|(from, _)| from == to))
    {
        renamed.remove(place);
    }
    renamed.into_iter().map(|(from, to)| Change::Rename { from: from.clone(), to: to.clone() }).collect()
}

/// What leads from the mirror's table of `kept` to that of `becomes`; or why only its rows can
/// tell.
fn changes(
    kept: &SourceTable,
    shape: &MirrorShape,
    becomes: &SourceTable,
    wanted: &MirrorShape,
) -> Result<Vec<Change>, String> {
    let (mut dropped, mut renamed, mut retyped, mut added) = (vec![], vec![], vec![], vec![]);
    for column in &kept.columns {
        if !becomes.columns.iter().any(|other| other.attnum == column.attnum) {
            dropped.push(Change::Drop { column: column.name.clone() });
        }
    }
    for column in &becomes.columns {
        let name = &column.name;
        let unknown = || format!("column {name} has no type here");
        let here = wanted.columns.iter().find(|other| other.name == *name).ok_or_else(unknown)?;
        let Some(before) = kept.columns.iter().find(|other| other.attnum == column.attnum) else {
            let value = column.constant_default.clone();
            // What older rows of it have is noted at each partition, not at the root.
            if becomes.kind == 'p' && value.is_none() {
                return Err(format!("column {name} was added to a partitioned table"));
            }
            added.push(Change::Add { column: here.clone(), value });
            continue;
        };
        if before.name != *name {
            renamed.push(Change::Rename { from: before.name.clone(), to: name.clone() });
        }
        let was = shape.columns.iter().find(|other| other.name == before.name).ok_or_else(unknown)?;
        let same_type = (before.data_type.oid, before.data_type.modifier)
            == (column.data_type.oid, column.data_type.modifier);
        // Types that travel as text may write the same stored value differently.
        if was.sql_type == here.sql_type && (same_type || !was.as_text && !here.as_text) {
            continue;
        }
        if was.as_text || here.as_text || !widens(&was.sql_type, &here.sql_type) {
            return Err(format!("column {name} changed its type"));
        }
        retyped.push(Change::Retype { column: name.clone(), sql_type: here.sql_type.clone() });
    }
    Ok([dropped, renamed, retyped, added].concat())
}
