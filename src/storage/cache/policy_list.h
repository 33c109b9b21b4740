/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_CACHE_POLICY_LIST_H
#define STORAGE_CACHE_POLICY_LIST_H

/*
 * What policies are made of: lists of entries that know how many bytes they hold, most recent first,
 * and ghosts, which are the keys of entries that went.
 */
#include <stddef.h>
#include <stdint.h>

#include "storage/cache/cache_frame.h"

/* ------------------------------------------------------------------------------------------ lists */

struct policy_list {
    struct list list;
    size_t bytes;
    uint64_t count;
};

static inline void policy_list_create(struct policy_list *list)
{
    list_create(&list->list);
    list->bytes = 0;
    list->count = 0;
}

/* Puts in front, as the most recent. */
static inline void policy_list_add(struct policy_list *list, struct cache_node *node)
{
    list_add_head(&list->list, &node->link);
    list->bytes += node->charge;
    list->count++;
}

static inline void policy_list_remove(struct policy_list *list, struct cache_node *node)
{
    list_remove(&node->link);
    list->bytes -= node->charge;
    list->count--;
}

/* One that is in the list becomes the most recent. */
static inline void policy_list_touch(struct policy_list *list, struct cache_node *node)
{
    list_remove(&node->link);
    list_add_head(&list->list, &node->link);
}

/* The least recent, or NULL. */
static inline struct cache_node *policy_list_last(const struct policy_list *list)
{
    struct list *link = list_last(&list->list);
    return link != NULL ? list_entry(link, struct cache_node, link) : NULL;
}

/* The least recent of a list of frames that nobody has pinned, claimed and out of the list; NULL when
 * all are pinned. */
static inline struct cache_frame *policy_list_claim(struct policy_list *list)
{
    for (struct list *link = list->list.prev; link != &list->list; link = link->prev) {
        struct cache_frame *frame = cache_frame_of_node(link);
        if (cache_frame_claim(frame)) {
            policy_list_remove(list, &frame->node);
            return frame;
        }
    }
    return NULL;
}

/* ----------------------------------------------------------------------------------------- ghosts */

struct policy_ghost {
    struct cache_node node; /* in a list of the policy's */
    struct list age;        /* in another, if it has one */
    uint64_t file, offset, hash;
    uint64_t stamps[2]; /* the policy's */
    struct policy_ghost *next;
};

/* The ghosts of a policy by their keys. */
struct policy_ghosts {
    struct policy_ghost **buckets;
    uint64_t mask, count;
    struct policy_ghost *free;
    struct ghost_chunk *chunks;
    uint64_t chunks_count;
};

/* ERROR_MEMORY. */
int policy_ghosts_create(struct policy_ghosts *ghosts);
void policy_ghosts_destroy(struct policy_ghosts *ghosts);

/* The ghost that has the key of this frame, or NULL. */
struct policy_ghost *policy_ghosts_find(const struct policy_ghosts *ghosts,
                                        const struct cache_frame *frame);

/* A ghost for a frame whose key has none, with its charge, in no list. NULL: memory is out, and what
 * goes is not remembered. */
struct policy_ghost *policy_ghosts_add(struct policy_ghosts *ghosts,
                                       const struct cache_frame *frame);

/* Frees one that is in no list any more. */
void policy_ghosts_remove(struct policy_ghosts *ghosts, struct policy_ghost *ghost);

size_t policy_ghosts_bytes(const struct policy_ghosts *ghosts);

static inline struct policy_ghost *policy_ghost_of_node(struct cache_node *node)
{
    return (struct policy_ghost *)((char *)node - offsetof(struct policy_ghost, node));
}

/* Remembers a frame as the most recent of a list of ghosts. */
static inline void policy_list_remember(struct policy_list *list, struct policy_ghosts *ghosts,
                                        const struct cache_frame *frame)
{
    struct policy_ghost *ghost = policy_ghosts_add(ghosts, frame);
    if (ghost != NULL)
        policy_list_add(list, &ghost->node);
}

static inline void policy_list_forget(struct policy_list *list, struct policy_ghosts *ghosts,
                                      struct policy_ghost *ghost)
{
    policy_list_remove(list, &ghost->node);
    policy_ghosts_remove(ghosts, ghost);
}

/* Forgets the least recent of a list of ghosts until it has at most `bytes_max`. */
static inline void policy_list_trim(struct policy_list *list, struct policy_ghosts *ghosts,
                                    size_t bytes_max)
{
    while (list->bytes > bytes_max)
        policy_list_forget(list, ghosts, policy_ghost_of_node(policy_list_last(list)));
}

#endif
