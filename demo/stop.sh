#!/usr/bin/env bash
# Stops what `make demo` left running, and removes it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/clusters.sh"

if demo_is_there; then
  remove_demo
  echo "make demo-stop: both clusters stopped, $DEMO_DIR removed"
else
  echo "make demo-stop: no demo in $DEMO_DIR"
fi
