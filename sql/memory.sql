-- A memory for AI agents: each new invoice that the stream brings is told in ipai_memory.

CREATE TABLE odoo_mirror_internal.memory (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    enabled    boolean NOT NULL DEFAULT false,
    told       bigint NOT NULL DEFAULT 0,
    failed     bigint NOT NULL DEFAULT 0,
    last_error text,
    failed_at  timestamptz
);
INSERT INTO odoo_mirror_internal.memory DEFAULT VALUES;

-- Only notes which invoices are new, and only in the mirror's worker while it applies the stream's
-- inserts to a ready table: the library knows, no setting does. They are told where their source
-- transaction ends, as they stand there.
CREATE FUNCTION odoo_mirror.on_invoice_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF odoo_mirror_internal.applies_inserts() THEN
        PERFORM odoo_mirror_internal.remember(i.id) FROM inserted i WHERE i.move_type IN ('out_invoice', 'in_invoice');
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION odoo_mirror.on_invoice_insert IS
    'trigger function of invoice_to_memory on account_move: notes new invoices for ipai_memory';
ALTER FUNCTION odoo_mirror.on_invoice_insert() OWNER TO odoo_mirror_owner;

-- Tells these invoices. Called by the worker in the transaction that brings them, as the mirror's
-- owner.
CREATE FUNCTION odoo_mirror_internal.tell(invoices int[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
    session uuid;
    partner CONSTANT text := CASE WHEN odoo_mirror_internal.has('res_partner', 'name', NULL)
        THEN '(SELECT p.name::text FROM odoo_mirror.res_partner p WHERE p.id = m.partner_id)' ELSE 'NULL::text' END;
    written bigint;
BEGIN
    SELECT s.id INTO session FROM ipai_memory.sessions s
    WHERE s.agent_id = 'odoo-sync' AND s.source = 'odoo-mirror-trigger' AND s.topic = 'invoice-sync'
      AND s.started_at > pg_catalog.clock_timestamp() - interval '5 minutes'
    ORDER BY s.started_at DESC LIMIT 1;
    IF session IS NULL THEN
        session := pg_catalog.gen_random_uuid();
        INSERT INTO ipai_memory.sessions (id, agent_id, source, started_at, topic)
        VALUES (session, 'odoo-sync', 'odoo-mirror-trigger', pg_catalog.clock_timestamp(), 'invoice-sync');
    END IF;
    EXECUTE pg_catalog.format(
        'INSERT INTO ipai_memory.chunks (id, session_id, topic, content, importance, created_at, metadata) '
        'SELECT pg_catalog.gen_random_uuid(), $1, ''invoice-created'', '
        '       pg_catalog.format(CASE m.move_type WHEN ''out_invoice'' THEN ''New customer invoice: %%s for %%s (Amount: %%s)'' '
        '                         ELSE ''New vendor bill: %%s for %%s (Amount: %%s)'' END, '
        '                         coalesce(m.name, ''/''), coalesce(%1$s, ''unknown partner''), coalesce(m.amount_total, 0)), '
        '       4, pg_catalog.clock_timestamp(), '
        '       pg_catalog.jsonb_build_object(''invoice_id'', m.id, ''move_type'', m.move_type, ''partner_id'', m.partner_id) '
        'FROM odoo_mirror.account_move m WHERE m.id = ANY ($2) ORDER BY m.id', partner)
        USING session, invoices;
    GET DIAGNOSTICS written = ROW_COUNT;
    RETURN written;
END
$$;

-- Whether the trigger is to hang on account_move and doesn't: it is wanted, and the table is there.
CREATE FUNCTION odoo_mirror_internal.memory_is_missing() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (SELECT enabled FROM odoo_mirror_internal.memory)
       AND EXISTS (SELECT FROM odoo_mirror_internal.tables t WHERE t.name = 'account_move' AND t.state IN ('ready', 'reconciling'))
       AND odoo_mirror_internal.has('account_move', 'move_type', NULL) AND odoo_mirror_internal.has('account_move', 'id', NULL)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE g.tgname = 'invoice_to_memory'
                       AND g.tgrelid = pg_catalog.to_regclass('odoo_mirror.account_move'))
$$;

-- Looked up in the catalog: the schema is not ours to use.
CREATE FUNCTION odoo_mirror_internal.memory_has(relation text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                   WHERE n.nspname = 'ipai_memory' AND c.relname = relation)
$$;

-- What the caller of enable_ai_memory() does with his own rights: the schema is his, or he makes
-- it.
CREATE FUNCTION odoo_mirror_internal.memory_statements(create_schema boolean) RETURNS TABLE (statement text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    relation text;
BEGIN
    IF NOT odoo_mirror_internal.memory_has('sessions') OR NOT odoo_mirror_internal.memory_has('chunks') THEN
        IF NOT create_schema THEN
            RAISE EXCEPTION 'there is no ipai_memory.sessions or no ipai_memory.chunks here'
                USING ERRCODE = 'undefined_table', HINT = 'SELECT odoo_mirror.enable_ai_memory(create_schema => true) makes both.';
        END IF;
        RETURN QUERY VALUES
            ('CREATE SCHEMA IF NOT EXISTS ipai_memory'),
            ('CREATE TABLE IF NOT EXISTS ipai_memory.sessions (
                id uuid PRIMARY KEY DEFAULT gen_random_uuid(), agent_id text NOT NULL, source text,
                started_at timestamptz NOT NULL DEFAULT now(), finished_at timestamptz, topic text, raw_tokens_est int,
                notes text, metadata jsonb NOT NULL DEFAULT ''{}'')'),
            ('CREATE TABLE IF NOT EXISTS ipai_memory.chunks (
                id uuid PRIMARY KEY DEFAULT gen_random_uuid(), session_id uuid REFERENCES ipai_memory.sessions ON DELETE CASCADE,
                topic text, content text NOT NULL, importance smallint NOT NULL DEFAULT 3,
                created_at timestamptz NOT NULL DEFAULT now(), metadata jsonb NOT NULL DEFAULT ''{}'')'),
            ('CREATE INDEX IF NOT EXISTS chunks_topic_created_at ON ipai_memory.chunks (topic, created_at)'),
            ('ALTER TABLE ipai_memory.sessions ENABLE ROW LEVEL SECURITY'),
            ('ALTER TABLE ipai_memory.chunks ENABLE ROW LEVEL SECURITY');
    END IF;
    RETURN QUERY VALUES
        ('GRANT USAGE ON SCHEMA ipai_memory TO odoo_mirror_owner'),
        ('GRANT SELECT, INSERT ON ipai_memory.sessions, ipai_memory.chunks TO odoo_mirror_owner');
    FOREACH relation IN ARRAY ARRAY['sessions', 'chunks'] LOOP
        RETURN QUERY VALUES
            (pg_catalog.format('DROP POLICY IF EXISTS odoo_mirror_tells ON ipai_memory.%I', relation)),
            (pg_catalog.format('CREATE POLICY odoo_mirror_tells ON ipai_memory.%I TO odoo_mirror_owner USING (true) WITH CHECK (true)', relation));
    END LOOP;
END
$$;

-- And the caller of disable_ai_memory().
CREATE FUNCTION odoo_mirror_internal.forgetting_statements() RETURNS TABLE (statement text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.statement
    FROM unnest(ARRAY['sessions', 'chunks']) r (relation), LATERAL (VALUES
        (pg_catalog.format('DROP POLICY IF EXISTS odoo_mirror_tells ON ipai_memory.%I', r.relation)),
        (pg_catalog.format('REVOKE ALL ON ipai_memory.%I FROM odoo_mirror_owner', r.relation))) s (statement)
    WHERE odoo_mirror_internal.memory_has(r.relation)
$$;

-- These two have the rights of who calls them, but for the mirror's own state.
CREATE FUNCTION odoo_mirror.enable_ai_memory(create_schema boolean DEFAULT false) RETURNS text
LANGUAGE c STRICT SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'enable_ai_memory_wrapper';
COMMENT ON FUNCTION odoo_mirror.enable_ai_memory IS
    'tell each new invoice in ipai_memory.chunks from now on; create_schema makes its two tables where they are absent';

CREATE FUNCTION odoo_mirror.disable_ai_memory() RETURNS text
LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'disable_ai_memory_wrapper';
COMMENT ON FUNCTION odoo_mirror.disable_ai_memory IS 'stop telling invoices in ipai_memory; what was told stays';
