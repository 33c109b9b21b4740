/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands that take elements from whichever list has some, or move them between lists; and their
 * blocking forms, which wait until one has (redis_block.h).
 *
 * LMOVE puts the element down before it takes it away, so that a list that is turned round never
 * becomes empty, and keeps its expiry.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_block.h"
#include "redis/redis_commands.h"
#include "redis/redis_list.h"

/* How a blocking command waits when there is nothing. */
struct waiting {
    bool may;
    uint64_t timeout_ms;
};

/* Opens a list to take from. To one that has waited, what has become another type meanwhile is
 * nothing. */
static int source_open(struct redis_call *call, const struct redis_slice *name,
                       struct redis_list *out)
{
    int rc = redis__list_open(call, name, true, out);
    if (rc == ERROR_TYPE && redis_block_again(call)) {
        out->value = (struct redis_value){.type = REDIS_TYPE_NONE};
        return 0;
    }
    return rc;
}

static int taken(struct redis_list *list, bool right, bool ended)
{
    int rc = redis_changed(list->call, list->name, REDIS_TYPE_NONE, REDIS_NOTIFY_LIST,
                           right ? "rpop" : "lpop");
    if (!rc && ended)
        rc = redis_changed(list->call, list->name, REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC, "del");
    return rc;
}

static int nothing(struct redis_call *call, const struct redis_slice *keys, unsigned count,
                   const struct waiting *waiting)
{
    int rc = waiting->may
                 ? redis_block_wait(call, keys, count, REDIS_TYPE_LIST, waiting->timeout_ms)
                 : 0;
    if (!rc)
        call->sink->vtab->null_array(call->sink);
    return rc;
}

/* Takes up to `several` elements (0: one, replied without an array of its own) from the first of the
 * lists that has some, and replies its name and them. */
static int take_from(struct redis_call *call, const struct redis_slice *keys, unsigned count,
                     bool right, uint64_t several, const struct waiting *waiting)
{
    struct redis_sink *sink = call->sink;
    for (unsigned n = 0; n < count; n++) {
        struct redis_list list;
        struct redis_list_part part;
        bool ended;
        int rc = source_open(call, &keys[n], &list);
        if (!rc && list.value.type == REDIS_TYPE_NONE)
            continue;
        if (!rc)
            rc = redis__list_part(&list, right, several ? several : 1, &part);
        if (rc)
            return rc;
        sink->vtab->array(sink, 2);
        sink->vtab->bulk(sink, keys[n].data, keys[n].size);
        if (several)
            sink->vtab->array(sink, part.found);
        rc = redis__list_part_reply(&list, &part);
        if (!rc)
            rc = redis__list_part_drop(&list, &part, &ended);
        return rc ? rc : taken(&list, right, ended);
    }
    return nothing(call, keys, count, waiting);
}

static int blocking_pop(struct redis_call *call, bool right)
{
    struct waiting waiting = {.may = true};
    int rc = redis_timeout_arg(call, call->argc - 1, true, &waiting.timeout_ms);
    return rc ? rc : take_from(call, &call->argv[1], call->argc - 2, right, 0, &waiting);
}

int redis__blpop(struct redis_call *call)
{
    return blocking_pop(call, false);
}

int redis__brpop(struct redis_call *call)
{
    return blocking_pop(call, true);
}

/* ---------------------------------------------------------------------------------------- LMPOP */

static int side_arg(const struct redis_call *call, unsigned n, bool *right)
{
    *right = redis_word(call, n, "right");
    return *right || redis_word(call, n, "left") ? 0 : redis_syntax_error();
}

/* numkeys key [key ..] LEFT|RIGHT [COUNT count], from argument `first` on. */
static int mpop(struct redis_call *call, unsigned first, const struct waiting *waiting)
{
    int64_t keys, count = 1;
    bool right;
    const struct redis_slice *argv = call->argv;
    if (!redis_integer_parse(argv[first].data, argv[first].size, &keys) || keys < 1)
        return diag_set(ERROR_INVALID, "numkeys should be greater than 0");
    if (keys >= (int64_t)call->argc - (int64_t)first - 1)
        return redis_syntax_error();
    unsigned side = first + (unsigned)keys + 1;
    int rc = side_arg(call, side, &right);
    if (rc)
        return rc;
    bool counted = call->argc > side + 2 && redis_word(call, side + 1, "count");
    if (counted) {
        const struct redis_slice *arg = &argv[side + 2];
        if (!redis_integer_parse(arg->data, arg->size, &count) || count < 1)
            return diag_set(ERROR_INVALID, "count should be greater than 0");
    }
    if (call->argc != side + (counted ? 3 : 1))
        return redis_syntax_error();
    return take_from(call, &argv[first + 1], (unsigned)keys, right, (uint64_t)count, waiting);
}

int redis__lmpop(struct redis_call *call)
{
    const struct waiting waiting = {.may = false};
    return mpop(call, 1, &waiting);
}

int redis__blmpop(struct redis_call *call)
{
    struct waiting waiting = {.may = true};
    int rc = redis_timeout_arg(call, 1, true, &waiting.timeout_ms);
    return rc ? rc : mpop(call, 2, &waiting);
}

/* ---------------------------------------------------------------------------------------- LMOVE */

/* Takes the element at an end of the source, which has one, to an end of the destination. */
static int move_element(struct redis_list *from, bool from_right, bool to_right)
{
    struct redis_call *call = from->call;
    struct redis_list to;
    struct redis_list_part part;
    struct redis_list_items items;
    bool ended = false;
    int rc = redis__list_open(call, &call->argv[2], true, &to);
    if (!rc)
        rc = redis__list_part(from, from_right, 1, &part);
    if (!rc)
        rc = redis__list_items(&part.chunks[0], &items);
    if (!rc)
        rc = redis__list_part_reply(from, &part);
    if (rc)
        return rc;
    bool same = from->name->size == to.name->size &&
                memcmp(from->name->data, to.name->data, to.name->size) == 0;
    bool made = to.value.type == REDIS_TYPE_NONE;
    struct redis_slice item = items.at[from_right ? items.count - 1 : 0];
    item.data = arena_copy(txn_arena(call->txn), item.data, item.size);
    if (!item.data)
        return diag_set(ERROR_MEMORY, "out of memory");
    rc = redis__list_push(&to, to_right, &item, 1, NULL);
    if (!rc)
        rc = redis_changed(call, to.name, made ? REDIS_TYPE_LIST : REDIS_TYPE_NONE,
                           REDIS_NOTIFY_LIST, to_right ? "rpush" : "lpush");
    if (!rc && same)
        rc = redis__list_open(call, &call->argv[1], true, from);
    if (!rc && same)
        rc = redis__list_part(from, from_right, 1, &part);
    if (!rc)
        rc = redis__list_part_drop(from, &part, &ended);
    return rc ? rc : taken(from, from_right, ended);
}

static int move_or_wait(struct redis_call *call, bool from_right, bool to_right,
                        const struct waiting *waiting)
{
    struct redis_list from;
    int rc = source_open(call, &call->argv[1], &from);
    if (rc)
        return rc;
    if (from.value.type != REDIS_TYPE_NONE)
        return move_element(&from, from_right, to_right);
    if (waiting->may && call->block)
        return nothing(call, &call->argv[1], 1, waiting);
    call->sink->vtab->null(call->sink);
    return 0;
}

static int sides_args(const struct redis_call *call, bool *from_right, bool *to_right)
{
    int rc = side_arg(call, 3, from_right);
    return rc ? rc : side_arg(call, 4, to_right);
}

int redis__lmove(struct redis_call *call)
{
    const struct waiting waiting = {.may = false};
    bool from_right, to_right;
    int rc = sides_args(call, &from_right, &to_right);
    return rc ? rc : move_or_wait(call, from_right, to_right, &waiting);
}

int redis__rpoplpush(struct redis_call *call)
{
    const struct waiting waiting = {.may = false};
    return move_or_wait(call, true, false, &waiting);
}

int redis__blmove(struct redis_call *call)
{
    struct waiting waiting = {.may = true};
    bool from_right, to_right;
    int rc = sides_args(call, &from_right, &to_right);
    if (!rc)
        rc = redis_timeout_arg(call, 5, true, &waiting.timeout_ms);
    return rc ? rc : move_or_wait(call, from_right, to_right, &waiting);
}

int redis__brpoplpush(struct redis_call *call)
{
    struct waiting waiting = {.may = true};
    int rc = redis_timeout_arg(call, 3, true, &waiting.timeout_ms);
    return rc ? rc : move_or_wait(call, true, false, &waiting);
}
