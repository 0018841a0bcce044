# shellcheck shell=bash source-path=SCRIPTDIR disable=SC2034,SC2154
# The benchmark's three clusters: `source`, `native` (PostgreSQL's own subscriptions) and `mirror`. Sourced, never run.
#
# Each is made once, in pristine/, and every repetition works on a copy, so that all begin with the same rows. They are made
# and started as the demo's are; only the directory, the ports and the settings are the benchmark's.

BENCH_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
source_port=${BENCH_PORT:-54330}
native_port=$((source_port + 1))
mirror_port=$((source_port + 2))

ODOO_MIRROR_DEMO_DIR=$bench_dir
DEMO_PG_CONFIG=${BENCH_PG_CONFIG:-}
DEMO_MAJOR=15
# shellcheck source=../demo/clusters.sh
. "$BENCH_HOME/../demo/clusters.sh"

on_source() { psql_at "$source_port" -d odoo "$@"; }
on_mirror() { psql_at "$mirror_port" -d postgres "$@"; }
on_native() { psql_at "$native_port" "$@"; } # -d native, native_binary or pipes

# The same for all three. No checkpoint and no vacuum falls into one contender's turn and not into another's; nobody gives up
# on a peer that has to wait for its turn.
settings() {
  cat <<CONF
fsync = on
autovacuum = off
shared_buffers = '256MB'
max_wal_size = '8GB'
checkpoint_timeout = '1h'
wal_sender_timeout = 0
wal_receiver_timeout = 0
wal_retrieve_retry_interval = '100ms'
CONF
}

make_pristine() {
  password=$(od -An -N18 -tx1 /dev/urandom | tr -d ' \n')
  passfile=$bench_dir/passfile
  (umask 077 && printf '127.0.0.1:%s:*:mirror:%s\n' "$source_port" "$password" >"$passfile")
  [ "$(id -u)" != 0 ] || chown postgres: "$passfile"
  # How every contender reaches the source.
  source_conninfo="host=127.0.0.1 port=$source_port dbname=odoo user=mirror sslmode=disable"
  make_source
  make_mirror
  make_native
  local name
  as_server_mkdir pristine
  for name in source native mirror; do
    stop_cluster "$bench_dir/$name"
    mv "$bench_dir/$name" "$bench_dir/pristine/$name"
  done
}

as_server_mkdir() {
  mkdir -m 700 "$bench_dir/$1"
  [ "$(id -u)" != 0 ] || chown postgres: "$bench_dir/$1"
}

make_source() {
  start_cluster source "$source_port" < <(settings && echo "wal_level = logical")
  psql_at "$source_port" -d postgres -c "CREATE DATABASE odoo" -c "ALTER DATABASE odoo SET bench.scale = '$scale'"
  on_source -f "$BENCH_HOME/../demo/source/schema.sql" -f "$BENCH_HOME/../demo/source/generate.sql" -f "$BENCH_HOME/work.sql"
  on_source -v scale="$scale" <<<"CALL demo.generate(:scale, '2025-06-30')"
  on_source -c "VACUUM (FREEZE, ANALYZE)"
  on_source <<SQL
\set password $password
CREATE ROLE mirror LOGIN REPLICATION PASSWORD :'password';
GRANT pg_read_all_data TO mirror;
SQL
  rows=$(on_source -At -c "SELECT to_char(sum(reltuples), 'FM999,999,999') FROM pg_publication_tables
    JOIN pg_class c ON c.oid = format('%I.%I', schemaname, tablename)::regclass")
  tables=$(on_source -At -c "SELECT count(*) FROM pg_publication_tables WHERE pubname = 'odoo_pub_scout'")
}

# The mirror leaves no column out, as the others don't.
make_mirror() {
  start_cluster mirror "$mirror_port" < <(settings && cat <<CONF
shared_preload_libraries = 'odoo_mirror'
odoo_mirror.passfile = '$passfile'
odoo_mirror.exclude_columns = ''
CONF
  )
  on_mirror -o /dev/null -c "CREATE EXTENSION odoo_mirror" -c "SELECT odoo_mirror.configure('$source_conninfo')"
}

# The same columns, primary keys and indexes as the mirror's. PostgreSQL copies into what is there: its indexes are made before
# the data. `pipes` gets them after.
make_native() {
  start_cluster native "$native_port" < <(settings)
  on_mirror -At -c "SELECT format('CREATE INDEX %I ON public.%I (%s);', name, table_name, array_to_string(columns, ', '))
    FROM odoo_mirror_internal.indexes" >"$bench_dir/indexes.sql"
  local database
  for database in native native_binary pipes; do
    on_native -d postgres -c "CREATE DATABASE $database"
    on_source -At <<'SQL' | on_native -d "$database" -f -
SELECT format('CREATE TABLE public.%I (%s, PRIMARY KEY (%s));', c.relname,
    (SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
        FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
    (SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE attrelid = c.oid AND attnum = ANY (i.indkey)))
FROM pg_publication_tables p JOIN pg_class c ON c.oid = format('%I.%I', schemaname, tablename)::regclass
JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
SQL
    [ "$database" = pipes ] || on_native -d "$database" -f "$bench_dir/indexes.sql"
  done
}

# Fresh copies of all three, running.
begin_repetition() {
  local name
  for name in source native mirror; do
    cp -a "$bench_dir/pristine/$name" "$bench_dir/$name"
  done
  sync
  for name in source native mirror; do
    as_server pg_ctl -D "$bench_dir/$name" -l "$bench_dir/$name.log" -w -t 60 start >/dev/null
  done
}

end_repetition() {
  local name
  for name in mirror native source; do
    [ ! -e "$bench_dir/$name/postmaster.pid" ] || as_server pg_ctl -D "$bench_dir/$name" -m immediate -w stop >/dev/null 2>&1 || true
    rm -rf "${bench_dir:?}/$name"
  done
}
