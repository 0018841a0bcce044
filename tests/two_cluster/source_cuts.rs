//! Where a real table is cut into key ranges.

use crate::harness::Cluster;
use crate::source_catalog::{asking, source, tables};
use odoo_mirror::mirror::ranges::KeyRange;
use odoo_mirror::source::key_cuts;

fn cuts(source: &Cluster, table: &str, rows_per_range: i64) -> Vec<KeyRange> {
    cuts_for(source, "postgres", table, rows_per_range)
}

fn cuts_for(source: &Cluster, role: &str, table: &str, rows_per_range: i64) -> Vec<KeyRange> {
    let found = tables(source, "p", &[]);
    let table = found.iter().find(|found| found.name == table).expect("it is published");
    asking(source, role, async |client| {
        key_cuts::range_cuts(client, table, rows_per_range).await.expect("it can be cut")
    })
}

#[test]
fn tables_are_cut_where_their_rows_are() {
    let source = source();
    // Nine tenths of the keys of `uneven` are its highest thousandth.
    source.sql(
        "postgres",
        "CREATE TABLE even (id int PRIMARY KEY);
         INSERT INTO even SELECT generate_series(1, 10000);
         CREATE TABLE uneven (id bigint PRIMARY KEY);
         INSERT INTO uneven SELECT i * 10000 FROM generate_series(1, 1000) i;
         INSERT INTO uneven SELECT 10000000 + i FROM generate_series(1, 9000) i;
         CREATE TABLE grown (id int PRIMARY KEY);
         INSERT INTO grown SELECT generate_series(1, 10000);
         CREATE TABLE pairs (a int, b int, PRIMARY KEY (a, b));
         INSERT INTO pairs SELECT i, i FROM generate_series(1, 10000) i;
         CREATE TABLE nothing (id int PRIMARY KEY);
         ANALYZE even, uneven, pairs, nothing;
         CREATE PUBLICATION p FOR ALL TABLES",
    );
    for table in ["even", "uneven"] {
        let ranges = cuts(&source, table, 1000);
        assert_eq!(ranges.len(), 10, "{table}: {ranges:?}");
        for range in ranges {
            let sql = format!("SELECT count(*) FROM {table} WHERE {}", range.sql_condition("id"));
            let rows: i64 = source.value("postgres", &sql).parse().expect("a count");
            assert!((500..=2000).contains(&rows), "{table}: {rows} rows in {range:?}");
        }
    }
    // Never analyzed: its size has to do.
    assert!(cuts(&source, "grown", 1000).len() > 1);
    for (table, why) in [("pairs", "two key columns"), ("nothing", "no rows")] {
        assert_eq!(cuts(&source, table, 1000), [KeyRange::ALL], "{why}");
    }
    assert_eq!(cuts(&source, "even", 10_000), [KeyRange::ALL]);
}

#[test]
fn a_table_that_may_not_be_read_is_one_range_and_no_error() {
    let source = source();
    source.sql(
        "postgres",
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 10000); ANALYZE t;
         CREATE ROLE plain LOGIN; CREATE PUBLICATION p FOR TABLE t",
    );
    assert_eq!(cuts_for(&source, "plain", "t", 1000), [KeyRange::ALL]);
    source.sql("postgres", "GRANT SELECT ON t TO plain");
    assert_eq!(cuts_for(&source, "plain", "t", 1000).len(), 10);
}

#[test]
fn the_lowest_key_that_an_index_can_hold_makes_a_condition_that_runs() {
    let source = source();
    source.sql("postgres", "CREATE TABLE t (id smallint)");
    let range = KeyRange { lo: Some(i64::MIN), hi: Some(i64::MAX) };
    assert_eq!(
        source.value("postgres", &format!("SELECT count(*) FROM t WHERE {}", range.sql_condition("id"))),
        "0"
    );
}
