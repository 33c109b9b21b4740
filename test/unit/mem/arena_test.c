/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arenas: what is handed out is aligned, apart and kept; what is taken back is used again; and when
 * memory is out the arena is as it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "mem/account.h"
#include "mem/arena.h"
#include "mem/system.h"

static void memory_is_aligned_to_16_for_any_size(void **state)
{
    (void)state;
    struct arena arena;
    arena_create(&arena, 0);
    for (size_t size = 0; size < 3000; size++) {
        char *memory = arena_alloc(&arena, size);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % 16, 0);
        memset(memory, 0x5a, size);
    }
    arena_destroy(&arena);
}

static void an_unused_arena_gives_a_pointer_for_nothing(void **state)
{
    (void)state;
    struct arena arena;
    arena_create(&arena, 0);
    assert_non_null(arena_alloc(&arena, 0));
    arena_destroy(&arena);
}

static void a_copy_has_the_same_bytes(void **state)
{
    (void)state;
    struct arena arena;
    arena_create(&arena, 0);
    char source[] = "bytes";
    char *copy = arena_copy(&arena, source, sizeof(source));
    source[0] = 'B';
    assert_string_equal(copy, "bytes");
    assert_non_null(arena_copy(&arena, NULL, 0));
    arena_destroy(&arena);
}

static void a_size_beyond_all_memory_is_refused(void **state)
{
    (void)state;
    struct arena arena;
    arena_create(&arena, 0);
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_alloc(&arena, SIZE_MAX - 15));
    assert_null(arena_alloc(&arena, SIZE_MAX / 2 + 1));
    assert_non_null(arena_alloc(&arena, 1));
    arena_destroy(&arena);
}

/* A piece of memory and the byte that fills it. */
struct piece {
    unsigned char *bytes;
    size_t size;
    unsigned char fill;
};

static void piece_check(const struct piece *piece)
{
    for (size_t i = 0; i < piece->size; i++)
        assert_int_equal(piece->bytes[i], piece->fill);
}

static struct piece piece_make(struct arena *arena, struct random *random)
{
    size_t size = random_below(random, random_below(random, 20) == 0 ? 50000 : 300);
    struct piece piece = {arena_alloc(arena, size), size, (unsigned char)random_next(random)};
    assert_non_null(piece.bytes);
    memset(piece.bytes, piece.fill, size);
    return piece;
}

/* Allocates, rewinds to marks at random depth and checks that what was before a mark stays. */
static void what_was_before_the_mark_survives_the_rewind(void **state)
{
    (void)state;
    enum { PIECES = 400 };
    struct random random;
    random_create(&random, test_seed());
    struct arena arena;
    arena_create(&arena, 1 << 16);
    for (int round = 0; round < 50; round++) {
        struct piece pieces[PIECES];
        struct arena_mark marks[PIECES];
        int count = 0;
        for (int step = 0; step < PIECES; step++) {
            if (random_below(&random, 40) == 0 && count > 0) {
                count = (int)random_below(&random, (uint64_t)count);
                arena_rewind(&arena, marks[count]);
                assert_int_equal(arena.used_bytes, marks[count].used_bytes);
            }
            marks[count] = arena_mark(&arena);
            pieces[count++] = piece_make(&arena, &random);
        }
        for (int i = 0; i < count; i++)
            piece_check(&pieces[i]);
        arena_reset(&arena);
        assert_int_equal(arena.used_bytes, 0);
    }
    arena_destroy(&arena);
}

static void use_some(struct arena *arena, size_t total_bytes)
{
    for (size_t used = 0; used < total_bytes; used += 500)
        assert_non_null(arena_alloc(arena, 500));
}

static void an_arena_used_again_asks_the_system_for_nothing(void **state)
{
    (void)state;
    struct arena arena;
    arena_create(&arena, 1 << 20);
    use_some(&arena, 100000);
    arena_reset(&arena);
    system_fail_nth(1);
    for (int round = 0; round < 50; round++) {
        use_some(&arena, 100000);
        arena_reset(&arena);
    }
    assert_int_equal(system_fail_pending(), 1);
    system_fail_nth(0);
    arena_destroy(&arena);
}

static void an_arena_keeps_no_more_than_it_may(void **state)
{
    (void)state;
    struct arena arena;
    arena_create(&arena, 10000);
    use_some(&arena, 1000000);
    arena_reset(&arena);
    assert_true(arena.spare_bytes <= 10000);
    arena_destroy(&arena);
    assert_int_equal(arena.spare_bytes, 0);
}

static void use_and_reset(struct arena *arena, size_t bytes, unsigned times)
{
    for (unsigned n = 0; n < times; n++) {
        use_some(arena, bytes);
        arena_reset(arena);
    }
}

static void a_profile_makes_the_first_chunk_large_enough(void **state)
{
    (void)state;
    struct arena_profile profile = {.uses = 0};
    struct arena arena;
    arena_create_profiled(&arena, 1 << 20, &profile);
    use_and_reset(&arena, 60000, ARENA_PROFILE_EVERY);
    assert_int_equal(profile.first_bytes, 65536);
    /* One that has just been made asks the system once. */
    struct arena other;
    arena_create_profiled(&other, 1 << 20, &profile);
    use_some(&other, 500);
    system_fail_nth(1);
    use_some(&other, 59000);
    assert_int_equal(system_fail_pending(), 1);
    system_fail_nth(0);
    arena_destroy(&other);
    arena_destroy(&arena);
}

static void rare_large_uses_do_not_make_it_larger(void **state)
{
    (void)state;
    struct arena_profile profile = {.uses = 0};
    struct arena arena;
    arena_create_profiled(&arena, 1 << 20, &profile);
    for (unsigned n = 0; n < 4 * ARENA_PROFILE_EVERY; n++) {
        use_some(&arena, n % 300 == 0 ? 300000 : 1000);
        arena_reset(&arena);
    }
    assert_int_equal(profile.first_bytes, 4096);
    assert_true(arena_held_bytes(&arena) <= 16384);
    arena_destroy(&arena);
}

static void when_uses_become_small_what_was_kept_goes_back(void **state)
{
    (void)state;
    struct arena_profile profile = {.uses = 0};
    struct arena arena;
    uint64_t before = account_bytes(ACCOUNT_ARENA);
    arena_create_profiled(&arena, 1 << 20, &profile);
    use_and_reset(&arena, 200000, 2 * ARENA_PROFILE_EVERY);
    size_t large = arena_held_bytes(&arena);
    assert_true(large >= 200000);
    assert_true(account_bytes(ACCOUNT_ARENA) - before >= large);
    use_and_reset(&arena, 1000, 20 * ARENA_PROFILE_EVERY);
    assert_true(arena_held_bytes(&arena) <= 16384);
    assert_true(account_bytes(ACCOUNT_ARENA) - before <= 20000);
    use_and_reset(&arena, 200000, 20 * ARENA_PROFILE_EVERY); /* and comes again */
    assert_true(arena_held_bytes(&arena) >= 200000);
    system_fail_nth(1);
    use_and_reset(&arena, 200000, 100);
    assert_int_equal(system_fail_pending(), 1);
    system_fail_nth(0);
    arena_destroy(&arena);
    assert_int_equal(account_bytes(ACCOUNT_ARENA), before);
}

static void a_profile_never_keeps_more_than_the_arena_may(void **state)
{
    (void)state;
    struct arena_profile profile = {.uses = 0};
    struct arena arena;
    arena_create_profiled(&arena, 10000, &profile);
    use_and_reset(&arena, 100000, 3 * ARENA_PROFILE_EVERY);
    assert_true(arena_held_bytes(&arena) <= 10000);
    arena_destroy(&arena);
}

/* Sizes that change all the time: memory keeps its bytes, and what is held stays within bounds. */
static void uses_of_any_sizes_are_served_while_the_profile_learns(void **state)
{
    (void)state;
    enum { PIECES = 50 };
    struct random random;
    random_create(&random, test_seed());
    struct arena_profile profile = {.uses = 0};
    struct arena arena;
    arena_create_profiled(&arena, 1 << 18, &profile);
    for (unsigned use = 0; use < 12 * ARENA_PROFILE_EVERY; use++) {
        struct piece pieces[PIECES];
        unsigned count =
            (unsigned)random_below(&random, use / ARENA_PROFILE_EVERY % 3 == 0 ? PIECES : 3);
        for (unsigned i = 0; i < count; i++)
            pieces[i] = piece_make(&arena, &random);
        for (unsigned i = 0; i < count; i++)
            piece_check(&pieces[i]);
        arena_reset(&arena);
        assert_int_equal(arena.used_bytes, 0);
        assert_true(arena_held_bytes(&arena) <= 1 << 18);
    }
    arena_destroy(&arena);
}

static void without_memory_the_arena_is_as_it_was(void **state)
{
    (void)state;
    uint64_t nth = 0;
    do {
        struct arena arena;
        arena_create(&arena, 0);
        system_fail_nth(++nth);
        for (int i = 0; i < 200; i++) {
            size_t used_bytes = arena.used_bytes;
            unsigned char *memory = arena_alloc(&arena, 333);
            if (memory == NULL) {
                assert_int_equal(arena.used_bytes, used_bytes);
                memory = arena_alloc(&arena, 333);
                assert_non_null(memory);
            }
            memset(memory, 1, 333);
        }
        arena_destroy(&arena);
    } while (!system_fail_pending());
    system_fail_nth(0);
    assert_true(nth > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_to_16_for_any_size),
        cmocka_unit_test(an_unused_arena_gives_a_pointer_for_nothing),
        cmocka_unit_test(a_copy_has_the_same_bytes),
        cmocka_unit_test(a_size_beyond_all_memory_is_refused),
        cmocka_unit_test(what_was_before_the_mark_survives_the_rewind),
        cmocka_unit_test(an_arena_used_again_asks_the_system_for_nothing),
        cmocka_unit_test(an_arena_keeps_no_more_than_it_may),
        cmocka_unit_test(a_profile_makes_the_first_chunk_large_enough),
        cmocka_unit_test(rare_large_uses_do_not_make_it_larger),
        cmocka_unit_test(when_uses_become_small_what_was_kept_goes_back),
        cmocka_unit_test(a_profile_never_keeps_more_than_the_arena_may),
        cmocka_unit_test(uses_of_any_sizes_are_served_while_the_profile_learns),
        cmocka_unit_test(without_memory_the_arena_is_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
