/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Searching in numbers (simd/search.h): which group of eight by counting the groups whose last
 * number is below, then counting within the group. A group at the end that is not whole gives way
 * to the last eight numbers: those before the group found are below anyhow.
 */
#include "simd/kernels.h"

enum { GROUP = 8 };

static unsigned count_below(const uint64_t *numbers, unsigned count, uint64_t bound)
{
    unsigned below = 0;

    for (unsigned i = 0; i < count; i++)
        below += numbers[i] < bound;
    return below;
}

unsigned simd__lower_bound_scalar(const uint64_t *numbers, unsigned count, uint64_t bound)
{
    unsigned begin = 0;

    if (count < GROUP)
        return count_below(numbers, count, bound);
    for (unsigned i = GROUP - 1; i < count; i += GROUP)
        begin += numbers[i] < bound ? GROUP : 0;
    if (begin > count - GROUP)
        begin = count - GROUP;
    return begin + count_below(numbers + begin, GROUP, bound);
}
