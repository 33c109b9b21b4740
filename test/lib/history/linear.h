/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_HISTORY_LINEAR_H
#define TEST_HISTORY_LINEAR_H

/*
 * Whether commands on single keys look as if each had happened at one moment between its call and
 * its reply (Herlihy and Wing 1990). The search is that of Wing and Gong (1993), with the states
 * that led nowhere remembered (Lowe 2017). Keys are independent, so each is checked by itself.
 *
 * A command whose reply never came may have happened, between its call and its end, or not at all.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The key holds a text or nothing. Replies as texts: "OK", numbers, LINEAR_ERROR; NULL is nil. */
enum linear_verb {
    LINEAR_GET,
    LINEAR_SET,    /* OK */
    LINEAR_SETNX,  /* 1, or 0 when there is something */
    LINEAR_GETSET, /* what was there */
    LINEAR_DEL,    /* 1, or 0 when there was nothing */
    LINEAR_INCR,   /* the new number, or an error when it is none */
    LINEAR_APPEND, /* the new length */
    LINEAR_CAS,    /* 1 when the text was `expected` and is now `argument`, else 0 */
    LINEAR_VERBS
};

#define LINEAR_ERROR "error"

enum { LINEAR_TEXT_MAX = 48 };

struct linear_op {
    uint32_t key, session;
    enum linear_verb verb;
    bool has_reply;      /* else it is unknown whether it happened */
    bool nil;            /* the reply */
    uint64_t begin, end; /* of one without a reply: when it can no longer happen */
    char argument[LINEAR_TEXT_MAX], expected[LINEAR_TEXT_MAX], reply[LINEAR_TEXT_MAX];
};

struct linear_history {
    struct linear_op *ops;
    size_t count, room;
};

void linear_history_create(struct linear_history *history);
void linear_history_destroy(struct linear_history *history);

/* Adds an operation that has no reply yet, and ends at UINT64_MAX; the pointer is valid until the
 * next one is added. argument and expected may be NULL. */
struct linear_op *linear_call(struct linear_history *history, uint32_t key, enum linear_verb verb,
                              const char *argument, const char *expected, uint64_t time);

/* Its reply; NULL is nil. */
void linear_reply(struct linear_op *op, const char *reply, uint64_t time);

void linear_history_join(struct linear_history *history, const struct linear_history *from);

struct linear_report {
    uint32_t keys, wrong; /* keys, and those whose commands have no order */
    uint64_t steps;       /* of the search */
    size_t text_size;
    char text[4096]; /* where the first ones got stuck */
};

/* True when all keys have an order. */
bool linear_check(const struct linear_history *history, struct linear_report *report);

/* One command on a value, as a model of it: the text of *value[LINEAR_TEXT_MAX], which is absent
 * when !*there. Gives the reply (nil as false), and changes the value. */
bool linear_apply(const struct linear_op *op, bool *there, char *value, char *reply);

#endif
