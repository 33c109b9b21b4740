/* SPDX-License-Identifier: Apache-2.0 */

/*
 * MEMORY USAGE: what a key and its value take. A row is its bytes and what the engine adds to them;
 * of a spread value some elements are looked at, and the others taken to be like them.
 */
#include "redis/redis_memory.h"

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_list.h"
#include "redis/redis_spread.h"

/* A row's header, its version's, and its places in index and directory; an entry with its place,
 * but for what it has of the row's key. */
enum { ROW_BYTES = 88, ENTRY_BYTES = 56, SAMPLES_DEFAULT = 5 };

/* `kind`: those of sorted sets have an entry beside the row. */
static int elements_bytes(struct redis_call *call, uint64_t id, int kind, int64_t samples,
                          uint64_t *bytes)
{
    uint64_t entry = kind == REDIS_NUMBERED ? ENTRY_BYTES : 0;
    struct redis_elements elements;
    struct redis_element element;
    int64_t count = 0, looked = 0;
    uint64_t sum = 0;
    int rc = redis_count_peek(call, id, 0, &count);
    if (!rc)
        rc = redis_elements_open(&elements, call, id, kind, NULL);
    while (!rc && (samples == 0 || looked < samples) &&
           (rc = redis_elements_next(&elements, &element)) == 0) {
        sum += ROW_BYTES + 9 + element.key_size + element.value.size;
        sum += entry ? entry + element.key_size : 0;
        looked++;
    }
    if (rc && rc != ERROR_END)
        return rc;
    if (count < looked)
        count = looked;
    *bytes += looked ? sum / (uint64_t)looked * (uint64_t)count : 0;
    return 0;
}

/* Of a list, whose rows have many elements each. */
static int list_bytes(struct redis_call *call, const struct redis_value *value, int64_t samples,
                      uint64_t *bytes)
{
    struct redis_list list = {.call = call, .value = *value};
    struct redis_list_walk walk;
    struct redis_list_chunk chunk;
    struct redis_list_items items;
    int64_t length, looked = 0;
    uint64_t sum = 0;
    int rc = redis__list_length(&list, &length);
    if (!rc)
        rc = redis__list_walk(&walk, &list, false, NULL);
    for (int64_t n = 0; !rc && (samples == 0 || n < samples); n++) {
        rc = redis__list_walk_next(&walk, &chunk);
        if (!rc)
            rc = redis__list_items(&chunk, &items);
        if (!rc) {
            sum += ROW_BYTES + 24 + items.bytes;
            looked += items.count;
        }
    }
    *bytes += looked ? (uint64_t)((double)sum / (double)looked * (double)length) : 0;
    return rc == ERROR_END ? 0 : rc;
}

static int usage(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value value;
    int64_t samples = SAMPLES_DEFAULT;
    for (unsigned n = 3; n < call->argc; n += 2) {
        if (!redis_word(call, n, "samples") || n + 1 >= call->argc)
            return redis_syntax_error();
        if (!redis_integer_parse(call->argv[n + 1].data, call->argv[n + 1].size, &samples))
            return diag_set(ERROR_INVALID, "value is not an integer or out of range");
        if (samples < 0)
            return redis_syntax_error();
    }
    call->no_touch = true;
    int rc = redis_value_get(call, 2, &key, &value);
    if (rc)
        return rc;
    if (value.type == REDIS_TYPE_NONE) {
        call->sink->vtab->null(call->sink);
        return 0;
    }
    uint64_t bytes = ROW_BYTES + key.size + value.size;
    if (value.spread)
        rc = value.type == REDIS_TYPE_LIST
                 ? list_bytes(call, &value, samples, &bytes)
                 : elements_bytes(call, value.id,
                                  value.type == REDIS_TYPE_ZSET ? REDIS_NUMBERED : REDIS_ELEMENT,
                                  samples, &bytes);
    if (!rc)
        call->sink->vtab->integer(call->sink, (int64_t)bytes);
    return rc;
}

const struct redis_command redis_memory_usage = {.name = "memory|usage",
                                                 .arity = -3,
                                                 .flags = REDIS_READONLY,
                                                 .first_key = 2,
                                                 .last_key = 2,
                                                 .key_step = 1,
                                                 .summary = "Estimates the memory usage of a key.",
                                                 .since = "4.0.0",
                                                 .group = "server",
                                                 .run = usage};
