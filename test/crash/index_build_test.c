/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The server is killed at each crash point of an index build (invariant 29). After the next start
 * there is nothing of the index, all rows are there, the index can be made, and `perigee check` finds
 * nothing damaged.
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
static const char *const build =
    "box.space.s:create_index('i', {unique = false, parts = {{2, 'unsigned'}}})";
static const char *const look =
    "local n = 0 for _ in pairs(box.space._index:select(box.space.s.id)) do n = n + 1 end "
    "return n .. ' ' .. box.space.s:count() .. ' ' .. tostring(box.space.s.index.i == nil)";
static const char *const count = "return box.space.s.index.i:count(3) .. ''";

/* The text of the reply's first part; NULL when the connection is gone. */
static const char *lua(struct server_client *client, const char *text)
{
    static struct resp_reply reply;
    const char *const arguments[] = {"LUA", text};
    if (!resp_send(client, 2, arguments) || !resp_read(client, &reply))
        return NULL;
    if (reply.items[0].type == '-')
        fail_msg("%s: %s", text, reply.items[0].text);
    return reply.items[0].text;
}

static void kill_at(const char *point)
{
    char folder[256], armed[64];
    struct server_process server;
    struct server_client client;
    static const char *const none[] = {NULL};
    server_folder_make(folder);
    snprintf(armed, sizeof armed, "%s:1", point);
    assert_true(server_process_start_armed(&server, folder, none, armed));
    assert_true(server_client_open(&client, &server));
    assert_non_null(lua(&client, make));
    assert_null(lua(&client, build));
    server_client_close(&client);
    assert_int_equal(server_process_wait(&server), -SIGKILL);

    const char *const check[] = {"check", folder, NULL};
    assert_int_equal(server_process_run(check), 0);
    server_process_start(&server, folder, none);
    assert_true(server_client_open(&client, &server));
    assert_string_equal(lua(&client, look), "1 3000 true");
    assert_non_null(lua(&client, build));
    assert_string_equal(lua(&client, count), "429");
    server_client_close(&client);
    server_process_signal(&server, SIGTERM);
    assert_int_equal(server_process_wait(&server), 0);
    assert_int_equal(server_process_run(check), 0);
    server_folder_remove(folder);
}

static void after_a_kill_at_each_point_of_a_build_nothing_of_the_index_is_left(void **state)
{
    (void)state;
    unsigned points = 0;
    for (unsigned i = 0; crash_point_name(i) != NULL; i++)
        if (strncmp(crash_point_name(i), "index.build.", 12) == 0) {
            kill_at(crash_point_name(i));
            points++;
        }
    assert_int_equal(points, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_a_kill_at_each_point_of_a_build_nothing_of_the_index_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
