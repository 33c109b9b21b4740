/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows of spread collections; see the header for their keys.
 *
 * Counts. A row a worker, up to COUNT_STRIPES of them, so that two workers do not write one. A count
 * may be below zero in one stripe: only the sum means something.
 *
 * The last element. Who deletes one looks for any other, first behind it and then from the beginning,
 * and finding none deletes the key's row. What it found is validated: of two that delete the last two
 * elements, each seeing the other's, one runs again and finds nothing; and who adds an element has read
 * the key's row, which then is another. So a key exists as long as it has elements.
 */
#include "redis/redis_spread.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "codec/key.h"
#include "codec/mp.h"

enum { ID_BYTES = 8, PREFIX_BYTES = ID_BYTES + 1, COUNT_STRIPES = 16 };

static struct head *head_of(const struct redis_call *call)
{
    return db_redis_elements(db_worker_db(call->worker));
}

static void id_encode(unsigned char *out, uint64_t id)
{
    const uint64_t bytes = __builtin_bswap64(id);
    memcpy(out, &bytes, ID_BYTES);
}

/* How much stands before what the type makes of an element: entries have no kind. */
static size_t prefix_size(int kind)
{
    return kind == REDIS_BY_NUMBER ? ID_BYTES : PREFIX_BYTES;
}

size_t redis_element_key(unsigned char *out, uint64_t id, int kind, const void *key, size_t size)
{
    id_encode(out, id);
    out[ID_BYTES] = (unsigned char)kind;
    if (size)
        memcpy(out + prefix_size(kind), key, size);
    return prefix_size(kind) + size;
}

/* The row key of an element, or the key of its entry, in the arena; NULL with diagnostics. */
static unsigned char *row_key(struct redis_call *call, uint64_t id, int kind, const void *key,
                              size_t size)
{
    if (size > REDIS_ELEMENT_KEY_MAX) {
        diag_set(ERROR_TOO_LARGE, "element is too large: at most %d bytes", REDIS_ELEMENT_KEY_MAX);
        return NULL;
    }
    unsigned char *out = arena_alloc(txn_arena(call->txn), PREFIX_BYTES + size);
    if (!out) {
        diag_set(ERROR_MEMORY, "out of memory");
        return NULL;
    }
    redis_element_key(out, id, kind, key, size);
    return out;
}

typedef int (*get_fn)(struct txn *txn, struct head *head, const void *key, size_t key_size,
                      const struct version **out);

static int element_get(struct redis_call *call, uint64_t id, int kind, const void *key, size_t size,
                       get_fn get, struct redis_slice *out)
{
    const struct version *version;
    *out = (struct redis_slice){NULL, 0};
    unsigned char *row = row_key(call, id, kind, key, size);
    if (!row)
        return diag_code();
    int rc = get(call->txn, head_of(call), row, PREFIX_BYTES + size, &version);
    if (!rc && version)
        *out = (struct redis_slice){version->bytes, version->size};
    return rc;
}

int redis_element_get(struct redis_call *call, uint64_t id, int kind, const void *key, size_t size,
                      struct redis_slice *out)
{
    return element_get(call, id, kind, key, size, txn_get, out);
}

int redis_element_get_for_update(struct redis_call *call, uint64_t id, int kind, const void *key,
                                 size_t size, struct redis_slice *out)
{
    return element_get(call, id, kind, key, size, txn_get_for_update, out);
}

int redis_element_peek(struct redis_call *call, uint64_t id, int kind, const void *key, size_t size,
                       struct redis_slice *out)
{
    return element_get(call, id, kind, key, size, txn_peek, out);
}

int redis_element_put(struct redis_call *call, uint64_t id, int kind, const void *key, size_t size,
                      struct redis_slice value, uint64_t expire_ms)
{
    struct row *row;
    redis_passed(call);
    unsigned char *at = row_key(call, id, kind, key, size);
    if (!at)
        return diag_code();
    int rc = txn_put(call->txn, head_of(call), at, PREFIX_BYTES + size, value.data,
                     (uint32_t)value.size, &row, NULL);
    if (rc == ERROR_MEMORY)
        return diag_set(ERROR_MEMORY, "command not allowed when used memory > 'maxmemory'.");
    if (!rc && kind == REDIS_NUMBERED)
        rc = db_redis_number_add(call->txn, db_worker_db(call->worker), row, value.data);
    if (!rc && expire_ms)
        rc = db_redis_expiry_add(call->txn, db_worker_db(call->worker), DB_REDIS_ELEMENTS, row,
                                 expire_ms);
    return rc;
}

static int count_read(struct redis_slice value, int64_t *count)
{
    const char *at = value.data;
    *count = 0;
    if (at && !mp_read_int(&at, count))
        return diag_set(ERROR_CORRUPT, "a count in the Redis space is damaged");
    return 0;
}

int redis_element_count_add(struct redis_call *call, uint64_t id, int kind, const void *key,
                            size_t size, int64_t delta, int64_t *count)
{
    struct head *head = head_of(call);
    const struct version *version = NULL;
    struct redis_slice old = {NULL, 0};
    uint32_t over = 0;
    unsigned char *at = row_key(call, id, kind, key, size);
    if (!at)
        return diag_code();
    /* What a group has written itself is the number; whoever else changes it is met at the first write. */
    char *bytes = txn_over_bytes(call->txn, head, at, PREFIX_BYTES + size, &over);
    int rc = bytes ? 0 : txn_get_for_update(call->txn, head, at, PREFIX_BYTES + size, &version);
    if (bytes)
        old = (struct redis_slice){bytes, over};
    else if (version)
        old = (struct redis_slice){version->bytes, version->size};
    if (!rc)
        rc = count_read(old, count);
    if (rc)
        return rc;
    *count += delta;
    char value[9];
    char *end = *count < 0 ? mp_encode_int(value, *count) : mp_encode_uint(value, (uint64_t)*count);
    if (bytes && over == (uint32_t)(end - value)) {
        memcpy(bytes, value, over);
        return 0;
    }
    rc = txn_put_over(call->txn, head, at, PREFIX_BYTES + size, value, (uint32_t)(end - value));
    if (rc == ERROR_MEMORY)
        return diag_set(ERROR_MEMORY, "command not allowed when used memory > 'maxmemory'.");
    return rc;
}

int redis_element_delete(struct redis_call *call, uint64_t id, int kind, const void *key,
                         size_t size)
{
    unsigned char *row = row_key(call, id, kind, key, size);
    return row ? txn_delete(call->txn, head_of(call), row, PREFIX_BYTES + size) : diag_code();
}

/* --------------------------------------------------------------------------------------- ranges */

/* The bounds of a range, or of the whole kind. */
static int bounds_make(struct redis_call *call, uint64_t id, int kind,
                       const struct redis_element_range *from, struct txn_range *out)
{
    const struct redis_slice *lower = &from->lower, *upper = &from->upper;
    size_t prefix = prefix_size(kind);
    unsigned char *low = row_key(call, id, kind, lower->data, lower->data ? lower->size : 0);
    unsigned char *high = row_key(call, id, kind, upper->data, upper->data ? upper->size : 0);
    if (!low || !high)
        return diag_code();
    *out = (struct txn_range){.lower = low,
                              .lower_size = prefix + (lower->data ? lower->size : 0),
                              .lower_inclusive = !from->lower_exclusive,
                              .upper = high,
                              .upper_size = prefix + (upper->data ? upper->size : 0),
                              .upper_inclusive = !from->upper_exclusive,
                              .backward = from->backward};
    if (!upper->data) {
        out->upper_size = key_successor(high, prefix);
        out->upper_inclusive = false;
    }
    return 0;
}

static int elements_open(struct redis_elements *elements, struct redis_call *call, uint64_t id,
                         int kind, const struct redis_element_range *range, bool loose)
{
    static const struct redis_element_range ALL = {.backward = false};
    struct head *head = head_of(call);
    struct txn_range bounds;
    int rc = bounds_make(call, id, kind, range ? range : &ALL, &bounds);
    if (rc)
        return rc;
    elements->call = call;
    elements->kind = kind;
    elements->index = kind == REDIS_BY_NUMBER
                          ? *db_redis_numbers(db_worker_db(call->worker))
                          : (struct txn_index){.tree = head->tree, .head = head};
    (loose ? txn_cursor_open_loose : txn_cursor_open)(&elements->cursor, call->txn,
                                                      &elements->index, &bounds);
    return 0;
}

int redis_elements_open(struct redis_elements *elements, struct redis_call *call, uint64_t id,
                        int kind, const struct redis_element_range *range)
{
    return elements_open(elements, call, id, kind, range, false);
}

int redis_elements_open_loose(struct redis_elements *elements, struct redis_call *call, uint64_t id,
                              int kind, const struct redis_element_range *range)
{
    return elements_open(elements, call, id, kind, range, true);
}

int redis_elements_next(struct redis_elements *elements, struct redis_element *out)
{
    struct row *row;
    const struct version *version;
    redis_passed(elements->call);
    int rc = txn_cursor_next(&elements->cursor, &row, &version);
    if (rc)
        return rc;
    const struct item *item = elements->cursor.item;
    size_t prefix = prefix_size(elements->kind);
    *out = (struct redis_element){
        (const char *)item->key + prefix, item->key_size - prefix, {version->bytes, version->size}};
    return 0;
}

void redis_elements_few(struct redis_elements *elements)
{
    enum { FEW = 4 };
    txn_cursor_few(&elements->cursor, FEW);
}

static int first_of(struct redis_call *call, uint64_t id, int kind,
                    const struct redis_element_range *range, struct redis_element *out)
{
    struct redis_elements elements;
    int rc = redis_elements_open(&elements, call, id, kind, range);
    if (!rc)
        redis_elements_few(&elements);
    return rc ? rc : redis_elements_next(&elements, out);
}

/*
 * The first one there, for who only wants to know one: those that have been deleted stay in the tree for
 * a while, and who changes what was passed on the way is no conflict. ERROR_END: perhaps there is one;
 * ERROR_AGAIN: so many (0: no bound) were passed.
 */
static int first_loosely(struct redis_call *call, uint64_t id, int kind,
                         const struct redis_element_range *range, unsigned passed_max,
                         struct redis_element *out)
{
    struct redis_elements elements;
    int rc = redis_elements_open_loose(&elements, call, id, kind, range);
    elements.cursor.passed_max = passed_max;
    if (!rc)
        rc = redis_elements_next(&elements, out);
    if (!rc)
        rc = redis_element_get(call, id, kind, out->key, out->key_size, &out->value);
    return rc || out->value.data ? rc : ERROR_END;
}

/* The first one behind this key, or else the first of all. */
static int next_loosely(struct redis_call *call, uint64_t id, int kind,
                        const struct redis_slice *key, unsigned passed_max,
                        struct redis_element *out)
{
    struct redis_element_range behind = {.lower = *key, .lower_exclusive = true};
    int rc = key->data ? first_loosely(call, id, kind, &behind, passed_max, out) : ERROR_END;
    return rc == ERROR_END ? first_loosely(call, id, kind, NULL, passed_max, out) : rc;
}

/* The element of a row that was come to, if it is there: else its value has no data. */
static int element_of(struct redis_call *call, struct row *row, struct redis_element *out)
{
    const struct version *version;
    *out = (struct redis_element){.key = (const char *)row->key + PREFIX_BYTES,
                                  .key_size = row->key_size - PREFIX_BYTES};
    txn_peek_row(call->txn, head_of(call), row, &version);
    int rc = version ? txn_get_row(call->txn, head_of(call), row, &version) : 0;
    if (!rc && version)
        out->value = (struct redis_slice){version->bytes, version->size};
    return rc;
}

/* The next number, which has nothing to do with those by which the leaf was picked (Stafford's variant of
 * the finalizer of MurmurHash3). */
static uint64_t mix(uint64_t number)
{
    number += UINT64_C(0x9e3779b97f4a7c15);
    number = (number ^ number >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    number = (number ^ number >> 27) * UINT64_C(0x94d049bb133111eb);
    return number ^ number >> 31;
}

/* Has the rows and their versions fetched side by side: each is elsewhere, and to wait for one after the
 * other takes longer than all the rest. */
static void rows_fetch(struct item *const *items, unsigned count)
{
    for (unsigned n = 0; n < count; n++)
        __builtin_prefetch(items[n]);
    for (unsigned n = 0; n < count; n++)
        __builtin_prefetch(load_relaxed(&items[n]->pointer));
}

/*
 * Of the rows of a leaf that is picked at random any that is there, as likely as the others: some have
 * been deleted, and who looks for one that is there is no reader of these. ERROR_END: not in this leaf;
 * out->key is one of its keys, if it has any.
 */
static int element_draw(struct redis_call *call, uint64_t id, int kind, uint64_t random,
                        struct redis_element *out, bool *others)
{
    enum { FEW = 4 };
    struct item *items[TREE_LEAF_CAPACITY_MAX];
    const unsigned char *from = row_key(call, id, kind, NULL, 0);
    const unsigned char *to = row_key(call, id, kind + 1, NULL, 0);
    if (!from || !to)
        return diag_code();
    unsigned left =
        tree_random_leaf(head_of(call)->tree, from, PREFIX_BYTES, to, PREFIX_BYTES, random, items);
    unsigned wanted = others ? 2 : 1, found = 0;
    for (unsigned seen = 0; left > 0 && found < wanted; seen++) {
        struct redis_element one;
        if (seen == FEW)
            rows_fetch(items, left);
        random = mix(random);
        unsigned at = (unsigned)((random >> 33) % left);
        int rc = element_of(call, (struct row *)items[at], &one);
        if (rc)
            return rc;
        items[at] = items[--left];
        if (found == 0)
            *out = one;
        found += one.value.data != NULL;
    }
    if (others)
        *others = found == 2;
    return found ? 0 : ERROR_END;
}

/* As element_draw, of so many leaves one after the other until one has any. ERROR_END: none had; *out is
 * as the last of them left it. */
static int element_try(struct redis_call *call, uint64_t id, int kind, uint64_t random,
                       unsigned tries, struct redis_element *out, bool *others)
{
    int rc = ERROR_END;
    *out = (struct redis_element){.key = NULL};
    for (unsigned n = 0; n < tries && rc == ERROR_END; n++)
        rc = element_draw(call, id, kind, random + n * UINT64_C(0x9e3779b97f4a7c15), out, others);
    return rc;
}

/*
 * Any one, at best the next behind this key. Where very many in a row have been deleted others are looked
 * for at random: the rows of a leaf are fetched together, those on a cursor's way one after the other.
 */
static int next_of(struct redis_call *call, uint64_t id, int kind, struct redis_slice key,
                   struct redis_element *out)
{
    enum { PASSED_MAX = 256, TRIES = 256 };
    int rc = next_loosely(call, id, kind, &key, PASSED_MAX, out);
    if (rc == ERROR_AGAIN) {
        rc = element_try(call, id, kind, redis_random(call), TRIES, out, NULL);
        if (rc == ERROR_END)
            rc = next_loosely(call, id, kind, &key, 0, out);
    }
    return rc == ERROR_END ? first_of(call, id, kind, NULL, out) : rc;
}

/* When few are left in many leaves, the one behind the last that was drawn. */
int redis_element_random(struct redis_call *call, uint64_t id, int kind, uint64_t random,
                         struct redis_element *out, bool *others)
{
    enum { TRIES = 32 };
    int rc = element_try(call, id, kind, random, TRIES, out, others);
    return rc == ERROR_END
               ? next_of(call, id, kind, (struct redis_slice){out->key, out->key_size}, out)
               : rc;
}

int redis_spread_shrunk(struct redis_call *call, const struct redis_key *key,
                        const struct redis_value *value, int kind, const void *element, size_t size,
                        bool *ended)
{
    struct redis_element other;
    int rc = next_of(call, value->id, kind, (struct redis_slice){element, size}, &other);
    if (ended)
        *ended = rc == ERROR_END;
    return rc == ERROR_END ? redis_value_delete(call, key, value) : rc;
}

/* --------------------------------------------------------------------------------------- counts */

/* Number, then stripe. */
static void count_key(unsigned char out[5], uint32_t number, unsigned stripe)
{
    for (unsigned n = 0; n < 4; n++)
        out[n] = (unsigned char)(number >> (24 - 8 * n));
    out[4] = (unsigned char)stripe;
}

int redis_count_add(struct redis_call *call, uint64_t id, uint32_t number, int64_t delta)
{
    unsigned char key[5];
    int64_t count;
    if (delta == 0)
        return 0;
    count_key(key, number, txn_worker_number(txn_worker_of(call->txn)) % COUNT_STRIPES);
    return redis_element_count_add(call, id, REDIS_COUNT, key, sizeof key, delta, &count);
}

static int count_sum(struct redis_call *call, uint64_t id, uint32_t number, bool loose,
                     int64_t *out)
{
    unsigned char low[5], high[5];
    struct redis_elements elements;
    struct redis_element element;
    count_key(low, number, 0);
    count_key(high, number, 0xff);
    struct redis_element_range range = {.lower = {(char *)low, sizeof low},
                                        .upper = {(char *)high, sizeof high}};
    *out = 0;
    int rc = elements_open(&elements, call, id, REDIS_COUNT, &range, loose);
    while (!rc && !(rc = redis_elements_next(&elements, &element))) {
        int64_t part;
        rc = count_read(element.value, &part);
        *out += part;
    }
    return rc == ERROR_END ? 0 : rc;
}

int redis_count_get(struct redis_call *call, uint64_t id, uint32_t number, int64_t *out)
{
    return count_sum(call, id, number, false, out);
}

int redis_count_peek(struct redis_call *call, uint64_t id, uint32_t number, int64_t *out)
{
    return count_sum(call, id, number, true, out);
}

/* --------------------------------------------------------------------------------------- numbers */

/* Drawn at random, so that nobody has to be asked, and looked for, so that it is new: rows of one that
 * was deleted may still be there. */
int redis_spread_new(struct redis_call *call, uint64_t *id)
{
    struct head *head = head_of(call);
    for (;;) {
        uint64_t drawn = random_seed();
        if (drawn == 0 || drawn == UINT64_MAX)
            continue;
        unsigned char *low = arena_alloc(txn_arena(call->txn), ID_BYTES);
        unsigned char *high = arena_alloc(txn_arena(call->txn), ID_BYTES);
        if (!low || !high)
            return diag_set(ERROR_MEMORY, "out of memory");
        id_encode(low, drawn);
        id_encode(high, drawn + 1);
        struct txn_index index = {.tree = head->tree, .head = head};
        struct txn_range range = {.lower = low,
                                  .lower_size = ID_BYTES,
                                  .lower_inclusive = true,
                                  .upper = high,
                                  .upper_size = ID_BYTES};
        struct txn_cursor cursor;
        struct row *row;
        const struct version *version;
        txn_cursor_open(&cursor, call->txn, &index, &range);
        int rc = txn_cursor_next(&cursor, &row, &version);
        *id = drawn;
        if (rc)
            return rc == ERROR_END ? 0 : rc;
    }
}

int redis_spread_discard(struct redis_call *call, uint64_t id)
{
    unsigned char key[ID_BYTES];
    id_encode(key, id);
    return redis_element_put(call, 0, REDIS_GARBAGE, key, sizeof key,
                             (struct redis_slice){"\xc0", 1}, 0);
}

/* All rows of a number, of every kind. The cursor's bounds are in the transaction's arena. */
static int rows_open(struct redis_call *call, uint64_t id, struct txn_index *index,
                     struct txn_cursor *cursor)
{
    struct head *head = head_of(call);
    unsigned char *low = arena_alloc(txn_arena(call->txn), ID_BYTES);
    unsigned char *high = arena_alloc(txn_arena(call->txn), ID_BYTES);
    if (!low || !high)
        return diag_set(ERROR_MEMORY, "out of memory");
    id_encode(low, id);
    id_encode(high, id + 1);
    *index = (struct txn_index){.tree = head->tree, .head = head};
    struct txn_range range = {.lower = low,
                              .lower_size = ID_BYTES,
                              .lower_inclusive = true,
                              .upper = high,
                              .upper_size = ID_BYTES};
    txn_cursor_open(cursor, call->txn, index, &range);
    return 0;
}

int redis_spread_copy(struct redis_call *call, uint64_t from, uint64_t to)
{
    struct txn_index index;
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    int rc = rows_open(call, from, &index, &cursor);
    while (!rc && !(rc = txn_cursor_next(&cursor, &row, &version)))
        rc = redis_element_put(
            call, to, row->key[ID_BYTES], row->key + PREFIX_BYTES, row->key_size - PREFIX_BYTES,
            (struct redis_slice){version->bytes, version->size}, db_redis_expiry(version));
    return rc == ERROR_END ? 0 : rc;
}

static int kind_look(struct redis_call *call, uint64_t id, int kind)
{
    struct redis_elements elements;
    struct redis_element element;
    int rc = redis_elements_open(&elements, call, id, kind, NULL);
    while (!rc)
        rc = redis_elements_next(&elements, &element);
    return rc == ERROR_END ? 0 : rc;
}

int redis_spread_look(struct redis_call *call, const struct redis_value *value)
{
    struct txn_index index;
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    if (value->type == REDIS_TYPE_ZSET) {
        int rc = kind_look(call, value->id, REDIS_NUMBERED);
        return rc ? rc : kind_look(call, value->id, REDIS_COUNT);
    }
    int rc = rows_open(call, value->id, &index, &cursor);
    while (!rc)
        rc = txn_cursor_next(&cursor, &row, &version);
    return rc == ERROR_END ? 0 : rc;
}
