/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changes of what the rows of a space have to be, while others write (invariant 29): of its format,
 * its number of fields, its constraints and foreign keys.
 *
 *      gate    the picture of the space has what it is coming to be (struct space, coming); no row of
 *              the catalog says so, and after a restart it is as it was
 *      check   all rows that are there, some at a time
 *      gate    the row of _space is the new one
 *
 * All who write after the first gate are refused what does not fit both, and so is who takes away
 * what a row refers to by a foreign key that is coming. So only rows from before have to be looked
 * at. A slice reads them in a snapshot from behind the gate: what was written over since has been
 * checked by its writer, and what is referred to in the snapshot stays. Defaults and generated fields
 * come with the second gate; rows that are there get none.
 */
#include "db/format_private.h"

#include <string.h>

#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"

int ddl__row_check(struct txn *txn, struct space *space, const char *tuple, size_t size)
{
    int rc = db__tuple_check(space, tuple, size);
    if (rc == 0)
        rc = db__constraints_check(space, tuple);
    if (rc == 0 && space->foreign_key_count > 0)
        rc = db__foreign_parents_see(txn, space, tuple);
    return rc;
}

static struct space *altered(const struct ddl_job *job, const struct catalog *catalog)
{
    struct space *space = catalog_space_by_id(catalog, job->space_id);
    return space == NULL || space->coming == NULL ? NULL : space;
}

static int gone(void)
{
    return diag_set(ERROR_NOT_FOUND, "the space that was to be altered is gone");
}

static int rows_check(struct ddl_job *job, struct txn *txn, struct space *space)
{
    struct txn_range range = {.lower = job->after, .lower_size = job->after_size};
    struct txn_cursor cursor;
    struct row *row = NULL;
    const struct version *version;
    int rc = 0;
    txn_cursor_open(&cursor, txn, &space->indexes[0]->scan, &range);
    for (unsigned n = 0; rc == 0 && n < DDL_SLICE_ROWS; n++) {
        rc = txn_cursor_next(&cursor, &row, &version);
        if (rc == 0) {
            rc = ddl__row_check(txn, space->coming, version->bytes, version->size);
            job->rows++;
        }
    }
    return rc == 0 ? ddl__job_after(job, row) : rc;
}

static int slice(struct ddl_job *job)
{
    const struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    struct txn *txn;
    int rc = txn_begin(job->worker->txn, &options, &txn);
    if (rc != 0)
        return rc;
    struct space *space = altered(job, db_catalog(job->worker));
    rc = space == NULL ? gone() : rows_check(job, txn, space);
    txn_rollback(txn);
    return rc;
}

/* Another may have taken the name meanwhile. */
static int name_check(const struct ddl *ddl, const struct space *coming)
{
    const struct space *other = catalog_space(ddl->before, coming->name, strlen(coming->name));
    return other == NULL || other->id == coming->id
               ? 0
               : diag_set(ERROR_EXISTS, "space \"%s\" exists already", coming->name);
}

static int finish_make(struct ddl *ddl, void *arg)
{
    const struct ddl_job *job = arg;
    const struct space *space = altered(job, ddl->before);
    if (space == NULL)
        return gone();
    int rc = name_check(ddl, space->coming);
    if (rc != 0)
        return rc;
    mp_buffer_reset(&ddl->tuple, 65536);
    mp_put_raw(&ddl->tuple, space->coming->definition, space->coming->definition_size);
    ddl->coming.space_id = job->space_id;
    return ddl__put(ddl, SPACE_ID_SPACE);
}

static int finish(struct ddl_job *job)
{
    crash_point("space.alter.checked");
    return ddl__run(job->worker, finish_make, NULL, job);
}

static int cancel_make(struct ddl *ddl, void *arg)
{
    const struct ddl_job *job = arg;
    const struct space *space = altered(job, ddl->before);
    if (space == NULL)
        return 0;
    ddl->coming.space_id = job->space_id;
    return ddl__space_touch(ddl, space);
}

static int cancel(struct ddl_job *job)
{
    return ddl__run(job->worker, cancel_make, NULL, job);
}

static void destroy(struct ddl_job *job)
{
    (void)job;
}

static const struct ddl_job_vtab alter_job = {.doing = "is being altered",
                                              .done = "is altered",
                                              .slice = slice,
                                              .finish = finish,
                                              .cancel = cancel,
                                              .destroy = destroy};

void ddl__alter_begin(struct ddl_job *job, struct db_worker *worker, const struct space *space)
{
    ddl__job_begin(job, &alter_job, worker, space, "space \"%s\"", space->name);
    crash_point("space.alter.begun");
}
