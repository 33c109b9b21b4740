/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree in one thread, against a sorted array: whatever keys look like, every operation and
 * every walk gives what the array gives, and the tree verifies. Random tests print their seed and
 * take one from PERIGEE_SEED.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "index/tree.h"
#include "mem/system.h"

/* ---- fixture ---- */

struct fixture {
    struct epoch_domain *domain;
    struct heap *heap;
    struct tree_thread thread;
    struct tree *tree;
    struct random random;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(epoch_domain_new(4, &f->domain), 0);
    assert_int_equal(heap_new(0, &f->heap), 0);
    assert_int_equal(epoch_slot_open(f->domain, &f->thread.epoch), 0);
    assert_int_equal(heap_cache_open(f->heap, &f->thread.heap), 0);
    assert_int_equal(tree_new(&f->thread, &f->tree), 0);
    random_create(&f->random, test_seed());
    *state = f;
    return 0;
}

static void item_free(struct item *item, void *arg)
{
    struct fixture *f = arg;
    heap_free(f->thread.heap, item, item_alloc_size(item->key_size));
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    assert_false(epoch_inside(f->thread.epoch));
    tree_delete(f->tree, &f->thread, item_free, f);
    while (epoch_limbo_count(f->thread.epoch) > 0)
        epoch_collect(f->thread.epoch);
    assert_int_equal(epoch_limbo_count(f->thread.epoch), 0);
    epoch_slot_close(f->thread.epoch);
    heap_cache_close(f->thread.heap);
    assert_int_equal(heap_used_bytes(f->heap), 0);
    heap_delete(f->heap);
    epoch_domain_delete(f->domain);
    free(f);
    return 0;
}

static struct item *item_new(struct fixture *f, const void *key, size_t size)
{
    struct item *item = heap_alloc(f->thread.heap, item_alloc_size((uint32_t)size));
    assert_non_null(item);
    item->pointer = NULL;
    item->state = 0;
    item->key_size = (uint32_t)size;
    memcpy(item->key, key, size);
    return item;
}

static void item_free_retired(void *object, void *arg)
{
    item_free(object, arg);
}

static void item_retire(struct fixture *f, struct item *item)
{
    epoch_retire(f->thread.epoch, item, item_free_retired, f);
}

static struct item *put(struct fixture *f, const void *key, size_t size)
{
    struct item *item = item_new(f, key, size), *present;
    assert_int_equal(tree_insert(f->tree, &f->thread, item, NULL, NULL, &present), 0);
    assert_null(present);
    return item;
}

static struct item *put_text(struct fixture *f, const char *key)
{
    return put(f, key, strlen(key));
}

static void take(struct fixture *f, struct item *item)
{
    assert_true(tree_remove(f->tree, &f->thread, item, NULL, NULL));
    item_retire(f, item);
}

/* ---- the model ---- */

enum { MODEL_MAX = 20000 };

struct model {
    struct item *items[MODEL_MAX];
    size_t count;
};

static int key_compare(const void *a, size_t a_size, const void *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

/* The first position whose key is not below the given one. */
static size_t model_find(const struct model *model, const void *key, size_t size, bool *found)
{
    size_t low = 0, high = model->count;
    *found = false;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct item *item = model->items[middle];
        int order = key_compare(item->key, item->key_size, key, size);
        if (order == 0)
            *found = true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void model_insert(struct model *model, size_t position, struct item *item)
{
    assert_true(model->count < MODEL_MAX);
    memmove(model->items + position + 1, model->items + position,
            (model->count - position) * sizeof(model->items[0]));
    model->items[position] = item;
    model->count++;
}

static void model_remove(struct model *model, size_t position)
{
    model->count--;
    memmove(model->items + position, model->items + position + 1,
            (model->count - position) * sizeof(model->items[0]));
}

/* ---- keys ---- */

enum key_kind {
    KEY_UNIFORM,     /* 16 random bytes */
    KEY_TINY,        /* up to 3 bytes out of few values, the empty key too */
    KEY_LONG_COMMON, /* 100 equal bytes, then few that differ */
    KEY_NESTED,      /* runs of one byte: each begins the next */
    KEY_EXTREME,     /* 0x00 and 0xff only */
    KEY_DECIMAL,     /* key:000000001234 */
    KEY_ANY_LENGTH,  /* 1 to 2000 bytes */
    KEY_LATE,        /* differ first at byte 40, then by lengths */
    KEY_MIXED,       /* any of the above */

};

static size_t key_make(struct random *random, enum key_kind kind, unsigned char key[2048])
{
    size_t size;
    switch (kind) {
    case KEY_UNIFORM:
        for (size = 0; size < 16; size++)
            key[size] = (unsigned char)random_next(random);
        return 16;
    case KEY_TINY:
        size = random_below(random, 4);
        for (size_t i = 0; i < size; i++)
            key[i] = "\0\1am\xff"[random_below(random, 5)];
        return size;
    case KEY_LONG_COMMON:
        memset(key, 'x', 100);
        size = 100 + random_below(random, 4);
        for (size_t i = 100; i < size; i++)
            key[i] = (unsigned char)random_below(random, 20);
        return size;
    case KEY_NESTED:
        size = random_below(random, 2000);
        memset(key, 0, size);
        return size;
    case KEY_EXTREME:
        size = random_below(random, 24);
        for (size_t i = 0; i < size; i++)
            key[i] = random_below(random, 2) ? 0xff : 0;
        return size;
    case KEY_DECIMAL:
        return (size_t)snprintf((char *)key, 2048, "key:%012u",
                                (unsigned)random_below(random, 9999));
    case KEY_ANY_LENGTH:
        size = 1 + random_below(random, 2000);
        memset(key, (int)random_below(random, 3), size);
        key[random_below(random, size)] = (unsigned char)random_next(random);
        return size;
    case KEY_LATE:
        memset(key, 7, 200);
        key[40] = (unsigned char)random_below(random, 10);
        return 41 + random_below(random, 100);
    case KEY_MIXED:
        break;
    }
    return key_make(random, (enum key_kind)random_below(random, KEY_MIXED), key);
}

/* ---- comparing tree and model ---- */

/* A key for a bound: one that is there, or any. */
static size_t bound_make(struct fixture *f, const struct model *model, unsigned char key[2048])
{
    if (model->count == 0 || random_below(&f->random, 2))
        return key_make(&f->random, KEY_MIXED, key);
    const struct item *item = model->items[random_below(&f->random, model->count)];
    memcpy(key, item->key, item->key_size);
    return item->key_size;
}

/* The position in the model at which a range that has this bound below (or above) begins (or ends).
 */
static size_t bound_position(const struct model *model, const void *key, size_t size,
                             bool inclusive, bool below)
{
    bool found;
    size_t position = model_find(model, key, size, &found);
    return position + (found && inclusive != below);
}

/* Walks a random range, one or both ends of which may be open. */
static void compare_walk(struct fixture *f, const struct model *model)
{
    unsigned char from[2048], until[2048];
    bool backward = random_below(&f->random, 2), inclusive = random_below(&f->random, 2);
    size_t begin = 0, end = model->count, size = bound_make(f, model, from);
    bool unbounded = random_below(&f->random, 4) == 0;
    struct tree_cursor cursor;
    tree_cursor_create(&cursor, f->tree, unbounded ? NULL : from, size, inclusive, backward);
    if (!unbounded)
        *(backward ? &end : &begin) = bound_position(model, from, size, inclusive, !backward);
    if (random_below(&f->random, 2)) {
        size = bound_make(f, model, until);
        inclusive = random_below(&f->random, 2);
        tree_cursor_until(&cursor, until, size, inclusive);
        *(backward ? &begin : &end) = bound_position(model, until, size, inclusive, backward);
    }
    if (random_below(&f->random, 2))
        tree_cursor_few(&cursor, (unsigned)random_below(&f->random, 8));
    for (size_t i = begin; i < end; i++) {
        struct item *item = model->items[backward ? end - 1 - (i - begin) : i];
        assert_ptr_equal(tree_cursor_next(&cursor, NULL), item);
    }
    int error = 1;
    assert_null(tree_cursor_next(&cursor, &error));
    assert_int_equal(error, 0);
    assert_null(tree_cursor_next(&cursor, NULL));
}

static void compare_all(struct fixture *f, const struct model *model)
{
    assert_int_equal(tree_verify(f->tree), 0);
    assert_int_equal(tree_count(f->tree), model->count);
    for (size_t i = 0; i < model->count; i++) {
        struct item *item = model->items[i];
        assert_ptr_equal(tree_get(f->tree, item->key, item->key_size), item);
    }
    for (int i = 0; i < 30; i++)
        compare_walk(f, model);
}

static void compare_batch(struct fixture *f, const struct model *model)
{
    enum { BATCH = 37 };
    unsigned char keys[BATCH][2048];
    const void *pointers[BATCH];
    size_t sizes[BATCH];
    struct item *items[BATCH];
    for (int i = 0; i < BATCH; i++) {
        pointers[i] = keys[i];
        sizes[i] = key_make(&f->random, KEY_MIXED, keys[i]);
        if (model->count > 0 && random_below(&f->random, 2)) {
            const struct item *item = model->items[random_below(&f->random, model->count)];
            pointers[i] = item->key;
            sizes[i] = item->key_size;
        }
    }
    unsigned count = (unsigned)random_below(&f->random, BATCH + 1);
    tree_get_batch(f->tree, pointers, sizes, count, items);
    for (unsigned i = 0; i < count; i++) {
        bool found;
        size_t position = model_find(model, pointers[i], sizes[i], &found);
        assert_ptr_equal(items[i], found ? model->items[position] : NULL);
    }
}

static void random_insert(struct fixture *f, struct model *model, enum key_kind kind)
{
    unsigned char key[2048];
    bool found;
    size_t size = key_make(&f->random, kind, key);
    size_t position = model_find(model, key, size, &found);
    struct item *item = item_new(f, key, size), *present = item;
    int result = tree_insert(f->tree, &f->thread, item, NULL, NULL, &present);
    if (found) {
        assert_int_equal(result, ERROR_EXISTS);
        assert_ptr_equal(present, model->items[position]);
        item_free(item, f);
    } else {
        assert_int_equal(result, 0);
        assert_null(present);
        model_insert(model, position, item);
    }
}

static void random_remove(struct fixture *f, struct model *model)
{
    if (model->count == 0)
        return;
    size_t position = random_below(&f->random, model->count);
    take(f, model->items[position]);
    model_remove(model, position);
}

/* Grows and shrinks the tree with keys of one kind. */
static void random_operations(struct fixture *f, enum key_kind kind, int operations)
{
    struct model *model = calloc(1, sizeof(*model));
    assert_non_null(model);
    for (int phase = 0; phase < 6; phase++) {
        unsigned insert_of_10 = phase % 2 == 0 ? 8 : 2;
        for (int i = 0; i < operations; i++) {
            epoch_enter(f->thread.epoch);
            if (random_below(&f->random, 10) < insert_of_10)
                random_insert(f, model, kind);
            else
                random_remove(f, model);
            epoch_leave(f->thread.epoch);
        }
        epoch_enter(f->thread.epoch);
        compare_all(f, model);
        compare_batch(f, model);
        epoch_leave(f->thread.epoch);
    }
    while (model->count > 0) {
        epoch_enter(f->thread.epoch);
        random_remove(f, model);
        epoch_leave(f->thread.epoch);
    }
    epoch_enter(f->thread.epoch);
    compare_all(f, model);
    epoch_leave(f->thread.epoch);
    /* All gone: a single empty leaf remains. */
    assert_int_equal(tree_node_bytes(f->tree), 1024);
    free(model);
}

static void a_tree_equals_a_sorted_array_whatever_its_keys_are(void **state)
{
    for (int kind = 0; kind <= KEY_MIXED; kind++)
        random_operations(*state, (enum key_kind)kind, 8000);
}

/* ---- single behaviours ---- */

static void an_empty_tree_has_nothing_in_it(void **state)
{
    struct fixture *f = *state;
    epoch_enter(f->thread.epoch);
    assert_null(tree_get(f->tree, "", 0));
    assert_null(tree_get(f->tree, NULL, 0));
    assert_null(tree_get(f->tree, "a", 1));
    assert_int_equal(tree_count(f->tree), 0);
    for (int backward = 0; backward < 2; backward++) {
        struct tree_cursor cursor;
        tree_cursor_create(&cursor, f->tree, NULL, 0, true, backward);
        assert_null(tree_cursor_next(&cursor, NULL));
    }
    assert_int_equal(tree_verify(f->tree), 0);
    epoch_leave(f->thread.epoch);
}

static void the_empty_key_is_the_smallest(void **state)
{
    struct fixture *f = *state;
    epoch_enter(f->thread.epoch);
    struct item *zero = put(f, "\0", 1), *empty = put(f, "", 0);
    struct tree_cursor cursor;
    tree_cursor_create(&cursor, f->tree, "", 0, true, false);
    assert_ptr_equal(tree_cursor_next(&cursor, NULL), empty);
    assert_ptr_equal(tree_cursor_next(&cursor, NULL), zero);
    tree_cursor_create(&cursor, f->tree, "", 0, false, true);
    assert_null(tree_cursor_next(&cursor, NULL));
    epoch_leave(f->thread.epoch);
}

static void a_key_that_is_too_large_is_refused(void **state)
{
    struct fixture *f = *state;
    static unsigned char key[TREE_KEY_SIZE_MAX + 1];
    struct item *present;
    epoch_enter(f->thread.epoch);
    struct item *item = item_new(f, key, sizeof(key));
    assert_int_equal(tree_insert(f->tree, &f->thread, item, NULL, NULL, &present), ERROR_TOO_LARGE);
    item_free(item, f);
    put(f, key, TREE_KEY_SIZE_MAX);
    assert_non_null(tree_get(f->tree, key, TREE_KEY_SIZE_MAX));
    epoch_leave(f->thread.epoch);
}

static bool say(struct item *present, struct item *inserted, void *arg)
{
    assert_ptr_not_equal(present, inserted);
    return *(bool *)arg;
}

static void an_item_is_replaced_only_when_the_callback_says_so(void **state)
{
    struct fixture *f = *state;
    bool yes = true, no = false;
    struct item *present;
    epoch_enter(f->thread.epoch);
    struct item *first = put_text(f, "a"), *second = item_new(f, "a", 1);
    assert_int_equal(tree_insert(f->tree, &f->thread, second, say, &no, &present), ERROR_EXISTS);
    assert_ptr_equal(present, first);
    assert_ptr_equal(tree_get(f->tree, "a", 1), first);
    assert_int_equal(tree_insert(f->tree, &f->thread, second, say, &yes, &present), 0);
    assert_ptr_equal(present, first);
    assert_ptr_equal(tree_get(f->tree, "a", 1), second);
    assert_int_equal(tree_count(f->tree), 1);
    item_retire(f, first);
    epoch_leave(f->thread.epoch);
}

static bool allow(struct item *item, void *arg)
{
    (void)item;
    return *(bool *)arg;
}

static void only_the_pointer_that_the_tree_holds_is_removed_and_only_if_allowed(void **state)
{
    struct fixture *f = *state;
    bool yes = true, no = false;
    epoch_enter(f->thread.epoch);
    struct item *item = put_text(f, "a"), *twin = item_new(f, "a", 1), *other = item_new(f, "b", 1);
    assert_false(tree_remove(f->tree, &f->thread, twin, allow, &yes));
    assert_false(tree_remove(f->tree, &f->thread, other, allow, &yes));
    assert_false(tree_remove(f->tree, &f->thread, item, allow, &no));
    assert_ptr_equal(tree_get(f->tree, "a", 1), item);
    assert_true(tree_remove(f->tree, &f->thread, item, allow, &yes));
    assert_false(tree_remove(f->tree, &f->thread, item, allow, &yes));
    assert_null(tree_get(f->tree, "a", 1));
    item_retire(f, item);
    item_free(twin, f);
    item_free(other, f);
    epoch_leave(f->thread.epoch);
}

static void a_key_is_removed_whatever_item_it_has_if_allowed(void **state)
{
    struct fixture *f = *state;
    bool yes = true, no = false;
    epoch_enter(f->thread.epoch);
    struct item *item = put_text(f, "a"), *longer = put_text(f, "ab");
    assert_null(tree_remove_key(f->tree, &f->thread, "b", 1, allow, &yes));
    assert_null(tree_remove_key(f->tree, &f->thread, "", 0, NULL, NULL));
    assert_null(tree_remove_key(f->tree, &f->thread, "a", 1, allow, &no));
    assert_ptr_equal(tree_get(f->tree, "a", 1), item);
    assert_ptr_equal(tree_remove_key(f->tree, &f->thread, "a", 1, allow, &yes), item);
    assert_null(tree_remove_key(f->tree, &f->thread, "a", 1, allow, &yes));
    assert_ptr_equal(tree_get(f->tree, "ab", 2), longer);
    assert_ptr_equal(tree_remove_key(f->tree, &f->thread, "ab", 2, NULL, NULL), longer);
    assert_int_equal(tree_count(f->tree), 0);
    item_retire(f, item);
    item_retire(f, longer);
    epoch_leave(f->thread.epoch);
}

/* ---- leaves and their versions (invariant 16) ---- */

enum { NOTED_MAX = 4096 };

struct noted {
    struct {
        const struct tree_leaf *leaf;
        uint64_t version;
    } leaves[NOTED_MAX];
    int count, fail_at;
};

static int note(const struct tree_leaf *leaf, uint64_t version, void *arg)
{
    struct noted *noted = arg;
    if (noted->count == noted->fail_at)
        return ERROR_CONFLICT;
    assert_true(noted->count < NOTED_MAX);
    noted->leaves[noted->count].leaf = leaf;
    noted->leaves[noted->count++].version = version;
    return 0;
}

static int changed_count(const struct noted *noted)
{
    int changed = 0;
    for (int i = 0; i < noted->count; i++)
        changed += !tree_leaf_unchanged(noted->leaves[i].leaf, noted->leaves[i].version);
    return changed;
}

/* Notes the leaves that a walk from `from` (NULL: the edge) for `items` items touches; -1: to the
 * end. */
static void note_walk(struct fixture *f, struct noted *noted, const char *from, bool backward,
                      int items)
{
    struct tree_cursor cursor;
    noted->count = 0;
    noted->fail_at = -1;
    tree_cursor_create(&cursor, f->tree, from, from != NULL ? strlen(from) : 0, true, backward);
    cursor.on_leaf = note;
    cursor.on_leaf_arg = noted;
    while (items-- != 0 && tree_cursor_next(&cursor, NULL) != NULL)
        continue;
}

static const char *number_key(char text[32], unsigned number)
{
    snprintf(text, 32, "n%08u", number);
    return text;
}

static void fill(struct fixture *f, unsigned begin, unsigned end, unsigned step)
{
    char text[32];
    for (unsigned i = begin; i < end; i += step)
        put_text(f, number_key(text, i));
}

static void every_insertion_and_removal_changes_exactly_one_leaf_of_a_walk(void **state)
{
    struct fixture *f = *state;
    char text[32];
    static struct noted noted;
    epoch_enter(f->thread.epoch);
    fill(f, 0, 20000, 10);
    for (int i = 0; i < 2000; i++) {
        /* A walk over the whole tree, and a new key anywhere, also before the first and behind the
         * last. */
        note_walk(f, &noted, NULL, i % 2, -1);
        assert_int_equal(changed_count(&noted), 0);
        unsigned number = (unsigned)random_below(&f->random, 20100);
        const char *key = number_key(text, number);
        if (tree_get(f->tree, key, strlen(key)) != NULL)
            continue;
        struct item *item = put_text(f, key);
        assert_int_equal(changed_count(&noted), 1);
        note_walk(f, &noted, NULL, i % 2, -1);
        take(f, item);
        assert_int_equal(changed_count(&noted), 1);
    }
    assert_int_equal(tree_verify(f->tree), 0);
    epoch_leave(f->thread.epoch);
}

static void a_leaf_stays_unchanged_when_nothing_was_done_to_it(void **state)
{
    struct fixture *f = *state;
    char text[32];
    bool no = false;
    static struct noted noted;
    struct item *present;
    epoch_enter(f->thread.epoch);
    fill(f, 0, 1000, 1);
    note_walk(f, &noted, NULL, false, -1);
    for (unsigned i = 0; i < 1000; i++) {
        const char *key = number_key(text, i);
        struct item *item = tree_get(f->tree, key, strlen(key)),
                    *twin = item_new(f, key, strlen(key));
        assert_int_equal(tree_insert(f->tree, &f->thread, twin, NULL, NULL, &present),
                         ERROR_EXISTS);
        assert_int_equal(tree_insert(f->tree, &f->thread, twin, say, &no, &present), ERROR_EXISTS);
        assert_false(tree_remove(f->tree, &f->thread, item, allow, &no));
        assert_false(tree_remove(f->tree, &f->thread, twin, NULL, NULL));
        item_free(twin, f);
    }
    assert_int_equal(changed_count(&noted), 0);
    epoch_leave(f->thread.epoch);
}

static void replacing_an_item_changes_its_leaf(void **state)
{
    struct fixture *f = *state;
    bool yes = true;
    static struct noted noted;
    struct item *present;
    epoch_enter(f->thread.epoch);
    fill(f, 0, 1000, 1);
    note_walk(f, &noted, NULL, false, -1);
    struct item *item = item_new(f, "n00000500", 9);
    assert_int_equal(tree_insert(f->tree, &f->thread, item, say, &yes, &present), 0);
    item_retire(f, present);
    assert_int_equal(changed_count(&noted), 1);
    epoch_leave(f->thread.epoch);
}

static void a_walk_that_finds_nothing_still_reports_the_leaf_that_proves_it(void **state)
{
    struct fixture *f = *state;
    static struct noted noted;
    epoch_enter(f->thread.epoch);
    note_walk(f, &noted, "m", false, 1);
    assert_int_equal(noted.count, 1);
    put_text(f, "n");
    assert_int_equal(changed_count(&noted), 1);
    note_walk(f, &noted, "x", false, 1);
    assert_int_equal(noted.count, 1);
    put_text(f, "y");
    assert_int_equal(changed_count(&noted), 1);
    note_walk(f, &noted, "a", true, 1);
    assert_int_equal(noted.count, 1);
    put_text(f, "A");
    assert_int_equal(changed_count(&noted), 1);
    epoch_leave(f->thread.epoch);
}

static void a_part_of_the_tree_does_not_notice_changes_far_away(void **state)
{
    struct fixture *f = *state;
    static struct noted noted;
    epoch_enter(f->thread.epoch);
    fill(f, 0, 10000, 2);
    note_walk(f, &noted, "n00002000", false, 200);
    fill(f, 4001, 9000, 2);
    assert_int_equal(changed_count(&noted), 0);
    put_text(f, "n00002101");
    assert_int_equal(changed_count(&noted), 1);
    epoch_leave(f->thread.epoch);
}

static void a_range_with_an_end_does_not_notice_changes_behind_it(void **state)
{
    struct fixture *f = *state;
    static struct noted noted;
    epoch_enter(f->thread.epoch);
    fill(f, 0, 10000, 2);
    for (int backward = 0; backward < 2; backward++) {
        const char *low = "n00003000", *high = "n00003001";
        struct tree_cursor cursor;
        noted.count = 0;
        noted.fail_at = -1;
        tree_cursor_create(&cursor, f->tree, backward ? high : low, 9, true, backward);
        tree_cursor_until(&cursor, backward ? low : high, 9, true);
        cursor.on_leaf = note;
        cursor.on_leaf_arg = &noted;
        assert_ptr_equal(tree_cursor_next(&cursor, NULL), tree_get(f->tree, low, 9));
        assert_null(tree_cursor_next(&cursor, NULL));
        assert_int_equal(noted.count, 1);
        struct item *item = put_text(f, high);
        assert_int_equal(changed_count(&noted), 1);
        take(f, item);
    }
    epoch_leave(f->thread.epoch);
}

static void an_error_of_the_leaf_callback_ends_the_walk(void **state)
{
    struct fixture *f = *state;
    static struct noted noted;
    int error = 0, seen = 0;
    epoch_enter(f->thread.epoch);
    fill(f, 0, 1000, 1);
    struct tree_cursor cursor;
    tree_cursor_create(&cursor, f->tree, NULL, 0, true, false);
    cursor.on_leaf = note;
    cursor.on_leaf_arg = &noted;
    noted.count = 0;
    noted.fail_at = 3;
    while (tree_cursor_next(&cursor, &error) != NULL)
        seen++;
    assert_int_equal(error, ERROR_CONFLICT);
    assert_in_range(seen, 1, 999);
    assert_null(tree_cursor_next(&cursor, &error));
    epoch_leave(f->thread.epoch);
}

/* ---- growing and shrinking ---- */

static void a_queue_does_not_leave_empty_leaves_behind(void **state)
{
    struct fixture *f = *state;
    char text[32];
    fill(f, 0, 1000, 1);
    size_t bytes = tree_node_bytes(f->tree);
    for (unsigned i = 0; i < 50000; i++) {
        epoch_enter(f->thread.epoch);
        const char *key = number_key(text, i);
        take(f, tree_get(f->tree, key, strlen(key)));
        put_text(f, number_key(text, i + 1000));
        epoch_leave(f->thread.epoch);
    }
    assert_int_equal(tree_count(f->tree), 1000);
    assert_true(tree_node_bytes(f->tree) < 2 * bytes);
    assert_int_equal(tree_verify(f->tree), 0);
}

static void keys_in_order_fill_their_leaves(void **state)
{
    struct fixture *f = *state;
    char text[32];
    put_text(f, "a");
    put_text(f, "z");
    fill(f, 0, 20000, 1);
    /* 20 bytes of node an entry would be leaves that are 51/60 full and nothing above them. */
    size_t ascending = tree_node_bytes(f->tree);
    assert_true(ascending < 20000 * 22);
    for (unsigned i = 60000; i > 40000; i--)
        put_text(f, number_key(text, i));
    assert_true(tree_node_bytes(f->tree) - ascending < 20000 * 22);
    assert_int_equal(tree_verify(f->tree), 0);
}

static void keys_in_no_order_leave_their_leaves_three_quarters_full(void **state)
{
    struct fixture *f = *state;
    static unsigned numbers[20000];
    char text[32];
    for (unsigned i = 0; i < 20000; i++) {
        unsigned n = (unsigned)random_below(&f->random, i + 1);
        numbers[i] = numbers[n];
        numbers[n] = i;
    }
    for (unsigned i = 0; i < 20000; i++)
        put_text(f, number_key(text, numbers[i]));
    /* Leaves that are 45/60 full have 22.8 bytes an entry, the nodes above and separators up to one;
     * splitting alone gives 25.4. */
    assert_true(tree_node_bytes(f->tree) < 20000 * 24);
    assert_int_equal(tree_verify(f->tree), 0);
}

static void keys_at_regular_gaps_fill_the_leaves_that_they_pass(void **state)
{
    struct fixture *f = *state;
    char text[32];
    for (unsigned pass = 0; pass < 7; pass++)
        for (unsigned i = 0; i < 3000; i++)
            put_text(f, number_key(text, 7 * i + pass));
    assert_true(tree_node_bytes(f->tree) < 21000 * 24);
    assert_int_equal(tree_verify(f->tree), 0);
}

/* Separators of such keys are too large for the heap's slabs: each is a request to the system. */
static size_t huge_key(unsigned char key[4096], unsigned number)
{
    memset(key, 'h', 3000);
    return 3000 + (size_t)snprintf((char *)key + 3000, 32, "%08u", number);
}

static void an_insertion_for_which_memory_is_out_changes_nothing(void **state)
{
    struct fixture *f = *state;
    static struct noted noted;
    unsigned char key[4096];
    unsigned refused = 0;
    epoch_enter(f->thread.epoch);
    for (unsigned i = 0; i < 2500; i++) {
        size_t size = huge_key(key, (i * 7919) % 2500);
        struct item *item = item_new(f, key, size), *present;
        note_walk(f, &noted, NULL, false, -1);
        system_fail_nth(1 + i % 2);
        int result = tree_insert(f->tree, &f->thread, item, NULL, NULL, &present);
        system_fail_nth(0);
        if (result == 0)
            continue;
        assert_int_equal(result, ERROR_MEMORY);
        assert_null(tree_get(f->tree, key, size));
        assert_int_equal(tree_count(f->tree), i);
        assert_int_equal(tree_verify(f->tree), 0);
        assert_int_equal(changed_count(&noted), 0);
        assert_int_equal(tree_insert(f->tree, &f->thread, item, NULL, NULL, &present), 0);
        refused++;
    }
    assert_true(refused > 10);
    assert_int_equal(tree_verify(f->tree), 0);
    epoch_leave(f->thread.epoch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_tree_has_nothing_in_it, setup, teardown),
        cmocka_unit_test_setup_teardown(the_empty_key_is_the_smallest, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_that_is_too_large_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(an_item_is_replaced_only_when_the_callback_says_so, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            only_the_pointer_that_the_tree_holds_is_removed_and_only_if_allowed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_is_removed_whatever_item_it_has_if_allowed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            every_insertion_and_removal_changes_exactly_one_leaf_of_a_walk, setup, teardown),
        cmocka_unit_test_setup_teardown(a_leaf_stays_unchanged_when_nothing_was_done_to_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(replacing_an_item_changes_its_leaf, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_walk_that_finds_nothing_still_reports_the_leaf_that_proves_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_part_of_the_tree_does_not_notice_changes_far_away, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_range_with_an_end_does_not_notice_changes_behind_it,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(an_error_of_the_leaf_callback_ends_the_walk, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_queue_does_not_leave_empty_leaves_behind, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(keys_in_order_fill_their_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_in_no_order_leave_their_leaves_three_quarters_full,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(keys_at_regular_gaps_fill_the_leaves_that_they_pass, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_insertion_for_which_memory_is_out_changes_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_tree_equals_a_sorted_array_whatever_its_keys_are, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
