/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_MIGRATE_H
#define REDIS_REDIS_MIGRATE_H

/*
 * MIGRATE: keys go to another server. A transaction is never open while that one is waited for, so the
 * command's function is run three times, each time in a transaction of its own, and says at the end of
 * the first two (`sends`, and ERROR_WAIT) what the target is to be sent before the next:
 *
 *     FIND    some of the keys are there          AUTH and SELECT, after connecting
 *     DUMP    their values as they are now        a RESTORE for each
 *     FINISH  those that the target has taken, and that are still what was sent, are deleted;
 *             the reply
 *
 * Whoever has a connection runs it so (redis_call.migration), and hands on each line that the target
 * replies. Between DUMP and FINISH anybody may change a key: then it is left as it is, and the reply
 * is an error. A run that is lost to a conflict, or waits for a lock, is repeated as ever.
 *
 * DUMP reads one snapshot, FINISH is serializable: a key is deleted whose row is not newer than that
 * snapshot and, since a spread value's row does not know of its elements, whose payload is still the same.
 *
 * Where nobody can wait (MULTI, scripts, procedures) call->migration is NULL, and the command is an
 * error unless there is nothing to send.
 */
#include "codec/mp.h"
#include "redis/redis.h"

enum { REDIS_MIGRATE_LINE_MAX = 1024 }; /* of a reply; what is longer is cut off */

enum redis_migrate_stage { REDIS_MIGRATE_FIND, REDIS_MIGRATE_DUMP, REDIS_MIGRATE_FINISH };

struct redis_migrating; /* a key that is sent */

struct redis_migration {
    enum redis_migrate_stage stage; /* of the run that follows: the caller's */
    /* Said by FIND; `host` as long as argv. */
    struct redis_slice host;
    uint16_t port;
    uint64_t timeout_ms;
    /* Said by FIND and DUMP. */
    bool sends;           /* ERROR_WAIT means: send `out`, then run it at the next stage */
    struct mp_buffer out; /* whole requests; stays as it is until the next run */
    size_t replies;       /* lines that are still to come */
    /* Its own. */
    struct redis_migrating *keys;
    size_t key_count, replied;
    uint64_t snapshot_ts; /* of DUMP */
    bool failed;
    char prefix[16],
        message[REDIS_MIGRATE_LINE_MAX + 64]; /* the error that it replies, if `failed` */
};

void redis_migration_create(struct redis_migration *migration);
void redis_migration_destroy(struct redis_migration *migration);

/* The target has replied a line, given without its end, while `replies` is not 0. False: it is none of
 * Redis's, and nothing that follows can be understood. */
bool redis_migration_reply(struct redis_migration *migration, const char *line, size_t size);

/* No more replies come: FINISH is to reply this error, if the target has not said one before. */
void redis_migration_fail(struct redis_migration *migration, const char *prefix,
                          const char *message);

#endif
