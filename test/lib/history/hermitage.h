/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_HISTORY_HERMITAGE_H
#define TEST_HISTORY_HERMITAGE_H

/*
 * The anomalies of the Hermitage list (Kleppmann 2014, after Adya 1999 and Bailis and others 2013)
 * as scripts: steps of two or three transactions, interleaved, with what each read gives if the
 * anomaly happens. It has happened when every step has done and every read has given just that, and
 * every commit has succeeded. So a script is a claim that can be tried at each level, and by any
 * means that has transactions; and with each statement in a transaction of its own every one of
 * them happens, which shows that none asks for the impossible.
 */
#include <stdbool.h>
#include <stddef.h>

enum {
    HERMITAGE_READ_UNCOMMITTED,
    HERMITAGE_READ_COMMITTED,
    HERMITAGE_REPEATABLE_READ,
    HERMITAGE_SNAPSHOT,
    HERMITAGE_SERIALIZABLE,
    HERMITAGE_LEVELS
};

enum { HERMITAGE_SESSIONS = 4, HERMITAGE_SCRIPTS_MAX = 3, HERMITAGE_TEXT_MAX = 64 };

/* A statement: "get x", "put x 11", "del x", and "find 3", which gives the names of the rows whose
 * values begin so, without blanks between them. What is not there is "-". "begin", "commit" and
 * "rollback" are steps as well. */
struct hermitage_step {
    unsigned session; /* 1 to 3; 0 is by itself, when all is over */
    char verb[12], key[12], value[12];
};

enum hermitage_done {
    HERMITAGE_DONE,
    HERMITAGE_LOST, /* the transaction has been ended */
    HERMITAGE_WAITS /* must wait for another; the step is tried again when one has ended */
};

/* Who runs the statements. Rows x and y are there, "10" and "20", and no others. */
struct hermitage_player {
    void *arg;
    void (*begin)(void *arg, unsigned session);
    enum hermitage_done (*run)(void *arg, const struct hermitage_step *step,
                               char seen[HERMITAGE_TEXT_MAX]);
    enum hermitage_done (*end)(void *arg, unsigned session, bool commit);
};

struct hermitage_row {
    const char *name, *what;
    unsigned prevented_from; /* the first level that prevents it */
    const char *scripts[HERMITAGE_SCRIPTS_MAX];
};

extern const struct hermitage_row hermitage_rows[];
extern const size_t hermitage_row_count;
extern const char *const hermitage_level_names[HERMITAGE_LEVELS];

struct hermitage_outcome {
    bool happened;
    bool lost;   /* a transaction was ended by a conflict */
    bool waited; /* a statement had to wait */
    char why_not[128];
};

/* Plays one script. */
void hermitage_play(const char *script, const struct hermitage_player *player,
                    struct hermitage_outcome *outcome);

/* The table in Markdown, from the outcomes of all rows by level: what happened in one of the
 * scripts of a row is allowed. Returns its size. */
size_t hermitage_table(char *out, size_t room,
                       struct hermitage_outcome (*outcomes)[HERMITAGE_LEVELS]);

#endif
