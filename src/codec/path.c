/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths into MessagePack values: a scanner, and the way from a value to an element of it.
 */
#include "codec/path.h"

#include <string.h>

#include "codec/mp.h"

static bool begins_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c > 127;
}

static bool in_name(char c)
{
    return begins_name(c) || (c >= '0' && c <= '9');
}

static struct path_step bad(void)
{
    return (struct path_step){.kind = PATH_BAD};
}

static struct path_step read_name(struct path *path)
{
    const char *start = path->text + path->offset, *end = path->text + path->size, *p = start;
    if (p == end || !begins_name(*p))
        return bad();
    while (p < end && in_name(*p))
        p++;
    path->offset = (size_t)(p - path->text);
    return (struct path_step){.kind = PATH_NAME, .name = start, .size = (uint32_t)(p - start)};
}

/* What stands between brackets; behind it `]`. */
static struct path_step read_brackets(struct path *path)
{
    const char *p = path->text + path->offset + 1, *end = path->text + path->size;
    struct path_step step = bad();
    if (p < end && *p == '*') {
        step.kind = PATH_EACH;
        p++;
    } else if (p < end && (*p == '"' || *p == '\'')) {
        const char *start = p + 1, *close = memchr(start, *p, (size_t)(end - start));
        if (close == NULL)
            return bad();
        step =
            (struct path_step){.kind = PATH_NAME, .name = start, .size = (uint32_t)(close - start)};
        p = close + 1;
    } else {
        uint64_t number = 0;
        const char *start = p;
        while (p < end && *p >= '0' && *p <= '9' && number <= UINT32_MAX)
            number = number * 10 + (uint64_t)(*p++ - '0');
        if (p == start || number == 0 || number > UINT32_MAX)
            return bad();
        step = (struct path_step){.kind = PATH_NUMBER, .number = (uint32_t)number};
    }
    if (p == end || *p != ']')
        return bad();
    path->offset = (size_t)(p + 1 - path->text);
    return step;
}

struct path_step path_next(struct path *path)
{
    if (path->offset == path->size)
        return (struct path_step){.kind = PATH_END};
    char c = path->text[path->offset];
    if (c == '[')
        return read_brackets(path);
    size_t before = path->offset;
    if (c == '.')
        path->offset++;
    else if (before != 0)
        return bad();
    struct path_step step = read_name(path);
    if (step.kind == PATH_BAD)
        path->offset = before;
    return step;
}

bool path_check(const char *text, size_t size, unsigned *each)
{
    struct path path = {.text = text, .size = size};
    struct path_step step;
    unsigned count = 0;
    while ((step = path_next(&path)).kind != PATH_END && step.kind != PATH_BAD)
        count += step.kind == PATH_EACH;
    if (each != NULL)
        *each = count;
    return size > 0 && step.kind == PATH_END;
}

static bool key_is(const char *key, const struct path_step *step)
{
    int64_t number;
    if (step->kind == PATH_NUMBER)
        return mp_read_int(&key, &number) && number == (int64_t)step->number;
    uint32_t size;
    if (mp_typeof(*key) != MP_STR)
        return false;
    const char *text = mp_decode_str(&key, &size);
    return size == step->size && memcmp(text, step->name, size) == 0;
}

const char *path_child(const char *value, const struct path_step *step)
{
    enum mp_type type = mp_typeof(*value);
    if (type == MP_ARRAY && step->kind == PATH_NUMBER)
        return mp_array_at(value, step->number - 1);
    if (type != MP_MAP || (step->kind != PATH_NAME && step->kind != PATH_NUMBER))
        return NULL;
    for (uint32_t n = mp_decode_map(&value); n > 0; n--) {
        bool found = key_is(value, step);
        mp_next(&value);
        if (found)
            return value;
        mp_next(&value);
    }
    return NULL;
}

const char *path_follow(struct path *path, const char *value)
{
    while (value != NULL) {
        struct path_step step = path_next(path);
        if (step.kind == PATH_END)
            return value;
        if (step.kind == PATH_BAD)
            return NULL;
        value = path_child(value, &step);
    }
    return NULL;
}
