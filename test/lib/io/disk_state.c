/* SPDX-License-Identifier: Apache-2.0 */

/* What is seen, what is durable, and what lies between; disk_internal.h has the picture. */
#include <stdio.h>

#include "base/assert.h"
#include "base/test_alloc.h"
#include "io/disk_internal.h"

void *disk__allocate(size_t size)
{
    test_alloc_begin();
    void *memory = calloc(1, size);
    test_alloc_end();
    ASSERT(memory != NULL);
    return memory;
}

static bool coin(struct random *random)
{
    return random_below(random, 2) == 0;
}

/* ---------------------------------------------------------------- changes of files */

static void change_delete(struct change *change)
{
    list_remove(&change->link);
    free(change->data);
    free(change);
}

struct change *disk__change_new(struct inode *inode, const void *data, size_t size, uint64_t offset)
{
    struct change *change = disk__allocate(sizeof(*change));
    change->size = size;
    change->offset = offset;
    if (data != NULL) {
        change->data = disk__allocate(size + 1);
        memcpy(change->data, data, size);
    }
    list_add_tail(&inode->changes, &change->link);
    return change;
}

void disk__change_apply(const struct change *change, struct disk_image *image)
{
    if (change->truncate)
        disk_image_truncate(image, change->offset);
    else
        disk_image_write(image, change->data, change->size, change->offset);
}

/* What a cut leaves of a change that was not durable: pieces of `tear` bytes. */
static void change_apply_torn(const struct change *change, struct disk_image *image, size_t tear,
                              struct random *random)
{
    if (change->truncate) {
        if (coin(random))
            disk__change_apply(change, image);
        return;
    }
    for (size_t at = 0; at < change->size;) {
        size_t room = tear - (change->offset + at) % tear;
        size_t n = room < change->size - at ? room : change->size - at;
        if (coin(random))
            disk_image_write(image, change->data ? change->data + at : NULL, n,
                             change->offset + at);
        at += n;
    }
}

void disk__inode_settle(struct inode *inode)
{
    while (!list_empty(&inode->changes)) {
        struct change *change = list_entry(inode->changes.next, struct change, link);
        if (!change->durable)
            return;
        disk__change_apply(change, &inode->durable);
        change_delete(change);
    }
}

void disk__inode_flush(struct disk *disk, struct inode *inode, bool failed)
{
    if (disk->ignore_flush || disk->cut)
        return;
    list_for_each (link, &inode->changes) {
        struct change *change = list_entry(link, struct change, link);
        if (change->in_flight || change->durable)
            continue;
        if (failed)
            change->forsaken = true;
        else
            change->durable = !change->forsaken;
    }
    disk__inode_settle(inode);
}

void disk__inode_set(struct inode *inode, uint64_t offset, unsigned char byte)
{
    struct change *change = disk__change_new(inode, &byte, 1, offset);
    disk__change_apply(change, &inode->seen);
    change->durable = true;
    disk__inode_settle(inode);
}

struct inode *disk__inode_new(struct disk *disk)
{
    struct inode *inode = disk__allocate(sizeof(*inode));
    list_create(&inode->changes);
    list_add_tail(&disk->inodes, &inode->link);
    return inode;
}

/* Frees the contents; the inode itself stays for those who point to it. */
static void inode_clear(struct inode *inode)
{
    while (!list_empty(&inode->changes))
        change_delete(list_entry(inode->changes.next, struct change, link));
    disk_image_clear(&inode->seen);
    disk_image_clear(&inode->durable);
}

void disk__inode_truncate(struct inode *inode, uint64_t size)
{
    struct change *change = disk__change_new(inode, NULL, 0, size);
    change->truncate = true;
    disk__change_apply(change, &inode->seen);
}

/* What is left of an inode after a cut, as a new inode. */
static struct inode *inode_survivor(struct disk *disk, struct inode *inode, struct random *random)
{
    struct inode *survivor = disk__inode_new(disk);
    disk_image_copy(&survivor->durable, &inode->durable);
    list_for_each (link, &inode->changes) {
        struct change *change = list_entry(link, struct change, link);
        if (change->durable)
            disk__change_apply(change, &survivor->durable);
        else
            change_apply_torn(change, &survivor->durable, disk->tear_bytes, random);
    }
    disk_image_copy(&survivor->seen, &survivor->durable);
    return survivor;
}

/* ---------------------------------------------------------------- names */

struct name *disk__name_find(struct list *names, const char *name)
{
    list_for_each (link, names) {
        struct name *found = list_entry(link, struct name, link);
        if (strcmp(found->name, name) == 0)
            return found;
    }
    return NULL;
}

static void name_set(struct list *names, const char *name, struct inode *inode)
{
    struct name *found = disk__name_find(names, name);
    if (found == NULL) {
        found = disk__allocate(sizeof(*found));
        snprintf(found->name, sizeof(found->name), "%s", name);
        list_add_tail(names, &found->link);
    }
    found->inode = inode;
}

static void name_remove(struct list *names, const char *name, struct inode *inode)
{
    struct name *found = disk__name_find(names, name);
    if (found == NULL || found->inode != inode)
        return;
    list_remove(&found->link);
    free(found);
}

static void names_clear(struct list *names)
{
    list_for_each_safe (link, names)
        free(list_entry(link, struct name, link));
    list_create(names);
}

static void name_change_apply(const struct name_change *change, struct list *names)
{
    if (change->from[0] != 0)
        name_remove(names, change->from, change->inode);
    if (change->to[0] != 0)
        name_set(names, change->to, change->inode);
}

void disk__name_change(struct disk *disk, const char *from, const char *to, struct inode *inode)
{
    struct name_change *change = disk__allocate(sizeof(*change));
    snprintf(change->from, sizeof(change->from), "%s", from);
    snprintf(change->to, sizeof(change->to), "%s", to);
    change->inode = inode;
    list_add_tail(&disk->name_changes, &change->link);
    name_change_apply(change, &disk->seen);
}

static void name_change_delete(struct name_change *change)
{
    list_remove(&change->link);
    free(change);
}

/* Applies durable changes at the head of the list to the durable table. */
static void names_settle(struct disk *disk)
{
    while (!list_empty(&disk->name_changes)) {
        struct name_change *change = list_entry(disk->name_changes.next, struct name_change, link);
        if (!change->durable)
            return;
        name_change_apply(change, &disk->durable);
        name_change_delete(change);
    }
}

void disk__names_flush(struct disk *disk, bool failed)
{
    if (disk->ignore_flush || disk->cut)
        return;
    list_for_each (link, &disk->name_changes) {
        struct name_change *change = list_entry(link, struct name_change, link);
        if (failed && !change->durable)
            change->forsaken = true;
        else if (!change->forsaken)
            change->durable = true;
    }
    names_settle(disk);
}

/* Changes that would bring the name back are made to give the file no name, so that their order
 * stays as it is. */
void disk__name_forget(struct disk *disk, const char *name)
{
    struct list *tables[] = {&disk->seen, &disk->durable};
    for (unsigned n = 0; n < 2; n++) {
        struct name *found = disk__name_find(tables[n], name);
        if (found != NULL)
            name_remove(tables[n], name, found->inode);
    }
    list_for_each (link, &disk->name_changes) {
        struct name_change *change = list_entry(link, struct name_change, link);
        if (strcmp(change->to, name) == 0)
            change->to[0] = 0;
    }
}

void disk__locks_release(struct disk *disk, const struct disk_io *owner)
{
    list_for_each_safe (link, &disk->locks) {
        struct lock *lock = list_entry(link, struct lock, link);
        if (owner != NULL && lock->owner != owner)
            continue;
        list_remove(&lock->link);
        free(lock);
    }
}

/* ---------------------------------------------------------------- room */

uint64_t disk__used(struct disk *disk)
{
    uint64_t used = 0;
    list_for_each (link, &disk->seen)
        used += list_entry(link, struct name, link)->inode->seen.size;
    return used;
}

size_t disk__room(struct disk *disk, const struct inode *inode, size_t size, uint64_t offset)
{
    uint64_t end = inode->seen.size, used = disk__used(disk);
    if (disk->capacity == 0 || offset + size <= end)
        return size;
    uint64_t last = end + (used < disk->capacity ? disk->capacity - used : 0);
    return last >= offset + size ? size : last > offset ? (size_t)(last - offset) : 0;
}

/* ---------------------------------------------------------------- all of it */

void disk__state_create(struct disk *disk)
{
    list_create(&disk->inodes);
    list_create(&disk->seen);
    list_create(&disk->durable);
    list_create(&disk->name_changes);
    list_create(&disk->locks);
    disk->tear_bytes = DISK_PAGE_BYTES;
}

static void name_changes_clear(struct disk *disk)
{
    while (!list_empty(&disk->name_changes))
        name_change_delete(list_entry(disk->name_changes.next, struct name_change, link));
}

void disk__state_destroy(struct disk *disk)
{
    names_clear(&disk->seen);
    names_clear(&disk->durable);
    name_changes_clear(disk);
    list_for_each_safe (link, &disk->inodes) {
        struct inode *inode = list_entry(link, struct inode, link);
        inode_clear(inode);
        free(inode);
    }
}

/* Replaces each inode that has a durable name by what survives of it, and empties the rest. */
static void cut_inodes(struct disk *disk, struct random *random)
{
    struct list *last = disk->inodes.prev;
    struct list *link = &disk->inodes;
    while (link != last) {
        link = link->next;
        struct inode *inode = list_entry(link, struct inode, link);
        struct inode *survivor = NULL;
        list_for_each (name_link, &disk->durable) {
            struct name *name = list_entry(name_link, struct name, link);
            if (name->inode != inode)
                continue;
            if (survivor == NULL)
                survivor = inode_survivor(disk, inode, random);
            name->inode = survivor;
        }
        inode_clear(inode);
    }
}

void disk__state_cut(struct disk *disk, struct random *random)
{
    list_for_each (link, &disk->name_changes) {
        struct name_change *change = list_entry(link, struct name_change, link);
        if (change->durable || coin(random))
            name_change_apply(change, &disk->durable);
    }
    name_changes_clear(disk);
    cut_inodes(disk, random);
    names_clear(&disk->seen);
    list_for_each (link, &disk->durable) {
        struct name *name = list_entry(link, struct name, link);
        name_set(&disk->seen, name->name, name->inode);
    }
    disk__locks_release(disk, NULL);
}
