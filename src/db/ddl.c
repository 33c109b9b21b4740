/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changes of the catalog: the common course.
 *
 * A change closes the gate, so no transaction that may write overlaps it (invariants 21 and 24); it
 * writes the rows of the system spaces, builds the new picture from them inside its own
 * transaction, commits, and publishes the picture before the gate opens. Readers go on meanwhile
 * with the picture that they hold; what is dropped is freed when the last of them has left its
 * epoch.
 *
 * A schema transaction does the same for several changes and the statements between them. Each
 * change begins with a savepoint and leaves a picture, which only this worker sees; the last one is
 * published. Numbers of pictures are never used twice, so that nobody takes a later picture for one
 * that was rolled back.
 */
#include "db/ddl_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/checkpoint_private.h"

/* Nobody reads them any more. */
static void free_store(void *object, void *arg)
{
    struct store *store = object;
    struct db_worker *worker = arg;
    db__discard(worker->db, txn_worker_thread(worker->txn), store, NULL);
}

static void free_entries(void *object, void *arg)
{
    struct db_worker *worker = arg;
    db__discard(worker->db, txn_worker_thread(worker->txn), NULL, object);
}

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory for a change of the schema");
}

int ddl__store_drop(struct ddl *ddl, struct store *store)
{
    struct ddl_store *link = arena_alloc(&ddl->arena, sizeof *link);
    if (link == NULL)
        return no_memory();
    *link = (struct ddl_store){store, ddl->stores};
    ddl->stores = link;
    return 0;
}

int ddl__store_make(struct ddl *ddl, uint32_t id, uint32_t incarnation, struct store **out)
{
    struct ddl_store *link = arena_alloc(&ddl->arena, sizeof *link);
    if (link == NULL)
        return no_memory();
    int rc = db__store_make(ddl->db, txn_worker_thread(ddl->worker->txn), id, incarnation, out);
    if (rc != 0)
        return rc;
    *link = (struct ddl_store){*out, ddl->stores};
    ddl->stores = link;
    return 0;
}

int ddl__tree_drop(struct ddl *ddl, struct store *store, uint32_t id)
{
    if (store->trees[id] == NULL)
        return 0;
    struct ddl_tree *link = arena_alloc(&ddl->arena, sizeof *link);
    if (link == NULL)
        return no_memory();
    *link = (struct ddl_tree){store, id, store->trees[id], ddl->trees};
    ddl->trees = link;
    return 0;
}

int ddl__tree_make(struct ddl *ddl, struct store *store, uint32_t id)
{
    struct ddl_tree *link = arena_alloc(&ddl->arena, sizeof *link);
    struct tree *tree;
    if (link == NULL)
        return no_memory();
    int rc = ddl__tree_drop(ddl, store, id);
    if (rc == 0)
        rc = tree_new(txn_worker_thread(ddl->worker->txn), &tree);
    if (rc != 0)
        return diag_set(rc, "no memory for an index");
    *link = (struct ddl_tree){store, id, tree, ddl->trees};
    ddl->trees = link;
    store->trees[id] = tree;
    return 0;
}

/* The tree that the picture has for an index of the store, or NULL. */
static struct tree *tree_in(const struct catalog *catalog, const struct store *store, uint32_t id)
{
    const struct space *space = catalog_space_by_id(catalog, store->head.id);
    if (space == NULL || space->head != &store->head)
        return NULL;
    const struct index *building = space->building;
    if (id == TREE_AGAIN)
        return building != NULL && building->again ? building->scan.tree : NULL;
    const struct index *index = space_index_by_id(space, id);
    if (index == NULL && building != NULL && building->id == id)
        index = building;
    return index == NULL ? NULL : index->scan.tree;
}

/* In whatever place. */
static bool has_tree(const struct catalog *catalog, const struct store *store,
                     const struct tree *tree)
{
    for (uint32_t id = 0; id < INDEX_MAX; id++)
        if (tree_in(catalog, store, id) == tree)
            return true;
    return false;
}

static bool store_in(const struct catalog *catalog, const struct store *store)
{
    const struct space *space = catalog_space_by_id(catalog, store->head.id);
    return space != NULL && space->head == &store->head;
}

/* Makes the picture the one by which entries of dropped versions are found: in the gate. */
static void look_by(const struct catalog *catalog)
{
    for (uint32_t i = 0; i < catalog->space_count; i++)
        ((struct store *)catalog->spaces[i]->head)->space = catalog->spaces[i];
}

/* Puts the trees of the picture into their places and retires the others that were touched. */
static void trees_settle(struct ddl *ddl, const struct catalog *catalog)
{
    struct tree_thread *thread = txn_worker_thread(ddl->worker->txn);
    for (struct ddl_tree *link = ddl->trees; link != NULL; link = link->next) {
        link->store->trees[link->id] = tree_in(catalog, link->store, link->id);
        /* A tree may have been touched twice, when it was made and when it was dropped. */
        bool again = false;
        for (struct ddl_tree *other = link->next; other != NULL && !again; other = other->next)
            again = other->tree == link->tree;
        if (!again && !has_tree(catalog, link->store, link->tree))
            epoch_retire(thread->epoch, link->tree, free_entries, ddl->worker);
    }
}

/* Frees the stores that were touched and have no place in the picture. In the gate. */
static void stores_settle(struct ddl *ddl, const struct catalog *catalog)
{
    struct tree_thread *thread = txn_worker_thread(ddl->worker->txn);
    for (struct ddl_store *link = ddl->stores; link != NULL; link = link->next) {
        struct store *store = link->store;
        if (store_in(catalog, store) || load_acquire(&store->dropped))
            continue;
        pthread_mutex_lock(&ddl->db->stores_mutex);
        store_release(&store->dropped, true);
        txn_collect_forget(ddl->txn, &store->head);
        db__store_unlink(ddl->db, store);
        pthread_mutex_unlock(&ddl->db->stores_mutex);
        epoch_retire(thread->epoch, store, free_store, ddl->worker);
        db__checkpoint_dropped(ddl->db);
    }
}

static void pictures_release(struct catalog_link *pictures)
{
    for (; pictures != NULL; pictures = pictures->next)
        db__catalog_release(pictures->catalog);
}

/*
 * In the gate, after the commit: nothing may fail. The picture waits until its rows are durable,
 * for readers at V never wait and must not see what a crash takes back (invariant 8). When the log
 * fails meanwhile the old picture stays in force: no transaction that may write will begin.
 */
static void hand_over(struct txn *txn, void *arg)
{
    struct ddl *ddl = arg;
    struct catalog *last = ddl->pictures->catalog;
    if (wal_wait(ddl->db->wal, txn_seen_ts(txn)) != 0) {
        look_by(ddl->first);
        trees_settle(ddl, ddl->first);
        return;
    }
    /* First what makes the dropped unreachable for those who come in from now on, then retire it.
     */
    atomic_fetch_add(&last->references, 1);
    db__catalog_publish(ddl->db, last);
    trees_settle(ddl, last);
    stores_settle(ddl, last);
}

/* Undoes the transaction, still in the gate, and then what was made outside of it: its undo sweeps
 * entries of these trees. */
static void take_back(struct ddl *ddl)
{
    txn_rollback_to(ddl->txn, ddl->start);
    look_by(ddl->first);
    trees_settle(ddl, ddl->first);
    stores_settle(ddl, ddl->first);
    txn_rollback(ddl->txn);
}

static void ddl_delete(struct ddl *ddl)
{
    ddl->worker->ddl = NULL;
    pictures_release(ddl->pictures);
    pictures_release(ddl->undone);
    db__catalog_release(ddl->first);
    mp_buffer_destroy(&ddl->tuple);
    arena_destroy(&ddl->arena);
    free(ddl);
}

int ddl_begin(struct db_worker *worker, const struct txn_options *given, struct txn **out)
{
    struct ddl *ddl = calloc(1, sizeof *ddl);
    if (ddl == NULL)
        return no_memory();
    struct txn_options options = {.level = TXN_SNAPSHOT, .exclusive = true};
    if (given != NULL) {
        options.session_id = given->session_id;
        options.owner = given->owner;
    }
    int rc = txn_begin(worker->txn, &options, &ddl->txn);
    if (rc != 0) {
        free(ddl);
        return rc;
    }
    ddl->worker = worker;
    ddl->db = worker->db;
    ddl->first = (struct catalog *)db_catalog(worker);
    atomic_fetch_add(&ddl->first->references, 1);
    ddl->start = txn_savepoint(ddl->txn);
    arena_create(&ddl->arena, 0);
    mp_buffer_create(&ddl->tuple);
    worker->ddl = ddl;
    if (out != NULL)
        *out = ddl->txn;
    return 0;
}

bool ddl_active(const struct db_worker *worker)
{
    return worker->ddl != NULL;
}

void ddl_rollback(struct db_worker *worker)
{
    take_back(worker->ddl);
    ddl_delete(worker->ddl);
}

int ddl_commit(struct db_worker *worker)
{
    struct ddl *ddl = worker->ddl;
    if (ddl->pictures != NULL)
        txn_on_commit(ddl->txn, hand_over, ddl);
    int rc = txn_commit(ddl->txn);
    if (rc != 0) {
        /* The log has failed: nobody will write any more. Stores that were made are freed when the
         * database is closed. */
        look_by(ddl->first);
        trees_settle(ddl, ddl->first);
    }
    ddl_delete(ddl);
    return rc;
}

/* Makes the picture that the transaction sees the one it works under. */
static int picture_take(struct ddl *ddl)
{
    struct catalog_link *link = arena_alloc(&ddl->arena, sizeof *link);
    if (link == NULL)
        return no_memory();
    int rc = db__catalog_build(ddl->db, ddl->txn, &ddl->coming, &ddl->after);
    if (rc != 0)
        return rc;
    *link = (struct catalog_link){ddl->after, txn_savepoint(ddl->txn).writes, ddl->pictures};
    ddl->pictures = link;
    look_by(ddl->after);
    return 0;
}

const struct catalog *ddl__catalog(const struct ddl *ddl)
{
    return ddl->pictures == NULL ? ddl->first : ddl->pictures->catalog;
}

/* Undoes what was written since, and the changes among that: the picture before them is the one in
 * force again. What they have made outside of the transaction is freed with the rest, at the end. */
static void rollback_to(struct ddl *ddl, struct txn_savepoint savepoint)
{
    txn_rollback_to(ddl->txn, savepoint);
    while (ddl->pictures != NULL && ddl->pictures->writes > savepoint.writes) {
        struct catalog_link *last = ddl->pictures;
        ddl->pictures = last->next;
        last->next = ddl->undone;
        ddl->undone = last;
    }
    const struct catalog *catalog = ddl__catalog(ddl);
    look_by(catalog);
    for (struct ddl_tree *link = ddl->trees; link != NULL; link = link->next)
        link->store->trees[link->id] = tree_in(catalog, link->store, link->id);
}

void ddl_rollback_to(struct db_worker *worker, struct txn_savepoint savepoint)
{
    rollback_to(worker->ddl, savepoint);
}

static int change_make(struct ddl *ddl, ddl_fn change, ddl_fn finish, void *arg)
{
    int rc = change(ddl, arg);
    if (rc == 0)
        rc = picture_take(ddl);
    if (rc != 0)
        return rc;
    if (txn_has_writes(ddl->txn) && !ddl->only_functions)
        /* They may hold on to what is about to go. */
        txn_abort_parked(ddl->txn, "the transaction was rolled back: the schema was being changed");
    return finish == NULL ? 0 : finish(ddl, arg);
}

/* One change of a schema transaction; one that fails leaves nothing. */
static int step(struct ddl *ddl, ddl_fn change, ddl_fn finish, void *arg)
{
    struct txn_savepoint savepoint = txn_savepoint(ddl->txn);
    ddl->before = ddl__catalog(ddl);
    ddl->after = NULL;
    ddl->only_functions = false;
    ddl->coming = (struct coming){0};
    int rc = change_make(ddl, change, finish, arg);
    if (rc == 0)
        return 0;
    rollback_to(ddl, savepoint);
    return rc;
}

int ddl__run(struct db_worker *worker, ddl_fn change, ddl_fn finish, void *arg)
{
    if (worker->ddl != NULL)
        return step(worker->ddl, change, finish, arg);
    if (txn_current(worker->txn) != NULL)
        return diag_set(ERROR_INVALID, "the schema cannot be changed inside a transaction, but in "
                                       "a schema transaction: commit or roll back first");
    int rc = ddl_begin(worker, NULL, NULL);
    if (rc != 0)
        return rc;
    rc = step(worker->ddl, change, finish, arg);
    if (rc != 0 || !txn_has_writes(worker->ddl->txn)) {
        ddl_rollback(worker);
        return rc;
    }
    return ddl_commit(worker);
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
        if (option->type != MP_NIL && mp_typeof(*data) != option->type)
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
    return ddl__space_find_for(ddl, id, ACCESS_ALTER, out);
}

int ddl__space_find_for(struct ddl *ddl, uint32_t id, unsigned privileges, struct space **out)
{
    *out = catalog_space_by_id(ddl->before, id);
    if (*out == NULL)
        return diag_set(ERROR_NOT_FOUND, "there is no space with id %u", id);
    if ((*out)->system)
        return diag_set(ERROR_ACCESS, "system space \"%s\" cannot be changed", (*out)->name);
    if ((*out)->building != NULL)
        return diag_set(
            ERROR_SCHEMA, "space \"%s\" cannot be changed while its index \"%s\" is being %s",
            (*out)->name, (*out)->building->name, (*out)->building->again ? "rebuilt" : "built");
    if ((*out)->coming != NULL)
        return diag_set(ERROR_SCHEMA, "space \"%s\" cannot be changed while it is being altered",
                        (*out)->name);
    const struct store *store = (*out)->head->arg;
    if (atomic_load(&store->ingesting))
        return diag_set(ERROR_SCHEMA,
                        "space \"%s\" cannot be changed while rows are being ingested into it",
                        (*out)->name);
    if (load_relaxed(&store->head.doubtful))
        return txn_doubtful(&store->head);
    return ddl__may(ddl, privileges, ACCESS_SPACE, id, (*out)->owner, (*out)->name);
}
