/* SPDX-License-Identifier: Apache-2.0 */

/*
 * While Lua code runs on a worker, others take its connections over. The code is a script without
 * an end, so whatever these tests get they get while it runs: without that they would wait for the time limit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "lua/internal.h"
#include "lua/runtime.h"
#include "lua/watchdog.h"
#include "net/net_fixture.h"
#include "net/net_internal.h"

enum { CLIENTS = 4 * NET_FIXTURE_WORKERS, STANDBYS = 2 };

static const char ENDLESS[] = "EVAL 'while true do end' 0\r\n";

/* One of them has sent what never ends; the others are on all workers, that one's among them. */
struct scene {
    int clients[CLIENTS];
    int busy;
};

static int scene_setup(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    *state = scene;
    int rc = net_fixture_setup(state);
    *state = scene;
    scene->busy = client_open();
    client_ask(scene->busy, "PING\r\n", "+PONG\r\n");
    for (unsigned n = 0; n < CLIENTS; n++) {
        scene->clients[n] = client_open();
        client_ask(scene->clients[n], "PING\r\n", "+PONG\r\n");
    }
    return rc;
}

static int standby_setup(void **state)
{
    net_fixture.standby_count = STANDBYS;
    return scene_setup(state);
}

static int scene_teardown(void **state)
{
    struct scene *scene = *state;
    for (unsigned n = 0; n < CLIENTS; n++)
        close(scene->clients[n]);
    close(scene->busy);
    free(scene);
    return net_fixture_teardown(state);
}

/* The script is running when it cannot be killed no more because there is none. */
static void script_begin(struct scene *scene)
{
    client_send(scene->busy, ENDLESS);
    client_settle(scene->busy);
}

static bool is_killed(int fd)
{
    char got[8] = "", rest = 0;
    client_send(fd, "SCRIPT KILL\r\n");
    client_receive(fd, got, 4);
    while (rest != '\n')
        assert_int_equal(client_receive(fd, &rest, 1), 1);
    return strcmp(got, "+OK\r") == 0;
}

/* Whoever asks, on whichever worker, can end it. */
static void script_end(struct scene *scene, int by)
{
    struct pollfd busy = {.fd = scene->busy, .events = POLLIN};
    assert_int_equal(poll(&busy, 1, 0), 0); /* nothing that was got had to wait for its end */
    while (!is_killed(by))                  /* it has not begun yet */
        sched_yield();
    client_expect(scene->busy, "-ERR ");
}

static void others_are_served_while_lua_computes(void **state)
{
    struct scene *scene = *state;
    char request[64];
    script_begin(scene);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned n = 0; n < CLIENTS; n++) {
            snprintf(request, sizeof request, "SET k%u %u\r\n", n, round);
            client_ask(scene->clients[n], request, "+OK\r\n");
            snprintf(request, sizeof request, "GET k%u\r\n", n);
            client_send(scene->clients[n], request);
            snprintf(request, sizeof request, "$1\r\n%u\r\n", round);
            client_expect(scene->clients[n], request);
        }
    unsigned long moved = client_moved(scene->clients[0]);
    script_end(scene, scene->clients[1]);
    assert_true(moved >= 1);
    client_expect(scene->busy, "Script killed by user with SCRIPT KILL.");
}

/* A single call of C, which looks after them between its steps. */
static void others_are_served_while_a_pattern_is_matched(void **state)
{
    struct scene *scene = *state;
    client_send(scene->busy,
                "EVAL \"return (('a'):rep(100000)):find(('.-'):rep(40) .. 'b')\" 0\r\n");
    client_settle(scene->busy);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned n = 0; n < CLIENTS; n++)
            client_ask(scene->clients[n], "ECHO one\r\n", "$3\r\none\r\n");
    script_end(scene, scene->clients[1]);
}

/* Its reply has not come when all others have theirs. It ends, so it is sent again where they were too late. */
static bool leaves_time(struct scene *scene, const char *request, const char *reply)
{
    enum { TRIES = 100 };
    struct pollfd busy = {.fd = scene->busy, .events = POLLIN};
    bool in_time = false;
    for (unsigned n = 0; n < TRIES && !in_time; n++) {
        client_send(scene->busy, request);
        for (unsigned other = 0; other < CLIENTS; other++)
            client_ask(scene->clients[other], "ECHO one\r\n", "$3\r\none\r\n");
        in_time = poll(&busy, 1, 0) == 0;
        client_expect(scene->busy, reply);
    }
    return in_time;
}

static void others_are_served_while_a_command_goes_over_much(void **state)
{
    struct scene *scene = *state;
    client_ask(scene->busy,
               "EVAL 'for i = 1, 200000 do redis.call(\"RPUSH\", \"many\", i) end' 0\r\n",
               "$-1\r\n");
    assert_true(leaves_time(scene, "SORT many LIMIT 0 1\r\n", "*1\r\n$1\r\n1\r\n"));
    assert_true(leaves_time(scene, "MULTI\r\nSORT many LIMIT 0 1\r\nEXEC\r\n",
                            "+OK\r\n+QUEUED\r\n*1\r\n*1\r\n$1\r\n1\r\n"));
}

static void who_comes_meanwhile_is_served(void **state)
{
    struct scene *scene = *state;
    script_begin(scene);
    for (unsigned n = 0; n < CLIENTS; n++) {
        int fd = client_open();
        client_ask(fd, "PING\r\n", "+PONG\r\n");
        close(fd);
    }
    script_end(scene, scene->clients[0]);
}

static void a_request_that_had_come_in_part_goes_on(void **state)
{
    struct scene *scene = *state;
    for (unsigned n = 0; n < CLIENTS; n++) {
        client_ask(scene->clients[n], "ECHO one\r\n*2\r\n$4\r\nECHO\r\n$3\r\nt", "$3\r\none\r\n");
        client_settle(scene->clients[n]);
    }
    script_begin(scene);
    for (unsigned n = 0; n < CLIENTS; n++)
        client_ask(scene->clients[n], "wo\r\nECHO three\r\n", "$3\r\ntwo\r\n$5\r\nthree\r\n");
    script_end(scene, scene->clients[0]);
}

static void what_a_session_has_goes_with_it(void **state)
{
    struct scene *scene = *state;
    char request[64], info[512];
    for (unsigned n = 0; n < CLIENTS; n++) {
        snprintf(request, sizeof request, "SELECT 3\r\nCLIENT SETNAME n%u\r\nWATCH w%u\r\n", n, n);
        client_ask(scene->clients[n], request, "+OK\r\n+OK\r\n+OK\r\n");
        snprintf(request, sizeof request, "MULTI\r\nSET w%u %u\r\n", n, n);
        client_ask(scene->clients[n], request, "+OK\r\n+QUEUED\r\n");
    }
    script_begin(scene);
    int other = client_open();
    client_ask(other, "SELECT 3\r\nSET w1 x\r\n", "+OK\r\n+OK\r\n");
    for (unsigned n = 0; n < CLIENTS; n++) {
        client_ask(scene->clients[n], "EXEC\r\n", n == 1 ? "*-1\r\n" : "*1\r\n+OK\r\n");
        client_text(scene->clients[n], "CLIENT INFO\r\n", info, sizeof info);
        snprintf(request, sizeof request, " name=n%u ", n);
        assert_non_null(strstr(info, request));
        assert_non_null(strstr(info, " db=3 "));
    }
    close(other);
    script_end(scene, scene->clients[0]);
}

static void who_waits_for_a_key_is_woken(void **state)
{
    struct scene *scene = *state;
    char request[64], reply[64];
    for (unsigned n = 0; n < CLIENTS; n++) {
        snprintf(request, sizeof request, "BLPOP q%u 0\r\n", n);
        client_send(scene->clients[n], request);
        client_settle(scene->clients[n]);
    }
    script_begin(scene);
    int other = client_open();
    for (unsigned n = 0; n < CLIENTS; n++) {
        snprintf(request, sizeof request, "LPUSH q%u v\r\n", n);
        client_ask(other, request, ":1\r\n");
    }
    for (unsigned n = 0; n < CLIENTS; n++) {
        snprintf(reply, sizeof reply, "*2\r\n$%d\r\nq%u\r\n$1\r\nv\r\n", n < 10 ? 2 : 3, n);
        client_expect(scene->clients[n], reply);
    }
    script_end(scene, other);
    close(other);
}

static void who_has_waited_for_a_key_for_too_long_is_told(void **state)
{
    struct scene *scene = *state;
    for (unsigned n = 0; n < CLIENTS; n++) {
        client_send(scene->clients[n], "BLPOP nothing 0.05\r\n");
        client_settle(scene->clients[n]);
    }
    script_begin(scene);
    for (unsigned n = 0; n < CLIENTS; n++)
        client_expect(scene->clients[n], "*-1\r\n");
    script_end(scene, scene->clients[0]);
}

/* Who listens stays where its messages come, and gets them. */
static void messages_arrive(void **state)
{
    struct scene *scene = *state;
    for (unsigned n = 1; n < CLIENTS; n++)
        client_ask(scene->clients[n], "SUBSCRIBE c\r\n",
                   "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    script_begin(scene);
    for (unsigned round = 0; round < 3; round++) {
        client_ask(scene->clients[0], "PUBLISH c m\r\n", ":11\r\n");
        for (unsigned n = 1; n < CLIENTS; n++)
            client_expect(scene->clients[n], "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n");
    }
    script_end(scene, scene->clients[0]);
}

/* What who listens asks for is answered when the script has ended. */
static void who_is_bound_to_its_worker_stays(void **state)
{
    struct scene *scene = *state;
    for (unsigned n = 1; n < CLIENTS; n++)
        client_ask(scene->clients[n], "SUBSCRIBE c\r\n",
                   "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    script_begin(scene);
    for (unsigned n = 1; n < CLIENTS; n++)
        client_send(scene->clients[n], "PING\r\n");
    client_ask(scene->clients[0], "PING\r\n", "+PONG\r\n");
    script_end(scene, scene->clients[0]);
    for (unsigned n = 1; n < CLIENTS; n++)
        client_expect(scene->clients[n], "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
}

static void all_open_set(uint32_t open)
{
    for (unsigned n = 0; n < NET_FIXTURE_WORKERS; n++)
        store_release(&net_fixture.net->workers[n].open, open);
}

/* The worker that is within a script: it hears of nothing else until that has ended. */
static struct net_worker *worker_within_script(void)
{
    for (unsigned n = 0;; n = (n + 1) % NET_FIXTURE_WORKERS) {
        struct net_worker *worker = &net_fixture.net->workers[n];
        struct lua_runtime *lua = session_worker_lua(worker->session_worker);
        if (load_acquire(&lua->script.kind) == LUA__SCRIPT_EVAL)
            return worker;
        sched_yield();
    }
}

/* Until it has looked for whom to hand over, from the beginning to the end; or all have been answered. */
static void look_await(struct net_worker *busy, struct pollfd *answers)
{
    for (unsigned look = 0; look < 2; look++) { /* one may have begun before */
        store_relaxed(&busy->serve_ns, 0);
        while (!load_relaxed(&busy->serve_ns) && poll(answers, CLIENTS, 0) < CLIENTS)
            sched_yield();
    }
}

/* As at the start of a server, when the first worker serves and others have no sessions of their own yet. */
static void nobody_is_sent_to_a_worker_that_is_not_open(void **state)
{
    struct scene *scene = *state;
    struct pollfd answers[CLIENTS];
    int served = -1;
    all_open_set(0);
    script_begin(scene);
    struct net_worker *busy = worker_within_script();
    for (unsigned n = 0; n < CLIENTS; n++) {
        client_send(scene->clients[n], "PING\r\n");
        client_settle(scene->clients[n]);
        answers[n] = (struct pollfd){.fd = scene->clients[n], .events = POLLIN};
    }
    look_await(busy, answers);
    assert_true(poll(answers, CLIENTS, -1) >= 1); /* there are other workers */
    for (unsigned n = 0; n < CLIENTS && served < 0; n++)
        if (answers[n].revents)
            served = scene->clients[n];
    client_expect(served, "+PONG\r\n");
    unsigned long before = client_moved(served);
    all_open_set(1);
    for (unsigned n = 0; n < CLIENTS; n++)
        if (scene->clients[n] != served)
            client_expect(scene->clients[n], "+PONG\r\n");
    unsigned long after = client_moved(served);
    script_end(scene, served);
    assert_int_equal(before, 0);
    assert_true(after >= 1);
}

/* All workers are within scripts but one, which has them all; then nobody is left. */
static void scripts_on_all_workers_can_be_killed_one_after_the_other(void **state)
{
    struct scene *scene = *state;
    script_begin(scene);
    client_ask(scene->clients[0], "PING\r\n", "+PONG\r\n");
    client_send(scene->clients[1], ENDLESS);
    client_settle(scene->clients[1]);
    for (unsigned n = 2; n < CLIENTS; n++)
        client_ask(scene->clients[n], "PING\r\n", "+PONG\r\n");
    while (!is_killed(scene->clients[0]))
        sched_yield();
    struct pollfd both[] = {{.fd = scene->busy, .events = POLLIN},
                            {.fd = scene->clients[1], .events = POLLIN}};
    while (both[0].revents + both[1].revents < 2 * POLLIN) { /* SCRIPT KILL ends those that run */
        is_killed(scene->clients[0]);
        assert_true(poll(both, 2, 0) >= 0);
    }
    client_expect(scene->busy, "-ERR ");
    client_expect(scene->clients[1], "-ERR ");
}

static unsigned served_by_standbys(void)
{
    unsigned count = 0;
    for (unsigned n = 0; n < STANDBYS; n++)
        count += net_worker_connections(net_fixture.net, NET_FIXTURE_WORKERS + n);
    return count;
}

/* Each script goes to another worker, since those that have one are not in their loops. */
static void all_compute(struct scene *scene, unsigned scripts)
{
    for (unsigned n = 0; n < scripts; n++) {
        client_send(scene->clients[n], ENDLESS);
        client_settle(scene->clients[n]);
        for (unsigned other = scripts; other < CLIENTS; other++)
            client_ask(scene->clients[other], "PING\r\n", "+PONG\r\n");
    }
}

/* SCRIPT KILL ends those that run at that moment. */
static void all_end(struct scene *scene, unsigned scripts)
{
    struct pollfd ended[CLIENTS];
    unsigned count = 0;
    for (unsigned n = 0; n < scripts; n++)
        ended[n] = (struct pollfd){.fd = scene->clients[n], .events = POLLIN};
    assert_int_equal(poll(ended, scripts, 0), 0);
    while (count < scripts) {
        is_killed(scene->clients[scripts]);
        count = (unsigned)poll(ended, scripts, 0);
    }
    for (unsigned n = 0; n < scripts; n++) {
        char line[512] = "", *end = line;
        while (end == line || end[-1] != '\n')
            assert_int_equal(client_receive(scene->clients[n], end++, 1), 1);
        assert_memory_equal(line, "-ERR ", 5);
    }
}

/* As many scripts as there are workers, and one more: then those that stand by serve. */
static void standbys_serve_while_all_workers_compute(void **state)
{
    struct scene *scene = *state;
    enum { SCRIPTS = NET_FIXTURE_WORKERS + STANDBYS - 1 };
    char request[64];
    assert_int_equal(served_by_standbys(), 0);
    all_compute(scene, SCRIPTS);
    while (served_by_standbys() == 0) /* a script may not have begun yet */
        client_ask(scene->clients[SCRIPTS], "PING\r\n", "+PONG\r\n");
    for (unsigned n = SCRIPTS; n < CLIENTS; n++) {
        snprintf(request, sizeof request, "SET k%u v\r\n", n);
        client_ask(scene->clients[n], request, "+OK\r\n");
        int fd = client_open();
        client_ask(fd, "PING\r\n", "+PONG\r\n");
        close(fd);
    }
    all_end(scene, SCRIPTS);
    while (served_by_standbys() > 0) /* they go back */
        sched_yield();
    for (unsigned n = 0; n < CLIENTS; n++)
        client_ask(scene->clients[n], "PING\r\n", "+PONG\r\n");
}

/* One that is asked of a worker that computes gets through by another one. */
static void standbys_serve_again_and_again(void **state)
{
    struct scene *scene = *state;
    for (unsigned round = 0; round < 5; round++) {
        all_compute(scene, NET_FIXTURE_WORKERS);
        all_end(scene, NET_FIXTURE_WORKERS);
    }
}

static void who_stands_by_is_not_needed(void **state)
{
    struct scene *scene = *state;
    client_ask(scene->clients[0], "EVAL 'return 1' 0\r\n", ":1\r\n");
    assert_int_equal(served_by_standbys(), 0);
}

/* ------------------------------------------------------------------------------------- a stop */

/* Whoever computes is asked to let its connections go when the test says so. */
static _Atomic bool let_go;

static bool is_let_go(void *arg)
{
    (void)arg;
    return load_seq_cst(&let_go);
}

/* A new connection, and whose it is. */
static int client_open_at(unsigned *worker)
{
    unsigned before[NET_FIXTURE_WORKERS];
    for (unsigned n = 0; n < NET_FIXTURE_WORKERS; n++)
        before[n] = net_worker_connections(net_fixture.net, n);
    int fd = client_open();
    client_ask(fd, "PING\r\n", "+PONG\r\n");
    for (*worker = 0; net_worker_connections(net_fixture.net, *worker) == before[*worker];)
        ++*worker;
    return fd;
}

/* Asks for more than is under way before somebody reads it: 64 MB. */
static void much_begin(int fd)
{
    static const char get[] = "GET large\r\n";
    char requests[64 * (sizeof get - 1) + 1];
    for (unsigned n = 0; n < 64; n++)
        memcpy(requests + n * (sizeof get - 1), get, sizeof get);
    client_ask(fd, requests, "$1048576\r\n");
}

/* The worker that computes was told to let its connections go before the stop, and does so when the others
 * have read all of theirs, and wait for clients that do not read. */
static void who_is_handed_over_behind_a_stop_is_read_like_the_others(void **state)
{
    struct scene *scene = *state;
    struct net *net = net_fixture.net;
    int readers[NET_FIXTURE_WORKERS], askers[NET_FIXTURE_WORKERS], rest[CLIENTS];
    unsigned rest_count = 0;
    char byte;
    net->stop_time_max_ms = NET_FIXTURE_LUA_MS; /* the readers keep the others there */
    store_seq_cst(&let_go, false);
    for (unsigned n = 0; n < NET_FIXTURE_WORKERS; n++) {
        struct net_worker *worker = &net->workers[n];
        const struct lua_others others = {.wait = is_let_go, .serve = net__serve, .arg = worker};
        lua_runtime_others_set(session_worker_lua(worker->session_worker), &others);
        readers[n] = askers[n] = -1;
    }
    client_ask(scene->clients[0], "SETRANGE large 1048575 x\r\n", ":1048576\r\n");
    for (unsigned found = 0; found < 2 * NET_FIXTURE_WORKERS;) {
        unsigned worker;
        int fd = client_open_at(&worker);
        int *place = readers[worker] < 0 ? &readers[worker] : &askers[worker];
        if (*place < 0) {
            *place = fd;
            found++;
        } else {
            assert_true(rest_count < CLIENTS);
            rest[rest_count++] = fd;
        }
    }
    for (unsigned n = 0; n < NET_FIXTURE_WORKERS; n++)
        much_begin(readers[n]);
    script_begin(scene);
    struct net_worker *computing = worker_within_script();
    unsigned busy = computing->number;
    client_send(askers[busy], "PING\r\n");
    client_settle(askers[busy]);
    net_stop(net, false);
    for (unsigned n = 0; n < NET_FIXTURE_WORKERS; n++)
        if (n != busy)
            assert_int_equal(client_receive(askers[n], &byte, 1), 0);
    store_seq_cst(&let_go, true);
    client_expect(askers[busy], "+PONG\r\n");
    assert_int_equal(client_receive(askers[busy], &byte, 1), 0);
    assert_true(lua_runtime_script_kill(session_worker_lua(computing->session_worker), false));
    client_expect(scene->busy, "-ERR ");
    for (unsigned n = 0; n < NET_FIXTURE_WORKERS; n++) {
        close(readers[n]);
        close(askers[n]);
    }
    while (rest_count > 0)
        close(rest[--rest_count]);
}

#define with_standbys(test) cmocka_unit_test_setup_teardown(test, standby_setup, scene_teardown)
#define with_scene(test)    cmocka_unit_test_setup_teardown(test, scene_setup, scene_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_scene(others_are_served_while_lua_computes),
        with_scene(others_are_served_while_a_pattern_is_matched),
        with_scene(others_are_served_while_a_command_goes_over_much),
        with_scene(who_comes_meanwhile_is_served),
        with_scene(a_request_that_had_come_in_part_goes_on),
        with_scene(what_a_session_has_goes_with_it),
        with_scene(who_waits_for_a_key_is_woken),
        with_scene(who_has_waited_for_a_key_for_too_long_is_told),
        with_scene(messages_arrive),
        with_scene(who_is_bound_to_its_worker_stays),
        with_scene(nobody_is_sent_to_a_worker_that_is_not_open),
        with_scene(scripts_on_all_workers_can_be_killed_one_after_the_other),
        with_scene(who_is_handed_over_behind_a_stop_is_read_like_the_others),
        with_standbys(standbys_serve_while_all_workers_compute),
        with_standbys(standbys_serve_again_and_again),
        with_standbys(who_stands_by_is_not_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
