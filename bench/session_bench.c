/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Requests through a session without a socket, in pipelines of 64: from bytes to bytes, nanoseconds
 * of this thread's CPU for each. Durability none, so that the figures are those of the code; the
 * log is written all the same, by its own thread.
 */
#include "bench.h"

#include "base/random.h"
#include "session/session.h"

enum { KEYS = 1000000, VALUE_SIZE = 100, REQUESTS = 2000000, PIPELINE = 64 };

struct bench {
    struct session *session;
    struct random random;
    char value[VALUE_SIZE + 1];
    char *bytes; /* one pipeline */
    size_t size;
};

static void append(struct bench *bench, const char *command, uint64_t key, const char *value)
{
    char *at = bench->bytes + bench->size;
    at += sprintf(at, "*%d\r\n$%zu\r\n%s\r\n$16\r\nkey:%012llu\r\n", value ? 3 : 2, strlen(command),
                  command, (unsigned long long)key);
    if (value)
        at += sprintf(at, "$%zu\r\n%s\r\n", strlen(value), value);
    bench->size = (size_t)(at - bench->bytes);
}

static void ping(struct bench *bench, uint64_t n)
{
    (void)n;
    bench->size += (size_t)sprintf(bench->bytes + bench->size, "*1\r\n$4\r\nPING\r\n");
}

static void fill(struct bench *bench, uint64_t n)
{
    append(bench, "SET", n * 7919 % KEYS, bench->value);
}

static void set(struct bench *bench, uint64_t n)
{
    (void)n;
    append(bench, "SET", random_below(&bench->random, KEYS), bench->value);
}

static void get(struct bench *bench, uint64_t n)
{
    (void)n;
    append(bench, "GET", random_below(&bench->random, KEYS), NULL);
}

static void get_of_few(struct bench *bench, uint64_t n)
{
    append(bench, "GET", n % 100, NULL);
}

static void get_nothing(struct bench *bench, uint64_t n)
{
    (void)n;
    append(bench, "GET", KEYS + 1, NULL);
}

static void spop_nothing(struct bench *bench, uint64_t n)
{
    (void)n;
    append(bench, "SPOP", KEYS + 1, NULL);
}

static void zpopmin_nothing(struct bench *bench, uint64_t n)
{
    (void)n;
    append(bench, "ZPOPMIN", KEYS + 1, NULL);
}

static void incr_hot(struct bench *bench, uint64_t n)
{
    (void)n;
    append(bench, "INCR", KEYS, NULL);
}

/* Only what the session does is counted, not the making of the requests. */
static void run(struct bench *bench, const char *name, uint64_t count,
                void (*request)(struct bench *bench, uint64_t n))
{
    double spent = 0;
    for (uint64_t n = 0; n < count;) {
        bench->size = 0;
        for (unsigned in_pipeline = 0; in_pipeline < PIPELINE; in_pipeline++)
            request(bench, n++);
        double start = bench_cpu_ns();
        session_on_bytes(bench->session, bench->bytes, bench->size);
        struct session_output output;
        while ((output = session_output(bench->session)).size > 0)
            session_sent(bench->session, output.size);
        spent += bench_cpu_ns() - start;
    }
    printf("%-40s %9.1f ns\n", name, spent / (double)count);
}

int main(void)
{
    char dir[] = "/tmp/perigee-bench-XXXXXX";
    struct bench bench = {0};
    struct io *io;
    struct db *db;
    struct service *service;
    struct session_worker *worker;
    bench_dir_create(dir);
    bench_check(io_posix_new(dir, true, &io), "io");
    struct db_options db_options = {
        .io = io, .clock = clock_system(), .durability = WAL_DURABILITY_NONE, .worker_max = 2};
    bench_check(db_open(&db_options, NULL, &db), "open");
    struct service_options options = {
        .db = db, .clock = clock_system(), .worker_max = 1, .version = "bench"};
    bench_check(service_new(&options, &service), "service");
    bench_check(session_worker_open(service, NULL, &worker), "worker");
    bench_check(session_new(worker, &(struct session_peer){.fd = -1}, &bench.session), "session");
    bench.bytes = malloc(PIPELINE * 256);
    random_create(&bench.random, 1);
    memset(bench.value, 'v', VALUE_SIZE);
    printf("one session, pipelines of %d, %d keys of 16 bytes, values of %d bytes\n", PIPELINE,
           KEYS, VALUE_SIZE);
    run(&bench, "PING", REQUESTS, ping);
    run(&bench, "SET of a new key", KEYS, fill);
    run(&bench, "SET", REQUESTS, set);
    run(&bench, "GET", REQUESTS, get);
    run(&bench, "GET of a hundred keys", REQUESTS, get_of_few);
    run(&bench, "INCR of one key", REQUESTS, incr_hot);
    run(&bench, "GET of no key", REQUESTS, get_nothing);
    run(&bench, "SPOP of no key", REQUESTS, spop_nothing);
    run(&bench, "ZPOPMIN of no key", REQUESTS, zpopmin_nothing);
    session_delete(bench.session);
    session_worker_close(worker);
    service_delete(service);
    bench_check(db_close(db), "close");
    io_delete(io);
    bench_dir_remove(dir);
    free(bench.bytes);
    return 0;
}
