/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The table of all commands: those of the connection, of transactions and of scripts, declared
 * here, joined with the data commands of redis/redis_table.c in order of name, and an
 * open-addressing table of hashes to find one.
 */
#include <stdlib.h>

#include "session/session_internal.h"

#define NO_KEYS 0, 0, 0
#define ROW(name, arity, flags, keys, summary, since, group, run)           \
    {                                                                       \
        name, arity, flags, keys, summary, since, group, run, NULL, NULL, 0 \
    }
#define PARENT(name, arity, flags, summary, since, group, run, subcommands)           \
    {                                                                                 \
        name, arity, flags, NO_KEYS, summary, since, group, run, NULL, subcommands, 0 \
    }

enum {
    BEFORE_AUTH = SESSION_NO_AUTH | SESSION_NOSCRIPT | SESSION_FAST,
    TRANSACTION = SESSION_AT_ONCE | SESSION_NOSCRIPT | SESSION_FAST,
    SCRIPT = SESSION_SCRIPT | SESSION_DATA | SESSION_NOSCRIPT | SESSION_NUMKEYS |
             SESSION_STATEMENT | SESSION_USES_KEYS,
    PROCEDURE = SESSION_SCRIPT | SESSION_DATA | SESSION_NOSCRIPT | SESSION_STATEMENT,
    LISTENER = SESSION_NOSCRIPT | SESSION_LISTENING,
    INTERACTIVE = SESSION_NO_MULTI | SESSION_NOSCRIPT | SESSION_FAST,
    SPACE_READ = SESSION_DATA | SESSION_NOSCRIPT | SESSION_STATEMENT | SESSION_READS,
    SPACE_WRITE = SESSION_SCRIPT | SESSION_DATA | SESSION_NOSCRIPT | SESSION_STATEMENT,
    SPACE_ALTER = SPACE_WRITE | SESSION_NO_TXN | SESSION_ALTERS
};

static const struct session_command COMMANDS[] = {
    ROW("asking", 1, SESSION_FAST, NO_KEYS,
        "Signals that a cluster client is following an -ASK redirect.", "3.0.0", "cluster",
        session__cluster_disabled),
    ROW("bgrewriteaof", 1, SESSION_ADMIN | SESSION_NOSCRIPT, NO_KEYS,
        "Asynchronously rewrites the append-only file to disk.", "1.0.0", "server",
        session__bgrewriteaof),
    PARENT("cluster", -2, 0, "A container for Redis Cluster commands.", "3.0.0", "cluster", NULL,
           session__cluster_commands),
    ROW("debug", -2, SESSION_ADMIN | SESSION_NO_MULTI | SESSION_NOSCRIPT, NO_KEYS,
        "A container for debugging commands.", "1.0.0", "server", session__debug),
    ROW("failover", -1, SESSION_ADMIN | SESSION_NOSCRIPT, NO_KEYS,
        "Starts a coordinated failover from a server to one of its replicas.", "6.2.0", "server",
        session__failover),
    ROW("lolwut", -1, SESSION_FAST, NO_KEYS, "Displays computer art and the Redis version", "5.0.0",
        "server", session__lolwut),
    PARENT("memory", -2, 0, "A container for memory diagnostics commands.", "4.0.0", "server", NULL,
           session__memory_commands),
    PARENT("module", -2, 0, "A container for module commands.", "4.0.0", "server", NULL,
           session__module_commands),
    ROW("monitor", 1, SESSION_ADMIN | SESSION_NOSCRIPT, NO_KEYS,
        "Listens for all requests received by the server in real-time.", "1.0.0", "server",
        session__monitor),
    ROW("psync", -3, SESSION_ADMIN | SESSION_NOSCRIPT | SESSION_NO_MULTI, NO_KEYS,
        "An internal command used in replication.", "2.8.0", "server", session__sync),
    ROW("readonly", 1, SESSION_FAST, NO_KEYS,
        "Enables read-only queries for a connection to a Redis Cluster replica node.", "3.0.0",
        "cluster", session__cluster_disabled),
    ROW("readwrite", 1, SESSION_FAST, NO_KEYS,
        "Enables read-write queries for a connection to a Redis Cluster replica node.", "3.0.0",
        "cluster", session__cluster_disabled),
    ROW("replconf", -1, SESSION_ADMIN | SESSION_NOSCRIPT, NO_KEYS,
        "An internal command for configuring the replication stream.", "3.0.0", "server",
        session__sync),
    ROW("replicaof", 3, SESSION_ADMIN | SESSION_NOSCRIPT, NO_KEYS,
        "Configures a server as replica of another, or promotes it to a master.", "5.0.0", "server",
        session__replicaof),
    ROW("role", 1, SESSION_FAST | SESSION_NOSCRIPT, NO_KEYS, "Returns the replication role.",
        "2.8.12", "server", session__role),
    ROW("slaveof", 3, SESSION_ADMIN | SESSION_NOSCRIPT, NO_KEYS,
        "Sets a Redis server as a replica of another, or promotes it to being a master.", "1.0.0",
        "server", session__replicaof),
    ROW("sync", 1, SESSION_ADMIN | SESSION_NOSCRIPT | SESSION_NO_MULTI, NO_KEYS,
        "An internal command used in replication.", "1.0.0", "server", session__sync),
    ROW("wait", 3, SESSION_NOSCRIPT, NO_KEYS,
        "Blocks until the asynchronous replication of all preceding write commands sent by the "
        "connection is completed.",
        "3.0.0", "generic", session__wait_replicas),
    ROW("waitaof", 4, SESSION_NOSCRIPT, NO_KEYS,
        "Blocks until all of the preceding write commands sent by the connection are written to "
        "the append-only file of the master and/or replicas.",
        "7.2.0", "generic", session__waitaof),
    PARENT("acl", -2, SESSION_NOSCRIPT, "A container for Access List Control commands.", "6.0.0",
           "server", NULL, session__acl_commands),
    ROW("auth", -2, BEFORE_AUTH, NO_KEYS, "Authenticates the connection.", "1.0.0", "connection",
        session__auth),
    PARENT("backup", -2, SESSION_ADMIN | SESSION_NOSCRIPT, "A container for backup commands.",
           "7.2.0", "server", NULL, session__backup_commands),
    ROW("begin", -1, INTERACTIVE | SESSION_DATA, NO_KEYS, "Opens an interactive transaction.",
        "7.2.0", "transactions", session__begin),
    ROW("bgsave", -1, SESSION_ADMIN | SESSION_NOSCRIPT, NO_KEYS,
        "Asynchronously saves the database(s) to disk.", "1.0.0", "server", session__bgsave),
    ROW("call", -2, PROCEDURE, NO_KEYS, "Calls a stored procedure as one transaction.", "7.2.0",
        "scripting", session__call),
    PARENT("client", -2, SESSION_NOSCRIPT, "A container for client connection commands.", "2.4.0",
           "connection", NULL, session__client_commands),
    PARENT("command", -1, 0, "Returns detailed information about all commands.", "2.8.13", "server",
           session__command, session__command_commands),
    PARENT("config", -2, SESSION_ADMIN | SESSION_NOSCRIPT,
           "A container for server configuration commands.", "2.0.0", "server", NULL,
           session__config_commands),
    ROW("commit", 1, INTERACTIVE | SESSION_ENDS_TXN, NO_KEYS,
        "Commits the interactive transaction.", "7.2.0", "transactions", session__commit),
    ROW("discard", 1, TRANSACTION, NO_KEYS, "Discards a transaction.", "2.0.0", "transactions",
        session__discard),
    ROW("echo", 2, SESSION_FAST, NO_KEYS, "Returns the given string.", "1.0.0", "connection",
        session__echo),
    ROW("eval", -3, SCRIPT, NO_KEYS, "Executes a server-side Lua script.", "2.6.0", "scripting",
        session__eval),
    ROW("eval_ro", -3, SCRIPT | SESSION_READS, NO_KEYS,
        "Executes a read-only server-side Lua script.", "7.0.0", "scripting", session__eval_ro),
    ROW("evalsha", -3, SCRIPT, NO_KEYS, "Executes a server-side Lua script by SHA1 digest.",
        "2.6.0", "scripting", session__evalsha),
    ROW("evalsha_ro", -3, SCRIPT | SESSION_READS, NO_KEYS,
        "Executes a read-only server-side Lua script by SHA1 digest.", "7.0.0", "scripting",
        session__evalsha_ro),
    ROW("exec", 1, TRANSACTION | SESSION_DATA, NO_KEYS, "Executes all commands in a transaction.",
        "1.2.0", "transactions", session__exec),
    ROW("fcall", -3, PROCEDURE | SESSION_NUMKEYS, NO_KEYS,
        "Calls a function, or a stored procedure with keys and arguments.", "7.0.0", "scripting",
        session__fcall),
    ROW("fcall_ro", -3, PROCEDURE | SESSION_NUMKEYS | SESSION_READS, NO_KEYS,
        "Calls a function or a stored procedure that must not write.", "7.0.0", "scripting",
        session__fcall_ro),
    PARENT("function", -2, SESSION_NOSCRIPT, "A container for function commands.", "7.0.0",
           "scripting", NULL, session__function_commands),
    ROW("hello", -1, BEFORE_AUTH, NO_KEYS, "Handshakes with the server.", "6.0.0", "connection",
        session__hello),
    ROW("info", -1, 0, NO_KEYS, "Returns information and statistics about the server.", "1.0.0",
        "server", session__info),
    ROW("isolation", -1, INTERACTIVE, NO_KEYS,
        "Sets the isolation level of transactions that name none.", "7.2.0", "transactions",
        session__isolation),
    ROW("lastsave", 1, SESSION_FAST, NO_KEYS,
        "Returns the Unix timestamp of the last successful save to disk.", "1.0.0", "server",
        session__lastsave),
    PARENT("latency", -2, SESSION_ADMIN | SESSION_NOSCRIPT,
           "A container for latency diagnostics commands.", "2.8.13", "server", NULL,
           session__latency_commands),
    ROW("locktimeout", -1, INTERACTIVE, NO_KEYS,
        "Sets how long requests of this connection wait for others.", "7.2.0", "transactions",
        session__locktimeout),
    ROW("lua", -2, PROCEDURE, NO_KEYS, "Runs Lua text.", "7.2.0", "scripting", session__lua),
    ROW("multi", -1, TRANSACTION | SESSION_NO_TXN, NO_KEYS, "Starts a transaction.", "1.2.0",
        "transactions", session__multi),
    ROW("ping", -1, SESSION_FAST | SESSION_LISTENING, NO_KEYS,
        "Returns the server's liveliness response.", "1.0.0", "connection", session__ping),
    ROW("psubscribe", -2, LISTENER, NO_KEYS,
        "Listens for messages published to channels that match "
        "one or more patterns.",
        "2.0.0", "pubsub", session__psubscribe),
    PARENT("pubsub", -2, 0, "A container for Pub/Sub commands.", "2.8.0", "pubsub", NULL,
           session__pubsub_commands),
    ROW("punsubscribe", -1, LISTENER | SESSION_ENDS_TXN, NO_KEYS,
        "Stops listening to messages published to channels "
        "that match one or more patterns.",
        "2.0.0", "pubsub", session__punsubscribe),
    ROW("quit", -1, BEFORE_AUTH | SESSION_AT_ONCE | SESSION_ENDS_TXN | SESSION_LISTENING, NO_KEYS,
        "Closes the connection.", "1.0.0", "connection", session__quit),
    ROW("release", -2, INTERACTIVE, NO_KEYS, "Forgets a savepoint and those after it.", "7.2.0",
        "transactions", session__release),
    ROW("reset", 1, BEFORE_AUTH | SESSION_AT_ONCE | SESSION_ENDS_TXN | SESSION_LISTENING, NO_KEYS,
        "Resets the connection.", "6.2.0", "connection", session__reset),
    ROW("rollback", -1, INTERACTIVE | SESSION_ENDS_TXN, NO_KEYS,
        "Rolls back the interactive transaction, or what it has done since a savepoint.", "7.2.0",
        "transactions", session__rollback),
    ROW("save", 1, SESSION_ADMIN | SESSION_NO_MULTI | SESSION_NOSCRIPT, NO_KEYS,
        "Synchronously saves the database(s) to disk.", "1.0.0", "server", session__save),
    ROW("savepoint", 2, INTERACTIVE, NO_KEYS, "Names a point to roll back to.", "7.2.0",
        "transactions", session__savepoint),
    PARENT("script", -2, SESSION_NOSCRIPT, "A container for Lua scripts management commands.",
           "2.6.0", "scripting", NULL, session__script_commands),
    ROW("select", 2, SESSION_FAST, NO_KEYS, "Changes the selected database.", "1.0.0", "connection",
        session__select),
    ROW("shutdown", -1, SESSION_ADMIN | SESSION_NO_MULTI | SESSION_NOSCRIPT, NO_KEYS,
        "Stops the server in order.", "1.0.0", "server", session__shutdown),
    ROW("space.alter", 3, SPACE_ALTER, NO_KEYS, "Changes the name, format or options of a space.",
        "7.2.0", "space", session__space_alter),
    ROW("space.count", -2, SPACE_READ, NO_KEYS, "Counts the tuples of a space or of a key.",
        "7.2.0", "space", session__space_count),
    ROW("space.create", -2, SPACE_ALTER, NO_KEYS, "Creates a space.", "7.2.0", "space",
        session__space_create),
    ROW("space.delete", -3, SPACE_WRITE, NO_KEYS, "Deletes a tuple by its key and returns it.",
        "7.2.0", "space", session__space_delete),
    ROW("space.drop", 2, SPACE_ALTER, NO_KEYS, "Deletes a space and its tuples.", "7.2.0", "space",
        session__space_drop),
    ROW("space.get", -3, SPACE_READ | SESSION_FAST, NO_KEYS, "Returns a tuple by its key.", "7.2.0",
        "space", session__space_get),
    ROW("space.index.alter", 4, SPACE_ALTER, NO_KEYS, "Changes the name or options of an index.",
        "7.2.0", "space", session__index_alter),
    ROW("space.index.create", -3, SPACE_ALTER, NO_KEYS, "Creates an index of a space.", "7.2.0",
        "space", session__index_create),
    ROW("space.index.drop", 3, SPACE_ALTER, NO_KEYS, "Deletes an index of a space.", "7.2.0",
        "space", session__index_drop),
    ROW("space.info", 2, SPACE_READ, NO_KEYS, "Returns what a space and its indexes are.", "7.2.0",
        "space", session__space_info),
    ROW("space.insert", 3, SPACE_WRITE | SESSION_FAST, NO_KEYS,
        "Inserts a tuple whose key is not taken.", "7.2.0", "space", session__space_insert),
    ROW("space.list", 1, SPACE_READ, NO_KEYS, "Returns the names of the spaces that may be read.",
        "7.2.0", "space", session__space_list),
    ROW("space.mget", -3, SPACE_READ, NO_KEYS, "Returns the tuples of several keys.", "7.2.0",
        "space", session__space_mget),
    ROW("space.replace", 3, SPACE_WRITE | SESSION_FAST, NO_KEYS,
        "Inserts a tuple, or puts it in the place of the one with its key.", "7.2.0", "space",
        session__space_replace),
    ROW("space.select", -3, SPACE_READ, NO_KEYS, "Returns the tuples of a key, or a range.",
        "7.2.0", "space", session__space_select),
    ROW("space.truncate", 2, SPACE_ALTER, NO_KEYS, "Deletes all tuples of a space.", "7.2.0",
        "space", session__space_truncate),
    ROW("space.update", -4, SPACE_WRITE, NO_KEYS, "Changes fields of a tuple by operations.",
        "7.2.0", "space", session__space_update),
    ROW("space.upsert", 4, SPACE_WRITE, NO_KEYS,
        "Inserts a tuple, or changes the one with its key by operations.", "7.2.0", "space",
        session__space_upsert),
    PARENT("slowlog", -2, SESSION_ADMIN, "A container for slow log commands.", "2.2.12", "server",
           NULL, session__slowlog_commands),
    {"ssubscribe", -2, LISTENER, 1, -1, 1, "Listens for messages published to shard channels.",
     "7.0.0", "pubsub", session__ssubscribe, NULL, NULL, 0},
    ROW("start", -2, INTERACTIVE | SESSION_DATA, NO_KEYS,
        "START TRANSACTION opens an interactive transaction.", "7.2.0", "transactions",
        session__start),
    ROW("subscribe", -2, LISTENER, NO_KEYS, "Listens for messages published to channels.", "2.0.0",
        "pubsub", session__subscribe),
    {"sunsubscribe", -1, LISTENER | SESSION_ENDS_TXN, 1, -1, 1,
     "Stops listening to messages posted to shard channels.", "7.0.0", "pubsub",
     session__sunsubscribe, NULL, NULL, 0},
    ROW("time", 1, SESSION_FAST, NO_KEYS, "Returns the server time.", "2.6.0", "server",
        session__time),
    ROW("unsubscribe", -1, LISTENER | SESSION_ENDS_TXN, NO_KEYS,
        "Stops listening to messages posted to channels.", "2.0.0", "pubsub", session__unsubscribe),
    ROW("unwatch", 1, SESSION_NOSCRIPT | SESSION_FAST, NO_KEYS,
        "Forgets about watched keys of a transaction.", "2.2.0", "transactions", session__unwatch),
    {"watch", -2, TRANSACTION | SESSION_DATA | SESSION_NO_TXN, 1, -1, 1,
     "Monitors changes to keys to determine the execution of a transaction.", "2.2.0",
     "transactions", session__watch, NULL, NULL, 0},
};

static int by_name(const void *left, const void *right)
{
    return strcmp(((const struct session_command *)left)->name,
                  ((const struct session_command *)right)->name);
}

/* FNV-1a of the letters folded by | 32; the comparison decides. */
static unsigned name_hash(const char *name, size_t size)
{
    uint32_t hash = 2166136261u;
    for (size_t n = 0; n < size; n++)
        hash = (hash ^ ((unsigned char)name[n] | 32)) * 16777619u;
    return (hash ^ hash >> 15) % SERVICE_SLOTS;
}

static struct session_command of_redis(const struct redis_command *redis)
{
    return (struct session_command){.name = redis->name,
                                    .arity = redis->arity,
                                    .flags = SESSION_DATA |
                                             (session__groupable(redis) ? SESSION_GROUPS : 0),
                                    .first_key = redis->first_key,
                                    .last_key = redis->last_key,
                                    .key_step = redis->key_step,
                                    .summary = redis->summary,
                                    .since = redis->since,
                                    .group = redis->group,
                                    .redis = redis};
}

/* Subcommands get numbers behind those of the commands; so the service has copies of their tables
 * with the numbers set. */
static void subcommands_number(struct service *service, struct session_command *parent)
{
    const struct session_command *first = parent->subcommands;
    struct session_command *copies =
        &service->commands[service->command_count + service->subcommand_count];
    unsigned count = 0;
    for (; first[count].name; count++) {
        ASSERT(service->command_count + service->subcommand_count + count + 1 <
               SERVICE_COMMANDS_MAX);
        copies[count] = first[count];
        copies[count].number = service->command_count + service->subcommand_count + count;
    }
    copies[count] = (struct session_command){0};
    parent->subcommands = copies;
    service->subcommand_count += count + 1;
}

void service__commands_fill(struct service *service)
{
    const struct redis_command *redis;
    unsigned count = 0;
    for (size_t n = 0; n < sizeof COMMANDS / sizeof *COMMANDS; n++)
        service->commands[count++] = COMMANDS[n];
    for (unsigned n = 0; (redis = redis_command_at(n)) != NULL; n++) {
        ASSERT(count < SERVICE_COMMANDS_MAX);
        service->commands[count++] = of_redis(redis);
    }
    qsort(service->commands, count, sizeof *service->commands, by_name);
    service->command_count = count;
    for (unsigned n = 0; n < count; n++) {
        struct session_command *command = &service->commands[n];
        unsigned slot = name_hash(command->name, strlen(command->name));
        while (service->slots[slot])
            slot = (slot + 1) % SERVICE_SLOTS;
        service->slots[slot] = (uint16_t)(n + 1);
        command->number = n;
        ASSERT(n == 0 || strcmp(service->commands[n - 1].name, command->name) != 0);
    }
    for (unsigned n = 0; n < count; n++)
        if (service->commands[n].subcommands)
            subcommands_number(service, &service->commands[n]);
    for (unsigned n = 0; n < service->command_count + service->subcommand_count; n++)
        if (service->commands[n].name)
            service->specs[n] = redis_spec_find(service->commands[n].name);
}

const struct session_command *service__command_find(const struct service *service, const char *name,
                                                    size_t size)
{
    enum { COMMAND_NAME_SIZE_MAX = 32 };
    if (size > COMMAND_NAME_SIZE_MAX)
        return NULL;
    for (unsigned slot = name_hash(name, size); service->slots[slot];
         slot = (slot + 1) % SERVICE_SLOTS) {
        const struct session_command *command = &service->commands[service->slots[slot] - 1];
        if (strncasecmp(command->name, name, size) == 0 && command->name[size] == 0)
            return command;
    }
    return NULL;
}

const struct session_command *service__command_named(const struct service *service,
                                                     const char *name, size_t size)
{
    const char *bar = memchr(name, '|', size);
    const struct session_command *command =
        service__command_find(service, name, bar ? (size_t)(bar - name) : size);
    if (!bar || !command)
        return command;
    for (const struct session_command *sub = command->subcommands; sub && sub->name; sub++)
        if (strlen(sub->name) == size && strncasecmp(sub->name, name, size) == 0)
            return sub;
    return NULL;
}
