/* SPDX-License-Identifier: Apache-2.0 */
/* See redis_fixture.h. */
#include "redis/redis_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"

enum { WORDS_MAX = 64, DEPTH_MAX = 12 };

/* A sink that writes text and closes brackets when an aggregate is complete. */
struct text_sink {
    struct redis_sink base;
    FILE *out;
    unsigned depth;
    size_t left[DEPTH_MAX];
    char closing[DEPTH_MAX];
    bool separate;
};

static struct text_sink *before(struct redis_sink *base)
{
    struct text_sink *sink = (struct text_sink *)(void *)base;
    if (sink->separate)
        fputc(' ', sink->out);
    sink->separate = true;
    return sink;
}

static void after(struct text_sink *sink)
{
    while (sink->depth > 0 && --sink->left[sink->depth - 1] == 0)
        fputc(sink->closing[--sink->depth], sink->out);
}

static void text_status(struct redis_sink *base, const char *text)
{
    fprintf(before(base)->out, "%s", text);
    after((struct text_sink *)(void *)base);
}

static void text_integer(struct redis_sink *base, int64_t value)
{
    fprintf(before(base)->out, "%lld", (long long)value);
    after((struct text_sink *)(void *)base);
}

static void text_bulk(struct redis_sink *base, const void *data, size_t size)
{
    FILE *out = before(base)->out;
    fputc('"', out);
    fwrite(data, 1, size, out);
    fputc('"', out);
    after((struct text_sink *)(void *)base);
}

static void text_null(struct redis_sink *base)
{
    text_status(base, "nil");
}

static void text_real(struct redis_sink *base, double value)
{
    fprintf(before(base)->out, "%.17g", value);
    after((struct text_sink *)(void *)base);
}

static void text_boolean(struct redis_sink *base, bool value)
{
    text_status(base, value ? "true" : "false");
}

static void aggregate(struct redis_sink *base, size_t count, const char *brackets)
{
    struct text_sink *sink = before(base);
    fputc(brackets[0], sink->out);
    if (count == 0) {
        fputc(brackets[1], sink->out);
        after(sink);
        return;
    }
    assert_true(sink->depth < DEPTH_MAX);
    sink->left[sink->depth] = count;
    sink->closing[sink->depth++] = brackets[1];
    sink->separate = false;
}

static void text_array(struct redis_sink *base, size_t count)
{
    aggregate(base, count, "[]");
}

static void text_map(struct redis_sink *base, size_t pairs)
{
    aggregate(base, 2 * pairs, "{}");
}

static void text_set(struct redis_sink *base, size_t count)
{
    aggregate(base, count, "()");
}

static void text_null_array(struct redis_sink *base)
{
    text_status(base, "nil-array");
}

static void text_error(struct redis_sink *base, const char *prefix, const char *message)
{
    fprintf(before(base)->out, "!%s %s", prefix, message);
    after((struct text_sink *)(void *)base);
}

static const struct redis_sink_vtab TEXT_VTAB = {
    .status = text_status,
    .integer = text_integer,
    .bulk = text_bulk,
    .null = text_null,
    .real = text_real,
    .boolean = text_boolean,
    .array = text_array,
    .map = text_map,
    .set = text_set,
    .null_array = text_null_array,
    .error = text_error,
};

/* ----------------------------------------------------------------------------------- database */

static void open_database(struct redis_fixture *fixture)
{
    struct db_options options = {.io = fixture->io,
                                 .clock = &fixture->clock.base,
                                 .durability = WAL_DURABILITY_COMMIT,
                                 .worker_max = 8};
    struct db_open_stats stats;
    int code = db_open(&options, &stats, &fixture->db);
    if (code)
        fail_msg("db_open: %s", diag_message_for(code));
    assert_int_equal(db_worker_open(fixture->db, &fixture->worker), 0);
    fixture->own = fixture->worker;
}

static void transaction_end(struct db_worker *worker)
{
    struct txn *txn = txn_current(db_worker_txn(worker));
    if (txn)
        txn_rollback(txn);
}

/* All transactions first: who closes waits for those that others have open. */
static void close_database(struct redis_fixture *fixture)
{
    transaction_end(fixture->own);
    for (unsigned n = 0; n < REDIS_FIXTURE_OTHERS_MAX; n++)
        if (fixture->others[n])
            transaction_end(fixture->others[n]);
    db_worker_close(fixture->own);
    for (unsigned n = 0; n < REDIS_FIXTURE_OTHERS_MAX; n++)
        if (fixture->others[n])
            db_worker_close(fixture->others[n]);
    memset(fixture->others, 0, sizeof fixture->others);
    assert_int_equal(db_close(fixture->db), 0);
}

struct redis_fixture *redis_fixture_new(void)
{
    struct redis_fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->disk = disk_new(1);
    fixture->io = disk_io(fixture->disk);
    clock_manual_create(&fixture->clock, REDIS_FIXTURE_NOW_MS);
    assert_int_equal(redis_scans_new(&fixture->scans), 0);
    redis_config_create(&fixture->config);
    open_database(fixture);
    return fixture;
}

void redis_fixture_delete(struct redis_fixture *fixture)
{
    close_database(fixture);
    redis_scans_delete(fixture->scans);
    io_delete(fixture->io);
    disk_delete(fixture->disk);
    free(fixture->text);
    free(fixture);
}

int redis_fixture_open(struct redis_fixture *fixture, struct db_worker **out)
{
    unsigned n = 0;
    while (n < REDIS_FIXTURE_OTHERS_MAX && fixture->others[n])
        n++;
    assert_true(n < REDIS_FIXTURE_OTHERS_MAX);
    int rc = db_worker_open(fixture->db, out);
    if (rc == 0)
        fixture->others[n] = *out;
    return rc;
}

void redis_fixture_close(struct redis_fixture *fixture, struct db_worker *worker)
{
    for (unsigned n = 0; n < REDIS_FIXTURE_OTHERS_MAX; n++)
        if (fixture->others[n] == worker)
            fixture->others[n] = NULL;
    db_worker_close(worker);
}

void redis_fixture_restart(struct redis_fixture *fixture)
{
    close_database(fixture);
    open_database(fixture);
}

/* ----------------------------------------------------------------------------------- commands */

static unsigned words_split(char *text, struct redis_slice *argv)
{
    unsigned count = 0;
    for (char *save, *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        assert_true(count < WORDS_MAX);
        bool empty = strcmp(word, "''") == 0;
        argv[count++] = (struct redis_slice){word, empty ? 0 : strlen(word)};
    }
    return count;
}

/* Runs the command with the reply as text in fixture->text. */
static int run(struct redis_fixture *fixture, struct txn *txn, const struct redis_command *command,
               const struct redis_slice *argv, unsigned argc)
{
    size_t size;
    free(fixture->text);
    fixture->text = NULL;
    struct text_sink sink = {.base = {.vtab = &TEXT_VTAB},
                             .out = open_memstream(&fixture->text, &size)};
    struct redis_call call = {.worker = fixture->worker,
                              .txn = txn,
                              .argv = argv,
                              .argc = argc,
                              .now_ms = clock_realtime_ms(&fixture->clock.base),
                              .sink = &sink.base,
                              .scans = fixture->scans,
                              .config = &fixture->config,
                              .database = fixture->database,
                              .protocol = 2};
    int code = redis_command_run(command, &call);
    fclose(sink.out);
    if (!code)
        assert_int_equal(sink.depth, 0); /* a whole reply */
    return code;
}

static const char *error_text_of(struct redis_fixture *fixture, int code)
{
    free(fixture->text);
    fixture->text = NULL;
    assert_true(asprintf(&fixture->text, "!%s %s", error_prefix(code), diag_message_for(code)) > 0);
    return fixture->text;
}

const char *redis_fixture_run_in(struct redis_fixture *fixture, struct txn *txn, int *code,
                                 const char *text)
{
    char line[4096];
    struct redis_slice argv[WORDS_MAX];
    snprintf(line, sizeof line, "%s", text);
    unsigned argc = words_split(line, argv);
    const struct redis_command *command = redis_command_find(argv[0].data, argv[0].size);
    assert_non_null(command);
    assert_int_equal(redis_command_check(command, argv, argc), 0);
    int rc = run(fixture, txn, command, argv, argc);
    if (code)
        *code = rc;
    return rc ? error_text_of(fixture, rc) : fixture->text;
}

const char *redis_fixture_run(struct redis_fixture *fixture, const char *format, ...)
{
    char line[4096];
    struct redis_slice argv[WORDS_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    unsigned argc = words_split(line, argv);
    const struct redis_command *command = redis_command_find(argv[0].data, argv[0].size);
    assert_non_null(command);
    int code = redis_command_check(command, argv, argc);
    if (code)
        return error_text_of(fixture, code);
    bool readonly = command->flags & REDIS_READONLY, one_row = redis_command_one_row(command, argc);
    struct txn_options options = {.level = readonly  ? TXN_SNAPSHOT
                                           : one_row ? TXN_READ_COMMITTED
                                                     : TXN_SERIALIZABLE,
                                  .readonly = readonly,
                                  .exclusive = (command->flags & REDIS_GATE) != 0};
    struct txn *txn;
    struct txn_worker *worker = db_worker_txn(fixture->worker);
    assert_int_equal(txn_begin(worker, &options, &txn), 0);
    code = run(fixture, txn, command, argv, argc);
    if (code) {
        txn_rollback(txn);
        return error_text_of(fixture, code);
    }
    assert_int_equal(txn_commit(txn), 0);
    assert_int_equal(wal_wait(db_wal(fixture->db), txn_worker_seen_ts(worker)), 0);
    return fixture->text;
}
