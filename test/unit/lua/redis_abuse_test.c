/* SPDX-License-Identifier: Apache-2.0 */
/* What reads bytes that scripts are given: whatever they are, they are read or refused, and what is
 * packed is unpacked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "lua/lua_fixture.h"

enum { ROUNDS = 300, BYTES_MAX = 64 };

static struct lua_fixture fixture;

static int set_up(void **state)
{
    (void)state;
    lua_fixture_create(&fixture, false, 0, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lua_fixture_destroy(&fixture);
    return 0;
}

/* Ignores what a script replies. */
static void ignore_text(struct redis_sink *sink, const char *text)
{
    (void)sink;
    (void)text;
}
static void ignore_integer(struct redis_sink *sink, int64_t value)
{
    (void)sink;
    assert_int_equal(value, 1);
}
static const struct redis_sink_vtab ignoring = {.status = ignore_text, .integer = ignore_integer};

static int run(const char *script, const struct redis_slice *args, unsigned arg_count)
{
    struct redis_sink sink = {.vtab = &ignoring};
    struct lua_redis_eval eval = {
        .script = script, .script_size = strlen(script), .args = args, .arg_count = arg_count};
    return lua_runtime_redis_eval(fixture.runtime, &eval, &sink, &fixture.reply_ts);
}

static void random_bytes_are_read_or_refused(void **state)
{
    static const char *const scripts[] = {
        "pcall(cjson.decode, ARGV[1]) return 1",
        "pcall(cmsgpack.unpack, ARGV[1]) pcall(cmsgpack.unpack_limit, ARGV[1], 2, 1) return 1",
        ("pcall(struct.unpack, ARGV[1], ARGV[2]) pcall(struct.size, ARGV[1]) "
         "pcall(struct.pack, ARGV[1], 1, 'abc', 2) return 1"),
        "loadstring(ARGV[1]) return 1",
    };
    static const char letters[] = "{}[]\",:\\u0dn trfe-1.5eE+;bBhHiIlLTfdscx!<>c0s9";
    struct random random;
    random_create(&random, test_seed());
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        char bytes[2][BYTES_MAX];
        struct redis_slice args[2];
        for (int n = 0; n < 2; n++) {
            args[n] = (struct redis_slice){bytes[n], random_below(&random, BYTES_MAX)};
            for (size_t at = 0; at < args[n].size; at++)
                bytes[n][at] = round % 2 == 0 ? (char)random_below(&random, 256)
                                              : letters[random_below(&random, sizeof letters - 1)];
        }
        for (size_t n = 0; n < sizeof scripts / sizeof *scripts; n++)
            if (run(scripts[n], args, 2) != 0)
                fail_msg("script %zu: %s", n, diag_message());
        /* the text of a script, and of a library */
        run("return 1", NULL, 0);
        struct redis_slice load[2] = {{"load", 4}, args[0]}, restore[2] = {{"restore", 7}, args[0]};
        const struct lua_request request = {.user_id = 1};
        struct redis_sink sink = {.vtab = &ignoring};
        assert_int_not_equal(lua_runtime_redis_function(fixture.runtime, &request, load, 2, &sink,
                                                        &fixture.reply_ts),
                             0);
        assert_int_not_equal(lua_runtime_redis_function(fixture.runtime, &request, restore, 2,
                                                        &sink, &fixture.reply_ts),
                             0);
    }
}

static void what_is_packed_is_unpacked(void **state)
{
    (void)state;
    static const char script[] =
        "local function same(a, b)\n"
        "  if type(a) ~= 'table' then return a == b end\n"
        "  for k, v in pairs(a) do if not same(v, b[k]) then return false end end\n"
        "  for k in pairs(b) do if a[k] == nil then return false end end\n"
        "  return true\n"
        "end\n"
        "math.randomseed(tonumber(ARGV[1]))\n"
        "local function make(depth)\n"
        "  local kind = math.random(depth > 3 and 3 or 5)\n"
        "  if kind == 1 then return math.random(-2^40, 2^40)\n"
        "  elseif kind == 2 then return ('x\\0\\200\"'):rep(math.random(0, 80))\n"
        "  elseif kind == 3 then return math.random() < 0.5\n"
        "  end\n"
        "  local t = {}\n"
        "  for n = 1, math.random(1, 20) do\n"
        "    t[kind == 4 and n or 'k' .. n] = make(depth + 1)\n"
        "  end\n"
        "  return t\n"
        "end\n"
        "for n = 1, 20 do\n"
        "  local value = make(0)\n"
        "  assert(same(value, (cmsgpack.unpack(cmsgpack.pack(value)))), 'cmsgpack')\n"
        "  assert(same(value, cjson.decode(cjson.encode(value))), 'cjson')\n"
        "  local number = math.random(-2^31, 2^31 - 1)\n"
        "  local format = (n % 2 == 0 and '<' or '>') .. '!bi' .. 4 + n % 5 .. 'dsc3'\n"
        "  local r = {struct.unpack(format, struct.pack(format, 7, number, number / 3, 'ab', "
        "'abc'))}\n"
        "  assert(r[2] == number and r[3] == number / 3 and r[4] == 'ab' and r[5] == 'abc', "
        "format)\n"
        "end\n"
        "return 1";
    char seed[24];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)(test_seed() % 1000000007));
    if (run(script, &(struct redis_slice){seed, strlen(seed)}, 1) != 0)
        fail_msg("%s", diag_message());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_bytes_are_read_or_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_packed_is_unpacked, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
