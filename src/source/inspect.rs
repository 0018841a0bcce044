//! One look at the source before anything starts: who it is, whether it can be mirrored, what it publishes.

use super::catalog;
use super::connect::Connector;
use super::prepare::{self, Check, SourceIdentity};
use super::slot::{self, SlotState};
use crate::error::Error;
use crate::mirror::ranges::KeyRange;
use crate::mirror::source_table::SourceTable;

#[derive(Debug, Clone)]
pub struct InspectRequest {
    pub publication: String,
    pub slot: String,
    pub excluded: Vec<String>,
    /// Tables that need no ranges: they are mirrored already.
    pub known: Vec<u32>,
    pub rows_per_range: i64,
}

#[derive(Debug)]
pub struct Inspection {
    pub identity: SourceIdentity,
    pub checks: Vec<Check>,
    pub tables: Vec<Found>,
    pub slot: Option<SlotState>,
    /// A transaction id of now, 64 bits.
    pub near: u64,
}

#[derive(Debug)]
pub struct Found {
    pub table: SourceTable,
    /// Into which pieces a copy is cut.
    pub ranges: Vec<KeyRange>,
}

pub async fn inspect(connector: &Connector, request: &InspectRequest) -> Result<Inspection, Error> {
    let client = connector.sql().await?;
    let identity = prepare::identify(&client).await?;
    let tables = catalog::published_tables(&client, &request.publication, &request.excluded).await?;
    let checks = prepare::checks(&client, &request.publication, &request.slot, &tables).await?;
    let slot = slot::slot(&client, &request.slot).await?;
    let mut found = Vec::with_capacity(tables.len());
    for table in tables {
        let ranges = if request.known.contains(&table.oid) {
            Vec::new()
        } else {
            catalog::range_cuts(&client, &table, request.rows_per_range).await?
        };
        found.push(Found { table, ranges });
    }
    let near = catalog::current_xid(&client).await?;
    Ok(Inspection { identity, checks, tables: found, slot, near })
}
