/* SPDX-License-Identifier: Apache-2.0 */

/* Rows of the command table: commands on lists. In order of name. */
#include "redis/redis_table.h"

const struct redis_command redis__list_commands[] = {
    {"blmove", 6, W | M | B | REDIS_NOSCRIPT, TWO_KEYS,
     "Pops an element from a list, pushes it to another list and returns it. Blocks until an "
     "element is available otherwise. Deletes the list if the last element was moved.",
     "6.2.0", "list", redis__blmove},
    {"blmpop", -5, W | B | MOVABLE, NUMKEYS(2),
     "Pops the first element from one of multiple lists. Blocks until an element is available "
     "otherwise. Deletes the list if the last element was popped.",
     "7.0.0", "list", redis__blmpop},
    {"blpop", -3, W | B | REDIS_NOSCRIPT, 1, -2, 1, 0,
     "Removes and returns the first element in a list. Blocks until an element is available "
     "otherwise. Deletes the list if the last element was popped.",
     "2.0.0", "list", redis__blpop},
    {"brpop", -3, W | B | REDIS_NOSCRIPT, 1, -2, 1, 0,
     "Removes and returns the last element in a list. Blocks until an element is available "
     "otherwise. Deletes the list if the last element was popped.",
     "2.0.0", "list", redis__brpop},
    {"brpoplpush", 4, W | M | B | REDIS_NOSCRIPT, TWO_KEYS,
     "Pops an element from a list, pushes it to another list and returns it. Block until an "
     "element is available otherwise. Deletes the list if the last element was popped.",
     "2.2.0", "list", redis__brpoplpush},
    {"lindex", 3, R | ONE, KEY, "Returns an element from a list by its index.", "1.0.0", "list",
     redis__lindex},
    {"linsert", 5, W | M | ONE, KEY,
     "Inserts an element before or after another element in a list.", "2.2.0", "list",
     redis__linsert},
    {"llen", 2, R | F | ONE, KEY, "Returns the length of a list.", "1.0.0", "list", redis__llen},
    {"lmove", 5, W | M, TWO_KEYS,
     "Returns an element after popping it from one list and pushing it to another. Deletes the "
     "list if the last element was moved.",
     "6.2.0", "list", redis__lmove},
    {"lmpop", -4, W | MOVABLE, NUMKEYS(1),
     "Returns multiple elements from a list after removing them. Deletes the list if the last "
     "element was popped.",
     "7.0.0", "list", redis__lmpop},
    {"lpop", -2, W | F | ONE, KEY,
     "Returns the first elements in a list after removing it. Deletes the list if the last element "
     "was popped.",
     "1.0.0", "list", redis__lpop},
    {"lpos", -3, R | ONE, KEY, "Returns the index of matching elements in a list.", "6.0.6", "list",
     redis__lpos},
    {"lpush", -3, W | M | F | ONE, KEY,
     "Prepends one or more elements to a list. Creates the key if it doesn't exist.", "1.0.0",
     "list", redis__lpush},
    {"lpushx", -3, W | M | F | ONE, KEY,
     "Prepends one or more elements to a list only when the list exists.", "2.2.0", "list",
     redis__lpushx},
    {"lrange", 4, R | ONE, KEY, "Returns a range of elements from a list.", "1.0.0", "list",
     redis__lrange},
    {"lrem", 4, W | ONE, KEY,
     "Removes elements from a list. Deletes the list if the last element was removed.", "1.0.0",
     "list", redis__lrem},
    {"lset", 4, W | M | ONE, KEY, "Sets the value of an element in a list by its index.", "1.0.0",
     "list", redis__lset},
    {"ltrim", 4, W | ONE, KEY,
     "Removes elements from both ends a list. Deletes the list if all elements were trimmed.",
     "1.0.0", "list", redis__ltrim},
    {"rpop", -2, W | F | ONE, KEY,
     "Returns and removes the last elements of a list. Deletes the list if the last element was "
     "popped.",
     "1.0.0", "list", redis__rpop},
    {"rpoplpush", 3, W | M, TWO_KEYS,
     "Returns the last element of a list after removing and pushing it to another list. Deletes "
     "the list if the last element was popped.",
     "1.2.0", "list", redis__rpoplpush},
    {"rpush", -3, W | M | F | ONE, KEY,
     "Appends one or more elements to a list. Creates the key if it doesn't exist.", "1.0.0",
     "list", redis__rpush},
    {"rpushx", -3, W | M | F | ONE, KEY, "Appends an element to a list only when the list exists.",
     "2.2.0", "list", redis__rpushx},
    {.name = NULL},
};
