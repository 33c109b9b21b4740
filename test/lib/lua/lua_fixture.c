/* SPDX-License-Identifier: Apache-2.0 */
/* See lua_fixture.h. */
#include "lua/lua_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/json.h"
#include "lua/expression.h"

static struct lua_runtime_options options;

static void open_database(struct lua_fixture *fixture)
{
    struct db_options db_options = {.clock = clock_system(),
                                    .durability = WAL_DURABILITY_COMMIT,
                                    .worker_max = 8,
                                    .expressions = lua_expressions()};
    struct db_open_stats stats;
    fixture->io = disk_io(fixture->disk);
    db_options.io = fixture->io;
    int code = db_open(&db_options, &stats, &fixture->db);
    if (code != 0)
        fail_msg("db_open: %s", diag_message_for(code));
    assert_int_equal(db_worker_open(fixture->db, &fixture->worker), 0);
    options.worker = fixture->worker;
    code = lua_runtime_new(&options, &fixture->runtime);
    if (code != 0)
        fail_msg("lua_runtime_new: %s", diag_message_for(code));
}

static void close_database(struct lua_fixture *fixture)
{
    lua_runtime_delete(fixture->runtime);
    db_worker_close(fixture->worker);
    assert_int_equal(db_close(fixture->db), 0);
    io_delete(fixture->io);
}

void lua_fixture_create(struct lua_fixture *fixture, bool trusted, uint64_t time_max_ms,
                        uint64_t memory_bytes_max)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->disk = disk_new(1);
    assert_int_equal(lua_watchdog_new(NULL, NULL, &fixture->watchdog), 0);
    mp_buffer_create(&fixture->result);
    options = (struct lua_runtime_options){.watchdog = fixture->watchdog,
                                           .time_max_ms = time_max_ms,
                                           .memory_bytes_max = memory_bytes_max,
                                           .trusted = trusted};
    open_database(fixture);
}

void lua_fixture_destroy(struct lua_fixture *fixture)
{
    close_database(fixture);
    disk_delete(fixture->disk);
    lua_watchdog_delete(fixture->watchdog);
    mp_buffer_destroy(&fixture->result);
}

void lua_fixture_restart(struct lua_fixture *fixture)
{
    close_database(fixture);
    open_database(fixture);
}

void lua_fixture_second(struct lua_fixture *fixture, struct db_worker **worker,
                        struct lua_runtime **runtime)
{
    struct lua_runtime_options second = options;
    assert_int_equal(db_worker_open(fixture->db, worker), 0);
    second.worker = *worker;
    assert_int_equal(lua_runtime_new(&second, runtime), 0);
}

/* Whatever anybody has committed is to be seen by the next request. */
static void wait_until_visible(struct lua_fixture *fixture)
{
    struct wal *wal = db_wal(fixture->db);
    assert_int_equal(wal_wait(wal, wal_clock(wal)), 0);
}

const char *lua_fixture_show(const struct mp_buffer *result, int code, char *text, size_t room)
{
    if (code != 0) {
        snprintf(text, room, "%s %s", error_name(code), diag_message_for(code));
        return text;
    }
    struct json_buffer json;
    const char *data = result->data;
    json_buffer_create(&json);
    assert_int_equal(json_from_msgpack(&json, &data), 0);
    assert_ptr_equal(data, result->data + result->size);
    snprintf(text, room, "%.*s", (int)json.size, json.data);
    json_buffer_destroy(&json);
    return text;
}

static const char *show(struct lua_fixture *fixture, int code)
{
    return lua_fixture_show(&fixture->result, code, fixture->text, sizeof fixture->text);
}

const char *lua_fixture_eval(struct lua_fixture *fixture, const char *text)
{
    struct lua_request request = {.latest = false};
    wait_until_visible(fixture);
    mp_buffer_reset(&fixture->result, 65536);
    int code = lua_runtime_eval(fixture->runtime, &request, text, strlen(text), NULL,
                                &fixture->result, &fixture->reply_ts);
    return show(fixture, code);
}

const char *lua_fixture_call(struct lua_fixture *fixture, const char *name, const char *arguments)
{
    struct lua_request request = {.latest = false};
    struct json_buffer packed;
    json_buffer_create(&packed);
    assert_int_equal(json_to_msgpack(arguments, strlen(arguments), &packed), 0);
    wait_until_visible(fixture);
    mp_buffer_reset(&fixture->result, 65536);
    int code = lua_runtime_call(fixture->runtime, &request, name, strlen(name), packed.data,
                                &fixture->result, &fixture->reply_ts);
    json_buffer_destroy(&packed);
    return show(fixture, code);
}

void lua_fixture_do(struct lua_fixture *fixture, const char *text)
{
    const char *result = lua_fixture_eval(fixture, text);
    if (strncmp(result, "ERROR_", 6) == 0)
        fail_msg("%s\n  in: %s", result, text);
}

void lua_fixture_do_patiently(struct lua_fixture *fixture, const char *text)
{
    struct lua_runtime_options patient = options;
    struct lua_fixture other = *fixture;
    assert_int_equal(db_worker_open(fixture->db, &other.worker), 0);
    patient.worker = other.worker;
    patient.time_max_ms = 0;
    assert_int_equal(lua_runtime_new(&patient, &other.runtime), 0);
    mp_buffer_create(&other.result);
    lua_fixture_do(&other, text);
    mp_buffer_destroy(&other.result);
    lua_runtime_delete(other.runtime);
    db_worker_close(other.worker);
}
