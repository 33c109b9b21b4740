/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_SPEC_H
#define REDIS_REDIS_SPEC_H

/*
 * What is published about a command besides what is needed to run it: the words that COMMAND INFO
 * shows, the ACL categories, which arguments are keys and what is done to them, the arguments'
 * grammar. One row a command or subcommand, by name; commands of modules have none.
 *
 * Tips are words with a space between. Keys and arguments are written in two small languages:
 *
 *   keys:      "RW,access,update 1 0,1,0; OW,update STORE@2 0,1,0"
 *              flags, where they begin (an argument; KEYWORD@from there; ? unknown), which follow:
 *              last,step,limit as Redis has them; n0,1,1 for a number of keys, the first behind it
 *              and the step; ? unknown.
 *   arguments: "@0:key $value |condition(!nx=NX !xx=XX)?^2.6.12"
 *              a sign of the type ($ string, # integer, % double, ~ pattern, & Unix time, @ key,
 *              ! token alone, | one of, + block), the number of the key specification and a colon,
 *              name, =TOKEN or ='TOKEN', (what it consists of), ^since, ? optional, * several, ** each with the
 *              token.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redis_slice;

enum redis_spec_flags {
    SPEC_WRITE = 1 << 0,
    SPEC_READONLY = 1 << 1,
    SPEC_DENYOOM = 1 << 2,
    SPEC_ADMIN = 1 << 3,
    SPEC_PUBSUB = 1 << 4,
    SPEC_NOSCRIPT = 1 << 5,
    SPEC_BLOCKING = 1 << 6,
    SPEC_LOADING = 1 << 7,
    SPEC_STALE = 1 << 8,
    SPEC_ASKING = 1 << 9,
    SPEC_FAST = 1 << 10,
    SPEC_NO_AUTH = 1 << 11,
    SPEC_NO_ASYNC_LOADING = 1 << 12,
    SPEC_NO_MULTI = 1 << 13,
    SPEC_ALLOW_BUSY = 1 << 14,
    SPEC_SKIP_MONITOR = 1 << 15,
    SPEC_SKIP_SLOWLOG = 1 << 16,
    SPEC_NO_MANDATORY_KEYS = 1 << 17,
    SPEC_MOVABLEKEYS = 1 << 18
};

/* ACL categories, in the order in which ACL CAT lists them. */
enum redis_category {
    CATEGORY_KEYSPACE = 1 << 0,
    CATEGORY_READ = 1 << 1,
    CATEGORY_WRITE = 1 << 2,
    CATEGORY_SET = 1 << 3,
    CATEGORY_SORTEDSET = 1 << 4,
    CATEGORY_LIST = 1 << 5,
    CATEGORY_HASH = 1 << 6,
    CATEGORY_STRING = 1 << 7,
    CATEGORY_BITMAP = 1 << 8,
    CATEGORY_HYPERLOGLOG = 1 << 9,
    CATEGORY_GEO = 1 << 10,
    CATEGORY_STREAM = 1 << 11,
    CATEGORY_PUBSUB = 1 << 12,
    CATEGORY_ADMIN = 1 << 13,
    CATEGORY_FAST = 1 << 14,
    CATEGORY_SLOW = 1 << 15,
    CATEGORY_BLOCKING = 1 << 16,
    CATEGORY_DANGEROUS = 1 << 17,
    CATEGORY_CONNECTION = 1 << 18,
    CATEGORY_TRANSACTION = 1 << 19,
    CATEGORY_SCRIPTING = 1 << 20
};
enum { REDIS_CATEGORY_COUNT = 21 };

struct redis_spec {
    const char *name; /* lower case; "client|id" */
    int arity;        /* as in struct redis_command */
    uint32_t flags;
    uint32_t categories; /* besides those that follow from the flags: see redis_spec_categories */
    const char *tips, *keys, *arguments, *complexity; /* each NULL: none */
    const char *deprecated_since, *replaced_by;
};

/* The row of a command, name in lower case; NULL: none. */
const struct redis_spec *redis_spec_find(const char *name);

/* All rows, those of data first; NULL behind the last. */
const struct redis_spec *redis_spec_at(unsigned n);

/* The subcommand of argv[0] that argv[1] names; NULL: none. */
const struct redis_spec *redis_subcommand_find(const struct redis_slice *argv);

/* Whether there is one and the number of arguments is right for it: 0, or ERROR_INVALID with
 * Redis's message. */
int redis_subcommand_check(const struct redis_slice *argv, unsigned argc);

/* All categories of a command: enum redis_category. */
uint32_t redis_spec_categories(const struct redis_spec *spec);

/* The word of bit n ("write", "keyspace"); NULL behind the last. */
const char *redis_spec_flag_name(unsigned n);
const char *redis_category_name(unsigned n);

/* ----------------------------------------------------------------------------------------- keys */

/* What a command does to a key. */
enum redis_key_flags {
    KEY_RO = 1 << 0,
    KEY_RW = 1 << 1,
    KEY_OW = 1 << 2,
    KEY_RM = 1 << 3,
    KEY_ACCESS = 1 << 4,
    KEY_UPDATE = 1 << 5,
    KEY_INSERT = 1 << 6,
    KEY_DELETE = 1 << 7,
    KEY_NOT_KEY = 1 << 8,
    KEY_INCOMPLETE = 1 << 9,
    KEY_VARIABLE_FLAGS = 1 << 10
};
const char *redis_key_flag_name(unsigned n);

enum redis_begin { BEGIN_INDEX, BEGIN_KEYWORD, BEGIN_UNKNOWN };
enum redis_follow { FOLLOW_RANGE, FOLLOW_NUMBER, FOLLOW_UNKNOWN };

/* One key specification. */
struct redis_key_spec {
    unsigned flags;
    enum redis_begin begin;
    int index; /* or where the search for the keyword begins */
    char keyword[16];
    enum redis_follow follow;
    int follows[3]; /* last, step, limit; or number, first, step */
};

/* Reads the next specification from *at, which is spec->keys at first. False at the end. */
bool redis_key_spec_next(const char **at, struct redis_key_spec *out);

struct redis_key_at {
    unsigned at, flags; /* an argument, and enum redis_key_flags */
};

/* Which arguments of this call are keys, in Redis's order: their number, of which at most `max` are
 * put into `out`; -1 when the arguments are not as the command has them. argv[0] is the command. */
int redis_spec_keys(const struct redis_spec *spec, const struct redis_slice *argv, unsigned argc,
                    struct redis_key_at *out, unsigned max);

/* ------------------------------------------------------------------------------------ arguments */

struct redis_argument {
    const char *type;          /* Redis's word */
    const char *name, *token;  /* not ended by 0; token NULL: none */
    const char *parts, *since; /* what it consists of, text of the same language; or NULL */
    size_t name_size, token_size, parts_size, since_size;
    int key_spec; /* -1: none */
    bool optional, multiple, multiple_token;
};

/* Reads the next argument of text[0..*size), advancing both. False at the end. */
bool redis_argument_next(const char **text, size_t *size, struct redis_argument *out);

#endif
