/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands on one set, or on two of which one gives to the other. How a set is stored is told in
 * redis_fields.h; what is made of several has redis_set_algebra.c.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_fields.h"
#include "redis/redis_gather.h"

static int set_open(struct redis_fields *set, struct redis_call *call)
{
    return redis_fields_open(set, call, &call->argv[1], REDIS_TYPE_SET);
}

static int set_open_for_update(struct redis_fields *set, struct redis_call *call)
{
    return redis_fields_open_for_update(set, call, &call->argv[1], REDIS_TYPE_SET);
}

static int reply_integer(struct redis_call *call, int rc, int64_t value)
{
    if (!rc)
        call->sink->vtab->integer(call->sink, value);
    return rc;
}

static int set_changed(struct redis_call *call, const struct redis_slice *name, const char *event,
                       bool ended)
{
    int rc = redis_changed(call, name, REDIS_TYPE_NONE, REDIS_NOTIFY_SET, event);
    return rc || !ended ? rc
                        : redis_changed(call, name, REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC, "del");
}

const char *redis__set_encoding(const struct redis_value *value)
{
    return value->spread ? "hashtable" : redis_fields_integers(value) ? "intset" : "listpack";
}

/* ---------------------------------------------------------------------------------------- writing */

int redis__sadd(struct redis_call *call)
{
    struct redis_fields set;
    int64_t count = 0;
    int rc = set_open_for_update(&set, call);
    for (unsigned n = 2; n < call->argc && !rc; n++) {
        bool created;
        rc = redis_fields_set(&set, &call->argv[n], NULL, 0, &created);
        count += created;
    }
    if (!rc && count)
        rc = redis_fields_close(&set, NULL);
    if (!rc && count)
        rc = set_changed(call, &call->argv[1], "sadd", false);
    return reply_integer(call, rc, count);
}

int redis__srem(struct redis_call *call)
{
    struct redis_fields set;
    int64_t count = 0;
    bool ended;
    int rc = set_open_for_update(&set, call);
    if (rc || !redis_fields_exist(&set))
        return reply_integer(call, rc, 0);
    for (unsigned n = 2; n < call->argc && !rc; n++) {
        bool removed;
        rc = redis_fields_remove(&set, &call->argv[n], &removed);
        count += removed;
    }
    if (!rc && count) {
        rc = redis_fields_close(&set, &ended);
        if (!rc)
            rc = set_changed(call, &call->argv[1], "srem", ended);
    }
    return reply_integer(call, rc, count);
}

static bool same(const struct redis_slice *left, const struct redis_slice *right)
{
    return left->size == right->size &&
           (left->size == 0 || memcmp(left->data, right->data, left->size) == 0);
}

/* Takes argv[3] from one set and puts it into the other. */
static int member_move(struct redis_call *call, struct redis_fields *from, struct redis_fields *to)
{
    bool removed, added, ended;
    int rc = redis_fields_remove(from, &call->argv[3], &removed);
    if (rc || !removed)
        return reply_integer(call, rc, 0);
    rc = redis_fields_close(from, &ended);
    if (!rc)
        rc = redis_fields_set(to, &call->argv[3], NULL, 0, &added);
    if (!rc && added)
        rc = redis_fields_close(to, NULL);
    if (!rc)
        rc = set_changed(call, &call->argv[1], "srem", ended);
    if (!rc && added)
        rc = set_changed(call, &call->argv[2], "sadd", false);
    return reply_integer(call, rc, 1);
}

int redis__smove(struct redis_call *call)
{
    struct redis_fields from, to;
    struct redis_field member;
    int rc = set_open_for_update(&from, call);
    if (rc || !redis_fields_exist(&from))
        return reply_integer(call, rc, 0);
    if (same(&call->argv[1], &call->argv[2])) {
        rc = redis_fields_get(&from, &call->argv[3], &member);
        return reply_integer(call, rc, !rc && member.present);
    }
    rc = redis_fields_open_for_update(&to, call, &call->argv[2], REDIS_TYPE_SET);
    return rc ? rc : member_move(call, &from, &to);
}

/* ---------------------------------------------------------------------------------------- reading */

int redis__scard(struct redis_call *call)
{
    struct redis_fields set;
    int64_t length = 0;
    int rc = set_open(&set, call);
    if (!rc)
        rc = redis_fields_length(&set, &length);
    return reply_integer(call, rc, length);
}

int redis__sismember(struct redis_call *call)
{
    struct redis_fields set;
    struct redis_field member;
    int rc = set_open(&set, call);
    if (!rc)
        rc = redis_fields_get(&set, &call->argv[2], &member);
    return reply_integer(call, rc, !rc && member.present);
}

int redis__smismember(struct redis_call *call)
{
    struct redis_fields set;
    int rc = set_open(&set, call);
    if (rc)
        return rc;
    call->sink->vtab->array(call->sink, call->argc - 2);
    for (unsigned n = 2; n < call->argc && !rc; n++) {
        struct redis_field member;
        rc = redis_fields_get(&set, &call->argv[n], &member);
        reply_integer(call, rc, !rc && member.present);
    }
    return rc;
}

/* All members, of a set that is there; as many as are announced (see redis_hash.c). */
static int members_reply(struct redis_fields *set, int64_t length)
{
    struct redis_sink *sink = set->call->sink;
    struct redis_fields_walk walk;
    int rc = redis_fields_walk_open(&walk, set, NULL);
    sink->vtab->set(sink, (size_t)length);
    for (int64_t n = 0; n < length && (!rc || rc == ERROR_END); n++) {
        if (!rc)
            rc = redis_fields_walk_next(&walk);
        if (!rc)
            sink->vtab->bulk(sink, walk.field.data, walk.field.size);
        else if (rc == ERROR_END)
            sink->vtab->null(sink);
    }
    return rc == ERROR_END ? 0 : rc;
}

int redis__smembers(struct redis_call *call)
{
    struct redis_fields set;
    int64_t length;
    int rc = set_open(&set, call);
    if (!rc)
        rc = redis_fields_length(&set, &length);
    return rc ? rc : members_reply(&set, length);
}

int redis__sscan(struct redis_call *call)
{
    struct redis_fields set;
    struct redis_fields_walk walk;
    struct redis_scan_options options = {.count = 0};
    struct redis_gather found;
    struct redis_slice after = {NULL, 0};
    uint64_t cursor;
    redis_gather_create(&found, call);
    int rc = redis_scan_cursor(call, &cursor);
    if (!rc)
        rc = set_open(&set, call);
    if (!rc && redis_fields_exist(&set))
        rc = redis_scan_options(call, false, &options);
    if (!rc && set.value.spread)
        rc = redis_scan_after(call, cursor, &after);
    if (!rc)
        rc = redis_fields_walk_open(&walk, &set, after.data ? &after : NULL);
    bool stops = !rc && set.value.spread && call->scans;
    for (int64_t n = 0; !rc && (n < options.count || !stops); n++) {
        rc = redis_fields_walk_next(&walk);
        if (!rc && redis_scan_matches(&options, &walk.field))
            rc = redis_gather_item(&found, &walk.field, false);
    }
    cursor = 0;
    if (!rc)
        rc = redis_scan_keep(call, (struct redis_slice){walk.field.data, walk.field.size}, &cursor);
    if (rc && rc != ERROR_END)
        return rc;
    redis_scan_reply(cursor, &found);
    return 0;
}

/* ---------------------------------------------------------------------------------------- drawing */

static int draw_spread(struct redis_fields *set, int64_t length, int64_t count, bool different,
                       struct redis_gather *drawn)
{
    struct redis_call *call = set->call;
    struct redis_element one, *some;
    uint64_t found = 0;
    int rc = 0;
    for (int64_t n = 0; n < count && !different && !rc; n++) {
        rc = redis_element_random(call, set->value.id, REDIS_ELEMENT, redis_random(call), &one,
                                  NULL);
        if (!rc)
            rc = redis_gather_add(drawn, (struct redis_slice){one.key, one.key_size});
    }
    if (!different)
        return rc == ERROR_END ? 0 : rc;
    some = arena_alloc(txn_arena(call->txn), (size_t)(count + 1) * sizeof *some);
    if (!some)
        return diag_set(ERROR_MEMORY, "out of memory");
    rc = redis_spread_sample(call, set->value.id, REDIS_ELEMENT, (uint64_t)length, (uint64_t)count,
                             NULL, some, &found);
    for (uint64_t n = 0; n < found && !rc; n++)
        rc = redis_gather_add(drawn, (struct redis_slice){some[n].key, some[n].key_size});
    return rc;
}

static int draw_packed(struct redis_fields *set, int64_t length, int64_t count, bool different,
                       struct redis_gather *drawn)
{
    struct redis_gather all;
    struct redis_fields_walk walk;
    redis_gather_create(&all, set->call);
    int rc = redis_fields_walk_open(&walk, set, NULL);
    while (!rc && !(rc = redis_fields_walk_next(&walk)))
        rc = redis_gather_item(&all, &walk.field, set->writing);
    if (rc != ERROR_END)
        return rc;
    rc = 0;
    for (int64_t n = 0; (different ? n < length && count > 0 : n < count) && !rc; n++) {
        uint64_t random = redis_random(set->call);
        if (!different) {
            rc = redis_gather_add(drawn, all.items[random % (uint64_t)length]);
        } else if ((int64_t)(random % (uint64_t)(length - n)) < count) {
            rc = redis_gather_add(drawn, all.items[n]);
            count--;
        }
    }
    return rc;
}

/* `count` members (at most `length`, if they are to be different) of a set of `length`. */
static int draw(struct redis_fields *set, int64_t length, int64_t count, bool different,
                struct redis_gather *drawn)
{
    redis_gather_create(drawn, set->call);
    if (length == 0 || count == 0)
        return 0;
    return (set->value.spread ? draw_spread : draw_packed)(set, length, count, different, drawn);
}

/* Without knowing how many there are, which others change. */
static int draw_one(struct redis_fields *set, struct redis_gather *drawn)
{
    int64_t length = 1;
    int rc = set->value.spread ? 0 : redis_fields_length(set, &length);
    return rc ? rc : draw(set, redis_fields_exist(set) ? length : 0, 1, false, drawn);
}

static void reply_one(const struct redis_gather *drawn)
{
    struct redis_sink *sink = drawn->call->sink;
    if (drawn->count)
        sink->vtab->bulk(sink, drawn->items[0].data, drawn->items[0].size);
    else
        sink->vtab->null(sink);
}

int redis__srandmember(struct redis_call *call)
{
    struct redis_fields set;
    struct redis_gather drawn;
    int64_t count = 1, length;
    if (call->argc > 3)
        return redis_syntax_error();
    int rc = call->argc == 3 ? redis_draw_count(call, 2, &count) : 0;
    if (!rc)
        rc = set_open(&set, call);
    if (rc)
        return rc;
    if (call->argc == 2) {
        rc = draw_one(&set, &drawn);
        if (!rc)
            reply_one(&drawn);
        return rc;
    }
    rc = redis_fields_length(&set, &length);
    bool different = count > 0;
    count = count < 0 ? -count : count > length ? length : count;
    if (!rc)
        rc = draw(&set, length, count, different, &drawn);
    if (rc)
        return rc;
    call->sink->vtab->array(call->sink, drawn.count);
    redis_gather_reply(&drawn);
    return 0;
}

/* The same of a spread one, to take it out; *others: there is at least one more. */
static int draw_one_spread(struct redis_fields *set, struct redis_gather *drawn, bool *others)
{
    struct redis_call *call = set->call;
    struct redis_element one;
    redis_gather_create(drawn, call);
    int rc =
        redis_element_random(call, set->value.id, REDIS_ELEMENT, redis_random(call), &one, others);
    if (rc)
        return rc == ERROR_END ? 0 : rc;
    return redis_gather_add(drawn, (struct redis_slice){one.key, one.key_size});
}

/* Takes what was drawn out of the set. `others`: what was read shows that more are left. */
static int drawn_remove(struct redis_fields *set, const struct redis_gather *drawn, bool others)
{
    bool ended;
    int rc = 0;
    if (drawn->count == 0)
        return 0;
    for (size_t n = 0; n < drawn->count && !rc; n++) {
        redis_passed(set->call);
        rc = redis_fields_remove(set, &drawn->items[n], NULL);
    }
    if (others)
        set->shrunk = false;
    if (!rc)
        rc = redis_fields_close(set, &ended);
    return rc ? rc : set_changed(set->call, set->name, "spop", ended);
}

/* All members, and the key goes: a spread set's rows are not deleted one by one. */
static int pop_all(struct redis_fields *set, int64_t length)
{
    int rc = redis_value_keep(set->call, &set->value);
    if (!rc)
        rc = members_reply(set, length);
    if (!rc)
        rc = redis_fields_delete(set);
    return rc ? rc : set_changed(set->call, set->name, "spop", true);
}

static int pop_some(struct redis_call *call)
{
    struct redis_fields set;
    struct redis_gather drawn;
    int64_t count, length = 0;
    int rc = redis_integer_arg(call, 2, &count);
    if (!rc && count < 0)
        rc = diag_set(ERROR_INVALID, "value is out of range, must be positive");
    if (!rc)
        rc = set_open_for_update(&set, call);
    if (!rc)
        rc = redis_fields_length(&set, &length);
    if (!rc && length && count >= length)
        return pop_all(&set, length);
    if (!rc)
        rc = draw(&set, length, length ? count : 0, true, &drawn);
    if (!rc)
        rc = drawn_remove(&set, &drawn, false);
    if (rc)
        return rc;
    call->sink->vtab->set(call->sink, drawn.count);
    redis_gather_reply(&drawn);
    return 0;
}

int redis__spop(struct redis_call *call)
{
    struct redis_fields set;
    struct redis_gather drawn;
    if (call->argc > 3)
        return redis_syntax_error();
    if (call->argc == 3)
        return pop_some(call);
    bool others = false;
    int rc = set_open_for_update(&set, call);
    if (!rc)
        rc = set.value.spread ? draw_one_spread(&set, &drawn, &others) : draw_one(&set, &drawn);
    if (!rc)
        rc = drawn_remove(&set, &drawn, others);
    if (!rc)
        reply_one(&drawn);
    return rc;
}
