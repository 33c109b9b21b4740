/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on spaces: words and values in each format, options as words and as a map, what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "db/space.h"
#include "proto/space_request.h"

enum { ARGS_MAX = 16 };

struct args {
    unsigned argc;
    struct redis_slice argv[ARGS_MAX];
};

static struct json_buffer scratch;

/* "accounts|[1]|LIMIT|3" */
static void args_split(struct args *args, const char *text)
{
    args->argc = 0;
    while (text) {
        const char *end = strchr(text, '|');
        size_t size = end ? (size_t)(end - text) : strlen(text);
        args->argv[args->argc++] = (struct redis_slice){text, size};
        text = end ? end + 1 : NULL;
    }
}

static int read_text(struct space_request *out, enum space_operation operation, const char *text)
{
    struct args args;
    args_split(&args, text);
    return space_request_read(out, operation, WIRE_JSON, args.argv, args.argc, &scratch);
}

static void assert_json(const struct redis_slice *value, const char *expected)
{
    struct json_buffer text;
    const char *at = value->data;
    json_buffer_create(&text);
    assert_int_equal(json_from_msgpack(&text, &at), 0);
    assert_ptr_equal(at, value->data + value->size);
    assert_int_equal(text.size, strlen(expected));
    assert_memory_equal(text.data, expected, text.size);
    json_buffer_destroy(&text);
}

static void assert_slice(const struct redis_slice *slice, const char *expected)
{
    assert_int_equal(slice->size, strlen(expected));
    assert_memory_equal(slice->data, expected, slice->size);
}

static void assert_wrong(enum space_operation operation, const char *text, const char *message)
{
    struct space_request request;
    diag_clear();
    assert_int_equal(read_text(&request, operation, text), ERROR_INVALID);
    assert_string_equal(diag_message(), message);
}

static void a_tuple_and_operations_are_arrays(void **state)
{
    (void)state;
    struct space_request request;
    assert_int_equal(
        read_text(&request, SPACE_UPSERT, "accounts|[1, \"ann\", {\"a\": null}]|[[\"+\", 2, 1.5]]"),
        0);
    assert_slice(&request.space, "accounts");
    assert_json(&request.subject, "[1,\"ann\",{\"a\":null}]");
    assert_json(&request.operations, "[[\"+\",2,1.5]]");
    assert_null(request.index.data);
    assert_wrong(SPACE_INSERT, "accounts|7", "the tuple is not an array");
    assert_wrong(SPACE_INSERT, "accounts|[1]|[2]", "wrong number of arguments");
    assert_wrong(SPACE_INSERT, "accounts", "wrong number of arguments");
    assert_wrong(SPACE_INSERT, "accounts|",
                 "the tuple is not JSON text: line 1, column 0: unexpected "
                 "token near end of file");
    assert_wrong(SPACE_UPSERT, "accounts|[1]|{}", "the list of operations is not an array");
}

static void a_key_that_is_no_array_is_made_one(void **state)
{
    (void)state;
    struct space_request request;
    assert_int_equal(read_text(&request, SPACE_GET, "accounts|[1, 2]"), 0);
    assert_json(&request.subject, "[1,2]");
    assert_int_equal(read_text(&request, SPACE_GET, "accounts|\"ann\"|index|owner"), 0);
    assert_json(&request.subject, "[\"ann\"]");
    assert_slice(&request.index, "owner");
    assert_int_equal(read_text(&request, SPACE_GET, "accounts|null"), 0);
    assert_json(&request.subject, "[]");
    assert_int_equal(read_text(&request, SPACE_UPDATE, "accounts|false|[[\"=\", 1, 2]]"), 0);
    assert_json(&request.subject, "[false]");
    assert_json(&request.operations, "[[\"=\",1,2]]");
    assert_wrong(SPACE_DELETE, "accounts|{}",
                 "the key is a map; it is an array of parts, or the only part");
}

static void keys_are_a_list(void **state)
{
    (void)state;
    struct space_request request;
    assert_int_equal(read_text(&request, SPACE_MGET, "accounts|[1, [2], \"x\"]|INDEX|owner"), 0);
    assert_json(&request.subject, "[1,[2],\"x\"]");
    assert_slice(&request.index, "owner");
    assert_int_equal(read_text(&request, SPACE_MGET, "accounts|[]|{\"index\":\"owner\"}"), 0);
    assert_json(&request.subject, "[]");
    assert_slice(&request.index, "owner");
    assert_wrong(SPACE_MGET, "accounts|1", "the list of keys is not an array");
    assert_wrong(SPACE_MGET, "accounts|null", "the list of keys is not an array");
    assert_wrong(SPACE_MGET, "accounts", "wrong number of arguments");
    assert_wrong(SPACE_MGET, "accounts|[1]|LIMIT|1", "there is no option 'LIMIT' here");
    assert_wrong(SPACE_MGET, "accounts|[1]|[2]", "there is no option '[2]' here");
}

static void options_are_words_or_a_map(void **state)
{
    (void)state;
    static const char *const same[] = {
        "t|5|INDEX|i|ITERATOR|gt|LIMIT|10|OFFSET|2|AFTER|[7, 8]",
        "t|5|after|[7, 8]|offset|2|limit|10|iterator|GT|index|i",
        "t|5| {\"index\":\"i\",\"iterator\":\"gt\",\"limit\":10,\"offset\":2,\"after\":[7,8]}",
    };
    for (size_t n = 0; n < sizeof same / sizeof *same; n++) {
        struct space_request request;
        assert_int_equal(read_text(&request, SPACE_SELECT, same[n]), 0);
        assert_json(&request.subject, "[5]");
        assert_slice(&request.index, "i");
        assert_int_equal(request.iterator, ITERATOR_GT);
        assert_int_equal(request.limit, 10);
        assert_int_equal(request.offset, 2);
        assert_json(&request.after, "[7,8]");
    }
    struct space_request request;
    assert_int_equal(read_text(&request, SPACE_SELECT, "t|[]"), 0);
    assert_int_equal(request.iterator, -1);
    assert_true(request.limit == UINT64_MAX);
    assert_int_equal(request.after.size, 0);
    assert_int_equal(read_text(&request, SPACE_COUNT, "t"), 0);
    assert_int_equal(request.subject.size, 0);
    assert_wrong(SPACE_SELECT, "t|[]|LIMIT", "the option 'limit' has no value");
    assert_wrong(SPACE_SELECT, "t|[]|LIMIT|ten", "the limit is not a number of rows");
    assert_wrong(SPACE_SELECT, "t|[]|LIMIT|", "the limit is not a number of rows");
    assert_wrong(SPACE_SELECT, "t|[]|{\"limit\":-1}", "the limit is not a number of rows");
    assert_wrong(SPACE_SELECT, "t|[]|{\"limit\":1}|x", "there is no option '{\"limit\":1}' here");
    assert_wrong(SPACE_SELECT, "t|[]|{\"index\":1}", "the index's name is not a string");
    assert_wrong(SPACE_SELECT, "t|[]|{\"size\":1}", "there is no option 'size' here");
    assert_wrong(SPACE_SELECT, "t|[]|AFTER|1", "what to go on after is not an array");
    assert_wrong(SPACE_COUNT, "t|[]|LIMIT|1", "there is no option 'LIMIT' here");
    assert_wrong(SPACE_GET, "t|1|ITERATOR|eq", "there is no option 'ITERATOR' here");
    assert_wrong(SPACE_SELECT, "t|[]|ITERATOR|up",
                 "there is no iterator 'up': eq, req, all, lt, le, ge or gt");
}

/* The arguments as MessagePack: strings for words, the values of JSON text. */
static void pack(struct mp_buffer *out, const char *text, bool is_value)
{
    struct json_buffer value;
    if (!is_value) {
        mp_put_str(out, text, strlen(text));
        return;
    }
    json_buffer_create(&value);
    assert_int_equal(json_to_msgpack(text, strlen(text), &value), 0);
    mp_put_raw(out, value.data, value.size);
    json_buffer_destroy(&value);
}

static void msgpack_arguments_are_one_value_each(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_value;
    } parts[] = {{"t", false}, {"\"ann\"", true}, {"limit", false},
                 {"3", true},  {"INDEX", false},  {"i", false}};
    struct mp_buffer bytes[6];
    struct redis_slice argv[6];
    struct space_request request;
    for (unsigned n = 0; n < 6; n++) {
        mp_buffer_create(&bytes[n]);
        pack(&bytes[n], parts[n].text, parts[n].is_value);
        argv[n] = (struct redis_slice){bytes[n].data, bytes[n].size};
    }
    assert_int_equal(space_request_read(&request, SPACE_SELECT, WIRE_MSGPACK, argv, 6, &scratch),
                     0);
    assert_slice(&request.space, "t");
    assert_json(&request.subject, "[\"ann\"]");
    assert_int_equal(request.limit, 3);
    assert_slice(&request.index, "i");
    argv[1].size--; /* not whole any more */
    assert_int_equal(space_request_read(&request, SPACE_SELECT, WIRE_MSGPACK, argv, 6, &scratch),
                     ERROR_INVALID);
    assert_string_equal(diag_message(),
                        "the key is not one MessagePack value, nested at most 64 deep");
    argv[1].size = 0;
    assert_int_equal(space_request_read(&request, SPACE_SELECT, WIRE_MSGPACK, argv, 6, &scratch),
                     ERROR_INVALID);
    for (unsigned n = 0; n < 6; n++)
        mp_buffer_destroy(&bytes[n]);
}

/* Whatever the bytes are: an error with a message, or values that can be walked. */
static void no_bytes_are_taken_for_what_they_are_not(void **state)
{
    (void)state;
    static const char ALPHABET[] = "[]{}\",:0123456789 tindexlm\x90\x91\x81\xa1\xc0\xc3\xcf\xdd";
    struct random rng;
    random_create(&rng, test_seed());
    for (unsigned round = 0; round < 20000; round++) {
        char bytes[4][24];
        struct redis_slice argv[4];
        unsigned argc = 1 + (unsigned)random_below(&rng, 4);
        for (unsigned n = 0; n < argc; n++) {
            argv[n] = (struct redis_slice){bytes[n], random_below(&rng, sizeof bytes[n])};
            for (size_t at = 0; at < argv[n].size; at++)
                bytes[n][at] = random_below(&rng, 8)
                                   ? ALPHABET[random_below(&rng, sizeof ALPHABET - 1)]
                                   : (char)random_below(&rng, 256);
        }
        struct space_request request;
        enum space_operation operation = (enum space_operation)random_below(&rng, SPACE_COUNT + 1);
        enum wire_format format = (enum wire_format)random_below(&rng, WIRE_MSGPACK + 1);
        diag_clear();
        int rc = space_request_read(&request, operation, format, argv, argc, &scratch);
        const char *at = request.subject.data;
        if (rc) {
            assert_int_equal(rc, ERROR_INVALID);
            assert_true(strlen(diag_message()) > 0);
        } else if (request.subject.size > 0) {
            assert_true(mp_check_limited(&at, at + request.subject.size));
            assert_ptr_equal(at, request.subject.data + request.subject.size);
            assert_int_equal(mp_typeof(*request.subject.data), MP_ARRAY);
        }
    }
}

static void formats_have_names(void **state)
{
    (void)state;
    assert_int_equal(wire_format_parse("native", 6), WIRE_NATIVE);
    assert_int_equal(wire_format_parse("JSON", 4), WIRE_JSON);
    assert_int_equal(wire_format_parse("MsgPack", 7), WIRE_MSGPACK);
    assert_int_equal(wire_format_parse("msgpac", 6), -1);
    assert_int_equal(wire_format_parse("", 0), -1);
    assert_string_equal(wire_format_name(WIRE_MSGPACK), "msgpack");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tuple_and_operations_are_arrays),
        cmocka_unit_test(a_key_that_is_no_array_is_made_one),
        cmocka_unit_test(keys_are_a_list),
        cmocka_unit_test(options_are_words_or_a_map),
        cmocka_unit_test(msgpack_arguments_are_one_value_each),
        cmocka_unit_test(no_bytes_are_taken_for_what_they_are_not),
        cmocka_unit_test(formats_have_names),
    };
    json_buffer_create(&scratch);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_buffer_destroy(&scratch);
    return failed;
}
