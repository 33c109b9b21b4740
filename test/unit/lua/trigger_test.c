/* SPDX-License-Identifier: Apache-2.0 */
/* Triggers: when they run, in which order, what they may change, and what is undone after an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/lua_session.h"

static struct lua_fixture fixture;

static int set_up_as(bool trusted)
{
    lua_fixture_create(&fixture, trusted, 0, 0);
    lua_fixture_do(
        &fixture,
        "box.schema.space.create('s', {format = {{'id', 'unsigned'}, {'n', 'integer', is_nullable "
        "= "
        "true}}}):create_index('pk') box.space.s:create_index('n', {parts = {{'n', 'integer', "
        "is_nullable = true}}, unique = true}) "
        "box.schema.space.create('log'):create_index('pk') "
        "box.schema.func.create('note', {body = [[function(text) local l = box.space.log "
        "l:insert{l:count() + 1, text} end]]}) "
        "box.schema.func.create('notes', {body = [[function() local r = {} for _, t in "
        "box.space.log:pairs() do r[#r + 1] = t[2] end return table.concat(r, ' ') end]]})");
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    return set_up_as(false);
}

static int set_up_trusted(void **state)
{
    (void)state;
    return set_up_as(true);
}

static int tear_down(void **state)
{
    (void)state;
    lua_fixture_destroy(&fixture);
    return 0;
}

/* A trigger that writes down what it was called with. */
static void log_event(const char *event)
{
    char text[1024];
    snprintf(
        text, sizeof text,
        "box.space.s:create_trigger('log_%s', {event = '%s', body = [[function(old, new, space, op)"
        " box.func.note('%s ' .. op .. ' ' .. tostring(old) .. ' ' .. tostring(new)) end]]})",
        event, event, event);
    lua_fixture_do(&fixture, text);
}

#define do_(text)             lua_fixture_do(&fixture, text)
#define eval_(text, expected) assert_eval(&fixture, text, expected)

static void after_triggers_see_old_and_new_of_every_statement(void **state)
{
    (void)state;
    log_event("on_replace");
    do_("box.space.s:insert{1, 10}");
    do_("box.space.s:replace{1, 11}");
    do_("box.space.s:update(1, {{'+', 'n', 1}})");
    do_("box.space.s:upsert({1, 0}, {{'+', 'n', 1}})");
    do_("box.space.s:upsert({2, 5}, {{'+', 'n', 1}})");
    do_("box.space.s:delete(1)");
    do_("box.space.s.index.n:delete(5)");
    do_("box.space.s:delete(77)");
    do_("box.space.s:update(77, {{'+', 'n', 1}})");
    eval_(
        "box.func.notes()",
        "[\"on_replace INSERT nil [1,10] on_replace REPLACE [1,10] [1,11] on_replace UPDATE [1,11] "
        "[1,12] on_replace UPSERT [1,12] [1,13] on_replace UPSERT nil [2,5] on_replace DELETE "
        "[1,13] "
        "nil on_replace DELETE [2,5] nil\"]");
}

static void triggers_of_deleted_rows_run_when_a_row_went(void **state)
{
    (void)state;
    log_event("on_delete");
    do_("box.space.s:insert{1, 10} box.space.s:replace{1, 11} box.space.s:delete(1) "
        "box.space.s:delete(1)");
    eval_("box.func.notes()", "[\"on_delete DELETE [1,11] nil\"]");
}

static void a_before_trigger_changes_the_row_that_is_written(void **state)
{
    (void)state;
    do_("box.space.s:create_trigger('double', {event = 'before_replace', body = [[function(old, "
        "new) if "
        "new then return {new[1], new[2] * 2} end end]]})");
    eval_("box.space.s:insert{1, 10}", "[[1,20]]");
    eval_("box.space.s:replace{1, 11}", "[[1,22]]");
    eval_("box.space.s:update(1, {{'+', 'n', 1}})", "[[1,46]]");
    do_("box.space.s:upsert({1, 0}, {{'=', 'n', 1}}) box.space.s:upsert({2, 3}, {})");
    eval_("box.space.s:select{}", "[[[1,2],[2,6]]]");
    eval_("box.space.s.index.n:get(6)", "[[2,6]]");
    eval_("box.space.s:delete(1)", "[[1,2]]");
    eval_("#box.space.s:select()", "[1]");
}

static void a_before_trigger_may_want_nothing_to_happen(void **state)
{
    (void)state;
    do_("box.space.s:insert{1, 10}");
    do_("box.space.s:create_trigger('keep', {event = 'before_replace', body = [[function(old, new) "
        "return "
        "old end]]})");
    log_event("on_replace");
    do_("box.space.s:replace{1, 11} box.space.s:delete(1) box.space.s:insert{2, 2} "
        "box.space.s:update(1, {{'=', 'n', 3}})");
    eval_("box.space.s:select{}", "[[[1,10]]]");
    eval_("box.func.notes()", "[\"\"]");
    do_("box.space.s:create_trigger('keep', {replace = true, event = 'before_replace', body = "
        "[[function(old, new) return nil end]]})");
    do_("box.space.s:replace{1, 11} box.space.s:insert{2, 2}");
    eval_("box.space.s:select{}", "[[]]");
    eval_("box.func.notes()", "[\"on_replace REPLACE [1,10] nil\"]");
}

static void a_before_trigger_makes_a_replace_of_a_delete(void **state)
{
    (void)state;
    do_("box.space.s:insert{1, 10}");
    do_("box.space.s:create_trigger('mark', {event = 'before_replace', body = [[function(old, new) "
        "if "
        "not new then return old:totable()[1] and {old[1], -1} end end]]})");
    do_("box.space.s:delete(1)");
    eval_("box.space.s:select{}", "[[[1,-1]]]");
}

static void a_before_trigger_must_not_change_the_primary_key(void **state)
{
    (void)state;
    do_("box.space.s:insert{1, 10}");
    do_("box.space.s:create_trigger('move', {event = 'before_replace', body = [[function(old, new) "
        "return {new[1] + 100, new[2]} end]]})");
    assert_begins(lua_fixture_eval(&fixture, "box.space.s:replace{1, 11}"),
                  "ERROR_INVALID eval:1: a "
                  "before_replace trigger");
    assert_begins(lua_fixture_eval(&fixture, "box.space.s:update(1, {{'=', 'n', 3}})"),
                  "ERROR_INVALID");
    eval_("box.space.s:insert{2, 2}", "[[102,2]]");
    eval_("box.space.s:select{}", "[[[1,10],[102,2]]]");
}

static void an_error_undoes_the_statement_and_nothing_else(void **state)
{
    (void)state;
    do_("box.space.s:create_trigger('veto', {event = 'on_replace', body = [[function(old, new)\n"
        "  box.func.note('tried')\n"
        "  if new[2] < 0 then error('negative') end\n"
        "end]]})");
    eval_(
        "box.atomic(function() box.space.s:insert{1, 1} local ok, err = pcall(box.space.s.insert, "
        "box.space.s, {2, -1}) box.space.s:insert{3, 3} return ok, tostring(err) end)",
        "[false,\"trigger veto:3: negative\"]");
    eval_("box.space.s:select{}", "[[[1,1],[3,3]]]");
    eval_("box.space.s.index.n:count()", "[2]");
    eval_("box.func.notes()", "[\"tried tried\"]");
    assert_string_equal(lua_fixture_eval(&fixture, "box.space.s:insert{4, -1}"),
                        "ERROR_LUA eval:1: trigger veto:3: negative");
    eval_("box.func.notes()", "[\"tried tried\"]");
}

static void an_error_keeps_its_code(void **state)
{
    (void)state;
    do_("box.space.s:create_trigger('same', {event = 'on_replace', body = [[function(old, new)\n"
        "  box.space.log:insert{1, 'x'} end]]})");
    do_("box.space.s:insert{1, 1}");
    assert_begins(lua_fixture_eval(&fixture, "box.space.s:insert{2, 2}"),
                  "ERROR_DUPLICATE eval:1: trigger same:2: Duplicate key");
    eval_("box.space.s:count()", "[1]");
}

static void an_unknown_number_of_statements_runs_in_order(void **state)
{
    (void)state;
    const char *const events[] = {"statement", "on_delete", "on_replace", "before_replace"};
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        log_event(events[i]);
    do_("box.space.s:insert{1, 1}");
    do_("box.space.s:delete(1)");
    do_("box.space.s:delete(1)");
    eval_(
        "box.func.notes()",
        "[\"before_replace INSERT nil [1,1] on_replace INSERT nil [1,1] statement INSERT nil [1,1] "
        "before_replace DELETE [1,1] nil on_replace DELETE [1,1] nil on_delete DELETE [1,1] nil "
        "statement DELETE [1,1] nil statement DELETE nil nil\"]");
}

static void triggers_of_an_event_run_by_their_order(void **state)
{
    (void)state;
    do_("for name, order in pairs{c = 3, a = 1, b = 2, z = -1} do box.space.s:create_trigger(name, "
        "{event "
        "= 'on_replace', order = order, body = \"box.func.note('\" .. name .. \"')\"}) end");
    do_("box.space.s:insert{1, 1}");
    eval_("box.func.notes()", "[\"z a b c\"]");
    do_("box.schema.trigger.disable('b') box.schema.trigger.drop('z') box.space.s:insert{2, 2}");
    eval_("box.func.notes()", "[\"z a b c a c\"]");
    do_("box.schema.trigger.enable('b')");
    eval_("#box.schema.trigger.list(box.space.s)", "[3]");
    eval_("box.schema.trigger.info('b').order, box.schema.trigger.info('b').space, "
          "box.schema.trigger.exists('z')",
          "[2,\"s\",false]");
}

static void a_condition_says_for_which_rows(void **state)
{
    (void)state;
    do_("box.space.s:create_trigger('big', {event = 'on_replace', when = 'new and new.n > 10', "
        "body = "
        "[[box.func.note(new.n)]]})");
    do_("box.space.s:insert{1, 5} box.space.s:insert{2, 11} box.space.s:delete(2)");
    eval_("box.func.notes()", "[\"11\"]");
}

static void a_statement_of_a_trigger_runs_triggers_up_to_a_depth(void **state)
{
    (void)state;
    do_("box.space.s:create_trigger('again', {event = 'on_replace', body = [[function(old, new) if "
        "new.n < 10 then box.space.s:insert{new.id + 1, new.n + 1} end end]]})");
    do_("box.space.s:insert{1, 1}");
    eval_("box.space.s:count()", "[10]");
    assert_begins(lua_fixture_eval(&fixture, "box.space.s:insert{100, -100}"),
                  "ERROR_LUA eval:1: trigger again:1: trigger again:1");
    eval_("box.space.s:count()", "[10]");
    eval_(
        "select(2, pcall(box.space.s.insert, box.space.s, {100, -100})).message:match('triggers "
        "run.*')",
        "[\"triggers run triggers more than 16 deep: again > again > again > again > again > again "
        "> "
        "again > again > again > again > again > again > again > again > again > again > again\"]");
    do_("box.space.s:insert{200, 200}");
}

static void a_view_is_written_by_triggers_instead(void **state)
{
    (void)state;
    do_("box.schema.space.create('v')");
    assert_begins(lua_fixture_eval(&fixture, "box.space.v:insert{1, 2}"), "ERROR_SCHEMA");
    do_("box.space.v:create_trigger('to_s', {event = 'instead_of', body = [[function(old, new, _, "
        "op, key, "
        "ops)\n"
        " if op == 'INSERT' then return box.space.s:insert{new[2], new[1]} end\n"
        " if op == 'DELETE' then return box.space.s:delete(key) end\n"
        " if op == 'UPDATE' then return box.space.s:update(key, ops) end end]]})");
    eval_("box.space.v:insert{5, 1}", "[[1,5]]");
    eval_("box.space.v:update(1, {{'+', 2, 3}})", "[[1,8]]");
    eval_("box.space.s:select()", "[[[1,8]]]");
    eval_("box.space.v:delete(1)", "[[1,8]]");
    eval_("box.space.s:count()", "[0]");
}

static void a_view_that_is_one_takes_them_only_instead(void **state)
{
    (void)state;
    do_("box.schema.space.create('w', {view = 'return box.space.s:pairs()'})");
    assert_begins(lua_fixture_eval(&fixture, "box.space.w:on_replace('')"),
                  "ERROR_INVALID eval:1: space \"w\" is a view");
    do_("box.space.w:instead_of('return box.space.s:insert(new)')");
    eval_("box.space.w:insert{1, 2}, #box.space.w:select()", "[[1,2],1]");
}

static void what_is_instead_sees_the_row_and_writes_nothing_itself(void **state)
{
    (void)state;
    do_("box.space.s:insert{1, 1}");
    log_event("instead_of");
    do_("box.space.s:replace{1, 2} box.space.s:delete(1) box.space.s:insert{2, 2}");
    eval_("box.func.notes()",
          "[\"instead_of REPLACE [1,1] [1,2] instead_of DELETE [1,1] nil instead_of "
          "INSERT nil [2,2]\"]");
    eval_("box.space.s:select()", "[[[1,1]]]");
}

static void a_function_that_is_stored_can_be_one(void **state)
{
    (void)state;
    do_("box.schema.func.create('audit', {body = [[function(old, new) box.func.note('one') "
        "end]]})");
    eval_("box.space.s:on_replace('audit')", "[\"s.on_replace.1\"]");
    do_("box.space.s:insert{1, 1}");
    do_("box.schema.func.create('audit', {replace = true, body = [[function(old, new) "
        "box.func.note('two') "
        "end]]})");
    do_("box.space.s:insert{2, 2}");
    eval_("box.func.notes()", "[\"one two\"]");
    eval_("box.space.s:on_replace()", "[[\"s.on_replace.1\"]]");
    do_("box.space.s:on_replace(nil, 's.on_replace.1') box.space.s:insert{3, 3}");
    eval_("box.func.notes()", "[\"one two\"]");
    assert_begins(lua_fixture_eval(&fixture, "box.space.s:on_replace(function() end)"),
                  "ERROR_INVALID eval:1: a Lua function can't be a trigger, because every worker");
}

static void a_file_may_give_a_function(void **state)
{
    (void)state;
    do_("seen = {} name = box.space.s:on_replace(function(old, new) seen[#seen + 1] = new[1] end)");
    do_("box.space.s:insert{1, 1} box.atomic(function() box.space.s:insert{2, 2} end)");
    eval_("name, seen", "[\"s.on_replace.1\",[1,2]]");
    struct db_worker *worker;
    struct lua_runtime *second;
    struct mp_buffer result;
    char text[512];
    mp_buffer_create(&result);
    lua_fixture_second(&fixture, &worker, &second);
    const struct lua_request request = {.txn = NULL};
    const char insert[] = "box.space.s:insert{3, 3}";
    int code = lua_runtime_eval(second, &request, insert, sizeof insert - 1, NULL, &result, NULL);
    assert_begins(
        lua_fixture_show(&result, code, text, sizeof text),
        "ERROR_UNSUPPORTED eval:1: eval:1: trigger s.on_replace.1 is a function of a file");
    mp_buffer_destroy(&result);
    lua_runtime_delete(second);
    db_worker_close(worker);
    do_("box.space.s:on_replace(nil, name) box.space.s:insert{3, 3}");
    eval_("#seen", "[2]");
}

static void what_is_wrong_with_a_trigger_is_said_when_it_is_made(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"{event = 'on_replace', body = 'x ='}", "trigger t:1: unexpected symbol"},
        {"{event = 'on_replace', body = '', when = 'x +'}", "trigger t when:"},
        {"{event = 'often', body = ''}", "unknown event of a trigger: often"},
        {"{event = 'on_replace'}", "a trigger has either a body"},
        {"{event = 'on_replace', body = '', func = 'note'}", "a trigger has either a body"},
        {"{event = 'on_replace', func = 'nothing'}", "there is no procedure nothing"},
        {"{event = 'on_replace', body = '', color = 1}", "a trigger has no option \"color\""},
        {"{event = 'on_replace', body = '', order = 'x'}",
         "option \"order\" of a trigger is a number"},
        {"{event = 'on_commit', body = ''}", "on_commit triggers belong to no space"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[256];
        snprintf(text, sizeof text, "box.space.s:create_trigger('t', %s)", wrong[i][0]);
        const char *said = lua_fixture_eval(&fixture, text);
        if (strstr(said, wrong[i][1]) == NULL)
            fail_msg("%s: %s", wrong[i][0], said);
    }
    assert_begins(lua_fixture_eval(&fixture, "box.space._func:create_trigger('t', {event = "
                                             "'on_replace', body = ''})"),
                  "ERROR_ACCESS");
    do_("box.space.s:create_trigger('t', {event = 'on_replace', body = ''})");
    assert_begins(lua_fixture_eval(&fixture,
                                   "box.space.s:create_trigger('t', {event = 'on_replace', "
                                   "body = ''})"),
                  "ERROR_EXISTS");
    do_("box.space.s:create_trigger('t', {if_not_exists = true, event = 'on_replace', body = ''})");
    assert_begins(lua_fixture_eval(&fixture, "box.schema.trigger.drop('u')"), "ERROR_NOT_FOUND");
    do_("box.schema.trigger.drop('u', {if_exists = true})");
}

static void they_outlive_a_restart_and_do_not_run_in_it(void **state)
{
    (void)state;
    log_event("on_replace");
    do_("box.space.s:insert{1, 1}");
    lua_fixture_restart(&fixture);
    eval_("box.func.notes()", "[\"on_replace INSERT nil [1,1]\"]");
    do_("box.space.s:insert{2, 2}");
    eval_("box.func.notes()", "[\"on_replace INSERT nil [1,1] on_replace INSERT nil [2,2]\"]");
}

static void every_worker_has_them(void **state)
{
    (void)state;
    struct lua_session other;
    lua_session_open(&other, &fixture);
    log_event("on_replace");
    assert_string_equal(lua_session_eval(&other, "box.space.s:insert{1, 1}"), "[[1,1]]");
    do_("box.schema.trigger.drop('log_on_replace')");
    assert_string_equal(lua_session_eval(&other, "box.space.s:insert{2, 2}"), "[[2,2]]");
    assert_string_equal(lua_session_eval(&other, "box.func.notes()"),
                        "[\"on_replace INSERT nil [1,1]\"]");
    lua_session_close(&other);
}

static void a_space_takes_its_triggers_with_it(void **state)
{
    (void)state;
    log_event("on_replace");
    do_("box.space.s:drop()");
    eval_("#box.schema.trigger.list()", "[0]");
}

static void a_trigger_does_not_end_the_transaction(void **state)
{
    (void)state;
    do_("box.space.s:create_trigger('t', {event = 'on_replace', body = [[local _, err = "
        "pcall(box[({'commit', 'rollback', 'begin'})[new.id] ]) box.func.note(tostring(err))]]})");
    do_("box.space.s:insert{1, 1} box.space.s:insert{2, 2} box.space.s:insert{3, 3}");
    eval_("select('#', box.func.notes()), box.space.s:count()", "[1,3]");
    eval_("box.space.log:get(3)[2]", "[\"a transaction is already going on\"]");
    eval_("box.space.log:get(2)[2]",
          "[\"this transaction does not begin and end here: its procedure, "
          "script or session does that\"]");
}

static void a_trigger_can_not_return_to_a_savepoint_from_before(void **state)
{
    (void)state;
    do_("box.space.s:create_trigger('t', {event = 'on_replace', body = [[local ok, err = "
        "pcall(box.rollback_to_savepoint, box.NULL or 1) local inner = box.savepoint() "
        "box.space.log:insert{9, 'x'} box.rollback_to_savepoint(inner)]]})");
    eval_("box.atomic(function() local p = box.savepoint() box.space.s:insert{1, 1} "
          "box.rollback_to_savepoint(p) box.space.s:insert{2, 2} return box.space.s:count() end)",
          "[1]");
    eval_("box.space.log:count()", "[0]");
}

static void functions_for_the_end_go_with_the_statement(void **state)
{
    (void)state;
    do_("box.space.s:create_trigger('t', {event = 'on_replace', body = [[box.on_commit(function() "
        "box.func.note('committed ' .. new.id) end) if new.n < 0 then error('no') end]]})");
    do_("box.space.s:insert{1, 1}");
    eval_("box.func.notes()", "[\"committed 1\"]");
    do_("box.atomic(function() box.on_commit(function() box.func.note('mine') end) "
        "box.space.s:insert{2, 2} pcall(box.space.s.insert, box.space.s, {3, -1}) end)");
    eval_("box.func.notes()", "[\"committed 1 mine committed 2\"]");
    eval_("pcall(box.space.s.insert, box.space.s, {4, -1}) == false", "[true]");
    eval_("box.func.notes()", "[\"committed 1 mine committed 2\"]");
}

static void transactions_have_triggers_of_their_own(void **state)
{
    (void)state;
    do_("for _, event in ipairs{'on_begin', 'on_commit', 'on_rollback'} do "
        "box.schema.trigger.create(event, {event = event, body = \"n = (n or 0) + 1 if not "
        "box.is_in_txn() then require('log').info(n) end\"}) end");
    do_("box.schema.trigger.create('b', {event = 'on_begin', body = \"local l = box.space.log "
        "l:insert{l:count() + 1, 'begun'}\"})");
    do_("box.space.s:insert{1, 1}");
    eval_("box.space.log:count()", "[1]");
    do_("box.begin() box.space.s:insert{2, 2} box.rollback()");
    eval_("box.space.log:count()", "[1]");
    do_("box.atomic(function() box.space.s:insert{2, 2} end)");
    eval_("box.space.log:count()", "[2]");
    eval_("box.func.notes()", "[\"begun begun begun\"]");
}

static void a_change_of_the_schema_is_an_event(void **state)
{
    (void)state;
    do_("box.schema.trigger.create('c', {event = 'on_schema_change', body = [[local l = "
        "box.space.log "
        "l:insert{l:count() + 1, 'changed'} if l:count() < 3 then box.schema.func.create('f' .. "
        "l:count(), "
        "{body = ''}) end]]})");
    eval_("box.space.log:count()", "[1]");
    do_("box.schema.func.create('g', {body = ''})");
    eval_("box.space.log:count(), box.schema.func.exists('f2')", "[2,true]");
    do_("box.begin{schema = true} box.schema.func.create('h', {body = ''}) "
        "box.schema.func.create('i', {body = ''}) box.commit()");
    eval_("box.space.log:count()", "[3]");
    do_("pcall(box.atomic, {schema = true}, function() box.schema.func.create('j', {body = ''}) "
        "error('no') end)");
    eval_("box.space.log:count()", "[3]");
}

static void an_event_of_the_server_gets_its_arguments(void **state)
{
    (void)state;
    do_("box.schema.trigger.create('c', {event = 'on_connect', when = 'function(id) return id ~= 3 "
        "end', "
        "body = [[local id, address, user = ... box.space.log:insert{id, address, user}]]})");
    assert_int_equal(
        lua_runtime_event(fixture.runtime, TRIGGER_ON_CONNECT, "\x93\x02\xa1x\xa1y", 2, 0), 0);
    assert_int_equal(
        lua_runtime_event(fixture.runtime, TRIGGER_ON_CONNECT, "\x93\x03\xa1x\xa1y", 3, 0), 0);
    assert_int_equal(lua_runtime_event(fixture.runtime, TRIGGER_ON_AUTH, "\x90", 2, 0), 0);
    eval_("box.space.log:select()", "[[[2,\"x\",\"y\"]]]");
    assert_int_equal(
        lua_runtime_event(fixture.runtime, TRIGGER_ON_CONNECT, "\x93\x02\xa1x\xa1y", 2, 0),
        ERROR_DUPLICATE);
}

static void a_conflict_in_a_trigger_dooms_whatever_it_catches(void **state)
{
    (void)state;
    struct lua_session rival;
    lua_session_open(&rival, &fixture);
    do_("box.schema.space.create('hot'):create_index('pk') box.space.hot:insert{1, 0}");
    do_("box.space.s:create_trigger('t', {event = 'on_replace', body = "
        "[[pcall(box.space.hot.update, "
        "box.space.hot, 1, {{'+', 2, 1}})]]})");
    struct lua_session own;
    lua_session_open(&own, &fixture);
    lua_session_begin(&own, TXN_SNAPSHOT);
    assert_string_equal(lua_session_eval(&own, "box.space.hot:get(1)"), "[[1,0]]");
    assert_string_equal(lua_session_eval(&rival, "box.space.hot:replace{1, 5}"), "[[1,5]]");
    assert_begins(lua_session_eval(&own, "box.space.s:insert{1, 1}"), "ERROR_CONFLICT");
    eval_("box.space.s:count(), box.space.hot:get(1)[2]", "[0,5]");
    assert_string_equal(lua_session_eval(&own, "box.space.s:insert{1, 1}"), "[[1,1]]");
    eval_("box.space.s:count(), box.space.hot:get(1)[2]", "[1,6]");
    lua_session_close(&own);
    lua_session_close(&rival);
}

static void a_lock_that_a_trigger_meets_makes_its_statement_wait(void **state)
{
    (void)state;
    struct lua_session holder, own;
    lua_session_open(&holder, &fixture);
    lua_session_open(&own, &fixture);
    do_("box.schema.space.create('hot'):create_index('pk') box.space.hot:insert{1, 0}");
    do_("box.space.s:create_trigger('t', {event = 'on_replace', body = [[box.func.note('ran') "
        "pcall(box.space.hot.update, box.space.hot, 1, {{'+', 2, 1}})]]})");
    lua_session_begin(&holder, TXN_SNAPSHOT);
    assert_string_equal(lua_session_eval(&holder, "box.space.hot:replace{1, 5}"), "[[1,5]]");
    for (int interactive = 0; interactive < 2; interactive++) {
        char text[64];
        snprintf(text, sizeof text, "box.space.s:insert{%d, %d}[1]", interactive, interactive);
        if (interactive)
            lua_session_begin(&own, TXN_READ_COMMITTED);
        assert_begins(lua_session_eval(&own, text), "ERROR_WAIT");
        eval_("box.space.s:get(1) or box.space.s:get(0)", interactive ? "[[0,0]]" : "[null]");
        if (interactive)
            lua_session_rollback(&holder);
        else
            assert_string_equal(lua_session_commit(&holder), "OK");
        snprintf(text + 40, sizeof text - 40, "[%d]", interactive);
        assert_string_equal(lua_session_eval(&own, text), text + 40);
        if (interactive)
            assert_string_equal(lua_session_commit(&own), "OK");
        lua_session_begin(&holder, TXN_READ_COMMITTED);
        lua_session_eval(&holder, "box.space.hot:update(1, {{'+', 2, 10}})");
    }
    lua_session_rollback(&holder);
    eval_("box.func.notes(), box.space.hot:get(1)[2]", "[\"ran ran\",7]");
    lua_session_close(&own);
    lua_session_close(&holder);
}

static void rows_that_go_with_another_run_their_own(void **state)
{
    (void)state;
    do_("box.schema.space.create('child', {format = {{'id', 'unsigned'}, {'up', 'unsigned', "
        "is_nullable "
        "= true}}, foreign_key = {k = {space = 's', field = {up = 'id'}, on_delete = 'cascade'}}}) "
        "box.space.child:create_index('pk') box.space.child:create_index('up', {parts = {'up'}, "
        "unique = "
        "false})");
    do_("box.space.child:create_trigger('c', {event = 'on_delete', body = [[box.func.note('child ' "
        ".. "
        "old.id) if old.id == 9 then error('kept') end]]})");
    do_("box.space.s:insert{1, 1} box.space.child:insert{1, 1} box.space.child:insert{2, 1} "
        "box.space.child:insert{3, box.NULL}");
    do_("box.space.s:delete(1)");
    eval_("box.func.notes()", "[\"child 1 child 2\"]");
    do_("box.space.s:insert{1, 1} box.space.child:insert{8, 1} box.space.child:insert{9, 1}");
    assert_begins(lua_fixture_eval(&fixture, "box.space.s:delete(1)"),
                  "ERROR_LUA eval:1: trigger c:1: kept");
    eval_("box.space.s:count(), box.space.child:count()", "[1,3]");
}

static void what_writes_in_a_compiled_loop_runs_them(void **state)
{
    (void)state;
    do_("box.schema.space.create('t'):create_index('pk') box.space.t:create_trigger('x', {event = "
        "'before_replace', body = [[function(old, new) return {new[1], new[2] + 1} end]]})");
    eval_("(function() local s, sum = box.space.t, 0 for i = 1, 3000 do s:replace{i % 100, i} sum "
          "= sum + "
          "s:get(i % 100)[2] end return sum end)()",
          "[4504500]");
    eval_("(function() local s, sum = box.space.t, 0 box.begin() for i = 1, 3000 do s:update(i % "
          "100, "
          "{{'=', 2, i}}) sum = sum + s:get(i % 100)[2] end box.commit() return sum end)()",
          "[4504500]");
}

int main(void)
{
#define test_(name)         cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define test_trusted_(name) cmocka_unit_test_setup_teardown(name, set_up_trusted, tear_down)
    const struct CMUnitTest tests[] = {
        test_(after_triggers_see_old_and_new_of_every_statement),
        test_trusted_(after_triggers_see_old_and_new_of_every_statement),
        test_(triggers_of_deleted_rows_run_when_a_row_went),
        test_(a_before_trigger_changes_the_row_that_is_written),
        test_trusted_(a_before_trigger_changes_the_row_that_is_written),
        test_(a_before_trigger_may_want_nothing_to_happen),
        test_(a_before_trigger_makes_a_replace_of_a_delete),
        test_(a_before_trigger_must_not_change_the_primary_key),
        test_(an_error_undoes_the_statement_and_nothing_else),
        test_(an_error_keeps_its_code),
        test_(an_unknown_number_of_statements_runs_in_order),
        test_(triggers_of_an_event_run_by_their_order),
        test_(a_condition_says_for_which_rows),
        test_(a_statement_of_a_trigger_runs_triggers_up_to_a_depth),
        test_(a_view_is_written_by_triggers_instead),
        test_(a_view_that_is_one_takes_them_only_instead),
        test_(what_is_instead_sees_the_row_and_writes_nothing_itself),
        test_(a_function_that_is_stored_can_be_one),
        test_trusted_(a_file_may_give_a_function),
        test_(what_is_wrong_with_a_trigger_is_said_when_it_is_made),
        test_(they_outlive_a_restart_and_do_not_run_in_it),
        test_(every_worker_has_them),
        test_(a_space_takes_its_triggers_with_it),
        test_(a_trigger_does_not_end_the_transaction),
        test_(a_trigger_can_not_return_to_a_savepoint_from_before),
        test_(functions_for_the_end_go_with_the_statement),
        test_(transactions_have_triggers_of_their_own),
        test_(a_conflict_in_a_trigger_dooms_whatever_it_catches),
        test_(a_lock_that_a_trigger_meets_makes_its_statement_wait),
        test_(rows_that_go_with_another_run_their_own),
        test_(what_writes_in_a_compiled_loop_runs_them),
        test_trusted_(what_writes_in_a_compiled_loop_runs_them),
        test_(a_change_of_the_schema_is_an_event),
        test_(an_event_of_the_server_gets_its_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
