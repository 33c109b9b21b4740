/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions that lose: who runs them again, and that nothing is lost when many threads do. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "lua/lua_fixture.h"

static int set_up(void **state)
{
    static struct lua_fixture fixture;
    lua_fixture_create(&fixture, false, 0, 0);
    *state = &fixture;
    lua_fixture_do(&fixture, "box.schema.space.create('s'):create_index('pk') "
                             "for i = 1, 4 do box.space.s:insert{i, 100} end");
    return 0;
}

static int tear_down(void **state)
{
    lua_fixture_destroy(*state);
    return 0;
}

enum { THREADS = 3, CALLS = 300 };

struct caller {
    struct lua_fixture *fixture;
    const char *procedure;
    int number, failures;
};

static void call_once(struct caller *caller, struct lua_runtime *runtime, int i)
{
    struct lua_request request = {.latest = false};
    struct mp_buffer args, result;
    uint64_t ts;
    mp_buffer_create(&args);
    mp_buffer_create(&result);
    mp_put_array(&args, 2);
    mp_put_int(&args, 1 + (i + caller->number) % 4);
    mp_put_int(&args, 1 + i % 3);
    if (lua_runtime_call(runtime, &request, caller->procedure, strlen(caller->procedure), args.data,
                         &result, &ts) != 0)
        caller->failures++;
    mp_buffer_destroy(&args);
    mp_buffer_destroy(&result);
}

static void *call_often(void *arg)
{
    struct caller *caller = arg;
    struct db_worker *worker;
    struct lua_runtime *runtime;
    lua_fixture_second(caller->fixture, &worker, &runtime);
    for (int i = 0; i < CALLS; i++)
        call_once(caller, runtime, i);
    lua_runtime_delete(runtime);
    db_worker_close(worker);
    return NULL;
}

static void call_from_threads(struct lua_fixture *fixture, const char *procedure)
{
    pthread_t threads[THREADS];
    struct caller callers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){.fixture = fixture, .procedure = procedure, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(callers[i].failures, 0);
    }
}

static void procedures_that_collide_run_again_until_they_succeed(void **state)
{
    struct lua_fixture *f = *state;
    lua_fixture_do(f, "box.schema.func.create('move', {body = [[function(from, to)\n"
                      "  local s = box.space.s\n"
                      "  local a, b = s:get(from)[2], s:get(to)[2]\n"
                      "  if from == to then return s:replace{from, a} end\n"
                      "  s:replace{from, a - 1}\n"
                      "  s:replace{to, b + 1}\n"
                      "end]]})");
    call_from_threads(f, "move");
    assert_eval(f, "local n = 0 for _, t in box.space.s:pairs() do n = n + t[2] end return n",
                "[400]");
}

static void no_increment_is_lost_in_procedures_that_hide_errors(void **state)
{
    struct lua_fixture *f = *state;
    lua_fixture_do(f, "box.schema.func.create('add', {body = [[function()\n"
                      "  local s = box.space.s\n"
                      "  local n = s:get(1)[2]\n"
                      "  pcall(s.replace, s, {1, n + 1})\n"
                      "end]]})");
    call_from_threads(f, "add");
    assert_eval(f, "box.space.s:get(1)[2]", "[1000]");
}

static void statements_outside_of_transactions_run_again(void **state)
{
    struct lua_fixture *f = *state;
    lua_fixture_do(f, "box.schema.func.create('up', {transaction = false, body = [[function()\n"
                      "  box.space.s:update(1, {{'+', 2, 1}})\n"
                      "  box.func.inner:call{}\n"
                      "  box.atomic({retry = 1e6}, function()\n"
                      "    box.space.s:replace{3, box.space.s:get(3)[2] + 1} end)\n"
                      "end]]})");
    lua_fixture_do(f, "box.schema.func.create('inner', {body = [[function()\n"
                      "  box.space.s:replace{2, box.space.s:get(2)[2] + 1}\nend]]})");
    call_from_threads(f, "up");
    assert_eval(f, "box.space.s:get(1)[2], box.space.s:get(2)[2], box.space.s:get(3)[2]",
                "[1000,1000,1000]");
}

/* Changes row 1 behind the back of whoever calls it through box.info. */
static struct lua_runtime *rival;
static uint32_t interfere(void *arg, struct mp_buffer *out)
{
    struct lua_request request = {.latest = true};
    struct mp_buffer result;
    uint64_t ts;
    int *turns = arg;
    static const char text[] = "box.space.s:update(1, {{'+', 2, 1000}})";
    (void)out;
    if ((*turns)-- <= 0)
        return 0;
    mp_buffer_create(&result);
    assert_int_equal(lua_runtime_eval(rival, &request, text, sizeof text - 1, NULL, &result, &ts),
                     0);
    mp_buffer_destroy(&result);
    return 0;
}

static const char *run_beside_rival(struct lua_fixture *f, int turns, const char *text)
{
    struct db_worker *workers[2];
    struct lua_runtime *own, *kept = f->runtime;
    lua_fixture_second(f, &workers[0], &rival);
    assert_int_equal(db_worker_open(f->db, &workers[1]), 0);
    struct lua_runtime_options options = {.worker = workers[1],
                                          .callbacks = {.info = interfere, .arg = &turns}};
    assert_int_equal(lua_runtime_new(&options, &own), 0);
    f->runtime = own;
    const char *result = lua_fixture_eval(f, text);
    f->runtime = kept;
    lua_runtime_delete(own);
    lua_runtime_delete(rival);
    db_worker_close(workers[0]);
    db_worker_close(workers[1]);
    return result;
}

#define CHANGE                                                                                    \
    "function() local n = box.space.s:get(1)[2] local _ = box.info.x box.space.s:replace{1, n + " \
    "1} end"

static void atomic_runs_again_only_when_asked(void **state)
{
    struct lua_fixture *f = *state;
    const char *result = run_beside_rival(f, 1, "box.atomic(" CHANGE ")");
    assert_true(strncmp(result, "ERROR_CONFLICT ", 15) == 0);
    assert_eval(f, "box.space.s:get(1)[2]", "[1100]");
    assert_string_equal(run_beside_rival(f, 2, "box.atomic({retry = 2}, " CHANGE ")"), "[]");
    assert_eval(f, "box.space.s:get(1)[2]", "[3101]");
    result = run_beside_rival(f, 3, "box.atomic({retry = 2}, " CHANGE ")");
    assert_true(strncmp(result, "ERROR_CONFLICT ", 15) == 0);
}

static void a_conflict_that_was_caught_still_fails_the_commit(void **state)
{
    struct lua_fixture *f = *state;
    const char *result = run_beside_rival(
        f, 1, "box.begin() pcall(" CHANGE ") box.space.s:insert{9, 9} box.commit()");
    assert_true(strncmp(result, "ERROR_CONFLICT ", 15) == 0);
    result = run_beside_rival(f, 1, "box.begin() pcall(" CHANGE ") box.commit()");
    assert_true(strncmp(result, "ERROR_CONFLICT ", 15) == 0);
    assert_eval(f, "box.space.s:get(9)", "[null]");
}

static void a_raised_conflict_that_is_none_is_not_run_again(void **state)
{
    struct lua_fixture *f = *state;
    lua_fixture_do(f, "box.schema.func.create('lie', {body = 'box.error{code = box.error.CONFLICT, "
                      "reason = \"lie\"}'})");
    assert_call(f, "lie", "[]", "ERROR_LUA lie:1: lie");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(procedures_that_collide_run_again_until_they_succeed),
        TEST(no_increment_is_lost_in_procedures_that_hide_errors),
        TEST(statements_outside_of_transactions_run_again),
        TEST(atomic_runs_again_only_when_asked),
        TEST(a_conflict_that_was_caught_still_fails_the_commit),
        TEST(a_raised_conflict_that_is_none_is_not_run_again),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
