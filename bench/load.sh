#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# `perigee load` and `perigee dump`: rows of four fields (unsigned, string, number, string; 33 bytes as csv) into
# a space in memory and out of it, in each format, the server with one worker on one core and the client on
# another. It stands alone: redis-cli --pipe and its like send commands that somebody has made before, and
# neither parse a file nor keep how far they are.
#
# ROWS (500000) and RUNS (3) change what is run; BENCH_DIR is where server and files are. Prints the medians, and the CPU
# time of both sides.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. bench/lib.sh
bench_need taskset awk

rows=${ROWS:-500000}
count=${RUNS:-3}
address=unix:$work/perigee/socket

awk -v rows="$rows" 'BEGIN {
    print "id,name,balance,city"
    for (n = 0; n < rows; n++) printf "%d,user %d,%.2f,City %d\n", n, n, (n * 7919) % 100000 / 100, n % 100
}' >"$work/rows.csv"

server_start "$perigee" serve --dir "$work/perigee" --listen "$address" --workers 1 --durability commit \
    --checkpoint-log-bytes 0 --checkpoint-interval 0
pid=$server
await "$perigee" console "$address" -e 1

# run_client CELL COMMAND...: a run of the client; what it prints goes to client.log.
run_client() {
    local cell=$1 begun ended server_ns client_ns
    shift
    server_ns=$(cpu_ns "$pid")
    begun=$(date +%s%N)
    TIMEFORMAT='%U %S'
    client_ns=$({ time taskset -c "$client_core" "$@" >>"$work/client.log" 2>&1; } 2>&1 |
        awk '{ printf "%.0f", ($1 + $2) * 1e9 }')
    ended=$(date +%s%N)
    server_ns=$(($(cpu_ns "$pid") - server_ns))
    echo "$cell $rows $((ended - begun)) $client_ns $server_ns" >>"$runs"
}

: >"$runs"
for ((n = 0; n < count; n++)); do
    "$perigee" load "$work/rows.csv" source$n "$address" --create >>"$work/client.log" 2>&1
    for format in csv tsv jsonl msgpack; do
        space=${format}_$n
        run_client "dump $format" "$perigee" dump source$n "$work/$space.$format" "$address"
        # with the format of the space: msgpack has no names
        "$perigee" console "$address" -e "box.schema.space.create('$space', {format = box.space.source$n:format()})" \
            -e "box.space.$space:create_index('primary')" >>"$work/client.log" 2>&1
        run_client "load $format" "$perigee" load "$work/$space.$format" "$space" "$address"
        loaded=$("$perigee" console "$address" -e "box.space.$space:count()")
        [ "$loaded" = "$rows" ] || echo "$space has $loaded rows, not $rows" >&2
        rm -f "$work/$space.$format"
        "$perigee" console "$address" -e "box.space.$space:drop()" >>"$work/client.log" 2>&1
    done
done

sort -k1,2 -s "$runs" | awk '
    function median(list, n,    i, j, t) {
        for (i = 2; i <= n; i++)
            for (j = i; j > 1 && list[j - 1] > list[j]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
        return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
    }
    function show() {
        if (n) printf "| %s | %.0fk | %.2f | %.2f |\n", cell, median(rate, n), median(client, n), median(server, n)
        n = 0
    }
    BEGIN { print "| what | rows/s | client CPU us a row | server CPU us a row |\n|---|---:|---:|---:|" }
    {
        if (cell != $1 " " $2) show()
        cell = $1 " " $2; n++
        rate[n] = $3 / $4 * 1e6; client[n] = $5 / $3 / 1000; server[n] = $6 / $3 / 1000
    }
    END { show() }'
