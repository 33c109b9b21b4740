/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_IO_DISK_IMAGE_H
#define TEST_IO_DISK_IMAGE_H

/*
 * The bytes of one file of the test disk: pages of 4 KiB, of which those never written, or written
 * with nothing but zeros, need not exist. Bytes beyond the size are zero.
 */
#include <stddef.h>
#include <stdint.h>

enum { DISK_PAGE_BYTES = 4096 };

struct disk_image {
    uint64_t size;
    size_t page_count; /* of `pages`; those beyond are zero */
    unsigned char **pages;
};

/* A zero-initialised image is an empty file. Frees and leaves an empty file. */
void disk_image_clear(struct disk_image *image);

/* Lengthens the file when it ends beyond the size. `data` NULL writes zeros. */
void disk_image_write(struct disk_image *image, const void *data, size_t size, uint64_t offset);

/* Returns the count: fewer than `size` only at the end of the file. */
size_t disk_image_read(const struct disk_image *image, void *data, size_t size, uint64_t offset);

void disk_image_truncate(struct disk_image *image, uint64_t size);

/* Makes `to`, an empty file, equal to `from`. */
void disk_image_copy(struct disk_image *to, const struct disk_image *from);

#endif
