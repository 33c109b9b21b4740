/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How lists are written; see the header for their rows.
 *
 * Packed becomes spread. What a push costs is what it writes, and that is the whole of a packed list;
 * so it is packed as long as it would fit in one chunk, or is one element. Redis's own limit
 * (list-max-listpack-size) counts when it is smaller, and decides what OBJECT ENCODING says.
 *
 * Room between chunks. A chunk that has grown too large is cut in halves, whose positions are between
 * its own and the next one's. When there is no room, chunks behind it are taken along, until together
 * they have some (Bender et al., Two Simplified Algorithms for Maintaining Order in a List, 2002, in
 * its simplest form): those behind it are mostly LIST_GAP apart, so they are few.
 */
#include "redis/redis_list.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"

enum { ROOM_MIN = 16 };

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "out of memory");
}

struct limits {
    uint64_t count, bytes;
    uint64_t single; /* bytes of a packed list with one element */
};

static struct limits limits_of(const struct redis_call *call)
{
    uint64_t entries = redis_config_list_entries(call->config);
    uint64_t bytes = redis_config_list_bytes(call->config);
    return (struct limits){.count = entries < LIST_CHUNK_ITEMS_MAX ? entries : LIST_CHUNK_ITEMS_MAX,
                           .bytes = bytes < LIST_CHUNK_BYTES_MAX ? bytes : LIST_CHUNK_BYTES_MAX,
                           .single = bytes < 8192 ? bytes : 8192};
}

static bool fits_chunk(const struct limits *limits, uint64_t count, size_t bytes)
{
    return count == 1 || (count <= limits->count && bytes <= limits->bytes);
}

static bool fits_packed(const struct limits *limits, uint64_t count, size_t bytes)
{
    return count == 1 ? bytes <= limits->single : count <= limits->count && bytes <= limits->bytes;
}

static int packed_put(struct redis_list *list, const struct redis_slice *items, uint32_t count)
{
    struct redis_packer packer;
    size_t bytes = 0;
    for (uint32_t n = 0; n < count; n++)
        bytes += items[n].size;
    redis_packer_create(&packer, list->call, bytes);
    for (uint32_t n = 0; n < count; n++)
        redis_packer_raw(&packer, items[n].data, items[n].size);
    return redis_packer_put(&packer, &list->key, REDIS_TYPE_LIST, list->value.expire_ms);
}

static char *int_encode(char *out, int64_t value)
{
    return value < 0 ? mp_encode_int(out, value) : mp_encode_uint(out, (uint64_t)value);
}

static int chunk_put(struct redis_list *list, int64_t position, const struct redis_slice *items,
                     uint32_t count)
{
    enum { HEADERS_MAX = 1 + 5 };
    char key[LIST_POSITION_BYTES];
    size_t bytes = HEADERS_MAX;
    for (uint32_t n = 0; n < count; n++)
        bytes += items[n].size;
    char *value = arena_alloc(txn_arena(list->call->txn), bytes);
    if (!value)
        return no_memory();
    char *end = mp_encode_array(mp_encode_array(value, 1), count);
    for (uint32_t n = 0; n < count; n++) {
        memcpy(end, items[n].data, items[n].size);
        end += items[n].size;
    }
    redis__list_position_encode(key, position);
    return redis_element_put(list->call, list->value.id, REDIS_ELEMENT, key, sizeof key,
                             (struct redis_slice){value, (size_t)(end - value)}, 0);
}

static int chunk_delete(struct redis_list *list, int64_t position)
{
    char key[LIST_POSITION_BYTES];
    redis__list_position_encode(key, position);
    return redis_element_delete(list->call, list->value.id, REDIS_ELEMENT, key, sizeof key);
}

static int end_put(struct redis_list *list, const struct redis_list_end *end)
{
    enum { HEADERS_MAX = 1 + 1 + 9 + 9 + 5 };
    char *value = arena_alloc(txn_arena(list->call->txn), HEADERS_MAX + end->items.bytes);
    if (!value)
        return no_memory();
    char *at = mp_encode_array(mp_encode_array(value, 1), 3);
    at = int_encode(int_encode(at, end->count), end->bound);
    at = mp_encode_array(at, end->items.count);
    for (uint32_t n = 0; n < end->items.count; n++) {
        memcpy(at, end->items.at[n].data, end->items.at[n].size);
        at += end->items.at[n].size;
    }
    return redis_element_put(list->call, list->value.id, LIST_KIND_END,
                             redis__list_end_key(end->right), 1,
                             (struct redis_slice){value, (size_t)(at - value)}, 0);
}

/* Adds to the list's length for what has happened in the middle. */
static int count_add(struct redis_list *list, int64_t delta)
{
    struct redis_list_end end;
    int rc = delta ? redis__list_end_load(list, false, &end) : 0;
    end.count += delta;
    return rc || delta == 0 ? rc : end_put(list, &end);
}

/* The key's row of a list that is going to have chunks. */
static int spread_begin(struct redis_list *list)
{
    uint64_t id;
    int rc = redis_spread_new(list->call, &id);
    if (!rc)
        rc = redis_value_put_spread(list->call, &list->key, REDIS_TYPE_LIST, list->value.expire_ms,
                                    id, (struct redis_slice){NULL, 0});
    list->value.type = REDIS_TYPE_LIST;
    list->value.spread = true;
    list->value.id = id;
    return rc;
}

/* ---------------------------------------------------------------------------------------- push */

/* The next chunk outwards, of these elements. */
static int end_spill(struct redis_list *list, struct redis_list_end *end,
                     const struct redis_slice *items, uint32_t count)
{
    if (end->right ? __builtin_add_overflow(end->bound, LIST_GAP, &end->bound)
                   : __builtin_sub_overflow(end->bound, LIST_GAP, &end->bound))
        return diag_set(ERROR_TOO_LARGE, "the list has moved beyond its end: make it anew");
    return chunk_put(list, end->bound, items, count);
}

static void items_add(struct redis_list_items *items, bool right, const struct redis_slice *item)
{
    if (right) {
        items->at[items->count] = *item;
    } else {
        memmove(items->at + 1, items->at, items->count * sizeof *items->at);
        items->at[0] = *item;
    }
    items->count++;
    items->bytes += item->size;
}

/* Adds elements at an end of a spread list. */
static int spread_push(struct redis_list *list, bool right, const struct redis_slice *items,
                       unsigned count, int64_t *length)
{
    struct limits limits = limits_of(list->call);
    struct redis_list_end end, other;
    int rc = redis__list_end_load(list, right, &end);
    for (unsigned n = 0; n < count && !rc; n++) {
        if (end.items.count > 0 &&
            !fits_chunk(&limits, end.items.count + 1, end.items.bytes + items[n].size)) {
            rc = end_spill(list, &end, end.items.at, end.items.count);
            end.items.count = 0;
            end.items.bytes = 0;
        }
        items_add(&end.items, right, &items[n]);
    }
    end.count += count;
    if (!rc)
        rc = end_put(list, &end);
    if (rc || !length)
        return rc;
    rc = redis__list_end_get(list, !right, redis_element_peek, &other);
    *length = end.count + other.count;
    return rc;
}

/* A packed list's elements become the end at which nothing happens now. */
static int spread_from(struct redis_list *list, bool right, const struct redis_list_items *items)
{
    struct redis_list_end end = {
        .right = right, .count = items->count, .bound = right ? -1 : 0, .items = *items};
    int rc = spread_begin(list);
    return rc || items->count == 0 ? rc : end_put(list, &end);
}

int redis__list_push(struct redis_list *list, bool right, const struct redis_slice *items,
                     unsigned count, int64_t *length)
{
    struct limits limits = limits_of(list->call);
    struct redis_list_walk walk;
    struct redis_list_chunk chunk = {.count = 0};
    struct redis_list_items now;
    if (list->value.spread)
        return spread_push(list, right, items, count, length);
    int rc = redis__list_walk(&walk, list, false, NULL);
    if (!rc)
        rc = redis__list_walk_next(&walk, &chunk);
    if (!rc || rc == ERROR_END)
        rc = redis__list_items(&chunk, &now);
    unsigned n = 0;
    const uint32_t before = now.count;
    struct redis_list_items all = now;
    for (; n < count && !rc && fits_packed(&limits, all.count + 1, all.bytes + items[n].size); n++)
        items_add(&all, right, &items[n]);
    if (rc)
        return rc;
    list->value.type = REDIS_TYPE_LIST;
    if (n == count) {
        if (length)
            *length = (int64_t)before + count;
        return packed_put(list, all.at, all.count);
    }
    rc = spread_from(list, !right, &now);
    return rc ? rc : spread_push(list, right, items, count, length);
}

/* ----------------------------------------------------------------------------------------- pop */

static int part_grow(struct redis_list *list, struct redis_list_part *part)
{
    if (part->chunk_count < part->capacity)
        return 0;
    size_t capacity = part->capacity ? 2 * part->capacity : 4;
    struct redis_list_chunk *larger =
        arena_alloc(txn_arena(list->call->txn), capacity * sizeof *larger);
    if (!larger)
        return no_memory();
    if (part->chunk_count)
        memcpy(larger, part->chunks, part->chunk_count * sizeof *larger);
    part->chunks = larger;
    part->capacity = capacity;
    return 0;
}

int redis__list_part(struct redis_list *list, bool right, uint64_t count,
                     struct redis_list_part *out)
{
    struct redis_list_walk walk;
    struct redis_list_chunk chunk;
    *out = (struct redis_list_part){.right = right};
    int rc = redis__list_walk(&walk, list, right, NULL);
    while (!rc && out->found < count && !(rc = redis__list_walk_next(&walk, &chunk))) {
        rc = part_grow(list, out);
        if (rc)
            return rc;
        out->chunks[out->chunk_count++] = chunk;
        out->found += chunk.count;
    }
    out->found = out->found < count ? out->found : count;
    return rc == ERROR_END ? 0 : rc;
}

int redis__list_part_reply(struct redis_list *list, const struct redis_list_part *part)
{
    struct redis_sink *sink = list->call->sink;
    struct redis_list_items items;
    struct redis_item item;
    uint64_t left = part->found;
    for (size_t n = 0; n < part->chunk_count; n++) {
        int rc = redis__list_items(&part->chunks[n], &items);
        if (rc)
            return rc;
        for (uint32_t k = 0; k < items.count && left > 0; k++, left--) {
            redis_item_read(items.at[part->right ? items.count - 1 - k : k].data, &item);
            sink->vtab->bulk(sink, item.data, item.size);
        }
    }
    return 0;
}

/* Takes `gone` elements at a side away. */
static void items_shorten(struct redis_list_items *items, bool right, uint32_t gone)
{
    for (uint32_t n = 0; n < gone; n++)
        items->bytes -= items->at[right ? items->count - 1 - n : n].size;
    items->count -= gone;
    if (!right && gone)
        memmove(items->at, items->at + gone, items->count * sizeof *items->at);
}

static int packed_drop(struct redis_list *list, const struct redis_list_part *part, bool *ended)
{
    struct redis_list_items items;
    int rc = redis__list_items(&part->chunks[0], &items);
    if (rc)
        return rc;
    items_shorten(&items, part->right, (uint32_t)part->found);
    *ended = items.count == 0;
    return *ended ? redis_value_delete(list->call, &list->key, &list->value)
                  : packed_put(list, items.at, items.count);
}

/* An end from which something is taken, and what it takes in meanwhile. */
struct drop {
    struct redis_list_end near, far;
    bool far_used;
    uint64_t left; /* elements that are still to go */
    bool next;     /* one more goes, behind them, at: */
    int64_t position;
};

/* What is left of a chunk in the middle, of which not all goes, is the near end's. */
static int drop_middle(struct drop *drop, const struct redis_list_chunk *chunk)
{
    drop->near.bound = drop->near.right ? chunk->position - 1 : chunk->position + 1;
    if (drop->left >= chunk->count) {
        drop->left -= chunk->count;
        return 0;
    }
    int rc = redis__list_items(chunk, &drop->near.items);
    if (!rc)
        items_shorten(&drop->near.items, drop->near.right, (uint32_t)drop->left);
    drop->left = 0;
    return rc;
}

static void drop_end(struct drop *drop, struct redis_list_end *end)
{
    uint32_t gone = drop->left < end->items.count ? (uint32_t)drop->left : end->items.count;
    items_shorten(&end->items, drop->near.right, gone);
    drop->left -= gone;
}

static int far_load(struct redis_list *list, struct drop *drop)
{
    if (drop->far_used)
        return 0;
    drop->far_used = true;
    return redis__list_end_load(list, !drop->near.right, &drop->far);
}

/* Fills an empty end from the next chunk, or with half of the other end. */
static int drop_refill(struct redis_list *list, struct drop *drop)
{
    struct redis_list_walk walk = {.list = list, .backward = drop->near.right};
    struct redis_element element;
    struct redis_list_chunk chunk;
    bool right = drop->near.right;
    int rc = redis__list_middle_open(&walk, drop->near.bound);
    if (!rc)
        rc = redis_elements_next(&walk.elements, &element);
    if (!rc)
        rc = redis__list_chunk_unpack(&element, &chunk);
    if (!rc) {
        drop->next = true;
        drop->position = chunk.position;
        return drop_middle(drop, &chunk);
    }
    if (rc == ERROR_END)
        rc = far_load(list, drop);
    if (rc)
        return rc;
    uint32_t all = drop->far.items.count, half = all - all / 2;
    drop->near.items = drop->far.items;
    items_shorten(&drop->near.items, !right, all - half);
    items_shorten(&drop->far.items, right, half);
    return 0;
}

/* Writes come last, and before rows go whose elements are in them. */
static int drop_write(struct redis_list *list, const struct redis_list_part *part,
                      const struct drop *drop)
{
    int rc = end_put(list, &drop->near);
    if (!rc && drop->far_used)
        rc = end_put(list, &drop->far);
    for (size_t n = 0; n < part->chunk_count && !rc; n++)
        if (part->chunks[n].place == LIST_MIDDLE)
            rc = chunk_delete(list, part->chunks[n].position);
    return !rc && drop->next ? chunk_delete(list, drop->position) : rc;
}

int redis__list_part_drop(struct redis_list *list, const struct redis_list_part *part, bool *ended)
{
    struct drop drop = {.left = part->found};
    enum redis_list_place near = part->right ? LIST_RIGHT : LIST_LEFT;
    *ended = false;
    if (!list->value.spread)
        return packed_drop(list, part, ended);
    int rc = redis__list_end_load(list, part->right, &drop.near);
    for (size_t n = 0; n < part->chunk_count && !rc; n++) {
        const struct redis_list_chunk *chunk = &part->chunks[n];
        if (chunk->place == LIST_MIDDLE)
            rc = drop_middle(&drop, chunk);
        else if (chunk->place == near)
            drop_end(&drop, &drop.near);
        else if (!(rc = far_load(list, &drop)))
            drop_end(&drop, &drop.far);
    }
    drop.near.count -= (int64_t)part->found;
    if (!rc && drop.near.items.count == 0)
        rc = drop_refill(list, &drop);
    if (rc)
        return rc;
    *ended = drop.near.items.count == 0;
    return *ended ? redis_value_delete(list->call, &list->key, &list->value)
                  : drop_write(list, part, &drop);
}

/* ------------------------------------------------------------------------------------- changing */

/* What a chunk that has grown too large is cut into. */
struct pieces {
    uint32_t count;
    struct {
        uint32_t from, count;
    } at[LIST_CHUNK_ITEMS_MAX + 1];
};

/* Halves, until all fit. */
static void pieces_cut(const struct limits *limits, const struct redis_list_items *items,
                       uint32_t from, uint32_t count, struct pieces *out)
{
    size_t bytes = 0;
    for (uint32_t n = from; n < from + count; n++)
        bytes += items->at[n].size;
    if (fits_chunk(limits, count, bytes)) {
        out->at[out->count].from = from;
        out->at[out->count++].count = count;
        return;
    }
    pieces_cut(limits, items, from, count / 2, out);
    pieces_cut(limits, items, from + count / 2, count - count / 2, out);
}

/* Finds room for `need` chunks from `position` on: how far apart they can be, together with those in
 * `behind`, which have to be written anew (their bytes are copied). */
static int room_find(struct redis_list *list, int64_t position, uint32_t need, int64_t *step,
                     struct redis_list_part *behind)
{
    struct redis_list_walk walk = {.list = list};
    struct redis_element element;
    struct redis_list_chunk chunk;
    struct redis_list_items items;
    *behind = (struct redis_list_part){.right = true};
    int rc = redis__list_middle_open(&walk, position + 1);
    while (!rc && !(rc = redis_elements_next(&walk.elements, &element)) &&
           !(rc = redis__list_chunk_unpack(&element, &chunk))) {
        uint64_t span = (uint64_t)chunk.position - (uint64_t)position;
        *step = (int64_t)(span / (need + behind->chunk_count));
        if (*step >= ROOM_MIN)
            return 0;
        rc = redis__list_items(&chunk, &items);
        if (!rc)
            rc = part_grow(list, behind);
        if (!rc && !(chunk.at = arena_copy(txn_arena(list->call->txn), chunk.at, items.bytes)))
            rc = no_memory();
        if (!rc)
            behind->chunks[behind->chunk_count++] = chunk;
    }
    *step = LIST_GAP;
    uint64_t span = LIST_GAP * (uint64_t)(need + behind->chunk_count);
    if (rc == ERROR_END && position > INT64_MAX - (int64_t)span)
        return diag_set(ERROR_TOO_LARGE, "the list has moved beyond its end: make it anew");
    return rc == ERROR_END ? 0 : rc;
}

/* The right end's bound, after a chunk was written there. */
static int bound_extend(struct redis_list *list, int64_t position)
{
    struct redis_list_end end;
    int rc = redis__list_end_load(list, true, &end);
    if (rc || end.bound >= position)
        return rc;
    end.bound = position;
    return end_put(list, &end);
}

static int pieces_put(struct redis_list *list, int64_t position,
                      const struct redis_list_items *items, const struct pieces *pieces)
{
    struct redis_list_part behind;
    struct redis_list_items moved;
    int64_t step;
    int rc = room_find(list, position, pieces->count, &step, &behind);
    for (size_t n = 0; n < behind.chunk_count && !rc; n++)
        rc = chunk_delete(list, behind.chunks[n].position);
    for (uint32_t n = 0; n < pieces->count && !rc; n++, position += step)
        rc = chunk_put(list, position, items->at + pieces->at[n].from, pieces->at[n].count);
    for (size_t n = 0; n < behind.chunk_count && !rc; n++, position += step) {
        rc = redis__list_items(&behind.chunks[n], &moved);
        if (!rc)
            rc = chunk_put(list, position, moved.at, moved.count);
    }
    return rc ? rc : bound_extend(list, position - step);
}

/* Other elements for an end: when they are too many the inner ones become chunks. */
static int end_replace(struct redis_list *list, struct redis_list_end *end,
                       const struct redis_list_items *items, const struct pieces *pieces)
{
    uint32_t last = pieces->count ? pieces->count - 1 : 0, own = end->right ? last : 0;
    int rc = 0;
    for (uint32_t n = 0; n < last && !rc; n++) {
        uint32_t piece = end->right ? n : last - n;
        rc = end_spill(list, end, items->at + pieces->at[piece].from, pieces->at[piece].count);
    }
    end->items.count = pieces->count ? pieces->at[own].count : 0;
    end->items.bytes = 0;
    for (uint32_t n = 0; n < end->items.count; n++) {
        end->items.at[n] = items->at[pieces->at[own].from + n];
        end->items.bytes += end->items.at[n].size;
    }
    return rc ? rc : end_put(list, end);
}

static int packed_replace(struct redis_list *list, const struct redis_list_items *items,
                          const struct pieces *pieces, bool *ended)
{
    struct limits limits = limits_of(list->call);
    struct redis_list_end end = {.right = false, .count = items->count};
    *ended = items->count == 0;
    if (*ended)
        return redis_value_delete(list->call, &list->key, &list->value);
    if (fits_packed(&limits, items->count, items->bytes))
        return packed_put(list, items->at, items->count);
    int rc = spread_begin(list);
    return rc ? rc : end_replace(list, &end, items, pieces);
}

static int spread_replace(struct redis_list *list, const struct redis_list_chunk *chunk,
                          const struct redis_list_items *items, const struct pieces *pieces)
{
    struct redis_list_end end;
    int64_t delta = (int64_t)items->count - chunk->count;
    int rc = 0;
    if (chunk->place != LIST_MIDDLE) {
        rc = redis__list_end_load(list, chunk->place == LIST_RIGHT, &end);
        end.count += delta;
        return rc ? rc : end_replace(list, &end, items, pieces);
    }
    if (items->count == 0)
        rc = chunk_delete(list, chunk->position);
    else if (pieces->count == 1)
        rc = chunk_put(list, chunk->position, items->at, items->count);
    else
        rc = pieces_put(list, chunk->position, items, pieces);
    return rc ? rc : count_add(list, delta);
}

int redis__list_replace(struct redis_list *list, const struct redis_list_chunk *chunk,
                        const struct redis_list_items *items, bool *ended)
{
    struct limits limits = limits_of(list->call);
    struct pieces pieces = {.count = 0};
    int64_t length = 1;
    *ended = false;
    if (items->count)
        pieces_cut(&limits, items, 0, items->count, &pieces);
    if (!list->value.spread)
        return packed_replace(list, items, &pieces, ended);
    int rc = spread_replace(list, chunk, items, &pieces);
    if (!rc && items->count == 0)
        rc = redis__list_length(list, &length);
    *ended = !rc && length == 0;
    return *ended ? redis_value_delete(list->call, &list->key, &list->value) : rc;
}

int redis__list_store(struct redis_call *call, const struct redis_slice *name,
                      const struct redis_slice *texts, size_t count, uint64_t expire_ms)
{
    struct redis_list list = {
        .call = call, .name = name, .value = {.type = REDIS_TYPE_NONE, .expire_ms = expire_ms}};
    int rc = redis_key_encode(call, name, &list.key);
    if (rc || count == 0)
        return rc ? rc : redis_key_delete(call, &list.key);
    struct redis_slice *items = arena_alloc(txn_arena(call->txn), count * sizeof *items);
    if (!items)
        return no_memory();
    for (size_t n = 0; n < count && !rc; n++)
        rc = redis__list_item(call, &texts[n], &items[n]);
    return rc ? rc : redis__list_push(&list, true, items, (unsigned)count, NULL);
}
