//! What was there before the extension, and what was made of the mirror's roles.

use crate::harness::{Cluster, explain};

fn refusal(cluster: &Cluster, database: &str) -> String {
    let refused =
        cluster.connect_as("supabase_admin", database).batch_execute("CREATE EXTENSION odoo_mirror");
    explain(&refused.expect_err("it is refused"))
}

fn value(cluster: &Cluster, query: &str) -> String {
    cluster.value("postgres", query)
}

#[test]
fn a_schema_of_somebodys_is_taken_over_when_it_is_empty_and_refused_when_it_is_not() {
    let cluster = Cluster::builder().name("mirror").preload("postgres").start();
    cluster.takes_supabases_roles("postgres");
    cluster.sql("postgres", "CREATE SCHEMA odoo_mirror; CREATE TABLE odoo_mirror.mine (); CREATE ROLE friend; GRANT ALL ON SCHEMA odoo_mirror TO friend WITH GRANT OPTION; GRANT CREATE ON SCHEMA odoo_mirror TO PUBLIC");
    assert!(refusal(&cluster, "postgres").contains("\"odoo_mirror\" is not empty"));
    // What is found in it before the catalog's own, as more exact, isn't used by the script either.
    // A sequence tells, which no rollback sets back.
    cluster.sql("postgres", "CREATE SEQUENCE public.used");
    for right in ["regnamespace", "regclass", "regrole", "regproc"] {
        cluster.sql(
            "postgres",
            &format!(
                "CREATE FUNCTION public.eq(oid, {right}) RETURNS bool LANGUAGE plpgsql SECURITY DEFINER AS $$
                   BEGIN PERFORM pg_catalog.nextval('public.used'); RETURN pg_catalog.oideq($1, $2); END $$;
                 CREATE OPERATOR odoo_mirror.= (LEFTARG = oid, RIGHTARG = {right}, FUNCTION = public.eq)"
            ),
        );
    }
    assert!(refusal(&cluster, "postgres").contains("operator"));
    assert_eq!(value(&cluster, "SELECT is_called FROM public.used"), "f");
    for right in ["regnamespace", "regclass", "regrole", "regproc"] {
        cluster.sql("postgres", &format!("DROP OPERATOR odoo_mirror.= (oid, {right})"));
    }
    cluster.sql("postgres", "DROP TABLE odoo_mirror.mine; CREATE FUNCTION odoo_mirror.metrics() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    let refused = refusal(&cluster, "postgres");
    assert!(refused.contains("function odoo_mirror.metrics()"), "{refused}");
    cluster.sql("postgres", "DROP FUNCTION odoo_mirror.metrics()");
    cluster.as_admin("postgres", "CREATE EXTENSION odoo_mirror");
    for statement in [
        "ALTER SCHEMA odoo_mirror RENAME TO away",
        "CREATE FUNCTION odoo_mirror.more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER FUNCTION odoo_mirror.lag() RENAME TO away",
    ] {
        cluster.try_sql("postgres", statement).expect_err(statement);
    }
    // The mirror's own tables make it no stranger's: it is found again.
    cluster.as_admin(
        "postgres",
        "SET ROLE odoo_mirror_owner; CREATE TABLE odoo_mirror.kept (id int PRIMARY KEY); RESET ROLE;
         DROP EXTENSION odoo_mirror; CREATE EXTENSION odoo_mirror",
    );
    assert_eq!(
        value(
            &cluster,
            "SELECT rolsuper FROM pg_namespace JOIN pg_roles r ON r.oid = nspowner WHERE nspname = 'odoo_mirror'"
        ),
        "t"
    );
}

#[test]
fn a_role_that_was_there_before_is_made_powerless_or_refused_and_doctor_sees_what_is_given_later() {
    let cluster = Cluster::builder().name("mirror").preload("postgres").start();
    cluster.takes_supabases_roles("postgres");
    cluster.as_admin(
        "postgres",
        "CREATE ROLE mallory LOGIN;
         CREATE ROLE odoo_mirror_owner LOGIN SUPERUSER BYPASSRLS CREATEROLE PASSWORD 'x';
         CREATE ROLE odoo_mirror_worker LOGIN INHERIT;
         GRANT odoo_mirror_worker TO mallory WITH ADMIN OPTION; GRANT odoo_mirror_owner TO postgres;
         GRANT pg_read_all_data TO odoo_mirror_worker;
         GRANT CREATE ON SCHEMA public TO odoo_mirror_worker;
         ALTER DEFAULT PRIVILEGES FOR ROLE odoo_mirror_owner GRANT ALL ON TABLES TO mallory, PUBLIC",
    );
    cluster.as_admin(
        "postgres",
        "SET ROLE odoo_mirror_worker; CREATE FUNCTION public.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    );
    let refused = refusal(&cluster, "postgres");
    assert!(refused.contains("odoo_mirror_worker") && refused.contains("function public.f()"), "{refused}");
    cluster.as_admin("postgres", "DROP FUNCTION public.f(); CREATE EXTENSION odoo_mirror");
    let attributes = "SELECT string_agg(concat_ws(' ', rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolinherit), ',')
                      FROM pg_roles WHERE rolname LIKE 'odoo\\_mirror\\_%'";
    assert_eq!(value(&cluster, attributes), "f f f f f f f,f f f f f f f");
    let members = "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid IN (m.roleid, m.member) WHERE r.rolname LIKE 'odoo\\_mirror\\_%'";
    assert_eq!(value(&cluster, members), "0");
    let defaults = "SELECT count(*) FROM pg_default_acl WHERE defaclacl::text ~ 'mallory|[{,]='";
    assert_eq!(value(&cluster, defaults), "0");
    let roles =
        "SELECT concat_ws(' | ', ok, detail, hint) FROM odoo_mirror.doctor() WHERE \"check\" = 'roles'";
    assert!(value(&cluster, roles).starts_with("t |"));
    cluster
        .as_admin("postgres", "ALTER ROLE odoo_mirror_owner BYPASSRLS; GRANT odoo_mirror_worker TO mallory");
    let told = value(&cluster, roles);
    assert!(told.starts_with("f |"), "{told}");
    for cure in ["ALTER ROLE odoo_mirror_owner NOBYPASSRLS;", "REVOKE odoo_mirror_worker FROM mallory;"] {
        assert!(told.contains(cure), "{told}");
        cluster.as_admin("postgres", cure);
    }
    assert!(value(&cluster, roles).starts_with("t |"));
}
