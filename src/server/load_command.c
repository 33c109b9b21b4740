/* SPDX-License-Identifier: Apache-2.0 */

/*
 * `perigee load` and `perigee dump`: lua/load/main.lua in a LuaJIT state of its own, without a database,
 * which is a client of a server. Here the words are told apart: those about the connection, as of
 * `perigee console`, and those that are handed on.
 */
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "server/client_command.h"
#include "server/command.h"
#include "server/load_native.h"
#include "server/options.h"

enum { GIVEN_MAX = 64, NAMES_MAX = 3 };

/* A word for Lua, without the dashes; `value` NULL: it takes none. */
struct given {
    const char *word, *value;
};

struct arguments {
    struct client_arguments client;
    const char *names[NAMES_MAX]; /* what begins with no dashes, in its order */
    unsigned name_count;
    struct given given[GIVEN_MAX];
    unsigned given_count;
};

static const struct {
    const char *word;
    bool valued;
} WORDS[] = {
    {"format", true},   {"delimiter", true},  {"quote", true},   {"null", true},
    {"map", true},      {"primary", true},    {"engine", true},  {"mode", true},
    {"on-error", true}, {"rejects", true},    {"name", true},    {"rejects-max", true},
    {"batch", true},    {"no-header", false}, {"create", false}, {"again", false},
    {"dry-run", false}, {"rest", false},      {"pad", false},    {"help", false},
};
enum { WORD_COUNT = sizeof WORDS / sizeof *WORDS };

/* The word's number, WORD_COUNT when it is none of them; *value is what is behind "=". */
static unsigned word_of(const char *argument, const char **value)
{
    unsigned n = WORD_COUNT;
    *value = NULL;
    if (strncmp(argument, "--", 2) == 0) {
        size_t size = strcspn(argument + 2, "=");
        for (n = 0; n < WORD_COUNT; n++)
            if (strlen(WORDS[n].word) == size && memcmp(WORDS[n].word, argument + 2, size) == 0)
                break;
        *value = argument[2 + size] ? argument + 2 + size + 1 : NULL;
    }
    return n;
}

/* Takes the words for Lua out of the arguments. */
static int words_take(struct arguments *arguments, int *argc, char **argv)
{
    int kept = 0;
    for (int n = 0; n < *argc; n++) {
        const char *value;
        unsigned word = word_of(argv[n], &value);
        if (word == WORD_COUNT) {
            argv[kept++] = argv[n];
            continue;
        }
        if (arguments->given_count == GIVEN_MAX)
            return diag_set(ERROR_INVALID, "there are more than %d options", GIVEN_MAX);
        if (WORDS[word].valued && !value && ++n == *argc)
            return diag_set(ERROR_INVALID, "--%s needs a value behind it", WORDS[word].word);
        if (!WORDS[word].valued && value)
            return diag_set(ERROR_INVALID, "--%s takes no value", WORDS[word].word);
        arguments->given[arguments->given_count++] =
            (struct given){WORDS[word].word, WORDS[word].valued ? value ? value : argv[n] : NULL};
    }
    *argc = kept;
    return 0;
}

static int arguments_read(struct arguments *arguments, struct options *options, int argc,
                          char **argv)
{
    int rc = words_take(arguments, &argc, argv);
    rc = rc ? rc : client_arguments_take(&arguments->client, &argc, argv, "u");
    rc = rc ? rc : options_load(options, &argc, &argv, environ);
    while (rc == 0 && argc > 0) {
        if (strcmp(argv[0], "-u") == 0) {
            if (argc < 2)
                return diag_set(ERROR_INVALID, "-u needs the name of a user");
            arguments->client.user = argv[1];
            argc--, argv++;
        } else if (argv[0][0] == '-' && argv[0][1]) {
            return diag_set(ERROR_INVALID, "there is no option '%s'", argv[0]);
        } else if (arguments->name_count == NAMES_MAX) {
            return diag_set(ERROR_INVALID, "'%s' is one word too many", argv[0]);
        } else {
            arguments->names[arguments->name_count++] = argv[0];
        }
        argc--, argv++;
        rc = options_load_arguments(options, &argc, &argv);
    }
    if (rc == 0 && arguments->name_count == NAMES_MAX)
        arguments->client.address = arguments->names[NAMES_MAX - 1];
    return rc ? rc : client_address_default(&arguments->client, options);
}

struct load_call {
    const struct arguments *arguments;
    const struct options *options;
    const char *function; /* of load.main */
    int status;
};

static int load_call(lua_State *L)
{
    struct load_call *call = lua_touserdata(L, 1);
    const struct arguments *arguments = call->arguments;
    client_state_open(L);
    load_native_open(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "load.main");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, call->function);
    client_arguments_push(L, &arguments->client, call->options);
    lua_newtable(L);
    for (unsigned n = 0; n < arguments->name_count && n < NAMES_MAX - 1; n++) {
        lua_pushstring(L, arguments->names[n]);
        lua_rawseti(L, -2, (int)n + 1);
    }
    lua_newtable(L);
    for (unsigned n = 0; n < arguments->given_count; n++) {
        lua_createtable(L, 2, 0);
        lua_pushstring(L, arguments->given[n].word);
        lua_rawseti(L, -2, 1);
        lua_pushstring(L, arguments->given[n].value);
        lua_rawseti(L, -2, 2);
        lua_rawseti(L, -2, (int)n + 1);
    }
    lua_call(L, 3, 1);
    call->status = (int)lua_tointeger(L, -1);
    return 0;
}

static int run(const char *function, int argc, char **argv)
{
    struct options options;
    struct arguments arguments = {0};
    struct load_call call = {
        .arguments = &arguments, .options = &options, .function = function, .status = 1};
    int rc = options_create(&options);
    if (rc)
        return command_failed(rc);
    rc = arguments_read(&arguments, &options, argc, argv);
    if (rc) {
        options_destroy(&options);
        return command_failed(rc);
    }
    lua_State *L = luaL_newstate();
    if (L == NULL)
        call.status = command_failed(diag_set(ERROR_MEMORY, "out of memory"));
    else if (lua_cpcall(L, load_call, &call) != 0)
        fprintf(stderr, "perigee: %s\n", lua_tostring(L, -1));
    if (L)
        lua_close(L);
    options_destroy(&options);
    return call.status;
}

int command_load(int argc, char **argv)
{
    return run("load", argc, argv);
}

int command_dump(int argc, char **argv)
{
    return run("dump", argc, argv);
}
