/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RECORD_VERSION_H
#define RECORD_VERSION_H

/*
 * What the head is made of: items (what a tree entry points to), rows and versions.
 *
 *   tree leaf ──► row ──newest──► version ──older──► version ──► NULL
 *                  ▲               stamp              stamp
 *   tree leaf ──► entry (of a secondary index: its key, and the row)
 *
 * Every index maps key bytes to an *item*: a pointer and the key. For a primary index the item is a
 * *row*, the anchor of a chain of versions, newest first; for a secondary index it is an *entry*
 * that points to the row. Both begin alike (struct item), so that a tree needs to know only where
 * the key is.
 *
 * A version's stamp is either its commit timestamp or, with STAMP_TAG set, the address of the
 * transaction that wrote it and has not yet been stamped out. A version without VERSION_TOMBSTONE
 * carries the tuple's bytes; one with it says that the row does not exist from that timestamp on. A
 * row without any version is as good as absent.
 *
 * The flags of a version never change, but for the note beside them: 26 bits for whoever wants to
 * remember something about reads without writing a row (src/redis: when and how often a key is used).
 * Readers set it by relaxed stores, of two the last one counts; it is in no log and no body, and 0 in
 * a new version.
 *
 * Memory: items and versions come from a heap (mem/heap.h) and are retired through epochs; a reader
 * holds an epoch while it follows these pointers. Who may change what is the txn module's business.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

/* Highest bit: the rest is a pointer to a transaction. Timestamps stay below it. */
#define STAMP_TAG (UINT64_C(1) << 63)

enum { VERSION_TOMBSTONE = 1, VERSION_NOTE_SHIFT = 6 };

struct version {
    _Atomic uint64_t stamp;
    struct version *_Atomic older;
    uint32_t size;          /* of bytes[] */
    _Atomic uint32_t flags; /* VERSION_TOMBSTONE; above VERSION_NOTE_SHIFT the note */
    char bytes[];
};

/* What a tree needs to know of what it points to. */
struct item {
    void *_Atomic pointer;
    _Atomic uint32_t state;
    uint32_t key_size;
    unsigned char key[];
};

/* States of a row, bits of `state`. A dead row has been unlinked from its tree; its memory may still
 * stand in a list. A queued row stands in some worker's garbage queue, once. A pruned one is having
 * its chain shortened by somebody. */
enum { ROW_DEAD = 1, ROW_QUEUED = 2, ROW_PRUNING = 4 };

struct row {
    struct version *_Atomic newest;
    _Atomic uint32_t state;
    uint32_t key_size;
    unsigned char key[];
};

/* Of rows and entries in a tree with a directory: the tree has let the item go. */
#define ITEM_UNLINKED UINT32_C(0x80000000)

/*
 * Entries whose keys somebody's code computes are counted in the state of their row, which does not
 * end before they have gone: should that code give another key for the same tuple later, an entry is
 * not found again, and stays with its row.
 */
#define ENTRY_COUNTED    UINT32_C(0x40000000)
#define ENTRY_PARTS_MASK UINT32_C(0x3fffffff)
#define ROW_ENTRY_ONE    UINT32_C(0x00000100)
#define ROW_ENTRIES_MASK UINT32_C(0x3fffff00)

struct entry {
    struct row *_Atomic row;
    _Atomic uint32_t state; /* how much of the key is the index's own parts, and flags */
    uint32_t key_size;
    unsigned char key[];
};

_Static_assert(offsetof(struct row, key) == offsetof(struct item, key), "a row is an item");
_Static_assert(offsetof(struct entry, key) == offsetof(struct item, key), "an entry is an item");

/* Before a counted entry is added, and after it has gone: the row is there, since it is counted. */
static inline void row_entry_count(const struct entry *entry)
{
    if (load_relaxed(&entry->state) & ENTRY_COUNTED)
        atomic_fetch_add(&load_relaxed(&entry->row)->state, ROW_ENTRY_ONE);
}

static inline void row_entry_uncount(const struct entry *entry)
{
    if (load_relaxed(&entry->state) & ENTRY_COUNTED)
        atomic_fetch_sub(&load_relaxed(&entry->row)->state, ROW_ENTRY_ONE);
}

static inline uint32_t version_flags(const struct version *version)
{
    return load_relaxed(&version->flags);
}

static inline uint32_t version_note(const struct version *version)
{
    return version_flags(version) >> VERSION_NOTE_SHIFT;
}

/* Also of a version that is otherwise only read. */
static inline void version_note_set(const struct version *version, uint32_t note)
{
    uint32_t flags = version_flags(version) & ((UINT32_C(1) << VERSION_NOTE_SHIFT) - 1);
    store_relaxed(&((struct version *)version)->flags, flags | note << VERSION_NOTE_SHIFT);
}

static inline size_t version_alloc_size(uint32_t size)
{
    return sizeof(struct version) + size;
}

static inline size_t item_alloc_size(uint32_t key_size)
{
    return sizeof(struct item) + key_size;
}

#endif
