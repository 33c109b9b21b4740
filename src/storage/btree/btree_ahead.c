/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading leaves before a cursor comes to them. The branch above says where the next ones are, so what
 * there is to find out is how many: prefetch.h says it, by leaf numbers that count up or down with the
 * cursor, 2 at first and up to 32 when reading is slow beside what is done with the rows. The third leaf
 * in a row begins it, so that short ranges read nothing that they don't need.
 *
 *      branch │ .. │ at │ +1 │ +2 │ +3 │ ..        those of them that are not in the cache are
 *                     └────┴────┴────┘             read at once, by one call, into the cache
 *
 * The call waits for all of them: one wait for many leaves, and nothing that is being filled while the
 * cursor rests, which others would wait for. What can't be read is left for when the cursor needs it, and
 * says so then. Behind the end of the range, or of the branch, nothing is read.
 *
 * Point reads have a course, too, when somebody goes over rows in steps of his own, or looks for the same few again
 * after others have had the cache: by a stride from leaf to leaf, or by a row of leaves that comes again. A thread
 * looks for it from when it had to wait for a leaf, in the last few files that it read; what it finds in the cache
 * does not make it look. When nothing came of it, the next waits pass without a look, more of them each time. The
 * number of a leaf is the page of its branch and the slot there. Of other branches than the one at hand only such
 * leaves are read as were there before: all that is read is of the generation that the caller's view holds. A stride
 * has to be one of leaves; rows at equal distances make one only where leaves have equally many. It is believed when
 * it has come true, and no course is in this look any more when too much is read for it in vain.
 *
 * Leaves of keys that are scattered (body_prefetch) are read in the same way: level by level from the root, the
 * nodes of all keys at once.
 */
#include <string.h>

#include "base/clock.h"
#include "base/diag.h"
#include "base/error.h"
#include "storage/btree/btree_internal.h"

/* Leaf numbers go both ways from here; a cache that would lose leaves before they are used has less than
 * so many times what is read at once. */
enum { NUMBER_FIRST = 1 << 30, CACHE_TIMES = 8 };

/* Larger nodes, of the longest keys or where a number is damaged, are read when they are wanted. */
enum { NODE_PAGES_MAX = 64 };

/* Leaves that are wanted in no order stay longer until they are, and what scans bring in has a sixteenth of the
 * cache (policy_arc_scan.c). */
enum { SCATTERED_TIMES = 32 };

struct batch {
    struct cache_fill fills[ENGINE_PREFETCH_MAX];
    struct io_range ranges[ENGINE_PREFETCH_MAX];
    uint64_t pages[ENGINE_PREFETCH_MAX];
    unsigned count;
};
_Static_assert((int)PREFETCH_DEPTH_MAX < (int)ENGINE_PREFETCH_MAX, "the leaf at hand as well");

void btree__ahead_create(struct btree_ahead *ahead)
{
    prefetch_create(&ahead->prefetch, clock_system(), UINT64_MAX);
    ahead->number = NUMBER_FIRST;
    ahead->waited_ns = 0;
}

/* How the key of a slot of a branch is to a bound. */
static int slot_compare(const void *branch, unsigned slot, const void *bound, size_t bound_size)
{
    size_t prefix = btree_header(branch)->prefix_bytes, size;
    size_t common = prefix < bound_size ? prefix : bound_size;
    const unsigned char *key;
    uint64_t ts;
    int order = common == 0 ? 0 : memcmp(btree_prefix(branch), bound, common);
    if (order != 0 || bound_size < prefix)
        return order != 0 ? order : 1;
    btree_branch_child(branch, slot, &key, &size, &ts);
    return btree_key_compare(key, size, (const unsigned char *)bound + prefix, bound_size - prefix);
}

/* Whether the leaf of a slot, which is not the first one, has anything of the range. */
static bool in_range(const void *branch, unsigned slot, const struct engine_range *range)
{
    unsigned slots = btree_header(branch)->slots;
    if (!range->backward)
        return range->upper == NULL ||
               slot_compare(branch, slot, range->upper, range->upper_size) <= 0;
    return range->lower == NULL || slot + 1 >= slots ||
           slot_compare(branch, slot + 1, range->lower, range->lower_size) >= 0;
}

/* Takes a node into the batch, unless it is there or somebody reads it; with CACHE_LINKS room for them as well. */
static void node_want(const struct btree_file *file, struct batch *batch, uint64_t child,
                      unsigned flags)
{
    uint64_t page = btree_child_page(child);
    struct cache_fill *fill = &batch->fills[batch->count];
    if (btree_child_pages(child) > NODE_PAGES_MAX)
        return;
    int rc = cache_fill_begin(file->cache, file->number, page, flags, fill);
    if (rc != 0) {
        if (rc != ERROR_EXISTS)
            diag_clear();
        return;
    }
    size_t size = (size_t)btree_child_pages(child) * file->page_bytes;
    size_t links = flags & CACHE_LINKS ? size : 0;
    char *room = cache_fill_room(fill, size + links);
    if (room == NULL) {
        cache_fill_end(fill, ERROR_MEMORY, NULL);
        diag_clear();
        return;
    }
    memset(room + size, 0, links);
    batch->ranges[batch->count] =
        (struct io_range){file->io, room, size, page * file->page_bytes, 0};
    batch->pages[batch->count++] = page;
}

static uint64_t slot_child(const void *branch, unsigned slot)
{
    const unsigned char *key;
    size_t size;
    uint64_t ts;
    return btree_branch_child(branch, slot, &key, &size, &ts);
}

static void batch_read(const struct btree_file *file, struct batch *batch, enum btree_kind kind)
{
    io_schedule_read_many(IO_USER, batch->ranges, batch->count);
    for (unsigned i = 0; i < batch->count; i++) {
        const struct io_range *range = &batch->ranges[i];
        int rc = btree__extent_check(file, range->result, batch->pages[i],
                                     range->size / file->page_bytes, kind, range->data);
        cache_fill_end(&batch->fills[i], rc, NULL);
    }
    diag_clear();
}

/* Whether the cache keeps what is read ahead until it is used. */
static bool keeps(const struct btree_file *file)
{
    return file->cache != NULL && cache_budget_bytes(file->cache) >=
                                      (size_t)CACHE_TIMES * PREFETCH_DEPTH_MAX * file->page_bytes;
}

void btree__ahead_read(struct btree_ahead *ahead, const struct btree_file *file, const void *branch,
                       unsigned slot, const struct engine_range *range)
{
    uint64_t numbers[PREFETCH_DEPTH_MAX];
    struct batch batch = {.count = 0};
    unsigned slots = btree_header(branch)->slots;
    if (!keeps(file))
        return;
    ahead->number += range->backward ? -1 : 1;
    unsigned count = prefetch_access(&ahead->prefetch, ahead->number, ahead->waited_ns, numbers);
    ahead->waited_ns = 0;
    if (count == 0)
        return;
    node_want(file, &batch, slot_child(branch, slot), CACHE_SCAN);
    for (unsigned i = 0; i < count; i++) {
        uint64_t by = range->backward ? ahead->number - numbers[i] : numbers[i] - ahead->number;
        if (range->backward ? by > slot : by >= slots - slot)
            break;
        unsigned there = range->backward ? slot - (unsigned)by : slot + (unsigned)by;
        if (!in_range(branch, there, range))
            break;
        node_want(file, &batch, slot_child(branch, there), CACHE_SCAN);
    }
    if (batch.count == 0)
        return;
    struct clock *clock = ahead->prefetch.clock;
    uint64_t began = clock_monotonic_ns(clock);
    batch_read(file, &batch, BTREE_LEAF);
    ahead->waited_ns = clock_monotonic_ns(clock) - began;
    prefetch_arrived(&ahead->prefetch, ahead->waited_ns);
    ahead->leaves += batch.count;
}

/* ----------------------------------------------------------------------------------- point reads */

/* A slot in a number; how many waits pass without a look at most; how many leaves, beyond an eighth of those that were
 * used, may be asked for in vain, and as how many those count that others drove out; how many used ones prove a course,
 * and how many weigh at most; equal distances that make a stride. */
enum {
    SLOT_BITS = 16,
    PAUSE_MAX = 1024,
    VAIN_MAX = 8,
    LOST_WEIGHT = 4,
    PROOF = 32,
    WEIGHT_MAX = 64,
    STRIDE_RUN = 4
};
_Static_assert(BTREE_PAGE_BITS + SLOT_BITS < 64 && BTREE_PAGE_MAX <= 1 << SLOT_BITS,
               "a slot of any branch of any file has a number");

/* What a thread knows of its point reads of one generation. */
struct course {
    uint64_t serial, order;
    uint64_t at; /* the number of the last leaf */
    uint64_t waited_ns;
    unsigned left;           /* leaves to be looked at */
    bool looks, proved;      /* in this look there was a course */
    unsigned vain;           /* kinds of courses that came to nothing in this look: bits */
    unsigned pause, passing; /* waits that pass after this look; that still do */
    uint64_t used, wasted;   /* of the prefetch, when its courses began to be judged */
    enum prefetch_pattern pattern;
    struct prefetch prefetch;
    uint64_t numbers[PREFETCH_PERIOD_MAX], children[PREFETCH_PERIOD_MAX]; /* the last ones */
    unsigned known;
};

static _Thread_local struct course courses[BTREE_COURSES];
static _Thread_local struct clock *test_clock;
_Thread_local uint64_t btree__courses_watched[BTREE_COURSES];

static struct course *course_for(const struct btree_file *file)
{
    return &courses[file->serial % BTREE_COURSES];
}

/* The next leaves are looked at. */
static void watch(const struct btree_file *file)
{
    btree__courses_watched[file->serial % BTREE_COURSES] = file->serial;
    course_for(file)->left = BTREE_COURSE_LEAVES;
}

const struct prefetch *btree__course_of(const struct btree_file *file)
{
    return &course_for(file)->prefetch;
}

void btree__course_clock_set(struct clock *clock)
{
    test_clock = clock;
    memset(courses, 0, sizeof courses);
    memset(btree__courses_watched, 0, sizeof btree__courses_watched);
}

static struct clock *course_clock(void)
{
    return test_clock != NULL ? test_clock : clock_system();
}

/* Others have had the cache if the leaf at hand was read ahead. */
static void lost_look(struct course *course)
{
    unsigned ahead = course->prefetch.ahead;
    if (course->prefetch.strays > 0 || ahead == 0)
        return;
    prefetch_lost(&course->prefetch);
    course->wasted += ahead - (ahead < LOST_WEIGHT ? ahead : LOST_WEIGHT);
}

uint64_t btree__course_wait_begin(const struct btree_file *file, bool leaf)
{
    struct course *course = course_for(file);
    if (btree__course_watched(file)) {
        if (leaf && course->serial == file->serial)
            lost_look(course);
        return clock_monotonic_ns(course_clock());
    }
    if (!leaf)
        return 0;
    if (course->serial == file->serial && course->passing > 0)
        course->passing--;
    else if (keeps(file))
        watch(file);
    return 0;
}

static void wait_count(struct course *course, uint64_t began_ns)
{
    uint64_t waited_ns = clock_monotonic_ns(course_clock()) - began_ns;
    course->waited_ns += waited_ns;
    prefetch_arrived(&course->prefetch, waited_ns);
}

void btree__course_wait_end(const struct btree_file *file, uint64_t began_ns)
{
    if (began_ns != 0 && course_for(file)->serial == file->serial)
        wait_count(course_for(file), began_ns);
}

static void course_begin(struct course *course, const struct btree_generation *generation)
{
    *course = (struct course){.serial = generation->file->serial,
                              .order = generation->order,
                              .left = BTREE_COURSE_LEAVES};
    prefetch_create(&course->prefetch, course_clock(), UINT64_MAX);
}

static void look_begin(struct course *course)
{
    course->looks = true;
    course->proved = false;
    course->vain = 0;
    course->used = course->prefetch.used;
    course->wasted = course->prefetch.wasted;
}

/* Was there no course, then more waits pass before the next look than the last time. */
static void look_end(struct course *course)
{
    unsigned longer = course->pause == 0          ? BTREE_COURSE_LEAVES
                      : course->pause < PAUSE_MAX ? 2 * course->pause
                                                  : PAUSE_MAX;
    course->looks = false;
    course->passing = course->pause = course->proved ? 0 : longer;
}

/* What became of what was asked for. */
static void course_judge(struct course *course)
{
    const struct prefetch *prefetch = &course->prefetch;
    int64_t used = (int64_t)(prefetch->used - course->used);
    int64_t wasted = (int64_t)(prefetch->wasted - course->wasted);
    bool vain = wasted > used / 8 + VAIN_MAX;
    if (vain)
        course->vain |= 1u << course->pattern;
    course->proved = course->vain == 0 && (course->proved || used >= PROOF);
    if (vain || used >= WEIGHT_MAX) {
        course->used += (uint64_t)(vain ? used : used / 2);
        course->wasted += (uint64_t)(vain ? wasted : wasted / 2);
    }
    course->pattern = prefetch->pattern;
}

/* Whether what the course says next, `asked`, is worth reading. Some equal distances come about by accident, too; what
 * is ahead beyond that was believed. */
static bool course_believed(const struct course *course, unsigned asked)
{
    if (course->vain >> course->pattern & 1)
        return false;
    return course->pattern != PREFETCH_STRIDED || course->prefetch.ahead > asked ||
           course->prefetch.delta_run >= STRIDE_RUN;
}

/* Takes the leaf at hand into what is known. Returns how many numbers there are to read ahead. */
static unsigned course_follow(struct course *course, const void *branch, uint64_t number,
                              uint64_t child, uint64_t *numbers)
{
    uint64_t first = number >> SLOT_BITS << SLOT_BITS;
    unsigned place = course->known++ % PREFETCH_PERIOD_MAX;
    if (!course->looks)
        look_begin(course);
    course->at = number;
    course->numbers[place] = number;
    course->children[place] = child;
    prefetch_stride_within(&course->prefetch, first, first + btree_header(branch)->slots);
    unsigned count = prefetch_access(&course->prefetch, number, course->waited_ns, numbers);
    course->waited_ns = 0;
    course_judge(course);
    if (course_believed(course, count))
        return count;
    prefetch_unasked(&course->prefetch, count);
    return 0;
}

/* The leaf that a number stands for: of the branch at hand, or one that was there before. 0: it can't be told. */
static uint64_t course_child(const struct course *course, const void *branch, uint64_t number)
{
    unsigned slot = (unsigned)(number & ((1u << SLOT_BITS) - 1));
    if (number >> SLOT_BITS == course->at >> SLOT_BITS)
        return slot < btree_header(branch)->slots ? slot_child(branch, slot) : 0;
    unsigned known = course->known < PREFETCH_PERIOD_MAX ? course->known : PREFETCH_PERIOD_MAX;
    for (unsigned i = 0; i < known; i++)
        if (course->numbers[i] == number)
            return course->children[i];
    return 0;
}

/* Reads the leaf at hand and those of the numbers, as far as they are not in the cache. */
static void course_read(struct course *course, const struct btree_file *file, const void *branch,
                        const uint64_t *numbers, unsigned count)
{
    struct batch batch = {.count = 0};
    node_want(file, &batch, course_child(course, branch, course->at), 0);
    for (unsigned i = 0; i < count; i++) {
        uint64_t child = course_child(course, branch, numbers[i]);
        if (child != 0)
            node_want(file, &batch, child, 0);
    }
    if (batch.count == 0)
        return;
    uint64_t began_ns = clock_monotonic_ns(course_clock());
    batch_read(file, &batch, BTREE_LEAF);
    wait_count(course, began_ns);
    watch(file);
}

void btree__course_access(const struct btree_generation *generation, uint64_t page,
                          const void *branch, unsigned slot)
{
    const struct btree_file *file = generation->file;
    struct course *course = course_for(file);
    uint64_t numbers[PREFETCH_DEPTH_MAX];
    uint64_t number = page << SLOT_BITS | slot;
    if (course->serial != file->serial || course->order != generation->order)
        course_begin(course, generation);
    else if (course->at == number)
        return;
    unsigned count = course_follow(course, branch, number, slot_child(branch, slot), numbers);
    if (--course->left == 0) {
        btree__courses_watched[file->serial % BTREE_COURSES] = 0;
        look_end(course);
    }
    if (count > 0)
        course_read(course, file, branch, numbers, count);
}

/* ------------------------------------------------------------------------------- scattered keys */

/* From the nodes of a level to those below, of each key; false: that is left to those who want them. */
static bool level_down(const struct btree_file *file, const struct engine_key *keys, unsigned count,
                       uint64_t ts, unsigned level, uint64_t *children)
{
    for (unsigned i = 0; i < count; i++) {
        struct btree_position position = {keys[i].data, keys[i].size, ts};
        struct btree_read node;
        if (btree__read_node(file, children[i], level, BTREE_POINT, &node) != 0)
            return false;
        children[i] = slot_child(node.data, btree_branch_slot(node.data, &position));
        btree__read_release(&node);
    }
    return true;
}

unsigned btree__prefetch(struct body_view *base, const struct engine_key *keys, unsigned count,
                         uint64_t ts, unsigned *reads)
{
    const struct btree_generation *generation = ((struct btree_view *)base)->generation;
    uint64_t children[ENGINE_PREFETCH_MAX];
    *reads = 0;
    if (generation == NULL || generation->root.tree == 0)
        return count;
    const struct btree_file *file = generation->file;
    size_t room = file->cache == NULL
                      ? 0
                      : cache_budget_bytes(file->cache) / SCATTERED_TIMES / file->page_bytes;
    count = count < room ? count : (unsigned)room;
    for (unsigned i = 0; i < count; i++)
        children[i] = generation->root.tree;
    for (unsigned level = generation->root.depth; count > 0 && level-- > 0;) {
        struct batch batch = {.count = 0};
        for (unsigned i = 0; i < count; i++)
            if (i == 0 || children[i] != children[i - 1])
                node_want(file, &batch, children[i],
                          level == 0 ? CACHE_SCAN : CACHE_SCAN | CACHE_LINKS);
        if (batch.count > 0)
            batch_read(file, &batch, level == 0 ? BTREE_LEAF : BTREE_BRANCH);
        *reads += batch.count;
        if (level > 0 && !level_down(file, keys, count, ts, level, children)) {
            diag_clear();
            break;
        }
    }
    return count;
}
