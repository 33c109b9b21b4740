/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arbitrary bytes as a manifest: reading never fails a check of the sanitizers, and what is taken
 * is written again as the same bytes. The first byte asks, if odd, for the last line to be made
 * right: bytes alone rarely get past a checksum.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "codec/crc32c.h"
#include "storage/manifest.h"

enum { LAST_LINE = 13 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    bool seal = data[0] & 1;
    size_t text_size = size - 1 + (seal ? LAST_LINE : 0);
    char *text = malloc(text_size + 1);
    ASSERT(text != NULL);
    memcpy(text, data + 1, size - 1);
    if (seal)
        snprintf(text + size - 1, LAST_LINE + 1, "end %08x\n", crc32c(0, text, size - 1));
    struct manifest manifest;
    manifest_create(&manifest);
    int rc = manifest_decode(&manifest, text, text_size);
    if (rc == 0) {
        char *again;
        size_t again_size;
        ASSERT(manifest_encode(&manifest, &again, &again_size) == 0);
        ASSERT(again_size == text_size && memcmp(again, text, text_size) == 0);
        free(again);
    } else {
        ASSERT(rc == ERROR_CORRUPT || rc == ERROR_VERSION);
        ASSERT(diag_message()[0] != '\0' && manifest.tree_count == 0);
    }
    manifest_destroy(&manifest);
    free(text);
    return 0;
}
