/* SPDX-License-Identifier: Apache-2.0 */
/* Requests in interactive transactions, and what each isolation level is known by. */
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
static struct lua_session one, two;

static int set_up(void **state)
{
    (void)state;
    lua_fixture_create(&fixture, false, 0, 0);
    lua_fixture_do(&fixture, "local s = box.schema.space.create('s') s:create_index('pk') "
                             "s:create_index('second', {parts = {2}, unique = false}) "
                             "s:insert{1, 10} s:insert{2, 20}");
    lua_session_open(&one, &fixture);
    lua_session_open(&two, &fixture);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lua_session_close(&one);
    lua_session_close(&two);
    lua_fixture_destroy(&fixture);
    return 0;
}

#define GET_1    "box.space.s:get(1)[2]"
#define SET_1(v) "box.space.s:replace{1, " #v "} return nil"
#define SET_2(v) "box.space.s:replace{2, " #v "} return nil"

#define assert_one(text, expected) assert_string_equal(lua_session_eval(&one, text), expected)
#define assert_two(text, expected) assert_string_equal(lua_session_eval(&two, text), expected)

static void read_uncommitted_sees_what_is_not_committed(void **state)
{
    (void)state;
    lua_session_begin(&one, TXN_READ_UNCOMMITTED);
    lua_session_begin(&two, TXN_SERIALIZABLE);
    assert_two(SET_1(11), "[null]");
    assert_one(GET_1, "[11]");
    lua_session_rollback(&two);
    assert_one(GET_1, "[10]");
    assert_string_equal(lua_session_commit(&one), "OK");
}

static void read_committed_sees_what_has_been_committed_since(void **state)
{
    (void)state;
    lua_session_begin(&one, TXN_READ_COMMITTED);
    assert_one(GET_1, "[10]");
    lua_session_begin(&two, TXN_SERIALIZABLE);
    assert_two(SET_1(11), "[null]");
    assert_one(GET_1, "[10]");
    assert_string_equal(lua_session_commit(&two), "OK");
    assert_one(GET_1, "[11]");
    assert_one(SET_1(12), "[null]");
    assert_string_equal(lua_session_commit(&one), "OK");
}

static void snapshot_reads_one_moment_and_the_first_writer_wins(void **state)
{
    (void)state;
    lua_session_begin(&one, TXN_SNAPSHOT);
    assert_one(GET_1, "[10]");
    assert_two(SET_1(11), "[null]");
    assert_one(GET_1, "[10]");
    assert_begins(lua_session_eval(&one, SET_1(12)), "ERROR_CONFLICT ");
    assert_null(one.txn);
    assert_two(GET_1, "[11]");
}

/* Each reads what the other writes. */
static const char *write_skew(enum txn_level level)
{
    lua_session_begin(&one, level);
    lua_session_begin(&two, level);
    assert_one("box.space.s:get(2)[2]", "[20]");
    assert_two(GET_1, "[10]");
    assert_one(SET_1(11), "[null]");
    assert_two(SET_2(21), "[null]");
    assert_string_equal(lua_session_commit(&one), "OK");
    return lua_session_commit(&two);
}

static void snapshot_lets_two_write_what_the_other_has_read(void **state)
{
    (void)state;
    assert_string_equal(write_skew(TXN_SNAPSHOT), "OK");
}

static void serializable_does_not(void **state)
{
    (void)state;
    assert_begins(write_skew(TXN_SERIALIZABLE), "ERROR_CONFLICT ");
}

static void serializable_knows_of_rows_that_were_not_there(void **state)
{
    (void)state;
    lua_session_begin(&one, TXN_SERIALIZABLE);
    assert_one("box.space.s.index.second:count(15, {iterator = 'GE'})", "[1]");
    assert_two("box.space.s:insert{3, 16} return nil", "[null]");
    assert_one(SET_1(11), "[null]");
    assert_begins(lua_session_commit(&one), "ERROR_CONFLICT ");
}

static void what_reads_only_never_conflicts(void **state)
{
    (void)state;
    struct txn_options options = {.level = TXN_SERIALIZABLE, .readonly = true, .latest = true};
    assert_int_equal(txn_open(db_worker_txn(one.worker), &options, &one.txn), 0);
    txn_park(one.txn);
    assert_one("box.space.s:count()", "[2]");
    assert_two(SET_1(11), "[null]");
    assert_one(GET_1, "[10]");
    assert_begins(lua_session_eval(&one, SET_1(12)), "ERROR_READONLY ");
    assert_string_equal(lua_session_commit(&one), "OK");
}

static void a_request_that_fails_undoes_itself_alone(void **state)
{
    (void)state;
    lua_session_begin(&one, TXN_SERIALIZABLE);
    assert_one("box.space.s:insert{3, 30} return box.is_in_txn()", "[true]");
    assert_begins(lua_session_eval(&one, "box.space.s:insert{4, 40} error('no')"),
                  "ERROR_LUA eval:1: no");
    assert_one("box.space.s:count()", "[3]");
    assert_string_equal(lua_session_commit(&one), "OK");
    assert_two("box.space.s:count()", "[3]");
}

static void a_request_does_not_end_the_transaction_it_is_in(void **state)
{
    (void)state;
    lua_session_begin(&one, TXN_SERIALIZABLE);
    assert_one(SET_1(11), "[null]");
    assert_begins(lua_session_eval(&one, "box.commit()"), "ERROR_INVALID ");
    assert_begins(lua_session_eval(&one, "box.rollback()"), "ERROR_INVALID ");
    assert_begins(lua_session_eval(&one, "box.begin()"), "ERROR_INVALID ");
    assert_begins(lua_session_eval(&one, "box.on_commit(function() end)"), "ERROR_INVALID ");
    assert_begins(lua_session_eval(&one, "box.schema.space.create('t')"), "ERROR_INVALID ");
    assert_one("box.atomic({retry = 5}, function(n) return n end, 7)", "[7]");
    assert_one(GET_1, "[11]");
    lua_session_rollback(&one);
    assert_one(GET_1, "[10]");
}

static void procedures_and_scripts_are_part_of_an_interactive_transaction(void **state)
{
    (void)state;
    lua_fixture_do(&fixture, "box.schema.func.create('put', {body = [[function(n, fail)\n"
                             "  box.space.s:replace{n, 1}\n"
                             "  if fail then error('no') end\n"
                             "  return box.is_in_txn() end]]})"
                             "box.schema.func.create('bare', {transaction = false, body = "
                             "'function() box.space.s:replace{5, 1} return box.is_in_txn() end'})");
    lua_session_begin(&one, TXN_SERIALIZABLE);
    assert_string_equal(lua_session_call(&one, "put", "[3]"), "[true]");
    assert_begins(lua_session_call(&one, "put", "[4, true]"), "ERROR_LUA put:3: no");
    assert_string_equal(lua_session_call(&one, "bare", "[]"), "[true]");
    assert_one("box.space.s:count(), box.space.s:get(4)", "[4,null]");
    assert_two("box.space.s:count()", "[2]");
    lua_session_rollback(&one);
    assert_two("box.space.s:count()", "[2]");
}

static void savepoints_end_with_their_request(void **state)
{
    (void)state;
    lua_session_begin(&one, TXN_SERIALIZABLE);
    assert_one("point = box.savepoint() box.space.s:insert{3, 30} "
               "box.rollback_to_savepoint(point) box.space.s:insert{4, 40} return nil",
               "[null]");
    assert_begins(lua_session_eval(&one, "box.rollback_to_savepoint(point)"), "ERROR_INVALID ");
    assert_one("box.space.s:count()", "[3]");
}

static void an_iterator_does_not_outlive_its_request(void **state)
{
    (void)state;
    lua_session_begin(&one, TXN_SERIALIZABLE);
    assert_one("step = box.space.s:pairs() return (step(nil, 0))", "[1]");
    assert_begins(lua_session_eval(&one, "step(nil, 1)"), "ERROR_INVALID ");
}

/* Sets row 1 to 1000 from the middle of a request of another. */
static uint32_t interfere(void *arg, struct mp_buffer *out)
{
    (void)out;
    int *turns = arg;
    if ((*turns)-- > 0)
        assert_two(SET_1(1000), "[null]");
    return 0;
}

/* A procedure that reads row 1, lets another change it, and writes what it read to row 2. */
static const char *copy_beside_rival(bool level_given, enum txn_level level)
{
    static const char text[] = "box.space.s:get(2)[2]";
    struct lua_session own = {.request = {.latest = true, .may_wait = true}};
    int turns = 1;
    own.request.level_given = level_given;
    own.request.level = level;
    assert_int_equal(db_worker_open(fixture.db, &own.worker), 0);
    struct lua_runtime_options options = {.worker = own.worker,
                                          .callbacks = {.info = interfere, .arg = &turns}};
    assert_int_equal(lua_runtime_new(&options, &own.runtime), 0);
    mp_buffer_create(&own.result);
    assert_string_equal(lua_session_call(&own, "copy", "[]"), "[]");
    lua_session_close(&own);
    return lua_session_eval(&two, text);
}

#define COPY                                                                   \
    "body = 'function() local n = box.space.s:get(1)[2] local _ = box.info.x " \
    "box.space.s:replace{2, n} end'"

static void a_procedure_runs_at_its_own_level_or_else_that_of_the_session(void **state)
{
    (void)state;
    lua_fixture_do(&fixture, "box.schema.func.create('copy', {" COPY "})");
    assert_string_equal(copy_beside_rival(false, TXN_READ_COMMITTED), "[1000]");
    assert_two(SET_1(10), "[null]");
    assert_string_equal(copy_beside_rival(true, TXN_SNAPSHOT), "[10]");
    lua_fixture_do(&fixture, "box.schema.func.create('copy', {replace = true, "
                             "isolation = 'serializable', " COPY "})");
    assert_two(SET_1(10), "[null]");
    assert_string_equal(copy_beside_rival(true, TXN_SNAPSHOT), "[1000]");
    lua_fixture_do(&fixture, "box.schema.func.create('copy', {replace = true, "
                             "isolation = 'repeatable read', " COPY "})");
    assert_two(SET_1(10), "[null]");
    assert_string_equal(copy_beside_rival(false, TXN_SERIALIZABLE), "[10]");
}

static void conflicts_are_counted_by_place(void **state)
{
    (void)state;
    lua_fixture_do(&fixture, "box.schema.space.create('named'):create_index('pk', {parts = "
                             "{{1, 'string'}, {2, 'unsigned'}}}) "
                             "box.space.named:insert{'a very long name indeed', 7, 0} "
                             "box.space.named:insert{'ann', 7, 0}");
    for (int i = 0; i < 3; i++) {
        lua_session_begin(&one, TXN_SNAPSHOT);
        assert_one("box.space.named:count()", "[2]");
        assert_two("box.space.named:replace{'ann', 7, 1} "
                   "box.space.named:replace{'a very long name indeed', 7, 1} return nil",
                   "[null]");
        assert_begins(lua_session_eval(&one, i == 0 ? "box.space.named:delete{'ann', 7}"
                                                    : "box.space.named:delete"
                                                      "{'a very long name indeed', 7}"),
                      "ERROR_CONFLICT ");
    }
    assert_one("local t = box.stat.txn() local a, b = t.conflict_places[1], t.conflict_places[2] "
               "return a.space, a.key, a.count, b.space, b.key, b.count, t.aborts.write",
               "[\"named\",[\"a very long nam...\"],2,\"named\",[\"ann\",7],1,3]");
}

static void the_oldest_snapshot_is_shown_with_its_session(void **state)
{
    (void)state;
    one.request.session_id = 77;
    lua_session_begin(&one, TXN_SNAPSHOT);
    assert_one("box.space.s:count()", "[2]");
    assert_two(SET_1(11), "[null]");
    assert_two("local t = box.stat.txn() "
               "return t.open, t.oldest.session, t.oldest.parked, t.oldest.age >= 0",
               "[1,77,true,true]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(read_uncommitted_sees_what_is_not_committed),
        TEST(read_committed_sees_what_has_been_committed_since),
        TEST(snapshot_reads_one_moment_and_the_first_writer_wins),
        TEST(snapshot_lets_two_write_what_the_other_has_read),
        TEST(serializable_does_not),
        TEST(serializable_knows_of_rows_that_were_not_there),
        TEST(what_reads_only_never_conflicts),
        TEST(a_request_that_fails_undoes_itself_alone),
        TEST(a_request_does_not_end_the_transaction_it_is_in),
        TEST(procedures_and_scripts_are_part_of_an_interactive_transaction),
        TEST(savepoints_end_with_their_request),
        TEST(an_iterator_does_not_outlive_its_request),
        TEST(a_procedure_runs_at_its_own_level_or_else_that_of_the_session),
        TEST(conflicts_are_counted_by_place),
        TEST(the_oldest_snapshot_is_shown_with_its_session),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
