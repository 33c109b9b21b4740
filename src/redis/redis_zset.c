/* SPDX-License-Identifier: Apache-2.0 */

/* Sorted sets, packed and spread; see the header. */
#include "redis/redis_zset.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_zset_rank.h"

enum { FLOOR_SIZE_MAX = 64 };

static const struct redis_slice NOTHING = {NULL, 0};

static int out_of_memory(void)
{
    return diag_set(ERROR_MEMORY, "out of memory");
}

/* ----------------------------------------------------------------------------------------- scores */

/* An integer when that is all there is to it. */
static char *score_pack(char *out, double score)
{
    enum { EXACT_BITS = 53 };
    if (fabs(score) < (double)(1LL << EXACT_BITS) && score == floor(score) &&
        !(score == 0 && signbit(score))) {
        int64_t integer = (int64_t)score;
        return integer < 0 ? mp_encode_int(out, integer) : mp_encode_uint(out, (uint64_t)integer);
    }
    return mp_encode_double(out, score);
}

static double score_read(const char **at)
{
    int64_t integer;
    if (mp_typeof(**at) == MP_DOUBLE)
        return mp_decode_double(at);
    return mp_read_int(at, &integer) ? (double)integer : 0;
}

static void bits_write(uint64_t bits, unsigned char out[REDIS_ZSET_PLACE_SIZE])
{
    const uint64_t bytes = __builtin_bswap64(bits);
    memcpy(out, &bytes, REDIS_ZSET_PLACE_SIZE);
}

void redis_zset_place_score(double score, unsigned char out[REDIS_ZSET_PLACE_SIZE])
{
    bits_write(db_redis_number_order(score), out);
}

void redis_zset_place_behind(double score, unsigned char out[REDIS_ZSET_PLACE_SIZE])
{
    bits_write(db_redis_number_order(score) + 1, out);
}

struct redis_slice redis_zset_place(struct redis_call *call, double score,
                                    const struct redis_slice *member)
{
    size_t size = REDIS_ZSET_PLACE_SIZE + member->size;
    unsigned char *place = arena_alloc(txn_arena(call->txn), size);
    if (!place) {
        out_of_memory();
        return NOTHING;
    }
    redis_zset_place_score(score, place);
    if (member->size)
        memcpy(place + REDIS_ZSET_PLACE_SIZE, member->data, member->size);
    return (struct redis_slice){(char *)place, size};
}

int redis_zset_place_compare(const struct redis_slice *left, const struct redis_slice *right)
{
    size_t size = left->size < right->size ? left->size : right->size;
    int order = size ? memcmp(left->data, right->data, size) : 0;
    return order ? order : (left->size > right->size) - (left->size < right->size);
}

void redis_zset_entry_read(const struct redis_element *element, struct redis_zset_entry *out)
{
    const char *at = element->value.data;
    out->member = (struct redis_slice){element->key + REDIS_ZSET_PLACE_SIZE,
                                       element->key_size - REDIS_ZSET_PLACE_SIZE};
    out->score = score_read(&at);
}

int redis_zset_compare(const struct redis_zset_entry *left, const struct redis_zset_entry *right)
{
    if (left->score != right->score)
        return left->score < right->score ? -1 : 1;
    return redis_zset_place_compare(&left->member, &right->member);
}

static int by_place(const void *left, const void *right)
{
    return redis_zset_compare(left, right);
}

void redis_zset_sort(struct redis_zset_entry *entries, size_t count)
{
    if (count > 1)
        qsort(entries, count, sizeof *entries, by_place);
}

/* ------------------------------------------------------------------------------------ packed ones */

/* Room for `more` entries. */
static int reserve(struct redis_zset *zset, size_t more)
{
    if (zset->capacity - zset->count >= more)
        return 0;
    size_t capacity = 2 * zset->capacity + more;
    struct redis_zset_entry *entries =
        arena_alloc(txn_arena(zset->call->txn), capacity * sizeof *entries);
    if (!entries)
        return out_of_memory();
    if (zset->count)
        memcpy(entries, zset->entries, zset->count * sizeof *entries);
    zset->entries = entries;
    zset->capacity = capacity;
    return 0;
}

static int unpack(struct redis_zset *zset)
{
    const char *at = zset->value.data, *end = at + zset->value.size;
    size_t count = mp_decode_array(&at) / 2;
    int rc = reserve(zset, count + zset->writing);
    while (!rc && at < end && zset->count < count) {
        struct redis_zset_entry *entry = &zset->entries[zset->count++];
        struct redis_item item;
        redis_item_read(at, &item);
        at += item.raw_size;
        entry->member = (struct redis_slice){item.data, item.size};
        entry->score = score_read(&at);
        if (item.data == item.digits)
            entry->member.data = arena_copy(txn_arena(zset->call->txn), item.data, item.size);
        if (!entry->member.data)
            rc = out_of_memory();
    }
    return rc;
}

static bool same(const struct redis_slice *left, const struct redis_slice *right)
{
    return left->size == right->size &&
           (left->size == 0 || memcmp(left->data, right->data, left->size) == 0);
}

static struct redis_zset_entry *packed_find(const struct redis_zset *zset,
                                            const struct redis_slice *member)
{
    for (size_t n = 0; n < zset->count; n++)
        if (same(&zset->entries[n].member, member))
            return &zset->entries[n];
    return NULL;
}

static void packed_remove(struct redis_zset *zset, struct redis_zset_entry *entry)
{
    size_t behind = (size_t)(zset->entries + zset->count - entry) - 1;
    memmove(entry, entry + 1, behind * sizeof *entry);
    zset->count--;
    zset->changed = true;
}

static int packed_add(struct redis_zset *zset, const struct redis_slice *member, double score)
{
    /* As in Redis, a packed one has no -0. */
    const struct redis_zset_entry new = {*member, score == 0 ? 0 : score};
    int rc = reserve(zset, 1);
    if (rc)
        return rc;
    size_t low = 0, high = zset->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (redis_zset_compare(&zset->entries[middle], &new) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    memmove(&zset->entries[low + 1], &zset->entries[low],
            (zset->count - low) * sizeof *zset->entries);
    zset->entries[low] = new;
    zset->count++;
    zset->changed = true;
    if (member->size > zset->longest)
        zset->longest = member->size;
    return 0;
}

static bool too_large(const struct redis_zset *zset)
{
    const struct redis_config *config = zset->call->config;
    return zset->count > load_relaxed(&config->zset_max_listpack_entries) ||
           zset->longest > load_relaxed(&config->zset_max_listpack_value);
}

static int packed_put(struct redis_zset *zset)
{
    struct redis_packer packer;
    size_t size = 0;
    for (size_t n = 0; n < zset->count; n++)
        size += redis_item_size_max(zset->entries[n].member.size) + 9;
    redis_packer_create(&packer, zset->call, size);
    for (size_t n = 0; n < zset->count; n++) {
        char score[9];
        redis_packer_add(&packer, zset->entries[n].member.data, zset->entries[n].member.size);
        double value = zset->entries[n].score;
        char *end = score_pack(score, value == 0 ? 0 : value);
        redis_packer_raw(&packer, score, (size_t)(end - score));
    }
    return redis_packer_put(&packer, &zset->key, REDIS_TYPE_ZSET, zset->value.expire_ms);
}

/* ------------------------------------------------------------------------------------ spread ones */

static int row_put(struct redis_zset *zset, const struct redis_slice *member, double score)
{
    char packed[9];
    char *end = score_pack(packed, score);
    return redis_element_put(zset->call, zset->value.id, REDIS_NUMBERED, member->data, member->size,
                             (struct redis_slice){packed, (size_t)(end - packed)}, 0);
}

/* Counts a member that comes or goes. */
static int place_count(struct redis_zset *zset, const struct redis_slice *member, double score,
                       int delta)
{
    const struct redis_slice place = redis_zset_place(zset->call, score, member);
    return place.data ? redis_zset_rank_add(zset, &place, delta) : out_of_memory();
}

/* What a place begins with is not behind it. */
static void floor_set(struct redis_zset *zset, struct redis_slice place)
{
    zset->floor = place;
    if (place.size > FLOOR_SIZE_MAX)
        zset->floor.size = FLOOR_SIZE_MAX;
    zset->floor_moved = true;
}

void redis_zset_floor_raise(struct redis_zset *zset, const struct redis_slice *place)
{
    if (zset->value.spread && txn_level(zset->call->txn) == TXN_SERIALIZABLE &&
        redis_zset_place_compare(&zset->floor, place) < 0)
        floor_set(zset, *place);
}

/* Before a member comes to a place. Forgotten, not lowered: else each of those who add one in front of
 * the other would write the key's row. */
static void floor_heed(struct redis_zset *zset, const struct redis_slice *place)
{
    redis_zset_rank_come(zset, place);
    if (txn_level(zset->call->txn) != TXN_SERIALIZABLE ||
        redis_zset_place_compare(place, &zset->floor) < 0)
        floor_set(zset, NOTHING);
}

static void floor_read(struct redis_zset *zset)
{
    const char *at = zset->value.data;
    zset->floor = NOTHING;
    if (mp_typeof(*at) != MP_BIN)
        return;
    uint32_t size;
    zset->floor.data = mp_decode_bin(&at, &size);
    zset->floor.size = size;
}

static int floor_put(struct redis_zset *zset)
{
    char kept[FLOOR_SIZE_MAX + 5];
    struct redis_slice packed = NOTHING;
    if (zset->floor.size) {
        char *end = mp_encode_bin(kept, zset->floor.data, (uint32_t)zset->floor.size);
        packed = (struct redis_slice){kept, (size_t)(end - kept)};
    }
    return redis_value_put_spread(zset->call, &zset->key, REDIS_TYPE_ZSET, zset->value.expire_ms,
                                  zset->value.id, packed);
}

static int spread_put(struct redis_zset *zset, const struct redis_slice *member, const double *old,
                      double score)
{
    const struct redis_slice place = redis_zset_place(zset->call, score, member);
    int rc = place.data ? 0 : diag_code();
    if (!rc && old)
        rc = place_count(zset, member, *old, -1);
    if (!rc)
        rc = row_put(zset, member, score);
    if (rc)
        return rc;
    zset->added += !old;
    floor_heed(zset, &place);
    return redis_zset_rank_add(zset, &place, 1);
}

/* From the entries into rows. */
static int spread(struct redis_zset *zset)
{
    struct redis_call *call = zset->call;
    uint64_t id;
    int rc = redis_spread_new(call, &id);
    if (!rc)
        rc = redis_value_put_spread(call, &zset->key, REDIS_TYPE_ZSET, zset->value.expire_ms, id,
                                    NOTHING);
    zset->value = (struct redis_value){.type = REDIS_TYPE_ZSET,
                                       .spread = true,
                                       .expire_ms = zset->value.expire_ms,
                                       .id = id,
                                       .data = "\xc0",
                                       .size = 1};
    for (size_t n = 0; n < zset->count && !rc; n++) {
        const struct redis_zset_entry *entry = &zset->entries[n];
        rc = row_put(zset, &entry->member, entry->score);
    }
    zset->added = (int64_t)zset->count;
    return rc ? rc : redis_zset_rank_build(zset, zset->entries, zset->count);
}

/* ---------------------------------------------------------------------------------- open and close */

static int opened(struct redis_zset *zset)
{
    if (zset->value.type == REDIS_TYPE_NONE)
        return 0;
    int rc = redis_value_keep(zset->call, &zset->value);
    if (!rc && zset->value.spread)
        floor_read(zset);
    return rc || zset->value.spread ? rc : unpack(zset);
}

int redis_zset_open(struct redis_zset *zset, struct redis_call *call,
                    const struct redis_slice *name)
{
    *zset = (struct redis_zset){.call = call, .name = name};
    int rc = redis_open(call, name, REDIS_TYPE_ZSET, &zset->key, &zset->value);
    return rc ? rc : opened(zset);
}

int redis_zset_open_for_update(struct redis_zset *zset, struct redis_call *call,
                               const struct redis_slice *name)
{
    *zset = (struct redis_zset){.call = call, .name = name, .writing = true};
    int rc = redis_open_for_update(call, name, REDIS_TYPE_ZSET, &zset->key, &zset->value);
    return rc ? rc : opened(zset);
}

int redis_zset_of(struct redis_zset *zset, struct redis_call *call, const struct redis_value *value)
{
    *zset = (struct redis_zset){.call = call, .value = *value};
    return opened(zset);
}

int redis_zset_close(struct redis_zset *zset, bool *ended)
{
    bool end = false;
    int rc = 0;
    if (zset->value.spread) {
        rc = redis_count_add(zset->call, zset->value.id, 0, zset->added);
        if (!rc && zset->shrunk)
            rc = redis_spread_shrunk(zset->call, &zset->key, &zset->value, REDIS_NUMBERED,
                                     zset->last.data, zset->last.size, &end);
        if (!rc && zset->floor_moved && !end)
            rc = floor_put(zset);
    } else if (zset->changed && zset->count == 0) {
        end = redis_zset_exists(zset);
        rc = end ? redis_value_delete(zset->call, &zset->key, &zset->value) : 0;
    } else if (zset->changed) {
        rc = packed_put(zset);
    }
    if (ended)
        *ended = end;
    return rc;
}

int redis_zset_store(struct redis_call *call, const struct redis_slice *name,
                     struct redis_zset_entry *entries, size_t count, const char *event)
{
    struct redis_zset zset = {.call = call, .name = name, .writing = true, .changed = true};
    struct redis_value old;
    int rc = redis_open_for_update(call, name, REDIS_TYPE_NONE, &zset.key, &old);
    if (rc)
        return rc;
    if (count == 0) {
        if (old.type == REDIS_TYPE_NONE)
            return 0;
        rc = redis_value_delete(call, &zset.key, &old);
        return rc ? rc : redis_changed(call, name, REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC, "del");
    }
    redis_zset_sort(entries, count);
    zset.entries = entries;
    zset.count = zset.capacity = count;
    for (size_t n = 0; n < count; n++)
        if (entries[n].member.size > zset.longest)
            zset.longest = entries[n].member.size;
    if (too_large(&zset))
        rc = spread(&zset);
    if (!rc)
        rc = redis_zset_close(&zset, NULL);
    return rc || !event ? rc : redis_changed(call, name, REDIS_TYPE_ZSET, REDIS_NOTIFY_ZSET, event);
}

/* ----------------------------------------------------------------------------------- one or other */

int redis_zset_length(struct redis_zset *zset, int64_t *out)
{
    if (zset->value.spread) {
        int rc = redis_count_get(zset->call, zset->value.id, 0, out);
        *out += zset->added;
        return rc;
    }
    *out = (int64_t)zset->count;
    return 0;
}

int redis_zset_score(struct redis_zset *zset, const struct redis_slice *member, bool *present,
                     double *score)
{
    struct redis_slice row = NOTHING;
    *present = false;
    *score = 0;
    if (!zset->value.spread) {
        const struct redis_zset_entry *entry = packed_find(zset, member);
        *present = entry != NULL;
        if (entry)
            *score = entry->score;
        return 0;
    }
    int rc = 0;
    if (member->size <= REDIS_ELEMENT_KEY_MAX)
        rc = (zset->writing ? redis_element_get_for_update : redis_element_get)(
            zset->call, zset->value.id, REDIS_NUMBERED, member->data, member->size, &row);
    *present = !rc && row.data;
    if (*present)
        *score = score_read(&row.data);
    return rc;
}

int redis_zset_put(struct redis_zset *zset, const struct redis_slice *member, const double *old,
                   double score)
{
    if (zset->value.spread)
        return spread_put(zset, member, old, score);
    if (old)
        packed_remove(zset, packed_find(zset, member));
    int rc = packed_add(zset, member, score);
    return !rc && too_large(zset) ? spread(zset) : rc;
}

int redis_zset_remove(struct redis_zset *zset, const struct redis_slice *member, double score)
{
    if (!zset->value.spread) {
        packed_remove(zset, packed_find(zset, member));
        return 0;
    }
    int rc = redis_element_delete(zset->call, zset->value.id, REDIS_NUMBERED, member->data,
                                  member->size);
    zset->added--;
    zset->shrunk = true;
    zset->last = *member;
    return rc ? rc : place_count(zset, member, score, -1);
}
