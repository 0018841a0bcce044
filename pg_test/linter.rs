//! What Supabase's database linter (splinter) looks at, of all that a mirror puts into an exposed
//! schema.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::sql_tests::{column, mirrored, nothing};

    /// A database of Supabase's: its roles, its habit of granting whatever comes, a mirror, and the
    /// aliases in public.
    fn supabase() {
        Spi::run(
            "CREATE ROLE anon; CREATE ROLE authenticated; CREATE ROLE service_role BYPASSRLS;
             GRANT USAGE ON SCHEMA odoo_mirror, public TO anon, authenticated;
             ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated;
             ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon, authenticated",
        )
        .expect("we are superuser");
        mirrored::odoo();
        Spi::run("SELECT odoo_mirror.install_rest_aliases()").expect("the views are there");
    }

    const RELATIONS: &str = "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE (n.nspname = 'odoo_mirror' OR n.nspname = 'public' AND c.relname LIKE 'odoo\\_mirror.%')";
    const FUNCTIONS: &str = "pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
        WHERE (n.nspname IN ('odoo_mirror', 'odoo_mirror_internal') OR n.nspname = 'public' AND f.proname LIKE 'odoo\\_mirror.%')";

    #[pg_test]
    fn function_search_path_mutable() {
        supabase();
        let open = column(&format!(
            "SELECT f.oid::regprocedure FROM {FUNCTIONS} AND f.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c')
               AND NOT EXISTS (SELECT FROM unnest(f.proconfig) s WHERE s LIKE 'search\\_path=%')"
        ));
        assert_eq!(open, nothing());
    }

    #[pg_test]
    fn security_definer_view() {
        supabase();
        let open = column(&format!(
            "SELECT c.oid::regclass FROM {RELATIONS} AND c.relkind = 'v' AND NOT coalesce(c.reloptions @> '{{security_invoker=true}}', false)"
        ));
        assert_eq!(open, nothing());
        let views = column(&format!("SELECT c.oid::regclass FROM {RELATIONS} AND c.relkind = 'v'"));
        assert_eq!(views.len(), 10, "five, and their aliases");
    }

    #[pg_test]
    fn rls_disabled_in_public_and_rls_enabled_no_policy() {
        supabase();
        let open = column(&format!(
            "SELECT c.oid::regclass FROM {RELATIONS} AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity"
        ));
        assert_eq!(open, nothing());
        for reader in ["superset_readonly", "service_role"] {
            let without = column(&format!(
                "SELECT c.oid::regclass FROM {RELATIONS} AND c.relkind = 'r' AND NOT EXISTS (
                     SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polcmd = 'r' AND p.polroles = ARRAY['{reader}'::regrole::oid])"
            ));
            assert_eq!(without, nothing(), "{reader}");
        }
    }

    #[pg_test]
    fn multiple_permissive_policies() {
        supabase();
        let several = column(
            "SELECT p.polrelid::regclass || ' ' || r FROM pg_policy p, unnest(p.polroles) r
             WHERE p.polrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'odoo_mirror'::regnamespace)
             GROUP BY p.polrelid, r, p.polcmd HAVING count(*) > 1",
        );
        assert_eq!(several, nothing());
    }

    #[pg_test]
    fn nothing_is_granted_to_anon_authenticated_or_public() {
        supabase();
        let granted = column(&format!(
            "SELECT c.oid::regclass || ' ' || r || ' ' || p FROM unnest('{{anon,authenticated}}'::text[]) r,
                unnest('{{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}}'::text[]) p, {RELATIONS} AND c.relkind IN ('r', 'v', 'm', 'S')
                AND has_table_privilege(r, c.oid, p)"
        ));
        assert_eq!(granted, nothing());
        let granted = column(&format!(
            "SELECT f.oid::regprocedure || ' ' || r FROM unnest('{{anon,authenticated,public}}'::text[]) r, {FUNCTIONS}
                AND has_function_privilege(r, f.oid, 'EXECUTE')"
        ));
        assert_eq!(granted, nothing());
    }

    #[pg_test]
    fn materialized_view_in_api_and_foreign_table_in_api() {
        supabase();
        assert_eq!(
            column(&format!("SELECT c.oid::regclass FROM {RELATIONS} AND c.relkind IN ('m', 'f')")),
            nothing()
        );
    }

    #[pg_test]
    fn no_primary_key_and_duplicate_index() {
        supabase();
        let keyless = column(&format!(
            "SELECT c.oid::regclass FROM {RELATIONS} AND c.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)"
        ));
        assert_eq!(keyless, nothing());
        let twice = column(
            "SELECT i.indrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid AND c.relnamespace = 'odoo_mirror'::regnamespace
             GROUP BY i.indrelid, i.indkey, i.indclass HAVING count(*) > 1",
        );
        assert_eq!(twice, nothing());
    }
}
