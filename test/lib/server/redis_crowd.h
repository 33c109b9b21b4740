/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_LIB_SERVER_REDIS_CROWD_H
#define TEST_LIB_SERVER_REDIS_CROWD_H

/*
 * Clients that all work on one large collection at the same time, each on what is its own in it, and
 * how often they lost a conflict: by the server's counters (INFO transactions), and by what is there
 * in the end nothing was lost.
 */
#include <stdbool.h>
#include <stdint.h>

#include "server/server_process.h"

enum redis_crowd_kind {
    REDIS_CROWD_HASH,   /* fields of one hash */
    REDIS_CROWD_SET,    /* members of one set come and go */
    REDIS_CROWD_ZSET,   /* scores of members of one sorted set */
    REDIS_CROWD_LIST,   /* half push at one end of a list, the others pop at the other */
    REDIS_CROWD_STREAM, /* all add to one stream: its writers take turns by design */
    REDIS_CROWD_FIELD,  /* all count in one field: what it costs when they do meet */
    REDIS_CROWD_KINDS
};

enum { REDIS_CROWD_CLIENTS = 8 };

struct redis_crowd_result {
    uint64_t operations, conflicts, retries;
    uint64_t time_ns;
    bool right; /* all is there, and nothing else */
};

const char *redis_crowd_name(enum redis_crowd_kind kind);

/* Every client does `each` operations in pipelines; the collection is made before, and spread. */
void redis_crowd_run(const struct server_process *server, enum redis_crowd_kind kind, unsigned each,
                     struct redis_crowd_result *result);

#endif
