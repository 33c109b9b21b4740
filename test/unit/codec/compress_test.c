/* SPDX-License-Identifier: Apache-2.0 */

/* Compression of blocks: what goes in comes out, and damage is noticed or harmless. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "codec/compress.h"

enum { SIZE = 16 << 10 };

/* Rows as a space has them: names that repeat, numbers that do not. Returns the bytes. */
static size_t rows_fill(struct random *random, char *data, size_t room)
{
    size_t at = 0;
    while (at + 100 < room)
        at += (size_t)sprintf(
            data + at, "{\"customer\": %u, \"status\": \"delivered\", \"sum\": %u}",
            (unsigned)random_below(random, 1000000), (unsigned)random_below(random, 100000));
    return at;
}

static const enum compress_method METHODS[] = {COMPRESS_ZSTD, COMPRESS_LZ4, COMPRESS_SNAPPY};
#define EACH(method) (unsigned method = 0; method < sizeof METHODS / sizeof *METHODS; method++)

static void what_was_compressed_comes_back(void **state)
{
    (void)state;
    static char data[SIZE], packed[SIZE], back[SIZE];
    struct random random;
    random_create(&random, test_seed());
    for
        EACH(n)
    for (size_t room = 1024; room <= SIZE; room *= 2) {
        size_t size = rows_fill(&random, data, room);
        int64_t bytes = compress_block(METHODS[n], NULL, packed, size - 1, data, size);
        assert_true(bytes > 0 && bytes < (int64_t)size);
        assert_int_equal(decompress_block(METHODS[n], NULL, back, size, packed, (size_t)bytes), 0);
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
    for
        EACH(n)
    assert_int_equal(compress_block(METHODS[n], NULL, packed, SIZE - 1, data, SIZE), 0);
    assert_int_equal(compress_block(COMPRESS_NONE, NULL, packed, SIZE, data, SIZE), 0);
}

static void another_size_than_was_compressed_is_damage(void **state)
{
    (void)state;
    static char data[SIZE], packed[SIZE], back[SIZE + 1];
    memset(data, 'x', SIZE);
    for
        EACH(n)
        {
            enum compress_method method = METHODS[n];
            int64_t bytes = compress_block(method, NULL, packed, SIZE, data, SIZE);
            assert_true(bytes > 0);
            size_t size = (size_t)bytes;
            assert_int_equal(decompress_block(method, NULL, back, SIZE + 1, packed, size),
                             ERROR_CORRUPT);
            assert_int_equal(decompress_block(method, NULL, back, SIZE - 1, packed, size),
                             ERROR_CORRUPT);
            assert_int_equal(decompress_block(method, NULL, back, SIZE, packed, size - 1),
                             ERROR_CORRUPT);
            assert_int_equal(decompress_block(method, NULL, back, SIZE, data, 100), ERROR_CORRUPT);
        }
    assert_int_equal(decompress_block(COMPRESS_NONE, NULL, back, SIZE, packed, 10), ERROR_CORRUPT);
}

/* Whatever becomes of the bytes: nothing is read or written beyond them. */
static void damaged_bytes_are_harmless(void **state)
{
    (void)state;
    static char data[SIZE], packed[SIZE];
    struct random random;
    random_create(&random, test_seed());
    size_t size = rows_fill(&random, data, SIZE);
    for
        EACH(n)
        {
            int64_t bytes = compress_block(METHODS[n], NULL, packed, SIZE, data, size);
            for (unsigned round = 0; round < 300; round++) {
                char *damaged = malloc((size_t)bytes), *back = malloc(size);
                memcpy(damaged, packed, (size_t)bytes);
                for (unsigned i = 0; i <= round % 4; i++)
                    damaged[random_below(&random, (uint64_t)bytes)] ^= (char)(1 << round % 8);
                int rc = decompress_block(METHODS[n], NULL, back, size, damaged, (size_t)bytes);
                assert_true(rc == 0 || rc == ERROR_CORRUPT);
                free(damaged);
                free(back);
            }
        }
}

enum { SAMPLES = 400, SAMPLE_ROOM = 512, DICTIONARY_ROOM = 16 << 10 };

/* Rows of a sample each. Returns the bytes of the dictionary. */
static size_t train(struct random *random, char *dictionary)
{
    static char samples[SAMPLES * SAMPLE_ROOM];
    size_t sizes[SAMPLES], at = 0;
    for (unsigned i = 0; i < SAMPLES; i++) {
        sizes[i] = rows_fill(random, samples + at, SAMPLE_ROOM);
        at += sizes[i];
    }
    int64_t bytes = compress_dictionary_train(dictionary, DICTIONARY_ROOM, samples, sizes, SAMPLES);
    assert_true(bytes > 0 && bytes <= DICTIONARY_ROOM);
    return (size_t)bytes;
}

static void a_dictionary_makes_small_blocks_smaller(void **state)
{
    (void)state;
    static char bytes[DICTIONARY_ROOM], data[SAMPLE_ROOM], packed[2 * SAMPLE_ROOM];
    char back[SAMPLE_ROOM];
    struct compress_dictionary *dictionary;
    struct random random;
    random_create(&random, test_seed());
    size_t dictionary_size = train(&random, bytes);
    assert_int_equal(compress_dictionary_new(bytes, dictionary_size, &dictionary), 0);
    size_t size = rows_fill(&random, data, sizeof data);
    int64_t without = compress_block(COMPRESS_ZSTD, NULL, packed, sizeof packed, data, size);
    int64_t with = compress_block(COMPRESS_ZSTD, dictionary, packed, sizeof packed, data, size);
    assert_true(with > 0 && with < without);
    assert_int_equal(decompress_block(COMPRESS_ZSTD, dictionary, back, size, packed, (size_t)with),
                     0);
    assert_memory_equal(back, data, size);
    assert_int_equal(decompress_block(COMPRESS_ZSTD, NULL, back, size, packed, (size_t)with),
                     ERROR_CORRUPT);
    compress_dictionary_delete(dictionary);
}

static void too_few_samples_give_no_dictionary_and_damaged_bytes_are_none(void **state)
{
    (void)state;
    static char bytes[DICTIONARY_ROOM];
    struct compress_dictionary *dictionary = NULL;
    struct random random;
    random_create(&random, test_seed());
    size_t one = 5;
    assert_int_equal(compress_dictionary_train(bytes, sizeof bytes, "hello", &one, 1), 0);
    size_t size = train(&random, bytes);
    memset(bytes + 8, 0xff, 64); /* behind magic and number: its tables */
    assert_int_equal(compress_dictionary_new(bytes, size, &dictionary), ERROR_CORRUPT);
    assert_int_equal(compress_dictionary_new(bytes, 0, &dictionary), ERROR_CORRUPT);
    compress_dictionary_delete(NULL);
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
        cmocka_unit_test(damaged_bytes_are_harmless),
        cmocka_unit_test(a_dictionary_makes_small_blocks_smaller),
        cmocka_unit_test(too_few_samples_give_no_dictionary_and_damaged_bytes_are_none),
        cmocka_unit_test(threads_have_contexts_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
