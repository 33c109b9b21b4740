/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Eight connections work at once on one large collection over the wire, each on its own fields or
 * members, or at its end: nothing is lost. How often a transaction had to be run again is printed
 * and not judged, since the unit tests of the types show for each pair of commands, step by step,
 * that they do not conflict; bench/redis_crowd_bench.c measures it at length.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>

#include "server/redis_crowd.h"

enum { EACH = 300 }; /* operations of a client */

static struct server_process server;
static char folder[256];

static int server_begin(void **state)
{
    static const char *const options[] = {"--durability", "interval", "--workers", "4",
                                          "--log_level",  "warn",     NULL};
    (void)state;
    server_folder_make(folder);
    server_process_start(&server, folder, options);
    return 0;
}

static int server_end(void **state)
{
    (void)state;
    server_process_signal(&server, SIGTERM);
    assert_int_equal(server_process_wait(&server), 0);
    server_folder_remove(folder);
    return 0;
}

static void crowd_test(void **state)
{
    enum redis_crowd_kind kind = *(enum redis_crowd_kind *)*state;
    struct redis_crowd_result result;
    redis_crowd_run(&server, kind, EACH, &result);
    printf("%s: %llu operations, %llu conflicts, %llu retries\n", redis_crowd_name(kind),
           (unsigned long long)result.operations, (unsigned long long)result.conflicts,
           (unsigned long long)result.retries);
    assert_true(result.right);
}

int main(void)
{
    static enum redis_crowd_kind kinds[] = {REDIS_CROWD_HASH,   REDIS_CROWD_SET,
                                            REDIS_CROWD_ZSET,   REDIS_CROWD_LIST,
                                            REDIS_CROWD_STREAM, REDIS_CROWD_FIELD};
    const struct CMUnitTest tests[] = {
        {"nothing_is_lost_by_those_who_work_on_fields_of_one_hash", crowd_test, NULL, NULL,
         &kinds[0]},
        {"nothing_is_lost_by_those_who_work_on_members_of_one_set", crowd_test, NULL, NULL,
         &kinds[1]},
        {"nothing_is_lost_by_those_who_work_on_members_of_one_sorted_set", crowd_test, NULL, NULL,
         &kinds[2]},
        {"nothing_is_lost_by_those_who_work_at_both_ends_of_one_list", crowd_test, NULL, NULL,
         &kinds[3]},
        {"nothing_is_lost_by_those_who_add_to_one_stream", crowd_test, NULL, NULL, &kinds[4]},
        {"nothing_is_lost_by_those_who_count_in_one_field", crowd_test, NULL, NULL, &kinds[5]},
    };
    return cmocka_run_group_tests(tests, server_begin, server_end);
}
