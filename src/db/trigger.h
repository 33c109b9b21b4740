/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_TRIGGER_H
#define DB_TRIGGER_H

/*
 * Triggers: what runs inside of a statement, in its transaction, on every path that writes to a
 * space. db knows from the catalog (_trigger) which spaces have some and when they have to run;
 * whoever embeds Lua knows how (db_triggers_set). In replay none runs.
 *
 * The order within a statement:
 *
 *      instead_of                         ends the statement: nothing else happens
 *      before_replace                     may change the new row, or make it none, or veto
 *      defaults, format, constraints, row and index entries, foreign keys with their cascades
 *      on_replace, and on_delete when a row went
 *      statement                          once, whether or not there was a row
 *
 * An error at any point takes back the whole statement and goes to who made it. A statement that a
 * trigger makes is one like any other, and runs triggers of its own.
 */
#include "db/space.h"

/* Bits 1 << event of space.trigger_events and catalog_events. */
enum trigger_event {
    TRIGGER_INSTEAD_OF,
    TRIGGER_BEFORE_REPLACE,
    TRIGGER_ON_REPLACE,
    TRIGGER_ON_DELETE,
    TRIGGER_STATEMENT,
    TRIGGER_EVENTS_OF_SPACES, /* those from here on belong to no space, and db knows nothing more */
    TRIGGER_ON_BEGIN = TRIGGER_EVENTS_OF_SPACES,
    TRIGGER_ON_COMMIT,
    TRIGGER_ON_ROLLBACK,
    TRIGGER_ON_SCHEMA_CHANGE,
    TRIGGER_ON_CONNECT,
    TRIGGER_ON_DISCONNECT,
    TRIGGER_ON_AUTH,
    TRIGGER_ON_START,
    TRIGGER_EVENTS
};

/* "on_replace" and so on: the event, or -1; and back. */
int trigger_event_parse(const char *name, size_t size);
const char *trigger_event_name(enum trigger_event event);

enum trigger_operation {
    TRIGGER_INSERT,
    TRIGGER_REPLACE,
    TRIGGER_UPDATE,
    TRIGGER_UPSERT,
    TRIGGER_DELETE
};

/* What the triggers of one event are called with. Tuples live until the transaction ends. */
struct trigger_call {
    enum trigger_event event;
    enum trigger_operation operation;
    struct space *space;
    struct tuple_ref old; /* data NULL: there is none */
    struct
        tuple_ref new; /* likewise. Of before_replace: may be replaced by a checked MessagePack array,
                             or by nothing. Of instead_of: afterwards what the statement gives. */
    bool changed;      /* set when it was */
    const char *key;   /* of instead_of: of an update or delete, or NULL */
    const char *ops;   /* of instead_of: of an update or upsert, or NULL */
};

struct db_triggers {
    /* Runs all enabled triggers of the space and event, in order. 0, or what one of them has raised. On
     * the worker's thread, within a statement: it may make statements in `txn`, but not end it. */
    int (*run)(void *arg, struct txn *txn, struct trigger_call *call);
    void *arg;
};

/* For the statements of this worker; outlives it. Without them a statement that would have to run
 * triggers is ERROR_UNSUPPORTED. */
void db_triggers_set(struct db_worker *worker, const struct db_triggers *triggers);

/* Bits of the events of no space that have enabled triggers. */
uint32_t catalog_events(const struct catalog *catalog);

/* A writing statement on a space with instead_of triggers, which needs no index: `tuple` of an insert,
 * replace or upsert, `key` of an update or delete, `ops` of an update or upsert; the others are NULL.
 * *out is what the triggers gave as its result. */
int space_instead(struct txn *txn, struct space *space, enum trigger_operation operation,
                  const struct tuple_ref *tuple, const char *key, const char *ops,
                  struct tuple_ref *out);

static inline bool space_has_instead(const struct space *space)
{
    return (space->trigger_events & 1u << TRIGGER_INSTEAD_OF) != 0;
}

#endif
