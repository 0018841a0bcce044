//! Connection strings, the passfile, and the verdicts on SQLSTATEs: what needs no server.

use std::net::IpAddr;
use std::time::Duration;

use odoo_mirror::config::passfile::password_for;
use odoo_mirror::config::{ChannelBinding, Host, RequireAuth, SourceConfig, SslMode, TargetSessionAttrs};
use odoo_mirror::error::{Error, Verdict, sqlstate};
use proptest::prelude::*;

fn parsed(text: &str) -> SourceConfig {
    SourceConfig::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> (String, String) {
    let error = SourceConfig::parse(text).expect_err(text);
    (error.message, error.hint.unwrap_or_default())
}

fn host(name: &str, port: u16) -> Host {
    Host { name: name.to_owned(), address: None, port }
}

#[test]
fn what_is_left_out_gets_the_documented_default() {
    let config = parsed("host=odoo dbname=prod user=mirror");
    assert_eq!(config.hosts, [host("odoo", 5432)]);
    assert_eq!(config.sslmode, SslMode::Prefer);
    assert_eq!(config.channel_binding, ChannelBinding::Prefer);
    assert_eq!(config.target_session_attrs, TargetSessionAttrs::ReadWrite);
    assert_eq!(config.application_name, "odoo_mirror");
    assert!(config.keepalives);
    assert_eq!(config.connect_timeout, None);
}

#[test]
fn keywords_take_quotes_backslashes_and_spaces_around_the_equals_sign() {
    let config = parsed(r"  host = odoo  dbname='a b\'c\\d' user=x\ y	application_name = ''  port= 6432");
    assert_eq!(config.dbname, r"a b'c\d");
    assert_eq!(config.user, "x y");
    assert_eq!(config.hosts, [host("odoo", 6432)]);
    assert_eq!(config.application_name, "odoo_mirror", "an empty value is none");
}

#[test]
fn several_hosts_share_one_port_or_have_their_own() {
    let config = parsed("host=a,b,/run/pg port=1,,3 dbname=d user=u");
    assert_eq!(config.hosts, [host("a", 1), host("b", 5432), host("/run/pg", 3)]);
    assert!(config.hosts[2].is_socket_directory());
    assert_eq!(parsed("host=a,b port=7 dbname=d user=u").hosts, [host("a", 7), host("b", 7)]);
    assert!(refused("host=a,b,c port=1,2 dbname=d user=u").0.contains("different numbers"));
    assert!(refused("host=a,,c dbname=d user=u").0.contains("an entry of host is empty"));
}

#[test]
fn hostaddr_goes_beside_the_name_or_stands_for_it() {
    let address: IpAddr = "10.0.0.1".parse().unwrap();
    let config = parsed("host=odoo.example hostaddr=10.0.0.1 dbname=d user=u");
    assert_eq!(config.hosts, [Host { name: "odoo.example".into(), address: Some(address), port: 5432 }]);
    assert_eq!(parsed("hostaddr=10.0.0.1 dbname=d user=u").hosts[0].name, "10.0.0.1");
    assert!(refused("hostaddr=odoo dbname=d user=u").0.contains("not an IP address"));
}

#[test]
fn a_uri_says_the_same_as_its_keywords() {
    for (uri, keywords) in [
        ("postgres://u@h/d", "host=h dbname=d user=u"),
        ("postgresql://u@h:6432/d", "host=h port=6432 dbname=d user=u"),
        ("postgres://u@[::1]:5433,b/d", "host=::1,b port=5433,5432 dbname=d user=u"),
        ("postgres://u%40x@h/a%20b", "host=h dbname='a b' user=u@x"),
        ("postgres://%2Frun%2Fpg/d?user=u", "host=/run/pg dbname=d user=u"),
        ("postgres:///d?host=h&user=u&port=7", "host=h port=7 dbname=d user=u"),
        (
            "postgres://u@h/d?sslmode=require&connect_timeout=3",
            "host=h dbname=d user=u sslmode=require connect_timeout=3",
        ),
        ("postgres://u@h?dbname=d&ssl=true", "host=h dbname=d user=u sslmode=require"),
    ] {
        assert_eq!(parsed(uri), parsed(keywords), "{uri}");
    }
}

#[test]
fn numbers_have_libpqs_units() {
    let config = parsed(
        "host=h dbname=d user=u connect_timeout=3 keepalives=0 keepalives_idle=4 keepalives_interval=0 \
         keepalives_count=2 tcp_user_timeout=1500",
    );
    assert_eq!(config.connect_timeout, Some(Duration::from_secs(3)));
    assert!(!config.keepalives);
    assert_eq!(config.keepalives_idle, Some(Duration::from_secs(4)));
    assert_eq!(config.keepalives_interval, Some(Duration::ZERO));
    assert_eq!(config.keepalives_count, Some(2));
    assert_eq!(config.tcp_user_timeout, Some(Duration::from_millis(1500)));
}

#[test]
fn each_refusal_names_the_key_and_never_quotes_a_value() {
    const SECRET: &str = "sw0rdfish";
    for (text, says) in [
        ("host=h dbname=d user=u password=sw0rdfish", "a password is never stored"),
        ("postgres://u:sw0rdfish@h/d", "a password is never stored"),
        ("postgres://u@h/d?password=sw0rdfish", "a password is never stored"),
        ("postgres://u:sw0rdfish/x@h/d", "port"),
        ("postgres://u:%zzsw0rdfish@h/d", "percent"),
        ("host=h dbname=d user=u pass=sw0rdfish", "\"pass\""),
        ("host=h dbname=d user=u sw0rdfish", "not followed by"),
        ("host=h dbname=d user=u Sw0rdfish!sw0rdfish=1", "unknown key in"),
        ("host=h dbname=d user='sw0rdfish", "does not end"),
        ("host=h dbname=d user=u sslmode=sw0rdfish", "sslmode"),
        ("host=h dbname=d user=u port=sw0rdfish", "port"),
        ("host=h dbname=d user=u connect_timeout=sw0rdfish", "connect_timeout"),
        ("host=h dbname=d user=u passfile=sw0rdfish", "passfile"),
        ("host=h dbname=d user=u sslkey=/sw0rdfish", "sslkey is not supported"),
        ("host=h dbname=d user=u service=sw0rdfish", "service is not supported"),
    ] {
        let (message, hint) = refused(text);
        assert!(message.contains(says), "{text}: {message}");
        assert!(!format!("{message} {hint}").to_lowercase().contains(SECRET), "{message} {hint}");
    }
}

#[test]
fn what_could_not_work_is_refused_with_the_way_out() {
    for (text, says, way_out) in [
        ("host=h user=u", "no dbname", "dbname="),
        ("host=h dbname=d", "no user", "user="),
        ("dbname=d user=u", "no host", "host="),
        ("", "no host", "host="),
        ("host=h dbname=d user=u sslmode=allow", "allow is not supported", "prefer"),
        ("host=h dbname=d user=u sslmode=verify-full", "needs sslrootcert", "PEM"),
        ("host=h dbname=d user=u sslrootcert=system", "system is not supported", "ca-certificates.crt"),
        ("host=h dbname=d user=u sslmode=disable channel_binding=require", "can't be had", "require"),
        ("host=h dbname=d user=u target_session_attrs=standby", "standby", "primary"),
        ("host=h dbname=d user=u tiger=1", "\"tiger\"", "target_session_attrs"),
        ("host=h port=0 dbname=d user=u", "port", ""),
        ("host=h port=65536 dbname=d user=u", "port", ""),
    ] {
        let (message, hint) = refused(text);
        assert!(message.contains(says), "{text}: {message}");
        assert!(hint.contains(way_out), "{text}: {hint}");
    }
}

#[test]
fn a_passfile_gives_the_first_line_that_fits() {
    let file = "# comment:*:*:*:no\nodoo:5432:prod:mirror:first\n*:*:prod:mir\\:ror:co\\:l\\\\on\n*:*:*:mirror:last:one\r\n\n*:1:d:u:\n";
    for (host, port, dbname, user, password) in [
        ("odoo", 5432, "prod", "mirror", Some("first")),
        ("odoo", 5433, "prod", "mirror", Some("last:one")),
        ("odo", 5432, "prod", "mirror", Some("last:one")),
        ("x", 1, "prod", "mir:ror", Some("co:l\\on")),
        ("x", 1, "prod", "mir", None),
        ("# comment", 1, "a", "b", None),
        ("h", 1, "d", "u", None),
    ] {
        assert_eq!(
            password_for(file, host, port, dbname, user).as_deref(),
            password,
            "{host} {port} {dbname} {user}"
        );
    }
}

#[test]
fn each_sqlstate_has_its_verdict() {
    use Verdict::{Gate, Retry, RetrySlowly, Stop};
    for (code, message, verdict) in [
        ("40001", "", Retry),
        ("40P01", "", Retry),
        ("55P03", "", Retry),
        ("57014", "", Retry),
        ("57P01", "", Retry),
        ("57P03", "the database system is starting up", Retry),
        ("53300", "sorry, too many clients already", Retry),
        ("53200", "out of memory", Retry),
        ("08006", "", Retry),
        ("55006", "replication slot \"odoo_mirror\" is active for PID 7", Retry),
        ("57P04", "", RetrySlowly),
        ("53400", "all replication slots are in use", RetrySlowly),
        ("28P01", "", RetrySlowly),
        ("28000", "", RetrySlowly),
        ("3D000", "", RetrySlowly),
        ("42501", "", RetrySlowly),
        ("42704", "publication \"p\" does not exist", RetrySlowly),
        ("55000", "logical decoding requires wal_level >= logical", RetrySlowly),
        ("XX000", "anything", RetrySlowly),
        ("XX000", "tuple concurrently updated", Retry),
        ("", "", RetrySlowly),
        ("é", "", RetrySlowly),
        ("42704", "replication slot \"odoo_mirror\" does not exist", Gate),
        ("55000", "can no longer get changes from replication slot \"odoo_mirror\"", Gate),
        ("58P01", "requested WAL segment 000000010000000000000001 has already been removed", Gate),
        ("08P01", "invalid message", Stop),
        ("08P01", "unsupported startup parameter: replication", RetrySlowly),
    ] {
        assert_eq!(sqlstate::verdict(code, message), verdict, "{code} {message}");
    }
}

#[test]
fn common_failures_name_their_fix() {
    for (code, message, fix) in [
        ("28P01", "password authentication failed for user \"x\"", "password_secret"),
        ("28000", "no pg_hba.conf entry for host \"::1\"", "pg_hba.conf"),
        ("28000", "no pg_hba.conf entry for replication connection from host", "pg_hba.conf"),
        ("28000", "must be superuser or replication role to start walsender", "REPLICATION"),
        ("3D000", "", "dbname"),
        ("42501", "permission denied for table res_partner", "GRANT SELECT"),
        ("42501", "permission denied to use replication slots", "REPLICATION"),
        ("53300", "sorry, too many clients already", "max_connections"),
        (
            "53300",
            "number of requested standby connections exceeds max_wal_senders (currently 1)",
            "Raise max_wal_senders",
        ),
        ("53400", "all replication slots are in use", "max_replication_slots"),
        ("XX000", "invalid memory alloc request size 1258291203", "exclude_columns"),
        ("54000", "out of memory", "exclude_columns"),
        ("55000", "logical decoding requires wal_level >= logical", "wal_level = logical"),
        ("XX000", "Tenant or user not found", "pooler"),
        ("08P01", "unsupported startup parameter: replication", "pooler"),
    ] {
        let error = Error::reported(code, message, None, None);
        assert!(
            error.hint.as_deref().unwrap_or_default().contains(fix),
            "{code} {message}: {:?}",
            error.hint
        );
        assert_eq!(error.sqlstate.as_deref(), Some(code));
    }
}

#[test]
fn require_auth_is_read_as_libpq_reads_it() {
    let auth = |value: &str| parsed(&format!("host=h dbname=d user=u require_auth={value}")).require_auth;
    let methods = |auth: RequireAuth| [auth.none, auth.password, auth.md5, auth.scram];
    assert_eq!(parsed("host=h dbname=d user=u").require_auth, RequireAuth::default());
    for (value, allowed) in [
        ("scram-sha-256", [false, false, false, true]),
        ("md5,password", [false, true, true, false]),
        ("none", [true, false, false, false]),
        ("!none", [false, true, true, true]),
        ("!password,!md5,!gss", [true, false, false, true]),
    ] {
        assert_eq!(methods(auth(value)), allowed, "{value}");
    }
    for (value, why) in [
        ("!none,md5", "mixes"),
        ("md5,md5", "twice"),
        ("!md5,!md5", "twice"),
        ("gss", "not supported"),
        ("peer", "not supported"),
        ("!none,!password,!md5,!scram-sha-256", "no method"),
    ] {
        let error = SourceConfig::parse(&format!("host=h dbname=d user=u require_auth={value}")).unwrap_err();
        assert!(error.message.contains(why), "{value}: {error}");
    }
}

#[test]
fn a_data_errors_detail_is_left_out_because_it_quotes_values() {
    let error = Error::reported("23505", "duplicate key", Some("Key (vat)=(BE0477) already exists."), None);
    assert_eq!(error.detail, None);
    let error = Error::reported("57P01", "shutting down", Some("kept"), None);
    assert_eq!(error.detail.as_deref(), Some("kept"));
}

prop_compose! {
    fn any_config()(
        hosts in prop::collection::vec(("[a-z.]{1,9}|/[a-z' \\\\é]{1,7}x|::[1-9]", any::<Option<IpAddr>>(), 1u16..), 1..4),
        dbname in "[ -~é\\t]{1,12}",
        user in "['\\\\ =a-z]{1,12}",
        application_name in "[ -~]{1,12}",
        secure in prop_oneof![
            Just((SslMode::Prefer, ChannelBinding::Prefer)), Just((SslMode::Disable, ChannelBinding::Disable)),
            Just((SslMode::Require, ChannelBinding::Require)), Just((SslMode::VerifyCa, ChannelBinding::Prefer)),
            Just((SslMode::VerifyFull, ChannelBinding::Require))],
        rootcert in "/[ -~]{1,9}",
        passfile in prop::option::of("/[ -~]{1,9}"),
        seconds in prop::array::uniform3(prop::option::of(0..1u64 << 31)),
        counts in prop::array::uniform2(prop::option::of(0..1u32 << 31)),
        keepalives in any::<bool>(),
        auth in prop::array::uniform4(any::<bool>()).prop_filter("some method", |auth| auth.contains(&true)),
        target_session_attrs in prop_oneof![
            Just(TargetSessionAttrs::Any), Just(TargetSessionAttrs::ReadWrite), Just(TargetSessionAttrs::Primary)],
    ) -> SourceConfig {
        let time = seconds.map(|given| given.map(Duration::from_secs));
        SourceConfig {
            hosts: hosts.into_iter().map(|(name, address, port)| Host { name, address, port }).collect(),
            dbname, user, application_name, passfile, keepalives, target_session_attrs,
            sslmode: secure.0,
            sslrootcert: matches!(secure.0, SslMode::VerifyCa | SslMode::VerifyFull).then_some(rootcert),
            channel_binding: secure.1,
            require_auth: RequireAuth { none: auth[0], password: auth[1], md5: auth[2], scram: auth[3] },
            connect_timeout: time[0],
            keepalives_idle: time[1],
            keepalives_interval: time[2],
            keepalives_count: counts[0],
            tcp_user_timeout: counts[1].map(|count| Duration::from_millis(count.into())),
        }
    }
}

fn escaped(field: &str) -> String {
    field.replace('\\', "\\\\").replace(':', "\\:")
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

proptest! {
    #[test]
    fn what_a_configuration_displays_parses_back(config in any_config()) {
        prop_assert_eq!(SourceConfig::parse(&config.to_string()), Ok(config));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,60}|(postgres://)?[a-z0-9@:/?=&%,'\\\\ \\[\\]]{0,40}") {
        SourceConfig::parse(&text).ok();
    }

    #[test]
    fn a_percent_encoded_uri_means_what_was_encoded(user in "[^\\x00]{1,9}", dbname in "[^\\x00]{1,9}") {
        let config = parsed(&format!("postgres://{}@h/{}", percent_encoded(&user), percent_encoded(&dbname)));
        prop_assert_eq!((config.user, config.dbname), (user, dbname));
    }

    #[test]
    fn an_escaped_passfile_line_is_found_again(
        host in "[!-~]{1,9}", dbname in "[ -~]{1,9}", user in "[ -~]{1,9}", password in "[ -~]{1,9}", port in 1u16..,
    ) {
        prop_assume!(!host.starts_with('#'));
        let fields = [&host, &dbname, &user].map(|field| escaped(field));
        let line = format!("{}:{port}:{}:{}:{}", fields[0], fields[1], fields[2], escaped(&password));
        prop_assert_eq!(password_for(&line, &host, port, &dbname, &user), Some(password));
    }
}
