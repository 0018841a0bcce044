-- Where Odoo is, and who said so.

-- Which cluster and database this is: start() remembers it.
CREATE FUNCTION odoo_mirror_internal.this_destination() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_catalog.jsonb_build_object(
        'system_identifier', (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
        -- The one that is written: a checkpoint's is an old one for a while after a promotion.
        'timeline', CASE WHEN pg_catalog.pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())
            ELSE ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8))::bit(32)::int END,
        'database', (SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),
        'data_directory', odoo_mirror_internal.server_setting('data_directory'))
$$;

-- Keeps what configure() was given, and whose rights counted there.
CREATE FUNCTION odoo_mirror_internal.keep_source(
    source text, password_secret text, publication text, slot text, caller name, by_superuser boolean
) RETURNS jsonb LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    checked jsonb := odoo_mirror_internal.check_source(source, by_superuser);
BEGIN
    IF source IS NULL THEN
        RAISE EXCEPTION 'source must not be null'
            USING ERRCODE = 'null_value_not_allowed',
                  HINT = 'Give libpq keywords or a URI: ''host=… dbname=… user=…''.';
    END IF;
    IF slot IS NULL OR slot !~ '^[a-z0-9_]{1,63}$' THEN
        RAISE EXCEPTION 'slot must be 1 to 63 lower-case letters, digits and underscores'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF publication IS NULL OR publication = '' OR length(publication) > 63 THEN
        RAISE EXCEPTION 'publication must be a name of 1 to 63 characters' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO odoo_mirror_internal.settings AS now
        (source, password_secret, publication, slot, configured_by, by_superuser)
    VALUES (checked ->> 'source', keep_source.password_secret, keep_source.publication, keep_source.slot, caller,
            keep_source.by_superuser)
    ON CONFLICT (only_row) DO UPDATE SET
        source = excluded.source, password_secret = excluded.password_secret, publication = excluded.publication,
        slot = excluded.slot, configured_by = excluded.configured_by, by_superuser = excluded.by_superuser,
        configured_at = pg_catalog.now();
    PERFORM odoo_mirror_internal.wake(ends_life => true);
    RETURN checked || pg_catalog.jsonb_build_object('publication', publication, 'slot', slot, 'next',
        'SELECT odoo_mirror.start()');
END
$$;

-- It has the rights of who calls it, so that it sees whose they are.
CREATE FUNCTION odoo_mirror.configure(
    source          text,
    password_secret text DEFAULT NULL,
    publication     text DEFAULT 'odoo_pub_scout',
    slot            text DEFAULT 'odoo_mirror'
) RETURNS jsonb LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'configure_wrapper';
COMMENT ON FUNCTION odoo_mirror.configure IS
    'keep where Odoo is: libpq keywords or a URI, without a password; password_secret names a secret in Vault';
