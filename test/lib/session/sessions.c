/* SPDX-License-Identifier: Apache-2.0 */

/* See sessions.h. */
#include "session/sessions.h"

struct session_fixture *fixture;
struct session *one, *two;

void sessions_start(const char *password, struct service_limits limits)
{
    fixture = session_fixture_new(password, limits);
    one = session_fixture_connect(fixture, 0);
    two = session_fixture_connect(fixture, 1);
}

int sessions_setup(void **state)
{
    (void)state;
    sessions_start(NULL, (struct service_limits){0});
    return 0;
}

int sessions_setup_password(void **state)
{
    (void)state;
    sessions_start("secret", (struct service_limits){0});
    return 0;
}

int sessions_teardown(void **state)
{
    (void)state;
    if (one)
        session_delete(one);
    if (two)
        session_delete(two);
    session_fixture_delete(fixture);
    return 0;
}
