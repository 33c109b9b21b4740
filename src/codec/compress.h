/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_COMPRESS_H
#define CODEC_COMPRESS_H

/*
 * Compression of blocks by zstd, each block for itself. The working memory (a few hundred KiB) is
 * kept for each thread that has used it, and freed when the thread ends. Leaf module: codes only,
 * no diagnostics.
 */
#include <stddef.h>
#include <stdint.h>

/* Compresses into out[0..room). Returns the size, 0 when it does not fit, or ERROR_MEMORY. `room`
 * smaller than `size` asks for something that is worth its while. */
int64_t compress_zstd(void *out, size_t room, const void *data, size_t size);

/* Decompresses what must give exactly `out_size` bytes. Returns 0, ERROR_CORRUPT or ERROR_MEMORY;
 * after an error the contents of `out` are undefined. Any bytes may be given. */
int decompress_zstd(void *out, size_t out_size, const void *data, size_t size);

#endif
