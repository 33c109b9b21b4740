/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Headers of the PROXY protocol, with the signature put before the bytes: nothing is read behind the
 * end, what is taken is no longer than what there is, and a piece is never refused where the whole is
 * taken.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header header;
    char *bytes = malloc(size + 12);
    if (!bytes)
        return 0;
    memcpy(bytes, "\r\n\r\n\0\r\nQUIT\n", 12);
    memcpy(bytes + 12, data, size);
    int whole = proxy_parse(bytes, size + 12, &header);
    if (whole > 0) {
        char text[ADDRESS_TEXT_MAX + 1];
        if ((size_t)whole > size + 12)
            abort();
        for (int n = 0; n < whole; n++)
            if (proxy_parse(bytes, (size_t)n, &header) != 0)
                abort();
        proxy_parse(bytes, (size_t)whole, &header);
        if (header.known)
            address_format(&header.source, text);
    }
    free(bytes);
    return 0;
}
