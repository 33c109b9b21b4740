/* SPDX-License-Identifier: Apache-2.0 */

/*
 * HyperLogLog: PFADD, PFCOUNT, PFMERGE, PFDEBUG on strings in Redis's layout
 * (redis_hll_sketch.h).
 *
 * PFCOUNT is a read: unlike Redis's it keeps no count in the value, it counts anew.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_config.h"
#include "redis/redis_hll_sketch.h"
#include "redis/redis_value.h"

static int damaged(void)
{
    return diag_set(ERROR_INVALID_OBJECT, "Corrupted HLL object detected");
}

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "out of memory");
}

static int sketch_check(const struct redis_value *value)
{
    if (value->type == REDIS_TYPE_NONE || hll_check(value->data, value->size))
        return 0;
    return diag_set(ERROR_TYPE, "Key is not a valid HyperLogLog string value.");
}

/* A copy of what is at argv[1], or an empty sketch, with room to raise so many registers. */
static int sketch_open(struct redis_call *call, unsigned raises, struct redis_key *key,
                       struct redis_value *value, struct hll *hll)
{
    int rc = redis_string_get_for_update(call, 1, key, value);
    if (!rc)
        rc = sketch_check(value);
    if (rc)
        return rc;
    *hll = (struct hll){.bytes =
                            arena_alloc(txn_arena(call->txn), HLL_DENSE_SIZE + value->size +
                                                                  (size_t)raises * HLL_GROWTH_MAX),
                        .size = value->size,
                        .sparse_max = (size_t)load_relaxed(&call->config->hll_sparse_max_bytes)};
    if (!hll->bytes)
        return no_memory();
    if (value->type == REDIS_TYPE_NONE)
        hll_create(hll);
    else
        memcpy(hll->bytes, value->data, value->size);
    return 0;
}

static int sketch_put(struct redis_call *call, const struct redis_key *key,
                      const struct redis_value *value, const struct hll *hll)
{
    int rc = redis_string_put(call, key, value->expire_ms,
                              (struct redis_slice){(const char *)hll->bytes, hll->size},
                              (struct redis_slice){NULL, 0});
    return rc ? rc
              : redis_changed(call, &call->argv[1], REDIS_TYPE_NONE, REDIS_NOTIFY_STRING, "pfadd");
}

int redis__pfadd(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value value;
    struct hll hll;
    int rc = sketch_open(call, call->argc - 2, &key, &value, &hll);
    bool changed = !rc && value.type == REDIS_TYPE_NONE;
    for (unsigned n = 2; n < call->argc && !rc; n++) {
        int added = hll_add(&hll, call->argv[n].data, call->argv[n].size);
        if (added < 0)
            return damaged();
        changed |= added > 0;
    }
    if (!rc && changed) {
        hll_forget_count(&hll);
        rc = sketch_put(call, &key, &value, &hll);
    }
    if (!rc)
        call->sink->vtab->integer(call->sink, changed);
    return rc;
}

/* Raises `registers` to those of argv[n] to the end; *dense: one of these is. */
static int registers_merge(struct redis_call *call, unsigned n, unsigned char *registers,
                           bool *dense)
{
    int rc = 0;
    for (; n < call->argc && !rc; n++) {
        struct redis_key key;
        struct redis_value value;
        rc = redis_string_get(call, n, &key, &value);
        if (!rc)
            rc = sketch_check(&value);
        if (rc || value.type == REDIS_TYPE_NONE)
            continue;
        *dense |= hll_is_dense(value.data);
        if (!hll_merge(value.data, value.size, registers))
            rc = damaged();
    }
    return rc;
}

static unsigned char *registers_new(struct redis_call *call)
{
    unsigned char *registers = arena_alloc(txn_arena(call->txn), HLL_REGISTERS);
    if (registers)
        memset(registers, 0, HLL_REGISTERS);
    return registers;
}

int redis__pfcount(struct redis_call *call)
{
    bool dense = false;
    unsigned char *registers = registers_new(call);
    if (!registers)
        return no_memory();
    int rc = registers_merge(call, 1, registers, &dense);
    if (!rc)
        call->sink->vtab->integer(call->sink, (int64_t)hll_count(registers));
    return rc;
}

int redis__pfmerge(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value value;
    struct hll hll;
    bool dense = false;
    unsigned char *registers = registers_new(call);
    if (!registers)
        return no_memory();
    int rc = registers_merge(call, 1, registers, &dense);
    if (!rc)
        rc = sketch_open(call, HLL_REGISTERS, &key, &value, &hll);
    if (!rc && dense && !hll_to_dense(&hll))
        rc = damaged();
    for (unsigned n = 0; n < HLL_REGISTERS && !rc; n++)
        if (registers[n] && hll_raise(&hll, n, registers[n]) < 0)
            rc = damaged();
    if (rc)
        return rc;
    hll_forget_count(&hll);
    rc = sketch_put(call, &key, &value, &hll);
    if (!rc)
        call->sink->vtab->status(call->sink, "OK");
    return rc;
}

/* -------------------------------------------------------------------------------------- PFDEBUG */

static int debug_registers(struct redis_call *call, const struct hll *hll)
{
    unsigned char *registers = registers_new(call);
    if (!registers)
        return no_memory();
    if (!hll_merge(hll->bytes, hll->size, registers))
        return damaged();
    call->sink->vtab->array(call->sink, HLL_REGISTERS);
    for (unsigned n = 0; n < HLL_REGISTERS; n++)
        call->sink->vtab->integer(call->sink, registers[n]);
    return 0;
}

/* The opcodes as text: z and Z for zeros, v:value,registers. */
static int debug_decode(struct redis_call *call, const struct hll *hll)
{
    enum { OPCODE_TEXT_MAX = 16 };
    if (hll_is_dense(hll->bytes))
        return diag_set(ERROR_INVALID, "HLL encoding is not sparse");
    char *text = arena_alloc(txn_arena(call->txn), hll->size * OPCODE_TEXT_MAX), *out = text;
    if (!text)
        return no_memory();
    const unsigned char *at = hll->bytes + HLL_HEADER_SIZE, *end = hll->bytes + hll->size;
    const unsigned char *begin = at;
    for (unsigned value, run; hll_opcode_next(&at, end, &value, &run); begin = at) {
        if (value)
            out += sprintf(out, "v:%u,%u ", value, run);
        else
            out += sprintf(out, "%c:%u ", at - begin == 1 ? 'z' : 'Z', run);
    }
    call->sink->vtab->bulk(call->sink, text, out > text ? (size_t)(out - text - 1) : 0);
    return 0;
}

/* GETREG and TODENSE make it dense. */
static int debug_to_dense(struct redis_call *call, const struct redis_key *key,
                          const struct redis_value *value, struct hll *hll, bool *changed)
{
    *changed = !hll_is_dense(hll->bytes);
    if (!*changed)
        return 0;
    return hll_to_dense(hll) ? sketch_put(call, key, value, hll) : damaged();
}

static int debug_sketch(struct redis_call *call, struct redis_call *at_key,
                        const struct redis_key *key, const struct redis_value *value,
                        struct hll *hll)
{
    bool changed;
    int rc;
    if (redis_word(call, 1, "encoding")) {
        call->sink->vtab->status(call->sink, hll_is_dense(hll->bytes) ? "dense" : "sparse");
        return 0;
    }
    if (redis_word(call, 1, "decode"))
        return debug_decode(call, hll);
    if (redis_word(call, 1, "getreg")) {
        rc = debug_to_dense(at_key, key, value, hll, &changed);
        return rc ? rc : debug_registers(call, hll);
    }
    if (redis_word(call, 1, "todense")) {
        rc = debug_to_dense(at_key, key, value, hll, &changed);
        if (!rc)
            call->sink->vtab->integer(call->sink, changed);
        return rc;
    }
    return diag_set(ERROR_INVALID, "Unknown PFDEBUG subcommand '%.*s'",
                    (int)(call->argv[1].size < 128 ? call->argv[1].size : 128), call->argv[1].data);
}

int redis__pfdebug(struct redis_call *call)
{
    struct redis_call at_key = *call; /* the key is one argument further */
    struct redis_key key;
    struct redis_value value;
    struct hll hll;
    at_key.argv++;
    at_key.argc--;
    int rc = sketch_open(&at_key, 0, &key, &value, &hll);
    if (!rc && value.type == REDIS_TYPE_NONE)
        return diag_set(ERROR_INVALID, "The specified key does not exist");
    return rc ? rc : debug_sketch(call, &at_key, &key, &value, &hll);
}

/* ------------------------------------------------------------------------------------- PFSELFTEST */

/* Room for one that is sparse as long as that is shorter, or dense from the start; in the arena. */
static bool test_sketch(struct redis_call *call, bool dense, struct hll *out)
{
    *out = (struct hll){.bytes =
                            arena_alloc(txn_arena(call->txn), 2 * HLL_DENSE_SIZE + HLL_GROWTH_MAX),
                        .sparse_max = 3000};
    if (!out->bytes)
        return false;
    hll_create(out);
    return !dense || hll_to_dense(out);
}

/* Six times the standard error, as in Redis: nobody meets more by chance. */
static bool estimate_fits(uint64_t estimate, uint64_t elements)
{
    double wrong = ceil(6 * (1.04 / sqrt(HLL_REGISTERS)) * (double)elements);
    return fabs((double)estimate - (double)elements) <= wrong;
}

/* The registers of both are the same, and tell about so many. */
static int sketches_check(const struct hll *one, const struct hll *other, uint64_t elements)
{
    unsigned char of_one[HLL_REGISTERS] = {0}, of_other[HLL_REGISTERS] = {0};
    if (!hll_merge(one->bytes, one->size, of_one) ||
        !hll_merge(other->bytes, other->size, of_other) ||
        memcmp(of_one, of_other, sizeof of_one) != 0)
        return diag_set(ERROR_INVALID, "TESTFAILED sparse encoding differs from dense");
    uint64_t estimate = hll_count(of_one);
    if (!estimate_fits(estimate, elements))
        return diag_set(ERROR_INVALID, "TESTFAILED Too big error. card:%llu abserr:%lld",
                        (unsigned long long)elements, (long long)(estimate - elements));
    return 0;
}

/* So many different elements go into a sketch that begins sparse and into one that is dense. */
int redis__pfselftest(struct redis_call *call)
{
    enum { ELEMENTS = 100000 };
    struct hll sparse, dense;
    if (!test_sketch(call, false, &sparse) || !test_sketch(call, true, &dense))
        return diag_set(ERROR_MEMORY, "out of memory");
    uint64_t check = 1;
    for (uint64_t element = 1; element <= ELEMENTS; element++) {
        if (hll_add(&sparse, &element, sizeof element) < 0 ||
            hll_add(&dense, &element, sizeof element) < 0)
            return diag_set(ERROR_INVALID, "TESTFAILED a sketch is damaged");
        int rc = element == check ? sketches_check(&sparse, &dense, element) : 0;
        if (rc)
            return rc;
        check *= element == check ? 10 : 1;
    }
    call->sink->vtab->status(call->sink, "OK");
    return 0;
}
