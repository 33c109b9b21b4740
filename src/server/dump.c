/* SPDX-License-Identifier: Apache-2.0 */

/* Keys and tuples as JSON. Whatever the bytes are, they are shown: nothing here trusts them. */
#include "server/dump.h"

#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/key.h"

enum { SCRATCH_BYTES_MAX = 1 << 20 };

void dump_create(struct dump *dump)
{
    json_buffer_create(&dump->line);
    mp_buffer_create(&dump->scratch);
}

void dump_destroy(struct dump *dump)
{
    json_buffer_destroy(&dump->line);
    mp_buffer_destroy(&dump->scratch);
}

static int memory_checked(int rc)
{
    return rc ? diag_set(rc, "out of memory") : 0;
}

int dump_text(struct dump *dump, const char *text)
{
    return memory_checked(json_append(&dump->line, text, strlen(text)));
}

/* The parts of a key as a MessagePack array, or the key as one binary value. */
static int key_to_msgpack(struct mp_buffer *out, const unsigned char *key, size_t size)
{
    const unsigned char *at = key, *end = key + size;
    mp_buffer_reset(out, SCRATCH_BYTES_MAX);
    char *parts = mp_buffer_reserve(out, 18 * size + 16 + 5);
    if (!parts)
        return ERROR_MEMORY;
    char *to = parts + 5; /* array 32, whose count is known at the end */
    uint32_t count = 0;
    int rc = 0;
    for (; at < end && !rc; count++)
        rc = key_part_decode(&at, end, &to);
    if (rc)
        mp_put_bin(out, key, size);
    else {
        *parts = (char)0xdd;
        for (int n = 0; n < 4; n++)
            parts[1 + n] = (char)(count >> (24 - 8 * n));
        out->size += (size_t)(to - parts);
    }
    return out->failed ? ERROR_MEMORY : 0;
}

int dump_key(struct dump *dump, const void *key, size_t size)
{
    int rc = key_to_msgpack(&dump->scratch, key, size);
    const char *value = dump->scratch.data;
    if (!rc)
        rc = json_from_msgpack(&dump->line, &value);
    return memory_checked(rc);
}

int dump_tuple(struct dump *dump, const char *data, size_t size)
{
    const char *end = data;
    if (!mp_check_limited(&end, data + size) || end != data + size) {
        mp_buffer_reset(&dump->scratch, SCRATCH_BYTES_MAX);
        mp_put_bin(&dump->scratch, data, size);
        if (dump->scratch.failed)
            return memory_checked(ERROR_MEMORY);
        data = dump->scratch.data;
    }
    return memory_checked(json_from_msgpack(&dump->line, &data));
}

int dump_print(struct dump *dump)
{
    size_t size = dump->line.size;
    dump->line.size = 0;
    if (fwrite(dump->line.data, 1, size, stdout) != size)
        return diag_set(ERROR_IO, "cannot write to standard output");
    return 0;
}
