/* SPDX-License-Identifier: Apache-2.0 */

/*
 * See session_stream.h.
 *
 * Limits. A transaction that is idle for too long (transaction_idle_max, between statements only),
 * open for too long (transaction_time_max), or has too old a snapshot (snapshot_age_max) is rolled
 * back by a timer of its worker. A statement of it that waits is given up with it.
 *
 * Nothing here is run while a transaction is the worker's current one, but between enter and leave.
 */
#include "session/session_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#include "txn/lock.h"

void session__stream_create(struct session_stream *stream, struct session *session, uint64_t id)
{
    *stream = (struct session_stream){.session = session, .id = id};
    list_create(&stream->link);
    list_create(&stream->sibling);
    list_create(&stream->queue);
    session__wait_create(&stream->wait, session);
}

static uint64_t now_ns(const struct session_stream *stream)
{
    return clock_monotonic_ns(stream->session->service->options.clock);
}

static uint64_t after_ms(uint64_t ns, uint64_t ms)
{
    return ms ? ns + ms * 1000000 : UINT64_MAX;
}

static uint64_t least(uint64_t one, uint64_t two)
{
    return one < two ? one : two;
}

/* -------------------------------------------------------------------------------- its savepoints */

static void savepoints_drop(struct session_stream *stream, const struct session_savepoint *until)
{
    while (stream->savepoints != until) {
        struct session_savepoint *top = stream->savepoints;
        stream->savepoints = top->below;
        stream->savepoint_count--;
        free(top);
    }
}

static struct session_savepoint *savepoint_find(const struct session_stream *stream,
                                                const char *name, size_t size)
{
    for (struct session_savepoint *point = stream->savepoints; point; point = point->below)
        if (strlen(point->name) == size && strncasecmp(point->name, name, size) == 0)
            return point;
    diag_set(ERROR_INVALID, "there is no savepoint '%.*s'",
             (int)(size < SESSION_SAVEPOINT_NAME_MAX ? size : SESSION_SAVEPOINT_NAME_MAX), name);
    return NULL;
}

static int savepoint_add(struct session_stream *stream, const struct txn_savepoint *point,
                         const char *name, size_t size)
{
    if (size == 0 || size > SESSION_SAVEPOINT_NAME_MAX || memchr(name, 0, size))
        return diag_set(ERROR_INVALID, "a savepoint's name has 1 to %d bytes",
                        SESSION_SAVEPOINT_NAME_MAX);
    if (stream->savepoint_count == SESSION_SAVEPOINTS_MAX)
        return diag_set(ERROR_INVALID, "a transaction has at most %d savepoints",
                        SESSION_SAVEPOINTS_MAX);
    struct session_savepoint *top = calloc(1, sizeof *top);
    if (!top)
        return diag_set(ERROR_MEMORY, "out of memory");
    top->point = *point;
    top->below = stream->savepoints;
    memcpy(top->name, name, size);
    stream->savepoints = top;
    stream->savepoint_count++;
    return 0;
}

/* ------------------------------------------------------------------------------------ its end */

/* The transaction has ended, or is going to have no successor: `keep_age` when it was lost. */
static void ended(struct session_stream *stream, bool keep_age)
{
    stream->txn = NULL;
    list_remove(&stream->link);
    savepoints_drop(stream, NULL);
    if (stream->owner && keep_age)
        lock_release_all(stream->owner);
    else if (stream->owner)
        lock_owner_delete(stream->owner);
    session__wait_end(&stream->wait); /* now that nobody wakes it */
    if (!keep_age)
        stream->owner = stream->wait.owner = NULL;
}

static void about_set(struct session_stream *stream)
{
    struct session_about *about = &stream->session->about;
    bool open = stream->txn != NULL, failed = stream->failed != 0;
    store_relaxed(&about->open, load_relaxed(&about->open) + open - stream->shown_open);
    store_relaxed(&about->failed, load_relaxed(&about->failed) + failed - stream->shown_failed);
    stream->shown_open = open;
    stream->shown_failed = failed;
}

/* FAILED with what the diagnostics say of `code`. The transaction has ended already. */
static int fail(struct session_stream *stream, int code)
{
    ended(stream, true);
    stream->failed = code;
    snprintf(stream->failure, sizeof stream->failure, "%s", diag_message_for(code));
    about_set(stream);
    return session__stream_failure(stream);
}

int session__stream_failure(const struct session_stream *stream)
{
    return diag_set(stream->failed, "%s; the transaction was rolled back; send ROLLBACK",
                    stream->failure);
}

static int resume(struct session_stream *stream)
{
    int rc = txn_resume(stream->txn);
    return rc ? fail(stream, rc) : 0;
}

/* Rolls back a parked one. */
static void discard(struct session_stream *stream)
{
    if (stream->txn && txn_resume(stream->txn) == 0)
        txn_rollback(stream->txn);
}

void session__stream_destroy(struct session_stream *stream)
{
    discard(stream);
    ended(stream, false);
    stream->failed = 0;
    about_set(stream);
}

static int none_open(void)
{
    return diag_set(ERROR_INVALID, "no transaction is open: BEGIN opens one");
}

int session__stream_commit(struct session_stream *stream, uint64_t *reply_ts)
{
    if (session__stream_closed(stream))
        return none_open();
    int rc = stream->failed ? session__stream_failure(stream) : resume(stream);
    if (!rc) {
        rc = txn_commit(stream->txn);
        *reply_ts = txn_worker_seen_ts(stream->session->worker->txn);
        char message[DIAG_MESSAGE_MAX];
        snprintf(message, sizeof message, "%s", rc ? diag_message_for(rc) : "");
        ended(stream, rc != 0);
        if (rc)
            diag_set(rc, "%s; the transaction was rolled back", message);
    }
    stream->failed = 0;
    about_set(stream);
    return rc;
}

int session__stream_rollback(struct session_stream *stream, uint64_t *reply_ts)
{
    if (session__stream_closed(stream))
        return none_open();
    bool lost = stream->failed != 0;
    if (!lost && txn_resume(stream->txn) == 0) {
        *reply_ts = txn_seen_ts(stream->txn);
        txn_rollback(stream->txn);
    }
    ended(stream, lost);
    stream->failed = 0;
    about_set(stream);
    return 0;
}

/* ---------------------------------------------------------------------------------- its start */

/* When the first of its limits has to be looked at. */
static uint64_t first_limit(const struct session_stream *stream)
{
    const struct service_limits *limits = &stream->session->service->limits;
    uint64_t first = after_ms(stream->begun_ns, limits->transaction_time_max_ms);
    first = least(first, after_ms(stream->begun_ns, limits->transaction_idle_max_ms));
    return least(first, after_ms(stream->begun_ns, limits->snapshot_age_max_ms));
}

static int owner_make(struct session_stream *stream)
{
    if (stream->owner)
        return 0;
    struct session *session = stream->session;
    struct lock_table *locks = txn_system_locks(db_txn_system(session->service->options.db));
    int rc = lock_owner_new(locks, &stream->owner);
    if (rc)
        return diag_set(rc, "too many transactions are open");
    lock_owner_session_set(stream->owner, session->about.id);
    lock_owner_wake_set(stream->owner, session__wait_wake, &stream->wait);
    stream->wait.owner = stream->owner;
    return 0;
}

int session__stream_begin(struct session_stream *stream,
                          const struct session_stream_options *options)
{
    struct session *session = stream->session;
    struct session_worker *worker = session->worker;
    ASSERT(session__stream_closed(stream));
    int rc = owner_make(stream);
    if (rc)
        return rc;
    struct txn_options txn = {.level = options->level,
                              .readonly = options->readonly,
                              .latest = options->readonly && session__reads_latest(session),
                              .owner = stream->owner,
                              .session_id = session->about.id};
    rc = txn_open(worker->txn, &txn, &stream->txn);
    if (rc) {
        stream->txn = NULL;
        return rc;
    }
    txn_park(stream->txn);
    stream->level = options->level;
    stream->readonly = options->readonly;
    stream->begun_ns = stream->active_ns = now_ns(stream);
    list_add_tail(&worker->streams, &stream->link);
    session__due_at(worker, first_limit(stream));
    about_set(stream);
    return 0;
}

/* ---------------------------------------------------------------------------------- statements */

int session__stream_enter(struct session_stream *stream, struct txn_savepoint *savepoint)
{
    if (stream->failed)
        return session__stream_failure(stream);
    if (!stream->txn)
        return none_open();
    int rc = resume(stream);
    if (rc)
        return rc;
    if (lock_wait_state(stream->owner) == LOCK_WAIT_VICTIM) {
        txn_rollback(stream->txn);
        return fail(stream, diag_set(ERROR_DEADLOCK, "%s", error_text(ERROR_DEADLOCK)));
    }
    if (!stream->wait.deadline_ns) /* else it is run again, with locks of the first run */
        stream->statement = txn_savepoint(stream->txn);
    *savepoint = stream->statement;
    return 0;
}

int session__stream_leave(struct session_stream *stream, const struct txn_savepoint *savepoint,
                          int rc, uint64_t *reply_ts)
{
    struct txn *txn = stream->txn;
    int stopped = txn_stopped(txn);
    *reply_ts = txn_seen_ts(txn);
    stream->active_ns = now_ns(stream);
    if (stopped && stopped != ERROR_WAIT) {
        char message[DIAG_MESSAGE_MAX];
        snprintf(message, sizeof message, "%s", diag_message_for(stopped));
        txn_rollback(txn);
        return fail(stream, diag_set(stopped, "%s", message));
    }
    if (stopped == ERROR_WAIT || rc == ERROR_WAIT) {
        if (stopped) /* else that has been done already */
            txn_rollback_to(txn, *savepoint);
        rc = session__wait_begin(&stream->wait, NULL);
    }
    if (rc && rc != ERROR_WAIT) /* locks of the statement go, too */
        txn_rollback_to(txn, *savepoint);
    txn_park(txn);
    return rc;
}

int session__stream_savepoint(struct session_stream *stream, const char *name, size_t size,
                              uint64_t *reply_ts)
{
    struct txn_savepoint point;
    int rc = session__stream_enter(stream, &point);
    if (rc)
        return rc;
    return session__stream_leave(stream, &point, savepoint_add(stream, &point, name, size),
                                 reply_ts);
}

int session__stream_rollback_to(struct session_stream *stream, const char *name, size_t size,
                                uint64_t *reply_ts)
{
    struct txn_savepoint point;
    int rc = session__stream_enter(stream, &point);
    if (rc)
        return rc;
    const struct session_savepoint *found = savepoint_find(stream, name, size);
    if (found) {
        txn_rollback_to(stream->txn, found->point);
        savepoints_drop(stream, found);
        point = found->point;
    }
    return session__stream_leave(stream, &point, found ? 0 : ERROR_INVALID, reply_ts);
}

int session__stream_release(struct session_stream *stream, const char *name, size_t size,
                            uint64_t *reply_ts)
{
    struct txn_savepoint point;
    int rc = session__stream_enter(stream, &point);
    if (rc)
        return rc;
    const struct session_savepoint *found = savepoint_find(stream, name, size);
    if (found)
        savepoints_drop(stream, found->below);
    return session__stream_leave(stream, &point, found ? 0 : ERROR_INVALID, reply_ts);
}

/* -------------------------------------------------------------------------------------- limits */

/* It has ended, as the diagnostics say; a statement of it that waits is run again, to be told. */
static void tell(struct session_stream *stream)
{
    bool waiting = stream->wait.state != SESSION_WAIT_NONE;
    fail(stream, ERROR_CANCELLED);
    if (waiting) {
        stream->wait.state = SESSION_WAIT_READY;
        session__ready(stream->session);
    }
}

static void expired(struct session_stream *stream, const char *what, const char *option,
                    uint64_t limit_ms)
{
    diag_set(ERROR_CANCELLED, "%s for more than %" PRIu64 " ms (%s)", what, limit_ms, option);
    tell(stream);
}

/* Cancels snapshots that are too old, of whatever transactions; those of this worker's streams are
 * told. */
static void snapshots_expire(struct session_worker *worker, uint64_t now)
{
    uint64_t limit_ms = worker->service->limits.snapshot_age_max_ms;
    if (txn_cancel_older(worker->txn, limit_ms * 1000000) == 0)
        return;
    list_for_each_safe (link, &worker->streams) {
        struct session_stream *stream = list_entry(link, struct session_stream, link);
        if (!txn_was_ended(stream->txn)) /* to go on with it might wait at the gate */
            continue;
        txn_resume(stream->txn);
        if (after_ms(stream->begun_ns, limit_ms) > now)
            tell(stream); /* it was ended for another reason */
        else
            expired(stream, "the transaction's snapshot was held", "snapshot_age_max", limit_ms);
    }
}

uint64_t session__streams_expire(struct session_worker *worker, uint64_t now)
{
    const struct service_limits *limits = &worker->service->limits;
    uint64_t next = UINT64_MAX, aged = UINT64_MAX;
    list_for_each_safe (link, &worker->streams) {
        struct session_stream *stream = list_entry(link, struct session_stream, link);
        uint64_t total = after_ms(stream->begun_ns, limits->transaction_time_max_ms);
        uint64_t idle = stream->wait.state == SESSION_WAIT_QUEUED
                            ? UINT64_MAX
                            : after_ms(stream->active_ns, limits->transaction_idle_max_ms);
        if (total <= now || idle <= now)
            discard(stream);
        if (total <= now)
            expired(stream, "the transaction was open", "transaction_time_max",
                    limits->transaction_time_max_ms);
        else if (idle <= now)
            expired(stream, "the transaction was idle", "transaction_idle_max",
                    limits->transaction_idle_max_ms);
        else
            next = least(next, least(total, idle));
        aged = least(aged, after_ms(stream->begun_ns, limits->snapshot_age_max_ms));
    }
    if (aged <= now) {
        snapshots_expire(worker, now);
        aged = after_ms(now, limits->snapshot_age_max_ms / 8 + 1);
    }
    return least(next, aged);
}
