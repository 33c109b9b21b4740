/* SPDX-License-Identifier: Apache-2.0 */
/* RESP requests: whole, in pieces, many at once, malformed, beyond limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "proto/resp_parse.h"
#include "proto/sniff.h"

static struct random rng;

/* The arguments as "a|b|c"; "ERROR text"; or "MORE". */
static void describe(struct resp_parser *parser, enum resp_parse_result result,
                     const struct resp_request *request, char *out)
{
    out[0] = '\0';
    if (result == RESP_PARSE_ERROR) {
        sprintf(out, "ERROR %s", parser->error);
        return;
    }
    if (result == RESP_PARSE_MORE) {
        strcpy(out, "MORE");
        return;
    }
    const struct redis_slice *argv = resp_request_argv(parser, request);
    for (size_t i = 0; i < request->argc; i++) {
        if (i > 0)
            *out++ = '|';
        memcpy(out, argv[i].data, argv[i].size);
        out += argv[i].size;
        *out = '\0';
    }
}

/* Parses one request out of a copy that ends where its memory ends. */
static void assert_parsed_as(const char *data, size_t size, bool authenticated,
                             const char *expected)
{
    struct resp_limits limits = resp_limits_default();
    struct resp_parser parser;
    struct resp_request request;
    size_t need;
    char *copy = malloc(size), *text = malloc(2 * size + 256);

    memcpy(copy, data, size);
    resp_parser_create(&parser, &limits, authenticated);
    describe(&parser, resp_parse(&parser, copy, size, &request, &need), &request, text);
    assert_string_equal(text, expected);
    resp_parser_destroy(&parser);

    /* Byte by byte, each time at another address, it comes to the same. */
    resp_parser_create(&parser, &limits, authenticated);
    enum resp_parse_result result = RESP_PARSE_MORE;
    size_t part = size > 5000 ? size - 64 : 1;
    for (; part <= size && result == RESP_PARSE_MORE; part++) {
        free(copy);
        copy = malloc(part);
        memcpy(copy, data, part);
        need = 0;
        result = resp_parse(&parser, copy, part, &request, &need);
        if (result == RESP_PARSE_MORE)
            assert_true(need > part);
    }
    describe(&parser, result, &request, text);
    assert_string_equal(text, expected);
    resp_parser_destroy(&parser);
    free(copy);
    free(text);
}

static void assert_parsed(const char *text, const char *expected)
{
    assert_parsed_as(text, strlen(text), true, expected);
}

static void arrays_of_bulk_strings_are_taken_apart(void **state)
{
    (void)state;
    assert_parsed("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "GET|k");
    assert_parsed("*3\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\nhello\r\nworld\r\n", "SET||hello\r\nworld");
    assert_parsed("*0\r\n", "");
    assert_parsed("*-1\r\n", "");
    assert_parsed("*2\r\n$3\r\nGET\r\n$1\r\nk", "MORE");
    assert_parsed("*12", "MORE");
    assert_parsed("*", "MORE");
}

static void inline_commands_are_split_as_redis_does(void **state)
{
    (void)state;
    assert_parsed("PING\r\n", "PING");
    assert_parsed("  SET  key\tvalue \n", "SET|key|value");
    assert_parsed("\r\n", "");
    assert_parsed("SET k \"two words\"\r\n", "SET|k|two words");
    assert_parsed("SET k \"a\\x41\\n\\\"\\q\"\r\n", "SET|k|aA\n\"q");
    assert_parsed("SET k \"\\x4\"\r\n", "SET|k|x4");
    assert_parsed("SET k 'it\\'s \\n'\r\n", "SET|k|it's \\n");
    assert_parsed("SET k \"\" ''\r\n", "SET|k||");
    assert_parsed("SET k a\"b c\"\r\n", "SET|k|ab c");
    assert_parsed("SET k \"a\"b\r\n", "ERROR Protocol error: unbalanced quotes in request");
    assert_parsed("SET k \"a\r\n", "ERROR Protocol error: unbalanced quotes in request");
    assert_parsed("SET k 'a\r\n", "ERROR Protocol error: unbalanced quotes in request");
    assert_parsed("SET k \"a\\\"\r\n", "ERROR Protocol error: unbalanced quotes in request");
    assert_parsed("PING", "MORE");
}

static void malformed_requests_get_the_words_of_redis(void **state)
{
    (void)state;
    assert_parsed("*a\r\n", "ERROR Protocol error: invalid multibulk length");
    assert_parsed("*\r\n", "ERROR Protocol error: invalid multibulk length");
    assert_parsed("*01\r\n", "ERROR Protocol error: invalid multibulk length");
    assert_parsed("*+1\r\n", "ERROR Protocol error: invalid multibulk length");
    assert_parsed("*1048577\r\n", "ERROR Protocol error: invalid multibulk length");
    assert_parsed("*99999999999999999999\r\n", "ERROR Protocol error: invalid multibulk length");
    assert_parsed("*1\rx", "ERROR Protocol error: invalid multibulk length");
    assert_parsed("*1\r\nGET\r\n", "ERROR Protocol error: expected '$', got 'G'");
    assert_parsed("*1\r\n\r\n", "ERROR Protocol error: expected '$', got ' '");
    assert_parsed("*1\r\n$x\r\n", "ERROR Protocol error: invalid bulk length");
    assert_parsed("*1\r\n$-1\r\n", "ERROR Protocol error: invalid bulk length");
    assert_parsed("*1\r\n$536870913\r\n", "ERROR Protocol error: invalid bulk length");
    assert_parsed("*1\r\n$1\r\nabc", "ERROR Protocol error: expected CRLF after a bulk string");
    assert_parsed("*3\r\n$536870912\r\n", "MORE");
}

static void lines_without_an_end_are_refused(void **state)
{
    size_t size = RESP_LINE_BYTES_MAX + 1;
    char *line = malloc(size + 1);

    (void)state;
    memset(line, '1', size);
    line[size] = '\0';
    line[0] = '*';
    assert_parsed(line, "ERROR Protocol error: too big mbulk count string");
    line[0] = 'x';
    assert_parsed(line, "ERROR Protocol error: too big inline request");
    memcpy(line, "*1\r\n$", 5);
    line = realloc(line, size + 5);
    memset(line + 5, '1', size - 1);
    line[size + 4] = '\0';
    assert_parsed(line, "ERROR Protocol error: too big bulk count string");
    free(line);
}

static void who_has_not_authenticated_has_small_limits(void **state)
{
    (void)state;
    assert_parsed_as("*11\r\n", 5, false, "ERROR Protocol error: unauthenticated multibulk length");
    assert_parsed_as("*10\r\n", 5, false, "MORE");
    assert_parsed_as("*1\r\n$16385\r\n", 12, false,
                     "ERROR Protocol error: unauthenticated bulk length");
    assert_parsed_as("*1\r\n$16384\r\n", 12, false, "MORE");

    struct resp_limits limits = resp_limits_default();
    struct resp_parser parser;
    struct resp_request request;
    size_t need;
    resp_parser_create(&parser, &limits, false);
    resp_parser_authenticate(&parser);
    assert_int_equal(resp_parse(&parser, "*11\r\n", 5, &request, &need), RESP_PARSE_MORE);
    resp_parser_destroy(&parser);
}

static void limits_are_the_callers(void **state)
{
    struct resp_limits limits = {.bulk_bytes_max = 10, .request_bytes_max = 40, .arg_count_max = 5};
    struct resp_parser parser;
    struct resp_request request;
    size_t need;

    (void)state;
    resp_parser_create(&parser, &limits, true);
    assert_int_equal(resp_parse(&parser, "*6\r\n", 4, &request, &need), RESP_PARSE_ERROR);
    resp_parser_create(&parser, &limits, true);
    assert_int_equal(resp_parse(&parser, "*1\r\n$11\r\n", 9, &request, &need), RESP_PARSE_ERROR);
    resp_parser_create(&parser, &limits, true);
    const char text[] = "*3\r\n$10\r\n0123456789\r\n$10\r\n0123456789\r\n$9\r\n";
    assert_int_equal(resp_parse(&parser, text, sizeof(text) - 1, &request, &need),
                     RESP_PARSE_ERROR);
    assert_string_equal(parser.error, "Protocol error: too big request");
    resp_parser_destroy(&parser);
}

static void a_large_argument_asks_for_all_of_its_bytes_at_once(void **state)
{
    const char text[] = "*2\r\n$3\r\nGET\r\n$100000\r\nabc";
    struct resp_limits limits = resp_limits_default();
    struct resp_parser parser;
    struct resp_request request;
    size_t need;

    (void)state;
    resp_parser_create(&parser, &limits, true);
    assert_int_equal(resp_parse(&parser, text, sizeof(text) - 1, &request, &need), RESP_PARSE_MORE);
    assert_int_equal(need, strlen("*2\r\n$3\r\nGET\r\n$100000\r\n") + 100000 + 2);
    resp_parser_destroy(&parser);
}

/* Appends a random request to `out` and what describe() will say of it to `expected`; their sizes.
 */
static size_t make_request(char *out, char *expected)
{
    static const char letters[] = "abcXYZ0123456789";
    size_t argc = 1 + random_below(&rng, 20), size = (size_t)sprintf(out, "*%zu\r\n", argc),
           length = 0;

    for (size_t i = 0; i < argc; i++) {
        size_t arg_size = random_below(&rng, 30);
        size += (size_t)sprintf(out + size, "$%zu\r\n", arg_size);
        if (i > 0)
            expected[length++] = '|';
        for (size_t j = 0; j < arg_size; j++) {
            char c = letters[random_below(&rng, sizeof(letters) - 1)];
            out[size++] = expected[length++] = c;
        }
        size += (size_t)sprintf(out + size, "\r\n");
    }
    expected[length] = '\0';
    return size;
}

enum { BATCH = 20 };

static void a_batch_keeps_all_its_arguments_until_it_is_recycled(void **state)
{
    struct resp_limits limits = resp_limits_default();
    struct resp_parser parser;

    (void)state;
    resp_parser_create(&parser, &limits, true);
    for (int round = 0; round < 500; round++) {
        char data[BATCH * 1024], expected[BATCH][1024], got[2048];
        struct resp_request requests[BATCH];
        size_t size = 0, done = 0, count = 0, checked = 0, have = 0, need;
        for (int i = 0; i < BATCH; i++)
            size += make_request(data + size, expected[i]);
        /* Pieces of any size, each read to where it belongs; what is complete is executed at times.
         */
        while (checked < BATCH) {
            size_t piece = 1 + random_below(&rng, 600);
            have = have + piece < size ? have + piece : size;
            while (resp_parse(&parser, data + done, have - done, &requests[count], &need) ==
                   RESP_PARSE_DONE)
                done += requests[count++].size;
            if (random_below(&rng, 2) == 0 && have < size)
                continue;
            for (size_t i = 0; i < count; i++) {
                describe(&parser, RESP_PARSE_DONE, &requests[i], got);
                assert_string_equal(got, expected[checked++]);
            }
            count = 0;
            resp_parser_recycle(&parser);
        }
        assert_int_equal(done, size);
    }
    resp_parser_destroy(&parser);
}

/* What is received apart, of one request: at most so many arguments. */
struct apart {
    char *whole[RESP_APART_MAX]; /* each in memory that ends where it ends */
    unsigned count;
    size_t size, filled, bytes; /* of the one that is being received, 0: none is; of all */
};

/* Moves the end of in[0..*have) that belongs to a large argument into memory of its own. */
static void apart_begin(struct resp_parser *parser, struct apart *apart, const char *in,
                        size_t *have)
{
    size_t offset, size = resp_bulk_begun(parser, 1 + random_below(&rng, 20), &offset);
    if (size == 0 || *have - offset >= size)
        return;
    apart->whole[apart->count] = malloc(size);
    apart->size = size;
    apart->filled = *have - offset;
    memcpy(apart->whole[apart->count], in + offset, apart->filled);
    *have = offset;
}

/* As much of data[0..size) as belongs to it; how much. */
static size_t apart_fill(struct resp_parser *parser, struct apart *apart, const char *data,
                         size_t size)
{
    size_t missing = apart->size - apart->filled, taken = size < missing ? size : missing;
    memcpy(apart->whole[apart->count] + apart->filled, data, taken);
    apart->filled += taken;
    if (taken == missing) {
        assert_true(resp_bulk_apart(parser, apart->whole[apart->count++]));
        apart->bytes += apart->size;
        apart->size = 0;
    }
    return taken;
}

static void arguments_may_be_received_apart(void **state)
{
    struct resp_limits limits = resp_limits_default();
    struct resp_parser parser;
    unsigned most = 0;

    (void)state;
    resp_parser_create(&parser, &limits, true);
    for (int round = 0; round < 5000; round++) {
        char data[1024], expected[1024], got[2048];
        size_t size = make_request(data, expected), at = 0, have = 0, need = 0;
        size_t piece_max = 1 + random_below(&rng, 60);
        struct apart apart = {.count = 0};
        struct resp_request request;
        enum resp_parse_result result = RESP_PARSE_MORE;
        char *in = NULL;
        while (result == RESP_PARSE_MORE) {
            size_t piece = 1 + random_below(&rng, (uint32_t)piece_max);
            piece = piece < size - at ? piece : size - at;
            assert_true(piece > 0);
            if (apart.size > 0) {
                at += apart_fill(&parser, &apart, data + at, piece);
                continue;
            }
            char *moved = malloc(have + piece);
            memcpy(moved, in == NULL ? "" : in, have);
            memcpy(moved + have, data + at, piece);
            free(in);
            in = moved;
            have += piece;
            at += piece;
            result = resp_parse(&parser, in, have, &request, &need);
            assert_true(result != RESP_PARSE_MORE || need > have);
            if (result == RESP_PARSE_MORE)
                apart_begin(&parser, &apart, in, &have);
        }
        describe(&parser, result, &request, got);
        assert_string_equal(got, expected);
        assert_int_equal(request.apart_bytes, apart.bytes);
        assert_int_equal(request.size + apart.bytes, size);
        most = apart.count > most ? apart.count : most;
        resp_parser_recycle(&parser);
        while (apart.count > 0)
            free(apart.whole[--apart.count]);
        free(in);
    }
    assert_true(most > 3);
    resp_parser_destroy(&parser);
}

static void the_first_byte_tells_the_protocol(void **state)
{
    (void)state;
    assert_int_equal(proto_sniff('*'), PROTO_RESP);
    assert_int_equal(proto_sniff('P'), PROTO_RESP);
    assert_int_equal(proto_sniff('\r'), PROTO_RESP);
    assert_int_equal(proto_sniff(0x94), PROTO_RPC);
    assert_int_equal(proto_sniff(0x93), PROTO_RPC);
    assert_int_equal(proto_sniff(0x16), PROTO_UNKNOWN); /* a TLS handshake */
    assert_int_equal(proto_sniff(0), PROTO_UNKNOWN);
    assert_int_equal(proto_sniff(0x92), PROTO_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_of_bulk_strings_are_taken_apart),
        cmocka_unit_test(inline_commands_are_split_as_redis_does),
        cmocka_unit_test(malformed_requests_get_the_words_of_redis),
        cmocka_unit_test(lines_without_an_end_are_refused),
        cmocka_unit_test(who_has_not_authenticated_has_small_limits),
        cmocka_unit_test(limits_are_the_callers),
        cmocka_unit_test(a_large_argument_asks_for_all_of_its_bytes_at_once),
        cmocka_unit_test(a_batch_keeps_all_its_arguments_until_it_is_recycled),
        cmocka_unit_test(arguments_may_be_received_apart),
        cmocka_unit_test(the_first_byte_tells_the_protocol),
    };

    random_create(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
