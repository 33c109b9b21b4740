/* SPDX-License-Identifier: Apache-2.0 */

/*
 * See session_migrate.h.
 *
 *      RUN ── FIND: connect, AUTH, SELECT ──► TALK ── replies ──► RUN
 *      RUN ── DUMP ──► SETTLE ── what was read is durable: RESTORE .. ──► TALK ── replies ──► RUN
 *      RUN ── FINISH, or nothing to send ──► the reply
 *
 * When the target fails, or nobody may wait any more, FINISH follows at once: it deletes what the target
 * has said it has taken, and replies the error. Of a connection that is closed at once (CLIENT KILL, a
 * server that is told twice to stop) there is no FINISH: its keys stay.
 *
 * SETTLE: what leaves the server rests on nothing that a crash could take back, as replies do
 * (invariant 9). A first command of a connection reads at V and finds it so; one behind replies that
 * still wait reads the latest, and looks again until the log is there.
 */
#include "session/session_migrate.h"

#include <stdlib.h>

#include "redis/redis_migrate.h"
#include "session/remote.h"
#include "session/session_internal.h"

enum { SETTLE_NS = 1000000 };

enum state { RUN, SETTLE, TALK };

struct session_migration {
    struct redis_migration what;
    struct session_wait *wait;
    struct remote *remote;
    enum state state;
    uint64_t ts;      /* what the values that are to be sent rest on */
    bool over;        /* nothing more comes: `what` has the error */
    const char *lost; /* the connection has ended: this is how; or NULL */
    size_t line_size;
    char line[REDIS_MIGRATE_LINE_MAX];
};

/* -------------------------------------------------------------------------------- what is told */

/* Redis's words. */
static const char *const ENDS[] = {
    [REMOTE_NOT_FOUND] = "error or timeout connecting to the client",
    [REMOTE_CONNECT_TIMEOUT] = "error or timeout connecting to the client",
    [REMOTE_WRITING] = "error or timeout writing to target instance",
    [REMOTE_READING] = "error or timeout reading to target instance"};

static void fail(struct session_migration *migration, const char *message)
{
    migration->over = true;
    redis_migration_fail(&migration->what, "IOERR", message);
}

/* Who has replied to everything may go; that the next cannot be sent is told then (talk). */
static void on_ended(void *arg, enum remote_end end)
{
    struct session_migration *migration = arg;
    migration->lost = ENDS[end];
    if (migration->what.replies == 0)
        return;
    fail(migration, migration->lost);
    session__wait_ready(migration->wait);
}

static void line_end(struct session_migration *migration)
{
    size_t size = migration->line_size;
    migration->line_size = 0;
    if (size > 0 && migration->line[size - 1] == '\r')
        size--;
    if (!redis_migration_reply(&migration->what, migration->line, size))
        fail(migration, ENDS[REMOTE_READING]);
}

/* Who replies to what has not been sent yet is not believed: keys would be deleted for it. */
static bool on_bytes(void *arg, const char *data, size_t size)
{
    struct session_migration *migration = arg;
    bool asked = migration->state == TALK;
    for (; asked && size > 0 && migration->what.replies > 0; data++, size--)
        if (*data == '\n')
            line_end(migration);
        else if (migration->line_size < sizeof migration->line)
            migration->line[migration->line_size++] = *data;
    if (asked && migration->what.replies > 0)
        return true;
    if (size > 0 && !(asked && migration->what.stage == REDIS_MIGRATE_DUMP))
        fail(migration, ENDS[REMOTE_READING]);
    session__wait_ready(migration->wait);
    return false;
}

/* ------------------------------------------------------------------------------------ its runs */

/* One try of the command at its stage. ERROR_WAIT and what.sends: it has come to the stage's end. */
static int run_once(struct session *session, struct session_request *request,
                    struct session_migration *migration, const struct txn_options *options)
{
    struct txn_worker *worker = session->worker->txn;
    struct redis_call call = session__redis_call(session, request);
    call.migration = &migration->what;
    call.pause = NULL;
    migration->what.sends = false;
    int rc = txn_begin(worker, options, &call.txn);
    if (rc)
        return rc;
    rc = redis_command_run(request->command->redis, &call);
    if (!rc) {
        rc = txn_commit(call.txn);
        request->reply_ts = txn_worker_seen_ts(worker);
        return rc;
    }
    request->reply_ts = migration->ts = txn_seen_ts(call.txn);
    txn_rollback(call.txn);
    return rc;
}

/* The same until it is neither lost nor has met a lock. */
static int run(struct session *session, struct session_request *request,
               struct session_migration *migration)
{
    struct txn_options options = {.level = TXN_SERIALIZABLE, .owner = session->wait.owner};
    size_t start = session->out.size;
    unsigned losses = 0;
    if (migration->what.stage != REDIS_MIGRATE_FINISH) {
        options.level = TXN_SNAPSHOT;
        options.readonly = !session__misses_wanted(session);
        options.latest = session__reads_latest(session);
    }
    for (;;) {
        int rc = run_once(session, request, migration, &options);
        if (!rc || migration->what.sends)
            return rc;
        rc = session__retry(session, rc, &losses, &options);
        if (rc)
            return rc;
        session__truncate(session, start);
        request->now_ms = session__now_ms(session->worker);
    }
}

/* -------------------------------------------------------------------------- between two of them */

static int connect_to(struct session *session, struct session_migration *migration)
{
    const struct redis_migration *what = &migration->what;
    const struct remote_target target = {.host = what->host.data,
                                         .host_size = what->host.size,
                                         .port = what->port,
                                         .timeout_ms = what->timeout_ms};
    const struct remote_user user = {on_bytes, on_ended, migration};
    if (!session->service->remote_open)
        return diag_set(ERROR_UNSUPPORTED, "there is no network to reach the target instance");
    int rc =
        session->service->remote_open(session->worker->user, &target, &user, &migration->remote);
    if (rc != ERROR_IO)
        return rc;
    fail(migration, ENDS[REMOTE_NOT_FOUND]);
    return 0;
}

static void talk(struct session_migration *migration)
{
    const struct mp_buffer *out = &migration->what.out;
    migration->line_size = 0;
    migration->state = TALK;
    if (migration->lost)
        fail(migration, migration->lost);
    else
        remote_send(migration->remote, out->data, out->size);
}

/* A stage is at its end. */
static int go_on(struct session *session, struct session_migration *migration)
{
    if (migration->what.stage == REDIS_MIGRATE_DUMP) {
        migration->state = SETTLE;
        return 0;
    }
    migration->state = TALK;
    int rc = connect_to(session, migration);
    if (!rc && !migration->over)
        talk(migration);
    return rc;
}

/* Nobody waits any more: the target is given up where it is. */
static bool given_up(const struct session *session, struct session_migration *migration)
{
    if (session->unblock)
        redis_migration_fail(&migration->what, "UNBLOCKED", "client unblocked via CLIENT UNBLOCK");
    else if (session->hurried)
        redis_migration_fail(&migration->what, "ERR",
                             "cancelled while waiting for the target instance: the connection is "
                             "being closed");
    else
        return false;
    migration->over = true;
    return true;
}

static int settle(struct session *session, struct session_migration *migration)
{
    struct wal *wal = session->service->wal;
    int rc = 0;
    while (!rc && wal_reply_ts(wal) < migration->ts) {
        if (wal_failed(wal))
            return diag_set(ERROR_LOG_FAILED, "the write-ahead log failed: nothing was sent to the "
                                              "target instance");
        if (given_up(session, migration))
            return 0;
        wal_kick(wal);
        rc = session__wait_until(session,
                                 clock_monotonic_ns(session->service->options.clock) + SETTLE_NS);
    }
    if (!rc)
        talk(migration);
    return rc;
}

/* Until `bytes` or `ended` wakes it. */
static int park(struct session *session)
{
    struct session_wait *wait = &session->wait;
    wait->deadline_ns = UINT64_MAX;
    wait->state = SESSION_WAIT_QUEUED;
    list_remove(&wait->link);
    list_add_tail(&session->worker->waits, &wait->link);
    return ERROR_WAIT;
}

/* The target has replied to all that was sent, or is given up. */
static void next_stage(struct session *session, struct session_migration *migration)
{
    struct redis_migration *what = &migration->what;
    bool sent = what->stage == REDIS_MIGRATE_DUMP;
    what->stage = sent || what->failed ? REDIS_MIGRATE_FINISH : REDIS_MIGRATE_DUMP;
    migration->state = RUN;
    session->wait.deadline_ns = 0; /* what else it may wait for has a limit of its own */
    if (what->stage == REDIS_MIGRATE_FINISH) {
        remote_close(migration->remote);
        migration->remote = NULL;
    }
}

static int migrate(struct session *session, struct session_request *request,
                   struct session_migration *migration)
{
    for (;;) {
        int rc = 0;
        if (migration->state == RUN) {
            rc = run(session, request, migration);
            if (!migration->what.sends)
                return rc;
            rc = go_on(session, migration);
        } else if (migration->over) {
            next_stage(session, migration);
        } else if (migration->state == SETTLE) {
            rc = settle(session, migration);
        } else if (migration->what.replies == 0) {
            next_stage(session, migration);
        } else if (!given_up(session, migration)) {
            rc = park(session);
        }
        if (rc)
            return rc;
    }
}

int session__migrate(struct session *session, struct session_request *request)
{
    struct session_migration *migration = session->migration;
    if (!migration) {
        migration = calloc(1, sizeof *migration);
        if (!migration)
            return diag_set(ERROR_MEMORY, "out of memory");
        redis_migration_create(&migration->what);
        migration->wait = &session->wait;
        session->migration = migration;
    }
    int rc = migrate(session, request, migration);
    if (rc == ERROR_WAIT)
        return rc;
    if (!rc && migration->what.failed)
        rc = SESSION_REPLIED_ERROR;
    session__migrate_end(session);
    return rc;
}

void session__migrate_end(struct session *session)
{
    struct session_migration *migration = session->migration;
    if (!migration)
        return;
    session->migration = NULL;
    remote_close(migration->remote);
    redis_migration_destroy(&migration->what);
    free(migration);
}
