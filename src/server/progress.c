/* SPDX-License-Identifier: Apache-2.0 */
#include "server/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { BAR_WIDTH = 20, DRAW_NS = 100 * 1000 * 1000, SECOND_NS = 1000 * 1000 * 1000 };

static void rate_put(char *out, size_t size, const char *unit, double rate)
{
    static const char *const prefixes[] = {"", "k", "M", "G"};
    unsigned n = 0;
    if (strcmp(unit, "B") != 0) {
        snprintf(out, size, "%.1f %s/s", rate, unit);
        return;
    }
    while (rate >= 1000 && n < 3) {
        rate /= 1000;
        n++;
    }
    snprintf(out, size, "%.1f %sB/s", rate, prefixes[n]);
}

static void left_put(char *out, size_t size, double seconds)
{
    unsigned long all = (unsigned long)(seconds + 0.5);
    if (all < 60)
        snprintf(out, size, "%lu s left", all);
    else if (all < 3600)
        snprintf(out, size, "%lu:%02lu left", all / 60, all % 60);
    else
        snprintf(out, size, "%lu:%02lu:%02lu left", all / 3600, all / 60 % 60, all % 60);
}

void progress_line(char out[PROGRESS_LINE_MAX], const struct progress *progress, uint64_t done,
                   uint64_t total, uint64_t ns)
{
    char bar[BAR_WIDTH + 1], rate[40], left[40] = "";
    double part = done >= total ? 1 : (double)done / (double)total;
    double a_second = (double)done * SECOND_NS / (double)(ns == 0 ? 1 : ns);
    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', (size_t)(part * BAR_WIDTH));
    bar[BAR_WIDTH] = '\0';
    rate_put(rate, sizeof rate, progress->unit, a_second);
    if (done > 0 && done < total)
        left_put(left, sizeof left, (double)(total - done) / a_second);
    snprintf(out, PROGRESS_LINE_MAX, "%s  %3u%% [%s]  %s%s%s", progress->what,
             (unsigned)(part * 100), bar, rate, *left == '\0' ? "" : "  ", left);
}

static bool is_shown(struct progress *progress)
{
    if (!progress->asked)
        progress->terminal = isatty(STDERR_FILENO);
    progress->asked = true;
    return progress->terminal;
}

void progress_end(struct progress *progress)
{
    if (progress->drawn_ns != 0)
        fputs("\r\033[J", stderr);
    progress->drawn_ns = 0;
}

void progress_tell(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct progress *progress = arg;
    if (total == 0 || !is_shown(progress))
        return;
    uint64_t now_ns = clock_monotonic_ns(clock_system());
    if (progress->began_ns == 0 || strncmp(progress->what, what, sizeof progress->what - 1) != 0) {
        snprintf(progress->what, sizeof progress->what, "%s", what);
        progress->began_ns = now_ns;
        progress->drawn_ns = 0;
    }
    if (done >= total) {
        progress_end(progress);
    } else if (now_ns - progress->drawn_ns >= DRAW_NS) {
        char line[PROGRESS_LINE_MAX];
        progress_line(line, progress, done, total, now_ns - progress->began_ns);
        fprintf(stderr, "\r%s\033[J", line);
        progress->drawn_ns = now_ns;
    }
}

struct db_progress progress_shown(struct progress *progress)
{
    return (struct db_progress){progress_tell, progress};
}
