/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a checkpoint does to those who write meanwhile: the 99.9th percentile of the latency of
 * durable SETs at half of the highest rate, over a socket,
 *
 *      alone        nothing else goes on
 *      checkpoint   one checkpoint follows another
 *      writes       no checkpoint, but another process writes as many bytes to the same file system
 *                   as the checkpoints did: to one file that grows, with a flush every 4 MiB
 *      files        the same, and as many files: each is made, written, flushed every 4 MiB and at
 *                   its end, renamed, made durable with its folder, and removed when the next one
 *                   is there
 *
 * in alternation, with medians at the end. The rate is open: a request has the time at which it was
 * due, so that one that is held up by another counts as late as it is.
 *
 * The load is made by a process that sleeps between its turns (TURN_NS): one that spins would take a
 * core, and on a machine of few cores the figures would be those of its own time slices, since the
 * kernel completes a log write on the core that has the disk's interrupts.
 *
 * TEST_PERIGEE names the server (build/bench/perigee), BENCH_DIR where its folder is made
 * (/var/tmp), PAIRS and SECONDS how much is measured (5 rounds of 3 seconds each), MODES which of
 * the four (all), RATE how many requests a second (half of the highest rate).
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
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
    SYNC_BYTES = 4 << 20,
    FILE_BYTES = 16 << 20, /* of a neighbour's file, when nothing is known of the checkpoints' */
    TURN_NS = 100000,
    PAIRS_MAX = 64
};

enum mode { ALONE, CHECKPOINT, WRITES, FILES, MODES };
static const char *const mode_names[MODES] = {"alone", "checkpoint", "writes", "files"};

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

/* Takes what has come until `until`, or what is there. */
static void replies_wait(double until)
{
    double left = until - now();
    struct timespec timeout = {0};
    if (left > 0)
        timeout = (struct timespec){(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
    struct pollfd polls[CONNECTIONS];
    for (unsigned i = 0; i < CONNECTIONS; i++)
        polls[i] = (struct pollfd){.fd = bench.connections[i].fd, .events = POLLIN};
    if (ppoll(polls, CONNECTIONS, &timeout, NULL) < 0)
        fail("poll");
    for (unsigned i = 0; i < CONNECTIONS; i++)
        if (polls[i].revents != 0)
            replies_take(&bench.connections[i]);
}

static void drain(void)
{
    for (unsigned i = 0; i < CONNECTIONS; i++)
        while (bench.connections[i].count > 0)
            replies_wait(now() + 1);
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
        replies_wait(now() + 1);
    }
    double rate = (double)bench.latency_count / (now() - start);
    drain();
    return rate;
}

/* Asks for a checkpoint, and does not wait for the answer. */
static void checkpoint_ask(int fd)
{
    static const char text[] = "BGSAVE SCHEDULE\r\n";
    char replies[4096];
    while (recv(fd, replies, sizeof replies, MSG_DONTWAIT) > 0)
        ;
    if (write(fd, text, sizeof text - 1) != (ssize_t)sizeof text - 1)
        fail("write");
}

/* At a rate, for a time. */
static void rate_run(double rate, double seconds, bool checkpoints)
{
    int control = connect_to_server();
    double start = now(), end = start + seconds, saved = start;
    uint64_t sent = 0;
    unsigned next = 0;
    bench.latency_count = 0;
    for (double time = start; time < end; time = now()) {
        while (start + (double)sent / rate <= time) {
            while (
                !request_send(&bench.connections[next % CONNECTIONS], start + (double)sent / rate))
                replies_wait(now() + TURN_NS / 1e9);
            next++;
            sent++;
        }
        if (checkpoints && time >= saved) {
            checkpoint_ask(control);
            saved = time + 0.25;
        }
        for (double turn_end = time + TURN_NS / 1e9; now() < turn_end;)
            replies_wait(turn_end);
    }
    drain();
    close(control);
}

/* ---------------------------------------------------------------------------------- the neighbour */

struct neighbour {
    char dir[240], made[300], named[300], old[300];
    int fd, dir_fd;
    uint64_t number, bytes, unsynced;
};

static void neighbour_file(struct neighbour *neighbour)
{
    snprintf(neighbour->made, sizeof neighbour->made, "%s/neighbour.new", neighbour->dir);
    neighbour->fd = open(neighbour->made, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    neighbour->bytes = neighbour->unsynced = 0;
}

static void neighbour_file_end(struct neighbour *neighbour)
{
    fdatasync(neighbour->fd);
    close(neighbour->fd);
    snprintf(neighbour->named, sizeof neighbour->named, "%s/neighbour.%llu", neighbour->dir,
             (unsigned long long)neighbour->number++);
    rename(neighbour->made, neighbour->named);
    fsync(neighbour->dir_fd);
    unlink(neighbour->old);
    memcpy(neighbour->old, neighbour->named, sizeof neighbour->old);
}

/* Writes at a steady pace until it is killed. file_bytes 0: to one file. */
static pid_t neighbour_start(double bytes_per_second, double file_bytes)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    struct neighbour neighbour = {.old = ""};
    snprintf(neighbour.dir, sizeof neighbour.dir, "%s", bench.dir);
    neighbour.dir_fd = open(neighbour.dir, O_RDONLY | O_DIRECTORY);
    neighbour_file(&neighbour);
    double start = now();
    for (double bytes = 0;; bytes += sizeof bench.values) {
        while (bytes > bytes_per_second * (now() - start))
            usleep(1000);
        if (write(neighbour.fd, bench.values, sizeof bench.values) != (ssize_t)sizeof bench.values)
            _exit(1);
        neighbour.bytes += sizeof bench.values;
        neighbour.unsynced += sizeof bench.values;
        if (neighbour.unsynced >= SYNC_BYTES) {
            fdatasync(neighbour.fd);
            neighbour.unsynced = 0;
        }
        if (file_bytes > 0 && (double)neighbour.bytes >= file_bytes) {
            neighbour_file_end(&neighbour);
            neighbour_file(&neighbour);
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

/* What checkpoints have written. */
struct written {
    double bytes, files;
};

static struct written written_now(void)
{
    return (struct written){info("checkpoint_bytes") + info("checkpoint_merged_bytes"),
                            info("rdb_saves") + info("checkpoint_merges")};
}

/* *rate is what the checkpoints wrote in a second when they ran last. */
static double run(enum mode mode, double requests, double seconds, struct written *rate)
{
    struct written before = written_now();
    pid_t neighbour = 0;
    if (mode == WRITES)
        neighbour = neighbour_start(rate->bytes, 0);
    else if (mode == FILES)
        neighbour =
            neighbour_start(rate->bytes, rate->files > 0 ? rate->bytes / rate->files : FILE_BYTES);
    rate_run(requests, seconds, mode == CHECKPOINT);
    if (neighbour != 0)
        neighbour_stop(neighbour);
    struct written after = written_now();
    if (mode == CHECKPOINT)
        *rate = (struct written){(after.bytes - before.bytes) / seconds,
                                 (after.files - before.files) / seconds};
    double p50 = percentile(0.5), p99 = percentile(0.99), p999 = percentile(0.999);
    printf("%-12s p50 %7.3f ms   p99 %8.3f ms   p99.9 %8.3f ms   %zu requests", mode_names[mode],
           p50, p99, p999, bench.latency_count);
    if (mode == CHECKPOINT)
        printf("   %.1f MB and %.1f files a second by checkpoints", rate->bytes / 1e6, rate->files);
    printf("\n");
    fflush(stdout);
    return p999;
}

static void measure(unsigned pairs, double seconds)
{
    static double p999[MODES][PAIRS_MAX];
    const char *wanted = getenv("MODES");
    struct written rate = {20e6, 0};
    unsigned requests = setting("RATE", 0);
    double highest = rate_highest(requests == 0 ? seconds : 1);
    if (requests == 0)
        requests = (unsigned)(highest / 2);
    printf("%d connections, %u requests a second; the highest rate is %.0f\n", CONNECTIONS,
           requests, highest);
    command("SAVE\r\n");
    for (unsigned i = 0; i < pairs; i++) {
        const enum mode orders[2][MODES] = {{ALONE, CHECKPOINT, WRITES, FILES},
                                            {CHECKPOINT, ALONE, FILES, WRITES}};
        for (unsigned n = 0; n < MODES; n++) {
            enum mode mode = orders[i % 2][n];
            if (wanted == NULL || strstr(wanted, mode_names[mode]) != NULL)
                p999[mode][i] = run(mode, requests, seconds, &rate);
        }
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
    prctl(PR_SET_TIMERSLACK, 1000UL);
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
