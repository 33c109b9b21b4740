/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes into a space whose rows leave memory, in random order, a transaction each, into far more than memory holds:
 * how long each takes, what it has waited before it began included.
 *
 * COUNT (2000000)   rows of 16 and 100 bytes
 * MEMORY (64)       MiB of the budget, of which half is the cache's
 * ENGINE (lsm)      or btree
 * THREADS (1)       that write, at most 8
 * BENCH_DIR (/var/tmp)
 */
#include "bench.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "codec/mp.h"
#include "db/checkpoint.h"
#include "db/ddl.h"
#include "db/memory.h"
#include "db/space.h"
#include "io/io.h"

enum { KEY_BYTES = 16, DATA_BYTES = 100, THREADS_MAX = 8, BUCKETS = 400, SLICES = 20 };

static struct db *db;
static const char space_name[] = "rows";

/* Of waits by logarithm: 20 buckets for each factor of ten, from a nanosecond on. */
struct waits {
    uint64_t buckets[BUCKETS], count, longest_ns;
};

struct writer {
    pthread_t thread;
    struct db_worker *worker;
    uint64_t first, behind;
    struct waits waits, slices[SLICES];
};

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static uint64_t now_ns(void)
{
    return clock_monotonic_ns(clock_system());
}

static void waits_add(struct waits *waits, uint64_t ns)
{
    unsigned bucket = (unsigned)(log10((double)(ns + 1)) * 20);
    waits->buckets[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    waits->count++;
    waits->longest_ns = ns > waits->longest_ns ? ns : waits->longest_ns;
}

static void waits_merge(struct waits *waits, const struct waits *other)
{
    for (unsigned i = 0; i < BUCKETS; i++)
        waits->buckets[i] += other->buckets[i];
    waits->count += other->count;
    waits->longest_ns =
        other->longest_ns > waits->longest_ns ? other->longest_ns : waits->longest_ns;
}

static double waits_at_us(const struct waits *waits, double part)
{
    uint64_t below = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        below += waits->buckets[i];
        if ((double)below >= part * (double)waits->count)
            return pow(10, (i + 1) / 20.0) / 1e3;
    }
    return (double)waits->longest_ns / 1e3;
}

static struct space *space_in(struct db_worker *worker)
{
    return catalog_space(db_catalog(worker), space_name, strlen(space_name));
}

static void schema_make(struct db_worker *worker, const char *engine)
{
    struct mp_buffer options;
    uint32_t id, index_id;
    mp_buffer_create(&options);
    mp_put_map(&options, 1);
    mp_put_str(&options, "engine", 6);
    mp_put_str(&options, engine, strlen(engine));
    bench_check(ddl_space_create(worker, space_name, strlen(space_name), options.data, &id),
                "create a space");
    options.size = 0;
    mp_put_map(&options, 1);
    mp_put_str(&options, "parts", 5);
    mp_put_array(&options, 1);
    mp_put_array(&options, 2);
    mp_put_uint(&options, 1);
    mp_put_str(&options, "string", 6);
    bench_check(ddl_index_create(worker, id, "pk", 2, options.data, &index_id), "create an index");
    mp_buffer_destroy(&options);
}

static uint64_t mixed(uint64_t n)
{
    n = (n ^ (n >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    n = (n ^ (n >> 27)) * UINT64_C(0x94d049bb133111eb);
    return n ^ (n >> 31);
}

static size_t tuple_make(uint64_t n, char *out)
{
    char *end = out;
    *end++ = (char)0x92; /* an array of two */
    *end++ = (char)0xd9; /* str 8 */
    *end++ = KEY_BYTES;
    end += snprintf(end, KEY_BYTES + 1, "%016llx", (unsigned long long)mixed(n));
    *end++ = (char)0xd9;
    *end++ = DATA_BYTES;
    for (unsigned i = 0; i < DATA_BYTES; i++)
        end[i] = i < DATA_BYTES / 2 ? (char)(' ' + mixed(n * DATA_BYTES + i) % 90) : 'x';
    return (size_t)(end + DATA_BYTES - out);
}

static void room_wait(void)
{
    uint64_t slow_ns = db_memory_slow_ns(db);
    if (slow_ns > 0)
        nanosleep(&(struct timespec){.tv_nsec = (long)slow_ns}, NULL);
    while (db_memory_frees(db))
        usleep(200);
}

static int put_once(struct db_worker *worker, const char *tuple, size_t size)
{
    struct txn *txn;
    struct tuple_ref out;
    int rc =
        txn_begin(db_worker_txn(worker), &(struct txn_options){.level = TXN_READ_COMMITTED}, &txn);
    if (rc != 0)
        return rc;
    rc = space_replace(txn, space_in(worker), tuple, size, &out, NULL);
    if (rc == 0)
        return txn_commit(txn);
    txn_rollback(txn);
    return rc;
}

static void *writer_main(void *arg)
{
    struct writer *writer = arg;
    for (uint64_t n = writer->first; n < writer->behind; n++) {
        char tuple[KEY_BYTES + DATA_BYTES + 8];
        size_t size = tuple_make(n, tuple);
        uint64_t began_ns = now_ns();
        int rc;
        do {
            room_wait();
            rc = put_once(writer->worker, tuple, size);
        } while (rc == ERROR_MEMORY || rc == ERROR_CONFLICT);
        bench_check(rc, "put");
        uint64_t took_ns = now_ns() - began_ns;
        waits_add(&writer->waits, took_ns);
        waits_add(&writer->slices[(n - writer->first) * SLICES / (writer->behind - writer->first)],
                  took_ns);
    }
    return NULL;
}

static void print(const char *what, const struct waits *waits)
{
    printf("%-10s p50 %8.1f us  p99 %8.1f us  p99.9 %8.1f us  longest %8.1f ms\n", what,
           waits_at_us(waits, 0.5), waits_at_us(waits, 0.99), waits_at_us(waits, 0.999),
           (double)waits->longest_ns / 1e6);
}

int main(void)
{
    uint64_t count = number_of("COUNT", 2000000), threads = number_of("THREADS", 1);
    const char *engine = getenv("ENGINE") == NULL ? "lsm" : getenv("ENGINE");
    const char *where = getenv("BENCH_DIR") == NULL ? "/var/tmp" : getenv("BENCH_DIR");
    static struct writer writers[THREADS_MAX];
    static struct waits all, slices[SLICES];
    char dir[256];
    struct io *io;
    struct db_worker *worker;
    threads = threads < 1 ? 1 : threads > THREADS_MAX ? THREADS_MAX : threads;
    snprintf(dir, sizeof dir, "%s/perigee-write-XXXXXX", where);
    bench_dir_create(dir);
    bench_check(io_posix_new(dir, true, &io), "io_posix_new");
    const struct db_options options = {.io = io,
                                       .clock = clock_system(),
                                       .durability = WAL_DURABILITY_NONE,
                                       .worker_max = THREADS_MAX + 4,
                                       .memory_max = number_of("MEMORY", 64) << 20,
                                       .memory_cache = 50,
                                       .checkpoint = {.log_bytes = 256 << 20, .threads = 2}};
    bench_check(db_open(&options, NULL, &db), "db_open");
    bench_check(db_worker_open(db, &worker), "db_worker_open");
    schema_make(worker, engine);
    uint64_t began_ns = now_ns();
    for (uint64_t i = 0; i < threads; i++) {
        writers[i].first = count * i / threads;
        writers[i].behind = count * (i + 1) / threads;
        bench_check(db_worker_open(db, &writers[i].worker), "db_worker_open");
        pthread_create(&writers[i].thread, NULL, writer_main, &writers[i]);
    }
    for (uint64_t i = 0; i < threads; i++) {
        pthread_join(writers[i].thread, NULL);
        waits_merge(&all, &writers[i].waits);
        for (unsigned n = 0; n < SLICES; n++)
            waits_merge(&slices[n], &writers[i].slices[n]);
        db_worker_close(writers[i].worker);
    }
    double seconds = (double)(now_ns() - began_ns) / 1e9;
    for (unsigned n = 0; n < SLICES; n++) {
        char name[32];
        snprintf(name, sizeof name, "%u%%", (n + 1) * 100 / SLICES);
        print(name, &slices[n]);
    }
    print("all", &all);
    struct db_checkpoint_stats stats;
    struct budget_view view;
    db_checkpoint_stats_get(db, &stats);
    db_memory_view(db, &view);
    printf("%.0f rows a second; %llu checkpoints, %llu compactions, %llu files; slowed %llu times, "
           "%.3f s in all\n",
           (double)count / seconds, (unsigned long long)stats.count,
           (unsigned long long)stats.merges, (unsigned long long)stats.files,
           (unsigned long long)view.slowed, (double)view.slowed_ns / 1e9);
    db_worker_close(worker);
    bench_check(db_close(db), "db_close");
    io_delete(io);

    bench_dir_remove(dir);
    return 0;
}
