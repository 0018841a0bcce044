//! Under which name each table of the source is mirrored, and under which it stands in the registry
//! when another has that name.

use super::registry::Table;
use super::table_making::type_here;
use crate::mirror::shape::{Claim, MirrorShape, ShapeError, mirror_name};
use crate::mirror::source_table::SourceTable;

/// The shapes of all published tables. Who is mirrored keeps its name, whatever the order in which
/// they are found; a table that is `fit` goes before one that isn't.
pub fn shapes(
    sources: &[SourceTable],
    known: &[Table],
    fit: impl Fn(&SourceTable) -> bool,
) -> Vec<Result<MirrorShape, ShapeError>> {
    let claim = |source: &SourceTable| {
        let name = mirror_name(&source.schema, &source.name);
        // One that could never be taken in holds no name.
        let holder = known.iter().find(|table| table.name == name && !table.shape.columns.is_empty());
        match holder {
            Some(holder) if holder.source.oid == source.oid => Claim::Mirrored,
            Some(holder) if is_of(holder, source) => Claim::Remade,
            _ if fit(source) => Claim::Fit,
            _ => Claim::Unfit,
        }
    };
    MirrorShape::of_all(sources, &claim, &type_here)
}

/// Whether this is the registry's entry of the source's table, by name.
pub fn is_of(table: &Table, source: &SourceTable) -> bool {
    table.source.schema == source.schema && table.source.name == source.name
}

/// The name under which the registry has a table of the source: that of its mirror, unless that is
/// another's.
pub fn entry(
    source: &SourceTable,
    shape: Result<&MirrorShape, &ShapeError>,
    known: &[Table],
    shapes: &[Result<MirrorShape, ShapeError>],
) -> String {
    let mirror = mirror_name(&source.schema, &source.name);
    let taken = |name: &str| {
        known.iter().any(|table| table.name == name && !is_of(table, source))
            || shapes.iter().flatten().any(|shape| shape.name == name)
    };
    let free = || {
        let plain = format!("{}.{}", source.schema, source.name);
        let numbered = (2..).map(|number| format!("{plain} ({number})"));
        std::iter::once(plain.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(plain)
    };
    match shape {
        Ok(shape) => shape.name.clone(),
        Err(ShapeError::SameName { .. }) => {
            let own = known.iter().find(|table| is_of(table, source) && table.name != mirror);
            own.map_or_else(free, |table| table.name.clone())
        }
        Err(_) if taken(&mirror) => free(),
        Err(_) => mirror,
    }
}

/// Whether the name that a table would be mirrored under is free by now: what had it isn't
/// published any more, or is called otherwise.
pub fn is_free(source: &SourceTable, known: &[Table], published: &[SourceTable]) -> bool {
    let name = mirror_name(&source.schema, &source.name);
    let holds = |table: &Table| {
        table.name == name
            && !is_of(table, source)
            && published
                .iter()
                .any(|other| other.oid == table.source.oid && mirror_name(&other.schema, &other.name) == name)
    };
    !known.iter().any(holds)
}
