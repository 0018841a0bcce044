-- Customer and vendor invoices and credit notes that have a partner. Amounts are the document's
-- own, in its currency.
CREATE FUNCTION odoo_mirror_internal.v_invoice_summary(without text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    there CONSTANT boolean := odoo_mirror_internal.has('account_move', 'move_type', without)
        AND odoo_mirror_internal.has('account_move', 'partner_id', without)
        AND odoo_mirror_internal.has('account_move', 'id', without);
    m CONSTANT text := CASE WHEN there THEN without ELSE 'account_move' END;
    p CONSTANT text := CASE WHEN there THEN odoo_mirror_internal.joined('res_partner', 'id', without, 'account_move', 'partner_id')
                            ELSE 'res_partner' END;
    company CONSTANT text := odoo_mirror_internal.col('res_partner', 'p', 'boolean', p, 'is_company');
    move_type CONSTANT text := odoo_mirror_internal.col('account_move', 'm', 'text', m, 'move_type');
    state CONSTANT text := odoo_mirror_internal.col('account_move', 'm', 'text', m, 'state');
BEGIN
    RETURN pg_catalog.concat(
        'SELECT ', odoo_mirror_internal.col('account_move', 'm', 'int4', m, 'id'), ' AS id',
        -- A draft's number is '/' up to 17, and NULL since 18.
        E',\n    nullif(', odoo_mirror_internal.col('account_move', 'm', 'text', m, 'name'), ', ''/'') AS invoice_number',
        E',\n    ', odoo_mirror_internal.col('account_move', 'm', 'date', m, 'invoice_date'), ' AS invoice_date',
        E',\n    ', move_type, ' AS move_type',
        E',\n    ', state, ' AS state',
        E',\n    ', odoo_mirror_internal.col('account_move', 'm', 'numeric', m, 'amount_total'), ' AS amount_total',
        E',\n    ', odoo_mirror_internal.col('account_move', 'm', 'numeric', m, 'amount_residual'), ' AS amount_residual',
        E',\n    ', odoo_mirror_internal.col('account_move', 'm', 'int4', m, 'partner_id'), ' AS partner_id',
        E',\n    ', odoo_mirror_internal.col('res_partner', 'p', 'text', p, 'name'), ' AS partner_name',
        E',\n    ', odoo_mirror_internal.col('res_partner', 'p', 'text', p, 'vat'), ' AS partner_vat',
        -- company_type is computed in Odoo, and never a column.
        E',\n    CASE ', company, ' WHEN true THEN ''company'' WHEN false THEN ''person'' END AS partner_type',
        E',\n    CASE ', move_type, ' WHEN ''out_invoice'' THEN ''Customer Invoice'' WHEN ''out_refund'' THEN ''Customer Credit Note''',
        ' WHEN ''in_invoice'' THEN ''Vendor Bill'' WHEN ''in_refund'' THEN ''Vendor Credit Note'' END AS move_type_name',
        E',\n    CASE ', state, ' WHEN ''draft'' THEN ''Draft'' WHEN ''posted'' THEN ''Posted'' WHEN ''cancel'' THEN ''Cancelled''',
        ' ELSE pg_catalog.initcap(', state, ') END AS state_name',
        CASE WHEN there THEN E'\nFROM odoo_mirror.account_move m'
            || odoo_mirror_internal.left_join('res_partner', 'p', 'id', without, 'account_move', 'm', 'partner_id')
            || E'\nWHERE m.move_type IN (''out_invoice'', ''out_refund'', ''in_invoice'', ''in_refund'') AND m.partner_id IS NOT NULL'
        ELSE E'\nWHERE false' END);
END
$$;
