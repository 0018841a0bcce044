//! What a snapshot shows of a table, held against what is known of it.

use odoo_mirror::mirror::definition;

use super::*;

/// What a snapshot shows of `account_move`, with one part of it otherwise.
fn shown(part: &str, otherwise: &str) -> String {
    const SHOWN: &str = r#"{"schema": "public", "name": "account_move", "kind": "r", "replica_identity": "d", "last_attnum": 2,
        "columns": [[1, "id", 23, -1, null, false], [2, "name", 0, 9, null, false]],
        "primary_key": ["id"], "identity_key": null, "published_as": "7 700 8/700", "published_in": null}"#;
    assert!(SHOWN.contains(part), "{part}");
    SHOWN.replacen(part, otherwise, 1)
}

#[test]
fn what_a_snapshot_shows_is_held_against_what_is_known_part_by_part() {
    let mut known = SourceTable { published_as: "7 700 8/700".into(), ..account_move() };
    known.columns.iter_mut().for_each(|column| column.deterministic = None);
    known.columns[1].data_type.oid = 0;
    let differs = |shown: &str| definition::difference(&known, shown).expect("a document");
    assert_eq!(differs(&shown("{", "{")), None);
    let columns = Some("the source changed the table's columns");
    let key = Some("the source changed the table's key or replica identity");
    let publication = Some("the publication was altered");
    for (part, otherwise, expected) in [
        ("\"public\"", "\"other\"", Some("the source renamed the table")),
        ("\"account_move\"", "\"move\"", Some("the source renamed the table")),
        ("\"r\"", "\"p\"", Some("the table was made anew")),
        ("\"last_attnum\": 2", "\"last_attnum\": 3", columns),
        (", [2, \"name\", 0, 9, null, false]", "", columns),
        ("2, \"name\", 0", "2, \"id2\", 0", columns),
        ("\"name\", 0, 9", "\"name\", 25, 9", columns),
        ("\"name\", 0, 9", "\"name\", 0, 10", columns),
        ("9, null", "9, false", columns),
        ("[[1, \"id\"", "[[3, \"id\"", columns),
        ("\"d\"", "\"f\"", key),
        ("[\"id\"]", "null", key),
        ("[\"id\"]", "[\"id\", \"name\"]", key),
        ("\"identity_key\": null", "\"identity_key\": [\"name\"]", key),
        ("8/700", "8/701", publication),
        ("\"published_in\": null", "\"published_in\": \"9/700\"", publication),
    ] {
        assert_eq!(differs(&shown(part, otherwise)), expected, "{part}: {otherwise}");
    }
    assert_eq!(differs(""), Some("the source's table is gone, or was made anew"));
    assert!(definition::difference(&known, "?").is_err());
}
