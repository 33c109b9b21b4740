/* SPDX-License-Identifier: Apache-2.0 */

/* The commands, in the order in which they stand in the list of them; what the wrong type is, and
 * when that is looked at, is as in Redis 7.2. */
#include "history/redis_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

struct run {
    struct redis_model *model;
    const struct redis_model_command *command;
    struct redis_model_value *a, *b, *c;
    struct redis_model_text *out;
    bool full; /* no room in a list */
};

void redis_model_say(struct redis_model_text *text, const char *format, ...)
{
    va_list args;
    size_t room = sizeof text->data - text->size;
    va_start(args, format);
    int size = vsnprintf(text->data + text->size, room, format, args);
    va_end(args);
    text->cut = text->cut || (size_t)size >= room;
    text->size += (size_t)size < room ? (size_t)size : room - 1;
}

#define HOME(name, type, text) REDIS_MODEL_##type,
static const enum redis_model_type HOMES[] = {REDIS_MODEL_COMMANDS(HOME)};
#define TEXT(name, type, text) text,
static const char *const TEXTS[] = {REDIS_MODEL_COMMANDS(TEXT)};

enum redis_model_type redis_model_home(enum redis_model_verb verb)
{
    return HOMES[verb];
}

unsigned redis_model_unordered(enum redis_model_verb verb)
{
    return verb == REDIS_MODEL_DO_HGETALL                                     ? 2
           : verb == REDIS_MODEL_DO_SMEMBERS || verb == REDIS_MODEL_DO_SUNION ? 1
                                                                              : 0;
}

bool redis_model_harmless(enum redis_model_verb verb, const char *reply)
{
    if (reply[0] == '-' || strncmp(reply, "nil", 3) == 0 || strncmp(reply, "[]", 2) == 0)
        return true;
    switch (verb) {
    case REDIS_MODEL_DO_GET:
    case REDIS_MODEL_DO_MGET:
    case REDIS_MODEL_DO_EXISTS:
    case REDIS_MODEL_DO_TYPE:
    case REDIS_MODEL_DO_LRANGE:
    case REDIS_MODEL_DO_LLEN:
    case REDIS_MODEL_DO_SISMEMBER:
    case REDIS_MODEL_DO_SMEMBERS:
    case REDIS_MODEL_DO_SCARD:
    case REDIS_MODEL_DO_SUNION:
    case REDIS_MODEL_DO_HMGET:
    case REDIS_MODEL_DO_HGETALL:
    case REDIS_MODEL_DO_HLEN:
    case REDIS_MODEL_DO_ZRANGE:
    case REDIS_MODEL_DO_ZRANK:
    case REDIS_MODEL_DO_ZCARD:
        return true;
    case REDIS_MODEL_DO_MSETNX:
    case REDIS_MODEL_DO_DEL:
    case REDIS_MODEL_DO_RENAMENX:
    case REDIS_MODEL_DO_COPY:
    case REDIS_MODEL_DO_COPY_OVER:
    case REDIS_MODEL_DO_SREM:
    case REDIS_MODEL_DO_SMOVE:
    case REDIS_MODEL_DO_HDEL:
    case REDIS_MODEL_DO_ZREM:
        return reply[0] == '0';
    default:
        return false;
    }
}

void redis_model_words(const struct redis_model_command *command, struct redis_model_text *out)
{
    for (const char *at = TEXTS[command->verb]; *at != '\0'; at++) {
        bool alone = (at[1] == ' ' || at[1] == '\0') && at[-1] == ' ';
        if (alone && *at >= 'A' && *at <= 'C')
            redis_model_say(out, "k%u", command->key[*at - 'A']);
        else if (alone && (*at == 'M' || *at == 'N'))
            redis_model_say(out, "%c", 'a' + command->member[*at - 'M']);
        else if (alone && (*at == 'X' || *at == 'Y'))
            redis_model_say(out, "%u", command->number[*at - 'X']);
        else
            redis_model_say(out, "%c", *at);
    }
}

/* ------------------------------------------------------------------------------------- values */

/* What is said most, without a format. */
static void say_text(struct run *run, const char *text)
{
    size_t size = strlen(text), room = sizeof run->out->data - run->out->size - 1;
    run->out->cut = run->out->cut || size > room;
    size = size < room ? size : room;
    memcpy(run->out->data + run->out->size, text, size + 1);
    run->out->size += size;
    run->out->data[run->out->size] = '\0';
}

static void say_number(struct run *run, unsigned number)
{
    char digits[12], *at = digits + sizeof digits - 1;
    *at = '\0';
    do
        *--at = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    say_text(run, at);
}

static void say_member(struct run *run, unsigned member)
{
    say_text(run, (const char[]){(char)('a' + member), '\0'});
}

/* The bracket before the first element of an array, and the blank before the others. */
static void say_next(struct run *run, bool *first)
{
    say_text(run, *first ? "[" : " ");
    *first = false;
}

static void say_end(struct run *run, bool none)
{
    say_text(run, none ? "[]" : "]");
}

static void say_nil(struct run *run)
{
    say_text(run, "nil");
}

static void clear(struct redis_model_value *value)
{
    memset(value, 0, sizeof *value);
}

/* Whether the value is of the type, or absent; else says so. */
static bool is(struct run *run, const struct redis_model_value *value, enum redis_model_type type)
{
    if (value->type == REDIS_MODEL_NONE || value->type == type)
        return true;
    say_text(run, "-WRONGTYPE");
    return false;
}

/* Elements of a set, a hash or a sorted set are set and taken away; the last takes the key along. */
static bool put(struct redis_model_value *value, enum redis_model_type type, unsigned member,
                unsigned what)
{
    bool is_new = value->at[member] == 0;
    value->type = (uint16_t)type;
    value->at[member] = (uint16_t)what;
    value->count = (uint16_t)(value->count + is_new);
    return is_new;
}

static bool take(struct redis_model_value *value, unsigned member)
{
    if (value->type == REDIS_MODEL_NONE || value->at[member] == 0)
        return false;
    value->at[member] = 0;
    if (--value->count == 0)
        clear(value);
    return true;
}

static unsigned has(const struct redis_model_value *value, unsigned member)
{
    return value->type == REDIS_MODEL_NONE ? 0 : value->at[member];
}

static void push(struct run *run, struct redis_model_value *value, unsigned element, bool left)
{
    if (value->count == REDIS_MODEL_ROOM) {
        run->full = true;
        return;
    }
    if (left)
        memmove(value->at + 1, value->at, value->count * sizeof *value->at);
    value->type = REDIS_MODEL_LIST;
    value->at[left ? 0 : value->count] = (uint16_t)element;
    value->count++;
}

static unsigned pop(struct redis_model_value *value, bool left)
{
    unsigned element = value->at[left ? 0 : value->count - 1];
    value->count--;
    if (left)
        memmove(value->at, value->at + 1, value->count * sizeof *value->at);
    value->at[value->count] = 0;
    if (value->count == 0)
        clear(value);
    return element;
}

/* ------------------------------------------------------------------------------------ strings */

static void apply_GET(struct run *run)
{
    if (!is(run, run->a, REDIS_MODEL_STRING))
        return;
    if (run->a->type == REDIS_MODEL_NONE)
        say_nil(run);
    else
        say_number(run, run->a->at[0]);
}

static void set(struct redis_model_value *value, unsigned number)
{
    clear(value);
    value->type = REDIS_MODEL_STRING;
    value->at[0] = (uint16_t)number;
}

static void apply_SET(struct run *run)
{
    set(run->a, run->command->number[0]);
    say_text(run, "OK");
}

static void apply_INCR(struct run *run)
{
    if (!is(run, run->a, REDIS_MODEL_STRING))
        return;
    set(run->a, run->a->at[0] + 1u);
    say_number(run, run->a->at[0]);
}

static void apply_MGET(struct run *run)
{
    for (unsigned n = 0; n < 3; n++) {
        const struct redis_model_value *value = &run->model->keys[run->command->key[n]];
        say_text(run, n == 0 ? "[" : " ");
        if (value->type == REDIS_MODEL_STRING)
            say_number(run, value->at[0]);
        else
            say_nil(run);
    }
    say_text(run, "]");
}

static void apply_MSET(struct run *run)
{
    set(run->a, run->command->number[0]);
    set(run->b, run->command->number[1]);
    say_text(run, "OK");
}

static void apply_MSETNX(struct run *run)
{
    bool there = run->a->type != REDIS_MODEL_NONE || run->b->type != REDIS_MODEL_NONE;
    if (!there) {
        set(run->a, run->command->number[0]);
        set(run->b, run->command->number[1]);
    }
    say_number(run, !there);
}

/* --------------------------------------------------------------------------------------- keys */

static void apply_DEL(struct run *run)
{
    unsigned count = run->a->type != REDIS_MODEL_NONE;
    clear(run->a);
    count += run->b->type != REDIS_MODEL_NONE;
    clear(run->b);
    say_number(run, count);
}

static void apply_EXISTS(struct run *run)
{
    say_number(run, (run->a->type != REDIS_MODEL_NONE) + (run->b->type != REDIS_MODEL_NONE) +
                        (run->c->type != REDIS_MODEL_NONE));
}

static void apply_TYPE(struct run *run)
{
    static const char *const names[] = {"none", "string", "list", "set", "hash", "zset"};
    redis_model_say(run->out, "%s", names[run->a->type]);
}

static void rename_to(struct run *run)
{
    struct redis_model_value value = *run->a;
    clear(run->a);
    *run->b = value;
}

static void apply_RENAME(struct run *run)
{
    if (run->a->type == REDIS_MODEL_NONE) {
        say_text(run, "-ERR");
        return;
    }
    rename_to(run);
    say_text(run, "OK");
}

static void apply_RENAMENX(struct run *run)
{
    if (run->a->type == REDIS_MODEL_NONE) {
        say_text(run, "-ERR");
        return;
    }
    bool free = run->b->type == REDIS_MODEL_NONE;
    if (free)
        rename_to(run);
    say_number(run, free);
}

static void copy_to(struct run *run, bool over)
{
    if (run->a == run->b) {
        say_text(run, "-ERR");
        return;
    }
    bool copies = run->a->type != REDIS_MODEL_NONE && (over || run->b->type == REDIS_MODEL_NONE);
    if (copies)
        *run->b = *run->a;
    say_number(run, copies);
}

static void apply_COPY(struct run *run)
{
    copy_to(run, false);
}

static void apply_COPY_OVER(struct run *run)
{
    copy_to(run, true);
}

/* -------------------------------------------------------------------------------------- lists */

/* Of the reply only that it is a number is compared: who pushes at one end of a long list may be
 * told a length without what is pushed at the other end at that moment. */
static void push_say(struct run *run, bool left)
{
    if (!is(run, run->a, REDIS_MODEL_LIST))
        return;
    push(run, run->a, run->command->number[0], left);
    say_text(run, "pushed");
}

static void apply_RPUSH(struct run *run)
{
    push_say(run, false);
}

static void apply_LPUSH(struct run *run)
{
    push_say(run, true);
}

static void pop_say(struct run *run, bool left)
{
    if (!is(run, run->a, REDIS_MODEL_LIST))
        return;
    if (run->a->type == REDIS_MODEL_NONE)
        say_nil(run);
    else
        say_number(run, pop(run->a, left));
}

static void apply_LPOP(struct run *run)
{
    pop_say(run, true);
}

static void apply_RPOP(struct run *run)
{
    pop_say(run, false);
}

static void apply_LMPOP(struct run *run)
{
    for (unsigned n = 0; n < 2; n++) {
        struct redis_model_value *value = n == 0 ? run->a : run->b;
        if (!is(run, value, REDIS_MODEL_LIST))
            return;
        if (value->type == REDIS_MODEL_NONE)
            continue;
        redis_model_say(run->out, "[k%u [%u]]", run->command->key[n], pop(value, true));
        return;
    }
    say_nil(run);
}

static void move_say(struct run *run, bool from_left, bool to_left)
{
    if (run->a->type == REDIS_MODEL_NONE) {
        say_nil(run);
        return;
    }
    if (!is(run, run->a, REDIS_MODEL_LIST) || !is(run, run->b, REDIS_MODEL_LIST))
        return;
    unsigned element = pop(run->a, from_left);
    push(run, run->b, element, to_left);
    say_number(run, element);
}

static void apply_LMOVE(struct run *run)
{
    move_say(run, true, false);
}

static void apply_RPOPLPUSH(struct run *run)
{
    move_say(run, false, true);
}

static void apply_LRANGE(struct run *run)
{
    if (!is(run, run->a, REDIS_MODEL_LIST))
        return;
    bool first = true;
    for (unsigned n = 0; n < run->a->count; n++) {
        say_next(run, &first);
        say_number(run, run->a->at[n]);
    }
    say_end(run, first);
}

static void count_say(struct run *run, enum redis_model_type type)
{
    if (is(run, run->a, type))
        say_number(run, run->a->count);
}

static void apply_LLEN(struct run *run)
{
    count_say(run, REDIS_MODEL_LIST);
}

/* --------------------------------------------------------------------------------------- sets */

/* Both members are put with what comes with them; the reply is how many are new. */
static void put_say(struct run *run, enum redis_model_type type, unsigned first, unsigned second)
{
    if (!is(run, run->a, type))
        return;
    unsigned count = put(run->a, type, run->command->member[0], first);
    count += put(run->a, type, run->command->member[1], second);
    say_number(run, count);
}

static void take_say(struct run *run, enum redis_model_type type)
{
    if (!is(run, run->a, type))
        return;
    unsigned count = take(run->a, run->command->member[0]);
    count += take(run->a, run->command->member[1]);
    say_number(run, count);
}

static void apply_SADD(struct run *run)
{
    put_say(run, REDIS_MODEL_SET, 1, 1);
}

static void apply_SREM(struct run *run)
{
    take_say(run, REDIS_MODEL_SET);
}

static void apply_SMOVE(struct run *run)
{
    unsigned member = run->command->member[0];
    if (run->a->type == REDIS_MODEL_NONE) {
        say_number(run, 0);
        return;
    }
    if (!is(run, run->a, REDIS_MODEL_SET) || !is(run, run->b, REDIS_MODEL_SET))
        return;
    bool moves = has(run->a, member) != 0;
    if (moves && run->a != run->b) {
        take(run->a, member);
        put(run->b, REDIS_MODEL_SET, member, 1);
    }
    say_number(run, moves);
}

static void apply_SISMEMBER(struct run *run)
{
    if (is(run, run->a, REDIS_MODEL_SET))
        say_number(run, has(run->a, run->command->member[0]));
}

static void members_say(struct run *run, const struct redis_model_value *value)
{
    bool first = true;
    for (unsigned m = 0; m < REDIS_MODEL_MEMBERS; m++) {
        if (has(value, m) == 0)
            continue;
        say_next(run, &first);
        say_member(run, m);
    }
    say_end(run, first);
}

static void apply_SMEMBERS(struct run *run)
{
    if (is(run, run->a, REDIS_MODEL_SET))
        members_say(run, run->a);
}

static void apply_SCARD(struct run *run)
{
    count_say(run, REDIS_MODEL_SET);
}

enum merge { UNION, INTER, DIFF };

/* The elements of both as `merge` says; of what is in both the greater, or the less when they
 * intersect. */
static struct redis_model_value merge(const struct redis_model_value *b,
                                      const struct redis_model_value *c, enum merge how,
                                      enum redis_model_type type)
{
    struct redis_model_value out = {0};
    for (unsigned m = 0; m < REDIS_MODEL_MEMBERS; m++) {
        /* members of a set have the score 1 */
        unsigned left = has(b, m), right = has(c, m);
        if (type == REDIS_MODEL_ZSET) {
            left += left != 0 && b->type == REDIS_MODEL_SET;
            right += right != 0 && c->type == REDIS_MODEL_SET;
        }
        unsigned what = how == UNION   ? (left > right ? left : right)
                        : how == DIFF  ? (right != 0 ? 0 : left)
                        : left < right ? left
                                       : right;
        if (what != 0)
            put(&out, type, m, what);
    }
    return out;
}

static void apply_SUNION(struct run *run)
{
    if (!is(run, run->a, REDIS_MODEL_SET) || !is(run, run->b, REDIS_MODEL_SET))
        return;
    struct redis_model_value value = merge(run->a, run->b, UNION, REDIS_MODEL_SET);
    members_say(run, &value);
}

static void store_say(struct run *run, enum merge how)
{
    if (!is(run, run->b, REDIS_MODEL_SET) || !is(run, run->c, REDIS_MODEL_SET))
        return;
    *run->a = merge(run->b, run->c, how, REDIS_MODEL_SET);
    say_number(run, run->a->count);
}

static void apply_SINTERSTORE(struct run *run)
{
    store_say(run, INTER);
}

static void apply_SUNIONSTORE(struct run *run)
{
    store_say(run, UNION);
}

static void apply_SDIFFSTORE(struct run *run)
{
    store_say(run, DIFF);
}

/* ------------------------------------------------------------------------------------- hashes */

static void apply_HSET(struct run *run)
{
    put_say(run, REDIS_MODEL_HASH, run->command->number[0] + 1u, run->command->number[1] + 1u);
}

static void add_say(struct run *run, enum redis_model_type type)
{
    unsigned member = run->command->member[0];
    if (!is(run, run->a, type))
        return;
    unsigned old = has(run->a, member);
    put(run->a, type, member, (old == 0 ? 1 : old) + 1);
    say_number(run, old == 0 ? 1 : old);
}

static void apply_HINCRBY(struct run *run)
{
    add_say(run, REDIS_MODEL_HASH);
}

static void apply_HDEL(struct run *run)
{
    take_say(run, REDIS_MODEL_HASH);
}

static void apply_HMGET(struct run *run)
{
    if (!is(run, run->a, REDIS_MODEL_HASH))
        return;
    for (unsigned n = 0; n < 2; n++) {
        unsigned what = has(run->a, run->command->member[n]);
        say_text(run, n == 0 ? "[" : " ");
        if (what == 0)
            say_nil(run);
        else
            say_number(run, what - 1);
    }
    say_text(run, "]");
}

/* A member with its value or score. */
static void say_scored(struct run *run, unsigned member)
{
    say_member(run, member);
    say_text(run, " ");
    say_number(run, run->a->at[member] - 1u);
}

static void apply_HGETALL(struct run *run)
{
    bool first = true;
    if (!is(run, run->a, REDIS_MODEL_HASH))
        return;
    for (unsigned m = 0; m < REDIS_MODEL_MEMBERS; m++) {
        if (has(run->a, m) == 0)
            continue;
        say_next(run, &first);
        say_scored(run, m);
    }
    say_end(run, first);
}

static void apply_HLEN(struct run *run)
{
    count_say(run, REDIS_MODEL_HASH);
}

/* -------------------------------------------------------------------------------- sorted sets */

static void apply_ZADD(struct run *run)
{
    put_say(run, REDIS_MODEL_ZSET, run->command->number[0] + 1u, run->command->number[1] + 1u);
}

static void apply_ZINCRBY(struct run *run)
{
    add_say(run, REDIS_MODEL_ZSET);
}

static void apply_ZREM(struct run *run)
{
    take_say(run, REDIS_MODEL_ZSET);
}

/* The members of a sorted set by score, and by themselves; gives their number. */
static unsigned ranks(const struct redis_model_value *value, unsigned out[REDIS_MODEL_MEMBERS])
{
    unsigned count = 0;
    for (unsigned m = 0; m < REDIS_MODEL_MEMBERS; m++) {
        if (has(value, m) == 0)
            continue;
        unsigned at = count++;
        for (; at > 0 && value->at[out[at - 1]] > value->at[m]; at--)
            out[at] = out[at - 1];
        out[at] = m;
    }
    return count;
}

static void apply_ZPOPMIN(struct run *run)
{
    unsigned order[REDIS_MODEL_MEMBERS];
    if (!is(run, run->a, REDIS_MODEL_ZSET))
        return;
    if (ranks(run->a, order) == 0) {
        say_text(run, "[]");
        return;
    }
    say_text(run, "[");
    say_scored(run, order[0]);
    say_text(run, "]");
    take(run->a, order[0]);
}

static void apply_ZRANGE(struct run *run)
{
    unsigned order[REDIS_MODEL_MEMBERS];
    if (!is(run, run->a, REDIS_MODEL_ZSET))
        return;
    unsigned count = ranks(run->a, order);
    bool first = true;
    for (unsigned n = 0; n < count; n++) {
        say_next(run, &first);
        say_scored(run, order[n]);
    }
    say_end(run, first);
}

static void apply_ZRANK(struct run *run)
{
    unsigned order[REDIS_MODEL_MEMBERS];
    if (!is(run, run->a, REDIS_MODEL_ZSET))
        return;
    unsigned count = ranks(run->a, order);
    for (unsigned n = 0; n < count; n++)
        if (order[n] == run->command->member[0]) {
            say_number(run, n);
            return;
        }
    say_nil(run);
}

static void apply_ZCARD(struct run *run)
{
    count_say(run, REDIS_MODEL_ZSET);
}

static void apply_ZRANGESTORE(struct run *run)
{
    if (!is(run, run->b, REDIS_MODEL_ZSET))
        return;
    struct redis_model_value value = *run->b;
    *run->a = value;
    say_number(run, value.count);
}

/* Sets are taken for sorted ones with the score 1 everywhere. */
static bool is_any_set(struct run *run, const struct redis_model_value *value)
{
    return value->type == REDIS_MODEL_SET || is(run, value, REDIS_MODEL_ZSET);
}

static void sorted_store_say(struct run *run, enum merge how)
{
    if (!is_any_set(run, run->b) || !is_any_set(run, run->c))
        return;
    *run->a = merge(run->b, run->c, how, REDIS_MODEL_ZSET);
    say_number(run, run->a->count);
}

static void apply_ZUNIONSTORE(struct run *run)
{
    sorted_store_say(run, UNION);
}

static void apply_ZINTERSTORE(struct run *run)
{
    sorted_store_say(run, INTER);
}

static void apply_ZDIFFSTORE(struct run *run)
{
    sorted_store_say(run, DIFF);
}

#define APPLY(name, type, text) apply_##name,
static void (*const APPLIES[])(struct run *run) = {REDIS_MODEL_COMMANDS(APPLY)};

bool redis_model_apply(struct redis_model *model, const struct redis_model_command *command,
                       struct redis_model_text *reply)
{
    struct run run = {.model = model,
                      .command = command,
                      .a = &model->keys[command->key[0]],
                      .b = &model->keys[command->key[1]],
                      .c = &model->keys[command->key[2]],
                      .out = reply};
    ASSERT(command->verb < REDIS_MODEL_VERBS);
    APPLIES[command->verb](&run);
    return !run.full;
}
