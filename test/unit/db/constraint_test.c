/* SPDX-License-Identifier: Apache-2.0 */
/* Check constraints: in expressions and in terms, of tuples and of fields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/access.h"
#include "db/db_fixture.h"
#include "db/expression_fixture.h"
#include "storage/engines.h"

static struct db_fixture f;

static int setup(void **state)
{
    db_fixture_open(&f);
    f.engine = *state;
    f.expressions = expression_fixture();
    db_fixture_reopen(&f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

static void make(const char *options)
{
    must(make_space(&f, "s", options));
    must(make_index(&f, "s", "pk", "{\"parts\": [[1, \"unsigned\"]]}"));
}

static const char *row(unsigned key)
{
    char text[32];
    snprintf(text, sizeof text, "[%u]", key);
    return get_by(&f, NULL, "s", "pk", text);
}

#define FORMAT "\"format\": [[\"id\", \"unsigned\"], [\"a\", \"any\"], [\"b\", \"any\"]]"

static void a_tuple_for_which_a_constraint_does_not_hold_is_refused(void **state)
{
    (void)state;
    make("{" FORMAT ", \"constraint\": {\"ordered\": \"a < b\", \"small\": \"a < 100\"}}");
    must(insert(&f, NULL, "s", "[1, 1, 2]"));
    refused(insert(&f, NULL, "s", "[2, 2, 1]"), ERROR_CONSTRAINT,
            "constraint \"ordered\" of space \"s\" does not hold for row {2}");
    refused(replace(&f, NULL, "s", "[1, 100, 101]"), ERROR_CONSTRAINT, "constraint \"small\"");
    refused(update_by(&f, NULL, "s", "pk", "[1]", "[[\"+\", 2, 1]]"), ERROR_CONSTRAINT, "ordered");
    refused(upsert(&f, NULL, "s", "[1, 0, 1]", "[[\"=\", 3, 0]]"), ERROR_CONSTRAINT, "ordered");
    refused(upsert(&f, NULL, "s", "[3, 1, 0]", "[[\"=\", 3, 0]]"), ERROR_CONSTRAINT, "{3}");
    assert_string_equal(row(1), "[1,1,2]");
    assert_null(row(2));
    db_fixture_reopen(&f);
    refused(insert(&f, NULL, "s", "[2, 2, 1]"), ERROR_CONSTRAINT, "constraint \"ordered\"");
}

static void a_violation_changes_nothing_of_the_transaction(void **state)
{
    (void)state;
    make("{" FORMAT ", \"constraint\": \"a < b\"}");
    struct txn *txn = begin(&f, 0, TXN_SERIALIZABLE);
    must(insert(&f, txn, "s", "[1, 1, 2]"));
    refused(replace(&f, txn, "s", "[1, 3, 2]"), ERROR_CONSTRAINT, "constraint \"check\"");
    must(insert(&f, txn, "s", "[2, 1, 2]"));
    must(txn_commit(txn));
    assert_string_equal(row(1), "[1,1,2]");
    assert_string_equal(row(2), "[2,1,2]");
}

static void terms_need_no_evaluator(void **state)
{
    (void)state;
    f.expressions = NULL;
    db_fixture_reopen(&f);
    make("{" FORMAT ", \"constraint\": {\"state\": [\"a\", \"~=\", \"lost\"], "
         "\"range\": [[\"b\", \">=\", 0], [\"b\", \"<\", 10]]}}");
    must(insert(&f, NULL, "s", "[1, \"open\", 9]"));
    refused(insert(&f, NULL, "s", "[2, \"lost\", 9]"), ERROR_CONSTRAINT, "\"state\"");
    refused(insert(&f, NULL, "s", "[2, \"x\", 10]"), ERROR_CONSTRAINT, "\"range\"");
    refused(insert(&f, NULL, "s", "[2, \"x\", -1]"), ERROR_CONSTRAINT, "\"range\"");
    refused(insert(&f, NULL, "s", "[2, \"x\", \"5\"]"), ERROR_CONSTRAINT, "\"range\"");
    db_fixture_reopen(&f);
    refused(insert(&f, NULL, "s", "[2, \"lost\", 9]"), ERROR_CONSTRAINT, "\"state\"");
    refused(make_space(&f, "t", "{" FORMAT ", \"constraint\": \"a < b\"}"), ERROR_UNSUPPORTED,
            "cannot be evaluated here");
}

static void a_constraint_of_a_field_is_not_asked_of_nil(void **state)
{
    (void)state;
    make("{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"a\", \"type\": \"integer\", "
         "\"is_nullable\": true, \"constraint\": {\"low\": [\">=\", 5], \"high\": [[\"<\", 10], "
         "[\"~=\", 7]]}}]}");
    must(insert(&f, NULL, "s", "[1]"));
    must(insert(&f, NULL, "s", "[2, null]"));
    must(insert(&f, NULL, "s", "[3, 5]"));
    refused(insert(&f, NULL, "s", "[4, 4]"), ERROR_CONSTRAINT, "constraint \"low\" of space \"s\"");
    refused(insert(&f, NULL, "s", "[4, 7]"), ERROR_CONSTRAINT, "constraint \"high\"");
    refused(insert(&f, NULL, "s", "[4, 10]"), ERROR_CONSTRAINT, "constraint \"high\"");
    db_fixture_reopen(&f);
    refused(insert(&f, NULL, "s", "[4, 4]"), ERROR_CONSTRAINT, "constraint \"low\"");
}

static void what_can_not_be_found_out_is_a_violation(void **state)
{
    (void)state;
    make("{" FORMAT ", \"constraint\": {\"ordered\": \"a < b\", \"there\": \"a\"}}");
    refused(insert(&f, NULL, "s", "[1, \"x\", 2]"), ERROR_CONSTRAINT,
            "constraint \"ordered\" of space \"s\" cannot be checked for row {1}: constraint");
}

static void nil_does_not_hold(void **state)
{
    (void)state;
    make("{" FORMAT ", \"constraint\": {\"there\": \"a\"}}");
    must(insert(&f, NULL, "s", "[1, 0]"));
    refused(insert(&f, NULL, "s", "[2]"), ERROR_CONSTRAINT, "\"there\"");
}

static void a_constraint_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    refused(make_space(&f, "s", "{" FORMAT ", \"constraint\": {\"c\": \"a <\"}}"), ERROR_LUA,
            "constraint \"c\"");
    refused(make_space(&f, "s", "{" FORMAT ", \"constraint\": {\"c\": 5}}"), ERROR_INVALID,
            "constraint \"c\" is a text");
    refused(make_space(&f, "s", "{" FORMAT ", \"constraint\": {\"c\": [\"x\", \"<\", 5]}}"),
            ERROR_INVALID, "\"x\"");
    refused(make_space(&f, "s", "{" FORMAT ", \"constraint\": {\"c\": [\"a\", \"=<\", 5]}}"),
            ERROR_INVALID, "constraint \"c\"");
    refused(make_space(&f, "s", "{\"format\": [{\"name\": \"a\", \"constraint\": [\"!\", 5]}]}"),
            ERROR_INVALID, "unknown operator \"!\"");
}

static int alter(const char *options)
{
    return ddl_space_alter(f.workers[0], space_of(&f, NULL, "s")->id, mp_of(options, NULL));
}

static void rows_must_fit_what_a_space_is_altered_to(void **state)
{
    (void)state;
    make("{" FORMAT "}");
    must(insert(&f, NULL, "s", "[1, 2, 1]"));
    refused(alter("{\"constraint\": \"a < b\"}"), ERROR_CONSTRAINT, "does not hold for row {1}");
    refused(alter("{\"format\": [[\"id\", \"unsigned\"], [\"a\", \"string\"]]}"), ERROR_SCHEMA,
            "must be string");
    refused(alter("{\"field_count\": 2}"), ERROR_SCHEMA, "exactly 2 fields, not 3");
    must(insert(&f, NULL, "s", "[2, 2, 1]"));
    must(delete_by(&f, NULL, "s", "pk", "[1]"));
    must(delete_by(&f, NULL, "s", "pk", "[2]"));
    must(alter("{\"constraint\": \"a < b\", \"field_count\": 3}"));
    refused(insert(&f, NULL, "s", "[1, 2, 1]"), ERROR_CONSTRAINT, "{1}");
    must(alter("{\"constraint\": {}}"));
    must(insert(&f, NULL, "s", "[1, 2, 1]"));
    refused(insert(&f, NULL, "s", "[2, 2]"), ERROR_SCHEMA, "exactly 3 fields, not 2");
}

static void a_change_of_one_thing_keeps_the_others(void **state)
{
    (void)state;
    make("{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"a\", \"constraint\": [\"<\", 10], "
         "\"default\": 3}], \"constraint\": {\"c\": \"id < a\", \"d\": [\"a\", \"~=\", 7]}}");
    must(insert(&f, NULL, "s", "[1]"));
    must(alter("{\"name\": \"s\"}"));
    must(alter("{\"field_count\": 2}"));
    must(truncate_space(&f, "s"));
    must(insert(&f, NULL, "s", "[1]"));
    assert_string_equal(row(1), "[1,3]");
    refused(insert(&f, NULL, "s", "[3, 3]"), ERROR_CONSTRAINT, "\"c\"");
    refused(insert(&f, NULL, "s", "[3, 7]"), ERROR_CONSTRAINT, "\"d\"");
    refused(insert(&f, NULL, "s", "[3, 10]"), ERROR_CONSTRAINT, "\"a_check\"");
}

static void a_space_gets_another_name(void **state)
{
    (void)state;
    make("{" FORMAT "}");
    must(make_space(&f, "t", "{}"));
    must(insert(&f, NULL, "s", "[1, 2, 1]"));
    refused(alter("{\"name\": \"t\"}"), ERROR_EXISTS, "space \"t\" exists already");
    refused(alter("{\"name\": \"\"}"), ERROR_INVALID, "1 to 255 bytes");
    must(alter("{\"name\": \"u\"}"));
    assert_null(space_of(&f, NULL, "s"));
    assert_string_equal(get_by(&f, NULL, "u", "pk", "[1]"), "[1,2,1]");
    db_fixture_reopen(&f);
    assert_string_equal(get_by(&f, NULL, "u", "pk", "[1]"), "[1,2,1]");
}

static void a_field_that_gets_another_name_stays_indexed(void **state)
{
    (void)state;
    make("{" FORMAT "}");
    must(make_index(&f, "s", "a", "{\"unique\": false, \"parts\": [[\"a\", \"unsigned\"]]}"));
    must(insert(&f, NULL, "s", "[1, 2, 1]"));
    must(alter("{\"format\": [[\"id\", \"unsigned\"], [\"z\", \"unsigned\"]]}"));
    assert_string_equal(select_by(&f, NULL, "s", "a", ITERATOR_EQ, "[2]"), "[1,2,1]");
    refused(alter("{\"format\": [[\"id\", \"unsigned\"], [\"z\", \"string\"]]}"), ERROR_SCHEMA,
            "indexed by \"a\" as unsigned");
}

static void a_space_belongs_to_whom_its_maker_says(void **state)
{
    (void)state;
    struct password password = {0};
    must(access_user_create(f.workers[0], "bob", 3, false, &password, false));
    must(make_space(&f, "t", "{\"owner\": \"bob\"}"));
    uint32_t bob = space_of(&f, NULL, "t")->owner;
    assert_true(bob >= ACCESS_ID_MIN);
    refused(make_space(&f, "u", "{\"owner\": \"eve\"}"), ERROR_NOT_FOUND, "a user");
    refused(make_space(&f, "u", "{\"owner\": \"public\"}"), ERROR_NOT_FOUND, "a user");
    struct access_change change = {
        .grantee = "bob", .grantee_size = 3, .privileges = ACCESS_CREATE, .type = ACCESS_UNIVERSE};
    must(access_grant(f.workers[0], &change));
    access_user_set(f.workers[0], bob);
    refused(make_space(&f, "u", "{\"owner\": \"admin\"}"), ERROR_ACCESS,
            "only who may do everything");
    must(make_space(&f, "u", "{\"owner\": \"bob\"}"));
    access_user_set(f.workers[0], ACCESS_ADMIN);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_tuple_for_which_a_constraint_does_not_hold_is_refused),
        TEST(a_violation_changes_nothing_of_the_transaction),
        TEST(terms_need_no_evaluator),
        TEST(a_constraint_of_a_field_is_not_asked_of_nil),
        TEST(what_can_not_be_found_out_is_a_violation),
        TEST(nil_does_not_hold),
        TEST(a_constraint_that_makes_no_sense_is_refused),
        TEST(rows_must_fit_what_a_space_is_altered_to),
        TEST(a_change_of_one_thing_keeps_the_others),
        TEST(a_space_gets_another_name),
        TEST(a_field_that_gets_another_name_stays_indexed),
        TEST(a_space_belongs_to_whom_its_maker_says),
    };
    return engines_run_all("constraints", tests, sizeof tests / sizeof *tests);
}
