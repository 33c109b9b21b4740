/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The look: a sample for the forecast, the stage, and what the stage asks of the clients.
 *
 * A flush is begun once a second at most, since it is work that goes on. A stage is left only two percent below
 * where it began, so that a level at a border does not begin it again and again. The forecast makes two stages
 * early, and no more: it may be wrong, and what flushing and evicting cost is not the writers'.
 *
 * What caches lend goes in steps, so that a level that creeps does not resize them at each look. By the level they
 * lend at once what is needed; by the forecast, and when they get it back, a step a second. A step is given
 * back only when the stage stays easy without it, by the forecast as well: else it would be lent again.
 */
#include "mem/budget.h"

#include <string.h>

#include "base/assert.h"

enum {
    LOOK_NS = 100 * 1000 * 1000,
    SHORT_LOOK_NS = 1000 * 1000,
    FLUSH_EVERY_NS = 1000 * 1000 * 1000,
    LEND_EVERY_NS = 1000 * 1000 * 1000
};

const char *budget_stage_name(enum budget_stage stage)
{
    static const char *const NAMES[] = {"easy", "flush", "evict", "slow", "full"};
    _Static_assert(sizeof NAMES / sizeof *NAMES == BUDGET_STAGES, "each stage has a name");
    return NAMES[stage];
}

const char *budget_part_name(enum budget_part part)
{
    static const char *const NAMES[] = {"head", "caches", "lua"};
    _Static_assert(sizeof NAMES / sizeof *NAMES == BUDGET_PARTS, "each part has a name");
    return NAMES[part];
}

/* ------------------------------------------------------------------------------- what is decided */

static double percent_of(uint64_t used, uint64_t limit)
{
    return (double)used * 100 / (double)limit;
}

static enum budget_stage stage_by_level(double percent)
{
    if (percent > 100)
        return BUDGET_FULL;
    if (percent >= BUDGET_SLOW_PERCENT)
        return BUDGET_SLOW;
    if (percent >= BUDGET_EVICT_PERCENT)
        return BUDGET_EVICT;
    return percent >= BUDGET_FLUSH_PERCENT ? BUDGET_FLUSH : BUDGET_EASY;
}

static enum budget_stage stage_by_forecast(double percent, double limit_s)
{
    if (limit_s < 0 || percent < BUDGET_EARLY_PERCENT || limit_s > BUDGET_FLUSH_AHEAD_S)
        return BUDGET_EASY;
    return limit_s > BUDGET_EVICT_AHEAD_S ? BUDGET_FLUSH : BUDGET_EVICT;
}

enum budget_stage budget_decide(uint64_t used, uint64_t limit, double limit_s,
                                enum budget_stage before)
{
    if (limit == 0)
        return BUDGET_EASY;
    double percent = percent_of(used, limit);
    enum budget_stage stage = stage_by_level(percent),
                      kept = stage_by_level(percent + BUDGET_BACK_PERCENT);
    if (kept > BUDGET_SLOW)
        kept = BUDGET_SLOW; /* writes are refused above the limit, and nowhere else */
    if (kept > before)
        kept = before;
    if (stage < kept)
        stage = kept;
    enum budget_stage early = stage_by_forecast(percent, limit_s);
    return stage > early ? stage : early;
}

uint64_t budget_delay_ns(uint64_t used, uint64_t limit)
{
    if (limit == 0)
        return 0;
    double over = (percent_of(used, limit) - BUDGET_SLOW_PERCENT) / (100 - BUDGET_SLOW_PERCENT);
    if (over <= 0 || over > 1)
        return 0;
    return (uint64_t)(over * over * BUDGET_DELAY_MS_MAX * 1e6);
}

static uint64_t share(uint64_t bytes, unsigned percent)
{
    return bytes / 100 * percent + bytes % 100 * percent / 100;
}

uint64_t budget_shortage(uint64_t used, uint64_t limit)
{
    uint64_t left = BUDGET_EVICT_PERCENT - BUDGET_BACK_PERCENT; /* EVICT is, below it */
    uint64_t enough = used / left * 100 + (used % left * 100 + left - 1) / left + 1;
    return limit > 0 && enough > limit ? enough - limit : 0;
}

void budget_split(uint64_t bytes_max, unsigned cache_percent, unsigned lua_percent,
                  uint64_t parts[BUDGET_PARTS])
{
    parts[BUDGET_CACHES] = share(bytes_max, cache_percent);
    parts[BUDGET_LUA] = share(bytes_max, lua_percent);
    parts[BUDGET_HEAD] = bytes_max - parts[BUDGET_CACHES] - parts[BUDGET_LUA];
}

/* ------------------------------------------------------------------------------------- the parts */

static bool is_cache(const struct budget_client *client)
{
    return client->part == BUDGET_CACHES && client->resize != NULL;
}

static unsigned weight_of(const struct budget_client *client)
{
    return client->weight == 0 ? 1 : client->weight;
}

/* What of their part caches lend in a step. */
static uint64_t step_bytes(const struct budget *budget)
{
    return budget->parts[BUDGET_CACHES] / BUDGET_LENT_OF;
}

static uint64_t lent_bytes(const struct budget *budget)
{
    return step_bytes(budget) * budget->lent;
}

static void head_limit_tell(struct budget *budget)
{
    const struct budget_options *options = &budget->options;
    uint64_t limit = budget->parts[BUDGET_HEAD] + lent_bytes(budget);
    options->head_limit_set(options->arg, limit);
    store_relaxed(&budget->easy_bytes,
                  limit == 0 ? UINT64_MAX : share(limit, BUDGET_FLUSH_PERCENT));
    store_relaxed(&budget->next_ns, 0);
}

static uint64_t cache_weights(const struct budget *budget)
{
    uint64_t weights = 0;
    list_for_each (link, &budget->clients) {
        const struct budget_client *client = list_entry(link, struct budget_client, link);
        weights += is_cache(client) ? weight_of(client) : 0;
    }
    return weights;
}

static void caches_tell(struct budget *budget)
{
    uint64_t weights = cache_weights(budget),
             bytes = budget->parts[BUDGET_CACHES] - lent_bytes(budget);
    list_for_each (link, &budget->clients) {
        struct budget_client *client = list_entry(link, struct budget_client, link);
        if (is_cache(client))
            client->resize(client->arg, budget->options.bytes_max == 0
                                            ? client->bytes
                                            : bytes / weights * weight_of(client));
    }
}

/* With the mutex: splits anew, and tells. What is lent stays lent, as so many steps of the new part. */
static void share_out(struct budget *budget)
{
    const struct budget_options *options = &budget->options;
    budget_split(options->bytes_max, cache_weights(budget) > 0 ? options->cache_percent : 0,
                 options->lua_percent, budget->parts);
    if (step_bytes(budget) == 0)
        budget->lent = 0;
    head_limit_tell(budget);
    caches_tell(budget);
}

void budget_create(struct budget *budget, const struct budget_options *options)
{
    ASSERT(options->cache_percent + options->lua_percent < 100);
    memset(budget, 0, sizeof *budget);
    budget->options = *options;
    pthread_mutex_init(&budget->mutex, NULL);
    list_create(&budget->clients);
    share_out(budget);
}

void budget_destroy(struct budget *budget)
{
    ASSERT(list_empty(&budget->clients));
    pthread_mutex_destroy(&budget->mutex);
}

void budget_join(struct budget *budget, struct budget_client *client)
{
    pthread_mutex_lock(&budget->mutex);
    list_add_tail(&budget->clients, &client->link);
    if (is_cache(client))
        share_out(budget);
    pthread_mutex_unlock(&budget->mutex);
}

void budget_leave(struct budget *budget, struct budget_client *client)
{
    pthread_mutex_lock(&budget->mutex);
    list_remove(&client->link);
    if (is_cache(client))
        share_out(budget);
    pthread_mutex_unlock(&budget->mutex);
}

void budget_bytes_max_set(struct budget *budget, uint64_t bytes_max)
{
    pthread_mutex_lock(&budget->mutex);
    budget->options.bytes_max = bytes_max;
    share_out(budget);
    pthread_mutex_unlock(&budget->mutex);
}

void budget_cache_percent_set(struct budget *budget, unsigned percent)
{
    pthread_mutex_lock(&budget->mutex);
    budget->options.cache_percent = percent;
    ASSERT(percent + budget->options.lua_percent < 100);
    share_out(budget);
    pthread_mutex_unlock(&budget->mutex);
}

uint64_t budget_bytes_max(struct budget *budget)
{
    pthread_mutex_lock(&budget->mutex);
    uint64_t bytes_max = budget->options.bytes_max;
    pthread_mutex_unlock(&budget->mutex);
    return bytes_max;
}

/* -------------------------------------------------------------------------------------- the look */

/* With the mutex, as what follows. */
static void flush(struct budget *budget, uint64_t now_ns)
{
    if (now_ns < budget->flush_again_ns)
        return;
    budget->flush_again_ns = now_ns + LOOK_NS; /* when nothing is begun */
    list_for_each (link, &budget->clients) {
        struct budget_client *client = list_entry(link, struct budget_client, link);
        if (client->flush != NULL && client->flush(client->arg, budget->stage)) {
            budget->flushes++;
            budget->flush_again_ns = now_ns + FLUSH_EVERY_NS;
        }
    }
}

static uint64_t caches_used(const struct budget *budget)
{
    uint64_t used = 0;
    list_for_each (link, &budget->clients) {
        const struct budget_client *client = list_entry(link, struct budget_client, link);
        used += is_cache(client) && client->used != NULL ? client->used(client->arg) : 0;
    }
    return used;
}

/* Whoever gets less is told first. */
static void lend(struct budget *budget, unsigned steps)
{
    if (steps < budget->lent) {
        budget->lent = steps;
        head_limit_tell(budget);
        caches_tell(budget);
        return;
    }
    uint64_t before = caches_used(budget);
    budget->lent = steps;
    caches_tell(budget);
    uint64_t after = caches_used(budget);
    budget->evicted_bytes += before > after ? before - after : 0;
    head_limit_tell(budget);
}

/* Caches lend what is missing with so much in use, as far as they do. */
static void lend_for(struct budget *budget, uint64_t used)
{
    uint64_t step = step_bytes(budget), limit = budget->parts[BUDGET_HEAD];
    if (step == 0 || budget->lent == BUDGET_LENT_MAX)
        return;
    uint64_t steps = (budget_shortage(used, limit) + step - 1) / step;
    if (steps > BUDGET_LENT_MAX)
        steps = BUDGET_LENT_MAX;
    if (steps > budget->lent)
        lend(budget, (unsigned)steps);
}

static void evict(struct budget *budget, uint64_t now_ns, uint64_t used,
                  const struct forecast_view *forecast)
{
    uint64_t limit = budget->parts[BUDGET_HEAD] + lent_bytes(budget);
    lend_for(budget, used);
    if (now_ns < budget->lend_again_ns)
        return;
    budget->lend_again_ns = now_ns + LEND_EVERY_NS;
    if (step_bytes(budget) > 0 && budget->lent < BUDGET_LENT_MAX &&
        budget_shortage(used, limit) == 0 && budget_shortage(forecast->ahead[0], limit) > 0)
        lend(budget, budget->lent + 1);
}

/* Caches get a step back, if it stays easy without. */
static void give_back(struct budget *budget, uint64_t now_ns, uint64_t used)
{
    if (budget->lent == 0 || now_ns < budget->lend_again_ns)
        return;
    budget->lend_again_ns = now_ns + LEND_EVERY_NS;
    uint64_t limit = budget->parts[BUDGET_HEAD] + lent_bytes(budget) - step_bytes(budget);
    struct forecast_view forecast;
    forecast_view(&budget->forecast, used, limit, &forecast);
    if (budget_decide(used, limit, forecast.limit_s, BUDGET_FLUSH) == BUDGET_EASY)
        lend(budget, budget->lent - 1);
}

static bool any_busy(struct budget *budget)
{
    list_for_each (link, &budget->clients) {
        struct budget_client *client = list_entry(link, struct budget_client, link);
        if (client->busy != NULL && client->busy(client->arg))
            return true;
    }
    return false;
}

static void look(struct budget *budget, uint64_t now_ns)
{
    const struct budget_options *options = &budget->options;
    uint64_t used = options->head_used(options->arg), limit = options->head_limit(options->arg);
    struct forecast_view forecast;
    forecast_add(&budget->forecast, now_ns, used);
    forecast_view(&budget->forecast, used, limit, &forecast);
    enum budget_stage before = budget->stage,
                      stage = budget_decide(used, limit, forecast.limit_s, before);
    budget->stage = stage;
    if (stage > before) {
        budget->entered[stage]++;
        budget->early += stage > budget_decide(used, limit, -1, before);
    }
    if (stage >= BUDGET_FLUSH)
        flush(budget, now_ns);
    if (stage >= BUDGET_EVICT)
        evict(budget, now_ns, used, &forecast);
    else if (stage == BUDGET_EASY)
        give_back(budget, now_ns, used);
    store_relaxed(&budget->slowing, stage == BUDGET_SLOW && any_busy(budget));
    store_relaxed(&budget->next_ns, now_ns + (stage >= BUDGET_EVICT ? SHORT_LOOK_NS : LOOK_NS));
}

void budget_tick(struct budget *budget, uint64_t now_ns)
{
    if (now_ns < load_relaxed(&budget->next_ns) || pthread_mutex_trylock(&budget->mutex) != 0)
        return;
    look(budget, now_ns);
    pthread_mutex_unlock(&budget->mutex);
}

void budget_relieve(struct budget *budget)
{
    const struct budget_options *options = &budget->options;
    pthread_mutex_lock(&budget->mutex);
    lend_for(budget, options->head_used(options->arg));
    pthread_mutex_unlock(&budget->mutex);
}

static uint64_t delay_now(const struct budget *budget)
{
    const struct budget_options *options = &budget->options;
    if (!load_relaxed(&budget->slowing))
        return 0;
    return budget_delay_ns(options->head_used(options->arg), options->head_limit(options->arg));
}

uint64_t budget_slow(struct budget *budget)
{
    uint64_t delay_ns = delay_now(budget);
    if (delay_ns > 0) {
        atomic_fetch_add_explicit(&budget->slowed, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&budget->slowed_ns, delay_ns, memory_order_relaxed);
    }
    return delay_ns;
}

/* --------------------------------------------------------------------------- what there is to see */

void budget_view(struct budget *budget, uint64_t now_ns, struct budget_view *out)
{
    const struct budget_options *options = &budget->options;
    budget_tick(budget, now_ns);
    uint64_t used = options->head_used(options->arg), limit = options->head_limit(options->arg);
    pthread_mutex_lock(&budget->mutex);
    *out = (struct budget_view){.bytes_max = options->bytes_max,
                                .stage = budget->stage,
                                .flushes = budget->flushes,
                                .early = budget->early,
                                .evicted_bytes = budget->evicted_bytes,
                                .lent_bytes = lent_bytes(budget),
                                .slowed = load_relaxed(&budget->slowed),
                                .slowed_ns = load_relaxed(&budget->slowed_ns),
                                .delay_ns = delay_now(budget)};
    memcpy(out->entered, budget->entered, sizeof out->entered);
    for (int part = 0; part < BUDGET_PARTS; part++)
        out->parts[part].limit = budget->parts[part];
    list_for_each (link, &budget->clients) {
        const struct budget_client *client = list_entry(link, struct budget_client, link);
        if (client->used != NULL)
            out->parts[client->part].used += client->used(client->arg);
    }
    out->parts[BUDGET_HEAD].used += used;
    out->parts[BUDGET_HEAD].limit = limit;
    out->parts[BUDGET_CACHES].limit -= out->lent_bytes;
    forecast_view(&budget->forecast, used, limit, &out->forecast);
    pthread_mutex_unlock(&budget->mutex);
}
