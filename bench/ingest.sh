#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Filling a space of lsm by transactions of a thousand rows each, and by space:ingest, in turns, each time a new process and
# an empty folder. ROWS (1000000) and RUNS (3) change what is run; BENCH_DIR is where the files are.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. bench/lib.sh

for ((n = 0; n < ${RUNS:-3}; n++)); do
    for way in commits ingest; do
        rm -rf "${work:?}/$way"
        "$perigee" --dir "$work/$way" --memory-max 256mb bench/ingest.lua "${ROWS:-1000000}" "$way" 2>>"$work/client.log"
    done
done
