/* SPDX-License-Identifier: Apache-2.0 */

/*
 * `perigee console`: a LuaJIT state of its own, without a database, that runs lua/console.lua, and
 * what that asks of C (the module "console.native"): lines edited by libedit, and facts about the
 * terminal.
 *
 * While a line is edited the terminal sends no signals for keys: Ctrl-C arrives as a character and
 * is bound to a function that drops the input. While a statement runs it is SIGINT, whose handler
 * sets a flag that ends the client's poll.
 *
 * Each input is one entry of the history, however many lines it has. The entry is appended to the
 * file as soon as it is entered, so that several consoles do not overwrite each other's.
 */
#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <lauxlib.h>
#include <locale.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utf8proc.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/builtin.h"
#include "server/admin_key.h"
#include "server/command.h"
#include "server/options.h"

enum { HISTORY_ENTRIES_MAX = 1000, TEXTS_MAX = 64 };

struct console {
    lua_State *L;
    EditLine *edit; /* NULL: no terminal */
    History *history;
    char *history_path; /* NULL: nothing is kept */
    char prompt[512];
    int complete; /* reference to the function that completes, in the registry */
    bool interrupted;
};

static volatile sig_atomic_t signalled;

static void on_interrupt(int number)
{
    (void)number;
    signalled = 1;
}

/* ---------------------------------------------------------------------------------- editing */

static struct console *console_of(EditLine *edit)
{
    void *data = NULL;
    el_get(edit, EL_CLIENTDATA, &data);
    return data;
}

static char *edit_prompt(EditLine *edit)
{
    return console_of(edit)->prompt;
}

static unsigned char edit_interrupt(EditLine *edit, wint_t key)
{
    (void)key;
    console_of(edit)->interrupted = true;
    fputs("^C\n", stdout);
    return CC_NEWLINE;
}

/* Ctrl-Z, which is a character as well: libedit's handler puts the terminal in order first. */
static unsigned char edit_suspend(EditLine *edit, wint_t key)
{
    (void)edit, (void)key;
    kill(getpid(), SIGTSTP);
    return CC_REDISPLAY;
}

/* Tab: asks Lua what to insert before the cursor or, when there are several ways to go on, to list.
 */
static unsigned char edit_complete(EditLine *edit, wint_t key)
{
    (void)key;
    struct console *console = console_of(edit);
    lua_State *L = console->L;
    const LineInfo *line = el_line(edit);
    unsigned char result = CC_REFRESH_BEEP;
    lua_rawgeti(L, LUA_REGISTRYINDEX, console->complete);
    lua_pushlstring(L, line->buffer, (size_t)(line->cursor - line->buffer));
    if (lua_pcall(L, 1, 2, 0) != 0) {
        lua_pop(L, 1);
        return result;
    }
    if (lua_isstring(L, -2) && el_insertstr(edit, lua_tostring(L, -2)) == 0) {
        result = CC_REFRESH;
    } else if (lua_isstring(L, -1)) {
        printf("\n%s\n", lua_tostring(L, -1));
        result = CC_REDISPLAY;
    }
    lua_pop(L, 2);
    return result;
}

static struct console *console_self(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

static void history_open(struct console *console, const char *path)
{
    HistEvent event;
    console->history = history_init();
    if (console->history == NULL)
        return;
    history(console->history, &event, H_SETSIZE, HISTORY_ENTRIES_MAX);
    if (path == NULL || (console->history_path = strdup(path)) == NULL)
        return;
    if (history(console->history, &event, H_LOAD, path) >= HISTORY_ENTRIES_MAX) {
        mode_t mask = umask(S_IRWXG | S_IRWXO);
        history(console->history, &event, H_SAVE, path);
        umask(mask);
    }
}

/* edit_open(history path or nil, function to complete with) */
static int native_edit_open(lua_State *L)
{
    struct console *console = console_self(L);
    struct sigaction action = {.sa_handler = on_interrupt};
    const char *path = luaL_optstring(L, 1, NULL);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    console->complete = luaL_ref(L, LUA_REGISTRYINDEX);
    console->edit = el_init("perigee", stdin, stdout, stderr);
    if (console->edit == NULL)
        return luaL_error(L, "the terminal cannot be used");
    history_open(console, path);
    el_set(console->edit, EL_CLIENTDATA, console);
    el_set(console->edit, EL_SIGNAL, 1);
    el_set(console->edit, EL_EDITOR, "emacs");
    el_set(console->edit, EL_PROMPT, edit_prompt);
    if (console->history != NULL)
        el_set(console->edit, EL_HIST, history, console->history);
    /* el_set would copy the names and never free them. */
    el_wset(console->edit, EL_ADDFN, L"perigee-complete", L"complete", edit_complete);
    el_wset(console->edit, EL_ADDFN, L"perigee-interrupt", L"drop the input", edit_interrupt);
    el_wset(console->edit, EL_ADDFN, L"perigee-suspend", L"suspend", edit_suspend);
    el_source(console->edit, NULL); /* the user's ~/.editrc; our keys come last */
    el_set(console->edit, EL_SETTY, "-d", "-isig", NULL);
    el_set(console->edit, EL_BIND, "^I", "perigee-complete", NULL);
    el_set(console->edit, EL_BIND, "^C", "perigee-interrupt", NULL);
    el_set(console->edit, EL_BIND, "^Z", "perigee-suspend", NULL);
    el_set(console->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    sigaction(SIGINT, &action, NULL);
    return 0;
}

static void console_close(struct console *console)
{
    if (console->history != NULL)
        history_end(console->history);
    if (console->edit != NULL)
        el_end(console->edit);
    free(console->history_path);
    console->history = NULL, console->edit = NULL, console->history_path = NULL;
}

static int native_edit_close(lua_State *L)
{
    console_close(console_self(L));
    return 0;
}

/* read_line(prompt): a line, nil at the end, false when it was dropped */
static int native_read_line(lua_State *L)
{
    struct console *console = console_self(L);
    int size = 0;
    snprintf(console->prompt, sizeof console->prompt, "%s", luaL_checkstring(L, 1));
    console->interrupted = false;
    signalled = 0;
    el_set(console->edit, EL_PREP_TERM, 1); /* before the prompt: keys typed at it are no signals */
    const char *line = el_gets(console->edit, &size);
    if (console->interrupted || (line == NULL && signalled)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    if (line == NULL || size <= 0) {
        fputs("\n", stdout);
        return 0;
    }
    if (line[size - 1] == '\n')
        size--;
    lua_pushlstring(L, line, (size_t)size);
    return 1;
}

/* The newest entry, at the end of the file; a file that cannot be written is none. */
static void history_append(struct console *console)
{
    HistEvent event;
    int fd =
        open(console->history_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, S_IRUSR | S_IWUSR);
    FILE *file = fd >= 0 ? fdopen(fd, "a") : NULL;
    if (file == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    fseek(file, 0, SEEK_END); /* libedit writes the file's first line where the position is 0 */
    history(console->history, &event, H_NSAVE_FP, (size_t)0, file);
    fclose(file);
}

/* history_add(text) */
static int native_history_add(lua_State *L)
{
    struct console *console = console_self(L);
    const char *text = luaL_checkstring(L, 1);
    HistEvent event;
    if (console->history == NULL)
        return 0;
    if (history(console->history, &event, H_FIRST) == 0 && strcmp(event.str, text) == 0)
        return 0;
    history(console->history, &event, H_ENTER, text);
    if (console->history_path != NULL)
        history_append(console);
    return 0;
}

/* --------------------------------------------------------------------------------- terminal */

/* is_terminal(fd) */
static int native_is_terminal(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

/* columns(): of the terminal, or nothing */
static int native_columns(lua_State *L)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return 0;
    lua_pushinteger(L, size.ws_col);
    return 1;
}

/* interrupted(): whether SIGINT has come since it was asked last */
static int native_interrupted(lua_State *L)
{
    lua_pushboolean(L, signalled);
    signalled = 0;
    return 1;
}

/* ------------------------------------------------------------------------------------ state */

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
static void loaders_set(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_newtable(L);
    lua_pushcfunction(L, find_builtin);
    lua_rawseti(L, -2, 1);
    lua_setfield(L, -2, "loaders");
    lua_getfield(L, -1, "loaders");
    lua_setfield(L, LUA_REGISTRYINDEX, "_LOADERS");
    lua_pop(L, 1);
}

static void native_open(lua_State *L, struct console *console)
{
    static const luaL_Reg functions[] = {
        {"edit_open", native_edit_open},     {"edit_close", native_edit_close},
        {"read_line", native_read_line},     {"history_add", native_history_add},
        {"is_terminal", native_is_terminal}, {"columns", native_columns},
        {"interrupted", native_interrupted}, {NULL, NULL},
    };
    union {
        int (*function)(utf8proc_int32_t);
        void *pointer;
    } charwidth = {.function = utf8proc_charwidth};
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaded");
    lua_newtable(L);
    lua_pushlightuserdata(L, console);
    luaL_setfuncs(L, functions, 1);
    lua_pushlightuserdata(L, charwidth.pointer);
    lua_setfield(L, -2, "charwidth");
    lua_setfield(L, -2, "console.native");
    lua_pop(L, 2);
}

/* ---------------------------------------------------------------------------------- command */

struct arguments {
    const char *address;
    const char *user; /* NULL: the default one */
    const char *texts[TEXTS_MAX];
    unsigned text_count;
};

/* Options, -e TEXT, -u USER, and one address, in any order. */
static int arguments_read(struct arguments *arguments, struct options *options, int argc,
                          char **argv)
{
    int rc = options_load(options, &argc, &argv, environ);
    while (rc == 0 && argc > 0) {
        if (strcmp(argv[0], "-e") == 0) {
            if (argc < 2 || arguments->text_count == TEXTS_MAX)
                return diag_set(ERROR_INVALID, "-e needs a text, and there are at most %d of them",
                                TEXTS_MAX);
            arguments->texts[arguments->text_count++] = argv[1];
            argc -= 2, argv += 2;
        } else if (strcmp(argv[0], "-u") == 0) {
            if (argc < 2)
                return diag_set(ERROR_INVALID, "-u needs the name of a user");
            arguments->user = argv[1];
            argc -= 2, argv += 2;
        } else if (arguments->address == NULL) {
            arguments->address = argv[0];
            argc--, argv++;
        } else {
            return diag_set(ERROR_INVALID, "console takes one address, not '%s' as well", argv[0]);
        }
        rc = options_load_arguments(options, &argc, &argv);
    }
    if (arguments->address == NULL)
        arguments->address = options->listen;
    return rc;
}

/* lua_cpcall: runs console.main and leaves its status in the registry. */
struct console_call {
    struct console console;
    const struct arguments *arguments;
    const char *user, *password, *admin_key; /* NULL: the default user; no key */
    int status;
};

static int console_call(lua_State *L)
{
    struct console_call *call = lua_touserdata(L, 1);
    luaL_openlibs(L);
    loaders_set(L);
    native_open(L, &call->console);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "console");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "main");
    lua_newtable(L);
    lua_pushstring(L, call->arguments->address);
    lua_setfield(L, -2, "address");
    lua_pushstring(L, call->user);
    lua_setfield(L, -2, "user");
    lua_pushstring(L, call->admin_key);
    lua_setfield(L, -2, "admin_key");
    lua_pushstring(L, call->password);
    lua_setfield(L, -2, "password");
    lua_newtable(L);
    for (unsigned n = 0; n < call->arguments->text_count; n++) {
        lua_pushstring(L, call->arguments->texts[n]);
        lua_rawseti(L, -2, (int)n + 1);
    }
    lua_setfield(L, -2, "texts");
    lua_call(L, 1, 1);
    call->status = (int)lua_tointeger(L, -1);
    return 0;
}

/* Who is not named otherwise is the admin, of the server of this folder. */
static int console_run(const struct arguments *arguments, const struct options *options)
{
    char key[ADMIN_KEY_SIZE + 1];
    bool admin = arguments->user == NULL && !options_is_set(options, OPTIONS_password) &&
                 admin_key_find(options->dir, arguments->address, key);
    struct console_call call = {.arguments = arguments,
                                .user = arguments->user,
                                .password = options->password,
                                .admin_key = admin ? key : NULL,
                                .status = 1};
    lua_State *L = luaL_newstate();
    if (L == NULL)
        return command_failed(diag_set(ERROR_MEMORY, "out of memory"));
    call.console.L = L;
    if (lua_cpcall(L, console_call, &call) != 0)
        fprintf(stderr, "perigee: %s\n", lua_tostring(L, -1));
    console_close(&call.console);
    lua_close(L);
    return call.status;
}

/* Lines are edited as UTF-8 also where the environment names no language. */
static void locale_set(void)
{
    if (setlocale(LC_CTYPE, "") == NULL || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8");
}

int command_console(int argc, char **argv)
{
    struct options options;
    struct arguments arguments = {0};
    int rc = options_create(&options);
    if (rc)
        return command_failed(rc);
    rc = arguments_read(&arguments, &options, argc, argv);
    locale_set();
    int status = rc ? command_failed(rc) : console_run(&arguments, &options);
    options_destroy(&options);
    return status;
}
