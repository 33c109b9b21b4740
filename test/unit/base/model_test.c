/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machinery of model tests finds what is wrong and shrinks it to what matters. The thing under
 * test is a set of small numbers with a planted error.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/model.h"
#include "base/test_seed.h"

enum { NUMBERS = 32, ERROR_AT = 20 };
enum kind { INSERT, DELETE, COUNT };

struct op {
    uint8_t kind, number;
};

enum planted { NOTHING, DELETE_FORGETS, INSERT_DIES };

static void op_choose(struct random *random, void *memory, void *arg)
{
    (void)arg;
    struct op *op = memory;
    op->kind = (uint8_t)random_below(random, 3);
    op->number = (uint8_t)random_below(random, NUMBERS);
}

static void op_print(FILE *out, const void *memory, void *arg)
{
    (void)arg;
    static const char *const names[] = {"insert", "delete", "count"};
    const struct op *op = memory;
    fprintf(out, "%s %u", names[op->kind], op->number);
}

/* Smaller numbers are simpler. */
static bool op_simplify(void *memory, unsigned n, void *arg)
{
    (void)arg;
    struct op *op = memory;
    if (n > 0 || op->number == 0)
        return false;
    op->number = 0;
    return true;
}

static unsigned count_of(const bool *set)
{
    unsigned count = 0;
    for (unsigned n = 0; n < NUMBERS; n++)
        count += set[n];
    return count;
}

/* The set counts as it goes; the model counts when it is asked. */
static bool run(const void *all, size_t ops_count, struct model_report *report, void *arg)
{
    const struct op *ops = all;
    const enum planted *planted = arg;
    bool set[NUMBERS] = {false};
    unsigned count = 0;
    for (size_t n = 0; n < ops_count; n++) {
        bool *member = &set[ops[n].number];
        if (ops[n].kind == INSERT) {
            if (*planted == INSERT_DIES && ops[n].number >= ERROR_AT && *member)
                abort();
            count += !*member;
            *member = true;
        } else if (ops[n].kind == DELETE) {
            if (*planted != DELETE_FORGETS || ops[n].number < ERROR_AT)
                count -= *member;
            *member = false;
        } else if (count != count_of(set)) {
            return model_differs(report, "it counts %u, there are %u", count, count_of(set));
        }
    }
    return true;
}

static struct model_test test_of(enum planted *planted)
{
    return (struct model_test){.op_bytes = sizeof(struct op),
                               .op_choose = op_choose,
                               .run = run,
                               .op_print = op_print,
                               .arg = planted};
}

static void a_thing_that_is_right_passes(void **state)
{
    (void)state;
    enum planted planted = NOTHING;
    struct model_test test = test_of(&planted);
    assert_true(model_check(&test, test_seed(), 50, 200));
}

static void a_thing_that_is_wrong_is_found(void **state)
{
    (void)state;
    enum planted planted = DELETE_FORGETS;
    struct model_test test = test_of(&planted);
    assert_false(model_check(&test, test_seed(), 50, 200));
}

/* A sequence of random operations that fails. */
static size_t failing(struct op *ops, size_t count, uint64_t seed)
{
    struct random random;
    random_create(&random, seed);
    for (size_t n = 0; n < count; n++)
        op_choose(&random, &ops[n], NULL);
    ops[count - 3] = (struct op){INSERT, NUMBERS - 1};
    ops[count - 2] = (struct op){DELETE, NUMBERS - 1};
    ops[count - 1] = (struct op){COUNT, 5};
    return count;
}

static void what_fails_is_shrunk_to_what_matters(void **state)
{
    (void)state;
    enum planted planted = DELETE_FORGETS;
    struct model_test test = test_of(&planted);
    test.op_simplify = op_simplify;
    struct op ops[400];
    struct model_report report = {{0}};
    size_t count = model_shrink(&test, ops, failing(ops, 400, test_seed()), &report);
    assert_int_equal(count, 3);
    assert_int_equal(ops[0].kind, INSERT);
    assert_int_equal(ops[1].kind, DELETE);
    assert_true(ops[0].number >= ERROR_AT && ops[0].number == ops[1].number);
    assert_int_equal(ops[2].kind, COUNT);
    assert_int_equal(ops[2].number, 0);
    assert_string_equal(report.text, "it counts 1, there are 0");
}

static void a_run_that_dies_is_shrunk_too(void **state)
{
    (void)state;
    enum planted planted = INSERT_DIES;
    struct model_test test = test_of(&planted);
    test.apart = true;
    struct op ops[60];
    struct model_report report = {{0}};
    for (size_t n = 0; n < 60; n++)
        ops[n] = (struct op){n % 3 == 0 ? INSERT : COUNT, (uint8_t)(n % NUMBERS)};
    ops[59] = ops[30] = (struct op){INSERT, NUMBERS - 1};
    size_t count = model_shrink(&test, ops, 60, &report);
    assert_int_equal(count, 2);
    assert_int_equal(ops[0].number, ops[1].number);
    assert_non_null(strstr(report.text, "signal 6"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thing_that_is_right_passes),
        cmocka_unit_test(a_thing_that_is_wrong_is_found),
        cmocka_unit_test(what_fails_is_shrunk_to_what_matters),
        cmocka_unit_test(a_run_that_dies_is_shrunk_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
