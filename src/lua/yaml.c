/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML for lua/yaml.lua: libyaml's events to MessagePack and back. Lua values are made of the
 * MessagePack by convert.c, so numbers keep their width, and values their kinds, as in tuples.
 *
 * Reading. An array's or map's header is written with five bytes before its elements are counted, and
 * filled in when it ends. An alias copies the bytes of its anchor; what all aliases of a text copy is
 * bounded, so that ten lines can not become gigabytes. Plain scalars mean what YAML 1.2's core schema
 * says: null ~ true false, decimal, 0x and 0o integers, floats, .inf .nan; else they are strings.
 *
 * Writing. What a plain scalar would be read as something else is quoted; texts of several lines are
 * literal blocks, and bytes that are not UTF-8 are !!binary. Empty tables are arrays, as in JSON.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <yaml.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "lua/internal.h"

enum {
    DEPTH_MAX = MP_DEPTH_MAX - 2,
    ANCHORS_MAX = 1000,
    COPIED_MAX = 16 << 20, /* by aliases */
    TEXT_MAX = 64 << 20,
    HEADER = 5
};

/* ------------------------------------------------------------------------------------- scalars */

static bool is_one_of(const char *text, size_t size, const char *words)
{
    const char *end;
    for (; *words != 0; words = *end == 0 ? end : end + 1) {
        end = strchrnul(words, ' ');
        if ((size_t)(end - words) == size && memcmp(words, text, size) == 0)
            return true;
    }
    return false;
}

static bool only(const char *text, size_t size, const char *set)
{
    for (size_t i = 0; i < size; i++)
        if (text[i] == 0 || strchr(set, text[i]) == NULL)
            return false;
    return size > 0;
}

/* An integer of 64 bits; a longer one is a float. */
static bool put_integer(struct mp_buffer *out, const char *text, size_t size)
{
    char copy[72];
    bool sign = text[0] == '-' || text[0] == '+';
    int base = 10;
    const char *digits = text + sign;
    size_t count = size - sign;
    if (count > 2 && digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'o') && !sign) {
        base = digits[1] == 'x' ? 16 : 8;
        digits += 2;
        count -= 2;
    }
    if (count >= sizeof copy || !only(digits, count,
                                      base == 16  ? "0123456789abcdefABCDEF"
                                      : base == 8 ? "01234567"
                                                  : "0123456789"))
        return false;
    memcpy(copy, digits, count);
    copy[count] = 0;
    errno = 0;
    unsigned long long value = strtoull(copy, NULL, base);
    if (errno != 0 || (text[0] == '-' && value > (uint64_t)INT64_MAX + 1))
        return false;
    if (text[0] == '-')
        mp_put_int(out, (int64_t)(0 - value));
    else
        mp_put_uint(out, value);
    return true;
}

static bool put_float(struct mp_buffer *out, const char *text, size_t size)
{
    char copy[400], *end;
    if (is_one_of(text, size, ".nan .NaN .NAN")) {
        mp_put_double(out, (double)NAN);
        return true;
    }
    bool sign = size > 0 && (text[0] == '-' || text[0] == '+');
    if (is_one_of(text + sign, size - sign, ".inf .Inf .INF")) {
        mp_put_double(out, text[0] == '-' ? -HUGE_VAL : HUGE_VAL);
        return true;
    }
    if (size >= sizeof copy || !only(text, size, "0123456789.eE+-") || (size_t)sign == size)
        return false;
    memcpy(copy, text, size);
    copy[size] = 0;
    if (strpbrk(copy, "0123456789") == NULL)
        return false;
    double value = strtod(copy, &end);
    if (end != copy + size)
        return false;
    mp_put_double(out, value);
    return true;
}

/* Puts what a plain scalar that is no string means; false: it is a string. */
static bool put_plain(struct mp_buffer *out, const char *text, size_t size)
{
    if (size == 0 || is_one_of(text, size, "~ null Null NULL"))
        mp_put_nil(out);
    else if (is_one_of(text, size, "true True TRUE"))
        mp_put_bool(out, true);
    else if (is_one_of(text, size, "false False FALSE"))
        mp_put_bool(out, false);
    else
        return put_integer(out, text, size) || put_float(out, text, size);
    return true;
}

/* ------------------------------------------------------------------------------------- reading */

struct anchor {
    char *name;
    size_t at, size; /* in the buffer; size 0: it has not ended */
};

struct reader {
    yaml_parser_t parser;
    struct lua_runtime *runtime;
    struct mp_buffer out;
    struct anchor anchors[ANCHORS_MAX];
    unsigned anchor_count;
    size_t copied, events;
    int code;
};

static int read_error(struct reader *reader, const yaml_mark_t *mark, const char *what)
{
    if (reader->code == 0)
        reader->code = diag_set(ERROR_INVALID, "YAML: %s at line %zu, column %zu", what,
                                mark->line + 1, mark->column + 1);
    return reader->code;
}

static int next_event(struct reader *reader, yaml_event_t *event)
{
    if (yaml_parser_parse(&reader->parser, event) == 0)
        return read_error(reader,
                          reader->parser.error == YAML_READER_ERROR ? &reader->parser.mark
                                                                    : &reader->parser.problem_mark,
                          reader->parser.problem == NULL ? "out of memory"
                                                         : reader->parser.problem);
    if ((++reader->events & 1023) == 0 && lua__interrupted(reader->runtime))
        reader->code = ERROR_TIMEOUT;
    if (reader->out.failed)
        reader->code = diag_set(ERROR_MEMORY, "the text takes too much memory");
    if (reader->code != 0)
        yaml_event_delete(event);
    return reader->code;
}

static struct anchor *anchor_begin(struct reader *reader, const yaml_char_t *name,
                                   const yaml_mark_t *mark)
{
    if (name == NULL)
        return NULL;
    if (reader->anchor_count == ANCHORS_MAX) {
        read_error(reader, mark, "too many anchors");
        return NULL;
    }
    struct anchor *anchor = &reader->anchors[reader->anchor_count];
    *anchor = (struct anchor){strdup((const char *)name), reader->out.size, 0};
    if (anchor->name == NULL) {
        reader->code = diag_set(ERROR_MEMORY, "out of memory");
        return NULL;
    }
    reader->anchor_count++;
    return anchor;
}

static void put_alias(struct reader *reader, const yaml_event_t *event)
{
    const char *name = (const char *)event->data.alias.anchor;
    for (unsigned n = reader->anchor_count; n-- > 0;) {
        const struct anchor *anchor = &reader->anchors[n];
        if (strcmp(anchor->name, name) != 0)
            continue;
        reader->copied += anchor->size;
        if (anchor->size == 0)
            read_error(reader, &event->start_mark, "a value that contains itself");
        else if (reader->copied > COPIED_MAX)
            read_error(reader, &event->start_mark, "aliases make this too large");
        else if (mp_buffer_reserve(&reader->out, anchor->size) != NULL) {
            memcpy(reader->out.data + reader->out.size, reader->out.data + anchor->at,
                   anchor->size);
            reader->out.size += anchor->size;
        }
        return;
    }
    read_error(reader, &event->start_mark, "an alias without its anchor");
}

static void put_binary(struct reader *reader, const char *text, size_t size)
{
    char *bytes = malloc(size + 3);
    if (bytes == NULL) {
        reader->code = diag_set(ERROR_MEMORY, "out of memory");
        return;
    }
    mp_put_str(&reader->out, bytes, lua__base64_decode(reader->runtime, bytes, text, size));
    free(bytes);
}

static void put_scalar(struct reader *reader, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    const char *tag = (const char *)event->data.scalar.tag;
    size_t size = event->data.scalar.length;
    bool string = tag != NULL && strcmp(tag, YAML_STR_TAG) == 0;
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (tag != NULL && strcmp(tag, "tag:yaml.org,2002:binary") == 0)
        put_binary(reader, text, size);
    else if (string || (!plain && tag == NULL) || !put_plain(&reader->out, text, size))
        mp_put_str(&reader->out, text, size);
}

static void read_value(struct reader *reader, yaml_event_t *event, unsigned depth);

/* Of an array or a map whose beginning has been read. Deletes nothing. */
static void read_elements(struct reader *reader, yaml_event_type_t end, unsigned depth)
{
    size_t header = reader->out.size;
    uint32_t count = 0;
    yaml_event_t event;
    bool map = end == YAML_MAPPING_END_EVENT;
    mp_put_raw(&reader->out, map ? "\xdf\0\0\0" : "\xdd\0\0\0", HEADER);
    while (next_event(reader, &event) == 0) {
        bool ended = event.type == end;
        if (!ended)
            read_value(reader, &event, depth);
        yaml_event_delete(&event);
        if (ended || reader->code != 0)
            break;
        count++;
    }
    if (map)
        count /= 2;
    if (reader->code == 0 && !reader->out.failed)
        for (unsigned n = 0; n < 4; n++)
            reader->out.data[header + 1 + n] = (char)(count >> (24 - 8 * n) & 255);
}

static void read_value(struct reader *reader, yaml_event_t *event, unsigned depth)
{
    struct anchor *anchor = NULL;
    if (event->type == YAML_ALIAS_EVENT) {
        put_alias(reader, event);
        return;
    }
    if (depth == DEPTH_MAX) {
        read_error(reader, &event->start_mark, "nested too deep");
        return;
    }
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = anchor_begin(reader, event->data.scalar.anchor, &event->start_mark);
        put_scalar(reader, event);
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = anchor_begin(reader, event->data.sequence_start.anchor, &event->start_mark);
        read_elements(reader, YAML_SEQUENCE_END_EVENT, depth + 1);
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = anchor_begin(reader, event->data.mapping_start.anchor, &event->start_mark);
        read_elements(reader, YAML_MAPPING_END_EVENT, depth + 1);
    }
    if (anchor != NULL)
        anchor->size = reader->out.size - anchor->at;
}

/* Every document of the text; the number of them. */
static uint32_t read_all(struct reader *reader)
{
    yaml_event_t event;
    uint32_t documents = 0;
    bool ended = false;
    while (!ended && next_event(reader, &event) == 0) {
        ended = event.type == YAML_STREAM_END_EVENT;
        if (event.type == YAML_DOCUMENT_START_EVENT) {
            documents++;
            while (reader->anchor_count > 0)
                free(reader->anchors[--reader->anchor_count].name);
        } else if (event.type != YAML_STREAM_START_EVENT && event.type != YAML_DOCUMENT_END_EVENT &&
                   !ended) {
            read_value(reader, &event, 0);
        }
        yaml_event_delete(&event);
        ended = ended || reader->code != 0;
    }
    return documents;
}

/* yaml_to_msgpack: the values of all documents, one behind the other; also for the fuzz target. */
int lua__yaml_read(struct lua_runtime *runtime, const char *text, size_t size,
                   struct mp_buffer *out, uint32_t *documents)
{
    struct reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL || yaml_parser_initialize(&reader->parser) == 0) {
        free(reader);
        return diag_set(ERROR_MEMORY, "out of memory");
    }
    reader->runtime = runtime;
    reader->out = *out;
    yaml_parser_set_input_string(&reader->parser, (const unsigned char *)text, size);
    yaml_parser_set_encoding(&reader->parser, YAML_UTF8_ENCODING);
    *documents = read_all(reader);
    int code = reader->code;
    if (code == 0 && reader->out.failed)
        code = diag_set(ERROR_MEMORY, "the text takes too much memory");
    *out = reader->out;
    while (reader->anchor_count > 0)
        free(reader->anchors[--reader->anchor_count].name);
    yaml_parser_delete(&reader->parser);
    free(reader);
    return code;
}

/* yaml_decode(text): the value of each document. */
static int native_yaml_decode(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct mp_buffer *out = &runtime->scratch;
    uint32_t documents;
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    if (size > TEXT_MAX)
        return lua__raise(L, runtime, diag_set(ERROR_INVALID, "YAML: more than 64 MB of text"));
    mp_buffer_reset(out, 65536);
    int code = lua__yaml_read(runtime, text, size, out, &documents);
    if (code != 0)
        return lua__raise(L, runtime, code);
    luaL_checkstack(L, (int)documents + 8, "too many documents");
    const char *data = out->data;
    for (uint32_t n = 0; n < documents; n++)
        lua__push(L, runtime, &data);
    return (int)documents;
}

/* ------------------------------------------------------------------------------------- writing */

struct writer {
    yaml_emitter_t emitter;
    struct mp_buffer text;
    struct lua_runtime *runtime;
    int code;
};

static int on_text(void *arg, unsigned char *data, size_t size)
{
    struct writer *writer = arg;
    mp_put_raw(&writer->text, data, size);
    return !writer->text.failed;
}

static bool emit(struct writer *writer, yaml_event_t *event, int made)
{
    if (writer->code != 0) {
        if (made)
            yaml_event_delete(event);
        return false;
    }
    if (!made || !yaml_emitter_emit(&writer->emitter, event))
        writer->code = writer->text.failed || writer->emitter.problem == NULL
                           ? diag_set(ERROR_MEMORY, "the text takes too much memory")
                           : diag_set(ERROR_INVALID, "YAML: %s", writer->emitter.problem);
    else if (lua__interrupted(writer->runtime))
        writer->code = ERROR_TIMEOUT;
    return writer->code == 0;
}

static void write_scalar(struct writer *writer, const char *tag, const char *text, size_t size,
                         yaml_scalar_style_t style)
{
    yaml_event_t event;
    emit(writer, &event,
         yaml_scalar_event_initialize(&event, NULL, (const yaml_char_t *)tag,
                                      (const yaml_char_t *)text, (int)size, tag == NULL,
                                      tag == NULL, style));
}

static bool is_utf8(const char *text, size_t size)
{
    utf8proc_int32_t point;
    for (size_t at = 0; at < size;) {
        utf8proc_ssize_t taken = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                                  (utf8proc_ssize_t)(size - at), &point);
        if (taken <= 0 || point == 0)
            return false;
        at += (size_t)taken;
    }
    return true;
}

static void write_binary(struct writer *writer, const char *data, size_t size)
{
    size_t room = base64_size(size);
    char *text = malloc(room + 1);
    if (text == NULL) {
        writer->code = diag_set(ERROR_MEMORY, "out of memory");
        return;
    }
    base64_encode(text, data, size);
    write_scalar(writer, "tag:yaml.org,2002:binary", text, room, YAML_PLAIN_SCALAR_STYLE);
    free(text);
}

static void write_string(struct writer *writer, const char *text, size_t size)
{
    struct mp_buffer ignored;
    yaml_scalar_style_t style = YAML_PLAIN_SCALAR_STYLE;
    if (size > INT32_MAX / 2 || !is_utf8(text, size)) {
        write_binary(writer, text, size);
        return;
    }
    mp_buffer_create(&ignored);
    if (put_plain(&ignored, text, size))
        style = YAML_SINGLE_QUOTED_SCALAR_STYLE;
    else if (memchr(text, '\n', size) != NULL)
        style = YAML_LITERAL_SCALAR_STYLE;
    mp_buffer_destroy(&ignored);
    write_scalar(writer, NULL, text, size, style);
}

/* Numbers, decimals, uuids and the like as JSON has them, without the quotes. */
static void write_other(struct writer *writer, const char **data)
{
    struct json_buffer json;
    char text[40];
    double number = 0;
    const char *at = *data;
    enum mp_type type = mp_typeof(*at);
    if (type == MP_DOUBLE || type == MP_FLOAT)
        number = type == MP_DOUBLE ? mp_decode_double(&at) : (double)mp_decode_float(&at);
    if (isnan(number) || isinf(number)) {
        *data = at;
        snprintf(text, sizeof text, "%s", isnan(number) ? ".nan" : number < 0 ? "-.inf" : ".inf");
        write_scalar(writer, NULL, text, strlen(text), YAML_PLAIN_SCALAR_STYLE);
        return;
    }
    json_buffer_create(&json);
    int code = json_from_msgpack(&json, data);
    if (code != 0)
        writer->code = code;
    else if (json.size >= 2 && json.data[0] == '"')
        write_string(writer, json.data + 1, json.size - 2);
    else
        write_scalar(writer, NULL, json.data, json.size, YAML_PLAIN_SCALAR_STYLE);
    json_buffer_destroy(&json);
}

static void write_value(struct writer *writer, const char **data)
{
    yaml_event_t event;
    uint32_t count, size;
    const char *text;
    if (writer->code != 0)
        return;
    switch (mp_typeof(**data)) {
    case MP_ARRAY:
        count = mp_decode_array(data);
        emit(writer, &event,
             yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
                                                  count == 0 ? YAML_FLOW_SEQUENCE_STYLE
                                                             : YAML_BLOCK_SEQUENCE_STYLE));
        for (uint32_t n = 0; n < count && writer->code == 0; n++)
            write_value(writer, data);
        emit(writer, &event, yaml_sequence_end_event_initialize(&event));
        break;
    case MP_MAP:
        count = mp_decode_map(data);
        emit(writer, &event,
             yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
                                                 count == 0 ? YAML_FLOW_MAPPING_STYLE
                                                            : YAML_BLOCK_MAPPING_STYLE));
        for (uint32_t n = 0; n < 2 * count && writer->code == 0; n++)
            write_value(writer, data);
        emit(writer, &event, yaml_mapping_end_event_initialize(&event));
        break;
    case MP_STR:
        text = mp_decode_str(data, &size);
        write_string(writer, text, size);
        break;
    case MP_BIN:
        text = mp_decode_bin(data, &size);
        write_binary(writer, text, size);
        break;
    default:
        write_other(writer, data);
    }
}

static void write_document(struct writer *writer, const char *data)
{
    yaml_event_t event;
    emit(writer, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 0));
    write_value(writer, &data);
    emit(writer, &event, yaml_document_end_event_initialize(&event, 0));
}

/* Makes a document of each value in `data`. */
static int write_all(struct writer *writer, const char *data, uint32_t count)
{
    yaml_event_t event;
    if (yaml_emitter_initialize(&writer->emitter) == 0)
        return diag_set(ERROR_MEMORY, "out of memory");
    yaml_emitter_set_output(&writer->emitter, on_text, writer);
    yaml_emitter_set_unicode(&writer->emitter, 1);
    yaml_emitter_set_width(&writer->emitter, -1);
    emit(writer, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING));
    for (uint32_t n = 0; n < count && writer->code == 0; n++) {
        write_document(writer, data);
        mp_next(&data);
    }
    emit(writer, &event, yaml_stream_end_event_initialize(&event));
    if (writer->code == 0 && !yaml_emitter_flush(&writer->emitter))
        writer->code = diag_set(ERROR_MEMORY, "the text takes too much memory");
    yaml_emitter_delete(&writer->emitter);
    return writer->code;
}

/* yaml_encode(value ..): a document of each. */
static int native_yaml_encode(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct mp_buffer *packed = &runtime->scratch;
    struct writer writer = {.runtime = runtime};
    int count = lua_gettop(L);
    mp_buffer_reset(packed, 65536);
    for (int n = 1; n <= count; n++)
        lua__encode(L, runtime, n, packed, LUA__STRICT);
    mp_buffer_create(&writer.text);
    writer.text.bytes_max = runtime->memory_bytes_max;
    int code = write_all(&writer, packed->data, (uint32_t)count);
    if (code == 0)
        lua__push_bytes(L, runtime, writer.text.data == NULL ? "" : writer.text.data,
                        writer.text.size);
    mp_buffer_destroy(&writer.text);
    return code == 0 ? 1 : lua__raise(L, runtime, code);
}

void lua__open_yaml(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"yaml_encode", native_yaml_encode},
        {"yaml_decode", native_yaml_decode},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
