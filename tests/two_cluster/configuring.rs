//! What configure() takes, what it refuses, and with which words.

use crate::harness::{Cluster, explain};

fn server() -> Cluster {
    let server = Cluster::builder().start();
    server.sql("postgres", "CREATE EXTENSION odoo_mirror");
    server
}

/// What the server says to a call that must fail.
#[track_caller]
fn refusal(server: &Cluster, arguments: &str) -> String {
    let refused = server.try_sql("postgres", &format!("SELECT odoo_mirror.configure({arguments})"));
    explain(&refused.expect_err(arguments))
}

#[test]
fn what_it_refuses_is_named_and_the_hint_says_what_to_write() {
    let server = server();
    let good = "host=h dbname=d user=u";
    for (arguments, said, hint) in [
        ("'host=h dbname=d user=u password=Tiger99'", "a password is never stored", "password_secret"),
        ("'postgres://u:Tiger99@h/d'", "a password is never stored", "password_secret"),
        (
            "'host=h dbname=d user=u passfile=/etc/Tiger99'",
            "passfile can't be given here",
            "odoo_mirror.passfile",
        ),
        ("'host=h dbname=d user=u frobnicate=1'", "unknown key \"frobnicate\"", "Known are host"),
        ("'host=h dbname=d user=u sslmode=verify-full'", "needs sslrootcert", "sslrootcert="),
        ("'host=h dbname=d user=u sslmode=maybe'", "the value of sslmode is not known", "verify-full"),
        ("'host=h dbname=d user=u sslkey=/k'", "sslkey is not supported", "scram-sha-256"),
        ("'dbname=d user=u'", "has no host", "host="),
        ("'host=h user=u'", "has no dbname", "dbname="),
        ("'host=h dbname=d'", "has no user", "user="),
        ("''", "has no host", "host="),
    ] {
        let text = refusal(&server, arguments);
        assert!(text.contains(said), "{arguments}: {text}");
        assert!(text.split("HINT").nth(1).is_some_and(|text| text.contains(hint)), "{arguments}: {text}");
        assert!(!text.contains("Tiger99"), "{arguments}: {text}");
    }
    for slot in ["Upper", "a-b", "", "x\"; DROP", &"s".repeat(64)] {
        let text = refusal(&server, &format!("'{good}', slot => '{slot}'"));
        assert!(text.contains("slot must be"), "{slot}: {text}");
    }
    let text = refusal(&server, &format!("'{good}', publication => ''"));
    assert!(text.contains("publication must be"), "{text}");
    assert_eq!(server.value("postgres", "SELECT count(*) FROM odoo_mirror_internal.settings"), "0");
}

#[test]
fn null_as_source_is_refused() {
    let server = server();
    let text = refusal(&server, "NULL");
    assert!(text.contains("source") && !text.contains("null value in column"), "{text}");
}

#[test]
fn keywords_and_uris_are_kept_in_one_form_and_the_last_call_counts() {
    let server = server();
    let configure = |arguments: &str| {
        server.value("postgres", &format!("SELECT odoo_mirror.configure({arguments}) ->> 'source'"))
    };
    let words = configure("'host=a,b port=5433,5434 dbname=d user=u connect_timeout=3'");
    let uri = configure("'postgresql://u@a:5433,b:5434/d?connect_timeout=3'");
    assert_eq!(words, uri);
    assert_eq!(server.mirror_status("postgres")["source"], uri);
    configure("'host=c dbname=d user=u', slot => 'other', publication => 'Pub \"x\"'");
    let status = server.mirror_status("postgres");
    assert_eq!(status["slot"], "other");
    assert_eq!(status["publication"], "Pub \"x\"");
    assert_eq!(server.value("postgres", "SELECT count(*) FROM odoo_mirror_internal.settings"), "1");
}

#[test]
fn an_ordinary_role_may_call_nothing_and_read_nothing_internal() {
    let server = server();
    server.sql("postgres", "CREATE ROLE passerby LOGIN");
    let attempts = [
        "SELECT odoo_mirror.configure('host=h dbname=d user=u')",
        "SELECT odoo_mirror.start()",
        "SELECT odoo_mirror.stop()",
        "SELECT odoo_mirror.uninstall()",
        "SELECT odoo_mirror.resync()",
        "SELECT odoo_mirror_internal.live()",
        "SELECT * FROM odoo_mirror_internal.settings",
    ];
    for attempt in attempts {
        let refused = server.try_sql("postgres", &format!("SET ROLE passerby; {attempt}"));
        let refused = explain(&refused.expect_err(attempt));
        assert!(refused.contains("permission denied"), "{attempt}: {refused}");
    }
}
