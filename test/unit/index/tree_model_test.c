/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree against a plain sorted array: random insertions, replacements, removals, lookups one by
 * one and in batches, and ranges in both directions, over keys of shapes that are hard for nodes with
 * prefixes and hints. What fails is shrunk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/error.h"
#include "base/model.h"
#include "base/test_seed.h"
#include "index/tree.h"

enum { IDS = 400, KEY_MAX = 400, MANY_MAX = 90, BATCH_MAX = 33, ITEMS_MAX = 8192 };
enum { SEQUENCES = 1000, OPS_MAX = 120 };

enum kind {
    INSERT,
    INSERT_MANY,
    REPLACE,
    REMOVE,
    REMOVE_MANY,
    GET,
    GET_BATCH,
    RANGE,
    VERIFY,
    KINDS
};

static const char *const kind_names[KINDS] = {"insert",    "insert many", "replace",
                                              "remove",    "remove many", "get",
                                              "get batch", "range",       "verify"};

/* The shape of a key; its number tells the rest. */
enum shape { UNIFORM, TINY, LONG_COMMON, NESTED, EXTREME, DECIMAL, LATE, SHAPES };

struct op {
    uint8_t kind, shape, count, flags;
    uint16_t id, other;
};

enum {
    BACKWARD = 1,
    FROM_EXCLUSIVE = 2,
    UNTIL_EXCLUSIVE = 4,
    NO_FROM = 8,
    NO_UNTIL = 16,
    FLAGS = 32
};

/* ---------------------------------------------------------------- keys */

struct key {
    size_t size;
    unsigned char bytes[KEY_MAX];
};

static void key_fill(struct key *key, size_t from, size_t size, struct random *random,
                     const char *letters, size_t letter_count)
{
    for (size_t n = from; n < size; n++)
        key->bytes[n] = (unsigned char)letters[random_below(random, letter_count)];
    key->size = size;
}

static void key_make(struct key *key, enum shape shape, unsigned id)
{
    struct random random;
    random_create(&random, (uint64_t)id * SHAPES + shape);
    memset(key->bytes, 'x', sizeof key->bytes);
    switch (shape) {
    case UNIFORM:
        for (unsigned n = 0; n < 16; n++)
            key->bytes[n] = (unsigned char)random_next(&random);
        key->size = 16;
        break;
    case TINY:
        key_fill(key, 0, random_below(&random, 4), &random, "\0\1am\xff", 5);
        break;
    case LONG_COMMON:
        key_fill(key, 100, 100 + random_below(&random, 4), &random, "\0\1\2\3\xfe\xff", 6);
        break;
    case NESTED:
        memset(key->bytes, 0, sizeof key->bytes);
        key->size = id % KEY_MAX;
        break;
    case EXTREME:
        key_fill(key, 0, random_below(&random, 24), &random, "\0\xff", 2);
        break;
    case DECIMAL:
        key->size = (size_t)snprintf((char *)key->bytes, KEY_MAX, "key:%012u", id);
        break;
    default:
        key_fill(key, 40, 41 + random_below(&random, 100), &random, "\7\7\7\7\7\7\7\7\7\x08", 10);
        break;
    }
}

static int key_compare(const void *a, size_t a_size, const void *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order != 0 ? order : a_size < b_size ? -1 : a_size > b_size;
}

/* ---------------------------------------------------------------- both sides */

struct both {
    struct epoch_domain *domain;
    struct heap *heap;
    struct tree_thread thread;
    struct tree *tree;
    struct item *items[ITEMS_MAX]; /* the model, in order */
    size_t count;
    struct model_report *report;
};

static void must(bool right)
{
    ASSERT(right);
}

static bool with_directory;

static struct both *both_new(struct model_report *report)
{
    struct both *both = calloc(1, sizeof *both);
    must(both != NULL && epoch_domain_new(2, &both->domain) == 0 && heap_new(0, &both->heap) == 0 &&
         epoch_slot_open(both->domain, &both->thread.epoch) == 0 &&
         heap_cache_open(both->heap, &both->thread.heap) == 0 &&
         tree_new(&both->thread, &both->tree) == 0 &&
         (!with_directory || tree_directory_make(both->tree, &both->thread, NULL) == 0));
    both->report = report;
    return both;
}

static void item_free(struct item *item, void *arg)
{
    struct both *both = arg;
    heap_free(both->thread.heap, item, item_alloc_size(item->key_size));
}

static void item_free_retired(void *object, void *arg)
{
    item_free(object, arg);
}

static void both_delete(struct both *both)
{
    tree_delete(both->tree, &both->thread, item_free, both);
    epoch_slot_close(both->thread.epoch);
    heap_cache_close(both->thread.heap);
    heap_delete(both->heap);
    epoch_domain_delete(both->domain);
    free(both);
}

static size_t position_of(const struct both *both, const struct key *key, bool *found)
{
    size_t low = 0, high = both->count;
    *found = false;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct item *item = both->items[middle];
        int order = key_compare(item->key, item->key_size, key->bytes, key->size);
        *found |= order == 0;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct item *expected_of(const struct both *both, const struct key *key)
{
    bool found;
    size_t position = position_of(both, key, &found);
    return found ? both->items[position] : NULL;
}

static bool always(struct item *present, struct item *inserted, void *arg)
{
    (void)present;
    (void)inserted;
    (void)arg;
    return true;
}

static bool insert(struct both *both, const struct key *key, bool replace)
{
    bool found;
    size_t position = position_of(both, key, &found);
    struct item *item = heap_alloc(both->thread.heap, item_alloc_size((uint32_t)key->size));
    struct item *present = NULL;
    must(item != NULL && both->count < ITEMS_MAX);
    item->pointer = NULL;
    item->state = 0;
    item->key_size = (uint32_t)key->size;
    memcpy(item->key, key->bytes, key->size);
    int rc = tree_insert(both->tree, &both->thread, item, replace ? always : NULL, NULL, &present);
    struct item *there = found ? both->items[position] : NULL;
    bool kept = found && !replace;
    if (rc != (kept ? ERROR_EXISTS : 0) || present != there)
        return model_differs(both->report, "inserting gives %s, there %s", error_name(rc),
                             found ? "was one" : "was none");
    if (kept) {
        item_free(item, both);
        return true;
    }
    if (found)
        epoch_retire(both->thread.epoch, there, item_free_retired, both);
    else
        memmove(both->items + position + 1, both->items + position,
                (both->count++ - position) * sizeof *both->items);
    both->items[position] = item;
    return true;
}

static bool remove_key(struct both *both, const struct key *key)
{
    bool found;
    size_t position = position_of(both, key, &found);
    if (!found)
        return true;
    struct item *item = both->items[position];
    if (!tree_remove(both->tree, &both->thread, item, NULL, NULL))
        return model_differs(both->report, "an item that is there cannot be removed");
    epoch_retire(both->thread.epoch, item, item_free_retired, both);
    memmove(both->items + position, both->items + position + 1,
            (--both->count - position) * sizeof *both->items);
    return true;
}

static bool batch(struct both *both, const struct op *op)
{
    static struct key keys[BATCH_MAX];
    const void *pointers[BATCH_MAX];
    size_t sizes[BATCH_MAX];
    struct item *found[BATCH_MAX];
    unsigned count = op->count % BATCH_MAX;
    for (unsigned n = 0; n < count; n++) {
        key_make(&keys[n], (enum shape)op->shape, (op->id + n * 3) % IDS);
        pointers[n] = keys[n].bytes;
        sizes[n] = keys[n].size;
    }
    tree_get_batch(both->tree, pointers, sizes, count, found);
    for (unsigned n = 0; n < count; n++)
        if (found[n] != expected_of(both, &keys[n]))
            return model_differs(both->report, "lookup %u of a batch of %u is wrong", n, count);
    return true;
}

/* The position at which a range with this bound below (or above) begins (or ends). */
static size_t bound_position(const struct both *both, const struct key *key, bool inclusive,
                             bool below)
{
    bool found;
    size_t position = position_of(both, key, &found);
    return position + (found && inclusive != below);
}

static bool range(struct both *both, const struct op *op)
{
    struct key from, until;
    struct tree_cursor cursor;
    bool backward = op->flags & BACKWARD, from_in = !(op->flags & FROM_EXCLUSIVE),
         until_in = !(op->flags & UNTIL_EXCLUSIVE);
    size_t begin = 0, end = both->count;
    key_make(&from, (enum shape)op->shape, op->id);
    key_make(&until, (enum shape)((op->shape + op->count % 2) % SHAPES), op->other);
    bool unbounded = op->flags & NO_FROM;
    tree_cursor_create(&cursor, both->tree, unbounded ? NULL : from.bytes, from.size, from_in,
                       backward);
    if (!unbounded)
        *(backward ? &end : &begin) = bound_position(both, &from, from_in, !backward);
    if (!(op->flags & NO_UNTIL)) {
        tree_cursor_until(&cursor, until.bytes, until.size, until_in);
        *(backward ? &begin : &end) = bound_position(both, &until, until_in, backward);
    }
    tree_cursor_few(&cursor, op->count / 2 % 5);
    for (size_t n = begin; n < end; n++)
        if (tree_cursor_next(&cursor, NULL) != both->items[backward ? end - 1 - (n - begin) : n])
            return model_differs(both->report, "item %zu of a range of %zu is wrong", n - begin,
                                 end - begin);
    return tree_cursor_next(&cursor, NULL) == NULL ||
           model_differs(both->report, "a range of %zu does not end",
                         end > begin ? end - begin : 0);
}

static bool verify(struct both *both)
{
    if (tree_verify(both->tree) != 0)
        return model_differs(both->report, "the nodes are not as they must be");
    return tree_count(both->tree) == both->count ||
           model_differs(both->report, "it counts %zu, there are %zu", tree_count(both->tree),
                         both->count);
}

/* ---------------------------------------------------------------- operations */

static bool many(struct both *both, const struct op *op)
{
    struct key key;
    bool right = true;
    for (unsigned n = 0; right && n < op->count % MANY_MAX; n++) {
        key_make(&key, (enum shape)op->shape, (op->id + n) % IDS);
        right = op->kind == INSERT_MANY ? insert(both, &key, false) : remove_key(both, &key);
    }
    return right;
}

static bool op_run(struct both *both, const struct op *op)
{
    struct key key;
    key_make(&key, (enum shape)op->shape, op->id);
    switch ((enum kind)op->kind) {
    case INSERT:
        return insert(both, &key, false);
    case REPLACE:
        return insert(both, &key, true);
    case REMOVE:
        return remove_key(both, &key);
    case INSERT_MANY:
    case REMOVE_MANY:
        return many(both, op);
    case GET:
        return tree_get(both->tree, key.bytes, key.size) == expected_of(both, &key) ||
               model_differs(both->report, "a lookup is wrong");
    case GET_BATCH:
        return batch(both, op);
    case RANGE:
        return range(both, op);
    default:
        return verify(both);
    }
}

static bool run(const void *memory, size_t count, struct model_report *report, void *arg)
{
    (void)arg;
    const struct op *ops = memory;
    struct both *both = both_new(report);
    bool right = true;
    for (size_t n = 0; right && n < count; n++) {
        epoch_enter(both->thread.epoch);
        right = op_run(both, &ops[n]);
        epoch_leave(both->thread.epoch);
    }
    right = right && verify(both);
    both_delete(both);
    return right;
}

static void op_choose(struct random *random, void *memory, void *arg)
{
    (void)arg;
    struct op *op = memory;
    op->kind = (uint8_t)random_below(random, KINDS);
    op->shape = (uint8_t)random_below(random, SHAPES);
    op->count = (uint8_t)random_next(random);
    op->flags = (uint8_t)random_below(random, FLAGS);
    op->id = (uint16_t)random_below(random, IDS);
    op->other = (uint16_t)random_below(random, IDS);
}

static void op_print(FILE *out, const void *memory, void *arg)
{
    (void)arg;
    const struct op *op = memory;
    fprintf(out, "%s: shape %u, id %u, other %u, count %u, flags %u", kind_names[op->kind],
            op->shape, op->id, op->other, op->count, op->flags);
}

/* Fewer at once, then smaller numbers. */
static bool op_simplify(void *memory, unsigned n, void *arg)
{
    (void)arg;
    struct op *op = memory;
    if (n == 0)
        op->count /= 2;
    else if (n == 1)
        op->id /= 2;
    else if (n == 2 && op->kind == INSERT_MANY)
        op->kind = INSERT;
    else
        return n == 2;
    return true;
}

static void the_tree_is_what_a_sorted_array_is(void **state)
{
    (void)state;
    const struct model_test test = {.op_bytes = sizeof(struct op),
                                    .op_choose = op_choose,
                                    .run = run,
                                    .op_print = op_print,
                                    .op_simplify = op_simplify,
                                    .apart = true};
    with_directory = false;
    assert_true(model_check(&test, test_seed(), SEQUENCES / 2, OPS_MAX));
    with_directory = true;
    assert_true(model_check(&test, test_seed(), SEQUENCES / 2, OPS_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tree_is_what_a_sorted_array_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
