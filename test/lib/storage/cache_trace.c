/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/cache_trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/random.h"

enum { SKEWED = 1500, PART = 8192 };

/* Where a kind is; each fills in one access after the other. */
struct trace {
    struct random random;
    uint64_t step;
    uint64_t at, left; /* of a scan or walk that goes on */
    uint32_t pending[4];
    unsigned pending_count;
};

/* Skewed to small numbers: the density of a page falls with its number, about as 1 / (n + 1). */
static uint32_t skewed(struct random *random, uint32_t count)
{
    /* 2 to the power of a uniform number, in integers: an octave, then a place in it. */
    unsigned octaves = 0;
    while ((2u << octaves) <= count)
        octaves++;
    uint32_t low = 1u << random_below(random, octaves);
    return (low + (uint32_t)random_below(random, low) - 1) % count;
}

static uint32_t zipf_next(struct trace *trace)
{
    return skewed(&trace->random, SKEWED);
}

static uint32_t loop_next(struct trace *trace)
{
    return (uint32_t)(trace->step % 250);
}

static uint32_t scan_hot_next(struct trace *trace)
{
    if (trace->left == 0 && random_below(&trace->random, 800) == 0)
        trace->left = 400;
    if (trace->left > 0 && random_below(&trace->random, 4) != 0) {
        trace->left--;
        return (uint32_t)(60 + trace->at++ % (PART - 60));
    }
    return (uint32_t)random_below(&trace->random, 60);
}

static uint32_t shift_next(struct trace *trace)
{
    return (uint32_t)((trace->step / 25 + random_below(&trace->random, 80)) % PART);
}

static uint32_t tree_next(struct trace *trace)
{
    if (trace->pending_count == 0) {
        uint32_t leaf = skewed(&trace->random, 1200) * 7 % 1200;
        trace->pending[0] = 100 + leaf;
        trace->pending[1] = 1 + leaf / 20;
        trace->pending[2] = 0;
        trace->pending_count = 3;
    }
    return trace->pending[--trace->pending_count];
}

/* Five rows a page, walks of thirty pages. */
static uint32_t cursor_next(struct trace *trace)
{
    if (trace->left == 0 && random_below(&trace->random, 200) == 0) {
        trace->left = 150;
        trace->at = (trace->at + 30) % 4000;
    }
    if (trace->left == 0 || random_below(&trace->random, 3) == 0)
        return skewed(&trace->random, 400);
    trace->left--;
    return (uint32_t)(400 + trace->at + (150 - trace->left) / 5);
}

static uint32_t (*const kinds[])(struct trace *trace) = {
    [TRACE_ZIPF] = zipf_next,   [TRACE_LOOP] = loop_next, [TRACE_SCAN_HOT] = scan_hot_next,
    [TRACE_SHIFT] = shift_next, [TRACE_TREE] = tree_next, [TRACE_CURSOR] = cursor_next,
};

const char *cache_trace_name(enum cache_trace_kind kind)
{
    static const char *const names[] = {
        [TRACE_ZIPF] = "zipf",
        [TRACE_LOOP] = "loop",
        [TRACE_SCAN_HOT] = "scan and hot set",
        [TRACE_SHIFT] = "shifting set",
        [TRACE_TREE] = "tree",
        [TRACE_CURSOR] = "cursors",
        [TRACE_MIXED] = "mixed",
    };
    return names[kind];
}

void cache_trace_make(enum cache_trace_kind kind, uint64_t seed, struct cache_access *out,
                      size_t count)
{
    struct trace traces[TRACE_MIXED] = {0};
    struct random turns;
    random_create(&turns, seed);
    for (unsigned i = 0; i < TRACE_MIXED; i++)
        random_create(&traces[i].random, seed + 1 + i);
    unsigned turn = kind == TRACE_MIXED ? 0 : kind;
    for (size_t n = 0; n < count; n++) {
        if (kind == TRACE_MIXED && random_below(&turns, 300) == 0)
            turn = (unsigned)random_below(&turns, TRACE_MIXED);
        uint32_t page = kinds[turn](&traces[turn]);
        traces[turn].step++;
        out[n] = (struct cache_access){.page = (kind == TRACE_MIXED ? turn * PART : 0) + page};
    }
}

/* --------------------------------------------------------------------------------------- recorded */

enum { FILE_BYTES_MAX = 1 << 20, TEXT_BYTES_MAX = 8 * TRACE_RECORDED_MAX };

static const char *const RECORDED[] = {"lsm", "btree"};

const char *cache_trace_recorded(unsigned number)
{
    return number < sizeof RECORDED / sizeof RECORDED[0] ? RECORDED[number] : NULL;
}

/* What a file has, decompressed, as a string that the caller frees; NULL when there is no such file. */
static char *text_of(const char *path)
{
    char *packed = malloc(FILE_BYTES_MAX), *text = malloc(TEXT_BYTES_MAX + 1);
    FILE *in = fopen(path, "rb");
    size_t size = 0;
    if (packed == NULL || text == NULL)
        abort();
    if (in != NULL)
        size = fread(packed, 1, FILE_BYTES_MAX, in);
    if (in != NULL)
        fclose(in);
    size = ZSTD_decompress(text, TEXT_BYTES_MAX, packed, size);
    free(packed);
    if (in == NULL || ZSTD_isError(size)) {
        free(text);
        return NULL;
    }
    text[size] = 0;
    return text;
}

size_t cache_trace_read(unsigned number, struct cache_access *out, size_t room)
{
    char path[64], *end;
    size_t count = 0;
    snprintf(path, sizeof path, "test/cache/%s.trace.zst", RECORDED[number]);
    char *text = text_of(path);
    for (char *at = text; at != NULL && *at != 0 && count < room; at = end + 1) {
        unsigned long page = strtoul(at, &end, 10);
        if (end == at || page >= TRACE_PAGES)
            break;
        bool scan = strncmp(end, " s", 2) == 0;
        out[count++] = (struct cache_access){.page = (uint32_t)page, .scan = scan};
        end += scan ? 2 : 0;
        if (*end != '\n')
            break;
    }
    free(text);
    return count;
}
