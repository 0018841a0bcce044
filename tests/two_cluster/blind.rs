//! What is told when the source can't be looked at, while the stream lives on.

use crate::harness::{Pair, eventually};
use serde_json::Value;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// The mirror comes as a role of its own, as it should; it owns its table, so that it may alter it.
#[track_caller]
fn as_a_role_of_its_own(pair: &Pair) {
    pair.on_source(
        "CREATE ROLE repl LOGIN REPLICATION; CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT g, g FROM generate_series(1, 50) g;
         GRANT SELECT ON t TO repl",
    );
    pair.publish_all();
    let conninfo = pair.conninfo().replace("user=postgres", "user=repl");
    pair.on_mirror(&format!("SELECT odoo_mirror.configure('{conninfo}'); SELECT odoo_mirror.start()"));
    pair.wait_ready(LIMIT);
}

fn doctor(pair: &Pair) -> String {
    pair.mirror_value("SELECT concat_ws(' | ', ok, detail, hint) FROM odoo_mirror.doctor() WHERE \"check\" = 'looks at the source'")
}

fn metric(pair: &Pair, name: &str) -> f64 {
    pair.mirror_value(&format!("SELECT value FROM odoo_mirror.metrics() WHERE name = '{name}'"))
        .parse()
        .expect("a number")
}

fn failing(status: &Value) -> bool {
    status["state"] == "degraded" && !status["source_looks"]["failing_since"].is_null()
}

/// What keeps the mirror from looking, what allows it again, a word of what is told, and whether
/// the slot isn't seen either.
const CAUSES: [(&str, &str, &str, bool); 5] = [
    ("ALTER ROLE repl NOLOGIN", "ALTER ROLE repl LOGIN", "not permitted to log in", true),
    (
        "ALTER ROLE repl CONNECTION LIMIT 1",
        "ALTER ROLE repl CONNECTION LIMIT -1",
        "too many connections for role",
        true,
    ),
    (
        "REVOKE EXECUTE ON FUNCTION pg_current_snapshot FROM PUBLIC",
        "GRANT EXECUTE ON FUNCTION pg_current_snapshot TO PUBLIC",
        "permission denied",
        false,
    ),
    (
        "REVOKE EXECUTE ON FUNCTION pg_get_publication_tables FROM PUBLIC",
        "GRANT EXECUTE ON FUNCTION pg_get_publication_tables TO PUBLIC",
        "permission denied",
        false,
    ),
    (
        "REVOKE SELECT ON pg_replication_slots FROM PUBLIC",
        "GRANT SELECT ON pg_replication_slots TO PUBLIC",
        "permission denied",
        true,
    ),
];

#[test]
fn looks_that_fail_are_told_everywhere_while_the_stream_goes_on_and_no_request_ends_it() {
    let pair = Pair::builder()
        .mirror_conf("odoo_mirror.poll_interval", "1")
        .mirror_conf("odoo_mirror.give_up_slot_at", "500")
        .start();
    as_a_role_of_its_own(&pair);
    pair.wait_status("a look", |status| !status["source_looks"]["succeeded_at"].is_null());
    assert!(doctor(&pair).starts_with("t | "), "{}", doctor(&pair));
    assert_eq!(metric(&pair, "etl_source_look_failing"), 0.0);
    let walsender = "SELECT pid FROM pg_stat_replication";
    let before = pair.source_value(walsender);
    for (place, (cause, cure, words, unseen)) in CAUSES.into_iter().enumerate() {
        let failed = metric(&pair, "etl_source_looks_failed_total");
        pair.on_source(cause);
        let status = pair.wait_status(cause, failing);
        assert!(status["message"].as_str().is_some_and(|told| told.contains(words)), "{cause}: {status:#}");
        assert!(
            status["last_error"]["message"].as_str().is_some_and(|told| told.contains(words)),
            "{status:#}"
        );
        let told = doctor(&pair);
        assert!(told.starts_with("f | ") && told.contains(words), "{cause}: {told}");
        assert_eq!(told.contains("give_up_slot_at is not kept"), unseen, "{cause}: {told}");
        assert_eq!(metric(&pair, "etl_source_look_failing"), 1.0);
        assert!(metric(&pair, "etl_source_looks_failed_total") > failed);
        // What is asked for meanwhile waits, and ends nothing.
        let job = pair.mirror_value(match place % 2 {
            0 => "SELECT odoo_mirror.resync('t')",
            _ => "SELECT odoo_mirror.verify('t', repair => true)",
        });
        // Nothing in the stream tells of this.
        pair.on_source(
            "ALTER TABLE t ALTER v TYPE int USING v + 1; INSERT INTO t SELECT max(id) + 1, 0 FROM t",
        );
        eventually("the stream goes on", LIMIT, || {
            let rows = "SELECT count(*) FROM";
            (pair.mirror_value(&format!("{rows} odoo_mirror.t")) == pair.source_value(&format!("{rows} t")))
                .then_some(())
        });
        // Nobody knows whether what readers see is what was there.
        let lsn = pair.source_value("SELECT pg_current_wal_insert_lsn()");
        assert_eq!(
            pair.mirror_value(&format!("SELECT odoo_mirror.wait_for('{lsn}', '200 ms')")),
            "f",
            "{cause}"
        );
        let state = format!("SELECT state FROM odoo_mirror.jobs() WHERE id = {job}");
        if place % 2 == 0 {
            // A comparison may still have its session; one that has to look at the source anew
            // can't begin.
            assert_eq!(pair.mirror_value(&state), "waiting", "{cause}");
        }
        pair.on_source(cure);
        pair.wait_status(cure, |status| {
            status["state"] == "streaming" && status["source_looks"]["failing_since"].is_null()
        });
        eventually("the job is done", LIMIT, || (pair.mirror_value(&state) == "done").then_some(()));
        // Nothing is left that a look has still to see: the next cause would keep it from that.
        pair.caught_up();
        eventually("its rows are equal", LIMIT, || {
            let sum = "SELECT sum(v) FROM";
            (pair.mirror_value(&format!("{sum} odoo_mirror.t")) == pair.source_value(&format!("{sum} t")))
                .then_some(())
        });
        assert_eq!(pair.source_value(walsender), before, "{cause}");
    }
    pair.assert_all_equal();
}
