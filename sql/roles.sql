-- Who reads. Roles belong to the cluster: made only where they are absent, without a password, and
-- they outlive the extension.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'superset_readonly') THEN
        CREATE ROLE superset_readonly NOLOGIN NOINHERIT;
        COMMENT ON ROLE superset_readonly IS 'reads all tables and views of schema odoo_mirror; grant it to a login role';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'n8n_service') THEN
        CREATE ROLE n8n_service NOLOGIN NOINHERIT;
        COMMENT ON ROLE n8n_service IS 'calls the reading functions of schema odoo_mirror, and reads no table; grant it to a login role';
    END IF;
END
$$;

-- Those that are here: service_role is Supabase's, and may come later.
CREATE FUNCTION odoo_mirror_internal.reader_roles() RETURNS TABLE (role name, tables boolean, functions boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.rolname, w.tables, w.functions
    FROM (VALUES ('superset_readonly', true, false), ('n8n_service', false, true), ('service_role', true, true)) w (name, tables, functions)
    JOIN pg_catalog.pg_roles r ON r.rolname = w.name
$$;

CREATE FUNCTION odoo_mirror_internal.reading_functions() RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ARRAY['odoo_mirror.get_pending_expenses(int)', 'odoo_mirror.get_overdue_tasks(int)',
                 'odoo_mirror.get_revenue_trends(int)']
$$;

-- What is missing of grants and policies, as statements for the mirror's owner to run: none, when
-- all is as it must be.
CREATE FUNCTION odoo_mirror_internal.missing_protection() RETURNS TABLE (statement text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH readers AS (SELECT role FROM odoo_mirror_internal.reader_roles() WHERE tables),
    relations AS (
        SELECT c.oid, c.relname, c.relkind, c.relrowsecurity FROM pg_catalog.pg_class c
        WHERE c.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace AND c.relkind IN ('r', 'v')
          AND pg_catalog.pg_get_userbyid(c.relowner) = 'odoo_mirror_owner'
    )
    SELECT pg_catalog.format('ALTER TABLE odoo_mirror.%I ENABLE ROW LEVEL SECURITY', r.relname)
    FROM relations r WHERE r.relkind = 'r' AND NOT r.relrowsecurity
    UNION ALL
    SELECT pg_catalog.format('CREATE POLICY %I ON odoo_mirror.%I FOR SELECT TO %I USING (true)', 'read_by_' || w.role, r.relname, w.role)
    FROM relations r CROSS JOIN readers w
    WHERE r.relkind = 'r' AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = r.oid AND p.polname = 'read_by_' || w.role)
    UNION ALL
    SELECT pg_catalog.format('GRANT SELECT ON odoo_mirror.%I TO %I', r.relname, w.role)
    FROM relations r CROSS JOIN readers w
    WHERE NOT pg_catalog.has_table_privilege(w.role, r.oid, 'SELECT')
    UNION ALL
    -- The way into the schema.
    SELECT pg_catalog.format('GRANT USAGE ON SCHEMA odoo_mirror TO %I', w.role)
    FROM odoo_mirror_internal.reader_roles() w
    WHERE NOT pg_catalog.has_schema_privilege(w.role, 'odoo_mirror', 'USAGE')
    UNION ALL
    -- Tables that are yet to come.
    SELECT pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE odoo_mirror_owner IN SCHEMA odoo_mirror GRANT SELECT ON TABLES TO %I', w.role)
    FROM readers w
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_default_acl d CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) a
        WHERE d.defaclrole = 'odoo_mirror_owner'::pg_catalog.regrole AND d.defaclnamespace = 'odoo_mirror'::pg_catalog.regnamespace
          AND d.defaclobjtype = 'r' AND a.grantee = pg_catalog.to_regrole(pg_catalog.quote_ident(w.role))::oid)
    UNION ALL
    SELECT pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO %I', f.signature, w.role)
    FROM odoo_mirror_internal.reader_roles() w CROSS JOIN unnest(odoo_mirror_internal.reading_functions()) f (signature)
    WHERE w.functions AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_proc p CROSS JOIN LATERAL pg_catalog.aclexplode(p.proacl) a
        WHERE p.oid = pg_catalog.to_regprocedure(f.signature) AND a.privilege_type = 'EXECUTE'
          AND a.grantee = pg_catalog.to_regrole(pg_catalog.quote_ident(w.role))::oid)
$$;
