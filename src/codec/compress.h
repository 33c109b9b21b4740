/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_COMPRESS_H
#define CODEC_COMPRESS_H

/*
 * Compression of blocks, each block for itself. The working memory (a few hundred KiB for zstd) is
 * kept for each thread that has used it, and freed when the thread ends. Leaf module: codes only,
 * no diagnostics.
 *
 *            block of 16 KiB of text      to compress     to decompress    what is left
 *   zstd     with or without dictionary   slowest         slower           least
 *   lz4                                   fast            fastest          more
 *   snappy                                fast            fast             more
 *
 * `./dev bench run` prints what they cost and give.
 */
#include <stddef.h>
#include <stdint.h>

/* As they are stored in files: numbers do not change. */
enum compress_method {
    COMPRESS_NONE,
    COMPRESS_ZSTD,
    COMPRESS_LZ4,
    COMPRESS_SNAPPY,
    COMPRESS_METHODS /* how many there are */
};

/* "none", "zstd", "lz4", "snappy". */
const char *compress_method_name(enum compress_method method);

/* ------------------------------------------------------------------------------------ dictionaries
 */

/* What blocks have in common, for zstd. Any number of threads may use one at a time. */
struct compress_dictionary;

/* Chooses what `count` samples, which lie one behind the other in `samples`, have in common. Returns
 * the bytes put into out[0..room), 0 when the samples are too few or too small to choose from, or
 * ERROR_MEMORY. */
int64_t compress_dictionary_train(void *out, size_t room, const void *samples, const size_t *sizes,
                                  unsigned count);

/* Prepares a dictionary for use; its bytes are copied. The caller owns *out. 0, ERROR_CORRUPT when
 * the bytes are none, or ERROR_MEMORY. */
int compress_dictionary_new(const void *data, size_t size, struct compress_dictionary **out);

/* NULL is allowed. */
void compress_dictionary_delete(struct compress_dictionary *dictionary);

/* ------------------------------------------------------------------------------------------ blocks
 */

/* Compresses at most INT32_MAX bytes into out[0..room). The dictionary is for zstd, and NULL without
 * one. Returns the size, 0 when it does not fit (and always for COMPRESS_NONE), or ERROR_MEMORY.
 * `room` smaller than `size` asks for something that is worth its while. */
int64_t compress_block(enum compress_method method, const struct compress_dictionary *dictionary,
                       void *out, size_t room, const void *data, size_t size);

/* Decompresses what must give exactly `out_size` bytes, by the method and dictionary that it was
 * compressed with. Returns 0, ERROR_CORRUPT or ERROR_MEMORY; after an error the contents of `out`
 * are undefined. Any bytes may be given. */
int decompress_block(enum compress_method method, const struct compress_dictionary *dictionary,
                     void *out, size_t out_size, const void *data, size_t size);

/* The same by zstd, without a dictionary. */
int64_t compress_zstd(void *out, size_t room, const void *data, size_t size);
int decompress_zstd(void *out, size_t out_size, const void *data, size_t size);

#endif
