//! Who is let in, and what is said to who isn't.

use odoo_mirror::error::{Error, Verdict};

use crate::cluster::{Clusters, PASSWORD};
use crate::{connector, fake};

/// One value that a fresh session reads.
async fn ask(config: &str, password: Option<&str>, sql: &str) -> Result<String, Error> {
    let sql_session = connector(config, password).sql().await?;
    let rows = sql_session.query_one(sql, &[]).await?;
    Ok(rows.get(0))
}

/// Both kinds of session fail alike, and never tell the password.
async fn refusal(config: &str, password: Option<&str>) -> Error {
    let connector = connector(config, password);
    let sql = connector.sql().await.err().unwrap_or_else(|| panic!("{config} let us in"));
    let replication = connector.replication().await.err().unwrap_or_else(|| panic!("{config} let us in"));
    assert_eq!(sql.message, replication.message);
    assert!(!format!("{sql:?} {connector:?}").contains(PASSWORD));
    sql
}

fn assert_refusal(error: &Error, verdict: Verdict, says: &str, hint: &str) {
    assert_eq!(error.verdict, verdict, "{error:?}");
    let text = format!("{} {}", error.message, error.detail.as_deref().unwrap_or_default());
    assert!(text.contains(says), "{error:?}");
    assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{error:?}");
}

const USES_TLS: &str = "SELECT coalesce(version, 'none') FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

#[tokio::test]
async fn each_sslmode_trusts_what_libpq_would_trust() {
    let clusters = Clusters::shared();
    let (ca, other) = (clusters.path("ca.pem"), clusters.path("other.pem"));
    let own = clusters.path("server.pem");
    let at = |host: &str| format!("host={host} port={} dbname=postgres user=postgres", clusters.port);
    for (host, settings, tls) in [
        ("localhost", "sslmode=disable".to_owned(), false),
        ("localhost", "sslmode=prefer".to_owned(), true),
        ("127.0.0.1", "sslmode=require".to_owned(), true),
        ("127.0.0.1", format!("sslmode=require sslrootcert={ca}"), true),
        ("127.0.0.1", format!("sslmode=verify-ca sslrootcert={ca}"), true),
        ("localhost", format!("sslmode=verify-full sslrootcert={ca}"), true),
        ("localhost", format!("sslmode=verify-full sslrootcert={own}"), true),
        ("localhost", format!("hostaddr=127.0.0.1 sslmode=verify-full sslrootcert={ca}"), true),
    ] {
        let config = format!("{} {settings}", at(host));
        let version =
            ask(&config, None, USES_TLS).await.unwrap_or_else(|error| panic!("{config}: {error:?}"));
        assert_eq!(version != "none", tls, "{config}");
        let mut replication = connector(&config, None).replication().await.unwrap();
        let rows = replication.query(USES_TLS.replace("FROM ", "FROM pg_catalog.").as_str()).await.unwrap();
        assert_eq!(rows[0][0].as_deref(), Some(version.as_str()), "{config}");
    }
    for (host, settings, says, hint) in [
        ("localhost", format!("sslmode=require sslrootcert={other}"), "unknown issuer", "sslrootcert"),
        ("localhost", format!("sslmode=verify-ca sslrootcert={other}"), "unknown issuer", "sslrootcert"),
        ("localhost", format!("sslmode=verify-full sslrootcert={other}"), "unknown issuer", "sslrootcert"),
        ("127.0.0.1", format!("sslmode=verify-full sslrootcert={ca}"), "another host name", "verify-ca"),
        ("127.0.0.1", format!("sslmode=verify-full sslrootcert={own}"), "another host name", "verify-ca"),
        ("localhost", "sslmode=verify-ca sslrootcert=/nowhere.pem".to_owned(), "sslrootcert", "PEM"),
        (
            "localhost",
            format!("sslmode=verify-ca sslrootcert={}", clusters.path("damaged.pem")),
            "sslrootcert",
            "PEM",
        ),
    ] {
        let error = refusal(&format!("{} {settings}", at(host)), None).await;
        assert_refusal(&error, Verdict::RetrySlowly, says, hint);
    }
}

#[tokio::test]
async fn a_source_without_tls_is_used_under_prefer_and_refused_under_require() {
    let clusters = Clusters::shared();
    let at = format!(
        "host=127.0.0.1 port={} dbname=postgres user=scram target_session_attrs=any",
        clusters.standby_port
    );
    assert_eq!(ask(&format!("{at} sslmode=prefer"), Some(PASSWORD), USES_TLS).await.unwrap(), "none");
    let error = refusal(&format!("{at} sslmode=require"), Some(PASSWORD)).await;
    assert_refusal(&error, Verdict::RetrySlowly, "does not speak TLS", "ssl = on");
}

#[tokio::test]
async fn scram_binds_the_channel_where_there_is_tls_and_says_so_where_there_is_not() {
    let clusters = Clusters::shared();
    let at = |port| format!("host=127.0.0.1 port={port} dbname=postgres user=scram target_session_attrs=any");
    for settings in
        ["channel_binding=require", "channel_binding=prefer", "channel_binding=disable", "sslmode=disable"]
    {
        let config = format!("{} {settings}", at(clusters.port));
        assert_eq!(
            ask(&config, Some(PASSWORD), "SELECT current_user::text").await.unwrap(),
            "scram",
            "{config}"
        );
        connector(&config, Some(PASSWORD)).replication().await.unwrap();
    }
    let error =
        refusal(&format!("{} channel_binding=require", at(clusters.standby_port)), Some(PASSWORD)).await;
    assert_refusal(&error, Verdict::RetrySlowly, "channel binding", "ssl = on");
    let trusted = format!(
        "host=127.0.0.1 port={} dbname=postgres user=postgres channel_binding=require",
        clusters.port
    );
    let error = refusal(&trusted, None).await;
    assert_refusal(&error, Verdict::RetrySlowly, "channel binding", "scram-sha-256");
}

#[tokio::test]
async fn md5_and_cleartext_are_answered_only_where_require_auth_names_them() {
    let clusters = Clusters::shared();
    let at = |user| format!("host=localhost port={} dbname=postgres user={user}", clusters.port);
    let verified = format!("sslmode=verify-full sslrootcert={}", clusters.path("ca.pem"));
    for (user, settings) in [
        ("md5er", "require_auth=md5".to_owned()),
        ("md5er", "require_auth=!none".to_owned()),
        ("clear", format!("{verified} require_auth=password")),
        ("scram", "require_auth=scram-sha-256".to_owned()),
    ] {
        let config = format!("{} {settings}", at(user));
        assert_eq!(ask(&config, Some(PASSWORD), "SELECT current_user::text").await.unwrap(), user);
    }
    for (user, settings, says, hint) in [
        ("md5er", "", "asks for md5", "scram-sha-256"),
        ("md5er", "require_auth=scram-sha-256", "asks for md5", "require_auth"),
        ("scram", "require_auth=md5", "asks for scram-sha-256", "require_auth"),
        ("postgres", "require_auth=!none", "asks for no password", "require_auth"),
        ("clear", "sslmode=disable require_auth=password", "cleartext", "verify-full"),
        ("clear", "sslmode=require require_auth=password", "cleartext", "verify-full"),
        ("clear", verified.as_str(), "cleartext", "require_auth"),
    ] {
        let error = refusal(&format!("{} {settings}", at(user)), Some(PASSWORD)).await;
        assert_refusal(&error, Verdict::RetrySlowly, says, hint);
    }
}

#[tokio::test]
async fn what_the_source_refuses_comes_with_its_fix() {
    let clusters = Clusters::shared();
    let at = format!("host=localhost port={}", clusters.port);
    for (settings, password, says, hint) in [
        ("dbname=postgres user=scram", Some("wrong"), "password authentication failed", "password_secret"),
        (
            "dbname=postgres user=md5er require_auth=md5",
            Some("wrong"),
            "password authentication failed",
            "password_secret",
        ),
        ("dbname=postgres user=scram", None, "none is configured", "password_secret"),
        ("dbname=nothing_here user=postgres", None, "does not exist", "dbname"),
        ("dbname=postgres user=nobody", None, "pg_hba.conf", "pg_hba.conf"),
    ] {
        let error = refusal(&format!("{at} {settings}"), password).await;
        assert_refusal(&error, Verdict::RetrySlowly, says, hint);
    }
    let config = format!(
        "{at} dbname=postgres user=clear require_auth=password sslmode=verify-full sslrootcert={}",
        clusters.path("ca.pem")
    );
    let error = connector(&config, Some(PASSWORD)).replication().await.err().unwrap();
    assert_refusal(&error, Verdict::RetrySlowly, "", "REPLICATION");
}

#[tokio::test]
async fn the_passfile_is_read_for_the_host_that_is_tried() {
    let clusters = Clusters::shared();
    let line = format!("localhost:{}:postgres:scram:{PASSWORD}\n", clusters.port);
    let at = format!("host=localhost port={} dbname=postgres user=scram", clusters.port);
    let private = clusters.write("passfile", &line, 0o600);
    assert_eq!(ask(&format!("{at} passfile={private}"), None, "SELECT 'in'").await.unwrap(), "in");
    let open = clusters.write("open_passfile", &line, 0o644);
    let error = refusal(&format!("{at} passfile={open}"), None).await;
    assert_refusal(&error, Verdict::RetrySlowly, "open to other users", "chmod 600");
}

#[tokio::test]
async fn ipv6_and_a_unix_socket_lead_there_too() {
    let clusters = Clusters::shared();
    let settings = format!("port={} dbname=postgres user=postgres", clusters.port);
    let address = "SELECT coalesce(host(inet_server_addr()), 'local')";
    let socket = format!("host={} {settings} sslmode=require", clusters.socket_directory());
    assert_eq!(ask(&socket, None, address).await.unwrap(), "local");
    // A machine without IPv6 can only be told that it has none.
    let v6 = ask(&format!("host=::1 {settings}"), None, address).await;
    match std::net::TcpListener::bind("[::1]:0") {
        Ok(_) => assert_eq!(v6.unwrap(), "::1"),
        Err(_) => assert_eq!(v6.unwrap_err().verdict, Verdict::Retry),
    }
}

#[tokio::test]
async fn a_dead_host_and_a_standby_are_passed_over_for_the_primary() {
    let clusters = Clusters::shared();
    let (standby, port) = (clusters.standby_port, clusters.port);
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "host=127.0.0.1,127.0.0.1,localhost port={dead},{standby},{port} dbname=postgres user=postgres"
    );
    assert_eq!(ask(&config, None, "SELECT current_setting('port')").await.unwrap(), port.to_string());

    let at = format!("host=127.0.0.1,127.0.0.1 port={dead},{standby} dbname=postgres user=postgres");
    let error = refusal(&at, None).await;
    assert_refusal(&error, Verdict::RetrySlowly, "in recovery", "primary");
    assert!(error.detail.unwrap().contains("connection refused"), "the detail has every host's failure");
    let any = ask(&format!("{at} target_session_attrs=any"), None, "SELECT pg_is_in_recovery()::text").await;
    assert_eq!(any.unwrap(), "true");

    let error = refusal(&format!("host=127.0.0.1 port={dead} dbname=d user=u"), None).await;
    assert_refusal(&error, Verdict::Retry, "connection refused", "listen_addresses");
}

#[tokio::test]
async fn dropping_an_sql_session_ends_its_backend() {
    let clusters = Clusters::shared();
    let config = format!("host=localhost port={} dbname=postgres user=postgres", clusters.port);
    let session = connector(&config, None).sql().await.unwrap();
    let pid = session.backend_pid();
    let alive = format!("SELECT count(*)::text FROM pg_stat_activity WHERE pid = {pid}");
    assert_eq!(ask(&config, None, &alive).await.unwrap(), "1");
    drop(session);
    while ask(&config, None, &alive).await.unwrap() != "0" {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_peer_that_never_answers_costs_connect_timeout_and_no_more() {
    let (_listener, config) = fake::listener().await;
    let error = refusal(&format!("{config} connect_timeout=1"), None).await;
    assert_refusal(&error, Verdict::Retry, "did not answer in time", "firewall");
}

#[tokio::test]
async fn a_pooler_is_recognised_and_named() {
    let pgbouncer = fake::error("08P01", "unsupported startup parameter: replication");
    let supavisor = fake::error("XX000", "Tenant or user not found");
    for answer in [pgbouncer, supavisor] {
        let (listener, config) = fake::listener().await;
        let connector = connector(&config, None);
        let (replication, _) = tokio::join!(connector.replication(), fake::accept(&listener, &answer));
        assert_refusal(&replication.err().unwrap(), Verdict::RetrySlowly, "", "pooler");
    }
}

#[tokio::test]
async fn what_is_no_postgres_is_said_to_be_none() {
    let (listener, config) = fake::listener().await;
    let connector = connector(&config, None);
    let (sql, _) =
        tokio::join!(connector.sql(), fake::accept(&listener, b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    assert_ne!(sql.err().unwrap().verdict, Verdict::Retry);
}
