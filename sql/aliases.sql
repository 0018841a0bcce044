-- For code that writes odoo_mirror.v_invoice_summary as if it were one name: PostgREST looks for it
-- in its own schema, public. So there are views and functions in public whose names have a dot in
-- them, for service_role alone.

CREATE FUNCTION odoo_mirror_internal.aliases() RETURNS TABLE (name text, kind text, arguments text, result text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT v, 'view', NULL, NULL
    FROM unnest(ARRAY['v_invoice_summary', 'v_expense_summary', 'v_task_summary', 'v_revenue_by_partner', 'v_expense_by_employee']) v
    UNION ALL
    SELECT f.proname, 'function', pg_catalog.pg_get_function_arguments(f.oid), pg_catalog.pg_get_function_result(f.oid)
    FROM unnest(odoo_mirror_internal.reading_functions()) r JOIN pg_catalog.pg_proc f ON f.oid = r::pg_catalog.regprocedure
$$;

CREATE FUNCTION odoo_mirror_internal.alias_mark() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'alias of odoo_mirror; odoo_mirror.remove_rest_aliases() removes it'
$$;

-- What the caller of install_rest_aliases() does with his own rights. Supabase grants what is made
-- in public to anon and authenticated by default: these are for nobody but one.
CREATE FUNCTION odoo_mirror_internal.alias_statements() RETURNS TABLE (statement text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    alias record;
    there text;
    object text;
    privilege text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'service_role') THEN
        RAISE EXCEPTION 'there is no role service_role here' USING ERRCODE = 'undefined_object',
            HINT = 'The aliases are for it alone: CREATE ROLE service_role NOLOGIN BYPASSRLS;';
    END IF;
    IF pg_catalog.to_regclass('odoo_mirror.v_expense_by_employee') IS NULL THEN
        RAISE EXCEPTION 'the views are not there yet' USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'First SELECT odoo_mirror.start(); they come with the tables.';
    END IF;
    FOR alias IN SELECT 'odoo_mirror.' || a.name AS public_name, a.* FROM odoo_mirror_internal.aliases() a LOOP
        IF alias.kind = 'view' THEN
            SELECT coalesce(pg_catalog.obj_description(c.oid, 'pg_class'), '') INTO there FROM pg_catalog.pg_class c
            WHERE c.relname = alias.public_name AND c.relnamespace = 'public'::pg_catalog.regnamespace;
        ELSE
            SELECT coalesce(pg_catalog.obj_description(f.oid, 'pg_proc'), '') INTO there FROM pg_catalog.pg_proc f
            WHERE f.proname = alias.public_name AND f.pronamespace = 'public'::pg_catalog.regnamespace;
        END IF;
        IF FOUND AND there <> odoo_mirror_internal.alias_mark() THEN
            RAISE EXCEPTION '% public."%" exists and is not ours', alias.kind, alias.public_name
                USING ERRCODE = 'duplicate_object', HINT = 'Rename or drop it, then call this again.';
        END IF;
        IF alias.kind = 'view' THEN
            object := pg_catalog.format('TABLE public.%I', alias.public_name);
            privilege := 'SELECT';
            RETURN QUERY VALUES
                (pg_catalog.format('CREATE OR REPLACE VIEW public.%I WITH (security_invoker = true) AS SELECT * FROM odoo_mirror.%I',
                                   alias.public_name, alias.name)),
                (pg_catalog.format('COMMENT ON VIEW public.%I IS %L', alias.public_name, odoo_mirror_internal.alias_mark()));
        ELSE
            object := pg_catalog.format('FUNCTION public.%I', alias.public_name);
            privilege := 'EXECUTE';
            RETURN QUERY VALUES
                (pg_catalog.format(
                    'CREATE OR REPLACE FUNCTION public.%I(%s) RETURNS %s LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS %L',
                    alias.public_name, alias.arguments, alias.result,
                    pg_catalog.format('SELECT * FROM odoo_mirror.%I($1)', alias.name))),
                (pg_catalog.format('COMMENT ON FUNCTION public.%I IS %L', alias.public_name, odoo_mirror_internal.alias_mark())),
                -- So that DROP EXTENSION takes it along.
                (pg_catalog.format('ALTER FUNCTION public.%I DEPENDS ON EXTENSION odoo_mirror', alias.public_name));
        END IF;
        RETURN QUERY SELECT pg_catalog.format('REVOKE ALL ON %s FROM %s', object, r.name)
            FROM (SELECT 'PUBLIC' UNION ALL SELECT pg_catalog.quote_ident(a.rolname) FROM pg_catalog.pg_roles a
                  WHERE a.rolname IN ('anon', 'authenticated')) r (name);
        RETURN QUERY VALUES (pg_catalog.format('GRANT %s ON %s TO service_role', privilege, object));
    END LOOP;
    RETURN QUERY VALUES ('NOTIFY pgrst, ''reload schema''');
END
$$;

CREATE FUNCTION odoo_mirror_internal.alias_removal_statements() RETURNS TABLE (statement text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_catalog.format('DROP VIEW public.%I', c.relname) FROM pg_catalog.pg_class c
    WHERE c.relnamespace = 'public'::pg_catalog.regnamespace AND c.relkind = 'v'
      AND pg_catalog.obj_description(c.oid, 'pg_class') = odoo_mirror_internal.alias_mark()
    UNION ALL
    SELECT pg_catalog.format('DROP FUNCTION public.%I', f.proname) FROM pg_catalog.pg_proc f
    WHERE f.pronamespace = 'public'::pg_catalog.regnamespace
      AND pg_catalog.obj_description(f.oid, 'pg_proc') = odoo_mirror_internal.alias_mark()
    UNION ALL
    SELECT 'NOTIFY pgrst, ''reload schema'''
$$;

-- These two have the rights of who calls them: what they make is his.
CREATE FUNCTION odoo_mirror.install_rest_aliases() RETURNS text
LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'install_rest_aliases_wrapper';
COMMENT ON FUNCTION odoo_mirror.install_rest_aliases IS
    'make supabase.from(''odoo_mirror.v_…'') and rpc(''odoo_mirror.…'') work as written: aliases in schema public, for service_role alone';

CREATE FUNCTION odoo_mirror.remove_rest_aliases() RETURNS text
LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'remove_rest_aliases_wrapper';
COMMENT ON FUNCTION odoo_mirror.remove_rest_aliases IS 'drop the aliases that install_rest_aliases() made';
