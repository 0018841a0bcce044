#!/usr/bin/env bash
# Format, clippy on both feature sets, licenses and bans. `lint.sh --as-installed` doesn't install cargo-deny.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPO"

say "cargo fmt --check"
cargo fmt --check
say "clippy without a server (floors 0 and 1)"
cargo clippy --quiet --all-targets --no-default-features -- -D warnings
cargo clippy --quiet --test two_cluster --no-default-features -- -D warnings
say "clippy with the extension (PostgreSQL 15)"
cargo clippy --quiet --all-targets --features pg_test -- -D warnings

if ! cargo deny --version >/dev/null 2>&1; then
  if [ "${1:-}" = --as-installed ]; then
    say "cargo deny isn't installed: licenses and bans not checked (make lint installs it)"
    exit 0
  fi
  say "cargo install cargo-deny (some minutes)"
  (cd / && cargo install cargo-deny --locked)
fi
say "cargo deny check licenses bans"
cargo deny --log-level error check licenses bans
