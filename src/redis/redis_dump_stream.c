/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Streams in the payloads of DUMP.
 *
 *   nodes     how many; of each its first id, a string of 16 bytes, and a listpack as a string
 *   head      length; last id; first id; the largest deleted id; entries added
 *   groups    how many; of each: name, last id, entries read;
 *             how many are pending, of each: id, time (8 bytes), how often it was delivered;
 *             how many consumers, of each: name, when it was seen (8 bytes), with type 21 when it was
 *             active (8 bytes, -1: never), how many are pending, of each: id
 *
 * Ids outside of the head and the groups' own are 16 bytes, highest first; the others two lengths. The
 * listpack of a node begins with [entries, deleted ones, fields, field .., 0]; an entry is
 *
 *     [flags, milliseconds, sequence, fields, field, value .., elements]
 *     [2,     milliseconds, sequence, value ..,                elements]    with the node's own fields
 *
 * its id counted from the node's, and the last number of how many elements stand before it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_dump.h"
#include "redis/redis_value.h"

enum { DELETED = 1, SAME_FIELDS = 2 };

/* ----------------------------------------------------------------------------------------- reading */

static struct stream_id take_id(struct redis_dump_reader *reader)
{
    uint64_t ms = redis_dump_take_length(reader);
    return (struct stream_id){ms, redis_dump_take_length(reader)};
}

static struct stream_id take_raw_id(struct redis_dump_reader *reader)
{
    const unsigned char *at = redis__dump_take(reader, STREAM_ID_SIZE);
    return at ? redis__stream_id_decode((const char *)at) : (struct stream_id){0, 0};
}

/* So many of something, each of which takes `least` bytes at least; NULL after a failure. */
static void *array_of(struct redis_dump_reader *reader, uint64_t count, size_t least, size_t size)
{
    if (reader->rc || count > (uint64_t)(reader->end - reader->at) / least) {
        redis__dump_fail(reader);
        return NULL;
    }
    return redis__dump_reserve(reader, count * size);
}

static uint64_t pack_number(struct redis_dump_reader *pack)
{
    struct redis_slice text = redis__dump_listpack_next(pack);
    int64_t number = 0;
    if (!pack->rc && !redis_integer_parse(text.data, text.size, &number))
        redis__dump_fail(pack);
    return (uint64_t)number;
}

/* A number of elements that follow. */
static uint64_t pack_count(struct redis_dump_reader *pack)
{
    uint64_t count = pack_number(pack);
    if (count > (uint64_t)(pack->end - pack->at) || count > UINT32_MAX / 2)
        redis__dump_fail(pack);
    return pack->rc ? 0 : count;
}

struct node {
    struct redis_dump_reader pack;
    struct stream_id first;
    struct redis_slice *fields;
    uint64_t count, live;
};

/* Its entries go behind those of the nodes before. */
struct entries {
    struct redis_dump_reader *reader;
    uint64_t capacity, count;
    struct redis_dump_entry *entries;
};

static bool entries_grow(struct entries *entries)
{
    uint64_t capacity = entries->capacity ? 2 * entries->capacity : 64;
    struct redis_dump_entry *more = redis__dump_reserve(entries->reader, capacity * sizeof *more);
    if (!more)
        return false;
    if (entries->count)
        memcpy(more, entries->entries, entries->count * sizeof *more);
    entries->entries = more;
    entries->capacity = capacity;
    return true;
}

static void entry_add(struct entries *entries, struct stream_id id, uint64_t count)
{
    if (entries->count == entries->capacity && !entries_grow(entries))
        return;
    if (entries->count &&
        redis__stream_id_compare(id, entries->entries[entries->count - 1].id) <= 0)
        redis__dump_fail(entries->reader);
    entries->entries[entries->count++] = (struct redis_dump_entry){id, (uint32_t)count};
}

static void entry_read(struct node *node, struct entries *entries)
{
    struct redis_dump_reader *pack = &node->pack;
    uint64_t flags = pack_number(pack);
    struct stream_id id = {node->first.ms + pack_number(pack), node->first.seq};
    id.seq += pack_number(pack);
    bool same = flags & SAME_FIELDS, live = !(flags & DELETED);
    uint64_t count = same ? node->count : pack_count(pack);
    if (live && !pack->rc)
        entry_add(entries, id, 2 * count);
    for (uint64_t n = 0; n < count && !pack->rc; n++) {
        struct redis_slice field = same ? node->fields[n] : redis__dump_listpack_next(pack);
        struct redis_slice value = redis__dump_listpack_next(pack);
        if (live && !pack->rc) {
            redis__dump_add(entries->reader, field, 0, 0);
            redis__dump_add(entries->reader, value, 0, 0);
        }
    }
    if (pack_number(pack) != count * (same ? 1 : 2) + (same ? 3 : 4) || count == 0)
        redis__dump_fail(pack);
    node->live -= live;
}

static void node_read(struct redis_dump_reader *reader, struct entries *entries)
{
    struct node node;
    struct redis_slice id = redis_dump_take_string(reader);
    struct redis_slice blob = redis_dump_take_string(reader);
    if (id.size != STREAM_ID_SIZE)
        redis__dump_fail(reader);
    redis__dump_listpack_open(&node.pack, reader, blob);
    node.first =
        reader->rc ? (struct stream_id){0, 0} : redis__stream_id_decode((const char *)id.data);
    node.live = pack_number(&node.pack);
    pack_number(&node.pack);
    node.count = pack_count(&node.pack);
    node.fields = array_of(&node.pack, node.count, 1, sizeof *node.fields);
    for (uint64_t n = 0; n < node.count && !node.pack.rc; n++)
        node.fields[n] = redis__dump_listpack_next(&node.pack);
    if (pack_number(&node.pack) != 0)
        redis__dump_fail(&node.pack);
    while (!node.pack.rc && !reader->rc && node.pack.at < node.pack.end)
        entry_read(&node, entries);
    if (!node.pack.rc && node.live != 0)
        redis__dump_fail(&node.pack);
    if (!reader->rc)
        reader->rc = node.pack.rc;
}

static int by_id(const void *left, const void *right)
{
    return redis__stream_id_compare(((const struct redis_dump_pending *)left)->id,
                                    ((const struct redis_dump_pending *)right)->id);
}

static void pending_read(struct redis_dump_reader *reader, struct redis_dump_group *group)
{
    group->group.pending = redis_dump_take_length(reader);
    group->pending =
        array_of(reader, group->group.pending, STREAM_ID_SIZE + 9, sizeof *group->pending);
    for (uint64_t n = 0; n < group->group.pending && !reader->rc; n++) {
        struct redis_dump_pending *pending = &group->pending[n];
        *pending = (struct redis_dump_pending){.id = take_raw_id(reader), .consumer = SIZE_MAX};
        pending->time_ms = redis_dump_take_number(reader, 8);
        pending->count = redis_dump_take_length(reader);
        if ((n && by_id(pending - 1, pending) >= 0) || pending->time_ms > INT64_MAX)
            redis__dump_fail(reader);
    }
}

/* What a consumer has is among what the group has, and nobody else's. */
static void consumer_read(struct redis_dump_reader *reader, struct redis_dump_group *group,
                          uint64_t number, bool active)
{
    struct stream_consumer *consumer = &group->consumers[number];
    *consumer = (struct stream_consumer){.name = redis_dump_take_string(reader)};
    consumer->seen_ms = redis_dump_take_number(reader, 8);
    consumer->active_ms = active ? redis_dump_take_number(reader, 8) : consumer->seen_ms;
    if (consumer->active_ms == UINT64_MAX)
        consumer->active_ms = 0;
    if (consumer->seen_ms > INT64_MAX || consumer->active_ms > INT64_MAX)
        redis__dump_fail(reader);
    consumer->pending = redis_dump_take_length(reader);
    for (uint64_t left = consumer->pending; left > 0 && !reader->rc; left--) {
        struct redis_dump_pending wanted = {.id = take_raw_id(reader)};
        struct redis_dump_pending *found =
            reader->rc
                ? NULL
                : bsearch(&wanted, group->pending, group->group.pending, sizeof wanted, by_id);
        if (found && found->consumer == SIZE_MAX)
            found->consumer = number;
        else
            redis__dump_fail(reader);
    }
}

static void group_read(struct redis_dump_reader *reader, struct redis_dump_group *group,
                       bool active)
{
    uint64_t given = 0;
    *group = (struct redis_dump_group){.group = {.name = redis_dump_take_string(reader)}};
    group->group.last = take_id(reader);
    group->group.read = (int64_t)redis_dump_take_length(reader);
    if (group->group.read < -1)
        redis__dump_fail(reader);
    pending_read(reader, group);
    group->group.consumers = redis_dump_take_length(reader);
    group->consumers = array_of(reader, group->group.consumers, 10, sizeof *group->consumers);
    for (uint64_t n = 0; n < group->group.consumers && !reader->rc; n++) {
        consumer_read(reader, group, n, active);
        given += group->consumers[n].pending;
    }
    if (given != group->group.pending)
        redis__dump_fail(reader);
}

void redis__dump_stream_read(struct redis_dump_reader *reader, bool active)
{
    struct redis_dump_stream *stream = redis__dump_reserve(reader, sizeof *stream);
    struct entries entries = {.reader = reader};
    if (!stream)
        return;
    *stream = (struct redis_dump_stream){.length = 0};
    reader->out->stream = stream;
    for (uint64_t left = redis_dump_take_length(reader); left > 0 && !reader->rc; left--)
        node_read(reader, &entries);
    stream->length = redis_dump_take_length(reader);
    stream->entries = entries.entries;
    stream->last = take_id(reader);
    take_id(reader); /* the first one, which the entries say as well */
    stream->deleted = take_id(reader);
    stream->added = redis_dump_take_length(reader);
    if (stream->length != entries.count || stream->added < stream->length ||
        (entries.count &&
         redis__stream_id_compare(entries.entries[entries.count - 1].id, stream->last) > 0))
        redis__dump_fail(reader);
    stream->groups_count = redis_dump_take_length(reader);
    stream->groups = array_of(reader, stream->groups_count, 6, sizeof *stream->groups);
    for (uint64_t n = 0; n < stream->groups_count && !reader->rc; n++)
        group_read(reader, &stream->groups[n], active);
}

/* ----------------------------------------------------------------------------------------- writing */

/* The element that was begun at `start` ends. */
static void pack_end(struct mp_buffer *out, size_t start)
{
    uint64_t size = out->size - start;
    unsigned char bytes[5];
    unsigned count = size <= 127        ? 1
                     : size < 16383     ? 2
                     : size < 2097151   ? 3
                     : size < 268435455 ? 4
                                        : 5;
    for (unsigned n = 0; n < count; n++)
        bytes[n] = (unsigned char)((size >> 7 * (count - 1 - n) & 127) | (n ? 128 : 0));
    mp_put_raw(out, bytes, count);
}

static void pack_string(struct mp_buffer *out, const char *data, size_t size)
{
    size_t start = out->size;
    if (size < 64) {
        redis_dump_put_number(out, 0x80 | size, 1);
    } else if (size < 4096) {
        redis_dump_put_number(out, 0xe0 | size >> 8, 1);
        redis_dump_put_number(out, size & 255, 1);
    } else {
        redis_dump_put_number(out, 0xf0, 1);
        redis_dump_put_number(out, size, 4);
    }
    mp_put_raw(out, data, size);
    pack_end(out, start);
}

static void pack_integer(struct mp_buffer *out, int64_t value)
{
    static const unsigned char SIZES[] = {2, 3, 4, 8};
    size_t start = out->size;
    if (value >= 0 && value < 128) {
        redis_dump_put_number(out, (uint64_t)value, 1);
    } else if (value >= -4096 && value < 4096) {
        redis_dump_put_number(out, 0xc0 | ((uint64_t)value >> 8 & 31), 1);
        redis_dump_put_number(out, (uint64_t)value & 255, 1);
    } else {
        unsigned n = 0;
        while (n < 3 && (value < -(INT64_C(1) << (8 * SIZES[n] - 1)) ||
                         value >= INT64_C(1) << (8 * SIZES[n] - 1)))
            n++;
        redis_dump_put_number(out, 0xf1 + n, 1);
        redis_dump_put_number(out, (uint64_t)value, SIZES[n]);
    }
    pack_end(out, start);
}

static void raw_id(struct mp_buffer *out, struct stream_id id)
{
    char text[STREAM_ID_SIZE];
    redis__stream_id_encode(text, id);
    mp_put_raw(out, text, sizeof text);
}

void redis_dump_nodes_create(struct redis_dump_nodes *nodes, struct mp_buffer *out)
{
    *nodes = (struct redis_dump_nodes){.out = out};
    mp_buffer_create(&nodes->node_names);
    mp_buffer_create(&nodes->names);
    mp_buffer_create(&nodes->values);
}

/* The node is complete: what it begins with, which is known now, and its entries. */
static void node_end(struct redis_dump_nodes *nodes)
{
    enum { HEADER = 6, COUNT_UNKNOWN = 65535 };
    struct mp_buffer *out = nodes->out, *head = &nodes->names;
    if (nodes->entries == 0)
        return;
    mp_buffer_reset(head, 65536);
    pack_integer(head, (int64_t)nodes->entries);
    pack_integer(head, 0);
    pack_integer(head, (int64_t)nodes->fields);
    size_t size = HEADER + head->size + nodes->node_names.size + 2 + nodes->values.size + 1;
    uint64_t elements = 3 + nodes->fields + 1 + nodes->elements;
    redis_dump_put_length(out, STREAM_ID_SIZE);
    raw_id(out, nodes->first);
    redis_dump_put_length(out, size);
    redis_dump_put_number(out, size, 4);
    redis_dump_put_number(out, elements < COUNT_UNKNOWN ? elements : COUNT_UNKNOWN, 2);
    mp_put_raw(out, head->data, head->size);
    mp_put_raw(out, nodes->node_names.data, nodes->node_names.size);
    pack_integer(out, 0);
    mp_put_raw(out, nodes->values.data, nodes->values.size);
    redis_dump_put_number(out, 0xff, 1);
    out->failed = out->failed || head->failed || nodes->node_names.failed || nodes->values.failed;
    mp_buffer_reset(&nodes->values, 65536);
    mp_buffer_reset(&nodes->node_names, 65536);
    nodes->nodes++;
    nodes->entries = nodes->elements = 0;
}

/* The fields of an entry as elements of a listpack. */
static void names_write(struct mp_buffer *out, struct redis_slice value)
{
    const char *at = value.data;
    uint32_t size;
    mp_buffer_reset(out, 65536);
    for (uint32_t left = mp_decode_array(&at); left > 1; left -= 2) {
        const char *text = mp_decode_str(&at, &size);
        pack_string(out, text, size);
        mp_next(&at);
    }
}

void redis_dump_nodes_put(struct redis_dump_nodes *nodes, struct stream_id id,
                          struct redis_slice value)
{
    enum { ENTRIES_MAX = 100, BYTES_MAX = 4096 }; /* as Redis's own nodes */
    struct mp_buffer *out = &nodes->values;
    const char *at = value.data;
    uint32_t size, count = mp_decode_array(&at) / 2;
    if (nodes->entries == ENTRIES_MAX || out->size >= BYTES_MAX)
        node_end(nodes);
    if (nodes->entries == 0) {
        nodes->first = id;
        nodes->fields = count;
        names_write(&nodes->node_names, value);
    }
    names_write(&nodes->names, value);
    bool same = nodes->names.size == nodes->node_names.size &&
                memcmp(nodes->names.data, nodes->node_names.data, nodes->names.size) == 0;
    pack_integer(out, same ? SAME_FIELDS : 0);
    pack_integer(out, (int64_t)(id.ms - nodes->first.ms));
    pack_integer(out, (int64_t)(id.seq - nodes->first.seq));
    if (!same)
        pack_integer(out, count);
    for (uint32_t n = 0; n < 2 * count; n++) {
        const char *text = mp_decode_str(&at, &size);
        if (!same || n % 2)
            pack_string(out, text, size);
    }
    uint64_t elements = same ? 3 + (uint64_t)count : 4 + 2 * (uint64_t)count;
    pack_integer(out, (int64_t)elements);
    nodes->elements += elements + 1;
    nodes->entries++;
    nodes->out->failed = nodes->out->failed || nodes->names.failed;
}

void redis_dump_nodes_end(struct redis_dump_nodes *nodes)
{
    node_end(nodes);
    mp_buffer_destroy(&nodes->node_names);
    mp_buffer_destroy(&nodes->names);
    mp_buffer_destroy(&nodes->values);
}
