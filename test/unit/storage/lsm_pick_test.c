/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What each strategy of the engine "lsm" picks to be compacted: functions of a version alone, so
 * versions here are made by hand, of files that do not exist.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "storage/lsm/lsm_internal.h"

enum { MB = 1 << 20, FILES_MAX = 400, SEQUENCES_MAX = 200 };

/* A version of made-up files; keys are two letters or digits. */
struct made {
    struct lsm_version version;
    struct lsm_sequence sequences[SEQUENCES_MAX];
    struct lsm_file files[FILES_MAX];
    struct lsm_file *pointers[FILES_MAX];
    unsigned file_count;
};

static struct made *made_new(void)
{
    struct made *made = calloc(1, sizeof *made);
    made->version.sequences = made->sequences;
    return made;
}

/* One more sequence, older than those before. Its files follow. */
static void sequence(struct made *made, unsigned level, uint64_t time_ms)
{
    assert_true(made->version.count < SEQUENCES_MAX);
    made->sequences[made->version.count++] = (struct lsm_sequence){
        .level = level, .time_ms = time_ms, .files = &made->pointers[made->file_count]};
}

static void file(struct made *made, const char *first, const char *last, uint64_t bytes)
{
    assert_true(made->file_count < FILES_MAX);
    struct lsm_sequence *of = &made->sequences[made->version.count - 1];
    struct lsm_file *one = &made->files[made->file_count];
    made->pointers[made->file_count++] = one;
    one->meta.bytes = bytes;
    one->first = (struct engine_key){(const unsigned char *)first, strlen(first)};
    one->last = (struct engine_key){(const unsigned char *)last, strlen(last)};
    of->bytes += bytes;
    of->rows += bytes / 100;
    of->count++;
}

/* A sequence of one file over all keys. */
static void whole(struct made *made, unsigned level, uint64_t time_ms, uint64_t bytes)
{
    sequence(made, level, time_ms);
    file(made, "aa", "zz", bytes);
}

static struct lsm_options options_of(enum lsm_strategy strategy)
{
    struct lsm_options options;
    lsm_options_default(&options);
    options.strategy = strategy;
    options.level_bytes = 100 * MB;
    options.window_ms = 1000;
    return options;
}

static struct lsm_pick pick(const struct made *made, const struct lsm_options *options,
                            uint64_t now_ms)
{
    struct lsm_pick out;
    lsm__pick(&made->version, options, now_ms, &out);
    return out;
}

static void assert_pick(const struct lsm_pick *found, enum lsm_reason reason, unsigned first,
                        unsigned behind, unsigned level)
{
    assert_int_equal(found->reason, reason);
    assert_int_equal(found->first, first);
    assert_int_equal(found->behind, behind);
    assert_int_equal(found->level, level);
}

static void an_empty_body_needs_nothing_whatever_the_strategy(void **state)
{
    (void)state;
    struct made *made = made_new();
    for (unsigned i = LSM_LEVELLED; i <= LSM_TIME_WINDOW; i++) {
        struct lsm_options options = options_of((enum lsm_strategy)i);
        assert_int_equal(pick(made, &options, 0).reason, LSM_NOTHING);
        assert_true(lsm__debt(&made->version, &options) == 0);
        struct lsm_pick all;
        lsm__pick_all(&made->version, &options, &all);
        assert_int_equal(all.reason, LSM_NOTHING);
    }
    free(made);
}

static void level_0_goes_to_the_last_level_while_that_is_small(void **state)
{
    (void)state;
    struct made *made = made_new();
    struct lsm_options options = options_of(LSM_LEVELLED);
    for (unsigned i = 0; i < 3; i++)
        whole(made, 0, 0, 1 * MB);
    assert_int_equal(pick(made, &options, 0).reason, LSM_NOTHING);
    whole(made, 0, 0, 1 * MB);
    struct lsm_pick found = pick(made, &options, 0);
    assert_pick(&found, LSM_MANY, 0, 4, LSM_LEVEL_LAST);
    whole(made, LSM_LEVEL_LAST, 0, 8 * MB);
    found = pick(made, &options, 0);
    assert_pick(&found, LSM_MANY, 0, 5, LSM_LEVEL_LAST); /* with what is there */
    free(made);
}

/* What they meet would be written anew for little. */
static void level_0_is_merged_for_itself_while_it_is_small_beside_what_it_meets(void **state)
{
    (void)state;
    struct made *made = made_new();
    struct lsm_options options = options_of(LSM_LEVELLED);
    for (unsigned i = 0; i < 3; i++)
        whole(made, 0, 0, 1 * MB);
    whole(made, 0, 0, 4 * MB); /* not of their size */
    whole(made, LSM_LEVEL_LAST, 0, 90 * MB);
    assert_int_equal(pick(made, &options, 0).reason, LSM_NOTHING);
    made->sequences[3].bytes = 3 * MB;
    struct lsm_pick found = pick(made, &options, 0);
    assert_pick(&found, LSM_SIZE, 0, 4, 0);
    made->sequences[3].bytes = 41 * MB;
    assert_int_equal(pick(made, &options, 0).reason, LSM_NOTHING);
    made->sequences[3].bytes = 42 * MB;
    found = pick(made, &options, 0);
    assert_pick(&found, LSM_MANY, 0, 5, LSM_LEVEL_LAST);
    free(made);
}

static void level_0_goes_when_it_has_many_sequences_of_any_sizes(void **state)
{
    (void)state;
    struct made *made = made_new();
    struct lsm_options options = options_of(LSM_LEVELLED);
    uint64_t bytes = 1000;
    for (unsigned n = 0; n < 8; n++, bytes *= 4)
        whole(made, 0, 0, bytes);
    made->version.count--; /* the last one is not there yet */
    sequence(made, LSM_LEVEL_LAST, 0);
    made->sequences[7].bytes = 90 * MB;
    assert_int_equal(pick(made, &options, 0).reason, LSM_NOTHING);
    made->sequences[8] = made->sequences[7];
    made->sequences[7] = made->sequences[6];
    made->version.count++;
    struct lsm_pick found = pick(made, &options, 0);
    assert_pick(&found, LSM_MANY, 0, 9, LSM_LEVEL_LAST);
    free(made);
}

static void the_base_level_moves_up_when_the_last_one_has_grown(void **state)
{
    (void)state;
    struct made *made = made_new();
    struct lsm_options options = options_of(LSM_LEVELLED);
    struct lsm_targets targets;
    whole(made, LSM_LEVEL_LAST, 0, 101 * MB);
    lsm__targets(&made->version, &options, &targets);
    assert_int_equal(targets.base, LSM_LEVEL_LAST - 1);
    assert_true(targets.bytes[targets.base] >= 10 * MB && targets.bytes[targets.base] < 11 * MB);
    made->sequences[0].bytes = UINT64_C(100000) * MB;
    lsm__targets(&made->version, &options, &targets);
    assert_int_equal(targets.base, LSM_LEVEL_LAST - 3);
    assert_int_equal(targets.bytes[LSM_LEVEL_LAST - 1] / MB, 10000);
    assert_int_equal(targets.bytes[targets.base] / MB, 100);
    free(made);
}

static void a_level_that_is_too_large_gives_the_file_that_meets_the_least(void **state)
{
    (void)state;
    struct made *made = made_new();
    struct lsm_options options = options_of(LSM_LEVELLED);
    sequence(made, 5, 0);
    file(made, "aa", "cc", 60 * MB);
    file(made, "dd", "ff", 60 * MB);
    file(made, "gg", "hh", 60 * MB);
    sequence(made, 6, 0);
    file(made, "aa", "bb", 300 * MB);
    file(made, "bc", "cd", 300 * MB);
    file(made, "de", "df", 100 * MB);
    file(made, "fz", "gg", 300 * MB);
    struct lsm_pick found = pick(made, &options, 0);
    unsigned from, to;
    assert_pick(&found, LSM_SIZE, 0, 2, 6);
    lsm__pick_files(&found, &made->sequences[0], &from, &to);
    assert_int_equal(from, 1);
    assert_int_equal(to, 2);
    lsm__pick_files(&found, &made->sequences[1], &from, &to);
    assert_int_equal(from, 2);
    assert_int_equal(to, 3);
    assert_true(lsm__debt(&made->version, &options) > 0);
    made->sequences[0].bytes = 160 * MB; /* less than two files too much */
    assert_int_equal(pick(made, &options, 0).reason, LSM_NOTHING);
    assert_true(lsm__debt(&made->version, &options) == 0);
    free(made);
}

static void a_level_that_is_less_than_a_file_gives_when_it_has_thrice_its_bytes(void **state)
{
    (void)state;
    struct made *made = made_new();
    struct lsm_options options = options_of(LSM_LEVELLED);
    options.level_bytes = 1 * MB;
    assert_true(options.file_bytes > 10 * MB);
    whole(made, LSM_LEVEL_LAST - 1, 0, 1 * MB);
    whole(made, LSM_LEVEL_LAST, 0, 9 * MB);
    assert_int_equal(pick(made, &options, 0).reason, LSM_NOTHING);
    made->sequences[0].bytes = 2 * MB;
    assert_int_equal(pick(made, &options, 0).reason, LSM_NOTHING);
    made->sequences[0].bytes = 3 * MB;
    struct lsm_pick found = pick(made, &options, 0);
    assert_pick(&found, LSM_SIZE, 0, 2, LSM_LEVEL_LAST);
    free(made);
}

static void sequences_of_one_size_are_merged_and_the_large_one_behind_them_is_not(void **state)
{
    (void)state;
    struct made *made = made_new();
    struct lsm_options options = options_of(LSM_TIERED);
    for (unsigned i = 0; i < 4; i++)
        whole(made, 0, 0, (3 + i) * MB);
    whole(made, 0, 0, 500 * MB);
    struct lsm_pick found = pick(made, &options, 0);
    assert_pick(&found, LSM_SIZE, 0, 4, 0);
    made->sequences[2].bytes = 100 * MB; /* no longer of one size */
    assert_int_equal(pick(made, &options, 0).reason, LSM_NOTHING);
    free(made);
}

static void too_many_sequences_of_any_sizes_are_merged_where_it_is_cheapest(void **state)
{
    (void)state;
    struct made *made = made_new();
    struct lsm_options options = options_of(LSM_TIERED);
    uint64_t bytes = 1000;
    for (unsigned i = 0; i < 33; i++, bytes += bytes)
        whole(made, 0, 0, bytes);
    struct lsm_pick found = pick(made, &options, 0);
    assert_pick(&found, LSM_MANY, 0, 4, 0);
    made->version.count = 32;
    assert_int_equal(pick(made, &options, 0).reason, LSM_NOTHING);
    free(made);
}

static void universal_takes_what_is_not_larger_than_all_before_it(void **state)
{
    (void)state;
    struct made *made = made_new();
    struct lsm_options options = options_of(LSM_UNIVERSAL);
    whole(made, 0, 0, 2 * MB);
    whole(made, 0, 0, 2 * MB);
    whole(made, 0, 0, 4 * MB);
    whole(made, 0, 0, 9 * MB);
    whole(made, LSM_LEVEL_LAST, 0, 100 * MB);
    struct lsm_pick found = pick(made, &options, 0);
    assert_pick(&found, LSM_SIZE, 0, 3, 0);
    made->sequences[0].bytes = 1 * MB;
    assert_int_equal(pick(made, &options, 0).reason, LSM_NOTHING);
    made->sequences[3].bytes = 250 * MB;
    found = pick(made, &options, 0);
    assert_pick(&found, LSM_SPACE, 0, 5, LSM_LEVEL_LAST);
    free(made);
}

static void a_window_that_has_ended_becomes_one_sequence(void **state)
{
    (void)state;
    struct made *made = made_new();
    struct lsm_options options = options_of(LSM_TIME_WINDOW);
    whole(made, 0, 5100, 1 * MB);
    whole(made, 0, 4900, 1 * MB);
    whole(made, 0, 4100, 70 * MB);
    whole(made, 0, 4000, 1 * MB);
    whole(made, 0, 3999, 1 * MB);
    struct lsm_pick found = pick(made, &options, 5200);
    assert_pick(&found, LSM_WINDOW, 1, 4, 0);
    assert_int_equal(pick(made, &options, 4999).reason, LSM_NOTHING); /* it goes on */
    free(made);
}

/* Compacts a version as the pick says, by sizes alone, and looks at the bounds: on any sizes. */
static void tiered_picks_bound_the_sequences_and_the_writing(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    for (unsigned i = LSM_TIERED; i <= LSM_UNIVERSAL; i++) {
        struct lsm_options options = options_of((enum lsm_strategy)i);
        uint64_t absorbed = 0, written = 0;
        struct made *made = made_new();
        for (unsigned round = 0; round < 2000; round++) {
            uint64_t bytes = 1000 + random_below(&random, 1000);
            memmove(&made->sequences[1], &made->sequences[0],
                    made->version.count * sizeof made->sequences[0]);
            made->sequences[0] = (struct lsm_sequence){.bytes = bytes, .rows = 1};
            made->version.count++;
            absorbed += bytes;
            struct lsm_pick found;
            while ((found = pick(made, &options, 0)).reason != LSM_NOTHING) {
                uint64_t sum = 0;
                assert_true(found.behind > found.first + 1);
                for (unsigned n = found.first; n < found.behind; n++)
                    sum += made->sequences[n].bytes;
                made->sequences[found.first].bytes = sum;
                memmove(&made->sequences[found.first + 1], &made->sequences[found.behind],
                        (made->version.count - found.behind) * sizeof made->sequences[0]);
                made->version.count -= found.behind - found.first - 1;
                written += sum;
            }
            assert_true(made->version.count <= 32);
        }
        assert_true(written < 11 * absorbed); /* log2 of 2000 */
        free(made);
    }
}

static void debt_grows_with_what_is_behind(void **state)
{
    (void)state;
    for (unsigned i = LSM_LEVELLED; i <= LSM_UNIVERSAL; i++) {
        struct lsm_options options = options_of((enum lsm_strategy)i);
        struct made *made = made_new();
        double before = 0, debt = 0;
        for (unsigned n = 0; n < 60; n++) {
            whole(made, 0, 0, 1 * MB);
            debt = lsm__debt(&made->version, &options);
            assert_true(debt >= before);
            assert_true(n >= options.l0_files || debt == 0);
            before = debt;
        }
        assert_true(debt > 1);
        free(made);
    }
}

static void everything_can_be_picked(void **state)
{
    (void)state;
    struct made *made = made_new();
    struct lsm_options options = options_of(LSM_LEVELLED);
    struct lsm_pick all;
    whole(made, 0, 0, 1 * MB);
    lsm__pick_all(&made->version, &options, &all);
    assert_pick(&all, LSM_ASKED_FOR, 0, 1, LSM_LEVEL_LAST);
    whole(made, 5, 0, 1 * MB);
    lsm__pick_all(&made->version, &options, &all);
    assert_pick(&all, LSM_ASKED_FOR, 0, 2, 5);
    free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_body_needs_nothing_whatever_the_strategy),
        cmocka_unit_test(level_0_goes_to_the_last_level_while_that_is_small),
        cmocka_unit_test(level_0_is_merged_for_itself_while_it_is_small_beside_what_it_meets),
        cmocka_unit_test(level_0_goes_when_it_has_many_sequences_of_any_sizes),
        cmocka_unit_test(the_base_level_moves_up_when_the_last_one_has_grown),
        cmocka_unit_test(a_level_that_is_too_large_gives_the_file_that_meets_the_least),
        cmocka_unit_test(a_level_that_is_less_than_a_file_gives_when_it_has_thrice_its_bytes),
        cmocka_unit_test(sequences_of_one_size_are_merged_and_the_large_one_behind_them_is_not),
        cmocka_unit_test(too_many_sequences_of_any_sizes_are_merged_where_it_is_cheapest),
        cmocka_unit_test(universal_takes_what_is_not_larger_than_all_before_it),
        cmocka_unit_test(a_window_that_has_ended_becomes_one_sequence),
        cmocka_unit_test(tiered_picks_bound_the_sequences_and_the_writing),
        cmocka_unit_test(debt_grows_with_what_is_behind),
        cmocka_unit_test(everything_can_be_picked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
