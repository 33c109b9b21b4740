/* SPDX-License-Identifier: Apache-2.0 */
/* What untrusted code can not reach, and what it can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lua/lua_fixture.h"

static int set_up(void **state)
{
    static struct lua_fixture fixture;
    lua_fixture_create(&fixture, false, 0, 0);
    *state = &fixture;
    return 0;
}

static int set_up_trusted(void **state)
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

static void assert_fails(struct lua_fixture *f, const char *text)
{
    const char *result = lua_fixture_eval(f, text);
    if (strncmp(result, "ERROR_", 6) != 0)
        fail_msg("%s\n  gave %s", text, result);
}

static void dangerous_globals_are_absent(void **state)
{
    assert_eval(*state,
                "ffi, io, debug, package, jit, dofile, loadfile, getfenv, setfenv, newproxy, "
                "module, gcinfo",
                "[null,null,null,null,null,null,null,null,null,null,null,null]");
    assert_eval(*state, "os.execute, os.exit, os.getenv, os.remove, os.tmpname, string.dump",
                "[null,null,null,null,null,null]");
    assert_fails(*state, "require('ffi')");
    assert_fails(*state, "require('box.core')");
    assert_fails(*state, "require('box.native')");
}

static void bytecode_is_not_loaded(void **state)
{
    assert_eval(*state, "load('\\27LJ\\2\\0\\0\\0')",
                "[null,\"attempt to load chunk with wrong mode\"]");
    assert_eval(*state, "(loadstring('\\27Lua'))", "[null]");
    assert_eval(*state, "(load('return io', 'x', 't', 5)), (load('return io', 'x', 't', false))",
                "[null,null]");
    assert_eval(*state, "load('return io', 'x', 't', {})(), coroutine.wrap(load('return io'))()",
                "[null,null]");
}

static void strings_do_not_lead_to_their_library(void **state)
{
    assert_eval(*state, "getmetatable('')", "[\"protected\"]");
    assert_fails(*state, "setmetatable('', {})");
    assert_fails(*state, "string.upper = function() return 'mine' end");
    lua_fixture_do(
        *state, "box.schema.func.create('up', {body = 'return string.upper(...), (...):upper()'})");
    assert_call(*state, "up", "[\"a\"]", "[\"A\",\"A\"]");
}

static void what_one_procedure_sets_another_does_not_see(void **state)
{
    lua_fixture_do(*state,
                   "box.schema.func.create('a', {body = 'x = 1 string.lower = nil return x'})");
    lua_fixture_do(*state, "box.schema.func.create('b', {body = 'return x, string.lower(\"A\")'})");
    assert_call(*state, "a", "[]", "[1]");
    assert_call(*state, "b", "[]", "[null,\"a\"]");
}

static void the_objects_of_box_can_not_be_changed(void **state)
{
    struct lua_fixture *f = *state;
    lua_fixture_do(f, "box.schema.space.create('s'):create_index('pk')");
    assert_fails(f, "box.atomic = nil");
    assert_fails(f, "box.space.s = 1");
    assert_fails(f, "box.space.s.get = 1");
    assert_fails(f, "box.space.s.index.pk.get = 1");
    assert_fails(f, "rawset(box, 'atomic', 1)");
    assert_fails(f, "rawset(box.space.s, 'get', 1)");
    assert_fails(f, "setmetatable(box.space, nil)");
    assert_eval(f, "getmetatable(box.space.s), getmetatable(box)", "[\"protected\",\"protected\"]");
}

static void tuples_give_away_no_memory(void **state)
{
    struct lua_fixture *f = *state;
    lua_fixture_do(f, "t = box.tuple.new{1, 'two', {3}}");
    assert_eval(f, "getmetatable(t), t.data, t.size, t.space_id, t[0], t[-1], t[4], t[2^40]",
                "[\"ffi\",null,null,null,null,null,null,null]");
    assert_fails(f, "t[1] = 2");
    assert_fails(f, "t.size = 2");
    assert_fails(f, "return t + 1");
    assert_fails(f, "t.totable({})");
    assert_eval(f, "local step, a = t:ipairs() return a, step({}, 0)", "[null,1,1]");
    assert_fails(f, "t.unpack(box.NULL)");
    assert_fails(f, "return box.NULL[0]");
    assert_fails(f, "return box.NULL + 1");
    lua_fixture_do(f, "box.schema.space.create('s'):create_index('pk') box.space.s:insert{1}");
    assert_eval(f, "local g, p, i = box.space.s:pairs() return type(g), p, i",
                "[\"table\",null,0]");
    assert_eval(f,
                "local g = box.space.s:pairs() local _, x = g(nil, 0) g(nil, 0) g(nil, 0) return x",
                "[[1]]");
    assert_fails(f, "box.begin() g = box.space.s:pairs() box.commit() g(nil, 0)");
    assert_fails(f, "box.begin() local g, p = box.space.s:pairs() return p.cursor");
    assert_fails(f, "box.begin() local g, p = box.space.s:pairs() p.cursor = box.NULL");
    assert_fails(f, "box.begin() local g = box.space.s:pairs() return g.gen({}, 0)");
    assert_fails(f, "box.begin() local g = box.space.s:pairs() return g.gen(box.NULL, 0)");
}

static void values_with_a_width_give_away_no_memory(void **state)
{
    struct lua_fixture *f = *state;
    lua_fixture_do(f,
                   "decimal, uuid, datetime = require('decimal'), require('uuid'), "
                   "require('datetime') d, u, t = decimal.new('1.5'), uuid.NULL, datetime.new() "
                   "i = datetime.interval.new() x = require('msgpack').decode('\\199\\3\\99abc')");
    assert_eval(f, "d + 1, u, t + {day = 1}, i + {day = 1}, decimal.sqrt(16)",
                "[2.5,\"00000000-0000-0000-0000-000000000000\",\"1970-01-02T00:00:00Z\",\"+1 "
                "days\",4]");
    assert_eval(f, "d.low, d.scale == decimal.scale, u.bytes, t.seconds, i.field, x.size, x[0]",
                "[null,true,null,null,null,null,null]");
    assert_eval(f, "d[0], d[-1], u[0], t[0], i[0], getmetatable(d)",
                "[null,null,null,null,null,\"ffi\"]");
    for (const char *const *name = (const char *const[]){"d", "u", "t", "i", "x", NULL};
         *name != NULL; name++) {
        char text[64];
        snprintf(text, sizeof text, "%s.low = 1", *name);
        assert_fails(f, text);
        snprintf(text, sizeof text, "%s[0] = 1", *name);
        assert_fails(f, text);
        snprintf(text, sizeof text, "return %s.abs(box.NULL)", *name);
        assert_fails(f, text);
        snprintf(text, sizeof text, "return -%s .. box.tuple.new{1}()", *name);
        assert_fails(f, text);
    }
    assert_fails(f, "decimal.new = nil");
    assert_fails(f, "rawset(datetime, 'now', 1)");
    assert_fails(f, "rawset(datetime.interval, 'new', 1)");
    assert_fails(f, "return d.round(box.tuple.new{1}, 1)");
    assert_fails(f, "return u.str(d)");
    assert_fails(f, "return u.bin(t)");
    assert_fails(f, "return t.add(d, {day = 1})");
    assert_fails(f, "return t.format(u, '%F')");
    assert_fails(f, "return t + d");
    assert_fails(f, "return i.totable(t)");
}

static void safe_functions_work_as_they_do_elsewhere(void **state)
{
    struct lua_fixture *f = *state;
    assert_eval(f, "string.find('hello', 'l+'), string.find('a.b', '.', 1, true), ('x'):find('y')",
                "[3,2,null]");
    assert_eval(f, "('key = value'):match('^(%w+)%s*=%s*(%w+)$')", "[\"key\",\"value\"]");
    assert_eval(f, "('hello world'):gsub('o', '0')", "[\"hell0 w0rld\",2]");
    assert_eval(f, "('hello'):gsub('', '-')", "[\"-h-e-l-l-o-\",6]");
    assert_eval(f, "('abc'):gsub('%w', '%0%0', 2)", "[\"aabbc\",2]");
    assert_eval(f, "('abc'):gsub('^a', {a = 'x'}), ('$name'):gsub('%$(%w+)', string.upper)",
                "[\"xbc\",\"NAME\",1]");
    assert_eval(f,
                "local r = {} for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do r[k] = v end "
                "return r.a .. r.b",
                "[\"12\"]");
    assert_eval(f,
                "('THE (quick) fox'):find('%((%a+)%)'), ('[[x]]'):match('%b[]'), "
                "('THE END'):gsub('%f[%a]%a+', 'w')",
                "[5,\"[[x]]\",\"w w\",2]");
    assert_eval(
        f,
        "('x'):find('', 10), ('abc'):find('b', -2), ('a]c'):match('[]]'), ('a-b'):match('[a%-]+')",
        "[2,2,\"]\",\"a-\"]");
    assert_eval(f,
                "select('#', xpcall(function() return 1, 2 end, print)), "
                "xpcall(error, function(e) return e .. '!' end, 'x')",
                "[3,false,\"x!\"]");
    assert_eval(f, "load('return ...', 'x', 'b')(5), load(function() return nil end) ~= nil",
                "[5,true]");
    assert_eval(f, "require('json').encode({a = {1, 2}}), require('json').decode('[1,null]')[1]",
                "[\"{\\\"a\\\":[1,2]}\",1]");
    assert_eval(f, "require('msgpack').decode(require('msgpack').encode({1, 'x'}))",
                "[[1,\"x\"],5]");
    assert_eval(f, "type(require('clock').time()), type(box.now()), type(box.stat().commits)",
                "[\"number\",\"number\",\"number\"]");
}

static void options_that_run_code_do_not_disturb_a_statement(void **state)
{
    struct lua_fixture *f = *state;
    lua_fixture_do(f,
                   "s = box.schema.space.create('s') s:create_index('pk') s:insert{1} s:insert{2}");
    lua_fixture_do(f, "sly = setmetatable({}, {__index = function(_, k) "
                      "pcall(s.insert, s, {7, {print}}) pcall(require('json').decode, '5') "
                      "pcall(require('msgpack').encode, {1, print}) end})");
    assert_eval(f, "s:select(2, sly), s:count(1, sly)", "[[[2]],1]");
    assert_eval(f, "s:insert{3, box.info, s, box.schema, 5}[5]", "[5]");
}

static void a_trusted_state_has_everything(void **state)
{
    assert_eval(*state,
                "type(io.open), type(require('ffi').cast), type(debug.getinfo), type(box.space)",
                "[\"function\",\"function\",\"function\",\"table\"]");
}

static void a_file_runs_with_its_arguments_and_its_error_has_a_stack(void **state)
{
    struct lua_fixture *f = *state;
    char path[] = "/tmp/perigee_lua_XXXXXX";
    FILE *file = fdopen(mkstemp(path), "w");
    assert_non_null(file);
    fputs("assert(arg[1] == 'one' and ... == 'one' and #arg == 2)\n"
          "box.schema.space.create('made'):create_index('pk')\n"
          "local function inner() error('late') end\n"
          "if arg[2] == 'fail' then inner() end\n",
          file);
    fclose(file);
    char *good[] = {"one", "two"}, *bad[] = {"one", "fail"};
    assert_int_equal(lua_runtime_run_file(f->runtime, path, 2, good, &f->reply_ts), 0);
    assert_true(f->reply_ts > 0);
    assert_eval(f, "box.space.made.name", "[\"made\"]");
    lua_fixture_do(f, "box.space.made:drop()");
    assert_true(lua_runtime_run_file(f->runtime, path, 2, bad, NULL) < 0);
    assert_non_null(strstr(lua_runtime_trace(f->runtime), ":3: late\nstack traceback:"));
    assert_non_null(strstr(lua_runtime_trace(f->runtime), "in function 'inner'"));
    assert_int_equal(remove(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name)    cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TRUSTED(name) cmocka_unit_test_setup_teardown(name, set_up_trusted, tear_down)
        TEST(dangerous_globals_are_absent),
        TEST(bytecode_is_not_loaded),
        TEST(strings_do_not_lead_to_their_library),
        TEST(what_one_procedure_sets_another_does_not_see),
        TEST(the_objects_of_box_can_not_be_changed),
        TEST(tuples_give_away_no_memory),
        TEST(values_with_a_width_give_away_no_memory),
        TEST(safe_functions_work_as_they_do_elsewhere),
        TEST(options_that_run_code_do_not_disturb_a_statement),
        TRUSTED(a_trusted_state_has_everything),
        TRUSTED(a_file_runs_with_its_arguments_and_its_error_has_a_stack),
#undef TEST
#undef TRUSTED
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
