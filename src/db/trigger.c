/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Statements on spaces with triggers: see trigger.h.
 *
 * What a before trigger is shown and may change is the row as the statement is about to write it;
 * what follows is the plain statement with the row that came out of it. A row that another one is
 * shown for has been read for update, so nobody changes it meanwhile; but the trigger itself may
 * have, and then the plain statement works on what it has left.
 */
#include "db/trigger.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/mutation.h"
#include "codec/mp.h"
#include "db/trigger_private.h"

static const char *const event_names[TRIGGER_EVENTS] = {
    [TRIGGER_INSTEAD_OF] = "instead_of",
    [TRIGGER_BEFORE_REPLACE] = "before_replace",
    [TRIGGER_ON_REPLACE] = "on_replace",
    [TRIGGER_ON_DELETE] = "on_delete",
    [TRIGGER_STATEMENT] = "statement",
    [TRIGGER_ON_BEGIN] = "on_begin",
    [TRIGGER_ON_COMMIT] = "on_commit",
    [TRIGGER_ON_ROLLBACK] = "on_rollback",
    [TRIGGER_ON_SCHEMA_CHANGE] = "on_schema_change",
    [TRIGGER_ON_CONNECT] = "on_connect",
    [TRIGGER_ON_DISCONNECT] = "on_disconnect",
    [TRIGGER_ON_AUTH] = "on_auth",
    [TRIGGER_ON_START] = "on_start",
};

int trigger_event_parse(const char *name, size_t size)
{
    for (int event = 0; event < TRIGGER_EVENTS; event++)
        if (strlen(event_names[event]) == size && memcmp(event_names[event], name, size) == 0)
            return event;
    return -1;
}

const char *trigger_event_name(enum trigger_event event)
{
    return event_names[event];
}

void db_triggers_set(struct db_worker *worker, const struct db_triggers *triggers)
{
    union {
        const void *from;
        void *to;
    } pointer = {.from = triggers};
    txn_worker_arg_set(db_worker_txn(worker), pointer.to);
}

/* ------------------------------------------------------------------------------- in the picture */

/* The value of an option of a trigger, or NULL. */
static const char *option(const char *map, const char *name)
{
    if (map == NULL || mp_typeof(*map) != MP_MAP)
        return NULL;
    for (uint32_t n = mp_decode_map(&map); n > 0; n--) {
        uint32_t size = 0;
        const char *key = "";
        if (mp_typeof(*map) == MP_STR)
            key = mp_decode_str(&map, &size);
        else
            mp_next(&map);
        if (size == strlen(name) && memcmp(key, name, size) == 0)
            return map;
        mp_next(&map);
    }
    return NULL;
}

static int trigger_add(struct catalog *catalog, const char *tuple)
{
    const char *space_field = mp_array_at(tuple, 3), *options = mp_array_at(tuple, 5);
    const char *name = option(options, "event"), *enabled = option(options, "enabled");
    uint64_t space_id;
    uint32_t size;
    int event = -1;
    if (name != NULL && mp_typeof(*name) == MP_STR) {
        const char *text = mp_decode_str(&name, &size);
        event = trigger_event_parse(text, size);
    }
    if (event < 0 || space_field == NULL || !mp_read_uint(&space_field, &space_id))
        return diag_set(ERROR_CORRUPT, "a row of _trigger is damaged: event or space");
    if (enabled != NULL && mp_typeof(*enabled) == MP_BOOL && !mp_decode_bool(&enabled))
        return 0;
    struct space *space = catalog_space_by_id(catalog, (uint32_t)space_id);
    if (event >= TRIGGER_EVENTS_OF_SPACES)
        catalog->events |= 1u << event;
    else if (space != NULL && !space->quiet)
        space->trigger_events |= 1u << event;
    return 0;
}

int db__triggers_read(struct catalog *catalog)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < catalog->record_count[CATALOG_TRIGGER]; i++)
        rc = trigger_add(catalog, catalog->records[CATALOG_TRIGGER][i].tuple);
    const uint32_t of_transactions =
        1u << TRIGGER_ON_BEGIN | 1u << TRIGGER_ON_COMMIT | 1u << TRIGGER_ON_ROLLBACK;
    for (uint32_t i = 0; i < catalog->space_count; i++) {
        struct space *space = catalog->spaces[i];
        space->calls_out = space->trigger_events != 0 || (catalog->events & of_transactions) != 0;
    }
    return rc;
}

uint32_t catalog_events(const struct catalog *catalog)
{
    return catalog->events;
}

/* ---------------------------------------------------------------------------------- running them */

static int run(struct txn *txn, struct trigger_call *call, enum trigger_event event)
{
    if ((call->space->trigger_events & 1u << event) == 0)
        return 0;
    const struct db_triggers *triggers = txn_worker_arg(txn_worker_of(txn));
    if (triggers == NULL)
        return diag_set(ERROR_UNSUPPORTED,
                        "space \"%s\" has triggers, and nothing to run them here",
                        call->space->name);
    call->event = event;
    return triggers->run(triggers->arg, txn, call);
}

/* The row has been written, or not: what comes after that. */
static int run_after(struct txn *txn, struct trigger_call *call)
{
    int rc = 0;
    if (call->old.data != NULL || call->new.data != NULL)
        rc = run(txn, call, TRIGGER_ON_REPLACE);
    if (rc == 0 && call->old.data != NULL && call->new.data == NULL)
        rc = run(txn, call, TRIGGER_ON_DELETE);
    return rc != 0 ? rc : run(txn, call, TRIGGER_STATEMENT);
}

/* Of a statement that has failed: takes it back, unless the transaction can't go on anyway. */
static int end(struct txn *txn, struct txn_savepoint savepoint, int rc)
{
    if (rc != 0 && !txn_doomed(txn) && !MUTATION(TRIGGER_ERROR_KEEPS))
        txn_rollback_to(txn, savepoint);
    return rc;
}

static void ref_set(struct tuple_ref *out, struct tuple_ref value)
{
    if (out != NULL)
        *out = value;
}

static struct tuple_ref ref_of(const struct version *version)
{
    return version == NULL ? (struct tuple_ref){NULL, 0}
                           : (struct tuple_ref){version->bytes, version->size};
}

/* The row that has the tuple's primary key, to be written; none when the tuple has not got a whole
 * key, as before defaults have filled it in. */
static int row_of_tuple(struct txn *txn, struct space *space, const char *tuple,
                        struct key_bytes *key, const struct version **out)
{
    *out = NULL;
    memset(key, 0, sizeof *key);
    if (space->index_count == 0 || mp_typeof(*tuple) != MP_ARRAY)
        return 0; /* the plain statement says so */
    int rc = db__key_of_tuple(txn_arena(txn), space->indexes[0], tuple, key);
    if (rc == ERROR_SCHEMA) {
        memset(key, 0, sizeof *key);
        return 0;
    }
    return rc != 0 ? rc : txn_get_for_update(txn, space->head, key->data, key->size, out);
}

static bool same_key(const struct key_bytes *one, const struct key_bytes *other)
{
    return one->size == other->size &&
           (one->size == 0 || memcmp(one->data, other->data, one->size) == 0);
}

static int key_changed(const struct space *space)
{
    return diag_set(ERROR_INVALID,
                    "a before_replace trigger of space \"%s\" must not change the primary key",
                    space->name);
}

static bool is_old(const struct trigger_call *call)
{
    return call->old.data != NULL &&
           call->new.size ==
               call->old.size &&memcmp(call->new.data, call->old.data, call->new.size) == 0;
}

/* The row that call->old was read from, as it is now: the triggers may have written it. */
static int row_again(struct txn *txn, struct space *space, struct trigger_call *call,
                     const struct version **out)
{
    struct key_bytes key;
    int rc = row_of_tuple(txn, space, call->old.data, &key, out);
    call->old = ref_of(*out);
    return rc;
}

/* After the before triggers: the row call->old is to become call->new, which may be none. */
static int change_apply(struct txn *txn, struct trigger_call *call, const struct version *version)
{
    struct tuple_ref new = call->new, written = {NULL, 0};
    int rc = 0;
    if (call->changed && new.data != NULL && is_old(call)) {
        call->old = call->new = (struct tuple_ref){NULL, 0}; /* nothing is to happen */
        return 0;
    }
    if (call->space->trigger_events & 1u << TRIGGER_BEFORE_REPLACE)
        rc = row_again(txn, call->space, call, &version);
    call->new = written;
    if (rc != 0 || (version == NULL && new.data == NULL))
        return rc;
    if (version == NULL) /* a trigger has deleted it */
        rc = db__insert(txn, call->space, new.data, new.size, &written);
    else if (new.data == NULL)
        rc = db__row_delete(txn, call->space, version);
    else
        rc = db__row_change(txn, call->space, version, &new, &written);
    call->new = written;
    return rc;
}

/* ------------------------------------------------------------------------------------ statements */

/* `index`, when there is one, is what the key belongs to. */
static int instead(struct txn *txn, struct space *space, struct index *index,
                   enum trigger_operation operation, const struct tuple_ref *tuple, const char *key,
                   const char *ops, struct tuple_ref *out)
{
    struct trigger_call call = {.operation = operation, .space = space, .key = key, .ops = ops};
    struct txn_savepoint savepoint = txn_savepoint(txn);
    const struct version *version = NULL;
    struct key_bytes bytes;
    int rc = 0;
    if (index != NULL && key != NULL)
        rc = db__row_find(txn, index, key, &version);
    else if (tuple != NULL)
        rc = row_of_tuple(txn, space, tuple->data, &bytes, &version);
    call.old = ref_of(version);
    if (tuple != NULL)
        call.new = *tuple;
    if (rc == 0)
        rc = run(txn, &call, TRIGGER_INSTEAD_OF);
    ref_set(out, rc == 0 && call.changed ? call.new : (struct tuple_ref){NULL, 0});
    return end(txn, savepoint, rc);
}

int space_instead(struct txn *txn, struct space *space, enum trigger_operation operation,
                  const struct tuple_ref *tuple, const char *key, const char *ops,
                  struct tuple_ref *out)
{
    return instead(txn, space, NULL, operation, tuple, key, ops, out);
}

/* The before triggers of an insert or replace, and what comes of it when they leave no new row, or the
 * old one. *done: nothing else is to be written. */
static int put_before(struct txn *txn, struct trigger_call *call, bool *done)
{
    const struct version *version;
    struct key_bytes key, now;
    int rc = row_of_tuple(txn, call->space, call->new.data, &key, &version);
    call->old = ref_of(version);
    if (rc == 0)
        rc = run(txn, call, TRIGGER_BEFORE_REPLACE);
    if (rc != 0 || !call->changed)
        return rc;
    if (call->new.data == NULL || is_old(call)) {
        *done = true;
        return call->old.data != NULL ? change_apply(txn, call, version) : 0;
    }
    rc = row_of_tuple(txn, call->space, call->new.data, &now, &version);
    return rc == 0 && call->old.data != NULL && !same_key(&key, &now) ? key_changed(call->space)
                                                                      : rc;
}

static int put(struct txn *txn, struct trigger_call *call)
{
    bool done = false;
    struct tuple_ref written = {NULL, 0}, old = {NULL, 0};
    int rc = 0;
    if (call->space->trigger_events & 1u << TRIGGER_BEFORE_REPLACE)
        rc = put_before(txn, call, &done);
    if (rc == 0 && !done) {
        const struct tuple_ref *new = &call->new;
        if (call->operation == TRIGGER_REPLACE)
            rc = db__replace(txn, call->space, new->data, new->size, &written, &old);
        else
            rc = db__insert(txn, call->space, new->data, new->size, &written);
        call->old = old;
        call->new = written;
    }
    return rc != 0 ? rc : run_after(txn, call);
}

int db__triggered_put(struct txn *txn, struct space *space, enum trigger_operation operation,
                      const char *tuple, size_t size, struct tuple_ref *out, struct tuple_ref *old)
{
    struct trigger_call call = {
        .operation = operation, .space = space, .new = {tuple, (uint32_t)size}};
    struct txn_savepoint savepoint = txn_savepoint(txn);
    ref_set(out, (struct tuple_ref){NULL, 0});
    ref_set(old, (struct tuple_ref){NULL, 0});
    if (space_has_instead(space))
        return instead(txn, space, NULL, operation, &call.new, NULL, NULL, out);
    int rc = put(txn, &call);
    if (rc == 0) {
        ref_set(out, call.new);
        ref_set(old, call.old);
    }
    return end(txn, savepoint, rc);
}

/* What an update or delete has found: triggers, the write, triggers. */
static int change(struct txn *txn, struct trigger_call *call, const struct version *version)
{
    int rc = 0;
    if (version != NULL) {
        rc = run(txn, call, TRIGGER_BEFORE_REPLACE);
        if (rc == 0)
            rc = change_apply(txn, call, version);
    }
    return rc != 0 ? rc : run_after(txn, call);
}

int db__triggered_delete(struct txn *txn, struct index *index, const char *key,
                         struct tuple_ref *old)
{
    struct trigger_call call = {.operation = TRIGGER_DELETE, .space = index->space};
    struct txn_savepoint savepoint = txn_savepoint(txn);
    const struct version *version = NULL;
    ref_set(old, (struct tuple_ref){NULL, 0});
    if (space_has_instead(index->space))
        return instead(txn, index->space, index, TRIGGER_DELETE, NULL, key, NULL, old);
    int rc = db__row_find(txn, index, key, &version);
    call.old = ref_of(version);
    if (rc == 0)
        rc = change(txn, &call, version);
    if (rc == 0)
        ref_set(old, call.old);
    return end(txn, savepoint, rc);
}

/* The new row of an update, to be shown. */
static int update_compute(struct txn *txn, struct trigger_call *call, const char *ops,
                          int field_base)
{
    if (mp_typeof(*ops) != MP_ARRAY)
        return diag_set(ERROR_INVALID, "update operations must be an array");
    return db__tuple_update(txn_arena(txn), call->space, call->old.data, ops, field_base,
                            &call->new);
}

int db__triggered_update(struct txn *txn, struct index *index, const char *key, const char *ops,
                         int field_base, struct tuple_ref *out)
{
    struct trigger_call call = {.operation = TRIGGER_UPDATE, .space = index->space};
    struct txn_savepoint savepoint = txn_savepoint(txn);
    const struct version *version = NULL;
    ref_set(out, (struct tuple_ref){NULL, 0});
    if (space_has_instead(index->space))
        return instead(txn, index->space, index, TRIGGER_UPDATE, NULL, key, ops, out);
    int rc = db__row_find(txn, index, key, &version);
    call.old = ref_of(version);
    if (rc == 0 && version != NULL)
        rc = update_compute(txn, &call, ops, field_base);
    if (rc == 0)
        rc = change(txn, &call, version);
    if (rc == 0)
        ref_set(out, call.new);
    return end(txn, savepoint, rc);
}

int db__triggered_upsert(struct txn *txn, struct space *space, const char *tuple, size_t size,
                         const char *ops, int field_base)
{
    struct trigger_call call = {
        .operation = TRIGGER_UPSERT, .space = space, .new = {tuple, (uint32_t)size}};
    struct txn_savepoint savepoint = txn_savepoint(txn);
    const struct version *version;
    struct key_bytes bytes;
    if (space_has_instead(space))
        return instead(txn, space, NULL, TRIGGER_UPSERT, &call.new, NULL, ops, NULL);
    int rc = row_of_tuple(txn, space, tuple, &bytes, &version);
    if (rc == 0 && version == NULL) {
        rc = put(txn, &call);
    } else if (rc == 0) {
        call.old = ref_of(version);
        rc = update_compute(txn, &call, ops, field_base);
        if (rc == 0)
            rc = change(txn, &call, version);
    }
    return end(txn, savepoint, rc);
}
