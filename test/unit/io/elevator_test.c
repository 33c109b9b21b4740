/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which request is next, step by step: nothing runs here, and time is a number.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "io/io_elevator.h"

enum { REQUESTS = 512, PAGE = 4096 };
static const uint64_t MS = 1000 * 1000;

static struct io_elevator elevator;
static struct io_limits limits;
static struct io_request requests[REQUESTS];
static unsigned used;
static struct io_file files[2];
static struct io_operation operation;
static uint64_t now_ns;

static int setup(void **state)
{
    (void)state;
    io_limits_default(&limits);
    now_ns = 1;
    used = 0;
    io_elevator_create(&elevator, &limits, now_ns);
    return 0;
}

static void limit(void)
{
    io_elevator_limit(&elevator, &limits, now_ns);
}

static struct io_request *make(enum io_class class, uint64_t page, size_t size)
{
    assert_true(used < REQUESTS);
    struct io_request *request = &requests[used++];
    *request =
        (struct io_request){.file = &files[0], .class = class, .size = size, .offset = page * PAGE};
    return request;
}

static struct io_request *add(enum io_class class, uint64_t page)
{
    struct io_request *request = make(class, page, PAGE);
    io_elevator_add(&elevator, request, now_ns);
    return request;
}

static void assert_nothing_begins(void)
{
    assert_false(io_elevator_next(&elevator, now_ns, &operation));
}

/* The next operation is of this class and begins at this page. */
static void assert_begins(enum io_class class, uint64_t page)
{
    assert_true(io_elevator_next(&elevator, now_ns, &operation));
    assert_int_equal(operation.class, class);
    assert_int_equal(operation.offset, page * PAGE);
}

static void end(enum io_class class)
{
    io_elevator_end(&elevator, class);
}

/* --------------------------------------------------------------------------------------- classes */

static void a_more_urgent_class_comes_first_whenever_it_came(void **state)
{
    (void)state;
    add(IO_BACKGROUND, 1);
    add(IO_USER, 2);
    add(IO_CHECKPOINT, 3);
    add(IO_LOG, 4);
    assert_begins(IO_LOG, 4);
    assert_begins(IO_CHECKPOINT, 3);
    add(IO_LOG, 9);
    assert_begins(IO_LOG, 9);
    assert_begins(IO_USER, 2);
    assert_begins(IO_BACKGROUND, 1);
    assert_nothing_begins();
}

static void a_class_has_no_more_in_flight_than_its_depth(void **state)
{
    (void)state;
    limits.classes[IO_BACKGROUND].depth = 2;
    limit();
    for (unsigned i = 0; i < 4; i++)
        add(IO_BACKGROUND, 10 * i);
    assert_begins(IO_BACKGROUND, 0);
    assert_begins(IO_BACKGROUND, 10);
    assert_nothing_begins();
    add(IO_USER, 5);
    assert_begins(IO_USER, 5);
    end(IO_BACKGROUND);
    assert_begins(IO_BACKGROUND, 20);
    assert_nothing_begins();
}

static void all_classes_have_no_more_in_flight_than_the_depth_of_all(void **state)
{
    (void)state;
    limits.depth = 3;
    limit();
    for (unsigned i = 0; i < 3; i++)
        add(IO_BACKGROUND, 10 * i);
    for (unsigned i = 0; i < 3; i++)
        assert_begins(IO_BACKGROUND, 10 * i);
    add(IO_LOG, 1);
    assert_nothing_begins();
    end(IO_BACKGROUND);
    assert_begins(IO_LOG, 1);
}

/* ----------------------------------------------------------------------------------------- aging */

/* With one at a time and more urgent requests for ever. */
static void who_is_overdue_gets_one_operation_in_a_few(void **state)
{
    (void)state;
    limits.depth = 1;
    limit();
    for (unsigned i = 0; i < 8; i++)
        add(IO_BACKGROUND, 1000 + 10 * i);
    for (unsigned i = 0; i < 64; i++)
        add(IO_USER, 10 * i);
    for (unsigned i = 0; i < 20; i++) {
        assert_true(io_elevator_next(&elevator, now_ns, &operation));
        assert_int_equal(operation.class, IO_USER);
        end(IO_USER);
    }
    now_ns += limits.classes[IO_BACKGROUND].overdue_ns;
    for (unsigned i = 0; i < 32; i++) {
        assert_true(io_elevator_next(&elevator, now_ns, &operation));
        assert_int_equal(operation.class, i % IO_OVERDUE_EVERY == 0 ? IO_BACKGROUND : IO_USER);
        end(operation.class);
    }
    assert_int_equal(elevator.stats[IO_BACKGROUND].overdue, 8);
    assert_int_equal(elevator.stats[IO_USER].overdue, 0);
}

static void of_several_who_are_overdue_the_one_that_is_so_longest_comes_first(void **state)
{
    (void)state;
    limits.depth = 1;
    limits.classes[IO_USER].overdue_ns = 50 * MS;
    limits.classes[IO_BACKGROUND].overdue_ns = 20 * MS;
    limit();
    add(IO_USER, 1);
    add(IO_BACKGROUND, 2);
    for (unsigned i = 0; i < 16; i++)
        add(IO_LOG, 100 + 2 * i);
    now_ns += 60 * MS; /* by 10 and by 40 */
    assert_begins(IO_BACKGROUND, 2);
    end(IO_BACKGROUND);
    for (unsigned i = 1; i < IO_OVERDUE_EVERY; i++) {
        assert_true(io_elevator_next(&elevator, now_ns, &operation));
        assert_int_equal(operation.class, IO_LOG);
        end(IO_LOG);
    }
    assert_begins(IO_USER, 1);
}

static void of_a_class_that_is_overdue_the_oldest_request_comes_first(void **state)
{
    (void)state;
    add(IO_BACKGROUND, 90);
    now_ns += limits.classes[IO_BACKGROUND].overdue_ns;
    add(IO_BACKGROUND, 10);
    add(IO_BACKGROUND, 91);
    for (unsigned i = 0; i < 8; i++)
        add(IO_USER, 2 * i);
    assert_begins(IO_BACKGROUND, 90);
    for (unsigned i = 0; i < 8; i++)
        assert_begins(IO_USER, 2 * i);
    assert_begins(IO_BACKGROUND, 10);
    assert_begins(IO_BACKGROUND, 91);
}

static void who_is_overdue_keeps_to_his_depth_and_bandwidth(void **state)
{
    (void)state;
    limits.classes[IO_BACKGROUND].depth = 1;
    limit();
    add(IO_BACKGROUND, 0);
    add(IO_BACKGROUND, 10);
    assert_begins(IO_BACKGROUND, 0);
    now_ns += 10000 * MS;
    assert_nothing_begins();
    end(IO_BACKGROUND);
    limits.classes[IO_BACKGROUND].bytes_per_second = PAGE;
    limit();
    elevator.lanes[IO_BACKGROUND].tokens = 0;
    assert_nothing_begins();
}

/* Any mix of requests, for ever more urgent ones: none waits longer than the bound allows. */
static void nobody_waits_for_ever(void **state)
{
    (void)state;
    const char *text = getenv("PERIGEE_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : random_seed();
    printf("PERIGEE_SEED=%llu\n", (unsigned long long)seed);
    struct random random;
    random_create(&random, seed);
    limits.depth = 2;
    for (int n = 0; n < IO_CLASSES; n++)
        limits.classes[n].overdue_ns = 5 * MS;
    limit();
    struct io_request *victim = add(IO_BACKGROUND, 7);
    unsigned steps = 0;
    enum io_class flying[2];
    for (unsigned count = 0;; steps++) {
        used = 1; /* those that have begun are free again */
        while (elevator.queued < 8) {
            while (used < REQUESTS && requests[used].place.next != NULL &&
                   !list_empty(&requests[used].place))
                used++;
            add((enum io_class)random_below(&random, 3), random_below(&random, 100) * 10);
        }
        while (count < 2 && io_elevator_next(&elevator, now_ns, &operation))
            flying[count++] = operation.class;
        if (list_empty(&victim->place))
            break;
        now_ns += MS;
        end(flying[--count]);
        assert_true(steps < 1000);
    }
    /* Overdue after five steps; then one operation in four is for whoever is overdue longest, and
     * seven came as early as the victim. */
    assert_true(steps <= 5 + 8 * IO_OVERDUE_EVERY);
}

/* ------------------------------------------------------------------------------------- bandwidth */

static void a_class_begins_as_much_as_its_bandwidth_allows(void **state)
{
    (void)state;
    const uint64_t rate = 10 << 20;
    limits.classes[IO_BACKGROUND].bytes_per_second = rate;
    limit();
    uint64_t bytes = 0;
    for (unsigned ms = 0; ms < 2000; ms++) {
        used = 0;
        while (elevator.stats[IO_BACKGROUND].queued < 4) {
            while (requests[used].place.next != NULL && !list_empty(&requests[used].place))
                used++;
            add(IO_BACKGROUND, 2 * (ms % 1000));
        }
        while (io_elevator_next(&elevator, now_ns, &operation)) {
            bytes += operation.size;
            end(IO_BACKGROUND);
            if (elevator.stats[IO_BACKGROUND].queued == 0)
                break;
        }
        now_ns += MS;
    }
    /* What it had saved up, a tenth of a second's worth, and one operation of debt. 4 pages a
     * millisecond at most are asked for: more than the rate. */
    assert_true(bytes <= rate * 2 + rate / 10 + PAGE);
    assert_true(bytes >= rate * 2 - PAGE);
    assert_true(elevator.stats[IO_BACKGROUND].throttled > 0);
}

static void a_request_larger_than_the_savings_goes_into_debt(void **state)
{
    (void)state;
    limits.classes[IO_BACKGROUND].bytes_per_second = 1 << 20;
    limit();
    io_elevator_add(&elevator, make(IO_BACKGROUND, 0, 4 << 20), now_ns);
    assert_begins(IO_BACKGROUND, 0);
    end(IO_BACKGROUND);
    add(IO_BACKGROUND, 5000);
    assert_nothing_begins();
    uint64_t due = io_elevator_due_ns(&elevator);
    assert_true(due > now_ns + 3800 * MS && due < now_ns + 4000 * MS);
    now_ns = due - MS;
    assert_nothing_begins();
    now_ns = due + 1000;
    assert_begins(IO_BACKGROUND, 5000);
}

static void nothing_is_due_when_nothing_waits_for_bandwidth(void **state)
{
    (void)state;
    assert_true(io_elevator_due_ns(&elevator) == UINT64_MAX);
    add(IO_USER, 1);
    assert_true(io_elevator_due_ns(&elevator) == UINT64_MAX);
    limits.classes[IO_USER].bytes_per_second = 1000;
    limits.classes[IO_USER].depth = 1;
    limit();
    add(IO_USER, 3);
    assert_begins(IO_USER, 1);
    /* Not before the one in flight has ended, whatever the time. */
    assert_true(io_elevator_due_ns(&elevator) == UINT64_MAX);
}

static void other_classes_go_on_while_one_waits_for_its_bandwidth(void **state)
{
    (void)state;
    limits.classes[IO_CHECKPOINT].bytes_per_second = PAGE;
    limit();
    elevator.lanes[IO_CHECKPOINT].tokens = 0;
    add(IO_CHECKPOINT, 1);
    add(IO_USER, 2);
    add(IO_BACKGROUND, 3);
    assert_begins(IO_USER, 2);
    assert_begins(IO_BACKGROUND, 3);
    assert_nothing_begins();
}

/* --------------------------------------------------------------------------------------- sweeps */

static void within_a_class_the_order_is_that_of_the_places(void **state)
{
    (void)state;
    const unsigned pages[] = {70, 10, 50, 30, 90, 20};
    for (unsigned i = 0; i < 6; i++)
        add(IO_USER, pages[i]);
    const unsigned sorted[] = {10, 20, 30, 50, 70, 90};
    for (unsigned i = 0; i < 6; i++)
        assert_begins(IO_USER, sorted[i]);
}

static void what_comes_during_a_sweep_is_for_the_next_one(void **state)
{
    (void)state;
    add(IO_USER, 10);
    add(IO_USER, 50);
    assert_begins(IO_USER, 10);
    add(IO_USER, 20);
    add(IO_USER, 5);
    assert_begins(IO_USER, 50);
    assert_begins(IO_USER, 5);
    assert_begins(IO_USER, 20);
}

static void files_are_read_one_after_the_other(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        struct io_request *request = make(IO_USER, 100 - 10 * i, PAGE);
        request->file = &files[i % 2];
        io_elevator_add(&elevator, request, now_ns);
    }
    unsigned changes = 0;
    uint64_t last = 0;
    const struct io_file *file = NULL;
    for (unsigned i = 0; i < 8; i++) {
        assert_true(io_elevator_next(&elevator, now_ns, &operation));
        if (operation.file != file)
            changes++;
        else
            assert_true(operation.offset > last);
        file = operation.file;
        last = operation.offset;
    }
    assert_int_equal(changes, 2);
}

/* Any number of requests comes out sorted, once each, equals in the order of their arrival. */
static void a_sweep_of_many_is_sorted_and_complete(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, 1);
    limits.depth = IO_DEPTH_MAX;
    limits.classes[IO_USER].depth = 1;
    limit();
    for (unsigned i = 0; i < 500; i++)
        add(IO_USER, 3 * random_below(&random, 200));
    const struct io_request *before = NULL;
    unsigned count = 0;
    while (io_elevator_next(&elevator, now_ns, &operation)) {
        const struct io_request *now = operation.requests[0];
        assert_int_equal(operation.count, 1);
        if (before != NULL)
            assert_true(before->offset < now->offset ||
                        (before->offset == now->offset && before < now));
        before = now;
        count++;
        end(IO_USER);
    }
    assert_int_equal(count, 500);
    assert_int_equal(elevator.queued, 0);
}

/* -------------------------------------------------------------------------------------- merging */

static void neighbours_become_one_operation(void **state)
{
    (void)state;
    add(IO_USER, 12);
    add(IO_USER, 10);
    add(IO_USER, 11);
    add(IO_USER, 14);
    assert_begins(IO_USER, 10);
    assert_int_equal(operation.count, 3);
    assert_int_equal(operation.size, 3 * PAGE);
    assert_begins(IO_USER, 14);
    assert_int_equal(operation.count, 1);
    assert_int_equal(elevator.stats[IO_USER].merged, 2);
    assert_int_equal(elevator.stats[IO_USER].operations, 2);
}

static void only_neighbours_of_one_file_and_direction_are_merged(void **state)
{
    (void)state;
    add(IO_USER, 10);
    struct io_request *request = make(IO_USER, 11, PAGE);
    request->write = true;
    io_elevator_add(&elevator, request, now_ns);
    request = make(IO_USER, 12, PAGE);
    request->file = &files[1];
    io_elevator_add(&elevator, request, now_ns);
    add(IO_CHECKPOINT, 11);
    add(IO_USER, 10); /* the same place again */
    for (unsigned i = 0; i < 5; i++) {
        assert_true(io_elevator_next(&elevator, now_ns, &operation));
        assert_int_equal(operation.count, 1);
    }
    assert_nothing_begins();
}

static void merging_ends_at_the_limits(void **state)
{
    (void)state;
    limits.merge_bytes = 4 * PAGE;
    limit();
    for (unsigned i = 0; i < 6; i++)
        add(IO_USER, i);
    assert_begins(IO_USER, 0);
    assert_int_equal(operation.count, 4);
    assert_begins(IO_USER, 4);
    assert_int_equal(operation.count, 2);
    limits.merge_bytes = 1 << 30;
    limit();
    for (unsigned i = 0; i < IO_MERGE_MAX + 1; i++)
        add(IO_USER, 100 + i);
    assert_begins(IO_USER, 100);
    assert_int_equal(operation.count, IO_MERGE_MAX);
    assert_begins(IO_USER, 100 + IO_MERGE_MAX);
}

static void one_request_may_be_larger_than_what_is_merged(void **state)
{
    (void)state;
    limits.merge_bytes = PAGE;
    limit();
    io_elevator_add(&elevator, make(IO_USER, 0, 8 * PAGE), now_ns);
    add(IO_USER, 8);
    assert_begins(IO_USER, 0);
    assert_int_equal(operation.size, 8 * PAGE);
    assert_begins(IO_USER, 8);
}

/* -------------------------------------------------------------------------------------- results */

static char memory[3][PAGE];

/* Three requests of a page each as one operation. */
static void merge_three(bool write)
{
    for (unsigned i = 0; i < 3; i++) {
        struct io_request *request = make(IO_USER, i, PAGE);
        request->data = memory[i];
        request->write = write;
        io_elevator_add(&elevator, request, now_ns);
    }
    assert_begins(IO_USER, 0);
    assert_int_equal(operation.count, 3);
}

static void vectors_are_what_remains(void **state)
{
    (void)state;
    merge_three(false);
    assert_int_equal(io_operation_vectors(&operation, 0), 3);
    assert_int_equal(io_operation_vectors(&operation, PAGE + 100), 2);
    assert_ptr_equal(operation.vectors[0].iov_base, memory[1] + 100);
    assert_int_equal(operation.vectors[0].iov_len, PAGE - 100);
    assert_ptr_equal(operation.vectors[1].iov_base, memory[2]);
    assert_int_equal(io_operation_vectors(&operation, 3 * PAGE), 0);
}

static void the_end_of_the_file_is_that_of_the_request_it_lies_in(void **state)
{
    (void)state;
    merge_three(false);
    io_operation_finish(&operation, PAGE + 100, 0);
    assert_int_equal(requests[0].result, PAGE);
    assert_int_equal(requests[1].result, 100);
    assert_int_equal(requests[2].result, 0);
}

static void an_error_is_that_of_each_request_that_was_not_done_before(void **state)
{
    (void)state;
    merge_three(false);
    io_operation_finish(&operation, 0, EIO);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(requests[i].result, ERROR_IO);
        assert_int_equal(requests[i].system_error, EIO);
    }
    io_operation_finish(&operation, PAGE + 1, EIO);
    assert_int_equal(requests[0].result, PAGE);
    assert_int_equal(requests[1].result, ERROR_IO);
    assert_int_equal(requests[2].result, ERROR_IO);
}

static void a_write_that_ends_early_has_failed(void **state)
{
    (void)state;
    merge_three(true);
    io_operation_finish(&operation, 2 * PAGE, 0);
    assert_int_equal(requests[1].result, PAGE);
    assert_int_equal(requests[2].result, ERROR_IO);
}

/* ---------------------------------------------------------------------------- passing, removing */

static void who_would_be_next_need_not_queue(void **state)
{
    (void)state;
    limits.classes[IO_USER].depth = 1;
    limit();
    add(IO_BACKGROUND, 1);
    /* A class that is as urgent or more waits. */
    assert_false(io_elevator_pass(&elevator, make(IO_USER, 5, PAGE), now_ns));
    assert_begins(IO_BACKGROUND, 1);
    assert_true(io_elevator_pass(&elevator, make(IO_USER, 5, PAGE), now_ns));
    assert_int_equal(elevator.in_flight, 2);
    /* Its depth is used up. */
    assert_false(io_elevator_pass(&elevator, make(IO_USER, 5, PAGE), now_ns));
    end(IO_USER);
    assert_true(io_elevator_pass(&elevator, make(IO_USER, 5, PAGE), now_ns));
    assert_int_equal(elevator.stats[IO_USER].passed, 2);
}

static void who_passes_uses_up_bandwidth(void **state)
{
    (void)state;
    limits.classes[IO_USER].bytes_per_second = 1 << 20;
    limit();
    unsigned count = 0;
    while (io_elevator_pass(&elevator, make(IO_USER, 5, PAGE), now_ns)) {
        end(IO_USER);
        count++;
    }
    assert_int_equal(count, ((1 << 20) / 10 + PAGE - 1) / PAGE);
}

static void what_has_not_begun_of_a_file_can_be_removed(void **state)
{
    (void)state;
    struct list removed;
    list_create(&removed);
    for (unsigned i = 0; i < 6; i++) {
        struct io_request *request = make(i % 3, 10 * i, PAGE);
        request->file = &files[i % 2];
        io_elevator_add(&elevator, request, now_ns);
    }
    assert_true(io_elevator_next(&elevator, now_ns, &operation));
    io_elevator_remove(&elevator, &files[1], &removed);
    unsigned count = 0;
    list_for_each (link, &removed) {
        assert_ptr_equal(list_entry(link, struct io_request, arrival)->file, &files[1]);
        count++;
    }
    assert_int_equal(count + elevator.queued + 1, 6);
    while (io_elevator_next(&elevator, now_ns, &operation))
        assert_ptr_equal(operation.file, &files[0]);
    assert_int_equal(elevator.queued, 0);
}

static void what_ends_is_counted_in_its_class(void **state)
{
    (void)state;
    struct io_request *request = add(IO_USER, 3);
    now_ns += 2 * MS;
    assert_begins(IO_USER, 3);
    now_ns += 3 * MS;
    request->result = PAGE;
    end(IO_USER);
    io_elevator_end_request(&elevator, request, now_ns);
    const struct io_class_stats *stats = &elevator.stats[IO_USER];
    assert_int_equal(stats->reads, 1);
    assert_int_equal(stats->bytes_read, PAGE);
    assert_int_equal(stats->in_flight, 0);
    assert_int_equal(stats->wait.total_ns, 2 * MS);
    assert_int_equal(stats->latency.total_ns, 5 * MS);
    request->result = ERROR_IO;
    io_elevator_end_request(&elevator, request, now_ns);
    assert_int_equal(stats->failed, 1);
    assert_int_equal(stats->bytes_read, PAGE);
    assert_int_equal(elevator.stats[IO_LOG].reads, 0);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_more_urgent_class_comes_first_whenever_it_came),
        TEST(a_class_has_no_more_in_flight_than_its_depth),
        TEST(all_classes_have_no_more_in_flight_than_the_depth_of_all),
        TEST(who_is_overdue_gets_one_operation_in_a_few),
        TEST(of_several_who_are_overdue_the_one_that_is_so_longest_comes_first),
        TEST(of_a_class_that_is_overdue_the_oldest_request_comes_first),
        TEST(who_is_overdue_keeps_to_his_depth_and_bandwidth),
        TEST(nobody_waits_for_ever),
        TEST(a_class_begins_as_much_as_its_bandwidth_allows),
        TEST(a_request_larger_than_the_savings_goes_into_debt),
        TEST(nothing_is_due_when_nothing_waits_for_bandwidth),
        TEST(other_classes_go_on_while_one_waits_for_its_bandwidth),
        TEST(within_a_class_the_order_is_that_of_the_places),
        TEST(what_comes_during_a_sweep_is_for_the_next_one),
        TEST(files_are_read_one_after_the_other),
        TEST(a_sweep_of_many_is_sorted_and_complete),
        TEST(neighbours_become_one_operation),
        TEST(only_neighbours_of_one_file_and_direction_are_merged),
        TEST(merging_ends_at_the_limits),
        TEST(one_request_may_be_larger_than_what_is_merged),
        TEST(vectors_are_what_remains),
        TEST(the_end_of_the_file_is_that_of_the_request_it_lies_in),
        TEST(an_error_is_that_of_each_request_that_was_not_done_before),
        TEST(a_write_that_ends_early_has_failed),
        TEST(who_would_be_next_need_not_queue),
        TEST(who_passes_uses_up_bandwidth),
        TEST(what_has_not_begun_of_a_file_can_be_removed),
        TEST(what_ends_is_counted_in_its_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
