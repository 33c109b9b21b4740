/* SPDX-License-Identifier: Apache-2.0 */

/* The program: finds the function for its first argument. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "server/command.h"
#include "server/nearest.h"

/*
 * Read by jemalloc where that is linked: what has been freed goes back to the system after a second, and
 * a thread of jemalloc's sees to that also when nobody allocates any more.
 */
extern const char *malloc_conf;
const char *malloc_conf = "background_thread:true,dirty_decay_ms:1000";

struct command {
    const char *name, *arguments, *about;
    int (*run)(int argc, char **argv);
    bool helps;       /* it says more itself when it is asked for --help */
    const char *more; /* what else is said then, or NULL */
};

static const char SERVE_MORE[] =
    "\n"
    "  --dir FOLDER          where its data are; else var\n"
    "  --listen ADDRESSES    host:port, [IPv6 address]:port, unix:path, with commas between them, "
    "and tls, proxy\n"
    "                        or mode=660 behind one; else 127.0.0.1:6379\n"
    "  --password TEXT       what clients have to say; without one, only this machine is served\n"
    "  --workers N           threads that serve; else one for each core\n"
    "  --config FILE         a file of Lua that returns a table of options\n"
    "\n"
    "`perigee options` says what others there are. Each may also be in the environment, as "
    "PERIGEE_DIR.\n"
    "`perigee console` connects to it.\n";

static const char TEST_MORE[] =
    "\n"
    "  --OPTION VALUE        an option of the database\n"
    "  --clock manual        time stands still, and specs move it\n"
    "  -j N                  so many files at once; else as many as there are cores\n"
    "\n"
    "Without SPEC or FOLDER those below specs are run. What else follows is for busted.\n";

static const char WAL_MORE[] =
    "\n"
    "  cat                   transactions, a line for each (as without a word)\n"
    "  blocks, segments      what the log is made of\n"
    "  verify                whether all of it is whole\n"
    "  --json                lines of JSON\n"
    "  --from N, --to N      from this segment on, up to this timestamp\n"
    "\n"
    "DIR is a folder of data, or an archive; else --dir, else var.\n";

static const char RUN_MORE[] = "\n"
                               "  cat FILE [--limit ROWS]     its rows\n"
                               "  verify FILE...              whether all of it is whole\n"
                               "  stats FILE                  what it is made of\n";

static const char BACKUP_MORE[] =
    "\n"
    "  --base FOLDER         a backup before it: what has not changed since is not stored again\n"
    "  --dir DIR             the folder that is to be backed up, served or not; else var\n"
    "  --connect ADDRESS     the server that has it; with --tls and its kin as `perigee console` "
    "has them\n"
    "\n"
    "FOLDER is below the option backup_dir of a server.\n";

static const char RESTORE_MORE[] =
    "\n"
    "  --base FOLDER         a backup that it rests on; several times for a chain\n"
    "  --archive DIR         the log since, as the option archive has kept it\n"
    "  --log DIR             the folder of the lost server, for the newest of its log\n"
    "  --to MOMENT           2026-11-21T10:04:57Z, seconds since 1970 as @1795255497, or a "
    "timestamp\n"
    "  --verify              instead of NEWDIR: only checks the backup\n";

static const char CHECK_MORE[] =
    "\n"
    "  --repair NEWDIR       makes a new folder of what can be read\n"
    "  --past-gaps           also of what comes behind a gap in the log\n"
    "\n"
    "DIR is else --dir, else var. It must not be served.\n";

static const struct command COMMANDS[] = {
    {"serve", "[--OPTION VALUE]...", "serve a database until SIGTERM or SIGINT", command_serve,
     false, SERVE_MORE},
    {"console", "[ADDRESS] [-e LUA]", "type Lua and see what it gives", command_console, true,
     NULL},
    {"load", "FILE SPACE [ADDRESS] ...", "put the rows of a file into a space", command_load, true,
     NULL},
    {"dump", "SPACE [FILE [ADDRESS]] ...", "write the rows of a space to a file", command_dump,
     true, NULL},
    {"test", "[SPEC or FOLDER]...", "run busted with `box` at hand, on throw-away databases",
     command_test, false, TEST_MORE},
    {"wal", "[verify|...] [DIR]", "print or check a log, or an archive of one", command_wal, false,
     WAL_MORE},
    {"run", "cat|verify|stats FILE", "print or check a run, the file of sorted rows", command_run,
     false, RUN_MORE},
    {"backup", "FOLDER [--base FOLDER]", "back a database up, served or not", command_backup, false,
     BACKUP_MORE},
    {"restore", "BACKUP NEWDIR ...", "make a folder of a backup, up to any moment", command_restore,
     false, RESTORE_MORE},
    {"check", "[DIR] [--repair NEWDIR]", "check a folder; save what can be saved", command_check,
     false, CHECK_MORE},
    {"options", "", "print all options as a document", command_options, false, NULL},
    {"version", "", "print the version, and what of the system is in use", command_version, false,
     NULL},
};
enum { COMMAND_COUNT = sizeof COMMANDS / sizeof *COMMANDS };

static const char *name_at(size_t number, void *arg)
{
    (void)arg;
    return COMMANDS[number].name;
}

static bool asks_for_help(const char *word)
{
    return strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static void help_line(const struct command *command)
{
    printf("perigee %-7s %-27s %s\n", command->name, command->arguments, command->about);
}

static int help_of(const struct command *command)
{
    char word[] = "--help", *words[] = {word, NULL};
    if (command->helps)
        return command->run(1, words);
    help_line(command);
    if (command->more)
        fputs(command->more, stdout);
    return 0;
}

static int help(void)
{
    puts("perigee [--OPTION VALUE]... FILE.lua [ARGUMENT]...\n"
         "                                    run a file with `box` at hand");
    for (size_t n = 0; n < COMMAND_COUNT; n++)
        help_line(&COMMANDS[n]);
    puts("`perigee COMMAND --help` shows one of them, `perigee options` what OPTIONs there are.");
    return 0;
}

static const struct command *find(const char *word)
{
    for (size_t n = 0; n < COMMAND_COUNT; n++)
        if (strcmp(word, COMMANDS[n].name) == 0)
            return &COMMANDS[n];
    return NULL;
}

/* Options may come first, as in `perigee --dir var FILE.lua`. */
static bool is_file(const char *word)
{
    size_t size = strlen(word);
    return strncmp(word, "--", 2) == 0 || strchr(word, '/') ||
           (size > 4 && strcmp(word + size - 4, ".lua") == 0);
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "help";
    bool helps = asks_for_help(word);
    if (helps && argc <= 2)
        return help();
    if (helps)
        word = argv[2];
    if (strcmp(word, "--version") == 0)
        word = "version";
    const struct command *command = find(word);
    if (command && (helps || (argc == 3 && argv[2][0] == '-' && asks_for_help(argv[2]))))
        return help_of(command);
    if (command)
        return command->run(argc - 2, argv + 2);
    if (!helps && is_file(word))
        return command_file(argc - 1, argv + 1);
    const char *meant = nearest_word(word, name_at, NULL, COMMAND_COUNT);
    fprintf(stderr, "perigee: there is no command '%s'%s%s%s; `perigee help` lists them\n", word,
            meant ? "; did you mean '" : "", meant ? meant : "", meant ? "'?" : "");
    return 1;
}
