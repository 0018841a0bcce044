//! Where the events of a relation go: to a mirrored table that it fits, or nowhere.

use std::sync::Arc;

use hashbrown::HashMap;

use super::stream_table::{Layout, Standing, StreamTable};
use crate::wire::Relation;

/// The mirrored tables, by their OIDs on the source.
pub(super) type Tables = HashMap<u32, Arc<StreamTable>>;

/// Where a relation's events go.
pub(super) enum Target {
    Table(Arc<StreamTable>, Arc<Layout>),
    /// They don't fit the table, for this reason: the first that would have to be applied fails it.
    Misfit(Arc<StreamTable>, String),
    Nowhere,
}

pub(super) struct Route {
    pub(super) relation: Relation,
    /// Of the message that described it.
    pub(super) bytes: usize,
    pub(super) target: Target,
    /// It came anew and doesn't tell the table's key: before the first change under it the catalog
    /// is asked.
    pub(super) is_to_be_asked: bool,
    /// The table's part in the batch at hand.
    pub(super) open: Option<usize>,
}

pub(super) fn target(tables: &Tables, relation: &Relation) -> Target {
    match tables.get(&relation.id) {
        None => Target::Nowhere,
        Some(table) if table.standing == Standing::Filtered => Target::Nowhere,
        Some(table) => match table.layout(relation) {
            Ok(layout) => Target::Table(Arc::clone(table), Arc::new(layout)),
            Err(reason) => Target::Misfit(Arc::clone(table), reason),
        },
    }
}

pub(super) fn by_oid(tables: Vec<Arc<StreamTable>>) -> Tables {
    tables.into_iter().map(|table| (table.source_oid, table)).collect()
}
