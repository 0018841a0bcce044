-- Partners with posted customer invoices. Sums are in the company's currency (the signed columns),
-- since documents are in many.
CREATE FUNCTION odoo_mirror_internal.v_revenue_by_partner(without text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    there CONSTANT boolean := odoo_mirror_internal.has('account_move', 'move_type', without)
        AND odoo_mirror_internal.has('account_move', 'state', without)
        AND odoo_mirror_internal.has('account_move', 'partner_id', without);
    m CONSTANT text := CASE WHEN there THEN without ELSE 'account_move' END;
    p CONSTANT text := CASE WHEN there THEN odoo_mirror_internal.joined('res_partner', 'id', without, 'account_move', 'partner_id')
                            ELSE 'res_partner' END;
    -- Positive for an invoice, negative for a credit note.
    signed CONSTANT text := odoo_mirror_internal.col('account_move', 'm', 'numeric', m, 'amount_total_signed');
BEGIN
    RETURN pg_catalog.concat(
        'SELECT r.partner_id, ', odoo_mirror_internal.col('res_partner', 'p', 'text', p, 'name'), ' AS partner_name',
        E',\n    ', odoo_mirror_internal.col('res_partner', 'p', 'text', p, 'vat'), ' AS vat',
        E',\n    r.invoice_count, r.total_invoiced, r.total_refunded, r.total_invoiced - r.total_refunded AS net_revenue, r.last_invoice_date',
        E'\nFROM (\n    SELECT ', odoo_mirror_internal.col('account_move', 'm', 'int4', m, 'partner_id'), ' AS partner_id',
        CASE WHEN there THEN pg_catalog.concat(
            E',\n        count(*) FILTER (WHERE m.move_type = ''out_invoice'') AS invoice_count',
            E',\n        coalesce(sum(', signed, ') FILTER (WHERE m.move_type = ''out_invoice''), 0) AS total_invoiced',
            E',\n        coalesce(-sum(', signed, ') FILTER (WHERE m.move_type = ''out_refund''), 0) AS total_refunded',
            E',\n        max(', odoo_mirror_internal.col('account_move', 'm', 'date', m, 'invoice_date'),
            ') FILTER (WHERE m.move_type = ''out_invoice'') AS last_invoice_date',
            E'\n    FROM odoo_mirror.account_move m',
            E'\n    WHERE m.move_type IN (''out_invoice'', ''out_refund'') AND m.state = ''posted'' AND m.partner_id IS NOT NULL',
            E'\n    GROUP BY m.partner_id')
        ELSE ', 0::int8 AS invoice_count, NULL::numeric AS total_invoiced, NULL::numeric AS total_refunded, NULL::date AS last_invoice_date'
            || E'\n    WHERE false' END,
        E'\n) r',
        CASE WHEN p IS DISTINCT FROM 'res_partner' THEN E'\nLEFT JOIN odoo_mirror.res_partner p ON p.id = r.partner_id' ELSE '' END,
        E'\nWHERE r.invoice_count > 0',
        E'\nORDER BY r.total_invoiced - r.total_refunded DESC, r.partner_id');
END
$$;
