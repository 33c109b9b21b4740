/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The reference body: versions in one array, sorted by key, versions of a key newest first.
 * Absorbing merges into a new array that takes the place of the old one; a view holds a reference
 * to the array it was opened on. Everything is done in the plainest way.
 */
#include "storage/null/null.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"

struct null_array {
    _Atomic unsigned references;
    size_t count, capacity;
    struct engine_row *rows; /* each owns its key and data in one allocation, at key */
};

struct null_body {
    struct body base;
    pthread_mutex_t mutex; /* orders taking a reference against replacing the array */
    struct null_array *array;
};

struct null_view {
    struct body_view base;
    struct null_array *array;
};

struct null_cursor {
    struct body_cursor base;
    struct null_array *array;
    struct engine_range range;
    uint64_t ts;
    size_t position; /* forward: the next row to look at; backward: one behind it */
};

static int key_compare(const void *a, size_t a_size, const void *b, size_t b_size)
{
    size_t common = a_size < b_size ? a_size : b_size;
    int order = common == 0 ? 0 : memcmp(a, b, common);
    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

static struct null_array *array_new(size_t capacity)
{
    struct null_array *array = calloc(1, sizeof *array);
    if (array == NULL)
        return NULL;
    array->rows = malloc((capacity + 1) * sizeof *array->rows);
    if (array->rows == NULL) {
        free(array);
        return NULL;
    }
    array->capacity = capacity;
    atomic_init(&array->references, 1);
    return array;
}

static void array_release(struct null_array *array)
{
    if (atomic_fetch_sub(&array->references, 1) > 1)
        return;
    for (size_t i = 0; i < array->count; i++)
        free((void *)array->rows[i].key);
    free(array->rows);
    free(array);
}

static bool array_add(struct null_array *array, const struct engine_row *row)
{
    if (array->count == array->capacity) {
        struct engine_row *rows = realloc(array->rows, (2 * array->capacity + 16) * sizeof *rows);
        if (rows == NULL)
            return false;
        array->rows = rows;
        array->capacity = 2 * array->capacity + 16;
    }
    unsigned char *bytes = malloc(row->key_size + row->size + 1);
    if (bytes == NULL)
        return false;
    memcpy(bytes, row->key, row->key_size);
    struct engine_row *copy = &array->rows[array->count++];
    *copy = *row;
    copy->key = bytes;
    if (row->data != NULL) {
        memcpy(bytes + row->key_size, row->data, row->size);
        copy->data = (const char *)bytes + row->key_size;
    }
    return true;
}

static int null_open(const struct engine_options *options, struct body **out)
{
    struct null_body *body = calloc(1, sizeof *body);
    if (body == NULL || (body->array = array_new(0)) == NULL) {
        free(body);
        return diag_set(ERROR_MEMORY, "no memory to open space %u", options->space_id);
    }
    body->base.vtab = &engine_null;
    pthread_mutex_init(&body->mutex, NULL);
    *out = &body->base;
    return 0;
}

static void null_close(struct body *base)
{
    struct null_body *body = (struct null_body *)base;
    array_release(body->array);
    pthread_mutex_destroy(&body->mutex);
    free(body);
}

static struct null_array *array_hold(struct null_body *body)
{
    pthread_mutex_lock(&body->mutex);
    struct null_array *array = body->array;
    atomic_fetch_add(&array->references, 1);
    pthread_mutex_unlock(&body->mutex);
    return array;
}

static void array_publish(struct null_body *body, struct null_array *array)
{
    pthread_mutex_lock(&body->mutex);
    struct null_array *old = body->array;
    body->array = array;
    pthread_mutex_unlock(&body->mutex);
    array_release(old);
}

static int row_compare(const struct engine_row *a, const struct engine_row *b)
{
    int order = key_compare(a->key, a->key_size, b->key, b->key_size);
    return order != 0 ? order : (a->ts < b->ts) - (a->ts > b->ts);
}

/* Somebody reads at a timestamp in [ts, successor_ts). The newest version of a key, with successor
 * UINT64_MAX, is always needed. */
static bool needed(const struct engine_snapshots *snapshots, uint64_t ts, uint64_t successor_ts)
{
    if (successor_ts == UINT64_MAX)
        return true;
    for (unsigned i = 0; i < snapshots->count; i++)
        if (ts <= snapshots->ts[i] && snapshots->ts[i] < successor_ts)
            return true;
    return false;
}

/* Adds a row unless no snapshot needs it. Rows come in order. */
static int row_keep(struct null_array *array, const struct engine_row *row,
                    const struct engine_snapshots *snapshots)
{
    const struct engine_row *last = array->count > 0 ? &array->rows[array->count - 1] : NULL;
    bool same_key =
        last != NULL && key_compare(last->key, last->key_size, row->key, row->key_size) == 0;
    if (same_key && last->ts == row->ts)
        return 0; /* the same version again */
    if (same_key && !needed(snapshots, row->ts, last->ts))
        return 0;
    return array_add(array, row) ? 0 : diag_set(ERROR_MEMORY, "no memory to absorb a row");
}

/* Merges the array with the source (which may be NULL) into a new one. */
static int merge(const struct null_array *array, struct engine_source *source, uint64_t up_to_ts,
                 const struct engine_snapshots *snapshots, struct null_array *out)
{
    struct engine_row next = {0};
    int source_rc = source == NULL ? ERROR_END : source->next(source, &next);
    size_t i = 0;
    int rc = 0;
    while (rc == 0 && (i < array->count || source_rc == 0)) {
        if (source_rc != 0 && source_rc != ERROR_END)
            return source_rc;
        if (source_rc == 0 && next.ts > up_to_ts)
            return diag_set(ERROR_INVALID, "a row of timestamp %llu is beyond %llu",
                            (unsigned long long)next.ts, (unsigned long long)up_to_ts);
        if (source_rc != 0 || (i < array->count && row_compare(&array->rows[i], &next) <= 0)) {
            rc = row_keep(out, &array->rows[i++], snapshots);
        } else {
            rc = row_keep(out, &next, snapshots);
            source_rc = source->next(source, &next);
        }
    }
    return rc != 0 ? rc : source_rc == ERROR_END ? 0 : source_rc;
}

static int replace_array(struct null_body *body, struct engine_source *source, uint64_t up_to_ts,
                         const struct engine_snapshots *snapshots)
{
    struct null_array *array = array_new(body->array->count);
    if (array == NULL)
        return diag_set(ERROR_MEMORY, "no memory to absorb rows");
    int rc = merge(body->array, source, up_to_ts, snapshots, array);
    if (rc != 0)
        array_release(array);
    else
        array_publish(body, array);
    return rc;
}

static int null_absorb(struct body *base, struct engine_source *rows, uint64_t up_to_ts,
                       const struct engine_snapshots *snapshots)
{
    return replace_array((struct null_body *)base, rows, up_to_ts, snapshots);
}

/* Drops tombstones behind which nothing is left and that no snapshot distinguishes from nothing. */
static void drop_tombstones(struct null_array *array)
{
    size_t kept = 0;
    for (size_t i = 0; i < array->count; i++) {
        const struct engine_row *row = &array->rows[i];
        bool oldest = i + 1 == array->count ||
                      key_compare(row->key, row->key_size, row[1].key, row[1].key_size) != 0;
        if (row->data == NULL && oldest)
            free((void *)row->key);
        else
            array->rows[kept++] = *row;
    }
    array->count = kept;
}

static int null_compact(struct body *base, const struct engine_snapshots *snapshots)
{
    struct null_body *body = (struct null_body *)base;
    struct null_array *array = array_new(body->array->count);
    if (array == NULL)
        return diag_set(ERROR_MEMORY, "no memory to compact");
    int rc = merge(body->array, NULL, UINT64_MAX, snapshots, array);
    if (rc != 0) {
        array_release(array);
        return rc;
    }
    drop_tombstones(array);
    array_publish(body, array);
    return 0;
}

static int null_view_open(struct body *base, struct body_view **out)
{
    struct null_view *view = malloc(sizeof *view);
    if (view == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a view");
    view->base.vtab = &engine_null;
    view->array = array_hold((struct null_body *)base);
    *out = &view->base;
    return 0;
}

static void null_view_close(struct body_view *base)
{
    struct null_view *view = (struct null_view *)base;
    array_release(view->array);
    free(view);
}

/* The first row that is not before (key, newest). */
static size_t lower_bound(const struct null_array *array, const void *key, size_t key_size)
{
    size_t low = 0, high = array->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (key_compare(array->rows[middle].key, array->rows[middle].key_size, key, key_size) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int null_get(struct body_view *base, const void *key, size_t key_size, uint64_t ts,
                    struct arena *arena, struct engine_row *out)
{
    (void)arena;
    const struct null_array *array = ((struct null_view *)base)->array;
    for (size_t i = lower_bound(array, key, key_size); i < array->count; i++) {
        const struct engine_row *row = &array->rows[i];
        if (key_compare(row->key, row->key_size, key, key_size) != 0)
            break;
        if (row->ts <= ts) {
            *out = *row;
            return row->data == NULL ? ERROR_NOT_FOUND : 0;
        }
    }
    return ERROR_NOT_FOUND;
}

/* All is in memory. */
static unsigned null_prefetch(struct body_view *view, const struct engine_key *keys, unsigned count,
                              uint64_t ts, unsigned *reads)
{
    (void)view;
    (void)keys;
    (void)ts;
    *reads = 0;
    return count;
}

static int null_cursor_open(struct body_view *base, const struct engine_range *range, uint64_t ts,
                            struct body_cursor **out)
{
    struct null_cursor *cursor = malloc(sizeof *cursor);
    if (cursor == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a cursor");
    struct null_array *array = ((struct null_view *)base)->array;
    *cursor =
        (struct null_cursor){.base.vtab = &engine_null, .array = array, .range = *range, .ts = ts};
    if (range->backward)
        cursor->position = array->count;
    else
        cursor->position =
            range->lower == NULL ? 0 : lower_bound(array, range->lower, range->lower_size);
    *out = &cursor->base;
    return 0;
}

static bool in_range(const struct engine_range *range, const struct engine_row *row)
{
    int low = range->lower == NULL
                  ? 1
                  : key_compare(row->key, row->key_size, range->lower, range->lower_size);
    int high = range->upper == NULL
                   ? -1
                   : key_compare(row->key, row->key_size, range->upper, range->upper_size);
    return (low > 0 || (low == 0 && range->lower_inclusive)) &&
           (high < 0 || (high == 0 && range->upper_inclusive));
}

/* Moves to the next key in the cursor's direction; the span [*first, *behind) of its versions. */
static bool next_key(struct null_cursor *cursor, size_t *first, size_t *behind)
{
    const struct null_array *array = cursor->array;
    if (cursor->range.backward ? cursor->position == 0 : cursor->position == array->count)
        return false;
    size_t at = cursor->range.backward ? cursor->position - 1 : cursor->position;
    const struct engine_row *row = &array->rows[at];
    *first = at;
    while (*first > 0 && key_compare(array->rows[*first - 1].key, array->rows[*first - 1].key_size,
                                     row->key, row->key_size) == 0)
        --*first;
    *behind = at + 1;
    while (*behind < array->count &&
           key_compare(array->rows[*behind].key, array->rows[*behind].key_size, row->key,
                       row->key_size) == 0)
        ++*behind;
    cursor->position = cursor->range.backward ? *first : *behind;
    return true;
}

static int null_cursor_next(struct body_cursor *base, struct engine_row *out)
{
    struct null_cursor *cursor = (struct null_cursor *)base;
    size_t first, behind;
    while (next_key(cursor, &first, &behind)) {
        if (!in_range(&cursor->range, &cursor->array->rows[first]))
            continue;
        while (first < behind && cursor->array->rows[first].ts > cursor->ts)
            first++;
        if (first < behind && cursor->array->rows[first].data != NULL) {
            *out = cursor->array->rows[first];
            return 0;
        }
    }
    return ERROR_END;
}

static void null_cursor_close(struct body_cursor *base)
{
    free(base);
}

static int null_verify(struct body *base)
{
    const struct null_array *array = ((struct null_body *)base)->array;
    for (size_t i = 1; i < array->count; i++)
        if (row_compare(&array->rows[i - 1], &array->rows[i]) >= 0)
            return diag_set(ERROR_CORRUPT, "rows %zu and %zu are out of order", i - 1, i);
    return 0;
}

static void null_stats(struct body *base, struct engine_stats *out)
{
    const struct null_array *array = ((struct null_body *)base)->array;
    *out = (struct engine_stats){.rows = array->count};
    for (size_t i = 0; i < array->count; i++)
        out->bytes += array->rows[i].key_size + array->rows[i].size;
    out->live_bytes = out->bytes;
}

const struct engine_vtab engine_null = {
    .name = "null",
    .flags = ENGINE_ABSORBS,
    .open = null_open,
    .close = null_close,
    .absorb = null_absorb,
    .view_open = null_view_open,
    .view_close = null_view_close,
    .get = null_get,
    .prefetch = null_prefetch,
    .cursor_open = null_cursor_open,
    .cursor_next = null_cursor_next,
    .cursor_close = null_cursor_close,
    .split = engine_generic_split,
    .compact = null_compact,
    .tidy = engine_generic_tidy,
    .job_begin = engine_generic_job_begin,
    .job_step = engine_generic_job_step,
    .job_end = engine_generic_job_end,
    .files = engine_generic_files,
    .settle = engine_generic_settle,
    .hold = engine_generic_hold,
    .configure = engine_generic_configure,
    .revert = engine_generic_revert,
    .verify = null_verify,
    .stats = null_stats,
};
