# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
#
# Runs test programs and adds up what they say. Sourced by ./dev, which sets `root` and declares say.
#
# A program is known by name: unit_<folder>_<name>, isolation_<name>, stress_<name>, crash_<name>,
# mutation_<name> (cmocka); lua_<name> (a busted spec inside perigee), module_<module>[_<name>] and
# example_<module>[_<name>] (one of a module of modules/ or examples/), client_<name> (a busted spec in plain LuaJIT),
# protocol_<name> (node), redis_<name> (python3, beside redis-server), lint_<name>. Each gets the path of the executable under test in
# TEST_PERIGEE, counts for as many tests as it reports, and for one failed test when it dies, hangs
# or reports nothing.

tests_time_max=300 # seconds for one program
tests_prefix=()    # put before each command

# What runs under ThreadSanitizer.
tests_concurrent=(unit_base_ unit_mem_heap unit_io_ unit_index_ unit_txn_ unit_db_ unit_wal_ unit_lua_conflict
    unit_lua_wait unit_lua_fiber unit_lua_ending unit_lua_others unit_session_ unit_net_ unit_storage_run_threads
    unit_storage_cache_threads unit_storage_lsm_threads unit_storage_btree_threads unit_storage_prefetch_threads
    isolation_ stress_ crash_kill protocol_)

# matches TEXT PART...: whether TEXT contains one of the parts.
matches() {
    local text=$1 part
    shift
    for part in "$@"; do
        case $text in *"$part"*) return 0 ;; esac
    done
    return 1
}

# tests_list PART...: the names of all programs, or of those that contain a part.
tests_list() {
    local file name
    for file in test/lint/* test/unit/*/*_test.c test/isolation/*_test.c test/stress/*_test.c \
        test/crash/*_test.c test/mutation/*_test.c test/lua/*_spec.lua modules/*/specs/*_spec.lua \
        examples/*/specs/*_spec.lua \
        test/lua-client/*_spec.lua test/protocol/*.test.*js test/redis/*_test.py; do
        [ -f "$file" ] || continue
        name=$(tests_name "$file")
        if [ $# = 0 ] || matches "$name" "$@"; then echo "$name"; fi
    done
}

tests_name() {
    local base kind
    base=$(basename "$1")
    case $1 in
    test/lint/*) echo "lint_$base" ;;
    test/unit/*) echo "unit_$(basename "$(dirname "$1")")_${base%_test.c}" ;;
    test/isolation/*) echo "isolation_${base%_test.c}" ;;
    test/stress/*) echo "stress_${base%_test.c}" ;;
    test/crash/*) echo "crash_${base%_test.c}" ;;
    test/mutation/*) echo "mutation_${base%_test.c}" ;;
    modules/* | examples/*)
        base=${base%_spec.lua}
        kind=${1%%s/*}
        case $1 in
        "${kind}s/$base/"*) echo "${kind}_$base" ;;
        *) echo "${kind}_$(basename "$(dirname "$(dirname "$1")")")_$base" ;;
        esac
        ;;
    test/lua/*) echo "lua_${base%_spec.lua}" ;;
    test/lua-client/*) echo "client_${base%_spec.lua}" ;;
    test/protocol/*) echo "protocol_${base%.test.*}" ;;
    test/redis/*) echo "redis_${base%_test.py}" ;;
    esac
}

# tests_targets NAME...: what must be built for them.
tests_targets() {
    local name server=''
    for name in "$@"; do
        case $name in
        unit_* | mutation_*) echo "$name" ;;
        isolation_* | stress_* | crash_*)
            echo "$name"
            server=yes
            ;;
        lint_*) ;;
        *) server=yes ;;
        esac
    done
    if [ -n "$server" ] && [ -e src/server/main.c ]; then printf "%s\n" perigee geo; fi
}

# tests_run BUILD NAME...: two at a time; ends with the total and fails when a test did.
tests_run() {
    local build=$1 name running=0 at_once=2
    shift
    export TEST_PERIGEE=$build/perigee
    rm -rf "$build/results" && mkdir -p "$build/results"
    rm -f "$build"/report.*
    # shellcheck disable=SC2046
    trap 'kill $(jobs -p) 2>/dev/null; exit 130' INT TERM HUP
    for name in "$@"; do
        if [ $running -ge $at_once ]; then
            wait -n || true
            running=$((running - 1))
        fi
        tests_run_one "$build" "$name" &
        running=$((running + 1))
    done
    wait
    trap - INT TERM HUP
    tests_show_failed "$build"
    tests_total "$build"
}

tests_run_one() {
    local build=$1 name=$2 status=0 started=$SECONDS counts passed failed skipped word=ok child
    local log=$build/results/$name.log
    tests_command "$build" "$name"
    timeout -k 10 $tests_time_max "${tests_prefix[@]}" "${command[@]}" </dev/null >"$log" 2>&1 &
    child=$!
    trap 'kill $child 2>/dev/null; exit 1' TERM
    wait $child || status=$?
    [ $status != 124 ] || echo "ended after $tests_time_max seconds: too long" >>"$log"
    counts=$(tests_count "$log" $status "$name")
    read -r passed failed skipped <<<"$counts"
    echo "$counts" >"$build/results/$name.counts"
    [ "$failed" = 0 ] || word=FAILED
    printf '%-6s  %-36s %4d passed, %d failed%s  %ds\n' $word "$name" "$passed" "$failed" \
        "$([ "$skipped" = 0 ] || echo ", $skipped skipped")" $((SECONDS - started))
}

# Sets `command` to what runs the program NAME.
tests_command() {
    local build=$1 name=$2 file
    case $name in
    lint_*) command=("test/lint/${name#lint_}") ;;
    lua_*) command=("$build/perigee" test "test/lua/${name#lua_}_spec.lua") ;;
    module_* | example_*)
        for file in modules/*/specs/*_spec.lua examples/*/specs/*_spec.lua; do
            if [ "$(tests_name "$file")" = "$name" ]; then command=("$build/perigee" test "$file"); fi
        done
        ;;
    client_*) command=(busted --lua=luajit "test/lua-client/${name#client_}_spec.lua") ;;
    protocol_*)
        for file in "test/protocol/${name#protocol_}".test.*js; do
            command=(node --test --test-reporter=tap "$file")
        done
        ;;
    redis_*) command=(/usr/bin/python3 "test/redis/${name#redis_}_test.py") ;;
    *) command=("$build/bin/$name") ;;
    esac
}

# tests_count LOG STATUS NAME: prints "passed failed skipped" from what cmocka, busted and node write.
tests_count() {
    sed 's/\x1b\[[0-9;]*m//g' "$1" | awk -v status="$2" -v name="$3" '
        # cmocka
        /\[       OK \]/ { passed++ }
        match($0, /\[  FAILED  \] [0-9]+ test\(s\)/) { failed += substr($0, RSTART + 13) }
        match($0, /\[  SKIPPED \] [0-9]+ test\(s\)/) { skipped += substr($0, RSTART + 13) }
        # busted
        /^[0-9]+ success(es)? \/ [0-9]+ failures? \/ [0-9]+ errors? \/ [0-9]+ pending/ {
            passed += $1; failed += $4 + $7; skipped += $10
        }
        # node, and those beside redis-server
        name ~ /^(protocol|redis)_/ && /^# (pass|fail|cancelled|skipped|todo) [0-9]+$/ {
            if ($2 == "pass") passed += $3
            else if ($2 == "fail" || $2 == "cancelled") failed += $3
            else skipped += $3
        }
        END {
            if (name ~ /^lint_/ && status == 0) passed = 1
            if (failed == 0 && (status != 0 || passed + skipped == 0)) failed = 1
            print passed + 0, failed + 0, skipped + 0
        }'
}

# What failed, with the end of its output; then what sanitizers had to say about any process.
tests_show_failed() {
    local build=$1 counts name report
    for counts in "$build"/results/*.counts; do
        name=$(basename "$counts" .counts)
        if [ "$(cut -d ' ' -f 2 "$counts")" != 0 ]; then
            printf '\n---- %s (%s)\n' "$name" "${build#"$root"/}/results/$name.log"
            tail -n 80 "$build/results/$name.log"
        fi
    done
    for report in "$build"/report.*; do
        [ -s "$report" ] || continue
        printf '\n---- %s\n' "${report#"$root"/}"
        head -n 100 "$report"
        echo "0 1 0" >"$build/results/$(basename "$report").counts"
    done
}

tests_total() {
    cat "$1"/results/*.counts | awk '
        { passed += $1; failed += $2; skipped += $3 }
        END {
            printf "%d passed, %d failed%s\n", passed, failed, skipped ? ", " skipped " skipped" : ""
            exit failed != 0
        }'
}
