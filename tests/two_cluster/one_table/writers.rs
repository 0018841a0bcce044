//! Transactions that wrote a table before it was published, or that no snapshot sees yet.

use super::{LIMIT, waits_for};
use crate::harness::{Pair, eventually};
use std::thread;

/// A session in a transaction, and its process.
fn writing(pair: &Pair, statements: &str) -> (postgres::Client, String) {
    let mut session = pair.source.connect("odoo");
    session.batch_execute(&format!("BEGIN; {statements}")).expect("it writes");
    let pid = session.query_one("SELECT pg_backend_pid()::text", &[]).expect("it is up").get(0);
    (session, pid)
}

/// Inserts, updates and deletes one of twenty rows each.
fn all_kinds(table: &str) -> String {
    format!(
        "INSERT INTO {table} VALUES (21, 'new'); UPDATE {table} SET a = 'changed' WHERE id = 5; DELETE FROM {table} WHERE id = 6;"
    )
}

#[test]
fn what_was_written_before_a_table_was_published_is_waited_for() {
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").start();
    let late = ["late", "\"la te\"", "keyless", "prepared", "leaf", "listed", "filtered", "in_schema"];
    let mut schema = String::from(
        "CREATE TABLE beat (id int PRIMARY KEY, a text); CREATE TABLE root (id int PRIMARY KEY, a text) PARTITION BY RANGE (id);
         CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (100);
         CREATE TABLE keyless (id int, a text); ALTER TABLE keyless REPLICA IDENTITY FULL;",
    );
    for table in ["late", "\"la te\"", "prepared", "listed", "filtered", "in_schema"] {
        schema += &format!("CREATE TABLE {table} (id int PRIMARY KEY, a text);");
    }
    for table in late {
        schema += &format!("INSERT INTO {table} SELECT n, 'old' FROM generate_series(1, 20) n;");
    }
    pair.on_source(&schema);
    pair.publish("beat, listed (id), filtered WHERE (id > 10)");
    pair.configure_and_start();
    pair.wait_ready(LIMIT);

    let mut open: Vec<(postgres::Client, String, &str)> = Vec::new();
    for table in late {
        // By the root, too: what is locked and written is the partition.
        let (session, pid) = writing(&pair, &all_kinds(if table == "leaf" { "root" } else { table }));
        open.push((session, pid, table));
    }
    open[3].0.batch_execute("PREPARE TRANSACTION 'left open'").expect("it is prepared");
    // Each way by which a table, rows or columns get into a publication.
    pair.on_source("ALTER PUBLICATION odoo_pub_scout ADD TABLE late, \"la te\", keyless, prepared, root");
    pair.on_source("ALTER PUBLICATION odoo_pub_scout DROP TABLE listed, filtered");
    pair.on_source("ALTER PUBLICATION odoo_pub_scout ADD TABLE listed, filtered WHERE (id > 3)");
    pair.on_source("ALTER PUBLICATION odoo_pub_scout ADD TABLES IN SCHEMA public");

    for (_, pid, table) in &open {
        let name = table.trim_matches('"');
        let told = waits_for(&pair, name);
        let who = if name == "prepared" {
            "prepared transaction 'left open'".to_owned()
        } else {
            format!("pid {pid} (open for")
        };
        assert!(
            told.contains(&who) && told.contains(&format!("that write public.{table}: ")),
            "{table}: {told}"
        );
        let shown = format!(
            "SELECT concat_ws(' ', state, reason) FROM odoo_mirror.tables() WHERE table_name = '{name}'"
        );
        let shown = pair.mirror_value(&shown);
        assert!(!shown.starts_with("ready") && shown.contains(&who), "{table}: {shown}");
    }
    let message = pair.wait_status("it is told", |status| status["message"].is_string());
    assert!(
        message["message"].as_str().is_some_and(|message| message.contains("waiting for")),
        "{message:#}"
    );
    // Nobody else waits.
    pair.on_source("INSERT INTO beat VALUES (1, 'goes on')");
    pair.caught_up();
    pair.assert_equal("beat");

    pair.on_source("COMMIT PREPARED 'left open'");
    for (session, _, table) in &mut open {
        if *table != "prepared" {
            session.batch_execute("COMMIT").expect("it is up");
        }
    }
    pair.wait_ready(LIMIT);
    pair.caught_up();
    // A publication of a schema has no filters.
    for table in pair.published_tables() {
        pair.assert_equal(&table);
    }
    assert_eq!(
        pair.wait_status("nothing", |status| status["waits"] == serde_json::json!({}))["state"],
        "streaming"
    );
}

#[test]
fn a_comparison_names_who_it_waits_for_and_what_that_holds() {
    let pair = Pair::mirroring(
        "CREATE TABLE held (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY);
         INSERT INTO t VALUES (1); INSERT INTO u VALUES (1)",
    );
    // The stream brings a commit that no snapshot sees yet: it waits for a standby.
    pair.source.commits_wait("odoo");
    let (mut session, pid) = writing(&pair, "INSERT INTO held VALUES (1)");
    let writer = thread::spawn(move || session.batch_execute("COMMIT"));
    eventually("the mirror shows it", LIMIT, || {
        (pair.mirror_value("SELECT count(*) FROM odoo_mirror.held") == "1").then_some(())
    });
    let job = pair.mirror_value("SELECT odoo_mirror.verify('t')");
    let told = waits_for(&pair, "t");
    let expected = format!("that write public.held: pid {pid} (open for");
    assert!(told.contains(&expected), "{told}");
    let of_job = pair.mirror_value(&format!("SELECT waits FROM odoo_mirror.jobs() WHERE id = {job}"));
    assert!(of_job.starts_with("t: waiting") && of_job.contains(&expected), "{of_job}");
    let of_table = pair.mirror_value("SELECT reason FROM odoo_mirror.tables() WHERE table_name = 't'");
    assert!(of_table.contains(&expected), "{of_table}");
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.tables() WHERE state <> 'ready'"), "0");
    pair.source.commits_go_on("odoo");
    writer.join().expect("the writer ends").expect("it commits");
    eventually("the job ends", LIMIT, || {
        let query = format!("SELECT state || coalesce(waits, '') FROM odoo_mirror.jobs() WHERE id = {job}");
        (pair.mirror_value(&query) == "done").then_some(())
    });
    let reason = "SELECT count(*) FROM odoo_mirror.tables() WHERE reason IS NOT NULL";
    assert_eq!(pair.mirror_value(reason), "0");
}
