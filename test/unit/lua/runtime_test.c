/* SPDX-License-Identifier: Apache-2.0 */
/* Procedures and text on a runtime: results, errors, transactions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
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

static int tear_down(void **state)
{
    lua_fixture_destroy(*state);
    return 0;
}

static void make_accounts(struct lua_fixture *f)
{
    lua_fixture_do(f,
                   "local s = box.schema.space.create('accounts', {format = {{'id', 'unsigned'}, "
                   "{'owner', 'string'}, {'balance', 'number'}}}) "
                   "s:create_index('pk', {parts = {1}}) "
                   "s:create_index('owner', {parts = {'owner'}, unique = false}) "
                   "s:insert{1, 'ann', 100} s:insert{2, 'bob', 50} s:insert{3, 'ann', 7}");
}

static void text_gives_the_values_of_an_expression(void **state)
{
    struct lua_fixture *f = *state;
    assert_eval(f, "1 + 1, 'x', nil, true, 1.5", "[2,\"x\",null,true,1.5]");
    assert_eval(f, "local a = 3 return a * 2", "[6]");
    assert_eval(f, "{1, 2, {a = 1}}", "[[1,2,{\"a\":1}]]");
    assert_eval(f, "{1, nil, 3}", "[[1,null,3]]");
    assert_eval(f, "", "[]");
}

static void sixty_four_bit_integers_keep_their_width(void **state)
{
    struct lua_fixture *f = *state;
    assert_eval(f, "18446744073709551615ULL, -9223372036854775808LL, 9007199254740993LL",
                "[18446744073709551615,-9223372036854775808,9007199254740993]");
    assert_eval(f, "tostring(box.tuple.new{9007199254740993LL}[1])", "[\"9007199254740993LL\"]");
}

static void errors_carry_chunk_line_and_code(void **state)
{
    struct lua_fixture *f = *state;
    assert_eval(f, "\n\nerror('no')", "ERROR_LUA eval:3: no");
    assert_eval(f, "error({})", "ERROR_LUA error object is a table");
    assert_eval(f, "return +", "ERROR_LUA eval:1: unexpected symbol near '+'");
    assert_eval(f, "\nbox.error{code = box.error.DUPLICATE, reason = 'twice'}",
                "ERROR_DUPLICATE eval:2: twice");
    assert_eval(f, "box.error{reason = 'mine'}", "ERROR_LUA eval:1: mine");
    make_accounts(f);
    assert_true(strncmp(lua_fixture_eval(f, "box.space.accounts:insert{1, 'x', 1}"),
                        "ERROR_DUPLICATE eval:1: ", 24) == 0);
    assert_true(strncmp(lua_fixture_call(f, "nobody", "[]"), "ERROR_NOT_FOUND ", 16) == 0);
}

static void statements_read_and_write_tuples(void **state)
{
    struct lua_fixture *f = *state;
    make_accounts(f);
    lua_fixture_do(f, "s = box.space.accounts");
    assert_eval(f, "s:get(1)", "[[1,\"ann\",100]]");
    assert_eval(f, "s:get{2}.owner, s:get(2)[3], #s:get(2), s:get(9)", "[\"bob\",50,3,null]");
    assert_eval(f, "s.index.owner:select('ann')", "[[[1,\"ann\",100],[3,\"ann\",7]]]");
    assert_eval(f, "s:select({}, {iterator = 'REQ', limit = 1})", "[[[3,\"ann\",7]]]");
    assert_eval(f, "s:update(1, {{'+', 'balance', 5}, {'=', 2, 'eve'}})", "[[1,\"eve\",105]]");
    assert_eval(f, "s:replace{1, 'ann', 1}", "[[1,\"ann\",1]]");
    assert_eval(f,
                "s:upsert({4, 'x', 1}, {{'+', 3, 1}}) s:upsert({4, 'x', 1}, {{'+', 3, 1}}) "
                "return s:get(4)",
                "[[4,\"x\",2]]");
    assert_eval(f, "s:delete(4), s:delete(4)", "[[4,\"x\",2],null]");
    assert_eval(f, "s:count(), s.index.owner:count('ann'), s:count(2, {iterator = 'GE'})",
                "[3,2,2]");
    assert_eval(f, "s.index.pk:min(), s.index.pk:max()", "[[1,\"ann\",1],[3,\"ann\",7]]");
    assert_eval(f, "local r = {} for _, t in s:pairs() do r[#r + 1] = t.id end return r",
                "[[1,2,3]]");
    assert_eval(f,
                "local r = {} box.begin() for _, t in s:pairs({}, {iterator = 'REQ'}) do "
                "r[#r + 1] = t.id end box.commit() return r",
                "[[3,2,1]]");
    assert_eval(f, "s:get(1):tomap({names_only = true}).owner, s:get(1):unpack()",
                "[\"ann\",1,\"ann\",1]");
}

static void a_transaction_that_is_left_open_is_rolled_back(void **state)
{
    struct lua_fixture *f = *state;
    make_accounts(f);
    assert_eval(
        f, "box.begin() box.space.accounts:delete(1)",
        "ERROR_INVALID the transaction that was begun has not been ended; it is rolled back");
    assert_eval(f, "box.space.accounts:get(1).id, box.is_in_txn()", "[1,false]");
    assert_eval(f,
                "box.begin() box.space.accounts:delete(1) box.commit() "
                "return box.space.accounts:get(1)",
                "[null]");
    assert_eval(f,
                "box.begin() box.space.accounts:delete(2) box.rollback() "
                "return box.space.accounts:get(2).id",
                "[2]");
}

static void a_procedure_is_one_transaction(void **state)
{
    struct lua_fixture *f = *state;
    make_accounts(f);
    lua_fixture_do(f, "box.schema.func.create('take', {body = [[function(id, n)\n"
                      "  local s = box.space.accounts\n"
                      "  local t = s:update(id, {{'-', 3, n}})\n"
                      "  if t.balance < 0 then error('not enough money') end\n"
                      "  return t.balance, box.is_in_txn()\n"
                      "end]]})");
    assert_call(f, "take", "[1, 30]", "[70,true]");
    assert_call(f, "take", "[1, 300]", "ERROR_LUA take:4: not enough money");
    assert_eval(f, "box.space.accounts:get(1).balance", "[70]");
    lua_fixture_do(f, "box.schema.func.create('tail', {body = "
                      "'function() return box.space.accounts:insert{} end'})");
    assert_true(strncmp(lua_fixture_call(f, "tail", "[]"), "ERROR_SCHEMA tail: ", 19) == 0);
    assert_eval(f, "box.func.take:call{1, 1}", "[69,true]");
    assert_eval(f, "box.func.take(1, 1)", "[68,true]");
}

static void a_replaced_procedure_runs_its_new_body(void **state)
{
    struct lua_fixture *f = *state;
    lua_fixture_do(f, "box.schema.func.create('f', {body = 'return 1, ...'})");
    assert_call(f, "f", "[5, null, 6]", "[1,5,null,6]");
    lua_fixture_do(f, "box.schema.func.create('f', {replace = true, body = "
                      "'-- made of\\nlocal n = 1 return function(a) n = n + 1 return n, a end'})");
    assert_call(f, "f", "[7]", "[2,7]");
    assert_call(f, "f", "[7]", "[3,7]");
    lua_fixture_do(f, "box.schema.func.drop('f')");
    assert_string_equal(lua_fixture_call(f, "f", "[]"), "ERROR_NOT_FOUND there is no procedure f");
    assert_true(strncmp(lua_fixture_eval(f, "box.schema.func.create('g', {body = 'function('})"),
                        "ERROR_LUA g:1:", 14) == 0);
}

static void procedures_and_tuples_survive_a_restart(void **state)
{
    struct lua_fixture *f = *state;
    make_accounts(f);
    lua_fixture_do(f, "box.schema.func.create('read', {readonly = true, body = "
                      "'function(id) return box.space.accounts:get(id) end'})");
    lua_fixture_restart(f);
    assert_call(f, "read", "[2]", "[[2,\"bob\",50]]");
    assert_eval(
        f, "box.space.accounts.index.owner:get('bob')",
        "ERROR_INVALID eval:1: index \"owner\" of space \"accounts\" is not unique: use select");
}

static void a_readonly_procedure_can_not_write(void **state)
{
    struct lua_fixture *f = *state;
    make_accounts(f);
    lua_fixture_do(f, "box.schema.func.create('w', {readonly = true, body = "
                      "'function() box.space.accounts:delete(1) end'})");
    assert_true(strncmp(lua_fixture_call(f, "w", "[]"), "ERROR_READONLY ", 15) == 0);
    assert_eval(f, "box.space.accounts:count()", "[3]");
}

static void the_schema_does_not_change_inside_of_a_transaction(void **state)
{
    struct lua_fixture *f = *state;
    assert_true(strstr(lua_fixture_eval(f, "box.begin() box.schema.space.create('x')"),
                       "can't be changed inside of a transaction") != NULL);
}

/* Other connections read at V; nobody may have to wait for the text to end. Without it this test
 * does not end. */
static void what_text_has_committed_becomes_visible_although_nobody_waits_for_it(void **state)
{
    static const char text[] = "box.space.accounts:replace{1, 'ann', 1}";
    struct lua_fixture *f = *state;
    make_accounts(f);
    struct lua_request request = {.latest = false};
    mp_buffer_reset(&f->result, 0);
    assert_int_equal(lua_runtime_eval(f->runtime, &request, text, sizeof text - 1, NULL, &f->result,
                                      &f->reply_ts),
                     0);
    unsigned turn = 0;
    while (wal_visible_ts(db_wal(f->db)) < f->reply_ts)
        spin_wait(&turn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(text_gives_the_values_of_an_expression),
        TEST(sixty_four_bit_integers_keep_their_width),
        TEST(errors_carry_chunk_line_and_code),
        TEST(statements_read_and_write_tuples),
        TEST(a_transaction_that_is_left_open_is_rolled_back),
        TEST(a_procedure_is_one_transaction),
        TEST(a_replaced_procedure_runs_its_new_body),
        TEST(procedures_and_tuples_survive_a_restart),
        TEST(a_readonly_procedure_can_not_write),
        TEST(the_schema_does_not_change_inside_of_a_transaction),
        TEST(what_text_has_committed_becomes_visible_although_nobody_waits_for_it),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
