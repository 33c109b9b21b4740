/* SPDX-License-Identifier: Apache-2.0 */

/*
 * `perigee test [--OPTION VALUE]... [--clock manual] [-j N] PATH... [busted's arguments]`.
 *
 * Each spec file is run by a process of its own, which this one starts, waits for and cleans up
 * after: whatever a spec does, its database and its servers are no other's, and when it dies, or
 * the whole is interrupted, they go with it. All that a spec has started ends up as a child of this
 * process (a subreaper), which ends it before it removes the folders.
 *
 * The output of one file goes where ours goes. Of several, each goes to memory, and what has failed
 * is shown when the file has ended.
 */
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/diag.h"
#include "base/error.h"
#include "server/command.h"
#include "server/options.h"
#include "server/test_run.h"

enum { FILES_MAX = 10000, JOBS_MAX = 64, PATH_BYTES_MAX = 4096 };

/* A spec file. */
struct spec {
    char *path;
    pid_t pid;          /* 0: it does not run */
    int output, counts; /* files in memory; -1: none */
    uint64_t started_ns;
};

struct runner {
    char folder[256];
    const char *clock; /* "manual" or "system" */
    unsigned jobs;
    char **options; /* those of the server, then busted's */
    unsigned option_count;
    char **others;
    unsigned other_count;
    struct spec *specs;
    unsigned spec_count, running;
    unsigned long totals[4]; /* successes, failures, errors, pending */
    uint64_t started_ns;
};

/* ------------------------------------------------------------------------------------- processes */

int test_spawn(char *const *argv, char *const *variables, int out, int errors)
{
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        return pid;
    sigset_t none;
    sigemptyset(&none);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (out >= 0)
        dup2(out, STDOUT_FILENO);
    if (errors >= 0)
        dup2(errors, STDERR_FILENO);
    for (; variables && *variables; variables++)
        putenv(*variables);
    execv(argv[0], argv);
    _exit(127);
}

/* Kills and reaps whatever is left of what the specs have started. */
static void orphans_end(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    for (;;) {
        int pid;
        FILE *children = fopen(path, "r");
        while (children && fscanf(children, "%d", &pid) == 1)
            kill(pid, SIGKILL);
        if (children)
            fclose(children);
        if (waitpid(-1, NULL, children ? 0 : WNOHANG) <= 0 && errno != EINTR)
            return;
    }
}

static int entry_remove(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    remove(path);
    return 0;
}

void test_folder_remove(const char *path)
{
    nftw(path, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* ----------------------------------------------------------------------------------- the files */

static int spec_add(struct runner *runner, const char *path)
{
    if (runner->spec_count == FILES_MAX)
        return diag_set(ERROR_TOO_LARGE, "there are more than %d spec files", FILES_MAX);
    char *copy = strdup(path);
    if (!copy)
        return diag_set(ERROR_MEMORY, "out of memory");
    runner->specs[runner->spec_count++] = (struct spec){.path = copy, .output = -1, .counts = -1};
    return 0;
}

static bool is_spec(const char *name)
{
    static const char SUFFIX[] = "_spec.lua";
    size_t size = strlen(name);
    return size >= sizeof SUFFIX - 1 && strcmp(name + size - (sizeof SUFFIX - 1), SUFFIX) == 0;
}

/* All *_spec.lua below the folder, in the order of their names. */
static int folder_add(struct runner *runner, const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        return diag_set_errno(ERROR_IO, errno, "read %s", path);
    int rc = 0;
    for (int n = 0; n < count; n++) {
        char below[PATH_BYTES_MAX];
        struct stat status;
        const char *name = entries[n]->d_name;
        snprintf(below, sizeof below, "%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/",
                 name);
        if (!rc && name[0] != '.' && strcmp(name, "node_modules") != 0 &&
            lstat(below, &status) == 0) {
            if (S_ISDIR(status.st_mode))
                rc = folder_add(runner, below);
            else if (is_spec(name))
                rc = spec_add(runner, below);
        }
        free(entries[n]);
    }
    free(entries);
    return rc;
}

static int path_add(struct runner *runner, const char *path)
{
    struct stat status;
    if (stat(path, &status))
        return diag_set(ERROR_NOT_FOUND, "there is no file or folder %s", path);
    unsigned before = runner->spec_count;
    int rc = S_ISDIR(status.st_mode) ? folder_add(runner, path) : spec_add(runner, path);
    if (!rc && runner->spec_count == before)
        rc = diag_set(ERROR_NOT_FOUND, "there are no files *_spec.lua in %s", path);
    return rc;
}

/* ------------------------------------------------------------------------------------ arguments */

/* `--clock VALUE` and the like, anywhere: 1 and the value, and it is gone from the arguments; 0. */
static int argument_take(int *argc, char **argv, int at, const char *name, const char **value)
{
    size_t size = strlen(name);
    int taken = 1;
    if (strncmp(argv[at], name, size) != 0)
        return 0;
    if (argv[at][size] == '=')
        *value = argv[at] + size + 1;
    else if (argv[at][size])
        return 0;
    else if (at + 1 == *argc)
        return diag_set(ERROR_INVALID, "%s needs a value behind it", name);
    else
        *value = argv[at + taken++];
    memmove(argv + at, argv + at + taken, (size_t)(*argc - at - taken) * sizeof *argv);
    *argc -= taken;
    return 1;
}

static int jobs_read(struct runner *runner, const char *text)
{
    char *end;
    long number = strtol(text, &end, 10);
    if (*end || end == text || number < 1 || number > JOBS_MAX)
        return diag_set(ERROR_INVALID, "-j is how many files run at once, 1 to %d, not '%s'",
                        JOBS_MAX, text);
    runner->jobs = (unsigned)number;
    return 0;
}

static int own_take(struct runner *runner, int *argc, char **argv)
{
    for (int at = 0; at < *argc;) {
        const char *value = NULL;
        int rc = argument_take(argc, argv, at, "--clock", &value);
        if (rc > 0) {
            if (strcmp(value, "manual") != 0 && strcmp(value, "system") != 0)
                return diag_set(ERROR_INVALID, "--clock is manual or system, not '%s'", value);
            runner->clock = value;
            continue;
        }
        if (rc == 0)
            rc = argument_take(argc, argv, at, "-j", &value);
        if (rc == 0)
            rc = argument_take(argc, argv, at, "--jobs", &value);
        if (rc > 0)
            rc = jobs_read(runner, value);
        else if (rc == 0)
            at++;
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* What are files and folders; what is not, or follows an option of busted's, is busted's. */
static int rest_take(struct runner *runner, int argc, char **argv)
{
    int rc = 0;
    for (int at = 0; at < argc && !rc; at++) {
        bool follows = at > 0 && argv[at - 1][0] == '-' && !strchr(argv[at - 1], '=');
        bool exists = access(argv[at], F_OK) == 0;
        if (argv[at][0] == '-' || (follows && !exists))
            runner->others[runner->other_count++] = argv[at];
        else
            rc = path_add(runner, argv[at]);
    }
    if (!rc && runner->spec_count == 0 && runner->other_count == 0)
        rc = access("specs", F_OK) == 0
                 ? path_add(runner, "specs")
                 : diag_set(ERROR_INVALID, "what is to be tested? perigee test [--OPTION VALUE]... "
                                           "[--clock manual] [-j N] FILE or FOLDER...");
    return rc;
}

static unsigned core_count(void)
{
    cpu_set_t cores;
    int count = sched_getaffinity(0, sizeof cores, &cores) ? 1 : CPU_COUNT(&cores);
    return count < 1 ? 1 : count > JOBS_MAX ? JOBS_MAX : (unsigned)count;
}

static int runner_create(struct runner *runner, int argc, char **argv)
{
    struct options options;
    *runner = (struct runner){.clock = "system", .jobs = core_count()};
    runner->started_ns = clock_monotonic_ns(clock_system());
    runner->specs = calloc(FILES_MAX, sizeof *runner->specs);
    runner->others = calloc((size_t)argc + 1, sizeof *runner->others);
    if (!runner->specs || !runner->others)
        return diag_set(ERROR_MEMORY, "out of memory");
    int rc = own_take(runner, &argc, argv);
    runner->options = argv;
    int before = argc;
    if (!rc)
        rc = options_create(&options);
    if (rc)
        return rc;
    rc = options_load(&options, &argc, &argv, environ);
    runner->option_count = (unsigned)(before - argc);
    options_destroy(&options);
    return rc ? rc : rest_take(runner, argc, argv);
}

static void runner_destroy(struct runner *runner)
{
    for (unsigned n = 0; n < runner->spec_count; n++)
        free(runner->specs[n].path);
    free(runner->specs);
    free(runner->others);
}

/* -------------------------------------------------------------------------------------- running */

static int spec_start(struct runner *runner, struct spec *spec, bool alone)
{
    char folder[320], counts[16];
    char *argv[16 + runner->option_count + runner->other_count];
    unsigned n = 0;
    spec->started_ns = clock_monotonic_ns(clock_system());
    snprintf(folder, sizeof folder, "%s/%u", runner->folder, (unsigned)(spec - runner->specs));
    if (mkdir(folder, 0700))
        return diag_set_errno(ERROR_IO, errno, "make %s", folder);
    if (!alone && ((spec->output = memfd_create("output", MFD_CLOEXEC)) < 0 ||
                   (spec->counts = memfd_create("counts", 0)) < 0))
        return diag_set_errno(ERROR_IO, errno, "memfd_create");
    snprintf(counts, sizeof counts, "%d", spec->counts);
    argv[n++] = "/proc/self/exe";
    argv[n++] = "test";
    argv[n++] = "--run";
    argv[n++] = folder;
    argv[n++] = counts;
    argv[n++] = (char *)runner->clock;
    for (unsigned i = 0; i < runner->option_count; i++)
        argv[n++] = runner->options[i];
    if (runner->option_count == 0 || strcmp(argv[n - 1], "--") != 0)
        argv[n++] = "--";
    if (spec->path)
        argv[n++] = spec->path;
    for (unsigned i = 0; i < runner->other_count; i++)
        argv[n++] = runner->others[i];
    argv[n] = NULL;
    fflush(stdout);
    spec->pid = test_spawn(argv, NULL, spec->output, spec->output);
    if (spec->pid < 0) {
        spec->pid = 0;
        return diag_set_errno(ERROR_IO, errno, "fork");
    }
    runner->running++;
    return 0;
}

/* What the file in memory has; the caller's. NULL: no memory. */
static char *content(int fd)
{
    struct stat status;
    if (fstat(fd, &status))
        return NULL;
    char *text = calloc(1, (size_t)status.st_size + 1);
    if (text && pread(fd, text, (size_t)status.st_size, 0) < 0)
        *text = 0;
    return text;
}

/* Indented, so that it is not taken for the summary. */
static void show_output(const struct spec *spec)
{
    char *text = content(spec->output), *rest = text, *line;
    while (text && (line = strsep(&rest, "\n")))
        if (*line)
            printf("    %s\n", line);
    free(text);
}

static void spec_report(struct runner *runner, struct spec *spec, int status)
{
    unsigned long counts[4] = {0};
    char *text = content(spec->counts);
    int found =
        !text ? 0 : sscanf(text, "%lu %lu %lu %lu", counts, counts + 1, counts + 2, counts + 3);
    free(text);
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!good && counts[1] + counts[2] == 0)
        counts[2] = 1; /* it has died, or not even begun */
    if (good && found < 4)
        good = false, counts[2] = 1;
    for (unsigned n = 0; n < 4; n++)
        runner->totals[n] += counts[n];
    printf("%s  %-44s %4lu of %lu, %.1f s\n", good ? "ok    " : "FAILED", spec->path, counts[0],
           counts[0] + counts[1] + counts[2],
           (double)(clock_monotonic_ns(clock_system()) - spec->started_ns) / 1e9);
    if (!good)
        show_output(spec);
    if (WIFSIGNALED(status))
        printf("    ended by signal %d, %s\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
    fflush(stdout);
}

static int status_of(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* A child has ended; it may be an orphan of a spec's. Its exit status, when it was alone. */
static int child_ended(struct runner *runner, pid_t pid, int status)
{
    for (unsigned n = 0; n < runner->spec_count; n++) {
        struct spec *spec = &runner->specs[n];
        if (spec->pid != pid)
            continue;
        spec->pid = 0;
        runner->running--;
        if (spec->counts < 0)
            return status_of(status);
        spec_report(runner, spec, status);
        close(spec->output);
        close(spec->counts);
        char folder[320];
        snprintf(folder, sizeof folder, "%s/%u", runner->folder, n);
        test_folder_remove(folder);
    }
    return 0;
}

/* Runs all files. The exit status, or 128 and the signal that has ended it. */
static int run_all(struct runner *runner, const sigset_t *signals)
{
    bool alone = runner->spec_count == 1;
    int result = 0, status, rc = 0;
    for (unsigned next = 0; next < runner->spec_count || runner->running > 0;) {
        while (!rc && next < runner->spec_count && runner->running < runner->jobs)
            rc = spec_start(runner, &runner->specs[next++], alone);
        if (rc)
            return command_failed(rc);
        int signal = sigwaitinfo(signals, NULL);
        if (signal > 0 && signal != SIGCHLD)
            return 128 + signal;
        for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
            result += child_ended(runner, pid, status);
    }
    if (alone)
        return result;
    const unsigned long *totals = runner->totals;
    printf("\n%lu successes / %lu failures / %lu errors / %lu pending : %f seconds\n", totals[0],
           totals[1], totals[2], totals[3],
           (double)(clock_monotonic_ns(clock_system()) - runner->started_ns) / 1e9);
    return totals[1] + totals[2] > 0;
}

static int folder_make(char *path, size_t size)
{
    const char *parent = getenv("TMPDIR");
    snprintf(path, size, "%s/perigee-test-XXXXXX", parent && *parent ? parent : "/tmp");
    return mkdtemp(path) ? 0 : diag_set_errno(ERROR_IO, errno, "make the folder %s", path);
}

/* These are waited for, not delivered, so that the folders go whatever comes. */
static void signals_wait_for(sigset_t *set)
{
    static const int SIGNALS[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    sigemptyset(set);
    for (unsigned n = 0; n < sizeof SIGNALS / sizeof *SIGNALS; n++)
        sigaddset(set, SIGNALS[n]);
    sigprocmask(SIG_BLOCK, set, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

int command_test(int argc, char **argv)
{
    struct runner runner;
    sigset_t signals;
    if (argc > 0 && strcmp(argv[0], "--run") == 0)
        return test_run(argc - 1, argv + 1);
    signals_wait_for(&signals);
    int rc = runner_create(&runner, argc, argv);
    if (!rc && runner.spec_count == 0)
        runner.specs[runner.spec_count++] = (struct spec){.output = -1, .counts = -1};
    if (!rc)
        rc = folder_make(runner.folder, sizeof runner.folder);
    int status = rc ? command_failed(rc) : run_all(&runner, &signals);
    if (!rc) {
        orphans_end();
        test_folder_remove(runner.folder);
    }
    runner_destroy(&runner);
    return status;
}
