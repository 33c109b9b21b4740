#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Records again which blocks of lsm and which pages of btree are wanted by workload.lua, for
# unit_storage_cache_policy: test/cache/ENGINE.trace.zst.
#
# usage: test/cache/record.sh [BUILD]    a folder that was configured with PERIGEE_TESTS, build/test
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${1:-build/test}
ninja -C "$build" cache_record
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for engine in lsm btree; do
    options=(--dir "$folder/$engine" --durability none test/cache/workload.lua "$engine")
    "$build/bin/cache_record" "${options[@]}" fill
    CACHE_TRACE=$folder/trace "$build/bin/cache_record" "${options[@]}" run
    zstd -q -f -19 "$folder/trace" -o "test/cache/$engine.trace.zst"
done
