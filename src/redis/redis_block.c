/* SPDX-License-Identifier: Apache-2.0 */

/* What commands that wait for keys say to whoever runs them; see the header. */
#include "redis/redis_block.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_value.h"

int redis_block_wait(struct redis_call *call, const struct redis_slice *keys, unsigned count,
                     int type, uint64_t timeout_ms)
{
    struct redis_block *block = call->block;
    if (!block || block->over)
        return 0;
    block->keys = keys;
    block->count = count;
    block->type = type;
    block->timeout_ms = timeout_ms;
    return diag_set(ERROR_WAIT, "waits for a key");
}

int redis_block_wait_keeping(struct redis_call *call, const struct redis_slice *keys,
                             unsigned count, int type, uint64_t timeout_ms, const void *data,
                             size_t size)
{
    struct redis_block *block = call->block;
    int rc = redis_block_wait(call, keys, count, type, timeout_ms);
    if (rc != ERROR_WAIT || block->again)
        return rc;
    free(block->keep);
    block->keep = malloc(size + 1);
    if (!block->keep) {
        block->count = 0;
        return diag_set(ERROR_MEMORY, "out of memory");
    }
    memcpy(block->keep, data, size);
    block->keep_size = size;
    return rc;
}

struct redis_slice redis_block_kept(const struct redis_call *call)
{
    return call->block ? call->block->kept : (struct redis_slice){NULL, 0};
}

bool redis_block_again(const struct redis_call *call)
{
    return call->block && call->block->again;
}

/* Seconds as Redis reads them: a long double, no blanks in front. */
static int seconds_arg(const struct redis_slice *arg, int64_t *out_ms)
{
    char text[256], *end;
    if (arg->size > 0 && arg->size < sizeof text && !strchr(" \t\n\v\f\r", arg->data[0])) {
        memcpy(text, arg->data, arg->size);
        text[arg->size] = 0;
        long double seconds = strtold(text, &end);
        if (end == text + arg->size && !isnan(seconds)) {
            long double ms = ceill(seconds * 1000);
            if (ms >= 9223372036854775808.0L)
                return diag_set(ERROR_INVALID, "timeout is out of range");
            *out_ms = ms < 0 ? -1 : (int64_t)ms;
            return 0;
        }
    }
    return diag_set(ERROR_INVALID, "timeout is not a float or out of range");
}

int redis_timeout_arg(const struct redis_call *call, unsigned n, bool seconds, uint64_t *out_ms)
{
    const struct redis_slice *arg = &call->argv[n];
    int64_t ms;
    if (seconds) {
        int rc = seconds_arg(arg, &ms);
        if (rc)
            return rc;
    } else if (!redis_integer_parse(arg->data, arg->size, &ms)) {
        return diag_set(ERROR_INVALID, "timeout is not an integer or out of range");
    }
    if (ms < 0)
        return diag_set(ERROR_INVALID, "timeout is negative");
    if (ms > INT64_MAX - (int64_t)call->now_ms)
        return diag_set(ERROR_INVALID, "timeout is out of range");
    *out_ms = (uint64_t)ms;
    return 0;
}
