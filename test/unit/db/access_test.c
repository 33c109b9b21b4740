/* SPDX-License-Identifier: Apache-2.0 */

/* Users, roles and rights (db/access.h): against a naive model, and over restarts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "db/access.h"
#include "db/db_fixture.h"

static struct db_fixture f;

static int setup(void **state)
{
    (void)state;
    memset(&f, 0, sizeof f);
    db_fixture_open(&f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

static struct db_worker *worker(void)
{
    return f.workers[0];
}

static int create(const char *name, bool role)
{
    return access_user_create(worker(), name, strlen(name), role, NULL, false);
}

static int drop(const char *name, bool role)
{
    return access_user_drop(worker(), name, strlen(name), role, false);
}

static uint32_t id_of(const char *name)
{
    const struct access_user *user = access_user(access_of(worker()), name, strlen(name));
    assert_non_null(user);
    return user->id;
}

static struct access_change change_of(const char *grantee, bool role, unsigned privileges,
                                      enum access_object type, const char *object)
{
    return (struct access_change){.grantee = grantee,
                                  .grantee_size = strlen(grantee),
                                  .role = role,
                                  .privileges = privileges,
                                  .type = type,
                                  .object = object,
                                  .object_size = object == NULL ? 0 : strlen(object)};
}

static int grant(const char *grantee, bool role, unsigned privileges, enum access_object type,
                 const char *object)
{
    struct access_change change = change_of(grantee, role, privileges, type, object);
    return access_grant(worker(), &change);
}

static int revoke(const char *grantee, bool role, unsigned privileges, enum access_object type,
                  const char *object)
{
    struct access_change change = change_of(grantee, role, privileges, type, object);
    return access_revoke(worker(), &change);
}

static void as(const char *name)
{
    access_user_set(worker(), id_of(name));
}

static unsigned rights(const char *name, const char *space)
{
    const struct space *object = catalog_space(db_catalog(worker()), space, strlen(space));
    return access_rights(access_of(worker()), id_of(name), ACCESS_SPACE, object->id, object->owner);
}

/* ---------------------------------------------------------------------------------- the model */

enum { USERS = 5, ROLES = 5, SPACES = 4, STEPS = 250, GRANTEES = USERS + ROLES };

/* What has been granted, as it was said. */
static struct model {
    bool exists[GRANTEES];
    unsigned universe[GRANTEES], every[GRANTEES], spaces[GRANTEES][SPACES];
    bool roles[GRANTEES][ROLES];
} model;

static const char *name_of(unsigned n)
{
    static char names[GRANTEES][16];
    snprintf(names[n], sizeof names[n], n < USERS ? "user%u" : "role%u", n);
    return names[n];
}

static const char *space_name(unsigned n)
{
    static char names[SPACES][16];
    snprintf(names[n], sizeof names[n], "space%u", n);
    return names[n];
}

/* Without memory of where it has been: as deep as there are roles. */
static bool model_includes(unsigned grantee, unsigned role, unsigned depth)
{
    if (grantee == USERS + role)
        return true;
    for (unsigned n = 0; depth > 0 && n < ROLES; n++)
        if (model.roles[grantee][n] && model_includes(USERS + n, role, depth - 1))
            return true;
    return false;
}

static unsigned model_rights(unsigned user, unsigned space)
{
    unsigned universe = model.universe[user],
             result = model.every[user] | model.spaces[user][space];
    for (unsigned n = 0; n < ROLES; n++) {
        if (!model_includes(user, n, ROLES))
            continue;
        universe |= model.universe[USERS + n];
        result |= model.every[USERS + n] | model.spaces[USERS + n][space];
    }
    return (universe & ACCESS_USAGE) != 0 ? universe | result : 0;
}

static void model_check(void)
{
    const struct access *access = access_of(worker());
    for (unsigned user = 0; user < USERS; user++) {
        const struct access_user *found = access_user(access, name_of(user), strlen(name_of(user)));
        assert_int_equal(found != NULL, model.exists[user]);
        for (unsigned space = 0; found != NULL && space < SPACES; space++)
            assert_int_equal(rights(name_of(user), space_name(space)), model_rights(user, space));
    }
}

static void step_exists(unsigned n)
{
    bool role = n >= USERS;
    if (!model.exists[n]) {
        assert_int_equal(create(name_of(n), role), 0);
        model.universe[n] = role ? 0 : ACCESS_SESSION | ACCESS_USAGE;
        model.exists[n] = true;
        return;
    }
    assert_int_equal(create(name_of(n), role), ERROR_EXISTS);
    assert_int_equal(drop(name_of(n), role), 0);
    model.exists[n] = false;
    model.universe[n] = model.every[n] = 0;
    memset(model.spaces[n], 0, sizeof model.spaces[n]);
    memset(model.roles[n], 0, sizeof model.roles[n]);
    for (unsigned other = 0; role && other < GRANTEES; other++)
        model.roles[other][n - USERS] = false;
}

static void step_role(unsigned n, unsigned role, bool give)
{
    const char *name = name_of(USERS + role);
    if (!model.exists[USERS + role])
        assert_int_equal(
            (give ? grant : revoke)(name_of(n), n >= USERS, ACCESS_EXECUTE, ACCESS_ROLE, name),
            ERROR_NOT_FOUND);
    else if (!give)
        assert_int_equal(revoke(name_of(n), n >= USERS, ACCESS_EXECUTE, ACCESS_ROLE, name),
                         model.roles[n][role] ? 0 : ERROR_NOT_FOUND);
    else if (n >= USERS && model_includes(USERS + role, n - USERS, ROLES))
        assert_int_equal(grant(name_of(n), true, ACCESS_EXECUTE, ACCESS_ROLE, name), ERROR_INVALID);
    else
        assert_int_equal(grant(name_of(n), n >= USERS, ACCESS_EXECUTE, ACCESS_ROLE, name),
                         model.roles[n][role] ? ERROR_EXISTS : 0);
    if (!model.exists[USERS + role])
        return;
    if (!give)
        model.roles[n][role] = false;
    else if (n < USERS || !model_includes(USERS + role, n - USERS, ROLES))
        model.roles[n][role] = true;
}

static void step_grant(struct random *random, unsigned n, bool give)
{
    static const unsigned ON_SPACES[] = {ACCESS_READ, ACCESS_WRITE, ACCESS_READ | ACCESS_WRITE,
                                         ACCESS_ALTER | ACCESS_DROP | ACCESS_CREATE};
    static const unsigned ON_ALL[] = {ACCESS_READ, ACCESS_USAGE, ACCESS_SESSION | ACCESS_USAGE,
                                      ACCESS_EXECUTE | ACCESS_WRITE};
    unsigned which = (unsigned)random_below(random, 4), kind = (unsigned)random_below(random, 6);
    unsigned space = (unsigned)random_below(random, SPACES);
    unsigned *mask = kind == 0   ? &model.universe[n]
                     : kind == 1 ? &model.every[n]
                                 : &model.spaces[n][space];
    unsigned bits = kind == 0 ? ON_ALL[which] : ON_SPACES[which];
    int rc = (give ? grant : revoke)(name_of(n), n >= USERS, bits,
                                     kind == 0 ? ACCESS_UNIVERSE : ACCESS_SPACE,
                                     kind < 2 ? NULL : space_name(space));
    if (give)
        assert_int_equal(rc, (*mask & bits) == bits ? ERROR_EXISTS : 0);
    else
        assert_int_equal(rc, (*mask & bits) == 0 ? ERROR_NOT_FOUND : 0);
    *mask = give ? *mask | bits : *mask & ~bits;
}

static void rights_are_those_of_a_naive_model(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    memset(&model, 0, sizeof model);
    for (unsigned n = 0; n < SPACES; n++)
        assert_int_equal(make_space(&f, space_name(n), "{}"), 0);
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned n = (unsigned)random_below(&random, GRANTEES);
        bool give = random_below(&random, 3) != 0;
        if (!model.exists[n] || random_below(&random, 12) == 0)
            step_exists(n);
        else if (random_below(&random, 2) == 0)
            step_role(n, (unsigned)random_below(&random, ROLES), give);
        else
            step_grant(&random, n, give);
        model_check();
        if (random_below(&random, 60) == 0) {
            db_fixture_reopen(&f);
            model_check();
        }
    }
}

/* ------------------------------------------------------------------------------------ examples */

static void before_anybody_changes_users_the_guest_may_do_everything(void **state)
{
    (void)state;
    assert_int_equal(make_space(&f, "s", "{}"), 0);
    assert_int_equal(rights("guest", "s"), ACCESS_ALL);
    assert_int_equal(access_user_count(access_of(worker())), 4);
    assert_int_equal(revoke("guest", false, ACCESS_EXECUTE, ACCESS_ROLE, "super"), 0);
    assert_int_equal(rights("guest", "s"), ACCESS_SESSION | ACCESS_USAGE);
    assert_int_equal(rights("admin", "s"), ACCESS_ALL);
    db_fixture_reopen(&f);
    assert_int_equal(rights("guest", "s"), ACCESS_SESSION | ACCESS_USAGE);
    assert_int_equal(grant("guest", false, ACCESS_EXECUTE, ACCESS_ROLE, "super"), 0);
    assert_int_equal(rights("guest", "s"), ACCESS_ALL);
}

static void who_makes_something_owns_it_unless_it_is_the_guest(void **state)
{
    (void)state;
    assert_int_equal(create("bob", false), 0);
    assert_int_equal(grant("bob", false, ACCESS_CREATE, ACCESS_SPACE, NULL), 0);
    as("bob");
    assert_int_equal(make_space(&f, "s", "{}"), 0);
    assert_int_equal(rights("bob", "s"), ACCESS_ALL);
    as("guest");
    assert_int_equal(make_space(&f, "open", "{}"), 0);
    as("admin");
    assert_int_equal(revoke("guest", false, ACCESS_EXECUTE, ACCESS_ROLE, "super"), 0);
    assert_int_equal(rights("guest", "open") & ACCESS_READ, 0);
    assert_int_equal(drop("bob", false), ERROR_INVALID); /* it owns s */
}

static void an_owner_may_grant_what_it_owns_and_nothing_else(void **state)
{
    (void)state;
    assert_int_equal(create("bob", false), 0);
    assert_int_equal(create("eve", false), 0);
    assert_int_equal(grant("bob", false, ACCESS_CREATE, ACCESS_SPACE, NULL), 0);
    assert_int_equal(make_space(&f, "other", "{}"), 0);
    as("bob");
    assert_int_equal(make_space(&f, "s", "{}"), 0);
    assert_int_equal(grant("eve", false, ACCESS_READ, ACCESS_SPACE, "s"), 0);
    assert_int_equal(grant("eve", false, ACCESS_READ, ACCESS_SPACE, "other"), ERROR_ACCESS);
    assert_int_equal(grant("eve", false, ACCESS_READ, ACCESS_SPACE, NULL), ERROR_ACCESS);
    assert_int_equal(grant("bob", false, ACCESS_EXECUTE, ACCESS_ROLE, "super"), ERROR_ACCESS);
    assert_int_equal(grant("bob", false, ACCESS_READ, ACCESS_UNIVERSE, NULL), ERROR_ACCESS);
    as("eve");
    assert_int_equal(grant("eve", false, ACCESS_WRITE, ACCESS_SPACE, "s"), ERROR_ACCESS);
    as("admin");
}

static void a_right_to_alter_users_does_not_lead_to_more(void **state)
{
    (void)state;
    struct password password = {.n = 16384, .r = 8, .p = 1};
    assert_int_equal(create("bob", false), 0);
    assert_int_equal(create("eve", false), 0);
    assert_int_equal(create("root", false), 0);
    assert_int_equal(grant("root", false, ACCESS_EXECUTE, ACCESS_ROLE, "super"), 0);
    assert_int_equal(grant("bob", false, ACCESS_ALTER, ACCESS_USER, NULL), 0);
    as("bob");
    assert_int_equal(access_password_set(worker(), "eve", 3, &password), 0);
    assert_int_equal(access_password_set(worker(), "root", 4, &password), ERROR_ACCESS);
    assert_int_equal(access_password_set(worker(), "admin", 5, &password), ERROR_ACCESS);
    as("eve");
    assert_int_equal(access_password_set(worker(), "bob", 3, &password), ERROR_ACCESS);
    assert_int_equal(access_password_set(worker(), "eve", 3, &password), 0);
    as("admin");
    assert_int_equal(access_password_set(worker(), "guest", 5, &password), ERROR_INVALID);
    assert_int_equal(access_password_set(worker(), "public", 6, &password), ERROR_NOT_FOUND);
}

static void who_replaces_what_runs_as_its_owner_owns_it(void **state)
{
    (void)state;
    size_t size;
    const char *plain = mp_of("{\"body\": \"return 1\"}", &size);
    assert_int_equal(ddl_func_create(worker(), "f", 1, plain), 0);
    assert_int_equal(create("bob", false), 0);
    assert_int_equal(grant("bob", false, ACCESS_ALTER, ACCESS_FUNCTION, "f"), 0);
    as("bob");
    const char *mine =
        mp_of("{\"body\": \"return 2\", \"setuid\": true, \"replace\": true}", &size);
    assert_int_equal(ddl_func_create(worker(), "f", 1, mine), 0);
    assert_int_equal(catalog_func(db_catalog(worker()), "f", 1)->owner, id_of("bob"));
    as("admin");
}

static void privileges_go_with_what_they_are_on(void **state)
{
    (void)state;
    assert_int_equal(make_space(&f, "s", "{\"id\": 600}"), 0);
    assert_int_equal(create("bob", false), 0);
    assert_int_equal(grant("bob", false, ACCESS_READ, ACCESS_SPACE, "s"), 0);
    assert_int_equal(drop_space(&f, "s"), 0);
    assert_int_equal(make_space(&f, "s", "{\"id\": 600}"), 0);
    assert_int_equal(rights("bob", "s") & ACCESS_READ, 0);
}

static void numbers_of_users_are_not_used_again(void **state)
{
    (void)state;
    assert_int_equal(create("bob", false), 0);
    uint32_t first = id_of("bob");
    assert_int_equal(first, ACCESS_ID_MIN);
    assert_int_equal(drop("bob", false), 0);
    db_fixture_reopen(&f);
    assert_int_equal(create("bob", false), 0);
    assert_int_equal(id_of("bob"), first + 1);
    assert_int_equal(drop("guest", false), ERROR_ACCESS);
    assert_int_equal(drop("super", true), ERROR_ACCESS);
}

static void passwords_and_flags_outlive_a_restart(void **state)
{
    (void)state;
    struct password password;
    assert_int_equal(password_make(&password, "builder", 7), 0);
    assert_int_equal(access_user_create(worker(), "bob", 3, false, &password, false), 0);
    db_fixture_reopen(&f);
    const struct access_user *bob = access_user(access_of(worker()), "bob", 3);
    assert_non_null(bob);
    assert_true(bob->has_password);
    assert_memory_equal(&bob->password, &password, sizeof password);
    assert_int_equal(password_verify(&bob->password, "builder", 7), 0);
    assert_int_equal(bob->flags_size, 1);
}

static void privileges_have_to_mean_something_on_their_object(void **state)
{
    (void)state;
    assert_int_equal(create("bob", false), 0);
    assert_int_equal(grant("bob", false, ACCESS_EXECUTE, ACCESS_SPACE, NULL), ERROR_INVALID);
    assert_int_equal(grant("bob", false, ACCESS_READ, ACCESS_FUNCTION, NULL), ERROR_INVALID);
    assert_int_equal(grant("bob", false, 0, ACCESS_UNIVERSE, NULL), ERROR_INVALID);
    assert_int_equal(grant("bob", false, ACCESS_EXECUTE, ACCESS_BINDING, "socket"), 0);
    assert_int_equal(grant("bob", false, ACCESS_EXECUTE, ACCESS_BINDING, "soccer"),
                     ERROR_NOT_FOUND);
    assert_int_equal(grant("admin", false, ACCESS_READ, ACCESS_UNIVERSE, NULL), ERROR_INVALID);
    assert_int_equal(grant("nobody", false, ACCESS_READ, ACCESS_UNIVERSE, NULL), ERROR_NOT_FOUND);
    assert_int_equal(create("with space", false), ERROR_INVALID);
    assert_int_equal(create("", false), ERROR_INVALID);
}

static void in_a_schema_transaction_what_was_changed_before_counts(void **state)
{
    (void)state;
    struct txn *txn;
    assert_int_equal(ddl_begin(worker(), NULL, &txn), 0);
    assert_int_equal(create("bob", false), 0);
    assert_int_equal(make_space(&f, "s", "{}"), 0);
    assert_int_equal(grant("bob", false, ACCESS_READ, ACCESS_SPACE, "s"), 0);
    assert_int_not_equal(rights("bob", "s") & ACCESS_READ, 0);
    ddl_rollback(worker());
    assert_null(access_user(access_of(worker()), "bob", 3));
    assert_int_equal(ddl_begin(worker(), NULL, &txn), 0);
    assert_int_equal(create("bob", false), 0);
    assert_int_equal(create("eve", false), 0);
    assert_int_equal(ddl_commit(worker()), 0);
    assert_int_equal(id_of("eve"), id_of("bob") + 1);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(rights_are_those_of_a_naive_model),
        WITH(before_anybody_changes_users_the_guest_may_do_everything),
        WITH(who_makes_something_owns_it_unless_it_is_the_guest),
        WITH(an_owner_may_grant_what_it_owns_and_nothing_else),
        WITH(a_right_to_alter_users_does_not_lead_to_more),
        WITH(who_replaces_what_runs_as_its_owner_owns_it),
        WITH(privileges_go_with_what_they_are_on),
        WITH(numbers_of_users_are_not_used_again),
        WITH(passwords_and_flags_outlive_a_restart),
        WITH(privileges_have_to_mean_something_on_their_object),
        WITH(in_a_schema_transaction_what_was_changed_before_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
