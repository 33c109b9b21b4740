/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changes of the catalog: the common course.
 *
 * A change closes the gate, so no transaction that may write overlaps it (invariants 21 and 24); it
 * writes the rows of the system spaces, builds the new picture from them inside its own
 * transaction, commits, and publishes the picture before the gate opens. Readers go on meanwhile
 * with the picture that they hold; what is dropped is freed when the last of them has left its
 * epoch.
 */
#include "db/ddl_private.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/checkpoint_private.h"

static void free_store(void *object, void *arg)
{
    db__store_release(object, arg);
}

static void free_entries(void *object, void *arg)
{
    txn_entries_delete(arg, object);
}

/*
 * In the gate, after the commit: nothing may fail. The picture waits until its rows are durable,
 * for readers at V never wait and must not see what a crash takes back (invariant 8). When the log
 * fails meanwhile the old picture stays in force: no transaction that may write will begin.
 */
static void hand_over(struct txn *txn, void *arg)
{
    struct ddl *ddl = arg;
    struct tree_thread *thread = txn_worker_thread(txn_worker_of(txn));
    if (wal_wait(ddl->db->wal, txn_seen_ts(txn)) != 0) {
        db__catalog_release(ddl->after);
        return;
    }
    /* First what makes the dropped unreachable for those who come in from now on, then retire it.
     */
    db__catalog_publish(ddl->db, ddl->after);
    if (ddl->dropped_tree_store != NULL) {
        struct tree **tree = &ddl->dropped_tree_store->trees[ddl->dropped_tree_id];
        epoch_retire(thread->epoch, *tree, free_entries, thread);
        *tree = NULL;
    }
    if (ddl->dropped_store != NULL) {
        pthread_mutex_lock(&ddl->db->stores_mutex);
        store_release(&ddl->dropped_store->dropped, true);
        txn_collect_forget(txn, &ddl->dropped_store->head);
        pthread_mutex_unlock(&ddl->db->stores_mutex);
        db__store_unlink(ddl->db, ddl->dropped_store);
        epoch_retire(thread->epoch, ddl->dropped_store, free_store, thread);
        db__checkpoint_dropped(ddl->db);
    }
}

/* Takes back what was made outside of the transaction. */
static void take_back(struct ddl *ddl)
{
    struct tree_thread *thread = txn_worker_thread(ddl->worker->txn);
    if (ddl->after != NULL)
        db__catalog_release(ddl->after);
    if (ddl->made_tree_store != NULL) {
        txn_entries_delete(thread, ddl->made_tree_store->trees[ddl->made_tree_id]);
        ddl->made_tree_store->trees[ddl->made_tree_id] = NULL;
    }
    if (ddl->made_store != NULL) {
        db__store_unlink(ddl->db, ddl->made_store);
        db__store_delete(ddl->made_store, thread);
    }
}

static int change_make(struct ddl *ddl, ddl_fn change, ddl_fn finish, void *arg)
{
    int rc = change(ddl, arg);
    if (rc != 0)
        return rc;
    if ((rc = db__catalog_build(ddl->db, ddl->txn, &ddl->after)) != 0)
        return rc;
    if (txn_has_writes(ddl->txn) && !ddl->only_functions)
        txn_abort_parked(ddl->txn); /* they may hold on to what is about to go */
    if (finish != NULL && (rc = finish(ddl, arg)) != 0)
        return rc;
    txn_on_commit(ddl->txn, hand_over, ddl);
    return 0;
}

int ddl__run(struct db_worker *worker, ddl_fn change, ddl_fn finish, void *arg)
{
    if (txn_current(worker->txn) != NULL)
        return diag_set(
            ERROR_INVALID,
            "the schema cannot be changed inside a transaction: commit or roll back first");
    struct ddl ddl = {.worker = worker, .db = worker->db};
    struct txn_options options = {.level = TXN_SNAPSHOT, .exclusive = true};
    int rc = txn_begin(worker->txn, &options, &ddl.txn);
    if (rc != 0)
        return rc;
    mp_buffer_create(&ddl.tuple);
    ddl.before = db_catalog(worker);
    rc = change_make(&ddl, change, finish, arg);
    if (rc != 0) {
        /* The transaction is undone before what it worked on is taken back: its undo sweeps entries
         * of these trees. */
        txn_rollback(ddl.txn);
        take_back(&ddl);
    } else if (!txn_has_writes(ddl.txn)) {
        txn_rollback(ddl.txn);
        db__catalog_release(ddl.after);
    } else if ((rc = txn_commit(ddl.txn)) != 0) {
        take_back(&ddl);
    }
    mp_buffer_destroy(&ddl.tuple);
    return rc;
}

struct mp_buffer *ddl__tuple(struct ddl *ddl, uint32_t field_count)
{
    mp_buffer_reset(&ddl->tuple, 65536);
    mp_put_array(&ddl->tuple, field_count);
    return &ddl->tuple;
}

int ddl__put(struct ddl *ddl, uint32_t system_space_id)
{
    if (ddl->tuple.failed)
        return diag_set(ERROR_MEMORY, "no memory for a row of the catalog");
    return db__space_replace(ddl->txn, catalog_space_by_id(ddl->before, system_space_id),
                             ddl->tuple.data, ddl->tuple.size);
}

int ddl__delete(struct ddl *ddl, uint32_t system_space_id)
{
    if (ddl->tuple.failed)
        return diag_set(ERROR_MEMORY, "no memory for a key of the catalog");
    return db__space_delete(ddl->txn, catalog_space_by_id(ddl->before, system_space_id),
                            ddl->tuple.data);
}

bool ddl__name_is(const char *value, const char *name)
{
    uint32_t size;
    if (mp_typeof(*value) != MP_STR)
        return false;
    const char *text = mp_decode_str(&value, &size);
    return size == strlen(name) && memcmp(text, name, size) == 0;
}

static struct ddl_option *option_find(struct ddl_option *options, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++)
        if (ddl__name_is(name, options[i].name))
            return &options[i];
    return NULL;
}

static const char *type_word(enum mp_type type)
{
    switch (type) {
    case MP_BOOL:
        return "a boolean";
    case MP_STR:
        return "a string";
    case MP_ARRAY:
        return "an array";
    case MP_UINT:
        return "an unsigned number";
    default:
        return "of another type";
    }
}

int ddl__options_read(const char *what, const char *map, struct ddl_option *options, unsigned count)
{
    const char *data = map;
    if (data == NULL || (mp_typeof(*data) == MP_ARRAY && mp_decode_array(&data) == 0))
        return 0; /* an empty table travels as an empty array */
    data = map;
    if (mp_typeof(*data) != MP_MAP)
        return diag_set(ERROR_INVALID, "options of %s must be a table of names and values", what);
    for (uint32_t n = mp_decode_map(&data); n > 0; n--) {
        struct ddl_option *option = option_find(options, count, data);
        if (option == NULL) {
            uint32_t size = 0;
            const char *name = mp_typeof(*data) == MP_STR ? mp_decode_str(&data, &size) : "";
            return diag_set(ERROR_INVALID, "%s has no option \"%.*s\"", what, (int)size, name);
        }
        mp_next(&data);
        if (mp_typeof(*data) == MP_NIL) {
            mp_next(&data);
            continue;
        }
        if (mp_typeof(*data) != option->type)
            return diag_set(ERROR_INVALID, "option \"%s\" of %s must be %s", option->name, what,
                            type_word(option->type));
        option->value = data;
        mp_next(&data);
    }
    return 0;
}

bool ddl__option_bool(const struct ddl_option *option, bool otherwise)
{
    const char *value = option->value;
    return value == NULL ? otherwise : mp_decode_bool(&value);
}

int ddl__name_check(const char *what, const char *name, size_t size)
{
    if (size == 0 || size > NAME_SIZE_MAX)
        return diag_set(ERROR_INVALID, "the name of a %s has 1 to %d bytes, not %zu", what,
                        NAME_SIZE_MAX, size);
    if (memchr(name, '\0', size) != NULL)
        return diag_set(ERROR_INVALID, "the name of a %s must not contain a zero byte", what);
    return 0;
}

int ddl__space_find(struct ddl *ddl, uint32_t id, struct space **out)
{
    *out = catalog_space_by_id(ddl->before, id);
    if (*out == NULL)
        return diag_set(ERROR_NOT_FOUND, "there is no space with id %u", id);
    if ((*out)->system)
        return diag_set(ERROR_ACCESS, "system space \"%s\" cannot be changed", (*out)->name);
    return 0;
}
