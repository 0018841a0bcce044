#!/usr/bin/env bash
# make mutants: each small mistake that cargo-mutants can make in the pure floors and in what reads the stream, one at a time,
# against the tests that need no server. `scripts/mutants.sh FILE…` only in those files. Hours: not for CI.
# What no test noticed is in target/mutants/mutants.out/missed.txt.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPO"

if ! cargo mutants --version >/dev/null 2>&1; then
  say "cargo install cargo-mutants (some minutes)"
  (cd / && cargo install cargo-mutants --locked)
fi
if [ $# -eq 0 ]; then
  set -- 'src/wire/**' 'src/mirror/**' src/source/{intake,lease,reading,streaming,screen,channel,trusted}.rs
fi
files=()
for file in "$@"; do files+=(--file "$file"); done
mkdir -p target/mutants
# tests/connect needs a server, and a property test that fails shrinks for minutes: one case is enough to see a mistake.
status=0
PROPTEST_MAX_SHRINK_ITERS=0 cargo mutants "${files[@]}" --no-default-features --output target/mutants --no-shuffle \
  --jobs "${MUTANTS_JOBS:-1}" --timeout 300 --build-timeout 600 -- --lib --test wire --test assembler --test drift \
  --test shape --test bisect --test ranges --test config --test certificates || status=$?
# 2: some were missed; 3: some took too long, which is a way of being noticed.
case $status in 0 | 2 | 3) ;; *) die "cargo mutants failed with $status" ;; esac
out=target/mutants/mutants.out
count() { wc -l <"$out/$1.txt" | tr -d ' '; }
say "$(($(count caught) + $(count timeout))) caught, $(count missed) missed, $(count unviable) did not compile; $out/missed.txt"
