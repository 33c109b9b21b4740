/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The server is killed at each crash point of ingesting rows (invariant 36). After the next start all of them are there or
 * none, with the rows of before; what is written then stays, `perigee check` finds nothing damaged, and no file is
 * there that is of nothing.
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

/* Rows in files, and some in memory, of which some are replaced. */
static const char *const make =
    "local s = box.schema.space.create('s', {engine = 'lsm'}) s:create_index('pk') "
    "s:create_index('u', {parts = {{2, 'unsigned'}}}) "
    "box.begin() for i = 1, 900 do s:insert{i, i, 0} end box.commit() box.checkpoint() "
    "box.begin() for i = 901, 1000 do s:insert{i, i, 0} end box.commit()";
static const char *const ingest = "local n = 500 return box.space.s:ingest(function() n = n + 1 "
                                  "if n <= 2500 then return {n, n, 1} end end) .. ''";
static const char *const look =
    "box.verify('s') local old, new = 0, 0 for _, t in box.space.s.index.u:pairs() do "
    "if t[3] == 0 then old = old + 1 else new = new + 1 end end return old .. ' ' .. new";
static const char *const none = "1000 0", *const all = "500 2000";

/* Whether the rows were there behind it. */
static bool kill_at(const char *point)
{
    char folder[256];
    struct server_process server;
    struct server_client client;
    static const char *const options[] = {NULL};
    server_folder_make(folder);
    const char *const check[] = {"check", folder, NULL};
    assert_true(server_process_start_armed(&server, folder, options, point));
    assert_true(server_client_open(&client, &server));
    assert_non_null(resp_lua(&client, make));
    assert_null(resp_lua(&client, ingest));
    server_client_close(&client);
    assert_int_equal(server_process_wait(&server), -SIGKILL);

    assert_int_equal(server_process_run(check), 0);
    server_process_start(&server, folder, options);
    assert_true(server_client_open(&client, &server));
    const char *there = resp_lua(&client, look);
    bool taken = strcmp(there, all) == 0;
    if (!taken)
        assert_string_equal(there, none);
    /* Written behind the start; once more, and once more after a kill. */
    assert_non_null(resp_lua(&client, "box.space.s:replace{700, 700, 0}"));
    server_process_signal(&server, SIGKILL);
    assert_int_equal(server_process_wait(&server), -SIGKILL);
    server_client_close(&client);
    server_process_start(&server, folder, options);
    assert_true(server_client_open(&client, &server));
    assert_string_equal(resp_lua(&client, look), taken ? "501 1999" : none);
    assert_string_equal(resp_lua(&client, ingest), "2000");
    assert_string_equal(resp_lua(&client, look), all);
    server_client_close(&client);
    server_process_signal(&server, SIGTERM);
    assert_int_equal(server_process_wait(&server), 0);
    assert_int_equal(server_process_run(check), 0);
    server_folder_remove(folder);
    return taken;
}

static void after_a_kill_at_each_point_all_rows_are_there_or_none(void **state)
{
    unsigned points = 0, taken = 0;
    (void)state;
    for (unsigned i = 0; crash_point_name(i) != NULL; i++)
        if (strncmp(crash_point_name(i), "ingest.", 7) == 0) {
            taken += kill_at(crash_point_name(i));
            points++;
        }
    assert_int_equal(points, 3);
    assert_int_equal(taken, 1); /* when the manifest says so */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_a_kill_at_each_point_all_rows_are_there_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
