//! Metrics: as rows, as text, over HTTP; and a Prometheus that reads them.

use crate::harness::{Pair, eventually, skip};
use crate::traffic::{SCHEMA, Traffic};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

fn send(port: u16, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(15)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

pub fn get(port: u16, path: &str) -> std::io::Result<String> {
    send(port, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).map(whole)
}

/// An answer that came in chunks, which end anywhere, as one.
fn whole(answer: String) -> String {
    let Some((head, mut body)) = answer.split_once("\r\n\r\n") else { return answer };
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return answer;
    }
    let mut whole = format!("{head}\r\n\r\n");
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(chunk) = rest.get(..size).filter(|_| size > 0) else { break };
        whole.push_str(chunk);
        body = rest.get(size..).and_then(|rest| rest.strip_prefix("\r\n")).unwrap_or_default();
    }
    whole
}

fn listening(schema: &str) -> (Pair, u16) {
    let port = free_port();
    let pair = Pair::builder().mirror_conf("odoo_mirror.metrics_listen", &port.to_string()).start();
    pair.on_source(schema);
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    (pair, port)
}

/// The value of a sample.
fn sample(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn the_endpoint_answers_scrapes_with_the_same_metrics_as_sql_also_while_the_mirror_is_down() {
    let (pair, port) = listening(SCHEMA);
    pair.on_source("INSERT INTO account SELECT n, n, 'x' FROM generate_series(1000, 1099) n; UPDATE account SET balance = 1 WHERE id < 10");
    pair.caught_up();
    let text = eventually("a scrape with the inserts", LIMIT, || {
        let text = get(port, "/metrics").ok()?;
        (sample(&text, "etl_records_processed_total{operation=\"insert\",table=\"account\"}") == Some(100.0))
            .then_some(text)
    });
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("text/plain; version=0.0.4"), "{text}");
    assert_eq!(sample(&text, "etl_up"), Some(1.0));
    // A hundred rows of three small columns, in a message each.
    let bytes = sample(&text, "etl_bytes_processed_total{operation=\"insert\",table=\"account\"}");
    assert!(bytes.is_some_and(|bytes| (2000.0..10_000.0).contains(&bytes)), "{bytes:?}");
    for name in
        ["etl_last_success_timestamp_seconds", "etl_received_lsn", "etl_applied_lsn", "etl_source_lsn"]
    {
        assert!(sample(&text, name) > Some(0.0), "{name}");
    }
    // The slot is looked at from time to time only.
    let text = eventually("what the slot keeps", LIMIT, || {
        let text = get(port, "/metrics").ok()?;
        let reserved = sample(&text, "etl_slot_wal_status{status=\"reserved\"}") == Some(1.0);
        (reserved && sample(&text, "etl_slot_retained_bytes").is_some()).then_some(text)
    });
    assert_eq!(sample(&text, "etl_reconnects_total{cause=\"start\"}"), Some(1.0));
    assert_eq!(sample(&text, "etl_state{state=\"streaming\"}"), Some(1.0));
    assert_eq!(sample(&text, "etl_lag_seconds"), Some(0.0));
    assert!(sample(&text, "etl_batch_duration_seconds_count") >= Some(1.0), "{text}");
    assert_eq!(
        sample(&text, "etl_batch_duration_seconds_count"),
        sample(&text, "etl_batch_duration_seconds_bucket{le=\"+Inf\"}")
    );
    let sql = pair.mirror_value("SELECT odoo_mirror.metrics_text()");
    let families = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| line.starts_with("# TYPE") && !line.contains("metrics_age"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(families(&sql), families(&text));
    assert_eq!(
        pair.mirror_value("SELECT pg_typeof(odoo_mirror.metrics_text())"),
        "odoo_mirror.\"text/plain\""
    );

    assert!(get(port, "/health").expect("it answers").contains("\"status\":\"ok\""));
    assert!(get(port, "/else").expect("it answers").starts_with("HTTP/1.1 404"));
    assert!(
        send(port, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            .expect("it answers")
            .starts_with("HTTP/1.1 405")
    );
    assert!(
        send(port, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("it answers")
            .starts_with("HTTP/1.1 200")
    );

    pair.on_mirror("SELECT odoo_mirror.stop()");
    let health = eventually("it is down, and says so", LIMIT, || {
        get(port, "/health").ok().filter(|health| health.starts_with("HTTP/1.1 503"))
    });
    assert!(health.contains("\"state\":\"stopped\""), "{health}");
    assert_eq!(sample(&get(port, "/metrics").expect("it answers"), "etl_up"), Some(0.0));
    assert!(
        pair.mirror_value("SELECT odoo_mirror.status() ->> 'metrics_endpoint'").contains(&port.to_string())
    );

    // Elsewhere, then nowhere, then where somebody else is.
    let other = free_port();
    pair.mirror.set_conf("odoo_mirror.metrics_listen", &format!("127.0.0.1:{other}"));
    pair.mirror.reload();
    eventually("it moved", LIMIT, || get(other, "/metrics").ok().filter(|_| get(port, "/metrics").is_err()));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("a port").port();
    pair.mirror.set_conf("odoo_mirror.metrics_listen", &port.to_string());
    pair.mirror.reload();
    eventually("it is told", LIMIT, || {
        pair.mirror_value("SELECT odoo_mirror.status() ->> 'metrics_endpoint'")
            .contains("not listening")
            .then_some(())
    });
}

#[test]
fn abuse_of_the_endpoint_harms_neither_replication_nor_an_honest_scrape_afterwards() {
    let (pair, port) = listening(SCHEMA);
    let traffic = Traffic::start(&pair);
    let began = Instant::now();
    // Slow ones that never end their headers, more than there is room for.
    let mut slow: Vec<TcpStream> =
        (0..300).filter_map(|_| TcpStream::connect(("127.0.0.1", port)).ok()).collect();
    for stream in &mut slow {
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: ");
    }
    for garbage in [
        "\0\x01\x02\x03\x04\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000)),
        format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "b".repeat(1_000_000)),
        "GET /metrics HTTP/1.1\r\n\r\n".repeat(1000),
    ] {
        let _ = send(port, &garbage);
    }
    for _ in 0..10 {
        pair.caught_up();
    }
    assert!(began.elapsed() < Duration::from_secs(25), "replication went on at its pace");
    // What is slow is thrown out within seconds.
    let text = eventually("an honest scrape is answered", Duration::from_secs(20), || {
        get(port, "/metrics").ok().filter(|text| text.starts_with("HTTP/1.1 200"))
    });
    assert!(text.contains("etl_up 1"));
    drop(slow);
    traffic.end();
    pair.assert_all_equal();
}

#[test]
fn counters_survive_a_restart_of_the_server_and_a_crash() {
    let (pair, _) = listening(SCHEMA);
    pair.on_source("INSERT INTO account SELECT n, n, 'x' FROM generate_series(1000, 1499) n");
    pair.caught_up();
    let counters = "SELECT string_agg(value::text, ' ' ORDER BY name) FROM odoo_mirror.metrics() WHERE name IN ('etl_batch_duration_seconds_count', 'etl_transactions_total')
        OR name = 'etl_records_processed_total' AND labels ->> 'table' = 'account' AND labels ->> 'operation' = 'insert'";
    std::thread::sleep(Duration::from_secs(3));
    let before = pair.mirror_value(counters);
    assert!(before.contains("500"), "{before}");
    pair.mirror.restart();
    pair.caught_up();
    assert_eq!(pair.mirror_value(counters), before);
    crate::dying::kill9(&pair.worker_pid().to_string());
    pair.caught_up();
    assert_eq!(pair.mirror_value(counters), before);
    let causes = "SELECT sum(value) FROM odoo_mirror.metrics() WHERE name = 'etl_reconnects_total'";
    assert!(pair.mirror_value(causes).parse::<f64>().expect("a number") >= 2.0);
}

#[test]
fn every_metric_that_monitoring_names_is_there() {
    let (pair, port) = listening(SCHEMA);
    pair.on_mirror("SELECT odoo_mirror.verify('account')");
    let there = eventually("all is there", LIMIT, || {
        let text = get(port, "/metrics").ok()?;
        text.contains("etl_table_verified_age_seconds").then_some(text)
    });
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring");
    for file in ["alerts.yml", "grafana-dashboard.json"] {
        let text = std::fs::read_to_string(directory.join(file)).expect("it is there");
        let names = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("etl_"));
        for name in names {
            // A source without a limit for its slots has no such sample.
            assert!(
                there.contains(name) || name == "etl_slot_safe_wal_bytes" || name.starts_with("etl_slot"),
                "{file}: {name}"
            );
        }
    }
}

#[test]
fn the_alert_rules_pass_their_unit_tests_and_a_real_prometheus_scrapes_the_endpoint() {
    if Command::new("promtool").arg("--version").output().is_err() {
        skip("no promtool");
        return;
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring");
    let run = |arguments: &[&str]| {
        let out =
            Command::new("promtool").args(arguments).current_dir(&directory).output().expect("promtool runs");
        assert!(
            out.status.success(),
            "promtool {arguments:?}: {}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    };
    run(&["check", "config", "prometheus.yml"]);
    run(&["test", "rules", "alerts_test.yml"]);

    let (pair, port) = listening(SCHEMA);
    let scratch = std::env::temp_dir().join(format!("odoo_mirror-prometheus-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).expect("a directory");
    let config = scratch.join("prometheus.yml");
    std::fs::write(&config, format!("global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: odoo_mirror, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n")).expect("written");
    let web = free_port();
    let mut prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", scratch.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{web}"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("prometheus runs");
    let scraped = std::panic::catch_unwind(|| {
        eventually("Prometheus has the sample", LIMIT, || {
            get(web, "/api/v1/query?query=etl_up")
                .ok()
                .filter(|answer| answer.contains("\"value\":[") && answer.contains(",\"1\"]"))
        });
        // And the health script finds it there.
        let health = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/verify-health.sh"))
            .env(
                "ODOO_MIRROR_DSN",
                format!("host=127.0.0.1 port={} user=postgres dbname=mirror", pair.mirror.port()),
            )
            .env("ODOO_MIRROR_METRICS", "")
            .env("PROMETHEUS_URL", format!("http://127.0.0.1:{web}"))
            .output()
            .expect("it runs");
        String::from_utf8_lossy(&health.stdout).into_owned()
    });
    let _ = prometheus.kill();
    let _ = prometheus.wait();
    let _ = std::fs::remove_dir_all(&scratch);
    let health = scraped.expect("Prometheus scraped it");
    assert!(health.contains("pass  Prometheus"), "{health}");
    drop(pair);
}
