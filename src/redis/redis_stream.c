/* SPDX-License-Identifier: Apache-2.0 */

/* Rows of streams: entries, groups, consumers and what is pending. See the header for their layout. */
#include "redis/redis_stream.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"

static const char NIL[] = "\xc0";

static int damaged(void)
{
    return diag_set(ERROR_CORRUPT, "a stream in the Redis space is damaged");
}

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "out of memory");
}

/* ------------------------------------------------------------------------------------------- ids */

int redis__stream_id_compare(struct stream_id left, struct stream_id right)
{
    if (left.ms != right.ms)
        return left.ms < right.ms ? -1 : 1;
    return left.seq == right.seq ? 0 : left.seq < right.seq ? -1 : 1;
}

void redis__stream_id_encode(char out[STREAM_ID_SIZE], struct stream_id id)
{
    for (unsigned n = 0; n < 8; n++) {
        out[n] = (char)(id.ms >> (56 - 8 * n));
        out[8 + n] = (char)(id.seq >> (56 - 8 * n));
    }
}

struct stream_id redis__stream_id_decode(const char *key)
{
    struct stream_id id = {0, 0};
    for (unsigned n = 0; n < 8; n++) {
        id.ms = id.ms << 8 | (unsigned char)key[n];
        id.seq = id.seq << 8 | (unsigned char)key[8 + n];
    }
    return id;
}

void redis__stream_id_reply(struct redis_sink *sink, struct stream_id id)
{
    char text[48];
    int size = snprintf(text, sizeof text, "%llu-%llu", (unsigned long long)id.ms,
                        (unsigned long long)id.seq);
    sink->vtab->bulk(sink, text, (size_t)size);
}

bool redis__stream_id_next(struct stream_id *id)
{
    if (id->seq != UINT64_MAX) {
        id->seq++;
    } else if (id->ms != UINT64_MAX) {
        id->ms++;
        id->seq = 0;
    } else {
        return false;
    }
    return true;
}

bool redis__stream_id_before(struct stream_id *id)
{
    if (id->seq != 0) {
        id->seq--;
    } else if (id->ms != 0) {
        id->ms--;
        id->seq = UINT64_MAX;
    } else {
        return false;
    }
    return true;
}

static bool number_parse(const char *text, size_t size, uint64_t *out)
{
    *out = 0;
    for (; size > 1 && isspace((unsigned char)*text); size--) /* as strtoull */
        text++;
    if (size > 1 && *text == '+') {
        text++;
        size--;
    }
    if (size == 0 || size > 20)
        return false;
    for (size_t n = 0; n < size; n++) {
        if (text[n] < '0' || text[n] > '9' || __builtin_mul_overflow(*out, (uint64_t)10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(text[n] - '0'), out))
            return false;
    }
    return true;
}

static bool id_parse(const char *text, size_t size, uint64_t seq, struct stream_id *out)
{
    const char *dash = memchr(text, '-', size);
    out->seq = seq;
    if (!dash)
        return number_parse(text, size, &out->ms);
    return number_parse(text, (size_t)(dash - text), &out->ms) &&
           number_parse(dash + 1, size - (size_t)(dash + 1 - text), &out->seq);
}

static int id_read(const char *text, size_t size, uint64_t seq, bool special, struct stream_id *out)
{
    if (special && size == 1 && (*text == '-' || *text == '+')) {
        *out = *text == '-' ? (struct stream_id){0, 0} : STREAM_ID_MAX;
        return 0;
    }
    if (size > 0 && id_parse(text, size, seq, out))
        return 0;
    return diag_set(ERROR_INVALID, "Invalid stream ID specified as stream command argument");
}

int redis__stream_id_arg(const struct redis_call *call, unsigned n, uint64_t seq, bool special,
                         struct stream_id *out)
{
    return id_read(call->argv[n].data, call->argv[n].size, seq, special, out);
}

int redis__stream_bound_arg(const struct redis_call *call, unsigned n, bool upper,
                            struct stream_id *out)
{
    const struct redis_slice *arg = &call->argv[n];
    bool exclusive = arg->size > 1 && arg->data[0] == '(';
    int rc = id_read(arg->data + exclusive, arg->size - exclusive, upper ? UINT64_MAX : 0,
                     !exclusive, out);
    if (rc || !exclusive)
        return rc;
    bool fits = upper ? redis__stream_id_before(out) : redis__stream_id_next(out);
    return fits
               ? 0
               : diag_set(ERROR_INVALID, "invalid %s ID for the interval", upper ? "end" : "start");
}

/* ------------------------------------------------------------------------------------ the key's row */

static bool uints_read(const char **at, uint64_t *const *out, unsigned count)
{
    for (unsigned n = 0; n < count; n++)
        if (!mp_read_uint(at, out[n]))
            return false;
    return true;
}

static int head_read(struct stream *stream, const struct redis_value *value)
{
    const char *at = value->data;
    uint64_t *const fields[] = {&stream->last.ms,    &stream->last.seq,    &stream->added,
                                &stream->deleted.ms, &stream->deleted.seq, &stream->length,
                                &stream->groups,     &stream->first.ms,    &stream->first.seq};
    enum { COUNT = sizeof fields / sizeof *fields };
    if (mp_typeof(*at) != MP_ARRAY || mp_decode_array(&at) != COUNT ||
        !uints_read(&at, fields, COUNT))
        return damaged();
    stream->exists = true;
    stream->id = value->id;
    stream->expire_ms = value->expire_ms;
    return 0;
}

int redis__stream_open(struct redis_call *call, const struct redis_slice *name, bool update,
                       struct stream *out)
{
    struct redis_value value;
    *out = (struct stream){.call = call, .name = name};
    int rc = update ? redis_open_for_update(call, name, REDIS_TYPE_STREAM, &out->key, &value)
                    : redis_open(call, name, REDIS_TYPE_STREAM, &out->key, &value);
    return rc || value.type == REDIS_TYPE_NONE ? rc : head_read(out, &value);
}

int redis__stream_make(struct stream *stream)
{
    stream->exists = true;
    return redis_spread_new(stream->call, &stream->id);
}

int redis__stream_save(struct stream *stream)
{
    const uint64_t fields[] = {stream->last.ms,    stream->last.seq,    stream->added,
                               stream->deleted.ms, stream->deleted.seq, stream->length,
                               stream->groups,     stream->first.ms,    stream->first.seq};
    enum { COUNT = sizeof fields / sizeof *fields };
    char head[8 + 9 * COUNT], *at = mp_encode_array(head, COUNT);
    for (unsigned n = 0; n < COUNT; n++)
        at = mp_encode_uint(at, fields[n]);
    return redis_value_put_spread(stream->call, &stream->key, REDIS_TYPE_STREAM, stream->expire_ms,
                                  stream->id, (struct redis_slice){head, (size_t)(at - head)});
}

/* --------------------------------------------------------------------------------------- entries */

int redis__stream_entries(struct stream *stream, struct stream_id from, struct stream_id to,
                          bool backward, struct redis_elements *out)
{
    char low[STREAM_ID_SIZE], high[STREAM_ID_SIZE];
    if (redis__stream_id_compare(from, stream->first) < 0)
        from = stream->first;
    redis__stream_id_encode(low, from);
    redis__stream_id_encode(high, to);
    struct redis_element_range range = {
        .lower = {low, sizeof low}, .upper = {high, sizeof high}, .backward = backward};
    return redis_elements_open(out, stream->call, stream->id, STREAM_ENTRY, &range);
}

int redis__stream_entry_near(struct stream *stream, struct stream_id id, bool backward,
                             struct stream_id *found)
{
    struct redis_elements elements;
    struct redis_element element;
    struct stream_id zero = {0, 0};
    int rc = redis__stream_entries(stream, backward ? zero : id, backward ? id : STREAM_ID_MAX,
                                   backward, &elements);
    if (!rc)
        rc = redis_elements_next(&elements, &element);
    if (!rc)
        *found = redis__stream_id_decode(element.key);
    return rc;
}

int redis__stream_entry_delete(struct stream *stream, struct stream_id id, bool *found)
{
    char key[STREAM_ID_SIZE];
    struct redis_slice value;
    redis__stream_id_encode(key, id);
    int rc = redis_element_get(stream->call, stream->id, STREAM_ENTRY, key, sizeof key, &value);
    *found = !rc && value.data;
    if (!*found)
        return rc;
    stream->length--;
    if (redis__stream_id_compare(id, stream->deleted) > 0)
        stream->deleted = id;
    rc = redis_element_delete(stream->call, stream->id, STREAM_ENTRY, key, sizeof key);
    return rc || redis__stream_id_compare(id, stream->first) != 0
               ? rc
               : redis__stream_first_find(stream, id);
}

int redis__stream_first_find(struct stream *stream, struct stream_id id)
{
    stream->first = id;
    if (stream->length == 0)
        return 0;
    int rc = redis__stream_entry_near(stream, id, false, &stream->first);
    return rc == ERROR_END ? damaged() : rc;
}

void redis__stream_entry_reply(struct redis_sink *sink, struct stream_id id,
                               struct redis_slice value)
{
    const char *at = value.data;
    uint32_t count = mp_decode_array(&at), size;
    sink->vtab->array(sink, 2);
    redis__stream_id_reply(sink, id);
    sink->vtab->array(sink, count);
    for (uint32_t n = 0; n < count; n++) {
        const char *text = mp_decode_str(&at, &size);
        sink->vtab->bulk(sink, text, size);
    }
}

int redis__stream_range_reply(struct stream *stream, struct stream_id from, struct stream_id to,
                              bool backward, uint64_t count)
{
    struct redis_elements elements;
    struct redis_element element;
    struct redis_sink *sink = stream->call->sink;
    uint64_t number = 0;
    int rc = redis__stream_entries(stream, from, to, backward, &elements);
    while (!rc && (count == 0 || number < count) &&
           !(rc = redis_elements_next(&elements, &element)))
        number++;
    if (rc && rc != ERROR_END)
        return rc;
    sink->vtab->array(sink, number);
    rc = redis__stream_entries(stream, from, to, backward, &elements);
    for (; !rc && number > 0; number--) {
        rc = redis_elements_next(&elements, &element);
        if (!rc)
            redis__stream_entry_reply(sink, redis__stream_id_decode(element.key), element.value);
    }
    return rc;
}

/* ------------------------------------------------------------------------------ keys with names */

/* A name as part of a key: its size and its bytes. */
static char *name_encode(char *out, const struct redis_slice *name)
{
    for (unsigned n = 0; n < 4; n++)
        *out++ = (char)(name->size >> (24 - 8 * n));
    if (name->size)
        memcpy(out, name->data, name->size);
    return out + name->size;
}

/* group, perhaps consumer, perhaps id: in the arena. */
static int key_make(struct stream *stream, const struct redis_slice *group,
                    const struct redis_slice *consumer, const struct stream_id *id,
                    struct redis_slice *out)
{
    size_t size = 4 + group->size + (consumer ? 4 + consumer->size : 0) + STREAM_ID_SIZE;
    char *key = arena_alloc(txn_arena(stream->call->txn), size), *at = key;
    if (!key)
        return no_memory();
    at = name_encode(at, group);
    if (consumer && id)
        at = name_encode(at, consumer);
    else if (consumer && consumer->size > 0)
        at = (char *)memcpy(at, consumer->data, consumer->size) + consumer->size;
    if (id) {
        redis__stream_id_encode(at, *id);
        at += STREAM_ID_SIZE;
    }
    *out = (struct redis_slice){key, (size_t)(at - key)};
    return 0;
}

static int value_find(struct stream *stream, int kind, const struct redis_slice *key, bool *found,
                      const char **fields)
{
    struct redis_slice value;
    int rc = redis_element_get(stream->call, stream->id, kind, key->data, key->size, &value);
    *found = !rc && value.data;
    if (!*found)
        return rc;
    *fields = value.data;
    return mp_typeof(**fields) == MP_ARRAY && mp_decode_array(fields) == 5 ? 0 : damaged();
}

static int value_put(struct stream *stream, int kind, const struct redis_slice *key,
                     const char *value, const char *end)
{
    return redis_element_put(stream->call, stream->id, kind, key->data, key->size,
                             (struct redis_slice){value, (size_t)(end - value)}, 0);
}

/* An unsigned integer or nil, which is read as `nothing`. */
static bool uint_or_nil(const char **at, uint64_t nothing, uint64_t *out)
{
    *out = nothing;
    if (mp_typeof(**at) != MP_NIL)
        return mp_read_uint(at, out);
    mp_decode_nil(at);
    return true;
}

/* ---------------------------------------------------------------------------------------- groups */

static int group_read(const char *at, struct stream_group *out)
{
    uint64_t read = UINT64_MAX;
    bool right = mp_read_uint(&at, &out->last.ms) && mp_read_uint(&at, &out->last.seq) &&
                 uint_or_nil(&at, UINT64_MAX, &read) && mp_read_uint(&at, &out->pending) &&
                 mp_read_uint(&at, &out->consumers);
    out->read = (int64_t)read;
    return right ? 0 : damaged();
}

int redis__stream_group_find(struct stream *stream, const struct redis_slice *name, bool *found,
                             struct stream_group *out)
{
    const char *fields;
    int rc = value_find(stream, STREAM_GROUP, name, found, &fields);
    out->name = *name;
    return rc || !*found ? rc : group_read(fields, out);
}

int redis__stream_group_put(struct stream *stream, const struct stream_group *group)
{
    char value[64], *at = mp_encode_array(value, 5);
    at = mp_encode_uint(at, group->last.ms);
    at = mp_encode_uint(at, group->last.seq);
    at = group->read < 0 ? mp_encode_nil(at) : mp_encode_uint(at, (uint64_t)group->read);
    at = mp_encode_uint(at, group->pending);
    at = mp_encode_uint(at, group->consumers);
    return value_put(stream, STREAM_GROUP, &group->name, value, at);
}

int redis__stream_groups_next(struct redis_elements *elements, struct stream_group *out)
{
    struct redis_element element;
    int rc = redis_elements_next(elements, &element);
    if (rc)
        return rc;
    const char *at = element.value.data;
    out->name = (struct redis_slice){element.key, element.key_size};
    return mp_typeof(*at) == MP_ARRAY && mp_decode_array(&at) == 5 ? group_read(at, out)
                                                                   : damaged();
}

int redis__stream_no_group(const struct redis_slice *group, const struct redis_slice *key)
{
    return diag_set(ERROR_NO_GROUP, "No such consumer group '%.*s' for key name '%.*s'",
                    (int)(group->size < 256 ? group->size : 256), group->data,
                    (int)(key->size < 256 ? key->size : 256), key->data);
}

/* ------------------------------------------------------------------------------------- consumers */

static int consumer_read(const char *at, struct stream_consumer *out)
{
    bool right = mp_read_uint(&at, &out->seen_ms) && uint_or_nil(&at, 0, &out->active_ms) &&
                 mp_read_uint(&at, &out->pending);
    return right ? 0 : damaged();
}

int redis__stream_consumer_find(struct stream *stream, const struct redis_slice *group,
                                const struct redis_slice *name, bool *found,
                                struct stream_consumer *out)
{
    struct redis_slice key;
    const char *fields;
    *found = false;
    int rc = key_make(stream, group, name, NULL, &key);
    if (!rc)
        rc = value_find(stream, STREAM_CONSUMER, &key, found, &fields);
    out->name = *name;
    return rc || !*found ? rc : consumer_read(fields, out);
}

int redis__stream_consumer_put(struct stream *stream, const struct redis_slice *group,
                               const struct stream_consumer *consumer)
{
    struct redis_slice key;
    char value[40], *at = mp_encode_array(value, 5);
    at = mp_encode_uint(at, consumer->seen_ms);
    at = consumer->active_ms ? mp_encode_uint(at, consumer->active_ms) : mp_encode_nil(at);
    at = mp_encode_uint(at, consumer->pending);
    at = mp_encode_nil(mp_encode_nil(at));
    int rc = key_make(stream, group, &consumer->name, NULL, &key);
    return rc ? rc : value_put(stream, STREAM_CONSUMER, &key, value, at);
}

int redis__stream_consumer_delete(struct stream *stream, const struct redis_slice *group,
                                  const struct redis_slice *name)
{
    struct redis_slice key;
    int rc = key_make(stream, group, name, NULL, &key);
    return rc ? rc
              : redis_element_delete(stream->call, stream->id, STREAM_CONSUMER, key.data, key.size);
}

int redis__stream_consumer_get(struct stream *stream, struct stream_group *group,
                               const struct redis_slice *name, bool *made,
                               struct stream_consumer *out)
{
    bool found;
    int rc = redis__stream_consumer_find(stream, &group->name, name, &found, out);
    *made = !rc && !found;
    if (*made) {
        *out = (struct stream_consumer){.name = *name};
        group->consumers++;
    }
    out->seen_ms = stream->call->now_ms;
    return rc;
}

int redis__stream_consumers_open(struct stream *stream, const struct redis_slice *group,
                                 struct redis_elements *out)
{
    struct redis_slice low, high;
    int rc = key_make(stream, group, NULL, NULL, &low);
    if (!rc)
        rc = key_make(stream, group, NULL, NULL, &high);
    if (rc)
        return rc;
    /* The next key of that size: the first byte of a size is never the largest. */
    unsigned char *last = (unsigned char *)high.data + high.size - 1;
    while (++*last == 0)
        last--;
    struct redis_element_range range = {.lower = low, .upper = high, .upper_exclusive = true};
    return redis_elements_open(out, stream->call, stream->id, STREAM_CONSUMER, &range);
}

int redis__stream_consumers_next(struct redis_elements *elements, const struct redis_slice *group,
                                 struct stream_consumer *out)
{
    struct redis_element element;
    int rc = redis_elements_next(elements, &element);
    if (rc)
        return rc;
    const char *at = element.value.data;
    size_t skip = 4 + group->size;
    out->name = (struct redis_slice){element.key + skip, element.key_size - skip};
    return mp_typeof(*at) == MP_ARRAY && mp_decode_array(&at) == 5 ? consumer_read(at, out)
                                                                   : damaged();
}

/* --------------------------------------------------------------------------------------- pending */

static int pending_read(const char *at, struct stream_pending *out)
{
    uint32_t size;
    if (mp_typeof(*at) != MP_STR)
        return damaged();
    out->consumer.data = mp_decode_str(&at, &size);
    out->consumer.size = size;
    return mp_read_uint(&at, &out->time_ms) && mp_read_uint(&at, &out->count) ? 0 : damaged();
}

int redis__stream_pending_find(struct stream *stream, const struct redis_slice *group,
                               struct stream_id id, bool *found, struct stream_pending *out)
{
    struct redis_slice key;
    const char *fields;
    *found = false;
    int rc = key_make(stream, group, NULL, &id, &key);
    if (!rc)
        rc = value_find(stream, STREAM_PENDING, &key, found, &fields);
    out->id = id;
    return rc || !*found ? rc : pending_read(fields, out);
}

int redis__stream_pending_put(struct stream *stream, const struct redis_slice *group,
                              const struct stream_pending *pending)
{
    struct redis_slice key, key_of;
    char *value = arena_alloc(txn_arena(stream->call->txn), pending->consumer.size + 32);
    if (!value)
        return no_memory();
    char *at = mp_encode_array(value, 5);
    at = mp_encode_str(at, pending->consumer.data, (uint32_t)pending->consumer.size);
    at = mp_encode_uint(at, pending->time_ms);
    at = mp_encode_uint(at, pending->count);
    at = mp_encode_nil(mp_encode_nil(at));
    int rc = key_make(stream, group, NULL, &pending->id, &key);
    if (!rc)
        rc = key_make(stream, group, &pending->consumer, &pending->id, &key_of);
    if (!rc)
        rc = value_put(stream, STREAM_PENDING, &key, value, at);
    return rc ? rc : value_put(stream, STREAM_PENDING_OF, &key_of, NIL, NIL + 1);
}

int redis__stream_pending_delete(struct stream *stream, const struct redis_slice *group,
                                 const struct stream_pending *pending)
{
    struct redis_slice key, key_of;
    int rc = key_make(stream, group, NULL, &pending->id, &key);
    if (!rc)
        rc = key_make(stream, group, &pending->consumer, &pending->id, &key_of);
    if (!rc)
        rc = redis_element_delete(stream->call, stream->id, STREAM_PENDING, key.data, key.size);
    return rc ? rc
              : redis_element_delete(stream->call, stream->id, STREAM_PENDING_OF, key_of.data,
                                     key_of.size);
}

int redis__stream_pendings_open(struct stream_pendings *pendings, struct stream *stream,
                                const struct redis_slice *group, const struct redis_slice *consumer,
                                struct stream_id from, struct stream_id to)
{
    struct redis_slice low, high;
    *pendings = (struct stream_pendings){.stream = stream, .group = group, .consumer = consumer};
    int rc = key_make(stream, group, consumer, &from, &low);
    if (!rc)
        rc = key_make(stream, group, consumer, &to, &high);
    if (rc)
        return rc;
    pendings->prefix = low.size - STREAM_ID_SIZE;
    struct redis_element_range range = {.lower = low, .upper = high};
    return redis_elements_open(&pendings->elements, stream->call, stream->id,
                               consumer ? STREAM_PENDING_OF : STREAM_PENDING, &range);
}

int redis__stream_pendings_next(struct stream_pendings *pendings, struct stream_pending *out)
{
    struct redis_element element;
    bool found;
    int rc = redis_elements_next(&pendings->elements, &element);
    if (rc)
        return rc;
    struct stream_id id = redis__stream_id_decode(element.key + pendings->prefix);
    if (pendings->consumer) {
        rc = redis__stream_pending_find(pendings->stream, pendings->group, id, &found, out);
        return rc || found ? rc : damaged();
    }
    const char *at = element.value.data;
    out->id = id;
    return mp_typeof(*at) == MP_ARRAY && mp_decode_array(&at) == 5 ? pending_read(at, out)
                                                                   : damaged();
}

/* --------------------------------------------------------------------------------- lag and read */

int redis__stream_gap(struct stream *stream, struct stream_id from, bool *gap)
{
    struct stream_id zero = {0, 0}, first;
    *gap = false;
    if (stream->length == 0 || redis__stream_id_compare(stream->deleted, zero) == 0)
        return 0;
    int rc = redis__stream_entry_near(stream, zero, false, &first);
    if (rc)
        return rc == ERROR_END ? 0 : rc;
    *gap = redis__stream_id_compare(first, stream->deleted) <= 0 &&
           redis__stream_id_compare(from, stream->deleted) <= 0;
    return 0;
}

int redis__stream_read_estimate(struct stream *stream, struct stream_id id, int64_t *out)
{
    struct stream_id first, zero = {0, 0};
    *out = -1;
    if (stream->added == 0) {
        *out = 0;
        return 0;
    }
    if (stream->length == 0 && redis__stream_id_compare(id, stream->last) < 1) {
        *out = (int64_t)stream->added;
        return 0;
    }
    int compared = redis__stream_id_compare(id, stream->last);
    if (compared == 0)
        *out = (int64_t)stream->added;
    if (compared >= 0)
        return 0;
    int rc = redis__stream_entry_near(stream, zero, false, &first);
    if (rc)
        return rc == ERROR_END ? 0 : rc;
    bool whole = redis__stream_id_compare(stream->deleted, zero) == 0 ||
                 redis__stream_id_compare(stream->deleted, first) < 0;
    compared = redis__stream_id_compare(id, first);
    if (whole && compared < 0)
        *out = (int64_t)(stream->added - stream->length);
    else if (whole && compared == 0)
        *out = (int64_t)(stream->added - stream->length + 1);
    return 0;
}

int redis__stream_lag(struct stream *stream, const struct stream_group *group, int64_t *out)
{
    *out = STREAM_UNKNOWN;
    if (stream->added == 0) {
        *out = 0;
        return 0;
    }
    int64_t read = group->read;
    bool gap = true;
    int rc = read >= 0 ? redis__stream_gap(stream, group->last, &gap) : 0;
    if (!rc && gap)
        rc = redis__stream_read_estimate(stream, group->last, &read);
    if (!rc && (read >= 0 || !gap))
        *out = (int64_t)stream->added - read;
    return rc;
}
