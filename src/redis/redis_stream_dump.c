/* SPDX-License-Identifier: Apache-2.0 */

/* DUMP and RESTORE of streams: their rows as what redis_dump_stream.c reads and writes. */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_dump.h"

/* -------------------------------------------------------------------------------------------- DUMP */

static void put_id(struct mp_buffer *out, struct stream_id id)
{
    redis_dump_put_length(out, id.ms);
    redis_dump_put_length(out, id.seq);
}

static void put_raw_id(struct mp_buffer *out, struct stream_id id)
{
    char text[STREAM_ID_SIZE];
    redis__stream_id_encode(text, id);
    mp_put_raw(out, text, sizeof text);
}

static int entries_write(struct stream *stream, struct mp_buffer *out, uint64_t *count)
{
    struct redis_dump_nodes nodes;
    struct redis_elements elements;
    struct redis_element element;
    redis_dump_nodes_create(&nodes, out);
    int rc =
        redis__stream_entries(stream, (struct stream_id){0, 0}, STREAM_ID_MAX, false, &elements);
    while (!rc && !(rc = redis_elements_next(&elements, &element)))
        redis_dump_nodes_put(&nodes, redis__stream_id_decode(element.key), element.value);
    redis_dump_nodes_end(&nodes);
    *count = nodes.nodes;
    return rc == ERROR_END ? 0 : rc;
}

/* What is pending of a group, or of one consumer. */
static int pendings_write(struct stream *stream, const struct redis_slice *group,
                          const struct redis_slice *consumer, struct mp_buffer *out)
{
    struct stream_pendings pendings;
    struct stream_pending pending;
    int rc = redis__stream_pendings_open(&pendings, stream, group, consumer,
                                         (struct stream_id){0, 0}, STREAM_ID_MAX);
    while (!rc && !(rc = redis__stream_pendings_next(&pendings, &pending))) {
        put_raw_id(out, pending.id);
        if (consumer)
            continue;
        redis_dump_put_number(out, pending.time_ms, 8);
        redis_dump_put_length(out, pending.count);
    }
    return rc == ERROR_END ? 0 : rc;
}

static int group_write(struct stream *stream, const struct stream_group *group,
                       struct mp_buffer *out)
{
    struct redis_elements consumers;
    struct stream_consumer consumer;
    redis_dump_put_string(out, group->name.data, group->name.size);
    put_id(out, group->last);
    redis_dump_put_length(out, (uint64_t)group->read);
    redis_dump_put_length(out, group->pending);
    int rc = pendings_write(stream, &group->name, NULL, out);
    redis_dump_put_length(out, group->consumers);
    if (!rc)
        rc = redis__stream_consumers_open(stream, &group->name, &consumers);
    while (!rc && !(rc = redis__stream_consumers_next(&consumers, &group->name, &consumer))) {
        redis_dump_put_string(out, consumer.name.data, consumer.name.size);
        redis_dump_put_number(out, consumer.seen_ms, 8);
        redis_dump_put_length(out, consumer.pending);
        rc = pendings_write(stream, &group->name, &consumer.name, out);
    }
    return rc == ERROR_END ? 0 : rc;
}

int redis__stream_dump(struct redis_call *call, struct mp_buffer *out, uint64_t *nodes)
{
    struct stream stream;
    struct redis_elements groups;
    struct stream_group group;
    int rc = redis__stream_open(call, &call->argv[1], false, &stream);
    if (!rc)
        rc = entries_write(&stream, out, nodes);
    if (rc)
        return rc;
    redis_dump_put_length(out, stream.length);
    put_id(out, stream.last);
    put_id(out, stream.length ? stream.first : (struct stream_id){0, 0});
    put_id(out, stream.deleted);
    redis_dump_put_length(out, stream.added);
    redis_dump_put_length(out, stream.groups);
    rc = redis_elements_open(&groups, call, stream.id, STREAM_GROUP, NULL);
    while (!rc && !(rc = redis__stream_groups_next(&groups, &group)))
        rc = group_write(&stream, &group, out);
    return rc == ERROR_END ? 0 : rc;
}

/* ----------------------------------------------------------------------------------------- RESTORE */

static int entry_store(struct stream *stream, const struct redis_dump_entry *entry,
                       const struct redis_slice *items)
{
    struct redis_call *call = stream->call;
    char key[STREAM_ID_SIZE];
    size_t size = 5;
    for (uint32_t n = 0; n < entry->count; n++)
        size += 5 + items[n].size;
    char *value = arena_alloc(txn_arena(call->txn), size);
    if (!value)
        return diag_set(ERROR_MEMORY, "out of memory");
    char *at = mp_encode_array(value, entry->count);
    for (uint32_t n = 0; n < entry->count; n++)
        at = mp_encode_str(at, items[n].data, (uint32_t)items[n].size);
    redis__stream_id_encode(key, entry->id);
    return redis_element_put(call, stream->id, STREAM_ENTRY, key, sizeof key,
                             (struct redis_slice){value, (size_t)(at - value)}, 0);
}

static int bad_format(void)
{
    return diag_set(ERROR_INVALID, "Bad data format");
}

static int group_store(struct stream *stream, const struct redis_dump_group *group)
{
    const struct redis_slice *name = &group->group.name;
    struct stream_group other;
    struct stream_consumer twin;
    bool found;
    int rc = redis__stream_group_find(stream, name, &found, &other);
    if (!rc && found)
        rc = bad_format();
    if (!rc)
        rc = redis__stream_group_put(stream, &group->group);
    for (uint64_t n = 0; n < group->group.consumers && !rc; n++) {
        rc = redis__stream_consumer_find(stream, name, &group->consumers[n].name, &found, &twin);
        if (!rc && found)
            rc = bad_format();
        if (!rc)
            rc = redis__stream_consumer_put(stream, name, &group->consumers[n]);
    }
    for (uint64_t n = 0; n < group->group.pending && !rc; n++) {
        const struct redis_dump_pending *given = &group->pending[n];
        struct stream_pending pending = {.id = given->id,
                                         .consumer = group->consumers[given->consumer].name,
                                         .time_ms = given->time_ms,
                                         .count = given->count};
        rc = redis__stream_pending_put(stream, name, &pending);
    }
    return rc;
}

int redis__stream_restore(struct redis_call *call, const struct redis_dump_value *dump,
                          uint64_t expire_ms)
{
    const struct redis_dump_stream *from = dump->stream;
    const struct redis_slice *items = dump->items;
    struct stream stream;
    int rc = redis__stream_open(call, &call->argv[1], true, &stream);
    if (!rc)
        rc = redis__stream_make(&stream);
    if (rc)
        return rc;
    stream.expire_ms = expire_ms;
    stream.last = from->last;
    stream.deleted = from->deleted;
    stream.added = from->added;
    stream.length = from->length;
    stream.groups = from->groups_count;
    if (from->length)
        stream.first = from->entries[0].id;
    for (uint64_t n = 0; n < from->length && !rc; n++) {
        rc = entry_store(&stream, &from->entries[n], items);
        items += from->entries[n].count;
    }
    for (uint64_t n = 0; n < from->groups_count && !rc; n++)
        rc = group_store(&stream, &from->groups[n]);
    return rc ? rc : redis__stream_save(&stream);
}
