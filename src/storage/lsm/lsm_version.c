/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The lists that a body is made of: files, sequences of them, versions. A version is one piece of
 * memory, replaced as a whole and counted; files are counted by the versions that have them, and
 * closed with the last one. So a view costs a count, and what it sees can be read although the files
 * have been compacted and unlinked.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "storage/lsm/lsm_internal.h"

/* ----------------------------------------------------------------------------------------- files */

static int run_check(const struct lsm_body *body, const struct engine_file *meta,
                     const struct run *run)
{
    const struct run_info *info = run_info(run);
    const char *what = NULL;
    if (info->space_id != body->space_id || info->incarnation != body->incarnation)
        what = "belongs to another space";
    else if (info->file_bytes != meta->bytes)
        what = "has another size";
    else if (info->rows != meta->rows || info->tombstones != meta->tombstones || info->rows == 0)
        what = "has another number of rows";
    return what == NULL
               ? 0
               : diag_set(ERROR_CORRUPT, "the run %s %s than the manifest says", meta->name, what);
}

static int expires_read(struct run *run, uint64_t *out)
{
    struct arena arena;
    const void *data;
    size_t size;
    *out = LSM_NEVER;
    arena_create(&arena, 0);
    int rc = run_section_read(run, LSM_SECTION_EXPIRES, &arena, &data, &size);
    if (rc == 0 && size == sizeof *out) {
        *out = 0;
        for (unsigned i = 0; i < size; i++)
            *out |= (uint64_t)((const unsigned char *)data)[i] << 8 * i;
    }
    arena_destroy(&arena);
    return rc == ERROR_NOT_FOUND ? 0 : rc;
}

int lsm__file_open(struct lsm_body *body, const struct engine_file *meta, struct lsm_file **out)
{
    struct lsm_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return diag_set(ERROR_MEMORY, "no memory to open the run %s", meta->name);
    int rc = run_open_cached(body->io, meta->name, body->cache, &file->run);
    if (rc == ERROR_NOT_FOUND)
        rc = diag_set(ERROR_CORRUPT, "a run of space %u is missing: %s", body->space_id,
                      diag_message());
    else if (rc == 0 && (rc = run_check(body, meta, file->run)) != 0)
        run_close(file->run);
    if (rc != 0) {
        free(file);
        return rc;
    }
    rc = expires_read(file->run, &file->expires_ms);
    if (rc != 0) {
        run_close(file->run);
        free(file);
        return rc;
    }
    const struct run_info *info = run_info(file->run);
    atomic_init(&file->references, 1);
    file->meta = *meta;
    file->first = (struct engine_key){info->first_key, info->first_key_size};
    file->last = (struct engine_key){info->last_key, info->last_key_size};
    *out = file;
    return 0;
}

struct lsm_file *lsm__file_hold(struct lsm_file *file)
{
    atomic_fetch_add(&file->references, 1);
    return file;
}

void lsm__file_release(struct lsm_file *file)
{
    if (atomic_fetch_sub(&file->references, 1) > 1)
        return;
    run_close(file->run);
    free(file);
}

/* ---------------------------------------------------------------------------------------- places */

int lsm__places_add(struct lsm_places *places, struct lsm_file *file, unsigned level,
                    uint64_t group)
{
    if (places->count == places->capacity) {
        unsigned capacity = 2 * places->capacity + 16;
        struct lsm_place *grown = realloc(places->places, capacity * sizeof *grown);
        if (grown == NULL)
            return diag_set(ERROR_MEMORY, "no memory for a list of files");
        places->places = grown;
        places->capacity = capacity;
    }
    places->places[places->count++] = (struct lsm_place){file, level, group};
    return 0;
}

int lsm__places_add_sequence(struct lsm_places *places, const struct lsm_sequence *sequence)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < sequence->count; i++)
        rc = lsm__places_add(places, sequence->files[i], sequence->level, sequence->group);
    return rc;
}

/* -------------------------------------------------------------------------------------- versions */

/* Group 0 is of files that are alone. */
static bool goes_on(const struct lsm_place *place, const struct lsm_place *before)
{
    return place->group != 0 && place->group == before->group && place->level == before->level;
}

static void sequence_add(struct lsm_sequence *sequence, struct lsm_file *file)
{
    const struct engine_file *meta = &file->meta;
    sequence->bytes += meta->bytes;
    sequence->rows += meta->rows;
    sequence->tombstones += meta->tombstones;
    if (meta->time_ms > sequence->time_ms)
        sequence->time_ms = meta->time_ms;
    sequence->files[sequence->count++] = lsm__file_hold(file);
}

int lsm__version_new(struct lsm_body *body, const struct lsm_places *places,
                     struct lsm_version **out)
{
    unsigned count = 0;
    for (unsigned i = 0; i < places->count; i++)
        count += i == 0 || !goes_on(&places->places[i], &places->places[i - 1]);
    struct lsm_version *version = calloc(1, sizeof *version + count * sizeof(struct lsm_sequence) +
                                                places->count * sizeof(struct lsm_file *));
    if (version == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a list of files");
    version->base.vtab = &engine_lsm;
    version->body = body;
    atomic_init(&version->references, 1);
    version->file_count = places->count;
    version->sequences = (struct lsm_sequence *)(void *)(version + 1);
    struct lsm_file **files = (struct lsm_file **)(void *)(version->sequences + count);
    for (unsigned i = 0; i < places->count; i++) {
        const struct lsm_place *place = &places->places[i];
        if (i == 0 || !goes_on(place, place - 1))
            version->sequences[version->count++] = (struct lsm_sequence){
                .level = place->level, .group = place->group, .files = files + i};
        sequence_add(&version->sequences[version->count - 1], place->file);
    }
    *out = version;
    return 0;
}

void lsm__version_release(struct lsm_version *version)
{
    if (atomic_fetch_sub(&version->references, 1) > 1)
        return;
    for (unsigned i = 0; i < version->count; i++)
        for (unsigned n = 0; n < version->sequences[i].count; n++)
            lsm__file_release(version->sequences[i].files[n]);
    free(version);
}

static int sequence_check(const struct lsm_sequence *sequence)
{
    for (unsigned i = 1; i < sequence->count; i++) {
        const struct lsm_file *left = sequence->files[i - 1], *right = sequence->files[i];
        if (run_key_compare(left->last.data, left->last.size, right->first.data,
                            right->first.size) >= 0)
            return diag_set(ERROR_CORRUPT, "the runs %s and %s of level %u overlap",
                            left->meta.name, right->meta.name, sequence->level);
    }
    return 0;
}

int lsm__version_check(const struct lsm_body *body, const struct lsm_version *version)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < version->count; i++) {
        const struct lsm_sequence *sequence = &version->sequences[i];
        unsigned above = i == 0 ? 0 : version->sequences[i - 1].level;
        if (sequence->level > LSM_LEVEL_LAST || sequence->level < above ||
            (sequence->level == above && above > 0))
            return diag_set(ERROR_CORRUPT, "the levels of space %u are out of order at the run %s",
                            body->space_id, sequence->files[0]->meta.name);
        rc = sequence_check(sequence);
    }
    return rc;
}

bool lsm__version_has(const struct lsm_version *version, const char *name)
{
    for (unsigned i = 0; i < version->count; i++)
        for (unsigned n = 0; n < version->sequences[i].count; n++)
            if (strcmp(version->sequences[i].files[n]->meta.name, name) == 0)
                return true;
    return false;
}

struct lsm_version *lsm__version_hold(struct lsm_body *body)
{
    pthread_mutex_lock(&body->mutex);
    struct lsm_version *version = body->version;
    atomic_fetch_add(&version->references, 1);
    pthread_mutex_unlock(&body->mutex);
    return version;
}

void lsm__version_publish(struct lsm_body *body, struct lsm_version *version)
{
    pthread_mutex_lock(&body->mutex);
    struct lsm_version *old = body->version;
    body->version = version;
    pthread_mutex_unlock(&body->mutex);
    lsm__version_release(old);
}

unsigned lsm__sequence_find(const struct lsm_sequence *sequence, const void *key, size_t size)
{
    unsigned low = 0, high = sequence->count;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        const struct engine_key *last = &sequence->files[middle]->last;
        if (run_key_compare(last->data, last->size, key, size) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
