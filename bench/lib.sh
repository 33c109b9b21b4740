# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
#
# What the comparisons share: starting servers on a core of their own, reading the CPU time they used,
# and turning pairs of runs into a table.
#
# A run appends one line to $runs: "cell system rate cpu", rate in operations a second and cpu in
# microseconds of the server an operation. A cell is what a row of the table is about; its words are
# joined by commas. Two runs of one cell, one of each system right after the other, make a pair; which one
# goes first alternates. The table shows medians, and the median of the pairs' ratios, which a machine
# that is slow for a while changes less than either rate.

perigee=${TEST_PERIGEE:-build/bench/perigee}
pairs=${PAIRS:-9}
server_core=${SERVER_CORE:-0}
client_core=${CLIENT_CORE:-1}
work=$(mktemp -d "${BENCH_DIR:-/var/tmp}/perigee-bench-XXXXXX")
runs=$work/runs
servers=()

bench_end() {
    local pid
    for pid in "${servers[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap bench_end EXIT
trap 'exit 1' INT TERM
trap 'echo "$0: line $LINENO: $BASH_COMMAND failed" >&2; cat "$work/client.log" "$work/servers.log" 2>/dev/null | tail -n 5 >&2' ERR

bench_need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || {
            echo "$0: $program is missing" >&2
            exit 1
        }
    done
    [ -x "$perigee" ] || {
        echo "$0: no $perigee; ./dev bench builds it, TEST_PERIGEE names another" >&2
        exit 1
    }
}

# server_start COMMAND...: in the background on the servers' core; its process is in $server.
server_start() {
    taskset -c "$server_core" "$@" >>"$work/servers.log" 2>&1 </dev/null &
    server=$!
    servers+=("$server")
}

# server_stop PID
server_stop() {
    local pid left=()
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
    for pid in "${servers[@]}"; do [ "$pid" = "$1" ] || left+=("$pid"); done
    servers=("${left[@]}")
}

# await COMMAND...: until it succeeds, for ten seconds.
await() {
    local tries
    for ((tries = 0; tries < 200; tries++)); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.05
    done
    echo "$0: gave up waiting for: $*" >&2
    tail -n 5 "$work/servers.log" >&2
    exit 1
}

# port_free: a port of loopback that nobody listens on.
port_free() {
    local port
    for ((port = 17000 + RANDOM % 10000; ; port++)); do
        if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo $port
            return
        fi
    done
}

# cpu_ns PID: what all threads of the process have used so far.
cpu_ns() {
    cat /proc/"$1"/task/*/schedstat 2>/dev/null | awk '{ sum += $1 } END { printf "%.0f\n", sum }'
}

# run_note CELL SYSTEM RATE OPERATIONS CPU_NS
run_note() {
    awk -v cell="$1" -v who="$2" -v rate="$3" -v count="$4" -v cpu="$5" \
        'BEGIN { printf "%s %s %.1f %.4f\n", cell, who, rate, cpu / 1000 / count }' >>"$runs"
}

# pair_order N: both systems, ours first in every other pair.
pair_order() {
    if [ $(($1 % 2)) = 0 ]; then echo "theirs ours"; else echo "ours theirs"; fi
}

# table THEIRS HEAD...: the cells in the order of their first run; HEAD names a cell's words. $ours is what
# the other system is called.
table() {
    local theirs=$1
    shift
    awk -v theirs="$theirs" -v ours="${ours:-Perigee}" -v heads="$*" '
        function median(list, n,    i, j, t) {
            for (i = 2; i <= n; i++)
                for (j = i; j > 1 && list[j - 1] > list[j]; j--) {
                    t = list[j]; list[j] = list[j - 1]; list[j - 1] = t
                }
            least = list[1]; most = list[n]
            return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
        }
        function rate_text(rate) {
            if (rate >= 100000) return sprintf("%.0fk", rate / 1000)
            if (rate >= 10000) return sprintf("%.1fk", rate / 1000)
            return sprintf("%.0f", rate)
        }
        {
            if (!($1 in known)) { known[$1] = 1; cells[++cell_count] = $1 }
            n = ++count[$1, $2]
            rate[$1, $2, n] = $3
            cpu[$1, $2, n] = $4
        }
        END {
            head_count = split(heads, head, " ")
            for (i = 1; i <= head_count; i++) printf "| %s ", head[i]
            printf "| %s/s | %s/s | ratio | least to most | %s CPU us | %s CPU us | CPU ratio |\n", theirs, ours, theirs, ours
            for (i = 1; i <= head_count; i++) printf "|---"
            print "|---:|---:|---:|---:|---:|---:|---:|"
            for (c = 1; c <= cell_count; c++) {
                cell = cells[c]
                pairs = count[cell, "ours"] < count[cell, "theirs"] ? count[cell, "ours"] : count[cell, "theirs"]
                if (pairs == 0) continue
                for (i = 1; i <= pairs; i++) {
                    a[i] = rate[cell, "theirs", i]; b[i] = rate[cell, "ours", i]
                    r[i] = b[i] / a[i]
                    x[i] = cpu[cell, "theirs", i]; y[i] = cpu[cell, "ours", i]
                    q[i] = x[i] > 0 ? y[i] / x[i] : 0
                }
                words = cell
                gsub(",", " | ", words)
                printf "| %s | %s | %s ", words, rate_text(median(a, pairs)), rate_text(median(b, pairs))
                middle = median(r, pairs) # and sets least and most
                printf "| %.2f | %.2f to %.2f | ", middle, least, most
                printf "%.2f | %.2f | %.2f |\n", median(x, pairs), median(y, pairs), median(q, pairs)
            }
        }' "$runs"
}
