/* SPDX-License-Identifier: Apache-2.0 */

/*
 * XREAD and XREADGROUP.
 *
 * One that waits runs again from its start, with the ids that it was told at first: what "$" was then
 * is kept over its runs.
 *
 * XREADGROUP with ">" gives a group's next entries to a consumer and notes them as pending; with an id
 * it shows the consumer what it was given after that and has not acknowledged. Both write: the time at
 * which the consumer was seen.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_block.h"
#include "redis/redis_commands.h"
#include "redis/redis_stream.h"

struct read_options {
    bool grouped, noack, blocks;
    struct redis_slice group, consumer;
    uint64_t count, timeout_ms; /* count 0: all */
    unsigned keys, streams;     /* the first key's argument; how many there are */
};

static int streams_option(struct redis_call *call, unsigned n, struct read_options *options)
{
    bool group = call->argv[0].size > 5;
    options->keys = n + 1;
    unsigned rest = call->argc - options->keys;
    options->streams = rest / 2;
    if (rest > 0 && rest % 2 == 0)
        return 0;
    return diag_set(ERROR_INVALID,
                    "Unbalanced '%s' list of streams: for each stream key an ID or '%c' must be "
                    "specified.",
                    group ? "xreadgroup" : "xread", group ? '>' : '$');
}

static int group_option(struct redis_call *call, unsigned *n, bool group,
                        struct read_options *options)
{
    if (!group)
        return diag_set(ERROR_INVALID, "The GROUP option is only supported by XREADGROUP. You "
                                       "called XREAD instead.");
    options->grouped = true;
    options->group = call->argv[*n + 1];
    options->consumer = call->argv[*n + 2];
    *n += 2;
    return 0;
}

static int block_option(struct redis_call *call, unsigned n, bool group,
                        struct read_options *options)
{
    if (call->scripted)
        return diag_set(ERROR_INVALID, "%s command is not allowed with BLOCK option from scripts",
                        group ? "xreadgroup" : "xread");
    options->blocks = true;
    return redis_timeout_arg(call, n, false, &options->timeout_ms);
}

static int options_parse(struct redis_call *call, bool group, struct read_options *options)
{
    *options = (struct read_options){.count = 0};
    int rc = 0;
    for (unsigned n = 1; !rc && !options->keys && n < call->argc; n++) {
        unsigned more = call->argc - n - 1;
        int64_t number;
        if (more > 0 && redis_word(call, n, "block")) {
            rc = block_option(call, ++n, group, options);
        } else if (more > 0 && redis_word(call, n, "count")) {
            rc = redis_integer_arg(call, ++n, &number);
            options->count = rc || number < 0 ? 0 : (uint64_t)number;
        } else if (more > 0 && redis_word(call, n, "streams")) {
            rc = streams_option(call, n, options);
        } else if (more > 1 && redis_word(call, n, "group")) {
            rc = group_option(call, &n, group, options);
        } else if (redis_word(call, n, "noack")) {
            options->noack = true;
            if (!group)
                rc = diag_set(ERROR_INVALID, "The NOACK option is only supported by XREADGROUP. "
                                             "You called XREAD instead.");
        } else {
            rc = redis_syntax_error();
        }
    }
    if (!rc && !options->keys)
        rc = redis_syntax_error();
    if (!rc && group && !options->grouped)
        rc = diag_set(ERROR_INVALID, "Missing GROUP option for XREADGROUP");
    return rc;
}

/* One of the streams that are read. */
struct reading {
    struct stream stream;
    struct stream_id after; /* entries behind this one */
    bool next;              /* ">" */
    bool found;             /* it has something to reply */
};

static struct reading *readings_make(struct redis_call *call, const struct read_options *options)
{
    size_t size = options->streams * sizeof(struct reading);
    struct reading *readings = arena_alloc(txn_arena(call->txn), size);
    if (readings)
        memset(readings, 0, size);
    else
        diag_set(ERROR_MEMORY, "out of memory");
    return readings;
}

static bool is(const struct redis_slice *arg, char sign)
{
    return arg->size == 1 && arg->data[0] == sign;
}

/* ----------------------------------------------------------------------------------------- XREAD */

/* Where the n-th stream is read from. */
static int after_find(struct redis_call *call, const struct read_options *options, unsigned n,
                      struct reading *reading)
{
    unsigned arg = options->keys + options->streams + n;
    if (is(&call->argv[arg], '>'))
        return diag_set(ERROR_INVALID, "The > ID can be specified only when calling XREADGROUP "
                                       "using the GROUP <group> <consumer> option.");
    if (!is(&call->argv[arg], '$'))
        return redis__stream_id_arg(call, arg, 0, false, &reading->after);
    reading->after = reading->stream.last;
    const struct redis_slice kept = redis_block_kept(call);
    if (kept.size == options->streams * STREAM_ID_SIZE)
        reading->after = redis__stream_id_decode(kept.data + (size_t)n * STREAM_ID_SIZE);
    return 0;
}

static int look(struct redis_call *call, const struct read_options *options,
                struct reading *readings, unsigned *found)
{
    *found = 0;
    for (unsigned n = 0; n < options->streams; n++) {
        struct reading *reading = &readings[n];
        int rc = redis__stream_open(call, &call->argv[options->keys + n], false, &reading->stream);
        if (!rc)
            rc = after_find(call, options, n, reading);
        if (rc)
            return rc;
        struct stream_id from = reading->after, first;
        if (!reading->stream.exists || !redis__stream_id_next(&from))
            continue;
        rc = redis__stream_entry_near(&reading->stream, from, false, &first);
        if (rc && rc != ERROR_END)
            return rc;
        reading->found = !rc;
        *found += !rc;
    }
    return 0;
}

static void streams_begin(struct redis_call *call, unsigned count)
{
    if (call->protocol == 3)
        call->sink->vtab->map(call->sink, count);
    else
        call->sink->vtab->array(call->sink, count);
}

static void stream_begin(struct redis_call *call, const struct redis_slice *name)
{
    if (call->protocol != 3)
        call->sink->vtab->array(call->sink, 2);
    call->sink->vtab->bulk(call->sink, name->data, name->size);
}

/* Nothing there: waits, or says so. */
static int nothing(struct redis_call *call, const struct read_options *options,
                   const struct reading *readings)
{
    if (options->blocks) {
        char *ids = arena_alloc(txn_arena(call->txn), options->streams * STREAM_ID_SIZE);
        if (!ids)
            return diag_set(ERROR_MEMORY, "out of memory");
        for (unsigned n = 0; n < options->streams; n++)
            redis__stream_id_encode(ids + (size_t)n * STREAM_ID_SIZE, readings[n].after);
        int rc = redis_block_wait_keeping(call, &call->argv[options->keys], options->streams,
                                          REDIS_TYPE_STREAM, options->timeout_ms, ids,
                                          options->streams * STREAM_ID_SIZE);
        if (rc)
            return rc;
    }
    call->sink->vtab->null_array(call->sink);
    return 0;
}

int redis__xread(struct redis_call *call)
{
    struct read_options options;
    unsigned found;
    int rc = options_parse(call, false, &options);
    if (rc)
        return rc;
    struct reading *readings = readings_make(call, &options);
    if (!readings)
        return ERROR_MEMORY;
    rc = look(call, &options, readings, &found);
    if (rc || found == 0)
        return rc ? rc : nothing(call, &options, readings);
    streams_begin(call, found);
    for (unsigned n = 0; !rc && n < options.streams; n++) {
        if (!readings[n].found)
            continue;
        struct stream_id from = readings[n].after;
        redis__stream_id_next(&from);
        stream_begin(call, readings[n].stream.name);
        rc = redis__stream_range_reply(&readings[n].stream, from, STREAM_ID_MAX, false,
                                       options.count);
    }
    return rc;
}

/* ------------------------------------------------------------------------------------ XREADGROUP */

static int no_group(const struct redis_slice *key, const struct redis_slice *group)
{
    return diag_set(ERROR_NO_GROUP,
                    "No such key '%.*s' or consumer group '%.*s' in XREADGROUP with GROUP option",
                    (int)(key->size < 256 ? key->size : 256), key->data,
                    (int)(group->size < 256 ? group->size : 256), group->data);
}

static int group_id_read(struct redis_call *call, unsigned arg, struct reading *reading)
{
    if (is(&call->argv[arg], '$'))
        return diag_set(ERROR_INVALID,
                        "The $ ID is meaningless in the context of XREADGROUP: you want to read "
                        "the history of this consumer by specifying a proper ID, or use the > ID "
                        "to get new messages. The $ ID would just return an empty result set.");
    reading->next = is(&call->argv[arg], '>');
    return reading->next ? 0 : redis__stream_id_arg(call, arg, 0, false, &reading->after);
}

/* What a group has read, after one more entry. */
static int read_advance(struct stream *stream, struct stream_group *group, struct stream_id id)
{
    bool gap = true;
    int rc = group->read >= 0 ? redis__stream_gap(stream, id, &gap) : 0;
    if (rc || !gap) {
        group->read += !rc;
        return rc;
    }
    return stream->added ? redis__stream_read_estimate(stream, id, &group->read) : 0;
}

/* An entry is given to a consumer: pending from now on, whoever had it before. */
static int entry_give(struct stream *stream, struct stream_group *group,
                      struct stream_consumer *consumer, struct stream_id id)
{
    struct stream_pending pending;
    bool found;
    int rc = redis__stream_pending_find(stream, &group->name, id, &found, &pending);
    if (rc)
        return rc;
    if (found) { /* the group was set back */
        struct stream_consumer before;
        bool there;
        rc = redis__stream_pending_delete(stream, &group->name, &pending);
        bool own = pending.consumer.size == consumer->name.size &&
                   memcmp(pending.consumer.data, consumer->name.data, consumer->name.size) == 0;
        if (own)
            consumer->pending--;
        if (!rc && !own)
            rc = redis__stream_consumer_find(stream, &group->name, &pending.consumer, &there,
                                             &before);
        if (!rc && !own && there) {
            before.pending--;
            rc = redis__stream_consumer_put(stream, &group->name, &before);
        }
        group->pending--;
    }
    if (rc)
        return rc;
    group->pending++;
    consumer->pending++;
    pending = (struct stream_pending){id, consumer->name, stream->call->now_ms, 1};
    return redis__stream_pending_put(stream, &group->name, &pending);
}

/* The group's next entries. *count: how many there are, up to `most` (0: all). */
static int next_count(struct stream *stream, const struct stream_group *group, uint64_t most,
                      uint64_t *count)
{
    struct redis_elements elements;
    struct redis_element element;
    struct stream_id from = group->last;
    *count = 0;
    if (!redis__stream_id_next(&from))
        return 0;
    int rc = redis__stream_entries(stream, from, STREAM_ID_MAX, false, &elements);
    while (!rc && (most == 0 || *count < most) && !(rc = redis_elements_next(&elements, &element)))
        ++*count;
    return rc == ERROR_END ? 0 : rc;
}

static int next_give(struct stream *stream, struct stream_group *group,
                     struct stream_consumer *consumer, uint64_t count, bool noack)
{
    struct redis_elements elements;
    struct redis_element element;
    struct redis_sink *sink = stream->call->sink;
    struct stream_id from = group->last;
    redis__stream_id_next(&from);
    sink->vtab->array(sink, count);
    int rc = redis__stream_entries(stream, from, STREAM_ID_MAX, false, &elements);
    for (; !rc && count > 0; count--) {
        rc = redis_elements_next(&elements, &element);
        if (rc)
            break;
        struct stream_id id = redis__stream_id_decode(element.key);
        redis__stream_entry_reply(sink, id, element.value);
        rc = read_advance(stream, group, id);
        group->last = id;
        if (!rc && !noack)
            rc = entry_give(stream, group, consumer, id);
    }
    return rc;
}

static void null_entry_reply(struct redis_sink *sink, struct stream_id id)
{
    sink->vtab->array(sink, 2);
    redis__stream_id_reply(sink, id);
    sink->vtab->null_array(sink);
}

static int pending_entry_reply(struct stream *stream, struct stream_id id)
{
    struct redis_slice value;
    char key[STREAM_ID_SIZE];
    redis__stream_id_encode(key, id);
    int rc = redis_element_get(stream->call, stream->id, STREAM_ENTRY, key, sizeof key, &value);
    if (!rc && value.data)
        redis__stream_entry_reply(stream->call->sink, id, value);
    else if (!rc)
        null_entry_reply(stream->call->sink, id);
    return rc;
}

/* What the consumer was given behind an id and has not acknowledged. */
static int history_give(struct stream *stream, const struct stream_group *group,
                        const struct stream_consumer *consumer, struct stream_id after,
                        uint64_t most)
{
    struct stream_pendings pendings;
    struct stream_pending pending;
    uint64_t count = 0;
    bool any = redis__stream_id_next(&after);
    int rc = any ? redis__stream_pendings_open(&pendings, stream, &group->name, &consumer->name,
                                               after, STREAM_ID_MAX)
                 : ERROR_END;
    while (!rc && (most == 0 || count < most) &&
           !(rc = redis__stream_pendings_next(&pendings, &pending)))
        count++;
    if (rc && rc != ERROR_END)
        return rc;
    stream->call->sink->vtab->array(stream->call->sink, count);
    if (count == 0)
        return 0;
    rc = redis__stream_pendings_open(&pendings, stream, &group->name, &consumer->name, after,
                                     STREAM_ID_MAX);
    for (; !rc && count > 0; count--) {
        rc = redis__stream_pendings_next(&pendings, &pending);
        if (rc)
            break;
        struct stream_pending again = pending;
        again.time_ms = stream->call->now_ms;
        again.count++;
        rc = redis__stream_pending_put(stream, &group->name, &again);
        if (!rc)
            rc = pending_entry_reply(stream, pending.id);
    }
    return rc;
}

/* One stream of XREADGROUP that has something to reply. */
static int group_read(struct redis_call *call, const struct read_options *options,
                      struct reading *reading, uint64_t count)
{
    struct stream *stream = &reading->stream;
    struct stream_group group;
    struct stream_consumer consumer;
    bool found, made;
    int rc = redis__stream_group_find(stream, &options->group, &found, &group);
    if (!rc)
        rc = redis__stream_consumer_get(stream, &group, &options->consumer, &made, &consumer);
    if (rc)
        return rc;
    if (reading->found)
        stream_begin(call, stream->name);
    if (reading->next && count > 0) {
        consumer.active_ms = call->now_ms;
        rc = next_give(stream, &group, &consumer, count, options->noack);
    } else if (!reading->next) {
        rc = history_give(stream, &group, &consumer, reading->after, options->count);
    }
    if (!rc)
        rc = redis__stream_consumer_put(stream, &group.name, &consumer);
    if (!rc)
        rc = redis__stream_group_put(stream, &group);
    if (!rc && made)
        rc = redis_changed(call, stream->name, REDIS_TYPE_NONE, REDIS_NOTIFY_STREAM,
                           "xgroup-createconsumer");
    return rc;
}

static int group_look(struct redis_call *call, const struct read_options *options, unsigned n,
                      struct reading *reading, uint64_t *count)
{
    struct stream_group group;
    bool found = false;
    const struct redis_slice *name = &call->argv[options->keys + n];
    int rc = redis__stream_open(call, name, true, &reading->stream);
    if (!rc && reading->stream.exists)
        rc = redis__stream_group_find(&reading->stream, &options->group, &found, &group);
    if (!rc && !found)
        rc = no_group(name, &options->group);
    if (!rc)
        rc = group_id_read(call, options->keys + options->streams + n, reading);
    *count = 0;
    if (!rc && reading->next)
        rc = next_count(&reading->stream, &group, options->count, count);
    reading->found = !rc && (!reading->next || *count > 0);
    return rc;
}

int redis__xreadgroup(struct redis_call *call)
{
    struct read_options options;
    unsigned found = 0;
    int rc = options_parse(call, true, &options);
    if (rc)
        return rc;
    struct reading *readings = readings_make(call, &options);
    uint64_t *counts = arena_alloc(txn_arena(call->txn), options.streams * sizeof *counts);
    if (!readings || !counts)
        return diag_set(ERROR_MEMORY, "out of memory");
    for (unsigned n = 0; !rc && n < options.streams; n++) {
        rc = group_look(call, &options, n, &readings[n], &counts[n]);
        found += !rc && readings[n].found;
    }
    if (rc)
        return rc;
    if (found == 0 && options.blocks) {
        rc = redis_block_wait(call, &call->argv[options.keys], options.streams, REDIS_TYPE_STREAM,
                              options.timeout_ms);
        if (rc)
            return rc;
    }
    if (found > 0)
        streams_begin(call, found);
    for (unsigned n = 0; !rc && n < options.streams; n++)
        rc = group_read(call, &options, &readings[n], counts[n]);
    if (!rc && found == 0)
        call->sink->vtab->null_array(call->sink);
    return rc;
}
