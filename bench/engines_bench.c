/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spaces on disk beside the libraries that do nothing else: the engine lsm beside RocksDB, filled in
 * random order by a transaction a row; the engine btree beside LMDB, loaded in the order of keys by
 * a transaction for BATCH rows. Of ours it is the whole path: head, transactions, log, checkpoints.
 * Each store is in a process of its own, with the same data, cache, block size, compression, setting of
 * sync and allocator. The two of a pair take turns: one is filled and then the other, and both read
 * slice by slice, so that what else the machine does hits both alike.
 *
 * COUNT (1000000)     rows of 16 and 100 bytes, of which the latter shrink to about half
 * MEMORY (0)          MiB of the budget; 0: twice, first four times the data, then a fifth of it
 * CACHE (50)          percent of that for the cache of blocks
 * BLOCK (8)           KiB of a block of RocksDB's, as those of lsm
 * BATCH (100)         rows of a transaction that loads
 * READS (COUNT / 5)   of each kind, at most a million
 * SYNC (0)            1: each transaction is on the disk before it is acknowledged
 * ONLY                lsm or btree: that pair alone
 * BENCH_DIR (/var/tmp)
 *
 * Rates are by the wall clock; the CPU time beside them is that of the process with all its threads,
 * what runs behind included. "as left" is right behind the fill, "settled" when memory has been
 * written out and no compaction is due. Bytes written are what the kernel counts for the process. A
 * store that has been opened anew has its files dropped from the page cache before.
 */
#include "bench.h"
#include "data.h"
#include "engines.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { THREADS_MAX = 2, RANGE_ROWS = 10, BATCH_MAX = 1000, READS_MAX = 1000000, SLICES = 20 };
_Static_assert((int)DATA_BYTES == (int)ENGINES_DATA_BYTES, "what data_make makes");

enum { COLUMNS = 72, LINES = 12, LATENCIES = 200000 };

enum phase {
    PHASE_FILL,
    PHASE_SETTLE,
    PHASE_GET,
    PHASE_GET_TWO,
    PHASE_ABSENT,
    PHASE_RANGE,
    PHASE_RANGE_TWO,
    PHASE_WALK,
    PHASE_REPLACE,
    PHASE_COLD,
    PHASES
};

struct figure {
    double operations, wall_s, cpu_s;
};

/* What the process of a store tells. */
struct report {
    struct figure figures[PHASES];
    double windows_us[COLUMNS]; /* p99.9 of the writes of a part of the fill */
    double p50_us, p99_us, p999_us, most_us;
    double disk_bytes, written_bytes, log_bytes, file_bytes, resident_bytes;
};

struct setting {
    uint64_t rows, memory_bytes, cache_bytes, reads;
    size_t block_bytes;
    unsigned batch;
    bool sync, ordered;
};

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL || *text == 0 ? otherwise : strtoull(text, NULL, 10);
}

/* ------------------------------------------------------------------------------------------ clocks */

static double clock_s(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double wall_s(void)
{
    return clock_s(CLOCK_MONOTONIC);
}

static double cpu_s(void)
{
    return clock_s(CLOCK_PROCESS_CPUTIME_ID);
}

void engines_wait_quiet(void)
{
    for (unsigned quiet = 0; quiet < 4;) {
        double before = cpu_s();
        usleep(250000);
        quiet = cpu_s() - before < 0.003 ? quiet + 1 : 0;
    }
}

static struct figure figure_begin(uint64_t operations)
{
    return (struct figure){(double)operations, wall_s(), cpu_s()};
}

static void figure_end(const struct figure *begun, struct figure *sum)
{
    sum->operations += begun->operations;
    sum->wall_s += wall_s() - begun->wall_s;
    sum->cpu_s += cpu_s() - begun->cpu_s;
}

/* ------------------------------------------------------------------------------------------- turns */

/* The two processes take turns, so that what else the machine does hits both alike: a whole fill
 * each, and of reads a slice. */
static int turn_in = -1, turn_out = -1;

static void turn_begin(void)
{
    char token;
    if (read(turn_in, &token, 1) != 1)
        _exit(1);
}

static void turn_end(void)
{
    if (write(turn_out, "", 1) != 1)
        _exit(1);
}

/* -------------------------------------------------------------------------------------------- data */

/* The key of the nth row; one that is not there lies between those that are. */
static void key_make(const struct setting *setting, uint64_t number, bool present, char *out)
{
    static const char digits[] = "0123456789abcdef";
    number = setting->ordered ? number * 2 + !present
                              : data_scatter(present ? number : number + setting->rows);
    for (unsigned i = ENGINES_KEY_BYTES; i-- > 0; number >>= 4)
        out[i] = digits[number & 15];
}

/* ------------------------------------------------------------------------------------------ writing */

struct latencies {
    float us[LATENCIES], all[LATENCIES];
    uint64_t count, seen;
};

static int float_compare(const void *a, const void *b)
{
    float left = *(const float *)a, right = *(const float *)b;
    return (left > right) - (left < right);
}

static double part_of(float *us, uint64_t count, double part)
{
    return count == 0 ? 0 : (double)us[(uint64_t)((double)(count - 1) * part)];
}

/* Every one of a window; of the whole fill a sample, but each that took long. */
static void latency_add(struct latencies *latencies, struct report *report, double us,
                        uint64_t stride)
{
    if (latencies->count < LATENCIES)
        latencies->us[latencies->count++] = (float)us;
    if (latencies->seen++ % stride == 0 && latencies->seen / stride < LATENCIES)
        latencies->all[latencies->seen / stride] = (float)us;
    if (us > report->most_us)
        report->most_us = us;
}

static double window_end(struct latencies *latencies)
{
    qsort(latencies->us, latencies->count, sizeof(float), float_compare);
    double us = part_of(latencies->us, latencies->count, 0.999);
    latencies->count = 0;
    return us;
}

static void batch_make(const struct setting *setting, uint64_t first, unsigned count, bool again,
                       struct random *random, struct engines_row *rows)
{
    static char keys[BATCH_MAX][ENGINES_KEY_BYTES], data[BATCH_MAX][ENGINES_DATA_BYTES];
    for (unsigned i = 0; i < count; i++) {
        uint64_t number = again ? random_below(random, setting->rows) : first + i;
        key_make(setting, number, true, keys[i]);
        data_make(again ? number + setting->rows : number, data[i]);
        rows[i] = (struct engines_row){keys[i], data[i]};
    }
}

static void fill(const struct engines_side *side, struct engines_store *store,
                 const struct setting *setting, struct report *report)
{
    struct engines_row rows[BATCH_MAX];
    struct latencies *latencies = calloc(1, sizeof *latencies);
    unsigned batch = setting->ordered ? setting->batch : 1, column = 0;
    uint64_t stride = setting->rows / batch / (LATENCIES - 1) + 1;
    struct figure figure = figure_begin(setting->rows);
    for (uint64_t done = 0; done < setting->rows; done += batch) {
        unsigned count = setting->rows - done < batch ? (unsigned)(setting->rows - done) : batch;
        batch_make(setting, done, count, false, NULL, rows);
        double start = wall_s();
        side->put(store, rows, count);
        latency_add(latencies, report, (wall_s() - start) * 1e6, stride);
        if (column < COLUMNS && done + count >= setting->rows * (column + 1) / COLUMNS)
            report->windows_us[column++] = window_end(latencies);
    }
    figure_end(&figure, &report->figures[PHASE_FILL]);
    uint64_t sampled = latencies->seen / stride;
    qsort(latencies->all, sampled, sizeof(float), float_compare);
    report->p50_us = part_of(latencies->all, sampled, 0.5);
    report->p99_us = part_of(latencies->all, sampled, 0.99);
    report->p999_us = part_of(latencies->all, sampled, 0.999);
    free(latencies);
}

static void replace(const struct engines_side *side, struct engines_store *store,
                    const struct setting *setting, struct report *report)
{
    struct engines_row row;
    struct random random;
    random_create(&random, 7);
    turn_begin();
    struct figure figure = figure_begin(setting->reads);
    for (uint64_t i = 0; i < setting->reads; i++) {
        batch_make(setting, 0, 1, true, &random, &row);
        side->put(store, &row, 1);
    }
    figure_end(&figure, &report->figures[PHASE_REPLACE]);
    side->settle(store);
    turn_end();
}

/* ------------------------------------------------------------------------------------------ reading */

struct reading {
    const struct engines_side *side;
    struct engines_store *store;
    const struct setting *setting;
    enum phase phase;
    uint64_t count, seed, rows;
    pthread_t thread;
};

static void *read_some(void *arg)
{
    struct reading *reading = arg;
    const struct engines_side *side = reading->side;
    struct engines_reader *reader = side->reader_open(reading->store);
    struct random random;
    random_create(&random, reading->seed);
    for (uint64_t i = 0; i < reading->count; i++) {
        char key[ENGINES_KEY_BYTES];
        bool present = reading->phase != PHASE_ABSENT;
        key_make(reading->setting, random_below(&random, reading->setting->rows), present, key);
        if (reading->phase == PHASE_RANGE || reading->phase == PHASE_RANGE_TWO)
            reading->rows += side->range(reader, key, RANGE_ROWS);
        else if (side->get(reader, key) != present)
            fprintf(stderr, "%s: a key %s\n", side->name, present ? "is missing" : "too many");
    }
    side->reader_close(reader);
    return NULL;
}

static void read_slice(const struct reading *what, unsigned threads, struct figure *sum)
{
    struct reading readings[THREADS_MAX];
    turn_begin();
    struct figure figure = figure_begin(what->count * threads);
    for (unsigned i = 0; i < threads; i++) {
        readings[i] = *what;
        readings[i].seed = what->seed * THREADS_MAX + i;
        if (threads > 1)
            pthread_create(&readings[i].thread, NULL, read_some, &readings[i]);
        else
            read_some(&readings[i]);
    }
    for (unsigned i = 0; threads > 1 && i < threads; i++)
        pthread_join(readings[i].thread, NULL);
    figure_end(&figure, sum);
    turn_end();
}

/* With SLICES before that do not count, so that the caches are warm, unless these are to be cold. */
static void read_random(const struct engines_side *side, struct engines_store *store,
                        const struct setting *setting, enum phase phase, unsigned threads,
                        uint64_t count, struct report *report)
{
    struct figure ignored = {0, 0, 0};
    unsigned warm = phase == PHASE_GET ? SLICES : 0;
    for (unsigned i = 0; i < SLICES + warm; i++) {
        const struct reading reading = {.side = side,
                                        .store = store,
                                        .setting = setting,
                                        .phase = phase,
                                        .count = count / SLICES + 1,
                                        .seed = phase * 100 + i};
        read_slice(&reading, threads, i < warm ? &ignored : &report->figures[phase]);
    }
}

static void walk(const struct engines_side *side, struct engines_store *store,
                 const struct setting *setting, struct report *report)
{
    struct engines_reader *reader = side->reader_open(store);
    char key[ENGINES_KEY_BYTES];
    memset(key, '0', sizeof key);
    turn_begin();
    struct figure figure = figure_begin(setting->rows);
    uint64_t rows = side->range(reader, key, UINT64_MAX);
    figure_end(&figure, &report->figures[PHASE_WALK]);
    turn_end();
    if (rows != setting->rows)
        fprintf(stderr, "%s: %llu rows instead of %llu\n", side->name, (unsigned long long)rows,
                (unsigned long long)setting->rows);
    side->reader_close(reader);
}

/* ---------------------------------------------------------------------------------------- one store */

/* What the files take; `drop`: out of the page cache with them. */
static double directory_bytes(const char *dir, bool drop)
{
    DIR *open_dir = opendir(dir);
    double bytes = 0;
    for (struct dirent *entry; open_dir != NULL && (entry = readdir(open_dir)) != NULL;) {
        struct stat status;
        int fd = openat(dirfd(open_dir), entry->d_name, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
            bytes += (double)status.st_blocks * 512;
            if (drop && fdatasync(fd) == 0)
                posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        }
        close(fd);
    }
    if (open_dir != NULL)
        closedir(open_dir);
    return bytes;
}

/* Of the log: it is there for a crash alone, and how much of it is kept is a setting. */
static double log_bytes(const char *dir)
{
    DIR *open_dir = opendir(dir);
    double bytes = 0;
    for (struct dirent *entry; open_dir != NULL && (entry = readdir(open_dir)) != NULL;) {
        struct stat status;
        const char *dot = strrchr(entry->d_name, '.');
        if (((dot != NULL && strcmp(dot, ".log") == 0) || strncmp(entry->d_name, "wal-", 4) == 0 ||
             strncmp(entry->d_name, "LOG", 3) == 0) &&
            fstatat(dirfd(open_dir), entry->d_name, &status, 0) == 0)
            bytes += (double)status.st_blocks * 512;
    }
    if (open_dir != NULL)
        closedir(open_dir);
    return bytes;
}

static double process_written(void)
{
    char line[128];
    double bytes = 0;
    FILE *file = fopen("/proc/self/io", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        sscanf(line, "write_bytes: %lf", &bytes);
    if (file != NULL)
        fclose(file);
    return bytes;
}

static double process_resident(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss * 1024;
}

static void settle(const struct engines_side *side, struct engines_store *store, const char *dir,
                   const struct setting *setting, struct report *report)
{
    struct engines_written written;
    struct figure figure = figure_begin(setting->rows);
    side->settle(store);
    report->figures[PHASE_SETTLE] = report->figures[PHASE_FILL];
    report->figures[PHASE_SETTLE].operations = 0;
    figure_end(&figure, &report->figures[PHASE_SETTLE]);
    side->written(store, &written);
    report->written_bytes = process_written();
    report->log_bytes = written.log_bytes;
    report->file_bytes = written.file_bytes;
    report->disk_bytes = directory_bytes(dir, false) - log_bytes(dir);
    report->resident_bytes = process_resident();
}

static void store_measure(const struct engines_side *side, const char *dir,
                          const struct setting *setting, struct report *report)
{
    const struct engines_options options = {.dir = dir,
                                            .rows = setting->rows,
                                            .memory_bytes = setting->memory_bytes,
                                            .cache_bytes = setting->cache_bytes,
                                            .block_bytes = setting->block_bytes,
                                            .sync = setting->sync};
    uint64_t reads = setting->reads;
    turn_begin();
    struct engines_store *store = side->open(&options);
    fill(side, store, setting, report);
    settle(side, store, dir, setting, report);
    turn_end();
    read_random(side, store, setting, PHASE_GET, 1, reads, report);
    read_random(side, store, setting, PHASE_GET_TWO, 2, reads, report);
    read_random(side, store, setting, PHASE_ABSENT, 1, reads, report);
    read_random(side, store, setting, PHASE_RANGE, 1, reads / 4, report);
    read_random(side, store, setting, PHASE_RANGE_TWO, 2, reads / 4, report);
    walk(side, store, setting, report);
    replace(side, store, setting, report);
    turn_begin();
    side->close(store);
    directory_bytes(dir, true);
    store = side->open(&options);
    turn_end();
    read_random(side, store, setting, PHASE_COLD, 1, reads / 20, report);
    side->close(store);
}

/* A process with a store, and a directory that goes with it. */
struct process {
    char dir[200];
    pid_t pid;
    int in, out; /* turns go in; ends of turns come out, and behind them the report */
    bool ended;
};

static bool process_start(struct process *process, const struct engines_side *side,
                          const struct setting *setting)
{
    const char *where = getenv("BENCH_DIR");
    int in[2], out[2];
    snprintf(process->dir, sizeof process->dir, "%s/perigee-engines-XXXXXX",
             where == NULL ? "/var/tmp" : where);
    bench_dir_create(process->dir);
    fflush(NULL);
    if (pipe(in) != 0 || pipe(out) != 0)
        return false;
    process->pid = fork();
    if (process->pid == 0) {
        struct report report = {.most_us = 0};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        turn_in = in[0];
        turn_out = out[1];
        store_measure(side, process->dir, setting, &report);
        turn_begin();
        _exit(write(turn_out, "r", 1) == 1 &&
                      write(turn_out, &report, sizeof report) == (ssize_t)sizeof report
                  ? 0
                  : 1);
    }
    close(in[0]);
    close(out[1]);
    process->in = in[1];
    process->out = out[0];
    return process->pid > 0;
}

static bool report_read(int fd, struct report *report)
{
    size_t got = 0;
    for (ssize_t n;
         got < sizeof *report && (n = read(fd, (char *)report + got, sizeof *report - got)) > 0;)
        got += (size_t)n;
    return got == sizeof *report;
}

/* False: it has failed. */
static bool process_turn(struct process *process, struct report *report)
{
    char said = 0;
    if (process->ended)
        return true;
    if (write(process->in, "", 1) != 1 || read(process->out, &said, 1) != 1)
        return false;
    process->ended = said == 'r';
    return !process->ended || report_read(process->out, report);
}

static void process_end(struct process *process)
{
    close(process->in);
    close(process->out);
    waitpid(process->pid, NULL, 0);
    bench_dir_remove(process->dir);
}

/* Both, in turns. False: one of them has failed. */
static bool stores_run(const struct engines_side *const sides[2], const struct setting *setting,
                       struct report reports[2])
{
    struct process processes[2] = {{.ended = false}};
    bool well = true;
    for (unsigned i = 0; i < 2; i++)
        well = process_start(&processes[i], sides[i], setting) && well;
    while (well && !(processes[0].ended && processes[1].ended))
        for (unsigned i = 0; well && i < 2; i++)
            well = process_turn(&processes[i], &reports[i]);
    for (unsigned i = 0; i < 2; i++)
        process_end(&processes[i]);
    return well;
}

/* ----------------------------------------------------------------------------------------- printing */

static const char *phase_name(const struct setting *setting, enum phase phase)
{
    static const char *const names[PHASES] = {"fill in random order, as left",
                                              "the same, until it is settled",
                                              "get",
                                              "get, two threads",
                                              "get of an absent key",
                                              "range of ten rows",
                                              "range of ten rows, two threads",
                                              "walk over all, a row",
                                              "replace at random",
                                              "get, opened anew, files not cached"};
    return phase == PHASE_FILL && setting->ordered ? "load in order of keys, as left"
                                                   : names[phase];
}

static double ratio(double ours, double theirs)
{
    return theirs == 0 ? 0 : ours / theirs;
}

static void print_figure(const char *name, const struct figure *ours, const struct figure *theirs)
{
    double our_rate = ours->operations / ours->wall_s,
           their_rate = theirs->operations / theirs->wall_s;
    double our_cpu = ours->cpu_s / ours->operations * 1e6,
           their_cpu = theirs->cpu_s / theirs->operations * 1e6;
    printf("| %s | %.1fk | %.1fk | %.2f | %.2f | %.2f | %.2f |\n", name, our_rate / 1e3,
           their_rate / 1e3, ratio(our_rate, their_rate), our_cpu, their_cpu,
           ratio(our_cpu, their_cpu));
}

static void print_pair(const char *name, double ours, double theirs, const char *unit)
{
    printf("| %s | %.2f %s | %.2f %s | %.2f |\n", name, ours, unit, theirs, unit,
           ratio(ours, theirs));
}

static void print_sizes(const struct setting *setting, const struct report *ours,
                        const struct report *theirs, const char *our_name, const char *their_name)
{
    double data = (double)setting->rows * (ENGINES_KEY_BYTES + ENGINES_DATA_BYTES);
    const struct report *reports[2] = {ours, theirs};
    double besides[2];
    for (unsigned i = 0; i < 2; i++) {
        besides[i] = (reports[i]->written_bytes - reports[i]->log_bytes) / data;
        if (reports[i]->file_bytes > 0)
            besides[i] = reports[i]->file_bytes / data;
    }
    printf("\n| | %s | %s | ratio |\n|---|---:|---:|---:|\n", our_name, their_name);
    print_pair("files when settled, but for the log", ours->disk_bytes / 1e6,
               theirs->disk_bytes / 1e6, "MB");
    print_pair("written to files for each byte of rows", besides[0], besides[1], "");
    print_pair("all that was written, log included", ours->written_bytes / data,
               theirs->written_bytes / data, "");
    print_pair("CPU until settled", ours->figures[PHASE_SETTLE].cpu_s,
               theirs->figures[PHASE_SETTLE].cpu_s, "s");
    print_pair("most memory that was resident", ours->resident_bytes / 1e6,
               theirs->resident_bytes / 1e6, "MB");
    print_pair("a write: p50", ours->p50_us, theirs->p50_us, "us");
    print_pair("a write: p99", ours->p99_us, theirs->p99_us, "us");
    print_pair("a write: p99.9", ours->p999_us, theirs->p999_us, "us");
    print_pair("a write: the longest", ours->most_us / 1e3, theirs->most_us / 1e3, "ms");
}

/* Lines are powers of the square root of ten, from 10 us on; `#` where both are. */
static int line_of(double us)
{
    int line = (int)floor(log10(us < 10 ? 10 : us) * 2 - 2 + 0.5);
    return line < 0 ? 0 : line >= LINES ? LINES - 1 : line;
}

static void print_plot(const struct report *ours, const struct report *theirs, const char *our_name,
                       const char *their_name)
{
    printf("\np99.9 of writes, over the fill from left to right: o %s, x %s, # both\n\n", our_name,
           their_name);
    for (int line = LINES - 1; line >= 0; line--) {
        char text[COLUMNS + 1] = {0};
        for (unsigned i = 0; i < COLUMNS; i++) {
            bool is_ours = line_of(ours->windows_us[i]) == line,
                 is_theirs = line_of(theirs->windows_us[i]) == line;
            text[i] = is_ours && is_theirs ? '#' : is_ours ? 'o' : is_theirs ? 'x' : ' ';
        }
        double us = pow(10, line / 2.0 + 1);
        printf("    %7.5g %s |%s\n", us < 1000 ? us : us / 1000, us < 1000 ? "us" : "ms", text);
    }
    fflush(stdout);
}

static void pair_run(const struct engines_side *ours, const struct engines_side *theirs,
                     const struct setting *setting)
{
    struct report reports[2];
    printf("\n%s beside %s: %llu rows, budget of %llu MiB, of which %llu for the cache, %s\n\n",
           ours->name, theirs->name, (unsigned long long)setting->rows,
           (unsigned long long)(setting->memory_bytes >> 20),
           (unsigned long long)(setting->cache_bytes >> 20),
           setting->sync ? "each transaction on the disk" : "log not flushed for a transaction");
    fflush(stdout);
    if (!engines_offered(ours)) {
        printf("spaces can not have the engine %s\n", ours->name);
        return;
    }
    const struct engines_side *const sides[2] = {ours, theirs};
    if (!stores_run(sides, setting, reports)) {
        printf("one of the two has failed\n");
        return;
    }
    printf("| | %s/s | %s/s | ratio | %s CPU us | %s CPU us | ratio |\n"
           "|---|---:|---:|---:|---:|---:|---:|\n",
           ours->name, theirs->name, ours->name, theirs->name);
    for (unsigned phase = 0; phase < PHASES; phase++)
        print_figure(phase_name(setting, phase), &reports[0].figures[phase],
                     &reports[1].figures[phase]);
    print_sizes(setting, &reports[0], &reports[1], ours->name, theirs->name);
    print_plot(&reports[0], &reports[1], ours->name, theirs->name);
}

int main(void)
{
    struct setting setting = {.rows = number_of("COUNT", 1000000),
                              .block_bytes = number_of("BLOCK", 8) << 10,
                              .batch = (unsigned)number_of("BATCH", 100),
                              .sync = number_of("SYNC", 0) != 0};
    uint64_t data = setting.rows * (ENGINES_KEY_BYTES + ENGINES_DATA_BYTES);
    uint64_t memory = number_of("MEMORY", 0) << 20, cache = number_of("CACHE", 50);
    const uint64_t budgets[2] = {memory > 0 ? memory : data * 4, data / 5};
    const char *only = getenv("ONLY");
    setting.reads = number_of("READS", setting.rows / 5);
    setting.reads = setting.reads > READS_MAX ? READS_MAX : setting.reads;
    setting.batch = setting.batch > BATCH_MAX ? BATCH_MAX : setting.batch;
    data_noise_make();
    for (unsigned i = 0; i < (memory > 0 ? 1 : 2); i++) {
        setting.memory_bytes = budgets[i];
        setting.cache_bytes = budgets[i] / 100 * cache;
        setting.ordered = false;
        if (only == NULL || strcmp(only, "lsm") == 0)
            pair_run(&engines_lsm, &engines_rocksdb, &setting);
        setting.ordered = true;
        if (only == NULL || strcmp(only, "btree") == 0)
            pair_run(&engines_btree, &engines_lmdb, &setting);
    }
    return 0;
}
