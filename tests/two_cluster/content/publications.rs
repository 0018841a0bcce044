//! What a publication leaves out, and sources that differ: filters, column lists, generated
//! columns, encodings, collations.

use super::{LIMIT, begin, builder, mirroring};
use crate::harness::{Pair, skip};

#[track_caller]
fn mirroring_of(schema: &str, published: &str) -> Pair {
    let pair = builder().start();
    pair.on_source(schema);
    pair.publish(published);
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair
}

#[track_caller]
fn assert_same(pair: &Pair, source: &str, mirror: &str) {
    pair.caught_up();
    assert_eq!(pair.source.rows("odoo", source), pair.mirror.rows("mirror", mirror));
}

#[test]
fn rows_outside_the_filter_are_neither_copied_nor_streamed() {
    let pair = mirroring_of(
        "CREATE TABLE t (id int PRIMARY KEY, n int, a text); ALTER TABLE t REPLICA IDENTITY FULL;
         INSERT INTO t SELECT g, g, 'it''s' FROM generate_series(1, 40) g;
         CREATE TABLE part (id int PRIMARY KEY, n int) PARTITION BY RANGE (id); CREATE TABLE part_one PARTITION OF part FOR VALUES FROM (0) TO (100);
         INSERT INTO part SELECT g, g FROM generate_series(1, 40) g",
        "t WHERE (n > 20 AND a <> 'no \"quote\"'), part_one WHERE (id % 2 = 0)",
    );
    let same = |pair: &Pair| {
        assert_same(
            pair,
            "SELECT * FROM t WHERE n > 20 AND a <> 'no \"quote\"' ORDER BY id",
            "SELECT id, n, a FROM odoo_mirror.t ORDER BY id",
        );
        assert_same(
            pair,
            "SELECT * FROM part WHERE id % 2 = 0 ORDER BY id",
            "SELECT id, n FROM odoo_mirror.part_one ORDER BY id",
        );
    };
    same(&pair);
    // Into the filter, out of it, within it, outside it.
    pair.on_source("UPDATE t SET n = 100 WHERE id = 1; UPDATE t SET n = 1 WHERE id = 40; UPDATE t SET a = 'x' WHERE id IN (2, 39)");
    pair.on_source("INSERT INTO t VALUES (41, 5, 'out'), (42, 50, 'in'), (43, NULL, 'null'); DELETE FROM t WHERE id IN (3, 38); INSERT INTO part VALUES (50, 1), (51, 1)");
    pair.on_source("UPDATE t SET id = id + 100 WHERE id > 35; UPDATE part SET n = 0");
    same(&pair);
    pair.on_source("TRUNCATE t; INSERT INTO t VALUES (1, 21, ''), (2, 20, '')");
    same(&pair);
}

#[test]
fn columns_outside_the_list_are_neither_copied_nor_streamed() {
    let pair = mirroring_of(
        "CREATE TABLE t (secret text DEFAULT 's', id int PRIMARY KEY, \"a B\" text, more text); INSERT INTO t (id, \"a B\") SELECT g, 'x' FROM generate_series(1, 20) g",
        "t (id, \"a B\")",
    );
    pair.on_source("UPDATE t SET secret = 'changed' WHERE id < 5; UPDATE t SET \"a B\" = 'y', more = 'z' WHERE id > 15; INSERT INTO t (id) VALUES (21); DELETE FROM t WHERE id = 10");
    pair.caught_up();
    pair.assert_equal_except("t", &["secret", "more"]);
    let columns = "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'odoo_mirror.t'::regclass AND attnum > 0";
    assert_eq!(pair.mirror_value(columns), "id,a B");
}

#[test]
fn excluded_columns_stay_at_the_source() {
    let pair = builder().mirror_conf("odoo_mirror.exclude_columns", "password, t.note").start();
    begin(
        &pair,
        "CREATE TABLE t (id int PRIMARY KEY, password text, note text, a text); CREATE TABLE u (id int PRIMARY KEY, note text, password text);
         INSERT INTO t VALUES (1, 'p', 'n', 'a'); INSERT INTO u VALUES (1, 'n', 'p')",
    );
    pair.on_source("INSERT INTO t VALUES (2, 'p', 'n', 'a'); UPDATE t SET password = 'q', a = 'b' WHERE id = 1; INSERT INTO u VALUES (2, 'n', 'p'); UPDATE u SET note = 'm' WHERE id = 1");
    pair.caught_up();
    pair.assert_equal_except("t", &["password", "note"]);
    pair.assert_equal_except("u", &["password"]);
    let columns = "SELECT count(*) FROM pg_attribute WHERE attrelid IN ('odoo_mirror.t'::regclass, 'odoo_mirror.u'::regclass) AND attname IN ('password')";
    assert_eq!(pair.mirror_value(columns), "0");
    assert_eq!(pair.mirror_value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'odoo_mirror.t'::regclass AND attname = 'note'"), "0");
}

#[test]
fn a_source_in_another_encoding_is_mirrored_in_utf8() {
    let pair = builder().start();
    pair.source.sql("postgres", "DROP DATABASE odoo");
    pair.source.sql(
        "postgres",
        "CREATE DATABASE odoo ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    );
    begin(
        &pair,
        "CREATE TABLE \"Müller\" (\"clé\" text PRIMARY KEY, \"café\" text, j jsonb, c \"char\"); INSERT INTO \"Müller\" VALUES ('é', 'ÄÖÜß ¿½', '{\"ü\": \"é\"}', 'x');
         CREATE TYPE laune AS ENUM ('fröhlich', 'übel'); CREATE TABLE t (id int PRIMARY KEY, l laune, a laune[]); INSERT INTO t VALUES (1, 'übel', '{fröhlich}')",
    );
    pair.on_source("INSERT INTO \"Müller\" VALUES ('à', 'ñ ' || repeat('é', 5000), NULL, 'y'); UPDATE \"Müller\" SET \"café\" = 'ç' WHERE \"clé\" = 'é'; INSERT INTO t VALUES (2, 'fröhlich', '{übel,NULL}')");
    pair.on_source(
        "UPDATE \"Müller\" SET c = 'z' WHERE \"clé\" = 'à'; DELETE FROM \"Müller\" WHERE \"clé\" = 'é'",
    );
    pair.assert_all_equal();
    assert_eq!(pair.mirror_value("SELECT length(\"café\") FROM odoo_mirror.\"Müller\""), "5002");
}

#[test]
fn keys_that_are_equal_but_not_the_same_are_told_apart() {
    let pair = builder().start();
    let icu = "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    if pair.source.try_sql("odoo", icu).is_err() {
        skip("this server has no ICU");
        return;
    }
    begin(
        &pair,
        "CREATE TABLE t (k text COLLATE nocase PRIMARY KEY, v text); INSERT INTO t VALUES ('small', 'x'), ('LARGE', 'x'), ('Mixed', 'x'), ('away', 'x');
         CREATE TABLE f (k text COLLATE nocase, v text COLLATE nocase); ALTER TABLE f REPLICA IDENTITY FULL; INSERT INTO f VALUES ('A', 'x'), ('a', 'x')",
    );
    pair.on_source("UPDATE t SET k = 'SMALL' WHERE k = 'small'; UPDATE t SET v = 'y' WHERE k = 'large'");
    pair.on_source("DELETE FROM t WHERE k = 'MIXED'; INSERT INTO t VALUES ('mixed', 'back'); DELETE FROM t WHERE k = 'AWAY'; UPDATE t SET k = 'lArGe', v = 'z' WHERE k = 'large'");
    pair.on_source(
        "UPDATE f SET v = 'X' WHERE k COLLATE \"C\" = 'a'; DELETE FROM f WHERE k COLLATE \"C\" = 'A'",
    );
    pair.assert_all_equal();
}

#[test]
fn a_publication_for_all_tables_is_followed_to_new_ones() {
    let pair = builder().start();
    pair.on_source("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE PUBLICATION odoo_pub_scout FOR ALL TABLES");
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.on_source("CREATE TABLE later (id int PRIMARY KEY, a text); INSERT INTO later VALUES (1, 'x')");
    pair.on_source("INSERT INTO later VALUES (2, 'y'); INSERT INTO t VALUES (2)");
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
}

#[test]
fn an_index_whose_function_leans_on_the_search_path_is_no_obstacle() {
    let pair = mirroring(
        "CREATE TABLE rate (n int PRIMARY KEY); INSERT INTO rate VALUES (2);
         CREATE FUNCTION rates() RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 1; END $$;
         CREATE TABLE t (id int PRIMARY KEY); CREATE INDEX ON t ((id + rates()));
         -- From 17 on an index is made under a search_path of its own.
         CREATE OR REPLACE FUNCTION rates() RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN (SELECT count(*) FROM rate); END $$;
         INSERT INTO t VALUES (1)",
    );
    pair.on_source("INSERT INTO t VALUES (2)");
    pair.assert_all_equal();
}

#[test]
fn a_table_without_columns_fails_alone() {
    let pair = builder().start();
    pair.on_source("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE hollow ()");
    pair.publish_all();
    pair.configure_and_start();
    super::tables::until(&pair, "t", "ready");
    let hollow = super::tables::until(&pair, "hollow", "failed");
    assert!(hollow.reason.contains("has no column that is mirrored"), "{hollow:?}");
    pair.on_source("INSERT INTO t VALUES (1)");
    pair.caught_up();
    pair.assert_equal("t");
}
