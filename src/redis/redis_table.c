/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The declarative table of Redis commands, and finding one by name.
 *
 * Look-up goes through a small open-addressing table of indexes into the commands, keyed by a hash
 * of the name in lower case. It is filled once, by whoever asks first. At most half of it is used,
 * so a miss ends soon.
 */
#include <pthread.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "redis/redis.h"
#include "redis/redis_commands.h"

#define W       REDIS_WRITE
#define R       REDIS_READONLY
#define F       REDIS_FAST
#define M       REDIS_DENY_OOM
#define ONE     REDIS_ONE_ROW
#define KEY     1, 1, 1
#define KEYS    1, -1, 1
#define PAIRS   1, -1, 2
#define NO_KEYS 0, 0, 0

/* In order of name. */
static const struct redis_command COMMANDS[] = {
    {"append", 3, W | M | F | ONE, KEY, "Appends a string to the value of a key.", "2.0.0",
     "string", redis__append},
    {"dbsize", 1, R | F, NO_KEYS, "Returns the number of keys in the database.", "1.0.0", "server",
     redis__dbsize},
    {"decr", 2, W | M | F | ONE, KEY, "Decrements the integer value of a key by one.", "1.0.0",
     "string", redis__decr},
    {"decrby", 3, W | M | F | ONE, KEY, "Decrements a number from the integer value of a key.",
     "1.0.0", "string", redis__decrby},
    {"del", -2, W, KEYS, "Deletes one or more keys.", "1.0.0", "generic", redis__del},
    {"exists", -2, R | F, KEYS, "Determines whether one or more keys exist.", "1.0.0", "generic",
     redis__exists},
    {"expire", -3, W | F | ONE, KEY, "Sets the expiration time of a key in seconds.", "1.0.0",
     "generic", redis__expire},
    {"expireat", -3, W | F | ONE, KEY, "Sets the expiration time of a key to a Unix timestamp.",
     "1.2.0", "generic", redis__expireat},
    {"expiretime", 2, R | F | ONE, KEY, "Returns the expiration time of a key as a Unix timestamp.",
     "7.0.0", "generic", redis__expiretime},
    {"flushall", -1, W | REDIS_GATE, NO_KEYS, "Removes all keys from all databases.", "1.0.0",
     "server", redis__flushall},
    {"flushdb", -1, W | REDIS_GATE, NO_KEYS, "Removes all keys from the current database.", "1.0.0",
     "server", redis__flushall},
    {"get", 2, R | F | ONE, KEY, "Returns the string value of a key.", "1.0.0", "string",
     redis__get},
    {"getdel", 2, W | F | ONE, KEY, "Returns the string value of a key after deleting the key.",
     "6.2.0", "string", redis__getdel},
    {"getex", -2, W | F | ONE, KEY,
     "Returns the string value of a key after setting its expiration time.", "6.2.0", "string",
     redis__getex},
    {"getrange", 4, R | ONE, KEY, "Returns a substring of the string stored at a key.", "2.4.0",
     "string", redis__getrange},
    {"getset", 3, W | M | F | ONE, KEY,
     "Returns the previous string value of a key after setting it to a new value.", "1.0.0",
     "string", redis__getset},
    {"incr", 2, W | M | F | ONE, KEY, "Increments the integer value of a key by one.", "1.0.0",
     "string", redis__incr},
    {"incrby", 3, W | M | F | ONE, KEY, "Increments the integer value of a key by a number.",
     "1.0.0", "string", redis__incrby},
    {"keys", 2, R, NO_KEYS, "Returns all key names that match a pattern.", "1.0.0", "generic",
     redis__keys},
    {"mget", -2, R | F, KEYS, "Atomically returns the string values of one or more keys.", "1.0.0",
     "string", redis__mget},
    {"mset", -3, W | M, PAIRS,
     "Atomically creates or modifies the string values of one or more keys.", "1.0.1", "string",
     redis__mset},
    {"msetnx", -3, W | M, PAIRS,
     "Atomically modifies the string values of one or more keys only when all keys don't exist.",
     "1.0.1", "string", redis__msetnx},
    {"persist", 2, W | F | ONE, KEY, "Removes the expiration time of a key.", "2.2.0", "generic",
     redis__persist},
    {"pexpire", -3, W | F | ONE, KEY, "Sets the expiration time of a key in milliseconds.", "2.6.0",
     "generic", redis__pexpire},
    {"pexpireat", -3, W | F | ONE, KEY,
     "Sets the expiration time of a key to a Unix milliseconds timestamp.", "2.6.0", "generic",
     redis__pexpireat},
    {"pexpiretime", 2, R | F | ONE, KEY,
     "Returns the expiration time of a key as a Unix milliseconds timestamp.", "7.0.0", "generic",
     redis__pexpiretime},
    {"psetex", 4, W | M | ONE, KEY,
     "Sets both string value and expiration time in milliseconds of a key.", "2.6.0", "string",
     redis__psetex},
    {"pttl", 2, R | F | ONE, KEY, "Returns the expiration time in milliseconds of a key.", "2.6.0",
     "generic", redis__pttl},
    {"publish", 3, W | F | ONE, NO_KEYS, "Posts a message to a channel.", "2.0.0", "pubsub",
     redis__publish},
    {"scan", -2, R, NO_KEYS, "Iterates over the key names in the database.", "2.8.0", "generic",
     redis__scan},
    {"set", -3, W | M | ONE, KEY, "Sets the string value of a key, ignoring its type.", "1.0.0",
     "string", redis__set},
    {"setex", 4, W | M | ONE, KEY, "Sets the string value and expiration time of a key.", "2.0.0",
     "string", redis__setex},
    {"setnx", 3, W | M | F | ONE, KEY,
     "Sets the string value of a key only when the key doesn't exist.", "1.0.0", "string",
     redis__setnx},
    {"strlen", 2, R | F | ONE, KEY, "Returns the length of a string value.", "2.2.0", "string",
     redis__strlen},
    {"substr", 4, R | ONE, KEY, "Returns a substring from a string value.", "1.0.0", "string",
     redis__getrange},
    {"ttl", 2, R | F | ONE, KEY, "Returns the expiration time in seconds of a key.", "1.0.0",
     "generic", redis__ttl},
    {"type", 2, R | F | ONE, KEY, "Determines the type of value stored at a key.", "1.0.0",
     "generic", redis__type},
    {"unlink", -2, W | F, KEYS, "Asynchronously deletes one or more keys.", "4.0.0", "generic",
     redis__del},
};

enum { COMMAND_COUNT = sizeof COMMANDS / sizeof *COMMANDS, SLOT_COUNT = 256 };
STATIC_ASSERT(COMMAND_COUNT * 2 <= SLOT_COUNT);

static uint8_t slots[SLOT_COUNT]; /* index + 1, 0 is free */
static pthread_once_t slots_once = PTHREAD_ONCE_INIT;

static unsigned name_hash(const char *name, size_t size)
{
    uint32_t hash =
        2166136261u; /* FNV-1a; | 32 folds the case of letters, and only the comparison decides */
    for (size_t n = 0; n < size; n++)
        hash = (hash ^ ((unsigned char)name[n] | 32)) * 16777619u;
    return (hash ^ hash >> 15) % SLOT_COUNT;
}

static void slots_fill(void)
{
    for (unsigned n = 0; n < COMMAND_COUNT; n++) {
        unsigned slot = name_hash(COMMANDS[n].name, strlen(COMMANDS[n].name));
        while (slots[slot])
            slot = (slot + 1) % SLOT_COUNT;
        slots[slot] = (uint8_t)(n + 1);
    }
}

const struct redis_command *redis_command_find(const char *name, size_t size)
{
    enum { COMMAND_NAME_SIZE_MAX = 32 };
    pthread_once(&slots_once, slots_fill);
    if (size > COMMAND_NAME_SIZE_MAX)
        return NULL;
    for (unsigned slot = name_hash(name, size); slots[slot]; slot = (slot + 1) % SLOT_COUNT) {
        const struct redis_command *command = &COMMANDS[slots[slot] - 1];
        if (strncasecmp(command->name, name, size) == 0 && command->name[size] == 0)
            return command;
    }
    return NULL;
}

const struct redis_command *redis_command_at(unsigned n)
{
    return n < COMMAND_COUNT ? &COMMANDS[n] : NULL;
}

int redis_command_check(const struct redis_command *command, unsigned argc)
{
    bool right =
        command->arity > 0 ? argc == (unsigned)command->arity : argc >= (unsigned)-command->arity;
    return right ? 0
                 : diag_set(ERROR_INVALID, "wrong number of arguments for '%s' command",
                            command->name);
}
