/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_WAL_LOG_H
#define TEST_WAL_LOG_H

/*
 * What tests of the log share: collecting what replay hands over, bodies that tell whether they are
 * whole, and committing one.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wal/wal.h"

/* Records that replay handed over, sorted by ts after log_seen_sort. */
struct log_record {
    uint64_t ts;
    uint64_t id; /* what log_body was given */
    size_t size;
    bool whole; /* the body is what log_body makes of id and size */
};

struct log_seen {
    struct log_record *items;
    size_t count, capacity;
    uint64_t fail_at; /* nonzero: the nth record is answered with ERROR_CANCELLED */
};

void log_seen_destroy(struct log_seen *seen);
void log_seen_sort(struct log_seen *seen);

/* The record with this id, or NULL. */
const struct log_record *log_seen_find(const struct log_seen *seen, uint64_t id);

/* A wal_replay_fn; arg is a struct log_seen. */
int log_seen_add(uint64_t ts, const void *body, size_t size, void *arg);

/* Fills `body` with bytes that depend on id and position; the first eight (if there are so many)
 * are the id. */
void log_body(void *body, uint64_t id, size_t size);

/* Reserves, begins, takes a timestamp, appends log_body(id, size), which for even ids is built in the
 * log's own memory where there is such, ends. Returns wal_reserve's
 * error, or 0 and the timestamp. */
int log_commit(struct wal *wal, struct wal_buffer *buffer, uint64_t id, size_t size, uint64_t *ts);

/* Options for tests: small buffers and segments, durability commit. */
struct wal_options log_options(struct io *io);

/* The seed from PERIGEE_SEED, else a random one; printed. */
uint64_t log_seed(void);

#endif
