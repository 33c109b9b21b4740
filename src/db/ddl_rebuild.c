/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Making an index again of the rows, where it has come to differ from them.
 *
 *      gate   the picture has a second index of the same number and definition, with a tree of its own in
 *             the place TREE_AGAIN: writers maintain both, readers know the first one only
 *      fill   as of an index that is built (ddl_build.c, checkpoint_build.c)
 *      gate   the new tree takes the place of the old one, which is freed when its last reader has left
 *
 * No row of the catalog tells of it. What is in memory is made of the rows at each start anyhow, so a crash on the way
 * leaves no half of an index. Where rows leave the head the entries in the body stay and get those that are
 * missing: each is right at any time, with the others or without them.
 *
 * A space of few rows, and within a schema transaction, gets the new tree in the gate.
 */
#include "db/ddl_private.h"

#include <stdlib.h>

#include "base/diag.h"
#include "base/error.h"

struct rebuild_args {
    uint32_t space_id, id;
    bool standalone; /* not within a schema transaction */
    bool online;     /* it is filled while others write */
};

static int index_find(struct ddl *ddl, const struct rebuild_args *args, struct space **space)
{
    int rc = ddl__space_find(ddl, args->space_id, space);
    if (rc != 0)
        return rc;
    const struct index *index = space_index_by_id(*space, args->id);
    if (index == NULL)
        return diag_set(ERROR_NOT_FOUND, "space \"%s\" has no index with id %u", (*space)->name,
                        args->id);
    if (index->id == 0)
        return diag_set(
            ERROR_UNSUPPORTED,
            "index \"%s\" of space \"%s\" is the primary one: it has the rows themselves, "
            "of which only other indexes can be made again; damaged rows come back from "
            "a backup, or from 'perigee check --repair'",
            index->name, (*space)->name);
    return 0;
}

static int rebuild(struct ddl *ddl, void *arg)
{
    struct rebuild_args *args = arg;
    struct space *space;
    int rc = index_find(ddl, args, &space);
    if (rc == 0 && ddl__resident(space))
        args->online = args->standalone && space_len(space) >= ddl->db->online_rows_min;
    else if (rc == 0)
        rc = ddl__rows_wait(ddl, space, args->standalone, "rebuilt", &args->online);
    if (rc != 0)
        return rc;
    rc = ddl__tree_make(ddl, space->head->arg, args->online ? TREE_AGAIN : args->id);
    if (rc != 0)
        return rc;
    if (args->online)
        ddl->coming = (struct coming){.space_id = args->space_id, .again_id = args->id};
    return ddl__space_touch(ddl, space);
}

static int rebuild_finish(struct ddl *ddl, void *arg)
{
    const struct rebuild_args *args = arg;
    struct tree_thread *thread = txn_worker_thread(ddl->worker->txn);
    struct space *space = catalog_space_by_id(ddl->after, args->space_id);
    struct index *index = args->online ? space->building : space_index_by_id(space, args->id);
    int rc = db__directory_make(thread, index, index->scan.tree);
    return rc != 0 || args->online ? rc : db__index_fill(ddl->db, thread, index, true);
}

int ddl__again_take(struct ddl *ddl, const struct space *space, uint32_t index_id)
{
    struct store *store = space->head->arg;
    int rc = ddl__tree_drop(ddl, store, index_id);
    if (rc == 0)
        rc = ddl__tree_drop(ddl, store, TREE_AGAIN);
    if (rc != 0)
        return rc;
    store->trees[index_id] = store->trees[TREE_AGAIN];
    store->trees[TREE_AGAIN] = NULL;
    ddl->coming.space_id = space->id;
    return ddl__space_touch(ddl, space);
}

int ddl__again_end(struct ddl *ddl, const struct space *space)
{
    int rc = ddl__tree_drop(ddl, space->head->arg, TREE_AGAIN);
    ddl->coming.space_id = space->id;
    return rc != 0 ? rc : ddl__space_touch(ddl, space);
}

int ddl_index_rebuild_begin(struct db_worker *worker, uint32_t space_id, uint32_t index_id,
                            struct ddl_job **job)
{
    struct rebuild_args args = {
        .space_id = space_id, .id = index_id, .standalone = !ddl_active(worker)};
    struct ddl_job *build;
    *job = NULL;
    int rc = ddl__build_new(&build);
    if (rc != 0)
        return rc;
    rc = ddl__run(worker, rebuild, rebuild_finish, &args);
    if (rc == 0 && args.online)
        rc = ddl__build_begin(build, worker, space_id, index_id, NULL);
    if (rc == 0 && args.online)
        *job = build;
    else
        free(build);
    return rc;
}

int ddl_index_rebuild(struct db_worker *worker, uint32_t space_id, uint32_t index_id)
{
    struct ddl_job *job;
    int rc = ddl_index_rebuild_begin(worker, space_id, index_id, &job);
    return job == NULL ? rc : ddl__job_run(job);
}
