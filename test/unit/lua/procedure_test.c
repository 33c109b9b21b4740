/* SPDX-License-Identifier: Apache-2.0 */
/* Stored procedures: what is declared, their limits, their versions, and where their errors were. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/diag.h"
#include "base/error.h"
#include "codec/json.h"
#include "lua/lua_session.h"

static struct lua_fixture fixture;

static int set_up(void **state)
{
    (void)state;
    lua_fixture_create(&fixture, false, 250000, 0);
    lua_fixture_do(&fixture, "box.schema.space.create('s'):create_index('pk') for i = 1, 100 do "
                             "box.space.s:insert{i, i} end");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lua_fixture_destroy(&fixture);
    return 0;
}

#define do_(text)                        lua_fixture_do(&fixture, text)
#define eval_(text, expected)            assert_eval(&fixture, text, expected)
#define call_(name, arguments, expected) assert_call(&fixture, name, arguments, expected)

/* -------------------------------------------------------------------------------------- declared */

static void arguments_are_as_they_are_declared(void **state)
{
    (void)state;
    do_("box.schema.func.create('f', {body = 'function(...) return ... end', args = {'unsigned', "
        "{'who', "
        "'string'}, {name = 'flag', type = 'boolean', is_nullable = true}}})");
    call_("f", "[1, \"x\", true]", "[1,\"x\",true]");
    call_("f", "[1, \"x\"]", "[1,\"x\",null]");
    call_("f", "[\"12\", \"x\", \"false\"]", "[12,\"x\",false]");
    call_("f", "[\"18446744073709551615\", \"x\"]", "[18446744073709551615,\"x\",null]");
    call_("f", "[-1, \"x\"]",
          "ERROR_INVALID f: argument 1 of procedure f is to be of type unsigned, not number");
    call_("f", "[1.5, \"x\"]",
          "ERROR_INVALID f: argument 1 of procedure f is to be of type unsigned, not number");
    call_("f", "[1, 2]",
          "ERROR_INVALID f: argument 2 (who) of procedure f is to be of type string, not number");
    call_("f", "[1]",
          "ERROR_INVALID f: argument 2 (who) of procedure f is to be of type string, not nil");
    call_("f", "[1, \"x\", true, 4]",
          "ERROR_INVALID f: procedure f has 3 declared arguments, and not 4");
    eval_("select(2, pcall(box.func.f, 'one', 'x')).message",
          "[\"argument 1 of procedure f is to be of type unsigned, not string\"]");
}

static void results_are_as_they_are_declared(void **state)
{
    (void)state;
    do_("box.schema.func.create('f', {body = 'function(...) return ... end', returns = {'integer', "
        "'string?'}})");
    call_("f", "[1, \"x\"]", "[1,\"x\"]");
    call_("f", "[1]", "[1]");
    call_("f", "[\"1\"]",
          "ERROR_INVALID f: result 1 of procedure f is to be of type integer, not string");
    call_("f", "[1, 2]",
          "ERROR_INVALID f: result 2 of procedure f is to be of type string, not number");
    call_("f", "[]", "ERROR_INVALID f: result 1 of procedure f is to be of type integer, not nil");
}

static void what_is_wrong_with_a_definition_is_said(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"{body = '', args = {'number', 'colour'}}", "args of a procedure: number 2 has no type"},
        {"{body = '', returns = 1}", "option \"returns\" of a procedure is a table of types"},
        {"{body = '', timeout = 0}", "option \"timeout\" of a procedure is a number above 0"},
        {"{body = '', memory = 'x'}", "option \"memory\" of a procedure is a number above 0"},
        {"{}", "a procedure needs a body"},
        {"{body = '', module = 'a.b'}", "needs either a body"},
        {"{body = '', speed = 1}", "no option \"speed\""},
        {"{body = '', isolation = 'none'}", "unknown isolation level"},
        {"{body = 'x ='}", "p:1: unexpected symbol"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[256];
        snprintf(text, sizeof text, "box.schema.func.create('p', %s)", wrong[i][0]);
        const char *said = lua_fixture_eval(&fixture, text);
        if (strstr(said, wrong[i][1]) == NULL)
            fail_msg("%s: %s", wrong[i][0], said);
    }
}

static void what_is_known_of_one_is_shown(void **state)
{
    (void)state;
    do_("box.schema.func.create('f', {body = 'return 1', args = {'string'}, returns = {{'n', "
        "'integer'}}, "
        "timeout = 1.5, memory = 1000000, rows_max = 10, comment = 'c', is_deterministic = true, "
        "readonly = "
        "true, isolation = 'snapshot', language = 'LUA'})");
    eval_("local i = box.schema.func.info('f') return i.body, i.version, i.args[1].type, "
          "i.returns[1].name, i.timeout, i.memory, i.rows_max, i.comment, i.is_deterministic, "
          "i.readonly, "
          "i.isolation, i.transaction, i.time > 0, i.owner",
          "[\"return 1\",1,\"string\",\"n\",1.5,1000000,10,\"c\",true,true,\"snapshot\",true,true,"
          "\"guest\"]");
    eval_("#box.schema.func.list(), box.schema.func.list()[1].name, box.schema.func.info('g')",
          "[1,\"f\",null]");
}

/* ---------------------------------------------------------------------------------------- limits */

static void a_limit_on_time_ends_whatever_loops(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "while true do end",
        "local n = 0 for i = 1, 1e18 do n = n + i end return n",
        "while true do pcall(function() while true do end end) end",
        "local function f() return f() end return f()",
        "return (('a'):rep(1e5)):find(('.-'):rep(40) .. 'b')",
        "while true do box.space.s:get(1) end",
        "while true do pcall(box.space.s.replace, box.space.s, {1, 1}) end",
        "local ok = true while ok do ok = not pcall(error, 'x') end",
        "while true do for _ in box.space.s:pairs() do end end",
        ("local keys = {} for n = 1, 1e5 do keys[n] = n end "
         "while true do pcall(box.space.s.get_many, box.space.s, keys) end"),
        "return coroutine.wrap(function() while true do end end)()",
        "return xpcall(function() while true do end end, function() while true do end end)",
        "local t = setmetatable({}, {__index = function() while true do end end}) return t.x",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        char text[512];
        snprintf(
            text, sizeof text,
            "box.schema.func.create('loop', {replace = true, timeout = 0.05, body = [[function() "
            "box.space.s:replace{1000, 1} %s end]]})",
            bodies[i]);
        do_(text);
        const char *said = lua_fixture_call(&fixture, "loop", "[]");
        if (strncmp(said, "ERROR_TIMEOUT procedure loop: time limit exceeded (0.05 s)", 58) != 0)
            fail_msg("%s: %s", bodies[i], said);
        eval_("box.space.s:get(1000)", "[null]");
    }
}

static void an_inner_limit_on_time_ends_the_request(void **state)
{
    (void)state;
    do_("box.schema.func.create('inner', {timeout = 0.05, body = 'while true do end'})");
    do_("box.schema.func.create('outer', {body = [[function() box.space.s:replace{1000, 1} "
        "pcall(box.func.inner) return 'went on' end]]})");
    assert_begins(lua_fixture_call(&fixture, "outer", "[]"),
                  "ERROR_TIMEOUT procedure inner: time limit exceeded (0.05 s)");
    eval_("box.space.s:get(1000)", "[null]");
}

static void who_is_in_no_transaction_goes_on_after_a_limit(void **state)
{
    (void)state;
    do_("box.schema.func.create('t', {timeout = 0.05, body = 'while true do end'}) "
        "box.schema.func.create('m', {memory = 2e6, body = [[return #('x'):rep(1e7)]]}) "
        "box.schema.func.create('r', {rows_max = 2, body = 'return #box.space.s:select()'})");
    for (int transaction = 0; transaction < 2; transaction++) {
        eval_(
            "local r = {} for i, name in ipairs{'t', 'm', 'r', 'r', 'm', 't'} do local ok, err = "
            "pcall(box.func[name]) r[i] = err.name .. ' ' .. err.message:match('procedure %a+') "
            "end return "
            "r, #box.space.s:select(), #('y'):rep(1e7), box.is_in_txn()",
            "[[\"ERROR_TIMEOUT procedure t\",\"ERROR_MEMORY procedure m\",\"ERROR_LIMIT procedure "
            "r\",\"ERROR_LIMIT procedure r\",\"ERROR_MEMORY procedure m\",\"ERROR_TIMEOUT "
            "procedure "
            "t\"],100,10000000,false]");
        do_("for _, name in ipairs{'m', 'r'} do local i = box.schema.func.info(name) "
            "box.schema.func.create(name, {replace = true, transaction = false, memory = i.memory, "
            "rows_max "
            "= i.rows_max, body = i.body}) end");
    }
    eval_("pcall(box.atomic, function() box.space.s:insert{500} pcall(box.func.r) "
          "return box.is_in_txn() end) == false, box.space.s:get(500)",
          "[true,null]");
}

static void a_limit_that_was_kept_is_none_any_more(void **state)
{
    (void)state;
    do_("box.schema.func.create('inner', {timeout = 0.2, memory = 2e6, rows_max = 3, body = "
        "'return "
        "box.space.s:count(99, \"GE\")'})");
    do_("box.schema.func.create('outer', {body = [[function() local n = box.func.inner() local t = "
        "{} for "
        "i = 1, 2e5 do t[i] = {} end local began = require('clock').monotonic() repeat until "
        "require('clock').monotonic() - began > 0.4 return n, #box.space.s:select() end]]})");
    for (int i = 0; i < 2; i++) /* again when the inner one has not had its time */
        assert_begins_at_last(lua_fixture_call(&fixture, "outer", "[]"), "[2,100]");
}

static void a_limit_on_rows_counts_what_is_looked_at_and_written(void **state)
{
    (void)state;
    static const char *const within[] = {
        "for i = 1, 10 do box.space.s:get(i) end",
        "for i = 1, 10 do box.space.s:replace{i, 0} end",
        "box.space.s:get_many({1, 2, 3, 4, 1000, 1001, 1, 8, 9, 10})",
        "box.space.s:select({}, {limit = 10})",
        "box.space.s:count(91, 'GE')",
        "for _ in box.space.s:pairs(91, 'GE') do end",
    };
    static const char *const beyond[] = {
        "for i = 1, 11 do box.space.s:get(i) end",
        "for i = 1, 11 do box.space.s:replace{i, 0} end",
        "box.space.s:get_many({1, 2, 3, 4, 1000, 1001, 1, 8, 9, 10, 1})",
        "box.space.s:select({}, {limit = 11})",
        "box.space.s:count()",
        "for _ in box.space.s:pairs(90, 'GE') do end",
        "for i = 1, 50 do pcall(box.space.s.get, box.space.s, i) end",
        "for i = 1, 50 do pcall(box.space.s.replace, box.space.s, {i, 0}) end",
        "pcall(box.func.some)",
    };
    do_("box.schema.func.create('some', {body = 'for i = 1, 11 do box.space.s:get(i) end'})");
    for (int transaction = 0; transaction < 2; transaction++)
        for (size_t i = 0; i < sizeof within / sizeof *within + sizeof beyond / sizeof *beyond;
             i++) {
            bool good = i < sizeof within / sizeof *within;
            const char *body = good ? within[i] : beyond[i - sizeof within / sizeof *within];
            char text[512];
            snprintf(
                text, sizeof text,
                "box.schema.func.create('few', {replace = true, rows_max = 10, transaction = %s, "
                "body = [[function() %s return 'done' end]]})",
                transaction ? "true" : "false", body);
            do_(text);
            const char *said = lua_fixture_call(&fixture, "few", "[]");
            if (good ? strcmp(said, "[\"done\"]") != 0
                     : strstr(said, "procedure few: limit of 10 rows exceeded") == NULL ||
                           strncmp(said, "ERROR_LIMIT", 11) != 0)
                fail_msg("%s: %s", body, said);
        }
    eval_("box.space.s:get(50)", "[[50,50]]");
}

static void a_limit_on_memory_ends_what_takes_more(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "local t = {} for i = 1, 1e7 do t[i] = {i} end return #t",
        ("local t = {} while true do pcall(function() for i = 1, 1e7 do t[#t + 1] = {i} end end) "
         "end"),
        "return #('x'):rep(1e8)",
        "local ok = pcall(string.rep, 'x', 1e8) return ok",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        char text[512];
        snprintf(
            text, sizeof text,
            "box.schema.func.create('large', {replace = true, memory = 3e6, body = [[function() "
            "box.space.s:replace{1000, 1} %s end]]})",
            bodies[i]);
        do_(text);
        const char *said = lua_fixture_call(&fixture, "large", "[]");
        if (strcmp(said, "ERROR_MEMORY procedure large: memory limit of 3000000 bytes exceeded") !=
            0)
            fail_msg("%s: %s", bodies[i], said);
        eval_("box.space.s:get(1000)", "[null]");
        eval_("#('x'):rep(1e7)", "[10000000]");
    }
}

static void garbage_alone_does_not_reach_a_limit_on_memory(void **state)
{
    (void)state;
    do_("keep = {} for i = 1, 2e5 do keep[i] = {i} end");
    do_("box.schema.func.create('busy', {memory = 4e6, body = [[function() local n = 0 for i = 1, "
        "1e6 do "
        "local t = {i, tostring(i)} n = n + #t end return n end]]})");
    call_("busy", "[]", "[2000000]");
}

static void procedures_call_each_other_up_to_a_depth(void **state)
{
    (void)state;
    do_("box.schema.func.create('down', {body = 'function(n) if n == 0 then return 0 end return 1 "
        "+ "
        "box.func.down(n - 1) end'})");
    call_("down", "[90]", "[90]");
    const char *said = lua_fixture_call(&fixture, "down", "[1000]");
    if (strstr(said, "procedures call each other more than 100 deep: down > down") == NULL)
        fail_msg("%s", said);
    call_("down", "[90]", "[90]");
}

/* -------------------------------------------------------------------------------------- versions */

static void what_is_replaced_stays_as_a_version(void **state)
{
    (void)state;
    do_("for i = 1, 3 do box.schema.func.create('f', {replace = true, body = 'return ' .. i, "
        "comment = 'c' "
        ".. i}) end");
    eval_("local r = {} for i, v in ipairs(box.schema.func.versions('f')) do r[i] = {v.version, "
          "v.body, "
          "v.comment} end return r",
          "[[[1,\"return 1\",\"c1\"],[2,\"return 2\",\"c2\"],[3,\"return 3\",\"c3\"]]]");
    do_("box.schema.func.restore('f', 1)");
    call_("f", "[]", "[1]");
    eval_("box.schema.func.info('f').version, box.schema.func.info('f').comment, "
          "#box.schema.func.versions('f')",
          "[4,\"c1\",4]");
    assert_begins(lua_fixture_eval(&fixture, "box.schema.func.restore('f', 9)"),
                  "ERROR_NOT_FOUND eval:1: there is no former version 9 of function \"f\"");
    do_("box.schema.func.rename('f', 'g')");
    call_("g", "[]", "[1]");
    call_("f", "[]", "ERROR_NOT_FOUND there is no procedure f");
    eval_("#box.schema.func.versions('g')", "[4]");
    lua_fixture_restart(&fixture);
    do_("box.schema.func.restore('g', 2)");
    call_("g", "[]", "[2]");
}

static void only_so_many_versions_are_kept(void **state)
{
    (void)state;
    do_("for i = 1, 40 do box.schema.func.create('f', {replace = true, body = 'return ' .. i}) "
        "end");
    eval_("local v = box.schema.func.versions('f') return #v, v[1].version, v[17].version",
          "[17,24,40]");
    do_("local large = ('-'):rep(400000) for i = 1, 9 do box.schema.func.create('f', {replace = "
        "true, body "
        "= '--' .. large .. '\\nreturn ' .. i}) end");
    eval_("local v = box.schema.func.versions('f') return #v, v[#v].version", "[4,49]");
    call_("f", "[]", "[9]");
}

enum { REPLACED = 100, CALLERS = 2 };

static _Atomic uint64_t calls;
static _Atomic uint64_t stop_calling, wrong_answers;

/* Calls and looks whether each answer is of one version: "n n n" with n not going down. */
static void *call_again_and_again(void *arg)
{
    (void)arg;
    struct lua_session session;
    uint64_t seen = 0;
    lua_session_open(&session, &fixture);
    while (!load_acquire(&stop_calling)) {
        const char *said = lua_session_call(&session, "f", "[]");
        unsigned long a = 0, b = 0, c = 0;
        if (sscanf(said, "[%lu,%lu,%lu]", &a, &b, &c) != 3 || a != b || b != c || a < seen)
            atomic_fetch_add(&wrong_answers, 1);
        seen = a;
        atomic_fetch_add(&calls, 1);
    }
    lua_session_close(&session);
    return NULL;
}

static void no_call_is_lost_while_one_is_replaced(void **state)
{
    (void)state;
    pthread_t callers[CALLERS];
    char text[512];
    store_release(&stop_calling, 0);
    for (unsigned i = 0; i <= REPLACED; i++) {
        /* The options change with the body: a call that mixed them would be refused. */
        snprintf(
            text, sizeof text,
            "box.schema.func.create('f', {replace = true, returns = {'any', 'any', 'any'}, "
            "readonly = "
            "%s, body = [[function() local n = %u local t = box.space.s:get(1) %s return n, %u, "
            "n end]]})",
            i % 2 ? "true" : "false", i, i % 2 ? "" : "box.space.s:replace{1, n}", i);
        do_(text);
        for (unsigned n = 0; i == 0 && n < CALLERS; n++)
            pthread_create(&callers[n], NULL, call_again_and_again, NULL);
        uint64_t before = atomic_load(&calls);
        while (atomic_load(&calls) < before + CALLERS)
            sched_yield();
    }
    store_release(&stop_calling, 1);
    for (unsigned n = 0; n < CALLERS; n++)
        pthread_join(callers[n], NULL);
    assert_int_equal(atomic_load(&wrong_answers), 0);
    assert_true(atomic_load(&calls) >= REPLACED);
}

/* ---------------------------------------------------------------------------------------- errors */

static const char *frames(void)
{
    static char text[2048];
    size_t size;
    const char *data = lua_runtime_frames(fixture.runtime, &size);
    if (data == NULL)
        return "none";
    struct json_buffer json;
    json_buffer_create(&json);
    assert_int_equal(json_from_msgpack(&json, &data), 0);
    snprintf(text, sizeof text, "%.*s", (int)json.size, json.data);
    json_buffer_destroy(&json);
    return text;
}

static void an_error_says_where_in_stored_code_it_was_raised(void **state)
{
    (void)state;
    do_("box.schema.func.create('inner', {body = 'local function helper()\\n  "
        "error(\"no\")\\nend\\nreturn "
        "function()\\n  helper()\\nend'})");
    do_("box.schema.func.create('outer', {body = 'function()\\n  local _ = box.func.inner()\\n  "
        "return "
        "1\\nend'})");
    assert_begins(lua_fixture_call(&fixture, "outer", "[]"), "ERROR_LUA inner:2: no");
    assert_begins(frames(),
                  "[{\"file\":\"inner\",\"line\":2,\"name\":\"helper\"},{\"file\":\"inner\","
                  "\"line\":5,\"name\":");
    assert_non_null(strstr(frames(), "\"file\":\"outer\",\"line\":2"));
    do_("box.schema.func.create('taken', {body = 'function()\\n  box.space.s:insert{1, "
        "1}\\nend'})");
    assert_begins(lua_fixture_call(&fixture, "taken", "[]"), "ERROR_DUPLICATE taken:2: ");
    assert_begins(frames(), "[{\"file\":\"taken\",\"line\":2,\"name\":");
    eval_("local ok, err = pcall(box.func.taken) return err.trace[1].file, err.trace[1].line, "
          "err.trace[2].file",
          "[\"taken\",2,\"eval\"]");
    eval_("1", "[1]");
    assert_string_equal(frames(), "none");
}

int main(void)
{
#define test_(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        test_(arguments_are_as_they_are_declared),
        test_(results_are_as_they_are_declared),
        test_(what_is_wrong_with_a_definition_is_said),
        test_(what_is_known_of_one_is_shown),
        test_(a_limit_on_time_ends_whatever_loops),
        test_(an_inner_limit_on_time_ends_the_request),
        test_(who_is_in_no_transaction_goes_on_after_a_limit),
        test_(a_limit_that_was_kept_is_none_any_more),
        test_(a_limit_on_rows_counts_what_is_looked_at_and_written),
        test_(a_limit_on_memory_ends_what_takes_more),
        test_(garbage_alone_does_not_reach_a_limit_on_memory),
        test_(procedures_call_each_other_up_to_a_depth),
        test_(what_is_replaced_stays_as_a_version),
        test_(only_so_many_versions_are_kept),
        test_(no_call_is_lost_while_one_is_replaced),
        test_(an_error_says_where_in_stored_code_it_was_raised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
