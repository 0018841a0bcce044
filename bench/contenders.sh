# shellcheck shell=bash source-path=SCRIPTDIR disable=SC2034,SC2154,SC2155
# Who takes part, and how each is started, watched and held. Sourced, never run.
#
#   native         CREATE SUBSCRIPTION, as it comes
#   native_binary  the same WITH (binary = true)
#   odoo_mirror    this extension
#   floor          what nothing can beat: for the first copy two COPY pipes in binary, indexes after; for the stream a client
#                  that reads the slot and throws everything away
contenders=(native native_binary odoo_mirror floor)
meter=''

# Where psql and the meter find a contender's rows; native ones lie in databases of their own name, the floor's copy in `pipes`.
conninfo_of() {
  case $1 in
    odoo_mirror) echo "host=$bench_dir port=$mirror_port user=postgres dbname=postgres" ;;
    floor | source) echo "host=$bench_dir port=$source_port user=postgres dbname=odoo" ;;
    *) echo "host=$bench_dir port=$native_port user=postgres dbname=$1" ;;
  esac
}

# The process that applies (for the floor: that decodes).
worker_of() {
  case $1 in
    odoo_mirror) on_mirror -At -c "SELECT pid FROM pg_stat_activity WHERE backend_type = 'odoo_mirror'" ;;
    floor) walsender_of floor ;;
    *) on_native -d "$1" -At -c "SELECT pid FROM pg_stat_subscription WHERE subname = '$1' AND relid IS NULL" ;;
  esac
}

slot_of() { [ "$1" = odoo_mirror ] && echo odoo_mirror || echo "$1"; }
walsender_of() { on_source -At -c "SELECT active_pid FROM pg_replication_slots WHERE slot_name = '$(slot_of "$1")'"; }

# A query that is true once the contender shows the mark, or has read as far.
shows_mark() { # CONTENDER MARK LSN
  case $1 in
    odoo_mirror) echo "SELECT n >= $2 FROM odoo_mirror.bench_mark WHERE id = 1" ;;
    floor) echo "SELECT sent_lsn >= '$3' FROM pg_stat_replication WHERE pid = $(walsender_of floor)" ;;
    *) echo "SELECT n >= $2 FROM public.bench_mark WHERE id = 1" ;;
  esac
}

# Measures a first copy, from the command that asks for it to the last table's last row. CPU and memory are the whole
# destination cluster's: copy workers come and go.
copy() {
  local cluster=native database=$1 psql="'$DEMO_PSQL' -qX -v ON_ERROR_STOP=1 -d '$(conninfo_of "$1")'" command query
  case $1 in
    odoo_mirror)
      cluster=mirror
      command="$psql -o /dev/null -c 'SELECT odoo_mirror.start()'"
      query="SELECT count(*) = $tables FROM odoo_mirror_internal.tables WHERE state = 'ready'"
      ;;
    floor)
      database=pipes
      command="'$BENCH_HOME/pipes.sh' '$DEMO_PSQL' '$(conninfo_of source)' '$(conninfo_of pipes)' '$bench_dir/indexes.sql'"
      query="SELECT to_regclass('public.pipes_are_done') IS NOT NULL"
      ;;
    *)
      subscription "$1" >"$bench_dir/$1.sql"
      command="$psql -f '$bench_dir/$1.sql' 2>'$bench_dir/notices'"
      # s: the table's rows are in, and it has met the stream.
      query="SELECT count(*) = $tables FROM pg_subscription_rel WHERE srsubstate IN ('s', 'r')"
      ;;
  esac
  "$meter" wait "$(conninfo_of "$database")" "$query" "$command" "tree:$(head -1 "$bench_dir/$cluster/postmaster.pid")"
}

subscription() {
  local options=''
  [ "$1" != native_binary ] || options='WITH (binary = true)'
  echo "CREATE SUBSCRIPTION $1 CONNECTION '$source_conninfo passfile=$passfile' PUBLICATION odoo_pub_scout $options;"
}

# After the copies: the floor of the stream begins to read.
start_decoding() {
  on_source -o /dev/null -c "SELECT pg_create_logical_replication_slot('floor', 'pgoutput')"
  PGPASSFILE=$passfile "$(pg_program pg_recvlogical)" -d "$source_conninfo" -S floor --start -f /dev/null -F 0 -s 1 \
    -o proto_version=3 -o publication_names=odoo_pub_scout -o binary=true &
  decoding=$!
}

stop_decoding() {
  [ -z "$decoding" ] || { kill "$decoding" && wait "$decoding"; } 2>/dev/null || true
  decoding=''
}

# Stops every walsender where it waits for work, so that nobody's turn disturbs another's and nobody has to connect first.
hold_all() {
  local contender pid event
  held=()
  for contender in "${contenders[@]}"; do
    pid=$(walsender_of "$contender")
    [ -n "$pid" ] || { echo "$contender doesn't read its slot" >&2; return 1; }
    while :; do
      kill -STOP "$pid"
      # Not in the middle of something that others would have to wait for.
      event=$(on_source -At -c "SELECT wait_event FROM pg_stat_activity WHERE pid = $pid")
      [[ $event != WalSender* ]] || break
      kill -CONT "$pid"
      sleep 0.1
    done
    held+=("$pid")
  done
}

release_all() { [ ${#held[@]} = 0 ] || kill -CONT "${held[@]}" 2>/dev/null || true; held=(); }

# For the lag: only one contender follows at a time.
pause() {
  case $1 in
    odoo_mirror) on_mirror -o /dev/null -c "SELECT odoo_mirror.stop()" ;;
    *) on_native -d "$1" -c "ALTER SUBSCRIPTION $1 DISABLE" ;;
  esac
}

resume() {
  case $1 in
    odoo_mirror) on_mirror -o /dev/null -c "SELECT odoo_mirror.start()" ;;
    *) on_native -d "$1" -c "ALTER SUBSCRIPTION $1 ENABLE" ;;
  esac
}
