//! Types with a cast to text of their own: what counts is what their output functions write.

use super::{LIMIT, assert_alike, assert_no_alarm, builder};
use crate::harness::Pair;

/// A cast that tells nothing apart.
const TYPES: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN temper AS mood; CREATE TYPE pair AS (n int, m mood);
    CREATE FUNCTION said(mood) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'a mood'::text $$;
    CREATE FUNCTION said(pair) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'a pair'::text $$;
    CREATE CAST (mood AS text) WITH FUNCTION said(mood) AS ASSIGNMENT; CREATE CAST (pair AS text) WITH FUNCTION said(pair) AS ASSIGNMENT;";

/// In one table all columns but these travel in binary form, in the other not; one has no key.
const TABLES: &str = "
    CREATE TABLE felt (id int PRIMARY KEY, m mood, ma mood[], t temper, p pair, pa pair[]);
    INSERT INTO felt VALUES (1, 'sad', '{sad,NULL}', 'sad', ROW(1, 'sad'), ARRAY[ROW(1, 'sad')::pair, NULL]), (2, 'glad', '{}', 'glad', ROW(NULL, NULL), ARRAY[ROW(NULL, NULL)::pair]), (3, NULL, NULL, NULL, NULL, NULL);
    CREATE TABLE mixed (id int PRIMARY KEY, m mood, v int2vector, p pair); INSERT INTO mixed SELECT id, m, '1 2', p FROM felt;
    CREATE TABLE keyed (m mood, k int, n int, PRIMARY KEY (m, k)); INSERT INTO keyed VALUES ('sad', 1, 1), ('glad', 1, 2);
    CREATE TABLE whole (m mood, t temper, p pair); ALTER TABLE whole REPLICA IDENTITY FULL; INSERT INTO whole SELECT m, t, p FROM felt;";

#[track_caller]
fn mirrors(pair: &Pair) {
    pair.on_source(&format!("{TYPES}{TABLES}"));
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    assert_alike(pair);
    pair.on_source(
        "INSERT INTO felt SELECT id + 10, m, ma, t, p, pa FROM felt; UPDATE felt SET m = 'glad' WHERE id = 1; INSERT INTO mixed SELECT id + 10, m, v, p FROM mixed;
         UPDATE keyed SET n = n + 1; UPDATE keyed SET m = 'sad', k = 2 WHERE n = 3;
         UPDATE whole SET t = NULL WHERE m = 'glad'",
    );
    assert_alike(pair);
    assert_no_alarm(pair);
    // What differs is found by what it is, and mended.
    pair.on_mirror(
        "UPDATE odoo_mirror.felt SET m = 'sad' WHERE id = 2; DELETE FROM odoo_mirror.keyed WHERE n = 2",
    );
    let done = crate::comparing::job(pair, "verify(repair => true)");
    assert_eq!((done.count("felt", "different"), done.count("keyed", "different")), (1, 1), "{done:?}");
    assert_alike(pair);
}

#[test]
fn a_type_that_is_text_here_is_what_its_output_function_writes() {
    mirrors(&builder().start());
}

#[test]
fn a_type_that_is_here_too_is_told_apart_by_its_output_function() {
    let pair = builder().start();
    pair.on_mirror(TYPES);
    mirrors(&pair);
}
