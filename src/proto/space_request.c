/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Arguments of requests on spaces. A value is copied only where it must be: MessagePack is checked
 * in place. What is converted is appended to one buffer, which may move while it grows, so places in
 * it are offsets until all has been read:
 *
 *     scratch  [ 0x91 key | tuple .. | operations .. ]
 *                ▲ struct place {in_scratch, offset, size}
 */
#include "proto/space_request.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/space.h"

/* --------------------------------------------------------------------------------- one argument */

static const char *const FORMATS[] = {
    [WIRE_NATIVE] = "native", [WIRE_JSON] = "json", [WIRE_MSGPACK] = "msgpack"};

int wire_format_parse(const char *name, size_t size)
{
    for (int n = 0; n < (int)(sizeof FORMATS / sizeof *FORMATS); n++)
        if (strlen(FORMATS[n]) == size && strncasecmp(FORMATS[n], name, size) == 0)
            return n;
    return -1;
}

const char *wire_format_name(enum wire_format format)
{
    return FORMATS[format];
}

/* The argument is one MessagePack value, and nothing behind it. */
static int msgpack_check(const struct redis_slice *arg, const char *what)
{
    const char *at = arg->data;
    if (arg->size > 0 && mp_check_limited(&at, arg->data + arg->size) &&
        at == arg->data + arg->size)
        return 0;
    return diag_set(ERROR_INVALID, "%s is not one MessagePack value, nested at most %d deep", what,
                    MP_DEPTH_MAX);
}

int wire_take_text(enum wire_format format, const struct redis_slice *arg, const char *what,
                   struct redis_slice *out)
{
    uint32_t size;
    *out = *arg;
    if (format != WIRE_MSGPACK)
        return 0;
    int rc = msgpack_check(arg, what);
    if (rc)
        return rc;
    const char *at = arg->data;
    if (mp_typeof(*at) != MP_STR && mp_typeof(*at) != MP_BIN)
        return diag_set(ERROR_INVALID, "%s is not a string", what);
    out->data = mp_decode_strbin(&at, &size);
    out->size = size;
    return 0;
}

static int no_number(const char *what)
{
    return diag_set(ERROR_INVALID, "%s is not a number of rows", what);
}

static int digits_take(const struct redis_slice *arg, const char *what, uint64_t *out)
{
    uint64_t number = 0;
    if (arg->size == 0)
        return no_number(what);
    for (size_t n = 0; n < arg->size; n++) {
        if (arg->data[n] < '0' || arg->data[n] > '9' ||
            __builtin_mul_overflow(number, (uint64_t)10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(arg->data[n] - '0'), &number))
            return no_number(what);
    }
    *out = number;
    return 0;
}

int wire_take_number(enum wire_format format, const struct redis_slice *arg, const char *what,
                     uint64_t *out)
{
    if (format != WIRE_MSGPACK)
        return digits_take(arg, what, out);
    int rc = msgpack_check(arg, what);
    if (rc)
        return rc;
    const char *at = arg->data;
    return mp_read_uint(&at, out) ? 0 : no_number(what);
}

/* The error of JSON text, with what it was about in front. */
static int wrong_json(const char *what)
{
    static const char PREFIX[] = "JSON: ";
    char reason[DIAG_MESSAGE_MAX];
    const char *said = diag_message_for(ERROR_INVALID);
    if (strncmp(said, PREFIX, strlen(PREFIX)) == 0)
        said += strlen(PREFIX);
    snprintf(reason, sizeof reason, "%s", said);
    return diag_set(ERROR_INVALID, "%s is not JSON text: %s", what, reason);
}

int wire_take_value(enum wire_format format, const struct redis_slice *arg, const char *what,
                    struct json_buffer *out)
{
    int rc = format == WIRE_MSGPACK ? msgpack_check(arg, what)
                                    : json_to_msgpack(arg->data, arg->size, out);
    if (rc == ERROR_INVALID && format != WIRE_MSGPACK)
        return wrong_json(what);
    if (!rc && format == WIRE_MSGPACK)
        rc = json_append(out, arg->data, arg->size);
    return rc == ERROR_MEMORY ? diag_set(ERROR_MEMORY, "out of memory") : rc;
}

/* ---------------------------------------------------------------------------------- one request */

struct place {
    bool in_scratch;
    const char *data; /* when it is not */
    size_t offset, size;
};

struct reader {
    struct space_request *out;
    enum wire_format format;
    struct json_buffer *scratch;
    struct place subject, operations, after;
};

static enum mp_type type_at(const struct reader *reader, const struct place *place)
{
    return mp_typeof(place->in_scratch ? reader->scratch->data[place->offset] : *place->data);
}

/* One value of any type. */
static int value_take(struct reader *reader, const struct redis_slice *arg, const char *what,
                      struct place *out)
{
    *out = (struct place){.data = arg->data, .size = arg->size};
    if (reader->format == WIRE_MSGPACK)
        return msgpack_check(arg, what);
    out->in_scratch = true;
    out->offset = reader->scratch->size;
    int rc = wire_take_value(reader->format, arg, what, reader->scratch);
    out->size = reader->scratch->size - out->offset;
    return rc;
}

static int array_take(struct reader *reader, const struct redis_slice *arg, const char *what,
                      struct place *out)
{
    int rc = value_take(reader, arg, what, out);
    if (!rc && type_at(reader, out) != MP_ARRAY)
        return diag_set(ERROR_INVALID, "%s is not an array", what);
    return rc;
}

/* A place in the scratch for `place`, with room for one byte in front of it. */
static int wrap(struct reader *reader, struct place *place)
{
    static const char ONE[] = "\x91";
    struct json_buffer *scratch = reader->scratch;
    size_t start = place->in_scratch ? place->offset : scratch->size;
    if (json_append(scratch, ONE, 1) ||
        (!place->in_scratch && json_append(scratch, place->data, place->size)))
        return diag_set(ERROR_MEMORY, "out of memory");
    if (place->in_scratch) { /* it is the last one */
        memmove(scratch->data + start + 1, scratch->data + start, place->size);
        scratch->data[start] = ONE[0];
    }
    *place = (struct place){.in_scratch = true, .offset = start, .size = place->size + 1};
    return 0;
}

/* An array; nil is an empty one; anything else the only part. */
static int key_take(struct reader *reader, const struct redis_slice *arg)
{
    static const char EMPTY[] = "\x90";
    struct place *key = &reader->subject;
    int rc = value_take(reader, arg, "the key", key);
    if (rc || type_at(reader, key) == MP_ARRAY)
        return rc;
    if (type_at(reader, key) == MP_NIL)
        *key = (struct place){.data = EMPTY, .size = 1};
    else if (type_at(reader, key) == MP_MAP)
        rc = diag_set(ERROR_INVALID, "the key is a map; it is an array of parts, or the only part");
    else
        rc = wrap(reader, key);
    return rc;
}

/* -------------------------------------------------------------------------------------- options */

enum option { OPTION_INDEX, OPTION_ITERATOR, OPTION_LIMIT, OPTION_OFFSET, OPTION_AFTER, OPTIONS };

static const char *const OPTION_NAMES[OPTIONS] = {"index", "iterator", "limit", "offset", "after"};

static bool takes(enum space_operation operation, enum option option)
{
    switch (operation) {
    case SPACE_SELECT:
        return true;
    case SPACE_COUNT:
        return option <= OPTION_ITERATOR;
    default:
        return option == OPTION_INDEX;
    }
}

static int unknown_option(const struct redis_slice *name)
{
    return diag_set(ERROR_INVALID, "there is no option '%.*s' here",
                    (int)(name->size < 64 ? name->size : 64), name->data);
}

static int option_find(const struct reader *reader, const struct redis_slice *name,
                       enum option *out)
{
    for (int n = 0; n < OPTIONS; n++) {
        if (strlen(OPTION_NAMES[n]) != name->size ||
            strncasecmp(OPTION_NAMES[n], name->data, name->size) != 0)
            continue;
        *out = (enum option)n;
        return takes(reader->out->operation, *out) ? 0 : unknown_option(name);
    }
    return unknown_option(name);
}

static int iterator_take(struct reader *reader, const struct redis_slice *arg)
{
    struct redis_slice name;
    int rc = wire_take_text(reader->format, arg, "the iterator", &name);
    if (rc)
        return rc;
    reader->out->iterator = space_iterator_parse(name.data, name.size);
    if (reader->out->iterator >= 0)
        return 0;
    return diag_set(ERROR_INVALID, "there is no iterator '%.*s': eq, req, all, lt, le, ge or gt",
                    (int)(name.size < 64 ? name.size : 64), name.data);
}

static int option_take(struct reader *reader, enum option option, const struct redis_slice *arg)
{
    struct space_request *out = reader->out;
    switch (option) {
    case OPTION_INDEX:
        return wire_take_text(reader->format, arg, "the index's name", &out->index);
    case OPTION_ITERATOR:
        return iterator_take(reader, arg);
    case OPTION_LIMIT:
        return wire_take_number(reader->format, arg, "the limit", &out->limit);
    case OPTION_OFFSET:
        return wire_take_number(reader->format, arg, "the offset", &out->offset);
    default:
        return array_take(reader, arg, "what to go on after", &reader->after);
    }
}

/* {index = .., limit = ..}: as if each were an argument in MessagePack. */
static int map_take(struct reader *reader, const struct redis_slice *map)
{
    const char *at = map->data;
    uint32_t size;
    enum option option;
    int rc = 0;
    reader->format = WIRE_MSGPACK;
    for (uint32_t left = mp_decode_map(&at); left > 0 && !rc; left--) {
        if (mp_typeof(*at) != MP_STR)
            return diag_set(ERROR_INVALID, "the name of an option is not a string");
        struct redis_slice name, value;
        name.data = mp_decode_str(&at, &size);
        name.size = size;
        value.data = at;
        mp_next(&at);
        value.size = (size_t)(at - value.data);
        rc = option_find(reader, &name, &option);
        if (!rc)
            rc = option_take(reader, option, &value);
    }
    return rc;
}

/* The map of options in JSON is converted in a buffer of its own, which lives as long as the request:
 * behind all else in the scratch, which does not move any more when nothing is appended. */
static int options_map(struct reader *reader, const struct redis_slice *arg)
{
    struct place place;
    int rc = value_take(reader, arg, "the map of options", &place);
    if (rc)
        return rc;
    if (type_at(reader, &place) != MP_MAP)
        return diag_set(ERROR_INVALID, "the options are neither words nor a map");
    struct redis_slice map = {place.in_scratch ? reader->scratch->data + place.offset : place.data,
                              place.size};
    return map_take(reader, &map);
}

static bool is_map(const struct reader *reader, const struct redis_slice *arg)
{
    size_t n = 0;
    if (reader->format == WIRE_MSGPACK)
        return arg->size > 0 && mp_typeof(*arg->data) == MP_MAP;
    while (n < arg->size && strchr(" \t\r\n", arg->data[n]) && arg->data[n])
        n++;
    return n < arg->size && arg->data[n] == '{';
}

static int options_take(struct reader *reader, const struct redis_slice *argv, unsigned argc)
{
    struct redis_slice name;
    enum option option;
    if (argc == 1 && is_map(reader, &argv[0]))
        return options_map(reader, &argv[0]);
    for (unsigned n = 0; n < argc; n += 2) {
        int rc = wire_take_text(reader->format, &argv[n], "the name of an option", &name);
        if (!rc)
            rc = option_find(reader, &name, &option);
        if (!rc && n + 1 == argc)
            rc = diag_set(ERROR_INVALID, "the option '%s' has no value", OPTION_NAMES[option]);
        if (!rc)
            rc = option_take(reader, option, &argv[n + 1]);
        if (rc)
            return rc;
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------- whole */

/* The argument behind the name of the space. */
static int subject_take(struct reader *reader, const struct redis_slice *arg)
{
    enum space_operation operation = reader->out->operation;
    if (operation <= SPACE_UPSERT)
        return array_take(reader, arg, "the tuple", &reader->subject);
    if (operation == SPACE_MGET)
        return array_take(reader, arg, "the list of keys", &reader->subject);
    return key_take(reader, arg);
}

static int arguments_take(struct reader *reader, const struct redis_slice *argv, unsigned argc)
{
    enum space_operation operation = reader->out->operation;
    bool has_tuple = operation <= SPACE_UPSERT;
    bool changes = operation == SPACE_UPSERT || operation == SPACE_UPDATE;
    unsigned wanted = operation == SPACE_COUNT ? 1 : changes ? 3 : 2;
    if (argc < wanted || (has_tuple && argc > wanted))
        return diag_set(ERROR_INVALID, "wrong number of arguments");
    int rc = wire_take_text(reader->format, &argv[0], "the space's name", &reader->out->space);
    if (!rc && argc > 1)
        rc = subject_take(reader, &argv[1]);
    if (!rc && changes)
        rc = array_take(reader, &argv[2], "the list of operations", &reader->operations);
    unsigned taken = changes ? 3 : 2;
    return rc || argc <= taken ? rc : options_take(reader, argv + taken, argc - taken);
}

static struct redis_slice resolve(const struct reader *reader, const struct place *place)
{
    if (place->size == 0)
        return (struct redis_slice){NULL, 0};
    return (struct redis_slice){
        place->in_scratch ? reader->scratch->data + place->offset : place->data, place->size};
}

int space_request_read(struct space_request *out, enum space_operation operation,
                       enum wire_format format, const struct redis_slice *argv, unsigned argc,
                       struct json_buffer *scratch)
{
    struct reader reader = {.out = out, .format = format, .scratch = scratch};
    scratch->size = 0;
    *out = (struct space_request){.operation = operation, .iterator = -1, .limit = UINT64_MAX};
    int rc = arguments_take(&reader, argv, argc);
    if (rc)
        return rc;
    out->subject = resolve(&reader, &reader.subject);
    out->operations = resolve(&reader, &reader.operations);
    out->after = resolve(&reader, &reader.after);
    return 0;
}
