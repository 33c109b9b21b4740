/* SPDX-License-Identifier: Apache-2.0 */
/* See session_fixture.h. */
#include "session/session_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/diag.h"
#include "lua/expression.h"
#include "session/session_internal.h"

static const struct service_fact VARIANTS[] = {{"luajit", "of the test"}};
static const struct service_fact SETTINGS[] = {{"dir", "/in/memory"}};

struct session_fixture *session_fixture_new(const char *password, struct service_limits limits)
{
    struct session_fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->disk = disk_new(1);
    fixture->io = disk_io(fixture->disk);
    clock_manual_create(&fixture->clock, SESSION_FIXTURE_NOW_MS);
    struct db_options db = {.io = fixture->io,
                            .clock = &fixture->clock.base,
                            .durability = WAL_DURABILITY_COMMIT,
                            .worker_max = SESSION_FIXTURE_WORKERS + 1,
                            .expressions = lua_expressions()};
    struct db_open_stats stats;
    if (limits.lua_time_max_ms == 0)
        limits.lua_time_max_ms = 600000; /* a machine may be slow */
    int code = db_open(&db, &stats, &fixture->db);
    if (code)
        fail_msg("db_open: %s", diag_message_for(code));
    struct service_options options = {.db = fixture->db,
                                      .clock = &fixture->clock.base,
                                      .password = password,
                                      .limits = limits,
                                      .worker_max = SESSION_FIXTURE_WORKERS,
                                      .version = "0.1.0",
                                      .durability = "commit",
                                      .port = 6379,
                                      .variants = VARIANTS,
                                      .variant_count = 1,
                                      .settings = SETTINGS,
                                      .setting_count = 1};
    assert_int_equal(service_new(&options, &fixture->service), 0);
    for (unsigned n = 0; n < SESSION_FIXTURE_WORKERS; n++) {
        code = session_worker_open(fixture->service, NULL, &fixture->workers[n]);
        if (code)
            fail_msg("session_worker_open: %s", diag_message_for(code));
    }
    return fixture;
}

/* What a test that has failed has left open; else the end of it would hide why it has failed. */
static void sessions_left_delete(struct service *service)
{
    struct list *link;
    while ((link = list_first(&service->clients)) != NULL)
        session_delete(list_entry(link, struct session, link));
}

void session_fixture_delete(struct session_fixture *fixture)
{
    sessions_left_delete(fixture->service);
    for (unsigned n = 0; n < SESSION_FIXTURE_WORKERS; n++)
        session_worker_close(fixture->workers[n]);
    service_delete(fixture->service);
    db_close(fixture->db); /* an error when the test has cut the disk */
    io_delete(fixture->io);
    disk_delete(fixture->disk);
    free(fixture->reply);
    free(fixture);
}

struct session *session_fixture_connect(struct session_fixture *fixture, unsigned worker)
{
    struct session_peer peer = {
        .address = "127.0.0.1:50000", .local_address = "127.0.0.1:6379", .fd = 7};
    struct session *session;
    assert_int_equal(session_new(fixture->workers[worker], &peer, &session), 0);
    return session;
}

static void on_ready(struct session *session, void *arg)
{
    bool *any = arg;
    *any |= session_resume(session);
}

void session_fixture_run(struct session_fixture *fixture)
{
    bool any;
    do {
        any = false;
        for (unsigned n = 0; n < SESSION_FIXTURE_WORKERS; n++)
            if (fixture->workers[n] != NULL)
                session_worker_run(fixture->workers[n], on_ready, &any);
    } while (any);
}

const char *session_fixture_take(struct session_fixture *fixture, struct session *session)
{
    struct wal *wal = db_wal(fixture->db);
    struct session_output output;
    free(fixture->reply);
    fixture->reply = NULL;
    FILE *reply = open_memstream(&fixture->reply, &fixture->reply_size);
    unsigned failures = 0;
    for (bool more = true; more;) {
        session_fixture_run(fixture);
        while ((output = session_output(session)).size > 0) {
            size_t part =
                output.size > 3 ? output.size / 2 : output.size; /* a socket that takes a part */
            fwrite(output.data, 1, part, reply);
            session_sent(session, part);
        }
        /* The log may have advanced since the last look: then some of it may go by now. */
        more = session_resume(session);
        more = session_output(session).size > 0 || more;
        if (session_waiting(session)) {
            wal_kick(wal);
            if (wal_wait(wal, wal_clock(wal)) != 0 && ++failures > 3)
                fail_msg("replies wait for a log that has failed");
            more = true;
        }
        if (session->login) { /* a password is being checked by a thread */
            usleep(500);
            more = true;
        }
    }
    fclose(reply);
    return fixture->reply;
}

const char *session_fixture_bytes(struct session_fixture *fixture, struct session *session,
                                  const char *data, size_t size)
{
    session_on_bytes(session, data, size);
    return session_fixture_take(fixture, session);
}

const char *session_fixture_text(struct session_fixture *fixture, struct session *session,
                                 const char *format, ...)
{
    char line[8192];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line, sizeof line - 2, format, args);
    va_end(args);
    assert_true(size >= 0 && (size_t)size < sizeof line - 2);
    memcpy(line + size, "\r\n", 2);
    return session_fixture_bytes(fixture, session, line, (size_t)size + 2);
}
