//! One mirrored column's values: from the wire's bytes to datums.

use std::ops::Range;

use pgrx::prelude::*;

use crate::wire::Column;

/// How a column's values are read.
pub(crate) struct ColumnReader {
    /// Position in the mirror table's row, from 0.
    pub(super) position: usize,
    pub(super) type_oid: pg_sys::Oid,
    shortcut: Shortcut,
    input: pg_sys::FmgrInfo,
    receive: Option<pg_sys::FmgrInfo>,
    io_param: pg_sys::Oid,
    receive_param: pg_sys::Oid,
    type_modifier: i32,
}

/// Types whose binary form is read here without the type's own function: most of Odoo's columns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shortcut {
    None,
    Bool,
    Int2,
    Int4,
    Int8,
    Date,
    Timestamp,
    Text,
}

/// What date.h and timestamp.h call a valid date and a valid timestamp: days and microseconds since
/// 2000-01-01. The infinities, which lie outside, are valid too.
const DATES: Range<i32> = -2_451_545..2_147_483_494 - 2_451_545;
const TIMESTAMPS: Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

impl ColumnReader {
    /// For a column of the mirror table; function state lives in `context`.
    ///
    /// # Safety
    /// `context` must outlive the reader.
    pub(crate) unsafe fn new(
        attribute: &pg_sys::FormData_pg_attribute,
        position: usize,
        context: pg_sys::MemoryContext,
    ) -> ColumnReader {
        let type_oid = attribute.atttypid;
        let mut function = pg_sys::InvalidOid;
        let mut io_param = pg_sys::InvalidOid;
        let mut input = pg_sys::FmgrInfo::default();
        let mut receive_param = pg_sys::InvalidOid;
        let mut receive = None;
        // SAFETY: catalog lookups for an existing type; the caller vouches for the context.
        unsafe {
            pg_sys::getTypeInputInfo(type_oid, &mut function, &mut io_param);
            pg_sys::fmgr_info_cxt(function, &mut input, context);
            if has_receive(type_oid) {
                let mut info = pg_sys::FmgrInfo::default();
                pg_sys::getTypeBinaryInputInfo(type_oid, &mut function, &mut receive_param);
                pg_sys::fmgr_info_cxt(function, &mut info, context);
                receive = Some(info);
            }
        }
        // SAFETY: reads the database's encoding.
        let utf8 = unsafe { pg_sys::GetDatabaseEncoding() } == pg_sys::pg_enc::PG_UTF8 as i32;
        let shortcut = match type_oid {
            pg_sys::BOOLOID => Shortcut::Bool,
            pg_sys::INT2OID => Shortcut::Int2,
            pg_sys::INT4OID | pg_sys::OIDOID | pg_sys::FLOAT4OID => Shortcut::Int4,
            pg_sys::INT8OID | pg_sys::FLOAT8OID => Shortcut::Int8,
            pg_sys::DATEOID => Shortcut::Date,
            pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID if attribute.atttypmod < 0 => Shortcut::Timestamp,
            pg_sys::TEXTOID | pg_sys::VARCHAROID if utf8 && attribute.atttypmod < 0 => Shortcut::Text,
            _ => Shortcut::None,
        };
        ColumnReader {
            position,
            type_oid,
            shortcut,
            input,
            receive,
            io_param,
            receive_param,
            type_modifier: attribute.atttypmod,
        }
    }

    /// The value, allocated in the current memory context; None for NULL. Bad bytes raise a
    /// Postgres error.
    ///
    /// # Safety
    /// In a transaction; `scratch` is only borrowed.
    pub(crate) unsafe fn read(&mut self, column: Column<'_>, scratch: &mut Vec<u8>) -> Option<pg_sys::Datum> {
        match column {
            Column::Null | Column::Unchanged => None,
            // Some servers refuse to receive the empty query that they send.
            Column::Binary([0, 0, 0, 0]) if self.type_oid == pg_sys::TSQUERYOID => {
                // SAFETY: as the caller says.
                unsafe { self.read(Column::Text(b""), scratch) }
            }
            Column::Binary(bytes) => {
                // SAFETY: as the caller says.
                Some(unsafe { self.short_binary(bytes).unwrap_or_else(|| self.receive(bytes, scratch)) })
            }
            Column::Text(bytes) => {
                let valid = is_valid_text(bytes);
                if self.shortcut == Shortcut::Text && valid {
                    // SAFETY: copies the bytes into a palloc'd text.
                    return Some(unsafe { text(bytes) });
                }
                if !valid {
                    // An input function would stop at a zero byte, and trusts the encoding. SAFETY:
                    // reads the bytes; what the encoding does not allow raises the error of a
                    // receive function.
                    unsafe {
                        pg_sys::pg_verify_mbstr(
                            pg_sys::GetDatabaseEncoding(),
                            bytes.as_ptr().cast(),
                            bytes.len() as i32,
                            false,
                        );
                    }
                }
                scratch.clear();
                scratch.extend_from_slice(bytes);
                scratch.push(0);
                // SAFETY: a NUL-terminated string of our own, alive through the call.
                Some(unsafe {
                    pg_sys::InputFunctionCall(
                        &mut self.input,
                        scratch.as_mut_ptr().cast(),
                        self.io_param,
                        self.type_modifier,
                    )
                })
            }
        }
    }

    /// None where the type's receive function must read the value, or refuse it in its own words.
    unsafe fn short_binary(&self, bytes: &[u8]) -> Option<pg_sys::Datum> {
        match self.shortcut {
            Shortcut::None => None,
            Shortcut::Bool => <[u8; 1]>::try_from(bytes).ok().map(|[byte]| pg_sys::Datum::from(byte != 0)),
            Shortcut::Int2 => Some(pg_sys::Datum::from(i16::from_be_bytes(bytes.try_into().ok()?))),
            Shortcut::Int4 => Some(pg_sys::Datum::from(i32::from_be_bytes(bytes.try_into().ok()?))),
            Shortcut::Int8 => Some(pg_sys::Datum::from(i64::from_be_bytes(bytes.try_into().ok()?))),
            Shortcut::Date => {
                let date = i32::from_be_bytes(bytes.try_into().ok()?);
                let valid = DATES.contains(&date) || matches!(date, i32::MIN | i32::MAX);
                valid.then(|| pg_sys::Datum::from(date))
            }
            Shortcut::Timestamp => {
                let timestamp = i64::from_be_bytes(bytes.try_into().ok()?);
                let valid = TIMESTAMPS.contains(&timestamp) || matches!(timestamp, i64::MIN | i64::MAX);
                valid.then(|| pg_sys::Datum::from(timestamp))
            }
            // SAFETY: copies the bytes into a palloc'd text.
            Shortcut::Text => is_valid_text(bytes).then(|| unsafe { text(bytes) }),
        }
    }

    unsafe fn receive(&mut self, bytes: &[u8], scratch: &mut Vec<u8>) -> pg_sys::Datum {
        let Some(receive) = &mut self.receive else {
            pgrx::ereport!(
                ERROR,
                PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
                "a binary value came for a type without a receive function"
            );
        };
        // Receive functions may write a NUL behind the value, and take it back.
        scratch.clear();
        scratch.extend_from_slice(bytes);
        scratch.push(0);
        let mut buffer = pg_sys::StringInfoData {
            data: scratch.as_mut_ptr().cast(),
            len: bytes.len() as i32,
            maxlen: scratch.len() as i32,
            cursor: 0,
        };
        // SAFETY: the buffer is ours, ends in a spare byte, and lives through the call.
        let datum = unsafe {
            pg_sys::ReceiveFunctionCall(receive, &mut buffer, self.receive_param, self.type_modifier)
        };
        if buffer.cursor != buffer.len {
            pgrx::ereport!(
                ERROR,
                PgSqlErrorCode::ERRCODE_INVALID_BINARY_REPRESENTATION,
                "incorrect binary data format in replicated column"
            );
        }
        datum
    }
}

/// Whether a text of this database, which is in UTF-8, may hold the bytes.
fn is_valid_text(bytes: &[u8]) -> bool {
    !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok()
}

unsafe fn text(bytes: &[u8]) -> pg_sys::Datum {
    // SAFETY: makes a palloc'd copy.
    pg_sys::Datum::from(unsafe {
        pg_sys::cstring_to_text_with_len(bytes.as_ptr().cast(), bytes.len() as i32)
    })
}

fn has_receive(type_oid: pg_sys::Oid) -> bool {
    // SAFETY: a syscache lookup, released before the struct is left.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::TYPEOID as i32,
            pg_sys::Datum::from(type_oid),
        );
        if tuple.is_null() {
            return false;
        }
        let form = pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_type>(tuple);
        let has = (*form).typreceive != pg_sys::InvalidOid;
        pg_sys::ReleaseSysCache(tuple);
        has
    }
}
