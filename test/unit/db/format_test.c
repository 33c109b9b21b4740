/* SPDX-License-Identifier: Apache-2.0 */
/* Formats: what values a type takes, defaults, generated fields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/ext.h"
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

/* A value of each kind, as MessagePack. */
static const struct {
    const char *name;
    const char *bytes;
    size_t size;
} values[] = {
    {"nil", "\xc0", 1},
    {"unsigned", "\x05", 1},
    {"negative", "\xff", 1},
    {"double", "\xcb\x3f\xf8\0\0\0\0\0\0", 9},
    {"string", "\xa1x", 2},
    {"binary", "\xc4\x01x", 3},
    {"true", "\xc3", 1},
    {"array", "\x90", 1},
    {"map", "\x80", 1},
    {"decimal", "\xd5\x01\x01\x1c", 4},
    {"uuid",
     "\xd8\x02"
     "0123456789abcdef",
     18},
    {"datetime", "\xd7\x04\1\0\0\0\0\0\0\0", 10},
    {"interval", "\xc7\x01\x06\x00", 4},
    {"unknown", "\xd4\x40z", 3},
};
enum { VALUES = sizeof values / sizeof *values };

static const struct {
    const char *type;
    const char *takes; /* names of values */
} types[] = {
    {"any", "nil unsigned negative double string binary true array map decimal uuid datetime "
            "interval unknown"},
    {"unsigned", "unsigned"},
    {"integer", "unsigned negative"},
    {"number", "unsigned negative double decimal"},
    {"double", "unsigned negative double"},
    {"decimal", "decimal"},
    {"string", "string"},
    {"varbinary", "binary"},
    {"boolean", "true"},
    {"uuid", "uuid"},
    {"datetime", "datetime"},
    {"interval", "interval"},
    {"array", "array"},
    {"map", "map"},
    {"scalar", "unsigned negative double string binary true decimal uuid datetime"},
};
enum { TYPES = sizeof types / sizeof *types };

static bool listed(const char *list, const char *name)
{
    size_t size = strlen(name);
    for (const char *at = list; (at = strstr(at, name)) != NULL; at += size)
        if ((at == list || at[-1] == ' ') && (at[size] == ' ' || at[size] == '\0'))
            return true;
    return false;
}

static int value_replace(unsigned value)
{
    char tuple[64] = "\x92\x01";
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    memcpy(tuple + 2, values[value].bytes, values[value].size);
    int rc = space_replace(txn, space_of(&f, txn, "s"), tuple, 2 + values[value].size, NULL, NULL);
    if (rc != 0)
        txn_rollback(txn);
    return rc != 0 ? rc : txn_commit(txn);
}

static void each_type_takes_its_values_and_no_others(void **state)
{
    (void)state;
    for (unsigned type = 0; type < TYPES; type++)
        for (unsigned nullable = 0; nullable < 2; nullable++) {
            char options[128];
            snprintf(options, sizeof options,
                     "{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"v\", \"type\": \"%s\", "
                     "\"is_nullable\": %s}]}",
                     types[type].type, nullable ? "true" : "false");
            make(options);
            for (unsigned value = 0; value < VALUES; value++) {
                bool takes = value == 0 ? nullable : listed(types[type].takes, values[value].name);
                int rc = value_replace(value);
                if (rc != (takes ? 0 : ERROR_SCHEMA))
                    fail_msg("%s %s %s: %s", types[type].type, nullable ? "nullable" : "",
                             values[value].name, error_name(rc));
            }
            must(drop_space(&f, "s"));
        }
}

static void a_double_takes_whole_numbers_that_are_exact(void **state)
{
    (void)state;
    make("{\"format\": [[\"id\", \"unsigned\"], [\"v\", \"double\"]]}");
    must(replace(&f, NULL, "s", "[1, 9007199254740992]"));
    refused(replace(&f, NULL, "s", "[1, 9007199254740993]"), ERROR_SCHEMA, "must be double");
    refused(replace(&f, NULL, "s", "[1, -9007199254740993]"), ERROR_SCHEMA, "must be double");
}

static void an_any_field_takes_nil_unless_it_says_otherwise(void **state)
{
    (void)state;
    make("{\"format\": [[\"id\", \"unsigned\"], [\"v\", \"any\"]]}");
    must(replace(&f, NULL, "s", "[1]"));
    must(replace(&f, NULL, "s", "[1, null]"));
    must(drop_space(&f, "s"));
    make("{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"v\", \"is_nullable\": false}]}");
    refused(replace(&f, NULL, "s", "[1]"), ERROR_SCHEMA, "field 2 (v) of space \"s\" is missing");
    refused(replace(&f, NULL, "s", "[1, null]"), ERROR_SCHEMA, "must not be nil");
}

static void what_does_not_fit_is_named_with_its_row(void **state)
{
    (void)state;
    make("{\"format\": [[\"id\", \"unsigned\"], [\"v\", \"string\"]]}");
    refused(replace(&f, NULL, "s", "[7, null]"), ERROR_SCHEMA, "must be string, not nil: row {7}");
    refused(replace(&f, NULL, "s", "[7]"), ERROR_SCHEMA, "(v) of space \"s\" is missing: row {7}");
    refused(replace(&f, NULL, "s", "[null, 1]"), ERROR_SCHEMA, "must be unsigned, not nil");
    refused(replace(&f, NULL, "s", "[]"), ERROR_SCHEMA, "(id) of space \"s\" is missing");
}

static void nullable_action_says_the_same_as_is_nullable(void **state)
{
    (void)state;
    make("{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"v\", \"type\": \"string\", "
         "\"nullable_action\": \"none\"}]}");
    must(replace(&f, NULL, "s", "[1, null]"));
    refused(make_space(&f, "t",
                       "{\"format\": [{\"name\": \"v\", \"nullable_action\": \"none\", "
                       "\"is_nullable\": false}]}"),
            ERROR_INVALID, "contradicts");
    refused(
        make_space(&f, "t", "{\"format\": [{\"name\": \"v\", \"nullable_action\": \"abort\"}]}"),
        ERROR_UNSUPPORTED, "'none'");
}

static void a_default_takes_the_place_of_what_is_nil_or_not_there(void **state)
{
    (void)state;
    make("{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"a\", \"type\": \"unsigned\", "
         "\"default\": 5}, {\"name\": \"b\", \"type\": \"string\", \"is_nullable\": true}, "
         "{\"name\": \"c\", \"type\": \"map\", \"default\": {\"x\": [1]}}]}");
    must(insert(&f, NULL, "s", "[1]"));
    assert_string_equal(row(1), "[1,5,null,{\"x\":[1]}]");
    must(insert(&f, NULL, "s", "[2, null, \"t\", {}, 7]"));
    assert_string_equal(row(2), "[2,5,\"t\",{},7]");
    must(replace(&f, NULL, "s", "[2, 6]"));
    assert_string_equal(row(2), "[2,6,null,{\"x\":[1]}]");
    must(upsert(&f, NULL, "s", "[3]", "[[\"+\", 2, 1]]"));
    assert_string_equal(row(3), "[3,5,null,{\"x\":[1]}]");
    db_fixture_reopen(&f);
    must(insert(&f, NULL, "s", "[4]"));
    assert_string_equal(row(4), "[4,5,null,{\"x\":[1]}]");
}

static void an_update_gets_no_defaults(void **state)
{
    (void)state;
    make("{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"a\", \"is_nullable\": true, "
         "\"default\": 5}]}");
    must(insert(&f, NULL, "s", "[1]"));
    must(update_by(&f, NULL, "s", "pk", "[1]", "[[\"=\", 2, null]]"));
    assert_string_equal(row(1), "[1,null]");
}

static void a_default_must_be_of_its_fields_type(void **state)
{
    (void)state;
    refused(make_space(&f, "s",
                       "{\"format\": [{\"name\": \"a\", \"type\": \"unsigned\", "
                       "\"default\": \"x\"}]}"),
            ERROR_SCHEMA, "the default of field \"a\" must be unsigned, not string");
    refused(make_space(&f, "s",
                       "{\"format\": [{\"name\": \"a\", \"default\": 1, "
                       "\"generated\": \"id\"}]}"),
            ERROR_INVALID, "it can't have a default");
}

static void a_default_can_be_computed_from_the_other_fields(void **state)
{
    (void)state;
    make("{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"a\", \"type\": \"unsigned\", "
         "\"default\": 5}, {\"name\": \"b\", \"type\": \"unsigned\", \"default_func\": "
         "\"id + a\"}]}");
    must(insert(&f, NULL, "s", "[1]"));
    assert_string_equal(row(1), "[1,5,6]");
    must(insert(&f, NULL, "s", "[2, 1, 1]"));
    assert_string_equal(row(2), "[2,1,1]");
    must(insert(&f, NULL, "s", "[3, 10, null]"));
    assert_string_equal(row(3), "[3,10,13]");
}

static void a_generated_field_is_always_what_its_expression_gives(void **state)
{
    (void)state;
    make("{\"format\": [[\"id\", \"unsigned\"], [\"a\", \"unsigned\"], {\"name\": \"sum\", "
         "\"type\": \"unsigned\", \"generated\": \"id + a\"}, {\"name\": \"twice\", \"type\": "
         "\"unsigned\", \"generated\": \"sum + sum\"}]}");
    must(insert(&f, NULL, "s", "[1, 2]"));
    assert_string_equal(row(1), "[1,2,3,6]");
    must(replace(&f, NULL, "s", "[1, 3, 4, null]"));
    assert_string_equal(row(1), "[1,3,4,8]");
    refused(replace(&f, NULL, "s", "[1, 3, 5]"), ERROR_SCHEMA,
            "field 3 (sum) of space \"s\" is gen");
    must(update_by(&f, NULL, "s", "pk", "[1]", "[[\"+\", 2, 1]]"));
    assert_string_equal(row(1), "[1,4,5,10]");
    refused(update_by(&f, NULL, "s", "pk", "[1]", "[[\"=\", 3, 7]]"), ERROR_SCHEMA, "is generated");
    must(update_by(&f, NULL, "s", "pk", "[1]", "[[\"=\", 2, 6], [\"=\", 3, 7]]"));
    assert_string_equal(row(1), "[1,6,7,14]");
    must(upsert(&f, NULL, "s", "[1, 0]", "[[\"=\", 2, 1]]"));
    assert_string_equal(row(1), "[1,1,2,4]");
}

static void an_expression_that_fails_refuses_the_statement(void **state)
{
    (void)state;
    make("{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"a\", \"is_nullable\": true}, "
         "{\"name\": \"b\", \"type\": \"unsigned\", \"generated\": \"id + a\"}]}");
    refused(insert(&f, NULL, "s", "[1, \"x\"]"), ERROR_LUA, "space \"s\": generated field \"b\"");
    assert_null(row(1));
    refused(make_space(&f, "t", "{\"format\": [{\"name\": \"a\", \"generated\": \"1 +\"}]}"),
            ERROR_LUA, "generated of field \"a\"");
}

static void a_generated_field_must_be_of_its_type(void **state)
{
    (void)state;
    make("{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"b\", \"type\": \"string\", "
         "\"generated\": \"id + id\"}]}");
    refused(insert(&f, NULL, "s", "[1]"), ERROR_SCHEMA,
            "field 2 (b) of space \"s\" must be string");
}

static void field_count_is_the_number_of_fields(void **state)
{
    (void)state;
    make("{\"field_count\": 2, \"format\": [[\"id\", \"unsigned\"]]}");
    must(insert(&f, NULL, "s", "[1, 2]"));
    refused(insert(&f, NULL, "s", "[2]"), ERROR_SCHEMA, "exactly 2 fields, not 1");
    refused(insert(&f, NULL, "s", "[2, 2, 2]"), ERROR_SCHEMA, "exactly 2 fields, not 3");
    db_fixture_reopen(&f);
    refused(insert(&f, NULL, "s", "[2]"), ERROR_SCHEMA, "exactly 2 fields, not 1");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(each_type_takes_its_values_and_no_others),
        TEST(a_double_takes_whole_numbers_that_are_exact),
        TEST(an_any_field_takes_nil_unless_it_says_otherwise),
        TEST(what_does_not_fit_is_named_with_its_row),
        TEST(nullable_action_says_the_same_as_is_nullable),
        TEST(a_default_takes_the_place_of_what_is_nil_or_not_there),
        TEST(an_update_gets_no_defaults),
        TEST(a_default_must_be_of_its_fields_type),
        TEST(a_default_can_be_computed_from_the_other_fields),
        TEST(a_generated_field_is_always_what_its_expression_gives),
        TEST(an_expression_that_fails_refuses_the_statement),
        TEST(a_generated_field_must_be_of_its_type),
        TEST(field_count_is_the_number_of_fields),
    };
    return engines_run_all("formats", tests, sizeof tests / sizeof *tests);
}
