/* SPDX-License-Identifier: Apache-2.0 */
/* Statements on spaces: what they do, what they refuse, and that what fails changes nothing. */
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
#include "db/db_fixture.h"

static struct db_fixture f;

/* Space "s": id, name (unique index "name"), group (index "group", not unique), n; more is free. */
static int open(void **state)
{
    (void)state;
    db_fixture_open(&f);
    assert_int_equal(make_space(&f, "s",
                                "{\"format\": [[\"id\", \"unsigned\"],"
                                "[\"name\", \"string\"],"
                                "{\"name\": \"group\", \"type\": \"string\","
                                " \"is_nullable\": true},"
                                "{\"name\": \"n\", \"type\": \"integer\","
                                " \"is_nullable\": true}]}"),
                     0);
    assert_int_equal(make_index(&f, "s", "pk", "{\"parts\": [\"id\"]}"), 0);
    assert_int_equal(make_index(&f, "s", "name", "{\"parts\": [\"name\"]}"), 0);
    assert_int_equal(
        make_index(&f, "s", "group", "{\"unique\": false, \"parts\": [\"group\", \"n\"]}"), 0);
    return 0;
}

static int close(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

static const char *all(const char *index)
{
    return select_by(&f, NULL, "s", index, ITERATOR_ALL, NULL);
}

static void a_tuple_is_inserted_once(void **state)
{
    (void)state;
    assert_int_equal(insert(&f, NULL, "s", "[1, \"a\", \"g\", 1]"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[1, \"b\", \"g\", 1]"), ERROR_DUPLICATE);
    assert_non_null(strstr(diag_message_for(ERROR_DUPLICATE), "\"pk\" in space \"s\""));
    assert_string_equal(all("pk"), "[1,\"a\",\"g\",1]");
}

static void replace_takes_the_place_of_what_was_there(void **state)
{
    (void)state;
    assert_int_equal(replace(&f, NULL, "s", "[1, \"a\", \"g\", 1]"), 0);
    assert_int_equal(replace(&f, NULL, "s", "[1, \"b\", \"h\", 1]"), 0);
    assert_string_equal(all("pk"), "[1,\"b\",\"h\",1]");
    assert_null(get_by(&f, NULL, "s", "name", "[\"a\"]"));
    assert_string_equal(get_by(&f, NULL, "s", "name", "[\"b\"]"), "[1,\"b\",\"h\",1]");
    assert_string_equal(select_by(&f, NULL, "s", "group", ITERATOR_EQ, "[\"g\"]"), "");
    assert_string_equal(select_by(&f, NULL, "s", "group", ITERATOR_EQ, "[\"h\"]"),
                        "[1,\"b\",\"h\",1]");
}

static void delete_takes_a_tuple_out_of_all_indexes(void **state)
{
    (void)state;
    assert_int_equal(insert(&f, NULL, "s", "[1, \"a\", \"g\", 1]"), 0);
    assert_int_equal(delete_by(&f, NULL, "s", "name", "[\"a\"]"), 0);
    assert_int_equal(delete_by(&f, NULL, "s", "pk", "[1]"), 0);
    assert_string_equal(all("pk"), "");
    assert_string_equal(all("name"), "");
    assert_string_equal(all("group"), "");
    db_settle(&f);
    assert_int_equal(space_len(space_of(&f, NULL, "s")), 0);
    assert_int_equal(tree_count(index_of(&f, NULL, "s", "name")->scan.tree), 0);
    assert_int_equal(tree_count(index_of(&f, NULL, "s", "group")->scan.tree), 0);
}

static void a_tuple_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *tuple, *message;
    } cases[] = {
        {"{}", "a tuple must be an array"},
        {"[]", "field 1 (id)"},
        {"[1]", "field 2 (name)"},
        {"[\"1\", \"a\"]", "field 1 (id) of space \"s\" must be unsigned, not string"},
        {"[-1, \"a\"]", "field 1 (id)"},
        {"[1, null]", "field 2 (name)"},
        {"[1, \"a\", 1]", "field 3 (group) of space \"s\" must be string or nil, not unsigned"},
        {"[1, \"a\", \"g\", 1.5]", "field 4 (n)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(insert(&f, NULL, "s", cases[i].tuple), ERROR_SCHEMA);
        if (strstr(diag_message_for(ERROR_SCHEMA), cases[i].message) == NULL)
            fail_msg("case %zu: %s", i, diag_message());
    }
    assert_string_equal(all("pk"), "");
    assert_int_equal(insert(&f, NULL, "s", "[1, \"a\", null, null, {\"free\": [1]}]"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[2, \"b\"]"), 0);
}

/* The unique index is checked after the first secondary entries are there. */
static void a_statement_that_fails_changes_nothing_and_keeps_its_message(void **state)
{
    (void)state;
    assert_int_equal(insert(&f, NULL, "s", "[1, \"a\", \"g\", 1]"), 0);
    struct txn *txn = begin(&f, 0, TXN_SERIALIZABLE);
    assert_int_equal(insert(&f, txn, "s", "[2, \"b\", \"g\", 2]"), 0);
    assert_int_equal(insert(&f, txn, "s", "[3, \"a\", \"h\", 2]"), ERROR_DUPLICATE);
    assert_non_null(strstr(diag_message_for(ERROR_DUPLICATE), "\"name\" in space \"s\""));
    assert_int_equal(update_by(&f, txn, "s", "pk", "[2]", "[[\"=\", 2, \"a\"]]"), ERROR_DUPLICATE);
    assert_int_equal(upsert(&f, txn, "s", "[2, \"x\"]", "[[\"=\", \"name\", \"a\"]]"),
                     ERROR_DUPLICATE);
    assert_int_equal(replace(&f, txn, "s", "[2, \"a\"]"), ERROR_DUPLICATE);
    assert_string_equal(select_by(&f, txn, "s", "group", ITERATOR_ALL, NULL),
                        "[1,\"a\",\"g\",1] [2,\"b\",\"g\",2]");
    assert_int_equal(txn_commit(txn), 0);
    assert_string_equal(all("name"), "[1,\"a\",\"g\",1] [2,\"b\",\"g\",2]");
    db_settle(&f);
    assert_int_equal(tree_count(index_of(&f, NULL, "s", "name")->scan.tree), 2);
    assert_int_equal(tree_count(index_of(&f, NULL, "s", "group")->scan.tree), 2);
}

/* At every level a statement computes from what it writes over. */
static void an_update_through_a_secondary_index_loses_nothing_at_read_committed(void **state)
{
    (void)state;
    assert_int_equal(insert(&f, NULL, "s", "[1, \"a\", \"g\", 1]"), 0);
    struct txn *txn = begin(&f, 1, TXN_READ_COMMITTED);
    assert_int_equal(update_by(&f, NULL, "s", "pk", "[1]", "[[\"+\", \"n\", 10]]"), 0);
    assert_int_equal(update_by(&f, txn, "s", "name", "[\"a\"]", "[[\"+\", \"n\", 100]]"), 0);
    assert_int_equal(txn_commit(txn), 0);
    assert_string_equal(all("pk"), "[1,\"a\",\"g\",111]");
    txn = begin(&f, 1, TXN_READ_COMMITTED);
    assert_int_equal(update_by(&f, NULL, "s", "pk", "[1]", "[[\"=\", \"name\", \"b\"]]"), 0);
    assert_int_equal(update_by(&f, txn, "s", "name", "[\"a\"]", "[[\"+\", \"n\", 100]]"),
                     ERROR_CONFLICT);
    txn_rollback(txn);
    assert_string_equal(all("pk"), "[1,\"b\",\"g\",111]");
}

static void upsert_inserts_or_applies(void **state)
{
    (void)state;
    assert_int_equal(upsert(&f, NULL, "s", "[1, \"a\", \"g\", 1]", "[[\"+\", 4, 1]]"), 0);
    assert_int_equal(upsert(&f, NULL, "s", "[1, \"z\", \"z\", 9]", "[[\"+\", 4, 1]]"), 0);
    assert_string_equal(all("pk"), "[1,\"a\",\"g\",2]");
}

struct update {
    const char *ops, *result; /* of [1, "a", "group", 5, "xyz"]; NULL: ERROR_INVALID */
};

static void update_operations_do_what_they_say(void **state)
{
    (void)state;
    static const struct update cases[] = {
        {"[]", "[1,\"a\",\"group\",5,\"xyz\"]"},
        {"[[\"=\", 4, 7]]", "[1,\"a\",\"group\",7,\"xyz\"]"},
        {"[[\"=\", \"n\", 7]]", "[1,\"a\",\"group\",7,\"xyz\"]"},
        {"[[\"=\", -1, 7]]", "[1,\"a\",\"group\",5,7]"},
        {"[[\"=\", 6, 7]]", "[1,\"a\",\"group\",5,\"xyz\",7]"},
        {"[[\"=\", 7, 7]]", NULL},
        {"[[\"!\", 5, 7]]", "[1,\"a\",\"group\",5,7,\"xyz\"]"},
        {"[[\"!\", 6, 7]]", "[1,\"a\",\"group\",5,\"xyz\",7]"},
        {"[[\"!\", -1, 7]]", "[1,\"a\",\"group\",5,\"xyz\",7]"},
        {"[[\"!\", 8, 7]]", NULL},
        {"[[\"#\", 5, 1]]", "[1,\"a\",\"group\",5]"},
        {"[[\"#\", 3, 100]]", "[1,\"a\"]"},
        {"[[\"#\", -1, 1]]", "[1,\"a\",\"group\",5]"},
        {"[[\"#\", 3, 0]]", NULL},
        {"[[\"#\", 6, 1]]", NULL},
        {"[[\"+\", 4, 3]]", "[1,\"a\",\"group\",8,\"xyz\"]"},
        {"[[\"-\", 4, 8]]", "[1,\"a\",\"group\",-3,\"xyz\"]"},
        {"[[\"-\", 4, 8], [\"+\", 4, 10]]", "[1,\"a\",\"group\",7,\"xyz\"]"},
        {"[[\"+\", 4, 9223372036854775807], [\"+\", 4, 9223372036854775807]]", NULL},
        {"[[\"+\", 5, 1]]", NULL},
        {"[[\"+\", 4, \"1\"]]", NULL},
        {"[[\"&\", 4, 4]]", "[1,\"a\",\"group\",4,\"xyz\"]"},
        {"[[\"|\", 4, 2]]", "[1,\"a\",\"group\",7,\"xyz\"]"},
        {"[[\"^\", 4, 1]]", "[1,\"a\",\"group\",4,\"xyz\"]"},
        {"[[\"^\", 4, -1]]", NULL},
        {"[[\":\", 5, 2, 1, \"-\"]]", "[1,\"a\",\"group\",5,\"x-z\"]"},
        {"[[\":\", 5, 1, 0, \"-\"]]", "[1,\"a\",\"group\",5,\"-xyz\"]"},
        {"[[\":\", 5, -1, 0, \"-\"]]", "[1,\"a\",\"group\",5,\"xyz-\"]"},
        {"[[\":\", 5, -2, 1, \"-\"]]", "[1,\"a\",\"group\",5,\"xy-\"]"},
        {"[[\":\", 5, 100, 5, \"-\"]]", "[1,\"a\",\"group\",5,\"xyz-\"]"},
        {"[[\":\", 5, 1, -1, \"-\"]]", "[1,\"a\",\"group\",5,\"-z\"]"},
        {"[[\":\", 5, -9, 1, \"-\"]]", NULL},
        {"[[\":\", 4, 1, 1, \"-\"]]", NULL},
        {"[[\":\", 5, 1, 1]]", NULL},
        {"[[\"?\", 4, 1]]", NULL},
        {"[[\"=\", 4]]", NULL},
        {"[[\"=\", 0, 4]]", NULL},
        {"[[\"=\", -9, 4]]", NULL},
        {"[[\"=\", \"nothing\", 4]]", NULL},
        {"[[\"=\", true, 4]]", NULL},
        {"[7]", NULL},
        {"{}", NULL},
        {"[[\"=\", 1, 2]]", NULL}, /* the primary key */
        {"[[\"=\", 1, 1]]", "[1,\"a\",\"group\",5,\"xyz\"]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(replace(&f, NULL, "s", "[1, \"a\", \"group\", 5, \"xyz\"]"), 0);
        int rc = update_by(&f, NULL, "s", "pk", "[1]", cases[i].ops);
        const char *expected =
            cases[i].result != NULL ? cases[i].result : "[1,\"a\",\"group\",5,\"xyz\"]";
        if (rc != (cases[i].result == NULL ? ERROR_INVALID : 0) || strcmp(all("pk"), expected) != 0)
            fail_msg("case %zu: %s gave %d and %s", i, cases[i].ops, rc, all("pk"));
    }
    assert_int_equal(update_by(&f, NULL, "s", "pk", "[1]", "[[\"=\", 2, null]]"), ERROR_SCHEMA);
    assert_int_equal(update_by(&f, NULL, "s", "pk", "[9]", "[[\"=\", 4, 1]]"), 0);
}

/* An update like "[[op, field, ..], [op, field, ..], ..]" with `count` times the same operation. */
static int update_many(const char *op, unsigned count)
{
    char *ops;
    size_t size;
    FILE *out = open_memstream(&ops, &size);
    for (unsigned i = 0; i < count; i++)
        fprintf(out, "%s%s", i == 0 ? "[" : ",", op);
    fputs("]", out);
    fclose(out);
    int rc = update_by(&f, NULL, "s", "pk", "[1]", ops);
    free(ops);
    return rc;
}

static void the_work_of_an_update_is_bounded(void **state)
{
    (void)state;
    assert_int_equal(replace(&f, NULL, "s", "[1, \"a\", \"group\", 5, \"xyz\"]"), 0);
    assert_int_equal(update_many("[\"+\", \"n\", 1]", 4000), 0);
    assert_int_equal(update_many("[\"+\", \"n\", 1]", 4001), ERROR_INVALID);
    const char *splice = "[\":\", 5, 1, 0, \"0123456789012345678901234567890123456789\"]";
    unsigned done = 0;
    int rc;
    while ((rc = update_many(splice, 1000)) == 0) /* adds 40,000 bytes to the field */
        assert_true(++done < 100);
    assert_true(done > 1);
    assert_int_equal(rc, ERROR_INVALID);
    assert_non_null(strstr(diag_message_for(ERROR_INVALID), "make several of it"));
}

static void every_iterator_goes_where_it_says(void **state)
{
    (void)state;
    static const struct {
        enum space_iterator iterator;
        const char *key, *ids;
    } cases[] = {
        /* group and n of the tuples: a1 a2 b1 b2 b3 c1 and one of nil */
        {ITERATOR_ALL, NULL, "7 1 2 3 4 5 6"},  {ITERATOR_GE, NULL, "7 1 2 3 4 5 6"},
        {ITERATOR_LE, NULL, "6 5 4 3 2 1 7"},   {ITERATOR_EQ, NULL, "7 1 2 3 4 5 6"},
        {ITERATOR_REQ, NULL, "6 5 4 3 2 1 7"},  {ITERATOR_EQ, "[\"b\"]", "3 4 5"},
        {ITERATOR_REQ, "[\"b\"]", "5 4 3"},     {ITERATOR_GE, "[\"b\"]", "3 4 5 6"},
        {ITERATOR_GT, "[\"b\"]", "6"},          {ITERATOR_LE, "[\"b\"]", "5 4 3 2 1 7"},
        {ITERATOR_LT, "[\"b\"]", "2 1 7"},      {ITERATOR_EQ, "[\"b\", 2]", "4"},
        {ITERATOR_REQ, "[\"b\", 2]", "4"},      {ITERATOR_GE, "[\"b\", 2]", "4 5 6"},
        {ITERATOR_GT, "[\"b\", 2]", "5 6"},     {ITERATOR_LE, "[\"b\", 2]", "4 3 2 1 7"},
        {ITERATOR_LT, "[\"b\", 2]", "3 2 1 7"}, {ITERATOR_EQ, "[\"bb\"]", ""},
        {ITERATOR_GT, "[\"bb\"]", "6"},         {ITERATOR_LT, "[\"aa\"]", "2 1 7"},
        {ITERATOR_GT, "[\"z\"]", ""},           {ITERATOR_LT, "[\"a\", 1]", "7"},
        {ITERATOR_EQ, "[null]", "7"},           {ITERATOR_LT, "[null]", ""},
        {ITERATOR_GT, "[null]", "1 2 3 4 5 6"},
    };
    static const char *const tuples[] = {"[1, \"1\", \"a\", 1]",
                                         "[2, \"2\", \"a\", 2]",
                                         "[3, \"3\", \"b\", 1]",
                                         "[4, \"4\", \"b\", 2]",
                                         "[5, \"5\", \"b\", 3]",
                                         "[6, \"6\", \"c\", 1]",
                                         "[7, \"7\"]"};
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(insert(&f, NULL, "s", tuples[i]), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *found = select_by(&f, NULL, "s", "group", cases[i].iterator, cases[i].key);
        char ids[64] = "";
        for (const char *at = found; (at = strchr(at, '[')) != NULL; at++)
            strncat(strcat(ids, ids[0] != '\0' ? " " : ""), at + 1, 1);
        if (strcmp(ids, cases[i].ids) != 0)
            fail_msg("case %zu: %s instead of %s", i, ids, cases[i].ids);
    }
    struct txn *txn = begin_readonly(&f, 1);
    uint64_t count;
    assert_int_equal(space_count(txn, index_of(&f, txn, "s", "group"), ITERATOR_GE,
                                 mp_of("[\"b\"]", NULL), &count),
                     0);
    assert_int_equal(count, 4);
    txn_rollback(txn);
    assert_int_equal(space_iterator_parse("ge", 2), ITERATOR_GE);
    assert_int_equal(space_iterator_parse("REQ", 3), ITERATOR_REQ);
    assert_int_equal(space_iterator_parse("XX", 2), -1);
}

static void keys_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    assert_string_equal(get_by(&f, NULL, "s", "pk", "[]"), "error");
    assert_string_equal(get_by(&f, NULL, "s", "pk", "[1, 2]"), "error");
    assert_string_equal(get_by(&f, NULL, "s", "pk", "[\"a\"]"), "error");
    assert_string_equal(get_by(&f, NULL, "s", "pk", "1"), "error");
    assert_string_equal(get_by(&f, NULL, "s", "group", "[\"a\", 1]"), "error");
    assert_non_null(strstr(diag_message(), "not unique"));
    assert_string_equal(select_by(&f, NULL, "s", "group", ITERATOR_EQ, "[1]"), "error");
    assert_string_equal(select_by(&f, NULL, "s", "group", ITERATOR_EQ, "[\"a\", 1, 1]"), "error");
    assert_int_equal(delete_by(&f, NULL, "s", "group", "[\"a\", 1]"), ERROR_INVALID);
}

/* Nil in a unique index is as if it were not there: any number of tuples may have it. */
static void nil_is_not_unique(void **state)
{
    (void)state;
    assert_int_equal(make_index(&f, "s", "n", "{\"parts\": [\"n\"]}"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[1, \"a\"]"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[2, \"b\", null, null]"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[3, \"c\", null, 1]"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[4, \"d\", null, 1]"), ERROR_DUPLICATE);
    assert_string_equal(select_by(&f, NULL, "s", "n", ITERATOR_EQ, "[null]"),
                        "[1,\"a\"] [2,\"b\",null,null]");
}

static void a_transaction_sees_its_own_changes_by_every_index(void **state)
{
    (void)state;
    assert_int_equal(insert(&f, NULL, "s", "[1, \"a\", \"g\", 1]"), 0);
    struct txn *txn = begin(&f, 0, TXN_SERIALIZABLE), *other = begin_readonly(&f, 1);
    assert_int_equal(update_by(&f, txn, "s", "name", "[\"a\"]", "[[\"=\", 2, \"b\"]]"), 0);
    assert_int_equal(insert(&f, txn, "s", "[2, \"a\", \"g\", 0]"), 0);
    assert_string_equal(get_by(&f, txn, "s", "name", "[\"a\"]"), "[2,\"a\",\"g\",0]");
    assert_string_equal(select_by(&f, txn, "s", "group", ITERATOR_EQ, "[\"g\"]"),
                        "[2,\"a\",\"g\",0] [1,\"b\",\"g\",1]");
    assert_string_equal(get_by(&f, other, "s", "name", "[\"a\"]"), "[1,\"a\",\"g\",1]");
    assert_int_equal(txn_commit(txn), 0);
    assert_string_equal(get_by(&f, other, "s", "name", "[\"a\"]"), "[1,\"a\",\"g\",1]");
    txn_rollback(other);
    assert_string_equal(all("name"), "[2,\"a\",\"g\",0] [1,\"b\",\"g\",1]");
}

static void system_spaces_are_read_and_not_written(void **state)
{
    (void)state;
    assert_non_null(strstr(select_by(&f, NULL, "_space", "primary", ITERATOR_ALL, NULL), "\"s\""));
    assert_non_null(
        strstr(select_by(&f, NULL, "_index", "primary", ITERATOR_ALL, NULL), "\"group\""));
    assert_int_equal(delete_by(&f, NULL, "_space", "primary", "[512]"), ERROR_ACCESS);
    assert_int_equal(insert(&f, NULL, "_func", "[1, 0, \"x\", \"y\", {}]"), ERROR_ACCESS);
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(a_tuple_is_inserted_once),
        WITH_FIXTURE(replace_takes_the_place_of_what_was_there),
        WITH_FIXTURE(delete_takes_a_tuple_out_of_all_indexes),
        WITH_FIXTURE(a_tuple_that_does_not_fit_is_refused),
        WITH_FIXTURE(a_statement_that_fails_changes_nothing_and_keeps_its_message),
        WITH_FIXTURE(an_update_through_a_secondary_index_loses_nothing_at_read_committed),
        WITH_FIXTURE(upsert_inserts_or_applies),
        WITH_FIXTURE(update_operations_do_what_they_say),
        WITH_FIXTURE(the_work_of_an_update_is_bounded),
        WITH_FIXTURE(every_iterator_goes_where_it_says),
        WITH_FIXTURE(keys_that_do_not_fit_are_refused),
        WITH_FIXTURE(nil_is_not_unique),
        WITH_FIXTURE(a_transaction_sees_its_own_changes_by_every_index),
        WITH_FIXTURE(system_spaces_are_read_and_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
