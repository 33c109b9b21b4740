/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Indexes of random definitions against a sorted array: parts over fields, paths and elements, up and
 * down, with and without nil, under a condition; made before and after the rows, also while others
 * write; random rows, random scans with every iterator and partial keys. What fails is shrunk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/model.h"
#include "base/test_seed.h"
#include "db/db_fixture.h"
#include "db/db_private.h"

enum { KEYS = 12, LIST_MAX = 3, PARTS_MAX = 2, SEQUENCES = 60, OPS_MAX = 60, TEXT = 512 };
enum { ENTRIES_MAX = KEYS * LIST_MAX };

static struct db_fixture f;

/* 0 is nil, 1 to 4 are the numbers 0 to 3, 5 to 7 the strings "a" to "c": in order. */
enum { VALUES = 8 };

enum source { WHOLE, PATH, EACH, SOURCES };

struct part {
    uint8_t source;
    bool descending, exclude_null;
};

struct definition {
    struct part parts[PARTS_MAX];
    uint8_t part_count;
    uint8_t at_least; /* a condition: the whole field is a number of at least this; 0: none */
};

struct model_row {
    bool present;
    uint8_t whole, path, list[LIST_MAX], list_count;
};

enum kind { DEFINE, WRITE, DELETE, SCAN, KINDS };

struct op {
    uint8_t kind, key, iterator, given; /* how many parts of a key are given */
    uint8_t values[PARTS_MAX];
    struct row_given {
        uint8_t whole, path, list[LIST_MAX], list_count;
    } row;
    struct definition definition;
};

struct expected {
    uint8_t values[PARTS_MAX], key;
};

static struct definition_state {
    struct definition definition;
    bool there;
} now;

/* ---- text ---- */

static const char *value_text(uint8_t value)
{
    static const char *const texts[VALUES] = {"null", "0",     "1",     "2",
                                              "3",    "\"a\"", "\"b\"", "\"c\""};
    return texts[value];
}

static void definition_text(const struct definition *definition, char *out, size_t size)
{
    static const char *const fields[SOURCES] = {"2", "\"[3].a\"", "\"[4][*]\""};
    size_t at = (size_t)snprintf(out, size, "{\"unique\": false, \"parts\": [");
    for (unsigned i = 0; i < definition->part_count; i++) {
        const struct part *part = &definition->parts[i];
        at += (size_t)snprintf(out + at, size - at,
                               "%s{\"field\": %s, \"type\": \"scalar\", \"is_nullable\": true, "
                               "\"exclude_null\": %s, \"sort_order\": \"%s\"}",
                               i > 0 ? ", " : "", fields[part->source],
                               part->exclude_null ? "true" : "false",
                               part->descending ? "desc" : "asc");
    }
    at += (size_t)snprintf(out + at, size - at, "]");
    if (definition->at_least > 0)
        at += (size_t)snprintf(out + at, size - at, ", \"condition\": [2, \">=\", %u]",
                               definition->at_least - 1);
    snprintf(out + at, size - at, "}");
}

static void row_text(unsigned key, const struct row_given *row, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "[%u, %s, {\"a\": %s}, [", key, value_text(row->whole),
                                 value_text(row->path));
    for (unsigned i = 0; i < row->list_count; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i > 0 ? ", " : "",
                               value_text(row->list[i]));
    snprintf(out + at, size - at, "]]");
}

static void key_text(const struct op *op, unsigned given, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "[");
    for (unsigned i = 0; i < given; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i > 0 ? ", " : "",
                               value_text(op->values[i]));
    snprintf(out + at, size - at, "]");
}

/* ---- the model ---- */

static int parts_compare(const struct definition *definition, const uint8_t *a, const uint8_t *b,
                         unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (a[i] != b[i])
            return (a[i] < b[i]) != definition->parts[i].descending ? -1 : 1;
    return 0;
}

static int expected_order(const void *one, const void *other)
{
    const struct expected *a = one, *b = other;
    int order = parts_compare(&now.definition, a->values, b->values, now.definition.part_count);
    return order != 0 ? order : (a->key > b->key) - (a->key < b->key);
}

/* The keys that a row has in the index. */
static size_t row_entries(const struct model_row *row, unsigned key, struct expected *out)
{
    const struct definition *definition = &now.definition;
    bool each = false, number = row->whole >= 1 && row->whole <= 4;
    size_t count = 0;
    if (definition->at_least > 0 && (!number || row->whole < definition->at_least))
        return 0;
    for (unsigned i = 0; i < definition->part_count; i++)
        each = each || definition->parts[i].source == EACH;
    for (unsigned n = 0; n < (each ? row->list_count : 1u); n++) {
        struct expected entry = {.key = (uint8_t)key};
        bool excluded = false, again = false;
        for (unsigned i = 0; i < definition->part_count; i++) {
            const struct part *part = &definition->parts[i];
            entry.values[i] = part->source == WHOLE  ? row->whole
                              : part->source == PATH ? row->path
                                                     : row->list[n];
            excluded = excluded || (part->exclude_null && entry.values[i] == 0);
        }
        for (size_t k = 0; k < count; k++)
            again = again || memcmp(&out[k], &entry, sizeof entry) == 0;
        if (!excluded && !again)
            out[count++] = entry;
    }
    return count;
}

static bool wanted(const struct op *op, unsigned given, const struct expected *entry)
{
    int order = parts_compare(&now.definition, entry->values, op->values, given);
    if (given == 0)
        return true;
    switch ((enum space_iterator)op->iterator) {
    case ITERATOR_EQ:
    case ITERATOR_REQ:
        return order == 0;
    case ITERATOR_GT:
        return order > 0;
    case ITERATOR_LT:
        return order < 0;
    case ITERATOR_LE:
        return order <= 0;
    default:
        return order >= 0;
    }
}

static void scan_expected(const struct model_row *rows, const struct op *op, unsigned given,
                          char *out)
{
    struct expected entries[ENTRIES_MAX];
    size_t count = 0, at = 0;
    bool backward =
        op->iterator == ITERATOR_REQ || op->iterator == ITERATOR_LT || op->iterator == ITERATOR_LE;
    for (unsigned key = 0; key < KEYS; key++)
        if (rows[key].present)
            count += row_entries(&rows[key], key, entries + count);
    qsort(entries, count, sizeof *entries, expected_order);
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        const struct expected *entry = &entries[backward ? count - 1 - i : i];
        if (wanted(op, given, entry))
            at += (size_t)snprintf(out + at, TEXT - at, "%u ", entry->key);
    }
}

/* ---- the thing ---- */

static bool scan_found(const struct op *op, unsigned given, char *out)
{
    char key[64];
    struct space_cursor cursor;
    struct tuple_ref tuple;
    size_t at = 0;
    struct txn *txn = begin_readonly(&f, 0);
    key_text(op, given, key, sizeof key);
    int rc = space_cursor_open(&cursor, txn, index_of(&f, txn, "s", "i"),
                               (enum space_iterator)op->iterator, mp_of(key, NULL));
    out[0] = '\0';
    while (rc == 0 && (rc = space_cursor_next(&cursor, &tuple)) == 0) {
        const char *id = mp_array_at(tuple.data, 0);
        at += (size_t)snprintf(out + at, TEXT - at, "%u ", (unsigned)mp_decode_uint(&id));
    }
    txn_rollback(txn);
    return rc == ERROR_END;
}

static bool define(const struct op *op, struct model_report *report)
{
    char text[TEXT];
    if (now.there && drop_index(&f, "s", "i") != 0)
        return model_differs(report, "the index is not dropped: %s", diag_message());
    now.definition = op->definition;
    now.there = true;
    definition_text(&op->definition, text, sizeof text);
    f.db->online_rows_min = op->key % 2 == 0 ? 1 : 1000;
    return make_index(&f, "s", "i", text) == 0 ||
           model_differs(report, "%s: %s", text, diag_message());
}

static bool apply(struct model_row *rows, const struct op *op, struct model_report *report)
{
    char text[TEXT], expected[TEXT];
    struct model_row *row = &rows[op->key];
    switch ((enum kind)op->kind) {
    case DEFINE:
        return define(op, report);
    case WRITE:
        row_text(op->key, &op->row, text, sizeof text);
        *row = (struct model_row){true, op->row.whole, op->row.path, {0}, op->row.list_count};
        memcpy(row->list, op->row.list, sizeof row->list);
        return replace(&f, NULL, "s", text) == 0 ||
               model_differs(report, "%s: %s", text, diag_message());
    case DELETE:
        snprintf(text, sizeof text, "[%u]", op->key);
        row->present = false;
        return delete_by(&f, NULL, "s", "pk", text) == 0 || model_differs(report, "delete fails");
    default:
        break;
    }
    unsigned given = op->given < now.definition.part_count ? op->given : now.definition.part_count;
    if (!now.there)
        return true;
    scan_expected(rows, op, given, expected);
    if (!scan_found(op, given, text))
        return model_differs(report, "scan fails: %s", diag_message());
    return strcmp(text, expected) == 0 ||
           model_differs(report, "found %sexpected %s", text, expected);
}

static bool run(const void *all, size_t count, struct model_report *report, void *unused)
{
    (void)unused;
    const struct op *ops = all;
    struct model_row rows[KEYS];
    bool right = true;
    memset(rows, 0, sizeof rows);
    if (space_of(&f, NULL, "s") != NULL)
        assert_int_equal(drop_space(&f, "s"), 0);
    assert_int_equal(make_space(&f, "s", NULL), 0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    now.there = false;
    for (size_t n = 0; right && n < count; n++)
        right = apply(rows, &ops[n], report);
    return right;
}

static void op_choose(struct random *random, void *arg, void *unused)
{
    (void)unused;
    static const uint8_t kinds[] = {DEFINE, WRITE, WRITE, WRITE, DELETE,
                                    SCAN,   SCAN,  SCAN,  SCAN,  SCAN};
    struct op *op = arg;
    op->kind = kinds[random_below(random, sizeof kinds)];
    op->key = (uint8_t)random_below(random, KEYS);
    op->iterator = (uint8_t)random_below(random, ITERATOR_GT + 1);
    op->given = (uint8_t)random_below(random, PARTS_MAX + 1);
    for (unsigned i = 0; i < PARTS_MAX; i++)
        op->values[i] = (uint8_t)random_below(random, VALUES);
    op->row.whole = (uint8_t)random_below(random, VALUES);
    op->row.path = (uint8_t)random_below(random, VALUES);
    op->row.list_count = (uint8_t)random_below(random, LIST_MAX + 1);
    for (unsigned i = 0; i < LIST_MAX; i++)
        op->row.list[i] = (uint8_t)random_below(random, VALUES);
    struct definition *definition = &op->definition;
    definition->part_count = (uint8_t)(1 + random_below(random, PARTS_MAX));
    unsigned first = (unsigned)random_below(random, SOURCES);
    for (unsigned i = 0; i < PARTS_MAX; i++) {
        definition->parts[i].source = (uint8_t)((first + i) % SOURCES);
        definition->parts[i].descending = random_below(random, 2) == 0;
        definition->parts[i].exclude_null = random_below(random, 4) == 0;
    }
    definition->at_least =
        random_below(random, 3) == 0 ? (uint8_t)(1 + random_below(random, 4)) : 0;
}

static void op_print(FILE *out, const void *arg, void *unused)
{
    (void)unused;
    static const char *const iterators[] = {"EQ", "REQ", "ALL", "LT", "LE", "GE", "GT"};
    const struct op *op = arg;
    char text[TEXT];
    if (op->kind == DEFINE) {
        definition_text(&op->definition, text, sizeof text);
        fprintf(out, "index %s, %s", text, op->key % 2 == 0 ? "beside writers" : "in the gate");
    } else if (op->kind == WRITE) {
        row_text(op->key, &op->row, text, sizeof text);
        fprintf(out, "replace %s", text);
    } else if (op->kind == DELETE) {
        fprintf(out, "delete %u", op->key);
    } else {
        key_text(op, op->given, text, sizeof text);
        fprintf(out, "scan %s %s", iterators[op->iterator], text);
    }
}

static void an_index_is_what_a_sorted_array_of_its_keys_is(void **state)
{
    (void)state;
    const struct model_test test = {
        .op_bytes = sizeof(struct op), .op_choose = op_choose, .run = run, .op_print = op_print};
    const char *sequences = getenv("PERIGEE_MODEL_SEQUENCES");
    db_fixture_open(&f);
    assert_true(model_check(&test, test_seed(),
                            sequences == NULL ? SEQUENCES : (size_t)atoi(sequences), OPS_MAX));
    db_fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_is_what_a_sorted_array_of_its_keys_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
