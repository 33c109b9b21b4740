/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INDEX_HASH_H
#define INDEX_HASH_H

/*
 * A concurrent directory from hashed keys to items: linear hashing (Litwin 1980, "Linear hashing: a
 * new tool for file and table addressing") over buckets of two cache lines. It stands in front of a
 * tree, which has the items in order: what is found here is in the tree, and what is not found may
 * be there all the same, so a miss is asked of the tree. Hence the directory never has to say no,
 * and may forget: when memory is out, or for a moment while a bucket is tidied up.
 *
 * What it must not do is keep an item that has gone. An item is removed after the tree has let it
 * go, and before it is retired; who inserts one looks afterwards whether that has happened meanwhile,
 * and removes it then (hash_insert).
 *
 * Rules for callers as for a tree: all calls inside of the thread's epoch; found items are valid
 * until it is left. Keys are what `size_of` says an item begins with, or the whole key.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "index/tree.h"

struct hash;

/* An empty directory. `size_of` (may be NULL: all) tells how many bytes of an item's key count.
 * Returns 0 or ERROR_MEMORY; *out is ended by hash_delete, when nobody else uses it. */
int hash_new(struct tree_thread *thread, uint32_t (*size_of)(const struct item *item),
             struct hash **out);
void hash_delete(struct hash *hash, struct tree_thread *thread);

/* The hash of a key, for the calls below. */
uint64_t hash_of(const struct hash *hash, const void *key, size_t size);

/* Asks the memory for the bucket. */
void hash_prefetch(const struct hash *hash, uint64_t code);

/* An item with this key that `accept` (may be NULL) agrees to, or NULL. There may be several. */
struct item *hash_find(const struct hash *hash, uint64_t code, const void *key, size_t size,
                       bool (*accept)(struct item *item, void *arg), void *arg);

/* Adds the item, or forgets it when memory is out. The caller then looks whether the tree has let it
 * go meanwhile, and calls hash_remove if so: whoever let it go has said so first and called
 * hash_remove then, under the same bucket's latch as this. */
void hash_insert(struct hash *hash, struct tree_thread *thread, struct item *item);

/* Takes the item out if it is there. */
void hash_remove(struct hash *hash, struct item *item);

/* Bytes of buckets; items; the latter by counting, when nobody writes. */
size_t hash_bytes(const struct hash *hash);
size_t hash_count(const struct hash *hash);

#endif
