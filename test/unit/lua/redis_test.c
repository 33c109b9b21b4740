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
    put_array,  put_map,     put_array, put_null, put_error,
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
                        "ERROR_LUA user_script:1: out");
    assert_string_equal(eval(f, "return redis.call('exists', 'k')"), ":0 ");
    assert_string_equal(eval(f, "redis.call('set', 'k', 'x') return redis.call('incr', 'k')"),
                        "ERROR_LUA value is not an integer or out of range");
    assert_string_equal(eval(f, "return redis.call('exists', 'k')"), ":0 ");
    assert_string_equal(eval(f, "redis.call('set', 'k', 'x') "
                                "return redis.pcall('incr', 'k').err .. redis.call('get', 'k')"),
                        "$ERR value is not an integer or out of rangex ");
}

static void wrong_calls_are_refused(void **state)
{
    struct lua_fixture *f = *state;
    assert_string_equal(eval(f, "return redis.call('nosuch')"),
                        "ERROR_LUA Unknown Redis command called from script");
    assert_string_equal(
        eval(f, "return redis.call()"),
        "ERROR_LUA Please specify at least one argument for this redis.call() call");
    assert_string_equal(eval(f, "return redis.call('set', 'k', {})"),
                        "ERROR_LUA Lua redis() command arguments must be strings or integers");
    assert_true(strncmp(eval(f, "return redis.call('get')"), "ERROR_LUA ", 10) == 0);
    assert_string_equal(eval_as(f, true, "return redis.call('set', 'k', 1)",
                                (const char *const[]){NULL}, (const char *const[]){NULL}),
                        "ERROR_LUA Write commands are not allowed from read-only scripts.");
}

static void globals_of_scripts_are_protected(void **state)
{
    assert_string_equal(eval(*state, "x = 1"),
                        "ERROR_LUA user_script:1: Script attempted to create "
                        "global variable 'x'");
    assert_string_equal(eval(*state, "return x"),
                        "ERROR_LUA user_script:1: Script attempted to access nonexistent global "
                        "variable 'x'");
    assert_true(strncmp(eval(*state, "rawset(_G, 'x', 1)"), "ERROR_LUA ", 10) == 0);
    assert_string_equal(eval(*state, "KEYS[1] = 'other' return KEYS[1]"), "$other ");
    assert_string_equal(eval(*state, "return KEYS[1]"), "$k ");
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
        TEST(scripts_are_kept_by_their_digest),
        TEST(a_procedure_uses_keys_and_spaces_in_one_transaction),
        TEST(a_script_is_part_of_the_transaction_that_it_is_given),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
