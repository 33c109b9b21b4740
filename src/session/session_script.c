/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands of the server from scripts: redis.call('INFO'), 'SLOWLOG', 'COMMAND' and what else COMMAND INFO
 * does not call `noscript`. (Commands on data are run by src/lua/redis_call.c.)
 *
 * They write to their connection. So the script's connection lends itself: for the time of the command its
 * output is another buffer and its protocol the script's, and what stands in the buffer is read again,
 * value by value, into the script's reply.
 */
#include <stdlib.h>

#include "db/access.h"
#include "session/session_internal.h"

/* --------------------------------------------------------------------------- from bytes to a sink */

struct bytes {
    const char *at, *end;
    struct redis_sink *sink;
};

static void line_text(const char *line, size_t size, char *out, size_t out_size)
{
    size = size < out_size ? size : out_size - 1;
    memcpy(out, line, size);
    out[size] = 0;
}

/* "PREFIX message" */
static void put_error(struct redis_sink *sink, const char *line, size_t size)
{
    char text[DIAG_MESSAGE_MAX + 64];
    line_text(line, size, text, sizeof text);
    char *blank = strchr(text, ' ');
    if (blank)
        *blank = 0;
    sink->vtab->error(sink, blank ? text : "ERR", blank ? blank + 1 : text);
}

static void put_bulk(struct bytes *bytes, int64_t size, bool verbatim)
{
    ASSERT(bytes->end - bytes->at >= size + 2);
    if (verbatim && bytes->sink->script)
        bytes->sink->script->verbatim(bytes->sink, bytes->at, bytes->at + 4, (size_t)size - 4);
    else
        bytes->sink->vtab->bulk(bytes->sink, bytes->at + (verbatim ? 4 : 0),
                                (size_t)size - (verbatim ? 4 : 0));
    bytes->at += size + 2;
}

/* One value, and how many more follow that belong to it. */
static size_t value_take(struct bytes *bytes)
{
    struct redis_sink *sink = bytes->sink;
    const char *line = bytes->at + 1, *end = memchr(line, '\r', (size_t)(bytes->end - line));
    char type = *bytes->at, text[256];
    ASSERT(end);
    size_t size = (size_t)(end - line);
    line_text(line, size, text, sizeof text);
    int64_t number = strtoll(text, NULL, 10);
    bytes->at = end + 2;
    switch (type) {
    case '+':
        sink->vtab->status(sink, text);
        return 0;
    case '-':
        put_error(sink, line, size);
        return 0;
    case ':':
        sink->vtab->integer(sink, number);
        return 0;
    case ',':
        sink->vtab->real(sink, strtod(text, NULL));
        return 0;
    case '#':
        sink->vtab->boolean(sink, text[0] == 't');
        return 0;
    case '_':
        sink->vtab->null(sink);
        return 0;
    case '$':
    case '=':
        if (number < 0)
            sink->vtab->null(sink);
        else
            put_bulk(bytes, number, type == '=');
        return 0;
    case '*':
        if (number < 0)
            sink->vtab->null_array(sink);
        else
            sink->vtab->array(sink, (size_t)number);
        return number < 0 ? 0 : (size_t)number;
    case '%':
        sink->vtab->map(sink, (size_t)number);
        return 2 * (size_t)number;
    case '~':
        sink->vtab->set(sink, (size_t)number);
        return (size_t)number;
    default:
        ASSERT(!"a type that this server does not reply");
        return 0;
    }
}

/* The one reply that stands in the buffer. */
static void reply_take(const struct mp_buffer *out, struct redis_sink *sink)
{
    struct bytes bytes = {out->data, out->data + out->size, sink};
    for (size_t left = 1; left > 0; left--)
        left += value_take(&bytes);
}

/* ------------------------------------------------------------------------------------- the command */

static int not_allowed(void)
{
    return diag_set(ERROR_INVALID, "This Redis command is not allowed from script");
}

/* The command, or its subcommand; NULL with diagnostics: scripts can't call it. */
static const struct session_command *command_of(struct service *service,
                                                const struct redis_slice *argv, unsigned argc)
{
    const struct session_command *command =
        service__command_find(service, argv[0].data, argv[0].size);
    const char *name = command ? command->name : "";
    if (command && command->subcommands && argc == 1 && !command->run) {
        diag_set(ERROR_INVALID, "Wrong number of args calling Redis command from script");
        return NULL;
    }
    if (command && command->subcommands && argc > 1) {
        char full[64];
        int size =
            argc > 1 && argv[1].size < sizeof full
                ? snprintf(full, sizeof full, "%s|%.*s", name, (int)argv[1].size, argv[1].data)
                : 0;
        command = size > 0 && (size_t)size < sizeof full
                      ? service__command_named(service, full, (size_t)size)
                      : NULL;
    }
    if (!command) {
        diag_set(ERROR_INVALID, "Unknown Redis command called from script");
        return NULL;
    }
    if (!session__arity_fits(command, argc)) {
        diag_set(ERROR_INVALID, "Wrong number of args calling Redis command from script");
        return NULL;
    }
    const struct redis_spec *spec = service->specs[command->number];
    if (command->redis || !spec || (spec->flags & SPEC_NOSCRIPT) || !command->run) {
        not_allowed();
        return NULL;
    }
    return command;
}

/* The connection whose request the worker is executing. NULL: it has gone, or there is none. */
static struct session *session_of(struct service *service, const struct db_worker *db, uint64_t id)
{
    struct session *found = NULL;
    pthread_mutex_lock(&service->mutex);
    list_for_each (link, &service->clients) {
        struct session *session = list_entry(link, struct session, link);
        if (session->about.id == id && session->worker && session->worker->db == db)
            found = session;
    }
    pthread_mutex_unlock(&service->mutex);
    return found;
}

int session__lua_server_command(void *arg, struct db_worker *db, uint64_t session_id,
                                struct txn *txn, uint64_t now_ms, int protocol,
                                const struct redis_slice *argv, unsigned argc,
                                struct redis_sink *sink)
{
    struct service *service = arg;
    const struct session_command *command = command_of(service, argv, argc);
    if (!command)
        return diag_code();
    struct session *session = session_of(service, db, session_id);
    if (!session || session->user_id != access_user_get(db))
        return not_allowed();
    int allowed = session__script_permits(service, db, session->user_id, command->name, argv, argc);
    if (allowed < 0)
        return allowed;
    struct session_request request = {
        .command = command, .argv = argv, .argc = argc, .txn = txn, .now_ms = now_ms};
    struct mp_buffer out = session->out;
    int before = session->protocol, rc;
    mp_buffer_create(&session->out);
    session->protocol = protocol;
    rc = allowed || session__permits(session, command, argv, argc) ? command->run(session, &request)
                                                                   : SESSION_REPLIED_ERROR;
    struct mp_buffer reply = session->out;
    session->out = out;
    session->protocol = before;
    if (rc >= 0 && reply.failed)
        rc = diag_set(ERROR_MEMORY, "out of memory");
    if (rc == ERROR_WAIT)
        rc = not_allowed();
    if (rc >= 0)
        reply_take(&reply, sink);
    mp_buffer_destroy(&reply);
    return rc < 0 ? rc : 0;
}
