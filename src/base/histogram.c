/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Buckets by the highest bit and the two bits behind it, as in HdrHistogram (Tene) with two
 * significant bits.
 */
#include "base/histogram.h"

unsigned histogram_bucket(uint64_t ns)
{
    if (ns >> HISTOGRAM_SHIFT == 0)
        return 0;
    unsigned doubling = 63 - (unsigned)__builtin_clzll(ns) - HISTOGRAM_SHIFT;
    if (doubling >= HISTOGRAM_DOUBLINGS)
        return HISTOGRAM_BUCKETS - 1;
    unsigned quarter = (unsigned)(ns >> (doubling + HISTOGRAM_SHIFT - 2)) & 3;
    return 1 + doubling * 4 + quarter;
}

uint64_t histogram_bucket_end_ns(unsigned bucket)
{
    if (bucket >= HISTOGRAM_BUCKETS - 1)
        return UINT64_MAX;
    unsigned doubling = bucket / 4, quarter = bucket % 4;
    return (uint64_t)(4 + quarter) << (doubling + HISTOGRAM_SHIFT - 2);
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
    histogram->counts[histogram_bucket(ns)]++;
    histogram->count++;
    histogram->total_ns += ns;
    if (ns > histogram->max_ns)
        histogram->max_ns = ns;
}

uint64_t histogram_quantile_ns(const struct histogram *histogram, double share)
{
    double wanted = share * (double)histogram->count;
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS && histogram->count > 0; bucket++) {
        uint64_t end = histogram_bucket_end_ns(bucket);
        seen += histogram->counts[bucket];
        if ((double)seen >= wanted)
            return end < histogram->max_ns ? end : histogram->max_ns;
    }
    return histogram->max_ns;
}
