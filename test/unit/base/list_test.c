/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The intrusive list against an array that is kept in the same order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <string.h>

#include "base/list.h"
#include "base/random.h"
#include "base/test_seed.h"

struct item {
    int number;
    struct list link;
};

static int numbers(struct list *head, int *out)
{
    int count = 0;
    list_for_each (link, head)
        out[count++] = list_entry(link, struct item, link)->number;
    return count;
}

static void an_empty_list_has_no_ends(void **state)
{
    (void)state;
    struct list head;
    list_create(&head);
    assert_true(list_empty(&head));
    assert_null(list_first(&head));
    assert_null(list_last(&head));
}

static void removing_twice_is_harmless(void **state)
{
    (void)state;
    struct list head;
    struct item item = {.number = 1};
    list_create(&head);
    list_add_tail(&head, &item.link);
    list_remove(&item.link);
    list_remove(&item.link);
    assert_true(list_empty(&head));
}

static void the_loop_may_remove_what_it_visits(void **state)
{
    (void)state;
    struct list head;
    struct item items[5];
    list_create(&head);
    for (int i = 0; i < 5; i++) {
        items[i].number = i;
        list_add_tail(&head, &items[i].link);
    }
    list_for_each_safe (link, &head) {
        if (list_entry(link, struct item, link)->number % 2 == 0)
            list_remove(link);
    }
    int left[5];
    assert_int_equal(numbers(&head, left), 2);
    assert_int_equal(left[0], 1);
    assert_int_equal(left[1], 3);
}

enum { MODEL_ITEMS = 50, MODEL_STEPS = 5000 };

/* The list as an array, and what is in it. */
struct model {
    int order[MODEL_ITEMS];
    int count;
};

static int model_find(const struct model *model, int number)
{
    for (int i = 0; i < model->count; i++)
        if (model->order[i] == number)
            return i;
    return -1;
}

static void model_insert(struct model *model, int at, int number)
{
    memmove(&model->order[at + 1], &model->order[at],
            (size_t)(model->count - at) * sizeof(model->order[0]));
    model->order[at] = number;
    model->count++;
}

static void model_remove(struct model *model, int at)
{
    model->count--;
    memmove(&model->order[at], &model->order[at + 1],
            (size_t)(model->count - at) * sizeof(model->order[0]));
}

static void the_list_keeps_the_order_of_any_changes(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    struct list head;
    struct item items[MODEL_ITEMS];
    struct model model = {.count = 0};
    list_create(&head);
    for (int i = 0; i < MODEL_ITEMS; i++)
        items[i].number = i;
    for (int step = 0; step < MODEL_STEPS; step++) {
        int number = (int)random_below(&random, MODEL_ITEMS);
        int at = model_find(&model, number);
        if (at >= 0) {
            list_remove(&items[number].link);
            model_remove(&model, at);
        } else if (random_below(&random, 2) == 0) {
            list_add_tail(&head, &items[number].link);
            model_insert(&model, model.count, number);
        } else {
            list_add_head(&head, &items[number].link);
            model_insert(&model, 0, number);
        }
        int order[MODEL_ITEMS];
        assert_int_equal(numbers(&head, order), model.count);
        assert_memory_equal(order, model.order, (size_t)model.count * sizeof(order[0]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_list_has_no_ends),
        cmocka_unit_test(removing_twice_is_harmless),
        cmocka_unit_test(the_loop_may_remove_what_it_visits),
        cmocka_unit_test(the_list_keeps_the_order_of_any_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
