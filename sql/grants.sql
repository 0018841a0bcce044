-- Nothing for PUBLIC; the administrator of a Supabase database, who is no superuser there, may run the mirror.

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
            odoo_mirror.metrics(), odoo_mirror.jobs(), odoo_mirror.resync(text),
            odoo_mirror.wait_for(pg_lsn, interval)
        TO postgres;
    END IF;
END
$$;
