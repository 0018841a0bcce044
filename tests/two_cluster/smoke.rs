//! What must work on every version of PostgreSQL: the whole life of a mirror, once.

use crate::harness::{Pair, Shutdown, eventually};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

const SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE TABLE res_partner (id serial PRIMARY KEY, name varchar, vat varchar, data jsonb, tags text[],
        rate numeric, born date, seen timestamp, raw bytea, mood mood, access_token varchar);
    CREATE TABLE account_move (id serial PRIMARY KEY, name text, amount numeric(16, 2), note text);
    CREATE TABLE project_task_user_rel (task_id int, user_id int, PRIMARY KEY (task_id, user_id));
    CREATE TABLE code (code text PRIMARY KEY, label text);
    INSERT INTO res_partner (name, vat, data, tags, rate, born, seen, raw, mood, access_token)
        SELECT 'partner ' || n, nullif('BE' || n, 'BE7'), jsonb_build_object('n', n), ARRAY['a', NULL, 'b' || n],
               CASE n % 3 WHEN 0 THEN 'NaN' ELSE n / 7.0 END, date '2020-01-01' + n,
               timestamp '2020-01-01' + n * interval '1 hour', decode(md5(n::text), 'hex'),
               (ARRAY['sad', 'happy'])[1 + n % 2]::mood, 'secret'
        FROM generate_series(1, 500) n;
    INSERT INTO account_move (name, amount, note) SELECT 'INV/' || n, n * 1.5, repeat(md5(n::text), n)
        FROM generate_series(1, 300) n;
    INSERT INTO project_task_user_rel SELECT n, n % 5 FROM generate_series(1, 50) n;
    INSERT INTO code SELECT 'c' || n, 'label ' || n FROM generate_series(1, 20) n;";

#[test]
fn a_mirror_is_installed_copies_streams_stops_goes_on_and_goes() {
    let pair = Pair::builder()
        .mirror_conf("odoo_mirror.poll_interval", "1")
        .mirror_conf("odoo_mirror.copy_range_rows", "200")
        .start();
    pair.on_source(SCHEMA);
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
    assert_eq!(
        pair.mirror_value("SELECT count(*) FROM odoo_mirror.res_partner WHERE name LIKE 'partner %'"),
        "500"
    );

    streams_each_operation(&pair);
    tells(&pair);
    stops_and_goes_on(&pair);
    a_new_table_comes_in(&pair);
    goes(&pair);
}

fn streams_each_operation(pair: &Pair) {
    pair.on_source("INSERT INTO res_partner (name, mood) VALUES ('new', 'happy'), ('other', NULL)");
    pair.on_source(
        "UPDATE res_partner SET name = upper(name), rate = 'NaN' WHERE id % 10 = 0 AND name <> ''",
    );
    pair.on_source("UPDATE account_move SET amount = amount + 1");
    pair.on_source("UPDATE account_move SET id = id + 1000 WHERE id < 20");
    pair.on_source("DELETE FROM project_task_user_rel WHERE task_id < 10");
    pair.on_source("UPDATE project_task_user_rel SET user_id = 99 WHERE task_id = 20");
    pair.on_source("BEGIN; TRUNCATE code; INSERT INTO code VALUES ('only', 'one'); COMMIT");
    pair.on_source("BEGIN; INSERT INTO code VALUES ('never', ''); ROLLBACK");
    pair.on_source("SELECT pg_logical_emit_message(true, 'somebody', 'else''s message')");
    pair.assert_all_equal();
    assert_eq!(pair.mirror_value("SELECT string_agg(code, ',') FROM odoo_mirror.code"), "only");
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.account_move WHERE id > 1000"), "19");
}

fn tells(pair: &Pair) {
    let status = pair.wait_state("streaming");
    assert_eq!(status["tables"]["ready"], 4, "{status:#}");
    assert_eq!(
        status["versions"]["server"].as_str(),
        Some(pair.mirror_value("SHOW server_version").as_str())
    );
    assert!(status["last_error"].is_null(), "{status:#}");
    eventually("lag is 0 once caught up", LIMIT, || {
        let lag = "SELECT seconds = 0 AND bytes = 0 AND applied_lsn >= source_lsn FROM odoo_mirror.lag()";
        (pair.mirror_value(lag) == "t").then_some(())
    });
    assert_eq!(pair.metric("etl_up", "{}"), 1.0);
    assert_eq!(pair.metric("etl_records_processed_total", r#"{"operation": "delete"}"#), 9.0);
    assert_eq!(pair.metric("etl_records_processed_total", r#"{"operation": "truncate"}"#), 1.0);
    let states = "SELECT DISTINCT state FROM odoo_mirror.tables()";
    assert_eq!(pair.mirror_value(states), "ready");
}

fn stops_and_goes_on(pair: &Pair) {
    pair.on_mirror("SELECT odoo_mirror.stop()");
    pair.wait_state("stopped");
    pair.on_source("INSERT INTO code VALUES ('meanwhile', '')");
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.code"), "1");
    pair.mirror.stop(Shutdown::Fast);
    pair.mirror.start();
    pair.wait_state("stopped");
    pair.on_mirror("SELECT odoo_mirror.start()");
    pair.assert_all_equal();
    pair.mirror.restart();
    pair.on_source("INSERT INTO code VALUES ('restarted', '')");
    pair.assert_all_equal();
}

fn a_new_table_comes_in(pair: &Pair) {
    pair.on_source(
        "CREATE TABLE late (id int PRIMARY KEY, t text); INSERT INTO late VALUES (1, 'one');
         ALTER PUBLICATION odoo_pub_scout ADD TABLE late",
    );
    pair.wait_ready(LIMIT);
    pair.on_source("INSERT INTO late VALUES (2, 'two')");
    pair.assert_all_equal();
}

fn goes(pair: &Pair) {
    pair.on_mirror("SELECT odoo_mirror.uninstall()");
    assert_eq!(pair.source_value("SELECT count(*) FROM pg_replication_slots"), "0");
    assert_eq!(pair.mirror_value("SELECT count(*) FROM pg_replication_origin"), "0");
    pair.on_mirror("DROP EXTENSION odoo_mirror");
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.res_partner"), "502");
}
