/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changes of the catalog: formats as users write them, in the one form that _space has (format.h).
 * Lua texts are compiled once to see whether they do. A text that is the name of a function stands
 * for what that function is now.
 */
#include "db/format_private.h"

#include <ctype.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"

enum {
    FORMAT_NAME,
    FORMAT_TYPE,
    FORMAT_NULLABLE,
    FORMAT_NULLABLE_ACTION,
    FORMAT_DEFAULT,
    FORMAT_DEFAULT_FUNC,
    FORMAT_GENERATED,
    FORMAT_CONSTRAINT,
    FORMAT_FOREIGN_KEY,
    FORMAT_OPTIONS
};

struct field_given {
    const char *name, *type; /* not terminated */
    uint32_t name_size, type_size;
    enum field_type kind;
    bool nullable_given, nullable;
    const char *value, *value_func, *generated; /* MessagePack, or NULL */
    const char *constraint, *foreign_key;
};

static int nullable_read(const struct ddl_option *options, struct field_given *field)
{
    const char *action = options[FORMAT_NULLABLE_ACTION].value;
    field->nullable_given = options[FORMAT_NULLABLE].value != NULL;
    field->nullable = ddl__option_bool(&options[FORMAT_NULLABLE], false);
    if (action == NULL)
        return 0;
    if (!ddl__name_is(action, "none") && !ddl__name_is(action, "default"))
        return diag_set(ERROR_UNSUPPORTED,
                        "the nullable_action of a field is 'none', which is is_nullable = true, or "
                        "'default', which is false");
    bool nullable = ddl__name_is(action, "none");
    if (field->nullable_given && field->nullable != nullable)
        return diag_set(ERROR_INVALID, "nullable_action contradicts is_nullable");
    field->nullable_given = true;
    field->nullable = nullable;
    return 0;
}

static int field_map_read(const char *data, struct field_given *field)
{
    struct ddl_option options[FORMAT_OPTIONS] = {
        {"name", MP_STR, NULL},         {"type", MP_STR, NULL},
        {"is_nullable", MP_BOOL, NULL}, {"nullable_action", MP_STR, NULL},
        {"default", MP_NIL, NULL},      {"default_func", MP_STR, NULL},
        {"generated", MP_STR, NULL},    {"constraint", MP_NIL, NULL},
        {"foreign_key", MP_MAP, NULL}};
    int rc = ddl__options_read("a field of a format", data, options, FORMAT_OPTIONS);
    if (rc != 0)
        return rc;
    if (options[FORMAT_NAME].value != NULL)
        field->name = mp_decode_str(&options[FORMAT_NAME].value, &field->name_size);
    if (options[FORMAT_TYPE].value != NULL)
        field->type = mp_decode_str(&options[FORMAT_TYPE].value, &field->type_size);
    field->value = options[FORMAT_DEFAULT].value;
    field->value_func = options[FORMAT_DEFAULT_FUNC].value;
    field->generated = options[FORMAT_GENERATED].value;
    field->constraint = options[FORMAT_CONSTRAINT].value;
    field->foreign_key = options[FORMAT_FOREIGN_KEY].value;
    return nullable_read(options, field);
}

static int field_check(struct field_given *field)
{
    if (field->name == NULL)
        return diag_set(
            ERROR_INVALID,
            "a field of a format is {name = .., type = .., is_nullable = ..} or {'name', 'type'}");
    int rc = ddl__name_check("field", field->name, field->name_size);
    if (rc != 0)
        return rc;
    int kind = field_type_parse(field->type, field->type_size);
    if (kind < 0)
        return diag_set(ERROR_INVALID, "field \"%.*s\" has unknown type \"%.*s\": known are %s",
                        (int)field->name_size, field->name, (int)field->type_size, field->type,
                        field_type_names);
    field->kind = (enum field_type)kind;
    if (field->generated != NULL && (field->value != NULL || field->value_func != NULL))
        return diag_set(ERROR_INVALID, "field \"%.*s\" is generated: it can't have a default",
                        (int)field->name_size, field->name);
    if (field->value != NULL &&
        !field_accepts(field_type_bits(field->kind, true), field->kind, field->value))
        return diag_set(ERROR_SCHEMA, "the default of field \"%.*s\" must be %s, not %s",
                        (int)field->name_size, field->name, field_type_name(field->kind),
                        value_type_name(field->value));
    return 0;
}

/* {name = .., type = .., is_nullable = ..}, {'name', 'type'}, 'name'. */
static int field_read(const char *data, struct field_given *field)
{
    *field = (struct field_given){.type = "any", .type_size = 3};
    int rc = 0;
    if (mp_typeof(*data) == MP_STR) {
        field->name = mp_decode_str(&data, &field->name_size);
    } else if (mp_typeof(*data) == MP_ARRAY) {
        uint32_t count = mp_decode_array(&data);
        if (count >= 1 && mp_typeof(*data) == MP_STR)
            field->name = mp_decode_str(&data, &field->name_size);
        if (count >= 2 && field->name != NULL && mp_typeof(*data) == MP_STR)
            field->type = mp_decode_str(&data, &field->type_size);
    } else {
        rc = field_map_read(data, field);
    }
    return rc != 0 ? rc : field_check(field);
}

/* The name of the n-th field of a canonical or given format is new among those before it. */
static int field_is_new(const char *format, uint32_t count, const struct field_given *field)
{
    for (uint32_t i = 0; i < count; i++, mp_next(&format)) {
        struct field_given other;
        int rc = field_read(format, &other);
        if (rc != 0)
            return rc;
        if (other.name_size == field->name_size &&
            memcmp(other.name, field->name, field->name_size) == 0)
            return diag_set(ERROR_INVALID, "the format has two fields \"%.*s\"",
                            (int)field->name_size, field->name);
    }
    return 0;
}

static void string_put(struct mp_buffer *out, const char *text)
{
    mp_put_str(out, text, strlen(text));
}

static void raw_put(struct mp_buffer *out, const char *name, const char *value)
{
    const char *end = value;
    mp_next(&end);
    string_put(out, name);
    mp_put_raw(out, value, (size_t)(end - value));
}

static bool is_name(const char *text, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '_' && text[i] != '.')
            return false;
    return size > 0;
}

int ddl__text_compile(struct ddl *ddl, const char *text, const char *what)
{
    const struct db_expressions *expressions = ddl->db->expressions;
    struct expression expression;
    if (expressions == NULL)
        return diag_set(ERROR_UNSUPPORTED, "%s: Lua expressions cannot be evaluated here", what);
    db__expression_set(&expression, text, what);
    return expressions->check(expressions->arg, &expression);
}

const char *ddl__text(struct ddl *ddl, const char *value)
{
    uint32_t size;
    const char *text = mp_decode_str(&value, &size);
    const struct func *func = is_name(text, size) ? catalog_func(ddl->before, text, size) : NULL;
    if (func != NULL)
        return func->body;
    char *copy = arena_alloc(&ddl->arena, (size_t)size + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, text, size);
    copy[size] = '\0';
    return copy;
}

/* A text of Lua under the name of an option, when it is given. */
static int text_put(struct ddl *ddl, struct mp_buffer *out, const char *option, const char *value,
                    const struct field_given *field)
{
    char what[NAME_SIZE_MAX + 32];
    if (value == NULL)
        return 0;
    const char *text = ddl__text(ddl, value);
    if (text == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a change of the schema");
    int size = (int)(field->name_size < NAME_SIZE_MAX ? field->name_size : NAME_SIZE_MAX);
    snprintf(what, sizeof what, "%s of field \"%.*s\"", option, size, field->name);
    string_put(out, option);
    string_put(out, text);
    return ddl__text_compile(ddl, text, what);
}

static int field_put(struct ddl *ddl, const struct space *draft, uint32_t i,
                     const struct field_given *field, struct mp_buffer *out)
{
    bool any = field->kind == FIELD_ANY;
    bool nullable = field->nullable_given ? field->nullable : any;
    uint32_t count = 2 + (nullable != any);
    if (draft != NULL)
        count += (field->value != NULL) + (field->value_func != NULL) + (field->generated != NULL) +
                 (field->constraint != NULL) + (field->foreign_key != NULL);
    mp_put_map(out, count);
    string_put(out, "name");
    mp_put_str(out, field->name, field->name_size);
    string_put(out, "type");
    string_put(out, field_type_name(field->kind));
    if (nullable != any) {
        string_put(out, "is_nullable");
        mp_put_bool(out, nullable);
    }
    if (draft == NULL)
        return 0;
    if (field->value != NULL)
        raw_put(out, "default", field->value);
    int rc = text_put(ddl, out, "default_func", field->value_func, field);
    if (rc == 0)
        rc = text_put(ddl, out, "generated", field->generated, field);
    if (rc == 0 && field->constraint != NULL) {
        string_put(out, "constraint");
        rc = ddl__constraints_put(ddl, draft, i, field->constraint, out);
    }
    if (rc == 0 && field->foreign_key != NULL) {
        string_put(out, "foreign_key");
        rc = ddl__foreign_put(ddl, draft, i, field->foreign_key, out);
    }
    return rc;
}

int ddl__format_put(struct ddl *ddl, const struct space *draft, struct mp_buffer *tuple,
                    const char *format)
{
    if (format == NULL) {
        mp_put_array(tuple, 0);
        return 0;
    }
    uint32_t count = mp_decode_array(&format);
    if (count > SPACE_FIELDS_MAX)
        return diag_set(ERROR_TOO_LARGE, "a format has at most %d fields, not %u", SPACE_FIELDS_MAX,
                        count);
    mp_put_array(tuple, count);
    const char *first = format;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++, mp_next(&format)) {
        struct field_given field;
        rc = field_read(format, &field);
        if (rc == 0)
            rc = field_is_new(first, i, &field);
        if (rc == 0)
            rc = field_put(ddl, draft, i, &field, tuple);
    }
    return rc;
}
