/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_INGEST_PRIVATE_H
#define DB_INGEST_PRIVATE_H

/* What ingest.c, its thread (ingest_write.c) and the checkpoint's thread (checkpoint_ingest.c) share of one. */
#include "db/checkpoint_private.h"
#include "db/ddl_private.h"
#include "db/ingest.h"
#include "storage/run/run_sort.h"

enum ingest_state {
    INGEST_WRITES,      /* its thread makes files */
    INGEST_VIEW_WANTED, /* a checkpoint is to come, of which it has the picture */
    INGEST_SNAPSHOT_COMING,
    INGEST_VIEW_COMING,    /* it is being made */
    INGEST_VIEW_TAKEN,     /* its thread compares with that */
    INGEST_PUBLISH_WANTED, /* a checkpoint is to come, behind which the files are taken in */
    INGEST_PUBLISH_COMING,
    INGEST_PUBLISHES, /* its thread takes them in, with all that is the checkpoint's, which waits for it */
    INGEST_AGAIN, /* the clock has come near its timestamp: its thread writes files of a later one */
    INGEST_DONE,
    INGEST_FAILED
};

struct ingest {
    struct ingest *next;      /* of the checkpoint's list; under its mutex */
    struct db_worker *worker; /* until it has been left */
    struct checkpoint *checkpoint;
    struct store *store;     /* with a reference; says that it is being ingested into */
    struct catalog *catalog; /* a reference */
    struct space *space;     /* of it */
    struct run_sort *sort;
    struct arena arena;   /* of one row */
    uint64_t rows, added; /* `added`: those of indexes too */
    int broken;           /* adding has failed half way: what it was */
    pthread_t thread;
    _Atomic bool cancelled;
    /* Under the checkpoint's mutex: */
    bool left;  /* by its job, to the checkpoint's thread, which frees it */
    bool ended; /* its thread has nothing left to do */
    enum ingest_state state;
    int rc; /* why it has failed */
    char failure[DIAG_MESSAGE_MAX];
    /* Of whom the state says: thread or checkpoint. */
    uint64_t ts, margin;       /* of all rows; how far ahead of the clock it was chosen */
    struct body_view *written; /* the files, and nothing else; NULL: there are none */
    bool taken;                /* they are the body's */
    struct txn *snapshot;      /* parked: what has changed since stays in the head; or NULL */
    struct body_view *view;    /* at k, its timestamp */
    uint64_t k;
};

/* Whether two rows may not have the same key of an index, nil apart; of any secondary one. */
bool ingest__has_unique(const struct space *space);

/* What stands before the entry of a secondary index while it is sorted. */
enum { INGEST_NIL = 1 };

/* ingest_write.c: makes the files from what was sorted, all rows of ingest->ts; and compares them with the picture. */
int ingest__write(struct ingest *ingest);
int ingest__compare(struct ingest *ingest);

/* Whether an entry of a unique index among what was written has these parts and leads to another row than the one with this
 * primary key. Bytes in the arena. */
int ingest__other_holder(struct ingest *ingest, unsigned char number, const struct key_bytes *key,
                         const void *primary, size_t primary_size, struct arena *arena,
                         bool *found);

/* Whether a row with this primary key (as the head has it) was written. */
int ingest__has(struct ingest *ingest, const void *primary, size_t primary_size,
                struct arena *arena, bool *has);

/* checkpoint_ingest.c: sets the state, or, with rc, that it has failed, as the diagnostics say; with the checkpoint's
 * mutex, or, _set, without. */
void checkpoint__ingest_state(struct ingest *ingest, int rc, enum ingest_state state);
void checkpoint__ingest_state_set(struct ingest *ingest, int rc, enum ingest_state state);

/* checkpoint_ingest.c: on its thread, in INGEST_PUBLISHES. Another state than that comes of it, which is given. */
enum ingest_state checkpoint__ingest_publish(struct ingest *ingest);

/* With the checkpoint's mutex: out of its list. */
void checkpoint__ingest_unlink(struct ingest *ingest);

/* Of one that has no thread (any more), by whoever has this worker. */
void ingest__free(struct ingest *ingest, struct db_worker *worker);

/* 0, or ERROR_CANCELLED: it is not wanted any more. Any thread. */
int ingest__going_on(const struct ingest *ingest);

/* ERROR_MEMORY. */
int ingest__no_memory(void);

#endif
