/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_BODY_OPTIONS_H
#define DB_BODY_OPTIONS_H

/*
 * The options of a space that its engine knows, how its body writes files: as people give them, as the flags of its row in
 * _space keep them, and as the body takes them.
 *
 *      compaction         'lsm'            'levelled', 'size-tiered', 'universal' or 'time-window'
 *      compaction_window  'lsm'            seconds, where compaction is 'time-window'
 *      compression        'lsm'            'zstd', 'lz4', 'snappy' or 'none'; or an array of them, one
 *                                          a level from level 0, the last one for those behind it too
 *      dictionary         'lsm'            whether the last level has one, which is zstd's then
 *      page_size          'lsm', 'btree'   bytes that are read at a time: of a block, or a page
 *      bloom_bits         'lsm'            a key; 0: no filters
 *      filter             'lsm'            'bloom', or 'ribbon', which errs as often as one of bloom_bits
 *      run_count_per_level 'lsm'           so many sequences at level 0, or of one size, are merged
 *      range_size         'lsm'            bytes at which a file ends
 *      run_size_ratio     'lsm'            of a level to the one above it, where compaction is 'levelled'
 *      level_size         'lsm'            bytes of the first level below 0, likewise
 *      expire             'lsm'            {field, after}: rows expire at the time that they have in a
 *                                          field, or so many seconds later; of the space as it is made
 *
 * Only what was given is kept, so a row without any of them, as those of older versions are, means
 * what the engine does by itself.
 */
#include "codec/mp.h"
#include "db/catalog.h"
#include "storage/engine.h"
#include "storage/lsm/lsm.h"

enum body_option {
    BODY_COMPACTION,
    BODY_COMPACTION_WINDOW,
    BODY_COMPRESSION,
    BODY_DICTIONARY,
    BODY_PAGE_SIZE,
    BODY_BLOOM_BITS,
    BODY_FILTER,
    BODY_RUN_COUNT,
    BODY_RANGE_SIZE,
    BODY_SIZE_RATIO,
    BODY_LEVEL_SIZE,
    BODY_EXPIRE,
    BODY_OPTIONS
};

/* The value of each, or NULL. */
struct body_option_values {
    const char *at[BODY_OPTIONS];
};

/* How a body works; of an engine that has levels `lsm`, of one that has pages `page_bytes`. */
struct body_options {
    struct lsm_options lsm; /* without filter, space and clock */
    uint32_t page_bytes;
    uint32_t expire_field; /* from 1; 0: rows don't expire */
    uint64_t expire_after_ms;
};

const char *body_option_name(enum body_option option);

/* What engines do by themselves. */
void body_options_default(struct body_options *out);

bool body_options_equal(const struct body_options *a, const struct body_options *b);

/* Finds them in a map: options, or the flags of a row. */
void body_options_find(const char *map, struct body_option_values *out);

/* Makes of values what a body takes. ERROR_INVALID or ERROR_UNSUPPORTED (an option that the engine has not),
 * with diagnostics; *out is not to be used then. */
int body_options_read(const struct engine_vtab *engine, const struct body_option_values *values,
                      struct body_options *out);

/* Writes the value of `expire`, as given, with the number of its field. ERROR_INVALID when there is no such field, or none that can have a time. */
int body_options_expire_put(const char *value, const struct field_def *fields, uint32_t count,
                            struct mp_buffer *out);

/* Whether an engine has any. */
bool body_options_any(const struct engine_vtab *engine);

/* Replaces the values that are given. What is left of `values` fits together, or body_options_read says what does
 * not. ERROR_UNSUPPORTED for what cannot be changed, with diagnostics. */
int body_options_change(const struct engine_vtab *engine, struct body_option_values *values,
                        const struct body_option_values *given);

/* Writes those of an engine as a map, all of them, also those that nobody has given. */
void body_options_put(const struct engine_vtab *engine, const struct body_options *options,
                      struct mp_buffer *out);

#endif
