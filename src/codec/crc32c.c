/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C on isa-l, which picks the fastest routine for the processor at load time.
 *
 * crc32_iscsi works on the bare shift register: it neither seeds it with ones nor inverts it at the
 * end. The standard value is the inverse of the register that was seeded with ones, so inverting
 * before and after gives it, and makes the result of one call the seed of the next. Its length is
 * an int: what is longer goes in pieces.
 */
#include "codec/crc32c.h"

#include <isa-l/crc.h>

enum { PIECE_BYTES_MAX = 1 << 30 };

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    /* The declaration lacks const; the routine only reads. */
    unsigned char *bytes = (unsigned char *)(uintptr_t)data;

    crc = ~crc;
    while (size > PIECE_BYTES_MAX) {
        crc = crc32_iscsi(bytes, PIECE_BYTES_MAX, crc);
        bytes += PIECE_BYTES_MAX;
        size -= PIECE_BYTES_MAX;
    }
    if (size > 0)
        crc = crc32_iscsi(bytes, (int)size, crc);
    return ~crc;
}
