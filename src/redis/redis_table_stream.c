/* SPDX-License-Identifier: Apache-2.0 */

/* Rows of the command table: commands on streams. In order of name. */
#include "redis/redis_table.h"

const struct redis_command redis__stream_commands[] = {
    {"xack", -4, W | F | ONE, KEY,
     "Returns the number of messages that were successfully acknowledged by the consumer group "
     "member of a stream.",
     "5.0.0", "stream", redis__xack},
    {"xadd", -5, W | M | F | ONE, KEY,
     "Appends a new message to a stream. Creates the key if it doesn't exist.", "5.0.0", "stream",
     redis__xadd},
    {"xautoclaim", -6, W | F | ONE, KEY,
     "Changes, or acquires, ownership of messages in a consumer group, as if the messages were "
     "delivered to as consumer group member.",
     "6.2.0", "stream", redis__xautoclaim},
    {"xclaim", -6, W | F | ONE, KEY,
     "Changes, or acquires, ownership of a message in a consumer group, as if the message was "
     "delivered a consumer group member.",
     "5.0.0", "stream", redis__xclaim},
    {"xdel", -3, W | F | ONE, KEY,
     "Returns the number of messages after removing them from a stream.", "5.0.0", "stream",
     redis__xdel},
    {"xgroup", -2, W | M | ONE | REDIS_CONTAINER, 2, 2, 1, 0,
     "A container for consumer groups commands.", "5.0.0", "stream", redis__xgroup},
    {"xinfo", -2, R | ONE | REDIS_CONTAINER, 2, 2, 1, 0,
     "A container for stream introspection commands.", "5.0.0", "stream", redis__xinfo},
    {"xlen", 2, R | F | ONE, KEY, "Return the number of messages in a stream.", "5.0.0", "stream",
     redis__xlen},
    {"xpending", -3, R | ONE, KEY,
     "Returns the information and entries from a stream consumer group's pending entries list.",
     "5.0.0", "stream", redis__xpending},
    {"xrange", -4, R | ONE, KEY, "Returns the messages from a stream within a range of IDs.",
     "5.0.0", "stream", redis__xrange},
    {"xread", -4, R | B | MOVABLE, NO_KEYS,
     "Returns messages from multiple streams with IDs greater than the ones requested. Blocks "
     "until a message is available otherwise.",
     "5.0.0", "stream", redis__xread},
    {"xreadgroup", -7, W | B | MOVABLE, NO_KEYS,
     "Returns new or historical messages from a stream for a consumer in a group. Blocks until a "
     "message is available otherwise.",
     "5.0.0", "stream", redis__xreadgroup},
    {"xrevrange", -4, R | ONE, KEY,
     "Returns the messages from a stream within a range of IDs in reverse order.", "5.0.0",
     "stream", redis__xrevrange},
    {"xsetid", -3, W | M | F | ONE, KEY, "An internal command for replicating stream values.",
     "5.0.0", "stream", redis__xsetid},
    {"xtrim", -4, W | ONE, KEY, "Deletes messages from the beginning of a stream.", "5.0.0",
     "stream", redis__xtrim},
    {.name = NULL},
};
