#!/usr/bin/env bash
# make fuzz: each target in fuzz/ for FUZZ_MINUTES (20), one after the other; `scripts/fuzz.sh NAME…` only those. Needs a
# nightly toolchain, and brings cargo-fuzz along. Says of each how many inputs it ran, how much it covers and what it found;
# the whole story is in target/fuzz-logs/NAME.log, what was found in fuzz/artifacts/NAME/.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPO"

rustup run nightly rustc --version >/dev/null 2>&1 || die "needs a nightly toolchain: rustup toolchain install nightly"
if ! cargo fuzz --version >/dev/null 2>&1; then
  say "cargo install cargo-fuzz (some minutes)"
  (cd / && cargo install cargo-fuzz --locked)
fi
logs=$REPO/target/fuzz-logs
mkdir -p "$logs"
if [ $# -eq 0 ]; then
  set -- fuzz/fuzz_targets/*.rs
  set -- "${@##*/}"
  set -- "${@%.rs}"
fi
found=()
for name in "$@"; do
  mkdir -p "fuzz/corpus/$name"
  # What leaks is not looked for: a leak checker wants to trace the process, which containers forbid.
  ASAN_OPTIONS=detect_odr_violation=0:detect_leaks=0 \
    cargo +nightly fuzz run "$name" "fuzz/corpus/$name" "fuzz/seeds/$name" -- \
    -max_total_time=$((${FUZZ_MINUTES:-20} * 60)) -timeout=20 -rss_limit_mb=3000 -max_len=8192 \
    -print_final_stats=1 >"$logs/$name.log" 2>&1 || found+=("$name")
  inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$name.log")
  covers=$(grep -aoE 'cov: [0-9]+ ft: [0-9]+' "$logs/$name.log" | tail -n 1 || true)
  printf 'fuzz: %s: %s inputs, %s\n' "$name" "${inputs:-no}" "${covers:-nothing covered}"
done
if [ ${#found[@]} -gt 0 ]; then
  printf 'fuzz: FAILED: %s; see %s and fuzz/artifacts\n' "${found[*]}" "$logs"
  exit 1
fi
printf 'fuzz: nothing found in %s minutes each\n' "${FUZZ_MINUTES:-20}"
