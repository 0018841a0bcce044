-- What comes before all else: the two roles that everything runs as, and the schema.

-- While the extension is made, names are looked for in its schema first: which may be somebody's.
SET LOCAL search_path = pg_catalog, pg_temp;

-- Neither role has anything to give away: no login, no attribute, no membership, no member. One
-- that somebody made beforehand is made so. What it owns, a function say, would run with the
-- mirror's rights: then it is refused.
DO $$
DECLARE
    wanted record;
    found record;
    things text;
BEGIN
    FOR wanted IN SELECT * FROM (VALUES
        ('odoo_mirror_worker', 'odoo_mirror''s worker and its functions run as it; no login, no superuser, a member of nothing'),
        ('odoo_mirror_owner', 'owns the tables that odoo_mirror mirrors; no login, no superuser; outlives the extension with them')
    ) w (role, says) LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = wanted.role) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN NOINHERIT', wanted.role);
            EXECUTE pg_catalog.format('COMMENT ON ROLE %I IS %L', wanted.role, wanted.says);
        END IF;
        SELECT pg_catalog.string_agg(pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid), ', ') INTO things
        FROM pg_catalog.pg_shdepend d
        WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND d.deptype = 'o'
          AND d.refobjid = wanted.role::pg_catalog.regrole
          AND d.dbid = (SELECT b.oid FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database())
          AND d.classid <> 'pg_catalog.pg_default_acl'::pg_catalog.regclass
          AND NOT (d.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
                   AND d.objid = 'odoo_mirror'::pg_catalog.regnamespace)
          AND NOT (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND EXISTS (
              SELECT FROM pg_catalog.pg_class c
              WHERE c.oid = d.objid AND c.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace));
        IF things IS NOT NULL THEN
            RAISE EXCEPTION 'role "%" was there before, and owns what is not the mirror''s', wanted.role
                USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = things || '.',
                      HINT = pg_catalog.format('Give that to another role: REASSIGN OWNED BY %I TO …;', wanted.role);
        END IF;
        IF EXISTS (
            SELECT FROM pg_catalog.pg_authid r WHERE r.rolname = wanted.role
              AND (r.rolcanlogin OR r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls
                   OR r.rolinherit OR r.rolpassword IS NOT NULL)) THEN
            EXECUTE pg_catalog.format(
                'ALTER ROLE %I NOLOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS NOINHERIT PASSWORD NULL',
                wanted.role);
        END IF;
        FOR found IN
            SELECT m.roleid::pg_catalog.regrole AS role, m.member::pg_catalog.regrole AS member,
                   m.grantor::pg_catalog.regrole AS grantor
            FROM pg_catalog.pg_auth_members m
            WHERE wanted.role::pg_catalog.regrole IN (m.roleid, m.member)
        LOOP
            EXECUTE pg_catalog.format('REVOKE %s FROM %s', found.role, found.member)
                || CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000
                        THEN pg_catalog.format(' GRANTED BY %s CASCADE', found.grantor) ELSE ' CASCADE' END;
        END LOOP;
        -- What it makes would be everybody's. Readers get theirs back below.
        FOR found IN
            SELECT d.defaclnamespace AS schema, d.defaclobjtype AS kind, a.grantee
            FROM pg_catalog.pg_default_acl d CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) a
            WHERE d.defaclrole = wanted.role::pg_catalog.regrole AND a.grantee <> d.defaclrole
        LOOP
            EXECUTE pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %I %s REVOKE ALL ON %s FROM %s', wanted.role,
                CASE WHEN found.schema <> 0 THEN 'IN SCHEMA ' || found.schema::pg_catalog.regnamespace END,
                CASE found.kind WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES'
                                WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END,
                CASE found.grantee WHEN 0 THEN 'PUBLIC' ELSE found.grantee::pg_catalog.regrole::text END);
        END LOOP;
    END LOOP;
END
$$;

-- The schema may have been there before: after DROP EXTENSION it is, with the mirrored tables in
-- it; and somebody may have made it. Who owns a schema may rename it, and put functions in the
-- place of ours: so it is taken over, and nobody but the mirror's owner may make anything in it.
-- What somebody has put into it is not ours to judge.
DO $$
DECLARE
    things text;
    maker text;
BEGIN
    -- A dump names the owner before it makes the extension, and with it the mirror's roles: so it
    -- is whoever installs. First of all, so that nothing is put into it from here on.
    ALTER SCHEMA odoo_mirror OWNER TO CURRENT_USER;
    FOR maker IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::pg_catalog.regrole::text END
        FROM pg_catalog.pg_namespace n CROSS JOIN LATERAL pg_catalog.aclexplode(n.nspacl) a
        WHERE n.nspname = 'odoo_mirror' AND (a.privilege_type = 'CREATE' OR a.is_grantable) AND a.grantee <> n.nspowner
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON SCHEMA odoo_mirror FROM %s CASCADE', maker);
    END LOOP;
    SELECT pg_catalog.string_agg(pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid), ', ') INTO things
    FROM pg_catalog.pg_depend d
    WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
      AND d.refobjid = 'odoo_mirror'::pg_catalog.regnamespace
      AND d.classid NOT IN ('pg_catalog.pg_default_acl'::pg_catalog.regclass,
                            'pg_catalog.pg_publication_namespace'::pg_catalog.regclass)
      AND NOT (d.classid = 'pg_catalog.pg_extension'::pg_catalog.regclass
               AND d.objid = (SELECT e.oid FROM pg_catalog.pg_extension e WHERE e.extname = 'odoo_mirror'))
      AND NOT (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND EXISTS (
          SELECT FROM pg_catalog.pg_class c
          WHERE c.oid = d.objid AND c.relowner = 'odoo_mirror_owner'::pg_catalog.regrole));
    IF things IS NOT NULL THEN
        RAISE EXCEPTION 'schema "odoo_mirror" is not empty'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = pg_catalog.format('It holds %s.', things),
                  HINT = 'The schema is for the mirror alone. Move that to another schema, or drop it.';
    END IF;
END
$$;

GRANT CREATE ON SCHEMA odoo_mirror TO odoo_mirror_owner;
-- It lets readers in: a GRANT fires event triggers, which may be anybody's.
GRANT USAGE ON SCHEMA odoo_mirror TO odoo_mirror_owner WITH GRANT OPTION;
GRANT USAGE ON SCHEMA odoo_mirror TO odoo_mirror_worker;
COMMENT ON SCHEMA odoo_mirror IS 'Odoo''s tables, kept equal to their source, views and functions over them, and what looks after the mirror';
