//! Who may do what: nothing for PUBLIC, the API by name, and an owner of the mirror who can't log
//! in.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::sql_tests::{FUNCTIONS, column, nothing, refusal, value};

    #[pg_test]
    fn public_may_execute_none_of_the_functions() {
        let open = column(&format!(
            "SELECT f.oid::regprocedure FROM {FUNCTIONS} WHERE has_function_privilege('public', f.oid, 'EXECUTE')"
        ));
        assert_eq!(open, nothing());
    }

    #[pg_test]
    fn public_sees_neither_schema_and_no_table_of_the_mirrors_state() {
        let open = column(
            "SELECT n.nspname || ' ' || p FROM pg_namespace n, unnest('{USAGE,CREATE}'::text[]) p
             WHERE n.nspname IN ('odoo_mirror', 'odoo_mirror_internal') AND has_schema_privilege('public', n.oid, p)",
        );
        assert_eq!(open, nothing());
        let open = column(
            "SELECT c.relname || ' ' || p FROM pg_class c, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) p
             WHERE c.relnamespace = 'odoo_mirror_internal'::regnamespace AND c.relkind = 'r'
               AND has_table_privilege('public', c.oid, p)",
        );
        assert_eq!(open, nothing());
    }

    #[pg_test]
    fn an_ordinary_role_can_neither_read_the_status_nor_configure() {
        Spi::run("CREATE ROLE just_anybody").expect("we are superuser");
        for call in ["odoo_mirror.status()", "odoo_mirror.configure('host=h dbname=d user=u')"] {
            let refused = refusal(&format!("SET LOCAL ROLE just_anybody; SELECT {call}"));
            assert_eq!(refused.sqlstate, "42501", "{call}: {refused:?}");
        }
    }

    #[pg_test]
    fn the_role_postgres_may_run_the_mirror_without_seeing_its_state() {
        let forbidden = column(&format!(
            "SELECT f.proname FROM {FUNCTIONS} WHERE schema = 'odoo_mirror' AND f.prorettype <> 'trigger'::regtype
               AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'postgres')
               AND NOT EXISTS (SELECT FROM aclexplode(f.proacl) a
                               WHERE a.grantee = 'postgres'::regrole AND a.privilege_type = 'EXECUTE')"
        ));
        assert_eq!(forbidden, nothing());
        let granted = column(&format!(
            "SELECT f.proname FROM {FUNCTIONS} CROSS JOIN LATERAL aclexplode(f.proacl) a
             WHERE schema = 'odoo_mirror_internal' AND a.grantee NOT IN (f.proowner, 'odoo_mirror_owner'::regrole, 'odoo_mirror_worker'::regrole)"
        ));
        assert_eq!(granted, nothing());
    }

    /// Whoever may put objects into a schema of the search_path would else choose what our
    /// functions call. A path that does not name pg_temp has it first, for types and relations.
    #[pg_test]
    fn each_function_has_a_fixed_search_path() {
        let open = column(&format!(
            "SELECT f.oid::regprocedure FROM {FUNCTIONS} JOIN pg_language l ON l.oid = f.prolang
             WHERE l.lanname <> 'c' AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (f.proconfig), false)"
        ));
        assert_eq!(open, nothing());
    }

    #[pg_test]
    fn functions_have_their_owners_rights_if_they_are_the_apis_and_make_nothing_of_the_callers() {
        let odd = column(&format!(
            "SELECT f.oid::regprocedure FROM {FUNCTIONS}
             WHERE f.prosecdef <> (schema = 'odoo_mirror' AND f.proname NOT IN (
                     'configure', 'enable_ai_memory', 'disable_ai_memory', 'install_rest_aliases', 'remove_rest_aliases'))
                OR f.proowner NOT IN ('odoo_mirror_worker'::regrole, 'odoo_mirror_owner'::regrole) ORDER BY 1"
        ));
        assert_eq!(odd, nothing());
        // What readers call, and what fires on a mirrored table, has the rights of the mirror's
        // owner, and no more.
        let lesser = column(&format!(
            "SELECT f.proname FROM {FUNCTIONS} WHERE f.proowner = 'odoo_mirror_owner'::regrole ORDER BY 1"
        ));
        assert_eq!(
            lesser,
            ["get_overdue_tasks", "get_pending_expenses", "get_revenue_trends", "on_invoice_insert"]
        );
    }

    #[pg_test]
    fn nothing_of_ours_belongs_to_a_role_that_has_something_to_give_away() {
        let owners = column(
            "SELECT DISTINCT pg_get_userbyid(owner) FROM (
                 SELECT relowner AS owner FROM pg_class WHERE relnamespace::regnamespace::text LIKE 'odoo\\_mirror%' AND relkind IN ('r', 'v', 'S')
                 UNION ALL SELECT proowner FROM pg_proc WHERE pronamespace::regnamespace::text LIKE 'odoo\\_mirror%'
                 UNION ALL SELECT typowner FROM pg_type WHERE typnamespace::regnamespace::text LIKE 'odoo\\_mirror%'
                 UNION ALL SELECT nspowner FROM pg_namespace WHERE nspname = 'odoo_mirror_internal') o ORDER BY 1",
        );
        assert!(
            !owners.is_empty()
                && owners
                    .iter()
                    .all(|owner| ["odoo_mirror_owner", "odoo_mirror_worker"].contains(&owner.as_str())),
            "{owners:?}"
        );
        assert_eq!(
            column(
                "SELECT m FROM pg_auth_members m WHERE EXISTS (SELECT FROM pg_roles r WHERE r.rolname LIKE 'odoo\\_mirror\\_%' AND r.oid IN (m.roleid, m.member))"
            ),
            nothing()
        );
    }

    #[pg_test]
    fn the_mirrors_owner_can_do_nothing_but_own_the_mirror() {
        let attributes = column(
            "SELECT concat_ws(' ', rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
                              rolinherit)
             FROM pg_roles WHERE rolname IN ('odoo_mirror_owner', 'odoo_mirror_worker')",
        );
        assert_eq!(attributes, ["f f f f f f f"; 2]);
        let rights = value(
            "SELECT concat_ws(' ', has_schema_privilege('odoo_mirror_owner', 'odoo_mirror', 'CREATE'),
                              has_schema_privilege('odoo_mirror_owner', 'odoo_mirror_internal', 'USAGE'))",
        );
        assert_eq!(rights, "t t");
        let readable = column(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'odoo_mirror_internal'::regnamespace
               AND c.relkind = 'r' AND has_table_privilege('odoo_mirror_owner', c.oid, 'SELECT, INSERT, UPDATE, DELETE')",
        );
        assert_eq!(readable, nothing());
        assert_eq!(
            column("SELECT roleid FROM pg_auth_members WHERE member = 'odoo_mirror_owner'::regrole"),
            nothing()
        );
    }

    /// DROP EXTENSION must leave the mirrored tables, which stand in it.
    #[pg_test]
    fn the_mirrors_schema_is_no_member_of_the_extension_and_the_states_is() {
        let members = column(
            "SELECT n.nspname FROM pg_namespace n JOIN pg_depend d ON d.classid = 'pg_namespace'::regclass AND d.objid = n.oid
             JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'odoo_mirror'
             WHERE d.deptype = 'e' AND n.nspname LIKE 'odoo%'",
        );
        assert_eq!(members, ["odoo_mirror_internal"]);
    }
}
