/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C: short stretches by the processor's instruction, long ones by isa-l, which picks the
 * fastest of its routines (by carry-less multiplication, up to 512 bits) at load time.
 *
 * What is summed is mostly short: the head of a record, its body, a sum of sums. There the
 * instruction, three cycles for eight bytes, ends before isa-l's routines have got under way;
 * theirs is the lead where several streams can be worked on at once.
 *
 * Both work on the bare shift register. The standard value is the inverse of the register that was
 * seeded with ones, so inverting before and after gives it, and makes the result of one call the
 * seed of the next.
 */
#include <isa-l/crc.h>
#include <nmmintrin.h>
#include <string.h>

#include "simd/kernels.h"

/* isa-l's length is an int: what is longer goes in pieces. */
enum { SHORT_BYTES_MAX = 255, PIECE_BYTES_MAX = 1 << 30 };

static inline uint32_t crc_short(uint32_t crc, const unsigned char *bytes, size_t size)
{
    uint64_t wide = crc, eight;
    uint32_t four;
    uint16_t two;

    for (; size >= sizeof(eight); size -= sizeof(eight), bytes += sizeof(eight)) {
        memcpy(&eight, bytes, sizeof(eight));
        wide = _mm_crc32_u64(wide, eight);
    }
    crc = (uint32_t)wide;
    if (size & sizeof(four)) {
        memcpy(&four, bytes, sizeof(four));
        crc = _mm_crc32_u32(crc, four);
        bytes += sizeof(four);
    }
    if (size & sizeof(two)) {
        memcpy(&two, bytes, sizeof(two));
        crc = _mm_crc32_u16(crc, two);
        bytes += sizeof(two);
    }
    return size & 1 ? _mm_crc32_u8(crc, *bytes) : crc;
}

static uint32_t crc_long(uint32_t crc, const unsigned char *data, size_t size)
{
    /* The declaration lacks const; the routine only reads. */
    unsigned char *bytes = (unsigned char *)(uintptr_t)data;

    for (; size > PIECE_BYTES_MAX; size -= PIECE_BYTES_MAX, bytes += PIECE_BYTES_MAX)
        crc = crc32_iscsi(bytes, PIECE_BYTES_MAX, crc);
    return crc32_iscsi(bytes, (int)size, crc);
}

uint32_t simd__crc32c_sse42(uint32_t crc, const void *data, size_t size)
{
    if (size <= SHORT_BYTES_MAX)
        return ~crc_short(~crc, data, size);
    return ~crc_long(~crc, data, size);
}
