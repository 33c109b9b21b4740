/* SPDX-License-Identifier: Apache-2.0 */
/* Bloom filters (simd/bloom.h), word by word. */
#include <string.h>

#include "simd/kernels.h"

enum { WORDS = 8 };

static const uint32_t salts[WORDS] = SIMD_BLOOM_SALTS;

static inline uint64_t bit_of(uint32_t hash, int word)
{
    return (uint64_t)1 << ((hash * salts[word]) >> 26);
}

void simd__bloom_add_scalar(unsigned char *block, uint32_t hash)
{
    uint64_t words[WORDS];

    memcpy(words, block, sizeof(words));
    for (int i = 0; i < WORDS; i++)
        words[i] |= bit_of(hash, i);
    memcpy(block, words, sizeof(words));
}

bool simd__bloom_may_contain_scalar(const unsigned char *block, uint32_t hash)
{
    uint64_t word;

    for (int i = 0; i < WORDS; i++) {
        memcpy(&word, block + i * sizeof(word), sizeof(word));
        if ((word & bit_of(hash, i)) == 0)
            return false;
    }
    return true;
}
