#!/usr/bin/env bash
# Business operations on the demo's source at a rate: traffic.sh RATE SECONDS [CLIENTS]
# Which database: libpq's own environment (PGHOST, PGPORT, PGUSER, PGDATABASE), the demo's by default.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/clusters.sh"

if (($# < 2)); then
    echo "usage: $0 RATE SECONDS [CLIENTS]   (RATE in transactions a second, 0 = as fast as it goes)" >&2
    exit 2
fi
rate=$1 seconds=$2 clients=${3:-2}

export PGHOST=${PGHOST:-$DEMO_DIR} PGPORT=${PGPORT:-$DEMO_SOURCE_PORT} PGUSER=${PGUSER:-postgres} PGDATABASE=${PGDATABASE:-odoo}
limit=()
((rate > 0)) && limit=(-R "$rate")

# The sequence hands each transaction a number of its own, so clients never repeat each other's operation. Two clients may meet in
# a deadlock, as Odoo's users do: --max-tries tries again, as Odoo does.
exec "$(pg_program pgbench)" -n -c "$clients" -T "$seconds" "${limit[@]}" --max-tries=10 \
    -f <(echo "CALL demo.operation(nextval('demo.operation_seq'));")
