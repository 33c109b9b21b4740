/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reclamation while memory is out: what is retired has a place, so that undoing a transaction does
 * not wait for memory that only its end would free.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "alloc/alloc_fault.h"
#include "base/epoch.h"
#include "base/error.h"

enum { OBJECTS = 150 };

static void count_free(void *object, void *arg)
{
    (void)object;
    ++*(int *)arg;
}

static void a_domain_or_a_slot_without_memory_is_refused(void **state)
{
    (void)state;
    struct epoch_domain *domain = NULL;
    struct epoch_slot *slot = NULL;
    for (uint64_t n = 1; n <= 2; n++) {
        alloc_fail_nth(n);
        assert_int_equal(epoch_domain_new(1, &domain), ERROR_MEMORY);
        assert_true(alloc_fail_end());
    }
    assert_int_equal(epoch_domain_new(1, &domain), 0);
    alloc_fail_nth(1);
    assert_int_equal(epoch_slot_open(domain, &slot), ERROR_MEMORY);
    assert_true(alloc_fail_end());
    assert_int_equal(epoch_slot_open(domain, &slot), 0);
    epoch_slot_close(slot);
    epoch_domain_delete(domain);
}

/* Inside, where nothing can be freed meanwhile; the first time and when chunks have been used. */
static void what_one_transaction_retires_has_a_place_while_memory_is_out(void **state)
{
    (void)state;
    struct epoch_domain *domain;
    struct epoch_slot *slot;
    int objects[OBJECTS], freed = 0;
    assert_int_equal(epoch_domain_new(1, &domain), 0);
    assert_int_equal(epoch_slot_open(domain, &slot), 0);
    for (int round = 1; round <= 20; round++) {
        alloc_fail_from(1);
        epoch_enter(slot);
        for (int i = 0; i < OBJECTS; i++)
            epoch_retire(slot, &objects[i], count_free, &freed);
        epoch_leave(slot);
        for (int i = 0; i < 3; i++)
            epoch_collect(slot);
        assert_int_equal(freed, round * OBJECTS);
        alloc_fail_end();
        epoch_retire(slot, &objects[0], count_free, &freed);
        for (int i = 0; i < 3; i++)
            epoch_collect(slot);
        freed--;
    }
    epoch_slot_close(slot);
    epoch_domain_delete(domain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_domain_or_a_slot_without_memory_is_refused),
        cmocka_unit_test(what_one_transaction_retires_has_a_place_while_memory_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
