//! Programs that ask for the metrics by SQL, as they are configured in `monitoring/`, and a
//! Prometheus that reads them there.

use crate::harness::{Pair, Shutdown, eventually, leave_out, skip};
use crate::monitoring::{free_port, get};
use crate::traffic::SCHEMA;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// A program that is killed when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(command: &mut Command) -> Running {
        Running(command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it runs"))
    }
}

/// Whether the program is installed, and says this of itself.
fn installed(program: &str, version_flag: &str, says: &str) -> bool {
    let Ok(out) = Command::new(program).arg(version_flag).output() else {
        skip(&format!("no {program}"));
        return false;
    };
    let said = [out.stdout, out.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let right = said.contains(says);
    if !right {
        skip(&format!("{program} is another one: {said}"));
    }
    right
}

fn monitoring(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring").join(file);
    std::fs::read_to_string(path).expect("it is there")
}

/// A mirror with the role of `role.sql`, and a directory for configurations.
struct Scene {
    pair: Pair,
    directory: PathBuf,
}

impl Scene {
    fn new(name: &str) -> Scene {
        // Exporters come as they are.
        let pair = Pair::builder().in_a_plain_world().mirroring(SCHEMA);
        pair.on_mirror(&monitoring("role.sql"));
        let directory = std::env::temp_dir().join(format!("odoo_mirror-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        Scene { pair, directory }
    }

    fn dsn(&self) -> String {
        format!("postgres://odoo_mirror_metrics@127.0.0.1:{}/mirror?sslmode=disable", self.pair.mirror.port())
    }

    /// A file of `monitoring/` as a user would adapt it; each of the words must be there.
    fn configuration(&self, file: &str, changes: &[(&str, &str)]) -> PathBuf {
        let mut text = monitoring(file);
        for (from, to) in changes {
            assert!(text.contains(from), "{file}: {from}");
            text = text.replace(from, to);
        }
        let path = self.directory.join(file);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// The exporter's samples of this name follow what the mirror does, and a Prometheus behind it
    /// sees the mirror's own names.
    fn follows(&self, web: u16, metric_of: fn(&str) -> &'static str) {
        let inserted = |text: &str| {
            value(
                text,
                metric_of("counter"),
                "etl_records_processed_total",
                &[("operation", "insert"), ("table", "account")],
            )
        };
        let up = |text: &str| value(text, metric_of("gauge"), "etl_up", &[]);
        eventually("it serves what it sees", LIMIT, || {
            let text = get(web, "/metrics").ok()?;
            (up(&text) == Some(1.0) && inserted(&text) == Some(0.0)).then_some(())
        });
        self.pair.on_source("INSERT INTO account SELECT n, n, 'x' FROM generate_series(1000, 1041) n");
        let text = eventually("it serves the inserts", LIMIT, || {
            get(web, "/metrics").ok().filter(|text| inserted(text) == Some(42.0))
        });
        let bucket = [("le", "+Inf")];
        assert!(
            value(&text, metric_of("counter"), "etl_batch_duration_seconds_bucket", &bucket) >= Some(1.0)
        );
        let state = [("state", "streaming")];
        assert_eq!(value(&text, metric_of("gauge"), "etl_state", &state), Some(1.0), "{text}");
        // Some samples begin with the first look at the source, which may come between the two.
        eventually("every sample is served", LIMIT, || {
            let there = self.pair.mirror_value("SELECT count(*) FROM odoo_mirror.metrics()");
            let text = get(web, "/metrics").ok()?;
            let served = text.lines().filter(|line| line.contains("name=\"etl_")).count();
            (served.to_string() == there).then_some(())
        });
        self.pair.on_mirror("SELECT odoo_mirror.stop()");
        eventually("it sees that the mirror stopped", LIMIT, || {
            get(web, "/metrics").ok().filter(|text| up(text) == Some(0.0))
        });
        self.as_by_the_endpoint(web);
    }

    fn as_by_the_endpoint(&self, exporter: u16) {
        if Command::new("prometheus").arg("--version").output().is_err() {
            leave_out("no prometheus");
            return;
        }
        self.configuration("alerts.yml", &[]);
        let target = format!("localhost:{exporter}");
        let changes = [("localhost:9187", &*target), ("scrape_interval: 15s", "scrape_interval: 1s")];
        let config = self.configuration("prometheus_by_exporter.yml", &changes);
        let web = free_port();
        let _prometheus = Running::start(
            Command::new("prometheus")
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", self.directory.join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{web}")),
        );
        for query in [
            "etl_up{name=\"\"}==0",
            "etl_records_processed_total{table=\"account\",operation=\"insert\",term=\"\"}==42",
            "etl_state{state=\"stopped\"}==1",
            "histogram_quantile(0.5,sum%20by(le)(etl_batch_duration_seconds_bucket))%3E0",
        ] {
            eventually(&format!("Prometheus says {query}"), LIMIT, || {
                get(web, &format!("/api/v1/query?query={query}"))
                    .ok()
                    .filter(|answer| answer.contains("\"value\":["))
            });
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The value of the sample of `metric` that carries the mirror's `name` and these labels.
fn value(text: &str, metric: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: Vec<String> =
        labels.iter().chain(&[("name", name)]).map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    let of = |line: &&str| {
        line.strip_prefix(metric).is_some_and(|rest| rest.starts_with('{'))
            && labels.iter().all(|label| line.contains(label))
    };
    text.lines().find(of)?.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_real_postgres_exporter_serves_the_metrics() {
    if !installed("prometheus-postgres-exporter", "--version", "postgres_exporter") {
        return;
    }
    let scene = Scene::new("postgres_exporter");
    let queries = scene.configuration("postgres_exporter.yml", &[]);
    let web = free_port();
    let _exporter = Running::start(
        Command::new("prometheus-postgres-exporter")
            .arg(format!("--extend.query-path={}", queries.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{web}"))
            .arg("--disable-default-metrics")
            .env("DATA_SOURCE_NAME", scene.dsn()),
    );
    scene.follows(web, |_| "odoo_mirror_value");
}

#[test]
fn debians_sql_exporter_serves_the_metrics_and_tells_when_it_sees_nothing_any_more() {
    if !installed("prometheus-sql-exporter", "-version", "sql_exporter") {
        return;
    }
    let scene = Scene::new("prometheus-sql-exporter");
    let dsn = scene.dsn();
    let changes = [
        ("postgres://odoo_mirror_metrics@127.0.0.1:5432/postgres?sslmode=disable", &*dsn),
        ("interval: 15s", "interval: 1s"),
    ];
    let config = scene.configuration("prometheus-sql-exporter.yml", &changes);
    let web = free_port();
    let _exporter = Running::start(
        Command::new("prometheus-sql-exporter")
            .arg(format!("-config.file={}", config.display()))
            .arg(format!("-web.listen-address=127.0.0.1:{web}")),
    );
    scene.follows(web, |_| "sql_odoo_mirror");
    let failed = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("sql_exporter_last_scrape_failed{"))?;
        assert!(line.contains("sql_job=\"odoo_mirror\""), "as alerts.yml names it: {line}");
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    let text = get(web, "/metrics").expect("it answers");
    assert_eq!(failed(&text), Some(0.0));
    assert!(text.contains("name=\"etl_lag_seconds\"") && text.contains("type=\"counter\""), "{text}");
    scene.pair.mirror.stop(Shutdown::Fast);
    let text = eventually("it tells that it failed", LIMIT, || {
        get(web, "/metrics").ok().filter(|text| failed(text) == Some(1.0))
    });
    assert!(text.contains("name=\"etl_up\""), "it shows what it saw last, which the alert is for");
    scene.pair.mirror.start();
    eventually("it sees again", LIMIT, || get(web, "/metrics").ok().filter(|text| failed(text) == Some(0.0)));
}

#[test]
fn burningalchemists_sql_exporter_serves_the_metrics_with_their_types() {
    if !installed("sql_exporter", "-help", "-config.enable-ping") {
        return;
    }
    let scene = Scene::new("sql_exporter");
    let dsn = scene.dsn();
    let changes = [("postgres://odoo_mirror_metrics@127.0.0.1:5432/postgres?sslmode=disable", &*dsn)];
    let config = scene.configuration("sql_exporter.yml", &changes);
    let web = free_port();
    let _exporter = Running::start(
        Command::new("sql_exporter")
            .arg(format!("-config.file={}", config.display()))
            .arg(format!("-web.listen-address=127.0.0.1:{web}")),
    );
    scene.follows(web, |kind| if kind == "counter" { "odoo_mirror_counter" } else { "odoo_mirror_gauge" });
    let text = get(web, "/metrics").expect("it answers");
    for line in ["# TYPE odoo_mirror_gauge gauge", "# TYPE odoo_mirror_counter counter"] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn the_exporters_role_reads_figures_and_nothing_else() {
    let pair = Pair::builder().in_a_plain_world().mirroring(SCHEMA);
    pair.on_mirror(&monitoring("role.sql"));
    let conninfo = pair.mirror.conninfo("mirror").replace("user=postgres", "user=odoo_mirror_metrics");
    let mut client = postgres::Client::connect(&conninfo, postgres::NoTls).expect("it may log in");
    let count: i64 =
        client.query_one("SELECT count(*) FROM odoo_mirror.metrics()", &[]).expect("it may").get(0);
    assert!(count > 50);
    for refused in [
        "SELECT * FROM odoo_mirror.account",
        "SELECT odoo_mirror.status()",
        "SELECT * FROM odoo_mirror_internal.tables",
        "SELECT odoo_mirror.stop()",
    ] {
        let error = client.batch_execute(refused).expect_err(refused);
        assert_eq!(
            error.code(),
            Some(&postgres::error::SqlState::INSUFFICIENT_PRIVILEGE),
            "{refused}: {error}"
        );
    }
}
