//! A value that is read without its type's own function is what that function would have made of
//! it.

#[pgrx::pg_schema]
mod tests {
    use std::panic::AssertUnwindSafe;

    use pgrx::prelude::*;

    use crate::pg::apply::column::ColumnReader;
    use crate::wire::Column;

    /// Most of Odoo's columns: those with a shortcut, and some without.
    const TYPES: [pg_sys::Oid; 14] = [
        pg_sys::BOOLOID,
        pg_sys::INT2OID,
        pg_sys::INT4OID,
        pg_sys::OIDOID,
        pg_sys::FLOAT4OID,
        pg_sys::INT8OID,
        pg_sys::FLOAT8OID,
        pg_sys::DATEOID,
        pg_sys::TIMESTAMPOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TEXTOID,
        pg_sys::VARCHAROID,
        pg_sys::NUMERICOID,
        pg_sys::UUIDOID,
    ];

    /// The value as its type prints it, or why it was refused.
    fn outcome(
        type_oid: pg_sys::Oid,
        read: impl FnOnce() -> Option<pg_sys::Datum>,
    ) -> Result<String, String> {
        PgTryBuilder::new(AssertUnwindSafe(|| {
            let datum = read().expect("it is not null");
            let (mut output, mut varlena) = (pg_sys::InvalidOid, false);
            // SAFETY: the value is one of the type.
            unsafe {
                pg_sys::getTypeOutputInfo(type_oid, &mut output, &mut varlena);
                let text = pg_sys::OidOutputFunctionCall(output, datum);
                Ok(std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned())
            }
        }))
        .catch_others(|caught| match caught {
            pg_sys::panic::CaughtError::PostgresError(report)
            | pg_sys::panic::CaughtError::ErrorReport(report)
            | pg_sys::panic::CaughtError::RustPanic { ereport: report, .. } => {
                Err(format!("{:?}: {}", report.sql_error_code(), report.message()))
            }
        })
        .execute()
    }

    fn by_reader(type_oid: pg_sys::Oid, column: Column<'_>) -> Result<String, String> {
        let attribute =
            pg_sys::FormData_pg_attribute { atttypid: type_oid, atttypmod: -1, ..Default::default() };
        outcome(type_oid, || {
            // SAFETY: the reader lives no longer than this call, the context longer.
            unsafe {
                let mut reader = ColumnReader::new(&attribute, 0, pg_sys::CurrentMemoryContext);
                reader.read(column, &mut Vec::new())
            }
        })
    }

    fn by_receive_function(type_oid: pg_sys::Oid, bytes: &[u8]) -> Result<String, String> {
        outcome(type_oid, || {
            let (mut function, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
            let mut copy = bytes.to_vec();
            copy.push(0);
            let mut buffer = pg_sys::StringInfoData {
                data: copy.as_mut_ptr().cast(),
                len: bytes.len() as i32,
                maxlen: copy.len() as i32,
                cursor: 0,
            };
            // SAFETY: the buffer ends in a spare byte and lives through the call.
            let datum = unsafe {
                pg_sys::getTypeBinaryInputInfo(type_oid, &mut function, &mut parameter);
                pg_sys::OidReceiveFunctionCall(function, &mut buffer, parameter, -1)
            };
            if buffer.cursor != buffer.len {
                pgrx::ereport!(
                    ERROR,
                    PgSqlErrorCode::ERRCODE_INVALID_BINARY_REPRESENTATION,
                    "incorrect binary data format in replicated column"
                );
            }
            Some(datum)
        })
    }

    /// Random bytes of the lengths that values have, and the bounds of dates and timestamps.
    fn samples() -> Vec<Vec<u8>> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut samples: Vec<Vec<u8>> = Vec::new();
        for _ in 0..400 {
            let length = [0, 1, 2, 3, 4, 5, 8, 9, 16][(random() % 9) as usize];
            samples.push((0..length).map(|_| random() as u8).collect());
        }
        for bound in [-2_451_545_i32, 2_145_031_949, i32::MIN, i32::MAX, 0] {
            samples.extend([-1, 0, 1].map(|off| bound.wrapping_add(off).to_be_bytes().to_vec()));
        }
        for bound in [-211_813_488_000_000_000_i64, 9_223_371_331_200_000_000, i64::MIN, i64::MAX, 0] {
            samples.extend([-1, 0, 1].map(|off| bound.wrapping_add(off).to_be_bytes().to_vec()));
        }
        for text in ["", "plain", "\0", "a\0b", "Zürich", "\u{10ffff}"] {
            samples.push(text.as_bytes().to_vec());
        }
        samples.extend([b"\xff".to_vec(), b"ab\xc3".to_vec(), b"\xed\xa0\x80".to_vec()]);
        samples
    }

    #[pg_test]
    fn a_shortcut_takes_and_refuses_what_the_types_receive_function_does() {
        for type_oid in TYPES {
            for bytes in samples() {
                assert_eq!(
                    by_reader(type_oid, Column::Binary(&bytes)),
                    by_receive_function(type_oid, &bytes),
                    "type {type_oid:?}, bytes {bytes:?}"
                );
            }
        }
    }

    #[pg_test]
    fn a_text_that_the_encoding_does_not_allow_is_refused_for_every_type() {
        for type_oid in [pg_sys::TEXTOID, pg_sys::VARCHAROID, pg_sys::INT4OID, pg_sys::JSONBOID] {
            for bytes in [&b"1\0 OR 1"[..], b"\0", b"\xff\xfe", b"12\xc3"] {
                let refused = by_reader(type_oid, Column::Text(bytes)).expect_err("it is no text");
                assert!(refused.contains("invalid byte sequence for encoding \"UTF8\""), "{refused}");
            }
        }
    }
}
