/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs against plain sorted arrays: four runs are written from random rows, with random options, and
 * then asked for rows, ranges and merges. What fails is shrunk to the rows and the question that
 * matter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/model.h"
#include "base/test_seed.h"
#include "io/disk.h"
#include "storage/run_fixture.h"

enum { RUNS = 4, KEY_MAX = 24, DATA_MAX = 255 * 9, TS_MAX = 40, SNAPSHOTS_MAX = 3 };
enum kind { PUT, DELETE, OPTION, GET, RANGE, MERGE, KINDS };

/* Where an operation needs no number, it is not looked at. */
struct op {
    uint8_t kind, run;
    uint16_t key, other_key;
    uint8_t ts, size;
    uint8_t flags; /* of RANGE and MERGE */
    uint8_t snapshots[SNAPSHOTS_MAX];
};

enum range_flags { LOWER = 1, LOWER_INCLUSIVE = 2, UPPER = 4, UPPER_INCLUSIVE = 8, BACKWARD = 16 };
enum merge_flags { FIRST_RUN = 1 /* and the next three bits */, DROP = 16, KEEP_ALL = 32 };

struct key {
    unsigned char bytes[KEY_MAX];
    size_t size;
};

struct model_row {
    struct key key;
    uint64_t ts;
    unsigned run;
    bool tombstone;
    uint32_t size;
};

struct model {
    struct model_row *rows; /* of all runs, sorted; equal (key, ts) by run */
    size_t count;
    struct run_options options[RUNS];
};

/* Keys that are prefixes of each other, differ by their first or last bytes, or are empty. */
static struct key key_make(unsigned number)
{
    static const unsigned char digits[4] = {0, 1, 0xfe, 0xff};
    struct key key = {.size = number % 5};
    number /= 5;
    for (size_t i = 0; i < key.size; i++, number /= 4)
        key.bytes[i] = digits[number % 4];
    if (number % 2 == 1) { /* the same behind a long prefix */
        memmove(key.bytes + 20, key.bytes, key.size);
        memset(key.bytes, 'p', 20);
        key.size += 20;
    }
    return key;
}

static int key_compare(const struct key *a, const struct key *b)
{
    size_t common = a->size < b->size ? a->size : b->size;
    int order = memcmp(a->bytes, b->bytes, common);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

static int row_compare(const void *a_pointer, const void *b_pointer)
{
    const struct model_row *a = a_pointer, *b = b_pointer;
    int order = key_compare(&a->key, &b->key);
    if (order == 0)
        order = (a->ts < b->ts) - (a->ts > b->ts);
    return order != 0 ? order : (a->run > b->run) - (a->run < b->run);
}

/* The data of a row follows from the rest of it. */
static void data_make(const struct model_row *row, char *out)
{
    memset(out, (int)('a' + (row->ts + row->run) % 26), row->size);
    for (size_t i = 0; i < row->key.size && i < row->size; i++)
        out[i] = (char)row->key.bytes[i];
}

static void model_make(struct model *model, const struct op *ops, size_t count)
{
    model->rows = calloc(count + 1, sizeof *model->rows);
    model->count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct op *op = &ops[i];
        if (op->kind == OPTION) {
            model->options[op->run].block_bytes = RUN_BLOCK_BYTES_MIN + op->size * 8u;
            run_options_way(&model->options[op->run], op->ts % RUN_WAYS);
            model->options[op->run].filter_bits = op->flags % 12;
            model->options[op->run].filter = op->flags / 12 % 2 + RUN_FILTER_BLOOM;
        } else if (op->kind == PUT || op->kind == DELETE) {
            model->rows[model->count++] =
                (struct model_row){.key = key_make(op->key),
                                   .ts = op->ts,
                                   .run = op->run,
                                   .tombstone = op->kind == DELETE,
                                   .size = op->kind == DELETE ? 0 : op->size * 9u};
        }
    }
    qsort(model->rows, model->count, sizeof *model->rows, row_compare);
    size_t kept = 0;
    for (size_t i = 0; i < model->count; i++)
        if (kept == 0 || row_compare(&model->rows[kept - 1], &model->rows[i]) != 0)
            model->rows[kept++] = model->rows[i];
    model->count = kept;
}

static bool row_differs(struct model_report *report, const char *what, const struct model_row *row,
                        const struct engine_row *found)
{
    char data[DATA_MAX + 1];
    data_make(row, data);
    if (found->key_size != row->key.size ||
        memcmp(found->key, row->key.bytes, row->key.size) != 0 || found->ts != row->ts)
        return !model_differs(report, "%s: another row, of ts %u instead of %u", what,
                              (unsigned)found->ts, (unsigned)row->ts);
    if ((found->data == NULL) != row->tombstone || found->size != row->size ||
        (found->data != NULL && memcmp(found->data, data, row->size) != 0))
        return !model_differs(report, "%s: other data of ts %u", what, (unsigned)row->ts);
    return false;
}

/* ------------------------------------------------------------------------------------- questions */

static bool check_get(struct run *run, const struct model *model, const struct op *op,
                      struct model_report *report)
{
    struct key key = key_make(op->key);
    const struct model_row *expected = NULL;
    struct engine_row row;
    struct arena arena;
    for (size_t i = 0; i < model->count && expected == NULL; i++)
        if (model->rows[i].run == op->run && key_compare(&model->rows[i].key, &key) == 0 &&
            model->rows[i].ts <= op->ts)
            expected = &model->rows[i];
    arena_create(&arena, 0);
    int rc = run_get(run, key.bytes, key.size, op->ts, &arena, &row);
    bool right = rc == (expected == NULL ? ERROR_NOT_FOUND : 0);
    if (!right)
        model_differs(report, "get: %s", error_name(rc));
    else if (expected != NULL)
        right = !row_differs(report, "get", expected, &row);
    arena_destroy(&arena);
    return right;
}

static bool in_range(const struct key *key, const struct op *op, const struct key *lower,
                     const struct key *upper)
{
    int low = op->flags & LOWER ? key_compare(key, lower) : 1;
    int high = op->flags & UPPER ? key_compare(key, upper) : -1;
    return (low > 0 || (low == 0 && op->flags & LOWER_INCLUSIVE)) &&
           (high < 0 || (high == 0 && op->flags & UPPER_INCLUSIVE));
}

static bool check_range(struct run *run, const struct model *model, const struct op *op,
                        struct model_report *report)
{
    struct key lower = key_make(op->key), upper = key_make(op->other_key);
    bool backward = (op->flags & BACKWARD) != 0, right = true;
    const struct engine_range range = {
        .lower = op->flags & LOWER ? lower.bytes : NULL,
        .lower_size = lower.size,
        .lower_inclusive = (op->flags & LOWER_INCLUSIVE) != 0,
        .upper = op->flags & UPPER ? upper.bytes : NULL,
        .upper_size = upper.size,
        .upper_inclusive = (op->flags & UPPER_INCLUSIVE) != 0,
        .backward = backward,
    };
    struct run_cursor *cursor;
    struct engine_row row;
    int rc = run_cursor_open(run, &range, &cursor);
    if (rc != 0)
        return model_differs(report, "cursor: %s", diag_message());
    for (size_t i = 0; right && i < model->count; i++) {
        const struct model_row *expected = &model->rows[backward ? model->count - 1 - i : i];
        if (expected->run != op->run || !in_range(&expected->key, op, &lower, &upper))
            continue;
        rc = run_cursor_next(cursor, &row);
        right = rc == 0 ? !row_differs(report, "range", expected, &row)
                        : model_differs(report, "range: %s", error_name(rc));
    }
    if (right && (rc = run_cursor_next(cursor, &row)) != ERROR_END)
        right = model_differs(report, "range: %s instead of its end", error_name(rc));
    run_cursor_close(cursor);
    return right;
}

/* Whether somebody who reads at one of the snapshots, or the newest, is shown rows[i]. `merged` has
 * each (key, ts) once. */
static bool is_seen(const struct model_row *merged, size_t i, const struct op *op)
{
    bool newest = i == 0 || key_compare(&merged[i - 1].key, &merged[i].key) != 0;
    if (newest || op->flags & KEEP_ALL)
        return true;
    for (unsigned n = 0; n < SNAPSHOTS_MAX; n++)
        if (merged[i].ts <= op->snapshots[n] && merged[i - 1].ts > op->snapshots[n])
            return true;
    return false;
}

/* What a merge gives, by its definition; returns the number of rows. */
static size_t merge_expected(const struct model *model, const struct op *op, struct model_row *out)
{
    size_t count = 0, kept = 0;
    struct model_row *merged = calloc(model->count + 1, sizeof *merged);
    for (size_t i = 0; i < model->count; i++) {
        const struct model_row *row = &model->rows[i];
        if (!(op->flags >> row->run & 1))
            continue;
        if (count > 0 && merged[count - 1].ts == row->ts &&
            key_compare(&merged[count - 1].key, &row->key) == 0)
            continue;
        merged[count++] = *row;
    }
    for (size_t i = 0; i < count; i++)
        if (is_seen(merged, i, op))
            out[kept++] = merged[i];
    free(merged);
    bool dropped = (op->flags & DROP) != 0;
    while (dropped) { /* the oldest of its key, a tombstone: as good as nothing */
        dropped = false;
        for (size_t i = 0; i < kept && !dropped; i++) {
            bool oldest = i + 1 == kept || key_compare(&out[i].key, &out[i + 1].key) != 0;
            if (!oldest || !out[i].tombstone)
                continue;
            memmove(&out[i], &out[i + 1], (kept - i - 1) * sizeof *out);
            kept--;
            dropped = true;
        }
    }
    return kept;
}

static bool check_merge(struct run **runs, const struct model *model, const struct op *op,
                        struct model_report *report)
{
    struct run *chosen[RUNS];
    unsigned count = 0;
    uint64_t ts[SNAPSHOTS_MAX];
    const struct engine_snapshots snapshots = {ts, SNAPSHOTS_MAX};
    struct run_merge *merge;
    struct engine_row row;
    for (unsigned n = 0; n < SNAPSHOTS_MAX; n++)
        ts[n] = op->snapshots[n];
    for (unsigned n = 0; n < RUNS; n++)
        if (op->flags >> n & 1)
            chosen[count++] = runs[n];
    int rc = run_merge_new(chosen, count, op->flags & KEEP_ALL ? NULL : &snapshots,
                           (op->flags & DROP) != 0, &merge);
    if (rc != 0)
        return model_differs(report, "merge: %s", diag_message());
    struct model_row *expected = calloc(model->count + 1, sizeof *expected);
    size_t expected_count = merge_expected(model, op, expected);
    struct engine_source *source = run_merge_source(merge);
    bool right = true;
    for (size_t i = 0; right && i < expected_count; i++) {
        rc = i % 2 == 0 ? run_merge_next(merge, &row) : source->next(source, &row);
        right = rc == 0 ? !row_differs(report, "merge", &expected[i], &row)
                        : model_differs(report, "merge: %s", error_name(rc));
    }
    if (right && (rc = run_merge_next(merge, &row)) != ERROR_END)
        right = model_differs(report, "merge: %s instead of its end", error_name(rc));
    free(expected);
    run_merge_delete(merge);
    return right;
}

/* ----------------------------------------------------------------------------------- the sequence */

static const char *name_of(unsigned n)
{
    static const char *const names[RUNS] = {"0.run", "1.run", "2.run", "3.run"};
    return names[n];
}

static bool run_write(struct io *io, const struct model *model, unsigned n, struct run **out,
                      struct model_report *report)
{
    struct run_options options = model->options[n];
    struct run_writer *writer;
    char data[DATA_MAX + 1];
    options.io = io;
    options.name = name_of(n);
    options.up_to_ts = TS_MAX;
    int rc = run_writer_new(&options, &writer);
    if (rc != 0)
        return model_differs(report, "new: %s", diag_message());
    for (size_t i = 0; rc == 0 && i < model->count; i++) {
        const struct model_row *row = &model->rows[i];
        if (row->run != n)
            continue;
        data_make(row, data);
        rc = run_writer_add(writer, &(struct engine_row){row->key.bytes, row->key.size, row->ts,
                                                         row->tombstone ? NULL : data, row->size});
    }
    rc = run_writer_finish(writer, NULL);
    if (rc == 0)
        rc = run_open(io, name_of(n), out);
    if (rc == 0)
        rc = run_verify(*out, NULL, NULL);
    return rc == 0 ? true : model_differs(report, "write: %s", diag_message());
}

static bool question(struct run **runs, const struct model *model, const struct op *op,
                     struct model_report *report)
{
    switch (op->kind) {
    case GET:
        return check_get(runs[op->run], model, op, report);
    case RANGE:
        return check_range(runs[op->run], model, op, report);
    case MERGE:
        return check_merge(runs, model, op, report);
    default:
        return true;
    }
}

static bool sequence(const void *all, size_t count, struct model_report *report, void *arg)
{
    (void)arg;
    const struct op *ops = all;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    struct model model = {0};
    struct run *runs[RUNS] = {0};
    bool right = true;
    model_make(&model, ops, count);
    for (unsigned n = 0; right && n < RUNS; n++)
        right = run_write(io, &model, n, &runs[n], report);
    for (size_t i = 0; right && i < count; i++)
        right = question(runs, &model, &ops[i], report);
    for (unsigned n = 0; n < RUNS; n++)
        if (runs[n] != NULL)
            run_close(runs[n]);
    free(model.rows);
    io_delete(io);
    disk_delete(disk);
    return right;
}

static void op_choose(struct random *random, void *memory, void *arg)
{
    (void)arg;
    struct op *op = memory;
    unsigned dice = (unsigned)random_below(random, 100);
    op->kind = dice < 60   ? PUT
               : dice < 75 ? DELETE
               : dice < 77 ? OPTION
               : dice < 86 ? GET
               : dice < 94 ? RANGE
                           : MERGE;
    op->run = (uint8_t)random_below(random, RUNS);
    op->key = (uint16_t)random_below(random, random_below(random, 2) ? 40 : 2560);
    op->other_key = (uint16_t)random_below(random, 2560);
    op->ts = (uint8_t)random_below(random, TS_MAX + 1);
    op->size =
        (uint8_t)(random_below(random, 8) ? random_below(random, 12) : random_below(random, 256));
    op->flags = (uint8_t)random_below(random, 64);
    for (unsigned n = 0; n < SNAPSHOTS_MAX; n++)
        op->snapshots[n] = (uint8_t)random_below(random, TS_MAX + 1);
}

static void op_print(FILE *out, const void *memory, void *arg)
{
    (void)arg;
    static const char *const names[KINDS] = {"put", "delete", "option", "get", "range", "merge"};
    const struct op *op = memory;
    fprintf(out, "%s run %u key %u other key %u ts %u size %u flags %u snapshots %u %u %u",
            names[op->kind], op->run, op->key, op->other_key, op->ts, op->size, op->flags,
            op->snapshots[0], op->snapshots[1], op->snapshots[2]);
}

static bool op_simplify(void *memory, unsigned n, void *arg)
{
    (void)arg;
    struct op *op = memory;
    switch (n) {
    case 0:
        op->size = 0;
        return true;
    case 1:
        op->key /= 2;
        return true;
    case 2:
        op->ts /= 2;
        return true;
    case 3:
        op->snapshots[0] = op->snapshots[1] = op->snapshots[2] = 0;
        return true;
    default:
        return false;
    }
}

static unsigned rounds(void)
{
    const char *text = getenv("RUN_MODEL_ROUNDS");
    return text != NULL ? (unsigned)strtoul(text, NULL, 0) : 150;
}

static void runs_and_merges_are_what_sorted_arrays_say(void **state)
{
    (void)state;
    const struct model_test test = {
        .op_bytes = sizeof(struct op),
        .op_choose = op_choose,
        .run = sequence,
        .op_print = op_print,
        .op_simplify = op_simplify,
    };
    assert_true(model_check(&test, test_seed(), rounds(), 600));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_and_merges_are_what_sorted_arrays_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
