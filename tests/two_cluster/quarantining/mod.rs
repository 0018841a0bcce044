//! Rows that the destination refuses: they are set aside, alone; told; and come back when they can.

mod comparing;
mod keys;
mod retrying;
mod stream;
mod transient;

use crate::harness::{Difference, Pair, PairBuilder, Side, differences};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);

/// `n` says whether a row is refused, once [`refuse`] was called; `big` is stored out of line.
const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, a text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
    INSERT INTO t SELECT g, g, 'x', repeat(md5(g::text), 200) FROM generate_series(1, 20) g;
    CREATE TABLE other (id int PRIMARY KEY, a text); INSERT INTO other VALUES (1, 'x')";

fn builder() -> PairBuilder {
    Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1")
}

#[track_caller]
fn begin(pair: &Pair, schema: &str) {
    pair.on_source(schema);
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
}

#[track_caller]
fn mirroring(schema: &str) -> Pair {
    let pair = builder().start();
    begin(&pair, schema);
    pair
}

/// From here on the mirror's table refuses rows whose `n` is below zero.
#[track_caller]
fn refuse(pair: &Pair) {
    pair.on_mirror("ALTER TABLE odoo_mirror.t ADD CONSTRAINT not_below CHECK (n >= 0) NOT VALID");
}

#[track_caller]
fn allow(pair: &Pair) {
    pair.on_mirror("ALTER TABLE odoo_mirror.t DROP CONSTRAINT not_below");
}

/// The ids of the rows that are set aside.
fn aside(pair: &Pair) -> Vec<String> {
    let query = "SELECT key ->> 'id' FROM odoo_mirror.failures() ORDER BY (key ->> 'id')::numeric, 1";
    pair.mirror.rows("mirror", query).into_iter().flatten().flatten().collect()
}

/// Waits until exactly these rows are set aside.
#[track_caller]
fn sets_aside(pair: &Pair, ids: &[&str]) {
    let mut last = Vec::new();
    let deadline = std::time::Instant::now() + LIMIT;
    while last != ids {
        assert!(
            std::time::Instant::now() < deadline,
            "{last:?} are set aside, and not {ids:?}\n{}",
            pair.status()
        );
        last = aside(pair);
        std::thread::sleep(Duration::from_millis(20));
    }
    let state = if ids.is_empty() { "streaming" } else { "degraded" };
    let status = pair.wait_state(state);
    let counted = status["failed_rows"]["t"].as_i64().unwrap_or(0);
    assert_eq!(counted, ids.len() as i64, "{status:#}");
    let told = pair.mirror_value("SELECT failed_rows FROM odoo_mirror.tables() WHERE table_name = 't'");
    assert_eq!(told, ids.len().to_string());
}

/// The ids of the rows that differ.
#[track_caller]
fn differing(pair: &Pair) -> Vec<String> {
    pair.caught_up();
    let source = Side { cluster: &pair.source, database: "odoo", schema: "public" };
    let mirror = Side { cluster: &pair.mirror, database: "mirror", schema: "odoo_mirror" };
    let found = differences(source, mirror, "t", &[]);
    let mut ids: Vec<String> = found
        .into_iter()
        .map(|difference| {
            let (Difference::Missing { key } | Difference::Extra { key } | Difference::Value { key, .. }) =
                difference;
            key[0].clone().unwrap_or_default()
        })
        .collect();
    ids.sort_by(|a, b| a.parse::<f64>().unwrap_or(0.0).total_cmp(&b.parse::<f64>().unwrap_or(0.0)));
    ids.dedup();
    ids
}

/// All rows are equal but these, which are set aside.
#[track_caller]
fn equal_but(pair: &Pair, ids: &[&str]) {
    pair.caught_up();
    sets_aside(pair, ids);
    assert_eq!(differing(pair), ids);
    pair.assert_equal("other");
    conserved(pair);
}

#[track_caller]
fn all_equal(pair: &Pair) {
    sets_aside(pair, &[]);
    pair.assert_all_equal();
    conserved(pair);
}

/// Each change that was received is accounted for, and no batch said otherwise.
#[track_caller]
fn conserved(pair: &Pair) {
    let terms = pair.mirror.rows(
        "mirror",
        "SELECT labels ->> 'table', sum(CASE WHEN labels ->> 'term' IN ('received', 'split') THEN value ELSE -value END),
                pg_catalog.jsonb_object_agg(labels ->> 'term', value)::text
         FROM odoo_mirror.metrics() WHERE name = 'etl_changes_total' GROUP BY 1",
    );
    assert!(!terms.is_empty());
    for table in &terms {
        assert_eq!(table[1].as_deref(), Some("0"), "{table:?}");
    }
    assert_eq!(pair.metric("etl_conservation_violations_total", "{}"), 0.0);
}

#[track_caller]
fn state_of(pair: &Pair, table: &str) -> String {
    pair.mirror_value(&format!("SELECT state FROM odoo_mirror.tables() WHERE table_name = '{table}'"))
}
