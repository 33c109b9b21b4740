/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The declarative table of Redis commands, put together from its parts, and finding one by name.
 *
 * Look-up goes through a small open-addressing table of indexes into the commands, keyed by a hash
 * of the name in lower case. It is filled once, by whoever asks first. At most half of it is used,
 * so a miss ends soon.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_spec.h"
#include "redis/redis_table.h"

static const struct redis_command *const PARTS[] = {
    redis__list_commands,   redis__string_commands, redis__key_commands,
    redis__stream_commands, redis__bit_commands,    redis__hash_commands,
    redis__set_commands,    redis__zset_commands,   redis__geo_commands,
};

enum { COMMANDS_MAX = 512, SLOT_COUNT = 1024 };
STATIC_ASSERT(COMMANDS_MAX * 2 <= SLOT_COUNT);

static const struct redis_command *commands[COMMANDS_MAX]; /* in order of name */
static unsigned command_count;
static uint16_t slots[SLOT_COUNT]; /* index + 1, 0 is free */
static pthread_once_t slots_once = PTHREAD_ONCE_INIT;

static unsigned name_hash(const char *name, size_t size)
{
    uint32_t hash =
        2166136261u; /* FNV-1a; | 32 folds the case of letters, and only the comparison decides */
    for (size_t n = 0; n < size; n++)
        hash = (hash ^ ((unsigned char)name[n] | 32)) * 16777619u;
    return (hash ^ hash >> 15) % SLOT_COUNT;
}

static int by_name(const void *left, const void *right)
{
    return strcmp((*(const struct redis_command *const *)left)->name,
                  (*(const struct redis_command *const *)right)->name);
}

static void slots_fill(void)
{
    for (unsigned part = 0; part < sizeof PARTS / sizeof *PARTS; part++)
        for (const struct redis_command *row = PARTS[part]; row->name; row++) {
            ASSERT(command_count < COMMANDS_MAX);
            commands[command_count++] = row;
        }
    qsort(commands, command_count, sizeof *commands, by_name);
    for (unsigned n = 0; n < command_count; n++) {
        unsigned slot = name_hash(commands[n]->name, strlen(commands[n]->name));
        while (slots[slot])
            slot = (slot + 1) % SLOT_COUNT;
        slots[slot] = (uint16_t)(n + 1);
    }
}

const struct redis_command *redis_command_find(const char *name, size_t size)
{
    enum { COMMAND_NAME_SIZE_MAX = 32 };
    pthread_once(&slots_once, slots_fill);
    if (size > COMMAND_NAME_SIZE_MAX)
        return NULL;
    for (unsigned slot = name_hash(name, size); slots[slot]; slot = (slot + 1) % SLOT_COUNT) {
        const struct redis_command *command = commands[slots[slot] - 1];
        if (strncasecmp(command->name, name, size) == 0 && command->name[size] == 0)
            return command;
    }
    return NULL;
}

const struct redis_command *redis_command_at(unsigned n)
{
    pthread_once(&slots_once, slots_fill);
    return n < command_count ? commands[n] : NULL;
}

int redis_command_check(const struct redis_command *command, const struct redis_slice *argv,
                        unsigned argc)
{
    bool right =
        command->arity > 0 ? argc == (unsigned)command->arity : argc >= (unsigned)-command->arity;
    if (!right)
        return diag_set(ERROR_INVALID, "wrong number of arguments for '%s' command", command->name);
    return command->flags & REDIS_CONTAINER ? redis_subcommand_check(argv, argc) : 0;
}

int redis_command_run(const struct redis_command *command, struct redis_call *call)
{
    txn_spare(call->txn,
              call->granted || (command->flags & (REDIS_WRITE | REDIS_DENY_OOM)) == REDIS_WRITE);
    int rc = command->run(call);
    txn_spare(call->txn, false);
    return rc;
}
