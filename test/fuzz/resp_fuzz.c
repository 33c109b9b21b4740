/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RESP, both directions. The first byte of the input decides how the rest is cut into pieces and
 * whether the client has authenticated. Checked, beside what the sanitizers see (every buffer ends
 * where its memory ends):
 *   - the requests, and the error, are the same whether the bytes come at once or in pieces, each
 *     time at another address;
 *   - before `need` bytes are there, no request is complete;
 *   - a request written as an array of bulk strings and parsed again has the same arguments;
 *   - a reply is found at the same place in pieces as at once, and its items can be stepped
 *     through.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/error.h"
#include "base/random.h"
#include "codec/mp.h"
#include "proto/resp_parse.h"
#include "proto/resp_read.h"
#include "proto/resp_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Small, so that a fuzzer reaches them. */
static const struct resp_limits limits = {
    .bulk_bytes_max = 1 << 20, .request_bytes_max = 4 << 20, .arg_count_max = 1000};

static char *copy_of(const char *data, size_t size)
{
    char *copy = malloc(size + (size == 0));
    ASSERT(copy != NULL);
    memcpy(copy, data, size);
    return copy;
}

static void note_request(struct mp_buffer *notes, const struct redis_slice *argv, size_t argc)
{
    mp_put_array(notes, (uint32_t)argc);
    for (size_t i = 0; i < argc; i++)
        mp_put_bin(notes, argv[i].data, argv[i].size);
}

static void check_written_again(const struct redis_slice *argv, size_t argc)
{
    struct mp_buffer out;
    struct resp_parser parser;
    struct resp_request request;
    size_t need;

    mp_buffer_create(&out);
    resp_put_array(&out, argc);
    for (size_t i = 0; i < argc; i++)
        resp_put_bulk(&out, argv[i].data, argv[i].size);
    struct resp_limits all = resp_limits_default();
    resp_parser_create(&parser, &all, true);
    ASSERT(resp_parse(&parser, out.data, out.size, &request, &need) == RESP_PARSE_DONE);
    ASSERT(request.argc == argc && request.size == out.size);
    const struct redis_slice *again = resp_request_argv(&parser, &request);
    for (size_t i = 0; i < argc; i++) {
        ASSERT(again[i].size == argv[i].size);
        ASSERT(memcmp(again[i].data, argv[i].data, argv[i].size) == 0);
    }
    resp_parser_destroy(&parser);
    mp_buffer_destroy(&out);
}

/* Notes every request and how it ended. `random` NULL: all bytes at once. */
static void parse_all(const char *data, size_t size, bool authenticated, struct random *random,
                      struct mp_buffer *notes)
{
    struct resp_parser parser;
    struct resp_request request;
    enum resp_parse_result result = RESP_PARSE_MORE;
    size_t done = 0, have = 0, need = 1;

    resp_parser_create(&parser, &limits, authenticated);
    while (result != RESP_PARSE_ERROR) {
        if (result == RESP_PARSE_MORE) {
            if (have == size)
                break;
            size_t most = size - have;
            have += random == NULL ? most : 1 + random_below(random, most < 40 ? most : 40);
            if (random != NULL && random_below(random, 2) == 0)
                resp_parser_recycle(&parser);
        }
        bool hopeless = have - done < need;
        char *copy = copy_of(data + done, have - done);
        result = resp_parse(&parser, copy, have - done, &request, &need);
        if (result == RESP_PARSE_MORE) {
            ASSERT(need > have - done);
        } else if (result == RESP_PARSE_DONE) {
            ASSERT(!hopeless);
            const struct redis_slice *argv = resp_request_argv(&parser, &request);
            note_request(notes, argv, request.argc);
            if (random == NULL)
                check_written_again(argv, request.argc);
            done += request.size;
            need = 1;
        }
        free(copy);
        /* What an incomplete request has noted points into memory that is gone, as the interface
         * allows. */
    }
    if (result == RESP_PARSE_ERROR)
        mp_put_str(notes, parser.error, strlen(parser.error));
    resp_parser_destroy(&parser);
}

static int scan_in_pieces(const char *data, size_t size, size_t step, size_t *found)
{
    struct resp_reply_scan scan = {0};
    int rc = ERROR_AGAIN;

    for (size_t have = 0; rc == ERROR_AGAIN && have < size;) {
        have = have + step < size ? have + step : size;
        char *copy = copy_of(data, have);
        rc = resp_reply_scan(&scan, copy, have, found);
        free(copy);
    }
    return rc;
}

static void check_replies(const char *data, size_t size, size_t step)
{
    size_t at_once = 0, in_pieces = 0;
    int rc = scan_in_pieces(data, size, size == 0 ? 1 : size, &at_once);

    ASSERT(scan_in_pieces(data, size, step, &in_pieces) == rc);
    if (rc != 0)
        return;
    ASSERT(at_once == in_pieces && at_once <= size);
    struct resp_item item;
    const char *at = data;
    while (at < data + at_once)
        ASSERT(resp_item_read(&at, data + at_once, &item) == 0);
    ASSERT(at == data + at_once);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mp_buffer at_once, in_pieces;
    struct random random;

    if (size == 0)
        return 0;
    const char *text = (const char *)data + 1;
    bool authenticated = data[0] & 1;
    random_create(&random, data[0]);
    mp_buffer_create(&at_once);
    mp_buffer_create(&in_pieces);
    parse_all(text, size - 1, authenticated, NULL, &at_once);
    parse_all(text, size - 1, authenticated, &random, &in_pieces);
    ASSERT(at_once.size == in_pieces.size);
    ASSERT(at_once.size == 0 || memcmp(at_once.data, in_pieces.data, at_once.size) == 0);
    mp_buffer_destroy(&at_once);
    mp_buffer_destroy(&in_pieces);
    check_replies(text, size - 1, 1 + data[0] % 7);
    return 0;
}
