//! The old stack's habits: its script, ours, and the page for those who come from it.

use crate::harness::{Pair, eventually};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn mirroring() -> Pair {
    let pair = Pair::start();
    for file in ["schema.sql", "generate.sql"] {
        let out = pair
            .source
            .psql("odoo")
            .args(["-f", &format!("{}/demo/source/{file}", env!("CARGO_MANIFEST_DIR"))])
            .output()
            .expect("psql is there");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    pair.on_source("CALL demo.generate(0.01)");
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.on_mirror("SELECT odoo_mirror.enable_ai_memory(create_schema => true)");
    pair.caught_up();
    pair
}

fn psql(pair: &Pair, script: &str) -> (bool, String) {
    let out = pair
        .mirror
        .psql("mirror")
        .args(["-f", file(script).to_str().expect("a path")])
        .output()
        .expect("psql is there");
    (
        out.status.success(),
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)),
    )
}

#[test]
fn the_users_verification_script_runs_and_ours_says_pass_or_fail() {
    let pair = mirroring();
    let (ran, shown) = psql(&pair, "tests/old_stack/verify.sql");
    assert!(ran, "{shown}");
    for expected in [
        "v_expense_by_employee",
        "idx_hr_expense_sheet_date",
        "get_revenue_trends",
        "superset_readonly",
        "project_task_user_rel",
    ] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
    let (ran, shown) = psql(&pair, "scripts/verify-replication.sql");
    assert!(ran && shown.contains("all passed") && !shown.contains("FAIL"), "{shown}");
    pair.on_mirror("SELECT odoo_mirror.stop()");
    eventually("it is stopped", LIMIT, || {
        (pair.mirror_value("SELECT odoo_mirror.status() ->> 'state'") == "stopped").then_some(())
    });
    let (ran, shown) = psql(&pair, "scripts/verify-replication.sql");
    assert!(!ran && shown.contains("FAILED: state"), "{shown}");
}

#[test]
fn the_health_script_tells_by_its_exit_status() {
    let pair = mirroring();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port();
    pair.mirror.set_conf("odoo_mirror.metrics_listen", &port.to_string());
    pair.mirror.reload();
    let health = |dsn: &str| {
        let out = Command::new(file("scripts/verify-health.sh"))
            .env("ODOO_MIRROR_DSN", dsn)
            .env("ODOO_MIRROR_METRICS", format!("http://127.0.0.1:{port}"))
            .output()
            .expect("it runs");
        (
            out.status.code(),
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)),
        )
    };
    let dsn = format!("host=127.0.0.1 port={} user=postgres dbname=mirror", pair.mirror.port());
    let said = eventually("all is well", LIMIT, || Some(health(&dsn)).filter(|(code, _)| *code == Some(0)));
    assert!(said.1.contains("all is well"), "{said:?}");
    pair.on_mirror("SELECT odoo_mirror.stop()");
    let said = eventually("it isn't", LIMIT, || {
        Some(health(&dsn)).filter(|(code, said)| *code == Some(1) && said.contains("FAIL  endpoint"))
    });
    assert!(said.1.contains("FAIL  worker"), "{said:?}");
    assert_eq!(health("host=127.0.0.1 port=1 user=nobody dbname=nothing").0, Some(2));
}

#[test]
fn every_query_of_the_page_for_those_who_come_from_it_runs() {
    let pair = mirroring();
    let page = std::fs::read_to_string(file("docs/coming-from-supabase-etl.md")).expect("the page");
    let blocks: Vec<&str> =
        page.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 6, "{}", blocks.len());
    for block in blocks {
        pair.on_mirror(block);
    }
}
