/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Searching in numbers (simd/search.h): all of them are compared, 64 without a branch. The masked
 * loads touch nothing beyond the count, and which lanes count is known without a look at it.
 */
#include <immintrin.h>

#include "simd/kernels.h"

enum { GROUP = 8, GROUPS = 8 };

/* How many of the first `count` numbers, at most 64, are below. */
SIMD_AVX512_FUNCTION static inline unsigned count_below(const uint64_t *numbers, unsigned count,
                                                        __m512i bound)
{
    uint64_t lanes = _bzhi_u64(UINT64_MAX, count);
    unsigned below = 0;

#pragma GCC unroll 8
    for (int i = 0; i < GROUPS; i++) {
        __mmask8 some = (__mmask8)(lanes >> GROUP * i);
        __m512i group = _mm512_maskz_loadu_epi64(some, numbers + GROUP * i);
        below += (unsigned)__builtin_popcount(_mm512_mask_cmplt_epu64_mask(some, group, bound));
    }
    return below;
}

SIMD_AVX512_FUNCTION unsigned simd__lower_bound_avx512(const uint64_t *numbers, unsigned count,
                                                       uint64_t bound)
{
    const unsigned most = GROUP * GROUPS;
    __m512i bounds = _mm512_set1_epi64((int64_t)bound);
    unsigned below = 0;

    while (count > most) {
        below += count_below(numbers, most, bounds);
        numbers += most;
        count -= most;
    }
    return below + count_below(numbers, count, bounds);
}
