#!/usr/bin/env bash
# Run by ../run.sh: imports the workflow into an n8n of its own, executes it as role n8n_service, and looks at the message that comes.
#
# n8n keeps its own things in a PostgreSQL database beside the mirror's: SQLite's driver would have to be compiled.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
home=$INTEGRATIONS/n8n
wanted="n8n@${N8N_VERSION:-2.40.7}"
mkdir -p "$home"
if [ "$(cat "$home/installed" 2>/dev/null || true)" != "$wanted" ]; then
  echo "n8n: installing $wanted, which takes a while (log: $home/npm.log)"
  npm install --prefix "$home" --ignore-scripts --no-audit --no-fund "$wanted" >"$home/npm.log" 2>&1 || { tail -20 "$home/npm.log"; exit 1; }
  echo "$wanted" >"$home/installed"
fi

run=$home/run
rm -rf "$run" && mkdir -p "$run"
export N8N_USER_FOLDER=$run N8N_ENCRYPTION_KEY=$N8N_PASSWORD DB_TYPE=postgresdb DB_POSTGRESDB_HOST=127.0.0.1 DB_POSTGRESDB_PORT=$DEMO_MIRROR_PORT \
  DB_POSTGRESDB_DATABASE=n8n DB_POSTGRESDB_USER=n8n_itself DB_POSTGRESDB_PASSWORD=$N8N_PASSWORD N8N_DIAGNOSTICS_ENABLED=false \
  N8N_VERSION_NOTIFICATIONS_ENABLED=false N8N_TEMPLATES_ENABLED=false N8N_HIRING_BANNER_ENABLED=false N8N_PERSONALIZATION_ENABLED=false
n8n() { node "$home/node_modules/n8n/bin/n8n" "$@" >>"$run/n8n.log" 2>&1 || { echo "n8n $1:"; tail -40 "$run/n8n.log"; exit 1; }; }

node "$here/listener.mjs" "$run/message.json" >"$run/listener.log" 2>&1 &
listener=$!
trap 'kill "$listener" 2>/dev/null || true' EXIT
port=
for _ in $(seq 50); do
  port=$(sed -n 's/^listener: on port //p' "$run/listener.log")
  [ -z "$port" ] || break
  sleep 0.1
done

(umask 077 && cat >"$run/credentials.json" <<JSON
[{ "id": "odooMirrorReader", "name": "Odoo mirror (n8n_service)", "type": "postgres",
   "data": { "host": "127.0.0.1", "port": $DEMO_MIRROR_PORT, "database": "postgres", "user": "n8n", "password": "$N8N_PASSWORD", "ssl": "disable" } }]
JSON
)
sed "s|http://localhost:9999/the-incoming-webhook-of-your-chat|http://127.0.0.1:$port/hook|" "$here/pending-expenses.json" >"$run/workflow.json"
n8n import:credentials --input="$run/credentials.json"
n8n import:workflow --input="$run/workflow.json"
n8n execute --id=odooPendingExpen
[ -s "$run/message.json" ] || { echo "no message came:"; tail -40 "$run/n8n.log"; exit 1; }

# What came is what the function says.
expected=$("$DEMO_PSQL" -qXAt -h "$ODOO_MIRROR_DEMO_DIR" -p "$DEMO_MIRROR_PORT" -U postgres -d postgres -c \
  "SELECT json_agg(concat(employee_name, ': ', description, ' (', round(amount, 2), '), ', state)) FROM odoo_mirror.get_pending_expenses(20)")
node --input-type=module - "$run/message.json" "$expected" <<'JS'
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
const message = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const expected = JSON.parse(process.argv[3]);
assert.equal(`${message.method} ${message.path}`, 'POST /hook');
const [first, ...lines] = message.body.text.split('\n');
assert.equal(first, `${expected.length} expenses wait for somebody, the newest first:`);
assert.deepEqual(lines.map((line) => line.replace(/^\d{4}-\d{2}-\d{2}  /, '')), expected);
console.log(`n8n: one message with ${lines.length} pending expenses came, the first: ${lines[0]}`);
JS
echo "n8n: $wanted, as role n8n (n8n_service)"
