/* SPDX-License-Identifier: Apache-2.0 */

/* Rows of the command table: bits and HyperLogLog. In order of name. */
#include "redis/redis_table.h"

const struct redis_command redis__bit_commands[] = {
    {"bitcount", -2, R | ONE, KEY,
     "Counts the number of set bits (population counting) in a string.", "2.6.0", "bitmap",
     redis__bitcount},
    {"bitfield", -2, W | M | ONE, KEY, "Performs arbitrary bitfield integer operations on strings.",
     "3.2.0", "bitmap", redis__bitfield},
    {"bitfield_ro", -2, R | F | ONE, KEY,
     "Performs arbitrary read-only bitfield integer operations on strings.", "6.0.0", "bitmap",
     redis__bitfield_ro},
    {"bitop", -4, W | M, 2, -1, 1, 0,
     "Performs bitwise operations on multiple strings, and stores the result.", "2.6.0", "bitmap",
     redis__bitop},
    {"bitpos", -3, R | ONE, KEY, "Finds the first set (1) or clear (0) bit in a string.", "2.8.7",
     "bitmap", redis__bitpos},
    {"getbit", 3, R | F | ONE, KEY, "Returns a bit value by offset.", "2.2.0", "bitmap",
     redis__getbit},
    {"pfadd", -2, W | M | F | ONE, KEY,
     "Adds elements to a HyperLogLog key. Creates the key if it doesn't exist.", "2.8.9",
     "hyperloglog", redis__pfadd},
    {"pfcount", -2, R, KEYS,
     "Returns the approximated cardinality of the set(s) observed by the HyperLogLog key(s).",
     "2.8.9", "hyperloglog", redis__pfcount},
    {"pfdebug", 3, W | M | ONE, 2, 2, 1, 0, "Internal commands for debugging HyperLogLog values.",
     "2.8.9", "hyperloglog", redis__pfdebug},
    {"pfmerge", -2, W | M, KEYS, "Merges one or more HyperLogLog values into a single key.",
     "2.8.9", "hyperloglog", redis__pfmerge},
    {"pfselftest", 1, R, 0, 0, 0, 0, "An internal command for testing HyperLogLog values.", "2.8.9",
     "hyperloglog", redis__pfselftest},
    {"setbit", 4, W | M | ONE, KEY,
     "Sets or clears the bit at offset of the string value. Creates the key if it doesn't exist.",
     "2.2.0", "bitmap", redis__setbit},
    {.name = NULL},
};
