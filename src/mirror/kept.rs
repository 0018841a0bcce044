//! Rows that were refused and kept, made into changes again.

use std::sync::Arc;

use super::batch::{Action, Arena, Batch, Change, Span, Step, TableBatch, Tally};
use super::fence::RowKey;
use super::stream_table::{Layout, StreamTable};
use crate::wire::{Column, WireError};

/// A column of a kept row: its text, None for NULL; no value at all where the stream left it
/// unchanged.
pub type KeptColumn = Option<Option<String>>;

impl Batch {
    /// One kept change of a row: its columns in the layout's order; none: it was taken away.
    pub fn of_kept(
        table: &Arc<StreamTable>,
        layout: &Arc<Layout>,
        key: &RowKey,
        row: Option<&[KeptColumn]>,
    ) -> Result<Batch, WireError> {
        let mut arena = Arena::default();
        let key = arena.write(key.iter().map(|value| Column::Text(value.as_bytes())))?;
        let change = match row {
            None => Change { key, row: Span::default(), action: Action::Delete },
            Some(row) => {
                let partial = row.iter().any(Option::is_none);
                let action = if partial { Action::Update { partial } } else { Action::Replace };
                Change { key, row: arena.write(row.iter().map(column))?, action }
            }
        };
        let part = TableBatch {
            table: Arc::clone(table),
            layout: Arc::clone(layout),
            steps: vec![Step::Folded(vec![change])],
            touches: Vec::new(),
            tally: Tally::default(),
        };
        Ok(Batch { arena, tables: vec![part], ..Batch::default() })
    }
}

fn column(value: &KeptColumn) -> Column<'_> {
    match value {
        None => Column::Unchanged,
        Some(None) => Column::Null,
        Some(Some(value)) => Column::Text(value.as_bytes()),
    }
}
