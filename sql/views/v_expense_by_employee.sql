-- Employees with an expense. Sums are in the company's currency, since expenses are in many.
CREATE FUNCTION odoo_mirror_internal.v_expense_by_employee(without text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    there CONSTANT boolean := odoo_mirror_internal.has('hr_expense', 'employee_id', without)
        AND odoo_mirror_internal.has('hr_expense', 'state', without);
    e CONSTANT text := CASE WHEN there THEN without ELSE 'hr_expense' END;
    m CONSTANT text := CASE WHEN there THEN odoo_mirror_internal.joined('hr_employee', 'id', without, 'hr_expense', 'employee_id')
                            ELSE 'hr_employee' END;
    -- The company's: total_amount_company in 16, total_amount since 17.
    amount CONSTANT text := odoo_mirror_internal.col('hr_expense', 'e', 'numeric', e, 'total_amount_company', 'total_amount');
BEGIN
    RETURN pg_catalog.concat(
        'SELECT r.employee_id, ', odoo_mirror_internal.label('hr_employee', 'm', 'name', m), ' AS employee_name',
        E',\n    r.expense_count, r.total_expenses, r.approved_expenses, r.posted_expenses, r.last_expense_date',
        E'\nFROM (\n    SELECT ', odoo_mirror_internal.col('hr_expense', 'e', 'int4', e, 'employee_id'), ' AS employee_id',
        CASE WHEN there THEN pg_catalog.concat(
            E',\n        count(*) AS expense_count',
            E',\n        coalesce(sum(', amount, '), 0) AS total_expenses',
            E',\n        coalesce(sum(', amount, ') FILTER (WHERE e.state = ''approved''), 0) AS approved_expenses',
            -- Posted and after: done up to 18; posted, in_payment and paid in 19.
            E',\n        coalesce(sum(', amount, ') FILTER (WHERE e.state IN (''done'', ''posted'', ''in_payment'', ''paid'')), 0) AS posted_expenses',
            E',\n        max(', odoo_mirror_internal.col('hr_expense', 'e', 'date', e, 'date'), ') AS last_expense_date',
            E'\n    FROM odoo_mirror.hr_expense e',
            E'\n    WHERE e.employee_id IS NOT NULL',
            E'\n    GROUP BY e.employee_id')
        ELSE ', 0::int8 AS expense_count, NULL::numeric AS total_expenses, NULL::numeric AS approved_expenses, '
            || E'NULL::numeric AS posted_expenses, NULL::date AS last_expense_date\n    WHERE false' END,
        E'\n) r',
        CASE WHEN m IS DISTINCT FROM 'hr_employee' THEN E'\nLEFT JOIN odoo_mirror.hr_employee m ON m.id = r.employee_id' ELSE '' END,
        E'\nORDER BY r.total_expenses DESC, r.employee_id');
END
$$;
