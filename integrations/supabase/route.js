// app/api/odoo/route.js in a Next.js app: Odoo's figures, from the mirror, through Supabase.
//
// Runs on the server only: the service role's key opens everything, and must never reach a browser.
import { createClient } from '@supabase/supabase-js';

const supabase = createClient(process.env.SUPABASE_URL, process.env.SUPABASE_SERVICE_ROLE_KEY, {
  auth: { persistSession: false, autoRefreshToken: false },
});

const rows = ({ data, error }) => {
  if (error) throw new Error(`${error.code}: ${error.message}`);
  return data;
};

// As it should be written: PostgREST exposes schema odoo_mirror
// (ALTER ROLE authenticator SET pgrst.db_schemas = 'public, odoo_mirror').
export async function bySchema() {
  const odoo = supabase.schema('odoo_mirror');
  return {
    unpaid: rows(await odoo.from('v_invoice_summary')
      .select('invoice_number, partner_name, invoice_date, amount_residual')
      .eq('move_type', 'out_invoice').eq('state', 'posted').gt('amount_residual', 0)
      .order('invoice_date', { ascending: true }).limit(10)),
    pending: rows(await odoo.rpc('get_pending_expenses', { p_limit: 5 })),
    overdue: rows(await odoo.rpc('get_overdue_tasks', { p_limit: 5 })),
    revenue: rows(await odoo.rpc('get_revenue_trends', { p_months: 6 })),
  };
}

// As older code writes it, schema and name in one: SELECT odoo_mirror.install_rest_aliases() makes it work as it stands.
export async function byAlias() {
  return {
    unpaid: rows(await supabase.from('odoo_mirror.v_invoice_summary')
      .select('invoice_number, partner_name, invoice_date, amount_residual')
      .eq('move_type', 'out_invoice').eq('state', 'posted').gt('amount_residual', 0)
      .order('invoice_date', { ascending: true }).limit(10)),
    pending: rows(await supabase.rpc('odoo_mirror.get_pending_expenses', { p_limit: 5 })),
    overdue: rows(await supabase.rpc('odoo_mirror.get_overdue_tasks', { p_limit: 5 })),
    revenue: rows(await supabase.rpc('odoo_mirror.get_revenue_trends', { p_months: 6 })),
  };
}

export async function GET() {
  return Response.json(await bySchema());
}
