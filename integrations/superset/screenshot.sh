#!/usr/bin/env bash
# screenshot.sh URL FILE: the dashboard as a browser shows it (Debian's chromium). The Superset of this run lets everybody in for it.
set -euo pipefail
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --user-data-dir="$profile" \
  --window-size=1400,1420 --virtual-time-budget=60000 --timeout=90000 --screenshot="$2" "$1/superset/dashboard/odoo/?standalone=1" >"$2.log" 2>&1
[ -s "$2" ]
