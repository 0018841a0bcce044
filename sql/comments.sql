-- What mirrored tables and their columns say of themselves: a Superset shows it, and PostgREST puts
-- it into its description of the API. Odoo writes each field's label into its catalog.

CREATE TABLE odoo_mirror_internal.source_comments (
    table_name text PRIMARY KEY,
    -- By column; the table's own under the empty name.
    says       jsonb NOT NULL
);

-- As statements for the mirror's owner to run. A comment that somebody wrote here is left alone.
CREATE FUNCTION odoo_mirror_internal.missing_comments() RETURNS TABLE (statement text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH things AS (
        SELECT c.oid, c.relname, 0 AS attnum, ''::name AS attname,
               pg_catalog.format('%s.%s of Odoo, mirrored', t.source_schema, t.source_name) AS plain, s.says ->> '' AS says
        FROM odoo_mirror_internal.tables t
        JOIN pg_catalog.pg_class c ON c.relname = t.name AND c.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace AND c.relkind = 'r'
        LEFT JOIN odoo_mirror_internal.source_comments s ON s.table_name = t.name
        WHERE pg_catalog.pg_get_userbyid(c.relowner) = 'odoo_mirror_owner'
        UNION ALL
        SELECT c.oid, c.relname, a.attnum, a.attname, pg_catalog.format('%s.%s of Odoo', t.source_name, a.attname), s.says ->> a.attname::text
        FROM odoo_mirror_internal.tables t
        JOIN pg_catalog.pg_class c ON c.relname = t.name AND c.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace AND c.relkind = 'r'
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          -- Any other column is somebody's.
          AND EXISTS (SELECT FROM pg_catalog.jsonb_array_elements(t.shape -> 'columns') m WHERE m ->> 'name' = a.attname::text)
        LEFT JOIN odoo_mirror_internal.source_comments s ON s.table_name = t.name
        WHERE pg_catalog.pg_get_userbyid(c.relowner) = 'odoo_mirror_owner'
    )
    SELECT CASE t.attnum WHEN 0 THEN pg_catalog.format('COMMENT ON TABLE odoo_mirror.%I IS %L', t.relname, coalesce(t.says, t.plain))
           ELSE pg_catalog.format('COMMENT ON COLUMN odoo_mirror.%I.%I IS %L', t.relname, t.attname, coalesce(t.says, t.plain)) END
    FROM things t LEFT JOIN pg_catalog.pg_description d
      ON d.objoid = t.oid AND d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = t.attnum
    WHERE d.description IS NULL OR (d.description = t.plain AND t.says <> t.plain)
    ORDER BY t.relname, t.attnum
$$;
