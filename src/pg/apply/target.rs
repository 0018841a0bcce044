//! A mirror table prepared for applying: its row's shape, readers for its columns, plans kept over
//! batches.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::Arc;

use pgrx::prelude::*;

use super::column::ColumnReader;
use super::looking;
use super::rows::{Rows, STORE_KB, array_of};
use super::statement::Names;
use crate::error::Error;
use crate::mirror::batch::{Arena, Span};
use crate::mirror::fence::RowKey;
use crate::mirror::stream_table::{Layout, StreamTable};
use crate::wire::{Column, Tuple};

/// Which statement a kept plan is for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Statement {
    Insert,
    Upsert { unchanged: Vec<bool>, watched: bool },
    Delete,
    Rekey { unchanged: Vec<bool> },
    FindWhole,
    UpdateAt,
    DeleteAt,
}

pub(super) struct Target {
    pub(super) table: Arc<StreamTable>,
    layout: Arc<Layout>,
    pub(super) oid: pg_sys::Oid,
    /// Holds the row descriptor and the functions' state; freed with the target.
    context: pg_sys::MemoryContext,
    descriptor: pg_sys::TupleDesc,
    /// For each column of the layout; None where the mirror leaves it out.
    readers: Vec<Option<ColumnReader>>,
    /// Mirrored columns in the layout's order, and each one's place in the layout.
    columns: Vec<String>,
    places: Vec<usize>,
    plans: HashMap<Statement, pg_sys::SPIPlanPtr>,
    scratch: Vec<u8>,
    /// Which row is being looked at is noted.
    pub(super) watched: bool,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl Target {
    /// Prepares the table, which must be locked in this transaction.
    pub(super) fn open(
        table: &Arc<StreamTable>,
        layout: &Arc<Layout>,
        relation: pg_sys::Relation,
    ) -> Result<Target, Error> {
        // SAFETY: the relation is open and locked; the context made here lives as long as the
        // target.
        unsafe {
            let context = pg_sys::AllocSetContextCreateInternal(
                pg_sys::TopMemoryContext,
                c"odoo_mirror target".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            );
            let before = pg_sys::MemoryContextSwitchTo(context);
            let descriptor = pg_sys::CreateTupleDescCopyConstr((*relation).rd_att);
            pg_sys::MemoryContextSwitchTo(before);
            let natts = (*descriptor).natts as usize;
            let mut target = Target {
                table: Arc::clone(table),
                layout: Arc::clone(layout),
                oid: (*relation).rd_id,
                context,
                descriptor,
                readers: Vec::with_capacity(layout.columns.len()),
                columns: Vec::new(),
                places: Vec::new(),
                plans: HashMap::new(),
                scratch: Vec::new(),
                watched: false,
                values: vec![pg_sys::Datum::from(0usize); natts],
                nulls: vec![true; natts],
            };
            for (place, column) in layout.columns.iter().enumerate() {
                let Some(name) = column else {
                    target.readers.push(None);
                    continue;
                };
                let found = (0..natts).find(|index| {
                    let attribute = attribute(descriptor, *index);
                    !attribute.attisdropped
                        && CStr::from_ptr(attribute.attname.data.as_ptr()).to_bytes() == name.as_bytes()
                });
                let Some(position) = found else {
                    return Err(Error::retry_slowly(format!(
                        "column \"{name}\" of table odoo_mirror.\"{}\" is gone",
                        table.name
                    ))
                    .hint("Someone changed the mirror's table. SELECT odoo_mirror.resync() on it puts it right."));
                };
                let here = formatted_type(attribute(descriptor, position));
                let made = table.columns.iter().find(|column| column.name == *name);
                if let Some(made) = made.filter(|made| made.mirror_type != here) {
                    return Err(Error::retry_slowly(format!(
                        "column \"{name}\" of table odoo_mirror.\"{}\" is {here} and not {}",
                        table.name, made.mirror_type
                    ))
                    .hint("Someone changed the mirror's table. SELECT odoo_mirror.resync() on it puts it right."));
                }
                target.readers.push(Some(ColumnReader::new(
                    attribute(descriptor, position),
                    position,
                    context,
                )));
                target.columns.push(name.clone());
                target.places.push(place);
            }
            Ok(target)
        }
    }

    /// Whether it still stands for this table as it is now.
    pub(super) fn fits(
        &self,
        table: &Arc<StreamTable>,
        layout: &Arc<Layout>,
        relation: pg_sys::Relation,
    ) -> bool {
        // SAFETY: both descriptors are alive.
        self.table.generation == table.generation
            && (Arc::ptr_eq(&self.layout, layout) || self.layout == *layout)
            && unsafe {
                (*relation).rd_id == self.oid && pg_sys::equalTupleDescs(self.descriptor, (*relation).rd_att)
            }
    }

    /// Notes the batch's own table and layout, equal in what matters here.
    pub(super) fn adopt(&mut self, table: &Arc<StreamTable>, layout: &Arc<Layout>) {
        self.table = Arc::clone(table);
        self.layout = Arc::clone(layout);
    }

    fn names(&self) -> Names<'_> {
        Names { table: &self.table.name, columns: &self.columns, key: &self.table.key }
    }

    /// Which mirrored columns of the tuple are unchanged.
    pub(super) fn unchanged(&self, tuple: Tuple<'_>) -> Vec<bool> {
        let all: Vec<bool> = tuple.iter().map(|column| column == Column::Unchanged).collect();
        self.places.iter().map(|place| all.get(*place).copied().unwrap_or(false)).collect()
    }

    /// Gathers rows (or keys, when `keys`) into a tuplestore that statements see as
    /// [`ROWS`](super::statement::ROWS). Inside SPI, in a memory context that outlives the
    /// statement.
    pub(super) fn rows(&mut self, arena: &Arena, spans: impl Iterator<Item = Span>, keys: bool) -> Rows {
        looking::at_none();
        // SAFETY: the store lives in the current context; each row's values live in the row
        // context, which is reset once the store has its own copy.
        unsafe {
            let store = pg_sys::tuplestore_begin_heap(false, false, STORE_KB);
            let row_context = row_context();
            let mut count = 0;
            for span in spans {
                if self.watched {
                    looking::at_next();
                }
                let before = pg_sys::MemoryContextSwitchTo(row_context);
                if keys {
                    self.fill_key(arena.tuple(span));
                } else {
                    self.fill(arena.tuple(span));
                }
                pg_sys::MemoryContextSwitchTo(before);
                pg_sys::tuplestore_putvalues(
                    store,
                    self.descriptor,
                    self.values.as_mut_ptr(),
                    self.nulls.as_mut_ptr(),
                );
                pg_sys::MemoryContextReset(row_context);
                count += 1;
            }
            pg_sys::MemoryContextDelete(row_context);
            looking::at_none();
            Rows::register(store, self.oid, count)
        }
    }

    unsafe fn fill(&mut self, tuple: Tuple<'_>) {
        for (reader, column) in self.readers.iter_mut().zip(tuple.iter()) {
            let Some(reader) = reader else { continue };
            // SAFETY: in a transaction, in the row context.
            let value = unsafe { reader.read(column, &mut self.scratch) };
            self.nulls[reader.position] = value.is_none();
            self.values[reader.position] = value.unwrap_or(pg_sys::Datum::from(0usize));
        }
    }

    unsafe fn fill_key(&mut self, key: Tuple<'_>) {
        self.nulls.fill(true);
        for (place, column) in self.layout.key.iter().zip(key.iter()) {
            let Some(reader) = self.readers.get_mut(*place).and_then(Option::as_mut) else { continue };
            // SAFETY: as above.
            let value = unsafe { reader.read(column, &mut self.scratch) };
            self.nulls[reader.position] = value.is_none();
            self.values[reader.position] = value.unwrap_or(pg_sys::Datum::from(0usize));
        }
    }

    /// Whether the table has no column but those that the stream brings.
    pub(super) fn fills_every_column(&self) -> bool {
        // SAFETY: the descriptor is the target's own.
        let dropped = |index: usize| unsafe { attribute(self.descriptor, index) }.attisdropped;
        (0..self.values.len()).filter(|index| !dropped(*index)).count() == self.columns.len()
    }

    /// Where the key's columns stand in the mirror's row; None without a key.
    pub(super) fn key_columns(&self) -> Option<impl Iterator<Item = usize>> {
        let places = self.layout.key.iter();
        let readers = places.filter_map(|place| self.readers.get(*place)?.as_ref());
        self.table.has_key().then(|| readers.map(|reader| reader.position))
    }

    /// Fills a slot of the table's row; values are allocated in the current context.
    ///
    /// # Safety
    /// In a transaction; the slot is virtual and has the target's descriptor.
    pub(super) unsafe fn fill_slot(&mut self, row: Tuple<'_>, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: as the caller says.
        unsafe {
            self.fill(row);
            self.store(slot);
        }
    }

    /// As [`fill_slot`](Self::fill_slot), with the key's columns only.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn fill_key_slot(&mut self, key: Tuple<'_>, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: as the caller says.
        unsafe {
            self.fill_key(key);
            self.store(slot);
        }
    }

    unsafe fn store(&self, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: a slot of this descriptor has room for as many values.
        unsafe {
            pg_sys::ExecClearTuple(slot);
            (*slot).tts_values.copy_from_nonoverlapping(self.values.as_ptr(), self.values.len());
            (*slot).tts_isnull.copy_from_nonoverlapping(self.nulls.as_ptr(), self.nulls.len());
            pg_sys::ExecStoreVirtualTuple(slot);
        }
    }

    /// Takes the columns that `row` leaves unchanged from `old` to `new`.
    ///
    /// # Safety
    /// Slots of the table's row; `old` lives as long as `new` is used.
    pub(super) unsafe fn keep_unchanged(
        &self,
        row: Tuple<'_>,
        new: *mut pg_sys::TupleTableSlot,
        old: *mut pg_sys::TupleTableSlot,
    ) {
        // SAFETY: positions are below the descriptor's number of columns; all values of `old` are
        // extracted first.
        unsafe {
            pg_sys::slot_getallattrs(old);
            for (reader, column) in self.readers.iter().zip(row.iter()) {
                let Some(reader) = reader.as_ref().filter(|_| column == Column::Unchanged) else { continue };
                *(*new).tts_values.add(reader.position) = *(*old).tts_values.add(reader.position);
                *(*new).tts_isnull.add(reader.position) = *(*old).tts_isnull.add(reader.position);
            }
        }
    }

    /// A key's values as parameters, and their types, in the current context.
    pub(super) fn key_values(&mut self, key: Tuple<'_>) -> Vec<pg_sys::Datum> {
        let mut values = Vec::with_capacity(self.layout.key.len());
        for (place, column) in self.layout.key.iter().zip(key.iter()) {
            if let Some(reader) = self.readers.get_mut(*place).and_then(Option::as_mut) {
                // SAFETY: in a transaction; a key has no NULL.
                values.push(
                    unsafe { reader.read(column, &mut self.scratch) }.unwrap_or(pg_sys::Datum::from(0usize)),
                );
            }
        }
        values
    }

    /// A key's values as text, in the current context.
    pub(super) fn key_text(&mut self, key: Tuple<'_>) -> RowKey {
        let types = self.key_types();
        let values = self.key_values(key);
        values.into_iter().zip(types).map(|(value, type_oid)| text_of(value, type_oid)).collect()
    }

    /// A row's mirrored columns by name, as text, None for NULL; without those that the stream left
    /// unchanged. What is text already is taken as it is; without `reads`, other columns are left
    /// out.
    pub(super) fn row_text(&mut self, row: Tuple<'_>, reads: bool) -> Vec<(String, Option<String>)> {
        let mut texts = Vec::with_capacity(self.columns.len());
        for ((reader, name), column) in self.readers.iter_mut().zip(&self.layout.columns).zip(row.iter()) {
            let (Some(reader), Some(name)) = (reader, name) else { continue };
            let text = match column {
                Column::Unchanged => continue,
                Column::Null => None,
                Column::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
                Column::Binary(_) if !reads => continue,
                Column::Binary(_) => {
                    let type_oid = reader.type_oid;
                    // SAFETY: in a transaction; the value is one of the reader's type.
                    unsafe { reader.read(column, &mut self.scratch) }.map(|value| text_of(value, type_oid))
                }
            };
            texts.push((name.clone(), text));
        }
        texts
    }

    pub(super) fn key_types(&self) -> Vec<pg_sys::Oid> {
        let readers = self.layout.key.iter().filter_map(|place| self.readers.get(*place)?.as_ref());
        readers.map(|reader| reader.type_oid).collect()
    }

    /// The key's type, when it is one column of a type that has arrays: then deletes go by `= ANY`.
    pub(super) fn deletes_by_array(&self) -> Option<pg_sys::Oid> {
        match self.key_types().as_slice() {
            [one] if array_of(*one) != pg_sys::InvalidOid => Some(*one),
            _ => None,
        }
    }

    /// The plan for a statement, prepared at its first use and kept. The batch's rows must be
    /// registered when it reads them.
    pub(super) fn plan(&mut self, statement: Statement) -> Result<pg_sys::SPIPlanPtr, Error> {
        if let Some(plan) = self.plans.get(&statement) {
            return Ok(*plan);
        }
        let names = self.names();
        let key_types = self.key_types();
        let (sql, mut types) = match &statement {
            Statement::Insert => (names.insert(), vec![]),
            Statement::Upsert { unchanged, watched } => (names.upsert(unchanged, *watched), vec![]),
            Statement::Delete => match self.deletes_by_array() {
                Some(key_type) => (names.delete_one_column(), vec![array_of(key_type)]),
                None => (names.delete_several_columns(), vec![]),
            },
            Statement::Rekey { unchanged } => (names.rekey(unchanged), key_types),
            Statement::FindWhole => (names.find_whole(), vec![]),
            Statement::UpdateAt => (names.update_at(), vec![pg_sys::TIDOID]),
            Statement::DeleteAt => (names.delete_at(), vec![array_of(pg_sys::TIDOID)]),
        };
        let text = CString::new(sql).map_err(|_| Error::stop("a name holds a NUL"))?;
        // SAFETY: inside SPI; text and types live through the call. The plan is moved out of SPI's
        // memory.
        let plan = unsafe {
            let plan = pg_sys::SPI_prepare(text.as_ptr(), types.len() as i32, types.as_mut_ptr());
            if plan.is_null() {
                return Err(Error::stop("SPI_prepare failed"));
            }
            pg_sys::SPI_keepplan(plan);
            plan
        };
        self.plans.insert(statement, plan);
        Ok(plan)
    }

    /// SQL that removes all rows, or those of a condition.
    pub(super) fn delete_where(&self, condition: Option<&str>) -> String {
        self.names().delete_where(condition)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // SAFETY: kept plans and the context are this target's own. After a FATAL no destructor
        // runs; the process's memory goes with it.
        unsafe {
            for plan in self.plans.values() {
                pg_sys::SPI_freeplan(*plan);
            }
            pg_sys::MemoryContextDelete(self.context);
        }
    }
}

unsafe fn row_context() -> pg_sys::MemoryContext {
    // SAFETY: a child of the current context.
    unsafe {
        pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"odoo_mirror row".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        )
    }
}

/// The column's type as SQL says it.
unsafe fn formatted_type(attribute: &pg_sys::FormData_pg_attribute) -> String {
    // SAFETY: catalog lookups; the text is palloc'd and copied.
    unsafe {
        let text = pg_sys::format_type_with_typemod(attribute.atttypid, attribute.atttypmod);
        CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}

/// A value's text.
fn text_of(value: pg_sys::Datum, type_oid: pg_sys::Oid) -> String {
    let (mut output, mut varlena) = (pg_sys::InvalidOid, false);
    // SAFETY: the value is one of the type; its text is copied.
    unsafe {
        pg_sys::getTypeOutputInfo(type_oid, &mut output, &mut varlena);
        let text = pg_sys::OidOutputFunctionCall(output, value);
        CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}

unsafe fn attribute<'a>(descriptor: pg_sys::TupleDesc, index: usize) -> &'a pg_sys::FormData_pg_attribute {
    // SAFETY: the index is below natts, and the descriptor outlives the use.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        return &(*descriptor).attrs.as_slice((*descriptor).natts as usize)[index];
        #[cfg(feature = "pg18")]
        return &*(*descriptor)
            .compact_attrs
            .as_ptr()
            .add((*descriptor).natts as usize)
            .cast::<pg_sys::FormData_pg_attribute>()
            .add(index);
    }
}
