# shellcheck shell=bash disable=SC2154
# Figures to Markdown. Sourced, never run.

# Goals: native's wall ÷ ours, native's apply CPU ÷ ours.
goals() {
  cat <<'TSV'
copy	1.5	1.5	first copy
W1	2.0	2.0	W1: transactions of 8 changes
W2	2.5	1.9	W2: one update
W3	1.6	1.5	W3: one insert
W4	2.0	8	W4: transactions on 100 hot rows
W5	1.6	1.7	W5: one delete
W6	–	1.4	W6: lag
TSV
}

report() {
  local commit cpu memory changed=''
  commit=$(git -C "$REPO" rev-parse --short HEAD 2>/dev/null || echo unknown)
  [ -z "$(git -C "$REPO" status --porcelain -- src sql Cargo.lock 2>/dev/null)" ] || changed=', with changes'
  cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
  memory=$(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1048576 }' /proc/meminfo)
  cat <<MARKDOWN
# odoo_mirror, measured $(date -u +%Y-%m-%d)

$cpu, $(nproc) cores, $memory, $("$(pg_program postgres)" --version | sed 's/.*) //'); odoo_mirror at $commit$changed.
Scale $scale ($rows rows in $tables tables), work $percent %, $repetitions repetition(s): medians.

Wall clock / CPU of what applies, in seconds (first copy: CPU of the whole destination). In brackets: the ratios' range.

| work | native | native, binary | odoo_mirror | floor | wall: native ÷ ours | goal | CPU: native ÷ ours | goal | ceiling |
|---|---|---|---|---|---|---|---|---|---|
MARKDOWN
  awk -F'\t' -v OFS=' | ' "$median_awk"'
    FNR == NR { work[++works] = $1; wall_goal[$1] = $2; cpu_goal[$1] = $3; title[$1] = $4; next }
    $2 != "W6" { note($2 " " $3 " wall", $1, $4); note($2 " " $3 " cpu", $1, $5); if ($5 > 0) seen[$2] }
    function pair(w, c) { return sprintf("%.2f / %.2f", median(w " " c " wall") / 1000, median(w " " c " cpu") / 1000) }
    function ratio(w, what, over,   key) {
      key = w " " what " " over
      for (r in runs) note(key, r, divided(figure[w " native " what, r], figure[w " " over " " what, r]))
      return median(key)
    }
    function shown(w, what,   value) {
      value = ratio(w, what, "odoo_mirror")
      return sprintf("%.2f", value) (lowest < highest ? sprintf(" (%.2f–%.2f)", lowest, highest) : "")
    }
    function met(value, goal) { return goal (value + 0 >= goal + 0 ? " ✓" : " ✗") }
    END {
      for (i = 1; i <= works; i++) {
        w = work[i]
        if (!(w in seen)) continue
        wall = shown(w, "wall"); cpu = shown(w, "cpu")
        print "| " title[w], pair(w, "native"), pair(w, "native_binary"), pair(w, "odoo_mirror"), sprintf("%.2f", median(w " floor wall") / 1000), \
          wall, met(wall, wall_goal[w]), cpu, met(cpu, cpu_goal[w]), sprintf("%.2f |", ratio(w, "wall", "floor"))
      }
    }' <(goals) "$figures"
  cat <<MARKDOWN

W6: lag, commit to visible, at $lag_rate transactions of 9 changes a second for $lag_seconds s:

| | p50 ms | p99 ms | longest ms | CPU s | transactions/s |
|---|---|---|---|---|---|
MARKDOWN
  awk -F'\t' "$median_awk"'
    $2 == "W6" { for (i = 4; i <= 9; i++) note($3 " " i, $1, $i); note("ratio", $1, 0); cpu[$3, $1] = $7; names[$3] }
    function line(c) {
      printf "| %s | %.2f | %.2f | %.2f | %.2f | %d |\n", c, median(c " 4") / 1000, median(c " 5") / 1000, median(c " 6") / 1000, median(c " 7") / 1000, median(c " 9")
    }
    END {
      line("native"); line("odoo_mirror")
      for (r in runs) note("ratio", r, divided(cpu["native", r], cpu["odoo_mirror", r]))
      ratio = median("ratio"); range = lowest < highest ? sprintf(" (%.2f–%.2f)", lowest, highest) : ""
      p50 = median("odoo_mirror 4") / 1000; p99 = median("odoo_mirror 5") / 1000
      printf "\nCPU: native ÷ ours %.2f%s, goal 1.4 %s. Goals of the lag: p50 ≤ 1.2 ms %s, p99 ≤ 4 ms %s.\n", \
        ratio, range, met(ratio >= 1.4), met(p50 <= 1.2), met(p99 <= 4)
    }
    function met(is) { return is ? "✓" : "✗" }' "$figures"
  cat <<MARKDOWN

Most private memory of the applying process, MB (first copy: of the whole destination):

| work | native | native, binary | odoo_mirror |
|---|---|---|---|
MARKDOWN
  awk -F'\t' -v OFS=' | ' "$median_awk"'
    FNR == NR { work[++works] = $1; next }
    { note($2 " " $3, $1, $2 == "W6" ? $8 : $6); seen[$2] }
    function mb(w, c) { return (w " " c) in count ? sprintf("%.1f", median(w " " c) / 1024) : "" }
    END { for (i = 1; i <= works; i++) { w = work[i]; if (w in seen) print "| " w, mb(w, "native"), mb(w, "native_binary"), mb(w, "odoo_mirror") " |" } }' \
    <(goals) "$figures"
}

# note(key, repetition, value) and median(key), which also sets lowest and highest. mawk has no sort.
# shellcheck disable=SC2016
median_awk='
  function note(key, r, value) { if (!((key, r) in figure)) count[key]++; figure[key, r] = value; runs[r] }
  function divided(a, b) { return b > 0 ? a / b : 0 }
  function median(key,   r, n, i, j, t, v) {
    n = 0
    for (r in runs) if ((key, r) in figure) v[++n] = figure[key, r] + 0
    for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j - 1] > v[j]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
    lowest = v[1]; highest = v[n]
    return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
  }'
