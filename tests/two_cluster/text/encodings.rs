//! Databases in other encodings than UTF-8.

use super::{LIMIT, assert_alike, assert_no_alarm, builder};
use crate::harness::eventually;

/// An encoding of the source, and letters that it has.
const ENCODINGS: &[(&str, &str)] =
    &[("LATIN1", "déjà vu £"), ("EUC_JP", "日本語"), ("WIN1252", "œuvre €"), ("SQL_ASCII", "déjà 日本語")];

#[test]
fn a_source_in_any_encoding_is_mirrored_and_raises_no_alarm() {
    std::thread::scope(|scope| {
        for (encoding, letters) in ENCODINGS {
            scope.spawn(move || mirrors(encoding, letters));
        }
    });
}

fn mirrors(encoding: &str, letters: &str) {
    let options = format!("TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'");
    let pair = builder().source_database(&options).start();
    pair.on_source(&format!(
        "CREATE TYPE mood AS ENUM ('{letters}', 'other'); CREATE TABLE \"{letters}\" (id int PRIMARY KEY, \"{letters}\" text, m mood, j jsonb);
         CREATE TABLE t (id int PRIMARY KEY, v text, a text[], m mood, j jsonb, b bytea);
         INSERT INTO t SELECT n, '{letters} ' || n, ARRAY['{letters}', NULL, n::text], '{letters}', jsonb_build_object('{letters}', n), 'x' FROM generate_series(1, 500) n;
         INSERT INTO \"{letters}\" SELECT id, v, m, j FROM t;
         CREATE TABLE worded (k text PRIMARY KEY, v varchar(40)); INSERT INTO worded SELECT v, v FROM t;
         CREATE TABLE whole (v text, m mood); INSERT INTO whole SELECT v, m FROM t WHERE id <= 20; ALTER TABLE whole REPLICA IDENTITY FULL"
    ));
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.on_source(&format!(
        "INSERT INTO t SELECT id + 1000, v || '{letters}', a, m, j, b FROM t; UPDATE t SET m = 'other' WHERE id % 3 = 0; UPDATE worded SET k = k || '{letters}' WHERE k LIKE '%1'; UPDATE whole SET m = 'other' WHERE v LIKE '%1'; UPDATE \"{letters}\" SET \"{letters}\" = 'x' || \"{letters}\""
    ));
    assert_alike_named(&pair, letters);
    assert_no_alarm(&pair);
}

fn assert_alike_named(pair: &crate::harness::Pair, letters: &str) {
    assert_alike(pair);
    assert!(pair.published_tables().contains(&letters.to_owned()));
}

#[test]
fn a_mirror_in_another_encoding_than_utf8_is_refused_with_the_reason() {
    let pair =
        builder().mirror_database("TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'").start();
    pair.on_source("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, '日本語')");
    pair.publish_all();
    pair.configure_and_start();
    let reason = "this database's encoding is LATIN1, and a mirror needs UTF8";
    eventually("status() says why", LIMIT, || {
        let said = pair.mirror_value("SELECT concat_ws('|', s ->> 'state', s -> 'last_error' ->> 'message') FROM odoo_mirror.status() s");
        (said == format!("failed|{reason}")).then_some(())
    });
    let doctor =
        "SELECT concat_ws('|', ok, detail, hint) FROM odoo_mirror.doctor() WHERE \"check\" = 'encoding'";
    let said = pair.mirror_value(doctor);
    assert!(said.starts_with("f|this database's encoding is LATIN1|CREATE DATABASE"), "{said}");
    assert_eq!(pair.source_value("SELECT count(*) FROM pg_replication_slots"), "0");
}
