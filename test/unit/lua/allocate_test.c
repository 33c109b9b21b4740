/* SPDX-License-Identifier: Apache-2.0 */

/* Memory of LuaJIT states: blocks of all sizes keep what is in them, and large ones are in huge pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "lua/internal.h"
#include "lua/lua_fixture.h"
#include "mem/system.h"

static struct lua_runtime *runtime;

static int setup(void **state)
{
    (void)state;
    runtime = calloc(1, sizeof *runtime);
    return runtime == NULL;
}

/* Nothing is left. */
static int teardown(void **state)
{
    (void)state;
    assert_int_equal(runtime->memory_bytes, 0);
    assert_int_equal(lua__mapped_bytes(), 0);
    free(runtime);
    return 0;
}

static void large_blocks_are_where_huge_pages_fit(void **state)
{
    (void)state;
    const size_t size = 17u << 20;
    unsigned char *block = lua__allocate(runtime, NULL, 0, size);
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % SYSTEM_HUGE_BYTES, 0);
    assert_int_equal(lua__mapped_bytes(), size);
    block = lua__allocate(runtime, block, size, 3 * size);
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % SYSTEM_HUGE_BYTES, 0);
    assert_int_equal(runtime->memory_bytes, 3 * size);
    assert_null(lua__allocate(runtime, block, 3 * size, 0));
}

static unsigned char byte_at(size_t n)
{
    return (unsigned char)(n * 2654435761u >> 13);
}

static void blocks_that_grow_and_shrink_keep_what_is_in_them(void **state)
{
    enum { STEPS = 200 };
    static const size_t sizes[] = {1,         5000,     (16u << 20) - 1, 16u << 20, (16u << 20) + 1,
                                   18u << 20, 19999999, 27u << 20};
    struct random random;
    unsigned char *block = NULL;
    size_t size = 0;
    (void)state;
    random_create(&random, 7);
    for (unsigned step = 0; step < STEPS; step++) {
        size_t next = sizes[random_below(&random, sizeof sizes / sizeof *sizes)];
        block = lua__allocate(runtime, block, size, next);
        assert_non_null(block);
        size_t kept = size < next ? size : next;
        for (size_t n = 0; n < kept; n += 4095)
            assert_int_equal(block[n], byte_at(n));
        if (kept > 0)
            assert_int_equal(block[kept - 1], byte_at(kept - 1));
        for (size_t n = kept; n < next; n++)
            block[n] = byte_at(n);
        size = next;
        assert_int_equal(runtime->memory_bytes, size);
    }
    assert_null(lua__allocate(runtime, block, size, 0));
}

static void memory_that_is_out_leaves_a_block_as_it_was(void **state)
{
    (void)state;
    const size_t size = 17u << 20;
    unsigned char *block = lua__allocate(runtime, NULL, 0, size);
    assert_non_null(block);
    memset(block, 7, size);
    system_fail_nth(1);
    assert_null(lua__allocate(runtime, block, size, 2 * size));
    assert_int_equal(system_fail_pending(), 0);
    assert_int_equal(block[size - 1], 7);
    assert_int_equal(runtime->memory_bytes, size);
    assert_null(lua__allocate(runtime, block, size, 0));
}

/* Made ready with the first mapping, and it takes no other. */
static void a_long_string_has_the_memory_that_was_made_ready(void **state)
{
    (void)state;
    enum { SIZE = 40 << 20 };
    struct lua_fixture fixture;
    lua_fixture_create(&fixture, false, 0, 0);
    char *text = malloc(SIZE);
    lua_State *L = fixture.runtime->L;
    memset(text, 'x', SIZE);
    uint64_t before = lua__mapped_bytes();
    system_fail_nth(2);
    lua__push_bytes(L, fixture.runtime, text, SIZE);
    assert_int_equal(system_fail_pending(), 1);
    system_fail_nth(0);
    assert_int_equal(lua_objlen(L, -1), SIZE);
    assert_memory_equal(lua_tostring(L, -1), text, SIZE);
    assert_in_range(lua__mapped_bytes() - before, SIZE, SIZE + 64);
    lua__push_bytes(L, fixture.runtime, text, SIZE); /* the same: nothing is kept */
    assert_in_range(lua__mapped_bytes() - before, SIZE, SIZE + 64);
    lua_pop(L, 2);
    free(text);
    lua_fixture_destroy(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(large_blocks_are_where_huge_pages_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(blocks_that_grow_and_shrink_keep_what_is_in_them, setup,
                                        teardown),
        cmocka_unit_test(a_long_string_has_the_memory_that_was_made_ready),
        cmocka_unit_test_setup_teardown(memory_that_is_out_leaves_a_block_as_it_was, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
