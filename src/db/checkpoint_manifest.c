/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which files count: putting a new manifest in force, and removing what it no longer names.
 *
 * The manifest is made of the stores whose bodies have files. After it is durable the bodies are
 * settled and whatever the old one named beside it goes. When storing it fails, the bodies go back
 * to what they were; if nobody knows then which manifest a start would find, the files of both
 * stay, as doubtful ones, until a later manifest is durable.
 *
 * Tidying is here, too, since each merge that ends puts a manifest in force.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "db/checkpoint_private.h"

enum { TIDY_STEP_BYTES = 64 << 10 };

/* ----------------------------------------------------------------------------------------- names */

void checkpoint__names_free(struct checkpoint_names *names)
{
    free(names->names);
    *names = (struct checkpoint_names){0};
}

static int names_add(struct checkpoint_names *names, const char *name)
{
    if (names->count == names->capacity) {
        size_t capacity = 2 * names->capacity + 16;
        void *grown = realloc(names->names, capacity * sizeof *names->names);
        if (grown == NULL)
            return diag_set(ERROR_MEMORY, "no memory for the name of a file");
        names->names = grown;
        names->capacity = capacity;
    }
    strcpy(names->names[names->count++], name);
    return 0;
}

static int names_add_manifest(struct checkpoint_names *names, const struct manifest *manifest)
{
    int rc = 0;
    for (unsigned i = 0; i < manifest->tree_count; i++)
        for (unsigned n = 0; rc == 0 && n < manifest->trees[i].file_count; n++)
            rc = names_add(names, manifest->trees[i].files[n].name);
    return rc;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

int checkpoint__names_of(struct checkpoint_names *names, const struct manifest *manifest)
{
    int rc = names_add_manifest(names, manifest);
    if (rc == 0 && names->count > 0)
        qsort(names->names, names->count, sizeof *names->names, name_compare);
    return rc;
}

bool checkpoint__names_have(const struct checkpoint_names *sorted, const char *name)
{
    return sorted->count > 0 &&
           bsearch(name, sorted->names, sorted->count, sizeof *sorted->names, name_compare) != NULL;
}

/* ---------------------------------------------------------------------------------------- stores */

int checkpoint__store_hold(struct checkpoint *checkpoint, struct store *store)
{
    struct engine_stats stats;
    body_stats(store->body, &stats);
    for (size_t i = 0; i < checkpoint->store_count; i++)
        if (checkpoint->stores[i] == store)
            return 0;
    if (stats.files == 0)
        return 0;
    if (checkpoint->store_count == checkpoint->store_capacity) {
        size_t capacity = 2 * checkpoint->store_capacity + 16;
        void *grown = realloc(checkpoint->stores, capacity * sizeof(struct store *));
        if (grown == NULL)
            return diag_set(ERROR_MEMORY, "no memory for the list of spaces");
        checkpoint->stores = grown;
        checkpoint->store_capacity = capacity;
    }
    checkpoint->stores[checkpoint->store_count++] = store;
    atomic_fetch_add(&store->references, 1);
    return 0;
}

void checkpoint__sweep(struct checkpoint *checkpoint)
{
    struct tree_thread *thread = txn_worker_thread(checkpoint->worker->txn);
    size_t kept = 0;
    for (size_t i = 0; i < checkpoint->store_count; i++) {
        struct store *store = checkpoint->stores[i];
        if (load_acquire(&store->dropped)) {
            checkpoint->stale = true;
            db__store_release(store, thread);
        } else {
            checkpoint->stores[kept++] = store;
        }
    }
    checkpoint->store_count = kept;
}

/* -------------------------------------------------------------------------------------- manifest */

static int file_add(const struct engine_file *file, void *arg)
{
    return manifest_file_add(arg, file);
}

/* The manifest of the bodies as they are; k 0: each tree has the K that it had. */
static int manifest_make(struct checkpoint *checkpoint, uint64_t k, uint64_t first_segment,
                         struct manifest *out)
{
    int rc = 0;
    manifest_create(out);
    out->clock = k != 0 ? k : checkpoint->manifest.clock;
    out->first_segment = k != 0 ? first_segment : checkpoint->manifest.first_segment;
    out->next_file = atomic_load(&checkpoint->db->next_file);
    for (size_t i = 0; rc == 0 && i < checkpoint->store_count; i++) {
        struct store *store = checkpoint->stores[i];
        struct manifest_tree *tree;
        if (load_relaxed(&store->dropped))
            continue;
        rc = manifest_tree_add(out, store->head.id, store->head.incarnation, 0,
                               store->body->vtab->name, k != 0 ? k : store->k, &tree);
        if (rc == 0)
            rc = body_files(store->body, file_add, tree);
    }
    if (rc != 0)
        manifest_destroy(out);
    return rc;
}

static void file_remove(struct checkpoint *checkpoint, const char *name,
                        struct checkpoint_names *again)
{
    if (checkpoint->holds > 0) {
        if (names_add(again, name) != 0)
            log_warn("no memory to remove %s later: the next start does", name);
        return;
    }
    crash_point("checkpoint.unlink");
    int rc = io_remove(checkpoint->db->io, name);
    if (rc != 0 && rc != ERROR_NOT_FOUND) {
        log_warn("the file %s is of no use any more and cannot be removed: %s", name,
                 diag_message_for(rc));
        names_add(again, name);
    }
}

/* Removes those of `names` that the manifest does not name. */
static void files_remove(struct checkpoint *checkpoint, const struct checkpoint_names *names,
                         const struct checkpoint_names *named, struct checkpoint_names *again)
{
    for (size_t i = 0; i < names->count; i++)
        if (!checkpoint__names_have(named, names->names[i]))
            file_remove(checkpoint, names->names[i], again);
}

/* What older manifests named, and this one, which is in force, does not. */
static void files_remove_replaced(struct checkpoint *checkpoint, const struct manifest *old,
                                  const struct manifest *new)
{
    struct checkpoint_names named = {0}, before = {0}, again = {0};
    if (checkpoint__names_of(&named, new) == 0 && names_add_manifest(&before, old) == 0) {
        files_remove(checkpoint, &before, &named, &again);
        files_remove(checkpoint, &checkpoint->doubtful, &named, &again);
        files_remove(checkpoint, &checkpoint->unlinked, &named, &again);
        checkpoint__names_free(&checkpoint->doubtful);
        checkpoint__names_free(&checkpoint->unlinked);
        checkpoint->unlinked = again;
    } else {
        log_warn("no memory to remove files that are of no use any more: the next start does");
    }
    checkpoint__names_free(&named);
    checkpoint__names_free(&before);
}

void checkpoint__unlink_again(struct checkpoint *checkpoint)
{
    if (!load_relaxed(&checkpoint->unlink_again))
        return;
    struct checkpoint_names none = {0}, again = {0};
    pthread_mutex_lock(&checkpoint->files_mutex);
    store_relaxed(&checkpoint->unlink_again, false);
    files_remove(checkpoint, &checkpoint->unlinked, &none, &again);
    checkpoint__names_free(&checkpoint->unlinked);
    checkpoint->unlinked = again;
    pthread_mutex_unlock(&checkpoint->files_mutex);
}

/* By its bytes, since these say all that there is. */
static int manifest_copy(const struct manifest *manifest, struct manifest *out)
{
    char *data;
    size_t size;
    int rc = manifest_encode(manifest, &data, &size);
    if (rc != 0)
        return rc;
    rc = manifest_decode(out, data, size);
    free(data);
    return rc;
}

int db__files_hold(struct db *db, struct manifest *out,
                   int (*look)(const struct manifest *manifest, void *arg), void *arg)
{
    struct checkpoint *checkpoint = db->checkpoint;
    pthread_mutex_lock(&checkpoint->files_mutex);
    int rc = manifest_copy(&checkpoint->manifest, out);
    /* The log is cut for a manifest after that has come into force. */
    if (rc == 0 && look != NULL && (rc = look(out, arg)) != 0)
        manifest_destroy(out);
    checkpoint->holds += rc == 0;
    pthread_mutex_unlock(&checkpoint->files_mutex);
    return rc;
}

void db__files_release(struct db *db)
{
    struct checkpoint *checkpoint = db->checkpoint;
    pthread_mutex_lock(&checkpoint->files_mutex);
    if (--checkpoint->holds == 0)
        store_relaxed(&checkpoint->unlink_again, true);
    pthread_mutex_unlock(&checkpoint->files_mutex);
}

/* To readers, when it is durable and before rows leave. */
static void store_show(struct checkpoint *checkpoint, struct store *store)
{
    if (db__store_publish(store, txn_worker_thread(checkpoint->worker->txn), store->k) != 0)
        log_warn("space %" PRIu32 " keeps rows in memory: %s", store->head.id, diag_message());
}

static void manifest_in_force(struct checkpoint *checkpoint, struct manifest *manifest, uint64_t k)
{
    /* Who wants the files of a manifest has either this one, or has held those of the old one. */
    pthread_mutex_lock(&checkpoint->files_mutex);
    for (size_t i = 0; i < checkpoint->store_count; i++) {
        struct store *store = checkpoint->stores[i];
        if (k != 0)
            store->k = k;
        store_relaxed(&store->head.doubtful, false); /* what it has is what this manifest says */
        if (db__store_leaves(store))
            store_show(checkpoint, store);
        body_hold(store->body, checkpoint->holds > 0);
        body_settle(store->body); /* who waits for a compaction goes on, and reads what is shown */
    }
    struct manifest old = checkpoint->manifest;
    checkpoint->manifest = *manifest;
    checkpoint->stale = false;
    files_remove_replaced(checkpoint, &old, &checkpoint->manifest);
    pthread_mutex_unlock(&checkpoint->files_mutex);
    manifest_destroy(&old);
}

static void manifest_failed(struct checkpoint *checkpoint, struct manifest *manifest, bool replaced)
{
    struct checkpoint_names *doubtful = &checkpoint->doubtful;
    if (replaced && names_add_manifest(doubtful, manifest) != 0)
        log_warn("no memory to note files that may be of no use: the next start removes them");
    for (size_t i = 0; i < checkpoint->store_count; i++)
        body_revert(checkpoint->stores[i]->body, replaced);
    manifest_destroy(manifest);
}

int checkpoint__manifest_store(struct checkpoint *checkpoint, uint64_t k, uint64_t first_segment,
                               bool *doubtful)
{
    struct manifest manifest;
    bool replaced = false;
    int rc = manifest_make(checkpoint, k, first_segment, &manifest);
    if (rc == 0 && checkpoint__mutated(checkpoint, CHECKPOINT_MUTATION_UNLINK_EARLY))
        files_remove_replaced(checkpoint, &checkpoint->manifest, &manifest);
    if (rc == 0)
        rc = manifest_store(checkpoint->db->io, &manifest, &replaced);
    if (rc == 0) {
        manifest_in_force(checkpoint, &manifest, k);
        return 0;
    }
    char message[DIAG_MESSAGE_MAX];
    snprintf(message, sizeof message, "%s", diag_message_for(rc));
    manifest_failed(checkpoint, &manifest, replaced);
    if (doubtful != NULL)
        *doubtful = replaced;
    return diag_set(rc, "%s", message);
}

/* ---------------------------------------------------------------------------------------- tidying */

static int store_tidy(struct checkpoint *checkpoint, struct store *store,
                      struct engine_tidied *done)
{
    struct engine_snapshots held = {NULL, 0}; /* nobody reads a resident body */
    int rc = 0;
    if (db__store_leaves(store))
        rc = txn_body_snapshots(checkpoint->worker->txn, store->k, &held);
    if (rc == 0)
        rc = store->body->vtab->flags & ENGINE_JOBS
                 ? checkpoint__job_begin(checkpoint, store, &held, done)
                 : body_tidy(store->body, &held, TIDY_STEP_BYTES, done);
    if (rc == 0 && done->what == ENGINE_TIDY_CHANGED)
        rc = checkpoint__manifest_store(checkpoint, 0, 0, NULL);
    return rc;
}

static bool passed_over(const struct checkpoint *checkpoint, const struct store *store)
{
    return load_relaxed(&store->dropped) ||
           clock_monotonic_ns(checkpoint->db->clock) < store->tidy_again_ns; /* after a failure */
}

unsigned checkpoint__jobs_begin(struct checkpoint *checkpoint)
{
    unsigned changed = 0;
    for (size_t i = 0; i < checkpoint->store_count; i++) {
        struct store *store = checkpoint->stores[i];
        struct engine_tidied done = {ENGINE_TIDY, 0};
        if (!(store->body->vtab->flags & ENGINE_JOBS) || passed_over(checkpoint, store))
            continue;
        if (store_tidy(checkpoint, store, &done) != 0)
            break; /* it is tidied again, and then that is told */
        changed += done.what == ENGINE_TIDY_CHANGED;
    }
    return changed;
}

int checkpoint__tidy(struct checkpoint *checkpoint, struct engine_tidied *done)
{
    *done = (struct engine_tidied){ENGINE_TIDY, 0};
    if (checkpoint->tidy_at >= checkpoint->store_count) {
        checkpoint->tidy_at = 0;
        checkpoint->untidy = false;
        return 0;
    }
    struct store *store = checkpoint->stores[checkpoint->tidy_at];
    int rc = passed_over(checkpoint, store) ? 0 : store_tidy(checkpoint, store, done);
    if (rc != 0 || done->what == ENGINE_TIDY)
        checkpoint->tidy_at++;
    return rc;
}
