/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Finding the row of a command in the two tables of redis_spec_data.c and redis_spec_server.c, and
 * reading what its keys and arguments say. Key positions follow Redis's algorithm for key
 * specifications; where those are incomplete or depend on other arguments (SET, SORT, BITFIELD,
 * GEORADIUS), a function of the command's own takes over, as there.
 */
#include "redis/redis_spec.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "redis/redis.h"
#include "redis/redis_spec_tables.h"
#include "redis/redis_value.h"

enum { SPEC_NAME_MAX = 64 };

static int by_name(const void *name, const void *row)
{
    return strcmp(name, ((const struct redis_spec *)row)->name);
}

const struct redis_spec *redis_spec_find(const char *name)
{
    const struct redis_spec *found =
        bsearch(name, redis__spec_data, redis__spec_data_count, sizeof *redis__spec_data, by_name);
    return found ? found
                 : bsearch(name, redis__spec_server, redis__spec_server_count,
                           sizeof *redis__spec_server, by_name);
}

/* Appends a name in lower or upper case; false when there is no room, or it has a zero byte, as no name has. */
static bool name_add(char *name, size_t room, size_t *size, const struct redis_slice *part, bool up)
{
    if (part->size >= room - *size)
        return false;
    for (size_t n = 0; n < part->size; n++) {
        int c = (unsigned char)part->data[n];
        name[(*size)++] = (char)(up ? toupper(c) : tolower(c));
    }
    name[*size] = 0;
    return strlen(name) == *size;
}

static int subcommand_unknown(const struct redis_slice *argv)
{
    enum { SHOWN_MAX = 128 };
    char name[SPEC_NAME_MAX] = "";
    size_t size = 0;
    name_add(name, sizeof name, &size, &argv[0], true);
    return diag_set(ERROR_INVALID, "unknown subcommand '%.*s'. Try %s HELP.",
                    (int)(argv[1].size < SHOWN_MAX ? argv[1].size : SHOWN_MAX), argv[1].data, name);
}

const struct redis_spec *redis_subcommand_find(const struct redis_slice *argv)
{
    char name[SPEC_NAME_MAX];
    size_t size = 0;
    const struct redis_slice bar = {"|", 1};
    bool fits = name_add(name, sizeof name, &size, &argv[0], false) &&
                name_add(name, sizeof name, &size, &bar, false) &&
                name_add(name, sizeof name, &size, &argv[1], false);
    return fits ? redis_spec_find(name) : NULL;
}

int redis_subcommand_check(const struct redis_slice *argv, unsigned argc)
{
    const struct redis_spec *spec = redis_subcommand_find(argv);
    if (!spec)
        return subcommand_unknown(argv);
    bool right = spec->arity > 0 ? argc == (unsigned)spec->arity : argc >= (unsigned)-spec->arity;
    return right
               ? 0
               : diag_set(ERROR_INVALID, "wrong number of arguments for '%s' command", spec->name);
}

const struct redis_spec *redis_spec_at(unsigned n)
{
    if (n < redis__spec_data_count)
        return &redis__spec_data[n];
    n -= redis__spec_data_count;
    return n < redis__spec_server_count ? &redis__spec_server[n] : NULL;
}

uint32_t redis_spec_categories(const struct redis_spec *spec)
{
    uint32_t out = spec->categories;
    if (spec->flags & SPEC_WRITE)
        out |= CATEGORY_WRITE;
    if ((spec->flags & SPEC_READONLY) && !(out & CATEGORY_SCRIPTING))
        out |= CATEGORY_READ;
    if (spec->flags & SPEC_ADMIN)
        out |= CATEGORY_ADMIN | CATEGORY_DANGEROUS;
    if (spec->flags & SPEC_PUBSUB)
        out |= CATEGORY_PUBSUB;
    if (spec->flags & SPEC_BLOCKING)
        out |= CATEGORY_BLOCKING;
    return out | (spec->flags & SPEC_FAST ? CATEGORY_FAST : CATEGORY_SLOW);
}

static const char *const FLAG_NAMES[] = {
    "write",        "readonly",     "denyoom",           "admin",      "pubsub",
    "noscript",     "blocking",     "loading",           "stale",      "asking",
    "fast",         "no_auth",      "no_async_loading",  "no_multi",   "allow_busy",
    "skip_monitor", "skip_slowlog", "no_mandatory_keys", "movablekeys"};
static const char *const CATEGORY_NAMES[REDIS_CATEGORY_COUNT] = {
    "keyspace", "read",   "write",       "set",       "sortedset",  "list",        "hash",
    "string",   "bitmap", "hyperloglog", "geo",       "stream",     "pubsub",      "admin",
    "fast",     "slow",   "blocking",    "dangerous", "connection", "transaction", "scripting"};
static const char *const KEY_FLAG_NAMES[] = {
    "RO",     "RW",     "OW",      "RM",         "access",        "update",
    "insert", "delete", "not_key", "incomplete", "variable_flags"};
enum { KEY_FLAG_COUNT = sizeof KEY_FLAG_NAMES / sizeof *KEY_FLAG_NAMES };

const char *redis_spec_flag_name(unsigned n)
{
    return n < sizeof FLAG_NAMES / sizeof *FLAG_NAMES ? FLAG_NAMES[n] : NULL;
}

const char *redis_category_name(unsigned n)
{
    return n < REDIS_CATEGORY_COUNT ? CATEGORY_NAMES[n] : NULL;
}

const char *redis_key_flag_name(unsigned n)
{
    return n < KEY_FLAG_COUNT ? KEY_FLAG_NAMES[n] : NULL;
}

/* ----------------------------------------------------------------------------------------- keys */

static const char *key_flags_read(const char *at, unsigned *flags)
{
    *flags = 0;
    for (;;) {
        size_t size = strcspn(at, ", ");
        for (unsigned n = 0; n < KEY_FLAG_COUNT; n++)
            if (strlen(KEY_FLAG_NAMES[n]) == size && memcmp(KEY_FLAG_NAMES[n], at, size) == 0)
                *flags |= 1u << n;
        at += size;
        if (*at != ',')
            return at;
        at++;
    }
}

static const char *numbers_read(const char *at, int out[3])
{
    char *end = NULL;
    for (unsigned n = 0; n < 3; n++) {
        out[n] = (int)strtol(at, &end, 10);
        at = *end == ',' ? end + 1 : end;
    }
    return at;
}

bool redis_key_spec_next(const char **at, struct redis_key_spec *out)
{
    const char *text = *at;
    if (!text || !*text)
        return false;
    *out = (struct redis_key_spec){.begin = BEGIN_UNKNOWN, .follow = FOLLOW_UNKNOWN};
    text = key_flags_read(text, &out->flags) + 1;
    const char *word = text;
    text += strcspn(text, " ");
    const char *from = memchr(word, '@', (size_t)(text - word));
    if (from) {
        out->begin = BEGIN_KEYWORD;
        snprintf(out->keyword, sizeof out->keyword, "%.*s", (int)(from - word), word);
        out->index = (int)strtol(from + 1, NULL, 10);
    } else if (*word != '?') {
        out->begin = BEGIN_INDEX;
        out->index = (int)strtol(word, NULL, 10);
    }
    text++;
    if (*text == '?') {
        text++;
    } else {
        out->follow = *text == 'n' ? FOLLOW_NUMBER : FOLLOW_RANGE;
        text = numbers_read(text + (*text == 'n'), out->follows);
    }
    *at = *text ? text + 2 : text;
    return true;
}

static bool word_is(const struct redis_slice *arg, const char *word)
{
    size_t size = strlen(word);
    return arg->size == size && strncasecmp(arg->data, word, size) == 0;
}

/* Where the keys of a specification begin; 0: nowhere. */
static int keys_begin(const struct redis_key_spec *spec, const struct redis_slice *argv, int argc)
{
    if (spec->begin == BEGIN_INDEX)
        return spec->index;
    if (spec->begin == BEGIN_UNKNOWN)
        return 0;
    int at = spec->index > 0 ? spec->index : argc + spec->index;
    int end = spec->index > 0 ? argc - 1 : 0, step = spec->index > 0 ? 1 : -1;
    for (; at != end && at > 0 && at < argc; at += step)
        if (word_is(&argv[at], spec->keyword))
            return at + 1;
    return 0;
}

/* The range that a specification means. 0: none of it is there; 1: found; -1: not as it has to be. */
static int keys_range(const struct redis_key_spec *spec, const struct redis_slice *argv, int argc,
                      int *first, int *last, int *step)
{
    *first = keys_begin(spec, argv, argc);
    if (*first == 0)
        return 0;
    if (spec->follow == FOLLOW_UNKNOWN)
        return 0;
    if (spec->follow == FOLLOW_RANGE) {
        int limit = spec->follows[2];
        *step = spec->follows[1];
        if (spec->follows[0] >= 0)
            *last = *first + spec->follows[0];
        else if (limit <= 1)
            *last = argc + spec->follows[0];
        else
            *last = *first + (argc - *first) / limit + spec->follows[0];
    } else {
        int64_t count;
        int at = *first + spec->follows[0];
        if (at >= argc || !redis_integer_parse(argv[at].data, argv[at].size, &count) || count < 0 ||
            count > argc)
            return -1;
        *first += spec->follows[1];
        *step = spec->follows[2];
        *last = *first + (int)count - 1;
    }
    return *last >= argc || *last < *first || *first >= argc ? -1 : 1;
}

struct keys {
    struct redis_key_at *out;
    unsigned max;
    int count;
};

static void key_add(struct keys *keys, unsigned at, unsigned flags)
{
    if ((unsigned)keys->count < keys->max)
        keys->out[keys->count] = (struct redis_key_at){at, flags};
    keys->count++;
}

/* By the specifications alone. True when they don't tell all. */
static bool keys_by_spec(const struct redis_spec *spec, const struct redis_slice *argv, int argc,
                         struct keys *keys, bool *wrong)
{
    const char *at = spec->keys;
    struct redis_key_spec key;
    bool partly = false;
    while (redis_key_spec_next(&at, &key)) {
        int first, last, step;
        partly |= (key.flags & (KEY_INCOMPLETE | KEY_VARIABLE_FLAGS)) || key.begin == BEGIN_UNKNOWN;
        if (key.flags & KEY_NOT_KEY)
            continue;
        int found = keys_range(&key, argv, argc, &first, &last, &step);
        *wrong |= found < 0;
        for (; found > 0 && first <= last; first += step)
            key_add(keys, (unsigned)first,
                    key.flags & ~(unsigned)(KEY_INCOMPLETE | KEY_VARIABLE_FLAGS));
    }
    return partly;
}

/* SET overwrites; with GET it reads as well. */
static void keys_of_set(const struct redis_slice *argv, unsigned argc, struct keys *keys)
{
    for (unsigned n = 3; n < argc; n++)
        if (word_is(&argv[n], "get")) {
            key_add(keys, 1, KEY_RW | KEY_ACCESS | KEY_UPDATE);
            return;
        }
    key_add(keys, 1, KEY_OW | KEY_UPDATE);
}

static void keys_of_bitfield(const struct redis_slice *argv, unsigned argc, struct keys *keys)
{
    bool reads = true;
    for (unsigned n = 2; n < argc && reads; n++) {
        unsigned rest = argc - n - 1;
        if (word_is(&argv[n], "get") && rest >= 2)
            n += 2;
        else if ((word_is(&argv[n], "set") || word_is(&argv[n], "incrby")) && rest >= 3)
            reads = false;
        else if (word_is(&argv[n], "overflow") && rest >= 1)
            n += 1;
        else
            reads = false;
    }
    key_add(keys, 1, reads ? KEY_RO | KEY_ACCESS : KEY_RW | KEY_ACCESS | KEY_UPDATE);
}

/* SORT key .. STORE key: the last one counts. */
static void keys_of_sort(const struct redis_slice *argv, unsigned argc, struct keys *keys)
{
    unsigned store = 0;
    key_add(keys, 1, KEY_RO | KEY_ACCESS);
    for (unsigned n = 2; n < argc; n++) {
        if (word_is(&argv[n], "limit"))
            n += 2;
        else if (word_is(&argv[n], "get") || word_is(&argv[n], "by"))
            n += 1;
        else if (word_is(&argv[n], "store") && n + 1 < argc)
            store = ++n;
    }
    if (store)
        key_add(keys, store, KEY_OW | KEY_UPDATE);
}

static void keys_of_georadius(const struct redis_slice *argv, unsigned argc, struct keys *keys)
{
    unsigned store = 0;
    for (unsigned n = 5; n + 1 < argc; n++)
        if (word_is(&argv[n], "store") || word_is(&argv[n], "storedist"))
            store = ++n;
    key_add(keys, 1, KEY_RO | KEY_ACCESS);
    if (store)
        key_add(keys, store, KEY_OW | KEY_UPDATE);
}

/* KEYS key .. at the end, in place of the one that is then empty. */
static void keys_of_migrate(const struct redis_slice *argv, unsigned argc, struct keys *keys)
{
    const unsigned flags = KEY_RW | KEY_ACCESS | KEY_DELETE;
    for (unsigned n = 6; n < argc; n++) {
        if (word_is(&argv[n], "keys")) {
            for (n++; n < argc && argv[3].size == 0; n++)
                key_add(keys, n, flags);
            return;
        }
        n += word_is(&argv[n], "auth") ? 1 : word_is(&argv[n], "auth2") ? 2 : 0;
    }
    key_add(keys, 3, flags);
}

int redis_spec_keys(const struct redis_spec *spec, const struct redis_slice *argv, unsigned argc,
                    struct redis_key_at *out, unsigned max)
{
    static const struct {
        const char *name;
        void (*find)(const struct redis_slice *argv, unsigned argc, struct keys *keys);
    } OWN[] = {{"set", keys_of_set},
               {"bitfield", keys_of_bitfield},
               {"sort", keys_of_sort},
               {"sort_ro", keys_of_sort},
               {"migrate", keys_of_migrate},
               {"georadius", keys_of_georadius},
               {"georadiusbymember", keys_of_georadius}};
    struct keys keys = {out, max, 0};
    bool wrong = false;
    if (!keys_by_spec(spec, argv, (int)argc, &keys, &wrong))
        return wrong ? -1 : keys.count;
    for (unsigned n = 0; n < sizeof OWN / sizeof *OWN; n++) {
        if (strcmp(OWN[n].name, spec->name) != 0)
            continue;
        keys.count = 0;
        OWN[n].find(argv, argc, &keys);
        return keys.count;
    }
    return wrong ? -1 : keys.count;
}

/* ------------------------------------------------------------------------------------ arguments */

static const char *type_of(char sign)
{
    static const char SIGNS[] = "$#%~&@!|+";
    static const char *const TYPES[] = {"string", "integer",    "double", "pattern", "unix-time",
                                        "key",    "pure-token", "oneof",  "block"};
    const char *at = strchr(SIGNS, sign);
    ASSERT(sign && at);
    return TYPES[at - SIGNS];
}

/* The size of text[0..size) up to the parenthesis that closes the one it begins behind. */
static size_t parts_size(const char *text, size_t size)
{
    unsigned depth = 1;
    size_t at = 0;
    for (; at < size; at++) {
        depth += text[at] == '(';
        depth -= text[at] == ')';
        if (depth == 0)
            break;
    }
    return at;
}

/* The size of the word at `text`, which one of `ends` ends. */
static size_t word_size(const char *text, size_t size, const char *ends)
{
    size_t n = 0;
    while (n < size && !strchr(ends, text[n]))
        n++;
    return n;
}

bool redis_argument_next(const char **text, size_t *size, struct redis_argument *out)
{
    const char *at = *text, *end = *text + *size;
    while (at < end && *at == ' ')
        at++;
    if (at == end)
        return false;
    *out = (struct redis_argument){.type = type_of(*at++), .key_spec = -1};
    if (at + 1 < end && *at >= '0' && *at <= '9' && at[1] == ':') {
        out->key_spec = *at - '0';
        at += 2;
    }
    out->name = at;
    at += out->name_size = word_size(at, (size_t)(end - at), "=(^?* )");
    if (at < end && *at == '=') {
        bool quoted = at + 1 < end && at[1] == '\'';
        out->token = at += 1 + quoted;
        at += out->token_size = word_size(at, (size_t)(end - at), quoted ? "'" : "(^?* )");
        at += quoted;
    }
    if (at < end && *at == '(') {
        out->parts = ++at;
        at += out->parts_size = parts_size(at, (size_t)(end - at));
        at++;
    }
    if (at < end && *at == '^') {
        out->since = ++at;
        at += out->since_size = word_size(at, (size_t)(end - at), "?* )");
    }
    if (at < end && *at == '?') {
        out->optional = true;
        at++;
    }
    for (; at < end && *at == '*'; at++) {
        out->multiple_token = out->multiple;
        out->multiple = true;
    }
    *text = at;
    *size = (size_t)(end - at);
    return true;
}
