/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How lists are stored: reading chunks, and writing them; see the header.
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

enum { POSITION_BYTES = 8, LENGTH_COUNT = 0, ROOM_MIN = 16 };

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "out of memory");
}

static int damaged(void)
{
    return diag_set(ERROR_CORRUPT, "a list in the Redis space is damaged");
}

/* ------------------------------------------------------------------------------------- reading */

static void position_encode(char out[POSITION_BYTES], int64_t position)
{
    uint64_t bits = (uint64_t)position ^ UINT64_C(1) << 63;
    for (unsigned n = 0; n < POSITION_BYTES; n++)
        out[n] = (char)(bits >> (56 - 8 * n));
}

static int64_t position_decode(const char *key)
{
    uint64_t bits = 0;
    for (unsigned n = 0; n < POSITION_BYTES; n++)
        bits = bits << 8 | (unsigned char)key[n];
    return (int64_t)(bits ^ UINT64_C(1) << 63);
}

int redis__list_open(struct redis_call *call, const struct redis_slice *name, bool update,
                     struct redis_list *out)
{
    out->call = call;
    out->name = name;
    return (update ? redis_open_for_update : redis_open)(call, name, REDIS_TYPE_LIST, &out->key,
                                                         &out->value);
}

static int64_t packed_length(const struct redis_list *list)
{
    const char *at = list->value.data;
    return list->value.type == REDIS_TYPE_NONE ? 0 : mp_decode_array(&at);
}

int redis__list_length(struct redis_list *list, int64_t *out)
{
    if (list->value.spread)
        return redis_count_get(list->call, list->value.id, LENGTH_COUNT, out);
    *out = packed_length(list);
    return 0;
}

static int length_peek(struct redis_list *list, int64_t *out)
{
    if (list->value.spread)
        return redis_count_peek(list->call, list->value.id, LENGTH_COUNT, out);
    *out = packed_length(list);
    return 0;
}

int redis__list_walk(struct redis_list_walk *walk, struct redis_list *list, bool backward,
                     const int64_t *from)
{
    char key[POSITION_BYTES];
    walk->list = list;
    walk->ended = list->value.type == REDIS_TYPE_NONE;
    if (!list->value.spread)
        return 0;
    struct redis_element_range range = {.backward = backward};
    if (from) {
        position_encode(key, *from);
        *(backward ? &range.upper : &range.lower) = (struct redis_slice){key, sizeof key};
    }
    return redis_elements_open(&walk->elements, list->call, list->value.id, REDIS_ELEMENT, &range);
}

/* The elements of a chunk's value. */
static int chunk_unpack(const struct redis_element *element, struct redis_list_chunk *chunk)
{
    const char *at = element->value.data;
    if (element->key_size != POSITION_BYTES || mp_typeof(*at) != MP_ARRAY ||
        mp_decode_array(&at) != 1 || mp_typeof(*at) != MP_ARRAY)
        return damaged();
    chunk->position = position_decode(element->key);
    chunk->count = mp_decode_array(&at);
    chunk->at = at;
    return chunk->count ? 0 : damaged();
}

int redis__list_walk_next(struct redis_list_walk *walk, struct redis_list_chunk *chunk)
{
    struct redis_element element;
    const struct redis_value *value = &walk->list->value;
    if (walk->ended)
        return ERROR_END;
    if (value->spread) {
        int rc = redis_elements_next(&walk->elements, &element);
        return rc ? rc : chunk_unpack(&element, chunk);
    }
    walk->ended = true;
    chunk->position = 0;
    chunk->at = value->data;
    chunk->count = mp_decode_array(&chunk->at);
    return 0;
}

int redis__list_items(const struct redis_list_chunk *chunk, struct redis_list_items *out)
{
    const char *at = chunk->at;
    if (chunk->count > LIST_CHUNK_ITEMS_MAX)
        return damaged();
    out->count = chunk->count;
    for (uint32_t n = 0; n < chunk->count; n++) {
        const char *start = at;
        mp_next(&at);
        out->at[n] = (struct redis_slice){start, (size_t)(at - start)};
    }
    out->bytes = (size_t)(at - chunk->at);
    return 0;
}

/* From the nearer end. */
int redis__list_seek(struct redis_list *list, int64_t index, int64_t length,
                     struct redis_list_chunk *chunk, uint32_t *place)
{
    struct redis_list_walk walk;
    bool backward = list->value.spread && index > length / 2;
    int64_t left = backward ? length - 1 - index : index;
    int rc = redis__list_walk(&walk, list, backward, NULL);
    while (!rc && !(rc = redis__list_walk_next(&walk, chunk)) && left >= chunk->count)
        left -= chunk->count;
    if (rc == ERROR_END)
        return damaged();
    *place = backward ? chunk->count - 1 - (uint32_t)left : (uint32_t)left;
    return rc;
}

int redis__list_item(struct redis_call *call, const struct redis_slice *text,
                     struct redis_slice *out)
{
    char *data = arena_alloc(txn_arena(call->txn), redis_item_size_max(text->size) + 5);
    if (!data)
        return no_memory();
    out->data = data;
    out->size = (size_t)(redis_item_pack(data, text->data, text->size) - data);
    return 0;
}

/* ------------------------------------------------------------------------------------- writing */

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

static int chunk_put(struct redis_list *list, int64_t position, const struct redis_slice *items,
                     uint32_t count)
{
    enum { HEADERS_MAX = 1 + 5 };
    char key[POSITION_BYTES];
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
    position_encode(key, position);
    return redis_element_put(list->call, list->value.id, REDIS_ELEMENT, key, sizeof key,
                             (struct redis_slice){value, (size_t)(end - value)}, 0);
}

static int chunk_delete(struct redis_list *list, int64_t position)
{
    char key[POSITION_BYTES];
    position_encode(key, position);
    return redis_element_delete(list->call, list->value.id, REDIS_ELEMENT, key, sizeof key);
}

/* After the chunk there has gone: whether the key goes too. */
static int chunk_gone(struct redis_list *list, int64_t position, bool *ended)
{
    char key[POSITION_BYTES];
    position_encode(key, position);
    return redis_spread_shrunk(list->call, &list->key, &list->value, key, sizeof key, ended);
}

static int count_add(struct redis_list *list, int64_t delta)
{
    return list->value.spread ? redis_count_add(list->call, list->value.id, LENGTH_COUNT, delta)
                              : 0;
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

/* The chunk at an end, as it is being filled. */
struct end {
    struct redis_list *list;
    bool right, dirty;
    int64_t position;
    struct limits limits;
    struct redis_list_items items;
};

static int end_load(struct end *end)
{
    struct redis_list_walk walk;
    struct redis_list_chunk chunk;
    end->items.count = 0;
    end->items.bytes = 0;
    end->position = 0;
    int rc = redis__list_walk(&walk, end->list, end->right, NULL);
    if (!rc)
        rc = redis__list_walk_next(&walk, &chunk);
    if (rc)
        return rc == ERROR_END ? 0 : rc;
    end->position = chunk.position;
    return redis__list_items(&chunk, &end->items);
}

static int end_write(struct end *end)
{
    const struct redis_list_items *items = &end->items;
    if (!end->dirty)
        return 0;
    end->dirty = false;
    return end->list->value.spread ? chunk_put(end->list, end->position, items->at, items->count)
                                   : packed_put(end->list, items->at, items->count);
}

/* A new chunk farther out. */
static int end_move(struct end *end)
{
    int rc = end_write(end);
    if (rc)
        return rc;
    if (end->right ? __builtin_add_overflow(end->position, LIST_GAP, &end->position)
                   : __builtin_sub_overflow(end->position, LIST_GAP, &end->position))
        return diag_set(ERROR_TOO_LARGE, "the list has moved beyond its end: make it anew");
    end->items.count = 0;
    end->items.bytes = 0;
    return 0;
}

static void end_add(struct end *end, const struct redis_slice *item)
{
    struct redis_list_items *items = &end->items;
    if (end->right) {
        items->at[items->count] = *item;
    } else {
        memmove(items->at + 1, items->at, items->count * sizeof *items->at);
        items->at[0] = *item;
    }
    items->count++;
    items->bytes += item->size;
    end->dirty = true;
}

/* Makes room for an item; *added: what was there before is counted from now on. */
static int end_room(struct end *end, size_t size, int64_t *added)
{
    uint32_t count = end->items.count + 1;
    size_t bytes = end->items.bytes + size;
    if (!end->list->value.spread) {
        if (fits_packed(&end->limits, count, bytes))
            return 0;
        *added += end->items.count;
        int rc = spread_begin(end->list);
        if (rc)
            return rc;
        end->dirty = end->items.count > 0;
    }
    return fits_chunk(&end->limits, count, bytes) ? 0 : end_move(end);
}

int redis__list_push(struct redis_list *list, bool right, const struct redis_slice *items,
                     unsigned count, int64_t *length)
{
    struct end end = {.list = list, .right = right, .limits = limits_of(list->call)};
    int64_t added = 0; /* to a spread list */
    int rc = end_load(&end);
    for (unsigned n = 0; n < count && !rc; n++) {
        rc = end_room(&end, items[n].size, &added);
        if (!rc)
            end_add(&end, &items[n]);
        added += list->value.spread;
    }
    if (!rc)
        rc = end_write(&end);
    if (!rc)
        rc = count_add(list, added);
    list->value.type = REDIS_TYPE_LIST;
    if (rc || !length)
        return rc;
    *length = end.items.count;
    return list->value.spread ? length_peek(list, length) : 0;
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

/* Takes `gone` elements of a chunk away, which has more. */
static int chunk_shorten(struct redis_list *list, const struct redis_list_chunk *chunk, bool right,
                         uint32_t gone)
{
    struct redis_list_items items;
    int rc = redis__list_items(chunk, &items);
    if (rc)
        return rc;
    const struct redis_slice *rest = right ? items.at : items.at + gone;
    return list->value.spread ? chunk_put(list, chunk->position, rest, items.count - gone)
                              : packed_put(list, rest, items.count - gone);
}

int redis__list_part_drop(struct redis_list *list, const struct redis_list_part *part, bool *ended)
{
    uint64_t left = part->found;
    int64_t gone = 0; /* the position of the last chunk that has gone */
    bool any = false, rest = false;
    int rc = 0;
    *ended = false;
    for (size_t n = 0; n < part->chunk_count && left > 0 && !rc; n++) {
        const struct redis_list_chunk *chunk = &part->chunks[n];
        if (left < chunk->count) {
            rc = chunk_shorten(list, chunk, part->right, (uint32_t)left);
            rest = true;
            left = 0;
            break;
        }
        left -= chunk->count;
        gone = chunk->position;
        any = true;
        rc = list->value.spread ? chunk_delete(list, gone) : 0;
    }
    if (!rc && any && !rest && !list->value.spread) {
        *ended = true;
        return redis_value_delete(list->call, &list->key, &list->value);
    }
    if (!rc && any && !rest)
        rc = chunk_gone(list, gone, ended);
    return rc || *ended ? rc : count_add(list, -(int64_t)part->found);
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
    struct redis_list_walk walk;
    struct redis_list_chunk chunk;
    struct redis_list_items items;
    *behind = (struct redis_list_part){.right = true};
    int rc = redis__list_walk(&walk, list, false, &position);
    while (!rc && !(rc = redis__list_walk_next(&walk, &chunk))) {
        if (chunk.position == position)
            continue;
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
    return rc;
}

static int chunk_take_away(struct redis_list *list, const struct redis_list_chunk *chunk,
                           bool *ended)
{
    if (!list->value.spread) {
        *ended = true;
        return redis_value_delete(list->call, &list->key, &list->value);
    }
    int rc = chunk_delete(list, chunk->position);
    if (!rc)
        rc = chunk_gone(list, chunk->position, ended);
    return rc || *ended ? rc : count_add(list, -(int64_t)chunk->count);
}

int redis__list_replace(struct redis_list *list, const struct redis_list_chunk *chunk,
                        const struct redis_list_items *items, bool *ended)
{
    struct limits limits = limits_of(list->call);
    struct pieces pieces = {.count = 0};
    int64_t delta = (int64_t)items->count - chunk->count;
    *ended = false;
    if (items->count == 0)
        return chunk_take_away(list, chunk, ended);
    if (!list->value.spread) {
        if (fits_packed(&limits, items->count, items->bytes))
            return packed_put(list, items->at, items->count);
        int rc = spread_begin(list);
        if (rc)
            return rc;
        delta = items->count;
    }
    pieces_cut(&limits, items, 0, items->count, &pieces);
    int rc = pieces.count == 1 ? chunk_put(list, chunk->position, items->at, items->count)
                               : pieces_put(list, chunk->position, items, &pieces);
    return rc || delta == 0 ? rc : count_add(list, delta);
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

/* ------------------------------------------------------------------------------------- encoding */

/* What an element takes in a listpack. */
static uint64_t listpack_bytes(const struct redis_slice *item)
{
    struct redis_item read;
    int64_t value;
    redis_item_read(item->data, &read);
    uint64_t size = read.size;
    if (redis_integer_parse(read.data, read.size, &value))
        size = value >= 0 && value <= 127                 ? 1
               : value >= -4096 && value <= 4095          ? 2
               : value >= INT16_MIN && value <= INT16_MAX ? 3
               : value >= -(1 << 23) && value < 1 << 23   ? 4
               : value >= INT32_MIN && value <= INT32_MAX ? 5
                                                          : 9;
    else
        size += size < 64 ? 1 : size < 4096 ? 2 : 5;
    return size + (size <= 127 ? 1 : size < 16383 ? 2 : size < 2097151 ? 3 : 4);
}

const char *redis__list_encoding(struct redis_call *call, const struct redis_value *value)
{
    struct redis_list list = {.call = call, .value = *value};
    enum { LISTPACK_OVERHEAD = 7 };
    struct redis_list_walk walk;
    struct redis_list_chunk chunk;
    struct redis_list_items items;
    uint64_t bytes = LISTPACK_OVERHEAD, count = 0;
    uint64_t bytes_max = redis_config_list_bytes(call->config);
    uint64_t count_max = redis_config_list_entries(call->config);
    int rc = redis__list_walk(&walk, &list, false, NULL);
    while (!rc && bytes <= bytes_max && count <= count_max &&
           !(rc = redis__list_walk_next(&walk, &chunk)) &&
           !(rc = redis__list_items(&chunk, &items))) {
        count += items.count;
        for (uint32_t n = 0; n < items.count; n++)
            bytes += listpack_bytes(&items.at[n]);
    }
    if (rc && rc != ERROR_END)
        return NULL;
    return bytes <= bytes_max && count <= count_max ? "listpack" : "quicklist";
}
