/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands on all keys: KEYS, SCAN, DBSIZE, FLUSHALL. They walk the Redis space in key order and
 * pass over what has expired.
 *
 * A pattern that begins with bytes that stand for themselves bounds the walk to the keys that begin
 * with them. SCAN examines about COUNT keys a call and goes on behind the last one it examined:
 * what is there during the whole iteration is returned exactly once, which is more than Redis
 * promises.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/key.h"
#include "db/catalog.h"
#include "redis/redis_commands.h"
#include "redis/redis_glob.h"
#include "redis/redis_scan.h"
#include "redis/redis_value.h"

/* A walk over the keys that match a pattern (all, when its data is NULL). */
struct walk {
    struct redis_call *call;
    struct redis_slice pattern;
    struct txn_index index;
    struct txn_range range;
    struct txn_cursor cursor;
    struct row *row;         /* examined last */
    struct redis_slice name; /* decoded, in the arena's `scratch` */
    struct redis_value value;
    bool matches; /* the key is present and fits the pattern */
    char *scratch;
    size_t scratch_size;
};

/* Bounds the walk to the pattern's plain prefix: [prefix, successor of prefix). The encoding of a
 * string ends with 00 01, which a prefix has not. */
static int walk_bounds(struct walk *walk)
{
    size_t prefix = redis_glob_prefix(walk->pattern.data, walk->pattern.size);
    struct arena *arena = txn_arena(walk->call->txn);
    unsigned char *lower = arena_alloc(arena, key_string_size_max(prefix));
    unsigned char *upper = arena_alloc(arena, key_string_size_max(prefix));
    if (!lower || !upper)
        return diag_set(ERROR_MEMORY, "out of memory");
    size_t size = (size_t)(key_encode_string(lower, walk->pattern.data, prefix) - lower) - 2;
    memcpy(upper, lower, size);
    walk->range.lower = lower;
    walk->range.lower_size = size;
    walk->range.lower_inclusive = true;
    walk->range.upper_size = key_successor(upper, size);
    walk->range.upper = walk->range.upper_size ? upper : NULL;
    return 0;
}

static int walk_open(struct walk *walk, struct redis_call *call, struct redis_slice pattern,
                     const void *after, size_t after_size)
{
    struct head *head = db_redis_head(db_worker_db(call->worker), call->database);
    *walk = (struct walk){
        .call = call, .pattern = pattern, .index = {.tree = head->tree, .head = head}};
    int rc = pattern.data ? walk_bounds(walk) : 0;
    if (rc)
        return rc;
    if (after) {
        walk->range.lower = after;
        walk->range.lower_size = after_size;
        walk->range.lower_inclusive = false;
    }
    txn_cursor_open(&walk->cursor, call->txn, &walk->index, &walk->range);
    return 0;
}

static int walk_name(struct walk *walk)
{
    const struct row *row = walk->row;
    if (walk->scratch_size < row->key_size) {
        walk->scratch_size = row->key_size + 256;
        walk->scratch = arena_alloc(txn_arena(walk->call->txn), walk->scratch_size);
        if (!walk->scratch)
            return diag_set(ERROR_MEMORY, "out of memory");
    }
    int64_t size = key_decode_string(row->key, row->key + row->key_size, walk->scratch);
    if (size < 0)
        return diag_set(ERROR_CORRUPT, "a key in the Redis space is damaged: it is not one string");
    walk->name = (struct redis_slice){walk->scratch, (size_t)size};
    return 0;
}

/* Examines the next key. 0, ERROR_END, or an error. */
static int walk_next(struct walk *walk)
{
    const struct version *version;
    redis_passed(walk->call);
    int rc = txn_cursor_next(&walk->cursor, &walk->row, &version);
    if (!rc)
        rc = redis_value_unpack(version, walk->call->now_ms, &walk->value);
    if (!rc)
        rc = walk_name(walk);
    if (rc)
        return rc;
    walk->matches = walk->value.type != REDIS_TYPE_NONE &&
                    (!walk->pattern.data || redis_glob_match(walk->pattern.data, walk->pattern.size,
                                                             walk->name.data, walk->name.size));
    return 0;
}

/* Names to be replied to, whose number is not known before the walk ends: chunks in the arena. */
struct names {
    struct names_chunk {
        struct names_chunk *next;
        size_t count;
        struct redis_slice names[256];
    } * first, *last;
    size_t count;
};

static int names_add(struct names *names, struct arena *arena, struct redis_slice name)
{
    if (!names->last || names->last->count == 256) {
        struct names_chunk *chunk = arena_alloc(arena, sizeof *chunk);
        if (!chunk)
            return diag_set(ERROR_MEMORY, "out of memory");
        chunk->next = NULL;
        chunk->count = 0;
        if (names->last)
            names->last->next = chunk;
        else
            names->first = chunk;
        names->last = chunk;
    }
    void *copy = arena_copy(arena, name.data, name.size);
    if (!copy)
        return diag_set(ERROR_MEMORY, "out of memory");
    names->last->names[names->last->count++] = (struct redis_slice){copy, name.size};
    names->count++;
    return 0;
}

static void names_reply(const struct names *names, struct redis_sink *sink)
{
    sink->vtab->array(sink, names->count);
    for (const struct names_chunk *chunk = names->first; chunk; chunk = chunk->next)
        for (size_t n = 0; n < chunk->count; n++)
            sink->vtab->bulk(sink, chunk->names[n].data, chunk->names[n].size);
}

int redis__keys(struct redis_call *call)
{
    struct walk walk;
    struct names names = {0};
    int rc = walk_open(&walk, call, call->argv[1], NULL, 0);
    while (!rc && !(rc = walk_next(&walk)))
        if (walk.matches)
            rc = names_add(&names, txn_arena(call->txn), walk.name);
    if (rc != ERROR_END)
        return rc;
    names_reply(&names, call->sink);
    return 0;
}

struct scan_options {
    struct redis_slice pattern;
    int64_t count;
    const struct redis_slice *type; /* NULL: any */
};

static int scan_options_parse(const struct redis_call *call, struct scan_options *options)
{
    *options = (struct scan_options){.count = 10};
    for (unsigned n = 2; n < call->argc; n += 2) {
        if (n + 1 >= call->argc)
            return redis_syntax_error();
        if (redis_word(call, n, "count")) {
            int rc = redis_integer_arg(call, n + 1, &options->count);
            if (rc)
                return rc;
            if (options->count < 1)
                return redis_syntax_error();
        } else if (redis_word(call, n, "match")) {
            options->pattern = call->argv[n + 1];
        } else if (redis_word(call, n, "type")) {
            options->type = &call->argv[n + 1];
        } else {
            return redis_syntax_error();
        }
    }
    if (options->pattern.size == 1 && options->pattern.data[0] == '*')
        options->pattern = (struct redis_slice){NULL, 0};
    return 0;
}

static bool type_wanted(const struct scan_options *options, const struct redis_value *value)
{
    const char *name = redis_type_name(value->type);
    return !options->type || (options->type->size == strlen(name) &&
                              strncasecmp(options->type->data, name, options->type->size) == 0);
}

static int scan_cursor_parse(const struct redis_call *call, int64_t *cursor)
{
    const struct redis_slice *arg = &call->argv[1];
    if (redis_integer_parse(arg->data, arg->size, cursor) && *cursor >= 0)
        return 0;
    return diag_set(ERROR_INVALID, "invalid cursor");
}

/* The key behind which to go on, NULL for cursor 0. */
static int scan_place(struct redis_call *call, int64_t cursor, const void **after,
                      size_t *after_size)
{
    *after = NULL;
    if (cursor == 0)
        return 0;
    void *key = arena_alloc(txn_arena(call->txn), TREE_KEY_SIZE_MAX);
    if (!key)
        return diag_set(ERROR_MEMORY, "out of memory");
    if (!call->scans || redis_scans_get(call->scans, (uint64_t)cursor, key, after_size))
        return diag_set(ERROR_INVALID, "invalid cursor");
    *after = key;
    return 0;
}

static void scan_reply(struct redis_call *call, uint64_t cursor, const struct names *names)
{
    char text[24];
    call->sink->vtab->array(call->sink, 2);
    call->sink->vtab->bulk(call->sink, text, redis_integer_format((int64_t)cursor, text));
    names_reply(names, call->sink);
}

int redis__scan(struct redis_call *call)
{
    struct scan_options options;
    struct walk walk;
    struct names names = {0};
    const void *after;
    size_t after_size = 0;
    int64_t from;
    uint64_t cursor = 0;
    int rc = scan_cursor_parse(call, &from);
    if (!rc)
        rc = scan_options_parse(call, &options);
    if (!rc)
        rc = scan_place(call, from, &after, &after_size);
    if (!rc)
        rc = walk_open(&walk, call, options.pattern, after, after_size);
    for (int64_t examined = 0; !rc && (examined < options.count || !call->scans); examined++) {
        rc = walk_next(&walk);
        if (!rc && walk.matches && type_wanted(&options, &walk.value))
            rc = names_add(&names, txn_arena(call->txn), walk.name);
    }
    if (!rc && redis_scans_put(call->scans, walk.row->key, walk.row->key_size, &cursor))
        rc = diag_set(ERROR_MEMORY, "out of memory");
    if (rc && rc != ERROR_END)
        return rc;
    scan_reply(call, cursor, &names);
    return 0;
}

int redis__dbsize(struct redis_call *call)
{
    struct walk walk;
    int64_t count = 0;
    int rc = walk_open(&walk, call, (struct redis_slice){NULL, 0}, NULL, 0);
    while (!rc && !(rc = walk_next(&walk)))
        count += walk.matches;
    if (rc != ERROR_END)
        return rc;
    call->sink->vtab->integer(call->sink, count);
    return 0;
}

static int flush_options_check(const struct redis_call *call)
{
    bool right = call->argc == 1 ||
                 (call->argc == 2 && (redis_word(call, 1, "async") || redis_word(call, 1, "sync")));
    return right ? 0 : redis_syntax_error();
}

static int database_flush(struct redis_call *call)
{
    struct walk walk;
    int rc = walk_open(&walk, call, (struct redis_slice){NULL, 0}, NULL, 0);
    while (!rc && !(rc = walk_next(&walk))) {
        const struct redis_key key = {walk.row->key, walk.row->key_size};
        rc = redis_key_delete(call, &key); /* expired ones as well */
    }
    return rc == ERROR_END ? 0 : rc;
}

int redis__flushdb(struct redis_call *call)
{
    int rc = flush_options_check(call);
    if (!rc)
        rc = database_flush(call);
    if (!rc)
        rc = redis_flushed(call);
    if (!rc)
        call->sink->vtab->status(call->sink, "OK");
    return rc;
}

int redis__flushall(struct redis_call *call)
{
    int rc = flush_options_check(call);
    unsigned database = call->database;
    for (call->database = 0; !rc && call->database < REDIS_DATABASES; call->database++)
        rc = database_flush(call);
    call->database = database;
    if (!rc)
        rc = redis_flushed(call);
    if (!rc)
        call->sink->vtab->status(call->sink, "OK");
    return rc;
}
