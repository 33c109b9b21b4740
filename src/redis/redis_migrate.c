/* SPDX-License-Identifier: Apache-2.0 */

/* See redis_migrate.h. */
#include "redis/redis_migrate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_value.h"

enum { TIMEOUT_MS = 1000 }; /* when none is given */

/* What the arguments ask for. */
struct asked {
    bool copy, replace, logs_in, named; /* with a password; with a name beside it */
    struct redis_slice user, password;
    unsigned first, count; /* keys */
    uint64_t timeout_ms;
    int64_t database;
};

struct redis_migrating {
    unsigned argument;
    bool taken;          /* by the target */
    bool same;           /* and it is here as it was sent */
    size_t payload;      /* where in `out` */
    size_t payload_size; /* of what DUMP gives */
    uint64_t expire_ms;  /* 0: never */
};

void redis_migration_create(struct redis_migration *migration)
{
    *migration = (struct redis_migration){.stage = REDIS_MIGRATE_FIND};
    mp_buffer_create(&migration->out);
}

void redis_migration_destroy(struct redis_migration *migration)
{
    free(migration->keys);
    mp_buffer_destroy(&migration->out);
}

/* --------------------------------------------------------------------------------- the arguments */

static int keys_asked(const struct redis_call *call, unsigned n, struct asked *asked)
{
    if (call->argv[3].size > 0)
        return diag_set(ERROR_INVALID, "When using MIGRATE KEYS option, the key argument must be "
                                       "set to the empty string");
    asked->first = n + 1;
    asked->count = call->argc - n - 1;
    return 0;
}

static int options_read(const struct redis_call *call, struct asked *asked)
{
    for (unsigned n = 6; n < call->argc; n++) {
        unsigned more = call->argc - 1 - n;
        if (redis_word(call, n, "copy")) {
            asked->copy = true;
        } else if (redis_word(call, n, "replace")) {
            asked->replace = true;
        } else if (redis_word(call, n, "auth") && more >= 1) {
            asked->password = call->argv[++n];
            asked->logs_in = true;
        } else if (redis_word(call, n, "auth2") && more >= 2) {
            asked->user = call->argv[++n];
            asked->password = call->argv[++n];
            asked->logs_in = asked->named = true;
        } else if (redis_word(call, n, "keys")) {
            return keys_asked(call, n, asked);
        } else {
            return redis_syntax_error();
        }
    }
    return 0;
}

static int port_read(const struct redis_call *call, uint16_t *out)
{
    const struct redis_slice *text = &call->argv[2];
    int64_t port;
    if (!redis_integer_parse(text->data, text->size, &port) || port < 1 || port > UINT16_MAX)
        return diag_set(ERROR_INVALID, "port must be a number from 1 to 65535");
    *out = (uint16_t)port;
    return 0;
}

static int asked_read(const struct redis_call *call, struct asked *asked)
{
    int64_t timeout_ms = 0;
    *asked = (struct asked){.first = 3, .count = 1};
    int rc = options_read(call, asked);
    if (!rc)
        rc = redis_integer_arg(call, 5, &timeout_ms);
    if (!rc)
        rc = redis_integer_arg(call, 4, &asked->database);
    asked->timeout_ms = timeout_ms > 0 ? (uint64_t)timeout_ms : TIMEOUT_MS;
    return rc;
}

/* ------------------------------------------------------------------------------------- requests */

static void put_count(struct mp_buffer *out, size_t count)
{
    char text[32];
    mp_put_raw(out, text, (size_t)snprintf(text, sizeof text, "*%zu\r\n", count));
}

static void put_size(struct mp_buffer *out, size_t size)
{
    char text[32];
    mp_put_raw(out, text, (size_t)snprintf(text, sizeof text, "$%zu\r\n", size));
}

static void put_bytes(struct mp_buffer *out, const char *data, size_t size)
{
    put_size(out, size);
    if (size > 0)
        mp_put_raw(out, data, size);
    mp_put_raw(out, "\r\n", 2);
}

static void put_word(struct mp_buffer *out, const char *word)
{
    put_bytes(out, word, strlen(word));
}

static void put_number(struct mp_buffer *out, int64_t number)
{
    char text[32];
    put_bytes(out, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)number));
}

/* The run ends here: what it has put into `out` is to be sent. */
static int send(struct redis_migration *migration, size_t replies)
{
    if (migration->out.failed)
        return diag_set(ERROR_MEMORY, "out of memory");
    migration->replies = replies;
    migration->replied = 0;
    migration->sends = true;
    return ERROR_WAIT;
}

/* ----------------------------------------------------------------------------------------- FIND */

static int any_there(struct redis_call *call, const struct asked *asked, bool *any)
{
    int rc = 0;
    *any = false;
    for (unsigned n = 0; n < asked->count && !rc; n++) {
        struct redis_key key;
        struct redis_value value;
        rc = redis_value_get(call, asked->first + n, &key, &value);
        *any |= !rc && value.type != REDIS_TYPE_NONE;
    }
    return rc;
}

static int nothing_there(struct redis_call *call)
{
    call->sink->vtab->status(call->sink, "NOKEY");
    return 0;
}

/* The database is chosen before anything is sent that goes into it. */
static int greet(struct redis_call *call, const struct asked *asked)
{
    struct redis_migration *migration = call->migration;
    struct mp_buffer *out = &migration->out;
    mp_buffer_reset(out, 0);
    if (asked->logs_in) {
        put_count(out, asked->named ? 3 : 2);
        put_word(out, "AUTH");
        if (asked->named)
            put_bytes(out, asked->user.data, asked->user.size);
        put_bytes(out, asked->password.data, asked->password.size);
    }
    put_count(out, 2);
    put_word(out, "SELECT");
    put_number(out, asked->database);
    migration->host = call->argv[1];
    migration->timeout_ms = asked->timeout_ms;
    return send(migration, asked->logs_in ? 2 : 1);
}

static int find(struct redis_call *call, const struct asked *asked)
{
    bool any;
    int rc = any_there(call, asked, &any);
    if (rc)
        return rc;
    if (!any)
        return nothing_there(call);
    if (!call->migration)
        return diag_set(ERROR_UNSUPPORTED,
                        "MIGRATE waits for the target instance, which is not possible inside of a "
                        "transaction, a script or a procedure: send it by itself");
    rc = port_read(call, &call->migration->port);
    return rc ? rc : greet(call, asked);
}

/* ----------------------------------------------------------------------------------------- DUMP */

/* A request for one key, if it is there; `payload` is for what DUMP gives. */
static int put_key(struct redis_call *call, const struct asked *asked, unsigned argument,
                   struct mp_buffer *payload)
{
    struct redis_migration *migration = call->migration;
    struct mp_buffer *out = &migration->out;
    const struct redis_slice *name = &call->argv[argument];
    struct redis_value value;
    mp_buffer_reset(payload, SIZE_MAX);
    int rc = redis__dump_of(call, name, payload, &value);
    if (rc || value.type == REDIS_TYPE_NONE)
        return rc;
    put_count(out, asked->replace ? 5 : 4);
    put_word(out, "RESTORE");
    put_bytes(out, name->data, name->size);
    put_number(out, value.expire_ms ? (int64_t)(value.expire_ms - call->now_ms) : 0);
    put_size(out, payload->size);
    migration->keys[migration->key_count++] =
        (struct redis_migrating){.argument = argument,
                                 .payload = out->size,
                                 .payload_size = payload->size,
                                 .expire_ms = value.expire_ms};
    mp_put_raw(out, payload->data, payload->size);
    mp_put_raw(out, "\r\n", 2);
    if (asked->replace)
        put_word(out, "REPLACE");
    return 0;
}

static int dump(struct redis_call *call, const struct asked *asked)
{
    struct redis_migration *migration = call->migration;
    struct mp_buffer payload;
    int rc = 0;
    migration->snapshot_ts = txn_snapshot_ts(call->txn);
    free(migration->keys); /* of a run that was lost */
    migration->key_count = 0;
    migration->keys = calloc(asked->count, sizeof *migration->keys);
    if (!migration->keys)
        return diag_set(ERROR_MEMORY, "out of memory");
    mp_buffer_reset(&migration->out, 0);
    mp_buffer_create(&payload);
    for (unsigned n = 0; n < asked->count && !rc && !migration->out.failed; n++)
        rc = put_key(call, asked, asked->first + n, &payload);
    mp_buffer_destroy(&payload);
    if (rc)
        return rc;
    return migration->key_count > 0 || migration->out.failed ? send(migration, migration->key_count)
                                                             : nothing_there(call);
}

/* ----------------------------------------------------------------------------- what is replied */

void redis_migration_fail(struct redis_migration *migration, const char *prefix,
                          const char *message)
{
    migration->replies = 0;
    if (migration->failed)
        return;
    migration->failed = true;
    snprintf(migration->prefix, sizeof migration->prefix, "%s", prefix);
    snprintf(migration->message, sizeof migration->message, "%s", message);
}

static void target_failed(struct redis_migration *migration, const char *line, size_t size)
{
    if (migration->failed)
        return;
    migration->failed = true;
    snprintf(migration->prefix, sizeof migration->prefix, "ERR");
    snprintf(migration->message, sizeof migration->message,
             "Target instance replied with error: %.*s", (int)size, line);
}

bool redis_migration_reply(struct redis_migration *migration, const char *line, size_t size)
{
    size_t n = migration->replied++;
    migration->replies--;
    if (size > 0 && line[0] == '-')
        target_failed(migration, line + 1, size - 1);
    else if (size != 3 || memcmp(line, "+OK", 3) != 0)
        return false; /* who says something else has taken nothing, whatever it is */
    else if (migration->key_count > 0)
        migration->keys[n].taken = true;
    return true;
}

/* --------------------------------------------------------------------------------------- FINISH */

/*
 * Whether the key's row, which has just been read, was written since it was sent. Not by what it holds: the
 * target may be this server, and the same value be what it has put in the place of the one that it was sent.
 * Where the version still has the tag of whoever wrote it, all that this run has looked at decides.
 */
static bool written_since(const struct redis_call *call)
{
    uint64_t snapshot_ts = call->migration->snapshot_ts;
    uint64_t stamp = load_acquire(&call->opened->stamp);
    return txn_seen_ts(call->txn) > snapshot_ts && ((stamp & STAMP_TAG) || stamp > snapshot_ts);
}

/* The elements of a spread value are rows of their own, and its row knows nothing of them. */
static int compare_elements(struct redis_call *call, struct redis_migrating *key,
                            struct mp_buffer *payload)
{
    struct redis_value value;
    mp_buffer_reset(payload, SIZE_MAX);
    int rc = redis__dump_of(call, &call->argv[key->argument], payload, &value);
    key->same = !rc && payload->size == key->payload_size &&
                memcmp(payload->data, call->migration->out.data + key->payload, payload->size) == 0;
    return rc;
}

/* Whether a key that the target has is still what was sent; one that has expired since is gone as well
 * as if it had been deleted. */
static int compare(struct redis_call *call, struct redis_migrating *key, struct mp_buffer *payload)
{
    struct redis_value value;
    struct redis_key name;
    int rc = redis_value_get(call, key->argument, &name, &value);
    if (rc)
        return rc;
    if (value.type == REDIS_TYPE_NONE)
        key->same = key->expire_ms && key->expire_ms <= call->now_ms;
    else
        key->same = !written_since(call);
    return key->same && value.spread ? compare_elements(call, key, payload) : 0;
}

/* All of them before any is deleted: one may have been named twice. */
static int compare_all(struct redis_call *call, unsigned *changed)
{
    struct redis_migration *migration = call->migration;
    struct mp_buffer payload;
    int rc = 0;
    *changed = 0;
    mp_buffer_create(&payload);
    for (size_t n = 0; n < migration->key_count && !rc; n++) {
        struct redis_migrating *key = &migration->keys[n];
        if (!key->taken)
            continue;
        rc = compare(call, key, &payload);
        *changed += !key->same;
    }
    mp_buffer_destroy(&payload);
    return rc;
}

static int delete_key(struct redis_call *call, unsigned argument)
{
    struct redis_key key;
    struct redis_value value;
    int rc = redis_value_get_for_update(call, argument, &key, &value);
    if (rc || value.type == REDIS_TYPE_NONE)
        return rc;
    rc = redis_value_delete(call, &key, &value);
    return rc ? rc
              : redis_changed(call, &call->argv[argument], REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC,
                              "del");
}

static int finish(struct redis_call *call, const struct asked *asked)
{
    struct redis_migration *migration = call->migration;
    unsigned changed = 0;
    int rc = asked->copy ? 0 : compare_all(call, &changed);
    for (size_t n = 0; n < migration->key_count && !rc && !asked->copy; n++)
        if (migration->keys[n].taken && migration->keys[n].same)
            rc = delete_key(call, migration->keys[n].argument);
    if (rc)
        return rc;
    if (migration->failed) {
        call->sink->vtab->error(call->sink, migration->prefix, migration->message);
    } else if (changed > 0) {
        char message[256];
        snprintf(message, sizeof message,
                 "%u of %zu keys changed while they were sent, and were left as they are: the "
                 "target instance has what they were before. Use MIGRATE with REPLACE to send "
                 "them again",
                 changed, migration->key_count);
        call->sink->vtab->error(call->sink, "ERR", message);
    } else {
        call->sink->vtab->status(call->sink, "OK");
    }
    return 0;
}

/* ---------------------------------------------------------------------------------- the command */

int redis__migrate(struct redis_call *call)
{
    struct asked asked;
    struct redis_migration *migration = call->migration;
    if (migration)
        migration->sends = false;
    int rc = asked_read(call, &asked);
    if (rc)
        return rc;
    if (!migration || migration->stage == REDIS_MIGRATE_FIND)
        return find(call, &asked);
    call->lookups = NULL; /* FIND has counted them */
    return migration->stage == REDIS_MIGRATE_DUMP ? dump(call, &asked) : finish(call, &asked);
}
