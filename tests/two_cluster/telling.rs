//! What the mirror tells: lag, progress, counters, jobs, and what its calls promise.

use crate::harness::{Cluster, Pair, Proxy, eventually, explain};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(40);

fn quick() -> crate::harness::PairBuilder {
    Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1")
}

fn proxy(pair: &Pair) -> &Proxy {
    pair.proxy.as_ref().expect("it was asked for")
}

fn lag_seconds(pair: &Pair) -> f64 {
    pair.mirror_value("SELECT coalesce(seconds, -1) FROM odoo_mirror.lag()").parse().expect("a number")
}

/// A library that, preloaded, sets a server's clock off by `$CLOCK_OFF` seconds. Beside its source
/// in /tmp: the server's user must be able to read it.
fn clock_shim() -> String {
    const SOURCE: &str = r#"
        #include <stdlib.h>
        #include <sys/syscall.h>
        #include <sys/time.h>
        #include <time.h>
        #include <unistd.h>
        static long off(void) { const char *off = getenv("CLOCK_OFF"); return off ? atol(off) : 0; }
        int clock_gettime(clockid_t clock, struct timespec *now) {
            int failed = syscall(SYS_clock_gettime, clock, now);
            if (!failed && clock == CLOCK_REALTIME) now->tv_sec += off();
            return failed;
        }
        int gettimeofday(struct timeval *now, void *zone) {
            struct timespec precise;
            int failed = syscall(SYS_clock_gettime, CLOCK_REALTIME, &precise);
            now->tv_sec = precise.tv_sec + off();
            now->tv_usec = precise.tv_nsec / 1000;
            return failed;
        }"#;
    let stem = format!("/tmp/odoo_mirror-clock-{}-{:?}", std::process::id(), std::thread::current().id());
    let stem = stem.replace(['(', ')'], "");
    std::fs::write(format!("{stem}.c"), SOURCE).expect("/tmp can be written");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).args([format!("{stem}.so"), format!("{stem}.c")]);
    let built = cc.status().expect("cc is there: rustc links with it");
    assert!(built.success());
    std::fs::remove_file(format!("{stem}.c")).expect("it was just made");
    format!("{stem}.so")
}

#[test]
fn lag_is_0_when_caught_up_and_rises_while_the_source_is_silent_whatever_its_clock_says() {
    let shim = clock_shim();
    for off in [3600_i64, -3600] {
        let pair = quick()
            .proxied()
            .source_env("LD_PRELOAD", &shim)
            .source_env("CLOCK_OFF", &off.to_string())
            .start();
        let now = |server: &Cluster| -> f64 {
            let now = server.value("postgres", "SELECT extract(epoch FROM clock_timestamp())");
            now.parse().expect("a number")
        };
        let apart = now(&pair.source) - now(&pair.mirror);
        assert!((apart - off as f64).abs() < 60.0, "the clocks don't differ: {apart}");

        pair.on_source("CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t DEFAULT VALUES");
        pair.publish_all();
        pair.configure_and_start();
        pair.wait_ready(LIMIT);
        for _ in 0..20 {
            pair.on_source("INSERT INTO t DEFAULT VALUES");
            let lag = lag_seconds(&pair);
            assert!((0.0..60.0).contains(&lag), "{off}: {lag} s while streaming");
        }
        pair.caught_up();
        eventually("lag is 0 once caught up", LIMIT, || (lag_seconds(&pair) == 0.0).then_some(()));

        proxy(&pair).freeze();
        pair.on_source("INSERT INTO t DEFAULT VALUES");
        let risen = eventually("lag rises while nothing comes", LIMIT, || {
            Some(lag_seconds(&pair)).filter(|lag| *lag > 7.0)
        });
        assert!(risen < 60.0, "{off}: {risen} s after a few");
        proxy(&pair).thaw();
        pair.assert_all_equal();
        eventually("lag is 0 again", LIMIT, || (lag_seconds(&pair) == 0.0).then_some(()));
        let row = "SELECT extract(epoch FROM clock_timestamp() - last_change)::int FROM odoo_mirror.tables()";
        let age: i64 = pair.mirror_value(row).parse().expect("a number");
        assert!((age + off).abs() < 60, "last_change is by the source's clock: {age}");
    }
    std::fs::remove_file(shim).expect("it was made");
}

#[test]
fn lag_goes_on_rising_while_the_source_is_down() {
    let pair = quick().start();
    pair.on_source("CREATE TABLE t (id serial PRIMARY KEY)");
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.source.stop(crate::harness::Shutdown::Fast);
    let status = pair.wait_state("retrying");
    assert!(!status["last_error"]["message"].is_null(), "{status:#}");
    eventually("lag rises", LIMIT, || (lag_seconds(&pair) > 1.5).then_some(()));
    assert_eq!(pair.metric("etl_up", "{}"), 0.0);
    pair.source.start();
    pair.on_source("INSERT INTO t DEFAULT VALUES");
    pair.assert_all_equal();
    eventually("lag is 0 again", LIMIT, || (lag_seconds(&pair) == 0.0).then_some(()));
}

#[test]
fn counters_survive_a_restart_and_every_change_is_accounted_for() {
    let pair = Pair::mirroring("CREATE TABLE t (id serial PRIMARY KEY, x int)");
    pair.on_source("INSERT INTO t (x) SELECT n FROM generate_series(1, 50) n");
    pair.on_source("UPDATE t SET x = 0 WHERE id <= 20");
    pair.on_source("BEGIN; INSERT INTO t (id) VALUES (900); UPDATE t SET x = 1 WHERE id = 900; DELETE FROM t WHERE id = 900; COMMIT");
    pair.on_source("UPDATE t SET id = 1000 WHERE id = 1");
    pair.on_source("DELETE FROM t WHERE id <= 10");
    pair.caught_up();
    let counted = || {
        ["insert", "update", "delete"]
            .map(|what| pair.metric("etl_records_processed_total", &format!(r#"{{"operation": "{what}"}}"#)))
    };
    let before = counted();
    assert_eq!(before, [51.0, 22.0, 10.0]);
    let term = |term: &str| pair.metric("etl_changes_total", &format!(r#"{{"term": "{term}"}}"#));
    let accounted = || ["applied", "folded", "skipped", "filtered", "missing"].map(term).iter().sum::<f64>();
    assert_eq!(term("received") + term("split"), accounted());

    let transactions = pair.metric("etl_transactions_total", "{}");
    assert!(transactions >= 5.0, "{transactions}");
    for _ in 0..2 {
        pair.mirror.restart();
        pair.wait_state("streaming");
        assert_eq!(counted(), before);
        assert!(pair.metric("etl_transactions_total", "{}") >= transactions);
    }
    pair.on_source("INSERT INTO t (x) VALUES (1)");
    pair.caught_up();
    assert_eq!(counted(), [52.0, 22.0, 10.0]);
    assert_eq!(term("received") + term("split"), accounted());
}

#[test]
fn wait_for_is_true_when_the_commit_is_shown_and_false_when_the_time_is_over() {
    let pair = Pair::mirroring("CREATE TABLE t (id serial PRIMARY KEY)");
    for n in 1..=20 {
        pair.on_source("INSERT INTO t DEFAULT VALUES");
        let lsn = pair.source_value("SELECT pg_current_wal_insert_lsn()");
        assert_eq!(pair.mirror_value(&format!("SELECT odoo_mirror.wait_for('{lsn}')")), "t");
        assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.t"), n.to_string());
    }
    let future = pair.source_value("SELECT pg_current_wal_insert_lsn() + 100000000");
    assert_eq!(pair.mirror_value(&format!("SELECT odoo_mirror.wait_for('{future}', '100 ms')")), "f");
    // A call that waits can be cancelled like any other.
    let waiting =
        format!("SET statement_timeout = '200ms'; SELECT odoo_mirror.wait_for('{future}', '1 hour')");
    let cancelled = explain(&pair.mirror.try_sql("mirror", &waiting).expect_err("it is cancelled"));
    assert!(cancelled.contains("57014"), "{cancelled}");
}

#[test]
fn a_copy_shows_its_progress_while_it_runs() {
    let pair = quick().proxied().mirror_conf("odoo_mirror.copy_range_rows", "10000").start();
    pair.on_source(
        "CREATE TABLE t (id int PRIMARY KEY, x text);
         INSERT INTO t SELECT n, repeat(md5(n::text), 3) FROM generate_series(1, 50000) n; ANALYZE t",
    );
    pair.publish_all();
    proxy(&pair).slow_down(Duration::from_millis(5));
    pair.configure_and_start();
    let progress = "SELECT copied_rows, copied_percent FROM odoo_mirror.tables()
                    WHERE state = 'copying' AND rows_per_second > 0 AND time_left IS NOT NULL AND copied_bytes > 0";
    let look = |beyond: f64| {
        eventually("the copy's progress shows", LIMIT, || {
            let row = pair.mirror.rows("mirror", progress).pop()?;
            let [rows, percent] = [0, 1].map(|n| row[n].as_ref().and_then(|text| text.parse::<f64>().ok()));
            Some((rows?, percent?)).filter(|(rows, _)| *rows > beyond)
        })
    };
    let (rows, percent) = look(0.0);
    assert!(percent > 0.0 && percent < 100.0, "{percent} %");
    let (_, later) = look(rows);
    assert!(later > percent && later < 100.0, "{percent} %, then {later} %");
    assert_eq!(pair.mirror.mirror_status("mirror")["state"], "copying");
    proxy(&pair).slow_down(Duration::ZERO);
    pair.wait_ready(LIMIT);
    assert_eq!(
        pair.mirror_value("SELECT copied_rows || ' ' || copied_percent FROM odoo_mirror.tables()"),
        "50000 100"
    );
    pair.assert_all_equal();
}

#[test]
fn resync_mends_a_table_while_its_readers_go_on() {
    let pair = Pair::mirroring(
        "CREATE TABLE t (id int PRIMARY KEY, x text); INSERT INTO t SELECT n, 'x' || n FROM generate_series(1, 5000) n;
         CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1)",
    );
    pair.on_mirror("UPDATE odoo_mirror.t SET x = 'wrong' WHERE id % 7 = 0; DELETE FROM odoo_mirror.t WHERE id = 5; INSERT INTO odoo_mirror.t VALUES (99999, 'extra')");
    let job = pair.mirror_value("SELECT odoo_mirror.resync('t')");
    let ended =
        format!("SELECT state FROM odoo_mirror.jobs() WHERE id = {job} AND finished_at >= started_at");
    let mut fewest = i64::MAX;
    eventually("the job is done", LIMIT, || {
        fewest =
            fewest.min(pair.mirror_value("SELECT count(*) FROM odoo_mirror.t").parse().expect("a number"));
        let state = pair.mirror.rows("mirror", &ended).pop()?;
        assert_eq!(state[0].as_deref(), Some("done"));
        Some(())
    });
    assert_eq!(fewest, 5000, "a reader saw the table while it was being filled");
    pair.assert_all_equal();
    // 714 that are wrong, one missing, one too many.
    let written = format!("SELECT result -> 't' ->> 'written' FROM odoo_mirror.jobs() WHERE id = {job}");
    assert_eq!(pair.mirror_value(&written), "716");

    let unknown = pair.mirror.try_sql("mirror", "SELECT odoo_mirror.resync('nothing')");
    let unknown = explain(&unknown.expect_err("there is no such table"));
    assert!(unknown.contains("\"nothing\" is not mirrored") && unknown.contains("HINT"), "{unknown}");

    let all = pair.mirror_value("SELECT odoo_mirror.resync()");
    eventually("all tables are compared", LIMIT, || {
        let state = format!("SELECT state FROM odoo_mirror.jobs() WHERE id = {all}");
        (pair.mirror_value(&state) == "done").then_some(())
    });
    pair.assert_all_equal();
}

#[test]
fn a_table_that_fails_is_told_with_its_reason_and_the_others_go_on() {
    let pair =
        Pair::mirroring("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY, x int)");
    // A check of somebody's own, which the source's rows don't meet.
    pair.on_mirror("ALTER TABLE odoo_mirror.u ADD CHECK (x < 10)");
    pair.on_source(
        "BEGIN; INSERT INTO t VALUES (1); INSERT INTO u SELECT g, 100 FROM generate_series(1, 200) g; COMMIT",
    );
    let (reason, hint) = pair.wait_table("u", "failed");
    assert!(reason.contains("u_x_check") && hint.contains("retry_failures()"), "{reason}, {hint}");
    pair.on_source("INSERT INTO t VALUES (2)");
    pair.caught_up();
    pair.assert_equal("t");
    let status = pair.mirror.mirror_status("mirror");
    assert!(status["failed_tables"]["u"].as_str().is_some_and(|told| told == reason), "{status:#}");
    pair.on_mirror("ALTER TABLE odoo_mirror.u DROP CONSTRAINT u_x_check");
    pair.on_mirror("SELECT odoo_mirror.resync('u')");
    pair.wait_table("u", "ready");
    pair.assert_all_equal();
}

#[test]
fn uninstall_says_when_the_slot_could_not_be_given_up_and_can_be_called_again() {
    let pair = quick().proxied().start();
    pair.on_source("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    proxy(&pair).refuse();
    proxy(&pair).cut(crate::harness::Cut::Reset);
    let refused = pair.mirror.try_sql("mirror", "SELECT odoo_mirror.uninstall()");
    let refused = explain(&refused.expect_err("the source can't be reached"));
    assert!(
        refused.contains("the slot is still there") && refused.contains("connection refused"),
        "{refused}"
    );
    proxy(&pair).welcome();
    assert_eq!(pair.source_value("SELECT count(*) FROM pg_replication_slots"), "1");
    for _ in 0..2 {
        pair.on_mirror("SELECT odoo_mirror.uninstall()");
        assert_eq!(pair.source_value("SELECT count(*) FROM pg_replication_slots"), "0");
        assert_eq!(pair.mirror_value("SELECT count(*) FROM pg_replication_origin"), "0");
    }
    pair.wait_state("stopped");
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.t"), "1");

    // It was not for ever: a new start makes a new slot and takes the rows over.
    pair.on_source("INSERT INTO t VALUES (2); DELETE FROM t WHERE id = 1");
    pair.on_mirror("SELECT odoo_mirror.start()");
    pair.wait_state("streaming");
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
}

#[test]
fn uninstall_answers_soon_when_the_password_can_not_be_had() {
    let pair = quick().start();
    pair.on_source("CREATE TABLE t (id int PRIMARY KEY)");
    pair.publish_all();
    let configure = format!("SELECT odoo_mirror.configure('{}', password_secret => 'x')", pair.conninfo());
    pair.on_mirror(&configure);
    pair.on_mirror("SELECT odoo_mirror.start()");
    pair.wait_state("failed");
    let call = "SET statement_timeout = '20s'; SELECT odoo_mirror.uninstall()";
    let refused = explain(&pair.mirror.try_sql("mirror", call).expect_err("there is no Vault"));
    assert!(refused.contains("the slot is still there") && refused.contains("Vault"), "{refused}");
}
