/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Eight connections on one large collection, over the wire (TEST_PERIGEE is the server): conflicts
 * in a thousand operations, and operations a second, which on a machine with few cores say more
 * about the machine. "one field" is what it costs when they do meet.
 */
#include <signal.h>
#include <stdio.h>

#include "server/redis_crowd.h"

enum { EACH = 20000 };

int main(void)
{
    static const char *const options[] = {"--durability", "interval", "--workers", "4",
                                          "--log_level",  "warn",     NULL};
    struct server_process server;
    struct redis_crowd_result result;
    char folder[256];
    int failed = 0;
    server_folder_make(folder);
    server_process_start(&server, folder, options);
    for (enum redis_crowd_kind kind = 0; kind < REDIS_CROWD_KINDS; kind++) {
        redis_crowd_run(&server, kind, EACH, &result);
        printf("%-26s %8.3f conflicts in 1000   %9.0f a second%s\n", redis_crowd_name(kind),
               1000.0 * (double)result.conflicts / (double)result.operations,
               1e9 * (double)result.operations / (double)result.time_ns,
               result.right ? "" : "   WRONG");
        fflush(stdout);
        failed |= !result.right;
    }
    server_process_signal(&server, SIGTERM);
    failed |= server_process_wait(&server) != 0;
    server_folder_remove(folder);
    return failed;
}
