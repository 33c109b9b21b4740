/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMD_KERNELS_H
#define SIMD_KERNELS_H

/*
 * The kernels of all levels by name, for the tables. Private to src/simd. Those above SSE4.2 are
 * compiled for their level by an attribute of the function (not by flags of the file, which would
 * let inline functions of headers, compiled so, be taken by the linker for everybody).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIMD_AVX2_FUNCTION __attribute__((target("avx2,bmi,bmi2,lzcnt")))
#define SIMD_AVX512_FUNCTION \
    __attribute__((target("avx2,bmi,bmi2,lzcnt,avx512f,avx512bw,avx512dq,avx512vl")))

/* What multiplies a hash to give the bit in each of the eight words of a block. Odd; those of the
 * Parquet format. Part of the format on disk. */
#define SIMD_BLOOM_SALTS                                                                           \
    {                                                                                              \
        0x47b6137bu, 0x44974d91u, 0x8824ad5bu, 0xa2b7289du, 0x705495c7u, 0x2df1424bu, 0x9efc4947u, \
            0x5c6bfb31u                                                                            \
    }

void simd__bloom_add_scalar(unsigned char *block, uint32_t hash);
void simd__bloom_add_avx2(unsigned char *block, uint32_t hash);

bool simd__bloom_may_contain_scalar(const unsigned char *block, uint32_t hash);
bool simd__bloom_may_contain_avx2(const unsigned char *block, uint32_t hash);

unsigned simd__lower_bound_scalar(const uint64_t *numbers, unsigned count, uint64_t bound);
unsigned simd__lower_bound_avx512(const uint64_t *numbers, unsigned count, uint64_t bound);

uint32_t simd__crc32c_scalar(uint32_t crc, const void *data, size_t size);
uint32_t simd__crc32c_sse42(uint32_t crc, const void *data, size_t size);

#endif
