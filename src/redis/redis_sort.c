/* SPDX-License-Identifier: Apache-2.0 */

/*
 * SORT: the elements of a list, a set or a sorted set in the order of their own numbers or bytes, or
 * of what other keys say of them; and of each of them what other keys have.
 *
 * A pattern names such a key: its first `*` stands for the element. With `->field` at its end it is a
 * field of a hash. BY a pattern without `*` sorts nothing: of a list and a sorted set, which have an
 * order, only what LIMIT wants is read then. Of two that are equal as numbers the bytes decide; of two
 * that are equal by what they are sorted by, who was there first.
 *
 * All keys are read in one transaction, and the elements are copied into its arena: the result may be
 * stored where they come from.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_fields.h"
#include "redis/redis_gather.h"
#include "redis/redis_list.h"
#include "redis/redis_zset.h"

struct element {
    struct redis_slice text;
    struct redis_slice by; /* of ALPHA; data NULL: the key that it is sorted by is not there */
    double number;
};

struct sort {
    struct redis_call *call;
    const struct redis_slice *by, *store; /* NULL: none */
    const struct redis_slice **gets;      /* patterns of GET */
    unsigned get_count;
    int64_t offset, limit; /* limit -1: all */
    bool descending, alpha, unordered;
    struct redis_gather gathered;
    struct element *elements;
    size_t count;
};

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "out of memory");
}

/* --------------------------------------------------------------------------------------- arguments */

static int option_limit(struct sort *sort, unsigned n)
{
    int rc = redis_integer_arg(sort->call, n + 1, &sort->offset);
    if (!rc)
        rc = redis_integer_arg(sort->call, n + 2, &sort->limit);
    if (sort->offset < 0)
        sort->offset = 0;
    if (sort->limit < 0)
        sort->limit = -1;
    return rc;
}

static int options_read(struct sort *sort, bool storing)
{
    struct redis_call *call = sort->call;
    sort->gets = arena_alloc(txn_arena(call->txn), call->argc * sizeof *sort->gets);
    if (!sort->gets)
        return no_memory();
    for (unsigned n = 2; n < call->argc; n++) {
        unsigned left = call->argc - n - 1;
        int rc = 0;
        if (redis_word(call, n, "asc"))
            sort->descending = false;
        else if (redis_word(call, n, "desc"))
            sort->descending = true;
        else if (redis_word(call, n, "alpha"))
            sort->alpha = true;
        else if (redis_word(call, n, "limit") && left >= 2) {
            rc = option_limit(sort, n);
            n += 2;
        } else if (storing && redis_word(call, n, "store") && left >= 1)
            sort->store = &call->argv[++n];
        else if (redis_word(call, n, "by") && left >= 1)
            sort->by = &call->argv[++n];
        else if (redis_word(call, n, "get") && left >= 1)
            sort->gets[sort->get_count++] = &call->argv[++n];
        else
            rc = redis_syntax_error();
        if (rc)
            return rc;
        /* a later pattern does not undo it */
        sort->unordered |=
            sort->by && (sort->by->size == 0 || !memchr(sort->by->data, '*', sort->by->size));
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------- elements */

/* How many elements have to be read, in order, before the rest does not matter. */
static uint64_t wanted(const struct sort *sort, bool ordered)
{
    if (!sort->unordered || !ordered || sort->limit < 0)
        return UINT64_MAX;
    return (uint64_t)sort->offset + (uint64_t)sort->limit;
}

static bool backward(const struct sort *sort)
{
    return sort->unordered && sort->descending;
}

static void reverse(struct redis_slice *items, size_t count)
{
    for (size_t low = 0, high = count; low + 1 < high; low++) {
        struct redis_slice swapped = items[--high];
        items[high] = items[low];
        items[low] = swapped;
    }
}

static int list_gather(struct sort *sort, const struct redis_key *key,
                       const struct redis_value *value)
{
    struct redis_list list = {
        .call = sort->call, .name = &sort->call->argv[1], .key = *key, .value = *value};
    struct redis_list_walk walk;
    struct redis_list_chunk chunk;
    uint64_t most = wanted(sort, true);
    int rc = redis__list_walk(&walk, &list, backward(sort), NULL);
    while (!rc && sort->gathered.count < most && !(rc = redis__list_walk_next(&walk, &chunk))) {
        const char *at = chunk.at;
        size_t first = sort->gathered.count;
        for (uint32_t n = 0; n < chunk.count && !rc; n++) {
            struct redis_item item;
            redis_item_read(at, &item);
            rc = redis_gather_item(&sort->gathered, &item, true);
            at = item.raw + item.raw_size;
        }
        if (backward(sort) && !rc)
            reverse(sort->gathered.items + first, sort->gathered.count - first);
    }
    return rc == ERROR_END ? 0 : rc;
}

static int set_gather(struct sort *sort, const struct redis_key *key,
                      const struct redis_value *value)
{
    struct redis_fields set = {.call = sort->call,
                               .name = &sort->call->argv[1],
                               .key = *key,
                               .value = *value,
                               .type = REDIS_TYPE_SET,
                               .width = 1};
    struct redis_fields_walk walk;
    /* what is stored must not depend on the order of rows */
    if (sort->unordered && sort->store) {
        sort->unordered = false;
        sort->alpha = true;
        sort->by = NULL;
    }
    int rc = redis_fields_walk_open(&walk, &set, NULL);
    while (!rc && !(rc = redis_fields_walk_next(&walk)))
        rc = redis_gather_item(&sort->gathered, &walk.field, true);
    return rc == ERROR_END ? 0 : rc;
}

/* Members of a sorted set that has one row: all of them, since they are few. */
static int zset_packed_gather(struct sort *sort, const struct redis_value *value)
{
    struct redis_packed packed;
    struct redis_item item;
    int rc = 0;
    redis_packed_open(&packed, value);
    while (!rc && redis_packed_next(&packed, &item)) {
        rc = redis_gather_item(&sort->gathered, &item, true);
        redis_packed_skip(&packed);
    }
    if (backward(sort))
        reverse(sort->gathered.items, sort->gathered.count);
    return rc;
}

static int zset_spread_gather(struct sort *sort, const struct redis_value *value)
{
    const struct redis_element_range range = {.backward = backward(sort)};
    struct redis_elements elements;
    struct redis_element element;
    uint64_t most = wanted(sort, true);
    int rc = redis_elements_open(&elements, sort->call, value->id, REDIS_BY_NUMBER, &range);
    while (!rc && sort->gathered.count < most && !(rc = redis_elements_next(&elements, &element))) {
        struct redis_zset_entry entry;
        redis_zset_entry_read(&element, &entry);
        const struct redis_item item = {.data = entry.member.data, .size = entry.member.size};
        rc = redis_gather_item(&sort->gathered, &item, true);
    }
    return rc == ERROR_END ? 0 : rc;
}

static int elements_gather(struct sort *sort)
{
    struct redis_key key;
    struct redis_value value;
    int rc = redis_value_get(sort->call, 1, &key, &value);
    redis_gather_create(&sort->gathered, sort->call);
    if (rc || value.type == REDIS_TYPE_NONE)
        return rc;
    if (value.type == REDIS_TYPE_LIST)
        return list_gather(sort, &key, &value);
    if (value.type == REDIS_TYPE_SET)
        return set_gather(sort, &key, &value);
    if (value.type != REDIS_TYPE_ZSET)
        return redis_type_error();
    return value.spread ? zset_spread_gather(sort, &value) : zset_packed_gather(sort, &value);
}

/* ---------------------------------------------------------------------------------------- patterns */

static int hash_field(struct redis_call *call, const struct redis_slice *name,
                      const struct redis_slice *field, struct redis_slice *out)
{
    struct redis_fields hash;
    struct redis_field found;
    int rc = redis_fields_open(&hash, call, name, REDIS_TYPE_HASH);
    if (!rc)
        rc = redis_fields_get(&hash, field, &found);
    if (rc || !found.present)
        return rc;
    out->size = found.value.size;
    out->data = arena_copy(txn_arena(call->txn), found.value.data, found.value.size);
    return out->data ? 0 : no_memory();
}

/* What stands under the key that the pattern makes of an element; data NULL: nothing that counts. */
static int pattern_look(struct sort *sort, const struct redis_slice *pattern,
                        const struct redis_slice *element, struct redis_slice *out)
{
    struct redis_call *call = sort->call;
    const char *end = pattern->data + pattern->size;
    *out = (struct redis_slice){NULL, 0};
    if (pattern->size == 1 && pattern->data[0] == '#') {
        *out = *element;
        return 0;
    }
    const char *star = pattern->size ? memchr(pattern->data, '*', pattern->size) : NULL;
    if (!star)
        return 0;
    const char *arrow = memmem(star + 1, (size_t)(end - star - 1), "->", 2);
    if (arrow && arrow + 2 == end)
        arrow = NULL;
    size_t before = (size_t)(star - pattern->data);
    size_t behind = (size_t)((arrow ? arrow : end) - star - 1);
    char *text = arena_alloc(txn_arena(call->txn), before + element->size + behind + 1);
    if (!text)
        return no_memory();
    memcpy(text, pattern->data, before);
    memcpy(text + before, element->data, element->size);
    memcpy(text + before + element->size, star + 1, behind);
    const struct redis_slice name = {text, before + element->size + behind};
    int rc;
    if (arrow) {
        const struct redis_slice field = {arrow + 2, (size_t)(end - arrow - 2)};
        rc = hash_field(call, &name, &field, out);
    } else {
        struct redis_key key;
        struct redis_value value;
        rc = redis_open(call, &name, REDIS_TYPE_STRING, &key, &value);
        if (!rc && value.type != REDIS_TYPE_NONE)
            *out = (struct redis_slice){value.data, value.size};
    }
    return rc == ERROR_TYPE ? 0 : rc; /* a key of another type is none */
}

/* ----------------------------------------------------------------------------------------- sorting */

static int number_read(struct sort *sort, const struct redis_slice *text, double *out)
{
    char *copy = arena_alloc(txn_arena(sort->call->txn), text->size + 1), *end;
    if (!copy)
        return no_memory();
    memcpy(copy, text->data, text->size);
    copy[text->size] = 0;
    errno = 0;
    *out = strtod(copy, &end);
    if (*end || errno == ERANGE || isnan(*out))
        return diag_set(ERROR_INVALID, "One or more scores can't be converted into double");
    return 0;
}

static int elements_make(struct sort *sort)
{
    sort->count = sort->gathered.count;
    sort->elements =
        arena_alloc(txn_arena(sort->call->txn), (sort->count + 1) * sizeof *sort->elements);
    if (!sort->elements)
        return no_memory();
    int rc = 0;
    for (size_t n = 0; n < sort->count && !rc; n++) {
        struct element *element = &sort->elements[n];
        redis_passed(sort->call);
        *element = (struct element){.text = sort->gathered.items[n]};
        if (sort->unordered)
            continue;
        element->by = element->text;
        if (sort->by)
            rc = pattern_look(sort, sort->by, &element->text, &element->by);
        if (!rc && !sort->alpha && element->by.data)
            rc = number_read(sort, &element->by, &element->number);
    }
    return rc;
}

static int bytes_compare(const struct redis_slice *left, const struct redis_slice *right)
{
    size_t size = left->size < right->size ? left->size : right->size;
    int order = size ? memcmp(left->data, right->data, size) : 0;
    return order ? order : (left->size > right->size) - (left->size < right->size);
}

static int element_compare(const struct sort *sort, const struct element *one,
                           const struct element *other)
{
    int order;
    if (!sort->alpha) {
        order = (one->number > other->number) - (one->number < other->number);
        if (!order)
            order = bytes_compare(&one->text, &other->text);
    } else if (one->by.data && other->by.data)
        order = bytes_compare(&one->by, &other->by);
    else
        order = (one->by.data != NULL) - (other->by.data != NULL);
    return sort->descending ? -order : order;
}

/* Merges of runs, bottom up: equal ones stay in order. */
static int elements_sort(struct sort *sort)
{
    size_t count = sort->count;
    struct element *from = sort->elements;
    struct element *to = arena_alloc(txn_arena(sort->call->txn), (count + 1) * sizeof *to);
    if (!to)
        return no_memory();
    for (size_t run = 1; run < count; run *= 2) {
        for (size_t start = 0; start < count; start += 2 * run) {
            size_t left = start, middle = start + run < count ? start + run : count;
            size_t right = middle, end = middle + run < count ? middle + run : count;
            for (size_t n = start; n < end; n++) {
                redis_passed(sort->call);
                bool first = left < middle && (right >= end || element_compare(sort, &from[left],
                                                                               &from[right]) <= 0);
                to[n] = first ? from[left++] : from[right++];
            }
        }
        struct element *swapped = from;
        from = to;
        to = swapped;
    }
    sort->elements = from;
    return 0;
}

static void limit_apply(struct sort *sort)
{
    uint64_t left = (uint64_t)sort->offset < sort->count ? sort->count - (uint64_t)sort->offset : 0;
    if (left)
        sort->elements += sort->offset;
    sort->count = sort->limit >= 0 && (uint64_t)sort->limit < left ? (size_t)sort->limit : left;
}

/* ----------------------------------------------------------------------------------------- replies */

/* What is replied or stored, in order; data NULL: nil. */
static int result_make(struct sort *sort, struct redis_gather *out)
{
    int rc = 0;
    redis_gather_create(out, sort->call);
    for (size_t n = 0; n < sort->count && !rc; n++) {
        redis_passed(sort->call);
        if (sort->get_count == 0)
            rc = redis_gather_add(out, sort->elements[n].text);
        for (unsigned get = 0; get < sort->get_count && !rc; get++) {
            struct redis_slice found;
            rc = pattern_look(sort, sort->gets[get], &sort->elements[n].text, &found);
            if (!rc)
                rc = redis_gather_add(out, found);
        }
    }
    return rc;
}

static int result_store(struct sort *sort, struct redis_gather *result)
{
    struct redis_call *call = sort->call;
    struct redis_key key;
    struct redis_value present;
    struct redis_slice *texts =
        arena_alloc(txn_arena(call->txn), (result->count + 1) * sizeof *texts);
    if (!texts)
        return no_memory();
    for (size_t n = 0; n < result->count; n++) {
        redis_passed(call);
        /* of other keys' values, which may lie in what this transaction has written to this one */
        texts[n].size = result->items[n].size;
        texts[n].data = arena_copy(txn_arena(call->txn), texts[n].size ? result->items[n].data : "",
                                   texts[n].size);
        if (!texts[n].data)
            return no_memory();
    }
    int rc = redis_open_for_update(call, sort->store, REDIS_TYPE_NONE, &key, &present);
    bool there = present.type != REDIS_TYPE_NONE;
    if (!rc && (there || result->count))
        rc = redis__list_store(call, sort->store, texts, result->count, 0);
    if (!rc && result->count)
        rc = redis_changed(call, sort->store, REDIS_TYPE_LIST, REDIS_NOTIFY_LIST, "sortstore");
    else if (!rc && there)
        rc = redis_changed(call, sort->store, REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC, "del");
    if (!rc)
        call->sink->vtab->integer(call->sink, (int64_t)result->count);
    return rc;
}

static int sort_run(struct redis_call *call, bool storing)
{
    struct sort sort = {.call = call, .limit = -1};
    struct redis_gather result;
    int rc = options_read(&sort, storing);
    if (!rc)
        rc = elements_gather(&sort);
    if (!rc)
        rc = elements_make(&sort);
    if (!rc && !sort.unordered)
        rc = elements_sort(&sort);
    if (rc)
        return rc;
    limit_apply(&sort);
    rc = result_make(&sort, &result);
    if (rc || sort.store)
        return rc ? rc : result_store(&sort, &result);
    call->sink->vtab->array(call->sink, result.count);
    for (size_t n = 0; n < result.count; n++) {
        redis_passed(call);
        if (result.items[n].data)
            call->sink->vtab->bulk(call->sink, result.items[n].data, result.items[n].size);
        else
            call->sink->vtab->null(call->sink);
    }
    return 0;
}

int redis__sort(struct redis_call *call)
{
    return sort_run(call, true);
}

int redis__sort_ro(struct redis_call *call)
{
    return sort_run(call, false);
}
