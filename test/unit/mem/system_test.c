/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory from the system: alignment, and the fault that other tests plant.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "mem/system.h"

static void memory_is_aligned_as_asked(void **state)
{
    (void)state;
    for (size_t align = 16; align <= 4096; align *= 2) {
        void *memory = system_alloc(100, align);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % align, 0);
        system_free(memory);
    }
}

static void a_mapping_is_zeroed_and_aligned_to_its_size(void **state)
{
    (void)state;
    size_t size = 2 << 20;
    char *mapped = system_map(size);
    assert_non_null(mapped);
    assert_int_equal((uintptr_t)mapped % size, 0);
    for (size_t i = 0; i < size; i += 4096)
        assert_int_equal(mapped[i], 0);
    mapped[size - 1] = 1;
    system_unmap(mapped, size);
}

/* Whether the system has taken the advice for the mapping that has this place: "hg" among its flags. */
static bool is_advised_huge(const void *place)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[512];
    bool here = false, huge = false;
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        uintptr_t first, behind;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &first, &behind) == 2)
            here = first <= (uintptr_t)place && (uintptr_t)place < behind;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            huge = strstr(line, " hg") != NULL;
    }
    if (maps != NULL)
        fclose(maps);
    return huge;
}

static void mappings_are_advised_huge_where_the_system_takes_advice(void **state)
{
    (void)state;
    const size_t size = 2 * SYSTEM_HUGE_BYTES;
    char *own = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(own != MAP_FAILED);
    assert_false(is_advised_huge(own));
    madvise(own, size, MADV_HUGEPAGE);
    bool takes = is_advised_huge(own);
    munmap(own, size);
    char *slab = system_map(size), *large = system_map_large(size + 1);
    assert_non_null(slab);
    assert_non_null(large);
    assert_int_equal(is_advised_huge(slab), takes);
    assert_int_equal(is_advised_huge(slab + size - 1), takes);
    assert_int_equal(is_advised_huge(large), takes);
    assert_int_equal(is_advised_huge(large + size), takes);
    system_unmap(slab, size);
    system_unmap_large(large, size + 1);
}

static void the_planted_request_fails_and_the_next_succeeds(void **state)
{
    (void)state;
    system_fail_nth(2);
    void *first = system_alloc(16, 16);
    assert_non_null(first);
    assert_int_equal(system_fail_pending(), 1);
    assert_null(system_alloc(16, 16));
    assert_int_equal(system_fail_pending(), 0);
    void *third = system_alloc(16, 16);
    assert_non_null(third);
    system_free(first);
    system_free(third);
    system_fail_nth(1);
    assert_null(system_map(4096));
}

static void a_large_mapping_may_have_any_size(void **state)
{
    (void)state;
    for (size_t size = 1; size < 20u << 20; size += size + 12345) {
        unsigned char *memory = system_map_large(size);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % SYSTEM_HUGE_BYTES, 0);
        assert_int_equal(memory[0] + memory[size - 1], 0);
        memset(memory, 1, size);
        system_unmap_large(memory, size);
    }
    system_fail_nth(1);
    assert_null(system_map_large(1));
    assert_null(system_map_large(SIZE_MAX));
}

static void the_end_of_a_large_mapping_can_be_given_back(void **state)
{
    (void)state;
    const size_t size = (5u << 20) + 1;
    unsigned char *memory = system_map_large(size);
    assert_non_null(memory);
    memset(memory, 1, size);
    system_trim_large(memory, size, size - 1);
    system_trim_large(memory, size - 1, 4096);
    assert_int_equal(memory[0] + memory[4095], 2);
    unsigned char there;
    assert_int_equal(mincore(memory + 4096, 4096, &there), -1);
    assert_int_equal(errno, ENOMEM);
    system_unmap_large(memory, 4096);
}

/* Aligned as before, with zeros behind what was in it; and what does not fit stays as it was. */
static void a_large_mapping_grows_without_being_copied(void **state)
{
    (void)state;
    size_t size = 1;
    unsigned char *memory = system_map_large(size);
    assert_non_null(memory);
    memory[0] = 1;
    while (size < 20u << 20) {
        size_t grown = size + size + 12345;
        system_fail_nth(1);
        assert_null(system_grow_large(memory, size, grown));
        assert_null(system_grow_large(memory, size, SIZE_MAX));
        assert_int_equal(memory[0] + memory[size - 1], size == 1 ? 2 : 1 + (size - 1) % 251);
        unsigned char *elsewhere = system_grow_large(memory, size, grown), there;
        assert_non_null(elsewhere);
        assert_int_equal((uintptr_t)elsewhere % SYSTEM_HUGE_BYTES, 0);
        assert_int_equal(mincore(memory, 4096, &there), -1);
        assert_int_equal(errno, ENOMEM);
        memory = elsewhere;
        assert_int_equal(memory[grown - 1], 0);
        for (size_t n = 1; n < size; n++)
            assert_int_equal(memory[n], n % 251);
        for (size_t n = size; n < grown; n++)
            memory[n] = (unsigned char)(n % 251);
        size = grown;
    }
    system_unmap_large(memory, size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_mapping_may_have_any_size),
        cmocka_unit_test(the_end_of_a_large_mapping_can_be_given_back),
        cmocka_unit_test(a_large_mapping_grows_without_being_copied),
        cmocka_unit_test(memory_is_aligned_as_asked),
        cmocka_unit_test(a_mapping_is_zeroed_and_aligned_to_its_size),
        cmocka_unit_test(mappings_are_advised_huge_where_the_system_takes_advice),
        cmocka_unit_test(the_planted_request_fails_and_the_next_succeeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
