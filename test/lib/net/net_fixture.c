/* SPDX-License-Identifier: Apache-2.0 */
#include "net/net_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/atomic.h"
#include "net/address.h"

struct net_fixture net_fixture;
static _Atomic(struct net *) advancing;

static void on_advance(void *arg)
{
    (void)arg;
    struct net *net = load_acquire(&advancing);
    if (net)
        net_wake(net);
}

int net_fixture_setup(void **state)
{
    (void)state;
    struct net_fixture *made = &net_fixture;
    made->disk = disk_new(1);
    made->io = disk_io(made->disk);
    const struct db_options options = {.io = made->io,
                                       .clock = clock_system(),
                                       .durability = WAL_DURABILITY_COMMIT,
                                       .worker_max = NET_FIXTURE_WORKERS + made->standby_count + 1,
                                       .on_advance = on_advance};
    struct db_open_stats stats;
    assert_int_equal(db_open(&options, &stats, &made->db), 0);
    const struct service_options serve = {.db = made->db,
                                          .clock = clock_system(),
                                          .limits = {.lua_time_max_ms = NET_FIXTURE_LUA_MS},
                                          .worker_max = NET_FIXTURE_WORKERS,
                                          .standby_max = made->standby_count};
    assert_int_equal(service_new(&serve, &made->service), 0);
    const struct net_options listen = {.listen = "127.0.0.1:0",
                                       .worker_count = NET_FIXTURE_WORKERS,
                                       .standby_count = made->standby_count,
                                       .balance = made->balance_ms > 0,
                                       .balance_ms = made->balance_ms};
    assert_int_equal(net_new(&listen, &made->net), 0);
    store_release(&advancing, made->net);
    assert_int_equal(net_start(made->net, made->service), 0);
    return 0;
}

int net_fixture_teardown(void **state)
{
    (void)state;
    struct net_fixture *made = &net_fixture;
    net_stop(made->net, true);
    net_join(made->net);
    service_delete(made->service);
    db_close(made->db); /* an error when the test has made the log fail */
    net_delete(made->net);
    store_release(&advancing, NULL);
    io_delete(made->io);
    disk_delete(made->disk);
    made->standby_count = made->balance_ms = 0;
    return 0;
}

int client_open(void)
{
    struct address address;
    assert_int_equal(address_parse(net_listen_address(net_fixture.net), &address), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, &address.any, address.size), 0);
    int on = 1;
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    return fd;
}

void client_send(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

void client_settle(int fd)
{
    int bytes = 1;
    while (bytes > 0) {
        assert_int_equal(ioctl(fd, SIOCOUTQ, &bytes), 0);
        sched_yield();
    }
}

size_t client_receive(int fd, char *out, size_t size)
{
    size_t done = 0;
    ssize_t part;
    while (done < size && (part = recv(fd, out + done, size - done, 0)) != 0) {
        if (part < 0 && errno != EINTR)
            break;
        done += part > 0 ? (size_t)part : 0;
    }
    return done;
}

void client_expect(int fd, const char *text)
{
    char got[512] = "";
    size_t size = strlen(text);
    assert_true(size < sizeof got);
    client_receive(fd, got, size);
    assert_string_equal(got, text);
}

void client_ask(int fd, const char *text, const char *reply)
{
    client_send(fd, text);
    client_expect(fd, reply);
}

void client_text(int fd, const char *request, char *out, size_t size)
{
    char head[32];
    size_t at = 0;
    client_send(fd, request);
    do {
        assert_true(at < sizeof head - 1);
        assert_int_equal(client_receive(fd, head + at, 1), 1);
    } while (head[at++] != '\n');
    head[at] = 0;
    assert_int_equal(head[0], '$');
    size_t bytes = strtoul(head + 1, NULL, 10);
    assert_true(bytes + 2 < size);
    assert_int_equal(client_receive(fd, out, bytes + 2), bytes + 2);
    out[bytes] = 0;
}

static unsigned long count_of(int fd, const char *name)
{
    char info[4096];
    client_text(fd, "INFO stats\r\n", info, sizeof info);
    const char *at = strstr(info, name);
    assert_non_null(at);
    return strtoul(at + strlen(name), NULL, 10);
}

unsigned long client_moved(int fd)
{
    return count_of(fd, "\nmoved_connections:");
}

unsigned long client_balanced(int fd)
{
    return count_of(fd, "\nbalanced_connections:");
}
