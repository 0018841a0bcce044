//! ALTER TYPE changes how rows are written that were there before, and no event says so.

use super::{LIMIT, assert_alike, builder};
use crate::harness::{Pair, eventually};

const SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'glad', 'so-so'); CREATE DOMAIN temper AS mood; CREATE TYPE pair AS (n int, m mood); CREATE TYPE deep AS (p pair[], t temper);
    CREATE TYPE span AS RANGE (subtype = mood); CREATE TABLE kind (id int, m mood);
    CREATE TABLE bare (id int PRIMARY KEY, c mood); INSERT INTO bare VALUES (1, 'sad'), (2, 'glad'), (3, NULL);
    CREATE TABLE listed (id int PRIMARY KEY, c mood[]); INSERT INTO listed VALUES (1, '{sad,glad}');
    CREATE TABLE tempered (id int PRIMARY KEY, c temper); INSERT INTO tempered VALUES (1, 'sad');
    CREATE TABLE paired (id int PRIMARY KEY, c pair, d deep); INSERT INTO paired VALUES (1, ROW(1, 'sad'), ROW(ARRAY[ROW(1, 'sad')::pair], 'glad'));
    CREATE TABLE spanned (id int PRIMARY KEY, c span); INSERT INTO spanned VALUES (1, span('sad', 'so-so'));
    CREATE TABLE kinds (id int PRIMARY KEY, c kind); INSERT INTO kinds VALUES (1, ROW(1, 'sad'));
    CREATE TABLE keyless (c mood); INSERT INTO keyless VALUES ('sad'), ('sad');
    CREATE TABLE other (id int PRIMARY KEY, v text); INSERT INTO other VALUES (1, 'sad')";

/// No row is written: only the catalog tells.
#[track_caller]
fn comes_here(pair: &Pair, statements: &str, table: &str, expected: &str) {
    pair.on_source(statements);
    let value = format!("SELECT string_agg(c::text, ' ' ORDER BY c) FROM odoo_mirror.{table}");
    eventually(&format!("{statements} is here"), LIMIT, || {
        (pair.mirror_value(&value) == expected).then_some(())
    });
    pair.wait_ready(LIMIT);
    let pending = "SELECT count(*) FROM odoo_mirror.tables() WHERE state <> 'ready'";
    eventually("all is compared", LIMIT, || (pair.mirror_value(pending) == "0").then_some(()));
}

#[test]
fn renamed_labels_and_attributes_that_come_and_go_are_noticed() {
    let pair = builder().start();
    pair.on_source(SCHEMA);
    pair.publish("bare, listed, tempered, paired, spanned, kinds, keyless, other");
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    assert_alike(&pair);
    comes_here(&pair, "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", "bare", "blue glad");
    settles(&pair);
    // A label that came and got another name before anybody looked.
    pair.on_source("ALTER TYPE mood ADD VALUE 'new'");
    comes_here(
        &pair,
        "INSERT INTO bare VALUES (4, 'new'); ALTER TYPE mood RENAME VALUE 'new' TO 'newer'",
        "bare",
        "blue glad newer",
    );
    settles(&pair);
    comes_here(&pair, "ALTER TYPE pair ADD ATTRIBUTE x text", "paired", "(1,blue,)");
    settles(&pair);
    comes_here(&pair, "ALTER TABLE kind ADD COLUMN y int", "kinds", "(1,blue,)");
    settles(&pair);
    comes_here(&pair, "ALTER TYPE pair DROP ATTRIBUTE n", "paired", "(blue,)");
    settles(&pair);
    // What changes no text makes no work.
    let history = "SELECT count(*) FROM odoo_mirror.ddl_history()";
    let before = pair.mirror_value(history);
    pair.on_source("ALTER TYPE pair RENAME ATTRIBUTE m TO mm; ALTER TYPE mood RENAME TO feeling");
    pair.on_source("ALTER TABLE other ADD COLUMN w int");
    eventually("a look later", LIMIT, || {
        let there = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'odoo_mirror.other'::regclass AND attname = 'w'";
        (pair.mirror_value(there) == "1").then_some(())
    });
    let added: i64 = before.parse::<i64>().expect("a number") + 1;
    assert_eq!(pair.mirror_value(history), added.to_string());
    assert_alike(&pair);
}

/// Tables are noticed one after the other.
#[track_caller]
fn settles(pair: &Pair) {
    let texts = |schema: &str| {
        let of = |table: &str| format!("SELECT '{table}' AS t, c::text FROM {schema}.{table}");
        let all: Vec<String> =
            ["bare", "listed", "tempered", "paired", "spanned", "kinds", "keyless"].map(of).into();
        format!(
            "SELECT string_agg(t || ' ' || c, '; ' ORDER BY t, c COLLATE \"C\") FROM ({}) x",
            all.join(" UNION ALL ")
        )
    };
    let there = pair.source_value(&texts("public"));
    eventually(&format!("the mirror says {there}"), LIMIT, || {
        (pair.mirror_value(&texts("odoo_mirror")) == there).then_some(())
    });
    pair.wait_ready(LIMIT);
    assert_alike(pair);
}
