#!/usr/bin/env bash
# scripts/verify-health.sh: is the mirror well? Worker up, endpoint answering, lag within bounds, Prometheus scraping,
# configuration complete. A line for each; exit status 0 when all is well, 1 when something isn't, 2 when it can't be asked.
# Settings: .env beside it or in the repository (see .env.example), or the environment.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
for file in "$here/../.env" ./.env; do
  # shellcheck disable=SC1090
  [ ! -f "$file" ] || { set -a; . "$file"; set +a; break; }
done
: "${ODOO_MIRROR_MAX_LAG:=60}" "${ODOO_MIRROR_METRICS:=}" "${PROMETHEUS_URL:=}"
[ -n "${ODOO_MIRROR_DSN:-}" ] || { echo "verify-health: set ODOO_MIRROR_DSN (see .env.example)" >&2; exit 2; }
psql=${PSQL:-psql}
failed=0

line() { # OK WHAT DETAIL
  if [ "$1" = 0 ]; then printf 'pass  %-14s %s\n' "$2" "$3"; else printf 'FAIL  %-14s %s\n' "$2" "$3"; failed=1; fi
}
ask() { "$psql" -XAtq -v ON_ERROR_STOP=1 -d "$ODOO_MIRROR_DSN" -c "$1"; }

state=$(ask "SELECT odoo_mirror.status() ->> 'state'") || { echo "verify-health: $ODOO_MIRROR_DSN doesn't answer" >&2; exit 2; }
[ "$state" = streaming ] || [ "$state" = degraded ]; line $? worker "$state"
missing=$(ask "SELECT coalesce(string_agg(\"check\" || ': ' || coalesce(hint, detail), '; '), '') FROM odoo_mirror.doctor() WHERE NOT ok")
[ -z "$missing" ]; line $? configuration "${missing:-complete}"
aside=$(ask "SELECT count(*) FROM odoo_mirror.failures()")
[ "$aside" = 0 ]; line $? rows "$aside refused and set aside"
lag=$(ask "SELECT coalesce(seconds, -1) FROM odoo_mirror.lag()")
awk -v lag="$lag" -v most="$ODOO_MIRROR_MAX_LAG" 'BEGIN { exit !(lag >= 0 && lag <= most) }'
line $? lag "$lag s (at most $ODOO_MIRROR_MAX_LAG)"
if [ -n "$ODOO_MIRROR_METRICS" ]; then
  code=$(curl -s -m 10 -o /dev/null -w '%{http_code}' "$ODOO_MIRROR_METRICS/health"); [ "$code" = 200 ]; line $? endpoint "$ODOO_MIRROR_METRICS/health answers $code"
fi
if [ -n "$PROMETHEUS_URL" ]; then
  found=$(curl -s -m 10 "$PROMETHEUS_URL/api/v1/query?query=etl_up" | grep -c '"value":\[') ; [ "$found" -gt 0 ]; line $? Prometheus "$PROMETHEUS_URL has etl_up: $found"
fi
if [ "$failed" = 0 ]; then echo "verify-health: all is well"; else echo "verify-health: FAILED"; fi
exit "$failed"
