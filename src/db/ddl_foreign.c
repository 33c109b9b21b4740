/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changes of the catalog: foreign keys as users write them, in the form that _space has: a map from
 * names to {space: id, field: [[field of this space from 0, field of that one] ..], on_delete,
 * on_update}.
 *
 *      foreign_key = {buyer = {space = 'customers', field = {customer_id = 'id'},
 *                              on_delete = 'restrict' | 'cascade' | 'set_null',
 *                              on_update = likewise}}
 *
 * Of a field: {space = 'customers', field = 'id'}, or several by name. Without a name it is called
 * after the space; without a space it leads to its own.
 */
#include "db/format_private.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"

enum { KEY_SPACE, KEY_FIELD, KEY_ON_DELETE, KEY_ON_UPDATE, KEY_OPTIONS };

struct giving {
    struct ddl *ddl;
    const struct space *draft; /* of the space that refers */
    uint32_t field;
    const char *name; /* not terminated */
    uint32_t name_size;
    const struct space *parent; /* the draft, when it refers to itself */
    struct foreign_key key;
};

static int wrong(const struct giving *giving, const char *what)
{
    return diag_set(ERROR_INVALID, "foreign key \"%.*s\": %s", (int)giving->name_size, giving->name,
                    what);
}

/* What is asked at each write has to be in memory. */
static int resident_check(const struct giving *giving, const struct space *space)
{
    if (ddl__resident(space))
        return 0;
    return diag_set(
        ERROR_UNSUPPORTED,
        "foreign key \"%.*s\": space \"%s\" has engine '%s', of which no foreign keys go "
        "out or come in: use 'memory'",
        (int)giving->name_size, giving->name, space->name, space->engine);
}

/* Whether the space has a key of that name to the other one already: then nobody is asked again. */
static bool is_known(const struct giving *giving, uint64_t parent_id)
{
    const struct space *child = catalog_space_by_id(giving->ddl->before, giving->draft->id);
    for (uint32_t i = 0; child != NULL && i < child->foreign_key_count; i++)
        if (child->foreign_keys[i].parent_id == parent_id &&
            strlen(child->foreign_keys[i].name) == giving->name_size &&
            memcmp(child->foreign_keys[i].name, giving->name, giving->name_size) == 0)
            return true;
    return false;
}

static int parent_find(struct giving *giving, const char *value)
{
    const struct catalog *before = giving->ddl->before;
    uint32_t size;
    uint64_t id = giving->draft->id;
    if (value != NULL && mp_typeof(*value) == MP_STR) {
        const char *name = mp_decode_str(&value, &size);
        const struct space *space = catalog_space(before, name, size);
        if (space == NULL &&
            (strlen(giving->draft->name) != size || memcmp(giving->draft->name, name, size) != 0))
            return diag_set(ERROR_NOT_FOUND, "foreign key \"%.*s\": there is no space \"%.*s\"",
                            (int)giving->name_size, giving->name, (int)size, name);
        id = space == NULL ? id : space->id;
    } else if (value != NULL && !mp_read_uint(&value, &id)) {
        return wrong(giving, "space is a name or a number");
    }
    giving->key.parent_id = (uint32_t)id;
    giving->parent = giving->draft;
    if (id == giving->draft->id)
        return resident_check(giving, giving->draft);
    struct space *space = catalog_space_by_id(before, (uint32_t)id);
    int rc = space != NULL && is_known(giving, id)
                 ? 0
                 : ddl__space_find(giving->ddl, (uint32_t)id, &space);
    giving->parent = space;
    if (rc == 0 && space->temporary && !giving->draft->temporary)
        rc = diag_set(ERROR_SCHEMA,
                      "foreign key \"%.*s\": rows of temporary space \"%s\" do not last as long as "
                      "those that would refer to them",
                      (int)giving->name_size, giving->name, space->name);
    if (rc == 0)
        rc = resident_check(giving, giving->draft);
    return rc == 0 ? resident_check(giving, space) : rc;
}

/* A field by name, or by number from `base`. */
static int field_find(struct giving *giving, const struct space *space, const char **value,
                      unsigned base, uint32_t *out)
{
    uint64_t number;
    if (mp_typeof(**value) == MP_STR) {
        uint32_t size;
        const char *name = mp_decode_str(value, &size);
        int64_t field = space_field(space, name, size);
        if (field < 0)
            return diag_set(ERROR_INVALID,
                            "foreign key \"%.*s\": space \"%s\" has no field \"%.*s\"",
                            (int)giving->name_size, giving->name, space->name, (int)size, name);
        *out = (uint32_t)field;
        return 0;
    }
    if (!mp_read_uint(value, &number) || number < base || number > SPACE_FIELDS_MAX)
        return wrong(giving, "a field is a name or a number from 1");
    *out = (uint32_t)number - base;
    return 0;
}

static int pair_add(struct giving *giving, uint32_t child, uint32_t parent)
{
    struct foreign_key *key = &giving->key;
    if (key->count == FOREIGN_FIELDS_MAX)
        return wrong(giving, "it has too many fields");
    for (uint32_t i = 0; i < key->count; i++)
        if (key->child_fields[i] == child || key->parent_fields[i] == parent)
            return wrong(giving, "a field is there twice");
    key->child_fields[key->count] = child;
    key->parent_fields[key->count++] = parent;
    return 0;
}

/* As it is in _space: [[child, parent] ..]. */
static int pairs_read(struct giving *giving, const char *value)
{
    int rc = 0;
    for (uint32_t n = mp_decode_array(&value); rc == 0 && n > 0; n--) {
        uint32_t child, parent;
        if (mp_typeof(*value) != MP_ARRAY || mp_decode_array(&value) != 2)
            return wrong(giving, "field is {own field = 'field of that space'}");
        rc = field_find(giving, giving->draft, &value, 0, &child);
        if (rc == 0)
            rc = field_find(giving, giving->parent, &value, 0, &parent);
        if (rc == 0)
            rc =
                pair_add(giving, giving->field == CONSTRAINT_TUPLE ? child : giving->field, parent);
    }
    return rc;
}

static int fields_read(struct giving *giving, const char *value)
{
    uint32_t child, parent;
    int rc = 0;
    if (value == NULL)
        return wrong(giving, "it needs field, the field that it refers to");
    if (mp_typeof(*value) == MP_ARRAY && mp_array_at(value, 0) != NULL &&
        mp_typeof(*mp_array_at(value, 0)) == MP_ARRAY)
        return pairs_read(giving, value);
    if (giving->field != CONSTRAINT_TUPLE) {
        if (mp_typeof(*value) == MP_ARRAY || mp_typeof(*value) == MP_MAP)
            return wrong(giving, "field is one field of that space");
        rc = field_find(giving, giving->parent, &value, 1, &parent);
        return rc != 0 ? rc : pair_add(giving, giving->field, parent);
    }
    if (mp_typeof(*value) != MP_MAP)
        return wrong(giving, "field is {own field = 'field of that space'}");
    for (uint32_t n = mp_decode_map(&value); rc == 0 && n > 0; n--) {
        rc = field_find(giving, giving->draft, &value, 1, &child);
        if (rc == 0)
            rc = field_find(giving, giving->parent, &value, 1, &parent);
        if (rc == 0)
            rc = pair_add(giving, child, parent);
    }
    return rc == 0 && giving->key.count == 0 ? wrong(giving, "it has no fields") : rc;
}

static int action_read(struct giving *giving, const char *option, const char *value,
                       enum foreign_action *out)
{
    const struct foreign_key *key = &giving->key;
    *out = FOREIGN_RESTRICT;
    if (value == NULL || ddl__name_is(value, "restrict"))
        return 0;
    *out = ddl__name_is(value, "cascade") ? FOREIGN_CASCADE : FOREIGN_SET_NULL;
    if (*out == FOREIGN_SET_NULL && !ddl__name_is(value, "set_null"))
        return diag_set(ERROR_INVALID,
                        "foreign key \"%.*s\": %s is 'restrict', 'cascade' or 'set_null'",
                        (int)giving->name_size, giving->name, option);
    for (uint32_t i = 0; *out == FOREIGN_SET_NULL && i < key->count; i++) {
        uint32_t field = key->child_fields[i];
        if (field < giving->draft->field_count && !giving->draft->fields[field].nullable)
            return diag_set(ERROR_SCHEMA,
                            "foreign key \"%.*s\": %s = 'set_null' needs field \"%s\" to be "
                            "nullable",
                            (int)giving->name_size, giving->name, option,
                            giving->draft->fields[field].name);
    }
    return 0;
}

/* Both sides must be indexed. A space that is being made has no indexes yet, nor has one that refers
 * to itself: who writes to it first without is told. */
static int indexes_check(struct giving *giving)
{
    struct foreign_key *key = &giving->key;
    const struct space *child = catalog_space_by_id(giving->ddl->before, giving->draft->id);
    char message[DIAG_MESSAGE_MAX];
    if (giving->parent != giving->draft || (child != NULL && child->index_count > 0)) {
        const struct space *parent = giving->parent == giving->draft ? child : giving->parent;
        struct index *index = db__foreign_parent_index(parent, key);
        if (index == NULL)
            return diag_set(ERROR_SCHEMA, "foreign key \"%.*s\": %s", (int)giving->name_size,
                            giving->name,
                            db__foreign_index_wanted(parent, key, true, message, sizeof message));
        for (uint32_t i = 0; i < key->count; i++)
            for (uint32_t n = 0; n < index->part_count; n++)
                if (index->parts[n].field == key->parent_fields[i] &&
                    key->child_fields[i] < giving->draft->field_count &&
                    !ddl__part_fits(index->parts[n].type,
                                    giving->draft->fields[key->child_fields[i]].type))
                    return diag_set(
                        ERROR_SCHEMA,
                        "foreign key \"%.*s\": field \"%s\" is %s, and what it refers to "
                        "is %s",
                        (int)giving->name_size, giving->name,
                        giving->draft->fields[key->child_fields[i]].name,
                        giving->draft->fields[key->child_fields[i]].type_name,
                        key_type_name(index->parts[n].type));
    }
    if (child != NULL && child->index_count > 0 && db__foreign_child_index(child, key) == NULL)
        return diag_set(ERROR_SCHEMA, "foreign key \"%.*s\": %s", (int)giving->name_size,
                        giving->name,
                        db__foreign_index_wanted(child, key, false, message, sizeof message));
    return 0;
}

static void string_put(struct mp_buffer *out, const char *text)
{
    mp_put_str(out, text, strlen(text));
}

static void action_put(struct mp_buffer *out, const char *option, enum foreign_action action)
{
    if (action == FOREIGN_RESTRICT)
        return;
    string_put(out, option);
    string_put(out, action == FOREIGN_CASCADE ? "cascade" : "set_null");
}

static int key_put(struct giving *giving, const char *value, struct mp_buffer *out)
{
    struct ddl_option options[KEY_OPTIONS] = {{"space", MP_NIL, NULL},
                                              {"field", MP_NIL, NULL},
                                              {"on_delete", MP_STR, NULL},
                                              {"on_update", MP_STR, NULL}};
    struct foreign_key *key = &giving->key;
    int rc = ddl__name_check("foreign key", giving->name, giving->name_size);
    *key = (struct foreign_key){0};
    if (rc == 0)
        rc = ddl__options_read("a foreign key", value, options, KEY_OPTIONS);
    if (rc == 0)
        rc = parent_find(giving, options[KEY_SPACE].value);
    if (rc == 0)
        rc = fields_read(giving, options[KEY_FIELD].value);
    if (rc == 0)
        rc = action_read(giving, "on_delete", options[KEY_ON_DELETE].value, &key->on_delete);
    if (rc == 0)
        rc = action_read(giving, "on_update", options[KEY_ON_UPDATE].value, &key->on_update);
    if (rc == 0)
        rc = indexes_check(giving);
    if (rc != 0)
        return rc;
    mp_put_str(out, giving->name, giving->name_size);
    mp_put_map(out,
               2u + (key->on_delete != FOREIGN_RESTRICT) + (key->on_update != FOREIGN_RESTRICT));
    string_put(out, "space");
    mp_put_uint(out, key->parent_id);
    string_put(out, "field");
    mp_put_array(out, key->count);
    for (uint32_t i = 0; i < key->count; i++) {
        mp_put_array(out, 2);
        mp_put_uint(out, key->child_fields[i]);
        mp_put_uint(out, key->parent_fields[i]);
    }
    action_put(out, "on_delete", key->on_delete);
    action_put(out, "on_update", key->on_update);
    return 0;
}

/* One alone is a map of its options, several are a map of such maps. */
static bool is_alone(const char *map)
{
    const char *space = mp_map_find(map, "space"), *field = mp_map_find(map, "field");
    return (space != NULL && mp_typeof(*space) != MP_MAP) ||
           (field != NULL && (mp_typeof(*field) != MP_MAP || mp_map_find(field, "field") == NULL));
}

int ddl__foreign_put(struct ddl *ddl, const struct space *draft, uint32_t field, const char *given,
                     struct mp_buffer *out)
{
    struct giving giving = {.ddl = ddl, .draft = draft, .field = field};
    const char *data = given;
    if (mp_typeof(*data) == MP_ARRAY && mp_decode_array(&data) == 0) {
        mp_put_map(out, 0);
        return 0;
    }
    if (mp_typeof(*given) != MP_MAP)
        return diag_set(ERROR_INVALID, "foreign keys are a table of names and {space, field}");
    if (is_alone(given)) {
        const char *space = mp_map_find(given, "space");
        giving.name = draft->name;
        giving.name_size = (uint32_t)strlen(draft->name);
        if (space != NULL && mp_typeof(*space) == MP_STR)
            giving.name = mp_decode_str(&space, &giving.name_size);
        mp_put_map(out, 1);
        return key_put(&giving, given, out);
    }
    int rc = 0;
    uint32_t count = mp_decode_map(&given);
    mp_put_map(out, count);
    for (; rc == 0 && count > 0; count--) {
        if (mp_typeof(*given) != MP_STR)
            return diag_set(ERROR_INVALID, "foreign keys are a table of names and {space, field}");
        giving.name = mp_decode_str(&given, &giving.name_size);
        rc = key_put(&giving, given, out);
        mp_next(&given);
    }
    return rc;
}

int ddl__referrers_check(const struct space *space, const char *what)
{
    for (const struct foreign_key *key = space->referrers; key != NULL; key = key->next)
        if (key->child != space)
            return diag_set(
                ERROR_SCHEMA,
                "space \"%s\" cannot be %s: foreign key \"%s\" of space \"%s\" refers to "
                "it",
                space->name, what, key->name, key->child->name);
    return 0;
}

static int index_used(const struct index *index, const struct foreign_key *key)
{
    return diag_set(ERROR_SCHEMA,
                    "index \"%s\" of space \"%s\" cannot be dropped: foreign key \"%s\" of space "
                    "\"%s\" needs it",
                    index->name, index->space->name, key->name, key->child->name);
}

int ddl__index_unused_check(const struct index *index)
{
    const struct space *space = index->space;
    for (const struct foreign_key *key = space->referrers; key != NULL; key = key->next)
        if (key->parent_index == index && (key->child != space || index->id != 0))
            return index_used(index, key);
    for (uint32_t i = 0; i < space->foreign_key_count; i++)
        if (space->foreign_keys[i].child_index == index && index->id != 0)
            return index_used(index, &space->foreign_keys[i]);
    return 0;
}
