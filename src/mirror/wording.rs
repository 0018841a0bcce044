//! What a value's text is made of beyond its type's name: an enum's labels, a composite's
//! attributes. ALTER TYPE changes them without an event for any row, and the text of rows that were
//! written before is another from then on.

use super::source_table::{SourceColumn, SourceTable, SourceType};

/// How a type writes the values that it wrote before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wording {
    Same,
    /// There are labels that weren't there. One may have been renamed since rows were written with
    /// it.
    Grown,
    /// Labels were renamed; or attributes came, went or changed.
    Changed,
}

/// How the columns write that both descriptions have.
pub fn of_tables(kept: &SourceTable, now: &SourceTable) -> Wording {
    let same = |column: &&SourceColumn, other: &SourceColumn| {
        (column.attnum, column.data_type.oid) == (other.attnum, other.data_type.oid)
    };
    let both = kept.columns.iter().filter_map(|column| {
        now.columns.iter().find(|other| same(&column, other)).map(|other| (column, other))
    });
    both.map(|(column, other)| of_types(&column.data_type, &other.data_type)).max().unwrap_or(Wording::Same)
}

fn of_types(kept: &SourceType, now: &SourceType) -> Wording {
    let made_of = |part: &Option<Box<SourceType>>, other: &Option<Box<SourceType>>| match (part, other) {
        (Some(part), Some(other)) => of_parts(part, other),
        (None, None) => Wording::Same,
        _ => Wording::Changed,
    };
    of_members(kept, now).max(made_of(&kept.element, &now.element)).max(made_of(&kept.base, &now.base))
}

fn of_parts(kept: &SourceType, now: &SourceType) -> Wording {
    if (kept.oid, kept.modifier) == (now.oid, now.modifier) { of_types(kept, now) } else { Wording::Changed }
}

fn of_members(kept: &SourceType, now: &SourceType) -> Wording {
    let parts = || {
        kept.members.iter().zip(&now.members).map(|(member, other)| {
            match (&member.data_type, &other.data_type) {
                (Some(part), Some(other)) => of_parts(part, other),
                (None, None) => Wording::Same,
                _ => Wording::Changed,
            }
        })
    };
    let ids = |of: &SourceType| of.members.iter().map(|member| member.id).collect::<Vec<_>>();
    if now.kind != 'e' {
        // Names of attributes aren't written.
        return if ids(kept) == ids(now) { parts().max().unwrap_or(Wording::Same) } else { Wording::Changed };
    }
    let still = |label: &super::source_table::Member| now.members.contains(label);
    match (kept.members.iter().all(still), kept.members.len() == now.members.len()) {
        (false, _) => Wording::Changed,
        (true, false) => Wording::Grown,
        (true, true) => Wording::Same,
    }
}
