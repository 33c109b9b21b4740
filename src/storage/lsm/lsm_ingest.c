/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Runs that come from elsewhere than absorbing or compacting: written beside the body first, by whichever
 * thread, and taken in as they are when the time has come.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/lsm/lsm_internal.h"

/* Opens a run that somebody has written, as what its header says that it is. */
static int foreign_open(struct lsm_body *body, const char *name, struct lsm_file **out)
{
    struct engine_file meta = {.time_ms = lsm__time_now(body)};
    char own[ENGINE_FILE_NAME_MAX + 1];
    struct run *run;
    int rc = run_open(body->io, name, &run);
    if (rc != 0)
        return rc;
    const struct run_info *info = run_info(run);
    engine_file_name(own, body->space_id, body->incarnation, info->sequence);
    meta.bytes = info->file_bytes;
    meta.rows = info->rows;
    meta.tombstones = info->tombstones;
    bool named = strcmp(own, name) == 0;
    run_close(run);
    if (!named || meta.rows == 0)
        return diag_set(ERROR_INVALID,
                        "the run %s is not of space %u under a number of its own, "
                        "or has no rows",
                        name, body->space_id);
    strcpy(meta.name, name);
    return lsm__file_open(body, &meta, out);
}

/* In order of keys, and, where rows of the body have keys in between, newer than those. */
static int foreign_check(const struct lsm_body *body, struct lsm_file *const *files, unsigned count)
{
    const struct lsm_version *version = body->version;
    for (unsigned i = 1; i < count; i++)
        if (run_key_compare(files[i - 1]->last.data, files[i - 1]->last.size, files[i]->first.data,
                            files[i]->first.size) >= 0)
            return diag_set(ERROR_INVALID, "the runs %s and %s overlap", files[i - 1]->meta.name,
                            files[i]->meta.name);
    for (unsigned i = 0; i < count; i++) {
        const struct lsm_pick pick = {.lower = files[i]->first, .upper = files[i]->last};
        uint64_t min_ts = run_info(files[i]->run)->min_ts;
        for (unsigned n = 0; n < version->count; n++) {
            unsigned from, to;
            lsm__pick_files(&pick, &version->sequences[n], &from, &to);
            for (; from < to; from++)
                if (run_info(version->sequences[n].files[from]->run)->max_ts >= min_ts)
                    return diag_set(ERROR_INVALID, "the run %s overlaps %s, and is not newer",
                                    files[i]->meta.name,
                                    version->sequences[n].files[from]->meta.name);
        }
    }
    return 0;
}

/* Takes references of its own. */
static int files_take(struct lsm_body *body, struct lsm_file *const *files, unsigned count)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < count; i++)
        bytes += files[i]->meta.bytes;
    int rc = foreign_check(body, files, count);
    if (rc == 0 && count > 0)
        rc = lsm__sequence_put(body, files, count);
    if (rc == 0) {
        atomic_fetch_add(&body->absorbed_bytes, bytes);
        atomic_fetch_add(&body->ingested_bytes, bytes);
    }
    return rc;
}

int lsm_ingest(struct body *base, const char *const *names, unsigned count)
{
    struct lsm_body *body = (struct lsm_body *)base;
    struct lsm_file **files = calloc(count + 1u, sizeof(struct lsm_file *));
    unsigned opened = 0;
    int rc = files == NULL ? diag_set(ERROR_MEMORY, "no memory to take runs in") : 0;
    for (; rc == 0 && opened < count; opened += rc == 0)
        rc = foreign_open(body, names[opened], &files[opened]);
    if (rc == 0)
        rc = files_take(body, files, count);
    while (opened > 0)
        lsm__file_release(files[--opened]);
    free((void *)files);
    return rc;
}

/* A version of nothing but these files. */
static int version_of(struct lsm_body *body, const struct lsm_output *output,
                      struct lsm_version **out)
{
    struct lsm_places places = {0};
    uint64_t group = atomic_fetch_add(body->next_file, 1);
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < output->count; i++)
        rc = lsm__places_add(&places, output->files[i], 0, group);
    if (rc == 0)
        rc = lsm__version_new(body, &places, out);
    free(places.places);
    return rc;
}

int lsm_write(struct body *base, struct engine_source *rows, uint64_t up_to_ts,
              struct body_view **out)
{
    struct lsm_body *body = (struct lsm_body *)base;
    struct lsm_output output = {
        .body = body, .background = true, .up_to_ts = up_to_ts, .time_ms = lsm__time_now(body)};
    struct lsm_version *version;
    lsm__options(body, &output.options);
    int rc = lsm__rows_write(&output, rows);
    if (rc == 0)
        rc = version_of(body, &output, &version);
    if (rc != 0) {
        lsm__output_abandon(&output);
        return rc;
    }
    *out = &version->base;
    lsm__output_release(&output);
    return 0;
}

int lsm_take(struct body *base, struct body_view *written)
{
    const struct lsm_version *version = (const struct lsm_version *)written;
    return version->count == 0 ? 0
                               : files_take((struct lsm_body *)base, version->sequences[0].files,
                                            version->sequences[0].count);
}

void lsm_write_undo(struct body *base, struct body_view *written)
{
    const struct lsm_body *body = (const struct lsm_body *)base;
    const struct lsm_version *version = (const struct lsm_version *)written;
    for (unsigned i = 0; version->count > 0 && i < version->sequences[0].count; i++)
        io_unlink(body->io, version->sequences[0].files[i]->meta.name);
    body_view_close(written);
}
