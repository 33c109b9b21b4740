/* SPDX-License-Identifier: Apache-2.0 */
/* Bloom filters (simd/bloom.h), the whole block in one register. */
#include <immintrin.h>

#include "simd/kernels.h"

static const uint32_t salts[8] = SIMD_BLOOM_SALTS;

SIMD_AVX512_FUNCTION static inline __m512i bits_of(uint32_t hash)
{
    __m256i product = _mm256_mullo_epi32(_mm256_set1_epi32((int)hash),
                                         _mm256_loadu_si256((const __m256i *)salts));

    return _mm512_sllv_epi64(_mm512_set1_epi64(1),
                             _mm512_cvtepu32_epi64(_mm256_srli_epi32(product, 26)));
}

SIMD_AVX512_FUNCTION void simd__bloom_add_avx512(unsigned char *block, uint32_t hash)
{
    _mm512_storeu_si512(block, _mm512_or_si512(_mm512_loadu_si512(block), bits_of(hash)));
}

SIMD_AVX512_FUNCTION bool simd__bloom_may_contain_avx512(const unsigned char *block, uint32_t hash)
{
    __m512i bits = bits_of(hash);

    /* A lane of (block & bits) that is zero is a bit that is missing. */
    return _mm512_testn_epi64_mask(_mm512_loadu_si512(block), bits) == 0;
}
