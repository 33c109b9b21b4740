#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Perigee beside Tarantool, both on one core with all their threads:
#
#   in process   bench/box.lua, the same file run by both, with the log off (wal_mode none beside
#                durability none) and with each commit waiting until its record is with the operating
#                system (wal_mode write beside durability interval)
#   over wire    stored procedures called by bench/wire.lua from another core over sixteen connections,
#                one or sixteen calls at a time on each, at the second of these levels
#
# PAIRS (9), OPERATIONS (200000 gets, fewer of what takes longer) and PARTS ("process wire") change what is
# run; BENCH_DIR is where the logs go.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. bench/lib.sh
bench_need tarantool taskset

operations=${OPERATIONS:-200000}
read -ra parts <<<"${PARTS:-process wire}"
declare -A durability=([none]=none [write]=interval)

# ------------------------------------------------------------------------------------ in process

# process_run MODE SYSTEM: the lines of box.lua, as runs.
process_run() {
    local mode=$1 system=$2 dir=$work/$2 name rate cpu
    mkdir "$dir"
    if [ "$system" = theirs ]; then
        taskset -c "$server_core" tarantool bench/box.lua "$mode" "$dir" 100000 "$operations"
    else
        PERIGEE_DIR=$dir PERIGEE_DURABILITY=${durability[$mode]} taskset -c "$server_core" \
            "$perigee" bench/box.lua "$mode" "$dir" 100000 "$operations"
    fi >"$work/out" 2>>"$work/servers.log" </dev/null || {
        tail -n 5 "$work/out" "$work/servers.log" >&2
        exit 1
    }
    while IFS='|' read -r name rate cpu; do
        [ -z "$cpu" ] || echo "$mode,${name// /_} $system $rate $cpu" >>"$runs"
    done <"$work/out"
    rm -rf "$dir"
}

process() {
    local mode n system
    : >"$runs"
    for mode in none write; do
        for ((n = 0; n < pairs; n++)); do
            for system in $(pair_order $n); do process_run $mode "$system"; done
        done
    done
    echo
    echo "in process"
    echo
    table tarantool log operation | tr _ ' '
}

# ------------------------------------------------------------------------------------- over wire

declare -A port pid
client() { taskset -c "$client_core" tarantool bench/wire.lua "$@"; }

wire_start() {
    port[theirs]=$(port_free)
    port[ours]=$((port[theirs] + 1))
    mkdir "$work/theirs"
    server_start tarantool -e "box.cfg{listen = '127.0.0.1:${port[theirs]}', wal_mode = 'write', work_dir = '$work/theirs', checkpoint_interval = 0, memtx_memory = 2 ^ 30, log_level = 'error'} box.schema.user.grant('guest', 'super')"
    pid[theirs]=$server
    server_start "$perigee" serve --dir "$work/ours" --listen "127.0.0.1:${port[ours]}" \
        --workers 1 --durability interval --checkpoint-log-bytes 0 --checkpoint-interval 0
    pid[ours]=$server
    local system
    for system in theirs ours; do await client $system "${port[$system]}" fill; done
}

wire_stop() {
    server_stop "${pid[theirs]}"
    server_stop "${pid[ours]}"
    rm -rf "$work/theirs" "$work/ours"
}

# wire_run PROCEDURE DEPTH COUNT SYSTEM
wire_run() {
    local procedure=$1 depth=$2 count=$3 system=$4 before after rate called
    before=$(cpu_ns "${pid[$system]}")
    read -r rate called < <(client "$system" "${port[$system]}" "$procedure" "$depth" "$count")
    after=$(cpu_ns "${pid[$system]}")
    run_note "$procedure,$depth" "$system" "$rate" "$called" $((after - before))
}

wire() {
    local n system procedure depth count
    : >"$runs"
    for ((n = 0; n < pairs; n++)); do
        wire_start
        for procedure in empty get_one update_ten; do
            for depth in 1 16; do
                count=$((operations / 4 * (depth == 1 ? 1 : 4)))
                [ $procedure != update_ten ] || count=$((count / 4))
                for system in $(pair_order $n); do wire_run $procedure $depth $count "$system"; done
            done
        done
        wire_stop
    done
    echo
    echo "over the wire, log written"
    echo
    table tarantool procedure depth | tr _ ' '
}

"$perigee" version | head -n 1
tarantool --version | head -n 1
echo "$pairs pairs"
for part in "${parts[@]}"; do $part; done
