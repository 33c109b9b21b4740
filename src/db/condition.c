/* SPDX-License-Identifier: Apache-2.0 */

/* Declarative conditions. The encoding of keys decides what equals what and what comes first; the
 * first byte of a part tells its kind. */
#include "db/condition.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "codec/key.h"
#include "codec/mp.h"

static const char *const names[] = {"==", "~=", "<", "<=", ">", ">="};

const char *condition_op_name(enum condition_op op)
{
    return names[op];
}

int condition_op_parse(const char *text, size_t size)
{
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == size && memcmp(names[i], text, size) == 0)
            return (int)i;
    if (size == 1 && *text == '=')
        return CONDITION_EQ;
    return size == 2 && (memcmp(text, "!=", 2) == 0 || memcmp(text, "<>", 2) == 0) ? CONDITION_NE
                                                                                   : -1;
}

static int term_read(struct arena *arena, const char **data, struct condition_term *term)
{
    uint64_t field;
    uint32_t size;
    if (mp_typeof(**data) != MP_ARRAY || mp_decode_array(data) != 4 ||
        !mp_read_uint(data, &field) || field > UINT32_MAX || mp_typeof(**data) != MP_STR)
        return ERROR_INVALID;
    const char *text = mp_decode_str(data, &size);
    int rc = field_path_read(arena, text, size, &term->path);
    if (rc != 0)
        return rc;
    if (term->path.each != term->path.count || mp_typeof(**data) != MP_STR)
        return ERROR_INVALID;
    text = mp_decode_str(data, &size);
    int op = condition_op_parse(text, size);
    if (op < 0)
        return ERROR_INVALID;
    unsigned char *key = arena_alloc(arena, key_part_size_max(*data)), *end = key;
    if (key == NULL)
        return ERROR_MEMORY;
    if (key_part_encode(data, KEY_ANY, true, &end) != 0)
        return ERROR_INVALID;
    term->field = (uint32_t)field;
    term->op = (enum condition_op)op;
    term->key = key;
    term->key_size = (size_t)(end - key);
    return 0;
}

int condition_read(struct arena *arena, const char *data, struct condition *out)
{
    if (mp_typeof(*data) != MP_ARRAY)
        return ERROR_INVALID;
    out->count = mp_decode_array(&data);
    if (out->count == 0)
        return ERROR_INVALID;
    out->terms = arena_alloc(arena, out->count * sizeof *out->terms);
    if (out->terms == NULL)
        return ERROR_MEMORY;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < out->count; i++)
        rc = term_read(arena, &data, &out->terms[i]);
    return rc;
}

/* As memcmp of keys. */
static int key_compare(const unsigned char *a, size_t a_size, const unsigned char *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

/* true and false are of one kind. */
static bool kind_same(unsigned char a, unsigned char b)
{
    return a == b || ((a == 2 || a == 3) && (b == 2 || b == 3));
}

static bool compared(const struct condition_term *term, const unsigned char *key, size_t size)
{
    int order = key_compare(key, size, term->key, term->key_size);
    if (term->op == CONDITION_EQ || term->op == CONDITION_NE)
        return (order == 0) == (term->op == CONDITION_EQ);
    if (!kind_same(key[0], term->key[0]))
        return false;
    switch (term->op) {
    case CONDITION_LT:
        return order < 0;
    case CONDITION_LE:
        return order <= 0;
    case CONDITION_GT:
        return order > 0;
    default:
        return order >= 0;
    }
}

static int term_holds(const struct condition_term *term, const char *tuple)
{
    static const char nil[1] = {(char)0xc0};
    unsigned char small[256];
    const char *value = mp_array_at(tuple, term->field);
    if (value != NULL)
        value = field_path_walk(&term->path, 0, term->path.count, value);
    if (value == NULL)
        value = nil;
    size_t room = key_part_size_max(value);
    unsigned char *key = room <= sizeof small ? small : malloc(room), *end = key;
    if (key == NULL)
        return ERROR_MEMORY;
    bool scalar = key_part_encode(&value, KEY_ANY, true, &end) == 0;
    bool holds = scalar ? compared(term, key, (size_t)(end - key)) : term->op == CONDITION_NE;
    if (key != small)
        free(key);
    return holds;
}

int condition_holds(const struct condition *condition, const char *tuple)
{
    int rc = 1;
    for (uint32_t i = 0; rc == 1 && i < condition->count; i++)
        rc = term_holds(&condition->terms[i], tuple);
    return rc;
}
