/* SPDX-License-Identifier: Apache-2.0 */

/* How lists are read: ends, chunks, walks; see the header for their rows. */
#include "redis/redis_list.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"

static int damaged(void)
{
    return diag_set(ERROR_CORRUPT, "a list in the Redis space is damaged");
}

void redis__list_position_encode(char out[LIST_POSITION_BYTES], int64_t position)
{
    uint64_t bits = (uint64_t)position ^ UINT64_C(1) << 63;
    for (unsigned n = 0; n < LIST_POSITION_BYTES; n++)
        out[n] = (char)(bits >> (56 - 8 * n));
}

static int64_t position_decode(const char *key)
{
    uint64_t bits = 0;
    for (unsigned n = 0; n < LIST_POSITION_BYTES; n++)
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

/* ---------------------------------------------------------------------------------------- ends */

const char *redis__list_end_key(bool right)
{
    return right ? "r" : "l";
}

static bool read_int(const char **at, int64_t *out)
{
    return (mp_typeof(**at) == MP_UINT || mp_typeof(**at) == MP_INT) && mp_read_int(at, out);
}

int redis__list_end_get(struct redis_list *list, bool right, redis_list_get_fn get,
                        struct redis_list_end *out)
{
    struct redis_slice value;
    int rc = get(list->call, list->value.id, LIST_KIND_END, redis__list_end_key(right), 1, &value);
    out->right = right;
    out->count = 0;
    out->bound = right ? -1 : 0;
    out->chunk = (struct redis_list_chunk){.place = right ? LIST_RIGHT : LIST_LEFT};
    out->items.count = 0;
    out->items.bytes = 0;
    if (rc || !value.data)
        return rc;
    const char *at = value.data;
    if (mp_typeof(*at) != MP_ARRAY || mp_decode_array(&at) != 1 || mp_typeof(*at) != MP_ARRAY ||
        mp_decode_array(&at) != 3 || !read_int(&at, &out->count) || !read_int(&at, &out->bound) ||
        mp_typeof(*at) != MP_ARRAY)
        return damaged();
    out->chunk.count = mp_decode_array(&at);
    out->chunk.at = at;
    return 0;
}

/* The same with its elements. */
int redis__list_end_load(struct redis_list *list, bool right, struct redis_list_end *out)
{
    int rc = redis__list_end_get(list, right, redis_element_get_for_update, out);
    return rc ? rc : redis__list_items(&out->chunk, &out->items);
}

static int64_t packed_length(const struct redis_list *list)
{
    const char *at = list->value.data;
    return list->value.type == REDIS_TYPE_NONE ? 0 : mp_decode_array(&at);
}

int redis__list_length(struct redis_list *list, int64_t *out)
{
    struct redis_list_end left, right;
    *out = packed_length(list);
    if (!list->value.spread)
        return 0;
    int rc = redis__list_end_get(list, false, redis_element_get, &left);
    if (!rc)
        rc = redis__list_end_get(list, true, redis_element_get, &right);
    *out = left.count + right.count;
    return rc;
}

/* ------------------------------------------------------------------------------------- reading */

int redis__list_middle_open(struct redis_list_walk *walk, int64_t from)
{
    char key[LIST_POSITION_BYTES];
    redis__list_position_encode(key, from);
    struct redis_element_range range = {.backward = walk->backward};
    *(walk->backward ? &range.upper : &range.lower) = (struct redis_slice){key, sizeof key};
    walk->stage = WALK_MIDDLE;
    return redis_elements_open(&walk->elements, walk->list->call, walk->list->value.id,
                               REDIS_ELEMENT, &range);
}

int redis__list_walk(struct redis_list_walk *walk, struct redis_list *list, bool backward,
                     const struct redis_list_chunk *from)
{
    walk->list = list;
    walk->backward = backward;
    walk->stage = list->value.type == REDIS_TYPE_NONE ? WALK_ENDED : WALK_NEAR;
    if (from && from->place == LIST_MIDDLE)
        return redis__list_middle_open(walk, from->position);
    if (from && from->place == (backward ? LIST_LEFT : LIST_RIGHT))
        walk->stage = WALK_FAR;
    return 0;
}

/* The elements of a chunk's value. */
int redis__list_chunk_unpack(const struct redis_element *element, struct redis_list_chunk *chunk)
{
    const char *at = element->value.data;
    if (element->key_size != LIST_POSITION_BYTES || mp_typeof(*at) != MP_ARRAY ||
        mp_decode_array(&at) != 1 || mp_typeof(*at) != MP_ARRAY)
        return damaged();
    chunk->place = LIST_MIDDLE;
    chunk->position = position_decode(element->key);
    chunk->count = mp_decode_array(&at);
    chunk->at = at;
    return chunk->count ? 0 : damaged();
}

static int walk_packed(struct redis_list_walk *walk, struct redis_list_chunk *chunk)
{
    if (walk->stage == WALK_ENDED)
        return ERROR_END;
    walk->stage = WALK_ENDED;
    chunk->place = LIST_WHOLE;
    chunk->position = 0;
    chunk->at = walk->list->value.data;
    chunk->count = mp_decode_array(&chunk->at);
    return 0;
}

int redis__list_walk_next(struct redis_list_walk *walk, struct redis_list_chunk *chunk)
{
    struct redis_element element;
    struct redis_list_end end;
    if (!walk->list->value.spread)
        return walk_packed(walk, chunk);
    for (;;) {
        int rc;
        switch (walk->stage) {
        case WALK_NEAR:
            rc = redis__list_end_get(walk->list, walk->backward, redis_element_get, &end);
            if (!rc)
                rc = redis__list_middle_open(walk, end.bound);
            break;
        case WALK_MIDDLE:
            rc = redis_elements_next(&walk->elements, &element);
            if (rc != ERROR_END)
                return rc ? rc : redis__list_chunk_unpack(&element, chunk);
            walk->stage = WALK_FAR;
            continue;
        case WALK_FAR:
            rc = redis__list_end_get(walk->list, !walk->backward, redis_element_get, &end);
            walk->stage = WALK_ENDED;
            break;
        default:
            return ERROR_END;
        }
        *chunk = end.chunk;
        if (rc || chunk->count)
            return rc;
    }
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
        return diag_set(ERROR_MEMORY, "out of memory");
    out->data = data;
    out->size = (size_t)(redis_item_pack(data, text->data, text->size) - data);
    return 0;
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
