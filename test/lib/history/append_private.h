/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_HISTORY_APPEND_PRIVATE_H
#define TEST_HISTORY_APPEND_PRIVATE_H

/* What the files of the checker share. */
#include "history/append.h"
#include "history/memory.h"

enum { APPEND_NONE = UINT32_MAX };

/* What is known of a number. */
struct append_written {
    uint32_t txn; /* APPEND_NONE: nobody appended it */
    uint32_t key;
    uint32_t place; /* in the order of its list, APPEND_NONE when nobody saw it */
    bool last;      /* the transaction appended nothing to the list after it */
};

/* A list in the longest form that was read, and the committed appends that nobody saw. */
struct append_list {
    const uint32_t *values;
    uint32_t count;
    uint32_t *unseen;
    size_t unseen_count, unseen_room;
};

enum append_edge_kind { EDGE_WW = 1, EDGE_WR = 2, EDGE_RW = 4, EDGE_RT = 8 };

struct append_edge {
    uint32_t from, to;
    enum append_edge_kind kind;
    bool predicate;
    uint32_t key, value; /* the append that it is about: A's for wr, else B's */
};

struct append_check {
    const struct append_history *history;
    struct append_options options;
    struct append_report *report;
    struct append_written *written; /* by number */
    size_t written_count;
    struct append_list *lists; /* by key */
    size_t list_count;
    bool *committed; /* by transaction */
    struct append_edge *edges;
    size_t edge_count, edge_room;
    size_t *edge_first; /* by transaction, after sorting by `from`; one more at the end */
};

/* The level at which a transaction is judged. */
static inline enum append_level append__level(const struct append_check *check, uint32_t txn)
{
    return check->options.judge ? check->options.level : check->history->txns[txn].level;
}

/* Counts an anomaly and, for the first few of a kind, says what it is. */
void append__found(struct append_check *check, enum append_anomaly anomaly, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* More text behind the last line, without an end of line. */
void append__say(struct append_check *check, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void append__edge(struct append_check *check, const struct append_edge *edge);

/* The phases, in this order: who wrote what, and the order of each list; what transactions saw;
 * the order of time; cycles. */
void append__lists_find(struct append_check *check);
void append__reads_check(struct append_check *check);
void append__time_add(struct append_check *check);
void append__cycles_find(struct append_check *check);

#endif
