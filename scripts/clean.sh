#!/usr/bin/env bash
# Removes what was built here, and this clone's servers. Clusters that run from them are asked to stop first.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

cd "$REPO"
[ ! -x demo/demo.sh ] || demo/demo.sh stop || true
for pid in $(pgrep -f "^$SERVERS/.*/postgres " || true); do
  say "stopping server $pid"
  kill -INT "$pid" 2>/dev/null || true
done
say "cargo clean; rm -r $SERVERS"
rm -rf "$SERVERS" "$REPO/target/servers"
cargo clean
