// A shim, not PostgREST: just enough of it to try supabase-js against a mirror where PostgREST can't be had. It does what
// matters to the mirror as PostgREST does it: it logs in as authenticator, and for each request, in one transaction, sets the
// JWT's claims and the claimed role; it knows schemas by Accept-Profile and Content-Profile, selects from relations, and calls
// functions by named arguments.
//
//   node postgrest-shim.mjs PORT   with PGHOST … of authenticator, JWT_SECRET, and DB_SCHEMAS (default: public)
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import pg from 'pg';

const schemas = (process.env.DB_SCHEMAS ?? 'public').split(',').map((name) => name.trim());
const pool = new pg.Pool({ max: 4 });
const name = (word) => `"${word.replaceAll('"', '""')}"`;

class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

function claims(header) {
  const token = header?.match(/^Bearer (.+)$/)?.[1];
  if (!token) return { role: 'anon' };
  const [head, body, signature] = token.split('.');
  const wanted = createHmac('sha256', process.env.JWT_SECRET).update(`${head}.${body}`).digest();
  const given = Buffer.from(signature ?? '', 'base64url');
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) throw new Refused(401, 'PGRST301', 'JWSError JWSInvalidSignature');
  const said = JSON.parse(Buffer.from(body, 'base64url').toString());
  return { ...said, role: said.role ?? 'anon' };
}

function schemaOf(request) {
  const asked = request.headers[request.method === 'GET' ? 'accept-profile' : 'content-profile'] ?? schemas[0];
  if (!schemas.includes(asked)) throw new Refused(406, 'PGRST106', `The schema must be one of the following: ${schemas.join(', ')}`);
  return asked;
}

const OPERATORS = { eq: '=', neq: '<>', gt: '>', gte: '>=', lt: '<', lte: '<=' };

function relation(schema, path, parameters) {
  const values = [];
  const where = [];
  let columns = '*', order = '', limit = '';
  for (const [key, value] of parameters) {
    if (key === 'select') columns = value === '*' ? '*' : value.split(',').map((column) => name(column.trim())).join(', ');
    else if (key === 'order') order = ` ORDER BY ${value.split(',').map((part) => { const [column, way] = part.split('.'); return `${name(column)} ${way === 'desc' ? 'DESC' : 'ASC'}`; }).join(', ')}`;
    else if (key === 'limit') limit = ` LIMIT ${Number.parseInt(value, 10)}`;
    else {
      const [, operator, operand] = value.match(/^(\w+)\.(.*)$/s) ?? [];
      if (!OPERATORS[operator]) throw new Refused(400, 'PGRST100', `the shim knows no operator ${operator}`);
      where.push(`${name(key)} ${OPERATORS[operator]} $${values.push(operand)}`);
    }
  }
  const condition = where.length ? ` WHERE ${where.join(' AND ')}` : '';
  return { text: `SELECT ${columns} FROM ${name(schema)}.${name(path)}${condition}${order}${limit}`, values };
}

function call(schema, path, body) {
  const values = [];
  const given = Object.entries(body).map(([key, value]) => `${name(key)} => $${values.push(value)}`);
  return { text: `SELECT * FROM ${name(schema)}.${name(path)}(${given.join(', ')})`, values };
}

async function answer(request) {
  const url = new URL(request.url, 'http://shim');
  const claimed = claims(request.headers.authorization);
  const schema = schemaOf(request);
  const path = decodeURIComponent(url.pathname.replace(/^\/rest\/v1\//, ''));
  let body = '';
  for await (const piece of request) body += piece;
  const query = path.startsWith('rpc/') ? call(schema, path.slice(4), JSON.parse(body || '{}')) : relation(schema, path, url.searchParams);
  const client = await pool.connect();
  try {
    await client.query('BEGIN READ ONLY');
    await client.query("SELECT set_config('request.jwt.claims', $1, true), set_config('role', $2, true)", [JSON.stringify(claimed), claimed.role]);
    const { rows } = await client.query(`SELECT coalesce(json_agg(t), '[]')::text AS body FROM (${query.text}) t`, query.values);
    return rows[0].body;
  } catch (error) {
    const forbidden = error.code === '42501';
    throw new Refused(forbidden ? (claimed.role === 'anon' ? 401 : 403) : error.code === '42P01' || error.code === '42883' ? 404 : 400, error.code, error.message);
  } finally {
    await client.query('ROLLBACK').catch(() => {});
    client.release();
  }
}

createServer(async (request, response) => {
  const json = { 'content-type': 'application/json; charset=utf-8' };
  try {
    const body = await answer(request);
    response.writeHead(200, json).end(body);
  } catch (error) {
    response.writeHead(error.status ?? 500, json).end(JSON.stringify({ code: error.code ?? 'XX000', message: error.message, details: null, hint: null }));
  }
}).listen(Number(process.argv[2]), '127.0.0.1', function () { console.log(`postgrest-shim: on port ${this.address().port}`); });
