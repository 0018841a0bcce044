//! Who may read what, through each role as PostgREST does it.

use super::{LIMIT, all_ten, generated};
use crate::harness::{Pair, eventually, explain};
use postgres::Client;

/// Supabase's roles, as far as they matter here.
const SUPABASE: &str = "CREATE ROLE anon NOLOGIN; CREATE ROLE authenticated NOLOGIN; CREATE ROLE service_role NOLOGIN BYPASSRLS;
    CREATE ROLE authenticator LOGIN NOINHERIT; GRANT anon, authenticated, service_role, superset_readonly, n8n_service TO authenticator";

/// As PostgREST: the login role, the JWT's claims, then the claimed role, for one transaction.
fn as_role(pair: &Pair, role: &str, sql: &str) -> Result<String, String> {
    let mut session: Client = postgres::Config::new()
        .host("127.0.0.1")
        .port(pair.mirror.port())
        .user("authenticator")
        .dbname("mirror")
        .options(
            "-c default_transaction_read_only=off -c statement_timeout=0 -c standard_conforming_strings=on -c row_security=on",
        )
        .connect(postgres::NoTls)
        .expect("authenticator may log in");
    let claims = format!("{{\"role\": \"{role}\"}}");
    let mut transaction = session.transaction().expect("a transaction");
    transaction.execute("SELECT set_config('request.jwt.claims', $1, true)", &[&claims]).expect("claims");
    transaction.batch_execute(&format!("SET LOCAL ROLE {role}")).map_err(|error| explain(&error))?;
    let row =
        transaction.query_one(&format!("SELECT ({sql})::text"), &[]).map_err(|error| explain(&error))?;
    Ok(row.get::<_, Option<String>>(0).unwrap_or_default())
}

const TABLE: &str = "SELECT count(*) FROM odoo_mirror.account_move";
const VIEW: &str = "SELECT count(*) FROM odoo_mirror.v_invoice_summary";
const FUNCTION: &str = "SELECT count(*) FROM odoo_mirror.get_pending_expenses(5)";

#[test]
fn each_role_reads_what_it_is_for_and_nothing_else() {
    let pair = generated(&all_ten());
    pair.on_mirror(SUPABASE);
    pair.on_mirror("GRANT USAGE ON SCHEMA odoo_mirror TO anon, authenticated");
    // service_role came later than the extension: the worker sees to its grants when it begins
    // anew.
    pair.on_mirror("SELECT odoo_mirror.stop()");
    pair.on_mirror("SELECT odoo_mirror.start()");
    eventually("service_role reads", LIMIT, || as_role(&pair, "service_role", VIEW).ok());
    let rows = pair.mirror_value(TABLE);
    for (role, table, view, function) in [
        ("superset_readonly", true, true, false),
        ("n8n_service", false, false, true),
        ("service_role", true, true, true),
        ("anon", false, false, false),
        ("authenticated", false, false, false),
    ] {
        for (what, sql, may) in
            [("table", TABLE, table), ("view", VIEW, view), ("function", FUNCTION, function)]
        {
            match as_role(&pair, role, sql) {
                Ok(answer) if may => assert_ne!(answer, "0", "{role}, {what}: it sees the rows"),
                Err(error) if !may => assert!(error.contains("permission denied"), "{role}, {what}: {error}"),
                other => panic!("{role}, {what}: {other:?}"),
            }
        }
        for sql in [
            "SELECT count(*) FROM odoo_mirror_internal.settings",
            "SELECT odoo_mirror.status()",
            "SELECT odoo_mirror.stop()",
        ] {
            assert!(as_role(&pair, role, sql).is_err(), "{role}: {sql}");
        }
    }
    assert_eq!(as_role(&pair, "superset_readonly", TABLE), Ok(rows));
    assert!(
        as_role(
            &pair,
            "superset_readonly",
            "SELECT 1 FROM (DELETE FROM odoo_mirror.account_move RETURNING 1) d"
        )
        .is_err()
    );
}

#[test]
fn a_table_that_is_mirrored_later_is_protected_and_readable_like_the_others() {
    let pair = generated(&all_ten());
    pair.on_mirror(SUPABASE);
    pair.on_source("CREATE TABLE later (id int PRIMARY KEY); INSERT INTO later VALUES (1); ALTER PUBLICATION odoo_pub_scout ADD TABLE later");
    pair.wait_ready(LIMIT);
    assert_eq!(
        as_role(&pair, "superset_readonly", "SELECT count(*) FROM odoo_mirror.later"),
        Ok("1".to_owned())
    );
    assert_eq!(as_role(&pair, "service_role", "SELECT count(*) FROM odoo_mirror.later"), Ok("1".to_owned()));
    let unprotected = "SELECT count(*) FROM pg_class WHERE relnamespace = 'odoo_mirror'::regnamespace AND relkind = 'r' AND NOT relrowsecurity";
    assert_eq!(pair.mirror_value(unprotected), "0");
    pair.on_source("INSERT INTO later SELECT generate_series(2, 10)");
    pair.caught_up();
    assert_eq!(
        as_role(&pair, "superset_readonly", "SELECT count(*) FROM odoo_mirror.later"),
        Ok("10".to_owned())
    );
}

#[test]
fn a_dump_carries_grants_and_policies_and_its_restored_copy_does_not_start_replicating() {
    let pair = generated(&all_ten());
    let dump = |arguments: &[&str], program: &str| {
        let port = pair.mirror.port().to_string();
        let bin = pair.mirror_value("SELECT setting FROM pg_config WHERE name = 'BINDIR'");
        let bin = if std::path::Path::new(&format!("{bin}/{program}")).exists() {
            bin
        } else {
            "/usr/lib/postgresql/15/bin".to_owned()
        };
        let out = std::process::Command::new(format!("{bin}/{program}"))
            .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres"])
            .args(arguments)
            .output()
            .expect("it is there");
        assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
    };
    let file = pair.mirror.data_directory().with_extension("dump");
    let file = file.to_str().expect("a path");
    dump(&["-Fc", "-f", file, "mirror"], "pg_dump");
    pair.on_mirror("CREATE DATABASE copy");
    dump(&["--exit-on-error", "-d", "copy", file], "pg_restore");
    let in_copy = |query: &str| pair.mirror.value("copy", query);
    assert_eq!(in_copy(TABLE), pair.mirror_value(TABLE));
    assert_eq!(in_copy(VIEW), pair.mirror_value(VIEW));
    for query in [
        "SELECT count(*) FROM pg_policies WHERE schemaname = 'odoo_mirror'",
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'odoo_mirror'::regnamespace AND relrowsecurity",
        "SELECT has_table_privilege('superset_readonly', 'odoo_mirror.v_task_summary', 'SELECT') AND has_function_privilege('n8n_service', 'odoo_mirror.get_overdue_tasks(int)', 'EXECUTE')",
        "SELECT wanted FROM odoo_mirror_internal.settings",
    ] {
        assert_eq!(in_copy(query), pair.mirror_value(query), "{query}");
    }
    // Its worker, if it had one, would wait: this isn't where start() was called.
    assert_eq!(
        in_copy(
            "SELECT started_in = odoo_mirror_internal.this_destination() FROM odoo_mirror_internal.settings"
        ),
        "f"
    );
    assert_eq!(in_copy("SELECT count(*) FROM odoo_mirror_internal.progress"), "0");
}
