/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The server is killed at each crash point of an index build, and of the change of a space (invariant
 * 29). After the next start there is nothing of either, all rows are there, it can be made, and
 * `perigee check` finds nothing damaged. Of an index that was being made again there is a whole one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/crash_point.h"
#include "server/resp_client.h"
#include "server/server_process.h"

static const char *const make =
    "local s = box.schema.space.create('s') s:create_index('pk') "
    "box.begin() for i = 1, 3000 do s:insert{i, i % 7} end box.commit()";
/* Rows that are in the files of a body, and some in memory. */
static const char *const make_lsm =
    "local s = box.schema.space.create('s', {engine = 'lsm'}) s:create_index('pk') "
    "box.begin() for i = 1, 2900 do s:insert{i, i % 7} end box.commit() box.checkpoint() "
    "box.begin() for i = 2901, 3000 do s:insert{i, i % 7} end box.commit()";
static const char *const make_btree =
    "local s = box.schema.space.create('s', {engine = 'btree'}) s:create_index('pk') "
    "box.begin() for i = 1, 2900 do s:insert{i, i % 7} end box.commit() box.checkpoint() "
    "box.begin() for i = 2901, 3000 do s:insert{i, i % 7} end box.commit()";
static const char *const build =
    "box.space.s:create_index('i', {unique = false, parts = {{2, 'unsigned'}}})";
static const char *const rebuild = "box.space.s.index.i:rebuild()";
static const char *const look =
    "box.verify('s') "
    "local n = 0 for _ in pairs(box.space._index:select(box.space.s.id)) do n = n + 1 end "
    "return n .. ' ' .. box.space.s:count() .. ' ' .. tostring(box.space.s.index.i == nil) .. ' ' "
    ".. "
    "#box.space.s:format()";
static const char *const count = "return box.space.s.index.i:count(3) .. ''";
static const char *const alter = "box.space.s:format{{'id', 'unsigned'}, {'value', 'unsigned'}}";
static const char *const fields = "return #box.space.s:format() .. ''";

struct scene {
    const char *first, *change;
    unsigned pass;     /* of the point: what comes first may pass it, too */
    const char *there; /* what the look gives after the kill */
    const char *question, *answer;
};

static void kill_at(const char *point, const struct scene *scene)
{
    char folder[256], armed[64];
    struct server_process server;
    struct server_client client;
    static const char *const none[] = {NULL};
    server_folder_make(folder);
    snprintf(armed, sizeof armed, "%s:%u", point, scene->pass);
    assert_true(server_process_start_armed(&server, folder, none, armed));
    assert_true(server_client_open(&client, &server));
    assert_non_null(resp_lua(&client, scene->first));
    assert_null(resp_lua(&client, scene->change));
    server_client_close(&client);
    assert_int_equal(server_process_wait(&server), -SIGKILL);

    const char *const check[] = {"check", folder, NULL};
    assert_int_equal(server_process_run(check), 0);
    server_process_start(&server, folder, none);
    assert_true(server_client_open(&client, &server));
    assert_string_equal(resp_lua(&client, look), scene->there);
    assert_non_null(resp_lua(&client, scene->change));
    assert_string_equal(resp_lua(&client, scene->question), scene->answer);
    server_client_close(&client);
    server_process_signal(&server, SIGTERM);
    assert_int_equal(server_process_wait(&server), 0);
    assert_int_equal(server_process_run(check), 0);
    server_folder_remove(folder);
}

/* At each point whose name begins so; how many there are. */
static unsigned kill_at_all(const char *prefix, const struct scene *scene)
{
    unsigned points = 0;
    for (unsigned i = 0; crash_point_name(i) != NULL; i++)
        if (strncmp(crash_point_name(i), prefix, strlen(prefix)) == 0) {
            kill_at(crash_point_name(i), scene);
            points++;
        }
    return points;
}

static void after_a_kill_at_each_point_of_a_build_nothing_of_the_index_is_left(void **state)
{
    (void)state;
    const struct scene scene = {make, build, 1, "1 3000 true 0", count, "429"};
    assert_int_equal(kill_at_all("index.build.", &scene), 2);
}

static void the_same_of_a_build_over_rows_in_a_body(void **state)
{
    const char *const makes[] = {make_lsm, make_btree};
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        const struct scene scene = {makes[i], build, 1, "1 3000 true 0", count, "429"};
        assert_int_equal(kill_at_all("index.build.", &scene), 2);
        assert_int_equal(kill_at_all("index.body.", &scene), 3);
    }
}

static void after_a_kill_at_each_point_of_making_one_again_there_is_a_whole_one(void **state)
{
    const char *const makes[] = {make, make_lsm, make_btree};
    char first[1024];
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        const struct scene scene = {first, rebuild, 2, "2 3000 false 0", count, "429"};
        snprintf(first, sizeof first, "%s %s", makes[i], build);
        assert_int_equal(kill_at_all("index.build.", &scene), 2);
        if (i > 0)
            assert_int_equal(kill_at_all("index.body.", &scene), 3);
    }
}

static void after_a_kill_at_each_point_of_a_change_the_space_is_what_it_was(void **state)
{
    (void)state;
    const struct scene scene = {make, alter, 1, "1 3000 true 0", fields, "2"};
    assert_int_equal(kill_at_all("space.alter.", &scene), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_a_kill_at_each_point_of_a_build_nothing_of_the_index_is_left),
        cmocka_unit_test(the_same_of_a_build_over_rows_in_a_body),
        cmocka_unit_test(after_a_kill_at_each_point_of_making_one_again_there_is_a_whole_one),
        cmocka_unit_test(after_a_kill_at_each_point_of_a_change_the_space_is_what_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
