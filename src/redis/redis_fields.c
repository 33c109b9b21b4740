/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fields of hashes and members of sets, packed and spread; see the header.
 *
 * A packed one that is changed is copied once, changed in the copy, and written as a whole. It is
 * spread as soon as it has more elements than it may have packed, or a longer one, or one that expires:
 * so a command that adds many is never slow, and the rows of a spread one are written as they come.
 */
#include "redis/redis_fields.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"

enum { REDIS_NAME = 'n' };

static const struct redis_slice NOTHING = {NULL, 0};

static int out_of_memory(void)
{
    return diag_set(ERROR_MEMORY, "out of memory");
}

/* ---------------------------------------------------------------------------------- open, close */

static void fields_create(struct redis_fields *fields, struct redis_call *call,
                          const struct redis_slice *name, int type)
{
    fields->call = call;
    fields->name = name;
    fields->type = type;
    fields->width = type == REDIS_TYPE_HASH ? 2 : 1;
    fields->writing = fields->changed = fields->shrunk = false;
    fields->added = 0;
}

int redis_fields_open(struct redis_fields *fields, struct redis_call *call,
                      const struct redis_slice *name, int type)
{
    fields_create(fields, call, name, type);
    return redis_open(call, name, type, &fields->key, &fields->value);
}

static size_t arguments_size(const struct redis_call *call)
{
    size_t size = 0;
    for (unsigned n = 2; n < call->argc && size < 4096; n++)
        size += redis_item_size_max(call->argv[n].size);
    return size;
}

int redis_fields_open_for_update(struct redis_fields *fields, struct redis_call *call,
                                 const struct redis_slice *name, int type)
{
    fields_create(fields, call, name, type);
    fields->writing = true;
    int rc = redis_open_for_update(call, name, type, &fields->key, &fields->value);
    if (!rc && !fields->value.spread)
        redis_packer_open(&fields->packer, call, &fields->value, arguments_size(call));
    return rc;
}

int redis_fields_create(struct redis_fields *fields, struct redis_call *call,
                        const struct redis_slice *name, int type)
{
    fields_create(fields, call, name, type);
    fields->writing = fields->changed = true;
    fields->value = (struct redis_value){.type = REDIS_TYPE_NONE};
    redis_packer_create(&fields->packer, call, 256);
    return redis_key_encode(call, name, &fields->key);
}

int redis_fields_delete(struct redis_fields *fields)
{
    return redis_value_delete(fields->call, &fields->key, &fields->value);
}

int redis_fields_close(struct redis_fields *fields, bool *ended)
{
    bool end = false;
    int rc = 0;
    if (fields->value.spread) {
        rc = redis_count_add(fields->call, fields->value.id, 0, fields->added);
        if (!rc && fields->shrunk)
            rc = redis_spread_shrunk(fields->call, &fields->key, &fields->value, REDIS_ELEMENT,
                                     fields->last.data, fields->last.size, &end);
    } else if (fields->changed && fields->packer.data && fields->packer.count == 0) {
        end = redis_fields_exist(fields);
        rc = end ? redis_fields_delete(fields) : 0;
    } else if (fields->changed) {
        rc = redis_packer_put(&fields->packer, &fields->key, fields->type, fields->value.expire_ms);
    }
    if (ended)
        *ended = end;
    return rc;
}

/* ------------------------------------------------------------------------------------ packed ones */

/* The elements of a packed one as they are now. */
static void elements_of(const struct redis_fields *fields, const char **at, const char **end)
{
    if (fields->writing) {
        *at = fields->packer.data ? fields->packer.data + REDIS_PACKER_START : NULL;
        *end = fields->packer.data ? fields->packer.data + fields->packer.size : NULL;
    } else if (redis_fields_exist(fields)) {
        *at = fields->value.data;
        mp_decode_array(at);
        *end = fields->value.data + fields->value.size;
    } else {
        *at = *end = NULL;
    }
}

/* A field as it is packed, in the caller's room when it is short. */
struct packed_field {
    const char *data;
    size_t size;
    char room[136];
};

static int field_pack(struct redis_fields *fields, const struct redis_slice *field,
                      struct packed_field *out)
{
    char *data = out->room;
    if (redis_item_size_max(field->size) > sizeof out->room)
        data = arena_alloc(txn_arena(fields->call->txn), redis_item_size_max(field->size));
    if (!data)
        return out_of_memory();
    out->data = data;
    out->size = (size_t)(redis_item_pack(data, field->data, field->size) - data);
    return 0;
}

/* Where the field is among the packed elements; NULL. A set's integer may be a str, too. */
static const char *packed_find(const struct redis_fields *fields, const struct redis_slice *field,
                               const struct packed_field *packed)
{
    const char *at, *end;
    elements_of(fields, &at, &end);
    const char *found = redis_packed_find(at, end, fields->width, packed->data, packed->size);
    if (!found && fields->type == REDIS_TYPE_SET && mp_typeof(*packed->data) != MP_STR) {
        char text[32];
        size_t size = (size_t)(mp_encode_str(text, field->data, (uint32_t)field->size) - text);
        found = redis_packed_find(at, end, 1, text, size);
    }
    return found;
}

static bool integers_alone(const char *at, const char *end)
{
    for (; at < end; mp_next(&at))
        if (mp_typeof(*at) == MP_STR)
            return false;
    return true;
}

bool redis_fields_integers(const struct redis_value *value)
{
    const char *at = value->data;
    mp_decode_array(&at);
    return integers_alone(at, value->data + value->size);
}

/* Where an integer has its place in a set of integers; at the end of others. */
static const char *packed_place(const struct redis_fields *fields, const struct packed_field *field)
{
    const char *at, *end, *read = field->data;
    int64_t integer, other;
    elements_of(fields, &at, &end);
    if (fields->type != REDIS_TYPE_SET || !mp_read_int(&read, &integer) || !integers_alone(at, end))
        return end;
    while (at < end) {
        read = at;
        if (mp_read_int(&read, &other) && other > integer)
            break;
        at = read;
    }
    return at;
}

/* Whether what is going to be written is more than a packed one may be. `longest`: of what was added.
 */
static bool packed_too_large(const struct redis_fields *fields, size_t longest)
{
    const struct redis_config *config = fields->call->config;
    uint32_t count = fields->packer.count / fields->width;
    if (fields->type == REDIS_TYPE_HASH)
        return count > load_relaxed(&config->hash_max_listpack_entries) ||
               longest > load_relaxed(&config->hash_max_listpack_value);
    uint64_t integers_max = load_relaxed(&config->set_max_intset_entries);
    uint64_t others_max = load_relaxed(&config->set_max_listpack_entries);
    size_t value_max = load_relaxed(&config->set_max_listpack_value);
    if (count <= integers_max && count <= others_max && longest <= value_max)
        return false;
    const char *at, *end;
    elements_of(fields, &at, &end);
    return integers_alone(at, end) ? count > integers_max
                                   : count > others_max || longest > value_max;
}

static int packed_get(struct redis_fields *fields, const struct redis_slice *field,
                      struct redis_field *out)
{
    struct packed_field packed;
    int rc = field_pack(fields, field, &packed);
    const char *at = rc ? NULL : packed_find(fields, field, &packed);
    out->present = at != NULL;
    if (at && fields->width == 2) {
        mp_next(&at);
        redis_item_read(at, &out->value);
    }
    return rc;
}

static int packed_set(struct redis_fields *fields, const struct redis_slice *field,
                      const struct redis_slice *value, bool *created)
{
    struct packed_field packed, packed_value = {.size = 0};
    struct redis_packer *packer = &fields->packer;
    int rc = field_pack(fields, field, &packed);
    if (!rc && value)
        rc = field_pack(fields, value, &packed_value);
    if (!rc && !packer->data)
        rc = out_of_memory();
    if (rc)
        return rc;
    const char *at = packed_find(fields, field, &packed);
    *created = !at;
    if (at && !value)
        return 0;
    fields->changed = true;
    if (at) {
        mp_next(&at);
        const char *behind = at;
        mp_next(&behind);
        redis_packer_splice(packer, (size_t)(at - packer->data), (size_t)(behind - at),
                            packed_value.data, packed_value.size, 0);
        return 0;
    }
    size_t place = (size_t)(packed_place(fields, &packed) - packer->data);
    redis_packer_splice(packer, place, 0, packed.data, packed.size, 1);
    if (value)
        redis_packer_splice(packer, place + packed.size, 0, packed_value.data, packed_value.size,
                            1);
    return 0;
}

/* A set that had other members than integers goes on as one that might: Redis calls it a listpack. */
static int integers_hide(struct redis_fields *fields)
{
    struct redis_item item;
    struct redis_packer *packer = &fields->packer;
    const char *at, *end;
    elements_of(fields, &at, &end);
    if (at == end || !integers_alone(at, end))
        return 0;
    redis_item_read(at, &item);
    char text[40];
    size_t size = (size_t)(mp_encode_str(text, item.data, (uint32_t)item.size) - text);
    redis_packer_splice(packer, REDIS_PACKER_START, item.raw_size, text, size, 0);
    return packer->data ? 0 : out_of_memory();
}

static int packed_remove(struct redis_fields *fields, const struct redis_slice *field,
                         bool *removed)
{
    struct packed_field packed;
    struct redis_packer *packer = &fields->packer;
    int rc = field_pack(fields, field, &packed);
    const char *at = rc ? NULL : packed_find(fields, field, &packed), *behind = at;
    *removed = at != NULL;
    if (!at)
        return rc;
    bool text = mp_typeof(*at) == MP_STR;
    for (unsigned n = 0; n < fields->width; n++)
        mp_next(&behind);
    redis_packer_splice(packer, (size_t)(at - packer->data), (size_t)(behind - at), NULL, 0,
                        -(int)fields->width);
    fields->changed = true;
    return text && fields->type == REDIS_TYPE_SET ? integers_hide(fields) : 0;
}

/* ------------------------------------------------------------------------------------ spread ones */

/* The value of a field's row. */
static void row_read(const char *raw, const struct redis_fields *fields, struct redis_field *out)
{
    out->expire_ms = 0;
    out->present = true;
    if (fields->width == 1)
        return;
    if (mp_typeof(*raw) == MP_ARRAY) {
        mp_decode_array(&raw);
        const char *at = raw;
        mp_next(&at);
        mp_read_uint(&at, &out->expire_ms);
    }
    out->present = !out->expire_ms || out->expire_ms > fields->call->now_ms;
    redis_item_read(raw, &out->value);
}

/* *there: a row, be it of a field that has expired. */
static int spread_get(struct redis_fields *fields, const struct redis_slice *field,
                      struct redis_field *out, bool *there)
{
    struct redis_slice row = NOTHING;
    int rc = 0;
    out->present = false;
    if (field->size <= REDIS_ELEMENT_KEY_MAX)
        rc = (fields->writing ? redis_element_get_for_update : redis_element_get)(
            fields->call, fields->value.id, REDIS_ELEMENT, field->data, field->size, &row);
    *there = !rc && row.data;
    if (*there)
        row_read(row.data, fields, out);
    return rc;
}

static int row_put(struct redis_fields *fields, const struct redis_slice *field,
                   struct redis_slice raw, uint64_t expire_ms)
{
    return redis_element_put(fields->call, fields->value.id, REDIS_ELEMENT, field->data,
                             field->size, raw, expire_ms);
}

static int name_put(struct redis_call *call, uint64_t id, const struct redis_slice *name)
{
    char *row = arena_alloc(txn_arena(call->txn), name->size + 16);
    if (!row)
        return out_of_memory();
    char *end = mp_encode_uint(mp_encode_array(row, 2), call->database);
    end = mp_encode_str(end, name->data, (uint32_t)name->size);
    return redis_element_put(call, id, REDIS_NAME, NULL, 0,
                             (struct redis_slice){row, (size_t)(end - row)}, 0);
}

/* Before the first field that expires. */
static int name_know(struct redis_fields *fields)
{
    struct redis_slice row;
    int rc =
        redis_element_get_for_update(fields->call, fields->value.id, REDIS_NAME, NULL, 0, &row);
    return rc || row.data ? rc : name_put(fields->call, fields->value.id, fields->name);
}

static int spread_set(struct redis_fields *fields, const struct redis_slice *field,
                      const struct redis_slice *value, uint64_t expire_ms, bool *created)
{
    struct redis_field old;
    bool there;
    int rc = spread_get(fields, field, &old, &there);
    *created = !old.present;
    if (rc || (there && !value))
        return rc;
    struct redis_slice raw = {"\xc0", 1};
    if (value) {
        char *row =
            arena_alloc(txn_arena(fields->call->txn), redis_item_size_max(value->size) + 10);
        if (!row)
            return out_of_memory();
        char *end =
            redis_item_pack(expire_ms ? mp_encode_array(row, 2) : row, value->data, value->size);
        if (expire_ms)
            end = mp_encode_uint(end, expire_ms);
        raw = (struct redis_slice){row, (size_t)(end - row)};
    }
    if (expire_ms)
        rc = name_know(fields);
    if (!rc)
        rc = row_put(fields, field, raw, expire_ms);
    if (!rc && !there)
        fields->added++;
    return rc;
}

static int spread_remove(struct redis_fields *fields, const struct redis_slice *field,
                         bool *removed)
{
    struct redis_field old;
    bool there;
    int rc = spread_get(fields, field, &old, &there);
    *removed = old.present;
    if (rc || !there)
        return rc;
    fields->added--;
    fields->shrunk = true;
    fields->last = *field;
    return redis_element_delete(fields->call, fields->value.id, REDIS_ELEMENT, field->data,
                                field->size);
}

/* From the packer into rows. */
static int fields_spread(struct redis_fields *fields)
{
    struct redis_packer *packer = &fields->packer;
    struct redis_call *call = fields->call;
    uint64_t id;
    if (!packer->data)
        return out_of_memory();
    int rc = redis_spread_new(call, &id);
    if (!rc)
        rc = redis_value_put_spread(call, &fields->key, fields->type, fields->value.expire_ms, id,
                                    NOTHING);
    fields->value = (struct redis_value){.type = fields->type,
                                         .spread = true,
                                         .expire_ms = fields->value.expire_ms,
                                         .id = id,
                                         .data = "\xc0",
                                         .size = 1};
    const char *at = packer->data + REDIS_PACKER_START, *end = packer->data + packer->size;
    while (!rc && at < end) {
        struct redis_item item;
        struct redis_slice raw = {"\xc0", 1};
        redis_item_read(at, &item);
        at += item.raw_size;
        if (fields->width == 2) {
            raw.data = at;
            mp_next(&at);
            raw.size = (size_t)(at - raw.data);
        }
        rc = row_put(fields, &(struct redis_slice){item.data, item.size}, raw, 0);
        fields->added++;
    }
    return rc;
}

/* ----------------------------------------------------------------------------------- one or other */

int redis_fields_get(struct redis_fields *fields, const struct redis_slice *field,
                     struct redis_field *out)
{
    bool there;
    out->expire_ms = 0;
    return fields->value.spread ? spread_get(fields, field, out, &there)
                                : packed_get(fields, field, out);
}

int redis_fields_set(struct redis_fields *fields, const struct redis_slice *field,
                     const struct redis_slice *value, uint64_t expire_ms, bool *created)
{
    bool new = false;
    int rc = 0;
    if (expire_ms && !fields->value.spread)
        rc = fields_spread(fields);
    if (!rc && fields->value.spread) {
        rc = spread_set(fields, field, value, expire_ms, &new);
    } else if (!rc) {
        rc = packed_set(fields, field, value, &new);
        size_t longest = value && value->size > field->size ? value->size : field->size;
        if (!rc && (new || value) && packed_too_large(fields, longest))
            rc = fields_spread(fields);
    }
    if (created)
        *created = new;
    return rc;
}

int redis_fields_remove(struct redis_fields *fields, const struct redis_slice *field, bool *removed)
{
    bool gone = false;
    int rc = fields->value.spread ? spread_remove(fields, field, &gone)
                                  : packed_remove(fields, field, &gone);
    if (removed)
        *removed = gone;
    return rc;
}

/* Rows of the elements that are due, and have not been deleted yet, among those of this hash. */
static int expired_count(struct redis_fields *fields, int64_t *out)
{
    struct redis_call *call = fields->call;
    unsigned char until[8], prefix[9];
    for (unsigned n = 0; n < 8; n++) {
        until[n] = (unsigned char)((call->now_ms + 1) >> (56 - 8 * n));
        prefix[n] = (unsigned char)(fields->value.id >> (56 - 8 * n));
    }
    prefix[8] = REDIS_ELEMENT;
    const struct txn_range range = {.upper = arena_copy(txn_arena(call->txn), until, 8),
                                    .upper_size = 8};
    if (!range.upper)
        return out_of_memory();
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    txn_cursor_open(&cursor, call->txn,
                    db_redis_expiries(db_worker_db(call->worker), DB_REDIS_ELEMENTS), &range);
    int rc;
    *out = 0;
    while ((rc = txn_cursor_next(&cursor, &row, &version)) == 0) {
        redis_passed(call);
        *out += row->key_size >= sizeof prefix && memcmp(row->key, prefix, sizeof prefix) == 0;
    }
    return rc == ERROR_END ? 0 : rc;
}

int redis_fields_length(struct redis_fields *fields, int64_t *out)
{
    struct redis_slice name;
    int64_t expired;
    *out = 0;
    if (!redis_fields_exist(fields))
        return 0;
    if (!fields->value.spread) {
        const char *at = fields->value.data;
        *out = mp_decode_array(&at) / fields->width;
        return 0;
    }
    int rc = redis_count_get(fields->call, fields->value.id, 0, out);
    if (rc || fields->type == REDIS_TYPE_SET)
        return rc;
    rc = redis_element_get(fields->call, fields->value.id, REDIS_NAME, NULL, 0, &name);
    if (rc || !name.data)
        return rc;
    rc = expired_count(fields, &expired);
    *out -= expired;
    return rc;
}

/* ------------------------------------------------------------------------------------------- walks */

int redis_fields_walk_open(struct redis_fields_walk *walk, struct redis_fields *fields,
                           const struct redis_slice *after)
{
    const struct redis_element_range range = {.lower = after ? *after : NOTHING,
                                              .lower_exclusive = after != NULL};
    walk->fields = fields;
    walk->value.present = true;
    walk->value.expire_ms = 0;
    walk->left = 0;
    if (!redis_fields_exist(fields))
        return 0;
    if (fields->value.spread)
        return redis_elements_open(&walk->elements, fields->call, fields->value.id, REDIS_ELEMENT,
                                   &range);
    walk->at = fields->value.data;
    walk->left = mp_decode_array(&walk->at) / fields->width;
    return 0;
}

static int spread_walk_next(struct redis_fields_walk *walk)
{
    struct redis_element element;
    do {
        int rc = redis_elements_next(&walk->elements, &element);
        if (rc)
            return rc;
        row_read(element.value.data, walk->fields, &walk->value);
    } while (!walk->value.present);
    walk->field.data = element.key;
    walk->field.size = element.key_size;
    return 0;
}

int redis_fields_walk_next(struct redis_fields_walk *walk)
{
    if (walk->fields->value.spread)
        return spread_walk_next(walk);
    if (walk->left == 0)
        return ERROR_END;
    walk->left--;
    redis_item_read(walk->at, &walk->field);
    walk->at += walk->field.raw_size;
    if (walk->fields->width == 2) {
        redis_item_read(walk->at, &walk->value.value);
        walk->at += walk->value.value.raw_size;
    }
    return 0;
}

/* ----------------------------------------------------------------------------------- fields expire */

int redis_fields_renamed(struct redis_call *call, const struct redis_slice *name,
                         const struct redis_value *value)
{
    struct redis_slice row;
    if (value->type != REDIS_TYPE_HASH || !value->spread)
        return 0;
    int rc = redis_element_get_for_update(call, value->id, REDIS_NAME, NULL, 0, &row);
    return rc || !row.data ? rc : name_put(call, value->id, name);
}

/* The name of the hash that has this number, a copy; data NULL when it has none. */
static int name_get(struct redis_call *call, uint64_t id, struct redis_slice *name)
{
    struct redis_slice row;
    uint64_t database;
    uint32_t size;
    *name = NOTHING;
    int rc = redis_element_get(call, id, REDIS_NAME, NULL, 0, &row);
    if (rc || !row.data)
        return rc;
    const char *at = row.data;
    if (mp_typeof(*at) != MP_ARRAY || mp_decode_array(&at) != 2 || !mp_read_uint(&at, &database) ||
        database >= DB_REDIS_ELEMENTS || mp_typeof(*at) != MP_STR)
        return diag_set(ERROR_CORRUPT, "the name of a hash in the Redis space is damaged");
    const char *text = mp_decode_str(&at, &size);
    name->data = arena_copy(txn_arena(call->txn), text, size);
    name->size = size;
    call->database = (unsigned)database;
    return name->data ? 0 : out_of_memory();
}

/* Its key is not there any more, or never heard of it: nobody counts it. */
static int row_expire(struct redis_call *call, uint64_t id, const struct redis_slice *field,
                      bool *expired)
{
    struct redis_fields fields = {
        .call = call, .type = REDIS_TYPE_HASH, .width = 2, .writing = true};
    struct redis_field old;
    bool there;
    fields.value.id = id;
    int rc = spread_get(&fields, field, &old, &there);
    *expired = !rc && there && !old.present;
    return *expired ? redis_element_delete(call, id, REDIS_ELEMENT, field->data, field->size) : rc;
}

int redis_fields_expire(struct redis_call *call, const void *row_key, size_t size, bool *expired)
{
    const unsigned char *at = row_key;
    uint64_t id = 0;
    bool ended;
    struct redis_slice name;
    struct redis_fields fields;
    *expired = false;
    if (size < 9 || at[8] != REDIS_ELEMENT)
        return 0;
    for (unsigned n = 0; n < 8; n++)
        id = id << 8 | at[n];
    const struct redis_slice field = {(const char *)at + 9, size - 9};
    int rc = name_get(call, id, &name);
    if (rc || !name.data)
        return rc ? rc : row_expire(call, id, &field, expired);
    fields_create(&fields, call, &name, REDIS_TYPE_HASH);
    fields.writing = true;
    rc = redis_open_for_update(call, &name, REDIS_TYPE_NONE, &fields.key, &fields.value);
    if (rc)
        return rc;
    if (!fields.value.spread || fields.value.id != id)
        return row_expire(call, id, &field, expired);
    struct redis_field old;
    bool there;
    rc = spread_get(&fields, &field, &old, &there);
    if (rc || !there || old.present)
        return rc;
    *expired = true;
    rc = spread_remove(&fields, &field, &there);
    if (!rc)
        rc = redis_fields_close(&fields, &ended);
    if (!rc)
        rc = redis_changed(call, &name, REDIS_TYPE_NONE, REDIS_NOTIFY_HASH, "hexpired");
    if (!rc && ended)
        rc = redis_changed(call, &name, REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC, "del");
    return rc;
}
