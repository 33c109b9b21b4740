/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building and asking a ribbon filter (run_ribbon.h).
 *
 * Building, a part at a time: the equations are brought into a band matrix that has at most one for
 * each row, its first coefficient there (elimination as they come). One that meets another at its
 * place is added to it, by which its first coefficient goes, and moves on to the next it has; one of
 * which nothing is left follows from others. Then the rows are solved from the last to the first:
 * the 128 bits behind a row are known and decide it, or nothing does and it is random.
 *
 * The equations come about in order of their places, since each otherwise misses the caches. A few
 * steps are enough for one: seven on average. Where somebody has chosen keys whose equations lie on top of each
 * other, it could be as many as there are rows, so steps are counted, and another seed is tried.
 */
#include "storage/run/run_ribbon.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/error.h"

typedef unsigned __int128 equation; /* bit 0: the first coefficient */

enum {
    COLUMN_BYTES = RIBBON_ROWS / 8,
    STEPS_MAX = 64,        /* for each key, on average, */
    STEPS_MORE = 64 << 10, /* and so many more */
    SHAPE_BITS_MAX = 32,
};

/* -------------------------------------------------------------------------------------- the layout
 */

/* Columns, in 1/256, with which it errs as often as the split block Bloom filter of 1, 2, .. bits a
 * key: f = sum over k of Poisson(k; 512 / bits) (1 - (63/64)^k)^8, and with r the whole part of
 * -log2 f and s the share of blocks with a column more, f = (1 - s) 2^-r + s 2^-(r+1). */
static const uint16_t columns_of[SHAPE_BITS_MAX] = {
    256,  256,  256,  441,  672,  899,  1115, 1312, 1509, 1704, 1874, 2027, 2195, 2324, 2477, 2595,
    2731, 2833, 2964, 3056, 3172, 3269, 3352, 3459, 3539, 3618, 3712, 3786, 3847, 3938, 4011, 4069};

void run_ribbon_shape(uint64_t keys, unsigned bloom_bits, struct run_ribbon *out)
{
    ASSERT(bloom_bits >= 1);
    uint64_t parts = 1;
    unsigned columns = columns_of[(bloom_bits < SHAPE_BITS_MAX ? bloom_bits : SHAPE_BITS_MAX) - 1];
    while (parts < RIBBON_PARTS_MAX && keys / parts > RIBBON_PART_KEYS)
        parts *= 2;
    uint64_t part_keys = keys / parts + (keys % parts > 0);
    /* The last ones are begun at by none, and few reach them. */
    uint64_t rows = part_keys + part_keys / 20 + RIBBON_ROWS / 2;
    uint64_t blocks = (rows + RIBBON_ROWS - 1) / RIBBON_ROWS;
    ASSERT(blocks <= UINT32_MAX);
    *out = (struct run_ribbon){
        .parts = (uint32_t)parts,
        .blocks = (uint32_t)blocks,
        .columns = columns / 256,
        .wide = (uint32_t)(blocks * (columns % 256) / 256),
    };
}

static uint64_t part_bytes(const struct run_ribbon *ribbon)
{
    return ((uint64_t)ribbon->blocks * ribbon->columns + ribbon->wide) * COLUMN_BYTES;
}

uint64_t run_ribbon_bytes(const struct run_ribbon *ribbon)
{
    if (ribbon->parts == 0 || ribbon->parts > RIBBON_PARTS_MAX ||
        (ribbon->parts & (ribbon->parts - 1)) != 0 || ribbon->blocks == 0 || ribbon->columns == 0 ||
        ribbon->columns >= RIBBON_COLUMNS_MAX || ribbon->wide > ribbon->blocks)
        return 0;
    return part_bytes(ribbon) * ribbon->parts;
}

/* Of a block of a part. */
static uint64_t block_offset(const struct run_ribbon *ribbon, uint64_t block)
{
    uint64_t narrow = ribbon->blocks - ribbon->wide;
    return (block * ribbon->columns + (block > narrow ? block - narrow : 0)) * COLUMN_BYTES;
}

static unsigned block_columns(const struct run_ribbon *ribbon, uint64_t block)
{
    return ribbon->columns + (block >= ribbon->blocks - ribbon->wide);
}

/* --------------------------------------------------------------------------------------- equations
 */

static uint64_t part_of(const struct run_ribbon *ribbon, uint64_t spread)
{
    return (uint64_t)((equation)spread * ribbon->parts >> 64);
}

/* In its part; the last one at which an equation still has room is that of the last block. */
static uint64_t start_of(const struct run_ribbon *ribbon, uint64_t spread)
{
    uint64_t starts = (uint64_t)(ribbon->blocks - 1) * RIBBON_ROWS + 1;
    return (uint64_t)((equation)(spread * ribbon->parts) * starts >> 64);
}

/* Both halves of the product, which no bit of either factor leaves alone. */
static uint64_t fold(uint64_t a, uint64_t b)
{
    equation product = (equation)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static equation coefficients_of(uint64_t spread)
{
    uint64_t low = fold(spread ^ UINT64_C(0xa0761d6478bd642f), UINT64_C(0xe7037ed1a0b428db)),
             high = fold(spread ^ UINT64_C(0x8ebc6af09c88c6e3), UINT64_C(0x589965cc75374cc3));
    return (equation)high << 64 | low | 1;
}

static unsigned parity_of(equation bits)
{
    return (unsigned)__builtin_parityll((uint64_t)bits ^ (uint64_t)(bits >> 64));
}

static unsigned zeros_before(equation bits)
{
    uint64_t low = (uint64_t)bits;
    return (unsigned)(low != 0 ? __builtin_ctzll(low)
                               : 64 + __builtin_ctzll((uint64_t)(bits >> 64)));
}

/* ---------------------------------------------------------------------------------------- building
 */

static unsigned digit_of(uint64_t hash, uint32_t seed, unsigned above, unsigned bits)
{
    return (unsigned)(run_ribbon_spread(hash, seed) << above >> (64 - bits));
}

/* Sorts by `bits` bits, 1 to 8, of the spread hashes, below the `above` highest ones, in place:
 * each hash is exchanged with what lies where it belongs. ends[d] is where those of digit d end. */
static void sort(uint64_t *hashes, uint64_t count, uint32_t seed, unsigned above, unsigned bits,
                 uint64_t ends[256])
{
    uint64_t next[256], sum = 0;
    memset(ends, 0, 256 * sizeof *ends);
    for (uint64_t i = 0; i < count; i++)
        ends[digit_of(hashes[i], seed, above, bits)]++;
    for (unsigned d = 0; d < 1u << bits; d++) {
        next[d] = sum;
        ends[d] = sum += ends[d];
    }
    for (unsigned d = 0; d < 1u << bits; d++)
        while (next[d] < ends[d]) {
            uint64_t hash = hashes[next[d]];
            unsigned to = digit_of(hash, seed, above, bits);
            while (to != d) {
                uint64_t other = hashes[next[to]];
                hashes[next[to]++] = hash;
                hash = other;
                to = digit_of(hash, seed, above, bits);
            }
            hashes[next[d]++] = hash;
        }
}

/* False: they lie on top of each other. */
static bool eliminate(const struct run_ribbon *ribbon, const uint64_t *hashes, uint64_t count,
                      equation *band)
{
    uint64_t steps = count * STEPS_MAX + STEPS_MORE;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t spread = run_ribbon_spread(hashes[i], ribbon->seed);
        uint64_t row = start_of(ribbon, spread);
        equation coefficients = coefficients_of(spread);
        while (band[row] != 0 && (coefficients ^= band[row]) != 0) {
            unsigned zeros = zeros_before(coefficients);
            coefficients >>= zeros;
            row += zeros;
            if (--steps == 0)
                return false;
        }
        if (coefficients != 0)
            band[row] = coefficients;
    }
    return true;
}

/* state[c] has the bits of column c at the row and those behind it, the row's own as bit 0. */
static void solve(const struct run_ribbon *ribbon, const equation *band, uint64_t part,
                  unsigned char *out)
{
    equation state[RIBBON_COLUMNS_MAX] = {0};
    for (uint64_t block = ribbon->blocks; block-- > 0;) {
        unsigned columns = block_columns(ribbon, block);
        for (uint64_t row = (block + 1) * RIBBON_ROWS; row-- > block * RIBBON_ROWS;) {
            uint64_t random = band[row] != 0 ? 0
                                             : fold(run_ribbon_spread(row, (uint32_t)part + 1),
                                                    UINT64_C(0x9e3779b97f4a7c15));
            for (unsigned c = 0; c < columns; c++) {
                equation behind = state[c] << 1;
                state[c] = behind | parity_of(band[row] & behind) | (random >> c & 1);
            }
        }
        memcpy(out + block_offset(ribbon, block), state, columns * sizeof *state);
    }
}

static bool build(struct run_ribbon *ribbon, uint64_t *hashes, uint64_t count, equation *band,
                  unsigned char *bits)
{
    enum { DIGIT = 8 };
    uint64_t ends[256], sorted[256], begin = 0, bytes = part_bytes(ribbon);
    unsigned part_bits = (unsigned)__builtin_ctz(ribbon->parts);
    ends[0] = count;
    if (part_bits > 0)
        sort(hashes, count, ribbon->seed, 0, part_bits, ends);
    for (uint64_t part = 0; part < ribbon->parts; begin = ends[part++]) {
        sort(hashes + begin, ends[part] - begin, ribbon->seed, part_bits, DIGIT, sorted);
        memset(band, 0, ribbon->blocks * sizeof *band * RIBBON_ROWS);
        if (!eliminate(ribbon, hashes + begin, ends[part] - begin, band))
            return false;
        solve(ribbon, band, part, bits + part * bytes);
    }
    return true;
}

int run_ribbon_build(struct run_ribbon *ribbon, uint64_t *hashes, uint64_t count,
                     unsigned char *bits)
{
    bool built = false;
    equation *band = malloc(ribbon->blocks * sizeof *band * RIBBON_ROWS);
    if (band == NULL)
        return ERROR_MEMORY;
    for (uint32_t seed = 0; !built && seed < RIBBON_SEEDS; seed++) {
        ribbon->seed = seed;
        built = build(ribbon, hashes, count, band, bits);
    }
    free(band);
    return built ? 0 : ERROR_TOO_LARGE;
}

/* ------------------------------------------------------------------------------------------ asking
 */

bool run_ribbon_may_contain(const struct run_ribbon *ribbon, const unsigned char *bits,
                            uint64_t hash)
{
    uint64_t spread = run_ribbon_spread(hash, ribbon->seed);
    uint64_t start = start_of(ribbon, spread), block = start / RIBBON_ROWS;
    unsigned before = (unsigned)(start % RIBBON_ROWS), columns = block_columns(ribbon, block);
    const unsigned char *here =
        bits + part_of(ribbon, spread) * part_bytes(ribbon) + block_offset(ribbon, block);
    /* At the very beginning of a block it needs nothing of a next one, which may not be there. */
    const unsigned char *next = before == 0 ? here : here + (size_t)columns * COLUMN_BYTES;
    equation coefficients = coefficients_of(spread), low = coefficients << before,
             high = before == 0 ? 0 : coefficients >> (RIBBON_ROWS - before);
    for (unsigned c = 0; c < columns; c++) {
        equation a, b;
        memcpy(&a, here + (size_t)c * COLUMN_BYTES, sizeof a);
        memcpy(&b, next + (size_t)c * COLUMN_BYTES, sizeof b);
        if (parity_of((a & low) ^ (b & high)) != 0)
            return false;
    }
    return true;
}
