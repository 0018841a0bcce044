//! What somebody who may call functions of the mirror's gets by it: their result.

use super::{admin, assert_nobody_rose, start, supabase};
use crate::harness::MIRROR;

/// Types that functions of the mirror's name.
const TYPES: [&str; 20] = [
    "text",
    "jsonb",
    "json",
    "int2",
    "int4",
    "int8",
    "float8",
    "numeric",
    "bool",
    "name",
    "oid",
    "pg_lsn",
    "timestamptz",
    "timestamp",
    "date",
    "interval",
    "regclass",
    "regrole",
    "regproc",
    "uuid",
];

/// Relations that they read.
const RELATIONS: [&str; 10] = [
    "settings",
    "tables",
    "jobs",
    "quarantine",
    "progress",
    "ranges",
    "pg_class",
    "pg_proc",
    "pg_roles",
    "pg_namespace",
];

#[test]
fn what_a_caller_hides_in_pg_temp_is_run_by_no_function() {
    let pair = supabase();
    pair.on_source("CREATE TABLE account_move (id int PRIMARY KEY, name text, amount_total numeric, invoice_date date, move_type text, state text, amount_total_signed numeric)");
    pair.on_source("CREATE TABLE project_task (id int PRIMARY KEY, name text, date_deadline date); INSERT INTO project_task VALUES (1, 'late', '2020-01-01')");
    pair.publish_all();
    start(&pair);
    pair.wait_ready(std::time::Duration::from_secs(60));
    admin(
        &pair,
        "CREATE TABLE public.notes (who name, via text); GRANT ALL ON public.notes TO PUBLIC;
         CREATE ROLE n8n LOGIN IN ROLE n8n_service INHERIT",
    );
    for role in ["postgres", "n8n"] {
        let mut session = pair.mirror.connect_as(role, MIRROR);
        let mut hide = String::new();
        for of in TYPES {
            hide.push_str(&format!(
                "CREATE FUNCTION pg_temp.f(pg_catalog.{of}) RETURNS pg_catalog.bool LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN
                   IF current_user <> session_user THEN INSERT INTO public.notes VALUES (current_user, '{of}'); END IF; RETURN true; END $$;\n"
            ));
        }
        session.batch_execute(&hide).expect("anybody may in pg_temp");
        let calls: Vec<String> = session
            .query(
                "SELECT pg_catalog.format('SELECT * FROM odoo_mirror.%I(%s)', p.proname, CASE p.proname
                     WHEN 'wait_for' THEN '''0/0'', ''1 ms''' WHEN 'configure' THEN '''host=h dbname=d user=u''' ELSE '' END)
                 FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'odoo_mirror'::pg_catalog.regnamespace
                   AND p.prorettype <> 'trigger'::pg_catalog.regtype AND p.proname <> 'uninstall'
                   AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE') ORDER BY p.proname <> 'configure', 1",
                &[],
            )
            .expect("the catalog is anybody's")
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert!(calls.len() >= if role == "postgres" { 20 } else { 3 }, "{calls:?}");
        let mut hide = String::new();
        for of in TYPES {
            hide.push_str(&format!(
                "CREATE DOMAIN pg_temp.{of} AS pg_catalog.{of} CHECK (pg_temp.f(VALUE));\n"
            ));
        }
        for of in ["text", "name", "int8", "timestamptz"] {
            hide.push_str(&format!(
                "CREATE FUNCTION pg_temp.equals(pg_catalog.{of}, pg_catalog.{of}) RETURNS pg_catalog.bool LANGUAGE sql
                   AS 'SELECT pg_temp.f($1)';
                 CREATE OPERATOR pg_temp.= (LEFTARG = pg_catalog.{of}, RIGHTARG = pg_catalog.{of}, FUNCTION = pg_temp.equals);\n"
            ));
        }
        for of in RELATIONS {
            hide.push_str(&format!("CREATE TABLE pg_temp.{of} ();\n"));
        }
        session.batch_execute(&hide).expect("anybody may in pg_temp");
        // A function may refuse; it is what else happens that counts.
        for call in &calls {
            let _ = session.batch_execute(call);
        }
    }
    assert_eq!(
        pair.mirror_value(
            "SELECT coalesce(string_agg(DISTINCT who || ' by ' || via, ', '), '') FROM public.notes"
        ),
        ""
    );
    assert_nobody_rose(&pair);
}

#[test]
fn what_postgres_has_a_superuser_run_configures_as_postgres() {
    let pair = supabase();
    pair.on_mirror(
        "CREATE TABLE public.told (what text); GRANT ALL ON public.told TO PUBLIC;
         CREATE TABLE public.bait (id int); INSERT INTO public.bait SELECT generate_series(1, 9);
         CREATE FUNCTION public.lure(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
           IF session_user = 'supabase_admin' THEN
             BEGIN
               PERFORM odoo_mirror.configure('host=/tmp user=supabase_admin dbname=mine');
               INSERT INTO public.told VALUES ('taken');
             EXCEPTION WHEN OTHERS THEN INSERT INTO public.told VALUES (SQLERRM);
             END;
           END IF;
           RETURN $1; END $$;
         CREATE FUNCTION public.lured(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN public.lure($1); END';
         CREATE FUNCTION public.definer(int) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT public.lure($1)';
         CREATE INDEX ON public.bait (public.lured(id))",
    );
    let refused = "only a superuser may name a Unix socket as the source";
    // As autovacuum does.
    for statement in ["ANALYZE public.bait", "SELECT public.definer(1)"] {
        admin(&pair, statement);
        assert_eq!(pair.mirror_value("SELECT DISTINCT what FROM public.told"), refused);
        pair.on_mirror("TRUNCATE public.told");
    }
    admin(&pair, "SET ROLE postgres; SELECT odoo_mirror.configure('host=h dbname=d user=u')");
    let by = "SELECT configured_by, by_superuser FROM odoo_mirror_internal.settings";
    admin(&pair, &format!("DO $$ BEGIN ASSERT ROW('postgres', false) = ({by}); END $$"));
    admin(&pair, "SELECT odoo_mirror.configure('host=/tmp dbname=d user=u')");
    admin(&pair, &format!("DO $$ BEGIN ASSERT ROW('supabase_admin', true) = ({by}); END $$"));
}

#[test]
fn postgres_reaches_no_server_that_trusts_anybody() {
    let pair = supabase();
    let here = format!("host=127.0.0.1 port={} user=supabase_admin dbname=postgres", pair.mirror.port());
    let there = pair.conninfo();
    for (source, allowed, says) in [
        (here.as_str(), "", "may name"),
        (here.as_str(), "127.0.0.0/8", "asked for no password"),
        (there.as_str(), "127.0.0.0/8", "asked for no password"),
    ] {
        pair.mirror.set_conf("odoo_mirror.allowed_sources", allowed);
        pair.mirror.as_admin("postgres", "SELECT pg_reload_conf()");
        pair.on_mirror(&format!("SELECT odoo_mirror.configure('{source}')"));
        pair.on_mirror("SELECT odoo_mirror.start()");
        pair.wait_status(says, |status| {
            status["state"] == "failed"
                && status["message"].as_str().is_some_and(|message| message.contains(says))
        });
    }
    assert_nobody_rose(&pair);
}

#[test]
fn postgres_makes_the_memory_and_the_aliases_with_its_own_rights() {
    let pair = supabase();
    pair.on_source(
        "CREATE TABLE account_move (id int PRIMARY KEY, name text, amount_total numeric, move_type text, partner_id int)",
    );
    pair.publish_all();
    start(&pair);
    pair.wait_ready(std::time::Duration::from_secs(60));
    // PostgreSQL 15 took CREATE in public from all but the database's owner.
    admin(&pair, "CREATE ROLE anon; CREATE ROLE service_role BYPASSRLS");
    pair.on_mirror("SELECT odoo_mirror.enable_ai_memory(create_schema => true); SELECT odoo_mirror.install_rest_aliases()");
    let owners = "SELECT string_agg(DISTINCT relowner::regrole::text, ',') FROM pg_class
                  WHERE relnamespace = 'ipai_memory'::regnamespace OR relname LIKE 'odoo\\_mirror.%'";
    assert_eq!(pair.mirror_value(owners), "postgres");
    pair.on_source("INSERT INTO account_move VALUES (1, 'INV/1', 10, 'out_invoice', 1)");
    pair.caught_up();
    assert_eq!(pair.mirror_value("SELECT count(*) FROM ipai_memory.chunks"), "1");
    pair.on_mirror("SELECT odoo_mirror.disable_ai_memory(); SELECT odoo_mirror.remove_rest_aliases()");
    pair.on_source("INSERT INTO account_move VALUES (2, 'INV/2', 10, 'out_invoice', 1)");
    pair.caught_up();
    assert_eq!(pair.mirror_value("SELECT count(*) FROM ipai_memory.chunks"), "1");
}
