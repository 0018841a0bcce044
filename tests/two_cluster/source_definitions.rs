//! What a snapshot shows of a table, held against what a look at the catalog found.

use crate::harness::Cluster;
use crate::source_catalog::{asking, source, tables};
use odoo_mirror::mirror::source_table::SourceTable;
use odoo_mirror::source::guarded::{self, Wanted};

fn difference(source: &Cluster, table: &SourceTable, publication: &str) -> Option<&'static str> {
    let wanted = Wanted {
        table: table.clone(),
        publication: publication.to_owned(),
        server_version: source.major().cast_signed() * 10_000,
    };
    asking(source, "postgres", async |client| {
        guarded::difference(client, &wanted).await.expect("it can be asked")
    })
}

const COLUMNS: &str = "the source changed the table's columns";
const KEY: &str = "the source changed the table's key or replica identity";
const PUBLICATION: &str = "the publication was altered";
const RENAMED: &str = "the source renamed the table";
const GONE: &str = "the source's table is gone, or was made anew";

/// What is done to a table `t`, and what its next snapshot is to show of that.
const CHANGES: [(&str, Option<&str>); 25] = [
    ("INSERT INTO t VALUES (1, 1, 1); UPDATE t SET a = 2; VACUUM FULL t; ANALYZE t", None),
    ("CREATE INDEX ON t (a); ALTER TABLE t ADD CHECK (a > 0) NOT VALID; GRANT SELECT ON t TO PUBLIC", None),
    ("ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME x TO a", None),
    ("CREATE TABLE another (id int); ALTER PUBLICATION p ADD TABLE another", None),
    ("ALTER TABLE t ADD x int", Some(COLUMNS)),
    ("ALTER TABLE t ADD x int DEFAULT 5", Some(COLUMNS)),
    ("ALTER TABLE t ADD x int; ALTER TABLE t DROP x", Some(COLUMNS)),
    ("ALTER TABLE t DROP b", Some(COLUMNS)),
    ("ALTER TABLE t DROP b, ADD b int", Some(COLUMNS)),
    ("ALTER TABLE t RENAME a TO \"the 'old' \"\"a\"\"\"", Some(COLUMNS)),
    ("ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME x TO b", Some(COLUMNS)),
    ("ALTER TABLE t ALTER b TYPE bigint", Some(COLUMNS)),
    ("ALTER TABLE t ALTER n TYPE numeric(9,2)", Some(COLUMNS)),
    ("ALTER TABLE t ALTER g DROP EXPRESSION", Some(COLUMNS)),
    ("ALTER TABLE t RENAME secret TO s2", Some(COLUMNS)),
    ("ALTER TABLE t DROP CONSTRAINT t_pkey", Some(KEY)),
    ("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, a)", Some(KEY)),
    ("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id) DEFERRABLE", Some(KEY)),
    ("ALTER TABLE t REPLICA IDENTITY FULL", Some(KEY)),
    ("ALTER TABLE t RENAME TO other", Some(RENAMED)),
    ("CREATE SCHEMA elsewhere; ALTER TABLE t SET SCHEMA elsewhere", Some(RENAMED)),
    (
        "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, a int, b int); ALTER PUBLICATION p ADD TABLE t",
        Some(GONE),
    ),
    ("ALTER PUBLICATION p SET (publish = 'insert')", Some(PUBLICATION)),
    ("ALTER PUBLICATION p ADD TABLES IN SCHEMA public", Some(PUBLICATION)),
    ("ALTER PUBLICATION p DROP TABLE t; ALTER PUBLICATION p ADD TABLE t", Some(PUBLICATION)),
];

#[test]
fn a_snapshot_tells_whether_a_table_is_what_the_last_look_found() {
    let source = source();
    for (change, expected) in CHANGES {
        source.sql("postgres", "DROP TABLE IF EXISTS t, other, another; DROP SCHEMA IF EXISTS elsewhere CASCADE;
            DROP PUBLICATION IF EXISTS p;
            CREATE TABLE t (id int PRIMARY KEY, gone int, a int, b int, n numeric(7,2), w text COLLATE \"C\", secret text,
                g int GENERATED ALWAYS AS (a) STORED);
            ALTER TABLE t DROP gone; CREATE PUBLICATION p FOR TABLE t");
        let found = tables(&source, "p", &["secret"]);
        assert_eq!(difference(&source, &found[0], "p"), None);
        // As separate transactions: VACUUM is among them.
        for statement in change.split("; ") {
            source.sql("postgres", statement);
        }
        assert_eq!(difference(&source, &found[0], "p"), expected, "{change}");
    }
}

#[test]
fn what_a_look_finds_of_any_table_its_snapshot_shows() {
    let source = source();
    source.sql(
        "postgres",
        "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN amount AS numeric(10,2)[];
         CREATE TABLE zoo (\"the \"\"id\"\"\" int, m mood[], s amount, i interval(3), v int2vector, PRIMARY KEY (\"the \"\"id\"\"\"));
         CREATE TABLE keyless (a int, b text); ALTER TABLE keyless REPLICA IDENTITY FULL;
         CREATE TABLE by_index (id int PRIMARY KEY, a int NOT NULL, b int NOT NULL, c int);
         CREATE UNIQUE INDEX i ON by_index (b, a) INCLUDE (c); ALTER TABLE by_index REPLICA IDENTITY USING INDEX i;
         CREATE TABLE root (id int PRIMARY KEY, a text) PARTITION BY RANGE (id);
         CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (100);
         CREATE SCHEMA sales; CREATE TABLE sales.t (id int PRIMARY KEY, a int, b int);
         CREATE PUBLICATION listed FOR TABLE sales.t (id, b) WHERE (id > 5), zoo;
         CREATE PUBLICATION roots FOR TABLE root WITH (publish_via_partition_root);
         CREATE PUBLICATION all_of_them FOR ALL TABLES; CREATE PUBLICATION one_schema FOR TABLES IN SCHEMA sales;
         CREATE PUBLICATION \"it's $table\" FOR TABLE zoo, root",
    );
    for publication in ["listed", "roots", "all_of_them", "one_schema", "it's $table"] {
        let found = tables(&source, publication, &["c"]);
        assert!(!found.is_empty(), "{publication}");
        for table in found {
            assert_eq!(difference(&source, &table, publication), None, "{publication}: {}", table.name);
        }
    }
}
