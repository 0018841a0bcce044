-- What a view may say of a mirrored table: a column that this Odoo has, or a NULL of its type. The
-- one place that looks at what there is; what each version of Odoo calls a thing is said once, in
-- the view that shows it. The views are no members of the extension and use none of its functions:
-- they outlive it.

-- Columns as they are here. The table in `without` is taken to have none: no view may then depend
-- on any of its columns.
CREATE FUNCTION odoo_mirror_internal.has(relation text, wanted text, without text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT relation IS DISTINCT FROM without AND EXISTS (
        SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
        WHERE c.relname = relation AND c.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace
          AND c.relkind = 'r' AND a.attname = wanted AND a.attnum > 0 AND NOT a.attisdropped)
$$;

-- The first of these columns that is there, as this type: `alias.column::type`, or a NULL.
CREATE FUNCTION odoo_mirror_internal.col(
    relation text, alias text, type text, without text, VARIADIC wanted text[]
) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(
        (SELECT pg_catalog.format('%s.%I::%s', alias, w.name, type)
         FROM unnest(wanted) WITH ORDINALITY AS w (name, place)
         WHERE odoo_mirror_internal.has(relation, w.name, without) ORDER BY w.place LIMIT 1),
        'NULL::' || type)
$$;

-- A name that may be translated: text up to some version of Odoo, {"en_US": …} after it. In the
-- database's language, else in en_US, else in whatever there is.
CREATE FUNCTION odoo_mirror_internal.label(relation text, alias text, wanted text, without text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN NOT odoo_mirror_internal.has(relation, wanted, without) THEN 'NULL::text'
        WHEN a.atttypid = 'pg_catalog.jsonb'::pg_catalog.regtype THEN pg_catalog.format(
            'coalesce(%1$s.%2$I ->> %3$L, %1$s.%2$I ->> ''en_US'', '
            '(SELECT t.value FROM pg_catalog.jsonb_each_text(CASE pg_catalog.jsonb_typeof(%1$s.%2$I) WHEN ''object'' THEN %1$s.%2$I END) t '
            'ORDER BY t.key LIMIT 1), CASE WHEN pg_catalog.jsonb_typeof(%1$s.%2$I) <> ''object'' THEN %1$s.%2$I #>> ''{}'' END)',
            alias, wanted, odoo_mirror_internal.language())
        ELSE pg_catalog.format('%s.%I::text', alias, wanted) END
    FROM (SELECT relation AS name) r
    LEFT JOIN pg_catalog.pg_class c
           ON c.relname = r.name AND c.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace AND c.relkind = 'r'
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = wanted AND NOT a.attisdropped
$$;

-- The language of translated names: the setting, else that of Odoo's own company (its partner is
-- the first of all), else en_US.
CREATE FUNCTION odoo_mirror_internal.language() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found text := nullif(pg_catalog.current_setting('odoo_mirror.language', true), '');
BEGIN
    IF found IS NULL AND odoo_mirror_internal.has('res_partner', 'lang', NULL)
       AND odoo_mirror_internal.has('res_partner', 'id', NULL) THEN
        found := odoo_mirror_internal.company_language();
    END IF;
    RETURN coalesce(found, 'en_US');
END
$$;

-- `LEFT JOIN table alias ON condition`, where the table and the columns that the condition needs
-- are there.
CREATE FUNCTION odoo_mirror_internal.left_join(
    relation text, alias text, key text, without text, on_relation text, on_alias text, on_column text
) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN odoo_mirror_internal.has(relation, key, without)
                 AND odoo_mirror_internal.has(on_relation, on_column, without)
           THEN pg_catalog.format(E'\nLEFT JOIN odoo_mirror.%I %s ON %s.%I = %s.%I', relation, alias, alias, key, on_alias, on_column)
           ELSE '' END
$$;

-- As `without` where the join above isn't there: then no column of its table may be named.
CREATE FUNCTION odoo_mirror_internal.joined(
    relation text, key text, without text, on_relation text, on_column text
) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN odoo_mirror_internal.has(relation, key, without)
                 AND odoo_mirror_internal.has(on_relation, on_column, without)
           THEN without ELSE relation END
$$;

-- Which views stand as they were built from.
CREATE TABLE odoo_mirror_internal.views (
    name       text PRIMARY KEY,
    definition text NOT NULL,
    -- Why it could not be built.
    problem    text
);
