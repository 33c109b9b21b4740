/* SPDX-License-Identifier: Apache-2.0 */

/* Consumer groups of streams: XGROUP, XACK, XPENDING, XCLAIM, XAUTOCLAIM. */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_stream.h"

static int changed(struct stream *stream, const char *event)
{
    return redis_changed(stream->call, stream->name, REDIS_TYPE_NONE, REDIS_NOTIFY_STREAM, event);
}

static void reply_integer(struct redis_call *call, int64_t value)
{
    call->sink->vtab->integer(call->sink, value);
}

/* ---------------------------------------------------------------------------------------- XGROUP */

/* The id of CREATE and SETID at argv[4], and what follows. */
struct group_options {
    struct stream_id id;
    bool last, mkstream; /* "$" */
    int64_t read;        /* -1: not given */
};

static int group_options_parse(struct redis_call *call, bool create, struct group_options *out)
{
    *out = (struct group_options){.read = -1};
    for (unsigned n = 5; n < call->argc; n++) {
        if (create && redis_word(call, n, "mkstream")) {
            out->mkstream = true;
        } else if (redis_word(call, n, "entriesread") && n + 1 < call->argc) {
            int rc = redis_integer_arg(call, ++n, &out->read);
            if (rc)
                return rc;
            if (out->read < -1)
                return diag_set(ERROR_INVALID, "value for ENTRIESREAD must be positive or -1");
        } else {
            return diag_set(ERROR_INVALID,
                            "unknown subcommand or wrong number of arguments for '%.*s'. Try "
                            "XGROUP HELP.",
                            (int)(call->argv[1].size < 128 ? call->argv[1].size : 128),
                            call->argv[1].data);
        }
    }
    out->last = call->argv[4].size == 1 && call->argv[4].data[0] == '$';
    return 0;
}

/* Only SETID takes "-" and "+". */
static int id_read(struct redis_call *call, const struct stream *stream, bool special,
                   struct group_options *options)
{
    if (!options->last)
        return redis__stream_id_arg(call, 4, 0, special, &options->id);
    options->id = stream->last;
    return 0;
}

static int no_key(void)
{
    return diag_set(ERROR_INVALID,
                    "The XGROUP subcommand requires the key to exist. Note that for CREATE you may "
                    "want to use the MKSTREAM option to create an empty stream automatically.");
}

/* Opens the stream argv[2], which exists, and its group argv[3], which does too. */
static int group_open(struct redis_call *call, struct stream *stream, struct stream_group *group)
{
    bool found = false;
    int rc = redis__stream_open(call, &call->argv[2], true, stream);
    if (!rc && !stream->exists)
        rc = no_key();
    if (!rc)
        rc = redis__stream_group_find(stream, &call->argv[3], &found, group);
    return rc || found ? rc : redis__stream_no_group(&call->argv[3], &call->argv[2]);
}

static int group_create(struct redis_call *call)
{
    struct group_options options;
    struct stream stream;
    struct stream_group group;
    bool found = false;
    int rc = group_options_parse(call, true, &options);
    if (!rc)
        rc = redis__stream_open(call, &call->argv[2], true, &stream);
    if (!rc && !stream.exists && !options.mkstream)
        rc = no_key();
    if (!rc)
        rc = id_read(call, &stream, false, &options);
    if (!rc && !stream.exists)
        rc = redis__stream_make(&stream);
    if (!rc)
        rc = redis__stream_group_find(&stream, &call->argv[3], &found, &group);
    if (!rc && found)
        rc = diag_set(ERROR_GROUP_EXISTS, "Consumer Group name already exists");
    if (rc)
        return rc;
    group = (struct stream_group){.name = call->argv[3], .last = options.id, .read = options.read};
    stream.groups++;
    rc = redis__stream_group_put(&stream, &group);
    if (!rc)
        rc = redis__stream_save(&stream);
    if (!rc)
        rc = changed(&stream, "xgroup-create");
    if (!rc)
        call->sink->vtab->status(call->sink, "OK");
    return rc;
}

static int group_setid(struct redis_call *call)
{
    struct group_options options;
    struct stream stream;
    struct stream_group group;
    int rc = group_options_parse(call, false, &options);
    if (!rc)
        rc = group_open(call, &stream, &group);
    if (!rc)
        rc = id_read(call, &stream, true, &options);
    if (rc)
        return rc;
    group.last = options.id;
    group.read = options.read;
    rc = redis__stream_group_put(&stream, &group);
    if (!rc)
        rc = changed(&stream, "xgroup-setid");
    if (!rc)
        call->sink->vtab->status(call->sink, "OK");
    return rc;
}

/* Ends a consumer with what it has pending. */
static int consumer_end(struct stream *stream, struct stream_group *group,
                        const struct stream_consumer *consumer)
{
    struct stream_pendings pendings;
    struct stream_pending pending;
    int rc = redis__stream_pendings_open(&pendings, stream, &group->name, &consumer->name,
                                         (struct stream_id){0, 0}, STREAM_ID_MAX);
    while (!rc && !(rc = redis__stream_pendings_next(&pendings, &pending)))
        rc = redis__stream_pending_delete(stream, &group->name, &pending);
    if (rc != ERROR_END)
        return rc;
    group->pending -= consumer->pending;
    group->consumers--;
    return redis__stream_consumer_delete(stream, &group->name, &consumer->name);
}

static int group_destroy(struct redis_call *call)
{
    struct stream stream;
    struct stream_group group;
    struct redis_elements consumers;
    struct stream_consumer consumer;
    bool found = false;
    int rc = redis__stream_open(call, &call->argv[2], true, &stream);
    if (!rc && !stream.exists)
        rc = no_key();
    if (!rc)
        rc = redis__stream_group_find(&stream, &call->argv[3], &found, &group);
    if (rc || !found) {
        if (!rc)
            reply_integer(call, 0);
        return rc;
    }
    rc = redis__stream_consumers_open(&stream, &group.name, &consumers);
    while (!rc && !(rc = redis__stream_consumers_next(&consumers, &group.name, &consumer)))
        rc = consumer_end(&stream, &group, &consumer);
    if (rc == ERROR_END)
        rc = redis_element_delete(call, stream.id, STREAM_GROUP, group.name.data, group.name.size);
    stream.groups--;
    if (!rc)
        rc = redis__stream_save(&stream);
    /* Who waits in it is told: with the stream's own type. */
    if (!rc)
        rc = redis_changed(call, stream.name, REDIS_TYPE_STREAM, REDIS_NOTIFY_STREAM,
                           "xgroup-destroy");
    if (!rc)
        reply_integer(call, 1);
    return rc;
}

static int group_createconsumer(struct redis_call *call)
{
    struct stream stream;
    struct stream_group group;
    struct stream_consumer consumer;
    bool made = false;
    int rc = group_open(call, &stream, &group);
    if (!rc)
        rc = redis__stream_consumer_get(&stream, &group, &call->argv[4], &made, &consumer);
    if (!rc && made)
        rc = redis__stream_consumer_put(&stream, &group.name, &consumer);
    if (!rc && made)
        rc = redis__stream_group_put(&stream, &group);
    if (!rc && made)
        rc = changed(&stream, "xgroup-createconsumer");
    if (!rc)
        reply_integer(call, made);
    return rc;
}

static int group_delconsumer(struct redis_call *call)
{
    struct stream stream;
    struct stream_group group;
    struct stream_consumer consumer = {.pending = 0};
    bool found = false;
    int rc = group_open(call, &stream, &group);
    if (!rc)
        rc = redis__stream_consumer_find(&stream, &group.name, &call->argv[4], &found, &consumer);
    if (!rc && found)
        rc = consumer_end(&stream, &group, &consumer);
    if (!rc && found)
        rc = redis__stream_group_put(&stream, &group);
    if (!rc && found)
        rc = changed(&stream, "xgroup-delconsumer");
    if (!rc)
        reply_integer(call, found ? (int64_t)consumer.pending : 0);
    return rc;
}

static int group_help(struct redis_call *call)
{
    static const char *const LINES[] = {
        "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CREATE <key> <groupname> <id|$> [option]",
        "    Create a new consumer group. Options are:",
        "    * MKSTREAM",
        "      Create the empty stream if it does not exist.",
        "    * ENTRIESREAD entries_read",
        "      Set the group's entries_read counter (internal use).",
        "CREATECONSUMER <key> <groupname> <consumer>",
        "    Create a new consumer in the specified group.",
        "DELCONSUMER <key> <groupname> <consumer>",
        "    Remove the specified consumer.",
        "DESTROY <key> <groupname>",
        "    Remove the specified group.",
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
        "    Set the current group ID and entries_read counter.",
        "HELP",
        "    Prints this help.",
    };
    return redis__help_reply(call, LINES, sizeof LINES / sizeof *LINES);
}

int redis__xgroup(struct redis_call *call)
{
    static const struct redis_subcommand SUBCOMMANDS[] = {
        {"create", group_create},
        {"setid", group_setid},
        {"destroy", group_destroy},
        {"createconsumer", group_createconsumer},
        {"delconsumer", group_delconsumer},
        {"help", group_help},
        {NULL, NULL},
    };
    return redis__subcommand_run(call, SUBCOMMANDS);
}

/* ------------------------------------------------------------------------------------------ XACK */

/* Takes an entry from what is pending. *found: it was. The consumer is counted down in its row. */
static int pending_end(struct stream *stream, struct stream_group *group, struct stream_id id,
                       bool *found)
{
    struct stream_pending pending;
    struct stream_consumer consumer;
    bool there = false;
    int rc = redis__stream_pending_find(stream, &group->name, id, found, &pending);
    if (rc || !*found)
        return rc;
    rc = redis__stream_pending_delete(stream, &group->name, &pending);
    if (!rc)
        rc =
            redis__stream_consumer_find(stream, &group->name, &pending.consumer, &there, &consumer);
    if (!rc && there) {
        consumer.pending--;
        rc = redis__stream_consumer_put(stream, &group->name, &consumer);
    }
    group->pending--;
    return rc;
}

int redis__xack(struct redis_call *call)
{
    struct stream stream;
    struct stream_group group;
    struct stream_id id;
    bool found = false;
    int64_t count = 0;
    int rc = redis__stream_open(call, &call->argv[1], true, &stream);
    if (!rc && stream.exists)
        rc = redis__stream_group_find(&stream, &call->argv[2], &found, &group);
    bool there = found;
    for (unsigned n = 3; !rc && there && n < call->argc; n++)
        rc = redis__stream_id_arg(call, n, 0, false, &id);
    for (unsigned n = 3; !rc && there && n < call->argc; n++) {
        rc = redis__stream_id_arg(call, n, 0, false, &id);
        if (!rc)
            rc = pending_end(&stream, &group, id, &found);
        count += !rc && found;
    }
    if (!rc && count)
        rc = redis__stream_group_put(&stream, &group);
    if (!rc)
        reply_integer(call, count);
    return rc;
}

/* -------------------------------------------------------------------------------------- XPENDING */

/* NOGROUP when argv[1] or its group argv[2] is not there. */
static int group_look(struct redis_call *call, bool update, struct stream *stream,
                      struct stream_group *group)
{
    bool found = false;
    const struct redis_slice *key = &call->argv[1], *name = &call->argv[2];
    int rc = redis__stream_open(call, key, update, stream);
    if (!rc && stream->exists)
        rc = redis__stream_group_find(stream, name, &found, group);
    if (rc || found)
        return rc;
    return diag_set(ERROR_NO_GROUP, "No such key '%.*s' or consumer group '%.*s'",
                    (int)(key->size < 256 ? key->size : 256), key->data,
                    (int)(name->size < 256 ? name->size : 256), name->data);
}

static int pending_summary(struct stream *stream, struct stream_group *group)
{
    struct redis_sink *sink = stream->call->sink;
    struct stream_pendings pendings;
    struct stream_pending first = {.id = {0, 0}}, last;
    struct redis_elements consumers;
    struct stream_consumer consumer;
    struct stream_id zero = {0, 0};
    sink->vtab->array(sink, 4);
    sink->vtab->integer(sink, (int64_t)group->pending);
    if (group->pending == 0) {
        sink->vtab->null(sink);
        sink->vtab->null(sink);
        sink->vtab->null_array(sink);
        return 0;
    }
    int rc =
        redis__stream_pendings_open(&pendings, stream, &group->name, NULL, zero, STREAM_ID_MAX);
    if (!rc)
        rc = redis__stream_pendings_next(&pendings, &first);
    for (last = first; !rc; rc = redis__stream_pendings_next(&pendings, &last))
        ;
    if (rc != ERROR_END)
        return rc;
    redis__stream_id_reply(sink, first.id);
    redis__stream_id_reply(sink, last.id);
    int64_t count = 0;
    for (int pass = 0; pass < 2; pass++) {
        if (pass)
            sink->vtab->array(sink, (size_t)count);
        rc = redis__stream_consumers_open(stream, &group->name, &consumers);
        while (!rc && !(rc = redis__stream_consumers_next(&consumers, &group->name, &consumer))) {
            char text[24];
            count += !pass && consumer.pending > 0;
            if (!pass || consumer.pending == 0)
                continue;
            sink->vtab->array(sink, 2);
            sink->vtab->bulk(sink, consumer.name.data, consumer.name.size);
            sink->vtab->bulk(sink, text, redis_integer_format((int64_t)consumer.pending, text));
        }
        if (rc != ERROR_END)
            return rc;
    }
    return 0;
}

struct pending_options {
    struct stream_id from, to;
    int64_t count, idle_ms;
    const struct redis_slice *consumer; /* NULL: all */
};

static int pending_parse(struct redis_call *call, struct pending_options *out)
{
    unsigned n = 3;
    *out = (struct pending_options){.consumer = NULL};
    if (call->argc < 6 || call->argc > 9)
        return redis_syntax_error();
    if (redis_word(call, 3, "idle")) {
        int rc = redis_integer_arg(call, 4, &out->idle_ms);
        if (rc)
            return rc;
        if (call->argc < 8)
            return redis_syntax_error();
        n = 5;
    }
    int rc = redis_integer_arg(call, n + 2, &out->count);
    if (!rc)
        rc = redis__stream_bound_arg(call, n, false, &out->from);
    if (!rc)
        rc = redis__stream_bound_arg(call, n + 1, true, &out->to);
    out->count = out->count < 0 ? 0 : out->count;
    out->consumer = call->argc > n + 3 ? &call->argv[n + 3] : NULL;
    return rc;
}

/* One walk over what is pending: counts, or replies `count` of them. */
static int pending_walk(struct stream *stream, const struct stream_group *group,
                        const struct pending_options *options, bool replies, int64_t *count)
{
    struct redis_sink *sink = stream->call->sink;
    struct stream_pendings pendings;
    struct stream_pending pending;
    int rc = redis__stream_pendings_open(&pendings, stream, &group->name, options->consumer,
                                         options->from, options->to);
    int64_t number = 0, now_ms = (int64_t)stream->call->now_ms;
    while (!rc && number < options->count &&
           !(rc = redis__stream_pendings_next(&pendings, &pending))) {
        int64_t idle_ms = now_ms - (int64_t)pending.time_ms;
        if (idle_ms < options->idle_ms)
            continue;
        number++;
        if (!replies)
            continue;
        sink->vtab->array(sink, 4);
        redis__stream_id_reply(sink, pending.id);
        sink->vtab->bulk(sink, pending.consumer.data, pending.consumer.size);
        sink->vtab->integer(sink, idle_ms < 0 ? 0 : idle_ms);
        sink->vtab->integer(sink, (int64_t)pending.count);
    }
    *count = number;
    return rc == ERROR_END ? 0 : rc;
}

int redis__xpending(struct redis_call *call)
{
    struct pending_options options;
    struct stream stream;
    struct stream_group group;
    struct stream_consumer consumer;
    int64_t count = 0;
    bool found = true;
    int rc = call->argc == 3 ? 0 : pending_parse(call, &options);
    if (!rc)
        rc = group_look(call, false, &stream, &group);
    if (rc || call->argc == 3)
        return rc ? rc : pending_summary(&stream, &group);
    if (options.consumer)
        rc = redis__stream_consumer_find(&stream, &group.name, options.consumer, &found, &consumer);
    if (!rc && found)
        rc = pending_walk(&stream, &group, &options, false, &count);
    if (rc)
        return rc;
    call->sink->vtab->array(call->sink, (size_t)count);
    return count ? pending_walk(&stream, &group, &options, true, &count) : 0;
}

/* ---------------------------------------------------------------------------- XCLAIM, XAUTOCLAIM */

struct claim {
    int64_t min_idle_ms, retry_count; /* -1: not given */
    uint64_t time_ms;
    bool force, justid;
    struct stream_id last;
};

/* The options behind the ids, from argv[n] on. */
static int claim_parse(struct redis_call *call, unsigned n, struct claim *claim)
{
    int64_t number, now_ms = (int64_t)call->now_ms;
    int rc = 0;
    for (; !rc && n < call->argc; n++) {
        bool more = n + 1 < call->argc;
        if (redis_word(call, n, "force")) {
            claim->force = true;
        } else if (redis_word(call, n, "justid")) {
            claim->justid = true;
        } else if (more && redis_word(call, n, "idle")) {
            rc = redis_integer_arg(call, ++n, &number);
            if (rc)
                rc = diag_set(ERROR_INVALID, "Invalid IDLE option argument for XCLAIM");
            else
                number = now_ms - number;
            claim->time_ms =
                !rc && number >= 0 && number <= now_ms ? (uint64_t)number : call->now_ms;
        } else if (more && redis_word(call, n, "time")) {
            rc = redis_integer_arg(call, ++n, &number);
            if (rc)
                rc = diag_set(ERROR_INVALID, "Invalid TIME option argument for XCLAIM");
            claim->time_ms =
                !rc && number >= 0 && number <= now_ms ? (uint64_t)number : call->now_ms;
        } else if (more && redis_word(call, n, "retrycount")) {
            rc = redis_integer_arg(call, ++n, &claim->retry_count);
            if (rc)
                rc = diag_set(ERROR_INVALID, "Invalid RETRYCOUNT option argument for XCLAIM");
            else if (claim->retry_count < 0)
                claim->retry_count = -1;
        } else if (more && redis_word(call, n, "lastid")) {
            rc = redis__stream_id_arg(call, ++n, 0, false, &claim->last);
        } else {
            rc = diag_set(ERROR_INVALID, "Unrecognized XCLAIM option '%.*s'",
                          (int)(call->argv[n].size < 128 ? call->argv[n].size : 128),
                          call->argv[n].data);
        }
    }
    return rc;
}

/* What is claimed, to be replied when all is done. */
struct claimed {
    struct stream_id *ids;
    size_t count;
};

/* Gives one pending entry to the consumer if it has been idle for long enough. */
static int entry_claim(struct stream *stream, struct stream_group *group,
                       struct stream_consumer *consumer, const struct claim *claim,
                       const struct stream_pending *pending)
{
    bool own = pending->consumer.size == consumer->name.size &&
               memcmp(pending->consumer.data, consumer->name.data, consumer->name.size) == 0;
    struct stream_pending now = *pending;
    struct stream_consumer before;
    bool there = false;
    int rc = redis__stream_pending_delete(stream, &group->name, pending);
    if (!rc && !own)
        rc = redis__stream_consumer_find(stream, &group->name, &pending->consumer, &there, &before);
    if (!rc && there) {
        before.pending--;
        rc = redis__stream_consumer_put(stream, &group->name, &before);
    }
    if (rc)
        return rc;
    consumer->pending += !own;
    consumer->active_ms = stream->call->now_ms;
    now.consumer = consumer->name;
    now.time_ms = claim->time_ms;
    if (claim->retry_count >= 0)
        now.count = (uint64_t)claim->retry_count;
    else if (!claim->justid)
        now.count++;
    return redis__stream_pending_put(stream, &group->name, &now);
}

static int entry_exists(struct stream *stream, struct stream_id id, bool *found)
{
    char key[STREAM_ID_SIZE];
    struct redis_slice value;
    redis__stream_id_encode(key, id);
    int rc = redis_element_get(stream->call, stream->id, STREAM_ENTRY, key, sizeof key, &value);
    *found = !rc && value.data;
    return rc;
}

/* One id of XCLAIM. */
static int id_claim(struct stream *stream, struct stream_group *group,
                    struct stream_consumer *consumer, const struct claim *claim,
                    struct stream_id id, struct claimed *claimed)
{
    struct stream_pending pending;
    bool found, there;
    int rc = redis__stream_pending_find(stream, &group->name, id, &found, &pending);
    if (!rc)
        rc = entry_exists(stream, id, &there);
    if (!rc && !there) { /* deleted: it is of no use to anybody */
        struct stream_group copy = *group;
        bool ended = false;
        if (found)
            rc = pending_end(stream, &copy, id, &ended);
        group->pending = copy.pending;
        if (ended && pending.consumer.size == consumer->name.size &&
            memcmp(pending.consumer.data, consumer->name.data, consumer->name.size) == 0)
            consumer->pending--;
        return rc;
    }
    if (!rc && !found && claim->force) {
        pending = (struct stream_pending){id, consumer->name, 0, 1}; /* as if delivered */
        group->pending++;
        consumer->pending++;
        rc = redis__stream_pending_put(stream, &group->name, &pending);
        found = true;
    }
    if (rc || !found)
        return rc;
    int64_t idle_ms = (int64_t)stream->call->now_ms - (int64_t)pending.time_ms;
    if (claim->min_idle_ms && pending.time_ms && idle_ms < claim->min_idle_ms)
        return 0;
    rc = entry_claim(stream, group, consumer, claim, &pending);
    claimed->ids[claimed->count++] = id;
    return rc;
}

static int claimed_reply(struct stream *stream, const struct claimed *claimed, bool justid)
{
    struct redis_sink *sink = stream->call->sink;
    int rc = 0;
    sink->vtab->array(sink, claimed->count);
    for (size_t n = 0; !rc && n < claimed->count; n++) {
        if (justid) {
            redis__stream_id_reply(sink, claimed->ids[n]);
            continue;
        }
        char key[STREAM_ID_SIZE];
        struct redis_slice value;
        redis__stream_id_encode(key, claimed->ids[n]);
        rc = redis_element_get(stream->call, stream->id, STREAM_ENTRY, key, sizeof key, &value);
        if (!rc && value.data)
            redis__stream_entry_reply(sink, claimed->ids[n], value);
        else if (!rc)
            rc = diag_set(ERROR_CORRUPT, "a stream in the Redis space is damaged");
    }
    return rc;
}

static int min_idle_arg(struct redis_call *call, const char *command, int64_t *out)
{
    int rc = redis_integer_arg(call, 4, out);
    if (rc)
        return diag_set(ERROR_INVALID, "Invalid min-idle-time argument for %s", command);
    *out = *out < 0 ? 0 : *out;
    return 0;
}

/* The consumer argv[3], which is made when it is new, before and after what is done with it. */
static int claim_begin(struct redis_call *call, struct stream *stream, struct stream_group *group,
                       struct stream_consumer *consumer, bool *made)
{
    int rc = redis__stream_consumer_get(stream, group, &call->argv[3], made, consumer);
    return rc ? rc : redis__stream_consumer_put(stream, &group->name, consumer);
}

static int claim_end(struct stream *stream, const struct stream_group *group,
                     const struct stream_consumer *consumer, bool made)
{
    int rc = redis__stream_consumer_put(stream, &group->name, consumer);
    if (!rc)
        rc = redis__stream_group_put(stream, group);
    return rc || !made ? rc : changed(stream, "xgroup-createconsumer");
}

int redis__xclaim(struct redis_call *call)
{
    struct claim claim = {.retry_count = -1, .time_ms = call->now_ms};
    struct stream stream;
    struct stream_group group;
    struct stream_consumer consumer;
    struct stream_id id;
    unsigned end = 5;
    bool made;
    int rc = group_look(call, true, &stream, &group);
    if (!rc)
        rc = min_idle_arg(call, "XCLAIM", &claim.min_idle_ms);
    if (rc)
        return rc;
    while (end < call->argc && redis__stream_id_arg(call, end, 0, false, &id) == 0)
        end++;
    rc = claim_parse(call, end, &claim);
    struct claimed claimed = {
        arena_alloc(txn_arena(call->txn), (end - 4) * sizeof(struct stream_id)), 0};
    if (!rc && !claimed.ids)
        rc = diag_set(ERROR_MEMORY, "out of memory");
    if (rc)
        return rc;
    if (redis__stream_id_compare(claim.last, group.last) > 0)
        group.last = claim.last;
    rc = claim_begin(call, &stream, &group, &consumer, &made);
    for (unsigned n = 5; !rc && n < end; n++) {
        rc = redis__stream_id_arg(call, n, 0, false, &id);
        if (!rc)
            rc = id_claim(&stream, &group, &consumer, &claim, id, &claimed);
    }
    if (!rc)
        rc = claim_end(&stream, &group, &consumer, made);
    return rc ? rc : claimed_reply(&stream, &claimed, claim.justid);
}

static int autoclaim_parse(struct redis_call *call, struct claim *claim, struct stream_id *from,
                           int64_t *count)
{
    enum { ATTEMPTS_FACTOR = 10 };
    *count = 100;
    int rc = min_idle_arg(call, "XAUTOCLAIM", &claim->min_idle_ms);
    if (!rc)
        rc = redis__stream_bound_arg(call, 5, false, from);
    for (unsigned n = 6; !rc && n < call->argc; n++) {
        if (n + 1 < call->argc && redis_word(call, n, "count")) {
            if (!redis_integer_parse(call->argv[n + 1].data, call->argv[n + 1].size, count) ||
                *count < 1 ||
                *count > INT64_MAX / (int64_t)sizeof(struct stream_id) / ATTEMPTS_FACTOR)
                rc = diag_set(ERROR_INVALID, "COUNT must be > 0");
            n++;
        } else if (redis_word(call, n, "justid")) {
            claim->justid = true;
        } else {
            rc = redis_syntax_error();
        }
    }
    return rc;
}

/* What XAUTOCLAIM looks at, copied: it changes the rows that it walks over. */
static int autoclaim_ids(struct stream *stream, const struct stream_group *group,
                         struct stream_id from, int64_t attempts, struct claimed *out,
                         struct stream_id *next)
{
    struct stream_pendings pendings;
    struct stream_pending pending;
    size_t most = group->pending < (uint64_t)attempts ? group->pending : (size_t)attempts;
    *next = (struct stream_id){0, 0};
    *out = (struct claimed){
        arena_alloc(txn_arena(stream->call->txn), (most + 1) * sizeof(struct stream_id)), 0};
    if (!out->ids)
        return diag_set(ERROR_MEMORY, "out of memory");
    int rc =
        redis__stream_pendings_open(&pendings, stream, &group->name, NULL, from, STREAM_ID_MAX);
    while (!rc && !(rc = redis__stream_pendings_next(&pendings, &pending))) {
        *next = pending.id;
        if (out->count == most)
            return 0;
        out->ids[out->count++] = pending.id;
    }
    *next = (struct stream_id){0, 0};
    return rc == ERROR_END ? 0 : rc;
}

int redis__xautoclaim(struct redis_call *call)
{
    enum { ATTEMPTS_FACTOR = 10 };
    struct claim claim = {.retry_count = -1, .time_ms = call->now_ms};
    struct stream stream;
    struct stream_group group;
    struct stream_consumer consumer;
    struct stream_id from, next;
    struct claimed looked, claimed, deleted;
    int64_t count;
    bool made;
    int rc = autoclaim_parse(call, &claim, &from, &count);
    if (!rc)
        rc = group_look(call, true, &stream, &group);
    if (!rc)
        rc = claim_begin(call, &stream, &group, &consumer, &made);
    if (!rc)
        rc = autoclaim_ids(&stream, &group, from, count * ATTEMPTS_FACTOR, &looked, &next);
    if (rc)
        return rc;
    size_t size = (looked.count + 1) * sizeof(struct stream_id);
    claimed = (struct claimed){arena_alloc(txn_arena(call->txn), size), 0};
    deleted = (struct claimed){arena_alloc(txn_arena(call->txn), size), 0};
    if (!claimed.ids || !deleted.ids)
        return diag_set(ERROR_MEMORY, "out of memory");
    size_t n = 0;
    for (; !rc && n < looked.count && claimed.count + deleted.count < (size_t)count; n++) {
        bool there;
        rc = entry_exists(&stream, looked.ids[n], &there);
        if (!rc)
            rc = id_claim(&stream, &group, &consumer, &claim, looked.ids[n], &claimed);
        if (!rc && !there)
            deleted.ids[deleted.count++] = looked.ids[n];
    }
    if (n < looked.count)
        next = looked.ids[n];
    if (!rc)
        rc = claim_end(&stream, &group, &consumer, made);
    if (rc)
        return rc;
    call->sink->vtab->array(call->sink, 3);
    redis__stream_id_reply(call->sink, next);
    rc = claimed_reply(&stream, &claimed, claim.justid);
    return rc ? rc : claimed_reply(&stream, &deleted, true);
}
