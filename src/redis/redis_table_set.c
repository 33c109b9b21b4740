/* SPDX-License-Identifier: Apache-2.0 */

/* Rows of the command table: commands on sets. In order of name. */
#include "redis/redis_table.h"

const struct redis_command redis__set_commands[] = {
    {"sadd", -3, W | M | F | ONE, KEY,
     "Adds one or more members to a set. Creates the key if it doesn't exist.", "1.0.0", "set",
     redis__sadd},
    {"scard", 2, R | F | ONE, KEY, "Returns the number of members in a set.", "1.0.0", "set",
     redis__scard},
    {"sdiff", -2, R, KEYS, "Returns the difference of multiple sets.", "1.0.0", "set",
     redis__sdiff},
    {"sdiffstore", -3, W | M, KEYS, "Stores the difference of multiple sets in a key.", "1.0.0",
     "set", redis__sdiffstore},
    {"sinter", -2, R, KEYS, "Returns the intersect of multiple sets.", "1.0.0", "set",
     redis__sinter},
    {"sintercard", -3, R | MOVABLE, NUMKEYS(1),
     "Returns the number of members of the intersect of multiple sets.", "7.0.0", "set",
     redis__sintercard},
    {"sinterstore", -3, W | M, KEYS, "Stores the intersect of multiple sets in a key.", "1.0.0",
     "set", redis__sinterstore},
    {"sismember", 3, R | F | ONE, KEY, "Determines whether a member belongs to a set.", "1.0.0",
     "set", redis__sismember},
    {"smembers", 2, R | ONE, KEY, "Returns all members of a set.", "1.0.0", "set", redis__smembers},
    {"smismember", -3, R | F | ONE, KEY, "Determines whether multiple members belong to a set.",
     "6.2.0", "set", redis__smismember},
    {"smove", 4, W | F, TWO_KEYS, "Moves a member from one set to another.", "1.0.0", "set",
     redis__smove},
    {"spop", -2, W | F | ONE, KEY,
     "Returns one or more random members from a set after removing them. Deletes the set if the "
     "last member was popped.",
     "1.0.0", "set", redis__spop},
    {"srandmember", -2, R | ONE, KEY, "Get one or multiple random members from a set", "1.0.0",
     "set", redis__srandmember},
    {"srem", -3, W | F | ONE, KEY,
     "Removes one or more members from a set. Deletes the set if the last member was removed.",
     "1.0.0", "set", redis__srem},
    {"sscan", -3, R | ONE, KEY, "Iterates over members of a set.", "2.8.0", "set", redis__sscan},
    {"sunion", -2, R, KEYS, "Returns the union of multiple sets.", "1.0.0", "set", redis__sunion},
    {"sunionstore", -3, W | M, KEYS, "Stores the union of multiple sets in a key.", "1.0.0", "set",
     redis__sunionstore},
    {.name = NULL},
};
