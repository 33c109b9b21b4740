/* SPDX-License-Identifier: Apache-2.0 */
#include "db/body_options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"

enum {
    PAGE_BYTES_MIN = 4096,
    PAGE_BYTES_MAX = 65536,
    BLOOM_BITS_MAX = 32, /* more tell nothing apart */
    DICTIONARY_BYTES = 16 << 10,
    WINDOW_SECONDS_MAX = 100 * 366 * 24 * 3600U,
    RUN_COUNT_MIN = 2, /* one would be merged with nothing */
    RUN_COUNT_MAX = 32,
    SIZE_RATIO_MIN = 2,
    SIZE_RATIO_MAX = 100
};

static const uint64_t SIZE_MIN = 1 << 20, RANGE_SIZE_MAX = UINT64_C(16) << 30,
                      LEVEL_SIZE_MAX = UINT64_C(1) << 40;
static const double AFTER_SECONDS_MAX = 1000 * 366.0 * 24 * 3600;

#define COMPACTIONS  "'levelled', 'size-tiered', 'universal' or 'time-window'"
#define COMPRESSIONS "'zstd', 'lz4', 'snappy' or 'none'"

static const char *const strategies[] = {[LSM_LEVELLED] = "levelled",
                                         [LSM_TIERED] = "size-tiered",
                                         [LSM_UNIVERSAL] = "universal",
                                         [LSM_TIME_WINDOW] = "time-window"};

static const char *const filters[] = {[RUN_FILTER_BLOOM] = "bloom", [RUN_FILTER_RIBBON] = "ribbon"};

enum { HAS_LEVELS = 1, HAS_PAGES = 2 };

static unsigned engine_has(const struct engine_vtab *engine)
{
    return engine == NULL                           ? 0
           : (engine->flags & ENGINE_JOBS)          ? HAS_LEVELS
           : (engine->flags & ENGINE_CHANGES_FILES) ? HAS_PAGES
                                                    : 0;
}

static const struct {
    const char *name;
    unsigned of;          /* engines that have one of these */
    const char *of_names; /* and what they are called */
} options_known[BODY_OPTIONS] = {
    [BODY_COMPACTION] = {"compaction", HAS_LEVELS, "'lsm'"},
    [BODY_COMPACTION_WINDOW] = {"compaction_window", HAS_LEVELS, "'lsm'"},
    [BODY_COMPRESSION] = {"compression", HAS_LEVELS, "'lsm'"},
    [BODY_DICTIONARY] = {"dictionary", HAS_LEVELS, "'lsm'"},
    [BODY_PAGE_SIZE] = {"page_size", HAS_LEVELS | HAS_PAGES, "'lsm' and 'btree'"},
    [BODY_BLOOM_BITS] = {"bloom_bits", HAS_LEVELS, "'lsm'"},
    [BODY_FILTER] = {"filter", HAS_LEVELS, "'lsm'"},
    [BODY_RUN_COUNT] = {"run_count_per_level", HAS_LEVELS, "'lsm'"},
    [BODY_RANGE_SIZE] = {"range_size", HAS_LEVELS, "'lsm'"},
    [BODY_SIZE_RATIO] = {"run_size_ratio", HAS_LEVELS, "'lsm'"},
    [BODY_LEVEL_SIZE] = {"level_size", HAS_LEVELS, "'lsm'"},
    [BODY_EXPIRE] = {"expire", HAS_LEVELS, "'lsm'"},
};

const char *body_option_name(enum body_option option)
{
    return options_known[option].name;
}

void body_options_default(struct body_options *out)
{
    lsm_options_default(&out->lsm);
    out->page_bytes = PAGE_BYTES_MIN;
    out->expire_field = 0;
    out->expire_after_ms = 0;
}

bool body_options_equal(const struct body_options *a, const struct body_options *b)
{
    return a->lsm.strategy == b->lsm.strategy && a->lsm.window_ms == b->lsm.window_ms &&
           memcmp(a->lsm.compression, b->lsm.compression, sizeof a->lsm.compression) == 0 &&
           a->lsm.dictionary_bytes == b->lsm.dictionary_bytes &&
           a->lsm.block_bytes == b->lsm.block_bytes && a->lsm.filter_bits == b->lsm.filter_bits &&
           a->lsm.filter_kind == b->lsm.filter_kind && a->lsm.l0_files == b->lsm.l0_files &&
           a->lsm.file_bytes == b->lsm.file_bytes && a->lsm.size_ratio == b->lsm.size_ratio &&
           a->lsm.level_bytes == b->lsm.level_bytes && a->page_bytes == b->page_bytes &&
           a->expire_field == b->expire_field && a->expire_after_ms == b->expire_after_ms;
}

bool body_options_any(const struct engine_vtab *engine)
{
    return engine_has(engine) != 0;
}

void body_options_find(const char *map, struct body_option_values *out)
{
    for (unsigned i = 0; i < BODY_OPTIONS; i++)
        out->at[i] = mp_map_find(map, options_known[i].name);
}

/* ---------------------------------------------------------------------------------------- reading */

/* A value as messages tell it, in `text`. */
static const char *value_text(const char *value, char *text, size_t size)
{
    int64_t number;
    uint32_t bytes;
    if (mp_typeof(*value) == MP_STR) {
        const char *at = mp_decode_str(&value, &bytes);
        snprintf(text, size, "'%.*s'", (int)(bytes < 40 ? bytes : 40), at);
    } else if (mp_typeof(*value) == MP_DOUBLE) {
        snprintf(text, size, "%g", mp_decode_double(&value));
    } else if (mp_read_int(&value, &number)) {
        snprintf(text, size, "%" PRId64, number);
    } else {
        snprintf(text, size, "this");
    }
    return text;
}

static int refused(enum body_option option, const char *right, const char *value)
{
    char text[64];
    return diag_set(ERROR_INVALID, "%s is %s, not %s", options_known[option].name, right,
                    value_text(value, text, sizeof text));
}

static bool string_is(const char *value, const char *word)
{
    uint32_t size;
    if (mp_typeof(*value) != MP_STR)
        return false;
    const char *text = mp_decode_str(&value, &size);
    return size == strlen(word) && memcmp(text, word, size) == 0;
}

static int compaction_read(const char *value, struct lsm_options *out)
{
    for (unsigned i = 0; i < sizeof strategies / sizeof *strategies; i++)
        if (string_is(value, strategies[i])) {
            out->strategy = (enum lsm_strategy)i;
            return 0;
        }
    return refused(BODY_COMPACTION, COMPACTIONS, value);
}

static int window_read(const char *value, struct lsm_options *out)
{
    const char *at = value;
    uint64_t seconds;
    if (!mp_read_uint(&at, &seconds) || seconds == 0 || seconds > WINDOW_SECONDS_MAX)
        return refused(BODY_COMPACTION_WINDOW, "a whole number of seconds, of a century at most",
                       value);
    if (out->strategy != LSM_TIME_WINDOW)
        return diag_set(ERROR_INVALID,
                        "compaction_window is of compaction = 'time-window', not of '%s'",
                        strategies[out->strategy]);
    out->window_ms = seconds * 1000;
    return 0;
}

static int method_read(const char *value, enum compress_method *out)
{
    for (unsigned i = 0; i < COMPRESS_METHODS; i++)
        if (string_is(value, compress_method_name((enum compress_method)i))) {
            *out = (enum compress_method)i;
            return 0;
        }
    return refused(BODY_COMPRESSION, COMPRESSIONS ", or a list of these", value);
}

static int compression_read(const char *value, struct lsm_options *out)
{
    enum compress_method method = COMPRESS_NONE;
    uint32_t count = 1;
    if (mp_typeof(*value) == MP_ARRAY)
        count = mp_decode_array(&value);
    if (count == 0 || count > LSM_LEVELS)
        return diag_set(
            ERROR_INVALID,
            "compression as a list has from 1 to %d elements, one for each level, not %" PRIu32,
            LSM_LEVELS, count);
    for (uint32_t level = 0; level < LSM_LEVELS; level++) {
        if (level < count) {
            int rc = method_read(value, &method);
            if (rc != 0)
                return rc;
            mp_next(&value);
        }
        out->compression[level] = method;
    }
    return 0;
}

static int dictionary_read(const char *value, struct lsm_options *out)
{
    if (mp_typeof(*value) != MP_BOOL)
        return refused(BODY_DICTIONARY, "true or false", value);
    out->dictionary_bytes = mp_decode_bool(&value) ? DICTIONARY_BYTES : 0;
    if (out->dictionary_bytes > 0 && out->compression[LSM_LEVEL_LAST] != COMPRESS_ZSTD)
        return diag_set(ERROR_INVALID,
                        "a dictionary is of compression = 'zstd' on the last level, not of '%s'",
                        compress_method_name(out->compression[LSM_LEVEL_LAST]));
    return 0;
}

static int page_size_read(const struct engine_vtab *engine, const char *value,
                          struct body_options *out)
{
    const char *at = value;
    uint64_t bytes;
    bool number = mp_read_uint(&at, &bytes) && bytes >= PAGE_BYTES_MIN && bytes <= PAGE_BYTES_MAX;
    if (engine_has(engine) == HAS_PAGES && (!number || (bytes & (bytes - 1)) != 0))
        return refused(BODY_PAGE_SIZE, "4096, 8192, 16384, 32768 or 65536 bytes", value);
    if (!number)
        return refused(BODY_PAGE_SIZE, "a whole number of bytes from 4096 to 65536", value);
    out->lsm.block_bytes = (size_t)bytes;
    out->page_bytes = (uint32_t)bytes;
    return 0;
}

static int bloom_read(const char *value, struct lsm_options *out)
{
    const char *at = value;
    uint64_t bits;
    if (!mp_read_uint(&at, &bits) || bits > BLOOM_BITS_MAX)
        return refused(BODY_BLOOM_BITS, "a whole number of bits for each key, from 0 to 32", value);
    out->filter_bits = (unsigned)bits;
    return 0;
}

static int filter_read(const char *value, struct lsm_options *out)
{
    for (unsigned i = RUN_FILTER_BLOOM; i <= RUN_FILTER_RIBBON; i++)
        if (string_is(value, filters[i])) {
            out->filter_kind = (enum run_filter_kind)i;
            return 0;
        }
    return refused(BODY_FILTER, "'bloom' or 'ribbon' (none with bloom_bits = 0)", value);
}

static bool number_read(const char *value, uint64_t min, uint64_t max, uint64_t *out)
{
    return mp_read_uint(&value, out) && *out >= min && *out <= max;
}

static int run_count_read(const char *value, struct lsm_options *out)
{
    uint64_t count;
    if (!number_read(value, RUN_COUNT_MIN, RUN_COUNT_MAX, &count))
        return refused(BODY_RUN_COUNT, "a whole number of runs from 2 to 32", value);
    out->l0_files = (unsigned)count;
    return 0;
}

static int range_size_read(const char *value, struct lsm_options *out)
{
    if (!number_read(value, SIZE_MIN, RANGE_SIZE_MAX, &out->file_bytes))
        return refused(
            BODY_RANGE_SIZE,
            "a whole number of bytes of a file, from 1048576 (1 MB) to 17179869184 (16 GB)", value);
    return 0;
}

/* The sizes of levels are of a compaction that has more than one. */
static int levels_check(enum body_option option, const struct lsm_options *out)
{
    return out->strategy == LSM_LEVELLED
               ? 0
               : diag_set(ERROR_INVALID, "%s is of compaction = 'levelled', not of '%s'",
                          options_known[option].name, strategies[out->strategy]);
}

static int size_ratio_read(const char *value, struct lsm_options *out)
{
    uint64_t ratio;
    if (!number_read(value, SIZE_RATIO_MIN, SIZE_RATIO_MAX, &ratio))
        return refused(
            BODY_SIZE_RATIO,
            "a whole number from 2 to 100, of a level's bytes to those of the one above it", value);
    out->size_ratio = (unsigned)ratio;
    return levels_check(BODY_SIZE_RATIO, out);
}

static int level_size_read(const char *value, struct lsm_options *out)
{
    if (!number_read(value, SIZE_MIN, LEVEL_SIZE_MAX, &out->level_bytes))
        return refused(BODY_LEVEL_SIZE,
                       "a whole number of bytes of the first level, from 1048576 (1 MB) to "
                       "1099511627776 (1 TB)",
                       value);
    return levels_check(BODY_LEVEL_SIZE, out);
}

static int expire_refused(const char *what)
{
    return diag_set(ERROR_INVALID,
                    "expire is {field = .., after = ..}, the name or number of a field with a "
                    "datetime or seconds since 1970, and seconds, or 0: %s",
                    what);
}

/* The parts of the value; *field and *after NULL where there is none. */
static int expire_parts(const char *value, const char **field, const char **after)
{
    *field = *after = NULL;
    if (mp_typeof(*value) != MP_MAP)
        return expire_refused("this is no table with names");
    for (uint32_t n = mp_decode_map(&value); n > 0; n--) {
        bool is_field = string_is(value, "field"), is_after = string_is(value, "after");
        mp_next(&value);
        if (!is_field && !is_after)
            return expire_refused("there is something else in it");
        *(is_field ? field : after) = value;
        mp_next(&value);
    }
    return *field == NULL ? expire_refused("it has no field") : 0;
}

static int after_read(const char *value, uint64_t *out)
{
    double seconds = -1;
    uint64_t whole;
    *out = 0;
    if (value == NULL)
        return 0;
    const char *at = value;
    if (mp_typeof(*value) == MP_DOUBLE)
        seconds = mp_decode_double(&value);
    else if (mp_read_uint(&at, &whole))
        seconds = (double)whole;
    if (!(seconds >= 0 && seconds <= AFTER_SECONDS_MAX))
        return expire_refused("after is a number of seconds, of a millennium at most");
    *out = (uint64_t)(seconds * 1000);
    return 0;
}

/* A name stands for the field 1 here: which one it is the catalog is told (body_options_expire_put). */
static int expire_read(const char *value, struct body_options *out)
{
    const char *field, *after;
    uint64_t number = 1;
    int rc = expire_parts(value, &field, &after);
    if (rc != 0)
        return rc;
    if (mp_typeof(*field) != MP_STR &&
        (!mp_read_uint(&field, &number) || number == 0 || number > SPACE_FIELDS_MAX))
        return expire_refused("a field has a name, or a number from 1");
    out->expire_field = (uint32_t)number;
    return after_read(after, &out->expire_after_ms);
}

static bool may_have_time(const struct field_def *field)
{
    switch (field->kind) {
    case FIELD_ANY:
    case FIELD_SCALAR:
    case FIELD_NUMBER:
    case FIELD_UNSIGNED:
    case FIELD_INTEGER:
    case FIELD_DOUBLE:
    case FIELD_DATETIME:
        return true;
    default:
        return false;
    }
}

int body_options_expire_put(const char *value, const struct field_def *fields, uint32_t count,
                            struct mp_buffer *out)
{
    const char *field, *after;
    uint64_t number = 0;
    int rc = expire_parts(value, &field, &after);
    if (rc != 0)
        return rc;
    if (mp_typeof(*field) != MP_STR)
        mp_read_uint(&field, &number);
    for (uint32_t i = 0; number == 0 && i < count; i++)
        if (string_is(field, fields[i].name))
            number = i + 1;
    if (number == 0)
        return expire_refused("the format has no field of this name");
    if (number <= count && !may_have_time(&fields[number - 1]))
        return diag_set(ERROR_INVALID,
                        "expire has a field with a datetime or seconds since 1970, and \"%s\" is "
                        "of type '%s'",
                        fields[number - 1].name, fields[number - 1].type_name);
    mp_put_map(out, after != NULL ? 2 : 1);
    mp_put_str(out, "field", 5);
    mp_put_uint(out, number);
    if (after != NULL) {
        const char *end = after;
        mp_next(&end);
        mp_put_str(out, "after", 5);
        mp_put_raw(out, after, (size_t)(end - after));
    }
    return 0;
}

static int has_not(const struct engine_vtab *engine, enum body_option option)
{
    return diag_set(ERROR_UNSUPPORTED, "a space of engine '%s' has no option \"%s\": that is of %s",
                    engine->name, options_known[option].name, options_known[option].of_names);
}

static int option_read(const struct engine_vtab *engine, enum body_option option, const char *value,
                       struct body_options *out)
{
    switch (option) {
    case BODY_COMPACTION:
        return compaction_read(value, &out->lsm);
    case BODY_COMPACTION_WINDOW:
        return window_read(value, &out->lsm);
    case BODY_COMPRESSION:
        return compression_read(value, &out->lsm);
    case BODY_DICTIONARY:
        return dictionary_read(value, &out->lsm);
    case BODY_PAGE_SIZE:
        return page_size_read(engine, value, out);
    case BODY_FILTER:
        return filter_read(value, &out->lsm);
    case BODY_RUN_COUNT:
        return run_count_read(value, &out->lsm);
    case BODY_RANGE_SIZE:
        return range_size_read(value, &out->lsm);
    case BODY_SIZE_RATIO:
        return size_ratio_read(value, &out->lsm);
    case BODY_LEVEL_SIZE:
        return level_size_read(value, &out->lsm);
    case BODY_EXPIRE:
        return expire_read(value, out);
    default:
        return bloom_read(value, &out->lsm);
    }
}

/* In the order of their numbers: the window and sizes of levels are of a compaction, and a dictionary of a
 * compression. */
int body_options_read(const struct engine_vtab *engine, const struct body_option_values *values,
                      struct body_options *out)
{
    int rc = 0;
    body_options_default(out);
    for (unsigned i = 0; rc == 0 && i < BODY_OPTIONS; i++)
        if (values->at[i] != NULL)
            rc = (engine_has(engine) & options_known[i].of) == 0
                     ? has_not(engine, i)
                     : option_read(engine, i, values->at[i], out);
    return rc;
}

/* --------------------------------------------------------------------------------------- changing */

static bool same_value(const char *a, const char *b)
{
    uint64_t one, other;
    return mp_read_uint(&a, &one) && mp_read_uint(&b, &other) && one == other;
}

/* What is of one compaction goes with it, unless it is given with another one, which is an error. */
static void drop_with(enum lsm_strategy strategy, enum body_option option,
                      struct body_option_values *values, const struct body_option_values *given)
{
    const char *compaction = given->at[BODY_COMPACTION];
    if (compaction != NULL && given->at[option] == NULL &&
        !string_is(compaction, strategies[strategy]))
        values->at[option] = NULL;
}

int body_options_change(const struct engine_vtab *engine, struct body_option_values *values,
                        const struct body_option_values *given)
{
    const char *page_size = given->at[BODY_PAGE_SIZE], *present = values->at[BODY_PAGE_SIZE];
    struct body_options options;
    if (given->at[BODY_EXPIRE] != NULL && engine_has(engine) == HAS_LEVELS)
        return diag_set(ERROR_UNSUPPORTED,
                        "expire of a space stays as it was made, since the entries of its indexes "
                        "say when they expire: make another space with it, and copy the rows");
    if (engine_has(engine) == HAS_PAGES && page_size != NULL) {
        int rc = body_options_read(engine, given, &options);
        if (rc != 0)
            return rc;
        if (present != NULL ? !same_value(page_size, present)
                            : options.page_bytes != PAGE_BYTES_MIN)
            return diag_set(
                ERROR_UNSUPPORTED,
                "page_size of a space of engine '%s' stays as it was made: make another "
                "space with it, and copy the rows",
                engine->name);
        return 0;
    }
    for (unsigned i = 0; i < BODY_OPTIONS; i++)
        if (given->at[i] != NULL)
            values->at[i] = given->at[i];
    drop_with(LSM_TIME_WINDOW, BODY_COMPACTION_WINDOW, values, given);
    drop_with(LSM_LEVELLED, BODY_SIZE_RATIO, values, given);
    drop_with(LSM_LEVELLED, BODY_LEVEL_SIZE, values, given);
    return 0;
}

/* ---------------------------------------------------------------------------------------- showing */

static void put_text(struct mp_buffer *out, const char *text)
{
    mp_put_str(out, text, strlen(text));
}

static void put_name(struct mp_buffer *out, enum body_option option)
{
    put_text(out, options_known[option].name);
}

static void put_number(struct mp_buffer *out, enum body_option option, uint64_t number)
{
    put_name(out, option);
    mp_put_uint(out, number);
}

/* One for all levels, or the shortest list that means the same. */
static void put_compression(const struct lsm_options *options, struct mp_buffer *out)
{
    uint32_t count = LSM_LEVELS;
    while (count > 1 && options->compression[count - 2] == options->compression[LSM_LEVEL_LAST])
        count--;
    put_name(out, BODY_COMPRESSION);
    if (count > 1)
        mp_put_array(out, count);
    for (uint32_t level = 0; level < count; level++)
        put_text(out, compress_method_name(options->compression[level]));
}

void body_options_put(const struct engine_vtab *engine, const struct body_options *options,
                      struct mp_buffer *out)
{
    const struct lsm_options *lsm = &options->lsm;
    bool window = lsm->strategy == LSM_TIME_WINDOW, levels = engine_has(engine) == HAS_LEVELS,
         levelled = lsm->strategy == LSM_LEVELLED, expires = options->expire_field > 0;
    mp_put_map(out, levels ? 8 + window + 2 * levelled + expires : 1);
    put_name(out, BODY_PAGE_SIZE);
    mp_put_uint(out, levels ? lsm->block_bytes : options->page_bytes);
    if (!levels)
        return;
    put_name(out, BODY_COMPACTION);
    put_text(out, strategies[lsm->strategy]);
    if (window) {
        put_name(out, BODY_COMPACTION_WINDOW);
        mp_put_uint(out, lsm->window_ms / 1000);
    }
    put_compression(lsm, out);
    put_name(out, BODY_DICTIONARY);
    mp_put_bool(out, lsm->dictionary_bytes > 0);
    put_number(out, BODY_BLOOM_BITS, lsm->filter_bits);
    put_name(out, BODY_FILTER);
    put_text(out, filters[lsm->filter_kind]);
    put_number(out, BODY_RUN_COUNT, lsm->l0_files);
    put_number(out, BODY_RANGE_SIZE, lsm->file_bytes);
    if (levelled) {
        put_number(out, BODY_SIZE_RATIO, lsm->size_ratio);
        put_number(out, BODY_LEVEL_SIZE, lsm->level_bytes);
    }
    if (!expires)
        return;
    put_name(out, BODY_EXPIRE);
    mp_put_map(out, 2);
    put_text(out, "field");
    mp_put_uint(out, options->expire_field);
    put_text(out, "after");
    if (options->expire_after_ms % 1000 == 0)
        mp_put_uint(out, options->expire_after_ms / 1000);
    else
        mp_put_double(out, (double)options->expire_after_ms / 1000);
}
