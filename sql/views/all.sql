-- The five views, in the order in which they are built, with what they say of themselves.

CREATE FUNCTION odoo_mirror_internal.view_definitions(without text DEFAULT NULL)
RETURNS TABLE (name text, definition text, changed boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT v.name, v.definition,
           b.definition IS DISTINCT FROM v.definition OR NOT EXISTS (
               SELECT FROM pg_catalog.pg_class c WHERE c.relname = v.name AND c.relkind = 'v'
                 AND c.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace)
    FROM (VALUES
        ('v_invoice_summary', odoo_mirror_internal.v_invoice_summary(without)),
        ('v_expense_summary', odoo_mirror_internal.v_expense_summary(without)),
        ('v_task_summary', odoo_mirror_internal.v_task_summary(without)),
        ('v_revenue_by_partner', odoo_mirror_internal.v_revenue_by_partner(without)),
        ('v_expense_by_employee', odoo_mirror_internal.v_expense_by_employee(without))) v (name, definition)
    LEFT JOIN odoo_mirror_internal.views b ON b.name = v.name
$$;

CREATE FUNCTION odoo_mirror_internal.view_comments() RETURNS TABLE (view text, statement text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.view, CASE WHEN c.name IS NULL THEN pg_catalog.format('COMMENT ON VIEW odoo_mirror.%I IS %L', c.view, c.says)
                ELSE pg_catalog.format('COMMENT ON COLUMN odoo_mirror.%I.%I IS %L', c.view, c.name, c.says) END
    FROM (VALUES
        ('v_invoice_summary', NULL, 'Customer and vendor invoices and credit notes with their partner; amounts in the document''s currency'),
        ('v_invoice_summary', 'id', 'account_move.id'),
        ('v_invoice_summary', 'invoice_number', 'Number; NULL for a draft without one'),
        ('v_invoice_summary', 'invoice_date', 'Date of the document'),
        ('v_invoice_summary', 'move_type', 'out_invoice, out_refund, in_invoice or in_refund'),
        ('v_invoice_summary', 'state', 'draft, posted or cancel'),
        ('v_invoice_summary', 'amount_total', 'Total with taxes, in the document''s currency'),
        ('v_invoice_summary', 'amount_residual', 'Still to be paid, in the document''s currency'),
        ('v_invoice_summary', 'partner_id', 'res_partner.id'),
        ('v_invoice_summary', 'partner_name', 'Name of the partner'),
        ('v_invoice_summary', 'partner_vat', 'Tax number of the partner'),
        ('v_invoice_summary', 'partner_type', 'company or person'),
        ('v_invoice_summary', 'move_type_name', 'Customer Invoice, Customer Credit Note, Vendor Bill, Vendor Credit Note'),
        ('v_invoice_summary', 'state_name', 'Draft, Posted, Cancelled'),
        ('v_expense_summary', NULL, 'Every expense with its employee and, up to Odoo 18, its sheet; amounts in the document''s currency'),
        ('v_expense_summary', 'id', 'hr_expense.id'),
        ('v_expense_summary', 'description', 'What it was for'),
        ('v_expense_summary', 'date', 'Date of the expense'),
        ('v_expense_summary', 'total_amount', 'Total with taxes, in the document''s currency'),
        ('v_expense_summary', 'untaxed_amount', 'Total without taxes, in the document''s currency'),
        ('v_expense_summary', 'state', 'As this version of Odoo calls it'),
        ('v_expense_summary', 'employee_id', 'hr_employee.id'),
        ('v_expense_summary', 'employee_name', 'Name of the employee; NULL while hr_employee is not mirrored'),
        ('v_expense_summary', 'sheet_id', 'hr_expense_sheet.id; NULL since Odoo 19'),
        ('v_expense_summary', 'sheet_name', 'Name of the expense report'),
        ('v_expense_summary', 'sheet_state', 'State of the expense report'),
        ('v_expense_summary', 'state_name', 'To Submit, Submitted, Approved, Posted, In Payment, Paid, Refused'),
        ('v_task_summary', NULL, 'Every task with its project, stage and assignees'),
        ('v_task_summary', 'id', 'project_task.id'),
        ('v_task_summary', 'task_name', 'Title'),
        ('v_task_summary', 'date_deadline', 'Deadline (day in UTC)'),
        ('v_task_summary', 'priority', '0 to 3'),
        ('v_task_summary', 'project_id', 'project_project.id; NULL for a private task'),
        ('v_task_summary', 'project_name', 'Name of the project; NULL while project_project is not mirrored'),
        ('v_task_summary', 'stage_id', 'project_task_type.id'),
        ('v_task_summary', 'stage_name', 'Name of the stage; NULL while project_task_type is not mirrored'),
        ('v_task_summary', 'user_ids', 'Assignees (res_users.id), ascending; NULL while project_task_user_rel is not mirrored'),
        ('v_task_summary', 'priority_name', 'Low, Normal, High, Urgent'),
        ('v_revenue_by_partner', NULL, 'Partners with posted customer invoices, highest net revenue first; in the company''s currency'),
        ('v_revenue_by_partner', 'partner_id', 'res_partner.id'),
        ('v_revenue_by_partner', 'partner_name', 'Name of the partner'),
        ('v_revenue_by_partner', 'vat', 'Tax number of the partner'),
        ('v_revenue_by_partner', 'invoice_count', 'Posted customer invoices'),
        ('v_revenue_by_partner', 'total_invoiced', 'Their sum, with taxes'),
        ('v_revenue_by_partner', 'total_refunded', 'Sum of posted customer credit notes, as a positive number'),
        ('v_revenue_by_partner', 'net_revenue', 'total_invoiced - total_refunded'),
        ('v_revenue_by_partner', 'last_invoice_date', 'Date of the latest posted customer invoice'),
        ('v_expense_by_employee', NULL, 'Employees with an expense, highest total first; in the company''s currency'),
        ('v_expense_by_employee', 'employee_id', 'hr_employee.id'),
        ('v_expense_by_employee', 'employee_name', 'Name of the employee; NULL while hr_employee is not mirrored'),
        ('v_expense_by_employee', 'expense_count', 'Expenses in any state'),
        ('v_expense_by_employee', 'total_expenses', 'Sum in any state'),
        ('v_expense_by_employee', 'approved_expenses', 'Sum of those that are approved and not posted yet'),
        ('v_expense_by_employee', 'posted_expenses', 'Sum of those that are posted, in payment or paid'),
        ('v_expense_by_employee', 'last_expense_date', 'Date of the latest expense')) c (view, name, says)
$$;

-- Indexes of the contract whose table is here and which were left out, and why.
CREATE FUNCTION odoo_mirror_internal.missing_indexes() RETURNS TABLE (name text, table_name text, why text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT i.name, i.table_name,
           coalesce('Odoo has no column ' || (SELECT pg_catalog.string_agg(c, ', ') FROM unnest(i.columns) c
                                              WHERE NOT odoo_mirror_internal.has(i.table_name, c, NULL)),
                    i.problem, 'it is not built yet')
    FROM odoo_mirror_internal.indexes i
    WHERE pg_catalog.to_regclass(pg_catalog.format('odoo_mirror.%I', i.table_name)) IS NOT NULL
      AND pg_catalog.to_regclass(pg_catalog.format('odoo_mirror.%I', i.name)) IS NULL
$$;
