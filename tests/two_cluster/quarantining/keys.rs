//! Later changes of a row that is set aside: with values that the stream leaves out, and under
//! another key.

use super::{
    LIMIT, SCHEMA, all_equal, allow, aside, begin, builder, conserved, differing, equal_but, mirroring,
    refuse,
};
use crate::harness::{Rng, eventually};

const MISSING: &str = r#"{"table": "t", "term": "missing"}"#;

#[test]
fn an_update_that_leaves_columns_out_over_a_refused_row_is_fetched_as_a_whole() {
    let pair = mirroring(SCHEMA);
    refuse(&pair);
    // Refused with new values out of line; then good, without them.
    pair.on_source("UPDATE t SET n = -1, big = repeat(md5('new'), 200) WHERE id = 3; INSERT INTO t VALUES (50, -1, 'new', repeat(md5('50'), 200))");
    equal_but(&pair, &["3", "50"]);
    pair.on_source("UPDATE t SET n = 3 WHERE id = 3; UPDATE t SET n = 50 WHERE id = 50");
    all_equal(&pair);
    // Refused without them, twice, then good.
    pair.on_source("UPDATE t SET n = -1 WHERE id = 4");
    equal_but(&pair, &["4"]);
    pair.on_source("UPDATE t SET n = -2, a = 'again' WHERE id = 4");
    equal_but(&pair, &["4"]);
    pair.on_source("UPDATE t SET n = 4 WHERE id = 4");
    all_equal(&pair);
    assert_eq!(pair.metric("etl_changes_total", MISSING), 0.0);
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.tables() WHERE state <> 'ready'"), "0");
}

#[test]
fn a_row_that_is_set_aside_may_change_its_key_and_another_may_take_it() {
    let pair = mirroring(SCHEMA);
    refuse(&pair);
    pair.on_source("UPDATE t SET n = -1, a = 'three' WHERE id = 3; INSERT INTO t VALUES (50, -1, 'fifty', repeat(md5('50'), 200))");
    equal_but(&pair, &["3", "50"]);
    // Away from the keys that are set aside, still refused, with and without what is stored out of
    // line.
    pair.on_source("UPDATE t SET id = 103 WHERE id = 3; UPDATE t SET id = 150, big = 'short' WHERE id = 50");
    equal_but(&pair, &["103", "150"]);
    // Good under yet another one.
    pair.on_source(
        "UPDATE t SET id = 203, n = 1 WHERE id = 103; UPDATE t SET id = 250, n = 1 WHERE id = 150",
    );
    all_equal(&pair);
    // Refused by the change of the key itself.
    pair.on_source(
        "UPDATE t SET id = 305, n = -1 WHERE id = 5; UPDATE t SET id = 306, n = -1, big = 's' WHERE id = 6",
    );
    equal_but(&pair, &["305", "306"]);
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.t WHERE id IN (5, 6)"), "0");
    // The old keys hold others; the refused ones go back.
    pair.on_source("INSERT INTO t VALUES (5, 5, 'other', 'b'); UPDATE t SET id = 6, n = 6 WHERE id = 306; UPDATE t SET id = 7000 WHERE id = 7; UPDATE t SET id = 7 WHERE id = 305");
    equal_but(&pair, &["7"]);
    pair.on_source("UPDATE t SET n = 7 WHERE id = 7");
    all_equal(&pair);
    assert_eq!(pair.metric("etl_changes_total", MISSING), 0.0);
}

#[test]
fn keys_of_several_columns_and_of_numbers_that_are_equal_without_the_same_digits() {
    let pair = mirroring("CREATE TABLE t (id numeric, k text, n int, a text, big text, PRIMARY KEY (id, k)); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
        INSERT INTO t SELECT g, 'k' || g, g, 'x', repeat(md5(g::text), 200) FROM generate_series(1, 20) g; CREATE TABLE other (id int PRIMARY KEY, a text)");
    refuse(&pair);
    pair.on_source("UPDATE t SET n = -1 WHERE id = 3; INSERT INTO t VALUES (1.0, 'one', -1, 'x', 'b'), (1.0, 'two', 1, 'x', 'b')");
    equal_but(&pair, &["1.0", "3"].map(|id| id));
    pair.on_source("UPDATE t SET a = 'still', n = -3 WHERE id = 3; UPDATE t SET n = 3 WHERE id = 3; DELETE FROM t WHERE k = 'one'");
    all_equal(&pair);
}

/// A key type, and one of its values, as SQL.
const KEYS: [(&str, &str); 12] = [
    ("mood", "'so \"so\"'"),
    ("temper", "'so \"so\"'"),
    ("mood[]", "'{sad,NULL}'"),
    ("short", "'a,(b'"),
    ("pair", "ROW(1, 'sad')"),
    ("int4range", "'[1,5)'"),
    ("text[]", "'{a,\"b c\"}'"),
    ("\"char\"", "'x'"),
    ("name", "'o''neill'"),
    ("timestamptz", "'2026-01-01 12:00+02'"),
    ("inet", "'10.0.0.1/8'"),
    ("interval", "'1 month 3 days'"),
];

#[test]
fn a_refused_row_comes_back_whatever_type_its_key_has() {
    const TYPES: &str = "CREATE TYPE mood AS ENUM ('sad', 'so \"so\"'); CREATE DOMAIN temper AS mood;
        CREATE DOMAIN short AS text CHECK (length(VALUE) < 9); CREATE TYPE pair AS (n int, m mood);";
    // With the source's types here, and with text in their place.
    for here in [TYPES, ""] {
        let pair = builder().start();
        pair.on_mirror(here);
        let tables = KEYS
            .iter()
            .enumerate()
            .map(|(place, (of, _))| format!("CREATE TABLE k{place} (k {of} PRIMARY KEY, n int);"));
        begin(&pair, &format!("{TYPES} {}", tables.collect::<String>()));
        let all = |of: &dyn Fn(usize, &str) -> String| -> String {
            KEYS.iter().enumerate().map(|(place, (_, value))| of(place, value)).collect()
        };
        pair.on_mirror(&all(&|place, _| {
            format!("ALTER TABLE odoo_mirror.k{place} ADD CONSTRAINT not_below CHECK (n >= 0);")
        }));
        pair.on_source(&all(&|place, value| format!("INSERT INTO k{place} VALUES ({value}, -1);")));
        let many = "SELECT count(DISTINCT table_name) FROM odoo_mirror.failures()";
        eventually("all are set aside", LIMIT, || {
            (pair.mirror_value(many) == KEYS.len().to_string()).then_some(())
        });
        pair.on_mirror(&all(&|place, _| {
            format!("ALTER TABLE odoo_mirror.k{place} DROP CONSTRAINT not_below;")
        }));
        pair.mirror_value("SELECT odoo_mirror.retry_failures()");
        eventually("all came back", LIMIT, || (pair.mirror_value(many) == "0").then_some(()));
        pair.assert_all_equal();
    }
}

#[test]
fn whatever_is_done_to_rows_that_are_refused_now_and_then_exactly_those_differ_that_are_refused_now() {
    let mut rng = Rng::seeded(20_261_125);
    let pair = builder().mirror_conf("odoo_mirror.batch_size", "40").start();
    begin(&pair, SCHEMA);
    refuse(&pair);
    for round in 0..4 {
        let mut history = String::new();
        for _ in 0..60 {
            let (id, other) = (rng.number(1..60), rng.number(1..60));
            let n = if rng.one_in(4) { -1 } else { rng.number(0..100) };
            let big = if rng.one_in(2) {
                format!(", big = repeat('{}', 200)", rng.text(16))
            } else {
                String::new()
            };
            history += &match rng.number(0..10) {
                0..=2 => format!(
                    "INSERT INTO t VALUES ({id}, {n}, 'i', repeat('{}', 150)) ON CONFLICT DO NOTHING; ",
                    rng.text(16)
                ),
                3..=6 => format!("UPDATE t SET n = {n}, a = '{}'{big} WHERE id = {id}; ", rng.text(4)),
                7..=8 => format!(
                    "UPDATE t SET id = {other}, n = {n}{big} WHERE id = {id} AND NOT EXISTS (SELECT FROM t WHERE id = {other}); "
                ),
                _ => format!("DELETE FROM t WHERE id = {id}; "),
            };
            if rng.one_in(3) {
                pair.on_source(&std::mem::take(&mut history));
            }
        }
        pair.on_source(&history);
        pair.caught_up();
        let refused = pair.source.rows("odoo", "SELECT id FROM t WHERE n < 0 ORDER BY id");
        let refused: Vec<String> = refused.into_iter().flatten().flatten().collect();
        eventually(&format!("round {round}: {refused:?} are set aside"), LIMIT, || {
            (aside(&pair) == refused).then_some(())
        });
        let wrong = differing(&pair);
        assert!(wrong.iter().all(|id| refused.contains(id)), "{wrong:?} differ, {refused:?} are refused");
        conserved(&pair);
    }
    allow(&pair);
    all_equal(&pair);
}
