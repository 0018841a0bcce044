# The demo's two clusters: `source`, shaped like an Odoo, and `mirror`, where the extension runs. Sourced, never run.
#
# Both live in $DEMO_DIR, which nobody but their owner may enter: their sockets trust whoever gets there, TCP asks for a
# password. PostgreSQL refuses to run as root, so root runs them as user postgres.

DEMO_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
DEMO_DIR=${ODOO_MIRROR_DEMO_DIR:-/tmp/odoo_mirror_demo-$(id -un)}
DEMO_MAJOR=${DEMO_MAJOR:-15}
DEMO_SOURCE_PORT=${DEMO_SOURCE_PORT:-25432}
DEMO_MIRROR_PORT=${DEMO_MIRROR_PORT:-25433}

# A mark that says: made by the demo, may be removed by it.
DEMO_MARK=$DEMO_DIR/made-by-odoo_mirror-demo

# Where a program of the demo's server is. DEMO_PG_CONFIG names another server, which must have odoo_mirror installed.
pg_program() {
  local config=${DEMO_PG_CONFIG:-} directory
  [ -n "$config" ] || config=$(. "$DEMO_HOME/../scripts/env.sh" && pg_config_of "$DEMO_MAJOR") || return 1
  directory=$("$config" --bindir) || return 1
  printf '%s/%s\n' "$directory" "$1"
}

# Runs a program of the server as the user who owns the clusters, from a directory that this user may enter.
as_server() {
  local program
  program=$(pg_program "$1") || return 1
  shift
  if [ "$(id -u)" = 0 ]; then
    (cd "$DEMO_DIR" && runuser -u postgres -- "$program" "$@")
  else
    "$program" "$@"
  fi
}

on_source() { psql_at "$DEMO_SOURCE_PORT" -d odoo "$@"; }
on_mirror() { psql_at "$DEMO_MIRROR_PORT" -d postgres "$@"; }
psql_at() {
  local port=$1
  shift
  PGCLIENTENCODING=UTF8 "$DEMO_PSQL" -qX -P pager=off -v ON_ERROR_STOP=1 -h "$DEMO_DIR" -p "$port" -U postgres "$@"
}

# An empty $DEMO_DIR of the right owner; refuses a directory that isn't the demo's.
make_demo_dir() {
  [ ! -e "$DEMO_DIR" ] || { echo "$DEMO_DIR is there and wasn't made by the demo: set ODOO_MIRROR_DEMO_DIR" >&2; return 1; }
  mkdir -m 700 "$DEMO_DIR"
  : >"$DEMO_MARK"
  [ "$(id -u)" != 0 ] || chown postgres: "$DEMO_DIR" "$DEMO_MARK"
}

# start_cluster NAME PORT: makes and starts one; its further settings come from standard input.
start_cluster() {
  local name=$1 port=$2 data=$DEMO_DIR/$1
  # C.UTF-8: there on every Debian, and the same order on both sides.
  as_server initdb -D "$data" -U postgres -E UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256 >"$DEMO_DIR/$name.initdb" ||
    { cat "$DEMO_DIR/$name.initdb" >&2; return 1; }
  {
    printf "%s\n" "port = $port" "listen_addresses = '127.0.0.1'" "unix_socket_directories = '$DEMO_DIR'" \
      "shared_buffers = '256MB'" "max_wal_size = '4GB'" "logging_collector = off"
    cat
  } >>"$data/postgresql.conf"
  if ! as_server pg_ctl -D "$data" -l "$DEMO_DIR/$name.log" -w -t 60 start >/dev/null; then
    echo "the $name didn't start (port $port; DEMO_SOURCE_PORT and DEMO_MIRROR_PORT choose others):" >&2
    tail -5 "$DEMO_DIR/$name.log" >&2
    return 1
  fi
}

demo_is_there() { [ -e "$DEMO_MARK" ]; }

# Stops both and removes all that the demo made, the mirror first: it reads from the source.
remove_demo() {
  local name
  for name in mirror source; do
    [ ! -e "$DEMO_DIR/$name/postmaster.pid" ] || stop_cluster "$DEMO_DIR/$name"
  done
  rm -rf -- "$DEMO_DIR"
}

# A server that was killed leaves its pid file behind: pg_ctl finds that out, and a stale file is no reason to keep the demo.
stop_cluster() {
  as_server pg_ctl -D "$1" -m fast -w -t 30 stop >/dev/null 2>&1 || ! as_server pg_ctl -D "$1" status >/dev/null 2>&1 ||
    as_server pg_ctl -D "$1" -m immediate -w stop >/dev/null
}
