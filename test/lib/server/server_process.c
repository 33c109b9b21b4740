/* SPDX-License-Identifier: Apache-2.0 */

/* Processes and blocking sockets, without anything that could hide a failure. */
#include "server/server_process.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(bool right, const char *what)
{
    if (right)
        return;
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    abort();
}

void server_folder_make(char *path)
{
    const char *parent = getenv("TMPDIR");
    snprintf(path, 256, "%s/perigee-process-XXXXXX", parent && *parent ? parent : "/tmp");
    must(mkdtemp(path) != NULL, path);
}

void server_folder_remove(const char *path)
{
    DIR *folder = opendir(path);
    must(folder != NULL, path);
    struct dirent *entry;
    while ((entry = readdir(folder)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
    must(rmdir(path) == 0, path);
}

static void process_run(const char *path, const char *const *options, int out)
{
    enum { ARGUMENTS_MAX = 32 };
    const char *arguments[ARGUMENTS_MAX] = {
        getenv("TEST_PERIGEE"), "serve",          "--dir", path, "--listen",
        "127.0.0.1:0",          "--lua_time_max", "10min"}; /* a machine may be slow */
    size_t count = 8;
    while (options && *options && count < ARGUMENTS_MAX - 1)
        arguments[count++] = *options++;
    prctl(PR_SET_PDEATHSIG, SIGKILL);   /* a test that fails leaves nothing behind */
    unsetenv("PERIGEE_STRESS_SECONDS"); /* for the test, and no option of the server */
    dup2(out, STDOUT_FILENO);
    execv(arguments[0], (char *const *)(size_t)arguments);
    perror(arguments[0]);
    _exit(127);
}

bool server_process_start_armed(struct server_process *server, const char *path,
                                const char *const *options, const char *crash_point)
{
    int ends[2];
    must(getenv("TEST_PERIGEE") != NULL, "TEST_PERIGEE is not set");
    must(pipe(ends) == 0, "pipe");
    server->pid = fork();
    must(server->pid >= 0, "fork");
    if (server->pid == 0) {
        close(ends[0]);
        if (crash_point != NULL)
            setenv("PERIGEE_CRASH_POINT", crash_point, 1);
        process_run(path, options, ends[1]);
    }
    close(ends[1]);
    FILE *out = fdopen(ends[0], "r");
    must(out != NULL, "fdopen");
    bool ready = fgets(server->ready, sizeof server->ready, out) != NULL;
    fclose(out);
    if (!ready)
        return false;
    const char *port = strstr(server->ready, "listening on 127.0.0.1:");
    must(port != NULL, server->ready);
    server->port = (unsigned)atoi(port + strlen("listening on 127.0.0.1:"));
    return true;
}

void server_process_start(struct server_process *server, const char *path,
                          const char *const *options)
{
    must(server_process_start_armed(server, path, options, NULL), "the server did not get ready");
}

int server_process_run(const char *const *words)
{
    enum { ARGUMENTS_MAX = 16 };
    const char *arguments[ARGUMENTS_MAX] = {getenv("TEST_PERIGEE")};
    struct server_process process;
    must(arguments[0] != NULL, "TEST_PERIGEE is not set");
    for (size_t count = 1; *words && count < ARGUMENTS_MAX - 1; count++)
        arguments[count] = *words++;
    fflush(stdout);
    process.pid = fork();
    must(process.pid >= 0, "fork");
    if (process.pid == 0) {
        execv(arguments[0], (char *const *)(size_t)arguments);
        perror(arguments[0]);
        _exit(127);
    }
    return server_process_wait(&process);
}

bool server_process_ended(const struct server_process *server)
{
    siginfo_t info = {.si_pid = 0};
    must(waitid(P_PID, (id_t)server->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0, "waitid");
    return info.si_pid != 0;
}

void server_process_signal(const struct server_process *server, int number)
{
    must(kill(server->pid, number) == 0, "kill");
}

int server_process_wait(struct server_process *server)
{
    int status;
    must(waitpid(server->pid, &status, 0) == server->pid, "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

bool server_client_open(struct server_client *client, const struct server_process *server)
{
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((unsigned short)server->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    client->begin = client->end = 0;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(client->fd >= 0, "socket");
    if (connect(client->fd, (struct sockaddr *)&address, sizeof address) != 0) {
        must(errno == ECONNREFUSED || errno == ECONNRESET, "connect");
        close(client->fd);
        return false;
    }
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return true;
}

void server_client_close(struct server_client *client)
{
    close(client->fd);
}

bool server_client_send(struct server_client *client, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(client->fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        data += sent;
        size -= (size_t)sent;
    }
    return true;
}

/* More bytes behind those that are there. */
static bool client_fill(struct server_client *client)
{
    memmove(client->buffer, client->buffer + client->begin, client->end - client->begin);
    client->end -= client->begin;
    client->begin = 0;
    ssize_t got =
        recv(client->fd, client->buffer + client->end, sizeof client->buffer - client->end, 0);
    if (got <= 0)
        return false;
    client->end += (size_t)got;
    return true;
}

bool server_client_line(struct server_client *client, char *line, size_t size)
{
    for (;;) {
        char *begin = client->buffer + client->begin;
        char *end = memchr(begin, '\n', client->end - client->begin);
        if (end) {
            size_t length = (size_t)(end - begin);
            length -= length > 0 && begin[length - 1] == '\r';
            must(length < size, "a reply is too long for the test");
            memcpy(line, begin, length);
            line[length] = 0;
            client->begin += (size_t)(end - begin) + 1;
            return true;
        }
        if (!client_fill(client))
            return false;
    }
}

const char *server_client_ask(struct server_client *client, const char *command)
{
    static _Thread_local char line[1024];
    must(server_client_send(client, command, strlen(command)) &&
             server_client_send(client, "\r\n", 2),
         command);
    must(server_client_line(client, line, sizeof line), command);
    if (strcmp(line, "$-1") == 0)
        return NULL;
    if (line[0] == '$')
        must(server_client_line(client, line, sizeof line), command);
    return line;
}
