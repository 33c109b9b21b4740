/* SPDX-License-Identifier: Apache-2.0 */

/*
 * XINFO.
 *
 * "radix-tree-keys" and "-nodes" are what Redis would have for as many entries in nodes of
 * stream-node-max-entries: clients read them and nothing is a radix tree here.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_stream.h"

static void word(struct redis_sink *sink, const char *text)
{
    sink->vtab->bulk(sink, text, strlen(text));
}

static void field(struct redis_sink *sink, const char *name, int64_t value)
{
    word(sink, name);
    sink->vtab->integer(sink, value);
}

static void field_id(struct redis_sink *sink, const char *name, struct stream_id id)
{
    word(sink, name);
    redis__stream_id_reply(sink, id);
}

static void field_or_null(struct redis_sink *sink, const char *name, int64_t value)
{
    word(sink, name);
    if (value == STREAM_UNKNOWN)
        sink->vtab->null(sink);
    else
        sink->vtab->integer(sink, value);
}

static void field_bytes(struct redis_sink *sink, const char *name, const struct redis_slice *value)
{
    word(sink, name);
    sink->vtab->bulk(sink, value->data, value->size);
}

/* ---------------------------------------------------------------------------------------- STREAM */

static int64_t node_count(const struct stream *stream)
{
    uint64_t each = load_relaxed(&stream->call->config->stream_node_max_entries);
    if (each == 0)
        return stream->length > 0;
    return (int64_t)((stream->length + each - 1) / each);
}

static int ends_find(struct stream *stream, struct stream_id *first, struct stream_id *last)
{
    struct stream_id zero = {0, 0};
    *first = *last = zero;
    if (stream->length == 0)
        return 0;
    int rc = redis__stream_entry_near(stream, zero, false, first);
    return rc ? rc : redis__stream_entry_near(stream, STREAM_ID_MAX, true, last);
}

static void head_reply(struct stream *stream, struct stream_id first)
{
    struct redis_sink *sink = stream->call->sink;
    field(sink, "length", (int64_t)stream->length);
    field(sink, "radix-tree-keys", node_count(stream));
    field(sink, "radix-tree-nodes", node_count(stream) + 1);
    field_id(sink, "last-generated-id", stream->last);
    field_id(sink, "max-deleted-entry-id", stream->deleted);
    field(sink, "entries-added", (int64_t)stream->added);
    field_id(sink, "recorded-first-entry-id", first);
}

/* The entry with this id, or null when the stream is empty. */
static int entry_field(struct stream *stream, const char *name, struct stream_id id)
{
    struct redis_sink *sink = stream->call->sink;
    char key[STREAM_ID_SIZE];
    struct redis_slice value;
    word(sink, name);
    redis__stream_id_encode(key, id);
    int rc = redis_element_get(stream->call, stream->id, STREAM_ENTRY, key, sizeof key, &value);
    if (!rc && value.data)
        redis__stream_entry_reply(sink, id, value);
    else if (!rc)
        sink->vtab->null(sink);
    return rc;
}

static int stream_reply(struct stream *stream)
{
    struct stream_id first, last;
    struct redis_sink *sink = stream->call->sink;
    int rc = ends_find(stream, &first, &last);
    if (rc)
        return rc;
    sink->vtab->map(sink, 10);
    head_reply(stream, first);
    field(sink, "groups", (int64_t)stream->groups);
    rc = entry_field(stream, "first-entry", first);
    return rc ? rc : entry_field(stream, "last-entry", last);
}

/* ------------------------------------------------------------------------------------------ FULL */

static int group_pending_reply(struct stream *stream, const struct stream_group *group,
                               uint64_t most)
{
    struct redis_sink *sink = stream->call->sink;
    struct stream_pendings pendings;
    struct stream_pending pending;
    uint64_t count = most && group->pending > most ? most : group->pending;
    word(sink, "pending");
    sink->vtab->array(sink, count);
    int rc = redis__stream_pendings_open(&pendings, stream, &group->name, NULL,
                                         (struct stream_id){0, 0}, STREAM_ID_MAX);
    for (; !rc && count > 0; count--) {
        rc = redis__stream_pendings_next(&pendings, &pending);
        if (rc)
            break;
        sink->vtab->array(sink, 4);
        redis__stream_id_reply(sink, pending.id);
        sink->vtab->bulk(sink, pending.consumer.data, pending.consumer.size);
        sink->vtab->integer(sink, (int64_t)pending.time_ms);
        sink->vtab->integer(sink, (int64_t)pending.count);
    }
    return rc;
}

static int consumer_full_reply(struct stream *stream, const struct stream_group *group,
                               const struct stream_consumer *consumer, uint64_t most)
{
    struct redis_sink *sink = stream->call->sink;
    struct stream_pendings pendings;
    struct stream_pending pending;
    uint64_t count = most && consumer->pending > most ? most : consumer->pending;
    sink->vtab->map(sink, 5);
    field_bytes(sink, "name", &consumer->name);
    field(sink, "seen-time", (int64_t)consumer->seen_ms);
    field(sink, "active-time", consumer->active_ms ? (int64_t)consumer->active_ms : -1);
    field(sink, "pel-count", (int64_t)consumer->pending);
    word(sink, "pending");
    sink->vtab->array(sink, count);
    int rc = redis__stream_pendings_open(&pendings, stream, &group->name, &consumer->name,
                                         (struct stream_id){0, 0}, STREAM_ID_MAX);
    for (; !rc && count > 0; count--) {
        rc = redis__stream_pendings_next(&pendings, &pending);
        if (rc)
            break;
        sink->vtab->array(sink, 3);
        redis__stream_id_reply(sink, pending.id);
        sink->vtab->integer(sink, (int64_t)pending.time_ms);
        sink->vtab->integer(sink, (int64_t)pending.count);
    }
    return rc;
}

static int group_full_reply(struct stream *stream, const struct stream_group *group, uint64_t most)
{
    struct redis_sink *sink = stream->call->sink;
    struct redis_elements consumers;
    struct stream_consumer consumer;
    int64_t lag;
    int rc = redis__stream_lag(stream, group, &lag);
    if (rc)
        return rc;
    sink->vtab->map(sink, 7);
    field_bytes(sink, "name", &group->name);
    field_id(sink, "last-delivered-id", group->last);
    field_or_null(sink, "entries-read", group->read < 0 ? STREAM_UNKNOWN : group->read);
    field_or_null(sink, "lag", lag);
    field(sink, "pel-count", (int64_t)group->pending);
    rc = group_pending_reply(stream, group, most);
    if (rc)
        return rc;
    word(sink, "consumers");
    sink->vtab->array(sink, group->consumers);
    rc = redis__stream_consumers_open(stream, &group->name, &consumers);
    while (!rc && !(rc = redis__stream_consumers_next(&consumers, &group->name, &consumer)))
        rc = consumer_full_reply(stream, group, &consumer, most);
    return rc == ERROR_END ? 0 : rc;
}

static int full_reply(struct stream *stream, uint64_t most)
{
    struct redis_sink *sink = stream->call->sink;
    struct stream_id first, last, zero = {0, 0};
    struct redis_elements groups;
    struct stream_group group;
    int rc = ends_find(stream, &first, &last);
    if (rc)
        return rc;
    sink->vtab->map(sink, 9);
    head_reply(stream, first);
    word(sink, "entries");
    rc = redis__stream_range_reply(stream, zero, STREAM_ID_MAX, false, most);
    if (rc)
        return rc;
    word(sink, "groups");
    sink->vtab->array(sink, stream->groups);
    rc = redis_elements_open(&groups, stream->call, stream->id, STREAM_GROUP, NULL);
    while (!rc && !(rc = redis__stream_groups_next(&groups, &group)))
        rc = group_full_reply(stream, &group, most);
    return rc == ERROR_END ? 0 : rc;
}

/* The stream argv[2], which exists. */
static int stream_open(struct redis_call *call, struct stream *stream)
{
    int rc = redis__stream_open(call, &call->argv[2], false, stream);
    return rc || stream->exists ? rc : diag_set(ERROR_INVALID, "no such key");
}

static int info_stream(struct redis_call *call)
{
    struct stream stream;
    int64_t count = 10;
    bool full = call->argc > 3;
    int rc = stream_open(call, &stream);
    if (rc)
        return rc;
    if (full && ((call->argc != 4 && call->argc != 6) || !redis_word(call, 3, "full") ||
                 (call->argc == 6 && !redis_word(call, 4, "count"))))
        return redis__subcommand_unknown(call, "xinfo");
    if (call->argc == 6)
        rc = redis_integer_arg(call, 5, &count);
    if (rc)
        return rc;
    count = count < 0 ? 10 : count;
    return full ? full_reply(&stream, (uint64_t)count) : stream_reply(&stream);
}

/* ------------------------------------------------------------------------------ GROUPS, CONSUMERS */

static int info_groups(struct redis_call *call)
{
    struct redis_sink *sink = call->sink;
    struct stream stream;
    struct redis_elements groups;
    struct stream_group group;
    int rc = stream_open(call, &stream);
    if (rc)
        return rc;
    sink->vtab->array(sink, stream.groups);
    rc = redis_elements_open(&groups, call, stream.id, STREAM_GROUP, NULL);
    while (!rc && !(rc = redis__stream_groups_next(&groups, &group))) {
        int64_t lag;
        rc = redis__stream_lag(&stream, &group, &lag);
        if (rc)
            break;
        sink->vtab->map(sink, 6);
        field_bytes(sink, "name", &group.name);
        field(sink, "consumers", (int64_t)group.consumers);
        field(sink, "pending", (int64_t)group.pending);
        field_id(sink, "last-delivered-id", group.last);
        field_or_null(sink, "entries-read", group.read < 0 ? STREAM_UNKNOWN : group.read);
        field_or_null(sink, "lag", lag);
    }
    return rc == ERROR_END ? 0 : rc;
}

static int info_consumers(struct redis_call *call)
{
    struct redis_sink *sink = call->sink;
    struct stream stream;
    struct stream_group group;
    struct redis_elements consumers;
    struct stream_consumer consumer;
    bool found = false;
    int rc = stream_open(call, &stream);
    if (!rc)
        rc = redis__stream_group_find(&stream, &call->argv[3], &found, &group);
    if (!rc && !found)
        rc = redis__stream_no_group(&call->argv[3], &call->argv[2]);
    if (rc)
        return rc;
    sink->vtab->array(sink, group.consumers);
    rc = redis__stream_consumers_open(&stream, &group.name, &consumers);
    while (!rc && !(rc = redis__stream_consumers_next(&consumers, &group.name, &consumer))) {
        int64_t idle_ms = (int64_t)call->now_ms - (int64_t)consumer.seen_ms;
        int64_t inactive_ms = (int64_t)call->now_ms - (int64_t)consumer.active_ms;
        sink->vtab->map(sink, 4);
        field_bytes(sink, "name", &consumer.name);
        field(sink, "pending", (int64_t)consumer.pending);
        field(sink, "idle", idle_ms < 0 ? 0 : idle_ms);
        field(sink, "inactive", consumer.active_ms == 0 ? -1 : inactive_ms < 0 ? 0 : inactive_ms);
    }
    return rc == ERROR_END ? 0 : rc;
}

static int info_help(struct redis_call *call)
{
    static const char *const LINES[] = {
        "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CONSUMERS <key> <groupname>",
        "    Show consumers of <groupname>.",
        "GROUPS <key>",
        "    Show the stream consumer groups.",
        "STREAM <key> [FULL [COUNT <count>]",
        "    Show information about the stream.",
        "HELP",
        "    Prints this help.",
    };
    return redis__help_reply(call, LINES, sizeof LINES / sizeof *LINES);
}

int redis__xinfo(struct redis_call *call)
{
    static const struct redis_subcommand SUBCOMMANDS[] = {
        {"stream", info_stream},
        {"groups", info_groups},
        {"consumers", info_consumers},
        {"help", info_help},
        {NULL, NULL},
    };
    return redis__subcommand_run(call, SUBCOMMANDS);
}
