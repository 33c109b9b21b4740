/* SPDX-License-Identifier: Apache-2.0 */
/* The index of a statement is named since names are what the tests read well by; the statement's
 * transaction decides whose catalog is asked. */
#include "db/db_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/json.h"

enum { BUFFERS = 8, BUFFER_BYTES = 1 << 16, TEXTS = 4 };

const char *mp_of(const char *json, size_t *size)
{
    static _Thread_local char buffers[BUFFERS][BUFFER_BYTES];
    static _Thread_local unsigned next;
    if (json == NULL)
        return NULL;
    struct json_buffer made;
    json_buffer_create(&made);
    int rc = json_to_msgpack(json, strlen(json), &made);
    if (rc != 0)
        fail_msg("%s: %s", json, diag_message());
    assert_true(made.size <= BUFFER_BYTES);
    char *buffer = buffers[next++ % BUFFERS];
    memcpy(buffer, made.data, made.size);
    if (size != NULL)
        *size = made.size;
    json_buffer_destroy(&made);
    return buffer;
}

int db_fixture_start(struct db_fixture *f, bool skip_flush)
{
    f->db = NULL;
    f->io = disk_io(f->disk);
    if (f->wrap != NULL)
        f->io = f->wrap(f->io);
    struct db_options options = {.io = f->io,
                                 .clock = f->clock != NULL ? f->clock : clock_system(),
                                 .durability =
                                     f->interval ? WAL_DURABILITY_INTERVAL : WAL_DURABILITY_COMMIT,
                                 .memory_cache = f->memory_cache,
                                 .tuner_limits = f->tuner_limits,
                                 .worker_max = DB_FIXTURE_WORKERS,
                                 .replay_threads = f->replay_threads,
                                 .checkpoint = f->checkpoint,
                                 .log_segment_bytes = f->log_segment_bytes,
                                 .log_archive = f->log_archive,
                                 .watch_log_bytes = f->watch_log_bytes,
                                 .expressions = f->expressions,
                                 .skip_flush = skip_flush};
    int rc = db_open(&options, &f->stats, &f->db);
    if (rc != 0) {
        io_delete(f->io);
        f->io = NULL;
        return rc;
    }
    for (unsigned i = 0; i < DB_FIXTURE_WORKERS; i++)
        assert_int_equal(db_worker_open(f->db, &f->workers[i]), 0);
    return 0;
}

void db_fixture_stop(struct db_fixture *f)
{
    for (unsigned i = 0; i < DB_FIXTURE_WORKERS; i++) {
        struct txn *txn = txn_current(db_worker_txn(f->workers[i]));
        if (txn != NULL)
            txn_rollback(txn); /* of a test that failed */
        db_worker_close(f->workers[i]);
    }
    db_close(f->db);
    io_delete(f->io);
}

void db_fixture_open(struct db_fixture *f)
{
    memset(f, 0, sizeof *f);
    f->disk = disk_new(1);
    int rc = db_fixture_start(f, false);
    if (rc != 0)
        fail_msg("the database does not open: %s", diag_message_for(rc));
}

void db_fixture_close(struct db_fixture *f)
{
    db_fixture_stop(f);
    disk_delete(f->disk);
}

void db_fixture_reopen(struct db_fixture *f)
{
    db_fixture_stop(f);
    int rc = db_fixture_start(f, false);
    if (rc != 0)
        fail_msg("the database does not open again: %s", diag_message_for(rc));
}

static struct db_worker *worker_of(struct db_fixture *f, struct txn *txn)
{
    for (unsigned i = 0; txn != NULL && i < DB_FIXTURE_WORKERS; i++)
        if (db_worker_txn(f->workers[i]) == txn_worker_of(txn))
            return f->workers[i];
    return f->workers[0];
}

struct space *space_of(struct db_fixture *f, struct txn *txn, const char *name)
{
    return catalog_space(db_catalog(worker_of(f, txn)), name, strlen(name));
}

struct index *index_of(struct db_fixture *f, struct txn *txn, const char *space, const char *index)
{
    struct space *found = space_of(f, txn, space);
    assert_non_null(found);
    struct index *result = space_index(found, index, strlen(index));
    assert_non_null(result);
    return result;
}

static uint32_t space_id(struct db_fixture *f, const char *name)
{
    struct space *space = space_of(f, NULL, name);
    return space == NULL ? 0 : space->id;
}

/* The options with the engine of the fixture, unless they have one. */
static const char *with_engine(const struct db_fixture *f, const char *options, char *text,
                               size_t size)
{
    if (f->engine == NULL || (options != NULL && strstr(options, "\"engine\"") != NULL))
        return options;
    const char *others = options == NULL ? "}" : options + 1;
    snprintf(text, size, "{\"engine\": \"%s\"%s%s", f->engine,
             others[strspn(others, " ")] == '}' ? "" : ", ", others);
    return text;
}

int make_space(struct db_fixture *f, const char *name, const char *options)
{
    uint32_t id;
    char text[4096];
    options = with_engine(f, options, text, sizeof text);
    return ddl_space_create(f->workers[0], name, strlen(name), mp_of(options, NULL), &id);
}

int make_index(struct db_fixture *f, const char *space, const char *name, const char *options)
{
    uint32_t id;
    return ddl_index_create(f->workers[0], space_id(f, space), name, strlen(name),
                            mp_of(options, NULL), &id);
}

int drop_space(struct db_fixture *f, const char *name)
{
    return ddl_space_drop(f->workers[0], space_id(f, name));
}

int drop_index(struct db_fixture *f, const char *space, const char *name)
{
    return ddl_index_drop(f->workers[0], space_id(f, space), index_of(f, NULL, space, name)->id);
}

int truncate_space(struct db_fixture *f, const char *name)
{
    return ddl_space_truncate(f->workers[0], space_id(f, name));
}

int format_space(struct db_fixture *f, const char *name, const char *format)
{
    return ddl_space_format(f->workers[0], space_id(f, name), mp_of(format, NULL));
}

static struct txn *begin_with(struct db_fixture *f, unsigned worker,
                              const struct txn_options *options)
{
    struct txn *txn;
    assert_int_equal(txn_begin(db_worker_txn(f->workers[worker]), options, &txn), 0);
    return txn;
}

struct txn *begin(struct db_fixture *f, unsigned worker, enum txn_level level)
{
    return begin_with(f, worker, &(struct txn_options){.level = level});
}

struct txn *begin_readonly(struct db_fixture *f, unsigned worker)
{
    return begin_with(
        f, worker,
        &(struct txn_options){.level = TXN_SERIALIZABLE, .readonly = true, .latest = true});
}

/* Of its own: begun when there is none, and then ended by the outcome. */
static struct txn *enter(struct db_fixture *f, struct txn *txn)
{
    return txn != NULL ? txn : begin(f, 0, TXN_SERIALIZABLE);
}

static int leave(struct txn *given, struct txn *used, int rc)
{
    if (given != NULL)
        return rc;
    if (rc == 0)
        return txn_commit(used);
    txn_rollback(used);
    return rc;
}

int insert(struct db_fixture *f, struct txn *given, const char *space, const char *tuple)
{
    struct txn *txn = enter(f, given);
    struct tuple_ref out;
    size_t size;
    const char *data = mp_of(tuple, &size);
    return leave(given, txn, space_insert(txn, space_of(f, txn, space), data, size, &out));
}

int replace(struct db_fixture *f, struct txn *given, const char *space, const char *tuple)
{
    struct txn *txn = enter(f, given);
    struct tuple_ref out, old;
    size_t size;
    const char *data = mp_of(tuple, &size);
    return leave(given, txn, space_replace(txn, space_of(f, txn, space), data, size, &out, &old));
}

int delete_by(struct db_fixture *f, struct txn *given, const char *space, const char *index,
              const char *key)
{
    struct txn *txn = enter(f, given);
    struct tuple_ref old;
    return leave(given, txn,
                 space_delete(txn, index_of(f, txn, space, index), mp_of(key, NULL), &old));
}

int update_by(struct db_fixture *f, struct txn *given, const char *space, const char *index,
              const char *key, const char *ops)
{
    struct txn *txn = enter(f, given);
    struct tuple_ref out;
    return leave(given, txn,
                 space_update(txn, index_of(f, txn, space, index), mp_of(key, NULL),
                              mp_of(ops, NULL), 1, &out));
}

int upsert(struct db_fixture *f, struct txn *given, const char *space, const char *tuple,
           const char *ops)
{
    struct txn *txn = enter(f, given);
    size_t size;
    const char *data = mp_of(tuple, &size);
    return leave(given, txn,
                 space_upsert(txn, space_of(f, txn, space), data, size, mp_of(ops, NULL), 1));
}

static char *text_take(void)
{
    static _Thread_local char texts[TEXTS][BUFFER_BYTES];
    static _Thread_local unsigned next;
    char *text = texts[next++ % TEXTS];
    text[0] = '\0';
    return text;
}

static void text_add(char *text, const struct tuple_ref *tuple)
{
    struct json_buffer json;
    const char *data = tuple->data;
    json_buffer_create(&json);
    assert_int_equal(json_from_msgpack(&json, &data), 0);
    size_t size = strlen(text);
    snprintf(text + size, BUFFER_BYTES - size, "%s%.*s", size > 0 ? " " : "", (int)json.size,
             json.data);
    json_buffer_destroy(&json);
}

const char *get_by(struct db_fixture *f, struct txn *given, const char *space, const char *index,
                   const char *key)
{
    struct txn *txn = given != NULL ? given : begin_readonly(f, 0);
    struct tuple_ref tuple;
    char *text = text_take();
    int rc = space_get(txn, index_of(f, txn, space, index), mp_of(key, NULL), &tuple);
    if (rc == 0 && tuple.data != NULL)
        text_add(text, &tuple);
    else
        text = rc == 0 ? NULL : "error";
    if (given == NULL)
        txn_rollback(txn);
    return text;
}

const char *select_by(struct db_fixture *f, struct txn *given, const char *space, const char *index,
                      enum space_iterator iterator, const char *key)
{
    struct txn *txn = given != NULL ? given : begin_readonly(f, 0);
    struct space_cursor cursor;
    struct tuple_ref tuple;
    char *text = text_take();
    int rc =
        space_cursor_open(&cursor, txn, index_of(f, txn, space, index), iterator, mp_of(key, NULL));
    while (rc == 0 && (rc = space_cursor_next(&cursor, &tuple)) == 0)
        text_add(text, &tuple);
    if (given == NULL)
        txn_rollback(txn);
    return rc == ERROR_END ? text : "error";
}

void db_settle(struct db_fixture *f)
{
    assert_int_equal(db_checkpoint(f->db), 0);
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < DB_FIXTURE_WORKERS; i++)
            txn_collect(db_worker_txn(f->workers[i]), SIZE_MAX);
}

void must(int rc)
{
    if (rc != 0)
        fail_msg("%s: %s", error_name(rc), diag_message_for(rc));
}

void refused(int rc, int code, const char *part)
{
    if (rc != code || strstr(diag_message_for(rc), part) == NULL)
        fail_msg("%s: %s\n  instead of %s with: %s", error_name(rc), diag_message_for(rc),
                 error_name(code), part);
}
