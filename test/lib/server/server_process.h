/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_LIB_SERVER_SERVER_PROCESS_H
#define TEST_LIB_SERVER_SERVER_PROCESS_H

/*
 * The real executable (TEST_PERIGEE) as a process, on a port that the system picks, and clients of
 * it that block. What must not fail in a test ends the test.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct server_process {
    pid_t pid;
    unsigned port;
    char ready[512]; /* the line that it printed */
};

/* Makes a folder under TMPDIR; path has room for 256 bytes. */
void server_folder_make(char *path);

/* Unlinks the files in it, and the folder. */
void server_folder_remove(const char *path);

/* Starts `perigee serve --dir path --listen 127.0.0.1:0` with further options (NULL at the end, or
 * NULL), and returns when it is ready. */
void server_process_start(struct server_process *server, const char *path,
                          const char *const *options);

/* The same with a crash point armed ("name:pass", base/crash_point.h); false when it died before it
 * was ready: then it remains to be waited for. */
bool server_process_start_armed(struct server_process *server, const char *path,
                                const char *const *options, const char *crash_point);

/* Whether it has ended by itself; it remains to be waited for. */
bool server_process_ended(const struct server_process *server);

/* Runs the executable with the arguments (NULL at the end) and waits: as server_process_wait. */
int server_process_run(const char *const *arguments);

/* Sends the signal. */
void server_process_signal(const struct server_process *server, int number);

/* Waits until it has ended: its exit status, or minus the signal that ended it. */
int server_process_wait(struct server_process *server);

/* A connection. Replies are read line by line. */
struct server_client {
    int fd;
    size_t begin, end;
    char buffer[4096];
};

/* False when nobody listens there any more; then there is nothing to close. */
bool server_client_open(struct server_client *client, const struct server_process *server);
void server_client_close(struct server_client *client);

/* Sends all of it; false when the connection is gone. */
bool server_client_send(struct server_client *client, const char *data, size_t size);

/* The next line without its end into line[size]; false when the connection is gone. */
bool server_client_line(struct server_client *client, char *line, size_t size);

/* Sends an inline command and returns the first line of its reply, which is valid until the next
 * call; "$n" is followed by its text and the text is returned, "$-1" is NULL. */
const char *server_client_ask(struct server_client *client, const char *command);

#endif
