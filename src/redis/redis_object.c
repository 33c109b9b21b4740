/* SPDX-License-Identifier: Apache-2.0 */

/* What is asked about a key as such: OBJECT, TOUCH, RANDOMKEY. */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_access.h"
#include "redis/redis_commands.h"
#include "redis/redis_list.h"
#include "redis/redis_packed.h"

/* As Redis would have it: a number, a short string, any other. */
static const char *string_encoding(const struct redis_value *value)
{
    enum { EMBSTR_MAX = 44 };
    int64_t integer;
    if (redis_integer_parse(value->data, value->size, &integer))
        return "int";
    return value->size <= EMBSTR_MAX ? "embstr" : "raw";
}

const char *redis__object_encoding(struct redis_call *call, const struct redis_value *value)
{
    switch (value->type) {
    case REDIS_TYPE_STRING:
        return string_encoding(value);
    case REDIS_TYPE_LIST:
        return redis__list_encoding(call, value);
    case REDIS_TYPE_SET:
        return redis__set_encoding(value);
    case REDIS_TYPE_ZSET:
        return value->spread ? "skiplist" : "listpack";
    case REDIS_TYPE_HASH:
        return value->spread ? "hashtable" : "listpack";
    default:
        return "stream";
    }
}

static void help(struct redis_call *call)
{
    static const char *const LINES[] = {
        "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
        "HELP",
        "    Prints this help.",
    };
    enum { COUNT = sizeof LINES / sizeof *LINES };
    call->sink->vtab->array(call->sink, COUNT);
    for (unsigned n = 0; n < COUNT; n++)
        call->sink->vtab->status(call->sink, LINES[n]);
}

/* OBJECT FREQ and IDLETIME: what the policy has noted; the other of the two is an error. */
static int access_reply(struct redis_call *call, const struct redis_value *value, bool count)
{
    if (redis_policy_is_lfu(load_relaxed(&call->config->maxmemory_policy)) != count)
        return diag_set(
            ERROR_INVALID,
            "An LFU maxmemory policy is %s. Please note that when switching between policies at "
            "runtime LRU and LFU data will take some time to adjust.",
            count ? "not selected, access frequency not tracked"
                  : "selected, idle time not tracked");
    call->sink->vtab->integer(
        call->sink, count
                        ? redis_access_count(call->config, value->access, call->now_ms)
                        : (int64_t)redis_access_idle_s(call->config, value->access, call->now_ms));
    return 0;
}

int redis__object(struct redis_call *call)
{
    call->no_touch = true;
    struct redis_key key;
    struct redis_value value;
    if (redis_word(call, 1, "help")) {
        help(call);
        return 0;
    }
    bool wants_encoding = redis_word(call, 1, "encoding");
    bool wants_count = redis_word(call, 1, "freq"), wants_idle = redis_word(call, 1, "idletime");
    int rc = redis_value_get(call, 2, &key, &value);
    if (rc)
        return rc;
    if (value.type == REDIS_TYPE_NONE)
        call->sink->vtab->null(call->sink);
    else if (wants_count || wants_idle)
        return access_reply(call, &value, wants_count);
    else if (wants_encoding) {
        const char *name = redis__object_encoding(call, &value);
        if (!name)
            return diag_code();
        call->sink->vtab->bulk(call->sink, name, strlen(name));
    } else
        call->sink->vtab->integer(call->sink, 1); /* REFCOUNT: values are not shared */
    return 0;
}

int redis__touch(struct redis_call *call)
{
    int64_t count = 0;
    int rc = 0;
    call->no_touch = false; /* that is what it is for, whatever CLIENT NO-TOUCH says */
    for (unsigned n = 1; n < call->argc && !rc; n++) {
        struct redis_key key;
        struct redis_value value;
        rc = redis_value_get(call, n, &key, &value);
        count += !rc && value.type != REDIS_TYPE_NONE;
    }
    if (!rc)
        call->sink->vtab->integer(call->sink, count);
    return rc;
}

/* The name of a key that is present, in the arena, from a row picked at random; NULL: not this one. */
static int row_look(struct redis_call *call, const struct row *row, struct redis_slice *name)
{
    struct redis_key key;
    struct redis_value value;
    call->no_touch = true;
    int rc = redis_row_name(call, row, name);
    if (!rc)
        rc = redis_open(call, name, REDIS_TYPE_NONE, &key, &value);
    if (!rc && value.type == REDIS_TYPE_NONE)
        *name = (struct redis_slice){NULL, 0};
    return rc;
}

/* Picks rows of the tree; when those are of keys that have gone, takes the first key that is there. */
int redis__randomkey(struct redis_call *call)
{
    enum { TRIES = 100 };
    struct head *head = db_redis_head(db_worker_db(call->worker), call->database);
    struct redis_slice name = {NULL, 0};
    int rc = 0;
    for (unsigned n = 0; n < TRIES && !rc && !name.data; n++) {
        const struct row *row = (const struct row *)tree_random(head->tree, redis_random(call));
        if (row)
            rc = row_look(call, row, &name);
    }
    struct txn_index index = {.tree = head->tree, .head = head};
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    txn_cursor_open(&cursor, call->txn, &index, &(struct txn_range){.lower = NULL});
    while (!rc && !name.data && !(rc = txn_cursor_next(&cursor, &row, &version)))
        rc = row_look(call, row, &name);
    if (rc && rc != ERROR_END)
        return rc;
    if (name.data)
        call->sink->vtab->bulk(call->sink, name.data, name.size);
    else
        call->sink->vtab->null(call->sink);
    return 0;
}
