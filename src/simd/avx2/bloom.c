/* SPDX-License-Identifier: Apache-2.0 */
/* Bloom filters (simd/bloom.h), four words at a time. */
#include <immintrin.h>

#include "simd/kernels.h"

static const uint32_t salts[8] = SIMD_BLOOM_SALTS;

/* The bits of one key in words 0 to 3 and 4 to 7. */
SIMD_AVX2_FUNCTION static inline void bits_of(uint32_t hash, __m256i *low, __m256i *high)
{
    const __m256i one = _mm256_set1_epi64x(1);
    __m256i product = _mm256_mullo_epi32(_mm256_set1_epi32((int)hash),
                                         _mm256_loadu_si256((const __m256i *)salts));
    __m256i places = _mm256_srli_epi32(product, 26);

    *low = _mm256_sllv_epi64(one, _mm256_cvtepu32_epi64(_mm256_castsi256_si128(places)));
    *high = _mm256_sllv_epi64(one, _mm256_cvtepu32_epi64(_mm256_extracti128_si256(places, 1)));
}

SIMD_AVX2_FUNCTION void simd__bloom_add_avx2(unsigned char *block, uint32_t hash)
{
    __m256i low, high, *words = (__m256i *)block;

    bits_of(hash, &low, &high);
    _mm256_storeu_si256(words, _mm256_or_si256(_mm256_loadu_si256(words), low));
    _mm256_storeu_si256(words + 1, _mm256_or_si256(_mm256_loadu_si256(words + 1), high));
}

SIMD_AVX2_FUNCTION bool simd__bloom_may_contain_avx2(const unsigned char *block, uint32_t hash)
{
    const __m256i *words = (const __m256i *)block;
    __m256i low, high;

    bits_of(hash, &low, &high);
    __m256i missing = _mm256_or_si256(_mm256_andnot_si256(_mm256_loadu_si256(words), low),
                                      _mm256_andnot_si256(_mm256_loadu_si256(words + 1), high));
    return _mm256_testz_si256(missing, missing);
}
