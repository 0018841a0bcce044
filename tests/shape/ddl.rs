//! The statements that make a mirror table what it must be.

use odoo_mirror::mirror::ddl::{ColumnHere, KeyHere, TableHere, difference};

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
            })
            .collect(),
        key: (!shape.key.is_empty())
            .then(|| KeyHere { constraint: "account_move_pkey".into(), columns: shape.key.clone() }),
    }
}

#[test]
fn a_table_that_is_as_wanted_needs_no_statement() {
    let shape = shape_of(&account_move());
    assert_eq!(difference(&made(&shape), &shape), Vec::<String>::new());
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
    let here = made(&shape_of(&table));
    table.columns[2].data_type = built_in("varchar", "character varying");
    table.columns[3].data_type = built_in("jsonb", "jsonb");
    table.columns[4] = column(6, "new", built_in("bool", "boolean"));
    let alter = "ALTER TABLE \"odoo_mirror\".\"account_move\"";
    assert_eq!(
        difference(&here, &shape_of(&table)),
        [
            format!("{alter} DROP COLUMN \"old\""),
            format!(
                "{alter} ALTER COLUMN \"ref\" TYPE character varying USING \"ref\"::text::character varying"
            ),
            format!("{alter} ALTER COLUMN \"note\" TYPE jsonb USING pg_catalog.to_jsonb(\"note\")"),
            format!("{alter} ADD COLUMN \"new\" boolean"),
        ]
    );
}

#[test]
fn another_key_keeps_the_rows_that_are_unique_by_it() {
    let mut table = account_move();
    let here = made(&shape_of(&table));
    table.primary_key = vec!["name".into()];
    let alter = "ALTER TABLE \"odoo_mirror\".\"account_move\"";
    assert_eq!(
        difference(&here, &shape_of(&table)),
        [
            "DELETE FROM \"odoo_mirror\".\"account_move\" WHERE ctid IN (SELECT r.place FROM (SELECT ctid AS place, \
             pg_catalog.row_number() OVER (PARTITION BY \"name\") AS n FROM \"odoo_mirror\".\"account_move\") r WHERE r.n > 1) \
             OR \"name\" IS NULL"
                .to_owned(),
            format!("{alter} DROP CONSTRAINT \"account_move_pkey\""),
            format!("{alter} ALTER COLUMN \"id\" DROP NOT NULL"),
            format!("{alter} ADD PRIMARY KEY (\"name\")"),
        ]
    );
}
