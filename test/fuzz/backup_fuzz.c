/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arbitrary bytes as the description of a backup: reading never fails a check of the sanitizers, and
 * what is taken is written again and read again as the same. The first byte asks, if odd, for a
 * right checksum behind the rest.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "codec/crc32c.h"
#include "db/backup_file.h"

enum { END_ROOM = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const struct backup *backup)
{
    struct backup same;
    char *text;
    size_t size;
    backup_create(&same);
    ASSERT(backup_encode(backup, &text, &size) == 0);
    ASSERT(backup_decode(&same, text, size) == 0);
    ASSERT(same.k == backup->k && same.count == backup->count && strcmp(same.id, backup->id) == 0 &&
           strcmp(same.base_folder, backup->base_folder) == 0);
    for (size_t i = 0; i < same.count; i++)
        ASSERT(strcmp(same.entries[i].name, backup->entries[i].name) == 0 &&
               strchr(same.entries[i].name, '/') == NULL);
    backup_destroy(&same);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char *text = malloc(size + END_ROOM);
    ASSERT(text != NULL);
    memcpy(text, data + 1, size - 1);
    size_t text_size = size - 1;
    if (data[0] & 1)
        text_size += (size_t)snprintf(text + text_size, END_ROOM, ",\n \"checksum\": \"%08x\"\n}\n",
                                      crc32c(0, text, text_size));
    struct backup backup;
    backup_create(&backup);
    int rc = backup_decode(&backup, text, text_size);
    if (rc == 0) {
        again(&backup);
    } else {
        ASSERT(rc == ERROR_CORRUPT || rc == ERROR_VERSION);
        ASSERT(diag_message()[0] != '\0' && backup.count == 0);
    }
    backup_destroy(&backup);
    free(text);
    return 0;
}
