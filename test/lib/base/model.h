/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_BASE_MODEL_H
#define TEST_BASE_MODEL_H

/*
 * Tests of a thing against a model of it: random sequences of operations, and the shrinking of one
 * that fails to the few operations that matter.
 *
 * A test says what an operation is (plain bytes), chooses one at random, and runs a sequence: it
 * makes the thing and the model anew, does to both what the operations say, compares, and frees
 * both. An operation must mean something whatever precedes it, since shrinking takes others away: it
 * names a key, not "the third of those inserted".
 *
 *      static bool run(const void *all, size_t count, struct model_report *report, void *arg)
 *      {
 *          const struct op *ops = all;
 *          struct tree *tree = ...;  struct model model = {0};
 *          bool right = true;
 *          for (size_t n = 0; right && n < count; n++) {
 *              ... apply ops[n] to both ...
 *              if (found != expected)
 *                  right = model_differs(report, "get %u gives %u, expected %u", key, found, expected);
 *          }
 *          tree_delete(tree);
 *          return right;
 *      }
 *
 *      assert_true(model_check(&test, test_seed(), 200, 500));
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/random.h"

enum { MODEL_TEXT_MAX = 512 };

/* What was wrong in a run. */
struct model_report {
    char text[MODEL_TEXT_MAX];
};

struct model_test {
    size_t op_bytes;
    /* Fills in one operation; the memory is zero before. */
    void (*op_choose)(struct random *random, void *op, void *arg);
    /* True when all was right. The same operations give the same result each time. Uses no
     * assertions of cmocka's, which would leave it in the middle. */
    bool (*run)(const void *ops, size_t count, struct model_report *report, void *arg);
    /* Prints one operation as a line without its end. */
    void (*op_print)(FILE *out, const void *op, void *arg);
    /* Or NULL: makes `op` the nth simpler one than it is (n from 0); false when there is none. */
    bool (*op_simplify)(void *op, unsigned n, void *arg);
    void *arg;
    /* Each run in a process of its own, so that one that dies, by an assertion or otherwise, fails
     * and is shrunk as well. For tests that have no thread while they check. */
    bool apart;
};

/* Always false: sets what `run` found wrong. */
bool model_differs(struct model_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Runs `sequences` sequences of 1 to `ops_max` operations, the first from `seed`, the next from
 * seed + 1 and so on. True when all are right; otherwise prints the seed of the first that is not
 * and what it was shrunk to, and gives false. */
bool model_check(const struct model_test *test, uint64_t seed, unsigned sequences, size_t ops_max);

/* Shrinks a sequence that fails to one of which no operation can be taken away (or until it has been
 * tried some thousand times). Returns the new count; `report` is what the last failing run said. */
size_t model_shrink(const struct model_test *test, void *ops, size_t count,
                    struct model_report *report);

#endif
