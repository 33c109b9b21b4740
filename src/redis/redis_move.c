/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is done with a key whatever it holds and however much: another name, another database, a copy;
 * and with all keys of two databases, which change places.
 *
 * A spread collection is its number: with another name it keeps its elements, and moving it costs as
 * much as moving a string. A copy has a number and rows of its own.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/catalog.h"
#include "redis/redis_commands.h"
#include "redis/redis_fields.h"
#include "redis/redis_spread.h"

static int no_such_key(void)
{
    return diag_set(ERROR_INVALID, "no such key");
}

static int reply(struct redis_call *call, int rc, int64_t value)
{
    if (!rc)
        call->sink->vtab->integer(call->sink, value);
    return rc;
}

static bool same(const struct redis_slice *left, const struct redis_slice *right)
{
    return left->size == right->size &&
           (left->size == 0 || memcmp(left->data, right->data, left->size) == 0);
}

/* Writes a value under a key, its expiry too. A hash with fields that expire learns its name. */
static int put(struct redis_call *call, const struct redis_slice *name, const struct redis_key *key,
               const struct redis_value *value)
{
    const struct redis_slice data = {value->data, value->size}, nothing = {NULL, 0};
    if (!value->spread)
        return redis_value_put(call, key, value->type, value->expire_ms, data, nothing);
    int rc = redis_value_put_spread(call, key, value->type, value->expire_ms, value->id, data);
    return rc ? rc : redis_fields_renamed(call, name, value);
}

/* -------------------------------------------------------------------------------------- renaming */

/* The value goes from one key to another, which holds nothing that counts; how often it was used as
 * well. */
static int move(struct redis_call *from_call, const struct redis_key *from, struct redis_call *call,
                const struct redis_slice *name, const struct redis_key *to,
                struct redis_value *value)
{
    int rc = redis_value_keep(call, value);
    if (!rc)
        rc = redis_row_delete(from_call, from);
    if (!rc)
        call->access = value->access;
    if (!rc)
        rc = put(call, name, to, value);
    call->access = 0;
    return rc;
}

/* argv[1] becomes argv[2]. *moved: false when there is something under that name and it stays. */
static int rename_key(struct redis_call *call, bool keep_other, bool *moved)
{
    struct redis_key from, to;
    struct redis_value value, other;
    *moved = false;
    int rc = redis_value_get_for_update(call, 1, &from, &value);
    if (rc || value.type == REDIS_TYPE_NONE)
        return rc ? rc : no_such_key();
    bool itself = same(&call->argv[1], &call->argv[2]);
    *moved = !(keep_other && itself);
    if (itself)
        return 0;
    rc = redis_value_get_for_update(call, 2, &to, &other);
    if (rc)
        return rc;
    *moved = !keep_other || other.type == REDIS_TYPE_NONE;
    if (!*moved)
        return 0;
    rc = move(call, &from, call, &call->argv[2], &to, &value);
    if (!rc)
        rc = redis_changed(call, &call->argv[1], REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC,
                           "rename_from");
    return rc ? rc
              : redis_changed(call, &call->argv[2], value.type, REDIS_NOTIFY_GENERIC, "rename_to");
}

int redis__rename(struct redis_call *call)
{
    bool moved;
    int rc = rename_key(call, false, &moved);
    if (!rc)
        call->sink->vtab->status(call->sink, "OK");
    return rc;
}

int redis__renamenx(struct redis_call *call)
{
    bool moved;
    int rc = rename_key(call, true, &moved);
    return reply(call, rc, moved);
}

/* ------------------------------------------------------------------------------ other databases */

/* argv[n] as the number of a database. */
static int database_arg(const struct redis_call *call, unsigned n, unsigned *out)
{
    int64_t number;
    int rc = redis_integer_arg(call, n, &number);
    if (rc)
        return rc;
    if (number < 0 || number >= REDIS_DATABASES)
        return diag_set(ERROR_INVALID, "DB index is out of range");
    *out = (unsigned)number;
    return 0;
}

int redis__move(struct redis_call *call)
{
    struct redis_call other = *call;
    struct redis_key from, to;
    struct redis_value value, present;
    int rc = database_arg(call, 2, &other.database);
    if (!rc && other.database == call->database)
        rc = diag_set(ERROR_INVALID, "source and destination objects are the same");
    if (!rc)
        rc = redis_value_get_for_update(call, 1, &from, &value);
    if (!rc)
        rc = redis_value_get_for_update(&other, 1, &to, &present);
    if (rc || value.type == REDIS_TYPE_NONE || present.type != REDIS_TYPE_NONE)
        return reply(call, rc, 0);
    rc = move(call, &from, &other, &call->argv[1], &to, &value);
    if (!rc)
        rc =
            redis_changed(call, &call->argv[1], REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC, "move_from");
    if (!rc)
        rc = redis_changed(&other, &call->argv[1], value.type, REDIS_NOTIFY_GENERIC, "move_to");
    return reply(call, rc, 1);
}

/* --------------------------------------------------------------------------------------- copying */

static int copy_options(struct redis_call *call, struct redis_call *to, bool *replace)
{
    *replace = false;
    for (unsigned n = 3; n < call->argc; n++) {
        int rc = 0;
        if (redis_word(call, n, "replace"))
            *replace = true;
        else if (redis_word(call, n, "db") && n + 1 < call->argc)
            rc = database_arg(call, ++n, &to->database);
        else
            rc = redis_syntax_error();
        if (rc)
            return rc;
    }
    if (to->database == call->database && same(&call->argv[1], &call->argv[2]))
        return diag_set(ERROR_INVALID, "source and destination objects are the same");
    return 0;
}

int redis__copy(struct redis_call *call)
{
    struct redis_call to_call = *call;
    struct redis_key from, to;
    struct redis_value value, present;
    bool replace;
    int rc = copy_options(call, &to_call, &replace);
    if (!rc)
        rc = redis_open(call, &call->argv[1], REDIS_TYPE_NONE, &from, &value);
    if (!rc)
        rc = redis_open_for_update(&to_call, &call->argv[2], REDIS_TYPE_NONE, &to, &present);
    if (rc || value.type == REDIS_TYPE_NONE || (present.type != REDIS_TYPE_NONE && !replace))
        return reply(call, rc, 0);
    if (value.spread) {
        uint64_t id = value.id;
        rc = redis_spread_new(call, &value.id);
        if (!rc)
            rc = redis_spread_copy(call, id, value.id);
    }
    if (!rc)
        rc = put(&to_call, &call->argv[2], &to, &value);
    if (!rc)
        rc = redis_changed(&to_call, &call->argv[2], value.type, REDIS_NOTIFY_GENERIC, "copy_to");
    return reply(call, rc, 1);
}

/* ------------------------------------------------------------------------------------- swapping */

/* The rows of a database that hold something, in order of their keys; in the arena. */
struct rows {
    struct row **items;
    size_t count, capacity;
};

static int rows_add(struct redis_call *call, struct rows *rows, struct row *row)
{
    if (rows->count == rows->capacity) {
        size_t capacity = rows->capacity ? 2 * rows->capacity : 256;
        struct row **items = arena_alloc(txn_arena(call->txn), capacity * sizeof(struct row *));
        if (!items)
            return diag_set(ERROR_MEMORY, "out of memory");
        if (rows->count)
            memcpy(items, rows->items, rows->count * sizeof(struct row *));
        rows->items = items;
        rows->capacity = capacity;
    }
    rows->items[rows->count++] = row;
    return 0;
}

static int rows_gather(struct redis_call *call, struct rows *rows)
{
    struct head *head = db_redis_head(db_worker_db(call->worker), call->database);
    struct txn_index index = {.tree = head->tree, .head = head};
    struct txn_cursor cursor;
    const struct version *version;
    struct row *row;
    int rc;
    txn_cursor_open(&cursor, call->txn, &index, &(struct txn_range){.lower = NULL});
    while (!(rc = txn_cursor_next(&cursor, &row, &version))) {
        struct redis_value value;
        redis_passed(call);
        rc = redis_value_unpack(version, call->now_ms, &value);
        if (!rc && value.type != REDIS_TYPE_NONE)
            rc = rows_add(call, rows, row);
        if (rc)
            return rc;
    }
    return rc == ERROR_END ? 0 : rc;
}

/* What each of two databases holds under a key goes to the other one. Both rows go first, so that what
 * was in them, elements included, lives on. */
static int key_swap(struct redis_call calls[2], const struct row *row)
{
    struct redis_value values[2];
    struct redis_key key;
    struct redis_slice name;
    int rc = redis_row_name(calls, row, &name);
    for (unsigned n = 0; n < 2 && !rc; n++) {
        rc = redis_open_for_update(&calls[n], &name, REDIS_TYPE_NONE, &key, &values[n]);
        if (!rc)
            rc = redis_value_keep(&calls[n], &values[n]);
    }
    for (unsigned n = 0; n < 2 && !rc; n++)
        if (values[n].type != REDIS_TYPE_NONE)
            rc = redis_row_delete(&calls[n], &key);
    for (unsigned n = 0; n < 2 && !rc; n++)
        if (values[1 - n].type != REDIS_TYPE_NONE) {
            calls[n].access = values[1 - n].access;
            rc = put(&calls[n], &name, &key, &values[1 - n]);
        }
    return rc;
}

static int row_compare(const struct row *left, const struct row *right)
{
    size_t size = left->key_size < right->key_size ? left->key_size : right->key_size;
    int order = memcmp(left->key, right->key, size);
    return order ? order : (left->key_size > right->key_size) - (left->key_size < right->key_size);
}

/* Each key that is in one of them, or in both, once: a merge of what is there before the first
 * write. */
static int databases_swap(struct redis_call calls[2])
{
    struct rows rows[2] = {{.items = NULL}, {.items = NULL}};
    int rc = rows_gather(&calls[0], &rows[0]);
    if (!rc)
        rc = rows_gather(&calls[1], &rows[1]);
    for (size_t left = 0, right = 0; !rc && (left < rows[0].count || right < rows[1].count);) {
        redis_passed(&calls[0]);
        int order = left == rows[0].count ? 1
                    : right == rows[1].count
                        ? -1
                        : row_compare(rows[0].items[left], rows[1].items[right]);
        rc = key_swap(calls, order <= 0 ? rows[0].items[left] : rows[1].items[right]);
        left += order <= 0;
        right += order >= 0;
    }
    return rc;
}

static int database_number(const struct redis_call *call, unsigned n, const char *which,
                           int64_t *number)
{
    const struct redis_slice *arg = &call->argv[n];
    if (redis_integer_parse(arg->data, arg->size, number) && *number >= INT32_MIN &&
        *number <= INT32_MAX)
        return 0;
    return diag_set(ERROR_INVALID, "invalid %s DB index", which);
}

int redis__swapdb(struct redis_call *call)
{
    struct redis_call calls[2] = {*call, *call};
    int64_t numbers[2];
    int rc = database_number(call, 1, "first", &numbers[0]);
    if (!rc)
        rc = database_number(call, 2, "second", &numbers[1]);
    for (unsigned n = 0; n < 2 && !rc; n++) {
        if (numbers[n] < 0 || numbers[n] >= REDIS_DATABASES)
            return diag_set(ERROR_INVALID, "DB index is out of range");
        calls[n].database = (unsigned)numbers[n];
        calls[n].no_touch = true;
    }
    if (!rc && numbers[0] != numbers[1]) {
        rc = databases_swap(calls);
        if (!rc)
            rc = redis_swapped(call, calls[0].database, calls[1].database);
    }
    if (!rc)
        call->sink->vtab->status(call->sink, "OK");
    return rc;
}
