#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Perigee beside redis-server: one worker against one thread, both on one core (with all the threads
# they have beside it), redis-benchmark with 50 connections on another. Both start anew for each pair,
# with the same hundred thousand keys of 100 bytes, and write their log into a directory of the same file
# system; Redis does not rewrite its file meanwhile. Two levels of durability:
#
#   interval   appendfsync everysec beside durability interval
#   commit     appendfsync always beside durability commit
#
# PAIRS (9), REQUESTS (at pipeline 1; 6 times as many at 16, 10 times at 64), LEVELS, COMMANDS and
# PIPELINES change what is run; BENCH_DIR is where the logs go. Prints one table a level. COMMANDS=default
# stands for the list that redis-benchmark runs when nothing is said, with its arguments.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. bench/lib.sh
bench_need redis-server redis-cli redis-benchmark taskset

requests=${REQUESTS:-60000}
read -ra levels <<<"${LEVELS:-interval commit}"
read -ra commands <<<"${COMMANDS:-GET SET INCR MSET EVAL}"
default=(PING INLINE SET GET INCR LPUSH RPUSH LPOP RPOP SADD HSET SPOP ZADD ZPOPMIN
    LRANGE_100 LRANGE_300 LRANGE_500 LRANGE_600 MSET)
[ "${commands[*]}" != default ] || commands=("${default[@]}")
read -ra pipelines <<<"${PIPELINES:-1 16 64}"
keys=100000
value=$(printf 'v%.0s' {1..100})

declare -A port pid
start_theirs() {
    mkdir "$work/redis"
    server_start redis-server --port "${port[theirs]}" --bind 127.0.0.1 --dir "$work/redis" \
        --save '' --appendonly yes --appendfsync "$1" --auto-aof-rewrite-percentage 0
    pid[theirs]=$server
}

start_ours() {
    server_start "$perigee" serve --dir "$work/perigee" --listen "127.0.0.1:${port[ours]}" \
        --workers 1 --durability "$1" --checkpoint-log-bytes 0 --checkpoint-interval 0
    pid[ours]=$server
}

ping() { [ "$(redis-cli -p "$1" ping 2>&1)" = PONG ]; }

fill() {
    local n
    {
        for ((n = 0; n < keys; n++)); do printf 'SET key:%012d %s\r\n' $n "$value"; done
        for ((n = 0; n < keys / 10; n++)); do printf 'RPUSH range xxx\r\n'; done
    } | redis-cli -p "$1" --pipe >/dev/null
}

start() {
    local system
    port[theirs]=$(port_free)
    port[ours]=$((port[theirs] + 1))
    case $1 in
    interval) start_theirs everysec && start_ours interval ;;
    commit) start_theirs always && start_ours commit ;;
    *) echo "no level is called $1" >&2 && exit 1 ;;
    esac
    for system in theirs ours; do
        await ping "${port[$system]}"
        fill "${port[$system]}"
    done
}

stop() {
    server_stop "${pid[theirs]}"
    server_stop "${pid[ours]}"
    rm -rf "$work/redis" "$work/perigee"
}

# What redis-benchmark is to send; keys are drawn from all there are.
arguments() {
    local pair key=key:__rand_int__
    case $1 in
    GET) echo "GET $key" ;;
    SET) echo "SET $key $value" ;;
    INCR) echo "INCR counter:__rand_int__" ;;
    MSET)
        echo -n MSET
        for pair in {1..10}; do echo -n " $key $value"; done
        ;;
    PING) echo PING ;;
    LPUSH | RPUSH) echo "$1 mylist xxx" ;;
    LPOP | RPOP) echo "$1 mylist" ;;
    SADD) echo "SADD myset element:__rand_int__" ;;
    SPOP) echo "SPOP myset" ;;
    HSET) echo "HSET myhash element:__rand_int__ xxx" ;;
    ZADD) echo "ZADD myzset __rand_int__ element:__rand_int__" ;;
    ZPOPMIN) echo "ZPOPMIN myzset" ;;
    LRANGE_*) echo "LRANGE range 0 $((${1#LRANGE_} - 1))" ;;
    esac
}

# run CELL SYSTEM COMMAND PIPELINE
run() {
    local cell=$1 system=$2 command=$3 pipeline=$4 count=$requests before after rate words
    case $pipeline in 1) ;; 16) count=$((count * 6)) ;; *) count=$((count * 10)) ;; esac
    case $command in MSET | EVAL) count=$((count / 2)) ;; LRANGE_*) count=$((count / 12)) ;; esac
    case $command in
    EVAL) words=(EVAL "return redis.call('GET', KEYS[1])" 1 key:__rand_int__) ;;
    INLINE) words=(-t ping_inline) ;;
    *) read -ra words <<<"$(arguments "$command")" ;;
    esac
    before=$(cpu_ns "${pid[$system]}")
    rate=$(taskset -c "$client_core" redis-benchmark -p "${port[$system]}" -c 50 -n "$count" \
        -P "$pipeline" -r $keys --csv "${words[@]}" 2>"$work/client.log" | awk -F '","' 'NR == 2 { print $2 }')
    after=$(cpu_ns "${pid[$system]}")
    run_note "$cell" "$system" "$rate" "$count" $((after - before))
}

pair() {
    local n=$1 command pipeline system
    for command in "${commands[@]}"; do
        for pipeline in "${pipelines[@]}"; do
            for system in $(pair_order "$n"); do
                run "$command,$pipeline" "$system" "$command" "$pipeline"
            done
        done
    done
}

echo "$("$perigee" version | head -n 1); $(redis-server --version | cut -d ' ' -f 1-3)"
echo "$pairs pairs, $requests requests at pipeline 1"
for level in "${levels[@]}"; do
    : >"$runs"
    for ((n = 0; n < pairs; n++)); do
        start "$level"
        pair $n
        stop
    done
    echo
    echo "durability $level"
    echo
    table redis command pipeline
done
