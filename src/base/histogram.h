/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

/*
 * How often something took how long: counts on a logarithmic scale, four buckets to each doubling
 * from a microsecond to about an hour, so that a percentile is right within a quarter.
 *
 * No locking of its own.
 */
#include <stdint.h>

enum {
    HISTOGRAM_SHIFT = 10, /* bucket 0 ends at 1024 ns */
    HISTOGRAM_DOUBLINGS = 32,
    HISTOGRAM_BUCKETS = 1 + 4 * HISTOGRAM_DOUBLINGS
};

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t count, total_ns, max_ns;
};

/* Counts one; zero-initialised it is empty. */
void histogram_add(struct histogram *histogram, uint64_t ns);

/* The number of the bucket that has `ns`, and where a bucket ends (the last has no end: UINT64_MAX).
 */
unsigned histogram_bucket(uint64_t ns);
uint64_t histogram_bucket_end_ns(unsigned bucket);

/* What a share of all (0 < share <= 1) did not take longer than: the end of the bucket where the
 * share is reached, at most the longest. 0 when it is empty. */
uint64_t histogram_quantile_ns(const struct histogram *histogram, double share);

#endif
