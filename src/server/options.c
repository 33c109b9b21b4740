/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One table of options, and text to values by the kind of each.
 */
#include "server/options.h"

#include <ctype.h>
#include <errno.h>
#include <lauxlib.h>
#include <limits.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "db/db.h"
#include "io/io_schedule.h"
#include "net/tls.h"
#include "server/nearest.h"
#include "session/service.h"
#include "storage/cache/cache.h"
#include "wal/wal.h"

enum option_kind {
    OPTION_TEXT,
    OPTION_SECRET,
    OPTION_COUNT,
    OPTION_SIZE,
    OPTION_TIME,
    OPTION_SWITCH,
    OPTION_DURABILITY,
    OPTION_TLS_CLIENTS,
    OPTION_TLS_USER,
    OPTION_LEVEL,
    OPTION_CACHE_POLICY
};

struct option {
    const char *name;
    enum option_kind kind;
    const char *text; /* the default */
    const char *about;
    size_t offset;
};

#define OPTION_ENTRY(name, type, kind, text, about) \
    {#name, OPTION_##kind, text, about, offsetof(struct options, name)},
static const struct option TABLE[OPTIONS_COUNT] = {OPTIONS_LIST(OPTION_ENTRY)};
#undef OPTION_ENTRY

/* What a value of the kind looks like: for errors and for the document. */
static const char *const KIND_FORM[] = {
    [OPTION_TEXT] = "text",
    [OPTION_SECRET] = "text",
    [OPTION_COUNT] = "a whole number",
    [OPTION_SIZE] = "bytes, or a number with kb, mb, gb or tb behind it",
    [OPTION_TIME] = "milliseconds, or a number with ms, s, min or h behind it",
    [OPTION_SWITCH] = "on or off",
    [OPTION_DURABILITY] = "commit, interval or none",
    [OPTION_TLS_CLIENTS] = "off, optional or required",
    [OPTION_TLS_USER] = "off, cn or san",
    [OPTION_LEVEL] = "error, warn, info or debug",
    [OPTION_CACHE_POLICY] = "clock, lru, 2q, lru-k, lirs, arc or arc-scan",
};

struct unit {
    const char *name;
    uint64_t factor;
};
static const struct unit SIZES[] = {
    {"", 1},           {"b", 1}, {"kb", 1ull << 10}, {"mb", 1ull << 20}, {"gb", 1ull << 30},
    {"tb", 1ull << 40}};
static const struct unit TIMES[] = {
    {"", 1}, {"ms", 1}, {"s", 1000}, {"min", 60 * 1000}, {"h", 3600 * 1000}};

static const char *const DURABILITIES[] = {[WAL_DURABILITY_NONE] = "none",
                                           [WAL_DURABILITY_INTERVAL] = "interval",
                                           [WAL_DURABILITY_COMMIT] = "commit"};
static const char *const SWITCHES[] = {"off", "on"}, *const TRUTHS[] = {"false", "true"};

/* When each may change; of those that are not here, with a start. */
static const unsigned char CHANGES[OPTIONS_COUNT] = {
    [OPTIONS_listen] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_balance] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_memory_max] = OPTIONS_CHANGE_ANY,
    [OPTIONS_cache_policy] = OPTIONS_CHANGE_ANY,
    [OPTIONS_tuner] = OPTIONS_CHANGE_ANY,
    [OPTIONS_background_rate] = OPTIONS_CHANGE_ANY,
    [OPTIONS_user_rate] = OPTIONS_CHANGE_ANY,
    [OPTIONS_io_depth] = OPTIONS_CHANGE_ANY,
    [OPTIONS_lua_time_max] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_lua_memory_max] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_fio_dir] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_password] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_tls_certificate] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_tls_key] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_tls_ca] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_tls_clients] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_tls_user] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_log_level] = OPTIONS_CHANGE_ANY,
    [OPTIONS_clients_max] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_request_max] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_lock_timeout] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_transaction_idle_max] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_transaction_time_max] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_snapshot_age_max] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_subscriber_max] = OPTIONS_CHANGE_LISTEN,
    [OPTIONS_stop_time_max] = OPTIONS_CHANGE_LISTEN,
};

/* For the document. */
static const char *const CHANGE_TEXT[] = {
    [OPTIONS_CHANGE_START] = "It changes with a start only.",
    [OPTIONS_CHANGE_LISTEN] = "`box.cfg` changes it until clients are served.",
    [OPTIONS_CHANGE_ANY] = "`box.cfg` changes it at any time.",
};

/* The least and the greatest number; of those that are not here, any. */
static const struct range {
    uint64_t min, max;
} RANGES[OPTIONS_COUNT] = {
    [OPTIONS_log_segment_max] = {64 << 10, 1ull << 40},
    [OPTIONS_compaction_threads] = {1, DB_COMPACTION_THREADS_MAX},
    [OPTIONS_io_depth] = {1, IO_DEPTH_MAX},
};
static const char *const TLS_CLIENTS_WORDS[] = {[TLS_CLIENTS_OFF] = "off",
                                                [TLS_CLIENTS_OPTIONAL] = "optional",
                                                [TLS_CLIENTS_REQUIRED] = "required"};
static const char *const TLS_NAMES[] = {
    [TLS_NAME_OFF] = "off", [TLS_NAME_CN] = "cn", [TLS_NAME_SAN] = "san"};
static const char *const LEVELS[] = {
    [LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};

static void *field(const struct options *options, const struct option *option)
{
    return (char *)(uintptr_t)options + option->offset;
}

const char *options_name(size_t number)
{
    return TABLE[number].name;
}

static const char *name_at(size_t number, void *arg)
{
    (void)arg;
    return TABLE[number].name;
}

enum options_change options_change(size_t number)
{
    return (enum options_change)CHANGES[number];
}

bool options_equal(const struct options *left, const struct options *right, size_t number)
{
    const void *own = field(left, &TABLE[number]), *other = field(right, &TABLE[number]);
    switch (TABLE[number].kind) {
    case OPTION_TEXT:
    case OPTION_SECRET:
        return strcmp(*(char *const *)own, *(char *const *)other) == 0;
    case OPTION_SIZE:
    case OPTION_TIME:
        return *(const uint64_t *)own == *(const uint64_t *)other;
    default:
        return *(const int *)own == *(const int *)other;
    }
}

bool options_is_set(const struct options *options, size_t number)
{
    return options->source[number] != OPTIONS_DEFAULT;
}

/* ------------------------------------------------------------------------------- text to values */

/* A number and a unit; true when that is all there is, and it fits. */
static bool units_parse(const char *text, const struct unit *units, size_t count, uint64_t *out)
{
    if (!isdigit((unsigned char)*text))
        return false;
    char *rest;
    errno = 0;
    unsigned long long number = strtoull(text, &rest, 10);
    while (*rest == ' ')
        rest++;
    for (size_t n = 0; n < count; n++) {
        if (strcasecmp(rest, units[n].name) != 0)
            continue;
        *out = number * units[n].factor;
        return errno == 0 && number <= UINT64_MAX / 2 / units[n].factor;
    }
    return false;
}

static bool count_parse(const char *text, unsigned *out)
{
    uint64_t number;
    if (!units_parse(text, SIZES, 1, &number) || number > INT_MAX)
        return false;
    *out = (unsigned)number;
    return true;
}

static bool word_parse(const char *text, const char *const *words, int count, int *out)
{
    for (int n = 0; n < count; n++) {
        if (strcasecmp(text, words[n]) == 0) {
            *out = n;
            return true;
        }
    }
    return false;
}

static bool cache_policy_parse(const char *text, int *out)
{
    const char *name;
    for (int n = 0; (name = cache_policy_name((unsigned)n)) != NULL; n++) {
        if (strcasecmp(text, name) == 0) {
            *out = n;
            return true;
        }
    }
    return false;
}

static int text_set(char **out, const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        return diag_set(ERROR_MEMORY, "out of memory");
    free(*out);
    *out = copy;
    return 0;
}

#define LENGTH(array) (sizeof(array) / sizeof *(array))

static void units_format(uint64_t value, const struct unit *units, size_t count, char *out)
{
    size_t best = 0;
    for (size_t n = 1; n < count && value > 0; n++)
        if (units[n].factor > 1 && value % units[n].factor == 0)
            best = n;
    snprintf(out, OPTIONS_TEXT_MAX + 1, "%llu%s", (unsigned long long)(value / units[best].factor),
             units[best].name);
}

/* What value_set has put into `out`: ERROR_INVALID outside of the option's range. */
static int range_check(const void *out, const struct option *option)
{
    const struct range *range = &RANGES[option - TABLE];
    if (range->max == 0)
        return 0;
    bool bytes = option->kind == OPTION_SIZE;
    uint64_t value = bytes ? *(const uint64_t *)out : *(const unsigned *)out;
    if (value >= range->min && value <= range->max)
        return 0;
    char is[OPTIONS_TEXT_MAX + 1], least[OPTIONS_TEXT_MAX + 1], most[OPTIONS_TEXT_MAX + 1];
    size_t units = bytes ? LENGTH(SIZES) : 1;
    units_format(value, SIZES, units, is);
    units_format(range->min, SIZES, units, least);
    units_format(range->max, SIZES, units, most);
    return diag_set(ERROR_INVALID, "option '%s' is from %s to %s, not %s", option->name, least,
                    most, is);
}

static int value_set(void *out, const struct option *option, const char *text)
{
    bool right = true;
    switch (option->kind) {
    case OPTION_TEXT:
    case OPTION_SECRET:
        return text_set(out, text);
    case OPTION_COUNT:
        right = count_parse(text, out);
        break;
    case OPTION_SIZE:
        right = units_parse(text, SIZES, LENGTH(SIZES), out);
        break;
    case OPTION_TIME:
        right = units_parse(text, TIMES, LENGTH(TIMES), out) && *(uint64_t *)out <= UINT32_MAX;
        break;
    case OPTION_SWITCH:
        right = word_parse(text, SWITCHES, LENGTH(SWITCHES), out) ||
                word_parse(text, TRUTHS, LENGTH(TRUTHS), out);
        break;
    case OPTION_DURABILITY:
        right = word_parse(text, DURABILITIES, LENGTH(DURABILITIES), out);
        break;
    case OPTION_TLS_CLIENTS:
        right = word_parse(text, TLS_CLIENTS_WORDS, LENGTH(TLS_CLIENTS_WORDS), out);
        break;
    case OPTION_TLS_USER:
        right = word_parse(text, TLS_NAMES, LENGTH(TLS_NAMES), out);
        break;
    case OPTION_LEVEL:
        right = word_parse(text, LEVELS, LENGTH(LEVELS), out);
        break;
    case OPTION_CACHE_POLICY:
        right = cache_policy_parse(text, out);
        break;
    }
    if (!right)
        return diag_set(ERROR_INVALID, "option '%s' is %s, not '%s'", option->name,
                        KIND_FORM[option->kind], text);
    return range_check(out, option);
}

int options_create(struct options *options)
{
    memset(options, 0, sizeof *options);
    for (size_t n = 0; n < OPTIONS_COUNT; n++) {
        int rc = value_set(field(options, &TABLE[n]), &TABLE[n], TABLE[n].text);
        if (rc) {
            options_destroy(options);
            return rc;
        }
    }
    return 0;
}

void options_destroy(struct options *options)
{
    for (size_t n = 0; n < OPTIONS_COUNT; n++)
        if (TABLE[n].kind == OPTION_TEXT || TABLE[n].kind == OPTION_SECRET)
            free(*(char **)field(options, &TABLE[n]));
    for (size_t n = 0; n < options->setting_count; n++) {
        free(options->settings[n].name);
        free(options->settings[n].value);
    }
    free(options->settings);
    memset(options, 0, sizeof *options);
}

/* Redis's names of what is an option here. */
static const struct {
    const char *theirs, *own;
} NAMES[] = {{"maxclients", "clients_max"},
             {"maxmemory", "memory_max"},
             {"proto-max-bulk-len", "request_max"},
             {"requirepass", "password"}};

static bool same_name(const char *left, const char *right)
{
    for (; *left && *right; left++, right++)
        if (*left != *right && (*left != '_' || *right != '-') && (*left != '-' || *right != '_'))
            return false;
    return *left == *right;
}

/* The option or setting that is called so; else NULL. *own: it is an option. */
static const char *name_find(const char *name, bool *own)
{
    *own = true;
    for (size_t n = 0; n < LENGTH(NAMES); n++)
        if (same_name(name, NAMES[n].theirs))
            return NAMES[n].own;
    for (size_t n = 0; n < OPTIONS_COUNT; n++)
        if (strcmp(TABLE[n].name, name) == 0)
            return TABLE[n].name;
    *own = false;
    return service_setting_find(name);
}

const char *options_canonical(const char *name)
{
    bool own;
    const char *known = name_find(name, &own);
    return known ? known : name;
}

static struct options_setting *setting_add(struct options *options, const char *name)
{
    for (size_t n = 0; n < options->setting_count; n++)
        if (strcmp(options->settings[n].name, name) == 0)
            return &options->settings[n];
    struct options_setting *more =
        realloc(options->settings, (options->setting_count + 1) * sizeof *more);
    char *copy = strdup(name);
    if (more)
        options->settings = more;
    if (!more || !copy) {
        free(copy);
        return NULL;
    }
    more = &more[options->setting_count++];
    *more = (struct options_setting){.name = copy};
    return more;
}

static int setting_set(struct options *options, const char *name, const char *value,
                       enum options_source source)
{
    int rc = service_setting_check(name, value);
    if (rc)
        return rc;
    struct options_setting *setting = setting_add(options, name);
    if (!setting)
        return diag_set(ERROR_MEMORY, "out of memory");
    if (setting->value && source < setting->source)
        return 0;
    rc = text_set(&setting->value, value);
    if (!rc)
        setting->source = (unsigned char)source;
    return rc;
}

static int unknown(const char *name)
{
    const char *meant = nearest_word(name, name_at, NULL, OPTIONS_COUNT);
    if (meant)
        return diag_set(ERROR_INVALID, "there is no option '%s'; did you mean '%s'?", name, meant);
    return diag_set(ERROR_INVALID, "there is no option '%s'; `perigee options` lists them", name);
}

int options_set(struct options *options, const char *name, const char *value,
                enum options_source source)
{
    bool own;
    const char *known = name_find(name, &own);
    if (!known)
        return unknown(name);
    if (!own)
        return setting_set(options, known, value, source);
    for (size_t n = 0; n < OPTIONS_COUNT; n++) {
        if (strcmp(TABLE[n].name, known) != 0)
            continue;
        struct options ignored = {0}; /* a value that does not count has to be right, too */
        bool counts = source >= options->source[n];
        int rc = value_set(field(counts ? options : &ignored, &TABLE[n]), &TABLE[n], value);
        options_destroy(&ignored);
        if (!rc && counts)
            options->source[n] = (unsigned char)source;
        return rc;
    }
    return unknown(name);
}

/* ------------------------------------------------------------------------------- values to text */

void options_format(const struct options *options, size_t number, char *out)
{
    const struct option *option = &TABLE[number];
    void *value = field(options, option);
    switch (option->kind) {
    case OPTION_TEXT:
        snprintf(out, OPTIONS_TEXT_MAX + 1, "%s", *(char **)value);
        break;
    case OPTION_SECRET:
        snprintf(out, OPTIONS_TEXT_MAX + 1, "%s", **(char **)value ? "(set)" : "");
        break;
    case OPTION_COUNT:
        snprintf(out, OPTIONS_TEXT_MAX + 1, "%u", *(unsigned *)value);
        break;
    case OPTION_SIZE:
        units_format(*(uint64_t *)value, SIZES, LENGTH(SIZES), out);
        break;
    case OPTION_TIME:
        units_format(*(uint64_t *)value, TIMES, LENGTH(TIMES), out);
        break;
    case OPTION_SWITCH:
        snprintf(out, OPTIONS_TEXT_MAX + 1, "%s", SWITCHES[*(int *)value]);
        break;
    case OPTION_DURABILITY:
        snprintf(out, OPTIONS_TEXT_MAX + 1, "%s", DURABILITIES[*(int *)value]);
        break;
    case OPTION_TLS_CLIENTS:
        snprintf(out, OPTIONS_TEXT_MAX + 1, "%s", TLS_CLIENTS_WORDS[*(int *)value]);
        break;
    case OPTION_TLS_USER:
        snprintf(out, OPTIONS_TEXT_MAX + 1, "%s", TLS_NAMES[*(int *)value]);
        break;
    case OPTION_LEVEL:
        snprintf(out, OPTIONS_TEXT_MAX + 1, "%s", LEVELS[*(int *)value]);
        break;
    case OPTION_CACHE_POLICY:
        snprintf(out, OPTIONS_TEXT_MAX + 1, "%s", cache_policy_name(*(unsigned *)value));
        break;
    }
}

void options_print_markdown(FILE *out)
{
    fputs("# Configuration\n\n"
          "This page is made from the list of options in the program: `perigee options` prints "
          "it.\n\n"
          "An option is set on the command line (`--memory_max 2gb` or `--memory_max=2gb`), by an "
          "environment variable\n(`PERIGEE_MEMORY_MAX=2gb`), or in a file of Lua that returns a "
          "table, which `--config` or `PERIGEE_CONFIG` names:\n\n"
          "```lua\nreturn {\n    dir = '/var/lib/perigee',\n    memory_max = '2gb',\n"
          "    durability = 'interval',\n}\n```\n\n"
          "The command line counts more than the environment, the environment more than the file. "
          "What a script hands to\n`box.cfg{...}` counts as much as a file; which options it may "
          "change, and until when, is said below with each. It\nrefuses the others, unless they "
          "are given the value that they have, and then changes nothing. An option that does not\n"
          "exist is an error. A switch (on or off) takes `true` and `false`, too.\n\n"
          "When no file is named, `settings.lua` in the folder `dir` is read, if it is there. "
          "CONFIG REWRITE writes what CONFIG SET\nhas set into the file that is named, or into "
          "that one ([redis.md](redis.md#server-commands)).\n\n"
          "The settings that CONFIG SET knows by Redis's names can be given in the same ways, "
          "with dashes or underscores:\n`--hash-max-listpack-entries 256`, "
          "`PERIGEE_MAXMEMORY_POLICY=allkeys-lru`, `slowlog_max_len = 1000`. So are the limits of "
          "connections: `timeout` and `tcp-keepalive`\nin seconds, `client-query-buffer-limit`, "
          "`client_output_buffer_limit = 'normal 1gb 256mb 60 pubsub 32mb 8mb 60'` and\n"
          "`maxmemory-clients`. `maxmemory`,\n"
          "`maxclients`, `proto-max-bulk-len` and `requirepass` are other names of `memory_max`, "
          "`clients_max`, `request_max` and `password`.\n\n"
          "Sizes are bytes or have `kb`, `mb`, `gb` or `tb` behind them (powers of 1024); times "
          "are milliseconds or have\n`ms`, `s`, `min` or `h` behind them.\n",
          out);
    for (size_t n = 0; n < OPTIONS_COUNT; n++) {
        const struct option *option = &TABLE[n];
        fprintf(out, "\n## %s\n\n%s\n\n", option->name, option->about);
        fprintf(out, "A value is %s. ", KIND_FORM[option->kind]);
        if (*option->text)
            fprintf(out, "Default: `%s`. ", option->text);
        else
            fputs("Default: empty. ", out);
        fprintf(out, "%s\n", CHANGE_TEXT[CHANGES[n]]);
    }
}

/* -------------------------------------------------------------------------------------- sources */

/* "--lua-time-max=5s" to "lua_time_max"; the value behind '=', or NULL. */
static int argument_split(const char *argument, char name[64], const char **value)
{
    const char *start = argument + 2, *equals = strchr(start, '=');
    size_t size = equals ? (size_t)(equals - start) : strlen(start);
    if (size >= 64)
        size = 63;
    for (size_t n = 0; n < size; n++)
        name[n] = start[n] == '-' ? '_' : start[n];
    name[size] = 0;
    *value = equals ? equals + 1 : NULL;
    return 0;
}

int options_load_arguments(struct options *options, int *argc, char ***argv)
{
    while (*argc > 0 && strncmp((*argv)[0], "--", 2) == 0) {
        char name[64];
        const char *value;
        const char *argument = (*argv)[0];
        (*argc)--;
        (*argv)++;
        if (argument[2] == 0)
            break;
        argument_split(argument, name, &value);
        bool own;
        if (!name_find(name, &own))
            return unknown(name);
        if (!value) {
            if (*argc == 0)
                return diag_set(ERROR_INVALID, "--%s needs a value behind it", name);
            value = (*argv)[0];
            (*argc)--;
            (*argv)++;
        }
        int rc = options_set(options, name, value, OPTIONS_ARGUMENT);
        if (rc)
            return rc;
    }
    return 0;
}

/* Variables that are not options: PERIGEE_SEED is read by random tests, PERIGEE_SIMD by src/simd,
 * the others by `serve`. */
static bool is_of_tests(const char *variable)
{
    return strncmp(variable, "PERIGEE_SEED=", 13) == 0 ||
           strncmp(variable, "PERIGEE_SIMD=", 13) == 0 ||
           strncmp(variable, "PERIGEE_CRASH_POINT=", 20) == 0 ||
           strncmp(variable, "PERIGEE_TEST_CLOCK=", 19) == 0;
}

int options_load_environment(struct options *options, char *const *environment)
{
    static const char PREFIX[] = "PERIGEE_";
    for (; *environment; environment++) {
        const char *variable = *environment, *equals = strchr(variable, '=');
        if (!equals || strncmp(variable, PREFIX, sizeof PREFIX - 1) != 0 || is_of_tests(variable))
            continue;
        char name[64];
        size_t size = 0;
        for (const char *c = variable + sizeof PREFIX - 1; c < equals && size < 63; c++)
            name[size++] = (char)tolower((unsigned char)*c);
        name[size] = 0;
        int rc = options_set(options, name, equals + 1, OPTIONS_ENVIRONMENT);
        if (rc) {
            diag_add("environment variable %.*s", (int)(equals - variable), variable);
            return rc;
        }
    }
    return 0;
}

/* The table on top of the stack. */
static int table_load(struct options *options, lua_State *L)
{
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            return diag_set(ERROR_INVALID, "the table's keys are names of options");
        const char *name = lua_tostring(L, -2);
        if (lua_type(L, -1) != LUA_TSTRING && lua_type(L, -1) != LUA_TNUMBER &&
            lua_type(L, -1) != LUA_TBOOLEAN)
            return diag_set(ERROR_INVALID,
                            "option '%s' is a string, a number or a boolean, not a %s", name,
                            luaL_typename(L, -1));
        const char *text = lua_type(L, -1) != LUA_TBOOLEAN ? lua_tostring(L, -1)
                           : lua_toboolean(L, -1)          ? "true"
                                                           : "false";
        int rc = options_set(options, name, text, OPTIONS_FILE);
        if (rc)
            return rc;
        lua_pop(L, 1);
    }
    return 0;
}

int options_load_file(struct options *options, const char *path)
{
    lua_State *L = luaL_newstate();
    if (!L)
        return diag_set(ERROR_MEMORY, "out of memory");
    int rc = 0;
    if (luaL_loadfile(L, path) || lua_pcall(L, 0, 1, 0))
        rc = diag_set(ERROR_INVALID, "%s", lua_tostring(L, -1));
    else if (!lua_istable(L, -1))
        rc = diag_set(ERROR_INVALID, "it has to return a table: return {name = value, ...}");
    else
        rc = table_load(options, L);
    lua_close(L);
    if (rc)
        diag_add("%s", path);
    return rc;
}

void options_file(const struct options *options, char path[PATH_MAX])
{
    if (*options->config)
        snprintf(path, PATH_MAX, "%s", options->config);
    else
        snprintf(path, PATH_MAX, "%s/settings.lua", options->dir);
}

int options_load(struct options *options, int *argc, char ***argv, char *const *environment)
{
    int rc = options_load_arguments(options, argc, argv);
    if (!rc)
        rc = options_load_environment(options, environment);
    char path[PATH_MAX];
    options_file(options, path);
    if (!rc && (*options->config || access(path, F_OK) == 0))
        rc = options_load_file(options, path);
    return rc;
}
