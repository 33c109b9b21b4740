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
    bool helps; /* it says more when it is asked for --help */
};

static const struct command COMMANDS[] = {
    {"serve", "[--OPTION VALUE]...", "serve a database until SIGTERM or SIGINT", command_serve,
     false},
    {"console", "[ADDRESS] [-e LUA]", "type Lua and see what it gives", command_console, true},
    {"load", "FILE SPACE [ADDRESS] ...", "put the rows of a file into a space", command_load, true},
    {"dump", "SPACE [FILE [ADDRESS]] ...", "write the rows of a space to a file", command_dump,
     true},
    {"test", "[SPEC or FOLDER]...", "run busted with `box` at hand, on throw-away databases",
     command_test, false},
    {"wal", "[verify|...] [DIR]", "print or check a log, or an archive of one", command_wal, false},
    {"run", "cat|verify|stats FILE", "print or check a run, the file of sorted rows", command_run,
     false},
    {"backup", "FOLDER [--base FOLDER]", "back a database up, served or not", command_backup,
     false},
    {"restore", "BACKUP NEWDIR ...", "make a folder of a backup, up to any moment", command_restore,
     false},
    {"check", "[DIR] [--repair NEWDIR]", "check a folder; save what can be saved", command_check,
     false},
    {"options", "", "print all options as a document", command_options, false},
    {"version", "", "print the version, and what of the system is in use", command_version, false},
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

static int help_of(const struct command *command)
{
    printf("perigee %-7s %-27s %s\n", command->name, command->arguments, command->about);
    return 0;
}

/* Of a word that says more. */
static int help_more(const struct command *command)
{
    char word[] = "--help", *words[] = {word, NULL};
    return command->run(1, words);
}

static int help(void)
{
    puts("perigee [--OPTION VALUE]... FILE.lua [ARGUMENT]...\n"
         "                                    run a file with `box` at hand");
    for (size_t n = 0; n < COMMAND_COUNT; n++)
        help_of(&COMMANDS[n]);
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
        return command->helps ? help_more(command) : help_of(command);
    if (command)
        return command->run(argc - 2, argv + 2);
    if (!helps && is_file(word))
        return command_file(argc - 1, argv + 1);
    const char *meant = nearest_word(word, name_at, NULL, COMMAND_COUNT);
    fprintf(stderr, "perigee: there is no command '%s'%s%s%s; `perigee help` lists them\n", word,
            meant ? "; did you mean '" : "", meant ? meant : "", meant ? "'?" : "");
    return 1;
}
