/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NET_FIXTURE_H
#define NET_NET_FIXTURE_H

/*
 * Workers that serve a new database on the test disk, and clients that talk to them as a person at
 * telnet does.
 */
#include <stddef.h>

#include "io/disk.h"
#include "net/net.h"
#include "session/service.h"

enum { NET_FIXTURE_WORKERS = 3, NET_FIXTURE_LUA_MS = 600000 };

struct net_fixture {
    struct disk *disk;
    struct io *io;
    struct db *db;
    struct service *service;
    struct net *net;
    unsigned standby_count; /* set before _setup; 0 again after _teardown */
    unsigned balance_ms;    /* so, too; 0: workers keep what they have */
};

/* There is one at a time. */
extern struct net_fixture net_fixture;
int net_fixture_setup(void **state);
int net_fixture_teardown(void **state);

int client_open(void);
void client_send(int fd, const char *text);

/* Waits until what was sent is at the other end: a busy system takes its time even on the way to itself. */
void client_settle(int fd);

/* So many bytes, or fewer at the end of the connection. Who is stopped and goes on may get them in parts. */
size_t client_receive(int fd, char *out, size_t size);

/* Exactly this comes next. */
void client_expect(int fd, const char *text);
void client_ask(int fd, const char *text, const char *reply);

/* The text of a bulk string. */
void client_text(int fd, const char *request, char *out, size_t size);

/* How many connections have moved to another worker, as INFO says. */
unsigned long client_moved(int fd);

/* How many of them were given away because their worker was busy. */
unsigned long client_balanced(int fd);

#endif
