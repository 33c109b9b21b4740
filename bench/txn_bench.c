/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Transactions on one thread, over a log in a directory of its own: nanoseconds of this thread's
 * CPU for each operation. Durability none, so that the figures are those of the code and not of the
 * disk; the log is written all the same, by its own thread.
 */
#include "bench.h"

#include "base/random.h"
#include "db/db.h"

enum { KEYS = 1000000, KEY_SIZE = 16, VALUE_SIZE = 100, OPERATIONS = 1000000 };

struct bench {
    struct db *db;
    struct db_worker *worker;
    struct head *head;
    struct random random;
    char value[VALUE_SIZE];
};

static void key_make(uint64_t n, char *out)
{
    char text[KEY_SIZE + 8];
    snprintf(text, sizeof text, "key:%012llu", (unsigned long long)n);
    memcpy(out, text, KEY_SIZE);
}

static struct txn *begin(struct bench *bench, enum txn_level level, bool readonly)
{
    struct txn *txn;
    struct txn_options options = {.level = level, .readonly = readonly};
    bench_check(txn_begin(db_worker_txn(bench->worker), &options, &txn), "begin");
    return txn;
}

static void insert(struct bench *bench, uint64_t n)
{
    char key[KEY_SIZE];
    key_make(n * UINT64_C(7919) % KEYS, key);
    struct txn *txn = begin(bench, TXN_READ_COMMITTED, false);
    bench_check(txn_put(txn, bench->head, key, KEY_SIZE, bench->value, VALUE_SIZE, NULL, NULL),
                "put");
    bench_check(txn_commit(txn), "commit");
}

static void replace(struct bench *bench, uint64_t n)
{
    char key[KEY_SIZE];
    (void)n;
    key_make(random_below(&bench->random, KEYS), key);
    struct txn *txn = begin(bench, TXN_READ_COMMITTED, false);
    bench_check(txn_put(txn, bench->head, key, KEY_SIZE, bench->value, VALUE_SIZE, NULL, NULL),
                "put");
    bench_check(txn_commit(txn), "commit");
}

static void get(struct bench *bench, uint64_t n)
{
    char key[KEY_SIZE];
    const struct version *version;
    (void)n;
    key_make(random_below(&bench->random, KEYS), key);
    struct txn *txn = begin(bench, TXN_READ_COMMITTED, true);
    bench_check(txn_get(txn, bench->head, key, KEY_SIZE, &version), "get");
    bench_check(txn_commit(txn), "commit");
}

static void hot_counter(struct bench *bench, uint64_t n)
{
    (void)n;
    const struct version *version;
    struct txn *txn = begin(bench, TXN_READ_COMMITTED, false);
    bench_check(txn_get_for_update(txn, bench->head, "counter", 7, &version), "get for update");
    uint64_t count = 0;
    if (version != NULL)
        memcpy(&count, version->bytes, sizeof count);
    count++;
    bench_check(txn_put(txn, bench->head, "counter", 7, &count, sizeof count, NULL, NULL), "put");
    bench_check(txn_commit(txn), "commit");
}

static void transfer(struct bench *bench, uint64_t n)
{
    (void)n;
    struct txn *txn = begin(bench, TXN_SERIALIZABLE, false);
    for (int i = 0; i < 2; i++) {
        char key[KEY_SIZE];
        const struct version *version;
        key_make(random_below(&bench->random, KEYS), key);
        bench_check(txn_get(txn, bench->head, key, KEY_SIZE, &version), "get");
        bench_check(txn_put(txn, bench->head, key, KEY_SIZE, bench->value, VALUE_SIZE, NULL, NULL),
                    "put");
    }
    bench_check(txn_commit(txn), "commit");
}

static void range_of_a_hundred(struct bench *bench, uint64_t n)
{
    (void)n;
    char key[KEY_SIZE];
    key_make(random_below(&bench->random, KEYS - 200), key);
    struct txn_index index = {.tree = bench->head->tree, .head = bench->head};
    struct txn_range range = {.lower = key, .lower_size = KEY_SIZE, .lower_inclusive = true};
    struct txn_cursor cursor;
    struct txn *txn = begin(bench, TXN_SERIALIZABLE, false);
    txn_cursor_open(&cursor, txn, &index, &range);
    for (int i = 0; i < 100; i++) {
        struct row *row;
        const struct version *version;
        bench_check(txn_cursor_next(&cursor, &row, &version), "next");
    }
    bench_check(txn_commit(txn), "commit");
}

static void run(struct bench *bench, const char *name, uint64_t count,
                void (*operation)(struct bench *bench, uint64_t n))
{
    double start = bench_cpu_ns();
    for (uint64_t n = 0; n < count; n++)
        operation(bench, n);
    bench_print(name, start, count);
}

int main(void)
{
    char dir[] = "/tmp/perigee-bench-XXXXXX";
    struct bench bench = {0};
    struct io *io;
    bench_dir_create(dir);
    bench_check(io_posix_new(dir, true, &io), "io");
    struct db_options options = {
        .io = io, .clock = clock_system(), .durability = WAL_DURABILITY_NONE, .worker_max = 2};
    bench_check(db_open(&options, NULL, &bench.db), "open");
    bench_check(db_worker_open(bench.db, &bench.worker), "worker");
    bench.head = db_redis_head(bench.db, 0);
    random_create(&bench.random, 1);
    memset(bench.value, 'v', sizeof bench.value);
    printf("one thread, %d keys of %d bytes, values of %d bytes, a transaction each\n", KEYS,
           KEY_SIZE, VALUE_SIZE);
    run(&bench, "insert", KEYS, insert);
    printf("%-40s %9.1f bytes\n", "memory, a row",
           (double)heap_used_bytes(db_heap(bench.db)) / KEYS);
    run(&bench, "get", OPERATIONS, get);
    run(&bench, "replace", OPERATIONS, replace);
    run(&bench, "increment of one hot row", OPERATIONS, hot_counter);
    run(&bench, "serializable, 2 reads 2 writes", OPERATIONS / 2, transfer);
    run(&bench, "serializable, range of 100", OPERATIONS / 20, range_of_a_hundred);
    db_worker_close(bench.worker);
    bench_check(db_close(bench.db), "close");
    io_delete(io);
    bench_dir_remove(dir);
    return 0;
}
