//! Tuples kept as bytes and put together anew.

use odoo_mirror::wire::{Column, Tuple, TupleWriter, WireError};
use proptest::prelude::*;

use super::round_trip::row;
use super::sent::{put_tuple, row as cells};

proptest! {
    #[test]
    fn a_tuple_keeps_its_own_bytes_and_leaves_the_rest(row in row(), after: Vec<u8>) {
        let mut bytes = Vec::new();
        put_tuple(&mut bytes, &row);
        let own = bytes.clone();
        bytes.extend(&after);
        let (tuple, rest) = Tuple::from_bytes(&bytes).unwrap();
        prop_assert_eq!(tuple.as_bytes(), &own);
        prop_assert_eq!(rest, &after);
        prop_assert_eq!(tuple.len(), row.len());
        for (i, column) in tuple.iter().enumerate() {
            prop_assert_eq!(tuple.get(i), Some(column));
        }
        prop_assert_eq!(cells(&Tuple::from_validated(&own)), row);
    }

    #[test]
    fn bytes_that_were_never_a_tuple_are_harmless(bytes: Vec<u8>) {
        let tuple = Tuple::from_validated(&bytes);
        prop_assert_eq!(tuple.iter().count(), tuple.len());
    }
}

#[test]
fn what_is_missing_from_an_unchecked_tuple_reads_as_null() {
    let tuple = Tuple::from_validated(b"\0\x03t\0\0\0\x01xt\0\0\0\x09short");
    assert_eq!(tuple.iter().collect::<Vec<_>>(), [Column::Text(b"x"), Column::Null, Column::Null]);
    assert_eq!(Tuple::from_validated(b"").len(), 0);
    assert_eq!(Tuple::from_validated(b"\xff\xff").len(), 0);
}

#[test]
fn a_writer_merges_two_versions_of_a_row_behind_what_is_there() {
    let (old, _) = Tuple::from_bytes(b"\0\x02t\0\0\0\x011t\0\0\0\x03big").unwrap();
    let (new, _) = Tuple::from_bytes(b"\0\x02t\0\0\0\x012u").unwrap();
    let mut arena = b"kept".to_vec();
    let mut writer = TupleWriter::new(&mut arena);
    for (old, new) in old.iter().zip(new) {
        writer.put(if new == Column::Unchanged { old } else { new });
    }
    let merged = writer.finish().unwrap();
    assert_eq!(merged.iter().collect::<Vec<_>>(), [Column::Text(b"2"), Column::Text(b"big")]);
    assert_eq!(arena, b"kept\0\x02t\0\0\0\x012t\0\0\0\x03big");
}

#[test]
fn a_writer_refuses_more_columns_than_the_wire_can_count() {
    let mut arena = b"kept".to_vec();
    let mut writer = TupleWriter::new(&mut arena);
    (0..=i16::MAX).for_each(|_| writer.put(Column::Null));
    assert_eq!(writer.finish(), Err(WireError::TooLarge { what: "tuple's column count" }));
    assert_eq!(arena, b"kept");
}
