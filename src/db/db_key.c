/* SPDX-License-Identifier: Apache-2.0 */

/*
 * From tuples to keys: the parts of an index, encoded in order; behind those of a secondary index
 * the primary key, so that every entry has a key of its own.
 *
 * A tuple has one key in a plain index. It has none where the condition of a partial index does not
 * hold, or a part that excludes nil is nil; one for each element of the array that parts with [*] go
 * over; and what the function returns in a functional index. Who adds entries, drops them, or asks
 * whether a version belongs under one, all go through keys_each, and so agree.
 */
#include "db/db_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/list.h"
#include "codec/ext.h"
#include "codec/json.h"
#include "codec/mp.h"

static const char nil_value[1] = {(char)0xc0};

/* Starts of the fields of a tuple that an index needs; nil for those behind its end. */
static void fields_find(const char *tuple, const struct index *index, const char **fields)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < index->part_count; i++) {
        fields[i] = NULL;
        if (index->parts[i].field > last)
            last = index->parts[i].field;
    }
    const char *data = tuple;
    uint32_t count = mp_decode_array(&data);
    for (uint32_t n = 0; n < count && n <= last; n++) {
        for (uint32_t i = 0; i < index->part_count; i++)
            if (index->parts[i].field == n)
                fields[i] = data;
        if (n < last)
            mp_next(&data);
    }
}

static int part_type_error(const struct index *index, uint32_t part, const char *value,
                           const char *what)
{
    const struct index_part *def = &index->parts[part];
    return diag_set(ERROR_SCHEMA, "%s %u of index \"%s\" of space \"%s\" must be %s%s, not %s",
                    what, part + 1, index->name, index->space->name, key_type_name(def->type),
                    def->nullable ? " or nil" : "", value_type_name(value));
}

static int part_error(const struct index *index, uint32_t part, const char *value)
{
    const struct index_part *def = &index->parts[part];
    if (value != NULL)
        return part_type_error(index, part, value, "part");
    if (index->func.text != NULL)
        return diag_set(ERROR_SCHEMA,
                        "the function of index \"%s\" of space \"%s\" does not return part %u",
                        index->name, index->space->name, part + 1);
    return diag_set(ERROR_SCHEMA, "field %u%s%s is missing: index \"%s\" of space \"%s\" needs it",
                    def->field + 1, def->path.count > 0 && def->path.text[0] != '[' ? "." : "",
                    def->path.count > 0 ? def->path.text : "", index->name, index->space->name);
}

/* Encodes one value as the part has it; false when it does not fit. */
static bool part_encode(const struct index_part *part, const char *value, unsigned char **out)
{
    unsigned char *start = *out;
    if (key_part_encode(&value, part->type, part->nullable, out) != 0)
        return false;
    if (part->descending)
        for (unsigned char *at = start; at < *out; at++)
            *at = (unsigned char)~*at;
    return true;
}

static size_t values_size_max(const struct index *index, const char *const *values)
{
    size_t size = 0;
    for (uint32_t i = 0; i < index->part_count; i++)
        size += key_part_size_max(values[i] == NULL ? nil_value : values[i]);
    return size;
}

/* Encodes the parts of one key, whose absent values are NULL; NULL when one does not fit. */
static unsigned char *values_encode(const struct index *index, const char *const *values,
                                    unsigned char *out, bool *has_nil, bool complain)
{
    for (uint32_t i = 0; i < index->part_count; i++) {
        const char *value = values[i] == NULL ? nil_value : values[i];
        if (mp_typeof(*value) == MP_NIL)
            *has_nil = true;
        if (!part_encode(&index->parts[i], value, &out)) {
            if (complain)
                part_error(index, i, values[i]);
            return NULL;
        }
    }
    return out;
}

/* What is done with each key of a tuple: its values, NULL where one is absent. Nonzero ends. */
typedef int (*values_fn)(const struct index *index, const char *const *values, void *arg);

static bool excluded(const struct index *index, const char *const *values)
{
    for (uint32_t i = 0; i < index->part_count; i++)
        if (index->parts[i].exclude_null && (values[i] == NULL || mp_typeof(*values[i]) == MP_NIL))
            return true;
    return false;
}

static int values_take(const struct index *index, const char *const *values, values_fn fn,
                       void *arg)
{
    return excluded(index, values) ? 0 : fn(index, values, arg);
}

/* Calls the evaluator. Quietly: a statement that failed keeps its message when it is undone. */
static int evaluate(const struct index *index, const struct expression *expression,
                    const char *tuple, bool complain, struct mp_buffer *out)
{
    const struct store *store = index->space->head->arg;
    const struct db_expressions *expressions = store->db->expressions;
    char message[DIAG_MESSAGE_MAX];
    int code = diag_code();
    if (!complain)
        snprintf(message, sizeof message, "%s", diag_message());
    int rc = expressions == NULL
                 ? diag_set(ERROR_UNSUPPORTED, "Lua expressions cannot be evaluated here")
                 : expressions->evaluate(expressions->arg, expression, index->space, tuple, out);
    if (rc == 0 && out->failed)
        rc = diag_set(ERROR_MEMORY, "no memory for the result of an expression");
    if (rc != 0 && complain) {
        char row[128];
        db__row_text(index->space, tuple, row, sizeof row);
        diag_add("index \"%s\" of space \"%s\", row %s", index->name, index->space->name, row);
    } else if (rc != 0) {
        diag_set(code, "%s", message);
    }
    return rc;
}

/* Whether the tuple is one of those that a partial index has: 1, 0, or an error. */
static int included(const struct index *index, const char *tuple, bool complain)
{
    if (index->terms.count > 0)
        return condition_holds(&index->terms, tuple);
    if (index->condition.text == NULL)
        return 1;
    struct mp_buffer result;
    mp_buffer_create(&result);
    int rc = evaluate(index, &index->condition, tuple, complain, &result);
    if (rc == 0) {
        const char *value = mp_array_at(result.data, 0);
        bool holds = value != NULL && mp_typeof(*value) != MP_NIL;
        if (holds && mp_typeof(*value) == MP_BOOL)
            holds = mp_decode_bool(&value);
        rc = holds;
    }
    mp_buffer_destroy(&result);
    return rc;
}

/* One key that a function has returned: a value, or an array of the parts' values. */
static int func_key_take(const struct index *index, const char *key, values_fn fn, void *arg)
{
    const char *values[INDEX_PARTS_MAX];
    for (uint32_t i = 0; i < index->part_count; i++) {
        uint32_t n = index->parts[i].field;
        values[i] = mp_typeof(*key) == MP_ARRAY ? mp_array_at(key, n) : n == 0 ? key : NULL;
        if (values[i] != NULL && index->parts[i].path.count > 0)
            values[i] =
                field_path_walk(&index->parts[i].path, 0, index->parts[i].path.count, values[i]);
    }
    return values_take(index, values, fn, arg);
}

/* `results` is what the function has returned: one array of values, or the values themselves. Nothing
 * or nil gives no key. */
static int func_results_take(const struct index *index, const char *results, values_fn fn,
                             void *arg)
{
    const char *first = mp_array_at(results, 0);
    if (first == NULL || mp_typeof(*first) == MP_NIL)
        return 0;
    if (!index->func_multikey)
        return func_key_take(index, mp_typeof(*first) == MP_ARRAY ? first : results, fn, arg);
    if (mp_typeof(*first) != MP_ARRAY)
        return func_key_take(index, first, fn, arg);
    int rc = 0;
    for (uint32_t count = mp_decode_array(&first); rc == 0 && count > 0; count--) {
        rc = func_key_take(index, first, fn, arg);
        mp_next(&first);
    }
    return rc;
}

static int func_each(const struct index *index, const char *tuple, bool complain, values_fn fn,
                     void *arg)
{
    struct mp_buffer results;
    mp_buffer_create(&results);
    int rc = evaluate(index, &index->func, tuple, complain, &results);
    if (rc == 0)
        rc = func_results_take(index, results.data, fn, arg);
    mp_buffer_destroy(&results);
    return rc;
}

/* Goes over the elements of the array that the parts with [*] share. An absent or nil array has
 * none, if the part may be nil. */
static int elements_each(const struct index *index, const char *const *fields, const char **values,
                         bool complain, values_fn fn, void *arg)
{
    const struct index_part *first = &index->parts[index->multikey_part];
    const char *array = fields[index->multikey_part];
    if (array != NULL)
        array = field_path_walk(&first->path, 0, first->path.each, array);
    if (array == NULL || mp_typeof(*array) == MP_NIL) {
        if (first->nullable)
            return 0;
        return complain ? part_error(index, index->multikey_part, NULL) : ERROR_SCHEMA;
    }
    if (mp_typeof(*array) != MP_ARRAY)
        return !complain ? ERROR_SCHEMA
                         : diag_set(ERROR_SCHEMA,
                                    "field %u of space \"%s\" must have an array for index \"%s\", "
                                    "not %s",
                                    first->field + 1, index->space->name, index->name,
                                    value_type_name(array));
    int rc = 0;
    for (uint32_t count = mp_decode_array(&array); rc == 0 && count > 0; count--) {
        for (uint32_t i = 0; i < index->part_count; i++) {
            const struct field_path *path = &index->parts[i].path;
            if (path->each < path->count)
                values[i] = field_path_walk(path, path->each + 1, path->count, array);
        }
        rc = values_take(index, values, fn, arg);
        mp_next(&array);
    }
    return rc;
}

/* Calls `fn` for each key of the tuple, twice for one that it has twice. */
static int keys_each(const struct index *index, const char *tuple, bool complain, values_fn fn,
                     void *arg)
{
    const char *fields[INDEX_PARTS_MAX], *values[INDEX_PARTS_MAX];
    if (!index->plain) {
        int rc = included(index, tuple, complain);
        if (rc <= 0)
            return rc;
        if (index->func.text != NULL)
            return func_each(index, tuple, complain, fn, arg);
    }
    fields_find(tuple, index, fields);
    if (index->plain)
        return fn(index, fields, arg);
    for (uint32_t i = 0; i < index->part_count; i++) {
        const struct field_path *path = &index->parts[i].path;
        values[i] = fields[i] == NULL || path->each < path->count
                        ? NULL
                        : field_path_walk(path, 0, path->count, fields[i]);
    }
    return index->multikey_part < index->part_count
               ? elements_each(index, fields, values, complain, fn, arg)
               : values_take(index, values, fn, arg);
}

struct key_lister {
    struct arena *arena;
    struct key_list *list;
    uint32_t capacity;
    bool complain;
    const unsigned char *primary; /* what follows the parts */
    size_t primary_size;
};

static int out_of_memory(bool complain)
{
    return complain ? diag_set(ERROR_MEMORY, "no memory for a key") : ERROR_MEMORY;
}

static struct key_bytes *key_add(struct key_lister *lister)
{
    struct key_list *list = lister->list;
    if (list->count == lister->capacity) {
        uint32_t capacity = lister->capacity * 4;
        struct key_bytes *keys = arena_alloc(lister->arena, capacity * sizeof *keys);
        if (keys == NULL)
            return NULL;
        memcpy(keys, list->keys, list->count * sizeof *keys);
        list->keys = keys;
        lister->capacity = capacity;
    }
    return &list->keys[list->count++];
}

static int key_list_value(const struct index *index, const char *const *values, void *arg)
{
    struct key_lister *lister = arg;
    unsigned char *data =
        arena_alloc(lister->arena, values_size_max(index, values) + lister->primary_size);
    struct key_bytes *key = data == NULL ? NULL : key_add(lister);
    if (key == NULL)
        return out_of_memory(lister->complain);
    *key = (struct key_bytes){.data = data};
    unsigned char *end = values_encode(index, values, data, &key->has_nil, lister->complain);
    if (end == NULL)
        return ERROR_SCHEMA;
    key->parts_size = (size_t)(end - data);
    memcpy(end, lister->primary, lister->primary_size);
    key->size = key->parts_size + lister->primary_size;
    return 0;
}

static int key_order(const void *one, const void *other)
{
    const struct key_bytes *a = one, *b = other;
    int order = memcmp(a->data, b->data, a->size < b->size ? a->size : b->size);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

/* Leaves each key once. */
static void keys_unique(struct key_list *list)
{
    uint32_t kept = 1;
    qsort(list->keys, list->count, sizeof *list->keys, key_order);
    for (uint32_t i = 1; i < list->count; i++)
        if (key_order(&list->keys[kept - 1], &list->keys[i]) != 0)
            list->keys[kept++] = list->keys[i];
    list->count = kept;
}

static int primary_encode(struct arena *arena, const struct index *primary, const char *tuple,
                          bool complain, struct key_bytes *out)
{
    struct key_list list = {0, &list.one, {0}};
    struct key_lister lister = {arena, &list, 1, complain, (const unsigned char *)"", 0};
    int rc = keys_each(primary, tuple, complain, key_list_value, &lister);
    *out = list.one;
    return rc;
}

static int keys_of_tuple(struct arena *arena, const struct index *index, const char *tuple,
                         bool complain, struct key_list *out)
{
    struct key_bytes primary;
    int rc = primary_encode(arena, index->space->indexes[0], tuple, complain, &primary);
    if (rc != 0)
        return rc;
    out->count = 0;
    out->keys = &out->one;
    struct key_lister lister = {arena, out, 1, complain, primary.data, primary.size};
    rc = keys_each(index, tuple, complain, key_list_value, &lister);
    if (rc == 0 && out->count > 1)
        keys_unique(out);
    return rc;
}

int db__key_of_tuple(struct arena *arena, const struct index *index, const char *tuple,
                     struct key_bytes *out)
{
    struct key_list keys;
    if (index->id == 0)
        return primary_encode(arena, index, tuple, true, out);
    int rc = keys_of_tuple(arena, index, tuple, true, &keys);
    if (rc == 0 && keys.count != 1)
        rc = diag_set(ERROR_INVALID,
                      "the tuple has %u keys in index \"%s\" of space \"%s\", not one", keys.count,
                      index->name, index->space->name);
    if (rc == 0)
        *out = keys.keys[0];
    return rc;
}

int db__keys_of_tuple(struct arena *arena, const struct index *index, const char *tuple,
                      struct key_list *out)
{
    return keys_of_tuple(arena, index, tuple, true, out);
}

int db__keys_quietly(struct arena *arena, const struct index *index, const char *tuple,
                     struct key_list *out)
{
    int rc = keys_of_tuple(arena, index, tuple, false, out);
    if (rc == 0 || rc == ERROR_MEMORY)
        return rc;
    out->count = 0;
    return 0;
}

bool db__key_listed(const struct key_list *list, const void *key, size_t size, bool parts_only)
{
    for (uint32_t i = 0; i < list->count; i++) {
        const struct key_bytes *other = &list->keys[i];
        if ((parts_only ? other->parts_size : other->size) == size &&
            memcmp(other->data, key, size) == 0)
            return true;
    }
    return false;
}

void db__row_text(const struct space *space, const char *tuple, char *out, size_t size)
{
    const struct index *primary = space->indexes[0];
    struct json_buffer json;
    json_buffer_create(&json);
    int rc = json_append(&json, "{", 1);
    for (uint32_t i = 0; rc == 0 && i < primary->part_count; i++) {
        const char *value = mp_array_at(tuple, primary->parts[i].field);
        if (value != NULL)
            value =
                field_path_walk(&primary->parts[i].path, 0, primary->parts[i].path.count, value);
        if (value == NULL)
            value = nil_value;
        if (i > 0)
            rc = json_append(&json, ", ", 2);
        if (rc == 0)
            rc = json_from_msgpack(&json, &value);
    }
    snprintf(out, size, "%.*s%s", (int)json.size, rc == 0 ? json.data : "", rc == 0 ? "}" : "");
    json_buffer_destroy(&json);
}

int db__key_of_array(struct arena *arena, const struct index *index, const char *key, bool exact,
                     struct key_bytes *out)
{
    const char *data = key;
    uint32_t count = mp_decode_array(&data);
    if (count > index->part_count || (exact && count < index->part_count))
        return diag_set(ERROR_INVALID,
                        "index \"%s\" of space \"%s\" takes a key of %s%u part%s, not %u",
                        index->name, index->space->name, exact ? "" : "at most ", index->part_count,
                        index->part_count == 1 ? "" : "s", count);
    size_t size = 0;
    const char *value = data;
    for (uint32_t i = 0; i < count; i++) {
        size += key_part_size_max(value);
        mp_next(&value);
    }
    unsigned char *encoded = arena_alloc(arena, size + 1);
    if (encoded == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a key");
    *out = (struct key_bytes){.data = encoded};
    unsigned char *end = encoded;
    for (uint32_t i = 0; i < count; i++) {
        value = data;
        if (mp_typeof(*value) == MP_NIL)
            out->has_nil = true;
        if (!part_encode(&index->parts[i], value, &end))
            return part_type_error(index, i, value, "key part");
        mp_next(&data);
    }
    out->size = out->parts_size = (size_t)(end - encoded);
    return 0;
}

/*
 * Whether a version belongs under an entry, and which entries go with one, is found out without memory that could be
 * refused: an entry must not outlive its row for want of it. So a key is encoded on the stack. One that has no room there has
 * more bytes of strings than a tree takes in a key, hence no entry. Where Lua is asked, which can fail, entries hold their
 * rows (ENTRY_COUNTED).
 */
enum { ROOM_SMALL = 512, ROOM_LARGE = 3 * TREE_KEY_SIZE_MAX + INDEX_PARTS_MAX * 64 };

struct parts_taker {
    /* What is done with the parts of a key; nonzero ends. */
    int (*take)(struct parts_taker *taker, unsigned char *parts, size_t size);
    size_t behind; /* bytes for which there is room behind them */
};

static int parts_encode(const struct index *index, const char *const *values, unsigned char *room,
                        struct parts_taker *taker)
{
    bool has_nil = false;
    const unsigned char *end = values_encode(index, values, room, &has_nil, false);
    return end == NULL ? 0 : taker->take(taker, room, (size_t)(end - room));
}

/* Apart, so that short keys take little of the stack. */
__attribute__((noinline)) static int parts_encode_long(const struct index *index,
                                                       const char *const *values,
                                                       struct parts_taker *taker)
{
    unsigned char room[ROOM_LARGE];
    return parts_encode(index, values, room, taker);
}

static int parts_value(const struct index *index, const char *const *values, void *arg)
{
    struct parts_taker *taker = arg;
    unsigned char room[ROOM_SMALL];
    size_t size = values_size_max(index, values) + taker->behind;
    if (size > ROOM_LARGE)
        return 0;
    return size <= sizeof room ? parts_encode(index, values, room, taker)
                               : parts_encode_long(index, values, taker);
}

struct match {
    struct parts_taker taker;
    const struct entry *entry;
    bool found;
};

/* Whether the key is the entry's. The primary key behind the parts is the row's in any case. */
static int match_parts(struct parts_taker *taker, unsigned char *parts, size_t size)
{
    struct match *match = list_entry(taker, struct match, taker);
    match->found = size == (load_relaxed(&match->entry->state) & ENTRY_PARTS_MASK) &&
                   memcmp(parts, match->entry->key, size) == 0;
    return match->found ? ERROR_END : 0;
}

int db__index_matches(const struct txn_index *scan, const struct entry *entry,
                      const struct version *version)
{
    struct match match = {{match_parts, 0}, entry, false};
    int rc = keys_each(scan->arg, version->bytes, false, parts_value, &match.taker);
    /* A tuple that the index cannot have (from before a change of format) has no entry in it. */
    return rc == 0 || rc == ERROR_END || rc == ERROR_SCHEMA ? match.found : rc;
}

struct sweep {
    struct parts_taker taker;
    struct txn_worker *worker;
    struct index *index;
    struct row *row;
};

static int sweep_parts(struct parts_taker *taker, unsigned char *parts, size_t size)
{
    struct sweep *sweep = list_entry(taker, struct sweep, taker);
    const struct row *row = sweep->row;
    memcpy(parts + size, row->key, row->key_size);
    if (size + row->key_size <= TREE_KEY_SIZE_MAX) /* else it has none */
        txn_entry_sweep(sweep->worker, &sweep->index->scan, parts, size + row->key_size,
                        sweep->row);
    return 0;
}

/* Quietly: a statement that failed keeps its message when it is undone. */
static void entries_sweep(struct index *index, struct txn_worker *worker, struct row *row,
                          const struct version *dropped)
{
    struct sweep sweep = {{sweep_parts, row->key_size}, worker, index, row};
    keys_each(index, dropped->bytes, false, parts_value, &sweep.taker);
}

void db__version_dropped(struct head *head, struct txn_worker *worker, struct row *row,
                         const struct version *dropped)
{
    struct store *store = head->arg;
    struct space *space = store->space;
    if (space == NULL || (space->index_count < 2 && space->building == NULL) ||
        (version_flags(dropped) & VERSION_TOMBSTONE))
        return;
    for (uint32_t i = 1; i < space->index_count; i++)
        entries_sweep(space->indexes[i], worker, row, dropped);
    if (space->building != NULL)
        entries_sweep(space->building, worker, row, dropped);
}
