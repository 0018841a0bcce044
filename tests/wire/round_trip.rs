//! Any message that a source can mean arrives as it was meant.

use odoo_mirror::wire::{Relation, RelationColumn, ReplicaIdentity, decode};
use proptest::collection::vec;
use proptest::prelude::*;

use super::checks;
use super::sent::{Cell, OldRow, Row, Sent};

const TEXT: &str = "[^\0]{0,12}";

fn schema() -> impl Strategy<Value = String> {
    prop_oneof![Just("pg_catalog".to_owned()), "[^\0]{1,12}"]
}

pub fn row() -> impl Strategy<Value = Row> {
    let cell = prop_oneof![
        Just(Cell::Null),
        Just(Cell::Unchanged),
        any::<Vec<u8>>().prop_map(Cell::Text),
        any::<Vec<u8>>().prop_map(Cell::Binary),
    ];
    vec(cell, 0..12)
}

fn old() -> impl Strategy<Value = OldRow> {
    prop_oneof![row().prop_map(OldRow::Key), row().prop_map(OldRow::Row)]
}

fn relation() -> impl Strategy<Value = Relation> {
    let identity = prop_oneof![
        Just(ReplicaIdentity::Default),
        Just(ReplicaIdentity::Nothing),
        Just(ReplicaIdentity::Full),
        Just(ReplicaIdentity::Index),
    ];
    let column = (any::<bool>(), TEXT, any::<u32>(), any::<i32>())
        .prop_map(|(key, name, type_id, type_modifier)| RelationColumn { key, name, type_id, type_modifier });
    (any::<u32>(), schema(), TEXT, identity, vec(column, 0..12)).prop_map(
        |(id, schema, name, replica_identity, columns)| Relation {
            id,
            schema,
            name,
            replica_identity,
            columns,
        },
    )
}

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        any::<(u64, i64, u32)>().prop_map(|(final_lsn, commit_time, xid)| Sent::Begin {
            final_lsn,
            commit_time,
            xid
        }),
        any::<(u8, u64, u64, i64)>().prop_map(|(flags, commit_lsn, end_lsn, commit_time)| Sent::Commit {
            flags,
            commit_lsn,
            end_lsn,
            commit_time
        }),
        (any::<u64>(), TEXT).prop_map(|(commit_lsn, name)| Sent::Origin { commit_lsn, name }),
        relation().prop_map(Sent::Relation),
        (any::<u32>(), schema(), TEXT).prop_map(|(id, schema, name)| Sent::Type { id, schema, name }),
        (any::<u32>(), row()).prop_map(|(relation, new)| Sent::Insert { relation, new }),
        (any::<u32>(), proptest::option::of(old()), row()).prop_map(|(relation, old, new)| Sent::Update {
            relation,
            old,
            new
        }),
        (any::<u32>(), old()).prop_map(|(relation, old)| Sent::Delete { relation, old }),
        any::<(Vec<u32>, bool, bool)>().prop_map(|(relations, cascade, restart_identity)| Sent::Truncate {
            relations,
            cascade,
            restart_identity
        }),
        (any::<(bool, u64)>(), TEXT, any::<Vec<u8>>()).prop_map(|((transactional, lsn), prefix, content)| {
            Sent::Logical { transactional, lsn, prefix, content }
        }),
    ]
}

proptest! {
    #[test]
    fn a_message_arrives_as_it_was_meant(sent in sent()) {
        let bytes = sent.encode();
        prop_assert_eq!(decode(&bytes).map(|message| Sent::from(&message)), Ok(sent));
        checks::message(&bytes);
    }

    #[test]
    fn a_cut_message_is_an_error(sent in sent(), cut: prop::sample::Index) {
        let bytes = sent.encode();
        prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn no_message_panics(kind in prop::sample::select(b"BCORYIUDTM".as_slice()), rest: Vec<u8>) {
        checks::message(&[&[kind], rest.as_slice()].concat());
    }
}
