#!/bin/bash
# Throughput of order INSERTs and of COPY on three sides, each measured in turn in the same run:
#   bare      the shop's tables, nothing else
#   segment   the same with the extension attached
#   plpgsql   the same with hand-written statement triggers that keep the same totals, tier and log
#
# Needs a running server to which libpq's variables (PGHOST, PGPORT, PGUSER, …) lead as superuser, with the extension
# installed.  Makes the databases segment_bench_{bare,segment,plpgsql} and drops them at the end.
#
# SIZE=toy|small (small)   ROUNDS (9, at least 5; toy 1)   SEED (20260101)   KEEP=1 keeps the databases
# CUSTOMERS, ORDERS per measurement, COPIED orders per COPY: instead of the size's own
# SIDES (bare segment plpgsql): what to measure

# shellcheck disable=SC2086,SC2016  # lists of words are split on purpose; $n in quotes is awk's

set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")"

SIZE=${SIZE:-small}
case $SIZE in
    toy)   : "${CUSTOMERS:=500}"    "${ORDERS:=50}"   "${COPIED:=500}"    "${ROUNDS:=1}" ;;
    small) : "${CUSTOMERS:=100000}" "${ORDERS:=3000}" "${COPIED:=100000}" "${ROUNDS:=9}" ;;
    *)     echo "bench: SIZE=$SIZE is not known; toy or small" >&2; exit 2 ;;
esac
[ "$SIZE" = toy ] || [ "$ROUNDS" -ge 5 ] || { echo "bench: ROUNDS=$ROUNDS is too few for a median; at least 5" >&2; exit 2; }
SEED=${SEED:-20260101}
SIDES=${SIDES:-bare segment plpgsql}
MOVERS=$((CUSTOMERS * 3 / 10))
STEADY=$((CUSTOMERS - MOVERS))

# Debian's psql and pgbench are wrappers; the real ones spare toy runs seconds.
bin=$(${PG_CONFIG:-pg_config} --bindir 2>/dev/null || true)
[ -x "$bin/pgbench" ] && [ -x "$bin/psql" ] && PATH=$bin:$PATH
command -v pgbench >/dev/null || { echo "bench: pgbench is missing (Debian: postgresql-contrib or postgresql-15)" >&2; exit 2; }

export PGSSLMODE=${PGSSLMODE:-disable} PGAPPNAME=segment-bench
export PGOPTIONS="${PGOPTIONS:-} -c synchronous_commit=off -c client_min_messages=warning"

work=$(mktemp -d)
finish() {
    status=$?
    trap - EXIT
    if [ "${KEEP:-}" = 1 ]; then
        echo "databases kept: $(for side in $SIDES; do printf 'segment_bench_%s ' "$side"; done)"
    else
        drop_databases || true
    fi
    rm -rf "$work"
    [ $status = 0 ] || echo "not ok - bench, exit status $status" >&2
    exit $status
}

say() { printf '%s\n' "$*"; }
fail() { echo "not ok - $*" >&2; exit 1; }

admin() { psql -XqAt -v ON_ERROR_STOP=1 -d "${PGDATABASE:-postgres}" "$@"; }

drop_databases() {
    local side
    for side in bare segment plpgsql; do
        echo "DROP DATABASE IF EXISTS segment_bench_$side WITH (FORCE);"
    done | admin >/dev/null
}

# on SIDE psql-arguments…
on() {
    local side=$1
    shift
    psql -XqAt -v ON_ERROR_STOP=1 -v customers="$CUSTOMERS" -v movers="$MOVERS" -v steady="$STEADY" -v seed="$SEED" \
         -v copied="$COPIED" -d "segment_bench_$side" "$@"
}

seconds() {
    local start=$EPOCHREALTIME
    "$@" || return
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }'
}

# ── the shop, three times ──────────────────────────────────────────────────────────────────────────────────────────

trap finish EXIT
drop_databases
first=${SIDES%% *}
admin -c "CREATE DATABASE segment_bench_$first TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"
on "$first" -f shop.sql >/dev/null
on "$first" -f order_file.sql > "$work/orders.tsv"
for side in $SIDES; do
    [ "$side" = "$first" ] || admin -c "CREATE DATABASE segment_bench_$side TEMPLATE segment_bench_$first"
done

say "bench of segment, SIZE=$SIZE: $CUSTOMERS customers ($MOVERS of them movers), $(on "$first" -c 'SELECT count(*) FROM shop.orders') orders and $(on "$first" -c 'SELECT count(*) FROM shop.returns') returns already there"
say "rounds $ROUNDS, each of $ORDERS orders per line and side; COPY of $COPIED orders; seed $SEED"
say "server: $(admin -c 'SELECT version()')"
say "machine: $(nproc 2>/dev/null || echo '?') CPUs, load $(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null || echo '?'); connection: ${PGHOST:-local socket}, sslmode $PGSSLMODE, 1 client, prepared statements"
say "settings: $(admin <<'SQL'
SELECT string_agg(name || ' ' || current_setting(name), ', ' ORDER BY name)
  FROM pg_settings
 WHERE name IN ('synchronous_commit', 'fsync', 'full_page_writes', 'wal_level', 'wal_compression', 'shared_buffers', 'max_wal_size', 'checkpoint_timeout',
                'autovacuum', 'jit', 'debug_assertions', 'track_functions', 'shared_preload_libraries')
SQL
)"
for side in $SIDES; do
    [ "$side" = bare ] && continue
    took=$(seconds on "$side" -f "$side.sql" -o /dev/null)
    say "set up $side with its first fill: $took s"
done
[[ " $SIDES " != *' segment '* ]] || say "segment $(on segment -c "SELECT extversion FROM pg_extension WHERE extname = 'segment'")"

# ── measuring ──────────────────────────────────────────────────────────────────────────────────────────────────────

# The sides in turn, another one first in each round; "back" gives the same in reverse.
turn() {            # ROUND [back]
    echo $SIDES $SIDES | awk -v r="$1" -v back="${2:-}" -v n="$(echo $SIDES | wc -w)" \
        '{ for (i = 1; i <= n; i++) print $(r % n + (back ? n + 1 - i : i)) }'
}

# LINE ROUND SIDE HALF pgbench-scripts…: half a measurement, written to $work/results as "LINE ROUND SIDE orders seconds".
# Seed and first mover depend on line, round and half, not on the side: all sides get the very same orders.
inserts() {
    local line=$1 round=$2 side=$3 half=$4 n=$((ORDERS / 2)) nth tps
    nth=$((2 * round + half))
    [ "$line" = mixed ] && nth=$((2 * (ROUNDS + 1) + nth))
    shift 4
    pgbench -n -M prepared -c 1 -j 1 -t $n --random-seed=$((SEED + nth)) -D steady="$STEADY" -D movers="$MOVERS" \
            -D seed="$SEED" -D i=$((n * nth)) "$@" "segment_bench_$side" > "$work/pgbench" 2> "$work/pgbench.err" ||
        { cat "$work/pgbench.err" "$work/pgbench" >&2; fail "pgbench, line $line, side $side"; }
    grep -q "actually processed: $n/$n\$" "$work/pgbench" || { cat "$work/pgbench" >&2; fail "orders lost"; }
    tps=$(awk '/^tps = / { print $3 }' "$work/pgbench")
    echo "$line $round $side $n $(awk -v n=$n -v tps="$tps" 'BEGIN { print n / tps }')" >> "$work/results"
}

# ROUND SIDE: the same of one COPY
copy() {
    echo "copy $1 $2 $COPIED $(on "$2" <<SQL
SELECT clock_timestamp() AS start \\gset
\\copy shop.orders (customer_id, total, status, created_at) FROM '$work/orders.tsv'
SELECT extract(epoch FROM clock_timestamp() - :'start');
SQL
)" >> "$work/results"
}

# Tier moves logged so far for an order, on a side that logs.
moves() {
    case $1 in
        segment) on segment -c "SELECT count(*) FROM segment.changes WHERE cause = 'order'" ;;
        plpgsql) on plpgsql -c "SELECT count(*) FROM crm.changes WHERE cause = 'order'" ;;
    esac
}

count_moves() {     # LINE ROUND SIDE, after the measurement
    local now
    [ "$3" = bare ] && return
    now=$(moves "$3")
    echo "$1 $2 $3 $((now - moved_before[$3]))" >> "$work/moves"
    moved_before[$3]=$now
}

# SIDE psql-arguments…: run these, then start the next round with clean tables
between_rounds() {
    local side=$1
    shift
    on "$side" "$@" -f - <<'SQL'
SELECT 'VACUUM ' || c.oid::regclass
  FROM pg_class AS c
 WHERE c.relnamespace::regnamespace::text IN ('shop', 'segment', 'crm') AND c.relkind IN ('r', 'm') \gexec
CHECKPOINT;
SQL
}

# LINE ROUND: every side in turn, INSERTs once forth and once back, so that a drift of the machine hits all alike
measure() {
    local line=$1 round=$2 side
    for side in $(turn "$round"); do
        case $line in
            copy) copy "$round" "$side" ;;
            *)    inserts "$line" "$round" "$side" 0 ${scripts[$line]} ;;
        esac
    done
    [ "$line" = copy ] || for side in $(turn "$round" back); do
        inserts "$line" "$round" "$side" 1 ${scripts[$line]}
    done
    for side in $SIDES; do count_moves "$line" "$round" "$side"; done
}

declare -A scripts=([steady]='-f order_steady.sql' [moving]='-f order_moving.sql'
                    [mixed]='-f order_steady.sql@9 -f order_moving.sql@1')
declare -A moved_before
warm_up=0                                   # round 0 warms up and is left out of the report
[ "$SIZE" = toy ] && warm_up=1
for side in $SIDES; do between_rounds "$side"; moved_before[$side]=0; done
for ((round = warm_up; round <= ROUNDS; round++)); do
    for line in steady mixed moving; do measure "$line" "$round"; done
    for side in $SIDES; do between_rounds "$side" -f give_back.sql; done
done
copy_rounds=$((ROUNDS < 5 ? ROUNDS : 5))
for ((round = 1; round <= copy_rounds; round++)); do
    measure copy "$round"
    for side in $SIDES; do between_rounds "$side"; done
done

# ── the right answer, before any figure is printed ─────────────────────────────────────────────────────────────────

check() {           # SIDE WHEN
    local side=$1
    [ "$side" = bare ] && return
    on "$side" -f expected.sql -f "kept_$side.sql" -f compare.sql > "$work/wrong"
    [ -s "$work/wrong" ] && { cat "$work/wrong" >&2; fail "$side keeps something else than plain SQL over its tables, $2"; }
    return 0
}

verify() {
    on segment -c 'SELECT * FROM segment.verify() LIMIT 10' > "$work/wrong"
    [ -s "$work/wrong" ] && { cat "$work/wrong" >&2; fail 'segment.verify() returns rows'; }
    return 0
}

same_everywhere() { # WHAT sql-arguments…: the output must not differ between the sides given in $among
    local what=$1 side
    shift
    for side in $among; do
        local args=() a first
        read -r first _ <<< "$among"
        for a in "$@"; do args+=("${a//SIDE/$side}"); done
        on "$side" "${args[@]}" > "$work/$side.out"
        cmp -s "$work/$side.out" "$work/$first.out" || {
            diff "$work/$first.out" "$work/$side.out" | head -20 >&2 || true
            fail "$what differ between $first and $side"
        }
    done
}

for side in $SIDES; do check "$side" 'after the INSERTs and COPYs'; done

logging=${SIDES/bare/}
among=$logging
[ -z "${among// /}" ] || same_everywhere 'logged tier moves' -f kept_SIDE.sql -c '
    SELECT customer_id, action, old_tier, new_tier, old_value, new_value, cause FROM logged ORDER BY customer_id, nth'

for side in $SIDES; do on "$side" -f other_statements.sql; check "$side" 'after other statements'; done
[[ " $SIDES " != *' segment '* ]] || verify

among=$SIDES
same_everywhere 'totals' -f expected.sql -c '
    SELECT customer_id, number_of_orders, amount_ordered, number_of_returns, amount_returned, tier
      FROM expected ORDER BY customer_id'

# ── the table ──────────────────────────────────────────────────────────────────────────────────────────────────────

report='
function sorted(list, n,    i, j, x) {
    for (i = 2; i <= n; i++) { x = list[i]; for (j = i - 1; j >= 1 && list[j] > x; j--) list[j + 1] = list[j]; list[j + 1] = x }
}
function median(list, n) { return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2 }
function row(label, list, n, format) {
    sorted(list, n)
    printf "    %-18s" format format format "\n", label, list[1], median(list, n), list[n]
}
function ratio(a, b,    r, n, list) {
    if (!((line, 1, a) in value) || !((line, 1, b) in value)) return
    for (r = 1; r <= rounds; r++) list[++n] = value[line, r, a] / value[line, r, b]
    row(a " / " b, list, n, "%11.2f")
}
FILENAME == moves { if ($2 > 0) { moved[$1, $3] += $4; } next }
$2 > 0 { n_orders[$1, $2, $3] += $4; time[$1, $2, $3] += $5 }
END {
    for (k in time) value[k] = k ~ /^copy/ ? time[k] : n_orders[k] / time[k]
    n_lines = split("steady mixed moving copy", lines, " ")
    n_sides = split(sides, side, " ")
    title["steady"] = "INSERT of one order of a random customer, tier stays"
    title["mixed"]  = "INSERT of one order, one in ten moves the tier"
    title["moving"] = "INSERT of one order that moves the tier"
    title["copy"]   = "COPY of " copied " orders"
    for (l = 1; l <= n_lines; l++) {
        line = lines[l]
        rounds = line == "copy" ? copy_rounds : all_rounds
        done = rounds * (line == "copy" ? copied : orders)
        share = ""
        for (s = 1; s <= n_sides; s++)
            if (side[s] != "bare") share = share sprintf("%s%s %.1f %%", share ? ", " : "", side[s], 100 * moved[line, side[s]] / done)
        printf "\n%s%s\n", title[line], share ? "  (tier moves logged per order: " share ")" : ""
        printf "    %-18s%11s%11s%11s\n", line == "copy" ? "seconds" : "orders per second", "min", "median", "max"
        for (s = 1; s <= n_sides; s++) {
            n = 0
            for (r = 1; r <= rounds; r++) list[++n] = value[line, r, side[s]]
            row(side[s], list, n, line == "copy" ? "%11.3f" : "%11.0f")
        }
        printf "    %s\n", "ratio of " (line == "copy" ? "seconds" : "throughput") ", per round"
        ratio("segment", "bare"); ratio("plpgsql", "bare"); ratio("segment", "plpgsql")
    }
}'
awk -v sides="$SIDES" -v all_rounds="$ROUNDS" -v copy_rounds="$copy_rounds" -v orders="$ORDERS" -v copied="$COPIED" -v moves="$work/moves" "$report" \
    "$work/moves" "$work/results"

say
[[ " $SIDES " != *' segment '* ]] || say "ok - segment.verify() returns no row"
say "ok - on every side that keeps totals and tiers they equal plain SQL over its own tables, before and after UPDATEs and DELETEs"
say "ok - all sides ($SIDES) hold the same orders and returns"
[ "$(echo $logging | wc -w)" -lt 2 ] || say "ok - both sides logged the same tier moves with the same values"
say "ok - bench ran at $SIZE size"
