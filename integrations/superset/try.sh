#!/usr/bin/env bash
# Run by ../run.sh: imports the export into a Superset of its own, and asks for each chart's data as role superset_readonly.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
home=$INTEGRATIONS/superset
wanted="apache-superset==${SUPERSET_VERSION:-6.1.0}"
mkdir -p "$home"
if [ "$(cat "$home/installed" 2>/dev/null || true)" != "$wanted" ]; then
  echo "superset: installing $wanted, which takes a while (log: $home/pip.log)"
  # 6.1.0's command line needs rich, and importing needs cachetools, without saying so; with a newer Flask-Caching than it was made with it doesn't start.
  { python3 -m venv "$home" && "$home/bin/pip" install "$wanted" psycopg2-binary pillow rich cachetools 'Flask-Caching<2.4'; } >"$home/pip.log" 2>&1 || { tail -20 "$home/pip.log"; exit 1; }
  echo "$wanted" >"$home/installed"
fi

run=$home/run
rm -rf "$run" && mkdir -p "$run"
export SUPERSET_HOME=$run SUPERSET_CONFIG_PATH=$here/superset_config.py FLASK_APP=superset PYTHONWARNINGS=ignore PYTHONDONTWRITEBYTECODE=1
SUPERSET_RUN_SECRET=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n') SUPERSET_ADMIN_PASSWORD=$(od -An -N9 -tx1 /dev/urandom | tr -d ' \n')
export SUPERSET_RUN_SECRET SUPERSET_ADMIN_PASSWORD
superset() { "$home/bin/superset" "$@" >>"$run/superset.log" 2>&1 || { echo "superset $1:"; tail -30 "$run/superset.log"; exit 1; }; }

echo "superset: a database of its own"
superset db upgrade
superset fab create-admin --username admin --firstname a --lastname b --email a@localhost --password "$SUPERSET_ADMIN_PASSWORD"
superset init

# The export says where a mirror usually is; this one is elsewhere. A file with a password in it stays in here.
cp -r "$here/export" "$run/odoo"
sed -i "s|superset:XXXXXXXXXX@localhost:5432|superset:$SUPERSET_PASSWORD@127.0.0.1:$DEMO_MIRROR_PORT|" "$run/odoo/databases/odoo_mirror.yaml"
(cd "$run" && "$home/bin/python" -m zipfile -c odoo.zip odoo)
superset import-dashboards --path "$run/odoo.zip" --username admin

[ -z "${SCREENSHOT:-}" ] || export SUPERSET_PUBLIC_ROLE=Admin
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$home/bin/superset" run --host 127.0.0.1 --port "$port" --with-threads >"$run/server.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
for _ in $(seq 180); do
  curl -sf -o /dev/null "http://127.0.0.1:$port/health" && break
  kill -0 "$server" 2>/dev/null || break
  sleep 1
done
SUPERSET_URL=http://127.0.0.1:$port "$home/bin/python" "$here/try.py" || { tail -20 "$run/server.log"; exit 1; }
if [ -n "${SCREENSHOT:-}" ]; then
  "$here/screenshot.sh" "http://127.0.0.1:$port" "$SCREENSHOT"
fi
echo "superset: $wanted, as role superset (superset_readonly)"
