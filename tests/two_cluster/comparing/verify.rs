use super::{LIMIT, ended, job};
use crate::harness::{Pair, eventually};
use crate::traffic::{SCHEMA, Traffic};

/// Keys of many kinds, and none.
const KEYS: &str = "
    CREATE TABLE numbered (id int PRIMARY KEY, x text, big text);
    INSERT INTO numbered SELECT n, md5(n::text), CASE WHEN n % 100 = 0 THEN repeat(md5(n::text), 300) END FROM generate_series(1, 10000) n;
    CREATE TABLE pairs (a int, b int, x text, PRIMARY KEY (a, b));
    INSERT INTO pairs SELECT n / 10, n % 10, md5(n::text) FROM generate_series(1, 6000) n;
    CREATE TABLE skewed (a int, b int, PRIMARY KEY (a, b));
    INSERT INTO skewed SELECT 7, n FROM generate_series(1, 5000) n;
    CREATE TABLE named (name text PRIMARY KEY, x int);
    INSERT INTO named SELECT CASE WHEN n % 2 = 0 THEN 'a' ELSE 'B' END || n || chr(200 + n % 50), n FROM generate_series(1, 3000) n;
    CREATE TABLE stamped (id uuid PRIMARY KEY, at timestamptz, n numeric, j jsonb, b bytea, f float8, l int[]);
    INSERT INTO stamped SELECT md5(n::text)::uuid, 'epoch'::timestamptz + n * interval '1 minute', n / 7.0, jsonb_build_object('n', n),
        decode(md5(n::text), 'hex'), n / 3.0, ARRAY[n, NULL] FROM generate_series(1, 2000) n;
    CREATE TABLE keyless (x int, y text); ALTER TABLE keyless REPLICA IDENTITY FULL;
    INSERT INTO keyless SELECT n % 10, 'same' FROM generate_series(1, 1000) n;
    CREATE TABLE empty (id int PRIMARY KEY);";

const ROWS: [(&str, i64); 7] = [
    ("numbered", 10000),
    ("pairs", 6000),
    ("skewed", 5000),
    ("named", 3000),
    ("stamped", 2000),
    ("keyless", 1000),
    ("empty", 0),
];

#[test]
fn verify_proves_every_kind_of_table_equal_and_says_as_of_when() {
    let pair = Pair::mirroring(KEYS);
    let proven = job(&pair, "verify()");
    assert_eq!(proven.state, "done", "{proven:?}");
    for (table, rows) in ROWS {
        assert_eq!(
            (proven.count(table, "rows"), proven.count(table, "different")),
            (rows, 0),
            "{table}: {proven:?}"
        );
    }
    let unproven = "SELECT count(*) FROM odoo_mirror.tables() WHERE verified_lsn IS NULL OR verified_age > interval '1 minute'";
    assert_eq!(pair.mirror_value(unproven), "0");
    let early = "SELECT count(*) FROM odoo_mirror.tables() t, odoo_mirror.lag() l WHERE t.verified_lsn > l.applied_lsn";
    assert_eq!(pair.mirror_value(early), "0");
}

#[test]
fn verify_names_the_keys_and_columns_that_differ_and_changes_nothing_until_it_is_told_to_repair() {
    let pair = Pair::mirroring(KEYS);
    pair.on_mirror(
        "UPDATE odoo_mirror.numbered SET x = 'wrong' WHERE id IN (1, 5000);
         UPDATE odoo_mirror.numbered SET big = left(big, 100) WHERE id = 300;
         DELETE FROM odoo_mirror.numbered WHERE id IN (2, 10000);
         INSERT INTO odoo_mirror.numbered VALUES (-5, 'too much'), (20000, 'too much');
         UPDATE odoo_mirror.pairs SET x = NULL WHERE a = 3 AND b = 3;
         DELETE FROM odoo_mirror.skewed WHERE b = 4999;
         UPDATE odoo_mirror.named SET x = -1 WHERE x IN (10, 11);
         UPDATE odoo_mirror.stamped SET f = f + 1e-9, l = '{}' WHERE id = md5('77')::uuid;
         DELETE FROM odoo_mirror.keyless WHERE ctid = (SELECT min(ctid) FROM odoo_mirror.keyless);
         INSERT INTO odoo_mirror.empty VALUES (1)",
    );
    let told = job(&pair, "verify()");
    assert_eq!(told.state, "done", "{told:?}");
    let all =
        [r#"["-5"]"#, r#"["1"]"#, r#"["10000"]"#, r#"["2"]"#, r#"["20000"]"#, r#"["300"]"#, r#"["5000"]"#];
    assert_eq!(told.keys("numbered"), all, "{told:?}");
    let entry = |table: &str, key: &str| {
        let found = told.result[table]["found"].as_array().cloned().unwrap_or_default();
        found
            .into_iter()
            .find(|found| serde_json::from_str::<serde_json::Value>(key).is_ok_and(|key| found["key"] == key))
            .unwrap_or_else(|| panic!("{key}: {told:?}"))
    };
    assert_eq!(entry("numbered", r#"["1"]"#)["columns"].to_string(), r#"["x"]"#);
    assert_eq!(entry("numbered", r#"["300"]"#)["columns"].to_string(), r#"["big"]"#);
    assert_eq!(entry("numbered", r#"["2"]"#)["missing"].to_string(), "true");
    assert_eq!(entry("numbered", r#"["20000"]"#)["extra"].to_string(), "true");
    assert_eq!(told.keys("pairs"), [r#"["3","3"]"#]);
    assert_eq!(told.keys("skewed"), [r#"["7","4999"]"#]);
    assert_eq!(told.count("named", "different"), 2);
    assert_eq!(
        entry("stamped", &format!("[\"{}\"]", pair.source_value("SELECT md5('77')::uuid")))["columns"]
            .to_string(),
        r#"["f","l"]"#
    );
    assert_eq!(told.count("keyless", "different"), 1);
    assert_eq!(told.keys("empty"), [r#"["1"]"#]);
    assert_eq!(
        pair.mirror_value("SELECT count(*) FROM odoo_mirror.numbered WHERE x = 'wrong'"),
        "2",
        "nothing was written"
    );
    assert_eq!(
        pair.mirror_value("SELECT count(*) FROM odoo_mirror.tables() WHERE verified_lsn IS NOT NULL"),
        "0"
    );

    let repaired = job(&pair, "verify(repair => true)");
    assert_eq!(repaired.state, "done", "{repaired:?}");
    assert_eq!(repaired.count("numbered", "written"), 7, "only what differed: {repaired:?}");
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
    let again = job(&pair, "verify()");
    for (table, rows) in ROWS {
        assert_eq!(
            (again.count(table, "rows"), again.count(table, "different")),
            (rows, 0),
            "{table}: {again:?}"
        );
    }
}

#[test]
fn verify_finds_one_wrong_row_among_those_that_are_written_to_all_the_time() {
    let pair = Pair::mirroring(&format!(
        "{SCHEMA} CREATE TABLE still (id int PRIMARY KEY, x text); INSERT INTO still SELECT n, md5(n::text) FROM generate_series(1, 20000) n"
    ));
    let traffic = Traffic::start(&pair);
    for round in 0..5 {
        let clean = job(&pair, "verify()");
        for table in ["account", "tally", "journal", "still"] {
            assert_eq!(clean.count(table, "different"), 0, "round {round}: {clean:?}");
        }
        let id = 1 + round * 3999;
        pair.on_mirror(&format!("UPDATE odoo_mirror.still SET x = 'wrong' WHERE id = {id}"));
        let found = job(&pair, "verify('still', repair => true)");
        assert_eq!(found.keys("still"), [format!("[\"{id}\"]")], "round {round}: {found:?}");
    }
    traffic.end();
    pair.assert_all_equal();
}

#[test]
fn a_verify_broken_off_by_a_killed_worker_goes_on_where_it_was() {
    let pair = Pair::builder()
        .mirror_conf("odoo_mirror.compare_rows", "100")
        .mirror_conf("odoo_mirror.compare_share", "100")
        .start();
    pair.on_source("CREATE TABLE t (id int PRIMARY KEY, x text); INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, 30000) n; ANALYZE t");
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.on_mirror("UPDATE odoo_mirror.t SET x = '' WHERE id = 29999");
    let id = pair.mirror_value("SELECT odoo_mirror.verify('t')");
    let place = || {
        let query = "SELECT done_to[1] FROM odoo_mirror_internal.reconciles";
        pair.mirror.try_rows("mirror", query).ok()?.pop()?.pop()??.parse::<i64>().ok()
    };
    let before = eventually("it is under way", LIMIT, || place().filter(|place| *place > 3000));
    crate::dying::kill9(&pair.worker_pid().to_string());
    // The kill restarts the server; the job is there as it was.
    let after = eventually("it goes on", LIMIT, place);
    // Not from the start; but what was not on disk yet is compared again.
    assert!(after > 100, "from {before} back to {after}");
    let found = ended(&pair, &id);
    assert_eq!(found.keys("t"), [r#"["29999"]"#], "{found:?}");
    assert_eq!(found.count("t", "rows"), 30000, "each row once: {found:?}");
}

#[test]
fn continuous_verification_proves_every_table_within_its_period_and_mends_what_it_finds() {
    let pair = Pair::builder()
        .mirror_conf("odoo_mirror.verify_continuously", "on")
        .mirror_conf("odoo_mirror.verify_period", "5")
        .start();
    pair.on_source("CREATE TABLE a (id int PRIMARY KEY, x text); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO a SELECT n, 'x' FROM generate_series(1, 500) n");
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let proven = "SELECT count(*) FROM odoo_mirror.tables() WHERE verified_age < interval '5 s'";
    eventually("both are proven", LIMIT, || (pair.mirror_value(proven) == "2").then_some(()));
    pair.on_mirror("UPDATE odoo_mirror.a SET x = 'wrong' WHERE id = 250");
    let wrong = "SELECT count(*) FROM odoo_mirror.a WHERE x = 'wrong'";
    eventually("it is found and mended", LIMIT, || (pair.mirror_value(wrong) == "0").then_some(()));
    let told = "SELECT count(*) FROM odoo_mirror.jobs() WHERE result -> 'a' ->> 'different' = '1'";
    eventually("and told", LIMIT, || (pair.mirror_value(told) == "1").then_some(()));
}

/// As when a row is too large to be sent: what can't be read will be no better the next time.
#[test]
fn a_table_that_cannot_be_compared_ends_its_job_and_neither_the_mirror_nor_the_table() {
    let pair = Pair::mirroring(
        "CREATE TABLE t (id int PRIMARY KEY, x text); CREATE TABLE u (id int PRIMARY KEY);
         INSERT INTO t SELECT n, 'x' FROM generate_series(1, 100) n",
    );
    let worker = pair.mirror_value("SELECT odoo_mirror.status() #>> '{worker,pid}'");
    let reconnects =
        "SELECT coalesce(sum(value), 0) FROM odoo_mirror.metrics() WHERE name = 'etl_reconnects_total'";
    let before = pair.mirror_value(reconnects);
    pair.on_mirror("ALTER TABLE odoo_mirror.t RENAME COLUMN x TO y");
    let failed = job(&pair, "verify('t')");
    assert_eq!(failed.state, "failed", "{failed:?}");
    assert!(failed.error.contains("does not exist"), "{failed:?}");
    pair.on_source("INSERT INTO u VALUES (1)");
    pair.caught_up();
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.u"), "1");
    assert_eq!(pair.mirror_value("SELECT odoo_mirror.status() #>> '{worker,pid}'"), worker);
    assert_eq!(pair.mirror_value(reconnects), before);
    assert_eq!(pair.mirror_value("SELECT state FROM odoo_mirror.tables() WHERE table_name = 't'"), "ready");
    // The rename undone, it is proven as ever.
    pair.on_mirror("ALTER TABLE odoo_mirror.t RENAME COLUMN y TO x");
    let proven = job(&pair, "verify('t')");
    assert_eq!((proven.state.as_str(), proven.count("t", "different")), ("done", 0), "{proven:?}");
}
