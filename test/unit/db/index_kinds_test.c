/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kinds of indexes: paths, several keys a tuple, descending parts, parts that exclude nil, functions,
 * conditions; what they hold after writes, in other transactions, after a restart; what definitions
 * are refused. Lua is played by functions of this test, so that only db is asked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/db_fixture.h"

static struct db_fixture f;

/* "lower 2": the second field in lower case; "words 2": its words, each a key; "large 3": whether the
 * third is at least 100; "inverse 3": 1 / the third, an error for 0; "other 1": another number each
 * time. */
static int evaluate(void *arg, const struct expression *expression, const struct space *space,
                    const char *tuple, struct mp_buffer *out)
{
    (void)arg, (void)space;
    const char *text = strchr(expression->text, ' ');
    const char *value = mp_array_at(tuple, (uint32_t)atoi(text) - 1);
    mp_put_array(out, 1);
    if (value == NULL || mp_typeof(*value) == MP_NIL) {
        mp_put_nil(out);
        return 0;
    }
    if (strncmp(expression->text, "other", 5) == 0) {
        static uint64_t calls;
        mp_put_uint(out, ++calls);
        return 0;
    }
    if (strncmp(expression->text, "inverse", 7) == 0) {
        uint64_t number = mp_decode_uint(&value);
        if (number == 0)
            return diag_set(ERROR_LUA, "attempt to divide by zero");
        mp_put_double(out, 1.0 / (double)number);
        return 0;
    }
    if (strncmp(expression->text, "large", 5) == 0) {
        mp_put_bool(out, mp_decode_uint(&value) >= 100);
        return 0;
    }
    uint32_t size;
    const char *string = mp_decode_str(&value, &size);
    char lower[256];
    for (uint32_t i = 0; i < size; i++)
        lower[i] = (char)tolower((unsigned char)string[i]);
    if (strncmp(expression->text, "lower", 5) == 0) {
        mp_put_array(out, 1);
        mp_put_str(out, lower, size);
        return 0;
    }
    lower[size] = '\0';
    struct mp_buffer words;
    uint32_t count = 0;
    mp_buffer_create(&words);
    for (char *save, *word = strtok_r(lower, " ", &save); word != NULL;
         word = strtok_r(NULL, " ", &save), count++) {
        mp_put_array(&words, 1);
        mp_put_str(&words, word, strlen(word));
    }
    mp_put_array(out, count);
    mp_put_raw(out, words.data, words.size);
    mp_buffer_destroy(&words);
    return 0;
}

static int check(void *arg, const struct expression *expression)
{
    (void)arg;
    return strchr(expression->text, ' ') != NULL ? 0 : diag_set(ERROR_LUA, "it does not compile");
}

static const struct db_expressions expressions = {evaluate, check, NULL};

static int open(void **state)
{
    (void)state;
    memset(&f, 0, sizeof f);
    f.disk = disk_new(1);
    f.expressions = &expressions;
    assert_int_equal(db_fixture_start(&f, false), 0);
    assert_int_equal(
        make_space(&f, "s",
                   "{\"format\": [[\"id\", \"unsigned\"], [\"data\", \"any\"], "
                   "{\"name\": \"n\", \"type\": \"unsigned\", \"is_nullable\": true}]}"),
        0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    return 0;
}

static int close(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

static void index_make(const char *name, const char *options)
{
    int rc = make_index(&f, "s", name, options);
    if (rc != 0)
        fail_msg("%s: %d: %s", options, rc, diag_message_for(rc));
}

static void add(const char *tuple)
{
    int rc = replace(&f, NULL, "s", tuple);
    if (rc != 0)
        fail_msg("%s: %d: %s", tuple, rc, diag_message_for(rc));
}

static const char *all_of(const char *index, const char *key)
{
    return select_by(&f, NULL, "s", index, ITERATOR_EQ, key);
}

static void a_path_leads_into_maps_and_arrays(void **state)
{
    (void)state;
    index_make("city", "{\"parts\": [[\"data.address.city\", \"string\"]], \"unique\": false}");
    index_make("first", "{\"parts\": [{\"field\": 2, \"path\": \"tags[1]\", \"type\": \"string\", "
                        "\"is_nullable\": true}], \"unique\": false}");
    add("[1, {\"address\": {\"city\": \"Rome\"}, \"tags\": [\"a\", \"b\"]}]");
    add("[2, {\"address\": {\"city\": \"Oslo\"}}]");
    assert_string_equal(all_of("city", "[\"Oslo\"]"), "[2,{\"address\":{\"city\":\"Oslo\"}}]");
    assert_string_equal(all_of("first", "[null]"), "[2,{\"address\":{\"city\":\"Oslo\"}}]");
    assert_string_equal(all_of("first", "[\"a\"]"),
                        "[1,{\"address\":{\"city\":\"Rome\"},\"tags\":[\"a\",\"b\"]}]");
    assert_int_equal(replace(&f, NULL, "s", "[3, {\"address\": {}}]"), ERROR_SCHEMA);
    assert_non_null(strstr(diag_message(), "address.city"));
    assert_int_equal(replace(&f, NULL, "s", "[3, {\"address\": {\"city\": 7}}]"), ERROR_SCHEMA);
    assert_null(get_by(&f, NULL, "s", "pk", "[3]"));
}

static void each_element_of_a_multikey_part_leads_to_the_row(void **state)
{
    (void)state;
    index_make("tag", "{\"parts\": [{\"field\": \"data[*]\", \"type\": \"string\"}], "
                      "\"unique\": false}");
    add("[1, [\"x\", \"y\", \"x\"]]");
    add("[2, [\"y\", \"z\"]]");
    add("[3, []]");
    assert_string_equal(all_of("tag", "[\"y\"]"), "[1,[\"x\",\"y\",\"x\"]] [2,[\"y\",\"z\"]]");
    assert_string_equal(all_of("tag", "[\"x\"]"), "[1,[\"x\",\"y\",\"x\"]]");
    assert_string_equal(select_by(&f, NULL, "s", "tag", ITERATOR_ALL, NULL),
                        "[1,[\"x\",\"y\",\"x\"]] [1,[\"x\",\"y\",\"x\"]] [2,[\"y\",\"z\"]] "
                        "[2,[\"y\",\"z\"]]");
    add("[1, [\"z\", \"w\"]]");
    assert_string_equal(all_of("tag", "[\"y\"]"), "[2,[\"y\",\"z\"]]");
    assert_string_equal(all_of("tag", "[\"w\"]"), "[1,[\"z\",\"w\"]]");
    assert_int_equal(replace(&f, NULL, "s", "[4, [\"a\", 7]]"), ERROR_SCHEMA);
    assert_int_equal(replace(&f, NULL, "s", "[4, null]"), ERROR_SCHEMA);
    assert_string_equal(all_of("tag", "[\"a\"]"), "");
    db_settle(&f);
    assert_int_equal(tree_count(index_of(&f, NULL, "s", "tag")->scan.tree), 4);
    db_fixture_reopen(&f);
    assert_string_equal(all_of("tag", "[\"z\"]"), "[1,[\"z\",\"w\"]] [2,[\"y\",\"z\"]]");
}

static void a_unique_multikey_index_refuses_a_key_of_another_row(void **state)
{
    (void)state;
    index_make("sku", "{\"parts\": [{\"field\": \"data\", \"path\": \"items[*].sku\", \"type\": "
                      "\"unsigned\", \"exclude_null\": true}]}");
    add("[1, {\"items\": [{\"sku\": 7}, {\"sku\": 8}, {}]}]");
    add("[2, {\"items\": [{\"sku\": 9}]}]");
    add("[3, {\"other\": 1}]");
    assert_int_equal(replace(&f, NULL, "s", "[4, {\"items\": [{\"sku\": 1}, {\"sku\": 8}]}]"),
                     ERROR_DUPLICATE);
    assert_null(get_by(&f, NULL, "s", "sku", "[1]"));
    assert_string_equal(get_by(&f, NULL, "s", "sku", "[9]"), "[2,{\"items\":[{\"sku\":9}]}]");
    add("[1, {\"items\": [{\"sku\": 8}]}]");
    add("[2, {\"items\": [{\"sku\": 7}]}]");
    assert_int_equal(delete_by(&f, NULL, "s", "sku", "[8]"), 0);
    assert_null(get_by(&f, NULL, "s", "pk", "[1]"));
}

static void parts_go_down_and_up_together(void **state)
{
    (void)state;
    index_make("mixed",
               "{\"parts\": [{\"field\": 2, \"type\": \"string\", \"sort_order\": "
               "\"desc\"}, {\"field\": 3, \"type\": \"unsigned\", \"is_nullable\": true}], "
               "\"unique\": false}");
    add("[1, \"a\", 5]");
    add("[2, \"ab\", 1]");
    add("[3, \"ab\", 7]");
    add("[4, \"b\"]");
    add("[5, \"\", 2]");
    assert_string_equal(select_by(&f, NULL, "s", "mixed", ITERATOR_ALL, NULL),
                        "[4,\"b\"] [2,\"ab\",1] [3,\"ab\",7] [1,\"a\",5] [5,\"\",2]");
    assert_string_equal(select_by(&f, NULL, "s", "mixed", ITERATOR_GT, "[\"ab\"]"),
                        "[1,\"a\",5] [5,\"\",2]");
    assert_string_equal(select_by(&f, NULL, "s", "mixed", ITERATOR_LE, "[\"ab\"]"),
                        "[3,\"ab\",7] [2,\"ab\",1] [4,\"b\"]");
    assert_string_equal(all_of("mixed", "[\"ab\"]"), "[2,\"ab\",1] [3,\"ab\",7]");
}

static void a_part_may_exclude_rows_with_nil(void **state)
{
    (void)state;
    index_make("n", "{\"parts\": [{\"field\": \"n\", \"exclude_null\": true}]}");
    add("[1, 0, 10]");
    add("[2, 0, null]");
    add("[3, 0]");
    assert_string_equal(select_by(&f, NULL, "s", "n", ITERATOR_ALL, NULL), "[1,0,10]");
    add("[1, 0]");
    add("[2, 0, 10]");
    assert_string_equal(select_by(&f, NULL, "s", "n", ITERATOR_ALL, NULL), "[2,0,10]");
}

static void a_function_gives_the_key(void **state)
{
    (void)state;
    index_make("lower", "{\"func\": \"lower 2\", \"parts\": [[1, \"string\"]]}");
    add("[1, \"Ada\"]");
    add("[2, \"BOB\"]");
    assert_string_equal(get_by(&f, NULL, "s", "lower", "[\"ada\"]"), "[1,\"Ada\"]");
    assert_int_equal(replace(&f, NULL, "s", "[3, \"bob\"]"), ERROR_DUPLICATE);
    add("[2, \"Bob\"]");
    add("[1, \"Eve\"]");
    assert_null(get_by(&f, NULL, "s", "lower", "[\"ada\"]"));
    assert_string_equal(get_by(&f, NULL, "s", "lower", "[\"bob\"]"), "[2,\"Bob\"]");
    db_fixture_reopen(&f);
    assert_string_equal(get_by(&f, NULL, "s", "lower", "[\"eve\"]"), "[1,\"Eve\"]");
}

static void a_function_may_give_several_keys(void **state)
{
    (void)state;
    index_make("word", "{\"func\": \"words 2\", \"is_multikey\": true, \"unique\": false, "
                       "\"parts\": [[1, \"string\"]]}");
    add("[1, \"the cat the dog\"]");
    add("[2, \"a Dog\"]");
    assert_string_equal(all_of("word", "[\"dog\"]"), "[1,\"the cat the dog\"] [2,\"a Dog\"]");
    assert_string_equal(all_of("word", "[\"the\"]"), "[1,\"the cat the dog\"]");
}

/* Its entries are not found again: they stay, and the row with them, until the index goes. */
static void a_function_that_is_none_does_no_harm(void **state)
{
    (void)state;
    index_make("other", "{\"func\": \"other 1\", \"unique\": false}");
    add("[1, \"a\"]");
    add("[1, \"b\"]");
    add("[2, \"b\"]");
    assert_int_equal(delete_by(&f, NULL, "s", "pk", "[1]"), 0);
    assert_int_equal(delete_by(&f, NULL, "s", "pk", "[2]"), 0);
    db_settle(&f);
    struct tree *rows = index_of(&f, NULL, "s", "pk")->scan.tree;
    assert_int_equal(tree_count(rows), 2);
    assert_string_equal(select_by(&f, NULL, "s", "other", ITERATOR_ALL, NULL), "");
    assert_int_equal(drop_index(&f, "s", "other"), 0);
    for (unsigned i = 0; i < 100 && tree_count(rows) > 0; i++)
        db_settle(&f); /* the entries are freed by another thread */
    assert_int_equal(tree_count(rows), 0);
}

static void a_function_that_fails_refuses_the_statement(void **state)
{
    (void)state;
    index_make("inverse",
               "{\"func\": \"inverse 3\", \"parts\": [[1, \"number\"]], \"unique\": false}");
    add("[1, 0, 4]");
    assert_int_equal(replace(&f, NULL, "s", "[2, 0, 0]"), ERROR_LUA);
    assert_non_null(strstr(diag_message(), "index \"inverse\" of space \"s\", row {2}"));
    assert_non_null(strstr(diag_message(), "divide by zero"));
    assert_null(get_by(&f, NULL, "s", "pk", "[2]"));
    assert_string_equal(all_of("inverse", "[0.25]"), "[1,0,4]");
    assert_int_equal(drop_index(&f, "s", "inverse"), 0);
    add("[7, 0, 0]");
    assert_int_equal(make_index(&f, "s", "again", "{\"func\": \"inverse 3\"}"), ERROR_LUA);
    assert_non_null(strstr(diag_message(), "row {7}"));
    assert_null(space_index(space_of(&f, NULL, "s"), "again", 5));
}

static void a_partial_index_has_the_rows_of_its_condition(void **state)
{
    (void)state;
    index_make("open", "{\"parts\": [\"n\"], \"condition\": [\"data\", \"==\", \"open\"]}");
    index_make("large", "{\"parts\": [\"n\"], \"condition\": \"large 3\", \"unique\": false}");
    add("[1, \"open\", 5]");
    add("[2, \"done\", 5]");
    add("[3, \"done\", 500]");
    assert_int_equal(replace(&f, NULL, "s", "[4, \"open\", 5]"), ERROR_DUPLICATE);
    assert_string_equal(select_by(&f, NULL, "s", "open", ITERATOR_ALL, NULL), "[1,\"open\",5]");
    assert_string_equal(select_by(&f, NULL, "s", "large", ITERATOR_ALL, NULL), "[3,\"done\",500]");
    add("[1, \"done\", 5]");
    add("[2, \"open\", 700]");
    assert_string_equal(select_by(&f, NULL, "s", "open", ITERATOR_ALL, NULL), "[2,\"open\",700]");
    assert_string_equal(select_by(&f, NULL, "s", "large", ITERATOR_ALL, NULL),
                        "[3,\"done\",500] [2,\"open\",700]");
    db_fixture_reopen(&f);
    assert_string_equal(select_by(&f, NULL, "s", "open", ITERATOR_ALL, NULL), "[2,\"open\",700]");
}

static void terms_compare_as_an_index_has_values_in_order(void **state)
{
    (void)state;
    static const struct {
        const char *condition, *rows;
    } cases[] = {
        {"[\"n\", \">=\", 10]", "[2,\"b\",10] [3,null,20]"},
        {"[\"n\", \"<\", 10.5]", "[1,\"a\",5] [2,\"b\",10]"},
        {"[\"n\", \"~=\", 10]", "[1,\"a\",5] [3,null,20] [4,{\"x\":{\"y\":1}}]"},
        {"[\"n\", \"==\", null]", "[4,{\"x\":{\"y\":1}}]"},
        {"[\"data\", \"<=\", \"a\"]", "[1,\"a\",5]"},
        {"[\"data.x.y\", \"==\", 1]", "[4,{\"x\":{\"y\":1}}]"},
        {"[[\"n\", \">\", 5], [2, \"~=\", null]]", "[2,\"b\",10]"},
    };
    add("[1, \"a\", 5]");
    add("[2, \"b\", 10]");
    add("[3, null, 20]");
    add("[4, {\"x\": {\"y\": 1}}]");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char options[256];
        snprintf(options, sizeof options, "{\"parts\": [1], \"condition\": %s}",
                 cases[i].condition);
        index_make("c", options);
        assert_string_equal(select_by(&f, NULL, "s", "c", ITERATOR_ALL, NULL), cases[i].rows);
        assert_int_equal(drop_index(&f, "s", "c"), 0);
    }
}

static void definitions_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *options, *message;
        int code;
    } cases[] = {
        {"{\"parts\": [\"data.\"]}", "is no path", ERROR_INVALID},
        {"{\"parts\": [\"id.x\"]}", "nothing is below it", ERROR_SCHEMA},
        {"{\"parts\": [{\"field\": \"data\", \"path\": \"a[*].b[*]\"}]}", "is no path",
         ERROR_INVALID},
        {"{\"parts\": [\"data.a[*]\", \"data.b[*]\"]}", "one and the same array", ERROR_INVALID},
        {"{\"parts\": [\"data.a\", \"data.a\"]}", "twice", ERROR_INVALID},
        {"{\"parts\": [{\"field\": 1, \"sort_order\": \"up\"}]}", "sort_order", ERROR_INVALID},
        {"{\"parts\": [{\"field\": 1, \"colour\": 1}]}", "sort_order", ERROR_INVALID},
        {"{\"func\": \"nothing\"}", "no function \"nothing\"", ERROR_NOT_FOUND},
        {"{\"func\": \"lower(2)\"}", "does not compile", ERROR_LUA},
        {"{\"func\": \"lower 2\", \"parts\": [\"data\"]}", "number of a value", ERROR_INVALID},
        {"{\"is_multikey\": true}", "is_multikey", ERROR_INVALID},
        {"{\"condition\": 5}", "Lua text", ERROR_INVALID},
        {"{\"condition\": [\"n\", \"=>\", 5]}", "operator", ERROR_INVALID},
        {"{\"condition\": [\"n\", \"==\"]}", "operator, value", ERROR_INVALID},
        {"{\"condition\": [\"n\", \"==\", [1]]}", "scalar", ERROR_INVALID},
        {"{\"condition\": [\"m\", \"==\", 1]}", "no field \"m\"", ERROR_INVALID},
        {"{\"covers\": [\"m\"]}", "no field \"m\"", ERROR_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int rc = make_index(&f, "s", "i", cases[i].options);
        if (rc != cases[i].code || strstr(diag_message(), cases[i].message) == NULL)
            fail_msg("%s: %d: %s", cases[i].options, rc, diag_message_for(rc));
    }
    static const char *const primaries[] = {
        "{\"parts\": [{\"field\": 1, \"is_nullable\": true}]}", "{\"parts\": [\"[2][*]\"]}",
        "{\"func\": \"lower 2\"}", "{\"condition\": [1, \"==\", 1]}", "{\"unique\": false}"};
    assert_int_equal(make_space(&f, "t", NULL), 0);
    for (size_t i = 0; i < sizeof primaries / sizeof *primaries; i++)
        assert_int_equal(make_index(&f, "t", "pk", primaries[i]), ERROR_SCHEMA);
    assert_int_equal(space_of(&f, NULL, "s")->index_count, 1);
}

static void a_range_of_such_an_index_is_validated(void **state)
{
    (void)state;
    static const char *const kinds[] = {
        "{\"parts\": [{\"field\": \"data[*]\", \"type\": \"string\"}], \"unique\": false}",
        "{\"func\": \"large 3\", \"unique\": false, \"parts\": [[1, \"boolean\"]]}",
        "{\"parts\": [\"id\"], \"condition\": [\"n\", \">=\", 100]}"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        index_make("i", kinds[i]);
        add("[1, [\"a\"], 1]");
        add("[3, [], 0]");
        struct txn *txn = begin(&f, 1, TXN_SERIALIZABLE);
        select_by(&f, txn, "s", "i", ITERATOR_ALL, NULL);
        assert_int_equal(insert(&f, txn, "s", "[9, [], 0]"), 0);
        add("[2, [\"b\"], 200]"); /* a row that would have been seen */
        assert_int_equal(txn_commit(txn), ERROR_CONFLICT);
        txn = begin(&f, 1, TXN_SERIALIZABLE);
        select_by(&f, txn, "s", "i", ITERATOR_ALL, NULL);
        assert_int_equal(insert(&f, txn, "s", "[9, [], 0]"), 0);
        add("[1, [\"c\"], 300]"); /* one that was there comes in under another key */
        assert_int_equal(txn_commit(txn), ERROR_CONFLICT);
        assert_int_equal(delete_by(&f, NULL, "s", "pk", "[2]"), 0);
        assert_int_equal(drop_index(&f, "s", "i"), 0);
    }
}

static void rows_are_picked_at_random_and_by_rank(void **state)
{
    (void)state;
    struct tuple_ref tuple;
    struct txn *txn = begin_readonly(&f, 1);
    assert_int_equal(space_index_random(txn, index_of(&f, txn, "s", "pk"), 7, &tuple), 0);
    assert_null(tuple.data);
    assert_int_equal(space_quantile(txn, index_of(&f, txn, "s", "pk"), 0.5, NULL, NULL, &tuple), 0);
    assert_null(tuple.data);
    txn_rollback(txn);
    txn = begin(&f, 1, TXN_SNAPSHOT);
    for (unsigned i = 0; i < 5000; i++) {
        char text[32];
        snprintf(text, sizeof text, "[%u, \"abc\"]", i);
        assert_int_equal(insert(&f, txn, "s", text), 0);
    }
    assert_int_equal(txn_commit(txn), 0);
    assert_int_equal(space_bytes(space_of(&f, NULL, "s")), 128 * 6 + 128 * 7 + (5000 - 256) * 8);
    struct index *index = index_of(&f, NULL, "s", "pk");
    assert_int_equal(space_index_stats(index).entries, 5000);
    assert_true(space_index_bytes(index) > 5000 * 8);
    txn = begin_readonly(&f, 1);
    index = index_of(&f, txn, "s", "pk");
    unsigned parts[4] = {0};
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(space_index_random(txn, index, i * UINT64_C(0x9e3779b97f4a7c15), &tuple),
                         0);
        const char *id = mp_array_at(tuple.data, 0);
        parts[mp_decode_uint(&id) / 1250]++;
    }
    for (unsigned i = 0; i < 4; i++)
        assert_in_range(parts[i], 100, 500);
    assert_int_equal(
        space_quantile(txn, index, 0.25, mp_of("[1000]", NULL), mp_of("[2000]", NULL), &tuple), 0);
    const char *id = mp_array_at(tuple.data, 0);
    assert_int_equal(mp_decode_uint(&id), 1250); /* of few rows exactly */
    assert_int_equal(space_quantile(txn, index, 0.5, NULL, NULL, &tuple), 0);
    id = mp_array_at(tuple.data, 0);
    assert_in_range(mp_decode_uint(&id), 2000, 3000);
    assert_int_equal(space_quantile(txn, index, 1.5, NULL, NULL, &tuple), ERROR_INVALID);
    txn_rollback(txn);
    txn = begin(&f, 1, TXN_SNAPSHOT);
    for (unsigned i = 1; i < 5000; i++) {
        char text[32];
        snprintf(text, sizeof text, "[%u]", i);
        assert_int_equal(delete_by(&f, txn, "s", "pk", text), 0);
    }
    assert_int_equal(txn_commit(txn), 0);
    assert_int_equal(space_bytes(space_of(&f, NULL, "s")), 6);
    txn = begin_readonly(&f, 1);
    index = index_of(&f, txn, "s", "pk");
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(space_index_random(txn, index, i, &tuple), 0);
        assert_non_null(tuple.data); /* the one that is left, past what is not seen */
    }
    txn_rollback(txn);
    db_fixture_reopen(&f);
    assert_int_equal(space_bytes(space_of(&f, NULL, "s")), 6);
}

static void a_hash_index_finds_whole_keys_and_refuses_ranges(void **state)
{
    (void)state;
    assert_int_equal(make_space(&f, "h", NULL), 0);
    assert_int_equal(make_index(&f, "h", "pk", "{\"type\": \"hash\"}"), 0);
    assert_int_equal(
        make_index(&f, "h", "name", "{\"type\": \"hash\", \"parts\": [[2, \"string\"]]}"), 0);
    assert_int_equal(make_index(&f, "h", "n",
                                "{\"type\": \"hash\", \"parts\": [{\"field\": 3, "
                                "\"type\": \"unsigned\", \"is_nullable\": true}]}"),
                     ERROR_SCHEMA);
    assert_int_equal(replace(&f, NULL, "h", "[1, \"a\"]"), 0);
    assert_int_equal(replace(&f, NULL, "h", "[2, \"b\"]"), 0);
    assert_int_equal(replace(&f, NULL, "h", "[3, \"b\"]"), ERROR_DUPLICATE);
    assert_string_equal(get_by(&f, NULL, "h", "pk", "[1]"), "[1,\"a\"]");
    assert_string_equal(get_by(&f, NULL, "h", "name", "[\"b\"]"), "[2,\"b\"]");
    assert_null(get_by(&f, NULL, "h", "name", "[\"c\"]"));
    struct txn *txn = begin(&f, 1, TXN_SERIALIZABLE); /* names change hands */
    assert_int_equal(replace(&f, txn, "h", "[1, \"c\"]"), 0);
    assert_int_equal(replace(&f, txn, "h", "[2, \"a\"]"), 0);
    assert_string_equal(get_by(&f, txn, "h", "name", "[\"a\"]"), "[2,\"a\"]");
    assert_string_equal(get_by(&f, NULL, "h", "name", "[\"a\"]"), "[1,\"a\"]");
    assert_int_equal(txn_commit(txn), 0);
    assert_string_equal(get_by(&f, NULL, "h", "name", "[\"a\"]"), "[2,\"a\"]");
    assert_null(get_by(&f, NULL, "h", "name", "[\"b\"]"));
    db_settle(&f);
    assert_string_equal(get_by(&f, NULL, "h", "name", "[\"c\"]"), "[1,\"c\"]");
    assert_int_equal(strlen(select_by(&f, NULL, "h", "name", ITERATOR_ALL, NULL)),
                     strlen("[1,\"c\"] [2,\"a\"]"));
    static const enum space_iterator ranges[] = {ITERATOR_GT, ITERATOR_GE, ITERATOR_LT, ITERATOR_LE,
                                                 ITERATOR_REQ};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        assert_string_equal(select_by(&f, NULL, "h", "name", ranges[i], "[\"a\"]"), "error");
        assert_non_null(strstr(diag_message(), "index \"name\" of space \"h\" is of type 'hash'"));
    }
    for (unsigned round = 0; round < 2; round++) {
        assert_true(tree_has_directory(index_of(&f, NULL, "h", "pk")->scan.tree));
        assert_true(tree_has_directory(index_of(&f, NULL, "h", "name")->scan.tree));
        db_fixture_reopen(&f);
    }
    assert_string_equal(get_by(&f, NULL, "h", "name", "[\"c\"]"), "[1,\"c\"]");
    assert_int_equal(truncate_space(&f, "h"), 0);
    assert_true(tree_has_directory(index_of(&f, NULL, "h", "pk")->scan.tree));
    assert_null(get_by(&f, NULL, "h", "pk", "[1]"));
    assert_int_equal(replace(&f, NULL, "h", "[1, \"b\"]"), 0);
    assert_string_equal(get_by(&f, NULL, "h", "name", "[\"b\"]"), "[1,\"b\"]");
}

/* What is found through a directory is validated as what a tree gives, and so is what is not there. */
static void a_read_through_a_directory_is_validated(void **state)
{
    (void)state;
    assert_int_equal(make_space(&f, "h", NULL), 0);
    assert_int_equal(make_index(&f, "h", "pk", "{\"type\": \"hash\"}"), 0);
    assert_int_equal(
        make_index(&f, "h", "name", "{\"type\": \"hash\", \"parts\": [[2, \"string\"]]}"), 0);
    static const struct {
        const char *index, *key, *change;
    } cases[] = {{"pk", "[1]", "[1, \"z\"]"},
                 {"name", "[\"a\"]", "[1, \"z\"]"},
                 {"pk", "[7]", "[7, \"z\"]"},
                 {"name", "[\"z\"]", "[7, \"z\"]"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(replace(&f, NULL, "h", "[1, \"a\"]"), 0);
        delete_by(&f, NULL, "h", "pk", "[7]");
        struct txn *txn = begin(&f, 1, TXN_SERIALIZABLE);
        get_by(&f, txn, "h", cases[i].index, cases[i].key);
        assert_int_equal(replace(&f, txn, "h", "[50, \"y\"]"), 0);
        assert_int_equal(replace(&f, NULL, "h", cases[i].change), 0);
        assert_int_equal(txn_commit(txn), ERROR_CONFLICT);
        txn = begin(&f, 1, TXN_SERIALIZABLE);
        get_by(&f, txn, "h", cases[i].index, cases[i].key);
        assert_int_equal(replace(&f, txn, "h", "[50, \"y\"]"), 0);
        assert_int_equal(replace(&f, NULL, "h", "[60, \"x\"]"), 0); /* another key */
        assert_int_equal(txn_commit(txn), 0);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open, close)
    const struct CMUnitTest tests[] = {
        TEST(a_path_leads_into_maps_and_arrays),
        TEST(each_element_of_a_multikey_part_leads_to_the_row),
        TEST(a_unique_multikey_index_refuses_a_key_of_another_row),
        TEST(parts_go_down_and_up_together),
        TEST(a_part_may_exclude_rows_with_nil),
        TEST(a_function_gives_the_key),
        TEST(a_function_may_give_several_keys),
        TEST(a_function_that_is_none_does_no_harm),
        TEST(a_function_that_fails_refuses_the_statement),
        TEST(a_partial_index_has_the_rows_of_its_condition),
        TEST(terms_compare_as_an_index_has_values_in_order),
        TEST(definitions_that_make_no_sense_are_refused),
        TEST(a_range_of_such_an_index_is_validated),
        TEST(rows_are_picked_at_random_and_by_rank),
        TEST(a_hash_index_finds_whole_keys_and_refuses_ranges),
        TEST(a_read_through_a_directory_is_validated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
