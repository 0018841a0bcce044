-- Every metric, once: as rows, and as the text that Prometheus reads.

CREATE FUNCTION odoo_mirror.metrics() RETURNS TABLE (
    name text, type text, help text, labels jsonb, value double precision
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH live AS (SELECT l FROM odoo_mirror_internal.live() l),
    per_table AS (
        SELECT t.name, coalesce(v.inserts, t.inserts) AS inserts, coalesce(v.updates, t.updates) AS updates,
               coalesce(v.deletes, t.deletes) AS deletes, coalesce(v.truncates, t.truncates) AS truncates,
               coalesce(v.inserted_bytes, t.inserted_bytes) AS inserted_bytes, coalesce(v.updated_bytes, t.updated_bytes) AS updated_bytes,
               coalesce(v.deleted_bytes, t.deleted_bytes) AS deleted_bytes,
               coalesce(v.split, t.split) AS split, coalesce(v.applied, t.applied) AS applied,
               coalesce(v.folded, t.folded) AS folded, coalesce(v.skipped, t.skipped) AS skipped,
               coalesce(v.filtered, t.filtered) AS filtered, coalesce(v.missing, t.missing) AS missing,
               coalesce(v.quarantined, t.quarantined) AS quarantined, coalesce(v.unbalanced, t.unbalanced) AS unbalanced,
               (SELECT count(*) FROM odoo_mirror_internal.quarantine q WHERE q.table_name = t.name) AS set_aside,
               t.failed_rows, t.state, t.verified_at
        FROM odoo_mirror_internal.tables t
        LEFT JOIN odoo_mirror_internal.live_tables() v ON v.table_name = t.name
    ),
    state_names AS (
        SELECT unnest(ARRAY['streaming', 'degraded', 'copying', 'preparing', 'connecting', 'retrying', 'failed', 'stopped', 'unconfigured',
                            'standby', 'waiting for start()', 'no extension', 'restart needed', 'no worker', 'not preloaded', 'other database']) AS state
    )
    SELECT 'etl_up', 'gauge', '1 while the mirror streams', '{}'::jsonb,
           CASE WHEN l ->> 'state' IN ('streaming', 'degraded') THEN 1 ELSE 0 END FROM live
    UNION ALL
    SELECT 'etl_state', 'gauge', '1 for the state that the mirror is in', pg_catalog.jsonb_build_object('state', s.state),
           CASE WHEN odoo_mirror_internal.state(l) = s.state THEN 1 ELSE 0 END FROM live CROSS JOIN state_names s
    UNION ALL
    SELECT g.name, 'gauge', g.help, '{}', g.value
    FROM live CROSS JOIN LATERAL (VALUES
        ('etl_lag_seconds', 'Age of the oldest source commit that is not shown yet; 0 when caught up', (l ->> 'lag_seconds')::float8),
        ('etl_lag_bytes', 'Bytes of WAL that the mirror is behind', (l ->> 'lag_bytes')::float8),
        ('etl_last_success_timestamp_seconds', 'When a batch was last committed', extract(epoch FROM (l ->> 'last_success')::timestamptz)::float8),
        ('etl_source_lsn', 'Where the source''s WAL ends, in bytes', ((l ->> 'source_lsn')::pg_lsn - '0/0'::pg_lsn)::float8),
        ('etl_received_lsn', 'How far the stream was received, in bytes', ((l ->> 'received_lsn')::pg_lsn - '0/0'::pg_lsn)::float8),
        ('etl_applied_lsn', 'How far the mirror shows the source, in bytes', ((l ->> 'applied_lsn')::pg_lsn - '0/0'::pg_lsn)::float8),
        ('etl_source_look_failing', '1 while the source can''t be looked at: what it does to its tables goes unnoticed',
            CASE WHEN l -> 'looks' IS NOT NULL THEN CASE WHEN l -> 'looks' ->> 'failing_since' IS NULL THEN 0 ELSE 1 END END::float8),
        ('etl_source_holds_up', '1 while the source is known to hold its stream up: status() says what it waits for',
            CASE WHEN l -> 'looks' IS NOT NULL THEN CASE WHEN l -> 'looks' ->> 'held_up' IS NULL THEN 0 ELSE 1 END END::float8),
        ('etl_source_look_timestamp_seconds', 'When the source was last looked at', extract(epoch FROM (l -> 'looks' ->> 'succeeded_at')::timestamptz)::float8),
        ('etl_slot_retained_bytes', 'WAL that the slot keeps on the source', (l ->> 'slot_retained_bytes')::float8),
        ('etl_slot_safe_wal_bytes', 'WAL that may still be written before the slot is lost; absent without a limit', (l ->> 'slot_safe_wal_bytes')::float8)
        ) g (name, help, value) WHERE g.value IS NOT NULL
    UNION ALL
    SELECT 'etl_slot_wal_status', 'gauge', '1 for the status of the slot''s WAL on the source', pg_catalog.jsonb_build_object('status', s),
           CASE WHEN l ->> 'slot_wal_status' = s THEN 1 ELSE 0 END
    FROM live CROSS JOIN unnest(ARRAY['reserved', 'extended', 'unreserved', 'lost']) s WHERE l ->> 'slot_wal_status' IS NOT NULL
    UNION ALL
    SELECT 'etl_records_processed_total', 'counter', 'Row changes received from the source and dealt with',
           pg_catalog.jsonb_build_object('table', p.name, 'operation', o.operation), o.n
    FROM per_table p CROSS JOIN LATERAL (VALUES ('insert', p.inserts), ('update', p.updates),
        ('delete', p.deletes), ('truncate', p.truncates)) o (operation, n)
    UNION ALL
    SELECT 'etl_bytes_processed_total', 'counter', 'Bytes of the row changes received from the source and dealt with',
           pg_catalog.jsonb_build_object('table', p.name, 'operation', o.operation), o.n
    FROM per_table p CROSS JOIN LATERAL (VALUES ('insert', p.inserted_bytes), ('update', p.updated_bytes), ('delete', p.deleted_bytes)) o (operation, n)
    UNION ALL
    SELECT 'etl_records_failed_total', 'counter', 'Rows that the destination refused',
           pg_catalog.jsonb_build_object('table', p.name), p.failed_rows FROM per_table p
    UNION ALL
    SELECT 'etl_quarantined_rows', 'gauge', 'Rows that are set aside: failures() names them',
           pg_catalog.jsonb_build_object('table', p.name), p.set_aside FROM per_table p
    UNION ALL
    SELECT 'etl_conservation_violations_total', 'counter', 'Batches in which changes were unaccounted for: a mistake of the mirror''s own',
           pg_catalog.jsonb_build_object('table', p.name), p.unbalanced FROM per_table p
    UNION ALL
    SELECT 'etl_changes_total', 'counter', 'Where received changes went: received + split = the sum of the others',
           pg_catalog.jsonb_build_object('table', p.name, 'term', o.term), o.n
    FROM per_table p CROSS JOIN LATERAL (VALUES ('received', p.inserts + p.updates + p.deletes + p.truncates),
        ('split', p.split), ('applied', p.applied), ('folded', p.folded), ('skipped', p.skipped),
        ('filtered', p.filtered), ('missing', p.missing), ('quarantined', p.quarantined)) o (term, n)
    UNION ALL
    SELECT 'etl_table_ready', 'gauge', '1 when the table shows the source as of the applied commit',
           pg_catalog.jsonb_build_object('table', p.name), CASE p.state WHEN 'ready' THEN 1 ELSE 0 END FROM per_table p
    UNION ALL
    SELECT 'etl_table_failed', 'gauge', '1 when the table can''t be mirrored as it is',
           pg_catalog.jsonb_build_object('table', p.name), CASE p.state WHEN 'failed' THEN 1 ELSE 0 END FROM per_table p
    UNION ALL
    SELECT 'etl_table_verified_age_seconds', 'gauge', 'Since every row was last proven equal',
           pg_catalog.jsonb_build_object('table', p.name), extract(epoch FROM pg_catalog.clock_timestamp() - p.verified_at)::float8
    FROM per_table p WHERE p.verified_at IS NOT NULL
    UNION ALL
    SELECT 'etl_copied_rows', 'gauge', 'Rows of the first copy that are in', pg_catalog.jsonb_build_object('table', c.table_name), c.copied_rows::float8
    FROM odoo_mirror.tables() c
    UNION ALL
    SELECT 'etl_copied_bytes', 'gauge', 'Bytes of the first copy that are in', pg_catalog.jsonb_build_object('table', c.table_name), c.copied_bytes::float8
    FROM odoo_mirror.tables() c
    UNION ALL
    SELECT 'etl_copied_ratio', 'gauge', 'How much of the first copy is in, from 0 to 1', pg_catalog.jsonb_build_object('table', c.table_name), (c.copied_percent / 100)::float8
    FROM odoo_mirror.tables() c WHERE c.copied_percent IS NOT NULL
    UNION ALL
    SELECT 'etl_' || k.name || '_total', 'counter', k.help, '{}', coalesce((l ->> k.name)::float8, 0)
    FROM live CROSS JOIN (VALUES ('transactions', 'Source transactions applied'),
        ('batches', 'Local commits that brought changes'), ('received_bytes', 'Bytes of changes received')) k (name, help)
    UNION ALL
    SELECT 'etl_source_looks_failed_total', 'counter', 'Looks at the source that failed', '{}', coalesce((l -> 'looks' ->> 'failed')::float8, 0) FROM live
    UNION ALL
    SELECT 'etl_reconnects_total', 'counter', 'Times the connection to the source was made, by what had ended the one before; start: nothing, it was a start',
           pg_catalog.jsonb_build_object('cause', c.cause),
           CASE c.cause WHEN 'start' THEN greatest(coalesce((l ->> 'reconnects')::float8, 0) - counted.failures, 0) ELSE coalesce((l -> 'causes' ->> c.place)::float8, 0) END
    FROM live CROSS JOIN (VALUES (-100, 'start'), (0, 'transient'), (1, 'configuration'), (2, 'gate'), (3, 'stream')) c (place, cause)
    CROSS JOIN LATERAL (SELECT coalesce(sum(n::float8), 0) AS failures FROM pg_catalog.jsonb_array_elements_text(
        CASE pg_catalog.jsonb_typeof(l -> 'causes') WHEN 'array' THEN l -> 'causes' ELSE '[]' END) n) counted
    UNION ALL
    SELECT 'etl_memory_' || m.name || '_total', 'counter', m.help, '{}', m.value
    FROM (SELECT v.* FROM odoo_mirror_internal.memory s CROSS JOIN LATERAL (VALUES ('told', 'Invoices told in the AI memory', s.told::float8),
        ('failed', 'Invoices that could not be told', s.failed::float8)) v (name, help, value)) m
    UNION ALL
    SELECT 'etl_batch_duration_seconds_bucket', 'histogram', 'From a local transaction''s start to its commit',
           pg_catalog.jsonb_build_object('le', coalesce(b.bound, '+Inf')),
           (SELECT coalesce(sum(d.n::float8), 0) FROM pg_catalog.jsonb_array_elements_text(l -> 'durations') WITH ORDINALITY d (n, place) WHERE d.place <= b.place)
    FROM live CROSS JOIN LATERAL (
        SELECT x.bound, x.place FROM pg_catalog.jsonb_array_elements_text(l -> 'duration_bounds') WITH ORDINALITY x (bound, place)
        UNION ALL SELECT NULL, pg_catalog.jsonb_array_length(l -> 'duration_bounds') + 1) b
    UNION ALL
    SELECT 'etl_batch_duration_seconds_sum', 'histogram', 'From a local transaction''s start to its commit', '{}', (l ->> 'seconds')::float8
    FROM live WHERE l -> 'durations' IS NOT NULL
    UNION ALL
    SELECT 'etl_batch_duration_seconds_count', 'histogram', 'From a local transaction''s start to its commit', '{}',
           (SELECT coalesce(sum(d.n::float8), 0) FROM pg_catalog.jsonb_array_elements_text(l -> 'durations') d (n))
    FROM live WHERE l -> 'durations' IS NOT NULL
$$;
COMMENT ON FUNCTION odoo_mirror.metrics IS 'every metric as a row; counters survive a restart';

-- PostgREST serves a function that returns a domain of a media type's name as that type.
CREATE DOMAIN odoo_mirror."text/plain" AS text;
COMMENT ON DOMAIN odoo_mirror."text/plain" IS 'a media type: PostgREST serves functions that return it as text/plain';

CREATE FUNCTION odoo_mirror.metrics_text() RETURNS odoo_mirror."text/plain"
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $$
    WITH samples AS (
        SELECT CASE m.type WHEN 'histogram' THEN pg_catalog.regexp_replace(m.name, '_(bucket|sum|count)$', '') ELSE m.name END AS family,
               m.*, pg_catalog.row_number() OVER () AS place
        FROM odoo_mirror.metrics() m
    ), lines AS (
        SELECT s.family, s.type, s.help, s.place,
               s.name || CASE WHEN s.labels = '{}' THEN '' ELSE (
                   SELECT '{' || pg_catalog.string_agg(pg_catalog.format('%s="%s"', e.key,
                       pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(e.value, '\', '\\'), '"', '\"'), E'\n', '\n')), ',' ORDER BY e.key) || '}'
                   FROM pg_catalog.jsonb_each_text(s.labels) e) END || ' ' || s.value::text AS line
        FROM samples s
    ), families AS (
        SELECT l.family, min(l.place) AS place, pg_catalog.concat(
            '# HELP ', l.family, ' ', pg_catalog.replace(min(l.help), '\', '\\'), E'\n# TYPE ', l.family, ' ', min(l.type), E'\n',
            pg_catalog.string_agg(l.line, E'\n' ORDER BY l.place), E'\n') AS text
        FROM lines l GROUP BY l.family
    )
    SELECT coalesce(pg_catalog.string_agg(f.text, '' ORDER BY f.place), '')::odoo_mirror."text/plain" FROM families f
$$;
COMMENT ON FUNCTION odoo_mirror.metrics_text IS 'every metric in Prometheus''s text format';
