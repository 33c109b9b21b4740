/* SPDX-License-Identifier: Apache-2.0 */

/*
 * CLIENT: what is known of connections.
 *
 * A session's description (session.about) is read by other threads for CLIENT LIST: numbers are
 * relaxed atomics, strings change and are read under the service's mutex. Sessions of all workers
 * stand in one list under that mutex.
 */
#include "session/session_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "db/access.h"
#include "redis/redis_value.h"

void session__about_name_set(struct session *session, char **field, const char *text, size_t size)
{
    char *copy = size ? strndup(text, size) : NULL;
    pthread_mutex_lock(&session->service->mutex);
    char *old = *field;
    *field = copy;
    pthread_mutex_unlock(&session->service->mutex);
    free(old);
}

bool session__name_valid(const struct redis_slice *name)
{
    for (size_t n = 0; n < name->size; n++)
        if (name->data[n] < '!' || name->data[n] > '~')
            return false;
    return true;
}

static bool word(const struct redis_slice *arg, const char *text)
{
    size_t size = strlen(text);
    return arg->size == size && strncasecmp(arg->data, text, size) == 0;
}

/* --------------------------------------------------------------------------------- descriptions */

static const char *text_or_empty(const char *text)
{
    return text ? text : "";
}

/* As Redis has them: P listens to channels, b waits, x is in MULTI. */
static void flags_put(const struct session_about *about, char out[5])
{
    size_t size = 0;
    if (load_relaxed(&about->channels) + load_relaxed(&about->patterns) > 0)
        out[size++] = 'P';
    if (load_relaxed(&about->waits))
        out[size++] = 'b';
    if (load_relaxed(&about->queued) >= 0)
        out[size++] = 'x';
    if (size == 0)
        out[size++] = 'N';
    out[size] = 0;
}

/* Of interactive transactions. */
static const char *transaction_state(const struct session_about *about)
{
    return load_relaxed(&about->open) ? "open" : load_relaxed(&about->failed) ? "failed" : "none";
}

/* Appends the line of CLIENT LIST. Under the service's mutex. */
static void about_put(const struct access *access, const struct session *session, uint64_t now_ms,
                      struct mp_buffer *out)
{
    const struct session_about *about = &session->about;
    const struct session_command *command = load_relaxed(&about->command);
    uint64_t active = load_relaxed(&about->active_ms);
    int queued = load_relaxed(&about->queued);
    char numbers[512], flags[5];
    uint32_t user_id = load_relaxed(&about->user_id);
    const char *user =
        user_id == ACCESS_GUEST || !access ? "default" : access_user_name(access, user_id);
    flags_put(about, flags);
    int size =
        snprintf(numbers, sizeof numbers, "id=%" PRIu64 " addr=%s laddr=%s fd=%d name=", about->id,
                 about->address, about->local_address, about->fd);
    mp_put_raw(out, numbers, (size_t)size);
    mp_put_raw(out, text_or_empty(about->name), strlen(text_or_empty(about->name)));
    size = snprintf(numbers, sizeof numbers,
                    " age=%" PRIu64 " idle=%" PRIu64
                    " flags=%s db=0 sub=%u psub=%u ssub=0 multi=%d watch=%" PRIu64
                    " qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 "
                    "tot-mem=0 events=r cmd=%s "
                    "user=%.100s redir=-1 resp=%d lib-name=",
                    now_ms > about->created_ms ? (now_ms - about->created_ms) / 1000 : 0,
                    now_ms > active ? (now_ms - active) / 1000 : 0, flags,
                    load_relaxed(&about->channels), load_relaxed(&about->patterns), queued,
                    load_relaxed(&about->watched), command ? command->name : "NULL", user,
                    load_relaxed(&about->resp));
    mp_put_raw(out, numbers, (size_t)size);
    mp_put_raw(out, text_or_empty(about->library_name), strlen(text_or_empty(about->library_name)));
    mp_put_raw(out, " lib-ver=", 9);
    mp_put_raw(out, text_or_empty(about->library_version),
               strlen(text_or_empty(about->library_version)));
    size = snprintf(numbers, sizeof numbers, " txn=%s\n", transaction_state(about));
    mp_put_raw(out, numbers, (size_t)size);
}

static int about_reply(struct session *session, struct mp_buffer *text)
{
    int rc = text->failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
    if (!rc)
        resp_put_verbatim(&session->out, session->protocol, "txt", text->data, text->size);
    mp_buffer_destroy(text);
    return rc;
}

static int client_info(struct session *session, struct session_request *request)
{
    struct mp_buffer text;
    const struct access *access = access_of(session->worker->db);
    mp_buffer_create(&text);
    pthread_mutex_lock(&session->service->mutex);
    about_put(access, session, request->now_ms, &text);
    pthread_mutex_unlock(&session->service->mutex);
    return about_reply(session, &text);
}

static bool id_listed(const struct session_request *request, unsigned from, uint64_t id)
{
    int64_t listed;
    for (unsigned n = from; n < request->argc; n++)
        if (redis_integer_parse(request->argv[n].data, request->argv[n].size, &listed) &&
            (uint64_t)listed == id)
            return true;
    return false;
}

/* CLIENT LIST [TYPE type] [ID id ..] */
static int client_list(struct session *session, struct session_request *request)
{
    const struct redis_slice *argv = request->argv;
    bool none = false, normal = true, listening = true;
    unsigned ids = 0;
    if (request->argc == 4 && word(&argv[2], "type")) {
        none = word(&argv[3], "master") || word(&argv[3], "replica") || word(&argv[3], "slave");
        normal = word(&argv[3], "normal");
        listening = word(&argv[3], "pubsub");
        if (!none && !normal && !listening)
            return diag_set(ERROR_INVALID, "Unknown client type '%.*s'",
                            (int)(argv[3].size < 128 ? argv[3].size : 128), argv[3].data);
    } else if (request->argc > 3 && word(&argv[2], "id")) {
        int64_t id;
        ids = 3;
        for (unsigned n = ids; n < request->argc; n++)
            if (!redis_integer_parse(argv[n].data, argv[n].size, &id) || id < 1)
                return diag_set(ERROR_INVALID, "Invalid client ID");
    } else if (request->argc != 2) {
        return redis_syntax_error();
    }
    struct mp_buffer text;
    const struct access *access = access_of(session->worker->db);
    mp_buffer_create(&text);
    pthread_mutex_lock(&session->service->mutex);
    list_for_each (link, &session->service->clients) {
        const struct session *other = list_entry(link, struct session, link);
        bool listens =
            load_relaxed(&other->about.channels) + load_relaxed(&other->about.patterns) > 0;
        if (!none && (listens ? listening : normal) &&
            (!ids || id_listed(request, ids, other->about.id)))
            about_put(access, other, request->now_ms, &text);
    }
    pthread_mutex_unlock(&session->service->mutex);
    return about_reply(session, &text);
}

/* ----------------------------------------------------------------------------------- the others */

static int client_id(struct session *session, struct session_request *request)
{
    (void)request;
    resp_put_integer(&session->out, (int64_t)session->about.id);
    return 0;
}

static int client_getname(struct session *session, struct session_request *request)
{
    (void)request;
    if (session->about.name) /* only this thread changes it */
        resp_put_bulk(&session->out, session->about.name, strlen(session->about.name));
    else
        resp_put_null(&session->out, session->protocol);
    return 0;
}

static int client_setname(struct session *session, struct session_request *request)
{
    if (!session__name_valid(&request->argv[2]))
        return diag_set(ERROR_INVALID,
                        "Client names cannot contain spaces, newlines or special characters.");
    session__about_name_set(session, &session->about.name, request->argv[2].data,
                            request->argv[2].size);
    resp_put_ok(&session->out);
    return 0;
}

static int client_setinfo(struct session *session, struct session_request *request)
{
    const struct redis_slice *option = &request->argv[2], *value = &request->argv[3];
    bool name = word(option, "lib-name");
    if (!name && !word(option, "lib-ver"))
        return diag_set(ERROR_INVALID, "Unrecognized option '%.*s'",
                        (int)(option->size < 128 ? option->size : 128), option->data);
    if (!session__name_valid(value))
        return diag_set(ERROR_INVALID, "%s cannot contain spaces, newlines or special characters.",
                        name ? "lib-name" : "lib-ver");
    session__about_name_set(session,
                            name ? &session->about.library_name : &session->about.library_version,
                            value->data, value->size);
    resp_put_ok(&session->out);
    return 0;
}

/* NO-EVICT and NO-TOUCH: accepted, since nothing is evicted and no access is recorded. */
static int client_switch(struct session *session, struct session_request *request)
{
    if (!word(&request->argv[2], "on") && !word(&request->argv[2], "off"))
        return redis_syntax_error();
    resp_put_ok(&session->out);
    return 0;
}

static int client_reply(struct session *session, struct session_request *request)
{
    if (word(&request->argv[2], "on"))
        session->reply_mode = REPLY_ON;
    else if (word(&request->argv[2], "off"))
        session->reply_mode = REPLY_OFF;
    else if (word(&request->argv[2], "skip"))
        session->reply_mode = session->reply_mode == REPLY_OFF ? REPLY_OFF : REPLY_SKIP_NEXT;
    else
        return redis_syntax_error();
    resp_put_ok(&session->out);
    return 0;
}

static int client_help(struct session *session, struct session_request *request)
{
    (void)request;
    static const char *const LINES[] = {
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GETNAME",
        "    Return the name of the current connection.",
        "ID",
        "    Return the ID of the current connection.",
        "INFO",
        "    Return information about the current client connection.",
        "LIST [options ...]",
        "    Return information about client connections: TYPE <type>, or ID <id> ...",
        "REPLY (ON|OFF|SKIP)",
        "    Control the replies sent to the current connection.",
        "SETINFO <LIB-NAME|LIB-VER> <value>",
        "    Set client meta attr.",
        "SETNAME <name>",
        "    Assign the name <name> to the current connection.",
        "HELP",
        "    Print this help.",
    };
    resp_put_array(&session->out, sizeof LINES / sizeof *LINES);
    for (size_t n = 0; n < sizeof LINES / sizeof *LINES; n++)
        resp_put_status(&session->out, LINES[n]);
    return 0;
}

#define ROW(name, arity, summary, since, run)                                                    \
    {                                                                                            \
        name, arity, SESSION_NOSCRIPT, 0, 0, 0, summary, since, "connection", run, NULL, NULL, 0 \
    }
const struct session_command session__client_commands[] = {
    ROW("client|getname", 2, "Returns the name of the connection.", "2.6.9", client_getname),
    ROW("client|help", 2, "Returns helpful text about the different subcommands.", "5.0.0",
        client_help),
    ROW("client|id", 2, "Returns the unique client ID of the connection.", "5.0.0", client_id),
    ROW("client|info", 2, "Returns information about the connection.", "6.2.0", client_info),
    {"client|list", -2, SESSION_ADMIN | SESSION_NOSCRIPT, 0, 0, 0, "Lists open connections.",
     "2.4.0", "connection", client_list, NULL, NULL, 0},
    ROW("client|no-evict", 3, "Sets the client eviction mode of the connection.", "7.0.0",
        client_switch),
    ROW("client|no-touch", 3,
        "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
        "7.2.0", client_switch),
    ROW("client|reply", 3, "Instructs the server whether to reply to commands.", "3.2.0",
        client_reply),
    ROW("client|setinfo", 4, "Sets information specific to the client or connection.", "7.2.0",
        client_setinfo),
    ROW("client|setname", 3, "Sets the connection name.", "2.6.9", client_setname),
    {0},
};
