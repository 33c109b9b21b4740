/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_LUA_FIXTURE_H
#define TEST_LUA_FIXTURE_H

/* A database on the test disk with one worker and one runtime, and short ways to run Lua on it. */
#include <string.h>

#include "base/clock.h"
#include "db/db.h"
#include "io/disk.h"
#include "lua/runtime.h"

struct lua_fixture {
    struct disk *disk;
    struct io *io;
    struct db *db;
    struct db_worker *worker;
    struct lua_watchdog *watchdog;
    struct lua_runtime *runtime;
    struct mp_buffer result;
    uint64_t reply_ts;
    char text[4096]; /* the last result as JSON */
};

/* Everything must succeed. `time_max_ms` 0: no limit; `memory_bytes_max` 0: the default. */
void lua_fixture_create(struct lua_fixture *fixture, bool trusted, uint64_t time_max_ms,
                        uint64_t memory_bytes_max);
void lua_fixture_destroy(struct lua_fixture *fixture);

/* Ends database and runtime and opens them again on the same disk. */
void lua_fixture_restart(struct lua_fixture *fixture);

/* A second runtime with a worker of its own, for the calling thread. */
void lua_fixture_second(struct lua_fixture *fixture, struct db_worker **worker,
                        struct lua_runtime **runtime);

/* The JSON of a result, or "CODE message", put into `text`. */
const char *lua_fixture_show(const struct mp_buffer *result, int code, char *text, size_t room);

/* Evaluates text; the JSON of the array of results, or "CODE message". Valid until the next call.
 */
const char *lua_fixture_eval(struct lua_fixture *fixture, const char *text);

/* Calls a procedure with arguments given as a JSON array; likewise. */
const char *lua_fixture_call(struct lua_fixture *fixture, const char *name, const char *arguments);

/* Fails the test unless evaluating `text` gives `expected`. */
#define assert_eval(fixture, text, expected) \
    assert_string_equal(lua_fixture_eval(fixture, text), expected)
#define assert_call(fixture, name, arguments, expected) \
    assert_string_equal(lua_fixture_call(fixture, name, arguments), expected)

/* Evaluates text that must succeed. */
void lua_fixture_do(struct lua_fixture *fixture, const char *text);

/* The same by a runtime of its own, which has no limit on time. */
void lua_fixture_do_patiently(struct lua_fixture *fixture, const char *text);

/* Fails the test unless the text begins with what is expected. */
#define assert_begins(text, expected)                                       \
    do {                                                                    \
        const char *is_ = (text);                                           \
        if (strncmp(is_, (expected), strlen(expected)) != 0)                \
            fail_msg("\"%s\" does not begin with \"%s\"", is_, (expected)); \
    } while (0)

/*
 * The same for a runtime with a limit on time. That counts time and not work, and a busy machine may
 * give all of it to others: while the time of `call` was over, but not as expected, it is made again.
 * What is never as expected fails after a minute.
 */
#define assert_begins_at_last(call, expected)                                         \
    do {                                                                              \
        const char *at_last_;                                                         \
        uint64_t until_ = clock_monotonic_ns(clock_system()) + UINT64_C(60000000000); \
        do                                                                            \
            at_last_ = (call);                                                        \
        while (strncmp(at_last_, "ERROR_TIMEOUT ", 14) == 0 &&                        \
               strncmp(at_last_, (expected), strlen(expected)) != 0 &&                \
               clock_monotonic_ns(clock_system()) < until_);                          \
        assert_begins(at_last_, expected);                                            \
    } while (0)

#endif
