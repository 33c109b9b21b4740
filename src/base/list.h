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

#define list_entry(link, type, member) ((type *)(void *)((char *)(link) - offsetof(type, member)))
#define list_for_each(link, head) for (struct list *link = (head)->next; link != (head); link = link->next)
#define list_for_each_safe(link, head)                                                                    \
    for (struct list *link = (head)->next, *link##_next = link->next; link != (head);                     \
         link = link##_next, link##_next = link->next)

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

static inline void list_add_head(struct list *head, struct list *link)
{
    list_insert_before(head->next, link);
}

/* Unlinks and leaves the link as an empty list, so that removing twice is harmless. */
static inline void list_remove(struct list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_create(link);
}

#endif
