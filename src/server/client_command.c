/* SPDX-License-Identifier: Apache-2.0 */
#include "server/client_command.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/builtin.h"
#include "net/listen.h"
#include "server/admin_key.h"

/* How TLS is spoken: the fields of client.connect's `tls`, and the words for them. */
static const struct {
    const char *word, *field; /* field NULL: it takes no value */
} TLS_WORDS[] = {{"--cacert", "ca"},         {"--cert", "cert"}, {"--key", "key"},
                 {"--hostname", "hostname"}, {"--tls", NULL},    {"--insecure", NULL}};
enum { TLS_WORD_COUNT = sizeof TLS_WORDS / sizeof *TLS_WORDS, TLS_VALUES = 4, TLS_INSECURE = 5 };

static unsigned tls_word(const char *word)
{
    unsigned n = 0;
    while (n < TLS_WORD_COUNT && strcmp(word, TLS_WORDS[n].word) != 0)
        n++;
    return n;
}

int client_arguments_take(struct client_arguments *arguments, int *argc, char **argv,
                          const char *valued)
{
    int kept = 0;
    for (int n = 0; n < *argc; n++) {
        unsigned word = tls_word(argv[n]);
        bool value_follows =
            argv[n][0] == '-' && argv[n][1] && strchr(valued, argv[n][1]) && !argv[n][2];
        if (word == TLS_WORD_COUNT) {
            argv[kept++] = argv[n];
            if (value_follows && n + 1 < *argc)
                argv[kept++] = argv[++n];
            continue;
        }
        arguments->tls = true;
        arguments->tls_insecure |= word == TLS_INSECURE;
        if (!TLS_WORDS[word].field)
            continue;
        if (++n == *argc)
            return diag_set(ERROR_INVALID, "%s needs %s behind it", TLS_WORDS[word].word,
                            word == 3 ? "a name" : "the name of a file");
        arguments->tls_values[word] = argv[n];
    }
    *argc = kept;
    return 0;
}

/* Its first address that is plain, or else its first. */
int client_address_default(struct client_arguments *arguments, const struct options *options)
{
    if (arguments->address != NULL)
        return 0;
    struct listen_entry entries[LISTEN_MAX];
    unsigned count, n = 0;
    int rc = listen_parse(options->listen, entries, &count);
    if (rc)
        return diag_add("listen");
    while (n < count && (entries[n].tls || entries[n].proxy))
        n++;
    n = n < count ? n : 0;
    arguments->tls |= entries[n].tls;
    memcpy(arguments->listen, entries[n].address, sizeof arguments->listen);
    arguments->address = arguments->listen;
    return 0;
}

static void tls_push(lua_State *L, const struct client_arguments *arguments)
{
    if (!arguments->tls) {
        lua_pushnil(L);
        return;
    }
    lua_newtable(L);
    for (unsigned n = 0; n < TLS_VALUES; n++) {
        lua_pushstring(L, arguments->tls_values[n]);
        lua_setfield(L, -2, TLS_WORDS[n].field);
    }
    lua_pushboolean(L, !arguments->tls_insecure);
    lua_setfield(L, -2, "verify");
}

/* Who is not named otherwise is the admin, of the server of this folder. */
void client_arguments_push(lua_State *L, const struct client_arguments *arguments,
                           const struct options *options)
{
    char key[ADMIN_KEY_SIZE + 1];
    bool admin = arguments->user == NULL && !options_is_set(options, OPTIONS_password) &&
                 admin_key_find(options->dir, arguments->address, key);
    lua_newtable(L);
    lua_pushstring(L, arguments->address);
    lua_setfield(L, -2, "address");
    lua_pushstring(L, arguments->user);
    lua_setfield(L, -2, "user");
    lua_pushstring(L, admin ? key : NULL);
    lua_setfield(L, -2, "admin_key");
    lua_pushstring(L, options->dir);
    lua_setfield(L, -2, "dir");
    lua_pushstring(L, options->password);
    lua_setfield(L, -2, "password");
    tls_push(L, arguments);
    lua_setfield(L, -2, "tls");
}

/* One of package.loaders: finds the modules that are built in. */
static int find_builtin(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    for (const struct lua_builtin *builtin = lua_builtins; builtin->name != NULL; builtin++) {
        if (strcmp(builtin->name, name) != 0)
            continue;
        lua_pushfstring(L, "=[%s]", name);
        if (luaL_loadbuffer(L, (const char *)builtin->data, builtin->size, lua_tostring(L, -1)))
            return lua_error(L);
        return 1;
    }
    lua_pushfstring(L, "\n\tno built-in module '%s'", name);
    return 1;
}

/* Built-in modules and nothing from the file system: a folder with a client.lua in it changes
 * nothing. */
void client_state_open(lua_State *L)
{
    luaL_openlibs(L);
    lua_getglobal(L, "package");
    lua_newtable(L);
    lua_pushcfunction(L, find_builtin);
    lua_rawseti(L, -2, 1);
    lua_setfield(L, -2, "loaders");
    lua_getfield(L, -1, "loaders");
    lua_setfield(L, LUA_REGISTRYINDEX, "_LOADERS");
    lua_pop(L, 1);
}
