/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_HISTORY_APPEND_H
#define TEST_HISTORY_APPEND_H

/*
 * A checker of isolation that knows nothing of the database: it is given what clients did and saw,
 * and says which anomaly of Adya's (1999) that shows, if any.
 *
 * The method is that of Elle (Kingsbury and Alvaro, VLDB 2020). Transactions append numbers to
 * lists and read lists. Every number is appended once, so a list tells who wrote over whom, and
 * which version a reader saw. From that follow the edges of a graph of transactions:
 *
 *      ww   A's append is followed by B's in a list
 *      wr   B read a list that ends with A's append
 *      rw   A read a list that B's append then followed
 *      rt   A had ended before B began (only when asked for)
 *
 * A cycle is an anomaly; which one depends on its edges, and whether it is forbidden on the levels
 * of the transactions in it. Levels may be mixed. With commit timestamps in mind: a position of a
 * transaction is its commit, or its snapshot when it only read. ww, rt, and wr into a reader that
 * is at least at read committed go forward in position. rw out of a serializable transaction does,
 * too. rw out of a snapshot does when the transaction was entered by one of the former: what it saw
 * then was committed before its snapshot, and what it missed was committed after. So of all cycles
 * the forbidden ones are those in which every rw edge begins at a serializable transaction, or at a
 * snapshot one that is entered by a ww, wr or rt edge. For one level alone these are Adya's
 * definitions and that of snapshot isolation by Fekete and others (2005).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum append_level {
    APPEND_READ_UNCOMMITTED,
    APPEND_READ_COMMITTED,
    APPEND_SNAPSHOT,
    APPEND_SERIALIZABLE,
    APPEND_LEVELS
};

/* Unknown: the client never learned whether it was committed. */
enum append_status { APPEND_COMMITTED, APPEND_ABORTED, APPEND_UNKNOWN };

enum append_anomaly {
    APPEND_GARBAGE,       /* a list holds what nobody appended */
    APPEND_DUPLICATE,     /* a list holds a number twice */
    APPEND_INCOMPATIBLE,  /* no order of the appends gives two lists that were read */
    APPEND_INTERNAL,      /* a transaction does not see its own appends, or reads do not repeat */
    APPEND_LOST_APPEND,   /* a committed append is missing from a list read afterwards */
    APPEND_G0,            /* a cycle of ww: dirty writes */
    APPEND_G1A,           /* read what was rolled back */
    APPEND_G1B,           /* read what its writer then wrote over: an intermediate state */
    APPEND_G1C,           /* a cycle of ww and wr: circular information flow */
    APPEND_LOST_UPDATE,   /* P4: read a list, then appended to a later state of it */
    APPEND_G_SINGLE,      /* a cycle with one rw: read skew */
    APPEND_G_NONADJACENT, /* a cycle with several rw that no snapshots can give */
    APPEND_G2_ITEM,       /* a cycle with several rw over rows: write skew */
    APPEND_G2,            /* the same with a row that was absent from a range: phantoms */
    APPEND_REAL_TIME,     /* a cycle only with rt: serializable in an order that is not time's */
    APPEND_ANOMALIES
};

const char *append_level_name(enum append_level level);
const char *append_anomaly_name(enum append_anomaly anomaly);

/* Whether a history in which all transactions run at `level` must not have the anomaly. The last
 * one is forbidden at every level, when it is asked for. */
bool append_forbids(enum append_level level, enum append_anomaly anomaly);

struct append_op {
    uint32_t key;
    uint32_t value; /* of an append */
    size_t first;   /* of a read: where in `values` the list begins */
    uint32_t count;
    bool read;
    bool predicate; /* the list was read by a range, in which its row may have been absent */
};

struct append_txn {
    uint32_t session;
    enum append_level level;
    enum append_status status;
    uint64_t begin, end; /* time; end is UINT64_MAX when it is not known to have ended */
    size_t first;        /* of its operations */
    uint32_t count;
};

/* What happened, in the order in which one client recorded it. Fields may be read, and changed by
 * tests that forge histories. */
struct append_history {
    struct append_txn *txns;
    struct append_op *ops;
    uint32_t *values;
    size_t txn_count, op_count, value_count;
    size_t txn_room, op_room, value_room;
};

void append_history_create(struct append_history *history);
void append_history_destroy(struct append_history *history);

/* Records one transaction. Times come from one clock that never goes back. Values are above 0 and
 * appended once in the whole history; an attempt that is run again appends new ones. Keys are small
 * numbers. The list of a read is copied. */
void append_begin(struct append_history *history, uint32_t session, enum append_level level,
                  uint64_t time);
void append_value(struct append_history *history, uint32_t key, uint32_t value);
void append_read(struct append_history *history, uint32_t key, const uint32_t *values,
                 uint32_t count, bool predicate);
void append_end(struct append_history *history, enum append_status status, uint64_t time);

/* Adds all of `from`, which stays as it is. */
void append_history_join(struct append_history *history, const struct append_history *from);

struct append_options {
    bool real_time; /* who ended before another began also came before it */
    bool judge;     /* as if all transactions had run at `level`, not each at its own */
    enum append_level level;
};

struct append_report {
    uint32_t found[APPEND_ANOMALIES]; /* cycles count once a kind */
    uint32_t total;
    uint32_t committed; /* transactions known to be, also by what others read */
    size_t edges;
    size_t text_size;
    char text[8192]; /* what was found, in words, an end of line behind each */
};

/* True when nothing forbidden was found. */
bool append_check(const struct append_history *history, const struct append_options *options,
                  struct append_report *report);

#endif
