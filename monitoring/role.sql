-- The role of an exporter, run once in the mirror's database by a superuser: it reads figures, and
-- no table. It has no password yet: \password odoo_mirror_metrics
CREATE ROLE odoo_mirror_metrics LOGIN CONNECTION LIMIT 5;
GRANT USAGE ON SCHEMA odoo_mirror TO odoo_mirror_metrics;
GRANT EXECUTE ON FUNCTION odoo_mirror.metrics() TO odoo_mirror_metrics;
