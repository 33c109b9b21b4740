/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libyaml's events become: whatever the text, the bytes are valid MessagePack, one value for each
 * document. And base64 of whatever bytes stays within its room.
 */
#include <lauxlib.h>
#include <stdlib.h>

#include "base/error.h"
#include "lua/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* No deadline is armed, but a long text asks who else waits. */
    static struct lua_runtime runtime;
    if (runtime.deadline.L == NULL && (runtime.deadline.L = luaL_newstate()) == NULL)
        return 0;
    struct mp_buffer out;
    uint32_t documents;
    mp_buffer_create(&out);
    if (lua__yaml_read(&runtime, (const char *)data, size, &out, &documents) == 0) {
        const char *at = out.data, *end = out.size == 0 ? at : at + out.size;
        for (uint32_t n = 0; n < documents; n++)
            if (!mp_check_limited(&at, end))
                abort();
        if (at != end)
            abort();
    }
    mp_buffer_destroy(&out);
    char *bytes = malloc(size / 4 * 3 + 3);
    if (bytes != NULL &&
        lua__base64_decode(&runtime, bytes, (const char *)data, size) > size / 4 * 3 + 3)
        abort();
    free(bytes);
    return 0;
}
