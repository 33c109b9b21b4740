/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows that have changed since a checkpoint has taken them (invariant 19).
 *
 * Whoever sets ROW_CHANGED in a row's state puts it on his worker's list, so that a row is listed
 * once however often it is written. A commit sets it after its one store that commits, and ROW_AGAIN
 * with it; a checkpoint at K takes the row off the list after what it was at K has become durable,
 * unless it has changed since:
 *
 *      commit:       committed -> set ROW_CHANGED, ROW_AGAIN (was the first clear? list the row)
 *      checkpoint:   clear ROW_AGAIN -> is there a version above K? it stays listed
 *                                    -> clear ROW_CHANGED, if ROW_AGAIN is still clear; else it stays
 *
 * All are sequentially consistent read-modify-writes of one word, or ordered by it: the commit comes
 * first, and the checkpoint finds its version; or in between, and it finds ROW_AGAIN; or last, and the
 * commit lists the row. A version that is not yet committed when the checkpoint looks is one of the
 * latter two. ROW_CHANGED is never clear, not for a moment, while the newest version is above K: a row
 * whose tombstone no run has would end in that moment, and be freed with the list about to lead to it.
 * And the commit does it before wal_end: the cut waits for that, so whatever is at most D is listed when
 * a checkpoint at K = D takes the lists.
 *
 * Memory may be out at any time, and no row may be lost for that: what is taken is given back
 * without asking for any. The array of a struct txn_changes has a link before its first item, so
 * that a whole array can be hung into the system; a checkpoint keeps a row that it must list again
 * in the array that it has.
 *
 *      changes.items ----------v
 *              [ link | count | change change change ... ]  <-  system->returned
 *
 * The list of a worker stays for as long as nothing asks for a checkpoint, perhaps for all rows there
 * are, so it is packed (struct change_words) and unpacked when it is taken: a head, then rows of it, each as
 * the difference to the pointer before, in units of 8, in a varint of which the two lowest bits are the flag
 * of a head and the sign. New rows lie one behind the other and take a byte, others about four.
 *
 *      head a, row, row, row, head b, row, ...
 *
 * A row that a run has does not end while the bit is set, so its tombstone stays until a durable run
 * covers it. One that no run has, made and deleted since the last checkpoint, needs no tombstone in any
 * run, and leaves its tree as soon as it is not needed otherwise (invariant 33). Which of the two it is
 * says ROW_IN_RUN. A checkpoint at K sets it, with its snapshot at K still registered, before it writes a
 * version of the row; whoever loads a row from a run sets it as well.
 *
 *      A row ends when its tombstone's timestamp T is at most D and all registered snapshots. A
 *      checkpoint whose K is below T has its snapshot registered, or begins later and then has a K of at
 *      least D >= T. So when a row ends, no checkpoint can still write an older version of it, and
 *      when ROW_IN_RUN is seen clear with all snapshots passed, none has.
 *      The log is cut by blocks in order of timestamps, and T is at most D: so what is left of it never
 *      has a version of the row without the tombstone behind it. Recovery finds both, or the tombstone
 *      alone, or nothing.
 *
 * The pointers in a list stay valid: the memory of a listed row that has left its tree stays until the
 * list lets go of it. Two bits of one word decide who frees it.
 *
 *      who ends the row:  unlinks it -> sets ROW_DEAD     -> was ROW_CHANGED clear? frees it
 *      the list:                        clears ROW_CHANGED -> was ROW_DEAD set? frees it
 *
 * So that such rows do not fill the memory until the next checkpoint, a worker whose list has many of
 * them takes them out, a few with each collection of garbage: it reads the words and writes those
 * of rows that are left over what it has read, in two streams that become one at the end. What is kept
 * never gets ahead of what is read, since a difference over several words has no more bytes than these
 * had together.
 *
 *      [ kept words ...... | read already | words still to read ... new ones ]
 *                       kept           read                                count
 *
 * A head that goes away is taken out of all lists first (txn_collect_forget).
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "txn/txn_private.h"

static void latch(struct change_list *list)
{
    unsigned turn = 0;
    while (atomic_exchange_explicit(&list->latch, 1, memory_order_acquire) != 0)
        spin_wait(&turn);
}

static void unlatch(struct change_list *list)
{
    store_release(&list->latch, 0);
}

/* What lies before the items. */
struct changes_block {
    struct changes_block *next;
    size_t count;
};

_Static_assert(sizeof(struct changes_block) % _Alignof(struct txn_change) == 0, "items aligned");

static struct changes_block *block_of(const struct txn_changes *rows)
{
    return rows->items == NULL ? NULL : (struct changes_block *)(void *)rows->items - 1;
}

static struct txn_change *block_items(struct changes_block *block)
{
    return (struct txn_change *)(void *)(block + 1);
}

static bool rows_reserve(struct txn_changes *rows, size_t count)
{
    if (rows->capacity - rows->count >= count)
        return true;
    size_t capacity = rows->capacity == 0 ? 256 : 2 * rows->capacity;
    while (capacity - rows->count < count)
        capacity *= 2;
    struct changes_block *block =
        realloc(block_of(rows), sizeof *block + capacity * sizeof *rows->items);
    if (block == NULL)
        return false;
    rows->items = block_items(block);
    rows->capacity = capacity;
    return true;
}

enum { WORD_UNIT_SHIFT = 3, WORD_BYTES_MAX = 9, WORDS_A_ROW_MAX = 2 };

_Static_assert(_Alignof(struct head) >= 1 << WORD_UNIT_SHIFT &&
                   _Alignof(struct row) >= 1 << WORD_UNIT_SHIFT,
               "what differences are counted in");

static bool words_reserve(struct change_words *words, size_t rows)
{
    size_t wanted = words->end.at + rows * WORDS_A_ROW_MAX * WORD_BYTES_MAX;
    if (words->capacity >= wanted)
        return true;
    size_t capacity = words->capacity == 0 ? 1024 : 2 * words->capacity;
    while (capacity < wanted)
        capacity *= 2;
    unsigned char *bytes = realloc(words->bytes, capacity);
    if (bytes == NULL)
        return false;
    words->bytes = bytes;
    words->capacity = capacity;
    return true;
}

/* Where there is room for it. Differences have 61 bits, with sign and flag 63. */
static void word_put(unsigned char *bytes, struct change_end *end, uintptr_t pointer, bool is_head)
{
    int64_t difference = (int64_t)(pointer - end->last) >> WORD_UNIT_SHIFT;
    uint64_t rest = (uint64_t)difference << 1 ^ (uint64_t)(difference >> 63);
    rest = rest << 1 | is_head;
    end->last = pointer;
    for (; rest >= 0x80; rest >>= 7)
        bytes[end->at++] = (unsigned char)(rest | 0x80);
    bytes[end->at++] = (unsigned char)rest;
}

static void row_put(unsigned char *bytes, struct change_end *end, const struct head *head,
                    const struct row *row)
{
    if (end->head != head)
        word_put(bytes, end, (uintptr_t)head, true);
    word_put(bytes, end, (uintptr_t)row, false);
    end->head = head;
}

/* Moves *end over the next word, and says whether it is a head. */
static bool word_get(const unsigned char *bytes, struct change_end *end)
{
    uint64_t rest = 0;
    unsigned shift = 0;
    do
        rest |= (uint64_t)(bytes[end->at] & 0x7f) << shift;
    while (shift += 7, bytes[end->at++] & 0x80);
    bool is_head = rest & 1;
    rest >>= 1;
    uint64_t difference = rest >> 1 ^ -(rest & 1);
    end->last += difference << WORD_UNIT_SHIFT;
    return is_head;
}

/* The next row of words that end at `limit`, and its head in end->head; NULL at their end. */
static struct row *row_get(const unsigned char *bytes, struct change_end *end, size_t limit)
{
    while (end->at < limit) {
        if (!word_get(bytes, end))
            return (struct row *)end->last;
        end->head = (const struct head *)end->last;
    }
    return NULL;
}

/* Where there is room for it. */
static void list_add(struct change_list *list, const struct head *head, const struct row *row)
{
    row_put(list->words.bytes, &list->words.end, head, row);
    list->rows++;
}

static void stream_unpack(const struct change_words *words, struct change_end end, size_t limit,
                          struct txn_changes *to)
{
    struct row *row;
    while ((row = row_get(words->bytes, &end, limit)) != NULL)
        to->items[to->count++] = (struct txn_change){(struct head *)end.head, row};
}

/* Appends what the words say, where there is room for it. */
static void words_unpack(const struct change_words *words, struct txn_changes *to)
{
    stream_unpack(words, (struct change_end){.at = 0}, words->kept.at, to);
    stream_unpack(words, words->read, words->end.at, to);
}

/*
 * Keeps those of the next `rows` rows for which `keep` says so, and true when that was all: then the
 * words are one stream again.
 */
static bool list_filter(struct change_list *list, size_t rows,
                        bool (*keep)(const struct head *head, struct row *row, void *arg),
                        void *arg)
{
    struct change_words *words = &list->words;
    struct row *row = NULL;
    while (rows-- > 0 && (row = row_get(words->bytes, &words->read, words->end.at)) != NULL) {
        if (keep(words->read.head, row, arg))
            row_put(words->bytes, &words->kept, words->read.head, row);
        else
            list->rows--;
    }
    if (words->read.at < words->end.at)
        return false;
    words->end = words->kept;
    words->kept = words->read = (struct change_end){.at = 0};
    return true;
}

bool txn__changes_reserve(struct txn_worker *worker, size_t count)
{
    struct change_list *list = &worker->system->changes[worker->number];
    latch(list);
    bool reserved = words_reserve(&list->words, count);
    list->reserved = reserved ? count : 0;
    unlatch(list);
    return reserved;
}

void txn__changes_list(struct txn_worker *worker, const struct txn_write *writes, size_t count)
{
    struct change_list *list = &worker->system->changes[worker->number];
    bool latched = false;
    for (size_t i = 0; i < count; i++) {
        struct row *row = writes[i].row;
        if (!writes[i].head->tracked || (version_flags(writes[i].version) & VERSION_LOCK) ||
            (atomic_fetch_or(&row->state, ROW_CHANGED | ROW_AGAIN) & ROW_CHANGED))
            continue;
        if (!latched)
            latch(list);
        latched = true;
        list_add(list, writes[i].head, row);
    }
    if (latched)
        unlatch(list);
}

int txn_changes_add(struct txn_changes *changes, struct head *head, struct row *row)
{
    if (atomic_fetch_or(&row->state, ROW_CHANGED) & ROW_CHANGED)
        return 0;
    if (!rows_reserve(changes, 1)) {
        atomic_fetch_and(&row->state, ~(uint32_t)ROW_CHANGED);
        return ERROR_MEMORY;
    }
    changes->items[changes->count++] = (struct txn_change){head, row};
    return 0;
}

void txn_changes_free(struct txn_changes *changes)
{
    free(block_of(changes));
    *changes = (struct txn_changes){NULL, 0, 0};
}

/* Where there is room for them. */
static void rows_append(struct txn_changes *to, const struct txn_change *items, size_t count)
{
    if (count > 0)
        memcpy(to->items + to->count, items, count * sizeof *items);
    to->count += count;
}

int txn_changes_append(struct txn_changes *to, const struct txn_changes *from)
{
    if (!rows_reserve(to, from->count))
        return ERROR_MEMORY;
    rows_append(to, from->items, from->count);
    return 0;
}

/* Takes a worker's list, leaving one with as much room as the worker has reserved. When there is no
 * memory nothing is taken. */
static bool list_take(struct change_list *list, struct txn_changes *changes)
{
    struct change_words taken = {.bytes = NULL};
    for (bool done = false; !done;) {
        latch(list);
        size_t reserved = list->reserved, rows = list->rows;
        done = rows == 0 || (taken.capacity >= reserved * WORDS_A_ROW_MAX * WORD_BYTES_MAX &&
                             changes->capacity - changes->count >= rows);
        if (done && rows > 0) {
            struct change_words empty = taken;
            taken = list->words;
            list->words = empty;
            list->rows = 0;
            list->sweep_from = 0;
        }
        unlatch(list);
        if (!done && (!words_reserve(&taken, reserved) || !rows_reserve(changes, rows))) {
            free(taken.bytes);
            return false;
        }
    }
    words_unpack(&taken, changes);
    free(taken.bytes);
    return true;
}

/* Takes what has been returned, or nothing. */
static bool returned_take(struct txn_system *system, struct txn_changes *changes)
{
    struct changes_block *taken = NULL;
    for (bool done = false; !done;) {
        size_t count = 0;
        latch(&system->changes[0]);
        for (const struct changes_block *block = system->returned; block != NULL;
             block = block->next)
            count += block->count;
        done = changes->capacity - changes->count >= count;
        if (done) {
            taken = system->returned;
            system->returned = NULL;
        }
        unlatch(&system->changes[0]);
        if (!done && !rows_reserve(changes, count))
            return false;
    }
    while (taken != NULL) {
        struct changes_block *next = taken->next;
        rows_append(changes, block_items(taken), taken->count);
        free(taken);
        taken = next;
    }
    return true;
}

int txn_changes_take(struct txn_system *system, struct txn_changes *changes)
{
    bool taken = returned_take(system, changes);
    for (unsigned i = 0; taken && i < system->worker_max; i++)
        taken = list_take(&system->changes[i], changes);
    if (!taken)
        txn_changes_return(system, changes);
    return taken ? 0 : ERROR_MEMORY;
}

void txn_changes_return(struct txn_system *system, struct txn_changes *changes)
{
    struct changes_block *block = block_of(changes);
    if (changes->count == 0) {
        txn_changes_free(changes);
        return;
    }
    block->count = changes->count;
    latch(&system->changes[0]);
    block->next = system->returned;
    system->returned = block;
    unlatch(&system->changes[0]);
    *changes = (struct txn_changes){NULL, 0, 0};
}

/* Rows that have left their trees are in no other hands. */
static void ended_free(struct txn_changes *changes, struct heap_cache *cache)
{
    for (size_t i = 0; i < changes->count; i++)
        if (load_relaxed(&changes->items[i].row->state) & ROW_DEAD)
            txn__row_free(changes->items[i].row, cache);
}

/* When memory is out, rows that have ended go with the heap. */
void txn__changes_destroy(struct txn_system *system)
{
    struct txn_changes changes = {NULL, 0, 0};
    struct heap_cache *cache;
    if (load_relaxed(&system->changes_ended) > 0 && heap_cache_open(system->heap, &cache) == 0) {
        if (txn_changes_take(system, &changes) == 0)
            ended_free(&changes, cache);
        txn_changes_free(&changes);
        heap_cache_close(cache);
    }
    for (unsigned i = 0; i < system->worker_max; i++)
        free(system->changes[i].words.bytes);
    while (system->returned != NULL) {
        struct changes_block *next = system->returned->next;
        free(system->returned);
        system->returned = next;
    }
}

uint64_t txn_changes_pending(const struct txn_system *system)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < system->worker_max; i++) {
        struct change_list *list = &system->changes[i];
        latch(list);
        count += list->rows;
        for (const struct changes_block *block = i == 0 ? system->returned : NULL; block != NULL;
             block = block->next)
            count += block->count;
        unlatch(list);
    }
    return count;
}

/* A row that had ended when the list let go of it. */
static void row_ended(struct txn_system *system, struct tree_thread *thread,
                      const struct head *head, struct row *row)
{
    atomic_fetch_sub_explicit(&system->changes_ended, 1, memory_order_relaxed);
    txn__row_retire(thread, head, row);
}

/* The list lets go of the row: frees it if it has ended. */
static void row_drop(struct txn_system *system, struct tree_thread *thread, const struct head *head,
                     struct row *row)
{
    if (atomic_fetch_and(&row->state, ~(uint32_t)ROW_CHANGED) & ROW_DEAD)
        row_ended(system, thread, head, row);
}

static bool row_is_there(const struct head *head, struct row *row, void *arg)
{
    struct txn_worker *worker = arg;
    if (!(load_acquire(&row->state) & ROW_DEAD))
        return true;
    row_drop(worker->system, &worker->thread, head, row);
    return false;
}

enum { SWEEP_FROM = 1024, SWEEP_ROWS = 256 };

/*
 * A pass over the list begins when so many rows have ended, of whichever list, that it is worth it:
 * half as many again as the list had rows at the end of the pass before. So a row that ends costs each
 * worker two looks at most.
 */
void txn__changes_sweep(struct txn_worker *worker)
{
    struct txn_system *system = worker->system;
    struct change_list *list = &system->changes[worker->number];
    uint64_t ended = load_relaxed(&system->changes_ended);
    if (ended < SWEEP_FROM)
        return;
    latch(list);
    if ((list->words.read.at > 0 || ended >= list->sweep_from) &&
        list_filter(list, SWEEP_ROWS, row_is_there, worker))
        list->sweep_from = load_relaxed(&system->changes_ended) + SWEEP_FROM + list->rows / 2;
    unlatch(list);
}

/* Keeps those of other heads, and returns how many these are. */
static size_t items_forget(struct txn_worker *worker, struct txn_change *items, size_t count,
                           const struct head *head)
{
    size_t kept = 0;
    for (size_t n = 0; n < count; n++)
        if (items[n].head != head)
            items[kept++] = items[n];
        else
            row_drop(worker->system, &worker->thread, head, items[n].row);
    return kept;
}

struct forget {
    struct txn_worker *worker;
    const struct head *head;
};

static bool stays_without(const struct head *head, struct row *row, void *arg)
{
    const struct forget *forget = arg;
    if (head != forget->head)
        return true;
    row_drop(forget->worker->system, &forget->worker->thread, head, row);
    return false;
}

void txn__changes_forget(struct txn_worker *worker, const struct head *head)
{
    struct txn_system *system = worker->system;
    struct forget forget = {worker, head};
    for (unsigned i = 0; i < system->worker_max; i++) {
        struct change_list *list = &system->changes[i];
        latch(list);
        list_filter(list, SIZE_MAX, row_is_there, worker); /* one stream again */
        list_filter(list, SIZE_MAX, stays_without, &forget);
        for (struct changes_block *block = i == 0 ? system->returned : NULL; block != NULL;
             block = block->next)
            block->count = items_forget(worker, block_items(block), block->count, head);
        unlatch(list);
    }
}

const struct version *txn_row_at(const struct row *row, uint64_t ts, uint64_t *ts_out)
{
    const struct version *version = txn__visible(row, ts, NULL, false, ts_out);
    return version == &txn__version_dead ? NULL : version;
}

/* Whether the row has something that a checkpoint at k has not written: a version above it, or one
 * that may become such. */
static bool changed_since(const struct row *row, uint64_t k)
{
    for (const struct version *version = load_seq_cst(&row->newest);
         version != NULL && version != &txn__version_dead;
         version = load_acquire(&version->older)) {
        uint64_t stamp = load_acquire(&version->stamp);
        if (stamp & STAMP_TAG) {
            uint64_t state = load_seq_cst(&txn__tag_owner(stamp)->state);
            if ((state & STATE_MASK) != STATE_COMMITTED || (version_flags(version) & VERSION_LOCK))
                continue; /* its commit, if it comes to that, is later than ROW_AGAIN was cleared */
            stamp = state >> STATE_TS_SHIFT;
        }
        return stamp > k;
    }
    return false;
}

bool txn_change_done(struct txn_worker *worker, const struct txn_change *change, uint64_t k)
{
    struct row *row = change->row;
    uint32_t listed = MUTATION(UNLISTED_TO_LOOK) ? ROW_CHANGED : 0;
    uint32_t state = atomic_fetch_and(&row->state, ~(ROW_AGAIN | listed)) & ~(uint32_t)ROW_AGAIN;
    MUTATION_POINT(CHANGE_LOOK);
    if (changed_since(row, k) && !MUTATION(NOT_LISTED_AGAIN))
        return false;
    while (!atomic_compare_exchange_weak(&row->state, &state, state & ~(uint32_t)ROW_CHANGED))
        if (state & ROW_AGAIN)
            return false;
    if (state & ROW_DEAD)
        row_ended(worker->system, &worker->thread, change->head, row);
    else
        txn__changes_adopt(worker, change->head, row);
    return true;
}

void txn_change_forget(struct txn_worker *worker, const struct txn_change *change)
{
    row_drop(worker->system, &worker->thread, change->head, change->row);
}

void txn_row_enters_run(struct row *row)
{
    if (!(load_relaxed(&row->state) & ROW_IN_RUN))
        atomic_fetch_or(&row->state, ROW_IN_RUN);
}

bool txn_row_in_run(const struct row *row)
{
    return (load_acquire(&row->state) & ROW_IN_RUN) != 0;
}

void txn_worker_enter(struct txn_worker *worker)
{
    epoch_enter(worker->thread.epoch);
}

void txn_worker_leave(struct txn_worker *worker)
{
    epoch_leave(worker->thread.epoch);
}
