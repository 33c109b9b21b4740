/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MEM_BUDGET_H
#define MEM_BUDGET_H

/*
 * A budget of memory for all of the process, and what is done when it gets short.
 *
 * It is split between the head, caches and Lua. Caches are told their part. The head's part is its
 * limit; as that fills up, stages follow each other:
 *
 *      EASY ──80%──> FLUSH ──90%──> EVICT ──95%──> SLOW ──100%──> FULL
 *             what can free memory is asked to;      writers wait     writes are refused
 *             from EVICT on, caches lend             a little longer
 *             of their part                          each, the less is left
 *
 * What caches have can be read again. So from EVICT on they become smaller by what the head is short of, up to half
 * of their part, and its limit grows by as much: the next stages begin when that is used up, too. When the stage
 * is EASY again, they get it back.
 *
 * FLUSH and EVICT begin earlier when the forecast (mem/forecast.h) says that the limit is near. Writers are
 * slowed only while somebody is at work to free memory: otherwise waiting helps nobody, and the limit alone
 * decides.
 *
 * What to do is decided here from numbers that are given; how it is done is the clients': structs of
 * callbacks that higher folders fill in and join. Time is the caller's.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/list.h"
#include "mem/forecast.h"

enum budget_stage {
    BUDGET_EASY,
    BUDGET_FLUSH,
    BUDGET_EVICT,
    BUDGET_SLOW,
    BUDGET_FULL,
    BUDGET_STAGES
};
enum budget_part { BUDGET_HEAD, BUDGET_CACHES, BUDGET_LUA, BUDGET_PARTS };

/* The words for them. */
const char *budget_stage_name(enum budget_stage stage);
const char *budget_part_name(enum budget_part part);

/* ---------------------------------------------------------------------------- what is decided, pure */

enum {
    BUDGET_FLUSH_PERCENT = 80,
    BUDGET_EVICT_PERCENT = 90,
    BUDGET_SLOW_PERCENT = 95,
    BUDGET_EARLY_PERCENT = 50, /* from here on the forecast counts */
    BUDGET_BACK_PERCENT = 2,   /* a stage is left when it is so much below */
    BUDGET_FLUSH_AHEAD_S = 60,
    BUDGET_EVICT_AHEAD_S = 30,
    BUDGET_DELAY_MS_MAX = 20,
    BUDGET_LENT_OF = 16, /* caches lend sixteenths of their part, */
    BUDGET_LENT_MAX = 8  /* so many at most */
};

/* The stage with `used` of `limit` bytes (0: none) in use and the limit `limit_s` seconds away by the
 * forecast (below 0: it is not), after `before`. */
enum budget_stage budget_decide(uint64_t used, uint64_t limit, double limit_s,
                                enum budget_stage before);

/* How long a writer is held up with so much in use: nothing below BUDGET_SLOW_PERCENT, from there on
 * with the square of what is gone of the rest; nothing above the limit, where it is refused. */
uint64_t budget_delay_ns(uint64_t used, uint64_t limit);

/* How many bytes a limit would have to be larger so that EVICT is left; 0: none, or there is no limit. */
uint64_t budget_shortage(uint64_t used, uint64_t limit);

/* Parts of `bytes_max` by percent; what is left is the head's. With 0 all are 0: no limit. */
void budget_split(uint64_t bytes_max, unsigned cache_percent, unsigned lua_percent,
                  uint64_t parts[BUDGET_PARTS]);

/* --------------------------------------------------------------------------------- a budget in force */

/*
 * Somebody who has memory or can free some. Callbacks may be NULL; they are short, come from any thread, one at
 * a time, and may not call the budget. The struct is the caller's and stays until budget_leave.
 */
struct budget_client {
    const char *name;
    enum budget_part part;
    uint64_t (*used)(void *arg); /* bytes in use; of a part the sum counts */
    /* A cache's: what it may have from now on; what is too much has gone when it returns. Caches share their part,
     * without what they lend, by `weight` (0 counts as 1); without a limit each has the `bytes` it has come with. */
    void (*resize)(void *arg, uint64_t bytes);
    uint64_t bytes;
    unsigned weight;
    /* Memory gets short: begins to write out what may then be freed. True when something was begun. */
    bool (*flush)(void *arg, enum budget_stage stage);
    /* Whether it is at work to free memory: writers are slowed for its sake. */
    bool (*busy)(void *arg);
    void *arg;
    struct list link; /* the budget's */
};

struct budget_options {
    uint64_t bytes_max;     /* 0: no limit */
    unsigned cache_percent; /* of it, when a cache has joined; 0 to 90 */
    unsigned lua_percent;   /* 0: Lua counts apart; 0 to 50 */
    /* The head: what it has in use, its limit, and how that is set. */
    uint64_t (*head_used)(void *arg);
    uint64_t (*head_limit)(void *arg);
    void (*head_limit_set)(void *arg, uint64_t bytes);
    void *arg;
};

struct budget {
    struct budget_options options;
    pthread_mutex_t mutex; /* of all but what is atomic; callbacks run inside */
    struct list clients;
    struct forecast forecast;
    uint64_t parts[BUDGET_PARTS];
    unsigned lent; /* steps of the caches' part that are the head's for now */
    uint64_t flush_again_ns, lend_again_ns;
    enum budget_stage stage;
    uint64_t entered[BUDGET_STAGES], flushes, early, evicted_bytes;
    CACHE_ALIGNED _Atomic uint64_t
        easy_bytes;           /* below this writers need not ask; UINT64_MAX: never */
    _Atomic uint64_t next_ns; /* the next look */
    _Atomic bool slowing;     /* stage SLOW, and somebody is at work */
    _Atomic uint64_t slowed, slowed_ns;
};

void budget_create(struct budget *budget, const struct budget_options *options);

/* All clients have left. */
void budget_destroy(struct budget *budget);

/* Clients, and what they share, from any thread. */
void budget_join(struct budget *budget, struct budget_client *client);
void budget_leave(struct budget *budget, struct budget_client *client);

/* Another size of the whole, or other parts: all who have a part are told. Any thread. */
void budget_bytes_max_set(struct budget *budget, uint64_t bytes_max);
void budget_cache_percent_set(struct budget *budget, unsigned percent);
uint64_t budget_bytes_max(struct budget *budget);

/* Looks, and does what the stage asks for, if the last look was a tenth of a second ago; from EVICT on a
 * millisecond. Any thread: one at a time does, the others go on at once. */
void budget_tick(struct budget *budget, uint64_t now_ns);

/* More is in use than the limit allows, and a writer is about to be refused: caches lend what they can at once,
 * without a look. Any thread. */
void budget_relieve(struct budget *budget);

/* Whether a writer may pass without asking: one load. */
static inline bool budget_is_easy(const struct budget *budget, uint64_t used)
{
    return used < load_relaxed(&budget->easy_bytes);
}

/* How long a writer has to wait now, which is counted; 0: not at all. After budget_tick. */
uint64_t budget_slow(struct budget *budget);

struct budget_part_view {
    uint64_t limit, used;
};
struct budget_view {
    uint64_t bytes_max;
    enum budget_stage stage;
    struct budget_part_view parts[BUDGET_PARTS]; /* limit 0: none of its own; with what is lent */
    uint64_t entered[BUDGET_STAGES];             /* how often each began */
    uint64_t flushes;                            /* that were begun */
    uint64_t evicted_bytes;                      /* of caches, as these lent in all */
    uint64_t lent_bytes;                         /* of the caches' part, by now the head's */
    uint64_t early;                              /* stages that began because of the forecast */
    uint64_t slowed, slowed_ns;                  /* writers, and for how long */
    uint64_t delay_ns;                           /* of a writer that came now */
    struct forecast_view forecast;
};
void budget_view(struct budget *budget, uint64_t now_ns, struct budget_view *out);

#endif
