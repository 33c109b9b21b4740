/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_LIB_SESSION_FIXTURE_H
#define TEST_LIB_SESSION_FIXTURE_H

/*
 * A service on the test disk with a clock that stands still, and connections to it without sockets.
 * Failures to set up fail the test.
 */
#include <stddef.h>

#include "base/clock.h"
#include "db/db.h"
#include "io/disk.h"
#include "session/session.h"

enum { SESSION_FIXTURE_WORKERS = 4, SESSION_FIXTURE_NOW_MS = 1000000 };

struct session_fixture {
    struct disk *disk;
    struct io *io;
    struct clock_manual clock;
    struct db *db;
    struct service *service;
    struct session_worker
        *workers[SESSION_FIXTURE_WORKERS]; /* all are driven by the test's thread, but for NULL */
    char *reply;
    size_t reply_size;
};

/* password may be NULL; limits of 0 are the defaults. */
struct session_fixture *session_fixture_new(const char *password, struct service_limits limits);
void session_fixture_delete(struct session_fixture *fixture);

struct session *session_fixture_connect(struct session_fixture *fixture, unsigned worker);

/*
 * Hands bytes to a session and takes all it sends, until it waits for nothing: as bytes with a zero
 * behind them (the size is in fixture->reply_size), valid until the next call. _text sends a line
 * as an inline command, CR and LF added.
 */
const char *session_fixture_bytes(struct session_fixture *fixture, struct session *session,
                                  const char *data, size_t size);
const char *session_fixture_text(struct session_fixture *fixture, struct session *session,
                                 const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Lets every worker look after requests that need not wait any more, and after limits. */
void session_fixture_run(struct session_fixture *fixture);

/* Takes what the session sends without handing it anything. */
const char *session_fixture_take(struct session_fixture *fixture, struct session *session);

#endif
