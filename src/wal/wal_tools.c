/* SPDX-License-Identifier: Apache-2.0 */

/* Segments as files: names, headers, a log that begins anew. */
#include "wal/wal_tools.h"

#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "wal/wal_internal.h"

void wal_file_name(uint64_t segment, char out[WAL_FILE_NAME_BYTES])
{
    wal__segment_name(segment, out);
}

bool wal_file_number(const char *name, uint64_t *segment)
{
    return wal__segment_parse(name, segment);
}

static bool ends_in(const char *name, const char *end)
{
    size_t size = strlen(name), end_size = strlen(end);
    return size > end_size && strcmp(name + size - end_size, end) == 0;
}

bool wal_file_temporary(const char *name)
{
    return strncmp(name, "wal-", 4) == 0 && (ends_in(name, ".tmp") || ends_in(name, ".spare"));
}

static int header_load(struct io *io, uint64_t segment, struct wal_segment_header *out)
{
    char name[WAL_FILE_NAME_BYTES];
    struct io_file *file;
    wal_file_name(segment, name);
    int rc = io_open(io, name, IO_READ, &file);
    if (rc != 0)
        return rc;
    unsigned char *page = malloc(WAL_ALIGN);
    int64_t got = page == NULL ? ERROR_MEMORY : io_read(file, page, WAL_ALIGN, 0);
    io_close(file);
    const char *check = "segment header is missing";
    rc = got < 0 ? (int)got : got < WAL_ALIGN ? ERROR_CORRUPT : 0;
    if (rc == 0)
        rc = wal_segment_header_decode(page, out, &check);
    free(page);
    if (rc == ERROR_MEMORY)
        return diag_set(rc, "out of memory to read %s", name);
    if (rc == ERROR_CORRUPT || rc == ERROR_VERSION)
        return diag_set(rc, "%s, offset 0: %s", name, check);
    return rc;
}

int wal_file_checksum(struct io *io, uint64_t segment, uint32_t *out)
{
    struct wal_segment_header header;
    int rc = header_load(io, segment, &header);
    if (rc == 0)
        *out = header.checksum;
    return rc;
}

int wal_file_follows(struct io *io, uint64_t segment, uint64_t before, bool *out)
{
    struct wal_segment_header last, next;
    int rc = header_load(io, before, &last);
    if (rc == 0)
        rc = header_load(io, segment, &next);
    *out = rc == 0 && next.index == 0 && next.previous_incarnation == last.incarnation &&
           next.end_segment <= before;
    return rc == ERROR_CORRUPT || rc == ERROR_NOT_FOUND ? 0 : rc;
}

int wal_log_create(struct io *io, uint64_t segment, uint64_t clock)
{
    struct wal_segment_header header = {
        .number = segment, .incarnation = 1, .salt = random_seed(), .clock = clock};
    char name[WAL_FILE_NAME_BYTES];
    struct io_file *file;
    void *page = aligned_alloc(IO_ALIGN, WAL_ALIGN);
    if (page == NULL)
        return diag_set(ERROR_MEMORY, "out of memory for a log segment");
    wal_segment_header_encode(&header, page);
    wal_file_name(segment, name);
    int rc = io_open(io, name, IO_WRITE | IO_CREATE | IO_EXCLUSIVE, &file);
    if (rc == 0) {
        rc = io_write(file, page, WAL_ALIGN, 0);
        if (rc == 0)
            rc = io_sync(file);
        io_close(file);
    }
    free(page);
    return rc == 0 ? io_sync_dir(io) : rc;
}
