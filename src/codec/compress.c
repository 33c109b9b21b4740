/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zstd with contexts that threads keep, lz4 and snappy. Making a context of zstd costs more than
 * compressing a small block, and its tables are initialised lazily, so each thread has one of each
 * kind; a thread-specific key frees them at its end. There, too, is the memory in which snappy
 * works when the caller's has no room for the worst case, which snappy asks for.
 *
 * Level 1: blocks of 16 KiB are too short for what higher levels look for, and checkpoints run
 * beside transactions.
 *
 * snappy allocates its table itself and, being C++, ends the process when there is no memory for it:
 * it is for who chooses it.
 */
#include "codec/compress.h"

#include <limits.h>
#include <lz4.h>
#include <pthread.h>
#include <snappy-c.h>
#include <stdlib.h>
#include <string.h>
#include <zdict.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/error.h"

enum { LEVEL = 1 };

struct contexts {
    ZSTD_CCtx *compress;
    ZSTD_DCtx *decompress;
    char *scratch;
    size_t scratch_bytes;
};

struct compress_dictionary {
    ZSTD_CDict *compress;
    ZSTD_DDict *decompress;
};

const char *compress_method_name(enum compress_method method)
{
    static const char *const NAMES[COMPRESS_METHODS] = {"none", "zstd", "lz4", "snappy"};
    return NAMES[method];
}

/* ------------------------------------------------------------------------------------- the threads
 */

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int key_failed;

static void contexts_free(void *arg)
{
    struct contexts *contexts = arg;
    ZSTD_freeCCtx(contexts->compress);
    ZSTD_freeDCtx(contexts->decompress);
    free(contexts->scratch);
    free(contexts);
}

static void key_make(void)
{
    key_failed = pthread_key_create(&key, contexts_free);
}

/* The calling thread's, or NULL when memory is out. */
static struct contexts *contexts_of_thread(void)
{
    pthread_once(&key_once, key_make);
    if (key_failed)
        return NULL;
    struct contexts *contexts = pthread_getspecific(key);
    if (contexts != NULL)
        return contexts;
    contexts = calloc(1, sizeof *contexts);
    if (contexts != NULL && pthread_setspecific(key, contexts) != 0) {
        free(contexts);
        return NULL;
    }
    return contexts;
}

/* The calling thread's memory of so many bytes, or NULL. */
static char *scratch_of_thread(size_t bytes)
{
    struct contexts *contexts = contexts_of_thread();
    if (contexts == NULL || contexts->scratch_bytes >= bytes)
        return contexts == NULL ? NULL : contexts->scratch;
    char *scratch = realloc(contexts->scratch, bytes);
    if (scratch == NULL)
        return NULL;
    contexts->scratch = scratch;
    contexts->scratch_bytes = bytes;
    return scratch;
}

/* -------------------------------------------------------------------------------------------- zstd
 */

static int64_t zstd_compressed(size_t result)
{
    if (!ZSTD_isError(result))
        return (int64_t)result;
    return ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation ? ERROR_MEMORY : 0;
}

/* What zstd says of bytes that are to be believed. */
static int zstd_checked(size_t result)
{
    if (!ZSTD_isError(result))
        return 0;
    return ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation ? ERROR_MEMORY : ERROR_CORRUPT;
}

static int64_t zstd_compress(const struct compress_dictionary *dictionary, void *out, size_t room,
                             const void *data, size_t size)
{
    struct contexts *contexts = contexts_of_thread();
    if (contexts != NULL && contexts->compress == NULL)
        contexts->compress = ZSTD_createCCtx();
    if (contexts == NULL || contexts->compress == NULL)
        return ERROR_MEMORY;
    ZSTD_CCtx *context = contexts->compress;
    if (dictionary != NULL)
        return zstd_compressed(
            ZSTD_compress_usingCDict(context, out, room, data, size, dictionary->compress));
    return zstd_compressed(ZSTD_compressCCtx(context, out, room, data, size, LEVEL));
}

static int zstd_decompress(const struct compress_dictionary *dictionary, void *out, size_t out_size,
                           const void *data, size_t size)
{
    struct contexts *contexts = contexts_of_thread();
    if (contexts != NULL && contexts->decompress == NULL)
        contexts->decompress = ZSTD_createDCtx();
    if (contexts == NULL || contexts->decompress == NULL)
        return ERROR_MEMORY;
    ZSTD_DCtx *context = contexts->decompress;
    size_t result = dictionary == NULL ? ZSTD_decompressDCtx(context, out, out_size, data, size)
                                       : ZSTD_decompress_usingDDict(context, out, out_size, data,
                                                                    size, dictionary->decompress);
    int rc = zstd_checked(result);
    return rc == 0 && result != out_size ? ERROR_CORRUPT : rc;
}

/* ----------------------------------------------------------------------------------- lz4 and snappy
 */

static int lz4_decompress(void *out, size_t out_size, const void *data, size_t size)
{
    if (out_size > INT_MAX || size > INT_MAX)
        return ERROR_CORRUPT;
    int bytes = LZ4_decompress_safe(data, out, (int)size, (int)out_size);
    return bytes >= 0 && (size_t)bytes == out_size ? 0 : ERROR_CORRUPT;
}

static int64_t snappy_into(void *out, size_t room, const void *data, size_t size)
{
    size_t bytes = snappy_max_compressed_length(size);
    char *to = bytes <= room ? out : scratch_of_thread(bytes);
    if (to == NULL)
        return ERROR_MEMORY;
    if (snappy_compress(data, size, to, &bytes) != SNAPPY_OK || bytes > room)
        return 0;
    if (to != out)
        memcpy(out, to, bytes);
    return (int64_t)bytes;
}

static int snappy_decompress(void *out, size_t out_size, const void *data, size_t size)
{
    size_t bytes;
    if (snappy_uncompressed_length(data, size, &bytes) != SNAPPY_OK || bytes != out_size)
        return ERROR_CORRUPT;
    return snappy_uncompress(data, size, out, &bytes) == SNAPPY_OK ? 0 : ERROR_CORRUPT;
}

/* ------------------------------------------------------------------------------------ dictionaries
 */

int64_t compress_dictionary_train(void *out, size_t room, const void *samples, const size_t *sizes,
                                  unsigned count)
{
    size_t result = ZDICT_trainFromBuffer(out, room, samples, sizes, count);
    if (!ZDICT_isError(result))
        return (int64_t)result;
    return ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation ? ERROR_MEMORY : 0;
}

int compress_dictionary_new(const void *data, size_t size, struct compress_dictionary **out)
{
    int rc = zstd_checked(ZDICT_getDictHeaderSize(data, size));
    if (rc != 0)
        return rc;
    struct compress_dictionary *dictionary = calloc(1, sizeof *dictionary);
    if (dictionary == NULL)
        return ERROR_MEMORY;
    dictionary->compress = ZSTD_createCDict(data, size, LEVEL);
    /* Both say no more than that they cannot. The second needs the tenth of the memory that the
     * first has got: what it refuses are tables for reading. */
    if (dictionary->compress != NULL)
        dictionary->decompress = ZSTD_createDDict(data, size);
    rc = dictionary->compress == NULL     ? ERROR_MEMORY
         : dictionary->decompress == NULL ? ERROR_CORRUPT
                                          : 0;
    if (rc != 0)
        compress_dictionary_delete(dictionary);
    else
        *out = dictionary;
    return rc;
}

void compress_dictionary_delete(struct compress_dictionary *dictionary)
{
    if (dictionary == NULL)
        return;
    ZSTD_freeCDict(dictionary->compress);
    ZSTD_freeDDict(dictionary->decompress);
    free(dictionary);
}

/* ------------------------------------------------------------------------------------------ blocks
 */

int64_t compress_block(enum compress_method method, const struct compress_dictionary *dictionary,
                       void *out, size_t room, const void *data, size_t size)
{
    int room_int = room < INT_MAX ? (int)room : INT_MAX;
    switch (method) {
    case COMPRESS_ZSTD:
        return zstd_compress(dictionary, out, room, data, size);
    case COMPRESS_LZ4:
        return LZ4_compress_default(data, out, (int)size, room_int);
    case COMPRESS_SNAPPY:
        return snappy_into(out, room, data, size);
    case COMPRESS_NONE:
    case COMPRESS_METHODS:
        break;
    }
    return 0;
}

int decompress_block(enum compress_method method, const struct compress_dictionary *dictionary,
                     void *out, size_t out_size, const void *data, size_t size)
{
    switch (method) {
    case COMPRESS_ZSTD:
        return zstd_decompress(dictionary, out, out_size, data, size);
    case COMPRESS_LZ4:
        return lz4_decompress(out, out_size, data, size);
    case COMPRESS_SNAPPY:
        return snappy_decompress(out, out_size, data, size);
    case COMPRESS_NONE:
    case COMPRESS_METHODS:
        break;
    }
    return ERROR_CORRUPT;
}

int64_t compress_zstd(void *out, size_t room, const void *data, size_t size)
{
    return zstd_compress(NULL, out, room, data, size);
}

int decompress_zstd(void *out, size_t out_size, const void *data, size_t size)
{
    return zstd_decompress(NULL, out, out_size, data, size);
}
