/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What clients ask of a server that might have replicas, be part of a cluster or load modules in C
 * of Redis's: it is a master on its own, with neither, and says so in Redis's words. WAIT and WAITAOF
 * wait as long as they are told to for replicas that do not come; WAITAOF's local half is the log.
 */
#include <inttypes.h>
#include <stdio.h>

#include "redis/redis_value.h"
#include "session/session_internal.h"

static bool word(const struct redis_slice *arg, const char *text)
{
    size_t size = strlen(text);
    return arg->size == size && strncasecmp(arg->data, text, size) == 0;
}

int session__role(struct session *session, struct session_request *request)
{
    (void)request;
    resp_put_array(&session->out, 3);
    resp_put_bulk(&session->out, "master", 6);
    resp_put_integer(&session->out, 0);
    resp_put_array(&session->out, 0);
    return 0;
}

/* REPLICAOF NO ONE; SLAVEOF. */
int session__replicaof(struct session *session, struct session_request *request)
{
    if (!word(&request->argv[1], "no") || !word(&request->argv[2], "one"))
        return diag_set(ERROR_UNSUPPORTED, "REPLICAOF: this server does not follow another");
    resp_put_ok(&session->out);
    return 0;
}

/* What replicas send, and redis-cli when it is to save a dump or to listen. */
int session__sync(struct session *session, struct session_request *request)
{
    (void)session;
    const struct redis_slice *name = &request->argv[0];
    return diag_set(ERROR_UNSUPPORTED,
                    "%.*s: there is no replication in Redis's protocol. For a copy of all data use "
                    "BACKUP TO, for single keys DUMP and RESTORE, for what changes keyspace "
                    "notifications or MONITOR",
                    (int)name->size, name->data);
}

int session__failover(struct session *session, struct session_request *request)
{
    (void)session;
    if (request->argc == 2 && word(&request->argv[1], "abort"))
        return diag_set(ERROR_INVALID, "No failover in progress.");
    return diag_set(ERROR_INVALID, "FAILOVER requires connected replicas.");
}

/* ------------------------------------------------------------------------------ WAIT and WAITAOF */

static int number_parse(const struct redis_slice *arg, int64_t *out)
{
    return redis_integer_parse(arg->data, arg->size, out)
               ? 0
               : diag_set(ERROR_INVALID, "value is not an integer or out of range");
}

static int timeout_parse(const struct redis_slice *arg, int64_t *ms)
{
    if (!redis_integer_parse(arg->data, arg->size, ms))
        return diag_set(ERROR_INVALID, "timeout is not an integer or out of range");
    return *ms < 0                     ? diag_set(ERROR_INVALID, "timeout is negative")
           : *ms > INT64_MAX / 4000000 ? diag_set(ERROR_INVALID, "timeout is out of range")
                                       : 0;
}

/* When a request with this timeout has waited for long enough; the same in each of its runs. */
static uint64_t wait_end(struct session *session, int64_t ms)
{
    uint64_t now_ns = clock_monotonic_ns(session->service->options.clock);
    if (!session->sleep_until_ns)
        session->sleep_until_ns = ms ? now_ns + (uint64_t)ms * 1000000 : UINT64_MAX;
    return session->sleep_until_ns;
}

/* WAIT replicas milliseconds */
int session__wait_replicas(struct session *session, struct session_request *request)
{
    int64_t replicas, ms;
    int rc = number_parse(&request->argv[1], &replicas);
    if (!rc)
        rc = timeout_parse(&request->argv[2], &ms);
    if (!rc && replicas > 0 && !request->txn)
        rc = session__wait_until(session, wait_end(session, ms));
    if (rc)
        return rc;
    session->sleep_until_ns = 0;
    resp_put_integer(&session->out, 0);
    return 0;
}

/* Under any level: what was committed until the first run is on stable storage. */
static bool log_reached(struct session *session)
{
    struct wal *wal = session->service->wal;
    if (!session->aof_ts)
        session->aof_ts = wal_clock(wal);
    return wal_durable_ts(wal) >= session->aof_ts;
}

/* Waits for the log in small steps: nobody is told when that is durable which nothing waits for. 0: it
 * is there, when that is enough, or the time is over. */
static int wait_aof(struct session *session, uint64_t end_ns, bool log_only)
{
    enum { STEP_NS = 10 * 1000000 };
    int rc = 0;
    while (!rc && !(log_only && log_reached(session)) && !session->unblock && !session->hurried) {
        uint64_t now_ns = clock_monotonic_ns(session->service->options.clock);
        if (now_ns >= end_ns)
            break;
        wal_kick(session->service->wal);
        /* 0 when the step has passed meanwhile, on a busy machine */
        rc = session__wait_until(session,
                                 log_only && now_ns + STEP_NS < end_ns ? now_ns + STEP_NS : end_ns);
    }
    return rc;
}

/* WAITAOF local replicas milliseconds */
int session__waitaof(struct session *session, struct session_request *request)
{
    int64_t local, replicas, ms;
    int rc = number_parse(&request->argv[1], &local);
    if (!rc && (local < 0 || local > 1))
        rc = diag_set(ERROR_INVALID, "value is out of range, must between 0 and 1");
    if (!rc)
        rc = number_parse(&request->argv[2], &replicas);
    if (!rc && replicas < 0)
        rc = diag_set(ERROR_INVALID, "value is out of range, must be positive");
    if (!rc)
        rc = timeout_parse(&request->argv[3], &ms);
    if (rc)
        return rc;
    bool reached = log_reached(session);
    if (!request->txn && (replicas > 0 || (local > 0 && !reached))) {
        rc = wait_aof(session, wait_end(session, ms), replicas == 0);
        if (rc)
            return rc;
        reached = log_reached(session);
    }
    session->sleep_until_ns = session->aof_ts = 0;
    resp_put_array(&session->out, 2);
    resp_put_integer(&session->out, reached);
    resp_put_integer(&session->out, 0);
    return 0;
}

/* --------------------------------------------------------------------------------------- LOLWUT */

int session__lolwut(struct session *session, struct session_request *request)
{
    char text[128];
    (void)request;
    int size = snprintf(text, sizeof text, "Perigee %s. Redis ver. 7.2.0\n",
                        session->service->options.version);
    resp_put_verbatim(&session->out, session->protocol, "txt", text, (size_t)size);
    return 0;
}

/* ----------------------------------------------------------------------------- CLUSTER and MODULE */

int session__cluster_disabled(struct session *session, struct session_request *request)
{
    (void)session;
    (void)request;
    return diag_set(ERROR_INVALID, "This instance has cluster support disabled");
}

#define CLUSTER(name, arity, flags, summary, since)                                              \
    {                                                                                            \
        name, arity, flags, 0, 0, 0, summary, since, "cluster", session__cluster_disabled, NULL, \
            NULL, 0                                                                              \
    }
const struct session_command session__cluster_commands[] = {
    CLUSTER("cluster|addslots", -3, SESSION_ADMIN, "Assigns new hash slots to a node.", "3.0.0"),
    CLUSTER("cluster|addslotsrange", -4, SESSION_ADMIN, "Assigns new hash slot ranges to a node.",
            "7.0.0"),
    CLUSTER("cluster|bumpepoch", 2, SESSION_ADMIN, "Advances the cluster config epoch.", "3.0.0"),
    CLUSTER("cluster|count-failure-reports", 3, SESSION_ADMIN,
            "Returns the number of active failure reports active for a node.", "3.0.0"),
    CLUSTER("cluster|countkeysinslot", 3, 0, "Returns the number of keys in a hash slot.", "3.0.0"),
    CLUSTER("cluster|delslots", -3, SESSION_ADMIN, "Sets hash slots as unbound for a node.",
            "3.0.0"),
    CLUSTER("cluster|delslotsrange", -4, SESSION_ADMIN,
            "Sets hash slot ranges as unbound for a node.", "7.0.0"),
    CLUSTER("cluster|failover", -2, SESSION_ADMIN,
            "Forces a replica to perform a manual failover of its master.", "3.0.0"),
    CLUSTER("cluster|flushslots", 2, SESSION_ADMIN, "Deletes all slots information from a node.",
            "3.0.0"),
    CLUSTER("cluster|forget", 3, SESSION_ADMIN, "Removes a node from the nodes table.", "3.0.0"),
    CLUSTER("cluster|getkeysinslot", 4, 0, "Returns the key names in a hash slot.", "3.0.0"),
    CLUSTER("cluster|help", 2, 0, "Returns helpful text about the different subcommands.", "5.0.0"),
    CLUSTER("cluster|info", 2, 0, "Returns information about the state of a node.", "3.0.0"),
    CLUSTER("cluster|keyslot", 3, 0, "Returns the hash slot for a key.", "3.0.0"),
    CLUSTER("cluster|links", 2, 0, "Returns a list of all TCP links to and from peer nodes.",
            "7.0.0"),
    CLUSTER("cluster|meet", -4, SESSION_ADMIN, "Forces a node to handshake with another node.",
            "3.0.0"),
    CLUSTER("cluster|myid", 2, 0, "Returns the ID of a node.", "3.0.0"),
    CLUSTER("cluster|myshardid", 2, 0, "Returns the shard ID of a node.", "7.2.0"),
    CLUSTER("cluster|nodes", 2, 0, "Returns the cluster configuration for a node.", "3.0.0"),
    CLUSTER("cluster|replicas", 3, SESSION_ADMIN, "Lists the replica nodes of a master node.",
            "5.0.0"),
    CLUSTER("cluster|replicate", 3, SESSION_ADMIN, "Configure a node as replica of a master node.",
            "3.0.0"),
    CLUSTER("cluster|reset", -2, SESSION_ADMIN, "Resets a node.", "3.0.0"),
    CLUSTER("cluster|saveconfig", 2, SESSION_ADMIN,
            "Forces a node to save the cluster configuration to disk.", "3.0.0"),
    CLUSTER("cluster|set-config-epoch", 3, SESSION_ADMIN,
            "Sets the configuration epoch for a new node.", "3.0.0"),
    CLUSTER("cluster|setslot", -4, SESSION_ADMIN, "Binds a hash slot to a node.", "3.0.0"),
    CLUSTER("cluster|shards", 2, 0, "Returns the mapping of cluster slots to shards.", "7.0.0"),
    CLUSTER("cluster|slaves", 3, SESSION_ADMIN, "Lists the replica nodes of a master node.",
            "3.0.0"),
    CLUSTER("cluster|slots", 2, 0, "Returns the mapping of cluster slots to nodes.", "3.0.0"),
    {0},
};

static int module_list(struct session *session, struct session_request *request)
{
    (void)request;
    resp_put_array(&session->out, 0);
    return 0;
}

static int module_refused(struct session *session, struct session_request *request)
{
    (void)session;
    (void)request;
    return diag_set(ERROR_UNSUPPORTED,
                    "MODULE command not allowed. Modules are installed by procedures: box.module");
}

static int module_help(struct session *session, struct session_request *request)
{
    (void)request;
    static const char *const LINES[] = {
        "LIST",
        "    Return a list of loaded modules.",
    };
    session__put_help(session, "MODULE", LINES, sizeof LINES / sizeof *LINES);
    return 0;
}

#define MODULE(name, arity, flags, summary, since, run)                                        \
    {                                                                                          \
        name, arity, (flags) | SESSION_NOSCRIPT, 0, 0, 0, summary, since, "server", run, NULL, \
            NULL, 0                                                                            \
    }
const struct session_command session__module_commands[] = {
    MODULE("module|help", 2, 0, "Returns helpful text about the different subcommands.", "5.0.0",
           module_help),
    MODULE("module|list", 2, SESSION_ADMIN, "Returns all loaded modules.", "4.0.0", module_list),
    MODULE("module|load", -3, SESSION_ADMIN | SESSION_NO_MULTI, "Loads a module.", "4.0.0",
           module_refused),
    MODULE("module|loadex", -3, SESSION_ADMIN | SESSION_NO_MULTI,
           "Loads a module using extended parameters.", "7.0.0", module_refused),
    MODULE("module|unload", 3, SESSION_ADMIN | SESSION_NO_MULTI, "Unloads a module.", "4.0.0",
           module_refused),
    {0},
};
