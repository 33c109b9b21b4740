#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2034
#
# What a second worker costs: the CPU time of the whole server an operation, with two workers beside one.
# redis-benchmark with 50 connections, which the workers share; both servers start anew for each pair, with
# the same hundred thousand keys. Neither is bound to a core: on a machine of two the client takes its part
# of both, so the rates say nothing of how it scales; CPU time an operation does.
#
# PAIRS (9), REQUESTS (at pipeline 1; 6 times as many at 16), COMMANDS and PIPELINES change what is run.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. bench/lib.sh
bench_need redis-cli redis-benchmark

requests=${REQUESTS:-60000}
read -ra commands <<<"${COMMANDS:-GET SET INCR HSET SADD LPUSH ZADD}"
read -ra pipelines <<<"${PIPELINES:-1 16}"
keys=100000
value=$(printf 'v%.0s' {1..100})
ours="two workers"

declare -A port pid

# start SYSTEM WORKERS
start() {
    local n
    port[$1]=$(port_free)
    "$perigee" serve --dir "$work/$1" --listen "127.0.0.1:${port[$1]}" --workers "$2" --durability interval \
        --checkpoint-log-bytes 0 --checkpoint-interval 0 >>"$work/servers.log" 2>&1 </dev/null &
    pid[$1]=$!
    servers+=("$!")
    await redis-cli -e -p "${port[$1]}" ping
    for ((n = 0; n < keys; n++)); do printf 'SET key:%012d %s\r\n' $n "$value"; done |
        redis-cli -p "${port[$1]}" --pipe >/dev/null
}

stop() {
    server_stop "${pid[$1]}"
    rm -rf "${work:?}/$1"
}

arguments() {
    case $1 in
    GET) echo "GET key:__rand_int__" ;;
    SET) echo "SET key:__rand_int__ $value" ;;
    INCR) echo "INCR counter:__rand_int__" ;;
    LPUSH) echo "LPUSH list:__rand_int__ xxx" ;;
    SADD) echo "SADD myset element:__rand_int__" ;;
    HSET) echo "HSET myhash element:__rand_int__ xxx" ;;
    ZADD) echo "ZADD myzset __rand_int__ element:__rand_int__" ;;
    *) echo "no command here is called $1" >&2 && exit 1 ;;
    esac
}

# run CELL SYSTEM COMMAND PIPELINE
run() {
    local count=$requests before after rate words
    [ "$4" = 1 ] || count=$((count * 6))
    read -ra words <<<"$(arguments "$3")"
    before=$(cpu_ns "${pid[$2]}")
    rate=$(redis-benchmark -p "${port[$2]}" -c 50 -n "$count" -P "$4" -r $keys --csv "${words[@]}" \
        2>"$work/client.log" | awk -F '","' 'NR == 2 { print $2 }')
    after=$(cpu_ns "${pid[$2]}")
    run_note "$1" "$2" "$rate" "$count" $((after - before))
}

"$perigee" version | head -n 1
echo "$pairs pairs, $requests requests at pipeline 1, $(nproc) cores"
: >"$runs"
for ((n = 0; n < pairs; n++)); do
    start theirs 1
    start ours 2
    for command in "${commands[@]}"; do
        for pipeline in "${pipelines[@]}"; do
            for system in $(pair_order $n); do
                run "$command,$pipeline" "$system" "$command" "$pipeline"
            done
        done
    done
    stop theirs
    stop ours
done
echo
table "one worker" command pipeline
