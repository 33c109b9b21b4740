/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Gathering what is replied, and what it is drawn or scanned from.
 *
 * Different ones: open addressing over the items, at most half full.
 */
#include "redis/redis_gather.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_glob.h"
#include "redis/redis_scan.h"

static int out_of_memory(void)
{
    return diag_set(ERROR_MEMORY, "out of memory");
}

void redis_gather_create(struct redis_gather *gather, struct redis_call *call)
{
    *gather = (struct redis_gather){.call = call};
}

static int grow(struct redis_gather *gather)
{
    size_t capacity = gather->capacity ? 2 * gather->capacity : 32;
    struct redis_slice *items =
        capacity > UINT32_MAX / 2 /* of slots */
            ? NULL
            : arena_alloc(txn_arena(gather->call->txn), capacity * sizeof *items);
    if (!items)
        return out_of_memory();
    if (gather->count)
        memcpy(items, gather->items, gather->count * sizeof *items);
    gather->items = items;
    gather->capacity = capacity;
    return 0;
}

int redis_gather_add(struct redis_gather *gather, struct redis_slice item)
{
    int rc = gather->count == gather->capacity ? grow(gather) : 0;
    if (!rc)
        gather->items[gather->count++] = item;
    return rc;
}

int redis_gather_item(struct redis_gather *gather, const struct redis_item *item, bool copy)
{
    struct redis_slice slice = {item->data, item->size};
    if (copy || item->data == item->digits)
        slice.data = arena_copy(txn_arena(gather->call->txn), item->data, item->size);
    return slice.data ? redis_gather_add(gather, slice) : out_of_memory();
}

/* The slot of an equal item, or the free one where it would be. */
static uint32_t *slot_of(const struct redis_gather *gather, struct redis_slice item)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t n = 0; n < item.size; n++)
        hash = (hash ^ (unsigned char)item.data[n]) * 1099511628211u;
    size_t mask = 2 * gather->capacity - 1, at = (hash ^ hash >> 32) & mask;
    for (;; at = (at + 1) & mask) {
        uint32_t *slot = &gather->slots[at];
        const struct redis_slice *other = *slot ? &gather->items[*slot - 1] : NULL;
        if (!other || (other->size == item.size &&
                       (item.size == 0 || memcmp(other->data, item.data, item.size) == 0)))
            return slot;
    }
}

static int grow_different(struct redis_gather *gather)
{
    int rc = grow(gather);
    if (rc)
        return rc;
    size_t size = 2 * gather->capacity * sizeof *gather->slots;
    gather->slots = arena_alloc(txn_arena(gather->call->txn), size);
    if (!gather->slots)
        return out_of_memory();
    memset(gather->slots, 0, size);
    for (size_t n = 0; n < gather->count; n++) {
        redis_passed(gather->call);
        *slot_of(gather, gather->items[n]) = (uint32_t)n + 1;
    }
    return 0;
}

int redis_gather_find(struct redis_gather *gather, struct redis_slice item, size_t *at, bool *added)
{
    *added = false;
    int rc = gather->count == gather->capacity ? grow_different(gather) : 0;
    if (rc)
        return rc;
    uint32_t *slot = slot_of(gather, item);
    if (!*slot) {
        gather->items[gather->count++] = item;
        *slot = (uint32_t)gather->count;
        *added = true;
    }
    *at = *slot - 1;
    return 0;
}

int redis_gather_different_item(struct redis_gather *gather, const struct redis_item *item)
{
    bool added;
    int rc = redis_gather_different(gather, (struct redis_slice){item->data, item->size}, &added);
    if (rc || !added || item->data != item->digits)
        return rc;
    struct redis_slice *last = &gather->items[gather->count - 1];
    last->data = arena_copy(txn_arena(gather->call->txn), item->data, item->size);
    return last->data ? 0 : out_of_memory();
}

int redis_gather_different(struct redis_gather *gather, struct redis_slice item, bool *added)
{
    size_t at;
    return redis_gather_find(gather, item, &at, added);
}

void redis_gather_reply(const struct redis_gather *gather)
{
    struct redis_sink *sink = gather->call->sink;
    for (size_t n = 0; n < gather->count; n++) {
        redis_passed(gather->call);
        sink->vtab->bulk(sink, gather->items[n].data, gather->items[n].size);
    }
}

/* -------------------------------------------------------------------------------------- samples */

typedef bool (*wanted_fn)(const struct redis_call *call, const struct redis_element *element);

/* Each element is kept as likely as it takes to fill the rest from the rest (Knuth's algorithm S);
 * when the length was not exact, the last ones in any case. */
static int sample_walk(struct redis_call *call, uint64_t id, int kind, uint64_t length,
                       uint64_t count, wanted_fn wanted, struct redis_element *out, uint64_t *found)
{
    struct redis_elements elements;
    struct redis_element element;
    int rc = redis_elements_open(&elements, call, id, kind, NULL);
    *found = 0;
    while (!rc && *found < count && !(rc = redis_elements_next(&elements, &element))) {
        if (wanted && !wanted(call, &element))
            continue;
        if (length <= count - *found || redis_random(call) % length < count - *found)
            out[(*found)++] = element;
        length -= length > 0;
    }
    return rc == ERROR_END ? 0 : rc;
}

int redis_spread_sample(struct redis_call *call, uint64_t id, int kind, uint64_t length,
                        uint64_t count, wanted_fn wanted, struct redis_element *out,
                        uint64_t *found)
{
    struct redis_gather drawn;
    struct redis_element element;
    redis_gather_create(&drawn, call);
    *found = 0;
    for (uint64_t tries = 0; *found < count; tries++) {
        bool added;
        if (count > length / 4 || tries > 4 * count + 16)
            return sample_walk(call, id, kind, length, count, wanted, out, found);
        int rc = redis_element_random(call, id, kind, redis_random(call), &element, NULL);
        if (!rc && wanted && !wanted(call, &element))
            continue;
        if (!rc)
            rc = redis_gather_different(&drawn, (struct redis_slice){element.key, element.key_size},
                                        &added);
        if (rc)
            return rc == ERROR_END ? 0 : rc;
        if (added)
            out[(*found)++] = element;
    }
    return 0;
}

int redis_draw_count(const struct redis_call *call, unsigned n, int64_t *count)
{
    int rc = redis_integer_arg(call, n, count);
    if (!rc && *count == INT64_MIN)
        return diag_set(ERROR_INVALID, "value is out of range, value must between %lld and %lld",
                        -(long long)INT64_MAX, (long long)INT64_MAX);
    if (!rc && *count < -REDIS_REPEATED_MAX)
        return diag_set(ERROR_INVALID, "value is out of range");
    return rc;
}

/* ---------------------------------------------------------------------------------- HSCAN and kin */

int redis_scan_cursor(const struct redis_call *call, uint64_t *cursor)
{
    const struct redis_slice *arg = &call->argv[2];
    char text[32], *end;
    size_t size = arg->size < sizeof text ? arg->size : sizeof text - 1;
    if (size)
        memcpy(text, arg->data, size);
    text[size] = 0;
    errno = 0;
    *cursor = strtoul(text, &end, 10); /* as Redis does: "" and "-1" are cursors */
    if (arg->size > size || end != text + size || errno == ERANGE || isspace((unsigned char)*text))
        return diag_set(ERROR_INVALID, "invalid cursor");
    return 0;
}

int redis_scan_options(const struct redis_call *call, bool values,
                       struct redis_scan_options *options)
{
    *options = (struct redis_scan_options){.count = 10};
    for (unsigned n = 3; n < call->argc; n++) {
        bool more = n + 1 < call->argc;
        if (more && redis_word(call, n, "count")) {
            int rc = redis_integer_arg(call, ++n, &options->count);
            if (rc)
                return rc;
            if (options->count < 1)
                return redis_syntax_error();
        } else if (more && redis_word(call, n, "match")) {
            options->pattern = call->argv[++n];
        } else if (redis_word(call, n, "novalues")) {
            if (!values)
                return diag_set(ERROR_INVALID, "NOVALUES option can only be used in HSCAN");
            options->no_values = true;
        } else {
            return redis_syntax_error();
        }
    }
    if (options->pattern.size == 1 && options->pattern.data[0] == '*')
        options->pattern = (struct redis_slice){NULL, 0};
    return 0;
}

int redis_scan_after(struct redis_call *call, uint64_t cursor, struct redis_slice *after)
{
    *after = (struct redis_slice){NULL, 0};
    if (cursor == 0)
        return 0;
    char *key = arena_alloc(txn_arena(call->txn), TREE_KEY_SIZE_MAX);
    if (!key)
        return out_of_memory();
    if (!call->scans || redis_scans_get(call->scans, cursor, key, &after->size))
        return diag_set(ERROR_INVALID, "invalid cursor");
    if (after->size > REDIS_ELEMENT_KEY_MAX) /* one of SCAN's */
        after->size = REDIS_ELEMENT_KEY_MAX;
    after->data = key;
    return 0;
}

int redis_scan_keep(struct redis_call *call, struct redis_slice after, uint64_t *cursor)
{
    return redis_scans_put(call->scans, after.data, after.size, cursor) ? out_of_memory() : 0;
}

bool redis_scan_matches(const struct redis_scan_options *options, const struct redis_item *item)
{
    return !options->pattern.data ||
           redis_glob_match(options->pattern.data, options->pattern.size, item->data, item->size);
}

void redis_scan_reply(uint64_t cursor, const struct redis_gather *gather)
{
    char text[24];
    struct redis_sink *sink = gather->call->sink;
    sink->vtab->array(sink, 2);
    sink->vtab->bulk(sink, text, redis_integer_format((int64_t)cursor, text));
    sink->vtab->array(sink, gather->count);
    redis_gather_reply(gather);
}
