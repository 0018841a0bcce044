// Calls the Next.js route and what is behind it, as service_role and as nobody; run by try.sh.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { createClient } from '@supabase/supabase-js';

const key = (role) => {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ role, iss: 'supabase', exp: 4102444800 })}`;
  return `${body}.${createHmac('sha256', process.env.JWT_SECRET).update(body).digest('base64url')}`;
};
process.env.SUPABASE_SERVICE_ROLE_KEY = key('service_role');
const { GET, byAlias, bySchema } = await import(process.env.ROUTE);

const found = await bySchema();
for (const [what, rows] of Object.entries(found)) assert.ok(rows.length > 0, `${what}: no rows`);
assert.deepEqual(Object.keys(found.unpaid[0]), ['invoice_number', 'partner_name', 'invoice_date', 'amount_residual']);
assert.deepEqual(Object.keys(found.pending[0]), ['expense_id', 'employee_name', 'description', 'amount', 'expense_date', 'state']);
assert.equal(found.pending.length, 5);
assert.deepEqual(await byAlias(), found, 'the aliases answer the same');
const response = await GET();
assert.equal(response.status, 200);
assert.deepEqual(await response.json(), found);
console.log(`supabase-js: schema('odoo_mirror') and the aliases answer service_role the same: ${Object.entries(found).map(([what, rows]) => `${rows.length} ${what}`).join(', ')}`);

const code = async (query) => (await query).error?.code;
for (const role of ['anon', 'authenticated']) {
  const nobody = createClient(process.env.SUPABASE_URL, key(role), { auth: { persistSession: false, autoRefreshToken: false } });
  for (const query of [
    nobody.schema('odoo_mirror').from('v_invoice_summary').select('*'), nobody.from('odoo_mirror.v_invoice_summary').select('*'),
    nobody.schema('odoo_mirror').from('account_move').select('*'),
    nobody.schema('odoo_mirror').rpc('get_pending_expenses'), nobody.rpc('odoo_mirror.get_pending_expenses'),
  ]) assert.equal(await code(query), '42501', `${role} is refused`);
}
const forged = createClient(process.env.SUPABASE_URL, `${key('service_role')}x`, { auth: { persistSession: false, autoRefreshToken: false } });
assert.equal(await code(forged.from('odoo_mirror.v_invoice_summary').select('*')), 'PGRST301');
console.log('supabase-js: anon, authenticated and a forged key are refused');
