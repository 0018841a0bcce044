//! What a publication leaves out, and sources that differ: filters, column lists, generated columns, encodings, collations.

use super::{LIMIT, begin, builder, mirroring};
use crate::harness::Pair;

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
fn generated_columns_are_left_out_and_their_table_follows() {
    let pair = mirroring(
        "CREATE TABLE t (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED, a text,
             n int GENERATED ALWAYS AS IDENTITY, loud text GENERATED ALWAYS AS (upper(a)) STORED);
         INSERT INTO t (id, a) SELECT g, 'x' FROM generate_series(1, 20) g",
    );
    pair.on_source("INSERT INTO t (id, a) VALUES (21, 'y'); UPDATE t SET a = 'z' WHERE id < 5; UPDATE t SET id = 100 WHERE id = 7; DELETE FROM t WHERE id = 3");
    // Without the generated ones: the comparison leaves them out by itself.
    pair.assert_all_equal();
    assert_eq!(
        pair.mirror_value("SELECT count(*) FROM odoo_mirror.t WHERE a IS NOT NULL AND n IS NOT NULL"),
        "20"
    );
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
        println!("skipped: this server has no ICU");
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
fn trailing_spaces_and_zeroes_that_mean_nothing_to_a_key_are_kept() {
    let pair = mirroring(
        "CREATE TABLE n (k numeric PRIMARY KEY, v text); INSERT INTO n VALUES (1.0, 'x'), (2.50, 'x'), (0, 'x');
         CREATE TABLE z (k float8 PRIMARY KEY, v text); INSERT INTO z VALUES ('-0', 'x'), (1, 'x');
         CREATE TABLE i (k interval PRIMARY KEY, v text); INSERT INTO i VALUES ('1 mon', 'x'), ('1 day', 'x')",
    );
    pair.on_source("UPDATE n SET k = 1.000 WHERE k = 1; UPDATE n SET v = 'y' WHERE k = 2.5; UPDATE z SET k = 0 WHERE k = 0; UPDATE i SET k = '30 days' WHERE k = '1 mon'");
    pair.on_source("DELETE FROM n WHERE k = 2.5; INSERT INTO n VALUES (2.5, 'back'); UPDATE n SET k = 2.50000, v = 'z' WHERE k = 2.5; UPDATE i SET v = 'w'; DELETE FROM i WHERE k = '24 hours'");
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

/// 100_bugs: what once went wrong in native replication and could here.
#[test]
fn tables_that_once_led_native_replication_astray_are_mirrored() {
    let pair = mirroring(
        "CREATE TABLE sundry (id int PRIMARY KEY, a text, gone int, z text); ALTER TABLE sundry DROP COLUMN gone;
         INSERT INTO sundry VALUES (1, 'x', 'y');
         CREATE FUNCTION always() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN (SELECT count(*) FROM public.sundry); END $$;
         CREATE TABLE indexed (id int PRIMARY KEY, a text); CREATE INDEX ON indexed (always()); INSERT INTO indexed VALUES (1, 'x');
         CREATE TABLE full_dropped (a int, gone int, b int NOT NULL); ALTER TABLE full_dropped REPLICA IDENTITY FULL; ALTER TABLE full_dropped DROP COLUMN gone;
         INSERT INTO full_dropped VALUES (1, 2)",
    );
    pair.on_source("UPDATE sundry SET a = 'w'; INSERT INTO sundry VALUES (2, NULL, 'z'); UPDATE indexed SET a = 'y'; UPDATE full_dropped SET a = 5; UPDATE full_dropped SET b = 6; INSERT INTO full_dropped VALUES (NULL, 1)");
    pair.on_source("UPDATE full_dropped SET a = 1 WHERE a IS NULL; DELETE FROM indexed");
    pair.on_source("DO $$ BEGIN CREATE TABLE made_and_dropped (id int PRIMARY KEY); INSERT INTO made_and_dropped VALUES (1); DROP TABLE made_and_dropped; INSERT INTO sundry VALUES (3); END $$");
    pair.assert_all_equal();
}

#[test]
fn an_index_whose_function_leans_on_the_search_path_is_no_obstacle() {
    let pair = mirroring(
        "CREATE TABLE rate (n int PRIMARY KEY); INSERT INTO rate VALUES (2);
         CREATE FUNCTION rates() RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN (SELECT count(*) FROM rate); END $$;
         CREATE TABLE t (id int PRIMARY KEY); CREATE INDEX ON t ((id + rates())); INSERT INTO t VALUES (1)",
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
