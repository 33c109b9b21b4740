/* SPDX-License-Identifier: Apache-2.0 */

/* Users at the edge of the server: logging in, and that every path asks who may (session_auth.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/mp.h"
#include "session/session_fixture.h"

static struct session_fixture *f;
static struct session *one, *two;

static int setup_with(const char *password)
{
    f = session_fixture_new(password, (struct service_limits){0});
    one = session_fixture_connect(f, 0);
    two = session_fixture_connect(f, 1);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return setup_with(NULL);
}

static int setup_password(void **state)
{
    (void)state;
    return setup_with("secret");
}

static int teardown(void **state)
{
    (void)state;
    session_delete(one);
    session_delete(two);
    session_fixture_delete(f);
    return 0;
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

static const char *say(struct session *session, const char *text)
{
    return session_fixture_text(f, session, "%s", text);
}

static void expect_at(struct session *session, const char *text, const char *expected,
                      const char *file, int line)
{
    const char *is = say(session, text);
    if (strncmp(is, expected, strlen(expected)) != 0) {
        print_error("%s: \"%s\" does not begin with \"%s\"\n", text, is, expected);
        _fail(file, line);
    }
}
#define expect(session, text, expected) expect_at(session, text, expected, __FILE__, __LINE__)

static const char OK[] = "+OK\r\n",
                  WRONG[] = "-WRONGPASS invalid username-password pair or user is "
                            "disabled.\r\n",
                  NOAUTH[] = "-NOAUTH Authentication required.\r\n";

/* bob, who may log in and nothing else; a space; a procedure; and a guest who may nothing. */
static void make_bob(void)
{
    expect(one, "lua \"box.schema.space.create('s'):create_index('pk')\"", "");
    expect(one, "lua \"box.space.s:insert({1, 'x'})\"", "");
    expect(one, "lua \"box.schema.func.create('f', {body = 'function() return 7 end'})\"", "$-1");
    expect(one, "set k v", OK);
    expect(one, "lua \"box.schema.user.passwd('admin', 'root')\"", "$-1");
    expect(one, "lua \"box.schema.user.create('bob', {password = 'builder'})\"", "$-1");
    expect(one, "lua \"box.schema.user.revoke('guest', 'super')\"", "$-1");
    expect(one, "auth admin root", OK);
}

static void a_database_without_users_serves_everybody(void **state)
{
    (void)state;
    expect(one, "set a 1", OK);
    expect(one, "lua box.session.user()", "$5\r\nguest\r\n");
    expect(one, "lua \"box.schema.space.create('s').name\"", "$1\r\ns\r\n");
    expect(one, "client list", "$");
}

static void a_user_logs_in_with_the_right_password_only(void **state)
{
    (void)state;
    make_bob();
    expect(two, "auth bob wrong", WRONG);
    expect(two, "auth bob", "-ERR AUTH <password> called without any password configured");
    expect(two, "auth nobody builder", WRONG);
    expect(two, "auth public builder", WRONG);
    expect(two, "get k", NOAUTH);
    expect(two, "auth bob builder", OK);
    expect(two, "get k", "-NOPERM User bob has no permissions to run the 'get' command\r\n");
    expect(two, "hello 3 auth bob wrong", WRONG);
    expect(two, "hello 3 auth bob builder setname b", "%7\r\n");
    expect(two, "client info", "=");
    assert_non_null(strstr(say(two, "client info"), "user=bob"));
    expect(two, "reset", "+RESET\r\n");
    expect(two, "get k", NOAUTH);
}

static void a_password_that_was_right_is_not_computed_again(void **state)
{
    (void)state;
    make_bob();
    for (int i = 0; i < 200; i++)
        expect(two, "auth bob builder", OK);
    expect(one, "lua \"box.schema.user.passwd('bob', 'other')\"", "$-1");
    expect(two, "auth bob builder", WRONG);
    expect(two, "auth bob other", OK);
}

static void nobody_logs_in_within_exec(void **state)
{
    (void)state;
    make_bob();
    expect(one, "lua \"box.schema.user.create('eve', {password = 'apple'})\"", "$-1");
    expect(two, "auth eve apple", OK);
    expect(two, "multi\r\nauth bob builder\r\nexec",
           "+OK\r\n+QUEUED\r\n*1\r\n-ERR a login is not possible inside of a transaction");
    expect(two, "get k", "-NOPERM User eve");
}

static void a_login_within_an_interactive_transaction_is_of_the_next_statements(void **state)
{
    (void)state;
    make_bob();
    expect(one, "lua \"box.schema.user.grant('bob', 'read', 'space', '_redis')\"", "$-1");
    expect(one, "lua \"box.schema.user.create('eve', {password = 'apple'})\"", "$-1");
    expect(two, "auth eve apple", OK);
    expect(two, "begin\r\nget k", "+OK\r\n-NOPERM");
    expect(two, "auth bob builder\r\nget k\r\ncommit", "+OK\r\n$1\r\nv\r\n+OK");
}

static void failed_logins_are_counted(void **state)
{
    (void)state;
    make_bob();
    expect(two, "auth bob x", WRONG);
    expect(two, "auth eve x", WRONG);
    expect(two, "get k", NOAUTH);
    const char *info = say(one, "info stats");
    assert_non_null(strstr(info, "acl_access_denied_auth:2\r\n"));
    assert_non_null(strstr(info, "acl_access_denied_cmd:1\r\n"));
}

static void a_connection_may_go_away_while_its_password_is_checked(void **state)
{
    (void)state;
    make_bob();
    for (int i = 0; i < 4; i++) {
        struct session *third = session_fixture_connect(f, 2);
        /* A wrong one: what was right once, should a slow test let it come so far, is not computed again. */
        session_on_bytes(third, "auth bob wrong\r\n", 16);
        assert_true(session_suspended(third));
        if (i % 2 == 0)
            session_hurry(third);
        if (i >= 2)
            session_fixture_run(f);
        session_delete(third);
    }
    expect(two, "auth bob builder", OK);
}

static void what_follows_a_login_waits_for_it(void **state)
{
    (void)state;
    make_bob();
    expect(one, "lua \"box.schema.user.grant('bob', 'read', 'space', '_redis')\"", "$-1");
    expect(two, "auth bob builder\r\nget k", "+OK\r\n$1\r\nv\r\n");
}

static void the_password_of_the_configuration_is_that_of_the_guest(void **state)
{
    (void)state;
    expect(one, "get k", NOAUTH);
    expect(one, "auth secret", OK);
    expect(one, "lua box.session.user()", "$5\r\nguest\r\n");
    make_bob();
    expect(two, "auth default secret", OK);
    expect(two, "set k v", "-NOPERM User guest has no permissions to run the 'set' command\r\n");
    expect(two, "auth bob builder", OK);
    expect(two, "reset", "+RESET\r\n");
    expect(two, "get k", NOAUTH);
}

/* ---------------------------------------------------------------------------------- the paths */

/*
 * Each way to something that may be refused: what is said, how the refusal begins, what to grant,
 * and how it begins then. A path that forgot to ask fails here.
 */
static const struct {
    const char *text, *refused, *grant, *allowed;
} PATHS[] = {
    {"get k", "-NOPERM User bob", "'read', 'space', '_redis'", "$1\r\nv"},
    {"set k v", "-NOPERM User bob", "'write', 'space', '_redis'", "+OK"},
    {"watch k", "-NOPERM User bob", "'read', 'space', '_redis'", "+OK"},
    {"eval \"return redis.call('get', 'k')\" 0", "-NOPERM User bob", "'read', 'space', '_redis'",
     "$1\r\nv"},
    {"eval \"return redis.call('set', 'k', 'v')\" 0", "-NOPERM User bob",
     "'write', 'space', '_redis'", "+OK"},
    {"eval_ro \"return redis.pcall('get', 'k')\" 0", "-NOPERM User bob",
     "'read', 'space', '_redis'", "$1\r\nv"},
    {"multi\r\neval \"return redis.call('get', 'k')\" 0\r\nexec", "+OK\r\n-NOPERM",
     "'read', 'space', '_redis'", "+OK\r\n+QUEUED\r\n*1\r\n$1\r\nv"},
    {"multi\r\nget k\r\nexec",
     "+OK\r\n-NOPERM User bob has no permissions to run the 'get' "
     "command\r\n-EXECABORT",
     "'read', 'space', '_redis'", "+OK\r\n+QUEUED\r\n*1\r\n$1\r\nv"},
    {"begin\r\nget k\r\nrollback", "+OK\r\n-NOPERM", "'read', 'space', '_redis'",
     "+OK\r\n$1\r\nv\r\n+OK"},
    {"call f", "-NOPERM Execute access to function 'f' is denied for user 'bob'",
     "'execute', 'function', 'f'", ":7"},
    {"lua 1", "-NOPERM Execute access to lua_eval is denied for user 'bob'",
     "'execute', 'lua_eval'", ":1"},
    {"call f", "-NOPERM", "'execute', 'function'", ":7"},
    {"call f", "-NOPERM", "'execute', 'universe'", ":7"},
    {"config get maxmemory", "-NOPERM User bob", "'alter', 'universe'", "*2"},
    {"bgsave", "-NOPERM User bob", "'alter', 'universe'", "+Background"},
    {"client list", "-NOPERM User bob", "'alter', 'universe'", "$"},
    {"backup status", "-NOPERM User bob", "'alter', 'universe'", ""},
};

/* The same within Lua's text, which bob may send here. */
static const struct {
    const char *text, *refused, *grant, *allowed;
} STATEMENTS[] = {
    {"box.space.s:get(1)[2]", "Read access to space 's'", "'read', 'space', 's'", "$1\r\nx"},
    {"box.space.s:get({1})[2]", "Read access to space 's'", "'read', 'space', 's'", "$1\r\nx"},
    {"#box.space.s:select()", "Read access to space 's'", "'read', 'space', 's'", ":1"},
    {"box.space.s:count()", "Read access to space 's'", "'read', 'space', 's'", ":1"},
    {"box.space.s.index.pk:min()[2]", "Read access to space 's'", "'read', 'space'", "$1\r\nx"},
    {"box.space.s:pairs()", "Read access to space 's'", "'read', 'universe'", ""},
    {"box.atomic(function() for _, t in box.space.s:pairs() do return t[2] end end)",
     "Read access to space 's'", "'read', 'space', 's'", "$1\r\nx"},
    {"box.atomic(function() return box.space.s:get(1, {lock = 'shared'})[2] end)",
     "Read access to space 's'", "'read', 'space', 's'", "$1\r\nx"},
    {"box.atomic(function() box.space.s:get(1, {lock = 'exclusive'}) end)", "access to space 's'",
     "'read,write', 'space', 's'", "$-1"},
    {"box.atomic(function() box.space.s:lock('exclusive') end)", "access to space 's'",
     "'read,write', 'space', 's'", "$-1"},
    {"box.space.s:insert({2, 'y'})[1]", "Write access to space 's'", "'write', 'space', 's'", ":2"},
    {"box.space.s:replace({1, 'x'})[1]", "Write access to space 's'", "'write', 'space', 's'",
     ":1"},
    {"box.space.s:update(1, {{'=', 2, 'x'}})[1]", "Write access to space 's'",
     "'write', 'space', 's'", ":1"},
    {"box.space.s:upsert({1, 'x'}, {{'=', 2, 'x'}})", "Write access to space 's'",
     "'write', 'space', 's'", "$-1"},
    {"box.space.s:delete(99)", "Write access to space 's'", "'write', 'space', 's'", "$-1"},
    {"box.space._user:get(0)[3]", "Read access to space '_user'", "'read', 'space', '_user'",
     "$5\r\nguest"},
    {"box.space.s:format({{'id', 'unsigned'}})", "Alter access to space 's'",
     "'alter', 'space', 's'", "$-1"},
    {"box.space.s:create_index('i', {parts = {2}, unique = false}):drop()",
     "Alter access to space 's'", "'alter', 'space', 's'", "$-1"},
    {"box.space.s:truncate()", "Write access to space 's'", "'write', 'space', 's'", "$-1"},
    {"box.schema.space.create('t'):drop()", "Create access to space is denied", "'create', 'space'",
     "$-1"},
    {"box.schema.func.create('g', {body = 'return 1'})", "Create access to function is denied",
     "'create', 'function'", "$-1"},
    {"box.schema.func.create('f', {body = 'return 7', replace = true})",
     "Alter access to function 'f'", "'alter', 'function', 'f'", "$-1"},
    {"box.func.f()", "Execute access to function 'f'", "'execute', 'function', 'f'", ":7"},
    {"box.func.f:call({})", "Execute access to function 'f'", "'execute', 'function', 'f'", ":7"},
    {"box.schema.user.create('eve')", "Create access to user is denied", "'create', 'user'", "$-1"},
    {"box.schema.role.create('r')", "Create access to role is denied", "'create', 'role'", "$-1"},
    {"box.schema.user.passwd('admin', 'x')", "Alter access to user 'admin'", NULL, NULL},
    {"box.schema.user.grant('bob', 'super')", "granting and revoking", NULL, NULL},
    {"box.schema.user.grant('bob', 'read', 'universe')", "granting and revoking", NULL, NULL},
    {"box.schema.user.revoke('bob', 'public')", "granting and revoking", NULL, NULL},
    {"box.schema.user.drop('guest')", "can't be dropped", NULL, NULL},
    {"box.schema.user.drop('carol')", "Drop access to user 'carol'", "'drop', 'user'", "$-1"},
    {"box.session.su('admin', function() return 1 end)", "box.session.su is denied", NULL, NULL},
    {"box.func.f.body or error('no body')", "no body", "'execute', 'function', 'f'", "$"},
    {"box.stat.locks().held", "Read access to universe", "'read', 'universe'", ":0"},
    {"box.stat.txn().open", "Read access to universe", "'read', 'universe'", ":"},
    {"box.checkpoint()", "Alter access to universe", "'alter', 'universe'", ":0"},
    {"redis.call('get', 'k')", "User bob has no permissions", "'read', 'space', '_redis'",
     "$1\r\nv"},
    {"redis.pcall('set', 'k', 'v').ok", "", "'write', 'space', '_redis'", "$2\r\nOK"},
    {"box.schema.func.drop('f')", "Drop access to function 'f'", "'drop', 'function', 'f'", "$-1"},
    {"box.schema.space.drop('s')", "Drop access to space 's'", "'drop', 'space', 's'", "$-1"},
};

static void grant(const char *how, const char *what)
{
    char text[256];
    snprintf(text, sizeof text, "lua \"box.schema.user.%s('bob', %s)\"", how, what);
    expect(one, text, "$-1");
}

static void every_command_asks_who_may(void **state)
{
    (void)state;
    make_bob();
    expect(two, "auth bob builder", OK);
    for (size_t i = 0; i < sizeof PATHS / sizeof *PATHS; i++) {
        expect(two, PATHS[i].text, PATHS[i].refused);
        grant("grant", PATHS[i].grant);
        expect(two, PATHS[i].text, PATHS[i].allowed);
        grant("revoke", PATHS[i].grant);
        expect(two, "unwatch", OK);
        expect(two, PATHS[i].text, PATHS[i].refused);
    }
}

static void every_statement_asks_who_may(void **state)
{
    (void)state;
    make_bob();
    expect(one, "lua \"box.schema.user.create('carol')\"", "$-1");
    grant("grant", "'execute', 'lua_eval'");
    expect(two, "auth bob builder", OK);
    for (size_t i = 0; i < sizeof STATEMENTS / sizeof *STATEMENTS; i++) {
        char text[512];
        snprintf(text, sizeof text, "lua \"return %s\"", STATEMENTS[i].text);
        const char *is = say(two, text);
        if (strstr(is, STATEMENTS[i].refused) == NULL ||
            (is[0] != '-' && STATEMENTS[i].refused[0] != 0))
            fail_msg("%s: %s", STATEMENTS[i].text, is);
        if (STATEMENTS[i].grant == NULL)
            continue;
        grant("grant", STATEMENTS[i].grant);
        expect(two, text, STATEMENTS[i].allowed);
        if (i + 3 < sizeof STATEMENTS / sizeof *STATEMENTS) /* the last ones drop what it is on */
            grant("revoke", STATEMENTS[i].grant);
    }
}

static void a_strangers_commands_ask_for_a_login(void **state)
{
    (void)state;
    make_bob();
    expect(two, "get k", NOAUTH);
    expect(two, "set k v", NOAUTH);
    expect(two, "save", NOAUTH);
    expect(two, "publish a b", NOAUTH);
    expect(two, "subscribe a", NOAUTH);
    expect(two, "begin", NOAUTH);
    expect(two, "multi", NOAUTH);
    expect(two, "eval \"return 1\" 0", NOAUTH);
    expect(two, "script flush", NOAUTH);
    expect(two, "info", NOAUTH);
    expect(two, "ping", "+PONG");
    expect(two, "call f", "-NOPERM Execute access to function 'f' is denied for user 'guest'");
    expect(one, "lua \"box.schema.user.revoke('guest', 'session', 'universe')\"", "$-1");
    expect(two, "ping", NOAUTH);
    expect(two, "hello 3 auth bob builder", "%7");
    expect(two, "ping", "+PONG");
    expect(one, "lua \"box.schema.user.revoke('bob', 'usage', 'universe')\"", "$-1");
    expect(one, "lua \"box.schema.user.grant('bob', 'read', 'space', '_redis')\"", "$-1");
    expect(two, "get k", "-NOPERM");
    expect(one, "lua \"box.schema.user.revoke('bob', 'session', 'universe')\"", "$-1");
    expect(two, "ping", "-NOPERM");
    expect(two, "auth bob builder", WRONG);
}

static void a_user_that_is_dropped_has_no_rights_and_its_number_is_not_used_again(void **state)
{
    (void)state;
    make_bob();
    expect(one, "lua \"box.schema.user.grant('bob', 'super')\"", "$-1");
    expect(two, "auth bob builder", OK);
    expect(two, "get k", "$1\r\nv");
    expect(one, "lua \"box.schema.user.drop('bob')\"", "$-1");
    expect(one, "lua \"box.schema.user.create('bob', {password = 'builder'})\"", "$-1");
    expect(one, "lua \"box.schema.user.grant('bob', 'super')\"", "$-1");
    expect(two, "get k", "-NOPERM User nobody");
    expect(two, "auth bob builder", OK);
    expect(two, "get k", "$1\r\nv");
}

static void what_belongs_to_a_name_goes_with_the_object(void **state)
{
    (void)state;
    make_bob();
    grant("grant", "'execute', 'lua_eval'");
    grant("grant", "'read', 'space', 's'");
    expect(two, "auth bob builder", OK);
    expect(two, "lua \"box.space.s:get(1)[2]\"", "$1\r\nx");
    expect(one,
           "lua \"local id = box.space.s.id box.space.s:drop() local s = "
           "box.schema.space.create('s', {id = id}) s:create_index('pk') s:insert({1, 'x'})\"",
           "$-1");
    expect(two, "lua \"box.space.s:get(1)[2]\"", "-NOPERM");
}

static void text_of_one_user_is_not_met_by_that_of_another(void **state)
{
    (void)state;
    make_bob();
    struct session *same = session_fixture_connect(f, 0);
    grant("grant", "'execute', 'lua_eval'");
    expect(same, "auth bob builder", OK);
    expect(same, "lua \"helper = function() return 'trap' end\"", "$-1");
    expect(same, "lua helper()", "$4\r\ntrap");
    expect(one, "lua \"helper == nil\"", ":1");
    session_delete(same);
}

static void a_procedure_may_run_as_its_owner(void **state)
{
    (void)state;
    make_bob();
    expect(
        one,
        "lua \"box.schema.func.create('peek', {setuid = true, body = [[function(n) "
        "return box.space.s:get(n)[2], box.session.user(), box.session.effective_user() end]]})\"",
        "$-1");
    grant("grant", "'execute', 'function', 'peek'");
    grant("grant", "'execute', 'lua_eval'");
    expect(two, "auth bob builder", OK);
    expect(two, "lua \"box.func.peek(1)\"", "*3\r\n$1\r\nx\r\n$3\r\nbob\r\n$5\r\nadmin\r\n");
    expect(two, "lua \"box.space.s:get(1)\"", "-NOPERM");
    expect(one,
           "lua \"box.schema.func.create('fail', {setuid = true, body = [[function() "
           "error('no') end]]})\"",
           "$-1");
    grant("grant", "'execute', 'function', 'fail'");
    expect(two, "lua \"pcall(box.func.fail) return box.session.effective_user()\"", "$3\r\nbob");
    expect(two, "lua \"box.func.peek(function() end)\"", "-ERR");
}

/* Requests of three users take turns on one worker. */
static void users_stay_who_they_are_while_they_sleep(void **state)
{
    (void)state;
    make_bob();
    struct session *bob = session_fixture_connect(f, 0), *eve = session_fixture_connect(f, 0);
    expect(one,
           "lua \"box.schema.func.create('nap', {setuid = true, transaction = false, body = "
           "[[function() require('fiber').sleep(1) return box.session.effective_user(), "
           "box.space.s:get(1)[2] end]]})\"",
           "$-1");
    grant("grant", "'execute', 'function', 'nap'");
    expect(one, "lua \"box.schema.user.create('eve', {password = 'apple'})\"", "$-1");
    expect(one, "lua \"box.schema.user.grant('eve', 'execute', 'lua_eval')\"", "$-1");
    expect(bob, "auth bob builder", OK);
    expect(eve, "auth eve apple", OK);
    expect(bob, "call nap", "");
    assert_true(session_suspended(bob));
    expect(eve,
           "lua \"require('fiber').sleep(2) return box.session.user(), "
           "(pcall(box.space.s.get, box.space.s, 1))\"",
           "");
    expect(one, "lua box.session.effective_user()", "$5\r\nadmin");
    for (int i = 0; i < 3; i++) {
        clock_manual_advance_ms(&f->clock, 1000);
        session_fixture_run(f);
    }
    assert_string_equal(session_fixture_take(f, bob), "*2\r\n$5\r\nadmin\r\n$1\r\nx\r\n");
    assert_string_equal(session_fixture_take(f, eve), "*2\r\n$3\r\neve\r\n:0\r\n");
    expect(eve, "lua \"box.space.s:get(1)\"", "-NOPERM");
    session_delete(bob);
    session_delete(eve);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(a_database_without_users_serves_everybody),
        WITH(a_user_logs_in_with_the_right_password_only),
        WITH(a_password_that_was_right_is_not_computed_again),
        WITH(nobody_logs_in_within_exec),
        WITH(a_login_within_an_interactive_transaction_is_of_the_next_statements),
        WITH(failed_logins_are_counted),
        WITH(a_connection_may_go_away_while_its_password_is_checked),
        WITH(what_follows_a_login_waits_for_it),
        cmocka_unit_test_setup_teardown(the_password_of_the_configuration_is_that_of_the_guest,
                                        setup_password, teardown),
        WITH(every_command_asks_who_may),
        WITH(every_statement_asks_who_may),
        WITH(a_strangers_commands_ask_for_a_login),
        WITH(a_user_that_is_dropped_has_no_rights_and_its_number_is_not_used_again),
        WITH(what_belongs_to_a_name_goes_with_the_object),
        WITH(text_of_one_user_is_not_met_by_that_of_another),
        WITH(a_procedure_may_run_as_its_owner),
        WITH(users_stay_who_they_are_while_they_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
