/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What to compact next, by each of the strategies: functions of a version, the options and the time
 * alone, which read no file. How it is done is in lsm_compact.c.
 *
 * What is picked is always of neighbouring sequences, since the order of sequences is the order of
 * time: rows may not pass by others. And all that is older than a picked file's key range within the
 * picked sequences is picked with it.
 *
 * Levelled. The last level is as large as it is, and each level above it is full at a
 * size_ratio'th of the one below: so what is superseded takes a ninth at most where the ratio is
 * ten. The level to which level 0 goes is the last one at first and moves up when it is larger than
 * level_bytes (Dong et al., "Optimizing Space Amplification in RocksDB", CIDR 2017). A level that is
 * too full, by two files at least, gives that file to the next one which meets the fewest bytes there for
 * each of its own: this writes least (the same). What level 0 goes to is written anew with it, so level
 * 0 waits until it has half as much; as long as there is less, its sequences are merged as tiered does.
 *
 * Tiered. The shortest-lived choice first: the window of at least l0_files neighbours, the newest
 * one, whose largest is not larger than the others together. So a row's sequence at least doubles
 * each time it is written. Where sizes lie so badly that no window is found and there are many
 * sequences, the window of l0_files with the fewest bytes is taken.
 *
 * Universal. From the newest one on each sequence is taken that is not larger than those before it
 * together; if the newer ones are space_percent of the oldest one, all are. Where that does not help
 * and there are many, the two newest are taken.
 *
 * Where rows expire, and the strategy has nothing: a file of which all rows have.
 *
 * Time window. Sequences of a window that has ended become one; those of the present one are tiered.
 */
#include <string.h>

#include "storage/lsm/lsm_internal.h"

enum {
    SEQUENCES_MAX = 32,
    UNIVERSAL_PART = 3,
    L0_PART = 2, /* level 0 goes when it has such a part of what it meets, */
    L0_MANY = 2, /* or so many times l0_files sequences; more than these are a debt, */
    L0_SLOW = 4, /* of 1 with so many times l0_files more */
    SLACK_FILES = 2
};

/* ---------------------------------------------------------------------------------------- helpers */

static bool key_below(const struct engine_key *a, const struct engine_key *b)
{
    return run_key_compare(a->data, a->size, b->data, b->size) < 0;
}

void lsm__pick_files(const struct lsm_pick *pick, const struct lsm_sequence *sequence,
                     unsigned *from, unsigned *to)
{
    *from = 0;
    *to = sequence->count;
    if (pick->lower.data == NULL)
        return;
    *from = lsm__sequence_find(sequence, pick->lower.data, pick->lower.size);
    unsigned end = *from;
    while (end < sequence->count && !key_below(&pick->upper, &sequence->files[end]->first))
        end++;
    *to = end;
}

static unsigned l0_count(const struct lsm_version *version)
{
    unsigned count = 0;
    while (count < version->count && version->sequences[count].level == 0)
        count++;
    return count;
}

static uint64_t bytes_of(const struct lsm_version *version, unsigned first, unsigned behind)
{
    uint64_t bytes = 0;
    for (unsigned i = first; i < behind; i++)
        bytes += version->sequences[i].bytes;
    return bytes;
}

/* Without levels what is merged keeps the place of its oldest part. */
static void pick_window(const struct lsm_version *version, enum lsm_reason reason, unsigned first,
                        unsigned behind, struct lsm_pick *out)
{
    *out = (struct lsm_pick){.reason = reason,
                             .first = first,
                             .behind = behind,
                             .level = version->sequences[behind - 1].level};
}

/* --------------------------------------------------------------------------------------- levelled */

static void level_bytes(const struct lsm_version *version, uint64_t bytes[LSM_LEVELS])
{
    memset(bytes, 0, LSM_LEVELS * sizeof *bytes);
    for (unsigned i = 0; i < version->count; i++)
        bytes[version->sequences[i].level] += version->sequences[i].bytes;
}

void lsm__targets(const struct lsm_version *version, const struct lsm_options *options,
                  struct lsm_targets *out)
{
    uint64_t bytes[LSM_LEVELS], largest = 0, size;
    unsigned first = LSM_LEVEL_LAST;
    level_bytes(version, bytes);
    for (unsigned level = LSM_LEVEL_LAST; level > 0; level--) {
        if (bytes[level] > 0)
            first = level;
        largest = bytes[level] > largest ? bytes[level] : largest;
    }
    size = largest;
    for (unsigned level = first; level < LSM_LEVEL_LAST; level++)
        size /= options->size_ratio;
    while (first > 1 && size > options->level_bytes) {
        first--;
        size /= options->size_ratio;
    }
    *out = (struct lsm_targets){.base = first};
    uint64_t least = options->level_bytes / options->size_ratio + 1;
    out->bytes[first] = size < least                  ? least
                        : size > options->level_bytes ? options->level_bytes
                                                      : size;
    if (first == LSM_LEVEL_LAST)
        out->bytes[first] = options->level_bytes;
    for (unsigned level = first + 1; level <= LSM_LEVEL_LAST; level++) {
        size = out->bytes[level - 1] * options->size_ratio;
        out->bytes[level] = size < options->level_bytes ? options->level_bytes : size;
    }
}

/* Of files [0, count) the one that meets the fewest bytes of the next level for each of its own. */
static unsigned cheapest_file(const struct lsm_sequence *sequence, const struct lsm_sequence *next)
{
    unsigned best = 0, at = 0;
    double best_cost = 0;
    for (unsigned i = 0; i < sequence->count; i++) {
        const struct lsm_file *file = sequence->files[i];
        uint64_t met = 0;
        while (next != NULL && at < next->count && key_below(&next->files[at]->last, &file->first))
            at++;
        for (unsigned n = at;
             next != NULL && n < next->count && !key_below(&file->last, &next->files[n]->first);
             n++)
            met += next->files[n]->meta.bytes;
        double cost = (double)met / (double)file->meta.bytes;
        if (i == 0 || cost < best_cost) {
            best = i;
            best_cost = cost;
        }
    }
    return best;
}

/* Level 0 as a whole, with what it meets in the base level. */
static void pick_l0(const struct lsm_version *version, unsigned count,
                    const struct lsm_targets *targets, struct lsm_pick *out)
{
    *out =
        (struct lsm_pick){.reason = LSM_MANY, .first = 0, .behind = count, .level = targets->base};
    for (unsigned i = 0; i < count; i++) {
        const struct lsm_sequence *sequence = &version->sequences[i];
        const struct engine_key *first = &sequence->files[0]->first,
                                *last = &sequence->files[sequence->count - 1]->last;
        if (i == 0 || key_below(first, &out->lower))
            out->lower = *first;
        if (i == 0 || key_below(&out->upper, last))
            out->upper = *last;
    }
    if (count < version->count && version->sequences[count].level == targets->base)
        out->behind++;
}

static void pick_level(const struct lsm_version *version, unsigned at, struct lsm_pick *out)
{
    const struct lsm_sequence *sequence = &version->sequences[at];
    bool has_next =
        at + 1 < version->count && version->sequences[at + 1].level == sequence->level + 1;
    const struct lsm_file *file =
        sequence->files[cheapest_file(sequence, has_next ? sequence + 1 : NULL)];
    *out = (struct lsm_pick){.reason = LSM_SIZE,
                             .first = at,
                             .behind = at + 1 + has_next,
                             .lower = file->first,
                             .upper = file->last,
                             .level = sequence->level + 1};
}

/* The most that a level above the last one keeps. With less than some files too much it would give what meets
 * a large part of the next level; where levels are so small that a file is more, thrice its bytes. */
static uint64_t level_limit(const struct lsm_targets *targets, const struct lsm_options *options,
                            unsigned level)
{
    uint64_t target = targets->bytes[level];
    return target + SLACK_FILES * (options->file_bytes < target ? options->file_bytes : target);
}

static uint64_t base_bytes(const struct lsm_version *version, const struct lsm_targets *targets)
{
    unsigned count = l0_count(version);
    return count < version->count && version->sequences[count].level == targets->base
               ? version->sequences[count].bytes
               : 0;
}

/* 1: level 0 goes to the base level. */
static double l0_score(const struct lsm_version *version, const struct lsm_options *options,
                       const struct lsm_targets *targets)
{
    unsigned count = l0_count(version);
    uint64_t bytes = bytes_of(version, 0, count);
    double by_count = (double)count / options->l0_files,
           by_size = (double)bytes / (double)options->level_bytes;
    if (bytes * L0_PART < base_bytes(version, targets))
        by_count /= L0_MANY;
    return count > 1 && by_size > by_count ? by_size : by_count;
}

/* Of sequences [0, count): see the top. */
static bool pick_similar(const struct lsm_version *version, unsigned count, unsigned width,
                         struct lsm_pick *out)
{
    for (unsigned first = 0; first + width <= count; first++) {
        uint64_t sum = 0, largest = 0;
        unsigned behind = 0;
        for (unsigned i = first; i < count; i++) {
            uint64_t bytes = version->sequences[i].bytes;
            sum += bytes;
            largest = bytes > largest ? bytes : largest;
            if (i + 1 - first >= width && largest <= sum - largest)
                behind = i + 1;
            else if (behind > 0)
                break;
        }
        if (behind > 0) {
            pick_window(version, LSM_SIZE, first, behind, out);
            return true;
        }
    }
    return false;
}

/* What is fullest goes first. */
static void pick_levelled(const struct lsm_version *version, const struct lsm_options *options,
                          struct lsm_pick *out)
{
    struct lsm_targets targets;
    lsm__targets(version, options, &targets);
    double best = l0_score(version, options, &targets);
    unsigned chosen = version->count, first = l0_count(version);
    for (unsigned i = first; i < version->count; i++) {
        const struct lsm_sequence *sequence = &version->sequences[i];
        if (sequence->level == LSM_LEVEL_LAST)
            break;
        double score =
            (double)sequence->bytes / (double)level_limit(&targets, options, sequence->level);
        if (score > 1 && score > best) {
            best = score;
            chosen = i;
        }
    }
    if (chosen < version->count)
        pick_level(version, chosen, out);
    else if (best >= 1)
        pick_l0(version, first, &targets, out);
    else if (first >= options->l0_files)
        (void)pick_similar(version, first, options->l0_files, out);
}

/* ------------------------------------------------------------------------------- without levels */

/* Where there are too many whatever their sizes: the cheapest. */
static void pick_cheapest(const struct lsm_version *version, unsigned width, struct lsm_pick *out)
{
    unsigned best = 0;
    uint64_t best_bytes = UINT64_MAX;
    for (unsigned i = 0; i + width <= version->count; i++) {
        uint64_t bytes = bytes_of(version, i, i + width);
        if (bytes < best_bytes) {
            best = i;
            best_bytes = bytes;
        }
    }
    pick_window(version, LSM_MANY, best, best + width, out);
}

static void pick_tiered(const struct lsm_version *version, const struct lsm_options *options,
                        struct lsm_pick *out)
{
    if (!pick_similar(version, version->count, options->l0_files, out) &&
        version->count > SEQUENCES_MAX)
        pick_cheapest(version, options->l0_files, out);
}

static void pick_universal(const struct lsm_version *version, const struct lsm_options *options,
                           struct lsm_pick *out)
{
    unsigned count = version->count;
    if (count < options->l0_files)
        return;
    uint64_t newer = bytes_of(version, 0, count - 1), oldest = version->sequences[count - 1].bytes;
    if ((double)newer * 100 > (double)oldest * options->space_percent) {
        pick_window(version, LSM_SPACE, 0, count, out);
        return;
    }
    uint64_t sum = version->sequences[0].bytes;
    unsigned behind = 1;
    while (behind < count && version->sequences[behind].bytes <= sum)
        sum += version->sequences[behind++].bytes;
    if (behind > 1)
        pick_window(version, LSM_SIZE, 0, behind, out);
    else if (count > UNIVERSAL_PART * options->l0_files)
        pick_window(version, LSM_MANY, 0, 2, out);
}

static void pick_by_window(const struct lsm_version *version, const struct lsm_options *options,
                           uint64_t now_ms, struct lsm_pick *out)
{
    uint64_t present = now_ms / options->window_ms;
    unsigned first = 0;
    while (first < version->count &&
           version->sequences[first].time_ms / options->window_ms >= present)
        first++;
    if (pick_similar(version, first, options->l0_files, out))
        return;
    while (first < version->count) {
        uint64_t window = version->sequences[first].time_ms / options->window_ms;
        unsigned behind = first + 1;
        while (behind < version->count &&
               version->sequences[behind].time_ms / options->window_ms == window)
            behind++;
        if (behind - first > 1) {
            pick_window(version, LSM_WINDOW, first, behind, out);
            return;
        }
        first = behind;
    }
}

/* ------------------------------------------------------------------------------------------- all */

/* A file of which all has expired, the oldest one, for itself: it stays in its level. What of it hides
 * something older is kept, and not waited for again. */
static void pick_expired(const struct lsm_version *version, const struct lsm_filter *filter,
                         struct lsm_pick *out)
{
    uint64_t horizon_ms = filter->horizon_ms(filter);
    for (unsigned i = version->count; i-- > 0;)
        for (unsigned n = 0; n < version->sequences[i].count; n++) {
            const struct lsm_file *file = version->sequences[i].files[n];
            if (file->expires_ms > horizon_ms)
                continue;
            pick_window(version, LSM_EXPIRED, i, i + 1, out);
            out->lower = file->first;
            out->upper = file->last;
            return;
        }
}

void lsm__pick(const struct lsm_version *version, const struct lsm_options *options,
               uint64_t now_ms, struct lsm_pick *out)
{
    *out = (struct lsm_pick){.reason = LSM_NOTHING};
    switch (options->strategy) {
    case LSM_LEVELLED:
        pick_levelled(version, options, out);
        break;
    case LSM_TIERED:
        pick_tiered(version, options, out);
        break;
    case LSM_UNIVERSAL:
        pick_universal(version, options, out);
        break;
    case LSM_TIME_WINDOW:
        pick_by_window(version, options, now_ms, out);
        break;
    }
    if (out->reason == LSM_NOTHING && options->filter != NULL)
        pick_expired(version, options->filter, out);
}

void lsm__pick_all(const struct lsm_version *version, const struct lsm_options *options,
                   struct lsm_pick *out)
{
    *out = (struct lsm_pick){.reason = LSM_NOTHING};
    if (version->count == 0)
        return;
    pick_window(version, LSM_ASKED_FOR, 0, version->count, out);
    if (options->strategy == LSM_LEVELLED && out->level == 0)
        out->level = LSM_LEVEL_LAST;
}

double lsm__debt(const struct lsm_version *version, const struct lsm_options *options)
{
    struct lsm_targets targets;
    unsigned first = options->strategy == LSM_LEVELLED ? l0_count(version) : version->count;
    unsigned wanted = options->strategy == LSM_LEVELLED ? L0_MANY * options->l0_files
                                                        : options->l0_files + SEQUENCES_MAX;
    double debt =
        first > wanted ? (double)(first - wanted) / ((double)L0_SLOW * options->l0_files) : 0;
    if (options->strategy != LSM_LEVELLED)
        return debt;
    lsm__targets(version, options, &targets);
    double pending = 0, enough = 4 * (double)options->level_bytes;
    for (unsigned i = first; i < version->count; i++) {
        const struct lsm_sequence *sequence = &version->sequences[i];
        uint64_t limit = level_limit(&targets, options, sequence->level);
        if (sequence->level < LSM_LEVEL_LAST && sequence->bytes > limit)
            pending += (double)(sequence->bytes - limit) * (options->size_ratio + 1);
        enough += (double)sequence->bytes / 4;
    }
    return pending / enough > debt ? pending / enough : debt;
}

/* What is to be written has to have room beside what it is made from. */
bool lsm__space_is_low(const struct lsm_version *version, const struct lsm_options *options)
{
    return options->space != NULL &&
           options->space->left(options->space) < bytes_of(version, 0, version->count) / 8;
}
