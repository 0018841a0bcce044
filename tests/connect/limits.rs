//! What a configuration may reach that no superuser wrote.

use odoo_mirror::config::SourceConfig;
use odoo_mirror::config::allowed::AllowedSources;
use odoo_mirror::error::{Error, Verdict};
use odoo_mirror::source::connect::{Connector, Limits, Password};

use crate::cluster::{Clusters, PASSWORD};

fn limits(allowed: &str, directory: Option<&str>) -> Limits {
    Limits {
        allowed: AllowedSources::parse(allowed).unwrap(),
        certificate_directory: directory.map(str::to_owned),
    }
}

/// Both kinds of session fare alike.
async fn outcome(connector: &Connector) -> Result<(), Error> {
    let sql = connector.sql().await.map(drop);
    let replication = connector.replication().await.map(drop);
    let message = |outcome: &Result<(), Error>| outcome.as_ref().err().map(|error| error.message.clone());
    assert_eq!(message(&sql), message(&replication));
    sql
}

fn connector(config: &str) -> Connector {
    Connector::new(SourceConfig::parse(config).unwrap(), None)
}

#[tokio::test]
async fn this_very_server_is_reached_only_where_a_superuser_lists_its_address_and_with_a_password() {
    let clusters = Clusters::shared();
    let at = |host: &str, user: &str| format!("{host} port={} dbname=postgres user={user}", clusters.port);
    let password = Password::new(PASSWORD);
    let socket = format!("host={}", clusters.path(""));
    for (host, user, allowed, says) in [
        ("host=localhost", "scram", "", "may name"),
        ("host=localhost", "scram", "localhost", "may name"),
        ("host=127.0.0.1", "scram", "10.0.0.0/8", "may name"),
        ("host=odoo.example hostaddr=127.0.0.1", "scram", "odoo.example", "may name"),
        (socket.as_str(), "postgres", "127.0.0.0/8, ::1", "may name"),
        ("host=localhost", "postgres", "127.0.0.0/8, ::1", "asked for no password"),
    ] {
        let config = SourceConfig::parse(&at(host, user)).unwrap();
        let connector = Connector::new(config, Some(password.clone())).limited(limits(allowed, None));
        let error = outcome(&connector).await.expect_err(host);
        assert!(error.message.contains(says), "{host} {allowed}: {error:?}");
        assert!(error.hint.is_some(), "{error:?}");
        assert_eq!(error.verdict, Verdict::RetrySlowly);
    }
    let config = SourceConfig::parse(&at("host=localhost", "scram")).unwrap();
    let connector = Connector::new(config, Some(password)).limited(limits("127.0.0.0/8, ::1", None));
    connector.sql().await.unwrap();
}

#[tokio::test]
async fn a_secret_of_the_server_is_given_where_a_superuser_listed_the_source() {
    let clusters = Clusters::shared();
    let config = format!("host=localhost port={} dbname=postgres user=scram", clusters.port);
    let passfile = std::env::temp_dir().join(format!("odoo_mirror-limits-{}", std::process::id()));
    std::fs::write(&passfile, format!("*:*:*:*:{PASSWORD}\n")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&passfile, mode).unwrap();
    let listed = limits("127.0.0.0/8, ::1", None);
    let with_file = connector(&format!("{config} passfile={}", passfile.display()));
    let with_variable = connector(&config).server_password(Some(Password::new(PASSWORD)));
    for connector in [with_file, with_variable] {
        connector.clone().limited(listed.clone()).sql().await.unwrap();
        let error = outcome(&connector.limited(limits("", None))).await.unwrap_err();
        assert!(error.message.contains("may name"), "{error:?}");
    }
    std::fs::remove_file(passfile).unwrap();
}

#[tokio::test]
async fn certificates_come_from_the_directory_that_a_superuser_set_or_from_vault() {
    let clusters = Clusters::shared();
    let (ca, directory) = (clusters.path("ca.pem"), clusters.path(""));
    let at = format!("host=localhost port={} dbname=postgres user=scram sslmode=verify-full", clusters.port);
    let with = |config: &str, directory: Option<&str>| {
        let config = SourceConfig::parse(config).unwrap();
        Connector::new(config, Some(Password::new(PASSWORD))).limited(limits("127.0.0.0/8, ::1", directory))
    };
    let by_file = format!("{at} sslrootcert={ca}");
    with(&by_file, Some(directory.trim_end_matches('/'))).sql().await.unwrap();
    for elsewhere in [None, Some("/etc/ssl/certs")] {
        let error = outcome(&with(&by_file, elsewhere)).await.unwrap_err();
        assert!(error.message.contains("sslrootcert"), "{error:?}");
    }
    let pem = std::fs::read_to_string(&ca).unwrap();
    let by_secret = format!("{at} sslrootcert=vault:odoo_ca");
    with(&by_secret, None).certificates(Some(pem)).sql().await.unwrap();
}
