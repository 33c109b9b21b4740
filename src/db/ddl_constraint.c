/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changes of the catalog: check constraints as users write them, in the form that _space has: a map
 * from names to a text of Lua or to terms [[field from 0, path, operator, value] ..].
 *
 *      constraint = {positive = 't.balance >= 0', known = {'status', '==', 'open'}}
 *      constraint = 't.a < t.b'                                  named "check"
 *
 * Of a field: {positive = 'v >= 0'}, {low = {'>=', 0}, high = {{'<', 100}, {'~=', 7}}}, 'v ~= ""'.
 */
#include "db/format_private.h"

#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"

struct giving {
    struct ddl *ddl;
    const struct space *draft;
    uint32_t field;
    struct mp_buffer *out;
};

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory for a change of the schema");
}

static int terms_wrong(const char *name, uint32_t size)
{
    return diag_set(
        ERROR_INVALID,
        "constraint \"%.*s\" is a text of Lua or terms {'field', '>=', value}, of a field "
        "{'>=', value}",
        (int)size, name);
}

static void raw_put(struct mp_buffer *out, const char *value)
{
    const char *end = value;
    mp_next(&end);
    mp_put_raw(out, value, (size_t)(end - value));
}

/* [operator, value] of a field as [field, path, operator, value]; *data is advanced. What is in that
 * form already is about the same field, wherever that is now. */
static int field_term_put(struct giving *giving, const char **data, const char *name, uint32_t size)
{
    const char *term = *data;
    mp_next(data);
    if (mp_typeof(*term) != MP_ARRAY)
        return terms_wrong(name, size);
    uint32_t count = mp_decode_array(&term), op_size;
    mp_put_array(giving->out, 4);
    mp_put_uint(giving->out, giving->field);
    if (count == 4) {
        mp_next(&term);
        raw_put(giving->out, term);
        mp_next(&term);
    } else {
        mp_put_str(giving->out, "", 0);
    }
    if ((count != 2 && count != 4) || mp_typeof(*term) != MP_STR)
        return terms_wrong(name, size);
    const char *op_text = term, *op_name = mp_decode_str(&term, &op_size);
    int op = condition_op_parse(op_name, op_size);
    if (op < 0)
        return diag_set(ERROR_INVALID, "constraint \"%.*s\" has an unknown operator \"%.*s\"",
                        (int)size, name, (int)op_size, op_name);
    raw_put(giving->out, op_text);
    int rc = ddl__term_value_check(&giving->ddl->arena, term);
    if (rc != 0)
        return rc == ERROR_INVALID ? diag_add("constraint \"%.*s\"", (int)size, name) : rc;
    raw_put(giving->out, term);
    return 0;
}

static int field_terms_put(struct giving *giving, const char *value, const char *name,
                           uint32_t size)
{
    const char *data = value;
    uint32_t count = mp_decode_array(&data);
    if (count == 0)
        return terms_wrong(name, size);
    if (mp_typeof(*data) != MP_ARRAY) { /* one term alone */
        mp_put_array(giving->out, 1);
        return field_term_put(giving, &value, name, size);
    }
    mp_put_array(giving->out, count);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++)
        rc = field_term_put(giving, &data, name, size);
    return rc;
}

/* Whether it is in the form of _space already. */
static bool is_put(const char *value)
{
    const char *term = mp_array_at(value, 0);
    const char *first = term == NULL ? NULL : mp_array_at(term, 0);
    return first != NULL && mp_typeof(*first) == MP_UINT && mp_array_at(term, 3) != NULL;
}

static int text_put(struct giving *giving, const char *value, const char *name, uint32_t size)
{
    char what[NAME_SIZE_MAX + 32];
    const char *text = ddl__text(giving->ddl, value);
    if (text == NULL)
        return no_memory();
    snprintf(what, sizeof what, "constraint \"%.*s\"", (int)size, name);
    mp_put_str(giving->out, text, strlen(text));
    return ddl__text_compile(giving->ddl, text, what);
}

static int constraint_put(struct giving *giving, const char *name, uint32_t size, const char *value)
{
    int rc = ddl__name_check("constraint", name, size);
    mp_put_str(giving->out, name, size);
    if (rc != 0)
        return rc;
    if (mp_typeof(*value) == MP_STR)
        return text_put(giving, value, name, size);
    if (mp_typeof(*value) != MP_ARRAY)
        return terms_wrong(name, size);
    if (giving->field != CONSTRAINT_TUPLE)
        return field_terms_put(giving, value, name, size);
    if (is_put(value)) {
        raw_put(giving->out, value);
        return 0;
    }
    rc = ddl__condition_put(&giving->ddl->arena, giving->draft, value, giving->out);
    return rc == ERROR_INVALID ? diag_add("constraint \"%.*s\"", (int)size, name) : rc;
}

/* One without a name is called after the function that it is, or its field. */
static int unnamed_put(struct giving *giving, const char *value)
{
    char name[NAME_SIZE_MAX + 8] = "check";
    uint32_t size;
    const char *data = value;
    if (giving->field != CONSTRAINT_TUPLE)
        snprintf(name, NAME_SIZE_MAX, "%s_check", giving->draft->fields[giving->field].name);
    if (mp_typeof(*data) == MP_STR) {
        const char *text = mp_decode_str(&data, &size);
        if (size < NAME_SIZE_MAX && catalog_func(giving->ddl->before, text, size) != NULL)
            snprintf(name, sizeof name, "%.*s", (int)size, text);
    }
    mp_put_map(giving->out, 1);
    return constraint_put(giving, name, (uint32_t)strlen(name), value);
}

int ddl__constraints_put(struct ddl *ddl, const struct space *draft, uint32_t field,
                         const char *given, struct mp_buffer *out)
{
    struct giving giving = {ddl, draft, field, out};
    const char *data = given;
    if (given == NULL || (mp_typeof(*data) == MP_ARRAY && mp_decode_array(&data) == 0)) {
        mp_put_map(out, 0);
        return 0;
    }
    if (mp_typeof(*given) != MP_MAP)
        return unnamed_put(&giving, given);
    int rc = 0;
    uint32_t count = mp_decode_map(&given);
    mp_put_map(out, count);
    for (; rc == 0 && count > 0; count--) {
        uint32_t size;
        if (mp_typeof(*given) != MP_STR)
            return diag_set(ERROR_INVALID, "constraints are a table of names and conditions");
        const char *name = mp_decode_str(&given, &size);
        rc = constraint_put(&giving, name, size, given);
        mp_next(&given);
    }
    return rc;
}
