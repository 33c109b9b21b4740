/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

/*
 * Intrusive doubly linked list: links live inside the objects, the head is a link of its own.
 * Not safe for concurrent use.
 */
#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

/* The object of type `type` whose field `member` is the link. */
#define list_entry(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

/* Runs over the links from first to last; `link` is declared by the loop. With _safe the body may
 * remove the present link. */
#define list_for_each(link, head) \
    for (struct list *link = (head)->next; link != (head); link = link->next)
#define list_for_each_safe(link, head)                                                \
    for (struct list *link = (head)->next, *link##_next = link->next; link != (head); \
         link = link##_next, link##_next = link->next)

/* An empty list, or a link that is in none. */
static inline void list_create(struct list *head)
{
    head->next = head->prev = head;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

static inline void list_insert_before(struct list *position, struct list *link)
{
    link->prev = position->prev;
    link->next = position;
    position->prev->next = link;
    position->prev = link;
}

/* Appends at the end of the list. */
static inline void list_add_tail(struct list *head, struct list *link)
{
    list_insert_before(head, link);
}

/* Puts in front of the list. */
static inline void list_add_head(struct list *head, struct list *link)
{
    list_insert_before(head->next, link);
}

/* The first or last link, or NULL when the list is empty. */
static inline struct list *list_first(const struct list *head)
{
    return list_empty(head) ? NULL : head->next;
}

static inline struct list *list_last(const struct list *head)
{
    return list_empty(head) ? NULL : head->prev;
}

/* Unlinks and leaves the link as an empty list, so that removing twice is harmless. */
static inline void list_remove(struct list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_create(link);
}

#endif
