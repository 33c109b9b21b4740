/* SPDX-License-Identifier: Apache-2.0 */

/* Commands that take members from a sorted set by where they stand; some wait until there is one. */
#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_block.h"
#include "redis/redis_commands.h"
#include "redis/redis_zset_range.h"
#include "redis/redis_zset_rank.h"

/* Takes these out, and says so. `others`: what was read shows that more are left. */
static int take_out(struct redis_zset *zset, const struct redis_zset_entries *taken, bool others,
                    const char *event)
{
    bool ended = false;
    int rc = 0;
    for (size_t n = 0; n < taken->count && !rc; n++)
        rc = redis_zset_remove(zset, &taken->items[n].member, taken->items[n].score);
    if (rc || taken->count == 0)
        return rc;
    if (others)
        zset->shrunk = false;
    rc = redis_zset_close(zset, &ended);
    if (!rc)
        rc = redis_changed(zset->call, zset->name, REDIS_TYPE_NONE, REDIS_NOTIFY_ZSET, event);
    return !rc && ended
               ? redis_changed(zset->call, zset->name, REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC, "del")
               : rc;
}

/* -------------------------------------------------------------------------------------- by ranges */

static int remove_range(struct redis_call *call, enum redis_zset_by by, const char *event)
{
    struct redis_zset zset;
    struct redis_zset_range range;
    struct redis_zset_entries taken = {.count = 0};
    redis_zset_range_create(&range, by);
    int rc = redis_zset_range_arguments(call, 2, 3, &range);
    if (!rc)
        rc = redis_zset_open_for_update(&zset, call, &call->argv[1]);
    if (!rc)
        rc = redis_zset_range_read(&zset, &range, &taken);
    if (!rc)
        rc = take_out(&zset, &taken, false, event);
    if (!rc)
        call->sink->vtab->integer(call->sink, (int64_t)taken.count);
    return rc;
}

int redis__zremrangebyrank(struct redis_call *call)
{
    return remove_range(call, REDIS_ZSET_BY_RANK, "zremrangebyrank");
}

int redis__zremrangebyscore(struct redis_call *call)
{
    return remove_range(call, REDIS_ZSET_BY_SCORE, "zremrangebyscore");
}

int redis__zremrangebylex(struct redis_call *call)
{
    return remove_range(call, REDIS_ZSET_BY_LEX, "zremrangebylex");
}

/* -------------------------------------------------------------------------------------- from an end */

/* All up to this place were read from the beginning, and are taken: raises the floor when many that have
 * been deleted were in front. Raising costs as much as passing some. */
static void floor_look(struct redis_zset *zset, const struct redis_slice *place)
{
    enum { PASSED_MANY = 16 };
    if (zset->passed >= PASSED_MANY)
        redis_zset_floor_raise(zset, place);
}

/* Takes out what was read from the beginning. */
static int take_first(struct redis_zset *zset, const struct redis_zset_entries *taken, bool others)
{
    const struct redis_zset_entry *last = &taken->items[taken->count - 1];
    const struct redis_slice place = redis_zset_place(zset->call, last->score, &last->member);
    if (!place.data)
        return diag_code();
    floor_look(zset, &place);
    int rc = take_out(zset, taken, others, "zpopmin");
    if (!rc && zset->value.spread)
        redis_zset_rank_take(zset, &place);
    return rc;
}

/* At most `count` from one end. One more is read, which shows that these are not the last. */
static int pop(struct redis_zset *zset, bool max, int64_t count, struct redis_zset_entries *taken)
{
    struct redis_zset_range range;
    *taken = (struct redis_zset_entries){.count = 0};
    if (count == 0)
        return 0;
    redis_zset_range_create(&range, REDIS_ZSET_BY_SCORE);
    range.backward = max;
    range.limit = count < INT64_MAX ? count + 1 : count;
    int rc = redis_zset_range_read(zset, &range, taken);
    bool others = !rc && taken->count > (uint64_t)count;
    if (others)
        taken->count = (size_t)count;
    if (rc || taken->count == 0)
        return rc;
    return max ? take_out(zset, taken, others, "zpopmax") : take_first(zset, taken, others);
}

/* The first of the keys that has members; *found NULL: none has. Of one that has waited a key of
 * another type is passed over. */
static int first_of(struct redis_call *call, const struct redis_slice *keys, unsigned count,
                    struct redis_zset *zset, const struct redis_slice **found)
{
    *found = NULL;
    for (unsigned n = 0; n < count; n++) {
        int rc = redis_zset_open_for_update(zset, call, &keys[n]);
        if (rc == ERROR_TYPE && redis_block_again(call))
            continue;
        if (rc)
            return rc;
        if (redis_zset_exists(zset)) {
            *found = &keys[n];
            return 0;
        }
    }
    return 0;
}

/* argv[n], at least `min`: ERROR_INVALID with this message. */
static int count_arg(const struct redis_call *call, unsigned n, int64_t min, const char *message,
                     int64_t *count)
{
    if (!redis_integer_parse(call->argv[n].data, call->argv[n].size, count) || *count < min)
        return diag_set(ERROR_INVALID, "%s", message);
    return 0;
}

static int pop_one_key(struct redis_call *call, bool max)
{
    struct redis_zset zset;
    struct redis_zset_entries taken;
    int64_t count = 1;
    if (call->argc > 3)
        return redis_syntax_error();
    int rc = call->argc == 3
                 ? count_arg(call, 2, 0, "value is out of range, must be positive", &count)
                 : 0;
    if (!rc)
        rc = redis_zset_open_for_update(&zset, call, &call->argv[1]);
    if (!rc)
        rc = pop(&zset, max, count, &taken);
    if (rc)
        return rc;
    if (call->argc == 3 || taken.count == 0) {
        redis_zset_entries_reply(call, &taken, true, false);
        return 0;
    }
    call->sink->vtab->array(call->sink, 2);
    call->sink->vtab->bulk(call->sink, taken.items[0].member.data, taken.items[0].member.size);
    call->sink->vtab->real(call->sink, taken.items[0].score);
    return 0;
}

int redis__zpopmin(struct redis_call *call)
{
    return pop_one_key(call, false);
}

int redis__zpopmax(struct redis_call *call)
{
    return pop_one_key(call, true);
}

static int wait_or_null(struct redis_call *call, const struct redis_slice *keys, unsigned count,
                        uint64_t timeout_ms)
{
    int rc = redis_block_wait(call, keys, count, REDIS_TYPE_ZSET, timeout_ms);
    if (!rc)
        call->sink->vtab->null_array(call->sink);
    return rc;
}

static int pop_or_wait(struct redis_call *call, bool max)
{
    struct redis_zset zset;
    struct redis_zset_entries taken;
    const struct redis_slice *found;
    uint64_t timeout_ms;
    int rc = redis_timeout_arg(call, call->argc - 1, true, &timeout_ms);
    if (!rc)
        rc = first_of(call, &call->argv[1], call->argc - 2, &zset, &found);
    if (rc)
        return rc;
    if (!found)
        return wait_or_null(call, &call->argv[1], call->argc - 2, timeout_ms);
    rc = pop(&zset, max, 1, &taken);
    if (rc || taken.count == 0)
        return rc ? rc : wait_or_null(call, &call->argv[1], call->argc - 2, timeout_ms);
    call->sink->vtab->array(call->sink, 3);
    call->sink->vtab->bulk(call->sink, found->data, found->size);
    call->sink->vtab->bulk(call->sink, taken.items[0].member.data, taken.items[0].member.size);
    call->sink->vtab->real(call->sink, taken.items[0].score);
    return 0;
}

int redis__bzpopmin(struct redis_call *call)
{
    return pop_or_wait(call, false);
}

int redis__bzpopmax(struct redis_call *call)
{
    return pop_or_wait(call, true);
}

/* ------------------------------------------------------------------------------------- several keys */

struct mpop {
    unsigned first; /* of the keys */
    int64_t keys, count;
    bool max;
};

/* From argv[n], which counts the keys. */
static int mpop_arguments(const struct redis_call *call, unsigned n, struct mpop *mpop)
{
    bool counted = false;
    mpop->count = 1;
    mpop->first = n + 1;
    int rc = count_arg(call, n, 1, "numkeys should be greater than 0", &mpop->keys);
    if (rc)
        return rc;
    if (mpop->keys >= (int64_t)call->argc - (int64_t)mpop->first)
        return redis_syntax_error();
    unsigned at = mpop->first + (unsigned)mpop->keys;
    mpop->max = redis_word(call, at, "max");
    if (!mpop->max && !redis_word(call, at, "min"))
        return redis_syntax_error();
    while (++at < call->argc && !rc) {
        if (counted || !redis_word(call, at, "count") || at + 1 == call->argc)
            return redis_syntax_error();
        counted = true;
        rc = count_arg(call, ++at, 1, "count should be greater than 0", &mpop->count);
    }
    return rc;
}

static int mpop_run(struct redis_call *call, const struct mpop *mpop, bool wait,
                    uint64_t timeout_ms)
{
    struct redis_zset zset;
    struct redis_zset_entries taken = {.count = 0};
    const struct redis_slice *keys = &call->argv[mpop->first], *found;
    int rc = first_of(call, keys, (unsigned)mpop->keys, &zset, &found);
    if (!rc && found)
        rc = pop(&zset, mpop->max, mpop->count, &taken);
    if (rc)
        return rc;
    if (taken.count == 0 && wait)
        return wait_or_null(call, keys, (unsigned)mpop->keys, timeout_ms);
    if (taken.count == 0) {
        call->sink->vtab->null_array(call->sink);
        return 0;
    }
    call->sink->vtab->array(call->sink, 2);
    call->sink->vtab->bulk(call->sink, found->data, found->size);
    redis_zset_entries_reply(call, &taken, true, true);
    return 0;
}

int redis__zmpop(struct redis_call *call)
{
    struct mpop mpop;
    int rc = mpop_arguments(call, 1, &mpop);
    return rc ? rc : mpop_run(call, &mpop, false, 0);
}

int redis__bzmpop(struct redis_call *call)
{
    struct mpop mpop;
    uint64_t timeout_ms;
    int rc = mpop_arguments(call, 2, &mpop);
    if (!rc)
        rc = redis_timeout_arg(call, 1, true, &timeout_ms);
    return rc ? rc : mpop_run(call, &mpop, true, timeout_ms);
}
