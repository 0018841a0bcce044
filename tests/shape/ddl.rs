//! The statements that make a mirror table what it must be.

use odoo_mirror::mirror::ddl::{ColumnHere, KeyHere, Made, Reshaping, TableHere, Taken, difference};
use odoo_mirror::mirror::drift::Change;

use super::*;

/// A table as `create_statements` would have made it.
fn made(shape: &MirrorShape) -> TableHere {
    TableHere {
        columns: shape
            .columns
            .iter()
            .map(|column| ColumnHere {
                name: column.name.clone(),
                sql_type: column.sql_type.clone(),
                not_null: column.in_key,
                adorned: false,
            })
            .collect(),
        key: (!shape.key.is_empty()).then(|| KeyHere {
            constraint: "account_move_pkey".into(),
            columns: shape.key.clone(),
            ..KeyHere::default()
        }),
    }
}

/// As `made`, with a column of somebody's.
fn with_own(shape: &MirrorShape, name: &str) -> TableHere {
    let mut here = made(shape);
    here.columns.push(ColumnHere {
        name: name.into(),
        sql_type: "text".into(),
        not_null: true,
        adorned: false,
    });
    here
}

const ALTER: &str = "ALTER TABLE \"odoo_mirror\".\"account_move\"";

#[test]
fn a_table_that_is_as_wanted_needs_no_statement() {
    let shape = shape_of(&account_move());
    assert_eq!(difference(&made(&shape), &Made::of(&shape), &shape), Reshaping::default());
    // What somebody added is nobody's business.
    assert_eq!(difference(&with_own(&shape, "mine"), &Made::of(&shape), &shape), Reshaping::default());
    assert_eq!(difference(&with_own(&shape, "NAME"), &Made::of(&shape), &shape), Reshaping::default());
}

#[test]
fn columns_are_added_dropped_and_retyped() {
    let mut table = account_move();
    table.columns.push(column(
        3,
        "ref",
        SourceType { modifier: 14, ..built_in("varchar", "character varying(10)") },
    ));
    table.columns.push(column(4, "note", built_in("text", "text")));
    table.columns.push(column(5, "old", built_in("text", "text")));
    let before = shape_of(&table);
    table.columns[2].data_type = built_in("varchar", "character varying");
    table.columns[3].data_type = built_in("jsonb", "jsonb");
    table.columns[4] = column(6, "new", built_in("bool", "boolean"));
    let statements = [
        format!("{ALTER} DROP COLUMN \"old\""),
        format!("{ALTER} ALTER COLUMN \"ref\" TYPE character varying USING \"ref\"::text::character varying"),
        format!("{ALTER} ALTER COLUMN \"note\" TYPE jsonb USING pg_catalog.to_jsonb(\"note\")"),
        format!("{ALTER} ADD COLUMN \"new\" boolean"),
    ];
    for here in [made(&before), with_own(&before, "mine"), with_own(&before, "NEW")] {
        let reshaping = difference(&here, &Made::of(&before), &shape_of(&table));
        assert_eq!(reshaping.statements, statements);
        assert_eq!((reshaping.dropped, reshaping.taken), (vec!["old".to_owned()], vec![]));
        assert_eq!(reshaping.retyped, ["ref", "note"]);
    }
}

#[test]
fn a_name_that_a_column_of_somebodys_has_is_told_and_taken_from_nobody() {
    let mut table = account_move();
    let before = shape_of(&table);
    table.columns.push(column(3, "mine", built_in("text", "text")));
    let here = with_own(&before, "mine");
    let taken = difference(&here, &Made::of(&before), &shape_of(&table));
    assert_eq!((taken.taken, taken.statements), (vec![Taken::Name("mine".into())], vec![]));
    // The mirror made it, under that name or another.
    let mut made = Made::of(&before);
    made.columns.push("yours".into());
    let renamed = made.renamed(&[Change::Rename { from: "yours".into(), to: "mine".into() }]);
    assert_eq!(difference(&here, &renamed, &shape_of(&table)).taken, []);
}

#[test]
fn what_somebody_put_on_a_column_stays_when_its_type_changes() {
    let mut table = account_move();
    table.columns.push(column(3, "note", built_in("text", "text")));
    let before = shape_of(&table);
    table.columns[2].data_type = built_in("bool", "boolean");
    let wanted = shape_of(&table);
    let mut here = made(&before);
    let anew = [format!("{ALTER} DROP COLUMN \"note\""), format!("{ALTER} ADD COLUMN \"note\" boolean")];
    assert_eq!(difference(&here, &Made::of(&before), &wanted).statements, anew);
    let in_place = [format!("{ALTER} ALTER COLUMN \"note\" TYPE boolean USING NULL::boolean")];
    here.columns[2].adorned = true;
    assert_eq!(difference(&here, &Made::of(&before), &wanted).statements, in_place);
    // A NOT NULL of somebody's, too.
    (here.columns[2].adorned, here.columns[2].not_null) = (false, true);
    assert_eq!(difference(&here, &Made::of(&before), &wanted).statements, in_place);
}

#[test]
fn a_key_of_somebodys_is_no_key_of_the_mirrors() {
    let mut table = account_move();
    table.primary_key = vec![];
    table.replica_identity = 'f';
    let keyless = shape_of(&table);
    let mut here = made(&keyless);
    here.key =
        Some(KeyHere { constraint: "mine".into(), columns: vec!["name".into()], ..KeyHere::default() });
    here.columns[1].not_null = true;
    assert_eq!(difference(&here, &Made::of(&keyless), &keyless), Reshaping::default());
    let keyed = shape_of(&account_move());
    assert_eq!(difference(&here, &Made::of(&keyless), &keyed).taken, [Taken::Key("mine".into())]);
}

/// A type that not every value of the old one has is a column made anew; else its values stay.
#[test]
fn a_column_keeps_its_values_only_under_a_type_that_has_them_all() {
    let shape = shape_of(&account_move());
    let with = |sql_type: &str| {
        let mut shape = shape.clone();
        shape.columns[1].sql_type = sql_type.to_owned();
        shape
    };
    for (from, to, stays) in [
        ("numeric(10,2)", "numeric(12,2)", true),
        ("numeric(10,2)", "numeric(9,2)", false),
        ("numeric(10,2)", "numeric(12,3)", false),
        ("numeric(10,2)", "numeric", true),
        ("character varying(5)", "character varying(9)", true),
        ("character varying(9)", "character varying(5)", false),
        ("smallint", "integer", true),
        ("bigint", "integer", false),
    ] {
        let before = with(from);
        let reshaping = difference(&made(&before), &Made::of(&before), &with(to));
        let statements = reshaping.statements.join(";");
        assert_eq!(!statements.contains("DROP COLUMN"), stays, "{from} to {to}: {statements}");
    }
}

#[test]
fn another_key_keeps_the_rows_that_are_unique_by_it() {
    let mut table = account_move();
    let before = shape_of(&table);
    let mut here = made(&before);
    here.key = here.key.map(|key| KeyHere { clusters: true, identifies: true, ..key });
    table.primary_key = vec!["name".into()];
    let reshaping = difference(&here, &Made::of(&before), &shape_of(&table));
    assert!(reshaping.emptied.is_some_and(|rows| rows.starts_with("ctid IN (")));
    assert_eq!(
        reshaping.statements,
        [
            "DELETE FROM ONLY \"odoo_mirror\".\"account_move\" WHERE ctid IN (SELECT r.place FROM (SELECT ctid AS place, \
             pg_catalog.row_number() OVER (PARTITION BY \"name\") AS n FROM ONLY \"odoo_mirror\".\"account_move\") r WHERE r.n > 1) \
             OR \"name\" IS NULL"
                .to_owned(),
            format!("{ALTER} DROP CONSTRAINT \"account_move_pkey\""),
            format!("{ALTER} ALTER COLUMN \"id\" DROP NOT NULL"),
            format!("{ALTER} ADD CONSTRAINT \"account_move_pkey\" PRIMARY KEY (\"name\")"),
            format!("{ALTER} CLUSTER ON \"account_move_pkey\""),
            format!("{ALTER} REPLICA IDENTITY USING INDEX \"account_move_pkey\""),
        ]
    );
}
