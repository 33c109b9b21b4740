/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

/*
 * What can be set, declared once: OPTIONS_LIST makes the struct, the parsers of all sources, the
 * error messages, what INFO and CONFIG GET tell, and docs/configuration.md.
 *
 * Where a value comes from decides which one counts, from weak to strong: the default, a file or
 * box.cfg, the environment, the command line. So the order of loading does not matter.
 */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * X(name, type of the field, kind, default as one writes it, what it is)
 *
 * The kinds: TEXT, a string of the options' own; SECRET, one that is not shown; COUNT, a number;
 * SIZE, bytes; TIME, milliseconds; SWITCH, 0 or 1; DURABILITY, TLS_CLIENTS, TLS_USER and LEVEL, one of
 * some words (an enum wal_durability, tls_clients, tls_name, log_level); CACHE_POLICY, the number of one
 * (cache_policy_name).
 */
#define OPTIONS_LIST(X)                                                                            \
    X(dir, char *, TEXT, "var",                                                                    \
      "The folder of the database: its log, its lock and, while it is served, its address. It is " \
      "made when it is missing.")                                                                  \
    X(listen, char *, TEXT, "127.0.0.1:6379",                                                      \
      "Where clients connect: `address:port`, `[IPv6 address]:port`, `*:port` for every IPv4 "     \
      "address of the machine, `[::]:port` for every IPv6 address, `unix:path`, or `systemd` and " \
      "`systemd:name` for sockets that systemd has opened (docs/service.md); several have commas " \
      "between them. With port 0 the system picks a free one, and the line that `serve` prints "   \
      "says which. Behind an address, with spaces: `tls` (docs/tls.md), `proxy` (each "            \
      "connection begins with a header of the PROXY protocol, version 2), and behind a path "      \
      "`mode=660`. An address that other machines can reach needs a `password`, or `tls` with "    \
      "`tls_clients` required.")                                                                   \
    X(workers, unsigned, COUNT, "0",                                                               \
      "Threads that serve connections and run procedures, at most 1024; 0 makes one for each "     \
      "core. Two more stand by, for connections of those that compute when all of them do "        \
      "(docs/procedures.md).")                                                                     \
    X(balance, int, SWITCH, "on",                                                                  \
      "Whether a worker that is busy all the time gives some of its connections to one that is "   \
      "not.")                                                                                      \
    X(durability, int, DURABILITY, "commit",                                                       \
      "When a write is acknowledged. `commit`: when it is on stable storage. `interval`: when "    \
      "the operating system has it, so that a killed process loses nothing; it is flushed every "  \
      "second at least. `none`: at once.")                                                         \
    X(log_segment_max, uint64_t, SIZE, "64mb",                                                     \
      "How large a file of the log may become, from 64kb; the first ones are smaller. A file is "  \
      "given up as a whole, so smaller ones follow checkpoints more closely.")                     \
    X(memory_max, uint64_t, SIZE, "0",                                                             \
      "Memory for rows and their indexes, and for caches of what lies on disk. When it gets "      \
      "short, a checkpoint frees what can be freed, then caches become smaller, then writers are " \
      "slowed; when it is used up, writes that need more are refused with `-OOM`, while reads "    \
      "and deletions go on. 0: no limit.")                                                         \
    X(memory_cache, unsigned, COUNT, "25",                                                         \
      "How much of `memory_max`, in percent up to 80, is for caches, once a space has something "  \
      "on disk to be cached. What is left is for rows and their indexes.")                         \
    X(cache_policy, int, CACHE_POLICY, "arc-scan",                                                 \
      "What of the caches goes when there is no room left. `arc-scan` weighs what was used "       \
      "lately against what was used often, and is not led astray by scans; the others are to be "  \
      "compared with it. A change keeps what is in the caches; `box.stat.memory().cache` says "    \
      "how often they had what was looked for.")                                                   \
    X(memory_lua, unsigned, COUNT, "0",                                                            \
      "How much of `memory_max`, in percent up to 15, is for the Lua of all workers together, "    \
      "each of which has an equal part and needs 8 MB; who stands by may have as much. 0: Lua "    \
      "counts apart, by `lua_memory_max`.")                                                        \
    X(tuner, int, SWITCH, "off",                                                                   \
      "Whether numbers that the database goes by are adjusted to what is measured: how often the " \
      "log is flushed (durability `interval` and `none`), how long it waits for more to write at " \
      "once (`commit`), what part of `memory_max` caches have, "                                   \
      "how many threads merge files, and how much they take at once. Each change is logged with "  \
      "its reason, and `box.stat.memory.tuner` shows them (docs/memory.md). When it is switched "  \
      "off, they stay as they are.")                                                               \
    X(tuner_limits, char *, TEXT, "",                                                              \
      "Between which limits the tuner adjusts: `name=least..most`, with commas between them. "     \
      "`log_flush_interval` is in ms (100..1000, if nothing is said), `log_gather` in us "         \
      "(0..2000), `cache_share` in percent "                                                       \
      "(half to twice `memory_cache`), `compaction_threads` a number (from 1 to twice the cores, " \
      "or to `compaction_threads` if that is more), and `compaction_step` in KB (16..1024).")      \
    X(checkpoint_log_bytes, uint64_t, SIZE, "256mb",                                               \
      "A checkpoint is made when the log has grown by so much since the last one. It writes "      \
      "what has changed, and what it covers of the log is given up. 0: not for this reason.")      \
    X(checkpoint_interval, uint64_t, TIME, "1h",                                                   \
      "A checkpoint is made after so much time if something has changed. 0: not for this reason.") \
    X(checkpoint_rate, uint64_t, SIZE, "0",                                                        \
      "How many bytes a second checkpoints and the merging of their files write at most. 0: no "   \
      "limit.")                                                                                    \
    X(background_rate, uint64_t, SIZE, "0",                                                        \
      "How many bytes a second background work, which is the merging of files, reads and writes "  \
      "at most. 0: no limit.")                                                                     \
    X(user_rate, uint64_t, SIZE, "0",                                                              \
      "How many bytes a second requests read from files at most, so that others have something "   \
      "of "                                                                                        \
      "a disk that is shared with them. 0: no limit. The log has none: everybody waits for it, "   \
      "and it has a ring of its own.")                                                             \
    X(compaction_threads, unsigned, COUNT, "2",                                                    \
      "How many threads merge the files of spaces whose rows leave memory, from 1 to 16.")         \
    X(io_depth, unsigned, COUNT, "64",                                                             \
      "How many reads and writes of files are in flight at a time, at most 256. A disk that "      \
      "works on many at once wants more; one that others wait for, less.")                         \
    X(log_compression, int, SWITCH, "off",                                                         \
      "Whether large parts of the log are compressed (zstd). It saves space in the folder and in " \
      "the archive, and costs time of a core.")                                                    \
    X(watch_log_max, uint64_t, SIZE, "1gb",                                                        \
      "How much log is kept for a watch (`box.watch`) that has not come to it, beyond what is "    \
      "kept anyway. A watch that needs more is cut off, and says so.")                             \
    X(archive, char *, TEXT, "",                                                                   \
      "A folder, best on another disk, to which each finished file of the log is copied before "   \
      "it "                                                                                        \
      "is given up: with a backup it brings back the state of any moment since. It belongs to "    \
      "one "                                                                                       \
      "database, and nothing in it is ever removed by the server. Empty: no archive.")             \
    X(backup_dir, char *, TEXT, "",                                                                \
      "The folder below which `BACKUP TO` makes backups. Empty: that command is refused.")         \
    X(lua_time_max, uint64_t, TIME, "5s",                                                          \
      "How long one call of a procedure or script may run. Then it ends with an error and is "     \
      "rolled back.")                                                                              \
    X(lua_memory_max, uint64_t, SIZE, "256mb",                                                     \
      "Memory that the Lua of one worker may use for procedures and scripts.")                     \
    X(fio_dir, char *, TEXT, "",                                                                   \
      "The folder whose files procedures and text may use, if their user has been granted the "    \
      "binding `fio`; nothing outside of it. Empty: none.")                                        \
    X(password, char *, SECRET, "",                                                                \
      "What clients have to say first (AUTH, or HELLO with AUTH). Without one, only this "         \
      "machine is served.")                                                                        \
    X(tls_certificate, char *, TEXT, "",                                                           \
      "A file with the server's certificate, and behind it those that lead to its authority's, "   \
      "in PEM. It, the key and `tls_ca` are read again at SIGHUP.")                                \
    X(tls_key, char *, TEXT, "",                                                                   \
      "A file with the certificate's private key, in PEM, unencrypted.")                           \
    X(tls_ca, char *, TEXT, "",                                                                    \
      "A file with the certificates of those who are believed who a client is, in PEM.")           \
    X(tls_clients, int, TLS_CLIENTS, "off",                                                        \
      "Whether clients that speak TLS are asked for a certificate.")                               \
    X(tls_user, int, TLS_USER, "off",                                                              \
      "Whose connection one with a client's certificate is from the start: the user that its "     \
      "common name (`cn`), or the first DNS name, e-mail address or URI of its alternative names " \
      "(`san`), names. Where there is no such user, it has to log in.")                            \
    X(log_level, int, LEVEL, "info",                                                               \
      "Messages on standard error, up to this level: `error`, `warn`, `info` or `debug`.")         \
    X(clients_max, unsigned, COUNT, "10000",                                                       \
      "Connections at a time; those beyond are told so and closed.")                               \
    X(request_max, uint64_t, SIZE, "512mb",                                                        \
      "The largest argument of a command, and the largest MessagePack-RPC message.")               \
    X(lock_timeout, uint64_t, TIME, "10s",                                                         \
      "How long a request may wait for others: for locks, and for interactive transactions that "  \
      "have written what it writes. Then it fails with `-LOCKTIMEOUT`. A connection may say "      \
      "something else (LOCKTIMEOUT). 0: no limit.")                                                \
    X(transaction_idle_max, uint64_t, TIME, "60s",                                                 \
      "How long an interactive transaction may do nothing between two statements. Then it is "     \
      "rolled back. 0: no limit.")                                                                 \
    X(transaction_time_max, uint64_t, TIME, "5min",                                                \
      "How long an interactive transaction may be open. Then it is rolled back. 0: no limit.")     \
    X(snapshot_age_max, uint64_t, TIME, "10min",                                                   \
      "How old the snapshot of an open transaction may become, which keeps old versions of "       \
      "rows in memory. Then it is rolled back. 0: no limit.")                                      \
    X(subscriber_max, uint64_t, SIZE, "32mb",                                                      \
      "Messages that a connection which listens to channels may leave unread. Then it is closed. " \
      "The setting `client-output-buffer-limit` says more, for others as well.")                   \
    X(stop_time_max, uint64_t, TIME, "10s",                                                        \
      "How long an orderly stop waits for clients that do not read their replies.")                \
    X(config, char *, TEXT, "",                                                                    \
      "A file with options: Lua that returns a table of them, such as `return {listen = "          \
      "'127.0.0.1:7000', memory_max = '2gb'}`.")

enum options_source { OPTIONS_DEFAULT, OPTIONS_FILE, OPTIONS_ENVIRONMENT, OPTIONS_ARGUMENT };

#define OPTIONS_FIELD(name, type, kind, text, about)  type name;
#define OPTIONS_NUMBER(name, type, kind, text, about) OPTIONS_##name,
enum { OPTIONS_LIST(OPTIONS_NUMBER) OPTIONS_COUNT };

/* A setting under Redis's name: what CONFIG SET sets while the server runs, and that is no option of the
 * table. */
struct options_setting {
    char *name, *value; /* the name with dashes, as Redis writes it */
    unsigned char source;
};

struct options {
    OPTIONS_LIST(OPTIONS_FIELD)
    unsigned char source[OPTIONS_COUNT]; /* enum options_source */
    struct options_setting *settings;
    size_t setting_count;
};
#undef OPTIONS_FIELD
#undef OPTIONS_NUMBER

enum { OPTIONS_TEXT_MAX = 255 };

/* When an option may change: with a start only, until clients are served, at any time. */
enum options_change { OPTIONS_CHANGE_START, OPTIONS_CHANGE_LISTEN, OPTIONS_CHANGE_ANY };

/* All defaults. ERROR_MEMORY. */
int options_create(struct options *options);
void options_destroy(struct options *options);

/* The name of the n-th option, n < OPTIONS_COUNT. */
const char *options_name(size_t number);

enum options_change options_change(size_t number);

/* Whether the option has one value in both. */
bool options_equal(const struct options *left, const struct options *right, size_t number);

/* True unless the option still has its default. */
bool options_is_set(const struct options *options, size_t number);

/* One name for what may be called in several ways: the option that Redis's name stands for (`maxmemory`,
 * with dashes or underscores), of Redis's settings the newest name with dashes, `name` itself of any other. */
const char *options_canonical(const char *name);

/*
 * Sets one option from text, unless a stronger source has set it. Names of Redis's are taken as well: those
 * that stand for an option, and those of its settings. ERROR_INVALID with diagnostics:
 * no option is called so, and which one may have been meant; or what a right value would be.
 */
int options_set(struct options *options, const char *name, const char *value,
                enum options_source source);

/* The value as one could write it, into `out` of OPTIONS_TEXT_MAX + 1 bytes; "(set)" for a secret.
 */
void options_format(const struct options *options, size_t number, char *out);

/*
 * Takes options from the front of the arguments, as --name value or --name=value, up to the first
 * argument that is none, or behind "--". Moves *argc and *argv behind what it took. A dash in a
 * name counts as an underscore.
 */
int options_load_arguments(struct options *options, int *argc, char ***argv);

/* PERIGEE_NAME for each option. Other variables that begin with PERIGEE_ are errors as well, but
 * for PERIGEE_SEED, which random tests read, PERIGEE_CRASH_POINT (base/crash_point.h)
 * and PERIGEE_TEST_CLOCK (server/test_clock.h). */
int options_load_environment(struct options *options, char *const *environment);

/* Runs the file in a Lua state without libraries and takes the table that it returns. */
int options_load_file(struct options *options, const char *path);

/* The file that CONFIG REWRITE writes, and that is read at the start: the one that `config` names, or
 * settings.lua in the folder `dir`. */
void options_file(const struct options *options, char path[PATH_MAX]);

/*
 * All of it: the arguments, the environment, and the file of options, when it is named or there.
 */
int options_load(struct options *options, int *argc, char ***argv, char *const *environment);

/* docs/configuration.md. */
void options_print_markdown(FILE *out);

#endif
