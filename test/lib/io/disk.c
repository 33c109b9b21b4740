/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The test disk itself: its beginning, its cuts, and the fate of each call.
 *
 * Each counted call asks disk__enter for its fate: it is let through, it fails, or the power fails
 * in it. In the last case it does its work as far as what is not durable is concerned, and then
 * reports an error. A call of an io from before a cut finds the power off for ever. One mutex
 * guards everything.
 */
#include <errno.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "io/disk_internal.h"

/* ---------------------------------------------------------------- the fate of a call */

static int code_of(int error)
{
    return error == ENOMEM ? ERROR_MEMORY : error == ENOENT ? ERROR_NOT_FOUND : ERROR_IO;
}

int disk__failed(enum disk__fate fate, struct disk *disk, const char *call, const char *path)
{
    if (fate == FATE_CUT)
        return diag_set(ERROR_IO, "%s %s: the power is cut", call, path);
    return diag_set_errno(code_of(disk->fate_error), disk->fate_error, "%s %s", call, path);
}

int disk__full(const char *call, const char *path)
{
    return diag_set_errno(ERROR_IO, ENOSPC, "%s %s", call, path);
}

/* Whether what is armed makes this call fail, with disk->fate_error. */
static bool fails_now(struct disk *disk, enum disk_call call)
{
    disk->fate_error = disk->fail_always[call];
    if (disk->fail_in > 0 && (disk->fail_call < 0 || disk->fail_call == (int)call) &&
        --disk->fail_in == 0) {
        disk->fate_error = disk->fail_error;
        disk->fail_in = disk->fail_on;
    }
    return disk->fate_error != 0;
}

enum disk__fate disk__enter(struct disk *disk, enum disk_call call, unsigned generation,
                            bool *interrupted)
{
    pthread_mutex_lock(&disk->mutex);
    *interrupted = false;
    disk->counts[call]++;
    if (disk->cut || generation != disk->generation)
        return FATE_CUT;
    if (disk->cut_in > 0 && --disk->cut_in == 0) {
        disk->cut = true;
        *interrupted = true;
        return FATE_CUT;
    }
    return fails_now(disk, call) ? FATE_FAIL : FATE_WELL;
}

void disk__leave(struct disk *disk)
{
    pthread_mutex_unlock(&disk->mutex);
}

/* ---------------------------------------------------------------- the disk */

struct disk *disk_new(uint64_t seed)
{
    struct disk *disk = disk__allocate(sizeof(*disk));
    pthread_mutex_init(&disk->mutex, NULL);
    random_create(&disk->random, seed);
    disk__state_create(disk);
    return disk;
}

void disk_delete(struct disk *disk)
{
    ASSERT(disk->io_count == 0);
    disk__state_destroy(disk);
    pthread_mutex_destroy(&disk->mutex);
    free(disk);
}

void disk_cut(struct disk *disk, uint64_t seed)
{
    struct random random;
    random_create(&random, seed);
    pthread_mutex_lock(&disk->mutex);
    disk__state_cut(disk, &random);
    disk->generation++;
    disk->cut = false;
    disk->cut_in = disk->fail_in = 0;
    memset(disk->fail_always, 0, sizeof(disk->fail_always));
    pthread_mutex_unlock(&disk->mutex);
}

/* ---------------------------------------------------------------- switches */

void disk_offer_direct(struct disk *disk, bool offer)
{
    pthread_mutex_lock(&disk->mutex);
    disk->offer_direct = offer;
    pthread_mutex_unlock(&disk->mutex);
}

void disk_ignore_flush(struct disk *disk, bool ignore)
{
    pthread_mutex_lock(&disk->mutex);
    disk->ignore_flush = ignore;
    pthread_mutex_unlock(&disk->mutex);
}

void disk_cut_after(struct disk *disk, uint64_t n)
{
    pthread_mutex_lock(&disk->mutex);
    disk->cut_in = n;
    pthread_mutex_unlock(&disk->mutex);
}

bool disk_is_cut(struct disk *disk)
{
    pthread_mutex_lock(&disk->mutex);
    bool cut = disk->cut;
    pthread_mutex_unlock(&disk->mutex);
    return cut;
}

static void fail_arm(struct disk *disk, int call, uint64_t n, int error, bool on)
{
    pthread_mutex_lock(&disk->mutex);
    disk->fail_in = n;
    disk->fail_call = call;
    disk->fail_error = error;
    disk->fail_on = on;
    pthread_mutex_unlock(&disk->mutex);
}

void disk_fail_nth(struct disk *disk, uint64_t n, int error)
{
    fail_arm(disk, -1, n, error, false);
}

void disk_fail_nth_of(struct disk *disk, enum disk_call call, uint64_t n, int error)
{
    fail_arm(disk, (int)call, n, error, false);
}

void disk_fail_from(struct disk *disk, uint64_t n, int error)
{
    fail_arm(disk, -1, n, error, true);
}

void disk_fail_always(struct disk *disk, enum disk_call call, int error)
{
    pthread_mutex_lock(&disk->mutex);
    disk->fail_always[call] = error;
    pthread_mutex_unlock(&disk->mutex);
}

void disk_capacity(struct disk *disk, uint64_t bytes)
{
    pthread_mutex_lock(&disk->mutex);
    disk->capacity = bytes;
    pthread_mutex_unlock(&disk->mutex);
}

uint64_t disk_used(struct disk *disk)
{
    pthread_mutex_lock(&disk->mutex);
    uint64_t used = disk__used(disk);
    pthread_mutex_unlock(&disk->mutex);
    return used;
}

void disk_tear(struct disk *disk, unsigned bytes)
{
    ASSERT(bytes == 512 || bytes == DISK_PAGE_BYTES);
    pthread_mutex_lock(&disk->mutex);
    disk->tear_bytes = bytes;
    pthread_mutex_unlock(&disk->mutex);
}

/* ---------------------------------------------------------------- damage */

static bool flip(struct disk *disk, const char *path, uint64_t offset, unsigned bit)
{
    struct name *name = disk__name_find(&disk->seen, path);
    unsigned char byte;
    if (name == NULL || disk_image_read(&name->inode->seen, &byte, 1, offset) == 0)
        return false;
    disk__inode_set(name->inode, offset, (unsigned char)(byte ^ (1u << bit)));
    return true;
}

bool disk_flip(struct disk *disk, const char *path, uint64_t offset, unsigned bit)
{
    ASSERT(bit < 8);
    pthread_mutex_lock(&disk->mutex);
    bool found = flip(disk, path, offset, bit);
    pthread_mutex_unlock(&disk->mutex);
    return found;
}

bool disk_flip_random(struct disk *disk, const char *path, uint64_t seed, uint64_t *offset)
{
    struct random random;
    random_create(&random, seed);
    pthread_mutex_lock(&disk->mutex);
    struct name *name = disk__name_find(&disk->seen, path);
    bool found = name != NULL && name->inode->seen.size > 0;
    if (found) {
        *offset = random_below(&random, name->inode->seen.size);
        found = flip(disk, path, *offset, (unsigned)random_below(&random, 8));
    }
    pthread_mutex_unlock(&disk->mutex);
    return found;
}

bool disk_vanish(struct disk *disk, const char *path)
{
    pthread_mutex_lock(&disk->mutex);
    bool found = disk__name_find(&disk->seen, path) != NULL;
    disk__name_forget(disk, path);
    pthread_mutex_unlock(&disk->mutex);
    return found;
}

/* ---------------------------------------------------------------- counts */

uint64_t disk_call_count(struct disk *disk, enum disk_call call)
{
    pthread_mutex_lock(&disk->mutex);
    uint64_t count = disk->counts[call];
    pthread_mutex_unlock(&disk->mutex);
    return count;
}

uint64_t disk_calls(struct disk *disk)
{
    uint64_t sum = 0;
    for (int call = 0; call < DISK_CALL_MAX; call++)
        sum += disk_call_count(disk, (enum disk_call)call);
    return sum;
}
