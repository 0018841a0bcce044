-- psql -X -d DATABASE -f scripts/verify-replication.sql: a line for each thing that must hold, pass
-- or FAIL. Ends with an error (exit status 3) if one fails. Writes nothing but a temporary table.
\set ON_ERROR_STOP on
\set QUIET on
\pset footer off
CREATE TEMP TABLE verified (place serial, what text, ok boolean, detail text);
-- The six tables; Odoo 19 has no expense sheets.
INSERT INTO verified (what, ok, detail)
SELECT 'table ' || t.name, s.state = 'ready' OR (t.name = 'hr_expense_sheet' AND s.state IS NULL),
       coalesce(s.state || coalesce(': ' || s.reason, ''), 'not mirrored') || coalesce(', about ' || s.rows || ' rows', '')
FROM unnest(ARRAY['account_move', 'account_move_line', 'res_partner', 'project_task', 'hr_expense', 'hr_expense_sheet']) WITH ORDINALITY t (name, place)
LEFT JOIN odoo_mirror.tables() s ON s.table_name = t.name ORDER BY t.place;
INSERT INTO verified (what, ok, detail)
SELECT 'view ' || v, to_regclass('odoo_mirror.' || v) IS NOT NULL,
       CASE WHEN to_regclass('odoo_mirror.' || v) IS NULL THEN 'is not there' ELSE
           (xpath('/row/count/text()', query_to_xml(format('SELECT count(*) FROM odoo_mirror.%I', v), false, true, '')))[1]::text || ' rows' END
FROM unnest(ARRAY['v_invoice_summary', 'v_expense_summary', 'v_task_summary', 'v_revenue_by_partner', 'v_expense_by_employee']) v;
INSERT INTO verified (what, ok, detail) SELECT 'get_pending_expenses', true, count(*) || ' of at most 5' FROM odoo_mirror.get_pending_expenses(5);
INSERT INTO verified (what, ok, detail) SELECT 'get_overdue_tasks', true, count(*) || ' of at most 5' FROM odoo_mirror.get_overdue_tasks(5);
INSERT INTO verified (what, ok, detail) SELECT 'get_revenue_trends', true, count(*) || ' of at most 3' FROM odoo_mirror.get_revenue_trends(3);
INSERT INTO verified (what, ok, detail)
SELECT 'state', s ->> 'state' IN ('streaming', 'degraded'), concat_ws(': ', s ->> 'state', nullif(s ->> 'message', '')) FROM odoo_mirror.status() s;
INSERT INTO verified (what, ok, detail)
SELECT 'refused rows', count(*) = 0, coalesce(string_agg(DISTINCT table_name || ': ' || error, '; '), 'none') FROM odoo_mirror.failures();
INSERT INTO verified (what, ok, detail) SELECT 'lag', coalesce(seconds <= 60, false), coalesce(seconds || ' s, ' || bytes || ' bytes', 'not known') FROM odoo_mirror.lag();
INSERT INTO verified (what, ok, detail)
SELECT 'conservation', coalesce(sum(CASE WHEN labels ->> 'term' IN ('received', 'split') THEN value ELSE -value END), 0) = 0, 'of ' || coalesce(sum(value) FILTER (WHERE labels ->> 'term' = 'received'), 0) || ' changes received'
FROM odoo_mirror.metrics() WHERE name = 'etl_changes_total';
INSERT INTO verified (what, ok, detail) SELECT 'doctor: ' || "check", ok, detail || coalesce(' → ' || hint, '') FROM odoo_mirror.doctor() WHERE NOT ok;
SELECT CASE WHEN ok THEN 'pass' ELSE 'FAIL' END AS result, what, detail FROM verified ORDER BY place;
DO $$
BEGIN
    IF EXISTS (SELECT FROM verified WHERE NOT ok) THEN
        RAISE EXCEPTION 'verify-replication: FAILED: %', (SELECT string_agg(what, ', ' ORDER BY place) FROM verified WHERE NOT ok);
    END IF;
    RAISE NOTICE 'verify-replication: all passed';
END $$;
