/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heads live in the fixture, so that their addresses hold; trees are made and freed by the boot
 * thread's slot and cache, like those of a database.
 */
#include "txn/txn_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

enum { TEXT_MAX = 4096, TEXTS = 4, HOUR_MS = 3600 * 1000 };

static _Thread_local char texts[TEXTS][TEXT_MAX];
static _Thread_local unsigned text_next;

static char *text_take(void)
{
    return texts[text_next++ % TEXTS];
}

/* The secondary key of a value: its size, 0 when it has none. */
static size_t secondary_size(const char *value, size_t size)
{
    const char *bar = memchr(value, '|', size);
    return bar == NULL ? 0 : (size_t)(bar - value);
}

static int matches(const struct txn_index *index, const struct entry *entry,
                   const struct version *version)
{
    (void)index;
    size_t size = secondary_size(version->bytes, version->size);
    return size > 0 && entry->key_size > size && entry->key[size] == '\0' &&
           memcmp(entry->key, version->bytes, size) == 0;
}

/* Secondary key, zero byte, primary key; returns its size. */
static size_t entry_key(char *out, const char *value, size_t secondary, const void *key,
                        size_t key_size)
{
    memcpy(out, value, secondary);
    out[secondary] = '\0';
    memcpy(out + secondary + 1, key, key_size);
    return secondary + 1 + key_size;
}

static void version_dropped(struct head *head, struct txn_worker *worker, struct row *row,
                            const struct version *dropped)
{
    struct txn_fixture *fixture = head->arg;
    size_t secondary = secondary_size(dropped->bytes, dropped->size);
    if ((dropped->flags & VERSION_TOMBSTONE) || secondary == 0)
        return;
    char key[TEXT_MAX];
    size_t size = entry_key(key, dropped->bytes, secondary, row->key, row->key_size);
    txn_entry_sweep(worker, &fixture->secondary, key, size, row);
}

static int replay_nothing(uint64_t ts, const void *body, size_t size, void *arg)
{
    (void)ts, (void)body, (void)size, (void)arg;
    return 0;
}

void fixture_open_level(struct txn_fixture *f, unsigned workers, enum wal_durability durability)
{
    memset(f, 0, sizeof *f);
    f->worker_count = workers;
    f->disk = disk_new(1);
    f->io = disk_io(f->disk);
    struct wal_options wal = {.io = f->io,
                              .durability = durability,
                              .buffer_max = FIXTURE_WORKERS_MAX,
                              .flush_interval_ms = HOUR_MS};
    struct wal_replay_stats stats;
    assert_int_equal(wal_open(&wal, replay_nothing, NULL, &stats, &f->wal), 0);
    assert_int_equal(heap_new(0, &f->heap), 0);
    assert_int_equal(heap_cache_open(f->heap, &f->boot.heap), 0);
    assert_int_equal(epoch_domain_new(FIXTURE_WORKERS_MAX + 1, &f->epochs), 0);
    assert_int_equal(epoch_slot_open(f->epochs, &f->boot.epoch), 0);
    struct txn_system_options system = {
        .wal = f->wal, .heap = f->heap, .epochs = f->epochs, .worker_max = FIXTURE_WORKERS_MAX};
    assert_int_equal(txn_system_new(&system, &f->system), 0);
    assert_int_equal(tree_new(&f->boot, &f->head.tree), 0);
    assert_int_equal(tree_new(&f->boot, &f->other.tree), 0);
    assert_int_equal(tree_new(&f->boot, &f->secondary.tree), 0);
    f->head.id = 1;
    f->head.version_dropped = version_dropped;
    f->head.arg = f;
    f->other.id = 2;
    f->primary = (struct txn_index){.tree = f->head.tree, .head = &f->head};
    f->secondary.head = &f->head;
    f->secondary.matches = matches;
    for (unsigned i = 0; i < workers; i++)
        assert_int_equal(txn_worker_open(f->system, &f->workers[i]), 0);
}

void fixture_open(struct txn_fixture *f, unsigned workers)
{
    fixture_open_level(f, workers, WAL_DURABILITY_COMMIT);
}

void fixture_close(struct txn_fixture *f)
{
    /* Of a test that failed; all of them first, since a worker that closes waits for the epochs of
     * the others. */
    for (unsigned i = 0; i < f->worker_count; i++)
        if (txn_current(f->workers[i]) != NULL)
            txn_rollback(txn_current(f->workers[i]));
    for (unsigned i = 0; i < f->worker_count; i++)
        txn_worker_close(f->workers[i]);
    wal_close(f->wal);
    txn_system_delete(f->system);
    txn_rows_delete(&f->boot, f->head.tree);
    txn_rows_delete(&f->boot, f->other.tree);
    txn_entries_delete(&f->boot, f->secondary.tree);
    epoch_slot_close(f->boot.epoch);
    epoch_domain_delete(f->epochs);
    heap_cache_close(f->boot.heap);
    assert_int_equal(heap_used_bytes(f->heap), 0);
    heap_delete(f->heap);
    io_delete(f->io);
    disk_delete(f->disk);
}

static struct txn *begin(struct txn_fixture *f, unsigned worker, const struct txn_options *options)
{
    struct txn *txn;
    assert_int_equal(txn_begin(f->workers[worker], options, &txn), 0);
    return txn;
}

struct txn *fixture_begin(struct txn_fixture *f, unsigned worker, enum txn_level level)
{
    return begin(f, worker, &(struct txn_options){.level = level});
}

struct txn *fixture_begin_readonly(struct txn_fixture *f, unsigned worker, bool latest)
{
    return begin(
        f, worker,
        &(struct txn_options){.level = TXN_SERIALIZABLE, .readonly = true, .latest = latest});
}

static int put_secondary(struct txn_fixture *f, struct txn *txn, const char *key, const char *value,
                         struct row *row)
{
    size_t secondary = secondary_size(value, strlen(value));
    if (secondary == 0)
        return 0;
    char bytes[TEXT_MAX];
    size_t size = entry_key(bytes, value, secondary, key, strlen(key));
    struct row *holder;
    int rc = txn_entry_add(txn, &f->secondary, bytes, size, size, row);
    return rc != 0 ? rc : txn_unique_check(txn, &f->secondary, bytes, secondary + 1, row, &holder);
}

int fixture_put(struct txn_fixture *f, struct txn *txn, const char *key, const char *value)
{
    struct txn_savepoint savepoint = txn_savepoint(txn);
    struct row *row;
    int rc = txn_put(txn, &f->head, key, strlen(key), value, (uint32_t)strlen(value), &row, NULL);
    if (rc != 0)
        return rc;
    rc = put_secondary(f, txn, key, value, row);
    if (rc != 0)
        txn_rollback_to(txn, savepoint);
    return rc;
}

int fixture_delete(struct txn_fixture *f, struct txn *txn, const char *key)
{
    return txn_delete(txn, &f->head, key, strlen(key));
}

static const char *text_of(int rc, const struct version *version)
{
    if (rc != 0)
        return "CONFLICT";
    if (version == NULL)
        return NULL;
    char *text = text_take();
    snprintf(text, TEXT_MAX, "%.*s", (int)version->size, version->bytes);
    return text;
}

const char *fixture_get(struct txn_fixture *f, struct txn *txn, const char *key)
{
    const struct version *version;
    int rc = txn_get(txn, &f->head, key, strlen(key), &version);
    return text_of(rc, version);
}

const char *fixture_get_for_update(struct txn_fixture *f, struct txn *txn, const char *key)
{
    const struct version *version;
    int rc = txn_get_for_update(txn, &f->head, key, strlen(key), &version);
    return text_of(rc, version);
}

uint64_t fixture_set(struct txn_fixture *f, unsigned worker, const char *key, const char *value)
{
    struct txn *txn = fixture_begin(f, worker, TXN_SNAPSHOT);
    int rc = value == NULL ? fixture_delete(f, txn, key) : fixture_put(f, txn, key, value);
    assert_int_equal(rc, 0);
    assert_int_equal(txn_commit(txn), 0);
    return txn_worker_seen_ts(f->workers[worker]);
}

const char *fixture_latest(struct txn_fixture *f, unsigned worker, const char *key)
{
    struct txn *txn = fixture_begin_readonly(f, worker, true);
    const char *text = fixture_get(f, txn, key);
    txn_rollback(txn);
    return text;
}

const char *fixture_scan(struct txn_fixture *f, struct txn *txn, struct txn_index *index,
                         const char *lower, const char *upper, bool backward, unsigned limit)
{
    struct txn_range range = {.lower = lower,
                              .lower_size = lower == NULL ? 0 : strlen(lower),
                              .lower_inclusive = true,
                              .upper = upper,
                              .upper_size = upper == NULL ? 0 : strlen(upper),
                              .upper_inclusive = true,
                              .backward = backward};
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    char *text = text_take();
    size_t size = 0;
    text[0] = '\0';
    txn_cursor_open(&cursor, txn, index, &range);
    txn_cursor_few(&cursor, f->few);
    for (; limit > 0; limit--) {
        int rc = txn_cursor_next(&cursor, &row, &version);
        if (rc == ERROR_END)
            break;
        if (rc != 0)
            return "CONFLICT";
        size += (size_t)snprintf(text + size, TEXT_MAX - size, "%s%.*s", size > 0 ? " " : "",
                                 (int)row->key_size, (const char *)row->key);
    }
    return text;
}

void fixture_settle(struct txn_fixture *f)
{
    assert_int_equal(wal_wait_durable(f->wal, wal_clock(f->wal)), 0);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < f->worker_count; i++)
            txn_collect(f->workers[i], SIZE_MAX);
}

int fixture_chain(struct txn_fixture *f, const char *key)
{
    epoch_enter(f->boot.epoch);
    struct row *row = (struct row *)tree_get(f->head.tree, key, strlen(key));
    int length = row == NULL ? -1 : 0;
    if (row != NULL)
        for (struct version *version = load_acquire(&row->newest); version != NULL;
             version = load_acquire(&version->older))
            length++;
    epoch_leave(f->boot.epoch);
    return length;
}

size_t fixture_entries(struct txn_fixture *f)
{
    return tree_count(f->secondary.tree);
}
