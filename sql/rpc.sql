-- What n8n and supabase-js call. They read with the rights of the role that owns the mirror, and
-- work before there is one: then they have no rows.

CREATE FUNCTION odoo_mirror_internal.positive(value int, otherwise int, name text) RETURNS int
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value < 0 THEN
        RAISE EXCEPTION '% must not be negative', name USING ERRCODE = 'invalid_parameter_value',
            HINT = pg_catalog.format('Leave it out for %s.', otherwise);
    END IF;
    RETURN coalesce(value, otherwise);
END
$$;

-- How many rows down an index are looked through before what is asked for is found by another one.
CREATE FUNCTION odoo_mirror_internal.looked_through() RETURNS int
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS 'SELECT 1000';

CREATE FUNCTION odoo_mirror.get_pending_expenses(p_limit int DEFAULT 20) RETURNS TABLE (
    expense_id int, employee_name text, description text, amount numeric, expense_date date, state text
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rows CONSTANT int := odoo_mirror_internal.positive(p_limit, 20, 'p_limit');
BEGIN
    IF NOT odoo_mirror_internal.has('hr_expense', 'state', NULL) OR NOT odoo_mirror_internal.has('hr_expense', 'date', NULL)
       OR pg_catalog.to_regclass('odoo_mirror.v_expense_summary') IS NULL THEN
        RETURN;
    END IF;
    -- Pending ones are few or they are new. So first the newest expenses are looked through, a
    -- bounded number of them, down the index on the date; only if there aren't enough pending ones
    -- among those, all that are pending are found, by state. The view's own columns come after the
    -- limit.
    RETURN QUERY EXECUTE
        'WITH newest AS MATERIALIZED ( '
        '    SELECT e.id, e.date, e.state FROM odoo_mirror.hr_expense e WHERE e.date IS NOT NULL ORDER BY e.date DESC, e.id DESC LIMIT $2), '
        'found AS MATERIALIZED ( '
        '    SELECT w.id, w.date FROM newest w WHERE w.state IN (''draft'', ''reported'', ''submitted'') ORDER BY w.date DESC, w.id DESC LIMIT $1), '
        'enough AS (SELECT count(*) = $1 AS yes FROM found), '
        'pending AS MATERIALIZED ( '
        '    SELECT e.id, e.date FROM odoo_mirror.hr_expense e '
        '    WHERE NOT (SELECT yes FROM enough) AND e.state IN (''draft'', ''reported'', ''submitted'')) '
        'SELECT v.id, v.employee_name, v.description, v.total_amount, v.date, v.state '
        'FROM (SELECT f.id FROM found f WHERE (SELECT yes FROM enough) '
        '      UNION ALL (SELECT p.id FROM pending p ORDER BY p.date DESC NULLS LAST, p.id DESC LIMIT $1)) n '
        'JOIN odoo_mirror.v_expense_summary v ON v.id = n.id ORDER BY v.date DESC NULLS LAST, v.id DESC'
        USING rows, odoo_mirror_internal.looked_through();
END
$$;
COMMENT ON FUNCTION odoo_mirror.get_pending_expenses IS
    'expenses that are drafted, reported or submitted, newest first; the amount in the document''s currency';

CREATE FUNCTION odoo_mirror.get_overdue_tasks(p_limit int DEFAULT 20) RETURNS TABLE (
    task_id int, task_name text, project_name text, deadline date, days_overdue int
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rows CONSTANT int := odoo_mirror_internal.positive(p_limit, 20, 'p_limit');
    -- Odoo keeps its times in UTC.
    today CONSTANT date := (pg_catalog.now() AT TIME ZONE 'UTC')::date;
    open int[];
    counts text := 'true';
    staged text := 'NULL::int4';
BEGIN
    IF NOT odoo_mirror_internal.has('project_task', 'date_deadline', NULL)
       OR pg_catalog.to_regclass('odoo_mirror.v_task_summary') IS NULL THEN
        RETURN;
    END IF;
    -- A stage whose fold is NULL is not folded, and a task without a stage counts.
    IF odoo_mirror_internal.has('project_task_type', 'fold', NULL) AND odoo_mirror_internal.has('project_task', 'stage_id', NULL) THEN
        -- The stages that tasks are in, from one to the next down the index; those of them that
        -- aren't folded.
        EXECUTE
            'WITH RECURSIVE present (stage) AS ( '
            '    SELECT min(t.stage_id) FROM odoo_mirror.project_task t '
            '    UNION ALL '
            '    SELECT (SELECT min(t.stage_id) FROM odoo_mirror.project_task t WHERE t.stage_id > p.stage) FROM present p WHERE p.stage IS NOT NULL) '
            'SELECT coalesce(array_agg(p.stage::int4), ''{}'') FROM present p '
            'WHERE p.stage IS NOT NULL AND NOT EXISTS (SELECT FROM odoo_mirror.project_task_type s WHERE s.id = p.stage AND s.fold)'
            INTO open;
        counts := '(t.stage_id = ANY ($4) OR t.stage_id IS NULL)';
        staged := 't.stage_id';
    END IF;
    -- Most old tasks are done. So the oldest overdue ones are looked through, a bounded number of
    -- them, down the index on the deadline; only if there aren't enough open ones among those, the
    -- open ones are found, by stage.
    RETURN QUERY EXECUTE pg_catalog.concat(
        'WITH oldest AS MATERIALIZED ( ',
        '    SELECT t.id, t.date_deadline, ', staged, ' AS stage_id FROM odoo_mirror.project_task t WHERE t.date_deadline < $2 ',
        '    ORDER BY t.date_deadline, t.id LIMIT $3), ',
        'found AS MATERIALIZED (SELECT t.id, t.date_deadline FROM oldest t WHERE ', counts, ' ORDER BY t.date_deadline, t.id LIMIT $1), ',
        'enough AS (SELECT count(*) = $1 AS yes FROM found), ',
        'overdue AS MATERIALIZED ( ',
        '    SELECT t.id, t.date_deadline FROM odoo_mirror.project_task t WHERE NOT (SELECT yes FROM enough) AND t.date_deadline < $2 AND ', counts, ') ',
        'SELECT v.id, v.task_name, v.project_name, v.date_deadline, $2 - v.date_deadline ',
        'FROM (SELECT f.id, f.date_deadline FROM found f WHERE (SELECT yes FROM enough) ',
        '      UNION ALL (SELECT o.id, o.date_deadline FROM overdue o ORDER BY o.date_deadline, o.id LIMIT $1)) n ',
        'JOIN odoo_mirror.v_task_summary v ON v.id = n.id ORDER BY n.date_deadline, v.id')
        USING rows, today, odoo_mirror_internal.looked_through(), open;
END
$$;
COMMENT ON FUNCTION odoo_mirror.get_overdue_tasks IS
    'tasks whose deadline is before today (UTC) and whose stage isn''t folded, most overdue first';

CREATE FUNCTION odoo_mirror.get_revenue_trends(p_months int DEFAULT 12) RETURNS TABLE (
    month_date date, invoice_count bigint, total_revenue numeric
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
