/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Foreign keys: what a row refers to must be there.
 *
 * The order is that of unique keys (invariant 15), over two spaces. Who writes a row that refers puts
 * its version and entries first, and then looks for what they refer to; who deletes a row, or takes
 * its key away, does that first, and then looks for rows that refer to it. Both look at what others
 * have not committed yet, and at what they have since the snapshot: so of two that race at least one
 * meets the other, at every level, and yields (invariant 30). Nothing is locked.
 *
 * Nil in any of its fields is no reference. Whoever refers is found by an index that begins with the
 * fields of the key; without one, and without a unique index at the other end, nothing that refers
 * can be written.
 *
 * Rows that go with a deleted one are deleted by statements of their own, which go on from there. A
 * row that refers to itself, or a cycle, ends where a row is gone already.
 */
#include "db/format_private.h"
#include "db/trigger_private.h"

#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/mutation.h"
#include "codec/mp.h"

enum { ROW_TEXT_MAX = 128, CASCADE_DEPTH_MAX = 100, CASCADE_TURNS_MAX = 16 };

/* ------------------------------------------------------------------------------- in the picture */

/* Whether the first `count` parts of the index are these fields, in any order. */
static bool parts_are(const struct index *index, const uint32_t *fields, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++) {
        bool found = false;
        for (uint32_t i = 0; i < count && !found; i++)
            found = index->parts[n].field == fields[i];
        if (!found)
            return false;
    }
    return true;
}

struct index *db__foreign_parent_index(const struct space *parent, const struct foreign_key *key)
{
    for (uint32_t i = 0; parent != NULL && i < parent->index_count; i++) {
        struct index *index = parent->indexes[i];
        if (index->unique && index->plain && !index->building && index->part_count == key->count &&
            parts_are(index, key->parent_fields, key->count))
            return index;
    }
    return NULL;
}

struct index *db__foreign_child_index(const struct space *child, const struct foreign_key *key)
{
    for (uint32_t i = 0; i < child->index_count; i++) {
        struct index *index = child->indexes[i];
        if (index->plain && !index->building &&
            (index->part_count == key->count ||
             (index->part_count > key->count && index->type == INDEX_TREE)) &&
            parts_are(index, key->child_fields, key->count))
            return index;
    }
    return NULL;
}

const char *db__foreign_index_wanted(const struct space *space, const struct foreign_key *key,
                                     bool of_parent, char *out, size_t size)
{
    const uint32_t *fields = of_parent ? key->parent_fields : key->child_fields;
    int used = snprintf(out, size, "space \"%s\" needs %s index on ", space->name,
                        of_parent ? "a unique" : "an");
    for (uint32_t i = 0; i < key->count && used > 0 && (size_t)used < size; i++) {
        if (fields[i] < space->field_count)
            used += snprintf(out + used, size - (size_t)used, "%s%s", i == 0 ? "" : ", ",
                             space->fields[fields[i]].name);
        else
            used += snprintf(out + used, size - (size_t)used, "%s%u", i == 0 ? "" : ", ",
                             fields[i] + 1);
    }
    if (used > 0 && (size_t)used < size)
        snprintf(out + used, size - (size_t)used, "%s",
                 of_parent ? ", which it refers to" : ", by which rows that refer are found");
    return out;
}

static bool pairs_read(const char *value, struct foreign_key *key)
{
    if (value == NULL || mp_typeof(*value) != MP_ARRAY)
        return false;
    key->count = mp_decode_array(&value);
    if (key->count == 0 || key->count > FOREIGN_FIELDS_MAX)
        return false;
    for (uint32_t i = 0; i < key->count; i++) {
        uint64_t child, parent;
        if (mp_typeof(*value) != MP_ARRAY || mp_decode_array(&value) != 2 ||
            !mp_read_uint(&value, &child) || !mp_read_uint(&value, &parent))
            return false;
        key->child_fields[i] = (uint32_t)child;
        key->parent_fields[i] = (uint32_t)parent;
    }
    return true;
}

static enum foreign_action action_read(const char *value)
{
    uint32_t size;
    if (value == NULL || mp_typeof(*value) != MP_STR)
        return FOREIGN_RESTRICT;
    const char *text = mp_decode_str(&value, &size);
    return size == 7 && memcmp(text, "cascade", 7) == 0    ? FOREIGN_CASCADE
           : size == 8 && memcmp(text, "set_null", 8) == 0 ? FOREIGN_SET_NULL
                                                           : FOREIGN_RESTRICT;
}

/* `field`: of which it is, or CONSTRAINT_TUPLE. */
static int key_read(struct arena *arena, const char **data, uint32_t field, struct space *space)
{
    struct foreign_key *key = &space->foreign_keys[space->foreign_key_count++];
    uint32_t size;
    uint64_t id;
    *key = (struct foreign_key){.child = space};
    if (mp_typeof(**data) != MP_STR)
        return ERROR_CORRUPT;
    const char *text = mp_decode_str(data, &size), *map = *data;
    char *name = arena_alloc(arena, (size_t)size + 1);
    if (name == NULL)
        return ERROR_MEMORY;
    memcpy(name, text, size);
    name[size] = '\0';
    key->name = name;
    mp_next(data);
    const char *parent = mp_map_find(map, "space");
    if (parent == NULL || !mp_read_uint(&parent, &id) ||
        !pairs_read(mp_map_find(map, "field"), key))
        return ERROR_CORRUPT;
    key->parent_id = (uint32_t)id;
    key->on_delete = action_read(mp_map_find(map, "on_delete"));
    key->on_update = action_read(mp_map_find(map, "on_update"));
    if (field != CONSTRAINT_TUPLE)
        key->child_fields[0] = field;
    return 0;
}

static uint32_t map_size(const char *map)
{
    return map != NULL && mp_typeof(*map) == MP_MAP ? mp_decode_map(&map) : 0;
}

static int map_read(struct arena *arena, const char *map, uint32_t field, struct space *space)
{
    int rc = 0;
    if (map_size(map) == 0)
        return 0;
    for (uint32_t n = mp_decode_map(&map); rc == 0 && n > 0; n--)
        rc = key_read(arena, &map, field, space);
    return rc;
}

int db__foreign_read(struct arena *arena, const char *flags, const char *format,
                     struct space *space)
{
    const char *of_space = mp_map_find(flags, "foreign_key"), *map = format;
    size_t count = map_size(of_space);
    uint32_t fields = mp_decode_array(&map);
    for (uint32_t i = 0; i < fields; i++, mp_next(&map))
        count += map_size(mp_map_find(map, "foreign_key"));
    if (count == 0)
        return 0;
    if ((space->foreign_keys = arena_alloc(arena, count * sizeof *space->foreign_keys)) == NULL)
        return ERROR_MEMORY;
    map = format;
    mp_decode_array(&map);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < fields; i++, mp_next(&map))
        rc = map_read(arena, mp_map_find(map, "foreign_key"), i, space);
    return rc != 0 ? rc : map_read(arena, of_space, CONSTRAINT_TUPLE, space);
}

static void keys_resolve(struct catalog *catalog, struct space *space, struct foreign_key *keys,
                         uint32_t count)
{
    for (uint32_t n = 0; n < count; n++) {
        struct foreign_key *key = &keys[n];
        key->child_index = db__foreign_child_index(space, key);
        key->parent = catalog_space_by_id(catalog, key->parent_id);
        if (key->parent == NULL)
            continue;
        key->parent_index = db__foreign_parent_index(key->parent, key);
        key->next = key->parent->referrers;
        key->parent->referrers = key;
    }
}

static bool is_alike(const struct foreign_key *left, const struct foreign_key *right)
{
    size_t size = left->count * sizeof *left->child_fields;
    return left->parent_id == right->parent_id && left->count == right->count &&
           memcmp(left->child_fields, right->child_fields, size) == 0 &&
           memcmp(left->parent_fields, right->parent_fields, size) == 0;
}

/* Of what the space is being altered to the keys that are new: until they are in force nothing is
 * deleted or changed by them, but whoever takes away what is referred to is refused. */
static void coming_resolve(struct catalog *catalog, struct space *space)
{
    struct space *coming = space->coming;
    uint32_t count = 0;
    coming->index_count = space->index_count;
    memcpy(coming->indexes, space->indexes, sizeof coming->indexes);
    for (uint32_t n = 0; n < coming->foreign_key_count; n++) {
        struct foreign_key *key = &coming->foreign_keys[n];
        bool known = false;
        for (uint32_t i = 0; i < space->foreign_key_count && !known; i++)
            known = is_alike(key, &space->foreign_keys[i]);
        if (known)
            continue;
        key->child = space;
        key->on_delete = key->on_update = FOREIGN_RESTRICT;
        coming->foreign_keys[count++] = *key;
    }
    coming->foreign_key_count = count;
    keys_resolve(catalog, space, coming->foreign_keys, count);
}

void db__foreign_resolve(struct catalog *catalog)
{
    for (uint32_t i = 0; i < catalog->space_count; i++) {
        struct space *space = catalog->spaces[i];
        keys_resolve(catalog, space, space->foreign_keys, space->foreign_key_count);
        if (space->coming != NULL)
            coming_resolve(catalog, space);
    }
}

void db__foreign_settle(struct catalog *catalog)
{
    for (bool again = true; again;) {
        again = false;
        for (uint32_t i = 0; i < catalog->space_count; i++) {
            struct space *space = catalog->spaces[i];
            for (struct foreign_key *key = space->referrers; key != NULL; key = key->next)
                if (!space->calls_out && key->child->calls_out &&
                    (key->on_delete != FOREIGN_RESTRICT || key->on_update != FOREIGN_RESTRICT))
                    again = space->calls_out = true;
        }
    }
}

/* ---------------------------------------------------------------------------------------- keys */

/* The key in `index`, whose first parts are the fields `there`, of what stands in the fields `here`
 * of the tuple. 1, or 0 when nothing can be there under it: nil is no reference, and neither is what
 * the index does not take. */
static int key_of(struct txn *txn, const struct index *index, const struct foreign_key *key,
                  const uint32_t *there, const uint32_t *here, const char *tuple,
                  struct key_bytes *out)
{
    const char *values[FOREIGN_FIELDS_MAX], *ends[FOREIGN_FIELDS_MAX];
    size_t size = 5;
    for (uint32_t n = 0; n < key->count; n++) {
        uint32_t i = 0;
        while (there[i] != index->parts[n].field)
            i++;
        values[n] = ends[n] = mp_array_at(tuple, here[i]);
        if (values[n] == NULL || mp_typeof(*values[n]) == MP_NIL)
            return 0;
        mp_next(&ends[n]);
        size += (size_t)(ends[n] - values[n]);
    }
    char *array = arena_alloc(txn_arena(txn), size);
    if (array == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a key");
    char *end = mp_encode_array(array, key->count);
    for (uint32_t n = 0; n < key->count; n++) {
        memcpy(end, values[n], (size_t)(ends[n] - values[n]));
        end += ends[n] - values[n];
    }
    int rc = db__key_of_array(txn_arena(txn), index, array, false, out);
    return rc == ERROR_MEMORY ? rc : rc == 0;
}

/* A cursor over what is under the key. */
static int key_open(struct txn *txn, struct index *index, const struct key_bytes *bytes,
                    struct txn_cursor *out)
{
    void *above = arena_copy(txn_arena(txn), bytes->data, bytes->size);
    if (above == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a range");
    size_t above_size = key_successor(above, bytes->size);
    struct txn_range range = {.lower = bytes->data,
                              .lower_size = bytes->size,
                              .lower_inclusive = true,
                              .upper = above_size == 0 ? NULL : above,
                              .upper_size = above_size};
    txn_cursor_open(out, txn, &index->scan, &range);
    return 0;
}

/* {1, "a"} of what stands in these fields. */
static void fields_text(const uint32_t *fields, uint32_t count, const char *tuple, char *out,
                        size_t size)
{
    struct index_part parts[FOREIGN_FIELDS_MAX] = {{0}};
    struct index index = {.part_count = count};
    struct space space = {.indexes = {&index}, .index_count = 1};
    for (uint32_t i = 0; i < count; i++)
        parts[i].field = fields[i];
    memcpy(index.parts, parts, sizeof parts);
    db__row_text(&space, tuple, out, size);
}

/* ------------------------------------------------------------------------------ what is referred to */

static int parent_missing(const struct foreign_key *key, const char *tuple)
{
    char row[ROW_TEXT_MAX], value[ROW_TEXT_MAX];
    db__row_text(key->child, tuple, row, sizeof row);
    fields_text(key->child_fields, key->count, tuple, value, sizeof value);
    return diag_set(
        ERROR_CONSTRAINT,
        "foreign key \"%s\" of space \"%s\": row %s refers to %s, which is not in space "
        "\"%s\"",
        key->name, key->child->name, row, value, key->parent == NULL ? "?" : key->parent->name);
}

/* Whether the transaction's snapshot has it: 0 or ERROR_END. */
static int parent_see(struct txn *txn, const struct foreign_key *key, const struct key_bytes *bytes)
{
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    int rc = key_open(txn, key->parent_index, bytes, &cursor);
    return rc == 0 ? txn_cursor_next(&cursor, &row, &version) : rc;
}

/* The transaction has been told so: that belongs to what it has read (invariant 16). */
static int parent_absent(struct txn *txn, const struct foreign_key *key,
                         const struct key_bytes *bytes, const char *tuple)
{
    int rc = parent_see(txn, key, bytes);
    return rc == 0 || rc == ERROR_END ? parent_missing(key, tuple) : rc;
}

/* The key of what the tuple refers to: 1; 0 when it refers to nothing. */
static int parent_key(struct txn *txn, const struct foreign_key *key, const char *tuple,
                      struct key_bytes *bytes)
{
    char message[DIAG_MESSAGE_MAX];
    if (key->child_index == NULL)
        return diag_set(ERROR_SCHEMA, "foreign key \"%s\": %s", key->name,
                        db__foreign_index_wanted(key->child, key, false, message, sizeof message));
    if (key->parent != NULL && key->parent_index == NULL)
        return diag_set(ERROR_SCHEMA, "foreign key \"%s\": %s", key->name,
                        db__foreign_index_wanted(key->parent, key, true, message, sizeof message));
    for (uint32_t i = 0; i < key->count; i++) {
        const char *value = mp_array_at(tuple, key->child_fields[i]);
        if (value == NULL || mp_typeof(*value) == MP_NIL)
            return 0;
    }
    if (key->parent == NULL)
        return parent_missing(key, tuple);
    int rc =
        key_of(txn, key->parent_index, key, key->parent_fields, key->child_fields, tuple, bytes);
    return rc == 0 ? parent_missing(key, tuple) : rc;
}

static int parent_check(struct txn *txn, const struct foreign_key *key, const char *tuple)
{
    struct key_bytes bytes;
    int rc = parent_key(txn, key, tuple, &bytes);
    if (rc <= 0)
        return rc;
    rc = txn_reference_check(txn, &key->parent_index->scan, bytes.data, bytes.parts_size);
    return rc == ERROR_NOT_FOUND ? parent_absent(txn, key, &bytes, tuple) : rc;
}

/* Whether both refer to the same: then the reference has been found good, and who takes its end away
 * meets the version that is there already. */
static bool refers_alike(const struct foreign_key *key, const char *old, const char *tuple)
{
    for (uint32_t i = 0; i < key->count; i++) {
        const char *was = mp_array_at(old, key->child_fields[i]),
                   *is = mp_array_at(tuple, key->child_fields[i]);
        const char *was_end = was, *is_end = is;
        if (was == NULL || is == NULL)
            return false;
        mp_next(&was_end);
        mp_next(&is_end);
        if (was_end - was != is_end - is || memcmp(was, is, (size_t)(is_end - is)) != 0)
            return false;
    }
    return true;
}

int db__foreign_parents_check(struct txn *txn, struct space *space, const char *old,
                              const char *tuple)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < space->foreign_key_count; i++)
        if (old == NULL || !refers_alike(&space->foreign_keys[i], old, tuple))
            rc = parent_check(txn, &space->foreign_keys[i], tuple);
    return rc;
}

int db__foreign_parents_see(struct txn *txn, const struct space *space, const char *tuple)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < space->foreign_key_count; i++) {
        const struct foreign_key *key = &space->foreign_keys[i];
        struct key_bytes bytes;
        rc = parent_key(txn, key, tuple, &bytes);
        if (rc == 1)
            rc = parent_see(txn, key, &bytes);
        if (rc == ERROR_END)
            rc = parent_missing(key, tuple);
    }
    return rc;
}

/* ------------------------------------------------------------------------------------- what refers */

static int referred(struct txn *txn, const struct foreign_key *key, const char *old,
                    const struct row *holder)
{
    char row[ROW_TEXT_MAX], child[ROW_TEXT_MAX] = "?";
    const struct version *version = NULL;
    db__row_text(key->parent, old, row, sizeof row);
    if (txn_get(txn, key->child->head, holder->key, holder->key_size, &version) == 0 &&
        version != NULL)
        db__row_text(key->child, version->bytes, child, sizeof child);
    return diag_set(ERROR_CONSTRAINT,
                    "foreign key \"%s\" of space \"%s\": row %s refers to row %s of space \"%s\"",
                    key->name, key->child->name, child, row, key->parent->name);
}

/* The primary key of a tuple as an array, in the transaction's arena. */
static int primary_array(struct txn *txn, const struct space *space, const char *tuple,
                         const char **out)
{
    const struct index *primary = space->indexes[0];
    struct mp_buffer key;
    mp_buffer_create(&key);
    mp_put_array(&key, primary->part_count);
    for (uint32_t i = 0; i < primary->part_count; i++) {
        const struct index_part *part = &primary->parts[i];
        const char *value = mp_array_at(tuple, part->field);
        value = field_path_walk(&part->path, 0, part->path.count, value);
        const char *end = value;
        mp_next(&end);
        mp_put_raw(&key, value, (size_t)(end - value));
    }
    *out = key.failed ? NULL : arena_copy(txn_arena(txn), key.data, key.size);
    mp_buffer_destroy(&key);
    return *out == NULL ? diag_set(ERROR_MEMORY, "no memory for a key") : 0;
}

/* What becomes of the rows that refer to `old`, of which `tuple` has taken the place, or nothing. */
struct settling {
    const struct foreign_key *key;
    enum foreign_action action;
    const char *old, *tuple;
    const struct key_bytes *bytes; /* under which they are found */
};

static void value_put(struct mp_buffer *ops, const char *value)
{
    const char *end = value;
    if (value == NULL) {
        mp_put_nil(ops);
        return;
    }
    mp_next(&end);
    mp_put_raw(ops, value, (size_t)(end - value));
}

/* Sets the fields that refer: to nil, or to what stands now in those that are referred to. */
static int child_change(struct txn *txn, const struct settling *settling, const char *primary)
{
    const struct foreign_key *key = settling->key;
    bool follow = settling->action == FOREIGN_CASCADE;
    struct mp_buffer ops;
    struct tuple_ref unused;
    mp_buffer_create(&ops);
    mp_put_array(&ops, key->count);
    for (uint32_t i = 0; i < key->count; i++) {
        mp_put_array(&ops, 3);
        mp_put_str(&ops, "=", 1);
        mp_put_uint(&ops, key->child_fields[i]);
        value_put(&ops, follow ? mp_array_at(settling->tuple, key->parent_fields[i]) : NULL);
    }
    int rc = ops.failed ? diag_set(ERROR_MEMORY, "no memory for a change")
                        : space_update(txn, key->child->indexes[0], primary, ops.data, 0, &unused);
    mp_buffer_destroy(&ops);
    return rc;
}

static int child_settle(struct txn *txn, const struct settling *settling, const char *child)
{
    const struct space *space = settling->key->child;
    const char *primary;
    int rc = primary_array(txn, space, child, &primary);
    if (rc != 0)
        return rc;
    return settling->tuple == NULL && settling->action == FOREIGN_CASCADE
               ? space_delete(txn, space->indexes[0], primary, NULL)
               : child_change(txn, settling, primary);
}

/* Deletes or changes those that the transaction sees. */
static int children_settle(struct txn *txn, const struct settling *settling)
{
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    int rc = key_open(txn, settling->key->child_index, settling->bytes, &cursor);
    while (rc == 0 && (rc = txn_cursor_next(&cursor, &row, &version)) == 0)
        rc = child_settle(txn, settling, version->bytes);
    return rc == ERROR_END ? 0 : rc;
}

static _Thread_local unsigned depth;

static int referrer_settle(struct txn *txn, const struct settling *settling)
{
    const struct foreign_key *key = settling->key;
    const struct key_bytes *bytes = settling->bytes;
    bool restricts = settling->action == FOREIGN_RESTRICT;
    if (!restricts && depth >= CASCADE_DEPTH_MAX)
        return diag_set(
            ERROR_CONSTRAINT,
            "foreign key \"%s\" of space \"%s\": rows that go with one another are more "
            "than %d deep",
            key->name, key->child->name, CASCADE_DEPTH_MAX);
    struct row *holder;
    int rc = 0;
    for (unsigned turn = 0; turn < CASCADE_TURNS_MAX; turn++) {
        if (!restricts) {
            depth++;
            rc = children_settle(txn, settling);
            depth--;
        }
        if (rc == 0 && !MUTATION(FOREIGN_CHILD_UNSEEN))
            rc = txn_unique_check(txn, &key->child_index->scan, bytes->data, bytes->parts_size,
                                  NULL, &holder);
        if (rc != ERROR_DUPLICATE)
            return rc;
        if (restricts)
            return referred(txn, key, settling->old, holder);
        txn_statement(txn); /* one that was committed meanwhile */
        rc = 0;
    }
    txn_doom(txn);
    return ERROR_CONFLICT;
}

int db__foreign_children_settle(struct txn *txn, struct space *space, const char *old,
                                const char *tuple)
{
    int rc = 0;
    for (const struct foreign_key *key = space->referrers; rc == 0 && key != NULL;
         key = key->next) {
        struct key_bytes bytes, now;
        if (key->child_index == NULL) /* then there is nothing that refers */
            continue;
        rc = key_of(txn, key->child_index, key, key->child_fields, key->parent_fields, old, &bytes);
        if (rc == 1 && tuple != NULL) {
            rc = key_of(txn, key->child_index, key, key->child_fields, key->parent_fields, tuple,
                        &now);
            if (rc == 1 && now.size == bytes.size && memcmp(now.data, bytes.data, now.size) == 0)
                rc = 0;
            else if (rc >= 0)
                rc = 1;
        }
        if (rc == 1) {
            enum foreign_action action = tuple == NULL ? key->on_delete : key->on_update;
            rc = referrer_settle(txn, &(struct settling){key, action, old, tuple, &bytes});
        }
    }
    return rc;
}
