/* SPDX-License-Identifier: Apache-2.0 */

/*
 * `perigee console`: a LuaJIT state of its own, without a database, that runs lua/console.lua, and
 * what that asks of C (the module "console.native"): the terminal, and files that only their owner
 * can read.
 *
 * While a line is edited (lua/console/editor.lua) the terminal gives keys as bytes and sends no
 * signals for them: Ctrl-C is one of them. Otherwise it is as it was found: while a statement runs
 * Ctrl-C is SIGINT, whose handler sets a flag that ends the client's poll. A signal that ends the
 * process puts the terminal in order first.
 */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lualib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>
#include <utf8proc.h>

#include "base/diag.h"
#include "base/error.h"
#include "server/client_command.h"
#include "server/command.h"
#include "server/options.h"

enum { TEXTS_MAX = 64, KEYS_SIZE_MAX = 4096 };

/* Of the process: the terminal as it was found, and whether it gives bytes now. */
static struct termios terminal_before;
static volatile sig_atomic_t terminal_raw;
static volatile sig_atomic_t signalled;

static void on_interrupt(int number)
{
    (void)number;
    signalled = 1;
}

/* A signal that ends the process. */
static void on_end(int number)
{
    if (terminal_raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal_before);
    signal(number, SIG_DFL);
    raise(number);
}

/* ---------------------------------------------------------------------------------- editing */

/* edit_open(): before anything else here; signals are set. */
static int native_edit_open(lua_State *L)
{
    struct sigaction interrupt = {.sa_handler = on_interrupt}, end = {.sa_handler = on_end};
    if (tcgetattr(STDIN_FILENO, &terminal_before) != 0)
        return luaL_error(L, "the terminal cannot be used");
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGHUP, &end, NULL);
    signal(SIGPIPE, SIG_IGN); /* a pager that is left early */
    return 0;
}

/* raw(on): whether keys are bytes. What was typed before stays. */
static int native_raw(lua_State *L)
{
    struct termios wish = terminal_before;
    bool on = lua_toboolean(L, 1);
    if (on) {
        wish.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG | IEXTEN);
        wish.c_iflag &= ~(tcflag_t)(IXON | ICRNL | INLCR);
        wish.c_cc[VMIN] = 1;
        wish.c_cc[VTIME] = 0;
    }
    terminal_raw = on;
    while (tcsetattr(STDIN_FILENO, TCSADRAIN, &wish) != 0 && errno == EINTR)
        ; /* a Ctrl-C that comes now must not leave the terminal as it was */
    if (on)
        signalled = 0; /* one that came for what has ended */
    return 0;
}

/* read(): what was typed, at least a byte; '' at the end */
static int native_read(lua_State *L)
{
    char keys[KEYS_SIZE_MAX];
    ssize_t size;
    do
        size = read(STDIN_FILENO, keys, sizeof keys);
    while (size < 0 && errno == EINTR);
    lua_pushlstring(L, keys, size > 0 ? (size_t)size : 0);
    return 1;
}

/* has_input(): whether `read` would give something at once */
static int native_has_input(lua_State *L)
{
    struct pollfd polled = {.fd = STDIN_FILENO, .events = POLLIN};
    lua_pushboolean(L, poll(&polled, 1, 0) > 0);
    return 1;
}

/* suspend(): until the shell lets it go on */
static int native_suspend(lua_State *L)
{
    (void)L;
    kill(0, SIGTSTP);
    return 0;
}

/* ------------------------------------------------------------------------------------ files */

/* make_private(folder): whether there is one now; only its owner can use one that is made. */
static int native_make_private(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    lua_pushboolean(L, mkdir(path, S_IRWXU) == 0 || errno == EEXIST);
    return 1;
}

/*
 * write_private(path, text, append): a file that only its owner can read, in one write. Whether that
 * has worked.
 */
static int native_write_private(lua_State *L)
{
    size_t size;
    const char *path = luaL_checkstring(L, 1), *text = luaL_checklstring(L, 2, &size);
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (lua_toboolean(L, 3) ? O_APPEND : O_TRUNC);
    int fd = open(path, flags, S_IRUSR | S_IWUSR);
    bool done = fd >= 0 && write(fd, text, size) == (ssize_t)size;
    if (fd >= 0)
        done = close(fd) == 0 && done;
    lua_pushboolean(L, done);
    return 1;
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

/* rows(): of the terminal, or nothing */
static int native_rows(lua_State *L)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0)
        return 0;
    lua_pushinteger(L, size.ws_row);
    return 1;
}

/*
 * sleep(seconds): whether the time has passed without SIGINT. The signal is blocked but for the wait
 * itself, so that one that comes just before it is not lost.
 */
static int native_sleep(lua_State *L)
{
    double seconds = luaL_checknumber(L, 1);
    struct timespec rest = {.tv_sec = (time_t)seconds,
                            .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    sigset_t block, before;
    sigemptyset(&block);
    sigaddset(&block, SIGINT);
    sigprocmask(SIG_BLOCK, &block, &before);
    if (!signalled)
        ppoll(NULL, 0, &rest, &before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    lua_pushboolean(L, !signalled);
    signalled = 0;
    return 1;
}

/* interrupted(): whether SIGINT has come since it was asked last */
static int native_interrupted(lua_State *L)
{
    lua_pushboolean(L, signalled);
    signalled = 0;
    return 1;
}

/* ----------------------------------------------------------------------------------- module */

static void native_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"edit_open", native_edit_open},
        {"raw", native_raw},
        {"read", native_read},
        {"has_input", native_has_input},
        {"suspend", native_suspend},
        {"make_private", native_make_private},
        {"write_private", native_write_private},
        {"is_terminal", native_is_terminal},
        {"columns", native_columns},
        {"rows", native_rows},
        {"sleep", native_sleep},
        {"interrupted", native_interrupted},
        {NULL, NULL},
    };
    union {
        int (*function)(utf8proc_int32_t);
        void *pointer;
    } charwidth = {.function = utf8proc_charwidth};
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaded");
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_pushlightuserdata(L, charwidth.pointer);
    lua_setfield(L, -2, "charwidth");
    lua_setfield(L, -2, "console.native");
    lua_pop(L, 2);
}

/* ---------------------------------------------------------------------------------- command */

struct arguments {
    struct client_arguments client;
    const char *output; /* NULL: tables */
    const char *texts[TEXTS_MAX];
    unsigned text_count;
};

static const char HELP[] =
    "perigee console [ADDRESS] [OPTION]...\n"
    "\n"
    "Runs Lua and Redis's commands on a server. Without -e it reads standard input, or a terminal, "
    "where\n"
    "\\help tells more. ADDRESS is host:port, :port or unix:path; without it the option `listen`.\n"
    "\n"
    "  -e TEXT                           runs it and ends: status 1 if it has failed; several "
    "times\n"
    "  -o FORMAT                         table, lua, json, yaml, csv or markdown\n"
    "  -u USER                           who this is; `default` if there is a password only\n"
    "  --password TEXT                   or PERIGEE_PASSWORD\n"
    "  --dir FOLDER                      of the server: who can read it is the admin without a "
    "password\n"
    "  --tls                             speaks TLS, as each of these does:\n"
    "  --cacert FILE                     who is believed; without it those whom the system "
    "believes\n"
    "  --cert FILE --key FILE            who this is\n"
    "  --hostname NAME                   whom the server's certificate must be for\n"
    "  --insecure                        believes anybody\n";

static bool asks_for_help(int argc, char **argv)
{
    for (int n = 0; n < argc; n++) {
        if (strcmp(argv[n], "--help") == 0 || strcmp(argv[n], "-h") == 0)
            return true;
        if (argv[n][0] == '-' && argv[n][1] && strchr("eou", argv[n][1]) && !argv[n][2])
            n++; /* its value */
    }
    return false;
}

/* Options, -e TEXT, -o FORMAT, -u USER, how TLS is spoken, and one address, in any order. */
static int arguments_read(struct arguments *arguments, struct options *options, int argc,
                          char **argv)
{
    int rc = client_arguments_take(&arguments->client, &argc, argv, "eou");
    if (rc == 0)
        rc = options_load(options, &argc, &argv, environ);
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
            arguments->client.user = argv[1];
            argc -= 2, argv += 2;
        } else if (strcmp(argv[0], "-o") == 0) {
            if (argc < 2)
                return diag_set(ERROR_INVALID, "-o needs the name of a format, as json");
            arguments->output = argv[1];
            argc -= 2, argv += 2;
        } else if (arguments->client.address == NULL) {
            arguments->client.address = argv[0];
            argc--, argv++;
        } else {
            return diag_set(ERROR_INVALID, "console takes one address, not '%s' as well", argv[0]);
        }
        rc = options_load_arguments(options, &argc, &argv);
    }
    return rc == 0 ? client_address_default(&arguments->client, options) : rc;
}

/* lua_cpcall: runs console.main and leaves its status in `status`. */
struct console_call {
    const struct arguments *arguments;
    const struct options *options;
    int status;
};

static int console_call(lua_State *L)
{
    struct console_call *call = lua_touserdata(L, 1);
    client_state_open(L);
    native_open(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "console");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "main");
    client_arguments_push(L, &call->arguments->client, call->options);
    lua_pushstring(L, call->arguments->output);
    lua_setfield(L, -2, "output");
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

static int console_run(const struct arguments *arguments, const struct options *options)
{
    struct console_call call = {.arguments = arguments, .options = options, .status = 1};
    lua_State *L = luaL_newstate();
    if (L == NULL)
        return command_failed(diag_set(ERROR_MEMORY, "out of memory"));
    if (lua_cpcall(L, console_call, &call) != 0)
        fprintf(stderr, "perigee: %s\n", lua_tostring(L, -1));
    lua_close(L);
    return call.status;
}

int command_console(int argc, char **argv)
{
    struct options options;
    struct arguments arguments = {0};
    if (asks_for_help(argc, argv)) {
        fputs(HELP, stdout);
        return 0;
    }
    int rc = options_create(&options);
    if (rc)
        return command_failed(rc);
    rc = arguments_read(&arguments, &options, argc, argv);
    int status = rc ? command_failed(rc) : console_run(&arguments, &options);
    options_destroy(&options);
    return status;
}
