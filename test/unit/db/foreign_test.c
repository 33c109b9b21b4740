/* SPDX-License-Identifier: Apache-2.0 */
/* Foreign keys: what is referred to is there, also when two transactions race, at every level. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "db/access.h"
#include "db/db_fixture.h"
#include "db/expression_fixture.h"
#include "txn/lock.h"

static struct db_fixture f;

static int setup(void **state)
{
    (void)state;
    db_fixture_open(&f);
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

#define PK "{\"parts\": [[1, \"unsigned\"]]}"

/* Customers, and orders [id, customer] with an index on the second field. */
static void make_with(const char *key)
{
    char options[512];
    must(
        make_space(&f, "customers", "{\"format\": [[\"id\", \"unsigned\"], [\"name\", \"any\"]]}"));
    must(make_index(&f, "customers", "pk", PK));
    snprintf(
        options, sizeof options,
        "{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"customer\", \"type\": \"unsigned\", "
        "\"is_nullable\": true}], \"foreign_key\": {\"buyer\": {\"space\": \"customers\", "
        "\"field\": {\"customer\": \"id\"}%s}}}",
        key);
    must(make_space(&f, "orders", options));
    must(make_index(&f, "orders", "pk", PK));
    must(make_index(&f, "orders", "customer", "{\"unique\": false, \"parts\": [\"customer\"]}"));
}

static const char *orders(void)
{
    return select_by(&f, NULL, "orders", "pk", ITERATOR_ALL, NULL);
}

static void what_is_referred_to_must_be_there(void **state)
{
    (void)state;
    make_with("");
    must(insert(&f, NULL, "customers", "[1, \"a\"]"));
    must(insert(&f, NULL, "orders", "[1, 1]"));
    refused(
        insert(&f, NULL, "orders", "[2, 7]"), ERROR_CONSTRAINT,
        "foreign key \"buyer\" of space \"orders\": row {2} refers to {7}, which is not in space "
        "\"customers\"");
    refused(update_by(&f, NULL, "orders", "pk", "[1]", "[[\"=\", 2, 7]]"), ERROR_CONSTRAINT, "{7}");
    refused(replace(&f, NULL, "orders", "[1, 7]"), ERROR_CONSTRAINT, "row {1} refers to {7}");
    refused(upsert(&f, NULL, "orders", "[3, 7]", "[]"), ERROR_CONSTRAINT, "row {3}");
    assert_string_equal(orders(), "[1,1]");
    db_fixture_reopen(&f);
    refused(insert(&f, NULL, "orders", "[2, 7]"), ERROR_CONSTRAINT, "foreign key \"buyer\"");
    must(insert(&f, NULL, "orders", "[2, 1]"));
}

static void nil_refers_to_nothing(void **state)
{
    (void)state;
    make_with("");
    must(insert(&f, NULL, "orders", "[1]"));
    must(insert(&f, NULL, "orders", "[2, null]"));
}

static void a_row_that_is_referred_to_stays(void **state)
{
    (void)state;
    make_with("");
    must(insert(&f, NULL, "customers", "[1, \"a\"]"));
    must(insert(&f, NULL, "customers", "[2, \"b\"]"));
    must(insert(&f, NULL, "orders", "[5, 1]"));
    refused(delete_by(&f, NULL, "customers", "pk", "[1]"), ERROR_CONSTRAINT,
            "foreign key \"buyer\" of space \"orders\": row {5} refers to row {1} of space "
            "\"customers\"");
    must(delete_by(&f, NULL, "customers", "pk", "[2]"));
    must(replace(&f, NULL, "customers", "[1, \"c\"]"));
    must(update_by(&f, NULL, "customers", "pk", "[1]", "[[\"=\", 2, \"d\"]]"));
    must(delete_by(&f, NULL, "orders", "pk", "[5]"));
    must(delete_by(&f, NULL, "customers", "pk", "[1]"));
}

static void a_key_that_is_referred_to_stays(void **state)
{
    (void)state;
    must(make_space(&f, "p",
                    "{\"format\": [[\"id\", \"unsigned\"], [\"a\", \"unsigned\"], [\"b\", "
                    "\"string\"]]}"));
    must(make_index(&f, "p", "pk", PK));
    must(make_index(&f, "p", "key", "{\"parts\": [\"b\", \"a\"]}"));
    must(make_space(&f, "c",
                    "{\"format\": [[\"id\", \"unsigned\"], [\"x\", \"unsigned\"], [\"y\", "
                    "\"string\"]], \"foreign_key\": {\"k\": {\"space\": \"p\", \"field\": "
                    "{\"x\": \"a\", \"y\": \"b\"}}}}"));
    must(make_index(&f, "c", "pk", PK));
    must(make_index(&f, "c", "xy", "{\"unique\": false, \"parts\": [\"x\", \"y\", \"id\"]}"));
    must(insert(&f, NULL, "p", "[1, 10, \"u\"]"));
    refused(insert(&f, NULL, "c", "[1, 10, \"v\"]"), ERROR_CONSTRAINT, "refers to {10, \"v\"}");
    must(insert(&f, NULL, "c", "[1, 10, \"u\"]"));
    refused(update_by(&f, NULL, "p", "pk", "[1]", "[[\"=\", 2, 11]]"), ERROR_CONSTRAINT,
            "row {1} refers to row {1}");
    refused(replace(&f, NULL, "p", "[1, 10, \"w\"]"), ERROR_CONSTRAINT, "refers to row {1}");
    must(replace(&f, NULL, "p", "[1, 10, \"u\", 5]"));
    must(delete_by(&f, NULL, "c", "pk", "[1]"));
    must(update_by(&f, NULL, "p", "pk", "[1]", "[[\"=\", 2, 11]]"));
}

static void rows_go_with_the_one_that_they_refer_to(void **state)
{
    (void)state;
    make_with(", \"on_delete\": \"cascade\"");
    must(insert(&f, NULL, "customers", "[1, \"a\"]"));
    must(insert(&f, NULL, "customers", "[2, \"b\"]"));
    must(insert(&f, NULL, "orders", "[1, 1]"));
    must(insert(&f, NULL, "orders", "[2, 2]"));
    must(insert(&f, NULL, "orders", "[3, 1]"));
    must(insert(&f, NULL, "orders", "[4]"));
    must(delete_by(&f, NULL, "customers", "pk", "[1]"));
    assert_string_equal(orders(), "[2,2] [4]");
}

/* p [id, code, up], of which up refers to the code of another; c [id, code] to that of p. */
static void make_coded(const char *action)
{
    char options[512];
    snprintf(options, sizeof options,
             "{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"code\", \"type\": \"unsigned\", "
             "\"is_nullable\": true}, {\"name\": \"up\", \"type\": \"unsigned\", "
             "\"is_nullable\": true, \"foreign_key\": {\"space\": \"p\", \"field\": \"code\", "
             "\"on_update\": \"%s\"}}]}",
             action);
    must(make_space(&f, "p", options));
    must(make_index(&f, "p", "pk", PK));
    must(make_index(&f, "p", "code", "{\"parts\": [\"code\"]}"));
    must(make_index(&f, "p", "up", "{\"unique\": false, \"parts\": [\"up\"]}"));
    snprintf(options, sizeof options,
             "{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"code\", \"type\": \"unsigned\", "
             "\"is_nullable\": true, \"foreign_key\": {\"space\": \"p\", \"field\": \"code\", "
             "\"on_update\": \"%s\"}}]}",
             action);
    must(make_space(&f, "c", options));
    must(make_index(&f, "c", "pk", PK));
    must(make_index(&f, "c", "code", "{\"unique\": false, \"parts\": [\"code\"]}"));
    must(insert(&f, NULL, "p", "[1, 10]"));
    must(insert(&f, NULL, "p", "[2, 20, 10]"));
    must(insert(&f, NULL, "c", "[5, 10]"));
    must(insert(&f, NULL, "c", "[6, 10]"));
    must(insert(&f, NULL, "c", "[7, 20]"));
}

static const char *all_of(const char *space)
{
    return select_by(&f, NULL, space, "pk", ITERATOR_ALL, NULL);
}

static void rows_follow_a_key_that_changes(void **state)
{
    (void)state;
    make_coded("cascade");
    must(update_by(&f, NULL, "p", "pk", "[1]", "[[\"=\", 2, 11]]"));
    assert_string_equal(all_of("c"), "[5,11] [6,11] [7,20]");
    assert_string_equal(all_of("p"), "[1,11] [2,20,11]");
    must(replace(&f, NULL, "p", "[1, 12, 12]")); /* it refers to itself from now on */
    assert_string_equal(all_of("c"), "[5,12] [6,12] [7,20]");
    must(update_by(&f, NULL, "p", "pk", "[1]", "[[\"=\", 2, 13]]"));
    assert_string_equal(all_of("p"), "[1,13,13] [2,20,13]");
    db_fixture_reopen(&f);
    must(update_by(&f, NULL, "p", "pk", "[1]", "[[\"=\", 2, null]]")); /* to nothing */
    assert_string_equal(all_of("c"), "[5,null] [6,null] [7,20]");
    assert_string_equal(all_of("p"), "[1,null,null] [2,20,null]");
    refused(delete_by(&f, NULL, "p", "pk", "[2]"), ERROR_CONSTRAINT, "row {7} refers to row {2}");
}

static void rows_may_lose_a_key_that_changes(void **state)
{
    (void)state;
    make_coded("set_null");
    must(update_by(&f, NULL, "p", "pk", "[1]", "[[\"=\", 2, 11]]"));
    assert_string_equal(all_of("c"), "[5,null] [6,null] [7,20]");
    assert_string_equal(all_of("p"), "[1,11] [2,20,null]");
}

static void a_row_that_cannot_follow_changes_nothing(void **state)
{
    (void)state;
    make_coded("cascade");
    must(make_index(&f, "c", "own",
                    "{\"parts\": [{\"field\": \"code\"}, {\"field\": \"id\"}], "
                    "\"condition\": [\"code\", \"==\", 11]}"));
    uint32_t id = space_of(&f, NULL, "c")->id;
    must(ddl_space_alter(f.workers[0], id,
                         mp_of("{\"constraint\": {\"low\": [\"code\", \"<\", 100]}}", NULL)));
    refused(update_by(&f, NULL, "p", "pk", "[1]", "[[\"=\", 2, 100]]"), ERROR_CONSTRAINT,
            "constraint \"low\"");
    assert_string_equal(all_of("c"), "[5,10] [6,10] [7,20]");
    assert_string_equal(all_of("p"), "[1,10] [2,20,10]");
}

static void rows_may_lose_what_they_refer_to(void **state)
{
    (void)state;
    make_with(", \"on_delete\": \"set_null\"");
    must(insert(&f, NULL, "customers", "[1, \"a\"]"));
    must(insert(&f, NULL, "orders", "[1, 1]"));
    must(insert(&f, NULL, "orders", "[2, 1]"));
    must(delete_by(&f, NULL, "customers", "pk", "[1]"));
    assert_string_equal(orders(), "[1,null] [2,null]");
}

/* A tree: each row names its parent. */
static void make_tree(const char *action)
{
    char options[512];
    snprintf(options, sizeof options,
             "{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"up\", \"type\": \"unsigned\", "
             "\"is_nullable\": true, \"foreign_key\": {\"tree\": {\"space\": \"s\", \"field\": "
             "\"id\", \"on_delete\": \"%s\"}}}]}",
             action);
    must(make_space(&f, "s", options));
    must(make_index(&f, "s", "pk", PK));
    must(make_index(&f, "s", "up", "{\"unique\": false, \"parts\": [\"up\"]}"));
}

static const char *tree(void)
{
    return select_by(&f, NULL, "s", "pk", ITERATOR_ALL, NULL);
}

static void a_space_may_refer_to_itself(void **state)
{
    (void)state;
    make_tree("cascade");
    must(insert(&f, NULL, "s", "[1]"));
    must(insert(&f, NULL, "s", "[2, 1]"));
    must(insert(&f, NULL, "s", "[3, 2]"));
    must(insert(&f, NULL, "s", "[4, 4]"));
    must(insert(&f, NULL, "s", "[5, 4]"));
    refused(insert(&f, NULL, "s", "[6, 7]"), ERROR_CONSTRAINT, "row {6} refers to {7}");
    must(delete_by(&f, NULL, "s", "pk", "[1]"));
    assert_string_equal(tree(), "[4,4] [5,4]");
    must(delete_by(&f, NULL, "s", "pk", "[4]"));
    assert_string_equal(tree(), "");
}

static void a_cycle_goes_as_a_whole(void **state)
{
    (void)state;
    make_tree("cascade");
    must(insert(&f, NULL, "s", "[1]"));
    must(insert(&f, NULL, "s", "[2, 1]"));
    must(insert(&f, NULL, "s", "[3, 2]"));
    must(update_by(&f, NULL, "s", "pk", "[1]", "[[\"=\", 2, 3]]"));
    must(delete_by(&f, NULL, "s", "pk", "[2]"));
    assert_string_equal(tree(), "");
}

static void a_row_may_refer_to_itself_and_be_deleted(void **state)
{
    (void)state;
    make_tree("restrict");
    must(insert(&f, NULL, "s", "[1, 1]"));
    must(insert(&f, NULL, "s", "[2, 1]"));
    refused(delete_by(&f, NULL, "s", "pk", "[1]"), ERROR_CONSTRAINT, "row {2} refers to row {1}");
    must(delete_by(&f, NULL, "s", "pk", "[2]"));
    must(delete_by(&f, NULL, "s", "pk", "[1]"));
}

static void rows_go_with_one_another_to_a_depth_only(void **state)
{
    (void)state;
    make_tree("cascade");
    must(insert(&f, NULL, "s", "[1]"));
    for (unsigned i = 2; i <= 120; i++) {
        char text[32];
        snprintf(text, sizeof text, "[%u, %u]", i, i - 1);
        must(insert(&f, NULL, "s", text));
    }
    refused(delete_by(&f, NULL, "s", "pk", "[1]"), ERROR_CONSTRAINT, "more than 100 deep");
    assert_string_equal(get_by(&f, NULL, "s", "pk", "[120]"), "[120,119]");
    assert_string_equal(get_by(&f, NULL, "s", "pk", "[1]"), "[1]");
    must(delete_by(&f, NULL, "s", "pk", "[50]"));
    must(delete_by(&f, NULL, "s", "pk", "[1]"));
    assert_string_equal(tree(), "");
}

static void a_chain_that_ends_in_a_refusal_changes_nothing(void **state)
{
    (void)state;
    make_with(", \"on_delete\": \"cascade\"");
    must(make_space(&f, "parcels",
                    "{\"format\": [[\"id\", \"unsigned\"], [\"order\", \"unsigned\"]], "
                    "\"foreign_key\": {\"of\": {\"space\": \"orders\", \"field\": "
                    "{\"order\": \"id\"}}}}"));
    must(make_index(&f, "parcels", "pk", PK));
    must(make_index(&f, "parcels", "order", "{\"unique\": false, \"parts\": [\"order\"]}"));
    must(insert(&f, NULL, "customers", "[1, \"a\"]"));
    must(insert(&f, NULL, "orders", "[1, 1]"));
    must(insert(&f, NULL, "orders", "[2, 1]"));
    must(insert(&f, NULL, "parcels", "[1, 2]"));
    struct txn *txn = begin(&f, 0, TXN_SERIALIZABLE);
    must(insert(&f, txn, "orders", "[3, 1]"));
    refused(
        delete_by(&f, txn, "customers", "pk", "[1]"), ERROR_CONSTRAINT,
        "foreign key \"of\" of space \"parcels\": row {1} refers to row {2} of space \"orders\"");
    assert_string_equal(select_by(&f, txn, "orders", "pk", ITERATOR_ALL, NULL),
                        "[1,1] [2,1] [3,1]");
    must(txn_commit(txn));
    assert_string_equal(orders(), "[1,1] [2,1] [3,1]");
    assert_string_equal(get_by(&f, NULL, "customers", "pk", "[1]"), "[1,\"a\"]");
}

static void both_ends_need_an_index(void **state)
{
    (void)state;
    must(make_space(&f, "p", "{\"format\": [[\"id\", \"unsigned\"], [\"a\", \"unsigned\"]]}"));
    refused(make_space(&f, "c",
                       "{\"format\": [[\"id\", \"unsigned\"]], \"foreign_key\": {\"k\": "
                       "{\"space\": \"p\", \"field\": {\"id\": \"a\"}}}}"),
            ERROR_SCHEMA,
            "foreign key \"k\": space \"p\" needs a unique index on a, which it refers");
    must(make_index(&f, "p", "pk", PK));
    must(make_space(&f, "c",
                    "{\"format\": [[\"id\", \"unsigned\"], [\"b\", \"unsigned\"]], "
                    "\"foreign_key\": {\"k\": {\"space\": \"p\", \"field\": {\"b\": "
                    "\"id\"}}}}"));
    must(make_index(&f, "c", "pk", PK));
    must(insert(&f, NULL, "p", "[1, 1]"));
    refused(
        insert(&f, NULL, "c", "[1, 1]"), ERROR_SCHEMA,
        "foreign key \"k\": space \"c\" needs an index on b, by which rows that refer are found");
    must(make_index(&f, "c", "b", "{\"unique\": false, \"parts\": [\"b\"]}"));
    must(insert(&f, NULL, "c", "[1, 1]"));
    refused(drop_index(&f, "c", "b"), ERROR_SCHEMA, "foreign key \"k\" of space \"c\" needs it");
    refused(drop_space(&f, "p"), ERROR_SCHEMA, "foreign key \"k\" of space \"c\" refers to it");
    refused(truncate_space(&f, "p"), ERROR_SCHEMA, "cannot be truncated");
    must(drop_space(&f, "c"));
    must(truncate_space(&f, "p"));
    must(drop_space(&f, "p"));
}

static void a_foreign_key_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    must(make_space(&f, "p", "{\"format\": [[\"id\", \"unsigned\"]]}"));
    must(make_index(&f, "p", "pk", PK));
#define C "{\"format\": [[\"id\", \"unsigned\"], [\"b\", \"string\"]], \"foreign_key\": "
    refused(make_space(&f, "c", C "{\"k\": {\"space\": \"x\", \"field\": {\"id\": \"id\"}}}}"),
            ERROR_NOT_FOUND, "there is no space \"x\"");
    refused(make_space(&f, "c", C "{\"k\": {\"space\": \"p\", \"field\": {\"z\": \"id\"}}}}"),
            ERROR_INVALID, "space \"c\" has no field \"z\"");
    refused(make_space(&f, "c", C "{\"k\": {\"space\": \"p\", \"field\": {\"id\": \"z\"}}}}"),
            ERROR_INVALID, "space \"p\" has no field \"z\"");
    refused(make_space(&f, "c", C "{\"k\": {\"space\": \"p\", \"field\": {\"b\": \"id\"}}}}"),
            ERROR_SCHEMA, "field \"b\" is string, and what it refers to is unsigned");
    refused(make_space(&f, "c",
                       C "{\"k\": {\"space\": \"p\", \"field\": {\"id\": \"id\"}, "
                         "\"on_delete\": \"set_null\"}}}"),
            ERROR_SCHEMA, "needs field \"id\" to be nullable");
    refused(make_space(&f, "c",
                       C "{\"k\": {\"space\": \"p\", \"field\": {\"id\": \"id\"}, "
                         "\"on_update\": \"follow\"}}}"),
            ERROR_INVALID, "on_update is 'restrict'");
    refused(make_space(&f, "c",
                       C "{\"k\": {\"space\": \"p\", \"field\": {\"id\": \"id\"}, "
                         "\"on_update\": \"set_null\"}}}"),
            ERROR_SCHEMA, "on_update = 'set_null' needs field \"id\" to be nullable");
    refused(make_space(&f, "c", C "{\"k\": {\"space\": \"p\"}}}"), ERROR_INVALID, "it needs field");
}

static void rows_must_refer_to_others_when_a_key_is_added(void **state)
{
    (void)state;
    make_with("");
    uint32_t id = space_of(&f, NULL, "orders")->id;
    must(ddl_space_alter(f.workers[0], id, mp_of("{\"foreign_key\": {}}", NULL)));
    must(insert(&f, NULL, "orders", "[1, 7]"));
    const char *key =
        "{\"foreign_key\": {\"space\": \"customers\", \"field\": {\"customer\": \"id\"}}}";
    refused(ddl_space_alter(f.workers[0], id, mp_of(key, NULL)), ERROR_CONSTRAINT,
            "foreign key \"customers\" of space \"orders\": row {1} refers to {7}");
    must(insert(&f, NULL, "customers", "[7]"));
    must(ddl_space_alter(f.workers[0], id, mp_of(key, NULL)));
    refused(delete_by(&f, NULL, "customers", "pk", "[7]"), ERROR_CONSTRAINT, "{7}");
}

static void who_refers_to_a_space_may_alter_it_and_later_need_not(void **state)
{
    (void)state;
    struct password password = {0};
    make_with("");
    must(access_user_create(f.workers[0], "bob", 3, false, &password, false));
    struct access_change change = {.grantee = "bob",
                                   .grantee_size = 3,
                                   .privileges = ACCESS_CREATE | ACCESS_WRITE,
                                   .type = ACCESS_UNIVERSE};
    must(access_grant(f.workers[0], &change));
    const struct access *access = access_of(f.workers[0]);
    access_user_set(f.workers[0], access_user(access, "bob", 3)->id);
    refused(make_space(&f, "t",
                       "{\"format\": [[\"id\", \"unsigned\"]], \"foreign_key\": {\"space\": "
                       "\"customers\", \"field\": {\"id\": \"id\"}}}"),
            ERROR_ACCESS, "customers");
    must(truncate_space(&f, "orders"));
    access_user_set(f.workers[0], ACCESS_ADMIN);
    refused(insert(&f, NULL, "orders", "[2, 7]"), ERROR_CONSTRAINT, "foreign key \"buyer\"");
}

/* ---------------------------------------------------------------------------------- two at a time */

static const enum txn_level levels[] = {TXN_READ_UNCOMMITTED, TXN_READ_COMMITTED, TXN_SNAPSHOT,
                                        TXN_SERIALIZABLE};
enum { LEVELS = sizeof levels / sizeof *levels };

/* Whether each order's customer is there. */
static void whole(void)
{
    struct txn *txn = begin(&f, 2, TXN_SNAPSHOT);
    struct space_cursor cursor;
    struct tuple_ref tuple;
    must(space_cursor_open(&cursor, txn, index_of(&f, txn, "orders", "pk"), ITERATOR_ALL, NULL));
    while (space_cursor_next(&cursor, &tuple) == 0) {
        const char *customer = mp_array_at(tuple.data, 1);
        char key[16] = "\x91";
        if (customer == NULL || mp_typeof(*customer) == MP_NIL)
            continue;
        const char *end = customer;
        mp_next(&end);
        memcpy(key + 1, customer, (size_t)(end - customer));
        struct tuple_ref found;
        must(space_get(txn, index_of(&f, txn, "customers", "pk"), key, &found));
        assert_non_null(found.data);
    }
    txn_rollback(txn);
}

static int end(struct txn *txn, int rc)
{
    if (rc == 0)
        return txn_commit(txn);
    txn_rollback(txn);
    return rc;
}

static void a_row_is_not_referred_to_while_another_deletes_it(void **state)
{
    (void)state;
    static const char *const actions[] = {"", ", \"on_delete\": \"cascade\"",
                                          ", \"on_delete\": \"set_null\""};
    for (unsigned action = 0; action < 3; action++) {
        make_with(actions[action]);
        for (unsigned one = 0; one < LEVELS; one++)
            for (unsigned two = 0; two < LEVELS; two++)
                for (unsigned order = 0; order < 4; order++) {
                    must(replace(&f, NULL, "customers", "[1, \"a\"]"));
                    struct txn *child = begin(&f, 0, levels[one]),
                               *parent = begin(&f, 1, levels[two]);
                    int written = 0, deleted = 0;
                    if (order & 1) {
                        written = insert(&f, child, "orders", "[1, 1]");
                        if (order & 2)
                            written = end(child, written);
                        deleted = end(parent, delete_by(&f, parent, "customers", "pk", "[1]"));
                        if (!(order & 2))
                            written = end(child, written);
                    } else {
                        deleted = delete_by(&f, parent, "customers", "pk", "[1]");
                        if (order & 2)
                            deleted = end(parent, deleted);
                        written = end(child, insert(&f, child, "orders", "[1, 1]"));
                        if (!(order & 2))
                            deleted = end(parent, deleted);
                    }
                    bool takes = action > 0 && order == 3; /* one behind the other */
                    if (written == 0 && deleted == 0 && !takes)
                        fail_msg("both have committed: levels %u %u, order %u", one, two, order);
                    if (written != 0 && deleted != 0)
                        fail_msg("none has committed: levels %u %u, order %u", one, two, order);
                    whole();
                    delete_by(&f, NULL, "orders", "pk", "[1]");
                }
        must(drop_space(&f, "orders"));
        must(drop_space(&f, "customers"));
    }
}

static void a_row_that_is_being_made_is_not_referred_to(void **state)
{
    (void)state;
    make_with("");
    for (unsigned level = 0; level < LEVELS; level++) {
        struct txn *parent = begin(&f, 0, TXN_SNAPSHOT), *child = begin(&f, 1, levels[level]);
        must(insert(&f, parent, "customers", "[9, \"a\"]"));
        int rc = insert(&f, child, "orders", "[9, 9]");
        assert_true(rc == ERROR_CONFLICT || rc == ERROR_CONSTRAINT);
        txn_rollback(child);
        txn_rollback(parent);
        whole();
    }
}

static void a_row_that_is_being_changed_is_referred_to(void **state)
{
    (void)state;
    make_with("");
    must(insert(&f, NULL, "customers", "[1, \"a\"]"));
    for (unsigned level = 0; level < LEVELS; level++) {
        struct txn *parent = begin(&f, 0, TXN_SNAPSHOT), *child = begin(&f, 1, levels[level]);
        must(replace(&f, parent, "customers", "[1, \"b\"]"));
        must(replace(&f, child, "orders", "[1, 1]"));
        must(txn_commit(parent));
        must(txn_commit(child));
        whole();
    }
}

static void one_transaction_makes_and_takes_both(void **state)
{
    (void)state;
    make_with("");
    struct txn *txn = begin(&f, 0, TXN_SERIALIZABLE);
    must(insert(&f, txn, "customers", "[1, \"a\"]"));
    must(insert(&f, txn, "orders", "[1, 1]"));
    refused(delete_by(&f, txn, "customers", "pk", "[1]"), ERROR_CONSTRAINT, "refers to row {1}");
    must(delete_by(&f, txn, "orders", "pk", "[1]"));
    must(delete_by(&f, txn, "customers", "pk", "[1]"));
    refused(insert(&f, txn, "orders", "[1, 1]"), ERROR_CONSTRAINT, "refers to {1}");
    must(insert(&f, txn, "customers", "[1, \"b\"]"));
    must(insert(&f, txn, "orders", "[1, 1]"));
    must(txn_commit(txn));
    whole();
}

static void who_was_told_that_a_row_is_not_there_has_read_it(void **state)
{
    (void)state;
    make_with("");
    must(make_space(&f, "notes", "{}"));
    must(make_index(&f, "notes", "pk", PK));
    struct txn *txn = begin(&f, 0, TXN_SERIALIZABLE), *other = begin(&f, 1, TXN_SERIALIZABLE);
    refused(insert(&f, txn, "orders", "[1, 1]"), ERROR_CONSTRAINT, "refers to {1}");
    must(insert(&f, txn, "notes", "[1]"));
    assert_null(get_by(&f, other, "notes", "pk", "[1]"));
    must(insert(&f, other, "customers", "[1]"));
    must(txn_commit(other));
    assert_int_equal(txn_commit(txn), ERROR_CONFLICT);
}

static struct txn *open_at(unsigned worker)
{
    struct txn *txn;
    must(txn_open(db_worker_txn(f.workers[worker]),
                  &(struct txn_options){.level = TXN_SERIALIZABLE}, &txn));
    return txn;
}

/* What a transaction that has met a parked one gets, after which it has ended. */
static void waits(struct txn *txn, int rc)
{
    struct txn_worker *worker = txn_worker_of(txn);
    assert_int_equal(rc, ERROR_WAIT);
    txn_rollback(txn);
    struct lock_owner *owner = txn_owner_detach(worker);
    assert_non_null(owner);
    lock_owner_delete(owner);
}

static void a_parked_transaction_is_waited_for(void **state)
{
    (void)state;
    make_with("");
    must(insert(&f, NULL, "customers", "[1, \"a\"]"));
    struct txn *parked = open_at(0), *txn;
    must(delete_by(&f, parked, "customers", "pk", "[1]"));
    txn_park(parked);
    txn = begin(&f, 1, TXN_SNAPSHOT);
    waits(txn, insert(&f, txn, "orders", "[1, 1]"));
    must(txn_resume(parked));
    txn_rollback(parked);
    parked = open_at(0);
    must(insert(&f, parked, "orders", "[1, 1]"));
    txn_park(parked);
    txn = begin(&f, 1, TXN_SNAPSHOT);
    waits(txn, delete_by(&f, txn, "customers", "pk", "[1]"));
    must(txn_resume(parked));
    must(txn_commit(parked));
    refused(delete_by(&f, NULL, "customers", "pk", "[1]"), ERROR_CONSTRAINT, "row {1} refers to");
    whole();
}

/* ---------------------------------------------------------------------------------- against a model */

enum { MODEL_KEYS = 6, MODEL_STEPS = 400, MODEL_CHAIN = 3 };

/* Three spaces: b refers to a, c to b and to itself. */
struct model {
    bool there[MODEL_CHAIN][MODEL_KEYS];
    int up[MODEL_CHAIN][MODEL_KEYS], own[MODEL_KEYS]; /* -1: nil */
    int action[MODEL_CHAIN + 1];                      /* of the keys of b, c, and c to itself */
};
static const char *const model_spaces[] = {"a", "b", "c"};
static const char *const model_actions[] = {"restrict", "cascade", "set_null"};

static bool model_delete(struct model *model, int space, int key)
{
    struct model before = *model;
    model->there[space][key] = false;
    for (int child = space; child <= space + 1 && child < MODEL_CHAIN; child++) {
        bool itself = child == space;
        if (itself && space != 2)
            continue;
        int *up = itself ? model->own : model->up[child];
        int action = model->action[itself ? MODEL_CHAIN : child];
        for (int i = 0; i < MODEL_KEYS; i++) {
            if (!model->there[child][i] || up[i] != key)
                continue;
            if (action == 0 || (action == 1 && !model_delete(model, child, i))) {
                *model = before;
                return false;
            }
            if (action == 2)
                up[i] = -1;
        }
    }
    return true;
}

static bool model_replace(struct model *model, int space, int key, int up, int own)
{
    if (space > 0 && up >= 0 && !model->there[space - 1][up])
        return false;
    if (space == 2 && own >= 0 && own != key && !model->there[2][own])
        return false;
    model->there[space][key] = true;
    model->up[space][key] = up;
    if (space == 2)
        model->own[key] = own;
    return true;
}

static void nil_or(char *out, size_t size, int value)
{
    snprintf(out, size, value < 0 ? "null" : "%d", value);
}

static void model_compare(const struct model *model)
{
    for (int space = 0; space < MODEL_CHAIN; space++)
        for (int key = 0; key < MODEL_KEYS; key++) {
            char text[32], expected[96], up[16], own[16];
            snprintf(text, sizeof text, "[%d]", key);
            const char *found = get_by(&f, NULL, model_spaces[space], "pk", text);
            if (!model->there[space][key]) {
                assert_null(found);
                continue;
            }
            nil_or(up, sizeof up, model->up[space][key]);
            nil_or(own, sizeof own, space == 2 ? model->own[key] : -1);
            snprintf(expected, sizeof expected, "[%d,%s,%s]", key, up, own);
            assert_non_null(found);
            assert_string_equal(found, expected);
        }
}

static void model_make(struct model *model, struct random *random)
{
    char options[600];
    memset(model, 0, sizeof *model);
    for (int i = 1; i <= MODEL_CHAIN; i++)
        model->action[i] = (int)random_below(random, 3);
    for (int i = 0; i < MODEL_CHAIN; i++) {
        char keys[400] = "{}";
        if (i == 1)
            snprintf(keys, sizeof keys,
                     "{\"k\": {\"space\": \"a\", \"field\": {\"up\": \"id\"}, "
                     "\"on_delete\": \"%s\"}}",
                     model_actions[model->action[1]]);
        if (i == 2)
            snprintf(
                keys, sizeof keys,
                "{\"k\": {\"space\": \"b\", \"field\": {\"up\": \"id\"}, \"on_delete\": \"%s\"}, "
                "\"own\": {\"space\": \"c\", \"field\": {\"own\": \"id\"}, \"on_delete\": "
                "\"%s\"}}",
                model_actions[model->action[2]], model_actions[model->action[3]]);
        snprintf(options, sizeof options,
                 "{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"up\", \"type\": \"unsigned\", "
                 "\"is_nullable\": true}, {\"name\": \"own\", \"type\": \"unsigned\", "
                 "\"is_nullable\": true}], \"foreign_key\": %s}",
                 keys);
        must(make_space(&f, model_spaces[i], options));
        must(make_index(&f, model_spaces[i], "pk", PK));
        must(make_index(&f, model_spaces[i], "up", "{\"unique\": false, \"parts\": [\"up\"]}"));
        must(make_index(&f, model_spaces[i], "own", "{\"unique\": false, \"parts\": [\"own\"]}"));
    }
}

static void random_changes_do_what_a_model_does(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    struct random random;
    random_create(&random, seed);
    for (unsigned round = 0; round < 12; round++) {
        struct model model;
        model_make(&model, &random);
        for (unsigned step = 0; step < MODEL_STEPS; step++) {
            int space = (int)random_below(&random, MODEL_CHAIN),
                key = (int)random_below(&random, MODEL_KEYS);
            int up = space == 0 ? -1 : (int)random_below(&random, MODEL_KEYS + 1) - 1;
            int own = space != 2 ? -1 : (int)random_below(&random, MODEL_KEYS + 1) - 1;
            bool deletes = random_below(&random, 3) == 0, holds;
            char text[64], first[16], second[16];
            int rc;
            if (deletes) {
                struct model before = model;
                if (!model.there[space][key])
                    continue;
                holds = model_delete(&model, space, key);
                if (!holds)
                    model = before;
                snprintf(text, sizeof text, "[%d]", key);
                rc = delete_by(&f, NULL, model_spaces[space], "pk", text);
            } else {
                holds = model_replace(&model, space, key, up, own);
                nil_or(first, sizeof first, up);
                nil_or(second, sizeof second, own);
                snprintf(text, sizeof text, "[%d, %s, %s]", key, first, second);
                rc = replace(&f, NULL, model_spaces[space], text);
            }
            if (rc != (holds ? 0 : ERROR_CONSTRAINT))
                fail_msg("round %u step %u: %s of %s in %s: %s", round, step,
                         deletes ? "delete" : "replace", text, model_spaces[space],
                         diag_message_for(rc));
            model_compare(&model);
        }
        for (int i = MODEL_CHAIN - 1; i >= 0; i--)
            must(drop_space(&f, model_spaces[i]));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_referred_to_must_be_there),
        TEST(nil_refers_to_nothing),
        TEST(a_row_that_is_referred_to_stays),
        TEST(a_key_that_is_referred_to_stays),
        TEST(rows_go_with_the_one_that_they_refer_to),
        TEST(rows_follow_a_key_that_changes),
        TEST(rows_may_lose_a_key_that_changes),
        TEST(a_row_that_cannot_follow_changes_nothing),
        TEST(rows_may_lose_what_they_refer_to),
        TEST(a_space_may_refer_to_itself),
        TEST(a_cycle_goes_as_a_whole),
        TEST(a_row_may_refer_to_itself_and_be_deleted),
        TEST(rows_go_with_one_another_to_a_depth_only),
        TEST(a_chain_that_ends_in_a_refusal_changes_nothing),
        TEST(both_ends_need_an_index),
        TEST(a_foreign_key_that_makes_no_sense_is_refused),
        TEST(rows_must_refer_to_others_when_a_key_is_added),
        TEST(who_refers_to_a_space_may_alter_it_and_later_need_not),
        TEST(a_row_is_not_referred_to_while_another_deletes_it),
        TEST(a_row_that_is_being_made_is_not_referred_to),
        TEST(a_row_that_is_being_changed_is_referred_to),
        TEST(one_transaction_makes_and_takes_both),
        TEST(who_was_told_that_a_row_is_not_there_has_read_it),
        TEST(a_parked_transaction_is_waited_for),
        TEST(random_changes_do_what_a_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
