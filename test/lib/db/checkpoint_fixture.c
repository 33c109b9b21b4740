/* SPDX-License-Identifier: Apache-2.0 */

/* See checkpoint_fixture.h. */
#include "db/checkpoint_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/checkpoint_private.h"

struct db_fixture f;

/* ------------------------------------------------------------- between the database and the disk */

struct hook_io {
    struct io base;
    struct io *under;
};

struct hook hook;

static int hook_run(enum hook_call call, const char *path)
{
    hook_fn fn = atomic_load(&hook.fn);
    return fn == NULL ? 0 : fn(call, path);
}

static struct io *under(struct io *io)
{
    return ((struct hook_io *)io)->under;
}

static int hook_open(struct io *io, const char *path, int flags, struct io_file **out)
{
    int rc = flags & IO_CREATE ? hook_run(HOOK_OPEN, path) : 0;
    return rc != 0 ? rc : io_open(under(io), path, flags, out);
}

static int hook_rename(struct io *io, const char *from, const char *to)
{
    int rc = hook_run(HOOK_RENAME, to);
    return rc != 0 ? rc : io_rename(under(io), from, to);
}

static int hook_unlink(struct io *io, const char *path)
{
    int rc = hook_run(HOOK_UNLINK, path);
    return rc != 0 ? rc : io_unlink(under(io), path);
}

static int hook_sync_dir(struct io *io)
{
    return io_sync_dir(under(io));
}

static int hook_list(struct io *io, int (*each)(const char *name, uint64_t size, void *arg),
                     void *arg)
{
    return io_list(under(io), each, arg);
}

static uint64_t hook_room(struct io *io)
{
    uint64_t room = atomic_load(&hook.room);
    return room != 0 ? room : io_room(under(io));
}

static int hook_lock(struct io *io, const char *path)
{
    return io_lock(under(io), path);
}

static int hook_queue_new(struct io *io, unsigned depth, struct io_queue **out)
{
    return io_queue_new(under(io), depth, out);
}

static void hook_delete(struct io *io)
{
    if (hook.scheduler != NULL)
        io_scheduler_delete(hook.scheduler);
    hook.scheduler = NULL;
    io_delete(under(io));
    free(io);
}

static const struct io_vtab hook_vtab = {.open = hook_open,
                                         .rename = hook_rename,
                                         .unlink = hook_unlink,
                                         .sync_dir = hook_sync_dir,
                                         .list = hook_list,
                                         .room = hook_room,
                                         .lock = hook_lock,
                                         .queue_new = hook_queue_new,
                                         .delete = hook_delete};

static struct io *hook_wrap(struct io *io)
{
    struct hook_io *made = calloc(1, sizeof *made);
    made->base.vtab = &hook_vtab;
    atomic_init(&made->base.direct_variant, "unknown");
    atomic_init(&made->base.queue_variant, "unknown");
    made->under = io;
    if (hook.schedules) {
        struct io_scheduler_options options = {.allow_uring = false};
        io_limits_default(&options.limits);
        assert_int_equal(io_scheduler_new(&made->base, &options, &hook.scheduler), 0);
    }
    return &made->base;
}

bool is_run(const char *path)
{
    return strstr(path, ".run") != NULL;
}

void hook_set(hook_fn fn)
{
    hook.calls = 0;
    atomic_store(&hook.fn, fn);
}

/* ------------------------------------------------------------------------------------- statements */

int checkpoint_setup(void **state)
{
    hook_set(NULL);
    atomic_store(&hook.room, 0);
    hook.schedules = false;
    db_fixture_open(&f);
    f.engine = *state;
    f.wrap = hook_wrap;
    db_fixture_reopen(&f);
    return 0;
}

int checkpoint_teardown(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

void schema_make(void)
{
    assert_int_equal(make_space(&f, "s", NULL), 0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    assert_int_equal(
        make_index(&f, "s", "value", "{\"unique\": false, \"parts\": [[2, \"unsigned\"]]}"), 0);
}

void set(unsigned key, unsigned value)
{
    char text[64];
    snprintf(text, sizeof text, "[%u, %u]", key, value);
    assert_int_equal(replace(&f, NULL, "s", text), 0);
}

void unset(unsigned key)
{
    char text[64];
    snprintf(text, sizeof text, "[%u]", key);
    assert_int_equal(delete_by(&f, NULL, "s", "pk", text), 0);
}

const char *all(void)
{
    return select_by(&f, NULL, "s", "pk", ITERATOR_ALL, NULL);
}

void durable(void)
{
    struct wal *wal = db_wal(f.db);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
}

void checkpoint(void)
{
    int rc = db_checkpoint(f.db);
    if (rc != 0)
        fail_msg("%s", diag_message_for(rc));
}

int cut_and_start(uint64_t seed)
{
    disk_cut(f.disk, seed);
    db_fixture_stop(&f);
    return db_fixture_start(&f, false);
}

void cut(uint64_t seed)
{
    int rc = cut_and_start(seed);
    if (rc != 0)
        fail_msg("the database does not open again: %s", diag_message_for(rc));
}

struct db_checkpoint_stats stats(void)
{
    struct db_checkpoint_stats result;
    db_checkpoint_stats_get(f.db, &result);
    return result;
}

void mutate(unsigned mutations)
{
    store_relaxed(&f.db->checkpoint->mutations, mutations);
}

void assert_one(unsigned key, const char *expected)
{
    char text[64];
    snprintf(text, sizeof text, "[%u]", key);
    const char *found = get_by(&f, NULL, "s", "pk", text);
    if (expected == NULL)
        assert_null(found);
    else
        assert_string_equal(found, expected);
}

unsigned value_of(unsigned key)
{
    char text[64];
    unsigned found_key, value = 0;
    snprintf(text, sizeof text, "[%u]", key);
    const char *found = get_by(&f, NULL, "s", "pk", text);
    if (found != NULL)
        assert_int_equal(sscanf(found, "[%u,%u]", &found_key, &value), 2);
    return value;
}

int hook_no_space(enum hook_call call, const char *path)
{
    if (call != HOOK_OPEN || !is_run(path))
        return 0;
    hook.calls++;
    return diag_set(ERROR_IO, "open %s: no space left on device", path);
}

void big_rows(struct txn *txn, unsigned first, unsigned count)
{
    enum { BYTES = 30000 };
    char *text = malloc(BYTES + 64);
    for (unsigned key = first; key < first + count; key++) {
        int size = snprintf(text, 64, "[%u, 1, \"", key);
        for (unsigned i = 0; i < BYTES; i++)
            text[size + (int)i] = (char)('a' + (key * 31 + i * i) % 26);
        strcpy(text + size + BYTES, "\"]");
        assert_int_equal(replace(&f, txn, "s", text), 0);
    }
    free(text);
}
