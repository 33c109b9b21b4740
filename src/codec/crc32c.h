/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_CRC32C_H
#define CODEC_CRC32C_H

/* CRC-32C (Castagnoli), the standard value: crc32c(0, "123456789", 9) is 0xe3069283. The work is
 * done by a kernel of src/simd. */
#include <stddef.h>
#include <stdint.h>

#include "simd/simd.h"

/* Extends `crc` (0 at the start) by `size` bytes; crc32c(crc32c(0, a), b) equals crc32c(0, ab). */
static inline uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    return simd_active.crc32c(crc, data, size);
}

#endif
