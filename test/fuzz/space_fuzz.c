/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests on spaces. The first byte chooses the operation and the format; the rest is cut into
 * arguments at each byte 0xff. Checked, beside what the sanitizers see (every argument ends where its
 * memory ends):
 *   - what is refused has a message;
 *   - what is accepted is whole MessagePack: arrays where there have to be some;
 *   - in whatever format a value came, as JSON text and as MessagePack it is the same request.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "proto/space_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARGS_MAX = 12 };

static struct json_buffer scratch, other_scratch;

/* Each argument in memory of its own. */
static unsigned cut(const uint8_t *data, size_t size, struct redis_slice argv[ARGS_MAX])
{
    unsigned argc = 0;
    while (argc < ARGS_MAX) {
        const uint8_t *end = size > 0 ? memchr(data, 0xff, size) : NULL;
        size_t taken = end ? (size_t)(end - data) : size;
        char *copy = malloc(taken + (taken == 0));
        ASSERT(copy != NULL);
        if (taken > 0)
            memcpy(copy, data, taken);
        argv[argc++] = (struct redis_slice){copy, taken};
        if (!end)
            break;
        data += taken + 1;
        size -= taken + 1;
    }
    return argc;
}

static void check_array(const struct redis_slice *value)
{
    const char *at = value->data;
    if (value->size == 0)
        return;
    ASSERT(mp_check_limited(&at, value->data + value->size));
    ASSERT(at == value->data + value->size && mp_typeof(*value->data) == MP_ARRAY);
}

static bool same(const struct redis_slice *left, const struct redis_slice *right)
{
    return left->size == right->size &&
           (left->size == 0 || memcmp(left->data, right->data, left->size) == 0);
}

/* The request, its space and subject given as MessagePack this time. */
static void check_again(const struct space_request *request)
{
    struct mp_buffer name;
    struct space_request again;
    mp_buffer_create(&name);
    mp_put_str(&name, request->space.data, request->space.size);
    struct redis_slice argv[3] = {{name.data, name.size}, request->subject, request->operations};
    unsigned argc = request->operations.size > 0 ? 3 : request->subject.size > 0 ? 2 : 1;
    int rc =
        space_request_read(&again, request->operation, WIRE_MSGPACK, argv, argc, &other_scratch);
    ASSERT(rc == 0);
    ASSERT(same(&again.space, &request->space) && same(&again.subject, &request->subject) &&
           same(&again.operations, &request->operations));
    mp_buffer_destroy(&name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct redis_slice argv[ARGS_MAX];
    struct space_request request;
    if (size == 0)
        return 0;
    unsigned argc = cut(data + 1, size - 1, argv);
    enum space_operation operation = (enum space_operation)(data[0] % (SPACE_COUNT + 1));
    enum wire_format format = (enum wire_format)(data[0] / (SPACE_COUNT + 1) % (WIRE_MSGPACK + 1));
    diag_clear();
    int rc = space_request_read(&request, operation, format, argv, argc, &scratch);
    if (rc) {
        ASSERT(rc == ERROR_INVALID && strlen(diag_message()) > 0);
    } else {
        check_array(&request.subject);
        check_array(&request.operations);
        check_array(&request.after);
        check_again(&request);
    }
    for (unsigned n = 0; n < argc; n++)
        free((void *)(uintptr_t)argv[n].data);
    return 0;
}
