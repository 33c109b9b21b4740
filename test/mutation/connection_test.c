/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What connections have to do with invariant 9, replies that wait, what is read meanwhile, and
 * WATCH; and with invariant 26, waiting for keys.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "mutation/scene.h"
#include "session/session_fixture.h"
#include "wal/wal.h"

static struct session_fixture *fixture;
static struct session *one, *two;

static void open_two(void)
{
    fixture = session_fixture_new(NULL, (struct service_limits){0});
    one = session_fixture_connect(fixture, 0);
    two = session_fixture_connect(fixture, 1);
}

static void close_two(void)
{
    session_delete(one);
    session_delete(two);
    session_fixture_delete(fixture);
}

static const char *what_a_connection_has_acknowledged_is_in_the_log(void)
{
    open_two();
    assert_string_equal(session_fixture_text(fixture, one, "set a before"), "+OK\r\n");
    disk_cut_after(fixture->disk, 1);
    bool acknowledged = strcmp(session_fixture_text(fixture, one, "set a after"), "+OK\r\n") == 0;
    SCENE_EXPECT(!acknowledged, "a write was acknowledged that the log has not");
    close_two();
    return NULL;
}

/* While this worker seems to be taking a timestamp no cut goes beyond it: nothing becomes durable. */
static const char *a_connection_sees_what_it_has_written(void)
{
    static const char pipeline[] = "set a new\r\nget a\r\n";
    struct wal_buffer *holding;
    open_two();
    assert_string_equal(session_fixture_text(fixture, one, "set a old"), "+OK\r\n");
    assert_int_equal(wal_buffer_open(db_wal(fixture->db), &holding), 0);
    wal_begin(holding);
    session_on_bytes(one, pipeline, sizeof pipeline - 1);
    wal_end(holding);
    wal_buffer_close(holding);
    const char *replies = session_fixture_take(fixture, one);
    SCENE_EXPECT(strcmp(replies, "+OK\r\n$3\r\nnew\r\n") == 0,
                 "a connection does not see what it has just written");
    close_two();
    return NULL;
}

static const char *exec_does_nothing_when_what_is_watched_has_changed(void)
{
    open_two();
    assert_string_equal(session_fixture_text(fixture, one, "set n 1"), "+OK\r\n");
    assert_string_equal(session_fixture_text(fixture, one, "watch n"), "+OK\r\n");
    assert_string_equal(session_fixture_text(fixture, one, "get n"), "$1\r\n1\r\n");
    assert_string_equal(session_fixture_text(fixture, two, "incr n"), ":2\r\n");
    session_fixture_text(fixture, one, "multi\r\nset n 2\r\nexec");
    bool done = strstr(fixture->reply, "*1\r\n+OK\r\n") != NULL;
    SCENE_EXPECT(!done, "an increment was lost");
    close_two();
    return NULL;
}

#define WAITS(session, text) assert_string_equal(session_fixture_text(fixture, session, text), "")
#define POPPED_A             "*2\r\n$1\r\nk\r\n$1\r\na\r\n"

static bool has_popped(struct session *session)
{
    return strcmp(session_fixture_take(fixture, session), POPPED_A) == 0;
}

static void two_pushes(void)
{
    session_fixture_text(fixture, two, "rpush k a");
}

static const char *who_is_about_to_wait_misses_nothing(void)
{
    open_two();
    scene_at(MUTATION_AT_BLOCKING, two_pushes);
    bool popped = strcmp(session_fixture_text(fixture, one, "blpop k 0"), POPPED_A) == 0;
    assert_int_equal(scene_passed(), 1);
    SCENE_EXPECT(popped, "one waits for what is there");
    close_two();
    return NULL;
}

/* The worker of who came later is looked after first. */
static const char *who_has_waited_longest_is_served(void)
{
    open_two();
    WAITS(two, "blpop k 0");
    WAITS(one, "blpop k 0");
    struct session *three = session_fixture_connect(fixture, 2);
    session_fixture_text(fixture, three, "rpush k a");
    SCENE_EXPECT(has_popped(two), "one was served that had come later");
    session_delete(three);
    close_two();
    return NULL;
}

static const char *who_finds_nothing_keeps_its_place(void)
{
    open_two();
    WAITS(one, "blpop k 0");
    WAITS(two, "blpop k 0");
    struct session *three = session_fixture_connect(fixture, 2);
    session_fixture_text(fixture, three, "multi\r\nrpush k z\r\ndel k\r\nexec");
    session_fixture_text(fixture, three, "rpush k a");
    SCENE_EXPECT(has_popped(one), "who was woken in vain is served after who came later");
    session_delete(three);
    close_two();
    return NULL;
}

/* Whose worker is busy goes away between its wake and its turn. */
static const char *a_wake_that_is_not_used_is_passed_on(void)
{
    open_two();
    struct session *three = session_fixture_connect(fixture, 2);
    WAITS(three, "blpop k 0");
    WAITS(two, "blpop k 0");
    struct session_worker *busy = fixture->workers[2];
    fixture->workers[2] = NULL;
    assert_string_equal(session_fixture_text(fixture, one, "rpush k a"), ":1\r\n");
    session_delete(three);
    fixture->workers[2] = busy;
    SCENE_EXPECT(has_popped(two), "one waits for what nobody takes");
    close_two();
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct scene scenes[] = {
        SCENE(what_a_connection_has_acknowledged_is_in_the_log, REPLY_NOT_HELD),
        SCENE(a_connection_sees_what_it_has_written, READS_OLD_BEHIND_REPLY),
        SCENE(exec_does_nothing_when_what_is_watched_has_changed, WATCH_UNSEEN),
        SCENE(who_is_about_to_wait_misses_nothing, REGISTERED_LAST),
        SCENE(who_has_waited_longest_is_served, ALL_WOKEN),
        SCENE(who_finds_nothing_keeps_its_place, PLACE_LOST),
        SCENE(a_wake_that_is_not_used_is_passed_on, WAKE_NOT_PASSED),
    };
    return scenes_main(argc, argv, scenes, sizeof scenes / sizeof *scenes);
}
