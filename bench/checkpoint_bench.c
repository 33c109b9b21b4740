/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a checkpoint does to those who write meanwhile: the 99.9th percentile of the latency of
 * durable SETs at half of the highest rate, over a socket,
 *
 *      alone        nothing else goes on
 *      checkpoint   one checkpoint follows another
 *      neighbour    no checkpoint, but another process writes as many bytes to the same file system
 *                   as the checkpoints did, flushing as often
 *
 * in alternation, with medians at the end. The rate is open: a request has the time at which it was
 * due, so that one that is held up by another counts as late as it is.
 *
 * TEST_PERIGEE names the server (build/bench/perigee), BENCH_DIR where its folder is made
 * (/var/tmp), PAIRS and SECONDS how much is measured (5 pairs of 3 seconds).
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/random.h"

enum {
    KEYS = 200000,
    VALUE_SIZE = 100,
    CONNECTIONS = 50,
    QUEUE = 4096, /* requests of one connection that may be on their way */
    LATENCIES_MAX = 8 << 20,
    SYNC_BYTES = 16 << 20,
    PAIRS_MAX = 64
};

enum mode { ALONE, CHECKPOINT, NEIGHBOUR, MODES };
static const char *const mode_names[MODES] = {"alone", "checkpoint", "neighbour"};

struct connection {
    int fd;
    double due[QUEUE]; /* of the requests that have no reply yet: a ring */
    unsigned first, count;
};

static struct {
    char dir[200], path[220];
    pid_t server;
    struct connection connections[CONNECTIONS];
    struct random random;
    char values[1 << 20];
    double *latencies;
    size_t latency_count;
} bench;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    if (bench.server > 0)
        kill(bench.server, SIGKILL);
    exit(1);
}

static unsigned setting(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : (unsigned)strtoul(text, NULL, 10);
}

/* ------------------------------------------------------------------------------------ the server */

static int connect_to_server(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(bench.path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        fail(bench.path);
    }
    strcpy(address.sun_path, bench.path);
    for (unsigned tried = 0; tried < 500; tried++) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (fd < 0)
            fail("socket");
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
            return fd;
        close(fd);
        usleep(10000);
    }
    fail("the server cannot be reached");
    return -1;
}

static void server_start(void)
{
    const char *program = getenv("TEST_PERIGEE");
    program = program == NULL ? "build/bench/perigee" : program;
    char listen[240], data[220];
    snprintf(bench.path, sizeof bench.path, "%s/s", bench.dir);
    snprintf(listen, sizeof listen, "unix:%s", bench.path);
    snprintf(data, sizeof data, "%s/data", bench.dir);
    bench.server = fork();
    if (bench.server == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 1);
        execl(program, program, "serve", "--dir", data, "--listen", listen,
              "--checkpoint-log-bytes", "0", "--checkpoint-interval", "0", (char *)NULL);
        _exit(127);
    }
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        bench.connections[i].fd = connect_to_server();
        fcntl(bench.connections[i].fd, F_SETFL, O_NONBLOCK);
    }
}

static void server_stop(void)
{
    for (unsigned i = 0; i < CONNECTIONS; i++)
        close(bench.connections[i].fd);
    kill(bench.server, SIGTERM);
    waitpid(bench.server, NULL, 0);
}

/* A command on a connection of its own; the reply, of at most one buffer, stays until the next. */
static const char *command(const char *text)
{
    static char reply[65536];
    size_t size = 0;
    int fd = connect_to_server();
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        fail("write");
    shutdown(fd, SHUT_WR);
    for (ssize_t n;
         size < sizeof reply - 1 && (n = read(fd, reply + size, sizeof reply - 1 - size)) > 0;)
        size += (size_t)n;
    reply[size] = '\0';
    close(fd);
    return reply;
}

static double info(const char *name)
{
    const char *found = strstr(command("INFO persistence\r\n"), name);
    return found == NULL ? 0 : strtod(found + strlen(name) + 1, NULL);
}

/* ----------------------------------------------------------------------------------- the requests */

static bool request_send(struct connection *connection, double due)
{
    char text[256];
    if (connection->count == QUEUE)
        return false;
    int size = snprintf(text, sizeof text, "*3\r\n$3\r\nSET\r\n$10\r\nkey:%06llu\r\n$%d\r\n",
                        (unsigned long long)random_below(&bench.random, KEYS), VALUE_SIZE);
    memcpy(text + size,
           bench.values + random_below(&bench.random, sizeof bench.values - VALUE_SIZE),
           VALUE_SIZE);
    memcpy(text + size + VALUE_SIZE, "\r\n", 2);
    size += VALUE_SIZE + 2;
    ssize_t written = write(connection->fd, text, (size_t)size);
    if (written < 0 && errno == EAGAIN)
        return false;
    if (written != size)
        fail("write");
    connection->due[(connection->first + connection->count++) % QUEUE] = due;
    return true;
}

/* Every reply is "+OK\r\n". */
static void replies_take(struct connection *connection)
{
    char text[65536];
    ssize_t size = read(connection->fd, text, sizeof text);
    if (size <= 0 || size % 5 != 0 || text[0] != '+')
        fail("the server answers otherwise than +OK");
    double at = now();
    for (ssize_t n = size / 5; n > 0; n--) {
        if (bench.latency_count < LATENCIES_MAX)
            bench.latencies[bench.latency_count++] = at - connection->due[connection->first];
        connection->first = (connection->first + 1) % QUEUE;
        connection->count--;
    }
}

static void replies_wait(int timeout_ms)
{
    struct pollfd polls[CONNECTIONS];
    for (unsigned i = 0; i < CONNECTIONS; i++)
        polls[i] = (struct pollfd){.fd = bench.connections[i].fd, .events = POLLIN};
    if (poll(polls, CONNECTIONS, timeout_ms) < 0)
        fail("poll");
    for (unsigned i = 0; i < CONNECTIONS; i++)
        if (polls[i].revents != 0)
            replies_take(&bench.connections[i]);
}

static void drain(void)
{
    for (unsigned i = 0; i < CONNECTIONS; i++)
        while (bench.connections[i].count > 0)
            replies_wait(1000);
}

/* As fast as it goes, one request of each connection at a time: requests a second. */
static double rate_highest(double seconds)
{
    double start = now(), end = start + seconds;
    bench.latency_count = 0;
    while (now() < end) {
        for (unsigned i = 0; i < CONNECTIONS; i++)
            if (bench.connections[i].count == 0)
                request_send(&bench.connections[i], now());
        replies_wait(1000);
    }
    double rate = (double)bench.latency_count / (now() - start);
    drain();
    return rate;
}

/* At a rate, for a time. */
static void rate_run(double rate, double seconds, bool checkpoints)
{
    double start = now(), end = start + seconds, saved = start;
    uint64_t sent = 0;
    unsigned next = 0;
    bench.latency_count = 0;
    for (double time = start; time < end; time = now()) {
        while (start + (double)sent / rate <= time) {
            while (
                !request_send(&bench.connections[next % CONNECTIONS], start + (double)sent / rate))
                replies_wait(0);
            next++;
            sent++;
        }
        if (checkpoints && time >= saved) {
            command("BGSAVE SCHEDULE\r\n");
            saved = time + 0.25;
        }
        replies_wait(0);
    }
    drain();
}

/* ---------------------------------------------------------------------------------- the neighbour */

/* Writes at a steady pace until it is killed. */
static pid_t neighbour_start(double bytes_per_second)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    char path[240];
    snprintf(path, sizeof path, "%s/neighbour", bench.dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    double start = now();
    for (uint64_t bytes = 0, unsynced = 0;; bytes += sizeof bench.values) {
        while ((double)bytes > bytes_per_second * (now() - start))
            usleep(1000);
        if (write(fd, bench.values, sizeof bench.values) != (ssize_t)sizeof bench.values)
            _exit(1);
        unsynced += sizeof bench.values;
        if (unsynced >= SYNC_BYTES) {
            fdatasync(fd);
            unsynced = 0;
        }
    }
}

static void neighbour_stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* --------------------------------------------------------------------------------------- figures */

static int double_compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double percentile(double part)
{
    qsort(bench.latencies, bench.latency_count, sizeof(double), double_compare);
    return bench.latencies[(size_t)((double)(bench.latency_count - 1) * part)] * 1e3;
}

static double bytes_written(void)
{
    return info("checkpoint_bytes") + info("checkpoint_merged_bytes");
}

static double run(enum mode mode, double rate, double seconds, double *bytes_per_second)
{
    double before = bytes_written();
    pid_t neighbour = mode == NEIGHBOUR ? neighbour_start(*bytes_per_second) : 0;
    rate_run(rate, seconds, mode == CHECKPOINT);
    if (neighbour != 0)
        neighbour_stop(neighbour);
    if (mode == CHECKPOINT)
        *bytes_per_second = (bytes_written() - before) / seconds;
    double p50 = percentile(0.5), p999 = percentile(0.999);
    printf("%-12s p50 %7.3f ms   p99.9 %8.3f ms   %zu requests", mode_names[mode], p50, p999,
           bench.latency_count);
    if (mode == CHECKPOINT)
        printf("   %.1f MB/s by checkpoints", *bytes_per_second / 1e6);
    printf("\n");
    fflush(stdout);
    return p999;
}

static void measure(unsigned pairs, double seconds)
{
    static double p999[MODES][PAIRS_MAX];
    double rate = rate_highest(seconds) / 2, bytes_per_second = 0;
    printf("%d connections, %.0f requests a second: half of the highest rate\n", CONNECTIONS, rate);
    command("SAVE\r\n");
    for (unsigned i = 0; i < pairs; i++) {
        enum mode first = i % 2 ? CHECKPOINT : ALONE, second = i % 2 ? ALONE : CHECKPOINT;
        p999[first][i] = run(first, rate, seconds, &bytes_per_second);
        p999[second][i] = run(second, rate, seconds, &bytes_per_second);
        p999[NEIGHBOUR][i] = run(NEIGHBOUR, rate, seconds, &bytes_per_second);
    }
    printf("medians of p99.9:");
    for (unsigned mode = 0; mode < MODES; mode++) {
        qsort(p999[mode], pairs, sizeof(double), double_compare);
        printf("  %s %.3f ms", mode_names[mode], p999[mode][pairs / 2]);
    }
    printf("\n");
}

int main(void)
{
    unsigned pairs = setting("PAIRS", 5), seconds = setting("SECONDS", 3);
    const char *where = getenv("BENCH_DIR");
    if (pairs > PAIRS_MAX)
        pairs = PAIRS_MAX;
    signal(SIGPIPE, SIG_IGN);
    random_create(&bench.random, 1);
    for (size_t i = 0; i < sizeof bench.values; i++)
        bench.values[i] = (char)('a' + random_below(&bench.random, 26));
    bench.latencies = malloc(LATENCIES_MAX * sizeof(double));
    snprintf(bench.dir, sizeof bench.dir, "%s/perigee-bench-XXXXXX",
             where == NULL ? "/var/tmp" : where);
    bench_dir_create(bench.dir);
    server_start();
    measure(pairs, seconds);
    server_stop();
    bench_dir_remove(bench.dir);
    free(bench.latencies);
    return 0;
}
