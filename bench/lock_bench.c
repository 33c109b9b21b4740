/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks that nobody else wants, on one thread: a space, a row, many rows a transaction, asking for
 * what is held; then a request that has to queue, with its search for a cycle, behind so many
 * others. Prints nanoseconds of CPU a lock, taken and given back.
 */
#include "bench.h"

#include "base/assert.h"
#include "base/error.h"
#include "base/random.h"
#include "txn/lock.h"

enum { ROUNDS = 1000000, KEY_SIZE = 16, KEYS = 1 << 16, QUEUED_MAX = 1000 };

struct bench {
    struct lock_table *table;
    struct lock_owner *owner;
    unsigned char (*keys)[KEY_SIZE];
    uint64_t next;
};

static void row_take(struct bench *bench)
{
    struct lock_name name = lock_name_row(1, 1, bench->keys[bench->next++ % KEYS], KEY_SIZE);
    bench_check(lock_acquire(bench->owner, &name, LOCK_EXCLUSIVE), "row");
}

static void spaces(struct bench *bench)
{
    struct lock_name name = lock_name_space(1, 1);
    double start_ns = bench_cpu_ns();
    for (unsigned i = 0; i < ROUNDS; i++) {
        bench_check(lock_acquire(bench->owner, &name, LOCK_INTENT_EXCLUSIVE), "space");
        lock_release_all(bench->owner);
    }
    bench_print("space, taken and released", start_ns, ROUNDS);
}

static void rows(struct bench *bench, const char *what, unsigned a_transaction)
{
    double start_ns = bench_cpu_ns();
    for (unsigned i = 0; i < ROUNDS; i += a_transaction) {
        for (unsigned k = 0; k < a_transaction; k++)
            row_take(bench);
        lock_release_all(bench->owner);
    }
    bench_print(what, start_ns, ROUNDS);
}

static void again(struct bench *bench)
{
    struct lock_name name = lock_name_row(1, 1, bench->keys[0], KEY_SIZE);
    bench_check(lock_acquire(bench->owner, &name, LOCK_EXCLUSIVE), "row");
    double start_ns = bench_cpu_ns();
    for (unsigned i = 0; i < ROUNDS; i++)
        bench_check(lock_acquire(bench->owner, &name, LOCK_SHARED), "held row");
    bench_print("row that is held already", start_ns, ROUNDS);
    lock_release_all(bench->owner);
}

/* Each holds a row of its own and waits for the same one; the one that is measured has another's
 * request behind its own row, so that nothing is spared. */
static void queue(struct bench *bench, unsigned queued)
{
    static struct lock_owner *owners[QUEUED_MAX];
    struct lock_name hot = lock_name_row(1, 1, "hot", 3), own = lock_name_row(1, 1, "own", 3);
    struct lock_owner *last;
    unsigned rounds = 2000;
    char what[64];
    bench_check(lock_owner_new(bench->table, &last), "owner");
    bench_check(lock_acquire(last, &own, LOCK_EXCLUSIVE), "own row");
    bench_check(lock_acquire(bench->owner, &hot, LOCK_EXCLUSIVE), "hot row");
    for (unsigned i = 0; i < queued; i++) {
        bench_check(lock_owner_new(bench->table, &owners[i]), "owner");
        int rc = lock_acquire(owners[i], &hot, LOCK_EXCLUSIVE);
        ASSERT(rc == ERROR_WAIT);
    }
    struct lock_owner *behind;
    bench_check(lock_owner_new(bench->table, &behind), "owner");
    int rc = lock_acquire(behind, &own, LOCK_EXCLUSIVE);
    ASSERT(rc == ERROR_WAIT);
    double start_ns = bench_cpu_ns();
    for (unsigned i = 0; i < rounds; i++) {
        rc = lock_acquire(last, &hot, LOCK_EXCLUSIVE);
        ASSERT(rc == ERROR_WAIT);
        lock_wait_cancel(last, false);
    }
    snprintf(what, sizeof(what), "queued behind %u, and left", queued);
    bench_print(what, start_ns, rounds);
    lock_owner_delete(behind);
    for (unsigned i = 0; i < queued; i++)
        lock_owner_delete(owners[i]);
    lock_owner_delete(last);
    lock_release_all(bench->owner);
}

int main(void)
{
    struct bench bench = {.keys = malloc((size_t)KEYS * KEY_SIZE)};
    struct random random;
    ASSERT(bench.keys != NULL);
    random_create(&random, 1);
    for (unsigned i = 0; i < KEYS; i++)
        for (unsigned k = 0; k < KEY_SIZE; k++)
            bench.keys[i][k] = (unsigned char)random_next(&random);
    bench_check(
        lock_table_new(&(struct lock_table_options){.escalation_rows = 1 << 20}, &bench.table),
        "table");
    bench_check(lock_owner_new(bench.table, &bench.owner), "owner");
    spaces(&bench);
    rows(&bench, "row and its space, one a transaction", 1);
    rows(&bench, "row, ten a transaction", 10);
    rows(&bench, "row, a thousand a transaction", 1000);
    again(&bench);
    queue(&bench, 1);
    queue(&bench, 10);
    queue(&bench, 100);
    queue(&bench, QUEUED_MAX);
    lock_owner_delete(bench.owner);
    lock_table_delete(bench.table);
    free(bench.keys);
    return 0;
}
