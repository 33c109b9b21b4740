/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random changes of the schema among statements, checkpoints, restarts and power cuts, against a
 * plain model of spaces, indexes, rows and functions. What fails is shrunk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/model.h"
#include "base/test_seed.h"
#include "db/checkpoint.h"
#include "db/db_fixture.h"

enum { SPACES = 2, KEYS = 6, VALUES = 4, FUNCS = 2, SEQUENCES = 60, OPS_MAX = 200 };
enum { PRIMARY, BY_VALUE, UNIQUE_VALUE, INDEXES };
enum format { FORMAT_NONE, FORMAT_UNSIGNED, FORMAT_STRING, FORMATS };

enum kind {
    SPACE_CREATE,
    SPACE_DROP,
    SPACE_TRUNCATE,
    SPACE_FORMAT,
    INDEX_CREATE,
    INDEX_DROP,
    FUNC_CREATE,
    FUNC_DROP,
    ROW_INSERT,
    ROW_REPLACE,
    ROW_DELETE,
    CHECKPOINT,
    RESTART,
    POWER_CUT,
    KINDS
};

static const char *const kind_names[KINDS] = {
    "create space", "drop space",  "truncate",  "format",        "create index",
    "drop index",   "create func", "drop func", "insert",        "replace",
    "delete",       "checkpoint",  "restart",   "cut the power",
};

/* How often each is chosen, of WEIGHTS. */
static const unsigned char weights[KINDS] = {8, 2, 4, 8, 12, 5, 3, 2, 15, 16, 10, 6, 4, 5};
enum { WEIGHTS = 100 };

struct op {
    uint8_t kind, space, which, key, value;
};

/* ---------------------------------------------------------------- the model */

struct model_space {
    bool exists, indexes[INDEXES];
    enum format format;
    unsigned rows[KEYS]; /* 1 + the value; 0: no row */
};

struct model {
    struct model_space spaces[SPACES];
    unsigned funcs[FUNCS]; /* 1 + which body; 0: none */
};

static bool has_rows(const struct model_space *space)
{
    for (unsigned key = 0; key < KEYS; key++)
        if (space->rows[key] != 0)
            return true;
    return false;
}

static bool value_taken(const struct model_space *space, unsigned key, unsigned value)
{
    for (unsigned other = 0; other < KEYS; other++)
        if (other != key && space->rows[other] == value + 1)
            return true;
    return false;
}

static bool values_differ(const struct model_space *space)
{
    for (unsigned key = 0; key < KEYS; key++)
        if (space->rows[key] != 0 && value_taken(space, key, space->rows[key] - 1))
            return false;
    return true;
}

static int model_index_create(struct model_space *space, unsigned which)
{
    if (!space->exists)
        return ERROR_NOT_FOUND;
    if (space->indexes[which])
        return ERROR_EXISTS;
    if (which != PRIMARY && space->format == FORMAT_STRING)
        return ERROR_SCHEMA;
    if (which == UNIQUE_VALUE && !values_differ(space))
        return ERROR_DUPLICATE;
    space->indexes[which] = true;
    return 0;
}

static int model_format(struct model_space *space, enum format format)
{
    if (!space->exists)
        return ERROR_NOT_FOUND;
    bool by_value = space->indexes[BY_VALUE] || space->indexes[UNIQUE_VALUE];
    if (format == FORMAT_STRING && (by_value || has_rows(space)))
        return ERROR_SCHEMA;
    space->format = format;
    return 0;
}

static int model_row(struct model_space *space, const struct op *op)
{
    if (!space->indexes[PRIMARY])
        return ERROR_SCHEMA;
    if (op->kind == ROW_DELETE) {
        space->rows[op->key] = 0;
        return 0;
    }
    if (space->format == FORMAT_STRING)
        return ERROR_SCHEMA;
    if (op->kind == ROW_INSERT && space->rows[op->key] != 0)
        return ERROR_DUPLICATE;
    if (space->indexes[UNIQUE_VALUE] && value_taken(space, op->key, op->value))
        return ERROR_DUPLICATE;
    space->rows[op->key] = op->value + 1u;
    return 0;
}

static int model_func(struct model *model, const struct op *op)
{
    unsigned *func = &model->funcs[op->which % FUNCS];
    bool exists = *func != 0;
    if (op->kind == FUNC_DROP) {
        *func = 0;
        return exists ? 0 : ERROR_NOT_FOUND;
    }
    if (exists)
        return ERROR_EXISTS;
    *func = 1 + op->value;
    return 0;
}

/* What the database must answer. */
static int model_apply(struct model *model, const struct op *op)
{
    struct model_space *space = &model->spaces[op->space];
    bool existed = space->exists;
    switch ((enum kind)op->kind) {
    case SPACE_CREATE:
        space->exists = true;
        return existed ? ERROR_EXISTS : 0;
    case SPACE_DROP:
        memset(space, 0, sizeof *space);
        return existed ? 0 : ERROR_NOT_FOUND;
    case SPACE_TRUNCATE:
        memset(space->rows, 0, sizeof space->rows);
        return existed ? 0 : ERROR_NOT_FOUND;
    case SPACE_FORMAT:
        return model_format(space, (enum format)op->which);
    case INDEX_CREATE:
        return model_index_create(space, op->which);
    case INDEX_DROP:
        space->indexes[op->which] = false;
        return 0;
    case FUNC_CREATE:
    case FUNC_DROP:
        return model_func(model, op);
    case ROW_INSERT:
    case ROW_REPLACE:
    case ROW_DELETE:
        return model_row(space, op);
    default:
        return 0;
    }
}

/* Statements that would name what is not there are left out, as are those on the primary index that
 * rules of their own forbid. */
static bool model_takes(const struct model *model, const struct op *op)
{
    const struct model_space *space = &model->spaces[op->space];
    if (op->kind >= ROW_INSERT && op->kind <= ROW_DELETE)
        return space->exists && (op->kind != ROW_DELETE || space->indexes[PRIMARY]);
    if (op->kind == INDEX_CREATE)
        return op->which == PRIMARY || space->indexes[PRIMARY];
    if (op->kind == INDEX_DROP)
        return op->which != PRIMARY && space->indexes[op->which];
    return true;
}

/* ---------------------------------------------------------------- the database */

static const char *const space_names[SPACES] = {"a", "b"};
static const char *const index_names[INDEXES] = {"primary", "by_value", "unique_value"};
static const char *const index_options[INDEXES] = {
    "{\"parts\": [[1, \"unsigned\"]]}",
    "{\"unique\": false, \"parts\": [[2, \"unsigned\"]]}",
    "{\"parts\": [[2, \"unsigned\"]]}",
};
static const char *const formats[FORMATS] = {
    "[]",
    "[[\"id\", \"unsigned\"], [\"value\", \"unsigned\"]]",
    "[[\"id\", \"unsigned\"], [\"value\", \"string\"]]",
};
static const char *const func_names[FUNCS] = {"f", "g"};

static int func_create(struct db_fixture *f, const struct op *op)
{
    char options[64];
    snprintf(options, sizeof options, "{\"body\": \"function() return %u end\"}", op->value);
    return ddl_func_create(f->workers[0], func_names[op->which % FUNCS], 1, mp_of(options, NULL));
}

/* Stops, perhaps by a cut when all is durable, and starts. */
static int restart(struct db_fixture *f, bool cut, uint64_t seed)
{
    if (cut) {
        wal_wait_durable(db_wal(f->db), wal_clock(db_wal(f->db)));
        disk_cut(f->disk, seed);
    }
    db_fixture_stop(f);
    return db_fixture_start(f, false);
}

static int row_statement(struct db_fixture *f, const struct op *op)
{
    char text[32];
    const char *name = space_names[op->space];
    snprintf(text, sizeof text, op->kind == ROW_DELETE ? "[%u]" : "[%u, %u]", op->key, op->value);
    if (op->kind == ROW_DELETE)
        return delete_by(f, NULL, name, "primary", text);
    return op->kind == ROW_INSERT ? insert(f, NULL, name, text) : replace(f, NULL, name, text);
}

static int db_apply(struct db_fixture *f, const struct op *op)
{
    const char *space = space_names[op->space];
    switch ((enum kind)op->kind) {
    case SPACE_CREATE:
        return make_space(f, space, NULL);
    case SPACE_DROP:
        return drop_space(f, space);
    case SPACE_TRUNCATE:
        return truncate_space(f, space);
    case SPACE_FORMAT:
        return format_space(f, space, formats[op->which]);
    case INDEX_CREATE:
        return make_index(f, space, index_names[op->which], index_options[op->which]);
    case INDEX_DROP:
        return drop_index(f, space, index_names[op->which]);
    case FUNC_CREATE:
        return func_create(f, op);
    case FUNC_DROP:
        return ddl_func_drop(f->workers[0], func_names[op->which % FUNCS], 1);
    case CHECKPOINT:
        return db_checkpoint(f->db);
    case RESTART:
    case POWER_CUT:
        return restart(f, op->kind == POWER_CUT, 1u + op->key + op->value * KEYS);
    default:
        return row_statement(f, op);
    }
}

/* ---------------------------------------------------------------- comparing */

/* What an index must give, in its order. */
static void rows_print(const struct model_space *space, bool by_value, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (unsigned value = 0; value < (by_value ? VALUES : 1); value++)
        for (unsigned key = 0; key < KEYS; key++)
            if (space->rows[key] != 0 && (!by_value || space->rows[key] == value + 1))
                used += (size_t)snprintf(out + used, size - used, "%s[%u,%u]", used > 0 ? " " : "",
                                         key, space->rows[key] - 1);
}

static bool index_compare(struct db_fixture *f, const struct model_space *space, unsigned number,
                          unsigned which, struct model_report *report)
{
    char expected[256];
    struct space *found = space_of(f, NULL, space_names[number]);
    bool exists = space_index(found, index_names[which], strlen(index_names[which])) != NULL;
    if (exists != space->indexes[which])
        return model_differs(report, "space %s: index %s %s", space_names[number],
                             index_names[which], exists ? "is there" : "is missing");
    if (!exists)
        return true;
    rows_print(space, which != PRIMARY, expected, sizeof expected);
    const char *rows =
        select_by(f, NULL, space_names[number], index_names[which], ITERATOR_ALL, NULL);
    return strcmp(rows, expected) == 0 ||
           model_differs(report, "space %s by %s: %.150s; expected %.150s", space_names[number],
                         index_names[which], rows, expected);
}

static bool space_compare(struct db_fixture *f, const struct model *model, unsigned number,
                          struct model_report *report)
{
    const struct model_space *space = &model->spaces[number];
    struct space *found = space_of(f, NULL, space_names[number]);
    if ((found != NULL) != space->exists)
        return model_differs(report, "space %s %s", space_names[number],
                             found ? "is there" : "is missing");
    if (found == NULL)
        return true;
    if ((found->field_count > 0) != (space->format != FORMAT_NONE))
        return model_differs(report, "space %s has a format of %u fields", space_names[number],
                             found->field_count);
    bool right = true;
    for (unsigned which = 0; right && which < INDEXES; which++)
        right = index_compare(f, space, number, which, report);
    return right;
}

static bool all_compare(struct db_fixture *f, const struct model *model,
                        struct model_report *report)
{
    bool right = true;
    for (unsigned number = 0; right && number < SPACES; number++)
        right = space_compare(f, model, number, report);
    for (unsigned n = 0; right && n < FUNCS; n++) {
        struct func *func = catalog_func(db_catalog(f->workers[0]), func_names[n], 1);
        unsigned body = func == NULL ? 0 : 1u + (unsigned)atoi(strpbrk(func->body, "0123456789"));
        if (body != model->funcs[n])
            right = model_differs(report, "function %s: body %u, expected %u", func_names[n], body,
                                  model->funcs[n]);
    }
    return right;
}

/* ---------------------------------------------------------------- the test */

static void op_choose(struct random *random, void *memory, void *arg)
{
    (void)arg;
    struct op *op = memory;
    unsigned at = (unsigned)random_below(random, WEIGHTS);
    while (at >= weights[op->kind])
        at -= weights[op->kind++];
    op->space = (uint8_t)random_below(random, SPACES);
    op->which = (uint8_t)random_below(random, INDEXES);
    op->key = (uint8_t)random_below(random, KEYS);
    op->value = (uint8_t)random_below(random, VALUES);
}

static void op_print(FILE *out, const void *memory, void *arg)
{
    (void)arg;
    const struct op *op = memory;
    fprintf(out, "%s", kind_names[op->kind]);
    if (op->kind < FUNC_CREATE || (op->kind >= ROW_INSERT && op->kind <= ROW_DELETE))
        fprintf(out, " %s", space_names[op->space]);
    if (op->kind == INDEX_CREATE || op->kind == INDEX_DROP)
        fprintf(out, " %s", index_names[op->which]);
    if (op->kind == SPACE_FORMAT)
        fprintf(out, " %s", formats[op->which]);
    if (op->kind == FUNC_CREATE || op->kind == FUNC_DROP)
        fprintf(out, " %s", func_names[op->which % FUNCS]);
    if (op->kind >= ROW_INSERT && op->kind <= ROW_DELETE)
        fprintf(out, " [%u, %u]", op->key, op->value);
}

static bool op_run(struct db_fixture *f, struct model *model, const struct op *op,
                   struct model_report *report)
{
    if (!model_takes(model, op))
        return true;
    int expected = model_apply(model, op);
    int found = db_apply(f, op);
    if (found != expected)
        return model_differs(report, "%s %s: %s, expected %s", kind_names[op->kind],
                             space_names[op->space], error_name(found), error_name(expected));
    return op->kind < RESTART || all_compare(f, model, report);
}

static bool run(const void *memory, size_t count, struct model_report *report, void *arg)
{
    (void)arg;
    const struct op *ops = memory;
    struct db_fixture f;
    struct model model;
    memset(&model, 0, sizeof model);
    db_fixture_open(&f);
    bool right = true;
    for (size_t n = 0; right && n < count; n++)
        right = op_run(&f, &model, &ops[n], report);
    if (right)
        right = all_compare(&f, &model, report);
    if (right && restart(&f, false, 0) != 0)
        right = model_differs(report, "it does not open at the end");
    if (right)
        right = all_compare(&f, &model, report);
    if (f.io != NULL)
        db_fixture_close(&f);
    return right;
}

static const struct model_test test = {.op_bytes = sizeof(struct op),
                                       .op_choose = op_choose,
                                       .run = run,
                                       .op_print = op_print,
                                       .apart = true};

static void the_catalog_is_what_the_changes_have_made_of_it(void **state)
{
    (void)state;
    assert_true(model_check(&test, test_seed(), SEQUENCES, OPS_MAX));
}

int main(void)
{
    log_level_set(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_catalog_is_what_the_changes_have_made_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
