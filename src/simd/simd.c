/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which kernels run.
 *
 * The choice is a constructor, so that tools, tests and benchmarks have it like the server, without
 * a call in each main, and no thread can see the table change. Whoever includes a kernel's header
 * refers to `simd_active`, and by that links this file with its constructor.
 *
 * The processor's flags are not enough: the system must save the wide registers as well.
 * __builtin_cpu_supports looks at both.
 */
#include "simd/simd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simd/kernels.h"

static const char *const names[SIMD_LEVEL_COUNT] = {
    [SIMD_SCALAR] = "scalar",
    [SIMD_SSE42] = "sse4.2",
    [SIMD_AVX2] = "avx2",
    [SIMD_AVX512] = "avx512",
};

static const struct simd_kernels tables[SIMD_LEVEL_COUNT] = {
    [SIMD_SCALAR] =
        {
            .level = SIMD_SCALAR,
            .bloom_add = simd__bloom_add_scalar,
            .bloom_may_contain = simd__bloom_may_contain_scalar,
            .lower_bound = simd__lower_bound_scalar,
            .crc32c = simd__crc32c_scalar,
        },
    [SIMD_SSE42] =
        {
            .level = SIMD_SSE42,
            .bloom_add = simd__bloom_add_scalar,
            .bloom_may_contain = simd__bloom_may_contain_scalar,
            .lower_bound = simd__lower_bound_scalar,
            .crc32c = simd__crc32c_sse42,
        },
    [SIMD_AVX2] =
        {
            .level = SIMD_AVX2,
            .bloom_add = simd__bloom_add_avx2,
            .bloom_may_contain = simd__bloom_may_contain_avx2,
            .lower_bound = simd__lower_bound_scalar,
            .crc32c = simd__crc32c_sse42,
        },
    [SIMD_AVX512] =
        {
            .level = SIMD_AVX512,
            .bloom_add = simd__bloom_add_avx2,
            .bloom_may_contain = simd__bloom_may_contain_avx2,
            .lower_bound = simd__lower_bound_avx512,
            .crc32c = simd__crc32c_sse42,
        },
};

struct simd_kernels simd_active;

static bool machine_has(enum simd_level level)
{
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2");
    switch (level) {
    case SIMD_SCALAR:
    case SIMD_SSE42:
        return true;
    case SIMD_AVX2:
        return avx2;
    case SIMD_AVX512:
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    default:
        return false;
    }
}

const struct simd_kernels *simd_kernels_of(enum simd_level level)
{
    return machine_has(level) ? &tables[level] : NULL;
}

const char *simd_level_name(enum simd_level level)
{
    return names[level];
}

enum simd_level simd_level_of_name(const char *name)
{
    enum simd_level level = SIMD_SCALAR;

    while (level < SIMD_LEVEL_COUNT && strcmp(name, names[level]) != 0)
        level++;
    return level;
}

static enum simd_level level_asked_for(const char *name)
{
    enum simd_level level = simd_level_of_name(name);

    if (level == SIMD_LEVEL_COUNT || !machine_has(level)) {
        fprintf(stderr, "PERIGEE_SIMD is '%s': %s\n", name,
                level == SIMD_LEVEL_COUNT ? "one of scalar, sse4.2, avx2 and avx512"
                                          : "this machine does not have it");
        exit(2);
    }
    return level;
}

__attribute__((constructor)) static void choose(void)
{
    const char *name = getenv("PERIGEE_SIMD");
    enum simd_level level = SIMD_AVX512;

    if (name != NULL && name[0] != '\0')
        level = level_asked_for(name);
    while (!machine_has(level))
        level--;
    simd_active = tables[level];
}
