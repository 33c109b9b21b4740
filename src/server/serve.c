/* SPDX-License-Identifier: Apache-2.0 */

/* `perigee serve`: serves a folder until it is told to stop. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "server/command.h"
#include "server/server.h"
#include "server/test_clock.h"

int command_failed(int code)
{
    fprintf(stderr, "perigee: %s\n", diag_message_for(code));
    return 1;
}

static int serve(const struct options *options, struct clock *clock)
{
    struct server *server;
    char text[512];
    int rc = server_open(options, clock, true, &server);
    if (rc)
        return command_failed(rc);
    server_describe(server, text, sizeof text);
    printf("perigee %s ready: %s\n", PERIGEE_VERSION, text);
    fflush(stdout);
    server_wait(server, NULL);
    rc = server_close(server);
    if (rc)
        return command_failed(rc);
    log_info("stopped; everything acknowledged is durable");
    return 0;
}

int command_serve(int argc, char **argv)
{
    struct options options;
    struct test_clock clock = {0};
    const char *clock_path = getenv("PERIGEE_TEST_CLOCK");
    log_thread_name("main");
    server_signals_block();
    int rc = options_create(&options);
    if (!rc)
        rc = options_load(&options, &argc, &argv, environ);
    if (!rc && argc > 0)
        rc = diag_set(ERROR_INVALID, "serve takes options only, not '%s'", argv[0]);
    if (!rc)
        rc = crash_point_arm(getenv("PERIGEE_CRASH_POINT"));
    if (!rc && clock_path)
        rc = test_clock_open(&clock, clock_path);
    if (rc) {
        command_failed(rc);
        options_destroy(&options);
        return 1;
    }
    log_level_set((enum log_level)options.log_level);
    if (clock_path)
        log_warn("the time is that of a test, %s", clock_path);
    int status = serve(&options, clock_path ? &clock.base : NULL);
    test_clock_close(&clock);
    options_destroy(&options);
    return status;
}
