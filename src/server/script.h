/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_SCRIPT_H
#define SERVER_SCRIPT_H

/*
 * A process with a database and trusted Lua on its first thread: what `perigee FILE.lua` and
 * `perigee test` have in common.
 */
#include "server/options.h"

struct script;
struct lua_State;
struct clock;

/*
 * Opens the database that the options describe, and listens when `listen` is an option that was
 * set. The options are the caller's, outlive the script, and are what box.cfg{..} changes; so does
 * the clock, NULL for the system's.
 */
int script_open(struct options *options, struct clock *clock, struct script **out);

/* What a process with a script begins with: its thread, signals, and the options of the arguments,
 * which it takes from their front, the environment and a file. */
int script_options(struct options *options, int *argc, char ***argv);

/* The script's Lua. */
struct lua_State *script_state(struct script *script);

/* Runs the file; when it listens, serves on until a signal. After an error the stack is printed.
 * Returns the exit status. */
int script_run_file(struct script *script, const char *path, int argc, char **argv);

/* Runs `text` with the global `arg` set to the arguments. Returns the exit status. */
int script_run_text(struct script *script, const char *text, int argc, char **argv);

/* Everything that the script has done is durable when it returns `status`; 1 when that failed. */
int script_close(struct script *script, int status);

#endif
