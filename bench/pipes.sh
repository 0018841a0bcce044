#!/usr/bin/env bash
# The first copy's floor: pipes.sh PSQL SOURCE DESTINATION INDEXES copies every published table through two pipes at a time, in
# binary, the largest first, and makes the indexes (a file of SQL) afterwards. No slot, no snapshot: nothing to go on from.
set -euo pipefail
psql=("$1" -qX -v ON_ERROR_STOP=1)
export psql_program=$1 source=$2 destination=$3

pipe() {
  "$psql_program" -qX -d "$source" -c "COPY public.$1 TO STDOUT (FORMAT binary)" |
    "$psql_program" -qX -v ON_ERROR_STOP=1 -d "$destination" -c "COPY public.$1 FROM STDIN (FORMAT binary)"
}
export -f pipe

"${psql[@]}" -At -d "$source" -c "SELECT tablename FROM pg_publication_tables WHERE pubname = 'odoo_pub_scout'
    ORDER BY pg_relation_size(format('public.%I', tablename)::regclass) DESC" |
  xargs -P 2 -I '{}' bash -c 'set -eo pipefail; pipe {}'
"${psql[@]}" -d "$destination" -f "$4" -c "CREATE TABLE pipes_are_done ()"
