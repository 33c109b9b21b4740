/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels of src/simd on every level that the machine has: nanoseconds of CPU a call, through a
 * pointer as users call them, and how many times as fast as the scalar reference. In memory: each
 * call meets another place of 256 MiB, and does not wait for the one before it; else all is in the
 * first-level cache. The best of some turns, since what others do on the machine only ever adds.
 *
 * At the end, trials: what kernels took the place of, and loops that were thought of as kernels and
 * stay plain C in the product, beside what was written for them here.
 */
#include "bench.h"

#include <immintrin.h>
#include <isa-l/crc.h>

#include "base/assert.h"
#include "base/random.h"
#include "codec/mp.h"
#include "proto/resp_parse.h"
#include "proto/resp_write.h"
#include "simd/bloom.h"
#include "simd/search.h"

enum {
    TURNS = 5,
    DRAWS = 1 << 18, /* random numbers, prepared */
    MEMORY_BYTES = 256 << 20,
    CACHED_BYTES = 16 << 10,
    NODE_WORDS = 128, /* as a node of the tree: 1 KiB, the numbers behind a line of other things */
    NODE_NUMBERS = 8,
    NODE_LEAST = 31,
    NODE_MOST = 60,
    KEY_BYTES = 16,
    REQUESTS = 1000,
};

struct bench {
    unsigned char *memory;
    uint64_t *draws;
    uint64_t kept; /* what results go into */
    struct mp_buffer requests;
};

/* One row. `bytes`: how long what is worked on is, or how much memory the calls are spread over. */
struct work {
    const char *name;
    void (*run)(struct bench *bench, const struct simd_kernels *kernels, const struct work *work);
    size_t bytes;
    size_t calls;
};

static double best_of(struct bench *bench, const struct simd_kernels *kernels,
                      const struct work *work)
{
    double best = 0;

    for (int turn = 0; turn < TURNS; turn++) {
        double start = bench_cpu_ns();
        work->run(bench, kernels, work);
        double took = (bench_cpu_ns() - start) / (double)work->calls;
        bench_use(&bench->kept);
        if (turn == 0 || took < best)
            best = took;
    }
    return best;
}

static void levels_print(struct bench *bench, const struct work *work)
{
    double scalar = 0;

    printf("%-30s", work->name);
    for (enum simd_level level = 0; level < SIMD_LEVEL_COUNT; level++) {
        const struct simd_kernels *kernels = simd_kernels_of(level);
        if (kernels == NULL)
            continue;
        double took = best_of(bench, kernels, work);
        if (level == SIMD_SCALAR)
            scalar = took;
        printf(" %8.1f ns %5.1f x", took, scalar / took);
        fflush(stdout);
    }
    printf("\n");
}

/* --------------------------------------------------------------------------------------- kernels */

/* Each sum is the seed of the next, as where sums are summed. */
static void checksum(struct bench *bench, const struct simd_kernels *kernels,
                     const struct work *work)
{
    for (size_t i = 0; i < work->calls; i++)
        bench->kept = kernels->crc32c((uint32_t)bench->kept, bench->memory, work->bytes);
}

static void bloom_ask(struct bench *bench, const struct simd_kernels *kernels,
                      const struct work *work)
{
    size_t blocks = work->bytes / BLOOM_BLOCK_BYTES;

    for (size_t i = 0; i < work->calls; i++) {
        uint64_t hash = bench->draws[i % DRAWS];
        bench->kept += kernels->bloom_may_contain(bench->memory + bloom_block_offset(blocks, hash),
                                                  (uint32_t)hash);
    }
}

static void bloom_fill(struct bench *bench, const struct simd_kernels *kernels,
                       const struct work *work)
{
    size_t blocks = work->bytes / BLOOM_BLOCK_BYTES;

    for (size_t i = 0; i < work->calls; i++) {
        uint64_t hash = bench->draws[i % DRAWS];
        kernels->bloom_add(bench->memory + bloom_block_offset(blocks, hash), (uint32_t)hash);
    }
}

/* Half of the keys asked for were added. */
static void bloom_prepare(struct bench *bench, size_t bytes)
{
    size_t blocks = bytes / BLOOM_BLOCK_BYTES;
    struct random random;

    memset(bench->memory, 0, bytes);
    for (size_t i = 0; i < DRAWS && i < bytes * 8 / 10; i += 2)
        bloom_add(bench->memory, blocks, bench->draws[i]);
    random_create(&random, 2);
    for (size_t i = DRAWS / 2; i < bytes * 8 / 10; i++)
        bloom_add(bench->memory, blocks, random_next(&random));
}

static void search(struct bench *bench, const struct simd_kernels *kernels, const struct work *work)
{
    size_t nodes = work->bytes / (NODE_WORDS * sizeof(uint64_t));

    for (size_t i = 0; i < work->calls; i++) {
        uint64_t draw = bench->draws[i % DRAWS];
        const uint64_t *node =
            (const uint64_t *)bench->memory + ((draw >> 32) * nodes >> 32) * NODE_WORDS;
        bench->kept += kernels->lower_bound(node + NODE_NUMBERS, (unsigned)node[0], draw << 32);
    }
}

static int number_compare(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

static void nodes_prepare(struct bench *bench, size_t bytes)
{
    uint64_t *end = (uint64_t *)(bench->memory + bytes);
    struct random random;

    random_create(&random, 1);
    for (uint64_t *node = (uint64_t *)bench->memory; node < end; node += NODE_WORDS) {
        node[0] = NODE_LEAST + random_below(&random, NODE_MOST - NODE_LEAST + 1);
        for (size_t i = 0; i < node[0]; i++)
            node[NODE_NUMBERS + i] = random_next(&random);
        qsort(node + NODE_NUMBERS, node[0], sizeof(node[0]), number_compare);
    }
}

/* ---------------------------------------------------------------------------------------- trials */

/* isa-l's routine for sums of any length; the kernel has it for long ones. */
static void checksum_isal(struct bench *bench, const struct simd_kernels *kernels,
                          const struct work *work)
{
    (void)kernels;
    for (size_t i = 0; i < work->calls; i++)
        bench->kept = crc32_iscsi(bench->memory, (int)work->bytes, (uint32_t)bench->kept);
}

static unsigned lower_bound_binary(const uint64_t *numbers, unsigned count, uint64_t bound)
{
    unsigned low = 0;

    for (unsigned size = count; size > 1;) {
        unsigned half = size / 2;
        low += numbers[low + half - 1] < bound ? half : 0;
        size -= half;
    }
    return low + (count > 0 && numbers[low] < bound);
}

static void search_binary(struct bench *bench, const struct simd_kernels *kernels,
                          const struct work *work)
{
    struct simd_kernels binary = *kernels;

    binary.lower_bound = lower_bound_binary;
    search(bench, &binary, work);
}

/* Keys of 16 bytes that are equal, which is what a look-up compares once hints have led to a row. */

static void keys_by_memcmp(struct bench *bench, const struct simd_kernels *kernels,
                           const struct work *work)
{
    (void)kernels;
    for (size_t i = 0; i < work->calls; i++) {
        const unsigned char *key = bench->memory + (i & 15) * 4 * KEY_BYTES;
        size_t size = work->bytes;
        __asm__("" : "+r"(size)); /* not known when compiled */
        bench->kept += (uint64_t)memcmp(key, key + 2 * KEY_BYTES, size) == 0;
    }
}

static void keys_by_vector(struct bench *bench, const struct simd_kernels *kernels,
                           const struct work *work)
{
    (void)kernels;
    for (size_t i = 0; i < work->calls; i++) {
        const unsigned char *key = bench->memory + (i & 15) * 4 * KEY_BYTES;
        size_t size = work->bytes;
        __asm__("" : "+r"(size));
        __m128i left = _mm_loadu_si128((const __m128i *)key);
        __m128i right = _mm_loadu_si128((const __m128i *)(key + 2 * KEY_BYTES));
        unsigned differ = ~(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(left, right)) &
                          (size < 16 ? (1u << size) - 1 : 0xffff);
        unsigned at = differ == 0 ? 0 : (unsigned)__builtin_ctz(differ);
        bench->kept += (differ == 0 ? 0 : key[at] - key[2 * KEY_BYTES + at]) == 0;
    }
}

static void requests_parsed(struct bench *bench, const struct simd_kernels *kernels,
                            const struct work *work)
{
    struct resp_limits limits = resp_limits_default();
    struct resp_parser parser;

    (void)kernels;
    resp_parser_create(&parser, &limits, true);
    for (size_t i = 0; i < work->calls; i += REQUESTS) {
        const char *data = bench->requests.data;
        size_t size = bench->requests.size, need;
        struct resp_request request;
        while (size > 0 && resp_parse(&parser, data, size, &request, &need) == RESP_PARSE_DONE) {
            data += request.size;
            size -= request.size;
            bench->kept += request.argc;
        }
        ASSERT(size == 0);
        resp_parser_recycle(&parser);
    }
    resp_parser_destroy(&parser);
}

/* What any parser that finds the ends of lines by vectors does at the least: one pass over all
 * bytes, and a look at each place found. No number is read and nothing is checked. */
__attribute__((target("avx2,bmi"))) static void requests_scanned(struct bench *bench,
                                                                 const struct simd_kernels *kernels,
                                                                 const struct work *work)
{
    const __m256i mark = _mm256_set1_epi8('\r');

    (void)kernels;
    for (size_t i = 0; i < work->calls; i += REQUESTS) {
        const char *data = bench->requests.data;
        for (size_t at = 0; at + 32 <= bench->requests.size; at += 32) {
            __m256i bytes = _mm256_loadu_si256((const __m256i *)(data + at));
            unsigned found = (unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, mark));
            for (; found != 0; found &= found - 1)
                bench->kept += data[at + (unsigned)__builtin_ctz(found) - 1] == '0';
        }
    }
}

/* REQUESTS times SET of a key of 16 bytes, the value as long as `bytes`. */
static void requests_prepare(struct bench *bench, size_t bytes)
{
    static const char text[1024];

    mp_buffer_reset(&bench->requests, SIZE_MAX);
    for (int i = 0; i < REQUESTS; i++) {
        resp_put_array(&bench->requests, 3);
        resp_put_bulk(&bench->requests, "SET", 3);
        resp_put_bulk(&bench->requests, text, KEY_BYTES);
        resp_put_bulk(&bench->requests, text, bytes);
    }
}

static void trial_print(struct bench *bench, const struct work *work)
{
    printf("%-50s %8.1f ns\n", work->name, best_of(bench, &simd_active, work));
    fflush(stdout);
}

/* ----------------------------------------------------------------------------------------------- */

static void bench_kernels(struct bench *bench)
{
    const struct work sums[] = {
        {"CRC-32C of 4 bytes", checksum, 4, 4000000},
        {"CRC-32C of 32 bytes", checksum, 32, 4000000},
        {"CRC-32C of 140 bytes", checksum, 140, 1000000},
        {"CRC-32C of 4 KB", checksum, 4096, 20000},
    };
    const struct work filters[] = {
        {"Bloom: ask, cached", bloom_ask, CACHED_BYTES, 4000000},
        {"Bloom: ask, in memory", bloom_ask, MEMORY_BYTES, DRAWS},
        {"Bloom: add, cached", bloom_fill, CACHED_BYTES, 4000000},
        {"Bloom: add, in memory", bloom_fill, MEMORY_BYTES, DRAWS},
    };
    const struct work searches[] = {
        {"search in 31 to 60, cached", search, CACHED_BYTES, 4000000},
        {"search in 31 to 60, in memory", search, MEMORY_BYTES, DRAWS},
    };

    printf("%-30s", "");
    for (enum simd_level level = 0; level < SIMD_LEVEL_COUNT; level++) {
        if (simd_kernels_of(level) != NULL)
            printf(" %19s", simd_level_name(level));
    }
    printf("\n");
    for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++)
        levels_print(bench, &sums[i]);
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
        bloom_prepare(bench, filters[i].bytes);
        levels_print(bench, &filters[i]);
    }
    for (size_t i = 0; i < sizeof(searches) / sizeof(searches[0]); i++) {
        nodes_prepare(bench, searches[i].bytes);
        levels_print(bench, &searches[i]);
    }
}

static void bench_trials(struct bench *bench)
{
    const struct work sums[] = {
        {"trial: CRC-32C of 4 bytes, isa-l", checksum_isal, 4, 4000000},
        {"trial: CRC-32C of 32 bytes, isa-l", checksum_isal, 32, 4000000},
        {"trial: CRC-32C of 140 bytes, isa-l", checksum_isal, 140, 1000000},
    };
    const struct work searches[] = {
        {"trial: binary search in 31 to 60, cached", search_binary, CACHED_BYTES, 4000000},
        {"trial: binary search in 31 to 60, in memory", search_binary, MEMORY_BYTES, DRAWS},
    };
    const struct work keys[] = {
        {"trial: equal keys of 16 bytes, memcmp", keys_by_memcmp, KEY_BYTES, 4000000},
        {"trial: equal keys of 16 bytes, a vector", keys_by_vector, KEY_BYTES, 4000000},
    };
    const struct work requests[] = {
        {"trial: SET of 10 bytes, parsed as it is", requests_parsed, 10, 1000 * REQUESTS},
        {"trial: SET of 10 bytes, only ends of lines, AVX2", requests_scanned, 10, 1000 * REQUESTS},
        {"trial: SET of 100 bytes, parsed as it is", requests_parsed, 100, 1000 * REQUESTS},
        {"trial: SET of 100 bytes, only ends of lines, AVX2", requests_scanned, 100,
         1000 * REQUESTS},
    };

    for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++)
        trial_print(bench, &sums[i]);
    for (size_t i = 0; i < sizeof(searches) / sizeof(searches[0]); i++) {
        nodes_prepare(bench, searches[i].bytes);
        trial_print(bench, &searches[i]);
    }
    memset(bench->memory, 7, CACHED_BYTES);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        trial_print(bench, &keys[i]);
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        requests_prepare(bench, requests[i].bytes);
        if (requests[i].run != requests_scanned || simd_kernels_of(SIMD_AVX2) != NULL)
            trial_print(bench, &requests[i]);
    }
}

int main(void)
{
    struct bench bench = {0};
    struct random random;

    bench.memory = aligned_alloc(4096, MEMORY_BYTES);
    bench.draws = malloc(DRAWS * sizeof(bench.draws[0]));
    ASSERT(bench.memory != NULL && bench.draws != NULL);
    random_create(&random, 3);
    for (size_t i = 0; i < DRAWS; i++)
        bench.draws[i] = random_next(&random);
    for (size_t i = 0; i < CACHED_BYTES; i++)
        bench.memory[i] = (unsigned char)random_next(&random);
    mp_buffer_create(&bench.requests);
    bench_kernels(&bench);
    bench_trials(&bench);
    mp_buffer_destroy(&bench.requests);
    free(bench.draws);
    free(bench.memory);
    return 0;
}
