#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Reading spaces on disk of which nothing is in memory, neither in a cache of the server's nor in the page cache: a process for
# each run, the files dropped from the page cache before.
#
#   walk       all rows, by the primary index
#   range      ten rows each, from 300 places
#   secondary  500 rows each from four places of a secondary index, which lie all over the space
#   first      ten rows each from a hundred places of it
#   get        2,000 rows by their primary keys, one after another
#   many       the same ones, a hundred at a time by get_many
#
# Spaces of lsm, compacted; of lsm in five sequences (tiers), and of btree.
#
# ROWS (500000), RUNS (5), ENGINES ('lsm tiers btree') and WHAT change what is run; BENCH_DIR is where the files are. BEFORE names
# another executable, which takes turns with this one: a column each, medians.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. bench/lib.sh
bench_need awk dd

rows=${ROWS:-500000}
count=${RUNS:-5}

# cold EXECUTABLE NAME WHAT ENGINE
cold() {
    local file
    for file in "$work/$4"/*; do dd if="$file" iflag=nocache count=0 status=none; done
    "$1" --dir "$work/$4" --memory-max 256mb bench/cold.lua "$3" "$4" "$rows" 2>>"$work/client.log" |
        awk -v cell="$4, $3" -v name="$2" 'NF == 3 { printf "%s|%s|%s|%s|%s\n", cell, name, $1, $2, $3 }' >>"$runs"
}

: >"$runs"
for engine in ${ENGINES:-lsm tiers btree}; do
    "$perigee" --dir "$work/$engine" --memory-max 256mb bench/cold.lua fill "$engine" "$rows" >>"$work/client.log" 2>&1
    sync -f "$work"
    for ((n = 0; n < count; n++)); do
        for what in ${WHAT:-walk range secondary first get many}; do
            [ -z "${BEFORE:-}" ] || cold "$BEFORE" before "$what" "$engine"
            cold "$perigee" now "$what" "$engine"
        done
    done
done

awk -F'|' '
    function median(list, n,    i, j, t) {
        for (i = 2; i <= n; i++)
            for (j = i; j > 1 && list[j - 1] > list[j]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
        return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
    }
    function figure(cell, name, which,    i, list) {
        for (i = 1; i <= n[cell, name]; i++) list[i] = value[cell, name, which, i]
        return median(list, n[cell, name])
    }
    {
        if (!($1 in seen)) { seen[$1] = 1; cells[++cell_count] = $1 }
        if (!($2 in known)) { known[$2] = 1; names[++name_count] = $2 }
        i = ++n[$1, $2]
        value[$1, $2, "rate", i] = $3 / $4; value[$1, $2, "cpu", i] = $5 / $3 * 1e6
    }
    END {
        printf "| |"
        for (k = 1; k <= name_count; k++) printf " %s, rows/s | CPU us a row |", names[k]
        printf "\n|---|"
        for (k = 1; k <= name_count; k++) printf "---:|---:|"
        print ""
        for (c = 1; c <= cell_count; c++) {
            printf "| %s |", cells[c]
            for (k = 1; k <= name_count; k++)
                printf " %.1fk | %.2f |", figure(cells[c], names[k], "rate") / 1000, figure(cells[c], names[k], "cpu")
            print ""
        }
    }' "$runs"
