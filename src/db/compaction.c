/* SPDX-License-Identifier: Apache-2.0 */
#include "db/compaction.h"

#include <inttypes.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/access.h"
#include "db/catalog.h"
#include "db/checkpoint_private.h"
#include "db/db_private.h"

bool db_compaction_get(const struct space *space, struct db_compaction *out)
{
    struct store *store = space->head->arg;
    if (store->body == NULL || !(store->body->vtab->flags & ENGINE_JOBS))
        return false;
    *out = (struct db_compaction){.failures = load_relaxed(&store->compactions_failed)};
    checkpoint__jobs_of(store->db->checkpoint, store, &out->running, &out->written);
    lsm_stats_get(store->body, &out->files);
    lsm_options_get(store->body, &out->options.lsm);
    if (store->head.expiry != NULL) {
        out->options.expire_field = store->expiry.field + 1;
        out->options.expire_after_ms = store->expiry.after_ms;
    }
    out->wanted = lsm_compact_wanted(store->body);
    return true;
}

static struct space *space_find(struct db_worker *worker, uint32_t space_id)
{
    return catalog_space_by_id(db_catalog(worker), space_id);
}

static int gone(uint32_t space_id)
{
    return diag_set(ERROR_NOT_FOUND, "there is no space with the number %" PRIu32, space_id);
}

int db_compaction_begin(struct db_worker *worker, uint32_t space_id, uint64_t *failures)
{
    const struct space *space = space_find(worker, space_id);
    struct db_compaction now;
    if (space == NULL)
        return gone(space_id);
    int rc = access_check(worker, ACCESS_ALTER, ACCESS_SPACE, space_id, space->owner, space->name);
    if (rc != 0)
        return rc;
    if (!db_compaction_get(space, &now))
        return diag_set(ERROR_UNSUPPORTED,
                        "space \"%s\" has nothing to compact: that is of the engine 'lsm'",
                        space->name);
    struct store *store = space->head->arg;
    *failures = now.failures;
    if (lsm_compact_request(store->body))
        db__checkpoint_untidy(store->db);
    return 0;
}

int db_compaction_ended(struct db_worker *worker, uint32_t space_id, uint64_t failures)
{
    const struct space *space = space_find(worker, space_id);
    struct db_compaction now;
    if (space == NULL || !db_compaction_get(space, &now))
        return gone(space_id);
    if (now.failures != failures)
        return diag_set(ERROR_IO,
                        "a compaction of space \"%s\" has failed, as the log tells, and is tried "
                        "again after a minute",
                        space->name);
    return now.wanted ? diag_set(ERROR_WAIT, "space \"%s\" is being compacted", space->name) : 0;
}
