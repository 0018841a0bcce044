-- What n8n and supabase-js call. They read with the rights of the role that owns the mirror, and work before there is one:
-- then they have no rows.

CREATE FUNCTION odoo_mirror_internal.positive(value int, otherwise int, name text) RETURNS int
LANGUAGE plpgsql IMMUTABLE SET search_path = '' AS $$
BEGIN
    IF value < 0 THEN
        RAISE EXCEPTION '% must not be negative', name USING ERRCODE = 'invalid_parameter_value',
            HINT = pg_catalog.format('Leave it out for %s.', otherwise);
    END IF;
    RETURN coalesce(value, otherwise);
END
$$;

CREATE FUNCTION odoo_mirror.get_pending_expenses(p_limit int DEFAULT 20) RETURNS TABLE (
    expense_id int, employee_name text, description text, amount numeric, expense_date date, state text
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    rows CONSTANT int := odoo_mirror_internal.positive(p_limit, 20, 'p_limit');
BEGIN
    IF NOT odoo_mirror_internal.has('hr_expense', 'state', NULL) OR NOT odoo_mirror_internal.has('hr_expense', 'date', NULL)
       OR pg_catalog.to_regclass('odoo_mirror.v_expense_summary') IS NULL THEN
        RETURN;
    END IF;
    -- The pending ones are few: found by state. The view's own columns come after the limit.
    RETURN QUERY EXECUTE
        'SELECT v.id, v.employee_name, v.description, v.total_amount, v.date, v.state '
        'FROM (SELECT e.id FROM odoo_mirror.hr_expense e WHERE e.state IN (''draft'', ''reported'', ''submitted'') '
        '      ORDER BY e.date DESC NULLS LAST, e.id DESC LIMIT $1) n '
        'JOIN odoo_mirror.v_expense_summary v ON v.id = n.id ORDER BY v.date DESC NULLS LAST, v.id DESC'
        USING rows;
END
$$;
COMMENT ON FUNCTION odoo_mirror.get_pending_expenses IS
    'expenses that are drafted, reported or submitted, newest first; the amount in the document''s currency';

CREATE FUNCTION odoo_mirror.get_overdue_tasks(p_limit int DEFAULT 20) RETURNS TABLE (
    task_id int, task_name text, project_name text, deadline date, days_overdue int
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    rows CONSTANT int := odoo_mirror_internal.positive(p_limit, 20, 'p_limit');
    -- Odoo keeps its times in UTC.
    today CONSTANT date := (pg_catalog.now() AT TIME ZONE 'UTC')::date;
BEGIN
    IF NOT odoo_mirror_internal.has('project_task', 'date_deadline', NULL)
       OR pg_catalog.to_regclass('odoo_mirror.v_task_summary') IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE pg_catalog.concat(
        'SELECT v.id, v.task_name, v.project_name, v.date_deadline, $2 - v.date_deadline ',
        'FROM (SELECT t.id, t.date_deadline FROM odoo_mirror.project_task t WHERE t.date_deadline < $2 ',
        -- A stage whose fold is NULL is not folded, and a task without a stage counts.
        CASE WHEN odoo_mirror_internal.has('project_task_type', 'fold', NULL) AND odoo_mirror_internal.has('project_task', 'stage_id', NULL)
             THEN 'AND NOT EXISTS (SELECT FROM odoo_mirror.project_task_type s WHERE s.id = t.stage_id AND s.fold) ' END,
        '      ORDER BY t.date_deadline, t.id LIMIT $1) n ',
        'JOIN odoo_mirror.v_task_summary v ON v.id = n.id ORDER BY n.date_deadline, v.id')
        USING rows, today;
END
$$;
COMMENT ON FUNCTION odoo_mirror.get_overdue_tasks IS
    'tasks whose deadline is before today (UTC) and whose stage isn''t folded, most overdue first';

CREATE FUNCTION odoo_mirror.get_revenue_trends(p_months int DEFAULT 12) RETURNS TABLE (
    month_date date, invoice_count bigint, total_revenue numeric
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    months CONSTANT int := odoo_mirror_internal.positive(p_months, 12, 'p_months');
BEGIN
    IF NOT odoo_mirror_internal.has('account_move', 'invoice_date', NULL)
       OR NOT odoo_mirror_internal.has('account_move', 'amount_total_signed', NULL)
       OR NOT odoo_mirror_internal.has('account_move', 'move_type', NULL)
       OR NOT odoo_mirror_internal.has('account_move', 'state', NULL) THEN
        RETURN;
    END IF;
    -- From month to month down the index on the date: only the months that are asked for are read.
    RETURN QUERY EXECUTE
        'WITH RECURSIVE step (n, day) AS ( '
        '    SELECT 1, (SELECT m.invoice_date FROM odoo_mirror.account_move m WHERE m.move_type = ''out_invoice'' AND m.state = ''posted'' '
        '               AND m.invoice_date IS NOT NULL ORDER BY m.invoice_date DESC LIMIT 1) '
        '    UNION ALL '
        '    SELECT s.n + 1, (SELECT m.invoice_date FROM odoo_mirror.account_move m WHERE m.move_type = ''out_invoice'' AND m.state = ''posted'' '
        '               AND m.invoice_date < pg_catalog.date_trunc(''month'', s.day::timestamp)::date ORDER BY m.invoice_date DESC LIMIT 1) '
        '    FROM step s WHERE s.day IS NOT NULL AND s.n < $1) '
        'SELECT w.first, w.count, w.revenue FROM step s, LATERAL ( '
        '    SELECT pg_catalog.date_trunc(''month'', s.day::timestamp)::date AS first, count(*) AS count, sum(m.amount_total_signed)::numeric AS revenue '
        '    FROM odoo_mirror.account_move m WHERE m.move_type = ''out_invoice'' AND m.state = ''posted'' '
        '      AND m.invoice_date >= pg_catalog.date_trunc(''month'', s.day::timestamp)::date '
        '      AND m.invoice_date < (pg_catalog.date_trunc(''month'', s.day::timestamp) + interval ''1 month'')::date) w '
        'WHERE s.day IS NOT NULL AND $1 > 0 ORDER BY w.first DESC'
        USING months;
END
$$;
COMMENT ON FUNCTION odoo_mirror.get_revenue_trends IS
    'posted customer invoices by month, the latest months that have any, newest first; in the company''s currency, with taxes';

-- They run as the role that owns what is mirrored, and look at the catalog with its rights.
GRANT USAGE ON SCHEMA odoo_mirror_internal TO odoo_mirror_owner;
ALTER FUNCTION odoo_mirror.get_pending_expenses(int) OWNER TO odoo_mirror_owner;
ALTER FUNCTION odoo_mirror.get_overdue_tasks(int) OWNER TO odoo_mirror_owner;
ALTER FUNCTION odoo_mirror.get_revenue_trends(int) OWNER TO odoo_mirror_owner;
