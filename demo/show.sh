# The demo's drawing: headings, bars, and a picture that is redrawn in place on a terminal. Sourced, never run, after clusters.sh.
#
# Numbers are formatted by SQL, where they come from; here they get their colour and their place. Without a terminal (a log, a
# pipe) there are no colours and no redrawing: one line a second says the same.

SHOW_LIVE=
[ ! -t 1 ] || [ "${TERM:-dumb}" = dumb ] || SHOW_LIVE=yes

bold='' dim='' green='' yellow='' red='' plain=''
if [ -n "$SHOW_LIVE" ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' yellow=$'\e[33m' red=$'\e[31m' plain=$'\e[0m'
fi

full='#' empty='.' tick='ok' cross='DIFFERENT'
if [ "$(locale charmap 2>/dev/null)" = UTF-8 ]; then
  full='█' empty='░' tick='✓' cross='✗'
fi

heading() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s%s%s\n' "$dim" "$*" "$plain"; }
now_ms() { printf '%s\n' "$((${EPOCHREALTIME/[.,]/} / 1000))"; }

# Draws its argument, on a terminal over the one before. `new_frame` leaves the last one standing.
frame_lines=0
new_frame() { frame_lines=0; }
frame() {
  local text=$1
  [ "$frame_lines" = 0 ] || printf '\e[%dA' "$frame_lines"
  printf '%s\n' "${text//$'\n'/$'\e[K\n'}"$'\e[K'
  frame_lines=$(($(tr -cd '\n' <<<"$text" | wc -c)))
}

# Colours the word that a state is.
paint() {
  local text=$1
  if [ -n "$green" ]; then
    text=$(sed -E "s/\b(ready|streaming)\b/$green\1$plain/; s/\b(copying|catching_up|reconciling)\b/$yellow\1$plain/; s/\bfailed\b/${red}failed$plain/" <<<"$text")
  fi
  printf '%s\n' "$text"
}

# The first copy, a bar a table.
copy_picture() {
  on_mirror -At -v full="$full" -v empty="$empty" <<'SQL'
SELECT format('  %s %s %s %s rows %s %s %s', rpad(table_name, 22), rpad(state, 12),
    repeat(:'full', (coalesce(copied_percent, 0) / 4)::int) || repeat(:'empty', 25 - (coalesce(copied_percent, 0) / 4)::int),
    lpad(to_char(coalesce(copied_rows, 0), 'FM999,999,999'), 11), lpad(coalesce(round(copied_percent, 0) || '%', ''), 5),
    lpad(CASE WHEN state = 'copying' THEN to_char(rows_per_second, 'FM999,999,999') || ' rows/s' ELSE '' END, 16),
    CASE WHEN state = 'failed' THEN reason WHEN state = 'copying' THEN coalesce(extract(epoch FROM time_left)::int || ' s left', '') ELSE '' END)
FROM odoo_mirror.tables() ORDER BY table_name;
SQL
}

# The same in one line.
copy_line() {
  on_mirror -At <<'SQL'
SELECT format('  copying: %s of %s tables ready, %s rows, %s rows/s, %s', count(*) FILTER (WHERE state = 'ready'), count(*),
    to_char(coalesce(sum(copied_rows), 0), 'FM999,999,999'),
    to_char(coalesce(sum(rows_per_second) FILTER (WHERE state = 'copying'), 0), 'FM999,999,999'),
    coalesce(extract(epoch FROM max(time_left) FILTER (WHERE state = 'copying'))::int || ' s left', 'time left not known yet'))
FROM odoo_mirror.tables();
SQL
}

# `tables` while some are still on their way, `ready`, or the reason why it won't get there.
copy_state() {
  on_mirror -At -v wanted="$1" <<'SQL'
SELECT CASE WHEN count(*) FILTER (WHERE state = 'failed') > 0
        THEN 'failed: ' || string_agg(table_name || ' (' || coalesce(reason, 'no reason given') || ')', ', ') FILTER (WHERE state = 'failed')
    WHEN count(*) FILTER (WHERE state = 'ready') >= :wanted THEN 'ready' ELSE 'copying' END
FROM odoo_mirror.tables();
SQL
}

last_error() {
  on_mirror -At <<'SQL'
SELECT concat_ws(' – ', s -> 'last_error' ->> 'message', s -> 'last_error' ->> 'detail', s -> 'last_error' ->> 'hint')
FROM odoo_mirror.status() s WHERE jsonb_typeof(s -> 'last_error') = 'object';
SQL
}

# show_copy TABLES: draws until that many tables are ready. Fails when one can't be copied, or after ten minutes.
show_copy() {
  local wanted=$1 started state pause=1
  started=$(now_ms)
  [ -z "$SHOW_LIVE" ] || pause=0.2
  new_frame
  while :; do
    state=$(copy_state "$wanted") || return 1
    if [ -n "$SHOW_LIVE" ]; then
      frame "$(paint "$(copy_picture)")"
    elif [ "$state" = copying ]; then
      copy_line
    fi
    case $state in
      ready) break ;;
      failed*) echo "$state" >&2; return 1 ;;
    esac
    if (($(now_ms) - started > 600000)); then
      echo "not ready after ten minutes: $(last_error)" >&2
      return 1
    fi
    sleep "$pause"
  done
  [ -n "$SHOW_LIVE" ] || copy_picture
  SHOW_COPY_MS=$(($(now_ms) - started))
}

# Each table's rows, one a line, as `table rows`: on the side that is given.
counts_of() {
  local side=$1 schema=$2 table query=()
  for table in "${DEMO_TABLES[@]}"; do
    query+=(-c "SELECT '$table', count(*) FROM $schema.$table")
  done
  "$side" -At -F ' ' "${query[@]}"
}

# show_traffic PID: draws lag, applied changes a second and both sides' rows, once a second as long as that process lives.
show_traffic() {
  local traffic=$1 applied before=0 before_at=0 at lag rate picture worst=0
  new_frame
  while kill -0 "$traffic" 2>/dev/null; do
    read -r applied lag < <(on_mirror -At -F ' ' -c "SELECT (SELECT sum(inserted + updated + deleted) FROM odoo_mirror.tables()),
      (SELECT coalesce(round((seconds * 1000)::numeric), -1) FROM odoo_mirror.lag())")
    at=$(now_ms)
    rate=$((before_at ? (applied - before) * 1000 / (at - before_at + 1) : 0))
    before=$applied before_at=$at
    ((lag <= worst)) || worst=$lag
    printf -v picture '  lag %6d ms (most so far %d ms)   applied %8d changes, %6d a second' "$lag" "$worst" "$applied" "$rate"
    if [ -n "$SHOW_LIVE" ]; then
      picture+=$(printf '\n\n  %s%-22s %12s %12s%s' "$dim" table 'Odoo' 'mirror' "$plain"; paste -d ' ' <(counts_of on_source public) <(counts_of on_mirror odoo_mirror) |
        awk '{ printf "\n  %-22s %12d %12d", $1, $2, $4 }')
    fi
    frame_or_line "$picture"
    sleep 0.9
  done
}

frame_or_line() {
  if [ -n "$SHOW_LIVE" ]; then frame "$1"; else printf '%s\n' "$1"; fi
}
