/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The body as a whole: opening, taking rows in, which files it is made of, and the table of the
 * engine's functions.
 *
 * Two versions are kept: the present one, and the one that a manifest names. Files that are made are
 * in the first only, until the manifest with them is durable (settle) or could not be stored
 * (revert). Files that are replaced before any manifest has named them are unlinked here, since
 * nobody else knows them.
 */
#include "storage/lsm/lsm.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"
#include "storage/lsm/lsm_internal.h"

void lsm_options_default(struct lsm_options *out)
{
    *out = (struct lsm_options){
        .strategy = LSM_LEVELLED,
        .size_ratio = 10,
        .l0_files = 4,
        .level_bytes = 256 << 20,
        .file_bytes = 32 << 20,
        .block_bytes = 8 << 10,
        .filter_bits = 10,
        .filter_kind = RUN_FILTER_BLOOM,
        .window_ms = UINT64_C(24) * 60 * 60 * 1000,
        .space_percent = 200,
    };
    for (unsigned i = 0; i < LSM_LEVELS; i++)
        out->compression[i] = COMPRESS_LZ4;
}

/* ------------------------------------------------------------------------------ opening, closing */

static void body_free(struct lsm_body *body)
{
    if (body->version != NULL)
        lsm__version_release(body->version);
    if (body->settled != NULL)
        lsm__version_release(body->settled);
    pthread_mutex_destroy(&body->mutex);
    free(body);
}

static bool same_sequence(const struct engine_file *a, const struct engine_file *b)
{
    return a->group != 0 && a->group == b->group && a->level == b->level;
}

/* Opens the files of the manifest, which has the oldest sequence first. */
static int files_open(struct lsm_body *body, const struct engine_file *files, unsigned count,
                      struct lsm_places *places)
{
    int rc = 0;
    for (unsigned end = count; rc == 0 && end > 0;) {
        unsigned first = end - 1;
        while (first > 0 && same_sequence(&files[first - 1], &files[end - 1]))
            first--;
        for (unsigned i = first; rc == 0 && i < end; i++) {
            struct lsm_file *file;
            rc = lsm__file_open(body, &files[i], &file);
            if (rc == 0 &&
                (rc = lsm__places_add(places, file, files[i].level, files[i].group)) != 0)
                lsm__file_release(file);
        }
        end = first;
    }
    return rc;
}

static int version_load(struct lsm_body *body, const struct engine_options *options)
{
    struct lsm_places places = {0};
    int rc = files_open(body, options->files, options->file_count, &places);
    if (rc == 0)
        rc = lsm__version_new(body, &places, &body->version);
    for (unsigned i = 0; i < places.count; i++)
        lsm__file_release(places.places[i].file);
    free(places.places);
    return rc != 0 ? rc : lsm__version_check(body, body->version);
}

static int lsm_open(const struct engine_options *options, struct body **out)
{
    struct lsm_body *body = aligned_alloc(CACHE_LINE_SIZE, sizeof *body);
    if (body == NULL)
        return diag_set(ERROR_MEMORY, "no memory to open space %u", options->space_id);
    memset(body, 0, sizeof *body);
    ASSERT(options->next_file != NULL);
    body->base.vtab = &engine_lsm;
    body->io = options->io;
    body->space_id = options->space_id;
    body->incarnation = options->incarnation;
    body->next_file = options->next_file;
    body->cache = options->cache;
    if (options->lsm != NULL)
        body->options = *options->lsm;
    else
        lsm_options_default(&body->options);
    body->clock = body->options.clock != NULL ? body->options.clock : clock_system();
    pthread_mutex_init(&body->mutex, NULL);
    int rc = version_load(body, options);
    if (rc != 0) {
        body_free(body);
        return rc;
    }
    body->settled = lsm__version_hold(body);
    *out = &body->base;
    return 0;
}

void lsm__options(struct lsm_body *body, struct lsm_options *out)
{
    pthread_mutex_lock(&body->mutex);
    *out = body->options;
    pthread_mutex_unlock(&body->mutex);
}

void lsm_options_get(struct body *body, struct lsm_options *out)
{
    lsm__options((struct lsm_body *)body, out);
}

/* What is being written goes on as it has begun. */
static void lsm_configure(struct body *base, const struct engine_options *options)
{
    struct lsm_body *body = (struct lsm_body *)base;
    pthread_mutex_lock(&body->mutex);
    body->options = *options->lsm;
    pthread_mutex_unlock(&body->mutex);
}

static void lsm_close(struct body *base)
{
    struct lsm_body *body = (struct lsm_body *)base;
    lsm__job_abandon(body);
    ASSERT(body->job == NULL);
    body_free(body);
}

/* ------------------------------------------------------------------------------------- absorbing */

int lsm__rows_write(struct lsm_output *output, struct engine_source *rows)
{
    struct engine_row row;
    uint64_t count = 0;
    int rc;
    while ((rc = rows->next(rows, &row)) == 0) {
        if ((rc = lsm__output_add(output, &row)) != 0)
            return rc;
        count++;
        if ((count & (count - 1)) == 0) /* small runs have a half, too */
            crash_point("checkpoint.run.half");
    }
    return rc == ERROR_END ? lsm__output_end(output) : rc;
}

int lsm__sequence_put(struct lsm_body *body, struct lsm_file *const *files, unsigned count)
{
    struct lsm_places places = {0};
    struct lsm_version *version;
    uint64_t group = atomic_fetch_add(body->next_file, 1);
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < count; i++)
        rc = lsm__places_add(&places, files[i], 0, group);
    for (unsigned i = 0; rc == 0 && i < body->version->count; i++)
        rc = lsm__places_add_sequence(&places, &body->version->sequences[i]);
    if (rc == 0)
        rc = lsm__version_new(body, &places, &version);
    free(places.places);
    if (rc == 0)
        lsm__version_publish(body, version);
    return rc;
}

uint64_t lsm__time_now(struct lsm_body *body)
{
    struct lsm_version *version = lsm__version_hold(body);
    uint64_t now_ms = clock_realtime_ms(body->clock);
    if (version->count > 0 && version->sequences[0].time_ms > now_ms)
        now_ms = version->sequences[0].time_ms;
    lsm__version_release(version);
    return now_ms;
}

static int lsm_absorb(struct body *base, struct engine_source *rows, uint64_t up_to_ts,
                      const struct engine_snapshots *snapshots)
{
    (void)snapshots; /* keeps every version it is given: compaction drops them */
    struct lsm_body *body = (struct lsm_body *)base;
    struct lsm_output output = {.body = body, .up_to_ts = up_to_ts, .time_ms = lsm__time_now(body)};
    lsm__options(body, &output.options);
    int rc = lsm__rows_write(&output, rows);
    if (rc == 0 && output.count > 0)
        rc = lsm__sequence_put(body, output.files, output.count);
    if (rc == 0)
        atomic_fetch_add(&body->absorbed_bytes, output.file_bytes);
    if (rc != 0)
        lsm__output_abandon(&output);
    else
        lsm__output_release(&output);
    return rc;
}

/* ------------------------------------------------------------------------- files, settle, revert */

static int lsm_files(struct body *base, int (*each)(const struct engine_file *file, void *arg),
                     void *arg)
{
    const struct lsm_version *version = ((struct lsm_body *)base)->version;
    int rc = 0;
    for (unsigned i = version->count; i-- > 0;) {
        const struct lsm_sequence *sequence = &version->sequences[i];
        for (unsigned n = 0; rc == 0 && n < sequence->count; n++) {
            struct engine_file meta = sequence->files[n]->meta;
            meta.level = sequence->level;
            meta.group = sequence->group;
            rc = each(&meta, arg);
        }
    }
    return rc;
}

static void lsm_settle(struct body *base)
{
    struct lsm_body *body = (struct lsm_body *)base;
    struct lsm_version *before = body->settled, *now = lsm__version_hold(body);
    pthread_mutex_lock(&body->mutex);
    body->settled = now;
    if (now->count == 0) /* nothing is left to be merged */
        body->merged_all = atomic_load(&body->asked);
    atomic_store(&body->answered, body->merged_all);
    pthread_mutex_unlock(&body->mutex);
    lsm__version_release(before);
}

/* What is being compacted may be of files that go: it is begun again. What somebody else works on ends
 * when he ends it (lsm__job_end), of which version it is tells whether in vain. */
static void lsm_revert(struct body *base, bool keep_files)
{
    struct lsm_body *body = (struct lsm_body *)base;
    const struct lsm_version *version = body->version;
    body->merged_all = atomic_load(&body->answered);
    if (body->version == body->settled)
        return;
    lsm__job_abandon(body);
    for (unsigned i = 0; !keep_files && i < version->count; i++)
        for (unsigned n = 0; n < version->sequences[i].count; n++) {
            const char *name = version->sequences[i].files[n]->meta.name;
            if (!lsm__version_has(body->settled, name))
                io_unlink(body->io, name);
        }
    atomic_fetch_add(&body->settled->references, 1);
    lsm__version_publish(body, body->settled);
}

/* ----------------------------------------------------------------------------- views, checks, sums */

static int lsm_view_open(struct body *base, struct body_view **out)
{
    *out = &lsm__version_hold((struct lsm_body *)base)->base;
    return 0;
}

static void lsm_view_close(struct body_view *view)
{
    lsm__version_release((struct lsm_version *)view);
}

static int lsm_verify(struct body *base)
{
    struct lsm_body *body = (struct lsm_body *)base;
    struct lsm_version *version = lsm__version_hold(body);
    int rc = lsm__version_check(body, version);
    for (unsigned i = 0; i < version->count; i++)
        for (unsigned n = 0; rc == 0 && n < version->sequences[i].count; n++)
            rc = run_verify(version->sequences[i].files[n]->run, NULL, NULL);
    lsm__version_release(version);
    return rc;
}

/* Keys of one sequence are all different: the largest one is taken to be alive. */
static uint64_t live_bytes(const struct lsm_version *version)
{
    uint64_t largest = 0;
    for (unsigned i = 0; i < version->count; i++) {
        const struct lsm_sequence *sequence = &version->sequences[i];
        double part = (double)(sequence->rows - sequence->tombstones) / (double)sequence->rows;
        uint64_t bytes = (uint64_t)(part * (double)sequence->bytes);
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

static uint64_t all_bytes(const struct lsm_version *version)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < version->count; i++)
        bytes += version->sequences[i].bytes;
    return bytes;
}

static enum engine_urgency urgency_of(struct lsm_body *body, const struct lsm_version *version,
                                      const struct lsm_options *options, double debt)
{
    struct lsm_pick pick;
    lsm__pick(version, options, clock_realtime_ms(body->clock), &pick);
    if (pick.reason == LSM_NOTHING && !lsm_compact_wanted(&body->base))
        return ENGINE_IDLE;
    if (debt >= 1 || lsm__space_is_low(version, options))
        return ENGINE_CRITICAL;
    return debt > 0 ? ENGINE_HIGH : ENGINE_NORMAL;
}

static void lsm_stats(struct body *base, struct engine_stats *out)
{
    struct lsm_body *body = (struct lsm_body *)base;
    struct lsm_version *version = lsm__version_hold(body);
    struct lsm_options options;
    lsm__options(body, &options);
    *out = (struct engine_stats){.files = version->file_count,
                                 .bytes = all_bytes(version),
                                 .live_bytes = live_bytes(version),
                                 .debt = lsm__debt(version, &options)};
    out->urgency = urgency_of(body, version, &options, out->debt);
    for (unsigned i = 0; i < version->count; i++)
        out->rows += version->sequences[i].rows;
    lsm__version_release(version);
}

static double ratio(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : (double)part / (double)whole;
}

static void stats_of_levels(const struct lsm_version *version, struct lsm_stats *out)
{
    out->sequences = version->count;
    for (unsigned i = 0; i < version->count; i++) {
        const struct lsm_sequence *sequence = &version->sequences[i];
        out->levels[sequence->level].sequences++;
        out->levels[sequence->level].files += sequence->count;
        out->levels[sequence->level].bytes += sequence->bytes;
        out->levels[sequence->level].rows += sequence->rows;
        out->levels[sequence->level].tombstones += sequence->tombstones;
    }
}

void lsm_stats_get(struct body *base, struct lsm_stats *out)
{
    struct lsm_body *body = (struct lsm_body *)base;
    struct lsm_version *version = lsm__version_hold(body);
    struct lsm_options options;
    lsm__options(body, &options);
    *out = (struct lsm_stats){.absorbed_bytes = load_relaxed(&body->absorbed_bytes),
                              .ingested_bytes = load_relaxed(&body->ingested_bytes),
                              .compacted_bytes = load_relaxed(&body->compacted_bytes),
                              .read_bytes = load_relaxed(&body->read_bytes),
                              .compactions = load_relaxed(&body->compactions),
                              .moves = load_relaxed(&body->moves),
                              .dropped_rows = load_relaxed(&body->dropped_rows),
                              .expired_rows = load_relaxed(&body->expired_rows),
                              .debt = lsm__debt(version, &options)};
    for (unsigned i = 0; i < LSM_STRIPES; i++) {
        out->gets += load_relaxed(&body->reads[i].gets);
        out->probes += load_relaxed(&body->reads[i].probes);
        out->filtered += load_relaxed(&body->reads[i].filtered);
    }
    stats_of_levels(version, out);
    out->urgency = urgency_of(body, version, &options, out->debt);
    out->write_amplification =
        ratio(out->absorbed_bytes + out->compacted_bytes, out->absorbed_bytes);
    out->read_amplification = ratio(out->probes - out->filtered, out->gets);
    out->space_amplification = ratio(all_bytes(version), live_bytes(version));
    lsm__version_release(version);
}

bool lsm_compact_request(struct body *base)
{
    struct lsm_body *body = (struct lsm_body *)base;
    pthread_mutex_lock(&body->mutex);
    bool any = body->version->count + body->settled->count > 0;
    atomic_fetch_add(&body->asked, any);
    pthread_mutex_unlock(&body->mutex);
    return any;
}

bool lsm_compact_wanted(struct body *body)
{
    const struct lsm_body *lsm = (const struct lsm_body *)body;
    return atomic_load(&lsm->answered) < atomic_load(&lsm->asked);
}

const struct engine_vtab engine_lsm = {
    .name = "lsm",
    .flags = ENGINE_ABSORBS | ENGINE_DURABLE | ENGINE_JOBS,
    .open = lsm_open,
    .close = lsm_close,
    .absorb = lsm_absorb,
    .view_open = lsm_view_open,
    .view_close = lsm_view_close,
    .get = lsm__get,
    .prefetch = lsm__prefetch,
    .cursor_open = lsm__cursor_open,
    .cursor_next = lsm__cursor_next,
    .cursor_close = lsm__cursor_close,
    .split = lsm__split,
    .compact = lsm__compact,
    .tidy = lsm__tidy,
    .job_begin = lsm__job_begin,
    .job_step = lsm__job_step,
    .job_end = lsm__job_end,
    .files = lsm_files,
    .settle = lsm_settle,
    .hold = engine_generic_hold,
    .configure = lsm_configure,
    .revert = lsm_revert,
    .verify = lsm_verify,
    .stats = lsm_stats,
};
