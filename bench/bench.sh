#!/usr/bin/env bash
# `make bench`: PostgreSQL's own subscription, this extension, and what nothing can beat, on the same work, in turn, on this machine.
# docs/performance.md says what is measured and how to read it. The result goes to the terminal and to target/bench/latest.md.
#
#   BENCH_QUICK=1            small and once, in 2 minutes: shows that it works, not how fast it is
#   BENCH_REPETITIONS  3
#   BENCH_SCALE        1     of the source's tables: 1 is about 313,000 rows
#   BENCH_WORK         100   percent of the changes that docs/performance.md names
#   BENCH_LAG_SECONDS  30
#   BENCH_PORT         54330 and the two after it
#   BENCH_PG_CONFIG          a PostgreSQL 15 that has odoo_mirror installed: the extension isn't built then
#   BENCH_PARENT       /var/tmp   where the clusters live meanwhile; a real disk, since fsync is on
# shellcheck source-path=SCRIPTDIR disable=SC2031,SC2034,SC2154
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
if [ -n "${BENCH_QUICK:-}" ]; then
  : "${BENCH_REPETITIONS:=1}" "${BENCH_SCALE:=0.1}" "${BENCH_WORK:=10}" "${BENCH_LAG_SECONDS:=5}"
fi
repetitions=${BENCH_REPETITIONS:-3} scale=${BENCH_SCALE:-1} percent=${BENCH_WORK:-100} lag_seconds=${BENCH_LAG_SECONDS:-30}
lag_rate=300

# shellcheck source=../scripts/env.sh
. "$here/../scripts/env.sh"
bench_dir=$(mktemp -d "${BENCH_PARENT:-/var/tmp}/odoo_mirror_bench.XXXXXX")
[ "$(id -u)" != 0 ] || chown postgres: "$bench_dir"
# shellcheck source=clusters.sh
. "$here/clusters.sh"
# shellcheck source=contenders.sh
. "$here/contenders.sh"
# shellcheck source=report.sh
. "$here/report.sh"

out=$REPO/target/bench
figures=$out/figures.tsv
held=() decoding='' rows='' tables='' mark=0

main() {
  mkdir -p "$out"
  : >"$figures"
  build
  DEMO_PSQL=$(pg_program psql)
  say "making the clusters (scale $scale)"
  make_pristine
  say "$rows rows in $tables tables"
  local repetition
  for ((repetition = 1; repetition <= repetitions; repetition++)); do
    begin_repetition
    mark=0
    measure_copies
    start_decoding
    measure_work W1 w1 20000
    measure_work W2 w2 100000
    measure_work W3 w3 200000
    measure_work W4 w4 50000
    measure_work W5 w5 100000
    stop_decoding
    measure_lags
    check_equal
    end_repetition
  done
  report | tee "$out/latest.md"
  say "written to ${out#"$REPO"/}/latest.md, single figures in figures.tsv"
}

build() {
  if [ -z "${BENCH_PG_CONFIG:-}" ]; then
    "$here/../scripts/servers.sh" 15
    "$here/../scripts/extension.sh" 15 release
  elif [ ! -e "$("$BENCH_PG_CONFIG" --pkglibdir)/odoo_mirror.so" ]; then
    die "$BENCH_PG_CONFIG is of a PostgreSQL without odoo_mirror"
  fi
  say "building the meter"
  CARGO_TARGET_DIR=$REPO/target/bench-meter cargo build --quiet --release --locked --manifest-path "$here/meter/Cargo.toml"
  meter=$REPO/target/bench-meter/release/bench-meter
}

# Each repetition begins with another contender.
in_turn() {
  local count=${#contenders[@]} place
  for ((place = 0; place < count; place++)); do
    echo "${contenders[(place + repetition - 1) % count]}"
  done
}

record() { # WORK CONTENDER FIGURE...
  printf '%s\t' "$repetition" "$@" >>"$figures"
  printf '\n' >>"$figures"
  printf '%s: %s/%s %-4s %-14s %s\n' bench "$repetition" "$repetitions" "$1" "$2" "${*:3}"
}

measure_copies() {
  local contender measured
  for contender in $(in_turn); do
    measured=$(copy "$contender")
    # shellcheck disable=SC2086
    record copy "$contender" $measured
  done
}

# measure_work NAME PROCEDURE SIZE: all walsenders are held, the work is done and marked, then each contender gets its turn to read
# the same WAL, from the moment that its walsender is let go to the moment that it shows the mark.
measure_work() {
  local size=$(($3 * percent / 100)) contender walsender measured lsn
  settle
  hold_all
  on_source -c "SET synchronous_commit = off" -c "CALL bench.$2($size)"
  mark=$((mark + 1))
  on_source -c "CALL bench.mark($mark)"
  lsn=$(on_source -At -c "SELECT pg_current_wal_flush_lsn()")
  for contender in $(in_turn); do
    walsender=$(walsender_of "$contender")
    measured=$("$meter" wait "$(conninfo_of "$contender")" "$(shows_mark "$contender" "$mark" "$lsn")" \
      "kill -CONT $walsender" "$(worker_of "$contender")")
    # shellcheck disable=SC2086
    record "$1" "$contender" $measured
    [ "$(walsender_of "$contender")" = "$walsender" ] || die "$contender connected anew while it was held: try a smaller BENCH_WORK"
  done
  held=()
}

# Everybody shows the last mark, and what is left to write is on disk: no turn pays for the one before.
settle() {
  local contender lsn
  mark=$((mark + 1))
  on_source -c "CALL bench.mark($mark)"
  lsn=$(on_source -At -c "SELECT pg_current_wal_flush_lsn()")
  for contender in "${contenders[@]}"; do
    [ "$contender" != floor ] || [ -n "$decoding" ] || continue
    "$meter" wait "$(conninfo_of "$contender")" "$(shows_mark "$contender" "$mark" "$lsn")" true $$ >/dev/null
  done
  psql_at "$source_port" -d postgres -c CHECKPOINT
  on_native -d native -c CHECKPOINT
  on_mirror -c CHECKPOINT
}

# One after the other, each alone.
measure_lags() {
  local contender measured table
  settle
  for contender in native native_binary odoo_mirror; do
    pause "$contender"
  done
  for contender in $(in_turn); do
    [ "$contender" = native ] || [ "$contender" = odoo_mirror ] || continue
    resume "$contender"
    table=public.bench_mark
    [ "$contender" != odoo_mirror ] || table=odoo_mirror.bench_mark
    mark=$((mark + 1))
    on_source -c "CALL bench.mark($mark)"
    "$meter" wait "$(conninfo_of "$contender")" "$(shows_mark "$contender" "$mark" 0/0)" true $$ >/dev/null
    measured=$("$meter" lag "$(conninfo_of source)" "$(conninfo_of "$contender")" "$table" "$lag_rate" "$lag_seconds" "$(worker_of "$contender")")
    # shellcheck disable=SC2086
    record W6 "$contender" $measured
    mark=$(on_source -At -c "SELECT n FROM public.bench_mark")
    pause "$contender"
  done
  for contender in native native_binary odoo_mirror; do
    resume "$contender"
  done
  settle
}

# A figure of somebody who didn't do all the work would be worth nothing.
check_equal() {
  local query="SELECT (SELECT count(*) || ' ' || sum(customer_rank) FROM %1\$s.res_partner), (SELECT count(*) || ' ' || sum(amount_total) FROM %1\$s.account_move),
    (SELECT count(*) || ' ' || sum(price_unit) FROM %1\$s.account_move_line)"
  local there contender here
  there=$(on_source -At -c "${query//%1\$s/public}")
  for contender in native native_binary odoo_mirror; do
    case $contender in
      odoo_mirror) here=$(on_mirror -At -c "${query//%1\$s/odoo_mirror}") ;;
      *) here=$(on_native -d "$contender" -At -c "${query//%1\$s/public}") ;;
    esac
    [ "$here" = "$there" ] || die "$contender is not equal to the source: $here, not $there"
  done
}

at_exit() {
  local status=$?
  release_all
  stop_decoding
  if [ "$status" != 0 ]; then
    printf 'make bench: failed (%s); the ends of the logs:\n' "$status" >&2
    tail -n 3 "$bench_dir"/*.log >&2 || true
    on_mirror -At -c "SELECT odoo_mirror.status() ->> 'last_error'" 2>/dev/null >&2 || true
  fi
  end_repetition
  rm -rf "$bench_dir"
}
trap at_exit EXIT
trap 'exit 130' INT TERM

main
