-- What a user calls. Each function has a fixed search_path and is granted by name, at the end.

CREATE FUNCTION odoo_mirror.start() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM odoo_mirror_internal.require_worker();
    UPDATE odoo_mirror_internal.settings
    SET wanted = 'running', started_in = odoo_mirror_internal.this_destination(),
        started_at = pg_catalog.clock_timestamp();
    IF NOT FOUND THEN
        RAISE EXCEPTION 'odoo_mirror is not configured'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'First run SELECT odoo_mirror.configure(''host=… dbname=… user=…'').';
    END IF;
    PERFORM odoo_mirror_internal.wake(ends_life => true);
    RETURN 'starting: SELECT odoo_mirror.status() shows how it goes';
END
$$;
COMMENT ON FUNCTION odoo_mirror.start IS 'run the mirror, here and after each restart of the server, until stop()';

CREATE FUNCTION odoo_mirror.stop() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE odoo_mirror_internal.settings SET wanted = 'stopped';
    PERFORM odoo_mirror_internal.wake(ends_life => true);
    RETURN 'stopping: the slot stays, and keeps WAL on the source until start() or uninstall()';
END
$$;
COMMENT ON FUNCTION odoo_mirror.stop IS 'pause the mirror; the slot on the source stays and keeps WAL for it';

CREATE FUNCTION odoo_mirror.uninstall() RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'SELECT odoo_mirror_internal.give_up()';
COMMENT ON FUNCTION odoo_mirror.uninstall IS
    'give up the slot on the source and the replication origin here, for good; the mirrored rows stay';

CREATE FUNCTION odoo_mirror.wait_for(lsn pg_lsn, timeout interval DEFAULT '30s') RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT odoo_mirror_internal.wait_until(lsn::text, extract(epoch FROM timeout)::float8)
$$;
COMMENT ON FUNCTION odoo_mirror.wait_for IS
    'true once the mirror shows the source''s commit at this position (pg_current_wal_insert_lsn() there); false after the timeout';

-- What tables that are copied or compared have to wait for on the source, and for which job that
-- is.
CREATE FUNCTION odoo_mirror_internal.waits() RETURNS TABLE (table_name text, waits text, job bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.name, l.waits, r.job
    FROM odoo_mirror_internal.live_tables() l
    JOIN odoo_mirror_internal.tables t ON t.name = l.table_name
    LEFT JOIN odoo_mirror_internal.reconciles r ON r.table_name = t.name
    WHERE l.waits IS NOT NULL AND t.state <> 'failed' AND (t.state = 'copying' OR r.table_name IS NOT NULL)
    ORDER BY t.name
$$;

CREATE FUNCTION odoo_mirror.tables() RETURNS TABLE (
    table_name text, state text, reason text, hint text, rows bigint, copied_rows bigint, copied_bytes bigint,
    copied_percent numeric, rows_per_second numeric, time_left interval, last_change timestamptz,
    inserted bigint, updated bigint, deleted bigint, failed_rows bigint,
    verified_lsn pg_lsn, verified_age interval
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH copied AS (
        SELECT r.table_name, sum(r.rows) AS rows, sum(r.bytes) AS bytes
        FROM odoo_mirror_internal.ranges r WHERE r.snapshot IS NOT NULL GROUP BY 1
    ), facts AS (
        SELECT t.*, l.copying_rows, l.copying_bytes,
               coalesce(c.rows, 0)::bigint + coalesce(l.copying_rows, 0) AS in_rows,
               coalesce(c.bytes, 0)::bigint + coalesce(l.copying_bytes, 0) AS in_bytes,
               k.reltuples, l.inserts AS live_inserts, l.updates AS live_updates, l.deletes AS live_deletes,
               l.last_change AS live_last_change, w.waits,
               extract(epoch FROM pg_catalog.clock_timestamp() - t.copy_started_at) AS seconds
        FROM odoo_mirror_internal.tables t
        LEFT JOIN copied c ON c.table_name = t.name
        LEFT JOIN odoo_mirror_internal.live_tables() l ON l.table_name = t.name
        LEFT JOIN odoo_mirror_internal.waits() w ON w.table_name = t.name
        LEFT JOIN pg_catalog.pg_class k
               ON k.relname = t.name AND k.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace
    ), rates AS (
        SELECT f.*, CASE WHEN f.state = 'copying' AND f.seconds > 0 THEN f.in_rows / f.seconds END AS rate
        FROM facts f
    )
    SELECT f.name, f.state, nullif(pg_catalog.concat_ws('; ', f.reason, f.waits), ''), f.hint,
           CASE WHEN f.state = 'copying' OR f.reltuples < 0 THEN f.in_rows ELSE f.reltuples::bigint END,
           f.in_rows, f.in_bytes,
           CASE WHEN f.state = 'failed' THEN NULL
                WHEN f.state = 'reconciling' THEN NULL
                WHEN f.state <> 'copying' THEN 100
                WHEN f.estimated_rows <= 0 THEN NULL
                ELSE round(least(99.9, 100.0 * f.in_rows / greatest(f.estimated_rows, f.in_rows)), 1) END,
           round(f.rate::numeric, 0),
           CASE WHEN f.rate > 0 AND f.estimated_rows > f.in_rows
                THEN pg_catalog.make_interval(secs => round((f.estimated_rows - f.in_rows) / f.rate)::float8) END,
           coalesce(f.live_last_change, f.last_change),
           coalesce(f.live_inserts, f.inserts), coalesce(f.live_updates, f.updates),
           coalesce(f.live_deletes, f.deletes),
           (SELECT count(*) FROM odoo_mirror_internal.quarantine q WHERE q.table_name = f.name),
           f.verified_lsn, pg_catalog.clock_timestamp() - f.verified_at
    FROM rates f ORDER BY f.name
$$;
COMMENT ON FUNCTION odoo_mirror.tables IS
    'a row a mirrored table: state, rows (while copying exact, later the planner''s estimate), the copy''s progress, changes';

CREATE FUNCTION odoo_mirror.lag() RETURNS TABLE (
    bytes bigint, seconds double precision, source_lsn pg_lsn, received_lsn pg_lsn, applied_lsn pg_lsn
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT (l ->> 'lag_bytes')::bigint, (l ->> 'lag_seconds')::float8, (l ->> 'source_lsn')::pg_lsn,
           (l ->> 'received_lsn')::pg_lsn, (l ->> 'applied_lsn')::pg_lsn
    FROM odoo_mirror_internal.live() l
$$;
COMMENT ON FUNCTION odoo_mirror.lag IS
    'how far the mirror is behind: bytes of WAL, and seconds since the oldest commit that is not shown yet (0 when caught up)';

-- What the worker does; while it streams, whether rows are set aside, it can't see what the source
-- does to its tables, or the source streams nothing.
CREATE FUNCTION odoo_mirror_internal.state(live jsonb) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN live ->> 'state' = 'streaming'
                     AND (EXISTS (SELECT FROM odoo_mirror_internal.quarantine) OR live -> 'looks' ->> 'failing_since' IS NOT NULL
                          OR live -> 'looks' ->> 'held_up' IS NOT NULL)
                THEN 'degraded' ELSE live ->> 'state' END
$$;

CREATE FUNCTION odoo_mirror.status() RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_catalog.jsonb_build_object(
        'state', odoo_mirror_internal.state(l),
        'since', l -> 'since',
        'message', coalesce(nullif(l ->> 'message', ''), (SELECT w.waits FROM odoo_mirror_internal.waits() w LIMIT 1)),
        'waits', (SELECT coalesce(pg_catalog.jsonb_object_agg(w.table_name, w.waits), '{}'::jsonb)
                  FROM odoo_mirror_internal.waits() w),
        'source', (SELECT s.source FROM odoo_mirror_internal.settings s),
        'publication', (SELECT s.publication FROM odoo_mirror_internal.settings s),
        'slot', (SELECT s.slot FROM odoo_mirror_internal.settings s),
        'wanted', (SELECT s.wanted FROM odoo_mirror_internal.settings s),
        'lsn', pg_catalog.jsonb_build_object('source', l -> 'source_lsn', 'received', l -> 'received_lsn',
                                  'applied', l -> 'applied_lsn', 'confirmed', l -> 'confirmed_lsn'),
        'source_wal', pg_catalog.jsonb_build_object('retained_bytes', l -> 'slot_retained_bytes',
            'safe_bytes', l -> 'slot_safe_wal_bytes', 'status', l -> 'slot_wal_status', 'seen_at', l -> 'slot_seen_at'),
        'lag', pg_catalog.jsonb_build_object('bytes', l -> 'lag_bytes', 'seconds', l -> 'lag_seconds'),
        'source_looks', l -> 'looks',
        'tables', (SELECT coalesce(pg_catalog.jsonb_object_agg(t.state, t.n), '{}'::jsonb)
                   FROM (SELECT state, count(*) AS n FROM odoo_mirror_internal.tables GROUP BY 1) t),
        'failed_tables', (SELECT coalesce(pg_catalog.jsonb_object_agg(t.name, t.reason), '{}'::jsonb)
                          FROM odoo_mirror_internal.tables t WHERE t.state = 'failed'),
        'failed_rows', (SELECT coalesce(pg_catalog.jsonb_object_agg(q.table_name, q.n), '{}'::jsonb)
                        FROM (SELECT table_name, count(*) AS n FROM odoo_mirror_internal.quarantine GROUP BY 1) q),
        'ai_memory', (SELECT pg_catalog.jsonb_build_object('enabled', m.enabled, 'told', m.told, 'failed', m.failed,
                          'last_error', m.last_error, 'failed_at', m.failed_at) FROM odoo_mirror_internal.memory m),
        'metrics_endpoint', l -> 'endpoint',
        'stale', l -> 'stale',
        'stale_tables', (SELECT coalesce(pg_catalog.jsonb_object_agg(t.name, t.reason), '{}'::jsonb)
                         FROM odoo_mirror_internal.tables t WHERE t.state = 'reconciling'),
        'refusals', (SELECT coalesce(pg_catalog.jsonb_agg(r ORDER BY r.at DESC), '[]'::jsonb)
                     FROM (SELECT f.at, f.what, f.began_anew_at, f.equal_at FROM odoo_mirror_internal.refusals f
                           ORDER BY f.id DESC LIMIT 10) r),
        'last_error', l -> 'last_error',
        'worker', l -> 'worker',
        'versions', pg_catalog.jsonb_build_object(
            'extension', (SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'odoo_mirror'),
            'library', l -> 'library_version',
            'server', pg_catalog.current_setting('server_version'),
            'source', l -> 'source_version'))
    FROM odoo_mirror_internal.live() l
$$;
COMMENT ON FUNCTION odoo_mirror.status IS 'one document that tells how the mirror is';

CREATE FUNCTION odoo_mirror.resync(table_name text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job bigint;
BEGIN
    IF table_name IS NOT NULL
       AND NOT EXISTS (SELECT FROM odoo_mirror_internal.tables t WHERE t.name = resync.table_name) THEN
        RAISE EXCEPTION 'table "%" is not mirrored', table_name
            USING ERRCODE = 'undefined_table', HINT = 'SELECT table_name FROM odoo_mirror.tables() lists those that are.';
    END IF;
    -- What kept an index from being built may be gone.
    UPDATE odoo_mirror_internal.indexes i SET problem = NULL
    WHERE i.problem IS NOT NULL AND i.table_name = coalesce(resync.table_name, i.table_name);
    INSERT INTO odoo_mirror_internal.jobs (kind, table_name)
    VALUES ('resync', coalesce(resync.table_name, '*')) RETURNING id INTO job;
    PERFORM odoo_mirror_internal.wake();
    RETURN job;
END
$$;
COMMENT ON FUNCTION odoo_mirror.resync IS
    'compare a table (or all) with the source and mend what differs, online: readers keep their rows, other tables go on; jobs() tells';

CREATE FUNCTION odoo_mirror.verify(table_name text DEFAULT NULL, repair boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job bigint;
BEGIN
    IF table_name IS NOT NULL
       AND NOT EXISTS (SELECT FROM odoo_mirror_internal.tables t WHERE t.name = verify.table_name) THEN
        RAISE EXCEPTION 'table "%" is not mirrored', table_name
            USING ERRCODE = 'undefined_table', HINT = 'SELECT table_name FROM odoo_mirror.tables() lists those that are.';
    END IF;
    INSERT INTO odoo_mirror_internal.jobs (kind, table_name, repair)
    VALUES ('verify', coalesce(verify.table_name, '*'), coalesce(verify.repair, false)) RETURNING id INTO job;
    PERFORM odoo_mirror_internal.wake();
    RETURN job;
END
$$;
COMMENT ON FUNCTION odoo_mirror.verify IS
    'compare a table (or all) with the source while both are in use; jobs() shows which keys and columns differ, and as of which LSN all else is equal';

CREATE FUNCTION odoo_mirror.jobs() RETURNS TABLE (
    id bigint, kind text, table_name text, state text, requested_by name, requested_at timestamptz,
    started_at timestamptz, finished_at timestamptz, result jsonb, error text, waits text
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT j.id, j.kind, j.table_name, j.state, j.requested_by, j.requested_at, j.started_at, j.finished_at,
           j.result, j.error,
           CASE WHEN j.state = 'running' THEN (
               SELECT pg_catalog.string_agg(pg_catalog.concat(w.table_name, ': ', w.waits), E'\n' ORDER BY w.table_name)
               FROM odoo_mirror_internal.waits() w
               WHERE w.job = j.id OR w.job IS NULL AND j.kind = 'resync' AND j.table_name IN ('*', w.table_name)) END
    FROM odoo_mirror_internal.jobs j ORDER BY j.id
$$;
COMMENT ON FUNCTION odoo_mirror.jobs IS 'what was asked of the worker, and what came of it';

CREATE FUNCTION odoo_mirror.ddl_history() RETURNS TABLE (at timestamptz, table_name text, what text, done text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT h.at, h.table_name, h.what, h.done FROM odoo_mirror_internal.ddl_history h ORDER BY h.id
$$;
COMMENT ON FUNCTION odoo_mirror.ddl_history IS
    'what the source did to its tables (columns, keys, rewrites, names), and what was done about it here; the last thousand';

CREATE FUNCTION odoo_mirror.failures() RETURNS TABLE (
    id bigint, table_name text, key jsonb, operation text, error text, sqlstate text, lsn pg_lsn, committed_at timestamptz,
    failed_at timestamptz, first_failed_at timestamptz, attempts int, next_retry_at timestamptz
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT q.id, q.table_name,
           (SELECT pg_catalog.jsonb_object_agg(coalesce(t.shape -> 'key' ->> (place - 1)::int, place::text), k)
            FROM unnest(q.key) WITH ORDINALITY u (k, place)),
           q.operation, q.error, q.sqlstate, q.lsn, q.committed_at, q.failed_at, q.first_failed_at, q.attempts, q.retry_at
    FROM odoo_mirror_internal.quarantine q JOIN odoo_mirror_internal.tables t ON t.name = q.table_name
    ORDER BY q.id
$$;
COMMENT ON FUNCTION odoo_mirror.failures IS
    'rows that the mirror''s tables refuse: here they are as they were before, or missing; all other rows go on';

CREATE FUNCTION odoo_mirror.retry_failures(table_name text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    counted bigint;
BEGIN
    UPDATE odoo_mirror_internal.quarantine q SET retry_at = pg_catalog.clock_timestamp()
    WHERE retry_failures.table_name IS NULL OR q.table_name = retry_failures.table_name;
    GET DIAGNOSTICS counted = ROW_COUNT;
    -- A table that failed for them is compared from end to end.
    PERFORM odoo_mirror.resync(t.name) FROM odoo_mirror_internal.tables t
    WHERE t.failure = 'refused'
      AND (retry_failures.table_name IS NULL OR t.name = retry_failures.table_name);
    PERFORM odoo_mirror_internal.wake();
    RETURN counted;
END
$$;
COMMENT ON FUNCTION odoo_mirror.retry_failures IS
    'have the source''s rows fetched and tried again at once in place of those that were refused; returns how many';

CREATE FUNCTION odoo_mirror.discard_failures(table_name text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    counted bigint;
BEGIN
    DELETE FROM odoo_mirror_internal.quarantine q
    WHERE discard_failures.table_name IS NULL OR q.table_name = discard_failures.table_name;
    GET DIAGNOSTICS counted = ROW_COUNT;
    PERFORM odoo_mirror_internal.wake();
    RETURN counted;
END
$$;
COMMENT ON FUNCTION odoo_mirror.discard_failures IS
    'forget rows that were refused, and leave them as they are here until they change or verify(repair => true) mends them; returns how many';

-- All of it belongs to the role that has nothing to give away: what runs with its owner's rights
-- has no superuser's. What reads mirrored tables, or fires on one, is the mirror's owner's already.

DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        WITH members AS (
            SELECT d.classid, d.objid FROM pg_catalog.pg_depend d
            JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
            WHERE d.deptype = 'e' AND e.extname = 'odoo_mirror'
        )
        SELECT pg_catalog.format('ALTER FUNCTION %s OWNER TO odoo_mirror_worker', f.oid::pg_catalog.regprocedure)
        FROM pg_catalog.pg_proc f JOIN members m ON m.objid = f.oid AND m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
        WHERE f.proowner <> 'odoo_mirror_owner'::pg_catalog.regrole
        UNION ALL
        SELECT pg_catalog.format('ALTER TABLE %s OWNER TO odoo_mirror_worker', c.oid::pg_catalog.regclass)
        FROM pg_catalog.pg_class c JOIN members m ON m.objid = c.oid AND m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        WHERE c.relkind = 'r'
        UNION ALL
        SELECT pg_catalog.format('ALTER DOMAIN %s OWNER TO odoo_mirror_worker', t.oid::pg_catalog.regtype)
        FROM pg_catalog.pg_type t JOIN members m ON m.objid = t.oid AND m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
        WHERE t.typtype = 'd'
        UNION ALL
        SELECT pg_catalog.format('ALTER SCHEMA %I OWNER TO odoo_mirror_worker', n.nspname)
        FROM pg_catalog.pg_namespace n JOIN members m ON m.objid = n.oid AND m.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;

-- Nothing for PUBLIC; the administrator of a Supabase database, who is no superuser there, may run
-- the mirror.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA odoo_mirror FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA odoo_mirror_internal FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA odoo_mirror_internal FROM PUBLIC;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'postgres') THEN
        GRANT USAGE ON SCHEMA odoo_mirror TO postgres;
        GRANT EXECUTE ON FUNCTION
            odoo_mirror.configure(text, text, text, text), odoo_mirror.start(), odoo_mirror.stop(),
            odoo_mirror.uninstall(), odoo_mirror.status(), odoo_mirror.tables(), odoo_mirror.lag(),
            odoo_mirror.metrics(), odoo_mirror.metrics_text(), odoo_mirror.jobs(), odoo_mirror.ddl_history(), odoo_mirror.resync(text), odoo_mirror.verify(text, boolean),
            odoo_mirror.wait_for(pg_lsn, interval), odoo_mirror.enable_ai_memory(boolean), odoo_mirror.disable_ai_memory(),
            odoo_mirror.install_rest_aliases(), odoo_mirror.remove_rest_aliases(), odoo_mirror.get_pending_expenses(int),
            odoo_mirror.failures(), odoo_mirror.retry_failures(text), odoo_mirror.discard_failures(text),
            odoo_mirror.doctor(), odoo_mirror.get_overdue_tasks(int), odoo_mirror.get_revenue_trends(int)
        TO postgres;
    END IF;
END
$$;

-- The reading functions run as the mirror's owner, and ask of the catalog through these.
GRANT EXECUTE ON FUNCTION odoo_mirror_internal.has(text, text, text), odoo_mirror_internal.positive(int, int, text), odoo_mirror_internal.looked_through()
    TO odoo_mirror_owner;
GRANT EXECUTE ON FUNCTION odoo_mirror_internal.applies_inserts(), odoo_mirror_internal.remember(int), odoo_mirror_internal.tell(int[]),
        odoo_mirror_internal.looks_at_row()
    TO odoo_mirror_owner;
DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN SELECT p.statement FROM odoo_mirror_internal.missing_protection() p LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
