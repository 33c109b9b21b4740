/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

/*
 * The process's own log: one line a call to standard error, with time, level and thread name.
 * Safe from every thread (one write a line). A line is at most 1024 bytes; what is longer is cut,
 * and control characters become '?'. Not for hot paths.
 */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines above `level` are dropped. Default LOG_INFO. */
void log_level_set(enum log_level level);
enum log_level log_level_get(void);

/* Returns the level named "error", "warn", "info" or "debug", or -1. */
int log_level_parse(const char *name);

/* The name that the calling thread's lines carry, cut to 15 bytes; also becomes the
 * thread's name in the system. "-" before the first call. */
void log_thread_name(const char *name);

/* Writes one line (printf format, no newline at the end). Errors of the write are ignored. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

#endif
