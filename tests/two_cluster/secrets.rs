//! The source's password: where it comes from, and that it goes nowhere else.

use crate::harness::{Cluster, Pair, eventually};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::PathBuf;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(40);

/// Nothing else looks like it: what is found is a leak.
const PASSWORD: &str = "Xq7-Wombat-Zeppelin-42";
const WRONG: &str = "Xq7-Wrong-Zeppelin-43";

/// A pair whose source takes TLS and SCRAM only, and the file of the authority that signed its
/// certificate.
fn guarded() -> (Pair, PathBuf) {
    let pair = Pair::builder()
        .mirror_env("ODOO_PASSWORD", PASSWORD)
        .mirror_conf("log_statement", "all")
        .mirror_conf("log_min_messages", "debug1")
        .mirror_conf("log_min_error_statement", "debug1")
        .mirror_conf("odoo_mirror.poll_interval", "1")
        .start();
    let root = serve_tls(&pair.source);
    pair.on_source(&format!(
        "CREATE ROLE mirror LOGIN REPLICATION PASSWORD '{PASSWORD}';
         CREATE TABLE t (id int PRIMARY KEY, x text); INSERT INTO t VALUES (1, 'one');
         GRANT SELECT ON t TO mirror"
    ));
    pair.publish_all();
    pair.source
        .set_hba("local all all trust\nhost all postgres all trust\nhostssl all mirror all scram-sha-256\n");
    let root = pair.mirror.write_file("root.pem", &root, 0o644);
    (pair, root)
}

/// Gives the server a certificate for `localhost`; the authority's.
fn serve_tls(server: &Cluster) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let root = params.self_signed(&key).expect("a certificate").pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate").pem();
    let certificate = server.write_file("server.pem", &certificate, 0o644);
    let key = server.write_file("server.key", &key.serialize_pem(), 0o600);
    server.set_conf("ssl_cert_file", &certificate.display().to_string());
    server.set_conf("ssl_key_file", &key.display().to_string());
    server.set_conf("ssl", "on");
    server.restart();
    root
}

fn source_string(pair: &Pair, root: &std::path::Path) -> String {
    format!(
        "host=localhost hostaddr=127.0.0.1 port={} dbname=odoo user=mirror sslmode=verify-full sslrootcert={}",
        pair.source.port(),
        root.display()
    )
}

/// Streams with TLS on each of the mirror's sessions.
#[track_caller]
fn assert_streams_over_tls(pair: &Pair) {
    pair.wait_state("streaming");
    pair.wait_ready(LIMIT);
    pair.on_source("INSERT INTO t SELECT coalesce(max(id), 0) + 1, 'more' FROM t");
    pair.assert_all_equal();
    let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'mirror' AND NOT ssl";
    assert_eq!(pair.source_value(plain), "0");
    let replicating = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_replication USING (pid) WHERE usename = 'mirror' AND ssl";
    // After configure() the session is made anew.
    eventually("the stream is over TLS", LIMIT, || (pair.source_value(replicating) == "1").then_some(()));
}

/// Looks wherever somebody could read it later.
#[track_caller]
fn assert_nowhere(pair: &Pair, password: &str) {
    for (name, server) in [("destination", &pair.mirror), ("source", &pair.source)] {
        // The source's own log may hold what we ourselves sent it; the mirror must add nothing.
        if name == "destination" {
            let log = server.log();
            let line = log.lines().find(|line| line.contains(password));
            assert!(line.is_none(), "the {name}'s log: {line:?}");
        }
        let activity = server.rows("postgres", "SELECT a::text FROM pg_stat_activity a");
        assert!(!format!("{activity:?}").contains(password), "the {name}'s pg_stat_activity");
    }
    let tables = pair.mirror.rows(
        "mirror",
        "SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND relnamespace IN
            ('odoo_mirror_internal'::regnamespace, 'odoo_mirror'::regnamespace)",
    );
    assert!(tables.len() > 4, "{tables:?}");
    for table in tables.into_iter().flatten().flatten() {
        let rows = pair.mirror.rows("mirror", &format!("SELECT t::text FROM {table} t"));
        assert!(!format!("{rows:?}").contains(password), "{table}");
    }
    for read in ["status()", "tables()", "metrics()", "jobs()"] {
        let rows = pair.mirror.rows("mirror", &format!("SELECT r::text FROM odoo_mirror.{read} r"));
        assert!(!format!("{rows:?}").contains(password), "{read}");
    }
    let settings = pair.mirror.rows("mirror", "SELECT s::text FROM pg_settings s");
    assert!(!format!("{settings:?}").contains(password), "pg_settings");
}

#[test]
fn a_password_from_a_passfile_logs_in_under_verify_full_and_is_seen_nowhere() {
    let (pair, root) = guarded();
    let line = |password: &str| format!("localhost:{}:odoo:mirror:{password}\n", pair.source.port());
    let passfile = pair.mirror.write_file("passfile", &line(WRONG), 0o600);
    pair.mirror.set_conf("odoo_mirror.passfile", &passfile.display().to_string());
    pair.mirror.reload();
    pair.on_mirror(&format!("SELECT odoo_mirror.configure('{}')", source_string(&pair, &root)));
    pair.on_mirror("SELECT odoo_mirror.start()");
    let status = pair.wait_state("failed");
    let error = status["last_error"]["message"].as_str().unwrap_or_default();
    assert!(error.contains("password authentication failed for user \"mirror\""), "{status:#}");
    assert!(
        status["last_error"]["hint"].as_str().is_some_and(|hint| hint.contains("passfile")),
        "{status:#}"
    );
    assert_nowhere(&pair, WRONG);

    // Open to others it is not read, whatever is in it; closed, with the right password, it heals
    // by itself.
    pair.mirror.write_file("passfile", &line(PASSWORD), 0o644);
    let status = pair.wait_status("a passfile open to others is refused", |status| {
        status["message"].as_str().is_some_and(|message| message.contains("open to other users"))
    });
    assert!(
        status["last_error"]["hint"].as_str().is_some_and(|hint| hint.contains("chmod 600")),
        "{status:#}"
    );
    pair.mirror.write_file("passfile", &line(PASSWORD), 0o600);
    assert_streams_over_tls(&pair);
    assert_nowhere(&pair, PASSWORD);
    assert_nowhere(&pair, WRONG);
}

#[test]
fn a_password_from_the_servers_environment_logs_in_and_is_seen_nowhere() {
    let (pair, root) = guarded();
    pair.mirror.set_conf("odoo_mirror.password_env", "NO_SUCH_VARIABLE");
    pair.mirror.reload();
    pair.on_mirror(&format!("SELECT odoo_mirror.configure('{}')", source_string(&pair, &root)));
    pair.on_mirror("SELECT odoo_mirror.start()");
    let status = pair.wait_state("failed");
    assert!(
        status["message"].as_str().is_some_and(|message| message.contains("NO_SUCH_VARIABLE")),
        "{status:#}"
    );
    pair.mirror.set_conf("odoo_mirror.password_env", "ODOO_PASSWORD");
    pair.mirror.reload();
    assert_streams_over_tls(&pair);
    assert_nowhere(&pair, PASSWORD);
}

#[test]
fn a_password_from_vault_is_read_with_the_configuring_roles_rights_and_is_seen_nowhere() {
    let (pair, root) = guarded();
    let configure = format!(
        "SELECT odoo_mirror.configure('{}', password_secret => 'odoo_password')",
        source_string(&pair, &root)
    );
    pair.on_mirror(&configure);
    pair.on_mirror("SELECT odoo_mirror.start()");
    let status = pair.wait_state("failed");
    assert!(status["message"].as_str().is_some_and(|message| message.contains("no Vault")), "{status:#}");

    // What Supabase's Vault looks like from outside. The statement that holds the password isn't
    // logged, as there.
    pair.on_mirror(
        "CREATE SCHEMA vault;
         CREATE TABLE vault.kept (id uuid DEFAULT gen_random_uuid(), name text, decrypted_secret text);
         CREATE VIEW vault.decrypted_secrets AS SELECT * FROM vault.kept",
    );
    // Anybody could have made that: it counts once it is the extension's.
    std::thread::sleep(Duration::from_secs(3));
    let status = pair.wait_state("failed");
    let hint = status["last_error"]["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("not that extension's"), "{status:#}");
    pair.on_mirror(
        "SET allow_system_table_mods = on; UPDATE pg_extension SET extname = 'supabase_vault' WHERE extname = 'plpgsql';
         ALTER EXTENSION supabase_vault ADD VIEW vault.decrypted_secrets",
    );
    let status = pair.wait_status("the secret is missed", |status| {
        status["message"]
            .as_str()
            .is_some_and(|message| message.contains("no secret named \"odoo_password\""))
    });
    assert!(
        status["last_error"]["hint"].as_str().is_some_and(|hint| hint.contains("vault.create_secret(")),
        "{status:#}"
    );
    let mut quiet = pair.mirror.connect("mirror");
    quiet.batch_execute("SET log_statement = 'none'").expect("a superuser may");
    let keep =
        format!("INSERT INTO vault.kept (name, decrypted_secret) VALUES ('odoo_password', '{PASSWORD}')");
    quiet.batch_execute(&keep).expect("the table is there");
    drop(quiet);
    assert_streams_over_tls(&pair);
    assert_nowhere(&pair, PASSWORD);

    // By its id, as the integrations of Supabase name a secret.
    let id = pair.mirror_value("SELECT id FROM vault.kept");
    pair.on_mirror(&configure.replace("'odoo_password'", &format!("'{id}'")));
    pair.on_mirror("SELECT odoo_mirror.start()");
    assert_streams_over_tls(&pair);

    // A role that may not read Vault can't make the server read it for it.
    pair.on_mirror("SELECT odoo_mirror.stop()");
    pair.wait_state("stopped");
    pair.on_mirror(
        "CREATE ROLE operator LOGIN; GRANT USAGE ON SCHEMA odoo_mirror TO operator;
         GRANT EXECUTE ON FUNCTION odoo_mirror.configure, odoo_mirror.start TO operator",
    );
    // As a session of its own: the rights are those of who logged in.
    let conninfo = pair.mirror.conninfo("mirror").replace("user=postgres", "user=operator");
    let mut operator = postgres::Client::connect(&conninfo, postgres::NoTls).expect("pg_hba.conf trusts");
    operator.batch_execute(&configure).expect("it may configure");
    operator.batch_execute("SELECT odoo_mirror.start()").expect("it may start");
    told_of_vault(&pair, "permission denied for", "role \"operator\", which called configure()");
    assert_nowhere(&pair, PASSWORD);

    // Vault without its root key.
    pair.on_mirror(
        "CREATE FUNCTION vault.decrypt(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'invalid ciphertext'; END $$;
         CREATE OR REPLACE VIEW vault.decrypted_secrets AS SELECT id, name, vault.decrypt(decrypted_secret) AS decrypted_secret FROM vault.kept;
         GRANT USAGE ON SCHEMA vault TO operator; GRANT SELECT ON vault.decrypted_secrets TO operator",
    );
    operator.batch_execute(&configure).expect("it may configure");
    told_of_vault(&pair, "invalid ciphertext", "root key");

    // What an ordinary role may put into Vault's view isn't run for a superuser.
    pair.on_mirror("ALTER VIEW vault.decrypted_secrets OWNER TO operator");
    pair.on_mirror(&configure);
    told_of_vault(&pair, "is no superuser's", "is no superuser");
}

/// The mirror fails over the secret: Vault and the secret are named, and the cure.
#[track_caller]
fn told_of_vault(pair: &Pair, why: &str, cure: &str) {
    let start = "secret \"odoo_password\" cannot be read from Vault: ";
    let status = pair.wait_status(why, |status| {
        let message = status["message"].as_str().unwrap_or_default();
        status["state"] == "failed" && message.contains(start) && message.contains(why)
    });
    let hint = status["last_error"]["hint"].as_str().unwrap_or_default();
    assert!(hint.contains(cure) && !status["message"].to_string().contains("on the source"), "{status:#}");
}

#[test]
fn a_certificate_for_another_host_or_of_another_authority_is_refused() {
    let (pair, root) = guarded();
    pair.mirror.set_conf("odoo_mirror.password_env", "ODOO_PASSWORD");
    pair.mirror.reload();
    let good = source_string(&pair, &root);
    let stranger = pair.mirror.write_file("stranger.pem", &stranger(), 0o644);
    for (source, said) in [
        (good.replace("host=localhost hostaddr=127.0.0.1", "host=127.0.0.1"), "another host name"),
        (source_string(&pair, &stranger), "unknown issuer"),
        (good.replace("verify-full", "disable"), "pg_hba.conf"),
    ] {
        pair.on_mirror(&format!("SELECT odoo_mirror.configure('{source}')"));
        pair.on_mirror("SELECT odoo_mirror.start()");
        pair.wait_status(said, |status| {
            status["state"] == "failed"
                && status["message"].as_str().is_some_and(|message| message.contains(said))
        });
    }
    pair.on_mirror(&format!("SELECT odoo_mirror.configure('{good}')"));
    pair.on_mirror("SELECT odoo_mirror.start()");
    assert_streams_over_tls(&pair);
}

fn stranger() -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "a stranger");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("a certificate").pem()
}
