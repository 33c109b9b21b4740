/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands of a pipeline that share a transaction.
 *
 * A short write of one key is dear for what stands around it: a snapshot, a descriptor, a timestamp,
 * a record in the log with its checksum, looking for the rows that the command before has just found.
 * So those of one batch that stand next to each other run in one transaction, a group: one commit, one
 * record, one timestamp (invariant 28), and of several writes to a row only the last is logged. To
 * others it looks as if the commands had come right after each other, which they may in any case.
 *
 * A group is serializable, as EXEC is: what its commands have seen holds at its timestamp, and so do
 * their replies, which nobody gets before. It has no savepoints. When one of its commands fails,
 * conflicts or would have to wait, nothing of the group has happened, and its requests are executed
 * one by one, each at the level and with the patience that it has by itself. A connection to which
 * this happens goes without groups for a while, twice as long each time: where keys are fought for,
 * things are as without groups.
 *
 * Bounds: a batch, the size of a request, and a time, which is looked at after each command. Commands
 * that may wait, that reply to others, or that others look at one by one while they run (MONITOR,
 * CLIENT PAUSE, tracking by the connection itself) have no part in groups; rules of ACL neither, since
 * a command that is refused is noted when it is asked about. Statistics, the slow log and latencies
 * are of single commands: the commit's time is divided among them.
 */
#include "db/memory.h"
#include "session/session_internal.h"
#include "txn/lock.h"

enum {
    GROUP_REQUEST_BYTES_MAX = 2048,
    GROUP_ARGS_MAX = 16,
    GROUP_PAUSE_BATCHES = 8, /* doubled so often: */
    GROUP_LOSSES_MAX = 8
};

struct group {
    const struct resp_request *requests;
    unsigned count; /* have been run */
    const struct session_command *commands[SESSION_BATCH_MAX];
    uint64_t now_ms[SESSION_BATCH_MAX], ticks[SESSION_BATCH_MAX];
};

bool session__groupable(const struct redis_command *command)
{
    return (command->flags & REDIS_WRITE) && (command->flags & (REDIS_FAST | REDIS_SHORT)) &&
           !(command->flags & (REDIS_BLOCKING | REDIS_GATE | REDIS_MOVABLE)) &&
           command->first_key == 1 && strcmp(command->group, "pubsub") != 0;
}

/* The command that a request names, or NULL; *joins: it may be in a group. */
static const struct session_command *look(struct session *session,
                                          const struct resp_request *request, bool *joins)
{
    *joins = false;
    if (request->argc == 0)
        return NULL;
    const struct redis_slice *name = resp_request_argv(&session->resp, request);
    const struct session_command *command =
        service__command_find(session->service, name->data, name->size);
    *joins = command && (command->flags & SESSION_GROUPS) && request->argc <= GROUP_ARGS_MAX &&
             request->size + request->apart_bytes <= GROUP_REQUEST_BYTES_MAX &&
             redis_command_one_row(command->redis, (unsigned)request->argc) &&
             session__arity_fits(command, (unsigned)request->argc);
    return command;
}

/* Whether commands of this connection may be put together, as things are. */
static bool may_group(struct session *session)
{
    struct service *service = session->service;
    return session->group_pause == 0 && !session->multi && !session->stream.txn &&
           !session->stream.failed && !session->tracker && session->reply_mode == REPLY_ON &&
           !session__listening(session) && load_relaxed(&service->attention) == 0 &&
           !load_relaxed(&service->loading) && session->authenticated &&
           session__writes_freely(session) && db_memory_is_easy(service->options.db) &&
           !redis_housekeeping_must_evict(&service->keeping, db_worker_db(session->worker->db));
}

static int run_one(struct session *session, struct group *group, struct txn *txn, bool granted)
{
    const struct resp_request *parsed = &group->requests[group->count];
    struct session_request request = {.command = group->commands[group->count],
                                      .argv = resp_request_argv(&session->resp, parsed),
                                      .argc = (unsigned)parsed->argc,
                                      .txn = txn,
                                      .now_ms = session__now_ms(session->worker)};
    struct redis_call call = session__redis_call(session, &request);
    call.granted = granted;
    diag_clear();
    group->now_ms[group->count++] = request.now_ms;
    return redis_command_run(request.command->redis, &call);
}

/* Runs what belongs together of `count` requests; the first two are known to. */
static int run_all(struct session *session, struct group *group, unsigned count, struct txn *txn,
                   bool granted)
{
    uint64_t begin = clock_ticks(), before = begin;
    uint64_t ticks_max = (uint64_t)(session->service->limits.group_us_max * service__ticks_a_us());
    for (bool joins = true; joins && before - begin <= ticks_max;) {
        int rc = run_one(session, group, txn, granted);
        if (rc)
            return rc;
        uint64_t now = clock_ticks();
        group->ticks[group->count - 1] = now - before;
        before = now;
        if (group->count == count)
            return 0;
        if (group->count > 1)
            group->commands[group->count] = look(session, &group->requests[group->count], &joins);
    }
    return 0;
}

/* All of it has been committed. */
static void done(struct session *session, const struct group *group, uint64_t commit_ticks)
{
    uint64_t ts = txn_worker_seen_ts(session->worker->txn);
    for (unsigned n = 0; n < group->count; n++) {
        const struct resp_request *parsed = &group->requests[n];
        struct session_request request = {.command = group->commands[n],
                                          .argv = resp_request_argv(&session->resp, parsed),
                                          .argc = (unsigned)parsed->argc,
                                          .now_ms = group->now_ms[n]};
        session__executed(session, &request, 0, group->ticks[n] + commit_ticks / group->count);
        session__reply_end(session, ts, 0, false);
    }
    store_relaxed(&session->about.command, group->commands[group->count - 1]->name);
    store_relaxed(&session->about.active_ms, group->now_ms[group->count - 1]);
    service__count(&session->worker->stats.commands, group->count);
    session->group_losses -= session->group_losses > 0;
}

/* Nothing of it has happened. What it was about to wait for, a request will meet again by itself. */
static void lost(struct session *session, int rc)
{
    struct lock_owner *owner = rc == ERROR_WAIT ? txn_owner_detach(session->worker->txn) : NULL;
    if (owner)
        lock_owner_delete(owner);
    session->group_losses += session->group_losses < GROUP_LOSSES_MAX;
    session->group_pause = GROUP_PAUSE_BATCHES << session->group_losses;
    session__now_forget(session->worker);
}

static unsigned group_run(struct session *session, struct group *group, unsigned count)
{
    static const struct txn_options OPTIONS = {.level = TXN_SERIALIZABLE, .whole = true};
    size_t start = session->out.size;
    struct txn *txn;
    bool granted;
    if (session__room(session, &granted) || txn_begin(session->worker->txn, &OPTIONS, &txn))
        return 0;
    int rc = run_all(session, group, count, txn, granted);
    uint64_t ticks = clock_ticks();
    if (rc)
        txn_rollback(txn);
    else
        rc = txn_commit(txn);
    if (!rc) {
        done(session, group, clock_ticks() - ticks);
        return group->count;
    }
    session__truncate(session, start);
    lost(session, rc);
    return 0;
}

unsigned session__group(struct session *session, const struct resp_request *requests,
                        unsigned count, const struct session_command **first)
{
    struct group group;
    bool joins;
    *first = group.commands[0] = look(session, &requests[0], &joins);
    if (!joins || count < 2 || !may_group(session))
        return 0;
    group.commands[1] = look(session, &requests[1], &joins);
    group.requests = requests;
    group.count = 0;
    return joins ? group_run(session, &group, count) : 0;
}
