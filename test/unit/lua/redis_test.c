/* SPDX-License-Identifier: Apache-2.0 */
/* Redis scripts: conversion, errors, transactions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/lua_fixture.h"

/* A sink that writes what it gets as text. */
struct text_sink {
    struct redis_sink base;
    char text[2048];
};

static void add(struct redis_sink *sink, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add(struct redis_sink *sink, const char *format, ...)
{
    struct text_sink *self = (struct text_sink *)(void *)sink;
    size_t used = strlen(self->text);
    va_list args;
    va_start(args, format);
    vsnprintf(self->text + used, sizeof self->text - used, format, args);
    va_end(args);
}

static void put_status(struct redis_sink *sink, const char *text)
{
    add(sink, "+%s ", text);
}
static void put_integer(struct redis_sink *sink, int64_t value)
{
    add(sink, ":%lld ", (long long)value);
}
static void put_bulk(struct redis_sink *sink, const void *data, size_t size)
{
    add(sink, "$%.*s ", (int)size, (const char *)data);
}
static void put_null(struct redis_sink *sink)
{
    add(sink, "_ ");
}
static void put_real(struct redis_sink *sink, double value)
{
    add(sink, ",%g ", value);
}
static void put_boolean(struct redis_sink *sink, bool value)
{
    add(sink, "#%c ", value ? 't' : 'f');
}
static void put_array(struct redis_sink *sink, size_t count)
{
    add(sink, "*%zu ", count);
}
static void put_map(struct redis_sink *sink, size_t pairs)
{
    add(sink, "%%%zu ", pairs);
}
static void put_error(struct redis_sink *sink, const char *prefix, const char *message)
{
    add(sink, "-%s %s ", prefix, message);
}

static const struct redis_sink_vtab vtab = {
    put_status, put_integer, put_bulk,  put_null, put_real,  put_boolean,
    put_array,  put_map,     put_array, put_null, put_error, NULL,
};

static struct text_sink sink;

static void slices_of(const char *const *texts, struct redis_slice *slices, unsigned *count)
{
    for (*count = 0; texts[*count] != NULL; ++*count)
        slices[*count] = (struct redis_slice){texts[*count], strlen(texts[*count])};
}

static const char *eval_as(struct lua_fixture *f, bool readonly, const char *script,
                           const char *const *keys, const char *const *args)
{
    struct redis_slice key_slices[8], arg_slices[8];
    struct lua_redis_eval eval = {.script = script,
                                  .script_size = strlen(script),
                                  .keys = key_slices,
                                  .args = arg_slices,
                                  .request = {.readonly = readonly}};
    slices_of(keys, key_slices, &eval.key_count);
    slices_of(args, arg_slices, &eval.arg_count);
    sink.base.vtab = &vtab;
    sink.text[0] = 0;
    int code = lua_runtime_redis_eval(f->runtime, &eval, &sink.base, &f->reply_ts);
    if (code != 0) {
        assert_string_equal(sink.text, "");
        add(&sink.base, "%s %s", error_name(code), diag_message_for(code));
        char *place = strstr(sink.text, " script: ");
        if (place != NULL) /* 40 digits */
            memmove(place + 9, place + 49, strlen(place + 49) + 1);
    } else {
        assert_int_equal(wal_wait(db_wal(f->db), f->reply_ts), 0);
    }
    return sink.text;
}

static const char *eval(struct lua_fixture *f, const char *script)
{
    return eval_as(f, false, script, (const char *const[]){"k", NULL},
                   (const char *const[]){"a", "b", NULL});
}

static int set_up(void **state)
{
    static struct lua_fixture fixture;
    lua_fixture_create(&fixture, false, 0, 0);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    lua_fixture_destroy(*state);
    return 0;
}

static void values_become_replies_by_the_rules_of_redis(void **state)
{
    assert_string_equal(eval(*state, "return 3.99"), ":3 ");
    assert_string_equal(eval(*state, "return -3.99"), ":-3 ");
    assert_string_equal(eval(*state, "return {1, 'x', true, false, {2}, nil, 4}"),
                        "*5 :1 $x :1 _ *1 :2 ");
    assert_string_equal(eval(*state, "return {ok = 'FINE'}"), "+FINE ");
    assert_string_equal(eval(*state, "return {err = 'MYERR no'}"), "-MYERR no ");
    assert_string_equal(eval(*state, "return redis.error_reply('bad thing')"), "-ERR bad thing ");
    assert_string_equal(eval(*state, "return redis.status_reply('S')"), "+S ");
    assert_string_equal(eval(*state, "return nil"), "_ ");
    assert_string_equal(eval(*state, "return {KEYS[1], ARGV[1], ARGV[2], #ARGV}"),
                        "*4 $k $a $b :2 ");
    assert_string_equal(eval(*state, "return redis.sha1hex('')"),
                        "$da39a3ee5e6b4b0d3255bfef95601890afd80709 ");
    assert_string_equal(eval(*state, "return redis.sha1hex(('a'):rep(119))"),
                        "$ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56 ");
}

static void values_that_redis_has_not_become_the_nearest_that_it_has(void **state)
{
    struct lua_fixture *f = *state;
    assert_string_equal(eval(f, "return {9007199254740993LL, 7ULL}"), "*2 :9007199254740993 :7 ");
    assert_string_equal(eval(f, "return require('decimal').new('1.50')"), "$1.50 ");
    assert_string_equal(eval(f, "return {require('uuid').NULL, 1}"),
                        "*2 $00000000-0000-0000-0000-000000000000 :1 ");
    assert_string_equal(eval(f, "local datetime = require('datetime') "
                                "return {datetime.new({timestamp = 1}), "
                                "datetime.interval.new({day = 1})}"),
                        "*2 $1970-01-01T00:00:01Z $+1 days ");
    assert_string_equal(
        eval(f, "return box.tuple.new({1.5, 'x', true, {2}, {a = 1}, box.NULL, 3})"),
        "*5 :1 $x :1 *1 :2 *0 ");
    assert_string_equal(eval(f, "return {box.NULL, 1}"), "*2 _ :1 ");
    assert_string_equal(eval(f, "return require('varbinary').new('bytes')"), "$bytes ");
}

static void commands_run_and_their_replies_come_back(void **state)
{
    assert_string_equal(eval(*state, "return redis.call('set', KEYS[1], 10)"), "+OK ");
    assert_string_equal(eval(*state, "return redis.call('get', KEYS[1])"), "$10 ");
    assert_string_equal(eval(*state, "return redis.call('incr', KEYS[1]) + 0.5"), ":11 ");
    assert_string_equal(eval(*state, "return redis.call('get', 'nothing') == false"), ":1 ");
    assert_string_equal(eval(*state, "return redis.call('mget', 'k', 'nothing')"), "*2 $11 _ ");
    assert_string_equal(
        eval(*state, "return redis.call('set', 'n', 1e15) and redis.call('get', 'n')"),
        "$1000000000000000 ");
}

static void an_error_takes_back_what_the_script_wrote(void **state)
{
    struct lua_fixture *f = *state;
    assert_string_equal(eval(f, "redis.call('set', 'k', 'x') error('out')"),
                        "ERROR_SCRIPT ERR user_script:1: out script: , on @user_script:1.");
    assert_string_equal(eval(f, "return redis.call('exists', 'k')"), ":0 ");
    assert_string_equal(eval(f, "redis.call('set', 'k', 'x') return redis.call('incr', 'k')"),
                        "ERROR_SCRIPT ERR value is not an integer or out of range script: , on "
                        "@user_script:1.");
    assert_string_equal(eval(f, "return redis.call('exists', 'k')"), ":0 ");
    assert_string_equal(eval(f, "redis.call('set', 'k', 'x') "
                                "return redis.pcall('incr', 'k').err .. redis.call('get', 'k')"),
                        "$ERR value is not an integer or out of rangex ");
}

static void wrong_calls_are_refused(void **state)
{
    struct lua_fixture *f = *state;
    assert_string_equal(eval(f, "return redis.call('nosuch')"),
                        "ERROR_SCRIPT ERR Unknown Redis command called from script script: , on "
                        "@user_script:1.");
    assert_string_equal(eval(f, "\nreturn redis.call()"),
                        "ERROR_SCRIPT ERR Please specify at least one argument for this redis lib "
                        "call script: , on @user_script:2.");
    assert_string_equal(eval(f, "return redis.call('set', 'k', {})"),
                        "ERROR_SCRIPT ERR Lua redis lib command arguments must be strings or "
                        "integers script: , on @user_script:1.");
    assert_string_equal(eval(f, "return redis.pcall('get')"),
                        "-ERR Wrong number of args calling Redis command from script ");
    assert_string_equal(eval_as(f, true, "return redis.call('set', 'k', 1)",
                                (const char *const[]){NULL}, (const char *const[]){NULL}),
                        "ERROR_SCRIPT ERR Write commands are not allowed from read-only scripts. "
                        "script: , on @user_script:1.");
}

static void globals_of_scripts_are_protected(void **state)
{
    assert_string_equal(eval(*state, "x = 1"),
                        "ERROR_SCRIPT ERR user_script:1: Attempt to modify a readonly table "
                        "script: , on @user_script:1.");
    assert_string_equal(eval(*state, "string.x = 1"),
                        "ERROR_SCRIPT ERR user_script:1: Attempt to modify a readonly table "
                        "script: , on @user_script:1.");
    assert_string_equal(eval(*state, "return x"),
                        "ERROR_SCRIPT ERR user_script:1: Script attempted to access nonexistent "
                        "global variable 'x' script: , on @user_script:1.");
    assert_string_equal(eval(*state, "rawset(_G, 'x', 1)"),
                        "ERROR_SCRIPT ERR Attempt to modify a readonly table script: , on "
                        "@user_script:1.");
    assert_string_equal(eval(*state, "setmetatable(redis, {})"),
                        "ERROR_SCRIPT ERR Attempt to modify a readonly table script: , on "
                        "@user_script:1.");
    assert_string_equal(eval(*state, "KEYS[1] = 'other' return KEYS[1]"), "$other ");
    assert_string_equal(eval(*state, "return KEYS[1]"), "$k ");
}

static void an_error_of_a_script_is_its_text_and_its_place(void **state)
{
    struct lua_fixture *f = *state;
    eval(f, "return redis.call('set', 's', 'x')");
    assert_string_equal(
        eval(f, "local function f()\n return redis.call('incr', 's') end\nreturn f()"),
        "ERROR_SCRIPT ERR value is not an integer or out of range script: , on "
        "@user_script:2.");
    assert_string_equal(eval(f, "error({err = 'MINE what'})"),
                        "ERROR_SCRIPT MINE what script: , on @user_script:1.");
    assert_string_equal(eval(f, "error({})"),
                        "ERROR_SCRIPT ERR unknown error script: , on @user_script:1.");
    assert_string_equal(eval(f, "error()"), "ERROR_SCRIPT ERR nil script: , on @user_script:1.");
    assert_string_equal(eval(f, "assert(false, 'so')"),
                        "ERROR_SCRIPT ERR user_script:1: so script: , on @user_script:1.");
    assert_string_equal(eval(f, "return select(2, pcall(redis.call, 'incr', 's'))"),
                        "$ERR value is not an integer or out of range ");
    assert_string_equal(eval(f, "return redis.error_reply('-My Err')"), "-ERR My Err ");
    assert_true(strncmp(eval(f, "return +"),
                        "ERROR_LUA Error compiling script (new function): user_script:1:", 61) ==
                0);
}

/* The places of `return` are found whatever stands around them. */
static void what_is_returned_is_what_the_text_says(void **state)
{
    struct lua_fixture *f = *state;
    assert_string_equal(eval(f, "local f = function(...) return select(2, ...) end "
                                "return {f(1, 2, 3)}"),
                        "*2 :2 :3 ");
    assert_string_equal(eval(f, "if true then return tostring(1), 2 else return end"), "$1 ");
    assert_string_equal(eval(f, "local t = {'return', [[return x(]], x = ')' } -- return f(\n"
                                "return #t .. t.x; --[[ return ]]"),
                        "$2) ");
    assert_string_equal(eval(f, "return (function() return table.concat((function() "
                                "return {'a', 'b'} end)()) end)()"),
                        "$ab ");
    assert_string_equal(eval(f, "local function sum(n, s) if n == 0 then return s end "
                                "return sum(n - 1, s + n) end return sum(1e6, 0)"),
                        ":500000500000 ");
    assert_string_equal(eval(f, "for i = 1, 3 do if i == 2 then return unpack{i} end end"), ":2 ");
    assert_string_equal(eval(f, "repeat return redis.sha1hex('') until true"),
                        "$da39a3ee5e6b4b0d3255bfef95601890afd80709 ");
    assert_string_equal(eval(f, "return"), "_ ");
    assert_string_equal(eval(f, "return--[==[x]]]==]tostring'a\\'b'"), "$a'b ");
}

static void the_libraries_of_redis_are_there(void **state)
{
    struct lua_fixture *f = *state;
    assert_string_equal(
        eval(f, "return cjson.encode({1, 'a/\\n', {}, {a = true}, cjson.null, 0.1})"),
        "$[1,\"a\\/\\n\",{},{\"a\":true},null,0.1] ");
    assert_string_equal(
        eval(f, "local t = cjson.decode('{\"a\":[1,{\"b\":null}],\"c\":\"\\\\u00e9\"}') "
                "return {t.a[1], t.a[2].b == cjson.null and 1, t.c}"),
        "*3 :1 :1 $\xc3\xa9 ");
    assert_string_equal(eval(f, "return cjson.decode('[1,')"),
                        "ERROR_SCRIPT ERR user_script:1: Expected value but found T_END at "
                        "character 4 script: , on @user_script:1.");
    lua_fixture_do(f, "box.schema.space.create('nulls'):create_index('pk')");
    assert_string_equal(eval(f, "box.space.nulls:insert({1, cjson.null, 3}) "
                                "return box.space.nulls:get(1)[2] == box.NULL"),
                        ":1 ");
    assert_string_equal(eval(f, "local t = {} t[1] = t return cjson.encode(t)"),
                        "ERROR_SCRIPT ERR user_script:1: Cannot serialise, excessive nesting "
                        "(1001) script: , on @user_script:1.");
    assert_string_equal(eval(f, "cjson.encode_sparse_array(true) return cjson.encode({[50] = 1})"),
                        "${\"50\":1} ");
    assert_string_equal(eval(f, "return (pcall(cjson.encode, {[50] = 1}))"), "_ ");
    assert_string_equal(
        eval(f, "return {cmsgpack.unpack(cmsgpack.pack(1, -300, 'x', {a = {1.5, 2}}, 2^40))}"),
        "*5 :1 :-300 $x *0 :1099511627776 ");
    assert_string_equal(eval(f, "return {cmsgpack.unpack_one(cmsgpack.pack('a', 'b'), 2)}"),
                        "*2 :-1 $b ");
    assert_string_equal(eval(f, "return cmsgpack.unpack('\\221\\255\\255\\255\\255')"),
                        "ERROR_SCRIPT ERR user_script:1: Missing bytes in input. script: , on "
                        "@user_script:1.");
    assert_string_equal(eval(f, "return {struct.unpack('>Bhc3s', struct.pack('>Bhc3s', 1, -2, "
                                "'abc', 'z'))}"),
                        "*5 :1 :-2 $abc $z :9 ");
    assert_string_equal(eval(f, "return struct.size('!4bi') .. bit.tohex(255, -4)"), "$800FF ");
    assert_string_equal(eval(f, "return struct.pack('i33', 1)"),
                        "ERROR_SCRIPT ERR user_script:1: integral size 33 is larger than limit of "
                        "32 script: , on @user_script:1.");
}

static void values_that_grow_without_end_are_stopped(void **state)
{
    struct lua_fixture *f = *state;
    static const char *const names[] = {"cjson.encode", "cmsgpack.pack"};
    char text[160];
    for (int n = 0; n < 2; n++) {
        snprintf(text, sizeof text,
                 "local t = {('x'):rep(1e6)} for i = 1, 13 do t = {t, t, t, t, t, t, t, t} end "
                 "return %s(t)",
                 names[n]);
        assert_true(strncmp(eval(f, text), "ERROR_MEMORY", 12) == 0);
    }
}

static void resp3_has_values_of_its_own(void **state)
{
    struct lua_fixture *f = *state;
    assert_string_equal(eval(f, "return {double = 1.5}"), ",1.5 ");
    assert_string_equal(eval(f, "return {map = {a = {set = {b = true}}}}"), "%1 $a *1 $b ");
    assert_string_equal(eval(f, "return {big_number = '123'}"), "$123 ");
    assert_string_equal(eval(f, "return {verbatim_string = {string = 'x', format = 'txt'}}"),
                        "$x ");
    assert_string_equal(eval(f, "redis.setresp(3) return {true, false, redis.call('get', 'no') == "
                                "nil}"),
                        "*3 #t #f #t ");
    assert_string_equal(eval(f, "return {true, redis.call('get', 'no') == false}"), "*2 :1 :1 ");
    assert_string_equal(eval(f, "redis.setresp(4)"),
                        "ERROR_SCRIPT ERR RESP version must be 2 or 3. script: , on "
                        "@user_script:1.");
}

static void a_shebang_says_what_a_script_does(void **state)
{
    struct lua_fixture *f = *state;
    static const char *const none[] = {NULL};
    assert_string_equal(eval(f, "#!lua flags=no-writes,allow-oom\nreturn redis.call('get', 'n')"),
                        "_ ");
    assert_string_equal(eval(f, "#!lua flags=no-writes\nreturn redis.call('set', 'n', 1)"),
                        "ERROR_SCRIPT ERR Write commands are not allowed from read-only scripts. "
                        "script: , on @user_script:2.");
    assert_string_equal(eval(f, "#!lua flags=no-writes\nbox.space._redis = 1"),
                        "ERROR_SCRIPT ERR user_script:2: this object is read-only script: , on "
                        "@user_script:2.");
    assert_string_equal(eval(f, "#!lua flags=no\nreturn 1"),
                        "ERROR_LUA Unexpected flag in script shebang: no");
    assert_string_equal(eval(f, "#!lua name=x\nreturn 1"),
                        "ERROR_LUA Unknown lua shebang option: name=x");
    assert_string_equal(eval(f, "#!lua"), "ERROR_LUA Invalid script shebang");
    assert_string_equal(eval(f, "#!js\nreturn 1"),
                        "ERROR_LUA Unexpected engine in script shebang: #!js");
    assert_string_equal(eval_as(f, true, "#!lua\nreturn 1", none, none),
                        "ERROR_LUA Can not execute a script with write flag using *_ro command.");
}

static void scripts_are_kept_by_their_digest(void **state)
{
    struct lua_fixture *f = *state;
    char sha1[LUA_SHA1_SIZE];
    size_t size;
    assert_int_equal(lua_runtime_script_load(f->runtime, "return 1", 8, sha1), 0);
    assert_string_equal(sha1, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    const char *source =
        lua_runtime_script_find(f->runtime, "E0E1F9FABFC9D4800C877A703B823AC0578FF8DB", &size);
    assert_int_equal(size, 8);
    assert_memory_equal(source, "return 1", 8);
    char text[64];
    for (int i = 0; i < LUA_SCRIPTS_MAX; i++) {
        snprintf(text, sizeof text, "return %d + 1", i);
        assert_int_equal(lua_runtime_script_load(f->runtime, text, strlen(text), sha1), 0);
    }
    assert_null(
        lua_runtime_script_find(f->runtime, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", &size));
    assert_non_null(lua_runtime_script_find(f->runtime, sha1, &size));
    lua_runtime_script_flush(f->runtime);
    assert_null(lua_runtime_script_find(f->runtime, sha1, &size));
    assert_true(lua_runtime_script_load(f->runtime, "return +", 8, sha1) < 0);
}

static void a_procedure_uses_keys_and_spaces_in_one_transaction(void **state)
{
    struct lua_fixture *f = *state;
    lua_fixture_do(f, "box.schema.space.create('s'):create_index('pk')");
    lua_fixture_do(f, "box.schema.func.create('both', {body = [[function(fail)\n"
                      "  redis.call('incr', 'n') box.space.s:insert{1}\n"
                      "  if fail then error('x') end\n"
                      "  return redis.call('get', 'n'), box.space.s:count()\nend]]})");
    assert_true(strncmp(lua_fixture_call(f, "both", "[true]"), "ERROR_LUA", 9) == 0);
    assert_call(f, "both", "[]", "[\"1\",1]");
    assert_eval(f, "redis.call('incr', 'n')", "[2]");
}

static void a_script_is_part_of_the_transaction_that_it_is_given(void **state)
{
    struct lua_fixture *f = *state;
    static const char script[] = "redis.call('incr', 'k') return redis.call('get', 'k')";
    struct txn_options options = {.level = TXN_SERIALIZABLE};
    struct lua_redis_eval request = {.script = script, .script_size = sizeof script - 1};
    struct txn *txn;
    sink.base.vtab = &vtab;
    sink.text[0] = 0;
    assert_int_equal(txn_begin(db_worker_txn(f->worker), &options, &txn), 0);
    assert_int_equal(lua_runtime_redis_eval_in(f->runtime, txn, 1000, &request, &sink.base), 0);
    assert_string_equal(sink.text, "$1 ");
    txn_rollback(txn);
    assert_string_equal(eval(f, "return redis.call('exists', 'k')"), ":0 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(values_become_replies_by_the_rules_of_redis),
        TEST(values_that_redis_has_not_become_the_nearest_that_it_has),
        TEST(commands_run_and_their_replies_come_back),
        TEST(an_error_takes_back_what_the_script_wrote),
        TEST(wrong_calls_are_refused),
        TEST(globals_of_scripts_are_protected),
        TEST(an_error_of_a_script_is_its_text_and_its_place),
        TEST(what_is_returned_is_what_the_text_says),
        TEST(the_libraries_of_redis_are_there),
        TEST(values_that_grow_without_end_are_stopped),
        TEST(resp3_has_values_of_its_own),
        TEST(a_shebang_says_what_a_script_does),
        TEST(scripts_are_kept_by_their_digest),
        TEST(a_procedure_uses_keys_and_spaces_in_one_transaction),
        TEST(a_script_is_part_of_the_transaction_that_it_is_given),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
