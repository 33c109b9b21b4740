/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_LIB_SESSION_SESSIONS_H
#define TEST_LIB_SESSION_SESSIONS_H

/*
 * What most tests of sessions stand on: a service and two connections to it, of workers 0 and 1. A
 * program has one of these at a time; the names are short since each line of a test has them.
 */
#include "session/session_fixture.h"

extern struct session_fixture *fixture;
extern struct session *one, *two; /* a test that deletes one sets it to NULL */

/* As session_fixture_new, and ended by sessions_teardown. */
void sessions_start(const char *password, struct service_limits limits);

/* For each test: without a password, or with "secret", and with limits as they are by default. */
int sessions_setup(void **state);
int sessions_setup_password(void **state);
int sessions_teardown(void **state);

/* What a line is answered by; what is in the answer; what comes without a line. */
#define expect(session, reply, ...) \
    assert_string_equal(session_fixture_text(fixture, session, __VA_ARGS__), reply)
#define expect_in(session, part, ...) \
    assert_non_null(strstr(session_fixture_text(fixture, session, __VA_ARGS__), part))
#define expect_take(session, reply) \
    assert_string_equal(session_fixture_take(fixture, session), reply)

#endif
