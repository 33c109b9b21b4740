/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What each isolation level allows and prevents, as clients meet it: the Hermitage list
 * (history/hermitage.h) by BEGIN, statements and COMMIT on several connections of a real server,
 * on the rows of a space of each engine, with a secondary index, and, where no ranges are read, once
 * on Redis strings. Where rows leave memory, each script begins with rows that have, and a checkpoint
 * is made before the first of its transactions ends.
 *
 * A statement that waits for another transaction has no reply yet. That it waits is known by asking
 * the server on one more connection how many wait; no time is involved.
 *
 * `--print` prints the table that is found here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "history/hermitage.h"
#include "server/resp_client.h"
#include "storage/engines.h"

enum { ROWS_MAX = 32 };

static const char *const BEGINS[HERMITAGE_LEVELS] = {
    "BEGIN READ UNCOMMITTED", "BEGIN READ COMMITTED", "BEGIN REPEATABLE READ", "BEGIN SNAPSHOT",
    "BEGIN ISOLATION LEVEL SERIALIZABLE"};

static const char MAKE[] =
    "local s = box.schema.space.create('rows', {engine = ENGINE, format = {{'key', 'string'}, "
    "{'value', 'string'}}}) "
    "s:create_index('pk') "
    "s:create_index('value', {parts = {'value'}, unique = false}) "
    "box.schema.func.create('step', {body = [[function(verb, key, value) "
    "  local s = box.space.rows "
    "  if verb == 'put' then s:replace({key, value}) return 'OK' end "
    "  if verb == 'del' then s:delete(key) return 'OK' end "
    "  if verb == 'get' then local t = s:get(key) return t and t[2] or '-' end "
    "  local found = '' "
    "  for _, t in s.index.value:pairs({key}, {iterator = 'GE'}) do "
    "    if t[2]:sub(1, #key) ~= key then break end "
    "    found = found .. t[1] "
    "  end "
    "  return found == '' and '-' or found "
    "end]]})";

static const char RESET[] = "local s = box.space.rows "
                            "for _, key in ipairs({'w', 'x', 'y', 'z'}) do s:delete(key) end "
                            "s:replace({'x', '10'}) s:replace({'y', '20'}) "
                            "redis.call('del', 'w', 'x', 'y', 'z') "
                            "redis.call('mset', 'x', '10', 'y', '20')";

struct stage {
    struct server_process server;
    char folder[256];
    struct server_client clients[HERMITAGE_SESSIONS], control;
    bool waits[HERMITAGE_SESSIONS]; /* a statement was sent and has no reply */
    unsigned level;
    bool by_space;
    bool rows_leave; /* memory, behind a checkpoint */
    bool ended;      /* a transaction of the script has */
    struct resp_reply reply;
};

static struct stage stage;

static const char *ask(struct server_client *client, const char *first, const char *second)
{
    const char *const arguments[] = {first, second};
    assert_true(resp_send(client, second == NULL ? 1 : 2, arguments));
    assert_true(resp_read(client, &stage.reply));
    return stage.reply.items[0].text;
}

static void command(struct server_client *client, const char *text)
{
    assert_true(resp_sendf(client, "%s", text));
    assert_true(resp_read(client, &stage.reply));
}

/* What has changed, and nobody reads as it was, leaves memory. */
static void rows_leave(void)
{
    if (!stage.rows_leave)
        return;
    command(&stage.control, "SAVE");
    assert_string_equal(stage.reply.items[0].text, "OK");
}

/* ---------------------------------------------------------------------------------- the player */

static bool readable(unsigned session)
{
    const struct server_client *client = &stage.clients[session];
    struct pollfd poll_fd = {.fd = client->fd, .events = POLLIN};
    return client->begin < client->end || poll(&poll_fd, 1, 0) > 0;
}

/* Until there is a reply, or all that have none are known to wait. */
static bool replied(unsigned session)
{
    for (;;) {
        unsigned unanswered = 0;
        for (unsigned i = 0; i < HERMITAGE_SESSIONS; i++)
            unanswered += stage.waits[i] && !readable(i);
        if (readable(session))
            return true;
        const char *waiting = ask(&stage.control, "LUA", "return box.stat.locks().waiting");
        if ((unsigned)atoi(waiting) == unanswered && !readable(session))
            return false;
    }
}

static void step_send(const struct hermitage_step *step)
{
    struct server_client *client = &stage.clients[step->session];
    if (stage.by_space)
        assert_true(resp_sendf(client, "CALL step %s %s %s", step->verb, step->key, step->value));
    else if (strcmp(step->verb, "put") == 0)
        assert_true(resp_sendf(client, "SET %s %s", step->key, step->value));
    else
        assert_true(resp_sendf(client, "%s %s", step->verb, step->key));
}

static enum hermitage_done lost(unsigned session)
{
    if (!resp_is_error(&stage.reply, "CONFLICT") && !resp_is_error(&stage.reply, "DEADLOCK"))
        fail_msg("%s", stage.reply.items[0].text);
    command(&stage.clients[session], "ROLLBACK");
    return HERMITAGE_LOST;
}

static void play_begin(void *arg, unsigned session)
{
    (void)arg;
    command(&stage.clients[session], BEGINS[stage.level]);
    assert_string_equal(stage.reply.items[0].text, "OK");
}

static enum hermitage_done play_run(void *arg, const struct hermitage_step *step, char *seen)
{
    (void)arg;
    bool *waits = &stage.waits[step->session];
    if (!*waits)
        step_send(step);
    *waits = true;
    if (!replied(step->session))
        return HERMITAGE_WAITS;
    *waits = false;
    assert_true(resp_read(&stage.clients[step->session], &stage.reply));
    const struct resp_item *item = &stage.reply.items[0];
    if (item->type == '-')
        return lost(step->session);
    snprintf(seen, HERMITAGE_TEXT_MAX, "%.60s", item->nil ? "-" : item->text);
    return HERMITAGE_DONE;
}

static enum hermitage_done play_end(void *arg, unsigned session, bool commit)
{
    (void)arg;
    if (!stage.ended)
        rows_leave();
    stage.ended = true;
    command(&stage.clients[session], commit ? "COMMIT" : "ROLLBACK");
    return stage.reply.items[0].type == '-' ? lost(session) : HERMITAGE_DONE;
}

/* A Redis string is written in place on its way to the commit, so nobody is shown it before: read
 * uncommitted is read committed there. */
static unsigned level_given(void)
{
    bool more = !stage.by_space && stage.level == HERMITAGE_READ_UNCOMMITTED;
    return more ? HERMITAGE_READ_COMMITTED : stage.level;
}

static void row_play(const struct hermitage_row *row, struct hermitage_outcome *all)
{
    static const struct hermitage_player player = {NULL, play_begin, play_run, play_end};
    *all = (struct hermitage_outcome){.happened = false};
    for (unsigned i = 0; i < HERMITAGE_SCRIPTS_MAX && row->scripts[i] != NULL; i++) {
        struct hermitage_outcome outcome;
        if (!stage.by_space && strstr(row->scripts[i], "find") != NULL)
            continue;
        ask(&stage.control, "LUA", RESET);
        assert_int_not_equal(stage.reply.items[0].type, '-');
        rows_leave();
        stage.ended = false;
        hermitage_play(row->scripts[i], &player, &outcome);
        if (outcome.happened == (level_given() >= row->prevented_from))
            fail_msg("%s, script %u, at %s: %s %s", row->name, i,
                     hermitage_level_names[stage.level],
                     outcome.happened ? "happened" : "did not happen:", outcome.why_not);
        all->happened |= outcome.happened;
        all->lost |= outcome.lost;
        all->waited |= outcome.waited;
    }
}

/* ------------------------------------------------------------------------------------ tests */

static void space_make(const char *engine)
{
    char text[sizeof MAKE + 64];
    snprintf(text, sizeof text, "local ENGINE = '%s' %s", engine, MAKE);
    ask(&stage.control, "LUA", text);
    assert_int_not_equal(stage.reply.items[0].type, '-');
}

/* The state is the name of an engine. */
static int stage_open(void **state)
{
    static const char *const options[] = {"--workers", "2", "--log_level", "warn", NULL};
    memset(&stage, 0, sizeof stage);
    stage.rows_leave = !engines_resident(*state);
    server_folder_make(stage.folder);
    server_process_start(&stage.server, stage.folder, options);
    for (unsigned i = 0; i < HERMITAGE_SESSIONS; i++)
        server_client_open(&stage.clients[i], &stage.server);
    server_client_open(&stage.control, &stage.server);
    space_make(*state);
    return 0;
}

static int stage_close(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HERMITAGE_SESSIONS; i++)
        server_client_close(&stage.clients[i]);
    server_client_close(&stage.control);
    server_process_signal(&stage.server, SIGTERM);
    assert_int_equal(server_process_wait(&stage.server), 0);
    server_folder_remove(stage.folder);
    return 0;
}

static void all_play(bool by_space, struct hermitage_outcome (*outcomes)[HERMITAGE_LEVELS])
{
    assert_true(hermitage_row_count <= ROWS_MAX);
    stage.by_space = by_space;
    for (size_t row = 0; row < hermitage_row_count; row++)
        for (stage.level = 0; stage.level < HERMITAGE_LEVELS; stage.level++)
            row_play(&hermitage_rows[row], &outcomes[row][stage.level]);
}

static struct hermitage_outcome outcomes[ROWS_MAX][HERMITAGE_LEVELS];

static void levels_keep_their_promises_on_the_rows_of_a_space(void **state)
{
    (void)state;
    all_play(true, outcomes);
}

static void levels_keep_their_promises_on_redis_strings(void **state)
{
    (void)state;
    all_play(false, outcomes);
}

static void table_print(void)
{
    static char text[8192];
    void *state = (void *)(uintptr_t)engines_name(0);
    stage_open(&state);
    all_play(true, outcomes);
    stage_close(NULL);
    hermitage_table(text, sizeof text, outcomes);
    fputs(text, stdout);
}

int main(int count, char **arguments)
{
    struct CMUnitTest tests[ENGINES_MAX + 1];
    if (count > 1 && strcmp(arguments[1], "--print") == 0) {
        table_print();
        return 0;
    }
    unsigned made =
        engines_tests(tests, "levels_keep_their_promises_on_the_rows_of_a_space",
                      levels_keep_their_promises_on_the_rows_of_a_space, stage_open, stage_close);
    tests[made] = (struct CMUnitTest)cmocka_unit_test_prestate_setup_teardown(
        levels_keep_their_promises_on_redis_strings, stage_open, stage_close,
        (void *)(uintptr_t)engines_name(0));
    return engines_run("levels over the wire", tests, made + 1);
}
