/* SPDX-License-Identifier: Apache-2.0 */

/*
 * SAVE, BGSAVE, LASTSAVE: Redis's names for checkpoints.
 *
 * None of them stops anybody else. SAVE's reply comes when its checkpoint has ended; until then the
 * request waits as one that waits for a lock does, and looks again every few milliseconds.
 */
#include "session/session_internal.h"

#include "db/checkpoint.h"
#include "proto/resp_write.h"
#include "redis/redis_value.h"

enum { LOOK_AGAIN_MS = 5 };

static bool word(const struct redis_slice *arg, const char *text)
{
    size_t size = strlen(text);
    return arg->size == size && strncasecmp(arg->data, text, size) == 0;
}

/* The request is run again in a while, and finds the ticket of its first run. */
static int look_again(struct session *session)
{
    struct session_wait *wait = &session->wait;
    struct session_worker *worker = session->worker;
    uint64_t now_ns = clock_monotonic_ns(session->service->options.clock);
    wait->deadline_ns = now_ns + LOOK_AGAIN_MS * UINT64_C(1000000);
    wait->state = SESSION_WAIT_QUEUED;
    list_remove(&wait->link);
    list_add_tail(&worker->waits, &wait->link);
    session__due_at(worker, wait->deadline_ns);
    return ERROR_WAIT;
}

int session__save(struct session *session, struct session_request *request)
{
    (void)request;
    struct db *db = session->service->options.db;
    int rc = 0;
    if (!session->checkpoint)
        session->checkpoint = db_checkpoint_request(db);
    if (!db_checkpoint_done(db, session->checkpoint, &rc)) {
        if (!session->hurried)
            return look_again(session);
        rc = diag_set(ERROR_CANCELLED, "the checkpoint goes on; the connection is being closed");
    }
    session->checkpoint = 0;
    if (!rc)
        resp_put_ok(&session->out);
    return rc;
}

/* BGSAVE [SCHEDULE] */
int session__bgsave(struct session *session, struct session_request *request)
{
    struct db *db = session->service->options.db;
    struct db_checkpoint_stats stats;
    bool schedule = request->argc == 2 && word(&request->argv[1], "schedule");
    if (request->argc > 2 || (request->argc == 2 && !schedule))
        return redis_syntax_error();
    db_checkpoint_stats_get(db, &stats);
    if (stats.running && !schedule)
        return diag_set(ERROR_INVALID, "Background save already in progress");
    db_checkpoint_request(db);
    resp_put_status(&session->out,
                    stats.running ? "Background saving scheduled" : "Background saving started");
    return 0;
}

/* What BGREWRITEAOF is for, a log that does not grow without end, is what a checkpoint does. */
int session__bgrewriteaof(struct session *session, struct session_request *request)
{
    (void)request;
    db_checkpoint_request(session->service->options.db);
    resp_put_status(&session->out, "Background append only file rewriting started");
    return 0;
}

int session__lastsave(struct session *session, struct session_request *request)
{
    (void)request;
    struct db_checkpoint_stats stats;
    db_checkpoint_stats_get(session->service->options.db, &stats);
    resp_put_integer(&session->out, (int64_t)(stats.time_ms / 1000));
    return 0;
}
