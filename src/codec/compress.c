/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zstd with contexts that threads keep. Making a context costs more than compressing a small block,
 * and its tables are initialised lazily, so each thread has one of each kind; a thread-specific key
 * frees them at its end.
 *
 * Level 1: blocks of 16 KiB are too short for what higher levels look for, and checkpoints run
 * beside transactions.
 */
#include "codec/compress.h"

#include <pthread.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/error.h"

enum { LEVEL = 1 };

struct contexts {
    ZSTD_CCtx *compress;
    ZSTD_DCtx *decompress;
};

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int key_failed;

static void contexts_free(void *arg)
{
    struct contexts *contexts = arg;
    ZSTD_freeCCtx(contexts->compress);
    ZSTD_freeDCtx(contexts->decompress);
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

int64_t compress_zstd(void *out, size_t room, const void *data, size_t size)
{
    struct contexts *contexts = contexts_of_thread();
    if (contexts != NULL && contexts->compress == NULL)
        contexts->compress = ZSTD_createCCtx();
    if (contexts == NULL || contexts->compress == NULL)
        return ERROR_MEMORY;
    size_t result = ZSTD_compressCCtx(contexts->compress, out, room, data, size, LEVEL);
    if (!ZSTD_isError(result))
        return (int64_t)result;
    return ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation ? ERROR_MEMORY : 0;
}

int decompress_zstd(void *out, size_t out_size, const void *data, size_t size)
{
    struct contexts *contexts = contexts_of_thread();
    if (contexts != NULL && contexts->decompress == NULL)
        contexts->decompress = ZSTD_createDCtx();
    if (contexts == NULL || contexts->decompress == NULL)
        return ERROR_MEMORY;
    size_t result = ZSTD_decompressDCtx(contexts->decompress, out, out_size, data, size);
    if (ZSTD_isError(result))
        return ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation ? ERROR_MEMORY
                                                                         : ERROR_CORRUPT;
    return result == out_size ? 0 : ERROR_CORRUPT;
}
