-- Every expense. Amounts are the document's own, in its currency.
CREATE FUNCTION odoo_mirror_internal.v_expense_summary(without text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    there CONSTANT boolean := odoo_mirror_internal.has('hr_expense', 'id', without);
    e CONSTANT text := CASE WHEN there THEN without ELSE 'hr_expense' END;
    m CONSTANT text := CASE WHEN there THEN odoo_mirror_internal.joined('hr_employee', 'id', without, 'hr_expense', 'employee_id')
                            ELSE 'hr_employee' END;
    -- Odoo 19 has no sheets.
    s CONSTANT text := CASE WHEN there THEN odoo_mirror_internal.joined('hr_expense_sheet', 'id', without, 'hr_expense', 'sheet_id')
                            ELSE 'hr_expense_sheet' END;
    state CONSTANT text := odoo_mirror_internal.col('hr_expense', 'e', 'text', e, 'state');
BEGIN
    RETURN pg_catalog.concat(
        'SELECT ', odoo_mirror_internal.col('hr_expense', 'e', 'int4', e, 'id'), ' AS id',
        E',\n    ', odoo_mirror_internal.label('hr_expense', 'e', 'name', e), ' AS description',
        E',\n    ', odoo_mirror_internal.col('hr_expense', 'e', 'date', e, 'date'), ' AS date',
        -- In the document's currency: total_amount in 16, total_amount_currency since 17, where
        -- total_amount is the company's.
        E',\n    ', odoo_mirror_internal.col('hr_expense', 'e', 'numeric', e, 'total_amount_currency', 'total_amount'), ' AS total_amount',
        E',\n    ', odoo_mirror_internal.col('hr_expense', 'e', 'numeric', e, 'untaxed_amount_currency', 'untaxed_amount'), ' AS untaxed_amount',
        E',\n    ', state, ' AS state',
        E',\n    ', odoo_mirror_internal.col('hr_expense', 'e', 'int4', e, 'employee_id'), ' AS employee_id',
        E',\n    ', odoo_mirror_internal.label('hr_employee', 'm', 'name', m), ' AS employee_name',
        E',\n    ', odoo_mirror_internal.col('hr_expense', 'e', 'int4', e, 'sheet_id'), ' AS sheet_id',
        E',\n    ', odoo_mirror_internal.label('hr_expense_sheet', 's', 'name', s), ' AS sheet_name',
        E',\n    ', odoo_mirror_internal.col('hr_expense_sheet', 's', 'text', s, 'state'), ' AS sheet_state',
        E',\n    ', odoo_mirror_internal.expense_state_name(state), ' AS state_name',
        CASE WHEN there THEN E'\nFROM odoo_mirror.hr_expense e'
            || odoo_mirror_internal.left_join('hr_employee', 'm', 'id', without, 'hr_expense', 'e', 'employee_id')
            || odoo_mirror_internal.left_join('hr_expense_sheet', 's', 'id', without, 'hr_expense', 'e', 'sheet_id')
        ELSE E'\nWHERE false' END);
END
$$;

-- 16: draft, reported, approved, done, refused; 17 and 18 add submitted; 19: draft, submitted,
-- approved, posted, in_payment, paid, refused.
CREATE FUNCTION odoo_mirror_internal.expense_state_name(state text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_catalog.concat('CASE ', state,
        ' WHEN ''draft'' THEN ''To Submit'' WHEN ''reported'' THEN ''Submitted'' WHEN ''submitted'' THEN ''Submitted''',
        ' WHEN ''approved'' THEN ''Approved'' WHEN ''done'' THEN ''Posted'' WHEN ''posted'' THEN ''Posted''',
        ' WHEN ''in_payment'' THEN ''In Payment'' WHEN ''paid'' THEN ''Paid'' WHEN ''refused'' THEN ''Refused''',
        ' ELSE pg_catalog.initcap(pg_catalog.replace(', state, ', ''_'', '' '')) END')
$$;
