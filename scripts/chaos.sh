#!/usr/bin/env bash
# make chaos: the oracle (tests/two_cluster/oracle/) with a new seed for each run, for CHAOS_MINUTES (10). Prints what it does, what
# each run came to, and one line at the end: so many runs, so many faults, what they found. Stops at the first find, with the
# seed that repeats it. The whole story is in target/test-logs/chaos.log.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPO"

major=${ODOO_MIRROR_PG:-15}
export CHAOS_MINUTES=${CHAOS_MINUTES:-10}
export ODOO_MIRROR_PG=$major
log=$REPO/target/test-logs/chaos.log
mkdir -p "$(dirname "$log")"

scripts/servers.sh "$major"
scripts/extension.sh "$major"
say "$CHAOS_MINUTES minutes on PostgreSQL $major; everything goes to $log"
status=0
# The test that the oracle sees what is wrong, and says so in the same words, is left to make test.
# tail looks for it before the tests have written.
: >"$log"
cargo test --no-default-features --test two_cluster -- --test-threads "${CHAOS_THREADS:-2}" --nocapture oracle:: \
  --skip oracle::a_wrong_row >"$log" 2>&1 &
tests=$!
tail -n +1 -f --pid="$tests" "$log" | grep -aE --line-buffered '^(oracle: | *[0-9.]+ s  (fault|run|WRONG)|repeat with )' || true
wait "$tests" || status=$?

runs=$(grep -acE '^oracle: ' "$log" || true)
faults=$(grep -acE '^ *[0-9.]+ s  fault ' "$log" || true)
if [ "$status" -ne 0 ]; then
  grep -aE '^ *[0-9.]+ s  WRONG|^thread .* panicked' -A 2 "$log" | head -n 20 || true
  printf 'chaos: FAILED after %d faults, in %d runs that were well before; see %s; %s\n' "$faults" "$runs" "$log" \
    "$(grep -aoE 'repeat with ODOO_MIRROR_SEED=[0-9]+' "$log" | sort -u | paste -sd, - || true)"
  exit 1
fi
printf 'chaos: nothing found: %d runs, %d faults, in %s minutes\n' "$runs" "$faults" "$CHAOS_MINUTES"
