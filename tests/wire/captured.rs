//! What a PostgreSQL 15 said, scenario by scenario (fixtures/pgoutput/capture.sh).

use odoo_mirror::wire::{Column, Lsn, Message, Old, ReplicaIdentity, Tuple, decode};

use super::checks;
use super::fixtures::{message, messages, scenario};

fn columns<'a>(tuple: &Tuple<'a>) -> Vec<Column<'a>> {
    tuple.iter().collect()
}

#[track_caller]
fn insert(message: &[u8]) -> Tuple<'_> {
    match decode(message) {
        Ok(Message::Insert { new, .. }) => new,
        other => panic!("not an insert: {other:?}"),
    }
}

#[track_caller]
fn update(message: &[u8]) -> (Option<Old<'_>>, Tuple<'_>) {
    match decode(message) {
        Ok(Message::Update { old, new, .. }) => (old, new),
        other => panic!("not an update: {other:?}"),
    }
}

#[track_caller]
fn delete(message: &[u8]) -> Old<'_> {
    match decode(message) {
        Ok(Message::Delete { old, .. }) => old,
        other => panic!("not a delete: {other:?}"),
    }
}

#[test]
fn every_captured_message_decodes_and_survives_encoding() {
    let messages = messages();
    for bytes in &messages {
        assert!(decode(bytes).is_ok(), "{:?}: {bytes:02x?}", decode(bytes));
        checks::message(bytes);
    }
    for kind in b"BCORYIUDTM" {
        assert!(messages.iter().any(|bytes| bytes[0] == *kind), "no '{}' was captured", *kind as char);
    }
}

#[test]
fn a_transaction_is_framed_by_begin_and_commit() {
    let messages = scenario("insert.text");
    let (Ok(Message::Begin { final_lsn, commit_time, xid }), Ok(commit)) =
        (decode(&messages[0]), decode(messages.last().unwrap()))
    else {
        panic!("not framed")
    };
    let Message::Commit { flags: 0, commit_lsn, end_lsn, commit_time: time_at_commit } = commit else {
        panic!("not a commit: {commit:?}")
    };
    assert_eq!((commit_lsn, time_at_commit), (final_lsn, commit_time));
    assert!(end_lsn > commit_lsn);
    assert!(xid > 3, "an ordinary transaction's xid");
    let year_2024 = 24 * 365 * 86_400 * 1_000_000;
    assert!(commit_time > year_2024, "microseconds since 2000");
}

#[test]
fn a_relation_names_its_columns_key_and_types() {
    let bytes = message("insert.text", b'R');
    let Ok(Message::Relation(relation)) = decode(&bytes) else { panic!("not a relation") };
    assert_eq!((relation.schema.as_str(), relation.name.as_str()), ("public", "partner"));
    assert_eq!(relation.replica_identity, ReplicaIdentity::Default);
    let columns: Vec<_> =
        relation.columns.iter().map(|c| (c.key, c.name.as_str(), c.type_id, c.type_modifier)).collect();
    assert_eq!(
        columns,
        [
            (true, "id", 23, -1),
            (false, "name", 1043, 44),
            (false, "data", 3802, -1),
            (false, "image", 17, -1),
            (false, "active", 16, -1),
        ]
    );
}

#[test]
fn a_relation_says_its_replica_identity_and_key() {
    use ReplicaIdentity::{Full, Index, Nothing};
    let expected: [(_, _, &[bool]); 3] = [
        ("update_full.text", Full, &[true, true]),
        ("update_index.text", Index, &[false, true, false]),
        ("insert_no_identity.text", Nothing, &[false]),
    ];
    for (name, identity, keys) in expected {
        let bytes = message(name, b'R');
        let Ok(Message::Relation(relation)) = decode(&bytes) else { panic!("not a relation") };
        assert_eq!(relation.replica_identity, identity);
        assert_eq!(relation.columns.iter().map(|column| column.key).collect::<Vec<_>>(), keys);
    }
}

#[test]
fn names_keep_their_letters() {
    let bytes = message("insert_unicode_names.text", b'R');
    let Ok(Message::Relation(relation)) = decode(&bytes) else { panic!("not a relation") };
    assert_eq!((relation.schema.as_str(), relation.name.as_str()), ("Größe", "naïve ☃"));
    assert_eq!(relation.columns[1].name, "Spalte ß");
}

#[test]
fn an_insert_in_text_carries_nulls_and_empty_strings_apart() {
    let inserts: Vec<_> = scenario("insert.text").into_iter().filter(|m| m[0] == b'I').collect();
    let (t, null) = (Column::Text, Column::Null);
    assert_eq!(
        columns(&insert(&inserts[0])),
        [t(b"10"), t(b""), t(br#"{"en_US": "Ada"}"#), t(br"\x00ff"), null]
    );
    assert_eq!(columns(&insert(&inserts[1])), [t(b"11"), t("Zoë".as_bytes()), null, t(br"\x"), t(b"t")]);
}

#[test]
fn an_insert_in_binary_carries_send_function_bytes() {
    let inserts: Vec<_> = scenario("insert.binary").into_iter().filter(|m| m[0] == b'I').collect();
    let (b, null) = (Column::Binary, Column::Null);
    assert_eq!(
        columns(&insert(&inserts[0])),
        [b(&[0, 0, 0, 10]), b(b""), b(b"\x01{\"en_US\": \"Ada\"}"), b(b"\0\xff"), null]
    );
    assert_eq!(
        columns(&insert(&inserts[1])),
        [b(&[0, 0, 0, 11]), b("Zoë".as_bytes()), null, b(b""), b(&[1])]
    );
}

#[test]
fn a_row_may_have_no_columns() {
    let bytes = message("insert_no_columns.text", b'I');
    assert!(insert(&bytes).is_empty());
}

#[test]
fn an_update_that_keeps_the_key_has_no_old_tuple() {
    let bytes = message("update.text", b'U');
    let (old, new) = update(&bytes);
    assert_eq!(old, None);
    assert_eq!(new.get(1), Some(Column::Text(b"renamed")));
}

#[test]
fn an_update_of_the_key_has_the_old_key_and_nothing_else() {
    let bytes = message("update_key.text", b'U');
    let (Some(Old::Key(old)), new) = update(&bytes) else { panic!("no old key") };
    assert_eq!(old.get(0), Some(Column::Text(b"2")));
    assert!(old.iter().skip(1).all(|column| column == Column::Null));
    assert_eq!(new.get(0), Some(Column::Text(b"102")));
    assert_eq!(new.get(1), Some(Column::Text(b"partner 2")));
}

#[test]
fn an_identity_index_puts_the_old_key_where_its_columns_are() {
    let bytes = message("update_index.binary", b'U');
    let (Some(Old::Key(old)), new) = update(&bytes) else { panic!("no old key") };
    assert_eq!(columns(&old), [Column::Null, Column::Binary(b"a"), Column::Null]);
    assert_eq!(new.get(1), Some(Column::Binary(b"c")));
    let bytes = message("delete_index.text", b'D');
    let Old::Key(old) = delete(&bytes) else { panic!("no old key") };
    assert_eq!(columns(&old), [Column::Null, Column::Text(b"b"), Column::Null]);
}

#[test]
fn a_full_identity_sends_the_whole_old_row() {
    let bytes = message("update_full.text", b'U');
    let (Some(Old::Row(old)), new) = update(&bytes) else { panic!("no old row") };
    assert_eq!(columns(&old), [Column::Text(b"1"), Column::Text(b"one")]);
    assert_eq!(columns(&new), [Column::Text(b"1"), Column::Text(b"uno")]);
    let bytes = message("delete_full.binary", b'D');
    let Old::Row(old) = delete(&bytes) else { panic!("no old row") };
    assert_eq!(columns(&old), [Column::Binary(&[0, 0, 0, 2]), Column::Null]);
}

#[test]
fn an_unchanged_toast_value_is_not_sent() {
    for format in ["text", "binary"] {
        let bytes = message(&format!("update_unchanged_toast.{format}"), b'U');
        let (_, new) = update(&bytes);
        assert_eq!(new.get(1), Some(Column::Unchanged));
        assert!(new.has_unchanged());
    }
    let bytes = message("update.text", b'U');
    assert!(!update(&bytes).1.has_unchanged());
}

#[test]
fn a_delete_names_the_key() {
    let bytes = message("delete_key.binary", b'D');
    let Old::Key(old) = delete(&bytes) else { panic!("no old key") };
    assert_eq!(old.get(0), Some(Column::Binary(&[0, 0, 0, 3])));
    assert!(old.iter().skip(1).all(|column| column == Column::Null));
}

#[test]
fn a_truncate_names_all_its_tables_and_options() {
    let bytes = message("truncate.text", b'T');
    let Ok(Message::Truncate { relations, cascade, restart_identity }) = decode(&bytes) else {
        panic!("not a truncate")
    };
    assert_eq!((relations.len(), cascade, restart_identity), (1, false, false));

    let messages = scenario("truncate_cascade_restart.text");
    let announced: Vec<_> = messages
        .iter()
        .filter_map(|bytes| match decode(bytes) {
            Ok(Message::Relation(relation)) => Some(relation.id),
            _ => None,
        })
        .collect();
    let bytes = message("truncate_cascade_restart.text", b'T');
    let Ok(Message::Truncate { relations, cascade, restart_identity }) = decode(&bytes) else {
        panic!("not a truncate")
    };
    assert_eq!(relations.iter().collect::<Vec<_>>(), announced);
    assert_eq!((relations.len(), cascade, restart_identity), (3, true, true));
}

#[test]
fn a_type_is_named_and_a_domain_by_its_base_type() {
    let messages = scenario("types.text");
    let types: Vec<_> = messages
        .iter()
        .filter_map(|bytes| match decode(bytes) {
            Ok(Message::Type { schema, name, .. }) => Some((schema, name)),
            _ => None,
        })
        .collect();
    assert_eq!(types, [("public", "mood"), ("pg_catalog", "int4")]);
    let bytes = message("type_pg_catalog.text", b'Y');
    assert!(matches!(decode(&bytes), Ok(Message::Type { schema: "pg_catalog", name: "pg_roles", .. })));
}

#[test]
fn a_logical_message_says_whether_it_belongs_to_a_transaction() {
    let bytes = message("message_transactional.text", b'M');
    assert!(matches!(
        decode(&bytes),
        Ok(Message::Logical { transactional: true, prefix: "fence", content: b"inside", .. })
    ));
    let messages = scenario("message_alone.text");
    assert_eq!(messages.len(), 1, "no begin, no commit");
    assert!(matches!(
        decode(&messages[0]),
        Ok(Message::Logical { transactional: false, prefix: "fence", content: b"\0\xff", lsn }) if !lsn.is_zero()
    ));
}

#[test]
fn an_origin_says_where_the_transaction_came_from() {
    let bytes = message("origin.text", b'O');
    assert_eq!(decode(&bytes), Ok(Message::Origin { commit_lsn: Lsn(0x16_B374_D848), name: "elsewhere" }));
}
