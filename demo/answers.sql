-- What a business would ask, answered by the mirror alone. Sums are in the company's currency (the *_signed columns).
\pset footer off
\pset border 1
\pset null ''
SELECT to_regclass('odoo_mirror.v_revenue_by_partner') IS NOT NULL AS has_views \gset

\echo 'The best customers, by posted revenue:'
\if :has_views
SELECT partner_name AS customer, invoice_count AS invoices, to_char(net_revenue, 'FM999,999,990.00') AS revenue, last_invoice_date AS latest
FROM odoo_mirror.v_revenue_by_partner LIMIT 5;
\else
SELECT p.complete_name AS customer, count(*) FILTER (WHERE m.move_type = 'out_invoice') AS invoices,
    to_char(sum(m.amount_untaxed_signed), 'FM999,999,990.00') AS revenue, max(m.invoice_date) AS latest
FROM odoo_mirror.account_move m JOIN odoo_mirror.res_partner p ON p.id = m.partner_id
WHERE m.move_type IN ('out_invoice', 'out_refund') AND m.state = 'posted'
GROUP BY p.id, p.complete_name ORDER BY sum(m.amount_untaxed_signed) DESC LIMIT 5;
\endif

\echo 'What customers still owe, by the month it fell due:'
SELECT to_char(date_trunc('month', invoice_date_due), 'YYYY-MM') AS due, count(*) AS invoices,
    to_char(sum(amount_residual_signed), 'FM999,999,990.00') AS receivable
FROM odoo_mirror.account_move
WHERE move_type IN ('out_invoice', 'out_refund') AND state = 'posted' AND payment_state IN ('not_paid', 'partial')
    AND invoice_date_due <= current_date
GROUP BY 1 ORDER BY 1 DESC LIMIT 6;

\echo 'The tasks that are overdue the longest:'
SELECT t.name AS task, p.name ->> 'en_US' AS project, t.date_deadline::date AS deadline, current_date - t.date_deadline::date AS days
FROM odoo_mirror.project_task t
    LEFT JOIN odoo_mirror.project_project p ON p.id = t.project_id
    LEFT JOIN odoo_mirror.project_task_type s ON s.id = t.stage_id
WHERE t.date_deadline < current_date AND t.active AND s.fold IS NOT TRUE
ORDER BY t.date_deadline LIMIT 5;
