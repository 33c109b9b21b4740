/* SPDX-License-Identifier: Apache-2.0 */
/* Expressions of tuples: what they give, what they can't do, and where they end. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/json.h"
#include "db/catalog.h"
#include "lua/expression.h"

static struct field_def fields[] = {{.name = "id", .name_size = 2},
                                    {.name = "name", .name_size = 4},
                                    {.name = "data", .name_size = 4}};
static struct space space = {.name = "s", .field_count = 3, .fields = fields};

static uint64_t digest_of(const char *text)
{
    uint64_t digest = 14695981039346656037u;
    for (; *text != '\0'; text++)
        digest = (digest ^ (unsigned char)*text) * 1099511628211u;
    return digest;
}

/* The results as JSON, or "CODE message". In a text that lives until the thread's next call. */
static const char *evaluate(const char *text, const char *tuple)
{
    static _Thread_local char shown[4096];
    struct json_buffer packed, json;
    struct mp_buffer out;
    json_buffer_create(&packed);
    json_buffer_create(&json);
    mp_buffer_create(&out);
    if (tuple != NULL)
        assert_int_equal(json_to_msgpack(tuple, strlen(tuple), &packed), 0);
    struct expression expression = {.text = text, .digest = digest_of(text), .name = "test"};
    const struct db_expressions *expressions = lua_expressions();
    int rc = expressions->evaluate(expressions->arg, &expression, &space,
                                   tuple == NULL ? NULL : packed.data, &out);
    if (rc != 0) {
        assert_int_equal(out.size, 0);
        snprintf(shown, sizeof shown, "%s %s", error_name(rc), diag_message());
    } else {
        const char *data = out.data;
        assert_int_equal(json_from_msgpack(&json, &data), 0);
        assert_ptr_equal(data, out.data + out.size);
        snprintf(shown, sizeof shown, "%.*s", (int)json.size, json.data);
    }
    json_buffer_destroy(&packed);
    json_buffer_destroy(&json);
    mp_buffer_destroy(&out);
    return shown;
}

#define assert_gives(text, tuple, expected) assert_string_equal(evaluate(text, tuple), expected)

static void assert_fails(const char *text, const char *code, const char *part)
{
    const char *result = evaluate(text, "[1, \"a\", {\"x\": [1, 2]}]");
    if (strncmp(result, code, strlen(code)) != 0 || strstr(result, part) == NULL)
        fail_msg("%s\n  gave %s", text, result);
}

static void test_an_expression_reads_fields_by_number_and_by_name(void **state)
{
    (void)state;
    assert_gives("t[1]", "[5]", "[5]");
    assert_gives("t.id * 2 + t[2]", "[5, 3]", "[13]");
    assert_gives("t.name:lower()", "[1, \"ABC\"]", "[\"abc\"]");
    assert_gives("t.name", "[1]", "[null]");
    assert_gives("t.name == nil and t.unknown == nil", "[1, null]", "[true]");
    assert_gives("t.data.x[2]", "[1, \"a\", {\"x\": [1, 2]}]", "[2]");
    assert_gives("#t", "[1, 2, 3, 4]", "[4]");
    assert_gives("t[4]", "[1, 2, 3, 4]", "[4]");
    assert_gives("t[1] == 9007199254740993LL", "[9007199254740993]", "[true]");
}

static void test_a_function_may_give_several_results(void **state)
{
    (void)state;
    assert_gives("function(t) return t.id, t.name end", "[1, \"a\"]", "[1,\"a\"]");
    assert_gives(" function(t) local r = {} for w in t.name:gmatch('%a+') do r[#r + 1] = w end "
                 "return r end",
                 "[1, \"the big one\"]", "[[\"the\",\"big\",\"one\"]]");
    assert_gives("function(t) end", "[1]", "[]");
    assert_gives("t:unpack()", "[1, null, 3]", "[1,null,3]");
    assert_gives("t:totable()", "[1, 2]", "[[1,2]]");
    assert_gives("t:tomap().name", "[1, 2]", "[2]");
}

static void test_without_a_tuple_t_is_nil(void **state)
{
    (void)state;
    assert_gives("t == nil and 'none'", NULL, "[\"none\"]");
    assert_gives("10 + 5 -- a comment", NULL, "[15]");
}

static void test_values_with_a_width_are_objects(void **state)
{
    (void)state;
    /* the decimal 1.5; the datetime 1970-01-01T00:00:01Z; an extension that nobody knows */
    assert_gives("t[1] * 2 > 2.9 and t[1] * 2", "[{\"$ext\":1,\"data\":\"AQFc\"}]", "[3.0]");
    assert_gives("t[1]:round(0)", "[{\"$ext\":1,\"data\":\"AQFc\"}]", "[2]");
    assert_gives("(t[1] + { day = 1 }).day", "[{\"$ext\":4,\"data\":\"AQAAAAAAAAA=\"}]", "[2]");
    assert_gives("t[1]", "[{\"$ext\":99,\"data\":\"AQ==\"}]", "[{\"$ext\":99,\"data\":\"AQ==\"}]");
    assert_gives("require('decimal').new('0.1') + 0.2", "[]", "[0.3]");
    assert_gives("require('datetime').new().now == nil and require('uuid').NULL", "[]",
                 "[\"00000000-0000-0000-0000-000000000000\"]");
    assert_fails("require('datetime').now()", "ERROR_LUA", "'now'");
    assert_fails("require('uuid').new()", "ERROR_LUA", "'new'");
}

static void test_an_error_has_the_name_of_the_expression(void **state)
{
    (void)state;
    assert_fails("t.nothing + 1", "ERROR_LUA", "test:1: attempt to perform arithmetic");
    assert_fails("t.id +", "ERROR_LUA", "test:1: ");
    assert_fails("error({})", "ERROR_LUA", "an error that is a table");
    assert_fails("function(t) t.id = 5 end", "ERROR_LUA", "a tuple can not be changed");
}

static void test_nothing_is_kept_from_one_evaluation_to_the_next(void **state)
{
    (void)state;
    assert_fails("function(t) count = 1 end", "ERROR_LUA", "make 'count' local");
    assert_fails("function(t) string.x = 1 end", "ERROR_LUA", "read-only");
    assert_fails("function(t) rawset(string, 'x', t) end", "ERROR_LUA", "");
    for (unsigned i = 0; i < 2; i++)
        assert_gives("function(t) local n = 0 n = n + 1 return n end", "[1]", "[1]");
}

static void test_there_is_no_world_in_an_expression(void **state)
{
    (void)state;
    assert_gives("(os or io or debug or package or ffi or load or _G or getfenv or setfenv "
                 "or print or rawset or setmetatable or coroutine) == nil",
                 "[1]", "[true]");
    assert_gives("math.random == nil and box.space == nil", "[1]", "[true]");
    assert_gives("getmetatable('')", "[1]", "[\"protected\"]");
    assert_gives("getmetatable(t)", "[1]", "[\"protected\"]");
    assert_fails("require('clock')", "ERROR_LUA", "not available in an expression");
    assert_fails("require('box.native')", "ERROR_LUA", "not available in an expression");
    assert_gives("require('json').encode({1, 2})", "[1]", "[\"[1,2]\"]");
}

static void test_what_runs_away_is_stopped(void **state)
{
    (void)state;
    assert_fails("function(t) while true do end end", "ERROR_TIMEOUT", "instructions");
    assert_fails("function(t) while true do pcall(function() while true do end end) end end",
                 "ERROR_TIMEOUT", "instructions");
    assert_fails("function(t) pcall(function() while true do end end) end", "ERROR_TIMEOUT",
                 "instructions");
    assert_fails("(('a'):rep(30000)):find(('.-'):rep(40) .. 'b')", "ERROR_TIMEOUT", "time limit");
    assert_fails("('x'):rep(1e9)", "ERROR_MEMORY", "memory");
    assert_fails("function(t) local r = {} for i = 1, 1e9 do r[i] = {} end end", "ERROR_", "");
    assert_fails("function(t) local r = {'a'} for i = 1, 60 do r = {r, r} end return r end",
                 "ERROR_", "");
    assert_fails("function(t) local function f() return 1 + f() end return f() end", "ERROR_LUA",
                 "stack overflow");
    assert_gives("t.id", "[7]", "[7]");
}

static void test_texts_that_share_a_digest_are_told_apart(void **state)
{
    (void)state;
    const struct db_expressions *expressions = lua_expressions();
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < 2; i++) {
            struct expression expression = {
                .text = i == 0 ? "'one'" : "'two'", .digest = 42, .name = "test"};
            struct mp_buffer out;
            mp_buffer_create(&out);
            assert_int_equal(expressions->evaluate(NULL, &expression, NULL, NULL, &out), 0);
            assert_int_equal(out.size, 5);
            assert_memory_equal(out.data + 2, i == 0 ? "one" : "two", 3);
            mp_buffer_destroy(&out);
        }
}

static void test_a_text_that_does_not_compile_is_found_out_beforehand(void **state)
{
    (void)state;
    const struct db_expressions *expressions = lua_expressions();
    struct expression expression = {.text = "t.a >", .digest = 1, .name = "check \"c\""};
    assert_int_equal(expressions->check(expressions->arg, &expression), ERROR_LUA);
    assert_non_null(strstr(diag_message(), "check \"c\":1:"));
    expression = (struct expression){.text = "t.a > error('x')", .digest = 2, .name = "c"};
    assert_int_equal(expressions->check(expressions->arg, &expression), 0);
}

static void *thread_evaluates(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 200; i++) {
        char text[64], expected[32];
        snprintf(text, sizeof text, "t.id + %u", i % 20);
        snprintf(expected, sizeof expected, "[%u]", 5 + i % 20);
        assert_gives(text, "[5]", expected);
    }
    return NULL;
}

static void test_threads_evaluate_side_by_side(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, thread_evaluates, NULL), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_expression_reads_fields_by_number_and_by_name),
        cmocka_unit_test(test_a_function_may_give_several_results),
        cmocka_unit_test(test_without_a_tuple_t_is_nil),
        cmocka_unit_test(test_values_with_a_width_are_objects),
        cmocka_unit_test(test_an_error_has_the_name_of_the_expression),
        cmocka_unit_test(test_nothing_is_kept_from_one_evaluation_to_the_next),
        cmocka_unit_test(test_there_is_no_world_in_an_expression),
        cmocka_unit_test(test_what_runs_away_is_stopped),
        cmocka_unit_test(test_texts_that_share_a_digest_are_told_apart),
        cmocka_unit_test(test_a_text_that_does_not_compile_is_found_out_beforehand),
        cmocka_unit_test(test_threads_evaluate_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
