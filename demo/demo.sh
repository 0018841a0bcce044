#!/usr/bin/env bash
# `make demo`: an Odoo-shaped database and a mirror of it, from nothing, shown in the terminal.
#
# Builds and installs the extension, starts two clusters, fills the source, lets the mirror copy it and follow live traffic, asks the
# mirror a few questions, and proves that every row is the same. Both clusters keep running. `demo.sh stop` removes them.
#
#   DEMO_SCALE    1       1 is about 313,000 rows
#   DEMO_RATE     150     business operations a second
#   DEMO_SECONDS  20      of traffic
#   DEMO_SOURCE_PORT, DEMO_MIRROR_PORT   25432, 25433: below those that the kernel hands out
#   DEMO_PG_CONFIG        a server that has odoo_mirror installed: nothing is built then
#   ODOO_MIRROR_DEMO_DIR  where the clusters live
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
. "$here/clusters.sh"
[ "${1:-}" != stop ] || exec "$here/stop.sh"
. "$here/show.sh"

scale=${DEMO_SCALE:-1} rate=${DEMO_RATE:-150} seconds=${DEMO_SECONDS:-20}
DEMO_TABLES=(account_move account_move_line res_partner project_task hr_expense hr_expense_sheet hr_employee project_project
  project_task_type project_task_user_rel)

main() {
  [ -n "${DEMO_PG_CONFIG:-}" ] || build
  DEMO_PSQL=$(pg_program psql)
  if demo_is_there; then
    heading "A demo is in $DEMO_DIR already: stopping and removing it"
    remove_demo
  fi
  make_demo_dir
  password=$(od -An -N18 -tx1 /dev/urandom | tr -d ' \n')

  heading "1. The source: a database as Odoo 18 has it (scale $scale)"
  start_source
  heading "2. The mirror: PostgreSQL with odoo_mirror"
  start_mirror
  heading "3. The first copy"
  show_copy ${#DEMO_TABLES[@]} || give_up "the copy"
  note "  copied in $((SHOW_COPY_MS / 1000)).$((SHOW_COPY_MS / 100 % 10)) s"
  heading "4. $seconds s of business: $rate operations a second"
  run_traffic
  heading "5. Answers, from the mirror"
  on_mirror -f "$here/answers.sql"
  heading "6. Is it the same? A hash of every row of every table, on both sides"
  compare || give_up "the comparison"
  look_around
  printf '\n%smake demo: %s rows in %d tables, equal on both sides; source and mirror keep running%s\n' \
    "$green" "$total_rows" "${#DEMO_TABLES[@]}" "$plain"
}

build() {
  heading "0. Build and install"
  "$here/../scripts/install.sh"
  "$here/../scripts/servers.sh" "$DEMO_MAJOR"
  "$here/../scripts/extension.sh" "$DEMO_MAJOR"
}

start_source() {
  start_cluster source "$DEMO_SOURCE_PORT" <<<"wal_level = logical"
  psql_at "$DEMO_SOURCE_PORT" -d postgres -c "CREATE DATABASE odoo"
  on_source -f "$here/source/schema.sql" -f "$here/source/generate.sql" -f "$here/source/traffic.sql"
  on_source -v scale="$scale" <<<"CALL demo.generate(:scale)"
  on_source -c "VACUUM ANALYZE"
  # What the mirror needs on an Odoo: to log in, to replicate, and to read the published tables. Nothing else.
  # The password is a variable of psql's, read from standard input: no process list shows it.
  on_source <<SQL
\set password $password
SET log_statement = none;
CREATE ROLE odoo_mirror LOGIN REPLICATION PASSWORD :'password';
SELECT format('GRANT SELECT ON %I.%I TO odoo_mirror', schemaname, tablename) FROM pg_publication_tables WHERE pubname = 'odoo_pub_scout' \gexec
SQL
  on_source -At -c "SELECT format('  %s rows in %s tables, %s', to_char(sum(reltuples), 'FM999,999,999'), count(*), pg_size_pretty(sum(pg_total_relation_size(c.oid))))
    FROM pg_publication_tables p JOIN pg_class c ON c.oid = format('%I.%I', schemaname, tablename)::regclass"
}

start_mirror() {
  local passfile=$DEMO_DIR/passfile
  (umask 077 && printf '127.0.0.1:%s:odoo:odoo_mirror:%s\n' "$DEMO_SOURCE_PORT" "$password" >"$passfile")
  [ "$(id -u)" != 0 ] || chown postgres: "$passfile"
  start_cluster mirror "$DEMO_MIRROR_PORT" <<CONF
shared_preload_libraries = 'odoo_mirror'
odoo_mirror.passfile = '$passfile'
CONF
  # The roles that a Supabase database has.
  on_mirror -c "CREATE ROLE anon NOLOGIN" -c "CREATE ROLE authenticated NOLOGIN" -c "CREATE ROLE service_role NOLOGIN BYPASSRLS"
  run_and_show "CREATE EXTENSION odoo_mirror"
  run_and_show "SELECT odoo_mirror.configure('host=127.0.0.1 port=$DEMO_SOURCE_PORT dbname=odoo user=odoo_mirror sslmode=disable')"
  run_and_show "SELECT odoo_mirror.start()"
}

# The three statements that a user would type, shown as they are run.
run_and_show() {
  printf '  %s\n' "$1"
  on_mirror -At -o /dev/null -c "$1" || give_up "$1"
}

run_traffic() {
  "$here/traffic.sh" "$rate" "$seconds" >"$DEMO_DIR/traffic.log" 2>&1 &
  traffic=$!
  show_traffic "$traffic"
  wait "$traffic" || { tail -5 "$DEMO_DIR/traffic.log" >&2; give_up "the traffic"; }
  traffic=
  note "  $(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$DEMO_DIR/traffic.log") transactions committed on the source"
}

# Both sides of each table, at the same point: the traffic is over, and the mirror shows the source's last commit.
# Columns that the mirror leaves out on purpose (Odoo's secrets) are left out of the hash, and named.
compare() {
  local table columns query here_is there_is left_out equal=yes
  [ "$(on_mirror -At -c "SELECT odoo_mirror.wait_for('$(on_source -At -c "SELECT pg_current_wal_lsn()")')")" = t ] ||
    { echo "the mirror didn't reach the source's last commit within 30 s" >&2; return 1; }
  total_rows=0
  for table in "${DEMO_TABLES[@]}"; do
    columns=$(columns_of on_mirror odoo_mirror "$table" | paste -sd ,)
    query="SELECT count(*) || ' ' || left(md5(coalesce(sum(hashtextextended(ROW($columns)::text, 0)::numeric), 0)::text), 16) FROM"
    there_is=$(on_source -At -c "$query public.$table")
    here_is=$(on_mirror -At -c "$query odoo_mirror.$table")
    left_out=$(comm -23 <(columns_of on_source public "$table" | sort) <(columns_of on_mirror odoo_mirror "$table" | sort) | paste -sd ' ')
    if [ -n "$columns" ] && [ "$here_is" = "$there_is" ]; then
      printf "  %s%s%s %-22s %10d rows  %s" "$green" "$tick" "$plain" "$table" "${here_is% *}" "${here_is#* }"
    else
      equal=no
      printf "  %s%s%s %-22s Odoo: %s  mirror: %s" "$red" "$cross" "$plain" "$table" "$there_is" "$here_is"
    fi
    printf '%s\n' "${left_out:+  (not mirrored: $left_out)}"
    total_rows=$((total_rows + ${here_is% *}))
  done
  [ "$equal" = yes ]
}

columns_of() { # SIDE SCHEMA TABLE
  "$1" -At -c "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = '$2.$3'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname"
}

look_around() {
  local as=''
  [ "$(id -u)" != 0 ] || as=' (as root)'
  heading "Look around$as"
  cat <<TEXT
  mirror   $DEMO_PSQL -h $DEMO_DIR -p $DEMO_MIRROR_PORT -U postgres postgres
  source   $DEMO_PSQL -h $DEMO_DIR -p $DEMO_SOURCE_PORT -U postgres odoo

  In the mirror:   SELECT jsonb_pretty(odoo_mirror.status());
                   SELECT * FROM odoo_mirror.tables();
                   SELECT * FROM odoo_mirror.lag();
  More business:   demo/traffic.sh 150 60          (operations a second, seconds)
  The logs:        $DEMO_DIR/source.log, $DEMO_DIR/mirror.log
  The end:         make demo-stop
TEXT
}

# Says what failed and where to look; the clusters stay for that.
give_up() {
  local error
  error=$(last_error 2>/dev/null || true)
  printf '\n%s%s%s\n' "$red" "${error:-no error is reported by odoo_mirror.status()}" "$plain" >&2
  printf 'make demo: failed in %s; the logs are %s/*.log, make demo-stop removes all\n' "$1" "$DEMO_DIR" >&2
  said=yes
  exit 1
}

traffic='' said=''
at_exit() {
  local status=$?
  [ -z "$traffic" ] || kill "$traffic" 2>/dev/null || true
  [ "$status" = 0 ] || [ -n "$said" ] || printf '\nmake demo: %s; what is running stays in %s until make demo-stop\n' "$([ "$status" = 130 ] && echo interrupted || echo failed)" "$DEMO_DIR" >&2
}
trap at_exit EXIT
trap 'exit 130' INT TERM

main
