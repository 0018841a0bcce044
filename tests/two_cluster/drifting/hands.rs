//! What is in the way of a change here: a death, a reader, a view of somebody's.

use super::{Busy, LIMIT, builder, ends_equal, history, mirroring};
use crate::dying::kill9;
use crate::harness::{Rng, eventually};
use std::time::Duration;

const TABLE: &str =
    "CREATE TABLE t (id int PRIMARY KEY, n int, note varchar(20) DEFAULT 'x', old text DEFAULT 'y');
    INSERT INTO t SELECT i, i FROM generate_series(1, 1000) i; CREATE TABLE u (id int PRIMARY KEY, n int);";

#[test]
fn a_view_of_somebodys_fails_the_table_and_it_heals_when_the_view_is_gone() {
    let pair = mirroring(TABLE);
    for (view, change) in [
        ("VIEW", "ALTER TABLE t ALTER note TYPE text"),
        ("VIEW", "ALTER TABLE t DROP COLUMN old"),
        ("MATERIALIZED VIEW", "ALTER TABLE t ALTER n TYPE bigint"),
    ] {
        let busy = Busy::with(&pair, &["t", "u"]);
        pair.on_mirror(&format!("CREATE {view} public.report AS SELECT * FROM odoo_mirror.t"));
        pair.on_source(change);
        let hint = eventually(&format!("{change} fails the table"), LIMIT, || {
            let row = pair
                .mirror
                .rows(
                    "mirror",
                    "SELECT hint FROM odoo_mirror.tables() WHERE table_name = 't' AND state = 'failed'",
                )
                .pop()?;
            row[0].clone()
        });
        assert!(hint.contains("report"), "{hint}");
        assert_eq!(pair.mirror_value("SELECT count(*) > 900 FROM public.report"), "t");
        // The others go on.
        busy.some_more();
        busy.end();
        pair.caught_up_within(LIMIT);
        pair.assert_equal("u");
        pair.on_mirror(&format!("DROP {view} public.report"));
        eventually("it heals by itself", LIMIT, || {
            let failed = "SELECT count(*) FROM odoo_mirror.tables() WHERE state <> 'ready'";
            (pair.mirror_value(failed) == "0").then_some(())
        });
        ends_equal(&pair);
    }
}

#[test]
fn a_view_of_somebodys_is_no_harm_to_a_change_that_it_does_not_hinder() {
    let pair = mirroring(TABLE);
    pair.on_mirror("CREATE VIEW public.report AS SELECT id, note FROM odoo_mirror.t");
    pair.on_source("ALTER TABLE t ADD COLUMN more int DEFAULT 5; UPDATE t SET more = 6 WHERE id = 1; ALTER TABLE t RENAME COLUMN note TO remark; UPDATE t SET remark = 'z' WHERE id = 2; ALTER TABLE t DROP COLUMN old; UPDATE t SET more = 7 WHERE id = 3");
    ends_equal(&pair);
    assert_eq!(pair.mirror_value("SELECT note FROM public.report WHERE id = 2"), "z");
    assert!(history(&pair, "t").iter().all(|(_, done)| !done.contains("failed")));
}

#[test]
fn a_reader_who_holds_the_table_keeps_only_that_table_waiting() {
    let pair = mirroring(TABLE);
    let mut reader = pair.mirror.connect("mirror");
    reader.batch_execute("BEGIN; SELECT count(*) FROM odoo_mirror.t").expect("it is up");
    pair.on_source("ALTER TABLE t ADD COLUMN more int DEFAULT 5; UPDATE t SET more = 6 WHERE id = 1");
    let busy = Busy::with(&pair, &["t", "u"]);
    for _ in 0..3 {
        busy.some_more();
        pair.caught_up_within(LIMIT);
    }
    assert_eq!(
        pair.mirror_value("SELECT state FROM odoo_mirror.tables() WHERE table_name = 't'"),
        "reconciling"
    );
    reader.batch_execute("COMMIT").expect("it is up");
    busy.end();
    ends_equal(&pair);
}

#[test]
fn changes_while_the_worker_dies_again_and_again_end_equal() {
    let mut rng = Rng::seeded(4);
    let pair = builder().start();
    pair.on_source(TABLE);
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let busy = Busy::with(&pair, &["t", "u"]);
    let changes = [
        "ALTER TABLE t ADD COLUMN a int DEFAULT 1; UPDATE t SET a = 2 WHERE id % 3 = 0",
        "ALTER TABLE t ALTER note TYPE text; UPDATE t SET note = 'longer than twenty characters' WHERE id % 5 = 0",
        "ALTER TABLE t RENAME old TO older; UPDATE t SET older = 'z' WHERE id % 7 = 0",
        "ALTER TABLE t ALTER a TYPE bigint; UPDATE t SET a = 1 WHERE id = 5",
        "ALTER TABLE t DROP COLUMN a; UPDATE t SET note = NULL WHERE id = 6",
        "ALTER TABLE t ADD COLUMN a text DEFAULT 'again', ADD COLUMN b float8 DEFAULT random()",
    ];
    for change in changes {
        pair.on_source(&format!("BEGIN; {change}; COMMIT"));
        std::thread::sleep(Duration::from_millis(rng.number(0..400) as u64));
        kill9(&pair.worker_pid().to_string());
    }
    busy.end();
    ends_equal(&pair);
}

#[test]
fn changes_during_the_first_copy_end_equal() {
    for change in [
        "ALTER TABLE t ADD COLUMN more int DEFAULT 5; UPDATE t SET more = 6 WHERE id % 10 = 0",
        "ALTER TABLE t DROP COLUMN old; ALTER TABLE t ALTER note TYPE jsonb USING to_jsonb(note)",
        "ALTER TABLE t RENAME TO v; ALTER TABLE v RENAME COLUMN note TO remark",
    ] {
        let pair = builder().mirror_conf("odoo_mirror.copy_range_rows", "200").start();
        pair.on_source(&TABLE.replace("1000", "20000").replace(" DEFAULT 'x'", ""));
        pair.publish_all();
        let busy = Busy::with(&pair, &["t", "u", "v"]);
        pair.configure_and_start();
        eventually("it copies", LIMIT, || {
            let copied = "SELECT count(*) FROM odoo_mirror.tables() WHERE copied_rows > 0";
            (pair.mirror_value(copied) != "0").then_some(())
        });
        pair.on_source(change);
        busy.some_more();
        busy.end();
        // A copy that was under way may fail, and is begun again by itself.
        eventually(&format!("{change}: it is ready"), LIMIT, || {
            let ready = "SELECT count(*) FROM odoo_mirror.tables() WHERE state = 'ready' AND table_name IN ('t', 'v')";
            (pair.mirror_value(ready) == "1").then_some(())
        });
        pair.assert_all_equal();
    }
}

#[test]
fn a_stream_that_ended_before_the_mirror_asks_what_changed_is_begun_anew() {
    let pair =
        mirroring("CREATE TABLE t (id serial PRIMARY KEY, x text); CREATE TABLE u (id int PRIMARY KEY)");
    let mut lock = pair.mirror.connect("mirror");
    lock.batch_execute("BEGIN; LOCK TABLE odoo_mirror.u IN SHARE MODE").expect("nobody else has it");
    pair.on_source(
        "INSERT INTO u VALUES (1); ALTER TABLE t ADD COLUMN y int; INSERT INTO t (x, y) VALUES ('new', 1)",
    );
    pair.wait_status("it waits for u, and then comes to t", |status| {
        status["message"].as_str().is_some_and(|told| told.contains("applying again"))
    });
    pair.on_source("SELECT pg_terminate_backend(pid) FROM pg_stat_replication");
    // Until its end is noticed here.
    std::thread::sleep(Duration::from_secs(4));
    lock.batch_execute("COMMIT").expect("it is held");
    pair.on_source("INSERT INTO t (x, y) VALUES ('after it', 2)");
    pair.assert_all_equal();
}
