/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process's own log. A line is
 *
 *     2024-05-06T07:08:09.123Z info  main: text
 *
 * and leaves in one write, so lines of several threads do not mix. Control characters in the text
 * (a key or a message of a client may hold any) become '?', so a line is always one line; a line
 * longer than LOG_LINE_MAX is cut.
 */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"

enum { LOG_LINE_MAX = 1024, LOG_NAME_MAX = 15 };

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static _Atomic int level_now = LOG_INFO;
static _Thread_local char thread_name[LOG_NAME_MAX + 1] = "-";

void log_level_set(enum log_level level)
{
    store_relaxed(&level_now, (int)level);
}

enum log_level log_level_get(void)
{
    return (enum log_level)load_relaxed(&level_now);
}

int log_level_parse(const char *name)
{
    for (int level = LOG_ERROR; level <= LOG_DEBUG; level++)
        if (strcmp(name, level_names[level]) == 0)
            return level;
    return -1;
}

void log_thread_name(const char *name)
{
    snprintf(thread_name, sizeof(thread_name), "%s", name);
    pthread_setname_np(pthread_self(), thread_name);
}

/* Writes time, level and thread name; returns the length. */
static size_t log_head(char *line, size_t size, enum log_level level)
{
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t length = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &parts);
    int more = snprintf(line + length, size - length, ".%03ldZ %-5s %s: ", now.tv_nsec / 1000000,
                        level_names[level], thread_name);
    return more > 0 ? length + (size_t)more : length;
}

static void log_send(const char *line, size_t size)
{
    while (size > 0) {
        ssize_t written = write(STDERR_FILENO, line, size);
        if (written <= 0)
            return;
        line += written;
        size -= (size_t)written;
    }
}

void log_write(enum log_level level, const char *format, ...)
{
    if (level > log_level_get())
        return;
    char line[LOG_LINE_MAX + 1];
    size_t head = log_head(line, sizeof(line), level);
    va_list arguments;
    va_start(arguments, format);
    int text = vsnprintf(line + head, sizeof(line) - head, format, arguments);
    va_end(arguments);
    size_t length = text > 0 ? head + (size_t)text : head;
    if (length > LOG_LINE_MAX - 1)
        length = LOG_LINE_MAX - 1;
    for (size_t i = head; i < length; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[length++] = '\n';
    log_send(line, length);
}
