/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree on one thread: a million random keys of 16 bytes (or as many as the first argument says)
 * are inserted, looked up one by one and in groups, walked in ranges of a hundred, and removed; with
 * "hash" as the second argument there is a directory in front of the tree. Prints nanoseconds of CPU an operation, and bytes a key.
 */
#include "bench.h"

#include "base/assert.h"
#include "base/random.h"
#include "index/tree.h"

enum { KEY_SIZE = 16, GROUP = 64, RANGE = 100 };

struct bench {
    struct tree_thread thread;
    struct tree *tree;
    struct random random;
    size_t count;
    unsigned char (*keys)[KEY_SIZE]; /* in random order */
    double started_ns;
};

static void begin(struct bench *bench)
{
    epoch_enter(bench->thread.epoch);
    bench->started_ns = bench_cpu_ns();
}

static void end(struct bench *bench, const char *name, size_t operations)
{
    bench_print(name, bench->started_ns, operations);
    epoch_leave(bench->thread.epoch);
}

static const unsigned char *any_key(struct bench *bench)
{
    return bench->keys[random_below(&bench->random, bench->count)];
}

static void insert_all(struct bench *bench)
{
    begin(bench);
    for (size_t i = 0; i < bench->count; i++) {
        struct item *item = heap_alloc(bench->thread.heap, item_alloc_size(KEY_SIZE)), *present;
        ASSERT(item != NULL);
        atomic_init(&item->pointer, NULL);
        atomic_init(&item->state, 0);
        item->key_size = KEY_SIZE;
        memcpy(item->key, bench->keys[i], KEY_SIZE);
        ASSERT(tree_insert(bench->tree, &bench->thread, item, NULL, NULL, &present) == 0);
    }
    end(bench, "insert at random", bench->count);
}

static void get_each(struct bench *bench)
{
    begin(bench);
    for (size_t i = 0; i < bench->count; i++)
        ASSERT(tree_get(bench->tree, any_key(bench), KEY_SIZE) != NULL);
    end(bench, "get", bench->count);
}

static void get_groups(struct bench *bench)
{
    const void *keys[GROUP];
    size_t sizes[GROUP];
    struct item *items[GROUP];
    size_t groups = bench->count / GROUP + 1;
    begin(bench);
    for (size_t i = 0; i < groups; i++) {
        for (unsigned k = 0; k < GROUP; k++) {
            keys[k] = any_key(bench);
            sizes[k] = KEY_SIZE;
        }
        tree_get_batch(bench->tree, keys, sizes, GROUP, items);
        for (unsigned k = 0; k < GROUP; k++)
            ASSERT(items[k] != NULL);
    }
    end(bench, "get, in a batch", groups * GROUP);
}

static void walk_ranges(struct bench *bench, bool backward)
{
    size_t ranges = bench->count / 20 + 1, sum = 0;
    begin(bench);
    for (size_t i = 0; i < ranges; i++) {
        struct tree_cursor cursor;
        struct item *item;
        tree_cursor_create(&cursor, bench->tree, any_key(bench), KEY_SIZE, true, backward);
        for (int k = 0; k < RANGE && (item = tree_cursor_next(&cursor, NULL)) != NULL; k++)
            sum += item->key_size;
    }
    end(bench, backward ? "range of 100, backward" : "range of 100", ranges);
    ASSERT(sum > 0);
}

static void item_free(void *object, void *arg)
{
    heap_free(arg, object, item_alloc_size(KEY_SIZE));
}

static void remove_all(struct bench *bench)
{
    begin(bench);
    for (size_t i = 0; i < bench->count; i++) {
        struct item *item = tree_get(bench->tree, bench->keys[i], KEY_SIZE);
        ASSERT(tree_remove(bench->tree, &bench->thread, item, NULL, NULL));
        epoch_retire(bench->thread.epoch, item, item_free, bench->thread.heap);
    }
    end(bench, "get and remove", bench->count);
}

static void keys_make(struct bench *bench)
{
    bench->keys = malloc(bench->count * sizeof(bench->keys[0]));
    ASSERT(bench->keys != NULL);
    for (size_t i = 0; i < bench->count; i++) {
        uint64_t words[2] = {random_next(&bench->random), random_next(&bench->random)};
        memcpy(bench->keys[i], words, KEY_SIZE);
    }
}

int main(int argc, char **argv)
{
    struct bench bench = {.count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000};
    struct epoch_domain *domain;
    struct heap *heap;
    if (bench.count == 0) {
        fprintf(stderr, "usage: %s [keys [hash]]\n", argv[0]);
        return 2;
    }
    ASSERT(epoch_domain_new(1, &domain) == 0 && heap_new(0, &heap) == 0);
    ASSERT(epoch_slot_open(domain, &bench.thread.epoch) == 0);
    ASSERT(heap_cache_open(heap, &bench.thread.heap) == 0);
    ASSERT(tree_new(&bench.thread, &bench.tree) == 0);
    if (argc > 2 && strcmp(argv[2], "hash") == 0)
        ASSERT(tree_directory_make(bench.tree, &bench.thread, NULL) == 0);
    random_create(&bench.random, 1);
    keys_make(&bench);
    insert_all(&bench);
    size_t node_bytes = tree_node_bytes(bench.tree), hash_bytes = tree_directory_bytes(bench.tree);
    get_each(&bench);
    get_groups(&bench);
    walk_ranges(&bench, false);
    walk_ranges(&bench, true);
    remove_all(&bench);
    printf("%-40s %9.1f bytes\n", "nodes, a key", (double)node_bytes / (double)bench.count);
    printf("%-40s %9.1f bytes\n", "directory, a key", (double)hash_bytes / (double)bench.count);
    printf("%-40s %9zu bytes\n", "item, a key", item_alloc_size(KEY_SIZE));
    tree_delete(bench.tree, &bench.thread, NULL, NULL);
    while (epoch_limbo_count(bench.thread.epoch) > 0)
        epoch_collect(bench.thread.epoch);
    epoch_slot_close(bench.thread.epoch);
    heap_cache_close(bench.thread.heap);
    heap_delete(heap);
    epoch_domain_delete(domain);
    free(bench.keys);
    return 0;
}
