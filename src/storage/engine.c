/* SPDX-License-Identifier: Apache-2.0 */

/* The list of engines, and what those that absorb nothing have in common. */
#include "storage/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/btree/btree.h"
#include "storage/lsm/lsm.h"
#include "storage/memory/memory.h"
#include "storage/null/null.h"

static const struct engine_vtab *const engines[] = {&engine_memory, &engine_null, &engine_lsm,
                                                    &engine_btree};

const struct engine_vtab *engine_at(unsigned n)
{
    return n < sizeof engines / sizeof *engines ? engines[n] : NULL;
}

const struct engine_vtab *engine_find(const char *name, size_t size)
{
    if (size == 5 && memcmp(name, "memtx", 5) == 0)
        return &engine_memory;
    for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
        if (strlen(engines[i]->name) == size && memcmp(engines[i]->name, name, size) == 0)
            return engines[i];
    return NULL;
}

void engine_file_name(char out[ENGINE_FILE_NAME_MAX + 1], uint32_t space_id, uint32_t incarnation,
                      uint64_t number)
{
    snprintf(out, ENGINE_FILE_NAME_MAX + 1, "%" PRIu32 "-%" PRIu32 "-%" PRIu64 ".run", space_id,
             incarnation, number);
}

static int nothing_absorbed(const struct engine_vtab *engine)
{
    return diag_set(ERROR_UNSUPPORTED, "engine \"%s\" keeps its rows in the head and absorbs none",
                    engine->name);
}

int engine_generic_absorb(struct body *body, struct engine_source *rows, uint64_t up_to_ts,
                          const struct engine_snapshots *snapshots)
{
    (void)rows;
    (void)up_to_ts;
    (void)snapshots;
    return nothing_absorbed(body->vtab);
}

/* The body is its own view: it never changes. */
int engine_generic_view_open(struct body *body, struct body_view **out)
{
    *out = (struct body_view *)body;
    return 0;
}

void engine_generic_view_close(struct body_view *view)
{
    (void)view;
}

int engine_generic_get(struct body_view *view, const void *key, size_t key_size, uint64_t ts,
                       struct arena *arena, struct engine_row *out)
{
    (void)view;
    (void)key;
    (void)key_size;
    (void)ts;
    (void)arena;
    (void)out;
    return ERROR_NOT_FOUND;
}

unsigned engine_generic_prefetch(struct body_view *view, const struct engine_key *keys,
                                 unsigned count, uint64_t ts, unsigned *reads)
{
    (void)view;
    (void)keys;
    (void)count;
    (void)ts;
    *reads = 0;
    return 0;
}

int engine_generic_cursor_open(struct body_view *view, const struct engine_range *range,
                               uint64_t ts, struct body_cursor **out)
{
    (void)range;
    (void)ts;
    *out = (struct body_cursor *)view;
    return 0;
}

int engine_generic_cursor_next(struct body_cursor *cursor, struct engine_row *out)
{
    (void)cursor;
    (void)out;
    return ERROR_END;
}

void engine_generic_cursor_close(struct body_cursor *cursor)
{
    (void)cursor;
}

int engine_generic_split(struct body_view *view, unsigned parts, struct arena *arena,
                         struct engine_key *keys, unsigned *count)
{
    (void)view;
    (void)parts;
    (void)arena;
    (void)keys;
    *count = 0;
    return 0;
}

int engine_generic_compact(struct body *body, const struct engine_snapshots *snapshots)
{
    (void)body;
    (void)snapshots;
    return 0;
}

int engine_generic_tidy(struct body *body, const struct engine_snapshots *snapshots,
                        uint64_t bytes_max, struct engine_tidied *out)
{
    (void)body;
    (void)snapshots;
    (void)bytes_max;
    *out = (struct engine_tidied){ENGINE_TIDY, 0};
    return 0;
}

int engine_generic_job_begin(struct body *body, const struct engine_snapshots *snapshots,
                             struct engine_tidied *done, struct body_job **out)
{
    (void)body;
    (void)snapshots;
    *done = (struct engine_tidied){ENGINE_TIDY, 0};
    *out = NULL;
    return 0;
}

int engine_generic_job_step(struct body_job *job, bool urgent, uint64_t bytes_max,
                            struct engine_tidied *out)
{
    (void)job;
    (void)urgent;
    (void)bytes_max;
    *out = (struct engine_tidied){ENGINE_TIDY, 0};
    return 0;
}

int engine_generic_job_end(struct body *body, struct body_job *job, bool keep,
                           struct engine_tidied *out)
{
    (void)body;
    (void)job;
    (void)keep;
    *out = (struct engine_tidied){ENGINE_TIDY, 0};
    return 0;
}

int engine_generic_files(struct body *body, int (*each)(const struct engine_file *file, void *arg),
                         void *arg)
{
    (void)body;
    (void)each;
    (void)arg;
    return 0;
}

void engine_generic_settle(struct body *body)
{
    (void)body;
}

void engine_generic_configure(struct body *body, const struct engine_options *options)
{
    (void)body;
    (void)options;
}

void engine_generic_hold(struct body *body, bool held)
{
    (void)body;
    (void)held;
}

void engine_generic_revert(struct body *body, bool keep_files)
{
    (void)body;
    (void)keep_files;
}

int engine_verify_files(const struct engine_vtab *engine, const struct engine_options *options)
{
    struct body *body;
    int rc = body_open(engine, options, &body);
    if (rc != 0)
        return rc;
    rc = body_verify(body);
    body_close(body);
    return rc;
}
