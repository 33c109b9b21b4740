/* SPDX-License-Identifier: Apache-2.0 */

/* Compression of blocks: what goes in comes out, and damage is noticed or harmless. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "codec/compress.h"

enum { SIZE = 16 << 10 };

static void fill(struct random *random, char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (char)('a' + random_below(random, 4));
}

static void what_was_compressed_comes_back(void **state)
{
    (void)state;
    static char data[SIZE], packed[SIZE], back[SIZE];
    struct random random;
    random_create(&random, test_seed());
    for (size_t size = 1024; size <= SIZE; size *= 2) {
        fill(&random, data, size);
        int64_t bytes = compress_zstd(packed, size - 1, data, size);
        assert_true(bytes > 0 && bytes < (int64_t)size);
        assert_int_equal(decompress_zstd(back, size, packed, (size_t)bytes), 0);
        assert_memory_equal(back, data, size);
    }
}

static void what_would_not_become_smaller_is_left(void **state)
{
    (void)state;
    static char data[SIZE], packed[SIZE];
    struct random random;
    random_create(&random, test_seed());
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (char)random_next(&random);
    assert_int_equal(compress_zstd(packed, SIZE - 1, data, SIZE), 0);
}

static void another_size_than_was_compressed_is_damage(void **state)
{
    (void)state;
    static char data[SIZE], packed[SIZE], back[SIZE + 1];
    memset(data, 'x', SIZE);
    int64_t bytes = compress_zstd(packed, SIZE, data, SIZE);
    assert_true(bytes > 0);
    assert_int_equal(decompress_zstd(back, SIZE + 1, packed, (size_t)bytes), ERROR_CORRUPT);
    assert_int_equal(decompress_zstd(back, SIZE - 1, packed, (size_t)bytes), ERROR_CORRUPT);
    assert_int_equal(decompress_zstd(back, SIZE, packed, (size_t)bytes - 1), ERROR_CORRUPT);
    assert_int_equal(decompress_zstd(back, SIZE, data, 100), ERROR_CORRUPT);
}

static void *compress_some(void *arg)
{
    char data[1000], packed[1000];
    memset(data, 'x', sizeof data);
    *(int64_t *)arg = compress_zstd(packed, sizeof packed, data, sizeof data);
    return NULL;
}

static void threads_have_contexts_of_their_own(void **state)
{
    (void)state;
    pthread_t threads[4];
    int64_t results[4];
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, compress_some, &results[i]), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(results[i], results[0]);
    assert_true(results[0] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_compressed_comes_back),
        cmocka_unit_test(what_would_not_become_smaller_is_left),
        cmocka_unit_test(another_size_than_was_compressed_is_damage),
        cmocka_unit_test(threads_have_contexts_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
