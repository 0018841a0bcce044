#!/usr/bin/env bash
# Run by ../run.sh: supabase-js against the mirror, through a shim in PostgREST's place.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
home=$INTEGRATIONS/supabase
mkdir -p "$home"
wanted="@supabase/supabase-js@${SUPABASE_JS_VERSION:-2.109.0}"
[ "$(cat "$home/installed" 2>/dev/null || true)" = "$wanted" ] ||
  { npm install --prefix "$home" --ignore-scripts --no-audit --no-fund "$wanted" pg@8 >"$home/npm.log" 2>&1 && echo "$wanted" >"$home/installed"; } ||
  { tail -20 "$home/npm.log"; exit 1; }
# Modules are looked for above the files that use them.
mkdir -p "$home/app"
cp "$here"/*.mjs "$here"/*.js "$home/app/"
printf '{ "private": true, "type": "module" }\n' >"$home/app/package.json"

PGHOST=127.0.0.1 PGPORT=$DEMO_MIRROR_PORT PGUSER=authenticator PGPASSWORD=$AUTHENTICATOR_PASSWORD PGDATABASE=postgres DB_SCHEMAS='public, odoo_mirror' \
  node "$home/app/postgrest-shim.mjs" 0 >"$home/shim.log" 2>&1 &
shim=$!
trap 'kill "$shim" 2>/dev/null || true' EXIT
port=
for _ in $(seq 100); do
  port=$(sed -n 's/^postgrest-shim: on port //p' "$home/shim.log")
  [ -z "$port" ] || break
  sleep 0.1
done
[ -n "$port" ] || { cat "$home/shim.log"; exit 1; }
SUPABASE_URL=http://127.0.0.1:$port ROUTE=$home/app/route.js node "$home/app/try.mjs"
echo "supabase: $wanted, through a shim in PostgREST's place"
