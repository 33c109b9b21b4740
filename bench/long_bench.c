/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How long others wait while Lua code computes for seconds on one of two workers (TEST_PERIGEE is the
 * server): 40 connections, one after the other, ask for a key each and are timed, and so is who
 * connects anew; first with nobody computing, then beside it.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/atomic.h"
#include "server/server_process.h"

enum { CLIENTS = 40, ASKED_MAX = 4000000 };

static const char LONG_RUN[] =
    "EVAL 'local n = 0 for i = 1, 2000000000 do n = n + i % 3 end return n' 0";

static struct server_process server;
static struct server_client clients[CLIENTS];
static double *times_us;
static _Atomic bool computes;

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int compare(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static void *compute(void *arg)
{
    struct server_client client;
    if (server_client_open(&client, &server)) {
        server_client_ask(&client, LONG_RUN);
        server_client_close(&client);
    }
    store_relaxed(&computes, false);
    return arg;
}

static bool is_over(double end_us)
{
    return end_us > 0 ? now_us() >= end_us : !load_relaxed(&computes);
}

/* Until then, or while something computes. */
static void measure(const char *name, double end_us, bool anew)
{
    unsigned count = 0;
    for (unsigned n = 0; count < ASKED_MAX && !is_over(end_us); n = (n + 1) % CLIENTS) {
        struct server_client fresh, *client = anew ? &fresh : &clients[n];
        double start_us = now_us();
        if (anew && !server_client_open(&fresh, &server))
            continue;
        server_client_ask(client, "GET k");
        times_us[count++] = now_us() - start_us;
        if (anew)
            server_client_close(&fresh);
    }
    if (count == 0)
        return;
    qsort(times_us, count, sizeof *times_us, compare);
    printf("%-34s %8u asked   median %7.0f us   p99.9 %8.0f us   longest %8.0f us\n", name, count,
           times_us[count / 2], times_us[count - 1 - count / 1000], times_us[count - 1]);
    fflush(stdout);
}

static void beside(const char *name, bool anew)
{
    pthread_t thread;
    store_relaxed(&computes, true);
    if (pthread_create(&thread, NULL, compute, NULL) != 0)
        return;
    measure(name, 0, anew);
    pthread_join(thread, NULL);
}

int main(void)
{
    static const char *const options[] = {
        "--durability", "interval",    "--workers", "2", "--lua_time_max",
        "3000",         "--log_level", "warn",      NULL};
    char folder[256];
    server_folder_make(folder);
    server_process_start(&server, folder, options);
    times_us = malloc(ASKED_MAX * sizeof *times_us);
    for (unsigned n = 0; n < CLIENTS; n++)
        if (!times_us || !server_client_open(&clients[n], &server))
            return 1;
    server_client_ask(&clients[0], "SET k v");
    measure("nobody computes: GET", now_us() + 3e6, false);
    measure("nobody computes: connect, GET", now_us() + 3e6, true);
    beside("Lua computes beside it: GET", false);
    beside("Lua computes: connect, GET", true);
    for (unsigned n = 0; n < CLIENTS; n++)
        server_client_close(&clients[n]);
    server_process_signal(&server, SIGTERM);
    int failed = server_process_wait(&server);
    server_folder_remove(folder);
    free(times_us);
    return failed;
}
