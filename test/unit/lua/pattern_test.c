/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox's string functions against LuaJIT's own, on random patterns and subjects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/test_seed.h"
#include "lua/lua_fixture.h"

static int set_up(void **state)
{
    static struct lua_fixture fixture;
    lua_fixture_create(&fixture, true, 0, 0);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    lua_fixture_destroy(*state);
    return 0;
}

/* Compares results, or that both fail; says with what they differ. */
static const char compare[] =
    "local own, seed = require('box.pattern'), ... math.randomseed(seed)\n"
    "local pieces = {'a', 'b', '.', '%a', '%d', '[ab]', '[^a]', '[%w_]', '(', ')', '()', '*', '+', "
    "'-', '?', '$', '^',\n"
    "  '%1', '%bab', '%f[a]', '%.', '[a-c]', ']', '%', '[', '[]]', 'c', ' ', '%s', '%S'}\n"
    "local letters = {'a', 'b', 'c', '1', ' ', '.', ']', '_'}\n"
    "local function make(from, most)\n"
    "  local parts = {} for n = 1, math.random(0, most) do parts[n] = from[math.random(#from)] "
    "end\n"
    "  return table.concat(parts) end\n"
    "local function gather(lib, subject, pattern)\n"
    "  local found = {} for a, b in lib.gmatch(subject, pattern) do\n"
    "    found[#found + 1] = tostring(a) .. '|' .. tostring(b) if #found > 99 then break end end\n"
    "  return table.concat(found, ';') end\n"
    "local function show(...)\n"
    "  local parts = {} for n = 1, select('#', ...) do parts[n] = tostring((select(n, ...))) end\n"
    "  return parts[1] == 'false' and 'error' or table.concat(parts, ',') end\n"
    "-- LuaJIT does not notice a capture that is never closed when nobody asks for it\n"
    "local function malformed(subject, pattern) return not pcall(string.find, subject, pattern) "
    "end\n"
    "for _ = 1, 20000 do\n"
    "  local subject, pattern, init = make(letters, 12), make(pieces, 6), math.random(-3, 14)\n"
    "  for name, fn in pairs({\n"
    "    find = function(lib) return lib.find(subject, pattern, init) end,\n"
    "    match = function(lib) return lib.match(subject, pattern, init) end,\n"
    "    gsub = function(lib) return lib.gsub(subject, pattern, '<%0%1>', init > 0 and init or "
    "nil) end,\n"
    "    gmatch = function(lib) return gather(lib, subject, pattern) end,\n"
    "  }) do\n"
    "    local mine, theirs = show(pcall(fn, own)), show(pcall(fn, string))\n"
    "    if mine ~= theirs and not (mine == 'error' and malformed(subject, pattern)) then return "
    "name, subject, pattern, init, mine, theirs end\n"
    "  end\n"
    "end return 'same'";

static void random_patterns_match_as_luajits_own_do(void **state)
{
    struct lua_fixture *f = *state;
    char text[sizeof compare + 64];
    snprintf(text, sizeof text, "return loadstring([==[%s]==])(%llu)", compare,
             (unsigned long long)test_seed() % 1000000);
    assert_eval(f, text, "[\"same\"]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_patterns_match_as_luajits_own_do, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
