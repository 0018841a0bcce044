-- The kind of psql script that users of the old stack keep: it must run without an error, and show
-- what it expects.
\set ON_ERROR_STOP on
\echo '== rows of the six tables'
SELECT 'account_move' AS table_name, count(*) FROM odoo_mirror.account_move
UNION ALL SELECT 'account_move_line', count(*) FROM odoo_mirror.account_move_line
UNION ALL SELECT 'res_partner', count(*) FROM odoo_mirror.res_partner
UNION ALL SELECT 'project_task', count(*) FROM odoo_mirror.project_task
UNION ALL SELECT 'hr_expense', count(*) FROM odoo_mirror.hr_expense
UNION ALL SELECT 'hr_expense_sheet', count(*) FROM odoo_mirror.hr_expense_sheet;
\echo '== rows of the five views'
SELECT 'v_invoice_summary' AS view_name, count(*) FROM odoo_mirror.v_invoice_summary
UNION ALL SELECT 'v_expense_summary', count(*) FROM odoo_mirror.v_expense_summary
UNION ALL SELECT 'v_task_summary', count(*) FROM odoo_mirror.v_task_summary
UNION ALL SELECT 'v_revenue_by_partner', count(*) FROM odoo_mirror.v_revenue_by_partner
UNION ALL SELECT 'v_expense_by_employee', count(*) FROM odoo_mirror.v_expense_by_employee;
\echo '== the three functions'
SELECT * FROM odoo_mirror.get_pending_expenses(5);
SELECT * FROM odoo_mirror.get_overdue_tasks(5);
SELECT * FROM odoo_mirror.get_revenue_trends(3);
\echo '== the AI memory'
SELECT count(*), max(created_at) FROM ipai_memory.chunks WHERE topic = 'invoice-created';
\echo '== catalog'
SELECT table_name FROM information_schema.tables WHERE table_schema = 'odoo_mirror' AND table_type = 'BASE TABLE' ORDER BY 1;
SELECT table_name FROM information_schema.views WHERE table_schema = 'odoo_mirror' ORDER BY 1;
SELECT routine_name FROM information_schema.routines WHERE routine_schema = 'odoo_mirror' ORDER BY 1;
SELECT tablename, indexname FROM pg_indexes WHERE schemaname = 'odoo_mirror' ORDER BY 1, 2;
SELECT grantee, table_name, privilege_type FROM information_schema.table_privileges WHERE table_schema = 'odoo_mirror' ORDER BY 1, 2, 3;
