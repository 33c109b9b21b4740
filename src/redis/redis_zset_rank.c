/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Buckets of spread sorted sets; see the header.
 *
 * What changes the bounds of buckets (cut, clear) has read all their counts as validated reads, and
 * who adds has read which buckets its place is in: so of a member that is added and a cut that does not
 * count it one runs again. Who cuts or clears does so by chance, so the next run does something else.
 *
 * Commands that share a transaction (a pipeline's, EXEC's, a script's) look for places in one set again
 * and again. What they have read holds until the commit, so the transaction notes of both levels the
 * last bucket if it was asked for twice: who takes from one end, or adds at it, is in that one. Who goes
 * elsewhere has all the coarse ones noted, which are few, once he has asked three times. And it notes
 * up to which place it has taken all members, with its reads of those who were there before them: the
 * next one to take begins behind that.
 */
#include "redis/redis_zset_rank.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"

enum {
    KIND_BEGIN = 'b',
    KIND_COUNT = 'r',
    KIND_BOUND = 'u',
    LEVELS = 2,
    FINE_MAX = 256,  /* members of a fine bucket */
    COARSE_MAX = 64, /* fine buckets of a coarse one */
    BUILD_FINE = FINE_MAX / 2,
    BUILD_COARSE = COARSE_MAX / 2,
    STRIPES = 16,
    LOOK_EVERY = 32, /* of so many additions or removals one looks at its bucket */
};

static const struct redis_slice BEGINNING = {"", 0}, END = {NULL, 0};

struct bucket {
    struct redis_slice begin;
    int64_t count;
};
struct buckets {
    struct bucket *items;
    size_t count, capacity;
    bool loose; /* read as a hint: who counts meanwhile is no conflict */
};

static int out_of_memory(void)
{
    return diag_set(ERROR_MEMORY, "out of memory");
}

static struct arena *arena_of(const struct redis_zset *zset)
{
    return txn_arena(zset->call->txn);
}

/* Up to two bytes in front of a place; data NULL with diagnostics. */
static struct redis_slice key_make(const struct redis_zset *zset, int first, int second,
                                   struct redis_slice place)
{
    size_t head = second < 0 ? 1 : 2;
    char *key = arena_alloc(arena_of(zset), head + place.size);
    if (!key) {
        out_of_memory();
        return END;
    }
    key[0] = (char)first;
    if (second >= 0)
        key[1] = (char)second;
    if (place.size)
        memcpy(key + head, place.data, place.size);
    return (struct redis_slice){key, head + place.size};
}

/* --------------------------------------------------------------------------------- reading buckets */

static int first_of(struct redis_zset *zset, int kind, const struct redis_element_range *range,
                    struct redis_element *element)
{
    struct redis_elements elements;
    int rc = redis_elements_open(&elements, zset->call, zset->value.id, kind, range);
    if (rc)
        return rc;
    redis_elements_few(&elements);
    return redis_elements_next(&elements, element);
}

/* The bucket that has the place: where it begins, in the arena's or a row's bytes. */
static int begin_of(struct redis_zset *zset, int level, struct redis_slice place,
                    struct redis_slice *begin)
{
    struct redis_element element;
    struct redis_element_range range = {.lower = key_make(zset, level, -1, BEGINNING),
                                        .upper = key_make(zset, level, -1, place),
                                        .backward = true};
    if (!range.lower.data || !range.upper.data)
        return diag_code();
    int rc = first_of(zset, KIND_BEGIN, &range, &element);
    *begin = rc ? BEGINNING : (struct redis_slice){element.key + 1, element.key_size - 1};
    return rc == ERROR_END ? 0 : rc;
}

/* The last bucket that begins before the place; `data` NULL: the last of all. */
static int begin_before(struct redis_zset *zset, int level, struct redis_slice place,
                        struct redis_slice *begin)
{
    struct redis_element element;
    struct redis_element_range range = {.lower = key_make(zset, level, -1, BEGINNING),
                                        .upper = place.data
                                                     ? key_make(zset, level, -1, place)
                                                     : key_make(zset, level + 1, -1, BEGINNING),
                                        .upper_exclusive = true,
                                        .backward = true};
    if (!range.lower.data || !range.upper.data)
        return diag_code();
    int rc = first_of(zset, KIND_BEGIN, &range, &element);
    *begin = rc ? BEGINNING : (struct redis_slice){element.key + 1, element.key_size - 1};
    return rc == ERROR_END ? 0 : rc;
}

/* The first bucket behind this one: where it begins, `data` NULL when this is the last. */
static int begin_behind(struct redis_zset *zset, int level, struct redis_slice begin,
                        struct redis_slice *next)
{
    struct redis_element element;
    struct redis_element_range range = {.lower = key_make(zset, level, -1, begin),
                                        .upper = key_make(zset, level + 1, -1, BEGINNING),
                                        .lower_exclusive = true,
                                        .upper_exclusive = true};
    if (!range.lower.data || !range.upper.data)
        return diag_code();
    int rc = first_of(zset, KIND_BEGIN, &range, &element);
    *next = rc ? END : (struct redis_slice){element.key + 1, element.key_size - 1};
    return rc == ERROR_END ? 0 : rc;
}

static int order_of(struct redis_slice left, struct redis_slice right)
{
    return redis_zset_place_compare(&left, &right);
}

/* The bucket that was found last. */
struct noted {
    struct redis_slice begin, next;
    bool found, bounded; /* `begin` is known; `next` is */
};

/* What a transaction has noted of one set; the slices are of rows, or static. */
struct notes {
    uint64_t id;
    unsigned asked;        /* for coarse buckets, up to ASKED_NEVER */
    struct buckets coarse; /* all of them, or none */
    struct noted last[LEVELS];
    struct redis_slice taken; /* the place of the last that was taken from the beginning */
    struct redis_slice bound; /* as bound_of gives it */
    bool bound_read;
};

enum { ASKED_ENOUGH = 3, ASKED_NEVER = 4, NOTED_MAX = 256 };

/* NULL: nothing may be noted. */
static struct notes *notes_of(struct redis_zset *zset)
{
    struct txn *txn = zset->call->txn;
    struct notes *notes = txn_notes(txn);
    if (notes && notes->id == zset->value.id)
        return notes;
    if (txn_level(txn) != TXN_SERIALIZABLE && txn_level(txn) != TXN_SNAPSHOT)
        return NULL;
    if (!notes && !(notes = arena_alloc(arena_of(zset), sizeof *notes)))
        return NULL;
    *notes = (struct notes){.id = zset->value.id};
    txn_notes_set(txn, notes);
    return notes;
}

/* Before the bounds of buckets are changed. */
static void notes_forget(struct redis_zset *zset)
{
    txn_notes_set(zset->call->txn, NULL);
}

struct redis_slice redis_zset_rank_taken(const struct redis_zset *zset)
{
    const struct notes *notes = txn_notes(zset->call->txn);
    return notes && notes->id == zset->value.id ? notes->taken : END;
}

void redis_zset_rank_take(struct redis_zset *zset, const struct redis_slice *place)
{
    struct notes *notes = notes_of(zset);
    if (notes)
        notes->taken = *place;
}

void redis_zset_rank_come(struct redis_zset *zset, const struct redis_slice *place)
{
    struct notes *notes = txn_notes(zset->call->txn);
    if (notes && notes->id == zset->value.id && notes->taken.data &&
        order_of(*place, notes->taken) <= 0)
        notes->taken = END;
}

/* ---------------------------------------------------------------------------------------- the bound */

static int bound_unpack(struct redis_slice row, struct redis_slice *bound)
{
    uint32_t size;
    *bound = END;
    if (!row.data || mp_typeof(*row.data) == MP_NIL)
        return 0;
    if (mp_typeof(*row.data) != MP_BIN)
        return diag_set(ERROR_CORRUPT, "the bound of the ranks of a sorted set is damaged");
    bound->data = mp_decode_bin(&row.data, &size);
    bound->size = size;
    if (size == 0)
        *bound = BEGINNING;
    return 0;
}

/* From which place on no member is counted; data NULL: all are. Valid until the transaction ends. */
static int bound_of(struct redis_zset *zset, struct redis_slice *bound)
{
    struct redis_slice row;
    struct notes *notes = notes_of(zset);
    if (notes && notes->bound_read) {
        *bound = notes->bound;
        return 0;
    }
    int rc = redis_element_get(zset->call, zset->value.id, KIND_BOUND, NULL, 0, &row);
    if (!rc)
        rc = bound_unpack(row, bound);
    if (!rc && bound->size > 0 &&
        !(bound->data = arena_copy(arena_of(zset), bound->data, bound->size)))
        rc = out_of_memory();
    if (!rc && notes) {
        notes->bound = *bound;
        notes->bound_read = true;
    }
    return rc;
}

static int bound_put(struct redis_zset *zset, struct redis_slice bound)
{
    enum { HEADER_MAX = 5 };
    char *packed = arena_alloc(arena_of(zset), bound.size + HEADER_MAX);
    if (!packed)
        return out_of_memory();
    char *end = bound.data ? mp_encode_bin(packed, bound.data, (uint32_t)bound.size)
                           : mp_encode_nil(packed);
    return redis_element_put(zset->call, zset->value.id, KIND_BOUND, NULL, 0,
                             (struct redis_slice){packed, (size_t)(end - packed)}, 0);
}

/* At the levels at which it is not looked at the commit whether the bound is still where it was read, it is written once
 * more: so who adds a member, or takes one away, meets who moves it. And as the buckets are those of the statement's
 * snapshot, the bound has to be that one too, and still the latest. */
static int bound_hold(struct redis_zset *zset, struct redis_slice bound)
{
    struct redis_slice row, latest;
    int rc = redis_element_get_for_update(zset->call, zset->value.id, KIND_BOUND, NULL, 0, &row);
    if (!rc)
        rc = bound_unpack(row, &latest);
    if (!rc && (!latest.data != !bound.data || (bound.data && order_of(latest, bound) != 0)))
        rc = diag_set(ERROR_CONFLICT, "the sorted set is being counted");
    return rc || !bound.data ? rc : bound_put(zset, bound);
}

/* Whether a member at the place is counted. */
static int is_counted(struct redis_zset *zset, struct redis_slice place, bool *counted)
{
    struct redis_slice bound;
    int rc = bound_of(zset, &bound);
    *counted = !rc && (!bound.data || order_of(place, bound) < 0);
    return rc || txn_level(zset->call->txn) == TXN_SERIALIZABLE ? rc : bound_hold(zset, bound);
}

int redis_zset_rank_passed(struct redis_zset *zset, int64_t passed)
{
    struct redis_slice row, bound;
    if (passed < 0 || (uint64_t)passed <= load_relaxed(&zset->call->config->zset_ranks_after))
        return 0;
    int rc = redis_element_peek(zset->call, zset->value.id, KIND_BOUND, NULL, 0, &row);
    if (!rc)
        rc = bound_unpack(row, &bound);
    if (!rc && bound.data)
        db_redis_ranks_ask(db_worker_db(zset->call->worker), zset->value.id);
    return rc;
}

/* ---------------------------------------------------------------------------- who looks for a bucket */

static int buckets_add(struct redis_zset *zset, struct buckets *buckets, struct redis_slice begin)
{
    if (buckets->count == buckets->capacity) {
        size_t capacity = buckets->capacity ? 2 * buckets->capacity : 64;
        struct bucket *items = arena_alloc(arena_of(zset), capacity * sizeof *items);
        if (!items)
            return out_of_memory();
        if (buckets->count)
            memcpy(items, buckets->items, buckets->count * sizeof *items);
        buckets->items = items;
        buckets->capacity = capacity;
    }
    buckets->items[buckets->count++] = (struct bucket){begin, 0};
    return 0;
}

static int begins_read(struct redis_zset *zset, int level, struct redis_slice from,
                       struct redis_slice to, struct buckets *out)
{
    struct redis_elements elements;
    struct redis_element element;
    struct redis_element_range range = {.lower = key_make(zset, level, -1, from),
                                        .upper = to.data ? key_make(zset, level, -1, to)
                                                         : key_make(zset, level + 1, -1, BEGINNING),
                                        .lower_exclusive = true,
                                        .upper_exclusive = true};
    if (!range.lower.data || !range.upper.data)
        return diag_code();
    int rc = buckets_add(zset, out, from);
    if (!rc)
        rc = redis_elements_open(&elements, zset->call, zset->value.id, KIND_BEGIN, &range);
    while (!rc && !(rc = redis_elements_next(&elements, &element)))
        rc = buckets_add(zset, out, (struct redis_slice){element.key + 1, element.key_size - 1});
    return rc == ERROR_END ? 0 : rc;
}

/* As begin_of. The end of a bucket is read when it is asked for twice in a row. */
static int noted_of(struct redis_zset *zset, int level, struct noted *last,
                    struct redis_slice place, struct redis_slice *begin)
{
    int rc = begin_of(zset, level, place, begin);
    if (rc)
        return rc;
    last->bounded = last->found && order_of(last->begin, *begin) == 0;
    last->found = true;
    last->begin = *begin;
    return last->bounded ? begin_behind(zset, level, *begin, &last->next) : 0;
}

static bool is_in(const struct noted *last, struct redis_slice place)
{
    return last->bounded && order_of(last->begin, place) <= 0 &&
           (!last->next.data || order_of(place, last->next) < 0);
}

/* Among all of them, which are read now if they have not been. */
static int coarse_find(struct redis_zset *zset, struct notes *notes, struct redis_slice place,
                       struct redis_slice *begin)
{
    int rc = notes->coarse.count ? 0 : begins_read(zset, 1, BEGINNING, END, &notes->coarse);
    const struct bucket *items = notes->coarse.items;
    size_t low = 0, high = notes->coarse.count; /* the last that does not begin behind the place */
    while (!rc && high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (order_of(items[middle].begin, place) <= 0)
            low = middle;
        else
            high = middle;
    }
    if (!rc)
        *begin = items[low].begin;
    if (rc || notes->coarse.count > NOTED_MAX) {
        notes->coarse = (struct buckets){.count = 0};
        notes->asked = ASKED_NEVER;
    }
    return rc;
}

static int bucket_of(struct redis_zset *zset, int level, struct redis_slice place,
                     struct redis_slice *begin)
{
    struct notes *notes = notes_of(zset);
    if (!notes)
        return begin_of(zset, level, place, begin);
    if (is_in(&notes->last[level], place)) {
        *begin = notes->last[level].begin;
        return 0;
    }
    bool all = level == 1 && notes->asked < ASKED_NEVER &&
               (notes->coarse.count > 0 || ++notes->asked >= ASKED_ENOUGH);
    return all ? coarse_find(zset, notes, place, begin)
               : noted_of(zset, level, &notes->last[level], place, begin);
}

/* Adds what a stripe has counted, from the first of the buckets on, up to `to`. */
static int stripe_read(struct redis_zset *zset, int level, int stripe, struct redis_slice to,
                       struct buckets *buckets)
{
    struct redis_elements elements;
    struct redis_element element;
    struct redis_element_range range = {
        .lower = key_make(zset, level, stripe, buckets->items[0].begin),
        .upper = to.data ? key_make(zset, level, stripe, to)
                         : key_make(zset, level, stripe + 1, BEGINNING),
        .upper_exclusive = true};
    size_t at = 0;
    if (!range.lower.data || !range.upper.data)
        return diag_code();
    int rc = (buckets->loose ? redis_elements_open_loose : redis_elements_open)(
        &elements, zset->call, zset->value.id, KIND_COUNT, &range);
    while (!rc && !(rc = redis_elements_next(&elements, &element))) {
        const struct redis_slice begin = {element.key + 2, element.key_size - 2};
        int64_t part;
        while (at + 1 < buckets->count && order_of(buckets->items[at + 1].begin, begin) <= 0)
            at++;
        if (!mp_read_int(&element.value.data, &part))
            return diag_set(ERROR_CORRUPT, "a count in the Redis space is damaged");
        buckets->items[at].count += part;
    }
    return rc == ERROR_END ? 0 : rc;
}

/* The next stripe from this one on that has counted anything, STRIPES when there is none: so that
 * nobody looks for those of workers that there are not. */
static int stripe_next(struct redis_zset *zset, int level, bool loose, int *stripe)
{
    struct redis_elements elements;
    struct redis_element element;
    struct redis_element_range range = {.lower = key_make(zset, level, *stripe, BEGINNING),
                                        .upper = key_make(zset, level + 1, -1, BEGINNING),
                                        .upper_exclusive = true};
    if (!range.lower.data || !range.upper.data)
        return diag_code();
    int rc = (loose ? redis_elements_open_loose : redis_elements_open)(
        &elements, zset->call, zset->value.id, KIND_COUNT, &range);
    if (!rc) {
        redis_elements_few(&elements);
        rc = redis_elements_next(&elements, &element);
    }
    *stripe = rc ? STRIPES : element.key[1];
    return rc == ERROR_END ? 0 : rc;
}

/* The buckets of a level from `from`, where one begins, to `to`, with their counts. */
static int buckets_read(struct redis_zset *zset, int level, struct redis_slice from,
                        struct redis_slice to, struct buckets *out)
{
    out->count = 0;
    int rc = begins_read(zset, level, from, to, out);
    for (int stripe = 0; !rc && stripe < STRIPES; stripe++) {
        rc = stripe_next(zset, level, out->loose, &stripe);
        if (!rc && stripe < STRIPES)
            rc = stripe_read(zset, level, stripe, to, out);
    }
    return rc;
}

/* ---------------------------------------------------------------------------------------- changing */

/* *count: what this stripe has of it then. */
static int count_add(struct redis_zset *zset, int level, struct redis_slice begin, int64_t delta,
                     int64_t *count)
{
    int stripe = (int)(txn_worker_number(txn_worker_of(zset->call->txn)) % STRIPES);
    const struct redis_slice key = key_make(zset, level, stripe, begin);
    *count = 0;
    return key.data ? redis_element_count_add(zset->call, zset->value.id, KIND_COUNT, key.data,
                                              key.size, delta, count)
                    : diag_code();
}

static int begin_put(struct redis_zset *zset, int level, struct redis_slice begin)
{
    const struct redis_slice key = key_make(zset, level, -1, begin);
    notes_forget(zset);
    return key.data ? redis_element_put(zset->call, zset->value.id, KIND_BEGIN, key.data, key.size,
                                        (struct redis_slice){"\xc0", 1}, 0)
                    : diag_code();
}

/* `moved` of a bucket's members are from now on in one of their own, that begins at `middle`. */
static int cut(struct redis_zset *zset, int level, struct redis_slice begin,
               struct redis_slice middle, int64_t moved)
{
    int64_t count;
    int rc = begin_put(zset, level, middle);
    if (!rc)
        rc = count_add(zset, level, begin, -moved, &count);
    return rc ? rc : count_add(zset, level, middle, moved, &count);
}

/* The place that is `skip` behind the first in [from, to); ERROR_END: there are fewer. */
static int place_at(struct redis_zset *zset, struct redis_slice from, struct redis_slice to,
                    int64_t skip, struct redis_slice *place)
{
    struct redis_elements elements;
    struct redis_element element = {.key = NULL};
    const struct redis_element_range range = {.lower = from, .upper = to, .upper_exclusive = true};
    int rc = redis_elements_open(&elements, zset->call, zset->value.id, REDIS_BY_NUMBER, &range);
    for (int64_t n = 0; n <= skip && !rc; n++)
        rc = redis_elements_next(&elements, &element);
    if (rc)
        return rc;
    *place = (struct redis_slice){arena_copy(arena_of(zset), element.key, element.key_size),
                                  element.key_size};
    return place->data ? 0 : out_of_memory();
}

/* Cuts the coarse bucket in two if it has too many fine ones. */
static int coarse_look(struct redis_zset *zset, struct redis_slice begin, struct redis_slice next)
{
    struct buckets fine = {.count = 0};
    int rc = begins_read(zset, 0, begin, next, &fine);
    if (rc || fine.count <= COARSE_MAX)
        return rc;
    struct redis_slice middle = fine.items[fine.count / 2].begin;
    rc = buckets_read(zset, 0, middle, next, &fine);
    int64_t moved = 0;
    for (size_t n = 0; n < fine.count; n++)
        moved += fine.items[n].count;
    return rc ? rc : cut(zset, 1, begin, middle, moved);
}

/* Cuts the fine bucket in two if it has too many members; then the coarse one may have too many. */
static int fine_look(struct redis_zset *zset, struct redis_slice fine, struct redis_slice coarse)
{
    struct redis_slice next, middle, coarse_next;
    struct buckets hint = {.loose = true}, buckets = {.count = 0};
    int rc = begin_behind(zset, 0, fine, &next);
    if (!rc)
        rc = buckets_read(zset, 0, fine, next, &hint);
    if (rc || hint.items[0].count <= FINE_MAX)
        return rc;
    rc = buckets_read(zset, 0, fine, next, &buckets);
    if (rc || buckets.items[0].count <= FINE_MAX)
        return rc;
    int64_t left = buckets.items[0].count / 2;
    rc = place_at(zset, fine, next, left, &middle);
    if (rc)
        return rc == ERROR_END ? 0 : rc;
    rc = cut(zset, 0, fine, middle, buckets.items[0].count - left);
    if (!rc)
        rc = begin_behind(zset, 1, coarse, &coarse_next);
    return rc ? rc : coarse_look(zset, coarse, coarse_next);
}

/* ---------------------------------------------------------------------------------------- clearing */

static int bucket_delete(struct redis_zset *zset, int level, struct redis_slice begin)
{
    struct redis_slice row;
    struct redis_slice key = key_make(zset, level, -1, begin);
    notes_forget(zset);
    int rc = key.data
                 ? redis_element_delete(zset->call, zset->value.id, KIND_BEGIN, key.data, key.size)
                 : diag_code();
    for (int stripe = 0; stripe < STRIPES && !rc; stripe++) {
        key = key_make(zset, level, stripe, begin);
        rc = key.data ? redis_element_get_for_update(zset->call, zset->value.id, KIND_COUNT,
                                                     key.data, key.size, &row)
                      : diag_code();
        if (!rc && row.data)
            rc = redis_element_delete(zset->call, zset->value.id, KIND_COUNT, key.data, key.size);
    }
    return rc;
}

/* Deletes the fine buckets in [from, to) that are empty; the first one only with all of them, and then
 * the coarse one that begins there. What begins with the empty place stays. */
static int clear(struct redis_zset *zset, struct redis_slice from, struct redis_slice to)
{
    struct buckets hint = {.loose = true}, fine = {.count = 0};
    bool empty = true, some = false;
    int rc = buckets_read(zset, 0, from, to, &hint);
    for (size_t n = 0; n < hint.count && !rc; n++)
        some = some || (hint.items[n].count == 0 && (n > 0 || from.size > 0));
    if (rc || !some)
        return rc;
    rc = buckets_read(zset, 0, from, to, &fine);
    for (size_t n = 0; n < fine.count && !rc; n++)
        empty = empty && fine.items[n].count == 0;
    for (size_t n = 1; n < fine.count && !rc; n++)
        if (fine.items[n].count == 0)
            rc = bucket_delete(zset, 0, fine.items[n].begin);
    if (!rc && empty && from.size)
        rc = bucket_delete(zset, 0, from);
    return !rc && empty && from.size ? bucket_delete(zset, 1, from) : rc;
}

/* Clears the coarse bucket, and the one before it: what a queue has left behind is there. */
static int empty_look(struct redis_zset *zset, struct redis_slice coarse)
{
    struct redis_slice next, before;
    int rc = coarse.size ? begin_before(zset, 1, coarse, &before) : 0;
    if (!rc && coarse.size)
        rc = clear(zset, before, coarse);
    if (!rc)
        rc = begin_behind(zset, 1, coarse, &next);
    return rc ? rc : clear(zset, coarse, next);
}

int redis_zset_rank_add(struct redis_zset *zset, const struct redis_slice *place, int delta)
{
    struct redis_slice begins[LEVELS];
    int64_t counts[LEVELS];
    bool counted;
    int rc = is_counted(zset, *place, &counted);
    if (rc || !counted)
        return rc;
    for (int level = 0; level < LEVELS && !rc; level++) {
        rc = bucket_of(zset, level, *place, &begins[level]);
        if (!rc)
            rc = count_add(zset, level, begins[level], delta, &counts[level]);
    }
    if (rc)
        return rc;
    bool look = redis_random(zset->call) % LOOK_EVERY == 0;
    if (delta > 0)
        return look ? fine_look(zset, begins[0], begins[1]) : 0;
    look = redis_random(zset->call) % FINE_MAX == 0;
    return look || counts[1] == 0 ? empty_look(zset, begins[1]) : 0;
}

int redis_zset_rank_build(struct redis_zset *zset, const struct redis_zset_entry *entries,
                          size_t count)
{
    static const size_t SIZES[LEVELS] = {BUILD_FINE, BUILD_FINE * BUILD_COARSE};
    bool later = load_relaxed(&zset->call->config->zset_ranks_after) > 0;
    int rc = bound_put(zset, later ? BEGINNING : END);
    if (rc || later)
        return rc;
    for (int level = 0; level < LEVELS; level++)
        for (size_t n = 0; n < count && !rc; n += SIZES[level]) {
            size_t size = count - n < SIZES[level] ? count - n : SIZES[level];
            struct redis_slice begin = BEGINNING;
            int64_t counted;
            if (n > 0) {
                begin = redis_zset_place(zset->call, entries[n].score, &entries[n].member);
                rc = begin.data ? begin_put(zset, level, begin) : diag_code();
            }
            if (!rc)
                rc = count_add(zset, level, begin, (int64_t)size, &counted);
        }
    return rc;
}

/* The fine buckets of the next members from the place on, at most `most` of them, with their counts. *behind:
 * the place of the one behind them, data NULL: there is none. */
static int fine_make(struct redis_zset *zset, struct redis_slice from, size_t most,
                     struct buckets *fine, struct redis_slice *behind)
{
    struct redis_elements elements;
    struct redis_element element;
    const struct redis_element_range range = {.lower = from};
    size_t walked = 0;
    *behind = END;
    int rc = redis_elements_open(&elements, zset->call, zset->value.id, REDIS_BY_NUMBER, &range);
    while (!rc && !(rc = redis_elements_next(&elements, &element))) {
        struct redis_slice place = {NULL, element.key_size};
        if (walked % BUILD_FINE == 0 || walked == most) {
            place.data = arena_copy(arena_of(zset), element.key, element.key_size);
            rc = place.data ? 0 : out_of_memory();
        }
        if (!rc && walked == most) {
            *behind = place;
            return 0;
        }
        if (!rc && walked % BUILD_FINE == 0)
            rc = buckets_add(zset, fine, place);
        if (!rc)
            fine->items[walked++ / BUILD_FINE].count++;
    }
    return rc == ERROR_END ? 0 : rc;
}

/* Where the coarse bucket begins that is to have fine ones behind the bound: the last one, or one of
 * its own when that has enough. */
static int coarse_for(struct redis_zset *zset, struct redis_slice bound, struct redis_slice first,
                      struct redis_slice *coarse)
{
    struct buckets has = {.count = 0};
    int rc = begin_before(zset, 1, END, coarse);
    if (!rc)
        rc = begins_read(zset, 0, *coarse, END, &has);
    if (rc || bound.size == 0 || has.count < BUILD_COARSE)
        return rc;
    *coarse = first;
    return begin_put(zset, 1, first);
}

int redis_zset_rank_count(struct redis_call *call, uint64_t id, size_t most, uint64_t *count,
                          bool *all)
{
    struct redis_zset zset = {.call = call,
                              .value = {.type = REDIS_TYPE_ZSET, .spread = true, .id = id},
                              .writing = true};
    struct buckets fine = {.count = 0};
    struct redis_slice bound, behind, coarse;
    int64_t total = 0, counted;
    *count = 0;
    int rc = bound_of(&zset, &bound);
    *all = !rc && !bound.data;
    if (rc || *all)
        return rc;
    rc = fine_make(&zset, bound, most, &fine, &behind);
    if (!rc && fine.count)
        rc = coarse_for(&zset, bound, fine.items[0].begin, &coarse);
    for (size_t n = 0; n < fine.count && !rc; n++) {
        struct redis_slice begin = bound.size || n > 0 ? fine.items[n].begin : BEGINNING;
        total += fine.items[n].count;
        if (begin.size)
            rc = begin_put(&zset, 0, begin);
        if (!rc)
            rc = count_add(&zset, 0, begin, fine.items[n].count, &counted);
    }
    if (!rc && fine.count)
        rc = count_add(&zset, 1, coarse, total, &counted);
    if (!rc)
        rc = bound_put(&zset, behind);
    notes_forget(&zset);
    *count = (uint64_t)total;
    *all = !rc && !behind.data;
    return rc;
}

/* ------------------------------------------------------------------------------------------- ranks */

int redis_zset_rank_before(struct redis_zset *zset, const struct redis_slice *place, int64_t *rank)
{
    struct redis_slice from = BEGINNING, begin;
    struct buckets buckets = {.count = 0};
    int rc = 0;
    *rank = 0;
    for (int level = LEVELS - 1; level >= 0 && !rc; level--) {
        rc = begin_of(zset, level, *place, &begin);
        if (!rc && order_of(from, begin) < 0)
            rc = buckets_read(zset, level, from, begin, &buckets);
        else
            buckets.count = 0;
        for (size_t n = 0; n < buckets.count && !rc; n++)
            *rank += buckets.items[n].count;
        from = begin;
    }
    if (rc)
        return rc;
    struct redis_elements elements;
    struct redis_element element;
    const struct redis_element_range range = {
        .lower = from, .upper = *place, .upper_exclusive = true};
    int64_t passed = 0;
    rc = redis_elements_open(&elements, zset->call, zset->value.id, REDIS_BY_NUMBER, &range);
    while (!rc && !(rc = redis_elements_next(&elements, &element))) {
        ++*rank;
        passed += 1 + (int64_t)elements.cursor.passed;
    }
    return rc == ERROR_END ? redis_zset_rank_passed(zset, passed + elements.cursor.passed) : rc;
}

/* How many are in the fine bucket that begins here, and where the next one does. */
static int fine_count(struct redis_zset *zset, struct redis_slice begin, struct redis_slice *next,
                      int64_t *count)
{
    struct buckets buckets = {.count = 0};
    int rc = begin_behind(zset, 0, begin, next);
    if (!rc)
        rc = buckets_read(zset, 0, begin, *next, &buckets);
    *count = rc ? 0 : buckets.items[0].count;
    return rc;
}

static int skip_forward(struct redis_zset *zset, struct redis_element_range *range)
{
    struct redis_slice begin, next;
    int64_t count;
    int rc = begin_of(zset, 0, range->lower.data ? range->lower : BEGINNING, &begin);
    if (!rc)
        rc = fine_count(zset, begin, &next, &count);
    while (!rc && count == 0 && next.data) {
        if (range->upper.data && order_of(next, range->upper) >= 0)
            break;
        begin = next;
        range->lower = begin;
        range->lower_exclusive = false;
        rc = fine_count(zset, begin, &next, &count);
    }
    return rc;
}

static int skip_backward(struct redis_zset *zset, struct redis_element_range *range)
{
    struct redis_slice begin, next, bound;
    int64_t count;
    /* What stands where a bucket begins is in that one. */
    int rc = range->upper.data && !range->upper_exclusive
                 ? begin_of(zset, 0, range->upper, &begin)
                 : begin_before(zset, 0, range->upper, &begin);
    if (!rc)
        rc = fine_count(zset, begin, &next, &count);
    /* The last one also has those who are not counted. */
    if (!rc && !next.data)
        rc = bound_of(zset, &bound);
    if (!rc && !next.data && bound.data)
        return 0;
    while (!rc && count == 0 && begin.size) {
        if (range->lower.data && order_of(begin, range->lower) <= 0)
            break;
        range->upper = begin;
        range->upper_exclusive = true;
        rc = begin_before(zset, 0, begin, &begin);
        if (!rc)
            rc = fine_count(zset, begin, &next, &count);
    }
    return rc;
}

int redis_zset_rank_skip(struct redis_zset *zset, struct redis_element_range *range)
{
    return range->backward ? skip_backward(zset, range) : skip_forward(zset, range);
}

int redis_zset_rank_find(struct redis_zset *zset, int64_t rank, struct redis_slice *place)
{
    struct redis_slice from = BEGINNING, to = END;
    int rc = 0;
    for (int level = LEVELS - 1; level >= 0 && !rc; level--) {
        struct buckets buckets = {.count = 0};
        size_t n = 0;
        rc = buckets_read(zset, level, from, to, &buckets);
        if (rc)
            return rc;
        while (n + 1 < buckets.count && rank >= buckets.items[n].count)
            rank -= buckets.items[n++].count;
        from = buckets.items[n].begin;
        if (n + 1 < buckets.count)
            to = buckets.items[n + 1].begin;
    }
    if (!rc)
        rc = place_at(zset, from, to, rank, place);
    return rc ? rc : redis_zset_rank_passed(zset, rank);
}
