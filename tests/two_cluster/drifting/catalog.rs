//! What no row tells: files, partitions, names, the publication.

use super::{Busy, LIMIT, builder, ends_equal, history, mirroring, settled, told};
use crate::harness::eventually;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, n int, note text DEFAULT 'x');
    INSERT INTO t SELECT i, i FROM generate_series(1, 2000) i;";

#[test]
fn a_table_that_vacuum_full_wrote_anew_stays_ready_and_is_compared() {
    let pair = mirroring(TABLE);
    let busy = Busy::with(&pair, &["t"]);
    pair.on_source("VACUUM FULL t");
    let (what, done) = told(&pair, "t", 0);
    assert_eq!(
        (what.as_str(), done.as_str()),
        ("its file changed", "its rows are compared while it stays ready")
    );
    busy.end();
    ends_equal(&pair);
    assert_eq!(pair.mirror_value("SELECT verified_lsn IS NOT NULL FROM odoo_mirror.tables()"), "t");
}

#[test]
fn a_table_that_is_being_compared_is_not_begun_anew_for_another_file() {
    let pair = builder().mirror_conf("odoo_mirror.compare_rows", "50").proxied().start();
    pair.on_source(TABLE);
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    // Some 40 pieces, a few of them a second.
    pair.proxy.as_ref().expect("there is one").slow_down(std::time::Duration::from_millis(20));
    pair.on_mirror("SELECT odoo_mirror.resync('t')");
    let done_to = || {
        let query = "SELECT r.done_to[1] FROM odoo_mirror_internal.reconciles r JOIN odoo_mirror_internal.tables t ON t.name = r.table_name
             WHERE t.name = 't' AND t.state = 'reconciling'";
        pair.mirror
            .rows("mirror", query)
            .pop()
            .map(|row| row[0].as_ref().and_then(|key| key.parse::<i64>().ok()))
    };
    let mut last = eventually("some pieces are done", LIMIT, || done_to()?);
    pair.on_source("VACUUM FULL t");
    while let Some(now) = done_to() {
        // None: all ranges are done.
        let now = now.unwrap_or(i64::MAX);
        assert!(now >= last, "begun anew after {last}, at {now}: {:?}", history(&pair, "t"));
        last = now;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // And then once more, while it is ready.
    let (what, done) = told(&pair, "t", 0);
    assert_eq!(
        (what.as_str(), done.as_str()),
        ("its file changed", "its rows are compared while it stays ready")
    );
    ends_equal(&pair);
}

#[test]
fn not_null_and_defaults_are_none_of_the_mirrors_business() {
    let pair = mirroring(TABLE);
    pair.on_source("UPDATE t SET note = 'y' WHERE id = 1; ALTER TABLE t ALTER note SET NOT NULL, ALTER note SET DEFAULT 'z', ALTER n SET DEFAULT 3; ALTER TABLE t ADD CHECK (n < 1000000);
        CREATE INDEX ON t (n); INSERT INTO t (id) VALUES (3000); ALTER TABLE t ALTER note DROP NOT NULL; UPDATE t SET note = NULL WHERE id = 2");
    pair.on_source("CREATE TABLE last (id int PRIMARY KEY); ALTER PUBLICATION odoo_pub_scout ADD TABLE last");
    told(&pair, "last", 0);
    assert_eq!(history(&pair, "t"), []);
    ends_equal(&pair);
}

#[test]
fn a_renamed_table_is_renamed_here_and_its_rows_stay() {
    let pair = mirroring("CREATE TABLE project_task_type (id int PRIMARY KEY, n int, name text DEFAULT 'Stage', fold boolean);
        CREATE TABLE project_task (id int PRIMARY KEY, n int, name text, stage_id int DEFAULT 1);
        INSERT INTO project_task_type SELECT i FROM generate_series(1, 300) i; INSERT INTO project_task SELECT i FROM generate_series(1, 300) i");
    let staged = "SELECT count(*) FROM odoo_mirror.v_task_summary WHERE stage_name = 'Stage'";
    assert_eq!(pair.mirror_value(staged), "300");
    let busy = Busy::with(&pair, &["project_task_type", "project_task", "stage"]);
    pair.on_source("ALTER TABLE project_task_type RENAME TO stage");
    let (_, done) = told(&pair, "stage", 0);
    assert_eq!(done, "renamed here too");
    busy.some_more();
    pair.on_source("CREATE SCHEMA other; ALTER TABLE stage SET SCHEMA other");
    told(&pair, "other__stage", 0);
    assert_eq!(pair.mirror_value(staged), "0");
    pair.on_source(
        "ALTER TABLE other.stage SET SCHEMA public; ALTER TABLE stage RENAME TO project_task_type",
    );
    told(&pair, "project_task_type", 0);
    busy.end();
    ends_equal(&pair);
    let shown = "SELECT string_agg(table_name, ',' ORDER BY table_name) FROM odoo_mirror.tables()";
    assert_eq!(pair.mirror_value(shown), "project_task,project_task_type");
    assert_ne!(pair.mirror_value(staged), "0");
}

#[test]
fn tables_that_exchange_their_names_end_equal() {
    let pair = mirroring("CREATE TABLE t (id int PRIMARY KEY, n int, a text DEFAULT 'a'); INSERT INTO t SELECT i, i FROM generate_series(1, 300) i;
        CREATE TABLE u (id int PRIMARY KEY, n int, b int DEFAULT 2); INSERT INTO u SELECT i, -i FROM generate_series(100, 500) i");
    let busy = Busy::with(&pair, &["t", "u"]);
    pair.on_source(
        "BEGIN; ALTER TABLE t RENAME TO v; ALTER TABLE u RENAME TO t; ALTER TABLE v RENAME TO u; COMMIT",
    );
    busy.some_more();
    busy.end();
    told(&pair, "t", 0);
    told(&pair, "u", 0);
    ends_equal(&pair);
}

#[test]
fn a_table_that_is_dropped_and_made_again_is_the_new_one() {
    let pair = mirroring(TABLE);
    let busy = Busy::with(&pair, &["t"]);
    pair.on_source("BEGIN; DROP TABLE t; CREATE TABLE t (id bigint PRIMARY KEY, n int, other date DEFAULT '2026-02-03'); INSERT INTO t SELECT i, 5 FROM generate_series(1, 500) i;
        ALTER PUBLICATION odoo_pub_scout ADD TABLE t; COMMIT");
    let (what, _) = told(&pair, "t", 0);
    assert_eq!(what, "dropped and made anew");
    busy.end();
    ends_equal(&pair);
}

#[test]
fn a_table_leaves_the_publication_and_comes_back() {
    let pair = mirroring(&format!("{TABLE} CREATE TABLE u (id int PRIMARY KEY, n int)"));
    let busy = Busy::with(&pair, &["t", "u"]);
    pair.on_source("ALTER PUBLICATION odoo_pub_scout DROP TABLE t");
    let (what, _) = told(&pair, "t", 0);
    assert_eq!(what, "no longer published");
    busy.some_more();
    pair.on_source("ALTER TABLE t ADD COLUMN more int DEFAULT 4; UPDATE t SET more = 5 WHERE id < 100; ALTER PUBLICATION odoo_pub_scout ADD TABLE t");
    let (what, _) = told(&pair, "t", 1);
    assert_eq!(what, "published again");
    busy.end();
    ends_equal(&pair);
}

#[test]
fn a_partition_is_attached_with_its_rows_and_detached_with_them() {
    let pair = builder().start();
    pair.on_source("CREATE TABLE p (id int, n int, note text DEFAULT 'x', PRIMARY KEY (id)) PARTITION BY RANGE (id);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (1000); CREATE TABLE p9 PARTITION OF p FOR VALUES FROM (10000) TO (1000000);
        INSERT INTO p SELECT i, i FROM generate_series(1, 500) i; CREATE TABLE p2 (LIKE p INCLUDING ALL); INSERT INTO p2 SELECT i, i FROM generate_series(1000, 1999) i;
        CREATE PUBLICATION odoo_pub_scout FOR TABLE p WITH (publish_via_partition_root = true)");
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let busy = Busy::with(&pair, &["p"]);
    pair.on_source("ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (1000) TO (2000); UPDATE p SET n = 0 WHERE id = 1500");
    let (what, _) = told(&pair, "p", 0);
    assert_eq!(what, "its partitions changed");
    settled(&pair);
    assert_eq!(
        pair.mirror_value("SELECT count(*) FROM odoo_mirror.p WHERE id BETWEEN 1000 AND 1999"),
        "1000"
    );
    pair.on_source("ALTER TABLE p DETACH PARTITION p1");
    eventually("its rows go", LIMIT, || {
        (pair.mirror_value("SELECT count(*) FROM odoo_mirror.p WHERE id < 1000") == "0").then_some(())
    });
    pair.on_source("ALTER TABLE p ADD COLUMN more text DEFAULT 'more'; UPDATE p SET n = 1 WHERE id = 1501");
    busy.end();
    ends_equal(&pair);
}

/// The catalog keeps a constant default's value of old rows at each partition, and not at the root.
#[test]
fn a_column_added_to_a_partitioned_table_brings_the_value_of_its_old_rows() {
    let pair = builder().start();
    pair.on_source("CREATE TABLE p (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (1000);
        INSERT INTO p SELECT i, i FROM generate_series(1, 500) i;
        CREATE PUBLICATION odoo_pub_scout FOR TABLE p WITH (publish_via_partition_root = true)");
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.on_source("ALTER TABLE p ADD COLUMN more text DEFAULT 'more'; INSERT INTO p VALUES (501, 1)");
    ends_equal(&pair);
}

#[test]
fn a_row_filter_and_a_column_list_are_followed() {
    let pair = mirroring(&format!(
        "{TABLE} CREATE TABLE u (id int PRIMARY KEY, n int, a text DEFAULT 'a', b text DEFAULT 'b'); INSERT INTO u SELECT i, i FROM generate_series(1, 300) i"
    ));
    let busy = Busy::with(&pair, &["t", "u"]);
    pair.on_source("ALTER PUBLICATION odoo_pub_scout SET TABLE t WHERE (id < 1000), u (id, n, a)");
    let (what, _) = told(&pair, "t", 0);
    assert_eq!(what, "the publication's row filter changed");
    let (what, _) = told(&pair, "u", 0);
    assert_eq!(what, "column b is no longer published");
    busy.some_more();
    busy.end();
    settled(&pair);
    assert_eq!(pair.mirror_value("SELECT max(id) < 1000 FROM odoo_mirror.t"), "t");
    pair.assert_equal_except("u", &["b"]);
    let busy = Busy::with(&pair, &["t", "u"]);
    pair.on_source("ALTER PUBLICATION odoo_pub_scout SET TABLE t, u; UPDATE u SET n = 3 WHERE id = 4");
    told(&pair, "t", 1);
    told(&pair, "u", 1);
    busy.end();
    ends_equal(&pair);
}

#[test]
fn a_table_that_left_the_publication_and_was_back_before_anybody_looked_is_compared() {
    let pair = mirroring(TABLE);
    pair.on_source("ALTER PUBLICATION odoo_pub_scout DROP TABLE t");
    pair.on_source("UPDATE t SET n = -1 WHERE id < 50; DELETE FROM t WHERE id = 60");
    pair.on_source("ALTER PUBLICATION odoo_pub_scout ADD TABLE t");
    let (what, _) = told(&pair, "t", 0);
    // In time, or too late to see it gone.
    assert!(what.contains("publi"), "{what}");
    ends_equal(&pair);
    // The same of a publication that left out some kinds of changes for a moment, while the mirror
    // was away.
    let before = history(&pair, "t").len();
    pair.on_mirror("SELECT odoo_mirror.stop()");
    pair.wait_state("stopped");
    pair.on_source("ALTER PUBLICATION odoo_pub_scout SET (publish = 'insert')");
    pair.on_source("UPDATE t SET n = -2 WHERE id < 50");
    pair.on_source("ALTER PUBLICATION odoo_pub_scout SET (publish = 'insert, update, delete, truncate')");
    pair.on_mirror("SELECT odoo_mirror.start()");
    let (what, _) = told(&pair, "t", before);
    assert!(what.contains("the publication was altered"), "{what}");
    ends_equal(&pair);
}

#[test]
fn a_table_without_a_key_gets_one_and_loses_it() {
    let pair = mirroring(
        "CREATE TABLE t (id int NOT NULL, n int); ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t SELECT i, i FROM generate_series(1, 300) i",
    );
    pair.on_source("ALTER TABLE t ADD PRIMARY KEY (id); ALTER TABLE t REPLICA IDENTITY DEFAULT; UPDATE t SET n = 0 WHERE id < 50; DELETE FROM t WHERE id = 7");
    told(&pair, "t", 0);
    ends_equal(&pair);
    pair.on_source("ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 1); UPDATE t SET n = 9 WHERE id < 5; ALTER TABLE t ADD COLUMN c text DEFAULT 'c'; DELETE FROM t WHERE id = 100");
    told(&pair, "t", 1);
    ends_equal(&pair);
}

#[test]
fn an_index_that_readers_count_on_comes_with_its_column() {
    let pair = mirroring(
        "CREATE TABLE hr_expense (id int PRIMARY KEY, n int); INSERT INTO hr_expense SELECT i, i FROM generate_series(1, 300) i",
    );
    let there = "SELECT to_regclass('odoo_mirror.idx_hr_expense_sheet') IS NOT NULL";
    assert_eq!(pair.mirror_value(there), "f");
    pair.on_source("ALTER TABLE hr_expense ADD COLUMN sheet_id int; UPDATE hr_expense SET sheet_id = id");
    let is_there = || (pair.mirror_value(there) == "t").then_some(());
    eventually("the index is built", LIMIT, is_there);
    pair.on_source("ALTER TABLE hr_expense DROP COLUMN sheet_id; ALTER TABLE hr_expense ADD COLUMN sheet_id bigint DEFAULT 7; UPDATE hr_expense SET n = 0 WHERE id = 1");
    eventually("it is gone or made anew", LIMIT, || {
        (pair.mirror_value("SELECT count(*) FROM odoo_mirror.hr_expense WHERE sheet_id = 7") == "300")
            .then_some(())
    });
    ends_equal(&pair);
    eventually("the index is built again", LIMIT, is_there);
    assert_eq!(pair.mirror_value("SELECT odoo_mirror.status() ->> 'state'"), "streaming");
}

#[test]
fn a_row_without_a_key_that_an_alter_rewrote_is_missed_by_its_next_change_and_the_table_is_copied_anew() {
    let pair = mirroring(
        "CREATE TABLE whole (a int, x text); ALTER TABLE whole REPLICA IDENTITY FULL;
         INSERT INTO whole SELECT n, 'x' || n FROM generate_series(1, 50) n",
    );
    // The stream tells of the second alone, by what the row is by then.
    pair.on_source(
        "BEGIN; ALTER TABLE whole ALTER COLUMN x TYPE text USING x || '!'; UPDATE whole SET a = 0 WHERE a = 7; COMMIT",
    );
    let missed = "SELECT sum(value) FROM odoo_mirror.metrics() WHERE labels ->> 'table' = 'whole' AND labels ->> 'term' = 'missing'";
    eventually("the row is missed", LIMIT, || (pair.mirror_value(missed) == "1").then_some(()));
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
}
