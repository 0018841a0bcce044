//! The settings of our sessions, on a source whose role has others for all of them.

use odoo_mirror::mirror::session_settings::{CATALOG_PATH, FIXED, Place, VALUES_PATH, is_decided};
use tokio_postgres::SimpleQueryMessage;

use crate::cluster::Clusters;
use crate::connector;

/// A value that is not ours, for each setting that is fixed on the source.
const ODD: [(&str, &str); 27] = [
    ("client_encoding", "LATIN1"),
    ("datestyle", "German, DMY"),
    ("intervalstyle", "sql_standard"),
    ("timezone", "Asia/Kathmandu"),
    ("extra_float_digits", "-15"),
    ("bytea_output", "escape"),
    ("lc_monetary", "C.utf8"),
    ("quote_all_identifiers", "on"),
    ("xmlbinary", "hex"),
    ("xmloption", "document"),
    ("array_nulls", "off"),
    ("standard_conforming_strings", "off"),
    ("backslash_quote", "on"),
    ("transform_null_equals", "on"),
    ("row_security", "on"),
    ("gin_fuzzy_search_limit", "7"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_deferrable", "on"),
    ("statement_timeout", "40min"),
    ("transaction_timeout", "40min"),
    ("idle_in_transaction_session_timeout", "40min"),
    ("idle_session_timeout", "40min"),
    ("lock_timeout", "40min"),
    ("exit_on_error", "on"),
    ("jit", "on"),
    ("search_path", "pg_temp, nowhere"),
    ("default_transaction_read_only", "on"),
];

#[tokio::test]
async fn every_session_has_our_settings_whatever_its_roles_are() {
    let clusters = Clusters::shared();
    clusters.sql("CREATE ROLE odd LOGIN SUPERUSER");
    let known: Vec<String> =
        clusters.sql("SELECT lower(name) FROM pg_settings").lines().map(str::to_owned).collect();
    let odd = || ODD.iter().filter(|(name, _)| known.iter().any(|known| known == name));
    for (name, value) in odd() {
        clusters.sql(&format!("ALTER ROLE odd SET {name} = {value}", value = quoted(name, value)));
    }
    let config =
        format!("host={} port={} dbname=postgres user=odd", clusters.socket_directory(), clusters.port);
    let ask = |name: &str| format!("SELECT pg_catalog.current_setting('{name}')");
    let connector = connector(&config, None);
    let sql = connector.sql().await.unwrap();
    let mut replication = connector.replication().await.unwrap();
    let fixed = FIXED.iter().filter(|setting| setting.place != Place::Here);
    let fixed: Vec<_> = fixed.filter(|setting| known.iter().any(|known| known == setting.name)).collect();
    for setting in &fixed {
        let (name, value) = (setting.name, setting.value);
        let (_, odd) =
            odd().find(|(odd, _)| *odd == name).unwrap_or_else(|| panic!("{name} has no odd value"));
        assert_ne!(*odd, value, "{name}");
        assert_eq!(one(&sql.simple_query(&ask(name)).await.unwrap()), value, "{name}");
        assert_eq!(replication.query(&ask(name)).await.unwrap()[0][0].as_deref(), Some(value), "{name}");
    }
    assert!(fixed.len() > 20, "{}", fixed.len());
    assert_eq!(one(&sql.simple_query(&ask("search_path")).await.unwrap()), CATALOG_PATH);
    assert_eq!(replication.query(&ask("search_path")).await.unwrap()[0][0].as_deref(), Some(VALUES_PATH));
    // What isn't fixed is the role's.
    assert_eq!(one(&sql.simple_query(&ask("default_transaction_read_only")).await.unwrap()), "on");
    assert_eq!(one(&sql.simple_query(&ask("application_name")).await.unwrap()), "odoo_mirror");
}

#[test]
fn something_is_decided_about_each_setting_that_a_role_or_a_database_can_set() {
    let names = Clusters::shared().sql(
        "SELECT name FROM pg_settings WHERE context IN ('user', 'superuser', 'backend', 'superuser-backend') AND name NOT LIKE '%.%'",
    );
    let undecided: Vec<&str> = names.lines().filter(|name| !is_decided(name)).collect();
    assert_eq!(undecided, Vec::<&str>::new());
    assert!(names.lines().count() > 100 && !is_decided("no_such_setting"));
}

fn quoted(name: &str, value: &str) -> String {
    // A list is no literal.
    if matches!(name, "search_path" | "datestyle") { value.to_owned() } else { format!("'{value}'") }
}

fn one(messages: &[SimpleQueryMessage]) -> String {
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    row.expect("a row").to_owned()
}
