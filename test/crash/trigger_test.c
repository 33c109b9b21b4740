/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Triggers and sequences, in a process that is killed.
 *
 * Clients insert rows whose ids a sequence gives, change them and delete some, by four connections at
 * once, one statement or several in a transaction. A trigger notes each change in another space, whose
 * ids another sequence gives; a sequence without a space is asked, too. The server is killed at random
 * moments and started again with small segments and many checkpoints. Then the notes of each row are
 * exactly its changes: as many as the row counts itself, in order, and of a row that was deleted
 * the last is that; what was acknowledged is there; and no id and no value of a sequence was given
 * twice, whether what it was for is there or not. All of it for spaces of each engine.
 *
 * CRASH_ROUNDS sets the number of rounds, PERIGEE_SEED the seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "server/resp_client.h"
#include "server/server_process.h"
#include "storage/engines.h"

enum {
    WRITERS = 4,
    ROUNDS_DEFAULT = 8,
    KILL_MS_MAX = 300,
    GIVEN_MAX = 1 << 20, /* values of a sequence */
    ROWS_MAX = 4096      /* that one writer remembers */
};

struct row {
    uint64_t id, changes; /* that were acknowledged */
    bool deleted, unsure; /* a change was sent, and no reply came */
};

struct writer {
    const struct server_process *server;
    struct random random;
    struct row rows[ROWS_MAX]; /* those that were there when it began, and newer ones */
    unsigned count;
    uint64_t *ids, *given; /* what the sequences gave, by the replies */
    size_t given_count;    /* of both */
    bool wrong;
};

/* Each row is {id, changes}; a note {number, id, changes, whether it was deleted}. */
static const char *const setup[] = {
    "box.schema.sequence.create('ids', { cache = 10 })",
    "box.schema.sequence.create('order')",
    "box.schema.sequence.create('free', { cache = 100 })",
    ("local s = box.schema.space.create('audited', { engine = ENGINE }) "
     "s:create_index('id', { sequence = 'ids' })"),
    ("local s = box.schema.space.create('notes', { engine = ENGINE }) "
     "s:create_index('id', { sequence = 'order' })"),
    ("box.space.audited:create_trigger('note', { event = 'on_replace', body = [[function(old, new) "
     "box.space.notes:insert({ box.NULL, (new or old)[1], (new or old)[2], new == nil }) end]] })"),
};

static void sleep_ms(uint64_t ms)
{
    const struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000 * 1000000)};
    nanosleep(&time, NULL);
}

static bool lua(struct server_client *client, const char *text, struct resp_reply *reply)
{
    const char *const arguments[] = {"LUA", text, "0"};
    return resp_send(client, 2, arguments) && resp_read(client, reply);
}

static bool failed(const char *text, const struct resp_reply *reply)
{
    if (reply->items[0].type == '-')
        print_message("%s: %s\n", text, reply->items[0].text);
    return reply->items[0].type == '-';
}

static void lua_must(struct server_client *client, const char *text, struct resp_reply *reply)
{
    assert_true(lua(client, text, reply));
    assert_false(failed(text, reply));
}

/* The n'th number of a reply, from 0. */
static uint64_t number_of(const struct resp_reply *reply, unsigned n)
{
    for (unsigned i = 0; i < reply->count; i++)
        if (reply->items[i].type == ':' && n-- == 0)
            return (uint64_t)reply->items[i].number;
    return 0;
}

static uint64_t lua_number(struct server_client *client, const char *text)
{
    struct resp_reply reply;
    lua_must(client, text, &reply);
    return number_of(&reply, 0);
}

/* Makes a row, and takes a value of the free sequence. False: the server is gone. */
static bool make(struct writer *writer, struct server_client *client)
{
    static const char text[] = "local t = box.space.audited:insert({ box.NULL, 1 }) "
                               "return t[1], box.sequence.free:next()";
    struct resp_reply reply;
    if (!lua(client, text, &reply))
        return false;
    writer->wrong |= failed(text, &reply);
    writer->rows[writer->count++] = (struct row){.id = number_of(&reply, 0), .changes = 1};
    writer->ids[writer->given_count] = number_of(&reply, 0);
    writer->given[writer->given_count++] = number_of(&reply, 1);
    return true;
}

static bool change(struct writer *writer, struct server_client *client, struct row *row)
{
    char text[256];
    struct resp_reply reply;
    unsigned times = 1 + (unsigned)random_below(&writer->random, 3);
    bool delete = random_below(&writer->random, 6) == 0;
    if (delete)
        snprintf(text, sizeof text, "box.space.audited:delete(%llu)", (unsigned long long)row->id);
    else
        snprintf(text, sizeof text,
                 "box.atomic(function() for _ = 1, %u do "
                 "box.space.audited:update(%llu, { { '+', 2, 1 } }) end end)",
                 times, (unsigned long long)row->id);
    row->unsure = true;
    if (!lua(client, text, &reply))
        return false;
    row->unsure = false;
    writer->wrong |= failed(text, &reply);
    row->changes += delete ? 0 : times;
    row->deleted = delete;
    return true;
}

static void *write_rows(void *arg)
{
    struct writer *writer = arg;
    struct server_client client;
    bool there = server_client_open(&client, writer->server);
    if (!there)
        return NULL;
    while (there && !writer->wrong) {
        bool full = writer->count == ROWS_MAX || writer->given_count == GIVEN_MAX;
        struct row *row =
            writer->count == 0 ? NULL : &writer->rows[random_below(&writer->random, writer->count)];
        if (!full && (row == NULL || row->deleted || random_below(&writer->random, 3) == 0))
            there = make(writer, &client);
        else if (row != NULL && !row->deleted)
            there = change(writer, &client, row);
        else
            break; /* more than it can remember */
    }
    server_client_close(&client);
    return NULL;
}

static void server_start(struct server_process *server, const char *folder)
{
    static const char *const options[] = {
        "--workers", "2", "--checkpoint_log_bytes", "64kb", "--log_segment_max", "64kb", NULL};
    server_process_start(server, folder, options);
}

/* The notes of each row are its changes, one behind the other; the same of rows that are gone. */
static void notes_check(struct server_client *client)
{
    static const char text[] =
        "local last, gone, wrong = {}, {}, 0 "
        "for _, n in box.space.notes:pairs() do local id = n[2] "
        "if gone[id] then wrong = wrong + 1 end "
        "if n[4] then gone[id] = true if n[3] ~= last[id] then wrong = wrong + 1 end "
        "else if n[3] ~= (last[id] or 0) + 1 then wrong = wrong + 1 end last[id] = n[3] end end "
        "local there = 0 "
        "for _, t in box.space.audited:pairs() do there = there + 1 "
        "if gone[t[1]] or last[t[1]] ~= t[2] then wrong = wrong + 1 end end "
        "for id in pairs(last) do if not gone[id] then there = there - 1 end end "
        "return wrong + math.abs(there)";
    assert_int_equal(lua_number(client, text), 0);
}

/* What was acknowledged is there, and no more than what was sent beside it. */
static void rows_check(struct writer *writer, struct server_client *client)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < writer->count; i++) {
        const struct row *row = &writer->rows[i];
        char text[128];
        snprintf(text, sizeof text, "local t = box.space.audited:get(%llu) return t and t[2] or 0",
                 (unsigned long long)row->id);
        uint64_t found = lua_number(client, text);
        if (row->deleted)
            assert_int_equal(found, 0);
        else if (!row->unsure)
            assert_int_equal(found, row->changes);
        else
            assert_true(found == 0 || (found >= row->changes && found <= row->changes + 3));
        if (found > 0)
            writer->rows[kept++] = (struct row){.id = row->id, .changes = found};
    }
    writer->count = kept;
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void all_differ(uint64_t *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
    for (size_t i = 1; i < count; i++)
        assert_true(values[i - 1] < values[i]);
    assert_true(count == 0 || values[0] > 0);
}

/* Ids that a sequence gave to rows, and values that it was asked for, also in the rounds before. */
static void values_check(const struct writer *writers)
{
    size_t count = 0;
    uint64_t *values = malloc(sizeof *values * WRITERS * GIVEN_MAX);
    assert_non_null(values);
    for (unsigned w = 0; w < WRITERS; count += writers[w++].given_count)
        memcpy(values + count, writers[w].ids, sizeof *values * writers[w].given_count);
    all_differ(values, count);
    count = 0;
    for (unsigned w = 0; w < WRITERS; count += writers[w++].given_count)
        memcpy(values + count, writers[w].given, sizeof *values * writers[w].given_count);
    all_differ(values, count);
    free(values);
}

static unsigned rounds(void)
{
    const char *text = getenv("CRASH_ROUNDS");
    return text == NULL ? (unsigned)ROUNDS_DEFAULT : (unsigned)strtoul(text, NULL, 10);
}

static void run_and_kill(struct server_process *server, struct writer *writers,
                         struct random *random)
{
    pthread_t threads[WRITERS];
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i].server = server;
        assert_int_equal(pthread_create(&threads[i], NULL, write_rows, &writers[i]), 0);
    }
    sleep_ms(random_below(random, KILL_MS_MAX));
    server_process_signal(server, SIGKILL);
    server_process_wait(server);
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        assert_false(writers[i].wrong);
    }
}

static void what_a_trigger_writes_is_there_with_its_row_and_no_value_is_given_twice(void **state)
{
    static struct writer writers[WRITERS];
    memset(writers, 0, sizeof writers);
    char folder[256];
    struct server_process server;
    struct server_client client;
    struct resp_reply reply;
    struct random random;
    random_create(&random, test_seed());
    server_folder_make(folder);
    server_start(&server, folder);
    assert_true(server_client_open(&client, &server));
    for (size_t i = 0; i < sizeof setup / sizeof *setup; i++) {
        char text[512];
        snprintf(text, sizeof text, "local ENGINE = '%s' %s", (const char *)*state, setup[i]);
        lua_must(&client, text, &reply);
    }
    server_client_close(&client);
    for (unsigned i = 0; i < WRITERS; i++) {
        random_create(&writers[i].random, random_next(&random));
        writers[i].given = malloc(sizeof *writers[i].given * GIVEN_MAX);
        writers[i].ids = malloc(sizeof *writers[i].ids * GIVEN_MAX);
        assert_true(writers[i].given != NULL && writers[i].ids != NULL);
    }
    unsigned lives = rounds();
    for (unsigned round = 0; round < lives; round++) {
        run_and_kill(&server, writers, &random);
        server_start(&server, folder);
        assert_true(server_client_open(&client, &server));
        notes_check(&client);
        for (unsigned i = 0; i < WRITERS; i++)
            rows_check(&writers[i], &client);
        values_check(writers);
        if (round + 1 == lives)
            print_message("%llu rows, %llu notes\n",
                          (unsigned long long)lua_number(&client, "return box.space.audited:len()"),
                          (unsigned long long)lua_number(&client, "return box.space.notes:len()"));
        server_client_close(&client);
    }
    server_process_signal(&server, SIGTERM);
    assert_int_equal(server_process_wait(&server), 0);
    server_folder_remove(folder);
    for (unsigned i = 0; i < WRITERS; i++) {
        free(writers[i].given);
        free(writers[i].ids);
    }
}

int main(void)
{
    struct CMUnitTest tests[ENGINES_MAX];
    unsigned count = engines_tests(
        tests, "what_a_trigger_writes_is_there_with_its_row_and_no_value_is_given_twice",
        what_a_trigger_writes_is_there_with_its_row_and_no_value_is_given_twice, NULL, NULL);
    return engines_run("triggers and kills", tests, count);
}
