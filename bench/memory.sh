#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Resident memory beside redis-server: a million strings of 100 bytes, a million hashes of five small
# fields, one sorted set of a million members, each in a server of its own. Keys have 16 bytes and come
# in no order; scores are whole numbers below a million. Neither server saves by itself meanwhile, for
# what Perigee has to write down for the next checkpoint is part of what it takes; then a checkpoint is
# made, and it is looked at once more.
#
# ITEMS (1000000) and KINDS ("strings hashes zset") change what is run; BENCH_DIR is where the files go.
# Prints one table: what the whole process has, and by how much an item has made it grow.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. bench/lib.sh
bench_need redis-server redis-cli taskset

items=${ITEMS:-1000000}
read -ra kinds <<<"${KINDS:-strings hashes zset}"

# Every number below `items` once, in the same random order for both.
commands() {
    awk -v kind="$1" -v items="$items" 'BEGIN {
        value = sprintf("%100s", ""); gsub(" ", "v", value)
        srand(1)
        for (n = 0; n < items; n++)
            order[n] = n
        for (n = 0; n < items; n++) {
            at = n + int(rand() * (items - n))
            i = order[at]
            order[at] = order[n]
            if (kind == "strings")
                printf "SET key:%012d %s\r\n", i, value
            else if (kind == "hashes")
                printf "HSET key:%012d name n%07d age %d city c%04d score %d mail m%07d@x\r\n", i, i, i % 100, i % 1000, i * 7, i
            else
                printf "ZADD zset %d member:%09d\r\n", int(rand() * 1000000), i
        }
    }'
}

ping() { [ "$(redis-cli -p "$1" ping 2>&1)" = PONG ]; }

# resident PID: bytes.
resident() { awk '$1 == "Rss:" { print $2 * 1024 }' /proc/"$1"/smaps_rollup; }

# measure SYSTEM KIND: the process before and after, and after a checkpoint, in $before, $after, $saved.
measure() {
    local port
    port=$(port_free)
    mkdir "$work/$1"
    if [ "$1" = theirs ]; then
        server_start redis-server --port "$port" --bind 127.0.0.1 --dir "$work/theirs" --save '' --appendonly no
    else
        server_start "$perigee" serve --dir "$work/ours/data" --listen "127.0.0.1:$port" --workers 1 \
            --durability interval --checkpoint-log-bytes 0 --checkpoint-interval 0
    fi
    await ping "$port"
    sleep 1
    before=$(resident "$server")
    commands "$2" | redis-cli -p "$port" --pipe >"$work/client.log"
    sleep 2
    after=$(resident "$server")
    saved=$after
    if [ "$1" = ours ]; then
        redis-cli -p "$port" save >>"$work/client.log"
        sleep 2
        saved=$(resident "$server")
    fi
    server_stop "$server"
    rm -rf "${work:?}/$1"
}

echo "$("$perigee" version | head -n 1); $(redis-server --version | cut -d ' ' -f 1-3)"
echo "$items items; MB of the process (bytes an item that it has grown by)"
echo
echo "| | Redis | Perigee | ratio | after a checkpoint | ratio |"
echo "|---|---:|---:|---:|---:|---:|"
for kind in "${kinds[@]}"; do
    measure theirs "$kind"
    redis_before=$before redis_after=$after
    measure ours "$kind"
    awk -v kind="$kind" -v items="$items" -v rb="$redis_before" -v ra="$redis_after" \
        -v b="$before" -v a="$after" -v s="$saved" 'BEGIN {
        printf "| %s | %.0f (%.0f) | %.0f (%.0f) | %.2f | %.0f (%.0f) | %.2f |\n", kind, ra / 1e6, (ra - rb) / items,
            a / 1e6, (a - b) / items, a / ra, s / 1e6, (s - b) / items, s / ra
    }'
done
