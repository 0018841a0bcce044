-- What the worker saw when it last looked at the source: it looks at each start, and whenever
-- tables come or go.
CREATE TABLE odoo_mirror_internal.findings (
    place  int PRIMARY KEY,
    name   text NOT NULL,
    ok     boolean NOT NULL,
    detail text NOT NULL,
    hint   text,
    at     timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

-- Columns that hold what is nobody's business: Odoo's private ones of employees and partners.
CREATE FUNCTION odoo_mirror_internal.personal_columns() RETURNS TABLE (name text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.relname || '.' || a.attname
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
      AND c.relname IN ('hr_employee', 'hr_version', 'res_partner')
      AND (a.attname LIKE 'private\_%' OR a.attname LIKE 'emergency\_%' OR a.attname IN (
           'ssnid', 'sinid', 'identification_id', 'passport_id', 'birthday', 'place_of_birth', 'country_of_birth', 'marital',
           'spouse_complete_name', 'spouse_birthdate', 'children', 'km_home_work', 'distance_home_work', 'visa_no', 'visa_expire', 'permit_no',
           'bank_account_id', 'gender', 'sex', 'pin', 'barcode', 'address_home_id'))
    ORDER BY 1
$$;

-- Constraints on mirrored tables that nothing enforces: by triggers, which do not fire in the role
-- that the mirror writes in. Deferrable keys and exclusions, foreign keys from a table and to it,
-- constraint triggers; not those enabled ALWAYS.
CREATE FUNCTION odoo_mirror_internal.unenforced_constraints() RETURNS TABLE (name text, of_table text, kind text, statement text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.conname::text, c.conrelid::pg_catalog.regclass::text,
           CASE c.contype WHEN 'f' THEN 'foreign key' WHEN 't' THEN 'constraint trigger' WHEN 'x' THEN 'deferrable exclusion'
                WHEN 'p' THEN 'deferrable primary key' ELSE 'deferrable unique constraint' END,
           CASE c.contype
                WHEN 't' THEN pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I;', c.conrelid::pg_catalog.regclass, c.conname)
                WHEN 'f' THEN pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I; and look for rows without a partner by a query',
                    c.conrelid::pg_catalog.regclass, c.conname)
                ELSE pg_catalog.format('ALTER TABLE %1$s DROP CONSTRAINT %2$I, ADD CONSTRAINT %2$I %3$s;', c.conrelid::pg_catalog.regclass, c.conname,
                    pg_catalog.regexp_replace(pg_catalog.pg_get_constraintdef(c.oid), ' DEFERRABLE( INITIALLY DEFERRED)?', '')) END
    FROM pg_catalog.pg_constraint c
    WHERE c.oid IN (
        SELECT g.tgconstraint
        FROM odoo_mirror_internal.tables t
        JOIN pg_catalog.pg_class k ON k.relname = t.name AND k.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace
        JOIN pg_catalog.pg_trigger g ON g.tgrelid = k.oid AND g.tgenabled IN ('O', 'D'))
    ORDER BY 2, 1
$$;

CREATE FUNCTION odoo_mirror_internal.has_aliases() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                   WHERE n.nspname = 'public' AND c.relname = 'odoo_mirror.v_invoice_summary')
$$;

-- What somebody gave the mirror's two roles, or whom he gave them to, and what takes it back.
CREATE FUNCTION odoo_mirror_internal.roles_with_rights() RETURNS TABLE (role name, what text, cure text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH ours AS (SELECT * FROM pg_catalog.pg_roles r WHERE r.rolname IN ('odoo_mirror_worker', 'odoo_mirror_owner'))
    SELECT o.rolname, pg_catalog.concat_ws(' ', 'is', a.attribute), pg_catalog.format('ALTER ROLE %I NO%s;', o.rolname, a.attribute)
    FROM ours o CROSS JOIN LATERAL (VALUES
        ('LOGIN', o.rolcanlogin), ('SUPERUSER', o.rolsuper), ('CREATEROLE', o.rolcreaterole), ('CREATEDB', o.rolcreatedb),
        ('REPLICATION', o.rolreplication), ('BYPASSRLS', o.rolbypassrls)) a (attribute, has)
    WHERE a.has
    UNION ALL
    SELECT o.rolname, 'was granted to ' || pg_catalog.pg_get_userbyid(m.member),
           pg_catalog.format('REVOKE %I FROM %I;', o.rolname, pg_catalog.pg_get_userbyid(m.member))
    FROM ours o JOIN pg_catalog.pg_auth_members m ON m.roleid = o.oid
    UNION ALL
    SELECT o.rolname, 'is a member of ' || pg_catalog.pg_get_userbyid(m.roleid),
           pg_catalog.format('REVOKE %I FROM %I;', pg_catalog.pg_get_userbyid(m.roleid), o.rolname)
    FROM ours o JOIN pg_catalog.pg_auth_members m ON m.member = o.oid
$$;

CREATE FUNCTION odoo_mirror.doctor() RETURNS TABLE ("check" text, ok boolean, detail text, hint text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    live CONSTANT jsonb := odoo_mirror_internal.live();
    state CONSTANT text := live ->> 'state';
    settings odoo_mirror_internal.settings;
    counted bigint;
    list text;
    cure text;
BEGIN
    SELECT * INTO settings FROM odoo_mirror_internal.settings;

    -- Here.
    RETURN QUERY SELECT 'preload', state <> 'not preloaded',
        CASE state WHEN 'not preloaded' THEN 'the library is not preloaded, so there is no worker' ELSE 'the library is preloaded' END,
        CASE state WHEN 'not preloaded' THEN pg_catalog.format(
            'ALTER SYSTEM SET shared_preload_libraries = %s; then restart the server',
            pg_catalog.concat_ws(', ', nullif(odoo_mirror_internal.server_setting('shared_preload_libraries'), ''), 'odoo_mirror')) END;
    RETURN QUERY SELECT 'database', state <> 'other database',
        pg_catalog.format('the worker looks after database %I', coalesce(nullif(pg_catalog.current_setting('odoo_mirror.database', true), ''), 'postgres')),
        CASE state WHEN 'other database' THEN pg_catalog.format(
            'ALTER SYSTEM SET odoo_mirror.database = %L; then restart the server', pg_catalog.current_database()) END;
    RETURN QUERY SELECT 'encoding', d.encoding = 'UTF8', 'this database''s encoding is ' || d.encoding,
        CASE WHEN d.encoding <> 'UTF8' THEN
            'CREATE DATABASE … TEMPLATE template0 ENCODING ''UTF8''; then name it in odoo_mirror.database, restart the server, and CREATE EXTENSION odoo_mirror there' END
    FROM (SELECT pg_catalog.getdatabaseencoding()::text AS encoding) d;
    RETURN QUERY SELECT 'configured', settings.source IS NOT NULL,
        coalesce('the source is ' || settings.source, 'nobody has said where Odoo is'),
        CASE WHEN settings.source IS NULL THEN 'SELECT odoo_mirror.configure(''host=… dbname=… user=…'');' END;
    RETURN QUERY SELECT 'started', coalesce(settings.wanted = 'running', false) AND state <> 'waiting for start()',
        CASE WHEN state = 'waiting for start()' THEN 'this database is a copy of the one that start() was called in'
             WHEN settings.wanted = 'running' THEN 'start() was called' ELSE 'the mirror is stopped' END,
        CASE WHEN coalesce(settings.wanted, '') <> 'running' OR state = 'waiting for start()' THEN 'SELECT odoo_mirror.start();' END;
    RETURN QUERY SELECT 'worker', state IN ('streaming', 'copying', 'preparing'),
        pg_catalog.concat_ws(': ', state, nullif(live ->> 'message', '')),
        CASE WHEN state NOT IN ('streaming', 'copying', 'preparing') THEN
            coalesce(nullif(live -> 'last_error' ->> 'hint', ''), 'SELECT jsonb_pretty(odoo_mirror.status());') END;
    RETURN QUERY SELECT 'lag', CASE WHEN state = 'streaming' THEN coalesce((live ->> 'lag_seconds')::float8 <= 60, false) END,
        coalesce(pg_catalog.format('%s s, %s bytes behind', round((live ->> 'lag_seconds')::numeric, 1), live ->> 'lag_bytes'), 'not known yet'),
        CASE WHEN (live ->> 'lag_seconds')::float8 > 60 THEN 'SELECT jsonb_pretty(odoo_mirror.status()), * FROM odoo_mirror.lag();' END;
    RETURN QUERY SELECT 'slot', CASE WHEN live ->> 'slot_wal_status' IS NOT NULL THEN
            live ->> 'slot_wal_status' IN ('reserved', 'extended') AND coalesce((live ->> 'slot_safe_wal_bytes')::int8 >= 1000000000, true) END,
        CASE WHEN live ->> 'slot_wal_status' IS NULL THEN 'not known yet' ELSE pg_catalog.concat(
            live ->> 'slot_wal_status', ': the source keeps ', pg_catalog.pg_size_pretty((live ->> 'slot_retained_bytes')::int8), ' for it',
            ', and may write ' || pg_catalog.pg_size_pretty((live ->> 'slot_safe_wal_bytes')::int8) || ' more before it is in danger') END,
        CASE WHEN live ->> 'slot_wal_status' IN ('unreserved', 'lost') OR (live ->> 'slot_safe_wal_bytes')::int8 < 1000000000 THEN pg_catalog.format(
            'On the source: ALTER SYSTEM SET max_slot_wal_keep_size = ''%sGB''; SELECT pg_reload_conf();',
            4 + 2 * (coalesce((live ->> 'slot_retained_bytes')::int8, 0) + coalesce((live ->> 'slot_safe_wal_bytes')::int8, 0)) / 1000000000) END;
    RETURN QUERY SELECT 'looks at the source',
        CASE WHEN live -> 'looks' ->> 'failing_since' IS NOT NULL THEN false WHEN live -> 'looks' ->> 'succeeded_at' IS NOT NULL THEN true END,
        CASE WHEN live -> 'looks' ->> 'failing_since' IS NOT NULL THEN pg_catalog.concat(
                 'each fails since ', live -> 'looks' ->> 'failing_since', ': ', live -> 'looks' ->> 'error',
                 '; what the source does to its tables goes unnoticed',
                 CASE WHEN (live -> 'looks' ->> 'slot_unseen')::boolean AND pg_catalog.current_setting('odoo_mirror.give_up_slot_at', true) <> '-1'
                      THEN ', and odoo_mirror.give_up_slot_at is not kept' END)
             WHEN live -> 'looks' ->> 'succeeded_at' IS NOT NULL THEN 'the last one, at ' || (live -> 'looks' ->> 'succeeded_at') || ', succeeded'
             ELSE 'not known yet' END,
        CASE WHEN live -> 'looks' ->> 'failing_since' IS NOT NULL THEN
            coalesce(live -> 'looks' ->> 'hint', 'Let the role of configure() open a session on the source, as it could before.') END;
    RETURN QUERY SELECT 'stream', false, live -> 'looks' ->> 'held_up', live -> 'last_error' ->> 'hint' WHERE live -> 'looks' ->> 'held_up' IS NOT NULL;
    RETURN QUERY SELECT 'metrics endpoint', CASE WHEN coalesce(pg_catalog.current_setting('odoo_mirror.metrics_listen', true), '') <> '' THEN live ->> 'endpoint' LIKE 'http%' END,
        CASE WHEN coalesce(pg_catalog.current_setting('odoo_mirror.metrics_listen', true), '') = '' THEN 'not in use' ELSE coalesce(live ->> 'endpoint', 'not listening yet') END,
        CASE WHEN pg_catalog.current_setting('odoo_mirror.metrics_listen', true) <> '' AND live ->> 'endpoint' NOT LIKE 'http%' THEN
            'ALTER SYSTEM SET odoo_mirror.metrics_listen = ''9187''; SELECT pg_reload_conf(); or another port or address that is free' END;
    SELECT count(*) INTO counted FROM pg_catalog.pg_replication_origin;
    RETURN QUERY SELECT 'replication origins', counted <= m.most,
        pg_catalog.format('%s of %s are in use', counted, m.most),
        CASE WHEN counted > m.most THEN pg_catalog.format('ALTER SYSTEM SET %I = %s; then restart the server', m.name, counted + 4) END
    FROM (SELECT g.name, g.setting::int AS most FROM pg_catalog.pg_settings g
          WHERE g.name IN ('max_active_replication_origins', 'max_replication_slots') ORDER BY g.name LIMIT 1) m;
    counted := odoo_mirror_internal.background_workers();
    RETURN QUERY SELECT 'worker slots', counted < pg_catalog.current_setting('max_worker_processes')::int,
        pg_catalog.format('%s of %s background workers are in use', counted, pg_catalog.current_setting('max_worker_processes')),
        CASE WHEN counted >= pg_catalog.current_setting('max_worker_processes')::int THEN pg_catalog.format(
            'ALTER SYSTEM SET max_worker_processes = %s; then restart the server: a first copy is quicker with more', counted + 4) END;

    SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', w.role, w.what), ', '), pg_catalog.string_agg(w.cure, ' ') INTO list, cure
    FROM odoo_mirror_internal.roles_with_rights() w;
    RETURN QUERY SELECT 'roles', list IS NULL, coalesce('not as they were made: ' || list, 'the mirror''s two roles can do nothing but own it'), cure;

    -- There.
    RETURN QUERY SELECT 'source: ' || f.name, f.ok, f.detail || pg_catalog.format(' (seen %s ago)', pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - f.at)), f.hint
                 FROM odoo_mirror_internal.findings f ORDER BY f.place;
    IF NOT EXISTS (SELECT FROM odoo_mirror_internal.findings) THEN
        RETURN QUERY SELECT 'source: seen', NULL::boolean, 'the worker has not looked at the source yet',
            CASE WHEN live -> 'last_error' ->> 'message' IS NULL THEN 'SELECT odoo_mirror.start();'
                 ELSE coalesce(nullif(live -> 'last_error' ->> 'hint', ''), live -> 'last_error' ->> 'message') END;
    END IF;

    -- What is mirrored.
    RETURN QUERY SELECT 'table ' || t.name, false, coalesce(t.reason, 'failed'),
        coalesce(t.hint, pg_catalog.format('SELECT odoo_mirror.resync(%L);', t.name))
    FROM odoo_mirror_internal.tables t WHERE t.state = 'failed' ORDER BY t.name;
    IF NOT EXISTS (SELECT FROM odoo_mirror_internal.tables t WHERE t.state = 'failed') THEN
        RETURN QUERY SELECT 'tables', true, (SELECT count(*) || ' tables, none failed' FROM odoo_mirror_internal.tables), NULL;
    END IF;
    RETURN QUERY SELECT pg_catalog.format('constraint %s on %s', u.name, u.of_table), false,
        pg_catalog.format('a %s is not enforced on rows that the mirror writes: its triggers do not fire for them', u.kind), u.statement
    FROM odoo_mirror_internal.unenforced_constraints() u;
    IF NOT EXISTS (SELECT FROM odoo_mirror_internal.unenforced_constraints()) THEN
        RETURN QUERY SELECT 'constraints', true, 'each constraint on a mirrored table is enforced', NULL;
    END IF;
    SELECT pg_catalog.string_agg(pg_catalog.format('%s of %s (%s)', q.n, q.table_name, q.error), ', ') INTO list
    FROM (SELECT f.table_name, count(*) AS n, min(f.error) AS error FROM odoo_mirror_internal.quarantine f GROUP BY 1 ORDER BY 1) q;
    RETURN QUERY SELECT 'refused rows', list IS NULL, coalesce('set aside: ' || list, 'no row is set aside'),
        CASE WHEN list IS NOT NULL THEN 'SELECT * FROM odoo_mirror.failures(); after mending what refuses them: SELECT odoo_mirror.retry_failures();' END;
    SELECT sum(coalesce(v.unbalanced, t.unbalanced)) INTO counted
    FROM odoo_mirror_internal.tables t LEFT JOIN odoo_mirror_internal.live_tables() v ON v.table_name = t.name;
    RETURN QUERY SELECT 'conservation', coalesce(counted, 0) = 0,
        CASE WHEN coalesce(counted, 0) = 0 THEN 'each change received is accounted for'
             ELSE counted || ' batches with changes that are unaccounted for' END,
        CASE WHEN counted > 0 THEN 'SELECT odoo_mirror.verify(); and report it: this is a mistake of odoo_mirror''s own' END;
    SELECT pg_catalog.string_agg(w, ', ') INTO list
    FROM unnest(ARRAY['hr_employee', 'project_project', 'project_task_type', 'project_task_user_rel']) w
    WHERE EXISTS (SELECT FROM odoo_mirror_internal.tables) AND NOT EXISTS (SELECT FROM odoo_mirror_internal.tables t WHERE t.name = w);
    RETURN QUERY SELECT 'tables for the views', list IS NULL,
        coalesce('not mirrored: ' || list || '; the views show NULL for what is in them', 'all tables that the views need are mirrored'),
        CASE WHEN list IS NOT NULL THEN pg_catalog.format('On the source: ALTER PUBLICATION %I ADD TABLE %s;', coalesce(settings.publication, 'odoo_pub_scout'), list) END;
    SELECT pg_catalog.string_agg(pg_catalog.format('%s (%s)', v.name, v.problem), ', ') INTO list
    FROM odoo_mirror_internal.views v WHERE v.problem IS NOT NULL;
    RETURN QUERY SELECT 'views', list IS NULL, coalesce('not built: ' || list, 'the views stand as the tables are'),
        CASE WHEN list IS NOT NULL THEN 'Rename what stands in their place, then SELECT odoo_mirror.stop(), odoo_mirror.start();' END;
    SELECT pg_catalog.string_agg(pg_catalog.format('%s (%s)', i.name, i.why), ', ') INTO list FROM odoo_mirror_internal.missing_indexes() i;
    RETURN QUERY SELECT 'indexes', true, coalesce('left out: ' || list, 'all indexes stand'), NULL;
    SELECT pg_catalog.string_agg(p.name, ', ') INTO list FROM odoo_mirror_internal.personal_columns() p;
    RETURN QUERY SELECT 'personal data', true, coalesce('mirrored: ' || list, 'none of the columns known to hold it is mirrored'),
        CASE WHEN list IS NOT NULL THEN pg_catalog.format(
            'ALTER SYSTEM SET odoo_mirror.exclude_columns = %L; SELECT pg_reload_conf(); to leave them in Odoo',
            pg_catalog.concat_ws(', ', nullif(pg_catalog.current_setting('odoo_mirror.exclude_columns', true), ''), list)) END;

    -- Who reads.
    SELECT pg_catalog.string_agg(p.statement, '; ') INTO list FROM odoo_mirror_internal.missing_protection() p;
    RETURN QUERY SELECT 'grants', list IS NULL, CASE WHEN list IS NULL THEN 'every reader has what it needs, and every table its policies' ELSE 'some grants or policies are missing' END, list || ';';
    SELECT pg_catalog.string_agg(DISTINCT r.rolname, ', ') INTO list
    FROM pg_catalog.pg_roles r CROSS JOIN pg_catalog.pg_class c
    WHERE r.rolname IN ('anon', 'authenticated') AND c.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace AND c.relkind IN ('r', 'v')
      AND pg_catalog.has_schema_privilege(r.oid, 'odoo_mirror', 'USAGE') AND pg_catalog.has_table_privilege(r.oid, c.oid, 'SELECT');
    RETURN QUERY SELECT 'anonymous readers', list IS NULL, coalesce(list || ' may read the mirror', 'anon and authenticated read nothing'),
        CASE WHEN list IS NOT NULL THEN pg_catalog.format('REVOKE ALL ON ALL TABLES IN SCHEMA odoo_mirror FROM %s;', list) END;
    SELECT pg_catalog.split_part(s, '=', 2) INTO list
    FROM pg_catalog.pg_db_role_setting d CROSS JOIN LATERAL unnest(d.setconfig) s
    WHERE d.setrole = pg_catalog.to_regrole('authenticator')::oid AND s LIKE 'pgrst.db\_schemas=%' LIMIT 1;
    RETURN QUERY SELECT 'exposed schema',
        CASE WHEN pg_catalog.to_regrole('authenticator') IS NULL THEN NULL
             ELSE coalesce('odoo_mirror' = ANY (pg_catalog.regexp_split_to_array(list, '\s*,\s*')), false)
                  OR odoo_mirror_internal.has_aliases() END,
        CASE WHEN pg_catalog.to_regrole('authenticator') IS NULL THEN 'no PostgREST here'
             WHEN odoo_mirror_internal.has_aliases() THEN 'the aliases in public answer'
             ELSE coalesce('PostgREST exposes ' || list, 'PostgREST''s schemas are set outside the database, if at all') END,
        CASE WHEN pg_catalog.to_regrole('authenticator') IS NOT NULL
              AND NOT coalesce('odoo_mirror' = ANY (pg_catalog.regexp_split_to_array(list, '\s*,\s*')), false)
              AND NOT odoo_mirror_internal.has_aliases()
             THEN pg_catalog.format('SELECT odoo_mirror.install_rest_aliases(); or: ALTER ROLE authenticator SET pgrst.db_schemas = %L; NOTIFY pgrst, ''reload config'';',
                                    coalesce(list, 'public') || ', odoo_mirror') END;
    RETURN QUERY SELECT 'AI memory', CASE WHEN m.enabled THEN m.failed_at IS NULL OR m.failed_at < pg_catalog.clock_timestamp() - interval '1 hour' END,
        CASE WHEN NOT m.enabled THEN 'not enabled' ELSE pg_catalog.concat_ws('; ', m.told || ' invoices told', CASE WHEN m.failed > 0 THEN m.failed || ' failed: ' || m.last_error END) END,
        CASE WHEN m.enabled AND m.failed_at >= pg_catalog.clock_timestamp() - interval '1 hour' THEN 'SELECT odoo_mirror.enable_ai_memory(); after mending what the error says' END
    FROM odoo_mirror_internal.memory m;
END
$$;
COMMENT ON FUNCTION odoo_mirror.doctor IS
    'looks at all that a mirror needs: what was checked, whether it is well (NULL: not known, or not in use), and the statement that mends it';
