/* SPDX-License-Identifier: Apache-2.0 */

/*
 * HyperLogLog sketches (Flajolet et al., 2007) in Redis's layout, counted as in "New cardinality
 * estimation algorithms for HyperLogLog sketches" (Ertl, 2017).
 *
 * An element is hashed by MurmurHash64A: 14 bits choose a register, which keeps the largest number
 * of zero bits, plus one, that follow in any element's hash. Raising a register of a sparse sketch
 * replaces the opcode that covers it by up to three; neighbours of one value are then joined where
 * Redis joins them, so that the same elements in the same order give the same bytes.
 */
#include "redis/redis_hll_sketch.h"

#include <math.h>
#include <string.h>

enum {
    INDEX_BITS = 14,
    HASH_BITS = 64 - INDEX_BITS,
    SPARSE_VALUE_MAX = 32,
    SPARSE_RUN_MAX = 4,
    ZERO_RUN_MAX = 64,
    OPCODES_MAX = 5, /* bytes that a replaced opcode needs */
    JOIN_STEPS = 5
};
#define HASH_SEED 0xadc83b19u

static uint64_t hash(const unsigned char *at, size_t size)
{
    const uint64_t m = 0xc6a4a7935bd1e995u;
    uint64_t h = HASH_SEED ^ (size * m), k = 0;
    for (; size >= 8; at += 8, size -= 8) {
        memcpy(&k, at, sizeof k);
        k *= m;
        k ^= k >> 47;
        h = (h ^ k * m) * m;
    }
    if (size) {
        k = 0;
        memcpy(&k, at, size);
        h = (h ^ k) * m;
    }
    h = (h ^ h >> 47) * m;
    return h ^ h >> 47;
}

bool hll_is_dense(const void *bytes)
{
    return ((const unsigned char *)bytes)[4] == 0;
}

bool hll_check(const void *bytes, size_t size)
{
    if (size < HLL_HEADER_SIZE || memcmp(bytes, "HYLL", 4) != 0 ||
        ((const unsigned char *)bytes)[4] > 1)
        return false;
    return !hll_is_dense(bytes) || size == HLL_DENSE_SIZE;
}

void hll_forget_count(struct hll *hll)
{
    hll->bytes[HLL_HEADER_SIZE - 1] |= 0x80;
}

/* ---------------------------------------------------------------------------------------- dense */

static unsigned dense_get(const unsigned char *registers, unsigned index)
{
    unsigned bit = index * 6, low = registers[bit / 8] >> (bit % 8);
    unsigned high = bit % 8 > 2 ? registers[bit / 8 + 1] : 0u;
    return (low | high << (8 - bit % 8)) & 63;
}

static void dense_set(unsigned char *registers, unsigned index, unsigned value)
{
    unsigned bit = index * 6, at = bit / 8, shift = bit % 8;
    registers[at] = (unsigned char)((registers[at] & ~(63u << shift)) | value << shift);
    if (shift > 2)
        registers[at + 1] =
            (unsigned char)((registers[at + 1] & ~(63u >> (8 - shift))) | value >> (8 - shift));
}

/* --------------------------------------------------------------------------------------- sparse */

bool hll_opcode_next(const unsigned char **at, const unsigned char *end, unsigned *value,
                     unsigned *run)
{
    if (*at >= end)
        return false;
    unsigned first = *(*at)++;
    *value = first & 0x80 ? (first >> 2 & 31) + 1 : 0;
    *run = first & 0x80 ? (first & 3) + 1 : (first & 63) + 1;
    if ((first & 0xc0) != 0x40)
        return true;
    if (*at >= end)
        return false;
    *run = ((first & 63) << 8 | *(*at)++) + 1;
    return true;
}

/* Writes `run` registers of `value` (0, or a run of at most SPARSE_RUN_MAX); the end. */
static unsigned char *opcode_put(unsigned char *out, unsigned value, unsigned run)
{
    if (run == 0)
        return out;
    if (value) {
        *out++ = (unsigned char)(0x80 | (value - 1) << 2 | (run - 1));
    } else if (run <= ZERO_RUN_MAX) {
        *out++ = (unsigned char)(run - 1);
    } else {
        *out++ = (unsigned char)(0x40 | (run - 1) >> 8);
        *out++ = (unsigned char)(run - 1);
    }
    return out;
}

void hll_create(struct hll *hll)
{
    memset(hll->bytes, 0, HLL_HEADER_SIZE);
    memcpy(hll->bytes, "HYLL", 4);
    hll->bytes[4] = 1;
    hll->size = (size_t)(opcode_put(hll->bytes + HLL_HEADER_SIZE, 0, HLL_REGISTERS) - hll->bytes);
}

bool hll_to_dense(struct hll *hll)
{
    unsigned char dense[HLL_DENSE_SIZE - HLL_HEADER_SIZE] = {0};
    const unsigned char *at = hll->bytes + HLL_HEADER_SIZE, *end = hll->bytes + hll->size;
    unsigned value, run, index = 0;
    if (hll_is_dense(hll->bytes))
        return true;
    while (hll_opcode_next(&at, end, &value, &run)) {
        if (run > HLL_REGISTERS - index)
            return false;
        for (unsigned n = 0; n < run && value; n++)
            dense_set(dense, index + n, value);
        index += run;
    }
    if (index != HLL_REGISTERS)
        return false;
    hll->bytes[4] = 0;
    memcpy(hll->bytes + HLL_HEADER_SIZE, dense, sizeof dense);
    hll->size = HLL_DENSE_SIZE;
    return true;
}

/* The opcode that covers a register. */
struct place {
    unsigned char *previous, *at, *next; /* previous: where the one before begins, or at */
    unsigned first, value, run;
};

static bool place_find(struct hll *hll, unsigned index, struct place *place)
{
    const unsigned char *at = hll->bytes + HLL_HEADER_SIZE, *end = hll->bytes + hll->size;
    const unsigned char *begin = at, *previous = at;
    unsigned first = 0, value, run;
    while (hll_opcode_next(&at, end, &value, &run)) {
        if (index < first + run) {
            *place = (struct place){hll->bytes + (previous - hll->bytes),
                                    hll->bytes + (begin - hll->bytes),
                                    hll->bytes + (at - hll->bytes),
                                    first,
                                    value,
                                    run};
            return true;
        }
        first += run;
        previous = begin;
        begin = at;
    }
    return false;
}

/* Joins values that follow each other, from here on for a few opcodes. */
static void sparse_join(struct hll *hll, unsigned char *at)
{
    for (int step = 0; step < JOIN_STEPS && at < hll->bytes + hll->size; step++) {
        if (!(at[0] & 0x80)) {
            at += (at[0] & 0xc0) == 0x40 ? 2 : 1;
            continue;
        }
        unsigned char *end = hll->bytes + hll->size;
        bool same = at + 1 < end && at[1] & 0x80 && (at[0] & 0x7c) == (at[1] & 0x7c);
        unsigned run = same ? (at[0] & 3u) + (at[1] & 3u) + 2 : 0;
        if (same && run <= SPARSE_RUN_MAX) {
            at[1] = (unsigned char)((at[1] & 0xfc) | (run - 1));
            memmove(at, at + 1, (size_t)(end - at - 1));
            hll->size--;
        } else {
            at++;
        }
    }
}

static int raise_dense(struct hll *hll, unsigned index, unsigned value)
{
    unsigned char *registers = hll->bytes + HLL_HEADER_SIZE;
    if (dense_get(registers, index) >= value)
        return 0;
    dense_set(registers, index, value);
    return 1;
}

static int raise_sparse(struct hll *hll, unsigned index, unsigned value)
{
    struct place place;
    unsigned char opcodes[OPCODES_MAX], *end = opcodes;
    if (value > SPARSE_VALUE_MAX)
        return hll_to_dense(hll) ? raise_dense(hll, index, value) : -1;
    if (!place_find(hll, index, &place))
        return -1;
    if (place.value >= value)
        return 0;
    end = opcode_put(end, place.value, index - place.first);
    end = opcode_put(end, value, 1);
    end = opcode_put(end, place.value, place.first + place.run - 1 - index);
    size_t size = (size_t)(end - opcodes), old = (size_t)(place.next - place.at);
    if (size > old && hll->size + size - old > hll->sparse_max)
        return hll_to_dense(hll) ? raise_dense(hll, index, value) : -1;
    memmove(place.at + size, place.next, (size_t)(hll->bytes + hll->size - place.next));
    memcpy(place.at, opcodes, size);
    hll->size = hll->size + size - old;
    sparse_join(hll, place.previous);
    return 1;
}

int hll_raise(struct hll *hll, unsigned index, unsigned value)
{
    return hll_is_dense(hll->bytes) ? raise_dense(hll, index, value)
                                    : raise_sparse(hll, index, value);
}

int hll_add(struct hll *hll, const void *element, size_t size)
{
    uint64_t h = hash(element, size);
    unsigned index = (unsigned)(h & (HLL_REGISTERS - 1));
    h = h >> INDEX_BITS | (uint64_t)1 << HASH_BITS; /* so there is an end */
    return hll_raise(hll, index, (unsigned)__builtin_ctzll(h) + 1);
}

/* ------------------------------------------------------------------------------------- counting */

bool hll_merge(const void *bytes, size_t size, unsigned char registers[HLL_REGISTERS])
{
    const unsigned char *at = (const unsigned char *)bytes + HLL_HEADER_SIZE;
    const unsigned char *end = (const unsigned char *)bytes + size;
    unsigned value, run, index = 0;
    for (; hll_is_dense(bytes) && index < HLL_REGISTERS; index++) {
        value = dense_get(at, index);
        registers[index] = (unsigned char)(value > registers[index] ? value : registers[index]);
    }
    while (!hll_is_dense(bytes) && hll_opcode_next(&at, end, &value, &run)) {
        if (run > HLL_REGISTERS - index)
            return false;
        for (unsigned n = 0; n < run; n++, index++)
            if (value > registers[index])
                registers[index] = (unsigned char)value;
    }
    return index == HLL_REGISTERS;
}

/* Ertl's sigma and tau: what registers that are zero, or full, add. */
static double sigma(double x)
{
    if (x == 1.0)
        return INFINITY;
    double y = 1, z = x, before;
    do {
        x *= x;
        before = z;
        z += x * y;
        y += y;
    } while (z != before);
    return z;
}

static double tau(double x)
{
    if (x == 0.0 || x == 1.0)
        return 0.0;
    double y = 1.0, z = 1 - x, before;
    do {
        x = sqrt(x);
        before = z;
        y *= 0.5;
        z -= pow(1 - x, 2) * y;
    } while (z != before);
    return z / 3;
}

uint64_t hll_count(const unsigned char registers[HLL_REGISTERS])
{
    const double m = HLL_REGISTERS, alpha = 0.721347520444481703680; /* 1 / (2 ln 2) */
    unsigned histogram[64] = {0};
    for (unsigned n = 0; n < HLL_REGISTERS; n++)
        histogram[registers[n] & 63]++;
    double z = m * tau((m - histogram[HASH_BITS + 1]) / m);
    for (int n = HASH_BITS; n >= 1; n--)
        z = (z + histogram[n]) * 0.5;
    z += m * sigma(histogram[0] / m);
    return (uint64_t)llroundl((long double)(alpha * m * m / z));
}
