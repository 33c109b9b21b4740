/* SPDX-License-Identifier: Apache-2.0 */
/* MessagePack-RPC messages: whole, in pieces, malformed, too large; responses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/msgpack_rpc.h"

static struct mp_buffer buffer;

static int setup(void **state)
{
    (void)state;
    mp_buffer_create(&buffer);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mp_buffer_destroy(&buffer);
    return 0;
}

static void put_call(uint64_t id)
{
    rpc_put_request_begin(&buffer, id, "call");
    mp_put_array(&buffer, 2);
    mp_put_str(&buffer, "transfer", 8);
    mp_put_uint(&buffer, 5);
}

static void assert_call(const struct rpc_request *request, uint64_t id)
{
    assert_false(request->notification);
    assert_true(request->id == id);
    assert_int_equal(request->method_size, 4);
    assert_memory_equal(request->method, "call", 4);
    assert_memory_equal(mp_array_at(request->params, 0), "\xa8transfer", 9);
    assert_int_equal(request->params_size, 11);
}

static void requests_follow_one_another(void **state)
{
    static const uint64_t ids[] = {0, 1, UINT32_MAX, UINT64_MAX};
    struct rpc_parser parser;
    struct rpc_request request;
    size_t at = 0, need = 0;

    (void)state;
    for (int i = 0; i < 4; i++)
        put_call(ids[i]);
    rpc_put_notification_begin(&buffer, "log");
    mp_put_array(&buffer, 0);
    rpc_parser_create(&parser, 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(rpc_parse(&parser, buffer.data + at, buffer.size - at, &request, &need),
                         RPC_PARSE_DONE);
        assert_call(&request, ids[i]);
        at += request.size;
    }
    assert_int_equal(rpc_parse(&parser, buffer.data + at, buffer.size - at, &request, &need),
                     RPC_PARSE_DONE);
    assert_true(request.notification);
    assert_memory_equal(request.method, "log", 3);
    assert_int_equal(at + request.size, buffer.size);
    assert_int_equal(rpc_parse(&parser, buffer.data, 0, &request, &need), RPC_PARSE_MORE);
}

static void a_request_in_pieces_is_recognised_when_it_is_whole(void **state)
{
    struct rpc_parser parser;
    struct rpc_request request;
    size_t need;

    (void)state;
    put_call(7);
    rpc_parser_create(&parser, 0);
    for (size_t part = 0; part < buffer.size; part++) {
        char *copy = malloc(part + (part == 0));
        memcpy(copy, buffer.data, part);
        assert_int_equal(rpc_parse(&parser, copy, part, &request, &need), RPC_PARSE_MORE);
        assert_true(need > part && need <= buffer.size);
        free(copy);
    }
    assert_int_equal(rpc_parse(&parser, buffer.data, buffer.size, &request, &need), RPC_PARSE_DONE);
    assert_call(&request, 7);
}

static void assert_refused(const char *data, size_t size, const char *error)
{
    struct rpc_parser parser;
    struct rpc_request request;
    size_t need;

    rpc_parser_create(&parser, 1000);
    assert_int_equal(rpc_parse(&parser, data, size, &request, &need), RPC_PARSE_ERROR);
    assert_string_equal(parser.error, error);
}

static void other_messages_are_refused_early(void **state)
{
    const char *const none = "not a MessagePack-RPC request or notification";

    (void)state;
    assert_refused("\x92", 1, none);
    assert_refused("\x94\x01", 2, none);
    assert_refused("\x94\x02", 2, none);
    assert_refused("\x93\x00", 2, none);
    assert_refused("\x94\x00\xc1", 3, "the message is not valid MessagePack");
    assert_refused("\x94\x00\xff\xa1m\x90", 6, "the message's id is not an unsigned integer");
    assert_refused("\x94\x00\x01\xc4\x01m\x90", 7, "the method's name is not a string");
    assert_refused("\x94\x00\x01\xa1m\x80", 6, "the parameters are not an array");
    assert_refused("\x94\x00\x01\xdb\x00\x00\x03\xe8", 8, "the message is too large");
    assert_refused("\x94\x00\x01\xdb\xff\xff\xff\xff", 8, "the message is too large");
}

static void size_and_depth_have_bounds(void **state)
{
    (void)state;
    rpc_put_request_begin(&buffer, 1, "m");
    for (int i = 0; i < MP_DEPTH_MAX; i++)
        mp_put_array(&buffer, 1);
    assert_refused(buffer.data, buffer.size, "the message is nested too deep");
    mp_buffer_reset(&buffer, SIZE_MAX);
    rpc_put_request_begin(&buffer, 1, "m");
    mp_put_array(&buffer, 2000);
    for (int i = 0; i < 2000; i++)
        mp_put_nil(&buffer);
    assert_refused(buffer.data, buffer.size, "the message is too large");
    assert_refused(buffer.data, 1000, "the message is too large");
}

static void responses_hold_a_result_or_an_error(void **state)
{
    (void)state;
    rpc_put_result_begin(&buffer, 300);
    mp_put_bool(&buffer, true);
    assert_int_equal(buffer.size, 7);
    assert_memory_equal(buffer.data, "\x94\x01\xcd\x01\x2c\xc0\xc3", 7);
    mp_buffer_reset(&buffer, SIZE_MAX);
    rpc_put_error(&buffer, 1, -4, "E", "no");
    assert_int_equal(buffer.size, 1 + 1 + 1 + 1 + 5 + 1 + 5 + 2 + 8 + 3 + 1);
    assert_memory_equal(buffer.data,
                        "\x94\x01\x01\x83\xa4"
                        "code\xfc\xa4name\xa1"
                        "E\xa7message\xa2no\xc0",
                        buffer.size);
    mp_buffer_reset(&buffer, SIZE_MAX);
    rpc_put_error_more(&buffer, 1,
                       &(struct rpc_error){.code = -4,
                                           .name = "E",
                                           .message = "no",
                                           .trace = "\x90",
                                           .trace_size = 1,
                                           .details = "\x81\x01\x02",
                                           .details_size = 3});
    assert_memory_equal(buffer.data,
                        "\x94\x01\x01\x85\xa4"
                        "code\xfc\xa4name\xa1"
                        "E\xa7message\xa2no\xa5trace\x90\xa7"
                        "details\x81\x01\x02\xc0",
                        buffer.size);
    assert_int_equal(buffer.size, 4 + 6 + 7 + 11 + 7 + 11 + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(requests_follow_one_another, setup, teardown),
        cmocka_unit_test_setup_teardown(a_request_in_pieces_is_recognised_when_it_is_whole, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(other_messages_are_refused_early, setup, teardown),
        cmocka_unit_test_setup_teardown(size_and_depth_have_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(responses_hold_a_result_or_an_error, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
