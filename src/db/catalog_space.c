/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Pictures of the catalog: what the rows of _space say of formats. Each field gets what checking a
 * tuple needs: the types it takes as bits.
 */
#include "db/format_private.h"

#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"

void db__expression_set(struct expression *expression, const char *text, const char *name)
{
    uint64_t digest = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (const char *at = text; *at != '\0'; at++)
        digest = (digest ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
    *expression = (struct expression){.text = text, .digest = digest, .name = name};
}

/* Copies the string at `value`; NULL in *out when there is none. */
static int string_read(struct arena *arena, const char *value, const char **out)
{
    *out = NULL;
    if (value == NULL)
        return 0;
    if (mp_typeof(*value) != MP_STR)
        return ERROR_CORRUPT;
    uint32_t size;
    const char *text = mp_decode_str(&value, &size);
    char *copy = arena_alloc(arena, (size_t)size + 1);
    if (copy == NULL)
        return ERROR_MEMORY;
    memcpy(copy, text, size);
    copy[size] = '\0';
    *out = copy;
    return 0;
}

/* `what` and the name of the field, for messages. */
static const char *expression_name(struct arena *arena, const char *what, const char *field)
{
    size_t size = strlen(what) + strlen(field) + 4;
    char *name = arena_alloc(arena, size);
    if (name != NULL) {
        memcpy(name, what, strlen(what));
        name[strlen(what)] = ' ';
        name[strlen(what) + 1] = '"';
        strcpy(name + strlen(what) + 2, field);
        strcpy(name + size - 2, "\"");
    }
    return name;
}

static int expression_read(struct arena *arena, const char *value, const char *what,
                           const char *field, struct expression *out)
{
    const char *text;
    int rc = string_read(arena, value, &text);
    if (rc != 0 || text == NULL)
        return rc;
    const char *name = expression_name(arena, what, field);
    if (name == NULL)
        return ERROR_MEMORY;
    db__expression_set(out, text, name);
    return 0;
}

/* A text that is about a value of the tuple, as a function of the tuple: an expression of `v`, or a
 * function of the value and the tuple. */
static const char *field_text(struct arena *arena, uint32_t field, const char *text)
{
    static const char *const forms[] = {"function(t) local v = t[%u] return (%s\n) end",
                                        "function(t) return (%s\n)(t[%u], t) end"};
    size_t size = strlen(text) + 64, blanks = strspn(text, " \t\r\n");
    char *out = arena_alloc(arena, size);
    if (out == NULL)
        return NULL;
    bool function =
        strncmp(text + blanks, "function", 8) == 0 && strchr(" \t\r\n(", text[blanks + 8]) != NULL;
    if (function)
        snprintf(out, size, forms[1], text, field + 1);
    else
        snprintf(out, size, forms[0], field + 1, text);
    return out;
}

static int field_read(struct arena *arena, const char *map, uint32_t i, struct field_def *field)
{
    const char *type;
    int rc = string_read(arena, mp_map_find(map, "name"), &field->name);
    if (rc == 0)
        rc = string_read(arena, mp_map_find(map, "type"), &type);
    if (rc != 0 || field->name == NULL || type == NULL)
        return rc != 0 ? rc : ERROR_CORRUPT;
    int kind = field_type_parse(type, strlen(type));
    if (kind < 0)
        return ERROR_CORRUPT;
    field->kind = (enum field_type)kind;
    field->nullable = db__map_bool(map, "is_nullable", kind == FIELD_ANY);
    const char *value = mp_map_find(map, "default"), *end = value;
    if (value != NULL) {
        mp_next(&end);
        field->value_size = (uint32_t)(end - value);
        if ((field->value = arena_copy(arena, value, field->value_size)) == NULL)
            return ERROR_MEMORY;
    }
    rc = expression_read(arena, mp_map_find(map, "default_func"), "default of field", field->name,
                         &field->value_func);
    if (rc == 0 && field->value != NULL && field->value_func.text != NULL) {
        const char *text = field_text(arena, i, field->value_func.text);
        if (text == NULL)
            return ERROR_MEMORY;
        db__expression_set(&field->value_func, text, field->value_func.name);
    }
    return rc != 0 ? rc
                   : expression_read(arena, mp_map_find(map, "generated"), "generated field",
                                     field->name, &field->generated);
}

int db__format_settle(struct arena *arena, struct space *space)
{
    uint32_t *accepts = arena_alloc(arena, (space->field_count + 1) * sizeof *accepts);
    if (accepts == NULL)
        return ERROR_MEMORY;
    for (uint32_t i = 0; i < space->field_count; i++) {
        struct field_def *field = &space->fields[i];
        field->name_size = (uint32_t)strlen(field->name);
        field->type = field_type_key(field->kind);
        field->type_name = field_type_name(field->kind);
        accepts[i] = field_type_bits(field->kind, field->nullable);
        if (!field->nullable)
            space->required_count = i + 1;
        space->value_funcs |= field->value_func.text != NULL;
        space->generated |= field->generated.text != NULL;
        if (field->value != NULL || field->value_func.text != NULL || field->generated.text != NULL)
            space->shaped_count = i + 1;
    }
    space->accepts = accepts;
    return 0;
}

int db__format_read(struct arena *arena, const char *format, struct space *space)
{
    if (mp_typeof(*format) != MP_ARRAY)
        return ERROR_CORRUPT;
    space->field_count = mp_decode_array(&format);
    size_t size = (space->field_count + 1) * sizeof *space->fields;
    if ((space->fields = arena_alloc(arena, size)) == NULL)
        return ERROR_MEMORY;
    memset(space->fields, 0, size);
    for (uint32_t i = 0; i < space->field_count; i++, mp_next(&format)) {
        int rc = field_read(arena, format, i, &space->fields[i]);
        if (rc != 0)
            return rc;
    }
    return db__format_settle(arena, space);
}

int db__body_options_read(struct arena *arena, const char *flags, struct space *space)
{
    const struct engine_vtab *engine = engine_find(space->engine, strlen(space->engine));
    struct body_option_values values;
    if (!body_options_any(engine))
        return 0;
    struct body_options *options = arena_alloc(arena, sizeof *options);
    if (options == NULL)
        return diag_set(ERROR_MEMORY, "no memory for the catalog");
    body_options_find(flags, &values);
    space->options = options;
    if (body_options_read(engine, &values, options) == 0)
        return 0;
    return diag_set(ERROR_CORRUPT, "a row of _space is damaged: flags: %s", diag_message());
}

static int constraint_read(struct arena *arena, const char **data, uint32_t field,
                           struct constraint *out)
{
    const char *text;
    *out = (struct constraint){.field = field};
    int rc = string_read(arena, *data, &out->name);
    if (rc != 0)
        return rc;
    mp_next(data);
    const char *value = *data;
    mp_next(data);
    if (mp_typeof(*value) != MP_STR) {
        rc = condition_read(arena, value, &out->terms);
        return rc == ERROR_INVALID ? ERROR_CORRUPT : rc;
    }
    if ((rc = string_read(arena, value, &text)) != 0)
        return rc;
    if (field != CONSTRAINT_TUPLE && (text = field_text(arena, field, text)) == NULL)
        return ERROR_MEMORY;
    const char *name = expression_name(arena, "constraint", out->name);
    if (name == NULL)
        return ERROR_MEMORY;
    db__expression_set(&out->text, text, name);
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
        rc = constraint_read(arena, &map, field, &space->constraints[space->constraint_count++]);
    return rc;
}

int db__constraints_read(struct arena *arena, const char *flags, const char *format,
                         struct space *space)
{
    const char *of_space = mp_map_find(flags, "constraint"), *map = format;
    size_t count = map_size(of_space);
    uint32_t fields = mp_decode_array(&map);
    for (uint32_t i = 0; i < fields; i++, mp_next(&map))
        count += map_size(mp_map_find(map, "constraint"));
    if (count == 0)
        return 0;
    if ((space->constraints = arena_alloc(arena, count * sizeof *space->constraints)) == NULL)
        return ERROR_MEMORY;
    map = format;
    mp_decode_array(&map);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < fields; i++, mp_next(&map))
        rc = map_read(arena, mp_map_find(map, "constraint"), i, space);
    return rc != 0 ? rc : map_read(arena, of_space, CONSTRAINT_TUPLE, space);
}
