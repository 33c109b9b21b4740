/* SPDX-License-Identifier: Apache-2.0 */

/* Sparse file contents for the test disk; see disk_image.h. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/test_alloc.h"
#include "io/disk_image.h"

/* An array of pages grown to `count`. */
static void pages_grow(struct disk_image *image, size_t count)
{
    image->pages = realloc(image->pages, count * sizeof(image->pages[0]));
    ASSERT(image->pages != NULL);
    memset(image->pages + image->page_count, 0,
           (count - image->page_count) * sizeof(image->pages[0]));
    image->page_count = count;
}

/* Makes page `index` exist. */
static void page_make(struct disk_image *image, size_t index)
{
    test_alloc_begin();
    if (index >= image->page_count)
        pages_grow(image, (index + 1) * 2);
    if (image->pages[index] == NULL)
        image->pages[index] = calloc(1, DISK_PAGE_BYTES);
    test_alloc_end();
    ASSERT(image->pages[index] != NULL);
}

static void page_put(struct disk_image *image, size_t index, size_t at, const unsigned char *data,
                     size_t size)
{
    bool exists = index < image->page_count && image->pages[index] != NULL;
    if (data == NULL && !exists)
        return;
    if (!exists)
        page_make(image, index);
    if (data == NULL)
        memset(image->pages[index] + at, 0, size);
    else
        memcpy(image->pages[index] + at, data, size);
}

/* How many of `size` bytes at `offset` lie in its page. */
static size_t in_page(uint64_t offset, size_t size)
{
    size_t room = DISK_PAGE_BYTES - offset % DISK_PAGE_BYTES;
    return size < room ? size : room;
}

void disk_image_write(struct disk_image *image, const void *data, size_t size, uint64_t offset)
{
    const unsigned char *from = data;
    if (size > 0 && offset + size > image->size)
        image->size = offset + size;
    while (size > 0) {
        size_t n = in_page(offset, size);
        page_put(image, offset / DISK_PAGE_BYTES, offset % DISK_PAGE_BYTES, from, n);
        from = from ? from + n : NULL;
        offset += n;
        size -= n;
    }
}

size_t disk_image_read(const struct disk_image *image, void *data, size_t size, uint64_t offset)
{
    if (offset >= image->size)
        return 0;
    if (size > image->size - offset)
        size = (size_t)(image->size - offset);
    unsigned char *to = data;
    for (size_t left = size; left > 0;) {
        size_t n = in_page(offset, left), index = offset / DISK_PAGE_BYTES;
        if (index < image->page_count && image->pages[index] != NULL)
            memcpy(to, image->pages[index] + offset % DISK_PAGE_BYTES, n);
        else
            memset(to, 0, n);
        to += n;
        offset += n;
        left -= n;
    }
    return size;
}

void disk_image_truncate(struct disk_image *image, uint64_t size)
{
    uint64_t old = image->size;
    if (size < old)
        disk_image_write(image, NULL, (size_t)(old - size), size);
    image->size = size;
}

void disk_image_copy(struct disk_image *to, const struct disk_image *from)
{
    for (size_t i = 0; i < from->page_count; i++)
        if (from->pages[i] != NULL)
            page_put(to, i, 0, from->pages[i], DISK_PAGE_BYTES);
    to->size = from->size;
}

void disk_image_clear(struct disk_image *image)
{
    for (size_t i = 0; i < image->page_count; i++)
        free(image->pages[i]);
    free(image->pages);
    *image = (struct disk_image){0};
}
