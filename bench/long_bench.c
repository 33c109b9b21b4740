/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How long others wait while Lua code computes for seconds on one of two workers (TEST_PERIGEE is the
 * server): 40 connections, one after the other, ask for a key each and are timed, and so is who
 * connects anew; first with nobody computing, then beside it.
 *
 * How long others wait beside one function of C at a time, on a single worker: connections that have nothing to do with
 * it are taken over between its steps, or when it ends.
 *
 * And what connections get that all came to one of two workers and are busy all the time, with the option
 * `balance` and without.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/atomic.h"
#include "server/server_process.h"

enum { CLIENTS = 40, ASKED_MAX = 4000000, BUSY = 8, PIPELINE = 64 };

static const char LONG_RUN[] =
    "EVAL 'local n = 0 for i = 1, 2000000000 do n = n + i % 3 end return n' 0";

/* Those that are short by themselves are repeated by nobody: what counts is one call. */
static const struct work {
    const char *name, *request;
} WORKS[] = {
    {"numbers sorted, a million", "LUA 'local t = {} for i = 1, 1e6 do t[i] = (i * 7919) % 1000003 "
                                  "end table.sort(t) return #t'"},
    {"the same by an order", "LUA 'local t = {} for i = 1, 1e6 do t[i] = (i * 7919) % 1000003 end "
                             "table.sort(t, function(a, b) return a > b end) return #t'"},
    {"strings joined, a million", "LUA 'local t = {} for i = 1, 1e6 do t[i] = \"word\" .. i % 1000 "
                                  "end return #table.concat(t)'"},
    {"string.rep, 64 MB", "LUA 'return #(\"ab\"):rep(32e6)'"},
    {"string.upper, 64 MB", "LUA 'local s = (\"ab\"):rep(32e6) return #s:upper()'"},
    {"string.find, a bad pattern",
     "LUA 'return not (\"a\"):rep(250):find((\".-\"):rep(3) .. \"b\")'"},
    {"string.gsub, two million", "LUA 'return #(\"ab\"):rep(1e6):gsub(\"a\", \"xy\")'"},
    {"table.insert at 1, twice in a million",
     "LUA 'local t = {} for i = 1, 1e6 do t[i] = i end table.insert(t, 1, 0) table.insert(t, 1, 0) "
     "return #t'"},
    {"JSON made of a million",
     "LUA 'local t = {} for i = 1, 1e6 do t[i] = i end return #require(\"json\").encode(t)'"},
    {"JSON of 11 MB read", "LUA 'local s = \"[\" .. (\"1234567890,\"):rep(1e6) .. \"1]\" "
                           "return #require(\"json\").decode(s)'"},
    {"MessagePack made and read, a million",
     "LUA 'local m, t = require(\"msgpack\"), {} for i = 1, 1e6 do t[i] = i end "
     "return #m.decode(m.encode(t))'"},
    {"cjson made and read, a million",
     "EVAL 'local t = {} for i = 1, 1e6 do t[i] = i end return #cjson.decode(cjson.encode(t))' 0"},
    {"a result of a million values", "LUA 'local t = {} for i = 1, 1e6 do t[i] = i end return t'"},
    {"rows counted by a range, 900 thousand",
     "LUA 'return box.space.rows:count(1e5, {iterator = \"GE\"})'"},
    {"rows selected, 300 thousand", "LUA 'return #box.space.rows:select({}, {limit = 3e5})'"},
    {"rows got by their keys, 300 thousand",
     "LUA 'local t = {} for i = 1, 3e5 do t[i] = i end return #box.space.rows:get_many(t)'"},
    {"SHA-256 of 64 MB", "LUA 'return #require(\"digest\").sha256((\"ab\"):rep(32e6))'"},
    {"CRC-32C of 64 MB", "LUA 'return require(\"digest\").crc32((\"ab\"):rep(32e6))'"},
    {"SMEMBERS of a million", "EVAL 'return #redis.call(\"SMEMBERS\", \"set\")' 0"},
    {"SORT of a million", "EVAL 'return #redis.call(\"SORT\", \"set\", \"LIMIT\", 0, 10)' 0"},
    {"SUNIONSTORE of a million", "EVAL 'return redis.call(\"SUNIONSTORE\", \"copy\", \"set\")' 0"},
    {"DEL of a million", "EVAL 'return redis.call(\"DEL\", \"copy\")' 0"},
    {"two million tables made and kept",
     "LUA 'local t = {} for i = 1, 2e6 do t[i] = {i} end return #t'"},
    {"a client's SMEMBERS of a million", "SMEMBERS set"},
    {"a client's SORT of a million", "SORT set LIMIT 0 10"},
    {"a client's SUNIONSTORE of a million", "SUNIONSTORE copy set"},
    {"a client's DEL of a million", "DEL copy"},
    {"a client's LRANGE of a million", "LRANGE list 0 -1"},
    {"a client's LREM in a million", "LREM list 0 x"},
    {"a client's ZRANGE of a million", "ZRANGE zset 0 -1 WITHSCORES"},
    {"a client's HGETALL of half a million", "HGETALL hash"},
    {"a client's KEYS of half a million", "KEYS *nothing"},
    {"a client's SPACE.SELECT of 300 thousand", "SPACE.SELECT rows [] LIMIT 300000"},
};

static const char *const PREPARED[] = {
    "LUA 'box.schema.space.create(\"rows\"):create_index(\"pk\") return 1'",
    "LUA 'for i = 1, 1e6, 1e4 do box.atomic(function() for j = i, i + 1e4 - 1 do "
    "box.space.rows:insert({j, j % 1000, \"some text\"}) end end) end'",
    "LUA 'for i = 1, 1e6, 1e3 do local t = {} for j = i, i + 999 do t[#t + 1] = j end "
    "redis.call(\"SADD\", \"set\", unpack(t)) redis.call(\"RPUSH\", \"list\", unpack(t)) end'",
    "LUA 'for i = 1, 1e6, 1e3 do local s, h = {}, {} for j = i, i + 999 do s[#s + 1] = j "
    "s[#s + 1] = j if j % 2 == 0 then h[#h + 1] = j h[#h + 1] = j end end "
    "redis.call(\"ZADD\", \"zset\", unpack(s)) redis.call(\"HSET\", \"hash\", unpack(h)) end'",
    "LUA 'for i = 1, 5e5, 1e3 do local t = {} for j = i, i + 999 do t[#t + 1] = j t[#t + 1] = j "
    "end "
    "redis.call(\"MSET\", unpack(t)) end'"};

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

struct computation {
    const char *request;
    char reply[64];
    double us;
};

static void *compute(void *arg)
{
    struct computation *computation = arg;
    struct server_client client;
    if (server_client_open(&client, &server)) {
        double start_us = now_us();
        snprintf(computation->reply, sizeof computation->reply, "%s",
                 server_client_ask(&client, computation->request));
        computation->us = now_us() - start_us;
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
    struct computation computation = {.request = LONG_RUN};
    pthread_t thread;
    store_relaxed(&computes, true);
    if (pthread_create(&thread, NULL, compute, &computation) != 0)
        return;
    measure(name, 0, anew);
    pthread_join(thread, NULL);
}

/* --------------------------------------------------------------------------------- functions of C */

/* The longest that somebody waited while it ran, and how long it took. */
static double longest_us(const struct work *work, struct computation *computation)
{
    double longest = 0;
    pthread_t thread;
    *computation = (struct computation){.request = work->request};
    store_relaxed(&computes, true);
    if (pthread_create(&thread, NULL, compute, computation) != 0)
        return 0;
    for (unsigned n = 0; !is_over(0); n = (n + 1) % CLIENTS) {
        double start_us = now_us();
        server_client_ask(&clients[n], "GET k");
        double us = now_us() - start_us;
        longest = us > longest ? us : longest;
    }
    pthread_join(thread, NULL);
    return longest;
}

enum { ROUNDS = 3 };

/* Of several runs each, by the longest waits: what is not the machine's is there in all of them. */
static int works_measure(void)
{
    static const char *const options[] = {"--durability",
                                          "none",
                                          "--workers",
                                          "1",
                                          "--lua_time_max",
                                          "60000",
                                          "--lua_memory_max",
                                          "1GB",
                                          "--log_level",
                                          "error",
                                          NULL};
    char folder[256];
    server_folder_make(folder);
    server_process_start(&server, folder, options);
    for (unsigned n = 0; n < CLIENTS; n++)
        if (!server_client_open(&clients[n], &server))
            return 1;
    for (unsigned n = 0; n < sizeof PREPARED / sizeof *PREPARED; n++)
        server_client_ask(&clients[0], PREPARED[n]);
    for (unsigned n = 0; n < sizeof WORKS / sizeof *WORKS; n++) {
        double us[ROUNDS];
        struct computation computation = {.request = NULL};
        for (unsigned round = 0; round < ROUNDS; round++) {
            nanosleep(&(struct timespec){.tv_nsec = 400000000}, NULL); /* connections go home */
            us[round] = longest_us(&WORKS[n], &computation);
        }
        qsort(us, ROUNDS, sizeof *us, compare);
        printf("%-42s %7.0f ms   others wait %6.1f %6.1f %6.1f ms   %.20s\n", WORKS[n].name,
               computation.us / 1000, us[0] / 1000, us[1] / 1000, us[2] / 1000, computation.reply);
        fflush(stdout);
    }
    for (unsigned n = 0; n < CLIENTS; n++)
        server_client_close(&clients[n]);
    server_process_signal(&server, SIGTERM);
    int failed = server_process_wait(&server);
    server_folder_remove(folder);
    return failed;
}

/* ------------------------------------------------------------------------------- busy connections */

static unsigned lines_read(int fd)
{
    static char bytes[1 << 16];
    ssize_t size = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    unsigned count = 0;
    for (ssize_t n = 0; n < size; n++)
        count += bytes[n] == '\n';
    return count;
}

/* Requests in a second; each connection has PIPELINE to twice as many under way. */
static double busy_run(struct server_client *busy, const char *request, double seconds)
{
    struct pollfd fds[BUSY];
    char pipeline[PIPELINE * 64] = "";
    unsigned long answered = 0;
    unsigned open[BUSY];
    for (unsigned n = 0; n < PIPELINE; n++)
        strcat(pipeline, request);
    for (unsigned n = 0; n < BUSY; n++) {
        fds[n] = (struct pollfd){.fd = busy[n].fd, .events = POLLIN};
        open[n] = 0;
    }
    double start_us = now_us();
    bool over = false;
    for (unsigned left = BUSY; left > 0;) {
        over = over || now_us() >= start_us + seconds * 1e6;
        left = 0;
        for (unsigned n = 0; n < BUSY; n++) {
            while (!over && open[n] <= PIPELINE) {
                server_client_send(&busy[n], pipeline, strlen(pipeline));
                open[n] += PIPELINE;
            }
            left += open[n] > 0;
        }
        if (left > 0 && poll(fds, BUSY, 1000) <= 0)
            break;
        for (unsigned n = 0; n < BUSY; n++) {
            unsigned lines = fds[n].revents ? lines_read(busy[n].fd) : 0;
            open[n] -= lines;
            answered += lines;
        }
    }
    return (double)answered / (now_us() - start_us) * 1e6;
}

/* They come to the two workers in turn; every other one leaves. */
static void busy_open(struct server_client *busy)
{
    struct server_client rest[BUSY];
    for (unsigned n = 0; n < 2 * BUSY; n++) {
        struct server_client *client = n % 2 ? &rest[n / 2] : &busy[n / 2];
        if (!server_client_open(client, &server))
            exit(1);
        server_client_ask(client, "PING");
    }
    server_client_ask(&busy[0], "SETRANGE large 65535 x");
    server_client_ask(&busy[0], "SET k v");
    for (unsigned n = 0; n < BUSY; n++)
        server_client_close(&rest[n]);
}

static int busy_measure(const char *balance)
{
    const char *const options[] = {"--durability", "interval",    "--workers", "2", "--balance",
                                   balance,        "--log_level", "warn",      NULL};
    struct server_client busy[BUSY];
    char folder[256];
    server_folder_make(folder);
    server_process_start(&server, folder, options);
    busy_open(busy);
    busy_run(busy, "BITCOUNT large\r\n", 1); /* those that move have moved */
    double counts = busy_run(busy, "BITCOUNT large\r\n", 3);
    double lengths = busy_run(busy, "STRLEN k\r\n", 3);
    double increments = busy_run(busy, "INCR n\r\n", 3);
    printf("%d busy connections of one worker, balance %-3s   thousands a second: BITCOUNT of 64 "
           "KB %5.0f   "
           "STRLEN %5.0f   INCR of one counter %5.0f\n",
           BUSY, balance, counts / 1000, lengths / 1000, increments / 1000);
    for (unsigned n = 0; n < BUSY; n++)
        server_client_close(&busy[n]);
    server_process_signal(&server, SIGTERM);
    int failed = server_process_wait(&server);
    server_folder_remove(folder);
    return failed;
}

int main(int argc, char **argv)
{
    static const char *const options[] = {
        "--durability", "interval",    "--workers", "2", "--lua_time_max",
        "3000",         "--log_level", "warn",      NULL};
    char folder[256];
    if (argc > 1 && strcmp(argv[1], "functions") == 0)
        return works_measure();
    if (works_measure() || busy_measure("off") || busy_measure("on"))
        return 1;
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
