/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_HISTORY_APPEND_MODEL_H
#define TEST_HISTORY_APPEND_MODEL_H

/*
 * A database of lists, as small as can be, in which one thread runs several transactions step by
 * step in a random order. With nothing taken out its histories are right at their levels; each
 * defect is one rule taken out. For trying the checker.
 */
#include "history/append.h"

enum append_model_defect {
    APPEND_MODEL_RIGHT,
    APPEND_MODEL_DIRTY_READS,          /* reads show what is not committed */
    APPEND_MODEL_DIRTY_WRITES,         /* nobody owns a list that he has appended to */
    APPEND_MODEL_LOSES_APPENDS,        /* now and then one append of a commit is forgotten */
    APPEND_MODEL_NO_FIRST_UPDATER,     /* an append to what is newer than the snapshot succeeds */
    APPEND_MODEL_SNAPSHOT_MOVES,       /* every read is at the latest */
    APPEND_MODEL_TORN_COMMITS,         /* the appends of a commit become visible one by one */
    APPEND_MODEL_STALE_SNAPSHOT,       /* a snapshot may begin in the past */
    APPEND_MODEL_NO_VALIDATION,        /* of reads */
    APPEND_MODEL_NO_ABSENT_VALIDATION, /* of reads that found no row */
};

struct append_model {
    unsigned txns;
    enum append_level level;
    bool mixed; /* levels at random */
    enum append_model_defect defect;
};

/* Adds a history to `history`; the last transaction of it reads all lists. Times are steps. */
void append_model_run(const struct append_model *model, uint64_t seed,
                      struct append_history *history);

#endif
