/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_COMMAND_H
#define SERVER_COMMAND_H

/*
 * What `perigee WORD` does: one function a word, in a file of its own, and a row of the table in
 * main.c. Each gets the arguments behind the word and returns the process's exit status.
 */
int command_serve(int argc, char **argv);
int command_console(int argc, char **argv);
int command_load(int argc, char **argv);
int command_dump(int argc, char **argv);
int command_test(int argc, char **argv);
int command_wal(int argc, char **argv);
int command_run(int argc, char **argv);
int command_backup(int argc, char **argv);
int command_restore(int argc, char **argv);
int command_check(int argc, char **argv);
int command_version(int argc, char **argv);
int command_options(int argc, char **argv);

/* `perigee [--OPTION VALUE]... FILE.lua [argument]...`: all arguments of the process but its name.
 */
int command_file(int argc, char **argv);

/* Prints the diagnostics of `code` on standard error in one line, "perigee: ...". Returns 1. */
int command_failed(int code);

#endif
