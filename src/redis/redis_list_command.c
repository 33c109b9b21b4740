/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands on one list, that find what they do at once. Those that move between lists or wait are in
 * redis_list_move.c.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_list.h"

static int reply_integer(struct redis_call *call, int64_t value)
{
    call->sink->vtab->integer(call->sink, value);
    return 0;
}

static int reply_ok(struct redis_call *call)
{
    call->sink->vtab->status(call->sink, "OK");
    return 0;
}

static void reply_item(struct redis_call *call, const struct redis_slice *item)
{
    struct redis_item text;
    redis_item_read(item->data, &text);
    call->sink->vtab->bulk(call->sink, text.data, text.size);
}

/* After elements were taken away: the event, and the key's end. */
static int removed(struct redis_list *list, const char *event, bool ended)
{
    int rc = redis_changed(list->call, list->name, REDIS_TYPE_NONE, REDIS_NOTIFY_LIST, event);
    if (!rc && ended)
        rc = redis_changed(list->call, list->name, REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC, "del");
    return rc;
}

/* ---------------------------------------------------------------------------------------- push */

static int push(struct redis_call *call, bool right, bool present_only)
{
    struct redis_list list;
    int64_t length = 0;
    unsigned count = call->argc - 2;
    int rc = redis__list_open(call, &call->argv[1], true, &list);
    if (rc)
        return rc;
    bool made = list.value.type == REDIS_TYPE_NONE;
    if (made && present_only)
        return reply_integer(call, 0);
    struct redis_slice *items = arena_alloc(txn_arena(call->txn), count * sizeof *items);
    if (!items)
        return diag_set(ERROR_MEMORY, "out of memory");
    for (unsigned n = 0; n < count && !rc; n++)
        rc = redis__list_item(call, &call->argv[2 + n], &items[n]);
    if (!rc)
        rc = redis__list_push(&list, right, items, count, &length);
    if (!rc)
        rc = redis_changed(call, list.name, made ? REDIS_TYPE_LIST : REDIS_TYPE_NONE,
                           REDIS_NOTIFY_LIST, right ? "rpush" : "lpush");
    return rc ? rc : reply_integer(call, length);
}

int redis__lpush(struct redis_call *call)
{
    return push(call, false, false);
}

int redis__rpush(struct redis_call *call)
{
    return push(call, true, false);
}

int redis__lpushx(struct redis_call *call)
{
    return push(call, false, true);
}

int redis__rpushx(struct redis_call *call)
{
    return push(call, true, true);
}

/* ----------------------------------------------------------------------------------------- pop */

static int pop(struct redis_call *call, bool right)
{
    struct redis_list list;
    struct redis_list_part part;
    struct redis_sink *sink = call->sink;
    int64_t count = 1;
    bool several = call->argc == 3, ended;
    if (call->argc > 3)
        return diag_set(ERROR_INVALID, "wrong number of arguments for '%s' command",
                        right ? "rpop" : "lpop");
    if (several &&
        (!redis_integer_parse(call->argv[2].data, call->argv[2].size, &count) || count < 0))
        return diag_set(ERROR_INVALID, "value is out of range, must be positive");
    int rc = redis__list_open(call, &call->argv[1], true, &list);
    if (rc)
        return rc;
    if (list.value.type == REDIS_TYPE_NONE) {
        (several ? sink->vtab->null_array : sink->vtab->null)(sink);
        return 0;
    }
    rc = redis__list_part(&list, right, (uint64_t)count, &part);
    if (rc)
        return rc;
    if (several)
        sink->vtab->array(sink, part.found);
    rc = redis__list_part_reply(&list, &part);
    if (rc || part.found == 0)
        return rc;
    rc = redis__list_part_drop(&list, &part, &ended);
    return rc ? rc : removed(&list, right ? "rpop" : "lpop", ended);
}

int redis__lpop(struct redis_call *call)
{
    return pop(call, false);
}

int redis__rpop(struct redis_call *call)
{
    return pop(call, true);
}

/* ------------------------------------------------------------------------------------- reading */

int redis__llen(struct redis_call *call)
{
    struct redis_list list;
    int64_t length = 0;
    int rc = redis__list_open(call, &call->argv[1], false, &list);
    if (!rc)
        rc = redis__list_length(&list, &length);
    return rc ? rc : reply_integer(call, length);
}

int redis__lindex(struct redis_call *call)
{
    struct redis_list list;
    struct redis_list_chunk chunk;
    struct redis_list_items items;
    int64_t index, length;
    uint32_t place;
    int rc = redis__list_open(call, &call->argv[1], false, &list);
    if (!rc && list.value.type == REDIS_TYPE_NONE) {
        call->sink->vtab->null(call->sink);
        return 0;
    }
    if (!rc)
        rc = redis_integer_arg(call, 2, &index);
    if (!rc)
        rc = redis__list_length(&list, &length);
    if (rc)
        return rc;
    index += index < 0 ? length : 0;
    if (index < 0 || index >= length) {
        call->sink->vtab->null(call->sink);
        return 0;
    }
    rc = redis__list_seek(&list, index, length, &chunk, &place);
    if (!rc)
        rc = redis__list_items(&chunk, &items);
    if (!rc)
        reply_item(call, &items.at[place]);
    return rc;
}

/* The elements that a range of indexes means, from *from up to but not *until. */
static void range_clamp(int64_t *from, int64_t *until, int64_t length)
{
    *from += *from < 0 ? length : 0;
    *until += *until < 0 ? length : 0;
    *from = *from < 0 ? 0 : *from;
    *until = *until >= length ? length : *until + 1;
    if (*from >= length || *from >= *until)
        *from = *until = 0;
}

static int range_args(struct redis_call *call, int64_t *from, int64_t *until)
{
    int rc = redis_integer_arg(call, 2, from);
    return rc ? rc : redis_integer_arg(call, 3, until);
}

/* `count` elements from number `from` on. */
static int range_reply(struct redis_list *list, int64_t from, int64_t count, int64_t length)
{
    struct redis_list_chunk chunk;
    struct redis_list_items items;
    struct redis_list_walk walk;
    uint32_t place;
    int rc = redis__list_seek(list, from, length, &chunk, &place);
    if (!rc)
        rc = redis__list_walk(&walk, list, false, &chunk);
    while (!rc && count > 0 && !(rc = redis__list_walk_next(&walk, &chunk)) &&
           !(rc = redis__list_items(&chunk, &items))) {
        for (; place < items.count && count > 0; place++, count--)
            reply_item(list->call, &items.at[place]);
        place = 0;
    }
    return rc;
}

int redis__lrange(struct redis_call *call)
{
    struct redis_list list;
    int64_t from, until, length = 0;
    int rc = range_args(call, &from, &until);
    if (!rc)
        rc = redis__list_open(call, &call->argv[1], false, &list);
    if (!rc)
        rc = redis__list_length(&list, &length);
    if (rc)
        return rc;
    range_clamp(&from, &until, length);
    call->sink->vtab->array(call->sink, (size_t)(until - from));
    return from == until ? 0 : range_reply(&list, from, until - from, length);
}

/* ---------------------------------------------------------------------------------------- LPOS */

struct lpos {
    struct redis_slice wanted; /* packed */
    int64_t rank, count, length_max;
    bool several;
    int64_t *found;
    size_t found_count, capacity;
};

static int lpos_options(struct redis_call *call, struct lpos *lpos)
{
    *lpos = (struct lpos){.rank = 1, .count = 1};
    for (unsigned n = 3; n < call->argc; n += 2) {
        const struct redis_slice *arg = &call->argv[n + 1];
        if (n + 1 == call->argc)
            return redis_syntax_error();
        if (redis_word(call, n, "rank")) {
            int rc = redis_integer_arg(call, n + 1, &lpos->rank);
            if (rc)
                return rc;
            if (lpos->rank == INT64_MIN)
                return diag_set(ERROR_INVALID,
                                "value is out of range, value must between %lld and %lld",
                                (long long)-INT64_MAX, (long long)INT64_MAX);
            if (lpos->rank == 0)
                return diag_set(ERROR_INVALID,
                                "RANK can't be zero: use 1 to start from the first match, 2 from "
                                "the second ... or use negative to start from the end of the list");
        } else if (redis_word(call, n, "count")) {
            lpos->several = true;
            if (!redis_integer_parse(arg->data, arg->size, &lpos->count) || lpos->count < 0)
                return diag_set(ERROR_INVALID, "COUNT can't be negative");
        } else if (redis_word(call, n, "maxlen")) {
            if (!redis_integer_parse(arg->data, arg->size, &lpos->length_max) ||
                lpos->length_max < 0)
                return diag_set(ERROR_INVALID, "MAXLEN can't be negative");
        } else {
            return redis_syntax_error();
        }
    }
    return 0;
}

static bool equal(const struct redis_slice *one, const struct redis_slice *two)
{
    return one->size == two->size && memcmp(one->data, two->data, one->size) == 0;
}

static int lpos_add(struct redis_call *call, struct lpos *lpos, int64_t index)
{
    if (lpos->found_count == lpos->capacity) {
        size_t capacity = lpos->capacity ? 2 * lpos->capacity : 16;
        int64_t *larger = arena_alloc(txn_arena(call->txn), capacity * sizeof *larger);
        if (!larger)
            return diag_set(ERROR_MEMORY, "out of memory");
        if (lpos->found_count)
            memcpy(larger, lpos->found, lpos->found_count * sizeof *larger);
        lpos->found = larger;
        lpos->capacity = capacity;
    }
    lpos->found[lpos->found_count++] = index;
    return 0;
}

/* Looks for matches from an end. */
static int lpos_walk(struct redis_list *list, struct lpos *lpos)
{
    struct redis_list_walk walk;
    struct redis_list_chunk chunk;
    struct redis_list_items items;
    bool backward = lpos->rank < 0;
    int64_t skip = (backward ? -lpos->rank : lpos->rank) - 1, passed = 0, length;
    int rc = redis__list_length(list, &length);
    if (!rc)
        rc = redis__list_walk(&walk, list, backward, NULL);
    while (!rc && !(rc = redis__list_walk_next(&walk, &chunk)) &&
           !(rc = redis__list_items(&chunk, &items)))
        for (uint32_t n = 0; n < items.count && !rc; n++, passed++) {
            if ((lpos->length_max && passed >= lpos->length_max) ||
                (lpos->count && lpos->found_count >= (uint64_t)lpos->count))
                return 0;
            if (!equal(&items.at[backward ? items.count - 1 - n : n], &lpos->wanted))
                continue;
            if (skip > 0)
                skip--;
            else
                rc = lpos_add(list->call, lpos, backward ? length - 1 - passed : passed);
        }
    return rc == ERROR_END ? 0 : rc;
}

int redis__lpos(struct redis_call *call)
{
    struct redis_list list;
    struct lpos lpos;
    struct redis_sink *sink = call->sink;
    int rc = lpos_options(call, &lpos);
    if (!rc)
        rc = redis__list_open(call, &call->argv[1], false, &list);
    if (!rc)
        rc = redis__list_item(call, &call->argv[2], &lpos.wanted);
    if (!rc)
        rc = lpos_walk(&list, &lpos);
    if (rc)
        return rc;
    if (lpos.several)
        sink->vtab->array(sink, lpos.found_count);
    else if (lpos.found_count == 0)
        sink->vtab->null(sink);
    for (size_t n = 0; n < lpos.found_count; n++)
        sink->vtab->integer(sink, lpos.found[n]);
    return 0;
}

/* ------------------------------------------------------------------------------------- changing */

int redis__lset(struct redis_call *call)
{
    struct redis_list list;
    struct redis_list_chunk chunk;
    struct redis_list_items items;
    struct redis_slice item;
    int64_t index, length;
    uint32_t place;
    bool ended;
    int rc = redis__list_open(call, &call->argv[1], true, &list);
    if (!rc && list.value.type == REDIS_TYPE_NONE)
        return diag_set(ERROR_INVALID, "no such key");
    if (!rc)
        rc = redis_integer_arg(call, 2, &index);
    if (!rc)
        rc = redis__list_length(&list, &length);
    if (rc)
        return rc;
    index += index < 0 ? length : 0;
    if (index < 0 || index >= length)
        return diag_set(ERROR_INVALID, "index out of range");
    rc = redis__list_item(call, &call->argv[3], &item);
    if (!rc)
        rc = redis__list_seek(&list, index, length, &chunk, &place);
    if (!rc)
        rc = redis__list_items(&chunk, &items);
    if (rc)
        return rc;
    items.bytes += item.size - items.at[place].size;
    items.at[place] = item;
    rc = redis__list_replace(&list, &chunk, &items, &ended);
    if (!rc)
        rc = redis_changed(call, list.name, REDIS_TYPE_NONE, REDIS_NOTIFY_LIST, "lset");
    return rc ? rc : reply_ok(call);
}

/* Finds the first element that is equal to the pivot; ERROR_END. */
static int pivot_find(struct redis_list *list, const struct redis_slice *pivot,
                      struct redis_list_chunk *chunk, struct redis_list_items *items,
                      uint32_t *place)
{
    struct redis_list_walk walk;
    int rc = redis__list_walk(&walk, list, false, NULL);
    while (!rc && !(rc = redis__list_walk_next(&walk, chunk)) &&
           !(rc = redis__list_items(chunk, items)))
        for (*place = 0; *place < items->count; ++*place)
            if (equal(&items->at[*place], pivot))
                return 0;
    return rc;
}

int redis__linsert(struct redis_call *call)
{
    struct redis_list list;
    struct redis_list_chunk chunk;
    struct redis_list_items items;
    struct redis_slice pivot, item;
    int64_t length = 0;
    uint32_t place;
    bool after = redis_word(call, 2, "after"), ended;
    if (!after && !redis_word(call, 2, "before"))
        return redis_syntax_error();
    int rc = redis__list_open(call, &call->argv[1], true, &list);
    if (!rc && list.value.type == REDIS_TYPE_NONE)
        return reply_integer(call, 0);
    if (!rc)
        rc = redis__list_item(call, &call->argv[3], &pivot);
    if (!rc)
        rc = redis__list_item(call, &call->argv[4], &item);
    if (!rc)
        rc = redis__list_length(&list, &length);
    if (!rc)
        rc = pivot_find(&list, &pivot, &chunk, &items, &place);
    if (rc)
        return rc == ERROR_END ? reply_integer(call, -1) : rc;
    place += after;
    memmove(items.at + place + 1, items.at + place, (items.count - place) * sizeof *items.at);
    items.at[place] = item;
    items.count++;
    items.bytes += item.size;
    rc = redis__list_replace(&list, &chunk, &items, &ended);
    if (!rc)
        rc = redis_changed(call, list.name, REDIS_TYPE_NONE, REDIS_NOTIFY_LIST, "linsert");
    return rc ? rc : reply_integer(call, length + 1);
}

/* Takes away up to *left elements equal to `wanted`; how many it took. */
static uint32_t items_remove(struct redis_list_items *items, const struct redis_slice *wanted,
                             bool backward, uint64_t *left)
{
    bool gone[LIST_CHUNK_ITEMS_MAX];
    uint32_t kept = 0, count = items->count;
    for (uint32_t n = 0; n < count; n++) {
        uint32_t at = backward ? count - 1 - n : n;
        gone[at] = *left > 0 && equal(&items->at[at], wanted);
        *left -= gone[at];
    }
    items->bytes = 0;
    for (uint32_t n = 0; n < count; n++)
        if (!gone[n]) {
            items->bytes += items->at[n].size;
            items->at[kept++] = items->at[n];
        }
    items->count = kept;
    return count - kept;
}

int redis__lrem(struct redis_call *call)
{
    struct redis_list list;
    struct redis_list_walk walk;
    struct redis_list_chunk chunk;
    struct redis_list_items items;
    struct redis_slice wanted;
    int64_t count, total = 0;
    bool ended = false;
    int rc = redis_integer_arg(call, 2, &count);
    if (!rc)
        rc = redis__list_open(call, &call->argv[1], true, &list);
    if (!rc)
        rc = redis__list_item(call, &call->argv[3], &wanted);
    uint64_t left = count == 0 ? UINT64_MAX : count < 0 ? 0 - (uint64_t)count : (uint64_t)count;
    if (!rc)
        rc = redis__list_walk(&walk, &list, count < 0, NULL);
    while (!rc && left > 0 && !ended && !(rc = redis__list_walk_next(&walk, &chunk)) &&
           !(rc = redis__list_items(&chunk, &items))) {
        uint32_t gone = items_remove(&items, &wanted, count < 0, &left);
        if (gone)
            rc = redis__list_replace(&list, &chunk, &items, &ended);
        total += gone;
    }
    if (rc == ERROR_END)
        rc = 0;
    if (!rc && total)
        rc = removed(&list, "lrem", ended);
    return rc ? rc : reply_integer(call, total);
}

/* Drops `count` elements at an end. */
static int drop(struct redis_list *list, bool right, int64_t count, bool *ended)
{
    struct redis_list_part part;
    if (count <= 0 || *ended)
        return 0;
    int rc = redis__list_part(list, right, (uint64_t)count, &part);
    if (!rc)
        rc = redis__list_part_drop(list, &part, ended);
    return rc;
}

static int trim_packed(struct redis_list *list, int64_t from, int64_t until, bool *ended)
{
    struct redis_list_walk walk;
    struct redis_list_chunk chunk;
    struct redis_list_items items;
    int rc = redis__list_walk(&walk, list, false, NULL);
    if (!rc)
        rc = redis__list_walk_next(&walk, &chunk);
    if (!rc)
        rc = redis__list_items(&chunk, &items);
    if (rc)
        return rc;
    items.count = (uint32_t)(until - from);
    items.bytes = 0;
    memmove(items.at, items.at + from, items.count * sizeof *items.at);
    for (uint32_t n = 0; n < items.count; n++)
        items.bytes += items.at[n].size;
    return redis__list_replace(list, &chunk, &items, ended);
}

int redis__ltrim(struct redis_call *call)
{
    struct redis_list list;
    int64_t from, until, length = 0;
    bool ended = false;
    int rc = range_args(call, &from, &until);
    if (!rc)
        rc = redis__list_open(call, &call->argv[1], true, &list);
    if (!rc && list.value.type == REDIS_TYPE_NONE)
        return reply_ok(call);
    if (!rc)
        rc = redis__list_length(&list, &length);
    if (rc)
        return rc;
    range_clamp(&from, &until, length);
    if (from == until) {
        rc = redis_value_delete(call, &list.key, &list.value);
        ended = true;
    } else if (list.value.spread) {
        rc = drop(&list, false, from, &ended);
        if (!rc)
            rc = drop(&list, true, length - until, &ended);
    } else if (until - from < length) {
        rc = trim_packed(&list, from, until, &ended);
    }
    if (!rc)
        rc = removed(&list, "ltrim", ended);
    return rc ? rc : reply_ok(call);
}
